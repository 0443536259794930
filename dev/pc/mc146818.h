/* SPDX-License-Identifier: ISC */
/* mc146818.h: real-time clock with 128 bytes of CMOS RAM (Motorola MC146818), ports 70H and 71H. */
#ifndef DEV_PC_MC146818_H
#define DEV_PC_MC146818_H

#include "base/def.h"
#include "base/err.h"
#include "vm/irq.h"

#define CMOS_SIZE    128
#define CMOS_CENTURY 0x32 /* as the FADT should say */

struct vm;
struct mc146818;
struct mc146818_wiring {
	struct irq_line irq;   /* IRQ 8 */
	struct irq_line alarm; /* high while an alarm's interrupt is */
	int64_t offset;        /* seconds that it is ahead of UTC */
};

/* Runs from the host's clock. */
int mc146818_create(struct vm *vm, const struct mc146818_wiring *w,
		    struct mc146818 **out) attr_must_check;
/* CMOS bytes 0EH…7FH but the century, for the board; they survive a reset. */
void mc146818_set(struct mc146818 *rtc, unsigned index, uint8_t value);
uint8_t mc146818_get(struct mc146818 *rtc, unsigned index);
/* The usual fields from which firmware learns how much memory there is. low: bytes of RAM from 0
 * on, below 4 GiB; high: bytes from 4 GiB on. */
void mc146818_set_memory(struct mc146818 *rtc, uint64_t low, uint64_t high);

#endif
