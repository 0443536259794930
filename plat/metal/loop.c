/* SPDX-License-Identifier: ISC */
/* loop.c: the event loop of a VM: a thread that runs posted tasks and expired timers, and sleeps until
 * the next. Armed timers stand unsorted in an array: there are as many as a machine has chips. */
#include "plat/metal/sched.h"

#define TIMERS_MAX 256

struct plat_loop {
	struct plat_mutex lock; /* RANK_LOOP: all that follows */
	struct plat_timer *timer[TIMERS_MAX];
	unsigned n_timers;
	struct plat_timer *running; /* its callback is being called */
	struct plat_task *first, **last;
	bool stop;
	struct plat_event wake, ran; /* ran: running has become NULL */
	struct plat_thread *thread;
};

/* Takes an expired timer out, or gives the time of the next. Lock held. */
static struct plat_timer *expired(struct plat_loop *loop, uint64_t now, uint64_t *next)
{
	*next = PLAT_FOREVER;
	for (unsigned i = 0; i < loop->n_timers; i++) {
		struct plat_timer *t = loop->timer[i];

		if (t->deadline <= now)
			return t;
		*next = MIN(*next, t->deadline);
	}
	return NULL;
}

static void disarm(struct plat_timer *t)
{
	struct plat_loop *loop = t->loop;

	if (t->deadline == PLAT_FOREVER)
		return;
	t->deadline = PLAT_FOREVER;
	loop->timer[t->slot] = loop->timer[--loop->n_timers];
	loop->timer[t->slot]->slot = t->slot;
}

static struct plat_task *take_task(struct plat_loop *loop)
{
	struct plat_task *task = loop->first;

	if (!task)
		return NULL;
	loop->first = task->next;
	if (!loop->first)
		loop->last = &loop->first;
	return task;
}

static void loop_main(void *arg)
{
	struct plat_loop *loop = arg;

	plat_mutex_lock(&loop->lock);
	while (!loop->stop) {
		uint64_t next;
		struct plat_task *task = take_task(loop);
		struct plat_timer *t = task ? NULL : expired(loop, plat_now(), &next);

		if (t) {
			disarm(t);
			loop->running = t;
		} else if (!task) {
			plat_event_clear(&loop->wake);
		}
		plat_mutex_unlock(&loop->lock);
		if (task) {
			atomic_store(&task->queued, false);
			task->fn(task->arg);
		} else if (t) {
			t->fn(t->arg);
		} else {
			plat_event_wait(&loop->wake, next);
		}
		plat_mutex_lock(&loop->lock);
		if (loop->running) {
			loop->running = NULL;
			plat_event_set(&loop->ran);
		}
	}
	plat_mutex_unlock(&loop->lock);
}

int plat_loop_create(struct plat_loop **out)
{
	struct plat_loop *loop = plat_alloc(sizeof(*loop));
	int err;

	if (!loop)
		return err_here(ERR_NOMEM);
	plat_mutex_init(&loop->lock, RANK_LOOP);
	loop->last = &loop->first;
	err = plat_thread_create("loop", loop_main, loop, &loop->thread);
	if (err)
		plat_free(loop);
	else
		*out = loop;
	return err;
}

void plat_loop_destroy(struct plat_loop *loop)
{
	plat_mutex_lock(&loop->lock);
	loop->stop = true;
	plat_mutex_unlock(&loop->lock);
	plat_event_set(&loop->wake);
	plat_thread_join(loop->thread);
	plat_free(loop);
}

void plat_timer_init(struct plat_timer *t, struct plat_loop *loop, void (*fn)(void *), void *arg)
{
	t->loop = loop;
	t->fn = fn;
	t->arg = arg;
	t->deadline = PLAT_FOREVER;
}

void plat_timer_arm(struct plat_timer *t, uint64_t deadline)
{
	struct plat_loop *loop = t->loop;

	plat_mutex_lock(&loop->lock);
	disarm(t);
	if (deadline != PLAT_FOREVER) {
		BUG_ON(loop->n_timers == TIMERS_MAX);
		t->deadline = deadline;
		t->slot = loop->n_timers;
		loop->timer[loop->n_timers++] = t;
	}
	plat_mutex_unlock(&loop->lock);
	plat_event_set(&loop->wake);
}

void plat_timer_cancel(struct plat_timer *t)
{
	struct plat_loop *loop = t->loop;

	plat_mutex_lock(&loop->lock);
	disarm(t);
	while (loop->running == t && current_thread() != loop->thread) {
		plat_event_clear(&loop->ran);
		plat_mutex_unlock(&loop->lock);
		plat_event_wait(&loop->ran, plat_now() + NS_PER_SEC / 100);
		plat_mutex_lock(&loop->lock);
	}
	plat_mutex_unlock(&loop->lock);
}

void plat_loop_post(struct plat_loop *loop, struct plat_task *task)
{
	if (atomic_exchange(&task->queued, true))
		return;
	plat_mutex_lock(&loop->lock);
	task->next = NULL;
	*loop->last = task;
	loop->last = &task->next;
	plat_mutex_unlock(&loop->lock);
	plat_event_set(&loop->wake);
}
