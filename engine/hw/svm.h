/* SPDX-License-Identifier: ISC */
/* svm.h: the engine for AMD processors on bare metal. */
#ifndef ENGINE_HW_SVM_H
#define ENGINE_HW_SVM_H

#include "vm/vcpu_ops.h"

extern const struct engine_ops engine_svm;

/* Why this processor cannot run guests, for people; NULL: it can. */
const char *svm_missing(void);
/* On each CPU once, before guests run there. */
int svm_cpu_start(void) attr_must_check;
uint64_t svm_entries(const struct vcpu *vcpu); /* how often the guest was entered */

#endif
