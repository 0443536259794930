/* SPDX-License-Identifier: ISC */
/* track.c: follows registers through additions of constants, pushes and copies. */
#include "engine/soft/track.h"

static struct track_value fresh(struct track *k)
{
	return (struct track_value){.var = ++k->vars};
}

static void forget(struct track *k, unsigned mask)
{
	for (unsigned r = 0; r < 16; r++)
		if (mask >> r & 1)
			k->gpr[r] = fresh(k);
}

void track_forget(struct track *k)
{
	forget(k, 0xffff);
}

void track_start(struct track *k)
{
	k->vars = 0;
	track_forget(k);
}

static void set(struct track *k, unsigned reg, struct track_value v, int64_t add)
{
	int64_t off = v.off + add;

	k->gpr[reg] = off < TRACK_MAX && off > -TRACK_MAX
			      ? (struct track_value){.var = v.var, .off = (int32_t)off}
			      : fresh(k);
}

static bool reg64(const struct insn *in, unsigned n)
{
	return in->opnd[n].kind == OP_GPR && in->opnd[n].size == 8;
}

/* reg = reg + constant, or a copy */
static bool follow(struct track *k, const struct insn *in)
{
	const struct insn_mem *m = &in->mem;
	unsigned dst = in->opnd[0].reg;

	if (!reg64(in, 0))
		return false;
	switch (in->mnem) {
	case I_MOV:
		if (!reg64(in, 1))
			return false;
		k->gpr[dst] = k->gpr[in->opnd[1].reg];
		return true;
	case I_LEA:
		if (m->index >= 0 || m->base < 0 || m->rip_rel || m->addr_size != 8)
			return false;
		set(k, dst, k->gpr[m->base], m->disp);
		return true;
	case I_ADD:
	case I_SUB:
		if (in->opnd[1].kind != OP_IMM)
			return false;
		set(k, dst, k->gpr[dst], in->mnem == I_ADD ? (int64_t)in->imm : -(int64_t)in->imm);
		return true;
	case I_INC:
	case I_DEC:
		set(k, dst, k->gpr[dst], in->mnem == I_INC ? 1 : -1);
		return true;
	}
	return false;
}

bool track_written(const struct insn *in, unsigned *mask)
{
	*mask |= in->row->gpr_write;
	switch (in->row->cls) {
	case CLS_PUSH:
	case CLS_POP:
	case CLS_STACK:
		*mask |= BIT(RSP) | (in->mnem == I_LEAVE ? BIT(RBP) : 0);
		break;
	case CLS_COPY:
	case CLS_LEA:
	case CLS_NOP:
	case CLS_JCC:
		break;
	default:
		return false;
	}
	for (unsigned i = 0; i < in->n_opnd; i++) {
		const struct insn_opnd *o = &in->opnd[i];

		if (o->kind == OP_GPR && o->acc & ACC_W)
			*mask |= 1u << (o->high8 ? o->reg & 3 : o->reg);
	}
	return true;
}

void track_insn(struct track *k, const struct insn *in)
{
	unsigned written = 0;
	bool known = track_written(in, &written);

	switch (in->row->cls) {
	case CLS_PUSH:
		set(k, RSP, k->gpr[RSP], -8);
		return;
	case CLS_POP:
		set(k, RSP, k->gpr[RSP], 8);
		forget(k, in->opnd[0].kind == OP_GPR ? 1u << in->opnd[0].reg : 0);
		return;
	case CLS_STACK:
		if (in->mnem == I_LEAVE) {
			set(k, RSP, k->gpr[RBP], 8);
			forget(k, BIT(RBP));
			return;
		}
		track_forget(k);
		return;
	case CLS_COPY:
	case CLS_LEA:
		if (!follow(k, in))
			forget(k, written);
		return;
	}
	forget(k, known ? written : 0xffff);
}
