/* SPDX-License-Identifier: ISC */
/* i82078_disk.c: disks of the floppy drives: what the size of an image makes of it, and how one takes another's place.
 * Creation, and the thread that changes media. */
#include "dev/pc/i82078_impl.h"

/* clang-format off */
static const struct format formats[] = {
	{160,  40, 1, 8,  2, RATE_250,  1},
	{180,  40, 1, 9,  2, RATE_250,  1},
	{320,  40, 2, 8,  2, RATE_250,  1},
	{360,  40, 2, 9,  2, RATE_250,  1},
	{640,  80, 2, 8,  2, RATE_250,  3}, /* Japan: 2DD */
	{720,  80, 2, 9,  2, RATE_250,  3},
	{800,  80, 2, 10, 2, RATE_250,  3},
	{820,  82, 2, 10, 2, RATE_250,  3},
	{1200, 80, 2, 15, 2, RATE_500,  2},
	{1232, 77, 2, 8,  3, RATE_500,  2}, /* Japan: 2HD */
	{1440, 80, 2, 18, 2, RATE_500,  4},
	{1476, 82, 2, 18, 2, RATE_500,  4},
	{1680, 80, 2, 21, 2, RATE_500,  4},
	{1722, 82, 2, 21, 2, RATE_500,  4},
	{1743, 83, 2, 21, 2, RATE_500,  4},
	{1760, 80, 2, 22, 2, RATE_500,  4},
	{2880, 80, 2, 36, 2, RATE_1000, 5},
};
/* clang-format on */

const struct format *fdc_format(uint64_t bytes)
{
	for (unsigned i = 0; i < ARRAY_SIZE(formats); i++)
		if (bytes == formats[i].kib * KIB)
			return &formats[i];
	return NULL;
}

bool i82078_size_ok(uint64_t bytes)
{
	return fdc_format(bytes);
}

uint8_t i82078_cmos_type(struct i82078 *fdc, unsigned drive)
{
	return drive < I82078_DRIVES && fdc->drive[drive].present ? fdc->drive[drive].cmos : 0;
}

int i82078_change_disk(struct i82078 *fdc, unsigned drive, struct block *block)
{
	struct fdd *d = &fdc->drive[drive & 3];
	uint64_t end = plat_now() + 2 * NS_PER_SEC;

	if (drive >= I82078_DRIVES || !d->present || (block && !fdc_format(block->size)))
		return err_here(ERR_INVAL);
	for (;;) {
		plat_mutex_lock(&fdc->lock);
		if (!fdc->busy)
			break;
		plat_mutex_unlock(&fdc->lock);
		if (plat_now() > end) /* the host's disk is full, for example */
			return err_here(ERR_TIMEOUT);
		plat_event_wait(&d->disk.idle, plat_now() + NS_PER_SEC / 100);
	}
	/* A transfer that the processor was moving ends without its disk. */
	if (fdc->phase == PHASE_PIO_IN || fdc->phase == PHASE_PIO_OUT)
		fdc_transfer_end(fdc, ST0_ABNORMAL, ST1_MA, 0);
	d->disk.block = block;
	d->format = block ? fdc_format(block->size) : NULL;
	d->changed = true;
	plat_mutex_unlock(&fdc->lock);
	return 0;
}
