/* SPDX-License-Identifier: ISC */
/* cover.h: what a build with -Dcover=true includes first in x86 and engine/soft: its guard is that of
 * x86/cover.h, which has nothing to add then. */
#ifndef X86_COVER_H
#define X86_COVER_H

struct insn;

enum cover_what {
	COVER_DECODE,
	COVER_ENCODE,
	COVER_EXECUTE,
	COVER_TRANSLATE,
	COVER_REFUSE,
	COVER_WHATS
};
void cover_row(const struct insn *in, enum cover_what what);
void cover_fault(const char *file, unsigned line, unsigned vector, unsigned kind);

#define COVER_DECODED(in)         cover_row(in, COVER_DECODE)
#define COVER_ENCODED(in)         cover_row(in, COVER_ENCODE)
#define COVER_EXECUTED(in)        cover_row(in, COVER_EXECUTE)
#define COVER_TRANSLATED(in)      cover_row(in, COVER_TRANSLATE)
#define COVER_REFUSED(in)         cover_row(in, COVER_REFUSE)
#define COVER_TRIPLE              255u /* as vector: the processor shuts down */
#define COVER_FAULT(vector, kind) cover_fault(__FILE__, __LINE__, vector, kind)

#endif
