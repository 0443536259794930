/* SPDX-License-Identifier: ISC */
/* xz.c: the container of xz (The .xz File Format 1.1.0), as far as kernels are packed with it: LZMA2, before it
 * the filter for x86 code or none, CRC-32 or no check. Any thread; the input is hostile. */
#include "ctl/xz.h"

#include <immintrin.h>
#include <string.h>
#include <zlib.h>

#include "ctl/lzma2.h"

#define FILTER_X86   0x04u
#define FILTER_LZMA2 0x21u
#define CHECK_NONE   0u
#define CHECK_CRC32  1u
#define HEADER_SIZE  12u

struct block {
	bool x86;
	const uint8_t *data;
};

static uint32_t le32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return v;
}

static __m128i load16(const uint8_t *p)
{
	return _mm_loadu_si128((const __m128i *)(const void *)p);
}

/* CRC-32 of 16 bytes and more: what is 128 bits further on has the same remainder when it is multiplied by x^(128+32) and
 * x^(128-32), bits in reverse (Intel, "Fast CRC Computation Using PCLMULQDQ"). */
__attribute__((target("pclmul"))) static uint32_t crc_fold(const uint8_t *p, size_t n)
{
	const __m128i by = _mm_set_epi64x(0x0ccaa009e, 0x1751997d0);
	__m128i x = _mm_xor_si128(load16(p), _mm_cvtsi32_si128(-1)), low, high;
	uint8_t rest[16];
	size_t i = 16;

	for (; i + 16 <= n; i += 16) {
		low = _mm_clmulepi64_si128(x, by, 0x00);
		high = _mm_clmulepi64_si128(x, by, 0x11);
		x = _mm_xor_si128(_mm_xor_si128(low, high), load16(p + i));
	}
	memcpy(rest, &x, sizeof(rest));
	return (uint32_t)crc32_z(crc32_z(UINT32_MAX, rest, sizeof(rest)), p + i, n - i);
}

static uint32_t crc(const uint8_t *p, size_t n)
{
	if (n >= 16 && __builtin_cpu_supports("pclmul"))
		return crc_fold(p, n);
	return (uint32_t)crc32_z(0, p, n);
}

static bool crc_is(const uint8_t *p, size_t n, const uint8_t *sum)
{
	return crc(p, n) == le32(sum);
}

/* ---- x86 code ------------------------------------------------------------------------------------------- */

static bool is_sign(uint32_t byte)
{
	return byte == 0 || byte == 0xff;
}

/* The next CALL or JMP (E8H, E9H) from at on that has its four bytes before the end; or the end */
static size_t next_jump(const uint8_t *p, size_t at, size_t end)
{
	const __m128i mask = _mm_set1_epi8((char)0xfe), op = _mm_set1_epi8((char)0xe8);

	for (; at + 16 <= end; at += 16) {
		__m128i is = _mm_cmpeq_epi8(_mm_and_si128(load16(p + at), mask), op);
		unsigned bits = (unsigned)_mm_movemask_epi8(is);

		if (bits)
			return at + (unsigned)__builtin_ctz(bits);
	}
	while (at < end && (p[at] & 0xfe) != 0xe8)
		at++;
	return at;
}

/* The packer has made the targets of calls and jumps absolute, so that calls to one function look alike. It took those
 * bytes for one of which the highest byte of the displacement is a sign, but not in the neighbourhood of others
 * that it had left alone: seen has a bit for each of the three bytes before, the next one's the lowest. */
static void x86_undo(uint8_t *p, size_t size)
{
	static const uint8_t blocks[8] = {0, 0, 0, 1, 0, 1, 1, 1};
	size_t end = size < 5 ? 0 : size - 4, last = 0, at;
	uint32_t seen = 0;

	for (at = next_jump(p, 0, end); at < end; at = next_jump(p, at, end)) {
		uint32_t v, here = (uint32_t)at + 5;

		seen = at - last > 2 ? 0 : seen >> (at - last);
		if (seen && (blocks[seen] || is_sign(p[at + (seen >> 1) + 1]))) {
			seen = seen >> 1 | 4;
			last = ++at;
			continue;
		}
		if (!is_sign(p[at + 4])) {
			seen = seen >> 1 | 4;
			last = ++at;
			continue;
		}
		v = le32(p + at + 1) - here;
		if (seen) {
			unsigned shift = (seen & 6) << 2;

			if (is_sign(v >> shift & 0xff))
				v = (v ^ ((0x100u << shift) - 1)) - here;
		}
		v = (v & 0xffffff) | (v & BIT(24) ? 0xff000000u : 0);
		memcpy(p + at + 1, &v, 4);
		at += 5;
		last = at;
		seen = 0;
	}
}

/* ---- blocks ----------------------------------------------------------------------------------------------- */

static bool number(const uint8_t **p, const uint8_t *end, uint64_t *v)
{
	*v = 0;
	for (unsigned shift = 0; *p < end && shift < 63; shift += 7) {
		uint8_t b = *(*p)++;

		*v |= (uint64_t)(b & 0x7f) << shift;
		if (!(b & 0x80))
			return true;
	}
	return false;
}

/* One filter's number, and the size of its properties, which are skipped: the dictionary's size says nothing
 * here, and an offset of x86 code's is nowhere used. */
static bool filter(const uint8_t **p, const uint8_t *end, uint64_t *id)
{
	uint64_t size;

	if (!number(p, end, id) || !number(p, end, &size) || size > (size_t)(end - *p))
		return false;
	*p += size;
	return size == (*id == FILTER_LZMA2 ? 1 : 0);
}

static bool block_header(const uint8_t *p, const uint8_t *file_end, struct block *b)
{
	size_t size = ((size_t)*p + 1) * 4;
	const uint8_t *end = p + size - 4;
	uint64_t id = 0, ignored;
	uint8_t flags;

	if (size < 8 || size > (size_t)(file_end - p) || !crc_is(p, size - 4, end))
		return false;
	flags = p[1];
	p += 2;
	if ((flags & 0x3f) > 1 || (flags & 0x40 && !number(&p, end, &ignored)) ||
	    (flags & 0x80 && !number(&p, end, &ignored)))
		return false;
	b->x86 = flags & 1;
	if (b->x86 && (!filter(&p, end, &id) || id != FILTER_X86))
		return false;
	b->data = end + 4;
	return filter(&p, end, &id) && id == FILTER_LZMA2;
}

/* Where the next one begins; NULL: damaged */
static const uint8_t *block(const uint8_t *p, const uint8_t *end, unsigned check, uint8_t *to,
			    size_t room, size_t *size)
{
	const uint8_t *begin = p;
	struct block b;

	if (!block_header(p, end, &b))
		return NULL;
	p = b.data;
	if (!lzma2_unpack(&p, end, to, room, size))
		return NULL;
	if (b.x86)
		x86_undo(to, *size);
	for (; (p - begin) % 4; p++)
		if (p == end || *p)
			return NULL;
	if (check == CHECK_NONE)
		return p;
	return end - p >= 4 && crc_is(to, *size, p) ? p + 4 : NULL;
}

/* What it has of the blocks: whether one is missing. */
static bool index_is(const uint8_t *begin, const uint8_t *end, uint64_t blocks, size_t size)
{
	const uint8_t *p = begin + 1;
	uint64_t n, packed, unpacked, sum = 0;

	if (!number(&p, end, &n) || n != blocks)
		return false;
	for (; n; n--) {
		if (!number(&p, end, &packed) || !number(&p, end, &unpacked) || unpacked > size)
			return false;
		sum += unpacked;
	}
	for (; (p - begin) % 4; p++)
		if (p == end || *p)
			return false;
	return sum == size && end - p >= 4 && crc_is(begin, (size_t)(p - begin), p);
}

size_t xz_unpack(const uint8_t *from, size_t size, uint8_t *to, size_t room)
{
	static const uint8_t magic[] = {0xfd, '7', 'z', 'X', 'Z', 0, 0};
	const uint8_t *p = from + HEADER_SIZE, *end = from + size;
	uint64_t blocks = 0;
	size_t done = 0, n;

	if (size < HEADER_SIZE || memcmp(from, magic, sizeof(magic)) || from[7] > CHECK_CRC32 ||
	    !crc_is(from + 6, 2, from + 8))
		return 0;
	for (; p && p < end && *p; blocks++) { /* a zero: the index */
		n = 0;
		p = block(p, end, from[7], to + done, room - done, &n);
		done += n;
	}
	return p && p < end && index_is(p, end, blocks, done) ? done : 0;
}
