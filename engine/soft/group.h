/* SPDX-License-Identifier: ISC */
/* group.h: accesses of a block that share one probe (group.c). */
#ifndef ENGINE_SOFT_GROUP_H
#define ENGINE_SOFT_GROUP_H

#include "engine/soft/block.h"

struct tr;

#define GROUPS_MAX 24u /* candidates in a block; GROUP_SLOTS of them can be had */

/* The accesses that one instruction can make through a probe */
enum tr_access { ACCESS_OPERAND, ACCESS_STACK, ACCESS_KINDS };

/* What all addresses of a group have in common: variables of group.c */
struct group_key {
	uint16_t base, index; /* index 0: none */
	uint8_t scale, seg;   /* seg: FS, GS, or 0 */
};

struct tr_group {
	struct group_key key;
	uint8_t head, head_access; /* the first access: instruction, enum tr_access */
	uint8_t members;
	int8_t slot; /* -1: not a group */
	bool write;
	bool begun;     /* its probe has been emitted */
	uint8_t direct; /* enum direct_side: what was emitted is only a check for that */
	int32_t min, max;
};

struct tr_access_note {
	uint8_t group; /* + 1; 0: none */
	int32_t off;   /* relative to the key's variables */
};

struct tr_groups {
	struct tr_group group[GROUPS_MAX];
	unsigned n;
	struct tr_access_note access[BLOCK_INSNS][ACCESS_KINDS];
};

/* Where slot n is, from GS: the groups', or, in a loop, its streams' */
static inline int32_t group_slot(unsigned n)
{
	return GS_OFF(group[0]) + (int32_t)n * 8;
}

/* Fills t->groups for the decoded instructions. */
void groups_find(struct tr *t);
/* The group that begins with this access of the current instruction, or NULL. shift: how far its
 * address is above the span's start. */
struct tr_group *group_head(struct tr *t, enum tr_access which, int32_t *shift);
/* Its probe has succeeded, T1 is the addend. */
void group_begin(struct tr *t, struct tr_group *g);
/* The current instruction goes to the interpreter: what it was to begin is not there. */
void groups_cancel(struct tr *t);
/* The current instruction is done, by code of its own or by the interpreter. */
void group_next(struct tr *t, bool emitted);
/* Has the access been probed by an earlier one? Then group_addend() sees to T1. */
bool group_member(struct tr *t, enum tr_access which);
void group_addend(struct tr *t, enum tr_access which);
/* The group of such an access, if it is direct, or NULL */
const struct tr_group *group_direct(struct tr *t, enum tr_access which);

#endif
