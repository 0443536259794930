/* SPDX-License-Identifier: ISC */
/* watch.h: guests that may never come to an end are stopped, after so much of the time that their thread has run. Another
 * thread does it, and sees the engine itself hang: the one that runs translated code takes no signals. */
#ifndef TESTS_WATCH_H
#define TESTS_WATCH_H

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "vm/vm.h"

#define WATCH_US_MAX 20000u /* from look to look */

static struct {
	pthread_t runner;
	struct vcpu *_Atomic running;
	_Atomic uint64_t since;
	uint64_t budget, hang; /* ns */
} watched;

static inline uint64_t watch_ns(void)
{
	struct timespec ts;
	clockid_t clock;

	if (pthread_getcpuclockid(watched.runner, &clock) || clock_gettime(clock, &ts))
		abort();
	return (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

static inline void *watch_loop(void *arg)
{
	for (;;) {
		struct vcpu *vcpu;
		uint64_t used;

		usleep((unsigned)MIN(watched.budget / 2000, (uint64_t)WATCH_US_MAX));
		vcpu = atomic_load(&watched.running);
		used = watch_ns() - atomic_load(&watched.since);
		if (!vcpu || (int64_t)used < 0)
			continue;
		if (used > watched.budget)
			vcpu_request(vcpu, REQ_STOP);
		if (used > watched.hang) {
			fprintf(stderr, "it hangs: RIP %llx\n",
				(unsigned long long)vcpu->state->rip);
			abort();
		}
	}
	return arg;
}

/* What the calling thread runs is stopped by REQ_STOP after budget, and is an error after hang (nanoseconds). */
static inline void watch_start(uint64_t budget, uint64_t hang)
{
	pthread_t watcher;

	watched.runner = pthread_self();
	watched.budget = budget;
	watched.hang = hang;
	if (pthread_create(&watcher, NULL, watch_loop, NULL))
		abort();
}

/* vcpu begins to run; NULL: it has ended. */
static inline void watch_run(struct vcpu *vcpu)
{
	atomic_store(&watched.since, watch_ns());
	atomic_store(&watched.running, vcpu);
}

#endif
