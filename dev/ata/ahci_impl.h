/* SPDX-License-Identifier: ISC */
/* ahci_impl.h: what the files of the AHCI controller share: ahci.c (registers, interrupts, PCI),
 * ahci_port.c (command lists and FISes), ahci_queue.c (queued commands). A port's fields are under its
 * channel's lock, the controller's own under irq_lock, which is taken within. */
#ifndef DEV_ATA_AHCI_IMPL_H
#define DEV_ATA_AHCI_IMPL_H

#include "dev/ata/ahci.h"
#include "dev/ata/ata.h"
#include "dev/pci/pci.h"

#define AHCI_SLOTS 32
#define AHCI_SEGS  256u /* host addresses a request; each at least 2 bytes: a sector fits */

/* PxIS and PxIE */
#define IS_DHRS  BIT(0)  /* D2H register FIS */
#define IS_PSS   BIT(1)  /* PIO setup FIS */
#define IS_SDBS  BIT(3)  /* set device bits FIS */
#define IS_DPS   BIT(5)  /* a descriptor with its interrupt bit is used up */
#define IS_PCS   BIT(6)  /* SERR.DIAG.X, read-only here */
#define IS_PRCS  BIT(22) /* SERR.DIAG.N, likewise */
#define IS_OFS   BIT(24) /* more data than descriptors */
#define IS_IFS   BIT(27) /* fatal error of the interface */
#define IS_TFES  BIT(30) /* status has ERR */
#define IS_SHOWN (IS_PCS | IS_PRCS)
#define IE_MASK  0xfdc000ffu
/* PxCMD */
#define CMD_ST    BIT(0)
#define CMD_SUD   BIT(1)
#define CMD_POD   BIT(2)
#define CMD_CLO   BIT(3)
#define CMD_FRE   BIT(4)
#define CMD_FR    BIT(14)
#define CMD_CR    BIT(15)
#define CMD_ATAPI BIT(24)
#define CMD_DLAE  BIT(25)
/* PxSERR */
#define SERR_P BIT(10) /* protocol */
#define SERR_N BIT(16) /* PhyRdy changed */
#define SERR_X BIT(26) /* exchanged */

struct ahci_port;

/* Where a command is in its table of descriptors. */
struct ahci_prd {
	gpa_t table;
	uint32_t n, i; /* descriptors, the present one */
	uint32_t used; /* bytes of it */
};

/* A queued command. */
struct ahci_slot {
	struct disk_req disk;
	struct ahci_port *port;
	uint8_t tag;
	bool active; /* with the disk */
	bool stale;  /* and nobody wants its answer */
	bool write;
	uint64_t at;
	uint32_t left; /* sectors from there on */
	uint32_t step; /* of which the disk has these */
	struct ahci_prd prd;
	unsigned n_seg;
	struct block_vec vec[AHCI_SEGS];
	gpa_t gpa[AHCI_SEGS];
};

struct ahci_port {
	struct ata_chan chan;
	struct ahci *ahci;
	uint64_t clb, fb;
	uint32_t is, ie, cmd; /* cmd: ST, FRE, ATAPI, DLAE */
	uint32_t sig, serr, sctl, sact, ci;
	bool linked;             /* the drive has said what it is since the last reset */
	bool halted;             /* after an error, until ST is cleared */
	bool current;            /* a command that is not queued is going on: */
	uint8_t slot;            /* PxCMD.CCS: its slot, or that of the error */
	bool pio_last;           /* its last news was a PIO setup FIS: no other follows */
	struct ahci_prd prd;     /* its descriptors */
	uint32_t moved;          /* bytes: PRDBC */
	gpa_t table;             /* its command table */
	unsigned queued;         /* slots that are active */
	struct ahci_slot *slots; /* AHCI_SLOTS; NULL: no hard disk */
};

struct ahci {
	struct dev dev;
	struct pci_dev pd;
	struct ahci_port port[AHCI_PORTS];
	struct plat_mutex irq_lock; /* RANK_BACKEND */
	uint32_t ghc, is;
	bool pin;
};

/* ahci.c: these bits of PxIS become set. */
void ahci_port_irq(struct ahci_port *p, uint32_t bits);

/* ahci_port.c */
extern const struct ata_ops ahci_ops;
/* Next piece of the command's memory, of at most max bytes; 0: no more. */
uint32_t ahci_prd_next(struct ahci_port *p, struct ahci_prd *prd, uint32_t max, gpa_t *gpa);
/* Begins commands that have been issued, as many as can be now. */
void ahci_port_run(struct ahci_port *p);
/* The command list is no longer executed; what is with the disk comes to nothing. */
void ahci_port_stop(struct ahci_port *p);
/* COMRESET, or power. */
void ahci_port_reset(struct ahci_port *p, bool power_on);
/* A drive that has not told its signature does so, once FISes can be received. */
void ahci_port_link(struct ahci_port *p);
/* Posts a FIS into the guest's area, where it wants it. */
void ahci_post(struct ahci_port *p, unsigned off, const uint8_t *fis, unsigned len);

/* ahci_queue.c: a command FIS with READ or WRITE FPDMA QUEUED. */
bool ahci_is_queued(uint8_t cmd);
void ahci_queue(struct ahci_port *p, unsigned slot, const uint8_t *cfis,
		const struct ahci_prd *prd);

#endif
