/* SPDX-License-Identifier: ISC */
/* le.h: little-endian numbers at any address. */
#ifndef BLOCK_LE_H
#define BLOCK_LE_H

#include "base/def.h"

static inline uint16_t le16_get(const void *p)
{
	uint16_t v;

	__builtin_memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint32_t le32_get(const void *p)
{
	uint32_t v;

	__builtin_memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint64_t le64_get(const void *p)
{
	uint64_t v;

	__builtin_memcpy(&v, p, sizeof(v));
	return v;
}

#endif
