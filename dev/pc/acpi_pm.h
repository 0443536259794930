/* SPDX-License-Identifier: ISC */
/* acpi_pm.h: ACPI fixed hardware (ACPI 6.4, chapter 4.8) and the reset registers of a PC. */
#ifndef DEV_PC_ACPI_PM_H
#define DEV_PC_ACPI_PM_H

#include "base/def.h"
#include "base/err.h"
#include "vm/irq.h"

#define ACPI_PM_HZ UINT64_C(3579545)

/* The block of ports, from acpi_pm_wiring.base on */
#define ACPI_PM1A_EVT 0x00 /* status, enable; 4 bytes */
#define ACPI_PM1A_CNT 0x04 /* 2 bytes */
#define ACPI_PM_TMR   0x08 /* 4 bytes */
#define ACPI_GPE0     0x10 /* status, enable; 4 bytes */
#define ACPI_GPE0_LEN 4
#define ACPI_RESET    0x14 /* 1 byte: writing ACPI_RESET_VALUE resets the machine */
#define ACPI_PM_LEN   0x18

#define ACPI_RESET_VALUE 0x01
#define ACPI_S5_TYPE     5 /* SLP_TYP of soft-off */

struct vm;
struct acpi_pm;
struct acpi_pm_wiring {
	uint16_t base;
	struct irq_line sci; /* level-triggered, asserted high */
	uint8_t s5_type;     /* SLP_TYP of soft-off; ACPI_S5_TYPE, or 0 as in the 82371AB */
	uint8_t s3_type;     /* of suspend to RAM; 0: not there */
	uint8_t s4_type; /* of suspend to disk, which to the machine is soft-off; 0: not there */
	bool timer32;    /* PM timer of 32 bits (FADT TMR_VAL_EXT), else 24 */
	bool cf9;        /* also the reset control register at port CF9H; else the PCI host's */
};

/* Sets vm->power_button where the board has set none. */
int acpi_pm_create(struct vm *vm, const struct acpi_pm_wiring *w,
		   struct acpi_pm **out) attr_must_check;
/* Moves the block of ports; 0: it answers nowhere. ERR_EXIST where something else is. Not from two
 * threads at once. */
int acpi_pm_move(struct acpi_pm *pm, uint16_t base) attr_must_check;
/* Presses the power button: an event for the guest, which wakes it where it sleeps. Any thread, no lock held. As
 * vm->power_button. */
void acpi_pm_power_button(struct vm *vm);
/* General-purpose event n (0…15) happened. Any thread. */
void acpi_pm_gpe(struct acpi_pm *pm, unsigned n);
/* What may wake a guest that sleeps happened: ACPI_WAKE_RTC (RTC_STS, also when it does not sleep), or a
 * general-purpose event, which counts only then. Any thread, under any lock below RANK_TIMER. */
#define ACPI_WAKE_RTC 16
void acpi_pm_wake(struct acpi_pm *pm, unsigned n);
/* Reset control register (CF9H), for a host bridge that owns CF8H…CFFH. */
uint8_t acpi_pm_cf9_read(struct acpi_pm *pm);
void acpi_pm_cf9_write(struct acpi_pm *pm, uint8_t value);

#endif
