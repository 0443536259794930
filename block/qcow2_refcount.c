/* SPDX-License-Identifier: ISC */
/* qcow2_refcount.c: reference counts and what follows from them: free clusters. Counts are kept in
 * the cache; new refcount blocks and tables are written at once, so that whatever points to one
 * finds it complete on disk. All with the lock held. */

#include "base/str.h"
#include "block/qcow2.h"

#define REFTABLE_MAX (QCOW2_MAX_RT_BYTES / 8)

uint64_t qcow2_rc_get(const struct qcow2 *q, const uint8_t *slice, uint64_t i)
{
	unsigned order = q->h.refcount_order, bits = 1u << order;

	switch (order) {
	case 3:
		return slice[i];
	case 4:
		return be16_get(slice + i * 2);
	case 5:
		return be32_get(slice + i * 4);
	case 6:
		return be64_get(slice + i * 8);
	default: /* several in a byte, from its low end */
		return slice[i >> (3 - order)] >> ((i << order) & 7) & (BIT(bits) - 1);
	}
}

void qcow2_rc_put(const struct qcow2 *q, uint8_t *slice, uint64_t i, uint64_t v)
{
	unsigned order = q->h.refcount_order, bits = 1u << order, shift, mask;
	uint8_t *p;

	switch (order) {
	case 3:
		slice[i] = (uint8_t)v;
		return;
	case 4:
		be16_put(slice + i * 2, (uint16_t)v);
		return;
	case 5:
		be32_put(slice + i * 4, (uint32_t)v);
		return;
	case 6:
		be64_put(slice + i * 8, v);
		return;
	default:
		p = slice + (i >> (3 - order));
		shift = (unsigned)(i << order) & 7;
		mask = (BIT(bits) - 1) << shift;
		*p = (uint8_t)((*p & ~mask) | ((unsigned)v << shift & mask));
	}
}

static uint64_t slice_entries(const struct qcow2 *q)
{
	return ((uint64_t)q->rbc.slice_size * 8) >> q->h.refcount_order;
}

int qcow2_rc_slot(struct qcow2 *q, uint64_t cluster, struct qwait *w, struct qctx *ctx,
		  struct qslot **out, uint64_t *index)
{
	uint64_t rb = cluster >> q->rb_bits, in_block = cluster & (BIT64(q->rb_bits) - 1);
	uint64_t per = slice_entries(q), off;

	if (rb >= q->rt.n || !q->rt.e[rb])
		return ERR_NOENT;
	off = q->rt.e[rb];
	if (!qcow2_offset_ok(q, off)) {
		qcow2_damage(q, "refcount block at 0x%llx", (unsigned long long)off);
		return err_here(ERR_IO);
	}
	*index = in_block % per;
	return qcache_get(q, &q->rbc, off + in_block / per * q->rbc.slice_size, w, ctx, out);
}

/* ---- new blocks and tables ------------------------------------------------------------------- */

static void touched(struct qcow2 *q, uint64_t cluster, uint64_t n)
{
	q->virgin_from = MAX(q->virgin_from, cluster + n);
}

/* Writes a refcount block that counts the first n clusters of its range once. */
static int write_refblock(struct qcow2 *q, uint64_t off, uint64_t n)
{
	uint64_t per = BIT64(9 + 3) >> q->h.refcount_order, pos; /* counts in 512 bytes */
	uint8_t *buf;
	int err = bfile_zero(q->f, off, q->cs);

	if (err)
		return err;
	buf = plat_alloc(512);
	if (!buf)
		return err_here(ERR_NOMEM);
	for (pos = 0; n && !err && pos < q->cs; pos += 512) {
		uint64_t i;

		memset(buf, 0, 512);
		for (i = 0; i < MIN(n, per); i++)
			qcow2_rc_put(q, buf, i, 1);
		n -= i;
		err = bfile_pwrite(q->f, off + pos, buf, 512);
	}
	plat_free(buf);
	return err;
}

/* The block is the first cluster of its own range: that is free, as nothing there is counted. */
int qcow2_refblock_new(struct qcow2 *q, uint32_t rb)
{
	uint64_t cluster = (uint64_t)rb << q->rb_bits;
	int err;

	err = qcow2_meta_add(q, cluster, 1);
	if (err == ERR_EXIST) {
		qcow2_damage(q, "cluster 0x%llx is in use but not counted",
			     (unsigned long long)cluster);
		return err_here(ERR_IO);
	}
	if (err)
		return err;
	err = write_refblock(q, cluster << q->cb, 1);
	if (err) {
		qcow2_meta_del(q, cluster, 1);
		return err;
	}
	touched(q, cluster, 1);
	qcache_drop(&q->rbc, cluster << q->cb, q->cs);
	qtable_set(&q->rt, rb, cluster << q->cb);
	return 0;
}

/* How the new table and the blocks that count them lie, from the first uncounted cluster on. */
struct growth {
	uint64_t base, n_blocks, n_table;
	uint32_t entries;
};

static int plan_growth(const struct qcow2 *q, uint64_t cluster, struct growth *g)
{
	uint64_t per_block = BIT64(q->rb_bits), need, before;

	g->base = (uint64_t)q->rt.n << q->rb_bits;
	g->n_blocks = 1;
	need = MAX((cluster >> q->rb_bits) + 1, (uint64_t)q->rt.n + q->rt.n / 2);
	do { /* each block may need another, to be counted in: grows until it fits */
		before = g->n_blocks;
		need = MAX(need, q->rt.n + g->n_blocks);
		g->n_table = (need * 8 + q->cs - 1) >> q->cb;
		g->n_blocks = (g->n_table + g->n_blocks + per_block - 1) >> q->rb_bits;
		g->n_blocks = MAX(g->n_blocks, before);
	} while (g->n_blocks != before);
	if ((g->n_table << q->cb) / 8 > REFTABLE_MAX)
		return err_here(ERR_NOSPC);
	g->entries = (uint32_t)((g->n_table << q->cb) / 8);
	return 0;
}

static int write_growth(struct qcow2 *q, const struct growth *g, struct qtable *t)
{
	uint64_t per_block = BIT64(q->rb_bits), left = g->n_blocks + g->n_table, i;
	uint8_t be[12];
	int err;

	for (i = 0; i < g->n_blocks; i++) {
		uint64_t n = MIN(left, per_block);

		err = write_refblock(q, (g->base + i) << q->cb, n);
		if (err)
			return err;
		left -= n;
		t->e[q->rt.n + i] = (g->base + i) << q->cb;
	}
	for (i = 0; i < t->n; i++)
		be64_put(t->image + i * 8, t->e[i]);
	err = bfile_pwrite(q->f, t->off, t->image, (size_t)t->n * 8);
	if (!err)
		err = bfile_sync(q->f);
	if (err)
		return err;
	be64_put(be, t->off);
	be32_put(be + 8, (uint32_t)g->n_table);
	err = bfile_pwrite(q->f, QH_REFTABLE_OFF, be, sizeof(be));
	if (err)
		return err;
	/* Should this fail, the header may say either; from now on both tables must be right, and
	 * the old one is not kept up. Stop writing. */
	err = bfile_sync(q->f);
	if (err)
		q->broken = true;
	return err;
}

/* Waits for a running commit, which may be writing the old table. */
int qcow2_reftable_grow(struct qcow2 *q, uint64_t cluster, struct qwait *w)
{
	struct qctx ctx = {0};
	struct qtable t, old = q->rt;
	struct growth g = {0};
	int err;

	if (q->commit.stage != QC_IDLE) {
		qwait_on(&q->commit.end_waiters, w);
		return ERR_AGAIN;
	}
	err = plan_growth(q, cluster, &g);
	if (err)
		return err;
	err = qcow2_meta_add(q, g.base, g.n_blocks + g.n_table);
	if (err == ERR_EXIST) {
		qcow2_damage(q, "clusters at 0x%llx are in use but not counted",
			     (unsigned long long)g.base);
		return err_here(ERR_IO);
	}
	if (err)
		return err;
	err = qtable_init(&t, (g.base + g.n_blocks) << q->cb, g.entries);
	if (!err) {
		memcpy(t.e, q->rt.e, (size_t)q->rt.n * 8);
		err = write_growth(q, &g, &t);
		if (err)
			qtable_fini(&t);
	}
	if (err) {
		qcow2_meta_del(q, g.base, g.n_blocks + g.n_table);
		return err;
	}
	touched(q, g.base, g.n_blocks + g.n_table);
	qcache_drop(&q->rbc, g.base << q->cb, g.n_blocks << q->cb);
	qcow2_meta_del(q, old.off >> q->cb, q->h.reftable_clusters);
	q->rt = t;
	qcow2_unref(q, old.off >> q->cb, q->h.reftable_clusters, &ctx);
	q->h.reftable_clusters = (uint32_t)g.n_table;
	q->h.reftable_off = t.off;
	qtable_fini(&old);
	return 0;
}

/* ---- allocation -------------------------------------------------------------------------------- */

int qcow2_ensure_counted(struct qcow2 *q, uint64_t cluster, struct qwait *w)
{
	uint64_t rb = cluster >> q->rb_bits;

	if (rb >= q->rt.n)
		return qcow2_reftable_grow(q, cluster, w);
	if (!q->rt.e[rb])
		return qcow2_refblock_new(q, (uint32_t)rb);
	return 0;
}

static int take(struct qcow2 *q, struct qslot *s, uint64_t index, uint64_t want, uint64_t *got,
		struct qctx *ctx)
{
	uint64_t per = slice_entries(q), n = 0;

	if (qcow2_meta_has(q, q->hint, 1)) {
		qcow2_damage(q, "metadata at 0x%llx is not counted",
			     (unsigned long long)(q->hint << q->cb));
		return err_here(ERR_IO);
	}
	while (n < want && index + n < per && !qcow2_rc_get(q, s->data, index + n) &&
	       !qcow2_meta_has(q, q->hint + n, 1)) {
		qcow2_rc_put(q, s->data, index + n, 1);
		n++;
	}
	qcache_dirty(q, s, ctx);
	*got = n;
	return 0;
}

int qcow2_alloc(struct qcow2 *q, uint64_t want, struct qwait *w, struct qctx *ctx, uint64_t *host,
		uint64_t *got, bool *virgin)
{
	uint64_t per = slice_entries(q), index;
	struct qslot *s;
	int err;

	if (q->broken)
		return err_here(ERR_IO);
	for (;;) {
		if (q->hint >= BIT64(55 - q->cb))
			return err_here(ERR_NOSPC);
		err = qcow2_ensure_counted(q, q->hint, w);
		if (!err)
			err = qcow2_rc_slot(q, q->hint, w, ctx, &s, &index);
		if (err)
			return err;
		while (index < per && qcow2_rc_get(q, s->data, index)) {
			index++;
			q->hint++;
		}
		if (index < per)
			break;
	}
	err = take(q, s, index, want, got, ctx);
	if (err)
		return err;
	*virgin = q->f->virgin_tail && q->hint >= q->virgin_from;
	*host = q->hint << q->cb;
	q->hint += *got;
	touched(q, q->hint - *got, *got);
	return 0;
}

static uint64_t tail(struct qcow2 *q)
{
	return MAX(q->virgin_from, (bfile_size(q->f) + q->cs - 1) >> q->cb);
}

/* All within the range of one block, which is there. */
static int tail_in_block(struct qcow2 *q, uint64_t base, uint64_t n)
{
	struct qctx ctx = {0};
	struct qslot *s;
	uint64_t c, index;
	int err = 0;

	for (c = base; !err && c < base + n; c++) {
		err = qcow2_rc_slot(q, c, NULL, &ctx, &s, &index);
		if (err)
			return err;
		qcow2_rc_put(q, s->data, index, 1);
		qcache_dirty(q, s, &ctx);
	}
	touched(q, base, n);
	return 0;
}

/* From the beginning of a range that has no block: blocks for all, then the clusters. */
static int tail_with_blocks(struct qcow2 *q, uint64_t base, uint64_t n, uint64_t n_blocks)
{
	uint64_t left = n_blocks + n, i, per = BIT64(q->rb_bits);
	int err = qcow2_meta_add(q, base, n_blocks);

	for (i = 0; !err && i < n_blocks; i++) {
		err = write_refblock(q, (base + i) << q->cb, MIN(left, per));
		left -= MIN(left, per);
	}
	for (i = 0; !err && i < n_blocks; i++)
		qtable_set(&q->rt, (uint32_t)((base >> q->rb_bits) + i), (base + i) << q->cb);
	touched(q, base, n_blocks + n);
	return err;
}

int qcow2_alloc_tail(struct qcow2 *q, uint64_t n, uint64_t *cluster)
{
	uint64_t per = BIT64(q->rb_bits), n_blocks = 1, base = tail(q), rb;
	int err;

	if ((base & (per - 1)) && (base & (per - 1)) + n <= per) {
		err = qcow2_ensure_counted(q, base, NULL);
		if (err || tail(q) != base) /* a new table has taken the place */
			return err ? err : qcow2_alloc_tail(q, n, cluster);
		*cluster = base;
		return tail_in_block(q, base, n);
	}
	while (n_blocks * per < n_blocks + n)
		n_blocks++;
	base = ALIGN_UP(base, per);
	for (rb = base >> q->rb_bits; rb < MIN((base >> q->rb_bits) + n_blocks, q->rt.n); rb++)
		if (q->rt.e[rb]) { /* counts clusters behind the end */
			base = (rb + 1) << q->rb_bits;
			rb = (base >> q->rb_bits) - 1;
		}
	if ((base >> q->rb_bits) + n_blocks > q->rt.n) {
		err = qcow2_reftable_grow(q, base + n_blocks * per, NULL);
		return err ? err : qcow2_alloc_tail(q, n, cluster);
	}
	*cluster = base + n_blocks;
	return tail_with_blocks(q, base, n, n_blocks);
}

/* ---- release ----------------------------------------------------------------------------------- */

bool qcow2_frees_room(const struct qcow2 *q, uint32_t n)
{
	return q->frees[0].n + q->frees[1].n + q->frees_reserved + n <= QFREES_MAX - QFREES_SLACK;
}

void qcow2_unref(struct qcow2 *q, uint64_t cluster, uint32_t n, struct qctx *ctx)
{
	struct qfrees *fr = &q->frees[q->frees_cur];
	struct qextent *last = fr->n ? &fr->e[fr->n - 1] : NULL;

	if (last && last->cluster + last->n == cluster && last->n < UINT32_MAX - n) {
		last->n += n;
	} else if (fr->n < QFREES_MAX) {
		fr->e[fr->n++] = (struct qextent){.cluster = cluster, .n = n};
	} else {
		return; /* leaks; cannot be, by reservation */
	}
	if (fr->n > QFREES_MAX / 2)
		ctx->commit = true;
}
