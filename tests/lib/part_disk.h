/* SPDX-License-Identifier: ISC */
/* part_disk.h: a disk of SECTORS sectors in memory, and entries of its partition tables. */
#ifndef TESTS_LIB_PART_DISK_H
#define TESTS_LIB_PART_DISK_H

#include <string.h>

#include "metal/part.h"

static uint8_t disk[SECTORS * PART_SECTOR];

static uint8_t *at(uint64_t sector)
{
	return disk + sector * PART_SECTOR;
}

static void put(uint8_t *p, unsigned size, uint64_t v)
{
	memcpy(p, &v, size);
}

static void put_mbr(uint64_t sector, unsigned i, uint8_t type, uint32_t first, uint32_t n)
{
	uint8_t *e = at(sector) + 446 + (size_t)16 * i;

	e[4] = type;
	put(e + 8, 4, first);
	put(e + 12, 4, n);
	put(at(sector) + 510, 2, 0xaa55);
}

#endif
