/* SPDX-License-Identifier: ISC */
/* i8237.c: 8237A DMA controllers (Intel 231466) at 00H and C0H and the page registers at 80H, wired
 * as on the AT: the second one's channel 0 cascades the first.
 *
 * Devices call, there are no cycles: a transfer is a copy. Memory-to-memory transfers, which the PC
 * does not use, are not there. Entered by vCPU threads and by devices; dma->lock serialises. */
#include "dev/pc/i8237.h"

#include "base/str.h"
#include "dev/disk.h"
#include "plat/plat.h"
#include "vm/dev.h"
#include "vm/stream.h"
#include "vm/vm.h"

#define CMD_DISABLE  0x04
#define MODE_AUTO    0x10
#define MODE_DOWN    0x20
#define MODE_TYPE(m) ((m) >> 2 & 3)

enum { TYPE_VERIFY, TYPE_TO_MEMORY, TYPE_FROM_MEMORY };

struct channel {
	uint16_t base_addr, base_count, addr, count; /* in units of the controller */
	uint8_t mode, page;
};

struct controller {
	struct i8237 *dma;
	struct channel ch[4];
	uint8_t command, status, request, mask;
	bool high; /* flip-flop: the next byte is the high one */
};

struct i8237 {
	struct dev dev;
	struct plat_mutex lock; /* RANK_DMA: all below */
	struct controller ctl[2];
	uint8_t page[16];
};

/* Page register of a channel (AT technical reference) */
static const uint8_t page_of[8] = {0x7, 0x3, 0x1, 0x2, 0xf, 0xb, 0x9, 0xa};

static void master_clear(struct controller *c)
{
	c->command = c->status = c->request = 0;
	c->mask = 0xf;
	c->high = false;
}

/* ---- registers --------------------------------------------------------------------------------- */

static uint8_t ctl_read(struct controller *c, unsigned reg)
{
	struct channel *ch = &c->ch[reg / 2 & 3];
	uint8_t v = 0;

	if (reg < 8) {
		uint16_t word = reg & 1 ? ch->count : ch->addr;

		v = (uint8_t)(c->high ? word >> 8 : word);
		c->high = !c->high;
	} else if (reg == 8) {
		v = (uint8_t)(c->status | c->request << 4);
		c->status = 0;
	} else if (reg == 15) {
		v = c->mask | 0xf0;
	}
	return v;
}

static void set_byte(uint16_t *word, bool high, uint8_t v)
{
	*word = (uint16_t)(high ? (*word & 0xff) | v << 8 : (*word & 0xff00) | v);
}

static void ctl_write(struct controller *c, unsigned reg, uint8_t v)
{
	struct channel *ch = &c->ch[reg / 2 & 3];
	uint8_t bit = (uint8_t)BIT(v & 3);

	switch (reg) {
	case 0 ... 7:
		set_byte(reg & 1 ? &ch->base_count : &ch->base_addr, c->high, v);
		set_byte(reg & 1 ? &ch->count : &ch->addr, c->high, v);
		c->high = !c->high;
		break;
	case 8:
		c->command = v;
		break;
	case 9:
		c->request = (uint8_t)(v & 4 ? c->request | bit : c->request & ~bit);
		break;
	case 10:
		c->mask = (uint8_t)(v & 4 ? c->mask | bit : c->mask & ~bit);
		break;
	case 11:
		c->ch[v & 3].mode = v & 0xfc;
		break;
	case 12:
		c->high = false;
		break;
	case 13:
		master_clear(c);
		break;
	case 14:
		c->mask = 0;
		break;
	default:
		c->mask = v & 0xf;
	}
}

static uint64_t i8237_read(void *dev, uint64_t off, unsigned size)
{
	struct controller *c = dev;
	unsigned shift = c == &c->dma->ctl[1];
	uint8_t v;

	plat_mutex_lock(&c->dma->lock);
	v = ctl_read(c, (unsigned)off >> shift);
	plat_mutex_unlock(&c->dma->lock);
	return v;
}

static void i8237_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct controller *c = dev;
	unsigned shift = c == &c->dma->ctl[1];

	plat_mutex_lock(&c->dma->lock);
	ctl_write(c, (unsigned)off >> shift, (uint8_t)value);
	plat_mutex_unlock(&c->dma->lock);
}

static uint64_t page_read(void *dev, uint64_t off, unsigned size)
{
	struct i8237 *dma = dev;
	uint8_t v;

	plat_mutex_lock(&dma->lock);
	v = dma->page[off];
	plat_mutex_unlock(&dma->lock);
	return v;
}

/* Registers that belong to no channel (80H: power-on self-test) keep what is written, too. */
static void page_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct i8237 *dma = dev;

	plat_mutex_lock(&dma->lock);
	dma->page[off] = (uint8_t)value;
	plat_mutex_unlock(&dma->lock);
}

static const struct bus_region dma_region[2] = {
	{"i8237", 0x00, 16, 1, 1, i8237_read, i8237_write, NULL, NULL},
	{"i8237", 0xc0, 32, 1, 1, i8237_read, i8237_write, NULL, NULL},
};

static const struct bus_region page_region = {
	.name = "dma-page",
	.base = 0x80,
	.len = 16,
	.min = 1,
	.max = 1,
	.read = page_read,
	.write = page_write,
};

/* ---- transfers ----------------------------------------------------------------------------------- */

static uint32_t left(struct controller *c, unsigned n, unsigned unit)
{
	if ((c->command & CMD_DISABLE) || (c->mask >> n & 1))
		return 0;
	return (c->ch[n].count + 1u) * unit;
}

uint32_t i8237_left(struct i8237 *dma, unsigned channel)
{
	uint32_t n;

	plat_mutex_lock(&dma->lock);
	n = left(&dma->ctl[channel / 4], channel & 3, channel < 4 ? 1 : 2);
	plat_mutex_unlock(&dma->lock);
	return n;
}

/* Copies units at the channel's address, which wraps around within its page: upwards in runs,
 * downwards one by one. */
static void copy(struct i8237 *dma, unsigned channel, uint8_t *p, uint32_t units, bool to_guest)
{
	struct channel *ch = &dma->ctl[channel / 4].ch[channel & 3];
	uint32_t unit = channel < 4 ? 1 : 2, page = dma->page[page_of[channel]];
	bool down = ch->mode & MODE_DOWN;
	uint32_t addr = ch->addr;

	while (units) {
		uint32_t n = down ? 1 : MIN(units, 0x10000 - addr);
		gpa_t at = unit == 1 ? page << 16 | addr : (page & 0xfe) << 16 | addr << 1;

		if (MODE_TYPE(ch->mode) != TYPE_VERIFY)
			disk_dma(dma->dev.vm, at, p, (size_t)n * unit, to_guest);
		addr = (down ? addr - n : addr + n) & 0xffff;
		p += (size_t)n * unit;
		units -= n;
	}
	ch->addr = (uint16_t)addr;
}

uint32_t i8237_move(struct i8237 *dma, unsigned channel, void *buf, uint32_t len, bool to_guest,
		    bool *tc)
{
	struct controller *c = &dma->ctl[channel / 4];
	struct channel *ch = &c->ch[channel & 3];
	uint32_t unit = channel < 4 ? 1 : 2, units;
	uint8_t bit = (uint8_t)BIT(channel & 3);

	*tc = false;
	plat_mutex_lock(&dma->lock);
	units = MIN(len, left(c, channel & 3, unit)) / unit;
	if (MODE_TYPE(ch->mode) != TYPE_VERIFY &&
	    MODE_TYPE(ch->mode) != (to_guest ? TYPE_TO_MEMORY : TYPE_FROM_MEMORY))
		units = 0;
	copy(dma, channel, buf, units, to_guest);
	*tc = units == ch->count + 1u;
	ch->count = (uint16_t)(ch->count - units);
	if (*tc) {
		c->status |= bit;
		c->request &= (uint8_t)~bit;
		if (ch->mode & MODE_AUTO) {
			ch->addr = ch->base_addr;
			ch->count = ch->base_count;
		} else {
			c->mask |= bit;
		}
	}
	plat_mutex_unlock(&dma->lock);
	return units * unit;
}

/* ---- the device ------------------------------------------------------------------------------------ */

static const struct st_field channel_fields[] = {
	ST_U(struct channel, base_addr), ST_U(struct channel, base_count),
	ST_U(struct channel, addr),      ST_U(struct channel, count),
	ST_U(struct channel, mode),
};

static const struct st_field controller_fields[] = {
	ST_U(struct controller, command),        ST_UMAX(struct controller, status, 15),
	ST_UMAX(struct controller, request, 15), ST_UMAX(struct controller, mask, 15),
	ST_B(struct controller, high),
};

static const struct st_field page_fields[] = {ST_RAW(struct i8237, page)};

static int i8237_state(struct dev *dev, struct state_stream *st)
{
	struct i8237 *dma = container_of(dev, struct i8237, dev);

	plat_mutex_lock(&dma->lock);
	for (unsigned i = 0; i < 8; i++)
		ST_SYNC(st, "channel", i, channel_fields, &dma->ctl[i / 4].ch[i & 3]);
	for (unsigned i = 0; i < 2; i++)
		ST_SYNC(st, "controller", i, controller_fields, &dma->ctl[i]);
	ST_SYNC(st, "pages", 0, page_fields, dma);
	plat_mutex_unlock(&dma->lock);
	return st->err;
}

static void i8237_reset(struct dev *dev)
{
	struct i8237 *dma = container_of(dev, struct i8237, dev);

	plat_mutex_lock(&dma->lock);
	for (unsigned i = 0; i < 2; i++) {
		memset(dma->ctl[i].ch, 0, sizeof(dma->ctl[i].ch));
		master_clear(&dma->ctl[i]);
	}
	memset(dma->page, 0, sizeof(dma->page));
	plat_mutex_unlock(&dma->lock);
}

static void i8237_destroy(struct dev *dev)
{
	plat_free(container_of(dev, struct i8237, dev));
}

static const struct dev_class i8237_class = {
	.name = "i8237",
	.reset = i8237_reset,
	.state = i8237_state,
	.destroy = i8237_destroy,
};

int i8237_create(struct vm *vm, struct i8237 **out)
{
	struct i8237 *dma = plat_alloc(sizeof(*dma));
	int err = 0;

	if (!dma)
		return err_here(ERR_NOMEM);
	plat_mutex_init(&dma->lock, RANK_DMA);
	/* From here on the VM owns it, on errors too. */
	vm_add_dev(vm, &dma->dev, &i8237_class);
	for (unsigned i = 0; i < 2 && !err; i++) {
		dma->ctl[i].dma = dma;
		err = bus_map(&vm->pio, &dma_region[i], &dma->ctl[i]);
	}
	i8237_reset(&dma->dev);
	*out = dma;
	return err ? err : bus_map(&vm->pio, &page_region, dma);
}
