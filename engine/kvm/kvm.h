/* SPDX-License-Identifier: ISC */
/* kvm.h: the engine that stands on Linux's KVM. Hosted. */
#ifndef ENGINE_KVM_KVM_H
#define ENGINE_KVM_KVM_H

#include <linux/kvm.h>

#include "engine/kvm/caps.h"
#include "vm/vm.h"
#include "x86/cpu.h"

#define MSR_TSC          0x10u
#define MSR_APIC_BASE    0x1bu
#define MSR_TSC_ADJUST   0x3bu
#define MSR_TSC_DEADLINE 0x6e0u
#define MSR_STEAL_TIME   0x4b564d03u

#define KVM_SLOTS 64u /* each area of a PC's shadow memory may have its own */
struct kvm_slot {
	gpa_t gpa;
	uint64_t size; /* 0: not in use */
	hva_t hva;
	bool ro;
};

#define KVM_MSRS_MAX 64

/* Each pin of the I/O APIC may have a message, or goes to KVM's own and to its PIC; behind them eventfds. */
#define KVM_IRQ_FDS 16u
#define KVM_ROUTES  (GSI_COUNT + 16u + KVM_IRQ_FDS)
union kvm_routes {
	struct kvm_irq_routing head;
	uint8_t room[sizeof(struct kvm_irq_routing) +
		     KVM_ROUTES * sizeof(struct kvm_irq_routing_entry)];
};

/* A doorbell that was rung; bell.c */
struct kvm_bell {
	struct bus *bus;
	uint64_t addr;
	uint16_t value;
	uint8_t size;
	int fd;        /* an eventfd that KVM rings; -1: vCPUs leave the guest for it */
	bool refused;  /* KVM has not taken it */
	unsigned rung; /* by vCPUs, since it was last looked at … */
	uint64_t took; /* … and the ns that they were away for it */
};

#define KVM_BELLS 32u
struct kvm_bells {
	struct plat_mutex lock; /* RANK_ENGINE: */
	struct kvm_bell bell[KVM_BELLS];
	struct plat_thread *thread; /* that hears them; NULL: none, and no … */
	int poll;                   /* epoll: the armed ones, and … */
	int leave;                  /* eventfd: the thread is to end */
	/* Without the lock: */
	_Atomic unsigned n_armed;
	_Atomic uint64_t wiring; /* when the armed ones were last known to be there; bell.c's */
};

/* Writes that come late; late.c */
struct kvm_late_zone {
	struct bus *bus; /* NULL: not in use */
	uint64_t addr;
	uint32_t len;
	unsigned written; /* by vCPUs that left for it */
	bool armed, refused;
};

#define KVM_LATE_ZONES 8u
struct kvm_late {
	struct plat_mutex lock;               /* RANK_LATE: all but the counters */
	struct kvm_coalesced_mmio_ring *ring; /* in the first vCPU's mapping; NULL: there is none */
	uint32_t places;
	struct kvm_late_zone zone[KVM_LATE_ZONES];
	_Atomic unsigned n_armed;
	_Atomic uint64_t wiring; /* when the armed ones were last known to be there */
};

struct kvm_vm {
	int dev_fd; /* /dev/kvm */
	int fd;
	size_t run_size;
	uint32_t has; /* bits by enum kvm_has */
	bool split;   /* local APICs are in the kernel; chip.c */
	bool full;    /* … and I/O APIC and PIC; lines.c */
	bool lent;    /* … and it has what the models had */

	struct plat_mutex route_lock; /* RANK_ROUTER: */
	union kvm_routes *routes;     /* as KVM has them */
	struct kvm_irq_fd {
		int fd; /* -1: not in use */
		uint64_t addr;
		uint32_t data;
	} irq_fd[KVM_IRQ_FDS];

	struct kvm_bells bells;
	struct kvm_late late;

	struct plat_mutex lock; /* RANK_ENGINE: all below */
	struct kvm_slot slot[KVM_SLOTS];
	bool slots_ready;
	bool dirty_rings; /* written pages are told by rings, not by bitmaps; dirty.c */
	bool dirty_lost;  /* … and have not told all */
	bool logs;        /* they are told now */
	_Atomic unsigned msrs_watched; /* msr.c's, read without the lock */

	union kvm_cpuid_list
		host; /* what KVM can give; last: it ends in an array without a length */
};

static inline bool kvm_has(const struct kvm_vm *kv, enum kvm_has what)
{
	return kv->has & BIT(what);
}

#define KVM_WROTE 16u
struct kvm_vcpu {
	struct vcpu *vcpu;
	struct kvm_vm *kv;
	int fd;
	struct kvm_run *run;
	bool thread_ready;
	bool incomplete;  /* an access was answered, and KVM_RUN has not heard of it yet */
	bool wants_state; /* KVM's registers are newer than state */
	bool stale;       /* … are older: to be set before it runs */
	bool told_ready;  /* ready_for_interrupt_injection is of this state */
	bool cpuid_set;
	uint64_t steal; /* MSR_STEAL_TIME, as KVM has it */
	bool msr_known; /* msr[] is what KVM has */
	uint64_t msr[KVM_MSRS_MAX];
	unsigned refused;            /* entries */
	unsigned interp_steps;       /* so many instructions by the interpreter */
	bool debugged;               /* KVM_SET_GUEST_DEBUG is in force */
	enum debug_step stepping;    /* as it was last set */
	struct kvm_dirty_gfn *dirty; /* its ring of written pages; NULL: not mapped yet */
	uint32_t dirty_next;         /* … the entry that comes next */
	gpa_t wrote[KVM_WROTE];      /* pages that the interpreter may write to, … */
	unsigned n_wrote;            /* … so many; the last ones of more */
	_Atomic int tid;             /* of its thread; 0: not running yet */
	_Atomic bool guarded;        /* kicks are signals only, which are blocked until KVM_RUN */
	struct cpu_io smi_io;        /* smi: an access that has brought the coming SMI about */
	struct cpu cpu;              /* its state is the vCPU's */
};

/* state.c */
int kvm_get_state(struct vcpu *vcpu);
/* What of NMIs the state says, where they may be the guest's by now; ERR_*. */
int kvm_nmi_learn(struct kvm_vcpu *v);
int kvm_set_state(struct vcpu *vcpu);
/* What the guest's TSC is ahead of the host's just now. */
void kvm_tsc_get(struct kvm_vcpu *v, uint64_t *offset);
void kvm_tsc_set(struct kvm_vcpu *v, uint64_t offset);
/* One MSR from KVM to the state and back; nothing where the state has no such field. ERR_NOENT: KVM refuses
 * the value. */
void kvm_msr_fetch(struct kvm_vcpu *v, uint32_t index);
int kvm_msr_give(struct kvm_vcpu *v, uint32_t index);
bool kvm_msr_get(struct kvm_vcpu *v, uint32_t index, uint64_t *value);
bool kvm_msr_set(struct kvm_vcpu *v, uint32_t index, uint64_t value);
/* chip.c: nothing where local APICs are not KVM's */
int kvm_chips_init(const struct vm *vm,
		   struct kvm_vm *kv); /* as vm->chips says; before there are vCPUs */
int kvm_chip_get(struct kvm_vcpu *v);
int kvm_chip_set(struct kvm_vcpu *v); /* if the model has been changed */
int kvm_activity_get(struct kvm_vcpu *v);
int kvm_activity_set(struct kvm_vcpu *v);
int kvm_attach(struct vm *vm);
void kvm_detach(struct vm *vm);
int kvm_irq_fd(struct vm *vm, int fd, bool on, uint64_t addr,
	       uint32_t data); /* engine_ops.irq_fd */
/* lines.c: nothing where I/O APIC and PIC are not KVM's */
int kvm_lines_init(struct kvm_vm *kv); /* creates all of KVM's chips; -1: errno */
void kvm_lines_route(union kvm_routes *t);
int kvm_lines_attach(struct vm *vm);  /* after the local APICs */
void kvm_lines_detach(struct vm *vm); /* before them */
int kvm_lines_get(struct vm *vm);
int kvm_lines_set(struct vm *vm); /* what has been changed in the models */
/* msr.c */
int kvm_msrs_init(struct kvm_vm *kv);
int kvm_msrs_watch(struct kvm_vcpu *v); /* before each entry: as the monitor wants them now */
void kvm_msr_exit(struct kvm_vcpu *v, bool write);
void kvm_steal_set(struct kvm_vcpu *v);   /* KVM writes where the guest has asked for it */
void kvm_steal_leave(struct kvm_vcpu *v); /* … what it has written goes to another engine perhaps */
/* bell.c */
void kvm_bells_init(struct kvm_vm *kv);
void kvm_bells_settle(struct vm *vm); /* engine_ops.settle */
/* A vCPU's write that KVM has exited for. */
void kvm_bus_write(struct kvm_vcpu *v, struct bus *bus, uint64_t addr, unsigned size,
		   uint64_t value);
void kvm_bells_look(struct kvm_vcpu *v); /* before each entry: are they still where they were? */
/* dirty.c */
void kvm_dirty_init(const struct vm *vm, struct kvm_vm *kv);
void kvm_dirty_vcpu_fini(struct kvm_vcpu *v);
int kvm_dirty(struct vm *vm, enum dirty_op op); /* engine_ops.dirty */
int kvm_dirty_full(struct kvm_vcpu *v);         /* a ring has no room */
void kvm_dirty_later(struct kvm_vcpu *v, gpa_t gpa);
void kvm_dirty_now(struct kvm_vcpu *v); /* … has been written */
void kvm_dirty_all(struct vm *vm, const struct kvm_slot *s);
/* late.c */
void kvm_late_init(struct kvm_vm *kv);
void kvm_late_ring(struct kvm_vcpu *v); /* when it has its mapping */
void kvm_late_settle(struct vm *vm);
void kvm_late_done(struct kvm_vcpu *v); /* after each entry, before anything else of the guest's */
void kvm_late_look(struct kvm_vcpu *v); /* before each entry: are they still where they were? */
/* A vCPU has left the guest for this write. */
void kvm_late_written(struct kvm_vcpu *v, struct bus *bus, uint64_t addr, unsigned size);
/* cpuid.c */
int kvm_set_cpuid(struct kvm_vcpu *v);
/* Takes from r what the host's KVM cannot do. */
void kvm_cpuid_mask(const struct kvm_vm *kv, uint32_t leaf, uint32_t sub, uint32_t r[4]);
/* slots.c */
int kvm_slot_tell(struct kvm_vm *kv, unsigned i, const struct kvm_slot *s); /* kv->lock held */
int kvm_slots_sync(struct vm *vm); /* KVM hears of what has changed in the memory map */
void kvm_memory_protected(struct vm *vm, gpa_t gpa, uint64_t len);
/* Host address of the byte at gpa as a processor finds it that is in SMM or not, and fetches code or
 * not; NULL: that is the bus's. Who writes there notes it: kvm_dirty_later(). */
hva_t kvm_mem(struct vm *vm, gpa_t gpa, bool write, bool smm, bool fetch);
/* ops.c */
extern const struct cpu_ops kvm_cpu_ops;
/* interp.c */
bool kvm_interp_wanted(const struct kvm_vcpu *v);
void kvm_interp_failed(struct kvm_vcpu *v); /* KVM cannot go on here by itself */
bool kvm_interp_run(struct kvm_vcpu *v, struct vcpu_exit *exit); /* false: exit is to be reported */
/* The access that KVM has exited for has brought an SMI about: SMM's map says which. */
void kvm_io_smi(struct kvm_vcpu *v, uint16_t port, unsigned size);
/* Delivers what KVM holds for delivery, after the state was read. */
int kvm_deliver(struct kvm_vcpu *v, const struct kvm_vcpu_events *e);
/* debug.c */
bool kvm_debug_can(struct vm *vm, const struct debug_set *set);
void kvm_debug_changed(struct vm *vm, bool breaks, bool watches);
int kvm_debug_enter(struct kvm_vcpu *v); /* before run() enters the guest */
/* A debug exit. False: go on. */
bool kvm_debug_exit(struct kvm_vcpu *v, uint64_t dr6, struct vcpu_exit *exit);
/* kvm.c: logs errno. */
int kvm_host_err(const char *what);
/* probe.c */
int kvm_probe(struct engine_probe *out);

extern const struct engine_ops engine_kvm;

#endif
