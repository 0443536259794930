/* SPDX-License-Identifier: ISC */
/* policy_index.c: finds the first net rule that a flow falls under without walking all of them. A rule lies in a hash
 * table by what it asks for exactly: so many bits of the other side's address, and its port; or by its name. Of rules
 * there are few shapes (how many bits, with a port or without), and each is one look-up: the rules
 *
 *	1  deny net tcp 192.0.2.0/24 port 80	24 bits and a port
 *	2  provide net udp port 53		no bits and a port
 *	3  deny net name *.example.com		by name
 *	4  deny net 192.0.2.0/24		24 bits
 *
 * make three shapes and a name; a flow to 192.0.2.7 port 443 is looked for as (192.0.2/24, 443), (-, 443) and
 * (192.0.2/24), which finds rule 4. What was found matches in all else too, or the next one of its place is tried.
 * The first by number decides, as if all had been walked.
 *
 * Made once; then of any thread that has the policy's lock. */
#include "base/str.h"
#include "monitor/rules.h"

#define SHAPES (129 * 2)
#define WILD   UINT64_C(0x5851f42d4c957f2d) /* tells "*.example.com" from a host of that name */

struct net_index {
	uint32_t mask;
	uint32_t *slot; /* by hash: the first rule's index + 1 */
	uint32_t *next; /* by index: the next one's of the slot, in their order */
	unsigned n;
	struct {
		uint8_t bits;
		bool port;
	} shape[SHAPES];
};

/* ---- where a rule lies ---------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t h, uint64_t v)
{
	h = (h ^ v) * UINT64_C(0x9e3779b97f4a7c15);
	return h ^ h >> 32;
}

/* port: -1: of all. */
static uint64_t place_hash(const struct frame_addr *a, unsigned bits, int32_t port)
{
	uint8_t b[16] = {0};
	uint64_t half[2];

	memcpy(b, a->b, (bits + 7) / 8);
	if (bits % 8)
		b[bits / 8] &= (uint8_t)(0xff << (8 - bits % 8));
	memcpy(half, b, sizeof(half));
	return mix(mix(mix(bits, half[0]), half[1]), (uint64_t)(int64_t)port);
}

/* From its end, so that one pass gives those of all the domains that a name is in. */
static uint64_t name_step(uint64_t h, char c)
{
	return (h ^ (uint8_t)c) * UINT64_C(0x100000001b3);
}

static uint64_t name_hash(const char *name)
{
	uint64_t h = 0;

	for (size_t i = str_len(name); i--;)
		h = name_step(h, name[i]);
	return h;
}

static bool has_port(const struct rule *r)
{
	return r->port_lo == r->port_hi;
}

static unsigned bits_of(const struct rule *r)
{
	return r->has_net ? r->prefix : 0;
}

static uint64_t rule_hash(const struct rule *r)
{
	if (r->has_name && r->name[0] == '*')
		return mix(name_hash(r->name + 1), WILD);
	if (r->has_name)
		return mix(name_hash(r->name), 0);
	return place_hash(&r->net, bits_of(r), has_port(r) ? r->port_lo : -1);
}

/* ---- making it ------------------------------------------------------------------------------------------ */

static void add_shape(struct net_index *x, const struct rule *r)
{
	for (unsigned i = 0; i < x->n; i++)
		if (x->shape[i].bits == bits_of(r) && x->shape[i].port == has_port(r))
			return;
	x->shape[x->n].bits = (uint8_t)bits_of(r);
	x->shape[x->n++].port = has_port(r);
}

int net_index_make(struct policy *p)
{
	struct net_index *x;
	uint32_t slots = 16;

	while (slots < 2 * p->n)
		slots *= 2;
	x = plat_alloc(sizeof(*x) + (slots + p->n) * sizeof(uint32_t));
	if (!x)
		return ERR_NOMEM;
	x->mask = slots - 1;
	x->slot = (uint32_t *)(x + 1);
	x->next = x->slot + slots;
	for (uint32_t i = p->n; i; i--) {
		const struct rule *r = &p->rule[i - 1];
		uint32_t *at = &x->slot[rule_hash(r) & x->mask];

		if (r->cls != MON_NET)
			continue;
		x->next[i - 1] = *at;
		*at = i;
		if (!r->has_name)
			add_shape(x, r);
	}
	p->index = x;
	return 0;
}

/* ---- asking it ------------------------------------------------------------------------------------------ */

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

static void named_at(const struct policy *p, uint64_t hash, const char *name,
		     void (*fn)(void *arg, uint32_t rule), void *arg)
{
	const struct net_index *x = p->index;

	for (uint32_t i = x->slot[hash & x->mask]; i; i = x->next[i - 1])
		if (p->rule[i - 1].has_name && rule_hash(&p->rule[i - 1]) == hash &&
		    name_matches(p->rule[i - 1].name, name))
			fn(arg, i);
}

void net_index_named(const struct policy *p, const char *name, void (*fn)(void *arg, uint32_t rule),
		     void *arg)
{
	uint64_t h = 0;

	if (!p->names)
		return;
	named_at(p, mix(h, WILD), name, fn, arg);
	for (size_t i = str_len(name); i--;) {
		h = name_step(h, name[i]);
		if (i && name[i] == '.')
			named_at(p, mix(h, WILD), name, fn, arg);
	}
	named_at(p, mix(h, 0), name, fn, arg);
}

bool net_is_learnt(const struct policy *p, uint32_t rule, const struct frame_addr *a)
{
	for (uint32_t i = 0; i < MIN(p->n_learnt, (uint32_t)LEARNT_MAX); i++)
		if (p->learnt[i].rule == rule && !memcmp(p->learnt[i].addr.b, a->b, 16))
			return true;
	return false;
}

/* In all but its name. */
static bool matches(const struct policy *p, const struct rule *r, const struct policy_flow *f)
{
	return (!r->proto || r->proto == f->proto) && rule_in_window(p, r) &&
	       (!r->unit || r->unit == f->unit + 1u) &&
	       (f->proto != PROTO_ARP || r->proto == PROTO_ARP) && f->port >= r->port_lo &&
	       f->port <= r->port_hi && (!r->dir || (r->dir == DIR_OUT) == f->outward) &&
	       (!r->has_net || frame_addr_in(&f->remote, &r->net, r->prefix));
}

struct search {
	const struct policy *p;
	const struct policy_flow *f;
	uint32_t best;
};

/* A rule whose name is the flow's. */
static void better(void *arg, uint32_t rule)
{
	struct search *s = arg;

	if (rule < s->best && matches(s->p, &s->p->rule[rule - 1], s->f))
		s->best = rule;
}

uint32_t net_index_first(const struct policy *p, const struct policy_flow *f)
{
	const struct net_index *x = p->index;
	struct search s = {p, f, UINT32_MAX};

	for (unsigned k = 0; x && k < x->n; k++) {
		uint64_t h =
			place_hash(&f->remote, x->shape[k].bits, x->shape[k].port ? f->port : -1);
		uint32_t i = x->slot[h & x->mask];

		while (i && i < s.best &&
		       (p->rule[i - 1].has_name || !matches(p, &p->rule[i - 1], f)))
			i = x->next[i - 1];
		s.best = i && i < s.best ? i : s.best;
	}
	for (uint32_t i = 0; i < MIN(p->n_learnt, (uint32_t)LEARNT_MAX); i++)
		if (!memcmp(p->learnt[i].addr.b, f->remote.b, 16))
			better(&s, p->learnt[i].rule);
	if (x && f->name)
		net_index_named(p, f->name, better, &s);
	return s.best == UINT32_MAX ? 0 : s.best;
}
