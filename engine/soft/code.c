/* SPDX-License-Identifier: ISC */
/* code.c: pages with translated code, and stores to them.
 *
 * PGF_CODE marks such a page; write TLBs never lead to one, so that each store comes here before it
 * is done, with its exact extent where that is known. Code at other bytes of the page survives; a
 * page that is stored to often beside its code gives the code up, the later the oftener that
 * happened.
 *
 * Several vCPUs: one may be in the middle of a store, past its probe, when another translates from
 * that page. Each first block of a page is therefore news to the others: at their next poll they
 * drop their write entries for the page, and then, their stores being done, compare the sums of
 * the blocks that were made meanwhile. Likewise a store through the interpreter drops blocks before
 * it is done, and again afterwards if new ones came up (soft_code_stored). */
#include "base/str.h"
#include "engine/soft/block.h"
#include "engine/soft/tlb.h"

static uint32_t hash_of(gpa_t gpa)
{
	return (uint32_t)(gpa >> PAGE_SHIFT) & (HASH_SIZE - 1);
}

static struct soft_page *page_find(struct soft_cache *c, gpa_t gpa)
{
	gpa &= ~PAGE_MASK;
	for (uint32_t i = c->page_hash[hash_of(gpa)]; i; i = c->page[i - 1].next)
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
	*p = (struct soft_page){.gpa = gpa & ~PAGE_MASK, .next = c->page_hash[hash_of(gpa)]};
	c->page_hash[hash_of(gpa)] = c->n_pages;
	return p;
}

bool soft_pages_room(struct soft_vm *sv)
{
	return sv->cache->n_pages + 2 <= sv->cache->max_pages;
}

uint32_t soft_sum(const uint8_t *p, size_t n)
{
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < n; i++)
		h = (h ^ p[i]) * 16777619u;
	return h;
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

static unsigned half_on(const struct soft_block *b, const struct soft_page *p)
{
	return b->page[0] == p->gpa >> PAGE_SHIFT ? 0 : 1;
}

/* Tells the vCPUs, but v, to drop write entries for the page; the lock is held. */
static void post(struct soft_vm *sv, struct soft_vcpu *v, hva_t hva)
{
	struct soft_cache *c = sv->cache;

	c->news[atomic_load(&c->n_news) % NEWS_MAX] = hva;
	atomic_fetch_add(&c->n_news, 1);
	for (unsigned i = 0; i < sv->n_vcpus; i++)
		if (sv->vcpu[i] && sv->vcpu[i] != v)
			atomic_store(&sv->vcpu[i]->poll, 1);
}

void soft_code_protect(struct soft_vm *sv, hva_t hva)
{
	plat_mutex_lock(&sv->lock);
	post(sv, NULL, hva);
	plat_mutex_unlock(&sv->lock);
}

static void mark_page(struct soft_vm *sv, struct soft_vcpu *v, struct soft_page *p)
{
	_Atomic uint8_t *flags = soft_page_flags(sv, p->gpa);
	struct mem_slot *slot = mem_slot(sv->vm, p->gpa);
	uint8_t old;
	hva_t hva;

	if (!flags)
		return; /* ROM: nobody writes */
	old = atomic_fetch_or(flags, PGF_CODE);
	if ((old & PGF_CODE) || !(old & PGF_WTLB))
		return;
	hva = slot->hva + (p->gpa - slot->gpa);
	soft_tlb_drop_writes(v, hva);
	if (sv->n_vcpus > 1)
		post(sv, v, hva);
}

void soft_pages_add(struct soft_vm *sv, struct soft_vcpu *v, struct soft_block *b)
{
	struct soft_cache *c = sv->cache;

	for (unsigned half = 0; half < 2 && b->page[half] != NO_PAGE; half++) {
		struct soft_page *p = page_get(c, (gpa_t)b->page[half] << PAGE_SHIFT);
		uint32_t from, to;

		extent(b, half, &from, &to);
		b->page_next[half] = p->blocks;
		p->blocks = (uint32_t)(b - c->block) + 1;
		p->lines |= lines_of(from, to);
	}
}

/* Before the bytes are read: from now on, stores come here. */
void soft_page_watch(struct soft_vm *sv, struct soft_vcpu *v, gpa_t gpa)
{
	mark_page(sv, v, page_get(sv->cache, gpa));
}

static void page_forget(struct soft_cache *c, struct soft_page *p, const struct soft_block *b)
{
	uint32_t *at = &p->blocks, id = (uint32_t)(b - c->block) + 1;

	while (*at != id) {
		struct soft_block *o = &c->block[*at - 1];

		at = &o->page_next[half_on(o, p)];
	}
	*at = b->page_next[half_on(b, p)];
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

void soft_blocks_cut(struct soft_vm *sv, const struct debug_set *set)
{
	struct soft_cache *c = sv->cache;

	plat_mutex_lock(&sv->lock);
	for (unsigned i = 0; i < c->n_parts; i++) {
		const struct soft_part *p = &c->part[i];

		for (uint32_t n = p->block; n < p->block + atomic_load(&p->n_blocks); n++) {
			struct soft_block *b = &c->block[n];
			uint32_t at = 0;

			while (at < b->len && !debug_may_break(set, b->rip + at))
				at++;
			if (at < b->len && !b->dead)
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
		uint32_t start, end;

		next = b->page_next[half_on(b, p)];
		extent(b, half_on(b, p), &start, &end);
		if (start >= to || end <= from) {
			lines |= lines_of(start, end);
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
	v->stored = gpa & ~PAGE_MASK;
	plat_mutex_lock(&v->sv->lock);
	page_store(v->sv, v, gpa, size);
	plat_mutex_unlock(&v->sv->lock);
}

void soft_code_stored(struct soft_vcpu *v)
{
	_Atomic uint8_t *flags = soft_page_flags(v->sv, v->stored);

	if (v->sv->n_vcpus > 1 && flags && (atomic_load(flags) & PGF_CODE))
		soft_code_verify(v, v->stored);
	v->stored = NO_GPA;
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

/* The bytes of a block as they are now */
static uint32_t sum_now(struct soft_vm *sv, const struct soft_block *b)
{
	uint8_t buf[BLOCK_INSNS * INSN_MAX];
	gpa_t gpa = block_gpa(b), gpa2 = (gpa_t)b->page[1] << PAGE_SHIFT;
	uint32_t first = MIN((uint32_t)b->len, (uint32_t)(PAGE_SIZE - (gpa & PAGE_MASK)));

	if (mem_read(sv->vm, gpa, buf, first))
		return ~b->sum;
	if (first < b->len && mem_read(sv->vm, gpa2, buf + first, b->len - first))
		return ~b->sum;
	return soft_sum(buf, b->len);
}

void soft_code_verify(struct soft_vcpu *v, gpa_t gpa)
{
	struct soft_vm *sv = v->sv;
	struct soft_page *p;
	uint32_t i, next;

	plat_mutex_lock(&sv->lock);
	p = page_find(sv->cache, gpa);
	for (i = p ? p->blocks : 0; i; i = next) {
		struct soft_block *b = &sv->cache->block[i - 1];
		uint32_t from, to;

		next = b->page_next[half_on(b, p)];
		if (sum_now(sv, b) == b->sum)
			continue;
		extent(b, half_on(b, p), &from, &to);
		page_kill(sv, v, p, from, to);
		next = p->blocks; /* others may have gone with it: from the start */
	}
	plat_mutex_unlock(&sv->lock);
}

void soft_code_news(struct soft_vcpu *v)
{
	struct soft_vm *sv = v->sv;
	struct soft_cache *c = sv->cache;

	while (v->news_seen != atomic_load(&c->n_news)) {
		hva_t hva;
		gpa_t gpa;
		bool lost;

		plat_mutex_lock(&sv->lock);
		lost = c->n_news - v->news_seen > NEWS_MAX;
		hva = c->news[v->news_seen % NEWS_MAX];
		if (lost)
			v->news_seen = c->n_news;
		else
			v->news_seen++;
		plat_mutex_unlock(&sv->lock);
		if (lost) {
			soft_tlb_flush(&v->cpu, FLUSH_ALL, 0, 0);
			for (uint32_t i = 0; i < c->n_pages; i++)
				soft_code_verify(v, c->page[i].gpa);
			continue;
		}
		soft_tlb_drop_writes(v, hva);
		if (soft_gpa_of(v, hva, &gpa))
			soft_code_verify(v, gpa);
	}
}
