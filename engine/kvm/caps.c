/* SPDX-License-Identifier: ISC */
/* caps.c: the capabilities that the engine looks for, and how it goes on without each. Any thread. */
#include "engine/kvm/caps.h"

#include <sys/ioctl.h>

#define NO_CHIPS "each access to a local APIC, each HLT leaves the kernel"

const struct kvm_cap kvm_caps[HAS_COUNT] = {
	[HAS_USER_MEMORY] = {"user memory", KVM_CAP_USER_MEMORY, 0, true, "Linux 2.6.25 has it"},
	[HAS_IMMEDIATE_EXIT] = {"immediate exit", KVM_CAP_IMMEDIATE_EXIT, 0, true,
				"Linux 4.13 has it"},
	[HAS_VCPU_EVENTS] = {"vCPU events", KVM_CAP_VCPU_EVENTS, 0, true, "Linux 2.6.33 has it"},
	[HAS_XSAVE] = {"XSAVE state", KVM_CAP_XSAVE, 0, true, "Linux 2.6.36 has it"},
	[HAS_USER_MSR] = {"MSRs in user space", KVM_CAP_X86_USER_SPACE_MSR, 0, true,
			  "Linux 5.10 has it"},
	[HAS_MSR_FILTER] = {"MSR filter", KVM_CAP_X86_MSR_FILTER, 0, true, "Linux 5.10 has it"},
	[HAS_READONLY_MEM] = {"read-only memory", KVM_CAP_READONLY_MEM, 0, false,
			      "a PC's guest can write to its firmware"},
	[HAS_EMULATION_EXIT] = {"exit on emulation failure", KVM_CAP_EXIT_ON_EMULATION_FAILURE, 0,
				false, "what KVM cannot emulate at ring 3 is #UD to the guest"},
	[HAS_TSC_OFFSET] = {"TSC offset", KVM_CAP_VCPU_ATTRIBUTES, 0, false,
			    "a restored guest's TSC is some microseconds off"},
	[HAS_TSC_SCALING] = {"TSC scaling", KVM_CAP_TSC_CONTROL, 0, false,
			     "states are taken from hosts with the same TSC frequency only"},
	[HAS_BLOCK_IRQ] = {"steps without interrupts", KVM_CAP_SET_GUEST_DEBUG2,
			   KVM_GUESTDBG_BLOCKIRQ, false,
			   "a debugger's step may end in an interrupt handler"},
	[HAS_SPLIT_CHIPS] = {"local APICs in the kernel", KVM_CAP_SPLIT_IRQCHIP, 0, false,
			     NO_CHIPS},
	[HAS_SIGNAL_MSI] = {"MSIs", KVM_CAP_SIGNAL_MSI, 0, false, NO_CHIPS},
	[HAS_IRQ_ROUTING] = {"interrupt routes", KVM_CAP_IRQ_ROUTING, 0, false, NO_CHIPS},
	[HAS_DEADLINE_TIMER] = {"TSC deadlines", KVM_CAP_TSC_DEADLINE_TIMER, 0, false, NO_CHIPS},
	[HAS_MP_STATE] = {"processors that wait", KVM_CAP_MP_STATE, 0, false, NO_CHIPS},
	[HAS_SREGS2] = {"PAE registers", KVM_CAP_SREGS2, 0, false,
			"a moved guest's PAE entries are read from memory again"},
};

uint32_t kvm_caps_ask(int fd)
{
	uint32_t has = 0;

	for (unsigned i = 0; i < HAS_COUNT; i++) {
		int r = ioctl(fd, KVM_CHECK_EXTENSION, (unsigned long)kvm_caps[i].cap);

		if (r > 0 && (!kvm_caps[i].mask || r & kvm_caps[i].mask))
			has |= BIT(i);
	}
	return has;
}

const struct kvm_cap *kvm_caps_missing(uint32_t has)
{
	for (unsigned i = 0; i < HAS_COUNT; i++)
		if (kvm_caps[i].needed && !(has & BIT(i)))
			return &kvm_caps[i];
	return NULL;
}
