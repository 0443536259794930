/* SPDX-License-Identifier: ISC */
/* qcow2_io.c: requests, and reads. qreq_run() advances a request until it waits or all of it is
 * handed out; each piece of I/O and the runner hold a reference, the last one ends the request. */

#include "base/str.h"
#include "block/qcow2.h"

static void qio_done(struct block_req *b, int err);

/* ---- where things are --------------------------------------------------------------------------- */

enum qkind qcow2_kind(const struct qcow2 *q, uint64_t entry)
{
	if (entry & QE_COMPRESSED)
		return QK_COMPRESSED;
	if (q->h.version >= 3 && (entry & QE_ZERO))
		return QK_ZERO;
	return entry & QE_OFFSET ? QK_NORMAL : QK_UNALLOCATED;
}

bool qcow2_over_backing(const struct qcow2 *q, uint64_t off)
{
	return q->backing && off < q->backing->size;
}

/* How many bytes from off on are like the first cluster, in one piece, as far as the slice goes. */
static uint64_t run_length(const struct qcow2 *q, const struct qslot *s, unsigned i, uint64_t off,
			   const struct qmap *m)
{
	unsigned n = 1u << q->slice_bits;
	uint64_t len = q->cs - (off & (q->cs - 1)), next = (m->entry & QE_OFFSET) + q->cs;

	for (i++; i < n && m->kind != QK_COMPRESSED; i++) {
		uint64_t e = be64_get(s->data + i * 8);

		if (qcow2_kind(q, e) != m->kind)
			break;
		if (m->kind == QK_NORMAL &&
		    ((e & QE_OFFSET) != next || ((e ^ m->entry) & QE_COPIED)))
			break;
		next += q->cs;
		len += q->cs;
	}
	return len;
}

int qcow2_map(struct qcow2 *q, uint64_t off, uint64_t len, struct qwait *w, struct qctx *ctx,
	      struct qmap *m)
{
	uint64_t l1i = off >> (q->cb + q->l2_bits), l2, i, last;
	struct qslot *s;
	int err;

	l2 = q->l1.e[l1i] & QE_OFFSET;
	if (!l2) {
		m->kind = QK_UNALLOCATED;
		m->entry = 0;
		m->len = MIN(len, ((l1i + 1) << (q->cb + q->l2_bits)) - off);
		return 0;
	}
	if (!qcow2_offset_ok(q, l2)) {
		qcow2_damage(q, "L2 table at 0x%llx", (unsigned long long)l2);
		return err_here(ERR_IO);
	}
	i = (off >> q->cb) & (BIT64(q->l2_bits) - 1);
	err = qcache_get(q, &q->l2c, l2 + (i >> q->slice_bits) * q->l2c.slice_size, w, ctx, &s);
	if (err)
		return err;
	i &= BIT64(q->slice_bits) - 1;
	m->entry = be64_get(s->data + i * 8);
	m->kind = qcow2_kind(q, m->entry);
	m->len = MIN(len, run_length(q, s, (unsigned)i, off, m));
	if (m->kind != QK_NORMAL)
		return 0;
	m->host = (m->entry & QE_OFFSET) + (off & (q->cs - 1));
	last = ALIGN_DOWN(m->host + m->len - 1, q->cs);
	if (qcow2_offset_ok(q, m->entry & QE_OFFSET) && qcow2_offset_ok(q, last))
		return 0;
	qcow2_damage(q, "data at 0x%llx, not in the file", (unsigned long long)m->host);
	return err_here(ERR_IO);
}

/* ---- requests ----------------------------------------------------------------------------------- */

void qreq_init(struct qreq *r, struct qcow2 *q, struct block_req *req)
{
	r->w = (struct qwait){.run = qreq_run};
	r->q = q;
	r->req = req;
	r->pos = 0;
	r->vi = 0;
	r->voff = 0;
	r->io_used = false;
	atomic_store_explicit(&r->refs, 1, memory_order_relaxed);
	atomic_store_explicit(&r->err, 0, memory_order_relaxed);
}

void qreq_fail(struct qreq *r, int err)
{
	int none = 0;

	atomic_compare_exchange_strong(&r->err, &none, err); /* the first error is told */
}

/* The image may be gone after done(). */
static void end(struct qreq *r)
{
	struct block_req *req = r->req, *next;
	struct qcow2 *q = r->q;
	int err = atomic_load_explicit(&r->err, memory_order_relaxed);

	if (r->pooled) {
		plat_mutex_lock(&q->lock);
		next = q->starved;
		if (next) {
			q->starved = next->next;
			if (!q->starved)
				q->starved_tail = &q->starved;
			qreq_init(r, q, next);
			qcow2_wake_one(q, &r->w, 0);
			qcow2_unlock(q);
		} else {
			r->next = q->free_reqs;
			q->free_reqs = r;
			plat_mutex_unlock(&q->lock);
		}
	}
	req->done(req, err);
}

void qreq_put(struct qreq *r)
{
	if (atomic_fetch_sub(&r->refs, 1) == 1)
		end(r);
}

unsigned qreq_take_vec(struct qreq *r, uint64_t len, struct block_vec *out)
{
	bool zeros = r->req->op == BLOCK_ZERO;
	unsigned n = 0;

	r->pos += len;
	while (len) {
		const struct block_vec *v = &r->req->vec[r->vi];
		size_t part;

		if (zeros) {
			part = (size_t)MIN(len, (uint64_t)QZEROS);
			out[n++] = (struct block_vec){r->q->zeros, part};
			len -= part;
			continue;
		}
		part = (size_t)MIN(len, (uint64_t)(v->len - r->voff));
		if (part)
			out[n++] = (struct block_vec){(uint8_t *)v->base + r->voff, part};
		len -= part;
		r->voff += part;
		if (r->voff == v->len) {
			r->vi++;
			r->voff = 0;
		}
	}
	return n;
}

uint64_t qreq_vec_span(const struct qreq *r, unsigned n)
{
	uint64_t len = 0;
	unsigned i;

	if (r->req->op == BLOCK_ZERO)
		return (uint64_t)n * QZEROS;
	for (i = r->vi; i < r->req->n_vec && n; i++) {
		len += r->req->vec[i].len - (i == r->vi ? r->voff : 0);
		n -= r->req->vec[i].len > 0;
	}
	return ALIGN_DOWN(len, (uint64_t)BLOCK_SECTOR);
}

/* Copies to the guest, or clears where src is NULL, and moves on. */
static void give(struct qreq *r, const uint8_t *src, uint64_t len)
{
	r->pos += len;
	while (len) {
		const struct block_vec *v = &r->req->vec[r->vi];
		size_t part = (size_t)MIN(len, (uint64_t)(v->len - r->voff));

		if (src)
			memcpy((uint8_t *)v->base + r->voff, src, part);
		else
			memset((uint8_t *)v->base + r->voff, 0, part);
		if (src)
			src += part;
		len -= part;
		r->voff += part;
		if (r->voff == v->len) {
			r->vi++;
			r->voff = 0;
		}
	}
}

/* ---- pieces of I/O ------------------------------------------------------------------------------ */

struct qio *qio_get(struct qreq *r, uint64_t len)
{
	struct qcow2 *q = r->q;
	struct qio *io;

	if (len == r->req->len && !r->io_used && r->req->op != BLOCK_ZERO) {
		r->io_used = true;
		io = &r->io;
		io->vec = NULL;
	} else {
		io = q->free_ios;
		if (!io) {
			qwait_on(&q->pool_wait, &r->w);
			return NULL;
		}
		q->free_ios = io->next;
	}
	io->r = r;
	io->counted = false;
	return io;
}

/* backing: it goes there; NULL: to the file. */
void qio_submit(struct qio *io, struct block *backing, uint64_t offset, uint64_t len)
{
	struct qreq *r = io->r;
	struct qcow2 *q = r->q;
	bool write = r->req->op != BLOCK_READ;

	io->b = (struct block_req){
		.op = write ? BLOCK_WRITE : BLOCK_READ,
		.offset = offset,
		.len = len,
		.done = qio_done,
	};
	if (io->vec) {
		io->b.vec = io->vec;
		io->b.n_vec = qreq_take_vec(r, len, io->vec);
	} else {
		io->b.vec = r->req->vec;
		io->b.n_vec = r->req->n_vec;
		r->pos += len;
	}
	atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
	if (backing)
		block_submit(backing, &io->b);
	else
		bfile_submit(q->f, &io->b);
}

static void qio_done(struct block_req *b, int err)
{
	struct qio *io = container_of(b, struct qio, b);
	struct qreq *r = io->r;
	struct qcow2 *q = r->q;

	if (err)
		qreq_fail(r, err);
	plat_mutex_lock(&q->lock);
	if (io->counted)
		qcow2_io_end(q, io->epoch);
	if (io->vec) {
		io->next = q->free_ios;
		q->free_ios = io;
		qcow2_wake(q, &q->pool_wait, 0);
	}
	qcow2_unlock(q);
	qreq_put(r);
}

/* ---- reads --------------------------------------------------------------------------------------- */

/* From a decompressed cluster, which is pinned. */
static void read_zip(struct qreq *r, struct qzslot *z)
{
	uint64_t off = r->req->offset + r->pos, in = off & (r->q->cs - 1);

	give(r, z->out + in, MIN(r->req->len - r->pos, r->q->cs - in));
	plat_mutex_lock(&r->q->lock);
	qzip_unpin(r->q, z);
	qcow2_unlock(r->q);
}

struct rplan {
	struct qmap m;
	struct qzslot *z;      /* it is there, pinned */
	struct qio *io;        /* or this reads it */
	struct block *backing; /* from there */
};

/* With the lock held: where the next bytes come from; all NULL: they are zeros. */
static int plan_read(struct qreq *r, struct rplan *p, uint64_t span, struct qctx *ctx)
{
	uint64_t off = r->req->offset + r->pos;
	struct qcow2 *q = r->q;
	struct qmap *m = &p->m;
	int err = qcow2_map(q, off, r->req->len - r->pos, &r->w, ctx, m);

	if (err)
		return err;
	if (m->kind == QK_COMPRESSED) {
		ctx->for_slice = false;
		return qzip_get(q, m->entry, &r->w, ctx, &p->z);
	}
	if (m->kind == QK_UNALLOCATED && qcow2_over_backing(q, off)) {
		p->backing = q->backing;
		m->len = MIN(m->len, q->backing->size - off);
		m->host = off;
	} else if (m->kind != QK_NORMAL) {
		return 0;
	}
	if (m->len < r->req->len)
		m->len = MIN(m->len, span);
	if (!m->len) /* segments of a few bytes each */
		return err_here(ERR_INVAL);
	p->io = qio_get(r, m->len);
	if (!p->io)
		return ERR_AGAIN;
	if (!p->backing) {
		p->io->counted = true;
		p->io->epoch = qcow2_io_begin(q);
	}
	return 0;
}

/* False: the request waits, or has failed. */
static bool step_read(struct qreq *r)
{
	uint64_t span = qreq_vec_span(r, QIO_VECS);
	struct qcow2 *q = r->q;
	struct rplan p = {.z = r->w.z};
	struct qctx ctx = {0};
	int err = 0;

	r->w.z = NULL;
	if (!p.z) {
		plat_mutex_lock(&q->lock);
		err = plan_read(r, &p, span, &ctx);
		qcow2_leave(q, &ctx, &r->w, err);
	}
	if (err == ERR_AGAIN)
		return false;
	if (err)
		qreq_fail(r, err);
	else if (p.z)
		read_zip(r, p.z);
	else if (p.io)
		qio_submit(p.io, p.backing, p.m.host, p.m.len);
	else
		give(r, NULL, p.m.len);
	return true;
}

static void let_go(struct qreq *r)
{
	struct qcow2 *q = r->q;

	plat_mutex_lock(&q->lock);
	qcache_release(q, &r->w);
	if (r->w.z)
		qzip_unpin(q, r->w.z);
	r->w.z = NULL;
	qcow2_unlock(q);
}

void qreq_run(struct qwait *w)
{
	struct qreq *r = container_of(w, struct qreq, w);
	bool on = true;

	if (w->err)
		qreq_fail(r, w->err);
	while (on && r->pos < r->req->len && !atomic_load(&r->err)) {
		switch (r->req->op) {
		case BLOCK_READ:
			on = step_read(r);
			break;
		case BLOCK_WRITE:
			on = qcow2_step_write(r, r->req->len - r->pos);
			break;
		default:
			on = qcow2_step_zero(r);
			break;
		}
	}
	if (!on)
		return;
	if (w->z || w->hold[QHOLD_L2] || w->hold[QHOLD_COUNTS]) /* it failed before using them */
		let_go(r);
	qreq_put(r);
}

static bool valid(const struct block *b, const struct block_req *req)
{
	return IS_ALIGNED(req->offset, BLOCK_SECTOR) && IS_ALIGNED(req->len, BLOCK_SECTOR) &&
	       req->offset <= b->size && req->len <= b->size - req->offset;
}

void qcow2_submit(struct block *b, struct block_req *req)
{
	struct qcow2 *q = container_of(b, struct qcow2, b);
	struct qreq *r;
	int err = 0;

	if (req->op == BLOCK_FLUSH) {
		if (b->read_only)
			req->done(req, 0);
		else
			qcow2_submit_flush(q, req);
		return;
	}
	if (!valid(b, req))
		err = err_here(ERR_RANGE);
	else if (req->op != BLOCK_READ && b->read_only)
		err = err_here(ERR_ROFS);
	if (err || !req->len || (req->op == BLOCK_DISCARD && !q->discard)) {
		req->done(req, err);
		return;
	}
	plat_mutex_lock(&q->lock);
	r = q->free_reqs;
	if (r) {
		q->free_reqs = r->next;
	} else {
		req->next = NULL;
		*q->starved_tail = req;
		q->starved_tail = &req->next;
	}
	plat_mutex_unlock(&q->lock);
	if (!r)
		return;
	qreq_init(r, q, req);
	qreq_run(&r->w);
}

/* The large ones as pages, which cost nothing before their first use. */
#define VECS_BYTES  ALIGN_UP(QIOS *QIO_VECS * sizeof(struct block_vec), PAGE_SIZE)
#define FREES_BYTES ALIGN_UP(QFREES_MAX * sizeof(struct qextent), PAGE_SIZE)

/* ---- pools --------------------------------------------------------------------------------------- */

static int init_fills(struct qcow2 *q)
{
	size_t each = (size_t)(2 * q->cs);
	unsigned i, n = (unsigned)MIN((uint64_t)QALLOCS, 2 * MIB / each);

	q->n_fills = MAX(n, 2u);
	q->fill_mem = plat_pages_alloc(ALIGN_UP(q->n_fills * each, PAGE_SIZE));
	q->free_fills = plat_alloc(q->n_fills * sizeof(*q->free_fills));
	if (!q->fill_mem || !q->free_fills)
		return err_here(ERR_NOMEM);
	for (i = 0; i < q->n_fills; i++)
		q->free_fills[q->n_free_fills++] = q->fill_mem + i * each;
	return 0;
}

static int init_write_pools(struct qcow2 *q)
{
	unsigned i;

	q->allocs_mem = plat_alloc(QALLOCS * sizeof(*q->allocs_mem));
	q->frees[0].e = plat_pages_alloc(FREES_BYTES);
	q->frees[1].e = plat_pages_alloc(FREES_BYTES);
	q->zeros = plat_pages_alloc(QZEROS);
	if (!q->allocs_mem || !q->frees[0].e || !q->frees[1].e || !q->zeros)
		return err_here(ERR_NOMEM);
	for (i = 0; i < QALLOCS; i++) {
		struct qalloc *a = &q->allocs_mem[i];

		a->q = q;
		qwaitq_init(&a->waiters);
		a->next = q->free_allocs;
		q->free_allocs = a;
	}
	return init_fills(q);
}

int qcow2_io_init(struct qcow2 *q)
{
	unsigned i;

	q->starved_tail = &q->starved;
	q->reqs = plat_alloc(QREQS * sizeof(*q->reqs));
	q->ios = plat_alloc(QIOS * sizeof(*q->ios));
	q->io_vecs = plat_pages_alloc(VECS_BYTES);
	if (!q->reqs || !q->ios || !q->io_vecs)
		return err_here(ERR_NOMEM);
	for (i = 0; i < QREQS; i++) {
		q->reqs[i].pooled = true;
		q->reqs[i].next = q->free_reqs;
		q->free_reqs = &q->reqs[i];
	}
	for (i = 0; i < QIOS; i++) {
		q->ios[i].vec = q->io_vecs + (size_t)i * QIO_VECS;
		q->ios[i].next = q->free_ios;
		q->free_ios = &q->ios[i];
	}
	return q->b.read_only ? 0 : init_write_pools(q);
}

void qcow2_io_fini(struct qcow2 *q)
{
	unsigned i;

	plat_free(q->reqs);
	plat_free(q->ios);
	plat_free(q->allocs_mem);
	for (i = 0; i < 2; i++)
		if (q->frees[i].e)
			plat_pages_free(q->frees[i].e, FREES_BYTES);
	if (q->io_vecs)
		plat_pages_free(q->io_vecs, VECS_BYTES);
	plat_free(q->free_fills);
	if (q->zeros)
		plat_pages_free(q->zeros, QZEROS);
	if (q->fill_mem)
		plat_pages_free(q->fill_mem, ALIGN_UP(q->n_fills * (size_t)(2 * q->cs), PAGE_SIZE));
}
