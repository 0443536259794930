/* SPDX-License-Identifier: ISC */
/* policy_target.c: what stands behind "->", a function for each class that can be redirected. Any text may come
 * in. One thread. */
#include "base/str.h"
#include "monitor/policy_parse.h"

/* Another rule may name the same file. */
static int target_file(struct parser *ps, unsigned at, enum mon_target_kind kind, struct rule *r)
{
	struct policy *p = ps->p;
	const struct word *w = &ps->word[at];
	struct policy_file f = {.kind = (uint8_t)kind};
	unsigned i = 0;

	if (!w->s || w->len >= sizeof(f.path))
		return parse_fail(ps, at, "expected the name of a file");
	memcpy(f.path, w->s, w->len);
	while (i < p->n_files && (p->file[i].kind != kind || !str_eq(p->file[i].path, f.path)))
		i++;
	if (i == FILES_MAX)
		return parse_fail(ps, at, "at most %u files may be redirected to", FILES_MAX);
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

	if (value_v6(w->s, w->len, to->v6))
		return w->len;
	while (n < w->len && w->s[n] != ']')
		n++;
	return n < w->len && *w->s == '[' && value_v6(w->s + 1, n - 1, to->v6) ? n + 1 : 0;
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
	if (!to->is_v6 && n && !value_v4(w->s, n, to->v4))
		return false;
	to->has_addr = n;
	to->kind = TARGET_ADDR;
	if (n == w->len)
		return n;
	if (w->s[n] != ':')
		return false;
	port = (struct word){w->s + n + 1, w->len - n - 1, 0};
	if (!value_ports(&ports, &port) || ports.port_lo != ports.port_hi || !ports.port_lo)
		return false;
	to->port = ports.port_lo;
	return true;
}

/* Words behind "->"; *used: how many. */
int target_net(struct parser *ps, unsigned at, struct rule *r, unsigned *used)
{
	const struct word *w = &ps->word[at];
	bool file = word_is(w, "answer") || word_is(w, "program");
	int err;

	if (r->proto && r->proto != 6 && r->proto != 17)
		return parse_fail(ps, at, "only tcp and udp can be redirected");
	r->to.by_name = r->has_name;
	*used = 1 + file;
	if (ps->src->bare && file)
		return parse_fail(ps, at, "a bare machine has no files or programs to answer with");
	if (!file && !parse_endpoint(w, &r->to))
		return parse_fail(ps, at,
				  "expected an address, ADDRESS:PORT, [ADDRESS]:PORT, :PORT, "
				  "answer FILE or program FILE");
	if (!file && r->to.is_v6 && r->has_name)
		return parse_fail(ps, at, "a name can be redirected to an IPv4 address only");
	if (ps->src->bare && r->has_name)
		return parse_fail(ps, at,
				  "a bare machine redirects addresses and ports, not names");
	if (ps->src->bare && r->to.is_v6)
		return parse_fail(ps, at, "a bare machine redirects to no IPv6 address");
	if (!file)
		return 0;
	err = target_file(ps, at + 1, word_is(w, "answer") ? TARGET_ANSWER : TARGET_PROGRAM, r);
	if (err || !r->has_name)
		return err;
	/* a name needs an address: one of those that lie in no network (RFC 2544) */
	r->to.has_addr = true;
	r->to.v4[0] = 198;
	r->to.v4[1] = 18;
	r->to.v4[3] = (uint8_t)(r->to.slot + 1);
	return 0;
}

int target_disk(struct parser *ps, unsigned at, struct rule *r, unsigned *used)
{
	*used = 1 + word_is(&ps->word[at], "image");
	ps->p->splits = true;
	if (*used == 2)
		return target_file(ps, at + 1, TARGET_IMAGE, r);
	r->to.kind = TARGET_SCRATCH;
	return word_is(&ps->word[at], "scratch")
		       ? 0
		       : parse_fail(ps, at, "expected scratch or image FILE");
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

	if (w->s && value_part(w->s + minus, w->len - minus, &n, &done) &&
	    done + 1 == w->len - minus && n < 1000000000)
		for (unsigned i = 0; i < ARRAY_SIZE(units); i++)
			if (w->s[w->len - 1] == units[i].unit)
				scale = units[i].s;
	n = n > 10 * 365 * UINT64_C(86400) / MAX(scale, (uint64_t)1) ? 0 : n;
	if (!scale || !n)
		return parse_fail(ps, at,
				  "expected a time of at most ten years: 30s, 90m, 2h or -1d");
	r->target = n * scale * NS_PER_SEC;
	if (minus)
		r->target = 0 - r->target;
	return 0;
}

/* offset TIME, rate N%, or both */
int target_time(struct parser *ps, unsigned at, struct rule *r, unsigned *used)
{
	uint64_t rate;

	r->time_rate = 100;
	for (*used = 0; *used < 4; *used += 2) {
		const struct word *w = &ps->word[MIN(at + *used, ps->n)];
		int err = 0;

		if (word_is(w, "offset") && !r->target) {
			err = time_offset(ps, at + *used + 1, r);
		} else if (word_is(w, "rate") && r->time_rate == 100) {
			if (!value_percent(w + 1, 10000, &rate) || rate == 100)
				return parse_fail(ps, at + *used + 1,
						  "expected how fast it goes: 50%% or 1000%%");
			r->time_rate = (uint32_t)rate;
		} else {
			break;
		}
		if (err)
			return err;
	}
	return *used ? 0
		     : parse_fail(ps, at,
				  "expected offset or rate: offset 3600s, offset -1d, rate 200%%");
}

int target_seed(struct parser *ps, unsigned at, struct rule *r, unsigned *used)
{
	*used = 2;
	if (!word_is(&ps->word[at], "seed"))
		return parse_fail(ps, at, "expected seed: seed 42");
	return value_number(&ps->word[at + 1], &r->target)
		       ? 0
		       : parse_fail(ps, at + 1, "expected a number: the seed");
}

int target_number(struct parser *ps, unsigned at, struct rule *r, unsigned *used)
{
	*used = 1;
	return value_number(&ps->word[at], &r->target)
		       ? 0
		       : parse_fail(ps, at, "expected a number: the value that the guest gets");
}
