/* SPDX-License-Identifier: ISC */
/* test_lapic.c: local APICs, their bus and the PIC behind LINT0, in a complex of four vCPUs. */
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

static uint32_t rd(unsigned cpu, unsigned reg)
{
	return (uint32_t)bus_read(&vm->mmio, (int)cpu, LAPIC_BASE + reg, 4);
}

static void wr(unsigned cpu, unsigned reg, uint32_t v)
{
	bus_write(&vm->mmio, (int)cpu, LAPIC_BASE + reg, 4, v);
}

static int pending(unsigned cpu)
{
	return vm->vcpu[cpu]->intc->pending(vm->vcpu[cpu]->intc_chip);
}

static int ack(unsigned cpu)
{
	return vm->vcpu[cpu]->intc->ack(vm->vcpu[cpu]->intc_chip);
}

static int rdmsr(unsigned cpu, uint32_t index, uint64_t *v)
{
	return vm->vcpu[cpu]->intc->msr_read(vm->vcpu[cpu]->intc_chip, index, v);
}

static uint64_t msr(unsigned cpu, uint32_t index)
{
	uint64_t v = 0;

	assert_int_equal(rdmsr(cpu, index, &v), 0);
	return v;
}

static int wrmsr(unsigned cpu, uint32_t index, uint64_t v)
{
	return vm->vcpu[cpu]->intc->msr_write(vm->vcpu[cpu]->intc_chip, index, v);
}

static void start(void)
{
	vm = rig_vm(CPUS);
	assert_int_equal(intr_create(vm, &intr), 0);
	for (unsigned i = 0; i < CPUS; i++) {
		wr(i, SVR, 0x1ff);
		rig_requests(vm, i);
	}
}

static void ipi(unsigned from, uint8_t dest, uint32_t low)
{
	wr(from, ICR2, (uint32_t)dest << 24);
	wr(from, ICR, low);
}

static bool in_map(unsigned cpu, unsigned map, unsigned v)
{
	return rd(cpu, map + v / 32 * 16) & BIT(v % 32);
}

static void test_registers(void **state)
{
	uint64_t v;

	vm = rig_vm(CPUS);
	assert_int_equal(intr_create(vm, &intr), 0);
	assert_int_equal(msr(0, MSR_BASE), 0xfee00900);
	assert_int_equal(msr(1, MSR_BASE), 0xfee00800);
	assert_int_equal(rd(2, ID), 2u << 24);
	assert_int_equal(rd(0, VERSION) & 0xff, 0x14);
	assert_int_equal(rd(0, VERSION) >> 16 & 0xff, 5);
	assert_int_equal(rd(0, SVR), 0xff);
	assert_int_equal(rd(0, DFR), 0xffffffff);
	for (unsigned r = LVT_TIMER; r <= LVT_ERROR; r += 16)
		assert_int_equal(rd(0, r), 0x10000);
	/* software-disabled: masks cannot be cleared */
	wr(0, LVT_LINT0, 0x700);
	assert_int_equal(rd(0, LVT_LINT0), 0x10700);
	wr(0, SVR, 0x1ff);
	wr(0, LVT_LINT0, 0xffffffff);
	assert_int_equal(rd(0, LVT_LINT0), 0x1a7ff);
	wr(0, LVT_TIMER, 0x30);
	wr(0, SVR, 0x0ff);
	assert_int_equal(rd(0, LVT_TIMER), 0x10030);
	wr(0, TPR, 0x1ff);
	assert_int_equal(rd(0, TPR), 0xff);
	assert_int_equal(vm->vcpu[0]->intc->cr8_read(vm->vcpu[0]->intc_chip), 0xf);
	vm->vcpu[0]->intc->cr8_write(vm->vcpu[0]->intc_chip, 3);
	assert_int_equal(rd(0, TPR), 0x30);
	wr(0, ID, 0x55000000); /* the id is fixed */
	assert_int_equal(rd(0, ID), 0);
	wr(0, LDR, 0xffffffff);
	assert_int_equal(rd(0, LDR), 0xff000000);
	wr(0, DFR, 0);
	assert_int_equal(rd(0, DFR), 0x0fffffff);
	/* nobody's access, x2APIC registers in xAPIC mode */
	assert_int_equal(bus_read(&vm->mmio, -1, LAPIC_BASE + ID, 4), 0xffffffff);
	assert_int_equal(rdmsr(0, X2(ID), &v), ERR_NOENT);
	rig_end(vm);
}

static void test_fixed(void **state)
{
	start();
	ipi(0, 1, 0x4041);
	assert_int_equal(rig_requests(vm, 1), REQ_IRQ);
	assert_int_equal(rig_requests(vm, 0), 0);
	assert_int_equal(pending(1), 0x41);
	assert_true(in_map(1, IRR, 0x41));
	ipi(0, 1, 0x4051); /* higher class: becomes the one */
	assert_int_equal(pending(1), 0x51);
	assert_int_equal(ack(1), 0x51);
	assert_int_equal(rd(1, PPR), 0x50);
	assert_true(in_map(1, ISR, 0x51));
	assert_int_equal(pending(1), -1);
	assert_int_equal(ack(1), -1);
	ipi(0, 1, 0x405f); /* same class: waits */
	assert_int_equal(pending(1), -1);
	ipi(0, 1, 0x4061); /* nests */
	assert_int_equal(ack(1), 0x61);
	rig_requests(vm, 1);
	wr(1, EOI, 0);
	assert_int_equal(rd(1, PPR), 0x50);
	assert_int_equal(pending(1), -1);
	assert_int_equal(rig_requests(vm, 1), 0);
	wr(1, EOI, 0);
	assert_int_equal(rig_requests(vm, 1), REQ_IRQ);
	assert_int_equal(ack(1), 0x5f);
	wr(1, EOI, 0);
	assert_int_equal(ack(1), 0x41);
	wr(1, EOI, 0);
	wr(1, EOI, 0); /* nothing in service: no effect */
	assert_int_equal(pending(1), -1);
	rig_end(vm);
}

static void test_tpr(void **state)
{
	start();
	wr(0, TPR, 0x50);
	wr(0, ICR, 0x4405f); /* self */
	assert_int_equal(pending(0), -1);
	assert_int_equal(rig_requests(vm, 0), 0);
	wr(0, TPR, 0x4f);
	assert_int_equal(rig_requests(vm, 0), REQ_IRQ);
	assert_int_equal(pending(0), 0x5f);
	wr(0, TPR, 0xf0);
	assert_int_equal(pending(0), -1);
	assert_int_equal(ack(0), -1);
	assert_true(in_map(0, IRR, 0x5f));
	rig_end(vm);
}

static void test_destinations(void **state)
{
	start();
	for (unsigned i = 0; i < CPUS; i++)
		wr(i, LDR, 1u << (24 + i));
	ipi(0, 0x0a, 0x4830); /* logical, flat: 1 and 3 */
	assert_int_equal(pending(0), -1);
	assert_int_equal(ack(1), 0x30);
	assert_int_equal(pending(2), -1);
	assert_int_equal(ack(3), 0x30);
	ipi(0, 0xff, 0x4031); /* physical broadcast */
	for (unsigned i = 0; i < CPUS; i++)
		assert_true(in_map(i, IRR, 0x31));
	wr(2, ICR, 0x84032); /* all, me too */
	for (unsigned i = 0; i < CPUS; i++)
		assert_true(in_map(i, IRR, 0x32));
	wr(2, ICR, 0xc4033); /* all but me */
	for (unsigned i = 0; i < CPUS; i++)
		assert_int_equal(in_map(i, IRR, 0x33), i != 2);
	/* cluster model: cluster 1 members 0-1, cluster 2 members 0-1 */
	for (unsigned i = 0; i < CPUS; i++) {
		wr(i, DFR, 0);
		wr(i, LDR, (uint32_t)((i / 2 + 1) << 4 | 1u << i % 2) << 24);
	}
	ipi(0, 0x21, 0x4834);
	for (unsigned i = 0; i < CPUS; i++)
		assert_int_equal(in_map(i, IRR, 0x34), i == 2);
	ipi(0, 0xf2, 0x4835); /* member 1 of all clusters */
	for (unsigned i = 0; i < CPUS; i++)
		assert_int_equal(in_map(i, IRR, 0x35), i % 2 == 1);
	ipi(0, 77, 0x4036); /* nobody */
	for (unsigned i = 0; i < CPUS; i++)
		assert_false(in_map(i, IRR, 0x36));
	rig_end(vm);
}

static void test_lowest_priority(void **state)
{
	unsigned n[CPUS] = {0};

	start();
	for (unsigned i = 0; i < CPUS; i++)
		wr(i, LDR, 1u << (24 + i));
	wr(0, TPR, 0x20);
	wr(1, TPR, 0x10);
	wr(2, TPR, 0x30);
	wr(3, TPR, 0x20);
	ipi(0, 0xff, 0x4980 | 0x41);
	for (unsigned i = 0; i < CPUS; i++)
		assert_int_equal(in_map(i, IRR, 0xc1), i == 1);
	assert_int_equal(ack(1), 0xc1); /* busy now */
	wr(2, TPR, 0x20);
	for (unsigned i = 0; i < 30; i++) {
		apicbus_msi(vm->irq.msi_chip, 0xfee0d00c, 0x4100 | 0x51); /* 0, 2, 3 */
		for (unsigned c = 0; c < CPUS; c++)
			if (pending(c) == 0x51) {
				n[c]++;
				ack(c);
				wr(c, EOI, 0);
			}
	}
	assert_int_equal(n[0] + n[2] + n[3], 30);
	for (unsigned c = 0; c < CPUS; c++)
		assert_int_equal(n[c] > 5, c != 1); /* spread, and not to the busy one */
	rig_end(vm);
}

static void test_init_sipi_nmi(void **state)
{
	start();
	ipi(0, 1, 0xc500); /* INIT, level, assert */
	assert_int_equal(rig_requests(vm, 1), REQ_INIT);
	ipi(0, 1, 0x8500); /* de-assert: nothing */
	assert_int_equal(rig_requests(vm, 1), 0);
	ipi(0, 1, 0x4699);
	assert_int_equal(rig_requests(vm, 1), REQ_SIPI);
	assert_int_equal(atomic_load(&vm->vcpu[1]->sipi_vector), 0x99);
	wr(0, ICR, 0xc4400); /* NMI to all others */
	assert_int_equal(rig_requests(vm, 0), 0);
	for (unsigned i = 1; i < CPUS; i++)
		assert_int_equal(rig_requests(vm, i), REQ_NMI);
	wr(0, ICR, 0x44400); /* NMI to oneself is not a thing */
	assert_int_equal(rig_requests(vm, 0), 0);
	ipi(0, 1, 0x4200); /* SMI: ignored */
	assert_int_equal(rig_requests(vm, 1), 0);
	/* INIT resets all but id and base */
	ipi(0, 2, 0x4041);
	vm->vcpu[2]->intc->reset(vm->vcpu[2]->intc_chip, true);
	assert_int_equal(pending(2), -1);
	assert_int_equal(rd(2, SVR), 0xff);
	assert_int_equal(rd(2, ID), 2u << 24);
	/* and a disabled one takes no fixed interrupts, but NMI and SIPI */
	rig_requests(vm, 2);
	ipi(0, 2, 0x4041);
	assert_int_equal(rig_requests(vm, 2), 0);
	ipi(0, 2, 0x4400);
	assert_int_equal(rig_requests(vm, 2), REQ_NMI);
	rig_end(vm);
}

static void test_errors(void **state)
{
	start();
	wr(0, LVT_ERROR, 0x38);
	ipi(0, 1, 0x4005); /* illegal vector: not sent */
	assert_int_equal(rd(0, ESR), 0);
	assert_int_equal(ack(0), 0x38);
	wr(0, EOI, 0);
	ipi(0, 1, 0x4005); /* noted already: no second interrupt */
	assert_int_equal(pending(0), -1);
	wr(0, ESR, 0);
	assert_int_equal(rd(0, ESR), 0x20);
	wr(0, ESR, 0);
	assert_int_equal(rd(0, ESR), 0);
	vm->irq.msi(vm->irq.msi_chip, 0xfee01000, 0x0007); /* received */
	wr(1, ESR, 0);
	assert_int_equal(rd(1, ESR), 0x40);
	wr(0, 0x3f0 - 0x20, 1); /* no such register */
	wr(0, ESR, 0);
	assert_int_equal(rd(0, ESR), 0x80);
	assert_int_equal(ack(0), 0x38);
	rig_end(vm);
}

static void test_x2apic(void **state)
{
	uint64_t v;

	start();
	for (unsigned i = 0; i < CPUS; i++)
		assert_int_equal(wrmsr(i, MSR_BASE, msr(i, MSR_BASE) | BIT(10)), 0);
	assert_int_equal(rd(3, ID), 0xffffffff); /* the page is gone */
	assert_int_equal(msr(3, X2(ID)), 3);
	assert_int_equal(msr(3, X2(LDR)), 8);
	assert_int_equal(wrmsr(3, X2(LDR), 1), ERR_NOENT);
	assert_int_equal(wrmsr(3, X2(ID), 1), ERR_NOENT);
	assert_int_equal(wrmsr(3, X2(DFR), 1), ERR_NOENT);
	assert_int_equal(rdmsr(3, X2(DFR), &v), ERR_NOENT);
	assert_int_equal(rdmsr(3, X2(ICR2), &v), ERR_NOENT);
	assert_int_equal(rdmsr(3, X2(EOI), &v), ERR_NOENT);
	assert_int_equal(wrmsr(3, X2(EOI), 1), ERR_NOENT);
	assert_int_equal(wrmsr(3, X2(ESR), 1), ERR_NOENT);
	assert_int_equal(wrmsr(3, X2(TPR), 0x100), ERR_NOENT);
	assert_int_equal(wrmsr(3, X2(SVR), 0x11ff), 0);
	assert_int_equal(wrmsr(3, X2(SVR), 0x21ff), ERR_NOENT);
	assert_int_equal(wrmsr(3, X2(LVT_TIMER), 0x4000), ERR_NOENT);
	assert_int_equal(wrmsr(3, 0x8ff, 0), ERR_NOENT);
	/* read-only bits of an LVT are not reserved ones */
	assert_int_equal(wrmsr(3, X2(LVT_LINT0), 0x15700), 0);
	assert_int_equal(msr(3, X2(LVT_LINT0)), 0x10700);
	/* IPIs: 32-bit destinations, cluster 0, self */
	assert_int_equal(wrmsr(0, X2(ICR), UINT64_C(2) << 32 | 0x41), 0);
	assert_int_equal(msr(0, X2(ICR)), UINT64_C(2) << 32 | 0x41);
	assert_int_equal(ack(2), 0x41);
	assert_int_equal(wrmsr(2, X2(EOI), 0), 0);
	assert_int_equal(wrmsr(0, X2(ICR), UINT64_C(0xc) << 32 | 0x842), 0);
	assert_int_equal(pending(1), -1);
	assert_int_equal(ack(2), 0x42);
	assert_int_equal(ack(3), 0x42);
	assert_int_equal(wrmsr(0, X2(ICR), UINT64_C(0x1000c) << 32 | 0x843), 0); /* cluster 1 */
	assert_int_equal(msr(2, X2(IRR + 0x20)), 0);
	assert_int_equal(wrmsr(0, X2(ICR), UINT64_C(0xff) << 32 | 0x44), 0); /* no broadcast here */
	assert_int_equal(msr(2, X2(IRR + 0x20)), 0);
	assert_int_equal(wrmsr(0, X2(ICR), UINT64_C(0xffffffff) << 32 | 0x55), 0);
	for (unsigned i = 0; i < CPUS; i++)
		assert_int_equal(ack(i), 0x55);
	assert_int_equal(wrmsr(1, 0x83f, 0x66), 0);
	assert_int_equal(ack(1), 0x66);
	assert_int_equal(rdmsr(1, 0x83f, &v), ERR_NOENT);
	/* MSIs still have eight bits */
	vm->irq.msi(vm->irq.msi_chip, 0xfee03000, 0x71);
	assert_int_equal(ack(3), 0x71);
	rig_end(vm);
}

static void test_base_msr(void **state)
{
	start();
	assert_int_equal(wrmsr(0, MSR_BASE, 0xfee00500), ERR_NOENT); /* x2APIC without enable */
	assert_int_equal(wrmsr(0, MSR_BASE, 0xfee00901), ERR_NOENT);
	assert_int_equal(wrmsr(0, MSR_BASE, UINT64_C(1) << 52 | 0xfee00900), ERR_NOENT);
	wr(0, TPR, 0x40);
	assert_int_equal(wrmsr(0, MSR_BASE, 0xfee00100), 0); /* off */
	assert_int_equal(rd(0, ID), 0xffffffff);
	assert_int_equal(rd(1, ID), 1u << 24);
	assert_int_equal(wrmsr(0, MSR_BASE, 0xfee00d00), ERR_NOENT); /* not from off */
	assert_int_equal(wrmsr(0, MSR_BASE, 0xfee00900), 0);
	assert_int_equal(rd(0, TPR), 0);
	assert_int_equal(wrmsr(0, MSR_BASE, 0xfee00d00), 0);
	assert_int_equal(wrmsr(0, MSR_BASE, 0xfee00900), ERR_NOENT); /* only through off */
	/* one moves away, another follows, the first comes back */
	assert_int_equal(wrmsr(1, MSR_BASE, 0xfed40800), 0);
	assert_int_equal(rd(1, ID), 0xffffffff);
	assert_int_equal(bus_read(&vm->mmio, 1, 0xfed40020, 4), 1u << 24);
	assert_int_equal(bus_read(&vm->mmio, 2, 0xfed40020, 4), 0xffffffff);
	assert_int_equal(wrmsr(2, MSR_BASE, 0xfed40800), 0);
	assert_int_equal(bus_read(&vm->mmio, 2, 0xfed40020, 4), 2u << 24);
	assert_int_equal(wrmsr(1, MSR_BASE, 0xfee00800), 0);
	assert_int_equal(rd(1, ID), 1u << 24);
	assert_int_equal(bus_read(&vm->mmio, 1, 0xfed40020, 4), 0xffffffff);
	assert_int_equal(bus_read(&vm->mmio, 2, 0xfed40020, 4), 2u << 24);
	vm->vcpu[2]->intc->reset(vm->vcpu[2]->intc_chip, false);
	assert_int_equal(bus_read(&vm->mmio, 2, 0xfed40020, 4), 0xffffffff);
	assert_int_equal(rd(2, ID), 2u << 24);
	rig_end(vm);
}

static void pic_init(void)
{
	static const uint8_t seq[][2] = {{0x20, 0x11}, {0x21, 0x20}, {0x21, 4}, {0x21, 1},
					 {0xa0, 0x11}, {0xa1, 0x28}, {0xa1, 2}, {0xa1, 1},
					 {0x21, 0},    {0xa1, 0}};

	for (unsigned i = 0; i < ARRAY_SIZE(seq); i++)
		outb(vm, seq[i][0], seq[i][1]);
}

static void test_virtual_wire(void **state)
{
	start();
	pic_init();
	gsi_set(vm, 4, true);
	assert_int_equal(pending(0), -1); /* LINT0 is masked */
	gsi_set(vm, 4, false);
	intr_virtual_wire(intr);
	assert_int_equal(rig_requests(vm, 0), REQ_IRQ);
	assert_int_equal(rig_requests(vm, 1), 0);
	assert_int_equal(pending(0), 0x24);
	assert_int_equal(pending(1), -1);
	wr(0, TPR, 0xff); /* passes by the priorities */
	assert_int_equal(ack(0), 0x24);
	assert_int_equal(pending(0), -1);
	assert_int_equal(rd(0, PPR), 0xff);
	outb(vm, 0x20, 0x20);
	gsi_set(vm, 14, true);
	assert_int_equal(rig_requests(vm, 0), REQ_IRQ);
	assert_int_equal(ack(0), 0x2e);
	outb(vm, 0xa0, 0x20);
	outb(vm, 0x20, 0x20);
	/* with the APIC off, LINT0 is INTR */
	assert_int_equal(wrmsr(0, MSR_BASE, 0xfee00100), 0);
	gsi_set(vm, 4, true);
	assert_int_equal(ack(0), 0x24);
	rig_end(vm);
}

static void test_lint(void **state)
{
	struct lapic *l;

	start();
	l = vm->vcpu[0]->intc_chip;
	wr(0, LVT_LINT1, 0x400);
	lapic_lint(l, 1, true);
	assert_int_equal(rig_requests(vm, 0), REQ_NMI);
	lapic_lint(l, 1, true);
	assert_int_equal(rig_requests(vm, 0), 0);
	lapic_lint(l, 1, false);
	/* fixed, level: remote IRR holds it until EOI */
	wr(0, LVT_LINT0, 0x8045);
	lapic_lint(l, 0, true);
	assert_int_equal(rd(0, LVT_LINT0), 0xc045);
	assert_int_equal(ack(0), 0x45);
	assert_true(in_map(0, TMR, 0x45));
	wr(0, EOI, 0);
	assert_int_equal(ack(0), 0x45);
	lapic_lint(l, 0, false);
	wr(0, EOI, 0);
	assert_int_equal(rd(0, LVT_LINT0), 0x8045);
	assert_int_equal(pending(0), -1);
	rig_end(vm);
}

static void test_timer_oneshot(void **state)
{
	const struct intc_ops *ops;
	void *chip;

	start();
	ops = vm->vcpu[1]->intc;
	chip = vm->vcpu[1]->intc_chip;
	assert_true(ops->deadline(chip) == PLAT_FOREVER);
	wr(1, DIVIDE, 0xb); /* 1: a tick is a nanosecond */
	wr(1, LVT_TIMER, 0xef);
	wr(1, INIT_COUNT, 1000000);
	assert_int_equal(rd(1, COUNT), 1000000);
	assert_int_equal(ops->deadline(chip), plat_now() + 1000000);
	fake_advance(400000);
	assert_int_equal(rd(1, COUNT), 600000);
	fake_advance(599999);
	assert_int_equal(pending(1), -1);
	fake_advance(1);
	assert_int_equal(rig_requests(vm, 1), REQ_IRQ);
	assert_int_equal(ack(1), 0xef);
	wr(1, EOI, 0);
	assert_int_equal(rd(1, COUNT), 0);
	assert_true(ops->deadline(chip) == PLAT_FOREVER);
	fake_advance(NS_PER_SEC);
	assert_int_equal(pending(1), -1);
	/* stopped by a count of zero */
	wr(1, INIT_COUNT, 5000);
	wr(1, INIT_COUNT, 0);
	fake_advance(10000);
	assert_int_equal(pending(1), -1);
	/* divided by 16, and the pace changed on the way */
	wr(1, DIVIDE, 3);
	wr(1, INIT_COUNT, 1000);
	fake_advance(8000);
	assert_int_equal(rd(1, COUNT), 500);
	wr(1, DIVIDE, 0);
	fake_advance(999);
	assert_int_equal(pending(1), -1);
	fake_advance(1);
	assert_int_equal(ack(1), 0xef);
	wr(1, EOI, 0);
	/* masked: counts without interrupting, and is not caught up with */
	wr(1, LVT_TIMER, 0x100ef);
	wr(1, INIT_COUNT, 1000);
	assert_true(ops->deadline(chip) == PLAT_FOREVER);
	fake_advance(5000);
	wr(1, LVT_TIMER, 0xef);
	assert_int_equal(pending(1), -1);
	/* a halted vCPU expires its own timer */
	wr(1, INIT_COUNT, 1000);
	fake_advance(1999);
	ops->expire(chip);
	assert_int_equal(pending(1), -1);
	rig_end(vm);
}

static void test_timer_periodic(void **state)
{
	start();
	wr(0, DIVIDE, 0xb);
	wr(0, LVT_TIMER, 0x20050);
	wr(0, INIT_COUNT, 1000000);
	for (unsigned i = 0; i < 5; i++) {
		fake_advance(1000000);
		assert_int_equal(ack(0), 0x50);
		wr(0, EOI, 0);
		assert_int_equal(pending(0), -1);
	}
	fake_advance(10500000); /* late: one interrupt, and the phase stays */
	assert_int_equal(ack(0), 0x50);
	wr(0, EOI, 0);
	assert_int_equal(rd(0, COUNT), 500000);
	/* shorter than the host can be woken: no more often than that */
	wr(0, INIT_COUNT, 1);
	assert_true(fake_next_timer() >= plat_now() + 10000);
	fake_advance(100000);
	assert_int_equal(ack(0), 0x50);
	/* to one-shot on the way: it ends with this period */
	wr(0, INIT_COUNT, 1000000);
	wr(0, EOI, 0);
	if (ack(0) >= 0)
		wr(0, EOI, 0);
	wr(0, LVT_TIMER, 0x50);
	fake_advance(1000000);
	assert_int_equal(ack(0), 0x50);
	wr(0, EOI, 0);
	fake_advance(10000000);
	assert_int_equal(pending(0), -1);
	rig_end(vm);
}

static uint64_t fake_tsc(struct vcpu *vcpu)
{
	/* a guest's TSC of 2 GHz that began early */
	return plat_now() * 2 + 1000000;
}

static void test_timer_tsc(void **state)
{
	struct apicbus bus = {0};
	struct lapic_wiring w = {.bus = &bus, .tsc = fake_tsc};
	struct lapic *l;

	vm = rig_vm(1);
	vm->tsc_hz = 2000000000;
	apicbus_init(&bus, vm);
	w.vcpu = vm->vcpu[0];
	assert_int_equal(lapic_create(vm, &w, &l), 0);
	assert_int_equal(lapic_map(&bus), 0);
	wr(0, SVR, 0x1ff);
	assert_int_equal(wrmsr(0, MSR_DEADLINE, 123), 0); /* ignored in this mode */
	assert_int_equal(msr(0, MSR_DEADLINE), 0);
	wr(0, LVT_TIMER, 0x400ec);
	wr(0, INIT_COUNT, 1000); /* ignored in that one */
	assert_int_equal(rd(0, INIT_COUNT), 0);
	assert_int_equal(wrmsr(0, MSR_DEADLINE, fake_tsc(NULL) + 2000000), 0);
	assert_int_equal(msr(0, MSR_DEADLINE), fake_tsc(NULL) + 2000000);
	assert_in_range(lapic_next_deadline(l), plat_now() + 1000000, plat_now() + 1000010);
	fake_advance(999990);
	assert_int_equal(pending(0), -1);
	fake_advance(20);
	assert_int_equal(ack(0), 0xec);
	assert_int_equal(msr(0, MSR_DEADLINE), 0);
	wr(0, EOI, 0);
	/* in the past: at once */
	assert_int_equal(wrmsr(0, MSR_DEADLINE, 1), 0);
	assert_int_equal(ack(0), 0xec);
	wr(0, EOI, 0);
	/* disarmed */
	assert_int_equal(wrmsr(0, MSR_DEADLINE, fake_tsc(NULL) + 2000), 0);
	assert_int_equal(wrmsr(0, MSR_DEADLINE, 0), 0);
	fake_advance(2000);
	assert_int_equal(pending(0), -1);
	/* far away: no overflow */
	assert_int_equal(wrmsr(0, MSR_DEADLINE, UINT64_MAX), 0);
	fake_advance(NS_PER_SEC * 100);
	assert_int_equal(pending(0), -1);
	assert_true(msr(0, MSR_DEADLINE) == UINT64_MAX);
	/* leaving the mode disarms */
	assert_int_equal(wrmsr(0, MSR_DEADLINE, fake_tsc(NULL) + 2000), 0);
	wr(0, LVT_TIMER, 0xec);
	assert_int_equal(msr(0, MSR_DEADLINE), 0);
	fake_advance(2000);
	assert_int_equal(pending(0), -1);
	rig_end(vm);
}

static void test_cpuid(void **state)
{
	uint32_t r[4] = {0, 0x00112233, 0, 0x200};

	start();
	assert_non_null(vm->vcpu[3]->cpuid);
	intr_cpuid(vm->vcpu[3], 1, 0, r);
	assert_int_equal(r[1], 0x03042233);
	assert_int_equal(r[2], BIT(21));
	assert_int_equal(r[3], BIT(9) | BIT(28));
	assert_int_equal(wrmsr(3, MSR_BASE, 0xfee00000), 0);
	intr_cpuid(vm->vcpu[3], 1, 0, r);
	assert_int_equal(r[3], BIT(28));
	intr_cpuid(vm->vcpu[3], 0xb, 0, r);
	assert_int_equal(r[0], 0);
	assert_int_equal(r[1], 1);
	assert_int_equal(r[2], 0x100);
	assert_int_equal(r[3], 3);
	intr_cpuid(vm->vcpu[3], 0xb, 1, r);
	assert_int_equal(r[0], 2);
	assert_int_equal(r[1], 4);
	assert_int_equal(r[2], 0x201);
	intr_cpuid(vm->vcpu[3], 0xb, 2, r);
	assert_int_equal(r[1], 0);
	assert_int_equal(r[2], 2);
	rig_end(vm);
}

static void test_garbage(void **state)
{
	static const struct rig_range page[] = {
		{LAPIC_BASE, 0x1000}, {LAPIC_BASE, 0x400}, {0xfec00000, 0x50}};
	static const struct rig_range pic[] = {{0x20, 2}, {0xa0, 2}};
	struct rig_random r = rig_random();

	start();
	for (unsigned i = 0; i < 4000; i++) {
		unsigned cpu = (unsigned)(rig_next(&r) % CPUS);
		uint64_t v;

		rig_garbage(vm, &vm->mmio, page, ARRAY_SIZE(page), 50, &r);
		rig_garbage(vm, &vm->pio, pic, ARRAY_SIZE(pic), 2, &r);
		gsi_set(vm, (unsigned)(rig_next(&r) % 26), rig_next(&r) & 1);
		msi_send(vm, 0xfee00000 | (rig_next(&r) & 0xfffff), (uint32_t)rig_next(&r));
		wrmsr(cpu, 0x800 + (uint32_t)(rig_next(&r) % 0x50), rig_next(&r) & rig_next(&r));
		if (rig_next(&r) % 8 == 0)
			wrmsr(cpu, MSR_BASE, 0xfee00000 | (rig_next(&r) & 0xfff));
		wrmsr(cpu, MSR_DEADLINE, rig_next(&r));
		rdmsr(cpu, 0x800 + (uint32_t)(rig_next(&r) % 0x50), &v);
		if (pending(cpu) >= 0)
			assert_in_range(ack(cpu), 0, 255);
		vm->vcpu[cpu]->intc->cr8_write(vm->vcpu[cpu]->intc_chip, (uint8_t)rig_next(&r));
		if (rig_next(&r) % 64 == 0)
			vm->vcpu[cpu]->intc->reset(vm->vcpu[cpu]->intc_chip, rig_next(&r) & 1);
	}
	rig_end(vm);
}

/* ---- lent to an engine ------------------------------------------------------------------- */

static struct {
	unsigned sent, routes;
	uint64_t addr;
	uint32_t data;
} engine;

static bool engine_send(struct vm *of, uint64_t addr, uint32_t data)
{
	engine.sent++;
	engine.addr = addr;
	engine.data = data;
	return true;
}

static void engine_routes(struct vm *of)
{
	engine.routes++;
}

static const struct apics_ops engine_chips = {.send = engine_send, .routes = engine_routes};

static void lend(unsigned cpu, struct apic_regs *r)
{
	apics_close(&vm->apics);
	vm->vcpu[cpu]->intc->lend(vm->vcpu[cpu]->intc_chip, r);
	apics_open(&vm->apics, &engine_chips);
}

static void back(unsigned cpu, const struct apic_regs *r)
{
	apics_close(&vm->apics);
	vm->vcpu[cpu]->intc->back(vm->vcpu[cpu]->intc_chip, r);
	apics_open(&vm->apics, NULL);
}

#define R(r, off) ((r).reg[(off) / 16])

static void test_lent_registers(void **state)
{
	struct apic_regs r;

	start();
	wr(0, TPR, 0x20);
	wr(0, LDR, 0x01000000);
	wr(0, LVT_LINT0, 0x700);
	wr(0, LVT_TIMER, 0x20040);
	wr(0, DIVIDE, 0xb);
	wr(0, INIT_COUNT, 100000);
	ipi(1, 0, 0x4041);
	ipi(1, 0, 0x4081);
	assert_int_equal(ack(0), 0x81);
	fake_advance(30000);
	lend(0, &r);
	assert_int_equal(r.base, 0xfee00900);
	assert_int_equal(R(r, ID), 0);
	assert_int_equal(R(r, SVR), 0x1ff);
	assert_int_equal(R(r, TPR), 0x20);
	assert_int_equal(R(r, LDR), 0x01000000);
	assert_int_equal(R(r, LVT_LINT0), 0x700);
	assert_int_equal(R(r, LVT_TIMER), 0x20040);
	assert_int_equal(R(r, IRR + 0x20), BIT(1));
	assert_int_equal(R(r, ISR + 0x40), BIT(1));
	assert_int_equal(R(r, INIT_COUNT), 100000);
	assert_int_equal(R(r, COUNT), 70000);
	/* the model does nothing of its own now */
	rig_requests(vm, 0);
	fake_advance(10 * 1000000);
	assert_int_equal(rig_requests(vm, 0), 0);
	assert_int_equal(pending(0), -1);
	assert_int_equal(rd(0, TPR), 0xffffffff);
	/* back with what the engine has made of it: 45H came, 81H is done, 20000 to go */
	R(r, IRR + 0x20) |= BIT(5);
	R(r, ISR + 0x40) = 0;
	R(r, COUNT) = 20000;
	back(0, &r);
	assert_int_equal(rig_requests(vm, 0), REQ_IRQ);
	assert_int_equal(ack(0), 0x45);
	assert_int_equal(rd(0, TPR), 0x20);
	fake_advance(19999);
	assert_false(in_map(0, IRR, 0x40));
	fake_advance(1);
	assert_true(in_map(0, IRR, 0x40));
	rig_end(vm);
}

static void test_lent_messages(void **state)
{
	struct apic_regs r;
	uint64_t addr;
	uint32_t data;

	start();
	lend(2, &r);
	engine.sent = engine.routes = 0;
	msi_send(vm, 0xfee02004, 0x4055);
	assert_int_equal(engine.sent, 1);
	assert_int_equal(engine.addr, 0xfee02004);
	assert_int_equal(engine.data, 0x55);
	/* a level-triggered pin of the I/O APIC, and the end of its interrupt */
	bus_write(&vm->mmio, 0, 0xfec00000, 4, 0x10 + 2 * 9 + 1);
	bus_write(&vm->mmio, 0, 0xfec00010, 4, 2u << 24);
	bus_write(&vm->mmio, 0, 0xfec00000, 4, 0x10 + 2 * 9);
	bus_write(&vm->mmio, 0, 0xfec00010, 4, 0x8000 | 0x66);
	assert_int_equal(engine.routes, 2);
	assert_true(vm->irq.level_msg(vm->irq.ioapic.chip, 9, &addr, &data));
	assert_int_equal(addr, 0xfee02000);
	assert_int_equal(data, 0x8066);
	assert_false(vm->irq.level_msg(vm->irq.ioapic.chip, 10, &addr, &data));
	assert_false(vm->irq.level_msg(vm->irq.ioapic.chip, 24, &addr, &data));
	gsi_set(vm, 9, true);
	assert_int_equal(engine.sent, 2);
	assert_int_equal(engine.data, 0xc066);
	vm->irq.eoi(vm->irq.eoi_chip, 0x67); /* another's */
	assert_int_equal(engine.sent, 2);
	vm->irq.eoi(vm->irq.eoi_chip, 0x66); /* still asserted */
	assert_int_equal(engine.sent, 3);
	gsi_set(vm, 9, false);
	vm->irq.eoi(vm->irq.eoi_chip, 0x66);
	assert_int_equal(engine.sent, 3);
	back(2, &r);
	rig_end(vm);
}

static void test_lent_changes(void **state)
{
	const struct intc_ops *intc;
	struct apic_regs r;
	void *chip;

	start();
	intc = vm->vcpu[1]->intc;
	chip = vm->vcpu[1]->intc_chip;
	lend(1, &r);
	assert_false(intc->changed(chip));
	R(r, TPR) = 0x50;
	intc->look(chip, &r);
	assert_int_equal(intc->cr8_read(chip), 5);
	assert_false(intc->changed(chip));
	/* a reset is the model's, and what the engine had no longer counts */
	intc->reset(chip, false);
	intr_virtual_wire(intr);
	assert_true(intc->changed(chip));
	intc->look(chip, &r);
	assert_int_equal(intc->cr8_read(chip), 0);
	intc->lend(chip, &r);
	assert_int_equal(R(r, TPR), 0);
	assert_int_equal(R(r, LVT_LINT1), 0x400);
	assert_false(intc->changed(chip));
	back(1, &r);
	rig_end(vm);
}

static void test_no_memory(void **state)
{
	for (unsigned n = 1; n < 20; n++) {
		vm = rig_vm(CPUS);
		fake_fail_alloc(n);
		if (!intr_create(vm, &intr))
			n = 20;
		fake_fail_alloc(0);
		rig_end(vm);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_registers),
		cmocka_unit_test(test_fixed),
		cmocka_unit_test(test_tpr),
		cmocka_unit_test(test_destinations),
		cmocka_unit_test(test_lowest_priority),
		cmocka_unit_test(test_init_sipi_nmi),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_x2apic),
		cmocka_unit_test(test_base_msr),
		cmocka_unit_test(test_virtual_wire),
		cmocka_unit_test(test_lint),
		cmocka_unit_test(test_timer_oneshot),
		cmocka_unit_test(test_timer_periodic),
		cmocka_unit_test(test_timer_tsc),
		cmocka_unit_test(test_cpuid),
		cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_lent_registers),
		cmocka_unit_test(test_lent_messages),
		cmocka_unit_test(test_lent_changes),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
