/* SPDX-License-Identifier: ISC */
/* mc146818.c: real-time clock and CMOS RAM of a PC (Motorola MC146818A data sheet; century byte as
 * in the PC AT).
 *
 * Ports are entered by vCPU threads, interrupts come from the event loop; rtc->lock serialises.
 * The clock does not tick: it is the host's UTC plus an offset, written down in the registers when
 * they are read. Flags of register C are brought up to date likewise; the host's timer is armed
 * only for interrupts that are enabled and not yet raised.
 *
 * Periods that end while the interrupt of one before has not been acknowledged are lost on hardware. Here a vCPU is
 * late because its host is busy, and guests that keep time by counting (Windows XP) or wait so (INT 15h, 86h)
 * would fall behind: they are kept, at most a second's, and given when the last has been acknowledged: at once, as the
 * thread that would do it later may have to wait for a CPU, too, but for a few in a row only. */
#include "dev/pc/mc146818.h"

#include "dev/pc/calendar.h"
#include "vm/dev.h"
#include "vm/stream.h"
#include "vm/vm.h"

enum {
	SECONDS,
	SECONDS_ALARM,
	MINUTES,
	MINUTES_ALARM,
	HOURS,
	HOURS_ALARM,
	WEEKDAY,
	DAY,
	MONTH,
	YEAR,
	REG_A,
	REG_B,
	REG_C,
	REG_D,
};

#define A_UIP     0x80
#define A_DV(a)   ((a) >> 4 & 7) /* divider: 2 runs, 6 and 7 hold it in reset */
#define A_RS(a)   ((a)&15)
#define B_SET     0x80
#define B_PIE     0x40
#define B_AIE     0x20
#define B_UIE     0x10
#define B_BINARY  0x04 /* DM */
#define B_24H     0x02
#define C_IRQF    0x80
#define C_PF      0x40
#define C_AF      0x20
#define C_UF      0x10
#define D_VRT     0x80
#define HOUR_PM   0x80
#define DONT_CARE 0xc0

/* An update cycle of 1984 µs ends with the second; UIP is seen 244 µs before it begins (figure 14,
 * 32.768 kHz). */
#define UIP_NS     (UINT64_C(1984000) + 244000)
#define CRYSTAL_HZ UINT64_C(32768)

/* So many missed periods in a row are given at once when the one before has been acknowledged; then the guest has a
 * quarter of a period for other things, or a tenth of a millisecond. */
#define IN_A_ROW   16
#define MIN_GAP_NS 100000

struct mc146818 {
	struct dev dev;
	const struct vm *vm; /* whose time it shows */
	struct irq_line irq, alarm;
	struct plat_mutex lock; /* RANK_DEVICE: all below */
	uint8_t index;
	uint8_t cmos[CMOS_SIZE];
	/* Time of the clock, in ns since 1970: host's plus this while it runs, else frozen */
	uint64_t offset; /* mod 2^64 */
	int64_t frozen;
	/* Guest's day of the week and century minus the calendar's, mod 7 and 100 */
	uint8_t weekday_shift, century_shift;
	int64_t seen;     /* second up to which UF and AF are settled */
	uint64_t periods; /* periods of the periodic interrupt up to which PF is settled */
	uint32_t missed;  /* of them, that are to be given yet; not saved: the pause misses more */
	unsigned in_a_row;
	uint64_t acked; /* when register C was read last, ns */
	struct plat_timer timer;
	uint64_t armed; /* when the timer will run, 0: it will not */
};

/* ---- time ---------------------------------------------------------------------------------- */

static bool running(const struct mc146818 *rtc)
{
	return !(rtc->cmos[REG_B] & B_SET) && A_DV(rtc->cmos[REG_A]) < 6;
}

static int64_t clock_ns(const struct mc146818 *rtc)
{
	return running(rtc) ? (int64_t)(vm_realtime(rtc->vm) + rtc->offset) : rtc->frozen;
}

static int64_t ns_second(int64_t ns)
{
	int64_t s = ns / (int64_t)NS_PER_SEC;

	return ns % (int64_t)NS_PER_SEC < 0 ? s - 1 : s;
}

static uint64_t ns_fraction(int64_t ns)
{
	return (uint64_t)(ns - ns_second(ns) * (int64_t)NS_PER_SEC);
}

static void clock_set(struct mc146818 *rtc, int64_t ns)
{
	rtc->offset = (uint64_t)ns - vm_realtime(rtc->vm);
	rtc->frozen = ns;
	rtc->seen = ns_second(ns);
}

static uint8_t encode(const struct mc146818 *rtc, unsigned v)
{
	if (rtc->cmos[REG_B] & B_BINARY)
		return (uint8_t)v;
	return (uint8_t)(v / 10 << 4 | v % 10);
}

static uint8_t decode(const struct mc146818 *rtc, uint8_t v)
{
	if (rtc->cmos[REG_B] & B_BINARY)
		return v;
	return (uint8_t)((v >> 4) * 10 + (v & 15));
}

static uint8_t encode_hour(const struct mc146818 *rtc, unsigned h)
{
	if (rtc->cmos[REG_B] & B_24H)
		return encode(rtc, h);
	return encode(rtc, h % 12 ? h % 12 : 12) | (h >= 12 ? HOUR_PM : 0);
}

static uint8_t decode_hour(const struct mc146818 *rtc, uint8_t v)
{
	unsigned h;

	if (rtc->cmos[REG_B] & B_24H)
		return decode(rtc, v);
	h = decode(rtc, v & (uint8_t)~HOUR_PM) % 12;
	return (uint8_t)(v & HOUR_PM ? h + 12 : h);
}

/* The clock's time into the registers, as an update cycle does. */
static void registers_fill(struct mc146818 *rtc, int64_t second)
{
	struct calendar c;

	calendar_date(second, &c);
	rtc->cmos[SECONDS] = encode(rtc, c.second);
	rtc->cmos[MINUTES] = encode(rtc, c.minute);
	rtc->cmos[HOURS] = encode_hour(rtc, c.hour);
	rtc->cmos[WEEKDAY] = encode(rtc, (c.weekday + rtc->weekday_shift) % 7u + 1u);
	rtc->cmos[DAY] = encode(rtc, c.day);
	rtc->cmos[MONTH] = encode(rtc, c.month);
	rtc->cmos[YEAR] = encode(rtc, (unsigned)c.year % 100);
	/* The century byte is RAM that firmware keeps; it is BCD or binary as the rest. */
	rtc->cmos[CMOS_CENTURY] = encode(rtc, ((unsigned)c.year / 100 + rtc->century_shift) % 100);
}

/* The registers, which the guest has written, give the clock's time. */
static void registers_take(struct mc146818 *rtc, uint64_t fraction)
{
	struct calendar c = {
		.year = decode(rtc, rtc->cmos[CMOS_CENTURY]) * 100 + decode(rtc, rtc->cmos[YEAR]),
		.month = decode(rtc, rtc->cmos[MONTH]),
		.day = decode(rtc, rtc->cmos[DAY]),
		.hour = decode_hour(rtc, rtc->cmos[HOURS]),
		.minute = decode(rtc, rtc->cmos[MINUTES]),
		.second = decode(rtc, rtc->cmos[SECONDS]),
	};
	unsigned weekday = (decode(rtc, rtc->cmos[WEEKDAY]) + 6u) % 7, century;
	int64_t second;

	/* A year beyond what 64-bit nanoseconds can say is replaced by one with the same calendar
	 * and the same last digits. Guests may use the century's byte for anything. */
	century = (unsigned)c.year / 100;
	if (c.year < 1700 || c.year > 2250)
		c.year = 1700 + (c.year + 300) % 400;
	rtc->century_shift = (uint8_t)((century + 100 - (unsigned)c.year / 100) % 100);
	second = calendar_seconds(&c);
	clock_set(rtc, second * (int64_t)NS_PER_SEC + (int64_t)fraction);
	calendar_date(second, &c);
	rtc->weekday_shift = (uint8_t)((weekday + 7u - c.weekday) % 7u);
}

/* ---- flags and interrupts -------------------------------------------------------------------- */

static bool alarm_field(const struct mc146818 *rtc, uint8_t alarm, uint8_t now)
{
	return (alarm & DONT_CARE) == DONT_CARE || alarm == now;
}

/* Seconds from second on (exclusive) to the next one that matches the alarm; 0: none in a day. */
static unsigned alarm_distance(const struct mc146818 *rtc, int64_t second)
{
	struct calendar c;
	unsigned start, t;

	calendar_date(second, &c);
	start = c.hour * 3600u + c.minute * 60u + c.second;
	for (t = start + 1; t <= start + 86400;) {
		unsigned h = t / 3600 % 24, m = t / 60 % 60;

		if (!alarm_field(rtc, rtc->cmos[HOURS_ALARM], encode_hour(rtc, h)))
			t = (t / 3600 + 1) * 3600;
		else if (!alarm_field(rtc, rtc->cmos[MINUTES_ALARM], encode(rtc, m)))
			t = (t / 60 + 1) * 60;
		else if (!alarm_field(rtc, rtc->cmos[SECONDS_ALARM], encode(rtc, t % 60)))
			t++;
		else
			return t - start;
	}
	return 0;
}

/* Nanoseconds of a period of the periodic interrupt as a fraction of crystal pulses; 0: off. */
static unsigned period_pulses(const struct mc146818 *rtc)
{
	unsigned rs = A_RS(rtc->cmos[REG_A]);

	if (!rs || A_DV(rtc->cmos[REG_A]) >= 6)
		return 0;
	return 1u << ((rs < 3 ? rs + 7 : rs) - 1);
}

static uint64_t crystal_pulses(uint64_t ns)
{
	return ns / NS_PER_SEC * CRYSTAL_HZ + ns % NS_PER_SEC * CRYSTAL_HZ / NS_PER_SEC;
}

static uint64_t crystal_ns(uint64_t pulses)
{
	return pulses / CRYSTAL_HZ * NS_PER_SEC +
	       (pulses % CRYSTAL_HZ * NS_PER_SEC + CRYSTAL_HZ - 1) / CRYSTAL_HZ;
}

/* From now on, at the rate that register A says now. */
static void periods_begin(struct mc146818 *rtc)
{
	unsigned pulses = period_pulses(rtc);

	rtc->periods = pulses ? crystal_pulses(plat_now()) / pulses : 0;
	rtc->missed = 0;
}

/* When one that was missed may be given. */
static uint64_t missed_at(const struct mc146818 *rtc, unsigned pulses)
{
	if (rtc->in_a_row < IN_A_ROW)
		return 0;
	return rtc->acked + MAX(crystal_ns(pulses) / 4, (uint64_t)MIN_GAP_NS);
}

/* n more periods have ended. */
static void periods_end(struct mc146818 *rtc, unsigned pulses, uint64_t n)
{
	if (!(rtc->cmos[REG_B] & B_PIE)) {
		rtc->cmos[REG_C] |= n ? C_PF : 0;
		return;
	}
	if ((n || rtc->missed) && !(rtc->cmos[REG_C] & C_PF) &&
	    (n || plat_now() >= missed_at(rtc, pulses))) {
		rtc->in_a_row = n || rtc->in_a_row == IN_A_ROW ? 0 : rtc->in_a_row + 1;
		rtc->cmos[REG_C] |= C_PF;
		n--;
	}
	rtc->missed = (uint32_t)MIN(rtc->missed + n, CRYSTAL_HZ / pulses);
}

/* Brings the flags of register C up to date. */
static void flags_settle(struct mc146818 *rtc)
{
	unsigned pulses = period_pulses(rtc), away;
	int64_t second = ns_second(clock_ns(rtc));
	uint64_t n;

	if (pulses) {
		n = crystal_pulses(plat_now()) / pulses;
		periods_end(rtc, pulses, n - rtc->periods);
		rtc->periods = n;
	}
	if (running(rtc) && second != rtc->seen) {
		rtc->cmos[REG_C] |= C_UF;
		away = alarm_distance(rtc, rtc->seen);
		if (away && second > rtc->seen && second - rtc->seen >= away)
			rtc->cmos[REG_C] |= C_AF;
		rtc->seen = second;
	}
}

static uint64_t next_interrupt(const struct mc146818 *rtc)
{
	uint8_t want = rtc->cmos[REG_B] & (uint8_t)~rtc->cmos[REG_C];
	uint64_t next = PLAT_FOREVER, now = plat_now();
	int64_t clock = clock_ns(rtc);
	unsigned pulses = period_pulses(rtc), away = 0;

	if ((want & B_PIE) && pulses)
		next = crystal_ns((rtc->periods + 1) * pulses);
	if ((want & B_PIE) && rtc->missed)
		next = MIN(next, missed_at(rtc, pulses));
	if (!running(rtc))
		return next;
	if (want & B_UIE)
		away = 1;
	else if (want & B_AIE)
		away = alarm_distance(rtc, rtc->seen);
	if (away)
		next = MIN(next, now + away * NS_PER_SEC - ns_fraction(clock));
	return next;
}

/* Everything that may change the interrupt ends here. */
static void rtc_update(struct mc146818 *rtc)
{
	uint8_t *c = &rtc->cmos[REG_C];
	uint64_t next;

	flags_settle(rtc);
	/* Enable bits have the places of their flags. */
	if (*c & rtc->cmos[REG_B] & (C_PF | C_AF | C_UF))
		*c |= C_IRQF;
	else
		*c &= (uint8_t)~C_IRQF;
	irq_set(&rtc->irq, *c & C_IRQF);
	irq_set(&rtc->alarm, *c & rtc->cmos[REG_B] & C_AF);
	next = next_interrupt(rtc);
	if (next != PLAT_FOREVER && next != rtc->armed) {
		rtc->armed = next;
		plat_timer_arm(&rtc->timer, next);
	}
}

static void rtc_timer(void *arg)
{
	struct mc146818 *rtc = arg;

	plat_mutex_lock(&rtc->lock);
	rtc->armed = 0;
	rtc_update(rtc);
	plat_mutex_unlock(&rtc->lock);
}

/* ---- ports ----------------------------------------------------------------------------------- */

static bool is_time(unsigned index)
{
	return index == SECONDS || index == MINUTES || index == HOURS ||
	       (index >= WEEKDAY && index <= YEAR) || index == CMOS_CENTURY;
}

static uint8_t reg_read(struct mc146818 *rtc, unsigned index)
{
	uint8_t v;

	rtc_update(rtc);
	if (running(rtc) && is_time(index))
		registers_fill(rtc, ns_second(clock_ns(rtc)));
	v = rtc->cmos[index];
	if (index == REG_A && running(rtc) && ns_fraction(clock_ns(rtc)) >= NS_PER_SEC - UIP_NS)
		v |= A_UIP;
	if (index == REG_C) {
		rtc->cmos[REG_C] = 0;
		rtc->acked = plat_now();
		irq_set(&rtc->irq, false); /* the next may come at once: an edge */
		rtc_update(rtc);
	}
	return v;
}

/* A and B decide whether the clock runs: what it shows is kept when that changes. */
static void control_write(struct mc146818 *rtc, unsigned index, uint8_t v)
{
	bool was = running(rtc), held = A_DV(rtc->cmos[REG_A]) >= 6;
	int64_t clock = clock_ns(rtc);

	if (was)
		registers_fill(rtc, ns_second(clock));
	if (index == REG_A) {
		rtc->cmos[REG_A] = v & 0x7f;
		periods_begin(rtc);
	} else {
		if (v & B_SET)
			v &= (uint8_t)~B_UIE; /* SET clears it */
		if ((v ^ rtc->cmos[REG_B]) & B_PIE)
			rtc->missed = 0;
		/* Changing the formats does not convert what the registers hold. */
		rtc->cmos[REG_B] = v;
	}
	if (was && !running(rtc))
		rtc->frozen = clock;
	/* The first update comes half a second after the divider is let go, else the fraction of
	 * the second has gone on. */
	if (!was && running(rtc))
		registers_take(rtc,
			       held ? NS_PER_SEC / 2
				    : ns_fraction((int64_t)(vm_realtime(rtc->vm) + rtc->offset)));
}

static void reg_write(struct mc146818 *rtc, unsigned index, uint8_t v)
{
	switch (index) {
	case REG_A:
	case REG_B:
		rtc_update(rtc);
		control_write(rtc, index, v);
		break;
	case REG_C:
	case REG_D:
		return;
	default:
		if (!is_time(index)) {
			flags_settle(rtc); /* an alarm counts from its setting */
			rtc->cmos[index] = v;
		} else if (running(rtc)) {
			int64_t clock = clock_ns(rtc);

			registers_fill(rtc, ns_second(clock));
			rtc->cmos[index] = v;
			registers_take(rtc, ns_fraction(clock));
		} else {
			rtc->cmos[index] = v;
		}
	}
	rtc_update(rtc);
}

static uint64_t rtc_read(void *dev, uint64_t off, unsigned size)
{
	struct mc146818 *rtc = dev;
	uint8_t v = 0xff; /* the index cannot be read */

	if (!(off & 1))
		return v;
	plat_mutex_lock(&rtc->lock);
	v = reg_read(rtc, rtc->index);
	plat_mutex_unlock(&rtc->lock);
	return v;
}

static void rtc_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct mc146818 *rtc = dev;

	plat_mutex_lock(&rtc->lock);
	if (off & 1)
		reg_write(rtc, rtc->index, (uint8_t)value);
	else
		rtc->index = (uint8_t)value &
			     0x7f; /* bit 7 masks NMI sources, of which there are none */
	plat_mutex_unlock(&rtc->lock);
}

static const struct bus_late rtc_late = {0, 1}; /* the index */

static const struct bus_region rtc_region = {
	.name = "mc146818",
	.base = 0x70,
	.len = 2,
	.min = 1,
	.max = 1,
	.read = rtc_read,
	.write = rtc_write,
	.late = &rtc_late,
};

/* ---- board side ------------------------------------------------------------------------------ */

void mc146818_set(struct mc146818 *rtc, unsigned index, uint8_t value)
{
	if (index <= REG_D || index >= CMOS_SIZE || index == CMOS_CENTURY)
		return;
	plat_mutex_lock(&rtc->lock);
	rtc->cmos[index] = value;
	plat_mutex_unlock(&rtc->lock);
}

uint8_t mc146818_get(struct mc146818 *rtc, unsigned index)
{
	uint8_t v;

	plat_mutex_lock(&rtc->lock);
	v = rtc->cmos[index % CMOS_SIZE];
	plat_mutex_unlock(&rtc->lock);
	return v;
}

static void set_le(struct mc146818 *rtc, unsigned index, uint64_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		mc146818_set(rtc, index + i, (uint8_t)(value >> (8 * i)));
}

void mc146818_set_memory(struct mc146818 *rtc, uint64_t low, uint64_t high)
{
	uint64_t base = MIN(low, 640 * KIB) / KIB;
	uint64_t ext = low > MIB ? MIN((low - MIB) / KIB, UINT64_C(0xffff)) : 0;
	uint64_t above16 =
		low > 16 * MIB ? MIN((low - 16 * MIB) / (64 * KIB), UINT64_C(0xffff)) : 0;

	set_le(rtc, 0x15, base, 2);
	set_le(rtc, 0x17, ext, 2); /* KiB above 1 MiB, up to 64 MiB */
	set_le(rtc, 0x30, ext, 2);
	set_le(rtc, 0x34, above16, 2);           /* 64 KiB above 16 MiB */
	set_le(rtc, 0x5b, high / (64 * KIB), 3); /* 64 KiB above 4 GiB */
}

static void mc146818_reset(struct dev *dev)
{
	struct mc146818 *rtc = container_of(dev, struct mc146818, dev);

	/* The battery keeps time and formats; RESET clears enable bits and flags. */
	plat_mutex_lock(&rtc->lock);
	rtc->index = 0;
	control_write(rtc, REG_B, rtc->cmos[REG_B] & (B_BINARY | B_24H | 0x01 | B_SET));
	rtc->cmos[REG_C] = 0;
	rtc_update(rtc);
	plat_mutex_unlock(&rtc->lock);
}

/* The VM has ended its loop before: no timer runs any more. */
static void mc146818_destroy(struct dev *dev)
{
	plat_free(container_of(dev, struct mc146818, dev));
}

static const struct st_field rtc_fields[] = {
	ST_UMAX(struct mc146818, index, 0x7f),
	ST_RAW(struct mc146818, cmos),
	ST_U(struct mc146818, offset), /* to UTC: the guest's clock goes on with the world's */
	ST_U(struct mc146818, frozen),
	ST_UMAX(struct mc146818, weekday_shift, 6),
	ST_UMAX(struct mc146818, century_shift, 99),
	ST_U(struct mc146818, seen),
};

static int mc146818_state(struct dev *dev, struct state_stream *st)
{
	struct mc146818 *rtc = container_of(dev, struct mc146818, dev);

	plat_mutex_lock(&rtc->lock);
	ST_SYNC(st, "rtc", 0, rtc_fields, rtc);
	if (st->loading && !st->err) {
		rtc->armed = 0;
		periods_begin(rtc);
		rtc_update(rtc);
	}
	plat_mutex_unlock(&rtc->lock);
	return st->err;
}

static const struct dev_class mc146818_class = {
	.name = "mc146818",
	.reset = mc146818_reset,
	.state = mc146818_state,
	.destroy = mc146818_destroy,
};

int mc146818_create(struct vm *vm, const struct mc146818_wiring *w, struct mc146818 **out)
{
	struct mc146818 *rtc = plat_alloc(sizeof(*rtc));
	int err;

	if (!rtc)
		return err_here(ERR_NOMEM);
	rtc->irq = w->irq;
	rtc->alarm = w->alarm;
	plat_mutex_init(&rtc->lock, RANK_DEVICE);
	plat_timer_init(&rtc->timer, vm->loop, rtc_timer, rtc);
	rtc->cmos[REG_A] = 0x26; /* 32.768 kHz, 1024 Hz */
	rtc->cmos[REG_B] = B_24H;
	rtc->cmos[REG_D] = D_VRT;
	rtc->vm = vm;
	clock_set(rtc, (int64_t)vm_realtime(vm) + w->offset * (int64_t)NS_PER_SEC);
	registers_fill(rtc, rtc->seen);
	rtc->periods = crystal_pulses(plat_now()) / period_pulses(rtc);
	err = bus_map(&vm->pio, &rtc_region, rtc);
	if (err) {
		plat_free(rtc);
		return err;
	}
	vm_add_dev(vm, &rtc->dev, &mc146818_class);
	*out = rtc;
	return 0;
}
