/* SPDX-License-Identifier: ISC */
/* policy_range.c: finds the first rule of a class that an access falls under, and where in a disk request the next rule
 * begins, without walking all of them. The rules of a class lie in an array by their first address, which is a balanced
 * tree as well: the middle one of a part is its root, and knows of the whole part how far its rules reach, which
 * operations they are about and the lowest number among them. A part that cannot have a better rule is left out:
 *
 *	1  deny port 0x70-0x71		of an access to 71H the root, rule 2, says that its part reaches to 80H;
 *	2  provide port 0x64		rule 3 is found on the right, then rule 1, which is the lower one;
 *	3  deny port 0x71-0x80		rule 4's part begins beyond 71H
 *	4  deny port 0x3f8
 *
 * Made once; then of any thread. Windows of time are looked at last. */
#include "base/str.h"
#include "monitor/rules.h"

struct range_node {
	uint64_t lo, hi; /* the rule's */
	uint64_t most;   /* hi, of its part */
	uint32_t rule;   /* index + 1 */
	uint32_t first;  /* the lowest of its part */
	uint32_t ops, all_ops;
};

/* In one piece of memory: the nodes of all classes, and behind them the cuts. */
struct range_index {
	uint32_t start[MON_CLASSES], n[MON_CLASSES];
	uint32_t n_cuts;
	uint64_t *cut; /* sorted: where rules that redirect disk requests begin and end */
	struct range_node node[];
};

/* ---- making it ------------------------------------------------------------------------------------------ */

/* Heapsort of n things of size bytes by the number that they begin with. */
static void sift(uint8_t *a, uint32_t at, uint32_t n, size_t size)
{
	uint8_t t[sizeof(struct range_node)];

	for (uint32_t kid; (kid = 2 * at + 1) < n; at = kid) {
		if (kid + 1 < n &&
		    *(uint64_t *)(a + kid * size) < *(uint64_t *)(a + (kid + 1) * size))
			kid++;
		if (*(uint64_t *)(a + at * size) >= *(uint64_t *)(a + kid * size))
			return;
		memcpy(t, a + at * size, size);
		memcpy(a + at * size, a + kid * size, size);
		memcpy(a + kid * size, t, size);
	}
}

static void sort(void *base, uint32_t n, size_t size)
{
	uint8_t t[sizeof(struct range_node)], *a = base;

	for (uint32_t i = n / 2; i--;)
		sift(a, i, n, size);
	for (uint32_t i = n; i-- > 1;) {
		memcpy(t, a, size);
		memcpy(a, a + i * size, size);
		memcpy(a + i * size, t, size);
		sift(a, 0, i, size);
	}
}

/* What a part's root knows of it; the depth is the logarithm of n. */
static const struct range_node *sum_up(struct range_node *node, uint32_t n)
{
	struct range_node *root = &node[n / 2];
	const struct range_node *part[2] = {n / 2 ? sum_up(node, n / 2) : NULL,
					    n > n / 2 + 1 ? sum_up(root + 1, n - n / 2 - 1) : NULL};

	root->most = root->hi;
	root->first = root->rule;
	root->all_ops = root->ops;
	for (unsigned i = 0; i < 2; i++) {
		if (!part[i])
			continue;
		root->most = MAX(root->most, part[i]->most);
		root->first = MIN(root->first, part[i]->first);
		root->all_ops |= part[i]->all_ops;
	}
	return root;
}

static bool has_range(const struct rule *r)
{
	return r->cls != MON_NET && r->cls != MON_DEVICE;
}

int range_index_make(struct policy *p)
{
	struct range_index *x =
		plat_alloc(sizeof(*x) + p->n * (sizeof(x->node[0]) + 2 * sizeof(uint64_t)));
	uint32_t n = 0;

	if (!x)
		return ERR_NOMEM;
	x->cut = (uint64_t *)(x->node + p->n);
	for (unsigned cls = 0; cls < MON_CLASSES; cls++) {
		x->start[cls] = n;
		for (uint32_t i = p->first[cls]; i; i = p->rule[i - 1].next) {
			const struct rule *r = &p->rule[i - 1];

			if (has_range(r))
				x->node[n++] = (struct range_node){
					.lo = r->lo, .hi = r->hi, .rule = i, .ops = r->ops};
			if (cls == MON_DISK && r->verb == MON_REDIRECT) {
				x->cut[x->n_cuts++] = r->lo;
				x->cut[x->n_cuts++] = r->hi + 1;
			}
		}
		x->n[cls] = n - x->start[cls];
		sort(&x->node[x->start[cls]], x->n[cls], sizeof(x->node[0]));
		if (x->n[cls])
			sum_up(&x->node[x->start[cls]], x->n[cls]);
	}
	sort(x->cut, x->n_cuts, sizeof(x->cut[0]));
	p->ranges = x;
	return 0;
}

/* ---- asking it ------------------------------------------------------------------------------------------ */

struct question {
	const struct policy *p;
	const struct mon_event *ev;
	uint64_t last; /* address of the access */
	uint32_t op;   /* its bit */
	uint32_t best;
};

static void ask_part(struct question *q, const struct range_node *node, uint32_t n)
{
	while (n) {
		const struct range_node *root = &node[n / 2];

		if (root->first >= q->best || root->most < q->ev->addr || !(root->all_ops & q->op))
			return;
		ask_part(q, node, n / 2);
		if (root->lo > q->last)
			return;
		if (root->rule < q->best && root->hi >= q->ev->addr && root->ops & q->op &&
		    rule_matches(q->p, &q->p->rule[root->rule - 1], q->ev))
			q->best = root->rule;
		node = root + 1;
		n -= n / 2 + 1;
	}
}

uint32_t range_index_first(const struct policy *p, const struct mon_event *ev, uint64_t last)
{
	const struct range_index *x = p->ranges;
	struct question q = {p, ev, last, ev->op < 32 ? BIT(ev->op) : 0, UINT32_MAX};

	ask_part(&q, &x->node[x->start[ev->cls]], x->n[ev->cls]);
	return q.best == UINT32_MAX ? 0 : q.best;
}

uint64_t range_index_cut(const struct policy *p, uint64_t addr)
{
	const struct range_index *x = p->ranges;
	uint32_t lo = 0, hi = x->n_cuts;

	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;

		if (x->cut[mid] <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < x->n_cuts ? x->cut[lo] : UINT64_MAX;
}
