/* SPDX-License-Identifier: ISC */
/* vtd.h: one of Intel's IOMMUs (VT-d): its registers and the tables that they lead to. */
#ifndef METAL_VTD_H
#define METAL_VTD_H

#include "base/def.h"
#include "base/err.h"

struct iommu_fault;

struct vtd {
	volatile uint8_t *reg;
	uint64_t *root;          /* an entry a bus */
	unsigned levels;         /* of page tables */
	bool large, flush;       /* for struct iopt */
	bool write_buffer;       /* to be flushed by command */
	unsigned iotlb, records; /* offsets of registers */
	unsigned n_records, n_domains;
	bool dead; /* it did not answer */
};

/* base: physical. ERR_NOSYS: it has not what is needed. */
int vtd_open(struct vtd *v, uint64_t base) attr_must_check;
/* From now on bdf reaches what the page table at physical address root says, for domain id (from 1). */
int vtd_attach(struct vtd *v, uint16_t bdf, uint64_t root, unsigned id) attr_must_check;
/* Functions without a page table reach nothing from here on. Faults come as this vector to this processor. */
int vtd_start(struct vtd *v, uint32_t apic_id, uint8_t vector) attr_must_check;
/* After a change of tables: it has forgotten what it knew. */
void vtd_flush(struct vtd *v);
/* The next access that was refused; false: no more. */
bool vtd_fault(struct vtd *v, struct iommu_fault *out);

#endif
