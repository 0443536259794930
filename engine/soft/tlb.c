/* SPDX-License-Identifier: ISC */
/* tlb.c: the software TLBs.
 *
 * An entry is two words in two arrays: ntag, minus the page's linear address, and addend, host page
 * minus guest page plus TLB_BIAS. An access at ea of size bytes hits when ea + ntag <= 4096 - size,
 * and is at ea + addend - TLB_BIAS. Zero is an empty ntag for all indices but the first, where it
 * would mean the guest's page 0, and the last, which probe B reaches just below it; there the tag
 * of a page with another index stands. A TLB
 * belongs to its vCPU's thread. */
#include "engine/soft/tlb.h"

#include "base/str.h"
#include "engine/soft/block.h"

static uint64_t empty(uint32_t index)
{
	return index == 0 || index == TLB_ENTRIES - 1 ? -(5 * PAGE_SIZE) : 0;
}

static _Atomic uint64_t *ntag_of(struct soft_vcpu *v, uint32_t table, uint32_t index)
{
	return (void *)((uint8_t *)v + GS_NTAG(table / 2, table % 2) + index * 8);
}

static _Atomic uint64_t *addend_of(struct soft_vcpu *v, uint32_t table, uint32_t index)
{
	return (void *)((uint8_t *)v + GS_ADDEND(table / 2, table % 2) + index * 8);
}

static bool bit_get(const uint8_t *map, uint32_t n)
{
	return map[n / 8] >> (n % 8) & 1;
}

static void bit_set(uint8_t *map, uint32_t n)
{
	map[n / 8] |= (uint8_t)(1u << (n % 8));
}

static void entry_clear(struct soft_vcpu *v, uint32_t table, uint32_t index)
{
	atomic_store_explicit(ntag_of(v, table, index), empty(index), memory_order_relaxed);
	atomic_store_explicit(addend_of(v, table, index), 0, memory_order_relaxed);
}

void soft_tlb_init(struct soft_vcpu *v)
{
	plat_pages_discard((uint8_t *)v + GS_TLB, GS_JC - GS_TLB);
	plat_pages_discard((uint8_t *)v + GS_REV, REV_BYTES);
	for (uint32_t t = 0; t < TLB_TABLES; t++) {
		entry_clear(v, t, 0);
		entry_clear(v, t, TLB_ENTRIES - 1);
	}
	for (int g = 0; g < 2; g++)
		atomic_store(&v->log_tlb[g].n, 0);
	memset(v->in_log, 0, sizeof(v->in_log));
	memset(v->large2m, 0, sizeof(v->large2m));
	memset(v->large1g, 0, sizeof(v->large1g));
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

static void flush_log(struct soft_vcpu *v, int g)
{
	struct soft_log *log = &v->log_tlb[g];
	uint32_t n = atomic_load_explicit(&log->n, memory_order_relaxed);

	if (n > LOG_MAX) {
		soft_tlb_init(v);
		return;
	}
	for (uint32_t i = 0; i < n; i++) {
		uint32_t e = log->entry[i];

		entry_clear(v, e >> 16, e & 0xffff);
		v->in_log[g][e / 8] = 0;
	}
	atomic_store_explicit(&log->n, 0, memory_order_relaxed);
}

static void flush_all(struct soft_vcpu *v)
{
	v->stats.tlb_flush_all++;
	flush_log(v, 0);
	flush_log(v, 1);
	memset(v->large2m, 0, sizeof(v->large2m));
	memset(v->large1g, 0, sizeof(v->large1g));
	soft_jumps_flush(v, true);
}

static void flush_page(struct soft_vcpu *v, gva_t gva)
{
	uint32_t index = TLB_INDEX(gva);

	v->stats.tlb_flush_page++;
	if (bit_get(v->large2m, gva >> 21 & 0xffff) || bit_get(v->large1g, gva >> 30 & 0xffff)) {
		flush_all(v);
		return;
	}
	for (uint32_t t = 0; t < TLB_TABLES; t++)
		entry_clear(v, t, index);
	if (bit_get(v->code_page, index))
		soft_jumps_flush(v, true);
}

void soft_tlb_flush(struct cpu *cpu, enum cpu_flush kind, gva_t gva, unsigned pcid)
{
	struct soft_vcpu *v = soft_of(cpu);

	v->fetch_page = FETCH_NONE;
	switch (kind) {
	case FLUSH_PAGE:
		flush_page(v, gva);
		break;
	case FLUSH_NONGLOBAL:
		v->stats.tlb_flush_ng++;
		flush_log(v, 0);
		soft_jumps_flush(v, false);
		break;
	case FLUSH_PCID:
	case FLUSH_PCID_PAGE:
		/* Entries of other PCIDs than the current one are never kept. */
		if (pcid != (cpu->s.cr3 & 0xfff))
			break;
		if (kind == FLUSH_PCID_PAGE) {
			flush_page(v, gva);
		} else {
			flush_log(v, 0);
			soft_jumps_flush(v, false);
		}
		break;
	default:
		flush_all(v);
	}
}

/* ---- from host pages to write entries ------------------------------------------------------- */

/* Chains of write entries by the page they lead to. An entry is on the chain of the page it was
 * last filled with, though it may be empty meanwhile; entries are numbered kind by kind. */
static uint32_t *rev_head(struct soft_vcpu *v, uint64_t page)
{
	uint32_t h = (uint32_t)(page >> PAGE_SHIFT ^ page >> 26) % REV_HEADS;

	return (uint32_t *)(void *)((uint8_t *)v + GS_REV) + h;
}

static struct soft_rev *rev_of(struct soft_vcpu *v, uint32_t e)
{
	struct soft_rev *all = (void *)((uint8_t *)v + GS_REV + REV_HEADS * 4);

	return &all[(e >> 17) << 16 | (e & 0xffff)];
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

	for (uint32_t i = *rev_head(v, page); i; i = next) {
		uint32_t e = i - 1;
		struct soft_rev *r = rev_of(v, e);

		next = r->next;
		if (r->page != page)
			continue;
		/* It may lead elsewhere by now only after another fill, which has moved it. */
		entry_clear(v, e >> 16, e & 0xffff);
		rev_remove(v, r);
	}
}

/* ---- fills ----------------------------------------------------------------------------- */

static void log_entry(struct soft_vcpu *v, int g, uint32_t e)
{
	struct soft_log *log = &v->log_tlb[g];
	uint32_t n = atomic_load_explicit(&log->n, memory_order_relaxed);

	if (bit_get(v->in_log[g], e))
		return;
	bit_set(v->in_log[g], e);
	if (n < LOG_MAX)
		log->entry[n] = e;
	if (n <= LOG_MAX)
		atomic_store_explicit(&log->n, n + 1, memory_order_release);
}

/* x: what cpu_walk() gave for gva. Enters it where translated code may use it without us. */
static bool enter(struct soft_vcpu *v, enum soft_ctx ctx, gva_t gva, const struct cpu_xlate *x,
		  bool write)
{
	uint32_t table = ctx * 2 + write, index = TLB_INDEX(gva);
	gva_t page = gva & ~PAGE_MASK;
	uint64_t host = (uint64_t)x->hva & ~PAGE_MASK;
	_Atomic uint8_t *flags = NULL;

	if (!x->hva)
		return false;
	if (write) {
		flags = soft_page_flags(v->sv, x->gpa);
		if (!flags || (atomic_load(flags) & (PGF_CODE | PGF_RO)))
			return false;
		if (!(atomic_load_explicit(flags, memory_order_relaxed) & PGF_WTLB))
			atomic_fetch_or(flags, PGF_WTLB);
	}
	log_entry(v, x->global, table << 16 | index);
	if (x->page_shift >= 30)
		bit_set(v->large1g, gva >> 30 & 0xffff);
	else if (x->page_shift > PAGE_SHIFT)
		bit_set(v->large2m, gva >> 21 & 0xffff);
	if (write)
		rev_add(v, table << 16 | index, host);
	atomic_store_explicit(addend_of(v, table, index), host - page + TLB_BIAS,
			      memory_order_relaxed);
	atomic_store_explicit(ntag_of(v, table, index), -page, memory_order_relaxed);
	v->stats.tlb_fills++;
	if (write) {
		/* Another vCPU may translate code from this page right now: either it sees our
		 * entry, or we see its mark. */
		atomic_thread_fence(memory_order_seq_cst);
		if (atomic_load(flags) & (PGF_CODE | PGF_RO)) {
			entry_clear(v, table, index);
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

	if (cpu_walk(&v->cpu, gva, write ? ACCESS_WRITE : ACCESS_READ, ctx == CTX_USER, &x)) {
		v->cpu.exc = saved; /* the interpreter will find the fault again */
		return false;
	}
	return enter(v, ctx, gva, &x, write);
}

hva_t soft_tlb_host(struct soft_vcpu *v, gva_t gva, bool write)
{
	uint32_t table = (v->mode & MODE_CTX) * 2 + write, index = TLB_INDEX(gva);

	if (*ntag_of(v, table, index) != -(gva & ~PAGE_MASK) && !soft_tlb_fill(v, gva, write))
		return NULL;
	return (hva_t)(gva + *addend_of(v, table, index) - TLB_BIAS);
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
		if (!err && out->hva) {
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
	if (likely(*ntag_of(v, table, index) == -page)) {
		out->hva = (hva_t)(gva + *addend_of(v, table, index) - TLB_BIAS);
		if (soft_gpa_of(v, out->hva, &out->gpa))
			return 0;
	}
	err = cpu_walk(cpu, gva, acc, user, out);
	if (!err)
		enter(v, ctx, gva, out, acc == ACCESS_WRITE);
	return err;
}
