/* SPDX-License-Identifier: ISC */
/* rtl8029.h: Realtek RTL8029AS, an NE2000 on the PCI bus. */
#ifndef DEV_NIC_RTL8029_H
#define DEV_NIC_RTL8029_H

#include "base/def.h"
#include "base/err.h"

struct vm;
struct net;
struct pci_host;
struct rtl8029;

struct rtl8029_wiring {
	struct pci_host *host;
	int slot;        /* or PCI_ANY_SLOT */
	struct net *net; /* mac: of the card */
};

int rtl8029_create(struct vm *vm, const struct rtl8029_wiring *w,
		   struct rtl8029 **out) attr_must_check;

#endif
