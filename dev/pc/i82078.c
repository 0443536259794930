/* SPDX-License-Identifier: ISC */
/* i82078.c: floppy disk controller (Intel 82078, order 290475) in AT mode: ports 3F0H to 3F5H and
 * 3F7H, DMA channel 2 or programmed I/O. Seeks are instantaneous; data moves a track at a time.
 *
 * Entered by vCPU threads and by completions of the block layer; fdc->lock serialises. */
#include "dev/pc/i82078_impl.h"

#include "base/str.h"
#include "vm/stream.h"
#include "vm/vm.h"

/* Registers, from 3F0H */
enum { REG_SRA, REG_SRB, REG_DOR, REG_TDR, REG_MSR_DSR, REG_FIFO };

#define DOR_NRESET  0x04
#define DOR_DMAGATE 0x08
#define DSR_RESET   0x80
#define MSR_BUSY    0x10
#define MSR_NDMA    0x20
#define MSR_DIO     0x40
#define MSR_RQM     0x80
#define DIR_DSKCHG  0x80

void fdc_irq(struct i82078 *fdc, bool level)
{
	fdc->irq = level;
	irq_set(&fdc->line, level && (fdc->dor & DOR_DMAGATE));
}

void fdc_idle(struct i82078 *fdc)
{
	fdc->phase = PHASE_IDLE;
	fdc->got = 0;
}

void fdc_results(struct i82078 *fdc, const uint8_t *bytes, unsigned n)
{
	memcpy(fdc->result, bytes, n);
	fdc->told = 0;
	fdc->n_results = (uint8_t)n;
	fdc->phase = PHASE_RESULT;
}

void fdc_result(struct i82078 *fdc, uint8_t v)
{
	fdc_results(fdc, &v, 1);
}

void fdc_transfer_end(struct i82078 *fdc, uint8_t st0, uint8_t st1, uint8_t st2)
{
	const struct format *f = fdc_selected(fdc)->format;
	const uint8_t r[7] = {(uint8_t)(st0 | fdc->head << 2 | (fdc->cmd[1] & 3)),
			      st1,
			      st2,
			      fdc->cylinder,
			      fdc->head,
			      fdc->sector,
			      f ? f->size : 2};

	fdc_results(fdc, r, sizeof(r));
	fdc_irq(fdc, true);
}

/* ---- registers -------------------------------------------------------------------------------- */

static void controller_reset(struct i82078 *fdc)
{
	fdc->submit = false;
	fdc->cancelled = fdc->busy;
	fdc_idle(fdc);
	fdc->seeked = 0;
	if (!fdc->lock_config) {
		fdc->config[0] = CFG_DEFAULT;
		fdc->config[1] = 0;
	}
	fdc->perpendicular &= 0x3c;
	fdc_irq(fdc, false);
}

/* Drives become ready after a reset, of which polling tells. */
static void reset_ends(struct i82078 *fdc)
{
	fdc->polled = fdc->config[0] & CFG_NO_POLL ? 0 : 0x0f;
	fdc_irq(fdc, fdc->polled);
}

static void dor_write(struct i82078 *fdc, uint8_t v)
{
	uint8_t old = fdc->dor;

	fdc->dor = v;
	if (!(v & DOR_NRESET))
		controller_reset(fdc);
	else if (!(old & DOR_NRESET))
		reset_ends(fdc);
	else
		fdc_irq(fdc, fdc->irq);
}

static void fifo_write(struct i82078 *fdc, uint8_t v)
{
	const struct fdc_command *c;

	if (!(fdc->dor & DOR_NRESET))
		return;
	if (fdc->phase == PHASE_PIO_OUT) {
		fdc->buf[fdc->pos++] = v;
		if (fdc->pos < fdc->end)
			return;
		fdc_irq(fdc, false);
		if (fdc->format)
			memset(fdc->buf, fdc->cmd[5], fdc_bytes(fdc, fdc->sectors));
		fdc_ask_disk(fdc);
		return;
	}
	/* The buffer is not ours before an old request has come back. */
	if ((fdc->phase != PHASE_IDLE && fdc->phase != PHASE_COMMAND) || fdc->busy)
		return;
	fdc->cmd[fdc->got++] = v;
	c = fdc_command(fdc->cmd[0]);
	if (!c) {
		fdc->cmd[1] = 0;
		fdc_result(fdc, ST0_INVALID);
	} else if (fdc->got <= c->params) {
		fdc->phase = PHASE_COMMAND;
	} else {
		if (!c->params)
			fdc->cmd[1] = 0;
		c->run(fdc);
	}
}

static uint8_t fifo_read(struct i82078 *fdc)
{
	uint8_t v = 0;

	if (fdc->phase == PHASE_PIO_IN) {
		v = fdc->buf[fdc->pos++];
		if (fdc->pos == fdc->end) {
			fdc_irq(fdc, false);
			fdc_track_done(fdc, false);
		}
	} else if (fdc->phase == PHASE_RESULT) {
		fdc_irq(fdc, false);
		v = fdc->result[fdc->told++];
		if (fdc->told == fdc->n_results)
			fdc_idle(fdc);
	}
	return v;
}

static uint8_t main_status(const struct i82078 *fdc)
{
	if (!(fdc->dor & DOR_NRESET) || fdc->busy)
		return fdc->busy ? MSR_BUSY : 0;
	switch (fdc->phase) {
	case PHASE_IDLE:
		return MSR_RQM | fdc->seeked;
	case PHASE_COMMAND:
		return MSR_RQM | MSR_BUSY | fdc->seeked;
	case PHASE_PIO_IN:
		return MSR_RQM | MSR_DIO | MSR_NDMA | MSR_BUSY;
	case PHASE_PIO_OUT:
		return MSR_RQM | MSR_NDMA | MSR_BUSY;
	case PHASE_RESULT:
		return MSR_RQM | MSR_DIO | MSR_BUSY;
	default:
		return MSR_BUSY;
	}
}

static uint64_t fdc_read(void *dev, uint64_t off, unsigned size)
{
	struct i82078 *fdc = dev;
	uint8_t v = 0xff; /* SRA and SRB are not there in AT mode */

	plat_mutex_lock(&fdc->lock);
	if (off == REG_DOR)
		v = fdc->dor;
	else if (off == REG_TDR)
		v = fdc->tdr | 0xfc;
	else if (off == REG_MSR_DSR)
		v = main_status(fdc);
	else if (off == REG_FIFO)
		v = fifo_read(fdc);
	fdc_unlock(fdc);
	return v;
}

static void fdc_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct i82078 *fdc = dev;
	uint8_t v = (uint8_t)value;

	plat_mutex_lock(&fdc->lock);
	if (off == REG_DOR) {
		dor_write(fdc, v);
	} else if (off == REG_TDR) {
		fdc->tdr = v & 3;
	} else if (off == REG_MSR_DSR) {
		fdc->rate = v & 3;
		if ((v & DSR_RESET) && (fdc->dor & DOR_NRESET)) { /* clears itself */
			controller_reset(fdc);
			reset_ends(fdc);
		}
	} else if (off == REG_FIFO) {
		fifo_write(fdc, v);
	}
	fdc_unlock(fdc);
}

/* Digital input register: the disk-change line of a drive whose motor runs. */
static uint64_t dir_read(void *dev, uint64_t off, unsigned size)
{
	struct i82078 *fdc = dev;
	unsigned n;
	uint8_t v = 0;

	plat_mutex_lock(&fdc->lock);
	n = fdc->dor & 3;
	if ((fdc->dor >> (4 + n) & 1) && fdc->drive[n].present && fdc->drive[n].changed)
		v = DIR_DSKCHG;
	plat_mutex_unlock(&fdc->lock);
	return v;
}

static void ccr_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct i82078 *fdc = dev;

	plat_mutex_lock(&fdc->lock);
	fdc->rate = value & 3;
	plat_mutex_unlock(&fdc->lock);
}

static const struct bus_region fdc_regions[] = {
	{"fdc", 0x3f0, 6, 1, 1, fdc_read, fdc_write, NULL, NULL},
	{"fdc", 0x3f7, 1, 1, 1, dir_read, ccr_write, NULL, NULL},
};

/* ---- the device ------------------------------------------------------------------------------- */

#define F struct i82078
static const struct st_field fdc_fields[] = {
	ST_U(F, dor),
	ST_U(F, tdr),
	ST_UMAX(F, rate, 3),
	ST_B(F, irq),
	ST_UMAX(F, polled, 15),
	ST_UMAX(F, seeked, 15),
	ST_A(F, specify),
	ST_A(F, config),
	ST_U(F, perpendicular),
	ST_B(F, lock_config),
	ST_UMAX(F, phase, PHASE_RESULT),
	ST_A(F, cmd),
	ST_A(F, result),
	ST_UMAX(F, got, 8),
	ST_UMAX(F, told, 15),
	ST_UMAX(F, n_results, 16),
	ST_U(F, cylinder),
	ST_UMAX(F, head, 1),
	ST_U(F, sector),
	ST_U(F, eot),
	ST_UMAX(F, sectors, TRACK_MAX),
	ST_B(F, write),
	ST_B(F, verify),
	ST_B(F, format),
	ST_B(F, multi),
	ST_UMAX(F, pos, BUFFER),
	ST_UMAX(F, end, BUFFER),
};
#undef F

static const struct st_field fdd_fields[] = {
	ST_B(struct fdd, changed),
	ST_UMAX(struct fdd, track, TRACKS_MAX),
};

/* What was loaded may lie about a transfer: it must fit the disk that is there. */
static bool sane(struct i82078 *fdc)
{
	const struct format *f = fdc_selected(fdc)->format;

	if (fdc->phase == PHASE_RESULT)
		return fdc->told < fdc->n_results;
	if (fdc->phase != PHASE_PIO_IN && fdc->phase != PHASE_PIO_OUT)
		return true;
	return f && fdc->pos < fdc->end && fdc->sector && fdc->sectors &&
	       fdc->cylinder < f->cylinders && fdc->head < f->heads &&
	       fdc->sector + fdc->sectors <= f->spt + 1;
}

static int fdc_state(struct dev *dev, struct state_stream *st)
{
	struct i82078 *fdc = container_of(dev, struct i82078, dev);
	uint32_t len = BUFFER;

	plat_mutex_lock(&fdc->lock);
	ST_SYNC(st, "fdc", 0, fdc_fields, fdc);
	for (unsigned i = 0; i < 4; i++)
		ST_SYNC(st, "drive", i, fdd_fields, &fdc->drive[i]);
	if (st->loading) {
		st_get_bytes(st, "buffer", fdc->buf, &len);
		if (!st->err && (len != BUFFER || !sane(fdc)))
			state_fail(st, err_here(ERR_FORMAT), "floppy: an impossible transfer");
		if (st->err)
			fdc_idle(fdc);
		fdc_irq(fdc, fdc->irq);
	} else {
		st_put_bytes(st, "buffer", fdc->buf, len);
	}
	plat_mutex_unlock(&fdc->lock);
	return st->err;
}

static int fdc_freeze(struct dev *dev, bool on)
{
	struct i82078 *fdc = container_of(dev, struct i82078, dev);
	int err = 0;

	for (unsigned i = 0; i < I82078_DRIVES && on && !err; i++)
		err = disk_quiesce(&fdc->drive[i].disk);
	return err;
}

static void fdc_reset(struct dev *dev)
{
	struct i82078 *fdc = container_of(dev, struct i82078, dev);

	plat_mutex_lock(&fdc->lock);
	fdc->lock_config = false;
	fdc->dor = fdc->tdr = 0;
	fdc->rate = RATE_250;
	fdc->polled = 0;
	memset(fdc->specify, 0, sizeof(fdc->specify));
	controller_reset(fdc);
	plat_mutex_unlock(&fdc->lock);
}

static void fdc_destroy(struct dev *dev)
{
	struct i82078 *fdc = container_of(dev, struct i82078, dev);

	plat_mutex_lock(&fdc->lock);
	fdc->cancelled = fdc->busy;
	plat_mutex_unlock(&fdc->lock);
	for (unsigned i = 0; i < 4; i++)
		disk_fini(&fdc->drive[i].disk);
	if (fdc->buf)
		plat_pages_free(fdc->buf, ALIGN_UP(BUFFER, PAGE_SIZE));
	plat_free(fdc);
}

static const struct dev_class fdc_class = {
	.name = "floppy",
	.reset = fdc_reset,
	.state = fdc_state,
	.freeze = fdc_freeze,
	.destroy = fdc_destroy,
};

int i82078_create(struct vm *vm, const struct i82078_wiring *w, struct i82078 **out)
{
	struct i82078 *fdc = plat_alloc(sizeof(*fdc));
	int err = 0;

	if (!fdc)
		return err_here(ERR_NOMEM);
	fdc->line = w->irq;
	fdc->dma = w->dma;
	plat_mutex_init(&fdc->lock, RANK_DEVICE);
	for (unsigned i = 0; i < 4; i++)
		disk_init(&fdc->drive[i].disk, vm, i < I82078_DRIVES ? w->drive[i].block : NULL);
	/* From here on the VM owns it, on errors too. */
	vm_add_dev(vm, &fdc->dev, &fdc_class);
	fdc->buf = plat_pages_alloc(ALIGN_UP(BUFFER, PAGE_SIZE));
	if (!fdc->buf)
		return err_here(ERR_NOMEM);
	for (unsigned i = 0; i < I82078_DRIVES; i++) {
		struct fdd *d = &fdc->drive[i];

		d->present = w->drive[i].present;
		d->changed = true;
		d->format = d->disk.block ? fdc_format(d->disk.block->size) : NULL;
		if (d->disk.block && !d->format)
			return err_here(ERR_INVAL);
		d->cmos = d->format ? d->format->cmos : 4;
	}
	fdc_reset(&fdc->dev);
	for (unsigned i = 0; i < ARRAY_SIZE(fdc_regions) && !err; i++)
		err = bus_map(&vm->pio, &fdc_regions[i], fdc);
	*out = fdc;
	return err;
}
