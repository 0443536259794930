/* SPDX-License-Identifier: ISC */
/* debugexit.h: a port whose write ends the VM with a status, as QEMU's isa-debug-exit. */
#ifndef DEV_PC_DEBUGEXIT_H
#define DEV_PC_DEBUGEXIT_H

#include "base/def.h"
#include "base/err.h"

struct vm;
struct debugexit;
struct debugexit_wiring {
	uint16_t base; /* first of four ports */
};

/* Writing v of any width ends the VM: VM_EXITED with status (v << 1) | 1, never 0. */
int debugexit_create(struct vm *vm, const struct debugexit_wiring *w,
		     struct debugexit **out) attr_must_check;

#endif
