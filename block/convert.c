/* SPDX-License-Identifier: ISC */
/* convert.c: a new image with what a disk of any format has. Hosted; the caller waits. */

#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "block/chain.h"
#include "block/newfile.h"
#include "block/qcow2.h"
#include "block/qcow2_pack.h"
#include "block/unzip.h"

#define PIECE (2u << 20) /* that is read at once */
#define GRAIN 4096u      /* what is zeros is left out in such units, in raw images */

struct job {
	const struct block_convert_opts *o;
	struct block *from;
	/* one of these */
	struct block *to;
	struct qcow2_pack *pack;
	uint32_t unit; /* bytes; what is zeros is left out */
	uint8_t *buf;
	char why[300];
	bool read_failed;
};

static int put(struct job *j, uint64_t off, uint8_t *p, size_t len)
{
	if (!j->pack)
		return block_rw_sync(j->to, BLOCK_WRITE, off, p, len);
	return qcow2_pack_write(j->pack, off / QCOW2_PACK_CLUSTER, p);
}

/* Writes a piece, but for what is zeros in it. */
static int put_piece(struct job *j, uint64_t off, size_t len)
{
	size_t pos = 0, end;
	int err = 0;

	if (j->pack) { /* the last cluster is written whole */
		memset(j->buf + len, 0, (size_t)ALIGN_UP(len, (size_t)j->unit) - len);
		len = ALIGN_UP(len, (size_t)j->unit);
	}
	while (!err && pos < len) {
		size_t n = MIN((size_t)j->unit, len - pos);

		if (mem_is_zero(j->buf + pos, n)) {
			pos += n;
			continue;
		}
		/* Compressed clusters go one by one, others as far as there is data. */
		for (end = pos + n; !j->pack && end < len; end += n) {
			n = MIN((size_t)j->unit, len - end);
			if (mem_is_zero(j->buf + end, n))
				break;
		}
		err = put(j, off + pos, j->buf + pos, end - pos);
		pos = end;
	}
	return err;
}

static int copy(struct job *j)
{
	uint64_t off, size = j->from->size;
	int err = 0;

	for (off = 0; !err && off < size; off += PIECE) {
		size_t len = (size_t)MIN((uint64_t)PIECE, size - off);

		if (j->o->progress && j->o->progress(j->o->ctx, off, size)) {
			snprintf(j->why, sizeof(j->why), "was given up");
			return err_here(ERR_TIMEOUT);
		}
		err = block_rw_sync(j->from, BLOCK_READ, off, j->buf, len);
		j->read_failed = err;
		if (!err)
			err = put_piece(j, off, len);
	}
	if (!err && j->o->progress)
		j->o->progress(j->o->ctx, size, size);
	return err;
}

/* ---- what is written to -------------------------------------------------------------------------- */

static int make_empty(struct bfile *f, uint64_t size, enum block_format to, char *why,
		      size_t why_size)
{
	const struct qcow2_create c = {
		.size = size, .version = 3, .cluster_bits = 16, .refcount_order = 4};
	int e;

	if (to != BLOCK_RAW)
		return qcow2_create(f, &c, why, why_size);
	e = bfile_truncate(f, size);
	if (e)
		snprintf(why, why_size, "%s", err_str(e));
	return e;
}

static int convert_plain(struct job *j, const char *path)
{
	enum block_format to = j->o->to == BLOCK_RAW ? BLOCK_RAW : BLOCK_QCOW2;
	/* All of it is made safe at once, at the end. */
	const struct block_open_opts oo = {
		.path = path, .format = to, .cache = BLOCK_CACHE_UNSAFE, .no_uring = true};
	const struct file_opts fo = {0};
	struct bfile *f;
	int e = file_open(NULL, path, &fo, &f, j->why, sizeof(j->why));

	if (e)
		return e;
	e = make_empty(f, j->from->size, to, j->why, sizeof(j->why));
	f->ops->close(f);
	if (!e)
		e = block_open(NULL, &oo, &j->to, j->why, sizeof(j->why));
	if (e)
		return e;
	j->unit = to == BLOCK_RAW ? GRAIN : 65536;
	e = copy(j);
	if (!e)
		e = block_flush_sync(j->to);
	j->to->read_only = e; /* what is thrown away is not written at the end */
	block_close(j->to);
	return e;
}

static int convert_packed(struct job *j, const char *path)
{
	const struct file_opts fo = {.unsafe = true};
	struct bfile *f;
	int e = file_open(NULL, path, &fo, &f, j->why, sizeof(j->why));

	if (e)
		return e;
	e = qcow2_pack_create(f, j->from->size, j->o->zip == BLOCK_ZIP_ZSTD, zip_cluster, &j->pack);
	if (e == ERR_RANGE)
		snprintf(j->why, sizeof(j->why), "the disk is too large");
	if (!e) {
		j->unit = QCOW2_PACK_CLUSTER;
		e = copy(j);
		if (!e)
			e = qcow2_pack_finish(j->pack);
		qcow2_pack_free(j->pack);
	}
	f->ops->close(f);
	return e;
}

static int convert(struct job *j, const char *path)
{
	int e;

	j->buf = plat_pages_alloc(PIECE);
	if (!j->buf)
		return err_here(ERR_NOMEM);
	e = j->o->zip ? convert_packed(j, path) : convert_plain(j, path);
	plat_pages_free(j->buf, PIECE);
	return e;
}

int block_convert(const char *src, const char *dst, const struct block_convert_opts *o, char *err,
		  size_t err_size)
{
	const struct block_open_opts oo = {
		.path = src, .format = o->from, .read_only = true, .no_uring = true};
	struct job j = {.o = o};
	struct newfile n;
	int e;

	if (o->to > BLOCK_QCOW2 || (o->zip && o->to == BLOCK_RAW)) {
		snprintf(err, err_size, "%s: %s", dst,
			 o->zip && o->to == BLOCK_RAW ? "raw images are not compressed"
						      : "only raw and qcow2 images are made");
		return err_here(ERR_INVAL);
	}
	e = block_open(NULL, &oo, &j.from, err, err_size);
	if (e)
		return e;
	e = newfile_open(&n, dst, o->overwrite, j.why, sizeof(j.why));
	if (!e) {
		e = convert(&j, n.path);
		if (e)
			newfile_abort(&n);
		else
			e = newfile_commit(&n, j.why, sizeof(j.why));
	}
	block_close(j.from);
	if (e)
		snprintf(err, err_size, "%s: %s", j.read_failed ? src : dst,
			 j.why[0] ? j.why : err_str(e));
	return e;
}
