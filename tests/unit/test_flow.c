/* SPDX-License-Identifier: ISC */
/* test_flow.c: when flows end: closed, idle, or pushed out by others, of which the one that was heard longest ago goes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "monitor/flow.h"
#include "plat/fake/fake.h"

#define MS UINT64_C(1000000)

static struct flows flows;
static unsigned opened, ended, anomalies;
static struct flow last_ended;

static void tell(void *arg, uint8_t op, const struct flow *f, uint8_t verdict, const char *text)
{
	opened += op == NET_FLOW_OPEN;
	anomalies += op == NET_ARP && strstr(text, "anomaly") != NULL;
	if (op != NET_FLOW_CLOSE)
		return;
	ended++;
	last_ended = *f;
}

static const struct flow_sink sink = {tell, NULL};

static void frame_of(uint8_t unit, uint16_t port, uint8_t flags)
{
	static const uint8_t data[60];
	const struct frame_info fi = {.ip = true,
				      .proto = 6,
				      .tcp_flags = flags,
				      .type = 0x0800,
				      .sport = port,
				      .dport = 80,
				      .src = {{10}},
				      .dst = {{11}}};

	const struct mon_event ev = {.cls = MON_NET,
				     .op = NET_SEND,
				     .unit = unit,
				     .size = sizeof(data),
				     .data = data,
				     .len = sizeof(data),
				     .frame = &fi};

	flows_frame(&flows, &ev, &sink);
}

static void frame(uint16_t port, uint8_t flags)
{
	frame_of(0, port, flags);
}

/* "That address is mine" */
static void arp(uint8_t unit, uint8_t mac, uint8_t ip)
{
	const uint8_t data[60] = {[12] = 8, [13] = 6, [15] = 1,   [16] = 8,  [18] = 6,  [19] = 4,
				  [21] = 2, [22] = 2, [27] = mac, [28] = 10, [31] = ip, [32] = 2};
	struct frame_info fi;
	const struct mon_event ev =
		frame_event(NET_SEND, unit, data, sizeof(data), sizeof(data), &fi);

	flows_frame(&flows, &ev, &sink);
}

static void begin(void)
{
	flows_fini(&flows);
	fake_reset();
	fake_advance(NS_PER_SEC);
	opened = ended = anomalies = 0;
	assert_int_equal(flows_init(&flows), 0);
}

/* A second passes, at whose end the flows are looked at. */
static void second(void)
{
	fake_advance(NS_PER_SEC);
	flows_sweep(&flows, false, &sink);
}

static void test_idle(void **state)
{
	begin();
	frame(1, 0);
	for (unsigned s = 0; s < 100; s++) { /* one frame each half minute is enough */
		second();
		if (s % 30 == 29)
			frame(1, 0);
	}
	assert_int_equal(opened, 1);
	assert_int_equal(ended, 0);
	/* silent since the 90th second: not ended before it has been so for its time, and then soon */
	for (unsigned s = 100; s < 90 + FLOW_IDLE_S; s++)
		second();
	assert_int_equal(ended, 0);
	for (unsigned s = 0; s < 3; s++)
		second();
	assert_int_equal(ended, 1);
	assert_int_equal(last_ended.packets, 4);
	assert_int_equal(last_ended.bytes_out, 4 * 60);
	/* the next frame of it begins another */
	frame(1, 0);
	assert_int_equal(opened, 2);
}

/* FIN or RST: what belongs to the end still comes. Whenever in a period it was. */
static void test_closed(void **state)
{
	for (unsigned part = 0; part < 10; part++) {
		begin();
		frame(2, 0);
		second();
		fake_advance(part * 100 * MS);
		frame(1, FRAME_TCP_FIN);
		fake_advance((10 - part) * 100 * MS);
		flows_sweep(&flows, false, &sink);
		frame(1, 0x10);
		second();
		assert_int_equal(ended, 0);
		for (unsigned s = 0; s < 3; s++)
			second();
		assert_int_equal(ended, 1);
		assert_int_equal(last_ended.gport, 1);
		assert_int_equal(last_ended.packets, 2);
	}
}

/* More flows than have room, and one between them all that never is silent. */
static void test_crowd(void **state)
{
	begin();
	for (unsigned i = 0; i < 60000; i++) {
		frame(1, 0);
		frame((uint16_t)(2 + i), 0);
		if (i % 1000 == 0)
			second();
	}
	assert_int_equal(opened, 60001); /* the one was never begun again */
	assert_true(ended >= 60001 - FLOW_TABLE);
	flows_sweep(&flows, true, &sink);
	assert_int_equal(ended, opened);
	assert_int_equal(flows.n, 0);
	flows_fini(&flows);
}

/* Cards that lie in networks alike: a flow is of one of them, and so is an address. */
static void test_cards(void **state)
{
	begin();
	frame_of(0, 1, 0);
	frame_of(3, 1, 0);
	frame_of(0, 1, FRAME_TCP_FIN);
	assert_int_equal(opened, 2);
	for (unsigned s = 0; s < 4; s++)
		second();
	assert_int_equal(ended, 1);
	assert_int_equal(last_ended.unit, 0);
	assert_int_equal(last_ended.packets, 2);
	flows_sweep(&flows, true, &sink);
	assert_int_equal(ended, 2);
	assert_int_equal(last_ended.unit, 3);
	arp(0, 1, 15);
	arp(1, 2, 15);
	arp(0, 1, 15);
	arp(1, 2, 15);
	assert_int_equal(anomalies, 0);
	arp(1, 3, 15);
	assert_int_equal(anomalies, 1);
	flows_fini(&flows);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_idle),
		cmocka_unit_test(test_closed),
		cmocka_unit_test(test_crowd),
		cmocka_unit_test(test_cards),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
