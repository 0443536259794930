/* SPDX-License-Identifier: ISC */
/* zydis_encode.c: instructions that are encoded again with random registers and memory. */
#include "tests/diff/zydis.h"
#include "x86/encode.h"

static void random_subst(struct insn_subst *s)
{
	for (unsigned i = 0; i < 16; i++)
		s->gpr[i] = (uint8_t)i;
	if (below(4))
		for (unsigned i = 0; i < 16; i++) {
			unsigned j = below(16);
			uint8_t t = s->gpr[i];

			s->gpr[i] = s->gpr[j];
			s->gpr[j] = t;
		}
	s->base = (int8_t)(below(17) - 1);
	do
		s->index = (int8_t)(below(4) ? -1 : (int)below(16));
	while (s->index == RSP);
	s->scale = (uint8_t[]){0, 1, 2, 4, 8}[below(5)];
	s->disp = below(3) ? (int32_t)rnd() >> below(32) : 0;
	s->seg = (uint8_t[]){0, 0x64, 0x65}[below(3)];
	s->rm_to_mem = below(4) == 0;
}

/* What may come back as something else than ENCODE_OK, and why */
static bool refusal_ok(const struct insn *in, const struct insn_subst *s, enum encode_result res)
{
	bool high8 = false, in_opcode = false, opmask = in->enc == ENC_EVEX;

	for (unsigned i = 0; i < in->n_opnd; i++) {
		high8 |= in->opnd[i].high8;
		in_opcode |= in->opnd[i].field == FIELD_OPCODE;
		opmask |= in->opnd[i].kind == OP_K;
	}
	if (res == ENCODE_HIGH8)
		return high8;
	return (s->rm_to_mem &&
		(in->row->attr & (AT_REGONLY | AT_BITSTR) || in_opcode || opmask)) ||
	       (in->row->attr & AT_NO64 && in->mnem >= I_DAA);
}

static void check_encoded_opnd(const struct one *o, const struct insn *was,
			       const struct insn_subst *s, unsigned i)
{
	const struct insn_opnd *a = &was->opnd[i], *b = &o->in.opnd[i];
	bool xchg_rax = was->mnem == I_XCHG && was->opnd[0].field == FIELD_OPCODE;
	unsigned reg = a->reg;

	/* A register that became memory */
	if (a->kind != OP_MEM && b->kind == OP_MEM) {
		if (!s->rm_to_mem || (a->field != FIELD_RM && a->field != FIELD_OPCODE))
			bad(o, "encoded: became memory");
		return;
	}
	if (a->kind == OP_GPR && a->field != FIELD_IMPLICIT)
		reg = s->gpr[a->reg];
	if (xchg_rax && b->field != a->field)
		return; /* as 87 /r */
	if (a->kind != b->kind || reg != b->reg || a->high8 != b->high8 || a->acc != b->acc)
		bad(o, "encoded: operand");
	if (a->size != b->size && o->in.row->cls != CLS_SYS)
		bad(o, "encoded: operand size");
}

static void check_encoded_mem(const struct one *o, const struct insn *was,
			      const struct insn_subst *s)
{
	const struct insn_mem *m = &o->in.mem;
	bool vsib = was->row->attr & AT_VSIB, high8 = false;
	int index = vsib ? was->mem.index : s->index;

	for (unsigned i = 0; i < was->n_opnd; i++)
		if (o->in.opnd[i].kind == OP_MEM)
			high8 = was->opnd[i].high8;
	if (m->base != s->base || m->index != index ||
	    (index >= 0 && m->scale != (vsib ? was->mem.scale : MAX(s->scale, 1))) ||
	    m->disp != s->disp + high8)
		bad(o, "encoded: memory operand");
	if (o->in.seg_pfx != s->seg)
		bad(o, "encoded: segment");
}

void check_encoding(const struct insn *was)
{
	uint8_t out[INSN_MAX + 1] = {0};
	struct insn_subst s;
	struct one o = {.bytes = out, .mode = 8};
	enum encode_result res;
	unsigned len;
	uint64_t mask;

	random_subst(&s);
	res = insn_encode(was, &s, out, &len);
	if (res != ENCODE_OK) {
		if (res == ENCODE_HIGH8)
			counts.high8++;
		else
			counts.no++;
		if (!refusal_ok(was, &s, res)) {
			o.in = *was;
			o.bytes = was->bytes;
			bad(&o, "encode: refused");
		}
		return;
	}
	counts.encoded++;
	check_one(&o);
	counts.checked--;
	if (o.res != DECODE_OK || o.in.len != len || o.in.mnem != was->mnem ||
	    o.in.n_opnd != was->n_opnd) {
		bad(&o, "encoded: instruction");
		return;
	}
	for (unsigned i = 0; i < was->n_opnd; i++)
		check_encoded_opnd(&o, was, &s, i);
	mask = was->op_size == 8 ? ~UINT64_C(0) : BIT64(was->op_size * 8) - 1;
	if ((o.in.imm ^ was->imm) & mask && !(was->opnd[was->n_opnd - 1].field == FIELD_IS4))
		bad(&o, "encoded: immediate");
	if (o.in.has_mem)
		check_encoded_mem(&o, was, &s);
	else if (was->has_mem)
		bad(&o, "encoded: lost memory");
	if (o.in.lock != was->lock)
		bad(&o, "encoded: lock");
}
