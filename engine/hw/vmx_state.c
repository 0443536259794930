/* SPDX-License-Identifier: ISC */
/* vmx_state.c: a vCPU's state between x86_state and the VMCS. A VM entry checks the guest's state and
 * refuses what no processor could have come to (SDM vol. 3, 27.3.1). VMWRITE costs: only what has changed is written. On the vCPU's
 * thread, whose VMCS is current. */
#include "base/str.h"
#include "engine/hw/vmx_impl.h"
#include "vm/machine.h"

/* Field and member of the state: same meaning. back: the guest changes it without an exit. */
#define ROW(field, member, back)                                         \
	{                                                                \
		VMCS_##field, offsetof(struct x86_state, member),        \
			sizeof(((struct x86_state *)NULL)->member), back \
	}
static const struct {
	uint16_t field, at;
	uint8_t size;
	bool back;
} rows[] = {
	ROW(CR0_SHADOW, cr0, false),
	ROW(CR3, cr3, true),
	ROW(CR4_SHADOW, cr4, false),
	ROW(RIP, rip, true),
	ROW(RFLAGS, rflags, true),
	ROW(RSP, gpr[RSP], true),
	ROW(GDTR_BASE, gdtr.base, true),
	ROW(GDTR_LIMIT, gdtr.limit, true),
	ROW(IDTR_BASE, idtr.base, true),
	ROW(IDTR_LIMIT, idtr.limit, true),
	ROW(SYSENTER_CS, sysenter_cs, true),
	ROW(SYSENTER_ESP, sysenter_esp, true),
	ROW(SYSENTER_EIP, sysenter_eip, true),
	ROW(DR7, dr[7], false),
	ROW(PAT, pat, false),
	ROW(TSC_OFFSET, tsc_offset, false),
};

enum {
	HAD_SEG = ARRAY_SIZE(rows),
	HAD_CR0 = HAD_SEG + 4 * VMX_SEGS,
	HAD_CR4,
	HAD_EFER,
	HAD_DEBUGCTL,
	HAD_ENTRY,
	HAD_EXCEPTIONS,
	HAD_PENDING,
	HAD_COUNT,
};
_Static_assert(HAD_COUNT <= VMX_FIELDS, "had[]");

static const uint16_t msr_at[VMX_MSRS] = {
	[VMX_KERNEL_GS] = offsetof(struct x86_state, kernel_gs_base),
	[VMX_STAR] = offsetof(struct x86_state, star),
	[VMX_LSTAR] = offsetof(struct x86_state, lstar),
	[VMX_CSTAR] = offsetof(struct x86_state, cstar),
	[VMX_SFMASK] = offsetof(struct x86_state, sfmask),
	[VMX_TSC_AUX] = offsetof(struct x86_state, tsc_aux),
};

static uint64_t get_at(const struct x86_state *s, unsigned at, unsigned size)
{
	uint64_t value = 0;

	memcpy(&value, (const uint8_t *)s + at, size);
	return value;
}

static void set_at(struct x86_state *s, unsigned at, unsigned size, uint64_t value)
{
	memcpy((uint8_t *)s + at, &value, size);
}

static void put(struct vmx_vcpu *x, unsigned i, uint32_t field, uint64_t value)
{
	if (!x->fresh && x->had[i] == value)
		return;
	x->had[i] = value;
	vmcs_write(field, value);
}

static uint64_t get(struct vmx_vcpu *x, unsigned i, uint32_t field)
{
	return x->had[i] = vmcs_read(field);
}

/* ---- segments ---- */

static void push_segs(struct vmx_vcpu *x, struct x86_state *s)
{
	for (unsigned i = 0, had = HAD_SEG; i < VMX_SEGS; i++, had += 4) {
		struct vmx_seg g = vmx_seg(s, i);

		put(x, had, VMCS_GUEST_SEL + 2 * i, vmx_seg_at(s, i)->sel);
		put(x, had + 1, VMCS_GUEST_LIMIT + 2 * i, g.limit);
		put(x, had + 2, VMCS_GUEST_RIGHTS + 2 * i, g.rights);
		put(x, had + 3, VMCS_GUEST_BASE + 2 * i, g.base);
	}
}

static void pull_segs(struct vmx_vcpu *x, struct x86_state *s)
{
	for (unsigned i = 0, had = HAD_SEG; i < VMX_SEGS; i++, had += 4) {
		uint16_t sel = (uint16_t)get(x, had, VMCS_GUEST_SEL + 2 * i);
		uint32_t limit = (uint32_t)get(x, had + 1, VMCS_GUEST_LIMIT + 2 * i);
		uint32_t rights = (uint32_t)get(x, had + 2, VMCS_GUEST_RIGHTS + 2 * i);
		uint64_t base = get(x, had + 3, VMCS_GUEST_BASE + 2 * i);
		unsigned attr = rights & 0xf0ff;

		if (rights & RIGHTS_UNUSABLE) /* the level is SS's all the same */
			attr = SEG_UNUSABLE | (i == SS ? attr & SEG_DPL : 0);
		*vmx_seg_at(s, i) = (struct x86_seg){sel, (uint16_t)attr, limit, base};
	}
}

/* PAE's four entries, which the processor has in registers. MOV to CR3 loads them without an exit. */
static void push_pdptes(const struct vmx_vcpu *x, const struct x86_state *s)
{
	const uint8_t *p = mem_ptr(x->v.vcpu->vm, s->cr3 & 0xffffffe0, 32, false);

	for (unsigned i = 0; i < ARRAY_SIZE(s->pdpte); i++) {
		uint64_t e = s->pdpte[i];

		if (!s->pdptes_loaded) {
			e = 0;
			if (p)
				memcpy(&e, p + 8 * i, 8);
		}
		vmcs_write(VMCS_PDPTE + 2 * i, x86_pdpte_ok(s, e) ? e : 0);
	}
}

/* It has checked them by its own width of addresses, which may be more than the guest's. */
static void pull_pdptes(struct x86_state *s)
{
	for (unsigned i = 0; i < ARRAY_SIZE(s->pdpte); i++)
		s->pdpte[i] = vmcs_read(VMCS_PDPTE + 2 * i);
	s->pdptes_loaded = x86_pdptes_ok(s);
}

/* ---- all of it ---- */

static void push_computed(struct vmx_vcpu *x, const struct x86_state *s)
{
	const struct vmx_vm *xv = vmx_vm_of(&x->v);
	bool step = s->rflags & FL_TF && !(s->debugctl & BIT(1));

	/* The guest's caches stay on whatever it says; it is shown what it wrote. */
	put(x, HAD_CR0, VMCS_CR0, (s->cr0 & ~(CR0_CD | CR0_NW)) | CR0_ET | CR0_NE);
	put(x, HAD_CR4, VMCS_CR4, s->cr4 | xv->cr4);
	put(x, HAD_EFER, VMCS_EFER, s->efer & (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE));
	put(x, HAD_DEBUGCTL, VMCS_DEBUGCTL, s->debugctl & 3);
	put(x, HAD_ENTRY, VMCS_ENTRY, xv->c.entry | (s->efer & EFER_LMA ? ENTRY_GUEST64 : 0));
	/* CR0.NE is set in any case: what the wire FERR# would be about comes as #MF, and the interpreter does the
	 * instruction again by the guest's CR0. */
	put(x, HAD_EXCEPTIONS, VMCS_EXCEPTIONS,
	    BIT(VEC_DB) | BIT(VEC_AC) | BIT(VEC_MC) | (s->cr0 & CR0_NE ? 0 : BIT(VEC_MF)));
	/* A shadow holds the trap of a step off. */
	put(x, HAD_PENDING, VMCS_PENDING_DEBUG, s->shadow && step ? BIT(14) : 0);
}

void vmx_push(struct hw_vcpu *v)
{
	struct vmx_vcpu *x = vmx_of(v);
	struct x86_state *s = &v->cpu.s;

	if (v->where == IN_HW)
		return;
	v->where = IN_HW;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		put(x, i, rows[i].field, get_at(s, rows[i].at, rows[i].size));
	push_segs(x, s);
	push_computed(x, s);
	if (x86_pae(s))
		push_pdptes(x, s);
	x->fresh = false;
	for (unsigned i = 0; i < x->n_msrs; i++) {
		uint64_t value = get_at(s, msr_at[i], 8);

		x->msrs_dirty |= x->msrs->at[i].value != value;
		x->msrs->at[i].value = value;
	}
	v->rflags = s->rflags;
	v->shadow = s->shadow;
}

void vmx_pull(struct hw_vcpu *v)
{
	struct vmx_vcpu *x = vmx_of(v);
	struct x86_state *s = &v->cpu.s;

	if (v->where == IN_STATE)
		return;
	v->where = IN_STATE;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].back)
			set_at(s, rows[i].at, rows[i].size, get(x, i, rows[i].field));
	pull_segs(x, s);
	s->rflags |= FL_ONE;
	s->cr0 = (s->cr0 & ~CR0_TS) | (get(x, HAD_CR0, VMCS_CR0) & CR0_TS);
	if (x86_pae(s))
		pull_pdptes(s);
	s->kernel_gs_base = x->msrs->at[VMX_KERNEL_GS].value;
	s->shadow = v->shadow;
	v->pending = get(x, HAD_PENDING, VMCS_PENDING_DEBUG) & 15;
}
