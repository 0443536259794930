/* SPDX-License-Identifier: ISC */
/* irq.h: interrupt wires, global system interrupts and message-signalled interrupts. */
#ifndef VM_IRQ_H
#define VM_IRQ_H

#include "base/def.h"
#include "plat/plat.h"

struct vm;
struct vcpu;

/* A wire that a device drives. Zeroed: not connected. */
struct irq_line {
	void (*set)(void *sink, unsigned n, bool level);
	void *sink;
	unsigned n;
};

static inline void irq_set(const struct irq_line *line, bool level)
{
	if (line->set)
		line->set(line->sink, line->n, level);
}

static inline void irq_pulse(const struct irq_line *line)
{
	irq_set(line, true);
	irq_set(line, false);
}

/* Global system interrupts: GSI n drives I/O APIC pin n and, below 16, the PIC. GSI 0 (the PIT) is
 * wired to I/O APIC pin 2, as on a PC. Boards install the sinks. */
#define GSI_COUNT 24

/* ---- I/O APIC and PIC that are an engine's (KVM's, in the host's kernel) ---- */

/* One 8259A. */
struct pic_regs {
	uint8_t irr, isr, imr, elcr;
	uint8_t pins;   /* levels; the cascade's is not among them */
	uint8_t base;   /* ICW2 */
	uint8_t lowest; /* level with the lowest priority */
	uint8_t icw;    /* the one that is expected next, 2 to 4; 0: none */
	bool need_icw4, aeoi, rotate_aeoi, sfnm, smm, read_isr, poll;
};

/* All that global system interrupts go to. */
struct line_chips {
	bool pic_new, ioapic_new; /* from lend(): the engine is to take it */
	struct pic_regs pic[2];
	uint8_t ioapic_id, select;
	uint32_t levels;         /* of the I/O APIC's pins */
	uint64_t rte[GSI_COUNT]; /* as registers, with remote IRR */
};

/* With irq_lines.lock held. */
struct lines_ops {
	/* From now on the engine has them, and the models only keep the levels of their pins, what was last looked at,
	 * and what a reset or a saved state makes of them: then lend() is to be called again. */
	void (*lend)(void *chip, struct line_chips *out);
	/* As they are at the engine; levels are the models'. */
	void (*look)(void *chip, const struct line_chips *in);
	void (*back)(void *chip, const struct line_chips *in);
};

struct irq_lines {
	bool may_lend;          /* the engine may have them; as the VM was created */
	struct plat_mutex lock; /* RANK_LINE: all below, and the order of levels */
	uint32_t levels;        /* of GSIs, as the engine knows them */
	void (*set)(struct vm *vm, unsigned gsi, bool level); /* NULL: the models have them */
};

struct irq_sink {
	void (*set)(void *chip, unsigned pin, bool level);
	void *chip;
};
struct irq_router {
	struct irq_sink pic, ioapic;
	/* Delivers an MSI to the local APICs; installed by dev/irq. */
	void (*msi)(void *chip, uint64_t addr, uint32_t data);
	void *msi_chip;
	/* The local APICs that are an engine's say that a level-triggered vector is done. */
	void (*eoi)(void *chip, uint8_t vector);
	void *eoi_chip;
	/* The message of an I/O APIC's pin, masked or not; false: the pin is edge-triggered or has none. */
	bool (*level_msg)(void *chip, unsigned pin, uint64_t *addr, uint32_t *data);
	const struct lines_ops *lines;
	void *lines_chip;
};
void gsi_set(struct vm *vm, unsigned gsi, bool level);
struct irq_line gsi_line(struct vm *vm, unsigned gsi);
void msi_send(struct vm *vm, uint64_t addr, uint32_t data);

/* ---- local APICs that are an engine's (KVM's, in the host's kernel) ---- */

/* One, as its registers are seen in memory (SDM vol. 3, table 11-1). */
struct apic_regs {
	uint64_t base;         /* IA32_APIC_BASE */
	uint64_t tsc_deadline; /* 0: not armed */
	uint32_t reg[64];      /* by address >> 4; 39H: what is left of the timer's count now */
};

struct apics_ops {
	/* An MSI. false: nobody took it. Any thread, perhaps with locks up to RANK_IRQ held. */
	bool (*send)(struct vm *vm, uint64_t addr, uint32_t data);
	/* Messages of the I/O APIC's pins have changed; or it or the PIC was reset or loaded. No locks held. */
	void (*routes)(struct vm *vm);
};

/* Who has the VM's local APICs. Messages go through it, and wait while that changes. */
struct apics {
	const struct apics_ops *_Atomic ops; /* NULL: they are the models */
	_Atomic uint32_t senders;
	_Atomic bool closed;
};
/* Before a message is sent, and after; between them nobody else gets the local APICs. */
const struct apics_ops *apics_enter(struct apics *a);
void apics_leave(struct apics *a);
/* For the engine: no message is on its way, and none starts until they are opened. */
void apics_close(struct apics *a);
void apics_open(struct apics *a, const struct apics_ops *ops);

/* Of what a processor that delivers by itself has been given: the highest vectors in IRR and ISR, 0: none; and those
 * whose end of interrupt it is to tell. */
struct apic_given {
	uint8_t rvi, svi;
	uint64_t tell[4];
};

/* What an engine asks of a vCPU's interrupt controller; filled by dev/irq/lapic. */
struct intc_ops {
	/* Vector that would be delivered now, or -1. Any thread. */
	int (*pending)(void *chip);
	/* Takes it (ISR set, or PIC INTA cycle); -1 if it has gone meanwhile. Own thread. */
	int (*ack)(void *chip);
	uint8_t (*tpr)(void *chip); /* the whole register; own thread */
	uint8_t (*cr8_read)(void *chip);
	void (*cr8_write)(void *chip, uint8_t cr8);
	/* IA32_APIC_BASE, TSC_DEADLINE, x2APIC 800H…8FFH. 0 or ERR_NOENT (#GP). */
	int (*msr_read)(void *chip, uint32_t index, uint64_t *value);
	int (*msr_write)(void *chip, uint32_t index, uint64_t value);
	void (*reset)(void *chip, bool init); /* init: INIT, not power-on */
	/* When the chip's own timer expires (ns, plat_now()'s clock; PLAT_FOREVER: not armed), and
	 * the expiry itself: a vCPU that halts calls them instead of waiting for the loop. */
	uint64_t (*deadline)(void *chip);
	void (*expire)(void *chip);
	/* For engines that have local APICs of their own; vCPU not running. lend(): from now on the engine
	 * has it; the model only keeps what is to be seen in a saved state, and says when it was changed
	 * (reset, load): the engine is to take it again. look(): as it is at the engine. back(). NULL:
	 * cannot be lent. */
	void (*lend)(void *chip, struct apic_regs *out);
	bool (*changed)(void *chip);
	void (*look)(void *chip, const struct apic_regs *regs);
	void (*back)(void *chip, const struct apic_regs *regs);
	/* For engines whose processor delivers fixed interrupts by itself (SDM vol. 3, 30.2: virtual-interrupt
	 * delivery), around each stay in the guest; own thread. give(): IRR, ISR and TPR go to page, in the places that
	 * they have in an APIC's. What comes until take() waits here, each a request to the vCPU, and ack() has only
	 * what the PIC says. NULL: not now, it goes by pending() and ack(). ended(): after take(), of one to be told. */
	const struct apic_given *(*give)(void *chip, uint32_t *page);
	void (*take)(void *chip);
	void (*ended)(void *chip, uint8_t vector);
};

#endif
