/* SPDX-License-Identifier: ISC */
/* lapic_timer.c: the local APIC's timer (SDM vol. 3, 11.5.4): one-shot, periodic, TSC deadline.
 *
 * Nothing counts: an armed timer is the host time of its expiry, and counts are computed from it.
 * Expiries come from the VM's event loop while the vCPU runs, and from its own thread where it
 * waits in HLT; whoever is first does the work. All under l->lock. */
#include "dev/irq/lapic_impl.h"

/* Periods below this are kept in virtual time, but the host is not woken more often. */
#define HOST_MIN_NS 20000

static uint64_t guest_tsc(struct lapic *l)
{
	if (l->w.tsc)
		return l->w.tsc(l->vcpu);
	return vm_ticks(l->vcpu->vm) + l->vcpu->state->tsc_offset;
}

/* Divide configuration: bits 0, 1 and 3; 111b divides by one. */
static unsigned divide_shift(const struct lapic *l)
{
	return ((l->divide & 3) + (l->divide >> 1 & 4) + 1) & 7;
}

static uint64_t ticks_ns(const struct lapic *l, uint64_t count)
{
	return (count << divide_shift(l)) * (NS_PER_SEC / LAPIC_BUS_HZ);
}

static uint64_t tsc_to_ns(const struct lapic *l, uint64_t tsc)
{
	unsigned __int128 ns = (unsigned __int128)tsc * l->ns_per_tsc >> 32;

	return ns > INT64_MAX ? INT64_MAX : (uint64_t)ns + 1;
}

static uint32_t mode(const struct lapic *l)
{
	return l->lvt[LVT_TIMER] & LVT_TMODE;
}

static void fired(struct lapic *l, uint64_t now)
{
	uint64_t period = ticks_ns(l, l->init_count);

	if (mode(l) == TMODE_PERIODIC && period)
		l->timer_next += ((now - l->timer_next) / period + 1) * period;
	else
		l->timer_armed = false;
	if (mode(l) == TMODE_TSC)
		l->tsc_deadline = 0;
	lapic_local(l, LVT_TIMER);
}

static void expire_due(struct lapic *l, uint64_t now)
{
	if (!l->timer_armed || now < l->timer_next)
		return;
	if (mode(l) == TMODE_TSC) {
		/* The guest must never see its TSC below the deadline: the clocks of the host may
		 * differ by a little. */
		uint64_t tsc = guest_tsc(l);

		if (tsc < l->tsc_deadline) {
			l->timer_next = now + tsc_to_ns(l, l->tsc_deadline - tsc);
			return;
		}
	}
	fired(l, now);
}

void lapic_timer_update(struct lapic *l)
{
	uint64_t now = plat_now(), wait;

	if (l->lent) {
		atomic_store_explicit(&l->timer_wait, PLAT_FOREVER, memory_order_relaxed);
		return;
	}
	expire_due(l, now);
	wait = l->timer_armed && !(l->lvt[LVT_TIMER] & LVT_MASKED) ? l->timer_next : PLAT_FOREVER;
	if (wait != PLAT_FOREVER && mode(l) == TMODE_PERIODIC)
		wait = MAX(wait, now + HOST_MIN_NS);
	atomic_store_explicit(&l->timer_wait, wait, memory_order_relaxed);
	/* A host timer that is not needed any more is left alone: cheaper, and it does no harm. */
	if (wait != PLAT_FOREVER)
		plat_timer_arm(&l->timer, wait);
}

void lapic_timer_start(struct lapic *l, uint32_t count)
{
	if (mode(l) == TMODE_TSC)
		return; /* writes are ignored (11.5.4.1) */
	l->init_count = count;
	l->timer_armed = count != 0;
	l->timer_next = plat_now() + ticks_ns(l, count);
	lapic_timer_update(l);
}

uint32_t lapic_timer_count(struct lapic *l)
{
	uint64_t left, now;

	if (mode(l) == TMODE_TSC)
		return 0;
	lapic_timer_update(l);
	now = plat_now();
	if (!l->timer_armed || l->timer_next <= now)
		return 0;
	left = (l->timer_next - now) / (NS_PER_SEC / LAPIC_BUS_HZ);
	return (uint32_t)((left + BIT64(divide_shift(l)) - 1) >> divide_shift(l));
}

void lapic_timer_divide(struct lapic *l, uint32_t value)
{
	uint32_t left = lapic_timer_count(l);

	/* The count goes on from where it is, at its new pace. */
	l->divide = value & 0xb;
	if (left)
		l->timer_next = plat_now() + ticks_ns(l, left);
	lapic_timer_update(l);
}

void lapic_timer_lvt(struct lapic *l, uint32_t value)
{
	uint32_t old = l->lvt[LVT_TIMER] & LVT_TMODE;

	/* What has expired by now did so under the old mask and mode. */
	lapic_timer_update(l);
	l->lvt[LVT_TIMER] = value;
	if (old != (value & LVT_TMODE) && (old == TMODE_TSC || (value & LVT_TMODE) == TMODE_TSC)) {
		l->timer_armed = false;
		l->init_count = 0;
		l->tsc_deadline = 0;
	}
	lapic_timer_update(l);
}

void lapic_timer_set(struct lapic *l, uint32_t left)
{
	uint64_t tsc = guest_tsc(l);

	l->timer_armed = mode(l) == TMODE_TSC ? l->tsc_deadline != 0 : left != 0;
	l->timer_next = plat_now();
	if (mode(l) != TMODE_TSC)
		l->timer_next += ticks_ns(l, left);
	else if (tsc < l->tsc_deadline)
		l->timer_next += tsc_to_ns(l, l->tsc_deadline - tsc);
	lapic_timer_update(l);
}

void lapic_timer_deadline(struct lapic *l, uint64_t deadline)
{
	uint64_t tsc;

	if (mode(l) != TMODE_TSC)
		return;
	l->tsc_deadline = deadline;
	l->timer_armed = deadline != 0;
	if (deadline) {
		tsc = guest_tsc(l);
		l->timer_next = plat_now();
		if (tsc < deadline)
			l->timer_next += tsc_to_ns(l, deadline - tsc);
	}
	lapic_timer_update(l);
}

void lapic_timer_expire(void *arg)
{
	struct lapic *l = arg;

	plat_mutex_lock(&l->lock);
	lapic_timer_update(l);
	lapic_unlock(l);
}

void lapic_timer_clear(struct lapic *l)
{
	l->init_count = l->divide = 0;
	l->tsc_deadline = 0;
	l->timer_armed = false;
	lapic_timer_update(l);
}

void lapic_timer_init(struct lapic *l)
{
	struct vm *vm = l->vcpu->vm;
	uint64_t hz = vm->tsc_hz ? vm->tsc_hz : plat_tsc_hz();

	l->ns_per_tsc = (NS_PER_SEC << 32) / hz;
	atomic_store(&l->timer_wait, PLAT_FOREVER);
	plat_timer_init(&l->timer, vm->loop, lapic_timer_expire, l);
}
