/* SPDX-License-Identifier: ISC */
/* events.c: what programs ask of a kernel, each timed for a while: system calls, faults, processes,
 * switches, signals, timer interrupts. Like compute.c, the same static binary runs on the host and in
 * guests, on one processor. */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "measure.h"

#define PAGE 4096u

static _Noreturn void die(const char *what)
{
	printf("BENCH-FAILED events: %s: %s\n", what, strerror(errno));
	fflush(stdout);
	exit(1);
}

static uint8_t *map(size_t len, int flags)
{
	uint8_t *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | flags, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

static void touch(volatile uint8_t *p, unsigned pages)
{
	for (unsigned i = 0; i < pages; i++)
		p[i * PAGE]++;
}

/* ---- system calls, pages ------------------------------------------------------------------ */

static uint64_t get_pid(uint64_t n)
{
	uint64_t same = 0;

	for (pid_t pid = getpid(); n--;)
		same += syscall(SYS_getpid) == pid;
	return same;
}

static uint64_t read_byte(uint64_t n)
{
	static int fd = -1;
	uint64_t got = 0;
	char c;

	if (fd < 0 && (fd = open("/dev/zero", O_RDONLY)) < 0)
		die("/dev/zero");
	while (n--)
		got += (uint64_t)read(fd, &c, 1);
	return got;
}

/* First touch of pages of fresh memory, 64 at a time; counts by the kernel's own count. */
static uint64_t page_fault(uint64_t n)
{
	struct rusage before, after;

	getrusage(RUSAGE_SELF, &before);
	for (uint64_t left = n; left;) {
		unsigned pages = left < 64 ? (unsigned)left : 64;
		uint8_t *p = map(64 * PAGE, MAP_PRIVATE);

		if (madvise(p, 64 * PAGE, MADV_NOHUGEPAGE) && errno != EINVAL)
			die("madvise");
		touch(p, pages);
		munmap(p, 64 * PAGE);
		left -= pages;
	}
	getrusage(RUSAGE_SELF, &after);
	return (uint64_t)(after.ru_minflt - before.ru_minflt) >= n;
}

static uint64_t map_unmap(uint64_t n)
{
	uint64_t done = 0;

	while (n--)
		done += !munmap(map(PAGE, MAP_PRIVATE), PAGE);
	return done;
}

/* A page in use becomes read-only and writable again: INVLPG of one page */
static uint64_t protect(uint64_t n)
{
	uint8_t *p = map(PAGE, MAP_PRIVATE);
	uint64_t sum = 0;

	while (n--) {
		(*(volatile uint8_t *)p)++;
		if (mprotect(p, PAGE, PROT_READ) || mprotect(p, PAGE, PROT_READ | PROT_WRITE))
			die("mprotect");
		sum += *(volatile uint8_t *)p;
	}
	munmap(p, PAGE);
	return sum;
}

/* ---- processes ---------------------------------------------------------------------------- */

static pid_t child_of(void)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	return pid;
}

/* 1 if the child ended with the status */
static uint64_t reap(pid_t pid, int status)
{
	int how;

	return waitpid(pid, &how, 0) == pid && WIFEXITED(how) && WEXITSTATUS(how) == status;
}

static uint64_t fork_wait(uint64_t n)
{
	uint64_t ended = 0;

	while (n--) {
		pid_t pid = child_of();

		if (!pid)
			_exit(7);
		ended += reap(pid, 7);
	}
	return ended;
}

static uint64_t fork_exec(uint64_t n)
{
	static char *const args[] = {"events", "--exit", NULL};
	uint64_t ended = 0;

	while (n--) {
		pid_t pid = child_of();

		if (!pid) {
			execv("/proc/self/exe", args);
			_exit(1);
		}
		ended += reap(pid, 7);
	}
	return ended;
}

/* A byte there and back through two pipes: two writes, two reads, two switches */
static uint64_t pipe_pong(uint64_t n)
{
	uint64_t start = 0;
	uint8_t byte = 0;
	int to[2], from[2];
	pid_t pid;

	if (pipe(to) || pipe(from))
		die("pipe");
	pid = child_of();
	if (!pid) {
		close(to[1]);
		while (read(to[0], &byte, 1) == 1) {
			byte++;
			if (write(from[1], &byte, 1) != 1)
				break;
		}
		_exit(7);
	}
	close(to[0]);
	close(from[1]);
	for (uint64_t i = 0; i <= n; i++) {
		if (i == 1)
			start = now();
		if (write(to[1], &byte, 1) != 1 || read(from[0], &byte, 1) != 1)
			die("pipe");
	}
	counted = now() - start;
	close(to[1]);
	close(from[0]);
	return byte + 256u * reap(pid, 7);
}

/* ---- switches: two take turns, n each and one before that does not count --------------------- */

struct turns {
	_Atomic uint32_t whose;
	uint32_t rounds[2];
	uint64_t n;
	unsigned pages; /* each touches at its turn */
};

static void take_turns(struct turns *t, uint32_t me)
{
	uint8_t *own = t->pages ? map(t->pages * PAGE, MAP_PRIVATE) : NULL;
	uint64_t start = 0;

	for (uint64_t i = 0; i <= t->n; i++) {
		while (atomic_load(&t->whose) != me)
			syscall(SYS_futex, &t->whose, FUTEX_WAIT, 1 - me, NULL, NULL, 0);
		if (i == 1)
			start = now();
		touch(own, t->pages);
		t->rounds[me]++;
		atomic_store(&t->whose, 1 - me);
		syscall(SYS_futex, &t->whose, FUTEX_WAKE, 1, NULL, NULL, 0);
	}
	counted = now() - start;
	if (own)
		munmap(own, t->pages * PAGE);
}

static void *second(void *arg)
{
	take_turns(arg, 1); /* ends last, and sets what counts again */
	return NULL;
}

/* Two threads: no change of CR3 */
static uint64_t switch_threads(uint64_t n)
{
	struct turns t = {.n = n};
	pthread_t thread;

	if (pthread_create(&thread, NULL, second, &t))
		die("pthread_create");
	take_turns(&t, 0);
	pthread_join(thread, NULL);
	return t.rounds[0] + t.rounds[1];
}

/* Two processes: CR3 changes, and each touches its pages after */
static uint64_t switch_touching(uint64_t n, unsigned pages)
{
	struct turns *t = (struct turns *)map(PAGE, MAP_SHARED);
	uint64_t sum;
	pid_t pid;

	t->n = n;
	t->pages = pages;
	pid = child_of();
	if (!pid) {
		take_turns(t, 1);
		_exit(7);
	}
	take_turns(t, 0);
	sum = reap(pid, 7) + t->rounds[0] + t->rounds[1];
	munmap(t, PAGE);
	return sum;
}

static uint64_t switch_processes(uint64_t n)
{
	return switch_touching(n, 0);
}

static uint64_t switch_touch64(uint64_t n)
{
	return switch_touching(n, 64);
}

/* ---- signals, timer ------------------------------------------------------------------------ */

static volatile uint64_t signals;

static void on_signal(int sig)
{
	signals++;
}

static uint64_t signal_self(uint64_t n)
{
	uint64_t before = signals;

	for (pid_t pid = getpid(); n--;)
		kill(pid, SIGUSR1);
	return signals - before;
}

static void every(unsigned us)
{
	struct itimerval t = {{0, us}, {0, us}};

	if (setitimer(ITIMER_REAL, &t, NULL))
		die("setitimer");
}

static uint64_t spin(uint64_t n)
{
	uint64_t start = now();

	while (n--)
		__asm__ volatile("" : : : "memory");
	return now() - start;
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

enum { STRETCHES = 1 << 14 };

/* How long stretches of computing take, with a signal in them (1) and without (0), sorted */
struct stretches {
	uint64_t took[2][STRETCHES];
	unsigned n[2];
};

static void stretch(struct stretches *s, uint64_t loops, uint64_t budget)
{
	s->n[0] = s->n[1] = 0;
	for (uint64_t end = now() + budget; now() < end;) {
		uint64_t before = signals, t = spin(loops), ticks = signals - before;

		if (ticks < 2 && s->n[ticks] < STRETCHES)
			s->took[ticks][s->n[ticks]++] = t;
	}
	for (unsigned i = 0; i < 2; i++)
		qsort(s->took[i], s->n[i], sizeof(s->took[i][0]), by_size);
}

/* A timer interrupt and its signal, in a program that computes: the median time of stretches with one
 * less that of stretches without. A host that is busy otherwise lengthens few of them. Where hardly a
 * stretch is without, the timer is slowed down. */
static double timer_tick(uint64_t budget)
{
	static struct stretches s;
	uint64_t loops = 1000;

	while (spin(loops) < 20000)
		loops *= 2;
	for (unsigned us = 250; us <= 16000; us *= 4) {
		every(us);
		stretch(&s, loops, budget * 2);
		every(0);
		if (s.n[0] >= 8 && s.n[1] >= 8)
			return (double)s.took[1][s.n[1] / 2] - (double)s.took[0][s.n[0] / 2];
	}
	die("no timer signal, or nothing but");
}

static const struct row rows[] = {
	{"getpid", "event", get_pid, 100},
	{"read1", "event", read_byte, 100},
	{"page-fault", "event", page_fault, 1000},
	{"fork-wait", "event", fork_wait, 5},
	{"fork-exec", "event", fork_exec, 5},
	{"pipe", "event", pipe_pong, 100},
	{"switch-threads", "event", switch_threads, 100},
	{"switch-processes", "event", switch_processes, 100},
	{"switch-touch64", "event", switch_touch64, 100},
	{"mmap-munmap", "event", map_unmap, 100},
	{"protect", "event", protect, 100},
	{"signal", "event", signal_self, 100},
	{"timer", "event", .cost = timer_tick},
};

int main(int argc, char **argv)
{
	cpu_set_t set;

	if (argc == 2 && !strcmp(argv[1], "--exit"))
		return 7;
	/* On one processor, as in the guests: the first that is allowed */
	if (sched_getaffinity(0, sizeof(set), &set))
		die("sched_getaffinity");
	for (unsigned i = 0, found = 0; i < CPU_SETSIZE; i++) {
		if (found)
			CPU_CLR(i, &set);
		found |= CPU_ISSET(i, &set) != 0;
	}
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity");
	signal(SIGUSR1, on_signal);
	signal(SIGALRM, on_signal);
	return measure_main(argc, argv, rows, sizeof(rows) / sizeof(rows[0]));
}
