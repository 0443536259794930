/* SPDX-License-Identifier: ISC */
/* vmdk.c: disks of VMware ("Virtual Disk Format 5.0"). A descriptor, a text, lists extents, which are
 * files with a part of the disk each: FLAT ones have its bytes, SPARSE ones a grain directory that
 * leads to grain tables that lead to grains (usually 64 KiB). A sparse file may hold the descriptor
 * itself and be all there is. In a streamOptimized one grains are compressed, each after a marker
 * with its sector and length, and the directory is found through a footer at the end. */

#include "base/str.h"
#include "block/import.h"
#include "block/le.h"

#define VMDK_MAGIC  0x564d444bu /* "KDMV" */
#define GD_AT_END   UINT64_MAX
#define MAX_EXTENTS 512
#define MAX_TEXT    65536
#define MAX_GD      (64 * MIB)

enum { /* sparse header; all in sectors where nothing is said */
       VM_VERSION = 4,
       VM_FLAGS = 8,
       VM_CAPACITY = 12,
       VM_GRAIN = 20,
       VM_DESC = 28,
       VM_DESC_LEN = 36,
       VM_GTES = 44, /* u32: entries of a grain table */
       VM_GD = 56,
       VM_COMPRESS = 77, /* u16: 1 deflate */
       VM_LEN = 512,
};
#define VMF_ZERO_GRAIN BIT(2)
#define VMF_COMPRESSED BIT(16)

enum vextent_kind { V_ZERO, V_FLAT, V_SPARSE };

struct vextent {
	enum vextent_kind kind;
	struct bfile *f;
	bool own;            /* f is closed with it */
	uint64_t start, len; /* bytes of the disk */
	uint64_t off;        /* FLAT: in f */
	/* SPARSE */
	uint32_t grain, gtes; /* bytes; entries of a table */
	bool compressed, zero_grain;
	uint32_t *gd;
	uint32_t n_gd;
};

struct vmdk {
	struct import im;
	struct vextent *e;
	unsigned n;
};

/* ---- reading ------------------------------------------------------------------------------------- */

static int map_grain(struct import *im, const struct vextent *e, uint64_t off,
		     struct import_range *r)
{
	uint64_t grain = off / e->grain, gt = grain / e->gtes;
	uint8_t marker[12];
	uint32_t entry;
	int err;

	r->skip = (uint32_t)(off % e->grain);
	r->len = MIN(e->grain - r->skip, e->len - off);
	if (gt >= e->n_gd || !e->gd[gt])
		return 0;
	err = import_entry(im, e->f, e->gd[gt] * UINT64_C(512) + grain % e->gtes * 4, 4, &entry);
	if (err || !entry || (entry == 1 && e->zero_grain))
		return err;
	r->f = e->f;
	r->off = entry * UINT64_C(512);
	r->kind = IMPORT_DATA;
	if (!e->compressed) {
		r->off += r->skip;
		return 0;
	}
	err = import_pread(im, e->f, r->off, marker, sizeof(marker));
	if (err)
		return err;
	r->kind = IMPORT_ZIP;
	r->off += sizeof(marker);
	r->zip_len = le32_get(marker + 8);
	r->unit = e->grain;
	if (le64_get(marker) != ALIGN_DOWN(off, (uint64_t)e->grain) / 512)
		return err_here(ERR_FORMAT);
	return 0;
}

static int vmdk_map(struct import *im, uint64_t off, struct import_range *r)
{
	struct vmdk *v = container_of(im, struct vmdk, im);
	const struct vextent *e = v->e;

	while (off - e->start >= e->len)
		e++;
	off -= e->start;
	if (e->kind == V_SPARSE)
		return map_grain(im, e, off, r);
	r->kind = e->kind == V_FLAT ? IMPORT_DATA : IMPORT_ZERO;
	r->f = e->f;
	r->off = e->off + off;
	r->len = e->len - off;
	return 0;
}

static void vmdk_fini(struct import *im)
{
	struct vmdk *v = container_of(im, struct vmdk, im);
	unsigned i;

	for (i = 0; v->e && i < v->n; i++) {
		if (v->e[i].own)
			v->e[i].f->ops->close(v->e[i].f);
		plat_free(v->e[i].gd);
	}
	plat_free(v->e);
}

static const struct import_ops vmdk_ops = {
	.block = IMPORT_BLOCK_OPS("vmdk"),
	.map = vmdk_map,
	.fini = vmdk_fini,
};

/* ---- sparse files -------------------------------------------------------------------------------- */

#define FAIL(e, ...) (str_format(err, err_size, __VA_ARGS__), err_here(e))

static int read_gd(struct vmdk *v, struct vextent *e, uint64_t sector, char *err, size_t err_size)
{
	uint64_t per_gt = (uint64_t)e->grain * e->gtes, n = (e->len + per_gt - 1) / per_gt;

	if (n * 4 > MAX_GD || n * 4 > bfile_size(e->f) || sector > bfile_size(e->f) / 512)
		return FAIL(ERR_FORMAT, "VMDK: its grain directory is damaged");
	e->n_gd = (uint32_t)n;
	e->gd = plat_alloc((size_t)n * 4);
	if (!e->gd)
		return FAIL(ERR_NOMEM, "out of memory");
	if (import_pread(&v->im, e->f, sector * 512, e->gd, (size_t)n * 4))
		return FAIL(ERR_FORMAT, "VMDK: its grain directory is truncated");
	return 0;
}

/* e->f is the file; the rest of e is filled. */
static int open_sparse(struct vmdk *v, struct vextent *e, uint8_t *h, char *err, size_t err_size)
{
	uint64_t size = bfile_size(e->f), sectors, grain;
	uint32_t flags;

	if (import_pread(&v->im, e->f, 0, h, VM_LEN) || le32_get(h) != VMDK_MAGIC)
		return FAIL(ERR_FORMAT, "VMDK: %s is no sparse extent", e->f->name);
	if (le64_get(h + VM_GD) == GD_AT_END &&
	    (size < 3 * 512 || import_pread(&v->im, e->f, size - 1024, h, VM_LEN) ||
	     le32_get(h) != VMDK_MAGIC || le64_get(h + VM_GD) == GD_AT_END))
		return FAIL(ERR_FORMAT, "VMDK: its footer is damaged or truncated");
	flags = le32_get(h + VM_FLAGS);
	sectors = le64_get(h + VM_CAPACITY);
	grain = le64_get(h + VM_GRAIN);
	e->gtes = le32_get(h + VM_GTES);
	if (!le32_get(h + VM_VERSION) || le32_get(h + VM_VERSION) > 3)
		return FAIL(ERR_NOSYS, "is a VMDK image of version %u; 1 to 3 are supported",
			    le32_get(h + VM_VERSION));
	if (!grain || (grain & (grain - 1)) || grain > 32768 || !e->gtes || e->gtes > 65536)
		return FAIL(ERR_FORMAT, "VMDK: the size of its grains or grain tables cannot be");
	if (sectors > INT64_MAX / 512)
		return FAIL(ERR_FORMAT, "VMDK: the size of its disk cannot be");
	e->kind = V_SPARSE;
	e->len = sectors * 512;
	e->grain = (uint32_t)grain * 512;
	e->zero_grain = flags & VMF_ZERO_GRAIN;
	e->compressed = flags & VMF_COMPRESSED;
	if (e->compressed && le16_get(h + VM_COMPRESS) != 1)
		return FAIL(ERR_NOSYS, "VMDK: its compression %u is not supported",
			    le16_get(h + VM_COMPRESS));
	if (e->compressed && e->grain > v->im.zip_max) {
		if (v->im.zip_in || import_zip_init(&v->im, e->grain))
			return FAIL(ERR_NOMEM, "VMDK: extents with grains of different sizes");
	}
	return read_gd(v, e, le64_get(h + VM_GD), err, err_size);
}

/* ---- descriptors --------------------------------------------------------------------------------- */

struct words {
	const char *p; /* the rest of the line */
};

/* The next word of a line, or what stands between quotes; false: none, or it does not fit. */
static bool word(struct words *w, char *out, size_t size)
{
	char end = ' ';
	size_t n = 0;

	while (*w->p == ' ' || *w->p == '\t')
		w->p++;
	if (*w->p == '"')
		end = *w->p++;
	while (*w->p && *w->p != '\r' && *w->p != end && (end == '"' || *w->p != '\t')) {
		if (n + 1 >= size)
			return false;
		out[n++] = *w->p++;
	}
	if (end == '"' && *w->p++ != '"')
		return false;
	out[n] = 0;
	return n > 0;
}

static bool number(struct words *w, uint64_t max, uint64_t *out)
{
	char text[24];
	const char *p;

	if (!word(w, text, sizeof(text)))
		return false;
	*out = 0;
	for (p = text; *p; p++) {
		if (*p < '0' || *p > '9' || *out > max / 10)
			return false;
		*out = *out * 10 + (uint64_t)(*p - '0');
	}
	return *out <= max;
}

static bool starts(const char *s, const char *with)
{
	while (*with && *s == *with)
		s++, with++;
	return !*with;
}

/* A name in the image's own folder: an image from elsewhere must not choose files of the host. */
static bool plain_name(const char *name)
{
	const char *p;

	if (str_eq(name, "..") || str_eq(name, "."))
		return false;
	for (p = name; *p; p++)
		if (*p == '/')
			return false;
	return true;
}

static int open_file(struct vmdk *v, struct vextent *e, const char *name, char *err,
		     size_t err_size)
{
	if (!plain_name(name))
		return FAIL(ERR_ACCES, "VMDK: its extent %s is not in the same folder", name);
	if (!v->im.o.file || v->im.o.file(v->im.o.ctx, name, &e->f))
		return FAIL(ERR_NOENT, "VMDK: its extent %s cannot be opened", name);
	e->own = true;
	return 0;
}

/* RW 4192256 FLAT "disk-flat.vmdk" 0 */
static int add_extent(struct vmdk *v, const char *line, char *err, size_t err_size)
{
	struct words w = {line};
	struct vextent *e = &v->e[v->n];
	char access[12], kind[16], name[256];
	uint8_t h[VM_LEN];
	uint64_t sectors;
	int r = 0;

	if (v->n >= MAX_EXTENTS)
		return FAIL(ERR_RANGE, "VMDK: more than %u extents", MAX_EXTENTS);
	if (!word(&w, access, sizeof(access)) || !number(&w, INT64_MAX / 512, &sectors) ||
	    !word(&w, kind, sizeof(kind)))
		return FAIL(ERR_FORMAT, "VMDK: a line of its descriptor is damaged");
	*e = (struct vextent){.kind = V_ZERO, .start = v->im.b.size};
	if (str_eq(access, "NOACCESS"))
		return FAIL(ERR_ACCES, "VMDK: one of its extents may not be read");
	if (!str_eq(kind, "ZERO")) {
		if (!word(&w, name, sizeof(name)))
			return FAIL(ERR_FORMAT, "VMDK: a line of its descriptor is damaged");
		r = open_file(v, e, name, err, err_size);
		if (r)
			return r;
	}
	v->n++; /* vmdk_fini() closes the file */
	if (str_eq(kind, "FLAT") || str_eq(kind, "VMFS")) {
		e->kind = V_FLAT;
		if (!number(&w, INT64_MAX / 512, &e->off))
			e->off = 0;
		e->off *= 512;
	} else if (str_eq(kind, "SPARSE")) {
		r = open_sparse(v, e, h, err, err_size);
	} else if (!str_eq(kind, "ZERO")) {
		return FAIL(ERR_NOSYS, "VMDK: extents of kind %s are not supported", kind);
	}
	e->len = sectors * 512;
	if (v->im.b.size > INT64_MAX - e->len)
		return FAIL(ERR_FORMAT, "VMDK: the size of its disk cannot be");
	v->im.b.size += e->len;
	return r;
}

static const char *next_line(char **at)
{
	char *line = *at, *p;

	if (!*line)
		return NULL;
	for (p = line; *p && *p != '\n'; p++)
		;
	*at = *p ? p + 1 : p;
	*p = 0;
	return line;
}

/* text: with a zero at its end. embedded: in the one extent that there is. */
static int read_descriptor(struct vmdk *v, char *text, bool embedded, char *err, size_t err_size)
{
	const char *line;
	int e = 0;

	while (!e && (line = next_line(&text))) {
		if (starts(line, "parentCID=") && !starts(line, "parentCID=ffffffff"))
			return FAIL(ERR_NOSYS, "is a VMDK image of differences to another one, "
					       "which is not supported");
		if (!embedded &&
		    (starts(line, "RW ") || starts(line, "RDONLY ") || starts(line, "NOACCESS ")))
			e = add_extent(v, line, err, err_size);
	}
	return e;
}

static int open_text(struct vmdk *v, uint64_t off, uint64_t len, bool embedded, char *err,
		     size_t err_size)
{
	uint64_t size = bfile_size(v->im.f);
	char *text;
	int e;

	if (off > size || len > size - off || len > MAX_TEXT)
		return FAIL(ERR_FORMAT, "VMDK: its descriptor is truncated or too long");
	text = plat_alloc((size_t)len + 1);
	if (!text)
		return FAIL(ERR_NOMEM, "out of memory");
	e = bfile_pread(v->im.f, off, text, (size_t)len);
	if (e)
		str_format(err, err_size, "cannot be read: %s", err_str(e));
	else
		e = read_descriptor(v, text, embedded, err, err_size);
	plat_free(text);
	if (!e && !embedded && !v->n)
		return FAIL(ERR_FORMAT, "VMDK: its descriptor has no extents");
	return e;
}

/* The file itself is the only extent. */
static int open_single(struct vmdk *v, char *err, size_t err_size)
{
	uint8_t h[VM_LEN];
	int e;

	v->e[0].f = v->im.f;
	v->n = 1;
	e = open_sparse(v, &v->e[0], h, err, err_size);
	v->im.b.size = v->e[0].len;
	if (!e && le64_get(h + VM_DESC) && le64_get(h + VM_DESC_LEN) <= MAX_TEXT / 512)
		e = open_text(v, le64_get(h + VM_DESC) % (INT64_MAX / 512) * 512,
			      le64_get(h + VM_DESC_LEN) * 512, true, err, err_size);
	return e;
}

int vmdk_open(struct bfile *f, const struct import_opts *o, struct block **out, char *err,
	      size_t err_size)
{
	struct vmdk *v = plat_alloc(sizeof(*v));
	uint8_t magic[4] = "";
	int e;

	if (!v)
		return FAIL(ERR_NOMEM, "out of memory");
	import_init(&v->im, &vmdk_ops, f, o);
	v->e = plat_alloc(MAX_EXTENTS * sizeof(*v->e));
	if (!v->e)
		e = FAIL(ERR_NOMEM, "out of memory");
	else if (bfile_pread(f, 0, magic, sizeof(magic)))
		e = FAIL(ERR_IO, "cannot be read");
	else if (le32_get(magic) == VMDK_MAGIC)
		e = open_single(v, err, err_size);
	else if (!memcmp(magic, "COWD", 4))
		e = FAIL(ERR_NOSYS, "is a VMDK image of an old ESX kind, which is not supported");
	else
		e = open_text(v, 0, bfile_size(f), false, err, err_size);
	if (e)
		import_destroy(&v->im);
	else
		*out = &v->im.b;
	return e;
}
