/* SPDX-License-Identifier: ISC */
/* i8259.c: two 8259A interrupt controllers as on a PC, with ELCR (Intel 8259A data sheet; ELCR as
 * in the 82371SB).
 *
 * Pins come from any thread, ports and INTA cycles from vCPU threads; pic->lock serialises. In
 * edge mode a request stays latched when its pin falls again: a real chip would make a spurious
 * interrupt of it, but devices here may pulse their lines without waiting. 8080 mode (ICW4.uPM 0)
 * is accepted and gives 8086 vectors. */
#include "dev/irq/i8259_impl.h"

#include "vm/stream.h"
#include "vm/vm.h"

/* ICW1 */
#define ICW1_IC4  BIT(0)
#define ICW1_SNGL BIT(1)
#define ICW1_LTIM BIT(3)
#define ICW1      BIT(4)
/* OCW2 commands: bits 5-7 */
enum {
	EOI_ROT_AUTO_CLEAR,
	EOI,
	NOP,
	EOI_SPECIFIC,
	EOI_ROT_AUTO_SET,
	EOI_ROT,
	SET_PRIO,
	EOI_SPEC_ROT
};
/* OCW3 */
#define OCW3      BIT(3)
#define OCW3_RIS  BIT(0)
#define OCW3_RR   BIT(1)
#define OCW3_POLL BIT(2)
#define OCW3_SMM  BIT(5)
#define OCW3_ESMM BIT(6)

static bool is_level(const struct chip *c, unsigned n)
{
	return c->ltim || (c->elcr & BIT(n));
}

/* Rank of a set of levels' best one: 0 is the highest priority, 8 none. */
static unsigned best_rank(const struct chip *c, uint8_t set)
{
	for (unsigned rank = 0; rank < 8; rank++)
		if (set & BIT((c->lowest + 1 + rank) & 7))
			return rank;
	return 8;
}

static unsigned rank_level(const struct chip *c, unsigned rank)
{
	return (c->lowest + 1 + rank) & 7;
}

/* The level that asks for service now, or -1. */
static int chip_request(const struct chip *c, bool master)
{
	uint8_t blocking = c->isr;
	unsigned rank = best_rank(c, c->irr & (uint8_t)~c->imr);

	if (rank == 8)
		return -1;
	if (c->smm)
		blocking &= (uint8_t)~c->imr;
	/* Fully nested across the cascade: the slave in service does not block itself. */
	if (master && (c->icw4 & ICW4_SFNM))
		blocking &= (uint8_t)~BIT(CASCADE);
	if (best_rank(c, blocking) <= rank)
		return -1;
	return (int)rank_level(c, rank);
}

static void chip_pin(struct chip *c, unsigned n, bool level)
{
	uint8_t bit = (uint8_t)BIT(n);

	if (is_level(c, n))
		c->irr = level ? c->irr | bit : c->irr & (uint8_t)~bit;
	else if (level && !(c->pins & bit))
		c->irr |= bit;
	c->pins = level ? c->pins | bit : c->pins & (uint8_t)~bit;
}

/* Everything that changes a chip ends here. */
void i8259_update(struct i8259 *pic)
{
	bool intr;

	if (!pic->chip[MASTER].single) {
		bool slave = chip_request(&pic->chip[SLAVE], false) >= 0;
		struct chip *m = &pic->chip[MASTER];

		/* The cascade follows the slave's output: a request that it withdraws is gone. */
		m->pins = slave ? m->pins | BIT(CASCADE) : m->pins & (uint8_t)~BIT(CASCADE);
		m->irr = slave ? m->irr | BIT(CASCADE) : m->irr & (uint8_t)~BIT(CASCADE);
	}
	intr = chip_request(&pic->chip[MASTER], true) >= 0;
	if (intr != pic->intr) {
		pic->intr = intr;
		irq_set(&pic->out, intr);
	}
}

void i8259_set(void *dev, unsigned irq, bool level)
{
	struct i8259 *pic = dev;

	if (irq >= 16 || irq == CASCADE)
		return;
	plat_mutex_lock(&pic->lock);
	if (likely(!pic->lent)) {
		chip_pin(&pic->chip[irq >> 3], irq & 7, level);
		i8259_update(pic);
	} else {
		i8259_pin_lent(&pic->chip[irq >> 3], irq & 7, level);
	}
	plat_mutex_unlock(&pic->lock);
}

static void chip_end(struct chip *c, unsigned n, bool rotate)
{
	c->isr &= (uint8_t)~BIT(n);
	if (rotate)
		c->lowest = (uint8_t)n;
}

/* INTA: the request becomes the one in service. */
static void chip_take(struct chip *c, unsigned n)
{
	if (!is_level(c, n))
		c->irr &= (uint8_t)~BIT(n);
	c->isr |= (uint8_t)BIT(n);
	if (c->icw4 & ICW4_AEOI)
		chip_end(c, n, c->rotate_aeoi);
}

static uint8_t pic_inta(struct i8259 *pic)
{
	struct chip *m = &pic->chip[MASTER], *s = &pic->chip[SLAVE];
	int n = chip_request(m, true);

	if (n < 0)
		return m->base | 7; /* spurious: not in service */
	if (n != CASCADE || m->single) {
		chip_take(m, (unsigned)n);
		return m->base | (uint8_t)n;
	}
	n = chip_request(s, false);
	chip_take(m, CASCADE);
	if (n < 0)
		return s->base | 7;
	chip_take(s, (unsigned)n);
	return s->base | (uint8_t)n;
}

int i8259_ack(void *dev)
{
	struct i8259 *pic = dev;
	uint8_t vector;

	plat_mutex_lock(&pic->lock);
	vector = pic_inta(pic);
	i8259_update(pic);
	plat_mutex_unlock(&pic->lock);
	return vector;
}

int i8259_peek(void *dev)
{
	struct i8259 *pic = dev;
	int vector = -1;

	plat_mutex_lock(&pic->lock);
	if (pic->intr) {
		struct chip *m = &pic->chip[MASTER], *s = &pic->chip[SLAVE];
		int n = chip_request(m, true);

		vector = m->base | n;
		if (n == CASCADE && !m->single)
			vector = s->base | (chip_request(s, false) & 7);
	}
	plat_mutex_unlock(&pic->lock);
	return vector;
}

bool i8259_waiting(struct i8259 *pic, unsigned irq)
{
	const struct chip *c = &pic->chip[irq >> 3 & 1];
	bool waits;

	plat_mutex_lock(&pic->lock);
	waits = !pic->lent && c->irr & ~c->imr & BIT(irq & 7);
	if (irq >= 8 && (pic->chip[MASTER].imr & BIT(CASCADE)))
		waits = false;
	plat_mutex_unlock(&pic->lock);
	return waits;
}

/* ---- ports ----------------------------------------------------------------------------------- */

static void icw1_write(struct chip *c, uint8_t v)
{
	c->icw = 2;
	c->need_icw4 = v & ICW1_IC4;
	c->single = v & ICW1_SNGL;
	c->ltim = v & ICW1_LTIM;
	c->imr = c->isr = 0;
	/* The edge detectors start anew: a pin must rise again. */
	c->irr = 0;
	for (unsigned n = 0; n < 8; n++)
		if (is_level(c, n))
			c->irr |= (uint8_t)(c->pins & BIT(n));
	c->lowest = 7;
	c->smm = c->read_isr = c->poll = c->rotate_aeoi = false;
	if (!c->need_icw4)
		c->icw4 = 0;
}

static void ocw2_write(struct chip *c, uint8_t v)
{
	unsigned cmd = v >> 5, n = v & 7, rank;

	switch (cmd) {
	case EOI_ROT_AUTO_CLEAR:
	case EOI_ROT_AUTO_SET:
		c->rotate_aeoi = cmd == EOI_ROT_AUTO_SET;
		break;
	case EOI:
	case EOI_ROT:
		/* In special mask mode a masked level is not ended by a non-specific EOI. */
		rank = best_rank(c, c->smm ? c->isr & (uint8_t)~c->imr : c->isr);
		if (rank < 8)
			chip_end(c, rank_level(c, rank), cmd == EOI_ROT);
		break;
	case EOI_SPECIFIC:
	case EOI_SPEC_ROT:
		chip_end(c, n, cmd == EOI_SPEC_ROT);
		break;
	case SET_PRIO:
		c->lowest = (uint8_t)n;
		break;
	default:
		break;
	}
}

static void ocw3_write(struct chip *c, uint8_t v)
{
	c->poll = v & OCW3_POLL;
	if (v & OCW3_RR)
		c->read_isr = v & OCW3_RIS;
	if (v & OCW3_ESMM)
		c->smm = v & OCW3_SMM;
}

static void data_write(struct chip *c, uint8_t v)
{
	switch (c->icw) {
	case 2:
		c->base = v & 0xf8;
		c->icw = c->single ? (c->need_icw4 ? 4 : 0) : 3;
		break;
	case 3: /* the cascade is wired as on every PC */
		c->icw = c->need_icw4 ? 4 : 0;
		break;
	case 4:
		c->icw4 = v & 0x1f;
		c->icw = 0;
		break;
	default:
		c->imr = v;
	}
}

/* The read that follows a poll command is an INTA for this chip alone. */
static uint8_t chip_poll(struct chip *c, bool master)
{
	int n = chip_request(c, master);

	c->poll = false;
	if (n < 0)
		return 0;
	chip_take(c, (unsigned)n);
	return 0x80 | (uint8_t)n;
}

static uint8_t pic_port_read(struct i8259 *pic, unsigned which, uint64_t off)
{
	struct chip *c = &pic->chip[which];
	uint8_t v;

	plat_mutex_lock(&pic->lock);
	if (c->poll && !pic->lent)
		v = chip_poll(c, which == MASTER);
	else if (off & 1)
		v = c->imr;
	else
		v = c->read_isr ? c->isr : c->irr;
	i8259_update(pic);
	plat_mutex_unlock(&pic->lock);
	return v;
}

static void pic_port_write(struct i8259 *pic, unsigned which, uint64_t off, uint8_t v)
{
	struct chip *c = &pic->chip[which];

	plat_mutex_lock(&pic->lock);
	if (unlikely(pic->lent))
		; /* the engine's own would have answered */
	else if (off & 1)
		data_write(c, v);
	else if (v & ICW1)
		icw1_write(c, v);
	else if (v & OCW3)
		ocw3_write(c, v);
	else
		ocw2_write(c, v);
	i8259_update(pic);
	plat_mutex_unlock(&pic->lock);
}

static uint64_t master_read(void *dev, uint64_t off, unsigned size)
{
	return pic_port_read(dev, MASTER, off);
}

static void master_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	pic_port_write(dev, MASTER, off, (uint8_t)value);
}

static uint64_t slave_read(void *dev, uint64_t off, unsigned size)
{
	return pic_port_read(dev, SLAVE, off);
}

static void slave_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	pic_port_write(dev, SLAVE, off, (uint8_t)value);
}

static uint64_t elcr_read(void *dev, uint64_t off, unsigned size)
{
	struct i8259 *pic = dev;

	return pic->chip[off & 1].elcr;
}

static void elcr_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct i8259 *pic = dev;
	struct chip *c = &pic->chip[off & 1];
	uint8_t was;

	plat_mutex_lock(&pic->lock);
	was = c->elcr;
	if (likely(!pic->lent))
		c->elcr = (uint8_t)value & c->elcr_mask;
	/* Pins that are level-triggered from now on request by their level. */
	c->irr = (c->irr & (uint8_t) ~(c->elcr & ~was)) | (c->pins & c->elcr & (uint8_t)~was);
	i8259_update(pic);
	plat_mutex_unlock(&pic->lock);
}

static const struct bus_region pic_regions[] = {
	{.name = "i8259",
	 .base = 0x20,
	 .len = 2,
	 .min = 1,
	 .max = 1,
	 .read = master_read,
	 .write = master_write},
	{.name = "i8259",
	 .base = 0xa0,
	 .len = 2,
	 .min = 1,
	 .max = 1,
	 .read = slave_read,
	 .write = slave_write},
	{.name = "elcr",
	 .base = 0x4d0,
	 .len = 2,
	 .min = 1,
	 .max = 1,
	 .read = elcr_read,
	 .write = elcr_write},
};

static void i8259_reset(struct dev *dev)
{
	struct i8259 *pic = container_of(dev, struct i8259, dev);

	plat_mutex_lock(&pic->lock);
	for (unsigned i = 0; i < 2; i++) {
		uint8_t pins = pic->chip[i].pins;

		/* Undefined in the data sheet; nothing gets through until it is programmed. */
		pic->chip[i] = (struct chip){.imr = 0xff, .lowest = 7, .pins = pins};
		/* 0, 1, 2, 8 and 13 are edge-triggered on a PC. */
		pic->chip[i].elcr_mask = i == MASTER ? 0xf8 : 0xde;
	}
	i8259_update(pic);
	pic->changed = true;
	plat_mutex_unlock(&pic->lock);
	i8259_lend_again(pic);
}

static void i8259_destroy(struct dev *dev)
{
	plat_free(container_of(dev, struct i8259, dev));
}

/* ---- saved state ----------------------------------------------------------------------------- */

static const struct st_field chip_fields[] = {
	ST_U(struct chip, irr),  ST_U(struct chip, isr),          ST_U(struct chip, imr),
	ST_U(struct chip, pins), ST_U(struct chip, elcr),         ST_U(struct chip, elcr_mask),
	ST_U(struct chip, base), ST_UMAX(struct chip, lowest, 7), ST_UMAX(struct chip, icw, 4),
	ST_U(struct chip, icw4), ST_B(struct chip, need_icw4),    ST_B(struct chip, single),
	ST_B(struct chip, ltim), ST_B(struct chip, smm),          ST_B(struct chip, read_isr),
	ST_B(struct chip, poll), ST_B(struct chip, rotate_aeoi),
};
static const struct st_field pic_fields[] = {ST_B(struct i8259, intr)};

static int i8259_state(struct dev *dev, struct state_stream *st)
{
	struct i8259 *pic = container_of(dev, struct i8259, dev);

	plat_mutex_lock(&pic->lock);
	for (unsigned i = 0; i < 2; i++)
		ST_SYNC(st, "chip", i, chip_fields, &pic->chip[i]);
	/* the local APICs have the level of their pin saved, too */
	ST_SYNC(st, "pic", 0, pic_fields, pic);
	pic->changed |= st->loading;
	plat_mutex_unlock(&pic->lock);
	if (st->loading)
		i8259_lend_again(pic);
	return st->err;
}

static const struct dev_class i8259_class = {
	.name = "i8259",
	.reset = i8259_reset,
	.state = i8259_state,
	.destroy = i8259_destroy,
};

int i8259_create(struct vm *vm, const struct i8259_wiring *w, struct i8259 **out)
{
	struct i8259 *pic = plat_alloc(sizeof(*pic));
	unsigned i;
	int err = 0;

	if (!pic)
		return err_here(ERR_NOMEM);
	pic->out = w->out;
	plat_mutex_init(&pic->lock, RANK_IRQ);
	i8259_reset(&pic->dev);
	for (i = 0; i < ARRAY_SIZE(pic_regions); i++) {
		err = bus_map(&vm->pio, &pic_regions[i], pic);
		if (err)
			goto out;
	}
	vm_add_dev(vm, &pic->dev, &i8259_class);
	*out = pic;
	return 0;
out:
	while (i-- > 0)
		bus_unmap(&vm->pio, &pic_regions[i], pic);
	plat_free(pic);
	return err;
}
