/* SPDX-License-Identifier: ISC */
/* thread_time.h: how long another thread has run, for those who watch that it comes to its end. */
#ifndef TESTS_THREAD_TIME_H
#define TESTS_THREAD_TIME_H

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

/* Nanoseconds, without its waits for a processor */
static inline uint64_t thread_ns(pthread_t t)
{
	struct timespec ts;
	clockid_t clock;

	if (pthread_getcpuclockid(t, &clock) || clock_gettime(clock, &ts))
		abort();
	return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

#endif
