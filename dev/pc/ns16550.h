/* SPDX-License-Identifier: ISC */
/* ns16550.h: UART with FIFOs (National PC16550D). */
#ifndef DEV_PC_NS16550_H
#define DEV_PC_NS16550_H

#include "base/def.h"
#include "base/err.h"
#include "vm/irq.h"

struct vm;
struct chr;
struct ns16550;
struct ns16550_wiring {
	uint16_t base; /* first of eight ports; COM1 is 3F8H */
	struct irq_line irq;
	struct chr *chr; /* NULL: nothing is plugged in */
};

/* Attaches itself to the chr; the board keeps owning that, beyond the life of the VM's devices. */
int ns16550_create(struct vm *vm, const struct ns16550_wiring *w,
		   struct ns16550 **out) attr_must_check;
/* A break condition arrives on the line. Any thread. */
void ns16550_break(struct ns16550 *u);
/* What has been sent and not yet passed on goes to the chr now. Any thread. */
void ns16550_flush(struct ns16550 *u);

#endif
