/* SPDX-License-Identifier: ISC */
/* history.c: reads what a VM has done: timeline, JSON, SQL, summary, check. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/report.h"
#include "cmd/watch_opts.h"
#include "ctl/control.h"
#include "ctl/runner.h"
#include "ctl/watch.h"
#include "history/query.h"

#define FOLLOW_US 300000

struct history_cmd {
	struct watch_opts o;
	struct history_filter f;
	/* while printing */
	sqlite3 *db;
	bool colour;
	int64_t last;
	/* the next place where records were lost */
	int64_t gap, lost, gap_from;
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

static int read_when(const char *s, const char *option, int64_t *out, struct msg *msg)
{
	if (!history_time(s, (int64_t)plat_realtime(), out))
		return 0;
	return msg_fail(msg, ERR_INVAL,
			"%s %s: give 10m, 2h, 3d (ago), 2026-11-20 or '2026-11-20 12:30' (UTC)",
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
		err = read_when(o->since, "--since", &f->since, msg);
	if (!err && o->until)
		err = read_when(o->until, "--until", &f->until, msg);
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

static void print_time(int64_t t, char *buf, size_t size)
{
	time_t s = (time_t)(t / (int64_t)NS_PER_SEC);
	struct tm tm;
	size_t n;

	gmtime_r(&s, &tm);
	n = strftime(buf, size, "%Y-%m-%d %H:%M:%S", &tm);
	snprintf(buf + n, size - n, ".%06u", (unsigned)(t % (int64_t)NS_PER_SEC / 1000));
}

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

/* Behind which record, of those from gap_from on, something is missing */
static void find_gap(struct history_cmd *o)
{
	sqlite3_stmt *st;

	o->gap = INT64_MAX;
	if (sqlite3_prepare_v2(
		    o->db,
		    "SELECT last, dropped FROM batch WHERE dropped>0 AND last>=? ORDER BY id LIMIT 1",
		    -1, &st, NULL) != SQLITE_OK)
		return;
	sqlite3_bind_int64(st, 1, o->gap_from);
	if (sqlite3_step(st) == SQLITE_ROW) {
		o->gap = sqlite3_column_int64(st, 0);
		o->lost = sqlite3_column_int64(st, 1);
	}
	sqlite3_finalize(st);
}

static void print_gaps(struct history_cmd *o, int64_t upto)
{
	while (o->gap < upto) {
		printf("%s%29s %" PRId64 " records were lost about here%s\n",
		       o->colour ? "\033[31m" : "", "-", o->lost, o->colour ? "\033[0m" : "");
		o->gap_from = o->gap + 1;
		find_gap(o);
	}
}

static void print_row(void *arg, const struct history_row *r)
{
	struct history_cmd *o = arg;
	char when_text[64], text[700], vcpu[8] = "-";

	if (!o->last) {
		o->gap_from = r->seq;
		find_gap(o);
	}
	print_gaps(o, r->seq);
	o->last = MAX(o->last, r->seq);
	print_time(r->t, when_text, sizeof(when_text));
	history_describe(r, text, sizeof(text));
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
	print_time(r->t, when_text, sizeof(when_text));
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
		json_object_set_new(j, "text", json_stringn(r->text, r->len));
	json_dumpf(j, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(j);
}

static int timeline(struct history_cmd *o, sqlite3 *db, struct msg *msg)
{
	char err[300] = "";
	int e;

	do {
		e = history_each(db, &o->f, o->o.json ? print_json : print_row, o, err,
				 sizeof(err));
		if (e)
			return msg_fail(msg, e, "%s", err);
		fflush(stdout);
		if (!o->o.json && o->last) {
			find_gap(o);
			print_gaps(o, INT64_MAX);
			fflush(stdout);
		}
		o->f.after = MAX(o->f.after, o->last);
		o->f.limit = 0;
	} while (o->o.follow && !ferror(stdout) && !usleep(FOLLOW_US));
	return 0;
}

/* ---- SQL ---------------------------------------------------------------------------------------- */

static json_t *column_json(sqlite3_stmt *st, int i)
{
	const char *s;

	switch (sqlite3_column_type(st, i)) {
	case SQLITE_INTEGER:
		return json_integer(sqlite3_column_int64(st, i));
	case SQLITE_FLOAT:
		return json_real(sqlite3_column_double(st, i));
	case SQLITE_NULL:
		return json_null();
	default:
		s = (const char *)sqlite3_column_text(st, i);
		return json_string(s ? s : "");
	}
}

static void print_columns(sqlite3_stmt *st, bool json)
{
	json_t *row = json ? json_object() : NULL;

	for (int i = 0; i < sqlite3_column_count(st); i++) {
		const char *s;

		if (row) {
			json_object_set_new(row, sqlite3_column_name(st, i), column_json(st, i));
			continue;
		}
		s = (const char *)sqlite3_column_text(st, i);
		printf("%s", i ? "\t" : "");
		for (; s && *s; s++)
			putchar((unsigned char)*s < ' ' ? ' ' : *s);
	}
	if (row)
		json_dumpf(row, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(row);
}

static int ask_sql(sqlite3 *db, const char *sql, bool json, struct msg *msg)
{
	sqlite3_stmt *st;
	int rc;

	if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK)
		return msg_fail(msg, ERR_INVAL, "%s", sqlite3_errmsg(db));
	if (!json) {
		for (int i = 0; i < sqlite3_column_count(st); i++)
			printf("%s%s", i ? "\t" : "", sqlite3_column_name(st, i));
		putchar('\n');
	}
	while ((rc = sqlite3_step(st)) == SQLITE_ROW)
		print_columns(st, json);
	if (rc != SQLITE_DONE)
		msg_fail(msg, ERR_IO, "%s", sqlite3_errmsg(db));
	sqlite3_finalize(st);
	return rc == SQLITE_DONE ? 0 : ERR_IO;
}

/* ---- summary -------------------------------------------------------------------------------------- */

#define SPARKS 40

/* Eight heights of what happened over the time of the history. */
static void spark(sqlite3 *db, int cls, int64_t from, int64_t to)
{
	static const char *const bars[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
	int64_t n[SPARKS] = {0}, most = 1;
	sqlite3_stmt *st;

	if (sqlite3_prepare_v2(db,
			       "SELECT min(?1*(t-?2)/(?3-?2+1), ?1-1), sum(count) FROM event WHERE "
			       "cls=?4 AND t>=?2 GROUP BY 1",
			       -1, &st, NULL) != SQLITE_OK)
		return;
	sqlite3_bind_int(st, 1, SPARKS);
	sqlite3_bind_int64(st, 2, from);
	sqlite3_bind_int64(st, 3, to);
	sqlite3_bind_int(st, 4, cls);
	while (sqlite3_step(st) == SQLITE_ROW) {
		int64_t i = sqlite3_column_int64(st, 0);

		if (i >= 0 && i < SPARKS)
			n[i] = sqlite3_column_int64(st, 1);
	}
	sqlite3_finalize(st);
	for (unsigned i = 0; i < SPARKS; i++)
		most = MAX(most, n[i]);
	for (unsigned i = 0; i < SPARKS; i++)
		printf("%s", bars[n[i] > 0 ? 1 + (int)(7.0 * (double)n[i] / (double)most) : 0]);
}

static void print_classes(sqlite3 *db)
{
	sqlite3_stmt *st;

	if (sqlite3_prepare_v2(
		    db,
		    "SELECT cls, count(*), sum(count), (SELECT min(t) FROM event), (SELECT "
		    "max(t) FROM event) FROM event GROUP BY cls ORDER BY 3 DESC",
		    -1, &st, NULL) != SQLITE_OK)
		return;
	printf("%-10s %12s %10s  over time\n", "CLASS", "EVENTS", "RECORDS");
	while (sqlite3_step(st) == SQLITE_ROW) {
		int cls = sqlite3_column_int(st, 0);

		printf("%-10s %12lld %10lld  ", mon_class_name((uint8_t)cls),
		       (long long)sqlite3_column_int64(st, 2),
		       (long long)sqlite3_column_int64(st, 1));
		spark(db, cls, sqlite3_column_int64(st, 3), sqlite3_column_int64(st, 4));
		putchar('\n');
	}
	sqlite3_finalize(st);
}

static int summary(sqlite3 *db, struct msg *msg)
{
	static const struct {
		const char *title, *sql;
	} parts[] = {
		{"runs",
		 "SELECT id, datetime(started/1e9,'unixepoch') AS started, name, engine, cpus,"
		 " memory/1048576 AS mib FROM run ORDER BY id DESC LIMIT 10"},
		{"devices most used",
		 "SELECT class, op, printf('0x%x',addr) AS addr, n FROM counters WHERE class IN "
		 "('port','mmio','msr','cpuid','irq') ORDER BY n DESC LIMIT 12"},
		{"disk",
		 "SELECT run, op, sum(count) AS requests, sum(CASE counted WHEN 1 THEN sum ELSE "
		 "value END) AS bytes, max(CASE counted WHEN 1 THEN 0 ELSE sum END)/1000 AS "
		 "slowest_us FROM events WHERE class='disk' GROUP BY run, op"},
		{"network flows most used",
		 "SELECT text, packets, bytes_out, bytes_in FROM net_flows "
		 "ORDER BY bytes_out+bytes_in DESC LIMIT 10"},
		{"names asked",
		 "SELECT text, count(*) AS times FROM dns WHERE text LIKE 'ask %' GROUP BY "
		 "text ORDER BY 2 DESC LIMIT 10"},
		{"guest processes by time (page-table roots)",
		 "SELECT run, printf('0x%x',cr3) AS cr3, sum(switches) AS switches, sum(seconds) AS "
		 "seconds, sum(user_seconds) AS of_them_user FROM spaces GROUP BY run, cr3 "
		 "ORDER BY seconds DESC LIMIT 10"},
		{"exceptions", "SELECT run, op, sum(n) AS times FROM exceptions GROUP BY run, op "
			       "ORDER BY times DESC LIMIT 12"},
		{"verdicts",
		 "SELECT class, verdict, rule, sum(count) AS times FROM verdicts GROUP BY "
		 "class, verdict, rule ORDER BY 4 DESC LIMIT 20"},
		{"operator", "SELECT time, op, text FROM operator ORDER BY seq DESC LIMIT 10"},
		{"records lost", "SELECT sum(dropped) AS lost FROM batch"},
	};
	int err = 0;

	print_classes(db);
	for (unsigned i = 0; i < ARRAY_SIZE(parts) && !err; i++) {
		printf("\n%s\n", parts[i].title);
		err = ask_sql(db, parts[i].sql, false, msg);
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

/* On a terminal, long answers go through the user's pager. */
static FILE *pager(const struct history_cmd *o)
{
	const char *cmd = getenv("PAGER");

	if (!isatty(STDOUT_FILENO) || o->o.follow || o->o.verify || o->o.html || o->o.pcap ||
	    o->o.screens)
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
		return ask_sql(db, o->o.sql, o->o.json, msg);
	return o->o.summary ? summary(db, msg) : timeline(o, db, msg);
}

static int show(struct history_cmd *o, const char *name, struct msg *msg)
{
	char path[4096], err[300];
	sqlite3 *db;
	FILE *p;
	int e = watch_path(name, false, path, sizeof(path), msg);

	if (e)
		return e;
	if (history_read(path, &db, err, sizeof(err)))
		return msg_fail(msg, ERR_NOENT, "no history of %s: %s: %s", name, path, err);
	p = pager(o);
	o->db = db;
	o->colour = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
	if (p)
		dup2(fileno(p), STDOUT_FILENO);
	e = answer(o, db, name, msg);
	fflush(stdout);
	if (p) {
		close(STDOUT_FILENO);
		pclose(p);
	}
	sqlite3_close(db);
	return e;
}

int history_main(int argc, char **argv)
{
	struct history_cmd o = {.last = 0};
	struct opt_args args;
	struct msg msg = {""};
	int err;

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
