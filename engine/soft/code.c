/* SPDX-License-Identifier: ISC */
/* code.c: pages with translated code, and stores to them.
 *
 * PGF_CODE marks such a page; write TLBs never lead to one, so that each store comes here before it
 * is done, with its exact extent where that is known. Code at other bytes of the page survives; a
 * page that is stored to often beside its code gives the code up, the later the oftener that
 * happened.
 *
 * Several vCPUs: one may be in the middle of a store, past its probe or the look at the mark, when
 * another marks that page. The mark is therefore news to all: at their next poll, between two
 * instructions, they drop their write entries for the page. Until those that run have done so,
 * nothing is translated from it: the interpreter runs what is there, and nobody waits for anybody.
 * Likewise while a store that has dropped blocks is not done yet (v->storing). So no block outlives
 * the store that changes its bytes. */
#include "base/str.h"
#include "engine/soft/block.h"
#include "engine/soft/direct.h"
#include "engine/soft/tlb.h"

static uint32_t hash_of(const struct soft_cache *c, gpa_t gpa)
{
	return (uint32_t)(gpa >> PAGE_SHIFT) & (c->entries - 1);
}

static struct soft_page *page_find(struct soft_cache *c, gpa_t gpa)
{
	gpa &= ~PAGE_MASK;
	for (uint32_t i = c->page_hash[hash_of(c, gpa)]; i; i = c->page[i - 1].next)
		if (c->page[i - 1].gpa == gpa)
			return &c->page[i - 1];
	return NULL;
}

static struct soft_page *page_get(struct soft_cache *c, gpa_t gpa)
{
	struct soft_page *p = page_find(c, gpa);

	if (p)
		return p;
	p = &c->page[c->n_pages++];
	*p = (struct soft_page){.gpa = gpa & ~PAGE_MASK, .next = c->page_hash[hash_of(c, gpa)]};
	c->page_hash[hash_of(c, gpa)] = c->n_pages;
	return p;
}

bool soft_page_is_ours(struct soft_vm *sv, gpa_t gpa, uint64_t rip)
{
	const struct soft_page *p = page_find(sv->cache, gpa);

	return !p || !p->owner || p->owner == (rip & ~PAGE_MASK);
}

bool soft_pages_room(struct soft_vm *sv)
{
	return sv->cache->n_pages + 2 <= sv->cache->max_pages;
}

/* Bytes of block b on its page number half: from, to (exclusive), as offsets in the page. */
static void extent(const struct soft_block *b, unsigned half, uint32_t *from, uint32_t *to)
{
	uint32_t start = b->rip & PAGE_MASK, end = start + b->len;

	*from = half ? 0 : start;
	*to = half ? end - (uint32_t)PAGE_SIZE : MIN(end, (uint32_t)PAGE_SIZE);
}

static uint64_t lines_of(uint32_t from, uint32_t to)
{
	uint32_t first = from / 64, last = (to - 1) / 64;

	return (UINT64_MAX << first) & (UINT64_MAX >> (63 - last));
}

/* The page's lines that block b depends on, as its page number half */
static uint64_t lines_on(const struct soft_block *b, unsigned half)
{
	uint32_t from, to;

	extent(b, half, &from, &to);
	return lines_of(from, to) | (!half && b->ahead[1] ? lines_of(b->ahead[0], b->ahead[1]) : 0);
}

/* Does it depend on bytes in [start, end)? */
static bool depends_on(const struct soft_block *b, unsigned half, uint32_t start, uint32_t end)
{
	uint32_t from, to;

	extent(b, half, &from, &to);
	return (from < end && to > start) || (!half && b->ahead[0] < end && b->ahead[1] > start);
}

static unsigned half_on(const struct soft_block *b, const struct soft_page *p)
{
	return b->page[0] == p->gpa >> PAGE_SHIFT ? 0 : 1;
}

/* Tells the vCPUs, but v, to drop write entries for the page; the lock is held. Gives what they must
 * have seen then. */
static uint64_t post(struct soft_vm *sv, struct soft_vcpu *v, hva_t hva)
{
	struct soft_cache *c = sv->cache;
	uint64_t n = atomic_load(&c->n_news);

	c->news[n % NEWS_MAX] = hva;
	atomic_store(&c->n_news, n + 1);
	for (unsigned i = 0; i < sv->n_vcpus; i++)
		if (sv->vcpu[i] && sv->vcpu[i] != v)
			atomic_store(&sv->vcpu[i]->poll, 1);
	return n + 1;
}

void soft_code_protect(struct soft_vm *sv, hva_t hva)
{
	plat_mutex_lock(&sv->lock);
	soft_direct_drop_writes(sv, hva);
	post(sv, NULL, hva);
	plat_mutex_unlock(&sv->lock);
}

static void mark_page(struct soft_vm *sv, struct soft_vcpu *v, struct soft_page *p)
{
	_Atomic uint8_t *flags = soft_page_flags(sv, p->gpa);
	struct mem_slot *slot = mem_slot(sv->vm, p->gpa);
	hva_t hva;

	if (!flags)
		return; /* ROM: nobody writes */
	if (atomic_fetch_or(flags, PGF_CODE) & PGF_CODE)
		return;
	hva = slot->hva + (p->gpa - slot->gpa);
	soft_tlb_drop_writes(v, hva);
	if (sv->n_vcpus > 1)
		p->news = post(sv, v, hva);
}

/* Will all stores to the page come here? */
static bool is_settled(const struct soft_vm *sv, const struct soft_vcpu *v,
		       const struct soft_page *p)
{
	for (unsigned i = 0; i < sv->n_vcpus; i++) {
		const struct soft_vcpu *o = sv->vcpu[i];

		/* One that is not in hears the news when it comes in. */
		if (o && o != v && atomic_load(&o->in_code) &&
		    (atomic_load(&o->news_seen) < p->news || atomic_load(&o->storing)))
			return false;
	}
	return true;
}

void soft_pages_add(struct soft_vm *sv, struct soft_vcpu *v, struct soft_block *b)
{
	struct soft_cache *c = sv->cache;

	for (unsigned half = 0; half < 2 && b->page[half] != NO_PAGE; half++) {
		struct soft_page *p = page_get(c, (gpa_t)b->page[half] << PAGE_SHIFT);

		b->page_next[half] = p->blocks;
		p->blocks = (uint32_t)(b - c->block) + 1;
		p->lines |= lines_on(b, half);
		if (!half && b->mode & MODE_FIXED && !p->owner)
			p->owner = b->rip & ~PAGE_MASK;
	}
}

bool soft_page_watch(struct soft_vm *sv, struct soft_vcpu *v, gpa_t gpa)
{
	struct soft_page *p = page_get(sv->cache, gpa);

	mark_page(sv, v, p);
	return sv->n_vcpus == 1 || is_settled(sv, v, p);
}

static void page_forget(struct soft_cache *c, struct soft_page *p, const struct soft_block *b)
{
	uint32_t *at = &p->blocks, id = (uint32_t)(b - c->block) + 1;

	while (*at != id) {
		struct soft_block *o = &c->block[*at - 1];

		at = &o->page_next[half_on(o, p)];
	}
	*at = b->page_next[half_on(b, p)];
	if (!p->blocks)
		p->owner = 0;
}

void soft_pages_remove(struct soft_vm *sv, struct soft_block *b)
{
	for (unsigned half = 0; half < 2 && b->page[half] != NO_PAGE; half++)
		page_forget(sv->cache, page_find(sv->cache, (gpa_t)b->page[half] << PAGE_SHIFT), b);
}

void soft_block_drop(struct soft_vm *sv, struct soft_block *b)
{
	soft_block_kill(sv, b);
	soft_jumps_forget(sv, b);
	soft_pages_remove(sv, b);
}

static bool may_break(const struct debug_set *set, uint64_t rip, unsigned len)
{
	while (len && !debug_may_break(set, rip))
		rip++, len--;
	return len;
}

void soft_blocks_cut(struct soft_vm *sv, const struct debug_set *set)
{
	struct soft_cache *c = sv->cache;

	plat_mutex_lock(&sv->lock);
	for (unsigned i = 0; i < c->n_parts; i++) {
		const struct soft_part *p = &c->part[i];

		for (uint32_t n = p->block; n < p->block + atomic_load(&p->n_blocks); n++) {
			struct soft_block *b = &c->block[n];

			if (!b->dead && (may_break(set, b->rip, b->len) ||
					 may_break(set, (b->rip & ~PAGE_MASK) + b->ahead[0],
						   b->ahead[1] - b->ahead[0])))
				soft_block_drop(sv, b);
		}
	}
	plat_mutex_unlock(&sv->lock);
}

/* Kills the blocks with bytes in [from, to) of the page; drops its mark when none is left. */
static void page_kill(struct soft_vm *sv, struct soft_vcpu *v, struct soft_page *p, uint32_t from,
		      uint32_t to)
{
	struct soft_cache *c = sv->cache;
	uint64_t lines = 0;
	uint32_t i, next;

	for (i = p->blocks; i; i = next) {
		struct soft_block *b = &c->block[i - 1];
		unsigned half = half_on(b, p);

		next = b->page_next[half];
		if (!depends_on(b, half, from, to)) {
			lines |= lines_on(b, half);
			continue;
		}
		soft_block_drop(sv, b);
		if (v)
			v->stats.invalidated++;
	}
	p->lines = lines;
	if (!p->blocks) {
		_Atomic uint8_t *flags = soft_page_flags(sv, p->gpa);

		p->misses = 0;
		if (flags)
			atomic_fetch_and(flags, (uint8_t)~PGF_CODE);
	}
}

static void page_store(struct soft_vm *sv, struct soft_vcpu *v, gpa_t gpa, uint32_t size)
{
	struct soft_page *p = page_find(sv->cache, gpa);
	uint32_t from = gpa & PAGE_MASK;

	if (!p)
		return;
	if (!p->blocks || (p->lines & lines_of(from, from + size))) {
		page_kill(sv, v, p, from, from + size);
	} else if (++p->misses > 8u << (3 * p->heat)) {
		p->heat = MIN(p->heat + 1, 3u);
		page_kill(sv, v, p, 0, PAGE_SIZE);
	}
}

void soft_code_store(struct soft_vcpu *v, gpa_t gpa)
{
	uint32_t room = (uint32_t)(PAGE_SIZE - (gpa & PAGE_MASK));
	bool known = v->store_size && (gpa & PAGE_MASK) == v->store_off;
	uint32_t size = known ? MIN(v->store_size, room) : room;

	v->stats.code_writes++;
	plat_mutex_lock(&v->sv->lock);
	atomic_store(&v->storing, true);
	page_store(v->sv, v, gpa, size);
	plat_mutex_unlock(&v->sv->lock);
}

void soft_code_changed(struct soft_vm *sv, struct soft_vcpu *v, gpa_t gpa, uint64_t len)
{
	gpa_t end = gpa + len;

	plat_mutex_lock(&sv->lock);
	while (gpa < end) {
		gpa_t next = MIN((gpa & ~PAGE_MASK) + PAGE_SIZE, end);
		struct soft_page *p = page_find(sv->cache, gpa);

		if (p && p->blocks)
			page_kill(sv, v, p, gpa & PAGE_MASK,
				  (uint32_t)(gpa & PAGE_MASK) + (uint32_t)(next - gpa));
		gpa = next;
	}
	plat_mutex_unlock(&sv->lock);
}

void soft_code_news(struct soft_vcpu *v)
{
	struct soft_vm *sv = v->sv;
	struct soft_cache *c = sv->cache;
	uint64_t seen = atomic_load(&v->news_seen);

	while (seen != atomic_load(&c->n_news)) {
		hva_t hva;
		bool lost;

		plat_mutex_lock(&sv->lock);
		lost = c->n_news - seen > NEWS_MAX;
		hva = c->news[seen % NEWS_MAX];
		seen = lost ? c->n_news : seen + 1;
		plat_mutex_unlock(&sv->lock);
		if (lost)
			soft_tlb_flush(&v->cpu, FLUSH_ALL, 0, 0);
		else
			soft_tlb_drop_writes(v, hva);
		atomic_store(&v->news_seen, seen);
	}
}
