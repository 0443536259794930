/* SPDX-License-Identifier: ISC */
/* lapic_impl.h: what the files of the local APIC share: lapic.c (acceptance, priorities), lapic_give.c,
 * lapic_regs.c (registers, MSRs, IPIs), lapic_timer.c. */
#ifndef DEV_IRQ_LAPIC_IMPL_H
#define DEV_IRQ_LAPIC_IMPL_H

#include "dev/irq/lapic.h"
#include "vm/dev.h"
#include "vm/vm.h"

/* IA32_APIC_BASE */
#define BASE_BSP  BIT64(8)
#define BASE_EXTD BIT64(10) /* x2APIC */
#define BASE_EN   BIT64(11)
#define BASE_ADDR (UINT64_C(0xfffffffffffff) & ~PAGE_MASK)

/* Register numbers: bits 4-11 of the address in the page, bits 0-7 of the MSR's index */
enum {
	REG_ID = 0x02,
	REG_VERSION = 0x03,
	REG_TPR = 0x08,
	REG_APR = 0x09,
	REG_PPR = 0x0a,
	REG_EOI = 0x0b,
	REG_RRD = 0x0c,
	REG_LDR = 0x0d,
	REG_DFR = 0x0e,
	REG_SVR = 0x0f,
	REG_ISR = 0x10,
	REG_TMR = 0x18,
	REG_IRR = 0x20,
	REG_ESR = 0x28,
	REG_CMCI = 0x2f,
	REG_ICR = 0x30,
	REG_ICR_HIGH = 0x31,
	REG_LVT = 0x32, /* in the order of enum lapic_lvt */
	REG_INIT_COUNT = 0x38,
	REG_COUNT = 0x39,
	REG_DIVIDE = 0x3e,
	REG_SELF_IPI = 0x3f,
};

enum lapic_lvt { LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVT_COUNT };
#define LVT_STATUS     BIT(12)
#define LVT_RIRR       BIT(14)
#define LVT_LEVEL      BIT(15)
#define LVT_MASKED     BIT(16)
#define LVT_TMODE      (3u << 17)
#define TMODE_ONESHOT  (0u << 17)
#define TMODE_PERIODIC (1u << 17)
#define TMODE_TSC      (2u << 17)

#define SVR_ENABLE   BIT(8)
#define SVR_NO_BCAST BIT(12) /* EOI stays here */

#define ESR_SEND_VECTOR BIT(5)
#define ESR_RECV_VECTOR BIT(6)
#define ESR_REGISTER    BIT(7)

#define PEND_NONE   (-1)
#define PEND_EXTINT 256 /* the PIC has the vector */

struct lapic {
	struct dev dev;
	struct lapic_wiring w;
	struct vcpu *vcpu;
	uint32_t id;
	struct apic_page page; /* mapped where the guest moved it, not at LAPIC_BASE */

	struct plat_mutex lock; /* RANK_LAPIC: writes to all below */
	/* also read without it */
	_Atomic uint64_t base; /* IA32_APIC_BASE */
	_Atomic uint32_t svr, ldr, dfr;
	_Atomic uint32_t ppr;
	_Atomic int pend; /* vector to deliver now, PEND_* */
	_Atomic uint64_t irr[4];
	_Atomic uint64_t timer_wait; /* host time of an expiry that interrupts, or PLAT_FOREVER */

	uint64_t isr[4], tmr[4];
	uint64_t auto_eoi
		[4]; /* vectors that do not go into ISR; not saved: its owner says it again */

	uint32_t tpr;
	uint32_t esr, errors; /* visible; noted since the last write */
	uint64_t icr;
	uint32_t lvt[LVT_COUNT];
	bool lint[2]; /* levels of the pins */
	bool lent;    /* an engine has it: only the pins and what is saved are kept here */
	bool changed; /* … and is to take it again */
	/* IRR, ISR and TPR are in this page, the processor's: irr has what has come since. NULL: all is here */
	uint32_t *given;
	struct apic_given is_given; /* of what is there */
	bool extint;                /* an ExtINT message waits for its INTA */

	uint32_t init_count, divide; /* registers */
	uint64_t tsc_deadline;       /* 0: not armed */
	bool timer_armed;
	uint64_t timer_next; /* expiry, ns */
	uint64_t ns_per_tsc; /* 32.32 fixed point */
	struct plat_timer timer;
};

static inline bool lapic_hw_enabled(struct lapic *l)
{
	return atomic_load_explicit(&l->base, memory_order_relaxed) & BASE_EN;
}

static inline bool lapic_x2(struct lapic *l)
{
	return atomic_load_explicit(&l->base, memory_order_relaxed) & BASE_EXTD;
}

/* lapic.c; with the lock held */
/* Recomputes what is deliverable, unlocks, and tells the vCPU if there is something new. */
void lapic_unlock(struct lapic *l);
/* Delivers through a local vector table entry. */
void lapic_local(struct lapic *l, enum lapic_lvt which);
void lapic_error(struct lapic *l, uint32_t bit);
/* Registers as after power-on, but for IA32_APIC_BASE. */
void lapic_clear(struct lapic *l);
/* A level-triggered pin may have to interrupt again. */
void lapic_lint_again(struct lapic *l, unsigned n);

/* The highest bit that is set, -1: none. */
int lapic_highest(const uint64_t map[4]);
/* What is deliverable, for pend */
int lapic_deliverable(struct lapic *l);

/* End of interrupt; takes the lock by itself. */
void lapic_eoi(struct lapic *l);
/* What it brings beside ISR; the lock is held, and let go. */
void lapic_ended_unlock(struct lapic *l, uint8_t vector);

/* lapic_give.c: as in struct intc_ops */
const struct apic_given *lapic_give(void *chip, uint32_t *page);
void lapic_take(void *chip);
void lapic_ended(void *chip, uint8_t vector);
/* IRR in the page */
bool lapic_given_waits(struct lapic *l, uint8_t vector);

/* lapic_lend.c: as in struct intc_ops */
void lapic_lend(void *chip, struct apic_regs *out);
bool lapic_changed(void *chip);
void lapic_look(void *chip, const struct apic_regs *regs);
void lapic_back(void *chip, const struct apic_regs *regs);

/* lapic_regs.c */
extern const struct bus_region lapic_region;
/* Maps pages where IA32_APIC_BASE has them. No lock held. */
void lapic_page_move(struct lapic *l);
int lapic_msr_read(void *chip, uint32_t index, uint64_t *value);
int lapic_msr_write(void *chip, uint32_t index, uint64_t value);

/* lapic_timer.c; with the lock held unless they say otherwise */
void lapic_timer_init(struct lapic *l);
void lapic_timer_clear(struct lapic *l);
/* Expires what is due, and arms the host's timer again. */
void lapic_timer_update(struct lapic *l);
void lapic_timer_lvt(struct lapic *l, uint32_t value); /* LVT timer written */
void lapic_timer_start(struct lapic *l, uint32_t count);
void lapic_timer_divide(struct lapic *l, uint32_t value);
uint32_t lapic_timer_count(struct lapic *l);
void lapic_timer_set(struct lapic *l, uint32_t left); /* the rest of a count; registers are there */
void lapic_timer_deadline(struct lapic *l, uint64_t tsc);
void lapic_timer_expire(void *l); /* takes the lock */

#endif
