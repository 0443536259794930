/* SPDX-License-Identifier: ISC */
/* policy.c: decides requests by compiled rules. Register-like classes walk the rules of their class;
 * frames do so once a flow, whose verdict is kept, so that a thousand rules cost a frame one look-up.
 *
 * Any thread, guest FPU state being live. The lock is for token buckets and for flows. */
#include "monitor/policy.h"

#include "base/str.h"
#include "monitor/rules.h"

#define RUN 8

void policy_free(struct policy *p)
{
	if (!p)
		return;
	plat_free(p->rule);
	plat_free(p->flow);
	plat_free(p);
}

int policy_finish(struct policy *p)
{
	for (uint32_t i = p->n; i; i--) {
		struct rule *r = &p->rule[i - 1];

		r->next = p->first[r->cls];
		p->first[r->cls] = i;
	}
	if (p->first[MON_NET]) {
		p->flow = plat_alloc(sizeof(*p->flow) * FLOW_CACHE);
		if (!p->flow)
			return ERR_NOMEM;
	}
	return 0;
}

uint32_t policy_mask(const struct policy *p)
{
	return p->mask;
}

unsigned policy_count(const struct policy *p)
{
	return p->n;
}

unsigned policy_n_files(const struct policy *p)
{
	return p->n_files;
}

const struct policy_file *policy_file(const struct policy *p, unsigned i)
{
	return &p->file[i];
}

void policy_bind(struct policy *p, const uint8_t *slot)
{
	for (uint32_t i = 0; i < p->n; i++) {
		struct mon_target *to = &p->rule[i].to;

		if (to->kind == TARGET_ANSWER || to->kind == TARGET_PROGRAM ||
		    to->kind == TARGET_IMAGE)
			to->slot = slot[to->slot];
	}
}

/* ---- the VM as a whole ---------------------------------------------------------------------------- */

static const struct rule *first_rule(const struct policy *p, enum mon_class cls)
{
	return p->first[cls] ? &p->rule[p->first[cls] - 1] : NULL;
}

uint32_t policy_line(const struct policy *p, enum mon_class cls)
{
	const struct rule *r = first_rule(p, cls);

	return r ? r->line : 0;
}

unsigned policy_cpu_percent(const struct policy *p)
{
	const struct rule *r = first_rule(p, MON_CPU);

	return r && r->limited ? (unsigned)r->rate : 100;
}

unsigned policy_cpu_weight(const struct policy *p)
{
	const struct rule *r = first_rule(p, MON_CPU);

	return r && r->weight ? r->weight : 100;
}

unsigned policy_time_rate(const struct policy *p)
{
	const struct rule *r = first_rule(p, MON_TIME);

	return r && r->verb == MON_REDIRECT ? r->time_rate : 100;
}

uint64_t policy_memory(const struct policy *p)
{
	const struct rule *r = first_rule(p, MON_MEMORY);

	return r && r->limited ? r->rate : UINT64_MAX;
}

int64_t policy_time_offset(const struct policy *p)
{
	const struct rule *r = first_rule(p, MON_TIME);

	return r && r->verb == MON_REDIRECT ? (int64_t)r->target : 0;
}

void policy_set_time(struct policy *p, uint64_t ns)
{
	p->past = ns;
}

bool policy_limits(const struct policy *p, enum mon_class cls)
{
	for (uint32_t i = p->first[cls]; i; i = p->rule[i - 1].next)
		if (p->rule[i - 1].limited)
			return true;
	return false;
}

bool policy_device(const struct policy *p, const char *name, uint32_t *line)
{
	*line = 0;
	for (uint32_t i = p->first[MON_DEVICE]; i; i = p->rule[i - 1].next) {
		const struct rule *r = &p->rule[i - 1];
		size_t n = str_len(r->name);

		/* "disk" is all disks, "disk1" the second */
		if (r->has_name &&
		    (memcmp(r->name, name, MIN(n, str_len(name) + 1)) ||
		     (name[n] && (name[n] < '0' || name[n] > '9' ||
				  (n && r->name[n - 1] >= '0' && r->name[n - 1] <= '9')))))
			continue;
		*line = r->line;
		return r->verb != MON_DENY;
	}
	return true;
}

void policy_unplug(struct policy *p)
{
	for (uint32_t i = p->first[MON_DEVICE]; i; i = p->rule[i - 1].next)
		if (p->rule[i - 1].verb == MON_DENY)
			p->unplugs = BIT(MON_DISK) | BIT(MON_NET) | BIT(MON_ENTROPY);
	p->mask |= p->unplugs;
}

/* ---- time ----------------------------------------------------------------------------------------- */

#define MINUTE_NS (60 * NS_PER_SEC)

/* Is it the time of the rule? From 22:00 to 06:00 goes over midnight. */
static bool in_window(const struct policy *p, const struct rule *r)
{
	unsigned m;

	if (!r->windowed)
		return true;
	m = (unsigned)((p->past ? p->past : plat_realtime()) / MINUTE_NS % (24 * 60));
	return r->from <= r->until ? m >= r->from && m < r->until : m >= r->from || m < r->until;
}

/* ---- limits --------------------------------------------------------------------------------------- */

/* Lock held. To the last millionth, so that whoever asks often gets no less and no more. */
static void bucket_fill(struct rule *r, uint64_t now)
{
	uint64_t us;

	if (!r->refilled) {
		r->tokens = r->burst;
		r->refilled = now;
	}
	if (now <= r->refilled) /* records of the past are not quite in order */
		return;
	us = (now - r->refilled) / 1000;
	r->refilled += us * 1000;
	/* what fills it in any case is not counted out */
	if (!r->rate || us / 1000000 > r->burst / r->rate) {
		r->tokens = r->rate ? r->burst : r->tokens;
		return;
	}
	r->tokens += us / 1000000 * r->rate;
	r->part += us % 1000000 * r->rate;
	r->tokens += r->part / 1000000;
	r->part %= 1000000;
	if (r->tokens >= r->burst) {
		r->tokens = r->burst;
		r->part = 0;
	}
}

/* Lock held. True where cost is within the rule's limit, and taken from it. */
static bool bucket_take(struct rule *r, uint64_t cost, uint64_t now)
{
	if (!r->per_bytes)
		cost = 1;
	if (!r->quota)
		bucket_fill(r, now);
	if (cost > (r->quota ? r->rate - r->tokens : r->tokens))
		return false;
	r->tokens += r->quota ? cost : 0 - cost;
	return true;
}

/* What a rule says of this request; a limit that is used up denies. Lock held where limited. */
static enum mon_verdict apply(const struct policy *p, struct rule *r, struct mon_event *ev,
			      uint64_t cost)
{
	ev->rule = r->line;
	ev->flags = r->flags;
	ev->verdict = r->verb;
	if (r->limited && !bucket_take(r, cost, p->past ? p->past : plat_now()))
		ev->verdict = MON_DENY;
	else if (r->verb == MON_REDIRECT && r->to.kind == TARGET_VALUE)
		ev->value = r->target;
	ev->target = &r->to;
	return ev->verdict;
}

static enum mon_verdict apply_locking(struct policy *p, struct rule *r, struct mon_event *ev,
				      uint64_t cost)
{
	if (r->limited) {
		plat_mutex_lock(&p->lock);
		apply(p, r, ev, cost);
		plat_mutex_unlock(&p->lock);
		return ev->verdict;
	}
	return apply(p, r, ev, cost);
}

/* ---- names ----------------------------------------------------------------------------------------- */

/* "*.example.com" is all below it, "*" everything, else the name itself. */
static bool name_matches(const char *pattern, const char *name)
{
	size_t n = str_len(name), k;

	if (str_eq(pattern, "*"))
		return true;
	if (pattern[0] != '*')
		return str_eq(pattern, name);
	k = str_len(pattern + 1);
	return n > k && !memcmp(name + n - k, pattern + 1, k);
}

static bool is_learnt(const struct policy *p, uint32_t rule, const struct frame_addr *a)
{
	for (uint32_t i = 0; i < MIN(p->n_learnt, (uint32_t)LEARNT_MAX); i++)
		if (p->learnt[i].rule == rule && !memcmp(p->learnt[i].addr.b, a->b, 16))
			return true;
	return false;
}

/* An answer's addresses belong to the rules about its name. Lock held. */
static void learn(struct policy *p, const char *name, const struct frame_addr *addr, unsigned n)
{
	for (uint32_t i = p->first[MON_NET]; i; i = p->rule[i - 1].next) {
		if (!p->rule[i - 1].has_name || !name_matches(p->rule[i - 1].name, name))
			continue;
		for (unsigned k = 0; k < n; k++) {
			if (is_learnt(p, i, &addr[k]))
				continue;
			/* Flows that were decided before know nothing of it: they go on. */
			p->learnt[p->n_learnt++ % LEARNT_MAX] = (struct learnt){addr[k], i};
		}
	}
}

/* ---- net ------------------------------------------------------------------------------------------- */

/* Index + 1 of the first rule, or 0. Lock held. */
static uint32_t match_flow(const struct policy *p, const struct policy_flow *f)
{
	for (uint32_t i = p->first[MON_NET]; i; i = p->rule[i - 1].next) {
		const struct rule *r = &p->rule[i - 1];

		if (r->proto && r->proto != f->proto)
			continue;
		if (!in_window(p, r))
			continue;
		if (f->proto == PROTO_ARP && r->proto != PROTO_ARP)
			continue;
		if (f->port < r->port_lo || f->port > r->port_hi)
			continue;
		if (r->dir && (r->dir == DIR_OUT) != f->outward)
			continue;
		if (r->has_net && !frame_addr_in(&f->remote, &r->net, r->prefix))
			continue;
		if (r->has_name && !(f->name && name_matches(r->name, f->name)) &&
		    !is_learnt(p, i, &f->remote))
			continue;
		return i;
	}
	return 0;
}

static struct flow_verdict *flow_get(struct policy *p, const struct flow_verdict *want, bool *fresh)
{
	struct flow_verdict *best = NULL;
	uint64_t a, b, h;

	memcpy(&a, want->r.b + 8, 8);
	memcpy(&b, want->g.b + 8, 8);
	h = (a ^ ((uint64_t)want->gport << 48 | (uint64_t)want->rport << 32 | want->proto)) *
	    UINT64_C(0x9e3779b97f4a7c15);
	h = (h ^ b ^ h >> 29) * UINT64_C(0xbf58476d1ce4e5b9) >> 32;
	*fresh = false;
	for (unsigned i = 0; i < RUN; i++) {
		struct flow_verdict *f = &p->flow[(h + i) & (FLOW_CACHE - 1)];

		if (f->used && f->gport == want->gport && f->rport == want->rport &&
		    f->proto == want->proto && !memcmp(f->r.b, want->r.b, 16) &&
		    !memcmp(f->g.b, want->g.b, 16))
			return f;
		if (!best || (best->used && (!f->used || f->last < best->last)))
			best = f;
	}
	*best = *want;
	best->used = true;
	*fresh = true;
	return best;
}

/* Lock held. A rule that redirects a name answers for it: its address then belongs to the rule. */
static uint32_t question_rule(struct policy *p, const struct policy_flow *pf, const char *name)
{
	uint32_t i = match_flow(p, pf);
	const struct rule *r = i ? &p->rule[i - 1] : NULL;
	struct frame_addr a = {{[10] = 0xff, [11] = 0xff}};

	if (r && r->verb == MON_REDIRECT && r->has_name && r->to.has_addr) {
		memcpy(a.b + 12, r->to.v4, 4);
		learn(p, name, &a, 1);
	}
	return i;
}

/* Lock held. Index + 1 of the rule that a frame falls under. */
static uint32_t frame_rule(struct policy *p, const struct frame_info *fi, bool out)
{
	struct flow_verdict want = {.proto = fi->proto}, *f;
	struct policy_flow pf = {.proto = fi->proto, .outward = out};
	struct frame_addr addr[4];
	char name[FRAME_NAME_MAX];
	uint16_t type;
	bool fresh, answer;
	uint8_t rcode;
	int n = -1;

	if (!fi->ip) {
		pf.proto = fi->type == 0x0806 ? PROTO_ARP : 0;
		return pf.proto ? match_flow(p, &pf) : 0;
	}
	want.g = out ? fi->src : fi->dst;
	want.r = out ? fi->dst : fi->src;
	want.gport = out ? fi->sport : fi->dport;
	want.rport = out ? fi->dport : fi->sport;
	/* A TCP flow in whose middle we are is taken as the guest's own. */
	if (fi->proto == 6 && !out && (fi->tcp_flags & (FRAME_TCP_SYN | 0x10)) != FRAME_TCP_SYN)
		pf.outward = true;
	pf.port = pf.outward ? want.rport : want.gport;
	pf.remote = want.r;
	if (p->names && fi->proto == 17 && fi->payload && want.rport == 53)
		n = frame_dns(fi->payload, fi->payload_len, name, &type, &answer, &rcode, addr, 4);
	if (n >= 0) {
		/* each question for itself: a resolver asks all from one port */
		if (!out && answer)
			learn(p, name, addr, (unsigned)n);
		pf.name = name;
		pf.outward = true;
		pf.port = 53;
		return question_rule(p, &pf, name);
	}
	f = flow_get(p, &want, &fresh);
	f->last = plat_now();
	if (fresh)
		f->rule = match_flow(p, &pf);
	return f->rule;
}

static enum mon_verdict decide_frame(struct policy *p, struct mon_event *ev)
{
	struct frame_info fi;
	uint32_t i;

	if (!ev->data || !frame_parse(ev->data, ev->len, &fi))
		return MON_PROVIDE;
	plat_mutex_lock(&p->lock);
	i = frame_rule(p, &fi, ev->op == NET_SEND);
	if (i)
		apply(p, &p->rule[i - 1], ev, ev->size);
	plat_mutex_unlock(&p->lock);
	return ev->verdict;
}

enum mon_verdict policy_decide_flow(struct policy *p, const struct policy_flow *f, uint32_t *line)
{
	enum mon_verdict v = MON_PROVIDE;
	struct rule *r;
	uint32_t i;

	plat_mutex_lock(&p->lock);
	i = match_flow(p, f);
	r = i ? &p->rule[i - 1] : NULL;
	*line = r ? r->line : 0;
	v = r ? r->verb : MON_PROVIDE;
	/* of what has passed in it: a quota, but no rate, as nobody knows when it passed */
	for (uint64_t n = r && r->limited && r->quota ? f->packets : 0; n && v != MON_DENY; n--)
		if (!bucket_take(r, f->bytes / f->packets, p->past))
			v = MON_DENY;
	plat_mutex_unlock(&p->lock);
	return v;
}

/* ---- the others --------------------------------------------------------------------------------------- */

/* Cuts a disk request where a rule that redirects begins or ends: what follows is asked for anew. */
static void split_disk(const struct policy *p, struct mon_event *ev)
{
	uint64_t end = ev->addr + ev->value;

	for (uint32_t i = p->first[MON_DISK]; i; i = p->rule[i - 1].next) {
		const struct rule *r = &p->rule[i - 1];

		if (r->verb != MON_REDIRECT)
			continue;
		if (r->lo > ev->addr && r->lo < end)
			end = r->lo;
		if (r->hi >= ev->addr && r->hi + 1 < end)
			end = r->hi + 1;
	}
	ev->value = end - ev->addr;
}

/* A device that was there when the VM started and is denied now gets nothing more, whatever other rules say. */
static bool is_plugged(const struct policy *p, struct mon_event *ev)
{
	static const char *const kinds[MON_CLASSES] = {
		[MON_DISK] = "disk", [MON_NET] = "net", [MON_ENTROPY] = "rng"};
	char name[16];

	str_format(name, sizeof(name), "%s%u", kinds[ev->cls], ev->unit);
	if (policy_device(p, name, &ev->rule))
		return true;
	ev->verdict = MON_DENY;
	return false;
}

enum mon_verdict policy_decide(struct policy *p, struct mon_event *ev)
{
	uint64_t last = ev->addr;

	ev->verdict = MON_PROVIDE;
	ev->rule = 0;
	ev->flags = 0;
	if (!(p->mask & BIT(ev->cls)))
		return MON_PROVIDE;
	if (p->unplugs & BIT(ev->cls) && !is_plugged(p, ev))
		return MON_DENY;
	if (!p->first[ev->cls])
		return MON_PROVIDE;
	if (ev->cls == MON_NET)
		return decide_frame(p, ev);
	if (ev->cls == MON_DISK && p->splits && ev->value)
		split_disk(p, ev);
	/* An access of several bytes falls under a rule about any of them. */
	if (ev->cls == MON_DISK && ev->value)
		last += ev->value - 1;
	else if ((ev->cls == MON_PORT || ev->cls == MON_MMIO) && ev->size)
		last += ev->size - 1u;
	for (uint32_t i = p->first[ev->cls]; i; i = p->rule[i - 1].next) {
		struct rule *r = &p->rule[i - 1];

		if (ev->op < 32 && r->ops & BIT(ev->op) && last >= r->lo && ev->addr <= r->hi &&
		    in_window(p, r))
			return apply_locking(
				p, r, ev,
				ev->cls == MON_PORT || ev->cls == MON_MMIO ? ev->size : ev->value);
	}
	return MON_PROVIDE;
}
