/* SPDX-License-Identifier: ISC */
/* i8042.h: keyboard controller of a PC with its keyboard and mouse, and system control port A. */
#ifndef DEV_PC_I8042_H
#define DEV_PC_I8042_H

#include "base/def.h"
#include "base/err.h"
#include "vm/irq.h"

struct vm;
struct input;
struct i8042;
struct i8042_wiring {
	struct irq_line irq;     /* IRQ 1 */
	struct irq_line irq_aux; /* IRQ 12 */
	struct irq_line wake;    /* a pulse for each key that goes down */
	struct irq_line a20;     /* level: A20 passes. Driven on changes; high after a reset */
	struct input *input;     /* what keyboard and mouse get; NULL: neither is plugged in */
};

/* Ports 60H, 64H and 92H. */
int i8042_create(struct vm *vm, const struct i8042_wiring *w, struct i8042 **out) attr_must_check;

#endif
