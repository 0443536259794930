/* SPDX-License-Identifier: ISC */
/* test_policy_range.c: random rules about addresses decide random accesses as each of them by itself, asked one after
 * the other, would, and disk requests are cut where such rules begin or end; sixty thousand cost little more than one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* order matters */
#include <cmocka.h>

#include "monitor/core.h"
#include "monitor/policy.h"
#include "plat/plat.h"

#define RULES   120
#define ROUNDS  40
#define ACCESS  400
#define ADDRESS 64 /* few, so that they meet */

#include "tests/lib/rules.h"

static const struct kind {
	enum mon_class cls;
	const char *prefix; /* before a range */
	unsigned ops;
	const char *op[5];
} kinds[] = {
	{MON_PORT, "", 2, {"read", "write"}},
	{MON_MMIO, "", 2, {"read", "write"}},
	{MON_MSR, "", 2, {"read", "write"}},
	{MON_CPUID, "", 4, {"eax", "ebx", "ecx", "edx"}},
	{MON_DISK, "sectors ", 5, {"read", "write", "flush", "discard", "zero"}},
	{MON_CONSOLE, NULL, 2, {"in", "out"}},
	{MON_OPERATOR, "uid ", 3, {"policy", "record", "stop"}},
};

static size_t random_rule(char *s, size_t size)
{
	static const char *const times[] = {"", "", "", " during 08:00-16:00",
					    " during 22:00-06:00"};
	const struct kind *k = &kinds[rnd(ARRAY_SIZE(kinds))];
	unsigned lo = rnd(ADDRESS), hi = lo + (rnd(3) ? rnd(4) : rnd(ADDRESS));
	char range[64] = "", op[32] = "", unit[16] = "";
	bool redirect = k->cls == MON_DISK && !rnd(4);

	if (k->prefix && rnd(8))
		snprintf(range, sizeof(range), rnd(3) ? "%s%u-%u" : "%s%u", k->prefix, lo, hi);
	if (rnd(3))
		snprintf(op, sizeof(op), " %s", k->op[rnd(k->ops)]);
	if (k->cls == MON_DISK && rnd(2))
		snprintf(unit, sizeof(unit), " disk%u", rnd(3));
	return (size_t)snprintf(s, size, "%s %s%s%s %s any%s%s\n",
				redirect ? "redirect"
				: rnd(2) ? "provide"
					 : "deny",
				mon_class_name((uint8_t)k->cls), op, unit, range,
				redirect ? " -> scratch" : "", times[rnd(5)]);
}

static void set_time(void)
{
	uint64_t t = (1 + (uint64_t)rnd(24 * 60)) * 60 * NS_PER_SEC;

	policy_set_time(all, t);
	for (unsigned i = 0; i < RULES; i++)
		policy_set_time(one[i], t);
}

static struct mon_event random_access(void)
{
	const struct kind *k = &kinds[rnd(ARRAY_SIZE(kinds))];
	struct mon_event ev = {.cls = (uint8_t)k->cls,
			       .op = (uint8_t)rnd(k->ops),
			       .size = (uint16_t)(1 << rnd(4)),
			       .addr = rnd(ADDRESS + 8)};

	if (k->cls == MON_DISK) {
		ev.unit = (uint8_t)rnd(3);
		ev.addr *= 512;
		ev.value = 512ull * rnd(ADDRESS);
		if (ev.op == 2)
			ev.addr = ev.value = 0;
	}
	return ev;
}

/* The first byte where any of the rules would cut it. */
static uint64_t cut_by_each(const struct mon_event *ev)
{
	uint64_t least = ev->value;

	for (unsigned i = 0; i < RULES; i++) {
		struct mon_event e = *ev;

		policy_decide(one[i], &e);
		least = MIN(least, e.value);
	}
	return least;
}

static void check_access(unsigned *decided)
{
	struct mon_event ev = random_access(), got;
	uint32_t want = 0;

	if (ev.cls == MON_DISK) {
		got = ev;
		ev.value = cut_by_each(&ev);
		policy_decide(all, &got);
		assert_int_equal(got.value, ev.value);
	}
	got = ev;
	policy_decide(all, &got);
	for (unsigned i = 0; i < RULES && !want; i++) {
		struct mon_event e = ev;

		policy_decide(one[i], &e);
		want = e.rule ? i + 1 : 0;
		assert_true(!want || e.verdict == got.verdict);
	}
	if (got.rule != want || got.value != ev.value)
		fail_msg("class %u op %u unit %u address %llu size %u value %llu: line %u decides, "
			 "not %u: %s",
			 ev.cls, ev.op, ev.unit, (unsigned long long)ev.addr, ev.size,
			 (unsigned long long)ev.value, got.rule, want,
			 want ? text[want - 1] : "none");
	*decided += want > 0;
}

static void test_random(void **state)
{
	unsigned decided = 0;

	rules_seed();
	for (unsigned round = 0; round < ROUNDS; round++) {
		make_all(random_rule);
		for (unsigned i = 0; i < ACCESS; i++) {
			if (!(i % 8))
				set_time();
			check_access(&decided);
		}
		free_all();
	}
	assert_in_range(decided, ROUNDS * ACCESS / 4, ROUNDS * ACCESS);
}

/* A flush has no sectors, and its device may be another one. */
static void test_disks(void **state)
{
	static const char rules[] = "deny disk disk1 any\ndeny disk sectors 0-7\n";
	struct policy *p = make(rules, sizeof(rules) - 1);
	static const struct {
		uint8_t unit, op;
		uint64_t addr, value;
		uint32_t line;
	} rows[] = {
		{1, 0, 1 << 20, 512, 1}, {1, 2, 0, 0, 1},       {0, 2, 0, 0, 0},
		{0, 0, 0, 512, 2},       {2, 1, 3584, 4096, 2}, {0, 1, 4096, 512, 0},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct mon_event ev = {.cls = MON_DISK,
				       .op = rows[i].op,
				       .unit = rows[i].unit,
				       .addr = rows[i].addr,
				       .value = rows[i].value};

		policy_decide(p, &ev);
		assert_int_equal(ev.rule, rows[i].line);
	}
	policy_free(p);
}

/* To walk them would take a minute. */
static void test_many(void **state)
{
	enum { N = 60000 };
	char *s = malloc(N * 64ull), *at = s;
	struct policy *p;
	uint64_t begun;

	assert_non_null(s);
	for (unsigned i = 0; i < N; i++)
		at += sprintf(at,
			      i % 2 ? "deny mmio 0x%x000-0x%xfff\n"
				    : "redirect disk sectors %u-%u -> scratch\n",
			      i, i);
	p = make(s, (size_t)(at - s));
	begun = plat_now();
	for (unsigned i = 0; i < 1000000; i++) {
		unsigned k = i % N;
		struct mon_event ev = {.cls = k % 2 ? MON_MMIO : MON_DISK,
				       .size = 4,
				       .addr = k % 2 ? k * 4096ull + 4092 : k * 512ull,
				       .value = 1 << 20};

		assert_int_equal(policy_decide(p, &ev), k % 2 ? MON_DENY : MON_REDIRECT);
		assert_int_equal(ev.rule, k + 1);
		assert_int_equal(ev.value, k % 2 ? 1 << 20 : 512);
	}
	assert_true(plat_now() - begun < 20 * NS_PER_SEC);
	policy_free(p);
	free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_disks),
		cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
