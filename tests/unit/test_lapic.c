/* SPDX-License-Identifier: ISC */
/* test_lapic.c: local APICs, their bus and the PIC behind LINT0, in a complex of four vCPUs. */
#include "tests/unit/lapic_rig.h"

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

static bool give(unsigned cpu, uint32_t *page, struct apic_given *g)
{
	const struct apic_given *given = vm->vcpu[cpu]->intc->give(vm->vcpu[cpu]->intc_chip, page);

	if (given)
		*g = *given;
	return given;
}

static void take(unsigned cpu)
{
	vm->vcpu[cpu]->intc->take(vm->vcpu[cpu]->intc_chip);
}

/* As a processor does it that delivers by itself. */
static void page_bit(uint32_t *page, unsigned map, unsigned v, bool on)
{
	uint32_t *w = page + (map + v / 32 * 16) / 4, bit = BIT(v % 32);

	assert_int_equal(!!(*w & bit), !on);
	*w ^= bit;
}

static void page_deliver(uint32_t *page, unsigned v)
{
	page_bit(page, IRR, v, false);
	page_bit(page, ISR, v, true);
}

static void test_given(void **state)
{
	uint32_t page[1024] = {0};
	struct apic_given g;
	void *chip;

	start();
	chip = vm->vcpu[1]->intc_chip;
	assert_false(give(1, page, &g)); /* registers in memory: not done there */
	for (unsigned i = 0; i < CPUS; i++)
		assert_int_equal(wrmsr(i, MSR_BASE, msr(i, MSR_BASE) | BIT(10)), 0);
	assert_int_equal(wrmsr(0, X2(ICR), UINT64_C(1) << 32 | 0x41), 0);
	assert_int_equal(wrmsr(0, X2(ICR), UINT64_C(1) << 32 | 0x51), 0);
	rig_requests(vm, 1);
	assert_true(give(1, page, &g));
	assert_int_equal(g.rvi, 0x51);
	assert_int_equal(g.svi, 0);
	assert_int_equal(pending(1), -1);
	page_deliver(page, 0x51);
	page[TPR / 4] = 0x20;
	assert_true(lapic_waiting(chip, 0x41));
	assert_false(lapic_waiting(chip, 0x51));
	/* What comes meanwhile: whatever the priority is, which only the processor knows. */
	assert_int_equal(wrmsr(0, X2(ICR), UINT64_C(1) << 32 | 0x11), 0);
	assert_int_equal(rig_requests(vm, 1), REQ_IRQ);
	assert_int_equal(wrmsr(0, X2(ICR), UINT64_C(1) << 32 | 0x51), 0);
	assert_int_equal(rig_requests(vm, 1), REQ_IRQ);
	assert_int_equal(ack(1), -1); /* it is not ours to take */
	take(1);
	assert_int_equal(rig_requests(vm, 1), 0);
	assert_int_equal(msr(1, X2(TPR)), 0x20);
	assert_int_equal(msr(1, X2(ISR + 0x20)), BIT(0x11));
	assert_int_equal(msr(1, X2(IRR + 0x20)), BIT(0x11) | BIT(1));
	assert_int_equal(msr(1, X2(IRR)), BIT(0x11));
	assert_int_equal(pending(1), -1);
	/* again, with one in service */
	assert_true(give(1, page, &g));
	assert_int_equal(g.svi, 0x51);
	assert_int_equal(g.rvi, 0x51);
	page_bit(page, ISR, 0x51, false);
	page_deliver(page, 0x51);
	page_bit(page, ISR, 0x51, false);
	page_deliver(page, 0x41);
	take(1);
	assert_int_equal(msr(1, X2(ISR + 0x20)), BIT(1));
	assert_int_equal(msr(1, X2(IRR + 0x20)), 0);
	assert_int_equal(wrmsr(1, X2(EOI), 0), 0);
	assert_int_equal(pending(1), -1); /* 11H is below TPR */
	assert_int_equal(wrmsr(1, X2(TPR), 0), 0);
	assert_int_equal(ack(1), 0x11);
	assert_int_equal(wrmsr(1, X2(EOI), 0), 0);
	/* level-triggered: its end is told, and it comes again as long as the pin is up */
	assert_int_equal(wrmsr(1, X2(LVT_LINT0), BIT(15) | 0x61), 0);
	lapic_lint(chip, 0, true);
	assert_true(give(1, page, &g));
	assert_int_equal(g.rvi, 0x61);
	assert_true(g.tell[1] & BIT64(0x61 - 64));
	page_deliver(page, 0x61);
	page_bit(page, ISR, 0x61, false);
	take(1);
	assert_int_equal(pending(1), -1);
	vm->vcpu[1]->intc->ended(chip, 0x61);
	assert_int_equal(pending(1), 0x61);
	lapic_lint(chip, 0, false);
	assert_int_equal(ack(1), 0x61);
	assert_int_equal(wrmsr(1, X2(EOI), 0), 0);
	assert_int_equal(pending(1), -1);
	/* who ends what it takes does it here */
	lapic_auto_eoi(chip, (const uint64_t[4]){0, 1});
	assert_false(give(1, page, &g));
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
		cmocka_unit_test(test_given),
		cmocka_unit_test(test_base_msr),
		cmocka_unit_test(test_virtual_wire),
		cmocka_unit_test(test_lint),
		cmocka_unit_test(test_cpuid),
		cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
