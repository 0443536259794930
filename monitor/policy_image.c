/* SPDX-License-Identifier: ISC */
/* policy_image.c: an image is a header and the rules as they lie in memory: writer and reader are of one build of
 * the same program for the same processor, which the header's size of a rule stands for. The reader believes
 * nothing: a table has the bounds of each field that indexes, selects or is a bool. Pure functions. */
#include "monitor/policy_image.h"

#include "base/str.h"
#include "monitor/rules.h"

#define MAGIC   UINT64_C(0x5943494c4f504756) /* "VGPOLICY" */
#define VERSION 1u

struct header {
	uint64_t magic;
	uint32_t version, rule_size, n;
	uint32_t names; /* some rule is about names */
};

/* Whole fields of one byte, and what they may be at most. */
static const struct {
	uint16_t at;
	uint8_t most;
} bounds[] = {
#define AT(f, most)                            \
	{                                      \
		offsetof(struct rule, f), most \
	}
	AT(verb, MON_DENY), AT(cls, MON_CLASSES - 1), AT(dir, DIR_OUT), AT(prefix, 128),
	AT(has_net, 1),     AT(has_name, 1),          AT(limited, 1),   AT(per_bytes, 1),
	AT(quota, 1),       AT(windowed, 1),          AT(weight, 100),  AT(to.kind, TARGET_IMAGE),
	AT(to.has_addr, 1), AT(to.by_name, 0),        AT(to.is_v6, 0),  AT(to.slot, FILES_MAX - 1),
	AT(unit, 16),
#undef AT
};

/* What needs no host: values; of disks the overlay, which is in memory there, and images; addresses of IPv4. */
static bool has_target(const struct rule *r)
{
	if (r->verb == MON_REDIRECT && r->cls == MON_DISK)
		return r->to.kind == TARGET_SCRATCH || r->to.kind == TARGET_IMAGE;
	if (r->verb == MON_REDIRECT && r->cls == MON_NET)
		return r->to.kind == TARGET_ADDR && (r->to.has_addr || r->to.port) &&
		       !r->to.is_v6 && !r->to.by_name;
	return r->to.kind == TARGET_VALUE;
}

static bool good(const uint8_t *rule)
{
	const struct rule *r = (const void *)rule;

	for (unsigned i = 0; i < ARRAY_SIZE(bounds); i++)
		if (rule[bounds[i].at] > bounds[i].most)
			return false;
	/* what the compiler takes care of: numbers that others divide by or multiply */
	return has_target(r) && !r->name[NAME_MAX_ - 1] &&
	       (r->name[0] != '*' || !r->name[1] || r->name[1] == '.') && r->time_rate <= 10000 &&
	       r->from <= 24 * 60 && r->until <= 24 * 60 && r->line &&
	       (r->quota || (r->rate <= RATE_MAX && r->burst <= RATE_MAX)) &&
	       (r->cls != MON_CPU || !r->limited || (r->rate && r->rate <= 100));
}

uint32_t policy_image_refuses(const struct policy *p)
{
	for (uint32_t i = 0; i < p->n; i++)
		if (!has_target(&p->rule[i]))
			return p->rule[i].line;
	return 0;
}

size_t policy_image_size(const struct policy *p)
{
	return sizeof(struct header) + p->n * sizeof(struct rule);
}

void policy_image_write(const struct policy *p, void *out)
{
	struct header h = {MAGIC, VERSION, sizeof(struct rule), p->n, p->names};

	memcpy(out, &h, sizeof(h));
	memcpy((uint8_t *)out + sizeof(h), p->rule, p->n * sizeof(struct rule));
}

int policy_image_load(const void *data, size_t size, struct policy **out)
{
	struct policy *p;
	struct header h;

	if (size < sizeof(h))
		return err_here(ERR_FORMAT);
	memcpy(&h, data, sizeof(h));
	if (h.magic != MAGIC || h.version != VERSION || h.rule_size != sizeof(struct rule) ||
	    !h.n || h.n > RULES_MAX || size != sizeof(h) + h.n * sizeof(struct rule))
		return err_here(ERR_FORMAT);
	p = plat_alloc(sizeof(*p));
	if (p)
		p->rule = plat_alloc(h.n * sizeof(struct rule));
	if (!p || !p->rule) {
		policy_free(p);
		return err_here(ERR_NOMEM);
	}
	plat_mutex_init(&p->lock, RANK_LEAF);
	p->n = p->room = h.n;
	p->names = h.names;
	memcpy(p->rule, (const uint8_t *)data + sizeof(h), h.n * sizeof(struct rule));
	for (uint32_t i = 0; i < h.n; i++) {
		struct rule *r = &p->rule[i];

		if (!good((const uint8_t *)r)) {
			policy_free(p);
			return err_here(ERR_FORMAT);
		}
		r->next = 0;
		r->tokens = r->refilled = r->part = 0;
		p->mask |= BIT(r->cls);
		p->splits |= r->cls == MON_DISK && r->verb == MON_REDIRECT;
	}
	if (policy_finish(p)) {
		policy_free(p);
		return err_here(ERR_NOMEM);
	}
	*out = p;
	return 0;
}
