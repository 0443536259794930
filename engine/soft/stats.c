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

void soft_stats_add(struct soft_stats *sum, const struct soft_stats *one)
{
	uint64_t *s = (uint64_t *)sum;
	const uint64_t *o = (const uint64_t *)one;

	for (unsigned i = 0; i < N_STATS; i++)
		s[i] += __atomic_load_n(&o[i], __ATOMIC_RELAXED);
}

void soft_stats_read(struct vm *vm, struct soft_stats *out)
{
	const struct soft_vm *sv = vm->engine_data;

	*out = sv->gone;
	for (unsigned i = 0; i < sv->n_vcpus; i++)
		if (sv->vcpu[i])
			soft_stats_add(out, &sv->vcpu[i]->stats);
}

static const char *const mnemonics[I_COUNT] = {
#define MNEM(id, text) [I_##id] = #id,
#include "x86/mnem.def"
#undef MNEM
};

/* The instructions that the interpreter had to execute most often */
static void log_mnemonics(struct soft_vm *sv)
{
	for (unsigned n = 0; n < 20; n++) {
		unsigned best = 0;

		for (unsigned i = 1; i < I_COUNT; i++)
			if (sv->by_mnem[i] > sv->by_mnem[best])
				best = i;
		if (!sv->by_mnem[best])
			break;
		plat_log(LOG_INFO, "soft: %llu times %s", (unsigned long long)sv->by_mnem[best],
			 mnemonics[best]);
		sv->by_mnem[best] = 0;
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
	log_mnemonics(vm->engine_data);
}
