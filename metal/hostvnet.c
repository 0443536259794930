/* SPDX-License-Identifier: ISC */
/* hostvnet.c: the machine's virtio network cards (virtio 1.2, 5.1): no offloads, a buffer a frame. Receiving is the
 * card's thread's, sending under the lock of hostnic.c. */
#include "base/str.h"
#include "metal/hostnic.h"
#include "metal/hostvirtio.h"
#include "metal/iommu.h"

enum { RX_QUEUE, TX_QUEUE };

#define TYPE_NET  1u
#define BUFFERS   HOSTNIC_BUFFERS
#define BUFFER    HOSTNIC_BUFFER
#define HEADER    12u /* struct virtio_net_hdr with num_buffers, as VIRTIO_F_VERSION_1 has it */
#define F_MAC     BIT64(5)
#define NO_NOTICE 1u /* VIRTQ_AVAIL_F_NO_INTERRUPT */

struct vnet {
	struct hostnic n; /* first */
	struct hostvirtio v;
	struct hostvq rx, tx;
	uint8_t *in, *out; /* BUFFERS of BUFFER bytes each */
	uint16_t free[BUFFERS];
	unsigned n_free;
};

static struct vnet *to_vnet(struct hostnic *n)
{
	return container_of(n, struct vnet, n);
}

static void vnet_receive(struct hostnic *n)
{
	struct vnet *k = to_vnet(n);
	uint16_t head;
	uint32_t len;
	bool any = false;

	while (hostvq_take(&k->rx, &head, &len)) {
		if (head >= BUFFERS)
			continue;
		if (len > HEADER && len <= BUFFER)
			hostnic_came(n, k->in + head * BUFFER + HEADER, len - HEADER);
		hostvq_post(&k->rx, head);
		any = true;
	}
	if (any)
		hostvq_kick(&k->rx);
}

static bool vnet_transmit(struct hostnic *n, const void *frame, size_t len)
{
	struct vnet *k = to_vnet(n);
	uint16_t head;
	uint32_t used;

	while (hostvq_take(&k->tx, &head, &used))
		if (head < BUFFERS && k->n_free < BUFFERS)
			k->free[k->n_free++] = head;
	if (!k->n_free || len > BUFFER - HEADER)
		return false;
	head = k->free[--k->n_free];
	memcpy(k->out + head * BUFFER + HEADER, frame, len);
	k->tx.desc[head].len = (uint32_t)(HEADER + len);
	hostvq_post(&k->tx, head);
	hostvq_kick(&k->tx);
	return true;
}

/* ---- set-up --------------------------------------------------------------------------------------- */

static int buffers(const struct hostvirtio *v, struct hostvq *q, uint8_t **out, uint16_t flags)
{
	if (q->size < BUFFERS)
		return err_here(ERR_NOSYS);
	*out = iommu_pages_alloc(v->pci, (size_t)BUFFERS * BUFFER);
	if (!*out)
		return err_here(ERR_NOMEM);
	for (unsigned i = 0; i < BUFFERS; i++)
		q->desc[i] = (struct vq_desc){plat_phys(*out + i * BUFFER), BUFFER, flags, 0};
	return 0;
}

bool hostvnet_is(const struct hostpci *f)
{
	return hostvirtio_is(f, TYPE_NET);
}

int hostvnet_open(struct hostpci *f, struct hostnic **out)
{
	struct vnet *k = plat_alloc(sizeof(*k));
	int err;

	if (!k)
		return err_here(ERR_NOMEM);
	*out = &k->n;
	k->n.receive = vnet_receive;
	k->n.transmit = vnet_transmit;
	k->n.irq = !hostpci_irq(f, hostnic_irq, &k->n);
	err = hostvirtio_open(&k->v, f, F_MAC, k->n.irq);
	if (!err)
		err = hostvq_open(&k->v, RX_QUEUE, 256, &k->rx);
	if (!err)
		err = hostvq_open(&k->v, TX_QUEUE, 256, &k->tx);
	if (!err)
		err = buffers(&k->v, &k->rx, &k->in, VQ_WRITE);
	if (!err)
		err = buffers(&k->v, &k->tx, &k->out, 0);
	for (unsigned i = 0; i < 6 && !err; i++)
		k->n.mac[i] = k->v.features & F_MAC ? (uint8_t)hostvirtio_config(&k->v, i, 1) : 0;
	return err;
}

void hostvnet_start(struct hostnic *n)
{
	struct vnet *k = to_vnet(n);

	k->tx.avail[0] = NO_NOTICE;
	for (uint16_t i = 0; i < BUFFERS; i++) {
		k->free[k->n_free++] = i;
		hostvq_post(&k->rx, i);
	}
	hostvirtio_ready(&k->v);
	hostvq_kick(&k->rx);
}
