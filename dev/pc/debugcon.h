/* SPDX-License-Identifier: ISC */
/* debugcon.h: the port to which firmware writes its messages; they go to the log, a line each. */
#ifndef DEV_PC_DEBUGCON_H
#define DEV_PC_DEBUGCON_H

#include "base/def.h"
#include "base/err.h"

struct vm;
struct debugcon;
struct debugcon_wiring {
	uint16_t base; /* 402H for SeaBIOS and OVMF */
	uint8_t ident; /* what a read gives: firmware looks for it */
};

int debugcon_create(struct vm *vm, const struct debugcon_wiring *w,
		    struct debugcon **out) attr_must_check;

#endif
