/* SPDX-License-Identifier: ISC */
/* ahci.h: Serial ATA host controller with hard disks and CD drives. */
#ifndef DEV_ATA_AHCI_H
#define DEV_ATA_AHCI_H

#include "base/def.h"
#include "base/err.h"

struct vm;
struct pci_host;
struct block;
struct ahci;

#define AHCI_PORTS 6

struct ahci_wiring {
	struct pci_host *host;
	int slot; /* or PCI_ANY_SLOT */
	struct {
		bool present, cdrom;
		struct block *block; /* NULL: a CD drive without a disc */
		const char *serial;  /* up to 20 characters; copied */
	} port[AHCI_PORTS];
};

/* Blocks stay the board's, beyond the life of the device. */
int ahci_create(struct vm *vm, const struct ahci_wiring *w, struct ahci **out) attr_must_check;
/* As ide_change_disc(). */
int ahci_change_disc(struct ahci *a, unsigned port, struct block *block,
		     bool force) attr_must_check;

#endif
