/* SPDX-License-Identifier: ISC */
/* test_neighbour.c: redirected frames find the card of the address that they go to, and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "net/nat.h"
#include "net/neighbour.h"

static const uint8_t guest_mac[6] = {2, 0, 0, 0, 0, 1}, old_mac[6] = {2, 0, 0, 0, 0, 2},
		     new_mac[6] = {2, 0, 0, 0, 0, 3};
static const uint8_t guest_ip[4] = {10, 9, 0, 1}, old_ip[4] = {10, 9, 0, 2},
		     new_ip[4] = {10, 9, 0, 3};
static struct neighbours n;
static struct nat nat;
static uint8_t frame[96];

static int set_up(void **state)
{
	memset(&n, 0, sizeof(n));
	memset(&nat, 0, sizeof(nat));
	return 0;
}

/* UDP, of 4 bytes, without a checksum of its own. */
static size_t udp(const uint8_t *to_mac, const uint8_t *from_mac, const uint8_t *from,
		  const uint8_t *to, unsigned sport, unsigned dport)
{
	memset(frame, 0, sizeof(frame));
	memcpy(frame, to_mac, 6);
	memcpy(frame + 6, from_mac, 6);
	frame[12] = 8;
	frame[14] = 0x45;
	frame[17] = 32;
	frame[23] = 17;
	memcpy(frame + 26, from, 4);
	memcpy(frame + 30, to, 4);
	frame[34] = (uint8_t)(sport >> 8);
	frame[35] = (uint8_t)sport;
	frame[36] = (uint8_t)(dport >> 8);
	frame[37] = (uint8_t)dport;
	frame[39] = 12;
	return 46;
}

static size_t arp(unsigned op, const uint8_t *mac, const uint8_t *ip)
{
	static const uint8_t head[8] = {0, 1, 8, 0, 6, 4};

	memset(frame, 0, sizeof(frame));
	memcpy(frame, guest_mac, 6);
	memcpy(frame + 6, mac, 6);
	frame[12] = 8;
	frame[13] = 6;
	memcpy(frame + 14, head, 8);
	frame[21] = (uint8_t)op;
	memcpy(frame + 22, mac, 6);
	memcpy(frame + 28, ip, 4);
	return 60;
}

static size_t go(uint64_t now)
{
	const struct mon_target to = {
		.kind = TARGET_ADDR, .port = 8080, .has_addr = true, .v4 = {10, 9, 0, 3}};
	size_t len = udp(old_mac, guest_mac, guest_ip, old_ip, 1000, 80);

	assert_true(nat_out(&nat, frame, len, &to, now));
	return neighbours_send(&n, frame, len, to.v4, now);
}

static void expect_question(size_t len)
{
	static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	static const uint8_t head[] = {8, 6, 0, 1, 8, 0, 6, 4, 0, 1};

	assert_int_equal(len, NEIGHBOUR_ASK);
	assert_memory_equal(frame, all, 6);
	assert_memory_equal(frame + 6, guest_mac, 6);
	assert_memory_equal(frame + 12, head, sizeof(head));
	assert_memory_equal(frame + 22, guest_mac, 6);
	assert_memory_equal(frame + 28, guest_ip, 4);
	assert_memory_equal(frame + 38, new_ip, 4);
}

static void test_found(void **state)
{
	size_t len;

	expect_question(go(1));
	len = arp(2, new_mac, new_ip);
	neighbours_look(&n, frame, len);
	assert_int_equal(go(2), 46);
	assert_memory_equal(frame, new_mac, 6);
	assert_memory_equal(frame + 30, new_ip, 4);
	assert_int_equal(frame[36] << 8 | frame[37], 8080);
	len = udp(guest_mac, new_mac, new_ip, guest_ip, 8080, 1000);
	nat_in(&nat, frame, len, 3);
	assert_memory_equal(frame + 26, old_ip, 4);
	assert_int_equal(frame[34] << 8 | frame[35], 80);
	/* it has moved: its own question says so */
	len = arp(1, old_mac, new_ip);
	neighbours_look(&n, frame, len);
	go(4);
	assert_memory_equal(frame, old_mac, 6);
}

/* Nobody here has it: after a few questions, a second apart, frames go to the router that the guest has chosen. */
static void test_not_here(void **state)
{
	unsigned asked = 0;

	for (uint64_t t = 0; t < 100; t++) {
		size_t len = go(t * NS_PER_SEC / 10);

		asked += len == NEIGHBOUR_ASK;
		if (len == NEIGHBOUR_ASK)
			expect_question(len);
		else
			assert_memory_equal(frame, old_mac, 6);
	}
	assert_int_equal(asked, 3);
}

static void test_nonsense(void **state)
{
	size_t len;

	go(1);
	for (unsigned what = 0; what < 5; what++) {
		len = arp(2, new_mac, new_ip);
		if (what == 0)
			frame[22] |= 1; /* a group's address */
		else if (what == 1)
			frame[13] = 0;
		else if (what == 2)
			frame[18] = 8;
		else if (what == 3)
			memcpy(frame + 28, old_ip, 4);
		else
			len = 41;
		neighbours_look(&n, frame, len);
		go(2);
		assert_memory_equal(frame, old_mac, 6);
	}
}

/* More addresses than there is room for: the one that was used last longest ago gives way. */
static void test_many(void **state)
{
	uint8_t ip[4] = {10, 9, 1, 0};

	for (unsigned i = 0; i < NEIGHBOURS + 1; i++) {
		ip[3] = (uint8_t)i;
		udp(old_mac, guest_mac, guest_ip, old_ip, 1, 2);
		assert_int_equal(neighbours_send(&n, frame, 46, ip, i + 1), NEIGHBOUR_ASK);
		neighbours_look(&n, frame, arp(2, new_mac, ip));
	}
	for (unsigned i = NEIGHBOURS + 1; i-- > 0;) {
		ip[3] = (uint8_t)i;
		udp(old_mac, guest_mac, guest_ip, old_ip, 1, 2);
		assert_int_equal(neighbours_send(&n, frame, 46, ip, 100), i ? 46 : NEIGHBOUR_ASK);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_found, set_up),
		cmocka_unit_test_setup(test_not_here, set_up),
		cmocka_unit_test_setup(test_nonsense, set_up),
		cmocka_unit_test_setup(test_many, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
