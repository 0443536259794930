/* SPDX-License-Identifier: ISC */
/* recorder.c: a ring of the last monitor events. Entered by vCPU threads while guest FP state is
 * live, therefore compiled with general registers only; two threads that meet in one slot may mix
 * their events, which a crash report can bear. */
#include "ctl/recorder.h"

/* A crash report wants exits to devices, not each processor event. */
#define CLASSES (BIT(MON_PORT) | BIT(MON_MMIO) | BIT(MON_MSR) | BIT(MON_IRQ) | BIT(MON_DISK))

void recorder_add(void *arg, const struct mon_event *ev)
{
	struct recorder *r = arg;
	uint32_t n;

	if (!(BIT(ev->cls) & CLASSES))
		return;
	n = atomic_fetch_add_explicit(&r->next, 1, memory_order_relaxed);
	r->event[n % RECORDER_SIZE] = *ev;
}

unsigned recorder_last(const struct recorder *r, struct mon_event *out, unsigned max)
{
	uint32_t next = atomic_load(&r->next);
	uint32_t n = MIN(MIN(next, RECORDER_SIZE), max);

	for (uint32_t i = 0; i < n; i++)
		out[i] = r->event[(next - n + i) % RECORDER_SIZE];
	return n;
}
