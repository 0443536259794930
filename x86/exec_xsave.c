/* SPDX-License-Identifier: ISC */
/* exec_xsave.c: the XSAVE family (SDM vol. 1, chapter 13): the components of s.xsave and PKRU, to and
 * from areas in memory in the standard and the compacted form. CPU's own thread only. */
#include "base/str.h"
#include "x86/interp.h"

#define MXCSR_INIT    0x1f80u
#define XCOMP_COMPACT BIT64(63)

const struct xs_part xs_parts[CPU_XS_PARTS] = {
	[XS_PART_AVX] = {XCR0_AVX, 256, 128},       [XS_PART_OPMASK] = {XCR0_OPMASK, 64, 64},
	[XS_PART_ZMM_HI] = {XCR0_ZMM_HI, 512, 256}, [XS_PART_HI_ZMM] = {XCR0_HI_ZMM, 1024, 0},
	[XS_PART_PKRU] = {XCR0_PKRU, 8, 8},
};

static int xsave_ready(struct cpu *cpu)
{
	if (!(cpu->s.cr4 & CR4_OSXSAVE))
		return raise_ud(cpu);
	return cpu->s.cr0 & CR0_TS ? raise_vec(cpu, VEC_NM) : 0;
}

static uint64_t rfbm(const struct cpu *cpu)
{
	uint64_t mask = cpu->s.gpr[RDX] << 32 | (cpu->s.gpr[RAX] & 0xffffffff);

	return mask & cpu->s.xcr0;
}

uint64_t xsave_in_use(const struct cpu *cpu)
{
	return (fx64(cpu, XS_BV) & ~XCR0_PKRU) | (cpu->s.pkru ? XCR0_PKRU : 0);
}

/* Where the n-th part is in an area of these components */
static unsigned part_at(const struct cpu *cpu, unsigned n, uint64_t comp, bool compact)
{
	unsigned at = XS_AVX;

	if (!compact)
		return cpu->i.xs_at[n];
	for (unsigned i = 0; i < n; i++)
		at += comp & xs_parts[i].bit ? xs_parts[i].size : 0;
	return at;
}

unsigned xsave_size(const struct cpu *cpu, uint64_t comp, bool compact)
{
	unsigned size = XS_AVX;

	for (unsigned i = 0; i < CPU_XS_PARTS; i++)
		if (comp & xs_parts[i].bit)
			size = MAX(size, part_at(cpu, i, comp, compact) + xs_parts[i].size);
	return size;
}

static unsigned part_size(const struct insn *in, unsigned n)
{
	return in->mode == 8 ? xs_parts[n].size : xs_parts[n].size32;
}

static bool is_compact(const struct insn *in)
{
	return in->mnem == I_XSAVEC || in->mnem == I_XSAVES;
}

/* The first 576 bytes. What is not written stays as it was. */
static void head_out(struct cpu *cpu, const struct insn *in, uint64_t mask, uint64_t in_use,
		     uint64_t write, uint8_t *area)
{
	bool compact = is_compact(in);
	uint8_t legacy[FX_WRITTEN];
	uint64_t bv, comp = mask | XCOMP_COMPACT;

	memcpy(&bv, area + XS_BV, 8);
	fpu_legacy_out(cpu, in->op_size == 8, legacy);
	if (write & XCR0_X87) {
		memcpy(area, legacy, FX_MXCSR);
		memcpy(area + FX_ST, legacy + FX_ST, FX_XMM - FX_ST);
	}
	if (compact ? write & XCR0_SSE : mask & (XCR0_SSE | XCR0_AVX))
		memcpy(area + FX_MXCSR, legacy + FX_MXCSR, 8);
	if (write & XCR0_SSE) /* registers 0-7 outside of 64-bit mode */
		memcpy(area + FX_XMM, legacy + FX_XMM, in->mode == 8 ? 256 : 128);
	if (compact) {
		memcpy(area + XS_COMP, &comp, 8);
		bv = in_use;
	} else {
		bv = (bv & ~mask) | in_use;
	}
	memcpy(area + XS_BV, &bv, 8);
}

/* All need write permission only; it is checked for the whole area before anything is written. */
EXEC(xsave)
{
	bool compact = is_compact(in), user = at_user(cpu);
	uint64_t mask = rfbm(cpu), in_use = xsave_in_use(cpu) & mask, write;
	unsigned size = xsave_size(cpu, mask, compact);
	uint64_t pkru = cpu->s.pkru, bv = fx64(cpu, XS_BV);
	uint8_t area[XS_AVX];
	gva_t gva;

	if (xsave_ready(cpu) || linear_aligned(cpu, in, size, 64, ACCESS_WRITE, &gva) ||
	    lin_probe_write(cpu, gva, size, user) || cpu_read(cpu, gva, area, XS_AVX, user))
		return CPU_FAULT;
	/* MXCSR away from its reset value counts as SSE in use for these (13.6) */
	if (compact && mask & XCR0_SSE && fx32(cpu, FX_MXCSR) != MXCSR_INIT)
		in_use |= XCR0_SSE;
	write = in->mnem == I_XSAVE ? mask : in_use;
	fpu_sync(cpu, (unsigned)(write & ~XCR0_PKRU));
	head_out(cpu, in, mask, in_use, write, area);
	/* written out, but not in use for that */
	fx_put64(cpu, XS_BV, bv);
	for (unsigned i = 0; i < CPU_XS_PARTS; i++) {
		const void *from = i == XS_PART_PKRU ? (const void *)&pkru
						     : cpu->s.xsave.bytes + cpu->i.xs_at[i];

		if (write & xs_parts[i].bit && part_size(in, i) &&
		    cpu_write(cpu, gva + part_at(cpu, i, mask, compact), from, part_size(in, i),
			      user))
			return CPU_FAULT;
	}
	return cpu_write(cpu, gva, area, XS_AVX, user);
}

/* Header of an area to be restored (SDM vol. 1, 13.8); *compact by XCOMP_BV. XRSTORS wants it. */
static int check_header(struct cpu *cpu, const struct insn *in, const uint8_t *area, bool *compact,
			uint64_t *bv, uint64_t *comp)
{
	uint64_t rest;

	memcpy(bv, area + XS_BV, 8);
	memcpy(comp, area + XS_COMP, 8);
	*compact = *comp & XCOMP_COMPACT;
	if (*compact ? !cpu_has(cpu, X_FEAT_XSAVEC) : in->mnem == I_XRSTORS)
		return raise_gp0(cpu);
	if (*compact) {
		*comp &= ~XCOMP_COMPACT;
		if (*comp & ~cpu->s.xcr0 || *bv & ~*comp)
			return raise_gp0(cpu);
	} else if (*comp || *bv & ~cpu->s.xcr0) {
		return raise_gp0(cpu);
	}
	for (unsigned i = XS_COMP + 8; i < XS_AVX; i += 8) {
		/* the standard form looks at bytes 16-23 only */
		if (!*compact && i > XS_COMP + 8)
			break;
		memcpy(&rest, area + i, 8);
		if (rest)
			return raise_gp0(cpu);
	}
	return 0;
}

/* Registers of one component; src NULL: zeros */
static void regs_in(struct cpu *cpu, unsigned at, const uint8_t *src, unsigned size)
{
	if (src)
		memcpy(cpu->s.xsave.bytes + at, src, size);
	else
		memset(cpu->s.xsave.bytes + at, 0, size);
}

EXEC(xrstor)
{
	static const uint8_t init_area[FX_XMM] = {0x7f, 0x03};
	uint64_t mask = rfbm(cpu), bv, comp;
	uint8_t area[XS_AVX], part[CPU_XS_PARTS][1024];
	bool compact, user = at_user(cpu), load_mxcsr, all;
	unsigned size;
	uint32_t mxcsr, pkru = 0;
	gva_t gva;

	if (xsave_ready(cpu) || linear_aligned(cpu, in, XS_AVX, 64, ACCESS_READ, &gva) ||
	    cpu_read(cpu, gva, area, XS_AVX, user) ||
	    check_header(cpu, in, area, &compact, &bv, &comp))
		return CPU_FAULT;
	size = xsave_size(cpu, compact ? comp : mask & bv, compact);
	if (cpu_linear(cpu, in->mem.seg, cpu_ea(cpu, in), size, ACCESS_READ, &gva))
		return CPU_FAULT;
	watch_check(cpu, gva, size, false);
	for (unsigned i = 0; i < CPU_XS_PARTS; i++) {
		if (mask & bv & xs_parts[i].bit && part_size(in, i) &&
		    cpu_read(cpu, gva + part_at(cpu, i, comp, compact), part[i], part_size(in, i),
			     user))
			return CPU_FAULT;
	}
	memcpy(&mxcsr, area + FX_MXCSR, 4);
	load_mxcsr = compact ? mask & bv & XCR0_SSE : mask & (XCR0_SSE | XCR0_AVX);
	if (load_mxcsr && mxcsr & ~MXCSR_MASK)
		return raise_gp0(cpu);
	/* What becomes initial as a whole is only said to be. */
	all = in->mode == 8;
	fpu_sync(cpu,
		 (unsigned)(mask & ~XCR0_PKRU & (all ? bv | XCR0_X87 | XCR0_SSE : UINT64_MAX)));
	if (mask & XCR0_X87)
		fpu_x87_in(cpu, in->op_size == 8, bv & XCR0_X87 ? area : init_area);
	if (mask & XCR0_SSE)
		regs_in(cpu, FX_XMM, bv & XCR0_SSE ? area + FX_XMM : NULL,
			in->mode == 8 ? 256 : 128);
	for (unsigned i = 0; i < XS_PART_PKRU; i++)
		if (mask & xs_parts[i].bit && (bv & xs_parts[i].bit || !all))
			regs_in(cpu, cpu->i.xs_at[i], bv & xs_parts[i].bit ? part[i] : NULL,
				part_size(in, i));
	if (mask & XCR0_PKRU) {
		if (bv & XCR0_PKRU)
			memcpy(&pkru, part[XS_PART_PKRU], sizeof(pkru));
		pkru_set(cpu, pkru);
	}
	if (load_mxcsr)
		fx_put32(cpu, FX_MXCSR, mxcsr);
	else if (compact && mask & XCR0_SSE)
		fx_put32(cpu, FX_MXCSR, MXCSR_INIT);
	if (all)
		fx_put64(cpu, XS_BV, fx64(cpu, XS_BV) & ~(mask & ~bv));
	return EXEC_OK;
}

/* ---- protection keys ---- */

void pkru_set(struct cpu *cpu, uint32_t v)
{
	uint32_t changed = v ^ cpu->s.pkru;

	cpu->s.pkru = v;
	for (unsigned key = 0; changed; key++, changed >>= 2)
		if (changed & 3 && cpu->i.keys >> key & 1) {
			cpu->i.keys = 0;
			tlb_flush(cpu, FLUSH_ALL, 0, 0);
			return;
		}
}

static int pkru_ready(struct cpu *cpu)
{
	if (!(cpu->s.cr4 & CR4_PKE))
		return raise_ud(cpu);
	return (uint32_t)cpu->s.gpr[RCX] ? raise_gp0(cpu) : 0;
}

EXEC(rdpkru)
{
	if (pkru_ready(cpu))
		return CPU_FAULT;
	cpu->s.gpr[RAX] = cpu->s.pkru;
	cpu->s.gpr[RDX] = 0;
	return EXEC_OK;
}

EXEC(wrpkru)
{
	if (pkru_ready(cpu))
		return CPU_FAULT;
	if ((uint32_t)cpu->s.gpr[RDX])
		return raise_gp0(cpu);
	pkru_set(cpu, (uint32_t)cpu->s.gpr[RAX]);
	return EXEC_OK;
}
