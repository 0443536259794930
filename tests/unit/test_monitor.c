/* SPDX-License-Identifier: ISC */
/* test_monitor.c: rings under many producers, counters, frames and flows, the core's tiers. */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* order matters */
#include <cmocka.h>

#include "monitor/core.h"
#include "plat/plat.h"

/* ---- rings -------------------------------------------------------------------------------------- */

static void test_ring_order(void **state)
{
	struct ring r;
	struct mon_record rec = {.cls = MON_PORT}, out;
	char text[RING_TEXT_MAX], got[RING_TEXT_MAX];

	for (unsigned i = 0; i < sizeof(text); i++)
		text[i] = (char)i;
	assert_int_equal(ring_init(&r, 64), 0);
	assert_null(ring_peek(&r));
	for (unsigned i = 0; i < 1000; i++) {
		size_t len = i * 7 % (RING_TEXT_MAX + 1);

		rec.value = i;
		rec.size = (uint16_t)(i * 37);
		assert_true(ring_push(&r, &rec, text, len));
		assert_int_equal(ring_take(&r, &out, got), (int)len);
		assert_int_equal(out.value, i);
		assert_memory_equal(got, text, len);
		/* a size and a text share a place */
		assert_int_equal(out.size, len ? MIN(rec.size, RING_SIZE_MAX) : rec.size);
	}
	assert_int_equal(ring_take(&r, &out, got), -1);
	ring_fini(&r);
}

static void test_ring_full(void **state)
{
	struct ring r;
	struct mon_record rec = {.cls = MON_PORT}, out;
	char text[RING_TEXT_MAX] = "";

	assert_int_equal(ring_init(&r, 16), 0);
	for (unsigned i = 0; i < 16; i++)
		assert_true(ring_push(&r, &rec, NULL, 0));
	assert_false(ring_push(&r, &rec, NULL, 0));
	assert_int_equal(atomic_load(&r.dropped), 1);
	assert_int_equal(ring_take(&r, &out, text), 0);
	/* one slot is not enough for a text */
	assert_false(ring_push(&r, &rec, text, 1));
	assert_true(ring_push(&r, &rec, NULL, 0));
	assert_int_equal(atomic_load(&r.dropped), 2);
	ring_fini(&r);
}

#define THREADS 4
#define EACH    20000

struct pusher {
	struct ring *r;
	unsigned id;
};

static void push_many(void *arg)
{
	struct pusher *p = arg;
	char text[120];

	memset(text, 'a' + (int)p->id, sizeof(text));
	for (unsigned i = 0; i < EACH; i++) {
		struct mon_record rec = {.addr = p->id, .value = i};

		while (!ring_try_push(p->r, &rec, text, i % 3 ? 0 : sizeof(text)))
			plat_yield();
	}
}

static void test_ring_threads(void **state)
{
	struct ring r;
	struct pusher p[THREADS];
	struct plat_thread *t[THREADS];
	unsigned next[THREADS] = {0};

	assert_int_equal(ring_init(&r, 256), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		p[i] = (struct pusher){&r, i};
		assert_int_equal(plat_thread_create("push", push_many, &p[i], &t[i]), 0);
	}
	for (unsigned n = 0; n < THREADS * EACH;) {
		struct mon_record rec;
		char text[RING_TEXT_MAX];
		int len = ring_take(&r, &rec, text);

		if (len < 0) {
			plat_yield();
			continue;
		}
		assert_true(rec.addr < THREADS);
		assert_int_equal(rec.value, next[rec.addr]++);
		for (int i = 0; i < len; i++)
			assert_int_equal(text[i], 'a' + (int)rec.addr);
		n++;
	}
	for (unsigned i = 0; i < THREADS; i++)
		plat_thread_join(t[i]);
	ring_fini(&r);
}

/* ---- the core ------------------------------------------------------------------------------------ */

struct seen {
	unsigned n;
	struct mon_record rec[256];
	char text[256][RING_TEXT_MAX + 1];
	uint64_t total[MON_CLASSES];
};

static void see(void *arg, const struct mon_record *rec, const char *text, size_t len)
{
	struct seen *s = arg;

	s->total[rec->cls] += rec->count;
	if (s->n == 256)
		return;
	s->rec[s->n] = *rec;
	memcpy(s->text[s->n], text ? text : "", len);
	s->text[s->n++][len] = 0;
}

struct rig {
	struct monitor mon;
	struct mon_core core;
	struct seen seen;
	struct mon_drain to;
};

static struct rig *rig_make(void)
{
	struct rig *g = calloc(1, sizeof(*g));

	assert_non_null(g);
	g->to = (struct mon_drain){see, &g->seen};
	assert_int_equal(mon_core_init(&g->core, &g->mon, 2, true), 0);
	return g;
}

static void rig_end(struct rig *g)
{
	mon_core_fini(&g->core);
	free(g);
}

static void collect(struct rig *g)
{
	memset(&g->seen, 0, sizeof(g->seen));
	mon_core_period(&g->core, &g->to, false);
	mon_core_period(&g->core, &g->to, false);
	mon_core_drain(&g->core, &g->to, UINT32_MAX);
}

static void test_counted(void **state)
{
	struct rig *g = rig_make();
	uint64_t rip = 0x1234, root = 0x5000, tsc = 0;

	mon_core_place(&g->core, 0, &rip, &root, &tsc);
	for (unsigned i = 0; i < 1000; i++) {
		struct mon_event ev = {
			.cls = MON_PORT, .op = 1, .size = 1, .vcpu = 0, .addr = 0x3f8, .value = i};

		mon_tell(&g->mon, &ev);
	}
	collect(g);
	assert_int_equal(g->seen.n, 1);
	assert_int_equal(g->seen.rec[0].count, 1000);
	assert_int_equal(g->seen.rec[0].addr, 0x3f8);
	assert_int_equal(g->seen.rec[0].value, 0); /* the first one's */
	assert_int_equal(g->seen.rec[0].rip, 0x1234);
	assert_int_equal(g->seen.rec[0].root, 0x5000);
	assert_int_equal(g->seen.rec[0].vcpu, 0);
	collect(g);
	assert_int_equal(g->seen.n, 0);
	rig_end(g);
}

/* Each record has the guest's time: its vCPU's TSC, of what belongs to none the first one's. */
static void test_guest_time(void **state)
{
	struct rig *g = rig_make();
	uint64_t rip = 0, root = 0, second = UINT64_C(1) << 62;
	uint64_t start = __builtin_ia32_rdtsc(), first = 1000 - start, most;
	struct mon_event ev = {.cls = MON_DISK, .vcpu = -1, .addr = 512, .value = 4096};

	mon_tell(&g->mon, &ev); /* nobody knows yet */
	mon_core_place(&g->core, 0, &rip, &root, &first);
	mon_core_place(&g->core, 1, &rip, &root, &second);
	mon_tell(&g->mon, &ev);
	ev.vcpu = 0;
	mon_tell(&g->mon, &ev);
	first += UINT64_C(1) << 60; /* the guest sets it */
	mon_tell(&g->mon, &ev);
	ev.vcpu = -1;
	mon_core_note(&g->core, &(struct mon_event){.cls = MON_OPERATOR, .data = "x", .len = 1});
	ev = (struct mon_event){.cls = MON_PORT, .vcpu = 1, .addr = 0x80};
	mon_tell(&g->mon, &ev); /* counted */
	most = 1000 + __builtin_ia32_rdtsc() - start;
	collect(g);
	assert_int_equal(g->seen.n, 6);
	/* what is counted comes first */
	assert_in_range(g->seen.rec[0].tsc - second - start, 0, most);
	assert_int_equal(g->seen.rec[1].tsc, 0);
	for (unsigned i = 2; i < 4; i++)
		assert_in_range(g->seen.rec[i].tsc, 1000, most);
	for (unsigned i = 4; i < 6; i++)
		assert_in_range(g->seen.rec[i].tsc - (UINT64_C(1) << 60), 1000, most);
	rig_end(g);
}

/* … by the rate that the guest's TSC has. */
static void test_guest_rate(void **state)
{
	static const struct tsc_scale scale = {.ratio = BIT64(TSC_FRACTION) / 2 * 3, .base = 1000};
	struct mon_event ev = {.cls = MON_DISK, .vcpu = -1, .addr = 512, .value = 4096};
	uint64_t rip = 0, root = 0, ahead = BIT64(60), least, most;
	struct rig *g = rig_make();

	mon_core_scale(&g->core, scale);
	mon_core_place(&g->core, 0, &rip, &root, &ahead);
	least = tsc_scaled(scale, __builtin_ia32_rdtsc()) + ahead;
	mon_tell(&g->mon, &ev);
	ev.vcpu = 0;
	mon_tell(&g->mon, &ev);
	assert_true(mon_core_tsc(&g->core) >= least);
	most = tsc_scaled(scale, __builtin_ia32_rdtsc()) + ahead;
	collect(g);
	assert_int_equal(g->seen.n, 2);
	for (unsigned i = 0; i < 2; i++)
		assert_in_range(g->seen.rec[i].tsc, least, most);
	rig_end(g);
}

static void see_rest(void *arg, const struct mon_record *rec, const char *text, size_t len)
{
	uint64_t(*n)[3] = arg;

	assert_int_equal(rec->cls, MON_PORT);
	if (rec->addr == UINT64_MAX)
		n[rec->op][rec->verdict & MON_R_VERDICT] += rec->count;
}

static void see_homeless(void *arg, const struct mon_record *rec, const char *text, size_t len)
{
	*(unsigned *)arg += rec->addr == UINT64_MAX;
}

/* Where half of a table is free, each address has a place of its own. */
static void test_half_full(void **state)
{
	struct rig *g = rig_make();
	unsigned homeless = 0;
	uint64_t x = 1;

	for (unsigned round = 0; round < 200; round++) {
		for (unsigned i = 0; i < COUNT_SLOTS / 2; i++) {
			struct mon_event ev = {.cls = MON_MMIO, .size = 4, .vcpu = 1};

			x = x * UINT64_C(6364136223846793005) + 1442695040888963407;
			ev.addr = x >> 24 & ~UINT64_C(7);
			mon_tell(&g->mon, &ev);
		}
		mon_core_period(&g->core, &(struct mon_drain){see_homeless, &homeless}, false);
	}
	assert_int_equal(homeless, 0);
	rig_end(g);
}

/* A guest that touches everything: nothing is lost from the sum, and tables stay what they are. */
static void test_flood(void **state)
{
	struct rig *g = rig_make();

	for (unsigned i = 0; i < 65536; i++) {
		struct mon_event ev = {.cls = MON_MMIO, .size = 4, .vcpu = 1, .addr = i * 4096ull};

		mon_tell(&g->mon, &ev);
	}
	collect(g);
	assert_int_equal(g->seen.total[MON_MMIO], 65536);
	rig_end(g);
}

/* Those that find no place by address are still known for what they were. */
static void test_flood_kinds(void **state)
{
	struct rig *g = rig_make();
	uint64_t n[2][3] = {{0}};

	for (unsigned i = 0; i < 65536; i++) {
		struct mon_event ev = {.cls = MON_PORT,
				       .op = (uint8_t)(i % 2),
				       .verdict = (uint8_t)(i % 3),
				       .size = 4,
				       .vcpu = 1,
				       .addr = i};

		mon_tell(&g->mon, &ev);
	}
	mon_core_period(&g->core, &g->to, false);
	memset(&g->seen, 0, sizeof(g->seen));
	mon_core_period(&g->core, &(struct mon_drain){see_rest, n}, false);
	for (unsigned i = 0; i < 6; i++) /* of 65,536, not 2,000 have a place of their own */
		assert_in_range(n[i % 2][i % 3], 65536 / 6 - 2000, 65536 / 6 + 1);
	rig_end(g);
}

static void test_budget_and_full(void **state)
{
	struct rig *g = rig_make();
	struct mon_event ev = {.cls = MON_DISK, .op = 0, .vcpu = -1, .addr = 512, .value = 4096};

	for (unsigned i = 0; i < 5000; i++)
		mon_tell(&g->mon, &ev);
	collect(g);
	assert_int_equal(g->seen.total[MON_DISK], 5000);
	assert_true(g->seen.rec[0].sum == 4000u * 4096 || g->seen.rec[0].count == 1);
	assert_int_equal(mon_core_dropped(&g->core), 0);
	/* full: one record each, what does not fit is counted as lost */
	mon_core_set_tier(&g->core, MON_PORT, MON_FULL);
	ev = (struct mon_event){.cls = MON_PORT, .vcpu = 0, .addr = 1};
	for (unsigned i = 0; i < 20000; i++)
		mon_tell(&g->mon, &ev);
	collect(g);
	assert_int_equal(g->seen.total[MON_PORT] + mon_core_dropped(&g->core), 20000);
	assert_true(mon_core_dropped(&g->core) > 0);
	/* off: nothing, unless a rule wants it or refuses; it costs a bit's test, but where rules may want to record */
	mon_core_set_tier(&g->core, MON_PORT, MON_OFF);
	assert_false(mon_listens(&g->mon, MON_PORT));
	mon_core_set_tier(&g->core, MON_PORT, MON_ALWAYS);
	assert_true(mon_listens(&g->mon, MON_PORT));
	atomic_store(&g->mon.ask_mask, BIT(MON_PORT));
	mon_core_set_tier(&g->core, MON_PORT, MON_OFF);
	mon_tell(&g->mon, &ev);
	ev.flags = MON_F_FULL;
	mon_tell(&g->mon, &ev);
	ev.flags = 0;
	ev.verdict = MON_DENY;
	mon_tell(&g->mon, &ev);
	collect(g);
	assert_int_equal(g->seen.total[MON_PORT], 2);
	rig_end(g);
}

static void test_spaces(void **state)
{
	struct rig *g = rig_make();

	for (unsigned i = 0; i < 10; i++) {
		struct mon_event ev = {
			.cls = MON_CPU, .op = 3, .vcpu = 0, .value = 0x1000 * (i % 2 + 1)};

		mon_tell(&g->mon, &ev);
	}
	collect(g);
	assert_int_equal(g->seen.n, 2);
	assert_int_equal(g->seen.total[MON_CPU], 9);
	/* an engine that tells rings: of the root before, 7 in kernel mode and 5 in user mode each */
	for (unsigned i = 0; i < 4; i++) {
		struct mon_event ev = {.cls = MON_CPU,
				       .op = CPU_SPACE,
				       .vcpu = 1,
				       .addr = 7,
				       .lasted = 5,
				       .value = 0x3000};

		mon_tell(&g->mon, &ev);
	}
	collect(g);
	assert_int_equal(g->seen.n, 2);
	for (unsigned i = 0; i < 2; i++) {
		const struct mon_record *r = &g->seen.rec[i];

		assert_int_equal(r->addr, 0x3000);
		assert_int_equal(r->count, 3);
		assert_int_equal(r->sum, r->op == CPU_SPACE ? 3 * 12 : 3 * 5);
	}
	/* what ran while nobody recorded is nobody's */
	mon_core_set_tier(&g->core, MON_CPU, MON_OFF);
	mon_core_set_tier(&g->core, MON_CPU, MON_ALWAYS);
	for (unsigned i = 0; i < 2; i++)
		mon_tell(&g->mon, &(struct mon_event){.cls = MON_CPU,
						      .op = CPU_SPACE,
						      .vcpu = 1,
						      .addr = 7,
						      .value = 0x4000});
	collect(g);
	assert_int_equal(g->seen.n, 1);
	assert_int_equal(g->seen.rec[0].addr, 0x4000);
	assert_int_equal(g->seen.rec[0].sum, 7);
	rig_end(g);
}

struct teller {
	struct rig *g;
	int vcpu;
};

static void tell_many(void *arg)
{
	const struct teller *t = arg;

	for (unsigned i = 0; i < 50000; i++) {
		struct mon_event ev = {
			.cls = MON_MSR, .op = 1, .vcpu = t->vcpu, .addr = 0x800 + i % 16};

		mon_tell(&t->g->mon, &ev);
	}
}

/* Counters of threads that share a producer add up. */
static void test_threads(void **state)
{
	struct rig *g = rig_make();
	struct teller a = {g, -1};
	struct plat_thread *t[3];

	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(plat_thread_create("tell", tell_many, &a, &t[i]), 0);
	for (unsigned i = 0; i < 3; i++)
		plat_thread_join(t[i]);
	collect(g);
	assert_int_equal(g->seen.total[MON_MSR], 150000);
	rig_end(g);
}

/* ---- frames ---------------------------------------------------------------------------------------- */

static const uint8_t dns_ask[] = {
	/* Ethernet */ 0x52,
	0x55,
	10,
	0,
	2,
	2,
	0x52,
	0x54,
	0,
	1,
	2,
	3,
	8,
	0,
	/* IPv4 */ 0x45,
	0,
	0,
	57,
	0,
	1,
	0,
	0,
	64,
	17,
	0,
	0,
	10,
	0,
	2,
	15,
	10,
	0,
	2,
	3,
	/* UDP */ 0x9c,
	0x40,
	0,
	53,
	0,
	37,
	0,
	0,
	/* DNS */ 0x12,
	0x34,
	1,
	0,
	0,
	1,
	0,
	0,
	0,
	0,
	0,
	0,
	7,
	'E',
	'x',
	'a',
	'm',
	'p',
	'l',
	'e',
	3,
	'o',
	'r',
	'g',
	0,
	0,
	1,
	0,
	1};

static void tell_frame(struct rig *g, const uint8_t *frame, size_t len, bool out)
{
	struct frame_info fi;
	struct mon_event ev = frame_event(out, 0, frame, len, len, &fi);

	mon_tell(&g->mon, &ev);
}

static void test_flow(void **state)
{
	struct rig *g = rig_make();
	bool flow = false, name = false;

	tell_frame(g, dns_ask, sizeof(dns_ask), true);
	mon_core_drain(&g->core, &g->to, UINT32_MAX);
	for (unsigned i = 0; i < g->seen.n; i++) {
		flow |= g->seen.rec[i].op == NET_FLOW_OPEN &&
			!strcmp(g->seen.text[i], "udp 10.0.2.15:40000 > 10.0.2.3:53");
		name |= g->seen.rec[i].op == NET_DNS &&
			!strcmp(g->seen.text[i], "ask A example.org");
	}
	assert_true(flow && name);
	memset(&g->seen, 0, sizeof(g->seen));
	mon_core_period(&g->core, &g->to, true);
	mon_core_drain(&g->core, &g->to, UINT32_MAX);
	assert_int_equal(g->seen.n, 1);
	assert_int_equal(g->seen.rec[0].op, NET_FLOW_CLOSE);
	assert_int_equal(g->seen.rec[0].value, sizeof(dns_ask));
	rig_end(g);
}

/* Damaged frames of each length: sanitizers watch. */
static void test_frames_hostile(void **state)
{
	struct rig *g = rig_make();
	unsigned seed = 4711;

	printf("seed %u\n", seed);
	srand(seed);
	for (unsigned i = 0; i < 20000; i++) {
		size_t len = (size_t)rand() % (sizeof(dns_ask) - 13) + 14;
		uint8_t *f = malloc(len);

		assert_non_null(f);
		memcpy(f, dns_ask, len);
		for (unsigned k = 0; k < 4; k++)
			f[(size_t)rand() % len] = (uint8_t)rand();
		tell_frame(g, f, len, rand() & 1);
		free(f);
		if (!(i % 500))
			mon_core_drain(&g->core, &g->to, UINT32_MAX);
	}
	mon_core_drain(&g->core, &g->to, UINT32_MAX);
	assert_true(g->seen.total[MON_NET] > 0);
	rig_end(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ring_order),   cmocka_unit_test(test_ring_full),
		cmocka_unit_test(test_ring_threads), cmocka_unit_test(test_counted),
		cmocka_unit_test(test_guest_time),   cmocka_unit_test(test_guest_rate),
		cmocka_unit_test(test_half_full),    cmocka_unit_test(test_flood),
		cmocka_unit_test(test_flood_kinds),  cmocka_unit_test(test_budget_and_full),
		cmocka_unit_test(test_spaces),       cmocka_unit_test(test_threads),
		cmocka_unit_test(test_flow),         cmocka_unit_test(test_frames_hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
