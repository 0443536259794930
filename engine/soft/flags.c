/* SPDX-License-Identifier: ISC */
/* flags.c: where a probe may change the arithmetic flags.
 *
 * They are dead where the block writes all of them before anything reads one. The manual leaves some
 * undefined after some instructions; a processor that computes these from the operands alone has
 * written them, one that leaves them as they were has not: which it is, the host is asked once. What is
 * read after the block, ahead.c says.
 *
 * Where they are live they can often be had again: by the same CMP or TEST, if its registers have
 * not changed; after ADD and SUB from the result and what was added. */
#include "base/str.h"
#include "engine/soft/emit.h"
#include "engine/soft/track.h"

/* ---- what the host does --------------------------------------------------------------------- */

/* The flags after insn on a and b, with the flags before */
#define AFTER(name, insn)                                                       \
	static uint64_t name(uint64_t a, uint64_t b, uint64_t before)           \
	{                                                                       \
		uint64_t f;                                                     \
                                                                                \
		__asm__ volatile("pushfq\n\t"                                   \
				 "pop %0\n\t"                                   \
				 "and %4, %0\n\t"                               \
				 "or %3, %0\n\t"                                \
				 "push %0\n\t"                                  \
				 "popfq\n\t" insn "\n\t"                        \
				 "pushfq\n\t"                                   \
				 "pop %0"                                       \
				 : "=&r"(f), "+&r"(a)                           \
				 : "r"(b), "r"(before), "i"(~(int32_t)FL_ARITH) \
				 : "cc", "memory");                             \
		return f & FL_ARITH;                                            \
	}

AFTER(after_and8, "andb %b2, %b1")
AFTER(after_and32, "andl %k2, %k1")
AFTER(after_and64, "andq %2, %1")
AFTER(after_or, "orq %2, %1")
AFTER(after_xor, "xorq %2, %1")
AFTER(after_test8, "testb %b2, %b1")
AFTER(after_test32, "testl %k2, %k1")
AFTER(after_test64, "testq %2, %1")
AFTER(after_shl1, "shll $1, %k1")
AFTER(after_shl, "shlq $5, %1")
AFTER(after_shr1, "shrl $1, %k1")
AFTER(after_shr, "shrq $5, %1")
AFTER(after_sar1, "sarl $1, %k1")
AFTER(after_sar, "sarq $5, %1")
AFTER(after_imul, "imulq %2, %1")
AFTER(after_imul32, "imull %k2, %k1")

typedef uint64_t (*after_fn)(uint64_t a, uint64_t b, uint64_t before);

static const struct {
	uint8_t kind;
	after_fn after;
} after[] = {
	{FLAGS_LOGIC, after_and8},   {FLAGS_LOGIC, after_and32},  {FLAGS_LOGIC, after_and64},
	{FLAGS_LOGIC, after_or},     {FLAGS_LOGIC, after_xor},    {FLAGS_LOGIC, after_test8},
	{FLAGS_LOGIC, after_test32}, {FLAGS_LOGIC, after_test64}, {FLAGS_SHIFT, after_shl1},
	{FLAGS_SHIFT, after_shl},    {FLAGS_SHIFT, after_shr1},   {FLAGS_SHIFT, after_shr},
	{FLAGS_SHIFT, after_sar1},   {FLAGS_SHIFT, after_sar},    {FLAGS_IMUL, after_imul},
	{FLAGS_IMUL, after_imul32},
};

uint8_t flags_ask_host(void)
{
	static const uint64_t values[] = {0,          1,         15,
					  0x80,       0x7f31,    0x80000000,
					  UINT64_MAX, INT64_MAX, UINT64_C(0x8123456789abcdef)};
	uint8_t no = 0;

	for (unsigned k = 0; k < ARRAY_SIZE(after); k++)
		for (unsigned i = 0; i < ARRAY_SIZE(values) * ARRAY_SIZE(values); i++) {
			uint64_t a = values[i % ARRAY_SIZE(values)];
			uint64_t b = values[i / ARRAY_SIZE(values)];

			if (after[k].after(a, b, 0) != after[k].after(a, b, FL_ARITH))
				no |= after[k].kind;
			/* ... and is a TEST of the result the same? See flags_source(). */
			if (after[k].after == after_and64 &&
			    after_and64(a, b, 0) != after_test64(a & b, a & b, 0))
				no |= FLAGS_LOGIC;
		}
	return (uint8_t)~no;
}

/* ---- liveness ------------------------------------------------------------------------------- */

/* Shifts by an immediate that is zero when masked leave the flags alone. */
static bool shift_by_zero(const struct insn *in)
{
	bool group2 = in->map == 0 && (in->opcode == 0xc0 || in->opcode == 0xc1);
	bool shld = in->map == 1 && (in->opcode == 0xa4 || in->opcode == 0xac);

	if (in->enc != ENC_LEGACY || (!group2 && !shld))
		return false;
	return !(in->imm & (in->opnd[0].size == 8 ? 63u : 31u));
}

static bool writes_undefined(const struct tr *t, const struct insn *in)
{
	uint8_t kinds = t->sv->flags_computed;

	switch (in->mnem) {
	case I_AND:
	case I_OR:
	case I_XOR:
	case I_TEST:
		return kinds & FLAGS_LOGIC;
	case I_SHL:
	case I_SHR:
	case I_SAR:
		return kinds & FLAGS_SHIFT && in->opnd[0].size >= 4 && in->opnd[1].kind == OP_IMM;
	case I_IMUL:
		return kinds & FLAGS_IMUL && in->opnd[0].size >= 4 && in->n_opnd > 1;
	}
	return false;
}

unsigned flags_written(const struct tr *t, const struct insn *in)
{
	if (shift_by_zero(in))
		return 0;
	return in->row->fl_write & ~(writes_undefined(t, in) ? 0u : in->row->fl_undef);
}

/* Of the flags after instruction i, those that are read where it jumps */
static unsigned live_at_target(struct tr *t, unsigned i)
{
	const struct insn *in = &t->insn[i];

	switch (in->row->cls) {
	case CLS_JMP:
	case CLS_JCC:
	case CLS_CALL:
		return flags_live_at(t, tr_target(t, i));
	}
	return 0;
}

/* And those read after the block, if it does not jump */
static unsigned live_at_end(struct tr *t)
{
	switch (t->insn[t->n - 1].row->cls) {
	case CLS_JMP:
	case CLS_CALL:
		return 0;
	case CLS_JCC:
		break;
	default:
		if (tr_ends_block(t, t->n - 1))
			return FL_ARITH;
	}
	return flags_live_at(t, t->rip + t->off[t->n]);
}

void flags_find_dead(struct tr *t)
{
	unsigned live = live_at_end(t);

	for (unsigned i = t->n; i-- > 0;) {
		const struct insn *in = &t->insn[i];

		if (t->by_interp[i])
			live = FL_ARITH;
		else
			live = ((live | live_at_target(t, i)) & ~flags_written(t, in)) |
			       (in->row->fl_read & FL_ARITH);
		t->flags_dead[i] = !live && !t->sv->cfg.live_flags;
	}
}

/* ---- having them again ---------------------------------------------------------------------- */

/* Does nothing that it needs change in mask, or lie elsewhere? n: operands that it needs */
static bool unchanged(const struct insn *in, unsigned n, unsigned mask)
{
	mask |= STOLEN;
	for (unsigned i = 0; i < n && i < in->n_opnd; i++) {
		const struct insn_opnd *o = &in->opnd[i];

		if (o->kind == OP_GPR && mask >> (o->high8 ? o->reg & 3 : o->reg) & 1)
			return false;
		if (o->kind != OP_GPR && o->kind != OP_IMM)
			return false;
	}
	return true;
}

static bool of_result(const struct insn *in, unsigned mask)
{
	const struct insn_opnd *o = &in->opnd[0];

	return o->kind == OP_GPR && o->size >= 4 && unchanged(in, 1, mask);
}

static bool can_again(const struct tr *t, const struct insn *in, unsigned mask)
{
	switch (in->mnem) {
	case I_TEST:
		return t->sv->flags_computed & FLAGS_LOGIC && unchanged(in, 2, mask);
	case I_CMP:
		return unchanged(in, 2, mask);
	case I_AND:
	case I_OR:
	case I_XOR:
		return t->sv->flags_computed & FLAGS_LOGIC && of_result(in, mask);
	case I_ADD:
	case I_SUB:
		if (in->opnd[1].kind == OP_GPR)
			return of_result(in, mask) && unchanged(in, 2, mask) &&
			       in->opnd[0].reg != in->opnd[1].reg;
		return in->opnd[1].kind == OP_IMM && of_result(in, mask) &&
		       (int32_t)in->imm != INT32_MIN;
	}
	return false;
}

int flags_source(const struct tr *t)
{
	unsigned mask = 0;

	if (tr_legacy(t))
		return -1;
	for (unsigned i = t->i; i-- > 0;) {
		const struct insn *in = &t->insn[i];

		if (t->by_interp[i])
			return -1;
		if (in->row->fl_write & FL_ARITH)
			return can_again(t, in, mask) ? (int)i : -1;
		if (!track_written(in, &mask))
			return -1;
	}
	return -1;
}

void flags_again(struct tr *t, int source)
{
	const struct insn *in = &t->insn[source];
	unsigned reg = in->opnd[0].reg, size = in->opnd[0].size;
	int32_t imm = (int32_t)in->imm;

	switch (in->mnem) {
	case I_AND:
	case I_OR:
	case I_XOR:
		asm_rr(&t->a, OPC_TEST, size, reg, reg);
		break;
	case I_ADD:
	case I_SUB:
		if (in->opnd[1].kind == OP_GPR) { /* back, and there again */
			asm_rr(&t->a, OPC_LOAD, size, T2, reg);
			asm_rr(&t->a, in->mnem == I_ADD ? OPC_SUB : OPC_ADD, size, T2,
			       in->opnd[1].reg);
			asm_rr(&t->a, in->mnem == I_ADD ? OPC_ADD : OPC_SUB, size, T2,
			       in->opnd[1].reg);
			break;
		}
		asm_lea(&t->a, size, T2, (int)reg, -1, 1, in->mnem == I_ADD ? -imm : imm);
		asm_alu_ri(&t->a, in->mnem == I_ADD ? 0 : 5, size, T2, imm);
		break;
	default:
		memcpy(t->a.p, in->bytes, in->len);
		t->a.p += in->len;
	}
}
