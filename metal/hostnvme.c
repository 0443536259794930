/* SPDX-License-Identifier: ISC */
/* hostnvme.c: the machine's NVMe disks (NVM Express Base 2.0, NVM Command Set 1.0). Each namespace has a pair of queues
 * of its own, a command's identifier is its tag, and a page for each tag holds its PRP list. The admin queue is used while
 * looking for disks only, and polled. Entered through hostdisk.c, under the disk's lock. */
#include "base/str.h"
#include "metal/hostdisk_drivers.h"
#include "metal/iommu.h"

enum reg {
	R_CAP = 0x00,
	R_CC = 0x14,
	R_CSTS = 0x1c,
	R_AQA = 0x24,
	R_ASQ = 0x28,
	R_ACQ = 0x30,
	R_DOORBELL = 0x1000,
};
#define CC_EN    1u
#define CC_SIZES (6u << 16 | 4u << 20) /* entries of 64 and 16 bytes */
#define CSTS_RDY BIT(0)
#define CSTS_CFS BIT(1)

enum admin { A_CREATE_SQ = 1, A_CREATE_CQ = 5, A_IDENTIFY = 6, A_SET_FEATURES = 9 };
enum cns { CNS_NAMESPACE = 0, CNS_CONTROLLER = 1 };
enum io { IO_FLUSH = 0, IO_WRITE = 1, IO_READ = 2 };
enum id_controller { ID_SN = 4, ID_MN = 24, ID_MDTS = 77, ID_NN = 516, ID_VWC = 525 };
enum id_namespace { ID_NSZE = 0, ID_FLBAS = 26, ID_LBAF = 128 };
#define FEATURE_QUEUES 7u

#define DEPTH          64u /* more than tags: neither queue is ever full */
#define NAMESPACES_MAX 8u
#define ADMIN_WAIT     (5 * NS_PER_SEC)
#define LIST_MAX       512u               /* pages that a list leads to */
#define MAX_BYTES      (LIST_MAX * 4096u) /* whatever its offset in the first page */

struct sqe {
	uint8_t opcode, flags;
	uint16_t cid;
	uint32_t nsid;
	uint64_t reserved, metadata;
	uint64_t prp1, prp2;
	uint32_t cdw10, cdw11, cdw12, cdw13, cdw14, cdw15;
};
_Static_assert(sizeof(struct sqe) == 64, "NVMe 3.3.3.1");

struct cqe {
	uint32_t result, reserved;
	uint16_t sq_head, sq_id, cid, status; /* bit 0 of status: phase */
};
_Static_assert(sizeof(struct cqe) == 16, "NVMe 3.3.3.2");

struct nvme_queue {
	struct sqe *sq; /* a page each */
	volatile struct cqe *cq;
	volatile uint32_t *sq_bell, *cq_bell;
	uint16_t tail, head, phase;
};

struct nvme_ns {
	struct hostdisk d;
	struct nvme *ctl;
	struct nvme_queue q;
	uint64_t *list[HOSTDISK_TAGS]; /* pages */
	uint32_t nsid;
};

struct nvme {
	struct hostpci *pci;
	volatile uint8_t *reg;
	struct nvme_queue admin;
	uint8_t *page; /* what is identified */
	bool irq;
	unsigned bell_step; /* bytes between doorbells */
	struct nvme_ns *ns[NAMESPACES_MAX];
	unsigned n;
};

static uint64_t get(const uint8_t *p, unsigned size)
{
	uint64_t v = 0;

	memcpy(&v, p, size);
	return v;
}

static volatile uint32_t *reg32(const struct nvme *c, unsigned reg)
{
	return (volatile uint32_t *)(c->reg + reg);
}

static void put64(const struct nvme *c, unsigned reg, uint64_t v)
{
	*reg32(c, reg) = (uint32_t)v;
	*reg32(c, reg + 4) = (uint32_t)(v >> 32);
}

/* ---- queues ---- */

static int queue_init(const struct nvme *c, struct nvme_queue *q, unsigned id)
{
	uint8_t *sq = iommu_pages_alloc(c->pci, PAGE_SIZE),
		*cq = iommu_pages_alloc(c->pci, PAGE_SIZE);

	if (!sq || !cq)
		return err_here(ERR_NOMEM);
	*q = (struct nvme_queue){.sq = (void *)sq, .cq = (void *)cq, .phase = 1};
	q->sq_bell = reg32(c, R_DOORBELL + 2 * id * c->bell_step);
	q->cq_bell = reg32(c, R_DOORBELL + (2 * id + 1) * c->bell_step);
	return 0;
}

static struct sqe *queue_next(struct nvme_queue *q, uint8_t opcode, unsigned cid, uint32_t nsid)
{
	struct sqe *e = &q->sq[q->tail];

	*e = (struct sqe){.opcode = opcode, .cid = (uint16_t)cid, .nsid = nsid};
	q->tail = (q->tail + 1) % DEPTH;
	return e;
}

static void queue_kick(struct nvme_queue *q)
{
	atomic_thread_fence(memory_order_release);
	*q->sq_bell = q->tail;
}

static bool queue_take(struct nvme_queue *q, unsigned *cid, bool *ok)
{
	volatile struct cqe *e = &q->cq[q->head];
	uint16_t status = e->status;

	if ((status & 1) != q->phase)
		return false;
	atomic_thread_fence(memory_order_acquire);
	*cid = e->cid;
	*ok = !(status >> 1 & 0x7ff); /* code and its type */
	q->head = (q->head + 1) % DEPTH;
	q->phase ^= !q->head;
	return true;
}

/* ---- running ---- */

static struct nvme_ns *to_ns(struct hostdisk *d)
{
	return container_of(d, struct nvme_ns, d);
}

/* PRPs of a command: the first may start within a page, all others at one's start; more than two are a list. */
static void set_prps(struct nvme_ns *ns, struct sqe *e, unsigned tag, const struct hostdisk_cmd *c)
{
	uint64_t *list = ns->list[tag];
	unsigned n = 0;

	for (unsigned i = 0; i < c->n_seg; i++) {
		uint64_t pa = c->seg[i].pa, end = pa + c->seg[i].len;

		for (; pa < end; pa = ALIGN_DOWN(pa, PAGE_SIZE) + PAGE_SIZE, n++) {
			if (n)
				list[n - 1] = pa;
			else
				e->prp1 = pa;
		}
	}
	e->prp2 = n <= 1 ? 0 : n == 2 ? list[0] : plat_phys(list);
}

static void nvme_start(struct hostdisk *d, unsigned tag, const struct hostdisk_cmd *c)
{
	struct nvme_ns *ns = to_ns(d);
	struct sqe *e = queue_next(&ns->q,
				   c->op == BLOCK_FLUSH  ? IO_FLUSH
				   : c->op == BLOCK_READ ? IO_READ
							 : IO_WRITE,
				   tag, ns->nsid);

	if (c->op == BLOCK_FLUSH)
		return;
	set_prps(ns, e, tag, c);
	e->cdw10 = (uint32_t)c->sector;
	e->cdw11 = (uint32_t)(c->sector >> 32);
	e->cdw12 = c->sectors - 1;
}

static void nvme_kick(struct hostdisk *d)
{
	queue_kick(&to_ns(d)->q);
}

static void nvme_poll(struct hostdisk *d)
{
	struct nvme_queue *q = &to_ns(d)->q;
	uint16_t before = q->head;
	unsigned cid;
	bool ok;

	while (queue_take(q, &cid, &ok))
		hostdisk_end(d, cid, ok ? 0 : ERR_IO);
	if (q->head != before)
		*q->cq_bell = q->head;
}

static void nvme_cut(struct hostdisk *d)
{
	hostpci_disable(d->pci);
}

static const struct hostdisk_driver nvme_driver = {nvme_start, nvme_kick, nvme_poll, nvme_cut};

static void on_irq(void *arg)
{
	const struct nvme *c = arg;

	for (unsigned i = 0; i < c->n; i++)
		hostdisk_irq(&c->ns[i]->d);
}

/* ---- set-up ---- */

static int admin(struct nvme *c, const struct sqe *what)
{
	uint64_t end = plat_now() + ADMIN_WAIT;
	unsigned cid;
	bool ok;

	*queue_next(&c->admin, 0, 0, 0) = *what;
	queue_kick(&c->admin);
	while (!queue_take(&c->admin, &cid, &ok)) {
		if (plat_now() > end)
			return err_here(ERR_TIMEOUT);
		hostpci_pause();
	}
	*c->admin.cq_bell = c->admin.head;
	return ok ? 0 : ERR_IO;
}

static int identify(struct nvme *c, uint32_t cns, uint32_t nsid)
{
	return admin(c, &(struct sqe){.opcode = A_IDENTIFY,
				      .nsid = nsid,
				      .prp1 = plat_phys(c->page),
				      .cdw10 = cns});
}

static int wait_ready(const struct nvme *c, uint32_t ready, uint64_t wait)
{
	uint64_t end = plat_now() + wait;

	while ((*reg32(c, R_CSTS) & (CSTS_RDY | CSTS_CFS)) != ready) {
		if (plat_now() > end)
			return err_here(ERR_TIMEOUT);
		hostpci_pause();
	}
	return 0;
}

/* From whatever firmware has left to a running admin queue. */
static int controller_start(struct nvme *c)
{
	uint64_t cap = *reg32(c, R_CAP) | (uint64_t)*reg32(c, R_CAP + 4) << 32;
	uint64_t wait = ((cap >> 24 & 0xff) + 1) * (NS_PER_SEC / 2);
	int err;

	c->bell_step = 4u << (cap >> 32 & 15);
	if ((cap & 0xffff) + 1 < DEPTH || cap >> 48 & 15) /* pages of 4 KiB */
		return err_here(ERR_NOSYS);
	*reg32(c, R_CC) = 0;
	err = wait_ready(c, 0, wait);
	if (!err)
		err = queue_init(c, &c->admin, 0);
	if (err)
		return err;
	*reg32(c, R_AQA) = (DEPTH - 1) << 16 | (DEPTH - 1);
	put64(c, R_ASQ, plat_phys(c->admin.sq));
	put64(c, R_ACQ, plat_phys((const void *)c->admin.cq));
	*reg32(c, R_CC) = CC_SIZES | CC_EN;
	return wait_ready(c, CSTS_RDY, wait);
}

/* Both of a pair have the number id; interrupts by the function's vector 0. */
static int create_queues(struct nvme *c, struct nvme_queue *q, unsigned id)
{
	int err = queue_init(c, q, id);

	if (!err)
		err = admin(c, &(struct sqe){.opcode = A_CREATE_CQ,
					     .prp1 = plat_phys((const void *)q->cq),
					     .cdw10 = (DEPTH - 1) << 16 | id,
					     .cdw11 = c->irq ? 3 : 1});
	if (!err)
		err = admin(c, &(struct sqe){.opcode = A_CREATE_SQ,
					     .prp1 = plat_phys(q->sq),
					     .cdw10 = (DEPTH - 1) << 16 | id,
					     .cdw11 = id << 16 | 1});
	return err;
}

/* Spaces at the end are padding. */
static void text(char *to, size_t size, const uint8_t *from, size_t len)
{
	while (len && from[len - 1] == ' ')
		len--;
	len = MIN(len, size - 1);
	memcpy(to, from, len);
	to[len] = 0;
}

/* What all namespaces of the controller have in common; its identification is in the page. */
static void limits(const struct nvme *c, struct hostdisk *d)
{
	unsigned mdts = c->page[ID_MDTS];

	d->driver = &nvme_driver;
	d->pci = c->pci;
	d->irq = c->irq;
	d->cache = c->page[ID_VWC] & 1;
	d->tags = HOSTDISK_TAGS;
	d->max_seg = mdts && mdts < 9 ? 4096u << mdts : MAX_BYTES;
	d->max_sectors = d->max_seg / BLOCK_SECTOR;
	d->max_segs = HOSTDISK_SEGS;
	d->align = 4;
	d->pages = true;
	d->pa_end = UINT64_MAX;
	text(d->serial, sizeof(d->serial), c->page + ID_SN, 20);
	text(d->model, sizeof(d->model), c->page + ID_MN, 40);
}

/* The namespace's identification is in the page. */
static int namespace_add(struct nvme *c, struct nvme_ns *ns)
{
	unsigned format = c->page[ID_FLBAS] & 15;
	int err;

	ns->d.sectors = get(c->page + ID_NSZE, 8);
	if (c->page[ID_LBAF + 4 * format + 2] != 9)
		return err_here(ERR_NOSYS);
	for (unsigned i = 0; i < HOSTDISK_TAGS; i++) {
		ns->list[i] = iommu_pages_alloc(c->pci, PAGE_SIZE);
		if (!ns->list[i])
			return err_here(ERR_NOMEM);
	}
	err = create_queues(c, &ns->q, c->n + 1);
	if (!err)
		err = hostdisk_add(&ns->d);
	if (!err)
		c->ns[c->n++] = ns;
	return err;
}

static int namespaces(struct nvme *c, unsigned number)
{
	uint32_t last;
	int e, err = identify(c, CNS_CONTROLLER, 0);

	last = (uint32_t)MIN(get(c->page + ID_NN, 4), NAMESPACES_MAX);
	if (!err)
		err = admin(c, &(struct sqe){.opcode = A_SET_FEATURES,
					     .cdw10 = FEATURE_QUEUES,
					     .cdw11 = (last - 1) << 16 | (last - 1)});
	for (uint32_t id = 1; id <= last && !err; id++) {
		struct nvme_ns *ns = plat_alloc(sizeof(*ns));

		if (!ns)
			return err_here(ERR_NOMEM);
		err = identify(c, CNS_CONTROLLER, 0);
		limits(c, &ns->d);
		ns->ctl = c;
		ns->nsid = id;
		str_format(ns->d.name, sizeof(ns->d.name), id > 1 ? "nvme%un%u" : "nvme%u", number,
			   id);
		if (err || identify(c, CNS_NAMESPACE, id) || !get(c->page + ID_NSZE, 8)) {
			plat_free(ns);
			continue;
		}
		c->pci->driver = ns->d.name;
		e = namespace_add(c, ns);
		if (e)
			hostdisk_refused(c->pci, e);
	}
	return err;
}

void hostnvme_probe(struct hostpci *f, unsigned *n)
{
	struct nvme *c;
	int err;

	if (f->cls != 0x010802)
		return;
	f->driver = "nvme";
	c = plat_alloc(sizeof(*c));
	if (!c)
		return;
	c->pci = f;
	c->reg = hostpci_map(f, 0, 0, 0);
	c->page = iommu_pages_alloc(f, PAGE_SIZE);
	hostpci_enable(f);
	c->irq = !hostpci_irq(f, on_irq, c);
	err = c->reg && c->page ? controller_start(c) : err_here(ERR_NOMEM);
	if (!err)
		err = namespaces(c, (*n)++);
	if (err)
		hostdisk_refused(f, err);
}
