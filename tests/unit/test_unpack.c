/* SPDX-License-Identifier: ISC */
/* test_unpack.c: kernels that the host unpacks: segments move down, listed values change; whatever is wrong
 * leaves nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <zstd.h>

#include "ctl/unpack.h"
#include "tests/lib/kernel_elf.h"
#include "tests/lib/no_engine.h"

enum { RAM = 8 * 1024 * 1024, LOAD = 2 * 1024 * 1024, ROOM = 1024 * 1024 };
static struct vm *vm;
static uint8_t *kernel;
static uint8_t packed[0x6000];

static uint64_t get(size_t at, unsigned n)
{
	uint64_t v = 0;

	memcpy(&v, kernel + at, n);
	return v;
}

static bool run(bool move, struct boot_unpacked *out)
{
	struct boot_packed k = {.data = packed,
				.load = LOAD,
				.room = ROOM,
				.prefers = PREFERS,
				.align = 0x200000,
				.move = move};

	k.size = ZSTD_compress(packed, sizeof(packed), elf, elf_size, 1);
	assert_false(ZSTD_isError(k.size));
	k.size += 4; /* its own size follows in a bzImage */
	memset(kernel, 0x33, ROOM);
	return unpack_linux(NULL, vm, &k, out);
}

static void refused(bool move)
{
	struct boot_unpacked out;

	assert_false(run(move, &out));
	for (unsigned i = 0; i < ROOM; i++)
		assert_int_equal(kernel[i], 0);
}

static void stays(void **state)
{
	struct boot_unpacked out;

	kernel_elf();
	assert_true(run(false, &out));
	assert_int_equal(out.entry, LOAD + 4);
	assert_false(out.moved);
	assert_int_equal(get(0, 1), 0x11);
	assert_int_equal(get(0x10, 8), UINT64_C(0xffffffff81001234));
	assert_int_equal(get(0x2000, 1), 0x22);
	assert_int_equal(get(0x2fff, 2), 0x22); /* zeroes behind it */
	assert_int_equal(get(0x30f8, 8), 0);
	elf_size = LISTS; /* none are needed */
	assert_true(run(false, &out));
}

static void moves(void **state)
{
	static const uint32_t two[] = {0, 0x81000010, 0, 0x81002030};
	struct boot_unpacked out;
	uint64_t by, other = 0;

	kernel_elf();
	for (unsigned i = 0; i < 40; i++) {
		assert_true(run(true, &out));
		assert_true(out.moved);
		by = get(0x10, 8) - UINT64_C(0xffffffff81001234);
		assert_int_equal(by % 0x200000, 0);
		assert_true(by <= 0x40000000 - PREFERS - ROOM);
		assert_int_equal(get(0x20, 4), (uint32_t)(0x81001234 - by));
		assert_int_equal(get(0x2030, 4), 0x81005678 + by);
		other |= by;
	}
	assert_true(other);
	list(two, 4);
	assert_true(run(true, &out));
	by = get(0x10, 8) - UINT64_C(0xffffffff81001234);
	assert_int_equal(get(0x20, 4), 0x81001234);
	assert_int_equal(get(0x2030, 4), 0x81005678 + by);
}

static void refuses(void **state)
{
	static const uint32_t beyond[] = {0, 0x81003100 - 4, 0, 0x81000020, 0, 0x81002030};
	static const uint32_t below[] = {0, 0x80fffff8, 0, 0x81000020, 0, 0x81002030};
	static const uint32_t four[] = {0, 0x81000010, 0, 0, 0x81000020, 0, 0x81002030};
	static const uint32_t no_zero[] = {0x81000010, 0, 0x81000020, 0, 0x81002030};

	kernel_elf();
	elf_size = LISTS;
	refused(true);
	list(beyond, 6);
	refused(true);
	list(below, 6);
	refused(true);
	list(four, 7);
	refused(true);
	list(no_zero, 5);
	refused(true);
	kernel_elf();
	elf_size -= 2;
	refused(true);
	kernel_elf();
	put(40, 8, UINT64_MAX - 10); /* section headers */
	refused(true);
	kernel_elf();
	segment(1, SEG1, PREFERS + 0x3008, 0x1000, 0x1000); /* up */
	refused(false);
	segment(1, SEG1, PREFERS + 0x800, 0x1000, 0x1000); /* over the first */
	refused(false);
	segment(1, SEG1, PREFERS + 0x2000, 0x1000, ROOM); /* too large */
	refused(false);
	segment(1, SEG1, PREFERS - 0x1000, 0x1000, 0x1000);
	refused(false);
	segment(1, SEG1, PREFERS + 0x2000, 0x1000, 0x4000); /* over the lists */
	refused(true);
	kernel_elf();
	put(24, 8, PREFERS + 0x3100); /* the entry */
	refused(false);
	put(24, 8, PREFERS - 1);
	refused(false);
	kernel_elf();
	elf[4] = 1; /* 32 bits */
	refused(false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(stays), cmocka_unit_test(moves),
					   cmocka_unit_test(refuses)};
	struct vm_config cfg = {
		.name = "unpack", .engine = &no_engine, .cpus = 1, .memory = RAM, .low_end = RAM};

	if (vm_create(&cfg, &vm))
		return 1;
	kernel = mem_ptr(vm, LOAD, ROOM, true);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
