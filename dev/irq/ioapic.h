/* SPDX-License-Identifier: ISC */
/* ioapic.h: I/O APIC with 24 pins (Intel 82093AA; version 20H with an EOI register, ICH data
 * sheets, chapter on the I/O APIC). */
#ifndef DEV_IRQ_IOAPIC_H
#define DEV_IRQ_IOAPIC_H

#include "base/def.h"
#include "base/err.h"
#include "dev/irq/apicbus.h"

#define IOAPIC_BASE UINT64_C(0xfec00000)
#define IOAPIC_PINS 24

struct ioapic;
struct ioapic_wiring {
	uint64_t base; /* 0: IOAPIC_BASE */
	struct apicbus *bus;
};

/* Hears of EOIs on the bus from then on. */
int ioapic_create(struct vm *vm, const struct ioapic_wiring *w,
		  struct ioapic **out) attr_must_check;
/* A pin's level; an irq_sink. Any thread. */
void ioapic_set(void *ioapic, unsigned pin, bool level);
/* An edge of this pin was sent, and no processor has taken it yet. */
bool ioapic_waiting(struct ioapic *io, unsigned pin);
/* As vm->irq.level_msg */
bool ioapic_level_msg(void *chip, unsigned pin, uint64_t *addr, uint32_t *data);
/* The I/O APIC's part of struct lines_ops */
void ioapic_lend(struct ioapic *io, struct line_chips *out);
void ioapic_look(struct ioapic *io, const struct line_chips *in, bool back);

#endif
