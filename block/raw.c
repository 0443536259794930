/* SPDX-License-Identifier: ISC */
/* raw.c: a file as a disk, byte for byte.
 *
 * Where the format was guessed, a guest could make its first sector look like another format's
 * header, one that names a file of the host, and be shown that file after the next start. Such a
 * write is refused. */

#include "base/str.h"
#include "block/raw.h"
#include "plat/plat.h"

struct raw {
	struct block b;
	struct bfile *f;
	bool discard, guessed;
	_Atomic bool told;
};

/* What begins the images that this project's or other tools take for something else than raw. */
static const struct {
	const char *name;
	unsigned off, len;
	char magic[24];
} magics[] = {
	{"qcow", 0, 4, "QFI\xfb"},
	{"qed", 0, 4, "QED"},
	{"VMDK", 0, 4, "KDMV"},
	{"VMDK", 0, 4, "COWD"},
	{"VMDK", 0, 21, "# Disk DescriptorFile"},
	{"VDI", 0x40, 4, "\x7f\x10\xda\xbe"},
	{"VHD", 0, 8, "conectix"},
	{"VHDX", 0, 8, "vhdxfile"},
	{"Parallels", 0, 16, "WithoutFreeSpace"},
	{"Parallels", 0, 16, "WithouFreSpacExt"},
};

const char *raw_looks_like(const void *first, size_t len)
{
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(magics); i++)
		if (len >= magics[i].off + magics[i].len &&
		    !memcmp((const uint8_t *)first + magics[i].off, magics[i].magic, magics[i].len))
			return magics[i].name;
	return NULL;
}

/* The first bytes of what a request writes, which may be spread over several pieces. */
static size_t gather(const struct block_req *req, uint8_t *out, size_t size)
{
	size_t n = 0;
	unsigned i;

	for (i = 0; i < req->n_vec && n < size; i++) {
		size_t part = MIN(req->vec[i].len, size - n);

		memcpy(out + n, req->vec[i].base, part);
		n += part;
	}
	return n;
}

static int check_first(struct raw *r, const struct block_req *req)
{
	uint8_t first[128];
	const char *what;

	if (req->op != BLOCK_WRITE || req->offset)
		return 0;
	what = raw_looks_like(first, gather(req, first, sizeof(first)));
	if (!what)
		return 0;
	if (!atomic_exchange(&r->told, true))
		plat_log(LOG_WARN,
			 "%s: refused a write that would make this raw image look like a %s image; "
			 "say format=raw to allow it",
			 r->b.name, what);
	return err_here(ERR_IO);
}

static void raw_submit(struct block *b, struct block_req *req)
{
	struct raw *r = container_of(b, struct raw, b);
	int err = 0;

	if (req->op == BLOCK_FLUSH) {
		if (b->read_only)
			req->done(req, 0);
		else
			bfile_submit(r->f, req);
		return;
	}
	if (!IS_ALIGNED(req->offset, BLOCK_SECTOR) || !IS_ALIGNED(req->len, BLOCK_SECTOR) ||
	    req->offset > b->size || req->len > b->size - req->offset)
		err = err_here(ERR_RANGE);
	else if (req->op != BLOCK_READ && b->read_only)
		err = err_here(ERR_ROFS);
	else if (r->guessed && req->len)
		err = check_first(r, req);
	if (err || !req->len || (req->op == BLOCK_DISCARD && !r->discard))
		req->done(req, err);
	else
		bfile_submit(r->f, req);
}

static void raw_close(struct block *b)
{
	struct raw *r = container_of(b, struct raw, b);
	int err;

	if (!b->read_only) {
		err = bfile_sync(r->f);
		if (err)
			plat_log(LOG_ERROR, "%s: not all could be written at the end: %s", b->name,
				 err_str(err));
	}
	r->f->ops->close(r->f);
	plat_free(r);
}

static const struct block_ops raw_ops = {
	.name = "raw",
	.submit = raw_submit,
	.close = raw_close,
};

int raw_open(struct bfile *f, const struct raw_opts *o, struct block **out)
{
	struct raw *r = plat_alloc(sizeof(*r));

	if (!r)
		return err_here(ERR_NOMEM);
	r->b.ops = &raw_ops;
	r->b.size = ALIGN_DOWN(bfile_size(f), (uint64_t)BLOCK_SECTOR);
	r->b.read_only = o->read_only;
	r->f = f;
	r->discard = o->discard;
	r->guessed = o->guessed;
	str_copy(r->b.name, sizeof(r->b.name), f->name);
	if (r->b.size != bfile_size(f))
		plat_log(LOG_WARN, "%s: %llu bytes are not whole sectors; the last %u are not used",
			 r->b.name, (unsigned long long)bfile_size(f),
			 (unsigned)(bfile_size(f) % BLOCK_SECTOR));
	*out = &r->b;
	return 0;
}
