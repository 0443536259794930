/* SPDX-License-Identifier: ISC */
/* monitor.h: the choke point. Every access of a guest to what is not its own memory or registers
 * tells the monitor (history) and asks it (policy). With no interest in a class the cost is one
 * test of a bit. */
#ifndef MONITOR_MONITOR_H
#define MONITOR_MONITOR_H

#include "base/def.h"

enum mon_class {
	MON_LIFECYCLE,
	MON_CPU,
	MON_PORT,
	MON_MMIO,
	MON_MSR,
	MON_CPUID,
	MON_IRQ,
	MON_DISK,
	MON_NET,
	MON_CONSOLE,
	MON_TIME,
	MON_ENTROPY,
	MON_OPERATOR,
	MON_CLASSES,
};

enum mon_verdict { MON_PROVIDE, MON_REDIRECT, MON_DENY };

/* One event or request; fields beyond cls are the class's own (documented in monitor/events). */
struct mon_event {
	uint8_t cls; /* enum mon_class */
	uint8_t op;  /* read 0, write 1, others by class */
	uint16_t size;
	int32_t vcpu; /* -1: none */
	uint64_t addr;
	uint64_t value;
};

struct monitor {
	_Atomic uint32_t tell_mask; /* BIT(class): somebody listens */
	_Atomic uint32_t ask_mask;  /* BIT(class): rules exist */
	void (*tell)(struct monitor *mon, const struct mon_event *ev);      /* never blocks */
	enum mon_verdict (*ask)(struct monitor *mon, struct mon_event *ev); /* may alter value */
	void *priv;
};

static inline void mon_tell(struct monitor *mon, const struct mon_event *ev)
{
	uint32_t mask = atomic_load_explicit(&mon->tell_mask, memory_order_relaxed);

	if (unlikely(mask & BIT(ev->cls)))
		mon->tell(mon, ev);
}

static inline enum mon_verdict mon_ask(struct monitor *mon, struct mon_event *ev)
{
	uint32_t mask = atomic_load_explicit(&mon->ask_mask, memory_order_relaxed);

	if (likely(!(mask & BIT(ev->cls))))
		return MON_PROVIDE;
	return mon->ask(mon, ev);
}

#endif
