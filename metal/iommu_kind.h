/* SPDX-License-Identifier: ISC */
/* iommu_kind.h: what iommu.c asks of Intel's and AMD's IOMMUs, each of which does it in its way. The caller serialises. */
#ifndef METAL_IOMMU_KIND_H
#define METAL_IOMMU_KIND_H

#include "metal/acpi.h"
#include "metal/iopt.h"

struct iommu_fault {
	uint16_t bdf;
	uint64_t pa; /* of the page */
	uint8_t reason;
	bool write;
};

struct iommu_kind {
	/* All units; how many. Their registers are mapped, nothing is changed. */
	int (*open)(const struct acpi_info *acpi, unsigned *n);
	/* From then on functions without a page table reach nothing. Faults interrupt with fn(arg). */
	int (*start)(void (*fn)(void *arg), void *arg);
	/* In whose name a function asks: all such have one page table. */
	uint16_t (*source)(uint16_t bdf);
	/* What the function's table must be (format, levels, large, flush). ERR_NOENT: no unit is for it. */
	int (*prepare)(uint16_t bdf, struct iopt *t);
	/* The table is the function's; id: a number of its own, from 1. */
	int (*attach)(uint16_t bdf, const struct iopt *t, unsigned id);
	/* Its table has changed. */
	void (*flush)(uint16_t bdf, unsigned id);
	bool (*fault)(struct iommu_fault *out); /* the next; false: no more */
	/* The n-th piece of memory that firmware needs; false: no more. *its: by this function. */
	bool (*region)(unsigned n, uint16_t bdf, uint64_t *pa, uint64_t *end, bool *its);
};
extern const struct iommu_kind iommu_intel, iommu_amd;

#endif
