/* SPDX-License-Identifier: ISC */
/* i8254.h: programmable interval timer (Intel 8254), 1.193182 MHz, ports 40H…43H. */
#ifndef DEV_PC_I8254_H
#define DEV_PC_I8254_H

#include "base/def.h"
#include "base/err.h"
#include "vm/irq.h"

#define I8254_HZ UINT64_C(1193182)

struct vm;
struct i8254;
struct i8254_wiring {
	struct irq_line irq; /* OUT of counter 0 */
	/* Optional: the last edge of irq has not been taken yet, so one more would be lost; the
	 * tick is then kept and given later. */
	bool (*waiting)(void *arg, unsigned gsi);
	void *waiting_arg;
	unsigned gsi;
};

int i8254_create(struct vm *vm, const struct i8254_wiring *w, struct i8254 **out) attr_must_check;
/* GATE input of counter 2 (those of 0 and 1 are tied high), its level, and OUT of counter 2. */
void i8254_set_gate2(struct i8254 *pit, bool gate);
bool i8254_gate2(struct i8254 *pit);
bool i8254_out2(struct i8254 *pit);

#endif
