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
#include "engine/soft/tlb.h"

/* Mapping takes 1 to 2 µs a page: as long as the runs of that many REPs */
#define MIRROR_HEAT 64u

static struct soft_mirror *mirror_of(struct soft_vcpu *v, gva_t va, bool write)
{
	uint64_t hash = (va >> PAGE_SHIFT) * UINT64_C(0x9e3779b97f4a7c15);

	return &v->mirror[(hash >> 32) % (MIRRORS / 2) * 2 + write];
}

static hva_t mirror_base(const struct soft_vcpu *v, const struct soft_mirror *m)
{
	return v->mirror_memory + (size_t)(m - v->mirror) * MIRROR_PAGES * PAGE_SIZE;
}

static bool mirror_make(struct soft_vcpu *v, const struct soft_mirror *m)
{
	if (!v->mirror_memory)
		v->mirror_memory =
			plat_mirrors_alloc(&v->sv->vm->ram, MIRRORS * MIRROR_PAGES * PAGE_SIZE);
	if (!v->mirror_memory)
		return false;
	soft_spans_end(v); /* one may lead through what was there */
	for (uint32_t i = 0; i < m->n; i++)
		if (plat_mirror_page(mirror_base(v, m) + i * PAGE_SIZE, m->page[i]))
			return false;
	v->stats.mirrors++;
	return true;
}

/* Are these the n pages from va on? If not, m begins anew with them. False too if the TLB has not all. */
static bool mirror_is_of(struct soft_vcpu *v, struct soft_mirror *m, gva_t va, bool write,
			 uint32_t n)
{
	gva_t first = va & ~PAGE_MASK;
	hva_t page[MIRROR_PAGES];

	for (uint32_t i = 0; i < n; i++) {
		page[i] = soft_tlb_peek(v, first + i * PAGE_SIZE, write);
		if (!page[i])
			return false;
	}
	if (m->first == first && n <= m->n && !memcmp(m->page, page, n * sizeof(*page)))
		return true;
	*m = (struct soft_mirror){.first = first, .n = n};
	memcpy(m->page, page, n * sizeof(*page));
	return false;
}

/* NULL: not yet */
static hva_t mirror_find(struct soft_vcpu *v, gva_t va, bool write, uint64_t bytes)
{
	uint32_t n = (uint32_t)(((va & PAGE_MASK) + bytes + PAGE_MASK) >> PAGE_SHIFT);
	struct soft_mirror *m = mirror_of(v, va, write);

	if (v->no_mirrors || v->sv->cfg.no_mirrors || !mirror_is_of(v, m, va, write, n))
		return NULL;
	if (!m->made) {
		if (++m->heat < MIRROR_HEAT)
			return NULL;
		m->made = mirror_make(v, m);
		v->no_mirrors = !m->made;
	}
	return m->made ? mirror_base(v, m) + (va & PAGE_MASK) : NULL;
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

void soft_spans_end(struct soft_vcpu *v)
{
	memset(v->span, 0, sizeof(v->span));
}

void soft_mirrors_free(struct soft_vcpu *v)
{
	plat_pages_free(v->mirror_memory, MIRRORS * MIRROR_PAGES * PAGE_SIZE);
}
