/* SPDX-License-Identifier: ISC */
/* caps.h: what this host's KVM can do, capability by capability (api.rst, KVM_CHECK_EXTENSION). */
#ifndef ENGINE_KVM_CAPS_H
#define ENGINE_KVM_CAPS_H

#include <linux/kvm.h>

#include "base/def.h"
#include "base/err.h"

#define KVM_CPUID_MAX 200u

enum kvm_has {
	HAS_USER_MEMORY,
	HAS_IMMEDIATE_EXIT,
	HAS_VCPU_EVENTS,
	HAS_XSAVE,
	HAS_USER_MSR,
	HAS_MSR_FILTER,
	HAS_READONLY_MEM,
	HAS_EMULATION_EXIT,
	HAS_TSC_OFFSET,
	HAS_BLOCK_IRQ,
	HAS_SPLIT_CHIPS,
	HAS_ALL_CHIPS,
	HAS_SIGNAL_MSI,
	HAS_IRQ_ROUTING,
	HAS_DEADLINE_TIMER,
	HAS_MP_STATE,
	HAS_IRQFD,
	HAS_SREGS2,
	HAS_IOEVENTFD,
	HAS_LATE_MMIO,
	HAS_LATE_PIO,
	HAS_DIRTY_RING,
	HAS_STEAL_TIME,
	HAS_TSC_KHZ,
	HAS_TSC_CONTROL,
	HAS_COUNT,
};

/* One row each, in the order of the enum. */
struct kvm_cap {
	const char *name;
	uint32_t cap;        /* 0: a bit of CPUID 40000001H, EAX, that it offers */
	int mask;            /* of what KVM answers; 0: all of it */
	bool needed;         /* the engine cannot do without */
	const char *without; /* what is done then, or what it means */
};
extern const struct kvm_cap kvm_caps[HAS_COUNT];

union kvm_cpuid_list {
	struct kvm_cpuid2 head;
	uint8_t room[sizeof(struct kvm_cpuid2) + KVM_CPUID_MAX * sizeof(struct kvm_cpuid_entry2)];
};

/* What KVM can give of CPUID. ERR_NOSYS: it does not say. */
int kvm_caps_cpuid(int dev_fd, union kvm_cpuid_list *out) attr_must_check;
/* What the descriptor (of /dev/kvm or of a VM) answers, and CPUID has, as bits by enum kvm_has. */
uint32_t kvm_caps_ask(int fd, const union kvm_cpuid_list *cpuid);
/* The first needed one that is not there; NULL: none. */
const struct kvm_cap *kvm_caps_missing(uint32_t has);

#endif
