/* SPDX-License-Identifier: ISC */
/* ioapic.h: interrupts of the machine's own devices. */
#ifndef METAL_IOAPIC_H
#define METAL_IOAPIC_H

#include "base/def.h"

/* Masks everything, the two PICs too. base: physical, 0: there is none. */
void ioapic_init(uint64_t base);
void ioapic_route(uint32_t pin, uint8_t vector, uint32_t apic_id, bool low, bool level);

#endif
