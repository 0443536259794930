/* SPDX-License-Identifier: ISC */
/* hoste1000.c: Intel's gigabit cards 82540EM and 82574L and their like (8254x manual, chapters 3 and 13; 82574 data sheet,
 * chapters 7 and 10), by the legacy descriptors that both have. They are looked at every millisecond: the older ones know
 * INTx alone. Receiving is the card's thread's, sending under the lock of hostnic.c. */
#include "base/str.h"
#include "metal/hostnic.h"
#include "metal/iommu.h"

enum reg {
	CTRL = 0x0000,
	IMC = 0x00d8,
	RCTL = 0x0100,
	TCTL = 0x0400,
	TIPG = 0x0410,
	RDBAL = 0x2800,
	TDBAL = 0x3800,
	MTA = 0x5200, /* 128 of them */
	RAL = 0x5400,
	RAH = 0x5404,
};
/* from RDBAL and TDBAL on */
enum ring_reg { R_LOW = 0x00, R_HIGH = 0x04, R_LEN = 0x08, R_HEAD = 0x10, R_TAIL = 0x18 };

#define CTRL_ASDE BIT(5) /* speed by negotiation */
#define CTRL_SLU  BIT(6) /* link up */
#define CTRL_RST  BIT(26)
#define RCTL_ON   (BIT(1) | BIT(3) | BIT(4) | BIT(15) | BIT(26)) /* all stations and groups; no CRC */
#define TCTL_ON   (BIT(1) | BIT(3) | 0xfu << 4 | 0x40u << 12) /* pad; collisions as in the manual */
#define TIPG_IEEE 0x00602008u
#define RESET_NS  (NS_PER_SEC / 10)

#define DD      BIT(0) /* status: done */
#define EOP     BIT(1)
#define CMD_TX  (BIT(0) | BIT(1) | BIT(3)) /* end of frame, CRC, report */
#define BUFFERS HOSTNIC_BUFFERS
#define BUFFER  HOSTNIC_BUFFER

struct desc { /* legacy; of both kinds */
	uint64_t pa;
	uint16_t len;
	uint8_t sum, cmd; /* receiving: a checksum */
	uint8_t status, errors;
	uint16_t special;
};
_Static_assert(sizeof(struct desc) == 16, "8254x manual, 3.2.3");

struct e1000 {
	struct hostnic n; /* first */
	volatile uint8_t *regs;
	volatile struct desc *rx, *tx; /* BUFFERS each */
	uint8_t *in, *out;
	unsigned rx_at, tx_at; /* the next ones */
};

static struct e1000 *to_e1000(struct hostnic *n)
{
	return container_of(n, struct e1000, n);
}

static uint32_t get(const struct e1000 *k, unsigned reg)
{
	return *(volatile uint32_t *)(k->regs + reg);
}

static void put(const struct e1000 *k, unsigned reg, uint32_t v)
{
	*(volatile uint32_t *)(k->regs + reg) = v;
}

static void e1000_receive(struct hostnic *n)
{
	struct e1000 *k = to_e1000(n);

	for (unsigned i = 0; i < BUFFERS; i++) {
		volatile struct desc *d = &k->rx[k->rx_at];
		uint16_t len;

		if (!(__atomic_load_n(&d->status, __ATOMIC_ACQUIRE) & DD))
			return;
		len = d->len;
		if (d->status & EOP && !d->errors && len <= BUFFER)
			hostnic_came(n, k->in + k->rx_at * BUFFER, len);
		d->status = 0;
		put(k, RDBAL + R_TAIL, k->rx_at); /* it is the card's again */
		k->rx_at = (k->rx_at + 1) % BUFFERS;
	}
	plat_event_set(&n->wake); /* perhaps there is more, for another turn */
}

static bool e1000_transmit(struct hostnic *n, const void *frame, size_t len)
{
	struct e1000 *k = to_e1000(n);
	volatile struct desc *d = &k->tx[k->tx_at];

	if (len > BUFFER || !(d->status & DD))
		return false;
	memcpy(k->out + k->tx_at * BUFFER, frame, len);
	d->len = (uint16_t)len;
	d->cmd = CMD_TX;
	d->status = 0;
	k->tx_at = (k->tx_at + 1) % BUFFERS;
	atomic_thread_fence(memory_order_seq_cst);
	put(k, TDBAL + R_TAIL, k->tx_at);
	return true;
}

/* ---- set-up --------------------------------------------------------------------------------------- */

bool hoste1000_is(const struct hostpci *f)
{
	/* 82540EM, 82545EM, 82543GC, 82574L */
	static const uint16_t ids[] = {0x100e, 0x100f, 0x1004, 0x10d3};

	for (unsigned i = 0; i < ARRAY_SIZE(ids); i++)
		if (f->vendor == 0x8086 && f->device == ids[i])
			return true;
	return false;
}

static int make_ring(const struct hostpci *f, const struct e1000 *k, unsigned base,
		     volatile struct desc **out, uint8_t **buf)
{
	struct desc *d = iommu_pages_alloc(f, PAGE_SIZE);
	uint64_t pa;

	*buf = iommu_pages_alloc(f, (size_t)BUFFERS * BUFFER);
	if (!d || !*buf)
		return err_here(ERR_NOMEM);
	for (unsigned i = 0; i < BUFFERS; i++)
		d[i].pa = plat_phys(*buf + i * BUFFER);
	*out = d;
	pa = plat_phys(d);
	put(k, base + R_LOW, (uint32_t)pa);
	put(k, base + R_HIGH, (uint32_t)(pa >> 32));
	put(k, base + R_LEN, BUFFERS * sizeof(*d));
	put(k, base + R_HEAD, 0);
	put(k, base + R_TAIL, 0);
	return 0;
}
_Static_assert(BUFFERS * sizeof(struct desc) <= PAGE_SIZE, "a ring");

static void reset(const struct e1000 *k)
{
	uint64_t end = plat_now() + RESET_NS;

	put(k, IMC, UINT32_MAX);
	put(k, CTRL, get(k, CTRL) | CTRL_RST);
	do /* it needs a moment before it may be read */
		hostpci_pause();
	while (plat_now() < end - RESET_NS * 9 / 10);
	while (get(k, CTRL) & CTRL_RST && plat_now() < end)
		hostpci_pause();
	put(k, IMC, UINT32_MAX);
	put(k, CTRL, (get(k, CTRL) | CTRL_ASDE | CTRL_SLU));
}

int hoste1000_open(struct hostpci *f, struct hostnic **out)
{
	struct e1000 *k = plat_alloc(sizeof(*k));
	uint32_t low, high;
	int err;

	if (!k)
		return err_here(ERR_NOMEM);
	*out = &k->n;
	k->n.receive = e1000_receive;
	k->n.transmit = e1000_transmit;
	hostpci_enable(f);
	k->regs = hostpci_map(f, 0, 0, 0x20000);
	if (!k->regs)
		return err_here(ERR_NOSYS);
	reset(k);
	low = get(k, RAL);
	high = get(k, RAH);
	for (unsigned i = 0; i < 6; i++)
		k->n.mac[i] = (uint8_t)(i < 4 ? low >> 8 * i : high >> 8 * (i - 4));
	for (unsigned i = 0; i < 128; i++)
		put(k, MTA + 4 * i, 0);
	err = make_ring(f, k, RDBAL, &k->rx, &k->in);
	return err ? err : make_ring(f, k, TDBAL, &k->tx, &k->out);
}

void hoste1000_start(struct hostnic *n)
{
	struct e1000 *k = to_e1000(n);

	for (unsigned i = 0; i < BUFFERS; i++)
		k->tx[i].status = DD; /* free */
	put(k, TIPG, TIPG_IEEE);
	put(k, TCTL, TCTL_ON);
	put(k, RCTL, RCTL_ON);
	put(k, RDBAL + R_TAIL, BUFFERS - 1); /* all but one are the card's */
}
