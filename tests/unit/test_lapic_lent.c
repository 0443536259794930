/* SPDX-License-Identifier: ISC */
/* test_lapic_lent.c: local APICs that an engine has meanwhile (KVM's in the kernel): registers go there and back, messages
 * to whoever has them, and wait while that changes. */
#include "tests/unit/lapic_rig.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lent_registers),
		cmocka_unit_test(test_lent_messages),
		cmocka_unit_test(test_lent_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
