/* SPDX-License-Identifier: ISC */
/* hostnic.h: the machine's own network cards, as uplinks of networks. */
#ifndef METAL_HOSTNIC_H
#define METAL_HOSTNIC_H

#include "metal/hostpci.h"
#include "plat/plat.h"

struct net;

/* What a driver sets; the rest is hostnic.c's. */
struct hostnic {
	/* Hands what has come to the port; on the card's thread. */
	void (*receive)(struct hostnic *n);
	/* Copies the frame into a free buffer and has it sent; false: there is none. Under the lock. */
	bool (*transmit)(struct hostnic *n, const void *frame, size_t len);
	bool irq; /* hostnic_irq() is called; else the card is looked at every HOSTPCI_POLL */
	uint8_t mac[6];

	struct net *port;
	struct plat_event wake;
	struct plat_mutex lock; /* RANK_BACKEND: sending */
};

#define HOSTNIC_BUFFERS 128u
#define HOSTNIC_BUFFER  2048u

void hostnic_irq(void *nic); /* interrupts off */
/* What came: len bytes of frame. */
void hostnic_came(struct hostnic *n, const void *frame, size_t len);

/* Takes f if it is a network card that a driver knows, and plugs it into a switch's port: what comes from the wire is
 * sent there, what comes from there goes onto the wire. ERR_NOENT: it is none. */
int hostnic_open(struct hostpci *f, struct net *port, uint8_t mac[6]) attr_must_check;

/* The drivers: whether f is theirs; and set-up, which does not begin to receive before hostnic has the port. */
bool hostvnet_is(const struct hostpci *f);
int hostvnet_open(struct hostpci *f, struct hostnic **out) attr_must_check;
void hostvnet_start(struct hostnic *n);
bool hoste1000_is(const struct hostpci *f);
int hoste1000_open(struct hostpci *f, struct hostnic **out) attr_must_check;
void hoste1000_start(struct hostnic *n);

#endif
