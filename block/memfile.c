/* SPDX-License-Identifier: ISC */
/* memfile.c: a bfile in memory, for tests, fuzzing and disks that live as long as the VM. Everything
 * ends within the call. One thread at a time, or the caller's lock. */

#include "base/str.h"
#include "block/memfile.h"
#include "plat/plat.h"

struct memfile {
	struct bfile f;
	uint8_t *mem;
	uint64_t cap;
	size_t mapped;
};

static int mem_pread(struct bfile *f, uint64_t off, void *buf, size_t len)
{
	struct memfile *m = container_of(f, struct memfile, f);
	uint64_t size = bfile_size(f);
	size_t have = off < size ? (size_t)MIN((uint64_t)len, size - off) : 0;

	memcpy(buf, m->mem + off, have);
	memset((uint8_t *)buf + have, 0, len - have);
	return 0;
}

static int room(struct memfile *m, uint64_t off, uint64_t len)
{
	if (off > m->cap || len > m->cap - off)
		return err_here(ERR_NOSPC);
	return 0;
}

static int mem_pwrite(struct bfile *f, uint64_t off, const void *buf, size_t len)
{
	struct memfile *m = container_of(f, struct memfile, f);
	int err = room(m, off, len);

	if (err)
		return err;
	memcpy(m->mem + off, buf, len);
	bfile_grew(f, off + len);
	return 0;
}

static int mem_zero(struct bfile *f, uint64_t off, uint64_t len)
{
	struct memfile *m = container_of(f, struct memfile, f);
	int err = room(m, off, len);

	if (err)
		return err;
	memset(m->mem + off, 0, (size_t)len);
	bfile_grew(f, off + len);
	return 0;
}

static int mem_sync(struct bfile *f)
{
	return 0;
}

static int mem_truncate(struct bfile *f, uint64_t size)
{
	struct memfile *m = container_of(f, struct memfile, f);
	uint64_t old = bfile_size(f);

	if (size > m->cap)
		return err_here(ERR_NOSPC);
	if (size < old)
		memset(m->mem + size, 0, (size_t)(old - size));
	atomic_store(&f->size, size);
	return 0;
}

static void mem_submit(struct bfile *f, struct block_req *req)
{
	uint64_t off = req->offset, size = bfile_size(f);
	unsigned i;
	int err = 0;

	switch (req->op) {
	case BLOCK_READ:
	case BLOCK_WRITE:
		for (i = 0; !err && i < req->n_vec; off += req->vec[i++].len) {
			if (req->op == BLOCK_READ)
				err = mem_pread(f, off, req->vec[i].base, req->vec[i].len);
			else
				err = mem_pwrite(f, off, req->vec[i].base, req->vec[i].len);
		}
		break;
	case BLOCK_ZERO:
		err = mem_zero(f, off, req->len);
		break;
	case BLOCK_DISCARD:
		if (off < size)
			err = mem_zero(f, off, MIN(req->len, size - off));
		break;
	case BLOCK_FLUSH:
		break;
	}
	req->done(req, err);
}

static void mem_close(struct bfile *f)
{
	struct memfile *m = container_of(f, struct memfile, f);

	plat_pages_free(m->mem, m->mapped);
	plat_free(m);
}

static const struct bfile_ops mem_ops = {
	.submit = mem_submit,
	.pread = mem_pread,
	.pwrite = mem_pwrite,
	.zero = mem_zero,
	.sync = mem_sync,
	.truncate = mem_truncate,
	.close = mem_close,
};

int memfile_create(const char *name, const void *content, size_t len, uint64_t cap,
		   struct bfile **out)
{
	struct memfile *m = plat_alloc(sizeof(*m));

	if (!m)
		return err_here(ERR_NOMEM);
	m->cap = MAX(cap, (uint64_t)len);
	m->mapped = (size_t)ALIGN_UP(m->cap + 1, PAGE_SIZE);
	m->mem = plat_pages_alloc(m->mapped);
	if (!m->mem) {
		plat_free(m);
		return err_here(ERR_NOMEM);
	}
	if (len)
		memcpy(m->mem, content, len);
	m->f.ops = &mem_ops;
	m->f.size = len;
	m->f.virgin_tail = true;
	str_copy(m->f.name, sizeof(m->f.name), name);
	*out = &m->f;
	return 0;
}

void *memfile_bytes(struct bfile *f)
{
	return container_of(f, struct memfile, f)->mem;
}
