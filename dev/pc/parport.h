/* SPDX-License-Identifier: ISC */
/* parport.h: parallel port of a PS/2: compatible and bidirectional, with a printer that takes everything. */
#ifndef DEV_PC_PARPORT_H
#define DEV_PC_PARPORT_H

#include "base/def.h"
#include "base/err.h"
#include "vm/irq.h"

struct vm;
struct chr;
struct parport;
struct parport_wiring {
	uint16_t base; /* first of three ports; LPT1 is 378H */
	struct irq_line irq;
	struct chr *chr; /* gets what is printed; the board keeps owning it */
};

int parport_create(struct vm *vm, const struct parport_wiring *w,
		   struct parport **out) attr_must_check;

#endif
