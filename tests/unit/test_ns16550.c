/* SPDX-License-Identifier: ISC */
/* test_ns16550.c: the UART: detection as drivers do it, FIFOs, interrupts, loopback, batching. */
#include "tests/unit/pc_rig.h"

#include "chr/chr.h"
#include "dev/pc/ns16550.h"

#define COM1 0x3f8
enum { THR, IER, IIR, LCR, MCR, LSR, MSR, SCR };

static struct rig_line irq4;
static struct ns16550 *uart;

static struct {
	struct chr chr;
	char out[8192];
	size_t len;
	unsigned writes, ready;
	const char *input; /* given when the UART says it is ready */
} host;

static void host_write(struct chr *c, const void *buf, size_t len)
{
	assert_true(host.len + len <= sizeof(host.out));
	memcpy(host.out + host.len, buf, len);
	host.len += len;
	host.writes++;
}

static size_t give(const char *s, size_t len)
{
	return (size_t)chr_receive(&host.chr, (const uint8_t *)s, len);
}

static void host_ready(struct chr *c)
{
	host.ready++;
	if (host.input)
		host.input += give(host.input, strlen(host.input));
}

static void host_close(struct chr *c)
{
}

static const struct chr_ops host_ops = {
	.name = "test", .write = host_write, .rx_ready = host_ready, .close = host_close};

static struct vm *start(void)
{
	struct ns16550_wiring w = {.base = COM1, .irq = {rig_line_set, &irq4, 0}, .chr = &host.chr};
	struct vm *vm = rig_vm(1);

	memset(&irq4, 0, sizeof(irq4));
	memset(&host, 0, sizeof(host));
	host.chr.ops = &host_ops;
	assert_int_equal(ns16550_create(vm, &w, &uart), 0);
	return vm;
}

static uint8_t rd(struct vm *vm, unsigned reg)
{
	return inb(vm, (uint16_t)(COM1 + reg));
}

static void wr(struct vm *vm, unsigned reg, uint8_t v)
{
	outb(vm, (uint16_t)(COM1 + reg), v);
}

static void test_detection(void **state)
{
	struct vm *vm = start();

	assert_int_equal(rd(vm, LSR), 0x60);
	assert_int_equal(rd(vm, IIR), 0x01);
	wr(vm, IER, 0);
	assert_int_equal(rd(vm, IER) & 0x0f, 0);
	wr(vm, IER, 0xff);
	assert_int_equal(rd(vm, IER), 0x0f);
	wr(vm, IER, 0);
	wr(vm, SCR, 0xa5);
	assert_int_equal(rd(vm, SCR), 0xa5);
	/* loopback */
	wr(vm, MCR, 0x1a);
	assert_int_equal(rd(vm, MSR) & 0xf0, 0x90);
	wr(vm, MCR, 0x15);
	assert_int_equal(rd(vm, MSR) & 0xf0, 0x60);
	wr(vm, MCR, 0x0b);
	assert_int_equal(rd(vm, MSR) & 0xf0, 0xb0);
	/* 16550A: FIFO bits in IIR, no 64-byte FIFO, no enhanced registers */
	wr(vm, IIR, 0x01);
	assert_int_equal(rd(vm, IIR) >> 6, 3);
	wr(vm, LCR, 0xbf);
	wr(vm, IIR, 0x21);
	assert_int_equal(rd(vm, IIR) & 0x20, 0);
	wr(vm, LCR, 0x83);
	wr(vm, THR, 0x01);
	wr(vm, IER, 0x00);
	assert_int_equal(rd(vm, THR), 0x01);
	assert_int_equal(rd(vm, IER), 0x00);
	wr(vm, LCR, 0x03);
	wr(vm, IIR, 0);
	assert_int_equal(rd(vm, IIR) >> 6, 0);
	/* FIFO depth by loopback, as Linux measures it: 16 */
	wr(vm, IIR, 0x07);
	wr(vm, MCR, 0x10);
	for (unsigned i = 0; i < 20; i++)
		wr(vm, THR, (uint8_t)i);
	for (unsigned i = 0; i < 16; i++) {
		assert_int_equal(rd(vm, LSR) & 0x01, 1);
		assert_int_equal(rd(vm, THR), i);
	}
	assert_int_equal(rd(vm, LSR) & 0x01, 0);
	assert_int_equal(host.len, 0);
	rig_end(vm);
}

/* Linux looks for chips that do not give THRE again when it is enabled again. */
static void test_thre(void **state)
{
	struct vm *vm = start();
	uint8_t first, second;

	wr(vm, MCR, 0x08);
	wr(vm, IER, 0x02);
	first = rd(vm, IIR);
	wr(vm, IER, 0);
	wr(vm, IER, 0x02);
	second = rd(vm, IIR);
	assert_int_equal(first, 0x02);
	assert_int_equal(second, 0x02);
	assert_int_equal(rd(vm, IIR), 0x01); /* seen: gone */
	assert_false(irq4.level);
	wr(vm, THR, 'x');
	assert_true(irq4.level);
	assert_int_equal(rd(vm, IIR), 0x02);
	assert_false(irq4.level);
	/* enabled anew without a change: nothing */
	wr(vm, IER, 0x02);
	assert_int_equal(rd(vm, IIR), 0x01);
	/* OUT2 connects it */
	wr(vm, THR, 'y');
	assert_true(irq4.level);
	wr(vm, MCR, 0);
	assert_false(irq4.level);
	assert_int_equal(rd(vm, IIR), 0x02);
	rig_end(vm);
}

static void test_batch(void **state)
{
	struct vm *vm = start();

	for (unsigned i = 0; i < 100; i++)
		wr(vm, THR, (uint8_t)('a' + i % 26));
	assert_int_equal(host.writes, 0);
	fake_advance(1000000);
	assert_int_equal(host.writes, 1);
	assert_int_equal(host.len, 100);
	assert_memory_equal(host.out, "abcdefghij", 10);
	for (unsigned i = 0; i < 5000; i++)
		wr(vm, THR, 'z');
	assert_in_range(host.writes, 2, 4);
	ns16550_flush(uart);
	assert_int_equal(host.len, 5100);
	wr(vm, THR, '!');
	rig_end(vm); /* what is left goes out */
	assert_int_equal(host.len, 5101);
}

static void test_receive_fifo(void **state)
{
	struct vm *vm = start();

	wr(vm, MCR, 0x08);
	wr(vm, IIR, 0x81); /* trigger 8 */
	wr(vm, IER, 0x05);
	assert_int_equal(give("abc", 3), 3);
	assert_false(irq4.level);
	assert_int_equal(rd(vm, LSR) & 1, 1);
	/* four characters' time at 9600: 4.17 ms */
	fake_advance(4000000);
	assert_false(irq4.level);
	fake_advance(200000);
	assert_true(irq4.level);
	assert_int_equal(rd(vm, IIR), 0xcc);
	assert_int_equal(rd(vm, THR), 'a');
	assert_false(irq4.level); /* until the time has passed again */
	fake_advance(4200000);
	assert_int_equal(rd(vm, IIR), 0xcc);
	assert_int_equal(give("defgh", 5), 5);
	assert_int_equal(rd(vm, IIR), 0xc1); /* seven: the time starts again with each arrival */
	assert_int_equal(give("i", 1), 1);
	assert_int_equal(rd(vm, IIR), 0xc4); /* eight */
	for (char c = 'b'; c <= 'i'; c++)
		assert_int_equal(rd(vm, THR), c);
	assert_false(irq4.level);
	/* more than fits: the rest waits outside, nothing is lost */
	host.input = "0123456789abcdefghijklmnopqrstuvwxyz";
	host.input += give(host.input, strlen(host.input));
	for (const char *p = "0123456789abcdefghijklmnopqrstuvwxyz"; *p; p++) {
		assert_int_equal(rd(vm, LSR) & 0x03, 1);
		assert_int_equal(rd(vm, THR), *p);
	}
	assert_int_equal(rd(vm, LSR) & 1, 0);
	assert_in_range(host.ready, 2, 3);
	wr(vm, IIR, 0x83); /* cleared */
	give("q", 1);
	wr(vm, IIR, 0x83);
	assert_int_equal(rd(vm, LSR), 0x60);
	rig_end(vm);
}

static void test_receive_single(void **state)
{
	struct vm *vm = start();

	wr(vm, MCR, 0x08);
	wr(vm, IER, 0x01);
	assert_int_equal(give("xy", 2), 1);
	assert_true(irq4.level);
	assert_int_equal(rd(vm, IIR), 0x04);
	assert_int_equal(rd(vm, THR), 'x');
	assert_int_equal(host.ready, 1);
	assert_false(irq4.level);
	assert_int_equal(rd(vm, THR), 'x');
	/* overrun, by loopback */
	wr(vm, MCR, 0x18);
	wr(vm, IER, 0x04);
	wr(vm, THR, '1');
	wr(vm, THR, '2');
	assert_int_equal(rd(vm, IIR), 0x06);
	assert_int_equal(rd(vm, LSR), 0x63);
	assert_int_equal(rd(vm, LSR), 0x61);
	assert_int_equal(rd(vm, THR), '2');
	rig_end(vm);
}

static void test_break(void **state)
{
	struct vm *vm = start();

	wr(vm, MCR, 0x08);
	wr(vm, IIR, 0x01);
	wr(vm, IER, 0x05);
	give("a", 1);
	ns16550_break(uart);
	assert_int_equal(rd(vm, IIR), 0xc4);
	assert_int_equal(rd(vm, LSR), 0xe1); /* further back in the FIFO */
	assert_int_equal(rd(vm, THR), 'a');
	assert_int_equal(rd(vm, IIR), 0xc6); /* at its head now */
	assert_int_equal(rd(vm, LSR), 0xf1);
	assert_int_equal(rd(vm, LSR), 0x61);
	assert_int_equal(rd(vm, THR), 0);
	rig_end(vm);
}

static void test_modem(void **state)
{
	struct vm *vm = start();

	assert_int_equal(rd(vm, MSR), 0xb0);
	wr(vm, MCR, 0x18);
	wr(vm, IER, 0x08);
	rd(vm, MSR);
	wr(vm, MCR, 0x1c); /* ring begins: no TERI */
	assert_int_equal(rd(vm, MSR), 0xc0);
	wr(vm, MCR, 0x18); /* ends */
	assert_int_equal(rd(vm, IIR), 0x00);
	assert_true(irq4.level);
	assert_int_equal(rd(vm, MSR), 0x84);
	assert_int_equal(rd(vm, MSR), 0x80);
	assert_false(irq4.level);
	wr(vm, MCR, 0x1b);
	assert_int_equal(rd(vm, MSR), 0xb3);
	rig_end(vm);
}

static void test_reset_and_garbage(void **state)
{
	static const struct rig_range ports[] = {{COM1, 8}};
	struct rig_random r = rig_random();
	struct vm *vm = start();

	for (unsigned i = 0; i < 2000; i++) {
		rig_garbage(vm, &vm->pio, ports, 1, 100, &r);
		if (rig_next(&r) & 1)
			give("0123456789abcdefghi", rig_next(&r) % 20);
		if (rig_next(&r) % 16 == 0)
			ns16550_break(uart);
		host.len = 0;
	}
	vm->devs->cls->reset(vm->devs);
	assert_int_equal(rd(vm, LSR), 0x60);
	assert_int_equal(rd(vm, IIR), 0x01);
	assert_int_equal(rd(vm, MCR), 0);
	assert_false(irq4.level);
	rig_end(vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_detection),      cmocka_unit_test(test_thre),
		cmocka_unit_test(test_batch),          cmocka_unit_test(test_receive_fifo),
		cmocka_unit_test(test_receive_single), cmocka_unit_test(test_break),
		cmocka_unit_test(test_modem),          cmocka_unit_test(test_reset_and_garbage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
