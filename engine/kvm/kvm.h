/* SPDX-License-Identifier: ISC */
/* kvm.h: the engine that stands on Linux's KVM. Hosted. */
#ifndef ENGINE_KVM_KVM_H
#define ENGINE_KVM_KVM_H

#include <linux/kvm.h>

#include "vm/vm.h"
#include "x86/cpu.h"

struct kvm_vm {
	int dev_fd; /* /dev/kvm */
	int fd;
	size_t run_size;
	bool tsc_offset_attr; /* KVM_VCPU_TSC_OFFSET is there */
	struct plat_mutex lock;
	unsigned slots; /* of the VM's memory map that KVM knows */
};

struct kvm_vcpu {
	struct vcpu *vcpu;
	struct kvm_vm *kv;
	int fd;
	struct kvm_run *run;
	bool thread_ready;
	bool incomplete;  /* an access was answered, and KVM_RUN has not heard of it yet */
	bool wants_state; /* KVM's registers are newer than state */
	bool cpuid_set;
	_Atomic int tid; /* of its thread; 0: not running yet */
	struct cpu cpu;  /* for CPUID only; its state is the vCPU's */
};

/* state.c */
int kvm_get_state(struct vcpu *vcpu);
int kvm_set_state(struct vcpu *vcpu);
/* cpuid.c */
int kvm_set_cpuid(struct kvm_vcpu *v);
/* probe.c */
int kvm_probe(struct engine_probe *out);

extern const struct engine_ops engine_kvm;

#endif
