/* SPDX-License-Identifier: ISC */
/* policy.c: rules of a running VM, and what rules would have done in the past of one. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/watch_opts.h"
#include "ctl/control.h"
#include "ctl/runner.h"
#include "ctl/watch.h"
#include "history/query.h"
#include "monitor/policy.h"

#define PART 2000 /* bytes of rules in one line of the protocol, which may double as JSON */

/* ---- a running VM ------------------------------------------------------------------------------- */

static int policy_show(const char *name, struct msg *msg)
{
	int fd = cmd_connect(name, msg), err = fd < 0 ? fd : 0;
	json_int_t from = 0, size = 1;

	while (!err && from < size) {
		json_t *answer;

		err = control_call(fd, json_pack("{s:s,s:I}", "do", "rules", "from", from), 10,
				   &answer, msg);
		if (err)
			break;
		fputs(json_string_value(json_object_get(answer, "text")), stdout);
		from += (json_int_t)json_string_length(json_object_get(answer, "text"));
		size = json_integer_value(json_object_get(answer, "size"));
		json_decref(answer);
	}
	if (fd >= 0)
		close(fd);
	if (!err && !size)
		printf("# no rules: everything is provided\n");
	return err;
}

/* Compiled here first: includes are resolved on this side, and errors name files. */
static int policy_set(const char *name, const char *file, struct msg *msg)
{
	struct policy *p;
	char *text;
	int err = watch_compile(file, &p, &text, msg), fd;
	size_t len, at = 0;

	if (err)
		return err;
	policy_free(p);
	fd = cmd_connect(name, msg);
	err = fd < 0 ? fd : 0;
	len = strlen(text);
	while (!err && (at < len || !len)) {
		size_t n = MIN(len - at, (size_t)PART);
		json_t *answer, *req = json_object();

		/* parts end at a character's end */
		while (n > 1 && at + n < len && ((unsigned char)text[at + n] & 0xc0) == 0x80)
			n--;
		json_object_set_new(req, "do", json_string("policy"));
		json_object_set_new(req, "text", json_stringn(text + at, n));
		json_object_set_new(req, "more", json_boolean(at + n < len));
		err = control_call(fd, req, 10, &answer, msg);
		if (!err)
			json_decref(answer);
		at += n;
		if (!len)
			break;
	}
	if (fd >= 0)
		close(fd);
	free(text);
	return err;
}

static int policy_check(const char *file, struct msg *msg)
{
	struct policy *p;
	int err = watch_compile(file, &p, NULL, msg);

	if (err)
		return err;
	printf("%s: %u rules\n", file, policy_count(p));
	policy_free(p);
	return 0;
}

/* ---- the past -------------------------------------------------------------------------------------- */

struct past {
	struct policy *p;
	uint64_t verdicts[3];
	uint64_t unknown; /* counted without their address: the table was full */
};

/* "tcp 10.0.2.15:4000 > 1.2.3.4:443": the flow's far end is the one that is not the guest's. */
static bool flow_of_text(const char *text, struct policy_flow *f)
{
	char proto[8], a[64], b[64], *colon;
	unsigned v[4];
	const char *far;

	*f = (struct policy_flow){.outward = true};
	if (sscanf(text, "%7s %63s > %63s", proto, a, b) != 3)
		return false;
	f->proto = !strcmp(proto, "tcp") ? 6 : !strcmp(proto, "udp") ? 17 : 1;
	/* the guest's addresses are private ones of the user network; what begins there goes out */
	f->outward = strncmp(b, "10.0.2.15", 9) != 0;
	far = f->outward ? b : a;
	colon = strrchr(b, ':');
	if (colon)
		f->port = (uint16_t)strtoul(colon + 1, NULL, 10);
	if (sscanf(far, "%3u.%3u.%3u.%3u", &v[0], &v[1], &v[2], &v[3]) != 4)
		return false;
	f->remote.b[10] = f->remote.b[11] = 0xff;
	for (unsigned i = 0; i < 4; i++)
		f->remote.b[12 + i] = (uint8_t)v[i];
	return true;
}

/* "ask A example.com" */
static bool name_of_text(const char *text, char *name, size_t size)
{
	const char *s = !strncmp(text, "ask ", 4) ? strchr(text + 4, ' ') : NULL;

	if (!s)
		return false;
	snprintf(name, size, "%s", s + 1);
	return true;
}

static void try_row(void *arg, const struct history_row *r)
{
	struct past *past = arg;
	enum mon_verdict v = MON_PROVIDE;
	uint32_t line = 0;

	if (r->cls == MON_NET) {
		struct policy_flow f;
		char name[FRAME_NAME_MAX];

		if (!r->text)
			return;
		if (r->op == NET_DNS && name_of_text(r->text, name, sizeof(name)))
			f = (struct policy_flow){
				.proto = 17, .outward = true, .port = 53, .name = name};
		else if (r->op != NET_FLOW_OPEN || !flow_of_text(r->text, &f))
			return;
		v = policy_decide_flow(past->p, &f, &line);
	} else {
		struct mon_event ev = {.cls = (uint8_t)r->cls,
				       .op = (uint8_t)r->op,
				       .size = (uint16_t)r->size,
				       .vcpu = (int32_t)r->vcpu,
				       .addr = (uint64_t)r->addr,
				       .value = (uint64_t)r->value};

		if (!(policy_mask(past->p) & BIT(r->cls)))
			return;
		if (r->addr == -1 && r->verdict & MON_R_COUNTED) {
			past->unknown += (uint64_t)r->count;
			return;
		}
		v = policy_decide(past->p, &ev);
		line = ev.rule;
	}
	past->verdicts[v] += (uint64_t)r->count;
	if (v != MON_PROVIDE) {
		char text[500];

		history_describe(r, text, sizeof(text));
		printf("line %u %s  %s %s %s\n", line, v == MON_DENY ? "denies" : "redirects",
		       mon_class_name((uint8_t)r->cls), history_op_name(r->cls, r->op), text);
	}
}

static int open_past(const char *name, sqlite3 **db, struct msg *msg)
{
	char path[4096], err[300];
	int e = watch_path(name, false, path, sizeof(path), msg);

	if (!e && history_read(path, db, err, sizeof(err)))
		e = msg_fail(msg, ERR_NOENT, "no history of %s: %s: %s", name, path, err);
	return e;
}

static int policy_test(const char *file, const char *name, struct msg *msg)
{
	const struct history_filter all = {.device = -1, .space = -1};
	struct past past = {.unknown = 0};
	char err[300] = "";
	sqlite3 *db;
	int e;

	if (!name)
		return msg_fail(msg, ERR_INVAL,
				"test RULES --history NAME: the history is missing");
	e = watch_compile(file, &past.p, NULL, msg);
	if (e)
		return e;
	e = open_past(name, &db, msg);
	if (!e) {
		e = history_each(db, &all, try_row, &past, err, sizeof(err));
		if (e)
			msg_fail(msg, e, "%s", err);
		sqlite3_close(db);
	}
	if (!e)
		printf("provided %" PRIu64 ", redirected %" PRIu64 ", denied %" PRIu64
		       ", not known %" PRIu64 "\n",
		       past.verdicts[MON_PROVIDE], past.verdicts[MON_REDIRECT],
		       past.verdicts[MON_DENY], past.unknown);
	policy_free(past.p);
	return e;
}

/* Rules that provide what was seen, then one that denies the rest, for each class that was used. */
static const struct {
	const char *title, *rules, *rest;
} suggestions[] = {
	{"ports",
	 "SELECT 'provide port ' || CASE op WHEN 0 THEN 'read ' ELSE 'write ' END || printf('0x%x', "
	 "addr) || CASE WHEN max(size)>1 THEN printf('-0x%x', addr+max(size)-1) ELSE '' END FROM event "
	 "WHERE cls=2 AND addr>=0 AND verdict&3=0 GROUP BY op, addr ORDER BY addr, op",
	 "deny port any"},
	{"device memory, by page",
	 "SELECT DISTINCT 'provide mmio ' || printf('0x%x-0x%x', addr/4096*4096, addr/4096*4096+4095) "
	 "FROM event WHERE cls=3 AND addr>=0 AND verdict&3=0 ORDER BY addr/4096",
	 "deny mmio any"},
	{"MSRs",
	 "SELECT 'provide msr ' || CASE op WHEN 0 THEN 'read ' ELSE 'write ' END || printf('0x%x', addr) "
	 "FROM event WHERE cls=4 AND addr>=0 AND verdict&3=0 GROUP BY op, addr ORDER BY addr, op",
	 "deny msr any"},
	{"disk",
	 "SELECT 'provide disk ' || CASE op WHEN 0 THEN 'read' WHEN 1 THEN 'write' WHEN 2 THEN 'flush' WHEN "
	 "3 THEN 'discard' ELSE 'zero' END FROM event WHERE cls=7 AND verdict&3=0 GROUP BY op ORDER BY op",
	 "deny disk any"},
};

static void print_lines(sqlite3 *db, const char *sql, unsigned *n)
{
	sqlite3_stmt *st;

	*n = 0;
	if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK)
		return;
	while (sqlite3_step(st) == SQLITE_ROW) {
		printf("%s\n", (const char *)sqlite3_column_text(st, 0));
		(*n)++;
	}
	sqlite3_finalize(st);
}

/* Each flow's far end and port once. */
static void suggest_net(sqlite3 *db)
{
	sqlite3_stmt *st;
	unsigned n = 0;

	printf("\n# network\n");
	if (sqlite3_prepare_v2(
		    db,
		    "SELECT DISTINCT substr(text, 1, instr(text,' ')) || '0.0.0.0:0 > ' || "
		    "substr(text, instr(text,'> ')+2), text FROM event WHERE cls=8 AND op=2 AND "
		    "verdict&3=0 GROUP BY 1",
		    -1, &st, NULL) != SQLITE_OK)
		return;
	while (sqlite3_step(st) == SQLITE_ROW) {
		struct policy_flow f;
		char addr[FRAME_ADDR_TEXT];

		if (!flow_of_text((const char *)sqlite3_column_text(st, 1), &f))
			continue;
		frame_addr_format(&f.remote, addr);
		printf("provide net %s %s %s", f.outward ? "out" : "in", frame_proto_name(f.proto),
		       addr);
		if (f.port)
			printf(" port %u", f.port);
		putchar('\n');
		n++;
	}
	sqlite3_finalize(st);
	printf(n ? "deny net any\n" : "deny net any # it never spoke\n");
}

static int policy_suggest(const char *name, struct msg *msg)
{
	sqlite3 *db;
	int e = open_past(name, &db, msg);

	if (e)
		return e;
	printf("# what the history of %s has; everything else is denied\n", name);
	for (unsigned i = 0; i < ARRAY_SIZE(suggestions); i++) {
		unsigned n;

		printf("\n# %s\n", suggestions[i].title);
		print_lines(db, suggestions[i].rules, &n);
		printf("%s\n", suggestions[i].rest);
	}
	suggest_net(db);
	sqlite3_close(db);
	return 0;
}

/* ---- the command -------------------------------------------------------------------------------------- */

int policy_main(int argc, char **argv)
{
	struct watch_opts o = {.history = NULL};
	struct opt_args args;
	struct msg msg = {""};
	const char *verb;
	int err;

	if (opt_parse(&cmd_policy, argc, argv, &o, &args, &msg))
		return cmd_fail(&cmd_policy, &msg);
	if (args.help) {
		opt_print_help(&cmd_policy);
		return EXIT_OK;
	}
	verb = args.arg[0];
	if (!strcmp(verb, "show") && args.n == 2)
		err = policy_show(args.arg[1], &msg);
	else if (!strcmp(verb, "set") && args.n == 3)
		err = policy_set(args.arg[1], args.arg[2], &msg);
	else if (!strcmp(verb, "check") && args.n == 2)
		err = policy_check(args.arg[1], &msg);
	else if (!strcmp(verb, "test") && args.n == 2)
		err = policy_test(args.arg[1], o.history, &msg);
	else if (!strcmp(verb, "suggest") && args.n == 2)
		err = policy_suggest(args.arg[1], &msg);
	else
		err = msg_fail(&msg, ERR_INVAL,
			       "expected show NAME, set NAME RULES, check RULES, test RULES "
			       "--history NAME or suggest NAME");
	return err ? cmd_fail(&cmd_policy, &msg) : EXIT_OK;
}
