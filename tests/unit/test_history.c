/* SPDX-License-Identifier: ISC */
/* test_history.c: SHA-256, what is written is read, the chain breaks where somebody changes it, bounds
 * hold, a later run goes on. */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* order matters */
#include <cmocka.h>

#include "history/history.h"
#include "history/query.h"

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

#define NO_VIEWS                                                                          \
	"DROP VIEW disk_requests; DROP VIEW net_flows; DROP VIEW dns; DROP VIEW console;" \
	"DROP VIEW screens; DROP VIEW counters; DROP VIEW operator; DROP VIEW verdicts;"  \
	"DROP VIEW exceptions; DROP VIEW spaces; DROP VIEW events;"
#define NO_TIMES \
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

static void see_row(void *arg, const struct history_row *r)
{
	char text[100];

	/* a text ends with a zero, whatever the file has in its place */
	if (r->text && !r->frame)
		assert_int_equal(r->text[r->len], 0);
	history_describe(r, text, sizeof(text));
	for (const char *p = text; *p; p++)
		assert_true(*p >= ' ' && *p <= '~');
	++*(unsigned *)arg;
}

/* Rows that no writer of ours makes. */
static void test_odd_rows(void **state)
{
	const struct history_filter f = {.device = -1, .space = -1};
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
}

static void test_times(void **state)
{
	int64_t t, now = INT64_C(1700000000) * (int64_t)NS_PER_SEC;

	assert_int_equal(history_time("10m", now, &t), 0);
	assert_int_equal(t, now - INT64_C(600) * (int64_t)NS_PER_SEC);
	assert_int_equal(history_time("1970-01-02", now, &t), 0);
	assert_int_equal(t, INT64_C(86400) * (int64_t)NS_PER_SEC);
	assert_int_equal(history_time("1970-01-01 00:01:01", now, &t), 0);
	assert_int_equal(t, INT64_C(61) * (int64_t)NS_PER_SEC);
	assert_int_equal(history_time("yesterday", now, &t), ERR_INVAL);
	assert_int_equal(history_time("", now, &t), ERR_INVAL);
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

	run(1, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(row); i++)
		if (net_match(row[i].text, row[i].net) != row[i].match)
			fail_msg("%s in %s", row[i].text, row[i].net);
	forget();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sha256),      cmocka_unit_test(test_write_read),
		cmocka_unit_test(test_views),       cmocka_unit_test(test_tampering),
		cmocka_unit_test(test_bad_files),   cmocka_unit_test(test_times),
		cmocka_unit_test(test_old_version), cmocka_unit_test(test_odd_rows),
		cmocka_unit_test(test_nets),
	};

	snprintf(path, sizeof(path), "/tmp/vigia-test-%d.history", (int)getpid());
	return cmocka_run_group_tests(tests, NULL, NULL);
}
