/* SPDX-License-Identifier: ISC */
/* memfile.h: a bfile in memory. */
#ifndef BLOCK_MEMFILE_H
#define BLOCK_MEMFILE_H

#include "block/bfile.h"

/* Holds content at first; grows to at most cap bytes, then answers ERR_NOSPC. */
int memfile_create(const char *name, const void *content, size_t len, uint64_t cap,
		   struct bfile **out) attr_must_check;
/* Its cap bytes, of which bfile_size() are in use. */
void *memfile_bytes(struct bfile *f);

#endif
