/* SPDX-License-Identifier: ISC */
/* unzip.c: compression for qcow2, decompression for qcow2 and VMDK, by zlib and libzstd. Hosted; any thread. */

#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "block/unzip.h"

/* bits: of zlib's window; negative: without its header. */
static int inflate_all(int bits, const void *in, size_t in_len, void *out, size_t out_len)
{
	z_stream s;
	int r;

	memset(&s, 0, sizeof(s));
	s.next_in = (Bytef *)(uintptr_t)in;
	s.avail_in = (uInt)in_len;
	s.next_out = out;
	s.avail_out = (uInt)out_len;
	if (inflateInit2(&s, bits) != Z_OK)
		return err_here(ERR_NOMEM);
	r = inflate(&s, Z_FINISH);
	inflateEnd(&s);
	/* What follows the stream up to the end of its last sector is no part of it. */
	if (s.avail_out || (r != Z_STREAM_END && r != Z_BUF_ERROR && r != Z_OK))
		return err_here(ERR_FORMAT);
	return 0;
}

static int zstd_all(const void *in, size_t in_len, void *out, size_t out_len)
{
	ZSTD_inBuffer i = {in, in_len, 0};
	ZSTD_outBuffer o = {out, out_len, 0};
	ZSTD_DStream *s = ZSTD_createDStream();
	size_t r = 1, before;

	if (!s)
		return err_here(ERR_NOMEM);
	do {
		before = i.pos + o.pos;
		r = ZSTD_decompressStream(s, &o, &i);
	} while (r && !ZSTD_isError(r) && o.pos < out_len && i.pos + o.pos > before);
	ZSTD_freeDStream(s);
	return !ZSTD_isError(r) && o.pos == out_len ? 0 : err_here(ERR_FORMAT);
}

int unzip_cluster(unsigned type, const void *in, size_t in_len, void *out, size_t out_len)
{
	if (type == 1)
		return zstd_all(in, in_len, out, out_len);
	return inflate_all(type ? 15 : -15, in, in_len, out, out_len);
}

/* As QEMU reads it: raw deflate with a window of 4 KiB. */
static size_t deflate_all(const void *in, size_t in_len, void *out, size_t room)
{
	z_stream s;
	int r;

	memset(&s, 0, sizeof(s));
	s.next_in = (Bytef *)(uintptr_t)in;
	s.avail_in = (uInt)in_len;
	s.next_out = out;
	s.avail_out = (uInt)room;
	if (deflateInit2(&s, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY) != Z_OK)
		return 0;
	r = deflate(&s, Z_FINISH);
	deflateEnd(&s);
	return r == Z_STREAM_END ? room - s.avail_out : 0;
}

size_t zip_cluster(unsigned type, const void *in, size_t in_len, void *out, size_t room)
{
	size_t n;

	if (!type)
		return deflate_all(in, in_len, out, room);
	n = ZSTD_compress(out, room, in, in_len, ZSTD_CLEVEL_DEFAULT);
	return ZSTD_isError(n) ? 0 : n;
}
