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
#include "engine/soft/view.h"

/* Blocks that the largest cache has, about */
#define HASH_BITS 20u
#define HASH_MAX  (1u << HASH_BITS)

/* ---- the cache ----------------------------------------------------------------------------- */

/* A number, as there need not be memory yet */
static void *carve(uintptr_t *p, size_t size)
{
	void *r = (void *)*p;

	*p += ALIGN_UP(size, (size_t)64);
	return r;
}

static void carve_arena(struct soft_cache *c)
{
	uintptr_t p = (uintptr_t)c->arena;

	c->block = carve(&p, c->n_parts * c->part_blocks * sizeof(*c->block));
	c->exit = carve(&p, c->n_parts * c->part_exits * sizeof(*c->exit));
	c->site = carve(&p, c->n_parts * c->part_sites * sizeof(*c->site));
	c->page = carve(&p, c->max_pages * sizeof(*c->page));
	c->tgt = carve(&p, c->entries * sizeof(*c->tgt));
	c->hash = carve(&p, c->hash_max * sizeof(*c->hash));
	c->page_hash = carve(&p, c->entries * sizeof(*c->page_hash));
	c->tgt_hash = carve(&p, c->entries * sizeof(*c->tgt_hash));
	c->ghost = carve(&p, c->entries * GHOSTS / 8);
	c->arena_size = ALIGN_UP((size_t)(p - (uintptr_t)c->arena), (size_t)PAGE_SIZE);
}

/* Numbers of records for the densest code that there is, or, where memory is short, for code as it is mostly: a part without
 * room for more records is full. Without a bound of its own the cache may grow. Gives its size then. */
static size_t plan(struct soft_cache *c, const struct soft_config *cfg)
{
	size_t bound = cfg->cache_bytes;
	size_t bytes = ALIGN_UP(MIN(MAX(bound ? bound : SOFT_CACHE_DEFAULT, SOFT_CACHE_MIN),
				    (size_t)GIB), /* offsets and relative jumps have 32 bits */
				(size_t)PAGE_SIZE);
	uint32_t part, dense;

	c->entries = c->hash_size = soft_tables_there(cfg);
	c->hash_max = bound ? c->hash_size : MAX(c->hash_size, (uint32_t)HASH_MAX);
	c->used_parts = (uint32_t)MAX(2u, MIN(FIRST_PARTS, bytes / (128 * KIB)));
	part = (uint32_t)(bytes / c->used_parts);
	c->n_parts = bound ? c->used_parts : MAX_PARTS;
	dense = cfg->tables ? part / 3 * 2 : part;
	c->part_blocks = MIN(dense / 128, (SITE_MAX_BLOCKS - 1) / c->n_parts);
	c->part_exits = dense / 64;
	c->part_sites = dense / 20;
	bytes = bound ? bytes : (size_t)part * MAX_PARTS;
	c->max_pages = (uint32_t)(bytes / 1024);
	return bytes;
}

/* Stubs take one byte in four. Where parts are small, what counts is that each piece has room for several blocks. */
static uint32_t cold_bytes(uint32_t part)
{
	return ALIGN_UP(MAX(part / 10 * 3, STUBS_ROOM + 6 * 1024), 64u);
}

static void part_reset(struct soft_part *p)
{
	/* Records needn't be cleared: they are written in full when taken. */
	p->used = p->start;
	p->cold_used = p->cold;
	p->n_exits = p->n_sites = 0;
	atomic_store(&p->n_blocks, 0);
}

static void make_parts(struct soft_cache *c)
{
	uint32_t size = ALIGN_DOWN((uint32_t)(c->code.size / c->n_parts), 4096u);

	for (uint32_t i = 0; i < c->n_parts; i++) {
		struct soft_part *p = &c->part[i];

		p->start = i ? i * size : c->first;
		p->end = (i + 1) * size;
		p->cold = p->end - cold_bytes(size);
		p->block = i * c->part_blocks;
		p->exit = i * c->part_exits;
		p->site = i * c->part_sites;
		part_reset(p);
	}
}

static void cache_free(struct soft_cache *c)
{
	plat_code_free(&c->code);
	plat_pages_free(c->arena, c->arena_size);
	plat_free(c->tr);
	plat_free(c);
}

int soft_cache_create(struct soft_vm *sv)
{
	struct soft_cache *c = plat_alloc(sizeof(*c));
	size_t bytes;
	int err;

	if (!c)
		return err_here(ERR_NOMEM);
	sv->lines = lines_matter(sv->cfg.lines);
	bytes = plan(c, &sv->cfg);
	carve_arena(c); /* for the size */
	c->arena = plat_pages_alloc(c->arena_size);
	c->tr = plat_alloc(sizeof(*c->tr));
	err = c->arena && c->tr ? plat_code_alloc(bytes, &c->code) : err_here(ERR_NOMEM);
	if (err) {
		cache_free(c);
		return err;
	}
	carve_arena(c);
	sv->cache = c;
	soft_trampolines(sv);
	make_parts(c);
	for (unsigned i = 0; i < sv->n_vcpus; i++)
		if (sv->vcpu[i])
			soft_jumps_init(sv->vcpu[i]);
	return 0;
}

void soft_cache_destroy(struct soft_vm *sv)
{
	if (sv->cache)
		cache_free(sv->cache);
	sv->cache = NULL;
}

bool soft_cache_has_pc(const struct soft_vm *sv, uint64_t pc)
{
	return pc - (uint64_t)sv->cache->code.rx < sv->cache->code.size;
}

/* Everybody is out, the lock is held. */
static void empty_all(struct soft_vm *sv)
{
	struct soft_cache *c = sv->cache;

	for (uint32_t i = 0; i < c->n_pages; i++) {
		_Atomic uint8_t *flags = soft_page_flags(sv, c->page[i].gpa);

		if (flags)
			atomic_fetch_and(flags, (uint8_t)~PGF_CODE);
	}
	memset(c->hash, 0, c->hash_size * sizeof(*c->hash));
	c->n_hashed = 0;
	memset(c->page_hash, 0, c->entries * sizeof(*c->page_hash));
	memset(c->tgt_hash, 0, c->entries * sizeof(*c->tgt_hash));
	for (uint32_t i = 0; i < c->n_parts; i++)
		part_reset(&c->part[i]);
	for (unsigned i = 0; i < sv->n_vcpus; i++)
		if (sv->vcpu[i])
			soft_jumps_flush(sv->vcpu[i]);
	c->n_pages = c->n_tgts = 0;
}

static uint32_t ghost_of(const struct soft_cache *c, const struct soft_block *b)
{
	uint64_t key = (block_gpa(b) ^ (uint64_t)b->mode << 40) * UINT64_C(0x9e3779b97f4a7c15);

	return (uint32_t)(key >> 32) % (c->entries * GHOSTS);
}

/* But for the current one. with_blocks: of those that have any; there is one. */
static uint32_t oldest_part(const struct soft_cache *c, bool with_blocks)
{
	uint32_t best = c->cur;

	for (uint32_t i = 0; i < c->used_parts; i++)
		if (i != c->cur && (!with_blocks || atomic_load(&c->part[i].n_blocks)) &&
		    (best == c->cur || c->part[i].begun < c->part[best].begun))
			best = i;
	return best;
}

/* Shall there be a part more? What large programs need is far more than one: so it is twice as many each time that the
 * answer is yes again. */
static bool shall_grow(struct soft_cache *c)
{
	if (c->used_parts == c->n_parts)
		return false;
	if (!c->more) {
		c->step = c->returned > atomic_load(&soft_cur(c)->n_blocks) / 8
				  ? MAX(1u, c->step * 2)
				  : 0;
		c->more = c->step;
	}
	return c->more && c->more--;
}

static void next_part(struct soft_cache *c)
{
	bool grow = shall_grow(c);

	c->returned = 0;
	c->cur = grow ? c->used_parts++ : oldest_part(c, false);
	soft_cur(c)->begun = ++c->n_begun;
	if (c->n_ghosts > c->entries * GHOSTS / 8) { /* else too many seem to have been there */
		memset(c->ghost, 0, c->entries * GHOSTS / 8);
		c->n_ghosts = 0;
	}
}

/* The same for one part; note: which blocks it had. */
static void empty_part(struct soft_vm *sv, struct soft_part *p, bool note)
{
	struct soft_cache *c = sv->cache;
	uint32_t n = atomic_load(&p->n_blocks);

	for (uint32_t i = p->block; i < p->block + n; i++) {
		if (c->block[i].dead)
			continue;
		if (note) {
			bit_set(c->ghost, ghost_of(c, &c->block[i]));
			c->n_ghosts++;
		}
		soft_block_kill(sv, &c->block[i]);
		soft_pages_remove(sv, &c->block[i]);
	}
	for (unsigned i = 0; i < sv->n_vcpus && n; i++)
		if (sv->vcpu[i])
			soft_jumps_evict(sv->vcpu[i], p->start, p->end);
	part_reset(p);
}

/* The one that was filled first, or a new one, which becomes current */
static void empty_next(struct soft_vm *sv)
{
	next_part(sv->cache);
	empty_part(sv, soft_cur(sv->cache), true);
}

/* The whole pages between from and to */
static void give_back(void *from, void *to, void (*discard)(void *p, size_t size))
{
	uint8_t *p = (uint8_t *)ALIGN_UP((uintptr_t)from, (uintptr_t)PAGE_SIZE);
	uint8_t *end = (uint8_t *)ALIGN_DOWN((uintptr_t)to, (uintptr_t)PAGE_SIZE);

	if (p < end)
		discard(p, (size_t)(end - p));
}

/* The older half of the parts, whose memory goes back. What comes back of it is no sign that the cache is too small. */
static void empty_old(struct soft_vm *sv)
{
	struct soft_cache *c = sv->cache;
	uint32_t n = 0;

	for (uint32_t i = 0; i < c->used_parts; i++)
		n += atomic_load(&c->part[i].n_blocks) != 0;
	for (n /= 2; n; n--) {
		struct soft_part *p = &c->part[oldest_part(c, true)];

		empty_part(sv, p, false);
		give_back(c->code.rw + p->start, c->code.rw + p->end, plat_shared_discard);
		give_back(c->block + p->block, c->block + p->block + c->part_blocks,
			  plat_pages_discard);
		give_back(c->exit + p->exit, c->exit + p->exit + c->part_exits, plat_pages_discard);
		give_back(c->site + p->site, c->site + p->site + c->part_sites, plat_pages_discard);
	}
}

void soft_cache_forget(struct soft_vm *sv)
{
	plat_mutex_lock(&sv->lock);
	empty_all(sv);
	sv->cache->translations = 0;
	sv->cache->generation++;
	plat_mutex_unlock(&sv->lock);
}

/* Empties some of the cache with all vCPUs out of the code; or another vCPU just does. */
static void empty(struct soft_vcpu *v, void (*what)(struct soft_vm *sv))
{
	struct soft_vm *sv = v->sv;

	atomic_store(&v->in_code, false);
	if (atomic_exchange(&sv->flushing, true)) {
		while (atomic_load(&sv->flushing))
			plat_yield();
		return;
	}
	for (unsigned i = 0; i < sv->n_vcpus; i++) {
		struct soft_vcpu *o = sv->vcpu[i];

		if (!o || o == v)
			continue;
		atomic_store(&o->poll, 1);
		while (atomic_load(&o->in_code))
			plat_yield();
	}
	plat_mutex_lock(&sv->lock);
	what(sv);
	sv->cache->translations = 0;
	sv->cache->generation++;
	plat_mutex_unlock(&sv->lock);
	v->stats.flushes++;
	atomic_store(&sv->flushing, false);
}

void soft_cache_flush(struct soft_vcpu *v, bool all)
{
	empty(v, all || v->sv->cfg.flush_every ? empty_all : empty_next);
	soft_come_in(v);
}

void soft_cache_rest(struct soft_vcpu *v)
{
	empty(v, empty_old);
}

void soft_come_in(struct soft_vcpu *v)
{
	for (;;) {
		atomic_store(&v->in_code, true);
		if (likely(!atomic_load(&v->sv->flushing))) {
			soft_let_alone(v);
			v->mode_dirty = true; /* as in alone.c */
			return;
		}
		atomic_store(&v->in_code, false);
		while (atomic_load(&v->sv->flushing))
			plat_yield();
	}
}

/* ---- index --------------------------------------------------------------------------------- */

static uint32_t hash_of(uint64_t rip, uint32_t mode)
{
	return (uint32_t)(((rip ^ (uint64_t)mode << 40) * UINT64_C(0x9e3779b97f4a7c15)) >>
			  (64 - HASH_BITS));
}

static uint32_t block_hash(const struct soft_cache *c, uint64_t rip, gpa_t gpa, uint32_t mode)
{
	return hash_of(MODE_IS_PIC(mode) ? gpa : rip, mode) & (c->hash_size - 1);
}

static uint32_t tgt_hash(const struct soft_cache *c, uint64_t rip, uint32_t mode)
{
	return hash_of(rip, mode) & (c->entries - 1);
}

struct soft_block *soft_block_lookup(struct soft_cache *c, uint64_t rip, gpa_t gpa, uint32_t mode)
{
	if (MODE_IS_PIC(mode))
		rip &= PAGE_MASK;
	for (uint32_t i = c->hash[block_hash(c, rip, gpa, mode)]; i; i = c->block[i - 1].next) {
		struct soft_block *b = &c->block[i - 1];

		if (b->rip == rip && b->page[0] == gpa >> PAGE_SHIFT && b->mode == mode)
			return b;
	}
	return NULL;
}

static void hash_add(struct soft_cache *c, struct soft_block *b)
{
	uint32_t h = block_hash(c, b->rip, block_gpa(b), b->mode);

	b->next = c->hash[h];
	c->hash[h] = (uint32_t)(b - c->block) + 1;
}

/* A chain's next block is not in the host's cache mostly: there shall be none. */
static void hash_grow(struct soft_cache *c)
{
	memset(c->hash, 0, c->hash_size * sizeof(*c->hash));
	c->hash_size *= 4;
	for (uint32_t n = 0; n < c->used_parts; n++) {
		const struct soft_part *p = &c->part[n];

		for (uint32_t i = p->block; i < p->block + atomic_load(&p->n_blocks); i++)
			if (!c->block[i].dead)
				hash_add(c, &c->block[i]);
	}
}

static void hash_remove(struct soft_cache *c, struct soft_block *b)
{
	uint32_t *p = &c->hash[block_hash(c, b->rip, block_gpa(b), b->mode)];
	uint32_t id = (uint32_t)(b - c->block) + 1;

	while (*p != id)
		p = &c->block[*p - 1].next;
	*p = b->next;
	c->n_hashed--;
}

/* ---- links --------------------------------------------------------------------------------- */

static void patch(struct soft_cache *c, uint32_t at, uint32_t to)
{
	/* Aligned: other vCPUs run over it at the same time. */
	_Atomic uint32_t *p = (void *)(c->code.rw + at);

	atomic_store_explicit(p, to - (at + 4), memory_order_release);
}

static void unpatch(struct soft_cache *c, const struct soft_exit *e)
{
	patch(c, e->patch, e->stub);
}

void soft_link(struct soft_vm *sv, struct soft_exit *e, struct soft_block *to)
{
	struct soft_cache *c = sv->cache;

	e->to = (uint32_t)(to - c->block) + 1;
	e->next_in = to->in;
	to->in = (uint32_t)(e - c->exit) + 1;
	/* Each loop polls once: at the jump that goes back. */
	patch(c, e->patch, e->target <= 0 ? to->code : to->code + to->body);
}

/* The target depends on the mapping of the next page: by slot or jump cache, for good. Only while
 * that code goes to the same part of the cache as the block, since they must die together. */
void soft_link_far(struct soft_vm *sv, struct soft_exit *e)
{
	struct soft_cache *c = sv->cache;
	const struct soft_block *from = &c->block[e->from];
	uint32_t at;

	if (from->code < soft_cur(c)->start || from->code >= soft_cur(c)->end)
		return;
	at = soft_emit_far(sv, from, e->target);
	if (at)
		patch(c, e->patch, at);
}

static void unlink_in(struct soft_cache *c, struct soft_block *b)
{
	for (uint32_t i = b->in; i; i = c->exit[i - 1].next_in) {
		c->exit[i - 1].to = 0;
		unpatch(c, &c->exit[i - 1]);
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
	unpatch(c, e);
}

int soft_tgt_peek(struct soft_vm *sv, uint64_t rip, uint32_t mode)
{
	const struct soft_cache *c = sv->cache;

	for (uint32_t i = c->tgt_hash[tgt_hash(c, rip, mode)]; i; i = c->tgt[i - 1].next)
		if (c->tgt[i - 1].rip == rip && c->tgt[i - 1].mode == mode)
			return (int)i - 1;
	return -1;
}

int soft_tgt_get(struct soft_vm *sv, uint64_t rip, uint32_t mode)
{
	struct soft_cache *c = sv->cache;
	uint32_t h = tgt_hash(c, rip, mode), i;
	int found = soft_tgt_peek(sv, rip, mode);

	if (found >= 0)
		return found;
	if (c->n_tgts == c->entries)
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
}

void soft_block_insert(struct soft_vm *sv, struct soft_vcpu *v, struct soft_block *b)
{
	struct soft_cache *c = sv->cache;

	if (++c->n_hashed > c->hash_size && c->hash_size * 4 <= c->hash_max)
		hash_grow(c); /* it is among them already */
	else
		hash_add(c, b);
	soft_pages_add(sv, v, b);
	c->returned += bit_get(c->ghost, ghost_of(c, b));
	v->stats.blocks++;
	v->stats.insns += b->n_insns;
}

/* ---- host exceptions ----------------------------------------------------------------------- */

static struct soft_block *block_at(const struct soft_cache *c, uint64_t off)
{
	const struct soft_part *p = c->part;
	uint32_t lo, hi;

	while (p < &c->part[c->n_parts] && off >= p->end)
		p++;
	if (p == &c->part[c->n_parts])
		return NULL;
	lo = p->block;
	hi = lo + atomic_load(&p->n_blocks);
	while (lo < hi) { /* they lie in the order of their numbers */
		uint32_t mid = (lo + hi) / 2;

		if (c->block[mid].code <= off)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo > p->block ? &c->block[lo - 1] : NULL;
}

const uint8_t *soft_fault_site(struct soft_vcpu *v, uint64_t pc, uint32_t *site)
{
	const struct soft_cache *c = v->sv->cache;
	uint64_t off = pc - (uint64_t)c->code.rx;
	const struct soft_block *b = block_at(c, off);

	if (!b || off - b->code >= b->code_size)
		return NULL;
	for (uint32_t i = b->n_insns; i-- > 0;)
		if (c->site[b->sites + i].host <= off - b->code) {
			*site = (uint32_t)(b - c->block) | i << SITE_INSN_SHIFT;
			return soft_rx(c, c->t_exec);
		}
	return NULL;
}
