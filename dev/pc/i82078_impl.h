/* SPDX-License-Identifier: ISC */
/* i82078_impl.h: what the files of the floppy controller share: i82078.c (registers, the device), i82078_cmd.c
 * (commands), i82078_track.c (transfers, a track at a time), i82078_disk.c (what a disk's size makes of it). */
#ifndef DEV_PC_I82078_IMPL_H
#define DEV_PC_I82078_IMPL_H

#include "dev/disk.h"
#include "dev/pc/i8237.h"
#include "dev/pc/i82078.h"
#include "plat/plat.h"
#include "vm/dev.h"

#define TRACK_MAX   36u /* sectors */
#define BUFFER      (TRACK_MAX * 512u)
#define DMA_CHANNEL 2
#define TRACKS_MAX  85

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

/* What a disk of so many KiB is. size: of a sector, as commands have it: 128 << size bytes */
struct format {
	uint16_t kib;
	uint8_t cylinders, heads, spt, size, rate, cmos;
};

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

static inline struct fdd *fdc_selected(struct i82078 *fdc)
{
	return &fdc->drive[fdc->cmd[1] & 3];
}

/* Of the sectors that a transfer moves. There is a disk. */
static inline uint32_t fdc_bytes(struct i82078 *fdc, uint32_t sectors)
{
	return sectors * (128u << fdc_selected(fdc)->format->size);
}

static inline bool fdc_uses_dma(const struct i82078 *fdc)
{
	return !(fdc->specify[1] & 1);
}

/* i82078.c; all under lock */
void fdc_irq(struct i82078 *fdc, bool level);
void fdc_idle(struct i82078 *fdc);
/* The command ends with these bytes to be read. */
void fdc_results(struct i82078 *fdc, const uint8_t *bytes, unsigned n);
void fdc_result(struct i82078 *fdc, uint8_t v);
void fdc_transfer_end(struct i82078 *fdc, uint8_t st0, uint8_t st1, uint8_t st2);

/* i82078_track.c */
/* Is there a disk that can be read at this rate, with this side? Otherwise the command has ended. */
bool fdc_medium_ok(struct i82078 *fdc);
/* From or to buf, fdc->sectors of them; the request goes to the disk with fdc_unlock(). */
void fdc_ask_disk(struct i82078 *fdc);
/* The sectors have been moved; tc: and the DMA controller says that was all (table 5-5). */
void fdc_track_done(struct i82078 *fdc, bool tc);
/* READ, WRITE and VERIFY of all kinds. */
void fdc_transfer(struct i82078 *fdc, bool write, bool verify);
/* Releases the lock, and submits what was prepared. */
void fdc_unlock(struct i82078 *fdc);

/* i82078_cmd.c */
struct fdc_command {
	uint8_t mask, code, params; /* bytes that follow */
	void (*run)(struct i82078 *fdc);
};
/* NULL: there is no such command. */
const struct fdc_command *fdc_command(uint8_t code);

/* i82078_disk.c; NULL: no floppy has so many bytes. */
const struct format *fdc_format(uint64_t bytes);

#endif
