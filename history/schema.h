/* SPDX-License-Identifier: ISC */
/* schema.h: the tables of a history file (doc/history.md), and the hash over its batches. Hosted. */
#ifndef HISTORY_SCHEMA_H
#define HISTORY_SCHEMA_H

#include <sqlite3.h>

#include "base/def.h"
#include "base/err.h"
#include "history/sha256.h"

#define HISTORY_SCHEMA \
	5 /* PRAGMA user_version; 1 and 2 have no column root, 3 no tsc, 4 no table span */
#define HISTORY_APPLICATION 0x56494741 /* PRAGMA application_id: "VIGA" */

/* One row of the table event. Signed as SQLite has it. */
struct history_row {
	int64_t seq, t, run, cls, op, vcpu, rip, addr, value, size, count, sum, result, verdict,
		rule;
	int64_t root, tsc;
	bool rooted;      /* root is there: rows of earlier versions have none */
	bool timed;       /* likewise tsc */
	bool frame;       /* text is bytes: a frame, a picture */
	bool odd;         /* the file has values of a kind that no writer gives them */
	const char *text; /* NULL: none */
	size_t len;
};
#define HISTORY_COLUMNS \
	"seq,t,run,cls,op,vcpu,rip,addr,value,size,count,sum,result,verdict,rule,text,root,tsc"
/* After schema_modern(): from now on queries and views of this connection see only what the filter,
 * " FROM event WHERE …", lets through. */
int schema_narrow(sqlite3 *db, const char *filter, char *err, size_t size) attr_must_check;
int64_t schema_version(sqlite3 *db);
/* For a reader: names and views are this program's, not those of the file; one of an older version looks like one of
 * today's, with NULL in what it has not. */
int schema_modern(sqlite3 *db, char *err, size_t size) attr_must_check;
/* Is the text of such a row bytes? */
bool schema_has_bytes(int64_t cls, int64_t op);

/* Makes the tables where they are not there. */
int schema_create(sqlite3 *db, char *err, size_t size) attr_must_check;
/* What a file that somebody else made may not do. */
void schema_harden(sqlite3 *db);
/* Nothing was ever put into it: its writer has not made the tables yet. */
bool schema_empty(sqlite3 *db);
/* By its header alone, which is quick: ERR_FORMAT where it is neither empty nor a history that this program knows. */
int schema_known(sqlite3 *db, char *err, size_t size) attr_must_check;
/* ERR_FORMAT where it is not a history, or of a later version. */
int schema_check(sqlite3 *db, char *err, size_t size) attr_must_check;

const char *schema_op_name(uint8_t cls, uint8_t op); /* "" where it has none */

/* The chain: each batch's hash is over the one before, its numbers and its rows. */
void chain_begin(struct sha256 *s, const uint8_t prev[SHA256_SIZE]);
void chain_row(struct sha256 *s, const struct history_row *r);
void chain_end(struct sha256 *s, int64_t first, int64_t last, int64_t t, int64_t dropped,
	       uint8_t out[SHA256_SIZE]);

/* A row by its statement that selects HISTORY_COLUMNS. */
void schema_read_row(sqlite3_stmt *st, struct history_row *r);

#endif
