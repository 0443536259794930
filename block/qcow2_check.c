/* SPDX-License-Identifier: ISC */
/* qcow2_check.c: walks all that an image points to, counts references, and compares with the counts
 * that it stores. With repair, the stored counts and the "copied" flags that follow from them become
 * what they should be; pointers that lead nowhere are left to qemu-img. Synchronous, on an image
 * without requests in flight and with nothing cached. */

#include "base/str.h"
#include "block/qcow2_count.h"

#define MAX_TOLD 20

attr_printf(2, 3) static void tell(struct check *c, const char *fmt, ...)
{
	char text[160];
	va_list ap;

	c->out->corruptions++;
	if (c->out->corruptions > MAX_TOLD)
		return;
	va_start(ap, fmt);
	str_vformat(text, sizeof(text), fmt, ap);
	va_end(ap);
	plat_log(LOG_WARN, "%s: %s", c->q->b.name, text);
}

bool check_add(struct check *c, const char *what, uint64_t off, uint64_t len)
{
	uint64_t i, first = off >> c->q->cb, last;
	bool ok = true;

	if (!len)
		return true;
	last = (off + len - 1) >> c->q->cb;
	if (off + len < off || last >= c->n) {
		tell(c, "%s at 0x%llx is not in the file", what, (unsigned long long)off);
		c->structural++;
		return false;
	}
	c->out->end = MAX(c->out->end, (last + 1) << c->q->cb);
	for (i = first; i <= last; i++) {
		if (c->count[i] >= c->max || c->count[i] == UINT32_MAX)
			ok = false;
		else
			c->count[i]++;
	}
	if (!ok) {
		tell(c, "too many references to 0x%llx", (unsigned long long)off);
		c->structural++;
	}
	return ok;
}

static bool add_aligned(struct check *c, const char *what, uint64_t off, uint64_t len)
{
	if (off && IS_ALIGNED(off, c->q->cs))
		return check_add(c, what, off, len);
	tell(c, "%s at 0x%llx, which is no cluster", what, (unsigned long long)off);
	c->structural++;
	return false;
}

static void add_entries(struct check *c)
{
	struct qcow2 *q = c->q;
	uint64_t i, off, len;

	for (i = 0; i < BIT64(q->l2_bits); i++) {
		uint64_t e = be64_get(c->table + i * 8);

		switch (qcow2_kind(q, e)) {
		case QK_COMPRESSED:
			qzip_range(q, e, &off, &len);
			/* Whole sectors are claimed, the file may end before the last does. */
			if ((off >> q->cb) < c->n)
				len = MIN(len, (c->n << q->cb) - off);
			check_add(c, "compressed data", off, len);
			c->out->clusters++;
			break;
		case QK_ZERO:
			if (!(e & QE_OFFSET))
				break;
			attr_fallthrough;
		case QK_NORMAL:
			add_aligned(c, "data", e & QE_OFFSET, q->cs);
			c->out->clusters++;
			break;
		case QK_UNALLOCATED:
			break;
		}
	}
}

int check_add_l2(struct check *c, uint64_t off)
{
	int err;

	if (!add_aligned(c, "L2 table", off, c->q->cs))
		return 0;
	err = bfile_pread(c->q->f, off, c->table, (size_t)c->q->cs);
	if (!err)
		add_entries(c);
	return err;
}

int check_add_l1(struct check *c, uint64_t l1, uint32_t n)
{
	uint8_t part[512];
	uint32_t i;
	int err;

	if (!n || !add_aligned(c, "L1 table", l1, (uint64_t)n * 8))
		return 0;
	for (i = 0; i < n; i++) {
		uint64_t off;

		if (i % 64 == 0) {
			err = bfile_pread(c->q->f, l1 + (uint64_t)i * 8, part, sizeof(part));
			if (err)
				return err;
		}
		off = be64_get(part + (i % 64) * 8) & QE_OFFSET;
		err = off ? check_add_l2(c, off) : 0;
		if (err)
			return err;
	}
	return 0;
}

static int add_snapshots(struct check *c)
{
	uint64_t pos = c->q->h.snapshots_off, l1_bytes = 0;
	uint8_t s[QS_LEN];
	uint32_t i;
	int err;

	for (i = 0; i < c->q->h.n_snapshots; i++) {
		uint32_t n;

		err = bfile_pread(c->q->f, pos, s, sizeof(s));
		if (err)
			return err;
		n = be32_get(s + QS_L1_SIZE);
		l1_bytes += (uint64_t)n * 8;
		if ((uint64_t)n * 8 > QCOW2_MAX_L1_BYTES || l1_bytes > c->n << c->q->cb) {
			tell(c, "snapshot %u: L1 table of %u entries", i, n);
			c->structural++;
			return 0;
		}
		err = check_add_l1(c, be64_get(s + QS_L1_OFF), n);
		if (err)
			return err;
		pos += ALIGN_UP((uint64_t)QS_LEN + be32_get(s + QS_EXTRA_LEN) +
					be16_get(s + QS_ID_LEN) + be16_get(s + QS_NAME_LEN),
				8);
		if (pos > c->n << c->q->cb)
			break;
	}
	if (c->q->h.n_snapshots)
		add_aligned(c, "snapshot table", c->q->h.snapshots_off,
			    pos - c->q->h.snapshots_off);
	return 0;
}

/* A bitmap's own table of clusters. */
static int add_bitmap(struct check *c, uint64_t table, uint32_t n)
{
	uint8_t be[8];
	uint32_t i;
	int err;

	if (!n || !add_aligned(c, "bitmap table", table, (uint64_t)n * 8))
		return 0;
	for (i = 0; i < n; i++) {
		err = bfile_pread(c->q->f, table + (uint64_t)i * 8, be, sizeof(be));
		if (err)
			return err;
		if (be64_get(be) & QE_OFFSET)
			add_aligned(c, "bitmap", be64_get(be) & QE_OFFSET, c->q->cs);
	}
	return 0;
}

int check_add_bitmaps(struct check *c)
{
	const struct qcow2_hdr *h = &c->q->h;
	uint64_t pos = h->bitmaps_off, end = pos + h->bitmaps_size;
	uint8_t d[QD_LEN];
	uint32_t i;
	int err;

	if (!h->n_bitmaps || !add_aligned(c, "bitmap directory", pos, h->bitmaps_size))
		return 0;
	for (i = 0; i < h->n_bitmaps && pos + QD_LEN <= end; i++) {
		err = bfile_pread(c->q->f, pos, d, sizeof(d));
		if (!err)
			err = add_bitmap(c, be64_get(d + QD_TABLE_OFF),
					 be32_get(d + QD_TABLE_SIZE));
		if (err)
			return err;
		pos += ALIGN_UP((uint64_t)QD_LEN + be32_get(d + QD_EXTRA_LEN) +
					be16_get(d + QD_NAME_LEN),
				8);
	}
	return 0;
}

static int add_all(struct check *c)
{
	struct qcow2 *q = c->q;
	uint32_t i;
	int err;

	check_add(c, "header", 0, q->cs);
	add_aligned(c, "refcount table", q->rt.off, (uint64_t)q->h.reftable_clusters << q->cb);
	for (i = 0; i < q->rt.n; i++)
		if (q->rt.e[i])
			add_aligned(c, "refcount block", q->rt.e[i], q->cs);
	err = check_add_l1(c, q->h.l1_off, q->h.l1_size);
	if (!err)
		err = add_snapshots(c);
	if (!err)
		err = check_add_bitmaps(c);
	return err;
}

/* ---- comparing ----------------------------------------------------------------------------------- */

/* Compares n counts from cluster first on with what one 512-byte piece of a block says, and corrects
 * them there. True: it was changed. */
static bool compare(struct check *c, uint8_t *piece, uint64_t first, uint64_t n)
{
	bool changed = false;
	uint64_t i;

	for (i = 0; i < n; i++) {
		uint64_t has = qcow2_rc_get(c->q, piece, i);
		uint64_t want = first + i < c->n ? c->count[first + i] : 0;

		if (has == want)
			continue;
		if (has > want)
			c->out->leaks++;
		else
			tell(c, "cluster 0x%llx has %llu references but %llu are counted",
			     (unsigned long long)(first + i), (unsigned long long)want,
			     (unsigned long long)has);
		/* With pointers that could not be followed, what seems unused may be used. */
		if (!c->repair || (has > want && c->structural))
			continue;
		qcow2_rc_put(c->q, piece, i, want);
		c->out->fixed += has < want;
		changed = true;
	}
	return changed;
}

static int compare_block(struct check *c, uint64_t rb)
{
	struct qcow2 *q = c->q;
	uint64_t per = UINT64_C(4096) >> q->h.refcount_order, off = q->rt.e[rb], pos;
	uint8_t piece[512];
	int err = 0;

	if (!qcow2_offset_ok(q, off))
		return 0; /* told */
	for (pos = 0; !err && pos < q->cs; pos += 512) {
		uint64_t first = (rb << q->rb_bits) + pos / 512 * per;

		err = bfile_pread(q->f, off + pos, piece, sizeof(piece));
		if (!err && compare(c, piece, first, per))
			err = bfile_pwrite(q->f, off + pos, piece, sizeof(piece));
	}
	return err;
}

/* Used clusters in a range without a block. */
static int no_block(struct check *c, uint64_t rb)
{
	struct qcow2 *q = c->q;
	uint64_t i, first = rb << q->rb_bits, used = 0;
	int err;

	for (i = first; i < MIN(first + BIT64(q->rb_bits), c->n); i++)
		used += c->count[i] > 0;
	if (!used)
		return 0;
	if (!c->repair || rb >= q->rt.n || c->count[first]) {
		tell(c, "%llu clusters from 0x%llx on are used but not counted",
		     (unsigned long long)used, (unsigned long long)first);
		return 0;
	}
	err = qcow2_refblock_new(q, (uint32_t)rb);
	if (err)
		return err;
	if (first < c->n)
		c->count[first] = 1;
	return compare_block(c, rb);
}

static int compare_all(struct check *c)
{
	struct qcow2 *q = c->q;
	uint64_t rb, last = MAX((uint64_t)q->rt.n, (c->n + BIT64(q->rb_bits) - 1) >> q->rb_bits);
	int err = 0;

	for (rb = 0; !err && rb < last; rb++)
		err = rb < q->rt.n && q->rt.e[rb] ? compare_block(c, rb) : no_block(c, rb);
	return err;
}

/* ---- the "copied" flags of the active tables ------------------------------------------------------ */

static bool wrong_flag(struct check *c, uint64_t entry)
{
	uint64_t off = entry & QE_OFFSET;

	if (!off || (off >> c->q->cb) >= c->n)
		return false;
	return (c->count[off >> c->q->cb] == 1) != !!(entry & QE_COPIED);
}

static int check_l2_flags(struct check *c, uint64_t off)
{
	struct qcow2 *q = c->q;
	bool changed = false;
	uint64_t i;
	int err = bfile_pread(q->f, off, c->table, (size_t)q->cs);

	for (i = 0; !err && i < BIT64(q->l2_bits); i++) {
		uint64_t e = be64_get(c->table + i * 8);

		if (qcow2_kind(q, e) == QK_COMPRESSED || !wrong_flag(c, e))
			continue;
		tell(c, "data at 0x%llx: %u references, %scopied",
		     (unsigned long long)(e & QE_OFFSET), c->count[(e & QE_OFFSET) >> q->cb],
		     e & QE_COPIED ? "" : "not ");
		be64_put(c->table + i * 8, e ^ QE_COPIED);
		changed = true;
		c->out->fixed += c->repair;
	}
	if (!err && changed && c->repair)
		err = bfile_pwrite(q->f, off, c->table, (size_t)q->cs);
	return err;
}

static int check_flags(struct check *c)
{
	struct qcow2 *q = c->q;
	uint32_t i;
	int err = 0;

	for (i = 0; !err && i < q->l1.n; i++) {
		uint64_t off = q->l1.e[i] & QE_OFFSET;

		if (!qcow2_offset_ok(q, off))
			continue;
		if (wrong_flag(c, q->l1.e[i])) {
			tell(c, "L2 table at 0x%llx: wrong flag", (unsigned long long)off);
			if (c->repair) {
				qtable_set(&q->l1, i, q->l1.e[i] ^ QE_COPIED);
				c->out->fixed++;
			}
		}
		err = check_l2_flags(c, off);
	}
	return err;
}

static int write_tables(struct qcow2 *q)
{
	int err;

	q->sync_mode = true;
	err = qcow2_commit_sync(q);
	q->sync_mode = false;
	return err;
}

int check_begin(struct check *c, struct qcow2 *q, struct block_check *out)
{
	unsigned bits = 1u << q->h.refcount_order;

	memset(out, 0, sizeof(*out));
	*c = (struct check){.q = q, .out = out};
	c->n = (bfile_size(q->f) + q->cs - 1) >> q->cb;
	c->max = bits == 64 ? UINT64_MAX : BIT64(bits) - 1;
	if (c->n > BIT64(30))
		return err_here(ERR_NOMEM);
	c->mapped = (size_t)ALIGN_UP(c->n * 4 + 1, PAGE_SIZE);
	c->count = plat_pages_alloc(c->mapped);
	c->table = plat_alloc((size_t)q->cs);
	if (c->count && c->table)
		return 0;
	check_end(c);
	return err_here(ERR_NOMEM);
}

void check_end(struct check *c)
{
	if (c->count)
		plat_pages_free(c->count, c->mapped);
	plat_free(c->table);
	c->count = NULL;
	c->table = NULL;
}

int qcow2_check(struct block *b, bool repair, struct block_check *out)
{
	struct qcow2 *q = container_of(b, struct qcow2, b);
	struct check c;
	int err;

	if (repair && b->read_only)
		return err_here(ERR_ROFS);
	err = check_begin(&c, q, out);
	if (err)
		return err;
	c.repair = repair;
	err = add_all(&c);
	if (!err)
		err = compare_all(&c);
	if (!err)
		err = check_flags(&c);
	if (!err && repair)
		err = write_tables(q);
	check_end(&c);
	return err;
}
