/* SPDX-License-Identifier: ISC */
/* test_part.c: partition tables: what good ones say, and that damaged or lying ones lead nowhere outside. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

#include "metal/part.h"

#define SECTORS 4096u

#include "tests/lib/part_disk.h"

static uint64_t fail_at; /* this sector cannot be read; 0: all can */

static int read_sector(void *ctx, uint64_t sector, void *buf)
{
	assert_true(sector < SECTORS);
	if (fail_at && sector == fail_at)
		return ERR_IO;
	memcpy(buf, disk + sector * PART_SECTOR, PART_SECTOR);
	return 0;
}

static const struct part_source source = {read_sector, NULL, SECTORS};

static bool count(void *ctx, const struct part *p)
{
	assert_true(p->sectors && p->sector < SECTORS && p->sectors <= SECTORS - p->sector);
	++*(unsigned *)ctx;
	return false;
}

static unsigned parts(int expect)
{
	unsigned n = 0;

	assert_int_equal(part_walk(&source, count, &n), expect);
	return n;
}

static void clear(void)
{
	memset(disk, 0, sizeof(disk));
	fail_at = 0;
}

static void test_mbr(void **state)
{
	struct part p;

	clear();
	assert_int_equal(parts(ERR_FORMAT), 0);
	put_mbr(0, 0, 0x83, 100, 200);
	put_mbr(0, 2, 0x0b, 300, 50);
	put_mbr(0, 3, 0x83, 4000, 97); /* one too many */
	assert_int_equal(parts(0), 2);
	assert_int_equal(part_find(&source, "3", &p), 0);
	assert_true(p.number == 3 && p.sector == 300 && p.sectors == 50);
	assert_int_equal(part_find(&source, "2", &p), ERR_NOENT);
	assert_int_equal(part_find(&source, "", &p), ERR_NOENT);
	assert_int_equal(part_find(&source, "99999999999999999999", &p), ERR_NOENT);
}

static void test_logical(void **state)
{
	struct part p;

	clear();
	put_mbr(0, 1, 5, 1000, 2000);
	put_mbr(1000, 0, 0x83, 1, 99);
	put_mbr(1000, 1, 5, 500, 100); /* relative to the first */
	put_mbr(1500, 0, 0x83, 2, 98);
	assert_int_equal(parts(0), 2);
	assert_int_equal(part_find(&source, "6", &p), 0);
	assert_true(p.sector == 1502 && p.sectors == 98);
	put_mbr(1500, 1, 5, 500, 100); /* a ring */
	assert_in_range(parts(0), 2, 64);
	fail_at = 1500;
	parts(ERR_IO);
}

static void seal(uint64_t self, uint64_t entries)
{
	uint8_t *h = at(self);

	put(h + 88, 4, crc32(0, at(entries), 128 * 8));
	put(h + 16, 4, 0);
	put(h + 16, 4, crc32(0, h, 92));
}

static void put_gpt(uint64_t self, uint64_t entries)
{
	uint8_t *h = at(self);

	memcpy(h, "EFI PART", 8);
	put(h + 12, 4, 92);
	put(h + 24, 8, self);
	put(h + 40, 8, 34);
	put(h + 48, 8, SECTORS - 34);
	put(h + 72, 8, entries);
	put(h + 80, 4, 8);
	put(h + 84, 4, 128);
	for (unsigned i = 0; i < 3; i++) {
		uint8_t *e = at(entries) + (size_t)128 * (2 * i);

		e[0] = 1;
		put(e + 32, 8, 100 * (i + 1));
		put(e + 40, 8, 100 * (i + 1) + 49);
		memcpy(e + 56, (const char[]){'d', 0, (char)('a' + i), 0}, 4);
	}
	seal(self, entries);
}

static void test_gpt(void **state)
{
	struct part p;

	clear();
	put_mbr(0, 0, 0xee, 1, SECTORS - 1);
	assert_int_equal(parts(ERR_FORMAT), 0);
	put_gpt(1, 2);
	put_gpt(SECTORS - 1, SECTORS - 33);
	assert_int_equal(parts(0), 3);
	assert_int_equal(part_find(&source, "5", &p), 0);
	assert_true(p.sector == 300 && p.sectors == 50);
	assert_int_equal(part_find(&source, "db", &p), 0);
	assert_true(p.number == 3 && p.sector == 200);
	at(2)[32]++; /* damaged: the second table is taken */
	assert_int_equal(part_find(&source, "da", &p), 0);
	assert_int_equal(p.sector, 100);
	at(SECTORS - 33)[32]++;
	assert_int_equal(parts(ERR_FORMAT), 0);
}

/* Sums that hold for numbers that do not. */
static void test_gpt_lies(void **state)
{
	static const struct {
		unsigned at, size;
		uint64_t v;
	} lies[] = {
		{12, 4, 91},         {12, 4, 513}, {24, 8, 2},    {72, 8, SECTORS},
		{72, 8, UINT64_MAX}, {80, 4, ~0u}, {80, 4, 1025}, {84, 4, 0},
		{84, 4, 64},         {84, 4, 129}, {84, 4, 1024}, {84, 4, 0x80000080},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(lies); i++) {
		clear();
		put_mbr(0, 0, 0xee, 1, SECTORS - 1);
		put_gpt(1, 2);
		put(at(1) + lies[i].at, lies[i].size, lies[i].v);
		put(at(1) + 16, 4, 0);
		put(at(1) + 16, 4, crc32(0, at(1), 92));
		assert_int_equal(parts(ERR_FORMAT), 0);
	}
	for (unsigned i = 0; i < 4; i++) { /* a first or last sector that is out of place */
		clear();
		put_mbr(0, 0, 0xee, 1, SECTORS - 1);
		put_gpt(1, 2);
		put(at(2) + (i & 1 ? 40 : 32), 8, i & 2 ? UINT64_MAX : 1);
		seal(1, 2);
		assert_int_equal(parts(0), 2);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mbr),
		cmocka_unit_test(test_logical),
		cmocka_unit_test(test_gpt),
		cmocka_unit_test(test_gpt_lies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
