/* SPDX-License-Identifier: ISC */
/* policy_past.c: what rules would have done in the recorded past of a VM, and rules that its past suggests. The
 * history is another's to write: nothing in it is believed. */
#include "cmd/policy_past.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/cmd.h"
#include "ctl/watch.h"
#include "history/query.h"
#include "monitor/policy.h"

#define ALIKE_MAX 100000 /* events of one record that are tried one by one */
#define FLOWS     4096   /* that are open at a time */

struct past_flow {
	int64_t run, id;
	bool outward; /* the guest began */
	struct frame_addr remote;
};

struct past {
	struct policy *p;
	struct past_flow flow[FLOWS]; /* by number */
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

/* Who began is known when a flow begins only, and a question's server by its flow. */
static void flow_note(struct past *past, const struct history_row *r, const struct policy_flow *f)
{
	unsigned i = (uint64_t)r->addr % FLOWS;

	past->flow[i].run = r->run;
	past->flow[i].id = r->addr;
	past->flow[i].outward = f->outward;
	past->flow[i].remote = f->remote;
}

/* NULL: its beginning is not there any more. */
static const struct past_flow *flow_noted(const struct past *past, const struct history_row *r)
{
	const struct past_flow *f = &past->flow[(uint64_t)r->addr % FLOWS];

	return f->run == r->run && f->id == r->addr ? f : NULL;
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

/* A flow when it begins; where rules have limits also when it has ended, for what has passed in it. */
static enum mon_verdict try_net(struct past *past, const struct history_row *r, uint32_t *line,
				bool *skip)
{
	const struct past_flow *noted = flow_noted(past, r);
	struct policy_flow f;
	char name[FRAME_NAME_MAX];

	*skip = true;
	if (!r->text)
		return MON_PROVIDE;
	if (r->op == NET_DNS && name_of_text(r->text, name, sizeof(name))) {
		f = (struct policy_flow){.proto = 17, .outward = true, .port = 53, .name = name};
		if (noted)
			f.remote = noted->remote;
	} else if (r->op == NET_FLOW_OPEN && flow_of_text(r->text, r->value > 0, &f)) {
		flow_note(past, r, &f);
	} else if (r->op == NET_FLOW_CLOSE && policy_limits(past->p, MON_NET) && r->count > 0 &&
		   flow_of_text(r->text, !noted || noted->outward, &f)) {
		f.packets = (uint64_t)r->count;
		f.bytes = (uint64_t)r->value + (uint64_t)r->sum;
	} else {
		return MON_PROVIDE;
	}
	*skip = false;
	f.unit = (uint8_t)r->size;
	return policy_decide_flow(past->p, &f, line);
}

/* What the record is about, as the policy would be asked; false: it is not. */
static bool request_of_row(const struct past *past, const struct history_row *r,
			   struct mon_event *ev)
{
	*ev = (struct mon_event){.cls = (uint8_t)r->cls,
				 .op = (uint8_t)r->op,
				 .size = (uint16_t)r->size,
				 .vcpu = (int32_t)r->vcpu,
				 .addr = (uint64_t)r->addr,
				 .value = (uint64_t)r->value,
				 .unit = r->cls == MON_DISK ? (uint8_t)r->size : 0};
	/* cpu, time, memory and device are about the VM as a whole, not about what it does */
	if (r->cls < 0 || r->cls >= MON_CLASSES || !(policy_mask(past->p) & ASKED & BIT(r->cls)) ||
	    (r->cls == MON_CONSOLE && r->op == CONSOLE_SCREEN))
		return false;
	if (r->cls == MON_OPERATOR && (!r->text || !request_of_text(r->text, ev)))
		return false;
	/* of what was counted, the bytes of one */
	if ((r->cls == MON_ENTROPY || r->cls == MON_CONSOLE) && r->verdict & MON_R_COUNTED &&
	    r->count > 0)
		ev->value = (uint64_t)(r->sum / r->count);
	return true;
}

static void say_verdict(const struct history_row *r, enum mon_verdict v, uint32_t line,
			uint64_t times)
{
	char text[500];

	if (v == MON_PROVIDE || !times)
		return;
	history_describe(r, text, sizeof(text));
	printf("line %u %s  %s %s %s", line, v == MON_DENY ? "denies" : "redirects",
	       mon_class_name((uint8_t)r->cls), history_op_name(r->cls, r->op), text);
	if (times != (uint64_t)r->count)
		printf("; %" PRIu64 " of them", times);
	putchar('\n');
}

/* Events of one record are alike, but for limits, which the first ones use up. */
static void try_alike(struct past *past, const struct history_row *r, struct mon_event *ev)
{
	uint64_t n = (uint64_t)MAX(r->count, INT64_C(0)), times[3] = {0};
	uint64_t each =
		policy_limits(past->p, (enum mon_class)r->cls) ? MIN(n, (uint64_t)ALIKE_MAX) : 1;
	uint64_t apart = n ? NS_PER_SEC / n : 0;
	uint32_t line[3] = {0};

	for (uint64_t i = 0; i < each && n; i++) {
		struct mon_event one = *ev;
		enum mon_verdict v;

		policy_set_time(past->p, (uint64_t)r->t + i * apart);
		v = policy_decide(past->p, &one);
		times[v] += i + 1 == each ? n - i : 1;
		line[v] = one.rule;
	}
	for (unsigned v = 0; v < 3; v++) {
		past->verdicts[v] += times[v];
		say_verdict(r, (enum mon_verdict)v, line[v], times[v]);
	}
}

static void try_row(void *arg, const struct history_row *r)
{
	struct past *past = arg;
	struct mon_event ev;

	policy_set_time(past->p, (uint64_t)MAX(r->t, INT64_C(1)));
	if (r->cls == MON_NET) {
		uint32_t line = 0;
		bool skip;
		enum mon_verdict v = try_net(past, r, &line, &skip);
		uint64_t times = r->op == NET_FLOW_CLOSE ? v != MON_PROVIDE : 1;

		past->verdicts[v] += skip ? 0 : times;
		if (!skip)
			say_verdict(r, v, line, (uint64_t)r->count);
	} else if (request_of_row(past, r, &ev)) {
		if (r->addr == -1 && r->verdict & MON_R_COUNTED)
			past->unknown += (uint64_t)r->count;
		else
			try_alike(past, r, &ev);
	}
}

static int open_past(const char *name, sqlite3 **db, struct msg *msg)
{
	char path[4096], err[300];
	int e = watch_find(name, path, sizeof(path), msg);

	if (!e && history_read(path, db, err, sizeof(err)))
		e = msg_fail(msg, ERR_NOENT, "no history of %s: %s: %s", name, path, err);
	return e;
}

int policy_test(const char *file, const char *name, struct msg *msg)
{
	const struct history_filter all = {.device = -1, .space = -1};
	struct past *past = calloc(1, sizeof(*past));
	char err[300] = "";
	sqlite3 *db;
	int e = past ? watch_compile(file, false, &past->p, NULL, msg)
		     : msg_fail(msg, ERR_NOMEM, "out of memory");

	if (!e)
		e = open_past(name, &db, msg);
	if (!e) {
		e = history_each(db, &all, try_row, past, err, sizeof(err));
		if (e)
			msg_fail(msg, e, "%s", err);
		sqlite3_close(db);
	}
	if (!e)
		printf("provided %" PRIu64 ", redirected %" PRIu64 ", denied %" PRIu64
		       ", not known %" PRIu64 "\n",
		       past->verdicts[MON_PROVIDE], past->verdicts[MON_REDIRECT],
		       past->verdicts[MON_DENY], past->unknown);
	if (past)
		policy_free(past->p);
	free(past);
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
	 "SELECT DISTINCT 'provide mmio ' || CASE op WHEN 0 THEN 'read ' ELSE 'write ' END || printf('0x%x-0x%x', "
	 "addr/4096*4096, addr/4096*4096+4095) FROM event WHERE cls=3 AND addr>=0 AND verdict&3=0 ORDER BY addr/4096, op",
	 "deny mmio any"},
	{"MSRs",
	 "SELECT 'provide msr ' || CASE op WHEN 0 THEN 'read ' ELSE 'write ' END || printf('0x%x', addr) "
	 "FROM event WHERE cls=4 AND addr>=0 AND verdict&3=0 GROUP BY op, addr ORDER BY addr, op",
	 "deny msr any"},
	/* parts that lie less than 1 MiB apart are one; of what was counted nobody knows where it was */
	{"disk",
	 "WITH used AS (SELECT size AS unit, op, addr, value FROM event WHERE cls=7 AND verdict&3=0), "
	 "lost AS (SELECT DISTINCT op FROM used WHERE addr<0), "
	 "seen AS (SELECT unit, op, addr/512 AS lo, (addr+value-1)/512 AS hi FROM used WHERE addr>=0 AND value>0 AND op NOT IN "
	 "(SELECT op FROM lost)), "
	 "ends AS (SELECT *, max(hi) OVER (PARTITION BY unit, op ORDER BY lo, hi ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) "
	 "AS upto FROM seen), "
	 "parts AS (SELECT *, sum(coalesce(lo>upto+2048,1)) OVER (PARTITION BY unit, op ORDER BY lo, hi ROWS UNBOUNDED PRECEDING) AS "
	 "part FROM ends), "
	 "rules AS (SELECT unit, op, min(lo) AS lo, printf(' sectors %lld-%lld', min(lo), max(hi)) AS at FROM parts GROUP BY unit, op, "
	 "part UNION ALL SELECT DISTINCT -1, op, 0, '' FROM lost UNION ALL SELECT DISTINCT unit, op, 0, '' FROM used WHERE op NOT IN "
	 "(SELECT op FROM lost) AND (unit, op) NOT IN (SELECT unit, op FROM seen)) "
	 "SELECT 'provide disk ' || CASE WHEN unit>=0 AND EXISTS(SELECT 1 FROM used WHERE unit>0) THEN 'disk' || unit || ' ' ELSE '' "
	 "END || CASE op WHEN 0 THEN 'read' WHEN 1 THEN 'write' WHEN 2 THEN 'flush' WHEN 3 THEN 'discard' ELSE 'zero' END || at "
	 "FROM rules ORDER BY unit, op, lo",
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

/* A rule for a flow's far end and the port of who was called, the caller's to free(); or NULL. Its card is said where
 * there are several. */
static char *rule_of_flow(sqlite3_stmt *st)
{
	const char *text = (const char *)sqlite3_column_text(st, 0);
	char addr[FRAME_ADDR_TEXT], port[16] = "", card[16] = "", rule[200];
	struct policy_flow f;

	if (!text || !flow_of_text(text, sqlite3_column_int(st, 1), &f))
		return NULL;
	frame_addr_format(&f.remote, addr);
	if (f.port)
		snprintf(port, sizeof(port), " port %u", f.port);
	if (sqlite3_column_int(st, 3))
		snprintf(card, sizeof(card), "net%u ", (unsigned)sqlite3_column_int(st, 2) & 15);
	snprintf(rule, sizeof(rule), "provide net %s%s %s%s%s%s", card, f.outward ? "out" : "in",
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
			       "SELECT DISTINCT text, value>0, size, EXISTS(SELECT 1 FROM event "
			       "WHERE cls=8 AND op=2 AND size>0) FROM event WHERE cls=8 AND op=2 "
			       "AND verdict&3=0",
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

int policy_suggest(const char *name, struct msg *msg)
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
