/* SPDX-License-Identifier: ISC */
/* vhd.c: disks of Virtual PC and old Hyper-V (Microsoft's "Virtual Hard Disk Image Format
 * Specification" 1.0). All numbers are big-endian. A footer ends the file; before it are the bytes
 * of a fixed disk, or, of one that grows, a copy of the footer, a header, a table with the sector
 * where each block begins, and the blocks: a bitmap of the sectors that were written, then these. */

#include "base/str.h"
#include "block/be.h"
#include "block/import.h"

enum {                   /* footer */
       VF_DATA_OFF = 16, /* u64: of the header */
       VF_CREATOR = 28,
       VF_SIZE = 48, /* u64 */
       VF_CYLS = 56, /* u16 */
       VF_HEADS = 58,
       VF_SECS = 59,
       VF_TYPE = 60,     /* u32: 2 fixed, 3 grows, 4 differences */
       VF_CHECKSUM = 64, /* u32: complement of the sum of all other bytes */
       VF_LEN = 512,
};

enum {                     /* header */
       VD_TABLE = 16,      /* u64: offset */
       VD_ENTRIES = 28,    /* u32 */
       VD_BLOCK_SIZE = 32, /* u32 */
       VD_CHECKSUM = 36,
       VD_LEN = 1024,
};

#define VHD_NONE 0xffffffffu

struct vhd {
	struct import im;
	bool fixed;
	uint64_t table;
	uint32_t block_size, bitmap; /* bytes */
};

/* The bitmap's bits of off and what follows: how far they are the same. */
static int sectors_from(struct vhd *v, uint64_t block, uint64_t in_block, struct import_range *r)
{
	uint32_t s = (uint32_t)(in_block / BLOCK_SECTOR), n = v->block_size / BLOCK_SECTOR, k;
	bool first = false;

	for (k = s; k < n; k++) {
		uint32_t word;
		bool bit;
		int err = import_entry(&v->im, v->im.f, block + k / 32 * 4, 4, &word);

		if (err)
			return err;
		word = __builtin_bswap32(word);
		if (k > s && k % 32 == 0 && word == (first ? UINT32_MAX : 0)) {
			k += 31;
			continue;
		}
		bit = word >> (31 - k % 32) & 1;
		if (k == s)
			first = bit;
		if (bit != first)
			break;
	}
	r->kind = first ? IMPORT_DATA : IMPORT_ZERO;
	r->len = (uint64_t)(MIN(k, n) - s) * BLOCK_SECTOR - in_block % BLOCK_SECTOR;
	return 0;
}

static int vhd_map(struct import *im, uint64_t off, struct import_range *r)
{
	struct vhd *v = container_of(im, struct vhd, im);
	uint64_t in_block, block;
	uint32_t entry;
	int err;

	r->f = im->f;
	if (v->fixed) {
		r->kind = IMPORT_DATA;
		r->off = off;
		r->len = im->b.size - off;
		return 0;
	}
	in_block = off % v->block_size;
	err = import_entry(im, im->f, v->table + off / v->block_size * 4, 4, &entry);
	if (err)
		return err;
	entry = __builtin_bswap32(entry);
	if (entry == VHD_NONE) {
		r->len = v->block_size - in_block;
		return 0;
	}
	block = (uint64_t)entry * BLOCK_SECTOR;
	r->off = block + v->bitmap + in_block;
	return sectors_from(v, block, in_block, r);
}

static const struct import_ops vhd_ops = {
	.block = IMPORT_BLOCK_OPS("vhd"),
	.map = vhd_map,
};

/* ---- opening ------------------------------------------------------------------------------------- */

#define FAIL(e, ...) (str_format(err, err_size, __VA_ARGS__), err_here(e))

static bool sum_ok(const uint8_t *p, unsigned len, unsigned at)
{
	uint32_t sum = 0;
	unsigned i;

	for (i = 0; i < len; i++)
		sum += i >= at && i < at + 4 ? 0 : p[i];
	return ~sum == be32_get(p + at);
}

static bool is_footer(const uint8_t *p)
{
	return !memcmp(p, "conectix", 8) && sum_ok(p, VF_LEN, VF_CHECKSUM);
}

bool vhd_has_footer(struct bfile *f)
{
	uint64_t size = bfile_size(f);
	uint8_t p[VF_LEN];

	return size >= VF_LEN && !bfile_pread(f, size - VF_LEN, p, sizeof(p)) && is_footer(p);
}

/* Virtual PC, and QEMU in its name, mean the size that the geometry has, but for disks that are
 * larger than a geometry can say. */
static uint64_t disk_size(const uint8_t *p)
{
	uint64_t cyls = be16_get(p + VF_CYLS), chs = cyls * p[VF_HEADS] * p[VF_SECS];
	bool by_chs = !memcmp(p + VF_CREATOR, "vpc ", 4) || !memcmp(p + VF_CREATOR, "qemu", 4);

	if (by_chs && chs && chs < UINT64_C(65535) * 16 * 255)
		return chs * BLOCK_SECTOR;
	return ALIGN_DOWN(be64_get(p + VF_SIZE), (uint64_t)BLOCK_SECTOR);
}

static int read_dynamic(struct vhd *v, uint64_t at, char *err, size_t err_size)
{
	uint8_t h[VD_LEN];

	if (import_pread(&v->im, v->im.f, at, h, sizeof(h)) || memcmp(h, "cxsparse", 8) ||
	    !sum_ok(h, VD_LEN, VD_CHECKSUM))
		return FAIL(ERR_FORMAT, "VHD: the header of its table is damaged");
	v->table = be64_get(h + VD_TABLE);
	v->block_size = be32_get(h + VD_BLOCK_SIZE);
	if (v->block_size < BLOCK_SECTOR || v->block_size > 256 * MIB ||
	    (v->block_size & (v->block_size - 1)))
		return FAIL(ERR_FORMAT, "VHD: a block size of %u bytes cannot be", v->block_size);
	if (v->im.b.size > (uint64_t)be32_get(h + VD_ENTRIES) * v->block_size ||
	    v->table > INT64_MAX / 2)
		return FAIL(ERR_FORMAT, "VHD: its table is too small for the disk");
	v->bitmap = ALIGN_UP(v->block_size / BLOCK_SECTOR / 8, BLOCK_SECTOR);
	return 0;
}

static int read_footer(struct vhd *v, char *err, size_t err_size)
{
	uint64_t size = bfile_size(v->im.f);
	uint8_t p[VF_LEN];
	uint32_t type;

	/* A file that was cut short still has the copy at its beginning. */
	if (size < VF_LEN || bfile_pread(v->im.f, size - VF_LEN, p, sizeof(p)))
		return FAIL(ERR_FORMAT, "is no VHD image");
	if (!is_footer(p) && (bfile_pread(v->im.f, 0, p, sizeof(p)) || !is_footer(p)))
		return FAIL(ERR_FORMAT, "is no VHD image, or its footer is damaged");
	v->im.b.size = disk_size(p);
	type = be32_get(p + VF_TYPE);
	if (type == 3)
		return read_dynamic(v, be64_get(p + VF_DATA_OFF), err, err_size);
	if (type != 2)
		return FAIL(ERR_NOSYS, "is a VHD image of differences to another one, which is not "
				       "supported");
	v->fixed = true;
	if (v->im.b.size > size - VF_LEN)
		return FAIL(ERR_FORMAT, "VHD: the file is shorter than its disk");
	return 0;
}

int vhd_open(struct bfile *f, const struct import_opts *o, struct block **out, char *err,
	     size_t err_size)
{
	struct vhd *v = plat_alloc(sizeof(*v));
	int e;

	if (!v)
		return FAIL(ERR_NOMEM, "out of memory");
	import_init(&v->im, &vhd_ops, f, o);
	e = read_footer(v, err, err_size);
	if (e)
		import_destroy(&v->im);
	else
		*out = &v->im.b;
	return e;
}
