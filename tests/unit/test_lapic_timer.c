/* SPDX-License-Identifier: ISC */
/* test_lapic_timer.c: the local APIC's timer: once, again and again, at a deadline of the TSC. */
#include "tests/unit/lapic_rig.h"

static void test_timer_oneshot(void **state)
{
	const struct intc_ops *ops;
	void *chip;

	start();
	ops = vm->vcpu[1]->intc;
	chip = vm->vcpu[1]->intc_chip;
	assert_true(ops->deadline(chip) == PLAT_FOREVER);
	wr(1, DIVIDE, 0xb); /* 1: a tick is a nanosecond */
	wr(1, LVT_TIMER, 0xef);
	wr(1, INIT_COUNT, 1000000);
	assert_int_equal(rd(1, COUNT), 1000000);
	assert_int_equal(ops->deadline(chip), plat_now() + 1000000);
	fake_advance(400000);
	assert_int_equal(rd(1, COUNT), 600000);
	fake_advance(599999);
	assert_int_equal(pending(1), -1);
	fake_advance(1);
	assert_int_equal(rig_requests(vm, 1), REQ_IRQ);
	assert_int_equal(ack(1), 0xef);
	wr(1, EOI, 0);
	assert_int_equal(rd(1, COUNT), 0);
	assert_true(ops->deadline(chip) == PLAT_FOREVER);
	fake_advance(NS_PER_SEC);
	assert_int_equal(pending(1), -1);
	/* stopped by a count of zero */
	wr(1, INIT_COUNT, 5000);
	wr(1, INIT_COUNT, 0);
	fake_advance(10000);
	assert_int_equal(pending(1), -1);
	/* divided by 16, and the pace changed on the way */
	wr(1, DIVIDE, 3);
	wr(1, INIT_COUNT, 1000);
	fake_advance(8000);
	assert_int_equal(rd(1, COUNT), 500);
	wr(1, DIVIDE, 0);
	fake_advance(999);
	assert_int_equal(pending(1), -1);
	fake_advance(1);
	assert_int_equal(ack(1), 0xef);
	wr(1, EOI, 0);
	/* masked: counts without interrupting, and is not caught up with */
	wr(1, LVT_TIMER, 0x100ef);
	wr(1, INIT_COUNT, 1000);
	assert_true(ops->deadline(chip) == PLAT_FOREVER);
	fake_advance(5000);
	wr(1, LVT_TIMER, 0xef);
	assert_int_equal(pending(1), -1);
	/* a halted vCPU expires its own timer */
	wr(1, INIT_COUNT, 1000);
	fake_advance(1999);
	ops->expire(chip);
	assert_int_equal(pending(1), -1);
	rig_end(vm);
}

static void test_timer_periodic(void **state)
{
	start();
	wr(0, DIVIDE, 0xb);
	wr(0, LVT_TIMER, 0x20050);
	wr(0, INIT_COUNT, 1000000);
	for (unsigned i = 0; i < 5; i++) {
		fake_advance(1000000);
		assert_int_equal(ack(0), 0x50);
		wr(0, EOI, 0);
		assert_int_equal(pending(0), -1);
	}
	fake_advance(10500000); /* late: one interrupt, and the phase stays */
	assert_int_equal(ack(0), 0x50);
	wr(0, EOI, 0);
	assert_int_equal(rd(0, COUNT), 500000);
	/* shorter than the host can be woken: no more often than that */
	wr(0, INIT_COUNT, 1);
	assert_true(fake_next_timer() >= plat_now() + 10000);
	fake_advance(100000);
	assert_int_equal(ack(0), 0x50);
	/* to one-shot on the way: it ends with this period */
	wr(0, INIT_COUNT, 1000000);
	wr(0, EOI, 0);
	if (ack(0) >= 0)
		wr(0, EOI, 0);
	wr(0, LVT_TIMER, 0x50);
	fake_advance(1000000);
	assert_int_equal(ack(0), 0x50);
	wr(0, EOI, 0);
	fake_advance(10000000);
	assert_int_equal(pending(0), -1);
	rig_end(vm);
}

static uint64_t fake_tsc(struct vcpu *vcpu)
{
	/* a guest's TSC of 2 GHz that began early */
	return plat_now() * 2 + 1000000;
}

static void test_timer_tsc(void **state)
{
	struct apicbus bus = {0};
	struct lapic_wiring w = {.bus = &bus, .tsc = fake_tsc};
	struct lapic *l;

	vm = rig_vm(1);
	vm->tsc_hz = 2000000000;
	apicbus_init(&bus, vm);
	w.vcpu = vm->vcpu[0];
	assert_int_equal(lapic_create(vm, &w, &l), 0);
	assert_int_equal(lapic_map(&bus), 0);
	wr(0, SVR, 0x1ff);
	assert_int_equal(wrmsr(0, MSR_DEADLINE, 123), 0); /* ignored in this mode */
	assert_int_equal(msr(0, MSR_DEADLINE), 0);
	wr(0, LVT_TIMER, 0x400ec);
	wr(0, INIT_COUNT, 1000); /* ignored in that one */
	assert_int_equal(rd(0, INIT_COUNT), 0);
	assert_int_equal(wrmsr(0, MSR_DEADLINE, fake_tsc(NULL) + 2000000), 0);
	assert_int_equal(msr(0, MSR_DEADLINE), fake_tsc(NULL) + 2000000);
	assert_in_range(lapic_next_deadline(l), plat_now() + 1000000, plat_now() + 1000010);
	fake_advance(999990);
	assert_int_equal(pending(0), -1);
	fake_advance(20);
	assert_int_equal(ack(0), 0xec);
	assert_int_equal(msr(0, MSR_DEADLINE), 0);
	wr(0, EOI, 0);
	/* in the past: at once */
	assert_int_equal(wrmsr(0, MSR_DEADLINE, 1), 0);
	assert_int_equal(ack(0), 0xec);
	wr(0, EOI, 0);
	/* disarmed */
	assert_int_equal(wrmsr(0, MSR_DEADLINE, fake_tsc(NULL) + 2000), 0);
	assert_int_equal(wrmsr(0, MSR_DEADLINE, 0), 0);
	fake_advance(2000);
	assert_int_equal(pending(0), -1);
	/* far away: no overflow */
	assert_int_equal(wrmsr(0, MSR_DEADLINE, UINT64_MAX), 0);
	fake_advance(NS_PER_SEC * 100);
	assert_int_equal(pending(0), -1);
	assert_true(msr(0, MSR_DEADLINE) == UINT64_MAX);
	/* leaving the mode disarms */
	assert_int_equal(wrmsr(0, MSR_DEADLINE, fake_tsc(NULL) + 2000), 0);
	wr(0, LVT_TIMER, 0xec);
	assert_int_equal(msr(0, MSR_DEADLINE), 0);
	fake_advance(2000);
	assert_int_equal(pending(0), -1);
	rig_end(vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_timer_oneshot),
		cmocka_unit_test(test_timer_periodic),
		cmocka_unit_test(test_timer_tsc),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
