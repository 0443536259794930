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

/* What frame_addr_format() has written, with a port behind it or not. */
static bool address_of_text(const char *text, struct frame_addr *a, uint16_t *port)
{
	unsigned v[9] = {0};
	int n;

	*port = 0;
	memset(a, 0, sizeof(*a));
	if (strchr(text, '.')) {
		n = sscanf(text, "%3u.%3u.%3u.%3u:%5u", &v[0], &v[1], &v[2], &v[3], &v[4]);
		a->b[10] = a->b[11] = 0xff;
		for (unsigned i = 0; i < 4; i++)
			a->b[12 + i] = (uint8_t)v[i];
		*port = (uint16_t)v[4];
		return n >= 4;
	}
	n = sscanf(text, "%4x:%4x:%4x:%4x:%4x:%4x:%4x:%4x:%5u", &v[0], &v[1], &v[2], &v[3], &v[4],
		   &v[5], &v[6], &v[7], &v[8]);
	for (unsigned i = 0; i < 8; i++) {
		a->b[2 * i] = (uint8_t)(v[i] >> 8);
		a->b[2 * i + 1] = (uint8_t)v[i];
	}
	*port = (uint16_t)v[8];
	return n >= 8;
}

/* "tcp 10.0.2.15:4000 > 1.2.3.4:443", who began comes first: the guest, if the first frame was its own. */
static bool flow_of_text(const char *text, bool outward, struct policy_flow *f)
{
	static const struct {
		const char *name;
		uint8_t proto;
	} protos[] = {{"tcp", 6}, {"udp", 17}, {"icmp", 1}, {"icmp6", 58}};
	char proto[8], from[64], to[64];
	struct frame_addr a;
	uint16_t port;

	*f = (struct policy_flow){.outward = outward};
	if (sscanf(text, "%7s %63s > %63s", proto, from, to) != 3)
		return false;
	for (unsigned i = 0; i < ARRAY_SIZE(protos); i++)
		if (!strcmp(proto, protos[i].name))
			f->proto = protos[i].proto;
	if (!address_of_text(from, &a, &port) || !address_of_text(to, &f->remote, &f->port))
		return false;
	if (!outward)
		f->remote = a;
	return true;
}

/* "pause by uid 1000 pid 7: …" */
static bool request_of_text(const char *text, struct mon_event *ev)
{
	static const char *const names[] = {
#define R(name) #name,
		MON_REQUESTS(R)
#undef R
	};
	char what[16];
	unsigned uid;

	if (sscanf(text, "%15s by uid %u", what, &uid) != 2)
		return false;
	for (ev->op = 0; ev->op < REQUESTS && strcmp(names[ev->op], what);)
		ev->op++;
	ev->addr = uid;
	return ev->op < REQUESTS;
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

#define ASKED                                                                            \
	(BIT(MON_PORT) | BIT(MON_MMIO) | BIT(MON_MSR) | BIT(MON_CPUID) | BIT(MON_DISK) | \
	 BIT(MON_CONSOLE) | BIT(MON_ENTROPY) | BIT(MON_OPERATOR))

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
		else if (r->op != NET_FLOW_OPEN || !flow_of_text(r->text, r->value > 0, &f))
			return;
		v = policy_decide_flow(past->p, &f, &line);
	} else {
		struct mon_event ev = {.cls = (uint8_t)r->cls,
				       .op = (uint8_t)r->op,
				       .size = (uint16_t)r->size,
				       .vcpu = (int32_t)r->vcpu,
				       .addr = (uint64_t)r->addr,
				       .value = (uint64_t)r->value};

		/* cpu, time, memory and device are about the VM as a whole, not about what it does */
		if (r->cls < 0 || r->cls >= MON_CLASSES ||
		    !(policy_mask(past->p) & ASKED & BIT(r->cls)) ||
		    (r->cls == MON_CONSOLE && r->op == CONSOLE_SCREEN))
			return;
		if (r->cls == MON_OPERATOR && (!r->text || !request_of_text(r->text, &ev)))
			return;
		if (r->cls == MON_ENTROPY && r->verdict & MON_R_COUNTED)
			ev.value = (uint64_t)r->sum;
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
	 "3 THEN 'discard' ELSE 'zero' END || CASE WHEN min(addr)<0 OR max(value)<=0 THEN '' ELSE printf("
	 "' sectors %lld-%lld', min(addr)/512, max(addr+value-1)/512) END FROM event WHERE cls=7 AND "
	 "verdict&3=0 GROUP BY op ORDER BY op",
	 "deny disk any"},
	{"CPUID",
	 "SELECT 'provide cpuid ' || printf('0x%llx', addr) FROM event WHERE cls=5 AND addr>=0 AND verdict&3=0 "
	 "GROUP BY addr ORDER BY addr",
	 "deny cpuid any"},
	{"console",
	 "SELECT 'provide console ' || CASE op WHEN 0 THEN 'in' ELSE 'out' END FROM event WHERE cls=9 AND op<2 "
	 "AND verdict&3=0 GROUP BY op",
	 "deny console any"},
	{"entropy", "SELECT DISTINCT 'provide entropy any' FROM event WHERE cls=11 AND verdict&3=0",
	 "deny entropy any"},
	{"operators; what only asks is not recorded",
	 "SELECT DISTINCT 'provide operator ' || substr(text,1,instr(text,' ')-1) || ' uid ' || "
	 "CAST(substr(text,instr(text,' by uid ')+8) AS INTEGER) FROM event WHERE cls=12 AND op=0 AND "
	 "verdict&3=0 AND text LIKE '% by uid %' AND substr(text,1,instr(text,' ')-1) IN (SELECT value FROM "
	 "json_each(?1))",
	 "provide operator {status stats rules typing}\ndeny operator any"},
};

/* what operators may ask for, as JSON */
static const char requests[] = "[\"\""
#define R(name) ",\"" #name "\""
	MON_REQUESTS(R)
#undef R
		"]";

static void print_lines(sqlite3 *db, const char *sql, unsigned *n)
{
	sqlite3_stmt *st;

	*n = 0;
	if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK)
		return;
	if (sqlite3_bind_parameter_count(st))
		sqlite3_bind_text(st, 1, requests, -1, SQLITE_STATIC);
	while (sqlite3_step(st) == SQLITE_ROW) {
		printf("%s\n", (const char *)sqlite3_column_text(st, 0));
		(*n)++;
	}
	sqlite3_finalize(st);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* A rule for a flow's far end and the port of who was called, the caller's to free(); or NULL. */
static char *rule_of_flow(sqlite3_stmt *st)
{
	const char *text = (const char *)sqlite3_column_text(st, 0);
	char addr[FRAME_ADDR_TEXT], port[16] = "", rule[200];
	struct policy_flow f;

	if (!text || !flow_of_text(text, sqlite3_column_int(st, 1), &f))
		return NULL;
	frame_addr_format(&f.remote, addr);
	if (f.port)
		snprintf(port, sizeof(port), " port %u", f.port);
	snprintf(rule, sizeof(rule), "provide net %s %s%s%s%s", f.outward ? "out" : "in",
		 f.proto ? frame_proto_name(f.proto) : "", f.proto ? " " : "", addr, port);
	return strdup(rule);
}

/* Each once: a client takes another port each time. */
static void suggest_net(sqlite3 *db)
{
	char **rule = NULL, **more;
	size_t n = 0, room = 0;
	sqlite3_stmt *st;

	printf("\n# network\n");
	if (sqlite3_prepare_v2(db,
			       "SELECT DISTINCT text, value>0 FROM event WHERE cls=8 AND op=2 AND "
			       "verdict&3=0",
			       -1, &st, NULL) != SQLITE_OK)
		return;
	while (sqlite3_step(st) == SQLITE_ROW) {
		if (n == room) {
			room = room ? 2 * room : 256;
			more = realloc(rule, room * sizeof(*rule));
			if (!more)
				break;
			rule = more;
		}
		rule[n] = rule_of_flow(st);
		n += rule[n] != NULL;
	}
	sqlite3_finalize(st);
	if (n)
		qsort(rule, n, sizeof(*rule), by_text);
	for (size_t i = 0; i < n; i++)
		if (!i || strcmp(rule[i], rule[i - 1]))
			puts(rule[i]);
	puts(n ? "deny net any" : "deny net any # it never spoke");
	for (size_t i = 0; i < n; i++)
		free(rule[i]);
	free(rule);
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
