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

static uint64_t rdtsc(void)
{
	uint32_t lo, hi;

	__asm__ volatile("lfence; rdtsc" : "=a"(lo), "=d"(hi));
	return (uint64_t)hi << 32 | lo;
}

/* Ticks of the TSC in ten milliseconds; 0: the timer stands still. */
static uint64_t by_pm_timer(uint16_t port)
{
	const uint32_t want = PM_HZ / 100;
	uint32_t from = in32(port), now = from;
	uint64_t start = rdtsc();

	for (unsigned i = 0; ((now - from) & 0xffffff) < want; i++) {
		now = in32(port);
		if (i == 1000 && now == from)
			return 0;
	}
	return (rdtsc() - start) * want / ((now - from) & 0xffffff);
}

static uint64_t by_pit(void)
{
	const uint16_t count = PIT_HZ / 100;
	uint64_t start;

	out8(0x61, (in8(0x61) & 0xfc) | 1); /* gate on, speaker off */
	out8(0x43, 0xb0);                   /* channel 2, mode 0 */
	out8(0x42, count & 0xff);
	out8(0x42, count >> 8);
	start = rdtsc();
	while (!(in8(0x61) & BIT(5)))
		cpu_relax();
	return rdtsc() - start;
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

void clock_init(uint16_t pm_timer)
{
	uint64_t best = UINT64_MAX;

	/* The shortest of three: what disturbs a measurement makes it longer. */
	for (unsigned i = 0; i < 3; i++) {
		uint64_t t = pm_timer ? by_pm_timer(pm_timer) : by_pit();

		if (!t) {
			pm_timer = 0;
			t = by_pit();
		}
		best = MIN(best, t);
	}
	tsc.hz = best * 100;
	tsc.ns_scale = (NS_PER_SEC << 32) / tsc.hz;
	tsc.start = rdtsc();
	tsc.unix_base = date() * NS_PER_SEC;
}

uint64_t plat_now(void)
{
	return (uint64_t)((unsigned __int128)(rdtsc() - tsc.start) * tsc.ns_scale >> 32);
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
