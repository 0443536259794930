/* SPDX-License-Identifier: ISC */
/* policy_rule.c: one rule of a policy text: VERB CLASS MATCH [-> TARGET] and what comes behind. What may stand
 * where is a row of syntax[] for each class, and of prefixes[] for words that say what the next one is.
 * Any text may come in. One thread. */
#include "base/str.h"
#include "monitor/core.h"
#include "monitor/policy_parse.h"

/* classes about the VM, not about what it asks for */
#define WHOLE     (BIT(MON_TIME) | BIT(MON_CPU) | BIT(MON_MEMORY) | BIT(MON_DEVICE))
#define LISTS_MAX 4 /* in one rule */

static int rule_add(struct parser *ps, const struct rule *r)
{
	struct policy *p = ps->p;

	if (p->n == RULES_MAX)
		return parse_fail(ps, 0, "there are more than %u rules", RULES_MAX);
	if (p->n == p->room) {
		uint32_t room = p->room ? p->room * 2 : 64;
		struct rule *more = plat_alloc(room * sizeof(*more));

		if (!more)
			return ERR_NOMEM;
		if (p->n)
			memcpy(more, p->rule, p->n * sizeof(*more));
		plat_free(p->rule);
		p->rule = more;
		p->room = room;
	}
	p->rule[p->n] = *r;
	p->n++;
	p->mask |= BIT(r->cls);
	p->names |= r->has_name && r->cls == MON_NET;
	return 0;
}

/* "10MB/s", "100/s": *used is up to what stands behind number and unit. */
static bool amount_part(const struct word *w, uint64_t *out, bool *bytes, uint32_t *used)
{
	static const struct {
		const char *unit;
		unsigned shift;
	} units[] = {{"KB", 10}, {"MB", 20}, {"GB", 30}, {"TB", 40}, {"B", 0}};

	*bytes = false;
	if (!w->s || !value_part(w->s, w->len, out, used))
		return false;
	for (unsigned i = 0; i < ARRAY_SIZE(units) && !*bytes; i++) {
		uint32_t n = (uint32_t)str_len(units[i].unit);

		if (w->len - *used < n || memcmp(w->s + *used, units[i].unit, n))
			continue;
		if (*out >> (63 - units[i].shift))
			return false;
		*out <<= units[i].shift;
		*bytes = true;
		*used += n;
	}
	return true;
}

/* "100/s", "10MB/s", "1GB", "5000": what a limit is. */
static int parse_amount(struct parser *ps, unsigned at, struct rule *r)
{
	const struct word *w = &ps->word[at];
	uint32_t used = 0;

	if (!amount_part(w, &r->rate, &r->per_bytes, &used))
		goto wrong;
	if (r->cls == MON_CPU) {
		if (used + 1 != w->len || w->s[used] != '%' || !r->rate || r->rate > 100)
			return parse_fail(ps, at, "expected a share of each CPU: 1%% to 100%%");
		r->limited = true;
		return 0;
	}
	r->limited = true;
	r->quota = used == w->len;
	if (!r->quota && (w->len - used != 2 || memcmp(w->s + used, "/s", 2)))
		goto wrong;
	if (!r->quota && r->rate > RATE_MAX)
		goto wrong;
	r->burst = r->rate;
	if (r->cls == MON_MEMORY && (!r->quota || !r->per_bytes || r->rate < 16 * MIB))
		return parse_fail(ps, at, "expected memory, at least 16MB: 512MB");
	return 0;
wrong:
	return parse_fail(ps, at, "expected an amount: 100/s, 10MB/s, 1GB or 5000");
}

/* How much may come at once, in bytes where the rate is. */
static int parse_burst(struct parser *ps, unsigned at, struct rule *r)
{
	const struct word *w = &ps->word[at];
	uint32_t used = 0;
	bool bytes;

	if (r->quota)
		return parse_fail(ps, at - 1,
				  "a total has no burst: it is of rates, such as 100/s");
	if (!amount_part(w, &r->burst, &bytes, &used) || used != w->len || r->burst > RATE_MAX ||
	    (bytes && !r->per_bytes))
		return parse_fail(ps, at, "expected how much may come at once: %s",
				  r->per_bytes ? "20MB" : "200");
	return 0;
}

struct op_word {
	const char *word;
	uint32_t ops;
};

static const struct op_word rw_ops[] = {{"read", BIT(0)}, {"write", BIT(1)}, {NULL, 0}};
static const struct op_word console_ops[] = {{"in", BIT(0)}, {"out", BIT(1)}, {NULL, 0}};
static const struct op_word cpuid_ops[] = {
	{"eax", BIT(0)}, {"ebx", BIT(1)}, {"ecx", BIT(2)}, {"edx", BIT(3)}, {NULL, 0}};
static const struct op_word disk_ops[] = {{"read", BIT(0)},    {"write", BIT(1)}, {"flush", BIT(2)},
					  {"discard", BIT(3)}, {"zero", BIT(4)},  {NULL, 0}};

static const struct op_word request_ops[] = {
#define R(name) {#name, BIT(REQUEST_##name)},
	MON_REQUESTS(R)
#undef R
		{NULL, 0}};

/* What may stand in a rule of a class. */
static const struct class_syntax {
	const struct op_word *ops;
	bool address;
	/* Reads what stands behind "->", from word at; NULL: it cannot be redirected. */
	int (*target)(struct parser *ps, unsigned at, struct rule *r, unsigned *used);
	uint64_t most; /* of addresses */
	const char *expected;
} syntax[MON_CLASSES] = {
	[MON_PORT] = {rw_ops, true, target_number, 0xffff,
		      "read, write, or ports: 0x60 or 0x60-0x64"},
	[MON_MMIO] = {rw_ops, true, target_number, UINT64_MAX,
		      "read, write, or addresses: 0xfee00000-0xfee00fff"},
	[MON_MSR] = {rw_ops, true, target_number, UINT32_MAX,
		     "read, write, or MSR numbers: 0x10 or 0x10-0x20"},
	[MON_CPUID] = {cpuid_ops, true, target_number, UINT64_MAX,
		       "eax, ebx, ecx, edx, or leaves: 0x40000000"},
	[MON_DISK] = {disk_ops, false, target_disk, 0,
		      "disk0, read, write, flush, discard, zero, or sectors N-M"},
	[MON_ENTROPY] = {NULL, false, target_seed, 0, "nothing: entropy is one thing"},
	[MON_CONSOLE] = {console_ops, false, NULL, 0, "in or out"},
	[MON_NET] = {NULL, false, target_net, 0,
		     "in, out, net0, tcp, udp, icmp, arp, an address, port N or name HOST"},
	[MON_TIME] = {NULL, false, target_time, 0, "nothing: time is one thing"},
	[MON_CPU] = {NULL, false, NULL, 0, "nothing: the limit is for each CPU"},
	[MON_MEMORY] = {NULL, false, NULL, 0, "nothing: memory is one thing"},
	[MON_DEVICE] = {NULL, false, NULL, 0, "a device: disk, disk0, net, net0, rng, screen"},
	[MON_OPERATOR] = {request_ops, false, NULL, 0,
			  "a request such as pause, save, stop, kill or policy, or uid N"},
};

/* What comes behind the match. */
static int parse_tail(struct parser *ps, unsigned at, struct rule *r)
{
	uint64_t weight;
	unsigned used;
	int err;

	if (r->verb == MON_REDIRECT) {
		if (!word_is(&ps->word[at], "->"))
			return parse_fail(ps, at, "expected -> and what to redirect to");
		err = syntax[r->cls].target(ps, at + 1, r, &used);
		if (err)
			return err;
		at += 1 + used;
	}
	while (at < ps->n) {
		const struct word *w = &ps->word[at];

		if (word_is(w, "limit")) {
			if (r->verb == MON_DENY)
				return parse_fail(ps, at, "what is denied has no limit");
			if (r->cls == MON_TIME || r->cls == MON_DEVICE)
				return parse_fail(ps, at, "%s has no limit",
						  mon_class_name(r->cls));
			err = parse_amount(ps, at + 1, r);
			if (err)
				return err;
			at += 2;
			if (word_is(&ps->word[at], "burst")) {
				err = parse_burst(ps, at + 1, r);
				if (err)
					return err;
				at += 2;
			}
		} else if (word_is(w, "record")) {
			if (!word_is(&ps->word[at + 1], "full"))
				return parse_fail(ps, at + 1, "expected full");
			r->flags |= MON_F_FULL;
			at += 2;
		} else if (word_is(w, "notify")) {
			r->flags |= MON_F_NOTIFY;
			at++;
		} else if (word_is(w, "weight") && r->cls == MON_CPU && r->verb == MON_PROVIDE) {
			if (!value_percent(&ps->word[at + 1], 100, &weight))
				return parse_fail(
					ps, at + 1,
					"expected how much it counts beside others: 1%% to 100%%");
			r->weight = (uint8_t)weight;
			at += 2;
		} else if (word_is(w, "during")) {
			if (BIT(r->cls) & WHOLE)
				return parse_fail(
					ps, at,
					"%s is of the VM as a whole, at all times of the day",
					mon_class_name(r->cls));
			if (!value_window(&ps->word[at + 1], r))
				return parse_fail(ps, at + 1,
						  "expected a time of the day: 09:00-17:00");
			at += 2;
		} else {
			return parse_fail(
				ps, at,
				"expected limit, during, record full, notify or the line's end");
		}
	}
	if ((r->cls == MON_CPU || r->cls == MON_MEMORY) && r->verb == MON_PROVIDE && !r->limited &&
	    !r->weight)
		return parse_fail(ps, at, "expected %s",
				  r->cls == MON_CPU ? "limit or weight: limit 50%, weight 20%"
						    : "limit: limit 512MB");
	return rule_add(ps, r);
}

/* Operators ask for "record", too. */
static bool tail_begins(const struct word *w, enum mon_class cls)
{
	if (word_is(w, "record"))
		return cls != MON_OPERATOR || word_is(w + 1, "full");
	return !w->s || word_is(w, "->") || word_is(w, "limit") || word_is(w, "notify") ||
	       word_is(w, "during") || word_is(w, "weight");
}

/* "disk0", "net1": one of several */
static int set_unit(struct rule *r, const struct word *w, const char *kind)
{
	uint32_t n = (uint32_t)str_len(kind), used = 0;
	uint64_t v;

	if (!w->s || w->len <= n || w->len > n + 2 || memcmp(w->s, kind, n) ||
	    !value_part(w->s + n, w->len - n, &v, &used) || used != w->len - n || v > 15)
		return 0;
	r->unit = (uint8_t)(v + 1);
	return 1;
}

/* One match word of net; gives the number of words, 0: none. */
static int match_net(struct parser *ps, unsigned at, struct rule *r)
{
	static const struct {
		const char *word;
		uint8_t proto;
	} protos[] = {{"tcp", 6}, {"udp", 17}, {"icmp", 1}, {"icmp6", 58}, {"arp", PROTO_ARP}};
	const struct word *w = &ps->word[at];

	for (unsigned i = 0; i < ARRAY_SIZE(protos); i++) {
		if (word_is(w, protos[i].word)) {
			r->proto = protos[i].proto;
			return 1;
		}
	}
	if (word_is(w, "in") || word_is(w, "out")) {
		r->dir = word_is(w, "in") ? DIR_IN : DIR_OUT;
		return 1;
	}
	return set_unit(r, w, "net") || value_net(w, r) ? 1 : 0;
}

static int set_name(struct rule *r, const struct word *w)
{
	if (!w->s || w->len >= sizeof(r->name))
		return 0;
	for (uint32_t i = 0; i < w->len; i++) {
		char c = w->s[i];

		if (c == '*' && (i || (w->len > 1 && w->s[1] != '.')))
			return 0;
		r->name[i] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
	}
	r->name[w->len] = 0;
	r->has_name = true;
	return 1;
}

static int set_sectors(struct rule *r, const struct word *w)
{
	if (!value_range(w, &r->lo, &r->hi) || r->hi >> 54)
		return 0;
	r->lo *= 512;
	r->hi = r->hi * 512 + 511;
	return 1;
}

static int set_uids(struct rule *r, const struct word *w)
{
	return value_range(w, &r->lo, &r->hi) && r->hi <= UINT32_MAX;
}

/* "disk", "disk0" */
static int set_device(struct rule *r, const struct word *w)
{
	static const char *const kinds[] = {"disk", "net", "rng", "screen"};

	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		uint32_t n = (uint32_t)str_len(kinds[i]);
		uint64_t v;
		uint32_t used = 0;

		if (w->len < n || memcmp(w->s, kinds[i], n) || w->len - n > 2 ||
		    (w->len > n &&
		     (!value_part(w->s + n, w->len - n, &v, &used) || used != w->len - n)))
			continue;
		memcpy(r->name, w->s, w->len);
		r->name[w->len] = 0;
		r->has_name = true;
		return 1;
	}
	return 0;
}

static int match_plain(struct parser *ps, unsigned at, struct rule *r)
{
	const struct class_syntax *sx = &syntax[r->cls];
	const struct word *w = &ps->word[at];

	for (const struct op_word *o = sx->ops; o && o->word; o++) {
		if (word_is(w, o->word)) {
			r->ops = (r->ops == UINT32_MAX ? 0 : r->ops) | o->ops;
			return 1;
		}
	}
	if (r->cls == MON_DEVICE)
		return set_device(r, w);
	if (r->cls == MON_DISK)
		return set_unit(r, w, "disk");
	return sx->address && value_range(w, &r->lo, &r->hi) && r->hi <= sx->most ? 1 : 0;
}

/* A word that says what the next one is. */
static const struct {
	const char *word;
	uint8_t cls;
	int (*set)(struct rule *r, const struct word *w);
	const char *expected;
} prefixes[] = {
	{"port", MON_NET, value_ports, "expected a port, 0 to 65535, or a range 8000-8080"},
	{"name", MON_NET, set_name, "expected a host's name, or *.example.com"},
	{"sectors", MON_DISK, set_sectors, "expected sectors: 0-2047"},
	{"uid", MON_OPERATOR, set_uids, "expected a user's number, or a range 1000-1999"},
};

/* Parses from word at; a list calls it again for what follows each item. prefix: index of the
 * prefix that stands before, or -1. */
static int parse_match(struct parser *ps, unsigned at, struct rule r, int prefix, unsigned lists)
{
	while (!tail_begins(&ps->word[at], r.cls) || prefix >= 0) {
		const struct word *w = &ps->word[at];
		int n = 0;

		if (word_is(w, "{")) {
			unsigned close = at + 1;
			int err = 0;

			while (close < ps->n && !word_is(&ps->word[close], "}"))
				close++;
			if (close == ps->n)
				return parse_fail(ps, at, "expected } at the end of this list");
			if (close == at + 1)
				return parse_fail(ps, close, "expected something in this list");
			if (++lists > LISTS_MAX)
				return parse_fail(ps, at, "at most %u lists in a rule", LISTS_MAX);
			for (unsigned i = at + 1; i < close && !err; i++) {
				struct rule item = r;

				if (prefix >= 0        ? !prefixes[prefix].set(&item, &ps->word[i])
				    : r.cls == MON_NET ? !match_net(ps, i, &item)
						       : !match_plain(ps, i, &item))
					return parse_fail(ps, i, "expected %s",
							  prefix >= 0
								  ? prefixes[prefix].expected + 9
								  : syntax[r.cls].expected);
				err = parse_match(ps, close + 1, item, -1, lists);
			}
			return err;
		}
		if (prefix >= 0) {
			if (!prefixes[prefix].set(&r, w))
				return parse_fail(ps, at, "%s", prefixes[prefix].expected);
			prefix = -1;
			at++;
			continue;
		}
		if (word_is(w, "any")) {
			at++;
			continue;
		}
		for (unsigned i = 0; i < ARRAY_SIZE(prefixes) && prefix < 0; i++)
			if (prefixes[i].cls == r.cls && word_is(w, prefixes[i].word))
				prefix = (int)i;
		if (prefix >= 0) {
			at++;
			continue;
		}
		n = r.cls == MON_NET ? match_net(ps, at, &r) : match_plain(ps, at, &r);
		if (!n)
			return parse_fail(ps, at, "expected %s", syntax[r.cls].expected);
		at += (unsigned)n;
	}
	return parse_tail(ps, at, &r);
}

int parse_rule(struct parser *ps)
{
	static const char *const verbs[] = {"provide", "redirect", "deny"};
	struct rule r = {.hi = UINT64_MAX, .port_hi = 0xffff, .ops = UINT32_MAX, .line = ps->flat};
	unsigned verb = 0;
	int cls;

	while (verb < ARRAY_SIZE(verbs) && !word_is(&ps->word[0], verbs[verb]))
		verb++;
	if (verb == ARRAY_SIZE(verbs))
		return parse_fail(ps, 0, "expected provide, redirect, deny, let or include");
	r.verb = (uint8_t)verb;
	cls = ps->n > 1 ? mon_class_find(ps->word[1].s, ps->word[1].len) : -1;
	if (cls < 0 || !syntax[cls].expected)
		return parse_fail(
			ps, 1,
			"expected a class: port, mmio, msr, cpuid, disk, net, console, entropy, "
			"time, cpu, memory, device or operator");
	r.cls = (uint8_t)cls;
	if (verb == MON_REDIRECT && !syntax[cls].target)
		return parse_fail(ps, 0, "%s cannot be redirected: provide or deny",
				  mon_class_name(r.cls));
	if (verb == MON_DENY && (cls == MON_TIME || cls == MON_CPU || cls == MON_MEMORY))
		return parse_fail(ps, 0, "%s cannot be denied: %s", mon_class_name(r.cls),
				  cls == MON_TIME ? "redirect it" : "provide it with a limit");
	if (ps->n == 2 || tail_begins(&ps->word[2], r.cls))
		return parse_fail(ps, 2, "expected any, or %s", syntax[cls].expected);
	return parse_match(ps, 2, r, -1, 0);
}
