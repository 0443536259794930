/* SPDX-License-Identifier: ISC */
/* svm_state.c: a vCPU's state between x86_state and the VMCB. On the vCPU's thread, or while it is
 * parked. */
#include "engine/hw/svm_impl.h"

#define EFER_SVME BIT64(12)

/* VMCB's field and state's: same meaning, same width. */
/* clang-format off */
#define SAME(F) \
	F(cr3) F(cr4) F(cr2) F(rip) F(rflags) F(star) F(lstar) F(cstar) F(sfmask) F(kernel_gs_base) \
	F(sysenter_cs) F(sysenter_esp) F(sysenter_eip) F(debugctl)
/* clang-format on */

static const struct {
	uint16_t vmcb, state;
} segs[] = {
#define SEG(name, field)                                                       \
	{                                                                      \
		offsetof(struct vmcb, name), offsetof(struct x86_state, field) \
	}
	SEG(es, seg[ES]), SEG(cs, seg[CS]), SEG(ss, seg[SS]), SEG(ds, seg[DS]),
	SEG(fs, seg[FS]), SEG(gs, seg[GS]), SEG(ldtr, ldtr),  SEG(tr, tr),
#undef SEG
};

static struct vmcb_seg *vmcb_seg(struct vmcb *c, unsigned i)
{
	return (struct vmcb_seg *)(void *)((uint8_t *)c + segs[i].vmcb);
}

static struct x86_seg *state_seg(struct x86_state *s, unsigned i)
{
	return (struct x86_seg *)(void *)((uint8_t *)s + segs[i].state);
}

void svm_push(struct hw_vcpu *v)
{
	struct x86_state *s = &v->cpu.s;
	struct vmcb *c = svm_of(v)->vmcb;

	if (v->where == IN_HW)
		return;
	v->where = IN_HW;
#define F(name) c->name = s->name;
	SAME(F)
#undef F
	for (unsigned i = 0; i < ARRAY_SIZE(segs); i++) {
		const struct x86_seg *g = state_seg(s, i);
		unsigned attr = (g->attr & 0xffu) | (g->attr & 0xf000u) >> 4;

		if (g->attr & SEG_UNUSABLE)
			attr &= ~SEG_P;
		*vmcb_seg(c, i) = (struct vmcb_seg){g->sel, (uint16_t)attr, g->limit, g->base};
	}
	c->gdtr = (struct vmcb_seg){.limit = s->gdtr.limit, .base = s->gdtr.base};
	c->idtr = (struct vmcb_seg){.limit = s->idtr.limit, .base = s->idtr.base};
	c->cpl = (uint8_t)x86_cpl(s);
	c->rsp = s->gpr[RSP];
	c->efer = (s->efer & ~container_of(v->hv, struct svm_vm, hv)->efer_hidden) | EFER_SVME;
	/* The guest's caches stay on whatever it says; it is shown what it wrote. */
	c->cr0 = s->cr0 & ~(CR0_CD | CR0_NW);
	c->cr_read = s->cr0 & (CR0_CD | CR0_NW) ? BIT(0) : 0;
	c->dr6 = s->dr[6];
	c->dr7 = s->dr[7];
	c->g_pat = s->pat;
	c->tsc_offset = s->tsc_offset;
	c->shadow = s->shadow != 0;
	v->rflags = s->rflags;
	v->shadow = s->shadow;
}

static struct x86_seg from_vmcb(const struct vmcb_seg *g)
{
	unsigned attr = (g->attr & 0xffu) | (g->attr & 0xf00u) << 4;

	if (!(attr & SEG_P))
		attr |= SEG_UNUSABLE;
	return (struct x86_seg){g->sel, (uint16_t)attr, g->limit, g->base};
}

/* The privilege level is a field of its own there, and SS's here. */
static void pull_cpl(struct x86_state *s, const struct vmcb *c)
{
	s->seg[SS].attr = (uint16_t)((s->seg[SS].attr & ~SEG_DPL) | (c->cpl & 3u) << 5);
}

/* What CR0, CR4 and EFER are is known here: the guest cannot change them unseen. */
void svm_pull_code(struct hw_vcpu *v)
{
	struct x86_state *s = &v->cpu.s;
	const struct vmcb *c = svm_of(v)->vmcb;

	s->cr3 = c->cr3;
	s->rip = c->rip;
	s->rflags = c->rflags | FL_ONE;
	s->seg[CS] = from_vmcb(&c->cs);
	pull_cpl(s, c);
	s->pdptes_loaded = false;
}

void svm_pull(struct hw_vcpu *v)
{
	struct x86_state *s = &v->cpu.s;
	struct vmcb *c = svm_of(v)->vmcb;

	if (v->where == IN_STATE)
		return;
	v->where = IN_STATE;
#define F(name) s->name = c->name;
	SAME(F)
#undef F
	for (unsigned i = 0; i < ARRAY_SIZE(segs); i++)
		*state_seg(s, i) = from_vmcb(vmcb_seg(c, i));
	pull_cpl(s, c);
	s->gdtr = (struct x86_dtr){.base = c->gdtr.base, .limit = (uint16_t)c->gdtr.limit};
	s->idtr = (struct x86_dtr){.base = c->idtr.base, .limit = (uint16_t)c->idtr.limit};
	/* EFER changes by the interpreter alone: its MSR and CR0 are intercepted. */
	s->rflags |= FL_ONE;
	s->gpr[RSP] = c->rsp;
	s->cr0 = (c->cr0 & ~(CR0_CD | CR0_NW)) | (s->cr0 & (CR0_CD | CR0_NW));
	s->dr[6] = c->dr6;
	s->dr[7] = c->dr7;
	s->shadow = v->shadow;
	/* With nested paging the processor reads them at each walk (APM vol. 2, 15.25.10). */
	s->pdptes_loaded = false;
}
