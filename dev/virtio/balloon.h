/* SPDX-License-Identifier: ISC */
/* balloon.h: virtio memory balloon (virtio 1.2, 5.5). */
#ifndef DEV_VIRTIO_BALLOON_H
#define DEV_VIRTIO_BALLOON_H

#include "base/def.h"
#include "base/err.h"

struct pci_host;
struct virtio_dev;
struct vm;

struct virtio_balloon_wiring {
	int slot;          /* PCI slot, -1: any */
	bool transitional; /* for drivers from before virtio 1.0, too */
};

int virtio_balloon_create(struct vm *vm, struct pci_host *host,
			  const struct virtio_balloon_wiring *w,
			  struct virtio_dev **out) attr_must_check;
/* Asks the guest to give up this many bytes (rounded down to pages). Any thread. */
void virtio_balloon_set(struct virtio_dev *vd, uint64_t bytes);
/* What it has given up, in bytes. Any thread. */
uint64_t virtio_balloon_actual(struct virtio_dev *vd);

#endif
