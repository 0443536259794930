/* SPDX-License-Identifier: ISC */
/* nvme_io.c: commands of the NVM set (NVMe 1.4, chapter 6) and their data pointers (4.3). Requests are served from a fixed
 * pool, so a guest's queue depth costs no memory of ours.
 *
 * Commands enter with the lock held, completions from any thread without it. */
#include "dev/nvme_impl.h"

/* ---- data pointers ---------------------------------------------------------------------------------- */

static bool add_segment(struct nvme *n, struct nvme_req *r, gpa_t gpa, size_t len)
{
	hva_t p = mem_ptr(n->dev.vm, gpa, len, !r->write);

	if (!p)
		return false;
	if (r->n_seg && r->gpa[r->n_seg - 1] + r->vec[r->n_seg - 1].len == gpa &&
	    (uint8_t *)r->vec[r->n_seg - 1].base + r->vec[r->n_seg - 1].len == p) {
		r->vec[r->n_seg - 1].len += len;
		return true;
	}
	if (r->n_seg == SEGMENTS)
		return false;
	r->gpa[r->n_seg] = gpa;
	r->vec[r->n_seg++] = (struct block_vec){p, len};
	return true;
}

/* Pages 4 KiB each (1.4, 4.3): prp1 with an offset, then prp2 as the second or as a list whose last
 * entry may lead to the next list. At most SEGMENTS pages are looked at. */
static bool map_prps(struct nvme *n, struct nvme_req *r, const struct nvme_cmd *c, size_t len)
{
	size_t first = MIN(len, (size_t)(PAGE_SIZE - (c->prp1 & PAGE_MASK)));
	gpa_t list = c->prp2, entry;

	if ((c->prp1 & 3) || !add_segment(n, r, c->prp1, first))
		return false;
	len -= first;
	if (!len)
		return true;
	if (len <= PAGE_SIZE)
		return !(c->prp2 & PAGE_MASK) && add_segment(n, r, c->prp2, len);
	if (list & 7)
		return false;
	while (len) {
		size_t size = MIN(len, (size_t)PAGE_SIZE);

		if (mem_read(n->dev.vm, list, &entry, 8) || (entry & PAGE_MASK))
			return false;
		if ((list & PAGE_MASK) == PAGE_SIZE - 8 && len > PAGE_SIZE) {
			list = entry;
			continue;
		}
		if (!add_segment(n, r, entry, size))
			return false;
		len -= size;
		list += 8;
	}
	return true;
}

/* ---- input and output --------------------------------------------------------------------------------- */

/* Hands prepared requests to the disk, one thread at a time: completions that come meanwhile, from
 * within too, only add to the list. */
void nvme_drain(struct nvme *n)
{
	plat_mutex_lock(&n->lock);
	if (!n->draining) {
		n->draining = true;
		while (n->todo) {
			struct nvme_req *r = n->todo;

			n->todo = r->next;
			plat_mutex_unlock(&n->lock);
			disk_submit(&n->disk, &r->disk);
			plat_mutex_lock(&n->lock);
		}
		n->draining = false;
	}
	plat_mutex_unlock(&n->lock);
}

static void io_done(struct disk_req *d, int err)
{
	struct nvme_req *r = container_of(d, struct nvme_req, disk);
	struct nvme *n = r->nvme;

	for (unsigned i = 0; !r->write && i < r->n_seg; i++)
		mem_written(n->dev.vm, r->gpa[i], r->vec[i].len);
	plat_mutex_lock(&n->lock);
	if (r->epoch == n->epoch)
		nvme_complete(n, r->sq, r->cid, !err ? SC_OK : r->write ? SC_WRITE : SC_READ, 0);
	r->next = n->free;
	n->free = r;
	nvme_ring(n); /* what waited for room */
	plat_mutex_unlock(&n->lock);
	nvme_drain(n);
}

int nvme_io_command(struct nvme *n, uint16_t sqid, const struct nvme_cmd *c)
{
	struct nvme_req *r = n->free;
	uint64_t lba = c->cdw10 | (uint64_t)c->cdw11 << 32;
	uint32_t count = (c->cdw12 & 0xffff) + 1;
	enum block_op op;

	switch (c->op) {
	case 0x00:
		op = BLOCK_FLUSH;
		break;
	case 0x01:
		op = BLOCK_WRITE;
		break;
	case 0x02:
		op = BLOCK_READ;
		break;
	case 0x08:
		op = BLOCK_ZERO;
		break;
	default:
		return SC_OPCODE | DNR;
	}
	if (c->nsid != 1 && !(c->op == 0 && c->nsid == UINT32_MAX))
		return SC_NAMESPACE | DNR;
	if (op != BLOCK_FLUSH && (lba >= n->blocks || count > n->blocks - lba))
		return SC_RANGE | DNR;
	if (op != BLOCK_FLUSH && op != BLOCK_ZERO && count > (BIT(MDTS) << PAGE_SHIFT) / SECTOR)
		return SC_FIELD | DNR;
	if (c->flags >> 6) /* scatter-gather lists */
		return SC_FIELD | DNR;
	r->n_seg = 0;
	r->write = op != BLOCK_READ;
	if ((op == BLOCK_READ || op == BLOCK_WRITE) && !map_prps(n, r, c, (size_t)count * SECTOR))
		return SC_PRP | DNR;
	n->free = r->next;
	r->sq = sqid;
	r->cid = c->cid;
	r->epoch = n->epoch;
	r->disk.req = (struct block_req){
		.op = op,
		.offset = op == BLOCK_FLUSH ? 0 : lba * SECTOR,
		.len = op == BLOCK_FLUSH ? 0 : (uint64_t)count * SECTOR,
		.vec = r->vec,
		.n_vec = r->n_seg,
	};
	r->disk.done = io_done;
	r->next = NULL;
	if (n->todo)
		n->todo_last->next = r;
	else
		n->todo = r;
	n->todo_last = r;
	return -1;
}
