/* SPDX-License-Identifier: ISC */
/* test_kvm_tsc.c: TSC scaling by KVM, on a KVM that this file is: what is asked of it with and without the capability, and
 * that a guest's TSC goes on when its VM comes from an engine that has scaled it another way. */
#include <errno.h>
#include <linux/kvm.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "engine/kvm/kvm.h"
#include "vm/save.h"
#include "x86/cpuid.h"

#define HOST_KHZ 2100000u
#define HOST_HZ  (HOST_KHZ * UINT64_C(1000))
#define RUN_SIZE (4 * PAGE_SIZE)
#define OFFSET   UINT64_C(0x123456789abc)

static struct {
	bool knows, controls, amd, no_offsets, refuses;
	unsigned n_set; /* KVM_SET_TSC_KHZ … */
	uint32_t khz;   /* … the last one */
	uint64_t offset, tsc;
} kvm;

static int file(size_t size)
{
	int fd = memfd_create("kvm", MFD_CLOEXEC);

	assert_true(fd >= 0 && !ftruncate(fd, (off_t)size));
	return fd;
}

static int extension(unsigned long cap)
{
	switch (cap) {
	case KVM_CAP_USER_MEMORY:
	case KVM_CAP_IMMEDIATE_EXIT:
	case KVM_CAP_VCPU_EVENTS:
	case KVM_CAP_XSAVE:
	case KVM_CAP_X86_USER_SPACE_MSR:
	case KVM_CAP_X86_MSR_FILTER:
		return 1;
	case KVM_CAP_GET_TSC_KHZ:
		return kvm.knows;
	case KVM_CAP_TSC_CONTROL:
		return kvm.controls;
	default:
		return 0;
	}
}

static int set_khz(unsigned long khz)
{
	kvm.n_set++;
	kvm.khz = (uint32_t)khz;
	errno = EINVAL;
	return kvm.refuses ? -1 : 0;
}

static int offset_attr(const struct kvm_device_attr *attr, bool set)
{
	uint64_t *value = (uint64_t *)attr->addr;

	assert_int_equal(attr->attr, KVM_VCPU_TSC_OFFSET);
	errno = ENXIO;
	if (kvm.no_offsets)
		return -1;
	if (set)
		kvm.offset = *value;
	else
		*value = kvm.offset;
	return 0;
}

static int msrs(struct kvm_msrs *m, bool set)
{
	for (unsigned i = 0; i < m->nmsrs; i++) {
		if (m->entries[i].index == MSR_TSC && set)
			kvm.tsc = m->entries[i].data;
		else if (!set)
			m->entries[i].data = m->entries[i].index == MSR_TSC ? kvm.tsc : 0;
	}
	return (int)m->nmsrs;
}

int __wrap_ioctl(int fd, unsigned long what, ...);
int __wrap_ioctl(int fd, unsigned long what, ...)
{
	unsigned long arg;
	va_list ap;

	va_start(ap, what);
	arg = va_arg(ap, unsigned long);
	va_end(ap);
	switch (what) {
	case KVM_CREATE_VM:
		return file(0);
	case KVM_CREATE_VCPU:
		return file(RUN_SIZE);
	case KVM_GET_VCPU_MMAP_SIZE:
		return RUN_SIZE;
	case KVM_GET_SUPPORTED_CPUID:
		((struct kvm_cpuid2 *)arg)->nent = 0;
		return 0;
	case KVM_CHECK_EXTENSION:
		return extension(arg);
	case KVM_GET_TSC_KHZ:
		return HOST_KHZ;
	case KVM_SET_TSC_KHZ:
		return set_khz(arg);
	case KVM_SET_DEVICE_ATTR:
		return offset_attr((const struct kvm_device_attr *)arg, true);
	case KVM_GET_DEVICE_ATTR:
		return offset_attr((const struct kvm_device_attr *)arg, false);
	case KVM_SET_MSRS:
		return msrs((struct kvm_msrs *)arg, true);
	case KVM_GET_MSRS:
		return msrs((struct kvm_msrs *)arg, false);
	default:
		return 0;
	}
}

void __real_plat_cpuid(uint32_t leaf, uint32_t sub, struct plat_cpuid *out);
void __wrap_plat_cpuid(uint32_t leaf, uint32_t sub, struct plat_cpuid *out);
void __wrap_plat_cpuid(uint32_t leaf, uint32_t sub, struct plat_cpuid *out)
{
	__real_plat_cpuid(leaf, sub, out);
	if (leaf == 0x80000001)
		out->ecx = (out->ecx & ~BIT(2)) | (kvm.amd ? BIT(2) : 0);
}

/* The host's /dev/kvm is not needed. */
static int init(struct vm *vm)
{
	int err;

	vm->kvm_fd = file(0);
	err = engine_kvm.vm_init(vm);
	close(vm->kvm_fd);
	vm->kvm_fd = 0;
	return err;
}

static struct engine_ops here(void)
{
	struct engine_ops e = engine_kvm;

	e.vm_init = init;
	return e;
}

static struct vm *make(const struct engine_ops *engine, uint64_t hz)
{
	const struct vm_config cfg = {.name = "tsc",
				      .engine = engine,
				      .model = x86_model_default(),
				      .cpus = 2,
				      .memory = 16 * MIB,
				      .low_end = 16 * MIB,
				      .tsc_hz = hz};
	struct vm *vm;

	assert_int_equal(vm_create(&cfg, &vm), 0);
	return vm;
}

/* mul_u64_u32_div(1 << fraction, wanted, host) in the kernel */
static uint64_t kernels_ratio(uint32_t khz, unsigned fraction)
{
	return (uint64_t)(((unsigned __int128)khz << fraction) / HOST_KHZ)
	       << (TSC_FRACTION - fraction);
}

static void test_rates(void **state)
{
	static const struct {
		uint64_t hz;
		bool knows, controls, refuses;
		uint32_t khz; /* what it is asked for; 0: nothing */
	} rows[] = {
		{0, true, true, false, 0},
		{HOST_HZ, true, true, false, 0},
		{HOST_HZ + HOST_HZ / 1001, true, true, false, 0},
		{HOST_HZ + HOST_HZ / 999, true, true, false, 2102102},
		{UINT64_C(2600000499), true, true, false, 2600000},
		{UINT64_C(2600000500), true, true, false, 2600001},
		{UINT64_C(1000), true, true, false, 1},
		{UINT64_C(499), true, true, false, 0},
		{HOST_HZ * 255, true, true, false, HOST_KHZ * 255},
		{HOST_HZ * 256, true, true, false, 0},
		{UINT64_MAX, true, true, false, 0},
		{UINT64_C(2600000000), true, false, false, 0},
		{UINT64_C(2600000000), false, true, false, 0},
		{UINT64_C(2600000000), true, true, true, 2600000},
	};
	const struct engine_ops engine = here();

	for (unsigned i = 0; i < 2 * ARRAY_SIZE(rows); i++) {
		bool taken = rows[i / 2].khz && !rows[i / 2].refuses;
		struct vm *vm;

		memset(&kvm, 0, sizeof(kvm));
		kvm.knows = rows[i / 2].knows;
		kvm.controls = rows[i / 2].controls;
		kvm.refuses = rows[i / 2].refuses;
		kvm.amd = i & 1;
		vm = make(&engine, rows[i / 2].hz);
		assert_int_equal(kvm.khz, rows[i / 2].khz);
		assert_int_equal(kvm.n_set, taken ? 2 : rows[i / 2].refuses);
		assert_int_equal(vm->tsc.base, 0);
		if (taken) {
			assert_int_equal(vm->tsc.ratio, kernels_ratio(kvm.khz, kvm.amd ? 32 : 48));
			assert_int_equal(vm->tsc_hz, kvm.khz * UINT64_C(1000));
			assert_int_equal(vm->tsc_host_hz, HOST_HZ);
		} else {
			assert_int_equal(vm->tsc.ratio, 0);
			assert_int_equal(vm->tsc_hz, kvm.knows ? HOST_HZ : plat_tsc_hz());
		}
		vm_destroy(vm);
	}
}

static uint64_t guest_tsc(struct vm *vm)
{
	return vm_ticks(vm) + vm->vcpu[0]->state->tsc_offset;
}

/* What KVM's processor would say */
static uint64_t kvm_tsc(struct vm *vm)
{
	struct tsc_scale s = {.ratio = vm->tsc.ratio};

	return tsc_scaled(s, vcpu_ticks()) + kvm.offset;
}

/* soft has the host's rate from elsewhere: the ratio is another one, and the TSC goes on. */
static void test_move(void **state)
{
	const struct engine_ops engine = here();
	uint64_t hz = HOST_HZ / 2 * 3, before, first, after;
	const char *lacks = NULL;
	struct tsc_scale was;
	struct vm *vm;

	memset(&kvm, 0, sizeof(kvm));
	kvm.knows = kvm.controls = true;
	vm = make(&engine_soft, hz);
	was = vm->tsc;
	assert_true(was.ratio);
	vm->vcpu[0]->state->tsc_offset = vm->vcpu[1]->state->tsc_offset = OFFSET;
	for (unsigned round = 0; round < 3; round++) {
		before = guest_tsc(vm);
		assert_int_equal(vm_set_engine(vm, &engine, &lacks), 0);
		first = kvm_tsc(vm);
		after = guest_tsc(vm);
		assert_int_equal(kvm.khz, hz / 1000);
		assert_int_equal(vm->tsc_hz, hz);
		assert_int_equal(vm->tsc.ratio, kernels_ratio(kvm.khz, 48));
		assert_int_equal(vm->vcpu[1]->state->tsc_offset, OFFSET);
		assert_true(before <= first && first <= after && after - before < hz);
		before = guest_tsc(vm);
		was = vm->tsc;
		assert_int_equal(vm_set_engine(vm, &engine_soft, &lacks), 0);
		assert_memory_equal(&vm->tsc, &was, sizeof(was));
		assert_int_equal(vm->vcpu[1]->state->tsc_offset, OFFSET);
		after = guest_tsc(vm);
		assert_true(before <= after && after - before < hz);
	}
	for (unsigned i = 0; i < 2; i++) {
		kvm.controls = i;
		kvm.refuses = true;
		was = vm->tsc;
		before = guest_tsc(vm);
		assert_int_equal(vm_set_engine(vm, &engine, &lacks), ERR_RANGE);
		assert_ptr_equal(vm->engine, &engine_soft);
		assert_memory_equal(&vm->tsc, &was, sizeof(was));
		after = guest_tsc(vm);
		assert_true(before <= after && after - before < hz);
	}
	vm_destroy(vm);
}

/* Kernels before 5.16: its TSC is set to what it is about to be. */
static void test_older(void **state)
{
	const struct engine_ops engine = here();
	uint64_t before, after, offset = 0;
	struct vm *vm;

	memset(&kvm, 0, sizeof(kvm));
	kvm.knows = kvm.controls = kvm.no_offsets = true;
	vm = make(&engine, HOST_HZ * 2);
	before = vm_ticks(vm) + OFFSET;
	kvm_tsc_set(vm->vcpu[0]->engine_data, OFFSET);
	after = vm_ticks(vm) + OFFSET;
	assert_in_range(kvm.tsc, before, after);
	before = vm_ticks(vm);
	kvm_tsc_get(vm->vcpu[0]->engine_data, &offset);
	after = vm_ticks(vm);
	assert_in_range(kvm.tsc - offset, before, after);
	vm_destroy(vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rates),
		cmocka_unit_test(test_move),
		cmocka_unit_test(test_older),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
