/* SPDX-License-Identifier: ISC */
/* stats.c: the engine's counters. Any thread; the sums are not exact while vCPUs run. */
#include "engine/soft/layout.h"

static const char *const names[] = {
#define S(id, text) text,
	SOFT_STATS(S)
#undef S
};

#define N_STATS ARRAY_SIZE(names)
_Static_assert(sizeof(struct soft_stats) == N_STATS * sizeof(uint64_t), "soft_stats");

void soft_stats_read(struct vm *vm, struct soft_stats *out)
{
	const struct soft_vm *sv = vm->engine_data;
	uint64_t *sum = (uint64_t *)out;

	*out = (struct soft_stats){0};
	for (unsigned i = 0; i < sv->n_vcpus; i++) {
		const uint64_t *one = sv->vcpu[i] ? (const uint64_t *)&sv->vcpu[i]->stats : NULL;

		for (unsigned k = 0; one && k < N_STATS; k++)
			sum[k] += __atomic_load_n(&one[k], __ATOMIC_RELAXED);
	}
}

void soft_stats_log(struct vm *vm)
{
	struct soft_stats st;
	const uint64_t *v = (const uint64_t *)&st;

	soft_stats_read(vm, &st);
	for (unsigned i = 0; i < N_STATS; i++)
		if (v[i])
			plat_log(LOG_INFO, "soft: %llu %s", (unsigned long long)v[i], names[i]);
}
