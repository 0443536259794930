/* SPDX-License-Identifier: ISC */
/* schema.h: the tables of a history file (doc/history.md), and the hash over its batches. Hosted. */
#ifndef HISTORY_SCHEMA_H
#define HISTORY_SCHEMA_H

#include <sqlite3.h>

#include "base/def.h"
#include "base/err.h"
#include "history/sha256.h"

#define HISTORY_SCHEMA      2          /* PRAGMA user_version; 1 has other views */
#define HISTORY_APPLICATION 0x56494741 /* PRAGMA application_id: "VIGA" */

/* One row of the table event. Signed as SQLite has it. */
struct history_row {
	int64_t seq, t, run, cls, op, vcpu, rip, addr, value, size, count, sum, result, verdict,
		rule;
	bool frame;       /* text is a frame's bytes */
	const char *text; /* NULL: none */
	size_t len;
};
#define HISTORY_COLUMNS \
	"seq,t,run,cls,op,vcpu,rip,addr,value,size,count,sum,result,verdict,rule,text"

/* Makes the tables where they are not there. */
int schema_create(sqlite3 *db, char *err, size_t size) attr_must_check;
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
