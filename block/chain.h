/* SPDX-License-Identifier: ISC */
/* chain.h: an image with the files under it. Hosted. */
#ifndef BLOCK_CHAIN_H
#define BLOCK_CHAIN_H

#include "block/file.h"

struct chain_opts {
	struct aio *aio; /* NULL: synchronous use only */
	bool no_discard, unsafe;
	bool for_check; /* qcow2 only, alone and as it is */
};
int chain_open(const struct chain_opts *o, const char *path, enum block_format format,
	       bool read_only, struct block **out, char *err, size_t err_size) attr_must_check;
/* Where image's backing file name leads. ERR_NOSYS: not to a file. */
int chain_backing_path(const char *image, const char *name, char *out, size_t size) attr_must_check;
/* Which format f has, if nobody says. why: one line, without the path. */
int chain_probe(struct bfile *f, enum block_format *format, char *why,
		size_t why_size) attr_must_check;
/* ERR_NOSYS: a format that is not ours. NULL, "": auto. */
int chain_format(const char *name, enum block_format *format) attr_must_check;

#endif
