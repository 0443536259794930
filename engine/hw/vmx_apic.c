/* SPDX-License-Identifier: ISC */
/* vmx_apic.c: interrupts that the processor delivers to a guest by itself, and whose end it notes without an exit
 * (SDM vol. 3, chapter 30: virtual-interrupt delivery, x2APIC mode virtualized). The local APIC is the model's;
 * around each stay in the guest its registers go to the virtual-APIC page and back. Of x2APIC's MSRs TPR and EOI are
 * the guest's own then, which a second bitmap says. On the vCPU's thread, whose VMCS is current. */
#include "engine/hw/vmx_impl.h"

#define MSR_X2APIC_TPR 0x808u
#define MSR_X2APIC_EOI 0x80bu

void vmx_open_x2apic(uint8_t *msrpm)
{
	uint8_t *write = msrpm + 0x800;

	msrpm[MSR_X2APIC_TPR / 8] &= (uint8_t)~BIT(MSR_X2APIC_TPR % 8);
	write[MSR_X2APIC_TPR / 8] &= (uint8_t)~BIT(MSR_X2APIC_TPR % 8);
	write[MSR_X2APIC_EOI / 8] &= (uint8_t)~BIT(MSR_X2APIC_EOI % 8);
}

/* Without it the MSRs would be the host's own: control and bitmap change together. */
static attr_noinline void change(struct vmx_vcpu *x, bool delivers)
{
	uint8_t *msrpm = x->v.hv->msrpm + (delivers ? VMX_MSRPM_X2APIC : 0);

	vmcs_write(VMCS_PROC2, x->proc2 | (delivers ? PROC2_DELIVERS : 0));
	vmcs_write(VMCS_MSR_BITMAP, plat_phys(msrpm));
	x->delivers = delivers;
}

bool vmx_give(struct hw_vcpu *v)
{
	struct vmx_vcpu *x = vmx_of(v);
	struct vcpu *vcpu = v->vcpu;
	const struct apic_given *g;

	if (!(vmx_vm_of(v)->c.proc2 & PROC2_DELIVERS) || !vcpu->intc || !vcpu->intc->give)
		return false;
	g = vcpu->intc->give(vcpu->intc_chip, (uint32_t *)(void *)x->apic_page);
	if (!!g != x->delivers)
		change(x, g);
	if (!g)
		return false;
	vmcs_write(VMCS_GUEST_INTR, (uint64_t)g->svi << 8 | g->rvi);
	for (unsigned i = 0; i < 4; i++)
		if (g->tell[i] != x->tells[i])
			vmcs_write(VMCS_EOI_EXITS + 2 * i, x->tells[i] = g->tell[i]);
	return true;
}

void vmx_take(struct hw_vcpu *v)
{
	v->vcpu->intc->take(v->vcpu->intc_chip);
}
