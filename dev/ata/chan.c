/* SPDX-License-Identifier: ISC */
/* chan.c: the life of an ATA command from the task file to its end, whatever carries it; see ata.h.
 * Entered by vCPU threads through the transports, and by completions of the block layer. */
#include "base/str.h"
#include "dev/ata/ata.h"
#include "vm/stream.h"

/* ---- helpers of the commands ------------------------------------------------------------------- */

void ata_irq(struct ata_chan *c, bool level)
{
	c->irq = level;
	c->ops->irq(c);
}

void ata_end(struct ata_chan *c, uint8_t error)
{
	c->phase = PHASE_IDLE;
	c->error = error;
	c->status = ST_DRDY | ST_DSC | (error ? ST_ERR : 0);
	ata_irq(c, true);
}

void ata_pio(struct ata_chan *c, enum ata_phase phase, uint32_t from, uint32_t to)
{
	c->phase = phase;
	c->pos = from;
	c->end = to;
	c->status = ST_DRDY | ST_DSC | ST_DRQ;
}

void ata_wait_dma(struct ata_chan *c)
{
	c->phase = PHASE_DMA;
	c->status = ST_DRDY | ST_DSC | ST_DRQ;
}

/* ---- requests to the disk ------------------------------------------------------------------------ */

void ata_submit(struct ata_chan *c, struct ata_drive *d, struct disk_req *r)
{
	r->disk = &d->disk;
	r->next = NULL;
	if (c->todo)
		c->todo_last->next = r;
	else
		c->todo = r;
	c->todo_last = r;
}

/* One thread at a time submits: completions that come meanwhile, from within too, only add to the
 * list, so that a long command does not nest. */
void ata_unlock(struct ata_chan *c)
{
	if (!c->draining) {
		c->draining = true;
		while (c->todo) {
			struct disk_req *r = c->todo;

			c->todo = r->next;
			plat_mutex_unlock(&c->lock);
			disk_submit(r->disk, r);
			plat_mutex_lock(&c->lock);
		}
		c->draining = false;
	}
	plat_mutex_unlock(&c->lock);
}

static void disk_done(struct disk_req *r, int err)
{
	struct ata_chan *c = r->ctx;

	plat_mutex_lock(&c->lock);
	c->busy = false;
	if (c->cancelled) {
		c->cancelled = false;
		if (!(c->control & CTL_SRST))
			ata_signature(c);
	} else {
		c->then(c, ata_selected(c), err);
	}
	if (c->ops->answered)
		c->ops->answered(c);
	ata_unlock(c);
}

void ata_disk(struct ata_chan *c, enum block_op op, uint64_t offset, uint32_t len,
	      void (*then)(struct ata_chan *c, struct ata_drive *d, int err))
{
	c->phase = PHASE_DISK;
	c->status = ST_BSY;
	c->then = then;
	c->busy = true;
	c->vec = (struct block_vec){c->buf, len};
	c->req.req = (struct block_req){
		.op = op, .offset = offset, .len = len, .vec = &c->vec, .n_vec = len ? 1 : 0};
	c->req.done = disk_done;
	c->req.ctx = c;
	ata_submit(c, ata_selected(c), &c->req);
}

int ata_quiesce(struct ata_chan *c)
{
	int err = 0;

	for (unsigned k = 0; k < c->n_drives && !err; k++)
		err = disk_quiesce(&c->drive[k].disk);
	return err;
}

/* ---- reset ----------------------------------------------------------------------------------------- */

/* Signature of a drive after reset (ATA/ATAPI-6, 9.12). */
void ata_signature(struct ata_chan *c)
{
	struct ata_drive *d = ata_selected(c);
	bool packet = d->present && d->cdrom;

	c->count[0] = c->lba[0][0] = 1;
	c->lba[1][0] = packet ? 0x14 : 0;
	c->lba[2][0] = packet ? 0xeb : 0;
	c->error = 1; /* diagnostics passed */
	/* The buffer is not ours before an old request has come back. */
	c->status = c->busy ? ST_BSY : packet ? 0 : ST_DRDY | ST_DSC;
}

void ata_cancel(struct ata_chan *c)
{
	c->phase = PHASE_IDLE;
	c->cancelled = c->busy;
	c->pos = c->end = 0;
}

void ata_chan_reset(struct ata_chan *c, bool power_on)
{
	ata_cancel(c);
	for (unsigned i = 0; i < c->n_drives; i++)
		if (c->drive[i].present)
			ata_drive_reset(&c->drive[i], power_on);
	c->device = 0;
	memset(c->feature, 0, sizeof(c->feature));
	memset(c->count, 0, sizeof(c->count));
	memset(c->lba, 0, sizeof(c->lba));
	ata_irq(c, false);
	ata_signature(c);
}

/* ---- commands ---------------------------------------------------------------------------------------- */

void ata_continue(struct ata_chan *c)
{
	struct ata_drive *d = ata_selected(c);

	if (d->cdrom)
		atapi_continue(c, d);
	else
		ata_disk_continue(c, d);
}

void ata_command(struct ata_chan *c, uint8_t cmd)
{
	struct ata_drive *d = ata_selected(c);

	if (c->control & CTL_SRST)
		return;
	if (cmd == 0x90) { /* EXECUTE DEVICE DIAGNOSTIC goes to both */
		ata_cancel(c);
		c->device = 0;
		ata_signature(c);
		ata_irq(c, true);
		return;
	}
	if (!d->present || (c->status & ST_BSY))
		return;
	if (cmd == 0x08) { /* DEVICE RESET */
		if (!d->cdrom) {
			ata_end(c, ER_ABRT);
			return;
		}
		ata_cancel(c);
		ata_signature(c);
		return;
	}
	c->command = cmd;
	c->error = 0;
	ata_irq(c, false);
	c->write = c->dma = c->ext = false;
	c->left = 0;
	if (ata_common(c, d, cmd))
		return;
	if (d->cdrom)
		atapi_command(c, d, cmd);
	else
		ata_disk_command(c, d, cmd);
}

/* ---- saved state ---------------------------------------------------------------------------------------- */

#define C struct ata_chan
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
	ST_UMAX(C, pos, ATA_BUFFER),
	ST_UMAX(C, end, ATA_BUFFER),
	ST_UMAX(C, filled, ATA_BUFFER),
	ST_UMAX(C, block, ATA_SECTOR *MULTIPLE_MAX),
	ST_U(C, at),
	ST_U(C, left),
	ST_B(C, write),
	ST_B(C, dma),
	ST_B(C, ext),
	ST_UMAX(C, limit, 0xfffe),
	ST_UMAX(C, queued_error.tag, 31),
	ST_U(C, queued_error.status),
	ST_U(C, queued_error.error),
	ST_U(C, queued_error.lba),
};
#undef C

#define D struct ata_drive
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

/* Since version 5 */
static const struct st_field tray_fields[] = {ST_B(struct ata_drive, tray_open)};

struct saved_phase {
	uint8_t phase;
};
static const struct st_field phase_fields[] = {ST_UMAX(struct saved_phase, phase, PHASE_DMA)};

/* A command that a file claims to be going on must be one that could be. */
static bool chan_sane(struct ata_chan *c)
{
	struct ata_drive *d = ata_selected(c);

	for (unsigned k = 0; k < c->n_drives; k++)
		if (c->drive[k].present && (!c->drive[k].heads || !c->drive[k].spt))
			return false;
	if (c->phase == PHASE_IDLE)
		return true;
	if (!d->present || (c->left && (c->left > d->sectors || c->at > d->sectors - c->left)))
		return false;
	if (!d->cdrom && !c->write && c->left && c->filled / ATA_SECTOR > c->left)
		return false;
	if (c->phase == PHASE_DMA)
		return c->dma;
	/* A drive that answers gives blocks, even ones. */
	return c->pos < c->end && (c->block || d->cdrom) && (c->limit || !d->cdrom) &&
	       !(c->limit & 1) &&
	       (c->phase != PHASE_PACKET || (d->cdrom && c->end == ATA_PACKET)) &&
	       (c->phase != PHASE_PIO_OUT || !d->cdrom);
}

static void drive_state(struct ata_chan *c, struct state_stream *st, unsigned k)
{
	struct ata_drive *d = &c->drive[k];

	ST_SYNC(st, "drive", c->n_drives * c->index + k, drive_fields, d);
	if (!st->loading || st->version >= 5)
		ST_SYNC(st, "tray", c->n_drives * c->index + k, tray_fields, d);
	if (st->loading && d->cdrom)
		atapi_init(d);
}

void ata_chan_state(struct ata_chan *c, struct state_stream *st)
{
	struct saved_phase p = {(uint8_t)c->phase};
	uint32_t len = ATA_BUFFER;

	ST_SYNC(st, "channel", c->index, chan_fields, c);
	ST_SYNC(st, "phase", c->index, phase_fields, &p);
	for (unsigned k = 0; k < c->n_drives; k++)
		drive_state(c, st, k);
	if (!st->loading) {
		st_put_bytes(st, "buffer", c->buf, p.phase == PHASE_IDLE ? 0 : len);
		return;
	}
	st_get_bytes(st, "buffer", c->buf, &len);
	c->phase = p.phase;
	if (!st->err && !chan_sane(c))
		state_fail(st, err_here(ERR_FORMAT), "%s: an impossible command",
			   c->ops->sata ? "ahci" : "ide");
	if (st->err)
		ata_chan_reset(c, true);
	c->ops->irq(c);
}

/* ---- the channel ------------------------------------------------------------------------------------------ */

int ata_chan_init(struct ata_chan *c, const struct ata_ops *ops, struct vm *vm, unsigned index,
		  unsigned n_drives, struct block *const *block)
{
	c->ops = ops;
	c->vm = vm;
	c->index = index;
	c->n_drives = n_drives;
	plat_mutex_init(&c->lock, RANK_DEVICE);
	for (unsigned k = 0; k < n_drives; k++) {
		struct ata_drive *d = &c->drive[k];

		disk_init(&d->disk, vm, block[k]);
		if (d->cdrom)
			atapi_init(d);
		else
			ata_disk_init(d);
	}
	c->buf = plat_pages_alloc(ATA_BUFFER);
	if (!c->buf)
		return err_here(ERR_NOMEM);
	ata_chan_reset(c, true);
	return 0;
}

void ata_chan_fini(struct ata_chan *c)
{
	if (!c->ops)
		return;
	plat_mutex_lock(&c->lock);
	ata_cancel(c);
	plat_mutex_unlock(&c->lock);
	for (unsigned k = 0; k < c->n_drives; k++)
		disk_fini(&c->drive[k].disk);
	if (c->buf)
		plat_pages_free(c->buf, ATA_BUFFER);
}

int ata_change_disc(struct ata_chan *c, struct ata_drive *d, struct block *block, bool force)
{
	uint64_t end = plat_now() + 2 * NS_PER_SEC;
	int err = 0;

	if (!d->present || !d->cdrom)
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
		if (plat_now() > end) { /* a guest need not fetch what it has read */
			err = ERR_TIMEOUT;
			break;
		}
		plat_mutex_unlock(&c->lock);
		plat_event_wait(&d->disk.idle, plat_now() + NS_PER_SEC / 100);
	}
	if (!err) {
		d->disk.block = block;
		d->locked = false;
		atapi_tray(d, false);
	}
	plat_mutex_unlock(&c->lock);
	return err ? err_here(err) : 0;
}
