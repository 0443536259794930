/* SPDX-License-Identifier: ISC */
/* exec_vec.c: vector instructions whose memory accesses depend on a mask: VMASKMOV, VPMASKMOV,
 * MASKMOVDQU, MASKMOVQ, gathers (SDM vol. 2). Elements that are masked out are not accessed. They
 * work on the image in s.xsave. CPU's own thread only. */
#include "base/str.h"
#include "x86/interp.h"

/* Byte off of vector register reg in the image */
static uint8_t *vec(struct cpu *cpu, unsigned reg, unsigned off)
{
	uint8_t *b = cpu->s.xsave.bytes;

	if (reg >= 16)
		return b + cpu->i.xs_at[XS_PART_HI_ZMM] + (reg - 16) * 64 + off;
	if (off < 16)
		return b + FX_XMM + reg * 16 + off;
	if (off < 32)
		return b + XS_AVX + reg * 16 + (off - 16);
	return b + cpu->i.xs_at[XS_PART_ZMM_HI] + reg * 32 + (off - 32);
}

uint64_t vec_get(struct cpu *cpu, unsigned reg, unsigned i, unsigned size)
{
	uint64_t v = 0;

	memcpy(&v, vec(cpu, reg, i * size), size);
	return v;
}

void vec_put(struct cpu *cpu, unsigned reg, unsigned i, unsigned size, uint64_t v)
{
	memcpy(vec(cpu, reg, i * size), &v, size);
}

/* VEX: what lies above the vector length is zeroed. */
static void vec_clear_from(struct cpu *cpu, unsigned reg, unsigned from)
{
	unsigned end = fx64(cpu, XS_BV) & XCR0_ZMM_HI ? 64 : 32;

	for (unsigned off = from; off < end; off += 8)
		memset(vec(cpu, reg, off), 0, 8);
}

static void sync_all(struct cpu *cpu)
{
	fpu_sync(cpu, XCR0_SSE | XCR0_AVX);
}

static uint64_t element_ea(const struct insn *in, uint64_t ea, unsigned i, unsigned size)
{
	return (ea + i * size) & size_mask(in->mem.addr_size);
}

/* ---- VMASKMOVPS VMASKMOVPD VPMASKMOVD VPMASKMOVQ ---- */

static int mask_load(struct cpu *cpu, const struct insn *in, unsigned size)
{
	unsigned dst = in->opnd[0].reg, mask = in->opnd[1].reg, n = in->opnd[0].size / size;
	uint64_t ea = cpu_ea(cpu, in), v[8] = {0};

	touch_masked(cpu, in, n * size, ACCESS_READ);
	for (unsigned i = 0; i < n; i++)
		if (vec_get(cpu, mask, i, size) >> (size * 8 - 1) &&
		    seg_read(cpu, in->mem.seg, element_ea(in, ea, i, size), size, &v[i]))
			return CPU_FAULT;
	for (unsigned i = 0; i < n; i++)
		vec_put(cpu, dst, i, size, v[i]);
	vec_clear_from(cpu, dst, n * size);
	return EXEC_OK;
}

static int mask_store(struct cpu *cpu, const struct insn *in, unsigned size)
{
	unsigned mask = in->opnd[1].reg, src = in->opnd[2].reg, n = in->opnd[2].size / size;
	uint64_t ea = cpu_ea(cpu, in);
	gva_t gva;

	touch_masked(cpu, in, n * size, ACCESS_WRITE);
	/* all that are written must be writable before one is */
	for (unsigned i = 0; i < n; i++)
		if (vec_get(cpu, mask, i, size) >> (size * 8 - 1) &&
		    (cpu_linear(cpu, in->mem.seg, element_ea(in, ea, i, size), size, ACCESS_WRITE,
				&gva) ||
		     lin_probe_write(cpu, gva, size, at_user(cpu))))
			return CPU_FAULT;
	for (unsigned i = 0; i < n; i++)
		if (vec_get(cpu, mask, i, size) >> (size * 8 - 1) &&
		    seg_write(cpu, in->mem.seg, element_ea(in, ea, i, size), size,
			      vec_get(cpu, src, i, size)))
			return CPU_FAULT;
	return EXEC_OK;
}

EXEC(vmaskmov)
{
	unsigned size = in->mnem == I_VMASKMOVPS || in->mnem == I_VPMASKMOVD ? 4 : 8;

	sync_all(cpu);
	if (in->opnd[0].kind == OP_MEM)
		return mask_store(cpu, in, size);
	return mask_load(cpu, in, size);
}

/* ---- MASKMOVDQU, MASKMOVQ ---- */

EXEC(maskmov)
{
	bool mmx = in->mnem == I_MASKMOVQ;
	unsigned n = mmx ? 8 : 16, src = in->opnd[0].reg, mask = in->opnd[1].reg;
	uint64_t ea = cpu->s.gpr[RDI] & size_mask(in->mem.addr_size);
	const uint8_t *s, *m;
	gva_t gva;

	if (mmx)
		fpu_enter_mmx(cpu);
	else
		fpu_sync(cpu, XCR0_SSE);
	s = mmx ? cpu->s.xsave.bytes + FX_ST + src * 16 : vec(cpu, src, 0);
	m = mmx ? cpu->s.xsave.bytes + FX_ST + mask * 16 : vec(cpu, mask, 0);
	/* All of it must be writable, whatever the mask says. */
	if (cpu_linear(cpu, in->mem.seg, ea, n, ACCESS_WRITE, &gva) ||
	    lin_probe_write(cpu, gva, n, at_user(cpu)))
		return CPU_FAULT;
	for (unsigned i = 0; i < n; i++)
		if (m[i] & 0x80 && seg_write(cpu, in->mem.seg, element_ea(in, ea, i, 1), 1, s[i]))
			return CPU_FAULT;
	return EXEC_OK;
}

/* ---- gathers ---- */

struct gather {
	unsigned elem, index; /* bytes */
	unsigned n;
};

static struct gather gather_of(const struct insn *in)
{
	bool q_index = in->opcode & 1;
	unsigned bytes = in->vex_l ? 32 : 16;
	struct gather g = {in->opnd[1].size, q_index ? 8 : 4, 0};

	g.n = bytes / MAX(g.elem, g.index);
	return g;
}

/* Element by element: a fault leaves those before it done and their masks cleared. */
EXEC(gather)
{
	unsigned dst = in->opnd[0].reg, mask = in->opnd[2].reg, idx = (unsigned)in->mem.index & 15;
	struct gather g = gather_of(in);
	unsigned length = in->vex_l ? 32 : 16;
	uint64_t base = cpu_ea(cpu, in), v, ea;

	if (in->enc == ENC_EVEX)
		return exec_evex_vsib(cpu, in);
	if (dst == mask || dst == idx || mask == idx)
		return raise_ud(cpu);
	sync_all(cpu);
	/* Intel widens the mask's sign bits first, of unused elements too, which shows after a fault */
	for (unsigned i = 0; i < length / g.elem && !cpu->i.amd; i++) {
		bool on = vec_get(cpu, mask, i, g.elem) >> (g.elem * 8 - 1);

		vec_put(cpu, mask, i, g.elem, on ? UINT64_MAX : 0);
	}
	if (!cpu->i.amd)
		vec_clear_from(cpu, mask, length);
	for (unsigned i = 0; i < g.n; i++) {
		if (!(vec_get(cpu, mask, i, g.elem) >> (g.elem * 8 - 1))) {
			vec_put(cpu, mask, i, g.elem, 0);
			continue;
		}
		ea = base +
		     (uint64_t)sign_extend(vec_get(cpu, idx, i, g.index), g.index) * in->mem.scale;
		if (seg_read(cpu, in->mem.seg, ea & size_mask(in->mem.addr_size), g.elem, &v))
			return CPU_FAULT;
		vec_put(cpu, dst, i, g.elem, v);
		if (!cpu->i.amd) /* what is beyond the vector length is gone with the first */
			vec_clear_from(cpu, dst, length);
		vec_put(cpu, mask, i, g.elem, 0);
	}
	vec_clear_from(cpu, mask, 0);
	vec_clear_from(cpu, dst, MAX(g.n * g.elem, 8u));
	return EXEC_OK;
}

/* ---- VZEROUPPER, VZEROALL ---- */

/* Outside of 64-bit mode registers 8 to 15 are not there, and keep what they have. */
EXEC(vzero)
{
	if (in->mode == 8)
		return cpu_native(cpu, in, NULL);
	sync_all(cpu);
	for (unsigned reg = 0; reg < 8; reg++)
		vec_clear_from(cpu, reg, in->mnem == I_VZEROALL ? 0 : 16);
	return EXEC_OK;
}
