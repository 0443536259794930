/* SPDX-License-Identifier: ISC */
/* fuzz_xz.c: chunks of LZMA2 beside liblzma: both take them, and the same comes out, or neither does. Byte 0, bit 0: the rest is what
 * liblzma packs first, with the filter for x86 code (bit 1) and by lc, lp and pb of byte 1, as a file, in which bytes 2
 * and 3 damage a byte where bit 2 is set. */
#include <lzma.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/lzma2.h"
#include "ctl/xz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST = 1 << 20, ROOM = 4 << 20 };
static uint8_t ours[ROOM], theirs[ROOM], packed[MOST + 65536];

static void chunks(const uint8_t *data, size_t size)
{
	lzma_options_lzma o;
	lzma_filter f[] = {{LZMA_FILTER_LZMA2, &o}, {LZMA_VLI_UNKNOWN, NULL}};
	const uint8_t *in = data;
	size_t n = 0, at = 0, out = 0;
	bool ok = lzma2_unpack(&in, data + size, ours, ROOM, &n);
	lzma_ret r;

	lzma_lzma_preset(&o, 0);
	o.dict_size = ROOM * 2; /* of which the input says nothing here */
	r = lzma_raw_buffer_decode(f, NULL, data, &at, size, theirs, &out, ROOM);
	if (ok != (r == LZMA_OK) ||
	    (ok && (n != out || at != (size_t)(in - data) || memcmp(ours, theirs, n))))
		abort();
}

static void file(const uint8_t *data, size_t size)
{
	lzma_options_lzma o;
	lzma_filter f[] = {
		{LZMA_FILTER_X86, NULL}, {LZMA_FILTER_LZMA2, &o}, {LZMA_VLI_UNKNOWN, NULL}};
	size_t n = 0, got;

	lzma_lzma_preset(&o, 0);
	o.lc = data[1] % 5;
	o.lp = data[1] / 5 % (5 - o.lc);
	o.pb = data[1] / 25 % 5;
	if (lzma_stream_buffer_encode(data[0] & 2 ? f : f + 1, LZMA_CHECK_CRC32, NULL, data + 4,
				      size - 4, packed, &n, sizeof(packed)))
		abort();
	if (data[0] & 4)
		packed[(size_t)(data[2] | data[3] << 8) % n] ^= (uint8_t)(1 + data[2] % 255);
	got = xz_unpack(packed, n, ours, ROOM);
	if ((got || !(data[0] & 4)) && (got != size - 4 || memcmp(ours, data + 4, got)))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 5 || size > MOST)
		return 0;
	if (data[0] & 1)
		file(data, size);
	else
		chunks(data + 1, size - 1);
	return 0;
}
