/* SPDX-License-Identifier: ISC */
/* qcow2_zip.c: compressed clusters. The last few that were decompressed are kept, because guests
 * read in pieces smaller than a cluster. The key is the L2 entry itself; we never write compressed
 * clusters, so an entry that is gone does not come again with another content but by a snapshot,
 * which calls qzip_clear(). */

#include "base/str.h"
#include "block/qcow2.h"

int qzip_init(struct qcow2 *q)
{
	size_t each = (size_t)(3 * q->cs);
	unsigned i;

	q->zmem = plat_pages_alloc(ALIGN_UP(QZSLOTS * each, PAGE_SIZE));
	if (!q->zmem)
		return err_here(ERR_NOMEM);
	for (i = 0; i < QZSLOTS; i++) {
		struct qzslot *z = &q->z[i];

		z->q = q;
		z->in = q->zmem + i * each;
		z->out = z->in + 2 * q->cs;
		qwaitq_init(&z->waiters);
	}
	return 0;
}

void qzip_fini(struct qcow2 *q)
{
	if (q->zmem)
		plat_pages_free(q->zmem, ALIGN_UP(QZSLOTS * (size_t)(3 * q->cs), PAGE_SIZE));
	q->zmem = NULL;
}

/* Where the file has what the L2 entry stands for: whole sectors, the first
 * one from off on. At most two clusters long. */
void qzip_range(const struct qcow2 *q, uint64_t entry, uint64_t *off, uint64_t *len)
{
	unsigned x = 62 - (q->cb - 8);
	uint64_t sectors = ((entry >> x) & (BIT64(q->cb - 8) - 1)) + 1;

	*off = entry & (BIT64(x) - 1);
	*len = sectors * 512 - (*off & 511);
}

static void done(struct block_req *req, int err)
{
	struct qzslot *z = container_of(req, struct qzslot, io);
	struct qcow2 *q = z->q;
	struct qwait *w;
	bool bad = false;

	if (!err) {
		err = q->unzip(q->h.compression, z->in, (size_t)req->len, z->out, (size_t)q->cs);
		bad = err == ERR_FORMAT;
	}
	plat_mutex_lock(&q->lock);
	qcow2_io_end(q, z->epoch);
	if (bad && !q->told) {
		q->told = true;
		plat_log(LOG_ERROR, "%s: damaged image: compressed cluster at 0x%llx", q->b.name,
			 (unsigned long long)req->offset);
	}
	if (err)
		z->key = 0;
	z->state = err ? QSLOT_EMPTY : QSLOT_VALID;
	for (w = z->waiters.head; w && !err; w = w->next) {
		w->z = z;
		z->pins++;
	}
	qcow2_wake(q, &z->waiters, bad ? ERR_IO : err);
	qcow2_wake(q, &q->slot_wait, 0);
	qcow2_unlock(q);
}

int qzip_get(struct qcow2 *q, uint64_t entry, struct qwait *w, struct qctx *ctx,
	     struct qzslot **out)
{
	struct qzslot *z, *best = NULL;
	uint64_t off, len;

	for (z = q->z; z < q->z + QZSLOTS; z++) {
		if (z->key == entry && z->state == QSLOT_VALID) {
			z->used = ++q->l2c.clock;
			z->pins++;
			*out = z;
			return 0;
		}
		if (z->key == entry && z->state == QSLOT_LOADING) {
			qwait_on(&z->waiters, w);
			return ERR_AGAIN;
		}
		if (z->state != QSLOT_LOADING && !z->pins && (!best || z->used < best->used))
			best = z;
	}
	qzip_range(q, entry, &off, &len);
	if (!q->unzip)
		return err_here(ERR_NOSYS);
	if (off >= bfile_size(q->f))
		return err_here(ERR_IO);
	if (!best) {
		qwait_on(&q->slot_wait, w);
		return ERR_AGAIN;
	}
	z = best;
	z->key = entry;
	z->state = QSLOT_LOADING;
	z->used = ++q->l2c.clock;
	z->epoch = qcow2_io_begin(q);
	z->vec = (struct block_vec){z->in, (size_t)len};
	z->io = (struct block_req){
		.op = BLOCK_READ,
		.offset = off,
		.len = len,
		.vec = &z->vec,
		.n_vec = 1,
		.done = done,
	};
	qwait_on(&z->waiters, w);
	ctx->zload = z;
	return ERR_AGAIN;
}

void qzip_load(struct qzslot *z)
{
	bfile_submit(z->q->f, &z->io);
}

void qzip_clear(struct qcow2 *q)
{
	for (struct qzslot *z = q->z; z < q->z + QZSLOTS; z++) {
		BUG_ON(z->pins || z->state == QSLOT_LOADING);
		z->key = 0;
		z->state = QSLOT_EMPTY;
	}
}

void qzip_unpin(struct qcow2 *q, struct qzslot *z)
{
	if (!--z->pins)
		qcow2_wake(q, &q->slot_wait, 0);
}
