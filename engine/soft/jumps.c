/* SPDX-License-Identifier: ISC */
/* jumps.c: per-vCPU jump caches (indirect jumps, returns) and slots (jumps to other pages).
 *
 * Both say which code a linear address leads to in this vCPU's current mappings, so they are
 * emptied like a TLB. A cache's entry for 16 bits of RIP is jcode, the far entry of a block,
 * or the trampoline that looks further, and jntag, minus the RIP that this is for; the block compares, and where
 * it isn't the one meant, a trampoline looks into the second place, where what was here before has gone.
 * A cache is for one mode: it is emptied when that is another. Entries are filled under the lock by
 * their own thread; others clear single words, under the lock too. */
#include "base/str.h"
#include "engine/soft/block.h"
#include "engine/soft/view.h"

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

static uint64_t jc_empty(const struct soft_vcpu *v)
{
	return (uint64_t)soft_rx(v->sv->cache, v->sv->cache->t_miss);
}

static uint64_t tgt_empty(const struct soft_vcpu *v)
{
	return (uint64_t)soft_rx(v->sv->cache, v->sv->cache->t_tgt);
}

/* ---- emptying --------------------------------------------------------------------------------- */

static void init_cache(struct soft_vcpu *v, uint8_t *gs, uint32_t set)
{
	uint64_t empty = jc_empty(v);

	for (uint32_t i = 0; i < JC_ENTRIES; i++)
		put(gs, GS_JCODE(set) + i * 8, empty);
}

/* Those that are in use */
static void init_shared_caches(struct soft_vcpu *v)
{
	for (uint32_t set = 0; set < JC_KERNELS; set++)
		if (v->jc_mode[set / 2])
			init_cache(v, (uint8_t *)v, set);
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

static void init_view(struct soft_vcpu *v, struct soft_view *view)
{
	if (view->jc_mode)
		init_cache(v, view->gs, JC_USER);
	view->log_jc.n = 0;
	memset(view->in_jc, 0, sizeof(view->in_jc));
	memset(view->code_page, 0, sizeof(view->code_page));
	view->global_code = false;
}

void soft_jumps_init(struct soft_vcpu *v)
{
	init_shared_caches(v);
	init_slots(v);
	memset(v->code_page, 0, sizeof(v->code_page));
	for (unsigned i = 0; i < v->n_views; i++)
		init_view(v, &v->views[i]);
}

void soft_jumps_rest(struct soft_vcpu *v)
{
	plat_mutex_lock(&v->sv->lock);
	plat_shared_discard((uint8_t *)v + GS_JC0, GS_TGT - GS_JC0);
	memset(v->jc_mode, 0, sizeof(v->jc_mode));
	init_shared_caches(v);
	for (unsigned i = 0; i < v->n_views; i++) {
		plat_pages_discard(v->views[i].gs + GS_JC1, 2u * JC_BYTES);
		v->views[i].jc_mode = 0;
		init_view(v, &v->views[i]);
	}
	plat_mutex_unlock(&v->sv->lock);
}

/* Where jcode of a log's entry is; first: GS_JCODE of the first set that is in the log */
static uint32_t jcode_at(uint32_t first, uint32_t entry)
{
	return first + entry / JC_ENTRIES * 2 * JC_BYTES + entry % JC_ENTRIES * 8;
}

static void flush_entries(struct soft_vcpu *v, uint8_t *gs, uint32_t first, struct soft_log *log,
			  uint8_t *in)
{
	uint64_t empty = jc_empty(v);

	for (uint32_t i = 0; i < log->n; i++) {
		uint32_t e = log->entry[i];

		put(gs, jcode_at(first, e), empty);
		in[e / 8] = 0;
	}
	log->n = 0;
}

static void flush_kernel_caches(struct soft_vcpu *v, bool global)
{
	if (v->log_jc[global].n > LOG_MAX)
		init_shared_caches(v);
	else
		flush_entries(v, (uint8_t *)v, GS_JCODE(0), &v->log_jc[global], v->in_jc[global]);
}

void soft_jumps_flush_shared(struct soft_vcpu *v, bool global)
{
	struct soft_log *tgt = &v->log_tgt[global];

	flush_kernel_caches(v, global);
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
	if (view->log_jc.n > LOG_MAX) {
		init_view(v, view);
		return;
	}
	if (!view->log_jc.n)
		return;
	flush_entries(v, view->gs, GS_JCODE(JC_USER), &view->log_jc, view->in_jc);
	memset(view->code_page, 0, sizeof(view->code_page));
	view->global_code = false;
}

void soft_jumps_flush_page(struct soft_vcpu *v, uint64_t rip)
{
	rip &= ~PAGE_MASK;
	for (uint32_t i = 0; i < PAGE_SIZE; i += v->sv->bmi2 ? 1u << JC_SHIFT : 1) {
		put(v->view->gs, GS_JCODE(JC_USER) + jc_index(v->sv, rip + i) * 8, jc_empty(v));
		put(v->view->gs, GS_JCODE(JC_USER) + jc_second(v->sv, rip + i) * 8, jc_empty(v));
	}
}

void soft_jumps_flush(struct soft_vcpu *v)
{
	soft_jumps_flush_shared(v, false);
	soft_jumps_flush_shared(v, true);
	for (unsigned i = 0; i < v->n_views; i++)
		if (v->views[i].log_jc.n)
			soft_jumps_flush_view(v, &v->views[i]);
}

void soft_jumps_mode(struct soft_vcpu *v)
{
	uint32_t set = JC_SET(v->mode), key = v->mode & ~MODE_CTX;
	uint32_t *mode = set == JC_USER ? &v->view->jc_mode : &v->jc_mode[set / 2];
	bool first = !*mode;

	if (likely(*mode == key))
		return;
	*mode = key;
	if (set == JC_USER) {
		if (first)
			init_view(v, v->view);
		else
			soft_jumps_flush_view(v, v->view);
	} else if (first) {
		init_cache(v, (uint8_t *)v, set & ~1u);
		init_cache(v, (uint8_t *)v, set | 1);
	} else {
		flush_kernel_caches(v, false);
		flush_kernel_caches(v, true);
	}
}

/* ---- filling ---------------------------------------------------------------------------------- */

static void note_pages(uint8_t *map, const struct soft_block *b, uint64_t rip)
{
	uint64_t last = rip + b->len - 1;

	code_page_note(map, rip);
	if (block_crosses(b)) /* 4 GiB are round */
		code_page_note(map, b->mode & MODE_LEGACY ? (uint32_t)last : last);
}

/* Where indirect jumps enter it */
static uint64_t far_entry(const struct soft_vm *sv, const struct soft_block *b)
{
	return (uint64_t)soft_rx(sv->cache, b->code - b->far);
}

/* The far entry there for rip, or 0. Read once: without the lock others may clear it meanwhile. */
static uint64_t code_at(const struct soft_vcpu *v, uint8_t *gs, uint32_t set, uint32_t index,
			uint64_t rip)
{
	uint64_t code = get(gs, GS_JCODE(set) + index * 8);

	return get(gs, GS_JNTAG(set) + index * 8) + rip || code == jc_empty(v) ? 0 : code;
}

/* What is in the first place of rip goes to its second place, if it is in its first here. */
static void make_way(struct soft_vcpu *v, uint8_t *gs, uint32_t set, uint64_t rip)
{
	uint32_t from = jc_index(v->sv, rip), to;
	uint64_t other = -get(gs, GS_JNTAG(set) + from * 8),
		 code = get(gs, GS_JCODE(set) + from * 8);

	if (code_at(v, gs, set, jc_second(v->sv, rip), rip))
		put(gs, GS_JCODE(set) + jc_second(v->sv, rip) * 8, jc_empty(v));
	to = jc_second(v->sv, other);
	if (code == jc_empty(v) || other == rip || jc_index(v->sv, other) != from || to == from)
		return;
	if (set == JC_USER)
		log_add(&v->view->log_jc, v->view->in_jc, to);
	for (unsigned global = 0; global < 2 && set != JC_USER; global++)
		if (bit_get(v->in_jc[global], set * JC_ENTRIES + from))
			log_add(&v->log_jc[global], v->in_jc[global], set * JC_ENTRIES + to);
	put(gs, GS_JCODE(set) + to * 8, code);
	put(gs, GS_JNTAG(set) + to * 8, -other);
}

void soft_jumps_fill(struct soft_vcpu *v, struct soft_block *b, uint64_t rip, bool global)
{
	uint32_t set = JC_SET(b->mode), index = jc_index(v->sv, rip);
	uint8_t *gs = v->view->gs;

	make_way(v, gs, set, rip);

	b->known = true;
	if (set == JC_USER) {
		note_pages(v->view->code_page, b, rip);
		log_add(&v->view->log_jc, v->view->in_jc, index);
		v->view->global_code |= global;
	} else {
		note_pages(v->code_page, b, rip);
		log_add(&v->log_jc[global], v->in_jc[global], set * JC_ENTRIES + index);
	}
	put(gs, GS_JCODE(set) + index * 8, far_entry(v->sv, b));
	put(gs, GS_JNTAG(set) + index * 8, -rip);
}

void soft_jumps_fill_tgt(struct soft_vcpu *v, uint32_t tgt, struct soft_block *b, bool global)
{
	b->known = true;
	note_pages(v->code_page, b, b->rip);
	log_add(&v->log_tgt[global], v->in_tgt[global], tgt);
	put((uint8_t *)v, GS_TGT + tgt * 8, (uint64_t)soft_rx(v->sv->cache, b->code));
}

const uint8_t *soft_jumps_find(struct soft_vcpu *v, uint64_t rip, uint32_t mode)
{
	uint32_t set = JC_SET(mode), index = jc_index(v->sv, rip);
	uint8_t *gs = v->view->gs;
	uint64_t code = code_at(v, gs, set, index, rip);

	/* Where the first place is empty, it is to be filled again: translated code does not look further. */
	if (!code && get(gs, GS_JCODE(set) + index * 8) != jc_empty(v))
		code = code_at(v, gs, set, jc_second(v->sv, rip), rip);
	return code ? (const uint8_t *)code + ((const uint8_t *)code)[-1] : NULL;
}

/* ---- blocks that die -------------------------------------------------------------------------- */

static void forget_at(struct soft_vcpu *v, uint8_t *gs, uint32_t set, uint32_t index, uint64_t code)
{
	uint32_t off = GS_JCODE(set) + index * 8;

	if (get(gs, off) == code)
		put(gs, off, jc_empty(v));
}

static void forget_both(struct soft_vcpu *v, uint8_t *gs, uint32_t set, uint64_t rip, uint64_t code)
{
	forget_at(v, gs, set, jc_index(v->sv, rip), code);
	forget_at(v, gs, set, jc_second(v->sv, rip), code);
}

static void forget_user(struct soft_vcpu *v, const struct soft_block *b)
{
	uint64_t code = far_entry(v->sv, b);
	/* Wherever the page is mapped: the low 12 bits of RIP are known, and so are those of both places. */
	uint32_t n = (JC_ENTRIES << JC_SHIFT) / PAGE_SIZE;

	for (unsigned i = 0; i < v->n_views; i++) {
		if (!MODE_IS_PIC(b->mode))
			forget_both(v, v->views[i].gs, JC_USER, b->rip, code);
		for (uint32_t k = 0; k < n && MODE_IS_PIC(b->mode); k++)
			forget_at(v, v->views[i].gs, JC_USER,
				  jc_index(v->sv, b->rip + k * PAGE_SIZE), code);
	}
}

void soft_jumps_forget(struct soft_vm *sv, const struct soft_block *b)
{
	bool user = MODE_IS_USER(b->mode);
	int tgt = user ? -1 : soft_tgt_peek(sv, b->rip, block_mode(b));

	if (!b->known)
		return;
	for (unsigned i = 0; i < sv->n_vcpus; i++) {
		struct soft_vcpu *v = sv->vcpu[i];

		if (!v)
			continue;
		if (user)
			forget_user(v, b);
		else
			forget_both(v, (uint8_t *)v, JC_SET(b->mode), b->rip, far_entry(sv, b));
		if (tgt >= 0)
			put((uint8_t *)v, GS_TGT + (uint32_t)tgt * 8, tgt_empty(v));
	}
}

/* Among the logged entries: these are all, or too many to know. */
static void evict_entries(struct soft_vcpu *v, uint8_t *gs, uint32_t first, uint32_t sets,
			  const struct soft_log *log, uint64_t from, uint64_t size)
{
	uint32_t n = log->n > LOG_MAX ? sets * JC_ENTRIES : log->n;

	for (uint32_t i = 0; i < n; i++) {
		uint32_t e = log->n > LOG_MAX ? i : log->entry[i];
		uint32_t off = jcode_at(first, e);

		if (get(gs, off) - from < size)
			put(gs, off, jc_empty(v));
	}
}

void soft_jumps_evict(struct soft_vcpu *v, uint32_t from, uint32_t to)
{
	uint64_t start = (uint64_t)soft_rx(v->sv->cache, from), size = to - from;
	uint32_t n = v->sv->cache->n_tgts;

	evict_entries(v, (uint8_t *)v, GS_JCODE(0), JC_KERNELS, &v->log_jc[0], start, size);
	evict_entries(v, (uint8_t *)v, GS_JCODE(0), JC_KERNELS, &v->log_jc[1], start, size);
	for (unsigned i = 0; i < v->n_views; i++)
		evict_entries(v, v->views[i].gs, GS_JCODE(JC_USER), 1, &v->views[i].log_jc, start,
			      size);
	for (uint32_t i = 0; i < n; i++)
		if (get((uint8_t *)v, GS_TGT + i * 8) - start < size)
			put((uint8_t *)v, GS_TGT + i * 8, tgt_empty(v));
}
