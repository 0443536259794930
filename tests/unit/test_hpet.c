/* SPDX-License-Identifier: ISC */
/* test_hpet.c: high precision event timers: counter, one-shot and periodic matches, routes, legacy
 * replacement, messages, saved state, failing memory. */
#include "tests/unit/pc_rig.h"

#include "dev/pc/hpet.h"
#include "vm/stream.h"

#define T(n)      (0x100 + 0x20 * (n))
#define LEVEL     0x02u
#define ENABLE    0x04u
#define PERIODIC  0x08u
#define SET       0x40u
#define MODE32    0x100u
#define FSB       0x4000u
#define ROUTE(n)  ((n) << 9)
#define NS_PER_MS UINT64_C(1000000)
#define MS(n)     (UINT64_C(100000) * (n)) /* ticks */

static struct rig_line pin[24];
static struct hpet *hpet;
static uint64_t msi_addr;
static uint32_t msi_data;
static unsigned msis;

static void pin_set(void *chip, unsigned n, bool level)
{
	rig_line_set(pin, n, level);
}

static void msi(void *chip, uint64_t addr, uint32_t data)
{
	msi_addr = addr;
	msi_data = data;
	msis++;
}

static bool waiting; /* the last one has not been taken */

static bool gsi_waiting(void *arg, unsigned gsi)
{
	return waiting && pin[gsi].rises;
}

static bool msi_waiting(void *arg, uint32_t data)
{
	return waiting && data == msi_data;
}

static const struct hpet_wiring wiring = {.waiting = gsi_waiting, .msi_waiting = msi_waiting};

static struct vm *start(void)
{
	struct vm *vm = rig_vm(1);

	memset(pin, 0, sizeof(pin));
	msis = 0;
	waiting = false;
	vm->irq.ioapic = (struct irq_sink){pin_set, NULL};
	vm->irq.msi = msi;
	assert_int_equal(hpet_create(vm, &wiring, &hpet), 0);
	return vm;
}

static uint64_t rd(struct vm *vm, uint64_t off)
{
	return bus_read(&vm->mmio, 0, HPET_BASE + off, 8);
}

static uint32_t rd32(struct vm *vm, uint64_t off)
{
	return (uint32_t)bus_read(&vm->mmio, 0, HPET_BASE + off, 4);
}

static void wr(struct vm *vm, uint64_t off, uint64_t v)
{
	bus_write(&vm->mmio, 0, HPET_BASE + off, 8, v);
}

static void wr32(struct vm *vm, uint64_t off, uint32_t v)
{
	bus_write(&vm->mmio, 0, HPET_BASE + off, 4, v);
}

static void test_capabilities(void **state)
{
	struct vm *vm = start();

	assert_int_equal(rd(vm, 0), UINT64_C(10000000) << 32 | 0x8086a301);
	assert_int_equal(rd32(vm, 4), 10000000);
	wr(vm, 0, 0);
	assert_int_equal(rd32(vm, 0), 0x8086a301);
	for (unsigned n = 0; n < HPET_TIMERS; n++) {
		assert_int_equal(rd(vm, T(n)), UINT64_C(0xf00000) << 32 | 0x8030);
		assert_int_equal(rd(vm, T(n) + 8), UINT64_MAX);
	}
	/* pins that are not wired are not taken; what is reserved stays 0 */
	wr(vm, T(0), UINT64_MAX & ~UINT64_C(0x3e00));
	assert_int_equal(rd32(vm, T(0)), 0x8030 | LEVEL | ENABLE | PERIODIC | MODE32 | FSB);
	wr(vm, T(0), ROUTE(21));
	wr(vm, T(0), ROUTE(5));
	assert_int_equal(rd32(vm, T(0)), 0x8030 | ROUTE(21));
	/* a 32-bit timer has a 32-bit comparator */
	wr(vm, T(1), MODE32);
	assert_int_equal(rd(vm, T(1) + 8), UINT32_MAX);
	assert_int_equal(rd(vm, T(HPET_TIMERS)), 0);
	assert_int_equal(bus_read(&vm->mmio, 0, HPET_BASE + 0xf4 - 2, 4), 0);
	rig_end(vm);
}

static void test_counter(void **state)
{
	struct vm *vm = start();

	fake_advance(NS_PER_SEC);
	assert_int_equal(rd(vm, 0xf0), 0);
	wr(vm, 0x10, 1);
	fake_advance(NS_PER_SEC);
	assert_int_equal(rd(vm, 0xf0), HPET_HZ);
	wr(vm, 0x10, 0); /* halted, it keeps its value */
	fake_advance(NS_PER_SEC);
	assert_int_equal(rd(vm, 0xf0), HPET_HZ);
	wr32(vm, 0xf0, 0xfffffff0);
	wr32(vm, 0xf4, 7);
	assert_int_equal(rd(vm, 0xf0), 0x7fffffff0);
	wr(vm, 0x10, 1);
	fake_advance(320);
	assert_int_equal(rd(vm, 0xf0), 0x800000010);
	assert_int_equal(rd32(vm, 0xf4), 8);
	vm->devs->cls->reset(vm->devs);
	assert_int_equal(rd(vm, 0xf0), 0);
	assert_int_equal(rd(vm, 0x10), 0);
	rig_end(vm);
}

static void test_one_shot(void **state)
{
	struct vm *vm = start();

	wr(vm, T(2), ENABLE | ROUTE(22));
	wr(vm, T(2) + 8, MS(5));
	fake_advance(NS_PER_SEC); /* nothing while halted */
	assert_int_equal(pin[22].rises, 0);
	wr(vm, 0x10, 1);
	fake_advance(4999990);
	assert_int_equal(pin[22].rises, 0);
	fake_advance(10);
	assert_int_equal(pin[22].rises, 1);
	assert_false(pin[22].level);
	assert_int_equal(rd(vm, 0x20), 0); /* status is for level-triggered ones */
	fake_advance(NS_PER_SEC * 100);
	assert_int_equal(pin[22].rises, 1);
	/* in the past: no match before the counter wraps */
	wr(vm, T(2) + 8, MS(1));
	fake_advance(NS_PER_SEC);
	assert_int_equal(pin[22].rises, 1);
	/* 32 bits: once a turn of 42.9 s */
	wr(vm, T(2), ENABLE | MODE32 | ROUTE(22));
	wr(vm, T(2) + 8, rd32(vm, 0xf0) + 1000);
	fake_advance(NS_PER_SEC * 100);
	assert_int_equal(pin[22].rises, 4);
	wr(vm, T(2), MODE32 | ROUTE(22)); /* disabled */
	fake_advance(NS_PER_SEC * 100);
	assert_int_equal(pin[22].rises, 4);
	rig_end(vm);
}

static void test_periodic(void **state)
{
	struct vm *vm = start();

	wr(vm, 0x10, 1);
	/* as Linux does: first match, then period */
	wr32(vm, T(3), ENABLE | PERIODIC | SET | MODE32 | ROUTE(23));
	wr32(vm, T(3) + 8, (uint32_t)MS(10));
	wr32(vm, T(3) + 8, (uint32_t)MS(1));
	fake_advance(9 * NS_PER_MS);
	assert_int_equal(pin[23].rises, 0);
	for (unsigned i = 1; i <= 50; i++) {
		fake_advance(NS_PER_MS);
		assert_int_equal(pin[23].rises, i);
	}
	assert_int_equal(rd(vm, T(3) + 8), MS(60));
	/* without SET only the period changes: the next match stays where it is */
	wr32(vm, T(3) + 8, (uint32_t)MS(3));
	fake_advance(NS_PER_MS);
	assert_int_equal(pin[23].rises, 51);
	fake_advance(2 * NS_PER_MS);
	assert_int_equal(pin[23].rises, 51);
	fake_advance(NS_PER_MS);
	assert_int_equal(pin[23].rises, 52);
	/* one write with SET is both */
	wr(vm, T(3), ENABLE | PERIODIC | SET | ROUTE(23));
	wr(vm, T(3) + 8, rd(vm, 0xf0) + MS(2));
	assert_int_equal(rd(vm, T(3) + 8), MS(65));
	/* a period too short for anybody does not hang the host */
	wr(vm, T(3), ENABLE | PERIODIC | SET | ROUTE(23));
	wr(vm, T(3) + 8, rd(vm, 0xf0) + 1);
	wr(vm, T(3) + 8, 1);
	pin[23].rises = 0;
	fake_advance(10 * NS_PER_MS);
	assert_in_range(pin[23].rises, 90, 110);
	rig_end(vm);
}

static unsigned levels; /* that have been acknowledged */

static void acknowledge(struct vm *vm)
{
	levels += (rd(vm, 0x20) & 4) != 0;
	wr(vm, 0x20, 4);
}

/* What a periodic timer has done until now */
static unsigned done(unsigned how)
{
	return how & FSB ? msis : how & LEVEL ? levels : pin[21].rises;
}

/* A guest that is held up for half a second gets what it has missed: by pin, by level, by message. */
static void test_late(void **state)
{
	static const unsigned hows[] = {ROUTE(21), LEVEL | ROUTE(20), FSB};

	for (unsigned i = 0; i < ARRAY_SIZE(hows); i++) {
		struct vm *vm = start();

		levels = 0;
		wr(vm, 0x10, 1);
		wr(vm, T(2), ENABLE | PERIODIC | SET | hows[i]);
		wr(vm, T(2) + 0x10, UINT64_C(0xfee00000) << 32 | 0x51);
		wr(vm, T(2) + 8, MS(1));
		for (unsigned ms = 0; ms < 2000; ms++) {
			waiting = ms >= 1000 && ms < 1500;
			for (unsigned k = 0; k < 10; k++) {
				fake_advance(NS_PER_MS / 10);
				if (!waiting)
					acknowledge(vm);
			}
			if (ms == 999)
				assert_int_equal(done(hows[i]), 1000);
			if (ms == 1499)
				assert_in_range(done(hows[i]), 1000, 1001);
			if (ms == 1999)
				assert_in_range(done(hows[i]), 1998, 2001);
		}
		/* a second's worth at most */
		waiting = true;
		fake_advance(10 * NS_PER_SEC);
		waiting = false;
		for (unsigned k = 0; k < 10000; k++) {
			acknowledge(vm);
			fake_advance(NS_PER_MS / 10);
		}
		assert_in_range(done(hows[i]), 3980, 4003);
		/* nothing of it with another period */
		waiting = true;
		fake_advance(NS_PER_SEC);
		waiting = false;
		wr(vm, T(2), ENABLE | PERIODIC | SET | hows[i]);
		wr(vm, T(2) + 8, rd(vm, 0xf0) + MS(1));
		wr(vm, T(2) + 8, MS(2));
		msis = levels = pin[21].rises = 0;
		for (unsigned k = 0; k < 10000; k++) {
			acknowledge(vm);
			fake_advance(NS_PER_MS / 10);
		}
		assert_in_range(done(hows[i]), 499, 501);
		rig_end(vm);
	}
}

static void test_level(void **state)
{
	struct vm *vm = start();

	wr(vm, T(0), ENABLE | LEVEL | ROUTE(20));
	wr(vm, T(1), ENABLE | LEVEL | ROUTE(20)); /* they share a pin */
	wr(vm, T(0) + 8, MS(1));
	wr(vm, T(1) + 8, MS(2));
	wr(vm, 0x10, 1);
	fake_advance(NS_PER_MS);
	assert_true(pin[20].level);
	assert_int_equal(rd(vm, 0x20), 1);
	fake_advance(NS_PER_MS);
	wr(vm, 0x20, 1);
	assert_true(pin[20].level);
	assert_int_equal(rd(vm, 0x20), 2);
	wr(vm, T(1), LEVEL | ROUTE(20)); /* status without interrupt */
	assert_false(pin[20].level);
	wr(vm, T(1), ENABLE | LEVEL | ROUTE(20));
	assert_true(pin[20].level);
	wr(vm, 0x10, 0);
	assert_false(pin[20].level);
	wr(vm, 0x10, 1);
	wr32(vm, 0x20, 2);
	assert_false(pin[20].level);
	assert_int_equal(rd(vm, 0x20), 0);
	rig_end(vm);
}

static void test_legacy(void **state)
{
	struct vm *vm = start();
	struct irq_line pit = hpet_legacy_line(hpet, 0), rtc = hpet_legacy_line(hpet, 1);

	irq_pulse(&pit); /* I/O APIC pin 2 */
	irq_pulse(&rtc);
	assert_int_equal(pin[2].rises, 1);
	assert_int_equal(pin[8].rises, 1);
	wr(vm, T(0), ENABLE | PERIODIC | SET);
	wr(vm, T(0) + 8, MS(1));
	wr(vm, T(1), ENABLE | ROUTE(21)); /* the route does not count */
	wr(vm, T(1) + 8, MS(3));
	irq_set(&pit, true);
	assert_true(pin[2].level);
	wr(vm, 0x10, 3);
	assert_false(pin[2].level); /* the i8254 is disconnected */
	irq_pulse(&rtc);
	assert_int_equal(pin[8].rises, 1);
	fake_advance(3 * NS_PER_MS);
	assert_int_equal(pin[2].rises, 2 + 3);
	assert_int_equal(pin[8].rises, 2);
	assert_int_equal(pin[21].rises, 0);
	wr(vm, 0x10, 1);
	assert_true(pin[2].level); /* what the i8254 says now */
	irq_set(&pit, false);
	assert_false(pin[2].level);
	fake_advance(3 * NS_PER_MS); /* timer 0 has no pin now */
	assert_int_equal(pin[2].rises, 6);
	rig_end(vm);
}

static void test_message(void **state)
{
	struct vm *vm = start();

	wr(vm, T(1) + 0x10, UINT64_C(0xfee01000) << 32 | 0x4031);
	wr(vm, T(1), ENABLE | FSB | ROUTE(21));
	wr(vm, T(1) + 8, MS(1));
	wr(vm, 0x10, 1);
	fake_advance(NS_PER_MS);
	assert_int_equal(msis, 1);
	assert_int_equal(msi_addr, 0xfee01000);
	assert_int_equal(msi_data, 0x4031);
	assert_int_equal(pin[21].rises, 0);
	rig_end(vm);
}

static struct {
	uint8_t buf[8192];
	size_t len, pos;
} file;

static int file_write(void *ctx, const void *buf, size_t len)
{
	if (len > sizeof(file.buf) - file.len)
		return ERR_NOMEM;
	memcpy(file.buf + file.len, buf, len);
	file.len += len;
	return 0;
}

static int file_read(void *ctx, void *buf, size_t len)
{
	if (len > file.len - file.pos)
		return ERR_FORMAT;
	memcpy(buf, file.buf + file.pos, len);
	file.pos += len;
	return 0;
}

static const struct state_io io = {file_write, file_read};

static void save(struct vm *vm)
{
	struct state_stream st;

	memset(&file, 0, sizeof(file));
	assert_int_equal(state_open(&st, &io, NULL, false), 0);
	state_begin(&st, "hpet", 1);
	assert_int_equal(vm->devs->cls->state(vm->devs, &st), 0);
	assert_int_equal(state_end(&st), 0);
	assert_int_equal(state_finish(&st), 0);
	state_close(&st);
}

static void load(struct vm *vm)
{
	struct state_stream st;

	assert_int_equal(state_open(&st, &io, NULL, true), 0);
	assert_int_equal(state_next(&st), 0);
	assert_int_equal(state_expect(&st, "hpet", 1), 0);
	assert_int_equal(vm->devs->cls->state(vm->devs, &st), 0);
	assert_int_equal(state_leave(&st), 0);
	state_close(&st);
}

static void test_state(void **state)
{
	struct vm *vm = start();
	struct irq_line pit;

	wr(vm, T(0), ENABLE | PERIODIC | SET);
	wr(vm, T(0) + 8, MS(4));
	wr(vm, T(2), ENABLE | LEVEL | ROUTE(20));
	wr(vm, T(2) + 8, MS(1));
	wr(vm, 0x10, 3);
	fake_advance(3 * NS_PER_MS);
	save(vm);
	rig_end(vm);

	vm = start();
	fake_advance(77 * NS_PER_SEC); /* another host, another clock */
	load(vm);
	assert_int_equal(rd(vm, 0xf0), MS(3));
	assert_int_equal(rd(vm, 0x20), 4);
	fake_advance(NS_PER_MS - 10);
	assert_int_equal(pin[2].rises, 0);
	fake_advance(10);
	assert_int_equal(pin[2].rises, 1);
	fake_advance(4 * NS_PER_MS);
	assert_int_equal(pin[2].rises, 2);
	pit = hpet_legacy_line(hpet, 0);
	irq_pulse(&pit);
	assert_int_equal(pin[2].rises, 2);
	rig_end(vm);
}

static void test_no_memory(void **state)
{
	struct vm *vm = rig_vm(1);

	fake_fail_alloc(1);
	assert_int_equal(hpet_create(vm, &wiring, &hpet), ERR_NOMEM);
	assert_int_equal(hpet_create(vm, &wiring, &hpet), 0);
	assert_int_not_equal(hpet_create(vm, &wiring, &hpet), 0); /* the place is taken */
	rig_end(vm);
}

static void test_garbage(void **state)
{
	static const struct rig_range range = {HPET_BASE, 0x1a0};
	struct rig_random r = rig_random();
	struct vm *vm = start();

	rig_garbage(vm, &vm->mmio, &range, 1, 100000, &r);
	rig_end(vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_capabilities), cmocka_unit_test(test_counter),
		cmocka_unit_test(test_one_shot),     cmocka_unit_test(test_periodic),
		cmocka_unit_test(test_late),         cmocka_unit_test(test_level),
		cmocka_unit_test(test_legacy),       cmocka_unit_test(test_message),
		cmocka_unit_test(test_state),        cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_garbage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
