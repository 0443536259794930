/* SPDX-License-Identifier: ISC */
/* test_switch.c: the switch between VMs: who gets which frame, and who does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "net/switch.h"
#include "plat/fake/fake.h"

#define PORTS 4

struct card {
	struct net *net;
	unsigned got;
	size_t len;
	uint8_t last[2048];
	bool full;
};

static struct net_switch *sw;
static struct card card[PORTS]; /* the last: an uplink */

static bool receive(void *dev, const void *frame, size_t len)
{
	struct card *c = dev;

	assert_int_equal(fake_locks_held(), 0);
	if (c->full)
		return false;
	c->got++;
	c->len = len;
	memcpy(c->last, frame, len < sizeof(c->last) ? len : sizeof(c->last));
	return true;
}

/* Card i of switch s has the address 52:54:00:00:s:i. */
static const uint8_t *mac(unsigned s, unsigned i)
{
	static uint8_t m[6] = {0x52, 0x54};

	m[4] = (uint8_t)s;
	m[5] = (uint8_t)i;
	return m;
}

static int set_up(void **state)
{
	assert_int_equal(net_switch_create("lan", &sw), 0);
	memset(card, 0, sizeof(card));
	for (unsigned i = 0; i < PORTS; i++) {
		struct net_client client = {receive, &card[i]};

		assert_int_equal(
			net_switch_port(sw, i < PORTS - 1 ? mac(0, i) : NULL, &card[i].net), 0);
		net_attach(card[i].net, &client);
	}
	return 0;
}

static int tear_down(void **state)
{
	net_switch_destroy(sw);
	return 0;
}

/* In pieces, as drivers give them. */
static void send(unsigned from, uint64_t dst, uint64_t src, size_t len)
{
	static uint8_t frame[20 * KIB];
	struct net_vec vec[3] = {{frame, 5}, {frame + 5, 9}, {frame + 14, len - 14}};

	for (unsigned i = 0; i < 6; i++) {
		frame[i] = (uint8_t)(dst >> (40 - 8 * i));
		frame[6 + i] = (uint8_t)(src >> (40 - 8 * i));
	}
	for (size_t i = 12; i < len; i++)
		frame[i] = (uint8_t)(i * 7);
	card[from].net->ops->send(card[from].net, vec, 3);
}

#define M(i) (UINT64_C(0x525400000000) + (i))
#define ALL  UINT64_C(0xffffffffffff)
#define FAR  UINT64_C(0x020000000000)

static void expect(unsigned a, unsigned b, unsigned c, unsigned d)
{
	const unsigned want[PORTS] = {a, b, c, d};

	for (unsigned i = 0; i < PORTS; i++) {
		assert_int_equal(card[i].got, want[i]);
		card[i].got = 0;
	}
}

static void test_forward(void **state)
{
	send(0, M(1), M(0), 1514);
	expect(0, 1, 0, 0);
	assert_int_equal(card[1].len, 1514);
	for (size_t i = 12; i < 1514; i++)
		assert_int_equal(card[1].last[i], (uint8_t)(i * 7));
	send(0, ALL, M(0), 60);
	expect(0, 1, 1, 1);
	send(0, UINT64_C(0x01005e000001), M(0), 60);
	expect(0, 1, 1, 1);
	send(0, M(0), M(0), 60); /* to itself: it is on that side already */
	expect(0, 0, 0, 0);
	send(0, UINT64_C(0x0180c2000003), M(0), 60); /* pause frames end at a switch */
	expect(0, 0, 0, 0);
	send(2, M(1), M(2), 9018);
	expect(0, 1, 0, 0);
	send(2, M(1), M(2), 16 * KIB);
	expect(0, 0, 0, 0);
}

static void test_learn(void **state)
{
	send(0, FAR, M(0), 60); /* nobody knows */
	expect(0, 1, 1, 1);
	send(3, M(0), FAR, 60);
	expect(1, 0, 0, 0);
	send(0, FAR, M(0), 60);
	expect(0, 0, 0, 1);
	send(2, M(0), FAR, 60); /* it moves */
	expect(1, 0, 0, 0);
	send(0, FAR, M(0), 60);
	expect(0, 0, 1, 0);
	card[2].net->ops->close(card[2].net); /* its VM ends */
	send(0, FAR, M(0), 60);
	expect(0, 1, 0, 1);
	send(3, M(0), FAR, 60);
	expect(1, 0, 0, 0);
	fake_advance(299 * NS_PER_SEC);
	send(0, FAR, M(0), 60);
	expect(0, 0, 0, 1);
	fake_advance(2 * NS_PER_SEC); /* five minutes unheard of */
	send(0, FAR, M(0), 60);
	expect(0, 1, 0, 1);
}

/* A card's own address is never another's, whoever says so. */
static void test_forged(void **state)
{
	struct net_switch_stats st;

	send(2, M(1), M(0), 60);
	expect(0, 0, 0, 0);
	send(2, M(1), ALL, 60);
	expect(0, 0, 0, 0);
	send(3, M(1), M(0), 60); /* from outside neither */
	expect(0, 0, 0, 0);
	net_switch_stats(card[2].net, &st);
	assert_true(st.refused == 2 && !st.sent);
	send(1, M(0), M(1), 60);
	expect(1, 0, 0, 0);
}

/* A card without room loses frames, nobody else does. */
static void test_full(void **state)
{
	struct net_switch_stats st;

	card[1].full = true;
	for (unsigned i = 0; i < 1000; i++)
		send(0, M(1), M(0), 60);
	send(0, ALL, M(0), 60);
	expect(0, 0, 1, 1);
	net_switch_stats(card[1].net, &st);
	assert_true(st.lost == 1001 && !st.received);
	card[1].full = false;
	send(0, M(1), M(0), 60);
	expect(0, 1, 0, 0);
	net_switch_stats(card[0].net, &st);
	assert_int_equal(st.sent, 1002);
}

/* One that makes up addresses neither fills the table for others nor grows it. */
static void test_many(void **state)
{
	unsigned known = 0;

	send(3, M(0), FAR, 60);
	for (uint64_t i = 1; i < 5000; i++)
		send(2, M(0), FAR + 0x1000 + i, 60);
	expect(5000, 0, 0, 0);
	send(0, FAR, M(0), 60);
	expect(0, 0, 0, 1);
	for (uint64_t i = 1; i < 5000; i++) {
		send(0, FAR + 0x1000 + i, M(0), 60);
		known += !card[1].got;
		card[1].got = 0;
	}
	assert_int_equal(known, 32);
}

static void test_alone(void **state)
{
	struct card other = {0};
	struct net_client client = {receive, &other};
	struct net_switch *dmz;

	assert_int_equal(net_switch_create("dmz", &dmz), 0);
	assert_int_equal(net_switch_port(dmz, mac(1, 0), &other.net), 0);
	net_attach(other.net, &client);
	send(0, ALL, M(0), 60);
	send(0, M(0x100), M(0), 60);
	assert_int_equal(other.got, 0);
	expect(0, 2, 2, 2);
	net_switch_destroy(dmz);
}

/* One that takes no broadcasts, and sends to card 1 only. */
static size_t picky(void *arg, bool out, uint8_t *frame, size_t len)
{
	assert_int_equal(fake_locks_held(), 0);
	assert_true(arg == &card[2] && len == 60);
	return (out ? frame[5] == 1 : frame[0] != 0xff) ? len : 0;
}

/* One whose frames from another card are marked, and whose own go, longer, to card 0. */
static size_t changes(void *arg, bool out, uint8_t *frame, size_t len)
{
	if (!out) {
		frame[14] ^= 0xff;
		frame[NET_SWITCH_HEAD - 1] ^= 0xff;
		return len - 1;
	}
	memcpy(frame, mac(0, 0), 6);
	return len + 4;
}

static void test_changing_filter(void **state)
{
	net_switch_filter(card[1].net, changes, NULL);
	send(0, ALL, M(0),
	     100); /* card 2, which comes behind it, and the uplink have it as it was */
	expect(0, 1, 1, 1);
	assert_int_equal(card[1].len, 99);
	assert_int_equal(card[2].len, 100);
	for (size_t i = 12; i < 99; i++) {
		uint8_t v = (uint8_t)(i * 7);

		assert_int_equal(card[1].last[i], i == 14 || i == 95 ? v ^ 0xff : v);
		assert_int_equal(card[2].last[i], v);
	}
	send(1, M(2), M(1), 60);
	expect(1, 0, 0, 0);
	assert_int_equal(card[0].len, 64);
}

static void test_filter(void **state)
{
	net_switch_filter(card[2].net, picky, &card[2]);
	send(0, ALL, M(0), 60);
	expect(0, 1, 0, 1);
	send(0, M(2), M(0), 60);
	expect(0, 0, 1, 0);
	send(2, M(1), M(2), 60);
	expect(0, 1, 0, 0);
	send(2, M(0), M(2), 60);
	expect(0, 0, 0, 0);
}

static void test_no_memory(void **state)
{
	struct net_switch *s;
	struct net *n;

	fake_fail_alloc(1);
	assert_int_equal(net_switch_create("x", &s), ERR_NOMEM);
	for (unsigned i = 1; i <= 2; i++) {
		fake_fail_alloc(i);
		assert_int_equal(net_switch_port(sw, NULL, &n), ERR_NOMEM);
	}
	fake_fail_alloc(0);
	send(0, ALL, M(0), 60);
	expect(0, 1, 1, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_forward, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_learn, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_forged, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_full, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_many, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_alone, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_filter, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_changing_filter, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_no_memory, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
