/* SPDX-License-Identifier: ISC */
/* block.c: opening a disk: which format, which backing files, which overlay. Hosted. */

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "block/aio.h"
#include "block/chain.h"
#include "block/import.h"
#include "block/qcow2.h"
#include "block/raw.h"
#include "block/unzip.h"

#define MAX_DEPTH 64

/* The images from the one asked for down to the current one. */
struct level {
	const struct level *above;
	unsigned depth;
	struct file_id id;
};

static int fail(char *err, size_t err_size, const char *path, const char *why, int e)
{
	snprintf(err, err_size, "%s: %s", path, why);
	return e;
}

/* ---- formats -------------------------------------------------------------------------------------- */

typedef int (*import_fn)(struct bfile *f, const struct import_opts *o, struct block **out,
			 char *err, size_t err_size);

static const struct {
	const char *name, *title, *qemu; /* qemu: what its tools call it, where that differs */
	import_fn open;                  /* of those that are only read */
} formats[BLOCK_FORMATS] = {
	[BLOCK_AUTO] = {"auto", "disk", NULL, NULL},
	[BLOCK_RAW] = {"raw", "raw", "file", NULL},
	[BLOCK_QCOW2] = {"qcow2", "qcow2", NULL, NULL},
	[BLOCK_VMDK] = {"vmdk", "VMDK", NULL, vmdk_open},
	[BLOCK_VDI] = {"vdi", "VDI", NULL, vdi_open},
	[BLOCK_VHD] = {"vhd", "VHD", "vpc", vhd_open},
	[BLOCK_VHDX] = {"vhdx", "VHDX", NULL, vhdx_open},
};

/* What an image of each begins with. */
static const struct {
	enum block_format format;
	unsigned off, len;
	const char *magic;
} magics[] = {
	{BLOCK_QCOW2, 0, 4, "QFI\xfb"},
	{BLOCK_VMDK, 0, 4, "KDMV"},
	{BLOCK_VMDK, 0, 4, "COWD"},
	{BLOCK_VMDK, 0, 21, "# Disk DescriptorFile"},
	{BLOCK_VDI, 0x40, 4, "\x7f\x10\xda\xbe"},
	{BLOCK_VHD, 0, 8, "conectix"},
	{BLOCK_VHDX, 0, 8, "vhdxfile"},
};

const char *block_format_name(enum block_format format)
{
	return formats[format].name;
}

enum block_format block_format_of(const char *name)
{
	unsigned i;

	for (i = 0; i < BLOCK_FORMATS; i++)
		if (!strcmp(name, formats[i].name) ||
		    (formats[i].qemu && !strcmp(name, formats[i].qemu)))
			return i;
	return strcmp(name, "host_device") ? BLOCK_FORMATS : BLOCK_RAW;
}

/* A fixed VHD image begins as a raw one does. Its end alone is no proof, since the guest of a raw
 * image may write it: the name has to agree. */
static bool is_fixed_vhd(struct bfile *f)
{
	size_t n = strlen(f->name);

	return n > 4 && !strcasecmp(f->name + n - 4, ".vhd") && vhd_has_footer(f);
}

int chain_probe(struct bfile *f, enum block_format *format, char *why, size_t why_size)
{
	uint8_t first[128];
	const char *other;
	unsigned i;
	int e = bfile_pread(f, 0, first, sizeof(first));

	if (e) {
		snprintf(why, why_size, "cannot be read: %s", err_str(e));
		return e;
	}
	for (i = 0; i < ARRAY_SIZE(magics); i++)
		if (!memcmp(first + magics[i].off, magics[i].magic, magics[i].len)) {
			*format = magics[i].format;
			return 0;
		}
	*format = is_fixed_vhd(f) ? BLOCK_VHD : BLOCK_RAW;
	other = raw_looks_like(first, sizeof(first));
	if (!other)
		return 0;
	snprintf(why, why_size,
		 "is a %s image, which is not supported; qemu-img convert -O qcow2 makes one that "
		 "is (or say format=raw)",
		 other);
	return err_here(ERR_NOSYS);
}

int chain_format(const char *name, enum block_format *format)
{
	*format = name && name[0] ? block_format_of(name) : BLOCK_AUTO;
	return *format == BLOCK_FORMATS ? err_here(ERR_NOSYS) : 0;
}

int chain_backing_path(const char *image, const char *name, char *out, size_t size)
{
	const char *slash = strrchr(image, '/'), *colon;
	int dir, n;

	if (!strncmp(name, "file:", 5))
		name += 5;
	colon = strchr(name, ':');
	if (colon && (!strchr(name, '/') || colon < strchr(name, '/')))
		return err_here(ERR_NOSYS); /* nbd:…, json:… */
	dir = slash && name[0] != '/' ? (int)(slash - image) + 1 : 0;
	n = snprintf(out, size, "%.*s%s", dir, image, name);
	return n >= 0 && (size_t)n < size ? 0 : err_here(ERR_RANGE);
}

static int open_level(const struct chain_opts *o, const char *path, enum block_format format,
		      bool read_only, const struct level *above, struct block **out, char *err,
		      size_t err_size);

static int open_backing(const struct chain_opts *o, const char *image, const struct qcow2_hdr *h,
			const struct level *level, struct block **out, char *err, size_t err_size)
{
	enum block_format format;
	char path[PATH_MAX];

	if (chain_format(h->backing_format, &format)) {
		snprintf(err, err_size,
			 "%s: its backing file %s has format %s, which is not supported", image,
			 h->backing, h->backing_format);
		return err_here(ERR_NOSYS);
	}
	if (chain_backing_path(image, h->backing, path, sizeof(path))) {
		snprintf(err, err_size, "%s: its backing file %s is not a path", image, h->backing);
		return err_here(ERR_NOSYS);
	}
	return open_level(o, path, format, true, level, out, err, err_size);
}

static int open_qcow2(const struct chain_opts *o, const char *path, struct bfile *f, bool read_only,
		      const struct level *level, struct block **out, char *err, size_t err_size)
{
	struct qcow2_opts qo = {
		.read_only = read_only,
		.discard = !o->no_discard,
		.for_check = o->for_check,
		.take_backing = true,
		.unzip = unzip_cluster,
	};
	struct qcow2_hdr *h = plat_alloc(sizeof(*h));
	char why[300] = "out of memory";
	int e = h ? qcow2_read_header(f, h, why, sizeof(why)) : ERR_NOMEM;

	if (e)
		fail(err, err_size, path, why, e);
	else if (h->backing[0] && !o->for_check)
		e = open_backing(o, path, h, level, &qo.backing, err, err_size);
	plat_free(h);
	if (e)
		return e;
	e = qcow2_open(f, &qo, out, why, sizeof(why));
	if (!e)
		return 0;
	block_close(qo.backing);
	return fail(err, err_size, path, why, e);
}

/* Another file of an image of several. */
struct sibling {
	const struct chain_opts *o;
	const char *path; /* of the image */
};

static int open_sibling(void *ctx, const char *name, struct bfile **out)
{
	const struct file_opts fo = {.read_only = true};
	const struct sibling *s = ctx;
	const char *slash = strrchr(s->path, '/');
	char path[PATH_MAX], why[200];
	int dir = slash ? (int)(slash - s->path) + 1 : 0,
	    n = snprintf(path, sizeof(path), "%.*s%s", dir, s->path, name);

	if (n < 0 || (size_t)n >= sizeof(path))
		return err_here(ERR_RANGE);
	return file_open(s->o->aio, path, &fo, out, why, sizeof(why));
}

static int open_import(const struct chain_opts *o, const char *path, enum block_format format,
		       struct bfile *f, bool read_only, struct block **out, char *err,
		       size_t err_size)
{
	struct sibling s = {o, path};
	const struct import_opts io = {unzip_cluster, open_sibling, &s};
	char why[300] = "";
	int e;

	if (!read_only) {
		snprintf(err, err_size,
			 "%s: is a %s image, which can only be read: say ro or snapshot, or make "
			 "one that can be written: vigia image convert %s NEW.qcow2",
			 path, formats[format].title, path);
		return err_here(ERR_ROFS);
	}
	e = formats[format].open(f, &io, out, why, sizeof(why));
	return e ? fail(err, err_size, path, why, e) : 0;
}

static int open_format(const struct chain_opts *o, const char *path, enum block_format format,
		       struct bfile *f, bool read_only, const struct level *level,
		       struct block **out, char *err, size_t err_size)
{
	struct raw_opts ro = {.read_only = read_only, .discard = !o->no_discard};
	char why[200];
	int e;

	if (format == BLOCK_AUTO) {
		e = chain_probe(f, &format, why, sizeof(why));
		if (e)
			return fail(err, err_size, path, why, e);
		ro.guessed = format == BLOCK_RAW;
	}
	if (format == BLOCK_QCOW2)
		return open_qcow2(o, path, f, read_only, level, out, err, err_size);
	if (o->for_check) {
		snprintf(err, err_size, "%s: is a %s image; only qcow2 images are checked", path,
			 formats[format].title);
		return err_here(ERR_INVAL);
	}
	if (formats[format].open)
		return open_import(o, path, format, f, read_only, out, err, err_size);
	e = raw_open(f, &ro, out);
	return e ? fail(err, err_size, path, err_str(e), e) : 0;
}

static int open_level(const struct chain_opts *o, const char *path, enum block_format format,
		      bool read_only, const struct level *above, struct block **out, char *err,
		      size_t err_size)
{
	const struct file_opts fo = {
		.read_only = read_only,
		.unsafe = o->unsafe,
		.no_discard = o->no_discard,
	};
	struct level level = {.above = above, .depth = above ? above->depth + 1 : 0};
	const struct level *l;
	char why[200];
	struct bfile *f;
	int e;

	if (level.depth >= MAX_DEPTH)
		return fail(err, err_size, path, "the chain of backing files is too long",
			    err_here(ERR_RANGE));
	if (above && file_path_id(path, &level.id)) /* before the lock says that it is in use */
		for (l = above; l; l = l->above)
			if (l->id.dev == level.id.dev && l->id.ino == level.id.ino)
				return fail(err, err_size, path, "is its own backing file",
					    err_here(ERR_FORMAT));
	e = file_open(o->aio, path, &fo, &f, why, sizeof(why));
	if (e)
		return fail(err, err_size, path, why, e);
	file_get_id(f, &level.id);
	e = open_format(o, path, format, f, read_only, &level, out, err, err_size);
	if (e)
		f->ops->close(f);
	return e;
}

int chain_open(const struct chain_opts *o, const char *path, enum block_format format,
	       bool read_only, struct block **out, char *err, size_t err_size)
{
	return open_level(o, path, format, read_only, NULL, out, err, err_size);
}

/* Puts a temporary image over *b, which it takes if it succeeds. */
static int put_overlay(struct aio *aio, bool discard, struct block **b, char *err, size_t err_size)
{
	const struct qcow2_create c = {
		.size = (*b)->size, .version = 3, .cluster_bits = 16, .refcount_order = 4};
	const struct qcow2_opts qo = {
		.discard = discard,
		.take_backing = true,
		.backing = *b,
	};
	struct block *over;
	struct bfile *f;
	int e = file_temp(aio, &f, err, err_size);

	if (e)
		return e;
	e = qcow2_create(f, &c, err, err_size);
	if (!e)
		e = qcow2_open(f, &qo, &over, err, err_size);
	if (e) {
		f->ops->close(f);
		return e;
	}
	snprintf(over->name, sizeof(over->name), "%s", (*b)->name);
	*b = over;
	return 0;
}

int block_open(struct plat_loop *loop, const struct block_open_opts *opts, struct block **out,
	       char *err, size_t err_size)
{
	struct chain_opts o = {
		.no_discard = opts->no_discard,
		.unsafe = opts->cache == BLOCK_CACHE_UNSAFE,
	};
	struct block *b;
	int e = aio_create(loop, opts->no_uring, &o.aio);

	if (e)
		return fail(err, err_size, opts->path, "no asynchronous I/O", e);
	e = chain_open(&o, opts->path, opts->format, opts->read_only || opts->snapshot, &b, err,
		       err_size);
	if (!e && opts->snapshot) {
		e = put_overlay(o.aio, !opts->no_discard, &b, err, err_size);
		if (e)
			block_close(b);
	}
	if (!e)
		*out = b;
	aio_put(o.aio);
	return e;
}

int block_open_fd(struct plat_loop *loop, int fd, const char *name, bool read_only,
		  struct block **out, char *err, size_t err_size)
{
	const struct file_opts fo = {.read_only = read_only};
	const struct raw_opts ro = {.read_only = read_only, .discard = true};
	char why[200] = "no asynchronous I/O";
	struct aio *aio;
	struct bfile *f;
	int e = aio_create(loop, false, &aio);

	if (e)
		return fail(err, err_size, name, why, e);
	e = file_open_fd(aio, fd, name, &fo, &f, why, sizeof(why));
	aio_put(aio); /* the file has its own */
	if (e)
		return fail(err, err_size, name, why, e);
	e = raw_open(f, &ro, out);
	if (!e)
		return 0;
	f->ops->close(f);
	return fail(err, err_size, name, err_str(e), e);
}
