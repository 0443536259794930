/* SPDX-License-Identifier: ISC */
/* lzma2.c: LZMA2, of which the kernel's boot is the slowest part (the .xz format's specification, 5.3.1; the LZMA
 * specification in the LZMA SDK).
 *
 * Everything is in memory from its begin to its end, so that the output is the dictionary, nothing is ever
 * continued in the middle, and bounds are checked once a symbol instead of once a bit: one has 48 bits at most, each of
 * which takes a byte of input at most. Where less than that is left behind a chunk, the chunk is copied to where
 * there is more: for Debian's kernel 6.1 2.1 billion instructions, where liblzma 5.4 takes 3.7.
 *
 * Any thread. The input is hostile: distances and lengths are checked against what has been written and what the chunk has
 * room for. */
#include "ctl/lzma2.h"

#include <string.h>

#include "plat/plat.h"

#define CHUNK_MAX   0x10000u
#define SYMBOL_MAX  64u /* bytes of input, and more */
#define TOP         BIT(24)
#define PROB_BITS   11
#define PROB_HALF   BIT(PROB_BITS - 1)
#define MOVE        5
#define ROUND       ((1 << MOVE) - 1 - (1 << PROB_BITS))
#define STATES      12u
#define LITERALS    7u /* states below it: the last symbol was one */
#define LEN_MIN     2u
#define SLOTS       64u
#define SLOT_MODELS 14u /* from this slot on, the middle bits are not predicted */
#define FULL_SLOTS  128u
#define ALIGN_BITS  4
#define LC_LP_MAX   4u

typedef uint16_t prob;

struct lengths {
	prob choice, choice2;
	prob low[16][8], mid[16][8], high[256];
};

struct probs {
	prob match[STATES][16], rep[STATES], rep0[STATES], rep1[STATES], rep2[STATES],
		rep0_long[STATES][16];
	prob slot[4][SLOTS], special[FULL_SLOTS], align[1 << ALIGN_BITS];
	struct lengths len, rep_len;
	prob literal[0x300 << LC_LP_MAX];
};

struct lzma2 {
	struct probs p;
	uint8_t chunk[CHUNK_MAX + SYMBOL_MAX]; /* one that ends where the file does */
	uint32_t dist[4];                      /* the last ones, less one */
	unsigned state, lc;
	uint32_t lp_mask, pb_mask;
	bool needs_dict, needs_props;
	const uint8_t *dict; /* where it begins */
};

/* ---- the range coder -------------------------------------------------------------------------------- */

struct range {
	uint32_t range, code;
	const uint8_t *in;
};

#define INLINE static inline __attribute__((always_inline))

INLINE void normalize(struct range *r)
{
	if (r->range < TOP) {
		r->range <<= 8;
		r->code = r->code << 8 | *r->in++;
	}
}

/* One bit with its probability, which learns: what is done if it is zero, and if it is one. A macro, as both ways
 * then go on by themselves; the new probability of a zero is v + ((BIT(PROB_BITS) - v) >> MOVE). */
#define DECODE(r, p, zero, one)                                             \
	do {                                                                \
		uint32_t v_ = (p), bound_;                                  \
                                                                            \
		normalize(r);                                               \
		bound_ = ((r)->range >> PROB_BITS) * v_;                    \
		if ((r)->code < bound_) {                                   \
			(r)->range = bound_;                                \
			(p) = (prob)(v_ - (((int32_t)v_ + ROUND) >> MOVE)); \
			zero;                                               \
		} else {                                                    \
			(r)->range -= bound_;                               \
			(r)->code -= bound_;                                \
			(p) = (prob)(v_ - (v_ >> MOVE));                    \
			one;                                                \
		}                                                           \
	} while (0)

INLINE bool bit(struct range *r, prob *p)
{
	DECODE(r, *p, return false, return true);
}

/* n bits, the highest first, with a one before them */
INLINE uint32_t tree(struct range *r, prob *p, unsigned n)
{
	size_t m = 1;

#pragma GCC unroll 8
	for (unsigned i = 0; i < n; i++)
		DECODE(r, p[m], m += m, m += m + 1);
	return (uint32_t)m;
}

/* n bits, the lowest first */
INLINE uint32_t tree_back(struct range *r, prob *p, unsigned n)
{
	size_t m = 1, v = 0; /* not 32 bits, which would be extended for each address */

#pragma GCC unroll 4
	for (unsigned i = 0; i < n; i++)
		DECODE(r, p[m], m += m, (m += m + 1, v |= BIT(i)));
	return (uint32_t)v;
}

INLINE uint32_t direct(struct range *r, unsigned n)
{
	uint32_t v = 0;

#pragma GCC unroll 4
	while (n--) {
		uint32_t under;

		normalize(r);
		r->range >>= 1;
		r->code -= r->range;
		under = 0u - (r->code >> 31); /* all ones: it was below, a zero */
		r->code += r->range & under;
		v = (v << 1) + 1 + under;
	}
	return v;
}

/* ---- symbols ------------------------------------------------------------------------------------------ */

INLINE uint32_t length(struct range *r, struct lengths *l, uint32_t pos)
{
	if (!bit(r, &l->choice))
		return LEN_MIN + tree(r, l->low[pos], 3) - 8;
	if (!bit(r, &l->choice2))
		return LEN_MIN + tree(r, l->mid[pos], 3);
	return LEN_MIN + 16 + tree(r, l->high, 8) - 256;
}

INLINE uint32_t distance(struct range *r, struct probs *p, uint32_t len)
{
	uint32_t slot = tree(r, p->slot[MIN(len - LEN_MIN, 3u)], 6) - SLOTS, v;
	unsigned bits = (slot >> 1) - 1;

	if (slot < 4)
		return slot;
	v = (2 | (slot & 1)) << bits;
	if (slot < SLOT_MODELS)
		return v + tree_back(r, p->special + v - slot, bits);
	v += direct(r, bits - ALIGN_BITS) << ALIGN_BITS;
	return v + tree_back(r, p->align, ALIGN_BITS);
}

/* Beside a match, its byte says which probabilities, as long as the bits are the same as its. */
INLINE uint8_t literal(struct range *r, prob *p, bool matched, uint32_t match)
{
	size_t m = 1;

	if (!matched)
		return (uint8_t)tree(r, p, 8);
	for (; m < 0x100; match <<= 1) {
		uint32_t one = match << 1 & 0x100;
		prob *beside = p + 0x100 + one;

		DECODE(r, beside[m], m += m, (m += m + 1, one ^= 0x100));
		if (one)
			break;
	}
	while (m < 0x100)
		DECODE(r, p[m], m += m, m += m + 1);
	return (uint8_t)m;
}

/* What is written beyond len, before end, is overwritten later. Up to 16 bytes may be a pattern that repeats: from
 * there on some repetitions back are as good as one, and far enough to take 16 at once. */
INLINE void copy(uint8_t *to, uint32_t dist, uint32_t len, const uint8_t *end)
{
	const uint8_t *from = to - dist;
	uint32_t i = 0;

	if (unlikely((size_t)(end - to) < len + 16)) {
		for (; i < len; i++)
			to[i] = from[i];
		return;
	}
	if (dist < 16) {
		for (; i < MIN(len, 16u); i++)
			to[i] = from[i];
		from = to - (16 + dist - 1) / dist * dist;
	}
	for (; i < len; i += 16)
		memcpy(to + i, from + i, 16);
}

/* Which of the last distances it is: that one comes first. */
INLINE uint32_t again(struct range *r, struct lzma2 *z, uint32_t pos)
{
	struct probs *p = &z->p;
	unsigned which, s = z->state;
	uint32_t d;

	if (!bit(r, &p->rep0[s])) {
		bool one = !bit(r, &p->rep0_long[s][pos]);

		z->state = s < LITERALS ? (one ? 9 : 8) : 11;
		return one ? 1 : length(r, &p->rep_len, pos);
	}
	which = !bit(r, &p->rep1[s]) ? 1 : !bit(r, &p->rep2[s]) ? 2 : 3;
	d = z->dist[which];
	for (; which; which--)
		z->dist[which] = z->dist[which - 1];
	z->dist[0] = d;
	z->state = s < LITERALS ? 8 : 11;
	return length(r, &p->rep_len, pos);
}

/* A match, new or with one of the last distances: its length */
INLINE uint32_t match(struct range *r, struct lzma2 *z, uint32_t pos)
{
	struct probs *p = &z->p;
	uint32_t len;

	if (bit(r, &p->rep[z->state]))
		return again(r, z, pos);
	z->state = z->state < LITERALS ? 7 : 10;
	len = length(r, &p->len, pos);
	z->dist[3] = z->dist[2];
	z->dist[2] = z->dist[1];
	z->dist[1] = z->dist[0];
	z->dist[0] = distance(r, p, len);
	return len;
}

/* After a literal: what was before the last match fades. */
static const uint8_t after_literal[STATES] = {0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 4, 5};

INLINE void one_literal(struct range *r, struct lzma2 *z, uint8_t *to)
{
	uint32_t before = to > z->dict ? to[-1] : 0, at = (uint32_t)(to - z->dict);
	prob *p = z->p.literal + 0x300 * (((at & z->lp_mask) << z->lc) + (before >> (8 - z->lc)));
	bool matched = z->state >= LITERALS;

	*to = literal(r, p, matched, matched ? *(to - z->dist[0] - 1) : 0);
	z->state = after_literal[z->state];
}

/* One chunk: from in to in_end, behind which SYMBOL_MAX bytes can be read, to exactly [to, end). */
static bool symbols(struct lzma2 *z, const uint8_t *in, const uint8_t *in_end, uint8_t *to,
		    uint8_t *end)
{
	struct range r = {.range = UINT32_MAX, .in = in + 5};

	for (unsigned i = 1; i < 5; i++)
		r.code = r.code << 8 | in[i];
	if (in[0] || in_end - in < 5)
		return false;
	while (to < end) {
		uint32_t pos = (uint32_t)(to - z->dict) & z->pb_mask, len;

		if (unlikely(r.in > in_end))
			return false;
		if (!bit(&r, &z->p.match[z->state][pos])) {
			one_literal(&r, z, to++);
			continue;
		}
		len = match(&r, z, pos);
		if (unlikely(len > (size_t)(end - to) || z->dist[0] >= (size_t)(to - z->dict)))
			return false;
		copy(to, z->dist[0] + 1, len, end);
		to += len;
	}
	normalize(&r);
	return r.in == in_end && !r.code;
}

/* ---- chunks -------------------------------------------------------------------------------------------- */

static void reset(struct lzma2 *z)
{
	prob *p = (prob *)(void *)&z->p;

	for (size_t i = 0; i < sizeof(z->p) / sizeof(*p); i++)
		p[i] = PROB_HALF;
	memset(z->dist, 0, sizeof(z->dist));
	z->state = 0;
}

static bool set_props(struct lzma2 *z, uint8_t props)
{
	unsigned lc = props % 9, lp = props / 9 % 5, pb = props / 45;

	if (pb > 4 || lc + lp > LC_LP_MAX)
		return false;
	z->lc = lc;
	z->lp_mask = BIT(lp) - 1;
	z->pb_mask = BIT(pb) - 1;
	z->needs_props = false;
	return true;
}

static uint32_t be16(const uint8_t *p)
{
	return (uint32_t)p[0] << 8 | p[1];
}

/* Where it is: bits 5 and 6 of its first byte say what begins anew. NULL: damaged */
static const uint8_t *packed_chunk(struct lzma2 *z, const uint8_t *in, const uint8_t *file_end,
				   uint8_t *to, size_t room, size_t *size)
{
	unsigned anew = in[0] >> 5 & 3;
	const uint8_t *end;
	uint32_t n;

	if (file_end - in < 6)
		return NULL;
	*size = ((in[0] & 0x1fu) << 16 | be16(in + 1)) + 1;
	n = be16(in + 3) + 1;
	in += 5;
	if (anew >= 2 ? !set_props(z, *in++) : z->needs_props)
		return NULL;
	if (anew)
		reset(z);
	if (*size > room || n > (size_t)(file_end - in))
		return NULL;
	end = in + n;
	if ((size_t)(file_end - end) >= SYMBOL_MAX)
		return symbols(z, in, end, to, to + *size) ? end : NULL;
	memcpy(z->chunk, in, n);
	return symbols(z, z->chunk, z->chunk + n, to, to + *size) ? end : NULL;
}

static const uint8_t *plain_chunk(const uint8_t *in, const uint8_t *end, uint8_t *to, size_t room,
				  size_t *size)
{
	if (end - in < 3)
		return NULL;
	*size = be16(in + 1) + 1;
	in += 3;
	if (*size > (size_t)(end - in) || *size > room)
		return NULL;
	memcpy(to, in, *size);
	return in + *size;
}

static bool chunks(struct lzma2 *z, const uint8_t **in, const uint8_t *end, uint8_t *to,
		   size_t room, size_t *size)
{
	const uint8_t *p = *in;

	for (*size = 0; p && p < end;) {
		uint8_t control = *p;
		size_t n = 0;

		if (!control) {
			*in = p + 1;
			return true;
		}
		if (control >= 0xe0 || control == 1) {
			z->needs_dict = false;
			z->needs_props = true;
			z->dict = to + *size;
		}
		if (z->needs_dict || (control > 2 && control < 0x80))
			return false;
		p = control < 0x80 ? plain_chunk(p, end, to + *size, room - *size, &n)
				   : packed_chunk(z, p, end, to + *size, room - *size, &n);
		*size += n;
	}
	return false;
}

bool lzma2_unpack(const uint8_t **in, const uint8_t *end, uint8_t *to, size_t room, size_t *size)
{
	struct lzma2 *z = plat_alloc(sizeof(*z));
	bool ok;

	if (!z)
		return false;
	z->needs_dict = z->needs_props = true;
	ok = chunks(z, in, end, to, room, size);
	plat_free(z);
	return ok;
}
