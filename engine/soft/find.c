/* SPDX-License-Identifier: ISC */
/* find.c: from RIP to host code: jump cache, index of blocks, translator.
 *
 * On the vCPU's own thread, without the lock: page walks may end up in soft_code_store(). */
#include "engine/soft/block.h"
#include "engine/soft/direct.h"
#include "engine/soft/profile.h"
#include "engine/soft/tlb.h"

/* The page that holds rip, for an instruction fetch. False: it faults, or is no RAM. */
static bool fetch_page(struct soft_vcpu *v, uint64_t rip, gpa_t *gpa, bool *global)
{
	struct cpu_xlate x;
	int err = soft_tlb_xlate(&v->cpu, rip, ACCESS_FETCH, x86_cpl(&v->cpu.s) == 3, &x);

	soft_stored(v); /* accessed bits */
	if (err)
		return false;
	if (!x.hva || v->fetch_page != (rip & ~PAGE_MASK))
		return false;
	*gpa = x.gpa;
	*global = v->fetch_global;
	return true;
}

/* Others write to the page. Let them run that are to hear of it. */
static void let_others(struct soft_vcpu *v)
{
	if (!(++v->refused & 63)) {
		soft_fpu_park(v);
		plat_yield();
	}
}

/* Does all of it lie in the code segment, and RIP not wrap at its end? */
static bool in_segment(const struct soft_vcpu *v, const struct soft_block *b)
{
	uint64_t end = v->cpu.s.rip + b->len;

	return !(v->mode & MODE_LEGACY) || (end <= (v->mode & MODE_D32 ? UINT32_MAX : 0xffffu) &&
					    end - 1 <= v->cpu.s.seg[CS].limit);
}

static enum tr_result translate(struct soft_vcpu *v, uint32_t mode, uint64_t rip, gpa_t gpa,
				gpa_t gpa2, struct soft_block **b)
{
	uint64_t was = soft_doing(v, DOING_TRANSLATE);
	enum tr_result r = soft_translate(v, mode, rip, gpa, gpa2, b);

	soft_doing(v, (enum soft_doing)was);
	return r;
}

struct soft_block *soft_find_block(struct soft_vcpu *v, uint32_t v_mode, bool *global)
{
	struct soft_vm *sv = v->sv;
	uint64_t rip = soft_linear(v);
	gpa_t gpa, gpa2 = NO_GPA;
	bool global2 = true;
	uint32_t turn;

	for (;;) {
		uint32_t mode = v_mode;
		struct soft_block *b;
		enum tr_result r = TR_OK;

		if (!fetch_page(v, rip, &gpa, global))
			return NULL;
		plat_mutex_lock(&sv->lock);
		mode |= soft_hot_mode(v, rip, gpa);
		b = soft_block_lookup(sv->cache, rip, gpa, mode);
		if (b && block_crosses(b) && (gpa2 == NO_GPA || b->page[1] != gpa2 >> PAGE_SHIFT)) {
			if (gpa2 != NO_GPA) { /* its second page is mapped elsewhere now */
				soft_block_drop(sv, b);
				b = NULL;
			} else {
				r = TR_CROSS;
			}
		}
		if (!b)
			r = translate(v, mode, rip, gpa, gpa2, &b);
		if (r == TR_OK && !in_segment(v, b))
			r = TR_NONE;
		if (r == TR_OK) {
			*global &= !block_crosses(b) || global2;
			if (!(mode & MODE_PLAIN))
				soft_jumps_fill(v, b, rip, *global);
		}
		plat_mutex_unlock(&sv->lock);
		switch (r) {
		case TR_OK:
			return b;
		case TR_LATER:
			let_others(v);
			return NULL;
		case TR_NONE:
			return NULL;
		case TR_FULL:
		case TR_EMPTY:
			turn = soft_direct_turn(sv);
			soft_cache_flush(v, r == TR_EMPTY);
			if (turn != soft_direct_turn(sv)) /* the mode may be another now */
				return NULL;
			break;
		case TR_CROSS:
			if (!fetch_page(v, (rip & ~PAGE_MASK) + PAGE_SIZE, &gpa2, &global2))
				return NULL;
			break;
		}
	}
}

/* Same page, so same mapping: no walk, and no entry in the jump cache, which others need more. */
struct soft_block *soft_find_near(struct soft_vcpu *v, const struct soft_block *from)
{
	struct soft_vm *sv = v->sv;
	uint64_t rip = soft_linear(v);
	gpa_t gpa = (gpa_t)from->page[0] << PAGE_SHIFT | (rip & PAGE_MASK);
	uint32_t mode = v->mode | soft_hot_mode(v, rip, gpa);
	struct soft_block *b;

	if (from->dead)
		return NULL;
	b = soft_block_lookup(sv->cache, rip, gpa, mode);
	if (!b && translate(v, mode, rip, gpa, NO_GPA, &b) != TR_OK)
		return NULL;
	return block_crosses(b) || !in_segment(v, b) ? NULL : b;
}

const uint8_t *soft_find(struct soft_vcpu *v)
{
	uint64_t rip = soft_linear(v);
	const uint8_t *code = soft_jumps_find(v, rip, v->mode);
	struct soft_block *b;
	bool global;

	v->vbase = rip & ~PAGE_MASK;
	if (likely(code))
		return code;
	v->stats.misses++;
	b = soft_find_block(v, v->mode, &global);
	return b ? soft_rx(v->sv->cache, b->code) : NULL;
}
