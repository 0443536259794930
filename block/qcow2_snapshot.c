/* SPDX-License-Identifier: ISC */
/* qcow2_snapshot.c: snapshots within an image: taken, gone back to, deleted.
 *
 * All three are one thing: another set of tables for the same data. The new tables are written where
 * nothing is, behind all that the present ones count, and one write of the header, within a
 * sector, makes them the image's:
 *
 *	save	snapshot: the old L1 table		active: a copy of it
 *	revert	snapshot: stays				active: a copy of its L1 table
 *	delete	gone					active: as before
 *
 * and always: L2 tables of the active state are copied where a "copied" flag of theirs changes;
 * all reference counts are counted anew and written as new blocks under a new refcount table. What
 * only the old tables used is free by not being counted. So a crash at any point leaves the image as
 * it was or as it is to be, each without leaks. Cost: reading all L2 tables, writing 1/32768 of
 * the file with clusters of 64 KiB and counts of 16 bits.
 *
 * Synchronous; nobody else uses the image meanwhile. */

#include "base/str.h"
#include "block/qcow2_count.h"

#define TABLE_MAX  ((size_t)(16 * MIB)) /* of snapshots; as QEMU has it */
#define EXTRA_LEN  16u                  /* size of VM state (none), size of the disk */
#define HEADER_AT  ((unsigned)QH_SIZE)  /* the part that changes */
#define HEADER_LEN ((unsigned)QH_V2_LEN - HEADER_AT)

#define FAIL(e, ...) (str_format(err, err_size, __VA_ARGS__), err_here(e))

/* The snapshot table as bytes. */
struct snaps {
	uint8_t *bytes;
	size_t len;
	uint32_t n;
	/* the one that is looked for; at == len: is not there */
	size_t at, entry_len;
	uint64_t l1_off, size;
	uint32_t l1_n;
};

struct plan {
	struct qcow2 *q;
	struct check c;
	struct block_check found;
	struct snaps s;
	uint64_t *l1, size; /* active: entries, host order; the disk's */
	uint32_t l1_n;
	uint64_t base, next; /* new clusters */
	uint64_t l1_off, snaps_off, rt_off, n_rt;
};

/* ---- the table ----------------------------------------------------------------------------------- */

static bool names(const uint8_t *e, const char *name)
{
	uint32_t extra = be32_get(e + QS_EXTRA_LEN), id = be16_get(e + QS_ID_LEN);
	size_t len = be16_get(e + QS_NAME_LEN);

	return len == str_len(name) && !memcmp(e + QS_LEN + extra + id, name, len);
}

/* The number that another snapshot of the same name would not have. */
static uint32_t free_id(const struct snaps *s)
{
	uint32_t most = 0;

	for (size_t at = 0; at < s->len;) {
		const uint8_t *e = s->bytes + at;
		uint32_t extra = be32_get(e + QS_EXTRA_LEN), id = be16_get(e + QS_ID_LEN), v = 0;

		for (uint32_t i = 0; i < id && i < 9; i++) {
			uint8_t ch = e[QS_LEN + extra + i];

			v = ch >= '0' && ch <= '9' ? v * 10 + (ch - '0') : 0;
		}
		most = MAX(most, v);
		at += ALIGN_UP((size_t)QS_LEN + extra + id + be16_get(e + QS_NAME_LEN), 8);
	}
	return most + 1;
}

static void found(struct snaps *s, const uint8_t *e, size_t len, uint64_t disk)
{
	s->at = (size_t)(e - s->bytes);
	s->entry_len = len;
	s->l1_off = be64_get(e + QS_L1_OFF);
	s->l1_n = be32_get(e + QS_L1_SIZE);
	s->size = be32_get(e + QS_EXTRA_LEN) >= EXTRA_LEN ? be64_get(e + QS_LEN + 8) : disk;
}

/* Reads the table, with room for one entry more, and looks for name in it. */
static int read_snaps(struct qcow2 *q, const char *name, struct snaps *s)
{
	uint64_t left = bfile_size(q->f) - MIN(bfile_size(q->f), q->h.snapshots_off);
	size_t room = QS_LEN + EXTRA_LEN + 16 + 256, max;
	int err;

	max = q->h.n_snapshots ? (size_t)MIN(left, (uint64_t)TABLE_MAX) : 0;
	s->bytes = plat_alloc(max + QS_LEN + room);
	if (!s->bytes)
		return err_here(ERR_NOMEM);
	err = max ? bfile_pread(q->f, q->h.snapshots_off, s->bytes, max) : 0;
	if (err)
		return err;
	s->at = SIZE_MAX;
	for (uint32_t i = 0; i < q->h.n_snapshots; i++) {
		const uint8_t *e = s->bytes + s->len;
		uint64_t len;

		if (max - s->len < QS_LEN)
			return err_here(ERR_FORMAT);
		len = (uint64_t)QS_LEN + be32_get(e + QS_EXTRA_LEN) + be16_get(e + QS_ID_LEN) +
		      be16_get(e + QS_NAME_LEN);
		/* the last one's padding may be behind the end of the file */
		if (len > max - s->len)
			return err_here(ERR_FORMAT);
		if (s->at == SIZE_MAX && names(e, name))
			found(s, e, (size_t)ALIGN_UP(len, 8), q->h.size);
		s->len += (size_t)ALIGN_UP(len, 8);
		if (s->len > max && i + 1 < q->h.n_snapshots)
			return err_here(ERR_FORMAT);
	}
	s->n = q->h.n_snapshots;
	if (s->at == SIZE_MAX)
		s->at = s->len;
	return 0;
}

static void add_snap(struct plan *p, const struct block_snapshot *o)
{
	struct snaps *s = &p->s;
	uint8_t *e = s->bytes + s->len;
	size_t name = str_len(o->name), id;
	char number[16];

	str_format(number, sizeof(number), "%u", free_id(s));
	id = str_len(number);
	memset(e, 0, QS_LEN + EXTRA_LEN + ALIGN_UP(id + name, (size_t)8));
	be64_put(e + QS_L1_OFF, p->q->h.l1_off);
	be32_put(e + QS_L1_SIZE, p->q->h.l1_size);
	be16_put(e + QS_ID_LEN, (uint16_t)id);
	be16_put(e + QS_NAME_LEN, (uint16_t)name);
	be32_put(e + QS_SECONDS, (uint32_t)o->time);
	be32_put(e + QS_EXTRA_LEN, EXTRA_LEN);
	be64_put(e + QS_LEN + 8, p->q->h.size);
	memcpy(e + QS_LEN + EXTRA_LEN, number, id);
	memcpy(e + QS_LEN + EXTRA_LEN + id, o->name, name);
	s->len += ALIGN_UP(QS_LEN + EXTRA_LEN + id + name, (size_t)8);
	s->n++;
}

static void drop_snap(struct snaps *s)
{
	size_t end = s->at + s->entry_len;

	memmove(s->bytes + s->at, s->bytes + end, s->len - MIN(end, s->len));
	s->len -= s->entry_len;
	s->n--;
}

/* ---- what there is to be --------------------------------------------------------------------------- */

static int active_of_now(struct plan *p)
{
	p->size = p->q->h.size;
	p->l1_n = p->q->l1.n;
	p->l1 = plat_alloc((size_t)p->l1_n * 8 + 8);
	if (!p->l1)
		return err_here(ERR_NOMEM);
	memcpy(p->l1, p->q->l1.e, (size_t)p->l1_n * 8);
	return 0;
}

static int active_of_snapshot(struct plan *p)
{
	struct qcow2 *q = p->q;
	uint64_t per_l1 = q->cs << q->l2_bits;
	int err;

	p->size = p->s.size;
	if (p->size > (uint64_t)INT64_MAX - q->cs || (uint64_t)p->s.l1_n * 8 > QCOW2_MAX_L1_BYTES ||
	    (p->size + per_l1 - 1) / per_l1 > p->s.l1_n)
		return err_here(ERR_FORMAT);
	p->l1_n = p->s.l1_n;
	p->l1 = plat_alloc((size_t)p->l1_n * 8 + 8);
	if (!p->l1)
		return err_here(ERR_NOMEM);
	err = bfile_pread(q->f, p->s.l1_off, p->l1, (size_t)p->l1_n * 8);
	for (uint32_t i = 0; i < p->l1_n; i++)
		p->l1[i] = be64_get(&p->l1[i]);
	return err;
}

static int count(struct plan *p)
{
	struct qcow2 *q = p->q;
	uint64_t l1_bytes = 0;
	int err = 0;

	check_add(&p->c, "header", 0, q->cs);
	for (size_t at = 0; at < p->s.len && !err;) {
		const uint8_t *e = p->s.bytes + at;
		uint32_t n = be32_get(e + QS_L1_SIZE);

		l1_bytes += (uint64_t)n * 8;
		err = (uint64_t)n * 8 > QCOW2_MAX_L1_BYTES || l1_bytes > p->c.n << q->cb
			      ? err_here(ERR_FORMAT)
			      : check_add_l1(&p->c, be64_get(e + QS_L1_OFF), n);
		at += ALIGN_UP((size_t)QS_LEN + be32_get(e + QS_EXTRA_LEN) +
				       be16_get(e + QS_ID_LEN) + be16_get(e + QS_NAME_LEN),
			       8);
	}
	for (uint32_t i = 0; i < p->l1_n && !err; i++)
		if (p->l1[i] & QE_OFFSET)
			err = check_add_l2(&p->c, p->l1[i] & QE_OFFSET);
	if (!err)
		err = check_add_bitmaps(&p->c);
	return err;
}

/* ---- writing it ------------------------------------------------------------------------------------ */

static uint64_t clusters(const struct qcow2 *q, uint64_t bytes)
{
	return (bytes + q->cs - 1) >> q->cb;
}

/* Bytes at the next place; its last cluster ends in zeros. */
static int put(struct plan *p, const void *bytes, size_t len, uint64_t *off)
{
	struct qcow2 *q = p->q;
	uint64_t n = clusters(q, len);
	int err;

	*off = p->next << q->cb;
	p->next += n;
	err = len & (q->cs - 1) ? bfile_zero(q->f, *off, n << q->cb) : 0;
	return err ? err : bfile_pwrite(q->f, *off, bytes, len);
}

/* Makes the flags of the table in c->table what the counts say. True: some were not. */
static bool set_flags(struct plan *p)
{
	struct qcow2 *q = p->q;
	bool changed = false;

	for (uint64_t i = 0; i < BIT64(q->l2_bits); i++) {
		uint8_t *at = p->c.table + i * 8;
		uint64_t e = be64_get(at), off = e & QE_OFFSET;

		if (qcow2_kind(q, e) == QK_COMPRESSED || !off)
			continue;
		if ((p->c.count[off >> q->cb] == 1) == !!(e & QE_COPIED))
			continue;
		be64_put(at, e ^ QE_COPIED);
		changed = true;
	}
	return changed;
}

static int put_l2s(struct plan *p)
{
	struct qcow2 *q = p->q;
	int err = 0;

	for (uint32_t i = 0; i < p->l1_n && !err; i++) {
		uint64_t off = p->l1[i] & QE_OFFSET;

		if (!off)
			continue;
		err = bfile_pread(q->f, off, p->c.table, (size_t)q->cs);
		if (!err && set_flags(p)) {
			p->c.count[off >> q->cb]--;
			err = put(p, p->c.table, (size_t)q->cs, &off);
			p->l1[i] = off | QE_COPIED;
		} else {
			p->l1[i] = off | (p->c.count[off >> q->cb] == 1 ? QE_COPIED : 0);
		}
	}
	return err;
}

static int put_l1(struct plan *p)
{
	for (uint32_t i = 0; i < p->l1_n; i++)
		be64_put(&p->l1[i], p->l1[i]);
	return p->l1_n ? put(p, p->l1, (size_t)p->l1_n * 8, &p->l1_off) : 0;
}

/* Of the range of refcount block rb: does something in it count? */
static bool block_wanted(const struct plan *p, uint64_t rb, uint64_t total)
{
	uint64_t per = BIT64(p->q->rb_bits), from = rb * per, to = MIN(from + per, total);

	if (to > p->base)
		return true;
	for (uint64_t i = from; i < MIN(to, p->c.n); i++)
		if (p->c.count[i])
			return true;
	return false;
}

/* How many blocks and clusters of their table it takes to count all that and themselves. */
static int plan_counts(struct plan *p, uint64_t *n_blocks)
{
	struct qcow2 *q = p->q;
	uint64_t before, old = 0;

	for (uint64_t rb = 0; (rb + 1) << q->rb_bits <= p->base; rb++)
		old += block_wanted(p, rb, p->base);
	*n_blocks = p->n_rt = 1;
	do {
		uint64_t total = p->next + *n_blocks + p->n_rt;
		uint64_t ranges = (total + BIT64(q->rb_bits) - 1) >> q->rb_bits;

		before = *n_blocks + p->n_rt;
		*n_blocks = MAX(*n_blocks, old + ranges - (p->base >> q->rb_bits));
		p->n_rt = MAX(p->n_rt, clusters(q, ranges * 8));
	} while (*n_blocks + p->n_rt != before);
	return (p->n_rt << q->cb) > QCOW2_MAX_RT_BYTES ? err_here(ERR_NOSPC) : 0;
}

static uint64_t count_of(const struct plan *p, uint64_t cluster, uint64_t total)
{
	if (cluster < p->base)
		return cluster < p->c.n ? p->c.count[cluster] : 0;
	return cluster < total;
}

static int put_counts(struct plan *p)
{
	struct qcow2 *q = p->q;
	uint64_t per = BIT64(q->rb_bits), n_blocks, total, off;
	int err = plan_counts(p, &n_blocks);
	uint8_t *rt;

	if (err)
		return err;
	total = p->next + n_blocks + p->n_rt;
	rt = plat_alloc((size_t)(p->n_rt << q->cb));
	if (!rt)
		return err_here(ERR_NOMEM);
	for (uint64_t rb = 0; rb < (total + per - 1) >> q->rb_bits && !err; rb++) {
		if (!block_wanted(p, rb, total))
			continue;
		memset(p->c.table, 0, (size_t)q->cs);
		for (uint64_t i = 0; i < per; i++)
			qcow2_rc_put(q, p->c.table, i, count_of(p, rb * per + i, total));
		err = put(p, p->c.table, (size_t)q->cs, &off);
		be64_put(rt + rb * 8, off);
	}
	/* As many as were planned: else what follows would not be counted, or count too much. */
	BUG_ON(!err && p->next + p->n_rt != total);
	if (!err)
		err = put(p, rt, (size_t)(p->n_rt << q->cb), &p->rt_off);
	plat_free(rt);
	return err;
}

/* size to snapshots_offset: within the header's first sector. */
static int switch_over(struct plan *p)
{
	uint8_t h[HEADER_LEN] = {0};
	struct qcow2 *q = p->q;
	int err = bfile_sync(q->f);

	if (err)
		return err;
	be64_put(h + (QH_SIZE - HEADER_AT), p->size);
	be32_put(h + (QH_L1_SIZE - HEADER_AT), p->l1_n);
	be64_put(h + (QH_L1_OFF - HEADER_AT), p->l1_off);
	be64_put(h + (QH_REFTABLE_OFF - HEADER_AT), p->rt_off);
	be32_put(h + (QH_REFTABLE_CLUSTERS - HEADER_AT), (uint32_t)p->n_rt);
	be32_put(h + (QH_NB_SNAPSHOTS - HEADER_AT), p->s.n);
	be64_put(h + (QH_SNAPSHOTS_OFF - HEADER_AT), p->snaps_off);
	err = bfile_pwrite(q->f, HEADER_AT, h, sizeof(h));
	if (!err)
		err = bfile_sync(q->f);
	if (err) /* the header may say either, and the two must not be mixed */
		q->broken = true;
	return err;
}

/* ---- afterwards ------------------------------------------------------------------------------------ */

/* What is in memory follows the header. */
static int take_over(struct plan *p)
{
	struct qcow2 *q = p->q;
	struct qtable l1, rt = {0};
	char why[100];
	int err = qtable_init(&l1, p->l1_off, p->l1_n);

	if (!err)
		err = qtable_init(&rt, p->rt_off, (uint32_t)((p->n_rt << q->cb) / 8));
	if (!err)
		err = qtable_load(q, &l1);
	if (!err)
		err = qtable_load(q, &rt);
	if (err) {
		qtable_fini(&l1);
		qtable_fini(&rt);
		return err;
	}
	qtable_fini(&q->l1);
	qtable_fini(&q->rt);
	q->l1 = l1;
	q->rt = rt;
	qcache_clear(&q->l2c);
	qcache_clear(&q->rbc);
	qzip_clear(q);
	q->h.size = p->size;
	q->h.l1_size = p->l1_n;
	q->h.l1_off = p->l1_off;
	q->h.reftable_off = p->rt_off;
	q->h.reftable_clusters = (uint32_t)p->n_rt;
	q->h.n_snapshots = p->s.n;
	q->h.snapshots_off = p->snaps_off;
	q->b.size = ALIGN_UP(p->size, (uint64_t)BLOCK_SECTOR);
	q->hint = 0;
	q->virgin_from = p->next;
	return qcow2_meta_build(q, why, sizeof(why));
}

/* ---- all of it ------------------------------------------------------------------------------------- */

static int prepare(struct plan *p, const struct block_snapshot *o, char *err, size_t err_size)
{
	struct qcow2 *q = p->q;
	bool there = p->s.at < p->s.len;
	int e;

	if (o->op == BLOCK_SNAPSHOT_SAVE && there)
		return FAIL(ERR_EXIST, "has a snapshot %s already", o->name);
	if (o->op != BLOCK_SNAPSHOT_SAVE && !there)
		return FAIL(ERR_NOENT, "has no snapshot %s", o->name);
	if (o->op == BLOCK_SNAPSHOT_FIND)
		return 0;
	if (o->op == BLOCK_SNAPSHOT_SAVE && p->s.n >= QCOW2_MAX_SNAPSHOTS)
		return FAIL(ERR_NOSPC, "has %u snapshots, which is the most", p->s.n);
	if (o->op == BLOCK_SNAPSHOT_REVERT && p->s.size != q->h.size && !o->resize)
		return FAIL(ERR_INVAL, "had another size then: %llu bytes, not %llu",
			    (unsigned long long)p->s.size, (unsigned long long)q->h.size);
	e = o->op == BLOCK_SNAPSHOT_REVERT ? active_of_snapshot(p) : active_of_now(p);
	if (e)
		return FAIL(e, "%s", err_str(e));
	if (o->op == BLOCK_SNAPSHOT_SAVE)
		add_snap(p, o);
	if (o->op == BLOCK_SNAPSHOT_DELETE)
		drop_snap(&p->s);
	e = check_begin(&p->c, q, &p->found);
	if (!e)
		e = count(p);
	if (!e && p->c.structural)
		return FAIL(
			ERR_FORMAT,
			"is damaged, or has more references than counts of %u bits can say: see "
			"vigia image check",
			1u << q->h.refcount_order);
	return e ? FAIL(e, "%s", err_str(e)) : 0;
}

static int write_all(struct plan *p)
{
	struct qcow2 *q = p->q;
	int err;

	p->base = p->next = MAX(q->virgin_from, p->c.n);
	err = put_l2s(p);
	if (!err)
		err = put_l1(p);
	if (!err && p->s.n)
		err = put(p, p->s.bytes, p->s.len, &p->snaps_off);
	if (!err)
		err = put_counts(p);
	if (!err)
		err = switch_over(p);
	q->virgin_from = MAX(q->virgin_from, p->next); /* though nothing may count it */
	if (err)
		return err;
	err = take_over(p);
	q->broken |= !!err;
	return err;
}

int qcow2_snapshot(struct block *b, const struct block_snapshot *o, char *err, size_t err_size)
{
	struct qcow2 *q = container_of(b, struct qcow2, b);
	struct plan p = {.q = q};
	int e;

	if (str_len(o->name) > 255)
		return FAIL(ERR_INVAL, "a snapshot's name has at most 255 bytes");
	if (o->op != BLOCK_SNAPSHOT_FIND) {
		if (b->read_only)
			return FAIL(ERR_ROFS, "is read-only");
		e = q->broken ? err_here(ERR_IO) : qcow2_settle(q);
		if (e)
			return FAIL(e, "cannot be written: %s", err_str(e));
	}
	e = read_snaps(q, o->name, &p.s);
	if (e)
		str_format(err, err_size, "the snapshots cannot be read: %s", err_str(e));
	if (!e)
		e = prepare(&p, o, err, err_size);
	if (!e && o->op != BLOCK_SNAPSHOT_FIND) {
		e = write_all(&p);
		if (e)
			str_format(err, err_size, "cannot be written: %s", err_str(e));
	}
	check_end(&p.c);
	plat_free(p.l1);
	plat_free(p.s.bytes);
	return e;
}
