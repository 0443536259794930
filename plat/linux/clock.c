/* SPDX-License-Identifier: ISC */
/* clock.c: clocks, the frequency of the time-stamp counter, CPUID and random numbers. Any thread. */
#include <cpuid.h>
#include <errno.h>
#include <linux/perf_event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "plat/plat.h"

static uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

uint64_t plat_now(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

uint64_t plat_realtime(void)
{
	return clock_ns(CLOCK_REALTIME);
}

/* ---- frequency of the TSC ---------------------------------------------------------------- */

/* CPUID leaf 15H (SDM volume 2A): crystal clock and ratio; most AMD processors have none. */
static uint64_t tsc_hz_cpuid(void)
{
	unsigned a, b, c, d;

	if (!__get_cpuid_count(0x15, 0, &a, &b, &c, &d) || !a || !b || !c)
		return 0;
	return (uint64_t)c * b / a;
}

/* The kernel's own calibration, as it tells it to readers of perf counters: ns = tsc * mult >>
 * shift. A dummy counter of a processor needs a privilege; one of our own thread does not unless perf is forbidden at
 * all, but the first of these in the system has its opener wait until all processors have passed through the
 * scheduler: 20 ms and more. Both say the same. -1: such a counter is not to be had; 0: it does not say. */
static int64_t tsc_hz_perf(pid_t pid, int cpu)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_SW_DUMMY,
		.exclude_kernel = 1,
		.exclude_hv = 1,
	};
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	long fd = syscall(SYS_perf_event_open, &attr, pid, cpu, -1, PERF_FLAG_FD_CLOEXEC);
	const struct perf_event_mmap_page *pc;
	int64_t hz = 0;

	if (fd < 0)
		return -1;
	pc = mmap(NULL, page, PROT_READ, MAP_SHARED, (int)fd, 0);
	if (pc != MAP_FAILED) {
		if (pc->cap_user_time && pc->time_mult && pc->time_shift < 64)
			hz = (int64_t)(((unsigned __int128)NS_PER_SEC << pc->time_shift) /
				       pc->time_mult);
		munmap((void *)(uintptr_t)pc, page);
	}
	close((int)fd);
	return hz;
}

/* One reading of both clocks; the best of some, the one with the fewest ticks in between. */
static void read_pair(uint64_t *tsc, uint64_t *ns)
{
	uint64_t best = UINT64_MAX;

	*tsc = *ns = 0;
	for (int i = 0; i < 20; i++) {
		uint64_t a = __rdtsc(), t = clock_ns(CLOCK_MONOTONIC_RAW), b = __rdtsc();

		if (b - a >= best)
			continue;
		best = b - a;
		*tsc = a + (b - a) / 2;
		*ns = t;
	}
}

/* 4 ms with readings to some 20 ns: about 5 ppm. Starting a VM waits for it. */
static uint64_t tsc_hz_measured(void)
{
	uint64_t t0 = 0, n0 = 0, t1 = 0, n1 = 0;

	read_pair(&t0, &n0);
	do {
		read_pair(&t1, &n1);
	} while (n1 - n0 < 4 * 1000 * 1000);
	return (uint64_t)((unsigned __int128)(t1 - t0) * NS_PER_SEC / (n1 - n0));
}

uint64_t plat_tsc_hz(void)
{
	static _Atomic uint64_t cached;
	uint64_t hz = atomic_load_explicit(&cached, memory_order_relaxed), none = 0;
	int64_t told;

	if (hz)
		return hz;
	told = tsc_hz_perf(-1, 0);
	hz = told > 0 ? (uint64_t)told : tsc_hz_cpuid();
	if (!hz && told < 0)
		told = tsc_hz_perf(0, -1);
	if (!hz)
		hz = told > 0 ? (uint64_t)told : tsc_hz_measured();
	/* constant for the process: the first one stays */
	if (!atomic_compare_exchange_strong(&cached, &none, hz))
		hz = none;
	return hz;
}

/* ---- CPU --------------------------------------------------------------------------------- */

void plat_cpuid(uint32_t leaf, uint32_t sub, struct plat_cpuid *out)
{
	__cpuid_count(leaf, sub, out->eax, out->ebx, out->ecx, out->edx);
}

void plat_random(void *buf, size_t len)
{
	uint8_t *p = buf;

	while (len) {
		ssize_t n = getrandom(p, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		BUG_ON(n <= 0); /* no kernel that we support lacks it */
		p += n;
		len -= (size_t)n;
	}
}
