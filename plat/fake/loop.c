/* SPDX-License-Identifier: ISC */
/* loop.c: clock, timers and tasks of the fake platform. Callbacks run on the thread that moves the
 * clock. Entered by the one thread that has the baton. */
#include <stdlib.h>

#include "plat/fake/sched.h"

#define START_NS       NS_PER_SEC /* not 0: 0 is too special to be a good start */
#define START_REALTIME (UINT64_C(1704067200) * NS_PER_SEC) /* 2024-01-01 */
#define MAX_TIMERS     4096

struct plat_loop {
	char unused;
};

static uint64_t now_ns = START_NS;
static uint64_t realtime_offset = START_REALTIME - START_NS;
static struct plat_timer *armed[MAX_TIMERS]; /* in the order of arming */
static unsigned n_armed;
static struct plat_task *tasks, **tasks_end = &tasks;
static bool in_callback;
static unsigned tsc_asked;

uint64_t plat_now(void)
{
	return now_ns;
}

uint64_t plat_realtime(void)
{
	return now_ns + realtime_offset;
}

void fake_set_realtime(uint64_t ns)
{
	realtime_offset = ns - now_ns;
}

uint64_t plat_tsc_hz(void)
{
	tsc_asked++;
	return FAKE_TSC_HZ;
}

unsigned fake_tsc_asked(void)
{
	return tsc_asked;
}

int plat_loop_create(struct plat_loop **out)
{
	if (alloc_fails())
		return err_here(ERR_NOMEM);
	*out = calloc(1, sizeof(**out));
	return 0;
}

void plat_loop_destroy(struct plat_loop *loop)
{
	free(loop);
}

/* ---- timers ------------------------------------------------------------------------------ */

void plat_timer_init(struct plat_timer *t, struct plat_loop *loop, void (*fn)(void *), void *arg)
{
	*t = (struct plat_timer){.loop = loop, .fn = fn, .arg = arg, .deadline = PLAT_FOREVER};
}

static void disarm(struct plat_timer *t)
{
	for (unsigned i = 0; i < n_armed; i++) {
		if (armed[i] != t)
			continue;
		for (n_armed--; i < n_armed; i++)
			armed[i] = armed[i + 1];
	}
	t->deadline = PLAT_FOREVER;
}

void plat_timer_arm(struct plat_timer *t, uint64_t deadline)
{
	if (!t->fn)
		plat_bug(__FILE__, __LINE__, "a timer that was not initialised");
	disarm(t);
	t->deadline = deadline;
	if (deadline == PLAT_FOREVER)
		return;
	BUG_ON(n_armed == MAX_TIMERS);
	armed[n_armed++] = t;
}

void plat_timer_cancel(struct plat_timer *t)
{
	disarm(t);
}

static struct plat_timer *earliest(void)
{
	struct plat_timer *first = NULL;

	for (unsigned i = 0; i < n_armed; i++) {
		if (!first || armed[i]->deadline < first->deadline)
			first = armed[i];
	}
	return first;
}

uint64_t fake_next_timer(void)
{
	struct plat_timer *t = earliest();

	return t ? t->deadline : PLAT_FOREVER;
}

/* ---- tasks ------------------------------------------------------------------------------- */

void plat_loop_post(struct plat_loop *loop, struct plat_task *task)
{
	(void)loop;
	if (atomic_exchange(&task->queued, true))
		return;
	task->next = NULL;
	*tasks_end = task;
	tasks_end = &task->next;
}

static bool run_tasks(void)
{
	bool any = false;

	while (tasks) {
		struct plat_task *task = tasks;

		tasks = task->next;
		if (!tasks)
			tasks_end = &tasks;
		atomic_store(&task->queued, false);
		task->fn(task->arg);
		any = true;
	}
	return any;
}

/* ---- the clock moves --------------------------------------------------------------------- */

bool clock_run_due(void)
{
	bool any = false;

	/* A callback that waits must not run others within itself: the loop is one thread. */
	if (in_callback)
		return false;
	in_callback = true;
	/* A timer that always re-arms itself in the past would never end: that is a bug, too. */
	for (unsigned rounds = 0;; rounds++) {
		struct plat_timer *t;

		any |= run_tasks();
		t = earliest();
		if (!t || t->deadline > now_ns)
			break;
		BUG_ON(rounds > 1000000);
		disarm(t);
		t->fn(t->arg);
		any = true;
	}
	in_callback = false;
	return any;
}

void clock_move_to(uint64_t when)
{
	now_ns = MAX(now_ns, when);
}

void fake_loop_run(void)
{
	clock_run_due();
}

void fake_advance(uint64_t ns)
{
	uint64_t end = now_ns + ns;

	clock_run_due();
	while (fake_next_timer() <= end) {
		clock_move_to(fake_next_timer());
		clock_run_due();
	}
	clock_move_to(end);
}

void loop_reset(void)
{
	now_ns = START_NS;
	realtime_offset = START_REALTIME - START_NS;
	n_armed = 0;
	tasks = NULL;
	tasks_end = &tasks;
	in_callback = false;
	tsc_asked = 0;
}
