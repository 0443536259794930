/* SPDX-License-Identifier: ISC */
/* acpi.h: the ACPI tables of a board, built from a description of its hardware. */
#ifndef BOARD_ACPI_H
#define BOARD_ACPI_H

#include "base/def.h"
#include "base/err.h"

struct acpi_config {
	unsigned cpus;
	uint32_t lapic_base, ioapic_base;
	uint8_t sci_gsi;
	/* Power management: I/O ports */
	uint16_t pm1a_evt, pm1a_cnt, pm_timer, gpe0;
	uint8_t gpe0_len;
	uint8_t s5_type;          /* SLP_TYP of soft-off */
	uint8_t s3_type, s4_type; /* of suspend to RAM and to disk; 0: not offered */
	uint8_t kbd_gpe;    /* general-purpose event by which a key wakes, with has_ps2; 0: none */
	uint64_t hpet_base; /* 0: none */
	uint32_t hpet_id;   /* lower half of its capabilities */
	uint16_t reset_port;
	uint8_t reset_value;
	/* PCI */
	uint64_t ecam_base; /* one bus, 1 MiB; 0: none */
	uint16_t pci_io_first, pci_io_last;
	uint32_t pci_mem_first, pci_mem_last;
	/* GSI of interrupt pin 0…3 (INTA…D) of a slot */
	unsigned (*pci_gsi)(unsigned slot, unsigned pin);
	/* Instead: through a router whose wires firmware has connected to these interrupts, which
	 * work with the PIC too; pin p of slot s is wire (s + p + 3) % 4. 0: no router. */
	uint8_t pci_link[4];
	bool has_serial, has_rtc, has_i8042;
	bool has_floppy;   /* a controller at 3F0H */
	bool has_parallel; /* a port at 378H */
	bool has_ps2;      /* keyboard and mouse at the i8042 */
};

/* Writes RSDP (at the buffer's start) and tables for a buffer that the guest sees at gpa (16-byte
 * aligned, below 1 MiB for guests that scan). Returns 0, or ERR_NOMEM when size is too small. */
int acpi_build(const struct acpi_config *cfg, gpa_t gpa, uint8_t *buf, size_t size) attr_must_check;

#endif
