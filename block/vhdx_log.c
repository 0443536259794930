/* SPDX-License-Identifier: ISC */
/* vhdx_log.c: the log of a VHDX image that was not closed, replayed in memory (Microsoft's MS-VHDX,
 * 2.3). The log is a ring of entries, each of whole 4 KiB sectors: a header, descriptors, and a
 * sector for each descriptor of data. A sequence is entries with rising numbers, one after the other;
 * its last one says where the first one is. The newest whole sequence is what counts. */

#include "base/crc32c.h"
#include "base/str.h"
#include "block/vhdx.h"

enum { /* header of an entry */
       LE_CRC = 4,
       LE_LEN = 8,   /* u32: bytes, whole sectors */
       LE_TAIL = 12, /* u32: offset in the log of the sequence's first entry */
       LE_SEQ = 16,  /* u64 */
       LE_DESCS = 24,
       LE_GUID = 32,
       LE_SIZE = 64,
};

enum {                  /* descriptor */
       LD_TRAILING = 4, /* u32: last bytes of the sector */
       LD_LEADING = 8,  /* u64: first bytes of the sector; zero: length */
       LD_OFF = 16,     /* u64: in the file */
       LD_SEQ = 24,
       LD_SIZE = 32,
};

/* Bytes that may be summed up, in lengths of the log: entries are disjoint, but old pieces of ones
 * that are no more may claim to be long. */
#define BUDGET 64

struct ring {
	const uint8_t *mem;
	uint32_t len;
	const uint8_t *guid;
	uint64_t budget; /* bytes */
	uint8_t *valid;  /* by sector: an entry begins there */
};

/* n bytes inside of one sector. */
static const uint8_t *at(const struct ring *r, uint64_t off)
{
	return r->mem + off % r->len;
}

/* The checksum of an entry, which may wrap around, with its own field as zeros. */
static bool crc_ok(const struct ring *r, uint32_t off, uint32_t len)
{
	static const uint8_t zeros[4];
	const uint8_t *h = at(r, off);
	uint32_t crc = crc32c(0, h, LE_CRC), pos;

	crc = crc32c(crc, zeros, sizeof(zeros));
	crc = crc32c(crc, h + LE_CRC + 4, VHDX_SECTOR - LE_CRC - 4);
	for (pos = VHDX_SECTOR; pos < len; pos += VHDX_SECTOR)
		crc = crc32c(crc, at(r, (uint64_t)off + pos), VHDX_SECTOR);
	return crc == le32_get(h + LE_CRC);
}

/* Sectors that header and descriptors take. */
static uint64_t desc_sectors(uint32_t n)
{
	return (LE_SIZE + (uint64_t)n * LD_SIZE + VHDX_SECTOR - 1) / VHDX_SECTOR;
}

static bool entry_ok(struct ring *r, uint32_t off)
{
	const uint8_t *h = at(r, off);
	uint32_t len = le32_get(h + LE_LEN), tail = le32_get(h + LE_TAIL);

	if (memcmp(h, "loge", 4) || !len || len % VHDX_SECTOR || len > r->len || tail >= r->len ||
	    tail % VHDX_SECTOR || !le64_get(h + LE_SEQ) || memcmp(h + LE_GUID, r->guid, 16) ||
	    desc_sectors(le32_get(h + LE_DESCS)) > len / VHDX_SECTOR || len > r->budget)
		return false;
	r->budget -= len;
	return crc_ok(r, off, len);
}

struct sequence {
	uint32_t first; /* offset in the log */
	unsigned n;     /* entries */
	uint64_t seq;   /* of the last one */
};

/* The longest sequence from off on whose last entry leads back to off. */
static void sequence_from(const struct ring *r, uint32_t off, struct sequence *best)
{
	const uint8_t *h;
	uint64_t pos = off, seq = 0;
	unsigned n = 0;

	while (pos - off < r->len && r->valid[pos % r->len / VHDX_SECTOR]) {
		h = at(r, pos);
		if (n && le64_get(h + LE_SEQ) != seq + 1)
			break;
		seq = le64_get(h + LE_SEQ);
		pos += le32_get(h + LE_LEN);
		n++;
		if (pos - off <= r->len && le32_get(h + LE_TAIL) == off && seq > best->seq)
			*best = (struct sequence){off, n, seq};
	}
}

static int add_patch(struct vhdx_log *log, uint64_t off, uint64_t len, const uint8_t *data)
{
	if (off % VHDX_SECTOR || len % VHDX_SECTOR || off > INT64_MAX || len > INT64_MAX - off ||
	    log->n == log->max)
		return err_here(ERR_FORMAT);
	log->p[log->n++] = (struct vhdx_patch){off, len, data};
	log->lo = MIN(log->lo, off);
	log->hi = MAX(log->hi, off + len);
	return 0;
}

/* Makes the sector of a descriptor whole: first and last bytes are in the descriptor. */
static int add_data(struct vhdx_log *log, const struct ring *r, const uint8_t *desc,
		    uint64_t sector, uint64_t seq)
{
	uint8_t *s = log->mem + sector % r->len;

	if (memcmp(s, "data", 4) || le32_get(s + 4) != seq >> 32 ||
	    le32_get(s + VHDX_SECTOR - 4) != (uint32_t)seq)
		return err_here(ERR_FORMAT);
	memcpy(s, desc + LD_LEADING, 8);
	memcpy(s + VHDX_SECTOR - 4, desc + LD_TRAILING, 4);
	return add_patch(log, le64_get(desc + LD_OFF), VHDX_SECTOR, s);
}

static int add_entry(struct vhdx_log *log, const struct ring *r, uint64_t off)
{
	const uint8_t *h = at(r, off);
	uint32_t n = le32_get(h + LE_DESCS), i;
	uint64_t seq = le64_get(h + LE_SEQ), end = off + le32_get(h + LE_LEN);
	uint64_t sector = off + desc_sectors(n) * VHDX_SECTOR;
	int err = 0;

	for (i = 0; !err && i < n; i++) {
		const uint8_t *d = at(r, off + LE_SIZE + (uint64_t)i * LD_SIZE);

		if (le64_get(d + LD_SEQ) != seq) {
			err = err_here(ERR_FORMAT);
		} else if (!memcmp(d, "zero", 4)) {
			err = add_patch(log, le64_get(d + LD_OFF), le64_get(d + LD_LEADING), NULL);
		} else if (!memcmp(d, "desc", 4) && sector < end) {
			err = add_data(log, r, d, sector, seq);
			sector += VHDX_SECTOR;
		} else {
			err = err_here(ERR_FORMAT);
		}
	}
	return err;
}

static int replay(struct vhdx_log *log, struct ring *r)
{
	struct sequence best = {0};
	uint64_t pos;
	uint32_t off;
	int err = 0;

	for (off = 0; off < r->len; off += VHDX_SECTOR)
		r->valid[off / VHDX_SECTOR] = entry_ok(r, off);
	for (off = 0; off < r->len; off += VHDX_SECTOR)
		sequence_from(r, off, &best);
	if (!best.n)
		return err_here(ERR_FORMAT);
	for (pos = best.first; !err && best.n--;) {
		uint32_t len = le32_get(at(r, pos) + LE_LEN);

		err = add_entry(log, r, pos);
		pos += len;
	}
	return err;
}

int vhdx_log_read(struct bfile *f, uint64_t off, uint32_t len, const uint8_t guid[16],
		  struct vhdx_log *log)
{
	struct ring r = {.len = len, .guid = guid, .budget = (uint64_t)BUDGET * len};
	int err;

	log->lo = UINT64_MAX;
	log->mapped = len;
	log->max = len / LD_SIZE;
	log->p_mapped = ALIGN_UP(log->max * sizeof(*log->p), PAGE_SIZE);
	log->mem = plat_pages_alloc(log->mapped);
	log->p = plat_pages_alloc(log->p_mapped);
	r.valid = plat_alloc(len / VHDX_SECTOR);
	err = log->mem && log->p && r.valid ? 0 : err_here(ERR_NOMEM);
	if (!err)
		err = bfile_pread(f, off, log->mem, len);
	r.mem = log->mem;
	if (!err)
		err = replay(log, &r);
	plat_free(r.valid);
	return err;
}

void vhdx_log_free(struct vhdx_log *log)
{
	if (log->mem)
		plat_pages_free(log->mem, log->mapped);
	if (log->p)
		plat_pages_free(log->p, log->p_mapped);
}

void vhdx_log_apply(const struct vhdx_log *log, uint64_t off, void *buf, size_t len)
{
	uint64_t end = off + len, from, to;
	unsigned i;

	if (off >= log->hi || end <= log->lo)
		return;
	for (i = 0; i < log->n; i++) {
		const struct vhdx_patch *p = &log->p[i];

		from = MAX(off, p->off);
		to = MIN(end, p->off + p->len);
		if (from >= to)
			continue;
		if (p->data)
			memcpy((uint8_t *)buf + (from - off), p->data + (from - p->off),
			       (size_t)(to - from));
		else
			memset((uint8_t *)buf + (from - off), 0, (size_t)(to - from));
	}
}
