/* SPDX-License-Identifier: ISC */
/* nic_rig.h: a PCI network card on plat/fake: a wire that keeps what is sent, or sends it back at once. */
#ifndef TESTS_NIC_RIG_H
#define TESTS_NIC_RIG_H

#include "tests/unit/pci_rig.h"

#include "dev/nic/netcsum.h"
#include "dev/nic/nic.h"
#include "net/net.h"
#include "vm/dev.h"

static struct {
	struct net net;
	uint8_t frame[64][2048]; /* the beginnings of the last ones */
	size_t len[64];
	unsigned sent, ready;
	bool echo;
} wire;

static void wire_send(struct net *n, const struct net_vec *vec, unsigned n_vec)
{
	unsigned at = wire.sent++ % ARRAY_SIZE(wire.frame);
	size_t len = 0;

	for (unsigned i = 0; i < n_vec; i++) {
		for (size_t k = 0; k < vec[i].len && len + k < sizeof(wire.frame[0]); k++)
			wire.frame[at][len + k] = ((const uint8_t *)vec[i].base)[k];
		len += vec[i].len;
	}
	wire.len[at] = len;
	assert_true(len >= NIC_FRAME_MIN && len <= NET_FRAME_MAX);
	if (wire.echo)
		net_receive(n, wire.frame[at], MIN(len, sizeof(wire.frame[0])));
}

static void wire_ready(struct net *n)
{
	wire.ready++;
}

static const struct net_ops wire_ops = {.name = "wire", .send = wire_send, .rx_ready = wire_ready};

/* A machine with a bus and a wire; the card goes into slot 1. */
static inline void nic_machine(void)
{
	rig_pci();
	memset(&wire, 0, sizeof(wire));
	wire.net.ops = &wire_ops;
	memcpy(wire.net.mac, "\x52\x54\x00\x12\x34\x56", 6);
}

static inline void nic_plugged(void)
{
	pci_cfg_write(host, 8, PCI_COMMAND, 2, PCI_CMD_IO | PCI_CMD_MEM | PCI_CMD_MASTER);
}

static inline void put16be(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* A TCP packet over IPv4 with n bytes of data; in the checksum stands the pseudo header's sum without
 * the length. */
static inline size_t tcp_packet(uint8_t *f, unsigned n)
{
	static const uint8_t head[] = {
		0x52, 0x55, 10, 0, 2,    2,    0x52, 0x54, 0,  0x12, 0x34, 0x56, 8,    0,
		0x45, 0,    0,  0, 0x12, 0x34, 0x40, 0,    64, 6,    0,    0,    10,   0,
		2,    15,   10, 0, 2,    2,    4,    0,    0,  80,   0,    0,    0xff, 0xff,
		0,    0,    0,  1, 0x50, 0x19, 0xff, 0xff, 0,  0,    0,    0};
	uint16_t sum;

	memcpy(f, head, sizeof(head));
	for (unsigned i = 0; i < n; i++)
		f[54 + i] = (uint8_t)(i * 3 + i / 256);
	put16be(f + 16, 40 + n);
	sum = netcsum_add(netcsum_add(0, f + 26, 8), (const uint8_t *)"\0\6", 2);
	memcpy(f + 50, &sum, 2);
	return 54 + n;
}

/* Frames 2 to 4 on the wire: 4000 bytes of data of tcp_packet() f, in segments of 1460 */
static inline void check_segments(const uint8_t *f)
{
	for (unsigned i = 0; i < 3; i++) {
		uint8_t *s = wire.frame[2 + i];
		unsigned n = i < 2 ? 1460 : 1080;

		assert_int_equal(wire.len[2 + i], 54 + n);
		assert_true(netcsum_valid(s, 54 + n));
		assert_int_equal(netcsum_add(0, s + 14, 20), 0xffff);
		assert_int_equal(s[18] << 8 | s[19], 0x1234 + i);
		assert_int_equal(s[38] << 24 | s[39] << 16 | s[40] << 8 | s[41], 0xffff + 1460 * i);
		assert_int_equal(s[47], i < 2 ? 0x10 : 0x19);
		assert_memory_equal(s + 54, f + 54 + 1460 * i, n);
	}
}

#endif
