/* SPDX-License-Identifier: ISC */
/* net.h: Ethernet frames between a network device and a back end. */
#ifndef NET_NET_H
#define NET_NET_H

#include "base/def.h"
#include "base/err.h"
#include "plat/plat.h"

#define NET_FRAME_MAX 65550 /* with segmentation offloads; 1514 without */

struct net;

struct net_vec {
	const void *base;
	size_t len;
};

/* A queue of a virtio 1.0 card, as the host's kernel gets it. */
struct net_ring {
	const void *desc, *avail;
	void *used;
	uint16_t size, next; /* next: the chain that is taken next */
};
struct net_area {
	gpa_t gpa;
	uint64_t size;
	void *hva;
};
struct net_lift {
	struct net_ring ring[2]; /* receive, send */
	uint64_t features;       /* as the driver has them */
	bool csum;               /* frames for the guest may come without their checksums */
	const struct net_area *area;
	unsigned n_areas;
};

struct net_ops {
	const char *name;
	/* Guest to host. Any thread; the frame is copied or gone when it returns. */
	void (*send)(struct net *n, const struct net_vec *vec, unsigned n_vec);
	/* The device can take frames again after it had refused one. Any thread. */
	void (*rx_ready)(struct net *n);
	/* Nobody uses it any more; frees it. Any thread. */
	void (*close)(struct net *n);
	/* The host's kernel runs both queues (vhost), until drop(), which says what chains are next. ERR_BUSY: frames are
	 * wanted here now; others: it cannot. Under the card's lock. lift NULL: never. */
	int (*lift)(struct net *n, const struct net_lift *l);
	void (*rung)(struct net *n, unsigned ring); /* the guest has notified */
	void (*drop)(struct net *n, uint16_t next[2]);
	/* The eventfd by which the kernel says that it has used a ring's buffers: on: somebody else hears it, off:
	 * client.called(). */
	int (*direct)(struct net *n, unsigned ring, bool on);
};

/* The device's side, set by net_attach(). Called on the back end's thread, one at a time. */
struct net_client {
	/* Host to guest; false: no room, the back end keeps the frame, which it offers again before any other, and
	 * waits for rx_ready(). */
	bool (*receive)(void *dev, const void *frame, size_t len);
	void *dev;
	/* The cable is plugged in, or pulled. NULL: this card has none. Any thread. */
	void (*link)(void *dev, bool up);
	/* While queues are lifted. The kernel has used buffers of a ring; the frames are wanted here: drop(). NULL: it
	 * never lifts. No lock held. */
	void (*called)(void *dev, unsigned ring);
	void (*recall)(void *dev);
};

struct net {
	const struct net_ops *ops;
	struct net_client client;
	uint8_t mac[6];             /* proposed for the guest's card */
	bool mac_chosen;            /* by the user */
	_Atomic uint32_t receiving; /* calls of the client that run now */
};

/* Frames that come earlier are lost. The receiver may be attached while the back end runs. */
static inline void net_attach(struct net *n, const struct net_client *client)
{
	n->client.dev = client->dev;
	n->client.link = client->link;
	n->client.called = client->called;
	n->client.recall = client->recall;
	__atomic_store_n(&n->client.receive, client->receive, __ATOMIC_RELEASE);
}

/* For back ends. With no device attached, frames vanish. */
static inline bool net_receive(struct net *n, const void *frame, size_t len)
{
	bool (*receive)(void *, const void *, size_t);
	bool taken = true;

	atomic_fetch_add(&n->receiving, 1);
	receive = __atomic_load_n(&n->client.receive, __ATOMIC_SEQ_CST);
	if (receive)
		taken = receive(n->client.dev, frame, len);
	atomic_fetch_sub(&n->receiving, 1);
	return taken;
}

/* Nothing where there is no device. */
static inline void net_link(struct net *n, bool up)
{
	atomic_fetch_add(&n->receiving, 1);
	if (__atomic_load_n(&n->client.receive, __ATOMIC_SEQ_CST) && n->client.link)
		n->client.link(n->client.dev, up);
	atomic_fetch_sub(&n->receiving, 1);
}

static inline void net_called(struct net *n, unsigned ring)
{
	atomic_fetch_add(&n->receiving, 1);
	if (__atomic_load_n(&n->client.receive, __ATOMIC_SEQ_CST) && n->client.called)
		n->client.called(n->client.dev, ring);
	atomic_fetch_sub(&n->receiving, 1);
}

static inline void net_recall(struct net *n)
{
	atomic_fetch_add(&n->receiving, 1);
	if (__atomic_load_n(&n->client.receive, __ATOMIC_SEQ_CST) && n->client.recall)
		n->client.recall(n->client.dev);
	atomic_fetch_sub(&n->receiving, 1);
}

/* For devices that go away before the back end: after return the client is called no more. Not
 * from the client. */
static inline void net_detach(struct net *n)
{
	__atomic_store_n(&n->client.receive, NULL, __ATOMIC_SEQ_CST);
	while (atomic_load(&n->receiving))
		plat_yield();
}

#endif
