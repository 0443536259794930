/* SPDX-License-Identifier: ISC */
/* lapic_lend.c: a local APIC's state as registers, for engines that have one of their own (KVM in the host's
 * kernel), and from them (SDM vol. 3, table 11-1).
 *
 * While it is lent the model has the pins, and what lapic_look() has last seen, which is what is saved. Its timer
 * does not run. Entered with the vCPU not running. */
#include "dev/irq/lapic_impl.h"

static void map_out(uint32_t *reg, const uint64_t map[4])
{
	for (unsigned i = 0; i < 8; i++)
		reg[i] = (uint32_t)(map[i / 2] >> (i % 2 * 32));
}

static void map_in(uint64_t map[4], const uint32_t *reg)
{
	for (unsigned i = 0; i < 4; i++)
		map[i] = reg[2 * i] | (uint64_t)reg[2 * i + 1] << 32;
}

static void regs_out(struct lapic *l, struct apic_regs *r)
{
	uint64_t irr[4];

	for (unsigned i = 0; i < 4; i++)
		irr[i] = l->irr[i];
	*r = (struct apic_regs){.base = l->base, .tsc_deadline = l->tsc_deadline};
	r->reg[REG_ID] = l->id << 24; /* as in xAPIC mode, always */
	r->reg[REG_TPR] = l->tpr;
	r->reg[REG_LDR] = l->ldr;
	r->reg[REG_DFR] = l->dfr;
	r->reg[REG_SVR] = l->svr;
	map_out(&r->reg[REG_ISR], l->isr);
	map_out(&r->reg[REG_TMR], l->tmr);
	map_out(&r->reg[REG_IRR], irr);
	r->reg[REG_ESR] = l->esr;
	r->reg[REG_ICR] = (uint32_t)l->icr;
	r->reg[REG_ICR_HIGH] = (uint32_t)(l->icr >> 32);
	for (unsigned i = 0; i < LVT_COUNT; i++)
		r->reg[REG_LVT + i] = l->lvt[i];
	r->reg[REG_INIT_COUNT] = l->init_count;
	r->reg[REG_COUNT] = lapic_timer_count(l);
	r->reg[REG_DIVIDE] = l->divide;
}

static void regs_in(struct lapic *l, const struct apic_regs *r)
{
	uint64_t irr[4];

	map_in(irr, &r->reg[REG_IRR]);
	for (unsigned i = 0; i < 4; i++)
		atomic_store(&l->irr[i], irr[i]);
	map_in(l->isr, &r->reg[REG_ISR]);
	map_in(l->tmr, &r->reg[REG_TMR]);
	atomic_store(&l->base,
		     (r->base & (BASE_ADDR | BASE_EXTD | BASE_EN)) | (l->id ? 0 : BASE_BSP));
	atomic_store(&l->svr, r->reg[REG_SVR]);
	atomic_store(&l->ldr, r->reg[REG_LDR]);
	atomic_store(&l->dfr, r->reg[REG_DFR]);
	l->tpr = r->reg[REG_TPR] & 0xff;
	l->esr = r->reg[REG_ESR];
	l->icr = r->reg[REG_ICR] | (uint64_t)r->reg[REG_ICR_HIGH] << 32;
	for (unsigned i = 0; i < LVT_COUNT; i++)
		l->lvt[i] = r->reg[REG_LVT + i];
	l->init_count = r->reg[REG_INIT_COUNT];
	l->divide = r->reg[REG_DIVIDE] & 0xb;
	l->tsc_deadline = r->tsc_deadline;
	lapic_timer_set(l, r->reg[REG_COUNT]);
}

void lapic_lend(void *chip, struct apic_regs *out)
{
	struct lapic *l = chip;

	plat_mutex_lock(&l->lock);
	regs_out(l, out);
	l->lent = true;
	l->changed = false;
	lapic_timer_update(l);
	lapic_unlock(l);
}

bool lapic_changed(void *chip)
{
	struct lapic *l = chip;

	return l->lent && l->changed; /* set and cleared while the vCPU stands still */
}

void lapic_look(void *chip, const struct apic_regs *regs)
{
	struct lapic *l = chip;

	plat_mutex_lock(&l->lock);
	if (!l->changed)
		regs_in(l, regs);
	lapic_unlock(l);
}

void lapic_back(void *chip, const struct apic_regs *regs)
{
	struct lapic *l = chip;

	plat_mutex_lock(&l->lock);
	l->lent = false;
	if (l->changed)
		lapic_timer_update(l);
	else
		regs_in(l, regs);
	lapic_unlock(l);
}
