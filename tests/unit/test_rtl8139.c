/* SPDX-License-Identifier: ISC */
/* test_rtl8139.c: the RTL8139 on plat/fake: EEPROM, PHY and locked registers; the old mode's four buffers and
 * its ring; the C+ mode's descriptors, checksums, segments and tags; a ring that is full; the timer; the
 * D without C+; nonsense. */
#include "tests/unit/nic_rig.h"

#include "dev/nic/rtl8139.h"

#define TX_RING 0x10000u
#define RX_RING 0x11000u
#define DATA    0x20000u
#define RX_DATA 0x80000u
#define BUFFER  0x40000u

#define OWN 0x80000000u
#define EOR 0x40000000u
#define FS  0x20000000u
#define LS  0x10000000u

static struct rtl8139 *card;

static uint32_t rd(unsigned reg, unsigned size)
{
	return (uint32_t)bus_read(&vm->mmio, 0, RIG_BAR_MEM + reg, size);
}

static void wr(unsigned reg, unsigned size, uint32_t v)
{
	bus_write(&vm->mmio, 0, RIG_BAR_MEM + reg, size, v);
	assert_int_equal(fake_locks_held(), 0);
}

static void setup(bool plain)
{
	nic_machine();
	assert_int_equal(
		rtl8139_create(vm,
			       &(struct rtl8139_wiring){
				       .host = host, .slot = 1, .net = &wire.net, .plain = plain},
			       &card),
		0);
	nic_plugged();
}

/* As drivers of the old mode do: 32 KiB with frames in one piece. */
static void setup_old(bool plain)
{
	setup(plain);
	wr(0x30, 4, BUFFER);
	wr(0x37, 1, 0x0c);
	wr(0x44, 4, 0x0000f78e | 2 << 11);
	for (unsigned i = 0; i < 4; i++)
		wr(0x20 + 4 * i, 4, DATA + 0x1000 * i);
	wr(0x3c, 2, 0xffff);
}

static void put_desc(uint32_t ring, unsigned at, uint32_t opts1, uint32_t opts2, uint32_t addr)
{
	uint32_t d[4] = {opts1, opts2, addr, 0};

	memcpy(ram + ring + 16 * at, d, sizeof(d));
}

static uint32_t get_opts(uint32_t ring, unsigned at, unsigned n)
{
	uint32_t v;

	memcpy(&v, ram + ring + 16 * at + 4 * n, 4);
	return v;
}

#define RING 8u

static void setup_cplus(void)
{
	setup(false);
	wr(0xe0, 2, 0x2b);
	wr(0xe4, 4, RX_RING);
	wr(0xe8, 4, 0);
	wr(0x20, 4, TX_RING);
	wr(0x24, 4, 0);
	for (unsigned i = 0; i < RING; i++)
		put_desc(RX_RING, i, OWN | (i == RING - 1 ? EOR : 0) | 1600, 0, RX_DATA + 4096 * i);
	wr(0x37, 1, 0x0c);
	wr(0x44, 4, 0x0e);
	wr(0x3c, 2, 0xffff);
}

static unsigned eeprom_word(unsigned w, unsigned bits)
{
	unsigned cmd = 6u << bits | w, word = 0;

	wr(0x50, 1, 0x80);
	for (unsigned i = 3 + bits; i-- > 0;) {
		unsigned di = cmd >> i & 1 ? 2 : 0;

		wr(0x50, 1, 0x88 | di);
		wr(0x50, 1, 0x8c | di);
	}
	wr(0x50, 1, 0x88);
	for (unsigned i = 0; i < 16; i++) {
		wr(0x50, 1, 0x8c);
		word = word << 1 | (rd(0x50, 1) & 1);
		wr(0x50, 1, 0x88);
	}
	wr(0x50, 1, 0);
	return word;
}

static void test_registers(void **state)
{
	uint8_t mac[6];

	setup(false);
	/* drivers try an EEPROM with addresses of 8 bits first */
	assert_int_not_equal(eeprom_word(0, 8), 0x8129);
	assert_int_equal(eeprom_word(0, 6), 0x8129);
	for (unsigned i = 0; i < 3; i++) {
		unsigned w = eeprom_word(7 + i, 6);

		mac[2 * i] = (uint8_t)w;
		mac[2 * i + 1] = (uint8_t)(w >> 8);
	}
	assert_memory_equal(mac, wire.net.mac, 6);
	assert_int_equal(rd(0, 4), 0x12005452);
	assert_int_equal(rd(4, 2), 0x5634);
	assert_int_equal(bus_read(&vm->pio, 0, RIG_BAR_IO + 2, 2), 0x1200);
	assert_int_equal(rd(0x40, 4) & 0x7cc00000, 0x74800000);
	assert_int_equal(rd(0x64, 2) & 4, 4); /* link */

	/* locked, and not */
	wr(0x59, 1, 0x40);
	assert_int_equal(rd(0x59, 1), 0);
	wr(0x50, 1, 0xc0);
	wr(0x59, 1, 0x40);
	wr(0x62, 2, 0x1200);
	wr(0x50, 1, 0);
	assert_int_equal(rd(0x59, 1), 0x40);
	assert_int_equal(rd(0x62, 2), 0x1000);
	assert_int_equal(rd(0x3e, 2), 0x20); /* the link came back */
	wr(0x3c, 2, 0x20);
	assert_true(rig_pin());
	wr(0x3e, 2, 0x20);
	assert_false(rig_pin());

	/* a reset leaves the address, but not the masks */
	wr(0, 4, 0xdeadbe00);
	wr(0x37, 1, 0x10);
	assert_int_equal(rd(0x37, 1), 1);
	assert_int_equal(rd(0x3c, 4), 0);
	assert_int_equal(rd(0, 4), 0xdeadbe00);
	wr(0x50, 1, 0x40); /* loads the EEPROM again */
	assert_int_equal(rd(0, 4), 0x12005452);
	assert_int_equal(rd(0x50, 1) & 0xc0, 0);
	rig_end(vm);
}

static void test_timer(void **state)
{
	setup(false);
	wr(0x3c, 2, 0x4000);
	wr(0x54, 4, 1000); /* 30 µs */
	wr(0x48, 4, 0);
	fake_advance(15000);
	assert_int_equal(rd(0x48, 4), 500);
	assert_false(rig_pin());
	fake_advance(15000);
	assert_true(rig_pin());
	wr(0x3e, 2, 0x4000);
	assert_false(rig_pin());
	fake_advance(30000);
	assert_false(rig_pin()); /* once around */
	wr(0x48, 4, 0);
	wr(0x54, 4, 0);
	fake_advance(NS_PER_SEC);
	assert_false(rig_pin());
	wr(0xd9, 1, 1); /* by hand */
	assert_int_equal(rd(0x3e, 2), 0x100);
	rig_end(vm);
}

static void test_old_send(void **state)
{
	setup_old(true);
	assert_int_equal(rd(0x60, 2), 0x000f);
	for (unsigned i = 0; i < 6; i++) {
		unsigned n = i % 4;

		memset(ram + DATA + 0x1000 * n, (int)(0x50 + i), 60 + i);
		wr(0x10 + 4 * n, 4, 60 + i);
		assert_int_equal(wire.sent, i + 1);
		assert_int_equal(wire.len[i], 60 + i);
		assert_int_equal(wire.frame[i][59], 0x50 + i);
		assert_int_equal(rd(0x10 + 4 * n, 4) & 0xe000, 0xa000); /* OWN, TOK */
		assert_true(rig_pin());
		wr(0x3e, 2, 4);
		assert_false(rig_pin());
	}
	assert_int_equal(rd(0x60, 2), 0xf00f);
	/* out of turn: waits for the others */
	wr(0x1c, 4, 60);
	assert_int_equal(wire.sent, 6);
	wr(0x18, 4, 60);
	assert_int_equal(wire.sent, 8);
	/* not without its enable bit */
	wr(0x37, 1, 0x08);
	wr(0x10, 4, 60);
	assert_int_equal(wire.sent, 8);
	wr(0x37, 1, 0x0c);
	assert_int_equal(wire.sent, 9);
	/* the chip's own loop */
	memset(ram + DATA + 0x1000, 0xff, 6);
	wr(0x40, 4, 0x60000);
	wr(0x14, 4, 60);
	assert_int_equal(wire.sent, 9);
	assert_int_equal(rd(0x37, 1) & 1, 0);
	/* no C+ mode here */
	wr(0xe0, 2, 3);
	assert_int_equal(rd(0xe0, 2), 0);
	rig_end(vm);
}

static bool receive(const uint8_t *f, size_t len)
{
	return net_receive(&wire.net, f, len);
}

static uint32_t header(unsigned at)
{
	uint32_t v;

	memcpy(&v, ram + BUFFER + at, 4);
	return v;
}

static void test_old_receive(void **state)
{
	uint8_t f[1514] = {0x52, 0x54, 0, 0x12, 0x34, 0x56, 2, 0, 0, 0, 0, 1, 8, 6};
	uint32_t crc;
	unsigned n = 0;

	setup_old(false);
	assert_int_equal(rd(0x37, 1), 0x0d); /* empty */
	assert_true(receive(f, 42));
	assert_int_equal(rd(0x37, 1), 0x0c);
	assert_int_equal(header(0), 64u << 16 | 0x4001);
	memcpy(&crc, ram + BUFFER + 64, 4);
	assert_int_equal(crc, nic_crc(ram + BUFFER + 4, 60));
	assert_int_equal(rd(0x3a, 2), 68);
	assert_true(rig_pin());
	wr(0x38, 2, 68 - 16);
	assert_int_equal(rd(0x37, 1), 0x0d);
	wr(0x3e, 2, 1);
	assert_false(rig_pin());

	/* somebody else's; broadcast; a multicast address without and with its bit: the upper 6 bits of
	 * the CRC of 01-00-5e-00-00-01 are 31 */
	f[5] = 0x57;
	assert_true(receive(f, 60));
	assert_int_equal(rd(0x3a, 2), 68);
	memset(f, 0xff, 6);
	assert_true(receive(f, 60));
	assert_int_equal(header(68), 64u << 16 | 0x2001);
	memcpy(f, "\x01\x00\x5e\x00\x00\x01", 6);
	assert_true(receive(f, 60));
	assert_int_equal(rd(0x3a, 2), 136);
	wr(0x08, 4, 1u << 31);
	assert_true(receive(f, 60));
	assert_int_equal(header(136), 64u << 16 | 0x8001);
	f[0] = 2; /* nobody's, but all are wanted */
	wr(0x44, 4, rd(0x44, 4) | 1);
	assert_true(receive(f, 60));
	assert_int_equal(header(204), 64u << 16 | 0x0001);
	wr(0x38, 2, 272 - 16);

	/* full; the guest forgets it; there is room again */
	while (receive(f, 1514))
		n++;
	assert_int_equal(n, (32768 - 1) / 1524);
	assert_int_equal(wire.ready, 0);
	wr(0x3e, 2, 1);
	assert_false(rig_pin());
	fake_advance(NS_PER_SEC / 50);
	assert_true(rig_pin()); /* told again */
	wr(0x38, 2, 272 - 16 + 1524 * 2);
	assert_int_equal(wire.ready, 1);
	assert_true(receive(f, 1514));
	/* that one reached over the end, in one piece */
	unsigned at = (272 + 1524 * n) % 32768;
	assert_true(at + 1524 > 32768);
	assert_int_equal(header(at), 1518u << 16 | 1);
	memcpy(&crc, ram + BUFFER + at + 4 + 1514, 4);
	assert_int_equal(crc, nic_crc(ram + BUFFER + at + 4, 1514));
	assert_int_equal(rd(0x3a, 2), (at + 1524) % 32768);

	/* and now in two */
	wr(0x44, 4, rd(0x44, 4) & ~0x80u);
	wr(0x38, 2, rd(0x3a, 2) - 16);
	for (n = 0; n < 20; n++)
		assert_true(receive(f, 1514));
	at = rd(0x3a, 2);
	wr(0x38, 2, at - 16);
	assert_true(at + 1524 > 32768);
	for (unsigned i = 0; i < 1514; i++)
		f[i] = (uint8_t)(f[i] + (i > 12 ? i : 0));
	assert_true(receive(f, 1514));
	assert_memory_equal(ram + BUFFER + at + 4, f, 32768 - at - 4);
	assert_memory_equal(ram + BUFFER, f + 32768 - at - 4, 1514 - (32768 - at - 4));
	/* with the receiver off frames are lost */
	wr(0x37, 1, 0x04);
	assert_true(receive(f, 1514));
	wr(0x37, 1, 0x0c);
	assert_int_equal(rd(0x3a, 2), 0);
	assert_int_equal(rd(0x37, 1), 0x0d);
	rig_end(vm);
}

static void test_cplus_send(void **state)
{
	uint8_t *f;
	size_t len;

	setup_cplus();
	f = ram + DATA;
	len = tcp_packet(f, 100);
	/* in two pieces; the first is given last */
	put_desc(TX_RING, 1, OWN | LS | (uint32_t)(len - 20), 0, DATA + 20);
	wr(0xd9, 1, 0x40);
	assert_int_equal(wire.sent, 0);
	put_desc(TX_RING, 0, OWN | FS | 20, 0, DATA);
	wr(0xd9, 1, 0x40);
	assert_int_equal(wire.sent, 1);
	assert_int_equal(wire.len[0], len);
	assert_memory_equal(wire.frame[0], f, len);
	assert_int_equal(get_opts(TX_RING, 0, 0), FS | 20);
	assert_int_equal(get_opts(TX_RING, 1, 0), LS | (len - 20));
	assert_int_equal(rd(0x3e, 2), 0x84); /* TOK, TDU */
	wr(0x3e, 2, 0xffff);

	/* sums and a tag, whatever stood there */
	memcpy(f + 24, "\x12\x34", 2);
	put_desc(TX_RING, 2, OWN | FS | LS | 0x50000 | (uint32_t)len, 0x24523, DATA);
	wr(0xd9, 1, 0x40);
	assert_int_equal(wire.sent, 2);
	assert_int_equal(wire.len[1], len + 4);
	assert_memory_equal(wire.frame[1] + 12, "\x81\0\x23\x45\x08\0", 6);
	memmove(wire.frame[1] + 12, wire.frame[1] + 16, len - 12);
	assert_true(netcsum_valid(wire.frame[1], len));
	assert_int_equal(netcsum_add(0, wire.frame[1] + 14, 20), 0xffff);

	/* 4000 bytes in segments of 1460; the ring ends there */
	len = tcp_packet(f, 4000);
	put_desc(TX_RING, 3, OWN | FS | 1u << 27 | 1460 << 16 | 54, 0, DATA);
	put_desc(TX_RING, 4, OWN | LS | EOR | 1u << 27 | 1460 << 16 | 4000, 0, DATA + 54);
	wr(0xd9, 1, 0x40);
	assert_int_equal(wire.sent, 5);
	check_segments(f);
	/* the ring of high priority */
	wr(0x28, 4, TX_RING + 0x800);
	put_desc(TX_RING + 0x800, 0, OWN | FS | LS | EOR | 60, 0, DATA);
	wr(0xd9, 1, 0x80);
	assert_int_equal(wire.sent, 6);
	/* the counters */
	wr(0x14, 4, 0);
	wr(0x10, 4, 0x30000 | 8);
	assert_int_equal(rd(0x10, 4) & 8, 0);
	assert_int_equal(ram[0x30000], 4);
	/* a ring that is no memory ends too */
	wr(0x20, 4, 0xd0000000);
	wr(0xd9, 1, 0x40);
	rig_end(vm);
}

static void test_cplus_receive(void **state)
{
	uint8_t f[3000] = {0x52, 0x54, 0, 0x12, 0x34, 0x56, 2, 0, 0, 0, 0, 1, 8, 6};
	uint32_t crc;
	uint16_t sum;
	size_t len;

	setup_cplus();
	assert_true(receive(f, 42));
	assert_int_equal(get_opts(RX_RING, 0, 0), FS | LS | 1u << 25 | 64);
	memcpy(&crc, ram + RX_DATA + 60, 4);
	assert_int_equal(crc, nic_crc(ram + RX_DATA, 60));
	assert_true(rig_pin());

	/* a tag taken off */
	wr(0xe0, 2, rd(0xe0, 2) | 0x40);
	memcpy(f + 12, "\x81\0\x20\x05\x08\x06", 6);
	assert_true(receive(f, 64));
	assert_int_equal(get_opts(RX_RING, 1, 1), 0x10520);
	assert_memory_equal(ram + RX_DATA + 4096 + 12, "\x08\x06", 2);

	/* a TCP packet: its sums are right, then wrong */
	len = tcp_packet(f, 50);
	memcpy(f, wire.net.mac, 6);
	memcpy(&sum, f + 50, 2);
	sum = netcsum_add(sum, (const uint8_t[]){0, 70}, 2);
	memcpy(f + 50, &sum, 2);
	netcsum_complete(f, len, 34, 16);
	netcsum_complete(f, 34, 14, 10);
	assert_true(receive(f, len));
	assert_int_equal(get_opts(RX_RING, 2, 0) & 0x3e000, 0x10000);
	f[60] ^= 1;
	assert_true(receive(f, len));
	assert_int_equal(get_opts(RX_RING, 3, 0) & 0x3e000, 0x30000);
	f[22] ^= 1;
	assert_true(receive(f, len));
	assert_int_equal(get_opts(RX_RING, 4, 0) & 0x3e000, 0x38000);

	/* over two; then one is left, too small: the wire waits until there are more, which nobody says */
	f[12] = 9;
	assert_true(receive(f, 3000));
	assert_int_equal(get_opts(RX_RING, 5, 0), FS | 1u << 25 | 1600);
	assert_int_equal(get_opts(RX_RING, 6, 0), LS | 1u << 25 | 3004);
	assert_false(receive(f, 3000));
	assert_int_equal(rd(0x3e, 2) & 0x10, 0x10); /* RDU */
	wr(0x3e, 2, 0xffff);
	for (unsigned i = 0; i < RING - 1; i++)
		put_desc(RX_RING, i, OWN | 1600, 0, RX_DATA + 4096 * i);
	fake_advance(NS_PER_SEC / 50);
	assert_true(wire.ready > 0);
	assert_true(receive(f, 3000));
	assert_int_equal(get_opts(RX_RING, 7, 0), FS | EOR | 1u << 25 | 1600);
	assert_int_equal(get_opts(RX_RING, 0, 0), LS | 1u << 25 | 3004);

	/* never enough: lost, and counted */
	for (unsigned i = 0; i < RING; i++)
		put_desc(RX_RING, i, OWN | (i == RING - 1 ? EOR : 0) | 100, 0, RX_DATA);
	assert_true(receive(f, 3000));
	assert_int_equal(rd(0x4c, 4), 1);
	wr(0x4c, 4, 0);
	assert_int_equal(rd(0x4c, 4), 0);
	rig_end(vm);
}

static void test_nonsense(void **state)
{
	static const struct rig_range range[] = {
		{RIG_BAR_MEM, 0x100}, {RIG_BAR_MEM + 0x10, 0x30}, {RIG_BAR_MEM + 0xd8, 0x18}};
	struct rig_random r = rig_random();
	uint8_t f[2000] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

	for (unsigned plain = 0; plain < 2; plain++) {
		plain ? setup_old(true) : setup_cplus();
		wire.echo = true;
		for (unsigned n = 0; n < 2000; n++) {
			rig_garbage(vm, &vm->mmio, range, 3, 6, &r);
			if (n % 8 == 0) { /* a card at work again */
				wr(0xe0, 2, (uint32_t)rig_next(&r) & 0x63);
				wr(0xe8, 4, 0);
				wr(0xe4, 4, (uint32_t)rig_next(&r) & 0x1fff00);
				wr(0x24, 4, 0);
				wr(0x20, 4, TX_RING);
				wr(0x30, 4, (uint32_t)rig_next(&r) & 0x1fffff);
				wr(0x44, 4, (uint32_t)rig_next(&r) | 0x0f);
				wr(0x37, 1, 0x0c);
			}
			for (unsigned i = 0; i < 16; i++)
				put_desc(TX_RING, i, (uint32_t)rig_next(&r) | OWN,
					 (uint32_t)rig_next(&r), (uint32_t)rig_next(&r) & 0x2fffff);
			wr(0xd9, 1, 0xc0);
			wr(0x10 + (unsigned)rig_next(&r) % 4 * 4, 4, (uint32_t)rig_next(&r));
			receive(f, 14 + rig_next(&r) % 1900);
		}
		rig_end(vm);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_registers),  cmocka_unit_test(test_timer),
		cmocka_unit_test(test_old_send),   cmocka_unit_test(test_old_receive),
		cmocka_unit_test(test_cplus_send), cmocka_unit_test(test_cplus_receive),
		cmocka_unit_test(test_nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
