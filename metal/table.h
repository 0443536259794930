/* SPDX-License-Identifier: ISC */
/* table.h: fields of the firmware's tables, which lie anywhere. */
#ifndef METAL_TABLE_H
#define METAL_TABLE_H

#include "base/def.h"
#include "base/str.h"

/* size: 1 to 8 bytes, little-endian */
static inline uint64_t table_field(const void *at, unsigned off, unsigned size)
{
	uint64_t v = 0;

	memcpy(&v, (const uint8_t *)at + off, size);
	return v;
}

#endif
