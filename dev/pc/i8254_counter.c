/* SPDX-License-Identifier: ISC */
/* i8254_counter.c: the six modes of an 8254 counter (Intel 8254 data sheet, 231164).
 *
 * Example, mode 2 with a count of 3 written at pulse 10: the count register goes into the counting
 * element at pulse 11 (base), which then holds 3 2 1 3 2 1 …; OUT is low while it holds 1, and
 * rises at 14, 17, … A new count written at pulse 12 takes over when the period ends, at 14. */
#include "dev/pc/i8254_counter.h"

static uint32_t wrap(const struct i8254_counter *c)
{
	return c->bcd ? 10000 : 65536;
}

static bool periodic(const struct i8254_counter *c)
{
	return c->mode == 2 || c->mode == 3;
}

static uint32_t high_half(uint32_t period)
{
	return (period + 1) / 2;
}

/* The count register goes into the counting element at pulse at. */
static void load(struct i8254_counter *c, uint64_t at)
{
	c->base = at;
	c->count = c->period = c->reload;
	c->null_count = false;
	c->counting = true;
	c->low_half = false;
	c->armed = true;
	c->terminal = at + c->reload;
	/* A closed gate holds counting in modes 0 and 4, not loading. */
	if ((c->mode == 0 || c->mode == 4) && !c->gate) {
		c->counting = false;
		c->terminal = CTR_NEVER;
	}
}

/* Modes 2 and 3 take a new count where a period (mode 3: half of one) ends. */
static void advance_periodic(struct i8254_counter *c, uint64_t now)
{
	uint64_t half;

	if (c->mode == 2) {
		if (now - c->base < c->period)
			return;
		if (c->null_count) {
			c->base += c->period;
			c->period = c->reload;
			c->null_count = false;
		}
		c->base += (now - c->base) / c->period * c->period;
		return;
	}
	for (;;) {
		half = c->low_half ? c->period / 2 : high_half(c->period);
		if (now - c->base < half)
			return;
		c->base += half;
		c->low_half = !c->low_half;
		if (c->null_count) {
			c->period = c->reload;
			c->null_count = false;
		}
		if (!c->low_half)
			c->base += (now - c->base) / c->period * c->period;
	}
}

static void advance(struct i8254_counter *c, uint64_t now)
{
	if (c->load_at <= now) {
		uint64_t at = c->load_at;

		c->load_at = CTR_NEVER;
		load(c, at);
	}
	if (!c->counting)
		return;
	if (periodic(c))
		advance_periodic(c, now);
	else if (c->armed && now - c->base >= c->count)
		c->armed = false;
}

/* What the counting element holds, in binary, 0…wrap-1. Odd counts of mode 3: the first step of
 * the high half is 1, that of the low half 3, all others 2. */
static uint32_t element(const struct i8254_counter *c, uint64_t now)
{
	uint64_t el = c->counting ? now - c->base : 0;
	uint32_t v;

	if (c->mode == 3) {
		v = c->period;
		if (el && (v & 1))
			v -= (c->low_half ? 3 : 1) + 2 * ((uint32_t)el - 1);
		else
			v -= 2 * (uint32_t)el;
	} else if (c->mode == 2) {
		v = c->period - (uint32_t)el;
	} else {
		v = c->count + wrap(c) - (uint32_t)(el % wrap(c));
	}
	return v % wrap(c);
}

static uint16_t to_bus(const struct i8254_counter *c, uint32_t v)
{
	if (!c->bcd)
		return (uint16_t)v;
	return (uint16_t)(v % 10 | v / 10 % 10 << 4 | v / 100 % 10 << 8 | v / 1000 % 10 << 12);
}

static uint32_t from_bus(const struct i8254_counter *c, uint16_t v)
{
	uint32_t n = v;

	if (c->bcd)
		n = (v & 15u) + (v >> 4 & 15u) * 10 + (v >> 8 & 15u) * 100 + (v >> 12) * 1000u;
	/* Digits above nine may give more than the counter holds. */
	n %= wrap(c);
	return n ? n : wrap(c);
}

bool ctr_out(struct i8254_counter *c, uint64_t now)
{
	advance(c, now);
	switch (c->mode) {
	case 0:
		/* Low from the control word (or a new count) to the terminal count. */
		return c->reload && !c->null_count && !c->armed;
	case 1:
		return !c->counting || !c->armed;
	case 2:
		return !c->counting || !c->gate || element(c, now) != 1;
	case 3:
		return !c->counting || !c->gate || !c->low_half;
	default:
		return c->terminal != now;
	}
}

uint64_t ctr_next_rise(struct i8254_counter *c, uint64_t now)
{
	uint64_t base;

	advance(c, now);
	if (c->mode > 3 && c->terminal >= now && c->terminal < c->load_at)
		return c->terminal + 1;
	if (c->load_at != CTR_NEVER) {
		if (!c->gate && (c->mode == 0 || c->mode == 4))
			return CTR_NEVER;
		return c->load_at + c->reload + (c->mode > 3);
	}
	if (!c->counting)
		return CTR_NEVER;
	switch (c->mode) {
	case 0:
	case 1:
		return c->armed ? c->base + c->count : CTR_NEVER;
	case 2:
		return c->base + c->period;
	case 3:
		base = c->low_half ? c->base : c->base + high_half(c->period);
		/* A count that waits will already rule the low half that comes. */
		if (!c->low_half && c->null_count)
			return base + c->reload / 2;
		return base + c->period / 2;
	default: /* 4 and 5: the strobe has been */
		return CTR_NEVER;
	}
}

uint32_t ctr_period(const struct i8254_counter *c)
{
	return periodic(c) ? c->reload : 0;
}

/* ---- programming ------------------------------------------------------------------------------ */

void ctr_reset(struct i8254_counter *c)
{
	bool gate = c->gate;

	*c = (struct i8254_counter){
		.gate = gate, .access = 3, .load_at = CTR_NEVER, .terminal = CTR_NEVER};
}

void ctr_control(struct i8254_counter *c, uint8_t word, uint64_t now)
{
	uint8_t mode = word >> 1 & 7;

	advance(c, now);
	c->control = word & 0x3f;
	c->mode = mode > 5 ? mode & 3 : mode; /* 6 and 7 are 2 and 3 */
	c->access = word >> 4 & 3;
	c->bcd = word & 1;
	c->write_high = c->read_high = false;
	c->latched = c->status_latched = false;
	c->counting = false;
	c->null_count = true;
	c->reload = 0;
	c->count = 0;
	c->armed = false;
	c->load_at = c->terminal = CTR_NEVER;
}

static void new_count(struct i8254_counter *c, uint16_t v, uint64_t now)
{
	advance(c, now);
	c->reload = from_bus(c, v);
	/* One is not allowed in modes 2 and 3; two is the least that has a period. */
	if (periodic(c) && c->reload == 1)
		c->reload = 2;
	c->null_count = true;
	switch (c->mode) {
	case 0:
	case 4:
		c->load_at = now + 1;
		break;
	case 2:
	case 3:
		/* While it runs, the period's end takes it; a closed gate waits for its opening. */
		if (!c->counting && c->gate)
			c->load_at = now + 1;
		break;
	default: /* 1 and 5: the next trigger */
		break;
	}
}

void ctr_write(struct i8254_counter *c, uint8_t byte, uint64_t now)
{
	switch (c->access) {
	case 1:
		new_count(c, byte, now);
		break;
	case 2:
		new_count(c, (uint16_t)(byte << 8), now);
		break;
	default:
		if (c->write_high) {
			c->write_high = false;
			new_count(c, (uint16_t)(byte << 8 | c->write_low), now);
			break;
		}
		c->write_low = byte;
		c->write_high = true;
		if (c->mode == 0) { /* the first byte stops counting, OUT is low at once */
			advance(c, now);
			c->count = element(c, now);
			c->counting = false;
			c->armed = true;
			c->load_at = CTR_NEVER;
		}
	}
}

void ctr_latch_count(struct i8254_counter *c, uint64_t now)
{
	if (c->latched)
		return;
	advance(c, now);
	c->out_latch = to_bus(c, element(c, now));
	c->latched = true;
}

void ctr_latch_status(struct i8254_counter *c, uint64_t now)
{
	if (c->status_latched)
		return;
	c->status = (uint8_t)(c->control | (ctr_out(c, now) ? 0x80 : 0));
	if (c->null_count)
		c->status |= 0x40;
	c->status_latched = true;
}

uint8_t ctr_read(struct i8254_counter *c, uint64_t now)
{
	uint16_t v;
	bool high;

	if (c->status_latched) {
		c->status_latched = false;
		return c->status;
	}
	advance(c, now);
	v = c->latched ? c->out_latch : to_bus(c, element(c, now));
	high = c->access == 2 || (c->access != 1 && c->read_high);
	if (c->access == 3 || c->access == 0)
		c->read_high = !c->read_high;
	if (c->access == 1 || c->access == 2 || high)
		c->latched = false;
	return (uint8_t)(high ? v >> 8 : v);
}

void ctr_set_gate(struct i8254_counter *c, bool gate, uint64_t now)
{
	bool rising = gate && !c->gate;

	if (gate == c->gate)
		return;
	advance(c, now);
	switch (c->mode) {
	case 0:
	case 4: /* counts only while the gate is open */
		if (!c->counting && !rising)
			break;
		if (rising && c->reload && !c->null_count && !c->write_high) {
			c->base = now;
			c->counting = true;
			if (c->armed)
				c->terminal = now + c->count;
		} else if (!rising) {
			c->count = element(c, now);
			c->counting = false;
			c->terminal = CTR_NEVER;
		}
		break;
	case 1:
	case 5:
		if (rising && c->reload)
			c->load_at = now + 1;
		break;
	default:
		if (rising && c->reload) {
			c->load_at = now + 1;
		} else if (!rising) {
			if (c->counting)
				c->count = c->period = element(c, now);
			c->counting = false;
			c->load_at = CTR_NEVER;
		}
	}
	c->gate = gate;
}
