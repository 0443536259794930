/* SPDX-License-Identifier: ISC */
/* apicbus.h: interrupt messages between I/O APIC, MSI writers and local APICs (SDM vol. 3, 11.6
 * and 11.11). */
#ifndef DEV_IRQ_APICBUS_H
#define DEV_IRQ_APICBUS_H

#include "base/def.h"
#include "vm/vm.h"

struct lapic;

/* Delivery modes as encoded in ICR, LVT, redirection entries and MSI data */
enum apic_mode {
	APIC_FIXED,
	APIC_LOWEST, /* the destination with the lowest priority */
	APIC_SMI,
	APIC_MODE3, /* reserved */
	APIC_NMI,
	APIC_INIT,
	APIC_SIPI,
	APIC_EXTINT,
};

/* Where a message signalled interrupt is written to (SDM vol. 3, 11.11.1) */
#define MSI_BASE    UINT64_C(0xfee00000)
#define MSI_LOGICAL BIT(2) /* destination mode */
static inline uint64_t msi_addr(uint32_t dest, bool logical)
{
	return MSI_BASE | (uint64_t)(dest & 0xff) << 12 | (logical ? MSI_LOGICAL : 0);
}

struct apic_msg {
	uint32_t dest;
	uint8_t mode; /* enum apic_mode */
	uint8_t vector;
	bool logical; /* destination mode */
	bool wide;    /* dest is x2APIC's 32 bits, else xAPIC's 8 */
	bool level;   /* trigger mode */
};

/* Where local APICs' registers are seen; dev of the bus region. */
struct apic_page {
	struct apicbus *bus;
	uint64_t base;
	bool mapped; /* bus->map_lock */
};

struct apicbus {
	struct vm *vm;
	unsigned n;
	struct lapic *lapic[VM_MAX_VCPUS]; /* by initial APIC id */
	_Atomic uint32_t turn;             /* where the search for a lowest priority starts */
	/* EOI of a level-triggered vector; the I/O APIC's. Called without locks held. */
	void (*eoi)(void *chip, uint8_t vector);
	void *eoi_chip;
	struct apic_page page;      /* at the usual place */
	struct plat_mutex map_lock; /* RANK_PCI: pages of local APICs that moved */
};

void apicbus_init(struct apicbus *bus, struct vm *vm);
/* Delivers to all that msg addresses (or the best of them); false: nobody took it. Any thread. */
bool apicbus_send(struct apicbus *bus, const struct apic_msg *msg);
/* A write of data to FEExxxxxH; others are ignored. Any thread. */
void apicbus_msi(void *bus, uint64_t addr, uint32_t data);
void apicbus_eoi(struct apicbus *bus, uint8_t vector);
/* The same, as vm->irq.eoi */
void apicbus_lent_eoi(void *bus, uint8_t vector);
/* vector waits in the IRR of some local APIC. */
bool apicbus_waiting(struct apicbus *bus, uint8_t vector);

#endif
