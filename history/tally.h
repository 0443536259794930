/* SPDX-License-Identifier: ISC */
/* tally.h: what there is of each kind in a history, in one pass over its rows. Hosted; a reader's own thread. */
#ifndef HISTORY_TALLY_H
#define HISTORY_TALLY_H

#include "history/query.h"

/* Makes the table tally(what, a, b, c, d, n, sum, part, most) of this connection, of all that its filter lets through,
 * one row for each kind; n is how many, most the longest in ns:
 *
 *	what		a	b	c	d	sum		part
 *	class		class	bucket			records			of buckets from the first to the last time
 *	device		class	op	address		-			port, mmio, msr, cpuid, irq
 *	disk		run	disk	op		bytes
 *	space		run	root			ns		in user mode	low 12 bits are left out
 *	exception	run	op
 *	verdict		class	op	verdict	rule
 *
 * err: for people. */
int history_tally(sqlite3 *db, unsigned buckets, char *err, size_t size) attr_must_check;
/* The first and the last time, ns since 1970; 0 where there is nothing. */
void history_span(sqlite3 *db, int64_t *from, int64_t *to);

#endif
