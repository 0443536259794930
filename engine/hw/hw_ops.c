/* SPDX-License-Identifier: ISC */
/* hw_ops.c: what the interpreter asks of the engine (cpu_ops), and which features of a model are left
 * where the processor itself executes the guest. On the vCPU's thread; FP registers are parked. */
#include "engine/hw/hw_impl.h"
#include "vm/machine.h"
#include "x86/feature.h"

static struct vcpu *vcpu_of(struct cpu *cpu)
{
	return hw_of(cpu)->vcpu;
}

static hva_t op_ram(struct cpu *cpu, gpa_t gpa, bool write)
{
	struct vm *vm = vcpu_of(cpu)->vm;
	hva_t p = mem_ptr(vm, gpa, 1, write);

	if (p && write)
		mem_written(vm, gpa, 1);
	return p;
}

static uint64_t op_mmio_read(struct cpu *cpu, gpa_t gpa, unsigned size)
{
	return bus_read(&vcpu_of(cpu)->vm->mmio, (int)cpu->index, gpa, size);
}

static void op_mmio_write(struct cpu *cpu, gpa_t gpa, unsigned size, uint64_t value)
{
	bus_write(&vcpu_of(cpu)->vm->mmio, (int)cpu->index, gpa, size, value);
}

static uint32_t op_pio_read(struct cpu *cpu, uint16_t port, unsigned size)
{
	return (uint32_t)bus_read(&vcpu_of(cpu)->vm->pio, (int)cpu->index, port, size);
}

static void op_pio_write(struct cpu *cpu, uint16_t port, unsigned size, uint32_t value)
{
	bus_write(&vcpu_of(cpu)->vm->pio, (int)cpu->index, port, size, value);
}

/* Control registers and EFER are written with the guest outside: its translations of the old kind go. */
static void op_flush(struct cpu *cpu, enum cpu_flush kind, gva_t gva, unsigned pcid)
{
	hw_of(cpu)->flush |= HW_FLUSH_LINEAR;
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
	struct vcpu *vcpu = vcpu_of(cpu);

	return vcpu->intc ? vcpu->intc->cr8_read(vcpu->intc_chip) : 0;
}

static void op_cr8_write(struct cpu *cpu, uint8_t value)
{
	struct vcpu *vcpu = vcpu_of(cpu);

	if (vcpu->intc)
		vcpu->intc->cr8_write(vcpu->intc_chip, value);
}

static bool op_ferr(struct cpu *cpu)
{
	const struct irq_line *line = &vcpu_of(cpu)->vm->ferr;

	if (!line->set)
		return false;
	irq_set(line, true);
	return true;
}

static void op_cpuid(struct cpu *cpu, uint32_t leaf, uint32_t sub, uint32_t r[4])
{
	vcpu_cpuid(vcpu_of(cpu), leaf, sub, r);
}

static int op_msr_asked(struct cpu *cpu, uint32_t index, bool write, uint64_t *value)
{
	return vcpu_ask_msr(vcpu_of(cpu), index, write, value);
}

static void op_told(struct cpu *cpu, unsigned what, uint64_t value)
{
	vcpu_tell_cpu(vcpu_of(cpu), what, value);
}

const struct cpu_ops hw_cpu_ops = {
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
	.ferr = op_ferr,
	.cpuid = op_cpuid,
	.msr_asked = op_msr_asked,
	.told = op_told,
};

/* ---- features --------------------------------------------------------------------------------- */

static const struct {
	uint32_t leaf;
	uint8_t sub, reg, bit;
} places[X_FEAT_COUNT] = {
#define F(name, leaf, sub, reg, bit) [X_FEAT_##name] = {leaf, sub, CPUID_##reg, bit},
	X86_FEATURES(F)
#undef F
};

/* Devices and tables of ours, or a matter of intercepts: the processor need not have them. */
static bool is_ours(unsigned f)
{
	switch (f) {
	case X_FEAT_APIC:
	case X_FEAT_X2APIC:
	case X_FEAT_TSC_DEADLINE:
	case X_FEAT_TSC_ADJUST:
	case X_FEAT_ARAT:
	case X_FEAT_HYPERVISOR:
	case X_FEAT_MTRR:
	case X_FEAT_MCA:
	case X_FEAT_MCE:
	case X_FEAT_INVTSC:
	case X_FEAT_OSXSAVE:
		return true;
	default:
		return false;
	}
}

void hw_limit_features(struct cpu *cpu)
{
	for (unsigned f = 1; f < X_FEAT_COUNT; f++) {
		struct plat_cpuid id, top;
		uint32_t reg[4];

		if (!cpu_has(cpu, f) || is_ours(f))
			continue;
		plat_cpuid(places[f].leaf & BIT(31), 0, &top);
		plat_cpuid(places[f].leaf, places[f].sub, &id);
		reg[CPUID_EAX] = id.eax;
		reg[CPUID_EBX] = id.ebx;
		reg[CPUID_ECX] = id.ecx;
		reg[CPUID_EDX] = id.edx;
		/* PKRU is not among the registers that threads switch. */
		if (f == X_FEAT_PKU || places[f].leaf > top.eax ||
		    !(reg[places[f].reg] & BIT(places[f].bit)))
			cpu->i.feat[f >> 6] &= ~BIT64(f & 63);
	}
}
