/* SPDX-License-Identifier: ISC */
/* ramdisk.c: a boot module as disk. Requests end within the call. Any thread: two at once that touch
 * the same sectors are the guest's own race. */
#include "metal/ramdisk.h"

#include "base/str.h"
#include "block/block.h"
#include "plat/plat.h"

struct ramdisk {
	struct block b;
	uint8_t *image;
};

static void copy(struct ramdisk *d, const struct block_req *req)
{
	uint8_t *at = d->image + req->offset;

	for (unsigned i = 0; i < req->n_vec; at += req->vec[i].len, i++) {
		if (req->op == BLOCK_READ)
			memcpy(req->vec[i].base, at, req->vec[i].len);
		else
			memcpy(at, req->vec[i].base, req->vec[i].len);
	}
}

static void ramdisk_submit(struct block *b, struct block_req *req)
{
	struct ramdisk *d = container_of(b, struct ramdisk, b);
	int err = 0;

	if (req->op == BLOCK_FLUSH)
		;
	else if (req->offset > b->size || req->len > b->size - req->offset)
		err = err_here(ERR_RANGE);
	else if (req->op != BLOCK_READ && b->read_only)
		err = err_here(ERR_ROFS);
	else if (req->op == BLOCK_READ || req->op == BLOCK_WRITE)
		copy(d, req);
	else /* what is discarded reads as zeros, too */
		memset(d->image + req->offset, 0, req->len);
	req->done(req, err);
}

static void ramdisk_close(struct block *b)
{
	plat_free(container_of(b, struct ramdisk, b));
}

static const struct block_ops ramdisk_ops = {"ramdisk", ramdisk_submit, ramdisk_close};

int ramdisk_create(const char *name, uint8_t *image, size_t size, bool read_only,
		   struct block **out)
{
	struct ramdisk *d = plat_alloc(sizeof(*d));

	if (!d)
		return err_here(ERR_NOMEM);
	d->b.ops = &ramdisk_ops;
	d->b.size = ALIGN_DOWN((uint64_t)size, UINT64_C(BLOCK_SECTOR));
	d->b.read_only = read_only;
	str_copy(d->b.name, sizeof(d->b.name), name);
	d->image = image;
	*out = &d->b;
	return 0;
}
