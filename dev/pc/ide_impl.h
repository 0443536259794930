/* SPDX-License-Identifier: ISC */
/* ide_impl.h: what the files of the IDE controller share: ide.c (registers, bus mastering), ata.c
 * (hard disks), atapi.c (CD drives). Everything under chan->lock unless said otherwise. */
#ifndef DEV_PC_IDE_IMPL_H
#define DEV_PC_IDE_IMPL_H

#include "dev/disk.h"
#include "dev/pc/ide.h"
#include "dev/pci/pci.h"
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

#define IDE_SECTOR   512u
#define CD_SECTOR    2048u
#define IDE_BUFFER   (128 * 1024u) /* at most what one request to the block layer moves */
#define MULTIPLE_MAX 16

enum ide_phase {
	PHASE_IDLE,
	PHASE_PIO_IN,  /* the guest reads buf[pos … end) */
	PHASE_PIO_OUT, /* the guest writes it */
	PHASE_PACKET,  /* likewise, the 12 bytes of a command */
	PHASE_DMA,     /* waits for the bus master to be started, or for the disk */
	PHASE_DISK,    /* waits for the disk */
};

struct ide_drive {
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
};

struct ide_chan {
	struct ide *ide;
	unsigned index;
	struct plat_mutex lock; /* RANK_DEVICE */
	struct irq_line line;
	struct ide_drive drive[2];

	/* task file; [1] holds what was written before, for 48-bit commands */
	uint8_t feature[2], count[2], lba[3][2];
	uint8_t device, status, error, control, command;
	bool irq;

	/* command in progress */
	enum ide_phase phase;
	uint8_t *buf;
	uint32_t pos, end; /* of what the guest moves */
	uint32_t filled;   /* bytes in buf */
	uint32_t block;    /* bytes a DRQ block */
	uint64_t at;       /* next sector */
	uint32_t left;     /* sectors that are still to be moved */
	bool write, dma, ext;
	uint32_t limit; /* ATAPI byte count limit */

	/* bus master */
	uint8_t bm_command, bm_status;
	uint32_t bm_table, bm_next; /* descriptors */
	uint32_t bm_addr, bm_left;  /* the current one */
	bool bm_last;

	/* request to the block layer */
	struct disk_req req;
	struct block_vec vec;
	bool busy;      /* it is in flight */
	bool cancelled; /* and nobody wants its answer */
	bool submit;    /* to be submitted when the lock is released */
	void (*then)(struct ide_chan *c, struct ide_drive *d, int err);
};

struct ide {
	struct dev dev;
	struct pci_dev pd;
	struct ide_chan chan[2];
};

static inline struct ide_drive *ide_selected(struct ide_chan *c)
{
	return &c->drive[c->device & DEV_DEV ? 1 : 0];
}

/* ide.c */
void ide_irq(struct ide_chan *c, bool level);
/* The command ends: status DRDY and, if error, ERR with these bits; interrupts. */
void ide_end(struct ide_chan *c, uint8_t error);
/* Asks the disk; then() is called with the lock held when it has answered. len: bytes of buf. */
void ide_disk(struct ide_chan *c, enum block_op op, uint64_t offset, uint32_t len,
	      void (*then)(struct ide_chan *c, struct ide_drive *d, int err));
/* Lets the guest read or write buf[from … to) through the data register. */
void ide_pio(struct ide_chan *c, enum ide_phase phase, uint32_t from, uint32_t to);
/* Copies between buf and the memory that the descriptors name; bytes that found room. */
uint32_t ide_bm_copy(struct ide_chan *c, uint32_t len, bool to_guest);
/* The bus master has been started and the command may use it. */
static inline bool ide_bm_ready(const struct ide_chan *c)
{
	return (c->bm_command & 1) &&
	       atomic_load_explicit(&c->ide->pd.master, memory_order_acquire);
}
/* The DMA command is over. */
void ide_bm_end(struct ide_chan *c, bool error);
/* Words 0 … 255 of IDENTIFY hold a string of len bytes, swapped in pairs. */
void ide_string(uint8_t *dst, const char *s, unsigned len);

/* ata.c */
void ata_init(struct ide_drive *d);
void ata_reset(struct ide_drive *d, bool power_on);
void ata_command(struct ide_chan *c, struct ide_drive *d, uint8_t cmd);
/* The guest has moved all of a DRQ block, or has started the bus master. */
void ata_continue(struct ide_chan *c, struct ide_drive *d);
/* Commands that both kinds of drive know; false: not one of them. */
bool ata_common(struct ide_chan *c, struct ide_drive *d, uint8_t cmd);

/* atapi.c */
void atapi_init(struct ide_drive *d);
void atapi_command(struct ide_chan *c, struct ide_drive *d, uint8_t cmd);
void atapi_continue(struct ide_chan *c, struct ide_drive *d);

#endif
