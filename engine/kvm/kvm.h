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
	bool can_block_irqs;  /* KVM_GUESTDBG_BLOCKIRQ is there */
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
	bool has_pku;             /* the guest is told of protection keys: KVM takes PKRU */
	bool debugged;            /* KVM_SET_GUEST_DEBUG is in force */
	enum debug_step stepping; /* as it was last set */
	_Atomic int tid;          /* of its thread; 0: not running yet */
	struct cpu cpu;           /* for CPUID only; its state is the vCPU's */
};

/* state.c */
int kvm_get_state(struct vcpu *vcpu);
int kvm_set_state(struct vcpu *vcpu);
/* cpuid.c */
int kvm_set_cpuid(struct kvm_vcpu *v);
/* debug.c */
bool kvm_debug_can(struct vm *vm, const struct debug_set *set);
void kvm_debug_changed(struct vm *vm, bool breaks, bool watches);
int kvm_debug_enter(struct kvm_vcpu *v); /* before run() enters the guest */
/* A debug exit. False: go on. */
bool kvm_debug_exit(struct kvm_vcpu *v, uint64_t dr6, struct vcpu_exit *exit);
/* kvm.c: logs errno. */
int kvm_host_err(const char *what);
/* probe.c */
int kvm_probe(struct engine_probe *out);

extern const struct engine_ops engine_kvm;

#endif
