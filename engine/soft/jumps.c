/* SPDX-License-Identifier: ISC */
/* jumps.c: per-vCPU jump caches (indirect jumps, returns) and slots (jumps to other pages).
 *
 * Both say which code a linear address leads to in this vCPU's current mappings, so they are
 * emptied like a TLB. A cache entry is jntag, minus (RIP + mode), and jcode, the host address;
 * zero is empty but where RIP + mode may be zero. Entries are filled under the lock by their own
 * thread; others clear single words, under the lock too. */
#include "base/str.h"
#include "engine/soft/block.h"
#include "engine/soft/view.h"

/* Where zero could match, this can't: the low 16 bits are those of no RIP + mode of that index. */
#define JC_NONE UINT64_C(0x8000)

static uint32_t jc_set(uint32_t mode)
{
	return MODE_IS_PIC(mode);
}

static uint64_t jc_empty(uint32_t index)
{
	return index >= JC_ENTRIES - MODE_COUNT ? JC_NONE : 0;
}

/* gs: a window; that of a view where user code is concerned */
static _Atomic uint64_t *word(uint8_t *gs, uint32_t off)
{
	return (void *)(gs + off);
}

static void put(uint8_t *gs, uint32_t off, uint64_t value)
{
	atomic_store_explicit(word(gs, off), value, memory_order_relaxed);
}

static uint64_t get(uint8_t *gs, uint32_t off)
{
	return atomic_load_explicit(word(gs, off), memory_order_relaxed);
}

static uint64_t tgt_empty(const struct soft_vcpu *v)
{
	return (uint64_t)soft_rx(v->sv->cache, v->sv->cache->t_tgt);
}

/* ---- emptying --------------------------------------------------------------------------------- */

static void init_cache(uint8_t *gs, uint32_t set)
{
	plat_pages_discard(gs + GS_JNTAG(set), 2 * JC_BYTES);
	for (uint32_t i = JC_ENTRIES - MODE_COUNT; i < JC_ENTRIES; i++)
		put(gs, GS_JNTAG(set) + i * 8, jc_empty(i));
}

static void init_shared_cache(struct soft_vcpu *v)
{
	init_cache((uint8_t *)v, 0);
	v->log_jc[0].n = v->log_jc[1].n = 0;
	memset(v->in_jc, 0, sizeof(v->in_jc));
}

static void init_slots(struct soft_vcpu *v)
{
	uint32_t n = v->sv->cache->n_tgts;

	for (uint32_t i = 0; i < n; i++)
		put((uint8_t *)v, GS_TGT + i * 8, tgt_empty(v));
	v->log_tgt[0].n = v->log_tgt[1].n = 0;
	memset(v->in_tgt, 0, sizeof(v->in_tgt));
}

static void init_view(struct soft_view *view)
{
	init_cache(view->gs, 1);
	view->log_jc.n = 0;
	memset(view->in_jc, 0, sizeof(view->in_jc));
	memset(view->code_page, 0, sizeof(view->code_page));
	view->global_code = false;
}

void soft_jumps_init(struct soft_vcpu *v)
{
	init_shared_cache(v);
	init_slots(v);
	memset(v->code_page, 0, sizeof(v->code_page));
	for (unsigned i = 0; i < VIEWS; i++)
		init_view(&v->views[i]);
}

static void flush_entries(uint8_t *gs, uint32_t set, struct soft_log *log, uint8_t *in)
{
	for (uint32_t i = 0; i < log->n; i++) {
		uint32_t e = log->entry[i];

		put(gs, GS_JNTAG(set) + e * 8, jc_empty(e));
		in[e / 8] = 0;
	}
	log->n = 0;
}

void soft_jumps_flush_shared(struct soft_vcpu *v, bool global)
{
	struct soft_log *tgt = &v->log_tgt[global];

	if (v->log_jc[global].n > LOG_MAX)
		init_shared_cache(v);
	else
		flush_entries((uint8_t *)v, 0, &v->log_jc[global], v->in_jc[global]);
	if (tgt->n > LOG_MAX) {
		init_slots(v);
	} else {
		for (uint32_t i = 0; i < tgt->n; i++) {
			put((uint8_t *)v, GS_TGT + tgt->entry[i] * 8, tgt_empty(v));
			v->in_tgt[global][tgt->entry[i] / 8] = 0;
		}
		tgt->n = 0;
	}
	if (global)
		memset(v->code_page, 0, sizeof(v->code_page));
}

void soft_jumps_flush_view(struct soft_vcpu *v, struct soft_view *view)
{
	if (view->log_jc.n > LOG_MAX || view->flushes == 0) { /* or with the TLBs */
		init_view(view);
		return;
	}
	if (!view->log_jc.n)
		return;
	flush_entries(view->gs, 1, &view->log_jc, view->in_jc);
	memset(view->code_page, 0, sizeof(view->code_page));
	view->global_code = false;
}

void soft_jumps_flush(struct soft_vcpu *v)
{
	soft_jumps_flush_shared(v, false);
	soft_jumps_flush_shared(v, true);
	for (unsigned i = 0; i < VIEWS; i++)
		if (v->views[i].log_jc.n)
			soft_jumps_flush_view(v, &v->views[i]);
}

/* ---- filling ---------------------------------------------------------------------------------- */

static void note_pages(uint8_t *map, const struct soft_block *b, uint64_t rip)
{
	bit_set(map, TLB_INDEX(rip));
	if (block_crosses(b))
		bit_set(map, TLB_INDEX(rip + b->len - 1));
}

/* Where indirect jumps enter it */
static uint64_t far_entry(const struct soft_vm *sv, const struct soft_block *b)
{
	return (uint64_t)soft_rx(sv->cache, b->code - (MODE_IS_PIC(b->mode) ? FAR_ENTRY : 0));
}

void soft_jumps_fill(struct soft_vcpu *v, const struct soft_block *b, uint64_t rip, bool global)
{
	uint32_t set = jc_set(b->mode), index = rip & 0xffff;
	uint8_t *gs = v->view->gs;

	if (set) {
		note_pages(v->view->code_page, b, rip);
		log_add(&v->view->log_jc, v->view->in_jc, index);
		v->view->global_code |= global;
	} else {
		note_pages(v->code_page, b, rip);
		log_add(&v->log_jc[global], v->in_jc[global], index);
	}
	put(gs, GS_JCODE(set) + index * 8, far_entry(v->sv, b));
	put(gs, GS_JNTAG(set) + index * 8, -(rip + b->mode));
}

void soft_jumps_fill_tgt(struct soft_vcpu *v, uint32_t tgt, const struct soft_block *b, bool global)
{
	note_pages(v->code_page, b, b->rip);
	log_add(&v->log_tgt[global], v->in_tgt[global], tgt);
	put((uint8_t *)v, GS_TGT + tgt * 8, (uint64_t)soft_rx(v->sv->cache, b->code));
}

const uint8_t *soft_jumps_find(struct soft_vcpu *v, uint64_t rip, uint32_t mode)
{
	uint32_t set = jc_set(mode), index = rip & 0xffff;
	uint8_t *gs = v->view->gs;

	if (get(gs, GS_JNTAG(set) + index * 8) + rip + mode)
		return NULL;
	return (const uint8_t *)get(gs, GS_JCODE(set) + index * 8) + (set ? FAR_ENTRY : 0);
}

/* ---- blocks that die -------------------------------------------------------------------------- */

static void forget_at(uint8_t *gs, uint32_t set, uint32_t index, uint64_t code)
{
	if (get(gs, GS_JCODE(set) + index * 8) == code)
		put(gs, GS_JNTAG(set) + index * 8, jc_empty(index));
}

static void forget_user(struct soft_vcpu *v, const struct soft_block *b)
{
	uint64_t code = far_entry(v->sv, b);

	/* Wherever the page is mapped: the low 12 bits of RIP are known. */
	for (unsigned i = 0; i < VIEWS; i++)
		for (uint32_t n = 0; n < JC_ENTRIES; n += PAGE_SIZE)
			forget_at(v->views[i].gs, 1, n + (uint32_t)b->rip, code);
}

void soft_jumps_forget(struct soft_vm *sv, const struct soft_block *b)
{
	bool user = MODE_IS_PIC(b->mode);
	int tgt = user ? -1 : soft_tgt_peek(sv, b->rip, b->mode);

	for (unsigned i = 0; i < sv->n_vcpus; i++) {
		struct soft_vcpu *v = sv->vcpu[i];

		if (!v)
			continue;
		if (user)
			forget_user(v, b);
		else
			forget_at((uint8_t *)v, 0, b->rip & 0xffff, far_entry(sv, b));
		if (tgt >= 0)
			put((uint8_t *)v, GS_TGT + (uint32_t)tgt * 8, tgt_empty(v));
	}
}

/* Among the logged entries: these are all, or too many to know. */
static void evict_entries(uint8_t *gs, uint32_t set, const struct soft_log *log, uint64_t from,
			  uint64_t size)
{
	uint32_t n = log->n > LOG_MAX ? JC_ENTRIES : log->n;

	for (uint32_t i = 0; i < n; i++) {
		uint32_t e = log->n > LOG_MAX ? i : log->entry[i];

		if (get(gs, GS_JCODE(set) + e * 8) - from < size)
			put(gs, GS_JNTAG(set) + e * 8, jc_empty(e));
	}
}

void soft_jumps_evict(struct soft_vcpu *v, uint32_t from, uint32_t to)
{
	uint64_t start = (uint64_t)soft_rx(v->sv->cache, from), size = to - from;
	uint32_t n = v->sv->cache->n_tgts;

	evict_entries((uint8_t *)v, 0, &v->log_jc[0], start, size);
	evict_entries((uint8_t *)v, 0, &v->log_jc[1], start, size);
	for (unsigned i = 0; i < VIEWS; i++)
		evict_entries(v->views[i].gs, 1, &v->views[i].log_jc, start, size);
	for (uint32_t i = 0; i < n; i++)
		if (get((uint8_t *)v, GS_TGT + i * 8) - start < size)
			put((uint8_t *)v, GS_TGT + i * 8, tgt_empty(v));
}
