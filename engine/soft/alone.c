/* SPDX-License-Identifier: ISC */
/* alone.c: a vCPU alone with the guest's memory, for an atomic access that no atomic access of the host
 * can stand for.
 *
 * Two pages of the guest may lie anywhere in the host, so that no instruction of it reaches both. Inside a
 * page, an operand over the end of a cache line could be left to the host's processor; but systems that
 * detect split locks let the thread wait for milliseconds at each, or end it. So both wait for all
 * other vCPUs to stand still: out of run(), waiting to be alone, too, or parked by soft_let_alone().
 * Works as the emptying of the cache does (block.c): who wants to go on shows first that it does
 * not stand still, then looks whether somebody is alone.
 *
 * On vCPUs' own threads. */
#include "engine/soft/block.h"
#include "engine/soft/enter.h"

void soft_alone_begin(struct soft_vcpu *v)
{
	struct soft_vm *sv = v->sv;

	soft_fpu_park(v);
	atomic_store(&v->still, true);
	plat_mutex_lock(&sv->alone_lock);
	atomic_store(&sv->alone, true);
	for (unsigned i = 0; i < sv->n_vcpus; i++) {
		struct soft_vcpu *o = sv->vcpu[i];

		if (!o || o == v || !atomic_load(&o->in_code) || atomic_load(&o->still))
			continue;
		atomic_store(&o->poll, 1);
		while (atomic_load(&o->in_code) && !atomic_load(&o->still))
			plat_yield();
	}
	v->stats.alone++;
}

/* No longer still, unless another is alone */
static void go_on(struct soft_vcpu *v)
{
	struct soft_vm *sv = v->sv;

	v->mode_dirty = true; /* the address space that is mapped directly may be another now */
	for (;;) {
		atomic_store(&v->still, false);
		if (likely(!atomic_load(&sv->alone)))
			return;
		atomic_store(&v->still, true);
		plat_mutex_lock(&sv->alone_lock);
		plat_mutex_unlock(&sv->alone_lock);
	}
}

void soft_alone_end(struct soft_vcpu *v)
{
	atomic_store(&v->sv->alone, false);
	plat_mutex_unlock(&v->sv->alone_lock);
	go_on(v);
}

void soft_let_alone(struct soft_vcpu *v)
{
	if (unlikely(atomic_load(&v->sv->alone)))
		go_on(v);
}
