/* SPDX-License-Identifier: ISC */
/* query.c: filters, descriptions and the check of the chain. The file is hostile here: somebody may have
 * changed it, which is what the check is for. */
#define _XOPEN_SOURCE 700
#include "history/query.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "monitor/core.h"
#include "monitor/frame.h"

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

int history_attach(sqlite3 *db, char *err, size_t size)
{
	int e;

	sqlite3_busy_timeout(db, 5000);
	schema_harden(db);
	sqlite3_exec(db, "PRAGMA cache_size=-16384;", NULL, NULL, NULL);
	e = schema_check(db, err, size);
	if (!e)
		e = schema_modern(db, err, size);
	if (!e && sqlite3_create_function(db, "net_match", 2,
					  SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS,
					  NULL, net_match, NULL, NULL) != SQLITE_OK)
		e = ERR_NOMEM;
	return e;
}

int history_read(const char *path, sqlite3 **out, char *err, size_t size)
{
	sqlite3 *db = NULL;
	int rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), e;

	if (rc != SQLITE_OK) {
		snprintf(err, size, "%s", db ? sqlite3_errmsg(db) : "out of memory");
		e = ERR_NOENT;
	} else {
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
	{"net", "cls=8", NULL},
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
		"no device is called %s: disk, disk0, net, rng, console, screen, serial, or a port, "
		"address or MSR such as 0x3f8 or 0x3f8-0x3ff",
		name);
	return ERR_INVAL;
}

static int add_filters(const struct history_filter *f, struct where *w, char *err, size_t size)
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
	if (f->cls)
		add(w, " AND cls=%d", cls);
	if (f->since)
		add(w, " AND t>=%lld", (long long)f->since);
	if (f->until)
		add(w, " AND t<=%lld", (long long)f->until);
	if (f->device >= 0)
		add(w, " AND cls IN (2,3,4,5) AND addr BETWEEN %lld AND %lld", (long long)f->device,
		    (long long)f->device_end);
	if (f->space >= 0)
		add(w, " AND (root=%lld OR (cls=1 AND op IN (3,5) AND addr=%lld))",
		    (long long)f->space, (long long)f->space);
	if (f->run)
		add(w, " AND run=%lld", (long long)f->run);
	if (f->text)
		add(w, " AND text LIKE '%%'||%.300Q||'%%'", f->text);
	if (f->net)
		add(w, " AND cls=8 AND net_match(text,%.40Q)", f->net);
	if (f->op)
		add(w,
		    " AND EXISTS(SELECT 1 FROM op WHERE op.cls=event.cls AND op.op=event.op AND "
		    "op.name=%.40Q)",
		    f->op);
	return f->device_name ? add_device(w, f->device_name, err, size) : 0;
}

static int build(const struct history_filter *f, struct where *w, char *err, size_t size)
{
	int e;

	add(w, "SELECT " HISTORY_COLUMNS);
	e = add_filters(f, w, err, size);
	if (f->limit)
		add(w, " ORDER BY %s DESC LIMIT %lld", f->cls ? "t" : "seq", (long long)f->limit);
	else
		add(w, " ORDER BY seq");
	return e;
}

int history_narrow(sqlite3 *db, const struct history_filter *f, char *err, size_t size)
{
	struct where w = {.n = 0};
	int e = add_filters(f, &w, err, size);

	return e ? e : schema_narrow(db, w.sql, err, size);
}

int history_each(sqlite3 *db, const struct history_filter *f,
		 void (*fn)(void *arg, const struct history_row *r), void *arg, char *err,
		 size_t size)
{
	struct where w = {.n = 0};
	sqlite3_stmt *st = NULL;
	char *sql = NULL;
	int e = build(f, &w, err, size), rc = SQLITE_ROW;

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
		snprintf(err, size, "%s", sqlite3_errmsg(db));
		e = ERR_IO;
	}
	sqlite3_finalize(st);
	sqlite3_free(sql);
	return e;
}

/* ---- words ----------------------------------------------------------------------------------------- */

static int describe_disk(const struct history_row *r, char *s, size_t n)
{
	if (r->verdict & MON_R_COUNTED)
		return snprintf(s, n, "%" PRId64 " more, %" PRId64 " bytes", r->count, r->sum);
	return snprintf(s, n, "%" PRId64 " bytes at sector %" PRIu64 ", %" PRIu64 " us%s", r->value,
			(uint64_t)r->addr / 512, (uint64_t)r->sum / 1000,
			r->result ? ", failed" : "");
}

static int describe_register(const struct history_row *r, char *s, size_t n)
{
	int k;

	if (r->addr == -1)
		k = snprintf(s, n, "others");
	else
		k = snprintf(s, n, "0x%" PRIx64 " = 0x%" PRIx64, (uint64_t)r->addr,
			     (uint64_t)r->value);
	if (r->count > 1 && k < (int)n)
		k += snprintf(s + k, n - (size_t)k, "  (%" PRId64 " times)", r->count);
	return k;
}

static int describe_cpu(const struct history_row *r, char *s, size_t n)
{
	int k;

	if (r->op == CPU_SHARE && r->text)
		return snprintf(s, n, "%s", r->text);
	if ((r->op == CPU_SPACE || r->op == CPU_USER) && r->verdict & MON_R_COUNTED)
		return snprintf(s, n, "root 0x%" PRIx64 ": %" PRId64 " times, %" PRId64 " us",
				(uint64_t)r->addr, r->count, r->sum / 1000);
	k = snprintf(s, n, "= 0x%" PRIx64, (uint64_t)r->value);
	if (r->count > 1 && k < (int)n)
		k += snprintf(s + k, n - (size_t)k, "  (%" PRId64 " times)", r->count);
	return k;
}

static int describe_life(const struct history_row *r, char *s, size_t n)
{
	static const char *const modes[] = {"real mode", "protected mode without paging",
					    "protected mode with paging", "long mode"};

	if (r->op == LIFE_MODE)
		return r->count == 1 ? snprintf(s, n, "%s", modes[r->addr & 3])
				     : snprintf(s, n, "%s  (%" PRId64 " times)", modes[r->addr & 3],
						r->count);
	if (r->op == LIFE_RULES)
		return snprintf(s, n, "from line %" PRId64 ": %.*s", r->value, (int)MIN(r->len, n),
				r->text ? r->text : "");
	return snprintf(s, n, "%.*s", (int)MIN(r->len, n), r->text ? r->text : "");
}

static int describe_bytes(const struct history_row *r, char *s, size_t n)
{
	return snprintf(s, n, "%" PRId64 " bytes%s", r->verdict & MON_R_COUNTED ? r->sum : r->value,
			r->count > 1 ? " in all" : "");
}

static int describe_console(const struct history_row *r, char *s, size_t n)
{
	if (r->frame)
		return snprintf(s, n, "%u x %u, a picture of %zu bytes",
				(unsigned)((uint64_t)r->value >> 32), (unsigned)r->value, r->len);
	if (!r->text)
		return snprintf(s, n, "%" PRId64 " bytes",
				r->verdict & MON_R_COUNTED ? r->sum : r->value);
	return snprintf(s, n, "%.*s", (int)MIN(r->len, n), r->text);
}

static int describe_net(const struct history_row *r, char *s, size_t n)
{
	if (r->text && r->op == NET_FLOW_CLOSE)
		return snprintf(s, n,
				"%s  %" PRId64 " packets, %" PRId64 " bytes out, %" PRId64 " in",
				r->text, r->count, r->value, r->sum);
	if (r->verdict & MON_R_COUNTED)
		return snprintf(s, n, "%" PRId64 " more, %" PRId64 " bytes", r->count, r->sum);
	if (r->frame)
		return snprintf(s, n, "%" PRId64 " bytes", r->size);
	return snprintf(s, n, "%s", r->text ? r->text : "");
}

const char *history_op_name(int64_t cls, int64_t op)
{
	return cls >= 0 && cls < MON_CLASSES && op >= 0 && op < 256
		       ? schema_op_name((uint8_t)cls, (uint8_t)op)
		       : "";
}

void history_describe(const struct history_row *r, char *s, size_t n)
{
	static const char *const verdicts[] = {"", "  REDIRECTED", "  DENIED", ""};
	int k;

	switch (r->cls) {
	case MON_DISK:
		k = describe_disk(r, s, n);
		break;
	case MON_NET:
		k = describe_net(r, s, n);
		break;
	case MON_CPU:
		k = describe_cpu(r, s, n);
		break;
	case MON_CONSOLE:
		k = describe_console(r, s, n);
		break;
	case MON_LIFECYCLE:
		k = describe_life(r, s, n);
		break;
	case MON_ENTROPY:
		k = describe_bytes(r, s, n);
		break;
	case MON_OPERATOR:
	case MON_TIME:
	case MON_MEMORY:
	case MON_DEVICE:
		k = snprintf(s, n, "%.*s", (int)MIN(r->len, n), r->text ? r->text : "");
		break;
	default:
		k = describe_register(r, s, n);
	}
	if (k < (int)n && r->rule)
		k += snprintf(s + k, n - (size_t)k, "%s by line %" PRId64, verdicts[r->verdict & 3],
			      r->rule);
	/* a terminal shall not be at the guest's command */
	for (char *p = s; *p; p++)
		if ((unsigned char)*p < ' ' || (unsigned char)*p > '~')
			*p = *p == '\n' || *p == '\r' ? ' ' : '.';
}

int history_time(const char *s, int64_t now, int64_t *out)
{
	struct tm tm = {.tm_mday = 1};
	char *end;
	const char *stop;
	long long v = strtoll(s, &end, 10);
	static const struct {
		char unit;
		int64_t s;
	} units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};

	for (unsigned i = 0; i < ARRAY_SIZE(units); i++) {
		if (end != s && end[0] == units[i].unit && !end[1] && v >= 0 && v < 1000000) {
			*out = now - v * units[i].s * (int64_t)NS_PER_SEC;
			return 0;
		}
	}
	if (end != s && !*end && v > 0 && v < INT64_C(9000000000)) {
		*out = v * (int64_t)NS_PER_SEC;
		return 0;
	}
	stop = strptime(s, "%Y-%m-%d", &tm);
	if (stop && *stop)
		stop = strptime(stop + 1, "%H:%M", &tm);
	if (stop && *stop == ':')
		stop = strptime(stop, ":%S", &tm);
	if (!stop || *stop)
		return ERR_INVAL;
	*out = (int64_t)timegm(&tm) * (int64_t)NS_PER_SEC;
	return 0;
}

/* ---- the chain ---------------------------------------------------------------------------------------- */

static int broken(struct history_check *out, int64_t batch, const char *what)
{
	snprintf(out->text, sizeof(out->text), "batch %" PRId64 ": %s", batch, what);
	return ERR_FORMAT;
}

static int hash_rows(sqlite3_stmt *rows, int64_t first, int64_t last, struct sha256 *s,
		     struct history_check *out, int64_t batch)
{
	int64_t want = first; /* at most last + 1, which is a number */
	int e = 0;

	sqlite3_bind_int64(rows, 1, first);
	sqlite3_bind_int64(rows, 2, last);
	while (!e && sqlite3_step(rows) == SQLITE_ROW) {
		struct history_row r;

		schema_read_row(rows, &r);
		if (r.seq != want)
			e = broken(out, batch, "a row is missing");
		want++;
		chain_row(s, &r);
		out->rows++;
	}
	sqlite3_reset(rows);
	if (!e && want != last + 1)
		e = broken(out, batch, "rows at its end are missing");
	return e;
}

static int check_batch(sqlite3_stmt *st, sqlite3_stmt *rows, struct history_check *out,
		       int64_t *next)
{
	int64_t id = sqlite3_column_int64(st, 0), first = sqlite3_column_int64(st, 1);
	int64_t last = sqlite3_column_int64(st, 2), t = sqlite3_column_int64(st, 3);
	int64_t dropped = sqlite3_column_int64(st, 4);
	uint8_t hash[SHA256_SIZE];
	struct sha256 s;
	int e;

	if (sqlite3_column_bytes(st, 5) != SHA256_SIZE ||
	    sqlite3_column_bytes(st, 6) != SHA256_SIZE)
		return broken(out, id, "its hashes have the wrong size");
	if (!out->batches)
		out->pruned = first > 1;
	else if (memcmp(sqlite3_column_blob(st, 5), out->head, SHA256_SIZE))
		return broken(out, id, "it does not follow the one before");
	if (out->batches ? first != *next : false)
		return broken(out, id, "records before it are missing");
	if (first < 1 || last < first - 1 || last == INT64_MAX)
		return broken(out, id, "its numbers make no sense");
	chain_begin(&s, sqlite3_column_blob(st, 5));
	e = hash_rows(rows, first, last, &s, out, id);
	if (e)
		return e;
	chain_end(&s, first, last, t, dropped, hash);
	if (memcmp(hash, sqlite3_column_blob(st, 6), SHA256_SIZE))
		return broken(out, id, "its rows were changed");
	memcpy(out->head, hash, sizeof(hash));
	*next = last + 1;
	out->batches++;
	out->dropped += (uint64_t)dropped;
	return 0;
}

/* Rows that no batch has. */
static int check_strays(sqlite3 *db, int64_t next, struct history_check *out)
{
	sqlite3_stmt *st;
	int64_t n = 0;

	if (sqlite3_prepare_v2(db,
			       "SELECT count(*) FROM event WHERE seq>=?1 OR seq<(SELECT min(first) "
			       "FROM batch)",
			       -1, &st, NULL) != SQLITE_OK)
		return ERR_IO;
	sqlite3_bind_int64(st, 1, next);
	if (sqlite3_step(st) == SQLITE_ROW)
		n = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	return n ? broken(out, (int64_t)out->batches, "there are rows that belong to no batch") : 0;
}

int history_verify(sqlite3 *db, struct history_check *out)
{
	sqlite3_stmt *st = NULL, *rows = NULL;
	int64_t next = 1;
	int e = 0, rc;

	*out = (struct history_check){.batches = 0};
	/* one view of the file, whatever is written meanwhile */
	sqlite3_exec(db, "BEGIN", NULL, NULL, NULL);
	if (sqlite3_prepare_v2(db,
			       "SELECT id,first,last,t,dropped,prev,hash FROM batch ORDER BY id",
			       -1, &st, NULL) != SQLITE_OK ||
	    sqlite3_prepare_v2(db,
			       "SELECT " HISTORY_COLUMNS
			       " FROM event WHERE seq BETWEEN ? AND ? ORDER BY seq",
			       -1, &rows, NULL) != SQLITE_OK)
		e = ERR_IO;
	while (!e && (rc = sqlite3_step(st)) != SQLITE_DONE)
		e = rc == SQLITE_ROW ? check_batch(st, rows, out, &next) : ERR_IO;
	if (!e)
		e = check_strays(db, next, out);
	if (e == ERR_IO)
		snprintf(out->text, sizeof(out->text), "%s", sqlite3_errmsg(db));
	sqlite3_finalize(st);
	sqlite3_finalize(rows);
	sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	return e;
}
