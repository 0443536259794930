/* SPDX-License-Identifier: ISC */
/* scratch_mem.c: see watch.h: in memory, a piece when something of it is written, up to a limit. Any thread: two at once that
 * touch the same sectors are the guest's own race. */
#include "base/str.h"
#include "block/watch.h"
#include "plat/plat.h"

#define PIECE_MIN (64 * KIB)
#define PIECES    65536u /* at most */

struct scratch_memory {
	struct block_scratch s;
	struct plat_mutex lock; /* RANK_BACKEND: of pieces' creation */
	uint64_t left;          /* pieces that may be made */
	uint64_t size;          /* of each */
	uint64_t n;
	uint8_t *_Atomic piece[];
};

static size_t whole(const struct scratch_memory *m)
{
	return ALIGN_UP(sizeof(*m) + m->n * sizeof(m->piece[0]), (size_t)PAGE_SIZE);
}

static uint8_t *make(struct scratch_memory *m, uint64_t i)
{
	uint8_t *p;

	plat_mutex_lock(&m->lock);
	p = atomic_load(&m->piece[i]);
	if (!p && m->left) {
		p = plat_pages_alloc(m->size);
		m->left -= p != NULL;
		atomic_store(&m->piece[i], p);
	}
	plat_mutex_unlock(&m->lock);
	return p;
}

static int memory_io(struct block_scratch *s, bool write, uint64_t off, void *buf, size_t len)
{
	struct scratch_memory *m = container_of(s, struct scratch_memory, s);

	while (len) {
		uint64_t i = off / m->size, at = off % m->size;
		size_t n = MIN(len, (size_t)(m->size - at));
		uint8_t *p = i < m->n ? atomic_load(&m->piece[i]) : NULL;

		if (!p && write && i < m->n)
			p = make(m, i);
		if (!p)
			return write && i < m->n ? ERR_NOSPC : ERR_IO;
		memcpy(write ? p + at : buf, write ? buf : p + at, n);
		buf = (uint8_t *)buf + n;
		off += n;
		len -= n;
	}
	return 0;
}

static void memory_close(struct block_scratch *s)
{
	struct scratch_memory *m = container_of(s, struct scratch_memory, s);

	for (uint64_t i = 0; i < m->n; i++)
		plat_pages_free(m->piece[i], m->size);
	plat_pages_free(m, whole(m));
}

struct block_scratch *block_scratch_memory(uint64_t disk_size, uint64_t most)
{
	uint64_t size = MAX(ALIGN_UP(disk_size / PIECES, UINT64_C(4096)), (uint64_t)PIECE_MIN);
	const struct scratch_memory shape = {.n = (disk_size + size - 1) / size};
	struct scratch_memory *m = plat_pages_alloc(whole(&shape));

	if (!m)
		return NULL;
	m->s.io = memory_io;
	m->s.close = memory_close;
	m->n = shape.n;
	m->size = size;
	m->left = most / size;
	plat_mutex_init(&m->lock, RANK_BACKEND);
	return &m->s;
}
