/* SPDX-License-Identifier: ISC */
/* i8254.c: programmable interval timer of a PC (Intel 8254 data sheet): ports and IRQ 0.
 *
 * Ports are entered by any vCPU thread, ticks by the event loop; pit->lock serialises. The counters
 * are functions of time (i8254_counter.c); only edges of counter 0's OUT need the host's timer.
 *
 * Lost ticks: when the host or the guest is late by some periods, the ticks are kept, at most a
 * second's worth, and given at four times the programmed rate until the guest has caught up; at sixteen times
 * while it is far behind. A vCPU that a busy host lets run for a millisecond now and then would get too few
 * otherwise: Linux without paravirtual clocks panics ("IO-APIC + timer doesn't work") where less than 5
 * come in what its TSC says are 40e9 / HZ ticks. */
#include "dev/pc/i8254.h"

#include "dev/pc/i8254_counter.h"
#include "vm/dev.h"
#include "vm/stream.h"
#include "vm/vm.h"

/* No two ticks closer than this, whatever the guest programs */
#define MIN_GAP_NS 100000
#define FAR_BEHIND 4 /* ticks */

struct i8254 {
	struct dev dev;
	struct i8254_wiring w;
	struct plat_mutex lock; /* RANK_DEVICE: all below */
	uint64_t epoch;         /* pulse 0, ns */
	struct i8254_counter ctr[3];
	bool level;       /* of the IRQ line */
	uint64_t rise;    /* pulse of the next rise of counter 0's OUT */
	uint32_t backlog; /* rises that have not become ticks yet */
	uint64_t given;   /* time of the last tick, ns */
	struct plat_timer timer;
	uint64_t armed; /* when the timer will run, 0: it will not */
};

static uint64_t pulse_at(const struct i8254 *pit, uint64_t now)
{
	uint64_t ns = now - pit->epoch;

	return ns / NS_PER_SEC * I8254_HZ + ns % NS_PER_SEC * I8254_HZ / NS_PER_SEC;
}

static uint64_t pulses_ns(uint64_t n)
{
	return n / I8254_HZ * NS_PER_SEC + (n % I8254_HZ * NS_PER_SEC + I8254_HZ - 1) / I8254_HZ;
}

static void line_set(struct i8254 *pit, bool level)
{
	if (level == pit->level)
		return;
	pit->level = level;
	irq_set(&pit->w.irq, level);
}

static uint64_t tick_gap(const struct i8254 *pit)
{
	unsigned rate = pit->backlog > FAR_BEHIND ? 16 : 4;

	return MAX(pulses_ns(ctr_period(&pit->ctr[0])) / rate, (uint64_t)MIN_GAP_NS);
}

/* Notes the rises that have happened. */
static void count_rises(struct i8254 *pit, uint64_t pulse)
{
	uint32_t period = ctr_period(&pit->ctr[0]);

	if (pit->rise <= pulse) {
		uint64_t n = 1, most = 1;

		if (period) {
			n += (pulse - pit->rise) / period;
			most = MAX(I8254_HZ / period, UINT64_C(1));
		}
		pit->backlog = (uint32_t)MIN(pit->backlog + n, most);
	}
	pit->rise = ctr_next_rise(&pit->ctr[0], pulse);
}

static bool may_give(const struct i8254 *pit, uint64_t now)
{
	if (!ctr_period(&pit->ctr[0]))
		return true;
	return now - pit->given >= tick_gap(pit) &&
	       !(pit->w.waiting && pit->w.waiting(pit->w.waiting_arg, pit->w.gsi));
}

/* Everything that may concern IRQ 0 ends here: gives a tick that is due, arms the timer. */
static void pit_update(struct i8254 *pit)
{
	uint64_t now = plat_now(), pulse = pulse_at(pit, now), next;

	count_rises(pit, pulse);
	if (pit->backlog && may_give(pit, now)) {
		pit->backlog--;
		pit->given = now;
		line_set(pit, false);
		line_set(pit, true);
	} else if (!pit->backlog && !ctr_period(&pit->ctr[0])) {
		line_set(pit, ctr_out(&pit->ctr[0], pulse));
	}
	if (pit->backlog)
		next = now + tick_gap(pit);
	else if (pit->rise != CTR_NEVER)
		next = MAX(pit->epoch + pulses_ns(pit->rise), pit->given + MIN_GAP_NS);
	else
		return;
	if (next != pit->armed) {
		pit->armed = next;
		plat_timer_arm(&pit->timer, next);
	}
}

static void pit_tick(void *arg)
{
	struct i8254 *pit = arg;

	plat_mutex_lock(&pit->lock);
	pit->armed = 0;
	pit_update(pit);
	plat_mutex_unlock(&pit->lock);
}

/* Counter 0 is about to be programmed: what it has done until now counts, what was planned not. */
static void replan(struct i8254 *pit, uint64_t pulse, bool control)
{
	if (control)
		pit->backlog = 0;
	pit->rise = ctr_next_rise(&pit->ctr[0], pulse);
}

static void control_write(struct i8254 *pit, uint8_t v, uint64_t pulse)
{
	unsigned n = v >> 6;

	if (n == 3) { /* read-back; both bits active low */
		for (n = 0; n < 3; n++) {
			if (!(v & BIT(n + 1)))
				continue;
			if (!(v & BIT(5)))
				ctr_latch_count(&pit->ctr[n], pulse);
			if (!(v & BIT(4)))
				ctr_latch_status(&pit->ctr[n], pulse);
		}
	} else if (!(v & 0x30)) {
		ctr_latch_count(&pit->ctr[n], pulse);
	} else {
		ctr_control(&pit->ctr[n], v, pulse);
		if (n == 0) {
			replan(pit, pulse, true);
			/* OUT goes to the new mode's idle level at once. */
			line_set(pit, ctr_out(&pit->ctr[0], pulse));
		}
	}
}

static uint64_t pit_read(void *dev, uint64_t off, unsigned size)
{
	struct i8254 *pit = dev;
	uint8_t v = 0xff; /* the control word cannot be read */

	plat_mutex_lock(&pit->lock);
	if (off < 3)
		v = ctr_read(&pit->ctr[off], pulse_at(pit, plat_now()));
	plat_mutex_unlock(&pit->lock);
	return v;
}

static void pit_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct i8254 *pit = dev;
	uint64_t pulse;

	plat_mutex_lock(&pit->lock);
	pit_update(pit);
	pulse = pulse_at(pit, plat_now());
	if (off == 3) {
		control_write(pit, (uint8_t)value, pulse);
	} else {
		ctr_write(&pit->ctr[off], (uint8_t)value, pulse);
		if (off == 0)
			replan(pit, pulse, false);
	}
	pit_update(pit);
	plat_mutex_unlock(&pit->lock);
}

void i8254_set_gate2(struct i8254 *pit, bool gate)
{
	plat_mutex_lock(&pit->lock);
	ctr_set_gate(&pit->ctr[2], gate, pulse_at(pit, plat_now()));
	plat_mutex_unlock(&pit->lock);
}

bool i8254_gate2(struct i8254 *pit)
{
	bool gate;

	plat_mutex_lock(&pit->lock);
	gate = pit->ctr[2].gate;
	plat_mutex_unlock(&pit->lock);
	return gate;
}

bool i8254_out2(struct i8254 *pit)
{
	bool out;

	plat_mutex_lock(&pit->lock);
	out = ctr_out(&pit->ctr[2], pulse_at(pit, plat_now()));
	plat_mutex_unlock(&pit->lock);
	return out;
}

static const struct bus_region pit_region = {
	.name = "i8254",
	.base = 0x40,
	.len = 4,
	.min = 1,
	.max = 1,
	.read = pit_read,
	.write = pit_write,
};

static void i8254_reset(struct dev *dev)
{
	struct i8254 *pit = container_of(dev, struct i8254, dev);

	plat_mutex_lock(&pit->lock);
	for (unsigned i = 0; i < 3; i++) {
		ctr_reset(&pit->ctr[i]);
		pit->ctr[i].gate = i < 2;
	}
	pit->backlog = 0;
	pit->rise = CTR_NEVER;
	line_set(pit, false);
	plat_mutex_unlock(&pit->lock);
}

/* The VM has ended its loop before: no timer runs any more. */
static void i8254_destroy(struct dev *dev)
{
	plat_free(container_of(dev, struct i8254, dev));
}

#define C struct i8254_counter
static const struct st_field counter_fields[] = {
	ST_UMAX(C, mode, 5),
	ST_UMAX(C, access, 3),
	ST_B(C, bcd),
	ST_B(C, gate),
	ST_U(C, write_low),
	ST_B(C, write_high),
	ST_B(C, read_high),
	ST_B(C, latched),
	ST_B(C, status_latched),
	ST_U(C, out_latch),
	ST_U(C, status),
	ST_U(C, control),
	ST_UMAX(C, reload, 0x10000),
	ST_B(C, null_count),
	ST_U(C, load_at),
	ST_B(C, counting),
	ST_U(C, base),
	ST_UMAX(C, count, 0x10000),
	ST_UMAX(C, period, 0x10000),
	ST_B(C, low_half),
	ST_B(C, armed),
	ST_U(C, terminal),
};
#undef C
static const struct st_field pit_fields[] = {
	ST_T(struct i8254, epoch),   ST_B(struct i8254, level), ST_U(struct i8254, rise),
	ST_U(struct i8254, backlog), ST_T(struct i8254, given),
};

static int i8254_state(struct dev *dev, struct state_stream *st)
{
	struct i8254 *pit = container_of(dev, struct i8254, dev);

	plat_mutex_lock(&pit->lock);
	ST_SYNC(st, "pit", 0, pit_fields, pit);
	for (unsigned i = 0; i < 3; i++)
		ST_SYNC(st, "counter", i, counter_fields, &pit->ctr[i]);
	if (st->loading && !st->err) {
		pit->armed = 0;
		pit_update(pit);
	}
	plat_mutex_unlock(&pit->lock);
	return st->err;
}

static const struct dev_class i8254_class = {
	.name = "i8254",
	.reset = i8254_reset,
	.state = i8254_state,
	.destroy = i8254_destroy,
};

int i8254_create(struct vm *vm, const struct i8254_wiring *w, struct i8254 **out)
{
	struct i8254 *pit = plat_alloc(sizeof(*pit));
	int err;

	if (!pit)
		return err_here(ERR_NOMEM);
	pit->w = *w;
	pit->epoch = plat_now();
	plat_mutex_init(&pit->lock, RANK_DEVICE);
	plat_timer_init(&pit->timer, vm->loop, pit_tick, pit);
	i8254_reset(&pit->dev);
	err = bus_map(&vm->pio, &pit_region, pit);
	if (err) {
		plat_free(pit);
		return err;
	}
	vm_add_dev(vm, &pit->dev, &i8254_class);
	*out = pit;
	return 0;
}
