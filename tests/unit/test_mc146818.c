/* SPDX-License-Identifier: ISC */
/* test_mc146818.c: real-time clock, CMOS RAM and calendar. */
#include "tests/unit/pc_rig.h"

#include <time.h>

#include "dev/pc/calendar.h"
#include "dev/pc/mc146818.h"

#define UTC() (UINT64_C(1709209425) * NS_PER_SEC) /* Thursday 2024-02-29 12:23:45 */

static struct rig_line irq8;
static struct mc146818 *rtc;

static struct vm *start(uint64_t ns)
{
	struct mc146818_wiring w = {.irq = {rig_line_set, &irq8, 0}};
	struct vm *vm = rig_vm(1);

	memset(&irq8, 0, sizeof(irq8));
	fake_set_realtime(ns);
	assert_int_equal(mc146818_create(vm, &w, &rtc), 0);
	return vm;
}

static uint8_t rd(struct vm *vm, uint8_t index)
{
	outb(vm, 0x70, index);
	return inb(vm, 0x71);
}

static void wr(struct vm *vm, uint8_t index, uint8_t v)
{
	outb(vm, 0x70, 0x80 | index);
	outb(vm, 0x71, v);
}

static void check_time(struct vm *vm, unsigned hour, unsigned minute, unsigned second)
{
	assert_int_equal(rd(vm, 4), hour);
	assert_int_equal(rd(vm, 2), minute);
	assert_int_equal(rd(vm, 0), second);
}

static void check_date(struct vm *vm, unsigned century, unsigned year, unsigned month, unsigned day,
		       unsigned weekday)
{
	assert_int_equal(rd(vm, 0x32), century);
	assert_int_equal(rd(vm, 9), year);
	assert_int_equal(rd(vm, 8), month);
	assert_int_equal(rd(vm, 7), day);
	assert_int_equal(rd(vm, 6), weekday);
}

static void test_calendar(void **state)
{
	struct rig_random r = rig_random();

	for (unsigned i = 0; i < 100000; i++) {
		int64_t s = (int64_t)(rig_next(&r) % (1u << 31)) * 8 - (INT64_C(1) << 33);
		time_t t = s;
		struct tm tm;
		struct calendar c;

		calendar_date(s, &c);
		gmtime_r(&t, &tm);
		if (c.year != tm.tm_year + 1900 || c.month != tm.tm_mon + 1 ||
		    c.day != tm.tm_mday || c.hour != tm.tm_hour || c.minute != tm.tm_min ||
		    c.second != tm.tm_sec || c.weekday != tm.tm_wday)
			fail_msg("wrong date for %lld", (long long)s);
		assert_true(calendar_seconds(&c) == s);
	}
	/* every day of two eras */
	for (int64_t d = -300000; d < 300000; d++) {
		struct calendar c;

		calendar_date(d * 86400, &c);
		assert_in_range(c.month, 1, 12);
		assert_in_range(c.day, 1, 31);
		assert_true(calendar_seconds(&c) == d * 86400);
	}
}

static void test_reads(void **state)
{
	struct vm *vm = start(UTC());

	assert_int_equal(rd(vm, 0x0d), 0x80);
	check_time(vm, 0x12, 0x23, 0x45);
	check_date(vm, 0x20, 0x24, 0x02, 0x29, 5);
	fake_advance(NS_PER_SEC * 15);
	check_time(vm, 0x12, 0x24, 0x00);
	fake_advance(NS_PER_SEC * 3600 * 12);
	check_time(vm, 0x00, 0x24, 0x00);
	check_date(vm, 0x20, 0x24, 0x03, 0x01, 6);
	/* the host's clock is set: the guest's goes with it */
	fake_set_realtime(UTC() + NS_PER_SEC);
	check_time(vm, 0x12, 0x23, 0x46);
	rig_end(vm);
}

static void test_formats(void **state)
{
	struct vm *vm = start(UTC());

	wr(vm, 0x0b, 0x06); /* binary, 24 hours */
	check_time(vm, 12, 23, 45);
	check_date(vm, 20, 24, 2, 29, 5);
	wr(vm, 0x0b, 0x00); /* BCD, 12 hours */
	check_time(vm, 0x92, 0x23, 0x45);
	fake_advance(NS_PER_SEC * 3600);
	check_time(vm, 0x81, 0x23, 0x45);
	fake_advance(NS_PER_SEC * 3600 * 11);
	check_time(vm, 0x12, 0x23, 0x45); /* midnight is 12 AM */
	fake_advance(NS_PER_SEC * 3600);
	check_time(vm, 0x01, 0x23, 0x45);
	wr(vm, 4, 0x12); /* AM */
	wr(vm, 0x0b, 0x02);
	assert_int_equal(rd(vm, 4), 0x00);
	rig_end(vm);
}

/* As Linux does: SET, divider reset, registers, and back. */
static void test_set(void **state)
{
	struct vm *vm = start(UTC());
	uint8_t b = rd(vm, 0x0b), a = rd(vm, 0x0a) & 0x7f;

	wr(vm, 0x0b, b | 0x80);
	wr(vm, 0x0a, a | 0x70);
	wr(vm, 9, 0x99);
	wr(vm, 8, 0x12);
	wr(vm, 7, 0x31);
	wr(vm, 6, 0x03);
	wr(vm, 4, 0x23);
	wr(vm, 2, 0x59);
	wr(vm, 0, 0x58);
	wr(vm, 0x32, 0x19);
	fake_advance(NS_PER_SEC * 10); /* it stands */
	check_time(vm, 0x23, 0x59, 0x58);
	wr(vm, 0x0b, b);
	wr(vm, 0x0a, a);
	check_time(vm, 0x23, 0x59, 0x58);
	fake_advance(NS_PER_SEC / 2 - 1);
	check_time(vm, 0x23, 0x59, 0x58);
	fake_advance(1); /* half a second after the divider was let go */
	check_time(vm, 0x23, 0x59, 0x59);
	fake_advance(NS_PER_SEC);
	check_time(vm, 0, 0, 0);
	/* the day of the week goes on from what was written, right or wrong */
	check_date(vm, 0x20, 0x00, 0x01, 0x01, 4);
	/* without SET each byte counts at once */
	wr(vm, 2, 0x30);
	check_time(vm, 0, 0x30, 0);
	/* a reset of the machine does not touch time */
	vm->devs->cls->reset(vm->devs);
	check_time(vm, 0, 0x30, 0);
	/* a century byte that is used for something else */
	wr(vm, 0x32, 0x03);
	assert_int_equal(rd(vm, 0x32), 0x03);
	assert_int_equal(rd(vm, 9), 0x00);
	check_time(vm, 0, 0x30, 0);
	rig_end(vm);
}

static void test_uip(void **state)
{
	struct vm *vm = start(UTC());

	assert_int_equal(rd(vm, 0x0a), 0x26);
	fake_advance(NS_PER_SEC - 2228000 - 1);
	assert_int_equal(rd(vm, 0x0a), 0x26);
	fake_advance(1);
	assert_int_equal(rd(vm, 0x0a), 0xa6);
	assert_int_equal(rd(vm, 0), 0x45);
	fake_advance(2227999);
	assert_int_equal(rd(vm, 0x0a), 0xa6);
	fake_advance(1);
	assert_int_equal(rd(vm, 0x0a), 0x26);
	assert_int_equal(rd(vm, 0), 0x46);
	wr(vm, 0x0b, 0x82); /* no updates */
	fake_advance(NS_PER_SEC - 1);
	assert_int_equal(rd(vm, 0x0a), 0x26);
	rig_end(vm);
}

static void test_update_ended(void **state)
{
	struct vm *vm = start(UTC());

	fake_advance(NS_PER_SEC);
	assert_int_equal(rd(vm, 0x0c), 0x50); /* flags without interrupts, cleared by reading */
	assert_int_equal(rd(vm, 0x0c) & 0x10, 0);
	assert_int_equal(irq8.rises, 0);
	wr(vm, 0x0b, 0x12);
	fake_advance(NS_PER_SEC - 1);
	assert_int_equal(irq8.rises, 0);
	fake_advance(1);
	assert_int_equal(irq8.rises, 1);
	fake_advance(NS_PER_SEC * 5); /* not read: no more */
	assert_int_equal(irq8.rises, 1);
	assert_int_equal(rd(vm, 0x0c) & 0x90, 0x90);
	assert_false(irq8.level);
	fake_advance(NS_PER_SEC);
	assert_int_equal(irq8.rises, 2);
	wr(vm, 0x0b, 0x92); /* SET clears UIE */
	assert_int_equal(rd(vm, 0x0b), 0x82);
	rig_end(vm);
}

static void test_periodic(void **state)
{
	struct vm *vm = start(UTC());
	unsigned n = 0;

	wr(vm, 0x0a, 0x26); /* 1024 Hz */
	rd(vm, 0x0c);
	wr(vm, 0x0b, 0x42);
	for (unsigned i = 0; i < 10000; i++) {
		fake_advance(NS_PER_SEC / 10000);
		if (irq8.level) {
			n++;
			assert_int_equal(rd(vm, 0x0c) & 0xc0, 0xc0);
		}
	}
	assert_in_range(n, 1023, 1025);
	wr(vm, 0x0a, 0x21); /* 256 Hz, as 27H and 28H */
	rd(vm, 0x0c);
	n = irq8.rises;
	for (unsigned i = 0; i < 1000; i++) {
		fake_advance(NS_PER_SEC / 1000);
		rd(vm, 0x0c);
	}
	assert_in_range(irq8.rises - n, 255, 257);
	wr(vm, 0x0a, 0x20); /* off */
	rd(vm, 0x0c);
	fake_advance(NS_PER_SEC);
	assert_int_equal(rd(vm, 0x0c) & 0x40, 0);
	assert_false(irq8.level);
	rig_end(vm);
}

/* Takes what comes for so long, a tenth of a millisecond after it has come; each is an edge. */
static unsigned take(struct vm *vm, uint64_t ns)
{
	unsigned n = 0, rises;

	for (uint64_t t = 0; t < ns; t += NS_PER_SEC / 10000) {
		fake_advance(NS_PER_SEC / 10000);
		if (!irq8.level)
			continue;
		rises = irq8.rises;
		assert_int_equal(rd(vm, 0x0c) & 0xc0, 0xc0);
		assert_int_equal(irq8.rises - rises, irq8.level);
		n++;
	}
	return n;
}

/* A guest that was held up gets the ticks that it has missed. */
static void test_lost(void **state)
{
	struct vm *vm = start(UTC());
	unsigned n;

	wr(vm, 0x0a, 0x26); /* 1024 Hz */
	rd(vm, 0x0c);
	wr(vm, 0x0b, 0x42);
	n = take(vm, NS_PER_SEC / 2);
	for (unsigned i = 0; i < 5; i++) {
		fake_advance(NS_PER_SEC / 50);
		n += take(vm, NS_PER_SEC * 3 / 100);
	}
	assert_in_range(n, 764, 768);
	n += take(vm, NS_PER_SEC / 4);
	assert_in_range(n, 1023, 1025);
	/* an end to those that come at once */
	fake_advance(NS_PER_SEC / 10);
	for (n = 0; irq8.level; n++)
		assert_int_equal(rd(vm, 0x0c) & 0xc0, 0xc0);
	assert_in_range(n, 16, 18);
	n += take(vm, NS_PER_SEC / 10);
	assert_in_range(n, 203, 206);
	/* of the last second at most */
	fake_advance(NS_PER_SEC * 10);
	n = take(vm, NS_PER_SEC);
	assert_in_range(n, 2047, 2049);
	assert_in_range(take(vm, NS_PER_SEC), 1023, 1025);
	/* who sets the rate or enables anew is owed nothing */
	fake_advance(NS_PER_SEC / 2);
	wr(vm, 0x0a, 0x26);
	assert_in_range(take(vm, NS_PER_SEC / 2), 512, 514);
	fake_advance(NS_PER_SEC / 2);
	wr(vm, 0x0b, 0x02);
	wr(vm, 0x0b, 0x42);
	assert_in_range(take(vm, NS_PER_SEC / 2), 512, 514);
	/* nor who polls */
	wr(vm, 0x0b, 0x02);
	fake_advance(NS_PER_SEC / 2);
	assert_int_equal(rd(vm, 0x0c) & 0xc0, 0x40);
	fake_advance(1);
	assert_int_equal(rd(vm, 0x0c), 0);
	rig_end(vm);
}

static void test_alarm(void **state)
{
	struct vm *vm = start(UTC());

	wr(vm, 1, 0x10);
	wr(vm, 3, 0x24);
	wr(vm, 5, 0x12);
	rd(vm, 0x0c);
	wr(vm, 0x0b, 0x22);
	fake_advance(NS_PER_SEC * 25 - 1);
	assert_int_equal(irq8.rises, 0);
	fake_advance(1);
	assert_int_equal(irq8.rises, 1);
	assert_int_equal(rd(vm, 0x0c) & 0xa0, 0xa0);
	fake_advance(NS_PER_SEC * 86400 - 1);
	assert_int_equal(irq8.rises, 1);
	fake_advance(1);
	assert_int_equal(irq8.rises, 2);
	rd(vm, 0x0c);
	wr(vm, 1, 0xc0); /* each second of that minute */
	fake_advance(NS_PER_SEC);
	assert_int_equal(irq8.rises, 3);
	rd(vm, 0x0c);
	wr(vm, 3, 0xff);
	wr(vm, 5, 0xc5);
	wr(vm, 1, 0x30); /* once a minute */
	for (unsigned i = 0; i < 600; i++) {
		fake_advance(NS_PER_SEC);
		rd(vm, 0x0c);
	}
	assert_int_equal(irq8.rises, 13);
	wr(vm, 1, 0x61); /* never */
	for (unsigned i = 0; i < 200; i++) {
		fake_advance(NS_PER_SEC);
		rd(vm, 0x0c);
	}
	assert_int_equal(irq8.rises, 13);
	/* the flag comes without the interrupt enabled, too */
	wr(vm, 0x0b, 0x02);
	wr(vm, 1, 0x30);
	rd(vm, 0x0c);
	fake_advance(NS_PER_SEC * 60);
	assert_int_equal(rd(vm, 0x0c) & 0xa0, 0x20);
	rig_end(vm);
}

static void test_nvram(void **state)
{
	struct vm *vm = start(UTC());

	for (uint8_t i = 0x0e; i < 0x80; i++)
		if (i != 0x32)
			wr(vm, i, (uint8_t)(i * 3));
	for (uint8_t i = 0x0e; i < 0x80; i++)
		if (i != 0x32)
			assert_int_equal(rd(vm, i), (uint8_t)(i * 3));
	mc146818_set_memory(rtc, 0xc0000000, UINT64_C(5) << 30);
	assert_int_equal(rd(vm, 0x15) | rd(vm, 0x16) << 8, 640);
	assert_int_equal(rd(vm, 0x30) | rd(vm, 0x31) << 8, 0xffff);
	assert_int_equal(rd(vm, 0x34) | rd(vm, 0x35) << 8, (0xc0000000 - (16 << 20)) >> 16);
	assert_int_equal(rd(vm, 0x5b) | rd(vm, 0x5c) << 8 | rd(vm, 0x5d) << 16, 5 << 14);
	mc146818_set(rtc, 0x38, 0x21);
	assert_int_equal(mc146818_get(rtc, 0x38), 0x21);
	assert_int_equal(inb(vm, 0x70), 0xff);
	rig_end(vm);
}

static void test_garbage(void **state)
{
	static const struct rig_range ports[] = {{0x70, 2}};
	struct rig_random r = rig_random();
	struct vm *vm = start(UTC());

	for (unsigned i = 0; i < 50; i++)
		rig_garbage(vm, &vm->pio, ports, 1, 2000, &r);
	/* aim at the clock's own registers */
	for (unsigned i = 0; i < 100000; i++) {
		wr(vm, (uint8_t)(rig_next(&r) % 15 == 14 ? 0x32 : rig_next(&r) % 14),
		   (uint8_t)rig_next(&r));
		rd(vm, (uint8_t)(rig_next(&r) % 14));
		if (i % 8 == 0)
			fake_advance(rig_next(&r) % (1u << rig_next(&r) % 32));
	}
	rig_end(vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calendar), cmocka_unit_test(test_reads),
		cmocka_unit_test(test_formats),  cmocka_unit_test(test_set),
		cmocka_unit_test(test_uip),      cmocka_unit_test(test_update_ended),
		cmocka_unit_test(test_periodic), cmocka_unit_test(test_lost),
		cmocka_unit_test(test_alarm),    cmocka_unit_test(test_nvram),
		cmocka_unit_test(test_garbage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
