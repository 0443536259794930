/* SPDX-License-Identifier: ISC */
/* qcow2_pack.h: a new image of compressed clusters. */
#ifndef BLOCK_QCOW2_PACK_H
#define BLOCK_QCOW2_PACK_H

#include "block/bfile.h"

#define QCOW2_PACK_CLUSTER 65536

/* type: 0 deflate, 1 zstd. The length, or 0: it would be longer than room, or there is no memory. */
typedef size_t (*qcow2_zip_fn)(unsigned type, const void *in, size_t in_len, void *out,
			       size_t room);

struct qcow2_pack;

/* f: empty; stays the caller's. ERR_RANGE: the disk is too large. */
int qcow2_pack_create(struct bfile *f, uint64_t size, unsigned type, qcow2_zip_fn zip,
		      struct qcow2_pack **out) attr_must_check;
/* In rising order; clusters that are left out read as zeros. */
int qcow2_pack_write(struct qcow2_pack *p, uint64_t cluster, const void *buf) attr_must_check;
/* The image is complete and on the disk. */
int qcow2_pack_finish(struct qcow2_pack *p) attr_must_check;
void qcow2_pack_free(struct qcow2_pack *p);

#endif
