/* SPDX-License-Identifier: ISC */
/* lock.c: mutexes on futexes, and the check of lock ranks. Compiled with general registers only: a
 * lock may be taken while the guest's SIMD registers are live. Any thread.
 *
 * The word: 0 free, 1 held, 2 held and somebody sleeps or is about to. */
#include "plat/plat.h"
#include "plat/linux/futex.h"

/* A sleep and a wake-up cost 60 µs and more between cores, most critical sections are far below
 * one: so try for some 3 µs before sleeping. */
#define SPINS 100

#ifdef PLAT_LOCK_CHECK

#define HELD_MAX 16

struct held {
	unsigned n;
	struct plat_mutex *m[HELD_MAX];
};

static _Thread_local struct held held;

static void check_lock(struct plat_mutex *m)
{
	struct held *h = &held;

	for (unsigned i = 0; i < h->n; i++) {
		if (likely(h->m[i]->rank < m->rank))
			continue;
		plat_log(LOG_ERROR, "lock of rank %u wanted while one of rank %u is held (%s)",
			 m->rank, h->m[i]->rank, h->m[i] == m ? "the same" : "another");
		plat_bug(__FILE__, __LINE__, "lock order");
	}
	BUG_ON(h->n == HELD_MAX);
	h->m[h->n++] = m;
}

static void check_unlock(struct plat_mutex *m)
{
	struct held *h = &held;

	/* mostly the last one */
	for (unsigned i = h->n; i--;) {
		if (h->m[i] != m)
			continue;
		h->n--;
		for (; i < h->n; i++)
			h->m[i] = h->m[i + 1];
		return;
	}
	plat_bug(__FILE__, __LINE__, "unlock of a mutex that this thread does not hold");
}

#else

static inline void check_lock(struct plat_mutex *m)
{
	(void)m;
}

static inline void check_unlock(struct plat_mutex *m)
{
	(void)m;
}

#endif

void plat_mutex_init(struct plat_mutex *m, enum lock_rank rank)
{
	atomic_store_explicit(&m->word, 0, memory_order_relaxed);
	m->rank = rank;
}

static attr_noinline void lock_slow(struct plat_mutex *m)
{
	uint32_t seen;

	for (int i = 0; i < SPINS; i++) {
		seen = atomic_load_explicit(&m->word, memory_order_relaxed);
		if (seen == 0 &&
		    atomic_compare_exchange_weak_explicit(&m->word, &seen, 1, memory_order_acquire,
							  memory_order_relaxed))
			return;
		if (seen == 2)
			break; /* others sleep already: it takes long */
		cpu_relax();
	}
	while (atomic_exchange_explicit(&m->word, 2, memory_order_acquire) != 0)
		futex_wait(&m->word, 2, NULL);
}

void plat_mutex_lock(struct plat_mutex *m)
{
	uint32_t seen = 0;

	check_lock(m);
	if (unlikely(!atomic_compare_exchange_strong_explicit(
		    &m->word, &seen, 1, memory_order_acquire, memory_order_relaxed)))
		lock_slow(m);
}

void plat_mutex_unlock(struct plat_mutex *m)
{
	check_unlock(m);
	if (unlikely(atomic_exchange_explicit(&m->word, 0, memory_order_release) == 2))
		futex_wake(&m->word, 1);
}
