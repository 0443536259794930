/* SPDX-License-Identifier: ISC */
/* test_hyperv.c: Hyper-V's interface as a guest uses it: leaves, reference time by page and by MSR, the
 * hypercall page, the APIC's registers, reset, nonsense. */
#include "tests/unit/pc_rig.h"

#include "dev/irq/intr.h"
#include "dev/pc/hyperv.h"

#define HZ UINT64_C(2350000000)

static struct vm *vm;

static uint64_t host_tsc(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (uint64_t)hi << 32 | lo;
}

static void start(uint64_t hz)
{
	struct hyperv *hv;
	struct intr *intr;

	vm = rig_vm(2);
	assert_int_equal(intr_create(vm, &intr), 0);
	vm->tsc_hz = hz;
	vm->vcpu[0]->state->tsc_offset = vm->vcpu[1]->state->tsc_offset = 0 - host_tsc();
	assert_int_equal(hyperv_create(vm, &hv), 0);
}

static int wrmsr(unsigned cpu, uint32_t index, uint64_t v)
{
	int err = vm->vcpu[cpu]->msr_write(vm->vcpu[cpu], index, v);

	assert_int_equal(fake_locks_held(), 0);
	return err;
}

static uint64_t rdmsr(unsigned cpu, uint32_t index)
{
	uint64_t v = 0;

	assert_int_equal(vm->vcpu[cpu]->msr_read(vm->vcpu[cpu], index, &v), 0);
	return v;
}

static uint64_t word(gpa_t gpa)
{
	uint64_t v;

	assert_int_equal(mem_read(vm, gpa, &v, 8), 0);
	return v;
}

static uint32_t apic(unsigned cpu, unsigned reg)
{
	return (uint32_t)bus_read(&vm->mmio, (int)cpu, 0xfee00000u + reg, 4);
}

static void test_leaves(void **state)
{
	uint32_t r[4];

	start(HZ);
	vm->vcpu[1]->cpuid(vm->vcpu[1], 0x40000000, 0, r);
	assert_int_equal(r[0], 0x40000006);
	assert_memory_equal(&r[1], "Microsoft Hv", 12);
	vm->vcpu[0]->cpuid(vm->vcpu[0], 0x40000001, 0, r);
	assert_memory_equal(&r[0], "Hv#1", 4);
	vm->vcpu[0]->cpuid(vm->vcpu[0], 0x40000003, 0, r);
	assert_int_equal(r[0], 0xafe);
	assert_int_equal(r[3], 0x80100);
	vm->vcpu[0]->cpuid(vm->vcpu[0], 0x40000004, 0, r);
	assert_int_equal(r[0], 0x238);
	r[0] = 77;
	vm->vcpu[0]->cpuid(vm->vcpu[0], 0x40000007, 0, r);
	assert_int_equal(r[0], 77);
	assert_int_equal(rdmsr(0, 0x40000002), 0);
	assert_int_equal(rdmsr(1, 0x40000002), 1);
	rig_end(vm);
}

static uint64_t guest_time(gpa_t page, uint64_t tsc)
{
	return (uint64_t)((unsigned __int128)tsc * word(page + 8) >> 64) + word(page + 16);
}

static void test_time(void **state)
{
	static const uint64_t rates[] = {HZ, 100000000, 999999999, 2000000000, 5000000001};

	for (unsigned i = 0; i < ARRAY_SIZE(rates); i++) {
		uint64_t a, b, c, hour = rates[i] * 3600;

		start(rates[i]);
		assert_int_equal(rdmsr(0, 0x40000022), rates[i]);
		assert_int_equal(rdmsr(0, 0x40000023), 1000000000);
		assert_int_equal(wrmsr(1, 0x40000021, 0x5001), 0);
		assert_int_equal(rdmsr(0, 0x40000021), 0x5001);
		assert_int_equal((uint32_t)word(0x5000), 1);
		a = guest_time(0x5000, host_tsc() + vm->vcpu[0]->state->tsc_offset);
		b = rdmsr(1, 0x40000020);
		c = guest_time(0x5000, host_tsc() + vm->vcpu[0]->state->tsc_offset);
		assert_true(a <= b && b <= c);
		assert_true(a < 50000000); /* it began a moment ago */
		assert_in_range(guest_time(0x5000, 2 * hour) - guest_time(0x5000, hour),
				UINT64_C(36000000000) - 10, UINT64_C(36000000000) + 10);
		rig_end(vm);
	}
}

static void test_pages(void **state)
{
	start(HZ);
	/* the guest says first what it is */
	assert_int_equal(wrmsr(0, 0x40000001, 0x6001), 0);
	assert_int_equal(rdmsr(0, 0x40000001), 0x6000);
	assert_int_equal(word(0x6000), 0);
	assert_int_equal(wrmsr(0, 0x40000000, 0x81000000), 0);
	assert_int_equal(wrmsr(0, 0x40000001, 0x6001), 0);
	assert_int_equal(rdmsr(1, 0x40000001), 0x6001);
	assert_int_equal(word(0x6000), 0xa8c88ce0000fc031); /* what it does: hyperv32.asm */
	assert_int_equal(wrmsr(0, 0x40000000, 0), 0);
	assert_int_equal(rdmsr(1, 0x40000001), 0x6000);
	assert_int_equal(mem_write(vm, 0x7000, "\xff\xff\xff\xff\xff\xff\xff\xff", 8), 0);
	assert_int_equal(wrmsr(1, 0x40000073, 0x7001), 0);
	assert_int_equal(rdmsr(1, 0x40000073), 0x7001);
	assert_int_equal(rdmsr(0, 0x40000073), 0);
	assert_int_equal(word(0x7000), 0xffffffff00000000);
	rig_end(vm);
}

static void test_apic(void **state)
{
	struct vcpu *v;
	struct vcpu *v0;

	start(HZ);
	v = vm->vcpu[1];
	v0 = vm->vcpu[0];
	for (unsigned i = 0; i < 2; i++)
		bus_write(&vm->mmio, (int)i, 0xfee000f0, 4, 0x1ff);
	assert_int_equal(wrmsr(1, 0x40000072, 0x35), 0);
	assert_int_equal(apic(1, 0x80), 0x35);
	assert_int_equal(apic(0, 0x80), 0);
	assert_int_equal(rdmsr(1, 0x40000072), 0x35);
	/* an interrupt from the first to the second */
	assert_int_equal(wrmsr(0, 0x40000071, UINT64_C(1) << 56 | 0x4041), 0);
	assert_int_equal(rdmsr(0, 0x40000071), UINT64_C(1) << 56 | 0x4041);
	assert_int_equal(v0->intc->pending(v0->intc_chip), -1);
	assert_int_equal(v->intc->pending(v->intc_chip), 0x41);
	assert_int_equal(v->intc->ack(v->intc_chip), 0x41);
	assert_int_equal(apic(1, 0x120), 2); /* in service */
	assert_int_equal(wrmsr(1, 0x40000070, 0), 0);
	assert_int_equal(apic(1, 0x120), 0);
	/* as x2APIC */
	assert_int_equal(v->intc->msr_write(v->intc_chip, 0x1b, 0xfee00c00), 0);
	assert_int_equal(wrmsr(1, 0x40000072, 0x20), 0);
	assert_int_equal(rdmsr(1, 0x40000072), 0x20);
	assert_int_equal(wrmsr(1, 0x40000071, 0x4055),
			 0); /* to the first: 32 bits of destination */
	assert_int_equal(v0->intc->pending(v0->intc_chip), 0x55);
	rig_end(vm);
}

/* Interrupts come to the second processor, whose timers these are; the clock of the host goes on by itself. */
static void timers_start(void)
{
	start(HZ);
	bus_write(&vm->mmio, 1, 0xfee000f0, 4, 0x1ff);
}

static int taken(void)
{
	struct vcpu *v = vm->vcpu[1];
	int n = v->intc->pending(v->intc_chip);

	if (n < 0)
		return -1;
	assert_int_equal(v->intc->ack(v->intc_chip), n);
	assert_int_equal(wrmsr(1, 0x40000070, 0), 0);
	return n;
}

static int wait_taken(void)
{
	int n = -1;

	for (unsigned i = 0; i < 100000000 && n < 0; i++) {
		fake_advance(1000000); /* the loop's timer, and reference time by the host's TSC */
		n = taken();
	}
	return n;
}

static void test_direct(void **state)
{
	uint64_t then;

	timers_start();
	/* once, in 2 ms, enabled by the count */
	assert_int_equal(wrmsr(1, 0x400000b0, 0x1508 | 5 << 16), 0);
	then = rdmsr(1, 0x40000020) + 20000;
	assert_int_equal(wrmsr(1, 0x400000b1, then), 0);
	assert_int_equal(rdmsr(1, 0x400000b0), 0x51509);
	assert_int_equal(taken(), -1);
	assert_int_equal(wait_taken(), 0x50);
	assert_true(rdmsr(1, 0x40000020) >= then);
	assert_int_equal(rdmsr(1, 0x400000b0), 0x51508);
	assert_int_equal(rdmsr(1, 0x400000b1), then);
	/* what is past comes at once; no count, no timer */
	assert_int_equal(wrmsr(1, 0x400000b1, 1), 0);
	assert_int_equal(taken(), 0x50);
	assert_int_equal(wrmsr(1, 0x400000b1, 0), 0);
	assert_int_equal(wrmsr(1, 0x400000b0, 0x1501), 0);
	assert_int_equal(rdmsr(1, 0x400000b0), 0x1500);
	/* every millisecond, until it is switched off */
	then = rdmsr(1, 0x40000020);
	assert_int_equal(wrmsr(1, 0x400000b7, 10000), 0);
	assert_int_equal(wrmsr(1, 0x400000b6, 0x1613), 0);
	for (unsigned i = 1; i <= 5; i++) {
		assert_int_equal(wait_taken(), 0x61);
		assert_true(rdmsr(1, 0x40000020) >= then + i * 10000);
	}
	assert_int_equal(wrmsr(1, 0x400000b6, 0), 0);
	(void)taken();
	for (unsigned i = 0; i < 100; i++)
		fake_advance(NS_PER_SEC);
	assert_int_equal(taken(), -1);
	rig_end(vm);
}

static void test_messages(void **state)
{
	timers_start();
	assert_int_equal(rdmsr(1, 0x40000081), 1);
	assert_int_equal(rdmsr(1, 0x40000092), 0x10000);
	assert_int_equal(wrmsr(1, 0x40000092, 0x0f), ERR_NOENT); /* an exception's vector */
	assert_int_equal(wrmsr(1, 0x40000092, 0x52), 0);
	/* without SINT it is not enabled, without page and control its message is lost */
	assert_int_equal(wrmsr(1, 0x400000b3, 1), 0);
	assert_int_equal(wrmsr(1, 0x400000b2, 1), 0);
	assert_int_equal(rdmsr(1, 0x400000b2), 0);
	assert_int_equal(wrmsr(1, 0x400000b2, 0x20001), 0);
	assert_int_equal(taken(), -1);
	assert_int_equal(mem_write(vm, 0x9ff8, "12345678", 8), 0);
	assert_int_equal(wrmsr(1, 0x40000083, 0x9001), 0);
	assert_int_equal(word(0x9ff8), 0); /* the page begins empty */
	assert_int_equal(wrmsr(1, 0x40000080, 1), 0);
	assert_int_equal(wrmsr(1, 0x400000b2, 0x20001), 0);
	assert_int_equal(taken(), 0x52);
	assert_int_equal(word(0x9200), UINT64_C(0x1880000010));
	assert_int_equal(word(0x9210), 1); /* timer */
	assert_int_equal(word(0x9218), 1); /* when it was due */
	assert_in_range(word(0x9220), 1, rdmsr(1, 0x40000020));
	/* the next one waits for its place */
	assert_int_equal(wrmsr(1, 0x400000b2, 0x20001), 0);
	assert_int_equal(taken(), -1);
	assert_int_equal(word(0x9200), UINT64_C(0x11880000010));
	assert_int_equal(mem_write(vm, 0x9200, "\0\0\0\0", 4), 0);
	assert_int_equal(taken(), -1);
	assert_int_equal(wrmsr(1, 0x40000084, 0), 0);
	assert_int_equal(taken(), 0x52);
	assert_int_equal(word(0x9200), UINT64_C(0x1880000010));
	/* polled: no interrupt; AutoEOI: not in service */
	assert_int_equal(mem_write(vm, 0x9200, "\0\0\0\0", 4), 0);
	assert_int_equal(wrmsr(1, 0x40000092, 0x40052), 0);
	assert_int_equal(wrmsr(1, 0x400000b2, 0x20001), 0);
	assert_int_equal(taken(), -1);
	assert_int_equal(word(0x9200), UINT64_C(0x1880000010));
	assert_int_equal(mem_write(vm, 0x9200, "\0\0\0\0", 4), 0);
	assert_int_equal(wrmsr(1, 0x40000092, 0x20052), 0);
	assert_int_equal(wrmsr(1, 0x400000b2, 0x20001), 0);
	assert_int_equal(vm->vcpu[1]->intc->ack(vm->vcpu[1]->intc_chip), 0x52);
	assert_int_equal(apic(1, 0x120), 0);
	/* a page that is no RAM */
	assert_int_equal(wrmsr(1, 0x40000083, 0xfffffffffffff001), 0);
	assert_int_equal(wrmsr(1, 0x400000b2, 0x20001), 0);
	assert_int_equal(taken(), -1);
	rig_end(vm);
}

static void test_bad(void **state)
{
	static const uint64_t bad[] = {UINT64_MAX, 0x200001, 0x80000001, 0xfee00001};
	static const uint32_t unknown[] = {0x40000004, 0x40000010, 0x40000085, 0x400000b8, 0x11};
	uint64_t v;

	start(HZ);
	assert_int_equal(wrmsr(0, 0x40000000, 1), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(wrmsr(0, 0x40000001, bad[i]), 0);
		assert_int_equal(wrmsr(0, 0x40000021, bad[i]), 0);
		assert_int_equal(wrmsr(0, 0x40000073, bad[i]), 0);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(unknown); i++) {
		assert_int_equal(wrmsr(0, unknown[i], 0), ERR_NOENT);
		assert_int_equal(vm->vcpu[0]->msr_read(vm->vcpu[0], unknown[i], &v), ERR_NOENT);
	}
	/* only to be read, only to be written */
	assert_int_equal(wrmsr(0, 0x40000002, 0), ERR_NOENT);
	assert_int_equal(wrmsr(0, 0x40000020, 0), ERR_NOENT);
	assert_int_equal(vm->vcpu[0]->msr_read(vm->vcpu[0], 0x40000070, &v), ERR_NOENT);
	/* a reset of the machine, wanted by the guest */
	assert_int_equal(wrmsr(1, 0x40000003, 0), 0);
	assert_false(vm->reset_wanted);
	assert_int_equal(wrmsr(1, 0x40000003, 1), 0);
	assert_true(vm->reset_wanted);
	for (struct dev *d = vm->devs; d; d = d->next)
		if (d->cls->reset)
			d->cls->reset(d);
	assert_int_equal(rdmsr(0, 0x40000001), 0);
	assert_int_equal(rdmsr(0, 0x40000021), 0);
	assert_int_equal(rdmsr(0, 0x40000073), 0);
	rig_end(vm);
}

static void test_no_memory(void **state)
{
	struct hyperv *hv;

	vm = rig_vm(1);
	fake_fail_alloc(1);
	assert_int_equal(hyperv_create(vm, &hv), ERR_NOMEM);
	fake_fail_alloc(0);
	rig_end(vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_leaves), cmocka_unit_test(test_time),
		cmocka_unit_test(test_pages),  cmocka_unit_test(test_apic),
		cmocka_unit_test(test_direct), cmocka_unit_test(test_messages),
		cmocka_unit_test(test_bad),    cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
