/* SPDX-License-Identifier: ISC */
/* sched.h: inside of the fake platform: who runs, and what time it is. */
#ifndef PLAT_FAKE_SCHED_H
#define PLAT_FAKE_SCHED_H

#include "plat/fake/fake.h"

/* Lets others run; returns when it is the caller's turn again and ready(arg) is true, or at
 * deadline (false). If no thread can run, timers and then the clock move on; with nothing left to
 * wait for, that is a deadlock: a bug. */
bool sched_wait(bool (*ready)(void *arg), void *arg, uint64_t deadline);
void sched_yield_now(void);
unsigned sched_self(void); /* 0: the test's own */
void sched_reset(void);

/* The clock and the timers, for the scheduler. */
bool clock_run_due(void);          /* tasks and due timers; true when any ran */
void clock_move_to(uint64_t when); /* runs nothing */

/* True when this allocation shall fail. Counts. */
bool alloc_fails(void);
void loop_reset(void);
void mutex_reset(void);
void misc_reset(void);

#endif
