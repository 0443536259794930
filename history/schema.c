/* SPDX-License-Identifier: ISC */
/* schema.c: tables and views of a history file. Rows are only ever added, by batches, and removed from
 * the oldest end. Used by the writer's thread, and by readers in processes of their own. */
#include "history/schema.h"

#include <stdio.h>
#include <string.h>

#include "history/span.h"
#include "monitor/core.h"

#define ROW_MAX (16 << 20) /* bytes; a picture has at most 1 MiB */

#define SPAN_TABLE "CREATE TABLE span(id INTEGER PRIMARY KEY, t0 INTEGER, t1 INTEGER);"

static const char tables[] =
	"PRAGMA application_id=0x56494741;"
	"CREATE TABLE run(id INTEGER PRIMARY KEY, name TEXT, started INTEGER, tsc_hz INTEGER,"
	" pid INTEGER, engine TEXT, cpu TEXT, cpus INTEGER, memory INTEGER, version TEXT,"
	" tsc INTEGER);"
	"CREATE TABLE event(seq INTEGER PRIMARY KEY, t INTEGER, run INTEGER, cls INTEGER,"
	" op INTEGER, vcpu INTEGER, rip INTEGER, addr INTEGER, value INTEGER, size INTEGER,"
	" count INTEGER, sum INTEGER, result INTEGER, verdict INTEGER, rule INTEGER, text TEXT,"
	" root INTEGER, tsc INTEGER);"
	"CREATE INDEX event_cls_t ON event(cls, t);"
	"CREATE TABLE batch(id INTEGER PRIMARY KEY, first INTEGER, last INTEGER, t INTEGER,"
	" dropped INTEGER, prev BLOB, hash BLOB);" SPAN_TABLE
	"CREATE TABLE class(id INTEGER PRIMARY KEY, name TEXT);"
	"CREATE TABLE op(cls INTEGER, op INTEGER, name TEXT, PRIMARY KEY(cls, op)) WITHOUT ROWID;";

/* clang-format off */
#define VIEWS(MAKE) \
	MAKE " events AS SELECT seq, t, strftime('%Y-%m-%d %H:%M:%f', t/1e9, 'unixepoch')" \
	" AS time, (t-run.started)/1e9 AS uptime, run, class.name AS class," \
	" coalesce(op.name, event.op) AS op, vcpu, rip, root, addr, value, size, count, sum, result," \
	" verdict&3 AS verdict, (verdict>>6)&1 AS counted, rule, text," \
	" nullif(event.tsc,0) AS tsc, (nullif(event.tsc,0)-run.tsc)*1.0/nullif(run.tsc_hz,0) AS guest" \
	" FROM event LEFT JOIN class ON class.id=event.cls LEFT JOIN op ON op.cls=event.cls AND" \
	" op.op=event.op LEFT JOIN run ON run.id=run;" \
	MAKE " disk_requests AS SELECT seq, time, uptime, run, size AS disk, op," \
	" addr/512 AS sector, value AS bytes, sum/1e3 AS us, count, result, verdict, rule" \
	" FROM events WHERE class='disk';" \
	MAKE " net_flows AS SELECT e.seq, time, uptime, run, addr AS flow, text," \
	" value AS bytes_out, sum AS bytes_in, count AS packets, size AS card FROM events e" \
	" WHERE class='net' AND op='flow end';" \
	MAKE " dns AS SELECT seq, time, uptime, run, text, verdict, rule, size AS card FROM events" \
	" WHERE class='net' AND op='dns';" \
	MAKE " console AS SELECT seq, time, uptime, run, text FROM events" \
	" WHERE class='console' AND op!='screen' AND text IS NOT NULL;" \
	MAKE " screens AS SELECT seq, time, uptime, run, value>>32 AS width," \
	" value&0xffffffff AS height, text AS png FROM events WHERE class='console' AND op='screen';" \
	MAKE " counters AS SELECT class, op, addr, sum(count) AS n, sum(sum) AS total," \
	" min(t) AS first_t, max(t) AS last_t FROM events GROUP BY class, op, addr;" \
	MAKE " operator AS SELECT seq, time, uptime, run, op, text, result FROM events" \
	" WHERE class='operator';" \
	MAKE " verdicts AS SELECT seq, time, uptime, run, class, op, addr, value, count," \
	" CASE verdict WHEN 1 THEN 'redirect' WHEN 2 THEN 'deny' ELSE 'provide' END AS verdict," \
	" rule, text FROM events WHERE verdict!=0 OR rule!=0;" \
	MAKE " spaces AS SELECT run, vcpu, addr AS cr3, sum(count*(op=3)) AS switches," \
	" sum(sum*(op=3))/1e9 AS seconds, sum(sum*(op=5))/1e9 AS user_seconds, max(t) AS last_t" \
	" FROM event WHERE cls=1 AND op IN (3,5) AND (verdict>>6)&1 GROUP BY run, vcpu, addr;" \
	MAKE " exceptions AS SELECT run, vcpu, op, sum(count) AS n, min(t) AS first_t," \
	" max(t) AS last_t FROM events WHERE class='cpu' AND op LIKE '#%' GROUP BY run, vcpu, op;"
/* clang-format on */
static const char views[] = VIEWS("CREATE VIEW");
/* For readers: before those of the file, which is older, or somebody has changed */
static const char reader_views[] = VIEWS("CREATE TEMP VIEW");
static const char reader_names[] =
	"CREATE TEMP TABLE class(id INTEGER PRIMARY KEY, name TEXT);"
	"CREATE TEMP TABLE op(cls INTEGER, op INTEGER, name TEXT, PRIMARY KEY(cls, op)) WITHOUT ROWID;";

static const struct {
	uint8_t cls, op;
	const char *name;
} ops[] = {
	{MON_LIFECYCLE, LIFE_START, "start"},
	{MON_LIFECYCLE, LIFE_END, "end"},
	{MON_LIFECYCLE, LIFE_PAUSE, "pause"},
	{MON_LIFECYCLE, LIFE_RESUME, "resume"},
	{MON_LIFECYCLE, LIFE_RESET, "reset"},
	{MON_LIFECYCLE, LIFE_CRASH, "crash"},
	{MON_LIFECYCLE, LIFE_NOTE, "note"},
	{MON_LIFECYCLE, LIFE_FIRMWARE, "firmware"},
	{MON_LIFECYCLE, LIFE_MODE, "mode"},
	{MON_LIFECYCLE, LIFE_RULES, "rules"},
	{MON_OPERATOR, OPERATOR_REQUEST, "request"},
	{MON_OPERATOR, OPERATOR_SIGNAL, "signal"},
	{MON_OPERATOR, OPERATOR_KEY, "key"},
	{MON_OPERATOR, OPERATOR_DEBUG, "debug"},
	{MON_CPU, 0, "CR0"},
	{MON_CPU, 2, "CR2"},
	{MON_CPU, 3, "space"},
	{MON_CPU, 4, "CR4"},
	{MON_CPU, 8, "CR8"},
	{MON_CPU, CPU_USER, "user"},
	{MON_CPU, CPU_SHARE, "share"},
	{MON_CPU, 0x20, "GDTR"},
	{MON_CPU, 0x21, "IDTR"},
	{MON_CPU, 0x22, "LDTR"},
	{MON_CPU, 0x23, "TR"},
	{MON_CPU, 0x30, "HLT"},
	{MON_CPU, 0x31, "INVLPG"},
	{MON_CPU, 0x32, "DR"},
	{MON_CPU, 0x33, "XCR0"},
	{MON_CPU, 0x40, "#DE"},
	{MON_CPU, 0x41, "#DB"},
	{MON_CPU, 0x43, "#BP"},
	{MON_CPU, 0x44, "#OF"},
	{MON_CPU, 0x45, "#BR"},
	{MON_CPU, 0x46, "#UD"},
	{MON_CPU, 0x47, "#NM"},
	{MON_CPU, 0x48, "#DF"},
	{MON_CPU, 0x4a, "#TS"},
	{MON_CPU, 0x4b, "#NP"},
	{MON_CPU, 0x4c, "#SS"},
	{MON_CPU, 0x4d, "#GP"},
	{MON_CPU, 0x4e, "#PF"},
	{MON_CPU, 0x50, "#MF"},
	{MON_CPU, 0x51, "#AC"},
	{MON_CPU, 0x53, "#XM"},
	{MON_PORT, 0, "read"},
	{MON_PORT, 1, "write"},
	{MON_MMIO, 0, "read"},
	{MON_MMIO, 1, "write"},
	{MON_MSR, 0, "read"},
	{MON_MSR, 1, "write"},
	{MON_CPUID, 0, "eax"},
	{MON_CPUID, 1, "ebx"},
	{MON_CPUID, 2, "ecx"},
	{MON_CPUID, 3, "edx"},
	{MON_IRQ, IRQ_MSI, "msi"},
	{MON_IRQ, IRQ_IPI, "ipi"},
	{MON_IRQ, IRQ_LINE, "line"},
	{MON_DISK, 0, "read"},
	{MON_DISK, 1, "write"},
	{MON_DISK, 2, "flush"},
	{MON_DISK, 3, "discard"},
	{MON_DISK, 4, "zero"},
	{MON_NET, NET_RECEIVE, "frame in"},
	{MON_NET, NET_SEND, "frame out"},
	{MON_NET, NET_FLOW_OPEN, "flow"},
	{MON_NET, NET_FLOW_CLOSE, "flow end"},
	{MON_NET, NET_DNS, "dns"},
	{MON_NET, NET_DHCP, "dhcp"},
	{MON_NET, NET_ARP, "arp"},
	{MON_CONSOLE, CONSOLE_IN, "in"},
	{MON_CONSOLE, CONSOLE_OUT, "out"},
	{MON_CONSOLE, CONSOLE_SCREEN, "screen"},
};

const char *schema_op_name(uint8_t cls, uint8_t op)
{
	for (unsigned i = 0; i < ARRAY_SIZE(ops); i++)
		if (ops[i].cls == cls && ops[i].op == op)
			return ops[i].name;
	return "";
}

static int run_sql(sqlite3 *db, const char *sql, char *err, size_t size)
{
	char *text = NULL;
	int rc = sqlite3_exec(db, sql, NULL, NULL, &text);

	if (rc == SQLITE_OK)
		return 0;
	snprintf(err, size, "%s", text ? text : sqlite3_errstr(rc));
	sqlite3_free(text);
	return (rc & 0xff) == SQLITE_FULL ? ERR_NOSPC : ERR_IO;
}

/* What is selected of a file of that version */
static const char *columns(int64_t version)
{
#define OLD "seq,t,run,cls,op,vcpu,rip,addr,value,size,count,sum,result,verdict,rule,text,"
	return version < 3   ? OLD "NULL AS root,NULL AS tsc"
	       : version < 4 ? OLD "root,NULL AS tsc"
			     : HISTORY_COLUMNS;
#undef OLD
}

bool schema_has_bytes(int64_t cls, int64_t op)
{
	return (cls == MON_NET && (op == NET_SEND || op == NET_RECEIVE)) ||
	       (cls == MON_CONSOLE && op == CONSOLE_SCREEN);
}

static int64_t pragma(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *st;
	int64_t v = -1;

	if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK)
		return -1;
	if (sqlite3_step(st) == SQLITE_ROW)
		v = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	return v;
}

/* In the tables class and op of that database. */
static int put_names(sqlite3 *db, const char *where, char *err, size_t size)
{
	char sql[200];
	int e = 0;

	for (unsigned i = 0; i < MON_CLASSES && !e; i++) {
		snprintf(sql, sizeof(sql), "INSERT OR REPLACE INTO %s.class VALUES(%u,'%s')", where,
			 i, mon_class_name((uint8_t)i));
		e = run_sql(db, sql, err, size);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(ops) && !e; i++) {
		snprintf(sql, sizeof(sql), "INSERT OR REPLACE INTO %s.op VALUES(%u,%u,'%s')", where,
			 ops[i].cls, ops[i].op, ops[i].name);
		e = run_sql(db, sql, err, size);
	}
	return e;
}

int schema_modern(sqlite3 *db, char *err, size_t size)
{
	int64_t version = schema_version(db);
	char sql[400];
	int e = run_sql(db, reader_names, err, size);

	if (!e)
		e = put_names(db, "temp", err, size);
	snprintf(sql, sizeof(sql),
		 "CREATE TEMP VIEW event AS SELECT %s FROM main.event;"
		 "CREATE TEMP VIEW run AS SELECT *,NULL AS tsc FROM main.run",
		 columns(version));
	if (!e && version < HISTORY_SCHEMA)
		e = run_sql(db, sql, err, size);
	return e ? e : run_sql(db, reader_views, err, size);
}

int schema_narrow(sqlite3 *db, const char *filter, char *err, size_t size)
{
	char *sql = sqlite3_mprintf(
		"DROP VIEW IF EXISTS temp.event; CREATE TEMP VIEW event AS SELECT * FROM "
		"(WITH event AS (SELECT %s FROM main.event) SELECT *%s)",
		columns(schema_version(db)), filter);
	int e = sql ? run_sql(db, sql, err, size) : ERR_NOMEM;

	sqlite3_free(sql);
	return e;
}

int64_t schema_version(sqlite3 *db)
{
	return pragma(db, "PRAGMA user_version");
}

void schema_harden(sqlite3 *db)
{
	sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
	sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	sqlite3_limit(db, SQLITE_LIMIT_LENGTH, ROW_MAX);
	sqlite3_exec(db, "PRAGMA cell_size_check=ON; PRAGMA mmap_size=0;", NULL, NULL, NULL);
}

bool schema_empty(sqlite3 *db)
{
	return !pragma(db, "PRAGMA application_id") && !pragma(db, "PRAGMA schema_version");
}

/* By its header alone */
static int check_kind(sqlite3 *db, char *err, size_t size)
{
	int64_t v = schema_version(db);

	if (pragma(db, "PRAGMA application_id") != HISTORY_APPLICATION) {
		snprintf(err, size, "it is not a history of vigia");
		return ERR_FORMAT;
	}
	if (v < 1 || v > HISTORY_SCHEMA) {
		snprintf(err, size, "it is of another version of vigia");
		return ERR_FORMAT;
	}
	return 0;
}

int schema_known(sqlite3 *db, char *err, size_t size)
{
	return schema_empty(db) ? 0 : check_kind(db, err, size);
}

int schema_check(sqlite3 *db, char *err, size_t size)
{
	int64_t v = schema_version(db);
	int e = check_kind(db, err, size);

	if (e)
		return e;
	/* tables with rows, not views or modules that make them up */
	if (pragma(db,
		   "SELECT count(*) FROM main.sqlite_master WHERE type='table' AND rootpage>0 AND "
		   "name IN ('event','run','batch')") != 3 ||
	    (v > 4 && pragma(db, "SELECT count(*) FROM main.sqlite_master WHERE type='table' AND "
				 "rootpage>0 AND name='span'") != 1)) {
		snprintf(err, size, "its tables are not those of a history");
		return ERR_FORMAT;
	}
	return 0;
}

/* Views and names, which later versions may change: rows stay what they are. */
static int make_views(sqlite3 *db, char *err, size_t size)
{
	static const char *const old[] = {"events",  "disk_requests", "net_flows", "dns",
					  "console", "counters",      "operator",  "verdicts",
					  "spaces",  "exceptions",    "screens"};
	char sql[200];
	int e = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(old) && !e; i++) {
		snprintf(sql, sizeof(sql), "DROP VIEW IF EXISTS %s", old[i]);
		e = run_sql(db, sql, err, size);
	}
	if (!e)
		e = run_sql(db, views, err, size);
	if (!e)
		e = put_names(db, "main", err, size);
	snprintf(sql, sizeof(sql), "PRAGMA user_version=%d", HISTORY_SCHEMA);
	return e ? e : run_sql(db, sql, err, size);
}

static int make_spans(sqlite3 *db, char *err, size_t size)
{
	int e = run_sql(db, SPAN_TABLE, err, size);

	if (!e && (e = span_make(db)))
		snprintf(err, size, "%s", sqlite3_errmsg(db));
	return e;
}

int schema_create(sqlite3 *db, char *err, size_t size)
{
	bool made = pragma(db, "SELECT count(*) FROM sqlite_master") > 0;
	int e = made ? schema_check(db, err, size) : 0;
	int64_t version = schema_version(db);

	if (e || (made && version == HISTORY_SCHEMA))
		return e;
	e = run_sql(db, "BEGIN IMMEDIATE", err, size);
	if (!e && !made)
		e = run_sql(db, tables, err, size);
	if (!e && made && version < 3)
		e = run_sql(db, "ALTER TABLE event ADD COLUMN root INTEGER", err, size);
	if (!e && made && version < 4)
		e = run_sql(db,
			    "ALTER TABLE event ADD COLUMN tsc INTEGER;"
			    "ALTER TABLE run ADD COLUMN tsc INTEGER",
			    err, size);
	if (!e && made && version < 5)
		e = make_spans(db, err, size);
	if (!e)
		e = make_views(db, err, size);
	if (!e)
		e = run_sql(db, "COMMIT", err, size);
	if (e && !sqlite3_get_autocommit(db))
		sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	return e;
}

/* ---- rows ------------------------------------------------------------------------------------ */

void schema_read_row(sqlite3_stmt *st, struct history_row *r)
{
	int64_t *const v[] = {&r->seq,   &r->t,   &r->run,    &r->cls,     &r->op,
			      &r->vcpu,  &r->rip, &r->addr,   &r->value,   &r->size,
			      &r->count, &r->sum, &r->result, &r->verdict, &r->rule};
	int n = (int)ARRAY_SIZE(v);

	r->odd = false;
	for (int i = 0; i < n; i++) {
		*v[i] = sqlite3_column_int64(st, i);
		r->odd |= sqlite3_column_type(st, i) != SQLITE_INTEGER;
	}
	r->rooted = sqlite3_column_type(st, n + 1) != SQLITE_NULL;
	r->root = sqlite3_column_int64(st, n + 1);
	r->timed = sqlite3_column_type(st, n + 2) != SQLITE_NULL;
	r->tsc = sqlite3_column_int64(st, n + 2);
	for (int i = n + 1; i < n + 3; i++)
		r->odd |= sqlite3_column_type(st, i) != SQLITE_INTEGER &&
			  sqlite3_column_type(st, i) != SQLITE_NULL;
	r->odd |= sqlite3_column_type(st, n) == SQLITE_INTEGER ||
		  sqlite3_column_type(st, n) == SQLITE_FLOAT;
	/* whatever the file has there, what is read as a text ends with a zero */
	r->frame = schema_has_bytes(r->cls, r->op);
	r->text = r->frame ? sqlite3_column_blob(st, n) : (const char *)sqlite3_column_text(st, n);
	r->len = r->text ? (size_t)sqlite3_column_bytes(st, n) : 0;
}
