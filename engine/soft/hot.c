/* SPDX-License-Identifier: ISC */
/* hot.c: which pages of user code are translated for the address that they have.
 *
 * Code that does not know its address (MODE_IS_PIC) serves all processes that map the page, but loads
 * v->vbase to push a return address, stores it at each entry from elsewhere, and so waits for itself
 * from call to return to call. Where interrupts find a process twice, it is worth a translation of
 * its own. Which pages these are is kept in a Bloom filter with one hash: one that is in it by
 * mistake has lost nothing but the sharing. */
#include "base/str.h"
#include "engine/soft/block.h"
#include "engine/soft/view.h"

static uint32_t key(const struct soft_vcpu *v, uint64_t rip)
{
	uint64_t page =
		rip >> PAGE_SHIFT ^ (v->cpu.s.cr3 >> PAGE_SHIFT) * UINT64_C(0x9e3779b97f4a7c15);

	return (uint32_t)(page * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (HOT_BITS - 1);
}

bool soft_is_hot(const struct soft_vcpu *v, uint64_t rip)
{
	enum soft_hot how = v->sv->cfg.hot;

	return how == SOFT_HOT_SAMPLED ? bit_get(v->hot, key(v, rip)) : how == SOFT_HOT_ALWAYS;
}

/* When it says much of what is not there, or of what is no more */
static void start_over(struct soft_vcpu *v)
{
	memset(v->hot, 0, sizeof(v->hot));
	memset(v->warm, 0, sizeof(v->warm));
	v->n_hot = 0;
	for (unsigned i = 0; i < VIEWS; i++)
		soft_jumps_flush_view(v, &v->views[i]);
}

void soft_sample(struct soft_vcpu *v)
{
	uint64_t rip = soft_linear(v);
	uint32_t k = key(v, rip);

	if (!MODE_IS_USER(v->mode) || v->mode == MODE_INTERP || bit_get(v->hot, k))
		return;
	if (!bit_get(v->warm, k)) {
		bit_set(v->warm, k);
		return;
	}
	if (++v->n_hot > HOT_BITS / 8)
		start_over(v);
	bit_set(v->hot, k);
	soft_jumps_flush_view(v, v->view);
}
