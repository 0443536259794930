/* SPDX-License-Identifier: ISC */
/* stats.c: the engine's counters. Any thread; the sums are not exact while vCPUs run. */
#include "engine/soft/layout.h"
#include "engine/soft/profile.h"

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

unsigned soft_top_mnems(uint64_t *n, struct soft_named *out, unsigned max)
{
	unsigned found = 0;

	for (; found < max; found++) {
		unsigned best = 0;

		for (unsigned i = 1; i < I_COUNT; i++)
			if (n[i] > n[best])
				best = i;
		if (!n[best])
			break;
		out[found] = (struct soft_named){mnemonics[best], n[best]};
		n[best] = 0;
	}
	return found;
}

unsigned soft_stats_exec(struct vm *vm, struct soft_named *out, unsigned max)
{
	const struct soft_vm *sv = vm->engine_data;
	uint64_t n[I_COUNT];

	for (unsigned i = 0; i < I_COUNT; i++) {
		n[i] = sv->by_mnem[i];
		for (unsigned k = 0; k < sv->n_vcpus; k++)
			if (sv->vcpu[k])
				n[i] += __atomic_load_n(&sv->vcpu[k]->by_mnem[i], __ATOMIC_RELAXED);
	}
	return soft_top_mnems(n, out, max);
}

void soft_stats_log(struct vm *vm)
{
	struct soft_stats st;
	const uint64_t *v = (const uint64_t *)&st;
	struct soft_named top[20];
	unsigned n_top = soft_stats_exec(vm, top, ARRAY_SIZE(top));

	soft_stats_read(vm, &st);
	for (unsigned i = 0; i < N_STATS; i++)
		if (v[i])
			plat_log(LOG_INFO, "soft: %llu %s", (unsigned long long)v[i], names[i]);
	for (unsigned i = 0; i < n_top; i++)
		plat_log(LOG_INFO, "soft: %llu times %s", (unsigned long long)top[i].n,
			 top[i].name);
}
