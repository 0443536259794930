/* SPDX-License-Identifier: ISC */
/* sha256.c: SHA-256 (FIPS 180-4, 5 and 6.2), for the chain over batches, by the SHA extensions where the
 * processor has them (Intel SDM volume 1, 12.8): a third of what a record costs is this. No state but
 * the caller's. */
#include "history/sha256.h"

#include <cpuid.h>
#include <immintrin.h>
#include <string.h>

/* clang-format off */
static const alignas(16) uint32_t k[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1,
	0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3,
	0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
	0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
	0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
	0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
	0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
	0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
	0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
/* clang-format on */

static uint32_t ror(uint32_t v, unsigned n)
{
	return v >> n | v << (32 - n);
}

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Four rounds each; the instructions hold the state as ABEF and CDGH, and W by fours. */
__attribute__((target("sha,sse4.1"))) static void block_by_instructions(struct sha256 *s,
									const uint8_t *p)
{
	const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
	const __m128i abcd = _mm_loadu_si128((const __m128i *)(const void *)s->h);
	const __m128i efgh = _mm_loadu_si128((const __m128i *)(const void *)(s->h + 4));
	const __m128i cdab = _mm_shuffle_epi32(abcd, 0xb1), hgfe = _mm_shuffle_epi32(efgh, 0x1b);
	const __m128i abef0 = _mm_alignr_epi8(cdab, hgfe, 8);
	const __m128i cdgh0 = _mm_blend_epi16(hgfe, cdab, 0xf0);
	__m128i abef = abef0, cdgh = cdgh0, w[4], kw, feba, dchg;

#pragma GCC unroll 16
	for (unsigned i = 0; i < 16; i++) {
		__m128i *now = &w[i % 4], last = w[(i + 3) % 4];

		if (i < 4)
			*now = _mm_shuffle_epi8(
				_mm_loadu_si128(
					(const __m128i *)(const void *)(p + (size_t)16 * i)),
				big_endian);
		else
			*now = _mm_sha256msg2_epu32(
				_mm_add_epi32(_mm_sha256msg1_epu32(*now, w[(i + 1) % 4]),
					      _mm_alignr_epi8(last, w[(i + 2) % 4], 4)),
				last);
		kw = _mm_add_epi32(*now,
				   _mm_load_si128((const __m128i *)(const void *)(k + 4 * i)));
		cdgh = _mm_sha256rnds2_epu32(cdgh, abef, kw);
		abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(kw, 0x0e));
	}
	feba = _mm_shuffle_epi32(_mm_add_epi32(abef, abef0), 0x1b);
	dchg = _mm_shuffle_epi32(_mm_add_epi32(cdgh, cdgh0), 0xb1);
	_mm_storeu_si128((__m128i *)(void *)s->h, _mm_blend_epi16(feba, dchg, 0xf0));
	_mm_storeu_si128((__m128i *)(void *)(s->h + 4), _mm_alignr_epi8(dchg, feba, 8));
}

static bool has_instructions(void)
{
	unsigned a, b, c, d, sse4;

	return __get_cpuid(1, &a, &b, &sse4, &d) && sse4 & bit_SSE4_1 &&
	       __get_cpuid_count(7, 0, &a, &b, &c, &d) && b & bit_SHA;
}

/* Names of the state go round instead of its words, and W is made 16 rounds ahead of its use: all stays in
 * registers but W. */
static void block_by_words(struct sha256 *s, const uint8_t *p)
{
	uint32_t w[16], v[8];

	for (unsigned i = 0; i < 16; i++)
		w[i] = be32(p + 4 * i);
	memcpy(v, s->h, sizeof(v));
	for (unsigned i = 0; i < 64; i += 16) {
#pragma GCC unroll 16
		for (unsigned j = 0; j < 16; j++) {
			uint32_t a = v[(16 - j) % 8], b = v[(17 - j) % 8], c = v[(18 - j) % 8];
			uint32_t e = v[(20 - j) % 8], f = v[(21 - j) % 8], g = v[(22 - j) % 8];
			uint32_t first = w[(j + 1) % 16], last = w[(j + 14) % 16];
			uint32_t t = v[(23 - j) % 8] + (ror(e, 6) ^ ror(e, 11) ^ ror(e, 25)) +
				     (g ^ (e & (f ^ g))) + k[i + j] + w[j];

			v[(19 - j) % 8] += t;
			v[(23 - j) % 8] = t + (ror(a, 2) ^ ror(a, 13) ^ ror(a, 22)) +
					  ((a & b) | (c & (a | b)));
			w[j] += (ror(first, 7) ^ ror(first, 18) ^ first >> 3) + w[(j + 9) % 16] +
				(ror(last, 17) ^ ror(last, 19) ^ last >> 10);
		}
	}
	for (unsigned i = 0; i < 8; i++)
		s->h[i] += v[i];
}

static void sha256_block(struct sha256 *s, const uint8_t *p)
{
	if (s->by_instructions)
		block_by_instructions(s, p);
	else
		block_by_words(s, p);
}

void sha256_init(struct sha256 *s)
{
	static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
					  0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

	memcpy(s->h, start, sizeof(s->h));
	s->len = 0;
	s->by_instructions = has_instructions();
}

void sha256_update(struct sha256 *s, const void *data, size_t len)
{
	const uint8_t *p = data;
	size_t have = s->len % 64;

	s->len += len;
	while (len) {
		size_t n = MIN(len, 64 - have);

		if (!have && len >= 64) {
			sha256_block(s, p);
			n = 64;
		} else {
			memcpy(s->block + have, p, n);
			have += n;
			if (have == 64) {
				sha256_block(s, s->block);
				have = 0;
			}
		}
		p += n;
		len -= n;
	}
}

void sha256_final(struct sha256 *s, uint8_t out[SHA256_SIZE])
{
	static const uint8_t pad[64] = {0x80};
	uint64_t bits = s->len * 8;
	uint8_t size[8];

	for (unsigned i = 0; i < 8; i++)
		size[i] = (uint8_t)(bits >> (56 - 8 * i));
	sha256_update(s, pad, s->len % 64 < 56 ? 56 - s->len % 64 : 120 - s->len % 64);
	sha256_update(s, size, sizeof(size));
	for (unsigned i = 0; i < 8; i++)
		for (unsigned b = 0; b < 4; b++)
			out[4 * i + b] = (uint8_t)(s->h[i] >> (24 - 8 * b));
}
