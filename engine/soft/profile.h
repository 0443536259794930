/* SPDX-License-Identifier: ISC */
/* profile.h: what a vCPU is at, for profile.c to sample. */
#ifndef ENGINE_SOFT_PROFILE_H
#define ENGINE_SOFT_PROFILE_H

#include "engine/soft/layout.h"

/* C that is at something else for a while; gives what to go back to. */
static inline uint64_t soft_doing(struct soft_vcpu *v, enum soft_doing what)
{
	uint64_t was = atomic_load_explicit(&v->doing, memory_order_relaxed);

	atomic_store_explicit(&v->doing, what, memory_order_relaxed);
	return was;
}

int soft_profile_start(struct soft_vm *sv) attr_must_check;
/* No vCPU goes away while it is sampled. What was counted stays readable. */
void soft_profile_stop(struct soft_vm *sv);
void soft_profile_free(struct soft_vm *sv);

/* stats.c: those of n[I_COUNT] that are most, descending, without those of none; how many */
unsigned soft_top_mnems(uint64_t *n, struct soft_named *out, unsigned max);

#endif
