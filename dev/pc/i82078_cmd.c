/* SPDX-License-Identifier: ISC */
/* i82078_cmd.c: the floppy controller's commands (82078, chapter 5). SCAN commands are answered as invalid. Entered by
 * vCPU threads, under lock. */
#include "dev/pc/i82078_impl.h"

#include "base/str.h"

static void cmd_read(struct i82078 *fdc)
{
	if ((fdc->cmd[0] & 0x1f) == 0x02) /* READ TRACK: from the first sector */
		fdc->cmd[4] = 1;
	fdc_transfer(fdc, false, false);
}

static void cmd_write(struct i82078 *fdc)
{
	fdc_transfer(fdc, true, false);
}

static void cmd_verify(struct i82078 *fdc)
{
	fdc_transfer(fdc, false, true);
}

/* Takes the sectors' identifiers and fills the track. */
static void cmd_format(struct i82078 *fdc)
{
	struct fdd *d = fdc_selected(fdc);
	bool tc;

	fdc->write = fdc->format = true;
	fdc->verify = fdc->multi = false;
	fdc->cylinder = d->track;
	fdc->sector = 1;
	if (!fdc_medium_ok(fdc))
		return;
	if (d->disk.block->read_only) {
		fdc_transfer_end(fdc, ST0_ABNORMAL, ST1_NW, 0);
	} else if (fdc->cmd[2] != d->format->size || fdc->cmd[3] != d->format->spt) {
		fdc_transfer_end(fdc, ST0_ABNORMAL, ST1_ND, 0); /* an image has one format */
	} else if (fdc_uses_dma(fdc) &&
		   i8237_move(fdc->dma, DMA_CHANNEL, fdc->buf, 4u * fdc->cmd[3], false, &tc) <
			   4u * fdc->cmd[3]) {
		fdc_transfer_end(fdc, ST0_ABNORMAL, ST1_OR, 0);
	} else if (!fdc_uses_dma(fdc)) {
		fdc->sectors = d->format->spt;
		fdc->phase = PHASE_PIO_OUT;
		fdc->pos = 0;
		fdc->end = 4u * fdc->cmd[3];
		fdc_irq(fdc, true);
	} else {
		fdc->sectors = d->format->spt;
		memset(fdc->buf, fdc->cmd[5], fdc_bytes(fdc, fdc->sectors));
		fdc_ask_disk(fdc);
	}
}

static void cmd_read_id(struct i82078 *fdc)
{
	fdc->cylinder = fdc_selected(fdc)->track;
	fdc->sector = 1;
	if (fdc_medium_ok(fdc))
		fdc_transfer_end(fdc, 0, 0, 0);
}

static void cmd_specify(struct i82078 *fdc)
{
	memcpy(fdc->specify, fdc->cmd + 1, 2);
	fdc_idle(fdc);
}

static void cmd_sense_drive(struct i82078 *fdc)
{
	struct fdd *d = fdc_selected(fdc);

	fdc_result(fdc, (uint8_t)(ST3_FIXED | (fdc->cmd[1] & 7) |
				  (d->present && !d->track ? ST3_TRACK0 : 0) |
				  (d->format && d->disk.block->read_only ? ST3_WP : 0)));
}

static void cmd_sense_interrupt(struct i82078 *fdc)
{
	unsigned n;
	uint8_t r[2];

	if (fdc->polled) { /* after a reset, for each drive */
		n = (unsigned)__builtin_ctz(fdc->polled);
		fdc->polled &= (uint8_t)~BIT(n);
		r[0] = (uint8_t)(ST0_POLLING | n);
	} else if (fdc->seeked) {
		n = (unsigned)__builtin_ctz(fdc->seeked);
		fdc->seeked &= (uint8_t)~BIT(n);
		r[0] = (uint8_t)(ST0_SEEK | n);
		if (!fdc->drive[n].present) /* track 0 was not found */
			r[0] |= ST0_ABNORMAL | ST0_CHECK;
	} else {
		fdc_irq(fdc, false);
		fdc_result(fdc, ST0_INVALID);
		return;
	}
	r[1] = fdc->drive[n].track;
	fdc_irq(fdc, false);
	fdc_results(fdc, r, 2);
}

static void seek_to(struct i82078 *fdc, int track)
{
	struct fdd *d = fdc_selected(fdc);

	d->track = (uint8_t)(d->present ? MIN(MAX(track, 0), TRACKS_MAX) : 0);
	if (d->format)
		d->changed = false; /* a step pulse resets the drive's flip-flop */
	fdc->seeked |= (uint8_t)BIT(fdc->cmd[1] & 3);
	fdc_idle(fdc);
	fdc_irq(fdc, true);
}

static void cmd_recalibrate(struct i82078 *fdc)
{
	seek_to(fdc, 0);
}

static void cmd_seek(struct i82078 *fdc)
{
	seek_to(fdc, fdc->cmd[2]);
}

static void cmd_relative_seek(struct i82078 *fdc)
{
	int track = fdc_selected(fdc)->track;

	seek_to(fdc, fdc->cmd[0] & 0x40 ? track + fdc->cmd[2] : track - fdc->cmd[2]);
}

static void cmd_dumpreg(struct i82078 *fdc)
{
	const uint8_t r[10] = {fdc->drive[0].track,
			       fdc->drive[1].track,
			       fdc->drive[2].track,
			       fdc->drive[3].track,
			       fdc->specify[0],
			       fdc->specify[1],
			       fdc->eot,
			       (uint8_t)(fdc->lock_config << 7 | fdc->perpendicular),
			       fdc->config[0],
			       fdc->config[1]};

	fdc_results(fdc, r, sizeof(r));
}

static void cmd_version(struct i82078 *fdc)
{
	fdc_result(fdc, 0x90);
}

static void cmd_part_id(struct i82078 *fdc)
{
	fdc_result(fdc, 0x41);
}

static void cmd_configure(struct i82078 *fdc)
{
	memcpy(fdc->config, fdc->cmd + 2, 2);
	fdc_idle(fdc);
}

static void cmd_lock(struct i82078 *fdc)
{
	fdc->lock_config = fdc->cmd[0] & 0x80;
	fdc_result(fdc, (uint8_t)(fdc->lock_config << 4));
}

static void cmd_perpendicular(struct i82078 *fdc)
{
	fdc->perpendicular = fdc->cmd[1] & 0x7f;
	fdc_idle(fdc);
}

static const struct fdc_command commands[] = {
	{0x1f, 0x06, 8, cmd_read}, /* DATA, DELETED DATA, TRACK */
	{0x1f, 0x0c, 8, cmd_read},
	{0x9f, 0x02, 8, cmd_read},
	{0x3f, 0x05, 8, cmd_write},
	{0x3f, 0x09, 8, cmd_write},
	{0x1f, 0x16, 8, cmd_verify},
	{0xbf, 0x0d, 5, cmd_format},
	{0xbf, 0x0a, 1, cmd_read_id},
	{0xff, 0x03, 2, cmd_specify},
	{0xff, 0x04, 1, cmd_sense_drive},
	{0xff, 0x07, 1, cmd_recalibrate},
	{0xff, 0x08, 0, cmd_sense_interrupt},
	{0xff, 0x0f, 2, cmd_seek},
	{0xbf, 0x8f, 2, cmd_relative_seek},
	{0xff, 0x0e, 0, cmd_dumpreg},
	{0xff, 0x10, 0, cmd_version},
	{0xff, 0x12, 1, cmd_perpendicular},
	{0xff, 0x13, 3, cmd_configure},
	{0x7f, 0x14, 0, cmd_lock},
	{0xff, 0x18, 0, cmd_part_id},
};

const struct fdc_command *fdc_command(uint8_t code)
{
	for (unsigned i = 0; i < ARRAY_SIZE(commands); i++)
		if ((code & commands[i].mask) == commands[i].code)
			return &commands[i];
	return NULL;
}
