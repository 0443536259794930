/* SPDX-License-Identifier: ISC */
/* qcow2_pack.c: writes an image of compressed clusters, from its beginning to its end: header, data
 * with each L2 table behind what it is of, then L1 table, refcount blocks and refcount table. Until
 * the header is written, as the last, the file is no image. Synchronous; for tools. */

#include "base/str.h"
#include "block/qcow2.h"
#include "block/qcow2_pack.h"

#define CB 16
#define CS (UINT64_C(1) << CB)

#define L2_ENTRIES (CS / 8)
#define RB_ENTRIES (CS / 2) /* counts of 16 bits */

struct qcow2_pack {
	struct bfile *f;
	qcow2_zip_fn zip;
	unsigned type;
	uint64_t size, clusters, n_l1;
	uint64_t pos;   /* bytes: where the next compressed cluster goes */
	uint64_t next;  /* the file's first cluster that nothing has */
	uint64_t l2_of; /* L1 index of the table in l2[] */
	bool l2_used;
	uint16_t *count; /* by cluster of the file */
	size_t count_mapped, l1_mapped;
	uint8_t *l1;
	uint8_t l2[CS], out[CS];
};

static uint64_t clusters_of(uint64_t bytes)
{
	return (bytes + CS - 1) >> CB;
}

void qcow2_pack_free(struct qcow2_pack *p)
{
	if (p->count)
		plat_pages_free(p->count, p->count_mapped);
	if (p->l1)
		plat_pages_free(p->l1, p->l1_mapped);
	plat_free(p);
}

int qcow2_pack_create(struct bfile *f, uint64_t size, unsigned type, qcow2_zip_fn zip,
		      struct qcow2_pack **out)
{
	struct qcow2_pack *p = plat_alloc(sizeof(*p));
	uint64_t most;

	if (!p)
		return err_here(ERR_NOMEM);
	p->f = f;
	p->zip = zip;
	p->type = type;
	p->size = size;
	p->clusters = clusters_of(size);
	p->n_l1 = (p->clusters + L2_ENTRIES - 1) / L2_ENTRIES;
	p->next = 1;
	if (p->n_l1 * 8 > QCOW2_MAX_L1_BYTES) {
		plat_free(p);
		return err_here(ERR_RANGE);
	}
	/* Each cluster of the disk takes one at most; then tables, and the counts of all that. */
	most = 16 + p->clusters + p->n_l1 + clusters_of(p->n_l1 * 8);
	most += 16 + most / (RB_ENTRIES / 2);
	p->count_mapped = (size_t)ALIGN_UP(most * 2, (uint64_t)PAGE_SIZE);
	p->l1_mapped = (size_t)ALIGN_UP(p->n_l1 * 8 + CS, (uint64_t)PAGE_SIZE);
	p->count = plat_pages_alloc(p->count_mapped);
	p->l1 = plat_pages_alloc(p->l1_mapped);
	if (!p->count || !p->l1) {
		qcow2_pack_free(p);
		return err_here(ERR_NOMEM);
	}
	p->count[0] = 1;
	*out = p;
	return 0;
}

/* Whole clusters at the end, in use once each. */
static uint64_t take(struct qcow2_pack *p, uint64_t n)
{
	uint64_t first = p->next, i;

	for (i = 0; i < n; i++)
		p->count[first + i] = 1;
	p->next += n;
	return first << CB;
}

static int write_l2(struct qcow2_pack *p)
{
	uint64_t at;
	int err;

	if (!p->l2_used)
		return 0;
	at = take(p, 1);
	err = bfile_pwrite(p->f, at, p->l2, CS);
	be64_put(p->l1 + p->l2_of * 8, at | QE_COPIED);
	memset(p->l2, 0, CS);
	p->l2_used = false;
	return err;
}

/* Compressed clusters lie one behind the other, and may share clusters of the file. */
static int put_zipped(struct qcow2_pack *p, size_t len, uint64_t *entry)
{
	unsigned x = 62 - (CB - 8);
	uint64_t last, sectors;

	/* The rest of the cluster that was begun, and the next one if nothing else has it. */
	if (!(p->pos % CS) ||
	    ((p->pos + len - 1) >> CB != p->pos >> CB && p->next != (p->pos >> CB) + 1))
		p->pos = p->next << CB;
	last = (p->pos + len - 1) >> CB;
	p->count[p->pos >> CB]++;
	if (last != p->pos >> CB)
		p->count[last]++;
	p->next = MAX(p->next, last + 1);
	sectors = (p->pos + len - 1) / 512 - p->pos / 512;
	*entry = QE_COMPRESSED | sectors << x | p->pos;
	p->pos += len;
	return bfile_pwrite(p->f, p->pos - len, p->out, len);
}

int qcow2_pack_write(struct qcow2_pack *p, uint64_t cluster, const void *buf)
{
	uint64_t l2_of = cluster / L2_ENTRIES, entry;
	size_t len;
	int err = 0;

	if (p->l2_used && l2_of != p->l2_of)
		err = write_l2(p);
	if (err)
		return err;
	p->l2_of = l2_of;
	len = p->zip(p->type, buf, CS, p->out, CS - 1);
	if (len) {
		err = put_zipped(p, len, &entry);
	} else { /* would not become smaller */
		entry = take(p, 1) | QE_COPIED;
		err = bfile_pwrite(p->f, entry & QE_OFFSET, buf, CS);
	}
	be64_put(p->l2 + cluster % L2_ENTRIES * 8, entry);
	p->l2_used = true;
	return err;
}

static int write_counts(struct qcow2_pack *p, uint64_t at, uint64_t n_blocks)
{
	uint64_t b, i;
	int err = 0;

	for (b = 0; !err && b < n_blocks; b++) {
		for (i = 0; i < RB_ENTRIES; i++) {
			uint64_t c = b * RB_ENTRIES + i;

			be16_put(p->l2 + i * 2, c < p->next ? p->count[c] : 0);
		}
		err = bfile_pwrite(p->f, at + (b << CB), p->l2, CS);
	}
	return err;
}

static int write_header(struct qcow2_pack *p, uint64_t l1, uint64_t rt, uint64_t n_rt)
{
	uint8_t h[120] = {0};

	be32_put(h + QH_MAGIC, QCOW2_MAGIC);
	be32_put(h + QH_VERSION, 3);
	be32_put(h + QH_CLUSTER_BITS, CB);
	be64_put(h + QH_SIZE, p->size);
	be32_put(h + QH_L1_SIZE, (uint32_t)p->n_l1);
	be64_put(h + QH_L1_OFF, l1);
	be64_put(h + QH_REFTABLE_OFF, rt);
	be32_put(h + QH_REFTABLE_CLUSTERS, (uint32_t)n_rt);
	be32_put(h + QH_REFCOUNT_ORDER, 4);
	be32_put(h + QH_HEADER_LEN, p->type ? QH_V3_LEN + 8 : QH_V3_LEN);
	if (p->type) {
		be64_put(h + QH_INCOMPAT, QI_COMPRESSION);
		h[QH_COMPRESSION] = (uint8_t)p->type;
	}
	return bfile_pwrite(p->f, 0, h, sizeof(h));
}

int qcow2_pack_finish(struct qcow2_pack *p)
{
	uint64_t l1, rt, rb, n_rt = 1, n_rb = 0, total, i;
	int err = write_l2(p);

	if (err)
		return err;
	l1 = take(p, MAX(clusters_of(p->n_l1 * 8), UINT64_C(1)));
	do {
		total = p->next + n_rt + n_rb;
		n_rb = (total + RB_ENTRIES - 1) / RB_ENTRIES;
		n_rt = clusters_of(n_rb * 8);
	} while (p->next + n_rt + n_rb != total);
	rb = take(p, n_rb);
	rt = take(p, n_rt);
	err = bfile_pwrite(p->f, l1, p->l1, (size_t)(p->n_l1 * 8));
	if (!err)
		err = write_counts(p, rb, n_rb);
	if (!err)
		err = bfile_zero(p->f, rt, n_rt << CB);
	for (i = 0; !err && i < n_rb; i++) {
		uint8_t be[8];

		be64_put(be, rb + (i << CB));
		err = bfile_pwrite(p->f, rt + i * 8, be, sizeof(be));
	}
	if (!err)
		err = bfile_sync(p->f);
	if (!err)
		err = write_header(p, l1, rt, n_rt);
	return err ? err : bfile_sync(p->f);
}
