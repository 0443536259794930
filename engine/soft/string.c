/* SPDX-License-Identifier: ISC */
/* string.c: MOVS and STOS upwards, repeated or not, page by page on the host's memory.
 *
 * What the TLBs don't reach, elements over two pages and DF are the interpreter's. Interrupts are
 * looked at between pages, with the registers as the manual wants them (SDM vol. 1, 7.3.9.2). On the
 * vCPU's own thread, called from translated code. */
#include "engine/soft/block.h"
#include "engine/soft/enter.h"
#include "engine/soft/span.h"
#include "engine/soft/tlb.h"

/* The host's own REP of the same element size: each element is one access. */
static void move(hva_t d, hva_t s, uint64_t n, unsigned log)
{
	switch (log) {
	case 0:
		__asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
		break;
	case 1:
		__asm__ volatile("rep movsw" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
		break;
	case 2:
		__asm__ volatile("rep movsl" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
		break;
	default:
		__asm__ volatile("rep movsq" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
	}
}

static void store(hva_t d, uint64_t v, uint64_t n, unsigned log)
{
	switch (log) {
	case 0:
		__asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(v) : "memory");
		break;
	case 1:
		__asm__ volatile("rep stosw" : "+D"(d), "+c"(n) : "a"(v) : "memory");
		break;
	case 2:
		__asm__ volatile("rep stosl" : "+D"(d), "+c"(n) : "a"(v) : "memory");
		break;
	default:
		__asm__ volatile("rep stosq" : "+D"(d), "+c"(n) : "a"(v) : "memory");
	}
}

/* ---- 16- and 32-bit code --------------------------------------------------------------------- */

/* Bytes of the segment from this offset on, before the offset wraps */
static uint64_t seg_room(const struct soft_vcpu *v, unsigned sreg, bool write, uint64_t off,
			 uint64_t mask)
{
	uint64_t end = MIN(-v->neg_room[write][sreg], mask + 1);

	return end > off ? end - off : 0;
}

static uint64_t seg_linear(const struct soft_vcpu *v, unsigned sreg, uint64_t off)
{
	return (uint32_t)(v->cpu.s.seg[sreg].base + off);
}

/* Where the next element is and where it goes. What faults at its source gets no D at its destination. */
static bool find_both(struct soft_vcpu *v, bool movs, uint64_t from, uint64_t to, hva_t *s,
		      hva_t *d)
{
	*s = movs ? soft_tlb_host(v, from, false) : NULL;
	*d = movs && !*s ? NULL : soft_tlb_host(v, to, true);
	return *d;
}

/* A write of a register of 4 or 2 bytes */
static void set_reg(uint64_t *g, uint64_t mask, uint64_t value)
{
	*g = (mask == 0xffff ? *g & ~mask : 0) | (value & mask);
}

static const uint8_t *legacy_string(struct soft_vcpu *v, struct soft_block *b,
				    const struct soft_site *site, uint32_t arg)
{
	uint32_t where = arg & (STRING_SIZE - 1);
	uint64_t *g = v->cpu.s.gpr, mask = arg & STRING_ADDR4 ? UINT32_MAX : 0xffff;
	bool movs = arg & STRING_MOVS, rep = arg & STRING_REP;
	unsigned log = arg >> STRING_SIZE_SHIFT & 3;
	uint64_t count = rep ? g[RCX] & mask : 1;

	while (count) {
		uint64_t di = g[RDI] & mask, si = g[RSI] & mask;
		uint64_t to = seg_linear(v, ES, di), from = seg_linear(v, DS, si);
		uint64_t want = MIN(MIN(count, RUN_MAX) << log, seg_room(v, ES, true, di, mask));
		uint64_t bytes, n;
		hva_t d, s;

		if (movs)
			want = MIN(want, seg_room(v, DS, false, si, mask));
		if (unlikely(!(want >> log)))
			return soft_exec_site(v, where);
		if (unlikely(!find_both(v, movs, from, to, &s, &d)))
			return soft_exec_site(v, where);
		bytes = soft_span(v, to, true, want, &d);
		if (movs)
			bytes = soft_span(v, from, false, bytes, &s);
		n = bytes >> log;
		if (unlikely(!n))
			return soft_exec_site(v, where);
		if (movs) {
			move(d, s, n, log);
			set_reg(&g[RSI], mask, si + (n << log));
		} else {
			store(d, g[RAX], n, log);
		}
		set_reg(&g[RDI], mask, di + (n << log));
		count -= n;
		if (rep)
			set_reg(&g[RCX], mask, count);
		if (count && unlikely(atomic_load_explicit(&v->poll, memory_order_relaxed))) {
			v->cpu.s.rip = soft_to_rip(v, soft_rip(v, b)) + site->guest;
			return soft_next(v);
		}
	}
	return soft_rx(v->sv->cache, b->code + site[1].host);
}

/* ---- all ------------------------------------------------------------------------------------- */

const uint8_t *soft_on_string(struct soft_vcpu *v, uint32_t arg, uint64_t ea)
{
	struct soft_block *b = &v->sv->cache->block[site_block(arg)];
	const struct soft_site *site = &v->sv->cache->site[b->sites + site_insn(arg)];
	uint32_t where = arg & (STRING_SIZE - 1);
	uint64_t *g = v->cpu.s.gpr;
	bool movs = arg & STRING_MOVS, rep = arg & STRING_REP;
	unsigned log = arg >> STRING_SIZE_SHIFT & 3;
	uint64_t count = rep ? g[RCX] : 1;

	if (unlikely(v->cpu.s.rflags & FL_DF))
		return soft_exec_site(v, where);
	if (arg & (STRING_ADDR4 | STRING_ADDR2))
		return legacy_string(v, b, site, arg);
	while (count) {
		uint64_t want = MIN(count, RUN_MAX) << log, bytes, n;
		hva_t s, d;

		if (unlikely(!find_both(v, movs, g[RSI], g[RDI], &s, &d)))
			return soft_exec_site(v, where);
		bytes = soft_span(v, g[RDI], true, want, &d);
		if (movs)
			bytes = soft_span(v, g[RSI], false, bytes, &s);
		n = bytes >> log;
		if (unlikely(!n))
			return soft_exec_site(v, where);
		if (movs) {
			move(d, s, n, log);
			g[RSI] += n << log;
		} else {
			store(d, g[RAX], n, log);
		}
		g[RDI] += n << log;
		count -= n;
		if (rep)
			g[RCX] = count;
		if (count && unlikely(atomic_load_explicit(&v->poll, memory_order_relaxed))) {
			v->cpu.s.rip = soft_rip(v, b) + site->guest;
			return soft_next(v);
		}
	}
	return soft_rx(v->sv->cache, b->code + site[1].host);
}
