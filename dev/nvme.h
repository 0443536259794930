/* SPDX-License-Identifier: ISC */
/* nvme.h: NVM Express controller with one namespace. */
#ifndef DEV_NVME_H
#define DEV_NVME_H

#include "base/def.h"
#include "base/err.h"

struct vm;
struct pci_host;
struct block;
struct nvme;

struct nvme_wiring {
	struct pci_host *host;
	int slot; /* or PCI_ANY_SLOT */
	struct block *block;
	const char *serial; /* up to 20 characters; copied */
};

int nvme_create(struct vm *vm, const struct nvme_wiring *w, struct nvme **out) attr_must_check;

#endif
