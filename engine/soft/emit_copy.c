/* SPDX-License-Identifier: ISC */
/* emit_copy.c: instructions that the host runs as they are, but for stolen registers and memory.
 *
 * Without a memory operand the bytes are copied; a stolen register is in the host register of the
 * same number while its instruction runs. With one, the operand becomes the probed place, and the
 * stolen registers among the others take whichever of T2 and T1 is left. */
#include "base/str.h"
#include "engine/soft/emit.h"

static bool stolen(const struct insn_opnd *o)
{
	return o->kind == OP_GPR && o->field != FIELD_IMPLICIT && is_stolen(o->reg);
}

/* Its old value matters: read, or written in part. */
static bool needs_load(const struct insn_opnd *o)
{
	return (o->acc & ACC_R) || ((o->acc & ACC_W) && o->size < 4);
}

void emit_exec(struct tr *t)
{
	asm_mov_ri(&t->a, T2, t->id | t->i << SITE_INSN_SHIFT);
	asm_jmp(&t->a, t->c->code.rw + t->c->t_exec);
}

static void load_mem_regs(struct tr *t, const struct insn *in)
{
	if (is_stolen(in->mem.base))
		asm_ld_gs(&t->a, (unsigned)in->mem.base, GS_GPR((unsigned)in->mem.base));
	if (is_stolen(in->mem.index))
		asm_ld_gs(&t->a, (unsigned)in->mem.index, GS_GPR((unsigned)in->mem.index));
}

/* VZEROUPPER and VZEROALL leave registers 8 to 15 alone outside of 64-bit mode: vmovaps xmmN, xmmN, and vxorps. */
static void zero_vectors(struct tr *t, bool all)
{
	for (unsigned n = 0; n < 8; n++) {
		asm_u8(&t->a, 0xc5);
		asm_u8(&t->a, all ? 0xf8 - 8 * n : 0xf8);
		asm_u8(&t->a, all ? 0x57 : 0x28);
		asm_u8(&t->a, 0xc0 | n << 3 | n);
	}
}

/* The same in 64-bit mode: some encodings differ, and some are not there. */
static bool copy_legacy(struct tr *t, const struct insn *in)
{
	struct insn_subst sub = {.base = -1, .index = -1};
	unsigned len;

	if (in->mnem == I_VZEROUPPER || in->mnem == I_VZEROALL) {
		zero_vectors(t, in->mnem == I_VZEROALL);
		return true;
	}
	for (uint8_t r = 0; r < 16; r++)
		sub.gpr[r] = r;
	if (insn_encode(in, &sub, t->a.p, &len) != ENCODE_OK)
		return false;
	t->a.p += len;
	return true;
}

/* The bytes as they are, each stolen register in its own place. */
static bool copy_verbatim(struct tr *t, const struct insn *in)
{
	if (tr_legacy(t))
		return copy_legacy(t, in);
	for (unsigned i = 0; i < in->n_opnd; i++)
		if (stolen(&in->opnd[i]) && needs_load(&in->opnd[i]))
			asm_ld_gs(&t->a, in->opnd[i].reg, GS_GPR(in->opnd[i].reg));
	memcpy(t->a.p, in->bytes, in->len);
	t->a.p += in->len;
	for (unsigned i = 0; i < in->n_opnd; i++)
		if (stolen(&in->opnd[i]) && (in->opnd[i].acc & ACC_W))
			asm_st_gs(&t->a, in->opnd[i].reg, GS_GPR(in->opnd[i].reg));
	return true;
}

/* AH to BH can't be named beside a register above RDI: the address goes to RDI, put aside in T1.
 * The access can't fault, its operand is a byte of guest RAM. */
static bool copy_high8(struct tr *t, const struct insn *in, const struct place *at)
{
	struct insn_subst sub = {.base = RDI, .index = -1};
	unsigned len;

	for (uint8_t r = 0; r < 16; r++)
		sub.gpr[r] = r;
	asm_lea(&t->a, 8, T0, at->base, at->index, 1, at->disp);
	asm_mov_rr(&t->a, T1, RDI);
	asm_mov_rr(&t->a, RDI, T0);
	if (insn_encode(in, &sub, t->a.p, &len) != ENCODE_OK)
		return false;
	t->a.p += len;
	asm_mov_rr(&t->a, RDI, T1);
	return true;
}

static bool copy_mem(struct tr *t, const struct insn *in, const struct insn_opnd *m)
{
	static const uint8_t free_for_one[] = {T2}, free_for_two[] = {T2, T1};
	const struct insn_opnd *s[2];
	const uint8_t *regs = free_for_one;
	struct insn_subst sub = {0};
	struct place at;
	unsigned n = 0, len;

	if (!emit_operand(t, in, m->acc & ACC_W, m->size, &at))
		return false;
	if (insn_has_high8(in))
		return copy_high8(t, in, &at);
	for (uint8_t r = 0; r < 16; r++)
		sub.gpr[r] = r;
	for (unsigned i = 0; i < in->n_opnd; i++)
		if (stolen(&in->opnd[i])) {
			if (n == 2)
				return false;
			s[n++] = &in->opnd[i];
		}
	if (n == 2) {
		asm_lea(&t->a, 8, T0, at.base, at.index, 1, at.disp);
		at = (struct place){.base = T0, .index = -1, .disp = 0};
		regs = free_for_two;
	}
	for (unsigned i = 0; i < n; i++) {
		sub.gpr[s[i]->reg] = regs[i];
		if (needs_load(s[i]))
			asm_ld_gs(&t->a, regs[i], GS_GPR(s[i]->reg));
	}
	if (n == 2 && s[0]->reg == s[1]->reg) {
		/* One register twice: one host register, loaded if either is read */
		sub.gpr[s[0]->reg] = regs[1];
		if (needs_load(s[0]) && !needs_load(s[1]))
			asm_ld_gs(&t->a, regs[1], GS_GPR(s[0]->reg));
	}
	sub.base = at.base;
	sub.index = at.index;
	sub.scale = at.scale;
	sub.disp = at.disp;
	if (insn_encode(in, &sub, t->a.p, &len) != ENCODE_OK)
		return false;
	t->a.p += len;
	for (unsigned i = 0; i < n; i++)
		if (s[i]->acc & ACC_W)
			asm_st_gs(&t->a, sub.gpr[s[i]->reg], GS_GPR(s[i]->reg));
	return true;
}

/* BT, BTS, BTR, BTC [mem], reg: the register also moves the address, by whole operands. What is left
 * of it goes to tmp[1] while the access is probed. The flags stay: these change CF only. */
static bool copy_bit_string(struct tr *t, const struct insn *in, const struct insn_opnd *m)
{
	struct asm_buf *a = &t->a;
	unsigned reg = in->opnd[1].reg, log = m->size == 8 ? 6 : 5, len;
	struct insn_subst sub = {0};
	struct place at;
	uint64_t ea;

	if (m->size < 4 || !t->sv->bmi2 || in->addr_size != 8)
		return false;
	t->t1_slot = -1;
	if (emit_ea(t, in, &ea))
		asm_mov_ri(a, T0, ea);
	if (is_stolen(reg))
		asm_ld_gs(a, T1, GS_GPR(reg));
	else
		asm_mov_rr(a, T1, reg);
	if (m->size == 4)
		asm_movsxd(a, T1, T1);
	asm_st_gs(a, T1, GS_OFF(tmp[1]));
	asm_mov_ri(a, T2, log);
	asm_sarx(a, T1, T1, T2);
	asm_lea(a, 8, T0, T0, T1, m->size, 0);
	/* reg - (reg >> log << log), without flags */
	asm_shlx(a, T1, T1, T2);
	asm_not(a, T1);
	asm_ld_gs(a, T2, GS_OFF(tmp[1]));
	asm_lea(a, 8, T1, T1, T2, 1, 1);
	asm_st_gs(a, T1, GS_OFF(tmp[1]));
	emit_probe(t, ACCESS_OPERAND, T0, 0, m->acc & ACC_W, m->size, &at);
	asm_ld_gs(a, T2, GS_OFF(tmp[1]));
	for (uint8_t r = 0; r < 16; r++)
		sub.gpr[r] = r;
	sub.gpr[reg] = T2;
	sub.base = at.base;
	sub.index = at.index;
	sub.disp = at.disp;
	if (insn_encode(in, &sub, a->p, &len) != ENCODE_OK)
		return false;
	a->p += len;
	return true;
}

bool emit_copy(struct tr *t, const struct insn *in)
{
	const struct insn_opnd *m = insn_mem_opnd(in);

	if (!in->has_mem)
		return copy_verbatim(t, in);
	if (!m || !m->size || m->size > 64 || (in->row->attr & AT_VSIB))
		return false;
	if ((in->row->attr & AT_BITSTR) && in->opnd[1].kind == OP_GPR)
		return copy_bit_string(t, in, m);
	return copy_mem(t, in, m);
}

bool emit_lea(struct tr *t, const struct insn *in)
{
	const struct insn_opnd *d = &in->opnd[0];

	if (tr_legacy(t))
		return emit_seg_lea(t, in);
	if (in->mem.rip_rel) {
		uint64_t ea = tr_next_rip(t) + (uint64_t)in->mem.disp;
		unsigned dst = stolen(d) ? T0 : d->reg;

		if (d->size < 4)
			return false;
		emit_rip(t, dst, ea);
		if (in->mem.addr_size == 4 || d->size == 4)
			asm_rr(&t->a, OPC_LOAD, 4, dst, dst);
		if (stolen(d))
			asm_st_gs(&t->a, dst, GS_GPR(d->reg));
		return true;
	}
	load_mem_regs(t, in);
	return copy_verbatim(t, in);
}

bool emit_nop(struct tr *t, const struct insn *in)
{
	switch (in->mnem) {
	case I_PAUSE:
	case I_CLFLUSH:
	case I_CLFLUSHOPT:
	case I_CLWB:
		return false;
	case I_LFENCE:
	case I_MFENCE:
	case I_SFENCE:
		return copy_verbatim(t, in);
	}
	return true; /* hints */
}
