/* SPDX-License-Identifier: ISC */
/* pcspk.h: system control port B (61H): gate and output of PIT counter 2, speaker. */
#ifndef DEV_PC_PCSPK_H
#define DEV_PC_PCSPK_H

#include "base/def.h"
#include "base/err.h"

struct vm;
struct i8254;
struct pcspk;
struct pcspk_wiring {
	struct i8254 *pit;
};

/* No sound comes out. */
int pcspk_create(struct vm *vm, const struct pcspk_wiring *w, struct pcspk **out) attr_must_check;

#endif
