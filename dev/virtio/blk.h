/* SPDX-License-Identifier: ISC */
/* blk.h: virtio block device (virtio 1.2, 5.2). */
#ifndef DEV_VIRTIO_BLK_H
#define DEV_VIRTIO_BLK_H

#include "base/def.h"
#include "base/err.h"

struct block;
struct pci_host;
struct virtio_dev;
struct vm;

struct virtio_blk_wiring {
	struct block *blk;  /* the board's: closed after the VM is destroyed */
	const char *serial; /* at most 20 characters; NULL: none */
	int slot;           /* PCI slot, -1: any */
	bool transitional;  /* for drivers from before virtio 1.0, too */
};

int virtio_blk_create(struct vm *vm, struct pci_host *host, const struct virtio_blk_wiring *w,
		      struct virtio_dev **out) attr_must_check;
/* blk->size has changed: the guest is told. Any thread. */
void virtio_blk_resized(struct virtio_dev *vd);

#endif
