/* SPDX-License-Identifier: ISC */
/* blake2bp.c: BLAKE2bp: the input is dealt to four lanes in blocks of 128 bytes, each lane's sum is BLAKE2b's (RFC 7693), and
 * so is theirs. Nobody can make two inputs with one sum, and with AVX2, a lane a part of each register, it takes a
 * twentieth of the instructions of SHA-256 where the processor has none for that. Any thread. */
#include "ctl/blake2bp.h"

#include <string.h>

#define BLOCK  128u
#define ROUNDS 12u
#define LANES  4u

static const uint64_t iv[8] = {
	0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
	0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179,
};

static const uint8_t sigma[10][16] = {
	{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
	{14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
	{11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
	{7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
	{9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
	{2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
	{12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
	{13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
	{6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
	{10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
};

typedef uint64_t lanes __attribute__((vector_size(8 * LANES)));

#define ROR(v, n) ((v) >> (n) | (v) << (64 - (n)))

/* RFC 7693, 3.1 */
#define MIX(a, b, c, d, x, y)                \
	do {                                 \
		v[a] += v[b] + m[s[x]];      \
		v[d] = ROR(v[d] ^ v[a], 32); \
		v[c] += v[d];                \
		v[b] = ROR(v[b] ^ v[c], 24); \
		v[a] += v[b] + m[s[y]];      \
		v[d] = ROR(v[d] ^ v[a], 16); \
		v[c] += v[d];                \
		v[b] = ROR(v[b] ^ v[c], 63); \
	} while (0)

struct step {
	uint64_t at; /* bytes of each lane up to the end of its block */
	bool last, last_node;
};

/* RFC 7693, 3.2, for all lanes, whose blocks are side by side. */
static inline __attribute__((always_inline)) void compress(lanes *h, const uint8_t *blocks,
							   const struct step *st)
{
	lanes v[16], m[16];
	uint64_t word;

	for (unsigned i = 0; i < 16; i++)
		for (unsigned k = 0; k < LANES; k++) {
			memcpy(&word, blocks + k * BLOCK + 8 * i, 8);
			m[i][k] = word;
		}
	for (unsigned i = 0; i < 8; i++) {
		v[i] = h[i];
		v[i + 8] = (lanes){0} + iv[i];
	}
	v[12] ^= st->at;
	v[14] ^= st->last ? UINT64_MAX : 0;
	v[15] ^= st->last_node ? UINT64_MAX : 0;
#pragma GCC unroll 12
	for (unsigned i = 0; i < ROUNDS; i++) {
		const uint8_t *s = sigma[i % 10];

		MIX(0, 4, 8, 12, 0, 1);
		MIX(1, 5, 9, 13, 2, 3);
		MIX(2, 6, 10, 14, 4, 5);
		MIX(3, 7, 11, 15, 6, 7);
		MIX(0, 5, 10, 15, 8, 9);
		MIX(1, 6, 11, 12, 10, 11);
		MIX(2, 7, 8, 13, 12, 13);
		MIX(3, 4, 9, 14, 14, 15);
	}
	for (unsigned i = 0; i < 8; i++)
		h[i] ^= v[i] ^ v[i + 8];
}

__attribute__((target("avx2"))) static void compress_avx2(lanes *h, const uint8_t *blocks,
							  const struct step *st)
{
	compress(h, blocks, st);
}

static void compress_any(lanes *h, const uint8_t *blocks, const struct step *st)
{
	compress(h, blocks, st);
}

typedef void (*compress_fn)(lanes *h, const uint8_t *blocks, const struct step *st);

/* Parameters (BLAKE2, 2.8 and 2.10): 64 bytes, no key, four leaves under one root */
static void start(lanes *h, bool root)
{
	for (unsigned i = 0; i < 8; i++)
		h[i] = (lanes){0} + iv[i];
	h[0] ^= UINT64_C(0x02040040);
	for (unsigned k = 0; k < LANES && !root; k++)
		h[1][k] ^= k;
	h[2] ^= 0x4000u | root;
}

/* The last blocks of one lane, of n bytes that are left of all, its first block in its place among them. */
static void end_lane(compress_fn fn, lanes *h, const uint8_t *p, size_t n, uint64_t at,
		     unsigned lane, bool last_node)
{
	struct step st = {.at = at};
	lanes own[8];

	memcpy(own, h, sizeof(own));
	for (size_t from = (size_t)lane * BLOCK; !st.last; from += LANES * BLOCK) {
		uint8_t blocks[LANES * BLOCK] = {0};
		size_t part = n > from ? MIN(n - from, (size_t)BLOCK) : 0;

		if (part)
			memcpy(blocks + lane * BLOCK, p + from, part);
		st.at += part;
		st.last = n <= from + LANES * BLOCK;
		st.last_node = st.last && last_node;
		fn(own, blocks, &st);
	}
	for (unsigned i = 0; i < 8; i++)
		h[i][lane] = own[i][lane];
}

void blake2bp(const uint8_t *p, size_t n, uint8_t sum[BLAKE2BP_SIZE])
{
	compress_fn fn = __builtin_cpu_supports("avx2") ? compress_avx2 : compress_any;
	uint8_t leaves[2 * LANES * BLOCK] = {0}; /* those of the root, as of its lane 0 */
	struct step st = {0};
	lanes h[8];
	size_t i = 0;

	start(h, false);
	for (; n - i > 2 * LANES * BLOCK; i += LANES * BLOCK) { /* none of them is a lane's last */
		st.at += BLOCK;
		fn(h, p + i, &st);
	}
	for (unsigned lane = 0; lane < LANES; lane++)
		end_lane(fn, h, p + i, n - i, st.at, lane, lane == LANES - 1);
	for (unsigned k = 0; k < LANES; k++)
		for (unsigned w = 0; w < 8; w++)
			memcpy(leaves + k / 2 * LANES * BLOCK + k % 2 * 64 + w * 8,
			       (const uint8_t *)&h[w] + 8 * k, 8);
	start(h, true);
	end_lane(fn, h, leaves, LANES * BLOCK + BLOCK, 0, 0, true);
	for (unsigned w = 0; w < BLAKE2BP_SIZE / 8; w++)
		memcpy(sum + w * 8, &h[w], 8);
}
