/* SPDX-License-Identifier: ISC */
/* i8259.h: the PC's pair of interrupt controllers (Intel 8259A) with ELCR. */
#ifndef DEV_IRQ_I8259_H
#define DEV_IRQ_I8259_H

#include "base/def.h"
#include "base/err.h"
#include "vm/irq.h"

struct vm;
struct i8259;
struct i8259_wiring {
	struct irq_line out; /* INTR; called with the PIC's lock (RANK_IRQ) held */
};

/* Ports 20H 21H, A0H A1H, 4D0H 4D1H. */
int i8259_create(struct vm *vm, const struct i8259_wiring *w, struct i8259 **out) attr_must_check;
/* Input 0…15 (2 is the cascade); an irq_sink. Any thread. */
void i8259_set(void *pic, unsigned irq, bool level);
/* INTA cycle: gives the vector, a spurious one where nothing waits. */
int i8259_ack(void *pic);
/* The vector that the cycle would give; -1 where INTR is not asserted. */
int i8259_peek(void *pic);
/* irq is requested, not masked, and not taken yet. */
bool i8259_waiting(struct i8259 *pic, unsigned irq);
/* The PIC's part of struct lines_ops */
void i8259_lend(struct i8259 *pic, struct line_chips *out);
void i8259_look(struct i8259 *pic, const struct line_chips *in, bool back);

#endif
