/* SPDX-License-Identifier: ISC */
/* vhdx.h: what vhdx.c and vhdx_log.c share. */
#ifndef BLOCK_VHDX_H
#define BLOCK_VHDX_H

#include "block/import.h"
#include "block/le.h"

#define VHDX_SECTOR 4096

/* What the log says that a piece of the file has. */
struct vhdx_patch {
	uint64_t off, len;
	const uint8_t *data; /* len bytes; NULL: zeros */
};

struct vhdx_log {
	uint8_t *mem; /* the log, and behind it the sectors of its patches */
	size_t mapped;
	struct vhdx_patch *p; /* later ones win */
	unsigned n, max;
	size_t p_mapped;
	uint64_t lo, hi; /* all of them are in here */
};

/* Reads the log, len bytes at off, of the session guid, and makes patches of what was not yet
 * written. ERR_FORMAT: it has nothing that is whole. */
int vhdx_log_read(struct bfile *f, uint64_t off, uint32_t len, const uint8_t guid[16],
		  struct vhdx_log *log) attr_must_check;
void vhdx_log_free(struct vhdx_log *log);
/* Puts them into what was read from off. */
void vhdx_log_apply(const struct vhdx_log *log, uint64_t off, void *buf, size_t len);

#endif
