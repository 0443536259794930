/* SPDX-License-Identifier: ISC */
/* i440fx.h: the chip set of the PC board: 82441FX host bridge (shadow memory), 82371SB ISA bridge
 * (PIRQ router) and the power management function of the 82371AB. */
#ifndef DEV_PC_I440FX_H
#define DEV_PC_I440FX_H

#include "base/def.h"
#include "base/err.h"
#include "vm/irq.h"

struct vm;
struct pci_host;
struct acpi_pm;
struct i440fx;

#define I440FX_VENDOR 0x8086
#define I440FX_DEVICE 0x1237

#define PIIX_SLOT   1 /* ISA bridge 0, IDE 1, USB 2, power management 3 */
#define PIIX_ISA_FN 0
#define PIIX_IDE_FN 1
#define PIIX_USB_FN 2
#define PIIX_PM_FN  3

struct i440fx_wiring {
	const uint8_t
		*rom; /* what the PCI side has below 1 MiB, at most 256 KiB; kept by the caller */
	uint64_t rom_size;
	struct pci_host *host; /* created with I440FX_VENDOR, I440FX_DEVICE and lines from below */
	struct acpi_pm *pm;
	uint16_t pm_base; /* where firmware finds it; it may move it */
};

/* Its PCI interrupt lines exist before the host bridge does: piix_pirq(i) is the bridge's pirq[i].
 * Then i440fx_attach() puts the functions on the bus. The VM owns the chip set from i440fx_create()
 * on. */
int i440fx_create(struct vm *vm, struct i440fx **out) attr_must_check;
struct irq_line i440fx_pirq(struct i440fx *chip, unsigned n);
int i440fx_attach(struct i440fx *chip, const struct i440fx_wiring *w) attr_must_check;

#endif
