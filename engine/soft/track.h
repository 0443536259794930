/* SPDX-License-Identifier: ISC */
/* track.h: what is known of registers' values while a block is looked through (track.c). */
#ifndef ENGINE_SOFT_TRACK_H
#define ENGINE_SOFT_TRACK_H

#include "base/def.h"
#include "x86/insn.h"

/* Constants are below this, and above minus this. */
#define TRACK_MAX (1 << 24)

/* A register's value: that of a variable that nobody knows, plus a constant */
struct track_value {
	uint16_t var;
	int32_t off;
};

struct track {
	struct track_value gpr[16];
	uint16_t vars;
};

/* What a register has at the start */
static inline uint16_t track_var(unsigned reg)
{
	return (uint16_t)(reg + 1);
}

void track_start(struct track *k);
/* Nothing is known of any register any more. */
void track_forget(struct track *k);
/* Goes on behind the instruction. */
void track_insn(struct track *k, const struct insn *in);
/* Adds the general registers that it writes to mask, as far as is known. False: anything may be. */
bool track_written(const struct insn *in, unsigned *mask);

#endif
