/* SPDX-License-Identifier: ISC */
/* vm.h: one virtual machine: memory, buses, vCPUs, devices and its lifecycle. */
#ifndef VM_VM_H
#define VM_VM_H

#include "base/def.h"
#include "base/err.h"
#include "base/tsc.h"
#include "monitor/monitor.h"
#include "plat/plat.h"
#include "vm/bus.h"
#include "vm/dev.h"
#include "vm/irq.h"
#include "vm/memmap.h"
#include "vm/vcpu.h"
#include "x86/kind.h"

#define VM_MAX_VCPUS 32

struct x86_model;

enum vm_end {
	VM_RUNNING,
	VM_POWEROFF, /* the guest asked for it */
	VM_CRASHED,  /* triple fault, or a panic device */
	VM_STOPPED,  /* the operator stopped it */
	VM_FAILED,   /* the host or the engine failed */
	VM_EXITED,   /* debug-exit port; status in exit_code */
};

/* Local APICs: the models only, or an engine's that has its own (engine_ops.attach); or I/O APIC and PIC, too */
enum vm_chips { CHIPS_OURS, CHIPS_MAY_LEND, CHIPS_MUST_LEND, CHIPS_LEND_ALL };

/* Doorbells (struct bus_bells): engines that can may have them heard by a thread of theirs, while the vCPU goes on. AUTO:
 * those that take long */
enum vm_bells { BELLS_AUTO, BELLS_ON, BELLS_OFF };

struct block;

struct vm {
	char name[64];
	const struct engine_ops *engine;
	void *engine_data;
	bool engine_ready; /* vm_init has been called */
	int kvm_fd;        /* /dev/kvm, opened while files may be; the owner's. 0 or -1: none */
	const struct x86_model *model;
	struct x86_kind kind;
	bool may_lack;  /* an engine that it comes to need not have all of its kind; once */
	uint8_t maxphy; /* of its processors; a restored one keeps it */
	struct plat_loop *loop;
	struct monitor mon;

	struct plat_ram ram;
	struct memmap mem;
	struct bus pio, mmio;
	struct irq_router irq;
	struct apics apics;
	struct irq_lines lines;
	bool steal_time;   /* the engine writes what a guest has by MSR 4B564D03H of KVM's */
	bool engine_waits; /* HLT and the wait for a SIPI are the engine's too: run() blocks */
	enum vm_chips chips;
	enum vm_bells bells;
	_Atomic uint64_t bells_heard; /* by the engine's thread */
	_Atomic uint32_t lifted;  /* cards whose queues the host's kernel runs: it notes no pages */
	_Atomic bool dirty_noted; /* mem_dirty_start(): so none may be lifted */
	bool dirty_rings;         /* engines tell written pages by rings, where they have any */
	bool may_be_late;         /* writes for which that is so (struct bus_late) */
	_Atomic uint64_t late_writes; /* … that were */
	struct dev *devs;

	unsigned n_vcpus;
	struct vcpu *vcpu[VM_MAX_VCPUS];
	uint64_t tsc_hz;      /* of the guest's TSC */
	uint64_t tsc_wanted;  /* vm_config.tsc_hz */
	uint64_t tsc_host_hz; /* of the host's, where they are not the same: */
	struct tsc_scale tsc;
	_Atomic uint32_t cpu_percent; /* that each vCPU may run; 0: no limit */
	struct plat_timer quota;      /* makes vCPUs look at it */
	_Atomic int64_t time_offset;  /* ns that the guest's calendar is ahead of the host's */
	_Atomic uint32_t time_rate;   /* … and its rate since time_base, percent; 0: the host's */
	_Atomic uint64_t time_base;

	struct plat_mutex lock;    /* RANK_VM: paused, pause_reason, end, exit_code, reset */
	struct plat_event ended;   /* end != VM_RUNNING */
	struct plat_event resumed; /* vCPUs that are paused wait on it */
	struct plat_event parked;  /* set whenever one more vCPU has parked */
	_Atomic uint32_t n_parked;
	enum vm_end end;
	int exit_code;
	unsigned paused; /* number of holders of a pause */
	char pause_reason[128];
	bool reset_wanted;
	bool asleep; /* suspended to RAM, which holds a pause; vm_wake() */
	bool waking; /* the reset ends a sleep: RAM and what is powered with it keep what they have */
	struct irq_line ferr; /* FERR# of all processors; the board's */
	uint16_t
		ferr_port; /* and the port that gives IGNNE#: looks at the x87 registers of who writes */
	_Atomic bool a20_masked; /* what vCPUs take over at REQ_A20 */
	unsigned crashed_vcpu;   /* with VM_CRASHED: who */

	struct debug *debug;               /* NULL: nobody can attach a debugger */
	const struct debug_set *debug_set; /* NULL: no breakpoints, no watchpoints */

	/* power button; the board's. NULL: none. */
	void (*power_button)(struct vm *vm);
	/* Puts block (NULL: nothing) into floppy drive i, or into the CD drive that is disk i, of the
	 * board's configuration; the old one is no longer used then. force: though the guest has locked
	 * the door. ERR_BUSY: it has; ERR_TIMEOUT: it does not end a transfer. Not from a vCPU's or the
	 * loop's thread. The board's; NULL: it has no drives. */
	int (*change_medium)(struct vm *vm, bool floppy, unsigned i, struct block *block,
			     bool force);
};

struct vm_config {
	const char *name;
	const struct engine_ops *engine;
	const struct x86_model *model;
	const struct x86_kind *kind; /* of a saved state; NULL: the model's on this host */
	unsigned cpus;               /* 1 … VM_MAX_VCPUS */
	uint64_t memory;             /* bytes, multiple of 1 MiB */
	gpa_t low_end; /* RAM below 4 GiB ends here at most; the rest starts at 4 GiB */
	/* The first MiB as on a PC: no RAM from A0000H to BFFFFH, where a screen may be; pages from
	 * there to 1 MiB may be protected. */
	bool pc_low;
	bool reserved_pages; /* its RAM is in large pages that the host has reserved */
	enum vm_chips chips;
	enum vm_bells bells;
	bool dirty_rings;
	bool at_once;    /* no write comes late, though the engine can (struct bus_late) */
	uint64_t tsc_hz; /* that the guest's TSC should have: a saved state's; 0: the host's */
};

/* What the guest's TSC makes of a count of the host's, but for the vCPU's tsc_offset. */
static inline uint64_t vm_tsc(const struct vm *vm, uint64_t ticks)
{
	return tsc_scaled(vm->tsc, ticks);
}

static inline uint64_t vm_ticks(const struct vm *vm)
{
	return vm_tsc(vm, vcpu_ticks());
}

int vm_create(const struct vm_config *cfg, struct vm **out) attr_must_check;
/* For engines: the guest's TSC goes at hz, where the host's goes at host, by a ratio of so many bits behind the point
 * (up to TSC_FRACTION). If it is scaled already it goes on from what it has counted. False: they are the same as far as
 * anybody can tell, or out of reach; nothing has changed. No vCPU runs. */
bool vm_set_tsc_rate(struct vm *vm, uint64_t hz, uint64_t host, unsigned fraction);
/* All vCPUs must have ended. */
void vm_destroy(struct vm *vm);
void vm_add_dev(struct vm *vm, struct dev *dev, const struct dev_class *cls);

/* The wire A20M# of all vCPUs, as sink of an irq_line: level: address bit 20 passes. Without effect where
 * the engine has no such pin. */
void vm_a20(void *vm, unsigned n, bool level);

int vm_start(struct vm *vm) attr_must_check; /* starts the vCPU threads */
/* From any thread, a device's too: ends the VM; the first reason stays. */
void vm_stop(struct vm *vm, enum vm_end end, int exit_code);
enum vm_end vm_wait(struct vm *vm);   /* until ended; joins the vCPU threads */
void vm_request_reset(struct vm *vm); /* from any thread: all devices and vCPUs, soon */
/* Suspended to RAM: vCPUs stop until vm_wake(), which resets them and the devices, vm->waking set, or until any other
 * reset. Any thread. */
void vm_sleep(struct vm *vm);
void vm_wake(struct vm *vm); /* nothing where it does not sleep */
bool vm_is_asleep(struct vm *vm);
/* Pauses nest. vm_pause() does not wait; vm_pause_sync() waits until all vCPUs are parked (not from
 * a vCPU thread). reason: for people, copied. */
void vm_pause(struct vm *vm, const char *reason);
void vm_pause_sync(struct vm *vm, const char *reason);
/* Waits until all vCPUs are parked, somebody having paused them, or the VM has ended. */
void vm_wait_parked(struct vm *vm);
void vm_resume(struct vm *vm);

/* How much of its time each vCPU may run, 1 to 100 percent. Any thread. */
/* The guest's calendar: ns ahead of the host's, and how fast it goes from now on, percent. */
void vm_set_calendar(struct vm *vm, int64_t offset, unsigned rate);
void vm_set_cpu_limit(struct vm *vm, unsigned percent);
/* The time of day that the guest shall see: ns since 1970. */
uint64_t vm_realtime(const struct vm *vm);

#endif
