/* SPDX-License-Identifier: ISC */
/* slots.c: the VM's memory map as KVM's memory slots.
 *
 * A region of the map is one slot, but for one with protected pages (a PC's shadow memory), which is a
 * slot for each run of pages with the same rights. Writes to what a slot has read-only come back as
 * exits. Any thread, also while vCPUs run: a vCPU that finds memory missing, because its slot is just
 * being replaced, exits, and kvm_mem() serves it. */
#include "engine/kvm/kvm.h"

#include <string.h>
#include <sys/ioctl.h>

static bool run_ro(const struct mem_slot *s, uint64_t page)
{
	return s->rom || (s->protectable && atomic_load(&s->flags[page]) & PGF_RO);
}

/* What the map wants. false: too many runs. */
static bool wanted(const struct memmap *m, struct kvm_slot *out, unsigned *n)
{
	*n = 0;
	for (unsigned i = 0; i < m->n; i++) {
		const struct mem_slot *s = &m->slot[i];
		uint64_t pages = s->size >> PAGE_SHIFT;

		for (uint64_t p = 0, end; p < pages; p = end) {
			bool ro = run_ro(s, p);

			for (end = s->protectable ? p + 1 : pages;
			     end < pages && run_ro(s, end) == ro; end++)
				;
			if (*n == KVM_SLOTS)
				return false;
			out[(*n)++] = (struct kvm_slot){.gpa = s->gpa + (p << PAGE_SHIFT),
							.size = (end - p) << PAGE_SHIFT,
							.hva = s->hva + (p << PAGE_SHIFT),
							.ro = ro};
		}
	}
	return true;
}

static bool same(const struct kvm_slot *a, const struct kvm_slot *b)
{
	return a->gpa == b->gpa && a->size == b->size && a->hva == b->hva && a->ro == b->ro;
}

static bool is_among(const struct kvm_slot *s, const struct kvm_slot *list, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (same(s, &list[i]))
			return true;
	return false;
}

int kvm_slot_tell(struct kvm_vm *kv, unsigned i, const struct kvm_slot *s)
{
	struct kvm_userspace_memory_region r = {
		.slot = i,
		.flags = (s->ro && kvm_has(kv, HAS_READONLY_MEM) ? KVM_MEM_READONLY : 0) |
			 (kv->logs && s->size && !s->ro ? KVM_MEM_LOG_DIRTY_PAGES : 0),
		.guest_phys_addr = s->gpa,
		.memory_size = s->size,
		.userspace_addr = (uint64_t)s->hva,
	};

	if (ioctl(kv->fd, KVM_SET_USER_MEMORY_REGION, &r))
		return kvm_host_err("KVM_SET_USER_MEMORY_REGION");
	kv->slot[i] = *s;
	return 0;
}

static int take_away(struct vm *vm, struct kvm_vm *kv, unsigned i)
{
	const struct kvm_slot was = kv->slot[i];
	int err = kvm_slot_tell(kv, i, &(struct kvm_slot){.gpa = was.gpa});

	if (kv->logs && !was.ro)
		kvm_dirty_all(vm, &was);
	return err;
}

static int replace(struct vm *vm, struct kvm_vm *kv, const struct kvm_slot *want, unsigned n)
{
	int err = 0;

	for (unsigned i = 0; i < KVM_SLOTS && !err; i++)
		if (kv->slot[i].size && !is_among(&kv->slot[i], want, n))
			err = take_away(vm, kv, i);
	for (unsigned k = 0, i = 0; k < n && !err; k++) {
		if (is_among(&want[k], kv->slot, KVM_SLOTS))
			continue;
		while (kv->slot[i].size)
			i++; /* there are as many as can be wanted */
		err = kvm_slot_tell(kv, i, &want[k]);
	}
	return err;
}

int kvm_slots_sync(struct vm *vm)
{
	struct kvm_vm *kv = vm->engine_data;
	struct kvm_slot want[KVM_SLOTS];
	unsigned n;
	int err;

	plat_mutex_lock(&kv->lock);
	err = wanted(&vm->mem, want, &n) ? replace(vm, kv, want, n) : err_here(ERR_NOMEM);
	kv->slots_ready = !err;
	plat_mutex_unlock(&kv->lock);
	return err;
}

void kvm_memory_protected(struct vm *vm, gpa_t gpa, uint64_t len)
{
	struct kvm_vm *kv = vm->engine_data;

	if (kv->slots_ready && kvm_slots_sync(vm))
		vm_stop(vm, VM_FAILED, 0);
}

hva_t kvm_mem(struct vm *vm, gpa_t gpa, bool write, bool smm, bool fetch)
{
	struct mem_slot *s = mem_slot(vm, gpa);
	uint64_t page;

	if (!s && mem_is_smram(&vm->mem, gpa, smm, fetch))
		s = &vm->mem.screen;
	if (!s || (write && s->rom))
		return NULL;
	page = (gpa - s->gpa) >> PAGE_SHIFT;
	if (write && atomic_load(&s->flags[page]) & PGF_RO)
		return NULL;
	return s->hva + (gpa - s->gpa);
}
