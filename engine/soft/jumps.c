/* SPDX-License-Identifier: ISC */
/* jumps.c: per-vCPU jump caches (indirect jumps, returns) and slots (jumps to other pages).
 *
 * Both say which code a linear address leads to in this vCPU's current mappings, so they are
 * emptied like a TLB. A cache entry is jntag, minus (RIP + mode), and jcode, the host address;
 * zero is empty but where RIP + mode may be zero. Entries are filled under the lock by their own
 * thread; others clear single words, under the lock too. */
#include "base/str.h"
#include "engine/soft/block.h"
#include "engine/soft/tlb.h"

/* Where zero could match, this can't: the low 16 bits are those of no RIP + mode of that index. */
#define JC_NONE UINT64_C(0x8000)

static uint32_t jc_set(uint32_t mode)
{
	return (mode & MODE_CTX) == CTX_USER;
}

static uint64_t jc_empty(uint32_t index)
{
	return index >= JC_ENTRIES - MODE_COUNT ? JC_NONE : 0;
}

static _Atomic uint64_t *jntag(struct soft_vcpu *v, uint32_t set, uint32_t index)
{
	return (void *)((uint8_t *)v + GS_JNTAG(set) + index * 8);
}

static void put(struct soft_vcpu *v, uint32_t off, uint64_t value)
{
	atomic_store_explicit((_Atomic uint64_t *)(void *)soft_gs64(v, off), value,
			      memory_order_relaxed);
}

static uint64_t tgt_empty(const struct soft_vcpu *v)
{
	return (uint64_t)soft_rx(v->sv->cache, v->sv->cache->t_tgt);
}

static void init_caches(struct soft_vcpu *v)
{
	plat_pages_discard((uint8_t *)v + GS_JC, GS_TGT - GS_JC);
	for (uint32_t set = 0; set < JC_SETS; set++)
		for (uint32_t i = JC_ENTRIES - MODE_COUNT; i < JC_ENTRIES; i++)
			put(v, GS_JNTAG(set) + i * 8, jc_empty(i));
	for (int g = 0; g < 2; g++) {
		atomic_store(&v->log_jc[g].n, 0);
		memset(v->in_jc[g], 0, sizeof(v->in_jc[g]));
	}
}

static void init_slots(struct soft_vcpu *v)
{
	uint32_t n = v->sv->cache->n_tgts;

	for (uint32_t i = 0; i < n; i++)
		put(v, GS_TGT + i * 8, tgt_empty(v));
	for (int g = 0; g < 2; g++) {
		atomic_store(&v->log_tgt[g].n, 0);
		memset(v->in_tgt[g], 0, sizeof(v->in_tgt[g]));
	}
}

void soft_jumps_init(struct soft_vcpu *v)
{
	init_caches(v);
	init_slots(v);
	memset(v->code_page, 0, sizeof(v->code_page));
}

static void flush_kind(struct soft_vcpu *v, int g)
{
	struct soft_log *jc = &v->log_jc[g], *tgt = &v->log_tgt[g];
	uint32_t n = atomic_load_explicit(&jc->n, memory_order_relaxed);

	if (n > LOG_MAX) {
		init_caches(v);
	} else {
		for (uint32_t i = 0; i < n; i++) {
			uint32_t e = jc->entry[i], index = e & 0xffff;

			put(v, GS_JNTAG(e >> 16) + index * 8, jc_empty(index));
			v->in_jc[g][e / 8] = 0;
		}
		atomic_store_explicit(&jc->n, 0, memory_order_relaxed);
	}
	n = atomic_load_explicit(&tgt->n, memory_order_relaxed);
	if (n > LOG_MAX) {
		init_slots(v);
	} else {
		for (uint32_t i = 0; i < n; i++) {
			put(v, GS_TGT + tgt->entry[i] * 8, tgt_empty(v));
			v->in_tgt[g][tgt->entry[i] / 8] = 0;
		}
		atomic_store_explicit(&tgt->n, 0, memory_order_relaxed);
	}
}

void soft_jumps_flush(struct soft_vcpu *v, bool all)
{
	flush_kind(v, 0);
	if (!all)
		return;
	flush_kind(v, 1);
	memset(v->code_page, 0, sizeof(v->code_page));
}

static void log_add(struct soft_log *log, uint8_t *in, uint32_t e)
{
	uint32_t n = atomic_load_explicit(&log->n, memory_order_relaxed);

	if (in[e / 8] >> (e % 8) & 1)
		return;
	in[e / 8] |= (uint8_t)(1u << (e % 8));
	if (n < LOG_MAX)
		log->entry[n] = e;
	if (n <= LOG_MAX)
		atomic_store_explicit(&log->n, n + 1, memory_order_relaxed);
}

static void note_pages(struct soft_vcpu *v, const struct soft_block *b, uint64_t rip)
{
	uint32_t index = TLB_INDEX(rip);

	v->code_page[index / 8] |= (uint8_t)(1u << (index % 8));
	if (b->gpa[1] != NO_GPA) {
		index = TLB_INDEX(rip + b->len - 1);
		v->code_page[index / 8] |= (uint8_t)(1u << (index % 8));
	}
}

/* Where indirect jumps enter it */
static uint64_t far_entry(const struct soft_vm *sv, const struct soft_block *b)
{
	return (uint64_t)soft_rx(sv->cache, b->code - (MODE_IS_PIC(b->mode) ? FAR_ENTRY : 0));
}

void soft_jumps_fill(struct soft_vcpu *v, const struct soft_block *b, uint64_t rip, bool global)
{
	uint32_t set = jc_set(b->mode), index = rip & 0xffff;

	note_pages(v, b, rip);
	log_add(&v->log_jc[global], v->in_jc[global], set << 16 | index);
	put(v, GS_JCODE(set) + index * 8, far_entry(v->sv, b));
	put(v, GS_JNTAG(set) + index * 8, -(rip + b->mode));
}

void soft_jumps_fill_tgt(struct soft_vcpu *v, uint32_t tgt, const struct soft_block *b, bool global)
{
	note_pages(v, b, b->rip);
	log_add(&v->log_tgt[global], v->in_tgt[global], tgt);
	put(v, GS_TGT + tgt * 8, (uint64_t)soft_rx(v->sv->cache, b->code));
}

const uint8_t *soft_jumps_find(struct soft_vcpu *v, uint64_t rip, uint32_t mode)
{
	uint32_t set = jc_set(mode), index = rip & 0xffff;

	if (atomic_load_explicit(jntag(v, set, index), memory_order_relaxed) + rip + mode)
		return NULL;
	return (const uint8_t *)*soft_gs64(v, GS_JCODE(set) + index * 8) +
	       (MODE_IS_PIC(mode) ? FAR_ENTRY : 0);
}

static void forget_at(struct soft_vcpu *v, uint32_t set, uint32_t index, uint64_t code)
{
	if (*soft_gs64(v, GS_JCODE(set) + index * 8) == code)
		put(v, GS_JNTAG(set) + index * 8, jc_empty(index));
}

void soft_jumps_forget(struct soft_vm *sv, const struct soft_block *b)
{
	struct soft_cache *c = sv->cache;
	uint32_t set = jc_set(b->mode);
	uint64_t code = far_entry(sv, b);
	bool pic = MODE_IS_PIC(b->mode);
	int tgt = pic ? -1 : soft_tgt_peek(sv, b->rip, b->mode);

	for (unsigned i = 0; i < sv->n_vcpus; i++) {
		struct soft_vcpu *v = sv->vcpu[i];

		if (!v)
			continue;
		if (pic) /* wherever the page is mapped */
			for (uint32_t n = 0; n < JC_ENTRIES; n += PAGE_SIZE)
				forget_at(v, set, n + (uint32_t)b->rip, code);
		else
			forget_at(v, set, b->rip & 0xffff, code);
		if (tgt >= 0)
			put(v, GS_TGT + (uint32_t)tgt * 8, (uint64_t)soft_rx(c, c->t_tgt));
	}
}
