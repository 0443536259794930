/* SPDX-License-Identifier: ISC */
/* coproc.h: how a PC hears of x87 errors that CR0.NE does not report: IRQ 13, port F0H. */
#ifndef DEV_PC_COPROC_H
#define DEV_PC_COPROC_H

#include "base/def.h"
#include "base/err.h"
#include "vm/irq.h"

struct vm;
struct coproc;
struct coproc_wiring {
	struct irq_line irq; /* GSI 13 */
};

/* Becomes vm->ferr. */
int coproc_create(struct vm *vm, const struct coproc_wiring *w,
		  struct coproc **out) attr_must_check;

#endif
