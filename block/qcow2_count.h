/* SPDX-License-Identifier: ISC */
/* qcow2_count.h: counting the references that an image holds: for the check, and where counts are
 * made anew. Over a file with nothing in flight and nothing cached. */
#ifndef BLOCK_QCOW2_COUNT_H
#define BLOCK_QCOW2_COUNT_H

#include "block/qcow2.h"

struct check {
	struct qcow2 *q;
	struct block_check *out;
	uint64_t n;      /* clusters of the file */
	uint32_t *count; /* references found, a cluster each */
	size_t mapped;
	uint8_t *table;      /* one cluster: an L2 table */
	uint64_t max;        /* what a stored count can say */
	uint64_t structural; /* corruptions that are not of counts */
	bool repair;
};

/* Nothing counted yet. */
int check_begin(struct check *c, struct qcow2 *q, struct block_check *out) attr_must_check;
void check_end(struct check *c);
/* References to all clusters of a range; false, and told: it is not in the file, or one has too
 * many. */
bool check_add(struct check *c, const char *what, uint64_t off, uint64_t len);
/* An L2 table, which stays in c->table, and what it points to. */
int check_add_l2(struct check *c, uint64_t off) attr_must_check;
/* An L1 table, the active one or a snapshot's, and all below it. */
int check_add_l1(struct check *c, uint64_t l1, uint32_t n) attr_must_check;
int check_add_bitmaps(struct check *c) attr_must_check;

#endif
