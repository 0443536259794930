/* SPDX-License-Identifier: ISC */
/* fake.h: a platform for unit tests, with a clock that the test moves, failures on demand and the
 * same random numbers every time. Link lib_plat_fake instead of lib_plat.
 *
 * Time stands still but for fake_advance() and for waits: a wait for an event that nobody can set
 * moves the clock to the next timer or to its own deadline. Threads are real, but only one runs at
 * a time and they change only where one waits, yields, joins or ends, so every run is the same. */
#ifndef PLAT_FAKE_FAKE_H
#define PLAT_FAKE_FAKE_H

#include <setjmp.h>

#include "plat/plat.h"

/* ---- clock and loop ---------------------------------------------------------------------- */

#define FAKE_TSC_HZ UINT64_C(2000000000) /* of plat_tsc_hz(): the TSC is the host's */

unsigned fake_tsc_asked(void); /* how often since fake_reset() */
/* Moves the clock; timers that fall due run in order, each at its own time, tasks in between. */
void fake_advance(uint64_t ns);
/* Runs posted tasks and due timers until there are none; the clock stands. */
void fake_loop_run(void);
/* Deadline of the earliest armed timer; PLAT_FOREVER: none. */
uint64_t fake_next_timer(void);
/* Sets plat_realtime(), which then moves with the clock. At first 2024-01-01 00:00 UTC. */
void fake_set_realtime(uint64_t ns);

/* ---- failures ---------------------------------------------------------------------------- */

/* The n-th allocation from now (1: the next) fails, those after it work again; 0: none fails. All
 * plat_*alloc(), plat_thread_create() and plat_loop_create() count. */
void fake_fail_alloc(unsigned n);
/* Allocations since fake_fail_alloc() or the start. */
unsigned fake_alloc_count(void);
/* Blocks of plat_alloc(), pages, RAM and code regions not yet freed. */
unsigned fake_alloc_live(void);

/* ---- everything else --------------------------------------------------------------------- */

void fake_seed(uint64_t seed); /* of plat_random() */
/* Mutexes that are held now; 0 is expected whenever the code under test has returned. */
unsigned fake_locks_held(void);
/* Messages are not shown (unless FAKE_LOG is in the environment); the last one and their number. */
const char *fake_log_last(void);
unsigned fake_log_count(enum log_level level);
/* Where a BUG_ON goes, wrong use of locks too: longjmp(*env, 1) once; NULL: abort(). */
void fake_catch_bug(jmp_buf *env);
/* What the host's CPUID says for a leaf; otherwise all zeros. */
void fake_set_cpuid(uint32_t leaf, uint32_t sub, const struct plat_cpuid *value);
/* Everything back to the start, clocks too. Loops, timers and threads of before must be gone. */
void fake_reset(void);

#endif
