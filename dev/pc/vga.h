/* SPDX-License-Identifier: ISC */
/* vga.h: VGA with Bochs' VBE extensions, PCI 1234:1111. */
#ifndef DEV_PC_VGA_H
#define DEV_PC_VGA_H

#include "base/def.h"
#include "base/err.h"

struct vm;
struct vga;
struct display;
struct pci_host;

#define VGA_VRAM_SIZE (16 * MIB)

struct vga_wiring {
	struct pci_host *host;
	int slot; /* or PCI_ANY_SLOT */
	struct display *display;
	/* Where the guest's firmware is going to put the frame buffer. There it is memory; elsewhere it
	 * is reached through the bus, which is correct but slow. 0: through the bus only. */
	gpa_t linear;
};

/* ERR_EXIST where memory is at one of its addresses: the VM must be one with pc_low. */
int vga_create(struct vm *vm, const struct vga_wiring *w, struct vga **out) attr_must_check;

#endif
