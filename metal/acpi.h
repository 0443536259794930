/* SPDX-License-Identifier: ISC */
/* acpi.h: what the hypervisor needs of the machine's ACPI tables. */
#ifndef METAL_ACPI_H
#define METAL_ACPI_H

#include "base/def.h"
#include "base/err.h"
#include "metal/dmar.h"
#include "metal/ivrs.h"
#include "plat/metal/pcpu.h"

struct acpi_info {
	uint32_t cpu[PCPU_MAX]; /* APIC ids of processors that may be started */
	unsigned n_cpus;
	uint64_t lapic, ioapic, hpet, ecam; /* physical; 0: none */
	unsigned ecam_buses;                /* from 0 on */
	uint32_t com1_gsi, keyboard_gsi;
	bool com1_low, com1_level; /* polarity and trigger, where not an ISA interrupt's usual */
	bool has_dmar, has_ivrs;   /* an IOMMU is there: Intel's, AMD's */
	int dmar_err, ivrs_err;    /* why the table is not to be used; 0: it is */
	struct dmar dmar;
	struct ivrs ivrs;
	uint16_t pm_timer, pm1a_cnt, pm1b_cnt, smi_cmd;
	uint8_t acpi_enable;
	bool has_s5;
	uint8_t s5_a, s5_b; /* SLP_TYP of power-off */
	uint8_t reset_space, reset_value;
	uint64_t reset_at; /* 0: none */
};

/* rsdp: the loader's copy; without one the BIOS area is searched. While the loader's memory is mapped
 * as it is, and below 4 GiB. */
int acpi_parse(const uint8_t *rsdp, struct acpi_info *out) attr_must_check;

#endif
