/* SPDX-License-Identifier: ISC */
/* ide.c: IDE function of the 82371SB (Intel 290550): task file, data port and bus master of two
 * channels in legacy mode (ports 1F0H, 3F6H, 170H, 376H; BAR 4). Commands: ata.c and atapi.c
 * (ATA/ATAPI-6, Programming Interface for Bus Master IDE 1.0).
 *
 * Entered by vCPU threads and by completions of the block layer; chan->lock serialises a channel. A
 * command prepares at most one request to the disk, which is submitted after the lock is released;
 * its completion goes on with the command. */
#include "dev/pc/ide_impl.h"

#include "base/str.h"
#include "vm/stream.h"

#define CFG_TIMING 0x40

#define BM_START   0x01
#define BM_READ    0x08 /* to memory */
#define BMS_ACTIVE 0x01
#define BMS_ERROR  0x02
#define BMS_IRQ    0x04
#define BMS_DMA    0x60 /* drives can: for software only */

/* ---- helpers of the commands ------------------------------------------------------------------- */

void ide_irq(struct ide_chan *c, bool level)
{
	c->irq = level;
	if (level)
		c->bm_status |= BMS_IRQ;
	irq_set(&c->line, c->irq && !(c->control & CTL_NIEN));
}

void ide_end(struct ide_chan *c, uint8_t error)
{
	c->phase = PHASE_IDLE;
	c->error = error;
	c->status = ST_DRDY | ST_DSC | (error ? ST_ERR : 0);
	ide_irq(c, true);
}

void ide_string(uint8_t *dst, const char *s, unsigned len)
{
	size_t n = str_len(s);

	for (unsigned i = 0; i < len; i++)
		dst[i ^ 1] = i < n ? (uint8_t)s[i] : ' ';
}

void ide_pio(struct ide_chan *c, enum ide_phase phase, uint32_t from, uint32_t to)
{
	c->phase = phase;
	c->pos = from;
	c->end = to;
	c->status = ST_DRDY | ST_DSC | ST_DRQ;
}

void ide_disk(struct ide_chan *c, enum block_op op, uint64_t offset, uint32_t len,
	      void (*then)(struct ide_chan *c, struct ide_drive *d, int err))
{
	c->phase = PHASE_DISK;
	c->status = ST_BSY;
	c->then = then;
	c->submit = true;
	c->vec = (struct block_vec){c->buf, len};
	c->req.req = (struct block_req){
		.op = op, .offset = offset, .len = len, .vec = &c->vec, .n_vec = len ? 1 : 0};
}

static void disk_done(struct disk_req *r, int err);
static void signature(struct ide_chan *c);

/* Releases the lock, and submits what was prepared. */
static void unlock(struct ide_chan *c)
{
	struct ide_drive *d = ide_selected(c);
	bool submit = c->submit;

	if (submit) {
		c->submit = false;
		c->busy = true;
		c->req.done = disk_done;
		c->req.ctx = c;
	}
	plat_mutex_unlock(&c->lock);
	if (submit)
		disk_submit(&d->disk, &c->req);
}

static void disk_done(struct disk_req *r, int err)
{
	struct ide_chan *c = r->ctx;

	plat_mutex_lock(&c->lock);
	c->busy = false;
	if (c->cancelled) {
		c->cancelled = false;
		if (!(c->control & CTL_SRST))
			signature(c);
	} else {
		c->then(c, ide_selected(c), err);
	}
	unlock(c);
}

/* ---- bus master --------------------------------------------------------------------------------- */

/* Next descriptor (1.0, section 1.2); false: there is none. */
static bool bm_descriptor(struct ide_chan *c)
{
	uint32_t d[2];

	if (c->bm_last)
		return false;
	disk_dma(c->ide->dev.vm, c->bm_next, d, sizeof(d), false);
	/* The table does not cross 64 KiB. */
	c->bm_next = (c->bm_next & 0xffff0000) | ((c->bm_next + 8) & 0xffff);
	c->bm_addr = d[0] & ~1u;
	c->bm_left = d[1] & 0xfffe ? d[1] & 0xfffe : 0x10000;
	c->bm_last = d[1] >> 31;
	return true;
}

uint32_t ide_bm_copy(struct ide_chan *c, uint32_t len, bool to_guest)
{
	uint32_t done = 0;

	while (done < len) {
		uint32_t n;

		if (!c->bm_left && !bm_descriptor(c))
			break;
		n = MIN(len - done, c->bm_left);
		disk_dma(c->ide->dev.vm, c->bm_addr, c->buf + done, n, to_guest);
		c->bm_addr += n;
		c->bm_left -= n;
		done += n;
	}
	return done;
}

void ide_bm_end(struct ide_chan *c, bool error)
{
	/* Active stays where the descriptors name more than was moved. */
	if (c->bm_last && !c->bm_left)
		c->bm_status &= (uint8_t)~BMS_ACTIVE;
	if (error)
		c->bm_status = (uint8_t)((c->bm_status & ~BMS_ACTIVE) | BMS_ERROR);
}

static void drive_continue(struct ide_chan *c)
{
	struct ide_drive *d = ide_selected(c);

	if (d->cdrom)
		atapi_continue(c, d);
	else
		ata_continue(c, d);
}

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
	if (c->phase == PHASE_DMA)
		drive_continue(c);
}

static uint64_t bm_read(void *dev, uint64_t off, unsigned size)
{
	struct ide_chan *c = &((struct ide *)dev)->chan[off >> 3 & 1];
	uint64_t v = 0;

	plat_mutex_lock(&c->lock);
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
	plat_mutex_unlock(&c->lock);
	return v;
}

static void bm_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct ide_chan *c = &((struct ide *)dev)->chan[off >> 3 & 1];

	plat_mutex_lock(&c->lock);
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
	unlock(c);
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

/* Signature of a drive after reset (ATA/ATAPI-6, 9.12). */
static void signature(struct ide_chan *c)
{
	struct ide_drive *d = ide_selected(c);
	bool packet = d->present && d->cdrom;

	c->count[0] = c->lba[0][0] = 1;
	c->lba[1][0] = packet ? 0x14 : 0;
	c->lba[2][0] = packet ? 0xeb : 0;
	c->error = 1; /* diagnostics passed */
	/* The buffer is not ours before an old request has come back. */
	c->status = c->busy ? ST_BSY : packet ? 0 : ST_DRDY | ST_DSC;
}

static void cancel(struct ide_chan *c)
{
	c->phase = PHASE_IDLE;
	c->submit = false;
	c->cancelled = c->busy;
	c->pos = c->end = 0;
}

static void chan_reset(struct ide_chan *c, bool power_on)
{
	cancel(c);
	for (unsigned i = 0; i < 2; i++)
		if (c->drive[i].present)
			ata_reset(&c->drive[i], power_on);
	c->device = 0;
	memset(c->feature, 0, sizeof(c->feature));
	memset(c->count, 0, sizeof(c->count));
	memset(c->lba, 0, sizeof(c->lba));
	ide_irq(c, false);
	signature(c);
}

static void command(struct ide_chan *c, uint8_t cmd)
{
	struct ide_drive *d = ide_selected(c);

	if (c->control & CTL_SRST)
		return;
	if (cmd == 0x90) { /* EXECUTE DEVICE DIAGNOSTIC goes to both */
		cancel(c);
		c->device = 0;
		signature(c);
		ide_irq(c, true);
		return;
	}
	if (!d->present || (c->status & ST_BSY))
		return;
	if (cmd == 0x08) { /* DEVICE RESET */
		if (!d->cdrom) {
			ide_end(c, ER_ABRT);
			return;
		}
		cancel(c);
		signature(c);
		return;
	}
	c->command = cmd;
	c->error = 0;
	c->irq = false;
	irq_set(&c->line, false);
	c->write = c->dma = c->ext = false;
	c->left = 0;
	if (ata_common(c, d, cmd))
		return;
	if (d->cdrom)
		atapi_command(c, d, cmd);
	else
		ata_command(c, d, cmd);
}

/* Some of the data has passed through the data register. */
static void data_moved(struct ide_chan *c)
{
	if (c->pos < c->end)
		return;
	c->status &= (uint8_t)~ST_DRQ;
	drive_continue(c);
}

static uint32_t data_read(struct ide_chan *c, unsigned size)
{
	uint32_t v = 0;

	if (c->phase != PHASE_PIO_IN)
		return UINT32_MAX;
	for (unsigned i = 0; i < size && c->pos < c->end; i++)
		v |= (uint32_t)c->buf[c->pos++] << (8 * i);
	data_moved(c);
	return v;
}

static void data_write(struct ide_chan *c, unsigned size, uint32_t v)
{
	if (c->phase != PHASE_PIO_OUT && c->phase != PHASE_PACKET)
		return;
	for (unsigned i = 0; i < size && c->pos < c->end; i++)
		c->buf[c->pos++] = (uint8_t)(v >> (8 * i));
	data_moved(c);
}

static uint8_t reg_read(struct ide_chan *c, unsigned reg)
{
	unsigned hob = c->control & CTL_HOB ? 1 : 0;

	if (!c->drive[0].present && !c->drive[1].present)
		return reg == 7 ? 0x7f : 0xff; /* D7 is pulled down */
	if (!ide_selected(c)->present && reg != 6)
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

static void reg_write(struct ide_chan *c, unsigned reg, uint8_t v)
{
	uint8_t *pair = NULL;

	c->control &= (uint8_t)~CTL_HOB;
	if (reg == 7) {
		command(c, v);
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
	struct ide_chan *c = dev;
	uint64_t v = 0;

	plat_mutex_lock(&c->lock);
	if (off == 0) {
		v = data_read(c, size);
	} else {
		for (unsigned i = 0; i < size; i++)
			v |= (uint64_t)reg_read(c, (unsigned)(off + i) & 7) << (8 * i);
		if (off + size > 7)
			ide_irq(c, false);
	}
	unlock(c);
	return v;
}

static void task_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct ide_chan *c = dev;

	plat_mutex_lock(&c->lock);
	if (off == 0)
		data_write(c, size, (uint32_t)value);
	else
		for (unsigned i = 0; i < size && off + i < 8; i++)
			reg_write(c, (unsigned)(off + i), (uint8_t)(value >> (8 * i)));
	unlock(c);
}

static uint64_t control_read(void *dev, uint64_t off, unsigned size)
{
	struct ide_chan *c = dev;
	uint64_t v;

	plat_mutex_lock(&c->lock);
	v = reg_read(c, 7); /* alternate status: does not acknowledge */
	plat_mutex_unlock(&c->lock);
	return v;
}

static void control_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct ide_chan *c = dev;
	uint8_t old;

	plat_mutex_lock(&c->lock);
	old = c->control;
	c->control = (uint8_t)value;
	if ((value & CTL_SRST) && !(old & CTL_SRST)) {
		chan_reset(c, false);
		c->status = ST_BSY;
	} else if (!(value & CTL_SRST) && (old & CTL_SRST)) {
		signature(c);
	}
	irq_set(&c->line, c->irq && !(c->control & CTL_NIEN));
	unlock(c);
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

		plat_mutex_lock(&c->lock);
		c->control = 0;
		c->bm_command = c->bm_status = 0;
		c->bm_table = 0;
		chan_reset(c, true);
		unlock(c);
	}
}

#define C struct ide_chan
static const struct st_field chan_fields[] = {
	ST_A(C, feature),
	ST_A(C, count),
	ST_A(C, lba[0]),
	ST_A(C, lba[1]),
	ST_A(C, lba[2]),
	ST_U(C, device),
	ST_U(C, status),
	ST_U(C, error),
	ST_U(C, control),
	ST_U(C, command),
	ST_B(C, irq),
	ST_UMAX(C, pos, IDE_BUFFER),
	ST_UMAX(C, end, IDE_BUFFER),
	ST_UMAX(C, filled, IDE_BUFFER),
	ST_UMAX(C, block, IDE_SECTOR *MULTIPLE_MAX),
	ST_U(C, at),
	ST_U(C, left),
	ST_B(C, write),
	ST_B(C, dma),
	ST_B(C, ext),
	ST_UMAX(C, limit, 0xfffe),
	ST_U(C, bm_command),
	ST_U(C, bm_status),
	ST_U(C, bm_table),
	ST_U(C, bm_next),
	ST_U(C, bm_addr),
	ST_UMAX(C, bm_left, 0x10000),
	ST_B(C, bm_last),
};
#undef C

#define D struct ide_drive
static const struct st_field drive_fields[] = {
	ST_UMAX(D, multiple, MULTIPLE_MAX),
	ST_UMAX(D, heads, 16),
	ST_UMAX(D, spt, 255),
	ST_U(D, mode_pio),
	ST_U(D, mode_mwdma),
	ST_U(D, mode_udma),
	ST_U(D, sense),
	ST_U(D, asc),
	ST_U(D, ascq),
	ST_B(D, attention),
	ST_B(D, locked),
	ST_B(D, media_event),
	ST_B(D, eject_event),
};
#undef D

struct saved_phase {
	uint8_t phase;
};
static const struct st_field phase_fields[] = {ST_UMAX(struct saved_phase, phase, PHASE_DMA)};

/* A command that a file claims to be going on must be one that could be. */
static bool chan_sane(struct ide_chan *c)
{
	struct ide_drive *d = ide_selected(c);

	for (unsigned k = 0; k < 2; k++)
		if (c->drive[k].present && (!c->drive[k].heads || !c->drive[k].spt))
			return false;
	if (c->phase == PHASE_IDLE)
		return true;
	if (!d->present || (c->left && (c->left > d->sectors || c->at > d->sectors - c->left)))
		return false;
	if (!d->cdrom && !c->write && c->left && c->filled / IDE_SECTOR > c->left)
		return false;
	if (c->phase == PHASE_DMA)
		return c->dma;
	/* A drive that answers gives blocks, even ones. */
	return c->pos < c->end && (c->block || d->cdrom) && (c->limit || !d->cdrom) &&
	       !(c->limit & 1) && (c->phase != PHASE_PACKET || (d->cdrom && c->end == 12)) &&
	       (c->phase != PHASE_PIO_OUT || !d->cdrom);
}

static void chan_state(struct ide_chan *c, struct state_stream *st)
{
	struct saved_phase p = {(uint8_t)c->phase};
	uint32_t len = IDE_BUFFER;

	ST_SYNC(st, "channel", c->index, chan_fields, c);
	ST_SYNC(st, "phase", c->index, phase_fields, &p);
	for (unsigned k = 0; k < 2; k++)
		ST_SYNC(st, "drive", 2 * c->index + k, drive_fields, &c->drive[k]);
	if (!st->loading) {
		st_put_bytes(st, "buffer", c->buf, p.phase == PHASE_IDLE ? 0 : len);
		return;
	}
	st_get_bytes(st, "buffer", c->buf, &len);
	c->phase = p.phase;
	if (!st->err && !chan_sane(c))
		state_fail(st, err_here(ERR_FORMAT), "ide: an impossible command");
	if (st->err)
		chan_reset(c, true);
	irq_set(&c->line, c->irq && !(c->control & CTL_NIEN));
}

static int ide_state(struct dev *dev, struct state_stream *st)
{
	struct ide *ide = container_of(dev, struct ide, dev);

	if (pci_dev_state(&ide->pd, st))
		return st->err;
	for (unsigned i = 0; i < 2 && !st->err; i++) {
		plat_mutex_lock(&ide->chan[i].lock);
		chan_state(&ide->chan[i], st);
		plat_mutex_unlock(&ide->chan[i].lock);
	}
	return st->err;
}

static int ide_freeze(struct dev *dev, bool on)
{
	struct ide *ide = container_of(dev, struct ide, dev);
	int err = 0;

	for (unsigned i = 0; i < IDE_DRIVES && on && !err; i++)
		err = disk_quiesce(&ide->chan[i / 2].drive[i % 2].disk);
	return err;
}

static void ide_destroy(struct dev *dev)
{
	struct ide *ide = container_of(dev, struct ide, dev);

	for (unsigned i = 0; i < 2; i++) {
		struct ide_chan *c = &ide->chan[i];

		plat_mutex_lock(&c->lock);
		cancel(c);
		plat_mutex_unlock(&c->lock);
		for (unsigned k = 0; k < 2; k++)
			disk_fini(&c->drive[k].disk);
		if (c->buf)
			plat_pages_free(c->buf, IDE_BUFFER);
	}
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
	int err;

	c->ide = ide;
	c->index = index;
	c->line = w->irq[index];
	for (unsigned k = 0; k < 2; k++) {
		struct ide_drive *d = &c->drive[k];

		d->present = w->drive[2 * index + k].present;
		d->cdrom = w->drive[2 * index + k].cdrom;
		str_copy(d->serial, sizeof(d->serial),
			 w->drive[2 * index + k].serial ? w->drive[2 * index + k].serial : "");
		disk_init(&d->disk, ide->dev.vm, w->drive[2 * index + k].block);
		if (d->cdrom)
			atapi_init(d);
		else
			ata_init(d);
	}
	chan_reset(c, true);
	err = bus_map_at(&ide->dev.vm->pio, task[index], &task_region, c);
	return err ? err : bus_map_at(&ide->dev.vm->pio, control[index], &control_region, c);
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
	int err = 0;

	if (!ide)
		return err_here(ERR_NOMEM);
	for (unsigned i = 0; i < 2; i++) {
		plat_mutex_init(&ide->chan[i].lock, RANK_DEVICE);
		for (unsigned k = 0; k < 2; k++)
			disk_init(&ide->chan[i].drive[k].disk, vm, NULL);
	}
	/* From here on the VM owns it, on errors too. */
	vm_add_dev(vm, &ide->dev, &ide_class);
	for (unsigned i = 0; i < 2 && !err; i++) {
		ide->chan[i].buf = plat_pages_alloc(IDE_BUFFER);
		if (!ide->chan[i].buf)
			err = err_here(ERR_NOMEM);
	}
	pci_dev_init(&ide->pd, &id);
	pci_put(ide->pd.init + CFG_TIMING, 4, 0x80008000); /* both channels decode their ports */
	pci_put(ide->pd.wmask + CFG_TIMING, 4, 0xffffffff);
	pci_put(ide->pd.wmask + CFG_TIMING + 4, 1, 0xff);
	if (!err)
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
	struct ide_chan *c = &ide->chan[drive / 2 & 1];
	struct ide_drive *d = &c->drive[drive & 1];
	int err = 0;

	if (drive >= IDE_DRIVES || !d->present || !d->cdrom)
		return err_here(ERR_INVAL);
	for (;;) {
		plat_mutex_lock(&c->lock);
		if (d->locked && !force) {
			d->eject_event = true; /* the guest is asked for it */
			err = ERR_BUSY;
			break;
		}
		if (!c->busy && c->phase == PHASE_IDLE)
			break;
		plat_mutex_unlock(&c->lock);
		plat_event_wait(&d->disk.idle, plat_now() + NS_PER_SEC / 100);
	}
	if (!err) {
		d->disk.block = block;
		d->locked = false;
		atapi_init(d);
		d->attention = d->media_event = true;
	}
	plat_mutex_unlock(&c->lock);
	return err ? err_here(err) : 0;
}
