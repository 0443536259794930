/* SPDX-License-Identifier: ISC */
/* ide.c: IDE function of the 82371SB (Intel 290550): task file, data port and bus master of two
 * channels in legacy mode (ports 1F0H, 3F6H, 170H, 376H; BAR 4; Programming Interface for Bus Master
 * IDE 1.0). Commands: dev/ata.
 *
 * Entered by vCPU threads and by completions of the block layer; the channel's lock serialises. */
#include "dev/pc/ide.h"

#include "base/str.h"
#include "dev/ata/ata.h"
#include "dev/pci/pci.h"
#include "vm/stream.h"

#define CFG_TIMING 0x40

#define BM_START   0x01
#define BM_READ    0x08 /* to memory */
#define BMS_ACTIVE 0x01
#define BMS_ERROR  0x02
#define BMS_IRQ    0x04
#define BMS_DMA    0x60 /* drives can: for software only */

struct ide_chan {
	struct ata_chan ata;
	struct ide *ide;
	struct irq_line line;
	/* bus master; under ata.lock */
	uint8_t bm_command, bm_status;
	uint32_t bm_table, bm_next; /* descriptors */
	uint32_t bm_addr, bm_left;  /* the current one */
	bool bm_last;
};

struct ide {
	struct dev dev;
	struct pci_dev pd;
	struct ide_chan chan[2];
};

static struct ide_chan *to_ide(struct ata_chan *c)
{
	return container_of(c, struct ide_chan, ata);
}

static void line_update(struct ide_chan *c)
{
	irq_set(&c->line, c->ata.irq && !(c->ata.control & CTL_NIEN));
}

static void ide_irq(struct ata_chan *ata)
{
	struct ide_chan *c = to_ide(ata);

	if (ata->irq)
		c->bm_status |= BMS_IRQ;
	line_update(c);
}

/* ---- bus master --------------------------------------------------------------------------------- */

/* Next descriptor (1.0, section 1.2); false: there is none. */
static bool bm_descriptor(struct ide_chan *c)
{
	uint32_t d[2];

	if (c->bm_last)
		return false;
	disk_dma(c->ata.vm, c->bm_next, d, sizeof(d), false);
	/* The table does not cross 64 KiB. */
	c->bm_next = (c->bm_next & 0xffff0000) | ((c->bm_next + 8) & 0xffff);
	c->bm_addr = d[0] & ~1u;
	c->bm_left = d[1] & 0xfffe ? d[1] & 0xfffe : 0x10000;
	c->bm_last = d[1] >> 31;
	return true;
}

static bool bm_ready(struct ata_chan *ata)
{
	struct ide_chan *c = to_ide(ata);

	return (c->bm_command & BM_START) &&
	       atomic_load_explicit(&c->ide->pd.master, memory_order_acquire);
}

static uint32_t bm_copy(struct ata_chan *ata, uint32_t len, bool to_guest)
{
	struct ide_chan *c = to_ide(ata);
	uint32_t done = 0;

	while (done < len) {
		uint32_t n;

		if (!c->bm_left && !bm_descriptor(c))
			break;
		n = MIN(len - done, c->bm_left);
		disk_dma(ata->vm, c->bm_addr, ata->buf + done, n, to_guest);
		c->bm_addr += n;
		c->bm_left -= n;
		done += n;
	}
	return done;
}

static void bm_end(struct ata_chan *ata, bool error)
{
	struct ide_chan *c = to_ide(ata);

	/* Active stays where the descriptors name more than was moved. */
	if (c->bm_last && !c->bm_left)
		c->bm_status &= (uint8_t)~BMS_ACTIVE;
	if (error)
		c->bm_status = (uint8_t)((c->bm_status & ~BMS_ACTIVE) | BMS_ERROR);
}

static const struct ata_ops ide_ops = {
	.irq = ide_irq,
	.dma_ready = bm_ready,
	.dma = bm_copy,
	.dma_end = bm_end,
};

static void bm_command(struct ide_chan *c, uint8_t v)
{
	bool start = (v & BM_START) && !(c->bm_command & BM_START);

	c->bm_command = v & (BM_START | BM_READ);
	if (!(v & BM_START))
		c->bm_status &= (uint8_t)~BMS_ACTIVE;
	if (!start)
		return;
	c->bm_status |= BMS_ACTIVE;
	c->bm_next = c->bm_table;
	c->bm_left = 0;
	c->bm_last = false;
	if (c->ata.phase == PHASE_DMA)
		ata_continue(&c->ata);
}

static uint64_t bm_read(void *dev, uint64_t off, unsigned size)
{
	struct ide_chan *c = &((struct ide *)dev)->chan[off >> 3 & 1];
	uint64_t v = 0;

	plat_mutex_lock(&c->ata.lock);
	for (unsigned i = 0; i < size; i++) {
		unsigned reg = (unsigned)(off + i) & 7;
		uint8_t b = 0;

		if (reg == 0)
			b = c->bm_command;
		else if (reg == 2)
			b = c->bm_status;
		else if (reg >= 4)
			b = (uint8_t)(c->bm_table >> (8 * (reg - 4)));
		v |= (uint64_t)b << (8 * i);
	}
	plat_mutex_unlock(&c->ata.lock);
	return v;
}

static void bm_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct ide_chan *c = &((struct ide *)dev)->chan[off >> 3 & 1];

	plat_mutex_lock(&c->ata.lock);
	for (unsigned i = 0; i < size; i++) {
		unsigned reg = (unsigned)(off + i) & 7, sh = 8 * (reg & 3);
		uint8_t b = (uint8_t)(value >> (8 * i));

		if (reg == 0)
			bm_command(c, b);
		else if (reg == 2)
			c->bm_status =
				(uint8_t)((c->bm_status & ~(BMS_DMA | (b & 6))) | (b & BMS_DMA));
		else if (reg >= 4)
			c->bm_table = ((c->bm_table & ~(0xffu << sh)) | (uint32_t)b << sh) & ~3u;
	}
	ata_unlock(&c->ata);
}

static const struct bus_region bm_region = {
	.name = "ide-bm",
	.len = 16,
	.min = 1,
	.max = 4,
	.read = bm_read,
	.write = bm_write,
};

/* ---- task file ------------------------------------------------------------------------------------ */

/* Some of the data has passed through the data register. */
static void data_moved(struct ata_chan *c)
{
	if (c->pos < c->end)
		return;
	c->status &= (uint8_t)~ST_DRQ;
	ata_continue(c);
}

static uint32_t data_read(struct ata_chan *c, unsigned size)
{
	uint32_t v = 0;

	if (c->phase != PHASE_PIO_IN)
		return UINT32_MAX;
	for (unsigned i = 0; i < size && c->pos < c->end; i++)
		v |= (uint32_t)c->buf[c->pos++] << (8 * i);
	data_moved(c);
	return v;
}

static void data_write(struct ata_chan *c, unsigned size, uint32_t v)
{
	if (c->phase != PHASE_PIO_OUT && c->phase != PHASE_PACKET)
		return;
	for (unsigned i = 0; i < size && c->pos < c->end; i++)
		c->buf[c->pos++] = (uint8_t)(v >> (8 * i));
	data_moved(c);
}

static uint8_t reg_read(struct ata_chan *c, unsigned reg)
{
	unsigned hob = c->control & CTL_HOB ? 1 : 0;

	if (!c->drive[0].present && !c->drive[1].present)
		return reg == 7 ? 0x7f : 0xff; /* D7 is pulled down */
	if (!ata_selected(c)->present && reg != 6)
		return 0;
	switch (reg) {
	case 1:
		return c->error;
	case 2:
		return c->count[hob];
	case 3:
	case 4:
	case 5:
		return c->lba[reg - 3][hob];
	case 6:
		return c->device | 0xa0;
	default:
		return c->status;
	}
}

static void reg_write(struct ata_chan *c, unsigned reg, uint8_t v)
{
	uint8_t *pair = NULL;

	c->control &= (uint8_t)~CTL_HOB;
	if (reg == 7) {
		ata_command(c, v);
		return;
	}
	if (c->status & (ST_BSY | ST_DRQ))
		return;
	switch (reg) {
	case 1:
		pair = c->feature;
		break;
	case 2:
		pair = c->count;
		break;
	case 6:
		c->device = v;
		return;
	default:
		pair = c->lba[reg - 3];
	}
	pair[1] = pair[0];
	pair[0] = v;
}

static uint64_t task_read(void *dev, uint64_t off, unsigned size)
{
	struct ata_chan *c = dev;
	uint64_t v = 0;

	plat_mutex_lock(&c->lock);
	if (off == 0) {
		v = data_read(c, size);
	} else {
		for (unsigned i = 0; i < size; i++)
			v |= (uint64_t)reg_read(c, (unsigned)(off + i) & 7) << (8 * i);
		if (off + size > 7)
			ata_irq(c, false);
	}
	ata_unlock(c);
	return v;
}

static void task_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct ata_chan *c = dev;

	plat_mutex_lock(&c->lock);
	if (off == 0)
		data_write(c, size, (uint32_t)value);
	else
		for (unsigned i = 0; i < size && off + i < 8; i++)
			reg_write(c, (unsigned)(off + i), (uint8_t)(value >> (8 * i)));
	ata_unlock(c);
}

static uint64_t control_read(void *dev, uint64_t off, unsigned size)
{
	struct ata_chan *c = dev;
	uint64_t v;

	plat_mutex_lock(&c->lock);
	v = reg_read(c, 7); /* alternate status: does not acknowledge */
	plat_mutex_unlock(&c->lock);
	return v;
}

static void control_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct ata_chan *c = dev;
	uint8_t old;

	plat_mutex_lock(&c->lock);
	old = c->control;
	c->control = (uint8_t)value;
	if ((value & CTL_SRST) && !(old & CTL_SRST)) {
		ata_chan_reset(c, false);
		c->status = ST_BSY;
	} else if (!(value & CTL_SRST) && (old & CTL_SRST)) {
		ata_signature(c);
	}
	line_update(to_ide(c));
	ata_unlock(c);
}

static const struct bus_region task_region = {
	.name = "ide",
	.len = 8,
	.min = 1,
	.max = 4,
	.read = task_read,
	.write = task_write,
};

static const struct bus_region control_region = {
	.name = "ide-control",
	.len = 1,
	.min = 1,
	.max = 1,
	.read = control_read,
	.write = control_write,
};

/* ---- the device ------------------------------------------------------------------------------------ */

static void ide_reset(struct dev *dev)
{
	struct ide *ide = container_of(dev, struct ide, dev);

	for (unsigned i = 0; i < 2; i++) {
		struct ide_chan *c = &ide->chan[i];

		plat_mutex_lock(&c->ata.lock);
		c->ata.control = 0;
		c->bm_command = c->bm_status = 0;
		c->bm_table = 0;
		ata_chan_reset(&c->ata, true);
		ata_unlock(&c->ata);
	}
}

#define C struct ide_chan
static const struct st_field bm_fields[] = {
	ST_U(C, bm_command), ST_U(C, bm_status),           ST_U(C, bm_table), ST_U(C, bm_next),
	ST_U(C, bm_addr),    ST_UMAX(C, bm_left, 0x10000), ST_B(C, bm_last),
};
#undef C

static int ide_state(struct dev *dev, struct state_stream *st)
{
	struct ide *ide = container_of(dev, struct ide, dev);

	if (pci_dev_state(&ide->pd, st))
		return st->err;
	for (unsigned i = 0; i < 2 && !st->err; i++) {
		struct ide_chan *c = &ide->chan[i];

		plat_mutex_lock(&c->ata.lock);
		ata_chan_state(&c->ata, st);
		ST_SYNC(st, "busmaster", i, bm_fields, c);
		plat_mutex_unlock(&c->ata.lock);
	}
	return st->err;
}

static int ide_freeze(struct dev *dev, bool on)
{
	struct ide *ide = container_of(dev, struct ide, dev);
	int err = 0;

	for (unsigned i = 0; i < 2 && on && !err; i++)
		err = ata_quiesce(&ide->chan[i].ata);
	return err;
}

static void ide_destroy(struct dev *dev)
{
	struct ide *ide = container_of(dev, struct ide, dev);

	for (unsigned i = 0; i < 2; i++)
		ata_chan_fini(&ide->chan[i].ata);
	plat_free(ide);
}

static const struct dev_class ide_class = {
	.name = "ide",
	.reset = ide_reset,
	.state = ide_state,
	.freeze = ide_freeze,
	.destroy = ide_destroy,
};

static int chan_init(struct ide *ide, unsigned index, const struct ide_wiring *w)
{
	static const uint16_t task[2] = {0x1f0, 0x170}, control[2] = {0x3f6, 0x376};
	struct ide_chan *c = &ide->chan[index];
	struct block *block[2];
	int err;

	c->ide = ide;
	c->line = w->irq[index];
	for (unsigned k = 0; k < 2; k++) {
		struct ata_drive *d = &c->ata.drive[k];

		d->present = w->drive[2 * index + k].present;
		d->cdrom = w->drive[2 * index + k].cdrom;
		block[k] = w->drive[2 * index + k].block;
		if (w->drive[2 * index + k].serial)
			str_copy(d->serial, sizeof(d->serial), w->drive[2 * index + k].serial);
	}
	err = ata_chan_init(&c->ata, &ide_ops, ide->dev.vm, index, 2, block);
	if (!err)
		err = bus_map_at(&ide->dev.vm->pio, task[index], &task_region, &c->ata);
	return err ? err : bus_map_at(&ide->dev.vm->pio, control[index], &control_region, &c->ata);
}

int ide_create(struct vm *vm, const struct ide_wiring *w, struct ide **out)
{
	static const struct pci_id id = {.name = "PIIX3 IDE",
					 .vendor = 0x8086,
					 .device = 0x7010,
					 .subsys_vendor = 0x1af4,
					 .subsys = 0x1100,
					 .cls = 0x010180};
	struct ide *ide = plat_alloc(sizeof(*ide));
	const struct pci_bar bar = {
		.kind = PCI_BAR_IO, .size = 16, .region = &bm_region, .ctx = ide};
	int err;

	if (!ide)
		return err_here(ERR_NOMEM);
	/* From here on the VM owns it, on errors too. */
	vm_add_dev(vm, &ide->dev, &ide_class);
	pci_dev_init(&ide->pd, &id);
	pci_put(ide->pd.init + CFG_TIMING, 4, 0x80008000); /* both channels decode their ports */
	pci_put(ide->pd.wmask + CFG_TIMING, 4, 0xffffffff);
	pci_put(ide->pd.wmask + CFG_TIMING + 4, 1, 0xff);
	err = pci_bar_add(&ide->pd, 4, &bar);
	if (!err)
		err = pci_attach(w->host, &ide->pd, w->slot, w->func);
	for (unsigned i = 0; i < 2 && !err; i++)
		err = chan_init(ide, i, w);
	*out = ide;
	return err;
}

int ide_change_disc(struct ide *ide, unsigned drive, struct block *block, bool force)
{
	struct ata_chan *c = &ide->chan[drive / 2 & 1].ata;

	if (drive >= IDE_DRIVES)
		return err_here(ERR_INVAL);
	return ata_change_disc(c, &c->drive[drive & 1], block, force);
}
