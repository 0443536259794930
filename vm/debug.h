/* SPDX-License-Identifier: ISC */
/* debug.h: a debugger's hold on a VM: breakpoints and watchpoints that the guest does not see, stops
 * of all vCPUs, and looks at memory without side effects.
 *
 * One thread, the debugger's, calls; not a vCPU's. What says "stopped" wants all vCPUs stopped by
 * debug_stop(). With nothing set a VM runs as if there were no debugger. */
#ifndef VM_DEBUG_H
#define VM_DEBUG_H

#include "base/def.h"
#include "base/err.h"
#include "x86/debug.h"
#include "x86/state.h"

struct cpu;
struct vm;
struct vcpu;
struct debug;

/* The numbers are those of gdb's Z packets. */
enum debug_kind {
	DEBUG_SOFT_BREAK,
	DEBUG_HARD_BREAK, /* no difference to us, but a debugger is told which of the two it was */
	DEBUG_WATCH_WRITE,
	DEBUG_WATCH_READ,
	DEBUG_WATCH_BOTH,
	DEBUG_KINDS,
};

enum debug_why {
	DEBUG_NOTHING,
	DEBUG_POINT,   /* kind and addr say which */
	DEBUG_STEPPED, /* what debug_resume() had asked for */
	DEBUG_CRASHED, /* a triple fault: going on ends the VM */
};

struct debug_stop {
	enum debug_why why;
	enum debug_kind kind;
	gva_t addr;
};

/* stopped: from a vCPU's thread, there is something for debug_take(); must not block. */
int debug_create(struct vm *vm, void (*stopped)(void *arg), void *arg,
		 struct debug **out) attr_must_check;
void debug_destroy(struct debug *d); /* after the vCPUs have ended */

/* A debugger is there: crashes stop the VM instead of ending it. */
void debug_attach(struct debug *d);
/* All points go, and the guest goes on. */
void debug_detach(struct debug *d);

/* Stops all vCPUs soon, or keeps them from starting. */
void debug_hold(struct debug *d);
/* Stops all vCPUs and waits for it. False: the VM has ended. */
bool debug_stop(struct debug *d);
bool debug_is_stopped(const struct debug *d);
/* Takes one of the reasons for a stop. False: there is none (any more). */
bool debug_take(struct debug *d, unsigned *vcpu, struct debug_stop *out);

/* What a vCPU does when the others go on */
struct debug_action {
	enum { DEBUG_HOLD, DEBUG_GO, DEBUG_GO_STEP } what;
	bool no_irq;    /* steps do not take interrupts */
	gva_t from, to; /* step on while RIP is in [from, to) */
};
/* One action a vCPU. Stopped. False: nothing runs, as there is a reason to be taken. */
bool debug_resume(struct debug *d, const struct debug_action *action);

/* Sets or removes a point; both are fine when that has been done already. ERR_NOMEM: too many; ERR_INVAL:
 * a length of 0, or over the end. Stopped. */
int debug_point(struct debug *d, bool set, enum debug_kind kind, gva_t addr,
		uint64_t len) attr_must_check;
void debug_points_clear(struct debug *d);

/* The vCPU's present state in a processor that only debuggers use: registers may be written there, with
 * all checks and without the guest's noticing. Good until the next call. NULL: the engine has failed.
 * Stopped, as the rest. */
struct cpu *debug_load(struct debug *d, unsigned vcpu);
/* What debug_load() gave becomes the vCPU's state. */
int debug_store(struct debug *d) attr_must_check;

/* Where a linear address leads under the vCPU's page tables; ERR_NOENT: nowhere. */
int debug_translate(struct debug *d, unsigned vcpu, gva_t gva, gpa_t *gpa) attr_must_check;
/* RAM and ROM alone are looked at: devices would notice. phys: addr is physical. Give how many bytes were
 * done from the start. */
size_t debug_read(struct debug *d, unsigned vcpu, uint64_t addr, void *buf, size_t len, bool phys);
size_t debug_write(struct debug *d, unsigned vcpu, uint64_t addr, const void *buf, size_t len,
		   bool phys);

/* ---- from the vCPUs' threads ---- */

void debug_hit(struct debug *d, struct vcpu *vcpu, const struct debug_hit *hit);
/* False: nobody is interested. */
bool debug_crashed(struct debug *d, struct vcpu *vcpu);

#endif
