/* SPDX-License-Identifier: ISC */
/* qcow2_cache.c: slices of L2 tables and of refcount blocks in memory. Dirty slices stay until the
 * commit has written them; a slot is taken anew only when it is clean and nobody holds it. */

#include "base/str.h"
#include "block/qcow2.h"

static void load_done(struct block_req *req, int err);

int qcache_init(struct qcow2 *q, struct qcache *c, size_t bytes, uint32_t slice)
{
	uint32_t i;

	c->slice_size = slice;
	c->n = (uint32_t)(bytes / slice);
	c->slots = plat_alloc(c->n * sizeof(*c->slots));
	c->heads = plat_alloc(c->n * sizeof(*c->heads));
	c->mem_size = ALIGN_UP((size_t)c->n * slice * 2, PAGE_SIZE);
	c->mem = plat_pages_alloc(c->mem_size);
	if (!c->slots || !c->heads || !c->mem)
		return err_here(ERR_NOMEM);
	for (i = 0; i < c->n; i++) {
		struct qslot *s = &c->slots[i];

		s->q = q;
		s->cache = c;
		s->data = c->mem + (size_t)i * slice;
		s->image = s->data + (size_t)c->n * slice;
		qwaitq_init(&s->waiters);
	}
	return 0;
}

void qcache_fini(struct qcache *c)
{
	plat_free(c->slots);
	plat_free(c->heads);
	if (c->mem)
		plat_pages_free(c->mem, c->mem_size);
	memset(c, 0, sizeof(*c));
}

static uint32_t *hash_head(struct qcache *c, uint64_t off)
{
	uint64_t h = (off / c->slice_size) * UINT64_C(0x9e3779b97f4a7c15);

	return &c->heads[(h >> 32) % c->n];
}

static struct qslot *lookup(struct qcache *c, uint64_t off)
{
	uint32_t i = *hash_head(c, off);

	while (i && c->slots[i - 1].off != off)
		i = c->slots[i - 1].hash_next;
	return i ? &c->slots[i - 1] : NULL;
}

static void insert(struct qcache *c, struct qslot *s, uint64_t off)
{
	uint32_t *head = hash_head(c, off);

	s->off = off;
	s->hash_next = *head;
	*head = (uint32_t)(s - c->slots) + 1;
}

static void empty(struct qcache *c, struct qslot *s)
{
	uint32_t *link = hash_head(c, s->off), me = (uint32_t)(s - c->slots) + 1;

	while (*link != me)
		link = &c->slots[*link - 1].hash_next;
	*link = s->hash_next;
	s->off = 0;
	s->state = QSLOT_EMPTY;
	s->used = 0;
}

static struct qslot *victim(struct qcache *c)
{
	struct qslot *best = NULL;
	uint32_t i;

	for (i = 0; i < c->n; i++) {
		struct qslot *s = &c->slots[i];

		if (s->state == QSLOT_LOADING || s->dirty || s->writing || s->pins)
			continue;
		if (s->state == QSLOT_EMPTY)
			return s;
		if (!best || s->used < best->used)
			best = s;
	}
	return best;
}

static int load_now(struct qcow2 *q, struct qcache *c, struct qslot *s, uint64_t off)
{
	int err = bfile_pread(q->f, off, s->data, c->slice_size);

	if (err)
		return err;
	insert(c, s, off);
	s->state = QSLOT_VALID;
	return 0;
}

static unsigned kind_of(const struct qcow2 *q, const struct qcache *c)
{
	return c == &q->rbc ? QHOLD_COUNTS : QHOLD_L2;
}

static void release(struct qcow2 *q, struct qslot **hold)
{
	if (*hold)
		qcache_unpin(q, *hold);
	*hold = NULL;
}

void qcache_release(struct qcow2 *q, struct qwait *w)
{
	unsigned i;

	for (i = 0; i < QHOLDS; i++)
		release(q, &w->hold[i]);
}

int qcache_get(struct qcow2 *q, struct qcache *c, uint64_t off, struct qwait *w, struct qctx *ctx,
	       struct qslot **out)
{
	struct qslot *s = lookup(c, off);
	int err;

	if (s && s->state == QSLOT_VALID) {
		s->used = ++c->clock;
		*out = s;
		return 0;
	}
	if (w) /* one slice of a kind at a time */
		release(q, &w->hold[kind_of(q, c)]);
	if (s) {
		qwait_on(&s->waiters, w);
		ctx->for_slice = true;
		return ERR_AGAIN;
	}
	s = victim(c);
	if (!s && ctx->no_wait)
		return ERR_BUSY;
	if (!s && q->sync_mode) {
		plat_mutex_unlock(&q->lock);
		err = qcow2_commit_sync(q);
		plat_mutex_lock(&q->lock);
		if (err)
			return err;
		s = victim(c);
		BUG_ON(!s);
	}
	if (!s) { /* each will end: loads, pins, and dirt by a commit */
		ctx->commit = true;
		ctx->for_slice = true;
		qwait_on(&q->slot_wait, w);
		return ERR_AGAIN;
	}
	if (s->state == QSLOT_VALID)
		empty(c, s);
	s->used = ++c->clock;
	if (q->sync_mode) {
		*out = s;
		return load_now(q, c, s, off);
	}
	insert(c, s, off);
	s->state = QSLOT_LOADING;
	s->epoch = qcow2_io_begin(q);
	s->vec = (struct block_vec){s->data, c->slice_size};
	s->io = (struct block_req){
		.op = BLOCK_READ,
		.offset = off,
		.len = c->slice_size,
		.vec = &s->vec,
		.n_vec = 1,
		.done = load_done,
	};
	qwait_on(&s->waiters, w);
	ctx->for_slice = true;
	ctx->load = s;
	return ERR_AGAIN;
}

void qcache_load(struct qslot *s)
{
	bfile_submit(s->q->f, &s->io);
}

static void load_done(struct block_req *req, int err)
{
	struct qslot *s = container_of(req, struct qslot, io);
	struct qcow2 *q = s->q;
	struct qwait *w;

	plat_mutex_lock(&q->lock);
	qcow2_io_end(q, s->epoch);
	if (err)
		empty(s->cache, s);
	else
		s->state = QSLOT_VALID;
	for (w = s->waiters.head; w && !err; w = w->next) {
		w->hold[kind_of(q, s->cache)] = s;
		s->pins++;
	}
	qcow2_wake(q, &s->waiters, err);
	qcow2_wake(q, &q->slot_wait, 0);
	qcow2_unlock(q);
}

void qcache_dirty(struct qcow2 *q, struct qslot *s, struct qctx *ctx)
{
	struct qcache *c = s->cache;

	if (!s->dirty) {
		s->dirty = true;
		c->n_dirty++;
	}
	if (c->n_dirty > c->n * 3 / 4)
		ctx->commit = true;
}

void qcache_unpin(struct qcow2 *q, struct qslot *s)
{
	if (!--s->pins)
		qcow2_wake(q, &q->slot_wait, 0);
}

/* The range now holds something else. None of it is dirty or loading: it was free. Somebody who was
 * woken for one of the slices may still hold it, but will look for another. */
void qcache_drop(struct qcache *c, uint64_t off, uint64_t len)
{
	uint64_t o;

	for (o = off; o < off + len; o += c->slice_size) {
		struct qslot *s = lookup(c, o);

		if (!s)
			continue;
		BUG_ON(s->state != QSLOT_VALID || s->writing);
		if (s->dirty) {
			s->dirty = false;
			c->n_dirty--;
		}
		empty(c, s);
	}
}

void qcache_clear(struct qcache *c)
{
	for (uint32_t i = 0; i < c->n; i++) {
		struct qslot *s = &c->slots[i];

		BUG_ON(s->dirty || s->writing || s->pins || s->state == QSLOT_LOADING);
		if (s->state == QSLOT_VALID)
			empty(c, s);
	}
}

void qcache_snapshot(struct qcache *c)
{
	uint32_t i;

	for (i = 0; c->n_dirty && i < c->n; i++) {
		struct qslot *s = &c->slots[i];

		if (!s->dirty)
			continue;
		memcpy(s->image, s->data, c->slice_size);
		s->dirty = false;
		s->writing = true;
		c->n_dirty--;
		c->n_writing++;
	}
}

void qcache_written(struct qcow2 *q, struct qcache *c, bool ok)
{
	uint32_t i;

	for (i = 0; c->n_writing && i < c->n; i++) {
		struct qslot *s = &c->slots[i];

		if (!s->writing)
			continue;
		s->writing = false;
		c->n_writing--;
		if (!ok && !s->dirty) {
			s->dirty = true;
			c->n_dirty++;
		}
	}
}
