/* SPDX-License-Identifier: ISC */
/* lock.c: plat.h's mutexes and events on the scheduler's wait and wake. Mutex word: 0 free, 1 held, 2
 * held and waited for. */
#include "plat/metal/sched.h"

#define SPINS 100 /* a holder on another CPU is soon done */

void plat_mutex_init(struct plat_mutex *m, enum lock_rank rank)
{
	atomic_store(&m->word, 0);
	m->rank = rank;
}

void plat_mutex_lock(struct plat_mutex *m)
{
	for (unsigned i = 0; i < SPINS; i++) {
		uint32_t free = 0;

		if (atomic_compare_exchange_weak_explicit(&m->word, &free, 1, memory_order_acquire,
							  memory_order_relaxed))
			return;
		cpu_relax();
	}
	while (atomic_exchange_explicit(&m->word, 2, memory_order_acquire))
		sched_wait(&m->word, 2, PLAT_FOREVER);
}

void plat_mutex_unlock(struct plat_mutex *m)
{
	if (atomic_exchange_explicit(&m->word, 0, memory_order_release) == 2)
		sched_wake(&m->word, 1);
}

void plat_event_set(struct plat_event *ev)
{
	if (!atomic_exchange(&ev->word, 1))
		sched_wake(&ev->word, UINT32_MAX);
}

void plat_event_clear(struct plat_event *ev)
{
	atomic_store(&ev->word, 0);
}

bool plat_event_wait(struct plat_event *ev, uint64_t deadline)
{
	while (!atomic_load(&ev->word)) {
		if (deadline != PLAT_FOREVER && plat_now() >= deadline)
			return false;
		sched_wait(&ev->word, 0, deadline);
	}
	return true;
}
