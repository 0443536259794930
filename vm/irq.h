/* SPDX-License-Identifier: ISC */
/* irq.h: interrupt wires, global system interrupts and message-signalled interrupts. */
#ifndef VM_IRQ_H
#define VM_IRQ_H

#include "base/def.h"

struct vm;
struct vcpu;

/* A wire that a device drives. Zeroed: not connected. */
struct irq_line {
	void (*set)(void *sink, unsigned n, bool level);
	void *sink;
	unsigned n;
};

static inline void irq_set(const struct irq_line *line, bool level)
{
	if (line->set)
		line->set(line->sink, line->n, level);
}

static inline void irq_pulse(const struct irq_line *line)
{
	irq_set(line, true);
	irq_set(line, false);
}

/* Global system interrupts: GSI n drives I/O APIC pin n and, below 16, the PIC. GSI 0 (the PIT) is
 * wired to I/O APIC pin 2, as on a PC. Boards install the sinks. */
#define GSI_COUNT 24
struct irq_sink {
	void (*set)(void *chip, unsigned pin, bool level);
	void *chip;
};
struct irq_router {
	struct irq_sink pic, ioapic;
	/* Delivers an MSI to the local APICs; installed by dev/irq. */
	void (*msi)(void *chip, uint64_t addr, uint32_t data);
	void *msi_chip;
};
void gsi_set(struct vm *vm, unsigned gsi, bool level);
struct irq_line gsi_line(struct vm *vm, unsigned gsi);
void msi_send(struct vm *vm, uint64_t addr, uint32_t data);

/* What an engine asks of a vCPU's interrupt controller; filled by dev/irq/lapic. */
struct intc_ops {
	/* Vector that would be delivered now, or -1. Any thread. */
	int (*pending)(void *chip);
	/* Takes it (ISR set, or PIC INTA cycle); -1 if it has gone meanwhile. Own thread. */
	int (*ack)(void *chip);
	uint8_t (*cr8_read)(void *chip);
	void (*cr8_write)(void *chip, uint8_t cr8);
	/* IA32_APIC_BASE, TSC_DEADLINE, x2APIC 800H…8FFH. 0 or ERR_NOENT (#GP). */
	int (*msr_read)(void *chip, uint32_t index, uint64_t *value);
	int (*msr_write)(void *chip, uint32_t index, uint64_t value);
	void (*reset)(void *chip, bool init); /* init: INIT, not power-on */
	/* When the chip's own timer expires (ns, plat_now()'s clock; PLAT_FOREVER: not armed), and
	 * the expiry itself: a vCPU that halts calls them instead of waiting for the loop. */
	uint64_t (*deadline)(void *chip);
	void (*expire)(void *chip);
};

#endif
