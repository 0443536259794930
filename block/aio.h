/* SPDX-License-Identifier: ISC */
/* aio.h: asynchronous operations on file descriptors, by io_uring or, where the host does not permit
 * that, by a few threads. One struct aio serves a disk and all files under it. Hosted. */
#ifndef BLOCK_AIO_H
#define BLOCK_AIO_H

#include <sys/types.h>
#include <sys/uio.h>

#include "base/def.h"
#include "base/err.h"

struct plat_loop;
struct aio;

enum aio_kind { AIO_READV, AIO_WRITEV, AIO_DATASYNC, AIO_FALLOCATE };

struct aio_op {
	enum aio_kind kind;
	int fd;
	const struct iovec *iov; /* READV, WRITEV */
	int n_iov;               /* at most IOV_MAX */
	off_t off, len;          /* len: FALLOCATE */
	int mode;                /* FALLOCATE */
	/* Once, from any thread but not from within aio_submit(). res: as the system call's, or
	 * -errno. */
	void (*end)(struct aio_op *op, long res);
	struct aio_op *next; /* the aio's */
};

struct aio_ops {
	void (*submit)(struct aio *a, struct aio_op *op);
	void (*poll)(struct aio *a);
	void (*destroy)(struct aio *a);
};

/* First member of either kind. */
struct aio {
	const struct aio_ops *ops;
	_Atomic unsigned refs;
};

/* loop: where end() runs; NULL: on a thread of its own. */
int aio_create(struct plat_loop *loop, bool no_uring, struct aio **out) attr_must_check;
struct aio *aio_get(struct aio *a);
void aio_put(struct aio *a); /* the last one: with nothing in flight */

static inline void aio_submit(struct aio *a, struct aio_op *op)
{
	a->ops->submit(a, op);
}

int aio_uring_create(struct plat_loop *loop, struct aio **out) attr_must_check;
int aio_pool_create(struct aio **out) attr_must_check;
/* The operation, now, by the caller's thread. */
long aio_do(const struct aio_op *op);

#endif
