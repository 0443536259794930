/* SPDX-License-Identifier: ISC */
/* test_i8254.c: the counters of an 8254 against the waveforms of its data sheet, pulse by pulse,
 * and the PC's timer with IRQ 0 and port 61H. */
#include "tests/unit/pc_rig.h"

#include "dev/pc/i8254.h"
#include "dev/pc/i8254_counter.h"
#include "dev/pc/pcspk.h"

/* What the data sheet's figures show: at each pulse after the write, the counting element and OUT.
 * Gate actions and new counts happen before the pulse of their row. */
struct wave {
	int count; /* -1: not looked at */
	bool out;
	enum { NOTHING, GATE_LOW, GATE_HIGH, WRITE } action;
	uint8_t value;
};

static void check_wave(uint8_t control, uint8_t first, bool gate, const struct wave *w, unsigned n)
{
	struct i8254_counter c = {.gate = gate};
	uint64_t t = 1000;

	ctr_reset(&c);
	ctr_control(&c, control, t);
	ctr_write(&c, first, t);
	for (unsigned i = 0; i < n; i++) {
		if (w[i].action == WRITE)
			ctr_write(&c, w[i].value, t);
		else if (w[i].action != NOTHING)
			ctr_set_gate(&c, w[i].action == GATE_HIGH, t);
		t++;
		if (w[i].count >= 0) {
			ctr_latch_count(&c, t);
			if (ctr_read(&c, t) != w[i].count)
				fail_msg("mode %u, pulse %u: count is not %d", control >> 1 & 7, i,
					 w[i].count);
		}
		if (ctr_out(&c, t) != w[i].out)
			fail_msg("mode %u, pulse %u: OUT is not %d", control >> 1 & 7, i, w[i].out);
	}
}
#define CHECK(control, first, gate, ...)                                    \
	do {                                                                \
		static const struct wave w_[] = {__VA_ARGS__};              \
		check_wave((control), (first), (gate), w_, ARRAY_SIZE(w_)); \
	} while (0)

/* clang-format off */
static void test_waves(void **state)
{
	/* Mode 0: CW 10H, LSB 4 */
	CHECK(0x10, 4, true, {4, 0}, {3, 0}, {2, 0}, {1, 0}, {0, 1}, {0xff, 1}, {0xfe, 1});
	/* gate closed for two pulses */
	CHECK(0x10, 3, true, {3, 0}, {2, 0}, {2, 0, GATE_LOW}, {2, 0}, {1, 0, GATE_HIGH}, {0, 1}, {0xff, 1});
	/* new count on the way */
	CHECK(0x10, 3, true, {3, 0}, {2, 0}, {1, 0}, {2, 0, WRITE, 2}, {1, 0}, {0, 1}, {0xff, 1});
	/* Mode 1: CW 12H, LSB 3; triggered, retriggered */
	CHECK(0x12, 3, false, {-1, 1}, {-1, 1}, {3, 0, GATE_HIGH}, {2, 0}, {1, 0}, {0, 1}, {0xff, 1, GATE_LOW},
	      {3, 0, GATE_HIGH}, {2, 0, GATE_LOW}, {3, 0, GATE_HIGH}, {2, 0}, {1, 0}, {0, 1});
	/* a new count waits for the next trigger */
	CHECK(0x12, 2, false, {-1, 1}, {2, 0, GATE_HIGH}, {1, 0, WRITE, 4}, {0, 1}, {0xff, 1, GATE_LOW},
	      {4, 0, GATE_HIGH}, {3, 0});
	/* Mode 2: CW 14H, LSB 3 */
	CHECK(0x14, 3, true, {3, 1}, {2, 1}, {1, 0}, {3, 1}, {2, 1}, {1, 0}, {3, 1});
	/* gate */
	CHECK(0x14, 3, true, {3, 1}, {2, 1}, {2, 1, GATE_LOW}, {3, 1, GATE_HIGH}, {2, 1}, {1, 0}, {3, 1});
	/* new count takes over after this period */
	CHECK(0x14, 4, true, {4, 1}, {3, 1}, {2, 1, WRITE, 5}, {1, 0}, {5, 1}, {4, 1}, {3, 1}, {2, 1}, {1, 0}, {5, 1});
	/* Mode 3: CW 16H, LSB 4 and 5 */
	CHECK(0x16, 4, true, {4, 1}, {2, 1}, {4, 0}, {2, 0}, {4, 1}, {2, 1}, {4, 0}, {2, 0}, {4, 1});
	CHECK(0x16, 5, true, {5, 1}, {4, 1}, {2, 1}, {5, 0}, {2, 0}, {5, 1}, {4, 1}, {2, 1}, {5, 0}, {2, 0});
	/* gate */
	CHECK(0x16, 4, true, {4, 1}, {2, 1}, {4, 0}, {4, 1, GATE_LOW}, {4, 1}, {4, 1, GATE_HIGH}, {2, 1}, {4, 0});
	/* Mode 4: CW 18H, LSB 3: strobe of one pulse, N + 1 pulses after the write */
	CHECK(0x18, 3, true, {3, 1}, {2, 1}, {1, 1}, {0, 0}, {0xff, 1}, {0xfe, 1});
	CHECK(0x18, 3, true, {3, 1}, {3, 1, GATE_LOW}, {3, 1}, {2, 1, GATE_HIGH}, {1, 1}, {0, 0}, {0xff, 1});
	CHECK(0x18, 3, true, {3, 1}, {2, 1}, {2, 1, WRITE, 2}, {1, 1}, {0, 0}, {0xff, 1});
	/* Mode 5: CW 1AH, LSB 3 */
	CHECK(0x1a, 3, false, {-1, 1}, {3, 1, GATE_HIGH}, {2, 1}, {1, 1}, {0, 0}, {0xff, 1}, {0xfe, 1, GATE_LOW},
	      {3, 1, GATE_HIGH}, {2, 1}, {1, 1, GATE_LOW}, {3, 1, GATE_HIGH}, {2, 1}, {1, 1}, {0, 0});
	/* BCD */
	CHECK(0x11, 0x10, true, {0x10, 0}, {0x09, 0}, {0x08, 0});
}
/* clang-format on */

/* ctr_next_rise() and ctr_out() must tell the same story, whatever is programmed. */
static void test_rises(void **state)
{
	struct rig_random r = rig_random();

	for (unsigned i = 0; i < 3000; i++) {
		struct i8254_counter c = {.gate = rig_next(&r) % 4 != 0};
		uint64_t t = rig_next(&r) % 1000, rise;

		ctr_reset(&c);
		ctr_control(&c, (uint8_t)(0x10 | (rig_next(&r) & 0x0f)), t);
		ctr_write(&c, (uint8_t)(rig_next(&r) % 20), t);
		for (unsigned k = 0; k < 12; k++) {
			t += rig_next(&r) % 12;
			switch (rig_next(&r) % 4) {
			case 0:
				ctr_write(&c, (uint8_t)(rig_next(&r) % 20), t);
				break;
			case 1:
				ctr_set_gate(&c, rig_next(&r) & 1, t);
				break;
			default:
				break;
			}
			rise = ctr_next_rise(&c, t);
			if (rise == CTR_NEVER || rise > t + 70000) {
				bool was = ctr_out(&c, t);

				for (uint64_t u = t + 1; u < t + 40; u++) {
					struct i8254_counter copy = c;
					bool out = ctr_out(&copy, u);

					assert_false(out && !was);
					was = out;
				}
				continue;
			}
			assert_true(rise > t);
			for (uint64_t u = t; u < rise; u++) {
				struct i8254_counter a = c, b = c;

				assert_false(!ctr_out(&a, u) && ctr_out(&b, u + 1) && u + 1 < rise);
			}
			struct i8254_counter a = c;

			assert_false(ctr_out(&a, rise - 1));
			assert_true(ctr_out(&a, rise));
		}
	}
}

static struct rig_line irq0;
static bool taken;

static bool waiting(void *arg, unsigned gsi)
{
	return !taken;
}

static struct vm *start(struct i8254 **pit)
{
	struct i8254_wiring w = {.irq = {rig_line_set, &irq0, 0}, .waiting = waiting};
	struct pcspk_wiring sw;
	struct pcspk *spk;
	struct vm *vm = rig_vm(1);

	memset(&irq0, 0, sizeof(irq0));
	taken = true;
	assert_int_equal(i8254_create(vm, &w, pit), 0);
	sw.pit = *pit;
	assert_int_equal(pcspk_create(vm, &sw, &spk), 0);
	return vm;
}

static uint64_t pulses(uint64_t n)
{
	return (n * NS_PER_SEC + I8254_HZ - 1) / I8254_HZ;
}

static void rate(struct vm *vm, uint8_t control, unsigned count)
{
	outb(vm, 0x43, control);
	outb(vm, 0x40, (uint8_t)count);
	outb(vm, 0x40, (uint8_t)(count >> 8));
}

static void test_irq_rate(void **state)
{
	struct i8254 *pit;
	struct vm *vm = start(&pit);

	for (unsigned mode = 2; mode <= 3; mode++) {
		rate(vm, (uint8_t)(0x30 | mode << 1), 4772); /* 250 Hz */
		irq0.rises = 0;
		for (unsigned i = 0; i < 100; i++)
			fake_advance(NS_PER_SEC / 100);
		assert_in_range(irq0.rises, 249, 251);
	}
	/* exact on the long run */
	irq0.rises = 0;
	for (unsigned i = 0; i < 1000; i++)
		fake_advance(pulses(4772 * 10));
	assert_in_range(irq0.rises, 9999, 10001);
	/* too fast a rate is bounded */
	rate(vm, 0x34, 2);
	irq0.rises = 0;
	for (unsigned i = 0; i < 100; i++)
		fake_advance(1000000);
	assert_in_range(irq0.rises, 100, 1001);
	/* nothing programmed: nothing to do */
	vm->devs->cls->reset(vm->devs);
	fake_advance(NS_PER_SEC);
	irq0.rises = 0;
	fake_advance(NS_PER_SEC);
	assert_int_equal(irq0.rises, 0);
	assert_true(fake_next_timer() == PLAT_FOREVER);
	rig_end(vm);
}

static void test_irq_oneshot(void **state)
{
	struct i8254 *pit;
	struct vm *vm = start(&pit);

	rate(vm, 0x30, 1193);
	assert_false(irq0.level);
	fake_advance(pulses(1193));
	assert_false(irq0.level);
	fake_advance(pulses(2));
	assert_true(irq0.level);
	assert_int_equal(irq0.rises, 1);
	fake_advance(NS_PER_SEC);
	assert_int_equal(irq0.rises, 1);
	rate(vm, 0x30, 100); /* again */
	assert_false(irq0.level);
	fake_advance(pulses(102));
	assert_int_equal(irq0.rises, 2);
	rig_end(vm);
}

static void test_lost_ticks(void **state)
{
	struct i8254 *pit;
	struct vm *vm = start(&pit);

	rate(vm, 0x34, 11932); /* 100 Hz */
	fake_advance(NS_PER_SEC / 20);
	irq0.rises = 0;
	taken = false; /* the guest does not take interrupts for 200 ms */
	for (unsigned i = 0; i < 200; i++)
		fake_advance(1000000);
	assert_in_range(irq0.rises, 0, 1);
	taken = true; /* then gets them back, at sixteen times the rate, and the last ones at four times */
	for (unsigned i = 0; i < 10; i++)
		fake_advance(1000000);
	assert_in_range(irq0.rises, 10, 17);
	for (unsigned i = 0; i < 40; i++)
		fake_advance(1000000);
	assert_in_range(irq0.rises, 22, 26);
	for (unsigned i = 0; i < 750; i++)
		fake_advance(1000000);
	assert_in_range(irq0.rises, 98, 102);
	/* at most a second's worth */
	irq0.rises = 0;
	taken = false;
	for (unsigned i = 0; i < 500; i++)
		fake_advance(10000000);
	taken = true;
	for (unsigned i = 0; i < 1000; i++)
		fake_advance(1000000);
	assert_in_range(irq0.rises, 195, 205);
	rig_end(vm);
}

/* Linux' timer_irq_works() at 250 Hz on a host that lets the vCPU run for one millisecond of 25: in 54 ms it
 * wants 5 ticks. All that were due come, and no more. */
static void test_starved(void **state)
{
	struct i8254 *pit;
	struct vm *vm = start(&pit);

	rate(vm, 0x34, 4772);
	fake_advance(NS_PER_SEC / 10);
	for (unsigned round = 0; round < 8; round++) {
		irq0.rises = 0;
		for (unsigned i = 0; i < 540; i++) {
			taken = i % 250 < 10;
			fake_advance(100000);
		}
		assert_in_range(irq0.rises, 5, 16);
	}
	rig_end(vm);
}

/* As Linux calibrates its TSC: counter 2, mode 0, gate by port 61H, OUT seen there. */
static void test_port61(void **state)
{
	struct i8254 *pit;
	struct vm *vm = start(&pit);
	uint8_t refresh;
	unsigned v;

	assert_int_equal(inb(vm, 0x61) & 0x0f, 0);
	outb(vm, 0x61, (inb(vm, 0x61) & 0xfc) | 1);
	outb(vm, 0x43, 0xb0);
	assert_int_equal(inb(vm, 0x61) & 0x21, 0x01);
	outb(vm, 0x42, 0xff);
	outb(vm, 0x42, 0xff);
	fake_advance(pulses(1000) + pulses(1));
	v = inb(vm, 0x42);
	v |= (unsigned)inb(vm, 0x42) << 8;
	assert_in_range(v, 0xffff - 1002, 0xffff - 999);
	fake_advance(pulses(0x10000));
	assert_int_equal(inb(vm, 0x61) & 0x21, 0x21);
	outb(vm, 0x61, 0x02);
	assert_int_equal(inb(vm, 0x61) & 0x03, 0x02);
	refresh = inb(vm, 0x61) & 0x10;
	fake_advance(15085);
	assert_int_equal(inb(vm, 0x61) & 0x10, refresh ^ 0x10);
	rig_end(vm);
}

static void test_latch_and_readback(void **state)
{
	struct i8254 *pit;
	struct vm *vm = start(&pit);
	unsigned v;

	rate(vm, 0x34, 50000);
	outb(vm, 0x43, 0xe2); /* status of counter 0: not loaded yet */
	assert_int_equal(inb(vm, 0x40), 0xf4);
	fake_advance(pulses(101));
	outb(vm, 0x43, 0x00);
	fake_advance(pulses(1000));
	outb(vm, 0x43, 0x00); /* no effect: the first one is not read yet */
	v = inb(vm, 0x40);
	v |= (unsigned)inb(vm, 0x40) << 8;
	assert_in_range(v, 49898, 49901);
	v = inb(vm, 0x40);
	v |= (unsigned)inb(vm, 0x40) << 8;
	assert_in_range(v, 48898, 48901);
	/* both of counter 0: status first, then the count */
	outb(vm, 0x43, 0xc2);
	assert_int_equal(inb(vm, 0x40), 0xb4);
	v = inb(vm, 0x40);
	v |= (unsigned)inb(vm, 0x40) << 8;
	assert_in_range(v, 48897, 48901);
	assert_int_equal(inb(vm, 0x43), 0xff);
	/* one byte only */
	outb(vm, 0x43, 0x90);
	outb(vm, 0x42, 0x55);
	outb(vm, 0x43, 0xe8);
	assert_int_equal(inb(vm, 0x42), 0x50);
	rig_end(vm);
}

static void test_garbage(void **state)
{
	static const struct rig_range ports[] = {{0x40, 4}, {0x61, 1}};
	struct rig_random r = rig_random();
	struct i8254 *pit;
	struct vm *vm = start(&pit);

	for (unsigned i = 0; i < 2000; i++) {
		rig_garbage(vm, &vm->pio, ports, ARRAY_SIZE(ports), 100, &r);
		taken = rig_next(&r) & 1;
	}
	rig_end(vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_waves),      cmocka_unit_test(test_rises),
		cmocka_unit_test(test_irq_rate),   cmocka_unit_test(test_irq_oneshot),
		cmocka_unit_test(test_lost_ticks), cmocka_unit_test(test_starved),
		cmocka_unit_test(test_port61),     cmocka_unit_test(test_latch_and_readback),
		cmocka_unit_test(test_garbage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
