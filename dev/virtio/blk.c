/* SPDX-License-Identifier: ISC */
/* blk.c: virtio block device (virtio 1.2, 5.2), one queue, as many requests in flight as it has
 * descriptors.
 *
 * Requests are parsed and submitted on the notifying vCPU's thread, without the lock; completions
 * come on any thread. When the host's disk is full the request is kept, the VM paused, and the
 * request tried again each second until there is room: the guest never sees the error. */
#include "dev/virtio/blk.h"

#include "base/str.h"
#include "block/block.h"
#include "dev/virtio/virtio.h"
#include "vm/vm.h"

#define QUEUE_SIZE 256
#define SEG_MAX    254           /* pieces of data in a request */
#define CHAIN_MAX  (SEG_MAX + 6) /* header, status, and cuts at ends of memory slots */
#define BYTES_MAX  (256 * MIB)   /* of one request */
#define RANGE_MAX  (BIT(22))     /* sectors of one discard or write-zeroes */
#define SERIAL_LEN 20
#define RETRY_NS   NS_PER_SEC

#define F_SEG_MAX      BIT64(2)
#define F_RO           BIT64(5)
#define F_BLK_SIZE     BIT64(6)
#define F_FLUSH        BIT64(9)
#define F_TOPOLOGY     BIT64(10)
#define F_DISCARD      BIT64(13)
#define F_WRITE_ZEROES BIT64(14)

enum blk_type { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_ZERO = 13 };
enum blk_status { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2 };

struct blk;

struct blk_req {
	struct virtq_chain chain;
	struct block_req io;
	struct blk *blk;
	struct virtq *q;
	struct blk_req *next; /* in the free or the retry list */
	uint8_t *status;
	gpa_t status_gpa;
	uint32_t written; /* data bytes for the guest, when it succeeds */
	bool retried;
	struct virtq_vec vec[CHAIN_MAX];
	gpa_t gpa[CHAIN_MAX];
};

struct blk {
	struct virtio_dev vd;
	struct block *back;
	char serial[SERIAL_LEN + 1];
	struct blk_req *reqs;
	/* under vd.lock */
	struct blk_req *free; /* last in, first out: few are ever touched … */
	unsigned used;        /* … and those from this one on never were */
	struct blk_req *retry, **retry_tail;
	unsigned retrying; /* tried again, not yet answered */
	bool stalled;      /* the host's disk is full */
	uint64_t retry_at;
	/* loop's thread */
	struct plat_timer timer;
	bool holds_pause;
};

static struct blk *to_blk(struct virtio_dev *vd)
{
	return container_of(vd, struct blk, vd);
}

/* ---- storage of requests ---------------------------------------------------------------------- */

static struct virtq_chain *blk_get(struct virtio_dev *vd)
{
	struct blk *b = to_blk(vd);
	struct blk_req *r = b->free;

	if (r)
		b->free = r->next;
	else if (b->used < QUEUE_SIZE)
		r = &b->reqs[b->used++];
	else
		return NULL;
	r->blk = b;
	r->chain.max = CHAIN_MAX;
	r->chain.vec = r->vec;
	r->chain.gpa = r->gpa;
	r->retried = false;
	r->written = 0;
	return &r->chain;
}

static void blk_unget(struct virtio_dev *vd, struct virtq_chain *c)
{
	struct blk *b = to_blk(vd);
	struct blk_req *r = container_of(c, struct blk_req, chain);

	r->next = b->free;
	b->free = r;
}

/* ---- completion ------------------------------------------------------------------------------- */

static int64_t request_answer(struct blk_req *r, enum blk_status status)
{
	struct vm *vm = r->blk->vd.dev.vm;

	*r->status = (uint8_t)status;
	mem_written(vm, r->status_gpa, 1);
	if (status != S_OK)
		return 1;
	return (int64_t)r->written + 1;
}

/* Keeps a request that met a full disk. False: a reset is on its way, let it end. */
static bool request_keep(struct blk_req *r)
{
	struct blk *b = r->blk;
	bool keep;

	plat_mutex_lock(&b->vd.lock);
	keep = !b->vd.resetting;
	if (keep) {
		r->next = NULL;
		*b->retry_tail = r;
		b->retry_tail = &r->next;
		b->stalled = true;
		b->retry_at = plat_now() + RETRY_NS;
	}
	plat_mutex_unlock(&b->vd.lock);
	if (keep)
		plat_timer_arm(&b->timer, plat_now());
	return keep;
}

/* One of those that were tried again has been answered. */
static void retry_answered(struct blk *b)
{
	bool over;

	plat_mutex_lock(&b->vd.lock);
	b->retrying--;
	over = b->stalled && !b->retrying && !b->retry;
	if (over)
		b->stalled = false;
	over &= !b->vd.closing;
	plat_mutex_unlock(&b->vd.lock);
	if (over)
		plat_timer_arm(&b->timer, plat_now());
}

static void request_done(struct block_req *io, int err)
{
	struct blk_req *r = container_of(io, struct blk_req, io);
	struct blk *b = r->blk;
	bool retried = r->retried;

	r->retried = false;
	if (err == ERR_NOSPC && request_keep(r)) {
		if (retried)
			retry_answered(b);
		return;
	}
	if (!err && io->op == BLOCK_READ)
		virtq_written(r->q, &r->chain, io->len);
	virtio_complete(&b->vd, r->q, &r->chain, (uint32_t)request_answer(r, err ? S_IOERR : S_OK));
	if (retried)
		retry_answered(b);
}

/* Pauses and resumes the VM, and tries again. On the loop's thread, without locks. */
static void blk_timer(void *arg)
{
	struct blk *b = arg;
	struct vm *vm = b->vd.dev.vm;
	struct blk_req *list = NULL;
	char reason[128];
	uint64_t at = PLAT_FOREVER;
	bool stalled;

	plat_mutex_lock(&b->vd.lock);
	stalled = b->stalled;
	if (b->retry && plat_now() >= b->retry_at) {
		list = b->retry;
		b->retry = NULL;
		b->retry_tail = &b->retry;
		for (struct blk_req *r = list; r; r = r->next) {
			r->retried = true;
			b->retrying++;
		}
	} else if (b->retry) {
		at = b->retry_at;
	}
	plat_mutex_unlock(&b->vd.lock);
	if (at != PLAT_FOREVER)
		plat_timer_arm(&b->timer, at);
	if (stalled && !b->holds_pause) {
		str_format(reason, sizeof(reason), "no space left on the host for disk %s",
			   b->back->name);
		plat_log(LOG_WARN, "paused: %s; the guest goes on when there is room", reason);
		vm_pause(vm, reason);
	} else if (!stalled && b->holds_pause) {
		plat_log(LOG_INFO, "resumed: there is room for disk %s again", b->back->name);
		vm_resume(vm);
	}
	b->holds_pause = stalled;
	while (list) {
		struct blk_req *r = list;

		list = r->next;
		block_submit(b->back, &r->io);
	}
}

/* ---- requests ---------------------------------------------------------------------------------- */

static bool range_ok(const struct blk *b, uint64_t sector, uint64_t bytes)
{
	uint64_t size = b->back->size;

	return !(bytes % BLOCK_SECTOR) && sector <= size / BLOCK_SECTOR &&
	       bytes <= size - sector * BLOCK_SECTOR;
}

static int64_t submit(struct blk_req *r, enum block_op op, uint64_t sector, uint64_t len)
{
	struct blk *b = r->blk;

	r->io.op = op;
	r->io.offset = sector * BLOCK_SECTOR;
	r->io.len = len;
	r->io.done = request_done;
	block_submit(b->back, &r->io);
	return VIRTIO_LATER;
}

/* block_vec and virtq_vec are the same thing under two names. */
_Static_assert(sizeof(struct block_vec) == sizeof(struct virtq_vec) &&
		       offsetof(struct block_vec, base) == offsetof(struct virtq_vec, base) &&
		       offsetof(struct block_vec, len) == offsetof(struct virtq_vec, len),
	       "vectors");

static int64_t do_rw(struct blk_req *r, uint64_t sector, bool write)
{
	struct virtq_chain *c = &r->chain;
	uint64_t len = write ? c->out_len : c->in_len;
	unsigned first = write ? c->first : c->n_out;

	if (len > BYTES_MAX || !range_ok(r->blk, sector, len) || (write && r->blk->back->read_only))
		return request_answer(r, S_IOERR);
	if (!len)
		return request_answer(r, S_OK);
	r->io.vec = (const struct block_vec *)(const void *)&c->vec[first];
	r->io.n_vec = (write ? c->n_out : c->n) - first;
	r->written = write ? 0 : (uint32_t)len;
	return submit(r, write ? BLOCK_WRITE : BLOCK_READ, sector, len);
}

/* Discard and write-zeroes: one range {le64 sector, le32 sectors, le32 flags}. */
static int64_t do_range(struct blk_req *r, bool zero)
{
	struct virtq_chain *c = &r->chain;
	uint8_t range[16];
	uint64_t sector, sectors;
	uint32_t flags;

	if (c->out_len != sizeof(range) || r->blk->back->read_only)
		return request_answer(r, S_IOERR);
	virtq_read(c, range, sizeof(range));
	sector = virtio_get(range, 8);
	sectors = virtio_get(range + 8, 4);
	flags = (uint32_t)virtio_get(range + 12, 4);
	if (flags & ~(zero ? 1u : 0u))
		return request_answer(r, S_UNSUPP);
	if (sectors > RANGE_MAX || !range_ok(r->blk, sector, sectors * BLOCK_SECTOR))
		return request_answer(r, S_IOERR);
	if (!sectors)
		return request_answer(r, S_OK);
	r->io.unmap = flags & 1;
	return submit(r, zero ? BLOCK_ZERO : BLOCK_DISCARD, sector, sectors * BLOCK_SECTOR);
}

static int64_t do_get_id(struct blk_req *r)
{
	char id[SERIAL_LEN] = {0};

	/* 20 bytes, without an end if it is that long */
	memcpy(id, r->blk->serial, str_len(r->blk->serial));
	r->written = (uint32_t)virtq_write(r->q, &r->chain, 0, id, sizeof(id));
	return request_answer(r, S_OK);
}

static int64_t blk_handle(struct virtio_dev *vd, struct virtq *q, struct virtq_chain *c)
{
	struct blk_req *r = container_of(c, struct blk_req, chain);
	uint8_t header[16]; /* le32 type, le32 priority, le64 sector */
	uint64_t sector;

	r->q = q;
	r->status = virtq_cut_last(c, &r->status_gpa);
	if (!r->status || virtq_read(c, header, sizeof(header)) != sizeof(header)) {
		plat_mutex_lock(&vd->lock);
		virtio_broken(vd, "request without header or status");
		plat_mutex_unlock(&vd->lock);
		return 0;
	}
	sector = virtio_get(header + 8, 8);
	memset(&r->io, 0, sizeof(r->io));
	switch (virtio_get(header, 4)) {
	case T_IN:
		return do_rw(r, sector, false);
	case T_OUT:
		return do_rw(r, sector, true);
	case T_FLUSH:
		return submit(r, BLOCK_FLUSH, 0, 0);
	case T_GET_ID:
		return do_get_id(r);
	case T_DISCARD:
		return do_range(r, false);
	case T_ZERO:
		return do_range(r, true);
	}
	return request_answer(r, S_UNSUPP);
}

/* ---- the device --------------------------------------------------------------------------------- */

#define CONFIG_LEN 60

static void blk_config_read(struct virtio_dev *vd, unsigned off, uint8_t *buf, unsigned len)
{
	struct blk *b = to_blk(vd);
	uint8_t c[CONFIG_LEN] = {0};

	virtio_put(c + 0, 8, b->back->size / BLOCK_SECTOR);
	virtio_put(c + 12, 4, SEG_MAX);
	virtio_put(c + 20, 4, BLOCK_SECTOR);
	c[24] = 3;                /* 2^3 logical blocks in a physical one */
	virtio_put(c + 26, 2, 8); /* best smallest and usual transfer, in blocks */
	virtio_put(c + 28, 4, 128);
	virtio_put(c + 36, 4, RANGE_MAX); /* discard: sectors, ranges, alignment in sectors */
	virtio_put(c + 40, 4, 1);
	virtio_put(c + 44, 4, 8);
	virtio_put(c + 48, 4, RANGE_MAX); /* write zeroes: sectors, ranges, may unmap */
	virtio_put(c + 52, 4, 1);
	c[56] = 1;
	memcpy(buf, c + off, len);
}

/* A reset begins: those that wait for room in vain are given up. Lock held. */
static void blk_cancel(struct virtio_dev *vd)
{
	struct blk *b = to_blk(vd);
	struct blk_req *list = b->retry;

	if (!b->stalled)
		return;
	b->retry = NULL;
	b->retry_tail = &b->retry;
	if (!b->retrying)
		b->stalled = false;
	if (!vd->closing)
		plat_timer_arm(&b->timer, plat_now());
	while (list) {
		struct blk_req *r = list;

		list = r->next;
		blk_unget(vd, &r->chain);
		virtio_end(vd);
	}
}

static void blk_destroy(struct virtio_dev *vd)
{
	struct blk *b = to_blk(vd);

	plat_pages_free(b->reqs, ALIGN_UP(QUEUE_SIZE * sizeof(struct blk_req), PAGE_SIZE));
}

static const struct virtio_queue_ops blk_queues[] = {
	{.size = QUEUE_SIZE,
	 .bell = true,
	 .get = blk_get,
	 .unget = blk_unget,
	 .handle = blk_handle},
};

static const struct virtio_ops blk_ops = {
	.id = VIRTIO_ID_BLOCK,
	.pci_class = 0x010000,
	.features = F_SEG_MAX | F_BLK_SIZE | F_FLUSH | F_TOPOLOGY,
	.n_queues = ARRAY_SIZE(blk_queues),
	.queue = blk_queues,
	.config_len = CONFIG_LEN,
	.config_read = blk_config_read,
	.cancel = blk_cancel,
	.destroy = blk_destroy,
};

static const struct dev_class blk_class = {
	.name = "virtio-blk",
	.reset = virtio_machine_reset,
	.state = virtio_state,
	.freeze = virtio_freeze,
	.destroy = virtio_destroy,
};

void virtio_blk_resized(struct virtio_dev *vd)
{
	plat_mutex_lock(&vd->lock);
	virtio_config_changed(vd);
	plat_mutex_unlock(&vd->lock);
}

int virtio_blk_create(struct vm *vm, struct pci_host *host, const struct virtio_blk_wiring *w,
		      struct virtio_dev **out)
{
	struct blk *b = plat_alloc(sizeof(*b));
	int err;

	if (!b)
		return err_here(ERR_NOMEM);
	b->reqs = plat_pages_alloc(ALIGN_UP(QUEUE_SIZE * sizeof(struct blk_req), PAGE_SIZE));
	if (!b->reqs) {
		plat_free(b);
		return err_here(ERR_NOMEM);
	}
	b->back = w->blk;
	b->retry_tail = &b->retry;
	str_copy(b->serial, sizeof(b->serial), w->serial ? w->serial : "");
	plat_timer_init(&b->timer, vm->loop, blk_timer, b);
	virtio_init(&b->vd, vm, &blk_class, &blk_ops,
		    w->blk->read_only ? F_RO : F_DISCARD | F_WRITE_ZEROES);
	b->vd.transitional = w->transitional;
	err = virtio_plug(&b->vd, host, w->slot);
	if (!err)
		*out = &b->vd;
	return err;
}
