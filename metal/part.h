/* SPDX-License-Identifier: ISC */
/* part.h: partition tables, MBR and GPT (UEFI 2.10, chapter 5). */
#ifndef METAL_PART_H
#define METAL_PART_H

#include "base/def.h"
#include "base/err.h"

#define PART_SECTOR 512

struct part_source {
	int (*read)(void *ctx, uint64_t sector, void *buf); /* one sector; 0 or ERR_* */
	void *ctx;
	uint64_t sectors;
};

struct part {
	unsigned number;          /* from 1 on, as Linux counts */
	uint64_t sector, sectors; /* within the disk, and not empty */
	char label[37];           /* of GPT; what is not ASCII is "?" */
};

/* each() gets all partitions that lie within the disk, until it returns true. GPT's second table is taken where the
 * first is damaged. ERR_FORMAT: there is no table; else what read() said. */
int part_walk(const struct part_source *s, bool (*each)(void *ctx, const struct part *p),
	      void *ctx) attr_must_check;
/* By number, or GPT label. ERR_NOENT: not there. */
int part_find(const struct part_source *s, const char *want, struct part *out) attr_must_check;

#endif
