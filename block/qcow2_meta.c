/* SPDX-License-Identifier: ISC */
/* qcow2_meta.c: the header, the tables that are in memory whole, and the set of clusters that hold
 * metadata, which no guest data may be written to. An image is untrusted: each value is checked
 * here or where it is used. */

#include "base/str.h"
#include "block/qcow2.h"

#define FAIL(...)       (str_format(err, err_size, __VA_ARGS__), err_here(ERR_FORMAT))
#define FAIL_NOSYS(...) (str_format(err, err_size, __VA_ARGS__), err_here(ERR_NOSYS))

/* ---- header ---------------------------------------------------------------------------------- */

/* Names of unknown incompatible features, as the image itself tells them. */
static void feature_names(const uint8_t *ext, uint32_t len, uint64_t bits, char *out, size_t size)
{
	unsigned bit;
	uint32_t i;

	out[0] = 0;
	for (bit = 0; bit < 64; bit++) {
		char name[47];
		size_t used = str_len(out);

		if (!(bits & BIT64(bit)))
			continue;
		str_format(name, sizeof(name), "bit %u", bit);
		for (i = 0; i + 48 <= len; i += 48) { /* type, bit, name of 46 bytes */
			unsigned j;

			if (ext[i] != 0 || ext[i + 1] != bit)
				continue;
			for (j = 0; j < 46 && ext[i + 2 + j] >= ' ' && ext[i + 2 + j] < 127; j++)
				name[j] = (char)ext[i + 2 + j];
			name[j] = 0;
		}
		str_format(out + used, size - used, "%s%s", used ? ", " : "", name);
	}
}

static int parse_extensions(struct qcow2_hdr *h, const uint8_t *buf, size_t end,
			    const uint8_t **names, uint32_t *names_len, char *err, size_t err_size)
{
	size_t pos = h->header_len;

	while (pos + 8 <= end) {
		uint32_t type = be32_get(buf + pos), len = be32_get(buf + pos + 4);
		const uint8_t *data = buf + pos + 8;

		if (type == QX_END)
			return 0;
		if (len > end - pos - 8)
			return FAIL("damaged image: header extension 0x%x is %u bytes long", type,
				    len);
		switch (type) {
		case QX_BACKING_FMT:
			if (len >= sizeof(h->backing_format))
				return FAIL("the backing file's format has a name of %u bytes",
					    len);
			memcpy(h->backing_format, data, len);
			h->backing_format[len] = 0;
			break;
		case QX_FEATURE_NAMES:
			*names = data;
			*names_len = len;
			break;
		case QX_BITMAPS:
			if (len < QB_LEN || !(h->autoclear & QA_BITMAPS))
				break;
			h->n_bitmaps = be32_get(data + QB_COUNT);
			h->bitmaps_size = be64_get(data + QB_DIR_SIZE);
			h->bitmaps_off = be64_get(data + QB_DIR_OFF);
			break;
		case QX_LUKS:
			return FAIL_NOSYS("the image is encrypted (LUKS), which is not supported; "
					  "qemu-img convert can decrypt it");
		case QX_DATA_FILE:
			return FAIL_NOSYS("the image has an external data file, which is not "
					  "supported; qemu-img convert makes a plain one");
		default: /* extensions are optional by definition */
			break;
		}
		pos += 8 + ALIGN_UP((size_t)len, 8);
	}
	return 0;
}

static int check_features(const struct qcow2_hdr *h, const uint8_t *names, uint32_t names_len,
			  char *err, size_t err_size)
{
	const uint64_t known = QI_DIRTY | QI_CORRUPT | QI_COMPRESSION;
	char list[256];

	if (h->incompat & QI_EXTERNAL_DATA)
		return FAIL_NOSYS("the image has an external data file, which is not supported; "
				  "qemu-img convert makes a plain one");
	if (h->incompat & QI_EXTENDED_L2)
		return FAIL_NOSYS("the image has extended L2 entries (subclusters), which are not "
				  "supported; qemu-img convert makes a plain one");
	if (h->incompat & ~known) {
		feature_names(names, names_len, h->incompat & ~known, list, sizeof(list));
		return FAIL_NOSYS("the image needs features that are not supported: %s", list);
	}
	if (h->compression > 1)
		return FAIL_NOSYS("the image is compressed by an unknown method (%u)",
				  h->compression);
	if (!(h->incompat & QI_COMPRESSION) != !h->compression)
		return FAIL("damaged image: compression method and feature bit disagree");
	return 0;
}

static int check_tables(const struct qcow2_hdr *h, uint64_t file_size, char *err, size_t err_size)
{
	uint64_t cs = BIT64(h->cluster_bits), per_l1 = cs * (cs / 8);
	uint64_t rt_bytes = (uint64_t)h->reftable_clusters << h->cluster_bits;

	if ((uint64_t)h->l1_size * 8 > QCOW2_MAX_L1_BYTES)
		return FAIL("damaged image: L1 table of %u entries", h->l1_size);
	if (h->size > (uint64_t)INT64_MAX - cs || (h->size + per_l1 - 1) / per_l1 > h->l1_size)
		return FAIL("damaged image: the L1 table (%u entries) is too small for %llu bytes",
			    h->l1_size, (unsigned long long)h->size);
	if (h->l1_size && (h->l1_off < cs || !IS_ALIGNED(h->l1_off, cs) || h->l1_off >= file_size ||
			   h->l1_off + (uint64_t)h->l1_size * 8 > ALIGN_UP(file_size, cs)))
		return FAIL("damaged image: L1 table at 0x%llx, not in the file",
			    (unsigned long long)h->l1_off);
	if (!rt_bytes || rt_bytes > QCOW2_MAX_RT_BYTES + cs)
		return FAIL("damaged image: refcount table of %u clusters", h->reftable_clusters);
	if (h->reftable_off < cs || !IS_ALIGNED(h->reftable_off, cs) ||
	    h->reftable_off >= file_size || h->reftable_off + rt_bytes > ALIGN_UP(file_size, cs))
		return FAIL("damaged image: refcount table at 0x%llx, not in the file",
			    (unsigned long long)h->reftable_off);
	if (h->n_snapshots > QCOW2_MAX_SNAPSHOTS ||
	    (h->n_snapshots && (h->snapshots_off < cs || !IS_ALIGNED(h->snapshots_off, cs) ||
				h->snapshots_off >= file_size)))
		return FAIL("damaged image: %u snapshots at 0x%llx", h->n_snapshots,
			    (unsigned long long)h->snapshots_off);
	return 0;
}

static int parse_v3(struct qcow2_hdr *h, const uint8_t *buf, uint64_t cs, char *err,
		    size_t err_size)
{
	h->incompat = be64_get(buf + QH_INCOMPAT);
	h->compat = be64_get(buf + QH_COMPAT);
	h->autoclear = be64_get(buf + QH_AUTOCLEAR);
	h->refcount_order = be32_get(buf + QH_REFCOUNT_ORDER);
	h->header_len = be32_get(buf + QH_HEADER_LEN);
	if (h->refcount_order > 6)
		return FAIL("damaged image: reference counts of 2^%u bits", h->refcount_order);
	if (h->header_len < QH_V3_LEN || h->header_len > cs || h->header_len > QH_MAX - 8 ||
	    h->header_len % 8)
		return FAIL("damaged image: header of %u bytes", h->header_len);
	if (h->header_len > QH_COMPRESSION)
		h->compression = buf[QH_COMPRESSION];
	return 0;
}

static int parse_backing(struct qcow2_hdr *h, const uint8_t *buf, size_t end, size_t *ext_end,
			 char *err, size_t err_size)
{
	uint64_t off = be64_get(buf + QH_BACKING_OFF);
	uint32_t len = be32_get(buf + QH_BACKING_LEN), i;

	if (!off || !len)
		return 0;
	if (len > 1023 || off < h->header_len || off > end || len > end - off)
		return FAIL("damaged image: name of the backing file (%u bytes at 0x%llx)", len,
			    (unsigned long long)off);
	for (i = 0; i < len; i++)
		if (!buf[off + i])
			return FAIL("damaged image: zero byte in the name of the backing file");
	memcpy(h->backing, buf + off, len);
	h->backing[len] = 0;
	*ext_end = off;
	return 0;
}

static int parse_header(struct qcow2_hdr *h, const uint8_t *buf, uint64_t file_size, char *err,
			size_t err_size)
{
	const uint8_t *names = NULL;
	uint32_t names_len = 0, crypt;
	size_t end, ext_end;
	uint64_t cs;
	int e;

	if (file_size < QH_V2_LEN || be32_get(buf + QH_MAGIC) != QCOW2_MAGIC)
		return FAIL("not a qcow2 image");
	h->version = be32_get(buf + QH_VERSION);
	if (h->version != 2 && h->version != 3)
		return FAIL_NOSYS("qcow version %u is not supported (2 and 3 are)", h->version);
	h->cluster_bits = be32_get(buf + QH_CLUSTER_BITS);
	if (h->cluster_bits < QCOW2_MIN_CLUSTER_BITS || h->cluster_bits > QCOW2_MAX_CLUSTER_BITS)
		return FAIL("damaged image: clusters of 2^%u bytes", h->cluster_bits);
	cs = BIT64(h->cluster_bits);
	crypt = be32_get(buf + QH_CRYPT);
	if (crypt)
		return FAIL_NOSYS("the image is encrypted (%s), which is not supported; qemu-img "
				  "convert can decrypt it",
				  crypt == 1   ? "AES"
				  : crypt == 2 ? "LUKS"
					       : "unknown method");
	h->size = be64_get(buf + QH_SIZE);
	h->l1_size = be32_get(buf + QH_L1_SIZE);
	h->l1_off = be64_get(buf + QH_L1_OFF);
	h->reftable_off = be64_get(buf + QH_REFTABLE_OFF);
	h->reftable_clusters = be32_get(buf + QH_REFTABLE_CLUSTERS);
	h->n_snapshots = be32_get(buf + QH_NB_SNAPSHOTS);
	h->snapshots_off = be64_get(buf + QH_SNAPSHOTS_OFF);
	h->refcount_order = 4;
	h->header_len = QH_V2_LEN;
	if (h->version == 3) {
		e = parse_v3(h, buf, cs, err, err_size);
		if (e)
			return e;
	}
	end = (size_t)MIN(cs, (uint64_t)QH_MAX);
	ext_end = end;
	e = parse_backing(h, buf, end, &ext_end, err, err_size);
	if (!e)
		e = parse_extensions(h, buf, ext_end, &names, &names_len, err, err_size);
	if (!e)
		e = check_features(h, names, names_len, err, err_size);
	if (!e)
		e = check_tables(h, file_size, err, err_size);
	return e;
}

int qcow2_read_header(struct bfile *f, struct qcow2_hdr *h, char *err, size_t err_size)
{
	uint8_t *buf = plat_alloc(QH_MAX);
	int e;

	memset(h, 0, sizeof(*h));
	if (!buf) {
		str_format(err, err_size, "out of memory");
		return err_here(ERR_NOMEM);
	}
	e = bfile_pread(f, 0, buf, QH_MAX);
	if (e)
		str_format(err, err_size, "the header cannot be read: %s", err_str(e));
	else
		e = parse_header(h, buf, bfile_size(f), err, err_size);
	plat_free(buf);
	return e;
}

/* ---- damage ------------------------------------------------------------------------------------ */

/* The image contradicts itself. Reading goes on where it can; writing might make it worse. */
void qcow2_damage(struct qcow2 *q, const char *fmt, ...)
{
	char text[160];
	uint8_t be[8];
	va_list ap;

	q->broken = true;
	if (q->told)
		return;
	q->told = true;
	va_start(ap, fmt);
	str_vformat(text, sizeof(text), fmt, ap);
	va_end(ap);
	plat_log(LOG_ERROR, "%s: damaged image: %s; it can only be read from now on", q->b.name,
		 text);
	if (q->h.version < 3 || q->b.read_only)
		return;
	q->h.incompat |= QI_CORRUPT;
	be64_put(be, q->h.incompat);
	if (bfile_pwrite(q->f, QH_INCOMPAT, be, sizeof(be)))
		plat_log(LOG_WARN, "%s: could not be marked as damaged", q->b.name);
}

/* Is off a place where a cluster in use can be? */
bool qcow2_offset_ok(struct qcow2 *q, uint64_t off)
{
	return off && IS_ALIGNED(off, q->cs) && off < bfile_size(q->f);
}

/* ---- tables that are in memory whole ----------------------------------------------------------- */

int qtable_init(struct qtable *t, uint64_t off, uint32_t n)
{
	memset(t, 0, sizeof(*t));
	t->n = n;
	t->n_sectors = (n + 63) / 64;
	t->off = off;
	t->e = plat_alloc(MAX((size_t)t->n_sectors, (size_t)1) * 512);
	t->image = plat_alloc(MAX((size_t)t->n_sectors, (size_t)1) * 512);
	t->dirty = plat_alloc((size_t)t->n_sectors + 1);
	t->writing = plat_alloc((size_t)t->n_sectors + 1);
	if (t->e && t->image && t->dirty && t->writing)
		return 0;
	qtable_fini(t);
	return err_here(ERR_NOMEM);
}

void qtable_fini(struct qtable *t)
{
	plat_free(t->e);
	plat_free(t->image);
	plat_free(t->dirty);
	plat_free(t->writing);
	memset(t, 0, sizeof(*t));
}

int qtable_load(struct qcow2 *q, struct qtable *t)
{
	int err = bfile_pread(q->f, t->off, t->image, (size_t)t->n * 8);
	uint32_t i;

	if (err)
		return err;
	for (i = 0; i < t->n; i++)
		t->e[i] = be64_get(t->image + (size_t)i * 8);
	return 0;
}

void qtable_set(struct qtable *t, uint32_t i, uint64_t v)
{
	t->e[i] = v;
	if (!t->dirty[i / 64]) {
		t->dirty[i / 64] = 1;
		t->n_dirty++;
	}
}

void qtable_snapshot(struct qtable *t)
{
	uint32_t s, i;

	if (!t->n_dirty)
		return;
	for (s = 0; s < t->n_sectors; s++) {
		if (!t->dirty[s])
			continue;
		for (i = s * 64; i < MIN(s * 64 + 64, t->n); i++)
			be64_put(t->image + (size_t)i * 8, t->e[i]);
		t->dirty[s] = 0;
		t->writing[s] = 1;
		t->n_writing++;
	}
	t->n_dirty = 0;
}

void qtable_written(struct qtable *t, bool ok)
{
	uint32_t s;

	if (!t->n_writing)
		return;
	for (s = 0; s < t->n_sectors; s++) {
		if (!t->writing[s])
			continue;
		t->writing[s] = 0;
		if (!ok && !t->dirty[s]) {
			t->dirty[s] = 1;
			t->n_dirty++;
		}
	}
	t->n_writing = 0;
}

/* ---- which clusters hold metadata -------------------------------------------------------------- */

static uint64_t meta_slot(const struct qcow2 *q, uint64_t cluster)
{
	return (cluster * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (q->meta_cap - 1);
}

static bool meta_has1(const struct qcow2 *q, uint64_t cluster)
{
	uint64_t i = meta_slot(q, cluster);

	for (; q->meta[i]; i = (i + 1) & (q->meta_cap - 1))
		if (q->meta[i] == cluster + 1)
			return true;
	return false;
}

bool qcow2_meta_has(const struct qcow2 *q, uint64_t cluster, uint64_t n)
{
	uint64_t i;

	for (i = 0; i < n; i++)
		if (meta_has1(q, cluster + i))
			return true;
	return false;
}

static int meta_resize(struct qcow2 *q, uint64_t cap)
{
	uint64_t *old = q->meta, old_cap = q->meta_cap, i, j;

	q->meta = plat_pages_alloc((size_t)ALIGN_UP(cap * 8, PAGE_SIZE));
	if (!q->meta) {
		q->meta = old;
		return err_here(ERR_NOMEM);
	}
	q->meta_cap = cap;
	for (i = 0; i < old_cap; i++) {
		if (!old[i])
			continue;
		j = meta_slot(q, old[i] - 1);
		while (q->meta[j])
			j = (j + 1) & (cap - 1);
		q->meta[j] = old[i];
	}
	if (old)
		plat_pages_free(old, (size_t)ALIGN_UP(old_cap * 8, PAGE_SIZE));
	return 0;
}

/* ERR_EXIST: one of them was there. */
int qcow2_meta_add(struct qcow2 *q, uint64_t cluster, uint64_t n)
{
	uint64_t i, c;
	int err;

	for (c = cluster; c < cluster + n; c++) {
		if ((q->meta_n + 1) * 2 > q->meta_cap) {
			err = meta_resize(q, q->meta_cap * 2);
			if (err)
				return err;
		}
		if (meta_has1(q, c))
			return ERR_EXIST;
		i = meta_slot(q, c);
		while (q->meta[i])
			i = (i + 1) & (q->meta_cap - 1);
		q->meta[i] = c + 1;
		q->meta_n++;
	}
	return 0;
}

void qcow2_meta_del(struct qcow2 *q, uint64_t cluster, uint64_t n)
{
	uint64_t c, i, j, home, mask = q->meta_cap - 1;

	for (c = cluster; c < cluster + n; c++) {
		if (!meta_has1(q, c))
			continue;
		for (i = meta_slot(q, c); q->meta[i] != c + 1; i = (i + 1) & mask)
			;
		q->meta_n--;
		/* Those after it that the hole would hide move up. */
		for (j = (i + 1) & mask; q->meta[j]; j = (j + 1) & mask) {
			home = meta_slot(q, q->meta[j] - 1);
			if (((j - home) & mask) < ((j - i) & mask))
				continue;
			q->meta[i] = q->meta[j];
			i = j;
		}
		q->meta[i] = 0;
	}
}

static int add_region(struct qcow2 *q, const char *what, uint64_t off, uint64_t len, char *err,
		      size_t err_size)
{
	int e;

	if (!len)
		return 0;
	if (!qcow2_offset_ok(q, off) || off + len > ALIGN_UP(bfile_size(q->f), q->cs))
		return FAIL("damaged image: %s at 0x%llx, not in the file", what,
			    (unsigned long long)off);
	e = qcow2_meta_add(q, off >> q->cb, (len + q->cs - 1) >> q->cb);
	if (e == ERR_EXIST)
		return FAIL("damaged image: %s at 0x%llx, where other metadata is", what,
			    (unsigned long long)off);
	if (e)
		str_format(err, err_size, "out of memory");
	return e;
}

/* The snapshot table and the L1 table of each snapshot. Its length is known by walking only. */
static int add_snapshots(struct qcow2 *q, char *err, size_t err_size)
{
	uint64_t pos = q->h.snapshots_off;
	uint8_t s[QS_LEN];
	uint32_t i;
	int e;

	for (i = 0; i < q->h.n_snapshots; i++) {
		e = bfile_pread(q->f, pos, s, sizeof(s));
		if (e) {
			str_format(err, err_size, "the snapshots cannot be read: %s", err_str(e));
			return e;
		}
		e = add_region(q, "L1 table of a snapshot", be64_get(s + QS_L1_OFF),
			       (uint64_t)be32_get(s + QS_L1_SIZE) * 8, err, err_size);
		if (e)
			return e;
		pos += ALIGN_UP((uint64_t)QS_LEN + be32_get(s + QS_EXTRA_LEN) +
					be16_get(s + QS_ID_LEN) + be16_get(s + QS_NAME_LEN),
				8);
		if (pos > bfile_size(q->f) + q->cs)
			return FAIL("damaged image: the snapshot table leaves the file");
	}
	return add_region(q, "snapshot table", q->h.snapshots_off, pos - q->h.snapshots_off, err,
			  err_size);
}

/* For images that will be written to. */
int qcow2_meta_build(struct qcow2 *q, char *err, size_t err_size)
{
	uint64_t want = (uint64_t)q->l1.n + q->rt.n, cap = 1024;
	uint32_t i;
	int e;

	while (cap < MIN(want, bfile_size(q->f) >> q->cb) * 2 + 64)
		cap *= 2;
	if (q->meta) /* what was there before does not hold any more */
		plat_pages_free(q->meta, (size_t)ALIGN_UP(q->meta_cap * 8, PAGE_SIZE));
	q->meta = NULL;
	q->meta_cap = q->meta_n = 0;
	e = meta_resize(q, cap);
	if (e) {
		str_format(err, err_size, "out of memory");
		return e;
	}
	e = qcow2_meta_add(q, 0, 1); /* the header */
	if (!e)
		e = add_region(q, "L1 table", q->l1.off, (uint64_t)q->l1.n * 8, err, err_size);
	if (!e)
		e = add_region(q, "refcount table", q->rt.off, (uint64_t)q->rt.n * 8, err,
			       err_size);
	if (!e && q->h.n_snapshots)
		e = add_snapshots(q, err, err_size);
	for (i = 0; !e && i < q->rt.n; i++)
		if (q->rt.e[i])
			e = add_region(q, "refcount block", q->rt.e[i], q->cs, err, err_size);
	for (i = 0; !e && i < q->l1.n; i++)
		if (q->l1.e[i] & QE_OFFSET)
			e = add_region(q, "L2 table", q->l1.e[i] & QE_OFFSET, q->cs, err, err_size);
	return e;
}
