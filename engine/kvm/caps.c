/* SPDX-License-Identifier: ISC */
/* caps.c: the capabilities that the engine looks for, and how it goes on without each. Any thread. */
#include "engine/kvm/caps.h"

#include <asm/kvm_para.h>
#include <sys/ioctl.h>

#define NO_CHIPS  "each access to a local APIC, each HLT leaves the kernel"
#define ALL_LEAVE "each write to an index register leaves the kernel"

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
	[HAS_BLOCK_IRQ] = {"steps without interrupts", KVM_CAP_SET_GUEST_DEBUG2,
			   KVM_GUESTDBG_BLOCKIRQ, false,
			   "a debugger's step may end in an interrupt handler"},
	[HAS_SPLIT_CHIPS] = {"local APICs in the kernel", KVM_CAP_SPLIT_IRQCHIP, 0, false,
			     NO_CHIPS},
	[HAS_ALL_CHIPS] = {"I/O APIC and PIC in the kernel", KVM_CAP_IRQCHIP, 0, false,
			   "--kvm-irqchip full is refused"},
	[HAS_SIGNAL_MSI] = {"MSIs", KVM_CAP_SIGNAL_MSI, 0, false, NO_CHIPS},
	[HAS_IRQ_ROUTING] = {"interrupt routes", KVM_CAP_IRQ_ROUTING, 0, false, NO_CHIPS},
	[HAS_DEADLINE_TIMER] = {"TSC deadlines", KVM_CAP_TSC_DEADLINE_TIMER, 0, false, NO_CHIPS},
	[HAS_MP_STATE] = {"processors that wait", KVM_CAP_MP_STATE, 0, false, NO_CHIPS},
	[HAS_IRQFD] = {"interrupts by eventfd", KVM_CAP_IRQFD, 0, false,
		       "vhost-net's interrupts go through this process"},
	[HAS_SREGS2] = {"PAE registers", KVM_CAP_SREGS2, 0, false,
			"a moved guest's PAE entries are read from memory again"},
	[HAS_IOEVENTFD] = {"doorbells by eventfd", KVM_CAP_IOEVENTFD, 0, false,
			   "a virtio queue's work is always its vCPU's"},
	[HAS_LATE_MMIO] = {"late writes to memory", KVM_CAP_COALESCED_MMIO, 0, false, ALL_LEAVE},
	[HAS_LATE_PIO] = {"late writes to ports", KVM_CAP_COALESCED_PIO, 0, false, ALL_LEAVE},
	[HAS_DIRTY_RING] = {"rings of written pages", KVM_CAP_DIRTY_LOG_RING, 0, false,
			    "--kvm-dirty-ring on is without effect"},
	[HAS_STEAL_TIME] = {"steal time", 0, BIT(5), false,
			    "guests do not know how long they waited for a processor"},
	[HAS_TSC_KHZ] = {"TSC frequency", KVM_CAP_GET_TSC_KHZ, 0, false,
			 "it is measured, which takes some milliseconds of each start"},
	[HAS_TSC_CONTROL] =
		{"TSC scaling", KVM_CAP_TSC_CONTROL, 0, false,
		 "a guest from a host with another TSC frequency has its clock go wrong"},
};

int kvm_caps_cpuid(int dev_fd, union kvm_cpuid_list *out)
{
	out->head.nent = KVM_CPUID_MAX;
	return ioctl(dev_fd, KVM_GET_SUPPORTED_CPUID, out) ? err_here(ERR_NOSYS) : 0;
}

/* KVM's own leaf: some features have an extension's number, others have not. */
static int paravirt(const union kvm_cpuid_list *l)
{
	for (unsigned i = 0; i < l->head.nent; i++)
		if (l->head.entries[i].function == KVM_CPUID_FEATURES)
			return (int)l->head.entries[i].eax;
	return 0;
}

uint32_t kvm_caps_ask(int fd, const union kvm_cpuid_list *cpuid)
{
	int features = paravirt(cpuid);
	uint32_t has = 0;

	for (unsigned i = 0; i < HAS_COUNT; i++) {
		const struct kvm_cap *c = &kvm_caps[i];
		int r = c->cap ? ioctl(fd, KVM_CHECK_EXTENSION, (unsigned long)c->cap) : features;

		if (r > 0 && (!c->mask || r & c->mask))
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
