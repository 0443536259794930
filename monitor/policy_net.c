/* SPDX-License-Identifier: ISC */
/* policy_net.c: decides frames. The first one of a flow is decided by the rules, which policy_index.c finds; the verdict
 * is kept, so that the others cost one look-up. What a DNS answer says belongs to the rules about its name from then on.
 *
 * Any thread, guest FPU state being live. */
#include "base/str.h"
#include "monitor/rules.h"

#define RUN 8

/* ---- names -------------------------------------------------------------------------------------------- */

struct lesson {
	struct policy *p;
	const struct frame_addr *addr;
	unsigned n;
};

static void learn_one(void *arg, uint32_t rule)
{
	struct lesson *l = arg;
	struct policy *p = l->p;

	for (unsigned k = 0; k < l->n; k++) {
		if (net_is_learnt(p, rule, &l->addr[k]))
			continue;
		/* Flows that were decided before know nothing of it: they go on. */
		p->learnt[p->n_learnt++ % LEARNT_MAX] = (struct learnt){l->addr[k], rule};
	}
}

/* An answer's addresses belong to the rules about its name. Lock held. */
static void learn(struct policy *p, const char *name, const struct frame_addr *addr, unsigned n)
{
	net_index_named(p, name, learn_one, &(struct lesson){p, addr, n});
}

/* ---- flows -------------------------------------------------------------------------------------------- */

static struct flow_verdict *flow_get(struct policy *p, const struct flow_verdict *want, bool *fresh)
{
	struct flow_verdict *best = NULL;
	uint64_t a, b, h;

	memcpy(&a, want->r.b + 8, 8);
	memcpy(&b, want->g.b + 8, 8);
	h = (a ^ ((uint64_t)want->gport << 48 | (uint64_t)want->rport << 32 |
		  (uint64_t)want->unit << 8 | want->proto)) *
	    UINT64_C(0x9e3779b97f4a7c15);
	h = (h ^ b ^ h >> 29) * UINT64_C(0xbf58476d1ce4e5b9) >> 32;
	*fresh = false;
	for (unsigned i = 0; i < RUN; i++) {
		struct flow_verdict *f = &p->flow[(h + i) & (FLOW_CACHE - 1)];

		if (f->used && f->gport == want->gport && f->rport == want->rport &&
		    f->proto == want->proto && f->unit == want->unit &&
		    !memcmp(f->r.b, want->r.b, 16) && !memcmp(f->g.b, want->g.b, 16))
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
	uint32_t i = net_index_first(p, pf);
	const struct rule *r = i ? &p->rule[i - 1] : NULL;
	struct frame_addr a = {{[10] = 0xff, [11] = 0xff}};

	if (r && r->verb == MON_REDIRECT && r->has_name && r->to.has_addr) {
		memcpy(a.b + 12, r->to.v4, 4);
		learn(p, name, &a, 1);
	}
	return i;
}

/* Lock held. Index + 1 of the rule that a frame falls under. */
static uint32_t frame_rule(struct policy *p, const struct frame_info *fi, uint8_t unit, bool out)
{
	struct flow_verdict want = {.proto = fi->proto, .unit = unit}, *f;
	struct policy_flow pf = {.proto = fi->proto, .unit = unit, .outward = out};
	struct frame_addr addr[4];
	char name[FRAME_NAME_MAX];
	uint16_t type;
	bool fresh, answer;
	uint8_t rcode;
	int n = -1;

	if (!fi->ip) {
		pf.proto = fi->type == 0x0806 ? PROTO_ARP : 0;
		return pf.proto ? net_index_first(p, &pf) : 0;
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
	f->last = p->frames++;
	if (fresh)
		f->rule = net_index_first(p, &pf);
	return f->rule;
}

enum mon_verdict net_decide(struct policy *p, struct mon_event *ev)
{
	uint32_t i;

	if (!ev->frame)
		return MON_PROVIDE;
	plat_mutex_lock(&p->lock);
	i = frame_rule(p, ev->frame, ev->unit, ev->op == NET_SEND);
	if (i)
		rule_apply(p, &p->rule[i - 1], ev, ev->size);
	plat_mutex_unlock(&p->lock);
	return ev->verdict;
}

enum mon_verdict policy_decide_flow(struct policy *p, const struct policy_flow *f, uint32_t *line)
{
	enum mon_verdict v = MON_PROVIDE;
	struct rule *r;
	uint32_t i;

	plat_mutex_lock(&p->lock);
	i = net_index_first(p, f);
	r = i ? &p->rule[i - 1] : NULL;
	*line = r ? r->line : 0;
	v = r ? r->verb : MON_PROVIDE;
	/* of what has passed in it: a quota, but no rate, as nobody knows when it passed */
	for (uint64_t n = r && r->limited && r->quota ? f->packets : 0; n && v != MON_DENY; n--)
		if (!rule_take(r, f->bytes / f->packets, p->past))
			v = MON_DENY;
	plat_mutex_unlock(&p->lock);
	return v;
}
