/* SPDX-License-Identifier: ISC */
/* watch.h: stands between a disk controller and its disk: tells the monitor of each request, asks for
 * its verdict, and redirects. Hosted. */
#ifndef BLOCK_WATCH_H
#define BLOCK_WATCH_H

#include "block/block.h"
#include "monitor/monitor.h"

#define BLOCK_IMAGES 16

/* What rules may redirect to, by slot of struct mon_target. */
struct block_targets {
	struct block *image[BLOCK_IMAGES]; /* NULL: not open */
};

/* index: which disk of the VM. *take_back is closed with the new one, and also where this fails. A disk
 * gets a file for what rules redirect to scratch, which nobody else sees and which ends with it. */
int block_watch_open(struct block *take_back, struct monitor *mon, unsigned index,
		     const struct block_targets *targets, struct block **out) attr_must_check;

#endif
