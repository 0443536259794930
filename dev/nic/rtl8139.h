/* SPDX-License-Identifier: ISC */
/* rtl8139.h: Realtek RTL8139C+ and RTL8139D fast Ethernet cards. */
#ifndef DEV_NIC_RTL8139_H
#define DEV_NIC_RTL8139_H

#include "base/def.h"
#include "base/err.h"

struct vm;
struct net;
struct pci_host;
struct rtl8139;

struct rtl8139_wiring {
	struct pci_host *host;
	int slot;        /* or PCI_ANY_SLOT */
	struct net *net; /* mac: of the card */
	bool plain;      /* a D: without the C+ mode's descriptors and offloads */
};

int rtl8139_create(struct vm *vm, const struct rtl8139_wiring *w,
		   struct rtl8139 **out) attr_must_check;

#endif
