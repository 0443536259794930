/* SPDX-License-Identifier: ISC */
/* test_idle.c: when a vCPU counts as idle, and when its engine hears of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "plat/plat.h"
#include "vm/idle.h"

#define MS (NS_PER_SEC / 1000)

static struct idle i;
static uint64_t now;
static unsigned told;

static int setup(void **state)
{
	i = (struct idle){0};
	now = 7000 * MS; /* the host has been up */
	told = 0;
	return 0;
}

static void work(uint64_t ms)
{
	now += ms * MS;
}

/* Waits in HLT for so long, in as many pieces as it is asked to; nothing comes meanwhile. Returns their number. */
static unsigned rest(uint64_t ms)
{
	uint64_t deadline = now + ms * MS;
	unsigned n = 0;

	while (now < deadline) {
		uint64_t begun = now, until = idle_wait(&i, now, deadline);

		assert_in_range(until, now, deadline);
		now = until;
		if (idle_waited(&i, begun, now)) {
			told++;
			idle_told(&i, now);
		}
		assert_in_range(++n, 1, 10000);
	}
	return n;
}

/* One long sleep after work: told once, within it, and then it sleeps on in one piece. */
static void sleeps(void **state)
{
	work(100);
	assert_in_range(rest(400000), 2, 3);
	assert_int_equal(told, 1);
	assert_int_equal(rest(400000), 1);
	assert_int_equal(told, 1);
}

/* Between the ticks of an idle kernel */
static void ticks(void **state)
{
	for (unsigned k = 0; k < 300; k++) {
		now += MS / 100;
		rest(4);
	}
	assert_int_equal(told, 1);
	assert_true(i.idle);
}

static void busy(void **state)
{
	for (unsigned k = 0; k < 1000; k++) {
		work(1);
		rest(4);
	}
	assert_int_equal(told, 0);
	assert_false(i.idle);
}

/* Work that goes on without a wait shows at the next one, however long that is. */
static void works_again(void **state)
{
	rest(2000);
	assert_int_equal(told, 1);
	work(10000);
	assert_int_equal(rest(600000), 3); /* seen to be idle; the minute is over */
	assert_int_equal(told, 2);
}

/* Not more than once a minute; and when that is over, without anything else to wake it */
static void once_a_minute(void **state)
{
	rest(2000);
	for (unsigned k = 0; k < 10; k++) {
		work(600);
		rest(1000);
	}
	assert_int_equal(told, 1);
	rest(100000);
	assert_int_equal(told, 2);
}

/* A pause is no work. */
static void paused(void **state)
{
	rest(2000);
	assert_int_equal(told, 1);
	now += 100000 * MS;
	idle_skip(&i);
	rest(2000);
	assert_int_equal(told, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(sleeps, setup),
		cmocka_unit_test_setup(ticks, setup),
		cmocka_unit_test_setup(busy, setup),
		cmocka_unit_test_setup(works_again, setup),
		cmocka_unit_test_setup(once_a_minute, setup),
		cmocka_unit_test_setup(paused, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
