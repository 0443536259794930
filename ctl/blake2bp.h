/* SPDX-License-Identifier: ISC */
/* blake2bp.h: BLAKE2bp without a key, the first 32 bytes of it. */
#ifndef CTL_BLAKE2BP_H
#define CTL_BLAKE2BP_H

#include "base/def.h"

#define BLAKE2BP_SIZE 32u

/* Of what is in memory as a whole */
void blake2bp(const uint8_t *p, size_t n, uint8_t sum[BLAKE2BP_SIZE]);

#endif
