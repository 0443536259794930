/* SPDX-License-Identifier: ISC */
/* e1000.h: Intel 82540EM gigabit network card. */
#ifndef DEV_NIC_E1000_H
#define DEV_NIC_E1000_H

#include "base/def.h"
#include "base/err.h"

struct vm;
struct pci_host;
struct net;
struct e1000;

struct e1000_wiring {
	struct pci_host *host;
	int slot;        /* or PCI_ANY_SLOT */
	struct net *net; /* with its address; stays the board's, beyond the life of the device */
};

int e1000_create(struct vm *vm, const struct e1000_wiring *w, struct e1000 **out) attr_must_check;

#endif
