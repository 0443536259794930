/* SPDX-License-Identifier: ISC */
/* console.h: virtio console, one port (virtio 1.2, 5.3). */
#ifndef DEV_VIRTIO_CONSOLE_H
#define DEV_VIRTIO_CONSOLE_H

#include "base/def.h"
#include "base/err.h"

struct chr;
struct pci_host;
struct virtio_dev;
struct vm;

struct virtio_console_wiring {
	struct chr *chr;   /* the board's */
	int slot;          /* PCI slot, -1: any */
	bool transitional; /* for drivers from before virtio 1.0, too */
};

int virtio_console_create(struct vm *vm, struct pci_host *host,
			  const struct virtio_console_wiring *w,
			  struct virtio_dev **out) attr_must_check;
/* The terminal's size has changed. Any thread. */
void virtio_console_resize(struct virtio_dev *vd, uint16_t cols, uint16_t rows);

#endif
