/* SPDX-License-Identifier: ISC */
/* ops.c: what the interpreter asks of the engine (cpu_ops): RAM, buses, interrupt controller, time.
 *
 * On the vCPU's own thread, sometimes with the guest's FP state live: whatever leads to devices or
 * to the host parks it first. */
#include "engine/soft/block.h"
#include "engine/soft/layout.h"
#include "engine/soft/tlb.h"

static struct mem_slot *find_slot(struct soft_vcpu *v, gpa_t gpa)
{
	struct mem_slot *s = v->slot;

	if (likely(s && gpa - s->gpa < s->size))
		return s;
	s = mem_slot(v->sv->vm, gpa);
	if (s)
		v->slot = s;
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

		if (unlikely(!(f & PGF_DIRTY)))
			f |= atomic_fetch_or_explicit(fl, PGF_DIRTY, memory_order_relaxed);
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

static uint64_t op_mmio_read(struct cpu *cpu, gpa_t gpa, unsigned size)
{
	struct soft_vcpu *v = soft_of(cpu);

	soft_fpu_park(v);
	return bus_read(&v->sv->vm->mmio, (int)cpu->index, gpa, size);
}

static void op_mmio_write(struct cpu *cpu, gpa_t gpa, unsigned size, uint64_t value)
{
	struct soft_vcpu *v = soft_of(cpu);

	soft_fpu_park(v);
	bus_write(&v->sv->vm->mmio, (int)cpu->index, gpa, size, value);
}

static uint32_t op_pio_read(struct cpu *cpu, uint16_t port, unsigned size)
{
	struct soft_vcpu *v = soft_of(cpu);

	soft_fpu_park(v);
	return (uint32_t)bus_read(&v->sv->vm->pio, (int)cpu->index, port, size);
}

static void op_pio_write(struct cpu *cpu, uint16_t port, unsigned size, uint32_t value)
{
	struct soft_vcpu *v = soft_of(cpu);

	soft_fpu_park(v);
	bus_write(&v->sv->vm->pio, (int)cpu->index, port, size, value);
}

static void op_mode_changed(struct cpu *cpu)
{
	soft_of(cpu)->mode_dirty = true;
}

static int op_msr_read(struct cpu *cpu, uint32_t index, uint64_t *value)
{
	struct soft_vcpu *v = soft_of(cpu);
	struct vcpu *vcpu = v->vcpu;

	soft_fpu_park(v);
	if (vcpu->intc && !vcpu->intc->msr_read(vcpu->intc_chip, index, value))
		return 0;
	if (vcpu->msr_read)
		return vcpu->msr_read(vcpu, index, value);
	return ERR_NOENT;
}

static int op_msr_write(struct cpu *cpu, uint32_t index, uint64_t value)
{
	struct soft_vcpu *v = soft_of(cpu);
	struct vcpu *vcpu = v->vcpu;

	soft_fpu_park(v);
	v->look = true;
	if (vcpu->intc && !vcpu->intc->msr_write(vcpu->intc_chip, index, value))
		return 0;
	if (vcpu->msr_write)
		return vcpu->msr_write(vcpu, index, value);
	return ERR_NOENT;
}

static uint64_t op_tsc(struct cpu *cpu)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return lo | (uint64_t)hi << 32;
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

static void op_pause(struct cpu *cpu)
{
	struct soft_vcpu *v = soft_of(cpu);

	if (v->sv->n_vcpus > 1 && !(++v->pauses & 63)) {
		soft_fpu_park(v);
		plat_yield();
	}
}

/* Each register is a request of its own: a rule may give or deny (zero) one of them. */
static void watch_cpuid(struct vcpu *vcpu, uint32_t leaf, uint32_t sub, uint32_t r[4])
{
	struct monitor *mon = &vcpu->vm->mon;
	struct mon_event ev = {.cls = MON_CPUID,
			       .size = 4,
			       .vcpu = (int32_t)vcpu->index,
			       .addr = (uint64_t)(sub & 0xff) << 32 | leaf};

	for (unsigned i = 0; i < 4 && mon_rules(mon, MON_CPUID); i++) {
		ev.op = (uint8_t)i;
		ev.value = r[i];
		switch (mon_ask(mon, &ev)) {
		case MON_DENY:
			r[i] = 0;
			break;
		case MON_REDIRECT:
			r[i] = (uint32_t)ev.value;
			break;
		default:
			break;
		}
		if (ev.verdict != MON_PROVIDE || ev.flags)
			mon_tell(mon, &ev);
	}
	ev = (struct mon_event){
		.cls = MON_CPUID, .size = 4, .vcpu = ev.vcpu, .addr = ev.addr, .value = r[0]};
	mon_tell(mon, &ev);
}

static void op_cpuid(struct cpu *cpu, uint32_t leaf, uint32_t sub, uint32_t r[4])
{
	struct vcpu *vcpu = soft_of(cpu)->vcpu;

	soft_fpu_park(soft_of(cpu));
	if (vcpu->cpuid)
		vcpu->cpuid(vcpu, leaf, sub, r);
	watch_cpuid(vcpu, leaf, sub, r);
}

/* ---- the monitor's -------------------------------------------------------------------------- */

/* A read is told without its value, which is not known yet: most are of no interest, and a rule may
 * give another. */
static int op_msr_asked(struct cpu *cpu, uint32_t index, bool write, uint64_t *value)
{
	struct soft_vcpu *v = soft_of(cpu);
	struct monitor *mon = &v->sv->vm->mon;
	struct mon_event ev = {.cls = MON_MSR,
			       .op = write,
			       .size = 8,
			       .vcpu = (int32_t)cpu->index,
			       .addr = index,
			       .value = write ? *value : 0};
	enum mon_verdict verdict;

	if (!mon_listens(mon, MON_MSR) && !mon_rules(mon, MON_MSR))
		return 0;
	soft_fpu_park(v);
	verdict = mon_ask(mon, &ev);
	mon_tell(mon, &ev);
	if (verdict == MON_DENY)
		return ERR_NOENT;
	if (verdict == MON_REDIRECT)
		*value = ev.value;
	return verdict == MON_REDIRECT && !write;
}

static void op_cr_told(struct cpu *cpu, unsigned cr, uint64_t value)
{
	struct soft_vcpu *v = soft_of(cpu);
	const struct mon_event ev = {.cls = MON_CPU,
				     .op = (uint8_t)cr,
				     .size = 8,
				     .vcpu = (int32_t)cpu->index,
				     .value = value};

	if (!mon_listens(&v->sv->vm->mon, MON_CPU))
		return;
	soft_fpu_park(v);
	mon_tell(&v->sv->vm->mon, &ev);
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
	.cpuid = op_cpuid,
	.msr_asked = op_msr_asked,
	.cr_told = op_cr_told,
};
