/* SPDX-License-Identifier: ISC */
/* vmx_impl.h: what the files for VMX share. */
#ifndef ENGINE_HW_VMX_IMPL_H
#define ENGINE_HW_VMX_IMPL_H

#include "engine/hw/hw_impl.h"
#include "engine/hw/vmcs.h"

#define MSR_CAPABILITY 0x480u /* and the following: appendix A */
#define MSR_CR4_FIXED0 0x488u

/* Controls as this processor takes them. */
struct vmx_controls {
	uint32_t pin, proc, proc2, exit, entry;
};

struct vmx_vm {
	struct hw_vm hv; /* first */
	struct vmx_controls c;
	uint64_t cr4; /* bits that are set while a guest runs, whatever it says */
};

/* MSRs that VMX leaves to us. The first is written without an exit (SWAPGS), so each exit stores it. */
enum { VMX_KERNEL_GS, VMX_STAR, VMX_LSTAR, VMX_CSTAR, VMX_SFMASK, VMX_TSC_AUX, VMX_MSRS };

/* A page of its own: the processor reads and writes it. */
struct vmx_msrs {
	struct {
		uint32_t index, reserved;
		uint64_t value;
	} at[VMX_MSRS];
};

#define APIC_PAGE_TPR 0x80

/* Two MSR bitmaps: the second, at this offset, while the processor delivers */
#define VMX_MSRPM_X2APIC PAGE_SIZE

/* What virtual-interrupt delivery for a guest in x2APIC mode takes; on only while it is used */
#define PROC2_DELIVERS (PROC2_X2APIC | PROC2_VID)

#define VMX_FIELDS 64 /* that state goes to, at most */

struct vmx_vcpu {
	struct hw_vcpu v; /* first */
	void *vmcs;
	struct vmx_msrs *msrs;
	uint8_t *
		apic_page; /* of which the processor uses the TPR alone, and CR8 with it, unless it delivers */
	bool delivers;     /* as in VMCS_PROC2 and VMCS_MSR_BITMAP */
	uint32_t proc2;    /* what it has without */
	uint64_t tells[4]; /* VMCS_EOI_EXITS */
	unsigned n_msrs;
	bool launched;             /* since it was loaded last: VMRESUME, not VMLAUNCH */
	bool msrs_dirty;           /* another value than the processor has */
	bool fresh;                /* had does not hold yet */
	uint64_t had[VMX_FIELDS];  /* what the VMCS has had since the last push or pull */
	uint32_t blocked, proc, n; /* as in VMCS_BLOCKED, VMCS_PROC, VMCS_ENTRY_MSR_LOAD_N, */
	uint32_t threshold, vpid;  /* VMCS_TPR_THRESHOLD, VMCS_VPID */
	uint32_t pin;              /* VMCS_PIN */
};

static inline struct vmx_vcpu *vmx_of(struct hw_vcpu *v)
{
	return container_of(v, struct vmx_vcpu, v);
}

static inline struct vmx_vm *vmx_vm_of(struct hw_vcpu *v)
{
	return container_of(v->hv, struct vmx_vm, hv);
}

/* vmx.c: of the VMCS of the calling thread */
uint64_t vmcs_read(uint32_t field);
void vmcs_write(uint32_t field, uint64_t value);

/* vmx_state.c */
void vmx_push(struct hw_vcpu *v);
void vmx_pull(struct hw_vcpu *v);
/* vmx_apic.c */
bool vmx_give(struct hw_vcpu *v);
void vmx_take(struct hw_vcpu *v);
void vmx_open_x2apic(uint8_t *msrpm);
/* vmx_seg.c: segment i (enum x86_sreg, then LDTR and TR); and such that a VM entry takes it. */
#define VMX_SEGS (SREG_COUNT + 2)
struct vmx_seg {
	uint32_t rights, limit;
	uint64_t base;
};
struct x86_seg *vmx_seg_at(struct x86_state *s, unsigned i);
struct vmx_seg vmx_seg(struct x86_state *s, unsigned i);

/* vmx_run.c */
extern const uint8_t vmx_left[]; /* where an exit goes */
bool vmx_window(struct hw_vcpu *v, bool irq, bool nmi);
bool vmx_enter(struct hw_vcpu *v, struct hw_exit *e);
void vmx_skip(struct hw_vcpu *v);

#endif
