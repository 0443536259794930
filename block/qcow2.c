/* SPDX-License-Identifier: ISC */
/* qcow2.c: opening and closing an image. Nothing is written to a file before all of what opening
 * looks at has proved sound. */

#include "base/str.h"
#include "block/qcow2.h"

#define L2_CACHE_BYTES ((size_t)MIB)
#define RB_CACHE_BYTES ((size_t)(256 * KIB))
#define MAX_SLICE      UINT64_C(4096)

static void qcow2_close(struct block *b);

static const struct block_ops qcow2_ops = {
	.name = "qcow2",
	.submit = qcow2_submit,
	.close = qcow2_close,
	.snapshot = qcow2_snapshot,
};

static void destroy(struct qcow2 *q)
{
	qcow2_io_fini(q);
	qzip_fini(q);
	qcache_fini(&q->l2c);
	qcache_fini(&q->rbc);
	qtable_fini(&q->l1);
	qtable_fini(&q->rt);
	if (q->meta)
		plat_pages_free(q->meta, (size_t)ALIGN_UP(q->meta_cap * 8, PAGE_SIZE));
	plat_free(q);
}

static void set_geometry(struct qcow2 *q)
{
	uint32_t slice;

	q->cb = q->h.cluster_bits;
	q->cs = BIT64(q->cb);
	q->l2_bits = q->cb - 3;
	q->rb_bits = q->cb + 3 - q->h.refcount_order;
	slice = (uint32_t)MIN(q->cs, MAX_SLICE);
	q->slice_bits = (unsigned)__builtin_ctz(slice) - 3;
	q->b.size = ALIGN_UP(q->h.size, (uint64_t)BLOCK_SECTOR);
}

static int init_memory(struct qcow2 *q, const struct qcow2_opts *o)
{
	size_t l2_bytes = o->l2_cache ? o->l2_cache : L2_CACHE_BYTES;
	size_t rb_bytes = o->refcount_cache ? o->refcount_cache : RB_CACHE_BYTES;
	uint32_t slice = 8u << q->slice_bits;
	int err;

	err = qtable_init(&q->l1, q->h.l1_off, q->h.l1_size);
	if (!err)
		err = qtable_init(&q->rt, q->h.reftable_off,
				  (uint32_t)(((uint64_t)q->h.reftable_clusters << q->cb) / 8));
	if (!err)
		err = qcache_init(q, &q->l2c, MAX(l2_bytes, (size_t)slice * 4), slice);
	if (!err)
		err = qcache_init(q, &q->rbc, MAX(rb_bytes, (size_t)slice * 4), slice);
	if (!err)
		err = qzip_init(q);
	if (!err)
		err = qcow2_io_init(q);
	return err;
}

static int read_tables(struct qcow2 *q, char *err, size_t err_size)
{
	int e = qtable_load(q, &q->l1);

	if (!e)
		e = qtable_load(q, &q->rt);
	if (e)
		str_format(err, err_size, "the tables cannot be read: %s", err_str(e));
	return e;
}

static int put_be64(struct qcow2 *q, uint64_t off, uint64_t v)
{
	uint8_t be[8];

	be64_put(be, v);
	return bfile_pwrite(q->f, off, be, sizeof(be));
}

int qcow2_mark_sound(struct block *b)
{
	struct qcow2 *q = container_of(b, struct qcow2, b);
	uint64_t sound = q->h.incompat & ~(QI_DIRTY | QI_CORRUPT);
	int err;

	if (sound == q->h.incompat)
		return 0;
	err = bfile_sync(q->f); /* what makes it so is on the disk first */
	if (!err)
		err = put_be64(q, QH_INCOMPAT, sound);
	if (!err)
		err = bfile_sync(q->f);
	if (!err)
		q->h.incompat = sound;
	return err;
}

/* What was written last did not keep up the counts: do it now. */
static int repair(struct qcow2 *q, char *err, size_t err_size)
{
	struct block_check found;
	int e;

	plat_log(LOG_INFO, "%s: was not closed; putting its reference counts right", q->b.name);
	e = qcow2_check(&q->b, true, &found);
	if (!e && found.corruptions > found.fixed)
		e = err_here(ERR_FORMAT);
	if (!e)
		e = qcow2_mark_sound(&q->b);
	if (e)
		str_format(err, err_size, "its reference counts could not be put right: %s",
			   err_str(e));
	return e;
}

/* Makes an image ready to be written to. */
static int open_write(struct qcow2 *q, const struct qcow2_opts *o, char *err, size_t err_size)
{
	int e;

	if (!o->for_check && (q->h.incompat & QI_CORRUPT)) {
		str_format(err, err_size,
			   "the image is marked as damaged: repair it (qemu-img check -r all) "
			   "or open it read-only");
		return err_here(ERR_FORMAT);
	}
	e = qcow2_meta_build(q, err, err_size);
	if (e || o->for_check)
		return e;
	if (q->h.incompat & QI_DIRTY) {
		e = repair(q, err, err_size);
		if (e)
			return e;
	}
	if (!q->h.autoclear)
		return 0;
	/* What they promise does not hold once we write; bitmaps, for example, miss our writes. */
	e = put_be64(q, QH_AUTOCLEAR, 0);
	if (e)
		str_format(err, err_size, "the header cannot be written: %s", err_str(e));
	q->h.autoclear = 0;
	return e;
}

static void init_lists(struct qcow2 *q)
{
	plat_mutex_init(&q->lock, RANK_BACKEND);
	qwaitq_init(&q->slot_wait);
	qwaitq_init(&q->pool_wait);
	qwaitq_init(&q->frees_wait);
	qwaitq_init(&q->run_list);
	qcow2_commit_init(q);
}

int qcow2_open(struct bfile *f, const struct qcow2_opts *o, struct block **out, char *err,
	       size_t err_size)
{
	struct qcow2 *q = plat_alloc(sizeof(*q));
	int e;

	if (!q) {
		str_format(err, err_size, "out of memory");
		return err_here(ERR_NOMEM);
	}
	q->b.ops = &qcow2_ops;
	q->b.read_only = o->read_only;
	str_copy(q->b.name, sizeof(q->b.name), f->name);
	q->f = f;
	q->backing = o->backing;
	q->unzip = o->unzip;
	q->discard = o->discard;
	init_lists(q);
	e = qcow2_read_header(f, &q->h, err, err_size);
	if (e)
		goto out;
	set_geometry(q);
	e = init_memory(q, o);
	if (e) {
		str_format(err, err_size, "out of memory");
		goto out;
	}
	q->virgin_from = (bfile_size(f) + q->cs - 1) >> q->cb;
	e = read_tables(q, err, err_size);
	if (!e && !o->read_only)
		e = open_write(q, o, err, err_size);
	if (e)
		goto out;
	q->take_backing = o->take_backing;
	*out = &q->b;
	return 0;
out:
	destroy(q);
	return e;
}

/* Threads that end the last requests may still be on their way out, and a commit that no request
 * waits for may be running. */
void qcow2_wait_idle(struct qcow2 *q)
{
	plat_mutex_lock(&q->lock);
	while (q->running || q->commit.stage != QC_IDLE) {
		plat_mutex_unlock(&q->lock);
		bfile_poll(q->f);
		plat_yield();
		plat_mutex_lock(&q->lock);
	}
	plat_mutex_unlock(&q->lock);
}

int qcow2_settle(struct qcow2 *q)
{
	int err;

	qcow2_wait_idle(q);
	q->sync_mode = true;
	do /* the counts that fall are written by a second one */
		err = qcow2_commit_sync(q);
	while (!err && qcow2_is_dirty(q));
	if (!err)
		err = bfile_sync(q->f);
	q->sync_mode = false;
	return err;
}

static void qcow2_close(struct block *b)
{
	struct qcow2 *q = container_of(b, struct qcow2, b);
	int err = 0;

	if (b->read_only)
		qcow2_wait_idle(q);
	else {
		err = qcow2_settle(q);
		if (err)
			plat_log(LOG_ERROR, "%s: not all could be written at the end: %s", b->name,
				 err_str(err));
	}
	q->f->ops->close(q->f);
	if (q->take_backing)
		block_close(q->backing);
	destroy(q);
}
