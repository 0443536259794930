/* SPDX-License-Identifier: ISC */
/* hostpci.h: the machine's own PCI functions, for the host's drivers. A driver looks for its function
 * (hostpci_at), maps its registers, enables it, and asks for an interrupt. */
#ifndef METAL_HOSTPCI_H
#define METAL_HOSTPCI_H

#include "base/def.h"
#include "base/err.h"

struct acpi_info;

#define HOSTPCI_MAX 128 /* functions */

enum hostpci_cap_id { HOSTPCI_CAP_MSI = 5, HOSTPCI_CAP_VENDOR = 9, HOSTPCI_CAP_MSIX = 0x11 };

struct hostpci {
	uint16_t bdf; /* bus << 8 | slot << 3 | function */
	uint16_t vendor, device;
	uint32_t cls;       /* class << 16 | subclass << 8 | interface */
	const char *driver; /* the driver's to set; NULL: nobody drives it */
};

/* Finds all functions, once, after interrupts work on the bootstrap processor. Nothing of them is
 * changed: firmware has given them their addresses. */
void hostpci_init(const struct acpi_info *acpi);
struct hostpci *hostpci_at(unsigned n); /* in order of bdf; NULL: no more */

/* Configuration space; size: 1, 2 or 4, reg a multiple of it. Beyond FFH where there is ECAM, else all
 * ones. Any thread. */
uint32_t hostpci_read(const struct hostpci *f, unsigned reg, unsigned size);
void hostpci_write(const struct hostpci *f, unsigned reg, unsigned size, uint32_t v);
/* Offset of the next capability with this id after one (0: the first); 0: there is none. */
unsigned hostpci_cap(const struct hostpci *f, unsigned id, unsigned after);

/* The registers behind memory BAR bar (0 to 5) from offset on, never undone; size 0: to its end. NULL: a BAR of ports,
 * without an address, too small, or no memory for page tables. One thread a function. */
volatile void *hostpci_map(const struct hostpci *f, unsigned bar, uint64_t offset, uint64_t size);
/* The buses behind a bridge; false: it is none. */
bool hostpci_buses(const struct hostpci *f, uint8_t *first, uint8_t *last);

/* Memory and bus-master accesses on, INTx off. With an IOMMU it reaches what iommu.h has been told. */
void hostpci_enable(const struct hostpci *f);
/* No bus-master accesses any more: it can neither read nor write memory. */
void hostpci_disable(const struct hostpci *f);
/* fn(arg) runs for the function's first MSI-X or MSI vector, interrupts off: wake a thread and leave.
 * ERR_NOSYS: it has neither, ERR_NOMEM: too many: then the driver polls, every HOSTPCI_POLL ns. (INTx is not used: which
 * input it has is known to AML alone, which nobody executes.) */
int hostpci_irq(const struct hostpci *f, void (*fn)(void *arg), void *arg) attr_must_check;
#define HOSTPCI_POLL (NS_PER_SEC / 1000)
/* Between two looks at something that a function takes its time for: others have the processor meanwhile. */
void hostpci_pause(void);

#endif
