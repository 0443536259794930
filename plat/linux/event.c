/* SPDX-License-Identifier: ISC */
/* event.c: binary events on futexes. General registers only, like lock.c. Any thread.
 *
 * The word: 0 clear, 1 set, 2 clear and somebody sleeps or is about to. */
#include "plat/plat.h"
#include "plat/linux/futex.h"

void plat_event_set(struct plat_event *ev)
{
	if (atomic_exchange_explicit(&ev->word, 1, memory_order_seq_cst) == 2)
		futex_wake(&ev->word, INT32_MAX);
}

void plat_event_clear(struct plat_event *ev)
{
	uint32_t seen = 1;

	/* 2 stays: it says that it is clear, too */
	atomic_compare_exchange_strong_explicit(&ev->word, &seen, 0, memory_order_seq_cst,
						memory_order_relaxed);
}

bool plat_event_wait(struct plat_event *ev, uint64_t deadline)
{
	struct futex_time until = {
		.sec = (int64_t)(deadline / NS_PER_SEC),
		.nsec = (int64_t)(deadline % NS_PER_SEC),
	};

	for (;;) {
		uint32_t seen = atomic_load_explicit(&ev->word, memory_order_acquire);

		if (seen == 1)
			return true;
		if (deadline != PLAT_FOREVER && plat_now() >= deadline)
			return false;
		if (seen == 0 && !atomic_compare_exchange_strong(&ev->word, &seen, 2))
			continue;
		futex_wait(&ev->word, 2, deadline == PLAT_FOREVER ? NULL : &until);
	}
}
