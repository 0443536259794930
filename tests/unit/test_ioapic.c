/* SPDX-License-Identifier: ISC */
/* test_ioapic.c: the I/O APIC and MSIs, in an interrupt complex of two vCPUs. */
#include "tests/unit/pc_rig.h"

#include "dev/irq/intr.h"
#include "dev/irq/ioapic.h"
#include "dev/irq/lapic.h"

static struct vm *vm;
static struct intr *intr;

static uint32_t rd(unsigned reg)
{
	bus_write(&vm->mmio, 0, IOAPIC_BASE, 4, reg);
	return (uint32_t)bus_read(&vm->mmio, 0, IOAPIC_BASE + 0x10, 4);
}

static void wr(unsigned reg, uint32_t v)
{
	bus_write(&vm->mmio, 0, IOAPIC_BASE, 1, reg);
	bus_write(&vm->mmio, 0, IOAPIC_BASE + 0x10, 4, v);
}

static void entry(unsigned pin, uint32_t low, uint8_t dest)
{
	wr(0x11 + 2 * pin, (uint32_t)dest << 24);
	wr(0x10 + 2 * pin, low);
}

static uint32_t lapic_rd(unsigned cpu, unsigned reg)
{
	return (uint32_t)bus_read(&vm->mmio, (int)cpu, LAPIC_BASE + reg, 4);
}

static void lapic_wr(unsigned cpu, unsigned reg, uint32_t v)
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

static void eoi(unsigned cpu)
{
	lapic_wr(cpu, 0xb0, 0);
}

static void start(void)
{
	vm = rig_vm(2);
	assert_int_equal(intr_create(vm, &intr), 0);
	for (unsigned i = 0; i < 2; i++)
		lapic_wr(i, 0xf0, 0x1ff);
}

static void test_registers(void **state)
{
	start();
	assert_int_equal(rd(1), 0x00170020);
	wr(0, 0xffffffff);
	assert_int_equal(rd(0), 0x0f000000);
	assert_int_equal(rd(2), 0x0f000000);
	wr(1, 0);
	assert_int_equal(rd(1), 0x00170020);
	for (unsigned pin = 0; pin < 24; pin++)
		assert_int_equal(rd(0x10 + 2 * pin), 0x10000);
	wr(0x12, 0xffffffff);
	wr(0x13, 0xffffffff);
	assert_int_equal(rd(0x12), 0x1afff);
	assert_int_equal(rd(0x13), 0xff000000);
	assert_int_equal(rd(0x40), 0); /* beyond the table */
	rig_end(vm);
}

static void test_edge(void **state)
{
	start();
	entry(4, 0x34, 1);
	gsi_set(vm, 4, true);
	assert_int_equal(pending(0), -1);
	assert_true(intr_gsi_waiting(intr, 4));
	assert_int_equal(ack(1), 0x34);
	assert_false(intr_gsi_waiting(intr, 4));
	eoi(1);
	assert_int_equal(pending(1), -1);
	gsi_set(vm, 4, false);
	gsi_set(vm, 4, true);
	assert_int_equal(ack(1), 0x34);
	eoi(1);
	/* an edge at a masked pin is lost */
	wr(0x18, 0x10034);
	gsi_set(vm, 4, false);
	gsi_set(vm, 4, true);
	wr(0x18, 0x34);
	assert_int_equal(pending(1), -1);
	/* the PIT comes in at pin 2 */
	entry(2, 0x30, 0);
	gsi_set(vm, 0, true);
	assert_int_equal(ack(0), 0x30);
	gsi_set(vm, 99, true);
	rig_end(vm);
}

static void test_level(void **state)
{
	start();
	entry(17, 0x8041, 0);
	gsi_set(vm, 17, true);
	assert_int_equal(rd(0x10 + 34), 0xc041); /* remote IRR */
	assert_int_equal(ack(0), 0x41);
	assert_int_equal(lapic_rd(0, 0x180 + 0x20) & 2, 2); /* TMR */
	gsi_set(vm, 17, false);
	gsi_set(vm, 17, true); /* held back until EOI */
	assert_int_equal(pending(0), -1);
	eoi(0);
	assert_int_equal(ack(0), 0x41);
	gsi_set(vm, 17, false);
	eoi(0);
	assert_int_equal(pending(0), -1);
	assert_int_equal(rd(0x10 + 34), 0x8041);
	/* asserted while masked: as soon as it is unmasked */
	wr(0x10 + 34, 0x18041);
	gsi_set(vm, 17, true);
	assert_int_equal(pending(0), -1);
	wr(0x10 + 34, 0x8041);
	assert_int_equal(ack(0), 0x41);
	/* suppressed broadcast: the EOI register does it */
	lapic_wr(0, 0xf0, 0x11ff);
	eoi(0);
	assert_int_equal(rd(0x10 + 34), 0xc041);
	assert_int_equal(pending(0), -1);
	bus_write(&vm->mmio, 0, IOAPIC_BASE + 0x40, 4, 0x41);
	assert_int_equal(ack(0), 0x41);
	/* a guest's way to clear a stuck remote IRR: edge and back */
	wr(0x10 + 34, 0x10041);
	assert_int_equal(rd(0x10 + 34), 0x10041);
	wr(0x10 + 34, 0x18041);
	assert_int_equal(rd(0x10 + 34), 0x18041);
	rig_end(vm);
}

static void test_modes(void **state)
{
	start();
	lapic_wr(0, 0xd0, 0x01000000);
	lapic_wr(1, 0xd0, 0x02000000);
	entry(5, 0x0835, 3); /* fixed, both */
	gsi_set(vm, 5, true);
	assert_int_equal(ack(0), 0x35);
	assert_int_equal(ack(1), 0x35);
	eoi(0);
	eoi(1);
	lapic_wr(0, 0x80, 0x20);
	entry(6, 0x0936, 3); /* lowest priority */
	gsi_set(vm, 6, true);
	assert_int_equal(pending(0), -1);
	assert_int_equal(ack(1), 0x36);
	rig_requests(vm, 0);
	entry(7, 0x0400, 0);
	gsi_set(vm, 7, true);
	assert_int_equal(rig_requests(vm, 0), REQ_NMI);
	entry(8, 0x0500, 0);
	gsi_set(vm, 8, true);
	assert_int_equal(rig_requests(vm, 0), REQ_INIT);
	entry(9, 0x0600, 0); /* reserved */
	gsi_set(vm, 9, true);
	assert_int_equal(rig_requests(vm, 0), 0);
	/* ExtINT: the vector is the PIC's */
	outb(vm, 0x20, 0x11);
	outb(vm, 0x21, 0x28);
	outb(vm, 0x21, 0x04);
	outb(vm, 0x21, 0x01);
	gsi_set(vm, 3, true);
	entry(10, 0x0700, 0);
	gsi_set(vm, 10, true);
	assert_int_equal(rig_requests(vm, 0), REQ_IRQ);
	assert_int_equal(ack(0), 0x2b);
	assert_int_equal(pending(0), -1);
	rig_end(vm);
}

static void test_msi(void **state)
{
	start();
	msi_send(vm, 0xfee01000, 0x0055);
	assert_int_equal(pending(0), -1);
	assert_int_equal(ack(1), 0x55);
	msi_send(vm, 0xfed01000, 0x0056); /* not one */
	msi_send(vm, 0xfee05000, 0x0056); /* nobody there */
	assert_int_equal(pending(1), -1);
	rig_requests(vm, 0);
	msi_send(vm, 0xfee00000, 0x0400);
	assert_int_equal(rig_requests(vm, 0), REQ_NMI);
	lapic_wr(0, 0xd0, 0x01000000);
	lapic_wr(1, 0xd0, 0x02000000);
	msi_send(vm, 0xfee0300c, 0x0066); /* redirection hint: one of the two */
	assert_int_equal((pending(0) == 0x66) + (pending(1) == 0x66), 1);
	msi_send(vm, 0xfeeff000, 0x0077); /* broadcast */
	assert_int_equal((pending(0) == 0x77) + (pending(1) == 0x77), 2);
	rig_end(vm);
}

static void test_garbage(void **state)
{
	static const struct rig_range page[] = {
		{IOAPIC_BASE, 0x50}, {IOAPIC_BASE, 0x14}, {IOAPIC_BASE, 0x1000}};
	struct rig_random r = rig_random();

	start();
	for (unsigned i = 0; i < 4000; i++) {
		unsigned cpu = (unsigned)rig_next(&r) % 2;

		rig_garbage(vm, &vm->mmio, page, ARRAY_SIZE(page), 50, &r);
		gsi_set(vm, (unsigned)(rig_next(&r) % 24), rig_next(&r) & 1);
		if (pending(cpu) >= 0)
			ack(cpu);
		if (rig_next(&r) & 1)
			eoi(cpu);
		rig_requests(vm, cpu);
	}
	for (struct dev *d = vm->devs; d; d = d->next)
		if (d->cls->reset)
			d->cls->reset(d);
	assert_int_equal(rd(0x10), 0x10000);
	rig_end(vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_registers), cmocka_unit_test(test_edge),
		cmocka_unit_test(test_level),     cmocka_unit_test(test_modes),
		cmocka_unit_test(test_msi),       cmocka_unit_test(test_garbage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
