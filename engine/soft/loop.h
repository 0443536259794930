/* SPDX-License-Identifier: ISC */
/* loop.h: loops whose accesses are checked before many rounds (loop.c). */
#ifndef ENGINE_SOFT_LOOP_H
#define ENGINE_SOFT_LOOP_H

#include "engine/soft/block.h"

struct tr;
struct place;

#define LOOP_STREAMS GROUP_SLOTS

/* Accesses whose addresses differ by constants, and change by a constant from round to round */
struct tr_stream {
	int8_t base, index; /* registers as they are when a round begins, or -1 */
	uint8_t scale;
	int8_t fold;  /* register that never changes and is added to the addend; -1: none */
	uint8_t head; /* the first access's instruction */
	int8_t reg;   /* where the addend is in all rounds; -1: in its slot */
	bool write;
	int64_t min, max; /* relative to the registers */
	int64_t step;     /* bytes a round */
};

struct tr_loop {
	unsigned n; /* streams; 0: the block is no such loop */
	struct tr_stream stream[LOOP_STREAMS];
	uint8_t of[BLOCK_INSNS]; /* its stream + 1; 0: no access */
	int64_t off[BLOCK_INSNS];
	bool lea;       /* T0 is needed for addresses */
	int in_t1;      /* stream whose addend T1 holds, or -1 */
	uint8_t *enter; /* the check */
	uint8_t *round; /* the first instruction */
	uint8_t *out;   /* to a block without checks; NULL: not emitted yet */
};

/* Fills t->loop for the decoded instructions. */
void loop_find(struct tr *t);
/* The check */
void loop_enter(struct tr *t);
/* The place of the current instruction's operand */
void loop_operand(struct tr *t, const struct insn *in, struct place *out);
/* The next round, if there is to be one */
void loop_again(struct tr *t);

#endif
