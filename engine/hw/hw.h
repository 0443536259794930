/* SPDX-License-Identifier: ISC */
/* hw.h: the engines for bare metal: guests by the processor's own virtualization, which is AMD's SVM or
 * Intel's VMX. */
#ifndef ENGINE_HW_HW_H
#define ENGINE_HW_HW_H

#include "vm/vcpu_ops.h"

extern const struct engine_ops engine_svm, engine_vmx;

/* The one for this processor. NULL: it cannot run guests, and *why says why, for people. */
const struct engine_ops *hw_engine(const char **why);
/* On each CPU once, before guests run there, if hw_engine() has one. */
int hw_cpu_start(void) attr_must_check;
uint64_t hw_entries(const struct vcpu *vcpu); /* how often the guest was entered */
uint64_t hw_flushes(const struct vcpu *vcpu); /* and without any of its translations */
uint64_t hw_began(const struct vcpu *vcpu);   /* plat_now() of the first time; 0: not yet */

#endif
