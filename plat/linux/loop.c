/* SPDX-License-Identifier: ISC */
/* loop.c: the event loop: one thread that runs timers, tasks and ready file descriptors.
 *
 * Waking a thread on another core costs 60 µs and more, so it happens only when there is no other
 * way. A task wakes the loop only if it sleeps. A timer never wakes it: a new earliest deadline is
 * written into a timerfd by whoever arms it, and a timer that moves to a later deadline or goes away
 * changes nothing: the loop wakes at the old time, once, and looks again. A guest that re-arms its
 * timer at every tick thus costs one system call a tick.
 *
 * Locks: loop->lock for the timer heap, the table of descriptors and what runs now; tasks are a
 * lock-free list. Callbacks run with no lock held. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "plat/linux/loop_fd.h"

#define BATCH 64

/* A descriptor's place. The kernel carries place and generation, not the handle: what it reports
 * may be older than the handle's removal. */
struct fd_slot {
	struct plat_fd *h; /* NULL: free */
	uint32_t gen;
	uint32_t next_free; /* index + 1; 0: none */
};

struct plat_loop {
	struct plat_thread *thread;
	_Atomic(pthread_t) self;
	int epoll, wake, timer; /* epoll descriptor, eventfd, timerfd */
	_Atomic bool stop;

	/* Set by the loop before its last look at tasks; who clears it writes the eventfd. */
	_Atomic bool asleep;
	_Atomic(struct plat_task *) tasks; /* newest first */

	struct plat_mutex lock;          /* RANK_LOOP; what follows */
	struct plat_timer **heap;        /* binary heap by deadline, from index 1 */
	uint32_t n_heap, heap_room;      /* entries; allocated, without index 0 */
	uint32_t n_timers;               /* initialised so far: the heap has room for them */
	bool may_sleep;                  /* the loop has programmed the timerfd and goes to sleep */
	uint64_t programmed;             /* deadline in the timerfd, PLAT_FOREVER: none */
	void *running;                   /* timer or fd handle whose callback runs */
	struct plat_event *running_done; /* waiters' event, to be set when it has run */
	struct fd_slot *fds;
	uint32_t n_fds, fds_free; /* allocated; first free one's index + 1 */
	struct plat_loop_stats stats;
};

bool plat_loop_is_self(struct plat_loop *loop)
{
	return pthread_equal(atomic_load_explicit(&loop->self, memory_order_relaxed),
			     pthread_self());
}

/* ---- what runs now ----------------------------------------------------------------------- */

/* Under the lock. Gives it up while fn runs. */
static void run_begin(struct plat_loop *loop, void *what)
{
	loop->running = what;
	plat_mutex_unlock(&loop->lock);
}

static void run_end(struct plat_loop *loop)
{
	plat_mutex_lock(&loop->lock);
	loop->running = NULL;
	/* Under the lock: a waiter frees its event as soon as it has the lock. */
	if (loop->running_done) {
		plat_event_set(loop->running_done);
		loop->running_done = NULL;
	}
}

/* Under the lock, which it gives up meanwhile. */
static void wait_while_running(struct plat_loop *loop, void *what)
{
	if (plat_loop_is_self(loop))
		return;
	while (loop->running == what) {
		struct plat_event done = {0};

		if (loop->running_done) {
			/* rare: two cancel at once */
			plat_mutex_unlock(&loop->lock);
			plat_yield();
			plat_mutex_lock(&loop->lock);
			continue;
		}
		loop->running_done = &done;
		plat_mutex_unlock(&loop->lock);
		plat_event_wait(&done, PLAT_FOREVER);
		plat_mutex_lock(&loop->lock);
	}
}

/* ---- timers ------------------------------------------------------------------------------ */

static void heap_set(struct plat_loop *loop, uint32_t i, struct plat_timer *t)
{
	loop->heap[i] = t;
	t->slot = i;
}

static void heap_up(struct plat_loop *loop, uint32_t i, struct plat_timer *t)
{
	for (; i > 1 && loop->heap[i / 2]->deadline > t->deadline; i /= 2)
		heap_set(loop, i, loop->heap[i / 2]);
	heap_set(loop, i, t);
}

static void heap_down(struct plat_loop *loop, uint32_t i, struct plat_timer *t)
{
	for (;;) {
		uint32_t child = i * 2;

		if (child < loop->n_heap &&
		    loop->heap[child + 1]->deadline < loop->heap[child]->deadline)
			child++;
		if (child > loop->n_heap || loop->heap[child]->deadline >= t->deadline)
			break;
		heap_set(loop, i, loop->heap[child]);
		i = child;
	}
	heap_set(loop, i, t);
}

static void heap_remove(struct plat_loop *loop, struct plat_timer *t)
{
	uint32_t i = t->slot;
	struct plat_timer *last;

	if (!i)
		return;
	t->slot = 0;
	last = loop->heap[loop->n_heap--];
	if (last == t)
		return;
	if (i > 1 && loop->heap[i / 2]->deadline > last->deadline)
		heap_up(loop, i, last);
	else
		heap_down(loop, i, last);
}

static void program(struct plat_loop *loop, uint64_t deadline)
{
	struct itimerspec its = {0};

	/* An all-zero time would disarm. */
	deadline = MAX(deadline, 1);
	its.it_value.tv_sec = (time_t)(deadline / NS_PER_SEC);
	its.it_value.tv_nsec = (long)(deadline % NS_PER_SEC);
	timerfd_settime(loop->timer, TFD_TIMER_ABSTIME, &its, NULL);
	loop->programmed = deadline;
	loop->stats.timer_programmed++;
}

void plat_timer_init(struct plat_timer *t, struct plat_loop *loop, void (*fn)(void *), void *arg)
{
	*t = (struct plat_timer){.loop = loop, .fn = fn, .arg = arg, .deadline = PLAT_FOREVER};

	/* Room is made here, so that arming cannot fail. */
	plat_mutex_lock(&loop->lock);
	if (++loop->n_timers > loop->heap_room) {
		uint32_t room = MAX(loop->heap_room * 2, 64);
		struct plat_timer **heap = realloc(loop->heap, (room + 1) * sizeof(*heap));

		BUG_ON(!heap);
		loop->heap = heap;
		loop->heap_room = room;
	}
	plat_mutex_unlock(&loop->lock);
}

void plat_timer_arm(struct plat_timer *t, uint64_t deadline)
{
	struct plat_loop *loop = t->loop;

	plat_mutex_lock(&loop->lock);
	heap_remove(loop, t);
	t->deadline = deadline;
	if (deadline != PLAT_FOREVER) {
		heap_up(loop, ++loop->n_heap, t);
		/* A loop that is awake looks at the heap before it sleeps. */
		if (deadline < loop->programmed && loop->may_sleep)
			program(loop, deadline);
	}
	plat_mutex_unlock(&loop->lock);
}

void plat_timer_cancel(struct plat_timer *t)
{
	struct plat_loop *loop = t->loop;

	if (!loop)
		return; /* never initialised */
	plat_mutex_lock(&loop->lock);
	heap_remove(loop, t);
	t->deadline = PLAT_FOREVER;
	wait_while_running(loop, t);
	plat_mutex_unlock(&loop->lock);
}

/* Under the lock. Timers that re-arm themselves in the past get their turn in the next round, after
 * descriptors and tasks. */
static void run_timers(struct plat_loop *loop)
{
	uint64_t now;

	if (!loop->n_heap)
		return;
	now = plat_now();
	for (uint32_t left = loop->n_heap; left && loop->n_heap; left--) {
		struct plat_timer *t = loop->heap[1];

		if (t->deadline > now)
			break;
		heap_remove(loop, t);
		t->deadline = PLAT_FOREVER;
		loop->stats.timers_run++;
		run_begin(loop, t);
		t->fn(t->arg);
		run_end(loop); /* t may be gone */
	}
}

/* ---- tasks ------------------------------------------------------------------------------- */

static void wake(struct plat_loop *loop)
{
	uint64_t one = 1;

	if (atomic_load(&loop->asleep) && atomic_exchange(&loop->asleep, false)) {
		ssize_t n = write(loop->wake, &one, sizeof(one));

		(void)n; /* it can fail only when a wake-up is pending anyway */
	}
}

void plat_loop_post(struct plat_loop *loop, struct plat_task *task)
{
	if (atomic_exchange(&task->queued, true))
		return;
	task->next = atomic_load_explicit(&loop->tasks, memory_order_relaxed);
	while (!atomic_compare_exchange_weak(&loop->tasks, &task->next, task))
		;
	wake(loop);
}

static void run_tasks(struct plat_loop *loop)
{
	struct plat_task *list = atomic_exchange(&loop->tasks, NULL), *oldest = NULL;

	while (list) {
		struct plat_task *next = list->next;

		list->next = oldest;
		oldest = list;
		list = next;
	}
	while (oldest) {
		struct plat_task *task = oldest;
		void (*fn)(void *) = task->fn;
		void *arg = task->arg;

		oldest = task->next;
		loop->stats.tasks_run++;
		/* From here on it may be posted again; and fn may free it. */
		atomic_store(&task->queued, false);
		fn(arg);
	}
}

struct call {
	struct plat_task task;
	struct plat_event done;
	void (*fn)(void *);
	void *arg;
};

static void call_run(void *arg)
{
	struct call *c = arg;

	c->fn(c->arg);
	plat_event_set(&c->done);
}

void plat_loop_call(struct plat_loop *loop, void (*fn)(void *), void *arg)
{
	struct call c = {.task = {.fn = call_run, .arg = &c}, .fn = fn, .arg = arg};

	if (plat_loop_is_self(loop)) {
		fn(arg);
		return;
	}
	plat_loop_post(loop, &c.task);
	plat_event_wait(&c.done, PLAT_FOREVER);
}

/* ---- descriptors ------------------------------------------------------------------------- */

/* With nothing wanted, one-shot: a hang-up that nobody can act on must not spin the loop. */
static struct epoll_event interest(struct plat_fd *h, uint32_t gen)
{
	return (struct epoll_event){.events = h->events ? h->events : (uint32_t)EPOLLONESHOT,
				    .data.u64 = (uint64_t)gen << 32 | h->slot};
}

/* Under the lock. Slot 0 is the loop's own. */
static int slot_take(struct plat_loop *loop, struct plat_fd *h)
{
	if (!loop->fds_free) {
		uint32_t n = MAX(loop->n_fds * 2, 16);
		struct fd_slot *fds = realloc(loop->fds, n * sizeof(*fds));

		if (!fds)
			return err_here(ERR_NOMEM);
		memset(fds + loop->n_fds, 0, (n - loop->n_fds) * sizeof(*fds));
		for (uint32_t i = n; i-- > MAX(loop->n_fds, 1);) {
			fds[i].next_free = loop->fds_free;
			loop->fds_free = i + 1;
		}
		loop->fds = fds;
		loop->n_fds = n;
	}
	h->slot = loop->fds_free - 1;
	loop->fds_free = loop->fds[h->slot].next_free;
	loop->fds[h->slot].h = h;
	return 0;
}

/* Under the lock. */
static void slot_give(struct plat_loop *loop, struct plat_fd *h)
{
	struct fd_slot *slot = &loop->fds[h->slot];

	slot->h = NULL;
	slot->gen++;
	slot->next_free = loop->fds_free;
	loop->fds_free = h->slot + 1;
}

static int watch_error(void)
{
	switch (errno) {
	case EPERM:
		return err_here(ERR_NOSYS);
	case EEXIST:
		return err_here(ERR_EXIST);
	case EBADF:
		return err_here(ERR_INVAL);
	default:
		return err_here(ERR_NOMEM);
	}
}

int plat_fd_add(struct plat_fd *h, struct plat_loop *loop, int fd, uint32_t events,
		void (*fn)(void *arg, uint32_t events), void *arg)
{
	struct epoll_event ev;
	int err;

	*h = (struct plat_fd){.loop = loop, .fd = fd, .events = events, .fn = fn, .arg = arg};
	plat_mutex_lock(&loop->lock);
	err = slot_take(loop, h);
	if (!err) {
		ev = interest(h, loop->fds[h->slot].gen);
		if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &ev)) {
			err = watch_error();
			slot_give(loop, h);
		}
	}
	plat_mutex_unlock(&loop->lock);
	if (err)
		h->loop = NULL;
	return err;
}

void plat_fd_modify(struct plat_fd *h, uint32_t events)
{
	struct plat_loop *loop = h->loop;
	struct epoll_event ev;

	if (!loop)
		return;
	plat_mutex_lock(&loop->lock);
	h->events = events;
	ev = interest(h, loop->fds[h->slot].gen);
	epoll_ctl(loop->epoll, EPOLL_CTL_MOD, h->fd, &ev);
	plat_mutex_unlock(&loop->lock);
}

void plat_fd_remove(struct plat_fd *h)
{
	struct plat_loop *loop = h->loop;

	if (!loop)
		return;
	plat_mutex_lock(&loop->lock);
	epoll_ctl(loop->epoll, EPOLL_CTL_DEL, h->fd, NULL);
	slot_give(loop, h);
	wait_while_running(loop, h);
	plat_mutex_unlock(&loop->lock);
	h->loop = NULL;
}

/* Under the lock. */
static void run_fds(struct plat_loop *loop, const struct epoll_event *ready, int n)
{
	for (int i = 0; i < n; i++) {
		uint32_t slot = (uint32_t)ready[i].data.u64;
		uint32_t gen = (uint32_t)(ready[i].data.u64 >> 32);
		struct plat_fd *h;

		if (!slot || loop->fds[slot].gen != gen || !loop->fds[slot].h)
			continue; /* one of the loop's own, or removed meanwhile */
		h = loop->fds[slot].h;
		loop->stats.fds_run++;
		run_begin(loop, h);
		h->fn(h->arg, ready[i].events);
		run_end(loop);
	}
}

/* ---- the thread -------------------------------------------------------------------------- */

/* Under the lock; how long epoll_wait() may wait: 0 or -1 (until something comes). */
static int prepare_sleep(struct plat_loop *loop)
{
	uint64_t first = loop->n_heap ? loop->heap[1]->deadline : PLAT_FOREVER;

	if (first != PLAT_FOREVER || loop->programmed != PLAT_FOREVER) {
		uint64_t now = plat_now();

		if (first <= now)
			return 0;
		if (loop->programmed <= now)
			loop->programmed = PLAT_FOREVER; /* it has fired */
		if (first < loop->programmed)
			program(loop, first);
	}
	loop->may_sleep = true;

	/* Pairs with the exchange in plat_loop_post(): either it sees us asleep, or we see it. */
	atomic_store(&loop->asleep, true);
	if (atomic_load(&loop->tasks) || atomic_load(&loop->stop)) {
		atomic_store(&loop->asleep, false);
		return 0;
	}
	return -1;
}

static void loop_main(void *arg)
{
	struct plat_loop *loop = arg;

	atomic_store(&loop->self, pthread_self());
	while (!atomic_load(&loop->stop)) {
		struct epoll_event ready[BATCH];
		int timeout, n;

		run_tasks(loop);
		plat_mutex_lock(&loop->lock);
		run_timers(loop);
		timeout = prepare_sleep(loop);
		plat_mutex_unlock(&loop->lock);

		n = epoll_wait(loop->epoll, ready, BATCH, timeout);
		atomic_store(&loop->asleep, false);

		plat_mutex_lock(&loop->lock);
		loop->may_sleep = false;
		loop->stats.sleeps += timeout != 0;
		run_fds(loop, ready, n);
		plat_mutex_unlock(&loop->lock);
	}
	/* Back ends free themselves in a task: the last ones, too. */
	while (atomic_load(&loop->tasks))
		run_tasks(loop);
}

void plat_loop_stats(struct plat_loop *loop, struct plat_loop_stats *out)
{
	plat_mutex_lock(&loop->lock);
	*out = loop->stats;
	plat_mutex_unlock(&loop->lock);
}

static void loop_free(struct plat_loop *loop)
{
	if (loop->epoll >= 0)
		close(loop->epoll);
	if (loop->wake >= 0)
		close(loop->wake);
	if (loop->timer >= 0)
		close(loop->timer);
	free(loop->heap);
	free(loop->fds);
	free(loop);
}

/* Edge-triggered, so that nobody needs to read them. */
static int watch(struct plat_loop *loop, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET}; /* slot 0 */

	if (fd < 0 || epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &ev)) {
		plat_log(LOG_ERROR, "no event loop: %s", strerror(errno));
		return err_here(errno == EMFILE || errno == ENFILE ? ERR_BUSY : ERR_NOMEM);
	}
	return 0;
}

int plat_loop_create(struct plat_loop **out)
{
	struct plat_loop *loop = calloc(1, sizeof(*loop));
	int err;

	if (!loop)
		return err_here(ERR_NOMEM);
	plat_mutex_init(&loop->lock, RANK_LOOP);
	loop->programmed = PLAT_FOREVER;
	loop->epoll = epoll_create1(EPOLL_CLOEXEC);
	loop->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	loop->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	err = watch(loop, loop->wake);
	if (!err)
		err = watch(loop, loop->timer);
	if (!err)
		err = plat_thread_create("loop", loop_main, loop, &loop->thread);
	if (err) {
		loop_free(loop);
		return err;
	}
	*out = loop;
	return 0;
}

void plat_loop_destroy(struct plat_loop *loop)
{
	if (!loop)
		return;
	atomic_store(&loop->stop, true);
	wake(loop);
	plat_thread_join(loop->thread);
	loop_free(loop);
}
