/* SPDX-License-Identifier: ISC */
/* disk.h: what all disk controllers need between them and the block layer: guest memory by pieces,
 * and a host disk that is full, for which the VM waits instead of losing what it wrote. */
#ifndef DEV_DISK_H
#define DEV_DISK_H

#include "base/def.h"
#include "base/err.h"
#include "block/block.h"
#include "plat/plat.h"

struct vm;
struct disk;

struct disk_req {
	struct block_req req; /* op, offset, len, vec, n_vec: filled by the controller */
	/* As block_req.done, but never with ERR_NOSPC while the VM lives. No lock held. */
	void (*done)(struct disk_req *r, int err);
	void *ctx;
	/* the disk's own */
	struct disk *disk;
	struct disk_req *next;
};

/* Embedded, zeroed storage. */
struct disk {
	struct vm *vm;
	struct block
		*block; /* NULL: no medium. The controller changes it when nothing is in flight */
	struct plat_timer timer;
	struct plat_event idle;
	struct plat_mutex lock; /* RANK_BACKEND: all below */
	unsigned in_flight;
	struct disk_req *stalled; /* to be tried again */
	bool holds_pause;
	bool closing; /* failures are reported as they are */
};

void disk_init(struct disk *d, struct vm *vm, struct block *block);
/* Waits until nothing is in flight, for a saved state: vCPUs are parked, so nothing new begins but what
 * completions begin. ERR_TIMEOUT: the host's disk is full, or stuck. */
int disk_quiesce(struct disk *d) attr_must_check;
/* Waits until nothing is in flight. */
void disk_fini(struct disk *d);
/* Without a lock of rank RANK_DEVICE or more that done() takes. */
void disk_submit(struct disk *d, struct disk_req *r);

/* Copies between a buffer and guest memory; what is not RAM is skipped, or reads as ones. */
void disk_dma(struct vm *vm, gpa_t gpa, void *buf, size_t len, bool to_guest);

#endif
