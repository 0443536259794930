/* SPDX-License-Identifier: ISC */
/* policy_parse.c: compiles policy texts (doc/policy.md). A line becomes an array of words, variables
 * replaced; a list multiplies its rule: what comes behind is parsed once for each of its items.
 *
 *	let web = {80, 443}
 *	provide net out tcp 10.0.0.0/8 port $web      becomes two rules
 *	deny port 0x60-0x64
 *	redirect cpuid 0x40000000 ebx -> 0x4b4d564b
 *
 * Any text may come in: everything is bounded. One thread. */
#include "base/str.h"
#include "monitor/core.h"
#include "monitor/policy.h"
#include "monitor/rules.h"

#define WORDS_MAX    2048
#define VARS_MAX     64
#define VAR_WORDS    1024
#define INCLUDES_MAX 8
#define LISTS_MAX    4 /* in one rule */

struct word {
	const char *s;
	uint32_t len, column;
};

struct var {
	struct word name;
	uint32_t first, n; /* in pool */
};

struct parser {
	struct policy *p;
	struct policy_error *err;
	const struct policy_source *src; /* of all */
	const char *file;
	unsigned line, depth;
	struct word word[WORDS_MAX + 1];
	unsigned n;
	struct var var[VARS_MAX];
	unsigned n_vars;
	struct word pool[VAR_WORDS];
	unsigned n_pool;
};

static bool is(const struct word *w, const char *s)
{
	return w->s && str_len(s) == w->len && !memcmp(w->s, s, w->len);
}

static attr_printf(3, 4) int fail(struct parser *ps, unsigned at, const char *fmt, ...)
{
	va_list ap;

	str_copy(ps->err->file, sizeof(ps->err->file), ps->file);
	ps->err->line = ps->line;
	ps->err->column = ps->word[MIN(at, ps->n)].column;
	va_start(ap, fmt);
	str_vformat(ps->err->text, sizeof(ps->err->text), fmt, ap);
	va_end(ap);
	return ERR_FORMAT;
}

/* ---- words ----------------------------------------------------------------------------------------- */

static const struct var *var_find(const struct parser *ps, const char *s, uint32_t len)
{
	for (unsigned i = 0; i < ps->n_vars; i++)
		if (ps->var[i].name.len == len && !memcmp(ps->var[i].name.s, s, len))
			return &ps->var[i];
	return NULL;
}

static int word_add(struct parser *ps, const char *s, size_t len, unsigned column)
{
	const struct word w = {s, (uint32_t)len, column};
	const struct var *v;

	if (ps->n >= WORDS_MAX) {
		ps->word[ps->n].column = column;
		return fail(ps, ps->n, "the line has too many words: at most %u", WORDS_MAX);
	}
	ps->word[ps->n] = w;
	if (*s != '$') {
		ps->n++;
		return 0;
	}
	v = var_find(ps, s + 1, (uint32_t)len - 1);
	if (!v) {
		ps->n++;
		return fail(ps, ps->n - 1, "there is no variable of that name: let NAME = ...");
	}
	if (ps->n + v->n > WORDS_MAX)
		return fail(ps, ps->n, "the line has too many words: at most %u", WORDS_MAX);
	for (uint32_t i = 0; i < v->n; i++) {
		ps->word[ps->n] = ps->pool[v->first + i];
		ps->word[ps->n++].column = column;
	}
	return 0;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == ',';
}

static int split(struct parser *ps, const char *s, size_t len)
{
	size_t i = 0;
	int err;

	ps->n = 0;
	while (i < len && s[i] != '#') {
		size_t start = i;

		if (is_space(s[i])) {
			i++;
			continue;
		}
		if (s[i] == '{' || s[i] == '}')
			i++;
		else
			while (i < len && !is_space(s[i]) && s[i] != '{' && s[i] != '}' &&
			       s[i] != '#')
				i++;
		err = word_add(ps, s + start, i - start, (unsigned)start + 1);
		if (err)
			return err;
	}
	ps->word[ps->n] = (struct word){NULL, 0, (unsigned)i + 1};
	return 0;
}

/* ---- values ----------------------------------------------------------------------------------------- */

static bool number_part(const char *s, uint32_t len, uint64_t *out, uint32_t *used)
{
	uint64_t v = 0;
	uint32_t i = 0, base = 10;

	if (len > 2 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X')) {
		base = 16;
		i = 2;
	}
	for (*used = 0; i < len; i++) {
		char c = s[i] >= 'A' && s[i] <= 'F' ? (char)(s[i] | 0x20) : s[i];
		uint32_t d = c >= '0' && c <= '9'                 ? (uint32_t)(c - '0')
			     : base == 16 && c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
								  : 99;

		if (d == 99)
			break;
		if (v > (UINT64_MAX - d) / base)
			return false;
		v = v * base + d;
		*used = i + 1;
	}
	*out = v;
	return *used > 0;
}

static bool parse_number(const struct word *w, uint64_t *out)
{
	uint32_t used;

	return w->s && number_part(w->s, w->len, out, &used) && used == w->len;
}

/* N or N-M */
static bool parse_range(const struct word *w, uint64_t *lo, uint64_t *hi)
{
	uint32_t used, more;

	if (!w->s || !number_part(w->s, w->len, lo, &used))
		return false;
	*hi = *lo;
	if (used == w->len)
		return true;
	return w->s[used] == '-' && number_part(w->s + used + 1, w->len - used - 1, hi, &more) &&
	       used + 1 + more == w->len && *hi >= *lo;
}

static bool parse_v4(const char *s, uint32_t len, uint8_t out[4])
{
	for (unsigned i = 0; i < 4; i++) {
		uint64_t v;
		uint32_t used;

		if (!len || !number_part(s, MIN(len, 3u), &v, &used) || v > 255)
			return false;
		out[i] = (uint8_t)v;
		s += used;
		len -= used;
		if (i < 3) {
			if (!len || *s != '.')
				return false;
			s++;
			len--;
		}
	}
	return !len;
}

static bool hex_group(const char *s, uint32_t len, uint16_t *out)
{
	uint32_t v = 0;

	if (!len || len > 4)
		return false;
	for (uint32_t i = 0; i < len; i++) {
		char c = (char)(s[i] | 0x20);

		if (s[i] >= '0' && s[i] <= '9')
			v = v << 4 | (uint32_t)(s[i] - '0');
		else if (c >= 'a' && c <= 'f')
			v = v << 4 | (uint32_t)(c - 'a' + 10);
		else
			return false;
	}
	*out = (uint16_t)v;
	return true;
}

/* Groups with at most one "::" */
static bool parse_v6(const char *s, uint32_t len, uint8_t out[16])
{
	uint16_t g[8];
	unsigned n = 0, gap = 9;

	for (uint32_t i = 0; i < len;) {
		uint32_t end = i;

		if (i + 1 < len && s[i] == ':' && s[i + 1] == ':') {
			if (gap != 9)
				return false;
			gap = n;
			i += 2;
			continue;
		}
		if (i && s[i] == ':' && s[i - 1] != ':')
			i++, end++;
		while (end < len && s[end] != ':')
			end++;
		if (n == 8 || !hex_group(s + i, end - i, &g[n++]))
			return false;
		i = end;
		if (i + 1 == len)
			return false;
	}
	if (gap == 9 ? n != 8 : n > 7)
		return false;
	memset(out, 0, 16);
	for (unsigned i = 0; i < n; i++) {
		unsigned at = i < gap ? i : 8 - n + i;

		out[2 * at] = (uint8_t)(g[i] >> 8);
		out[2 * at + 1] = (uint8_t)g[i];
	}
	return true;
}

/* ADDRESS or ADDRESS/BITS */
static bool parse_net(const struct word *w, struct rule *r)
{
	uint32_t len = 0, used;
	uint64_t bits = 128, most = 128;

	while (len < w->len && w->s[len] != '/')
		len++;
	memset(r->net.b, 0, 16);
	if (parse_v4(w->s, len, r->net.b + 12)) {
		r->net.b[10] = r->net.b[11] = 0xff;
		bits = most = 32;
	} else if (!parse_v6(w->s, len, r->net.b)) {
		return false;
	}
	if (len < w->len && (!number_part(w->s + len + 1, w->len - len - 1, &bits, &used) ||
			     used != w->len - len - 1 || bits > most))
		return false;
	r->prefix = (uint8_t)(most == 32 ? bits + 96 : bits);
	r->has_net = true;
	return true;
}

/* ---- one rule ------------------------------------------------------------------------------------------ */

static int rule_add(struct parser *ps, const struct rule *r)
{
	struct policy *p = ps->p;

	if (p->n == RULES_MAX)
		return fail(ps, 0, "there are more than %u rules", RULES_MAX);
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

/* "100/s", "10MB/s", "1GB", "5000": what a limit is. */
static int parse_amount(struct parser *ps, unsigned at, struct rule *r)
{
	static const struct {
		const char *unit;
		unsigned shift;
	} units[] = {{"KB", 10}, {"MB", 20}, {"GB", 30}, {"TB", 40}, {"B", 0}};
	const struct word *w = &ps->word[at];
	uint32_t used = 0;

	if (!w->s || !number_part(w->s, w->len, &r->rate, &used))
		goto wrong;
	if (r->cls == MON_CPU) {
		if (used + 1 != w->len || w->s[used] != '%' || !r->rate || r->rate > 100)
			return fail(ps, at, "expected a share of each CPU: 1%% to 100%%");
		r->limited = true;
		return 0;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(units); i++) {
		uint32_t n = (uint32_t)str_len(units[i].unit);

		if (w->len - used < n || memcmp(w->s + used, units[i].unit, n))
			continue;
		if (r->rate >> (63 - units[i].shift))
			goto wrong;
		r->rate <<= units[i].shift;
		r->per_bytes = true;
		used += n;
		break;
	}
	r->limited = true;
	r->quota = used == w->len;
	if (!r->quota && (w->len - used != 2 || memcmp(w->s + used, "/s", 2)))
		goto wrong;
	if (!r->quota && r->rate > UINT64_C(1) << 50)
		goto wrong;
	r->burst = r->rate;
	if (r->cls == MON_MEMORY && (!r->quota || !r->per_bytes || r->rate < 16 * MIB))
		return fail(ps, at, "expected memory, at least 16MB: 512MB");
	return 0;
wrong:
	return fail(ps, at, "expected an amount: 100/s, 10MB/s, 1GB or 5000");
}

static int set_ports(struct rule *r, const struct word *w)
{
	uint64_t lo, hi;

	if (!parse_range(w, &lo, &hi) || hi > 0xffff)
		return 0;
	r->port_lo = (uint16_t)lo;
	r->port_hi = (uint16_t)hi;
	return 1;
}

/* HH:MM */
static bool parse_clock(const char *s, uint32_t len, uint16_t *minutes)
{
	uint64_t h, m;
	uint32_t used;

	if (len != 5 || s[2] != ':' || !number_part(s, 2, &h, &used) || used != 2 ||
	    !number_part(s + 3, 2, &m, &used) || used != 2 || m > 59 || h * 60 + m > 24 * 60)
		return false;
	*minutes = (uint16_t)(h * 60 + m);
	return true;
}

static bool parse_window(const struct word *w, struct rule *r)
{
	r->windowed = true;
	return w->s && w->len == 11 && w->s[5] == '-' && parse_clock(w->s, 5, &r->from) &&
	       parse_clock(w->s + 6, 5, &r->until);
}

/* Another rule may name the same file. */
static int target_file(struct parser *ps, unsigned at, enum mon_target_kind kind, struct rule *r)
{
	struct policy *p = ps->p;
	const struct word *w = &ps->word[at];
	struct policy_file f = {.kind = (uint8_t)kind};
	unsigned i = 0;

	if (!w->s || w->len >= sizeof(f.path))
		return fail(ps, at, "expected the name of a file");
	memcpy(f.path, w->s, w->len);
	while (i < p->n_files && (p->file[i].kind != kind || !str_eq(p->file[i].path, f.path)))
		i++;
	if (i == FILES_MAX)
		return fail(ps, at, "at most %u files may be redirected to", FILES_MAX);
	if (i == p->n_files)
		p->file[p->n_files++] = f;
	r->to.kind = (uint8_t)kind;
	r->to.slot = (uint8_t)i;
	return 0;
}

/* "[fe80::1]" before a port, or an address alone; gives its length, 0: there is none. */
static uint32_t parse_target_v6(const struct word *w, struct mon_target *to)
{
	uint32_t n = 0;

	if (parse_v6(w->s, w->len, to->v6))
		return w->len;
	while (n < w->len && w->s[n] != ']')
		n++;
	return n < w->len && *w->s == '[' && parse_v6(w->s + 1, n - 1, to->v6) ? n + 1 : 0;
}

/* "1.2.3.4", "1.2.3.4:80", ":80", "fec0::2", "[fec0::2]:80" */
static bool parse_endpoint(const struct word *w, struct mon_target *to)
{
	struct rule ports;
	struct word port;
	uint32_t n = 0;

	if (!w->s)
		return false;
	n = parse_target_v6(w, to);
	to->is_v6 = n;
	while (!to->is_v6 && n < w->len && w->s[n] != ':')
		n++;
	if (!to->is_v6 && n && !parse_v4(w->s, n, to->v4))
		return false;
	to->has_addr = n;
	to->kind = TARGET_ADDR;
	if (n == w->len)
		return n;
	if (w->s[n] != ':')
		return false;
	port = (struct word){w->s + n + 1, w->len - n - 1, 0};
	if (!set_ports(&ports, &port) || ports.port_lo != ports.port_hi || !ports.port_lo)
		return false;
	to->port = ports.port_lo;
	return true;
}

/* Words behind "->"; *used: how many. */
static int target_net(struct parser *ps, unsigned at, struct rule *r, unsigned *used)
{
	const struct word *w = &ps->word[at];
	bool file = is(w, "answer") || is(w, "program");
	int err;

	if (r->proto && r->proto != 6 && r->proto != 17)
		return fail(ps, at, "only tcp and udp can be redirected");
	r->to.by_name = r->has_name;
	*used = 1 + file;
	if (!file && !parse_endpoint(w, &r->to))
		return fail(ps, at,
			    "expected an address, ADDRESS:PORT, [ADDRESS]:PORT, :PORT, "
			    "answer FILE or program FILE");
	if (!file && r->to.is_v6 && r->has_name)
		return fail(ps, at, "a name can be redirected to an IPv4 address only");
	if (!file)
		return 0;
	err = target_file(ps, at + 1, is(w, "answer") ? TARGET_ANSWER : TARGET_PROGRAM, r);
	if (err || !r->has_name)
		return err;
	/* a name needs an address: one of those that lie in no network (RFC 2544) */
	r->to.has_addr = true;
	r->to.v4[0] = 198;
	r->to.v4[1] = 18;
	r->to.v4[3] = (uint8_t)(r->to.slot + 1);
	return 0;
}

static int target_disk(struct parser *ps, unsigned at, struct rule *r, unsigned *used)
{
	*used = 1 + is(&ps->word[at], "image");
	ps->p->splits = true;
	if (*used == 2)
		return target_file(ps, at + 1, TARGET_IMAGE, r);
	r->to.kind = TARGET_SCRATCH;
	return is(&ps->word[at], "scratch") ? 0 : fail(ps, at, "expected scratch or image FILE");
}

/* [-]N[s|m|h|d] */
static int time_offset(struct parser *ps, unsigned at, struct rule *r)
{
	static const struct {
		char unit;
		uint64_t s;
	} units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
	const struct word *w = &ps->word[at];
	bool minus = w->s && w->len && *w->s == '-';
	uint64_t n = 0, scale = 0;
	uint32_t done = 0;

	if (w->s && number_part(w->s + minus, w->len - minus, &n, &done) &&
	    done + 1 == w->len - minus && n < 1000000000)
		for (unsigned i = 0; i < ARRAY_SIZE(units); i++)
			if (w->s[w->len - 1] == units[i].unit)
				scale = units[i].s;
	n = n > 10 * 365 * UINT64_C(86400) / MAX(scale, (uint64_t)1) ? 0 : n;
	if (!scale || !n)
		return fail(ps, at, "expected a time of at most ten years: 30s, 90m, 2h or -1d");
	r->target = n * scale * NS_PER_SEC;
	if (minus)
		r->target = 0 - r->target;
	return 0;
}

/* "50%" */
static bool parse_percent(const struct word *w, uint64_t most, uint64_t *out)
{
	uint32_t used;

	return w->s && number_part(w->s, w->len, out, &used) && used + 1 == w->len &&
	       w->s[used] == '%' && *out && *out <= most;
}

/* offset TIME, rate N%, or both */
static int target_time(struct parser *ps, unsigned at, struct rule *r, unsigned *used)
{
	uint64_t rate;

	r->time_rate = 100;
	for (*used = 0; *used < 4; *used += 2) {
		const struct word *w = &ps->word[MIN(at + *used, ps->n)];
		int err = 0;

		if (is(w, "offset") && !r->target) {
			err = time_offset(ps, at + *used + 1, r);
		} else if (is(w, "rate") && r->time_rate == 100) {
			if (!parse_percent(w + 1, 10000, &rate) || rate == 100)
				return fail(ps, at + *used + 1,
					    "expected how fast it goes: 50%% or 1000%%");
			r->time_rate = (uint32_t)rate;
		} else {
			break;
		}
		if (err)
			return err;
	}
	return *used ? 0
		     : fail(ps, at,
			    "expected offset or rate: offset 3600s, offset -1d, rate 200%%");
}

static int target_seed(struct parser *ps, unsigned at, struct rule *r, unsigned *used)
{
	*used = 2;
	if (!is(&ps->word[at], "seed"))
		return fail(ps, at, "expected seed: seed 42");
	return parse_number(&ps->word[at + 1], &r->target)
		       ? 0
		       : fail(ps, at + 1, "expected a number: the seed");
}

static int target_value(struct parser *ps, unsigned at, struct rule *r, unsigned *used)
{
	*used = 1;
	return parse_number(&ps->word[at], &r->target)
		       ? 0
		       : fail(ps, at, "expected a number: the value that the guest gets");
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
	[MON_PORT] = {rw_ops, true, target_value, 0xffff,
		      "read, write, or ports: 0x60 or 0x60-0x64"},
	[MON_MMIO] = {rw_ops, true, target_value, UINT64_MAX,
		      "read, write, or addresses: 0xfee00000-0xfee00fff"},
	[MON_MSR] = {rw_ops, true, target_value, UINT32_MAX,
		     "read, write, or MSR numbers: 0x10 or 0x10-0x20"},
	[MON_CPUID] = {cpuid_ops, true, target_value, UINT64_MAX,
		       "eax, ebx, ecx, edx, or leaves: 0x40000000"},
	[MON_DISK] = {disk_ops, false, target_disk, 0,
		      "read, write, flush, discard, zero, or sectors N-M"},
	[MON_ENTROPY] = {NULL, false, target_seed, 0, "nothing: entropy is one thing"},
	[MON_CONSOLE] = {console_ops, false, NULL, 0, "in or out"},
	[MON_NET] = {NULL, false, target_net, 0,
		     "in, out, tcp, udp, icmp, arp, an address, port N or name HOST"},
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
		if (!is(&ps->word[at], "->"))
			return fail(ps, at, "expected -> and what to redirect to");
		err = syntax[r->cls].target(ps, at + 1, r, &used);
		if (err)
			return err;
		at += 1 + used;
	}
	while (at < ps->n) {
		const struct word *w = &ps->word[at];

		if (is(w, "limit")) {
			if (r->verb == MON_DENY)
				return fail(ps, at, "what is denied has no limit");
			err = parse_amount(ps, at + 1, r);
			if (err)
				return err;
			at += 2;
			if (is(&ps->word[at], "burst")) {
				if (r->quota || !parse_number(&ps->word[at + 1], &r->burst))
					return fail(ps, at + 1,
						    "expected a number for the burst of a rate");
				at += 2;
			}
		} else if (is(w, "record")) {
			if (!is(&ps->word[at + 1], "full"))
				return fail(ps, at + 1, "expected full");
			r->flags |= MON_F_FULL;
			at += 2;
		} else if (is(w, "notify")) {
			r->flags |= MON_F_NOTIFY;
			at++;
		} else if (is(w, "weight") && r->cls == MON_CPU && r->verb == MON_PROVIDE) {
			if (!parse_percent(&ps->word[at + 1], 100, &weight))
				return fail(
					ps, at + 1,
					"expected how much it counts beside others: 1%% to 100%%");
			r->weight = (uint8_t)weight;
			at += 2;
		} else if (is(w, "during")) {
			if (!parse_window(&ps->word[at + 1], r))
				return fail(ps, at + 1, "expected a time of the day: 09:00-17:00");
			at += 2;
		} else {
			return fail(
				ps, at,
				"expected limit, during, record full, notify or the line's end");
		}
	}
	if ((r->cls == MON_CPU || r->cls == MON_MEMORY) && r->verb == MON_PROVIDE && !r->limited &&
	    !r->weight)
		return fail(ps, at, "expected %s",
			    r->cls == MON_CPU ? "limit or weight: limit 50%, weight 20%"
					      : "limit: limit 512MB");
	return rule_add(ps, r);
}

/* Operators ask for "record", too. */
static bool tail_begins(const struct word *w, enum mon_class cls)
{
	if (is(w, "record"))
		return cls != MON_OPERATOR || is(w + 1, "full");
	return !w->s || is(w, "->") || is(w, "limit") || is(w, "notify") || is(w, "during") ||
	       is(w, "weight");
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
		if (is(w, protos[i].word)) {
			r->proto = protos[i].proto;
			return 1;
		}
	}
	if (is(w, "in") || is(w, "out")) {
		r->dir = is(w, "in") ? DIR_IN : DIR_OUT;
		return 1;
	}
	return parse_net(w, r) ? 1 : 0;
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
	if (!parse_range(w, &r->lo, &r->hi) || r->hi >> 54)
		return 0;
	r->lo *= 512;
	r->hi = r->hi * 512 + 511;
	return 1;
}

static int set_uids(struct rule *r, const struct word *w)
{
	return parse_range(w, &r->lo, &r->hi) && r->hi <= UINT32_MAX;
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
		     (!number_part(w->s + n, w->len - n, &v, &used) || used != w->len - n)))
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
		if (is(w, o->word)) {
			r->ops = (r->ops == UINT32_MAX ? 0 : r->ops) | o->ops;
			return 1;
		}
	}
	if (r->cls == MON_DEVICE)
		return set_device(r, w);
	return sx->address && parse_range(w, &r->lo, &r->hi) && r->hi <= sx->most ? 1 : 0;
}

/* A word that says what the next one is. */
static const struct {
	const char *word;
	uint8_t cls;
	int (*set)(struct rule *r, const struct word *w);
	const char *expected;
} prefixes[] = {
	{"port", MON_NET, set_ports, "expected a port, 0 to 65535, or a range 8000-8080"},
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

		if (is(w, "{")) {
			unsigned close = at + 1;
			int err = 0;

			while (close < ps->n && !is(&ps->word[close], "}"))
				close++;
			if (close == ps->n)
				return fail(ps, at, "expected } at the end of this list");
			if (close == at + 1)
				return fail(ps, close, "expected something in this list");
			if (++lists > LISTS_MAX)
				return fail(ps, at, "at most %u lists in a rule", LISTS_MAX);
			for (unsigned i = at + 1; i < close && !err; i++) {
				struct rule item = r;

				if (prefix >= 0        ? !prefixes[prefix].set(&item, &ps->word[i])
				    : r.cls == MON_NET ? !match_net(ps, i, &item)
						       : !match_plain(ps, i, &item))
					return fail(ps, i, "expected %s",
						    prefix >= 0 ? prefixes[prefix].expected + 9
								: syntax[r.cls].expected);
				err = parse_match(ps, close + 1, item, -1, lists);
			}
			return err;
		}
		if (prefix >= 0) {
			if (!prefixes[prefix].set(&r, w))
				return fail(ps, at, "%s", prefixes[prefix].expected);
			prefix = -1;
			at++;
			continue;
		}
		if (is(w, "any")) {
			at++;
			continue;
		}
		for (unsigned i = 0; i < ARRAY_SIZE(prefixes) && prefix < 0; i++)
			if (prefixes[i].cls == r.cls && is(w, prefixes[i].word))
				prefix = (int)i;
		if (prefix >= 0) {
			at++;
			continue;
		}
		n = r.cls == MON_NET ? match_net(ps, at, &r) : match_plain(ps, at, &r);
		if (!n)
			return fail(ps, at, "expected %s", syntax[r.cls].expected);
		at += (unsigned)n;
	}
	return parse_tail(ps, at, &r);
}

static int parse_rule(struct parser *ps)
{
	static const char *const verbs[] = {"provide", "redirect", "deny"};
	struct rule r = {.hi = UINT64_MAX, .port_hi = 0xffff, .ops = UINT32_MAX, .line = ps->line};
	unsigned verb = 0;
	int cls;

	while (verb < ARRAY_SIZE(verbs) && !is(&ps->word[0], verbs[verb]))
		verb++;
	if (verb == ARRAY_SIZE(verbs))
		return fail(ps, 0, "expected provide, redirect, deny, let or include");
	r.verb = (uint8_t)verb;
	cls = ps->n > 1 ? mon_class_find(ps->word[1].s, ps->word[1].len) : -1;
	if (cls < 0 || !syntax[cls].expected)
		return fail(
			ps, 1,
			"expected a class: port, mmio, msr, cpuid, disk, net, console, entropy, "
			"time, cpu, memory, device or operator");
	r.cls = (uint8_t)cls;
	if (verb == MON_REDIRECT && !syntax[cls].target)
		return fail(ps, 0, "%s cannot be redirected: provide or deny",
			    mon_class_name(r.cls));
	if (verb == MON_DENY && (cls == MON_TIME || cls == MON_CPU || cls == MON_MEMORY))
		return fail(ps, 0, "%s cannot be denied: %s", mon_class_name(r.cls),
			    cls == MON_TIME ? "redirect it" : "provide it with a limit");
	if (ps->n == 2 || tail_begins(&ps->word[2], r.cls))
		return fail(ps, 2, "expected any, or %s", syntax[cls].expected);
	return parse_match(ps, 2, r, -1, 0);
}

static int parse_let(struct parser *ps)
{
	struct var *v = &ps->var[ps->n_vars];

	if (ps->n < 2 || ps->word[1].s[0] == '{' || is(&ps->word[1], "="))
		return fail(ps, 1, "expected a name");
	if (!is(&ps->word[2], "="))
		return fail(ps, 2, "expected =");
	if (ps->n < 4)
		return fail(ps, 3, "expected what the variable stands for");
	if (var_find(ps, ps->word[1].s, ps->word[1].len))
		return fail(ps, 1, "this variable has a value already");
	if (ps->n_vars == VARS_MAX || ps->n_pool + ps->n - 3 > VAR_WORDS)
		return fail(ps, 0, "too many variables");
	v->name = ps->word[1];
	v->first = ps->n_pool;
	v->n = ps->n - 3;
	for (unsigned i = 3; i < ps->n; i++)
		ps->pool[ps->n_pool++] = ps->word[i];
	ps->n_vars++;
	return 0;
}

static int parse_text(struct parser *ps, const char *name, const char *text, size_t len);

static int parse_include(struct parser *ps)
{
	const char *file = ps->file, *text;
	unsigned line = ps->line;
	char name[128];
	size_t len;
	int err;

	if (ps->n != 2)
		return fail(ps, ps->n > 2 ? 2 : 1, "expected one file name");
	if (ps->word[1].len >= sizeof(name))
		return fail(ps, 1, "the file name is too long");
	memcpy(name, ps->word[1].s, ps->word[1].len);
	name[ps->word[1].len] = 0;
	if (ps->depth == INCLUDES_MAX)
		return fail(ps, 1, "includes are nested deeper than %u", INCLUDES_MAX);
	if (!ps->src->include || ps->src->include(ps->src->arg, ps->file, name, &text, &len))
		return fail(ps, 1, "cannot read %s", name);
	ps->depth++;
	err = parse_text(ps, name, text, len);
	ps->depth--;
	ps->file = file;
	ps->line = line;
	return err;
}

static int parse_text(struct parser *ps, const char *name, const char *text, size_t len)
{
	int err = 0;

	ps->file = name;
	for (unsigned line = 1; len && !err; line++) {
		size_t n = 0;

		while (n < len && text[n] != '\n')
			n++;
		ps->line = line;
		err = split(ps, text, n);
		if (!err && ps->n)
			err = is(&ps->word[0], "let")       ? parse_let(ps)
			      : is(&ps->word[0], "include") ? parse_include(ps)
							    : parse_rule(ps);
		n += n < len;
		text += n;
		len -= n;
	}
	return err;
}

/* ---- all ------------------------------------------------------------------------------------------------ */

int policy_compile(const struct policy_source *src, struct policy **out, struct policy_error *err)
{
	struct parser *ps = plat_alloc(sizeof(*ps));
	struct policy *p = plat_alloc(sizeof(*p));
	int e = ERR_NOMEM;

	*err = (struct policy_error){.line = 0};
	if (ps && p) {
		plat_mutex_init(&p->lock, RANK_LEAF);
		ps->p = p;
		ps->err = err;
		ps->src = src;
		e = parse_text(ps, src->name, src->text, src->len);
		if (!e)
			e = policy_finish(p);
	}
	plat_free(ps);
	if (e) {
		policy_free(p);
		return err_here(e);
	}
	*out = p;
	return 0;
}
