/* SPDX-License-Identifier: ISC */
/* clock.c: time from the TSC, whose frequency is measured once against a clock of known frequency: the
 * ACPI PM timer (3579545 Hz, ACPI 4.8.2.1) or the PIT's channel 2 (1193182 Hz). The date comes from
 * the CMOS clock at start. Constant afterwards: any thread. */
#include "plat/metal/clock.h"

#include "plat/metal/msr.h"
#include "plat/plat.h"

#define PM_HZ  UINT64_C(3579545)
#define PIT_HZ UINT64_C(1193182)

static struct {
	uint64_t hz;
	uint64_t start;     /* TSC at ns 0 */
	uint64_t ns_scale;  /* ns a tick, times 2^32 */
	uint64_t unix_base; /* ns since 1970 at ns 0 */
} tsc;

uint64_t clock_ticks(void)
{
	uint32_t lo, hi;

	__asm__ volatile("lfence; rdtsc" : "=a"(lo), "=d"(hi));
	return (uint64_t)hi << 32 | lo;
}

/* A clock of known frequency: its counter counts up, and begins again at a power of two. */
struct reference {
	uint32_t (*read)(const struct reference *r);
	uint64_t hz;
	uint32_t mask;
	uint16_t port;
};

static uint32_t pm_read(const struct reference *r)
{
	return in32(r->port);
}

/* Channel 2 counts down */
static uint32_t pit_read(const struct reference *r)
{
	uint32_t v;

	out8(0x43, 0x80); /* hold the count */
	v = in8(0x42);
	return ~(v | (uint32_t)in8(0x42) << 8);
}

static void pit_begin(void)
{
	out8(0x61, (in8(0x61) & 0xfc) | 1); /* gate on, speaker off */
	out8(0x43, 0xb4);                   /* channel 2, mode 2 */
	out8(0x42, 0);
	out8(0x42, 0);
}

/* Both clocks at a time; of several looks the one that took least, as what comes between its two ends is not known. */
struct instant {
	uint64_t tsc;
	uint32_t count;
};

static struct instant look(const struct reference *r)
{
	struct instant best = {0};
	uint64_t least = UINT64_MAX;

	for (unsigned i = 0; i < 10; i++) {
		uint64_t from = clock_ticks();
		uint32_t count = r->read(r);
		uint64_t took = clock_ticks() - from;

		if (took < least) {
			best = (struct instant){from + took / 2, count};
			least = took;
		}
	}
	return best;
}

/* Over ten milliseconds, with meanwhile() over and over; 0: the reference stands still. */
static uint64_t measure(const struct reference *r, void (*meanwhile)(void))
{
	struct instant from = look(r), to = from;

	for (unsigned i = 0; ((to.count - from.count) & r->mask) < r->hz / 100; i++) {
		if (i == 100 && to.count == from.count)
			return 0;
		meanwhile();
		to = look(r);
	}
	return (to.tsc - from.tsc) * r->hz / ((to.count - from.count) & r->mask);
}

/* ---- the date ---- */

static unsigned cmos(unsigned reg)
{
	out8(0x70, (uint8_t)reg);
	return in8(0x71);
}

static unsigned from_bcd(unsigned v)
{
	return (v >> 4) * 10 + (v & 15);
}

static uint64_t days_from_1970(unsigned y, unsigned m, unsigned d)
{
	/* years from March, so that the leap day is the last */
	y -= m <= 2;
	m = (m + 9) % 12;
	return y * 365ull + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + d - 1 - 719468;
}

static uint64_t date(void)
{
	static const uint8_t regs[] = {0, 2, 4, 7, 8, 9}; /* s min h day month year */
	unsigned v[6];
	unsigned mode = cmos(0x0b);

	while (cmos(0x0a) & BIT(7)) /* it is being updated */
		cpu_relax();
	for (unsigned i = 0; i < ARRAY_SIZE(regs); i++) {
		v[i] = cmos(regs[i]);
		if (!(mode & BIT(2)))
			v[i] = i == 2 ? from_bcd(v[i] & 0x7f) | (v[i] & 0x80) : from_bcd(v[i]);
	}
	if (!(mode & BIT(1))) /* twelve hours, and a bit for the afternoon */
		v[2] = (v[2] & 0x7f) % 12 + (v[2] & 0x80 ? 12 : 0);
	return days_from_1970(2000 + v[5], v[4], v[3]) * 86400 + v[2] * 3600 + v[1] * 60 + v[0];
}

void clock_init(uint16_t pm_timer, uint64_t entry, void (*meanwhile)(void))
{
	const struct reference pm = {pm_read, PM_HZ, 0xffffff, pm_timer},
			       pit = {pit_read, PIT_HZ, 0xffff, 0};

	if (pm_timer)
		tsc.hz = measure(&pm, meanwhile);
	if (!tsc.hz) {
		pit_begin();
		tsc.hz = measure(&pit, meanwhile);
	}
	tsc.ns_scale = (NS_PER_SEC << 32) / tsc.hz;
	tsc.start = entry;
	tsc.unix_base = date() * NS_PER_SEC - plat_now();
}

uint64_t clock_ns(uint64_t ticks)
{
	return (uint64_t)((unsigned __int128)ticks * tsc.ns_scale >> 32);
}

uint64_t plat_now(void)
{
	return clock_ns(clock_ticks() - tsc.start);
}

uint64_t plat_realtime(void)
{
	return tsc.unix_base + plat_now();
}

uint64_t plat_tsc_hz(void)
{
	return tsc.hz;
}

void clock_spin(uint64_t ns)
{
	uint64_t end = plat_now() + ns;

	while (plat_now() < end)
		cpu_relax();
}
