/* SPDX-License-Identifier: ISC */
/* policy.c: decides requests by compiled rules. Rules about addresses are found by policy_range.c; frames are
 * policy_net.c's.
 *
 * Any thread, guest FPU state being live. The lock is for token buckets, and for flows. */
#include "monitor/policy.h"

#include "base/str.h"
#include "monitor/rules.h"

void policy_free(struct policy *p)
{
	if (!p)
		return;
	plat_free(p->rule);
	plat_free(p->flow);
	plat_free(p->index);
	plat_free(p->ranges);
	plat_free(p);
}

int policy_finish(struct policy *p)
{
	for (uint32_t i = p->n; i; i--) {
		struct rule *r = &p->rule[i - 1];

		r->next = p->first[r->cls];
		p->first[r->cls] = i;
	}
	if (range_index_make(p))
		return ERR_NOMEM;
	if (!p->first[MON_NET])
		return 0;
	p->flow = plat_alloc(sizeof(*p->flow) * FLOW_CACHE);
	return p->flow ? net_index_make(p) : ERR_NOMEM;
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

bool policy_redirects(const struct policy *p, enum mon_class cls)
{
	for (uint32_t i = 0; i < p->n; i++)
		if (p->rule[i].cls == cls && p->rule[i].verb == MON_REDIRECT)
			return true;
	return false;
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

/* From 22:00 to 06:00 goes over midnight. */
bool rule_in_window(const struct policy *p, const struct rule *r)
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

bool rule_take(struct rule *r, uint64_t cost, uint64_t now)
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

enum mon_verdict rule_apply(const struct policy *p, struct rule *r, struct mon_event *ev,
			    uint64_t cost)
{
	ev->rule = r->line;
	ev->flags = r->flags;
	ev->verdict = r->verb;
	if (r->limited && !rule_take(r, cost, p->past ? p->past : plat_now()))
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
		rule_apply(p, r, ev, cost);
		plat_mutex_unlock(&p->lock);
		return ev->verdict;
	}
	return rule_apply(p, r, ev, cost);
}

/* ---- the others --------------------------------------------------------------------------------------- */

/* Cuts a disk request where a rule that redirects begins or ends: what follows is asked for anew. */
static void split_disk(const struct policy *p, struct mon_event *ev)
{
	uint64_t cut = range_index_cut(p, ev->addr);

	ev->value = MIN(ev->value, cut - ev->addr);
}

bool rule_matches(const struct policy *p, const struct rule *r, const struct mon_event *ev)
{
	if (r->unit && r->unit != ev->unit + 1u)
		return false;
	/* a flush is of no sectors */
	if (ev->cls == MON_DISK && !ev->value && (r->lo || r->hi != UINT64_MAX))
		return false;
	return rule_in_window(p, r);
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
	uint32_t i;

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
		return net_decide(p, ev);
	if (ev->cls == MON_DISK && p->splits && ev->value)
		split_disk(p, ev);
	/* An access of several bytes falls under a rule about any of them. */
	if (ev->cls == MON_DISK && ev->value)
		last = MAX(last + ev->value - 1, last); /* nothing ends before it begins */
	else if ((ev->cls == MON_PORT || ev->cls == MON_MMIO) && ev->size)
		last = MAX(last + ev->size - 1, last);
	i = range_index_first(p, ev, last);
	if (!i)
		return MON_PROVIDE;
	return apply_locking(p, &p->rule[i - 1], ev,
			     ev->cls == MON_PORT || ev->cls == MON_MMIO ? ev->size : ev->value);
}
