/* SPDX-License-Identifier: ISC */
/* test_plat.c: plat/linux itself: memory, code memory, locks under contention, events, the loop with
 * a thousand timers, tasks and descriptors from several threads, cancellation, the TSC. Deadlines
 * are checked for order and for not being early; lateness only coarsely, machines are busy. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/str.h"
#include "plat/linux/loop_fd.h"
#include "plat/linux/log.h"

#define SEED 4711
#define MS   UINT64_C(1000000)

static uint32_t rnd_state = SEED;

static uint32_t rnd(void)
{
	rnd_state = rnd_state * 1664525 + 1013904223;
	return rnd_state >> 8;
}

/* ---- memory ------------------------------------------------------------------------------ */

static void test_memory(void **state)
{
	uint8_t *p = plat_alloc(1000), *pages;
	struct plat_ram ram;

	assert_non_null(p);
	assert_true(IS_ALIGNED((uintptr_t)p, 64));
	for (int i = 0; i < 1000; i++)
		assert_int_equal(p[i], 0);
	plat_free(p);
	plat_free(NULL);
	assert_null(plat_alloc(SIZE_MAX - 1));

	pages = plat_pages_alloc(64 * MIB);
	assert_non_null(pages);
	pages[5 * PAGE_SIZE] = 1;
	plat_pages_discard(pages + 5 * PAGE_SIZE, PAGE_SIZE);
	assert_int_equal(pages[5 * PAGE_SIZE], 0);
	plat_pages_free(pages, 64 * MIB);

	assert_int_equal(plat_ram_alloc(GIB, RAM_SHARED, &ram), 0);
	assert_true(ram.fd >= 0);
	assert_int_equal(ram.size, GIB);
	ram.hva[GIB - 1] = 7;
	plat_pages_discard(ram.hva + GIB - PAGE_SIZE, PAGE_SIZE);
	assert_int_equal(ram.hva[GIB - 1], 0);
	plat_ram_free(&ram);
	assert_null(ram.hva);
}

/* Mappings of this process; a guest's balloon must not use up what the host allows (65530). */
static unsigned mappings(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	unsigned n = 0;

	assert_non_null(f);
	for (int c = fgetc(f); c != EOF; c = fgetc(f))
		n += c == '\n';
	fclose(f);
	return n;
}

static void test_large_ram(void **state)
{
	struct plat_ram ram, none = {.size = 0};
	unsigned before;

	assert_int_equal(plat_ram_alloc(65 * MIB, RAM_LARGE, &ram), 0);
	assert_true(IS_ALIGNED((uintptr_t)ram.hva, 2 * MIB));
	assert_null(plat_mirrors_alloc(&ram, PAGE_SIZE));
	memset(ram.hva, 7, ram.size);
	before = mappings();
	for (uint64_t at = 0; at < ram.size; at += 2 * PAGE_SIZE)
		plat_pages_discard(ram.hva + at, PAGE_SIZE);
	assert_in_range(mappings(), 0, before + 1);
	for (uint64_t at = 0; at < ram.size; at += PAGE_SIZE)
		assert_int_equal(ram.hva[at], at & PAGE_SIZE ? 7 : 0);
	plat_ram_free(&ram);
	/* no host has reserved that much */
	assert_int_equal(plat_ram_alloc(BIT64(46), RAM_RESERVED, &none), ERR_NOMEM);
	assert_null(none.hva);
}

static void test_code(void **state)
{
	static const uint8_t give_42[] = {0xb8, 42, 0, 0, 0, 0xc3}; /* mov eax, 42; ret */
	struct plat_code code;
	int (*fn)(void);
	int status;
	pid_t pid;

	assert_int_equal(plat_code_alloc(MIB, &code), 0);
	assert_ptr_not_equal(code.rw, code.rx);
	memcpy(code.rw + 4096, give_42, sizeof(give_42));
	*(void **)&fn = code.rx + 4096;
	assert_int_equal(fn(), 42);
	code.rw[4097] = 43;
	assert_int_equal(fn(), 43);

	/* writing through the executable view, or executing the writable one, must fault */
	for (int exec = 0; exec < 2; exec++) {
		pid = fork();
		if (!pid) {
			signal(SIGSEGV, SIG_DFL);
			if (exec) {
				*(void **)&fn = code.rw + 4096;
				_exit(fn() == 43 ? 0 : 1);
			}
			*(volatile uint8_t *)code.rx = 1;
			_exit(0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
	plat_code_free(&code);
}

/* ---- locks, events, threads -------------------------------------------------------------- */

#define WORKERS 4
#define ROUNDS  20000

struct contended {
	struct plat_mutex m;
	uint64_t a, b; /* equal whenever the lock is free */
	struct plat_event go;
};

static void contend(void *arg)
{
	struct contended *c = arg;

	plat_event_wait(&c->go, PLAT_FOREVER);
	for (int i = 0; i < ROUNDS; i++) {
		plat_mutex_lock(&c->m);
		BUG_ON(c->a != c->b);
		c->a++;
		if (i % 512 == 0)
			plat_yield();
		c->b++;
		plat_mutex_unlock(&c->m);
	}
}

static void test_mutex(void **state)
{
	struct contended c = {0};
	struct plat_thread *t[WORKERS];

	plat_mutex_init(&c.m, RANK_DEVICE);
	for (int i = 0; i < WORKERS; i++)
		assert_int_equal(plat_thread_create("contend", contend, &c, &t[i]), 0);
	plat_event_set(&c.go);
	for (int i = 0; i < WORKERS; i++)
		plat_thread_join(t[i]);
	assert_int_equal(c.a, WORKERS * ROUNDS);
	assert_int_equal(c.b, WORKERS * ROUNDS);
}

static int in_child(void (*fn)(void))
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		int null = open("/dev/null", O_WRONLY);

		dup2(null, STDERR_FILENO);
		signal(SIGABRT, SIG_DFL);
		fn();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void wrong_order(void)
{
	struct plat_mutex low, high;

	plat_mutex_init(&low, RANK_VM);
	plat_mutex_init(&high, RANK_LEAF);
	plat_mutex_lock(&high);
	plat_mutex_lock(&low);
}

static void wrong_unlock(void)
{
	struct plat_mutex m;

	plat_mutex_init(&m, RANK_VM);
	plat_mutex_unlock(&m);
}

static void right_order(void)
{
	struct plat_mutex low, high;

	plat_mutex_init(&low, RANK_VM);
	plat_mutex_init(&high, RANK_LEAF);
	plat_mutex_lock(&low);
	plat_mutex_lock(&high);
	plat_mutex_unlock(&low);
	plat_mutex_unlock(&high);
}

static void test_ranks(void **state)
{
	int status = in_child(wrong_order);

	if (WIFEXITED(status))
		skip(); /* a release build does not check */
	assert_int_equal(WTERMSIG(status), SIGABRT);
	status = in_child(wrong_unlock);
	assert_true(WIFSIGNALED(status));
	status = in_child(right_order);
	assert_true(WIFEXITED(status));
}

struct pingpong {
	struct plat_event ping, pong;
};

static void pong(void *arg)
{
	struct pingpong *p = arg;

	for (int i = 0; i < 1000; i++) {
		plat_event_wait(&p->ping, PLAT_FOREVER);
		plat_event_clear(&p->ping);
		plat_event_set(&p->pong);
	}
}

static void test_event(void **state)
{
	struct plat_event ev = {0};
	struct pingpong p = {0};
	struct plat_thread *t;
	uint64_t start = plat_now();

	assert_false(plat_event_wait(&ev, 0));
	assert_false(plat_event_wait(&ev, start + 5 * MS));
	assert_true(plat_now() >= start + 5 * MS);
	plat_event_set(&ev);
	assert_true(plat_event_wait(&ev, 0));
	assert_true(plat_event_wait(&ev, PLAT_FOREVER)); /* it stays set */
	plat_event_clear(&ev);
	assert_false(plat_event_wait(&ev, plat_now()));

	assert_int_equal(plat_thread_create("pong", pong, &p, &t), 0);
	for (int i = 0; i < 1000; i++) {
		plat_event_set(&p.ping);
		assert_true(plat_event_wait(&p.pong, plat_now() + 10 * NS_PER_SEC));
		plat_event_clear(&p.pong);
	}
	plat_thread_join(t);
}

/* ---- timers ------------------------------------------------------------------------------ */

#define TIMERS 1000

struct one_timer {
	struct plat_timer t;
	uint64_t wanted, fired;
	unsigned runs;
	struct many_timers *all;
};

struct many_timers {
	struct plat_loop *loop;
	struct one_timer t[TIMERS];
	_Atomic unsigned left;
	struct plat_event done;
	uint64_t last; /* deadline of the last that ran */
	unsigned disorder;
};

static void timer_fired(void *arg)
{
	struct one_timer *t = arg;

	t->fired = plat_now();
	t->runs++;
	t->all->disorder += t->wanted < t->all->last;
	t->all->last = t->wanted;
	if (atomic_fetch_sub(&t->all->left, 1) == 1)
		plat_event_set(&t->all->done);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void test_timers(void **state)
{
	struct many_timers *m = calloc(1, sizeof(*m));
	uint64_t late[TIMERS], base;
	unsigned cancelled = 0, n_late = 0;

	assert_int_equal(plat_loop_create(&m->loop), 0);
	for (int i = 0; i < TIMERS; i++) {
		m->t[i].all = m;
		plat_timer_init(&m->t[i].t, m->loop, timer_fired, &m->t[i]);
		assert_int_equal(m->t[i].t.deadline, PLAT_FOREVER);
	}
	atomic_store(&m->left, TIMERS);
	base = plat_now() + 100 * MS;
	/* armed up to three times over; a fifth is cancelled */
	for (int pass = 0; pass < 3; pass++) {
		for (int i = 0; i < TIMERS; i++) {
			if (pass && rnd() % 2)
				continue;
			m->t[i].wanted = base + rnd() % (200 * MS);
			plat_timer_arm(&m->t[i].t, m->t[i].wanted);
		}
	}
	for (int i = 0; i < TIMERS; i += 5) {
		plat_timer_cancel(&m->t[i].t);
		plat_timer_cancel(&m->t[i].t);
		cancelled++;
	}
	if (atomic_fetch_sub(&m->left, cancelled) != cancelled)
		assert_true(plat_event_wait(&m->done, plat_now() + 20 * NS_PER_SEC));
	assert_int_equal(m->disorder, 0);
	for (int i = 0; i < TIMERS; i++) {
		assert_int_equal(m->t[i].runs, i % 5 ? 1 : 0);
		if (i % 5 == 0)
			continue;
		assert_true(m->t[i].fired >= m->t[i].wanted);
		late[n_late++] = m->t[i].fired - m->t[i].wanted;
	}
	qsort(late, n_late, sizeof(late[0]), by_value);
	print_message("timers late: median %lu us, 90%% %lu us, worst %lu us\n",
		      late[n_late / 2] / 1000, late[n_late * 9 / 10] / 1000,
		      late[n_late - 1] / 1000);
	assert_true(late[n_late / 2] < 20 * MS);
	plat_loop_destroy(m->loop);
	free(m);
}

/* A timer that re-arms itself, as a guest's tick does, and one that moves away all the time. */
struct ticker {
	struct plat_timer t;
	unsigned left;
	struct plat_event done;
};

static void tick(void *arg)
{
	struct ticker *k = arg;

	if (--k->left)
		plat_timer_arm(&k->t, plat_now() + MS / 5);
	else
		plat_event_set(&k->done);
}

static void test_ticker(void **state)
{
	struct plat_loop_stats before, after;
	struct ticker k = {.left = 200};
	struct plat_loop *loop;
	struct ticker far = {0};

	assert_int_equal(plat_loop_create(&loop), 0);
	plat_timer_init(&k.t, loop, tick, &k);
	plat_timer_init(&far.t, loop, tick, &far);
	plat_timer_arm(&k.t, 0); /* long ago: at once */
	assert_true(plat_event_wait(&k.done, plat_now() + 10 * NS_PER_SEC));

	/* moving a timer to ever later times costs no system calls */
	plat_timer_arm(&far.t, plat_now() + 10 * NS_PER_SEC);
	usleep(2000);
	plat_loop_stats(loop, &before);
	for (uint64_t i = 0; i < 10000; i++)
		plat_timer_arm(&far.t, plat_now() + 11 * NS_PER_SEC + i);
	plat_loop_stats(loop, &after);
	assert_true(after.timer_programmed - before.timer_programmed <= 1);
	assert_int_equal(after.wakes_sent, before.wakes_sent);

	/* idle and the queue empty: a timer armed now must still fire */
	plat_timer_cancel(&far.t);
	plat_timer_arm(&k.t, plat_now() + 3 * MS);
	usleep(1000);
	plat_timer_cancel(&k.t);
	usleep(10000);
	plat_event_clear(&k.done);
	k.left = 1;
	plat_timer_arm(&k.t, plat_now() + 3 * MS);
	assert_true(plat_event_wait(&k.done, plat_now() + 10 * NS_PER_SEC));
	plat_loop_destroy(loop);
}

/* Another thread arms and cancels while the loop runs it: after cancel() it must not run. */
struct guarded {
	struct plat_timer t;
	_Atomic bool forbidden, violated;
	_Atomic unsigned runs;
};

static void guarded_run(void *arg)
{
	struct guarded *g = arg;

	if (atomic_load(&g->forbidden))
		atomic_store(&g->violated, true);
	for (int i = 0; i < 200; i++)
		cpu_relax();
	if (atomic_load(&g->forbidden))
		atomic_store(&g->violated, true);
	atomic_fetch_add(&g->runs, 1);
}

static void test_cancel(void **state)
{
	struct guarded g = {0};
	struct plat_loop *loop;

	assert_int_equal(plat_loop_create(&loop), 0);
	plat_timer_init(&g.t, loop, guarded_run, &g);
	for (int i = 0; i < 3000; i++) {
		atomic_store(&g.forbidden, false);
		plat_timer_arm(&g.t, plat_now() + rnd() % 100000);
		for (uint32_t n = rnd() % 4000; n; n--)
			cpu_relax();
		plat_timer_cancel(&g.t);
		atomic_store(&g.forbidden, true);
	}
	assert_false(atomic_load(&g.violated));
	plat_loop_destroy(loop);
	print_message("cancel: %u of 3000 ran\n", atomic_load(&g.runs));
}

/* ---- tasks ------------------------------------------------------------------------------- */

#define POSTERS 3

struct posted {
	struct plat_loop *loop;
	struct plat_task task;
	_Atomic unsigned wanted; /* raised before each post */
	unsigned seen;           /* the loop's: wanted as it was when the task ran last */
};

static void posted_run(void *arg)
{
	struct posted *p = arg;

	p->seen = atomic_load(&p->wanted);
}

static void post_many(void *arg)
{
	struct posted *p = arg;

	for (int i = 0; i < 20000; i++) {
		atomic_fetch_add(&p->wanted, 1);
		plat_loop_post(p->loop, &p->task);
	}
}

static void nothing(void *arg)
{
}

static void test_tasks(void **state)
{
	struct posted p[POSTERS] = {0};
	struct plat_thread *t[POSTERS];
	struct plat_loop *loop;

	assert_int_equal(plat_loop_create(&loop), 0);
	for (int i = 0; i < POSTERS; i++) {
		p[i].loop = loop;
		p[i].task.fn = posted_run;
		p[i].task.arg = &p[i];
		assert_int_equal(plat_thread_create("poster", post_many, &p[i], &t[i]), 0);
	}
	for (int i = 0; i < POSTERS; i++)
		plat_thread_join(t[i]);
	/* what was posted before this call has run when it returns: none may be lost */
	plat_loop_call(loop, nothing, NULL);
	for (int i = 0; i < POSTERS; i++)
		assert_int_equal(p[i].seen, 20000);
	plat_loop_destroy(loop);
}

/* ---- descriptors ------------------------------------------------------------------------- */

struct pipe_end {
	struct plat_fd h;
	int fd[2];
	_Atomic unsigned bytes;
	_Atomic bool removed, violated, hung_up;
	struct plat_fd *also_remove; /* another's handle, on the first event */
};

static void pipe_ready(void *arg, uint32_t events)
{
	struct pipe_end *p = arg;
	char buf[16];
	ssize_t n;

	if (atomic_load(&p->removed))
		atomic_store(&p->violated, true);
	if (p->also_remove)
		plat_fd_remove(p->also_remove);
	n = events & EPOLLIN ? read(p->fd[0], buf, sizeof(buf)) : 0;
	if (n > 0)
		atomic_fetch_add(&p->bytes, (unsigned)n);
	if (n == 0 && events & EPOLLHUP && !atomic_exchange(&p->hung_up, true))
		plat_fd_modify(&p->h, 0); /* reports it once more, then no longer */
}

static void pipe_open(struct pipe_end *p, struct plat_loop *loop)
{
	memset(p, 0, sizeof(*p));
	assert_int_equal(pipe(p->fd), 0);
	assert_int_equal(plat_fd_add(&p->h, loop, p->fd[0], EPOLLIN, pipe_ready, p), 0);
}

static bool wait_bytes(struct pipe_end *p, unsigned n)
{
	uint64_t end = plat_now() + 10 * NS_PER_SEC;

	while (atomic_load(&p->bytes) < n && plat_now() < end)
		usleep(100);
	return atomic_load(&p->bytes) == n;
}

static void test_fds(void **state)
{
	struct plat_loop_stats before, after;
	struct pipe_end a, b, c;
	struct plat_loop *loop;
	struct plat_fd h;
	int file;

	assert_int_equal(plat_loop_create(&loop), 0);
	pipe_open(&a, loop);
	assert_int_equal(write(a.fd[1], "hello", 5), 5);
	assert_true(wait_bytes(&a, 5));

	/* not wanted now, then again */
	plat_fd_modify(&a.h, 0);
	assert_int_equal(write(a.fd[1], "x", 1), 1);
	usleep(5000);
	assert_int_equal(atomic_load(&a.bytes), 5);
	plat_fd_modify(&a.h, EPOLLIN);
	assert_true(wait_bytes(&a, 6));

	/* a hang-up with no interest does not spin */
	close(a.fd[1]);
	for (int i = 0; i < 10000 && !atomic_load(&a.hung_up); i++)
		usleep(100);
	assert_true(atomic_load(&a.hung_up));
	usleep(2000);
	plat_loop_stats(loop, &before);
	usleep(10000);
	plat_loop_stats(loop, &after);
	assert_true(after.sleeps - before.sleeps < 5);
	plat_fd_remove(&a.h);
	plat_fd_remove(&a.h);
	close(a.fd[0]);

	/* one handler removes the other that is ready, too: exactly one of them runs */
	pipe_open(&b, loop);
	pipe_open(&c, loop);
	b.also_remove = &c.h;
	c.also_remove = &b.h;
	assert_int_equal(write(b.fd[1], "x", 1), 1);
	assert_int_equal(write(c.fd[1], "x", 1), 1);
	usleep(10000);
	assert_int_equal(atomic_load(&b.bytes) + atomic_load(&c.bytes), 1);
	plat_fd_remove(&b.h);
	plat_fd_remove(&c.h);
	for (int i = 0; i < 2; i++) {
		close(b.fd[i]);
		close(c.fd[i]);
	}

	file = open("/proc/self/exe", O_RDONLY);
	memset(&h, 0, sizeof(h));
	assert_int_equal(plat_fd_add(&h, loop, file, EPOLLIN, pipe_ready, NULL), ERR_NOSYS);
	close(file);
	plat_loop_destroy(loop);
}

/* Handles come and go from another thread while data streams: no callback after removal. */
static void test_fd_remove_race(void **state)
{
	struct plat_loop *loop;

	assert_int_equal(plat_loop_create(&loop), 0);
	for (int i = 0; i < 1000; i++) {
		struct pipe_end *p = malloc(sizeof(*p));

		pipe_open(p, loop);
		assert_int_equal(write(p->fd[1], "0123456789abcdefghijklmnopqrstuvwxyz", 36), 36);
		for (uint32_t n = rnd() % 3000; n; n--)
			cpu_relax();
		plat_fd_remove(&p->h);
		atomic_store(&p->removed, true);
		assert_false(atomic_load(&p->violated));
		close(p->fd[0]);
		close(p->fd[1]);
		free(p); /* a late callback is a use after free, for ASan */
	}
	plat_loop_destroy(loop);
}

/* ---- the rest ---------------------------------------------------------------------------- */

static void test_clocks(void **state)
{
	uint64_t hz = plat_tsc_hz(), last = plat_now(), a, b, t0, t1;
	double ppm;

	assert_true(plat_realtime() > UINT64_C(1600000000) * NS_PER_SEC);
	for (int i = 0; i < 10000; i++) {
		uint64_t now = plat_now();

		assert_true(now >= last);
		last = now;
	}
	assert_int_equal(plat_tsc_hz(), hz);
	t0 = plat_now();
	a = __builtin_ia32_rdtsc();
	usleep(200000);
	t1 = plat_now();
	b = __builtin_ia32_rdtsc();
	ppm = ((double)(b - a) / (double)hz * 1e9 / (double)(t1 - t0) - 1) * 1e6;
	print_message("TSC %lu Hz, differs from the monotonic clock by %.1f ppm\n", hz, ppm);
	assert_true(ppm < 600 && ppm > -600); /* NTP may slew by 500 */
}

static void test_random(void **state)
{
	uint8_t a[300], b[300];
	unsigned bits = 0;

	plat_random(a, sizeof(a));
	plat_random(b, sizeof(b));
	for (size_t i = 0; i < sizeof(a); i++)
		bits += (unsigned)__builtin_popcount(a[i] ^ b[i]);
	assert_true(bits > 900 && bits < 1500); /* 1200 ± 12 sigma */
}

static void test_cpuid(void **state)
{
	struct plat_cpuid c;

	plat_cpuid(0, 0, &c);
	assert_true(c.eax >= 1);
	plat_cpuid(1, 0, &c);
	assert_true(c.edx & BIT(26)); /* SSE2: it is x86-64 */
}

struct hooked {
	char line[200];
	enum log_level level;
};

static void hook(void *arg, enum log_level level, const char *line)
{
	struct hooked *h = arg;

	str_copy(h->line, sizeof(h->line), line);
	h->level = level;
}

static void test_log(void **state)
{
	struct hooked h = {0};

	plat_log_set_hook(hook, &h);
	plat_log_set_level(LOG_INFO);
	plat_log(LOG_WARN, "disk %d: %s", 3, "full");
	assert_string_equal(h.line, "disk 3: full");
	assert_int_equal(h.level, LOG_WARN);
	plat_log(LOG_DEBUG, "not shown");
	assert_string_equal(h.line, "disk 3: full");
	plat_log_set_level(LOG_DEBUG);
	assert_int_equal(err_here(ERR_NOSPC), ERR_NOSPC);
	assert_non_null(strstr(h.line, "test_plat.c"));
	plat_log_set_level(LOG_INFO);
	plat_log_set_hook(NULL, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory), cmocka_unit_test(test_large_ram),
		cmocka_unit_test(test_code),   cmocka_unit_test(test_mutex),
		cmocka_unit_test(test_ranks),  cmocka_unit_test(test_event),
		cmocka_unit_test(test_timers), cmocka_unit_test(test_ticker),
		cmocka_unit_test(test_cancel), cmocka_unit_test(test_tasks),
		cmocka_unit_test(test_fds),    cmocka_unit_test(test_fd_remove_race),
		cmocka_unit_test(test_clocks), cmocka_unit_test(test_random),
		cmocka_unit_test(test_cpuid),  cmocka_unit_test(test_log),
	};

	print_message("seed %d\n", SEED);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
