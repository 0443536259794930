/* SPDX-License-Identifier: ISC */
/* test_png.c: pictures written are read back by a decoder of the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <cmocka.h>

#include "ui/png.h"

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Checks a chunk's type and CRC; gives its length. */
static uint32_t expect_chunk(const uint8_t *p, const char *type)
{
	uint32_t len = get32(p);

	assert_memory_equal(p + 4, type, 4);
	assert_int_equal(get32(p + 8 + len), crc32(0, p + 4, len + 4));
	return len;
}

static void check(unsigned w, unsigned h)
{
	size_t n = (size_t)w * h, len = 0, row = 1 + 3 * (size_t)w;
	uint32_t *px = malloc(n * sizeof(*px)), chunk;
	uint8_t *file = NULL, *raw = malloc(row * h), *p;
	uLongf raw_len = row * h;

	for (size_t i = 0; i < n; i++)
		px[i] = (uint32_t)(i * 2654435761u >> 7) & 0xffffff;
	assert_int_equal(png_make(px, w, h, &file, &len), 0);
	assert_memory_equal(file, "\x89PNG\r\n\x1a\n", 8);
	p = file + 8;
	assert_int_equal(expect_chunk(p, "IHDR"), 13);
	assert_int_equal(get32(p + 8), w);
	assert_int_equal(get32(p + 12), h);
	assert_memory_equal(p + 16, "\x08\x02\0\0\0", 5);
	p += 12 + 13;
	chunk = expect_chunk(p, "IDAT");
	assert_int_equal(uncompress(raw, &raw_len, p + 8, chunk), Z_OK);
	assert_int_equal(raw_len, row * h);
	p += 12 + chunk;
	assert_int_equal(expect_chunk(p, "IEND"), 0);
	assert_ptr_equal(p + 12, file + len);
	for (unsigned y = 0; y < h; y++) {
		uint8_t *r = raw + y * row;

		assert_true(r[0] == 0 || r[0] == 2);
		for (size_t i = 1; i < row; i++) {
			if (r[0] == 2)
				r[i] = (uint8_t)(r[i] + (y ? r[i - row] : 0));
			assert_int_equal(r[i],
					 px[(size_t)y * w + (i - 1) / 3] >> (16 - (i - 1) % 3 * 8) &
						 0xff);
		}
	}
	free(px);
	free(raw);
	free(file);
}

static void test_pictures(void **state)
{
	check(1, 1);
	check(3, 7);
	check(720, 400);
}

static void test_sizes(void **state)
{
	uint8_t *file;
	uint32_t px = 0;
	size_t len;

	assert_int_equal(png_make(&px, 0, 1, &file, &len), ERR_INVAL);
	assert_int_equal(png_make(&px, 1, 65536, &file, &len), ERR_INVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pictures),
		cmocka_unit_test(test_sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
