/* SPDX-License-Identifier: ISC */
/* mem.c: memcpy, memmove, memset and memcmp with general registers only: they run while the guest's
 * SIMD registers are live. Small sizes by overlapping words, large ones by the processor's own
 * string instructions. Any thread.
 *
 * They are hidden, so that shared libraries of the host keep using the host's. */
#include "base/str.h"

/* From here on rep movsb/stosb beats word loops (they start slowly, then move whole lines). */
#define REP_MIN 768

typedef uint64_t word64 __attribute__((may_alias, aligned(1)));
typedef uint32_t word32 __attribute__((may_alias, aligned(1)));
typedef uint16_t word16 __attribute__((may_alias, aligned(1)));

#define W64(p, off) (*(word64 *)((uintptr_t)(p) + (off)))
#define W32(p, off) (*(word32 *)((uintptr_t)(p) + (off)))
#define W16(p, off) (*(word16 *)((uintptr_t)(p) + (off)))

#define HIDDEN __attribute__((visibility("hidden")))

/* n <= 32. All is loaded before anything is stored: overlap does not matter. */
static inline void copy_small(uint8_t *d, const uint8_t *s, size_t n)
{
	if (n >= 16) {
		uint64_t a = W64(s, 0), b = W64(s, 8), y = W64(s, n - 16), z = W64(s, n - 8);

		W64(d, 0) = a;
		W64(d, 8) = b;
		W64(d, n - 16) = y;
		W64(d, n - 8) = z;
	} else if (n >= 8) {
		uint64_t a = W64(s, 0), z = W64(s, n - 8);

		W64(d, 0) = a;
		W64(d, n - 8) = z;
	} else if (n >= 4) {
		uint32_t a = W32(s, 0), z = W32(s, n - 4);

		W32(d, 0) = a;
		W32(d, n - 4) = z;
	} else if (n >= 2) {
		uint16_t a = W16(s, 0), z = W16(s, n - 2);

		W16(d, 0) = a;
		W16(d, n - 2) = z;
	} else if (n) {
		*d = *s;
	}
}

/* n > 32; correct for d below s, too. */
static inline void copy_up(uint8_t *d, const uint8_t *s, size_t n)
{
	uint64_t t0 = W64(s, n - 32), t1 = W64(s, n - 24), t2 = W64(s, n - 16), t3 = W64(s, n - 8);
	uint8_t *end = d + n - 32;

	for (; d < end; d += 32, s += 32) {
		uint64_t a = W64(s, 0), b = W64(s, 8), c = W64(s, 16), e = W64(s, 24);

		W64(d, 0) = a;
		W64(d, 8) = b;
		W64(d, 16) = c;
		W64(d, 24) = e;
	}
	W64(end, 0) = t0;
	W64(end, 8) = t1;
	W64(end, 16) = t2;
	W64(end, 24) = t3;
}

/* n > 32; correct for d above s. */
static inline void copy_down(uint8_t *d, const uint8_t *s, size_t n)
{
	uint64_t h0 = W64(s, 0), h1 = W64(s, 8), h2 = W64(s, 16), h3 = W64(s, 24);

	for (size_t i = n; i > 32; i -= 32) {
		uint64_t a = W64(s, i - 32), b = W64(s, i - 24), c = W64(s, i - 16),
			 e = W64(s, i - 8);

		W64(d, i - 32) = a;
		W64(d, i - 24) = b;
		W64(d, i - 16) = c;
		W64(d, i - 8) = e;
	}
	W64(d, 0) = h0;
	W64(d, 8) = h1;
	W64(d, 16) = h2;
	W64(d, 24) = h3;
}

static inline void copy_rep(void *d, const void *s, size_t n)
{
	__asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
}

HIDDEN void *memcpy(void *restrict dst, const void *restrict src, size_t n)
{
	if (n <= 32)
		copy_small(dst, src, n);
	else if (n < REP_MIN)
		copy_up(dst, src, n);
	else
		copy_rep(dst, src, n);
	return dst;
}

HIDDEN void *memmove(void *dst, const void *src, size_t n)
{
	uintptr_t d = (uintptr_t)dst, s = (uintptr_t)src;

	if (n <= 32)
		copy_small(dst, src, n);
	else if (d - s >= n && s - d >= n && n >= REP_MIN)
		copy_rep(dst, src, n);
	else if (d - s >= n)
		copy_up(dst, src, n);
	else
		copy_down(dst, src, n);
	return dst;
}

HIDDEN void *memset(void *dst, int c, size_t n)
{
	uint64_t v = (uint8_t)c * UINT64_C(0x0101010101010101);
	uint8_t *d = dst;

	if (n >= REP_MIN) {
		__asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
	} else if (n >= 16) {
		uint8_t *end = d + n - 16;

		for (; d < end; d += 16) {
			W64(d, 0) = v;
			W64(d, 8) = v;
		}
		W64(end, 0) = v;
		W64(end, 8) = v;
	} else if (n >= 8) {
		W64(d, 0) = v;
		W64(d, n - 8) = v;
	} else if (n >= 4) {
		W32(d, 0) = (uint32_t)v;
		W32(d, n - 4) = (uint32_t)v;
	} else if (n >= 2) {
		W16(d, 0) = (uint16_t)v;
		W16(d, n - 2) = (uint16_t)v;
	} else if (n) {
		*d = (uint8_t)c;
	}
	return dst;
}

HIDDEN int memcmp(const void *a, const void *b, size_t n)
{
	const uint8_t *p = a, *q = b;

	for (; n >= 8; n -= 8, p += 8, q += 8) {
		uint64_t x = W64(p, 0), y = W64(q, 0);

		if (x != y) {
			/* the lowest differing byte decides */
			x = __builtin_bswap64(x);
			y = __builtin_bswap64(y);
			return x < y ? -1 : 1;
		}
	}
	for (; n; n--, p++, q++) {
		if (*p != *q)
			return *p < *q ? -1 : 1;
	}
	return 0;
}
