/* SPDX-License-Identifier: ISC */
/* test_dmar.c: firmware's tables of IOMMUs, Intel's and AMD's: who is whose, and that one which contradicts itself is refused; page tables
 * for devices: they reach what was mapped, and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "metal/dmar.h"
#include "metal/iopt.h"
#include "metal/ivrs.h"

static uint8_t table[512];
static size_t size;

static void put(unsigned n, uint64_t v)
{
	memcpy(table + size, &v, n);
	size += n;
}

static void begin(void)
{
	memset(table, 0, sizeof(table));
	size = 48;
}

static size_t entry(unsigned type, unsigned flags, uint64_t base)
{
	size_t at = size;

	put(2, type);
	put(2, 0);
	put(4, flags); /* a flag, reserved, segment */
	put(8, base);
	return at;
}

static void end(size_t at)
{
	uint16_t len = (uint16_t)(size - at);

	memcpy(table + at + 2, &len, 2);
}

static void scope(unsigned type, unsigned bus, unsigned n, const uint8_t *path)
{
	put(1, type);
	put(1, 6 + 2 * n);
	put(3, 0);
	put(1, bus);
	for (unsigned i = 0; i < 2 * n; i++)
		put(1, path[i]);
}

/* A bridge at 00:1c.0 with the buses 2 to 4 behind it, and one at 02:00.0 with bus 3. */
static bool buses(void *ctx, uint16_t bdf, uint8_t *first, uint8_t *last)
{
	*first = bdf == 0xe0 ? 2 : 3;
	*last = bdf == 0xe0 ? 4 : 3;
	return bdf == 0xe0 || bdf == 0x200;
}

static void good(struct dmar *d)
{
	size_t at;

	begin();
	at = entry(0, 0, 0xfed90000); /* graphics */
	scope(1, 0, 1, (const uint8_t[]){2, 0});
	end(at);
	at = entry(0, 0,
		   0xfed92000); /* a function behind two bridges, and all behind one at a bus */
	scope(1, 0, 3, (const uint8_t[]){0x1c, 0, 0, 0, 5, 1});
	scope(2, 2, 1, (const uint8_t[]){0, 0});
	end(at);
	at = entry(0, 1, 0xfed91000);
	scope(3, 0xf0, 1, (const uint8_t[]){0x1f, 0}); /* an I/O APIC */
	end(at);
	at = entry(1, 0, 0x7c000000);
	put(8, 0x7c7fffff);
	scope(1, 0, 1, (const uint8_t[]){2, 0});
	end(at);
	at = entry(9, 0, 0); /* of a kind that nobody knows */
	end(at);
	assert_int_equal(dmar_parse(table, size, d), 0);
}

static void test_good(void **state)
{
	struct dmar d;

	good(&d);
	assert_int_equal(d.n_units, 3);
	assert_int_equal(d.n_regions, 1);
	assert_true(d.region[0].pa == 0x7c000000 && d.region[0].end == 0x7c800000);
	assert_int_equal(dmar_unit_of(&d, 0x10, buses, NULL), 0);
	assert_int_equal(dmar_unit_of(&d, 0x11, buses, NULL), 2);
	assert_int_equal(dmar_unit_of(&d, 3 << 8 | 5 << 3 | 1, buses, NULL), 1);
	assert_int_equal(dmar_unit_of(&d, 3 << 8 | 9 << 3, buses, NULL), 1);
	assert_int_equal(dmar_unit_of(&d, 4 << 8, buses, NULL), 2);
	assert_int_equal(dmar_unit_of(&d, 0x200, buses, NULL), 1);
	assert_true(d.scope[d.n_scopes - 1].region &&
		    dmar_in_scope(&d.scope[d.n_scopes - 1], 0x10, buses, NULL));
}

static void test_broken(void **state)
{
	struct dmar d;
	size_t whole, at;

	good(&d);
	whole = size;
	for (size_t n = 49; n < whole;
	     n++) { /* cut anywhere: either at an entry's end, or refused */
		int err = dmar_parse(table, n, &d);

		assert_true(!err || err == ERR_FORMAT);
	}
	assert_int_equal(dmar_parse(table, 48, &d), ERR_NOENT);
	table[48 + 17] = 200; /* a scope longer than its unit */
	assert_int_equal(dmar_parse(table, whole, &d), ERR_FORMAT);
	table[48 + 17] = 0;
	assert_int_equal(dmar_parse(table, whole, &d), ERR_FORMAT);
	begin();
	at = entry(0, 0, 0xfed90010); /* in the middle of a page */
	end(at);
	assert_int_equal(dmar_parse(table, size, &d), ERR_FORMAT);
	begin();
	at = entry(0, 0, 0xfed90000);
	scope(1, 0, 5, (const uint8_t[]){1, 0, 1, 0, 1, 0, 1, 0, 1, 0});
	end(at);
	assert_int_equal(dmar_parse(table, size, &d), ERR_RANGE);
	begin();
	at = entry(1, 0, 0x1000);
	put(8, 0xfff); /* ends before it begins */
	end(at);
	assert_int_equal(dmar_parse(table, size, &d), ERR_FORMAT);
	begin();
	at = entry(0, 1u << 16, 0xfed90000); /* segment 1 */
	end(at);
	assert_int_equal(dmar_parse(table, size, &d), ERR_NOENT);
}

/* ---- AMD's ---- */

static size_t ivhd(unsigned type, uint64_t base)
{
	size_t at = size;

	put(1, type);
	put(1, 0);
	put(2, 0);
	put(2, 2); /* its own function */
	put(2, 0x40);
	put(8, base);
	put(2, 0); /* segment */
	put(2, 0);
	put(4, 0);
	if (type != 0x10) {
		put(8, 0);
		put(8, 0);
	}
	return at;
}

static void device(unsigned type, unsigned bdf, unsigned source)
{
	put(1, type);
	put(2, bdf);
	put(1, 0);
	if (type >= 0x40) {
		put(1, 0);
		put(2, source);
		put(1, 0);
	}
}

static void amd_good(struct ivrs *v)
{
	size_t at;

	begin();
	at = ivhd(0x10, 0xfed80000);
	device(3, 8, 0); /* a range */
	device(4, 0xffff, 0);
	device(0x42, 0x100, 0xa5);
	device(0x43, 0x200, 0x2ff);
	device(4, 0x2fe, 0);
	device(0x48, 0, 0xa0); /* an I/O APIC */
	end(at);
	at = ivhd(0x11, 0xfed80000); /* the same once more */
	device(0x42, 0x108, 0xa6);
	end(at);
	at = ivhd(0x40, 0xfed90000);
	put(1, 0xf0); /* by name, with an identity of two bytes */
	for (unsigned i = 0; i < 20; i++)
		put(1, 0);
	put(1, 2);
	put(2, 0);
	end(at);
	at = size;
	put(1, 0x22);
	put(1, 0);
	put(2, 32);
	put(2, 0x10);
	put(2, 0x17);
	put(8, 0);
	put(8, 0x7c000000);
	put(8, 0x100000);
	end(at);
	assert_int_equal(ivrs_parse(table, size, v), 0);
}

static void test_amd_good(void **state)
{
	struct ivrs v;

	amd_good(&v);
	assert_int_equal(v.n_units, 2);
	assert_true(v.unit[0].base == 0xfed80000 && v.unit[0].bdf == 2 &&
		    v.unit[1].base == 0xfed90000);
	assert_int_equal(v.n_aliases, 2);
	assert_int_equal(ivrs_source(&v, 0x100), 0xa5);
	assert_int_equal(ivrs_source(&v, 0x200), 0x2ff);
	assert_int_equal(ivrs_source(&v, 0x2fe), 0x2ff);
	assert_int_equal(ivrs_source(&v, 0x108), 0x108);
	assert_int_equal(v.n_regions, 1);
	assert_true(v.region[0].pa == 0x7c000000 && v.region[0].end == 0x7c100000);
	assert_true(v.region[0].first == 0x10 && v.region[0].last == 0x17);
}

static void test_amd_broken(void **state)
{
	struct ivrs v;
	size_t whole, at;

	amd_good(&v);
	whole = size;
	for (size_t n = 49; n < whole; n++) {
		int err = ivrs_parse(table, n, &v);

		assert_true(!err || err == ERR_FORMAT);
	}
	assert_int_equal(ivrs_parse(table, 48, &v), ERR_NOENT);
	begin();
	at = ivhd(0x10, 0xfed80000);
	device(0x43, 0x200, 0x2ff); /* a range without an end */
	end(at);
	assert_int_equal(ivrs_parse(table, size, &v), ERR_FORMAT);
	begin();
	at = ivhd(0x10, 0xfed80000);
	device(0x43, 0x200, 0x2ff); /* one that ends before it begins */
	device(4, 0x1ff, 0);
	end(at);
	assert_int_equal(ivrs_parse(table, size, &v), ERR_FORMAT);
	begin();
	at = ivhd(0x10, 0xfed80800);
	end(at);
	assert_int_equal(ivrs_parse(table, size, &v), ERR_FORMAT);
	begin();
	at = ivhd(0x11, 0xfed80000);
	put(1, 0xf0); /* by name, cut */
	end(at);
	assert_int_equal(ivrs_parse(table, size, &v), ERR_FORMAT);
}

static void reaches(const struct iopt *t, uint64_t from, uint64_t to)
{
	assert_true(iopt_reaches(t, from) && iopt_reaches(t, to - 1));
	assert_false(iopt_reaches(t, from - 1));
	assert_false(iopt_reaches(t, to));
}

static void test_tables(void **state)
{
	for (unsigned large = 0; large < 4; large++)
		for (unsigned levels = 3; levels <= 4; levels++) {
			struct iopt t = {.format = large & 2 ? &iopt_amd : &iopt_intel,
					 .levels = levels,
					 .large = large & 1,
					 .flush = levels == 3};
			uint64_t a = 5 * GIB + 0x3000, b = 6 * GIB;

			assert_int_equal(iopt_init(&t), 0);
			assert_false(iopt_reaches(&t, a));
			assert_int_equal(iopt_map(&t, a, a + 0x5000), 0);
			assert_int_equal(iopt_map(&t, b, b + 6 * MIB + 0x1000), 0);
			reaches(&t, a, a + 0x5000);
			reaches(&t, b, b + 6 * MIB + 0x1000);
			iopt_unmap(&t, b, b + 6 * MIB + 0x1000);
			assert_false(iopt_reaches(&t, b) || iopt_reaches(&t, b + 3 * MIB) ||
				     iopt_reaches(&t, b + 6 * MIB));
			reaches(&t, a, a + 0x5000);
			/* where small pages have been, a large one would lose their table */
			iopt_unmap(&t, a, a + 0x5000);
			assert_int_equal(iopt_map(&t, 5 * GIB, 5 * GIB + 4 * MIB), 0);
			reaches(&t, 5 * GIB, 5 * GIB + 4 * MIB);
			iopt_unmap(&t, 5 * GIB, 5 * GIB + 4 * MIB);
			for (uint64_t at = 5 * GIB; at < 5 * GIB + 4 * MIB; at += 0x1000)
				assert_false(iopt_reaches(&t, at));
			assert_int_equal(iopt_map(&t, BIT64(48) - 0x1000, BIT64(48) + 0x1000),
					 ERR_RANGE);
			assert_false(iopt_reaches(&t, BIT64(50)));
			iopt_fini(&t);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),     cmocka_unit_test(test_broken),
		cmocka_unit_test(test_amd_good), cmocka_unit_test(test_amd_broken),
		cmocka_unit_test(test_tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
