/* SPDX-License-Identifier: ISC */
/* recent.c: see recent.h. What a guest does again and again (a denied port that it polls) is one record with a
 * count as long as it is among the last few; what many different things push out is gone. */
#include "monitor/recent.h"

#include "base/str.h"

#define ALIKE 8u /* records that are looked back */

/* By the table below: which ring, and what the numbers are. */
static const struct {
	const char *name, *op[5];
	bool guests; /* the VM's own doing */
} rows[MON_CLASSES] = {
	[MON_LIFECYCLE] = {"lifecycle"},
	[MON_CPU] = {"cpu", .guests = true},
	[MON_PORT] = {"port", {"read", "write"}, true},
	[MON_MMIO] = {"mmio", {"read", "write"}, true},
	[MON_MSR] = {"msr", {"read", "write"}, true},
	[MON_CPUID] = {"cpuid", {"eax", "ebx", "ecx", "edx"}, true},
	[MON_IRQ] = {"irq", .guests = true},
	[MON_DISK] = {"disk", .guests = true},
	[MON_NET] = {"net", {"in to", "out to"}, true},
	[MON_CONSOLE] = {"console", {"in", "out"}, true},
	[MON_TIME] = {"time"},
	[MON_ENTROPY] = {"entropy", .guests = true},
	[MON_OPERATOR] = {"operator"},
	[MON_MEMORY] = {"memory"},
	[MON_DEVICE] = {"device"},
};

void recent_init(struct recent *r)
{
	memset(r, 0, sizeof(*r));
	plat_mutex_init(&r->lock, RANK_LEAF);
}

static struct recent_record *at(struct recent_ring *g, uint64_t n)
{
	return &g->rec[n % RECENT_MAX];
}

/* Lock held. */
static bool same(struct recent_ring *g, const struct mon_event *ev, uint64_t now)
{
	for (uint64_t n = g->end; n && g->end - n < ALIKE; n--) {
		struct recent_record *r = at(g, n - 1);

		if (r->len || r->cls != ev->cls || r->op != ev->op || r->addr != ev->addr ||
		    r->rule != ev->rule || r->verdict != ev->verdict)
			continue;
		r->count += r->count < UINT32_MAX;
		r->t = now;
		r->value = ev->value;
		return true;
	}
	return false;
}

bool recent_put(struct recent *r, const struct mon_event *ev)
{
	struct recent_ring *g = &r->ring[rows[ev->cls].guests];
	size_t len = ev->data ? MIN(ev->len, (uint32_t)RECENT_TEXT) : 0;
	uint64_t now = plat_now();
	bool fresh = true;

	plat_mutex_lock(&r->lock);
	if (!len)
		fresh = !same(g, ev, now);
	if (fresh) {
		struct recent_record *rec = at(g, g->end++);

		*rec = (struct recent_record){now,     ev->addr, ev->value,   1,           ev->rule,
					      ev->cls, ev->op,   ev->verdict, (uint8_t)len};
		if (len)
			memcpy(rec->text, ev->data, len);
	}
	plat_mutex_unlock(&r->lock);
	return fresh;
}

bool recent_peek(struct recent *r, struct recent_at *pos, struct recent_record *out, bool next)
{
	int best = -1;

	plat_mutex_lock(&r->lock);
	for (int i = 0; i < 2; i++) {
		struct recent_ring *g = &r->ring[i];

		if (g->end > pos->at[i] + RECENT_MAX) {
			pos->lost += g->end - RECENT_MAX - pos->at[i];
			pos->at[i] = g->end - RECENT_MAX;
		}
		if (pos->at[i] < g->end && (best < 0 || at(g, pos->at[i])->t < out->t)) {
			*out = *at(g, pos->at[i]);
			best = i;
		}
	}
	if (best >= 0 && next)
		pos->at[best]++;
	plat_mutex_unlock(&r->lock);
	return best >= 0;
}

void recent_format(const struct recent_record *rec, char line[RECENT_LINE])
{
	static const char *const verdicts[] = {"", ": redirected", ": denied"};
	const char *op = rec->op < ARRAY_SIZE(rows[0].op) ? rows[rec->cls].op[rec->op] : NULL;
	char by[48] = "", text[RECENT_TEXT + 1];

	if (rec->rule)
		str_format(by, sizeof(by), "%s by line %u", verdicts[MIN(rec->verdict, 2u)],
			   rec->rule);
	if (rec->len) {
		for (unsigned i = 0; i < rec->len; i++) /* it may be a guest's */
			text[i] = rec->text[i];
		for (unsigned i = 0; i < rec->len; i++)
			if ((uint8_t)text[i] < ' ' || text[i] == 0x7f)
				text[i] = '?';
		text[rec->len] = 0;
		str_format(line, RECENT_LINE, "%-9s %s%s", rows[rec->cls].name, text, by);
		return;
	}
	str_format(line, RECENT_LINE, "%-9s %s 0x%llx value 0x%llx%s, %u times",
		   rows[rec->cls].name, op ? op : "", (unsigned long long)rec->addr,
		   (unsigned long long)rec->value, by, rec->count);
}
