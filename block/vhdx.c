/* SPDX-License-Identifier: ISC */
/* vhdx.c: disks of Hyper-V (Microsoft's MS-VHDX). Two headers, of which the one with the higher number
 * counts, and two equal region tables lead to the metadata (sizes) and to the block allocation table;
 * an entry of a bitmap, which disks without a parent do not use, follows each chunk of its entries. */

#include "base/crc32c.h"
#include "base/str.h"
#include "block/vhdx.h"

#define HEADER_LEN 4096
#define REGION_LEN 65536
#define MAX_LOG    (16 * MIB)

enum {                   /* header */
       XH_SEQ = 8,       /* u64 */
       XH_LOG_GUID = 48, /* zeros: the log is empty */
       XH_LOG_VERSION = 64,
       XH_VERSION = 66, /* u16: 1 */
       XH_LOG_LEN = 68, /* u32 */
       XH_LOG_OFF = 72, /* u64 */
};

enum { XR_COUNT = 8, XR_FIRST = 16, XR_SIZE = 32, XR_MAX = 2047 };  /* region table */
enum { XM_COUNT = 10, XM_FIRST = 32, XM_SIZE = 32, XM_MAX = 2047 }; /* metadata table */
#define REQUIRED   BIT(0)                                           /* of a region */
#define M_REQUIRED BIT(2)
#define HAS_PARENT BIT(1) /* of the file parameters */

static const uint8_t bat_guid[16] = {0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42,
				     0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08};
static const uint8_t meta_guid[16] = {0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b,
				      0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e};

enum item { M_PARAMS, M_SIZE, M_LOGICAL, M_PHYSICAL, M_PAGE83, M_PARENT, M_ITEMS };
static const struct {
	uint8_t guid[16];
	uint32_t len; /* that is looked at; 0: not looked at */
} items[M_ITEMS] = {
	[M_PARAMS] = {{0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa,
		       0x44, 0xe7, 0x6b},
		      8},
	[M_SIZE] = {{0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8,
		     0x3b, 0xf4, 0xb8},
		    8},
	[M_LOGICAL] = {{0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47, 0xba, 0x47, 0xf2, 0x33,
			0xa8, 0xfa, 0xab, 0x5f},
		       4},
	[M_PHYSICAL] = {{0xc7, 0x48, 0xa3, 0xcd, 0x5d, 0x44, 0x71, 0x44, 0x9c, 0xc9, 0xe9, 0x88,
			 0x52, 0x51, 0xc5, 0x56},
			0},
	[M_PAGE83] = {{0xab, 0x12, 0xca, 0xbe, 0xe6, 0xb2, 0x23, 0x45, 0x93, 0xef, 0xc3, 0x09, 0xe0,
		       0x00, 0xc7, 0x46},
		      0},
	[M_PARENT] = {{0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8, 0x48,
		       0x34, 0xab, 0x0c},
		      0},
};

enum { /* states of a block */
       B_NOT_PRESENT,
       B_UNDEFINED,
       B_ZERO,
       B_UNMAPPED,
       B_UNMAPPED_OLD = 5,
       B_PRESENT = 6,
};
#define B_STATE UINT64_C(7)
#define B_OFF   UINT64_C(0xfffffffffff00000)

struct vhdx {
	struct import im;
	struct vhdx_log log;
	uint64_t bat, bat_len, meta, meta_len;
	uint32_t block_size, chunk; /* chunk: blocks */
};

static int vhdx_map(struct import *im, uint64_t off, struct import_range *r)
{
	struct vhdx *v = container_of(im, struct vhdx, im);
	uint64_t block = off / v->block_size, in_block = off % v->block_size, entry;
	int err = import_entry(im, im->f, v->bat + (block + block / v->chunk) * 8, 8, &entry);

	if (err)
		return err;
	r->len = v->block_size - in_block;
	switch (entry & B_STATE) {
	case B_NOT_PRESENT:
	case B_UNDEFINED:
	case B_ZERO:
	case B_UNMAPPED:
	case B_UNMAPPED_OLD:
		return 0;
	case B_PRESENT:
		r->kind = IMPORT_DATA;
		r->f = im->f;
		r->off = (entry & B_OFF) + in_block;
		return entry & B_OFF && (entry & B_OFF) <= INT64_MAX ? 0 : err_here(ERR_FORMAT);
	default:
		return err_here(ERR_FORMAT);
	}
}

static void vhdx_patch(struct import *im, struct bfile *f, uint64_t off, void *buf, size_t len)
{
	vhdx_log_apply(&container_of(im, struct vhdx, im)->log, off, buf, len);
}

static void vhdx_fini(struct import *im)
{
	vhdx_log_free(&container_of(im, struct vhdx, im)->log);
}

static const struct import_ops vhdx_ops = {
	.block = IMPORT_BLOCK_OPS("vhdx"),
	.map = vhdx_map,
	.patch = vhdx_patch,
	.fini = vhdx_fini,
};

/* ---- opening ------------------------------------------------------------------------------------- */

#define FAIL(e, ...) (str_format(err, err_size, __VA_ARGS__), err_here(e))

/* Reads a structure whose checksum, at byte 4, is over all of it with zeros there. */
static bool read_summed(struct vhdx *v, uint64_t off, const char *magic, uint8_t *buf, size_t len)
{
	uint32_t sum;

	if (import_pread(&v->im, v->im.f, off, buf, len) || memcmp(buf, magic, 4))
		return false;
	sum = le32_get(buf + 4);
	memset(buf + 4, 0, 4);
	return crc32c(0, buf, len) == sum;
}

static int read_log(struct vhdx *v, const uint8_t *h, char *err, size_t err_size)
{
	static const uint8_t none[16];
	uint64_t off = le64_get(h + XH_LOG_OFF);
	uint32_t len = le32_get(h + XH_LOG_LEN);
	int e;

	if (!memcmp(h + XH_LOG_GUID, none, sizeof(none)))
		return 0;
	if (le16_get(h + XH_LOG_VERSION))
		return FAIL(ERR_NOSYS, "VHDX: its log has version %u, which is not supported",
			    le16_get(h + XH_LOG_VERSION));
	if (!len || len > MAX_LOG || len % MIB || off % MIB || off > bfile_size(v->im.f) ||
	    len > bfile_size(v->im.f) - off)
		return FAIL(ERR_FORMAT, "VHDX: the place of its log cannot be");
	e = vhdx_log_read(v->im.f, off, len, h + XH_LOG_GUID, &v->log);
	if (!e)
		plat_log(LOG_INFO, "%s: was not closed; reading it with %u changes of its log",
			 v->im.b.name, v->log.n);
	else
		str_format(err, err_size, "VHDX: it was not closed, and its log is damaged: %s",
			   err_str(e));
	return e;
}

/* big: of REGION_LEN bytes. */
static int read_headers(struct vhdx *v, uint8_t *big, char *err, size_t err_size)
{
	uint8_t *h[2] = {big, big + HEADER_LEN}, *best = NULL;
	unsigned i;

	for (i = 0; i < 2; i++)
		if (read_summed(v, (i + 1) * UINT64_C(65536), "head", h[i], HEADER_LEN) &&
		    (!best || le64_get(h[i] + XH_SEQ) > le64_get(best + XH_SEQ)))
			best = h[i];
	if (!best)
		return FAIL(ERR_FORMAT, "VHDX: both of its headers are damaged");
	if (le16_get(best + XH_VERSION) != 1)
		return FAIL(ERR_NOSYS, "is a VHDX image of version %u; only 1 is supported",
			    le16_get(best + XH_VERSION));
	return read_log(v, best, err, err_size);
}

static int read_regions(struct vhdx *v, uint8_t *t, char *err, size_t err_size)
{
	uint64_t off, len, size = bfile_size(v->im.f);
	uint32_t n, i;

	if (!read_summed(v, 3 * 65536, "regi", t, REGION_LEN) &&
	    !read_summed(v, 4 * 65536, "regi", t, REGION_LEN))
		return FAIL(ERR_FORMAT, "VHDX: both of its region tables are damaged");
	n = le32_get(t + XR_COUNT);
	for (i = 0; i < n && n <= XR_MAX; i++) {
		const uint8_t *e = t + XR_FIRST + i * XR_SIZE;

		off = le64_get(e + 16);
		len = le32_get(e + 24);
		if (off > size || len > size - off)
			return FAIL(ERR_FORMAT, "VHDX: the file is truncated, or a region of it "
						"cannot be where it is said to be");
		if (!memcmp(e, bat_guid, 16))
			v->bat = off, v->bat_len = len;
		else if (!memcmp(e, meta_guid, 16))
			v->meta = off, v->meta_len = len;
		else if (le32_get(e + 28) & REQUIRED)
			return FAIL(ERR_NOSYS, "VHDX: it has a region that is not known");
	}
	if (!v->bat || v->meta_len < REGION_LEN)
		return FAIL(ERR_FORMAT, "VHDX: a region is missing");
	return 0;
}

static int read_item(struct vhdx *v, const uint8_t *e, unsigned item, uint64_t *out)
{
	uint32_t off = le32_get(e + 16), len = items[item].len;
	uint8_t value[8] = {0};

	if (!len)
		return 0;
	if (le32_get(e + 20) < len || off < REGION_LEN || off > v->meta_len ||
	    len > v->meta_len - off)
		return err_here(ERR_FORMAT);
	if (import_pread(&v->im, v->im.f, v->meta + off, value, len))
		return err_here(ERR_FORMAT);
	*out = le64_get(value);
	return 0;
}

static int read_items(struct vhdx *v, uint8_t *t, uint64_t value[M_ITEMS], char *err,
		      size_t err_size)
{
	unsigned found = 0, i, k, n;

	if (import_pread(&v->im, v->im.f, v->meta, t, REGION_LEN) || memcmp(t, "metadata", 8))
		return FAIL(ERR_FORMAT, "VHDX: its metadata is damaged");
	n = le16_get(t + XM_COUNT);
	for (i = 0; i < n && n <= XM_MAX; i++) {
		const uint8_t *e = t + XM_FIRST + i * XM_SIZE;

		for (k = 0; k < M_ITEMS && memcmp(e, items[k].guid, 16); k++)
			;
		if (k == M_ITEMS && le32_get(e + 24) & M_REQUIRED)
			return FAIL(ERR_NOSYS, "VHDX: it has metadata that is not known");
		if (k == M_ITEMS)
			continue;
		if (read_item(v, e, k, &value[k]))
			return FAIL(ERR_FORMAT, "VHDX: its metadata is damaged");
		found |= BIT(k);
	}
	if (~found & (BIT(M_PARAMS) | BIT(M_SIZE) | BIT(M_LOGICAL)))
		return FAIL(ERR_FORMAT, "VHDX: its metadata is incomplete");
	return 0;
}

static int set_geometry(struct vhdx *v, const uint64_t value[M_ITEMS], char *err, size_t err_size)
{
	uint32_t logical = (uint32_t)value[M_LOGICAL];
	uint64_t blocks;

	v->block_size = (uint32_t)value[M_PARAMS];
	v->im.b.size = value[M_SIZE];
	if (value[M_PARAMS] >> 32 & HAS_PARENT)
		return FAIL(ERR_NOSYS, "is a VHDX image of differences to another one, which is "
				       "not supported");
	if (v->block_size < MIB || v->block_size > 256 * MIB ||
	    (v->block_size & (v->block_size - 1)) || (logical != 512 && logical != 4096) ||
	    v->im.b.size % logical || v->im.b.size > UINT64_C(64) << 40)
		return FAIL(ERR_FORMAT, "VHDX: the sizes of its disk, blocks and sectors cannot "
					"be");
	v->chunk = (uint32_t)((UINT64_C(1) << 23) * logical / v->block_size);
	blocks = (v->im.b.size + v->block_size - 1) / v->block_size;
	if (blocks && (blocks + (blocks - 1) / v->chunk) * 8 > v->bat_len)
		return FAIL(ERR_FORMAT, "VHDX: its table is too small for the disk");
	return 0;
}

static int read_all(struct vhdx *v, char *err, size_t err_size)
{
	uint8_t *big = plat_alloc(REGION_LEN), magic[8];
	uint64_t value[M_ITEMS] = {0};
	int e;

	if (!big)
		return FAIL(ERR_NOMEM, "out of memory");
	if (import_pread(&v->im, v->im.f, 0, magic, sizeof(magic)) || memcmp(magic, "vhdxfile", 8))
		e = FAIL(ERR_FORMAT, "is no VHDX image");
	else
		e = read_headers(v, big, err, err_size);
	if (!e)
		e = read_regions(v, big, err, err_size);
	if (!e)
		e = read_items(v, big, value, err, err_size);
	if (!e)
		e = set_geometry(v, value, err, err_size);
	plat_free(big);
	return e;
}

int vhdx_open(struct bfile *f, const struct import_opts *o, struct block **out, char *err,
	      size_t err_size)
{
	struct vhdx *v = plat_alloc(sizeof(*v));
	int e;

	if (!v)
		return FAIL(ERR_NOMEM, "out of memory");
	import_init(&v->im, &vhdx_ops, f, o);
	e = read_all(v, err, err_size);
	if (e)
		import_destroy(&v->im);
	else
		*out = &v->im.b;
	return e;
}
