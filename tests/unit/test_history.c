/* SPDX-License-Identifier: ISC */
/* test_history.c: SHA-256, what is written is read, the chain breaks where somebody changes it, bounds
 * hold, a later run goes on. */
#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
/* order matters */
#include <cmocka.h>

#include "history/history.h"
#include "history/tally.h"

static char path[64];

static void forget(void)
{
	static const char *const parts[] = {"", "-wal", "-shm", "-lock"};
	char name[128];

	for (unsigned i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "%s%s", path, parts[i]);
		unlink(name);
	}
}

static void test_sha256(void **state)
{
	static const uint8_t abc[4] = {0xba, 0x78, 0x16, 0xbf},
			     million[4] = {0xcd, 0xc7, 0x6e, 0x5c};
	struct sha256 s, words;
	uint8_t out[SHA256_SIZE], same[SHA256_SIZE], data[300];

	/* by instructions and without, at all lengths */
	for (unsigned n = 0; n < sizeof(data); n++) {
		data[n] = (uint8_t)(n * 151 + 7);
		sha256_init(&s);
		sha256_init(&words);
		words.by_instructions = false;
		sha256_update(&s, data, n);
		sha256_update(&words, data, n / 2);
		sha256_update(&words, data + n / 2, n - n / 2);
		sha256_final(&s, out);
		sha256_final(&words, same);
		assert_memory_equal(out, same, SHA256_SIZE);
	}
	sha256_init(&s);
	sha256_update(&s, "abc", 3);
	sha256_final(&s, out);
	assert_memory_equal(out, abc, 4);
	sha256_init(&s);
	for (unsigned i = 0; i < 100000; i++)
		sha256_update(&s, "aaaaaaaaaa", 10);
	sha256_final(&s, out);
	assert_memory_equal(out, million, 4);
}

/* n events in full, through rings, thread and file. */
static void run(unsigned n, uint64_t max_bytes)
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

/* A run whose thread makes the tables, after it is open; hold: another connection has the file locked while it starts. */
static void run_later(sqlite3 *hold, bool started, int64_t failures)
{
	struct monitor mon = {0};
	struct mon_core *core = calloc(1, sizeof(*core));
	struct history_config cfg = {.path = path,
				     .name = "later",
				     .engine = "none",
				     .cpu = "",
				     .version = "",
				     .later = true};
	struct history_stats st;
	struct history *h;
	char err[200] = "";

	assert_non_null(core);
	assert_int_equal(mon_core_init(core, &mon, 1, true), 0);
	if (history_open(&cfg, core, &h, err, sizeof(err)))
		fail_msg("%s", err);
	if (hold)
		assert_int_equal(sqlite3_exec(hold, "BEGIN IMMEDIATE", NULL, NULL, NULL),
				 SQLITE_OK);
	if (started)
		assert_int_equal(history_start(h), 0);
	mon_core_note(core, &(struct mon_event){.cls = MON_LIFECYCLE, .data = "late", .len = 4});
	history_stats(h, &st);
	for (unsigned i = 0; i < 1000 && (int64_t)st.failures < failures; i++) {
		usleep(10000);
		history_stats(h, &st);
	}
	assert_true((int64_t)st.failures >= failures);
	if (hold)
		assert_int_equal(sqlite3_exec(hold, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
	history_close(h);
	mon_core_fini(core);
	free(core);
}

static sqlite3 *db_open(bool write)
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

struct count {
	unsigned n;
	int64_t value;
};

static void count_row(void *arg, const struct history_row *r)
{
	struct count *c = arg;

	assert_int_equal(r->value, c->value++);
	c->n++;
}

static void check(bool intact, const char *what)
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

static void change(const char *sql)
{
	sqlite3 *db = db_open(true);

	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

static int64_t number(const char *sql)
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

static void test_write_read(void **state)
{
	struct history_filter f = {.cls = "port", .device = -1, .space = -1};
	struct count c = {0};
	char err[200];
	sqlite3 *db;

	forget();
	run(20000, 0);
	db = db_open(false);
	assert_int_equal(history_each(db, &f, count_row, &c, err, sizeof(err)), 0);
	assert_int_equal(c.n, 20000);
	assert_int_equal(history_newest(db), number("SELECT count(*) FROM event"));
	f.limit = 10;
	c = (struct count){0, 19990};
	assert_int_equal(history_each(db, &f, count_row, &c, err, sizeof(err)), 0);
	assert_int_equal(c.n, 10);
	f.cls = "nonsense";
	assert_int_equal(history_each(db, &f, count_row, &c, err, sizeof(err)), ERR_INVAL);
	sqlite3_close(db);
	check(true, "");
	/* a second run goes on with the chain */
	run(10, 0);
	check(true, "");
}

/* Tables that the thread makes: nothing is lost, also where that fails at first, or the thread never ran. */
static void test_later(void **state)
{
	static const char late[] = "SELECT count(*) FROM event WHERE text='late'";
	char err[200] = "";
	sqlite3 *db;

	for (unsigned started = 0; started < 2; started++) {
		forget();
		run_later(NULL, started, 0);
		check(true, "");
		assert_int_equal(number(late), 1);
	}
	/* in a file that is there already */
	run_later(NULL, true, 0);
	check(true, "");
	assert_int_equal(number(late), 2);
	assert_int_equal(number("SELECT count(*) FROM run WHERE name='later'"), 2);
	/* it is locked for longer than anybody waits */
	db = db_open(true);
	run_later(db, true, 1);
	sqlite3_close(db);
	check(true, "");
	assert_int_equal(number(late), 3);
	/* What is no history is refused at once, and what is one without a table is left as it is. */
	forget();
	change("CREATE TABLE other(a)");
	assert_int_equal(history_open(&(struct history_config){.path = path, .later = true}, NULL,
				      &(struct history *){NULL}, err, sizeof(err)),
			 ERR_FORMAT);
	assert_non_null(strstr(err, "not a history"));
	forget();
	run(1, 0);
	change("DROP TABLE batch");
	run_later(NULL, true, 1);
	db = db_open(true);
	assert_int_not_equal(sqlite3_exec(db, "SELECT * FROM batch", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	forget();
}

/* A reader that comes before the tables are there waits for them. */
static void *make_tables(void *arg)
{
	usleep(200000);
	run_later(NULL, true, 0);
	return arg;
}

static void test_early_reader(void **state)
{
	pthread_t maker;
	char err[200];
	sqlite3 *db;

	forget();
	db = db_open(true);
	assert_int_equal(sqlite3_exec(db, "PRAGMA journal_mode=WAL", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	assert_int_equal(pthread_create(&maker, NULL, make_tables, NULL), 0);
	assert_int_equal(history_read(path, &db, err, sizeof(err)), 0);
	sqlite3_close(db);
	assert_int_equal(pthread_join(maker, NULL), 0);
	forget();
}

static void test_views(void **state)
{
	static const char *const views[] = {"events",  "disk_requests", "net_flows", "dns",
					    "console", "counters",      "operator",  "verdicts",
					    "spaces",  "screens"};
	sqlite3 *db = db_open(false);

	for (unsigned i = 0; i < ARRAY_SIZE(views); i++) {
		char sql[64];

		snprintf(sql, sizeof(sql), "SELECT count(*) FROM %s", views[i]);
		if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
			fail_msg("%s: %s", views[i], sqlite3_errmsg(db));
	}
	sqlite3_close(db);
}

static void test_tampering(void **state)
{
	static const struct {
		const char *sql, *what;
	} cases[] = {
		{"UPDATE event SET value=value+1 WHERE seq=100", "changed"},
		{"DELETE FROM event WHERE seq=100", "missing"},
		{"UPDATE event SET text='bye' WHERE seq=1", "changed"},
		{"UPDATE event SET tsc=tsc+1 WHERE seq=100", "changed"},
		{"UPDATE event SET tsc=NULL WHERE seq=100", "changed"},
		{"UPDATE event SET vcpu=vcpu||'x' WHERE seq=100", "another kind"},
		{"UPDATE event SET tsc=tsc||'x' WHERE seq=100", "another kind"},
		{"UPDATE event SET text=5 WHERE seq=100", ""},
		{"UPDATE batch SET dropped=7 WHERE id=1", "changed"},
		{"DELETE FROM batch WHERE id=2", ""},
		{"INSERT INTO event(seq,t,cls) VALUES(9999999,1,1)", "no batch"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		forget();
		run(34000, 0); /* two batches at least */
		check(true, "");
		change(cases[i].sql);
		check(false, cases[i].what);
	}
}

/* Runs that are too short for the writer to look at the bounds in between. */
static void test_size(void **state)
{
	int64_t full;

	forget();
	run(20000, 2 * MIB);
	full = number("SELECT count(*) FROM event");
	for (unsigned i = 0; i < 9; i++)
		run(20000, 2 * MIB);
	assert_in_range(number("SELECT count(*) FROM event"), full, 4 * full);
	assert_in_range(number("SELECT max(seq) FROM event"), 10 * full - 100, 11 * full);
	check(true, "");
}

/* What is older than it may be goes, and nothing else. */
static void test_age(void **state)
{
	int64_t old;

	forget();
	run(100, 0);
	old = number("SELECT max(seq) FROM event");
	change("UPDATE batch SET t=t-1000000000*86400*31");
	run(100, 0);
	assert_int_equal(number("SELECT min(seq) FROM event"), old + 1);
	assert_int_equal(number("SELECT min(first) FROM batch"), old + 1);
	check(true, "");
	/* of 29 days it stays */
	change("UPDATE batch SET t=t-1000000000*86400*29");
	run(100, 0);
	assert_int_equal(number("SELECT min(seq) FROM event"), old + 1);
}

/* The host's clock, which somebody sets */
static _Atomic int64_t ahead;
uint64_t __real_plat_realtime(void);
uint64_t __wrap_plat_realtime(void);
uint64_t __wrap_plat_realtime(void)
{
	return __real_plat_realtime() + (uint64_t)atomic_load(&ahead);
}

static bool noted(const char *text)
{
	char sql[200];

	snprintf(sql, sizeof(sql), "SELECT count(*) FROM event WHERE cls=0 AND text LIKE '%s%%'",
		 text);
	for (unsigned i = 0; i < 3000 && !number(sql); i++)
		usleep(10000);
	return number(sql) > 0;
}

/* From when it is set on, times are its own. */
static void test_clock(void **state)
{
	struct monitor mon = {0};
	struct mon_core *core = calloc(1, sizeof(*core));
	struct history_config cfg = {
		.path = path, .name = "t", .engine = "none", .cpu = "", .version = ""};
	struct history *h;
	char err[200] = "";
	int64_t begun = (int64_t)__real_plat_realtime();

	forget();
	assert_non_null(core);
	assert_int_equal(mon_core_init(core, &mon, 1, true), 0);
	assert_int_equal(history_open(&cfg, core, &h, err, sizeof(err)), 0);
	assert_int_equal(history_start(h), 0);
	atomic_store(&ahead, INT64_C(86400) * (int64_t)NS_PER_SEC);
	assert_true(noted("the host''s clock went forward by 86400."));
	assert_true(number("SELECT max(t) FROM event") - begun >
		    INT64_C(86400) * (int64_t)NS_PER_SEC);
	atomic_store(&ahead, 0);
	assert_true(noted("the host''s clock went back by 86"));
	mon_core_note(core, &(struct mon_event){.cls = MON_LIFECYCLE, .data = "last", .len = 4});
	history_close(h);
	assert_true(number("SELECT t FROM event WHERE text='last'") - begun <
		    INT64_C(3600) * (int64_t)NS_PER_SEC);
	check(true, "");
	mon_core_fini(core);
	free(core);
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

/* What older versions have written stays what it was, hash and all, and goes on. */
static void test_old_version(void **state)
{
	static const char *const older[] = {NO_VIEWS NO_TIMES, NO_VIEWS NO_TIMES NO_ROOTS};

	for (unsigned i = 0; i < ARRAY_SIZE(older); i++) {
		struct history_filter f = {.cls = "port", .device = -1, .space = 4096};
		struct count c = {0};
		char err[200];
		sqlite3 *db;

		forget();
		run(1, 0);
		change(older[i]);
		check(false, "changed"); /* these rows were hashed with a time and a root */
		forget();
		run(0, 0);
		/* what an older writer made of no rows at all */
		change("DELETE FROM event; DELETE FROM batch;");
		change(older[i]);
		check(true, "");
		run(100, 0);
		check(true, "");
		db = db_open(false);
		assert_int_equal(history_each(db, &f, count_row, &c, err, sizeof(err)), 0);
		assert_int_equal(c.n, 0);
		f.space = 0;
		assert_int_equal(history_each(db, &f, count_row, &c, err, sizeof(err)), 0);
		assert_int_equal(c.n, 100);
		assert_int_equal(schema_version(db), HISTORY_SCHEMA);
		sqlite3_close(db);
	}
}

static void ask_is(sqlite3 *db, const char *sql, const char *want)
{
	sqlite3_stmt *st;

	if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK)
		fail_msg("%s: %s", sql, sqlite3_errmsg(db));
	assert_int_equal(sqlite3_step(st), SQLITE_ROW);
	assert_string_equal(sqlite3_column_text(st, 0), want);
	sqlite3_finalize(st);
}

static void count_any(void *arg, const struct history_row *r)
{
	++*(unsigned *)arg;
}

/* What a filter by time gives, and what looking at each row gives. */
static void times_agree(sqlite3 *db, int64_t since, int64_t until)
{
	const struct history_filter f = {.device = -1, .space = -1, .since = since, .until = until};
	char err[200] = "", sql[200], want[24];
	sqlite3 *narrow;
	unsigned n = 0;

	assert_int_equal(history_each(db, &f, count_any, &n, err, sizeof(err)), 0);
	snprintf(sql, sizeof(sql), "SELECT count(*) FROM event WHERE t>=%lld AND t<=%lld",
		 (long long)since, (long long)(until ? until : INT64_MAX));
	snprintf(want, sizeof(want), "%u", n);
	ask_is(db, sql, want);
	narrow = db_open(false);
	assert_int_equal(history_narrow(narrow, &f, err, sizeof(err)), 0);
	ask_is(narrow, "SELECT count(*) FROM event", want);
	sqlite3_close(narrow);
}

/* Times by parts: records that come late, clocks that go back, a file of before, one that somebody has changed. */
static void test_spans(void **state)
{
	static const char *const changes[] = {
		"UPDATE span SET t0=t0+100000 WHERE id=1",
		"UPDATE span SET t1=t1-100000 WHERE id=2",
		"DELETE FROM span WHERE id=0",
	};
	static const char *const odd =
		"UPDATE event SET t=t-1000000000*(seq%7) WHERE seq%1000=0;"
		"UPDATE event SET t=t+3600000000000 WHERE seq BETWEEN 10000 AND 12000;";
	int64_t from, to, n;
	sqlite3 *db;

	forget();
	run(15000, 0);
	run(15000, 0);
	check(true, "");
	n = number("SELECT count(*) FROM span");
	assert_int_equal(n, number("SELECT max(seq)/8192+1 FROM event"));
	for (unsigned i = 0; i < ARRAY_SIZE(changes); i++) {
		change("DELETE FROM span; INSERT INTO span SELECT seq>>13,min(t),max(t) FROM event "
		       "GROUP BY 1");
		check(true, "");
		change(changes[i]);
		check(false, "span");
	}
	/* of a file of version 4 they are made */
	change(odd);
	change(NO_VIEWS NO_SPANS);
	db = db_open(false);
	times_agree(db, number("SELECT t FROM event WHERE seq=10001"), 0);
	sqlite3_close(db);
	run(1, 0);
	assert_int_equal(number("SELECT count(*) FROM span"), n);
	assert_int_equal(number("SELECT count(*) FROM span JOIN (SELECT seq>>13 AS i, min(t) AS a, "
				"max(t) AS b FROM event GROUP BY 1) ON i=id AND a=t0 AND b=t1"),
			 n);
	db = db_open(false);
	from = number("SELECT min(t) FROM event");
	to = number("SELECT max(t) FROM event");
	for (unsigned i = 0; i < 60; i++) {
		int64_t a = from + (to - from) / 300 * (rand() % 300),
			b = from + (to - from) / 300 * (rand() % 300);

		times_agree(db, i % 3 ? a : 0, i % 3 != 1 ? b : 0);
	}
	for (unsigned i = 0; i < 30; i++) { /* where there are more */
		int64_t a = number("SELECT t FROM event WHERE seq=1+abs(random())%30000");

		times_agree(db, a - 1000000, a + 1000000);
	}
	sqlite3_close(db);
	/* numbers of somebody else's are no harm */
	change("INSERT OR REPLACE INTO span VALUES(-9223372036854775807,0,9223372036854775807),"
	       "(9223372036854775807,0,9223372036854775807),(5,'a',x'00')");
	db = db_open(false);
	times_agree(db, from, to);
	sqlite3_close(db);
	change("DROP TABLE span; CREATE VIEW span AS SELECT 1 AS id, 2 AS t0, 3 AS t1");
	assert_int_equal(history_read(path, &db, (char[200]){""}, 200), ERR_FORMAT);
	forget();
}

static void see_row(void *arg, const struct history_row *r)
{
	char text[100];

	/* a text ends with a zero, whatever the file has in its place */
	if (r->text && !r->frame)
		assert_int_equal(r->text[r->len], 0);
	history_describe(r, text, sizeof(text));
	for (const char *p = text; *p; p++)
		assert_true((unsigned char)*p >= ' ' && *p != 0x7f);
	++*(unsigned *)arg;
}

/* Rows that no writer of ours makes. */
static void test_odd_rows(void **state)
{
	const struct history_filter f = {.device = -1, .space = -1};
	struct history *h;
	unsigned n = 0;
	char err[200];
	sqlite3 *db;

	forget();
	run(1, 0);
	change("INSERT INTO event(seq,cls,op,text) VALUES(100,8,3,x'61626364'),(101,8,0,'frame'),"
	       "(102,0,6,char(155,27,200)),(103,9,2,1.5),(104,-1,-1,NULL),(105,'a',x'00','b')");
	db = db_open(false);
	assert_int_equal(history_each(db, &f, see_row, &n, err, sizeof(err)), 0);
	assert_int_equal(n, 8);
	sqlite3_close(db);
	change("INSERT INTO batch VALUES(100,1,9223372036854775807,0,0,zeroblob(32),zeroblob(32))");
	check(false, "");
	/* nobody goes on counting from there */
	assert_int_equal(
		history_open(&(struct history_config){.path = path}, NULL, &h, err, sizeof(err)),
		ERR_FORMAT);
	forget();
}

static void test_bad_files(void **state)
{
	char err[200];
	sqlite3 *db;
	FILE *f;

	forget();
	assert_int_not_equal(history_read(path, &db, err, sizeof(err)), 0);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs("this is no database, but it is long enough to be looked at as one, or so", f);
	fclose(f);
	assert_int_not_equal(history_read(path, &db, err, sizeof(err)), 0);
	assert_true(err[0]);
	forget();
	change("CREATE TABLE other(a)");
	assert_int_equal(history_read(path, &db, err, sizeof(err)), ERR_FORMAT);
	forget();
	f = fopen(path, "w");
	assert_non_null(f);
	fclose(f);
	assert_int_equal(history_read(path, &db, err, sizeof(err)), ERR_FORMAT);
	assert_non_null(strstr(err, "empty"));
	forget();
}

/* It is 2023-11-14 22:13:20 UTC, a Tuesday. */
#define NOW (INT64_C(1700000000) * (int64_t)NS_PER_SEC)

struct said {
	const char *text;
	int64_t s; /* since 1970 */
};

static void times_are(const struct said *row, unsigned n, bool utc)
{
	int64_t t;

	for (unsigned i = 0; i < n; i++) {
		if (history_time(row[i].text, NOW, utc, &t))
			fail_msg("%s is refused", row[i].text);
		if (t / (int64_t)NS_PER_SEC != row[i].s)
			fail_msg("%s is %lld", row[i].text, (long long)t);
	}
}

static void zone_is(const char *tz)
{
	if (tz)
		setenv("TZ", tz, 1);
	else
		unsetenv("TZ");
	tzset();
}

/* Whatever the zone */
static void test_times(void **state)
{
	static const struct said good[] = {
		{"2026-11-30T18:44:50Z", 1796064290},
		{"2026-11-30 18:44:50 UTC", 1796064290},
		{"2026-11-30 19:44:50+01:00", 1796064290},
		{"2026-11-30T14:14-0430", 1796064240},
		{"1796064290", 1796064290},
		{"@61", 61},
		{"now", 1700000000},
		{"0s", 1700000000},
		{"10m", 1700000000 - 600},
		{" 10 min ago ", 1700000000 - 600},
		{"-10min", 1700000000 - 600},
		{"1h 30 Minutes ago", 1700000000 - 5400},
		{"1d12h", 1700000000 - 36 * 3600},
		{"2 weeks ago", 1700000000 - 14 * 86400},
		{"3 days", 1700000000 - 3 * 86400},
		{"999999999d", 0},
		{"99999999999999999999999 weeks 99999999999999999 weeks ago", 0},
	};
	static const char *const bad[] = {"",
					  " ",
					  "2026",
					  "2026-02-30",
					  "9999-01-01",
					  "10",
					  "10 x",
					  "10m x",
					  "ago",
					  "-",
					  "10 agom",
					  "@",
					  "@-5",
					  "@1x",
					  "2026-11-30 25:00",
					  "2026-11-30x",
					  "2026-11-30 ",
					  "1960-01-01",
					  "2026-11-30 1:2+5",
					  "todayx",
					  "today ",
					  "today 9",
					  "yesterday09:00",
					  "tuesday",
					  "12:30:60",
					  "12:30 x",
					  "99:00",
					  "2026-11-30 12:30 UTCx",
					  "nowx",
					  "2026-13-01"};
	static const char *const zones[] = {"UTC", "XYZ-5", "Europe/Berlin", NULL};
	int64_t t;

	for (unsigned z = 0; z < ARRAY_SIZE(zones); z++) {
		zone_is(zones[z]);
		times_are(good, ARRAY_SIZE(good), z & 1);
		for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
			if (history_time(bad[i], NOW, z & 1, &t) != ERR_INVAL)
				fail_msg("%s is taken", bad[i]);
	}
	assert_int_equal(history_time("999999999d", NOW, false, &t), 0);
	assert_int_equal(t, 1); /* not: no bound */
	zone_is(NULL);
}

/* Without a zone it is the machine's, as what is shown is; or UTC, where that is asked for. */
static void test_zones(void **state)
{
	static const struct said utc[] = {
		{"2023-11-14", 1699920000},
		{"2023-11-14 22:13:20.5", 1700000000},
		{"today", 1699920000},
		{"yesterday", 1699920000 - 86400},
		{"tomorrow", 1699920000 + 86400},
		{"yesterday 18:00", 1699920000 - 6 * 3600},
		{"12:30", 1699920000 + 12 * 3600 + 1800},
		{"12:30:05", 1699920000 + 12 * 3600 + 1805},
	};
	/* 5 hours ahead it is the day after, 03:13:20 */
	static const struct said five[] = {
		{"2023-11-14", 1699920000 - 5 * 3600},
		{"2023-11-15 03:13:20", 1700000000},
		{"2023-11-15T03:13:20Z", 1700000000 + 5 * 3600},
		{"today", 1699920000 + 19 * 3600},
		{"yesterday", 1699920000 - 5 * 3600},
		{"03:00", 1700000000 - 800},
	};
	/* clocks went back on 29 October at 01:00 UTC, and forward on 26 March at 01:00 */
	static const struct said berlin[] = {
		{"2023-10-28 12:00", 1698487200},
		{"2023-10-29", 1698530400},
		{"2023-10-30", 1698530400 + 25 * 3600},
		{"2023-10-30 12:00", 1698663600},
		{"2023-03-26", 1679785200},
		{"2023-03-27", 1679785200 + 23 * 3600},
		{"today", 1699916400},
	};
	/* the same by the rule itself, where no zones are installed */
	static const char *const zone_of_berlin = "CET-1CEST,M3.5.0,M10.5.0/3";
	char text[64];

	zone_is("UTC");
	times_are(utc, ARRAY_SIZE(utc), false);
	zone_is("XYZ-5");
	times_are(five, ARRAY_SIZE(five), false);
	times_are(utc, ARRAY_SIZE(utc), true);
	history_time_text(NOW + 84850000, false, text, sizeof(text));
	assert_string_equal(text, "2023-11-15 03:13:20.084850");
	history_time_text(NOW + 84850000, true, text, sizeof(text));
	assert_string_equal(text, "2023-11-14 22:13:20.084850");
	zone_is(zone_of_berlin);
	times_are(berlin, ARRAY_SIZE(berlin), false);
	/* what is shown is taken */
	for (int64_t t = NOW, back; t < NOW + INT64_C(400) * 86400 * (int64_t)NS_PER_SEC;
	     t += INT64_C(86399123456) * 1000) {
		history_time_text(t, false, text, sizeof(text));
		assert_int_equal(history_time(text, NOW, false, &back), 0);
		assert_int_equal(back, t);
	}
	zone_is(NULL);
}

/* What reaches a terminal */
static void test_printable(void **state)
{
	static const struct {
		const char *in, *out, *ascii;
	} rows[] = {
		{"plain ~", "plain ~", "plain ~"},
		{"a\r\nb\tc", "a  b c", "a  b c"},
		{"\033[31m\a\177", ".[31m..", ".[31m.."},
		{"gr\303\274n \346\227\245 \360\237\230\200",
		 "gr\303\274n \346\227\245 \360\237\230\200", "gr..n ... ...."},
		{"\302\23331m", "..31m", "..31m"},          /* CSI as one character */
		{"\23331m \377\376", ".31m ..", ".31m .."}, /* and as a byte */
		{"\303", ".", "."},
		{"\303\303\274", ".\303\274", "..."},
		{"\300\257 \340\200\257 \355\240\200 \364\220\200\200", ".. ... ... ....",
		 ".. ... ... ...."}, /* too long, half, beyond the last */
		{"\342\200\256txt.exe", "...txt.exe",
		 "...txt.exe"}, /* from the right to the left */
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		char text[64];

		snprintf(text, sizeof(text), "%s", rows[i].in);
		history_printable(text, false);
		assert_string_equal(text, rows[i].out);
		snprintf(text, sizeof(text), "%s", rows[i].in);
		history_printable(text, true);
		assert_string_equal(text, rows[i].ascii);
	}
}

/* Somebody has made the file say other things by what is not in the chain. */
static void test_replaced(void **state)
{
	static const char *const bad[] = {
		("ALTER TABLE event RENAME TO e; CREATE VIEW event AS WITH RECURSIVE r(n) AS (SELECT 1 UNION "
		 "ALL SELECT n+1 FROM r) SELECT n AS seq FROM r"),
		("DROP TABLE batch; CREATE VIRTUAL TABLE batch USING fts5(id,first,last,t,dropped,prev,hash)"),
		"DROP TABLE run",
	};
	char err[200];
	sqlite3 *db;

	forget();
	run(1, 0);
	change("UPDATE class SET name='entropy'; UPDATE op SET name='\033[2J';"
	       "DROP VIEW counters; CREATE VIEW counters AS SELECT 'nothing' AS class;"
	       "DROP VIEW events; CREATE VIEW events AS WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT "
	       "n+1 FROM r) SELECT n AS seq, 'x' AS class FROM r;"
	       "CREATE TRIGGER t AFTER INSERT ON event BEGIN DELETE FROM event; END");
	db = db_open(false);
	ask_is(db, "SELECT class || op FROM counters WHERE addr=0x3f8", "portwrite");
	ask_is(db, "SELECT count(*) FROM events", "2");
	sqlite3_close(db);
	check(true, "");
	run(1, 0); /* and a VM goes on with it */
	check(true, "");
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		forget();
		run(1, 0);
		change(bad[i]);
		assert_int_equal(history_read(path, &db, err, sizeof(err)), ERR_FORMAT);
	}
	forget();
}

/* A filter's text is no pattern, and a process is all that its root stands for. */
static void test_filters(void **state)
{
	static const struct {
		struct history_filter f;
		unsigned n;
	} rows[] = {
		{{.device = -1, .space = -1, .text = "100%"}, 1},
		{{.device = -1, .space = -1, .text = "%"}, 1},
		{{.device = -1, .space = -1, .text = "A_B"}, 1},
		{{.device = -1, .space = -1, .text = "_"}, 1},
		{{.device = -1, .space = -1, .text = "c\\d'"}, 1},
		{{.device = -1, .space = -1, .text = ""}, 4},
		{{.device = -1, .space = 0x5000}, 3},
	};
	char err[200] = "";
	sqlite3 *db;

	forget();
	run(0, 0);
	change("INSERT INTO event(seq,cls,op,text) VALUES(100,0,6,'it is 100% of it'),(101,0,6,'a_b'),"
	       "(102,0,6,'c\\d''');"
	       "INSERT INTO event(seq,cls,op,root,addr) VALUES(110,2,0,0x5000,1),(111,2,0,0x5006,1),"
	       "(112,2,0,0x6000,1),(113,1,3,0,0x5001)");
	db = db_open(false);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		unsigned n = 0;

		if (history_each(db, &rows[i].f, count_any, &n, err, sizeof(err)) || n != rows[i].n)
			fail_msg("row %u: %u, %s", i, n, err);
	}
	sqlite3_close(db);
	forget();
}

/* -1: no such net */
static int net_match(const char *text, const char *net)
{
	sqlite3 *db = db_open(false);
	sqlite3_stmt *st;
	int match;

	assert_int_equal(sqlite3_prepare_v2(db, "SELECT net_match(?,?)", -1, &st, NULL), SQLITE_OK);
	sqlite3_bind_text(st, 1, text, -1, SQLITE_STATIC);
	sqlite3_bind_text(st, 2, net, -1, SQLITE_STATIC);
	match = sqlite3_step(st) == SQLITE_ROW ? sqlite3_column_int(st, 0) : -1;
	sqlite3_finalize(st);
	sqlite3_close(db);
	return match;
}

static void test_nets(void **state)
{
	static const char four[] = "tcp 10.0.2.15:4000 > 192.0.2.7:80",
			  six[] = "udp fec0:0:0:0:0:0:0:2:9999 > 2001:db8:0:0:0:0:0:5:53";
	static const struct {
		const char *text, *net;
		int match;
	} row[] = {
		{four, "10.0.0.0/8", 1},
		{four, "192.0.2.7", 1},
		{four, "192.0.2.6/31", 1},
		{four, "192.0.2.8/29", 0},
		{four, "0.0.0.0/0", 1},
		{four, "::/0", 1},
		{four, "2001:db8::/32", 0},
		{four, "::ffff:192.0.2.0/120", 1},
		{six, "2001:db8::/32", 1},
		{six, "2001:db8::5", 1},
		{six, "2001:db8::4/127", 1},
		{six, "2001:db8::6/127", 0},
		{six, "fec0::/10", 1},
		{six, "0.0.0.0/0", 0},
		{"ask A www.example: 192.0.2.1, 2001:db8::9", "192.0.2.1", 1},
		{"ask A www.example: 192.0.2.1, 2001:db8::9", "2001:db8::9/128", 1},
		{"nothing", "10.0.0.0/8", 0},
		{"", "10.0.0.0/8", 0},
		{four, "10.0.0.0/33", -1},
		{four, "::/129", -1},
		{four, "10.0.0.0/-1", -1},
		{four, "10.0.0.0/8x", -1},
		{four, "ten", -1},
		{four, "", -1},
	};

	forget();
	run(1, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(row); i++)
		if (net_match(row[i].text, row[i].net) != row[i].match)
			fail_msg("%s in %s", row[i].text, row[i].net);
	forget();
}

/* Random rows: what one pass finds is what SQL finds. */
static void test_tally(void **state)
{
	static const char *const same[][2] = {
		{"SELECT a,c,b,n FROM tally WHERE what='device'",
		 "SELECT cls,addr,op,sum(count) FROM event WHERE cls BETWEEN 2 AND 6 GROUP BY 1,2,3"},
		{"SELECT a,b,c,n,sum,most FROM tally WHERE what='disk'",
		 ("SELECT run,size,op,sum(count),sum(iif(verdict&64,sum,value)),max(iif(verdict&64,0,sum)) "
		  "FROM event WHERE cls=7 GROUP BY 1,2,3")},
		{"SELECT a,b,n,sum,part FROM tally WHERE what='space'",
		 ("SELECT run,addr&~4095,sum(iif(op=3,count,0)),sum(iif(op=3,sum,0)),sum(iif(op=5,sum,0)) FROM "
		  "event WHERE cls=1 AND op IN(3,5) AND verdict&64 GROUP BY 1,2")},
		{"SELECT a,b,n FROM tally WHERE what='exception'",
		 "SELECT run,op,sum(count) FROM event WHERE cls=1 AND op>=64 GROUP BY 1,2"},
		{"SELECT a,b,c,d,n FROM tally WHERE what='verdict'",
		 ("SELECT cls,op,verdict&3,rule,sum(count) FROM event WHERE verdict&3 OR rule GROUP BY "
		  "1,2,3,4")},
		{"SELECT a,sum(n),sum(sum) FROM tally WHERE what='class' GROUP BY a",
		 "SELECT cls,sum(count),count(*) FROM event GROUP BY cls"},
		{"SELECT b,sum(n) FROM tally WHERE what='class' GROUP BY b",
		 ("SELECT (t-(SELECT min(t) FROM event))/(((SELECT max(t) FROM event)-(SELECT min(t) FROM "
		  "event))/7+1),sum(count) FROM event GROUP BY 1")},
	};
	char err[200] = "", sql[900];
	int64_t from, to;
	sqlite3 *db;

	forget();
	run(0, 0);
	change("WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i+1 FROM n WHERE i<20000) INSERT INTO "
	       "event(seq,t,run,cls,op,addr,value,size,count,sum,verdict,rule) SELECT i,1700000000000000000"
	       "+abs(random()%1000000000000),1+abs(random()%3),abs(random()%15),abs(random()%5)+64*"
	       "abs(random()%2),random()%3000*777,abs(random()%99),abs(random()%3),abs(random()%9),"
	       "abs(random()%9999),64*abs(random()%2)+abs(random()%3),abs(random()%4) FROM n");
	db = db_open(false);
	if (history_tally(db, 7, err, sizeof(err)))
		fail_msg("%s", err);
	for (unsigned i = 0; i < ARRAY_SIZE(same); i++) {
		for (unsigned k = 0; k < 2; k++) {
			snprintf(sql, sizeof(sql),
				 "SELECT count(*) FROM (SELECT * FROM (%s) EXCEPT %s)", same[i][k],
				 same[i][!k]);
			ask_is(db, sql, "0");
		}
		snprintf(sql, sizeof(sql), "SELECT count(*)>0 FROM (%s)", same[i][0]);
		ask_is(db, sql, "1");
	}
	history_span(db, &from, &to);
	snprintf(sql, sizeof(sql), "SELECT min(t)=%lld AND max(t)=%lld FROM event", (long long)from,
		 (long long)to);
	ask_is(db, sql, "1");
	sqlite3_close(db);
	forget();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sha256),      cmocka_unit_test(test_write_read),
		cmocka_unit_test(test_views),       cmocka_unit_test(test_tampering),
		cmocka_unit_test(test_bad_files),   cmocka_unit_test(test_times),
		cmocka_unit_test(test_zones),       cmocka_unit_test(test_spans),
		cmocka_unit_test(test_old_version), cmocka_unit_test(test_odd_rows),
		cmocka_unit_test(test_nets),        cmocka_unit_test(test_size),
		cmocka_unit_test(test_printable),   cmocka_unit_test(test_replaced),
		cmocka_unit_test(test_filters),     cmocka_unit_test(test_tally),
		cmocka_unit_test(test_later),       cmocka_unit_test(test_early_reader),
		cmocka_unit_test(test_clock),       cmocka_unit_test(test_age),
	};

	snprintf(path, sizeof(path), "/tmp/vigia-test-%d.history", (int)getpid());
	return cmocka_run_group_tests(tests, NULL, NULL);
}
