/* SPDX-License-Identifier: ISC */
/* vcpu_ops.h: the engine interface. An engine executes guest code; everything else is above it. */
#ifndef VM_VCPU_OPS_H
#define VM_VCPU_OPS_H

#include "base/def.h"
#include "base/err.h"
#include "x86/debug.h"
#include "x86/state.h"

struct vm;
struct vcpu;

enum exit_kind {
	EXIT_NONE,     /* kicked: look at the requests */
	EXIT_HLT,      /* state.activity is ACT_HLT */
	EXIT_SHUTDOWN, /* triple fault */
	EXIT_PIO,      /* engines that cannot call the bus themselves (kvm, hw) */
	EXIT_MMIO,
	EXIT_ERROR, /* the engine failed: err */
	EXIT_DEBUG, /* something for the debugger: hit */
	EXIT_KINDS,
};

struct vcpu_exit {
	enum exit_kind kind;
	int err;
	struct debug_hit hit;
	struct {
		bool write;
		uint8_t size;
		uint32_t count;
		uint64_t addr; /* port or gpa */
		void *data;    /* count × size bytes, in place */
	} io;
};

struct engine_probe {
	bool usable;
	uint64_t ips;        /* guest instructions a second, measured */
	const char *verdict; /* "executes", "emulates", "absent", "no permission" … */
	const char *advice;  /* what the user can do, or NULL */
};

/* What vCPUs write to is noted in the map of memory (PGF_DIRTY): from START on, what was written since the last time
 * by each TAKE, until STOP. */
enum dirty_op { DIRTY_START, DIRTY_TAKE, DIRTY_STOP };

struct engine_ops {
	const char *name;
	bool large_ram; /* has no use for RAM that can be mapped twice: RAM_LARGE */
	bool pins;      /* takes SMI and A20M#: REQ_SMI, REQ_A20 */
	uint8_t scales; /* the guest's TSC may have any rate, a ratio with so many bits of fraction: vm->tsc */
	bool any_writer;                        /* need not hear of what others write to RAM */
	int (*probe)(struct engine_probe *out); /* runs a small guest */
	int (*vm_init)(struct vm *vm);          /* sets vm->engine_data */
	void (*vm_fini)(struct vm *vm);
	/* All vCPUs stand still, the machine is complete: the engine takes the local APICs where it has its
	 * own and vm->chips lets it, and gives them back. NULL: not needed. */
	int (*attach)(struct vm *vm);
	void (*detach)(struct vm *vm);
	/* All vCPUs stand still or have ended: what the engine has on its way to devices arrives now, and nothing more
	 * until one runs again. NULL: it has nothing. */
	void (*settle)(struct vm *vm);
	/* The host's kernel makes this MSI of each signal of fd, an eventfd, from now on, or no longer. ERR_NOSYS: local APICs
	 * are not its. Locks up to RANK_DEVICE held. NULL: never. */
	int (*irq_fd)(struct vm *vm, int fd, bool on, uint64_t addr, uint32_t data);
	/* Any time, one thread. NULL: it cannot say. */
	int (*dirty)(struct vm *vm, enum dirty_op op);
	int (*vcpu_init)(struct vcpu *vcpu); /* sets vcpu->engine_data, vcpu->state */
	void (*vcpu_fini)(struct vcpu *vcpu);
	/* Runs guest code until an exit. On the vCPU's own thread. The engine itself takes
	 * interrupts from vcpu->intc when they can be delivered. Returns soon after kick(). */
	void (*run)(struct vcpu *vcpu, struct vcpu_exit *exit);
	void (*kick)(struct vcpu *vcpu); /* from any thread: makes run() return or recheck irqs */
	/* Bring vcpu->state up to date / take over a changed one; vCPU not running. */
	int (*get_state)(struct vcpu *vcpu);
	int (*set_state)(struct vcpu *vcpu);
	/* RAM at [gpa, gpa+len) that holds translated code was written behind the engine's back. */
	void (*memory_changed)(struct vm *vm, gpa_t gpa, uint64_t len);
	/* All RAM holds something else, in other memory at the same addresses; all vCPUs are parked.
	 * NULL: not needed. */
	void (*memory_replaced)(struct vm *vm);
	/* These pages have PGF_RO now, so that no vCPU may write to them directly any more, or have
	 * lost it. Any thread, a vCPU's own in the middle of an instruction too. NULL: not needed. */
	void (*memory_protected)(struct vm *vm, gpa_t gpa, uint64_t len);
	/* The vCPU has had next to nothing to do for a while, and waits: memory that only makes it faster
	 * may go. On its own thread. NULL: there is none. */
	void (*idle)(struct vcpu *vcpu);
	/* vm->debug_set has changed, all vCPUs are parked: breaks have come, watches have changed.
	 * vcpu->debug says how each runs next. NULL: this engine cannot be debugged. */
	void (*debug_changed)(struct vm *vm, bool breaks, bool watches);
	/* Could it do with this set? NULL: with any. */
	bool (*debug_can)(struct vm *vm, const struct debug_set *set);
};

extern const struct engine_ops engine_soft;

#endif
