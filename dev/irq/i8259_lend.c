/* SPDX-License-Identifier: ISC */
/* i8259_lend.c: the PIC's state as registers, for engines that have one of their own (KVM in the host's kernel), and
 * from them. While it is lent, the model has the levels of the pins, and what was last looked at.
 *
 * Such a PIC is less than ours: it is never single or level-triggered as a whole (ICW1), which is kept here until it comes back,
 * as are bits of ICW4 without effect. Entered while all vCPUs stand still, or as vm/irq.h says. */
#include "dev/irq/i8259_impl.h"

#include "vm/vm.h"

static void regs_out(const struct chip *c, struct pic_regs *r, unsigned cascade)
{
	*r = (struct pic_regs){
		.irr = c->irr,
		.isr = c->isr,
		.imr = c->imr,
		.elcr = c->elcr,
		.pins = c->pins & (uint8_t)~cascade,
		.base = c->base,
		.lowest = c->lowest,
		.icw = c->icw,
		.need_icw4 = c->need_icw4,
		.aeoi = c->icw4 & ICW4_AEOI,
		.rotate_aeoi = c->rotate_aeoi,
		.sfnm = c->icw4 & ICW4_SFNM,
		.smm = c->smm,
		.read_isr = c->read_isr,
		.poll = c->poll,
	};
}

static void regs_in(struct chip *c, const struct pic_regs *r)
{
	c->irr = r->irr;
	c->isr = r->isr;
	c->imr = r->imr;
	c->elcr = r->elcr & c->elcr_mask;
	c->base = r->base & 0xf8;
	c->lowest = r->lowest & 7;
	c->icw = r->icw >= 2 && r->icw <= 4 ? r->icw : 0;
	c->need_icw4 = r->need_icw4;
	c->icw4 = (uint8_t)((c->icw4 & ~(ICW4_AEOI | ICW4_SFNM)) | (r->aeoi ? ICW4_AEOI : 0) |
			    (r->sfnm ? ICW4_SFNM : 0));
	c->rotate_aeoi = r->rotate_aeoi;
	c->smm = r->smm;
	c->read_isr = r->read_isr;
	c->poll = r->poll;
}

void i8259_lend(struct i8259 *pic, struct line_chips *out)
{
	plat_mutex_lock(&pic->lock);
	out->pic_new = pic->changed || !pic->lent;
	for (unsigned i = 0; i < 2; i++)
		regs_out(&pic->chip[i], &out->pic[i], i == MASTER ? BIT(CASCADE) : 0);
	pic->lent = true;
	pic->changed = false;
	plat_mutex_unlock(&pic->lock);
}

void i8259_look(struct i8259 *pic, const struct line_chips *in, bool back)
{
	plat_mutex_lock(&pic->lock);
	for (unsigned i = 0; i < 2 && !pic->changed; i++)
		regs_in(&pic->chip[i], &in->pic[i]);
	if (back)
		pic->lent = false;
	i8259_update(pic);
	plat_mutex_unlock(&pic->lock);
}

void i8259_lend_again(struct i8259 *pic)
{
	struct vm *vm = pic->dev.vm; /* NULL: it is being created */
	const struct apics_ops *ops = vm && pic->lent ? atomic_load(&vm->apics.ops) : NULL;

	if (ops)
		ops->routes(vm);
}
