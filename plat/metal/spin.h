/* SPDX-License-Identifier: ISC */
/* spin.h: locks that also keep this CPU's interrupts out: for what interrupt handlers touch too. */
#ifndef PLAT_METAL_SPIN_H
#define PLAT_METAL_SPIN_H

#include "base/def.h"

struct spin {
	_Atomic uint32_t held;
};

static inline uint64_t irq_off(void)
{
	uint64_t flags;

	__asm__ volatile("pushfq; pop %0; cli" : "=r"(flags) : : "memory");
	return flags;
}

static inline void irq_restore(uint64_t flags)
{
	if (flags & BIT(9))
		__asm__ volatile("sti" : : : "memory");
}

static inline uint64_t spin_lock(struct spin *s)
{
	uint64_t flags = irq_off();

	while (atomic_exchange_explicit(&s->held, 1, memory_order_acquire))
		while (atomic_load_explicit(&s->held, memory_order_relaxed))
			cpu_relax();
	return flags;
}

static inline void spin_unlock(struct spin *s, uint64_t flags)
{
	atomic_store_explicit(&s->held, 0, memory_order_release);
	irq_restore(flags);
}

#endif
