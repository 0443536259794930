/* SPDX-License-Identifier: ISC */
/* query.c: opening a file for reading, and filters. The file is hostile here: somebody may have changed it. A reader's
 * own thread. */
#include "history/query.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "history/span.h"
#include "monitor/core.h"
#include "monitor/frame.h"

#define TABLES_MS      1000
#define TABLES_STEP_MS 10

/* ---- opening ------------------------------------------------------------------------------------- */

/* Addresses of both kinds: IPv4's as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2) */
#define V4_BITS  96u
#define ADDR_MAX 45u /* characters */

static bool parse_addr(const char *s, size_t n, struct frame_addr *out, bool *v4)
{
	char text[ADDR_MAX + 1];

	if (!n || n > ADDR_MAX)
		return false;
	memcpy(text, s, n);
	text[n] = 0;
	*v4 = inet_pton(AF_INET, text, out->b + V4_BITS / 8) == 1;
	if (!*v4)
		return inet_pton(AF_INET6, text, out->b) == 1;
	memcpy(out->b, "\0\0\0\0\0\0\0\0\0\0\xff\xff", V4_BITS / 8);
	return true;
}

/* ADDRESS[/BITS] */
static bool parse_prefix(const char *s, struct frame_addr *net, unsigned *bits)
{
	size_t n = strcspn(s, "/");
	unsigned long max, given;
	char *stop;
	bool v4;

	if (!parse_addr(s, n, net, &v4))
		return false;
	max = v4 ? 32 : 128;
	given = s[n] ? strtoul(s + n + 1, &stop, 10) : max;
	if (s[n] && (!isdigit((unsigned char)s[n + 1]) || *stop))
		return false;
	*bits = (unsigned)given + (v4 ? V4_BITS : 0);
	return given <= max;
}

/* The next thing in the text that may be an address; *n: its length, without a port behind it. */
static const char *next_word(const char *text, size_t *n)
{
	static const char chars[] = "0123456789abcdefABCDEF.:";
	unsigned colons = 0, max;

	text += strcspn(text, chars);
	*n = strspn(text, chars);
	max = memchr(text, '.', *n) ? 0 : 7;
	for (size_t i = 0; i < *n; i++)
		if (text[i] == ':' && colons++ == max)
			*n = i;
	return *n ? text : NULL;
}

/* True where any address in the text lies in the net. */
static bool text_in_net(const char *text, const struct frame_addr *net, unsigned bits)
{
	struct frame_addr a;
	size_t n;
	bool v4;

	while ((text = next_word(text, &n))) {
		if (parse_addr(text, n, &a, &v4) && frame_addr_in(&a, net, bits))
			return true;
		text += n;
	}
	return false;
}

static void net_match(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
	const char *text = (const char *)sqlite3_value_text(argv[0]);
	const char *net = (const char *)sqlite3_value_text(argv[1]);
	struct frame_addr addr;
	unsigned bits;

	if (!net || !parse_prefix(net, &addr, &bits))
		sqlite3_result_error(ctx, "net_match: expected ADDRESS/BITS", -1);
	else
		sqlite3_result_int(ctx, text && text_in_net(text, &addr, bits));
}

/* What SQLite says has names of the file in it. */
static void sql_error(sqlite3 *db, char *err, size_t size)
{
	snprintf(err, size, "%s", db ? sqlite3_errmsg(db) : "out of memory");
	history_printable(err, true);
}

int history_attach(sqlite3 *db, char *err, size_t size)
{
	int e;

	sqlite3_busy_timeout(db, 5000);
	schema_harden(db);
	sqlite3_exec(db, "PRAGMA cache_size=-16384;", NULL, NULL, NULL);
	e = schema_check(db, err, size);
	if (!e)
		e = schema_modern(db, err, size);
	if (e)
		history_printable(err, true);
	if (!e && sqlite3_create_function(db, "net_match", 2,
					  SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS,
					  NULL, net_match, NULL, NULL) != SQLITE_OK)
		e = ERR_NOMEM;
	return e;
}

/* A VM that has just started is about to make its tables; one that was killed then never will. */
static int await_tables(sqlite3 *db, char *err, size_t size)
{
	for (unsigned i = 0; i < TABLES_MS / TABLES_STEP_MS && schema_empty(db); i++)
		sqlite3_sleep(TABLES_STEP_MS);
	if (!schema_empty(db))
		return 0;
	snprintf(err, size, "it is empty: nothing has been written to it");
	return ERR_FORMAT;
}

int history_read(const char *path, sqlite3 **out, char *err, size_t size)
{
	sqlite3 *db = NULL;
	int rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), e;

	if (rc != SQLITE_OK) {
		sql_error(db, err, size);
		e = ERR_NOENT;
	} else {
		e = await_tables(db, err, size);
		if (!e)
			e = history_attach(db, err, size);
	}
	if (e) {
		sqlite3_close(db);
		return e;
	}
	*out = db;
	return 0;
}

/* ---- filters -------------------------------------------------------------------------------------- */

struct where {
	char sql[1400];
	size_t n;
};

static void add(struct where *w, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	sqlite3_vsnprintf((int)(sizeof(w->sql) - w->n), w->sql + w->n, fmt, ap);
	va_end(ap);
	w->n = strlen(w->sql);
}

/* Devices by the names that rules have for them, and a few more. With a number behind it, one of them. */
static const struct {
	const char *name, *where;
	const char
		*numbered; /* with that number; NULL: there is one, or records do not say which */
} devices[] = {
	{"disk", "cls=7", "cls=7 AND size=%u"},
	{"net", "cls=8", "cls=8 AND verdict&64=0 AND CASE WHEN op<2 THEN sum ELSE size END=%u"},
	{"rng", "cls=11", NULL},
	{"console", "cls=9", NULL},
	{"screen", "cls=9 AND op=2", NULL},
	{"serial", "cls=2 AND addr BETWEEN 0x3f8 AND 0x3ff", NULL},
};

static int add_device(struct where *w, const char *name, char *err, size_t size)
{
	for (unsigned i = 0; i < ARRAY_SIZE(devices); i++) {
		size_t n = strlen(devices[i].name);
		unsigned unit;
		int used = 0;

		if (strncmp(name, devices[i].name, n))
			continue;
		if (!name[n]) {
			add(w, " AND (%s OR (cls=14 AND text LIKE '%s%%'))", devices[i].where,
			    devices[i].name);
			return 0;
		}
		if (!devices[i].numbered || sscanf(name + n, "%3u%n", &unit, &used) != 1 ||
		    name[n + (size_t)used])
			continue;
		add(w, " AND (");
		add(w, devices[i].numbered, unit);
		add(w, " OR (cls=14 AND text LIKE '%s%u %%'))", devices[i].name, unit);
		return 0;
	}
	snprintf(
		err, size,
		"no device is called %s: disk, disk0, net, net0, rng, console, screen, serial, or a port, "
		"address or MSR such as 0x3f8 or 0x3f8-0x3ff",
		name);
	return ERR_INVAL;
}

/* LIKE, because it takes capitals for small letters; what it has a meaning for means itself. */
static void add_text(struct where *w, const char *text)
{
	char like[400];
	size_t n = 0;

	for (const char *p = text; *p && n < sizeof(like) - 2; p++) {
		if (strchr("%_\\", *p))
			like[n++] = '\\';
		like[n++] = *p;
	}
	like[n] = 0;
	add(w, " AND text LIKE '%%'||%Q||'%%' ESCAPE '\\'", like);
}

/* Of a class there is an index; who goes on from a row looks at what comes behind it. */
static void add_times(sqlite3 *db, const struct history_filter *f, struct where *w)
{
	int64_t first, last;

	if (f->since)
		add(w, " AND t>=%lld", (long long)f->since);
	if (f->until)
		add(w, " AND t<=%lld", (long long)f->until);
	if ((!f->since && !f->until) || f->cls || f->after)
		return;
	span_bounds(db, f->since, f->until, &first, &last);
	add(w, " AND seq BETWEEN %lld AND %lld", (long long)first, (long long)last);
}

static int add_filters(sqlite3 *db, const struct history_filter *f, struct where *w, char *err,
		       size_t size)
{
	int cls = f->cls ? mon_class_find(f->cls, strlen(f->cls)) : 0;
	struct frame_addr net;
	unsigned bits;

	if (cls < 0) {
		snprintf(err, size,
			 "no class is called %s: lifecycle, cpu, port, mmio, msr, cpuid, "
			 "irq, disk, net, console, time, entropy, operator, memory, device",
			 f->cls);
		return ERR_INVAL;
	}
	if (f->net && !parse_prefix(f->net, &net, &bits)) {
		snprintf(err, size, "%s is not an address or a net such as 10.0.0.0/8 or fe80::/10",
			 f->net);
		return ERR_INVAL;
	}
	add(w, " FROM event WHERE seq>%lld", (long long)f->after);
	/* who goes on from a row looks at what comes behind it, not at all of the class */
	if (f->cls)
		add(w, f->after ? " AND +cls=%d" : " AND cls=%d", cls);
	add_times(db, f, w);
	if (f->device >= 0)
		add(w, " AND cls IN (2,3,4,5) AND addr BETWEEN %lld AND %lld", (long long)f->device,
		    (long long)f->device_end);
	if (f->space >= 0)
		add(w, " AND (root&~4095=%lld OR (cls=1 AND op IN (3,5) AND addr&~4095=%lld))",
		    (long long)f->space & ~4095, (long long)f->space & ~4095);
	if (f->run)
		add(w, " AND run=%lld", (long long)f->run);
	if (f->text)
		add_text(w, f->text);
	if (f->net)
		add(w, " AND cls=8 AND net_match(text,%.40Q)", f->net);
	if (f->op)
		add(w,
		    " AND EXISTS(SELECT 1 FROM op WHERE op.cls=event.cls AND op.op=event.op AND "
		    "op.name=%.40Q)",
		    f->op);
	return f->device_name ? add_device(w, f->device_name, err, size) : 0;
}

static int build(sqlite3 *db, const struct history_filter *f, struct where *w, char *err,
		 size_t size)
{
	int e;

	add(w, "SELECT " HISTORY_COLUMNS);
	e = add_filters(db, f, w, err, size);
	if (f->limit)
		add(w, " ORDER BY %s DESC LIMIT %lld", f->cls ? "t" : "seq", (long long)f->limit);
	else
		add(w, " ORDER BY seq");
	return e;
}

int history_narrow(sqlite3 *db, const struct history_filter *f, char *err, size_t size)
{
	struct where w = {.n = 0};
	int e = add_filters(db, f, &w, err, size);

	return e ? e : schema_narrow(db, w.sql, err, size);
}

int64_t history_newest(sqlite3 *db)
{
	sqlite3_stmt *st;
	int64_t seq = 0;

	if (sqlite3_prepare_v2(db, "SELECT max(seq) FROM main.event", -1, &st, NULL) != SQLITE_OK)
		return 0;
	if (sqlite3_step(st) == SQLITE_ROW)
		seq = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	return seq;
}

int history_each(sqlite3 *db, const struct history_filter *f,
		 void (*fn)(void *arg, const struct history_row *r), void *arg, char *err,
		 size_t size)
{
	struct where w = {.n = 0};
	sqlite3_stmt *st = NULL;
	char *sql = NULL;
	int e = build(db, f, &w, err, size), rc = SQLITE_ROW;

	if (e)
		return e;
	if (f->limit)
		sql = sqlite3_mprintf("SELECT * FROM (%s) ORDER BY seq", w.sql);
	if (sqlite3_prepare_v2(db, sql ? sql : w.sql, -1, &st, NULL) != SQLITE_OK)
		rc = SQLITE_ERROR;
	while (rc == SQLITE_ROW) {
		struct history_row r;

		rc = sqlite3_step(st);
		if (rc != SQLITE_ROW)
			break;
		schema_read_row(st, &r);
		fn(arg, &r);
	}
	if (rc != SQLITE_DONE) {
		sql_error(db, err, size);
		e = ERR_IO;
	}
	sqlite3_finalize(st);
	sqlite3_free(sql);
	return e;
}
