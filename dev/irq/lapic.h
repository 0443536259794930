/* SPDX-License-Identifier: ISC */
/* lapic.h: local APIC, one a vCPU (SDM vol. 3, chapter 11; IA32_APIC_BASE, x2APIC MSRs).
 *
 * xAPIC and x2APIC; the bus clock of its timer is exactly 1 GHz. The APIC id is the vCPU's index
 * and cannot be written. */
#ifndef DEV_IRQ_LAPIC_H
#define DEV_IRQ_LAPIC_H

#include "base/def.h"
#include "base/err.h"
#include "dev/irq/apicbus.h"

#define LAPIC_BASE   UINT64_C(0xfee00000)
#define LAPIC_BUS_HZ UINT64_C(1000000000)

struct lapic_wiring {
	struct vcpu *vcpu;
	struct apicbus *bus;
	/* The PIC behind LINT0: its INTA cycle (gives the vector), and a look at the vector that
	 * the cycle would give, -1 none. */
	int (*intack)(void *pic);
	int (*peek)(void *pic);
	void *pic;
	/* The guest's TSC on this vCPU. NULL: vm_ticks() plus the vCPU's tsc_offset. */
	uint64_t (*tsc)(struct vcpu *vcpu);
};

/* Becomes vcpu->intc and a place on w->bus; to be called in the order of the vCPUs' indices. */
int lapic_create(struct vm *vm, const struct lapic_wiring *w, struct lapic **out) attr_must_check;
/* Maps the page at LAPIC_BASE, for all. Once a VM. */
int lapic_map(struct apicbus *bus) attr_must_check;

/* Pin LINT0 (n 0) or LINT1 (n 1) has this level now. */
void lapic_lint(struct lapic *l, unsigned n, bool level);
/* As firmware leaves it on a PC: enabled, LINT0 ExtINT, LINT1 NMI (MP specification 3.6.2.1). */
void lapic_virtual_wire(struct lapic *l, bool bsp);

/* Vectors whose interrupts are never in service: taken, they are ended (Hyper-V's AutoEOI). */
void lapic_auto_eoi(struct lapic *l, const uint64_t vectors[4]);

/* For the bus */
bool lapic_matches(struct lapic *l, const struct apic_msg *msg);
bool lapic_takes_fixed(struct lapic *l);  /* enabled by software */
unsigned lapic_priority(struct lapic *l); /* PPR */
bool lapic_accept(struct lapic *l, const struct apic_msg *msg);
bool lapic_waiting(struct lapic *l, uint8_t vector);

/* When the timer of this vCPU expires: ns on plat_now()'s clock, PLAT_FOREVER: not armed. */
uint64_t lapic_next_deadline(struct lapic *l);

#endif
