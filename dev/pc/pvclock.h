/* SPDX-License-Identifier: ISC */
/* pvclock.h: paravirtual clock as KVM gives it to its guests (Linux, Documentation/virt/kvm/x86,
 * "KVM-specific MSRs" and "KVM CPUID bits"). */
#ifndef DEV_PC_PVCLOCK_H
#define DEV_PC_PVCLOCK_H

#include "base/def.h"
#include "base/err.h"

struct vm;
struct vcpu;
struct pvclock;
struct pvclock_wiring {
	/* The guest's TSC on a vCPU. NULL: vm_ticks() plus the vCPU's tsc_offset. */
	uint64_t (*tsc)(struct vcpu *vcpu);
};

/* Serves CPUID 4000000xH and MSRs 4B564D00H, 4B564D01H and 4B564D03H through the hooks of all vCPUs; what the
 * hooks were goes on being called for the rest. So: after other hooks are set. */
int pvclock_create(struct vm *vm, const struct pvclock_wiring *w,
		   struct pvclock **out) attr_must_check;
/* The guest's TSC of this vCPU was moved (WRMSR TSC): writes its page anew. Own thread. */
void pvclock_tsc_moved(struct vcpu *vcpu);

#endif
