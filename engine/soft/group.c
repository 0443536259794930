/* SPDX-License-Identifier: ISC */
/* group.c: which accesses of a block share one probe.
 *
 *	push %rbp		head: probes [rsp-24, rsp) for writing, keeps the addend in slot 0
 *	push %rbx		member: mov %gs:slot0,%r11; mov %rbx,-8-12(%rsp,%r11)
 *	sub  $8,%rsp
 *	call f			member
 *
 * Two accesses are in one group when their addresses differ by a constant: registers are followed
 * through additions, pushes and copies. The head's probe is for the whole span, in one page, with
 * write permission if the head writes; so members cannot fault, and D is set by a store only. Where
 * the span does not fit (it crosses pages, or the page is not in the TLB and cannot be), the block
 * is left for one at that instruction without groups (MODE_PLAIN), whose accesses are probed one by
 * one. The slots' addends are good for as long as the block runs: mappings change only by
 * instructions of the interpreter, which end all groups. */
#include "engine/soft/group.h"

#include "base/str.h"
#include "engine/soft/emit.h"
#include "engine/soft/sides.h"
#include "engine/soft/track.h"

#define SPAN_MAX 256

/* A block in the analysis */
struct tracker {
	struct tr *t;
	struct track regs;
};

/* ---- accesses ------------------------------------------------------------------------------- */

static bool same_key(const struct group_key *a, const struct group_key *b)
{
	return a->base == b->base && a->index == b->index && a->scale == b->scale &&
	       a->seg == b->seg;
}

/* An access under an opmask may come to nothing, and has no page looked up for others. */
static void note(struct tr *t, unsigned i, enum tr_access which, const struct group_key *key,
		 int32_t off, unsigned size, bool write)
{
	struct tr_groups *gs = &t->groups;
	int32_t end = off + (int32_t)size;

	/* What may fault, and what is known to have to be probed, is in no group. */
	if (t->mode & MODE_DIRECT && (insn_has_high8(&t->insn[i]) || sides_is_never(t, i)))
		return;
	for (unsigned n = gs->n; n-- > 0;) {
		struct tr_group *g = &gs->group[n];
		int32_t min = MIN(g->min, off), max = MAX(g->max, end);

		if (!same_key(&g->key, key) || (write && !g->write) || max - min > SPAN_MAX)
			continue;
		g->min = min;
		g->max = max;
		g->members++;
		gs->access[i][which] = (struct tr_access_note){(uint8_t)(n + 1), off};
		return;
	}
	if (gs->n == GROUPS_MAX || insn_masks_memory(&t->insn[i]))
		return;
	gs->access[i][which] = (struct tr_access_note){(uint8_t)(gs->n + 1), off};
	gs->group[gs->n++] = (struct tr_group){.key = *key,
					       .head = (uint8_t)i,
					       .head_access = (uint8_t)which,
					       .members = 1,
					       .write = write,
					       .min = off,
					       .max = end};
}

static void note_stack(struct tracker *k, unsigned i, unsigned reg, int32_t disp, bool write)
{
	struct group_key key = {.base = k->regs.gpr[reg].var, .scale = 1};

	note(k->t, i, ACCESS_STACK, &key, k->regs.gpr[reg].off + disp, 8, write);
}

static void note_operand(struct tracker *k, unsigned i, const struct insn *in, unsigned size,
			 bool write)
{
	const struct insn_mem *m = &in->mem;
	bool based = m->seg == FS || m->seg == GS;
	struct group_key key = {.scale = 1, .seg = based ? m->seg : 0};
	int64_t off = m->disp;

	if (m->addr_size != 8 || m->rip_rel || m->base < 0 || !size || size > 64 ||
	    off >= TRACK_MAX || off <= -TRACK_MAX)
		return;
	key.base = k->regs.gpr[m->base].var;
	off += k->regs.gpr[m->base].off;
	if (m->index >= 0) {
		key.index = k->regs.gpr[m->index].var;
		key.scale = m->scale;
		off += (int64_t)k->regs.gpr[m->index].off * m->scale;
	}
	note(k->t, i, ACCESS_OPERAND, &key, (int32_t)off, size, write);
}

static void note_accesses(struct tracker *k, unsigned i, const struct insn *in)
{
	const struct insn_opnd *m = in->has_mem ? insn_mem_opnd(in) : NULL;

	switch (in->row->cls) {
	case CLS_COPY:
		if (m && !(in->row->attr & (AT_BITSTR | AT_VSIB)) && !insn_is_atomic(in))
			note_operand(k, i, in, m->size, m->acc & ACC_W);
		break;
	case CLS_PUSH:
		if (m)
			note_operand(k, i, in, 8, false);
		note_stack(k, i, RSP, -8, true);
		break;
	case CLS_CALL_IND:
		if (m)
			note_operand(k, i, in, 8, false);
		note_stack(k, i, RSP, -8, true);
		break;
	case CLS_JMP_IND:
		if (m)
			note_operand(k, i, in, 8, false);
		break;
	case CLS_CALL:
		note_stack(k, i, RSP, -8, true);
		break;
	case CLS_POP:
		if (in->opnd[0].kind == OP_GPR)
			note_stack(k, i, RSP, 0, false);
		break;
	case CLS_RET:
		note_stack(k, i, RSP, 0, false);
		break;
	case CLS_STACK:
		if (in->mnem == I_LEAVE)
			note_stack(k, i, RBP, 0, false);
		break;
	default:
		break;
	}
}

/* Are its accesses those that note_accesses() names? */
static bool plain_sizes(const struct insn *in)
{
	switch (in->row->cls) {
	case CLS_PUSH:
	case CLS_POP:
	case CLS_RET:
	case CLS_STACK:
		return in->op_size == 8;
	case CLS_CALL_IND:
	case CLS_JMP_IND:
		return in->opnd[0].size == 8;
	default:
		return true;
	}
}

/* Groups of one are none, and there are only so many slots. */
static void give_slots(struct tr_groups *gs)
{
	unsigned slots = 0;

	for (unsigned n = 0; n < gs->n; n++)
		gs->group[n].slot =
			(int8_t)(gs->group[n].members > 1 && slots < GROUP_SLOTS ? (int)slots++
										 : -1);
}

void groups_find(struct tr *t)
{
	struct tracker k = {.t = t};

	t->groups.n = 0;
	memset(t->groups.access, 0, t->n * sizeof(t->groups.access[0]));
	if (t->mode & (MODE_PLAIN | MODE_LEGACY) || !t->sv->bmi2 || t->loop.n)
		return;
	track_start(&k.regs);
	for (unsigned i = 0; i < t->n; i++) {
		const struct insn *in = &t->insn[i];

		if (t->by_interp[i] || !plain_sizes(in)) {
			track_forget(&k.regs);
			continue;
		}
		note_accesses(&k, i, in);
		track_insn(&k.regs, in);
	}
	give_slots(&t->groups);
}

/* ---- emission ------------------------------------------------------------------------------- */

static struct tr_group *group_of(struct tr *t, enum tr_access which)
{
	unsigned n = t->groups.access[t->i][which].group;

	return n && t->groups.group[n - 1].slot >= 0 ? &t->groups.group[n - 1] : NULL;
}

struct tr_group *group_head(struct tr *t, enum tr_access which, int32_t *shift)
{
	struct tr_group *g = group_of(t, which);

	if (!g || g->head != t->i || g->head_access != which)
		return NULL;
	*shift = t->groups.access[t->i][which].off - g->min;
	return g;
}

/* Its address is made without T1. */
static bool calm_operand(const struct insn_mem *m)
{
	return m->base >= 0 && !is_stolen(m->base) && !is_stolen(m->index) && m->seg != FS &&
	       m->seg != GS;
}

/* Can the interpreter have to run it, and the block go on? With a memory operand that has a probe of its own it can:
 * but that changes T1. */
static bool calm_copy(const struct insn *in)
{
	const uint64_t faults = AT_X87 | AT_MMX | AT_XM;

	if (in->row->attr & faults || in->mnem == I_DIV || in->mnem == I_IDIV)
		return false;
	return !in->has_mem ||
	       (!(in->row->attr & (AT_ALIGN | AT_BITSTR | AT_VSIB)) && !insn_is_atomic(in) &&
		!insn_masks_memory(in) && calm_operand(&in->mem));
}

/* Nothing of it can leave the block and come back, or change T1, other than by a probe. */
static bool calm(const struct insn *in)
{
	for (unsigned i = 0; i < in->n_opnd; i++)
		if (in->opnd[i].kind == OP_GPR && (in->opnd[i].high8 || is_stolen(in->opnd[i].reg)))
			return false;
	switch (in->row->cls) {
	case CLS_JCC:
	case CLS_NOP:
		return true;
	case CLS_LEA:
		return in->mem.base >= 0 && !is_stolen(in->mem.base) && !is_stolen(in->mem.index);
	case CLS_PUSH:
	case CLS_POP:
		return !in->has_mem;
	case CLS_COPY:
		return calm_copy(in);
	default:
		return false;
	}
}

void group_next(struct tr *t, bool emitted)
{
	if (!emitted || !calm(&t->insn[t->i]))
		t->t1_slot = -1;
}

void group_begin(struct tr *t, struct tr_group *g)
{
	asm_st_gs(&t->a, T1, group_slot((unsigned)g->slot));
	g->begun = true;
	t->t1_slot = g->slot;
}

const struct tr_group *group_direct(struct tr *t, enum tr_access which)
{
	const struct tr_group *g = group_of(t, which);

	return g && g->direct ? g : NULL;
}

void groups_cancel(struct tr *t)
{
	for (unsigned n = 0; n < t->groups.n; n++)
		if (t->groups.group[n].head == t->i) {
			t->groups.group[n].begun = false;
			t->groups.group[n].direct = DIRECT_NOT;
		}
}

bool group_member(struct tr *t, enum tr_access which)
{
	struct tr_group *g = group_of(t, which);

	return g && g->begun && !(g->head == t->i && g->head_access == which);
}

void group_addend(struct tr *t, enum tr_access which)
{
	const struct tr_group *g = group_of(t, which);
	const struct insn *in = &t->insn[t->i];

	/* One that may be retried from its start finds nothing in T1, nor what comes after a direct access that faulted. */
	if (t->t1_slot == g->slot && !(t->mode & MODE_DIRECT) &&
	    (calm(in) || in->row->cls == CLS_RET || in->row->cls == CLS_CALL))
		return;
	asm_ld_gs(&t->a, T1, group_slot((unsigned)g->slot));
	t->t1_slot = g->slot;
}
