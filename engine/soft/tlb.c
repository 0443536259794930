/* SPDX-License-Identifier: ISC */
/* tlb.c: the software TLBs.
 *
 * An entry is two words in two arrays: ntag, minus the page's linear address, and addend, host page
 * minus guest page plus TLB_BIAS. An access at ea of size bytes hits when ea + ntag <= 4096 - size,
 * and is at ea + addend - TLB_BIAS. Zero is an empty ntag for all indices but the first, where it
 * would mean the guest's page 0, and the last few, from which an access that wraps reaches that page
 * (probe B, and REP with RUN_PAGES); there the tag of a page with another index stands. TLBs belong
 * to their vCPU's thread. */
#include "engine/soft/tlb.h"

#include "base/str.h"
#include "engine/soft/block.h"
#include "engine/soft/direct.h"
#include "engine/soft/memo.h"
#include "engine/soft/span.h"
#include "engine/soft/view.h"

/* Flushes of a view after which its tables' memory is given back */
#define VIEW_RECYCLE 64u

static uint64_t empty(const struct soft_vcpu *v, uint32_t index)
{
	uint32_t there = v->tlb_there, i = index & (there - 1);

	return i == 0 || i >= there - RUN_PAGES ? -(64 * PAGE_SIZE) : 0;
}

/* gs: the window of a view. Tables are numbered ctx * 2 + kind. */
static uint64_t *ntag_of(uint8_t *gs, uint32_t table, uint32_t index)
{
	return (uint64_t *)(void *)(gs + GS_NTAG(table / 2, table % 2) + index * 8);
}

static uint64_t *addend_of(uint8_t *gs, uint32_t table, uint32_t index)
{
	return (uint64_t *)(void *)(gs + GS_ADDEND(table / 2, table % 2) + index * 8);
}

static void entry_clear(const struct soft_vcpu *v, uint8_t *gs, uint32_t table, uint32_t index)
{
	*ntag_of(gs, table, index) = empty(v, index);
	*addend_of(gs, table, index) = 0;
}

/* Is a table each view's own? */
static bool is_own(uint32_t table)
{
	return table / 2 == CTX_USER;
}

static void init_tables(const struct soft_vcpu *v, uint8_t *gs, bool own)
{
	for (uint32_t t = 0; t < TLB_TABLES; t++)
		if (is_own(t) == own) {
			entry_clear(v, gs, t, 0);
			for (uint32_t i = TLB_ENTRIES - RUN_PAGES; i < TLB_ENTRIES; i++)
				entry_clear(v, gs, t, i);
		}
}

static void init_shared(struct soft_vcpu *v)
{
	plat_shared_discard((uint8_t *)v + GS_TLB0, GS_JC0 - GS_TLB0);
	init_tables(v, (uint8_t *)v, false);
	memset(v->in_tlb, 0, sizeof(v->in_tlb));
	v->log_tlb[0].n = v->log_tlb[1].n = 0;
	soft_spans_end(v);
}

static void init_view(struct soft_vcpu *v, struct soft_view *view)
{
	plat_pages_discard(view->gs + GS_TLB1, GS_JC1 - GS_TLB1);
	init_tables(v, view->gs, true);
	memset(view->in_tlb, 0, sizeof(view->in_tlb));
	view->log_tlb.n = view->flushes = 0;
}

void soft_tlb_init(struct soft_vcpu *v)
{
	init_shared(v);
	for (unsigned i = 0; i < v->n_views; i++)
		init_view(v, &v->views[i]);
	v->fetch_page = FETCH_NONE;
}

enum soft_ctx soft_ctx(const struct soft_vcpu *v)
{
	const struct x86_state *s = &v->cpu.s;

	if (x86_cpl(s) == 3)
		return CTX_USER;
	return (s->cr4 & CR4_SMAP) && (s->rflags & FL_AC) ? CTX_KERNEL_AC : CTX_KERNEL;
}

/* ---- flushes --------------------------------------------------------------------------- */

void soft_tlb_flush_shared(struct soft_vcpu *v, bool global)
{
	struct soft_log *log = &v->log_tlb[global];

	soft_spans_end(v);
	soft_memos_end(v, NULL, false);
	soft_memos_end(v, NULL, true);
	if (log->n > LOG_MAX) {
		init_shared(v);
		return;
	}
	for (uint32_t i = 0; i < log->n; i++) {
		uint32_t e = log->entry[i];

		entry_clear(v, (uint8_t *)v, e >> 16, e & 0xffff);
		v->in_tlb[global][e / 8] = 0;
	}
	log->n = 0;
}

void soft_tlb_flush_view(struct soft_vcpu *v, struct soft_view *view)
{
	struct soft_log *log = &view->log_tlb;

	soft_spans_end(v);
	soft_memos_end(v, view, false);
	soft_memos_end(v, view, true);
	/* Address spaces are random: in time each page of the tables would be touched. */
	if (log->n > LOG_MAX || (log->n && ++view->flushes == VIEW_RECYCLE)) {
		init_view(v, view);
		return;
	}
	for (uint32_t i = 0; i < log->n; i++) {
		uint32_t e = log->entry[i];

		entry_clear(v, view->gs, CTX_USER * 2 + (e >> 16), e & 0xffff);
		view->in_tlb[e / 8] = 0;
	}
	log->n = 0;
}

void soft_tlb_clear(struct soft_vcpu *v, uint32_t index)
{
	soft_spans_end(v);
	for (uint32_t t = 0; t < TLB_TABLES; t++)
		for (unsigned i = 0; i < (is_own(t) ? v->n_views : 1); i++)
			entry_clear(v, v->views[i].gs, t, index);
	soft_memos_end_all(v, true);
}

/* ---- from host pages to write entries ------------------------------------------------------- */

/* Chains of write entries by the page they lead to. An entry is on the chain of the page it was
 * last filled with, though it may be empty meanwhile. Entries are numbered group << 16 | index;
 * groups 0 and 1 are the kernel's contexts, 2 + n is the n-th view. Entries that are the same share a record. */
static uint32_t *rev_head(struct soft_vcpu *v, uint64_t page)
{
	uint32_t h = (uint32_t)(page >> PAGE_SHIFT ^ page >> 26) % REV_HEADS;

	return (uint32_t *)v->rev + h;
}

static struct soft_rev *rev_of(struct soft_vcpu *v, uint32_t n)
{
	return (struct soft_rev *)(void *)((uint8_t *)v->rev + REV_HEADS * 4) +
	       (n >> 16) * v->tlb_there + (n & (v->tlb_there - 1));
}

static uint32_t rev_number(const struct soft_vcpu *v, uint32_t table, uint32_t index)
{
	uint32_t group = is_own(table) ? 2 + (uint32_t)(v->view - v->views) : table / 4;

	return group << 16 | index;
}

static void rev_clear(struct soft_vcpu *v, uint32_t n)
{
	uint32_t group = n >> 16;

	if (group < 2)
		entry_clear(v, (uint8_t *)v, group * 4 + 1, n & 0xffff);
	else
		entry_clear(v, v->views[group - 2].gs, CTX_USER * 2 + 1, n & 0xffff);
}

static void rev_remove(struct soft_vcpu *v, struct soft_rev *r)
{
	if (r->prev)
		rev_of(v, r->prev - 1)->next = r->next;
	else
		*rev_head(v, r->page) = r->next;
	if (r->next)
		rev_of(v, r->next - 1)->prev = r->prev;
	r->page = 0;
}

static void rev_add(struct soft_vcpu *v, uint32_t e, uint64_t page)
{
	struct soft_rev *r = rev_of(v, e);
	uint32_t *head = rev_head(v, page);

	if (r->page == page)
		return;
	if (r->page)
		rev_remove(v, r);
	*r = (struct soft_rev){.page = page, .next = *head};
	if (*head)
		rev_of(v, *head - 1)->prev = e + 1;
	*head = e + 1;
}

void soft_tlb_drop_writes(struct soft_vcpu *v, hva_t hva)
{
	uint64_t page = (uint64_t)hva & ~PAGE_MASK;
	uint32_t next;

	soft_spans_end(v);
	soft_memos_end_all(v, false);
	soft_direct_drop_writes(v->sv, hva);
	for (uint32_t i = *rev_head(v, page); i; i = next) {
		uint32_t e = i - 1;
		struct soft_rev *r = rev_of(v, e);

		next = r->next;
		if (r->page != page)
			continue;
		/* It may lead elsewhere by now only after another fill, which has moved it. */
		rev_clear(v, e);
		rev_remove(v, r);
	}
}

void soft_tlb_rest(struct soft_vcpu *v)
{
	soft_memos_end_all(v, true);
	soft_tlb_init(v);
	plat_pages_discard(v->rev, rev_bytes(v->tlb_there, v->n_views));
}

/* ---- fills ----------------------------------------------------------------------------- */

static void log_entry(struct soft_vcpu *v, bool global, uint32_t table, uint32_t index)
{
	if (is_own(table))
		log_add(&v->view->log_tlb, v->view->in_tlb, (table & 1) << 16 | index);
	else
		log_add(&v->log_tlb[global], v->in_tlb[global], table << 16 | index);
}

/* x: what cpu_walk() gave for gva. Enters it where translated code may use it without us. */
static bool enter(struct soft_vcpu *v, enum soft_ctx ctx, gva_t gva, const struct cpu_xlate *x,
		  bool write)
{
	uint32_t table = ctx * 2 + write, index = TLB_INDEX(gva);
	gva_t page = gva & ~PAGE_MASK;
	uint64_t host = (uint64_t)x->hva & ~PAGE_MASK;
	uint8_t *gs = v->view->gs;
	_Atomic uint8_t *flags = NULL;

	if (!x->hva || mem_is_screen(&v->sv->vm->mem, x->gpa) ||
	    (unlikely(v->cpu.debug) && debug_watches_page(v->cpu.debug, gva))) {
		v->stats.miss_device++;
		return false;
	}
	if (write) {
		flags = soft_page_flags(v->sv, x->gpa);
		if (!flags || (atomic_load(flags) & (PGF_CODE | PGF_RO))) {
			v->stats.miss_code++;
			return false;
		}
	}
	log_entry(v, x->global, table, index);
	if (x->page_shift >= 30)
		bit_set(v->large1g, gva >> 30 & 0xffff);
	else if (x->page_shift > PAGE_SHIFT)
		bit_set(v->large2m, gva >> 21 & 0xffff);
	if (write)
		rev_add(v, rev_number(v, table, index), host);
	if (*ntag_of(gs, table, index) && *ntag_of(gs, table, index) != -page)
		v->stats.tlb_evicts++;
	*addend_of(gs, table, index) = host - page + TLB_BIAS;
	*ntag_of(gs, table, index) = -page;
	v->stats.tlb_fills++;
	if (write) {
		/* Another vCPU may mark this page right now: either we see the mark, or the entry
		 * is there when we hear of it. */
		atomic_thread_fence(memory_order_seq_cst);
		if (atomic_load(flags) & (PGF_CODE | PGF_RO)) {
			entry_clear(v, gs, table, index);
			return false;
		}
	}
	return true;
}

bool soft_tlb_fill(struct soft_vcpu *v, gva_t gva, bool write)
{
	enum soft_ctx ctx = soft_ctx(v);
	struct cpu_exc saved = v->cpu.exc;
	struct cpu_xlate x;
	bool live = v->fpu == FPU_LIVE;
	int err = cpu_walk(&v->cpu, gva, write ? ACCESS_WRITE : ACCESS_READ, ctx == CTX_USER, &x);

	if (unlikely(live &&
		     v->fpu != FPU_LIVE)) /* a table was a device's; translated code goes on */
		soft_fpu_load(v);
	soft_stored(v); /* what it meant to store was not */
	if (err) {
		v->stats.miss_fault++;
		v->cpu.exc = saved; /* the interpreter will find the fault again */
		return false;
	}
	return enter(v, ctx, gva, &x, write);
}

hva_t soft_tlb_peek(struct soft_vcpu *v, gva_t gva, bool write)
{
	uint32_t table = (v->mode & MODE_CTX) * 2 + write, index = TLB_INDEX(gva);

	if (*ntag_of(v->view->gs, table, index) != -(gva & ~PAGE_MASK))
		return NULL;
	return (hva_t)(gva + *addend_of(v->view->gs, table, index) - TLB_BIAS);
}

hva_t soft_tlb_host(struct soft_vcpu *v, gva_t gva, bool write)
{
	hva_t host = soft_tlb_peek(v, gva, write);

	return host || !soft_tlb_fill(v, gva, write) ? host : soft_tlb_peek(v, gva, write);
}

int soft_tlb_xlate(struct cpu *cpu, gva_t gva, enum cpu_access acc, bool user,
		   struct cpu_xlate *out)
{
	struct soft_vcpu *v = soft_of(cpu);
	enum soft_ctx ctx = soft_ctx(v);
	uint32_t index = TLB_INDEX(gva), table;
	gva_t page = gva & ~PAGE_MASK;
	int err;

	if (acc == ACCESS_FETCH) {
		/* Rights are those of the CPL; a change of mode drops this. */
		if (page == v->fetch_page) {
			out->hva = v->fetch_hva + (gva & PAGE_MASK);
			out->gpa = v->fetch_gpa + (gva & PAGE_MASK);
			return 0;
		}
		err = cpu_walk(cpu, gva, acc, user, out);
		if (!err && out->hva && !mem_is_screen(&v->sv->vm->mem, out->gpa)) {
			v->fetch_page = page;
			v->fetch_global = out->global;
			v->fetch_gpa = out->gpa & ~PAGE_MASK;
			v->fetch_hva = out->hva - (gva & PAGE_MASK);
		}
		return err;
	}
	/* The processor's own accesses at CPL 3, or explicit ones that AC does not excuse, have
	 * other rights than the context's. */
	if (user != (ctx == CTX_USER) || cpu->i.implicit)
		return cpu_walk(cpu, gva, acc, user, out);
	table = ctx * 2 + (acc == ACCESS_WRITE);
	if (likely(*ntag_of(v->view->gs, table, index) == -page)) {
		out->hva = (hva_t)(gva + *addend_of(v->view->gs, table, index) - TLB_BIAS);
		if (soft_gpa_of(v, out->hva, &out->gpa))
			return 0;
	}
	err = cpu_walk(cpu, gva, acc, user, out);
	if (!err)
		enter(v, ctx, gva, out, acc == ACCESS_WRITE);
	return err;
}
