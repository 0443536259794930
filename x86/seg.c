/* SPDX-License-Identifier: ISC */
/* seg.c: segment registers, descriptors and the checks of segmented addresses (SDM vol. 3, chapters
 * 3 and 5). CPU's own thread only. */
#include "x86/interp.h"

#define ATTR_V86 (SEG_P | SEG_DPL | SEG_S | 3u)

/* ---- addresses ---- */

uint64_t cpu_ea(const struct cpu *cpu, const struct insn *in)
{
	const struct insn_mem *m = &in->mem;
	uint64_t ea = (uint64_t)m->disp;

	if (m->base >= 0)
		ea += cpu->s.gpr[m->base];
	if (m->index >= 0 && !(in->row->attr & AT_VSIB))
		ea += cpu->s.gpr[m->index] * m->scale;
	if (m->rip_rel)
		ea += cpu->s.rip + in->len;
	return ea & size_mask(m->addr_size);
}

/* #GP(0), or for the stack segment #SS(error) */
#define violation(cpu, is_ss, error) \
	raise_err(cpu, (is_ss) ? VEC_SS : VEC_GP, (is_ss) ? (error) : 0)

int seg_check(struct cpu *cpu, const struct x86_seg *seg, bool is_ss, uint32_t error, uint64_t ea,
	      unsigned size, enum cpu_access acc)
{
	uint64_t last = ea + (size ? size - 1 : 0);
	unsigned type = seg->attr & SEG_TYPE;
	bool data = !(type & 8);

	if (is_prot(cpu)) {
		if (seg->attr & SEG_UNUSABLE)
			return violation(cpu, is_ss, error);
		if (acc == ACCESS_WRITE && (!data || !(type & 2)))
			return violation(cpu, is_ss, error);
		if (acc == ACCESS_READ && !data && !(type & 2))
			return violation(cpu, is_ss, error);
	}
	if (data && type & 4) { /* expand-down: valid above the limit */
		uint64_t top = seg->attr & SEG_DB ? 0xffffffff : 0xffff;

		if (ea <= seg->limit || last > top)
			return violation(cpu, is_ss, error);
	} else if (last > seg->limit) {
		return violation(cpu, is_ss, error);
	}
	return 0;
}

int cpu_linear(struct cpu *cpu, unsigned sreg, uint64_t ea, unsigned size, enum cpu_access acc,
	       gva_t *out)
{
	const struct x86_seg *seg = &cpu->s.seg[sreg];

	if (likely(is_64(cpu))) {
		gva_t gva = ea + (sreg >= FS ? seg->base : 0);

		if (unlikely(!is_canonical(cpu, gva)) ||
		    unlikely(size > 1 && !is_canonical(cpu, gva + size - 1)))
			return violation(cpu, sreg == SS, 0);
		*out = gva;
		return 0;
	}
	if (seg_check(cpu, seg, sreg == SS, 0, ea, size, acc))
		return CPU_FAULT;
	*out = (seg->base + ea) & 0xffffffff;
	return 0;
}

/* ---- descriptors ---- */

static void desc_parse(struct desc *d, uint64_t lo)
{
	d->lo = lo;
	d->hi = 0;
	d->attr = (uint16_t)(lo >> 40 & 0xf0ff);
	d->limit = (uint32_t)((lo & 0xffff) | (lo >> 32 & 0xf0000));
	if (d->attr & SEG_G)
		d->limit = d->limit << 12 | 0xfff;
	d->base = (lo >> 16 & 0xffffff) | (lo >> 32 & 0xff000000);
}

int desc_peek(struct cpu *cpu, unsigned sel, struct desc *d, bool *found)
{
	uint64_t base = cpu->s.gdtr.base, lo;
	uint32_t limit = cpu->s.gdtr.limit;

	*found = false;
	if (sel & 4) {
		if (cpu->s.ldtr.attr & SEG_UNUSABLE || !(cpu->s.ldtr.sel & 0xfffc))
			return 0;
		base = cpu->s.ldtr.base;
		limit = cpu->s.ldtr.limit;
	}
	if ((sel & 0xfff8) + 7u > limit)
		return 0;
	d->addr = base + (sel & 0xfff8);
	d->sel = (uint16_t)sel;
	if (sys_read(cpu, d->addr, 8, &lo))
		return CPU_FAULT;
	desc_parse(d, lo);
	*found = true;
	return 0;
}

int desc_read(struct cpu *cpu, unsigned sel, unsigned vector, uint32_t ext, struct desc *d)
{
	bool found;

	if (desc_peek(cpu, sel, d, &found))
		return CPU_FAULT;
	return found ? 0 : raise_err(cpu, vector, (sel & 0xfffc) | ext);
}

int desc_read_hi(struct cpu *cpu, unsigned vector, struct desc *d)
{
	uint32_t limit = d->sel & 4 ? cpu->s.ldtr.limit : cpu->s.gdtr.limit;

	if ((d->sel & 0xfff8) + 15u > limit)
		return raise_err(cpu, vector, d->sel & 0xfffc);
	if (sys_read(cpu, d->addr + 8, 8, &d->hi))
		return CPU_FAULT;
	if (d->hi & UINT64_C(0x1f0000000000)) /* type field of the upper half must be 0 */
		return raise_err(cpu, vector, d->sel & 0xfffc);
	d->base |= d->hi << 32;
	return 0;
}

int desc_set_accessed(struct cpu *cpu, struct desc *d)
{
	if (d->attr & 1)
		return 0;
	d->attr |= 1;
	return sys_set_bits(cpu, d->addr + 5, 1, 0);
}

struct x86_seg desc_to_seg(const struct desc *d, unsigned sel)
{
	return (struct x86_seg){
		.sel = (uint16_t)sel, .attr = d->attr, .limit = d->limit, .base = d->base};
}

/* ---- loading ---- */

/* Real mode touches selector and base only: the cached limit and type stay ("unreal mode"). */
void seg_set_real(struct cpu *cpu, unsigned sreg, unsigned sel)
{
	cpu->s.seg[sreg].sel = (uint16_t)sel;
	cpu->s.seg[sreg].base = (uint64_t)sel << 4;
	if (cpu->s.seg[sreg].attr & SEG_UNUSABLE) {
		cpu->s.seg[sreg].attr = SEG_P | SEG_S | 3;
		cpu->s.seg[sreg].limit = 0xffff;
	}
}

void seg_set_v86(struct cpu *cpu, unsigned sreg, unsigned sel)
{
	cpu->s.seg[sreg] = (struct x86_seg){
		.sel = (uint16_t)sel, .attr = ATTR_V86, .limit = 0xffff, .base = sel << 4};
}

void seg_set_null(struct cpu *cpu, unsigned sreg, unsigned sel)
{
	uint16_t dpl = sreg == SS ? cpu->s.seg[SS].attr & SEG_DPL : 0;

	cpu->s.seg[sreg] = (struct x86_seg){.sel = (uint16_t)sel, .attr = SEG_UNUSABLE | dpl};
}

int seg_check_ss(struct cpu *cpu, unsigned sel, unsigned cpl, unsigned vector, uint32_t ext,
		 struct desc *d)
{
	uint32_t error = (sel & 0xfffc) | ext;

	if (!(sel & 0xfffc))
		return raise_err(cpu, vector, ext);
	if (desc_read(cpu, sel, vector, ext, d))
		return CPU_FAULT;
	if ((sel & 3) != cpl || !desc_is_wdata(d) || desc_dpl(d) != cpl)
		return raise_err(cpu, vector, error);
	if (!(d->attr & SEG_P))
		return raise_err(cpu, VEC_SS, error);
	return 0;
}

static int load_ss(struct cpu *cpu, unsigned sel)
{
	unsigned cpl = x86_cpl(&cpu->s);
	struct desc d;

	if (!(sel & 0xfffc) && is_64(cpu) && cpl < 3 && (sel & 3) == cpl) {
		seg_set_null(cpu, SS, sel);
		return 0;
	}
	if (seg_check_ss(cpu, sel, cpl, VEC_GP, 0, &d) || desc_set_accessed(cpu, &d))
		return CPU_FAULT;
	cpu->s.seg[SS] = desc_to_seg(&d, sel);
	return 0;
}

static int load_data(struct cpu *cpu, unsigned sreg, unsigned sel)
{
	unsigned cpl = x86_cpl(&cpu->s), rpl = sel & 3;
	uint32_t error = sel & 0xfffc;
	struct desc d;

	if (!error) {
		seg_set_null(cpu, sreg, sel);
		return 0;
	}
	if (desc_read(cpu, sel, VEC_GP, 0, &d))
		return CPU_FAULT;
	if (!(d.attr & SEG_S) || (desc_is_code(&d) && !(d.attr & 2)))
		return raise_err(cpu, VEC_GP, error);
	if (!desc_is_conforming(&d) && (rpl > desc_dpl(&d) || cpl > desc_dpl(&d)))
		return raise_err(cpu, VEC_GP, error);
	if (!(d.attr & SEG_P))
		return raise_err(cpu, VEC_NP, error);
	if (desc_set_accessed(cpu, &d))
		return CPU_FAULT;
	cpu->s.seg[sreg] = desc_to_seg(&d, sel);
	return 0;
}

int seg_load(struct cpu *cpu, unsigned sreg, unsigned sel)
{
	int r = 0;

	sel &= 0xffff;
	if (!is_pe(cpu))
		seg_set_real(cpu, sreg, sel);
	else if (is_v86(cpu))
		seg_set_v86(cpu, sreg, sel);
	else if (sreg == SS)
		r = load_ss(cpu, sel);
	else
		r = load_data(cpu, sreg, sel);
	if (!r)
		mode_changed(cpu);
	return r;
}
