/* SPDX-License-Identifier: ISC */
/* late.c: writes that the guest need not leave for (KVM_REGISTER_COALESCED_MMIO): KVM keeps them in a ring, and whoever
 * leaves the guest next does them before anything else, in their order.
 *
 * Devices say which of their registers only keep what is written until the next access (struct bus_late): the half of what
 * an I/O APIC or the clock's memory is asked is such an index. One that has been written LATE_SAMPLE times is armed,
 * as KVM waits for all readers of its tables at each change. While there are rules of the class, or each access is
 * recorded, none is. What comes late has the time when it came, and no vCPU where there are several.
 *
 * The ring is one for all vCPUs, and KVM's to fill. Entered by vCPU threads and by kvm_late_settle(); late.lock serialises,
 * and keeps the order: devices are called with it held. */
#include "engine/kvm/kvm.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define LATE_SAMPLE 16u

void kvm_late_init(struct kvm_vm *kv)
{
	plat_mutex_init(&kv->late.lock, RANK_LATE);
}

/* Its page is the kernel's answer, behind struct kvm_run of each vCPU. */
void kvm_late_ring(struct kvm_vcpu *v)
{
	struct kvm_vm *kv = v->kv;
	int page = kvm_has(kv, HAS_LATE_MMIO)
			   ? ioctl(kv->dev_fd, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_MMIO)
			   : 0;

	if (kv->late.ring || page <= 0 || ((size_t)page + 1) * PAGE_SIZE > kv->run_size)
		return;
	kv->late.ring = (void *)((uint8_t *)v->run + (size_t)page * PAGE_SIZE);
	kv->late.places = (uint32_t)KVM_COALESCED_MMIO_MAX;
}

/* ---- done ------------------------------------------------------------------------------------ */

static void write_one(struct vm *vm, const struct kvm_coalesced_mmio *e)
{
	struct bus *bus = e->pio ? &vm->pio : &vm->mmio;
	unsigned size = MIN(e->len, 8u);
	uint64_t value = 0;

	memcpy(&value, e->data, size);
	atomic_fetch_add_explicit(&vm->late_writes, 1, memory_order_relaxed);
	bus_write(bus, vm->n_vcpus == 1 ? 0 : -1, e->phys_addr, size, value);
}

/* Lock held. The ring is in memory that this process can write, too: an index out of bounds is ours. */
static void drain(struct vm *vm, struct kvm_late *l)
{
	struct kvm_coalesced_mmio_ring *r = l->ring;

	while (r->first != __atomic_load_n(&r->last, __ATOMIC_ACQUIRE)) {
		struct kvm_coalesced_mmio e = r->coalesced_mmio[r->first % l->places];

		__atomic_store_n(&r->first, (r->first + 1) % l->places, __ATOMIC_RELEASE);
		write_one(vm, &e);
	}
}

void kvm_late_done(struct kvm_vcpu *v)
{
	struct kvm_late *l = &v->kv->late;
	struct vm *vm = v->vcpu->vm;

	if (likely(!atomic_load_explicit(&l->n_armed, memory_order_relaxed)))
		return;
	plat_mutex_lock(&l->lock);
	drain(vm, l);
	plat_mutex_unlock(&l->lock);
}

/* ---- armed ----------------------------------------------------------------------------------- */

static int tell_kvm(const struct kvm_vm *kv, const struct kvm_late_zone *z, bool on)
{
	struct kvm_coalesced_mmio_zone zone = {
		.addr = z->addr, .size = z->len, .pio = z->bus->mon_class == MON_PORT};

	return ioctl(kv->fd, on ? KVM_REGISTER_COALESCED_MMIO : KVM_UNREGISTER_COALESCED_MMIO,
		     &zone);
}

/* Lock held. */
static void arm(struct kvm_vm *kv, struct kvm_late_zone *z)
{
	if (z->armed || z->refused)
		return;
	z->refused = tell_kvm(kv, z, true);
	if (z->refused) {
		plat_log(LOG_DEBUG, "kvm: writes to 0x%llx cannot be late: %s",
			 (unsigned long long)z->addr, strerror(errno));
		return;
	}
	z->armed = true;
	atomic_fetch_add(&kv->late.n_armed, 1);
}

/* Lock held. What was written until then is done here. */
static void disarm(struct vm *vm, struct kvm_vm *kv, struct kvm_late_zone *z)
{
	if (!z->armed)
		return;
	if (tell_kvm(kv, z, false))
		plat_log(LOG_ERROR, "kvm: late writes cannot be taken back: %s", strerror(errno));
	drain(vm, &kv->late);
	z->armed = false;
	z->written = 0;
	atomic_fetch_sub(&kv->late.n_armed, 1);
}

void kvm_late_settle(struct vm *vm)
{
	struct kvm_vm *kv = vm->engine_data;
	struct kvm_late *l = &kv->late;

	plat_mutex_lock(&l->lock);
	for (unsigned i = 0; i < KVM_LATE_ZONES; i++)
		disarm(vm, kv, &l->zone[i]);
	plat_mutex_unlock(&l->lock);
}

/* ---- written --------------------------------------------------------------------------------- */

static bool may_arm(const struct kvm_vm *kv, struct vm *vm, const struct bus *bus)
{
	const uint32_t full = atomic_load_explicit(&vm->mon.full_mask, memory_order_relaxed);

	return kv->late.ring &&
	       kvm_has(kv, bus->mon_class == MON_PORT ? HAS_LATE_PIO : HAS_LATE_MMIO) &&
	       !mon_rules(&vm->mon, bus->mon_class) && !(full & BIT(bus->mon_class));
}

/* Lock held. A place for it; those that are not armed make room. */
static struct kvm_late_zone *find(struct kvm_late *l, struct bus *bus, uint64_t addr, uint32_t len)
{
	struct kvm_late_zone *room = NULL;

	for (unsigned i = 0; i < KVM_LATE_ZONES; i++) {
		struct kvm_late_zone *z = &l->zone[i];

		if (z->bus == bus && z->addr == addr && z->len == len)
			return z;
		if (!z->armed && (!room || !z->bus))
			room = z;
	}
	if (room)
		*room = (struct kvm_late_zone){.bus = bus, .addr = addr, .len = len};
	return room;
}

void kvm_late_written(struct kvm_vcpu *v, struct bus *bus, uint64_t addr, unsigned size)
{
	struct kvm_late *l = &v->kv->late;
	struct vm *vm = v->vcpu->vm;
	struct kvm_late_zone *z;
	uint64_t base;
	uint32_t len;

	if (!vm->may_be_late || !may_arm(v->kv, vm, bus) || !bus_late(bus, addr, size, &base, &len))
		return;
	plat_mutex_lock(&l->lock);
	z = find(l, bus, base, len);
	if (z && ++z->written >= LATE_SAMPLE)
		arm(v->kv, z);
	plat_mutex_unlock(&l->lock);
}

static bool stays(struct kvm_vm *kv, struct vm *vm, const struct kvm_late_zone *z)
{
	uint64_t base;
	uint32_t len;

	return may_arm(kv, vm, z->bus) && bus_late(z->bus, z->addr, z->len, &base, &len) &&
	       base == z->addr && len == z->len;
}

/* Changes with each device that moves, and with what may be armed. */
static uint64_t wiring(const struct kvm_vm *kv, struct vm *vm)
{
	return ((uint64_t)atomic_load(&vm->mmio.seq) + atomic_load(&vm->pio.seq)) << 2 |
	       (unsigned)may_arm(kv, vm, &vm->mmio) << 1 | may_arm(kv, vm, &vm->pio);
}

void kvm_late_look(struct kvm_vcpu *v)
{
	struct kvm_late *l = &v->kv->late;
	struct vm *vm = v->vcpu->vm;
	uint64_t now;

	if (likely(!atomic_load_explicit(&l->n_armed, memory_order_relaxed)))
		return;
	now = wiring(v->kv, vm);
	if (likely(atomic_load(&l->wiring) == now))
		return;
	plat_mutex_lock(&l->lock);
	for (unsigned i = 0; i < KVM_LATE_ZONES; i++)
		if (l->zone[i].armed && !stays(v->kv, vm, &l->zone[i]))
			disarm(vm, v->kv, &l->zone[i]);
	atomic_store(&l->wiring, now);
	plat_mutex_unlock(&l->lock);
}
