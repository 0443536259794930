/* SPDX-License-Identifier: ISC */
/* nvme.c: NVM Express 1.4 controller over PCI: admin queue, up to NVME_QUEUES I/O queue pairs, one
 * namespace of 512-byte blocks, PRPs, MSI-X or a pin. BAR 0 holds registers and doorbells, BAR 4 the
 * MSI-X table.
 *
 * Doorbells enter from vCPU threads, completions from any; n->lock serialises. What does
 * not fit into our pool of requests waits in the guest's queue. All that the guest writes is checked when it is used. */
#include "dev/nvme_impl.h"

#include "base/str.h"
#include "vm/stream.h"

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

/* ---- interrupts and completions ------------------------------------------------------------------- */

void nvme_pin_update(struct nvme *n)
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

void nvme_complete(struct nvme *n, uint16_t sqid, uint16_t cid, uint16_t status, uint32_t dw0)
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
		nvme_pin_update(n);
}

static bool cq_has_room(const struct cq *cq)
{
	uint32_t used = (cq->tail + cq->size - cq->head) % cq->size;

	return used + cq->inflight + 1 < cq->size;
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
		sc = id ? nvme_io_command(n, id, &c) : nvme_admin_command(n, &c, &dw0);
		if (sc >= 0)
			nvme_complete(n, id, c.cid, (uint16_t)sc, dw0);
		else if (!id)
			n->cq[0].inflight--; /* an event request: no entry is promised for it */
	}
}

void nvme_ring(struct nvme *n)
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
		nvme_pin_update(n);
	} else if (v < n->sq[id].size) {
		n->sq[id].tail = v;
	}
	nvme_ring(n);
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
		nvme_pin_update(n);
		break;
	case REG_INTMC:
		n->intms &= ~v;
		nvme_pin_update(n);
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
	nvme_drain(n);
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
	nvme_ring(n);
	plat_mutex_unlock(&n->lock);
	nvme_drain(n);
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
