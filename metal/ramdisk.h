/* SPDX-License-Identifier: ISC */
/* ramdisk.h: a disk in memory. */
#ifndef METAL_RAMDISK_H
#define METAL_RAMDISK_H

#include "base/def.h"
#include "base/err.h"

struct block;

/* image: the contents, changed in place; stays the caller's. size: what lies beyond the last whole
 * sector is not seen. */
int ramdisk_create(const char *name, uint8_t *image, size_t size, bool read_only,
		   struct block **out) attr_must_check;

#endif
