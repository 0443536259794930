/* SPDX-License-Identifier: ISC */
/* vdi.c: disks of VirtualBox (version 1.1): a header, a map with a number for each block of the disk,
 * and the blocks in the order in which they were first written. */

#include "base/str.h"
#include "block/import.h"
#include "block/le.h"

#define VDI_MAGIC 0xbeda107fu

enum { /* offsets in the header */
       VH_MAGIC = 0x40,
       VH_VERSION = 0x44, /* u32: 0x00010001 */
       VH_TYPE = 0x4c,    /* u32: 1 grows, 2 fixed, 3 undo, 4 differences */
       VH_MAP_OFF = 0x154,
       VH_DATA_OFF = 0x158,
       VH_SIZE = 0x170,       /* u64: bytes of the disk */
       VH_BLOCK_SIZE = 0x178, /* u32 */
       VH_EXTRA = 0x17c,      /* u32: bytes before each block */
       VH_BLOCKS = 0x180,     /* u32 */
       VH_PARENT = 0x1a8,     /* UUID; zeros: none */
       VH_LEN = 0x1c8,
};

enum { MAX_BLOCK = 64 << 20, NOT_THERE = -1, IS_ZERO = -2 };

struct vdi {
	struct import im;
	uint64_t map_off, data_off;
	uint32_t block_size, extra;
};

static int vdi_map(struct import *im, uint64_t off, struct import_range *r)
{
	struct vdi *v = container_of(im, struct vdi, im);
	uint64_t index = off / v->block_size, in_block = off % v->block_size;
	uint32_t entry;
	int err = import_entry(im, im->f, v->map_off + index * 4, 4, &entry);

	if (err)
		return err;
	r->len = v->block_size - in_block;
	if ((int32_t)entry == NOT_THERE || (int32_t)entry == IS_ZERO)
		return 0;
	r->kind = IMPORT_DATA;
	r->f = im->f;
	r->off = v->data_off + entry * ((uint64_t)v->block_size + v->extra) + v->extra + in_block;
	return 0;
}

static const struct import_ops vdi_ops = {
	.block = IMPORT_BLOCK_OPS("vdi"),
	.map = vdi_map,
};

#define FAIL(e, ...) (str_format(err, err_size, __VA_ARGS__), err_here(e))

static int read_header(struct vdi *v, char *err, size_t err_size)
{
	static const uint8_t none[16];
	uint8_t h[VH_LEN];
	uint64_t blocks;

	if (import_pread(&v->im, v->im.f, 0, h, sizeof(h)))
		return FAIL(ERR_FORMAT, "is truncated in the VDI header");
	if (le32_get(h + VH_MAGIC) != VDI_MAGIC)
		return FAIL(ERR_FORMAT, "is no VDI image");
	if (le32_get(h + VH_VERSION) != 0x00010001)
		return FAIL(ERR_NOSYS, "is a VDI image of version %u.%u; only 1.1 is supported",
			    le16_get(h + VH_VERSION + 2), le16_get(h + VH_VERSION));
	if (le32_get(h + VH_TYPE) < 1 || le32_get(h + VH_TYPE) > 2 ||
	    memcmp(h + VH_PARENT, none, sizeof(none)))
		return FAIL(ERR_NOSYS, "is a VDI image of differences to another one, which is not "
				       "supported");
	v->map_off = le32_get(h + VH_MAP_OFF);
	v->data_off = le32_get(h + VH_DATA_OFF);
	v->block_size = le32_get(h + VH_BLOCK_SIZE);
	v->extra = le32_get(h + VH_EXTRA);
	blocks = le32_get(h + VH_BLOCKS);
	if (v->block_size < BLOCK_SECTOR || v->block_size > MAX_BLOCK ||
	    (v->block_size & (v->block_size - 1)) || v->extra > MAX_BLOCK)
		return FAIL(ERR_FORMAT, "VDI: a block size of %u bytes cannot be", v->block_size);
	v->im.b.size = le64_get(h + VH_SIZE);
	if (v->im.b.size > blocks * v->block_size)
		return FAIL(ERR_FORMAT, "VDI: its map is too small for the disk");
	v->im.b.size = ALIGN_DOWN(v->im.b.size, (uint64_t)BLOCK_SECTOR);
	return 0;
}

int vdi_open(struct bfile *f, const struct import_opts *o, struct block **out, char *err,
	     size_t err_size)
{
	struct vdi *v = plat_alloc(sizeof(*v));
	int e;

	if (!v)
		return FAIL(ERR_NOMEM, "out of memory");
	import_init(&v->im, &vdi_ops, f, o);
	e = read_header(v, err, err_size);
	if (e)
		import_destroy(&v->im);
	else
		*out = &v->im.b;
	return e;
}
