/* SPDX-License-Identifier: ISC */
/* i82078.h: floppy disk controller with two drives; images of 160 KiB to 2.88 MiB. */
#ifndef DEV_PC_I82078_H
#define DEV_PC_I82078_H

#include "base/def.h"
#include "base/err.h"
#include "vm/irq.h"

struct vm;
struct block;
struct i8237;
struct i82078;

#define I82078_DRIVES 2

struct i82078_wiring {
	struct irq_line irq; /* IRQ 6 */
	struct i8237 *dma;   /* channel 2 */
	struct {
		bool present;
		struct block *block; /* NULL: no disk in it */
	} drive[I82078_DRIVES];
};

/* Blocks stay the board's, beyond the life of the device. ERR_INVAL: the size of an image is none
 * that floppies have. */
int i82078_create(struct vm *vm, const struct i82078_wiring *w,
		  struct i82078 **out) attr_must_check;
/* The CMOS's code for a drive: 1 360 KB, 2 1.2 MB, 3 720 KB, 4 1.44 MB, 5 2.88 MB, 0 none. */
uint8_t i82078_cmos_type(struct i82078 *fdc, unsigned drive);
/* Whether an image may be a floppy. */
bool i82078_size_ok(uint64_t bytes);
/* Puts another disk in, or takes it out (NULL). The old one is no longer used when this returns.
 * ERR_INVAL: no such drive, or a size that floppies do not have. Not from a vCPU's or the loop's
 * thread. */
int i82078_change_disk(struct i82078 *fdc, unsigned drive, struct block *block) attr_must_check;

#endif
