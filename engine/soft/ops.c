/* SPDX-License-Identifier: ISC */
/* ops.c: what the interpreter asks of the engine (cpu_ops): RAM, buses, interrupt controller, time.
 *
 * On the vCPU's own thread, sometimes with the guest's FP state live: whatever leads to devices or
 * to the host parks it first. */
#include "engine/soft/block.h"
#include "engine/soft/layout.h"
#include "engine/soft/profile.h"
#include "engine/soft/tlb.h"
#include "vm/machine.h"

static struct mem_slot *find_slot(struct soft_vcpu *v, gpa_t gpa)
{
	struct mem_slot *s = v->slot;

	if (likely(s && gpa - s->gpa < s->size))
		return s;
	s = mem_slot(v->sv->vm, gpa);
	if (s)
		v->slot = s;
	else if (unlikely(mem_is_smram(&v->sv->vm->mem, gpa, v->cpu.s.smm, v->cpu.i.fetch)))
		s = &v->sv->vm->mem.screen;
	return s;
}

static hva_t soft_ram(struct soft_vcpu *v, gpa_t gpa, bool write)
{
	struct mem_slot *s = find_slot(v, gpa);

	if (!s || (write && s->rom))
		return NULL;
	if (write) {
		_Atomic uint8_t *fl = &s->flags[(gpa - s->gpa) >> PAGE_SHIFT];
		uint8_t f = atomic_load_explicit(fl, memory_order_relaxed);

		if (unlikely(f & PGF_RO))
			return NULL;
		if (unlikely(f & PGF_CODE))
			soft_code_store(v, gpa);
	}
	return s->hva + (gpa - s->gpa);
}

_Atomic uint8_t *soft_page_flags(struct soft_vm *sv, gpa_t gpa)
{
	struct mem_slot *s = mem_slot(sv->vm, gpa);

	return s && !s->rom ? &s->flags[(gpa - s->gpa) >> PAGE_SHIFT] : NULL;
}

bool soft_gpa_of(struct soft_vcpu *v, hva_t hva, gpa_t *gpa)
{
	const struct memmap *m = &v->sv->vm->mem;

	for (unsigned i = 0; i < m->n; i++)
		if ((uint64_t)(hva - m->slot[i].hva) < m->slot[i].size) {
			*gpa = m->slot[i].gpa + (uint64_t)(hva - m->slot[i].hva);
			return true;
		}
	return false;
}

static hva_t op_ram(struct cpu *cpu, gpa_t gpa, bool write)
{
	return soft_ram(soft_of(cpu), gpa, write);
}

/* To devices and the host, and back */
static uint64_t go_out(struct soft_vcpu *v)
{
	soft_fpu_park(v);
	return soft_doing(v, DOING_DEVICE);
}

static void come_back(struct soft_vcpu *v, uint64_t was)
{
	soft_doing(v, (enum soft_doing)was);
}

static uint64_t op_mmio_read(struct cpu *cpu, gpa_t gpa, unsigned size)
{
	struct soft_vcpu *v = soft_of(cpu);
	uint64_t was = go_out(v), value = bus_read(&v->sv->vm->mmio, (int)cpu->index, gpa, size);

	come_back(v, was);
	return value;
}

static void op_mmio_write(struct cpu *cpu, gpa_t gpa, unsigned size, uint64_t value)
{
	struct soft_vcpu *v = soft_of(cpu);
	uint64_t was = go_out(v);

	bus_write(&v->sv->vm->mmio, (int)cpu->index, gpa, size, value);
	come_back(v, was);
}

/* An SMI that a device has asked for during the access is the access's. */
static void see_smi(struct soft_vcpu *v)
{
	if (unlikely(vcpu_requested(v->vcpu, REQ_SMI)) && !v->cpu.s.smm)
		v->cpu.i.io.smi = true;
}

static uint32_t op_pio_read(struct cpu *cpu, uint16_t port, unsigned size)
{
	struct soft_vcpu *v = soft_of(cpu);
	uint64_t was = go_out(v);
	uint32_t value;

	value = (uint32_t)bus_read(&v->sv->vm->pio, (int)cpu->index, port, size);
	come_back(v, was);
	see_smi(v);
	return value;
}

static void op_pio_write(struct cpu *cpu, uint16_t port, unsigned size, uint32_t value)
{
	struct soft_vcpu *v = soft_of(cpu);
	uint64_t was = go_out(v);

	bus_write(&v->sv->vm->pio, (int)cpu->index, port, size, value);
	come_back(v, was);
	see_smi(v);
	v->mode_dirty |= cpu->s.ignne;
}

static void op_mode_changed(struct cpu *cpu)
{
	soft_of(cpu)->mode_dirty = true;
}

static int op_msr_read(struct cpu *cpu, uint32_t index, uint64_t *value)
{
	struct soft_vcpu *v = soft_of(cpu);
	uint64_t was = go_out(v);
	int err = vcpu_msr_read(v->vcpu, index, value);

	come_back(v, was);
	return err;
}

static int op_msr_write(struct cpu *cpu, uint32_t index, uint64_t value)
{
	struct soft_vcpu *v = soft_of(cpu);
	uint64_t was = go_out(v);
	int err;

	v->look = true;
	err = vcpu_msr_write(v->vcpu, index, value);
	come_back(v, was);
	return err;
}

static uint64_t op_tsc(struct cpu *cpu)
{
	return vm_ticks(soft_of(cpu)->vcpu->vm);
}

static uint8_t op_cr8_read(struct cpu *cpu)
{
	struct vcpu *vcpu = soft_of(cpu)->vcpu;

	return vcpu->intc ? vcpu->intc->cr8_read(vcpu->intc_chip) : 0;
}

static void op_cr8_write(struct cpu *cpu, uint8_t value)
{
	struct soft_vcpu *v = soft_of(cpu);

	soft_fpu_park(v);
	v->look = true;
	if (v->vcpu->intc)
		v->vcpu->intc->cr8_write(v->vcpu->intc_chip, value);
}

/* Who may wait for another vCPU gives the host's processor away. On a busy host that costs a time slice
 * of everybody else's, also for a loop that only counts: what a yield took may be a sixteenth of what
 * lies between it and the next. */
static void op_pause(struct cpu *cpu)
{
	struct soft_vcpu *v = soft_of(cpu);
	uint64_t begun;

	if (v->sv->n_vcpus == 1 || ++v->pauses & 63)
		return;
	begun = vcpu_ticks();
	if (begun < v->yields_from)
		return;
	soft_fpu_park(v);
	plat_yield();
	v->yields_from = vcpu_ticks();
	v->yields_from += (v->yields_from - begun) / 16;
}

static void op_alone(struct cpu *cpu, bool alone)
{
	if (alone)
		soft_alone_begin(soft_of(cpu));
	else
		soft_alone_end(soft_of(cpu));
}

static bool op_ferr(struct cpu *cpu)
{
	struct soft_vcpu *v = soft_of(cpu);
	const struct irq_line *line = &v->sv->vm->ferr;

	if (!line->set)
		return false;
	soft_fpu_park(v);
	v->look = true;
	irq_set(line, true);
	return true;
}

static void op_cpuid(struct cpu *cpu, uint32_t leaf, uint32_t sub, uint32_t r[4])
{
	struct vcpu *vcpu = soft_of(cpu)->vcpu;

	soft_fpu_park(soft_of(cpu));
	vcpu_cpuid(vcpu, leaf, sub, r);
}

/* ---- the monitor's -------------------------------------------------------------------------- */

static int op_msr_asked(struct cpu *cpu, uint32_t index, bool write, uint64_t *value)
{
	struct soft_vcpu *v = soft_of(cpu);
	struct monitor *mon = &v->sv->vm->mon;

	if (!mon_listens(mon, MON_MSR) && !mon_rules(mon, MON_MSR))
		return 0;
	soft_fpu_park(v);
	return vcpu_ask_msr(v->vcpu, index, write, value);
}

static void op_told(struct cpu *cpu, unsigned what, uint64_t value)
{
	struct soft_vcpu *v = soft_of(cpu);

	if (!mon_listens(&v->sv->vm->mon, MON_CPU))
		return;
	vcpu_tell_cpu(v->vcpu, what, value);
}

const struct cpu_ops soft_cpu_ops = {
	.ram = op_ram,
	.mmio_read = op_mmio_read,
	.mmio_write = op_mmio_write,
	.pio_read = op_pio_read,
	.pio_write = op_pio_write,
	.xlate = soft_tlb_xlate,
	.flush = soft_tlb_flush,
	.mode_changed = op_mode_changed,
	.msr_read = op_msr_read,
	.msr_write = op_msr_write,
	.tsc = op_tsc,
	.cr8_read = op_cr8_read,
	.cr8_write = op_cr8_write,
	.pause = op_pause,
	.alone = op_alone,
	.ferr = op_ferr,
	.cpuid = op_cpuid,
	.msr_asked = op_msr_asked,
	.told = op_told,
};
