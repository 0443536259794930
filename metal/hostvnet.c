/* SPDX-License-Identifier: ISC */
/* hostvnet.c: the machine's virtio network cards (virtio 1.2, 5.1): no offloads, a buffer a frame. Each card has a
 * thread that the card's interrupt wakes, which hands what came to the switch; who sends copies the frame into
 * a free buffer, on its own thread, and loses it where there is none. k->lock guards the sending queue. The
 * card is believed no more than a guest: its lengths and heads are checked. */
#include "metal/hostvnet.h"

#include "base/str.h"
#include "metal/hostvirtio.h"
#include "net/net.h"

enum { RX_QUEUE, TX_QUEUE };

#define BUFFERS   128u
#define BUFFER    2048u
#define HEADER    12u /* struct virtio_net_hdr with num_buffers, as VIRTIO_F_VERSION_1 has it */
#define F_MAC     BIT64(5)
#define NO_NOTICE 1u /* VIRTQ_AVAIL_F_NO_INTERRUPT */

struct vnet {
	struct hostvirtio v;
	struct hostvq rx, tx;
	struct net *port;
	uint8_t *in, *out; /* BUFFERS of BUFFER bytes each */
	struct plat_event wake;
	struct plat_mutex lock; /* RANK_BACKEND: tx, free */
	uint16_t free[BUFFERS];
	unsigned n_free;
};

/* ---- from the wire ------------------------------------------------------------------------------ */

static void on_irq(void *arg)
{
	plat_event_set(&((struct vnet *)arg)->wake);
}

static void receive_all(struct vnet *k)
{
	uint16_t head;
	uint32_t len;
	bool any = false;

	while (hostvq_take(&k->rx, &head, &len)) {
		struct net_vec v = {k->in + head * BUFFER + HEADER, len - HEADER};

		if (head >= BUFFERS)
			continue;
		if (len > HEADER && len <= BUFFER)
			k->port->ops->send(k->port, &v, 1);
		hostvq_post(&k->rx, head);
		any = true;
	}
	if (any)
		hostvq_kick(&k->rx);
}

static void serve(void *arg)
{
	struct vnet *k = arg;

	for (;;) {
		plat_event_clear(&k->wake);
		receive_all(k);
		plat_event_wait(&k->wake, k->v.irq ? PLAT_FOREVER : plat_now() + HOSTPCI_POLL);
	}
}

/* ---- onto the wire ------------------------------------------------------------------------------ */

static bool transmit(void *dev, const void *frame, size_t len)
{
	struct vnet *k = dev;
	uint16_t head;
	uint32_t used;
	bool room;

	if (len > BUFFER - HEADER)
		return false;
	plat_mutex_lock(&k->lock);
	while (hostvq_take(&k->tx, &head, &used))
		if (head < BUFFERS && k->n_free < BUFFERS)
			k->free[k->n_free++] = head;
	room = k->n_free;
	if (room) {
		head = k->free[--k->n_free];
		memcpy(k->out + head * BUFFER + HEADER, frame, len);
		k->tx.desc[head].len = (uint32_t)(HEADER + len);
		hostvq_post(&k->tx, head);
		hostvq_kick(&k->tx);
	}
	plat_mutex_unlock(&k->lock);
	return room;
}

/* ---- set-up --------------------------------------------------------------------------------------- */

static int buffers(struct hostvq *q, uint8_t **out, uint16_t flags)
{
	if (q->size < BUFFERS)
		return err_here(ERR_NOSYS);
	*out = plat_pages_alloc((size_t)BUFFERS * BUFFER);
	if (!*out)
		return err_here(ERR_NOMEM);
	for (unsigned i = 0; i < BUFFERS; i++)
		q->desc[i] = (struct vq_desc){plat_phys(*out + i * BUFFER), BUFFER, flags, 0};
	return 0;
}

static int open(struct vnet *k, struct hostpci *f)
{
	int err = hostvirtio_open(&k->v, f, F_MAC, !hostpci_irq(f, on_irq, k));

	if (!err)
		err = hostvq_open(&k->v, RX_QUEUE, 256, &k->rx);
	if (!err)
		err = hostvq_open(&k->v, TX_QUEUE, 256, &k->tx);
	if (!err)
		err = buffers(&k->rx, &k->in, VQ_WRITE);
	if (!err)
		err = buffers(&k->tx, &k->out, 0);
	return err;
}

int hostvnet_open(struct hostpci *f, struct net *port, uint8_t mac[6])
{
	struct vnet *k = plat_alloc(sizeof(*k));
	struct net_client client = {transmit, k};
	struct plat_thread *thread;
	int err = k ? open(k, f) : err_here(ERR_NOMEM);

	if (!err) {
		k->tx.avail[0] = NO_NOTICE;
		for (uint16_t i = 0; i < BUFFERS; i++) {
			k->free[k->n_free++] = i;
			hostvq_post(&k->rx, i);
		}
		k->port = port;
		plat_mutex_init(&k->lock, RANK_BACKEND);
		err = plat_thread_create("uplink", serve, k, &thread);
	}
	if (err) {
		hostpci_disable(f); /* what it has stays taken: it is for the whole life */
		return err;
	}
	for (unsigned i = 0; i < 6; i++)
		mac[i] = k->v.features & F_MAC ? (uint8_t)hostvirtio_config(&k->v, i, 1) : 0;
	hostvirtio_ready(&k->v);
	hostvq_kick(&k->rx);
	net_attach(port, &client);
	f->driver = "uplink";
	return 0;
}
