/* SPDX-License-Identifier: ISC */
/* block.h: disks. Formats (raw, qcow2) stand on files; overlays will stand on both.
 *
 * block_submit() may be called from any thread; done() comes once, from any thread, possibly before
 * block_submit() has returned. Requests in flight may complete in any order; a flush covers what
 * had completed before it was submitted. */
#ifndef BLOCK_BLOCK_H
#define BLOCK_BLOCK_H

#include "base/def.h"
#include "base/err.h"

#define BLOCK_SECTOR 512

struct block;

enum block_op { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_ZERO };

struct block_vec {
	void *base;
	size_t len;
};

struct block_req {
	enum block_op op;
	bool unmap;	 /* BLOCK_ZERO: may deallocate */
	uint64_t offset; /* bytes, multiple of BLOCK_SECTOR */
	uint64_t len;	 /* bytes, likewise; for reads and writes the vectors' sum */
	const struct block_vec *vec; /* valid until done() */
	unsigned n_vec;
	void (*done)(struct block_req *req, int err); /* err: 0 or ERR_* */
	void *ctx;		/* the submitter's */
	struct block_req *next; /* block layer's while in flight */
	void *priv;		/* block layer's while in flight */
};

struct block_ops {
	const char *name;
	void (*submit)(struct block *b, struct block_req *req);
	void (*close)(struct block *b); /* no requests in flight; flushes; frees */
};

/* First member of each driver's own struct. */
struct block {
	const struct block_ops *ops;
	uint64_t size; /* bytes, multiple of BLOCK_SECTOR */
	bool read_only;
	char name[64]; /* file name, for messages */
};

static inline void block_submit(struct block *b, struct block_req *req)
{
	b->ops->submit(b, req);
}

/* Synchronous helpers for tools and tests; not from the loop's thread. */
int block_rw_sync(struct block *b, enum block_op op, uint64_t offset, void *buf,
		  size_t len) attr_must_check;
int block_flush_sync(struct block *b) attr_must_check;
void block_close(struct block *b);

#endif
