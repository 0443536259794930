/* SPDX-License-Identifier: ISC */
/* history.c: reads what a VM has done: timeline, JSON, SQL, summary, check. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "cmd/cmd.h"
#include "cmd/report.h"
#include "cmd/watch_opts.h"
#include "ctl/control.h"
#include "ctl/runner.h"
#include "ctl/watch.h"
#include "history/tally.h"

#define FOLLOW_US 300000

struct history_cmd {
	struct watch_opts o;
	struct history_filter f;
	/* while printing */
	sqlite3 *db;
	bool colour;
	bool ascii; /* the terminal is not one of UTF-8, to which parts of characters would be controls */
	int64_t last;
	/* the batch that is looked at for records that were lost: its number, its last record */
	sqlite3_stmt *gaps;
	bool held;
	int64_t batch, gap, lost;
};

/* ---- options --------------------------------------------------------------------------------- */

static int read_number(const char *s, const char *option, int64_t *out, struct msg *msg)
{
	uint64_t v;
	int err = opt_u64(s, 0, INT64_MAX, option, &v, msg);

	if (!err)
		*out = (int64_t)v;
	return err;
}

static int read_when(const struct watch_opts *o, const char *s, const char *option, int64_t *out,
		     struct msg *msg)
{
	if (!history_time(s, (int64_t)plat_realtime(), o->utc, out))
		return 0;
	return msg_fail(
		msg, ERR_INVAL,
		"%s %s: give 10m, '2 hours ago', today, 'yesterday 18:00', 18:00, 2026-11-20, "
		"'2026-11-20 12:30' or 2026-11-20T12:30+01:00",
		option, s);
}

static int read_device(const char *s, struct history_filter *f, struct msg *msg)
{
	char *end;

	errno = 0;
	f->device = f->device_end = strtoll(s, &end, 0);
	if (end != s && *end == '-' && end[1])
		f->device_end = strtoll(end + 1, &end, 0);
	if (errno || end == s || *end || f->device < 0 || f->device_end < f->device)
		return msg_fail(msg, ERR_INVAL,
				"--device %s: give a port, address or MSR: 0x3f8 or 0x3f8-0x3ff",
				s);
	return 0;
}

static int read_filter(const struct watch_opts *o, struct history_filter *f, struct msg *msg)
{
	int err = 0;

	*f = (struct history_filter){.device = -1,
				     .space = -1,
				     .cls = o->cls,
				     .op = o->op,
				     .text = o->text,
				     .net = o->net};
	if (o->since)
		err = read_when(o, o->since, "--since", &f->since, msg);
	if (!err && o->until)
		err = read_when(o, o->until, "--until", &f->until, msg);
	if (!err && o->device && !isdigit((unsigned char)o->device[0]))
		f->device_name = o->device;
	else if (!err && o->device)
		err = read_device(o->device, f, msg);
	if (!err && o->process)
		err = read_number(o->process, "--process", &f->space, msg);
	if (!err && o->run)
		err = read_number(o->run, "--run", &f->run, msg);
	if (!err && o->limit)
		err = read_number(o->limit, "--limit", &f->limit, msg);
	return err;
}

/* ---- timeline --------------------------------------------------------------------------------- */

static const char *colour_of(const struct history_row *r)
{
	if ((r->verdict & MON_R_VERDICT) == MON_DENY || r->result)
		return "\033[31m";
	switch (r->cls) {
	case MON_LIFECYCLE:
	case MON_OPERATOR:
		return "\033[1m";
	case MON_NET:
		return "\033[36m";
	case MON_DISK:
		return "\033[33m";
	case MON_CONSOLE:
		return "\033[32m";
	default:
		return "";
	}
}

/* The number of the last batch that ends before that record: numbers of batches rise with those of their records. */
static int64_t batch_before(sqlite3 *db, int64_t seq)
{
	sqlite3_stmt *st = NULL;
	int64_t lo = 0, hi = 0;

	if (sqlite3_prepare_v2(db, "SELECT min(id)-1, max(id) FROM batch", -1, &st, NULL) ==
		    SQLITE_OK &&
	    sqlite3_step(st) == SQLITE_ROW) {
		lo = sqlite3_column_int64(st, 0);
		hi = sqlite3_column_int64(st, 1);
	}
	sqlite3_finalize(st);
	if (sqlite3_prepare_v2(db, "SELECT last FROM batch WHERE id>=? ORDER BY id LIMIT 1", -1,
			       &st, NULL) != SQLITE_OK)
		return lo;
	while (lo < hi) { /* all up to lo end before it, none beyond hi */
		int64_t mid = (int64_t)((uint64_t)lo + ((uint64_t)hi - (uint64_t)lo + 1) / 2);

		sqlite3_bind_int64(st, 1, mid);
		if (sqlite3_step(st) == SQLITE_ROW && sqlite3_column_int64(st, 0) < seq)
			lo = mid;
		else
			hi = mid - 1;
		sqlite3_reset(st);
	}
	sqlite3_finalize(st);
	return lo;
}

/* Takes the next batch up; false: there is none yet. */
static bool next_batch(struct history_cmd *o)
{
	if (!o->gaps &&
	    sqlite3_prepare_v2(o->db, "SELECT id,last,dropped FROM batch WHERE id>? ORDER BY id",
			       -1, &o->gaps, NULL) != SQLITE_OK)
		return false;
	if (!sqlite3_stmt_busy(o->gaps))
		sqlite3_bind_int64(o->gaps, 1, o->batch);
	o->held = sqlite3_step(o->gaps) == SQLITE_ROW;
	if (!o->held) {
		sqlite3_reset(o->gaps);
		return false;
	}
	o->batch = sqlite3_column_int64(o->gaps, 0);
	o->gap = sqlite3_column_int64(o->gaps, 1);
	o->lost = sqlite3_column_int64(o->gaps, 2);
	return true;
}

/* Says what was lost in the batches that end before that record. Each is looked at once, and only when it is come to:
 * a history may have millions. */
static void print_gaps(struct history_cmd *o, int64_t upto)
{
	while ((o->held || next_batch(o)) && o->gap < upto) {
		if (o->lost > 0)
			printf("%s%29s %" PRId64 " records were lost about here%s\n",
			       o->colour ? "\033[31m" : "", "-", o->lost,
			       o->colour ? "\033[0m" : "");
		o->held = false;
	}
}

static void print_row(void *arg, const struct history_row *r)
{
	struct history_cmd *o = arg;
	char when_text[64], text[700], vcpu[8] = "-";

	if (!o->last)
		o->batch = batch_before(o->db, r->seq);
	print_gaps(o, r->seq);
	o->last = MAX(o->last, r->seq);
	history_time_text(r->t, o->o.utc, when_text, sizeof(when_text));
	history_describe(r, text, sizeof(text));
	if (o->ascii)
		history_printable(text, true);
	if (r->vcpu >= 0)
		snprintf(vcpu, sizeof(vcpu), "%d", (int)r->vcpu);
	printf("%s%s %2s %-9s %-8s %s%s\n", o->colour ? colour_of(r) : "", when_text, vcpu,
	       mon_class_name((uint8_t)r->cls), history_op_name(r->cls, r->op), text,
	       o->colour ? "\033[0m" : "");
}

static void print_json(void *arg, const struct history_row *r)
{
	struct history_cmd *o = arg;
	char when_text[64];
	json_t *j;

	o->last = MAX(o->last, r->seq);
	history_time_text(r->t, true, when_text, sizeof(when_text));
	j = json_pack(
		"{s:I,s:I,s:s,s:I,s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:b,s:I,s:I}",
		"seq", (json_int_t)r->seq, "t", (json_int_t)r->t, "time", when_text, "run",
		(json_int_t)r->run, "class", mon_class_name((uint8_t)r->cls), "op",
		history_op_name(r->cls, r->op), "vcpu", (json_int_t)r->vcpu, "rip",
		(json_int_t)r->rip, "root", (json_int_t)r->root, "addr", (json_int_t)r->addr,
		"value", (json_int_t)r->value, "size", (json_int_t)r->size, "count",
		(json_int_t)r->count, "sum", (json_int_t)r->sum, "result", (json_int_t)r->result,
		"verdict", (json_int_t)(r->verdict & 3), "counted", (int)(r->verdict >> 6 & 1),
		"rule", (json_int_t)r->rule, "tsc", (json_int_t)r->tsc);
	if (!j)
		return;
	if (r->text && !r->frame)
		json_object_set_new(j, "text", report_text(r->text, r->len));
	json_dumpf(j, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(j);
}

static int timeline(struct history_cmd *o, sqlite3 *db, struct msg *msg)
{
	char err[300] = "";
	int e;

	do {
		/* what does not pass the filters is not looked at again */
		int64_t newest = o->o.follow ? history_newest(db) : 0;

		e = history_each(db, &o->f, o->o.json ? print_json : print_row, o, err,
				 sizeof(err));
		if (e)
			return msg_fail(msg, e, "%s", err);
		fflush(stdout);
		if (!o->o.json && o->last) {
			/* who asks up to a time is not told of what was lost after the batch that ends it */
			print_gaps(o, o->f.until && o->held ? o->gap + 1 : INT64_MAX);
			fflush(stdout);
			/* a question that is not finished would see no news */
			sqlite3_reset(o->gaps);
			o->batch -= o->held && o->batch > 0;
			o->held = false;
		}
		o->f.after = MAX(MAX(o->f.after, o->last), newest);
		o->f.limit = 0;
	} while (o->o.follow && !ferror(stdout) && !usleep(FOLLOW_US));
	return 0;
}

/* ---- SQL ---------------------------------------------------------------------------------------- */

/* What is asked of a file is anything, and so are the names in it. */
static void print_cell(const char *s, bool ascii)
{
	char text[4096];

	for (size_t n = s ? strlen(s) : 0, part; n; s += part, n -= part) {
		part = MIN(n, sizeof(text) - 1);
		part -= part < n ? str_utf8_rest(s, part) : 0;
		memcpy(text, s, part);
		text[part] = 0;
		history_printable(text, ascii);
		fputs(text, stdout);
	}
}

static void print_columns(const struct history_cmd *o, sqlite3_stmt *st, bool names)
{
	json_t *row = o->o.json ? json_object() : NULL;

	for (int i = 0; i < sqlite3_column_count(st); i++) {
		if (row) {
			json_object_set_new(row, sqlite3_column_name(st, i), report_cell(st, i));
			continue;
		}
		printf("%s", i ? "\t" : "");
		if (names)
			print_cell(sqlite3_column_name(st, i), o->ascii);
		else if (sqlite3_column_type(st, i) == SQLITE_BLOB)
			printf("%d bytes", sqlite3_column_bytes(st, i));
		else
			print_cell((const char *)sqlite3_column_text(st, i), o->ascii);
	}
	if (row)
		json_dumpf(row, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(row);
}

static int sql_failed(sqlite3 *db, int error, struct msg *msg)
{
	char text[300];

	snprintf(text, sizeof(text), "%s", sqlite3_errmsg(db));
	history_printable(text, true);
	return msg_fail(msg, error, "%s", text);
}

/* zone: for ?1, what SQLite calls it; NULL: there is no ?1. */
static int ask_sql(const struct history_cmd *o, const char *sql, const char *zone, struct msg *msg)
{
	sqlite3_stmt *st;
	int rc;

	if (sqlite3_prepare_v2(o->db, sql, -1, &st, NULL) != SQLITE_OK)
		return sql_failed(o->db, ERR_INVAL, msg);
	if (!st)
		return msg_fail(msg, ERR_INVAL, "--sql: there is no question in it");
	if (zone)
		sqlite3_bind_text(st, 1, zone, -1, SQLITE_STATIC);
	if (!o->o.json)
		print_columns(o, st, true);
	while ((rc = sqlite3_step(st)) == SQLITE_ROW)
		print_columns(o, st, false);
	if (rc != SQLITE_DONE)
		sql_failed(o->db, ERR_IO, msg);
	sqlite3_finalize(st);
	return rc == SQLITE_DONE ? 0 : ERR_IO;
}

/* ---- summary -------------------------------------------------------------------------------------- */

#define SPARKS 40

/* Eight heights of what happened over the time of the history. */
static void spark(const int64_t n[SPARKS])
{
	static const char *const bars[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
	int64_t most = 1;

	for (unsigned i = 0; i < SPARKS; i++)
		most = MAX(most, n[i]);
	for (unsigned i = 0; i < SPARKS; i++)
		printf("%s", bars[n[i] > 0 ? 1 + (int)(7.0 * (double)n[i] / (double)most) : 0]);
}

static void print_classes(sqlite3 *db)
{
	int64_t n[SPARKS] = {0}, cls = -1, events = 0, records = 0;
	sqlite3_stmt *st;
	int rc;

	if (sqlite3_prepare_v2(
		    db,
		    "SELECT a, b, n, sum, sum(n) OVER (PARTITION BY a), sum(sum) OVER (PARTITION "
		    "BY a) FROM tally WHERE what='class' ORDER BY 5 DESC, a, b",
		    -1, &st, NULL) != SQLITE_OK)
		return;
	printf("%-10s %12s %10s  over time\n", "CLASS", "EVENTS", "RECORDS");
	do {
		rc = sqlite3_step(st);
		if (cls >= 0 && (rc != SQLITE_ROW || sqlite3_column_int64(st, 0) != cls)) {
			printf("%-10s %12lld %10lld  ", mon_class_name((uint8_t)cls),
			       (long long)events, (long long)records);
			spark(n);
			putchar('\n');
			memset(n, 0, sizeof(n));
		}
		if (rc != SQLITE_ROW)
			break;
		cls = sqlite3_column_int64(st, 0);
		n[sqlite3_column_int64(st, 1) % SPARKS] = sqlite3_column_int64(st, 2);
		events = sqlite3_column_int64(st, 4);
		records = sqlite3_column_int64(st, 5);
	} while (true);
	sqlite3_finalize(st);
}

static int summary(const struct history_cmd *o, struct msg *msg)
{
	static const struct {
		const char *title, *sql;
	} parts[] = {
		{"runs",
		 "SELECT id, datetime(started/1e9,'unixepoch',?1) AS started, name, engine, cpus,"
		 " memory/1048576 AS mib FROM run ORDER BY id DESC LIMIT 10"},
		{"devices most used",
		 "SELECT class.name AS class, coalesce(op.name,b) AS op, CASE c WHEN -1 THEN 'others' ELSE "
		 "printf('0x%x',c) END AS addr, n FROM tally JOIN class ON class.id=a LEFT JOIN op ON "
		 "op.cls=a AND op.op=b WHERE what='device' ORDER BY n DESC LIMIT 12"},
		{"disk",
		 "SELECT a AS run, 'disk' || b AS disk, coalesce(op.name,c) AS op, n AS requests, sum AS "
		 "bytes, most/1000 AS slowest_us FROM tally LEFT JOIN op ON op.cls=7 AND op.op=c WHERE "
		 "what='disk' ORDER BY a, b, c"},
		{"network flows most used",
		 "SELECT text, packets, bytes_out, bytes_in FROM net_flows "
		 "ORDER BY bytes_out+bytes_in DESC LIMIT 10"},
		{"names asked",
		 "SELECT text, count(*) AS times FROM dns WHERE text LIKE 'ask %' GROUP BY "
		 "text ORDER BY 2 DESC LIMIT 10"},
		{"guest processes by time (page-table roots)",
		 "SELECT a AS run, printf('0x%x',b) AS process, n AS switches, round(sum/1e9,3) AS seconds, "
		 "round(part/1e9,3) AS of_them_user FROM tally WHERE what='space' ORDER BY sum DESC LIMIT 10"},
		{"exceptions",
		 "SELECT a AS run, coalesce(op.name,b) AS op, n AS times FROM tally LEFT JOIN op ON op.cls=1 "
		 "AND op.op=b WHERE what='exception' ORDER BY n DESC LIMIT 12"},
		{"verdicts",
		 "SELECT class.name AS class, coalesce(op.name,b) AS op, CASE c WHEN 1 THEN 'redirect' WHEN "
		 "2 THEN 'deny' ELSE 'provide' END AS verdict, d AS rule, n AS times FROM tally JOIN class "
		 "ON class.id=a LEFT JOIN op ON op.cls=a AND op.op=b WHERE what='verdict' ORDER BY n DESC "
		 "LIMIT 20"},
		{"operator",
		 "SELECT strftime('%Y-%m-%d %H:%M:%f',t/1e9,'unixepoch',?1) AS time, op, text FROM events "
		 "WHERE class='operator' ORDER BY seq DESC LIMIT 10"},
		{"records lost", "SELECT sum(dropped) AS lost FROM batch"},
	};
	char text[300];
	int err = history_tally(o->db, SPARKS, text, sizeof(text));

	if (err)
		return msg_fail(msg, err, "%s", text);
	print_classes(o->db);
	for (unsigned i = 0; i < ARRAY_SIZE(parts) && !err; i++) {
		printf("\n%s\n", parts[i].title);
		err = ask_sql(o, parts[i].sql, o->o.utc ? "+0 days" : "localtime", msg);
	}
	return err;
}

static int verify(sqlite3 *db, struct msg *msg)
{
	struct history_check c;
	int err = history_verify(db, &c);

	if (err)
		return msg_fail(msg, err, "the history is broken at %s", c.text);
	printf("intact: %" PRIu64 " batches, %" PRIu64 " records, %" PRIu64 " lost%s\nhead ",
	       c.batches, c.rows, c.dropped, c.pruned ? ", the oldest removed by age or size" : "");
	for (unsigned i = 0; i < SHA256_SIZE; i++)
		printf("%02x", c.head[i]);
	putchar('\n');
	return 0;
}

/* ---- the command ------------------------------------------------------------------------------------ */

static int set_tiers(const char *name, const char *spec, struct msg *msg)
{
	json_t *answer;
	int fd = cmd_connect(name, msg), err;

	if (fd < 0)
		return fd;
	err = control_call(fd, json_pack("{s:s,s:s}", "do", "record", "classes", spec), 10, &answer,
			   msg);
	if (!err)
		json_decref(answer);
	close(fd);
	return err;
}

static bool in_path(const char *name)
{
	const char *dir = getenv("PATH");
	char file[4096];

	while (dir && *dir) {
		int n = (int)strcspn(dir, ":");

		snprintf(file, sizeof(file), "%.*s/%s", n, dir, name);
		if (!access(file, X_OK))
			return true;
		dir += n + (dir[n] == ':');
	}
	return false;
}

/* On a terminal, long answers go through the user's pager, or less, where there is one. */
static FILE *pager(const struct history_cmd *o)
{
	const char *cmd = getenv("PAGER");

	if (!isatty(STDOUT_FILENO) || o->o.follow || o->o.verify || o->o.html || o->o.pcap ||
	    o->o.screens || ((!cmd || !*cmd) && !in_path("less")))
		return NULL;
	fflush(stdout);
	setenv("LESS", "FRX", 0);
	return popen(cmd && *cmd ? cmd : "less", "we");
}

/* The filters hold for summaries, reports and SQL, too. */
static int narrow(const struct history_cmd *o, sqlite3 *db, struct msg *msg)
{
	const struct watch_opts *w = &o->o;
	char err[300];
	int e;

	if (!w->html && !w->sql && !w->summary)
		return 0;
	if (!w->since && !w->until && !w->cls && !w->op && !w->device && !w->process && !w->net &&
	    !w->text && !w->run)
		return 0;
	e = history_narrow(db, &o->f, err, sizeof(err));
	return e ? msg_fail(msg, e, "%s", err) : 0;
}

static int answer(struct history_cmd *o, sqlite3 *db, const char *name, struct msg *msg)
{
	int err = narrow(o, db, msg);

	if (err)
		return err;
	if (o->o.html)
		return report_html(db, name, o->o.html, msg);
	if (o->o.pcap)
		return report_pcap(db, &o->f, o->o.pcap, msg);
	if (o->o.screens)
		return report_screens(db, &o->f, o->o.screens, msg);
	if (o->o.verify)
		return verify(db, msg);
	if (o->o.sql)
		return ask_sql(o, o->o.sql, NULL, msg);
	return o->o.summary ? summary(o, msg) : timeline(o, db, msg);
}

static int show(struct history_cmd *o, const char *name, struct msg *msg)
{
	char path[4096], err[300];
	sqlite3 *db;
	FILE *p;
	int e = watch_find(name, path, sizeof(path), msg);

	if (e)
		return e;
	if (history_read(path, &db, err, sizeof(err)))
		return msg_fail(msg, ERR_NOENT, "no history of %s: %s: %s", name, path, err);
	p = pager(o);
	o->db = db;
	o->colour = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
	o->ascii = isatty(STDOUT_FILENO) && strcmp(nl_langinfo(CODESET), "UTF-8") != 0;
	if (p)
		dup2(fileno(p), STDOUT_FILENO);
	e = answer(o, db, name, msg);
	fflush(stdout);
	if (p) {
		close(STDOUT_FILENO);
		pclose(p);
	}
	sqlite3_finalize(o->gaps);
	sqlite3_close(db);
	return e;
}

int history_main(int argc, char **argv)
{
	struct history_cmd o = {.last = 0};
	struct opt_args args;
	struct msg msg = {""};
	int err;

	setlocale(LC_CTYPE, "");
	if (opt_parse(&cmd_history, argc, argv, &o.o, &args, &msg))
		return cmd_fail(&cmd_history, &msg);
	if (args.help) {
		opt_print_help(&cmd_history);
		return EXIT_OK;
	}
	if (read_filter(&o.o, &o.f, &msg))
		return cmd_fail(&cmd_history, &msg);
	err = o.o.record ? set_tiers(args.arg[0], o.o.record, &msg) : show(&o, args.arg[0], &msg);
	return err ? cmd_fail(&cmd_history, &msg) : EXIT_OK;
}
