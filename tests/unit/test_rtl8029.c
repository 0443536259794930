/* SPDX-License-Identifier: ISC */
/* test_rtl8029.c: the RTL8029AS on plat/fake: what an NE2000 driver does to find it, remote DMA of all widths,
 * sending, the ring with its filters, its ends and no room, reminders, nonsense. */
#include "tests/unit/nic_rig.h"

#include "dev/nic/rtl8029.h"

static struct rtl8029 *card;

static uint32_t in(unsigned reg, unsigned size)
{
	return (uint32_t)bus_read(&vm->pio, 0, RIG_BAR_IO + reg, size);
}

static void out(unsigned reg, unsigned size, uint32_t v)
{
	bus_write(&vm->pio, 0, RIG_BAR_IO + reg, size, v);
	assert_int_equal(fake_locks_held(), 0);
}

/* From or to the card's memory: page 0, address, count, command. */
static void remote(uint8_t command, unsigned at, unsigned n)
{
	out(0, 1, 0x22);
	out(0x0a, 1, n & 0xff);
	out(0x0b, 1, n >> 8);
	out(0x08, 1, at & 0xff);
	out(0x09, 1, at >> 8);
	out(0, 1, command);
}

static void read_mem(unsigned at, uint8_t *p, unsigned n)
{
	remote(0x0a, at, n);
	for (unsigned i = 0; i < n; i += 4) {
		uint32_t v = in(0x10, 4);

		memcpy(p + i, &v, MIN(4u, n - i));
	}
	assert_int_equal(in(7, 1) & 0x40, 0x40); /* RDC */
	out(7, 1, 0x40);
}

#define START 0x4c
#define STOP  0x80

/* As drivers do: sending from page 40H, the ring from 4CH. */
static void setup(void)
{
	nic_machine();
	assert_int_equal(
		rtl8029_create(vm,
			       &(struct rtl8029_wiring){.host = host, .slot = 1, .net = &wire.net},
			       &card),
		0);
	nic_plugged();
	out(0, 1, 0x21);
	out(0x0e, 1, 0x49); /* words, no loop */
	out(0x0c, 1, 0x04); /* broadcast */
	out(0x0d, 1, 0x00);
	out(1, 1, START);
	out(2, 1, STOP);
	out(3, 1, START);
	out(7, 1, 0xff);
	out(0x0f, 1, 0x3f);
	out(0, 1, 0x61);
	for (unsigned i = 0; i < 6; i++)
		out(1 + i, 1, wire.net.mac[i]);
	out(7, 1, START + 1);
	out(0, 1, 0x22);
}

static void test_find(void **state)
{
	unsigned word = 0;

	setup();
	assert_int_equal(in(0x0a, 2), 0x4350);
	/* a register of page 1 is not the counter of page 0 */
	out(0, 1, 0x61);
	out(0x0d, 1, 0xff);
	assert_int_equal(in(0x0d, 1), 0xff);
	out(0, 1, 0x20);
	assert_int_equal(in(0x0d, 1), 0);
	/* reset */
	in(0x1f, 1);
	assert_int_equal(in(7, 1), 0x80);
	assert_int_equal(in(0, 1), 0x21);
	out(0, 1, 0x22);
	assert_int_equal(in(7, 1), 0);
	/* the address, each byte twice; an access of one byte takes two */
	remote(0x0a, 0, 32);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(in(0x10, 1), wire.net.mac[i]);
	for (unsigned i = 6; i < 14; i++)
		in(0x10, 1);
	assert_int_equal(in(7, 1) & 0x40, 0);
	assert_int_equal(in(0x10, 4), 0x57575757);
	assert_int_equal(in(7, 1) & 0x40, 0x40);
	/* the registers again, on page 2 */
	out(0, 1, 0xa2);
	assert_int_equal(in(1, 2), STOP << 8 | START);
	assert_int_equal(in(0x0e, 1), 0xc9);
	/* page 3: CONFIG3 behind its lock, and the EEPROM */
	out(0, 1, 0xe2);
	assert_int_equal(in(0x0e, 2), 0x8029);
	out(6, 1, 0);
	assert_int_equal(in(6, 1), 0x40);
	out(1, 1, 0xc0);
	out(6, 1, 0);
	assert_int_equal(in(6, 1), 0);
	out(1, 1, 0x80);
	for (unsigned cmd = 6 << 6 | 1, i = 9; i-- > 0;) {
		unsigned di = cmd >> i & 1 ? 2 : 0;

		out(1, 1, 0x88 | di);
		out(1, 1, 0x8c | di);
	}
	for (unsigned i = 0; i < 16; i++) {
		out(1, 1, 0x88);
		out(1, 1, 0x8c);
		word = word << 1 | (in(1, 1) & 1);
	}
	assert_int_equal(word, 0x5452);
	rig_end(vm);
}

static void test_send(void **state)
{
	uint8_t f[100];

	setup();
	for (unsigned i = 0; i < sizeof(f); i++)
		f[i] = (uint8_t)(i * 7);
	/* written in words, doublewords and a byte at the end */
	remote(0x12, 0x4000, 99);
	for (unsigned i = 0; i < 48; i += 2)
		out(0x10, 2, f[i] | (uint32_t)f[i + 1] << 8);
	for (unsigned i = 48; i < 96; i += 4)
		out(0x10, 4, pci_get(f + i, 4));
	out(0x10, 2, f[96] | (uint32_t)f[97] << 8);
	assert_int_equal(in(7, 1) & 0x40, 0);
	out(0x10, 1, f[98]);
	assert_int_equal(in(7, 1) & 0x40, 0x40);
	out(7, 1, 0x40);
	out(4, 1, 0x40);
	out(5, 1, 99);
	out(6, 1, 0);
	assert_false(rig_pin());
	out(0, 1, 0x26);
	assert_int_equal(wire.sent, 1);
	assert_int_equal(wire.len[0], 99);
	assert_memory_equal(wire.frame[0], f, 99);
	assert_int_equal(in(0, 1), 0x22);
	assert_int_equal(in(4, 1) & 1, 1);
	assert_true(rig_pin());
	out(7, 1, 2);
	assert_false(rig_pin());
	/* not in loopback, not from where there is nothing; both are sent for the guest */
	out(0x0d, 1, 2);
	out(0, 1, 0x26);
	out(0x0d, 1, 0);
	out(4, 1, 0x90);
	out(0, 1, 0x26);
	assert_int_equal(wire.sent, 1);
	assert_int_equal(in(7, 1), 2);
	/* over the end of memory */
	out(4, 1, 0x7f);
	out(5, 2, 0x200);
	out(0, 1, 0x26);
	assert_int_equal(wire.len[1], 256);
	rig_end(vm);
}

static bool receive(const uint8_t *f, size_t len)
{
	return net_receive(&wire.net, f, len);
}

static unsigned curr(void)
{
	unsigned v;

	out(0, 1, 0x62);
	v = in(7, 1);
	out(0, 1, 0x22);
	return v;
}

static void test_receive(void **state)
{
	uint8_t f[1514] = {0x52, 0x54, 0, 0x12, 0x34, 0x56, 2, 0, 0, 0, 0, 1, 8, 6}, got[1600];
	uint32_t crc;
	unsigned at, n = 0;

	setup();
	assert_true(receive(f, 42));
	assert_true(rig_pin());
	assert_int_equal(in(0x0c, 1), 1);
	assert_int_equal(curr(), START + 2);
	read_mem((START + 1) * 256, got, 68);
	assert_int_equal(pci_get(got, 4), 64u << 16 | (START + 2) << 8 | 1);
	assert_memory_equal(got + 4, f, 60);
	memcpy(&crc, got + 64, 4);
	assert_int_equal(crc, nic_crc(got + 4, 60));
	out(3, 1, START + 1);
	out(7, 1, 1);
	assert_false(rig_pin());

	/* somebody else's; broadcast; a multicast address without and with its bit; monitoring */
	f[5] = 0x57;
	assert_true(receive(f, 60));
	assert_int_equal(curr(), START + 2);
	memset(f, 0xff, 6);
	assert_true(receive(f, 60));
	assert_int_equal(curr(), START + 3);
	assert_int_equal(in(0x0c, 1), 0x21);
	memcpy(f, "\x01\x00\x5e\x00\x00\x01", 6);
	out(0x0c, 1, 0x0c);
	assert_true(receive(f, 60));
	assert_int_equal(curr(), START + 3);
	out(0, 1, 0x62);
	out(8 + 3, 1, 0x80);
	assert_true(receive(f, 60));
	assert_int_equal(curr(), START + 4);
	f[0] = 2;
	out(0x0c, 1, 0x10);
	assert_true(receive(f, 60));
	assert_int_equal(curr(), START + 5);
	out(0x0c, 1, 0x30);
	assert_true(receive(f, 60));
	assert_int_equal(curr(), START + 5);
	assert_int_equal(in(0x0f, 1), 1);
	assert_int_equal(in(0x0f, 1), 0);

	/* full: the wire waits; the guest forgets its frames, and is told again; there is room */
	out(0x0c, 1, 0x10);
	out(3, 1, START + 4);
	while (receive(f, 1514))
		n++;
	assert_int_equal(n, (STOP - START - 1) / 6);
	assert_int_equal(wire.ready, 0);
	out(7, 1, 0xff);
	assert_false(rig_pin());
	fake_advance(NS_PER_SEC / 500);
	assert_true(rig_pin());
	out(3, 1, START + 4 + 6 * 2);
	assert_int_equal(wire.ready, 1);
	for (unsigned i = 14; i < sizeof(f); i++)
		f[i] = (uint8_t)(i * 5);
	for (at = curr(); at + 6 <= STOP; at = curr()) { /* to the ring's end */
		out(3, 1, at == START ? STOP - 1 : at - 1);
		assert_true(receive(f, 1514));
	}
	out(3, 1, at - 1);
	assert_true(receive(f, 1514));
	assert_int_equal(curr(), at + 6 - (STOP - START));
	/* remote DMA goes over the ring's end, too */
	read_mem(at * 256, got, 1520);
	assert_int_equal(pci_get(got, 4), 1518u << 16 | (at + 6 - (STOP - START)) << 8 | 1);
	assert_memory_equal(got + 4, f, 1514);
	/* "send packet" reads the frame at BNRY, and moves it */
	out(3, 1, at);
	out(0, 1, 0x1a);
	assert_int_equal(in(0x10, 4), pci_get(got, 4));
	for (unsigned i = 4; i < 1518; i += 2)
		in(0x10, 2);
	assert_int_equal(in(3, 1), at + 6 - (STOP - START));

	/* read up to the ring's end, which Linux calls the page before its start */
	out(3, 1, START - 1);
	out(0, 1, 0x62);
	out(7, 1, START);
	out(0, 1, 0x22);
	for (n = 0; n < 100 && receive(f, 1514); n++)
		;
	assert_int_equal(n, (STOP - START - 1) / 6);
	assert_int_equal(curr(), START + 6 * n);
	out(3, 1, curr() - 1);

	/* a page is chosen with neither start nor stop: it goes on */
	n = curr();
	out(0, 1, 0x40);
	assert_true(receive(f, 60));
	assert_int_equal(curr(), n + 1);
	/* stopped, frames are lost; so they are in a ring of no pages */
	n = curr();
	out(0, 1, 0x21);
	assert_true(receive(f, 60));
	out(2, 1, 0);
	out(0, 1, 0x22);
	assert_true(receive(f, 60));
	assert_int_equal(curr(), n);
	rig_end(vm);
}

static void test_nonsense(void **state)
{
	static const struct rig_range range[] = {
		{RIG_BAR_IO, 32}, {RIG_BAR_IO, 16}, {RIG_BAR_IO + 0x10, 4}};
	struct rig_random r = rig_random();
	uint8_t f[2000] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

	setup();
	wire.echo = true;
	for (unsigned n = 0; n < 6000; n++) {
		rig_garbage(vm, &vm->pio, range, 3, 6, &r);
		if (n % 8 == 0) { /* a card at work again */
			out(0, 1, 0x22);
			out(1, 1, 0x40 + rig_next(&r) % 0x20);
			out(2, 1, 0x80 - rig_next(&r) % 0x20);
			out(0x0c, 1, 0x1c);
			out(0x0d, 2, 0x4900);
			out(4, 1, (uint32_t)rig_next(&r));
			out(0, 1, 0x62);
			out(7, 1, 0x40 + rig_next(&r) % 0x40);
			out(0, 1, 0x26);
		}
		receive(f, 14 + rig_next(&r) % 1900);
	}
	rig_end(vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_send),
		cmocka_unit_test(test_receive),
		cmocka_unit_test(test_nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
