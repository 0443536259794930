/* SPDX-License-Identifier: ISC */
/* test_volume.c: the directory of a volume: what is put in comes out, and nothing else is taken for one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "block/volume.h"

#define SECTORS 10000u

static uint8_t dir[VOLUME_DIR];
static uint64_t generation;

static const struct volume_image two = {"two", 300, 2, {{VOLUME_DATA, 100}, {SECTORS - 200, 200}}};

static void make(void)
{
	volume_begin(dir, SECTORS, 7);
	assert_true(volume_put(dir, &(struct volume_image){"one", 8, 1, {{500, 8}}}));
	assert_true(volume_put(dir, &two));
	volume_seal(dir);
}

static void test_good(void **state)
{
	struct volume_image m;

	make();
	assert_int_equal(volume_check(dir, SECTORS, &generation), 0);
	assert_int_equal(generation, 7);
	assert_int_equal(volume_check(dir, SECTORS + 1, &generation), 0);
	assert_int_equal(volume_check(dir, SECTORS - 1, &generation), ERR_FORMAT);
	assert_true(volume_find(dir, "two", &m));
	assert_true(m.n == 2 && m.sectors == 300);
	assert_memory_equal(m.extent, two.extent, 2 * sizeof(*m.extent));
	assert_false(volume_find(dir, "three", &m));
	assert_false(volume_image(dir, 2, &m));
}

static void test_bad(void **state)
{
	static const struct {
		unsigned at, size;
		uint64_t v;
	} lies[] = {
		{0, 1, 'v'},                 /* magic */
		{8, 4, 2},                   /* version */
		{24, 8, UINT64_MAX},         /* sectors */
		{24, 8, SECTORS - 1},        /* an extent ends behind it */
		{32, 4, 3},                  /* images: one more */
		{32, 4, 256},                /* too many */
		{36, 4, 2},                  /* extents: the second image has more */
		{36, 4, 3073},               /* too many */
		{64, 1, 0},                  /* no name */
		{64 + 39, 1, 'x'},           /* a name without an end */
		{64 + 40, 8, 9},             /* not the extents' sum */
		{64 + 48, 4, UINT32_MAX},    /* the first extent */
		{64 + 52, 4, 0},             /* none */
		{64 + 52, 4, 65},            /* too many */
		{16384, 8, VOLUME_DATA - 1}, /* in the directory */
		{16384, 8, SECTORS},         /* behind the end */
		{16384, 8, UINT64_MAX},
		{16392, 8, 0}, /* an empty one */
	};

	for (unsigned i = 0; i < ARRAY_SIZE(lies); i++) {
		make();
		memcpy(dir + lies[i].at, &lies[i].v, lies[i].size);
		volume_seal(dir);
		assert_int_equal(volume_check(dir, SECTORS, &generation), ERR_FORMAT);
	}
	make();
	dir[VOLUME_DIR - 1] ^= 1; /* and the sum */
	assert_int_equal(volume_check(dir, SECTORS, &generation), ERR_FORMAT);
}

static void test_full(void **state)
{
	struct volume_image m = {"m", VOLUME_EXTENTS, VOLUME_EXTENTS};
	unsigned n = 0;

	for (unsigned i = 0; i < VOLUME_EXTENTS; i++)
		m.extent[i] = (struct volume_extent){VOLUME_DATA + i, 1};
	volume_begin(dir, SECTORS, 1);
	while (volume_put(dir, &m))
		n++;
	assert_int_equal(n, VOLUME_ALL / VOLUME_EXTENTS);
	m.n = 1;
	m.sectors = 1;
	assert_false(volume_put(dir, &m));
	volume_seal(dir);
	assert_int_equal(volume_check(dir, SECTORS, &generation), 0);
	volume_begin(dir, SECTORS, 1);
	for (n = 0; volume_put(dir, &m);)
		n++;
	assert_int_equal(n, VOLUME_IMAGES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
