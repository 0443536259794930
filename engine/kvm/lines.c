/* SPDX-License-Identifier: ISC */
/* lines.c: I/O APIC and PIC in the host's kernel, too (KVM_CREATE_IRQCHIP; api.rst, struct kvm_irqchip), where they are asked
 * for: --kvm-irqchip full. The PIT stays here, and is a line like others.
 *
 * The models are lent as local APICs are (chip.c). gsi_set() tells both of levels; which chips a GSI goes to there is
 * KVM's routing table, wired as vm/irq.c is. A guest that sets them up or ends an interrupt leaves the kernel no more, so
 * that history and rules do not see it.
 *
 * Attached and detached while all vCPUs stand still; levels come from any thread. */
#include "engine/kvm/kvm.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#define RTE_LEVEL  BIT64(15)
#define RTE_MASKED BIT64(16)

static unsigned pin_of(unsigned gsi)
{
	return gsi == 0 ? 2 : gsi;
}

static void route(union kvm_routes *t, unsigned gsi, uint32_t chip, uint32_t pin)
{
	struct kvm_irq_routing_entry *e = &t->head.entries[t->head.nr++];

	*e = (struct kvm_irq_routing_entry){.gsi = gsi, .type = KVM_IRQ_ROUTING_IRQCHIP};
	e->u.irqchip.irqchip = chip;
	e->u.irqchip.pin = pin;
}

void kvm_lines_route(union kvm_routes *t)
{
	for (unsigned gsi = 0; gsi < GSI_COUNT; gsi++) {
		if (gsi < 16 && gsi != 2) /* the cascade */
			route(t, gsi, gsi < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE,
			      gsi & 7);
		route(t, gsi, KVM_IRQCHIP_IOAPIC, pin_of(gsi));
	}
}

int kvm_lines_init(struct kvm_vm *kv)
{
	kvm_lines_route(kv->routes);
	return ioctl(kv->fd, KVM_CREATE_IRQCHIP, 0)
		       ? -1
		       : ioctl(kv->fd, KVM_SET_GSI_ROUTING, kv->routes);
}

/* ---- registers ------------------------------------------------------------------------------------ */

static void pic_out(struct kvm_pic_state *k, const struct pic_regs *r)
{
	*k = (struct kvm_pic_state){
		.last_irr = r->pins,
		.irr = r->irr,
		.imr = r->imr,
		.isr = r->isr,
		.priority_add = (r->lowest + 1) & 7,
		.irq_base = r->base,
		.read_reg_select = r->read_isr,
		.poll = r->poll,
		.special_mask = r->smm,
		.init_state = r->icw ? (uint8_t)(r->icw - 1) : 0,
		.auto_eoi = r->aeoi,
		.rotate_on_auto_eoi = r->rotate_aeoi,
		.special_fully_nested_mode = r->sfnm,
		.init4 = r->need_icw4,
		.elcr = r->elcr,
	};
}

static void pic_in(struct pic_regs *r, const struct kvm_pic_state *k)
{
	*r = (struct pic_regs){
		.irr = k->irr,
		.isr = k->isr,
		.imr = k->imr,
		.elcr = k->elcr,
		.base = k->irq_base,
		.lowest = (k->priority_add + 7) & 7,
		.icw = k->init_state ? (uint8_t)(k->init_state + 1) : 0,
		.need_icw4 = k->init4,
		.aeoi = k->auto_eoi,
		.rotate_aeoi = k->rotate_on_auto_eoi,
		.sfnm = k->special_fully_nested_mode,
		.smm = k->special_mask,
		.read_isr = k->read_reg_select,
		.poll = k->poll,
	};
}

static int chip_set(const struct kvm_vm *kv, struct kvm_irqchip *chip, uint32_t which)
{
	chip->chip_id = which;
	return ioctl(kv->fd, KVM_SET_IRQCHIP, chip) ? kvm_host_err("KVM_SET_IRQCHIP") : 0;
}

static int level(struct kvm_vm *kv, unsigned gsi, bool high)
{
	struct kvm_irq_level l = {.irq = gsi, .level = high};

	return ioctl(kv->fd, KVM_IRQ_LINE, &l) ? kvm_host_err("KVM_IRQ_LINE") : 0;
}

/* KVM takes a pin that is in irr for one that has just risen, and sends what an edge-triggered one has sent before: of
 * these it hears while all are masked. A masked one sends nothing, but must be there if it becomes level-triggered. */
static int ioapic_set(struct vm *vm, struct kvm_vm *kv, const struct line_chips *c)
{
	struct kvm_irqchip chip = {.chip = {{0}}};
	struct kvm_ioapic_state *k = &chip.chip.ioapic;
	int err;

	k->base_address = 0xfec00000;
	for (unsigned pin = 0; pin < GSI_COUNT; pin++)
		k->redirtbl[pin].bits = RTE_MASKED;
	err = chip_set(kv, &chip, KVM_IRQCHIP_IOAPIC);
	vm->lines.levels = 0;
	for (unsigned gsi = 0; gsi < GSI_COUNT && !err; gsi++) {
		bool high = c->levels >> pin_of(gsi) & 1;

		vm->lines.levels |= (uint32_t)high << gsi;
		err = level(kv, gsi, high);
	}
	k->ioregsel = c->select;
	k->id = c->ioapic_id;
	for (unsigned pin = 0; pin < GSI_COUNT; pin++) {
		k->redirtbl[pin].bits = c->rte[pin];
		if (c->rte[pin] & (RTE_LEVEL | RTE_MASKED))
			k->irr |= c->levels & BIT(pin);
	}
	return err ? err : chip_set(kv, &chip, KVM_IRQCHIP_IOAPIC);
}

/* lines.lock held. First the I/O APIC: levels change what its PIC has latched. */
static int push(struct vm *vm, struct kvm_vm *kv, const struct line_chips *c)
{
	struct kvm_irqchip chip = {.chip = {{0}}};
	int err = c->ioapic_new ? ioapic_set(vm, kv, c) : 0;

	for (unsigned i = 0; i < 2 && c->pic_new && !err; i++) {
		pic_out(&chip.chip.pic, &c->pic[i]);
		chip.chip.pic.elcr_mask = i ? 0xde : 0xf8;
		err = chip_set(kv, &chip, i ? KVM_IRQCHIP_PIC_SLAVE : KVM_IRQCHIP_PIC_MASTER);
	}
	return err;
}

static int pull(const struct kvm_vm *kv, struct line_chips *c)
{
	struct kvm_irqchip pic[2] = {{.chip_id = KVM_IRQCHIP_PIC_MASTER},
				     {.chip_id = KVM_IRQCHIP_PIC_SLAVE}};
	struct kvm_irqchip ioapic = {.chip_id = KVM_IRQCHIP_IOAPIC};
	const struct kvm_ioapic_state *k = &ioapic.chip.ioapic;

	*c = (struct line_chips){0};
	if (ioctl(kv->fd, KVM_GET_IRQCHIP, &pic[0]) || ioctl(kv->fd, KVM_GET_IRQCHIP, &pic[1]) ||
	    ioctl(kv->fd, KVM_GET_IRQCHIP, &ioapic))
		return kvm_host_err("KVM_GET_IRQCHIP");
	pic_in(&c->pic[0], &pic[0].chip.pic);
	pic_in(&c->pic[1], &pic[1].chip.pic);
	c->ioapic_id = (uint8_t)k->id;
	c->select = (uint8_t)k->ioregsel;
	for (unsigned pin = 0; pin < GSI_COUNT; pin++)
		c->rte[pin] = k->redirtbl[pin].bits;
	return 0;
}

/* ---- theirs and ours -------------------------------------------------------------------------------- */

static void line_set(struct vm *vm, unsigned gsi, bool high)
{
	(void)level(vm->engine_data, gsi, high);
}

int kvm_lines_set(struct vm *vm)
{
	struct kvm_vm *kv = vm->engine_data;
	struct line_chips c;
	int err;

	plat_mutex_lock(&vm->lines.lock);
	vm->irq.lines->lend(vm->irq.lines_chip, &c);
	err = push(vm, kv, &c);
	vm->lines.set = line_set;
	plat_mutex_unlock(&vm->lines.lock);
	return err;
}

int kvm_lines_attach(struct vm *vm)
{
	const struct kvm_vm *kv = vm->engine_data;

	if (!kv->full)
		return 0;
	return vm->irq.lines ? kvm_lines_set(vm) : err_here(ERR_NOSYS);
}

int kvm_lines_get(struct vm *vm)
{
	const struct kvm_vm *kv = vm->engine_data;
	struct line_chips c;
	int err;

	plat_mutex_lock(&vm->lines.lock);
	err = vm->lines.set ? pull(kv, &c) : 0;
	if (vm->lines.set && !err)
		vm->irq.lines->look(vm->irq.lines_chip, &c);
	plat_mutex_unlock(&vm->lines.lock);
	return err;
}

void kvm_lines_detach(struct vm *vm)
{
	const struct kvm_vm *kv = vm->engine_data;
	struct line_chips c;
	int err;

	if (!vm->lines.set)
		return;
	plat_mutex_lock(&vm->lines.lock);
	err = pull(kv, &c);
	if (!err)
		vm->irq.lines->back(vm->irq.lines_chip, &c);
	vm->lines.set = NULL;
	plat_mutex_unlock(&vm->lines.lock);
	if (err)
		vm_stop(vm, VM_FAILED, 0);
}
