/* SPDX-License-Identifier: ISC */
/* view.h: address spaces, and bitmaps and logs of what is cached of them. */
#ifndef ENGINE_SOFT_VIEW_H
#define ENGINE_SOFT_VIEW_H

#include "engine/soft/layout.h"

/* v->window[] is there. */
int soft_views_create(struct soft_vcpu *v) attr_must_check;
void soft_views_destroy(struct soft_vcpu *v);

/* Each part of soft_tlb_flush(), by tlb.c and jumps.c; shared: global entries or the others. */
void soft_tlb_flush_shared(struct soft_vcpu *v, bool global);
void soft_tlb_flush_view(struct soft_vcpu *v, struct soft_view *view);
void soft_tlb_clear(struct soft_vcpu *v, uint32_t index); /* in all tables of all views */
void soft_jumps_flush_shared(struct soft_vcpu *v, bool global);
void soft_jumps_flush_view(struct soft_vcpu *v, struct soft_view *view);
/* What the current one's jump cache has of one page */
void soft_jumps_flush_page(struct soft_vcpu *v, uint64_t rip);

static inline bool bit_get(const uint8_t *map, uint32_t n)
{
	return map[n / 8] >> (n % 8) & 1;
}

static inline void bit_set(uint8_t *map, uint32_t n)
{
	map[n / 8] |= (uint8_t)(1u << (n % 8));
}

static inline uint32_t code_page_hash(gva_t va)
{
	return CODE_BITS + (uint32_t)((va >> PAGE_SHIFT) * UINT64_C(0x9e3779b97f4a7c15) >> 48);
}

static inline void code_page_note(uint8_t *map, gva_t va)
{
	bit_set(map, TLB_INDEX(va));
	bit_set(map, code_page_hash(va));
}

/* Where the kernel lies is random: by one hash alone, in one boot of ten some busy page that is no code seems to be, and each INVLPG
 * of it empties the jump caches. */
static inline bool code_page_has(const uint8_t *map, gva_t va)
{
	return bit_get(map, TLB_INDEX(va)) && bit_get(map, code_page_hash(va));
}

/* Notes an entry once; in: what is in the log. */
static inline void log_add(struct soft_log *log, uint8_t *in, uint32_t e)
{
	if (bit_get(in, e))
		return;
	bit_set(in, e);
	if (log->n < LOG_MAX)
		log->entry[log->n] = e;
	if (log->n <= LOG_MAX)
		log->n++;
}

/* Empties a vCPU's TLBs and jump caches, and gives their memory back: tlb.c's part, jumps.c's, both. */
void soft_tlb_rest(struct soft_vcpu *v);
void soft_jumps_rest(struct soft_vcpu *v);
void soft_views_rest(struct soft_vcpu *v);

#endif
