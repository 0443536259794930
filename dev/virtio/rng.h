/* SPDX-License-Identifier: ISC */
/* rng.h: virtio entropy device (virtio 1.2, 5.4). */
#ifndef DEV_VIRTIO_RNG_H
#define DEV_VIRTIO_RNG_H

#include "base/def.h"
#include "base/err.h"

struct pci_host;
struct virtio_dev;
struct vm;

struct virtio_rng_wiring {
	uint32_t rate;     /* bytes a second, and the largest burst; 0: 256 KiB */
	int slot;          /* PCI slot, -1: any */
	bool transitional; /* for drivers from before virtio 1.0, too */
};

int virtio_rng_create(struct vm *vm, struct pci_host *host, const struct virtio_rng_wiring *w,
		      struct virtio_dev **out) attr_must_check;

#endif
