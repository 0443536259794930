/* SPDX-License-Identifier: ISC */
/* test_history_ask.c: what is asked of a history: times and zones, spans, filters, networks, tallies; and rows that
 * nobody wrote through Vigia. */
#include "history/tally.h"
#include "tests/unit/history_rig.h"

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
		cmocka_unit_test(test_times),    cmocka_unit_test(test_zones),
		cmocka_unit_test(test_spans),    cmocka_unit_test(test_odd_rows),
		cmocka_unit_test(test_nets),     cmocka_unit_test(test_printable),
		cmocka_unit_test(test_replaced), cmocka_unit_test(test_filters),
		cmocka_unit_test(test_tally),
	};

	rig_begin();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
