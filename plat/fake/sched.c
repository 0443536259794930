/* SPDX-License-Identifier: ISC */
/* sched.c: threads of the fake platform: real ones, of which one runs at a time. The baton goes
 * round in the order of creation, and only where a thread gives it away. */
#include <pthread.h>
#include <stdlib.h>

#include "plat/fake/sched.h"

#define MAX_THREADS 64

struct plat_thread {
	pthread_t id;
	unsigned index;
	bool live, ended;
	void (*fn)(void *);
	void *arg;
	/* what it waits for; ready NULL: nothing */
	bool (*ready)(void *);
	void *ready_arg;
	uint64_t deadline;
};

static pthread_mutex_t big = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn = PTHREAD_COND_INITIALIZER;
static struct plat_thread threads[MAX_THREADS] = {[0] = {.live = true}};
static unsigned running; /* index */
static _Thread_local unsigned self;

unsigned sched_self(void)
{
	return self;
}

static bool can_run(struct plat_thread *t)
{
	if (!t->live || t->ended)
		return false;
	return !t->ready || t->ready(t->ready_arg) || plat_now() >= t->deadline;
}

/* Next in the round after us, ourselves last; -1: nobody. */
static int next_runnable(void)
{
	for (unsigned i = 1; i <= MAX_THREADS; i++) {
		unsigned n = (self + i) % MAX_THREADS;

		if (can_run(&threads[n]))
			return (int)n;
	}
	return -1;
}

static uint64_t earliest_deadline(void)
{
	uint64_t first = fake_next_timer();

	for (unsigned i = 0; i < MAX_THREADS; i++) {
		if (threads[i].live && !threads[i].ended && threads[i].ready)
			first = MIN(first, threads[i].deadline);
	}
	return first;
}

/* Chooses who runs; moves the clock where nobody can. */
static unsigned choose(void)
{
	for (;;) {
		int n = next_runnable();
		uint64_t first;

		if (n >= 0)
			return (unsigned)n;
		if (clock_run_due())
			continue;
		first = earliest_deadline();
		if (first == PLAT_FOREVER)
			plat_bug(__FILE__, __LINE__, "deadlock: every thread waits for another");
		clock_move_to(first);
	}
}

static void switch_to(unsigned n)
{
	if (n == self)
		return;
	pthread_mutex_lock(&big);
	running = n;
	pthread_cond_broadcast(&turn);
	while (running != self && !threads[self].ended)
		pthread_cond_wait(&turn, &big);
	pthread_mutex_unlock(&big);
}

bool sched_wait(bool (*ready)(void *arg), void *arg, uint64_t deadline)
{
	struct plat_thread *t = &threads[self];
	bool ok = ready(arg);

	if (ok)
		return true;
	t->ready = ready;
	t->ready_arg = arg;
	t->deadline = deadline;
	switch_to(choose());
	ok = ready(arg);
	t->ready = NULL;
	return ok;
}

void sched_yield_now(void)
{
	clock_run_due();
	switch_to(choose());
}

static void *thread_main(void *arg)
{
	struct plat_thread *t = arg;

	self = t->index;
	pthread_mutex_lock(&big);
	while (running != self)
		pthread_cond_wait(&turn, &big);
	pthread_mutex_unlock(&big);
	t->fn(t->arg);
	t->ended = true;
	switch_to(choose());
	return NULL;
}

int plat_thread_create(const char *name, void (*fn)(void *), void *arg, struct plat_thread **out)
{
	unsigned n = 1;

	(void)name;
	if (alloc_fails())
		return err_here(ERR_NOMEM);
	while (n < MAX_THREADS && threads[n].live)
		n++;
	BUG_ON(n == MAX_THREADS);
	threads[n] = (struct plat_thread){.index = n, .live = true, .fn = fn, .arg = arg};
	if (pthread_create(&threads[n].id, NULL, thread_main, &threads[n]))
		abort();
	*out = &threads[n];
	return 0;
}

static bool has_ended(void *arg)
{
	return ((struct plat_thread *)arg)->ended;
}

void plat_thread_join(struct plat_thread *t)
{
	if (!t)
		return;
	sched_wait(has_ended, t, PLAT_FOREVER);
	pthread_join(t->id, NULL);
	t->live = false;
}

void plat_yield(void)
{
	sched_yield_now();
}

void sched_reset(void)
{
	for (unsigned i = 1; i < MAX_THREADS; i++)
		BUG_ON(threads[i].live);
	threads[0].ready = NULL; /* a caught deadlock leaves it */
}

/* ---- events ------------------------------------------------------------------------------ */

void plat_event_set(struct plat_event *ev)
{
	atomic_store(&ev->word, 1);
}

void plat_event_clear(struct plat_event *ev)
{
	atomic_store(&ev->word, 0);
}

static bool event_is_set(void *arg)
{
	return atomic_load(&((struct plat_event *)arg)->word) == 1;
}

bool plat_event_wait(struct plat_event *ev, uint64_t deadline)
{
	return sched_wait(event_is_set, ev, deadline);
}

/* ---- mutexes: the order of ranks, double locks, unlocks by others ------------------------- */

#define HELD_MAX 16

struct held {
	struct plat_mutex *m;
	unsigned thread;
};

static struct held held[HELD_MAX * 4];
static unsigned n_held;

void plat_mutex_init(struct plat_mutex *m, enum lock_rank rank)
{
	atomic_store(&m->word, 0);
	m->rank = rank;
}

static bool mutex_is_free(void *arg)
{
	return atomic_load(&((struct plat_mutex *)arg)->word) == 0;
}

void plat_mutex_lock(struct plat_mutex *m)
{
	if (!m->rank)
		plat_bug(__FILE__, __LINE__, "lock of a mutex that was not initialised");
	for (unsigned i = 0; i < n_held; i++) {
		if (held[i].thread != self)
			continue;
		if (held[i].m == m)
			plat_bug(__FILE__, __LINE__, "a mutex is locked twice by one thread");
		if (held[i].m->rank >= m->rank)
			plat_bug(__FILE__, __LINE__, "lock order: a higher rank is held");
	}
	sched_wait(mutex_is_free, m, PLAT_FOREVER);
	atomic_store(&m->word, 1);
	BUG_ON(n_held == ARRAY_SIZE(held));
	held[n_held++] = (struct held){.m = m, .thread = self};
}

void plat_mutex_unlock(struct plat_mutex *m)
{
	for (unsigned i = n_held; i--;) {
		if (held[i].m != m || held[i].thread != self)
			continue;
		held[i] = held[--n_held];
		atomic_store(&m->word, 0);
		return;
	}
	plat_bug(__FILE__, __LINE__, "unlock of a mutex that this thread does not hold");
}

unsigned fake_locks_held(void)
{
	return n_held;
}

void mutex_reset(void)
{
	n_held = 0;
}
