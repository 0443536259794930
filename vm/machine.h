/* SPDX-License-Identifier: ISC */
/* machine.h: what engines do for a vCPU's interpreter (cpu_ops) beyond memory: the machine's MSRs and
 * CPUID leaves, and the monitor. On the vCPU's thread. */
#ifndef VM_MACHINE_H
#define VM_MACHINE_H

#include "vm/vcpu.h"

/* The interrupt controller's, then the board's. 0 or ERR_NOENT. */
int vcpu_msr_read(struct vcpu *vcpu, uint32_t index, uint64_t *value);
int vcpu_msr_write(struct vcpu *vcpu, uint32_t index, uint64_t value);
/* The board's leaves; then the monitor is told and asked. */
void vcpu_cpuid(struct vcpu *vcpu, uint32_t leaf, uint32_t sub, uint32_t r[4]);
/* As cpu_ops.msr_asked and cpu_ops.cr_told. */
int vcpu_ask_msr(struct vcpu *vcpu, uint32_t index, bool write, uint64_t *value);
void vcpu_tell_cr(struct vcpu *vcpu, unsigned cr, uint64_t value);

#endif
