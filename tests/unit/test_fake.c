/* SPDX-License-Identifier: ISC */
/* test_fake.c: the fake platform keeps its promises: the clock, timers and tasks in order, threads in
 * turns, failing allocations, and what it says of wrong locks. */
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/str.h"
#include "plat/fake/fake.h"

static int fresh(void **state)
{
	fake_reset();
	return 0;
}

/* ---- clock ------------------------------------------------------------------------------- */

struct note {
	struct plat_timer t;
	char name;
	uint64_t again; /* period; 0: once */
};

static char notes[200];
static size_t n_notes;

static void take_note(void *arg)
{
	struct note *n = arg;

	notes[n_notes++] = n->name;
	notes[n_notes] = 0;
	if (n->again)
		plat_timer_arm(&n->t, plat_now() + n->again);
}

static void test_clock(void **state)
{
	struct plat_loop *loop;
	struct note a = {.name = 'a'}, b = {.name = 'b'}, c = {.name = 'c', .again = 100};
	struct plat_task task = {.fn = take_note, .arg = &b};
	uint64_t start = plat_now(), wall = plat_realtime();

	n_notes = 0;
	assert_int_equal(plat_loop_create(&loop), 0);
	plat_timer_init(&a.t, loop, take_note, &a);
	plat_timer_init(&b.t, loop, take_note, &b);
	plat_timer_init(&c.t, loop, take_note, &c);
	plat_timer_arm(&b.t, start + 250);
	plat_timer_arm(&a.t, start + 150);
	plat_timer_arm(&c.t, start + 100);
	assert_int_equal(fake_next_timer(), start + 100);
	assert_int_equal(plat_now(), start); /* it stands */
	fake_advance(99);
	assert_int_equal(n_notes, 0);
	fake_advance(251);
	assert_string_equal(notes, "cacbc");
	plat_timer_cancel(&c.t);
	assert_int_equal(fake_next_timer(), PLAT_FOREVER);
	plat_loop_post(loop, &task);
	plat_loop_post(loop, &task);
	n_notes = 0;
	fake_loop_run();
	assert_string_equal(notes, "b");
	assert_int_equal(plat_now(), start + 350);
	assert_int_equal(plat_realtime(), wall + 350);
	fake_set_realtime(5);
	assert_int_equal(plat_realtime(), 5);
	plat_loop_destroy(loop);
}

/* ---- events and threads ------------------------------------------------------------------ */

static void set_event(void *arg)
{
	plat_event_set(arg);
}

static void test_event(void **state)
{
	struct plat_event ev = {0};
	struct plat_loop *loop;
	struct plat_timer t;
	uint64_t start = plat_now();
	jmp_buf env;

	assert_int_equal(plat_loop_create(&loop), 0);
	assert_false(plat_event_wait(&ev, start + 70));
	assert_int_equal(plat_now(), start + 70); /* nobody else could run: time passed */
	plat_timer_init(&t, loop, set_event, &ev);
	plat_timer_arm(&t, start + 500);
	assert_true(plat_event_wait(&ev, PLAT_FOREVER));
	assert_int_equal(plat_now(), start + 500);
	plat_event_clear(&ev);
	if (!setjmp(env)) {
		fake_catch_bug(&env);
		plat_event_wait(&ev, PLAT_FOREVER);
		fail();
	}
	assert_non_null(strstr(fake_log_last(), "deadlock"));
	plat_loop_destroy(loop);
}

struct turns {
	struct plat_mutex m;
	struct plat_event go;
	unsigned n, in, most;
};

static void take_turns(void *arg)
{
	struct turns *t = arg;

	plat_event_wait(&t->go, PLAT_FOREVER);
	for (int i = 0; i < 10; i++) {
		plat_mutex_lock(&t->m);
		t->in++;
		t->most = MAX(t->most, t->in);
		plat_yield(); /* the others want it now */
		t->n++;
		t->in--;
		plat_mutex_unlock(&t->m);
	}
}

static void test_threads(void **state)
{
	struct turns t = {0};
	struct plat_thread *th[3];

	plat_mutex_init(&t.m, RANK_DEVICE);
	for (int i = 0; i < 3; i++)
		assert_int_equal(plat_thread_create("t", take_turns, &t, &th[i]), 0);
	plat_yield();
	assert_int_equal(t.n, 0);
	plat_event_set(&t.go);
	for (int i = 0; i < 3; i++)
		plat_thread_join(th[i]);
	assert_int_equal(t.n, 30);
	assert_int_equal(t.most, 1);
	assert_int_equal(fake_locks_held(), 0);
}

/* ---- locks ------------------------------------------------------------------------------- */

static void expect_bug(void (*fn)(struct plat_mutex *low, struct plat_mutex *high),
		       const char *word)
{
	static struct plat_mutex low, high;
	jmp_buf env;

	fake_reset();
	plat_mutex_init(&low, RANK_VM);
	plat_mutex_init(&high, RANK_IRQ);
	if (!setjmp(env)) {
		fake_catch_bug(&env);
		fn(&low, &high);
		fail_msg("no bug was seen where '%s' was expected", word);
	}
	if (!strstr(fake_log_last(), word))
		fail_msg("'%s' was expected, not '%s'", word, fake_log_last());
}

static void wrong_order(struct plat_mutex *low, struct plat_mutex *high)
{
	plat_mutex_lock(high);
	plat_mutex_lock(low);
}

static void wrong_twice(struct plat_mutex *low, struct plat_mutex *high)
{
	plat_mutex_lock(low);
	plat_mutex_lock(low);
}

static void wrong_unlock(struct plat_mutex *low, struct plat_mutex *high)
{
	plat_mutex_lock(low);
	plat_mutex_unlock(high);
}

static void wrong_init(struct plat_mutex *low, struct plat_mutex *high)
{
	struct plat_mutex m = {0};

	plat_mutex_lock(&m);
}

static void test_locks(void **state)
{
	expect_bug(wrong_order, "lock order");
	expect_bug(wrong_twice, "twice");
	expect_bug(wrong_unlock, "does not hold");
	expect_bug(wrong_init, "not initialised");
	fake_reset();
}

/* ---- failures ---------------------------------------------------------------------------- */

static void test_failures(void **state)
{
	struct plat_code code;
	struct plat_ram ram;
	void *p, *q;

	fake_fail_alloc(2);
	p = plat_alloc(10);
	assert_non_null(p);
	assert_null(plat_alloc(10));
	q = plat_pages_alloc(PAGE_SIZE);
	assert_non_null(q);
	assert_int_equal(fake_alloc_count(), 3);
	assert_int_equal(fake_alloc_live(), 2);
	plat_free(p);
	plat_pages_free(q, PAGE_SIZE);
	fake_fail_alloc(1);
	assert_int_equal(plat_ram_alloc(PAGE_SIZE, RAM_SHARED, &ram), ERR_NOMEM);
	assert_int_equal(plat_ram_alloc(PAGE_SIZE, RAM_SHARED, &ram), 0);
	fake_fail_alloc(1);
	assert_int_equal(plat_code_alloc(PAGE_SIZE, &code), ERR_NOMEM);
	assert_int_equal(plat_code_alloc(PAGE_SIZE, &code), 0);
	code.rw[5] = 77;
	assert_int_equal(code.rx[5], 77);
	plat_code_free(&code);
	plat_ram_free(&ram);
	assert_int_equal(fake_alloc_live(), 0);
}

static void test_rest(void **state)
{
	const struct plat_cpuid want = {1, 2, 3, 4};
	struct plat_cpuid c;
	uint8_t a[16], b[16];

	fake_seed(7);
	plat_random(a, sizeof(a));
	fake_seed(7);
	plat_random(b, sizeof(b));
	assert_memory_equal(a, b, sizeof(a));
	plat_random(b, sizeof(b));
	assert_memory_not_equal(a, b, sizeof(a));

	fake_set_cpuid(7, 1, &want);
	plat_cpuid(7, 1, &c);
	assert_memory_equal(&c, &want, sizeof(c));
	plat_cpuid(7, 0, &c);
	assert_int_equal(c.eax, 0);

	plat_log(LOG_WARN, "no %s", "tea");
	assert_string_equal(fake_log_last(), "no tea");
	assert_int_equal(fake_log_count(LOG_WARN), 1);
	assert_int_equal(fake_log_count(LOG_ERROR), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_clock, fresh),
		cmocka_unit_test_setup(test_event, fresh),
		cmocka_unit_test_setup(test_threads, fresh),
		cmocka_unit_test_setup(test_locks, fresh),
		cmocka_unit_test_setup(test_failures, fresh),
		cmocka_unit_test_setup(test_rest, fresh),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
