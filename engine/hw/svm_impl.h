/* SPDX-License-Identifier: ISC */
/* svm_impl.h: what the files for SVM share. */
#ifndef ENGINE_HW_SVM_IMPL_H
#define ENGINE_HW_SVM_IMPL_H

#include "engine/hw/hw_impl.h"
#include "engine/hw/vmcb.h"

struct svm_vm {
	struct hw_vm hv;      /* first */
	uint64_t efer_hidden; /* bits that the model has, but not this processor: without effect */
	bool pause_filter, next_rip;
	bool tsc_rate; /* TscRateMsr is there: each CPU's has the rate of the guest that it ran last */
};

struct svm_vcpu {
	struct hw_vcpu v; /* first */
	struct vmcb *vmcb;
	uint8_t *host; /* a page for the host's FS, GS, TR, LDTR and system call registers */
	uint64_t tsc_aux;
	uint64_t entry; /* RIP at the last VMRUN */
	uint64_t next;  /* behind the instruction that svm_skip() skips */
	unsigned refused;
};

static inline struct svm_vcpu *svm_of(struct hw_vcpu *v)
{
	return container_of(v, struct svm_vcpu, v);
}

/* svm_state.c */
void svm_push(struct hw_vcpu *v);
void svm_pull(struct hw_vcpu *v);
/* Of the state only what says where RIP leads, for cpu_code_at_rip(); where stays. */
void svm_pull_code(struct hw_vcpu *v);

#endif
