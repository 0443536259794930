/* SPDX-License-Identifier: ISC */
/* import.c: requests to images that are only read. Entered by any thread; im->lock is held while a
 * format looks at its tables and while a piece is unpacked, not while data is read. */

#include "base/str.h"
#include "block/import.h"

int import_pread(struct import *im, struct bfile *f, uint64_t off, void *buf, size_t len)
{
	uint64_t size = bfile_size(f);
	int err;

	if (off > size || len > size - off)
		return err_here(ERR_IO);
	err = bfile_pread(f, off, buf, len);
	if (!err && im->ops->patch)
		im->ops->patch(im, f, off, buf, len);
	return err;
}

int import_entry(struct import *im, struct bfile *f, uint64_t off, unsigned width, void *out)
{
	uint64_t base = ALIGN_DOWN(off, (uint64_t)IMPORT_WINDOW);
	int err;

	if (off > bfile_size(f) || width > bfile_size(f) - off)
		return err_here(ERR_IO);
	if (off - base + width > IMPORT_WINDOW) /* a table that is not aligned */
		return import_pread(im, f, off, out, width);
	if (im->win_file != f || im->win_off != base) {
		im->win_file = NULL;
		err = bfile_pread(f, base, im->win, IMPORT_WINDOW);
		if (err)
			return err;
		if (im->ops->patch)
			im->ops->patch(im, f, base, im->win, IMPORT_WINDOW);
		im->win_file = f;
		im->win_off = base;
	}
	memcpy(out, im->win + (off - base), width);
	return 0;
}

/* ---- reading ------------------------------------------------------------------------------------- */

/* With the lock held. */
static int unpack(struct import *im, const struct import_range *r)
{
	int err;

	if (im->zip_file == r->f && im->zip_off == r->off)
		return 0;
	if (!im->o.unzip)
		return err_here(ERR_NOSYS);
	if (r->zip_len > 2 * im->zip_max || r->unit > im->zip_max)
		return err_here(ERR_FORMAT);
	im->zip_file = NULL;
	err = import_pread(im, r->f, r->off, im->zip_in, r->zip_len);
	if (!err)
		err = im->o.unzip(2, im->zip_in, r->zip_len, im->zip_out, r->unit);
	if (err)
		return err;
	im->zip_file = r->f;
	im->zip_off = r->off;
	return 0;
}

/* Reads the beginning of off; *len: how much of it. */
static int read_range(struct import *im, uint64_t off, uint8_t *buf, size_t *len)
{
	struct import_range r = {IMPORT_ZERO};
	int err;

	plat_mutex_lock(&im->lock);
	err = im->ops->map(im, off, &r);
	if (!err)
		*len = (size_t)MIN((uint64_t)*len, r.len);
	if (!err && r.kind == IMPORT_ZIP) {
		err = unpack(im, &r);
		if (!err)
			memcpy(buf, im->zip_out + r.skip, *len);
	}
	plat_mutex_unlock(&im->lock);
	if (err || r.kind == IMPORT_ZIP)
		return err;
	if (r.kind == IMPORT_ZERO) {
		memset(buf, 0, *len);
		return 0;
	}
	if (r.off >= bfile_size(r.f)) /* the last piece may be short */
		return err_here(ERR_IO);
	err = bfile_pread(r.f, r.off, buf, *len);
	if (!err && im->ops->patch)
		im->ops->patch(im, r.f, r.off, buf, *len);
	return err;
}

static void tell(struct import *im, uint64_t off)
{
	bool told;

	plat_mutex_lock(&im->lock);
	told = im->told;
	im->told = true;
	plat_mutex_unlock(&im->lock);
	if (!told)
		plat_log(LOG_ERROR, "%s: damaged or truncated image: nothing can be read at 0x%llx",
			 im->b.name, (unsigned long long)off);
}

static int read_all(struct import *im, const struct block_req *req)
{
	uint64_t off = req->offset;
	size_t len, pos;
	unsigned i;
	int err;

	for (i = 0; i < req->n_vec; i++)
		for (pos = 0; pos < req->vec[i].len; pos += len, off += len) {
			len = req->vec[i].len - pos;
			err = read_range(im, off, (uint8_t *)req->vec[i].base + pos, &len);
			if (err) {
				tell(im, off);
				return ERR_IO;
			}
		}
	return 0;
}

void import_submit(struct block *b, struct block_req *req)
{
	struct import *im = container_of(b, struct import, b);
	int err = 0;

	if (req->op == BLOCK_FLUSH)
		err = 0;
	else if (req->op != BLOCK_READ)
		err = err_here(ERR_ROFS);
	else if (!IS_ALIGNED(req->offset, (uint64_t)BLOCK_SECTOR) ||
		 !IS_ALIGNED(req->len, (uint64_t)BLOCK_SECTOR) || req->offset > b->size ||
		 req->len > b->size - req->offset)
		err = err_here(ERR_RANGE);
	else
		err = read_all(im, req);
	req->done(req, err);
}

/* ---- life ---------------------------------------------------------------------------------------- */

void import_close(struct block *b)
{
	struct import *im = container_of(b, struct import, b);
	struct bfile *f = im->f;

	import_destroy(im);
	f->ops->close(f);
}

void import_destroy(struct import *im)
{
	if (im->ops->fini)
		im->ops->fini(im);
	plat_free(im->zip_in);
	plat_free(im->zip_out);
	plat_free(im);
}

int import_zip_init(struct import *im, uint32_t max)
{
	im->zip_max = max;
	im->zip_in = plat_alloc(2 * (size_t)max); /* some data grows */
	im->zip_out = plat_alloc(max);
	return im->zip_in && im->zip_out ? 0 : err_here(ERR_NOMEM);
}

void import_init(struct import *im, const struct import_ops *ops, struct bfile *f,
		 const struct import_opts *o)
{
	im->ops = ops;
	im->f = f;
	im->o = *o;
	im->b.read_only = true;
	im->b.ops = &ops->block;
	plat_mutex_init(&im->lock, RANK_BACKEND);
	str_copy(im->b.name, sizeof(im->b.name), f->name);
}
