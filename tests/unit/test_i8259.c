/* SPDX-License-Identifier: ISC */
/* test_i8259.c: the PC's pair of interrupt controllers. */
#include "tests/unit/pc_rig.h"

#include "dev/irq/i8259.h"

static struct rig_line out;
static struct i8259 *pic;

/* The usual initialisation: vectors 30H and 38H, 8086 mode. */
static void program(struct vm *vm, uint8_t icw4_master, uint8_t icw4_slave)
{
	outb(vm, 0x20, 0x11);
	outb(vm, 0x21, 0x30);
	outb(vm, 0x21, 0x04);
	outb(vm, 0x21, icw4_master);
	outb(vm, 0xa0, 0x11);
	outb(vm, 0xa1, 0x38);
	outb(vm, 0xa1, 0x02);
	outb(vm, 0xa1, icw4_slave);
	outb(vm, 0x21, 0);
	outb(vm, 0xa1, 0);
}

static struct vm *start(uint8_t icw4)
{
	const struct i8259_wiring w = {.out = {rig_line_set, &out, 0}};
	struct vm *vm = rig_vm(1);

	memset(&out, 0, sizeof(out));
	assert_int_equal(i8259_create(vm, &w, &pic), 0);
	program(vm, icw4, icw4 & 0x03);
	return vm;
}

static void edge(unsigned irq)
{
	i8259_set(pic, irq, false);
	i8259_set(pic, irq, true);
}

static uint8_t isr(struct vm *vm, uint16_t port)
{
	outb(vm, port, 0x0b);
	return inb(vm, port);
}

static uint8_t irr(struct vm *vm, uint16_t port)
{
	outb(vm, port, 0x0a);
	return inb(vm, port);
}

static void test_edge(void **state)
{
	struct vm *vm = start(0x01);

	edge(3);
	assert_true(out.level);
	assert_int_equal(i8259_peek(pic), 0x33);
	assert_int_equal(irr(vm, 0x20), 0x08);
	assert_int_equal(i8259_ack(pic), 0x33);
	assert_false(out.level);
	assert_int_equal(isr(vm, 0x20), 0x08);
	/* still high: no new edge */
	i8259_set(pic, 3, true);
	outb(vm, 0x20, 0x20);
	assert_false(out.level);
	assert_int_equal(i8259_peek(pic), -1);
	assert_int_equal(isr(vm, 0x20), 0);
	/* latched although it falls again */
	edge(3);
	i8259_set(pic, 3, false);
	assert_int_equal(i8259_ack(pic), 0x33);
	rig_end(vm);
}

static void test_priorities(void **state)
{
	struct vm *vm = start(0x01);

	edge(4);
	assert_int_equal(i8259_ack(pic), 0x34);
	edge(6); /* lower: has to wait */
	assert_false(out.level);
	edge(1); /* higher: nests */
	assert_int_equal(i8259_ack(pic), 0x31);
	assert_int_equal(isr(vm, 0x20), 0x12);
	outb(vm, 0x20, 0x20); /* non-specific: the highest in service */
	assert_int_equal(isr(vm, 0x20), 0x10);
	outb(vm, 0x20, 0x64); /* specific, 4 */
	assert_int_equal(isr(vm, 0x20), 0);
	assert_int_equal(i8259_ack(pic), 0x36);
	rig_end(vm);
}

static void test_mask(void **state)
{
	struct vm *vm = start(0x01);

	outb(vm, 0x21, 0x20);
	assert_int_equal(inb(vm, 0x21), 0x20);
	edge(5);
	assert_false(out.level);
	assert_false(i8259_waiting(pic, 5));
	outb(vm, 0x21, 0);
	assert_true(out.level);
	assert_true(i8259_waiting(pic, 5));
	assert_int_equal(i8259_ack(pic), 0x35);
	rig_end(vm);
}

static void test_cascade(void **state)
{
	struct vm *vm = start(0x01);

	edge(12);
	assert_int_equal(i8259_peek(pic), 0x3c);
	assert_int_equal(i8259_ack(pic), 0x3c);
	assert_int_equal(isr(vm, 0x20), 0x04);
	assert_int_equal(isr(vm, 0xa0), 0x10);
	/* In normal nesting, a higher one of the slave waits for the master's EOI. */
	edge(8);
	assert_false(out.level);
	outb(vm, 0x20, 0x20);
	assert_int_equal(i8259_ack(pic), 0x38);
	outb(vm, 0xa0, 0x20);
	outb(vm, 0xa0, 0x20);
	outb(vm, 0x20, 0x20);
	assert_int_equal(isr(vm, 0x20) | isr(vm, 0xa0), 0);
	rig_end(vm);
}

static void test_fully_nested_cascade(void **state)
{
	struct vm *vm = start(0x11);

	edge(12);
	assert_int_equal(i8259_ack(pic), 0x3c);
	edge(14); /* lower on the slave */
	assert_false(out.level);
	edge(8); /* higher: passes in special fully nested mode */
	assert_int_equal(i8259_ack(pic), 0x38);
	rig_end(vm);
}

static void test_auto_eoi(void **state)
{
	struct vm *vm = start(0x03);

	edge(7);
	assert_int_equal(i8259_ack(pic), 0x37);
	assert_int_equal(isr(vm, 0x20), 0);
	/* with rotation: the one served becomes the lowest */
	outb(vm, 0x20, 0x80);
	edge(0);
	assert_int_equal(i8259_ack(pic), 0x30);
	edge(0);
	edge(7);
	assert_int_equal(i8259_ack(pic), 0x37);
	assert_int_equal(i8259_ack(pic), 0x30);
	outb(vm, 0x20, 0x00); /* rotation off; 0 is the lowest now and stays it */
	edge(0);
	edge(7);
	assert_int_equal(i8259_ack(pic), 0x37);
	assert_int_equal(i8259_ack(pic), 0x30);
	rig_end(vm);
}

static void test_rotation(void **state)
{
	struct vm *vm = start(0x01);

	outb(vm, 0x20, 0xc0 | 4); /* 4 is the lowest: 5 comes first */
	edge(0);
	edge(4);
	edge(5);
	assert_int_equal(i8259_ack(pic), 0x35);
	outb(vm, 0x20, 0xa0); /* EOI, rotate: 5 is the lowest now */
	edge(5);
	assert_int_equal(i8259_ack(pic), 0x30);
	outb(vm, 0x20, 0xe0); /* specific EOI of 0, rotate: 0 is the lowest */
	assert_int_equal(i8259_ack(pic), 0x34);
	outb(vm, 0x20, 0x20);
	assert_int_equal(i8259_ack(pic), 0x35);
	rig_end(vm);
}

static void test_special_mask(void **state)
{
	struct vm *vm = start(0x01);

	edge(3);
	assert_int_equal(i8259_ack(pic), 0x33);
	edge(6);
	assert_false(out.level);
	outb(vm, 0x21, 0x08);
	assert_false(out.level);
	outb(vm, 0x20, 0x68); /* special mask mode: the masked one in service blocks nobody */
	assert_true(out.level);
	assert_int_equal(i8259_ack(pic), 0x36);
	outb(vm, 0x20, 0x20); /* ends 6, not the masked 3 */
	assert_int_equal(isr(vm, 0x20), 0x08);
	outb(vm, 0x20, 0x48); /* off */
	outb(vm, 0x20, 0x63);
	assert_int_equal(isr(vm, 0x20), 0);
	rig_end(vm);
}

static void test_poll(void **state)
{
	struct vm *vm = start(0x01);

	outb(vm, 0x20, 0x0c);
	assert_int_equal(inb(vm, 0x20), 0);
	edge(5);
	outb(vm, 0x20, 0x0c);
	assert_int_equal(inb(vm, 0x20), 0x85);
	assert_int_equal(isr(vm, 0x20), 0x20);
	assert_false(out.level);
	/* the poll ends with its read */
	assert_int_equal(inb(vm, 0x21), 0);
	rig_end(vm);
}

static void test_level(void **state)
{
	struct vm *vm = start(0x01);

	outb(vm, 0x4d0, 0xff);
	outb(vm, 0x4d1, 0xff);
	assert_int_equal(inb(vm, 0x4d0), 0xf8);
	assert_int_equal(inb(vm, 0x4d1), 0xde);
	i8259_set(pic, 11, true);
	assert_int_equal(i8259_ack(pic), 0x3b);
	outb(vm, 0xa0, 0x20);
	outb(vm, 0x20, 0x20);
	/* still asserted: again */
	assert_int_equal(i8259_ack(pic), 0x3b);
	i8259_set(pic, 11, false);
	outb(vm, 0xa0, 0x20);
	outb(vm, 0x20, 0x20);
	assert_false(out.level);
	/* withdrawn before INTA */
	i8259_set(pic, 11, true);
	assert_true(out.level);
	i8259_set(pic, 11, false);
	assert_false(out.level);
	assert_int_equal(irr(vm, 0x20) | irr(vm, 0xa0), 0);
	rig_end(vm);
}

static void test_spurious(void **state)
{
	struct vm *vm = start(0x01);

	assert_int_equal(i8259_ack(pic), 0x37);
	assert_int_equal(isr(vm, 0x20), 0); /* that is how it is told from a real one */
	rig_end(vm);
}

static void test_icw1(void **state)
{
	struct vm *vm = start(0x01);

	edge(3);
	outb(vm, 0x21, 0xff);
	outb(vm, 0x20, 0x11);
	assert_int_equal(irr(vm, 0x20), 0);
	outb(vm, 0x21, 0x50);
	outb(vm, 0x21, 0x04);
	outb(vm, 0x21, 0x01);
	assert_int_equal(inb(vm, 0x21), 0); /* the mask was cleared */
	assert_false(out.level);            /* the pin is high, but has not risen since */
	edge(3);
	assert_int_equal(i8259_ack(pic), 0x53);
	rig_end(vm);
}

static void test_reset_and_garbage(void **state)
{
	static const struct rig_range ports[] = {{0x20, 2}, {0xa0, 2}, {0x4d0, 2}};
	struct vm *vm = start(0x01);
	struct rig_random r = rig_random();

	edge(1);
	vm->devs->cls->reset(vm->devs);
	assert_false(out.level);
	for (unsigned i = 0; i < 400; i++) {
		rig_garbage(vm, &vm->pio, ports, ARRAY_SIZE(ports), 500, &r);
		i8259_set(pic, (unsigned)rig_next(&r) % 20, rig_next(&r) & 1);
		if (out.level)
			assert_in_range(i8259_peek(pic), 0, 255);
		else
			assert_int_equal(i8259_peek(pic), -1);
		if (rig_next(&r) & 1)
			assert_in_range(i8259_ack(pic), 0, 255);
	}
	rig_end(vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_edge),
		cmocka_unit_test(test_priorities),
		cmocka_unit_test(test_mask),
		cmocka_unit_test(test_cascade),
		cmocka_unit_test(test_fully_nested_cascade),
		cmocka_unit_test(test_auto_eoi),
		cmocka_unit_test(test_rotation),
		cmocka_unit_test(test_special_mask),
		cmocka_unit_test(test_poll),
		cmocka_unit_test(test_level),
		cmocka_unit_test(test_spurious),
		cmocka_unit_test(test_icw1),
		cmocka_unit_test(test_reset_and_garbage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
