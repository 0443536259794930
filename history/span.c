/* SPDX-License-Identifier: ISC */
/* span.c: which times the records have, by parts of 8192, so that whoever asks for a time looks at those parts only.
 * Records are in order by number, and nearly so by time: counted ones come late, and a clock may be set. An index by
 * time would take as much as a quarter of the file; this is a row for each part:
 *
 *	id = seq / 8192		t0, t1: the earliest and the latest of its records
 *
 * A writer keeps that of the last part up to date, in the transaction of each batch. The table is in no hash, but has
 * to be right: history_verify() looks at it. Used by the writer's thread, and by readers in processes of their own. */
#include "history/span.h"

#include <stdio.h>

#include "history/schema.h"

/* ---- writing -------------------------------------------------------------------------------------------- */

void span_add(struct span *s, int64_t seq, int64_t t)
{
	if (s->id != SPAN_OF(seq))
		*s = (struct span){SPAN_OF(seq), t, t};
	s->from = MIN(s->from, t);
	s->to = MAX(s->to, t);
}

bool span_ends(int64_t seq)
{
	return SPAN_OF(seq + 1) != SPAN_OF(seq);
}

int span_read(sqlite3 *db, int64_t seq, struct span *s)
{
	sqlite3_stmt *st;
	int rc;

	*s = (struct span){.id = -1};
	if (sqlite3_prepare_v2(db, "SELECT id,t0,t1 FROM main.span WHERE id=?", -1, &st, NULL) !=
	    SQLITE_OK)
		return ERR_IO;
	sqlite3_bind_int64(st, 1, SPAN_OF(seq));
	rc = sqlite3_step(st);
	if (rc == SQLITE_ROW)
		*s = (struct span){sqlite3_column_int64(st, 0), sqlite3_column_int64(st, 1),
				   sqlite3_column_int64(st, 2)};
	sqlite3_finalize(st);
	return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : ERR_IO;
}

/* The first number from that one on that a record has; -1: none. */
static int64_t next_seq(sqlite3_stmt *st, int64_t from)
{
	int64_t seq = -1;

	sqlite3_bind_int64(st, 1, from);
	if (sqlite3_step(st) == SQLITE_ROW)
		seq = sqlite3_column_int64(st, 0);
	sqlite3_reset(st);
	return seq;
}

int span_make(sqlite3 *db)
{
	sqlite3_stmt *next = NULL, *put = NULL;
	bool bad = sqlite3_prepare_v2(db, "SELECT seq FROM event WHERE seq>=? ORDER BY seq LIMIT 1",
				      -1, &next, NULL) != SQLITE_OK ||
		   sqlite3_prepare_v2(
			   db,
			   "INSERT OR REPLACE INTO span SELECT ?1, min(t), max(t) FROM event "
			   "WHERE seq BETWEEN ?1*8192 AND ?1*8192+8191",
			   -1, &put, NULL) != SQLITE_OK;
	int64_t seq = 0;

	_Static_assert(SPAN_BITS == 13, "8192");
	while (!bad && (seq = next_seq(next, seq)) >= 0 && seq <= SPAN_SEQ_MAX) {
		sqlite3_bind_int64(put, 1, SPAN_OF(seq));
		bad = sqlite3_step(put) != SQLITE_DONE;
		sqlite3_reset(put);
		seq = (SPAN_OF(seq) + 1) << SPAN_BITS;
	}
	sqlite3_finalize(next);
	sqlite3_finalize(put);
	return bad ? ERR_IO : 0;
}

/* ---- asking --------------------------------------------------------------------------------------------- */

void span_bounds(sqlite3 *db, int64_t since, int64_t until, int64_t *first, int64_t *last)
{
	sqlite3_stmt *st;
	int64_t lo, hi;

	*first = 0;
	*last = INT64_MAX;
	if (sqlite3_prepare_v2(db, "SELECT min(id), max(id) FROM main.span WHERE t1>=?1 AND t0<=?2",
			       -1, &st, NULL) != SQLITE_OK)
		return;
	sqlite3_bind_int64(st, 1, since);
	sqlite3_bind_int64(st, 2, until ? until : INT64_MAX);
	if (sqlite3_step(st) == SQLITE_ROW) {
		/* of a file that somebody has changed, numbers may be any */
		lo = MIN(MAX(sqlite3_column_int64(st, 0), INT64_C(0)), SPAN_OF(SPAN_SEQ_MAX));
		hi = MIN(MAX(sqlite3_column_int64(st, 1), INT64_C(-1)), SPAN_OF(SPAN_SEQ_MAX));
		*first = lo << SPAN_BITS;
		*last = sqlite3_column_type(st, 1) == SQLITE_NULL ? 0 /* no part has such times */
								  : ((hi + 1) << SPAN_BITS) - 1;
	}
	sqlite3_finalize(st);
}
