/* SPDX-License-Identifier: ISC */
/* machine.h: what engines do for a vCPU's interpreter (cpu_ops) beyond memory: its start, the machine's
 * MSRs and CPUID leaves, and the monitor. On the vCPU's thread. */
#ifndef VM_MACHINE_H
#define VM_MACHINE_H

#include "vm/vcpu.h"

struct cpu;
struct cpu_ops;

/* The interrupt controller's, then the board's. 0 or ERR_NOENT. */
int vcpu_msr_read(struct vcpu *vcpu, uint32_t index, uint64_t *value);
int vcpu_msr_write(struct vcpu *vcpu, uint32_t index, uint64_t value);
/* The board's leaves; then the monitor is told and asked. */
void vcpu_cpuid(struct vcpu *vcpu, uint32_t leaf, uint32_t sub, uint32_t r[4]);
/* The same for an engine that keeps all answers in a table: the guest has not asked yet, and only what rules
 * change is told. */
void vcpu_cpuid_row(struct vcpu *vcpu, uint32_t leaf, uint32_t sub, uint32_t r[4]);
/* As cpu_ops.msr_asked and cpu_ops.told. */
int vcpu_ask_msr(struct vcpu *vcpu, uint32_t index, bool write, uint64_t *value);
void vcpu_tell_cpu(struct vcpu *vcpu, unsigned what, uint64_t value);
/* The page-table root that is in use: its time so far is told, and what comes is its own. By the vCPU's thread. */
void vcpu_tell_root(struct vcpu *vcpu);

/* Readies cpu, zeroed memory of the engine's, as the processor of vcpu for the interpreter: model,
 * scratch code memory, vcpu->state. ops find owner in cpu->owner. */
int vcpu_cpu_init(struct vcpu *vcpu, struct cpu *cpu, const struct cpu_ops *ops,
		  void *owner) attr_must_check;

#endif
