/* SPDX-License-Identifier: ISC */
/* ops.c: what the interpreter asks of the engine (cpu_ops): memory, buses, interrupt controller, time.
 * On the vCPU's thread, its state out of KVM. */
#include "engine/kvm/kvm.h"
#include "vm/machine.h"

static struct vcpu *vcpu_of(struct cpu *cpu)
{
	return ((struct kvm_vcpu *)cpu->owner)->vcpu;
}

static hva_t op_ram(struct cpu *cpu, gpa_t gpa, bool write)
{
	hva_t hva = kvm_mem(vcpu_of(cpu)->vm, gpa, write, cpu->s.smm, cpu->i.fetch);

	if (write && hva)
		kvm_dirty_later(cpu->owner, gpa);
	return hva;
}

static uint64_t op_mmio_read(struct cpu *cpu, gpa_t gpa, unsigned size)
{
	return bus_read(&vcpu_of(cpu)->vm->mmio, (int)cpu->index, gpa, size);
}

static void op_mmio_write(struct cpu *cpu, gpa_t gpa, unsigned size, uint64_t value)
{
	bus_write(&vcpu_of(cpu)->vm->mmio, (int)cpu->index, gpa, size, value);
}

/* An SMI that a device has asked for during the access is the access's. */
static void see_smi(struct cpu *cpu)
{
	if (vcpu_requested(vcpu_of(cpu), REQ_SMI) && !cpu->s.smm)
		cpu->i.io.smi = true;
}

static uint32_t op_pio_read(struct cpu *cpu, uint16_t port, unsigned size)
{
	uint32_t v = (uint32_t)bus_read(&vcpu_of(cpu)->vm->pio, (int)cpu->index, port, size);

	see_smi(cpu);
	return v;
}

static void op_pio_write(struct cpu *cpu, uint16_t port, unsigned size, uint32_t value)
{
	bus_write(&vcpu_of(cpu)->vm->pio, (int)cpu->index, port, size, value);
	see_smi(cpu);
}

/* KVM forgets its translations when it is given the state again. */
static void op_flush(struct cpu *cpu, enum cpu_flush kind, gva_t gva, unsigned pcid)
{
	cpu_state_changed(cpu);
}

static int op_msr_read(struct cpu *cpu, uint32_t index, uint64_t *value)
{
	return vcpu_msr_read(vcpu_of(cpu), index, value);
}

static int op_msr_write(struct cpu *cpu, uint32_t index, uint64_t value)
{
	return vcpu_msr_write(vcpu_of(cpu), index, value);
}

static uint64_t op_tsc(struct cpu *cpu)
{
	return vm_ticks(vcpu_of(cpu)->vm);
}

static uint8_t op_cr8_read(struct cpu *cpu)
{
	const struct vcpu *vcpu = vcpu_of(cpu);

	return vcpu->intc ? vcpu->intc->cr8_read(vcpu->intc_chip) : 0;
}

static void op_cr8_write(struct cpu *cpu, uint8_t value)
{
	const struct vcpu *vcpu = vcpu_of(cpu);

	if (vcpu->intc)
		vcpu->intc->cr8_write(vcpu->intc_chip, value);
}

static void op_cpuid(struct cpu *cpu, uint32_t leaf, uint32_t sub, uint32_t r[4])
{
	struct kvm_vcpu *v = cpu->owner;

	if (v->cpuid_set)
		vcpu_cpuid(v->vcpu, leaf, sub, r);
	else
		vcpu_cpuid_row(v->vcpu, leaf, sub, r);
	kvm_cpuid_mask(v->kv, leaf, sub, r);
}

static int op_msr_asked(struct cpu *cpu, uint32_t index, bool write, uint64_t *value)
{
	return vcpu_ask_msr(vcpu_of(cpu), index, write, value);
}

const struct cpu_ops kvm_cpu_ops = {
	.ram = op_ram,
	.mmio_read = op_mmio_read,
	.mmio_write = op_mmio_write,
	.pio_read = op_pio_read,
	.pio_write = op_pio_write,
	.flush = op_flush,
	.msr_read = op_msr_read,
	.msr_write = op_msr_write,
	.tsc = op_tsc,
	.cr8_read = op_cr8_read,
	.cr8_write = op_cr8_write,
	.cpuid = op_cpuid,
	.msr_asked = op_msr_asked,
};
