/* SPDX-License-Identifier: ISC */
/* test_xz.c: what liblzma packs comes out again, and nothing that is damaged; the sum that names it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <lzma.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/blake2bp.h"
#include "ctl/xz.h"

enum { MOST = 3 << 20, PACKED = MOST + (1 << 16), FOOTER = 12 };
static uint8_t plain[MOST], packed[PACKED], out[MOST + 1];
static unsigned seed = 1;

static unsigned any(unsigned below)
{
	seed = seed * 1103515245 + 12345;
	return (seed >> 8) % below;
}

/* ---- what is packed ---------------------------------------------------------------------------------- */

/* Bytes of few kinds, repetitions from near and far, calls and jumps, and stretches that nothing packs. */
static void make(size_t size)
{
	size_t n = 0;

	while (n < size) {
		unsigned kind = any(6), len = 1 + any(any(20) ? 300 : 100000),
			 back = any(3) ? 1 + any(40) : 1 + any(1 << 20);

		for (unsigned i = 0; i < len && n < size; i++, n++) {
			if (kind < 3 && back <= n)
				plain[n] = plain[n - back];
			else if (kind == 3)
				plain[n] = (uint8_t)any(256);
			else if (kind == 4)
				plain[n] = (uint8_t)(any(3) ? 0xe8 + any(2) : any(2) * 0xff);
			else
				plain[n] = (uint8_t)('a' + any(4));
		}
	}
}

struct way {
	unsigned preset, lc, lp, pb;
	bool x86;
	lzma_check check;
	lzma_action flush; /* in the middle */
};

static size_t pack(const struct way *w, size_t size)
{
	lzma_stream z = LZMA_STREAM_INIT;
	lzma_options_lzma o;
	lzma_filter f[3] = {
		{LZMA_FILTER_X86, NULL}, {LZMA_FILTER_LZMA2, &o}, {LZMA_VLI_UNKNOWN, NULL}};
	lzma_ret r;

	assert_false(lzma_lzma_preset(&o, w->preset));
	o.lc = w->lc;
	o.lp = w->lp;
	o.pb = w->pb;
	assert_int_equal(lzma_stream_encoder(&z, w->x86 ? f : f + 1, w->check), LZMA_OK);
	z.next_in = plain;
	z.avail_in = size / 2;
	z.next_out = packed;
	z.avail_out = sizeof(packed);
	if (w->flush != LZMA_RUN)
		while ((r = lzma_code(&z, w->flush)) != LZMA_STREAM_END)
			assert_int_equal(r, LZMA_OK);
	z.avail_in += size - size / 2;
	while ((r = lzma_code(&z, LZMA_FINISH)) != LZMA_STREAM_END)
		assert_int_equal(r, LZMA_OK);
	lzma_end(&z);
	return z.total_out;
}

/* From memory that ends where the file does. */
static size_t unpack(size_t size, size_t room)
{
	uint8_t *copy = malloc(size ? size : 1);
	size_t n;

	memcpy(copy, packed, size);
	n = xz_unpack(copy, size, out, room);
	free(copy);
	return n;
}

static const struct way ways[] = {
	{0, 3, 0, 2, true, LZMA_CHECK_CRC32, LZMA_RUN},
	{6, 3, 0, 2, true, LZMA_CHECK_CRC32, LZMA_FULL_FLUSH},
	{1, 0, 4, 4, false, LZMA_CHECK_CRC32, LZMA_SYNC_FLUSH},
	{6, 4, 0, 0, true, LZMA_CHECK_NONE, LZMA_RUN},
	{4, 1, 3, 1, false, LZMA_CHECK_NONE, LZMA_FULL_FLUSH},
};

static void comes_out(void **state)
{
	for (unsigned i = 0; i < 30; i++) {
		const struct way *w = &ways[i % ARRAY_SIZE(ways)];
		size_t size = i % 3 ? 1 + any(3000) : MOST - any(1 << 20), n;

		make(size);
		n = pack(w, size);
		memset(out, 0x55, sizeof(out));
		assert_int_equal(unpack(n, sizeof(out)), size);
		assert_memory_equal(out, plain, size);
		assert_int_equal(out[size], 0x55);
		assert_int_equal(unpack(n, size), size);
		assert_int_equal(unpack(n, size - 1), 0);
	}
}

static void not_ours(void **state)
{
	static const struct way others[] = {{0, 3, 0, 2, true, LZMA_CHECK_CRC64, LZMA_RUN},
					    {0, 3, 0, 2, false, LZMA_CHECK_SHA256, LZMA_RUN}};

	make(1000);
	for (unsigned i = 0; i < ARRAY_SIZE(others); i++)
		assert_int_equal(unpack(pack(&others[i], 1000), sizeof(out)), 0);
	assert_int_equal(unpack(0, sizeof(out)), 0);
}

/* Each bit that is wrong is found, up to the footer, and so is an end that is missing. */
static void damaged(void **state)
{
	for (unsigned k = 0; k < 3; k++) {
		size_t size = 700 + any(500), n;

		make(size);
		n = pack(&ways[k], size);
		for (size_t i = 0; i < n; i++)
			if (unpack(i, sizeof(out)))
				assert_true(i >= n - FOOTER);
		for (size_t i = 0; i < n * 8; i++) {
			packed[i / 8] ^= (uint8_t)BIT(i % 8);
			if (unpack(n, sizeof(out)))
				assert_true(i / 8 >= n - FOOTER);
			packed[i / 8] ^= (uint8_t)BIT(i % 8);
		}
	}
}

static void sums(void **state)
{
	static const uint8_t empty[4] = {0xb5, 0xef, 0x81, 0x1a}, abc[4] = {0xb9, 0x1a, 0x6b, 0x66},
			     block[4] = {0x1a, 0xc2, 0x0b, 0x62},
			     more[4] = {0xbe, 0xe8, 0x10, 0xcd};
	uint8_t zeroes[1025] = {0}, sum[BLAKE2BP_SIZE];

	blake2bp(zeroes, 0, sum);
	assert_memory_equal(sum, empty, 4);
	blake2bp((const uint8_t *)"abc", 3, sum);
	assert_memory_equal(sum, abc, 4);
	blake2bp(zeroes, 128, sum);
	assert_memory_equal(sum, block, 4);
	blake2bp(zeroes, sizeof(zeroes), sum);
	assert_memory_equal(sum, more, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(comes_out), cmocka_unit_test(not_ours),
					   cmocka_unit_test(damaged), cmocka_unit_test(sums)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
