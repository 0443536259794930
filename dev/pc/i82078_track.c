/* SPDX-License-Identifier: ISC */
/* i82078_track.c: transfers of the floppy controller, a track at a time, by DMA channel 2 or by the processor. A command
 * prepares at most one request to the disk, which is submitted after the lock is released.
 *
 * Entered by vCPU threads and by completions of the block layer. */
#include "dev/pc/i82078_impl.h"

#include "base/str.h"

static bool rate_fits(const struct i82078 *fdc, const struct format *f)
{
	return fdc->rate == f->rate || (fdc->rate == RATE_300 && f->rate == RATE_250);
}

void fdc_ask_disk(struct i82078 *fdc)
{
	struct fdd *d = fdc_selected(fdc);
	uint64_t lba = ((uint64_t)fdc->cylinder * d->format->heads + fdc->head) * d->format->spt +
		       (fdc->format ? 0 : fdc->sector - 1u);

	fdc->phase = PHASE_DISK;
	fdc->submit = true;
	fdc->vec = (struct block_vec){fdc->buf, fdc_bytes(fdc, fdc->sectors)};
	fdc->req.req = (struct block_req){.op = fdc->write ? BLOCK_WRITE : BLOCK_READ,
					  .offset = lba * fdc_bytes(fdc, 1),
					  .len = fdc->vec.len,
					  .vec = &fdc->vec,
					  .n_vec = 1};
}

/* The next sectors of one track. */
static void next_track(struct i82078 *fdc)
{
	const struct format *f = fdc_selected(fdc)->format;
	uint32_t bytes, n = MAX(MIN(fdc->eot, f->spt), fdc->sector) - fdc->sector + 1u;
	bool tc;

	if (fdc->sector > f->spt) {
		fdc_transfer_end(fdc, ST0_ABNORMAL, ST1_ND, 0);
		return;
	}
	if (fdc_uses_dma(fdc) && !fdc->verify) {
		bytes = i8237_left(fdc->dma, DMA_CHANNEL);
		n = MIN(n, (bytes + fdc_bytes(fdc, 1) - 1) / fdc_bytes(fdc, 1));
		if (!n) {
			fdc_transfer_end(fdc, ST0_ABNORMAL, ST1_OR, 0);
			return;
		}
	}
	fdc->sectors = (uint8_t)n;
	if (!fdc->write) {
		fdc_ask_disk(fdc);
	} else if (!fdc_uses_dma(fdc)) {
		fdc->phase = PHASE_PIO_OUT;
		fdc->pos = 0;
		fdc->end = fdc_bytes(fdc, n);
		fdc_irq(fdc, true);
	} else {
		/* What a last sector lacks is filled with zeros. */
		n = fdc_bytes(fdc, n);
		memset(fdc->buf, 0, n);
		bytes = i8237_move(fdc->dma, DMA_CHANNEL, fdc->buf, n, false, &tc);
		fdc->last = tc;
		if (bytes)
			fdc_ask_disk(fdc);
		else
			fdc_transfer_end(fdc, ST0_ABNORMAL, ST1_OR, 0);
	}
}

void fdc_track_done(struct i82078 *fdc, bool tc)
{
	bool end;

	fdc->sector = (uint8_t)(fdc->sector + fdc->sectors);
	end = fdc->sector > fdc->eot;
	if (end) {
		fdc->sector = 1;
		if (fdc->multi && !fdc->head && fdc_selected(fdc)->format->heads > 1) {
			fdc->head = 1;
			end = false;
		} else {
			fdc->cylinder++;
			fdc->head = fdc->multi ? 0 : fdc->head;
		}
	}
	if (tc || (end && fdc->verify))
		fdc_transfer_end(fdc, 0, 0, 0);
	else if (end)
		fdc_transfer_end(fdc, ST0_ABNORMAL, ST1_EN, 0);
	else
		next_track(fdc);
}

static void transfer_disk_done(struct i82078 *fdc, int err)
{
	uint32_t len = (uint32_t)fdc->vec.len, n;
	bool tc = false;

	if (err) {
		fdc_transfer_end(fdc, ST0_ABNORMAL, err == ERR_ROFS ? ST1_NW : ST1_DE, 0);
	} else if (fdc->format) {
		fdc_transfer_end(fdc, 0, 0, 0);
	} else if (fdc->write || fdc->verify) {
		fdc_track_done(fdc, fdc->write && fdc_uses_dma(fdc) && fdc->last);
	} else if (fdc_uses_dma(fdc)) {
		n = i8237_move(fdc->dma, DMA_CHANNEL, fdc->buf, len, true, &tc);
		if (n < len && !tc)
			fdc_transfer_end(fdc, ST0_ABNORMAL, ST1_OR, 0);
		else
			fdc_track_done(fdc, tc);
	} else {
		fdc->phase = PHASE_PIO_IN;
		fdc->pos = 0;
		fdc->end = len;
		fdc_irq(fdc, true);
	}
}

static void disk_done(struct disk_req *r, int err)
{
	struct i82078 *fdc = r->ctx;

	plat_mutex_lock(&fdc->lock);
	fdc->busy = false;
	if (!fdc->cancelled)
		transfer_disk_done(fdc, err);
	fdc->cancelled = false;
	fdc_unlock(fdc);
}

bool fdc_medium_ok(struct i82078 *fdc)
{
	struct fdd *d = fdc_selected(fdc);

	fdc->head = fdc->cmd[1] >> 2 & 1;
	if (d->format && rate_fits(fdc, d->format) && fdc->head < d->format->heads &&
	    d->track < d->format->cylinders)
		return true;
	fdc_transfer_end(fdc, ST0_ABNORMAL, ST1_MA, 0);
	return false;
}

void fdc_transfer(struct i82078 *fdc, bool write, bool verify)
{
	struct fdd *d = fdc_selected(fdc);

	fdc->write = write;
	fdc->verify = verify;
	fdc->format = false;
	fdc->multi = fdc->cmd[0] & 0x80;
	fdc->cylinder = fdc->cmd[2];
	fdc->sector = fdc->cmd[4];
	fdc->eot = fdc->cmd[6];
	if (!fdc_medium_ok(fdc))
		return;
	if ((fdc->config[0] & CFG_IMPLIED) && fdc->cylinder < d->format->cylinders)
		d->track = fdc->cylinder;
	if (fdc->cylinder != d->track)
		fdc_transfer_end(fdc, ST0_ABNORMAL, ST1_ND, ST2_WC);
	else if (fdc->cmd[3] != fdc->head || fdc->cmd[5] != d->format->size || !fdc->sector)
		fdc_transfer_end(fdc, ST0_ABNORMAL, ST1_ND, 0);
	else if (write && d->disk.block->read_only)
		fdc_transfer_end(fdc, ST0_ABNORMAL, ST1_NW, 0);
	else
		next_track(fdc);
}

void fdc_unlock(struct i82078 *fdc)
{
	struct fdd *d = fdc_selected(fdc);
	bool submit = fdc->submit;

	if (submit) {
		fdc->submit = false;
		fdc->busy = true;
		fdc->req.done = disk_done;
		fdc->req.ctx = fdc;
	}
	plat_mutex_unlock(&fdc->lock);
	if (submit)
		disk_submit(&d->disk, &fdc->req);
}
