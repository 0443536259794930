/* SPDX-License-Identifier: ISC */
/* block.c: the code cache's records: creation, index, links, death, emptying.
 *
 * Entered by all vCPU threads and, through soft_code_changed(), by devices; sv->lock serialises.
 * soft_cache_has_pc() and soft_fault_site() run in signal handlers, without the lock: they read
 * what doesn't change while a vCPU is in the cache. */
#include "engine/soft/block.h"

#include "base/str.h"
#include "engine/soft/emit.h"
#include "engine/soft/tlb.h"

/* ---- the cache ----------------------------------------------------------------------------- */

static void *carve(uint8_t **p, size_t size)
{
	void *r = *p;

	*p += ALIGN_UP(size, (size_t)64);
	return r;
}

static void carve_arena(struct soft_cache *c)
{
	uint8_t *p = c->arena;

	c->block = carve(&p, c->max_blocks * sizeof(*c->block));
	c->exit = carve(&p, c->max_exits * sizeof(*c->exit));
	c->site = carve(&p, c->max_sites * sizeof(*c->site));
	c->page = carve(&p, c->max_pages * sizeof(*c->page));
	c->tgt = carve(&p, TGT_MAX * sizeof(*c->tgt));
	c->hash = carve(&p, HASH_SIZE * sizeof(*c->hash));
	c->page_hash = carve(&p, HASH_SIZE * sizeof(*c->page_hash));
	c->tgt_hash = carve(&p, HASH_SIZE * sizeof(*c->tgt_hash));
	c->arena_size = ALIGN_UP((size_t)(p - (uint8_t *)c->arena), (size_t)PAGE_SIZE);
}

int soft_cache_create(struct soft_vm *sv)
{
	size_t bytes = ALIGN_UP(MAX(sv->cfg.cache_bytes, SOFT_CACHE_MIN), (size_t)PAGE_SIZE);
	struct soft_cache *c = plat_alloc(sizeof(*c));
	int err;

	if (!c)
		return err_here(ERR_NOMEM);
	if (bytes > GIB)
		bytes = GIB; /* offsets and relative jumps have 32 bits */
	c->max_blocks = (uint32_t)MIN(bytes / 160, SITE_MAX_BLOCKS - 1);
	c->max_exits = (uint32_t)(bytes / 80);
	c->max_sites = (uint32_t)(bytes / 20);
	c->max_pages = (uint32_t)(bytes / 1024);
	carve_arena(c); /* for the size */
	c->arena = plat_pages_alloc(c->arena_size);
	c->tr = plat_alloc(sizeof(*c->tr));
	err = c->arena && c->tr ? plat_code_alloc(bytes, &c->code) : err_here(ERR_NOMEM);
	if (err) {
		if (c->arena)
			plat_pages_free(c->arena, c->arena_size);
		plat_free(c->tr);
		plat_free(c);
		return err;
	}
	carve_arena(c);
	sv->cache = c;
	soft_trampolines(sv);
	c->used = c->first;
	for (unsigned i = 0; i < sv->n_vcpus; i++)
		if (sv->vcpu[i])
			soft_jumps_init(sv->vcpu[i]);
	return 0;
}

void soft_cache_destroy(struct soft_vm *sv)
{
	struct soft_cache *c = sv->cache;

	if (!c)
		return;
	plat_code_free(&c->code);
	plat_pages_free(c->arena, c->arena_size);
	plat_free(c->tr);
	plat_free(c);
	sv->cache = NULL;
}

bool soft_cache_has_pc(const struct soft_vm *sv, uint64_t pc)
{
	return pc - (uint64_t)sv->cache->code.rx < sv->cache->code.size;
}

/* Everybody is out, the lock is held. */
static void cache_empty(struct soft_vm *sv)
{
	struct soft_cache *c = sv->cache;

	for (uint32_t i = 0; i < c->n_pages; i++) {
		_Atomic uint8_t *flags = soft_page_flags(sv, c->page[i].gpa);

		if (flags)
			atomic_fetch_and(flags, (uint8_t)~PGF_CODE);
	}
	/* Records needn't be cleared: they are written in full when taken. */
	memset(c->hash, 0, HASH_SIZE * sizeof(*c->hash));
	memset(c->page_hash, 0, HASH_SIZE * sizeof(*c->page_hash));
	memset(c->tgt_hash, 0, HASH_SIZE * sizeof(*c->tgt_hash));
	c->used = c->first;
	atomic_store(&c->n_blocks, 0);
	c->n_exits = c->n_sites = c->n_pages = c->n_tgts = 0;
	c->translations = 0;
	c->generation++;
	for (unsigned i = 0; i < sv->n_vcpus; i++)
		if (sv->vcpu[i])
			soft_jumps_init(sv->vcpu[i]);
}

void soft_cache_flush(struct soft_vcpu *v)
{
	struct soft_vm *sv = v->sv;

	atomic_store(&v->in_code, false);
	if (atomic_exchange(&sv->flushing, true)) { /* another vCPU does it */
		while (atomic_load(&sv->flushing))
			plat_yield();
	} else {
		for (unsigned i = 0; i < sv->n_vcpus; i++) {
			struct soft_vcpu *o = sv->vcpu[i];

			if (!o || o == v)
				continue;
			atomic_store(&o->poll, 1);
			while (atomic_load(&o->in_code))
				plat_yield();
		}
		plat_mutex_lock(&sv->lock);
		cache_empty(sv);
		plat_mutex_unlock(&sv->lock);
		v->stats.flushes++;
		atomic_store(&sv->flushing, false);
	}
	soft_come_in(v);
}

void soft_come_in(struct soft_vcpu *v)
{
	for (;;) {
		atomic_store(&v->in_code, true);
		if (likely(!atomic_load(&v->sv->flushing)))
			return;
		atomic_store(&v->in_code, false);
		while (atomic_load(&v->sv->flushing))
			plat_yield();
	}
}

/* ---- index --------------------------------------------------------------------------------- */

static uint32_t hash_of(uint64_t rip, uint32_t mode)
{
	return (uint32_t)(((rip ^ (uint64_t)mode << 40) * UINT64_C(0x9e3779b97f4a7c15)) >> 48) &
	       (HASH_SIZE - 1);
}

static uint32_t block_hash(uint64_t rip, gpa_t gpa, uint32_t mode)
{
	return hash_of(MODE_IS_PIC(mode) ? gpa : rip, mode);
}

struct soft_block *soft_block_lookup(struct soft_cache *c, uint64_t rip, gpa_t gpa, uint32_t mode)
{
	if (MODE_IS_PIC(mode))
		rip &= PAGE_MASK;
	for (uint32_t i = c->hash[block_hash(rip, gpa, mode)]; i; i = c->block[i - 1].next) {
		struct soft_block *b = &c->block[i - 1];

		if (b->rip == rip && b->gpa[0] == gpa && b->mode == mode)
			return b;
	}
	return NULL;
}

static void hash_remove(struct soft_cache *c, struct soft_block *b)
{
	uint32_t *p = &c->hash[block_hash(b->rip, b->gpa[0], b->mode)];
	uint32_t id = (uint32_t)(b - c->block) + 1;

	while (*p != id)
		p = &c->block[*p - 1].next;
	*p = b->next;
}

/* ---- links --------------------------------------------------------------------------------- */

static void patch(struct soft_cache *c, uint32_t at, uint32_t to)
{
	/* Aligned: other vCPUs run over it at the same time. */
	_Atomic uint32_t *p = (void *)(c->code.rw + at);

	atomic_store_explicit(p, to - (at + 4), memory_order_release);
}

void soft_link(struct soft_vm *sv, struct soft_exit *e, struct soft_block *to)
{
	struct soft_cache *c = sv->cache;
	/* Each loop polls once: at the jump that goes back. */
	uint32_t entry = e->target <= 0 ? to->code : to->body;

	e->to = (uint32_t)(to - c->block) + 1;
	e->next_in = to->in;
	to->in = (uint32_t)(e - c->exit) + 1;
	patch(c, e->patch, entry);
}

/* The target depends on the mapping of the next page: by slot or jump cache, for good. */
void soft_link_far(struct soft_vm *sv, struct soft_exit *e)
{
	uint32_t at = soft_emit_far(sv, &sv->cache->block[e->from], e->target);

	if (!at)
		return;
	e->stub = at;
	patch(sv->cache, e->patch, at);
}

static void unlink_in(struct soft_cache *c, struct soft_block *b)
{
	for (uint32_t i = b->in; i; i = c->exit[i - 1].next_in) {
		struct soft_exit *e = &c->exit[i - 1];

		e->to = 0;
		patch(c, e->patch, e->stub);
	}
	b->in = 0;
}

static void unlink_out(struct soft_cache *c, struct soft_exit *e)
{
	uint32_t *p, id = (uint32_t)(e - c->exit) + 1;

	if (!e->to)
		return;
	for (p = &c->block[e->to - 1].in; *p != id;)
		p = &c->exit[*p - 1].next_in;
	*p = e->next_in;
	e->to = 0;
	patch(c, e->patch, e->stub);
}

int soft_tgt_peek(struct soft_vm *sv, uint64_t rip, uint32_t mode)
{
	const struct soft_cache *c = sv->cache;

	for (uint32_t i = c->tgt_hash[hash_of(rip, mode)]; i; i = c->tgt[i - 1].next)
		if (c->tgt[i - 1].rip == rip && c->tgt[i - 1].mode == mode)
			return (int)i - 1;
	return -1;
}

int soft_tgt_get(struct soft_vm *sv, uint64_t rip, uint32_t mode)
{
	struct soft_cache *c = sv->cache;
	uint32_t h = hash_of(rip, mode), i;
	int found = soft_tgt_peek(sv, rip, mode);

	if (found >= 0)
		return found;
	if (c->n_tgts == TGT_MAX)
		return -1;
	i = c->n_tgts++;
	c->tgt[i] = (struct soft_tgt){.rip = rip, .mode = mode, .next = c->tgt_hash[h]};
	c->tgt_hash[h] = i + 1;
	for (unsigned n = 0; n < sv->n_vcpus; n++)
		if (sv->vcpu[n])
			*soft_gs64(sv->vcpu[n], GS_TGT + i * 8) = (uint64_t)soft_rx(c, c->t_tgt);
	return (int)i;
}

/* ---- birth and death ------------------------------------------------------------------------ */

void soft_block_kill(struct soft_vm *sv, struct soft_block *b)
{
	struct soft_cache *c = sv->cache;

	b->dead = true;
	hash_remove(c, b);
	unlink_in(c, b);
	for (uint32_t i = 0; i < b->n_exits; i++)
		unlink_out(c, &c->exit[b->exits + i]);
	soft_jumps_forget(sv, b);
}

void soft_block_insert(struct soft_vm *sv, struct soft_vcpu *v, struct soft_block *b)
{
	struct soft_cache *c = sv->cache;
	uint32_t h = block_hash(b->rip, b->gpa[0], b->mode);

	b->next = c->hash[h];
	c->hash[h] = (uint32_t)(b - c->block) + 1;
	soft_pages_add(sv, v, b);
	v->stats.blocks++;
	v->stats.insns += b->n_insns;
	v->stats.code_bytes += b->code_size;
}

/* ---- host exceptions ----------------------------------------------------------------------- */

const uint8_t *soft_fault_site(struct soft_vcpu *v, uint64_t pc, uint32_t *site)
{
	const struct soft_cache *c = v->sv->cache;
	uint64_t off = pc - (uint64_t)c->code.rx;
	uint32_t lo = 0, hi = atomic_load(&c->n_blocks);
	const struct soft_block *b;
	uint32_t i;

	/* Blocks lie in the order of their numbers. */
	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;

		if (c->block[mid].code <= off)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (!lo)
		return NULL;
	b = &c->block[lo - 1];
	off -= b->code;
	if (off >= b->code_size)
		return NULL;
	for (i = b->n_insns; i-- > 0;)
		if (c->site[b->sites + i].host <= off)
			break;
	if (i >= b->n_insns)
		return NULL;
	*site = (lo - 1) | i << SITE_INSN_SHIFT;
	return soft_rx(c, c->t_exec);
}
