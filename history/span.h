/* SPDX-License-Identifier: ISC */
/* span.h: the times of the records, by parts of the table event. Hosted. */
#ifndef HISTORY_SPAN_H
#define HISTORY_SPAN_H

#include <sqlite3.h>

#include "base/def.h"
#include "base/err.h"

#define SPAN_BITS    13
#define SPAN_OF(seq) ((seq) >> SPAN_BITS)
#define SPAN_SEQ_MAX INT64_C(0x3fffffffffffffff)

struct span {
	int64_t id;       /* of the records from id << SPAN_BITS on; -1: of none */
	int64_t from, to; /* ns since 1970 */
};

/* Takes a record in; one of another part begins anew. */
void span_add(struct span *s, int64_t seq, int64_t t);
/* Is the record the last of its part? */
bool span_ends(int64_t seq);
/* That of the part with that record, id -1 where there is none; ERR_IO. */
int span_read(sqlite3 *db, int64_t seq, struct span *s) attr_must_check;
/* Of all records that are there, in a table that is empty; ERR_IO. */
int span_make(sqlite3 *db) attr_must_check;
/* Numbers between which all records are that have such times (until: 0: no bound); others may be, too. A file without
 * the table (before version 5): all numbers. */
void span_bounds(sqlite3 *db, int64_t since, int64_t until, int64_t *first, int64_t *last);

#endif
