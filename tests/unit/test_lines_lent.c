/* SPDX-License-Identifier: ISC */
/* test_lines_lent.c: I/O APIC and PIC that an engine has meanwhile (KVM's in the kernel): registers go there and back, levels to
 * both, and what a reset makes of them is told. */
#include "tests/unit/lapic_rig.h"

static struct {
	unsigned changes, asked;
	uint32_t levels;
} engine;
static struct line_chips had; /* what lend() gave last */

static bool engine_send(struct vm *of, uint64_t addr, uint32_t data)
{
	return true;
}

static void engine_lend(void)
{
	plat_mutex_lock(&vm->lines.lock);
	vm->irq.lines->lend(vm->irq.lines_chip, &had);
	plat_mutex_unlock(&vm->lines.lock);
}

static void engine_routes(struct vm *of)
{
	engine.asked++;
	engine_lend();
}

static const struct apics_ops engine_chips = {.send = engine_send, .routes = engine_routes};

static void engine_level(struct vm *of, unsigned gsi, bool level)
{
	engine.changes++;
	engine.levels = (engine.levels & ~BIT(gsi)) | (uint32_t)level << gsi;
}

/* With a PIC at 30H and 38H. */
static void begin(void)
{
	static const struct {
		uint8_t port, v;
	} icw[] = {{0x20, 0x11}, {0x21, 0x30}, {0x21, 4}, {0x21, 1}, {0xa0, 0x11},
		   {0xa1, 0x38}, {0xa1, 2},    {0xa1, 1}, {0x21, 0}, {0xa1, 0}};

	start();
	vm->lines.may_lend = true;
	for (unsigned i = 0; i < ARRAY_SIZE(icw); i++)
		outb(vm, icw[i].port, icw[i].v);
	memset(&engine, 0, sizeof(engine));
}

static void lend(void)
{
	engine_lend();
	vm->lines.set = engine_level;
	vm->lines.levels = had.levels;
	atomic_store(&vm->apics.ops, &engine_chips);
}

static void look(bool back)
{
	plat_mutex_lock(&vm->lines.lock);
	if (back)
		vm->irq.lines->back(vm->irq.lines_chip, &had);
	else
		vm->irq.lines->look(vm->irq.lines_chip, &had);
	if (back)
		vm->lines.set = NULL;
	plat_mutex_unlock(&vm->lines.lock);
}

static void back(void)
{
	atomic_store(&vm->apics.ops, NULL);
	look(true);
}

static uint32_t io_rd(unsigned reg)
{
	bus_write(&vm->mmio, 0, 0xfec00000, 4, reg);
	return (uint32_t)bus_read(&vm->mmio, 0, 0xfec00010, 4);
}

static void io_wr(unsigned reg, uint32_t v)
{
	bus_write(&vm->mmio, 0, 0xfec00000, 4, reg);
	bus_write(&vm->mmio, 0, 0xfec00010, 4, v);
}

#define ENTRY(pin) (0x10 + 2 * (pin))

static void test_pic(void **state)
{
	begin();
	outb(vm, 0x4d1, 0x04); /* 10 is level-triggered */
	outb(vm, 0xa1, 0x40);
	gsi_set(vm, 4, true);
	gsi_set(vm, 10, true);
	outb(vm, 0x20, 0xc2); /* lowest: 2 */
	outb(vm, 0x20, 0x0b);
	outb(vm, 0xa0, 0x11); /* in the midst of its initialisation */
	outb(vm, 0xa1, 0x38);
	lend();
	assert_true(had.pic_new);
	assert_int_equal(had.pic[0].irr & (uint8_t)~BIT(2), BIT(4));
	assert_int_equal(had.pic[0].pins, BIT(4));
	assert_int_equal(had.pic[0].base, 0x30);
	assert_int_equal(had.pic[0].lowest, 2);
	assert_true(had.pic[0].read_isr && had.pic[0].need_icw4 && !had.pic[0].icw);
	assert_int_equal(had.pic[1].elcr, 4);
	assert_int_equal(had.pic[1].icw, 3);
	assert_int_equal(had.pic[1].base, 0x38);
	/* the model hears of levels, and makes nothing of them; nor has the guest a way to it */
	gsi_set(vm, 3, true);
	gsi_set(vm, 4, false);
	outb(vm, 0x21, 0xff);
	assert_int_equal(engine.levels, BIT(3));
	assert_int_equal(inb(vm, 0x21), 0);
	assert_false(intr_gsi_waiting(intr, 4));
	/* as it comes back: 4 was taken, 3 waits, 10 does, the slave is ready */
	had.pic[0].isr = BIT(4);
	had.pic[0].irr = BIT(3);
	had.pic[0].lowest = 7;
	had.pic[1].icw = 0;
	had.pic[1].aeoi = true;
	back();
	assert_int_equal(inb(vm, 0x20), BIT(4));
	outb(vm, 0x20, 0x0a);
	assert_int_equal(inb(vm, 0x20) & BIT(3), BIT(3));
	gsi_set(vm, 3, true); /* no edge: it has been up */
	assert_int_equal(engine.changes, 2);
	wr(0, LVT_LINT0, 0x700);
	assert_int_equal(ack(0), 0x3a); /* by the cascade, which comes first */
	rig_end(vm);
}

static void test_ioapic(void **state)
{
	begin();
	io_wr(ENTRY(9) + 1, 1u << 24);
	io_wr(ENTRY(9), 0x8000 | 0x59);
	io_wr(ENTRY(4), 0x54);
	gsi_set(vm, 9, true);
	assert_int_equal(ack(1), 0x59);
	lend();
	assert_true(had.ioapic_new);
	assert_int_equal(had.levels, BIT(9));
	assert_int_equal(had.rte[9], UINT64_C(1) << 56 | BIT(14) | 0x8000 | 0x59);
	assert_int_equal(had.rte[4], 0x54);
	assert_int_equal(had.select, ENTRY(4));
	gsi_set(vm, 4, true); /* the engine's to send */
	io_wr(ENTRY(4), 0x77);
	assert_int_equal(engine.levels & BIT(4), BIT(4));
	gsi_set(vm, 4, true);
	assert_int_equal(engine.changes, 1);
	had.rte[4] = 0x55;
	had.select = 0x01;
	had.ioapic_id = 3;
	look(false);
	assert_int_equal(bus_read(&vm->mmio, 0, 0xfec00000, 4), 0x01);
	/* the end of 9's interrupt was the engine's; it is still asserted */
	had.rte[9] &= ~BIT64(14);
	wr(1, EOI, 0);
	rig_requests(vm, 1);
	back();
	assert_int_equal(io_rd(ENTRY(4)), 0x55);
	assert_int_equal(io_rd(0), 3u << 24);
	assert_int_equal(ack(1), 0x59);
	assert_int_equal(io_rd(ENTRY(9)), BIT(14) | 0x8000 | 0x59);
	gsi_set(vm, 4, false);
	gsi_set(vm, 4, true);
	assert_int_equal(ack(0), 0x55);
	rig_end(vm);
}

/* A reset and a loaded state are the models', and what the engine had no longer counts. */
static void test_reset(void **state)
{
	begin();
	io_wr(ENTRY(9), 0x8000 | 0x59);
	gsi_set(vm, 9, true);
	lend();
	for (struct dev *d = vm->devs; d; d = d->next)
		if (d->cls->reset)
			d->cls->reset(d);
	assert_in_range(engine.asked, 2, 4);
	assert_int_equal(had.rte[9], BIT(16));
	assert_int_equal(had.levels, BIT(9));
	assert_int_equal(had.pic[0].imr, 0xff);
	assert_false(had.pic_new && had.ioapic_new); /* each once */
	engine_lend();
	assert_false(had.pic_new || had.ioapic_new);
	back();
	rig_end(vm);
}

/* GSI 0 is pin 2; no line is beyond the last. */
static void test_pins(void **state)
{
	begin();
	lend();
	gsi_set(vm, 0, true);
	gsi_set(vm, 24, true);
	assert_int_equal(engine.levels, BIT(0));
	gsi_set(vm, 0, false);
	assert_int_equal(engine.changes, 2);
	back();
	gsi_set(vm, 0, true);
	assert_int_equal(engine.changes, 2);
	rig_end(vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pic),
		cmocka_unit_test(test_ioapic),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_pins),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
