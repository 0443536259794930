/* SPDX-License-Identifier: ISC */
/* uhci.h: the USB host controller of the 82371SB. */
#ifndef DEV_USB_UHCI_H
#define DEV_USB_UHCI_H

#include "base/def.h"
#include "base/err.h"

struct pci_host;
struct usb_dev;
struct vm;
struct uhci;

#define UHCI_PORTS 2

struct uhci_wiring {
	struct pci_host *host;
	int slot;
	unsigned func;
	struct usb_dev *take_port[UHCI_PORTS]; /* NULL: nothing is plugged in */
};

/* Takes the devices, on errors too. */
int uhci_create(struct vm *vm, const struct uhci_wiring *w, struct uhci **out) attr_must_check;

#endif
