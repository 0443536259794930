/* SPDX-License-Identifier: ISC */
/* lapic.c: the local APIC's acceptance of interrupts and their priorities (SDM vol. 3, 11.5, 11.8).
 *
 * Any thread delivers; the vCPU's own thread takes interrupts and accesses registers. All state is
 * under l->lock, which is held for a few instructions; what is deliverable is kept in l->pend, so
 * that the engine's question costs one load. */
#include "dev/irq/lapic_impl.h"

#include "vm/stream.h"

/* Highest set bit of a 256-bit map, -1 when empty. */
int lapic_highest(const uint64_t map[4])
{
	for (int i = 3; i >= 0; i--)
		if (map[i])
			return i * 64 + 63 - __builtin_clzll(map[i]);
	return -1;
}

static int highest_irr(struct lapic *l)
{
	for (int i = 3; i >= 0; i--) {
		uint64_t w = atomic_load_explicit(&l->irr[i], memory_order_relaxed);

		if (w)
			return i * 64 + 63 - __builtin_clzll(w);
	}
	return -1;
}

static void irr_set(struct lapic *l, unsigned v, bool on)
{
	_Atomic uint64_t *w = &l->irr[v / 64];
	uint64_t old = atomic_load_explicit(w, memory_order_relaxed);
	uint64_t bit = BIT64(v % 64);

	/* Written under the lock only: no read-modify-write needed. */
	atomic_store_explicit(w, on ? old | bit : old & ~bit, memory_order_relaxed);
}

static bool extint_waits(struct lapic *l)
{
	if (!lapic_hw_enabled(l))
		return l->lint[0];
	if (l->extint)
		return true;
	return l->lint[0] && !(l->lvt[LVT_LINT0] & LVT_MASKED) &&
	       (l->lvt[LVT_LINT0] >> 8 & 7) == APIC_EXTINT;
}

/* Priorities (11.8.3): an interrupt is delivered when its class is above the processor's. ExtINT
 * passes by them. */
int lapic_deliverable(struct lapic *l)
{
	int isrv = lapic_highest(l->isr), irrv = highest_irr(l);
	uint32_t ppr = l->tpr;

	if (l->lent) /* whether LINT0 lets it through is the engine's to know */
		return l->lint[0] ? PEND_EXTINT : PEND_NONE;
	if (l->given) /* the processor knows what its priority is: it is to come out for all that is new */
		return extint_waits(l) ? PEND_EXTINT : irrv;
	if (isrv >= 0 && ((uint32_t)isrv & 0xf0) > (l->tpr & 0xf0))
		ppr = (uint32_t)isrv & 0xf0;
	atomic_store_explicit(&l->ppr, ppr, memory_order_relaxed);
	if (extint_waits(l))
		return PEND_EXTINT;
	if (irrv >= 0 && ((uint32_t)irrv & 0xf0) > (ppr & 0xf0) && lapic_hw_enabled(l))
		return irrv;
	return PEND_NONE;
}

void lapic_unlock(struct lapic *l)
{
	int old = atomic_load_explicit(&l->pend, memory_order_relaxed);
	int now = lapic_deliverable(l);

	if (now != old)
		atomic_store_explicit(&l->pend, now, memory_order_release);
	plat_mutex_unlock(&l->lock);
	if (now >= 0 && now != old)
		vcpu_request(l->vcpu, REQ_IRQ);
}

static bool accept_fixed(struct lapic *l, uint8_t vector, bool level)
{
	uint64_t bit = BIT64(vector % 64);

	if (!(l->svr & SVR_ENABLE))
		return false;
	if (vector < 16) {
		lapic_error(l, ESR_RECV_VECTOR);
		return true;
	}
	if (level)
		l->tmr[vector / 64] |= bit;
	else
		l->tmr[vector / 64] &= ~bit;
	irr_set(l, vector, true);
	return true;
}

void lapic_error(struct lapic *l, uint32_t bit)
{
	uint32_t lvt = l->lvt[LVT_ERROR];
	uint8_t vector = (uint8_t)lvt;

	if (l->errors & bit)
		return; /* noted already: the interrupt is armed again by a write to ESR */
	l->errors |= bit;
	if (lvt & LVT_MASKED)
		return;
	if (vector < 16)
		l->errors |= ESR_RECV_VECTOR;
	else
		accept_fixed(l, vector, false);
}

void lapic_local(struct lapic *l, enum lapic_lvt which)
{
	uint32_t lvt = l->lvt[which];
	bool lint = which == LVT_LINT0 || which == LVT_LINT1;
	/* Only LINT0 can be level-triggered, and only with fixed delivery (11.5.1). */
	bool level = which == LVT_LINT0 && (lvt & LVT_LEVEL);

	if (lvt & LVT_MASKED)
		return;
	switch (which == LVT_TIMER || which == LVT_ERROR ? APIC_FIXED : lvt >> 8 & 7) {
	case APIC_FIXED:
		if (level && (lvt & LVT_RIRR))
			return;
		if (accept_fixed(l, (uint8_t)lvt, level) && level)
			l->lvt[which] |= LVT_RIRR;
		break;
	case APIC_NMI:
		vcpu_request(l->vcpu, REQ_NMI);
		break;
	case APIC_INIT:
		if (lint)
			vcpu_request(l->vcpu, REQ_INIT);
		break;
	case APIC_SMI:
		vcpu_smi(l->vcpu);
		break;
	default: /* ExtINT: see extint_waits() */
		break;
	}
}

void lapic_lint_again(struct lapic *l, unsigned n)
{
	if (n == 0 && l->lint[0] && (l->lvt[LVT_LINT0] & LVT_LEVEL))
		lapic_local(l, LVT_LINT0);
}

void lapic_lint(struct lapic *l, unsigned n, bool level)
{
	bool rising;

	plat_mutex_lock(&l->lock);
	rising = level && !l->lint[n];
	l->lint[n] = level;
	if (rising && l->lent && n == 1)
		vcpu_request(l->vcpu, REQ_NMI);
	else if (rising && !l->lent && lapic_hw_enabled(l))
		lapic_local(l, n ? LVT_LINT1 : LVT_LINT0);
	else if (rising && !l->lent && n == 1)
		vcpu_request(l->vcpu, REQ_NMI); /* the pin is NMI then */
	lapic_unlock(l);
}

/* ---- for the bus ------------------------------------------------------------------------- */

static bool match_logical(struct lapic *l, const struct apic_msg *msg)
{
	uint32_t ldr = atomic_load_explicit(&l->ldr, memory_order_relaxed);
	uint32_t dest = msg->dest;

	if (lapic_x2(l)) {
		if (msg->wide && dest == UINT32_MAX)
			return true;
		if (!msg->wide && dest == 0xff)
			return true;
		return ldr >> 16 == dest >> 16 && (ldr & dest & 0xffff);
	}
	if (dest == (msg->wide ? UINT32_MAX : 0xff))
		return true;
	if (dest > 0xff)
		return false;
	ldr >>= 24;
	if (atomic_load_explicit(&l->dfr, memory_order_relaxed) >> 28 == 0xf)
		return ldr & dest; /* flat */
	return (dest >> 4 == 0xf || dest >> 4 == ldr >> 4) && (ldr & dest & 0xf);
}

bool lapic_matches(struct lapic *l, const struct apic_msg *msg)
{
	if (!lapic_hw_enabled(l))
		return false;
	if (msg->logical)
		return match_logical(l, msg);
	return msg->dest == l->id || msg->dest == (msg->wide ? UINT32_MAX : 0xff);
}

bool lapic_takes_fixed(struct lapic *l)
{
	return atomic_load_explicit(&l->svr, memory_order_relaxed) & SVR_ENABLE;
}

unsigned lapic_priority(struct lapic *l)
{
	return atomic_load_explicit(&l->ppr, memory_order_relaxed);
}

bool lapic_waiting(struct lapic *l, uint8_t vector)
{
	uint64_t w = atomic_load_explicit(&l->irr[vector / 64], memory_order_relaxed);

	return w & BIT64(vector % 64) || lapic_given_waits(l, vector);
}

bool lapic_accept(struct lapic *l, const struct apic_msg *msg)
{
	bool taken = true;

	switch (msg->mode) {
	case APIC_FIXED:
	case APIC_LOWEST:
		plat_mutex_lock(&l->lock);
		taken = accept_fixed(l, msg->vector, msg->level);
		lapic_unlock(l);
		break;
	case APIC_EXTINT:
		plat_mutex_lock(&l->lock);
		l->extint = true;
		lapic_unlock(l);
		break;
	case APIC_NMI:
		vcpu_request(l->vcpu, REQ_NMI);
		break;
	case APIC_INIT:
		vcpu_request(l->vcpu, REQ_INIT);
		break;
	case APIC_SIPI:
		atomic_store(&l->vcpu->sipi_vector, msg->vector);
		vcpu_request(l->vcpu, REQ_SIPI);
		break;
	case APIC_SMI:
		vcpu_smi(l->vcpu);
		break;
	default: /* 3 is reserved */
		break;
	}
	return taken;
}

/* ---- for the engine ---------------------------------------------------------------------- */

static int lapic_pending(void *chip)
{
	struct lapic *l = chip;
	int v = atomic_load_explicit(&l->pend, memory_order_acquire);

	if (unlikely(v == PEND_EXTINT))
		return l->w.peek ? l->w.peek(l->w.pic) : PEND_NONE;
	return v;
}

static int lapic_ack(void *chip)
{
	struct lapic *l = chip;
	int v;

	plat_mutex_lock(&l->lock);
	v = lapic_deliverable(l);
	if (v == PEND_EXTINT) {
		l->extint = false;
		lapic_unlock(l);
		/* The PIC drops LINT0 in its INTA cycle, with its own lock held: not under ours. */
		return l->w.intack ? l->w.intack(l->w.pic) : PEND_NONE;
	}
	if (l->given) {
		v = PEND_NONE;
	} else if (v >= 0) {
		irr_set(l, (unsigned)v, false);
		l->isr[v / 64] |= BIT64(v % 64) & ~l->auto_eoi[v / 64];
	}
	lapic_unlock(l);
	return v;
}

void lapic_auto_eoi(struct lapic *l, const uint64_t vectors[4])
{
	plat_mutex_lock(&l->lock);
	for (unsigned i = 0; i < 4; i++)
		l->auto_eoi[i] = vectors[i];
	lapic_unlock(l);
}

void lapic_ended_unlock(struct lapic *l, uint8_t vector)
{
	bool level = l->tmr[vector / 64] & BIT64(vector % 64);
	bool bcast = level && !(l->svr & SVR_NO_BCAST);

	if (level && (l->lvt[LVT_LINT0] & LVT_RIRR) && (uint8_t)l->lvt[LVT_LINT0] == vector) {
		l->lvt[LVT_LINT0] &= ~LVT_RIRR;
		lapic_lint_again(l, 0);
	}
	lapic_unlock(l);
	if (bcast)
		apicbus_eoi(l->w.bus, vector);
}

void lapic_eoi(struct lapic *l)
{
	int v;

	plat_mutex_lock(&l->lock);
	v = lapic_highest(l->isr);
	if (v < 0) {
		lapic_unlock(l);
		return;
	}
	l->isr[v / 64] &= ~BIT64(v % 64);
	lapic_ended_unlock(l, (uint8_t)v);
}

static uint8_t lapic_tpr(void *chip)
{
	struct lapic *l = chip;

	return (uint8_t)l->tpr; /* written by the same thread */
}

static uint8_t lapic_cr8_read(void *chip)
{
	return lapic_tpr(chip) >> 4;
}

static void lapic_cr8_write(void *chip, uint8_t cr8)
{
	struct lapic *l = chip;

	plat_mutex_lock(&l->lock);
	l->tpr = (uint32_t)(cr8 & 0xf) << 4;
	lapic_unlock(l);
}

void lapic_clear(struct lapic *l)
{
	l->changed = true;
	for (unsigned i = 0; i < 4; i++) {
		atomic_store(&l->irr[i], 0);
		l->isr[i] = l->tmr[i] = 0;
	}
	for (unsigned i = 0; i < LVT_COUNT; i++)
		l->lvt[i] = LVT_MASKED;
	l->tpr = 0;
	l->esr = l->errors = 0;
	l->icr = 0;
	l->extint = false;
	atomic_store(&l->svr, 0xff);
	atomic_store(&l->dfr, UINT32_MAX);
	/* Follows from the id in x2APIC mode (11.12.10.2). */
	atomic_store(&l->ldr, lapic_x2(l) ? (l->id >> 4) << 16 | BIT(l->id & 15) : 0);
	lapic_timer_clear(l);
}

static void lapic_reset(void *chip, bool init)
{
	struct lapic *l = chip;

	plat_mutex_lock(&l->lock);
	if (!init) /* INIT keeps the mode and the base (11.12.5.1) */
		atomic_store(&l->base, LAPIC_BASE | BASE_EN | (l->id ? 0 : BASE_BSP));
	lapic_clear(l);
	lapic_unlock(l);
	if (!init)
		lapic_page_move(l);
}

void lapic_virtual_wire(struct lapic *l, bool bsp)
{
	plat_mutex_lock(&l->lock);
	atomic_store(&l->svr, SVR_ENABLE | 0xff);
	l->lvt[LVT_LINT0] = APIC_EXTINT << 8 | (bsp ? 0 : LVT_MASKED);
	l->lvt[LVT_LINT1] = APIC_NMI << 8;
	l->changed = true;
	lapic_unlock(l);
}

uint64_t lapic_next_deadline(struct lapic *l)
{
	return atomic_load_explicit(&l->timer_wait, memory_order_relaxed);
}

static uint64_t lapic_deadline(void *chip)
{
	return lapic_next_deadline(chip);
}

static const struct intc_ops lapic_intc = {
	.pending = lapic_pending,
	.ack = lapic_ack,
	.tpr = lapic_tpr,
	.cr8_read = lapic_cr8_read,
	.cr8_write = lapic_cr8_write,
	.msr_read = lapic_msr_read,
	.msr_write = lapic_msr_write,
	.reset = lapic_reset,
	.deadline = lapic_deadline,
	.expire = lapic_timer_expire,
	.lend = lapic_lend,
	.changed = lapic_changed,
	.look = lapic_look,
	.back = lapic_back,
	.give = lapic_give,
	.take = lapic_take,
	.ended = lapic_ended,
};

static void lapic_dev_reset(struct dev *dev)
{
	lapic_reset(container_of(dev, struct lapic, dev), false);
}

/* The VM has ended its loop before: no timer runs any more. */
static void lapic_destroy(struct dev *dev)
{
	plat_free(container_of(dev, struct lapic, dev));
}

#define L struct lapic
static const struct st_field lapic_fields[] = {
	ST_U(L, base),         ST_U(L, svr),         ST_U(L, ldr),        ST_U(L, dfr),
	ST_A(L, irr),          ST_A(L, isr),         ST_A(L, tmr),        ST_UMAX(L, tpr, 0xff),
	ST_U(L, esr),          ST_U(L, errors),      ST_U(L, icr),        ST_A(L, lvt),
	ST_ABOOL(L, lint),     ST_B(L, extint),      ST_U(L, init_count), ST_UMAX(L, divide, 0xb),
	ST_U(L, tsc_deadline), ST_B(L, timer_armed), ST_T(L, timer_next),
};
#undef L

static int lapic_state(struct dev *dev, struct state_stream *st)
{
	struct lapic *l = container_of(dev, struct lapic, dev);
	bool lent = false;

	plat_mutex_lock(&l->lock);
	ST_SYNC(st, "lapic", l->id, lapic_fields, l);
	if (st->loading && !st->err) {
		atomic_store(&l->base, (l->base & (BASE_ADDR | BASE_EXTD | BASE_EN)) |
					       (l->id ? 0 : BASE_BSP));
		lapic_timer_update(l);
		l->changed = true;
		lent = l->lent;
	}
	lapic_unlock(l);
	if (st->loading && !st->err)
		lapic_page_move(l);
	if (lent && l->vcpu->vm->engine->set_state(l->vcpu))
		return state_fail(st, err_here(ERR_IO), "the engine does not take it");
	return st->err;
}

static const struct dev_class lapic_class = {
	.name = "lapic",
	.reset = lapic_dev_reset,
	.state = lapic_state,
	.destroy = lapic_destroy,
};

int lapic_create(struct vm *vm, const struct lapic_wiring *w, struct lapic **out)
{
	struct apicbus *bus = w->bus;
	struct lapic *l;

	if (w->vcpu->index != bus->n || bus->n == VM_MAX_VCPUS)
		return err_here(ERR_INVAL);
	l = plat_alloc(sizeof(*l));
	if (!l)
		return err_here(ERR_NOMEM);
	l->w = *w;
	l->vcpu = w->vcpu;
	l->id = w->vcpu->index;
	l->page.bus = bus;
	plat_mutex_init(&l->lock, RANK_LAPIC);
	atomic_store(&l->pend, PEND_NONE);
	lapic_timer_init(l);
	lapic_reset(l, false);
	bus->lapic[bus->n++] = l;
	w->vcpu->intc_chip = l;
	w->vcpu->intc = &lapic_intc;
	vm_add_dev(vm, &l->dev, &lapic_class);
	*out = l;
	return 0;
}

int lapic_map(struct apicbus *bus)
{
	bus->page.bus = bus;
	bus->page.base = LAPIC_BASE;
	return bus_map(&bus->vm->mmio, &lapic_region, &bus->page);
}
