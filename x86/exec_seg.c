/* SPDX-License-Identifier: ISC */
/* exec_seg.c: instructions about segments and descriptor tables. CPU's own thread only. */
#include "base/str.h"
#include "x86/interp.h"

/* ---- segment registers ---- */

EXEC(movsr)
{
	const struct insn_opnd *d = &in->opnd[0];
	uint64_t v;

	if (d->kind != OP_SREG) {
		v = cpu->s.seg[in->opnd[1].reg].sel;
		if (d->kind == OP_MEM)
			return seg_write(cpu, in->mem.seg, cpu_ea(cpu, in), 2, v);
		gpr_set(cpu, d->reg, d->size, v);
		return EXEC_OK;
	}
	if (d->reg == CS || d->reg >= SREG_COUNT)
		return raise_ud(cpu);
	if (in->opnd[1].kind == OP_MEM) {
		if (seg_read(cpu, in->mem.seg, cpu_ea(cpu, in), 2, &v))
			return CPU_FAULT;
	} else {
		v = cpu->s.gpr[in->opnd[1].reg];
	}
	if (seg_load(cpu, d->reg, (unsigned)v & 0xffff))
		return CPU_FAULT;
	if (d->reg == SS && !(cpu->s.shadow & SHADOW_MOVSS))
		cpu->i.shadow = SHADOW_MOVSS;
	return EXEC_OK;
}

/* LDS LES LSS LFS LGS */
EXEC(lxs)
{
	unsigned size = in->op_size, sreg;
	uint64_t ea = cpu_ea(cpu, in), off, sel;

	switch (in->mnem) {
	case I_LDS:
		sreg = DS;
		break;
	case I_LES:
		sreg = ES;
		break;
	case I_LSS:
		sreg = SS;
		break;
	case I_LFS:
		sreg = FS;
		break;
	default:
		sreg = GS;
	}
	if (seg_read(cpu, in->mem.seg, ea, size, &off) ||
	    seg_read(cpu, in->mem.seg, (ea + size) & size_mask(in->mem.addr_size), 2, &sel) ||
	    seg_load(cpu, sreg, (unsigned)sel))
		return CPU_FAULT;
	gpr_set(cpu, in->opnd[0].reg, size, off);
	return EXEC_OK;
}

/* ---- table registers ---- */

EXEC(lgdt)
{
	struct x86_dtr *dtr = in->mnem == I_LGDT ? &cpu->s.gdtr : &cpu->s.idtr;
	unsigned size = in->mode == 8 ? 8 : 4;
	uint64_t ea = cpu_ea(cpu, in), limit, base;

	if (seg_read(cpu, in->mem.seg, ea, 2, &limit) ||
	    seg_read(cpu, in->mem.seg, (ea + 2) & size_mask(in->mem.addr_size), size, &base))
		return CPU_FAULT;
	if (size == 4 && in->op_size == 2)
		base &= 0xffffff;
	if (!is_loadable(cpu, base))
		return raise_gp0(cpu);
	*dtr = (struct x86_dtr){.base = base, .limit = (uint16_t)limit};
	tell(cpu, in->mnem == I_LGDT ? TOLD_GDTR : TOLD_IDTR, base);
	return EXEC_OK;
}

/* CR4.UMIP */
static bool umip(const struct cpu *cpu)
{
	return cpu->s.cr4 & CR4_UMIP && x86_cpl(&cpu->s) > 0;
}

EXEC(sgdt)
{
	const struct x86_dtr *dtr = in->mnem == I_SGDT ? &cpu->s.gdtr : &cpu->s.idtr;
	uint8_t buf[10];

	if (umip(cpu))
		return raise_gp0(cpu);
	memcpy(buf, &dtr->limit, 2);
	memcpy(buf + 2, &dtr->base, 8);
	return seg_write_buf(cpu, in->mem.seg, cpu_ea(cpu, in), buf, in->mode == 8 ? 10 : 6);
}

/* SLDT STR SMSW: a memory operand has two bytes */
static int store_word(struct cpu *cpu, const struct insn *in, uint64_t v)
{
	if (umip(cpu))
		return raise_gp0(cpu);
	if (in->opnd[0].kind == OP_MEM)
		return seg_write(cpu, in->mem.seg, cpu_ea(cpu, in), 2, v);
	gpr_set(cpu, in->opnd[0].reg, in->op_size, v);
	return EXEC_OK;
}

EXEC(sldt)
{
	return store_word(cpu, in, cpu->s.ldtr.sel);
}

EXEC(str)
{
	return store_word(cpu, in, cpu->s.tr.sel);
}

EXEC(smsw)
{
	return store_word(cpu, in, cpu->s.cr0);
}

static int read_selector(struct cpu *cpu, const struct insn *in, unsigned n, unsigned *sel)
{
	uint64_t v;

	if (in->opnd[n].kind == OP_MEM) {
		if (seg_read(cpu, in->mem.seg, cpu_ea(cpu, in), 2, &v))
			return CPU_FAULT;
	} else {
		v = cpu->s.gpr[in->opnd[n].reg];
	}
	*sel = (unsigned)v & 0xffff;
	return 0;
}

/* LDT and TSS descriptors have 16 bytes in long mode. */
static int read_system(struct cpu *cpu, unsigned sel, struct desc *d)
{
	if (sel & 4)
		return raise_err(cpu, VEC_GP, sel & 0xfffc);
	if (desc_read(cpu, sel, VEC_GP, 0, d) || (is_long(cpu) && desc_read_hi(cpu, VEC_GP, d)))
		return CPU_FAULT;
	if (is_long(cpu) && !is_loadable(cpu, d->base))
		return raise_err(cpu, VEC_GP, sel & 0xfffc);
	return 0;
}

EXEC(lldt)
{
	struct desc d;
	unsigned sel;

	if (read_selector(cpu, in, 0, &sel))
		return CPU_FAULT;
	if (!(sel & 0xfffc)) {
		cpu->s.ldtr = (struct x86_seg){.sel = (uint16_t)sel, .attr = SEG_UNUSABLE};
		return EXEC_OK;
	}
	if (read_system(cpu, sel, &d))
		return CPU_FAULT;
	if (desc_type(&d) != 2)
		return raise_err(cpu, VEC_GP, sel & 0xfffc);
	if (!(d.attr & SEG_P))
		return raise_err(cpu, VEC_NP, sel & 0xfffc);
	cpu->s.ldtr = desc_to_seg(&d, sel);
	tell(cpu, TOLD_LDTR, sel);
	return EXEC_OK;
}

EXEC(ltr)
{
	struct desc d;
	unsigned sel;

	if (read_selector(cpu, in, 0, &sel))
		return CPU_FAULT;
	if (!(sel & 0xfffc))
		return raise_gp0(cpu);
	if (read_system(cpu, sel, &d))
		return CPU_FAULT;
	if (desc_type(&d) != 9 && (desc_type(&d) != 1 || is_long(cpu)))
		return raise_err(cpu, VEC_GP, sel & 0xfffc);
	if (!(d.attr & SEG_P))
		return raise_err(cpu, VEC_NP, sel & 0xfffc);
	if (sys_set_bits(cpu, d.addr + 5, 2, 0))
		return CPU_FAULT;
	d.attr |= 2;
	cpu->s.tr = desc_to_seg(&d, sel);
	tell(cpu, TOLD_TR, sel);
	return EXEC_OK;
}

/* ---- LAR LSL VERR VERW ARPL ---- */

static void set_zf(struct cpu *cpu, bool zf)
{
	cpu->s.rflags = (cpu->s.rflags & ~FL_ZF) | (zf ? FL_ZF : 0);
}

/* Types of system descriptors that LAR (LSL) takes, bit n: type n */
static bool type_ok(const struct cpu *cpu, const struct desc *d, bool lsl)
{
	unsigned lar_legacy = 0x1a3e, lar_long = 0x1a04, not_lsl = 0x1030;
	unsigned mask = is_long(cpu) ? lar_long : lar_legacy;

	if (d->attr & SEG_S)
		return true;
	return (lsl ? mask & ~not_lsl : mask) >> desc_type(d) & 1;
}

static bool visible(const struct cpu *cpu, const struct desc *d, unsigned sel)
{
	unsigned dpl = desc_dpl(d);

	return desc_is_conforming(d) || (x86_cpl(&cpu->s) <= dpl && (sel & 3) <= dpl);
}

EXEC(lar)
{
	bool lsl = in->mnem == I_LSL, found;
	struct desc d;
	unsigned sel;

	if (read_selector(cpu, in, 1, &sel))
		return CPU_FAULT;
	set_zf(cpu, false);
	if (!(sel & 0xfffc))
		return EXEC_OK;
	if (desc_peek(cpu, sel, &d, &found))
		return CPU_FAULT;
	if (!found || !type_ok(cpu, &d, lsl) || !visible(cpu, &d, sel))
		return EXEC_OK;
	gpr_set(cpu, in->opnd[0].reg, in->op_size, lsl ? d.limit : d.lo >> 32 & 0x00ffff00);
	set_zf(cpu, true);
	return EXEC_OK;
}

EXEC(verr)
{
	bool write = in->mnem == I_VERW, found, ok;
	struct desc d;
	unsigned sel;

	if (read_selector(cpu, in, 0, &sel))
		return CPU_FAULT;
	set_zf(cpu, false);
	if (!(sel & 0xfffc))
		return EXEC_OK;
	if (desc_peek(cpu, sel, &d, &found))
		return CPU_FAULT;
	if (!found || !(d.attr & SEG_S) || !visible(cpu, &d, sel))
		return EXEC_OK;
	if (write)
		ok = desc_is_wdata(&d);
	else
		ok = !desc_is_code(&d) || d.attr & 2;
	set_zf(cpu, ok);
	return EXEC_OK;
}

EXEC(arpl)
{
	unsigned rpl = cpu->s.gpr[in->opnd[1].reg] & 3;
	uint64_t v;

	if (opnd_read(cpu, in, 0, &v))
		return CPU_FAULT;
	if ((v & 3) >= rpl) {
		set_zf(cpu, false);
		return EXEC_OK;
	}
	if (opnd_write(cpu, in, 0, (v & ~UINT64_C(3)) | rpl))
		return CPU_FAULT;
	set_zf(cpu, true);
	return EXEC_OK;
}

/* ---- bases ---- */

EXEC(swapgs)
{
	uint64_t base = cpu->s.seg[GS].base;

	cpu->s.seg[GS].base = cpu->s.kernel_gs_base;
	cpu->s.kernel_gs_base = base;
	mode_changed(cpu);
	return EXEC_OK;
}

EXEC(fsgsbase)
{
	unsigned sreg = in->mnem == I_RDFSBASE || in->mnem == I_WRFSBASE ? FS : GS;
	unsigned reg = in->opnd[0].reg, size = in->op_size == 8 ? 8 : 4;
	uint64_t v;

	if (!(cpu->s.cr4 & CR4_FSGSBASE))
		return raise_ud(cpu);
	if (in->mnem == I_RDFSBASE || in->mnem == I_RDGSBASE) {
		gpr_set(cpu, reg, size, cpu->s.seg[sreg].base);
		return EXEC_OK;
	}
	v = gpr_get(cpu, reg, size);
	if (!is_loadable(cpu, v))
		return raise_gp0(cpu);
	cpu->s.seg[sreg].base = v;
	mode_changed(cpu);
	return EXEC_OK;
}
