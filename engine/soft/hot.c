/* SPDX-License-Identifier: ISC */
/* hot.c: which pages of user code are translated for the address that they have, and which with memos.
 *
 * Code that does not know its address (MODE_IS_PIC) serves all processes that map the page, but loads
 * v->vbase to push a return address, stores it at each entry from elsewhere, and so waits for itself
 * from call to return to call. Most pages are only ever run at one address: the first one has code for
 * itself. Others share theirs; where interrupts find a process twice, it is worth a translation of
 * its own. Where they find it again and again, most likely in a loop, it is worth longer code that
 * remembers what it did last (memo.c). What one processor has found is so for all. Pages are counted by a hash: one that is taken for another has
 * lost nothing but the sharing. */
#include "base/str.h"
#include "engine/soft/block.h"
#include "engine/soft/direct.h"
#include "engine/soft/view.h"

#define HOT  2u
#define BUSY 6u

static uint32_t key(const struct soft_vcpu *v, uint64_t rip)
{
	uint64_t page =
		rip >> PAGE_SHIFT ^ (v->cpu.s.cr3 >> PAGE_SHIFT) * UINT64_C(0x9e3779b97f4a7c15);

	return (uint32_t)(page * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (HOT_KEYS - 1);
}

static uint8_t heat_of(const struct soft_vm *sv, uint32_t k)
{
	return atomic_load_explicit(&sv->heat[k], memory_order_relaxed);
}

uint32_t soft_hot_mode(const struct soft_vcpu *v, uint64_t rip, gpa_t gpa)
{
	enum soft_hot how = v->sv->cfg.hot;

	/* Kernels are in the upper half, below is what unpacks and starts them: no interrupt tells where it loops. */
	if (!MODE_IS_USER(v->mode))
		return (v->mode & MODE_CTX) == CTX_KERNEL && !(rip >> 63) && how != SOFT_HOT_NEVER
			       ? MODE_BUSY
			       : 0;
	uint8_t heat = how == SOFT_HOT_SAMPLED  ? heat_of(v->sv, key(v, rip))
		       : how == SOFT_HOT_ALWAYS ? BUSY
						: 0;

	return (heat >= HOT || (how == SOFT_HOT_SAMPLED && soft_page_is_ours(v->sv, gpa, rip))
			? MODE_FIXED
			: 0) |
	       (heat >= BUSY ? MODE_BUSY : 0);
}

/* When it says much of what is not there, or of what is no more */
static void start_over(struct soft_vcpu *v)
{
	for (uint32_t k = 0; k < HOT_KEYS; k++)
		atomic_store_explicit(&v->sv->heat[k], 0, memory_order_relaxed);
	atomic_store(&v->sv->n_hot, 0);
	for (unsigned i = 0; i < v->n_views; i++)
		soft_jumps_flush_view(v, &v->views[i]);
}

static unsigned level(uint8_t heat)
{
	return (heat >= HOT) + (heat >= BUSY);
}

void soft_sample(struct soft_vcpu *v)
{
	uint32_t k = key(v, soft_linear(v));
	uint8_t heat = heat_of(v->sv, k);

	if (!MODE_IS_USER(v->mode) || v->mode == MODE_INTERP)
		return;
	soft_direct_sample(v);
	if (heat < BUSY) {
		if (heat + 1u == HOT && atomic_fetch_add(&v->sv->n_hot, 1) >= HOT_KEYS / 8)
			start_over(v);
		atomic_store_explicit(&v->sv->heat[k], ++heat, memory_order_relaxed);
	}
	if (level(heat) != level(v->heat_seen[k]))
		soft_jumps_flush_page(v, soft_linear(v));
	v->heat_seen[k] = heat;
}
