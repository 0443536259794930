/* SPDX-License-Identifier: ISC */
/* watch.h: stands between a disk controller and its disk: tells the monitor of each request, asks for
 * its verdict, and redirects. */
#ifndef BLOCK_WATCH_H
#define BLOCK_WATCH_H

#include "block/block.h"
#include "monitor/monitor.h"

#define BLOCK_IMAGES 16

/* What rules may redirect to, by slot of struct mon_target. */
struct block_targets {
	struct block *image[BLOCK_IMAGES]; /* NULL: not open */
};

/* Where what rules redirect to scratch goes: what nobody else sees, and what ends with the disk. Any thread, several at once. */
struct block_scratch {
	/* ERR_NOSPC: there is no room; ERR_IO: another error */
	int (*io)(struct block_scratch *s, bool write, uint64_t off, void *buf, size_t len);
	void (*close)(struct block_scratch *s);
};
/* In a temporary file (hosted), or in memory as it is written, at most so many bytes. NULL: not possible. */
struct block_scratch *block_scratch_file(void);
struct block_scratch *block_scratch_memory(uint64_t disk_size, uint64_t most);

/* index: which disk of the VM. *take_back is closed with the new one, and also where this fails; so is take_scratch (NULL: no
 * rule redirects there). */
int block_watch_open(struct block *take_back, struct monitor *mon, unsigned index,
		     const struct block_targets *targets, struct block_scratch *take_scratch,
		     struct block **out) attr_must_check;

#endif
