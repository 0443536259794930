/* SPDX-License-Identifier: ISC */
/* unzip.h: decompression for qcow2; see qcow2_unzip_fn. Hosted. */
#ifndef BLOCK_UNZIP_H
#define BLOCK_UNZIP_H

#include "base/def.h"
#include "base/err.h"

int unzip_cluster(unsigned type, const void *in, size_t in_len, void *out,
		  size_t out_len) attr_must_check;

#endif
