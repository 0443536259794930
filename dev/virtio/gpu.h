/* SPDX-License-Identifier: ISC */
/* gpu.h: virtio graphics device (virtio 1.2, 5.7), 2D, one screen. */
#ifndef DEV_VIRTIO_GPU_H
#define DEV_VIRTIO_GPU_H

#include "base/def.h"
#include "base/err.h"

struct display;
struct pci_host;
struct virtio_dev;
struct vm;

struct virtio_gpu_wiring {
	struct display *display;
	int slot; /* PCI slot, -1: any */
};

int virtio_gpu_create(struct vm *vm, struct pci_host *host, const struct virtio_gpu_wiring *w,
		      struct virtio_dev **out) attr_must_check;

#endif
