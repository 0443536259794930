/* SPDX-License-Identifier: ISC */
/* i8259_impl.h: what the files of the PIC share: i8259.c (the chips), i8259_lend.c (there and back, where an engine has
 * them). */
#ifndef DEV_IRQ_I8259_IMPL_H
#define DEV_IRQ_I8259_IMPL_H

#include "dev/irq/i8259.h"
#include "vm/dev.h"
#include "vm/irq.h"

#define CASCADE 2

enum { MASTER, SLAVE };

/* ICW4 */
#define ICW4_AEOI BIT(1)
#define ICW4_SFNM BIT(4)

struct chip {
	uint8_t irr, isr, imr;
	uint8_t pins;
	uint8_t elcr, elcr_mask;
	uint8_t base;   /* ICW2 */
	uint8_t lowest; /* level with the lowest priority */
	uint8_t icw;    /* which one is expected at A0 = 1; 0: OCW1 */
	uint8_t icw4;
	bool need_icw4, single, ltim;
	bool smm, read_isr, poll, rotate_aeoi;
};

struct i8259 {
	struct dev dev;
	struct irq_line out;
	struct plat_mutex lock; /* RANK_IRQ: all below */
	struct chip chip[2];
	bool intr;
	bool lent;    /* an engine has them: of what is here only the pins are true */
	bool changed; /* … but this is newer */
};

/* Everything that changes a chip ends here; lock held. */
void i8259_update(struct i8259 *pic);
/* Nobody but an engine makes requests of pins now. */
static inline void i8259_pin_lent(struct chip *c, unsigned n, bool level)
{
	c->pins = (uint8_t)((c->pins & ~BIT(n)) | (level ? BIT(n) : 0));
}
/* After a change that the engine is to take over; no lock. */
void i8259_lend_again(struct i8259 *pic);

#endif
