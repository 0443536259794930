/* SPDX-License-Identifier: ISC */
/* net.h: virtio network device (virtio 1.2, 5.1). */
#ifndef DEV_VIRTIO_NET_H
#define DEV_VIRTIO_NET_H

#include "base/def.h"
#include "base/err.h"

struct net;
struct pci_host;
struct virtio_dev;
struct vm;

struct virtio_net_wiring {
	struct net *net;   /* the board's: closed after the VM is destroyed */
	uint16_t mtu;      /* told to the guest; 0: not */
	int slot;          /* PCI slot, -1: any */
	bool transitional; /* for drivers from before virtio 1.0, too */
};

int virtio_net_create(struct vm *vm, struct pci_host *host, const struct virtio_net_wiring *w,
		      struct virtio_dev **out) attr_must_check;
/* The cable. Any thread. */
void virtio_net_set_link(struct virtio_dev *vd, bool up);

#endif
