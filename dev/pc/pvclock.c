/* SPDX-License-Identifier: ISC */
/* pvclock.c: KVM's paravirtual clock: a page per vCPU from which the guest computes time since
 * boot out of its TSC, and the wall clock at boot. And steal time: where the guest has the host say how long a vCPU was
 * ready and did not run. That is the engine's to write (vm->steal_time); here is only what the guest asked for, under
 * each engine, as it may come to another.
 *
 * All pages say the same line through one common pair of host TSC and time, so that time is
 * monotonic across vCPUs (PVCLOCK_TSC_STABLE_BIT) and a page is written once. Entered by the
 * vCPU's own thread. */
#include "dev/pc/pvclock.h"

#include "base/str.h"
#include "vm/dev.h"
#include "vm/stream.h"
#include "vm/vm.h"

#define LEAF_SIGNATURE             0x40000000u
#define LEAF_FEATURES              0x40000001u
#define FEATURE_NOP_IO_DELAY       BIT(1) /* port 80H delays are not needed */
#define FEATURE_CLOCKSOURCE2       BIT(3)
#define FEATURE_STEAL_TIME         BIT(5)
#define FEATURE_CLOCKSOURCE_STABLE BIT(24)

#define MSR_WALL_CLOCK  0x4b564d00u
#define MSR_SYSTEM_TIME 0x4b564d01u
#define MSR_STEAL_TIME  0x4b564d03u
#define SYSTEM_TIME_ON  BIT64(0)
#define STEAL_RESERVED  UINT64_C(0x3e)

#define PVCLOCK_TSC_STABLE BIT(0)

#define STEAL_SINCE 11 /* version of its section */

struct wall_clock {
	uint32_t version, sec, nsec;
};
_Static_assert(sizeof(struct wall_clock) == 12, "pvclock_wall_clock");

struct time_info {
	uint32_t version; /* odd: being written */
	uint32_t pad0;
	uint64_t tsc_timestamp;
	uint64_t system_time; /* ns at tsc_timestamp */
	uint32_t tsc_to_system_mul;
	int8_t tsc_shift;
	uint8_t flags;
	uint8_t pad[2];
};
_Static_assert(sizeof(struct time_info) == 32, "pvclock_vcpu_time_info");

struct pvclock {
	struct dev dev;
	struct pvclock_wiring w;
	/* The common line, set at creation */
	uint64_t host_tsc, host_ns; /* vm_ticks(), plat_now() */
	uint32_t mul;               /* ns = (ticks shifted by shift) * mul >> 32 */
	int8_t shift;
	uint64_t system_time[VM_MAX_VCPUS]; /* MSR, each its own vCPU's */
	_Atomic uint64_t wall_clock;        /* MSR */
	uint64_t steal_time[VM_MAX_VCPUS];  /* MSR, each its own vCPU's */
	bool steals;                        /* CPUID says so */
	struct vcpu_hooks next[VM_MAX_VCPUS];
};

/* Guest TSC minus vm_ticks() */
static uint64_t guest_offset(const struct pvclock *pv, struct vcpu *vcpu)
{
	if (pv->w.tsc)
		return pv->w.tsc(vcpu) - vm_ticks(vcpu->vm);
	return vcpu->state->tsc_offset;
}

/* mul and shift such that ticks of hz become ns: mul has its highest bit set. */
static void scale_set(struct pvclock *pv, uint64_t hz)
{
	uint64_t ns = NS_PER_SEC;
	int shift = 0;

	while (hz > 2 * ns) {
		hz >>= 1;
		shift--;
	}
	while (hz <= ns) {
		hz <<= 1;
		shift++;
	}
	while (hz > UINT32_MAX) {
		hz >>= 1;
		ns >>= 1;
	}
	pv->mul = (uint32_t)((ns << 32) / hz);
	pv->shift = (int8_t)shift;
}

/* Writes the page by the protocol: the version is odd meanwhile. Only its own vCPU's thread does. */
static void page_write(struct pvclock *pv, struct vcpu *vcpu)
{
	uint64_t msr = pv->system_time[vcpu->index];
	gpa_t gpa = msr & ~SYSTEM_TIME_ON;
	struct time_info info = {
		.tsc_timestamp = pv->host_tsc + guest_offset(pv, vcpu),
		.tsc_to_system_mul = pv->mul,
		.tsc_shift = pv->shift,
		.flags = PVCLOCK_TSC_STABLE,
	};
	uint32_t *page;

	if (!(msr & SYSTEM_TIME_ON) || !IS_ALIGNED(gpa, UINT64_C(4)))
		return;
	page = (void *)mem_ptr(vcpu->vm, gpa, sizeof(info), true);
	if (!page)
		return; /* not RAM: the guest's mistake */
	info.version = *page | 1;
	__atomic_store_n(page, info.version, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	memcpy(page + 1, &info.pad0, sizeof(info) - sizeof(info.version));
	__atomic_store_n(page, info.version + 1, __ATOMIC_RELEASE);
	mem_written(vcpu->vm, gpa, sizeof(info));
}

/* Wall clock at system time 0 */
static void wall_write(struct pvclock *pv, struct vm *vm, gpa_t gpa)
{
	uint64_t ns = vm_realtime(vm) - (plat_now() - pv->host_ns);
	struct wall_clock wc = {
		.sec = (uint32_t)(ns / NS_PER_SEC),
		.nsec = (uint32_t)(ns % NS_PER_SEC),
	};
	uint32_t version;

	if (mem_read(vm, gpa, &version, sizeof(version)))
		return;
	wc.version = (version | 1) + 1; /* nobody reads it meanwhile */
	if (mem_write(vm, gpa, &wc, sizeof(wc)))
		return;
}

static const struct dev_class pvclock_class;

static struct pvclock *pvclock_of(struct vcpu *vcpu)
{
	for (struct dev *dev = vcpu->vm->devs; dev; dev = dev->next)
		if (dev->cls == &pvclock_class)
			return container_of(dev, struct pvclock, dev);
	return NULL;
}

static int pv_msr_read(struct vcpu *vcpu, uint32_t index, uint64_t *value)
{
	struct pvclock *pv = pvclock_of(vcpu);

	switch (index) {
	case MSR_WALL_CLOCK:
		*value = pv->wall_clock;
		return 0;
	case MSR_SYSTEM_TIME:
		*value = pv->system_time[vcpu->index];
		return 0;
	case MSR_STEAL_TIME:
		*value = pv->steal_time[vcpu->index];
		return 0;
	default:
		if (pv->next[vcpu->index].msr_read)
			return pv->next[vcpu->index].msr_read(vcpu, index, value);
		return ERR_NOENT;
	}
}

static int pv_msr_write(struct vcpu *vcpu, uint32_t index, uint64_t value)
{
	struct pvclock *pv = pvclock_of(vcpu);

	switch (index) {
	case MSR_WALL_CLOCK:
		pv->wall_clock = value;
		wall_write(pv, vcpu->vm, value);
		return 0;
	case MSR_SYSTEM_TIME:
		pv->system_time[vcpu->index] = value;
		page_write(pv, vcpu);
		return 0;
	case MSR_STEAL_TIME:
		if (value & STEAL_RESERVED)
			return ERR_NOENT;
		pv->steal_time[vcpu->index] = value;
		return 0;
	default:
		if (pv->next[vcpu->index].msr_write)
			return pv->next[vcpu->index].msr_write(vcpu, index, value);
		return ERR_NOENT;
	}
}

static void pv_cpuid(struct vcpu *vcpu, uint32_t leaf, uint32_t sub, uint32_t r[4])
{
	struct pvclock *pv = pvclock_of(vcpu);

	if (pv->next[vcpu->index].cpuid)
		pv->next[vcpu->index].cpuid(vcpu, leaf, sub, r);
	switch (leaf) {
	case LEAF_SIGNATURE:
		r[0] = LEAF_FEATURES;
		memcpy(&r[1], "KVMKVMKVM\0\0\0", 12);
		break;
	case LEAF_FEATURES:
		r[0] = FEATURE_NOP_IO_DELAY | FEATURE_CLOCKSOURCE2 | FEATURE_CLOCKSOURCE_STABLE;
		if (pv->steals)
			r[0] |= FEATURE_STEAL_TIME;
		r[1] = r[2] = r[3] = 0;
		break;
	default:
		break;
	}
}

void pvclock_tsc_moved(struct vcpu *vcpu)
{
	struct pvclock *pv = pvclock_of(vcpu);

	if (pv)
		page_write(pv, vcpu);
}

static void pvclock_reset(struct dev *dev)
{
	struct pvclock *pv = container_of(dev, struct pvclock, dev);

	pv->wall_clock = 0;
	for (unsigned i = 0; i < VM_MAX_VCPUS; i++)
		pv->system_time[i] = pv->steal_time[i] = 0;
}

static void pvclock_destroy(struct dev *dev)
{
	plat_free(container_of(dev, struct pvclock, dev));
}

static const struct st_field pv_fields[] = {
	ST_F(struct pvclock, host_tsc, ST_STAMP, 0),
	ST_T(struct pvclock, host_ns),
	ST_A(struct pvclock, system_time),
	ST_U(struct pvclock, wall_clock),
};

static const struct st_field steal_fields[] = {
	ST_A(struct pvclock, steal_time),
	ST_B(struct pvclock, steals),
};

/* Guest TSC and line move together, so that the pages in the guest's memory stay right. */
static int pvclock_state(struct dev *dev, struct state_stream *st)
{
	struct pvclock *pv = container_of(dev, struct pvclock, dev);

	ST_SYNC(st, "pvclock", 0, pv_fields, pv);
	if (!st->loading || st->version >= STEAL_SINCE)
		return ST_SYNC(st, "steal", 0, steal_fields, pv);
	pv->steals = false;
	return st->err;
}

static const struct vcpu_hooks pv_hooks = {
	.msr_read = pv_msr_read,
	.msr_write = pv_msr_write,
	.cpuid = pv_cpuid,
};

static const struct dev_class pvclock_class = {
	.name = "pvclock",
	.reset = pvclock_reset,
	.state = pvclock_state,
	.destroy = pvclock_destroy,
};

int pvclock_create(struct vm *vm, const struct pvclock_wiring *w, struct pvclock **out)
{
	struct pvclock *pv = plat_alloc(sizeof(*pv));

	if (!pv)
		return err_here(ERR_NOMEM);
	pv->w = *w;
	pv->steals = vm->steal_time;
	pv->host_ns = plat_now();
	pv->host_tsc = vm_ticks(vm);
	scale_set(pv, vm->tsc_hz ? vm->tsc_hz : plat_tsc_hz());
	vm_add_dev(vm, &pv->dev, &pvclock_class);
	for (unsigned i = 0; i < vm->n_vcpus; i++)
		pv->next[i] = vcpu_hook(vm->vcpu[i], &pv_hooks);
	*out = pv;
	return 0;
}
