/* SPDX-License-Identifier: ISC */
/* test_parport.c: the parallel port: how it is found, printing by polling and by interrupts, the direction
 * bit, batches, nonsense. */
#include "tests/unit/pc_rig.h"

#include "chr/chr.h"
#include "dev/pc/parport.h"

#define LPT1 0x378

static struct rig_line irq7;
static struct {
	struct chr chr;
	char out[8192];
	size_t len;
	unsigned writes;
} paper;

static void paper_write(struct chr *c, const void *buf, size_t len)
{
	size_t n = MIN(len, sizeof(paper.out) - paper.len);

	memcpy(paper.out + paper.len, buf, n);
	paper.len += n;
	paper.writes++;
}

static const struct chr_ops paper_ops = {.name = "paper", .write = paper_write};

static struct vm *start(void)
{
	struct parport_wiring w = {
		.base = LPT1, .irq = {rig_line_set, &irq7, 0}, .chr = &paper.chr};
	struct vm *vm = rig_vm(1);
	struct parport *port;

	memset(&irq7, 0, sizeof(irq7));
	memset(&paper, 0, sizeof(paper));
	paper.chr.ops = &paper_ops;
	assert_int_equal(parport_create(vm, &w, &port), 0);
	return vm;
}

static void test_find(void **state)
{
	struct vm *vm = start();

	/* as the BIOS and Linux do: latches that can be read back */
	outb(vm, LPT1 + 2, 0x0c);
	assert_int_equal(inb(vm, LPT1 + 2), 0xcc);
	for (unsigned v = 0; v < 256; v++) {
		outb(vm, LPT1, (uint8_t)v);
		assert_int_equal(inb(vm, LPT1), v);
	}
	/* turned around, nobody drives the lines; the latch is still there */
	outb(vm, LPT1 + 2, 0x2c);
	outb(vm, LPT1, 0x55);
	assert_int_equal(inb(vm, LPT1), 0xff);
	outb(vm, LPT1 + 2, 0x2d); /* nor is a strobe a byte */
	outb(vm, LPT1 + 2, 0x0c);
	assert_int_equal(inb(vm, LPT1), 0x55);
	/* on line, with paper, no error */
	assert_int_equal(inb(vm, LPT1 + 1), 0xdc);
	assert_int_equal(bus_read(&vm->pio, 0, LPT1 + 3, 1), 0xff);
	fake_advance(NS_PER_SEC);
	assert_int_equal(paper.len, 0);
	rig_end(vm);
}

static void test_polled(void **state)
{
	static const char text[] = "porthole";
	struct vm *vm = start();

	outb(vm, LPT1 + 2, 0x0c);
	for (const char *p = text; *p; p++) {
		assert_int_equal(inb(vm, LPT1 + 1) & 0xc0, 0xc0);
		outb(vm, LPT1, (uint8_t)*p);
		outb(vm, LPT1 + 2, 0x0d);
		assert_int_equal(inb(vm, LPT1 + 1) & 0xc0, 0); /* until the strobe is over */
		assert_int_equal(inb(vm, LPT1 + 1) & 0xc0, 0);
		outb(vm, LPT1 + 2, 0x0c);
		assert_int_equal(inb(vm, LPT1 + 1) & 0xc0, 0); /* the pulse */
	}
	assert_int_equal(irq7.changes, 0);
	assert_int_equal(paper.writes, 0);
	fake_advance(2000000);
	assert_int_equal(paper.writes, 1);
	assert_int_equal(paper.len, 8);
	assert_memory_equal(paper.out, text, 8);
	/* being initialized it takes nothing */
	outb(vm, LPT1 + 2, 0x08);
	outb(vm, LPT1 + 2, 0x09);
	fake_advance(2000000);
	assert_int_equal(paper.len, 8);
	rig_end(vm);
}

static void test_interrupts(void **state)
{
	struct vm *vm = start();

	outb(vm, LPT1 + 2, 0x1c);
	for (unsigned i = 0; i < 3000; i++) {
		outb(vm, LPT1, (uint8_t)i);
		outb(vm, LPT1 + 2, 0x1d);
		assert_false(irq7.level);
		outb(vm, LPT1 + 2, 0x1c);
		assert_true(irq7.level);
		assert_int_equal(irq7.rises, i + 1);
		if (i % 2) { /* drivers may look, or not */
			assert_int_equal(inb(vm, LPT1 + 1) & 4, 0);
			assert_false(irq7.level);
			assert_int_equal(inb(vm, LPT1 + 1) & 4, 4);
		}
	}
	assert_int_equal(paper.len, 2048); /* a batch */
	assert_true(paper.out[5] == 5);
	outb(vm, LPT1, 0);
	outb(vm, LPT1 + 2, 0x0d);
	outb(vm, LPT1 + 2, 0x0c);
	assert_false(irq7.level);
	outb(vm, LPT1 + 2, 0x1c); /* enabled late */
	assert_true(irq7.level);
	rig_end(vm); /* prints the rest */
	assert_int_equal(paper.len, 3001);
}

static void test_nonsense(void **state)
{
	static const struct rig_range range[] = {{LPT1, 3}};
	struct rig_random r = rig_random();
	struct vm *vm = start();

	rig_garbage(vm, &vm->pio, range, 1, 50000, &r);
	rig_end(vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_polled),
		cmocka_unit_test(test_interrupts),
		cmocka_unit_test(test_nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
