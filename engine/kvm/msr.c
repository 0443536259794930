/* SPDX-License-Identifier: ISC */
/* msr.c: MSR accesses that KVM hands over (KVM_X86_SET_MSR_FILTER): the machine's own, always, Hyper-V's among them,
 * of which KVM has a few, too, in its own way, whether they are wanted or not; and as long
 * as the monitor has an interest in them, almost all. What is handed over is done as the interpreter
 * does it, by the table in x86/msr.c, with rules and history, on a state of which just this register
 * is fetched from KVM and given back.
 *
 * Some stay KVM's whatever is asked for: those whose effect is not in the state (IA32_PRED_CMD), and those
 * whose rules need all of it (EFER). x2APIC's cannot be filtered; KVM without a local APIC refuses them, and
 * they come that way. On the vCPU's thread. */
#include "engine/kvm/kvm.h"

#include <string.h>
#include <sys/ioctl.h>

#include "vm/machine.h"

#define MSR_PV_OLD   0x11u /* the same clocks under their old numbers */
#define MSR_PV_FIRST 0x4b564d00u
#define MSR_PV_COUNT 8u
#define MSR_HV_FIRST 0x40000000u /* Hyper-V's */
#define MSR_HV_COUNT 0x200u

#define RANGE_MSRS 0x2000u

/* A change waits for all readers of the filter before: a millisecond, or ten. There is none until the first entry, which is
 * when it is known who listens. */
#define WATCH_NOT_YET UINT32_MAX

enum watch {
	WATCH_OWN,  /* the machine's own */
	WATCH_MOST, /* all but those that kernels access at each switch of tasks */
	WATCH_ALL,
};

static const uint32_t ranges[] = {0, 0xc0000000, 0xc0010000};

static const struct {
	uint32_t index;
	enum watch until; /* from here on it is watched; beyond WATCH_ALL: never */
} left_alone[] = {
	{0x48, WATCH_ALL},                                    /* SPEC_CTRL */
	{0x49, WATCH_ALL + 1},                                /* PRED_CMD */
	{0x10b, WATCH_ALL + 1},                               /* FLUSH_CMD */
	{0xc0000080, WATCH_ALL + 1},                          /* EFER */
	{0xc0000100, WATCH_ALL + 1},                          /* FS_BASE, GS_BASE */
	{0xc0000101, WATCH_ALL + 1}, {0xc0000102, WATCH_ALL}, /* KERNEL_GS_BASE */
};

static const struct {
	uint32_t index;
	bool apic; /* KVM's where it has the local APICs */
} own[] = {{MSR_PV_OLD, false},
	   {MSR_PV_OLD + 1, false},
	   {MSR_APIC_BASE, true},
	   {MSR_TSC_DEADLINE, true}};

/* ---- the filter ------------------------------------------------------------------------------- */

static enum watch watch_wanted(struct monitor *mon)
{
	if (mon_rules(mon, MON_MSR) ||
	    atomic_load_explicit(&mon->full_mask, memory_order_relaxed) & BIT(MON_MSR))
		return WATCH_ALL;
	return mon_listens(mon, MON_MSR) ? WATCH_MOST : WATCH_OWN;
}

/* A set bit leaves the MSR to KVM. */
static void fill(uint8_t *bits, uint32_t base, enum watch watch, bool split)
{
	memset(bits, watch == WATCH_OWN ? 0xff : 0, RANGE_MSRS / 8);
	for (unsigned i = 0; i < ARRAY_SIZE(left_alone); i++) {
		uint32_t n = left_alone[i].index - base;

		if (n < RANGE_MSRS && watch < left_alone[i].until)
			bits[n / 8] |= (uint8_t)BIT(n % 8);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(own) && !base; i++) {
		uint32_t n = own[i].index;

		if (own[i].apic && split)
			bits[n / 8] |= (uint8_t)BIT(n % 8);
		else
			bits[n / 8] &= (uint8_t)~BIT(n % 8);
	}
}

static int filter(struct kvm_vm *kv, enum watch watch)
{
	struct kvm_msr_filter f = {.flags = KVM_MSR_FILTER_DEFAULT_ALLOW};
	uint8_t bits[ARRAY_SIZE(ranges)][RANGE_MSRS / 8], none[MSR_HV_COUNT / 8] = {0};
	unsigned n = 0;

	for (; n < ARRAY_SIZE(ranges); n++) {
		fill(bits[n], ranges[n], watch, kv->split);
		f.ranges[n] = (struct kvm_msr_filter_range){
			.base = ranges[n], .nmsrs = RANGE_MSRS, .bitmap = bits[n]};
	}
	f.ranges[n++] = (struct kvm_msr_filter_range){
		.base = MSR_PV_FIRST, .nmsrs = MSR_PV_COUNT, .bitmap = none};
	f.ranges[n++] = (struct kvm_msr_filter_range){
		.base = MSR_HV_FIRST, .nmsrs = MSR_HV_COUNT, .bitmap = none};
	while (n--)
		f.ranges[n].flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE;
	if (ioctl(kv->fd, KVM_X86_SET_MSR_FILTER, &f))
		return kvm_host_err("MSRs cannot be handled here");
	atomic_store(&kv->msrs_watched, watch);
	return 0;
}

int kvm_msrs_init(struct kvm_vm *kv)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_X86_USER_SPACE_MSR,
		.args = {KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_UNKNOWN |
			 KVM_MSR_EXIT_REASON_FILTER},
	};

	atomic_store(&kv->msrs_watched, WATCH_NOT_YET);
	return ioctl(kv->fd, KVM_ENABLE_CAP, &cap) ? kvm_host_err("MSRs cannot be handled here")
						   : 0;
}

int kvm_msrs_watch(struct kvm_vcpu *v)
{
	enum watch want = watch_wanted(&v->vcpu->vm->mon);
	struct kvm_vm *kv = v->kv;
	int err = 0;

	if (likely(atomic_load_explicit(&kv->msrs_watched, memory_order_relaxed) == want))
		return 0;
	plat_mutex_lock(&kv->lock);
	if (atomic_load(&kv->msrs_watched) != want)
		err = filter(kv, want);
	plat_mutex_unlock(&kv->lock);
	return err;
}

/* ---- steal time --------------------------------------------------------------------------------- */

#define STEAL_ON        BIT64(0)
#define STEAL_PREEMPTED 16 /* in the guest's struct kvm_steal_time */

void kvm_steal_set(struct kvm_vcpu *v)
{
	uint64_t value;

	if (!kvm_has(v->kv, HAS_STEAL_TIME) || vcpu_msr_read(v->vcpu, MSR_STEAL_TIME, &value) ||
	    value == v->steal)
		return;
	if (kvm_msr_set(v, MSR_STEAL_TIME, value))
		v->steal = value;
}

/* KVM says that the vCPU does not run, until it enters it again. Nobody else would take that back. */
void kvm_steal_leave(struct kvm_vcpu *v)
{
	gpa_t at = (v->steal & ~STEAL_ON) + STEAL_PREEMPTED;
	uint8_t *preempted = NULL;

	if (v->steal & STEAL_ON)
		preempted = mem_ptr(v->vcpu->vm, at, 1, true);
	if (!preempted)
		return;
	__atomic_store_n(preempted, 0, __ATOMIC_RELAXED);
	mem_written(v->vcpu->vm, at, 1);
}

/* ---- accesses ----------------------------------------------------------------------------------- */

/* The guest may have set its TSC since; and where the host calls its own TSC unstable, KVM moves the offset
 * at each entry. With an old one deadlines would be over when they are set, for ever. */
static void fetch(struct kvm_vcpu *v, uint32_t index)
{
	if (index == MSR_TSC || index == MSR_TSC_ADJUST || index == MSR_TSC_DEADLINE ||
	    index - MSR_PV_FIRST < MSR_PV_COUNT || index - MSR_HV_FIRST < MSR_HV_COUNT)
		kvm_tsc_get(v, &v->cpu.s.tsc_offset);
	if (index == MSR_TSC)
		kvm_msr_fetch(v, MSR_TSC_ADJUST);
	kvm_msr_fetch(v, index);
}

static int give(struct kvm_vcpu *v, uint32_t index)
{
	if (index == MSR_TSC || index == MSR_TSC_ADJUST)
		kvm_tsc_set(v, v->cpu.s.tsc_offset);
	return kvm_msr_give(v, index == MSR_TSC ? MSR_TSC_ADJUST : index);
}

void kvm_msr_exit(struct kvm_vcpu *v, bool write)
{
	uint32_t index = v->run->msr.index;
	uint64_t value = v->run->msr.data;
	int err;

	if (index - MSR_PV_OLD < 2)
		index = MSR_PV_FIRST + (index == MSR_PV_OLD + 1);
	fetch(v, index);
	if (write)
		err = cpu_msr_write(&v->cpu, index, value) ? ERR_NOENT : give(v, index);
	else
		err = cpu_msr_read(&v->cpu, index, &value);
	if (write && index == MSR_STEAL_TIME)
		kvm_steal_set(v);
	v->run->msr.error = err != 0;
	v->run->msr.data = value;
}
