/* SPDX-License-Identifier: ISC */
/* ata.h: ATA and ATAPI drives (ATA/ATAPI-6 to -8) behind whatever carries their commands: chan.c (a
 * command's life), ata.c (hard disks), atapi.c (CD drives). dev/pc/ide.c carries them over ports,
 * ahci_port.c over memory. Everything under chan->lock unless said otherwise.
 *
 * A transport fills the task file, calls ata_command(), and moves data when a phase asks for it. A
 * command prepares at most one request to the disk, which is submitted when ata_unlock() releases
 * the lock; its completion goes on with the command. */
#ifndef DEV_ATA_ATA_H
#define DEV_ATA_ATA_H

#include "dev/disk.h"
#include "vm/dev.h"
#include "vm/vm.h"

/* Status */
#define ST_ERR  0x01
#define ST_DRQ  0x08
#define ST_DSC  0x10
#define ST_DF   0x20
#define ST_DRDY 0x40
#define ST_BSY  0x80
/* Error */
#define ER_ABRT 0x04
#define ER_IDNF 0x10
#define ER_UNC  0x40
/* Device */
#define DEV_LBA 0x40
#define DEV_DEV 0x10
/* Device control */
#define CTL_NIEN 0x02
#define CTL_SRST 0x04
#define CTL_HOB  0x80
/* Interrupt reason of ATAPI, in the count register */
#define REASON_CD 0x01
#define REASON_IO 0x02

#define ATA_SECTOR   512u
#define CD_SECTOR    2048u
#define ATA_BUFFER   (128 * 1024u) /* at most what one request to the block layer moves */
#define ATA_PACKET   12            /* bytes of a PACKET command */
#define MULTIPLE_MAX 16

struct ata_chan;

enum ata_phase {
	PHASE_IDLE,
	PHASE_PIO_IN,  /* the guest reads buf[pos … end) */
	PHASE_PIO_OUT, /* the guest writes it */
	PHASE_PACKET,  /* likewise, the 12 bytes of a command */
	PHASE_DMA,     /* waits for the transport to be ready, or for the disk */
	PHASE_DISK,    /* waits for the disk */
};

struct ata_drive {
	bool present, cdrom;
	char serial[21];
	struct disk disk;
	uint64_t sectors; /* of 512 bytes, or of 2048 for CDs */
	/* what the guest has set */
	uint8_t multiple;                        /* sectors a block of READ MULTIPLE; 0: off */
	uint16_t heads, spt;                     /* translation in force */
	uint8_t mode_pio, mode_mwdma, mode_udma; /* for IDENTIFY; 0xff: none */
	/* CD */
	uint8_t sense, asc, ascq;
	bool attention, locked, media_event, eject_event;
	bool tray_open; /* by the guest; what lies in it cannot be read */
};

/* The queued command that failed last, for READ LOG EXT. */
struct ata_queued_error {
	uint8_t tag, status, error;
	uint64_t lba;
};

struct ata_ops {
	bool sata; /* IDENTIFY tells of queues, and of no cable */
	/* c->irq has changed */
	void (*irq)(struct ata_chan *c);
	/* May data be moved now? When it becomes so, the transport calls ata_continue(). */
	bool (*dma_ready)(struct ata_chan *c);
	/* Moves the next len bytes between buf and the memory that the command names; bytes that
	 * found room. */
	uint32_t (*dma)(struct ata_chan *c, uint32_t len, bool to_guest);
	/* The DMA command is over. */
	void (*dma_end)(struct ata_chan *c, bool error);
	/* The disk has answered, and the command has gone on; NULL: not interested. */
	void (*answered)(struct ata_chan *c);
};

struct ata_chan {
	const struct ata_ops *ops;
	struct vm *vm;
	unsigned index;
	unsigned n_drives;      /* 2: DEV_DEV selects */
	struct plat_mutex lock; /* RANK_DEVICE */
	struct ata_drive drive[2];

	/* task file; [1] holds what was written before, for 48-bit commands */
	uint8_t feature[2], count[2], lba[3][2];
	uint8_t device, status, error, control, command;
	bool irq;

	/* command in progress */
	enum ata_phase phase;
	uint8_t *buf;
	uint32_t pos, end; /* of what the guest moves */
	uint32_t filled;   /* bytes in buf */
	uint32_t block;    /* bytes a DRQ block */
	uint64_t at;       /* next sector */
	uint32_t left;     /* sectors that are still to be moved */
	bool write, dma, ext;
	uint32_t limit; /* ATAPI byte count limit */
	struct ata_queued_error queued_error;

	/* request to the block layer */
	struct disk_req req;
	struct block_vec vec;
	bool busy;      /* it is in flight */
	bool cancelled; /* and nobody wants its answer */
	void (*then)(struct ata_chan *c, struct ata_drive *d, int err);

	struct disk_req *todo, *todo_last; /* requests to be submitted, ours and the transport's */
	bool draining;                     /* somebody submits them */
};

static inline struct ata_drive *ata_selected(struct ata_chan *c)
{
	return &c->drive[c->n_drives > 1 && (c->device & DEV_DEV) ? 1 : 0];
}

/* ---- for transports (chan.c) -------------------------------------------------------------------- */

/* The storage is zeroed and its drives' present, cdrom and serial are set; block[k] belongs to drive
 * k. ERR_NOMEM. Ended by ata_chan_fini(), after errors too. */
int ata_chan_init(struct ata_chan *c, const struct ata_ops *ops, struct vm *vm, unsigned index,
		  unsigned n_drives, struct block *const *block) attr_must_check;
void ata_chan_fini(struct ata_chan *c);
/* Reset of the drives: what was going on is forgotten. power_on: settings too. */
void ata_chan_reset(struct ata_chan *c, bool power_on);
/* Forgets what is going on. The buffer is busy as long as the disk is. */
void ata_cancel(struct ata_chan *c);
/* Task file after a reset: signature of the drive that is selected. */
void ata_signature(struct ata_chan *c);
/* The guest writes the command register. */
void ata_command(struct ata_chan *c, uint8_t cmd);
/* All of a DRQ block has been moved, or DMA is ready. */
void ata_continue(struct ata_chan *c);
/* Releases the lock, and submits what was prepared. */
void ata_unlock(struct ata_chan *c);
/* Adds a request to drive 0's or 1's disk to what ata_unlock() submits. */
void ata_submit(struct ata_chan *c, struct ata_drive *d, struct disk_req *r);
/* Waits until the disks have nothing in flight. ERR_TIMEOUT. Without the lock. */
int ata_quiesce(struct ata_chan *c) attr_must_check;
/* Saved state, both directions. */
void ata_chan_state(struct ata_chan *c, struct state_stream *st);
/* As ide_change_disc(). Without the lock. */
int ata_change_disc(struct ata_chan *c, struct ata_drive *d, struct block *block,
		    bool force) attr_must_check;

/* ---- for commands (chan.c) ---------------------------------------------------------------------- */

void ata_irq(struct ata_chan *c, bool level);
/* The command ends: status DRDY and, if error, ERR with these bits; interrupts. */
void ata_end(struct ata_chan *c, uint8_t error);
/* Asks the disk; then() is called with the lock held when it has answered. len: bytes of buf. */
void ata_disk(struct ata_chan *c, enum block_op op, uint64_t offset, uint32_t len,
	      void (*then)(struct ata_chan *c, struct ata_drive *d, int err));
/* Lets the guest read or write buf[from … to). */
void ata_pio(struct ata_chan *c, enum ata_phase phase, uint32_t from, uint32_t to);
/* Lets the transport begin with DMA when it can. */
void ata_wait_dma(struct ata_chan *c);

/* ---- the two kinds of drives ------------------------------------------------------------------------ */

/* ata.c */
void ata_disk_init(struct ata_drive *d);
void ata_drive_reset(struct ata_drive *d, bool power_on);
void ata_disk_command(struct ata_chan *c, struct ata_drive *d, uint8_t cmd);
void ata_disk_continue(struct ata_chan *c, struct ata_drive *d);
/* Commands that both kinds of drive know; false: not one of them. */
bool ata_common(struct ata_chan *c, struct ata_drive *d, uint8_t cmd);

/* atapi.c */
void atapi_init(struct ata_drive *d);
/* Opens the tray or closes it; the guest hears of it. */
void atapi_tray(struct ata_drive *d, bool open);
void atapi_command(struct ata_chan *c, struct ata_drive *d, uint8_t cmd);
void atapi_continue(struct ata_chan *c, struct ata_drive *d);

#endif
