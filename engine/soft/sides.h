/* SPDX-License-Identifier: ISC */
/* sides.h: in which part of the fixed place an instruction's accesses are (sides.c). */
#ifndef ENGINE_SOFT_SIDES_H
#define ENGINE_SOFT_SIDES_H

#include "engine/soft/direct.h"
#include "engine/soft/emit.h"

/* What has been seen of an instruction: that it accesses either part, or what cannot be mapped */
enum sides_said { SIDES_EITHER, SIDES_NEVER, SIDES_SAID };

#define SIDES_BITS (1u << 20)
struct sides {
	bool low; /* the owner has something in the lower part, as far as known */
	uint32_t n[SIDES_SAID];
	uint8_t said[SIDES_SAID][SIDES_BITS / 8];
};

/* Instructions are known by where they are in the guest's memory: this is that of the one at off in the block. */
static inline gpa_t sides_place(const struct soft_block *b, uint32_t off)
{
	return block_gpa(b) + off;
}

/* Has the nth instruction of the translation been seen to access what cannot be mapped? */
bool sides_is_never(const struct tr *t, unsigned n);
/* The part that the current one's access is most likely in */
enum direct_side sides_guess(const struct tr *t, enum tr_access which);
/* The instruction at place is seen to do that: its block is made again, with other code for the access. Without sv->lock */
void soft_sides_say(struct soft_vcpu *v, struct soft_block *b, gpa_t place, enum sides_said what);

#endif
