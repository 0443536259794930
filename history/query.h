/* SPDX-License-Identifier: ISC */
/* query.h: reading a history file, also while a VM writes it. Hosted; a reader's own thread. */
#ifndef HISTORY_QUERY_H
#define HISTORY_QUERY_H

#include <stdio.h>

#include "history/schema.h"

/* Opens for reading; SQL gets the function net_match(text, 'ADDRESS/BITS'). err: for people. */
int history_read(const char *path, sqlite3 **out, char *err, size_t size) attr_must_check;

/* The rest of it, for a file that is open in another way. */
int history_attach(sqlite3 *db, char *err, size_t size) attr_must_check;

struct history_filter {
	int64_t since, until; /* ns since 1970; 0: no bound */
	const char *cls;      /* NULL: all */
	int64_t device;       /* first address; -1: any */
	int64_t device_end;
	const char *device_name;     /* "disk0"; NULL: any */
	const char *text, *net, *op; /* NULL: any */
	int64_t space;               /* a page-table root; -1: any */
	int64_t run;                 /* 0: all */
	int64_t after;               /* seq beyond it */
	int64_t limit;               /* the last so many; 0: all */
};

/* Calls fn for each row that passes, oldest first; ERR_INVAL with err for a bad filter. */
int history_each(sqlite3 *db, const struct history_filter *f,
		 void (*fn)(void *arg, const struct history_row *r), void *arg, char *err,
		 size_t size) attr_must_check;

/* The last record's number; 0: there is none. */
int64_t history_newest(sqlite3 *db);

/* From now on all that is asked of this connection, views too, sees only what passes (but for the limit). */
int history_narrow(sqlite3 *db, const struct history_filter *f, char *err,
		   size_t size) attr_must_check;

/* Makes a text what a terminal may show: controls, what is no UTF-8, and with ascii all that is not ASCII, become dots. */
void history_printable(char *s, bool ascii);
/* One line about a row, without time: printable. */
void history_describe(const struct history_row *r, char *text, size_t size);
const char *history_op_name(int64_t cls, int64_t op); /* "" where it has none */

struct history_check {
	uint64_t batches, rows, dropped;
	uint8_t head[SHA256_SIZE]; /* of the last batch: note it elsewhere to prove the end */
	char text[200];            /* where it breaks; "" when intact */
	bool pruned;               /* the oldest batches are gone, as retention does */
};
/* 0 intact, ERR_FORMAT where it breaks, ERR_IO. */
int history_verify(sqlite3 *db, struct history_check *out) attr_must_check;

/* A time as people say it, in ns since 1970: "10m", "1h 30min ago", "now", "today", "yesterday 18:00", "18:00",
 * "2026-11-20", "2026-11-20 12:30:00.25" (the machine's zone, or UTC; or with one: Z, UTC, +01:00), "@SECONDS" since 1970.
 * ERR_INVAL where it is none. */
int history_time(const char *s, int64_t now, bool utc, int64_t *out) attr_must_check;
/* "2026-11-20 12:30:00.250000" */
void history_time_text(int64_t t, bool utc, char *buf, size_t size);

#endif
