/* SPDX-License-Identifier: ISC */
/* vmx_seg.c: segment registers such that a VM entry takes them (SDM vol. 3, 27.3.1.2). It refuses what no
 * sequence of instructions leads to on Intel's processors, but a restored state or AMD's rules may: such
 * parts are hidden ones, which nobody reads, and are put right here. */
#include "engine/hw/vmx_impl.h"

struct x86_seg *vmx_seg_at(struct x86_state *s, unsigned i)
{
	return i < SREG_COUNT ? &s->seg[i] : i == SREG_COUNT ? &s->ldtr : &s->tr;
}

struct vmx_seg vmx_seg(struct x86_state *s, unsigned i)
{
	const struct x86_seg *g = vmx_seg_at(s, i);
	struct vmx_seg out = {g->attr & 0xf0ffu, g->limit, g->base};
	unsigned type = g->attr & (SEG_TYPE | SEG_S | SEG_P);

	if (i < SREG_COUNT && s->rflags & FL_VM)
		return (struct vmx_seg){0xf3, 0xffff, (uint64_t)g->sel << 4};
	if (i == SREG_COUNT + 1) { /* TR is a busy TSS, always */
		if (g->attr & SEG_UNUSABLE || type != (SEG_P | 3) || s->efer & EFER_LMA)
			out.rights = (g->attr & SEG_G) | SEG_P | 11;
	} else if (i == SREG_COUNT) {
		if (g->attr & SEG_UNUSABLE || type != (SEG_P | 2))
			out.rights = RIGHTS_UNUSABLE;
	} else if (g->attr & SEG_UNUSABLE && i != CS) {
		out.rights = RIGHTS_UNUSABLE | (g->attr & SEG_DPL);
	} else {
		out.rights |= SEG_P | SEG_S | 1; /* accessed */
	}
	if (g->limit >> 20)
		out.rights |= SEG_G;
	else if ((g->limit & 0xfff) != 0xfff)
		out.rights &= ~SEG_G;
	return out;
}
