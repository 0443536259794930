/* SPDX-License-Identifier: ISC */
/* iopt.h: the page tables of an IOMMU for one device: what of memory it reaches, everything at its own address. */
#ifndef METAL_IOPT_H
#define METAL_IOPT_H

#include "base/def.h"
#include "base/err.h"

struct iopt_format {
	uint64_t table, page,
		large; /* bits of an entry that leads to a table, of a page of 4 KiB, of one of 2 MiB */
	unsigned
		level_at; /* where a table's level stands in the entry that leads to it; 0: nowhere */
};
extern const struct iopt_format iopt_intel,
	iopt_amd; /* VT-d, 9.8: second-level paging entries; AMD's, 2.2.3 */

struct iopt {
	const struct iopt_format *format;
	uint64_t *root;
	unsigned levels; /* 3 or 4 */
	bool large;      /* the unit knows pages of 2 MiB */
	bool flush;      /* it does not look into the processor's caches */
};

/* The others are set. */
int iopt_init(struct iopt *t) attr_must_check;
void iopt_fini(struct iopt *t);
/* Whole pages; none of them is mapped. ERR_RANGE: beyond what so many levels reach. After an error, unmap it. */
int iopt_map(struct iopt *t, uint64_t pa, uint64_t end) attr_must_check;
/* What was mapped as one. Tables stay. */
void iopt_unmap(struct iopt *t, uint64_t pa, uint64_t end);
bool iopt_reaches(const struct iopt *t, uint64_t pa);

#endif
