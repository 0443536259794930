/* SPDX-License-Identifier: ISC */
/* hostdisk.h: the machine's own disks, shared out to VMs. A driver (virtio, AHCI, NVMe) makes a struct hostdisk a
 * disk, says what its commands can take, and starts and ends commands; all else is in hostdisk.c. A slice is a part of a
 * disk as a struct block: whoever has it reaches nothing else. */
#ifndef METAL_HOSTDISK_H
#define METAL_HOSTDISK_H

#include "base/def.h"
#include "base/err.h"
#include "block/block.h"
#include "metal/hostpci.h"
#include "plat/plat.h"

#define HOSTDISK_TAGS 32u /* commands at a time */
#define HOSTDISK_SEGS 56u

struct hostdisk;
struct hostdisk_slice;

struct hostdisk_seg {
	uint64_t pa;
	uint32_t len;
};

/* BLOCK_READ, BLOCK_WRITE, or BLOCK_FLUSH, which has no sectors and no segments. */
struct hostdisk_cmd {
	enum block_op op;
	uint64_t sector;
	uint32_t sectors;
	unsigned n_seg;
	struct hostdisk_seg seg[HOSTDISK_SEGS];
};

/* All with d->lock held. */
struct hostdisk_driver {
	void (*start)(struct hostdisk *d, unsigned tag, const struct hostdisk_cmd *c);
	void (*kick)(struct hostdisk *d); /* after one or more starts; may be NULL */
	void (*poll)(struct hostdisk *d); /* hostdisk_end() for each command that has ended */
	/* It does not answer: no DMA any more from now on. Without a wait: a reset may last for ever, too. */
	void (*cut)(struct hostdisk *d);
};

/* What a request is at. */
struct hostdisk_flight {
	struct block_req *req;
	uint64_t done, piece; /* bytes: ended, under way */
	uint64_t since;       /* when the piece was started */
	unsigned vec;         /* where its memory goes on … */
	size_t vec_at;        /* … within that vector */
	uint8_t *bounce;      /* a page, for memory that the device cannot reach */
	bool bounced;         /* the piece uses it */
};

struct hostdisk {
	/* The driver's, before hostdisk_add() */
	const struct hostdisk_driver *driver;
	struct hostpci *pci;
	char name[16], serial[24], model[44]; /* name: "nvme0" */
	uint64_t sectors;                     /* of 512 bytes */
	bool read_only;
	bool cache;           /* BLOCK_FLUSH does something */
	bool irq;             /* hostdisk_irq() comes; else it is polled */
	unsigned tags;        /* 0 to tags - 1 are used; at most HOSTDISK_TAGS */
	uint32_t max_sectors; /* a command */
	uint32_t max_seg;     /* bytes, a multiple of 512 */
	unsigned max_segs;    /* a command, at least 1; at most HOSTDISK_SEGS */
	unsigned align;       /* of addresses and lengths of segments */
	bool pages;           /* between two segments there is a page boundary (NVMe's PRP lists) */
	uint64_t pa_end;      /* memory beyond is not reached */
	uint64_t timeout;     /* of a command, ns; 0: 30 s */

	struct plat_mutex lock; /* RANK_BACKEND: all that follows, and the driver's queues */
	struct hostdisk_flight flight[HOSTDISK_TAGS];
	uint32_t free, busy;             /* bits of tags */
	struct block_req *first, **last; /* wait for a tag */
	struct block_req *ended;         /* done() is due; priv: the error */
	bool dead;
	struct hostdisk_cmd cmd;
	struct hostdisk_slice *slices;
	uint64_t reads, writes, errors; /* requests */
	struct plat_event event;
	struct plat_thread *thread;
};

/* For drivers. Makes its thread and puts it on the list; it stays the driver's. */
int hostdisk_add(struct hostdisk *d) attr_must_check;
void hostdisk_end(struct hostdisk *d, unsigned tag, int err); /* within poll() */
void hostdisk_irq(struct hostdisk *d);                        /* in interrupt handlers, too */

struct hostdisk *hostdisk_at(unsigned n);         /* NULL: no more */
struct hostdisk *hostdisk_find(const char *name); /* or its serial number */

struct hostdisk_extent {
	uint64_t sector, sectors;
};
/* These extents, one after another, as a disk. ERR_RANGE: they are not on d; ERR_BUSY: somebody else has
 * a sector of them, and one of the two may write. shared: for looking at tables, claims nothing, and only reads. */
int hostdisk_slice(struct hostdisk *d, const struct hostdisk_extent *e, unsigned n, bool read_only,
		   bool shared, struct block **out) attr_must_check;

/* Whether the disk has memory of the slice's requests that it never gave back: though it is cut off, nobody else should have it. */
bool hostdisk_lost(const struct block *b);

/* Requests of a slice may use these pages from now on, until they are denied; others they may not, if the machine has an
 * IOMMU. Nothing happens for what is no slice. */
int hostdisk_allow(const struct block *b, const void *p, size_t size) attr_must_check;
void hostdisk_deny(const struct block *b, const void *p, size_t size);

#endif
