/* SPDX-License-Identifier: ISC */
/* sched.h: threads on bare metal. */
#ifndef PLAT_METAL_SCHED_H
#define PLAT_METAL_SCHED_H

#include "base/def.h"
#include "base/err.h"
#include "plat/metal/pcpu.h"
#include "plat/plat.h"

/* Makes the caller the first thread of its CPU and its CPU known to the scheduler. On the bootstrap
 * processor first; the others become idle threads and return in sched_idle() only. */
int sched_init(struct pcpu *cpu) attr_must_check;
attr_noreturn void sched_idle(void);
/* At the end of an interrupt handler, interrupts off: lets another thread run where one should. */
void sched_interrupt(void);

/* An exception in translated code: true if the running thread has a way on, and f is it. */
bool sched_fault(struct plat_fault *f);

/* Sleeps while *word is expect, until sched_wake() or the deadline; false: the deadline passed. */
bool sched_wait(_Atomic uint32_t *word, uint32_t expect, uint64_t deadline);
void sched_wake(_Atomic uint32_t *word, unsigned n); /* interrupt handlers may, too */

/* Share of the processors relative to others, and which of them (BIT64(cpu); if none of them is there,
 * all); of threads that the caller creates from now on too. */
void sched_set_share(unsigned weight, uint64_t cpus);
const char *sched_name(const struct plat_thread *t);
uint64_t sched_cpu_ns(const struct plat_thread *t);
uint64_t sched_waited_ns(
	const struct plat_thread *t); /* the longest that it wanted to run and did not */
unsigned sched_cpus(void);
uint64_t sched_idle_ns(unsigned cpu);

#endif
