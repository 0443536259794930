/* SPDX-License-Identifier: ISC */
/* internal.h: what host.c, config.c and msi.c share. */
#ifndef DEV_PCI_INTERNAL_H
#define DEV_PCI_INTERNAL_H

#include "dev/pci/pci.h"
#include "vm/dev.h"

struct pci_host {
	struct dev dev;
	struct pci_host_wiring w;
	struct plat_mutex lock;           /* RANK_PCI: address, configuration spaces, BARs */
	struct plat_mutex irq_lock;       /* RANK_INTX: pins and message tables */
	uint32_t address;                 /* CF8H */
	uint8_t reset_control;            /* CF9H */
	struct pci_window io, mem, mem64; /* what is left of the windows */
	unsigned conflicts;               /* enabled BARs that could not be mapped */
	unsigned complaints;              /* messages about them, bounded */
	struct pci_dev bridge;
	struct pci_dev *dev_at[PCI_SLOTS * PCI_FUNCS];
	/* under irq_lock */
	uint16_t pirq_count[4]; /* functions that hold the wire */
};

/* config.c; host->lock held */
void pci_bars_update(struct pci_dev *pd);
void pci_bars_unmap(struct pci_dev *pd);
int pci_bars_assign(struct pci_dev *pd) attr_must_check;

/* state.c */
int pci_host_state(struct dev *dev, struct state_stream *st);

/* msi.c: takes over what was written to COMMAND and the MSI capabilities; host->lock held. */
void pci_irq_sync(struct pci_dev *pd);
/* Interrupt status bit and MSI pending bits, for reads; host->lock held. */
void pci_irq_show(struct pci_dev *pd);
/* After reset of the function. */
void pci_irq_reset(struct pci_dev *pd);

#endif
