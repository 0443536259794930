/* SPDX-License-Identifier: ISC */
/* mem.c: plat.h's memory on bare metal. Physical pages are extents in a list sorted by address, each
 * described in its own first page, so that the list needs no memory of its own; small objects come
 * from lists by size. Any thread; one spin lock, held for short. */
#include "plat/metal/mem.h"

#include "base/str.h"
#include "plat/metal/spin.h"
#include "plat/plat.h"

/* At the start of a free extent. */
struct extent {
	uint64_t size;
	uint64_t next; /* physical; 0: the last */
};

static struct {
	struct spin lock;
	uint64_t offset; /* virtual minus physical */
	uint64_t first;  /* extent */
	uint64_t total, free, guests;
	struct ram_range
		clean; /* of one free extent: zeros, and nothing of the pool's own is written there */
} pool;

void *phys_ptr(uint64_t pa)
{
	return (void *)(pa + pool.offset);
}

void mem_direct(void)
{
	pool.offset = DIRECT_BASE;
}

static struct extent *extent(uint64_t pa)
{
	return phys_ptr(pa);
}

/* Where the link to the first extent at or above pa is; *below: the extent before it, 0: none. */
static uint64_t *link_at(uint64_t pa, uint64_t *below)
{
	uint64_t *link = &pool.first;

	*below = 0;
	while (*link && *link < pa) {
		*below = *link;
		link = &extent(*link)->next;
	}
	return link;
}

static void extent_free(uint64_t pa, uint64_t size)
{
	uint64_t below, *link = link_at(pa, &below), above = *link;
	struct extent *e = extent(pa);

	e->size = size;
	e->next = above;
	*link = pa;
	if (above && pa + size == above) {
		e->next = extent(above)->next;
		e->size += extent(above)->size;
	}
	if (below && below + extent(below)->size == pa) {
		extent(below)->size += e->size;
		extent(below)->next = e->next;
	}
	pool.free += size;
}

/* Cuts [pa, end) out of the extent that *link leads to. */
static void extent_cut(uint64_t *link, uint64_t pa, uint64_t end)
{
	uint64_t at = *link, stop = at + extent(at)->size, next = extent(at)->next;

	if (end < stop) {
		extent(end)->size = stop - end;
		extent(end)->next = next;
		next = end;
	}
	if (pa > at) {
		extent(at)->size = pa - at;
		extent(at)->next = next;
	} else {
		*link = next;
	}
	pool.free -= end - pa;
}

void phys_add(uint64_t pa, uint64_t end)
{
	uint64_t flags;

	pa = ALIGN_UP(pa, PAGE_SIZE);
	end = ALIGN_DOWN(end, PAGE_SIZE);
	if (end <= pa)
		return;
	flags = spin_lock(&pool.lock);
	extent_free(pa, end - pa);
	pool.total += end - pa;
	spin_unlock(&pool.lock, flags);
}

/* [pa, end) is not free any more: what is clean begins behind it, and behind the header that may follow it. *zeros: what of it
 * is clean. */
static void clean_cut(uint64_t pa, uint64_t end, struct ram_range *zeros)
{
	*zeros = (struct ram_range){MAX(pa, pool.clean.pa), MIN(end, pool.clean.end)};
	if (pa < pool.clean.end && end + PAGE_SIZE > pool.clean.pa)
		pool.clean.pa = MIN(end + PAGE_SIZE, pool.clean.end);
}

static uint64_t take(uint64_t size, uint64_t align, struct ram_range *zeros)
{
	uint64_t flags = spin_lock(&pool.lock), pa = 0;

	for (uint64_t *link = &pool.first; *link; link = &extent(*link)->next) {
		uint64_t at = ALIGN_UP(*link, align), stop = *link + extent(*link)->size;

		if (at >= stop || stop - at < size)
			continue;
		extent_cut(link, at, at + size);
		clean_cut(at, at + size, zeros);
		pa = at;
		break;
	}
	spin_unlock(&pool.lock, flags);
	return pa;
}

uint64_t phys_alloc(uint64_t size, uint64_t align)
{
	struct ram_range zeros;

	return take(size, align, &zeros);
}

void phys_free(uint64_t pa, uint64_t size)
{
	uint64_t flags = spin_lock(&pool.lock);

	extent_free(pa, size);
	spin_unlock(&pool.lock, flags);
}

void phys_stats(uint64_t *total, uint64_t *free)
{
	*total = pool.total;
	*free = pool.free;
}

uint64_t mem_own_bytes(void)
{
	return pool.total - pool.free - pool.guests;
}

/* size: a multiple of 64. A VM's memory is more than caches hold: past them, which saves reading it. By single
 * instructions, as emulators that run us take ten times as long for REP STOS. */
static void zero(void *p, size_t size)
{
	uint64_t *q = p, *end = q + size / 8;

	if (size < MIB) {
		for (; q < end; q += 8)
			for (unsigned i = 0; i < 8; i++)
				((volatile uint64_t *)q)[i] = 0; /* not to become memset() */
		return;
	}
	for (; q < end; q += 8)
		__asm__ volatile(
			"movnti %1, (%0); movnti %1, 8(%0); movnti %1, 16(%0); movnti %1, 24(%0)\n"
			"movnti %1, 32(%0); movnti %1, 40(%0); movnti %1, 48(%0); movnti %1, 56(%0)"
			:
			: "r"(q), "r"(UINT64_C(0))
			: "memory");
	__asm__ volatile("sfence" : : : "memory");
}

/* ---- pages ---- */

#define CLEAN_STEP (64 * KIB)

/* The largest free extent, but for its header. */
static struct ram_range largest(void)
{
	struct ram_range most = {0};

	for (uint64_t pa = pool.first; pa; pa = extent(pa)->next)
		if (extent(pa)->size > most.end - most.pa)
			most = (struct ram_range){pa, pa + extent(pa)->size};
	most.pa = ALIGN_UP(most.pa + PAGE_SIZE, 2 * MIB); /* where a guest's memory begins */
	return most;
}

void mem_clean(void)
{
	uint64_t flags = spin_lock(&pool.lock);
	struct ram_range all = largest();

	if (pool.clean.pa < all.pa || pool.clean.end > all.end || pool.clean.pa == pool.clean.end)
		pool.clean = (struct ram_range){all.pa, all.pa};
	if (pool.clean.end + CLEAN_STEP <= all.end) {
		zero(phys_ptr(pool.clean.end), CLEAN_STEP);
		pool.clean.end += CLEAN_STEP;
	}
	spin_unlock(&pool.lock, flags);
}

static void *pages(uint64_t size, uint64_t align)
{
	struct ram_range zeros;
	uint64_t pa = take(size, align, &zeros);

	if (!pa)
		return NULL;
	if (zeros.pa >= zeros.end)
		zeros.pa = zeros.end = pa;
	zero(phys_ptr(pa), zeros.pa - pa);
	zero(phys_ptr(zeros.end), pa + size - zeros.end);
	return phys_ptr(pa);
}

uint64_t plat_phys(const void *p)
{
	return (uint64_t)p - pool.offset;
}

void *plat_virt(uint64_t pa)
{
	return phys_ptr(pa);
}

void *plat_pages_alloc(size_t size)
{
	return pages(size, PAGE_SIZE);
}

void plat_pages_free(void *p, size_t size)
{
	if (p)
		phys_free(plat_phys(p), size);
}

void plat_pages_discard(void *p, size_t size)
{
	zero(p, size);
}

bool plat_takes_back(void)
{
	return false;
}

void plat_shared_discard(void *p, size_t size)
{
	zero(p, size);
}

int plat_ram_alloc(size_t size, enum plat_ram_kind kind, struct plat_ram *out)
{
	/* Aligned for large pages in the nested tables */
	size_t whole = ALIGN_UP(size, (size_t)(2 * MIB));
	uint8_t *p = pages(whole, 2 * MIB);

	if (!p)
		return err_here(ERR_NOMEM);
	__atomic_fetch_add(&pool.guests, whole, __ATOMIC_RELAXED);
	*out = (struct plat_ram){.hva = p, .size = size, .fd = -1, .kind = kind};
	return 0;
}

#define KEPT 16

static struct {
	_Atomic uint32_t n;
	const void *hva[KEPT];
} kept;

void mem_keep(const void *hva)
{
	uint32_t i = atomic_fetch_add(&kept.n, 1);

	BUG_ON(i >= KEPT); /* as many disks at most */
	kept.hva[i] = hva;
}

static bool is_kept(const void *hva)
{
	for (unsigned i = 0; i < atomic_load(&kept.n); i++)
		if (kept.hva[i] == hva)
			return true;
	return false;
}

void plat_ram_free(struct plat_ram *ram)
{
	size_t whole = ALIGN_UP(ram->size, (size_t)(2 * MIB));

	if (is_kept(ram->hva)) {
		ram->hva = NULL;
		return;
	}

	zero(ram->hva, whole); /* nothing of a guest stays behind */
	__atomic_fetch_sub(&pool.guests, whole, __ATOMIC_RELAXED);
	phys_free(plat_phys(ram->hva), whole);
	ram->hva = NULL;
}

/* ---- small objects: a header, then the object on a cache line ---- */

struct object {
	size_t whole; /* bytes with this header */
	struct object *next;
} attr_aligned(64);

#define CLASS_MIN 128u
#define CLASSES   6 /* 128 … 4096 */
static struct {
	struct spin lock;
	struct object *free[CLASSES];
} heap;

static unsigned class_of(size_t whole)
{
	unsigned c = 0;

	while (c < CLASSES && (size_t)CLASS_MIN << c < whole)
		c++;
	return c;
}

static struct object *small_alloc(unsigned c)
{
	size_t size = (size_t)CLASS_MIN << c;
	uint64_t flags = spin_lock(&heap.lock);
	struct object *o = heap.free[c];

	if (!o) {
		uint64_t pa = phys_alloc(PAGE_SIZE, PAGE_SIZE);

		for (size_t at = 0; pa && at < PAGE_SIZE; at += size) {
			o = phys_ptr(pa + at);
			o->next = heap.free[c];
			heap.free[c] = o;
		}
	}
	if (o)
		heap.free[c] = o->next;
	spin_unlock(&heap.lock, flags);
	if (o)
		zero(o, size);
	return o;
}

void *plat_alloc(size_t size)
{
	size_t whole = size + sizeof(struct object);
	unsigned c = class_of(whole);
	struct object *o;

	if (whole < size)
		return NULL;
	if (c < CLASSES) {
		o = small_alloc(c);
		whole = (size_t)CLASS_MIN << c;
	} else {
		whole = ALIGN_UP(whole, (size_t)PAGE_SIZE);
		o = pages(whole, PAGE_SIZE);
	}
	if (!o)
		return NULL;
	o->whole = whole;
	return o + 1;
}

void plat_free(void *p)
{
	struct object *o = (struct object *)p - 1;
	unsigned c;
	uint64_t flags;

	if (!p)
		return;
	c = class_of(o->whole);
	if (c == CLASSES) {
		phys_free(plat_phys(o), o->whole);
		return;
	}
	flags = spin_lock(&heap.lock);
	o->next = heap.free[c];
	heap.free[c] = o;
	spin_unlock(&heap.lock, flags);
}

/* ---- code: written through the direct map, executed through a mapping of its own ---- */

static struct {
	struct spin lock;
	struct code_page {
		struct plat_code code;
		struct code_page *next;
	} * free;
} codes;

int plat_code_alloc(size_t size, struct plat_code *out)
{
	uint64_t flags = spin_lock(&codes.lock);
	struct code_page **link = &codes.free, *c;

	/* Mappings stay for ever, and are used again. */
	while (*link && (*link)->code.size != size)
		link = &(*link)->next;
	c = *link;
	if (c)
		*link = c->next;
	spin_unlock(&codes.lock, flags);
	if (c) {
		*out = c->code;
		plat_free(c);
		return 0;
	}
	out->size = size;
	out->rw = plat_pages_alloc(size);
	if (!out->rw)
		return err_here(ERR_NOMEM);
	out->rx = paging_map(plat_phys(out->rw), size, MAP_X);
	if (out->rx)
		return 0;
	plat_pages_free(out->rw, size);
	return err_here(ERR_NOMEM);
}

void plat_code_free(struct plat_code *code)
{
	struct code_page *c = code->rw ? plat_alloc(sizeof(*c)) : NULL;
	uint64_t flags;

	if (!c) /* lost: it must not become other memory while it is executable */
		return;
	zero(code->rw, code->size); /* it tells of its guest */
	c->code = *code;
	code->rw = code->rx = NULL;
	flags = spin_lock(&codes.lock);
	c->next = codes.free;
	codes.free = c;
	spin_unlock(&codes.lock, flags);
}
