/* SPDX-License-Identifier: ISC */
/* fuzz_history.c: a history file that somebody else made, to all that reads one. Byte 0 says what the rest is:
 * the file itself, patches (offset, value) to a sound one, or rows of values of any kind. */
#include <stdlib.h>
#include <string.h>

#include "cmd/report.h"
#include "history/query.h"
#include "monitor/core.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FILE_MAX (256 * 1024)
#define ROWS     40
#define STEPS    400 /* thousands of instructions of SQLite's: a view may be endless */

struct bytes {
	const uint8_t *p;
	size_t left;
};

static uint8_t next(struct bytes *b)
{
	return b->left ? b->left--, *b->p++ : 0;
}

static int stop(void *arg)
{
	return ++*(unsigned *)arg > STEPS;
}

static void must(sqlite3 *db, const char *sql)
{
	if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
		abort();
}

/* A history of two batches, as its writer makes it. */
static uint8_t *sound(size_t *len)
{
	uint8_t hash[2][SHA256_SIZE] = {{0}};
	sqlite3_int64 n = 0;
	uint8_t *file;
	char err[200], sql[900];
	sqlite3 *db;

	if (sqlite3_open(":memory:", &db) != SQLITE_OK || schema_create(db, err, sizeof(err)))
		abort();
	must(db,
	     "INSERT INTO run VALUES(1,'vm',1700000000000000000,2000000000,7,'soft','',1,1,'',900)");
	for (int64_t batch = 0; batch < 2; batch++) {
		int64_t first = batch * ROWS + 1;
		struct sha256 s;

		chain_begin(&s, hash[0]);
		for (int64_t i = first; i < first + ROWS; i++) {
			struct history_row r = {.seq = i,
						.t = INT64_C(1700000000000000000) + i * 1000,
						.run = 1,
						.cls = i % MON_CLASSES,
						.op = i / MON_CLASSES % 7,
						.count = 1,
						.addr = 0x3f8,
						.text = i % 3 ? "tcp 10.0.2.15:1 > 1.2.3.4:80"
							      : NULL,
						.rooted = true,
						.tsc = 1000,
						.timed = true};

			r.len = r.text ? strlen(r.text) : 0;
			chain_row(&s, &r);
			sqlite3_snprintf(
				sizeof(sql), sql,
				"INSERT INTO event VALUES(%lld,%lld,1,%lld,%lld,0,0,1016,0,"
				"0,1,0,0,0,0,%Q,0,1000)",
				(long long)r.seq, (long long)r.t, (long long)r.cls, (long long)r.op,
				r.text);
			must(db, sql);
		}
		chain_end(&s, first, first + ROWS - 1, 5, 0, hash[1]);
		sqlite3_snprintf(sizeof(sql), sql, "INSERT INTO batch VALUES(NULL,%lld,%lld,5,0,x'",
				 (long long)first, (long long)(first + ROWS - 1));
		for (unsigned k = 0; k < 2; k++) {
			for (unsigned i = 0; i < SHA256_SIZE; i++)
				sqlite3_snprintf(3, sql + strlen(sql), "%02x", hash[k][i]);
			strcat(sql, k ? "')" : "',x'");
		}
		must(db, sql);
		memcpy(hash[0], hash[1], SHA256_SIZE);
	}
	must(db, "INSERT INTO span SELECT seq>>13,min(t),max(t) FROM event GROUP BY 1");
	file = sqlite3_serialize(db, "main", &n, 0);
	if (!file)
		abort();
	sqlite3_close(db);
	*len = (size_t)n;
	return file;
}

static void bind_any(sqlite3_stmt *st, int i, struct bytes *in)
{
	static const int64_t odd[] = {0, 1, -1, INT64_MAX, INT64_MIN, INT64_C(1) << 32, ROWS, 255};
	uint8_t how = next(in);
	size_t n = MIN((size_t)(how >> 3), in->left);

	switch (how & 7) {
	case 0:
		sqlite3_bind_null(st, i);
		return;
	case 1:
		sqlite3_bind_double(st, i, how * 1e300);
		return;
	case 2:
		sqlite3_bind_text(st, i, (const char *)in->p, (int)n, SQLITE_TRANSIENT);
		break;
	case 3:
		sqlite3_bind_blob(st, i, in->p, (int)n, SQLITE_TRANSIENT);
		break;
	case 4:
		sqlite3_bind_int64(st, i, odd[how >> 3 & 7]);
		return;
	default:
		sqlite3_bind_int64(st, i, how >> 3);
		return;
	}
	in->p += n;
	in->left -= n;
}

static void add_rows(sqlite3 *db, struct bytes *in)
{
	static const struct {
		const char *sql;
		int columns;
	} into[] = {
		{"INSERT OR REPLACE INTO event VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", 18},
		{"INSERT OR REPLACE INTO batch VALUES(?,?,?,?,?,?,?)", 7},
		{"INSERT OR REPLACE INTO run VALUES(?,?,?,?,?,?,?,?,?,?,?)", 11},
		{"INSERT OR REPLACE INTO span VALUES(?,?,?)", 3},
	};

	for (unsigned rows = 0; in->left && rows < 100; rows++) {
		unsigned k = next(in) % ARRAY_SIZE(into);
		sqlite3_stmt *st;

		if (sqlite3_prepare_v2(db, into[k].sql, -1, &st, NULL) != SQLITE_OK)
			abort(); /* the tables have other columns now */
		for (int i = 1; i <= into[k].columns; i++)
			bind_any(st, i, in);
		sqlite3_step(st);
		sqlite3_finalize(st);
	}
}

static void see(void *arg, const struct history_row *r)
{
	char text[500];

	history_describe(r, text, sizeof(text));
	history_op_name(r->cls, r->op);
}

static void read_all(sqlite3 *db)
{
	static const struct history_filter filters[] = {
		{.device = -1, .space = -1},
		{.device = 0, .device_end = 0xffff, .space = -1, .limit = 5},
		{.device = -1, .space = 4096, .text = "a%"},
		{.device = -1, .space = -1, .net = "10.0.0.0/8", .op = "dns"},
		{.device = -1, .space = -1, .since = 2, .until = 1700000000000020000},
		{.device = -1, .space = -1, .device_name = "net1"},
	};
	const struct history_filter all = filters[0];
	struct history_check c;
	struct msg msg = {""};
	char err[300];

	for (unsigned i = 0; i < ARRAY_SIZE(filters); i++)
		if (history_each(db, &filters[i], see, NULL, err, sizeof(err)))
			continue;
	if (history_verify(db, &c) && !c.text[0])
		abort(); /* it does not say where */
	if (report_html(db, "fuzz", "/dev/null", &msg) | report_pcap(db, &all, "/dev/null", &msg))
		return;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t *whole, copy[FILE_MAX];
	static size_t whole_len;
	struct bytes in = {data, size};
	uint8_t mode = next(&in) % 3;
	size_t len = whole_len;
	unsigned steps = 0;
	char err[200];
	sqlite3 *db;

	if (!whole)
		whole = sound(&whole_len);
	len = mode ? whole_len : MIN(in.left, (size_t)FILE_MAX);
	memcpy(copy, mode ? whole : in.p, len);
	while (mode == 1 && in.left) {
		size_t at = (size_t)next(&in) << 8;

		at = (at | next(&in)) << (whole_len > 65536);
		copy[at % len] = next(&in);
	}
	if (!len || sqlite3_open(":memory:", &db) != SQLITE_OK)
		return 0;
	sqlite3_progress_handler(db, 1000, stop, &steps);
	if (sqlite3_deserialize(db, "main", copy, (sqlite3_int64)len, sizeof(copy), 0) ==
	    SQLITE_OK) {
		if (mode == 2)
			add_rows(db, &in);
		if (!history_attach(db, err, sizeof(err)))
			read_all(db);
	}
	sqlite3_close(db);
	return 0;
}
