/* SPDX-License-Identifier: ISC */
/* i82078.c: floppy disk controller (Intel 82078, order 290475) in AT mode: ports 3F0H to 3F5H and
 * 3F7H, DMA channel 2 or programmed I/O. Seeks are instantaneous; data moves a track at a time.
 *
 * Entered by vCPU threads and by completions of the block layer; fdc->lock serialises. A command
 * prepares at most one request to the disk, which is submitted after the lock is released. SCAN
 * commands are answered as invalid. */
#include "dev/pc/i82078.h"

#include "base/str.h"
#include "dev/disk.h"
#include "dev/pc/i8237.h"
#include "plat/plat.h"
#include "vm/dev.h"
#include "vm/stream.h"
#include "vm/vm.h"

#define SECTOR      512u
#define TRACK_MAX   36u /* sectors */
#define BUFFER      (TRACK_MAX * SECTOR)
#define DMA_CHANNEL 2
#define TRACKS_MAX  85

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
/* Status */
#define ST0_ABNORMAL 0x40
#define ST0_INVALID  0x80
#define ST0_SEEK     0x20
#define ST0_CHECK    0x10
#define ST0_POLLING  0xc0
#define ST1_MA       0x01 /* no address mark */
#define ST1_NW       0x02 /* write protected */
#define ST1_ND       0x04 /* no such sector */
#define ST1_OR       0x10 /* overrun */
#define ST1_DE       0x20 /* data error */
#define ST1_EN       0x80 /* end of cylinder */
#define ST2_WC       0x10 /* wrong cylinder */
#define ST3_HD       0x04
#define ST3_TRACK0   0x10
#define ST3_FIXED    0x28
#define ST3_WP       0x40
/* CONFIGURE */
#define CFG_IMPLIED 0x40
#define CFG_NO_POLL 0x10
#define CFG_DEFAULT 0x20 /* FIFO off */

/* Data rates, as in CCR and DSR */
enum { RATE_500, RATE_300, RATE_250, RATE_1000 };

struct format {
	uint16_t kib;
	uint8_t cylinders, heads, spt, rate, cmos;
};

/* clang-format off */
static const struct format formats[] = {
	{160,  40, 1, 8,  RATE_250,  1},
	{180,  40, 1, 9,  RATE_250,  1},
	{320,  40, 2, 8,  RATE_250,  1},
	{360,  40, 2, 9,  RATE_250,  1},
	{720,  80, 2, 9,  RATE_250,  3},
	{1200, 80, 2, 15, RATE_500,  2},
	{1440, 80, 2, 18, RATE_500,  4},
	{1680, 80, 2, 21, RATE_500,  4},
	{1722, 82, 2, 21, RATE_500,  4},
	{2880, 80, 2, 36, RATE_1000, 5},
};
/* clang-format on */

enum phase { PHASE_IDLE, PHASE_COMMAND, PHASE_PIO_IN, PHASE_PIO_OUT, PHASE_RESULT, PHASE_DISK };

struct fdd {
	bool present, changed;
	uint8_t cmos;
	uint8_t track;
	struct disk disk;
	const struct format *format; /* NULL: no disk */
};

struct i82078 {
	struct dev dev;
	struct irq_line line;
	struct i8237 *dma;

	struct plat_mutex lock; /* RANK_DEVICE: all below */
	struct fdd drive[4];
	uint8_t dor, tdr, rate;
	bool irq;
	uint8_t polled;     /* drives whose reset SENSE INTERRUPT has still to tell */
	uint8_t seeked;     /* drives whose seek it has to tell */
	uint8_t specify[2]; /* step rate, head times, non-DMA mode */
	uint8_t config[2];  /* CONFIGURE: second byte, precompensation track */
	uint8_t perpendicular;
	bool lock_config;
	/* command in progress */
	uint8_t phase; /* enum phase */
	uint8_t cmd[9], result[16];
	uint8_t got, want;       /* bytes of the command */
	uint8_t told, n_results; /* bytes of the result */
	/* transfer: the next sector, its end, its direction */
	uint8_t cylinder, head, sector, eot, sectors;
	bool write, verify, format, multi;
	bool last;         /* the DMA controller has given all there is to write */
	uint32_t pos, end; /* of buf, what the guest moves */
	uint8_t *buf;
	struct disk_req req;
	struct block_vec vec;
	bool busy, cancelled, submit;
};

/* ---- helpers ---------------------------------------------------------------------------------- */

static struct fdd *selected(struct i82078 *fdc)
{
	return &fdc->drive[fdc->cmd[1] & 3];
}

static bool uses_dma(const struct i82078 *fdc)
{
	return !(fdc->specify[1] & 1);
}

static void irq_update(struct i82078 *fdc, bool level)
{
	fdc->irq = level;
	irq_set(&fdc->line, level && (fdc->dor & DOR_DMAGATE));
}

static void idle(struct i82078 *fdc)
{
	fdc->phase = PHASE_IDLE;
	fdc->got = 0;
}

/* The command ends with these bytes to be read. */
static void results(struct i82078 *fdc, const uint8_t *bytes, unsigned n)
{
	memcpy(fdc->result, bytes, n);
	fdc->told = 0;
	fdc->n_results = (uint8_t)n;
	fdc->phase = PHASE_RESULT;
}

static void result_byte(struct i82078 *fdc, uint8_t v)
{
	results(fdc, &v, 1);
}

static void transfer_end(struct i82078 *fdc, uint8_t st0, uint8_t st1, uint8_t st2)
{
	const uint8_t r[7] = {(uint8_t)(st0 | fdc->head << 2 | (fdc->cmd[1] & 3)),
			      st1,
			      st2,
			      fdc->cylinder,
			      fdc->head,
			      fdc->sector,
			      2};

	results(fdc, r, sizeof(r));
	irq_update(fdc, true);
}

static void disk_done(struct disk_req *r, int err);

/* Releases the lock, and submits what was prepared. */
static void unlock(struct i82078 *fdc)
{
	struct fdd *d = selected(fdc);
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

/* ---- transfers -------------------------------------------------------------------------------- */

static bool rate_fits(const struct i82078 *fdc, const struct format *f)
{
	return fdc->rate == f->rate || (fdc->rate == RATE_300 && f->rate == RATE_250);
}

static void ask_disk(struct i82078 *fdc)
{
	struct fdd *d = selected(fdc);
	uint64_t lba = ((uint64_t)fdc->cylinder * d->format->heads + fdc->head) * d->format->spt +
		       (fdc->format ? 0 : fdc->sector - 1u);

	fdc->phase = PHASE_DISK;
	fdc->submit = true;
	fdc->vec = (struct block_vec){fdc->buf, fdc->sectors * SECTOR};
	fdc->req.req = (struct block_req){.op = fdc->write ? BLOCK_WRITE : BLOCK_READ,
					  .offset = lba * SECTOR,
					  .len = fdc->sectors * SECTOR,
					  .vec = &fdc->vec,
					  .n_vec = 1};
}

/* The next sectors of one track. */
static void next_track(struct i82078 *fdc)
{
	const struct format *f = selected(fdc)->format;
	uint32_t bytes, n = MAX(MIN(fdc->eot, f->spt), fdc->sector) - fdc->sector + 1u;
	bool tc;

	if (fdc->sector > f->spt) {
		transfer_end(fdc, ST0_ABNORMAL, ST1_ND, 0);
		return;
	}
	if (uses_dma(fdc) && !fdc->verify) {
		bytes = i8237_left(fdc->dma, DMA_CHANNEL);
		n = MIN(n, (bytes + SECTOR - 1) / SECTOR);
		if (!n) {
			transfer_end(fdc, ST0_ABNORMAL, ST1_OR, 0);
			return;
		}
	}
	fdc->sectors = (uint8_t)n;
	if (!fdc->write) {
		ask_disk(fdc);
	} else if (!uses_dma(fdc)) {
		fdc->phase = PHASE_PIO_OUT;
		fdc->pos = 0;
		fdc->end = n * SECTOR;
		irq_update(fdc, true);
	} else {
		/* What a last sector lacks is filled with zeros. */
		memset(fdc->buf, 0, n * SECTOR);
		bytes = i8237_move(fdc->dma, DMA_CHANNEL, fdc->buf, n * SECTOR, false, &tc);
		fdc->last = tc;
		if (bytes)
			ask_disk(fdc);
		else
			transfer_end(fdc, ST0_ABNORMAL, ST1_OR, 0);
	}
}

/* The sectors have been moved; tc: and the DMA controller says that was all (table 5-5). */
static void track_done(struct i82078 *fdc, bool tc)
{
	bool end;

	fdc->sector = (uint8_t)(fdc->sector + fdc->sectors);
	end = fdc->sector > fdc->eot;
	if (end) {
		fdc->sector = 1;
		if (fdc->multi && !fdc->head && selected(fdc)->format->heads > 1) {
			fdc->head = 1;
			end = false;
		} else {
			fdc->cylinder++;
			fdc->head = fdc->multi ? 0 : fdc->head;
		}
	}
	if (tc || (end && fdc->verify))
		transfer_end(fdc, 0, 0, 0);
	else if (end)
		transfer_end(fdc, ST0_ABNORMAL, ST1_EN, 0);
	else
		next_track(fdc);
}

static void transfer_disk_done(struct i82078 *fdc, int err)
{
	uint32_t len = fdc->sectors * SECTOR, n;
	bool tc = false;

	if (err) {
		transfer_end(fdc, ST0_ABNORMAL, err == ERR_ROFS ? ST1_NW : ST1_DE, 0);
	} else if (fdc->format) {
		transfer_end(fdc, 0, 0, 0);
	} else if (fdc->write || fdc->verify) {
		track_done(fdc, fdc->write && uses_dma(fdc) && fdc->last);
	} else if (uses_dma(fdc)) {
		n = i8237_move(fdc->dma, DMA_CHANNEL, fdc->buf, len, true, &tc);
		if (n < len && !tc)
			transfer_end(fdc, ST0_ABNORMAL, ST1_OR, 0);
		else
			track_done(fdc, tc);
	} else {
		fdc->phase = PHASE_PIO_IN;
		fdc->pos = 0;
		fdc->end = len;
		irq_update(fdc, true);
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
	unlock(fdc);
}

/* Is there a disk that can be read at this rate, with this side? Otherwise the command has ended. */
static bool medium_ok(struct i82078 *fdc)
{
	struct fdd *d = selected(fdc);

	fdc->head = fdc->cmd[1] >> 2 & 1;
	if (d->format && rate_fits(fdc, d->format) && fdc->head < d->format->heads &&
	    d->track < d->format->cylinders)
		return true;
	transfer_end(fdc, ST0_ABNORMAL, ST1_MA, 0);
	return false;
}

static void transfer(struct i82078 *fdc, bool write, bool verify)
{
	struct fdd *d = selected(fdc);

	fdc->write = write;
	fdc->verify = verify;
	fdc->format = false;
	fdc->multi = fdc->cmd[0] & 0x80;
	fdc->cylinder = fdc->cmd[2];
	fdc->sector = fdc->cmd[4];
	fdc->eot = fdc->cmd[6];
	if (!medium_ok(fdc))
		return;
	if ((fdc->config[0] & CFG_IMPLIED) && fdc->cylinder < d->format->cylinders)
		d->track = fdc->cylinder;
	if (fdc->cylinder != d->track)
		transfer_end(fdc, ST0_ABNORMAL, ST1_ND, ST2_WC);
	else if (fdc->cmd[3] != fdc->head || fdc->cmd[5] != 2 || !fdc->sector)
		transfer_end(fdc, ST0_ABNORMAL, ST1_ND, 0);
	else if (write && d->disk.block->read_only)
		transfer_end(fdc, ST0_ABNORMAL, ST1_NW, 0);
	else
		next_track(fdc);
}

static void cmd_read(struct i82078 *fdc)
{
	if ((fdc->cmd[0] & 0x1f) == 0x02) /* READ TRACK: from the first sector */
		fdc->cmd[4] = 1;
	transfer(fdc, false, false);
}

static void cmd_write(struct i82078 *fdc)
{
	transfer(fdc, true, false);
}

static void cmd_verify(struct i82078 *fdc)
{
	transfer(fdc, false, true);
}

/* Takes the sectors' identifiers and fills the track. */
static void cmd_format(struct i82078 *fdc)
{
	struct fdd *d = selected(fdc);
	bool tc;

	fdc->write = fdc->format = true;
	fdc->verify = fdc->multi = false;
	fdc->cylinder = d->track;
	fdc->sector = 1;
	if (!medium_ok(fdc))
		return;
	if (d->disk.block->read_only) {
		transfer_end(fdc, ST0_ABNORMAL, ST1_NW, 0);
	} else if (fdc->cmd[2] != 2 || fdc->cmd[3] != d->format->spt) {
		transfer_end(fdc, ST0_ABNORMAL, ST1_ND, 0); /* an image has one format */
	} else if (uses_dma(fdc) && i8237_move(fdc->dma, DMA_CHANNEL, fdc->buf, 4u * fdc->cmd[3],
					       false, &tc) < 4u * fdc->cmd[3]) {
		transfer_end(fdc, ST0_ABNORMAL, ST1_OR, 0);
	} else if (!uses_dma(fdc)) {
		fdc->sectors = d->format->spt;
		fdc->phase = PHASE_PIO_OUT;
		fdc->pos = 0;
		fdc->end = 4u * fdc->cmd[3];
		irq_update(fdc, true);
	} else {
		fdc->sectors = d->format->spt;
		memset(fdc->buf, fdc->cmd[5], fdc->sectors * SECTOR);
		ask_disk(fdc);
	}
}

static void cmd_read_id(struct i82078 *fdc)
{
	fdc->cylinder = selected(fdc)->track;
	fdc->sector = 1;
	if (medium_ok(fdc))
		transfer_end(fdc, 0, 0, 0);
}

/* ---- other commands --------------------------------------------------------------------------- */

static void cmd_specify(struct i82078 *fdc)
{
	memcpy(fdc->specify, fdc->cmd + 1, 2);
	idle(fdc);
}

static void cmd_sense_drive(struct i82078 *fdc)
{
	struct fdd *d = selected(fdc);

	result_byte(fdc, (uint8_t)(ST3_FIXED | (fdc->cmd[1] & 7) |
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
		irq_update(fdc, false);
		result_byte(fdc, ST0_INVALID);
		return;
	}
	r[1] = fdc->drive[n].track;
	irq_update(fdc, false);
	results(fdc, r, 2);
}

static void seek_to(struct i82078 *fdc, int track)
{
	struct fdd *d = selected(fdc);

	d->track = (uint8_t)(d->present ? MIN(MAX(track, 0), TRACKS_MAX) : 0);
	if (d->format)
		d->changed = false; /* a step pulse resets the drive's flip-flop */
	fdc->seeked |= (uint8_t)BIT(fdc->cmd[1] & 3);
	idle(fdc);
	irq_update(fdc, true);
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
	int track = selected(fdc)->track;

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

	results(fdc, r, sizeof(r));
}

static void cmd_version(struct i82078 *fdc)
{
	result_byte(fdc, 0x90);
}

static void cmd_part_id(struct i82078 *fdc)
{
	result_byte(fdc, 0x41);
}

static void cmd_configure(struct i82078 *fdc)
{
	memcpy(fdc->config, fdc->cmd + 2, 2);
	idle(fdc);
}

static void cmd_lock(struct i82078 *fdc)
{
	fdc->lock_config = fdc->cmd[0] & 0x80;
	result_byte(fdc, (uint8_t)(fdc->lock_config << 4));
}

static void cmd_perpendicular(struct i82078 *fdc)
{
	fdc->perpendicular = fdc->cmd[1] & 0x7f;
	idle(fdc);
}

static const struct command {
	uint8_t mask, code, params;
	void (*run)(struct i82078 *fdc);
} commands[] = {
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

static const struct command *find_command(uint8_t code)
{
	for (unsigned i = 0; i < ARRAY_SIZE(commands); i++)
		if ((code & commands[i].mask) == commands[i].code)
			return &commands[i];
	return NULL;
}

/* ---- registers -------------------------------------------------------------------------------- */

static void controller_reset(struct i82078 *fdc)
{
	fdc->submit = false;
	fdc->cancelled = fdc->busy;
	idle(fdc);
	fdc->seeked = 0;
	if (!fdc->lock_config) {
		fdc->config[0] = CFG_DEFAULT;
		fdc->config[1] = 0;
	}
	fdc->perpendicular &= 0x3c;
	irq_update(fdc, false);
}

/* Drives become ready after a reset, of which polling tells. */
static void reset_ends(struct i82078 *fdc)
{
	fdc->polled = fdc->config[0] & CFG_NO_POLL ? 0 : 0x0f;
	irq_update(fdc, fdc->polled);
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
		irq_update(fdc, fdc->irq);
}

static void fifo_write(struct i82078 *fdc, uint8_t v)
{
	const struct command *c;

	if (!(fdc->dor & DOR_NRESET))
		return;
	if (fdc->phase == PHASE_PIO_OUT) {
		fdc->buf[fdc->pos++] = v;
		if (fdc->pos < fdc->end)
			return;
		irq_update(fdc, false);
		if (fdc->format)
			memset(fdc->buf, fdc->cmd[5], fdc->sectors * SECTOR);
		ask_disk(fdc);
		return;
	}
	/* The buffer is not ours before an old request has come back. */
	if ((fdc->phase != PHASE_IDLE && fdc->phase != PHASE_COMMAND) || fdc->busy)
		return;
	fdc->cmd[fdc->got++] = v;
	c = find_command(fdc->cmd[0]);
	if (!c) {
		fdc->cmd[1] = 0;
		result_byte(fdc, ST0_INVALID);
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
			irq_update(fdc, false);
			track_done(fdc, false);
		}
	} else if (fdc->phase == PHASE_RESULT) {
		irq_update(fdc, false);
		v = fdc->result[fdc->told++];
		if (fdc->told == fdc->n_results)
			idle(fdc);
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
	unlock(fdc);
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
	unlock(fdc);
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

/* ---- disks ------------------------------------------------------------------------------------ */

static const struct format *find_format(uint64_t bytes)
{
	for (unsigned i = 0; i < ARRAY_SIZE(formats); i++)
		if (bytes == formats[i].kib * KIB)
			return &formats[i];
	return NULL;
}

bool i82078_size_ok(uint64_t bytes)
{
	return find_format(bytes);
}

uint8_t i82078_cmos_type(struct i82078 *fdc, unsigned drive)
{
	return drive < I82078_DRIVES && fdc->drive[drive].present ? fdc->drive[drive].cmos : 0;
}

int i82078_change_disk(struct i82078 *fdc, unsigned drive, struct block *block)
{
	struct fdd *d = &fdc->drive[drive & 3];
	uint64_t end = plat_now() + 2 * NS_PER_SEC;

	if (drive >= I82078_DRIVES || !d->present || (block && !find_format(block->size)))
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
		transfer_end(fdc, ST0_ABNORMAL, ST1_MA, 0);
	d->disk.block = block;
	d->format = block ? find_format(block->size) : NULL;
	d->changed = true;
	plat_mutex_unlock(&fdc->lock);
	return 0;
}

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
	const struct format *f = selected(fdc)->format;

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
			idle(fdc);
		irq_update(fdc, fdc->irq);
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
		d->format = d->disk.block ? find_format(d->disk.block->size) : NULL;
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
