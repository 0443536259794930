/* SPDX-License-Identifier: ISC */
/* bfile.h: what a disk format stands on: a file that can be read and written at any place, grows
 * when written behind its end, and reads as zeros there. file.c implements it for the host's files,
 * memfile.c in memory.
 *
 * Requests are struct block_req, but offset and len may be any byte. bfile_submit() may call done()
 * before it returns, in the caller's thread: never call it with a lock held that done() takes. The
 * synchronous calls may be mixed with requests in flight; they never call anybody's done(). */
#ifndef BLOCK_BFILE_H
#define BLOCK_BFILE_H

#include "block/block.h"

struct bfile;

struct bfile_ops {
	void (*submit)(struct bfile *f, struct block_req *req);
	/* All of len or an error. What lies behind the end reads as zeros. */
	int (*pread)(struct bfile *f, uint64_t off, void *buf, size_t len);
	int (*pwrite)(struct bfile *f, uint64_t off, const void *buf, size_t len);
	/* Makes the range read as zeros, and the file reach at least to its end. */
	int (*zero)(struct bfile *f, uint64_t off, uint64_t len);
	int (*sync)(struct bfile *f);
	int (*truncate)(struct bfile *f, uint64_t size);
	/* Ends what can be ended now, in the caller's thread, which may be the very one on which
	 * done() would run. May be NULL. */
	void (*poll)(struct bfile *f);
	void (*close)(struct bfile *f); /* nothing in flight */
};

struct bfile {
	const struct bfile_ops *ops;
	_Atomic uint64_t size; /* bytes; follows what is written */
	bool read_only;
	bool virgin_tail; /* what lies behind the end is zeros and becomes so when it grows */
	char name[64];    /* last part of the path, for messages */
};

static inline void bfile_submit(struct bfile *f, struct block_req *req)
{
	f->ops->submit(f, req);
}

static inline int bfile_pread(struct bfile *f, uint64_t off, void *buf, size_t len)
{
	return f->ops->pread(f, off, buf, len);
}

static inline int bfile_pwrite(struct bfile *f, uint64_t off, const void *buf, size_t len)
{
	return f->ops->pwrite(f, off, buf, len);
}

static inline int bfile_zero(struct bfile *f, uint64_t off, uint64_t len)
{
	return f->ops->zero(f, off, len);
}

static inline int bfile_truncate(struct bfile *f, uint64_t size)
{
	return f->ops->truncate(f, size);
}

static inline void bfile_poll(struct bfile *f)
{
	if (f->ops->poll)
		f->ops->poll(f);
}

static inline int bfile_sync(struct bfile *f)
{
	return f->ops->sync(f);
}

static inline uint64_t bfile_size(struct bfile *f)
{
	return atomic_load_explicit(&f->size, memory_order_relaxed);
}

/* The file now reaches at least to end. */
static inline void bfile_grew(struct bfile *f, uint64_t end)
{
	uint64_t old = bfile_size(f);

	while (old < end && !atomic_compare_exchange_weak(&f->size, &old, end))
		;
}

#endif
