/* SPDX-License-Identifier: ISC */
/* trap.h: descriptor tables, exceptions and interrupts of the hypervisor itself. */
#ifndef METAL_TRAP_H
#define METAL_TRAP_H

#include "base/def.h"
#include "base/err.h"

struct pcpu;

/* Loads GDT, TSS, IDT and the base of GS on the calling CPU. cpu->tables is made if NULL. */
int trap_init_cpu(struct pcpu *cpu) attr_must_check;
/* fn(vector) runs for this interrupt, with interrupts off; it may wake threads. The local APIC's end of
 * interrupt is not its business. */
void trap_set_irq(uint8_t vector, void (*fn)(uint8_t vector));
/* Says it on every screen there is and stops all CPUs. */
attr_noreturn void panic(const char *text);

#endif
