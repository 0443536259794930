/* SPDX-License-Identifier: ISC */
/* exec_misc.c: instructions that 64-bit mode has no encoding for, or that are no plain copies:
 * decimal adjustments, BOUND, XLAT (SDM vol. 2). CPU's own thread only. */
#include "x86/interp.h"

static unsigned al(const struct cpu *cpu)
{
	return cpu->s.gpr[RAX] & 0xff;
}
static unsigned ah(const struct cpu *cpu)
{
	return cpu->s.gpr[RAX] >> 8 & 0xff;
}
static void set_ax(struct cpu *cpu, unsigned hi, unsigned lo)
{
	gpr_set(cpu, RAX, 2, (hi & 0xff) << 8 | (lo & 0xff));
}

/* SF, ZF and PF of a byte */
static uint64_t flags_szp(unsigned v)
{
	uint64_t f = 0;

	v &= 0xff;
	f |= v & 0x80 ? FL_SF : 0;
	f |= v ? 0 : FL_ZF;
	f |= __builtin_popcount(v) & 1 ? 0 : FL_PF;
	return f;
}

EXEC(daa)
{
	unsigned old = al(cpu), v = old;
	bool cf = cpu->s.rflags & FL_CF, af = cpu->s.rflags & FL_AF, sub = in->mnem == I_DAS;
	bool carry = false;

	if ((old & 0xf) > 9 || af) {
		carry = cf || (sub ? v < 6 : v + 6 > 0xff);
		v = sub ? v - 6 : v + 6;
		af = true;
	}
	if (old > 0x99 || cf) {
		v = sub ? v - 0x60 : v + 0x60;
		carry = true;
	} else if (!sub) {
		carry = false;
	}
	gpr_set(cpu, RAX, 1, v);
	set_arith(cpu, flags_szp(v) | (carry ? FL_CF : 0) | (af ? FL_AF : 0));
	return EXEC_OK;
}

EXEC(salc)
{
	gpr_set(cpu, RAX, 1, cpu->s.rflags & FL_CF ? 0xff : 0);
	return EXEC_OK;
}

EXEC(aaa)
{
	bool sub = in->mnem == I_AAS, adjust = (al(cpu) & 0xf) > 9 || cpu->s.rflags & FL_AF;
	unsigned ax = (unsigned)cpu->s.gpr[RAX] & 0xffff;

	if (adjust)
		ax = sub ? ax - 0x106 : ax + 0x106;
	set_ax(cpu, ax >> 8, ax & 0xf);
	/* OF SF ZF PF are undefined; as the low digit gives them */
	set_arith(cpu, flags_szp(ax & 0xf) | (adjust ? FL_CF | FL_AF : 0));
	return EXEC_OK;
}

EXEC(aam)
{
	unsigned base = in->imm & 0xff, v = al(cpu);

	if (!base)
		return raise_vec(cpu, VEC_DE);
	set_ax(cpu, v / base, v % base);
	set_arith(cpu, flags_szp(v % base));
	return EXEC_OK;
}

EXEC(aad)
{
	unsigned v = al(cpu) + ah(cpu) * (unsigned)(in->imm & 0xff);

	set_ax(cpu, 0, v);
	set_arith(cpu, flags_szp(v));
	return EXEC_OK;
}

EXEC(bound)
{
	unsigned size = in->op_size;
	uint64_t ea = cpu_ea(cpu, in), lo, hi;
	int64_t v = sign_extend(gpr_get(cpu, in->opnd[0].reg, size), size);

	if (seg_read(cpu, in->mem.seg, ea, size, &lo))
		return CPU_FAULT;
	/* Intel's processors don't look at the upper bound then. */
	if (!cpu->i.amd && v < sign_extend(lo, size))
		return raise_vec(cpu, VEC_BR);
	if (seg_read(cpu, in->mem.seg, (ea + size) & size_mask(in->mem.addr_size), size, &hi))
		return CPU_FAULT;
	if (v < sign_extend(lo, size) || v > sign_extend(hi, size))
		return raise_vec(cpu, VEC_BR);
	return EXEC_OK;
}

EXEC(xlat)
{
	uint64_t ea = (cpu->s.gpr[RBX] + al(cpu)) & size_mask(in->mem.addr_size), v;

	if (seg_read(cpu, in->mem.seg, ea, 1, &v))
		return CPU_FAULT;
	gpr_set(cpu, RAX, 1, v);
	return EXEC_OK;
}
