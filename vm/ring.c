/* SPDX-License-Identifier: ISC */
/* ring.c: how long a processor has run in user mode and elsewhere.
 *
 * To look at the clock takes up to 11 ns (RDTSC in a VM on a Xeon), twice a system call, which may take 200. So where a row of intervals
 * was short, and these are many, most are not timed: they get their part of what they took together by what those took that were.
 * How many are left out changes, lest a program keeps step with it. What ends a row (a switch of tasks, a wait) looks at the clock in
 * any case, and so does an interrupt. */
#include "vm/ring.h"

/* Ticks of an interval, 1 to 2 us, below which it is a short one; so many in a row */
#define SHORT 4096u
#define ROW   12u
#define TIMED 3u  /* of them anew after each stretch */
#define FEW   4u  /* pairs of a stretch; up to 7 more */
#define MANY  16u /* of as many the mean is */
/* Long ones from before these are forgotten by and by. */
#define LASTED_MAX (UINT64_C(1) << 26)

/* The part of ticks that a has beside b */
static uint64_t part_of(uint64_t ticks, uint64_t a, uint64_t b)
{
	return ticks * ((a << 16) / MAX(a + b, UINT64_C(1))) >> 16;
}

/* Several intervals, the last of which ends: what is more than short ones take is of long ones, and these are of the kind that
 * long ones were. */
static uint64_t kernel_part(const struct ring_clock *r, uint64_t ticks)
{
	unsigned n = r->passed + 1u, last = (n + 1) / 2, other = n / 2;
	uint64_t kernel = (uint64_t)(r->user ? other : last) * r->mean[0] / MANY;
	uint64_t user = (uint64_t)(r->user ? last : other) * r->mean[1] / MANY;
	uint64_t usual = ticks > n * SHORT ? MIN(kernel + user, ticks) : ticks;

	return part_of(usual, kernel, user) +
	       part_of(ticks - usual, r->lasted[0], r->lasted[1] + 1);
}

void ring_close(struct ring_clock *r, uint64_t now)
{
	uint64_t ticks = now - r->since, kernel;

	if (r->passed) {
		kernel = kernel_part(r, ticks);
		r->ticks[0] += kernel;
		r->ticks[1] += ticks - kernel;
	} else {
		r->ticks[r->user] += ticks;
	}
	r->passed = r->untimed = 0;
	r->since = now;
}

static void learn(struct ring_clock *r, uint64_t ticks)
{
	uint32_t *mean = &r->mean[r->user];

	if (ticks <= SHORT) {
		*mean += (uint32_t)ticks - *mean / MANY;
		return;
	}
	if (r->lasted[0] + r->lasted[1] > LASTED_MAX) {
		r->lasted[0] /= 2;
		r->lasted[1] /= 2;
	}
	r->lasted[r->user] += MIN(ticks, LASTED_MAX);
}

void ring_change(struct ring_clock *r, bool user, uint64_t now)
{
	if (r->since) {
		uint64_t ticks = now - r->since;

		if (!r->passed)
			learn(r, ticks);
		if (ticks > SHORT * (r->passed + 1u))
			r->quick = 0;
		else if (r->quick < ROW)
			r->quick++;
		ring_close(r, now);
	}
	r->since = now;
	r->user = user;
	if (r->quick < ROW || user)
		return;
	r->quick = ROW - TIMED;
	r->untimed = (uint16_t)(2 * (FEW + (now >> 4) % 8));
}
