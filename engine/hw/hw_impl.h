/* SPDX-License-Identifier: ISC */
/* hw_impl.h: what the engines for bare metal share, and what each kind of processor adds to it. */
#ifndef ENGINE_HW_HW_IMPL_H
#define ENGINE_HW_HW_IMPL_H

#include "engine/hw/hw.h"
#include "engine/hw/npt.h"
#include "vm/vm.h"
#include "x86/cpu.h"

#define MSR_EFER    0xc0000080u
#define MSR_TSC_AUX 0xc0000103u

/* An event for the guest: AMD's format (APM vol. 2, 15.20), whose lower half is Intel's too (SDM vol. 3,
 * 25.8.3). */
#define EV_INTR  (UINT64_C(0) << 8)
#define EV_NMI   (UINT64_C(2) << 8)
#define EV_EXC   (UINT64_C(3) << 8)
#define EV_SOFT  (UINT64_C(4) << 8) /* INT n */
#define EV_TYPE  (UINT64_C(7) << 8)
#define EV_ERROR BIT64(11) /* bits 63:32 are an error code */
#define EV_VALID BIT64(31)

/* Why a guest has left. */
enum hw_why {
	WHY_INSN,    /* an instruction, which the interpreter does again from its start */
	WHY_NOTHING, /* of its own: the host's interrupt, or the guest can be interrupted now */
	WHY_IO,      /* IN or OUT */
	WHY_CPUID,   /* where its length is known */
	WHY_MEMORY,  /* the nested tables do not allow it */
	WHY_TASK,    /* a task switch */
	WHY_EXC,     /* an exception that is watched */
	WHY_PAUSE,   /* it spins */
	WHY_EOI,     /* it has ended an interrupt that is to be told */
	WHY_SHUTDOWN,
	WHY_INVALID, /* our bug, or the processor's; has been said */
	WHY_COUNT,
};

struct hw_exit {
	enum hw_why why;
	uint8_t vector; /* WHY_EXC, WHY_EOI */
	/* WHY_IO */
	uint16_t port;
	uint8_t size, cpl;
	bool in, string;
	uint8_t tpr; /* what the guest has left of it */
};

struct hw_vm {
	const struct hw_backend *hw;
	struct vm *vm;
	struct plat_mutex lock; /* RANK_ENGINE: npt, slots */
	struct npt npt;
	unsigned slots;           /* of the memory map that are in npt */
	_Atomic uint32_t npt_gen; /* raised when rights are taken away */
	uint8_t *iopm, *msrpm;
	uint64_t xcr0; /* the host's: components that are switched; 0: FXSAVE */
	uint32_t tags; /* ASIDs, VPIDs: the backend's vm_init() says how many there are */
};

/* Where a vCPU's state is. General registers but RSP are always in cpu.s. */
enum hw_where { IN_STATE, IN_HW };

/* What is to be forgotten before the guest is entered */
#define HW_FLUSH_LINEAR BIT(0) /* translations of the guest's own tables */
#define HW_FLUSH_NESTED BIT(1) /* these too, and of the nested tables, whosever */

struct hw_vcpu {
	struct cpu cpu; /* first */
	struct vcpu *vcpu;
	struct hw_vm *hv;
	const struct hw_backend *hw;
	enum hw_where where;
	uint64_t rflags; /* as of the last entry or exit, */
	uint8_t shadow;  /* and SHADOW_*: interrupts are held off */
	bool fpu_live;   /* the guest's FP registers are in the processor */
	bool xcr0_live;  /* and its XCR0 */
	bool ready;      /* its thread has been here */
	unsigned flush;
	uint32_t npt_gen;
	uint32_t tag;      /* ASID, VPID: its own on the CPU where it runs */
	uint32_t pending;  /* debug traps that MOV SS holds off in the guest */
	uint64_t reinject; /* an event whose delivery an exit has interrupted; 0: none */
	uint64_t virq;     /* an acknowledged interrupt that the guest has not taken yet; 0: none */
	uint8_t tpr;       /* the local APIC's, as the guest was entered with it */
	bool delivers;     /* the processor delivers the local APIC's interrupts by itself */
	_Atomic bool in_guest;
	_Atomic uint64_t entries, flushes, began;
};

/* What SVM and VMX do each in its way. Sizes are those of structs that begin with hw_vm, hw_vcpu. */
struct hw_backend {
	const struct engine_ops *engine;
	size_t vm_size, vcpu_size;
	size_t iopm_size, msrpm_size;
	uint64_t npt_leaf; /* see npt_init() */
	/* Why this processor does not do for it; NULL: it does. */
	const char *(*missing)(void);
	int (*cpu_start)(void);
	void (*vm_init)(struct hw_vm *hv); /* bitmaps are there, all ones */
	int (*vcpu_init)(struct hw_vcpu *v);
	void (*vcpu_start)(
		struct hw_vcpu *v); /* on its thread, the first time; NULL: nothing to do */
	void (*vcpu_fini)(struct hw_vcpu *v);
	/* State to and from the processor's form; sets where, rflags, shadow, pending. */
	void (*push)(struct hw_vcpu *v);
	void (*pull)(struct hw_vcpu *v);
	/* The local APIC's interrupts and priority go to the processor, and back; NULL, or false: it does not do that,
	 * or not now. */
	bool (*give)(struct hw_vcpu *v);
	void (*take)(struct hw_vcpu *v);
	/* An exit is wanted as soon as the guest can take an interrupt or an NMI, and when CR8 goes below
	 * tpr. False: that cannot be had while virq waits; the interpreter is to deliver it. Only where give is NULL. */
	bool (*window)(struct hw_vcpu *v, bool irq, bool nmi);
	/* Enters the guest, with reinject or virq; hw_begin() and hw_end() around it. Takes from the
	 * exit why, reinject, rflags, shadow. False: a request came before. */
	bool (*enter)(struct hw_vcpu *v, struct hw_exit *x);
	void (*skip)(struct hw_vcpu *v); /* WHY_IO, WHY_CPUID: the instruction is done */
};
extern const struct hw_backend hw_svm, hw_vmx;

static inline struct hw_vcpu *hw_of(struct cpu *cpu)
{
	return cpu->owner;
}

static inline uint64_t rdmsr(uint32_t index)
{
	uint32_t lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(index));
	return (uint64_t)hi << 32 | lo;
}

static inline void wrmsr(uint32_t index, uint64_t v)
{
	__asm__ volatile("wrmsr"
			 :
			 : "c"(index), "a"((uint32_t)v), "d"((uint32_t)(v >> 32))
			 : "memory");
}

/* hw.c */
struct plat_cpuid hw_leaf(uint32_t n); /* zeros beyond the last one */
/* Interrupts are out: nobody else runs on this CPU until the guest has. False: a request came; else FP
 * and debug registers and XCR0 are the guest's, flush is complete. */
bool hw_begin(struct hw_vcpu *v, bool *moved); /* moved: another guest has been here */
void hw_end(struct hw_vcpu *v);

/* hw_fpu.c */
void hw_fpu_load(struct hw_vcpu *v);
void hw_fpu_park(struct hw_vcpu *v);

/* hw_ops.c */
extern const struct cpu_ops hw_cpu_ops;
/* Leaves the features of the model that guests can really have here. */
void hw_limit_features(struct cpu *cpu);

/* hw_exit.c: true: go on; false: exit says why not. */
bool hw_handle(struct hw_vcpu *v, const struct hw_exit *x, struct vcpu_exit *exit);
/* Deliver by the interpreter what has been noted for delivery by the processor: reinject; virq, if the
 * guest can be interrupted. */
bool hw_deliver(struct hw_vcpu *v, struct vcpu_exit *exit);
/* One instruction or event by the interpreter instead of the processor; false: as hw_handle(). */
bool hw_interpret(struct hw_vcpu *v, struct vcpu_exit *exit);
bool hw_deliver_virq(struct hw_vcpu *v, struct vcpu_exit *exit);

#endif
