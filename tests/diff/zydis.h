/* SPDX-License-Identifier: ISC */
/* zydis.h: one string as our decoder and libzydis see it; what the parts of the comparison share. */
#ifndef TESTS_ZYDIS_H
#define TESTS_ZYDIS_H

#include <Zydis/Zydis.h>

#include "x86/insn.h"

struct one {
	const uint8_t *bytes;
	unsigned mode;
	struct insn in;
	enum decode_result res;
	bool z_ok;
	ZydisDecodedInstruction z;
	ZydisDecodedOperand zo[ZYDIS_MAX_OPERAND_COUNT];
};

struct zydis_counts {
	unsigned long checked, valid, expected, bad, encoded, no, high8;
};
extern struct zydis_counts counts;

uint64_t rnd(void);
unsigned below(unsigned n);
/* Counts and prints a difference. */
void bad(const struct one *o, const char *what);
/* Decodes o->bytes by both, and compares. */
void check_one(struct one *o);
/* Of what both take: names, operands, flags, registers (zydis_match.c). */
void check_match(struct one *o);
/* Encodes it again with other registers and memory, for libzydis to see (zydis_encode.c). */
void check_encoding(const struct insn *was);

#endif
