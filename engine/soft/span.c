/* SPDX-License-Identifier: ISC */
/* span.c: pages that follow each other in the guest, and in the host too.
 *
 * A system hands out pages in any order, mostly downwards, so that the pages of a buffer seldom follow each
 * other in the host. A REP over them would be one for each page, which takes up to twice the time. Pages
 * that were run over often, the same ones in the same order, are therefore mapped once more, in that
 * order: a mirror. It says nothing about what the guest's tables say now, or about rights: it serves
 * while the TLB has all of its pages, and has them where they were.
 *
 * The spans used last are known to translated code (emit_rep()), for as long as nothing leaves the
 * TLBs. On the vCPU's own thread. */
#include "engine/soft/span.h"

#include "base/str.h"
#include "engine/soft/memo.h"
#include "engine/soft/tlb.h"

/* Mapping takes 1 to 2 µs a page: as long as the runs of that many REPs */
#define MIRROR_HEAT 64u
/* But 30 to 100 µs where several vCPUs map: the host has one lock for all, and stops the others to empty their TLBs.
 * So mirrors may take one part of so many of a vCPU's time, of which so many cycles are kept for when many are wanted. */
#define MIRROR_SHARE  16u
#define MIRROR_CREDIT (UINT64_C(1) << 26)
/* Further ahead it is the clock that went back. */
#define MIRROR_WAIT_MAX (UINT64_C(1) << 36)
/* What memos may have of neighbours: in mirrors, and where they are so by nature */
#define MIRROR_SPAN  ((MIRROR_PAGES - 1) * PAGE_SIZE)
#define EXTENT_PAGES 256u

static struct soft_mirror *mirror_of(struct soft_vcpu *v, gva_t va, bool write)
{
	uint64_t hash = (va >> PAGE_SHIFT) * UINT64_C(0x9e3779b97f4a7c15);

	return &v->mirror[(hash >> 32) % (MIRRORS / 2) * 2 + write];
}

static hva_t mirror_base(const struct soft_vcpu *v, const struct soft_mirror *m)
{
	return v->mirror_memory + (size_t)(m - v->mirror) * MIRROR_PAGES * PAGE_SIZE;
}

static bool mirror_map(struct soft_vcpu *v, const struct soft_mirror *m)
{
	if (!v->mirror_memory)
		v->mirror_memory =
			plat_mirrors_alloc(&v->sv->vm->ram, MIRRORS * MIRROR_PAGES * PAGE_SIZE);
	if (!v->mirror_memory)
		return false;
	soft_spans_end(v); /* one may lead through what was there */
	soft_memos_end_all(v, true);
	for (uint32_t i = 0; i < m->n; i++)
		if (plat_mirror_page(mirror_base(v, m) + i * PAGE_SIZE, m->page[i]))
			return false;
	v->stats.mirrors++;
	return true;
}

/* What mirrors took is paid for by the time after it. */
static bool is_paid(const struct soft_vcpu *v)
{
	return v->sv->cfg.all_mirrors || v->mirror_paid - vcpu_ticks() - 1 >= MIRROR_WAIT_MAX;
}

/* Becomes made, if there is time for it. */
static bool mirror_make(struct soft_vcpu *v, struct soft_mirror *m)
{
	uint64_t begun, least;

	if (!is_paid(v))
		return false;
	begun = vcpu_ticks();
	least = begun - MIN(begun, MIRROR_CREDIT);
	m->made = mirror_map(v, m);
	v->no_mirrors = !m->made;
	if (v->mirror_paid < least || v->mirror_paid > begun)
		v->mirror_paid = least;
	v->mirror_paid += (vcpu_ticks() - begun) * MIRROR_SHARE;
	return m->made;
}

/* Where the TLB has the n pages from first on. False: not all of them */
static bool pages_of(struct soft_vcpu *v, gva_t first, bool write, uint32_t n, hva_t *page)
{
	for (uint32_t i = 0; i < n; i++) {
		page[i] = soft_tlb_peek(v, first + i * PAGE_SIZE, write);
		if (!page[i])
			return false;
	}
	return true;
}

static bool mirror_is_of(const struct soft_mirror *m, gva_t first, const hva_t *page, uint32_t n)
{
	return m->first == first && n <= m->n && !memcmp(m->page, page, n * sizeof(*page));
}

static void mirror_begin(struct soft_mirror *m, gva_t first, const hva_t *page, uint32_t n)
{
	*m = (struct soft_mirror){.first = first, .n = n};
	memcpy(m->page, page, n * sizeof(*page));
}

/* NULL: not yet */
static hva_t mirror_find(struct soft_vcpu *v, gva_t va, bool write, uint64_t bytes)
{
	uint32_t n = (uint32_t)(((va & PAGE_MASK) + bytes + PAGE_MASK) >> PAGE_SHIFT);
	struct soft_mirror *m = mirror_of(v, va, write);
	gva_t first = va & ~PAGE_MASK;
	hva_t page[MIRROR_PAGES];

	if (v->no_mirrors || v->sv->cfg.no_mirrors || !pages_of(v, first, write, n, page))
		return NULL;
	if (!mirror_is_of(m, first, page, n)) {
		mirror_begin(m, first, page, n);
		return NULL;
	}
	if (!m->made) {
		if (++m->heat < MIRROR_HEAT || !mirror_make(v, m))
			return NULL;
	}
	return mirror_base(v, m) + (va & PAGE_MASK);
}

uint64_t soft_span(struct soft_vcpu *v, gva_t va, bool write, uint64_t want, hva_t *host)
{
	uint64_t bytes = PAGE_SIZE - (va & PAGE_MASK);
	hva_t mirror;

	want = MIN(want, RUN_MAX);
	while (bytes < want && soft_tlb_peek(v, va + bytes, write) == *host + bytes)
		bytes += PAGE_SIZE;
	if (bytes < want) {
		mirror = mirror_find(v, va, write, want);
		if (!mirror)
			return bytes;
		*host = mirror;
		bytes += ALIGN_UP(want - bytes, PAGE_SIZE);
	}
	v->span[v->mode & MODE_CTX][write] =
		(struct soft_span){.neg_start = -(va & ~PAGE_MASK),
				   .end = va + bytes,
				   .addend = (uint64_t)*host - va + TLB_BIAS};
	return want;
}

/* Bytes from va on, or, down, before it, that the TLB has at host: at most max */
static uint64_t run_of(struct soft_vcpu *v, gva_t va, bool write, hva_t host, bool down)
{
	uint64_t n = 0, max = EXTENT_PAGES * PAGE_SIZE;

	while (n < max && soft_tlb_peek(v, down ? va - n - PAGE_SIZE : va + n, write) ==
				  (down ? host - n - PAGE_SIZE : host + n))
		n += PAGE_SIZE;
	return n;
}

/* The pages of va's neighbourhood that the TLB has, in a mirror. NULL: there is none, or no mirror */
static hva_t extent_mirror(struct soft_vcpu *v, gva_t va, bool write, gva_t *from, uint64_t *bytes)
{
	gva_t first = va & ~PAGE_MASK, end = first + PAGE_SIZE;
	/* Windows overlap, so that none begins or ends near va. */
	gva_t low = ALIGN_DOWN(va - MIRROR_SPAN / 4, MIRROR_SPAN / 2);
	hva_t page[MIRROR_PAGES];
	struct soft_mirror *m;
	uint32_t n;

	while (first > low && soft_tlb_peek(v, first - PAGE_SIZE, write))
		first -= PAGE_SIZE;
	while (end < low + MIRROR_SPAN && soft_tlb_peek(v, end, write))
		end += PAGE_SIZE;
	n = (uint32_t)((end - first) >> PAGE_SHIFT);
	m = mirror_of(v, first, write);
	if (n < 2 || v->no_mirrors || v->sv->cfg.no_mirrors)
		return NULL;
	if (!pages_of(v, first, write, n, page))
		return NULL;
	if (!mirror_is_of(m, first, page, n) || !m->made) {
		if (!is_paid(v))
			return NULL;
		mirror_begin(m, first, page, n);
		if (!mirror_make(v, m))
			return NULL;
	}
	*from = first;
	*bytes = end - first;
	return mirror_base(v, m);
}

hva_t soft_extent(struct soft_vcpu *v, gva_t va, bool write, gva_t *from, uint64_t *bytes)
{
	gva_t page = va & ~PAGE_MASK;
	hva_t host = soft_tlb_peek(v, page, write), mirror;
	uint64_t below, above;

	if (!host)
		return NULL;
	below = run_of(v, page, write, host, true);
	above = run_of(v, page, write, host, false);
	if (below + above < MIRROR_SPAN) {
		mirror = extent_mirror(v, va, write, from, bytes);
		if (mirror)
			return mirror;
	}
	*from = page - below;
	*bytes = below + above;
	return host - below;
}

void soft_spans_end(struct soft_vcpu *v)
{
	memset(v->span, 0, sizeof(v->span));
}

/* They show memory that is the guest's no more. */
void soft_mirrors_drop(struct soft_vcpu *v)
{
	soft_mirrors_free(v);
	v->mirror_memory = NULL;
	memset(v->mirror, 0, sizeof(v->mirror));
}

void soft_mirrors_free(struct soft_vcpu *v)
{
	plat_pages_free(v->mirror_memory, MIRRORS * MIRROR_PAGES * PAGE_SIZE);
}
