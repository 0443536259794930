/* SPDX-License-Identifier: ISC */
/* test_e1000.c: the 82540EM on plat/fake: EEPROM and PHY, sending with checksums, tags and segments,
 * receiving with filters and rings that are full, interrupts held back, nonsense. */
#include "tests/unit/nic_rig.h"

#include "dev/nic/e1000.h"

#define TX_RING 0x10000u
#define RX_RING 0x11000u
#define DATA    0x20000u
#define RX_DATA 0x80000u
#define RING    16u

static struct e1000 *card;

static uint32_t rd(unsigned reg)
{
	return (uint32_t)bus_read(&vm->mmio, 0, RIG_BAR_MEM + reg, 4);
}

static void wr(unsigned reg, uint32_t v)
{
	bus_write(&vm->mmio, 0, RIG_BAR_MEM + reg, 4, v);
	assert_int_equal(fake_locks_held(), 0);
}

static void setup(void)
{
	nic_machine();
	assert_int_equal(
		e1000_create(vm, &(struct e1000_wiring){.host = host, .slot = 1, .net = &wire.net},
			     &card),
		0);
	nic_plugged();
	wr(0x3800, TX_RING);
	wr(0x3808, RING * 16);
	wr(0x400, 2); /* TCTL.EN */
	wr(0x2800, RX_RING);
	wr(0x2808, RING * 16);
	for (uint64_t i = 0; i < RING; i++) {
		uint64_t at = RX_DATA + i * 4096;

		memcpy(ram + RX_RING + 16 * i, &at, 8);
	}
	wr(0x2818, RING - 1);
	wr(0x100, 0x8002); /* RCTL: EN, BAM, 2048 bytes */
	wr(0xd0, 0x9f);
}

static unsigned tail;

/* Adds a descriptor; the doorbell rings when it ends a frame or is a context. */
static void tx(uint32_t lo, uint32_t hi, uint32_t cmd, uint32_t options)
{
	uint32_t d[4] = {lo, hi, cmd, options};

	memcpy(ram + TX_RING + 16 * tail, d, sizeof(d));
	tail = (tail + 1) % RING;
	wr(0x3818, tail);
}

static void test_nvm(void **state)
{
	uint16_t words[64], sum = 0;

	setup();
	wr(0x10, 0x40);
	assert_true(rd(0x10) & 0x80); /* granted */
	for (unsigned w = 0; w < 64; w++) {
		unsigned cmd = 6 << 6 | w;

		wr(0x10, 0x42);
		for (unsigned i = 9; i-- > 0;) {
			uint32_t di = cmd >> i & 1 ? 4 : 0;

			wr(0x10, 0x42 | di);
			wr(0x10, 0x43 | di);
			wr(0x10, 0x42 | di);
		}
		words[w] = 0;
		for (unsigned i = 0; i < 16; i++) {
			wr(0x10, 0x43);
			words[w] = (uint16_t)(words[w] << 1 | (rd(0x10) >> 3 & 1));
			wr(0x10, 0x42);
		}
		wr(0x10, 0x40);
		sum = (uint16_t)(sum + words[w]);
		wr(0x14, w << 8 | 1);
		assert_int_equal(rd(0x14), 0x10 | w << 8 | (uint32_t)words[w] << 16);
	}
	assert_memory_equal(words, wire.net.mac, 6);
	assert_int_equal(sum, 0xbaba);
	assert_int_equal(rd(0x5400), 0x12005452);
	assert_int_equal(rd(0x5404), 0x80005634);

	wr(0x20, 2u << 26 | 1 << 21 | 2 << 16);
	assert_int_equal(rd(0x20) & 0x1000ffff, 0x10000141);
	wr(0x20, 2u << 26 | 1 << 21 | 1 << 16);
	assert_true(rd(0x20) & 4); /* link */
	wr(0x20, 2u << 26 | 2 << 21 | 2 << 16);
	assert_true(rd(0x20) & 1 << 30); /* no such PHY */
	wr(0x20, 1u << 26 | 1 << 21 | 0 << 16 | 0x1340);
	assert_int_equal(rd(0xc0) & 4, 4); /* LSC */
	/* through the ports */
	bus_write(&vm->pio, 0, RIG_BAR_IO, 4, 0x5400);
	assert_int_equal(bus_read(&vm->pio, 0, RIG_BAR_IO + 4, 4), 0x12005452);
	bus_write(&vm->pio, 0, RIG_BAR_IO, 4, 0);
	bus_write(&vm->pio, 0, RIG_BAR_IO + 4, 4, 1 << 26);
	assert_int_equal(rd(0x3808), 0); /* reset */
	rig_end(vm);
}

static uint32_t phy(unsigned n)
{
	wr(0x20, 2u << 26 | 1 << 21 | n << 16);
	return rd(0x20) & 0xffff;
}

/* The cable is pulled: three registers and an interrupt say so, also after resets of card and PHY. */
static void test_link(void **state)
{
	setup();
	for (unsigned i = 0; i < 2; i++) { /* twice: the second is no news */
		net_link(&wire.net, false);
		assert_int_equal(rd(8) & 2, 0);
		assert_int_equal(phy(1) & 4, 0);
		assert_int_equal(phy(17) & 0x400, 0);
		assert_int_equal(rd(0xc0) & 4, i ? 0 : 4);
	}
	wr(0, rd(0) | 1u << 26);
	wr(0x20, 1u << 26 | 1 << 21 | 0x9140);
	assert_int_equal(rd(8) & 2, 0);
	assert_int_equal(phy(1) & 4, 0);
	rd(0xc0);
	net_link(&wire.net, true);
	assert_int_equal(rd(8) & 2, 2);
	assert_int_equal(phy(1) & 4, 4);
	assert_int_equal(rd(0xc0) & 4, 4);
	rig_end(vm);
}

static void test_send(void **state)
{
	uint8_t *f = ram;
	size_t len;

	setup();
	tail = 0;
	f = ram + DATA;
	len = tcp_packet(f, 100);
	/* legacy, in two pieces, without anything */
	tx(DATA, 0, 20, 0);
	assert_int_equal(wire.sent, 0);
	tx(DATA + 20, 0, (uint32_t)(len - 20) | 0x09u << 24, 0); /* RS, EOP */
	assert_int_equal(wire.sent, 1);
	assert_int_equal(wire.len[0], len);
	assert_memory_equal(wire.frame[0], f, len);
	assert_int_equal(ram[TX_RING + 28] & 1, 1); /* DD */
	assert_int_equal(ram[TX_RING + 12] & 1, 0);
	assert_int_equal(rd(0x3810), 2);
	assert_true(rig_pin());
	assert_int_equal(rd(0xc0) & 0x80000003, 0x80000003);
	assert_false(rig_pin());

	/* a context, then data with both sums and a tag */
	uint16_t sum;
	memcpy(&sum, f + 50, 2);
	sum = netcsum_add(sum, (const uint8_t[]){0, 120}, 2); /* with the length of TCP */
	memcpy(f + 50, &sum, 2);
	tx(14 | 24 << 8 | 33 << 16, 34 | 50 << 8, 0x20u << 24 | 3 << 24, 0);
	wr(0, rd(0) | 1u << 30);
	tx(DATA, 0, (uint32_t)len | 1 << 20 | 0x69u << 24, 3 << 8 | 0x2345u << 16);
	assert_int_equal(wire.sent, 2);
	assert_int_equal(wire.len[1], len + 4);
	assert_memory_equal(wire.frame[1] + 12, "\x81\0\x23\x45\x08\0", 6);
	memmove(wire.frame[1] + 12, wire.frame[1] + 16, len - 12);
	assert_true(netcsum_valid(wire.frame[1], len));
	assert_int_equal(netcsum_add(0, wire.frame[1] + 14, 20), 0xffff);

	/* 4000 bytes in segments of 1460 */
	len = tcp_packet(f, 4000);
	tx(14 | 24 << 8 | 33 << 16, 34 | 50 << 8, 4000 | (0x20u | 7) << 24, 54 << 8 | 1460u << 16);
	tx(DATA, 0, 54 | 1 << 20 | 0x24u << 24, 3 << 8);
	tx(DATA + 54, 0, 4000 | 1 << 20 | 0x2du << 24, 0);
	assert_int_equal(wire.sent, 5);
	check_segments(f);
	rig_end(vm);
}

static bool receive(const uint8_t *f, size_t len)
{
	return net_receive(&wire.net, f, len);
}

static const uint8_t *rx_desc(unsigned i)
{
	return ram + RX_RING + 16 * i;
}

static void test_receive(void **state)
{
	uint8_t f[3000] = {0x52, 0x54, 0, 0x12, 0x34, 0x56, 2, 0, 0, 0, 0, 1, 8, 6};
	uint32_t crc;

	setup();
	assert_true(receive(f, 42));
	assert_int_equal(rx_desc(0)[8], 64); /* padded, with its checksum */
	assert_int_equal(rx_desc(0)[12] & 3, 3);
	memcpy(&crc, ram + RX_DATA + 60, 4);
	assert_int_equal(crc, nic_crc(ram + RX_DATA, 60));
	assert_int_equal(nic_crc((const uint8_t *)"123456789", 9), 0xcbf43926);
	assert_true(rig_pin());
	assert_int_equal(rd(0xc0) & 0x80, 0x80);
	assert_int_equal(rd(0x4074), 1);
	assert_int_equal(rd(0x4074), 0); /* reading clears */

	/* somebody else's; broadcast; a multicast address without and with its bit */
	f[5] = 0x57;
	assert_true(receive(f, 60));
	assert_int_equal(rd(0x2810), 1);
	memset(f, 0xff, 6);
	assert_true(receive(f, 60));
	assert_int_equal(rd(0x2810), 2);
	memcpy(f, "\x01\x00\x5e\x00\x00\xfb", 6);
	assert_true(receive(f, 60));
	assert_int_equal(rd(0x2810), 2);
	unsigned h = 0xfb00 >> 4;
	wr(0x5200 + h / 32 * 4, 1u << h % 32);
	assert_true(receive(f, 60));
	assert_int_equal(rd(0x2810), 3);
	assert_true(rx_desc(2)[12] & 0x80);

	/* a tag taken off; one that is filtered */
	wr(0, rd(0) | 1u << 30);
	wr(0x38, 0x8100);
	memcpy(f, wire.net.mac, 6);
	memcpy(f + 12, "\x81\0\x20\x05\x08\x06", 6);
	assert_true(receive(f, 64));
	assert_int_equal(rx_desc(3)[12] & 8, 8);
	assert_int_equal(rx_desc(3)[14] | rx_desc(3)[15] << 8, 0x2005);
	assert_memory_equal(ram + RX_DATA + 3 * 4096 + 12, "\x08\x06", 2);
	wr(0x100, rd(0x100) | 1 << 18);
	assert_true(receive(f, 64));
	assert_int_equal(rd(0x2810), 4);
	wr(0x5600, 1 << 5);
	assert_true(receive(f, 64));
	assert_int_equal(rd(0x2810), 5);

	/* long ones: not without LPE; then over descriptors */
	memcpy(f + 12, "\x08\0", 2);
	assert_true(receive(f, 3000));
	assert_int_equal(rd(0x2810), 5);
	wr(0x100, rd(0x100) | 1 << 5);
	assert_true(receive(f, 3000));
	assert_int_equal(rd(0x2810), 7);
	assert_int_equal(rx_desc(5)[12] & 3, 1);
	assert_int_equal(rx_desc(6)[12] & 3, 3);
	assert_int_equal(rx_desc(6)[8] | rx_desc(6)[9] << 8, 3004 - 2048);

	/* 8 are left; then the wire waits until there are more */
	for (unsigned i = 0; i < 8; i++)
		assert_true(receive(f, 100));
	assert_false(receive(f, 100));
	assert_int_equal(wire.ready, 0);
	wr(0x2818, 3);
	assert_int_equal(wire.ready, 1);
	assert_true(receive(f, 100));

	/* a whole TCP packet: its sum is right, then wrong */
	wr(0x5000, 0x300);
	size_t len = tcp_packet(f, 50);
	memcpy(f, wire.net.mac, 6);
	uint16_t sum;
	memcpy(&sum, f + 50, 2);
	sum = netcsum_add(sum, (const uint8_t[]){0, 70}, 2);
	memcpy(f + 50, &sum, 2);
	netcsum_complete(f, len, 34, 16);
	unsigned at = rd(0x2810);
	assert_true(receive(f, len));
	assert_int_equal(rx_desc(at)[12] & 0x64, 0x60);
	f[60] ^= 1;
	assert_true(receive(f, len));
	assert_int_equal(rx_desc((at + 1) % RING)[12] & 0x64, 0x04);
	rig_end(vm);
}

static void test_throttle(void **state)
{
	uint8_t f[60] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

	setup();
	wr(0xc4, 1000); /* 256 µs */
	receive(f, 60);
	assert_true(rig_pin());
	rd(0xc0);
	receive(f, 60);
	assert_false(rig_pin());
	fake_advance(100000);
	assert_false(rig_pin());
	fake_advance(200000);
	assert_true(rig_pin());
	wr(0xd8, 0x80);
	assert_false(rig_pin());
	wr(0xc8, 4); /* by hand */
	fake_advance(300000);
	assert_true(rig_pin());
	rig_end(vm);
}

static void test_nonsense(void **state)
{
	static const struct rig_range range[] = {{RIG_BAR_MEM, 0x4000},
						 {RIG_BAR_MEM + 0x2800, 0x40},
						 {RIG_BAR_MEM + 0x3800, 0x40},
						 {RIG_BAR_MEM, 0x110}};
	struct rig_random r = rig_random();
	uint8_t f[2000] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

	setup();
	wire.echo = true;
	for (unsigned n = 0; n < 3000; n++) {
		rig_garbage(vm, &vm->mmio, range, 4, 6, &r);
		if (n % 8 == 0) { /* a card at work again */
			wr(0x3804, 0);
			wr(0x2804, 0);
			wr(0x3800, TX_RING);
			wr(0x2800, (uint32_t)rig_next(&r) & 0x1fffff);
			wr(0x3808, RING * 16);
			wr(0x400, 2);
			wr(0x100, (uint32_t)rig_next(&r) | 0x803a);
		}
		for (unsigned i = 0; i < RING; i++) {
			uint32_t d[4] = {(uint32_t)rig_next(&r) & 0x2fffff, 0,
					 (uint32_t)rig_next(&r), (uint32_t)rig_next(&r)};

			if (i % 2)
				d[2] &= 0xff00ffff & ~0xfff00u;
			memcpy(ram + TX_RING + 16 * i, d, sizeof(d));
		}
		wr(0x3818, (uint32_t)rig_next(&r) % (RING + 1));
		receive(f, 14 + rig_next(&r) % 1900);
	}
	rig_end(vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nvm),      cmocka_unit_test(test_link),
		cmocka_unit_test(test_send),     cmocka_unit_test(test_receive),
		cmocka_unit_test(test_throttle), cmocka_unit_test(test_nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
