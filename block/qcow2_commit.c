/* SPDX-License-Identifier: ISC */
/* qcow2_commit.c: the one procedure that writes metadata, in the order that qcow2.h explains. One
 * commit runs at a time, as a state machine on the run list: each stage starts its I/O and the end
 * of the last of it starts the next stage. A stage with nothing to write is passed over, and so is
 * the barrier before it. */

#include "base/str.h"
#include "block/qcow2.h"

#define N_TABLE_IO ARRAY_SIZE(((struct qcommit *)0)->table_io)

static void commit_run(struct qwait *w);
static void io_done(struct block_req *req, int err);

void qcow2_commit_init(struct qcow2 *q)
{
	struct qcommit *c = &q->commit;

	c->q = q;
	c->w.run = commit_run;
	c->next_tail = &c->next_flushes;
	qwaitq_init(&c->end_waiters);
}

bool qcow2_is_dirty(const struct qcow2 *q)
{
	return q->l2c.n_dirty || q->rbc.n_dirty || q->l1.n_dirty || q->rt.n_dirty ||
	       q->frees[q->frees_cur].n;
}

/* ---- I/O --------------------------------------------------------------------------------------- */

static int do_now(struct bfile *f, const struct block_req *req)
{
	switch (req->op) {
	case BLOCK_FLUSH:
		return bfile_sync(f);
	case BLOCK_WRITE:
		return bfile_pwrite(f, req->offset, req->vec->base, req->vec->len);
	default: /* a hole to punch, which is not worth it now */
		return 0;
	}
}

static void submit(struct qcow2 *q, struct block_req *req)
{
	atomic_fetch_add(&q->commit.pending, 1);
	if (q->sync_mode)
		req->done(req, do_now(q->f, req));
	else
		bfile_submit(q->f, req);
}

/* True: the stage's I/O has all ended already. Else commit_run() will be called. */
static bool ended(struct qcommit *c)
{
	return atomic_fetch_sub(&c->pending, 1) == 1;
}

static void finish_io(struct qcow2 *q, int err)
{
	struct qcommit *c = &q->commit;

	if (err)
		atomic_store(&c->err, err);
	if (!ended(c))
		return;
	plat_mutex_lock(&q->lock);
	qcow2_wake_one(q, &c->w, 0);
	qcow2_unlock(q);
}

static void io_done(struct block_req *req, int err)
{
	finish_io(req->ctx, err);
}

static void slot_done(struct block_req *req, int err)
{
	finish_io(container_of(req, struct qslot, io)->q, err);
}

static bool start_sync(struct qcow2 *q)
{
	struct qcommit *c = &q->commit;

	c->io = (struct block_req){.op = BLOCK_FLUSH, .done = io_done, .ctx = q};
	atomic_store(&c->pending, 1);
	submit(q, &c->io);
	return ended(c);
}

/* The slots that are being written do not change hands before qcache_written(). */
static bool start_cache(struct qcow2 *q, struct qcache *cache)
{
	uint32_t i;

	atomic_store(&q->commit.pending, 1);
	for (i = 0; i < cache->n; i++) {
		struct qslot *s = &cache->slots[i];

		if (!s->writing)
			continue;
		s->vec = (struct block_vec){s->image, cache->slice_size};
		s->io = (struct block_req){
			.op = BLOCK_WRITE,
			.offset = s->off,
			.len = cache->slice_size,
			.vec = &s->vec,
			.n_vec = 1,
			.done = slot_done,
		};
		submit(q, &s->io);
	}
	return ended(&q->commit);
}

/* Some sectors of a table at a time; c->cursor says how far. */
static bool start_table(struct qcow2 *q, struct qtable *t)
{
	struct qcommit *c = &q->commit;
	unsigned n = 0;

	atomic_store(&c->pending, 1);
	for (; c->cursor < t->n_sectors && n < N_TABLE_IO; c->cursor++) {
		size_t at = (size_t)c->cursor * 512, len = MIN((size_t)512, (size_t)t->n * 8 - at);

		if (!t->writing[c->cursor])
			continue;
		c->table_vec[n] = (struct block_vec){t->image + at, len};
		c->table_io[n] = (struct block_req){
			.op = BLOCK_WRITE,
			.offset = t->off + at,
			.len = len,
			.vec = &c->table_vec[n],
			.n_vec = 1,
			.done = io_done,
			.ctx = q,
		};
		submit(q, &c->table_io[n]);
		n++;
	}
	return ended(c);
}

/* ---- freeing ----------------------------------------------------------------------------------- */

/* The next clusters of the committed list whose counts are in one slice. False: none are left, or
 * (*wait) the slice is to be waited for. */
static bool next_free(struct qcow2 *q, struct qctx *ctx, bool *wait, struct qextent **ext,
		      struct qslot **slot, uint64_t *index)
{
	struct qcommit *c = &q->commit;
	struct qfrees *fr = &q->frees[!q->frees_cur];
	int err;

	*wait = false;
	while (c->cursor < fr->n) {
		struct qextent *e = &fr->e[c->cursor];

		if (e->done == e->n) {
			c->cursor++;
			continue;
		}
		err = qcow2_rc_slot(q, e->cluster + e->done, &c->w, ctx, slot, index);
		if (err == ERR_AGAIN) {
			*wait = true;
			return false;
		}
		if (!err) {
			*ext = e;
			return true;
		}
		if (err == ERR_BUSY) { /* they are dirty: the rest after another commit */
			c->again = true;
			return false;
		}
		plat_log(LOG_WARN, "%s: clusters leak: %s", q->b.name, err_str(err));
		e->done = e->n;
	}
	return false;
}

/* How many of the clusters at e would be free with one reference less. */
static uint32_t free_run(const struct qcow2 *q, const struct qextent *e, const struct qslot *s,
			 uint64_t index)
{
	uint64_t per = ((uint64_t)q->rbc.slice_size * 8) >> q->h.refcount_order;
	uint32_t n = 0;

	while (n < e->n - e->done && index + n < per && qcow2_rc_get(q, s->data, index + n) == 1)
		n++;
	return n;
}

static void drop_refs(struct qcow2 *q, struct qextent *e, struct qslot *s, uint64_t index,
		      uint32_t n, struct qctx *ctx)
{
	uint32_t i;

	for (i = 0; i < n; i++) {
		uint64_t count = qcow2_rc_get(q, s->data, index + i);
		uint64_t cluster = e->cluster + e->done;

		e->done++;
		if (!count) {
			qcow2_damage(q, "cluster 0x%llx was used but not counted",
				     (unsigned long long)cluster);
			continue;
		}
		qcow2_rc_put(q, s->data, index + i, count - 1);
		if (count == 1)
			q->hint = MIN(q->hint, cluster);
	}
	qcache_dirty(q, s, ctx);
}

/* What was to be freed waits for the next commit. */
static void give_back(struct qcow2 *q)
{
	struct qfrees *cur = &q->frees[q->frees_cur], *old = &q->frees[!q->frees_cur];
	uint32_t n = MIN(old->n, QFREES_MAX - cur->n);

	memcpy(cur->e + cur->n, old->e, n * sizeof(*old->e));
	cur->n += n;
	old->n = 0;
}

/* True: goes on at once, in whatever stage is set now. Entered and left with the lock held. */
static bool free_some(struct qcow2 *q, struct qctx *ctx)
{
	struct qcommit *c = &q->commit;
	struct qextent *e;
	struct qslot *s;
	uint64_t index;
	bool wait;
	uint32_t run;

	while (next_free(q, ctx, &wait, &e, &s, &index)) {
		run = free_run(q, e, s, index);
		if (c->stage == QC_FREE && q->discard && run) {
			c->run = run;
			c->stage = QC_FREE_PUNCHED;
			c->io = (struct block_req){
				.op = BLOCK_DISCARD,
				.offset = (e->cluster + e->done) << q->cb,
				.len = (uint64_t)run << q->cb,
				.done = io_done,
				.ctx = q,
			};
			return true;
		}
		if (c->stage == QC_FREE_PUNCHED)
			run = MIN(run, c->run);
		drop_refs(q, e, s, index, run ? run : 1, ctx);
		c->stage = QC_FREE;
	}
	if (wait)
		return false;
	if (c->again)
		give_back(q);
	q->frees[!q->frees_cur].n = 0;
	qcow2_wake(q, &q->frees_wait, 0);
	c->stage = QC_DONE;
	return true;
}

/* ---- stages ------------------------------------------------------------------------------------ */

/* With the lock held. */
void qcow2_commit_begin(struct qcow2 *q)
{
	struct qcommit *c = &q->commit;

	if (c->stage != QC_IDLE || (!c->next_flushes && !qcow2_is_dirty(q)))
		return;
	qcache_snapshot(&q->rbc);
	qtable_snapshot(&q->rt);
	qcache_snapshot(&q->l2c);
	qtable_snapshot(&q->l1);
	q->frees_cur = !q->frees_cur; /* the other list is empty between commits */
	c->flushes = c->next_flushes;
	c->next_flushes = NULL;
	c->next_tail = &c->next_flushes;
	c->need_sync = c->flushes || q->frees[!q->frees_cur].n;
	c->cursor = 0;
	c->again = false;
	atomic_store(&c->err, 0);
	c->stage = QC_REFBLOCKS;
	qcow2_wake_one(q, &c->w, 0);
}

/* What follows the writing, with the lock held: flushes end after it is released. */
static struct block_req *written(struct qcow2 *q)
{
	struct qcommit *c = &q->commit;
	struct block_req *flushes = c->flushes;
	bool ok;

	c->result = atomic_load(&c->err);
	ok = !c->result;
	qcache_written(q, &q->rbc, ok);
	qtable_written(&q->rt, ok);
	qcache_written(q, &q->l2c, ok);
	qtable_written(&q->l1, ok);
	qcow2_wake(q, &q->slot_wait, c->result);
	c->flushes = NULL;
	c->cursor = 0;
	if (!ok) { /* what was not written is dirty again */
		give_back(q);
		qcow2_wake(q, &q->frees_wait, c->result);
		c->stage = QC_DONE;
		return flushes;
	}
	c->stage = q->frees[!q->frees_cur].n ? QC_DRAIN : QC_DONE;
	return flushes;
}

static void end_flushes(struct block_req *list, int err)
{
	struct block_req *next;

	for (; list; list = next) {
		next = list->next;
		list->done(list, err);
	}
}

/* All I/O to clusters that was mapped until now must end before they are free. True: it has. */
static bool drain(struct qcow2 *q)
{
	struct qcommit *c = &q->commit;

	c->stage = QC_FREE;
	c->drain_epoch = q->epoch;
	q->epoch = !q->epoch;
	if (!q->in_flight[c->drain_epoch])
		return true;
	c->draining = true;
	return false;
}

/* Does the stage have something to do? */
static bool wanted(struct qcow2 *q, enum qcommit_stage stage)
{
	bool l2 = q->l2c.n_writing, l1 = q->l1.n_writing, rt = q->rt.n_writing;

	switch (stage) {
	case QC_REFBLOCKS:
		return q->rbc.n_writing;
	case QC_SYNC_REFBLOCKS:
	case QC_REFTABLE:
		return rt;
	case QC_SYNC_REFTABLE:
		return l2 || l1;
	case QC_L2:
		return l2;
	case QC_L1:
		return l1;
	default: /* QC_SYNC_TABLES */
		return q->commit.need_sync;
	}
}

/* True: all of it has ended already. */
static bool start(struct qcow2 *q, enum qcommit_stage stage)
{
	switch (stage) {
	case QC_REFBLOCKS:
		return start_cache(q, &q->rbc);
	case QC_L2:
		return start_cache(q, &q->l2c);
	case QC_REFTABLE:
		return start_table(q, &q->rt);
	case QC_L1:
		return start_table(q, &q->l1);
	default:
		return start_sync(q);
	}
}

/* One step of the writing stages. False: commit_run() will be called when it has ended. */
static bool write_step(struct qcow2 *q)
{
	struct qcommit *c = &q->commit;
	enum qcommit_stage stage = c->stage;
	struct qtable *t = stage == QC_REFTABLE ? &q->rt : stage == QC_L1 ? &q->l1 : NULL;

	if (atomic_load(&c->err)) {
		c->stage = QC_WRITTEN;
		return true;
	}
	if (!wanted(q, stage) || (t && c->cursor == t->n_sectors)) {
		c->cursor = 0;
		c->stage++;
		return true;
	}
	if (!t)
		c->stage++;
	return start(q, stage);
}

static void commit_run(struct qwait *w)
{
	struct qcommit *c = container_of(w, struct qcommit, w);
	struct qcow2 *q = c->q;
	struct block_req *flushes;
	struct qctx ctx;
	bool more;

	for (;;) {
		ctx = (struct qctx){.no_wait = true};
		if (c->stage < QC_WRITTEN) {
			if (!write_step(q))
				return;
			continue;
		}
		plat_mutex_lock(&q->lock);
		switch (atomic_load(&c->stage)) {
		case QC_WRITTEN:
			flushes = written(q);
			qcow2_unlock(q);
			end_flushes(flushes, c->result);
			continue;
		case QC_DRAIN:
			more = drain(q);
			qcow2_unlock(q);
			if (!more)
				return;
			continue;
		case QC_FREE:
		case QC_FREE_PUNCHED:
			if (w->err) { /* its slice could not be loaded: the clusters leak */
				q->frees[!q->frees_cur].e[c->cursor].done =
					q->frees[!q->frees_cur].e[c->cursor].n;
				w->err = 0;
			}
			more = free_some(q, &ctx);
			ctx.commit = false; /* this one is still running */
			qcow2_leave(q, &ctx, w, more ? 0 : ERR_AGAIN);
			if (!more)
				return;
			if (c->stage != QC_FREE_PUNCHED)
				continue;
			atomic_store(&c->pending, 1);
			submit(q, &c->io);
			if (!ended(c))
				return;
			continue;
		default: /* QC_DONE */
			c->stage = QC_IDLE;
			qcow2_wake(q, &c->end_waiters, 0);
			if (c->next_flushes || q->slot_wait.head || q->frees_wait.head || c->again)
				qcow2_commit_begin(q);
			qcow2_unlock(q);
			return;
		}
	}
}

/* Everything to the disk, by the caller's thread alone. */
int qcow2_commit_sync(struct qcow2 *q)
{
	plat_mutex_lock(&q->lock);
	BUG_ON(q->commit.stage != QC_IDLE);
	q->commit.result = 0;
	qcow2_commit_begin(q);
	qcow2_unlock(q);
	return q->commit.stage == QC_IDLE ? q->commit.result : err_here(ERR_IO);
}

/* A flush with nothing in memory goes straight to the file. */
void qcow2_submit_flush(struct qcow2 *q, struct block_req *req)
{
	struct qcommit *c = &q->commit;

	plat_mutex_lock(&q->lock);
	if (c->stage == QC_IDLE && !qcow2_is_dirty(q)) {
		plat_mutex_unlock(&q->lock);
		bfile_submit(q->f, req);
		return;
	}
	req->next = NULL;
	*c->next_tail = req;
	c->next_tail = &req->next;
	qcow2_commit_begin(q);
	qcow2_unlock(q);
}
