/* SPDX-License-Identifier: ISC */
/* values.h: random numbers that instructions are tried with: whole numbers and floats near what is special about them, and
 * plain ones. All come of rng, which the program seeds. */
#ifndef TESTS_DIFF_VALUES_H
#define TESTS_DIFF_VALUES_H

#include <string.h>

#include "base/def.h"

static uint64_t rng;

static inline uint64_t rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng * UINT64_C(0x2545f4914f6cdd1d);
}

static inline unsigned below(unsigned n)
{
	return (unsigned)((rnd() >> 33) % n);
}

static inline uint64_t value(void)
{
	static const uint64_t odd[] = {0,
				       1,
				       2,
				       0x7f,
				       0x80,
				       0xff,
				       0x7fff,
				       0x8000,
				       0xffff,
				       0x7fffffff,
				       0x80000000,
				       0xffffffff,
				       0x7fffffffffffffff,
				       0x8000000000000000,
				       0xffffffffffffffff,
				       63,
				       31};

	switch (below(4)) {
	case 0:
		return odd[below(ARRAY_SIZE(odd))];
	case 1:
		return rnd() >> below(64);
	case 2:
		return (uint64_t)((int64_t)rnd() >> below(64));
	default:
		return rnd();
	}
}

static inline uint32_t value_f32(void)
{
	static const uint32_t odd[] = {0,          0x80000000, 0x3f800000, 0xbf800000, 0x7f800000,
				       0xff800000, 0x7fc00000, 0x7fa00000, 1,          0x807fffff,
				       0x00800000, 0x7f7fffff, 0x4f000000, 0xcf000000};

	if (below(2))
		return odd[below(ARRAY_SIZE(odd))];
	if (below(2))
		return (uint32_t)rnd();
	return ((uint32_t)rnd() & 0x807fffff) | (100 + below(56)) << 23;
}

static inline uint64_t value_f64(void)
{
	static const uint64_t odd[] = {0,
				       0x8000000000000000,
				       0x3ff0000000000000,
				       0x7ff0000000000000,
				       0xfff0000000000000,
				       0x7ff8000000000000,
				       0x7ff4000000000000,
				       1,
				       0x800fffffffffffff,
				       0x0010000000000000,
				       0x7fefffffffffffff,
				       0x41e0000000000000,
				       0xc3e0000000000000};

	if (below(2))
		return odd[below(ARRAY_SIZE(odd))];
	if (below(2))
		return rnd();
	return (rnd() & 0x800fffffffffffff) | (uint64_t)(970 + below(110)) << 52;
}

static inline uint64_t value_vec(void)
{
	switch (below(3)) {
	case 0:
		return value_f32() | (uint64_t)value_f32() << 32;
	case 1:
		return value_f64();
	default:
		return value();
	}
}

#endif
