/* SPDX-License-Identifier: ISC */
/* tsc.h: what a guest's TSC makes of the host's where they have different rates. Freestanding. */
#ifndef BASE_TSC_H
#define BASE_TSC_H

#include "base/def.h"

/* Bits of a ratio behind the point: ours, and what processors have (SDM vol. 3, 25.3; APM vol. 2, 15.30.5) */
#define TSC_FRACTION 48
#define VMX_FRACTION 48
#define SVM_FRACTION 32

struct tsc_scale {
	uint64_t ratio; /* the guest's ticks to one of the host's; 0: they are the same */
	uint64_t base;  /* what comes on top since the ratio was another one */
};

static inline uint64_t tsc_scaled(struct tsc_scale s, uint64_t ticks)
{
	return unlikely(s.ratio)
		       ? (uint64_t)((unsigned __int128)ticks * s.ratio >> TSC_FRACTION) + s.base
		       : ticks;
}

#endif
