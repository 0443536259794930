/* SPDX-License-Identifier: ISC */
/* ivrs.h: what ACPI's IVRS table says of AMD's IOMMUs (AMD I/O Virtualization Technology, 5.2): which there are, functions that
 * ask in another one's name, and memory that firmware has some functions use. Firmware's bytes: checked. */
#ifndef METAL_IVRS_H
#define METAL_IVRS_H

#include "base/def.h"
#include "base/err.h"

#define IVRS_UNITS   16u
#define IVRS_REGIONS 16u
#define IVRS_ALIASES 64u

struct ivrs {
	struct {
		uint64_t base; /* of its registers, physical */
		uint16_t bdf;  /* its own PCI function */
	} unit[IVRS_UNITS];
	struct {
		uint64_t pa, end;
		uint16_t first, last; /* bdfs */
	} region[IVRS_REGIONS];
	struct {
		uint16_t first, last, source; /* these bdfs ask as source */
	} alias[IVRS_ALIASES];
	unsigned n_units, n_regions, n_aliases;
};

/* table: with its header, of size bytes. Of segment 0 alone. ERR_FORMAT: it contradicts itself; ERR_RANGE: there is more than
 * fits; ERR_NOENT: no unit. */
int ivrs_parse(const uint8_t *table, size_t size, struct ivrs *out) attr_must_check;
/* In whose name the function asks. */
uint16_t ivrs_source(const struct ivrs *v, uint16_t bdf);

#endif
