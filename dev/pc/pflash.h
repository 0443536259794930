/* SPDX-License-Identifier: ISC */
/* pflash.h: NOR flash in which firmware keeps its variables (Intel command set, CFI). */
#ifndef DEV_PC_PFLASH_H
#define DEV_PC_PFLASH_H

#include "base/def.h"
#include "base/err.h"

struct vm;
struct block;
struct pflash;

#define PFLASH_MAX    (4 * MIB)
#define PFLASH_SECTOR 4096u /* erase block */

struct pflash_wiring {
	uint64_t end;        /* first address above it: size is the block's */
	struct block *block; /* its contents; a multiple of PFLASH_SECTOR, at most PFLASH_MAX */
};

/* Reads the contents, and so waits for the block layer: not on a loop's thread. What the guest
 * programs is written at once, without waiting. ERR_INVAL: size; ERR_IO and others of the block. */
int pflash_create(struct vm *vm, const struct pflash_wiring *w,
		  struct pflash **out) attr_must_check;

#endif
