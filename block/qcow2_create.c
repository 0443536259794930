/* SPDX-License-Identifier: ISC */
/* qcow2_create.c: new images, and larger ones. Synchronous. */

#include "base/str.h"
#include "block/qcow2.h"

#define FAIL(...) (str_format(err, err_size, __VA_ARGS__), err_here(ERR_INVAL))

/* A new image is: header, refcount table, refcount blocks, L1 table, a run of clusters each. */
struct layout {
	uint64_t cs, l1_entries, n_table, n_blocks, n_l1, total;
};

static int plan(const struct qcow2_create *c, struct layout *l, char *err, size_t err_size)
{
	uint64_t per_l1, per_block, before;

	if (c->version < 2 || c->version > 3)
		return FAIL("qcow2 has version 2 and 3");
	if (c->cluster_bits < QCOW2_MIN_CLUSTER_BITS || c->cluster_bits > QCOW2_MAX_CLUSTER_BITS)
		return FAIL("clusters have 512 bytes to 2 MiB, a power of two");
	if (c->refcount_order > 6 || (c->version == 2 && c->refcount_order != 4))
		return FAIL("reference counts have 1, 2, 4 … 64 bits, in version 2 just 16");
	l->cs = BIT64(c->cluster_bits);
	per_l1 = l->cs * (l->cs / 8);
	l->l1_entries = c->size / per_l1 + (c->size % per_l1 > 0);
	if (l->l1_entries * 8 > QCOW2_MAX_L1_BYTES)
		return FAIL("too large a disk for clusters of %llu bytes",
			    (unsigned long long)l->cs);
	l->n_l1 = (l->l1_entries * 8 + l->cs - 1) / l->cs;
	per_block = l->cs * 8 >> c->refcount_order;
	l->n_table = l->n_blocks = 1;
	do {
		before = l->n_blocks + l->n_table;
		l->total = 1 + l->n_table + l->n_blocks + l->n_l1;
		l->n_blocks = (l->total + per_block - 1) / per_block;
		l->n_table = (l->n_blocks * 8 + l->cs - 1) / l->cs;
	} while (l->n_blocks + l->n_table != before);
	return 0;
}

static int put_ext(uint8_t *buf, size_t size, size_t *pos, uint32_t type, const void *data,
		   size_t len)
{
	if (*pos + 8 + ALIGN_UP(len, (size_t)8) > size)
		return err_here(ERR_NOSPC);
	be32_put(buf + *pos, type);
	be32_put(buf + *pos + 4, (uint32_t)len);
	memcpy(buf + *pos + 8, data, len);
	*pos += 8 + ALIGN_UP(len, (size_t)8);
	return 0;
}

static int write_header(struct bfile *f, const struct qcow2_create *c, const struct layout *l,
			char *err, size_t err_size)
{
	size_t size = (size_t)MIN(l->cs, UINT64_C(4096)), pos, len;
	uint8_t buf[4096] = {0};

	be32_put(buf + QH_MAGIC, QCOW2_MAGIC);
	be32_put(buf + QH_VERSION, c->version);
	be32_put(buf + QH_CLUSTER_BITS, c->cluster_bits);
	be64_put(buf + QH_SIZE, c->size);
	be32_put(buf + QH_L1_SIZE, (uint32_t)l->l1_entries);
	be64_put(buf + QH_L1_OFF, (1 + l->n_table + l->n_blocks) * l->cs);
	be64_put(buf + QH_REFTABLE_OFF, l->cs);
	be32_put(buf + QH_REFTABLE_CLUSTERS, (uint32_t)l->n_table);
	pos = QH_V2_LEN;
	if (c->version == 3) {
		be32_put(buf + QH_REFCOUNT_ORDER, c->refcount_order);
		be32_put(buf + QH_HEADER_LEN, QH_V3_LEN);
		pos = QH_V3_LEN;
	}
	if (c->backing && c->backing_format &&
	    put_ext(buf, size, &pos, QX_BACKING_FMT, c->backing_format, str_len(c->backing_format)))
		return FAIL("too long a name of the backing file's format");
	if (put_ext(buf, size, &pos, QX_END, "", 0))
		return FAIL("too small a cluster for the header");
	if (c->backing) {
		len = str_len(c->backing);
		if (len > 1023 || len > size - pos)
			return FAIL("too long a path of the backing file for clusters of %llu "
				    "bytes",
				    (unsigned long long)l->cs);
		be64_put(buf + QH_BACKING_OFF, pos);
		be32_put(buf + QH_BACKING_LEN, (uint32_t)len);
		memcpy(buf + pos, c->backing, len);
	}
	return bfile_pwrite(f, 0, buf, size);
}

static int write_counts(struct bfile *f, const struct qcow2_create *c, const struct layout *l)
{
	struct qcow2 q = {.h.refcount_order = c->refcount_order}; /* for qcow2_rc_put() */
	uint64_t per = UINT64_C(4096) >> c->refcount_order, left = l->total, off, i;
	uint8_t buf[512];
	int err = 0;

	for (i = 0; !err && i < l->n_blocks; i++) {
		be64_put(buf, (1 + l->n_table + i) * l->cs);
		err = bfile_pwrite(f, l->cs + i * 8, buf, 8);
	}
	for (off = (1 + l->n_table) * l->cs; !err && left; off += sizeof(buf)) {
		memset(buf, 0, sizeof(buf));
		for (i = 0; left && i < per; i++, left--)
			qcow2_rc_put(&q, buf, i, 1);
		err = bfile_pwrite(f, off, buf, sizeof(buf));
	}
	return err;
}

int qcow2_create(struct bfile *f, const struct qcow2_create *c, char *err, size_t err_size)
{
	struct layout l;
	int e = plan(c, &l, err, err_size);

	if (e)
		return e;
	str_copy(err, err_size, "");
	e = bfile_zero(f, 0, l.total * l.cs);
	if (!e)
		e = write_counts(f, c, &l);
	if (!e)
		e = write_header(f, c, &l, err, err_size);
	if (!e)
		e = bfile_sync(f);
	if (e && !err[0])
		str_format(err, err_size, "the image cannot be written: %s", err_str(e));
	return e;
}

/* ---- resizing ------------------------------------------------------------------------------------ */

static int write_l1(struct qcow2 *q, uint64_t base, uint64_t n_clusters, uint32_t entries)
{
	uint64_t i, pos = base << q->cb;
	uint8_t be[8];
	int err = bfile_zero(q->f, pos, n_clusters << q->cb);

	for (i = 0; !err && i < MIN(q->l1.n, entries); i++) {
		be64_put(be, q->l1.e[i]);
		if (q->l1.e[i])
			err = bfile_pwrite(q->f, pos + i * 8, be, sizeof(be));
	}
	return err;
}

/* size, crypt_method, l1_size and l1_table_offset, which are neighbours in one sector */
static int write_size(struct qcow2 *q, uint64_t size, uint32_t entries, uint64_t l1_off)
{
	uint8_t be[24] = {0};
	int err = bfile_sync(q->f);

	be64_put(be, size);
	be32_put(be + QH_L1_SIZE - QH_SIZE, entries);
	be64_put(be + QH_L1_OFF - QH_SIZE, l1_off);
	if (!err)
		err = bfile_pwrite(q->f, QH_SIZE, be, sizeof(be));
	if (!err)
		err = bfile_sync(q->f);
	return err;
}

static int grow_l1(struct qcow2 *q, uint64_t size, uint32_t entries)
{
	uint64_t n = ((uint64_t)entries * 8 + q->cs - 1) >> q->cb, base, old = q->l1.off;
	uint64_t old_n = ((uint64_t)q->l1.n * 8 + q->cs - 1) >> q->cb;
	struct qctx ctx = {0};
	struct qtable t;
	int err = qtable_init(&t, 0, entries);

	if (err)
		return err;
	plat_mutex_lock(&q->lock);
	err = qcow2_alloc_tail(q, n, &base);
	plat_mutex_unlock(&q->lock);
	if (!err)
		err = qcow2_commit_sync(q);
	if (!err)
		err = write_l1(q, base, n, entries);
	if (!err)
		err = write_size(q, size, entries, base << q->cb);
	if (!err)
		err = qcow2_meta_add(q, base, n);
	if (err) {
		qtable_fini(&t);
		return err;
	}
	t.off = base << q->cb;
	memcpy(t.e, q->l1.e, (size_t)q->l1.n * 8);
	memcpy(t.image, q->l1.image, (size_t)q->l1.n * 8);
	qtable_fini(&q->l1);
	q->l1 = t;
	q->h.l1_size = entries;
	q->h.l1_off = t.off;
	if (!old_n || !old)
		return 0;
	qcow2_meta_del(q, old >> q->cb, old_n);
	qcow2_unref(q, old >> q->cb, (uint32_t)old_n, &ctx);
	return qcow2_commit_sync(q);
}

/* Does not clear what a larger backing disk shows in the new part: the caller does. */
int qcow2_resize(struct block *b, uint64_t size, char *err, size_t err_size)
{
	struct qcow2 *q = container_of(b, struct qcow2, b);
	uint64_t per_l1 = q->cs << q->l2_bits, entries = size / per_l1 + (size % per_l1 > 0);
	int e;

	if (size < q->h.size)
		return FAIL("a qcow2 image can only be made larger");
	if (!IS_ALIGNED(size, (uint64_t)BLOCK_SECTOR))
		return FAIL("the size is to be a multiple of %u", BLOCK_SECTOR);
	if (entries * 8 > QCOW2_MAX_L1_BYTES)
		return FAIL("too large a disk for clusters of %llu bytes",
			    (unsigned long long)q->cs);
	if (q->h.n_snapshots && q->h.version < 3)
		return FAIL("a version 2 image with snapshots cannot change its size");
	q->sync_mode = true;
	if (entries > q->l1.n)
		e = grow_l1(q, size, (uint32_t)entries);
	else
		e = write_size(q, size, q->h.l1_size, q->h.l1_off);
	q->sync_mode = false;
	if (e) {
		str_format(err, err_size, "%s", err_str(e));
		return e;
	}
	q->h.size = size;
	b->size = size;
	return 0;
}
