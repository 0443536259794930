/* SPDX-License-Identifier: ISC */
/* raw.h: a file as a disk, byte for byte. */
#ifndef BLOCK_RAW_H
#define BLOCK_RAW_H

#include "block/bfile.h"

struct raw_opts {
	bool read_only;
	bool discard;
	bool guessed; /* nobody said that it is raw */
};
/* The block owns f from then on, if it succeeds. */
int raw_open(struct bfile *f, const struct raw_opts *o, struct block **out) attr_must_check;
/* The name of another format that an image beginning with these bytes is of, or NULL. */
const char *raw_looks_like(const void *first, size_t len);

#endif
