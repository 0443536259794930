/* SPDX-License-Identifier: ISC */
/* apic.c: the local APIC (APM vol. 2, chapter 16), memory-mapped or, where firmware has switched to
 * it, as x2APIC. Each CPU its own; nothing is shared but constants that the first CPU has measured. */
#include "plat/metal/apic.h"

#include "plat/metal/clock.h"
#include "plat/metal/mem.h"
#include "plat/metal/msr.h"
#include "plat/metal/spin.h"
#include "plat/plat.h"

#define MSR_APIC_BASE 0x1bu
#define BASE_X2       BIT64(10)
#define BASE_ENABLE   BIT64(11)

enum {
	REG_ID = 0x20,
	REG_TPR = 0x80,
	REG_EOI = 0xb0,
	REG_SVR = 0xf0,
	REG_ICR_LOW = 0x300,
	REG_ICR_HIGH = 0x310,
	REG_LVT_TIMER = 0x320,
	REG_LVT_LINT0 = 0x350,
	REG_LVT_LINT1 = 0x360,
	REG_TIMER_INITIAL = 0x380,
	REG_TIMER_CURRENT = 0x390,
	REG_TIMER_DIVIDE = 0x3e0,
};
#define ICR_PENDING   BIT(12)
#define ICR_ASSERT    BIT(14)
#define ICR_OTHERS    (3u << 18)
#define ICR_INIT      (5u << 8)
#define ICR_STARTUP   (6u << 8)
#define LVT_MASKED    BIT(16)
#define LVT_NMI       (4u << 8)
#define DIVIDE_BY_ONE 0xbu

static struct {
	volatile uint32_t *mmio;
	bool x2;
	uint64_t hz;    /* of the timer */
	uint64_t began; /* TSC: it counts down from its maximum, the other CPUs wait for STARTUP */
} apic;

static uint32_t reg_read(unsigned reg)
{
	return apic.x2 ? (uint32_t)msr_read(0x800 + reg / 16) : apic.mmio[reg / 4];
}

static void reg_write(unsigned reg, uint32_t v)
{
	if (apic.x2)
		msr_write(0x800 + reg / 16, v);
	else
		apic.mmio[reg / 4] = v;
}

void apic_enable(void)
{
	msr_write(MSR_APIC_BASE, msr_read(MSR_APIC_BASE) | BASE_ENABLE | (apic.x2 ? BASE_X2 : 0));
	reg_write(REG_TPR, 0);
	reg_write(REG_LVT_LINT0, LVT_MASKED);
	reg_write(REG_LVT_LINT1, LVT_NMI);
	reg_write(REG_TIMER_DIVIDE, DIVIDE_BY_ONE);
	reg_write(REG_LVT_TIMER, IRQ_TIMER);
	reg_write(REG_SVR, BIT(8) | IRQ_SPURIOUS);
}

static void icr(uint32_t apic_id, uint32_t low)
{
	uint64_t flags;

	if (apic.x2) {
		/* x2APIC's write does not wait for stores before it, as the other does */
		__asm__ volatile("mfence; lfence" : : : "memory");
		msr_write(0x830, (uint64_t)apic_id << 32 | low);
		return;
	}
	flags = irq_off();
	while (reg_read(REG_ICR_LOW) & ICR_PENDING)
		cpu_relax();
	reg_write(REG_ICR_HIGH, apic_id << 24);
	reg_write(REG_ICR_LOW, low);
	irq_restore(flags);
}

int apic_init(uint64_t base)
{
	apic.x2 = msr_read(MSR_APIC_BASE) & BASE_X2;
	apic.mmio = paging_map(base, PAGE_SIZE, MAP_W | MAP_UC);
	if (!apic.mmio)
		return err_here(ERR_NOMEM);
	apic_enable();
	reg_write(REG_LVT_TIMER, LVT_MASKED | IRQ_TIMER);
	reg_write(REG_TIMER_INITIAL, UINT32_MAX);
	apic.began = clock_ticks();
	icr(0, ICR_ASSERT | ICR_OTHERS | ICR_INIT);
	return 0;
}

int apic_measure(void)
{
	uint32_t counted = UINT32_MAX - reg_read(REG_TIMER_CURRENT);
	uint64_t took = clock_ns(clock_ticks() - apic.began);

	apic.hz = counted * NS_PER_SEC / took;
	reg_write(REG_TIMER_INITIAL, 0);
	reg_write(REG_LVT_TIMER, IRQ_TIMER);
	return apic.hz ? 0 : err_here(ERR_IO);
}

uint32_t apic_id(void)
{
	return apic.x2 ? reg_read(REG_ID) : reg_read(REG_ID) >> 24;
}

void apic_eoi(void)
{
	reg_write(REG_EOI, 0);
}

void apic_ipi(uint32_t apic_id, uint8_t vector)
{
	icr(apic_id, ICR_ASSERT | vector);
}

void apic_ipi_others(uint8_t vector)
{
	icr(0, ICR_ASSERT | ICR_OTHERS | vector);
}

void apic_start(uint32_t apic_id, uint8_t page)
{
	while (clock_ns(clock_ticks() - apic.began) < NS_PER_SEC / 100) /* since INIT */
		cpu_relax();
	for (unsigned i = 0; i < 2; i++) {
		icr(apic_id, ICR_ASSERT | ICR_STARTUP | page);
		clock_spin(NS_PER_SEC / 5000);
	}
}

void apic_timer(uint64_t deadline)
{
	uint64_t now = plat_now(), ns, count;

	if (deadline == PLAT_FOREVER) {
		reg_write(REG_TIMER_INITIAL, 0);
		return;
	}
	/* A second at most: whoever is woken early looks at the time and arms again. */
	ns = deadline > now ? MIN(deadline - now, NS_PER_SEC) : 1;
	count = ns * (apic.hz / 1000) / (NS_PER_SEC / 1000);
	reg_write(REG_TIMER_INITIAL, (uint32_t)MIN(MAX(count, UINT64_C(1)), UINT64_C(0xffffffff)));
}
