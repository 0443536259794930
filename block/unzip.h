/* SPDX-License-Identifier: ISC */
/* unzip.h: compression of clusters; see qcow2_unzip_fn, import_unzip_fn and qcow2_zip_fn. Hosted. */
#ifndef BLOCK_UNZIP_H
#define BLOCK_UNZIP_H

#include "base/def.h"
#include "base/err.h"

int unzip_cluster(unsigned type, const void *in, size_t in_len, void *out,
		  size_t out_len) attr_must_check;

/* See qcow2_zip_fn. */
size_t zip_cluster(unsigned type, const void *in, size_t in_len, void *out, size_t room);

#endif
