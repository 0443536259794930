/* SPDX-License-Identifier: ISC */
/* apic.h: this CPU's local APIC: timer and interrupts between processors. */
#ifndef PLAT_METAL_APIC_H
#define PLAT_METAL_APIC_H

#include "base/def.h"
#include "base/err.h"

/* Vectors of the hypervisor */
enum {
	IRQ_SERIAL = 0x40,
	IRQ_IOMMU = 0x41,
	IRQ_KEYBOARD = 0x42,
	IRQ_PCI = 0x50, /* to 6FH: the machine's PCI functions */
	IRQ_PCI_COUNT = 32,
	IRQ_TIMER = 0xf0,
	IRQ_RESCHED = 0xf1, /* look at the run queue; also ends a guest's stay */
	IRQ_HALT = 0xf2,    /* stop for ever: another CPU has panicked */
	IRQ_SPURIOUS = 0xff,
};

#define MSI_ADDRESS 0xfee00000u /* of messages to an APIC, id << 12 */

/* base: physical. On the bootstrap processor. Sends INIT to all others, and lets the timer count, */
int apic_init(uint64_t base) attr_must_check;
int apic_measure(void)
	attr_must_check; /* until this: some milliseconds later, after clock_init() */
void apic_enable(void);  /* on each CPU */
uint32_t apic_id(void);
void apic_eoi(void);
void apic_ipi(uint32_t apic_id, uint8_t vector);
void apic_ipi_others(uint8_t vector);
/* Twice STARTUP at page (address >> 12), 10 ms after INIT. */
void apic_start(uint32_t apic_id, uint8_t page);
/* Interrupts with IRQ_TIMER at deadline (ns); PLAT_FOREVER: not. This CPU's. */
void apic_timer(uint64_t deadline);

#endif
