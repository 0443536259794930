/* SPDX-License-Identifier: ISC */
/* recorder.c: a ring of the last monitor events. Entered by vCPU threads while guest FP state is
 * live, therefore compiled with general registers only; two threads that meet in one slot may mix
 * their events, which a crash report can bear. */
#include "ctl/recorder.h"

static const char *const class_names[MON_CLASSES] = {
	[MON_LIFECYCLE] = "lifecycle",
	[MON_CPU] = "cpu",
	[MON_PORT] = "port",
	[MON_MMIO] = "mmio",
	[MON_MSR] = "msr",
	[MON_CPUID] = "cpuid",
	[MON_IRQ] = "irq",
	[MON_DISK] = "disk",
	[MON_NET] = "net",
	[MON_CONSOLE] = "console",
	[MON_TIME] = "time",
	[MON_ENTROPY] = "entropy",
	[MON_OPERATOR] = "operator",
};

const char *mon_class_name(uint8_t cls)
{
	return cls < MON_CLASSES ? class_names[cls] : "?";
}

static void recorder_tell(struct monitor *mon, const struct mon_event *ev)
{
	struct recorder *r = mon->priv;
	uint32_t n = atomic_fetch_add_explicit(&r->next, 1, memory_order_relaxed);

	r->event[n % RECORDER_SIZE] = *ev;
}

void recorder_attach(struct recorder *r, struct monitor *mon)
{
	mon->priv = r;
	mon->tell = recorder_tell;
	atomic_store(&mon->tell_mask, BIT(MON_CPU) | BIT(MON_PORT) | BIT(MON_MMIO) | BIT(MON_MSR) |
					      BIT(MON_IRQ) | BIT(MON_DISK));
}

unsigned recorder_last(const struct recorder *r, struct mon_event *out, unsigned max)
{
	uint32_t next = atomic_load(&r->next);
	uint32_t n = MIN(MIN(next, RECORDER_SIZE), max);

	for (uint32_t i = 0; i < n; i++)
		out[i] = r->event[(next - n + i) % RECORDER_SIZE];
	return n;
}
