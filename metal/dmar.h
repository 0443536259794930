/* SPDX-License-Identifier: ISC */
/* dmar.h: what ACPI's DMAR table says of Intel's IOMMUs (Virtualization Technology for Directed I/O, chapter 8): which there
 * are, the functions that each is for, and memory that firmware has some functions use. Firmware's bytes: checked. */
#ifndef METAL_DMAR_H
#define METAL_DMAR_H

#include "base/def.h"
#include "base/err.h"

#define DMAR_UNITS   16u
#define DMAR_REGIONS 16u
#define DMAR_SCOPES  64u
#define DMAR_PATH    4u

/* Functions that something is for: from a bus, device and function of each bridge on the way, and in the end its own. */
struct dmar_scope {
	uint8_t owner; /* index of a unit or a region */
	bool region;   /* of which */
	bool bridge;   /* whatever is behind it, too */
	uint8_t bus, n;
	uint8_t path[DMAR_PATH]; /* device << 3 | function */
};

struct dmar {
	struct {
		uint64_t base; /* of its registers, physical */
		bool rest;     /* for all that no other is for */
	} unit[DMAR_UNITS];
	struct {
		uint64_t pa, end;
	} region[DMAR_REGIONS];
	struct dmar_scope scope[DMAR_SCOPES];
	unsigned n_units, n_regions, n_scopes;
};

/* table: with its header, of size bytes. Of segment 0 alone. ERR_FORMAT: it contradicts itself; ERR_RANGE: there is more than
 * fits, and half of it would leave holes; ERR_NOENT: no unit. */
int dmar_parse(const uint8_t *table, size_t size, struct dmar *out) attr_must_check;

/* The buses behind a bridge; false: bdf is none. */
typedef bool (*dmar_buses)(void *ctx, uint16_t bdf, uint8_t *first, uint8_t *last);
/* Whether the function is one of the scope's. */
bool dmar_in_scope(const struct dmar_scope *s, uint16_t bdf, dmar_buses buses, void *ctx);
/* Index of the unit that is for the function; n_units: none is. */
unsigned dmar_unit_of(const struct dmar *d, uint16_t bdf, dmar_buses buses, void *ctx);

#endif
