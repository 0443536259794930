/* SPDX-License-Identifier: ISC */
/* profile.c: where the time of vCPUs goes. Each says what it is at in a word of its own: C by
 * soft_doing(), translated code by its trampolines, which do so only when a profile is wanted
 * (enter.c). A thread looks at the words about a thousand times a second, at uneven distances, so that
 * it keeps no step with the guest's timer. What it counts is time on the clock: a vCPU that the host
 * lets wait counts for what it was at.
 *
 * start() and stop() by who creates and destroys the VM, while no vCPU runs; read() by any. */
#include "engine/soft/profile.h"

#include "base/str.h"

#define PERIOD_NS 1000000u

struct soft_profile {
	struct soft_vm *sv;
	struct plat_thread *thread;
	struct plat_event stop;
	_Atomic uint64_t samples[DOING_COUNT];
	_Atomic uint64_t by_mnem[I_COUNT];
};

static const char *const doing_names[] = {
#define D(id, text) text,
	SOFT_DOINGS(D)
#undef D
};

static void count(_Atomic uint64_t *n)
{
	atomic_fetch_add_explicit(n, 1, memory_order_relaxed);
}

static void sample(struct soft_profile *p, const struct soft_vcpu *v)
{
	uint64_t doing = atomic_load_explicit(&v->doing, memory_order_relaxed);
	uint32_t mnem = __atomic_load_n(&v->exec_mnem, __ATOMIC_RELAXED);

	if (doing == DOING_KERNEL && MODE_IS_USER(__atomic_load_n(&v->mode, __ATOMIC_RELAXED)))
		doing = DOING_USER;
	count(&p->samples[doing]);
	if (doing == DOING_EXEC && mnem < I_COUNT)
		count(&p->by_mnem[mnem]);
}

static void sampler(void *arg)
{
	struct soft_profile *p = arg;
	uint32_t random = 1;

	do {
		for (unsigned i = 0; i < p->sv->n_vcpus; i++)
			if (p->sv->vcpu[i])
				sample(p, p->sv->vcpu[i]);
		random = random * 1664525u + 1013904223u;
	} while (!plat_event_wait(&p->stop, plat_now() + PERIOD_NS / 2 + (random >> 12)));
}

int soft_profile_start(struct soft_vm *sv)
{
	struct soft_profile *p = plat_alloc(sizeof(*p));
	int err;

	if (!p)
		return err_here(ERR_NOMEM);
	p->sv = sv;
	err = plat_thread_create("profile", sampler, p, &p->thread);
	if (err)
		plat_free(p);
	else
		sv->profile = p;
	return err;
}

void soft_profile_stop(struct soft_vm *sv)
{
	struct soft_profile *p = sv->profile;

	if (!p || !p->thread)
		return;
	plat_event_set(&p->stop);
	plat_thread_join(p->thread);
	p->thread = NULL;
}

void soft_profile_free(struct soft_vm *sv)
{
	soft_profile_stop(sv);
	plat_free(sv->profile);
	sv->profile = NULL;
}

unsigned soft_profile_read(struct vm *vm, struct soft_named *out, unsigned max)
{
	const struct soft_vm *sv = vm->engine_data;
	unsigned n = 0;

	for (; sv->profile && n < DOING_COUNT && n < max; n++)
		out[n] = (struct soft_named){doing_names[n], atomic_load(&sv->profile->samples[n])};
	return n;
}

unsigned soft_profile_exec(struct vm *vm, struct soft_named *out, unsigned max)
{
	const struct soft_vm *sv = vm->engine_data;
	uint64_t n[I_COUNT];

	if (!sv->profile)
		return 0;
	for (unsigned i = 0; i < I_COUNT; i++)
		n[i] = atomic_load(&sv->profile->by_mnem[i]);
	return soft_top_mnems(n, out, max);
}
