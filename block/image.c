/* SPDX-License-Identifier: ISC */
/* image.c: making, describing, checking and resizing images, for tools. Hosted; synchronous. */

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "block/aio.h"
#include "block/chain.h"
#include "block/qcow2.h"

static int fail(char *err, size_t err_size, const char *path, const char *why, int e)
{
	snprintf(err, err_size, "%s: %s", path, why);
	return e;
}

/* ---- creating ------------------------------------------------------------------------------------- */

/* The backing file must open; its size and format are taken where none were given. */
static int look_at_backing(const char *path, const struct block_create_opts *o,
			   struct qcow2_create *c, char *err, size_t err_size)
{
	enum block_format format;
	struct chain_opts co = {0};
	char backing[PATH_MAX];
	struct block *b;
	int e;

	if (chain_format(o->backing_format, &format))
		return fail(err, err_size, o->backing_format, "is no format of a backing file",
			    err_here(ERR_INVAL));
	e = chain_backing_path(path, o->backing, backing, sizeof(backing));
	if (e)
		return fail(err, err_size, o->backing, "is not a path", e);
	e = chain_open(&co, backing, format, true, &b, err, err_size);
	if (e)
		return e;
	c->backing = o->backing;
	c->backing_format = b->ops->name;
	if (!c->size)
		c->size = b->size;
	block_close(b);
	return 0;
}

static int order_of(unsigned bits)
{
	return bits && !(bits & (bits - 1)) && bits <= 64 ? __builtin_ctz(bits) : -1;
}

int block_create_qcow2(const char *path, const struct block_create_opts *o, char *err,
		       size_t err_size)
{
	const struct file_opts fo = {.create = true, .overwrite = o->overwrite};
	int order = order_of(o->refcount_bits ? o->refcount_bits : 16), e = 0;
	struct qcow2_create c = {
		.size = o->size,
		.version = o->version ? o->version : 3,
		.cluster_bits = o->cluster_bits ? o->cluster_bits : 16,
		.refcount_order = (unsigned)order,
	};
	char why[300];
	struct bfile *f;

	if (order < 0)
		return fail(err, err_size, path, "reference counts have 1, 2, 4 … 64 bits",
			    err_here(ERR_INVAL));
	if (o->size % BLOCK_SECTOR)
		return fail(err, err_size, path, "the size must be a multiple of 512 bytes",
			    err_here(ERR_INVAL));
	if (o->backing)
		e = look_at_backing(path, o, &c, err, err_size);
	if (e)
		return e;
	e = file_open(NULL, path, &fo, &f, why, sizeof(why));
	if (e)
		return fail(err, err_size, path, why, e);
	e = qcow2_create(f, &c, why, sizeof(why));
	f->ops->close(f);
	if (!e)
		return 0;
	if (!o->overwrite)
		unlink(path); /* it was not there before */
	return fail(err, err_size, path, why, e);
}

int block_create_raw(const char *path, uint64_t size, bool overwrite, char *err, size_t err_size)
{
	const struct file_opts fo = {.create = true, .overwrite = overwrite};
	char why[200];
	struct bfile *f;
	int e;

	if (size % BLOCK_SECTOR || size > INT64_MAX)
		return fail(err, err_size, path, "the size must be a multiple of 512 bytes",
			    err_here(ERR_INVAL));
	e = file_open(NULL, path, &fo, &f, why, sizeof(why));
	if (e)
		return fail(err, err_size, path, why, e);
	e = bfile_truncate(f, size);
	f->ops->close(f);
	if (e && !overwrite)
		unlink(path);
	return e ? fail(err, err_size, path, err_str(e), e) : 0;
}

/* ---- describing ------------------------------------------------------------------------------------ */

static void describe(const struct qcow2_hdr *h, struct block_info *out)
{
	out->size = h->size;
	out->version = h->version;
	out->cluster_bits = h->cluster_bits;
	out->refcount_bits = 1u << h->refcount_order;
	out->n_snapshots = h->n_snapshots;
	out->zstd = h->compression == 1;
	out->dirty = h->incompat & QI_DIRTY;
	out->corrupt = h->incompat & QI_CORRUPT;
	out->lazy_refcounts = h->compat & QC_LAZY_REFCOUNT;
	memcpy(out->backing, h->backing, sizeof(out->backing));
	memcpy(out->backing_format, h->backing_format, sizeof(out->backing_format));
}

/* Formats that are only read have no more to describe. */
static int size_of_import(const char *path, struct block_info *out, char *err, size_t err_size)
{
	const struct chain_opts o = {0};
	struct block *b;
	int e = chain_open(&o, path, out->format, true, &b, err, err_size);

	if (e)
		return e;
	out->size = b->size;
	block_close(b);
	return 0;
}

int block_info(const char *path, enum block_format format, struct block_info *out, char *err,
	       size_t err_size)
{
	const struct file_opts fo = {.read_only = true, .no_lock = true};
	struct qcow2_hdr *h;
	char why[300];
	struct bfile *f;
	int e = file_open(NULL, path, &fo, &f, why, sizeof(why));

	if (e)
		return fail(err, err_size, path, why, e);
	memset(out, 0, sizeof(*out));
	out->format = format;
	out->file_size = bfile_size(f);
	out->size = ALIGN_DOWN(out->file_size, (uint64_t)BLOCK_SECTOR);
	out->allocated = file_allocated(f);
	if (format == BLOCK_AUTO)
		e = chain_probe(f, &out->format, why, sizeof(why));
	h = plat_alloc(sizeof(*h));
	if (!e && out->format == BLOCK_QCOW2) {
		snprintf(why, sizeof(why), "out of memory");
		e = h ? qcow2_read_header(f, h, why, sizeof(why)) : err_here(ERR_NOMEM);
		if (!e)
			describe(h, out);
	}
	plat_free(h);
	f->ops->close(f);
	if (e)
		return fail(err, err_size, path, why, e);
	return out->format > BLOCK_QCOW2 ? size_of_import(path, out, err, err_size) : 0;
}

/* ---- checking -------------------------------------------------------------------------------------- */

int block_check(const char *path, bool repair, struct block_check *out, char *err, size_t err_size)
{
	const struct chain_opts o = {.for_check = true};
	struct block *b;
	int e = chain_open(&o, path, BLOCK_AUTO, !repair, &b, err, err_size);

	if (e)
		return e;
	e = qcow2_check(b, repair, out);
	if (!e && repair && out->corruptions <= out->fixed)
		e = qcow2_mark_sound(b);
	block_close(b);
	return e ? fail(err, err_size, path, err_str(e), e) : 0;
}

/* ---- snapshots ------------------------------------------------------------------------------------- */

int block_snapshot_file(const char *path, const struct block_snapshot *s, char *err,
			size_t err_size)
{
	bool write = s->op != BLOCK_SNAPSHOT_FIND;
	struct chain_opts o = {0};
	char why[300];
	struct block *b;
	int e = aio_create(NULL, true, &o.aio);

	if (e)
		return fail(err, err_size, path, err_str(e), e);
	e = chain_open(&o, path, BLOCK_QCOW2, !write, &b, err, err_size);
	aio_put(o.aio);
	if (e)
		return e;
	e = block_snapshot(b, s, why, sizeof(why));
	block_close(b);
	return e ? fail(err, err_size, path, why, e) : 0;
}

/* ---- resizing -------------------------------------------------------------------------------------- */

static int resize_raw(const char *path, uint64_t size, char *err, size_t err_size)
{
	const struct file_opts fo = {0};
	char why[200];
	struct bfile *f;
	int e = file_open(NULL, path, &fo, &f, why, sizeof(why));

	if (e)
		return fail(err, err_size, path, why, e);
	e = bfile_truncate(f, size);
	f->ops->close(f);
	return e ? fail(err, err_size, path, err_str(e), e) : 0;
}

static int resize_qcow2(const char *path, uint64_t size, char *err, size_t err_size)
{
	struct chain_opts o = {0};
	char why[200] = "";
	struct block *b;
	uint64_t old;
	int e = aio_create(NULL, true, &o.aio);

	if (e)
		return fail(err, err_size, path, err_str(e), e);
	e = chain_open(&o, path, BLOCK_QCOW2, false, &b, err, err_size);
	aio_put(o.aio);
	if (e)
		return e;
	old = b->size;
	e = qcow2_resize(b, size, why, sizeof(why));
	/* A backing file that is larger than the disk was must not show now. */
	if (!e && b->size > old) {
		e = block_rw_sync(b, BLOCK_ZERO, old, NULL, (size_t)(b->size - old));
		snprintf(why, sizeof(why), "%s", err_str(e));
	}
	block_close(b);
	return e ? fail(err, err_size, path, why, e) : 0;
}

int block_resize(const char *path, enum block_format format, uint64_t size, char *err,
		 size_t err_size)
{
	struct block_info info;
	int e = block_info(path, format, &info, err, err_size);

	if (e)
		return e;
	if (size % BLOCK_SECTOR || size > INT64_MAX)
		return fail(err, err_size, path, "the size must be a multiple of 512 bytes",
			    err_here(ERR_INVAL));
	if (info.format > BLOCK_QCOW2)
		return fail(err, err_size, path,
			    "images of this format are only read: make a "
			    "qcow2 one of it with vigia image convert",
			    err_here(ERR_ROFS));
	if (info.format == BLOCK_RAW)
		return resize_raw(path, size, err, err_size);
	return resize_qcow2(path, size, err, err_size);
}
