/* SPDX-License-Identifier: ISC */
/* history_rig.h: a history that tests write, change by SQL and look into. */
#ifndef TESTS_UNIT_HISTORY_RIG_H
#define TESTS_UNIT_HISTORY_RIG_H

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
/* order matters */
#include <cmocka.h>

#include "history/history.h"
#include "history/query.h"

static char path[64];

static inline void forget(void)
{
	static const char *const parts[] = {"", "-wal", "-shm", "-lock"};
	char name[128];

	for (unsigned i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "%s%s", path, parts[i]);
		unlink(name);
	}
}

/* n events in full, through rings, thread and file. */
static inline void run(unsigned n, uint64_t max_bytes)
{
	struct monitor mon = {0};
	struct mon_core *core = calloc(1, sizeof(*core));
	struct history_config cfg = {.path = path,
				     .name = "t",
				     .engine = "none",
				     .cpu = "",
				     .version = "",
				     .max_bytes = max_bytes};
	struct history_stats st;
	struct history *h;
	char err[200] = "";

	assert_non_null(core);
	assert_int_equal(mon_core_init(core, &mon, 1, true), 0);
	if (history_open(&cfg, core, &h, err, sizeof(err)))
		fail_msg("%s", err);
	assert_int_equal(history_start(h), 0);
	mon_core_set_tier(core, MON_PORT, MON_LOSSLESS);
	mon_core_note(core, &(struct mon_event){
				    .cls = MON_LIFECYCLE, .data = "hello \xff\x01", .len = 8});
	for (unsigned i = 0; i < n; i++) {
		struct mon_event ev = {
			.cls = MON_PORT, .op = 1, .size = 1, .addr = 0x3f8, .value = i};

		mon_tell(&mon, &ev);
	}
	history_stats(h, &st);
	assert_int_equal(st.dropped, 0);
	history_close(h);
	mon_core_fini(core);
	free(core);
}

struct count {
	unsigned n;
	int64_t value;
};

static inline sqlite3 *db_open(bool write)
{
	sqlite3 *db;
	char err[200];

	if (!write) {
		if (history_read(path, &db, err, sizeof(err)))
			fail_msg("%s", err);
	} else {
		assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	}
	return db;
}

static inline void check(bool intact, const char *what)
{
	struct history_check c;
	sqlite3 *db = db_open(false);
	int err = history_verify(db, &c);

	if (intact && err)
		fail_msg("%s", c.text);
	if (!intact && (err != ERR_FORMAT || !strstr(c.text, what)))
		fail_msg("%d %s, expected %s", err, c.text, what);
	sqlite3_close(db);
}

static inline void change(const char *sql)
{
	sqlite3 *db = db_open(true);

	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

static inline int64_t number(const char *sql)
{
	sqlite3 *db = db_open(false);
	sqlite3_stmt *st;
	int64_t v;

	assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(st), SQLITE_ROW);
	v = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	sqlite3_close(db);
	return v;
}

static inline void ask_is(sqlite3 *db, const char *sql, const char *want)
{
	sqlite3_stmt *st;

	if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK)
		fail_msg("%s: %s", sql, sqlite3_errmsg(db));
	assert_int_equal(sqlite3_step(st), SQLITE_ROW);
	assert_string_equal(sqlite3_column_text(st, 0), want);
	sqlite3_finalize(st);
}

static inline void count_any(void *arg, const struct history_row *r)
{
	++*(unsigned *)arg;
}

#define NO_VIEWS                                                                          \
	"DROP VIEW disk_requests; DROP VIEW net_flows; DROP VIEW dns; DROP VIEW console;" \
	"DROP VIEW screens; DROP VIEW counters; DROP VIEW operator; DROP VIEW verdicts;"  \
	"DROP VIEW exceptions; DROP VIEW spaces; DROP VIEW events;"
#define NO_SPANS "DROP TABLE span; PRAGMA user_version=4;"

#define NO_TIMES \
	NO_SPANS \
	"ALTER TABLE event DROP COLUMN tsc; ALTER TABLE run DROP COLUMN tsc; PRAGMA user_version=3;"
#define NO_ROOTS "ALTER TABLE event DROP COLUMN root; PRAGMA user_version=2;"

static inline void rig_begin(void)
{
	snprintf(path, sizeof(path), "/tmp/vigia-test-%d.history", (int)getpid());
}

#endif
