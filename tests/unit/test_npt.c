/* SPDX-License-Identifier: ISC */
/* test_npt.c: nested page tables over plain memory: large and small pages, protection, what is never
 * mapped, and every allocation failing once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "engine/hw/npt.h"
#include "plat/fake/fake.h"

static void leads(const struct npt *n, gpa_t gpa, uint64_t pa, bool writable)
{
	uint64_t got;
	bool w;

	assert_true(npt_lookup(n, gpa, &got, &w));
	assert_int_equal(got, pa);
	assert_int_equal(w, writable);
}

static void absent(const struct npt *n, gpa_t gpa)
{
	uint64_t got;
	bool w;

	assert_false(npt_lookup(n, gpa, &got, &w));
}

/* Tables below the root, by the number of allocations. */
static void test_large_pages(void **state)
{
	struct npt n;
	unsigned before;

	assert_int_equal(npt_init(&n, NPT_LEAF_AMD), 0);
	before = fake_alloc_live();
	assert_int_equal(npt_map(&n, 0, 64 * MIB, 64 * MIB, true), 0);
	assert_int_equal(fake_alloc_live() - before, 2); /* one of 1 GiB's range, one of 2 MiB's */
	leads(&n, 0, 64 * MIB, true);
	leads(&n, 64 * MIB - 1, 128 * MIB - 1, true);
	absent(&n, 64 * MIB);
	absent(&n, UINT64_C(0xfee00000));
	/* an address that is off by a page cannot be large */
	before = fake_alloc_live();
	assert_int_equal(npt_map(&n, 4 * GIB, 512 * MIB + PAGE_SIZE, 4 * MIB, true), 0);
	assert_int_equal(fake_alloc_live() - before, 3);
	leads(&n, 4 * GIB + 2 * MIB + 5, 514 * MIB + PAGE_SIZE + 5, true);
	absent(&n, 4 * GIB - 1);
	npt_fini(&n);
	assert_int_equal(fake_alloc_live(), 0);
}

static void test_protect(void **state)
{
	struct npt n;

	assert_int_equal(npt_init(&n, NPT_LEAF_AMD), 0);
	assert_int_equal(npt_map(&n, 0, 16 * MIB, 8 * MIB, true), 0);
	assert_int_equal(npt_protect(&n, 2 * MIB + PAGE_SIZE, 2 * PAGE_SIZE, false), 0);
	leads(&n, 2 * MIB, 18 * MIB, true);
	leads(&n, 2 * MIB + PAGE_SIZE, 18 * MIB + PAGE_SIZE, false);
	leads(&n, 2 * MIB + 2 * PAGE_SIZE + 9, 18 * MIB + 2 * PAGE_SIZE + 9, false);
	leads(&n, 2 * MIB + 3 * PAGE_SIZE, 18 * MIB + 3 * PAGE_SIZE, true);
	leads(&n, 4 * MIB - 1, 20 * MIB - 1, true);
	assert_int_equal(npt_protect(&n, 2 * MIB + PAGE_SIZE, PAGE_SIZE, true), 0);
	leads(&n, 2 * MIB + PAGE_SIZE, 18 * MIB + PAGE_SIZE, true);
	/* what is not there does not come to be there */
	assert_int_equal(npt_protect(&n, GIB, PAGE_SIZE, true), 0);
	absent(&n, GIB);
	npt_fini(&n);
}

/* Intel's have a memory type in entries for pages, large and small, also where a large one was split, and
 * none in those for tables. */
static void test_ept(void **state)
{
	struct npt n;
	uint64_t *t;

	assert_int_equal(npt_init(&n, NPT_LEAF_EPT), 0);
	assert_int_equal(npt_map(&n, 0, 16 * MIB, 4 * MIB + PAGE_SIZE, true), 0);
	assert_int_equal(npt_protect(&n, PAGE_SIZE, PAGE_SIZE, false), 0);
	leads(&n, 2 * MIB + 3, 18 * MIB + 3, true);
	leads(&n, PAGE_SIZE, 16 * MIB + PAGE_SIZE, false);
	assert_int_equal(n.root[0] & 0xfff, 7);
	t = plat_virt(n.root[0] & ~PAGE_MASK);
	assert_int_equal(t[0] & 0xfff, 7);
	t = plat_virt(t[0] & ~PAGE_MASK);
	assert_int_equal(t[0] & 0xfff, 7);
	assert_int_equal(t[1], 18 * MIB | 0x80 | 0x30 | 7);
	t = plat_virt(t[0] & ~PAGE_MASK);
	assert_int_equal(t[0], 16 * MIB | 0x30 | 7);
	assert_int_equal(t[1], (16 * MIB + PAGE_SIZE) | 0x30 | 5);
	npt_fini(&n);
	assert_int_equal(fake_alloc_live(), 0);
}

static void test_twice(void **state)
{
	struct npt n;

	assert_int_equal(npt_init(&n, NPT_LEAF_AMD), 0);
	assert_int_equal(npt_map(&n, MIB, 2 * GIB, MIB, false), 0);
	assert_int_equal(npt_map(&n, 2 * MIB - PAGE_SIZE, 3 * GIB, PAGE_SIZE, true), ERR_EXIST);
	leads(&n, 2 * MIB - PAGE_SIZE, 2 * GIB + MIB - PAGE_SIZE, false);
	npt_fini(&n);
}

static void test_no_memory(void **state)
{
	for (unsigned fail = 1;; fail++) {
		struct npt n;
		int err;

		fake_fail_alloc(fail);
		err = npt_init(&n, NPT_LEAF_AMD);
		if (!err)
			err = npt_map(&n, 0, 64 * MIB, 4 * MIB, true);
		if (!err)
			err = npt_protect(&n, PAGE_SIZE, PAGE_SIZE, false);
		npt_fini(&n);
		assert_int_equal(fake_alloc_live(), 0);
		if (!err) {
			assert_int_equal(fail,
					 5); /* root, two tables, one split; the fifth is none */
			break;
		}
		assert_int_equal(err, ERR_NOMEM);
	}
	fake_fail_alloc(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_large_pages), cmocka_unit_test(test_protect),
		cmocka_unit_test(test_ept),         cmocka_unit_test(test_twice),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
