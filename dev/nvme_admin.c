/* SPDX-License-Identifier: ISC */
/* nvme_admin.c: administrative commands (NVMe 1.4, chapter 5): queues come and go, the controller and its namespace say what
 * they are. Entered with the lock held. */
#include "dev/nvme_impl.h"

#include "base/str.h"

static void put_text(uint8_t *p, const char *s, unsigned len)
{
	size_t n = MIN(str_len(s), (size_t)len);

	memset(p, ' ', len);
	memcpy(p, s, n);
}

/* The page goes where both pointers say. */
static int give_page(struct nvme *n, const struct nvme_cmd *c, size_t len)
{
	size_t first = MIN(len, (size_t)(PAGE_SIZE - (c->prp1 & PAGE_MASK)));

	if ((c->prp1 & 3) || (first < len && (c->prp2 & PAGE_MASK)))
		return SC_PRP | DNR;
	disk_dma(n->dev.vm, c->prp1, n->page, first, true);
	if (first < len)
		disk_dma(n->dev.vm, c->prp2, n->page + first, len - first, true);
	return SC_OK;
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
	return give_page(n, c, sizeof(n->page));
}

static int get_log(struct nvme *n, const struct nvme_cmd *c)
{
	uint32_t len = ((c->cdw10 >> 16 & 0xfff) + 1) * 4;
	unsigned id = c->cdw10 & 0xff;

	if (id < 1 || id > 3)
		return SC_FIELD | DNR;
	memset(n->page, 0, sizeof(n->page));
	if (id == 2) {
		pci_put(n->page + 1, 2, 303);
		n->page[3] = 100; /* spare */
		n->page[4] = 10;
	}
	return give_page(n, c, MIN(len, (uint32_t)sizeof(n->page)));
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
	nvme_pin_update(n);
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

int nvme_admin_command(struct nvme *n, const struct nvme_cmd *c, uint32_t *dw0)
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
