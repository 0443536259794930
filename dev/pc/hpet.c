/* SPDX-License-Identifier: ISC */
/* hpet.c: high precision event timers (IA-PC HPET specification 1.0a).
 *
 * Nothing ticks: the counter is a function of time, and matches that have happened since the last look
 * are found when somebody looks (settle()). The host's timer is armed for the next match that gives an
 * interrupt. Registers are entered by vCPU threads, matches by the event loop; h->lock serialises.
 * h->gate serialises the two lines that are shared with the legacy chips, which come with their own
 * locks held.
 *
 * Periods that a guest misses because its host is busy are kept, at most a second's, and given as the PIT's are
 * (i8254.c): Windows counts these interrupts to know the time. */
#include "dev/pc/hpet.h"

#include "vm/dev.h"
#include "vm/stream.h"
#include "vm/vm.h"

#define NS_PER_TICK (NS_PER_SEC / HPET_HZ)
#define FS_PER_TICK (UINT64_C(1000000000000000) / HPET_HZ)
/* No two interrupts of a periodic timer closer than this, whatever the guest programs */
#define MIN_GAP_NS 100000
#define FAR_BEHIND 4                   /* periods */
#define FAR        (UINT64_C(1) << 58) /* ticks: ninety years */

/* Registers (2.3.1) */
#define R_CAP     0x000
#define R_CONF    0x010
#define R_STATUS  0x020
#define R_COUNTER 0x0f0
#define R_TIMER   0x100 /* 20H each: configuration, comparator, message */

#define CONF_ENABLE BIT(0)
#define CONF_LEGACY BIT(1)

#define T_LEVEL     BIT(1)
#define T_ENABLE    BIT(2)
#define T_PERIODIC  BIT(3)
#define T_SET       BIT(6) /* the next write sets the accumulator, too */
#define T_32        BIT(8)
#define T_ROUTE(c)  ((c) >> 9 & 31)
#define T_FSB       BIT(14)
#define T_WRITABLE  (T_LEVEL | T_ENABLE | T_PERIODIC | T_SET | T_32 | 31u << 9 | T_FSB)
#define T_CAN       (BIT(4) | BIT(5) | BIT(15)) /* periodic, 64 bits, messages */
#define FIRST_ROUTE 20                          /* I/O APIC pins that are wired to the timers */
#define ROUTES      4
#define ROUTE_CAP   (UINT64_C(0xf) << FIRST_ROUTE)
static const uint8_t legacy_gsi[] = {0, 8};

struct hpet_timer {
	uint32_t conf;
	uint64_t match; /* where it matches next; the accumulator when periodic */
	uint64_t period;
	uint64_t fsb;   /* value, address << 32 */
	uint64_t seen;  /* matches up to this count, inclusive, have been dealt with */
	uint64_t due;   /* periodic: interrupts not given yet; not saved: the pause misses more */
	uint64_t given; /* when the last one was, ns */
};

struct hpet {
	struct dev dev;
	struct hpet_wiring w;
	struct plat_mutex lock; /* RANK_DEVICE: all but the gate */
	uint32_t conf, status;
	uint64_t base;  /* count at epoch; the count while halted */
	uint64_t epoch; /* ns */
	struct hpet_timer timer[HPET_TIMERS];
	uint8_t lines; /* level-triggered ones that are up: pins, then legacy lines */
	struct plat_timer alarm;
	uint64_t armed; /* when it will run, 0: it will not */

	struct plat_mutex gate_lock; /* RANK_ROUTER: below */
	bool legacy;
	bool in[2][2]; /* [by the HPET][line] */
	struct irq_line out[2];
};

/* ---- legacy replacement -------------------------------------------------------------------------- */

static void gate_in(struct hpet *h, bool hpet, unsigned n, bool level)
{
	plat_mutex_lock(&h->gate_lock);
	h->in[hpet][n] = level;
	if (h->legacy == hpet)
		irq_set(&h->out[n], level);
	plat_mutex_unlock(&h->gate_lock);
}

static void gate_switch(struct hpet *h, bool legacy)
{
	plat_mutex_lock(&h->gate_lock);
	if (h->legacy != legacy) {
		h->legacy = legacy;
		for (unsigned n = 0; n < 2; n++)
			irq_set(&h->out[n], h->in[legacy][n]);
	}
	plat_mutex_unlock(&h->gate_lock);
}

static void legacy_in(void *sink, unsigned n, bool level)
{
	gate_in(sink, false, n, level);
}

struct irq_line hpet_legacy_line(struct hpet *h, unsigned n)
{
	return (struct irq_line){legacy_in, h, n};
}

/* ---- counter and matches ------------------------------------------------------------------------- */

static uint64_t counter(const struct hpet *h, uint64_t now)
{
	return h->conf & CONF_ENABLE ? h->base + (now - h->epoch) / NS_PER_TICK : h->base;
}

static uint64_t width(const struct hpet_timer *t)
{
	return t->conf & T_32 ? UINT32_MAX : UINT64_MAX;
}

/* Ticks from what has been seen to the next match: 1 … 2^32 or 2^64 - 1 (FAR enough). */
static uint64_t distance(const struct hpet_timer *t)
{
	uint64_t d = (t->match - t->seen) & width(t);

	if (d)
		return d;
	return t->conf & T_32 ? UINT64_C(1) << 32 : UINT64_MAX;
}

/* How timer n's interrupts leave. */
static bool is_legacy(const struct hpet *h, unsigned n)
{
	return (h->conf & CONF_LEGACY) && n < 2;
}

static void lines_update(struct hpet *h)
{
	uint8_t up = 0, changed;

	for (unsigned n = 0; n < HPET_TIMERS; n++) {
		const struct hpet_timer *t = &h->timer[n];
		unsigned route = T_ROUTE(t->conf);

		if (!(h->conf & CONF_ENABLE) || !(t->conf & T_ENABLE) || !(t->conf & T_LEVEL) ||
		    (t->conf & T_FSB) || !(h->status & BIT(n)))
			continue;
		if (is_legacy(h, n))
			up |= (uint8_t)BIT(ROUTES + n);
		else if (route >= FIRST_ROUTE)
			up |= (uint8_t)BIT(route - FIRST_ROUTE);
	}
	changed = up ^ h->lines;
	h->lines = up;
	for (unsigned i = 0; i < ROUTES; i++)
		if (changed & BIT(i))
			gsi_set(h->dev.vm, FIRST_ROUTE + i, up & BIT(i));
	for (unsigned n = 0; n < 2; n++)
		if (changed & BIT(ROUTES + n))
			gate_in(h, true, n, up & BIT(ROUTES + n));
}

static void fire(struct hpet *h, unsigned n)
{
	struct hpet_timer *t = &h->timer[n];
	unsigned route = T_ROUTE(t->conf);

	if (t->conf & T_LEVEL)
		h->status |= BIT(n); /* even when it causes no interrupt (2.3.8) */
	if (!(t->conf & T_ENABLE))
		return;
	if (t->conf & T_FSB) {
		msi_send(h->dev.vm, t->fsb >> 32, (uint32_t)t->fsb);
	} else if (t->conf & T_LEVEL) {
		return; /* lines_update() */
	} else if (is_legacy(h, n)) {
		gate_in(h, true, n, true);
		gate_in(h, true, n, false);
	} else if (route >= FIRST_ROUTE) {
		gsi_set(h->dev.vm, route, true);
		gsi_set(h->dev.vm, route, h->lines & BIT(route - FIRST_ROUTE));
	}
}

/* The last one has not been taken yet. */
static bool waits(const struct hpet *h, unsigned n)
{
	const struct hpet_timer *t = &h->timer[n];

	if (t->conf & T_FSB)
		return h->w.msi_waiting && h->w.msi_waiting(h->w.waiting_arg, (uint32_t)t->fsb);
	if (t->conf & T_LEVEL)
		return h->status & BIT(n);
	return h->w.waiting &&
	       h->w.waiting(h->w.waiting_arg, is_legacy(h, n) ? legacy_gsi[n] : T_ROUTE(t->conf));
}

static bool periodic(const struct hpet_timer *t)
{
	return (t->conf & T_PERIODIC) && t->period;
}

static uint64_t most_due(const struct hpet_timer *t)
{
	return MAX(HPET_HZ / t->period, UINT64_C(1));
}

static uint64_t due_gap(const struct hpet_timer *t)
{
	uint64_t ns = MIN(t->period, FAR) * NS_PER_TICK;

	return MAX(ns / (t->due > FAR_BEHIND ? 16 : 4), (uint64_t)MIN_GAP_NS);
}

/* Matches that have happened up to this count. */
static void timer_settle(struct hpet *h, unsigned n, uint64_t count, uint64_t now)
{
	struct hpet_timer *t = &h->timer[n];
	uint64_t gone = count - t->seen, d = distance(t), matches = 0;

	t->seen = count;
	if (gone >= d && periodic(t)) {
		matches = (gone - d) / t->period + 1;
		t->match = (t->match + matches * t->period) & width(t);
	} else if (gone >= d) {
		matches = 1;
	}
	if (!periodic(t) || !(t->conf & T_ENABLE)) {
		t->due = 0;
		if (matches)
			fire(h, n);
		return;
	}
	t->due = MIN(t->due + matches, most_due(t));
	if (!t->due || now - t->given < due_gap(t) || waits(h, n))
		return;
	t->due--;
	t->given = now;
	fire(h, n);
}

/* When timer n wants to be looked at, from now on: its next match, or one that is due. That nobody has taken one for a second, or
 * acknowledged a level, is no reason to look. */
static uint64_t timer_next(const struct hpet *h, unsigned n)
{
	const struct hpet_timer *t = &h->timer[n];
	uint64_t d = distance(t), at;

	if (!(t->conf & T_ENABLE))
		return PLAT_FOREVER;
	at = d < FAR ? d * NS_PER_TICK : PLAT_FOREVER;
	if (!periodic(t))
		return at;
	if (t->due && t->due < most_due(t) && !(t->conf & T_LEVEL && h->status & BIT(n)))
		at = MIN(at, due_gap(t));
	return MAX(at, (uint64_t)MIN_GAP_NS);
}

/* Everything that may concern interrupts ends here. */
static void hpet_update(struct hpet *h, uint64_t now)
{
	uint64_t next = PLAT_FOREVER, count = counter(h, now);

	for (unsigned n = 0; n < HPET_TIMERS && h->conf & CONF_ENABLE; n++) {
		uint64_t at;

		timer_settle(h, n, count, now);
		at = timer_next(h, n);
		if (at != PLAT_FOREVER)
			next = MIN(next, now + at);
	}
	lines_update(h);
	if (next != PLAT_FOREVER && next != h->armed) {
		h->armed = next;
		plat_timer_arm(&h->alarm, next);
	}
}

static void hpet_alarm(void *arg)
{
	struct hpet *h = arg;

	plat_mutex_lock(&h->lock);
	h->armed = 0;
	hpet_update(h, plat_now());
	plat_mutex_unlock(&h->lock);
}

/* ---- registers ----------------------------------------------------------------------------------- */

static void nothing_due(struct hpet *h)
{
	for (unsigned n = 0; n < HPET_TIMERS; n++)
		h->timer[n].due = 0;
}

static void conf_write(struct hpet *h, uint32_t v, uint64_t now)
{
	uint64_t count = counter(h, now);

	if ((h->conf ^ v) & CONF_ENABLE) {
		h->base = count;
		h->epoch = now;
		nothing_due(h);
	}
	h->conf = v & (CONF_ENABLE | CONF_LEGACY);
	gate_switch(h, h->conf & CONF_LEGACY);
}

static void counter_write(struct hpet *h, uint64_t v, uint64_t now)
{
	h->base = v;
	h->epoch = now;
	nothing_due(h);
	for (unsigned n = 0; n < HPET_TIMERS; n++)
		h->timer[n].seen = v - 1; /* a match at v is still to come */
}

static void timer_conf_write(struct hpet_timer *t, uint32_t v)
{
	uint32_t keep = ROUTE_CAP & BIT64(T_ROUTE(v)) ? 0 : 31u << 9;

	v &= T_WRITABLE;
	t->conf = (v & ~keep) | (t->conf & keep); /* a pin that is not wired is not taken */
	t->match &= width(t);
	t->period &= width(t);
	t->due = 0;
}

/* One-shot: where it matches. Periodic: the period, and with T_SET where it matches first. */
static void match_write(struct hpet *h, struct hpet_timer *t, uint64_t v, uint64_t mask,
			uint64_t now)
{
	bool periodic = t->conf & T_PERIODIC;

	if (periodic)
		t->period = ((t->period & ~mask) | (v & mask)) & width(t);
	if (!periodic || (t->conf & T_SET)) {
		t->match = ((t->match & ~mask) | (v & mask)) & width(t);
		t->seen = counter(h, now) - 1;
	}
	t->conf &= ~(uint32_t)T_SET;
	t->due = 0;
}

static struct hpet_timer *timer_at(struct hpet *h, uint64_t off)
{
	if (off < R_TIMER || off >= R_TIMER + HPET_TIMERS * 0x20)
		return NULL;
	return &h->timer[(off - R_TIMER) / 0x20];
}

static uint64_t reg_read(struct hpet *h, uint64_t off, uint64_t now)
{
	const struct hpet_timer *t = timer_at(h, off);

	switch (t ? off & 0x1f : off) {
	case R_CAP: /* or a timer's configuration */
		return t ? ROUTE_CAP << 32 | T_CAN | (t->conf & ~(uint32_t)T_SET)
			 : FS_PER_TICK << 32 | HPET_BLOCK_ID;
	case 8:
		return t ? t->match : 0;
	case R_CONF: /* or a timer's message */
		return t ? t->fsb : h->conf;
	case R_STATUS:
		return h->status;
	case R_COUNTER:
		return counter(h, now);
	default:
		return 0;
	}
}

/* mask: the half or all of it that is written */
static void reg_write(struct hpet *h, uint64_t off, uint64_t v, uint64_t mask, uint64_t now)
{
	struct hpet_timer *t = timer_at(h, off);

	switch (t ? off & 0x1f : off) {
	case 0:
		if (t && (uint32_t)mask)
			timer_conf_write(t, (uint32_t)v);
		break;
	case 8:
		if (t)
			match_write(h, t, v, mask, now);
		break;
	case R_CONF:
		if (t)
			t->fsb = (t->fsb & ~mask) | (v & mask);
		else if ((uint32_t)mask)
			conf_write(h, (uint32_t)v, now);
		break;
	case R_STATUS: /* ones clear */
		h->status &= ~(uint32_t)(v & mask);
		break;
	case R_COUNTER:
		counter_write(h, (counter(h, now) & ~mask) | (v & mask), now);
		break;
	default:
		break;
	}
}

/* Only whole, aligned halves and registers are defined (2.3.2). */
static uint64_t hpet_read(void *dev, uint64_t off, unsigned size)
{
	struct hpet *h = dev;
	uint64_t v, now;

	if (off & (size - 1))
		return 0;
	plat_mutex_lock(&h->lock);
	now = plat_now();
	if (off != R_COUNTER) /* which is read often, and concerns none of the timers */
		hpet_update(h, now);
	v = reg_read(h, off & ~UINT64_C(7), now);
	plat_mutex_unlock(&h->lock);
	return v >> 8 * (off & 4);
}

static void hpet_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct hpet *h = dev;
	uint64_t mask = size == 8 ? UINT64_MAX : (uint64_t)UINT32_MAX << 8 * (off & 4), now;

	if (off & (size - 1))
		return;
	plat_mutex_lock(&h->lock);
	now = plat_now();
	hpet_update(h, now);
	reg_write(h, off & ~UINT64_C(7), value << 8 * (off & 4), mask, now);
	hpet_update(h, now);
	plat_mutex_unlock(&h->lock);
}

static const struct bus_region hpet_region = {
	.name = "hpet",
	.base = HPET_BASE,
	.len = HPET_LEN,
	.min = 4,
	.max = 8,
	.read = hpet_read,
	.write = hpet_write,
};

/* ---- device -------------------------------------------------------------------------------------- */

static void hpet_reset(struct dev *dev)
{
	struct hpet *h = container_of(dev, struct hpet, dev);

	plat_mutex_lock(&h->lock);
	h->conf = h->status = 0;
	h->base = 0;
	for (unsigned n = 0; n < HPET_TIMERS; n++) /* pins as they come; comparators all ones */
		h->timer[n] = (struct hpet_timer){.match = UINT64_MAX};
	gate_switch(h, false);
	lines_update(h);
	plat_mutex_unlock(&h->lock);
}

/* The VM has ended its loop before: no timer runs any more. */
static void hpet_destroy(struct dev *dev)
{
	plat_free(container_of(dev, struct hpet, dev));
}

static const struct st_field hpet_fields[] = {
	ST_UMAX(struct hpet, conf, CONF_ENABLE | CONF_LEGACY),
	ST_UMAX(struct hpet, status, BIT(HPET_TIMERS) - 1),
	ST_U(struct hpet, base),
	ST_T(struct hpet, epoch),
	ST_UMAX(struct hpet, lines, BIT(ROUTES + 2) - 1),
	ST_B(struct hpet, in[0][0]),
	ST_B(struct hpet, in[0][1]),
};
#define T struct hpet_timer
static const struct st_field timer_fields[] = {
	ST_U(T, conf), ST_U(T, match), ST_U(T, period), ST_U(T, fsb), ST_U(T, seen),
};
#undef T

static int hpet_state(struct dev *dev, struct state_stream *st)
{
	struct hpet *h = container_of(dev, struct hpet, dev);

	plat_mutex_lock(&h->lock);
	ST_SYNC(st, "hpet", 0, hpet_fields, h);
	for (unsigned n = 0; n < HPET_TIMERS; n++) {
		struct hpet_timer *t = &h->timer[n];
		uint32_t conf;

		ST_SYNC(st, "timer", n, timer_fields, t);
		conf = t->conf;
		t->conf = 0;
		timer_conf_write(t, conf); /* nothing that a guest could not have written */
	}
	if (st->loading && !st->err) {
		h->armed = 0;
		h->legacy = h->conf & CONF_LEGACY;
		hpet_update(h, plat_now());
	}
	plat_mutex_unlock(&h->lock);
	return st->err;
}

static const struct dev_class hpet_class = {
	.name = "hpet",
	.reset = hpet_reset,
	.state = hpet_state,
	.destroy = hpet_destroy,
};

int hpet_create(struct vm *vm, const struct hpet_wiring *w, struct hpet **out)
{
	struct hpet *h = plat_alloc(sizeof(*h));
	int err;

	if (!h)
		return err_here(ERR_NOMEM);
	h->w = *w;
	for (unsigned n = 0; n < 2; n++)
		h->out[n] = gsi_line(vm, legacy_gsi[n]);
	plat_mutex_init(&h->lock, RANK_DEVICE);
	plat_mutex_init(&h->gate_lock, RANK_ROUTER);
	plat_timer_init(&h->alarm, vm->loop, hpet_alarm, h);
	hpet_reset(&h->dev);
	err = bus_map(&vm->mmio, &hpet_region, h);
	if (err) {
		plat_free(h);
		return err;
	}
	vm_add_dev(vm, &h->dev, &hpet_class);
	*out = h;
	return 0;
}
