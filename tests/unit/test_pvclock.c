/* SPDX-License-Identifier: ISC */
/* test_pvclock.c: the paravirtual clock, read as a Linux guest reads it. */
#include "tests/unit/pc_rig.h"

#include "dev/pc/pvclock.h"

#define HZ         UINT64_C(2350000000)
#define MSR_WALL   0x4b564d00u
#define MSR_SYSTEM 0x4b564d01u
#define MSR_STEAL  0x4b564d03u

static uint64_t host_tsc(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (uint64_t)hi << 32 | lo;
}

static uint64_t page64(struct vm *vm, gpa_t gpa)
{
	uint64_t v;

	assert_int_equal(mem_read(vm, gpa, &v, 8), 0);
	return v;
}

static uint32_t page32(struct vm *vm, gpa_t gpa)
{
	return (uint32_t)page64(vm, gpa);
}

/* Time that a guest computes from its page for a value of its TSC (pvclock ABI). */
static uint64_t guest_time(struct vm *vm, gpa_t gpa, uint64_t tsc)
{
	uint64_t delta = tsc - page64(vm, gpa + 8);
	int8_t shift = (int8_t)(page32(vm, gpa + 28) & 0xff);

	delta = shift < 0 ? delta >> -shift : delta << shift;
	return page64(vm, gpa + 16) +
	       (uint64_t)((unsigned __int128)delta * page32(vm, gpa + 24) >> 32);
}

static struct vm *start(uint64_t hz)
{
	struct pvclock_wiring w = {0};
	struct pvclock *pv;
	struct vm *vm = rig_vm(2);

	vm->tsc_hz = hz;
	vm->vcpu[1]->state->tsc_offset = UINT64_C(0) - 5 * hz;
	assert_int_equal(pvclock_create(vm, &w, &pv), 0);
	return vm;
}

static int wrmsr(struct vm *vm, unsigned cpu, uint32_t index, uint64_t v)
{
	return vm->vcpu[cpu]->msr_write(vm->vcpu[cpu], index, v);
}

static void test_cpuid(void **state)
{
	struct vm *vm = start(HZ);
	uint32_t r[4] = {0};

	vm->vcpu[0]->cpuid(vm->vcpu[0], 0x40000000, 0, r);
	assert_int_equal(r[0], 0x40000001);
	assert_memory_equal(&r[1], "KVMKVMKVM\0\0\0", 12);
	vm->vcpu[0]->cpuid(vm->vcpu[0], 0x40000001, 0, r);
	assert_int_equal(r[0], 1 << 24 | 1 << 3 | 1 << 1);
	rig_end(vm);
}

static void test_time(void **state)
{
	static const uint64_t rates[] = {HZ,        1000000000, 999999999,  4000000000, 5000000000,
					 800000000, 100000000,  2000000000, 2000000001};

	for (unsigned i = 0; i < ARRAY_SIZE(rates); i++) {
		struct vm *vm = start(rates[i]);
		uint64_t v, tsc = host_tsc(), t0, t1;

		assert_int_equal(wrmsr(vm, 0, MSR_SYSTEM, 0x1001), 0);
		assert_int_equal(wrmsr(vm, 1, MSR_SYSTEM, 0x2001), 0);
		assert_int_equal(vm->vcpu[1]->msr_read(vm->vcpu[1], MSR_SYSTEM, &v), 0);
		assert_int_equal(v, 0x2001);
		for (gpa_t gpa = 0x1000; gpa <= 0x2000; gpa += 0x1000) {
			assert_int_equal(page32(vm, gpa) & 1, 0);
			assert_int_not_equal(page32(vm, gpa), 0);
			assert_int_equal(page64(vm, gpa + 28) >> 8 & 0xff, 1); /* TSC_STABLE */
		}
		/* an hour is an hour */
		t0 = guest_time(vm, 0x1000, tsc);
		t1 = guest_time(vm, 0x1000, tsc + rates[i] * 3600);
		assert_in_range(t1 - t0, 3600 * NS_PER_SEC - 20000, 3600 * NS_PER_SEC + 20000);
		/* both vCPUs at the same moment, whatever their TSCs are */
		assert_true(guest_time(vm, 0x2000, tsc - 5 * rates[i]) == t0);
		vm->vcpu[1]->state->tsc_offset += 1000;
		pvclock_tsc_moved(vm->vcpu[1]);
		assert_true(guest_time(vm, 0x2000, tsc - 5 * rates[i] + 1000) == t0);
		rig_end(vm);
	}
}

static void test_wall(void **state)
{
	struct vm *vm = start(HZ);
	uint64_t real = plat_realtime();

	fake_advance(NS_PER_SEC * 3 / 2);
	assert_int_equal(wrmsr(vm, 0, MSR_WALL, 0x3000), 0);
	assert_int_equal(page32(vm, 0x3000) & 1, 0);
	assert_int_equal(page32(vm, 0x3004), real / NS_PER_SEC);
	assert_int_equal(page32(vm, 0x3008), real % NS_PER_SEC);
	rig_end(vm);
}

static void test_bad(void **state)
{
	static const uint64_t bad[] = {0xffffffffffffffff, 0x1fffff, 0x200001, 0x1ffff1,
				       0x80000000000001};
	struct vm *vm = start(HZ);
	uint64_t v;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(wrmsr(vm, 0, MSR_SYSTEM, bad[i]), 0);
		assert_int_equal(wrmsr(vm, 0, MSR_WALL, bad[i]), 0);
	}
	assert_int_equal(wrmsr(vm, 0, MSR_SYSTEM, 0x1003), 0); /* not aligned */
	assert_int_equal(wrmsr(vm, 0, MSR_SYSTEM, 0x1000), 0); /* off */
	assert_int_equal(page32(vm, 0x1000), 0);
	assert_int_equal(wrmsr(vm, 0, 0x4b564d02, 1), ERR_NOENT);
	assert_int_equal(vm->vcpu[0]->msr_read(vm->vcpu[0], 0x11, &v), ERR_NOENT);
	vm->devs->cls->reset(vm->devs);
	assert_int_equal(vm->vcpu[0]->msr_read(vm->vcpu[0], MSR_SYSTEM, &v), 0);
	assert_int_equal(v, 0);
	assert_int_equal(wrmsr(vm, 0, MSR_SYSTEM, 0x1015), 0); /* four bytes suffice */
	assert_int_not_equal(page32(vm, 0x1014), 0);
	rig_end(vm);
}

/* It is CPUID's where the engine writes it; what the guest asked for is kept under each. */
static void test_steal(void **state)
{
	struct pvclock_wiring w = {0};
	struct vm *vm = start(HZ);
	struct pvclock *pv;
	uint32_t r[4] = {0};
	uint64_t v;

	for (unsigned round = 0; round < 2; round++) {
		assert_int_equal(wrmsr(vm, 1, MSR_STEAL, 0x1041), 0);
		for (unsigned bit = 1; bit < 6; bit++)
			assert_int_equal(wrmsr(vm, 1, MSR_STEAL, 0x2001 | BIT(bit)), ERR_NOENT);
		assert_int_equal(vm->vcpu[1]->msr_read(vm->vcpu[1], MSR_STEAL, &v), 0);
		assert_int_equal(v, 0x1041);
		assert_int_equal(vm->vcpu[0]->msr_read(vm->vcpu[0], MSR_STEAL, &v), 0);
		assert_int_equal(v, 0);
		vm->devs->cls->reset(vm->devs);
		assert_int_equal(vm->vcpu[1]->msr_read(vm->vcpu[1], MSR_STEAL, &v), 0);
		assert_int_equal(v, 0);
		vm->vcpu[0]->cpuid(vm->vcpu[0], 0x40000001, 0, r);
		assert_int_equal(r[0] >> 5 & 1, round);
		rig_end(vm);
		vm = rig_vm(2);
		vm->steal_time = true;
		assert_int_equal(pvclock_create(vm, &w, &pv), 0);
	}
	rig_end(vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cpuid), cmocka_unit_test(test_time),
		cmocka_unit_test(test_wall),  cmocka_unit_test(test_bad),
		cmocka_unit_test(test_steal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
