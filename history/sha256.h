/* SPDX-License-Identifier: ISC */
/* sha256.h: SHA-256 (FIPS 180-4). */
#ifndef HISTORY_SHA256_H
#define HISTORY_SHA256_H

#include "base/def.h"

#define SHA256_SIZE 32

struct sha256 {
	uint32_t h[8];
	uint64_t len; /* bytes so far */
	uint8_t block[64];
	bool by_instructions; /* the processor has some for it */
};

void sha256_init(struct sha256 *s);
void sha256_update(struct sha256 *s, const void *data, size_t len);
void sha256_final(struct sha256 *s, uint8_t out[SHA256_SIZE]);

#endif
