/* SPDX-License-Identifier: ISC */
/* nvme.c: NVM Express 1.4 controller over PCI: admin queue, up to NVME_QUEUES I/O queue pairs, one
 * namespace of 512-byte blocks, PRPs, MSI-X or a pin. BAR 0 holds registers and doorbells, BAR 4 the
 * MSI-X table.
 *
 * Doorbells enter from vCPU threads, completions from any; n->lock serialises. Requests are served
 * from a fixed pool, so a guest's queue depth costs no memory of ours; what does not fit waits in the
 * guest's queue. All that the guest writes is checked when it is used. */
#include "dev/nvme.h"

#include "base/str.h"
#include "dev/disk.h"
#include "dev/pci/pci.h"
#include "vm/dev.h"
#include "vm/stream.h"
#include "vm/vm.h"

#define NVME_QUEUES 8    /* I/O pairs; admin is number 0 */
#define QUEUE_MAX   256  /* entries (CAP.MQES + 1) */
#define QUEUE_ROOM  4096 /* the admin queues may be larger */
#define REQUESTS    64
#define MDTS        8 /* log2 of pages: 1 MiB a command */
#define SEGMENTS    (BIT(MDTS) + 1)
#define SECTOR      512u
#define DOORBELLS   0x1000
#define REGS_SIZE   0x2000
#define BAR_REGS    0
#define BAR_MSIX    4

/* Registers (1.4, section 3.1) */
enum {
	REG_CAP = 0x00,
	REG_VS = 0x08,
	REG_INTMS = 0x0c,
	REG_INTMC = 0x10,
	REG_CC = 0x14,
	REG_CSTS = 0x1c,
	REG_AQA = 0x24,
	REG_ASQ = 0x28,
	REG_ACQ = 0x30,
};
#define CAP_VALUE                                                                                 \
	((QUEUE_MAX - 1) | BIT64(16) /* queues are contiguous */ | UINT64_C(10) << 24 /* 5 s */ | \
	 BIT64(37) /* NVM command set */)
#define CC_EN          BIT(0)
#define CC_SHN         (3u << 14)
#define CSTS_RDY       BIT(0)
#define CSTS_CFS       BIT(1)
#define CSTS_SHST_DONE (2u << 2)

/* Status codes: type << 8 | code */
enum {
	SC_OK = 0x00,
	SC_OPCODE = 0x01,
	SC_FIELD = 0x02,
	SC_TRANSFER = 0x04,
	SC_NAMESPACE = 0x0b,
	SC_PRP = 0x13,
	SC_RANGE = 0x80,
	SC_CQ = 0x100,
	SC_QID = 0x101,
	SC_QSIZE = 0x102,
	SC_AER_LIMIT = 0x105,
	SC_VECTOR = 0x108,
	SC_DELETE = 0x10c,
	SC_WRITE = 0x280,
	SC_READ = 0x281,
};
#define DNR 0x4000 /* do not retry */

struct nvme_cmd {
	uint8_t op, flags;
	uint16_t cid;
	uint32_t nsid;
	uint64_t reserved, mptr;
	uint64_t prp1, prp2;
	uint32_t cdw10, cdw11, cdw12, cdw13, cdw14, cdw15;
};
_Static_assert(sizeof(struct nvme_cmd) == 64, "submission queue entry");

struct nvme_cqe {
	uint32_t dw0, reserved;
	uint16_t sq_head, sq_id, cid, status;
};
_Static_assert(sizeof(struct nvme_cqe) == 16, "completion queue entry");

struct sq {
	uint64_t base;
	uint32_t size; /* 0: not there */
	uint32_t head, tail;
	uint16_t cq;
};

struct cq {
	uint64_t base;
	uint32_t size;
	uint32_t head, tail;
	uint32_t inflight; /* entries that are promised */
	bool phase, irq;
	uint16_t vector;
};

struct nvme_req {
	struct disk_req disk;
	struct nvme *nvme;
	struct nvme_req *next;
	uint32_t epoch;
	uint16_t sq, cid;
	bool write;
	unsigned n_seg;
	struct block_vec vec[SEGMENTS];
	gpa_t gpa[SEGMENTS];
};

struct nvme {
	struct dev dev;
	struct pci_dev pd;
	struct disk disk;
	uint64_t blocks;
	char serial[21];

	struct plat_mutex lock; /* RANK_DEVICE: all below */
	uint32_t cc, csts, aqa, intms;
	uint64_t asq, acq;
	struct sq sq[NVME_QUEUES + 1];
	struct cq cq[NVME_QUEUES + 1];
	uint32_t epoch; /* of the controller's life; answers from earlier ones are dropped */
	struct nvme_req *free;
	struct nvme_req *todo, *todo_last; /* to be submitted */
	bool draining;
	struct nvme_req *req;
	bool pin;
	unsigned aers; /* asynchronous event requests: kept without an answer */
	uint8_t page[4096];
};

/* ---- interrupts and completions ------------------------------------------------------------------- */

static void pin_update(struct nvme *n)
{
	bool level = false;

	if (pci_msix_enabled(&n->pd))
		return;
	for (unsigned i = 0; i <= NVME_QUEUES; i++)
		level |= n->cq[i].size && n->cq[i].irq && n->cq[i].head != n->cq[i].tail &&
			 !(n->intms & BIT(0));
	if (level != n->pin) {
		n->pin = level;
		pci_intx(&n->pd, level);
	}
}

/* The queue has room: submissions are taken only as long as it has. */
static void complete(struct nvme *n, uint16_t sqid, uint16_t cid, uint16_t status, uint32_t dw0)
{
	struct sq *sq = &n->sq[sqid];
	struct cq *cq = &n->cq[sq->cq];
	struct nvme_cqe e = {.dw0 = dw0,
			     .sq_head = (uint16_t)sq->head,
			     .sq_id = sqid,
			     .cid = cid,
			     .status = (uint16_t)(status << 1 | (cq->phase ? 1 : 0))};

	if (cq->inflight)
		cq->inflight--;
	if (!sq->size || !cq->size)
		return;
	disk_dma(n->dev.vm, cq->base + (uint64_t)cq->tail * sizeof(e), &e, sizeof(e), true);
	if (++cq->tail == cq->size) {
		cq->tail = 0;
		cq->phase = !cq->phase;
	}
	if (!cq->irq)
		return;
	if (pci_msix_enabled(&n->pd))
		pci_msix_send(&n->pd, cq->vector);
	else
		pin_update(n);
}

static bool cq_has_room(const struct cq *cq)
{
	uint32_t used = (cq->tail + cq->size - cq->head) % cq->size;

	return used + cq->inflight + 1 < cq->size;
}

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

static void ring(struct nvme *n);

/* Hands prepared requests to the disk, one thread at a time: completions that come meanwhile, from
 * within too, only add to the list. */
static void drain(struct nvme *n)
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
		complete(n, r->sq, r->cid, !err ? SC_OK : r->write ? SC_WRITE : SC_READ, 0);
	r->next = n->free;
	n->free = r;
	ring(n); /* what waited for room */
	plat_mutex_unlock(&n->lock);
	drain(n);
}

/* SC_* for an answer at once; -1: it will come. */
static int io_command(struct nvme *n, uint16_t sqid, const struct nvme_cmd *c)
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
	r->n_seg = 0;
	r->write = op != BLOCK_READ;
	if ((op == BLOCK_READ || op == BLOCK_WRITE) &&
	    ((c->flags >> 6) || !map_prps(n, r, c, (size_t)count * SECTOR)))
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

/* ---- administration --------------------------------------------------------------------------------------- */

static void put_text(uint8_t *p, const char *s, unsigned len)
{
	size_t n = MIN(str_len(s), (size_t)len);

	memset(p, ' ', len);
	memcpy(p, s, n);
}

static void identify_controller(struct nvme *n)
{
	uint8_t *p = n->page;

	pci_put(p, 2, 0x1b36);
	pci_put(p + 2, 2, 0x1af4);
	put_text(p + 4, n->serial, 20);
	put_text(p + 24, "VIGIA NVMe", 40);
	put_text(p + 64, "1.0", 8);
	p[72] = 6; /* arbitration burst */
	p[77] = MDTS;
	pci_put(p + 78, 2, 1); /* controller id */
	pci_put(p + 80, 4, 0x00010400);
	pci_put(p + 256, 2, 0);
	p[259] = 3; /* asynchronous event requests - 1 */
	p[260] = 0x02;
	pci_put(p + 266, 2, 343); /* warning and critical temperature, K */
	pci_put(p + 268, 2, 373);
	p[512] = 0x66; /* entry sizes, log2: 64 and 16 bytes */
	p[513] = 0x44;
	pci_put(p + 516, 4, 1);       /* namespaces */
	pci_put(p + 520, 2, 1u << 3); /* WRITE ZEROES */
	p[525] = 1;                   /* a volatile write cache */
	str_format((char *)p + 768, 256, "nqn.2024-01.vigia:nvme:%s", n->serial);
	pci_put(p + 2048, 2, 2500); /* power state 0: 25 W */
}

static int identify(struct nvme *n, const struct nvme_cmd *c)
{
	uint8_t *p = n->page;

	memset(p, 0, sizeof(n->page));
	switch (c->cdw10 & 0xff) {
	case 0: /* namespace */
		if (c->nsid == UINT32_MAX)
			break;
		if (c->nsid != 1)
			return SC_NAMESPACE | DNR;
		pci_put(p, 8, n->blocks);
		pci_put(p + 8, 8, n->blocks);
		pci_put(p + 16, 8, n->blocks);
		p[128 + 2] = 9; /* format 0: 512 bytes */
		break;
	case 1:
		identify_controller(n);
		break;
	case 2: /* namespaces above nsid */
		if (c->nsid < 1)
			p[0] = 1;
		break;
	case 3: /* identifiers of a namespace: EUI-64 */
		if (c->nsid != 1)
			return SC_NAMESPACE | DNR;
		p[0] = 1;
		p[1] = 8;
		memcpy(p + 4, "VIGIA\0\0\1", 8);
		break;
	default:
		return SC_FIELD | DNR;
	}
	size_t first = MIN((size_t)4096, (size_t)(PAGE_SIZE - (c->prp1 & PAGE_MASK)));

	disk_dma(n->dev.vm, c->prp1, p, first, true);
	if (first < 4096)
		disk_dma(n->dev.vm, c->prp2, p + first, 4096 - first, true);
	return SC_OK;
}

static int get_log(struct nvme *n, const struct nvme_cmd *c)
{
	uint32_t len = ((c->cdw10 >> 16 & 0xfff) + 1) * 4;
	unsigned id = c->cdw10 & 0xff;
	size_t first = MIN((size_t)MIN(len, 4096u), (size_t)(PAGE_SIZE - (c->prp1 & PAGE_MASK)));

	if (id < 1 || id > 3)
		return SC_FIELD | DNR;
	memset(n->page, 0, sizeof(n->page));
	if (id == 2) {
		pci_put(n->page + 1, 2, 303);
		n->page[3] = 100; /* spare */
		n->page[4] = 10;
	}
	disk_dma(n->dev.vm, c->prp1, n->page, first, true);
	return SC_OK;
}

static int create_cq(struct nvme *n, const struct nvme_cmd *c)
{
	uint32_t id = c->cdw10 & 0xffff, size = (c->cdw10 >> 16) + 1, vector = c->cdw11 >> 16;

	if (!id || id > NVME_QUEUES || n->cq[id].size)
		return SC_QID | DNR;
	if (size < 2 || size > QUEUE_MAX)
		return SC_QSIZE | DNR;
	if (!(c->cdw11 & 1) || (c->prp1 & PAGE_MASK))
		return SC_FIELD | DNR;
	if (vector > NVME_QUEUES)
		return SC_VECTOR | DNR;
	n->cq[id] = (struct cq){.base = c->prp1,
				.size = size,
				.phase = true,
				.irq = c->cdw11 & 2,
				.vector = (uint16_t)vector};
	return SC_OK;
}

static int create_sq(struct nvme *n, const struct nvme_cmd *c)
{
	uint32_t id = c->cdw10 & 0xffff, size = (c->cdw10 >> 16) + 1, cq = c->cdw11 >> 16;

	if (!id || id > NVME_QUEUES || n->sq[id].size)
		return SC_QID | DNR;
	if (size < 2 || size > QUEUE_MAX)
		return SC_QSIZE | DNR;
	if (!cq || cq > NVME_QUEUES || !n->cq[cq].size)
		return SC_CQ | DNR;
	if (!(c->cdw11 & 1) || (c->prp1 & PAGE_MASK))
		return SC_FIELD | DNR;
	n->sq[id] = (struct sq){.base = c->prp1, .size = size, .cq = (uint16_t)cq};
	return SC_OK;
}

/* Answers of a deleted queue are dropped with all others of its time: systems delete queues when
 * nothing is in flight. */
static int delete_queue(struct nvme *n, const struct nvme_cmd *c, bool submission)
{
	uint32_t id = c->cdw10 & 0xffff;

	if (!id || id > NVME_QUEUES || !(submission ? n->sq[id].size : n->cq[id].size))
		return SC_QID | DNR;
	if (submission) {
		n->sq[id].size = 0;
		return SC_OK;
	}
	for (unsigned i = 1; i <= NVME_QUEUES; i++)
		if (n->sq[i].size && n->sq[i].cq == id)
			return SC_DELETE | DNR;
	n->cq[id].size = 0;
	pin_update(n);
	return SC_OK;
}

static int features(const struct nvme_cmd *c, uint32_t *dw0)
{
	switch (c->cdw10 & 0xff) {
	case 0x07: /* number of queues */
		*dw0 = (NVME_QUEUES - 1) | (NVME_QUEUES - 1) << 16;
		return SC_OK;
	case 0x06: /* volatile write cache: always on */
		*dw0 = 1;
		return SC_OK;
	case 0x01: /* arbitration, power, temperature, errors, coalescing, vectors, atomicity, events */
	case 0x02:
	case 0x04:
	case 0x05:
	case 0x08:
	case 0x09:
	case 0x0a:
	case 0x0b:
		return SC_OK;
	default:
		return SC_FIELD | DNR;
	}
}

static int admin_command(struct nvme *n, const struct nvme_cmd *c, uint32_t *dw0)
{
	switch (c->op) {
	case 0x00:
		return delete_queue(n, c, true);
	case 0x01:
		return create_sq(n, c);
	case 0x02:
		return get_log(n, c);
	case 0x04:
		return delete_queue(n, c, false);
	case 0x05:
		return create_cq(n, c);
	case 0x06:
		return identify(n, c);
	case 0x08: /* ABORT: never does */
		*dw0 = 1;
		return SC_OK;
	case 0x09:
	case 0x0a:
		return features(c, dw0);
	case 0x0c: /* ASYNCHRONOUS EVENT REQUEST: nothing ever happens */
		if (n->aers == 4)
			return SC_AER_LIMIT | DNR;
		n->aers++;
		return -1;
	default:
		return SC_OPCODE | DNR;
	}
}

/* ---- queues -------------------------------------------------------------------------------------------------- */

static void sq_run(struct nvme *n, uint16_t id)
{
	struct sq *sq = &n->sq[id];

	/* A queue's worth at a time: each entry is consumed, so this ends. */
	while (sq->size && sq->head != sq->tail && n->free && n->cq[sq->cq].size &&
	       cq_has_room(&n->cq[sq->cq])) {
		struct nvme_cmd c;
		uint32_t dw0 = 0;
		int sc;

		disk_dma(n->dev.vm, sq->base + (uint64_t)sq->head * sizeof(c), &c, sizeof(c),
			 false);
		if (++sq->head == sq->size)
			sq->head = 0;
		n->cq[sq->cq].inflight++;
		sc = id ? io_command(n, id, &c) : admin_command(n, &c, &dw0);
		if (sc >= 0)
			complete(n, id, c.cid, (uint16_t)sc, dw0);
		else if (!id)
			n->cq[0].inflight--; /* an event request: no entry is promised for it */
	}
}

static void ring(struct nvme *n)
{
	if (!(n->csts & CSTS_RDY) || !atomic_load_explicit(&n->pd.master, memory_order_acquire))
		return;
	for (unsigned i = 0; i <= NVME_QUEUES; i++)
		sq_run(n, (uint16_t)i);
}

static void doorbell(struct nvme *n, unsigned index, uint32_t v)
{
	unsigned id = index / 2;

	if (id > NVME_QUEUES)
		return;
	if (index & 1) {
		if (v < n->cq[id].size)
			n->cq[id].head = v;
		pin_update(n);
	} else if (v < n->sq[id].size) {
		n->sq[id].tail = v;
	}
	ring(n);
}

/* ---- registers ------------------------------------------------------------------------------------------------ */

static void disable(struct nvme *n)
{
	n->csts = 0;
	n->epoch++;
	n->aers = 0;
	memset(n->sq, 0, sizeof(n->sq));
	memset(n->cq, 0, sizeof(n->cq));
	if (n->pin) {
		n->pin = false;
		pci_intx(&n->pd, false);
	}
}

static void enable(struct nvme *n)
{
	uint32_t asqs = (n->aqa & 0xfff) + 1, acqs = (n->aqa >> 16 & 0xfff) + 1;

	/* pages of 4 KiB, entries of 64 and 16 bytes, NVM commands */
	if ((n->cc & 0x7f0) || asqs < 2 || acqs < 2 || ((n->asq | n->acq) & PAGE_MASK)) {
		n->csts = CSTS_CFS;
		return;
	}
	n->sq[0] = (struct sq){.base = n->asq, .size = asqs};
	n->cq[0] = (struct cq){.base = n->acq, .size = acqs, .phase = true, .irq = true};
	n->csts = CSTS_RDY;
}

static void cc_write(struct nvme *n, uint32_t v)
{
	uint32_t old = n->cc;

	n->cc = v;
	if ((v & CC_EN) && !(old & CC_EN))
		enable(n);
	else if (!(v & CC_EN) && (old & CC_EN))
		disable(n);
	if ((v & CC_SHN) && !(old & CC_SHN))
		n->csts |= CSTS_SHST_DONE;
	else if (!(v & CC_SHN))
		n->csts &= ~CSTS_SHST_DONE;
}

static void set_half(uint64_t *reg, bool high, uint32_t v)
{
	*reg = high ? (*reg & UINT32_MAX) | (uint64_t)v << 32 : (*reg & ~(uint64_t)UINT32_MAX) | v;
}

static void reg_write(struct nvme *n, unsigned off, uint32_t v)
{
	if (off >= DOORBELLS) {
		doorbell(n, (off - DOORBELLS) / 4, v);
		return;
	}
	switch (off) {
	case REG_INTMS:
		n->intms |= v;
		pin_update(n);
		break;
	case REG_INTMC:
		n->intms &= ~v;
		pin_update(n);
		break;
	case REG_CC:
		cc_write(n, v);
		break;
	case REG_AQA:
		n->aqa = v & 0x0fff0fff;
		break;
	case REG_ASQ:
	case REG_ASQ + 4:
		set_half(&n->asq, off & 4, v);
		break;
	case REG_ACQ:
	case REG_ACQ + 4:
		set_half(&n->acq, off & 4, v);
		break;
	default:
		break;
	}
}

static uint32_t reg_read(struct nvme *n, unsigned off)
{
	switch (off) {
	case REG_CAP:
		return (uint32_t)CAP_VALUE;
	case REG_CAP + 4:
		return (uint32_t)(CAP_VALUE >> 32);
	case REG_VS:
		return 0x00010400;
	case REG_INTMS:
	case REG_INTMC:
		return n->intms;
	case REG_CC:
		return n->cc;
	case REG_CSTS:
		return n->csts;
	case REG_AQA:
		return n->aqa;
	case REG_ASQ:
		return (uint32_t)n->asq;
	case REG_ASQ + 4:
		return (uint32_t)(n->asq >> 32);
	case REG_ACQ:
		return (uint32_t)n->acq;
	case REG_ACQ + 4:
		return (uint32_t)(n->acq >> 32);
	default:
		return 0;
	}
}

static uint64_t nvme_read(void *dev, uint64_t off, unsigned size)
{
	struct nvme *n = dev;
	uint64_t v;

	plat_mutex_lock(&n->lock);
	v = reg_read(n, (unsigned)off & ~3u);
	plat_mutex_unlock(&n->lock);
	return v;
}

static void nvme_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct nvme *n = dev;

	plat_mutex_lock(&n->lock);
	reg_write(n, (unsigned)off & ~3u, (uint32_t)value);
	plat_mutex_unlock(&n->lock);
	drain(n);
}

static const struct bus_region nvme_region = {
	.name = "nvme",
	.len = REGS_SIZE,
	.min = 4,
	.max = 4,
	.read = nvme_read,
	.write = nvme_write,
};

/* ---- the device ------------------------------------------------------------------------------------------------- */

static void nvme_reset(struct dev *dev)
{
	struct nvme *n = container_of(dev, struct nvme, dev);

	plat_mutex_lock(&n->lock);
	disable(n);
	n->cc = n->aqa = n->intms = 0;
	n->asq = n->acq = 0;
	plat_mutex_unlock(&n->lock);
}

#define N struct nvme
static const struct st_field nvme_fields[] = {
	ST_U(N, cc),  ST_U(N, csts), ST_U(N, aqa), ST_U(N, intms),
	ST_U(N, asq), ST_U(N, acq),  ST_B(N, pin), ST_UMAX(N, aers, 4),
};
#undef N

static const struct st_field sq_fields[] = {
	ST_U(struct sq, base), ST_UMAX(struct sq, size, QUEUE_ROOM), ST_U(struct sq, head),
	ST_U(struct sq, tail), ST_UMAX(struct sq, cq, NVME_QUEUES),
};

static const struct st_field cq_fields[] = {
	ST_U(struct cq, base),
	ST_UMAX(struct cq, size, QUEUE_ROOM),
	ST_U(struct cq, head),
	ST_U(struct cq, tail),
	ST_B(struct cq, phase),
	ST_B(struct cq, irq),
	ST_UMAX(struct cq, vector, NVME_QUEUES),
};

static int nvme_state(struct dev *dev, struct state_stream *st)
{
	struct nvme *n = container_of(dev, struct nvme, dev);

	if (pci_dev_state(&n->pd, st))
		return st->err;
	plat_mutex_lock(&n->lock);
	ST_SYNC(st, "controller", 0, nvme_fields, n);
	for (unsigned i = 0; i <= NVME_QUEUES; i++) {
		struct sq *sq = &n->sq[i];
		struct cq *cq = &n->cq[i];

		ST_SYNC(st, "submission", i, sq_fields, sq);
		ST_SYNC(st, "completion", i, cq_fields, cq);
		if (st->loading && ((sq->size && (sq->head >= sq->size || sq->tail >= sq->size)) ||
				    (cq->size && (cq->head >= cq->size || cq->tail >= cq->size))))
			state_fail(st, err_here(ERR_FORMAT), "nvme: queue %u makes no sense", i);
	}
	if (st->err && st->loading) {
		memset(n->sq, 0, sizeof(n->sq));
		memset(n->cq, 0, sizeof(n->cq));
	}
	plat_mutex_unlock(&n->lock);
	return st->err;
}

/* off: what has come meanwhile */
static int nvme_freeze(struct dev *dev, bool on)
{
	struct nvme *n = container_of(dev, struct nvme, dev);

	if (on)
		return disk_quiesce(&n->disk);
	plat_mutex_lock(&n->lock);
	ring(n);
	plat_mutex_unlock(&n->lock);
	drain(n);
	return 0;
}

static void nvme_destroy(struct dev *dev)
{
	struct nvme *n = container_of(dev, struct nvme, dev);

	plat_mutex_lock(&n->lock);
	n->csts = 0; /* nothing new begins */
	n->epoch++;
	plat_mutex_unlock(&n->lock);
	disk_fini(&n->disk);
	if (n->req)
		plat_pages_free(n->req, ALIGN_UP(REQUESTS * sizeof(*n->req), PAGE_SIZE));
	plat_free(n);
}

static const struct dev_class nvme_class = {
	.name = "nvme",
	.reset = nvme_reset,
	.state = nvme_state,
	.freeze = nvme_freeze,
	.destroy = nvme_destroy,
};

int nvme_create(struct vm *vm, const struct nvme_wiring *w, struct nvme **out)
{
	static const struct pci_id id = {.name = "NVMe",
					 .vendor = 0x1b36,
					 .device = 0x0010,
					 .subsys_vendor = 0x1af4,
					 .subsys = 0x1100,
					 .revision = 2,
					 .cls = 0x010802,
					 .pin = 1};
	struct nvme *n = plat_alloc(sizeof(*n));
	const struct pci_bar bar = {
		.kind = PCI_BAR_MEM64, .size = REGS_SIZE, .region = &nvme_region, .ctx = n};
	int err;

	if (!n)
		return err_here(ERR_NOMEM);
	plat_mutex_init(&n->lock, RANK_DEVICE);
	disk_init(&n->disk, vm, w->block);
	n->blocks = w->block->size / SECTOR;
	str_copy(n->serial, sizeof(n->serial), w->serial && w->serial[0] ? w->serial : "VIGIA0");
	/* From here on the VM owns it, on errors too. */
	vm_add_dev(vm, &n->dev, &nvme_class);
	n->req = plat_pages_alloc(ALIGN_UP(REQUESTS * sizeof(*n->req), PAGE_SIZE));
	if (!n->req)
		return err_here(ERR_NOMEM);
	for (unsigned i = 0; i < REQUESTS; i++) {
		n->req[i].nvme = n;
		n->req[i].next = n->free;
		n->free = &n->req[i];
	}
	pci_dev_init(&n->pd, &id);
	err = pci_bar_add(&n->pd, BAR_REGS, &bar);
	if (!err)
		err = pci_msix_add(&n->pd, NVME_QUEUES + 1, BAR_MSIX);
	if (!err)
		err = pci_attach(w->host, &n->pd, w->slot, 0);
	*out = n;
	return err;
}
