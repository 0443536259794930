/* SPDX-License-Identifier: ISC */
/* vcpu.h: a virtual CPU, its thread and its requests. */
#ifndef VM_VCPU_H
#define VM_VCPU_H

#include "base/def.h"
#include "plat/plat.h"
#include "vm/debug.h"
#include "vm/idle.h"
#include "vm/irq.h"
#include "vm/ring.h"
#include "vm/vcpu_ops.h"
#include "x86/state.h"

/* Requests, from any thread; vcpu_request() sets them and makes the vCPU look. */
#define REQ_IRQ    BIT(0) /* the interrupt controller may have something to deliver */
#define REQ_NMI    BIT(1)
#define REQ_INIT   BIT(2)
#define REQ_SIPI   BIT(3) /* vector in vcpu->sipi_vector */
#define REQ_PAUSE  BIT(4)
#define REQ_STOP   BIT(5)
#define REQ_SMI    BIT(7)
#define REQ_A20    BIT(8) /* vm->a20_masked has changed */
#define REQ_SHARE  BIT(9) /* leave the guest: its share may be used up (vm_set_cpu_limit()) */
#define REQ_ENGINE BIT(6) /* engine's own: TLB shoot-down, code cache */

struct vcpu {
	struct vm *vm;
	unsigned index;          /* = initial APIC id */
	struct x86_state *state; /* lives in engine memory; current when run() has returned */
	void *engine_data;
	struct cpu *cpu; /* around state; NULL: the engine has none */
	/* Scratch code memory of its interpreter, whatever the engine: a move to another one in the
	 * sandbox gets no more. vcpu_cpu_init() makes it. */
	struct plat_code native;

	_Atomic uint32_t requests;
	_Atomic uint8_t sipi_vector;
	struct plat_event wake;   /* a halted vCPU waits on it */
	_Atomic bool halted;      /* waits, or is about to */
	_Atomic bool is_parked;   /* nobody kicks it */
	_Atomic uint32_t kicking; /* threads within the engine's kick() */
	struct plat_thread *thread;

	/* interrupt controller, set by the board before the vCPU starts */
	const struct intc_ops *intc;
	void *intc_chip;

	/* Paravirtual and other machine-specific MSRs and CPUID leaves, set by the board; NULL:
	 * none. Same contracts as in struct cpu_ops. */
	int (*msr_read)(struct vcpu *vcpu, uint32_t index, uint64_t *value);
	int (*msr_write)(struct vcpu *vcpu, uint32_t index, uint64_t value);
	void (*cpuid)(struct vcpu *vcpu, uint32_t leaf, uint32_t sub, uint32_t r[4]);

	/* The debugger's; written while the vCPU is parked, stop by its own thread. */
	struct {
		_Atomic bool held; /* stays parked while others run */
		enum debug_step step;
		gva_t skip;     /* no breakpoint here at first, or DEBUG_NO_SKIP */
		gva_t from, to; /* step on while RIP is in [from, to) */
		struct debug_stop stop;
	} debug;

	/* with vm->cpu_percent, by its own thread: the present period, and what it has run in it */
	uint64_t period, busy;
	struct idle idle;
	struct ring_clock ring;
	unsigned
		mode; /* that the history has last, enum mon_mode, + 1; 0: none. By its own thread */

	_Atomic uint64_t exits[EXIT_KINDS]; /* statistics */
};

void vcpu_request(struct vcpu *vcpu, uint32_t req);
/* Of a parked one: from here on nobody is within its engine's kick(), or comes there. */
void vcpu_kicks_end(struct vcpu *vcpu);
/* An SMI; any thread. Lost where the engine has no SMM. */
void vcpu_smi(struct vcpu *vcpu);
/* For the loop and for engines, on the vCPU's own thread: REQ_NMI is taken. */
static inline void vcpu_nmi_comes(struct vcpu *vcpu)
{
	vcpu->state->nmi_pending = true;
	vcpu->state->init_nmi = vcpu->state->init_pending;
}

static inline bool vcpu_requested(struct vcpu *vcpu, uint32_t req)
{
	return atomic_load_explicit(&vcpu->requests, memory_order_acquire) & req;
}

/* A vCPU's MSRs and CPUID leaves as struct vcpu has them, for those that come before others: gives who was there, to
 * be asked about what is not one's own. Before the vCPU starts. */
struct vcpu_hooks {
	int (*msr_read)(struct vcpu *vcpu, uint32_t index, uint64_t *value);
	int (*msr_write)(struct vcpu *vcpu, uint32_t index, uint64_t value);
	void (*cpuid)(struct vcpu *vcpu, uint32_t leaf, uint32_t sub, uint32_t r[4]);
};
static inline struct vcpu_hooks vcpu_hook(struct vcpu *vcpu, const struct vcpu_hooks *hooks)
{
	struct vcpu_hooks was = {vcpu->msr_read, vcpu->msr_write, vcpu->cpuid};

	vcpu->msr_read = hooks->msr_read;
	vcpu->msr_write = hooks->msr_write;
	vcpu->cpuid = hooks->cpuid;
	return was;
}

/* The host's TSC */
static inline uint64_t vcpu_ticks(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (uint64_t)hi << 32 | lo;
}

/* The clock stands while the vCPU waits. */
static inline void vcpu_ring_stop(struct vcpu *vcpu)
{
	ring_close(&vcpu->ring, vcpu_ticks());
}

static inline void vcpu_ring_go(struct vcpu *vcpu)
{
	vcpu->ring.since = vcpu_ticks();
}

/* For engines: it runs at ring 3 now, or elsewhere. */
static inline void vcpu_ring_set(struct vcpu *vcpu, bool user)
{
	if (!ring_pass(&vcpu->ring, user))
		ring_change(&vcpu->ring, user, vcpu_ticks());
}

/* Nobody wants to know. */
static inline void vcpu_ring_off(struct vcpu *vcpu)
{
	if (unlikely(vcpu->ring.since))
		vcpu->ring = (struct ring_clock){.scale = vcpu->ring.scale};
}

/* Gives the ns since the last call, and begins anew. */
void vcpu_ring_take(struct vcpu *vcpu, uint64_t *kernel, uint64_t *user);

#endif
