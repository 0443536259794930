/* SPDX-License-Identifier: ISC */
/* sync.c: waiting for a request, for tools and tests. */

#include "base/str.h"
#include "block/block.h"
#include "plat/plat.h"

struct waiter {
	struct block_req req;
	struct plat_event ev;
	int err;
};

static void wake(struct block_req *req, int err)
{
	struct waiter *w = container_of(req, struct waiter, req);

	w->err = err;
	plat_event_set(&w->ev);
}

static int submit_and_wait(struct block *b, struct waiter *w)
{
	w->req.done = wake;
	block_submit(b, &w->req);
	plat_event_wait(&w->ev, PLAT_FOREVER);
	return w->err;
}

int block_rw_sync(struct block *b, enum block_op op, uint64_t offset, void *buf, size_t len)
{
	struct block_vec vec = {buf, len};
	struct waiter w = {
		.req = {.op = op,
			.unmap = true,
			.offset = offset,
			.len = len,
			.vec = &vec,
			.n_vec = 1},
	};

	return submit_and_wait(b, &w);
}

int block_flush_sync(struct block *b)
{
	struct waiter w = {.req = {.op = BLOCK_FLUSH}};

	return submit_and_wait(b, &w);
}

void block_close(struct block *b)
{
	if (b)
		b->ops->close(b);
}

int block_snapshot(struct block *b, const struct block_snapshot *s, char *err, size_t err_size)
{
	if (b->ops->snapshot)
		return b->ops->snapshot(b, s, err, err_size);
	str_format(err, err_size, "its format (%s) has no snapshots", b->ops->name);
	return err_here(ERR_NOSYS);
}
