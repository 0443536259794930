/* SPDX-License-Identifier: ISC */
/* bell.c: doorbells by eventfd (KVM_IOEVENTFD): the vCPU goes on in the guest, and a thread of the VM's hears what
 * it has rung, and runs the queue.
 *
 * A vCPU that leaves the guest for a doorbell and runs the queue itself has its answer sooner: nothing has to wake
 * up. It pays where the work takes longer than that, which is measured: the first rings of each are the vCPU's, and
 * from BELL_SAMPLE on one that takes BELL_WORTH_NS is armed. So the many that a guest rings once or never cost
 * nothing.
 *
 * What is written is exactly what the device's row (struct bus_bells) says, width and value too; anything else
 * at that address leaves the guest as before, so that the history has the truth. While there are rules of the
 * class, each access is recorded, or the vCPU has a share only, no doorbell is armed.
 *
 * Entered by vCPU threads, the thread of its own, and kvm_bells_settle(); bells.lock serialises, and is not held while
 * a device is called. */
#include "engine/kvm/kvm.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BELL_SIZE     2u /* of virtio's; others are not looked at */
#define BELL_SAMPLE   64u
#define BELL_WORTH_NS 8000u
#define LEAVE         KVM_BELLS /* of epoll's data: no bell */

void kvm_bells_init(struct kvm_vm *kv)
{
	struct kvm_bells *bs = &kv->bells;

	plat_mutex_init(&bs->lock, RANK_ENGINE);
	bs->poll = bs->leave = -1;
	for (unsigned i = 0; i < KVM_BELLS; i++)
		bs->bell[i].fd = -1;
}

/* ---- heard ---------------------------------------------------------------------------------- */

/* Which vCPU it was KVM does not say. */
static void ring(struct vm *vm, const struct kvm_bell *b, uint64_t times)
{
	if (!times)
		return;
	atomic_fetch_add_explicit(&vm->bells_heard, times, memory_order_relaxed);
	bus_ring(b->bus, -1, b->addr, b->size, b->value, times);
}

/* Lock held. */
static uint64_t take(const struct kvm_bell *b)
{
	uint64_t times = 0;

	if (b->fd < 0 || read(b->fd, &times, sizeof(times)) != sizeof(times))
		return 0;
	return times;
}

static void hear(struct vm *vm, unsigned i)
{
	struct kvm_bells *bs = &((struct kvm_vm *)vm->engine_data)->bells;
	struct kvm_bell b;
	uint64_t times;

	plat_mutex_lock(&bs->lock);
	b = bs->bell[i];
	times = take(&b);
	plat_mutex_unlock(&bs->lock);
	ring(vm, &b, times);
}

static void listen(void *arg)
{
	struct vm *vm = arg;
	int poll = ((struct kvm_vm *)vm->engine_data)->bells.poll;
	struct epoll_event ev[8];

	for (;;) {
		int n = epoll_wait(poll, ev, ARRAY_SIZE(ev), -1);

		for (int i = 0; i < n; i++)
			if (ev[i].data.u32 == LEAVE)
				return;
		for (int i = 0; i < n; i++)
			hear(vm, ev[i].data.u32);
	}
}

/* ---- armed ---------------------------------------------------------------------------------- */

static int tell_kvm(const struct kvm_vm *kv, const struct kvm_bell *b, bool on)
{
	struct kvm_ioeventfd io = {
		.datamatch = b->value,
		.addr = b->addr,
		.len = b->size,
		.fd = b->fd,
		.flags = KVM_IOEVENTFD_FLAG_DATAMATCH |
			 (b->bus->mon_class == MON_PORT ? KVM_IOEVENTFD_FLAG_PIO : 0) |
			 (on ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN),
	};

	return ioctl(kv->fd, KVM_IOEVENTFD, &io);
}

static int watch(struct kvm_bells *bs, int fd, unsigned i)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u32 = i};

	return epoll_ctl(bs->poll, EPOLL_CTL_ADD, fd, &ev);
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static bool start(struct vm *vm, struct kvm_bells *bs)
{
	if (bs->thread)
		return true;
	bs->poll = epoll_create1(EPOLL_CLOEXEC);
	bs->leave = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (bs->poll >= 0 && bs->leave >= 0 && !watch(bs, bs->leave, LEAVE) &&
	    !plat_thread_create("doorbells", listen, vm, &bs->thread))
		return true;
	close_fd(&bs->poll);
	close_fd(&bs->leave);
	return false;
}

/* Lock held. */
static void arm(struct vm *vm, struct kvm_bell *b)
{
	struct kvm_vm *kv = vm->engine_data;
	struct kvm_bells *bs = &kv->bells;
	unsigned i = (unsigned)(b - bs->bell);

	if (b->fd >= 0 || b->refused)
		return;
	b->fd = start(vm, bs) ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
	b->refused = b->fd < 0 || watch(bs, b->fd, i) || tell_kvm(kv, b, true);
	if (b->refused) {
		plat_log(LOG_DEBUG, "kvm: no eventfd for the doorbell at 0x%llx: %s",
			 (unsigned long long)b->addr, strerror(errno));
		close_fd(&b->fd);
		return;
	}
	atomic_fetch_add(&bs->n_armed, 1);
}

/* What was rung until then arrives from here. Lock not held. */
static void disarm(struct vm *vm, unsigned i)
{
	struct kvm_vm *kv = vm->engine_data;
	struct kvm_bells *bs = &kv->bells;
	struct kvm_bell *b = &bs->bell[i], was;
	uint64_t times = 0;

	plat_mutex_lock(&bs->lock);
	was = *b;
	if (b->fd >= 0) {
		if (tell_kvm(kv, b, false))
			plat_log(LOG_ERROR, "kvm: a doorbell cannot be taken back: %s",
				 strerror(errno));
		times = take(b);
		close_fd(&b->fd);
		atomic_fetch_sub(&bs->n_armed, 1);
	}
	b->rung = 0;
	b->took = 0;
	plat_mutex_unlock(&bs->lock);
	ring(vm, &was, times);
}

void kvm_bells_settle(struct vm *vm)
{
	struct kvm_bells *bs = &((struct kvm_vm *)vm->engine_data)->bells;
	struct plat_thread *thread;
	uint64_t one = 1;

	for (unsigned i = 0; i < KVM_BELLS; i++)
		disarm(vm, i);
	plat_mutex_lock(&bs->lock);
	thread = bs->thread;
	bs->thread = NULL;
	plat_mutex_unlock(&bs->lock);
	if (!thread)
		return;
	if (write(bs->leave, &one, sizeof(one)) != sizeof(one))
		plat_log(LOG_ERROR, "kvm: the doorbells' thread is not told to end");
	plat_thread_join(thread);
	close_fd(&bs->poll);
	close_fd(&bs->leave);
}

/* ---- rung ----------------------------------------------------------------------------------- */

static bool may_arm(struct vm *vm, const struct bus *bus)
{
	const uint32_t full = atomic_load_explicit(&vm->mon.full_mask, memory_order_relaxed);

	return !mon_rules(&vm->mon, bus->mon_class) && !(full & BIT(bus->mon_class)) &&
	       !atomic_load_explicit(&vm->cpu_percent, memory_order_relaxed);
}

/* Somebody must be there to hear it while the vCPU goes on. */
static bool other_cpus(void)
{
	cpu_set_t set;

	return !sched_getaffinity(0, sizeof(set), &set) && CPU_COUNT(&set) > 1;
}

/* Lock held. */
static bool pays(struct vm *vm, struct kvm_bell *b)
{
	bool yes;

	if (vm->bells == BELLS_ON)
		return true;
	if (b->rung < BELL_SAMPLE)
		return false;
	yes = b->took / b->rung >= BELL_WORTH_NS && other_cpus();
	b->rung = 0;
	b->took = 0;
	return yes;
}

/* Lock held. Those that nobody has rung since their BAR moved make room. */
static struct kvm_bell *find(struct kvm_bells *bs, struct bus *bus, uint64_t addr, uint16_t value)
{
	struct kvm_bell *room = NULL;

	for (unsigned i = 0; i < KVM_BELLS; i++) {
		struct kvm_bell *b = &bs->bell[i];

		if (b->bus == bus && b->addr == addr && b->value == value)
			return b;
		if (!room &&
		    (!b->bus || (b->fd < 0 && !bus_is_bell(b->bus, b->addr, b->size, b->value))))
			room = b;
	}
	if (room)
		*room = (struct kvm_bell){
			.bus = bus, .addr = addr, .value = value, .size = BELL_SIZE, .fd = -1};
	return room;
}

static void rung(struct vm *vm, struct bus *bus, uint64_t addr, uint16_t value, uint64_t ns)
{
	struct kvm_bells *bs = &((struct kvm_vm *)vm->engine_data)->bells;
	struct kvm_bell *b;

	plat_mutex_lock(&bs->lock);
	b = find(bs, bus, addr, value);
	if (b) {
		b->rung++;
		b->took += ns;
		if (pays(vm, b) && may_arm(vm, bus))
			arm(vm, b);
	}
	plat_mutex_unlock(&bs->lock);
}

void kvm_bus_write(struct kvm_vcpu *v, struct bus *bus, uint64_t addr, unsigned size,
		   uint64_t value)
{
	struct vm *vm = v->vcpu->vm;
	bool bell = size == BELL_SIZE && vm->bells != BELLS_OFF && kvm_has(v->kv, HAS_IOEVENTFD) &&
		    bus_is_bell(bus, addr, size, value);
	uint64_t begun = bell ? plat_now() : 0;

	bus_write(bus, (int)v->vcpu->index, addr, size, value);
	kvm_late_written(v, bus, addr, size);
	if (bell)
		rung(vm, bus, addr, (uint16_t)value, plat_now() - begun);
}

static bool gone(struct vm *vm, struct kvm_bells *bs, unsigned i)
{
	const struct kvm_bell *b = &bs->bell[i];
	bool gone;

	plat_mutex_lock(&bs->lock);
	gone = b->fd >= 0 &&
	       !(may_arm(vm, b->bus) && bus_is_bell(b->bus, b->addr, b->size, b->value));
	plat_mutex_unlock(&bs->lock);
	return gone;
}

/* Changes with each BAR that moves, and with what may be armed. */
static uint64_t wiring(struct vm *vm)
{
	return ((uint64_t)atomic_load(&vm->mmio.seq) + atomic_load(&vm->pio.seq)) << 2 |
	       (unsigned)may_arm(vm, &vm->mmio) << 1 | may_arm(vm, &vm->pio);
}

void kvm_bells_look(struct kvm_vcpu *v)
{
	struct kvm_bells *bs = &v->kv->bells;
	struct vm *vm = v->vcpu->vm;
	uint64_t now;

	if (likely(!atomic_load_explicit(&bs->n_armed, memory_order_relaxed)))
		return;
	now = wiring(vm);
	if (likely(atomic_load(&bs->wiring) == now))
		return;
	for (unsigned i = 0; i < KVM_BELLS; i++)
		if (gone(vm, bs, i))
			disarm(vm, i);
	atomic_store(&bs->wiring, now);
}
