/* SPDX-License-Identifier: ISC */
/* test_history.c: SHA-256, what is written is read, the chain breaks where somebody changes it, bounds
 * hold, a later run goes on. */
#include <pthread.h>

#include "tests/unit/history_rig.h"

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

static void count_row(void *arg, const struct history_row *r)
{
	struct count *c = arg;

	assert_int_equal(r->value, c->value++);
	c->n++;
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sha256),       cmocka_unit_test(test_write_read),
		cmocka_unit_test(test_views),        cmocka_unit_test(test_tampering),
		cmocka_unit_test(test_bad_files),    cmocka_unit_test(test_old_version),
		cmocka_unit_test(test_size),         cmocka_unit_test(test_later),
		cmocka_unit_test(test_early_reader), cmocka_unit_test(test_clock),
		cmocka_unit_test(test_age),
	};

	rig_begin();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
