/* SPDX-License-Identifier: ISC */
/* irq.c: routes global system interrupts and MSIs to the chips that a board installed. */
#include "vm/irq.h"

#include "vm/vm.h"

static void drive(struct irq_router *r, unsigned gsi, bool level)
{
	if (gsi < 16 && r->pic.set)
		r->pic.set(r->pic.chip, gsi, level);
	if (r->ioapic.set)
		r->ioapic.set(r->ioapic.chip, gsi == 0 ? 2 : gsi, level);
}

/* Both know the levels, and neither hears of one before its time. */
static void drive_lent(struct vm *vm, unsigned gsi, bool level)
{
	struct irq_lines *l = &vm->lines;

	plat_mutex_lock(&l->lock);
	drive(&vm->irq, gsi, level);
	if (l->set && (l->levels >> gsi & 1) != level) {
		l->levels ^= BIT(gsi);
		l->set(vm, gsi, level);
	}
	plat_mutex_unlock(&l->lock);
}

void gsi_set(struct vm *vm, unsigned gsi, bool level)
{
	const struct mon_event ev = {
		.cls = MON_IRQ, .op = IRQ_LINE, .size = 4, .vcpu = -1, .addr = gsi};

	if (gsi >= GSI_COUNT)
		return;
	if (level)
		mon_tell(&vm->mon, &ev);
	if (unlikely(vm->lines.may_lend))
		drive_lent(vm, gsi, level);
	else
		drive(&vm->irq, gsi, level);
}

static void gsi_line_set(void *sink, unsigned n, bool level)
{
	gsi_set(sink, n, level);
}

struct irq_line gsi_line(struct vm *vm, unsigned gsi)
{
	return (struct irq_line){gsi_line_set, vm, gsi};
}

const struct apics_ops *apics_enter(struct apics *a)
{
	for (;;) {
		atomic_fetch_add(&a->senders, 1);
		if (likely(!atomic_load(&a->closed)))
			return atomic_load(&a->ops);
		atomic_fetch_sub(&a->senders, 1);
		plat_yield();
	}
}

void apics_leave(struct apics *a)
{
	atomic_fetch_sub(&a->senders, 1);
}

void apics_close(struct apics *a)
{
	atomic_store(&a->closed, true);
	while (atomic_load(&a->senders))
		plat_yield();
}

void apics_open(struct apics *a, const struct apics_ops *ops)
{
	atomic_store(&a->ops, ops);
	atomic_store(&a->closed, false);
}

void msi_send(struct vm *vm, uint64_t addr, uint32_t data)
{
	struct mon_event ev = {
		.cls = MON_IRQ, .op = IRQ_MSI, .size = 4, .vcpu = -1, .addr = addr, .value = data};

	mon_tell(&vm->mon, &ev);
	if (vm->irq.msi)
		vm->irq.msi(vm->irq.msi_chip, addr, data);
}
