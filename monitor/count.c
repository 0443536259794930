/* SPDX-License-Identifier: ISC */
/* count.c: counters by class, operation and address. Tables are bounded whatever the guest touches:
 * what finds no place is counted without its address, with all ones in its place.
 *
 * Producers are any threads, guest FPU state being live; counts_turn() is the consumer's. */
#include "monitor/count.h"

#include "base/str.h"
#include "plat/plat.h"

#define ADDR_BITS  50
#define ADDR_MASK  (BIT64(ADDR_BITS) - 1)
#define PROBES     24
#define TABLE_SIZE (ALIGN_UP((COUNT_SLOTS + COUNT_REST) * sizeof(struct count_entry), PAGE_SIZE))

int counts_init(struct counts *c, bool alone)
{
	*c = (struct counts){.alone = alone};
	for (unsigned i = 0; i < 2; i++) {
		c->table[i] = plat_pages_alloc(TABLE_SIZE);
		if (!c->table[i]) {
			counts_fini(c);
			return err_here(ERR_NOMEM);
		}
	}
	return 0;
}

void counts_fini(struct counts *c)
{
	for (unsigned i = 0; i < 2; i++)
		if (c->table[i])
			plat_pages_free(c->table[i], TABLE_SIZE);
	*c = (struct counts){0};
}

/* 63: in use, 62-61 verdict, 60-57 class, 56-50 operation, 49-0 address */
static uint64_t key_of(const struct mon_event *ev, uint64_t addr)
{
	return BIT64(63) | (uint64_t)(ev->verdict & 3) << 61 | (uint64_t)(ev->cls & 15) << 57 |
	       (uint64_t)(ev->op & 127) << 50 | (addr & ADDR_MASK);
}

/* Its entry, or NULL where that is another's. */
static struct count_entry *entry_take(struct count_entry *e, uint64_t key,
				      struct count_entry **fresh)
{
	uint64_t old = atomic_load_explicit(&e->key, memory_order_relaxed);

	if (likely(old == key))
		return e;
	if (old)
		return NULL;
	if (!atomic_compare_exchange_strong_explicit(&e->key, &old, key, memory_order_relaxed,
						     memory_order_relaxed))
		return old == key ? e : NULL;
	*fresh = e;
	return e;
}

static struct count_entry *find(struct count_entry *t, uint32_t slots, unsigned probes,
				uint64_t key, struct count_entry **fresh)
{
	uint32_t h = (uint32_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> 40);
	struct count_entry *e = NULL;

	/* steps that grow reach each slot once, and leave a run of others' soon */
	for (unsigned i = 0; i < probes && !e; i++) {
		h += i;
		e = entry_take(&t[h & (slots - 1)], key, fresh);
	}
	return e;
}

void counts_first(struct count_entry *e, const struct mon_event *ev, struct mon_place at)
{
	e->t = plat_now();
	e->tsc = mon_clock_now(at.clock);
	e->rip = at.rip;
	e->root = at.root;
	e->value = ev->value;
	e->size = ev->size;
	e->rule = ev->rule;
	e->flags = ev->flags;
	atomic_store_explicit(&e->ready, 1, memory_order_release);
}

static inline void add(const struct counts *c, _Atomic uint64_t *sum, uint64_t n)
{
	if (likely(c->alone))
		atomic_store_explicit(sum, atomic_load_explicit(sum, memory_order_relaxed) + n,
				      memory_order_relaxed);
	else
		atomic_fetch_add_explicit(sum, n, memory_order_relaxed);
}

struct count_entry *counts_add(struct counts *c, const struct mon_event *ev, uint64_t sum,
			       uint64_t part)
{
	struct count_entry *t = c->table[atomic_load_explicit(&c->now, memory_order_relaxed)];
	uint64_t key = key_of(ev, ev->addr);
	struct count_entry *fresh = NULL;
	struct count_entry *e = find(t, COUNT_SLOTS, PROBES, key, &fresh);

	if (unlikely(!e)) /* there are fewer kinds than places for them */
		e = find(t + COUNT_SLOTS, COUNT_REST, COUNT_REST, key_of(ev, ADDR_MASK), &fresh);
	if (unlikely(!e))
		return NULL;
	add(c, &e->count, 1);
	if (sum)
		add(c, &e->sum, sum);
	if (part)
		add(c, &e->part, part);
	return fresh;
}

static void entry_give(struct count_entry *e, void (*fn)(void *, const struct mon_record *),
		       void *arg)
{
	uint64_t key = atomic_load_explicit(&e->key, memory_order_relaxed);
	uint64_t n = atomic_load_explicit(&e->count, memory_order_relaxed);
	uint64_t addr = key & ADDR_MASK;

	if (atomic_load_explicit(&e->ready, memory_order_acquire) && n) {
		struct mon_record rec = {
			.t = e->t,
			.rip = e->rip,
			.root = e->root,
			.tsc = e->tsc,
			.addr = addr == ADDR_MASK ? UINT64_MAX : addr,
			.value = e->value,
			.sum = atomic_load_explicit(&e->sum, memory_order_relaxed),
			.count = (uint32_t)MIN(n, (uint64_t)UINT32_MAX),
			.rule = e->rule,
			.cls = key >> 57 & 15,
			.op = key >> 50 & 127,
			.verdict = (uint8_t)((key >> 61 & 3) | MON_R_COUNTED |
					     (e->flags & MON_F_NOTIFY ? MON_R_NOTIFY : 0)),
			.size = e->size,
			.vcpu = -1,
		};

		fn(arg, &rec);
		rec.op = CPU_USER;
		rec.sum = atomic_load_explicit(&e->part, memory_order_relaxed);
		if (rec.sum)
			fn(arg, &rec);
	}
	memset(e, 0, sizeof(*e));
}

void counts_turn(struct counts *c, void (*fn)(void *arg, const struct mon_record *rec), void *arg)
{
	uint32_t now = atomic_load_explicit(&c->now, memory_order_relaxed);
	struct count_entry *old = c->table[now ^ 1];

	for (unsigned i = 0; i < COUNT_SLOTS + COUNT_REST; i++)
		if (atomic_load_explicit(&old[i].key, memory_order_relaxed))
			entry_give(&old[i], fn, arg);
	atomic_store_explicit(&c->now, now ^ 1, memory_order_release);
}
