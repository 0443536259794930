/* SPDX-License-Identifier: ISC */
/* cover.h: where a build with -Dcover=true counts which rows of the instruction table and which faults a
 * program has come to. Nothing in others: that build puts tests/cover/cover.h in its place. */
#ifndef X86_COVER_H
#define X86_COVER_H

/* in has been decoded, encoded anew, is executed by the interpreter, has been translated; is #UD, for CPUID does
 * not have it. */
#define COVER_DECODED(in)    ((void)0)
#define COVER_ENCODED(in)    ((void)0)
#define COVER_EXECUTED(in)   ((void)0)
#define COVER_TRANSLATED(in) ((void)0)
#define COVER_REFUSED(in)    ((void)0)
/* This line raises vector; kind: a #PF's error code, DR6 of #DB, of #DF the two that made it. */
#define COVER_FAULT(vector, kind) ((void)0)

#endif
