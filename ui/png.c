/* SPDX-License-Identifier: ISC */
/* png.c: writes PNG (ISO/IEC 15948): 8 bits a channel, RGB, each row filtered by the one above,
 * in one IDAT chunk. Any thread. */
#include "ui/png.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define CHUNK_EXTRA  12 /* length, type, CRC */
#define HEADER_BYTES (8 + CHUNK_EXTRA + 13)
#define LEVEL        3

enum { FILTER_NONE = 0, FILTER_UP = 2 };

static void put32(uint8_t *p, uint32_t v)
{
	for (unsigned i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (24 - 8 * i));
}

/* Around len bytes that are in place already at p + 8; gives the end. */
static uint8_t *chunk(uint8_t *p, const char *type, size_t len)
{
	put32(p, (uint32_t)len);
	memcpy(p + 4, type, 4);
	put32(p + 8 + len, (uint32_t)crc32(0, p + 4, (uInt)(len + 4)));
	return p + CHUNK_EXTRA + len;
}

static void filter_row(uint8_t *out, const uint32_t *row, const uint32_t *above, unsigned w)
{
	*out++ = above ? FILTER_UP : FILTER_NONE;
	for (unsigned x = 0; x < w; x++) {
		uint32_t v = row[x], u = above ? above[x] : 0;

		for (int s = 16; s >= 0; s -= 8)
			*out++ = (uint8_t)((v >> s) - (u >> s));
	}
}

int png_make(const uint32_t *pixels, unsigned w, unsigned h, uint8_t **out, size_t *len)
{
	size_t row = 1 + 3 * (size_t)w, raw_len = row * h;
	uLongf packed = compressBound(raw_len);
	uint8_t *raw, *file, *p;

	if (!w || !h || w > 65535 || h > 65535)
		return err_here(ERR_INVAL);
	raw = malloc(raw_len);
	file = malloc(HEADER_BYTES + CHUNK_EXTRA + packed + CHUNK_EXTRA);
	if (!raw || !file)
		goto no_memory;
	for (unsigned y = 0; y < h; y++)
		filter_row(raw + y * row, pixels + (size_t)y * w,
			   y ? pixels + (size_t)(y - 1) * w : NULL, w);
	memcpy(file, "\x89PNG\r\n\x1a\n", 8);
	p = file + 8;
	put32(p + 8, w);
	put32(p + 12, h);
	memcpy(p + 16, "\x08\x02\x00\x00\x00", 5); /* 8 bits, RGB */
	p = chunk(p, "IHDR", 13);
	if (compress2(p + 8, &packed, raw, raw_len, LEVEL) != Z_OK)
		goto no_memory;
	p = chunk(p, "IDAT", packed);
	p = chunk(p, "IEND", 0);
	free(raw);
	*out = file;
	*len = (size_t)(p - file);
	return 0;
no_memory:
	free(raw);
	free(file);
	return err_here(ERR_NOMEM);
}
