/* SPDX-License-Identifier: ISC */
/* svm_impl.h: what the files of the SVM engine share. */
#ifndef ENGINE_HW_SVM_IMPL_H
#define ENGINE_HW_SVM_IMPL_H

#include "engine/hw/npt.h"
#include "engine/hw/svm.h"
#include "engine/hw/vmcb.h"
#include "vm/vm.h"
#include "x86/cpu.h"

struct svm_vm {
	struct vm *vm;
	struct plat_mutex lock; /* RANK_ENGINE: npt, slots */
	struct npt npt;
	unsigned slots;           /* of the memory map that are in npt */
	_Atomic uint32_t npt_gen; /* raised when rights are taken away */
	uint8_t *iopm, *msrpm;
	uint64_t xcr0;        /* the host's: components that are switched; 0: FXSAVE */
	uint64_t efer_hidden; /* bits that the model has, but not this processor: without effect */
	bool pause_filter;
};

/* Where a vCPU's state is. General registers but RAX and RSP are always in cpu.s. */
enum svm_where { IN_STATE, IN_VMCB };

struct svm_vcpu {
	struct cpu cpu; /* first */
	struct vcpu *vcpu;
	struct svm_vm *sv;
	struct vmcb *vmcb;
	uint8_t *host; /* a page for the host's FS, GS, TR, LDTR and system call registers */
	enum svm_where where;
	bool fpu_live; /* the guest's FP registers are in the processor */
	bool ready;    /* its thread has been here */
	uint32_t npt_gen;
	uint64_t reinject; /* an event whose delivery an exit has interrupted; 0: none */
	uint64_t virq;     /* an acknowledged interrupt that the guest has not taken yet; 0: none */
	_Atomic bool in_guest;
	_Atomic uint64_t entries;
};

static inline struct svm_vcpu *svm_of(struct cpu *cpu)
{
	return cpu->owner;
}

/* svm_state.c */
void svm_push(struct svm_vcpu *v); /* state to VMCB */
void svm_pull(struct svm_vcpu *v); /* VMCB to state */
void svm_fpu_load(struct svm_vcpu *v);
void svm_fpu_park(struct svm_vcpu *v);

/* svm_ops.c */
extern const struct cpu_ops svm_cpu_ops;
/* Leaves the features of the model that guests can really have here. */
void svm_limit_features(struct cpu *cpu);

/* svm_exit.c: true: go on; false: exit says why not. */
bool svm_handle(struct svm_vcpu *v, struct vcpu_exit *exit);
/* Deliver by the interpreter what has been noted for delivery by the processor: reinject; virq, if the
 * guest can be interrupted. */
bool svm_deliver(struct svm_vcpu *v, struct vcpu_exit *exit);
bool svm_deliver_virq(struct svm_vcpu *v, struct vcpu_exit *exit);

#endif
