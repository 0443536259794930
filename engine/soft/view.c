/* SPDX-License-Identifier: ISC */
/* view.c: what goes when the guest's mappings change (cpu_ops.flush), and views: the user part of the
 * caches, one for each of the PCIDs that ran last, so that a process finds its own again.
 *
 * Entries of the shared part that are not global go at each change of CR3. A window's base is in GS,
 * so that translated code notices nothing of views. On the vCPU's own thread. */
#include "engine/soft/view.h"

#include "base/str.h"
#include "engine/soft/direct.h"
#include "engine/soft/tlb.h"

int soft_views_create(struct soft_vcpu *v)
{
	v->views = plat_pages_alloc(ALIGN_UP(v->n_views * sizeof(*v->views), (size_t)PAGE_SIZE));
	if (!v->views)
		return err_here(ERR_NOMEM);
	for (unsigned i = 0; i < v->n_views; i++) {
		v->views[i].gs = v->window[i];
		v->views[i].pcid = PCID_NONE;
	}
	v->view = v->views;
	v->view->pcid = 0;
	return 0;
}

void soft_views_destroy(struct soft_vcpu *v)
{
	plat_pages_free(v->views, ALIGN_UP(v->n_views * sizeof(*v->views), (size_t)PAGE_SIZE));
}

static void flush_view(struct soft_vcpu *v, struct soft_view *view)
{
	soft_tlb_flush_view(v, view);
	soft_jumps_flush_view(v, view);
}

static void flush_shared(struct soft_vcpu *v, bool global)
{
	soft_tlb_flush_shared(v, global);
	soft_jumps_flush_shared(v, global);
}

static struct soft_view *find(struct soft_vcpu *v, uint32_t pcid)
{
	for (unsigned i = 0; i < v->n_views; i++)
		if (v->views[i].pcid == pcid)
			return &v->views[i];
	return NULL;
}

static struct soft_view *oldest(struct soft_vcpu *v)
{
	struct soft_view *best = v->views;

	for (unsigned i = 1; i < v->n_views; i++)
		if (v->views[i].used < best->used)
			best = &v->views[i];
	return best;
}

/* MOV to CR3. keep: what the new PCID had cached stays valid. */
static void change_cr3(struct soft_vcpu *v, uint32_t pcid, bool keep)
{
	struct soft_view *view = find(v, pcid);

	v->stats.tlb_flush_ng++;
	flush_shared(v, false);
	if (!view) {
		view = oldest(v);
		view->pcid = pcid;
		keep = false;
	}
	if (!keep)
		flush_view(v, view);
	else
		v->stats.views_kept++;
	view->used = ++v->view_clock;
	if (view != v->view) {
		v->view = view;
		plat_gs_set(view->gs);
	}
}

static void flush_all(struct soft_vcpu *v)
{
	v->stats.tlb_flush_all++;
	flush_shared(v, false);
	flush_shared(v, true);
	for (unsigned i = 0; i < v->n_views; i++) {
		flush_view(v, &v->views[i]);
		v->views[i].pcid = PCID_NONE;
	}
	v->view->pcid = v->cpu.s.cr4 & CR4_PCIDE ? v->cpu.s.cr3 & 0xfff : 0;
	memset(v->large2m, 0, sizeof(v->large2m));
	memset(v->large1g, 0, sizeof(v->large1g));
}

void soft_views_rest(struct soft_vcpu *v)
{
	soft_tlb_rest(v);
	soft_jumps_rest(v);
	v->mode_dirty = true; /* the jump caches are filled anew */
}

static bool in_large_page(const struct soft_vcpu *v, gva_t gva)
{
	return bit_get(v->large2m, gva >> 21 & 0xffff) || bit_get(v->large1g, gva >> 30 & 0xffff);
}

/* One page in one address space, or, where it may be global, in all. */
static void flush_page(struct soft_vcpu *v, struct soft_view *view, gva_t gva)
{
	uint32_t index = TLB_INDEX(gva);

	v->stats.tlb_flush_page++;
	if (in_large_page(v, gva)) {
		flush_all(v);
		return;
	}
	soft_tlb_clear(v, index);
	if (code_page_has(v->code_page, gva)) {
		v->stats.flush_code++;
		soft_jumps_flush_shared(v, false);
		soft_jumps_flush_shared(v, true);
	}
	for (unsigned i = 0; i < v->n_views; i++)
		if ((&v->views[i] == view || v->views[i].global_code) &&
		    code_page_has(v->views[i].code_page, gva))
			soft_jumps_flush_view(v, &v->views[i]);
}

/* Each part that is mapped directly, whatever address space it is the one of */
static void note_direct(struct soft_vcpu *v, enum cpu_flush kind, gva_t gva, unsigned pcid)
{
	if (kind == FLUSH_PAGE || kind == FLUSH_PCID_PAGE)
		soft_direct_flush_page(v, gva);
	else if (kind != FLUSH_NONGLOBAL ||
		 (!(gva & BIT64(63)) && (pcid == v->direct_pcid || soft_direct_serves(v))))
		soft_direct_flush(v);
}

void soft_tlb_flush(struct cpu *cpu, enum cpu_flush kind, gva_t gva, unsigned pcid)
{
	struct soft_vcpu *v = soft_of(cpu);
	struct soft_view *view;

	v->fetch_page = FETCH_NONE;
	note_direct(v, kind, gva, pcid);
	switch (kind) {
	case FLUSH_PAGE:
		flush_page(v, v->view, gva);
		break;
	case FLUSH_NONGLOBAL:
		change_cr3(v, pcid, gva & BIT64(63));
		break;
	case FLUSH_PCID:
	case FLUSH_PCID_PAGE:
		view = find(v, pcid);
		if (view == v->view)
			flush_shared(v, false);
		if (!view)
			break;
		if (kind == FLUSH_PCID_PAGE)
			flush_page(v, view, gva);
		else
			flush_view(v, view);
		break;
	default:
		flush_all(v);
	}
}
