/* SPDX-License-Identifier: ISC */
/* lapic_rig.h: four vCPUs with their local APICs, I/O APIC and PIC, for unit tests: their registers, MSRs and pins. */
#ifndef TESTS_LAPIC_RIG_H
#define TESTS_LAPIC_RIG_H

#include "tests/unit/pc_rig.h"

#include "dev/irq/apicbus.h"
#include "dev/irq/intr.h"
#include "dev/irq/lapic.h"

#define CPUS 4

/* Register offsets */
enum {
	ID = 0x20,
	VERSION = 0x30,
	TPR = 0x80,
	PPR = 0xa0,
	EOI = 0xb0,
	LDR = 0xd0,
	DFR = 0xe0,
	SVR = 0xf0,
	ISR = 0x100,
	TMR = 0x180,
	IRR = 0x200,
	ESR = 0x280,
	ICR = 0x300,
	ICR2 = 0x310,
	LVT_TIMER = 0x320,
	LVT_THERMAL = 0x330,
	LVT_PERF = 0x340,
	LVT_LINT0 = 0x350,
	LVT_LINT1 = 0x360,
	LVT_ERROR = 0x370,
	INIT_COUNT = 0x380,
	COUNT = 0x390,
	DIVIDE = 0x3e0,
};
#define MSR_BASE     0x1bu
#define MSR_DEADLINE 0x6e0u
#define X2(reg)      (0x800u + (reg) / 16)

static struct vm *vm;
static struct intr *intr;

static inline uint32_t rd(unsigned cpu, unsigned reg)
{
	return (uint32_t)bus_read(&vm->mmio, (int)cpu, LAPIC_BASE + reg, 4);
}

static inline void wr(unsigned cpu, unsigned reg, uint32_t v)
{
	bus_write(&vm->mmio, (int)cpu, LAPIC_BASE + reg, 4, v);
}

static inline int pending(unsigned cpu)
{
	return vm->vcpu[cpu]->intc->pending(vm->vcpu[cpu]->intc_chip);
}

static inline int ack(unsigned cpu)
{
	return vm->vcpu[cpu]->intc->ack(vm->vcpu[cpu]->intc_chip);
}

static inline int rdmsr(unsigned cpu, uint32_t index, uint64_t *v)
{
	return vm->vcpu[cpu]->intc->msr_read(vm->vcpu[cpu]->intc_chip, index, v);
}

static inline uint64_t msr(unsigned cpu, uint32_t index)
{
	uint64_t v = 0;

	assert_int_equal(rdmsr(cpu, index, &v), 0);
	return v;
}

static inline int wrmsr(unsigned cpu, uint32_t index, uint64_t v)
{
	return vm->vcpu[cpu]->intc->msr_write(vm->vcpu[cpu]->intc_chip, index, v);
}

static inline void start(void)
{
	vm = rig_vm(CPUS);
	assert_int_equal(intr_create(vm, &intr), 0);
	for (unsigned i = 0; i < CPUS; i++) {
		wr(i, SVR, 0x1ff);
		rig_requests(vm, i);
	}
}

static inline void ipi(unsigned from, uint8_t dest, uint32_t low)
{
	wr(from, ICR2, (uint32_t)dest << 24);
	wr(from, ICR, low);
}

static inline bool in_map(unsigned cpu, unsigned map, unsigned v)
{
	return rd(cpu, map + v / 32 * 16) & BIT(v % 32);
}

#endif
