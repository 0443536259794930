/* SPDX-License-Identifier: ISC */
/* test_ring_clock.c: the time in user mode and elsewhere is what it was, where each change is timed, and nearly so where
 * most are not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "vm/ring.h"

struct run {
	struct ring_clock r;
	uint64_t now, truth[2];
	unsigned looks;
};

/* ticks in this mode, and a change to the other */
static void stay(struct run *t, bool user, uint64_t ticks)
{
	t->now += ticks;
	t->truth[user] += ticks;
	if (ring_pass(&t->r, !user))
		return;
	t->looks++;
	ring_change(&t->r, !user, t->now);
}

static void begin(struct run *t)
{
	*t = (struct run){.now = 1000};
	ring_change(&t->r, true, t->now);
}

/* Nothing is lost; what the kernel has is right but for so many thousandths of all. */
static void end(struct run *t, unsigned off)
{
	uint64_t all = t->truth[0] + t->truth[1];

	ring_close(&t->r, t->now);
	assert_int_equal(t->r.ticks[0] + t->r.ticks[1], all);
	assert_in_range(t->r.ticks[0], t->truth[0] - MIN(t->truth[0], all * off / 1000),
			t->truth[0] + all * off / 1000);
}

static void test_long(void **state)
{
	struct run t;

	begin(&t);
	for (unsigned i = 0; i < 1000; i++) {
		stay(&t, true, 100000 + i);
		stay(&t, false, 5000 + i * 7);
	}
	assert_int_equal(t.looks, 2000);
	end(&t, 0);
}

static void test_short(void **state)
{
	struct run t;

	begin(&t);
	for (unsigned i = 0; i < 100000; i++) {
		stay(&t, true, 250 + i % 13);
		stay(&t, false, 500 + i % 17);
	}
	assert_in_range(t.looks, 1000, 200000 / 4);
	end(&t, 5);
}

/* Calls of several kinds in turn, which the program might keep in step with what is timed */
static void test_in_step(void **state)
{
	for (unsigned kinds = 2; kinds < 40; kinds++) {
		struct run t;

		begin(&t);
		for (unsigned i = 0; i < 50000; i++) {
			stay(&t, true, 100 + rand() % 100);
			stay(&t, false, i % kinds ? 200 : 3000);
		}
		end(&t, 40);
	}
}

/* A long one between short ones: of its kind or of the other */
static void test_mixed(void **state)
{
	for (unsigned user = 0; user < 2; user++)
		for (unsigned every = 1; every < 64; every++) {
			struct run t;

			begin(&t);
			for (unsigned i = 0; i < 20000; i++) {
				bool is_long = i % every == 0;

				stay(&t, true, is_long && user ? 200000 : 300);
				stay(&t, false, is_long && !user ? 200000 : 300);
			}
			end(&t, 50);
		}
}

/* One mode for long behind many short intervals, and a look at it: then the time is exact again. */
static void test_look(void **state)
{
	struct run t;
	uint64_t had;

	begin(&t);
	for (unsigned i = 0; i < 1003; i++) {
		stay(&t, true, 300);
		stay(&t, false, 300);
	}
	ring_close(&t.r, t.now);
	had = t.r.ticks[1];
	t.now += 1000000;
	ring_close(&t.r, t.now);
	assert_int_equal(t.r.ticks[1] - had, 1000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_long),    cmocka_unit_test(test_short),
		cmocka_unit_test(test_in_step), cmocka_unit_test(test_mixed),
		cmocka_unit_test(test_look),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
