/* SPDX-License-Identifier: ISC */
/* qcow2_write.c: writes, zeroes and discards.
 *
 * A cluster that is counted once and said to be so (the "copied" flag) is written in place. For any
 * other, new clusters are taken and the data goes there together with what the old place had around
 * it (the fill), in one write; only when that has ended does the L2 entry change, and the old place
 * loses its reference. Until then the qalloc keeps others from changing the same clusters. */

#include "base/str.h"
#include "block/qcow2.h"

#define MAX_RUN 256 /* clusters handled under one hold of the lock */

/* ---- L2 tables that may be changed -------------------------------------------------------------- */

static int l2_new(struct qcow2 *q, uint64_t l1i, struct qwait *w, struct qctx *ctx)
{
	uint64_t host, got;
	bool virgin;
	int err = qcow2_alloc(q, 1, w, ctx, &host, &got, &virgin);

	if (err)
		return err;
	err = bfile_zero(q->f, host, q->cs);
	if (!err)
		err = qcow2_meta_add(q, host >> q->cb, 1);
	if (err) {
		qcow2_unref(q, host >> q->cb, 1, ctx);
		return err;
	}
	qcache_drop(&q->l2c, host, q->cs);
	qtable_set(&q->l1, (uint32_t)l1i, host | QE_COPIED);
	return 0;
}

static int copy_cluster(struct qcow2 *q, uint64_t from, uint64_t to)
{
	size_t piece = (size_t)MIN(q->cs, (uint64_t)QZEROS);
	uint8_t *buf = plat_alloc(piece);
	uint64_t done;
	int err = 0;

	if (!buf)
		return err_here(ERR_NOMEM);
	for (done = 0; !err && done < q->cs; done += piece) {
		err = bfile_pread(q->f, from + done, buf, piece);
		if (!err)
			err = bfile_pwrite(q->f, to + done, buf, piece);
	}
	plat_free(buf);
	return err;
}

/* The table belongs to a snapshot as well. The counts of what it points to include both already. */
static int l2_copy(struct qcow2 *q, uint64_t l1i, struct qwait *w, struct qctx *ctx)
{
	uint64_t old = q->l1.e[l1i] & QE_OFFSET, host, got;
	bool virgin;
	int err;

	if (!qcow2_offset_ok(q, old)) {
		qcow2_damage(q, "L2 table at 0x%llx", (unsigned long long)old);
		return err_here(ERR_IO);
	}
	err = qcow2_alloc(q, 1, w, ctx, &host, &got, &virgin);
	if (err)
		return err;
	err = copy_cluster(q, old, host);
	if (!err)
		err = qcow2_meta_add(q, host >> q->cb, 1);
	if (err) {
		qcow2_unref(q, host >> q->cb, 1, ctx);
		return err;
	}
	qcache_drop(&q->l2c, host, q->cs);
	qcow2_meta_del(q, old >> q->cb, 1);
	qtable_set(&q->l1, (uint32_t)l1i, host | QE_COPIED);
	qcow2_unref(q, old >> q->cb, 1, ctx);
	return 0;
}

/* Place for n clusters to be freed; else the request waits for a commit. */
static int frees_room(struct qcow2 *q, uint32_t n, struct qwait *w, struct qctx *ctx)
{
	if (qcow2_frees_room(q, n))
		return 0;
	ctx->commit = true;
	qwait_on(&q->frees_wait, w);
	return ERR_AGAIN;
}

static int l2_for_write(struct qcow2 *q, uint64_t off, struct qwait *w, struct qctx *ctx,
			struct qslot **out, unsigned *index)
{
	uint64_t l1i = off >> (q->cb + q->l2_bits), i, l2;
	int err = 0;

	if (!(q->l1.e[l1i] & QE_COPIED) || !(q->l1.e[l1i] & QE_OFFSET)) {
		err = frees_room(q, 1, w, ctx);
		if (!err && q->l1.e[l1i] & QE_OFFSET)
			err = l2_copy(q, l1i, w, ctx);
		else if (!err)
			err = l2_new(q, l1i, w, ctx);
		if (err)
			return err;
		qcache_release(q, w); /* of the counts, before waiting for an L2 slice */
	}
	l2 = q->l1.e[l1i] & QE_OFFSET;
	if (!qcow2_offset_ok(q, l2)) {
		qcow2_damage(q, "L2 table at 0x%llx", (unsigned long long)l2);
		return err_here(ERR_IO);
	}
	i = (off >> q->cb) & (BIT64(q->l2_bits) - 1);
	*index = (unsigned)(i & (BIT64(q->slice_bits) - 1));
	return qcache_get(q, &q->l2c, l2 + (i >> q->slice_bits) * q->l2c.slice_size, w, ctx, out);
}

/* The entry no longer points to what it did. */
static void unref_entry(struct qcow2 *q, uint64_t entry, struct qctx *ctx)
{
	uint64_t off = entry & QE_OFFSET, len;

	if (entry & QE_COMPRESSED) {
		qzip_range(q, entry, &off, &len);
		qcow2_unref(q, off >> q->cb,
			    (uint32_t)(((off + len - 1) >> q->cb) - (off >> q->cb)) + 1, ctx);
	} else if (off && IS_ALIGNED(off, q->cs)) {
		qcow2_unref(q, off >> q->cb, 1, ctx);
	} else if (off) {
		qcow2_damage(q, "data at 0x%llx", (unsigned long long)off);
	}
}

/* ---- clusters that somebody is allocating -------------------------------------------------------- */

/* Is the cluster at off being allocated? Else *len is shortened to end before one that is. */
static struct qalloc *busy(struct qcow2 *q, uint64_t off, uint64_t *len)
{
	uint64_t first = off >> q->cb;
	struct qalloc *a;

	for (a = q->allocs; a; a = a->next) {
		if (first >= a->first && first < a->first + a->n)
			return a;
		if (a->first > first)
			*len = MIN(*len, (a->first << q->cb) - off);
	}
	return NULL;
}

static void alloc_end(struct qalloc *a, int err)
{
	struct qcow2 *q = a->q;
	struct qreq *r = a->r;
	struct qctx ctx = {0};
	struct qalloc **link;
	uint64_t i;

	if (err)
		qreq_fail(r, err);
	plat_mutex_lock(&q->lock);
	q->frees_reserved -= (uint32_t)a->n + 1;
	for (i = 0; !err && i < a->n; i++) {
		uint8_t *p = a->l2->data + (a->l2_index + i) * 8;

		if (!a->reuse)
			unref_entry(q, be64_get(p), &ctx);
		be64_put(p, (a->host + (i << q->cb)) | QE_COPIED);
	}
	if (!err)
		qcache_dirty(q, a->l2, &ctx);
	else if (!a->reuse)
		qcow2_unref(q, a->host >> q->cb, (uint32_t)a->n, &ctx);
	qcache_unpin(q, a->l2);
	for (link = &q->allocs; *link != a; link = &(*link)->next)
		;
	*link = a->next;
	qcow2_wake(q, &a->waiters, 0);
	if (a->fill)
		q->free_fills[q->n_free_fills++] = a->fill;
	a->next = q->free_allocs;
	q->free_allocs = a;
	qcow2_wake(q, &q->pool_wait, 0);
	qcow2_leave(q, &ctx, NULL, 0);
	qreq_put(r);
}

static void alloc_written(struct block_req *req, int err)
{
	alloc_end(container_of(req, struct qalloc, io), err);
}

/* One of those that prepare the fill has ended; after the last one, all is written at once. */
static void alloc_ready(struct qalloc *a)
{
	uint64_t host = a->host + (a->offset & (a->q->cs - 1)) - a->head;
	struct block_vec *v = a->vec + 1;
	unsigned n = a->n_vec;
	int err;

	if (atomic_fetch_sub(&a->pending, 1) != 1)
		return;
	err = atomic_load(&a->err);
	if (err) {
		alloc_end(a, err);
		return;
	}
	if (a->head) {
		*--v = (struct block_vec){a->fill, a->head};
		n++;
	}
	if (a->tail)
		v[n++] = (struct block_vec){a->fill + a->head, a->tail};
	a->io = (struct block_req){
		.op = BLOCK_WRITE,
		.offset = host,
		.len = a->head + a->len + a->tail,
		.vec = v,
		.n_vec = n,
		.done = alloc_written,
	};
	bfile_submit(a->q->f, &a->io);
}

static void cow_done(struct block_req *req, int err)
{
	struct qalloc *a = req->ctx;

	if (err)
		atomic_store(&a->err, err);
	alloc_ready(a);
}

/* Reads what the disk shows at off, which is still the old place, into the fill. */
static void cow_read(struct qalloc *a, unsigned which, uint64_t off, uint8_t *buf, uint64_t len)
{
	struct qcow2 *q = a->q;
	uint64_t have = off < q->b.size ? MIN(len, q->b.size - off) : 0;

	memset(buf + have, 0, (size_t)(len - have));
	if (!have)
		return;
	a->cow_vec[which] = (struct block_vec){buf, (size_t)have};
	a->cow_req[which] = (struct block_req){
		.op = BLOCK_READ,
		.offset = off,
		.len = have,
		.vec = &a->cow_vec[which],
		.n_vec = 1,
		.done = cow_done,
		.ctx = a,
	};
	atomic_fetch_add(&a->pending, 1);
	qreq_init(&a->cow[which], q, &a->cow_req[which]);
	qreq_run(&a->cow[which].w);
}

/* Without the lock. */
static void alloc_start(struct qalloc *a, bool read_head, bool read_tail)
{
	uint64_t end = a->offset + a->len;

	a->n_vec = qreq_take_vec(a->r, a->len, a->vec + 1);
	atomic_store(&a->err, 0);
	atomic_store(&a->pending, 1);
	atomic_fetch_add(&a->r->refs, 1);
	if (a->head && read_head)
		cow_read(a, 0, a->offset - a->head, a->fill, a->head);
	else if (a->head)
		memset(a->fill, 0, a->head);
	if (a->tail && read_tail)
		cow_read(a, 1, end, a->fill + a->head, a->tail);
	else if (a->tail)
		memset(a->fill + a->head, 0, a->tail);
	alloc_ready(a);
}

/* ---- one step of a write ------------------------------------------------------------------------- */

struct wplan {
	struct qslot *l2;
	unsigned index; /* in it, of the first cluster */
	uint64_t off, len;
	uint64_t host;
	struct qio *io;   /* in place */
	struct qalloc *a; /* or new */
	bool read_head, read_tail;
};

static uint64_t entry_at(const struct wplan *p, uint64_t i)
{
	return be64_get(p->l2->data + (p->index + i) * 8);
}

static bool in_place(const struct qcow2 *q, uint64_t entry)
{
	return qcow2_kind(q, entry) == QK_NORMAL && (entry & QE_COPIED);
}

/* Reads as zeros, but has a cluster of its own. */
static bool reusable(const struct qcow2 *q, uint64_t entry)
{
	return qcow2_kind(q, entry) == QK_ZERO && (entry & QE_COPIED) && (entry & QE_OFFSET);
}

static bool has_content(const struct qcow2 *q, uint64_t entry, uint64_t off)
{
	enum qkind kind = qcow2_kind(q, entry);

	return kind == QK_NORMAL || kind == QK_COMPRESSED ||
	       (kind == QK_UNALLOCATED && qcow2_over_backing(q, off));
}

/* Are these n clusters in the file ones that guest data may be in? */
static int check_host(struct qcow2 *q, uint64_t host, uint64_t n)
{
	if (qcow2_offset_ok(q, host) && qcow2_offset_ok(q, host + ((n - 1) << q->cb)) &&
	    !qcow2_meta_has(q, host >> q->cb, n))
		return 0;
	qcow2_damage(q, "data at 0x%llx, where data cannot be", (unsigned long long)host);
	return err_here(ERR_IO);
}

static int plan_in_place(struct qreq *r, struct wplan *p, uint64_t limit)
{
	uint64_t in = p->off & (r->q->cs - 1), max = (1u << r->q->slice_bits) - p->index, n = 1;
	uint64_t host = entry_at(p, 0) & QE_OFFSET;
	struct qcow2 *q = r->q;
	int err;

	max = MIN(max, (in + p->len + q->cs - 1) >> q->cb);
	while (n < max && in_place(q, entry_at(p, n)) &&
	       (entry_at(p, n) & QE_OFFSET) == host + (n << q->cb))
		n++;
	err = check_host(q, host, n);
	if (err)
		return err;
	p->len = MIN(p->len, (n << q->cb) - in);
	if (p->len < r->req->len || r->req->op == BLOCK_ZERO)
		p->len = MIN(p->len, limit);
	p->host = host + in;
	p->io = qio_get(r, p->len);
	if (!p->io)
		return ERR_AGAIN;
	p->io->counted = true;
	p->io->epoch = qcow2_io_begin(q);
	return 0;
}

/* How many clusters from the first on are alike: to be written to new places, or to own ones that
 * read as zeros now. */
static uint64_t alloc_run(struct qcow2 *q, const struct wplan *p, bool reuse)
{
	uint64_t in = p->off & (q->cs - 1), n = 1, max, e;
	uint64_t host = entry_at(p, 0) & QE_OFFSET;

	max = MIN((uint64_t)(1u << q->slice_bits) - p->index, (uint64_t)MAX_RUN);
	max = MIN(max, (in + p->len + q->cs - 1) >> q->cb);
	for (; n < max; n++) {
		e = entry_at(p, n);
		if (in_place(q, e) || reusable(q, e) != reuse)
			break;
		if (reuse && (e & QE_OFFSET) != host + (n << q->cb))
			break;
	}
	return n;
}

/* What surrounds the data in its first and last cluster, and whether that must be written. */
static void plan_fill(struct qcow2 *q, struct wplan *p, struct qalloc *a, bool virgin)
{
	uint64_t in = p->off & (q->cs - 1), last = a->n - 1;

	p->len = MIN(p->len, (a->n << q->cb) - in);
	a->offset = p->off;
	a->len = p->len;
	a->head = (uint32_t)in;
	a->tail = (uint32_t)((a->n << q->cb) - in - p->len);
	p->read_head = a->head && has_content(q, entry_at(p, 0), p->off - in);
	p->read_tail = a->tail && has_content(q, entry_at(p, last), p->off - in + (last << q->cb));
	if (virgin && !p->read_head && !p->read_tail)
		a->head = a->tail = 0; /* zeros are there */
	if ((a->head || a->tail) && !a->fill)
		a->fill = q->free_fills[--q->n_free_fills];
}

static int plan_alloc(struct qreq *r, struct wplan *p, uint64_t limit, struct qctx *ctx)
{
	struct qcow2 *q = r->q;
	struct qalloc *a = q->free_allocs;
	bool reuse = reusable(q, entry_at(p, 0)), virgin = false;
	uint64_t n, end = p->off + MIN(p->len, limit);
	int err;

	if (end < p->off + p->len && ALIGN_DOWN(end, q->cs) > p->off)
		end = ALIGN_DOWN(end, q->cs); /* whole clusters need no fill */
	p->len = end - p->off;
	if (!a || !q->n_free_fills) {
		qwait_on(&q->pool_wait, &r->w);
		return ERR_AGAIN;
	}
	n = alloc_run(q, p, reuse);
	err = frees_room(q, (uint32_t)n + 1, &r->w, ctx);
	if (err)
		return err;
	a->host = entry_at(p, 0) & QE_OFFSET;
	if (reuse)
		err = check_host(q, a->host, n);
	else
		err = qcow2_alloc(q, n, &r->w, ctx, &a->host, &n, &virgin);
	if (err)
		return err;
	q->free_allocs = a->next;
	a->r = r;
	a->first = p->off >> q->cb;
	a->n = n;
	a->l2 = p->l2;
	a->l2_index = p->index;
	a->l2->pins++;
	a->reuse = reuse;
	a->fill = NULL;
	plan_fill(q, p, a, virgin);
	q->frees_reserved += (uint32_t)n + 1;
	a->next = q->allocs;
	q->allocs = a;
	p->a = a;
	return 0;
}

/* With the lock held: decides what happens to the next bytes, at most p->len. */
static int plan_write(struct qreq *r, struct wplan *p, uint64_t limit, struct qctx *ctx)
{
	struct qcow2 *q = r->q;
	struct qalloc *a;
	int err;

	if (q->broken)
		return err_here(ERR_IO);
	if (!limit) /* segments of a few bytes each */
		return err_here(ERR_INVAL);
	a = busy(q, p->off, &p->len);
	if (a) {
		qwait_on(&a->waiters, &r->w);
		return ERR_AGAIN;
	}
	err = l2_for_write(q, p->off, &r->w, ctx, &p->l2, &p->index);
	if (err)
		return err;
	if (in_place(q, entry_at(p, 0)))
		return plan_in_place(r, p, limit);
	return plan_alloc(r, p, limit, ctx);
}

bool qcow2_step_write(struct qreq *r, uint64_t len)
{
	uint64_t limit = qreq_vec_span(r, QIO_VECS - 2);
	struct qcow2 *q = r->q;
	struct qctx ctx = {0};
	struct wplan p = {.off = r->req->offset + r->pos, .len = len};
	int err;

	plat_mutex_lock(&q->lock);
	err = plan_write(r, &p, limit, &ctx);
	qcow2_leave(q, &ctx, &r->w, err);
	if (err == ERR_AGAIN)
		return false;
	if (err)
		qreq_fail(r, err);
	else if (p.io)
		qio_submit(p.io, NULL, p.host, p.len);
	else
		alloc_start(p.a, p.read_head, p.read_tail);
	return true;
}

/* ---- zeroes and discards ------------------------------------------------------------------------- */

/* What a whole cluster's entry becomes; its own value where that is right. *write: zeros must be
 * written as data instead. */
static uint64_t zero_entry(const struct qcow2 *q, const struct block_req *req, uint64_t entry,
			   uint64_t off, bool *write)
{
	bool under = qcow2_over_backing(q, off), keep = req->op == BLOCK_ZERO && !req->unmap;
	enum qkind kind = qcow2_kind(q, entry);

	*write = false;
	if (q->h.version < 3) { /* there are no zero clusters */
		if (kind == QK_UNALLOCATED && !under)
			return entry;
		if (under || keep) {
			*write = req->op == BLOCK_ZERO;
			return entry;
		}
		return 0;
	}
	if (kind == QK_UNALLOCATED && !under)
		return entry;
	if (kind == QK_ZERO && (keep || !(entry & QE_OFFSET)))
		return entry;
	if (keep && in_place(q, entry))
		return entry | QE_ZERO;
	return under || keep ? QE_ZERO : 0;
}

/* Whole clusters, with the lock held. *done: bytes that need nothing more; 0: the first cluster has
 * zeros to be written. */
static int plan_zero(struct qreq *r, uint64_t off, uint64_t len, struct qctx *ctx, uint64_t *done)
{
	struct qcow2 *q = r->q;
	uint64_t n, i, l2_end = ((off >> (q->cb + q->l2_bits)) + 1) << (q->cb + q->l2_bits);
	struct wplan p = {.off = off};
	struct qalloc *a;
	bool write = false;
	int err;

	if (q->broken)
		return err_here(ERR_IO);
	a = busy(q, off, &len);
	if (a) {
		qwait_on(&a->waiters, &r->w);
		return ERR_AGAIN;
	}
	if (!(q->l1.e[off >> (q->cb + q->l2_bits)] & QE_OFFSET) && !qcow2_over_backing(q, off)) {
		*done = MIN(len, l2_end - off);
		return 0;
	}
	err = frees_room(q, MAX_RUN + 1, &r->w, ctx);
	if (!err)
		err = l2_for_write(q, off, &r->w, ctx, &p.l2, &p.index);
	if (err)
		return err;
	n = MIN((uint64_t)(1u << q->slice_bits) - p.index, (uint64_t)MAX_RUN);
	n = MIN(n, (len + q->cs - 1) >> q->cb);
	for (i = 0; i < n; i++) {
		uint64_t old = entry_at(&p, i);
		uint64_t new = zero_entry(q, r->req, old, off + (i << q->cb), &write);

		if (write)
			break;
		if (new == old)
			continue;
		be64_put(p.l2->data + (p.index + i) * 8, new);
		qcache_dirty(q, p.l2, ctx);
		if (!(new &QE_OFFSET))
			unref_entry(q, old, ctx);
	}
	*done = MIN(len, i << q->cb);
	return 0;
}

/* Part of a cluster. Discards leave it; zeroes are written, unless they are there. */
static bool step_part(struct qreq *r, uint64_t off, uint64_t len)
{
	struct qcow2 *q = r->q;
	struct qctx ctx = {0};
	struct qalloc *a;
	struct qmap m;
	int err;

	if (r->req->op == BLOCK_DISCARD) {
		r->pos += len;
		return true;
	}
	plat_mutex_lock(&q->lock);
	a = busy(q, off, &len);
	if (a) {
		qwait_on(&a->waiters, &r->w);
		err = ERR_AGAIN;
	} else {
		err = qcow2_map(q, off, len, &r->w, &ctx, &m);
	}
	qcow2_leave(q, &ctx, &r->w, err);
	if (err == ERR_AGAIN)
		return false;
	if (err)
		qreq_fail(r, err);
	else if (has_content(q, m.entry, off))
		return qcow2_step_write(r, len);
	else
		r->pos += len;
	return true;
}

bool qcow2_step_zero(struct qreq *r)
{
	uint64_t off = r->req->offset + r->pos, left = r->req->len - r->pos, done = 0;
	struct qcow2 *q = r->q;
	uint64_t in = off & (q->cs - 1);
	struct qctx ctx = {0};
	int err;

	if (in || (left < q->cs && off + left != q->b.size))
		return step_part(r, off, MIN(left, q->cs - in));
	if (off + left != q->b.size)
		left = ALIGN_DOWN(left, q->cs);
	plat_mutex_lock(&q->lock);
	err = plan_zero(r, off, left, &ctx, &done);
	qcow2_leave(q, &ctx, &r->w, err);
	if (err == ERR_AGAIN)
		return false;
	if (err)
		qreq_fail(r, err);
	else if (!done)
		return qcow2_step_write(r, MIN(left, q->cs));
	r->pos += done;
	return true;
}
