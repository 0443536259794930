/* SPDX-License-Identifier: ISC */
/* exec_fp.c: instructions that save and restore the x87 and SSE state as a whole (SDM vol. 1, chapters
 * 8 and 10), done on the image in s.xsave; exec_xsave.c has the extended states. FCS and FDS are not kept (CPUID.7.EBX[13]).
 * CPU's own thread only. */
#include "base/str.h"
#include "x86/interp.h"

#define FX_SIZE  512
#define FCW_BITS 0x1f3fu
#define FCW_ONE  0x40u /* reads as one */
#define FCW_INIT 0x37fu

void fpu_sync(struct cpu *cpu, unsigned mask)
{
	uint8_t *b = cpu->s.xsave.bytes;
	uint64_t in_use = fx64(cpu, XS_BV), add = mask & ~in_use;

	if (!add)
		return;
	if (add & XCR0_X87) {
		memset(b, 0, FX_MXCSR);
		memset(b + FX_ST, 0, FX_XMM - FX_ST);
		fx_put16(cpu, FX_FCW, FCW_INIT);
	}
	if (add & XCR0_SSE)
		memset(b + FX_XMM, 0, 256);
	for (unsigned i = 0; i < CPU_XS_PARTS; i++)
		if (add & xs_parts[i].bit)
			memset(b + cpu->i.xs_at[i], 0, xs_parts[i].size);
	fx_put64(cpu, XS_BV, in_use | add);
}

/* TOP changes, the registers stay where they are: the image, which is in stack order, turns. */
void fpu_set_top(struct cpu *cpu, unsigned top)
{
	unsigned fsw = fx16(cpu, FX_FSW), turn = (fsw >> 11) - top;
	uint8_t st[8 * 16];

	memcpy(st, cpu->s.xsave.bytes + FX_ST, sizeof(st));
	for (unsigned i = 0; i < 8; i++)
		memcpy(cpu->s.xsave.bytes + FX_ST + ((i + turn) & 7) * 16, st + i * 16, 16);
	fx_put16(cpu, FX_FSW, (fsw & ~0x3800u) | top << 11);
}

void fpu_enter_mmx(struct cpu *cpu)
{
	fpu_sync(cpu, XCR0_X87);
	fpu_set_top(cpu, 0);
	fx_put16(cpu, FX_FTW, 0xff);
}

/* ES and B follow from the exceptions and their masks. */
void fpu_set_summary(struct cpu *cpu)
{
	unsigned fsw = fx16(cpu, FX_FSW) & ~(FSW_ES | 0x8000u);

	if (fsw & 0x3f & ~fx16(cpu, FX_FCW))
		fsw |= FSW_ES | 0x8000u;
	fx_put16(cpu, FX_FSW, fsw);
}

static void init_x87(struct cpu *cpu)
{
	uint64_t in_use = fx64(cpu, XS_BV);

	fpu_sync(cpu, XCR0_X87);
	fpu_set_top(cpu, 0);
	memset(cpu->s.xsave.bytes, 0, FX_MXCSR);
	fx_put16(cpu, FX_FCW, FCW_INIT);
	fx_put64(cpu, XS_BV, in_use | XCR0_X87);
}

int linear_aligned(struct cpu *cpu, const struct insn *in, unsigned size, unsigned align,
		   enum cpu_access acc, gva_t *gva)
{
	if (cpu_linear(cpu, in->mem.seg, cpu_ea(cpu, in), size, acc, gva))
		return CPU_FAULT;
	if (!IS_ALIGNED(*gva, (gva_t)align))
		return raise_gp0(cpu);
	watch_check(cpu, *gva, size, acc == ACCESS_WRITE); /* forgotten if it faults */
	return 0;
}

/* ---- FXSAVE, FXRSTOR ---- */

void fpu_legacy_out(struct cpu *cpu, bool wide, uint8_t *out)
{
	fpu_sync(cpu, XCR0_X87 | XCR0_SSE);
	memcpy(out, cpu->s.xsave.bytes, FX_WRITTEN);
	if (!wide) {
		memset(out + FX_FIP + 4, 0, 4);
		memset(out + FX_FDP + 4, 0, 4);
	}
	out[5] = 0;
	memset(out + FX_MASK, 0, 4);
	out[FX_MASK] = out[FX_MASK + 1] = 0xff; /* MXCSR_MASK 0000FFFFH */
}

void fpu_x87_in(struct cpu *cpu, bool wide, const uint8_t *in)
{
	memcpy(cpu->s.xsave.bytes, in, FX_MXCSR);
	memcpy(cpu->s.xsave.bytes + FX_ST, in + FX_ST, FX_XMM - FX_ST);
	fx_put16(cpu, FX_FCW, (fx16(cpu, FX_FCW) & FCW_BITS) | FCW_ONE);
	fx_put16(cpu, FX_FTW, fx16(cpu, FX_FTW) & 0xff);
	fx_put16(cpu, FX_FOP, fx16(cpu, FX_FOP) & 0x7ff);
	if (!wide) {
		memset(cpu->s.xsave.bytes + FX_FIP + 4, 0, 4);
		memset(cpu->s.xsave.bytes + FX_FDP + 4, 0, 4);
	}
	fpu_set_summary(cpu);
}

EXEC(fxsave)
{
	unsigned size = in->mode == 8 ? FX_WRITTEN : FX_XMM + 128;
	uint8_t buf[FX_WRITTEN];
	gva_t gva;

	if (linear_aligned(cpu, in, FX_SIZE, 16, ACCESS_WRITE, &gva))
		return CPU_FAULT;
	fpu_legacy_out(cpu, in->op_size == 8, buf);
	return cpu_write(cpu, gva, buf, size, at_user(cpu));
}

EXEC(fxrstor)
{
	unsigned xmm = in->mode == 8 ? 256 : 128;
	uint8_t buf[FX_WRITTEN];
	uint32_t mxcsr;
	gva_t gva;

	if (linear_aligned(cpu, in, FX_SIZE, 16, ACCESS_READ, &gva) ||
	    cpu_read(cpu, gva, buf, sizeof(buf), at_user(cpu)))
		return CPU_FAULT;
	memcpy(&mxcsr, buf + FX_MXCSR, 4);
	if (mxcsr & ~MXCSR_MASK)
		return raise_gp0(cpu);
	fpu_sync(cpu, XCR0_X87 | XCR0_SSE);
	fpu_x87_in(cpu, in->op_size == 8, buf);
	fx_put32(cpu, FX_MXCSR, mxcsr);
	memcpy(cpu->s.xsave.bytes + FX_XMM, buf + FX_XMM, xmm);
	return EXEC_OK;
}

/* ---- MXCSR ---- */

EXEC(ldmxcsr)
{
	uint64_t v;

	if (seg_read(cpu, in->mem.seg, cpu_ea(cpu, in), 4, &v))
		return CPU_FAULT;
	if (v & ~(uint64_t)MXCSR_MASK)
		return raise_gp0(cpu);
	fx_put32(cpu, FX_MXCSR, (uint32_t)v);
	return EXEC_OK;
}

EXEC(stmxcsr)
{
	return seg_write(cpu, in->mem.seg, cpu_ea(cpu, in), 4, fx32(cpu, FX_MXCSR));
}

/* ---- FNSTENV, FNSAVE, FLDENV, FRSTOR ---- */

/* Two bits a physical register: valid, zero, special, empty */
unsigned cpu_x87_tags(const struct cpu *cpu)
{
	unsigned abridged = fx16(cpu, FX_FTW) & 0xff, top = fx16(cpu, FX_FSW) >> 11 & 7, tags = 0;

	for (unsigned phys = 0; phys < 8; phys++) {
		unsigned st = FX_ST + ((phys - top) & 7) * 16, tag = 3;
		unsigned exp = fx16(cpu, st + 8) & 0x7fff;
		uint64_t man = fx64(cpu, st);

		if (abridged >> phys & 1) {
			if (exp == 0x7fff || (exp && !(man >> 63)) || (!exp && man))
				tag = 2;
			else
				tag = exp ? 0 : 1;
		}
		tags |= tag << (2 * phys);
	}
	return tags;
}

unsigned cpu_x87_abridge(unsigned tags)
{
	unsigned v = 0;

	for (unsigned i = 0; i < 8; i++)
		if ((tags >> (2 * i) & 3) != 3)
			v |= BIT(i);
	return v;
}

/* The environment in its four formats (SDM vol. 1, figures 8-9 to 8-12); gives its size. */
static unsigned env_out(struct cpu *cpu, unsigned size, uint8_t *out)
{
	uint32_t f[7], fip = fx32(cpu, FX_FIP), fdp = fx32(cpu, FX_FDP);
	uint32_t fop = fx16(cpu, FX_FOP) & 0x7ff;
	bool prot = is_prot(cpu);

	f[0] = 0xffff0000 | fx16(cpu, FX_FCW);
	f[1] = 0xffff0000 | fx16(cpu, FX_FSW);
	f[2] = 0xffff0000 | cpu_x87_tags(cpu);
	if (prot) {
		f[3] = fip;
		f[4] = size == 4 ? fop << 16 : 0;
		f[5] = fdp;
		f[6] = 0xffff0000;
	} else if (size == 4) {
		f[3] = 0xffff0000 | (fip & 0xffff);
		f[4] = (fip >> 16) << 12 | fop;
		f[5] = 0xffff0000 | (fdp & 0xffff);
		f[6] = (fdp >> 16) << 12;
	} else {
		f[3] = fip;
		f[4] = (fip >> 16 & 0xf) << 12 | fop;
		f[5] = fdp;
		f[6] = (fdp >> 16 & 0xf) << 12;
	}
	for (unsigned i = 0; i < 7; i++)
		memcpy(out + i * size, &f[i], size);
	return 7 * size;
}

static void env_in(struct cpu *cpu, unsigned size, const uint8_t *in)
{
	uint32_t f[7] = {0}, fip, fdp, fop;

	for (unsigned i = 0; i < 7; i++)
		memcpy(&f[i], in + i * size, size);
	fip = f[3];
	fdp = f[5];
	fop = f[4];
	if (is_prot(cpu)) {
		fop = size == 4 ? f[4] >> 16 : 0;
	} else {
		fip = (fip & 0xffff) | (f[4] >> 12) << 16;
		fdp = (fdp & 0xffff) | (f[6] >> 12) << 16;
	}
	fx_put16(cpu, FX_FCW, (f[0] & FCW_BITS) | FCW_ONE);
	fpu_set_top(cpu, f[1] >> 11 & 7);
	fx_put16(cpu, FX_FSW, f[1] & 0xffff);
	fx_put16(cpu, FX_FTW, cpu_x87_abridge(f[2]));
	fx_put16(cpu, FX_FOP, fop & 0x7ff);
	fx_put64(cpu, FX_FIP, fip);
	fx_put64(cpu, FX_FDP, fdp);
	fpu_set_summary(cpu);
}

static unsigned env_unit(const struct insn *in)
{
	return in->op_size == 2 ? 2 : 4;
}

EXEC(fnstenv)
{
	uint8_t buf[28 + 80];
	unsigned n;

	fpu_sync(cpu, XCR0_X87);
	n = env_out(cpu, env_unit(in), buf);
	if (in->mnem == I_FNSAVE) {
		for (unsigned i = 0; i < 8; i++, n += 10)
			memcpy(buf + n, cpu->s.xsave.bytes + FX_ST + i * 16, 10);
	}
	if (seg_write_buf(cpu, in->mem.seg, cpu_ea(cpu, in), buf, n))
		return CPU_FAULT;
	if (in->mnem == I_FNSAVE) {
		init_x87(cpu);
		return EXEC_OK;
	}
	fx_put16(cpu, FX_FCW, fx16(cpu, FX_FCW) | 0x3f);
	fpu_set_summary(cpu);
	return EXEC_OK;
}

EXEC(fldenv)
{
	unsigned unit = env_unit(in), n = 7 * unit;
	uint8_t buf[28 + 80];

	if (seg_read_buf(cpu, in->mem.seg, cpu_ea(cpu, in), buf, in->mnem == I_FRSTOR ? n + 80 : n))
		return CPU_FAULT;
	fpu_sync(cpu, XCR0_X87);
	env_in(cpu, unit, buf);
	if (in->mnem == I_FRSTOR) {
		for (unsigned i = 0; i < 8; i++) {
			uint8_t *st = cpu->s.xsave.bytes + FX_ST + i * 16;

			memset(st, 0, 16);
			memcpy(st, buf + n + i * 10, 10);
		}
	}
	return EXEC_OK;
}
