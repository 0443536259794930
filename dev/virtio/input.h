/* SPDX-License-Identifier: ISC */
/* input.h: virtio keyboard and tablet (virtio 1.2, 5.8). */
#ifndef DEV_VIRTIO_INPUT_H
#define DEV_VIRTIO_INPUT_H

#include "base/def.h"
#include "base/err.h"

struct input;
struct pci_host;
struct virtio_dev;
struct vm;

struct virtio_input_wiring {
	struct input *input;
	bool tablet; /* an absolute pointer; else a keyboard */
	int slot;    /* PCI slot, -1: any */
};

/* Used in place of the PS/2 devices while the guest's driver is up. */
int virtio_input_create(struct vm *vm, struct pci_host *host, const struct virtio_input_wiring *w,
			struct virtio_dev **out) attr_must_check;

#endif
