/* SPDX-License-Identifier: ISC */
/* iommu.h: where the machine has an IOMMU, a function that is driven here reaches only memory that was given to it, and all
 * others none. Where it has not, nothing of this does anything. Any thread, without locks of a higher rank. */
#ifndef METAL_IOMMU_H
#define METAL_IOMMU_H

#include "base/def.h"
#include "base/err.h"

struct acpi_info;
struct hostpci;

/* After hostpci_init(), before any driver. Says what there is. */
void iommu_init(const struct acpi_info *acpi);
bool iommu_works(void);
/* The function may be driven: so far it reaches nothing. Again: nothing happens. */
int iommu_attach(const struct hostpci *f) attr_must_check;
/* Whole pages of memory that plat_pages_alloc() or plat_ram_alloc() gave. Allowed twice, it has to be denied twice. */
int iommu_allow(const struct hostpci *f, const void *p, size_t size) attr_must_check;
void iommu_deny(const struct hostpci *f, const void *p, size_t size);
/* Pages that are allowed, and those given back. NULL: no memory. */
void *iommu_pages_alloc(const struct hostpci *f, size_t size);
void iommu_pages_free(const struct hostpci *f, void *p, size_t size);

/* For the shell: how many units there are; the n-th function that reaches anything, how much, how often it was refused. */
unsigned iommu_units(void);
bool iommu_at(unsigned n, uint16_t *bdf, uint64_t *bytes, uint64_t *faults);
uint64_t iommu_faults(void); /* all of them */

#endif
