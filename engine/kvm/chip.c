/* SPDX-License-Identifier: ISC */
/* chip.c: local APICs in the host's kernel (KVM_CAP_SPLIT_IRQCHIP), I/O APIC and PIC here, or there, too (lines.c).
 *
 * An EOI, an IPI, a timer that is set, a HLT then do not leave the kernel. The models in dev/irq are lent for that
 * time: they keep the pins, and take over what the kernel has when a state is read. Devices' messages go to
 * KVM_SIGNAL_MSI: one system call on the thread that has the interrupt, as an eventfd would be. Which vectors
 * the I/O APIC must hear the end of KVM learns from its routing table, in which each level-triggered pin is a message.
 *
 * Attached and detached while all vCPUs stand still; messages come from any thread. */
#include "engine/kvm/kvm.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#define REG_LVT_TIMER  0x32
#define TIMER_DEADLINE (2u << 17)

static const enum kvm_has needed[] = {HAS_SPLIT_CHIPS, HAS_SIGNAL_MSI, HAS_IRQ_ROUTING,
				      HAS_DEADLINE_TIMER, HAS_MP_STATE};

/* The first one that is not there; NULL: none. */
static const char *lacks(const struct kvm_vm *kv, bool all)
{
	for (unsigned i = 0; i < ARRAY_SIZE(needed); i++)
		if (!kvm_has(kv, needed[i]) && !(all && needed[i] == HAS_SPLIT_CHIPS))
			return kvm_caps[needed[i]].name;
	return all && !kvm_has(kv, HAS_ALL_CHIPS) ? kvm_caps[HAS_ALL_CHIPS].name : NULL;
}

int kvm_chips_init(const struct vm *vm, struct kvm_vm *kv)
{
	struct kvm_enable_cap cap = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {GSI_COUNT}};
	bool all = vm->chips == CHIPS_LEND_ALL;
	const char *why = lacks(kv, all);

	kv->routes = plat_alloc(sizeof(*kv->routes));
	if (!kv->routes)
		return err_here(ERR_NOMEM);
	if (!why && (all ? kvm_lines_init(kv) : ioctl(kv->fd, KVM_ENABLE_CAP, &cap)))
		why = strerror(errno);
	kv->split = !why;
	kv->full = !why && all;
	if (!why || vm->chips == CHIPS_MAY_LEND)
		return 0;
	plat_log(LOG_ERROR, "kvm: %s cannot be in this kernel: %s",
		 all ? "local APICs, I/O APIC and PIC" : "local APICs", why);
	return err_here(ERR_NOSYS);
}

/* ---- registers ------------------------------------------------------------------------------------ */

static int push(struct kvm_vcpu *v, const struct apic_regs *r)
{
	struct kvm_lapic_state k = {{0}};

	for (unsigned i = 0; i < ARRAY_SIZE(r->reg); i++)
		memcpy(k.regs + 16 * i, &r->reg[i], sizeof(r->reg[i]));
	kvm_msr_set(v, MSR_APIC_BASE, r->base);
	if (ioctl(v->fd, KVM_SET_LAPIC, &k))
		return kvm_host_err("KVM_SET_LAPIC");
	if ((r->reg[REG_LVT_TIMER] & 3u << 17) == TIMER_DEADLINE)
		kvm_msr_set(v, MSR_TSC_DEADLINE, r->tsc_deadline);
	return 0;
}

static int pull(struct kvm_vcpu *v, struct apic_regs *r)
{
	struct kvm_lapic_state k;

	*r = (struct apic_regs){0};
	if (ioctl(v->fd, KVM_GET_LAPIC, &k))
		return kvm_host_err("KVM_GET_LAPIC");
	for (unsigned i = 0; i < ARRAY_SIZE(r->reg); i++)
		memcpy(&r->reg[i], k.regs + 16 * i, sizeof(r->reg[i]));
	if (!kvm_msr_get(v, MSR_APIC_BASE, &r->base) ||
	    !kvm_msr_get(v, MSR_TSC_DEADLINE, &r->tsc_deadline))
		return kvm_host_err("MSRs of a local APIC");
	return 0;
}

int kvm_chip_set(struct kvm_vcpu *v)
{
	const struct intc_ops *intc = v->vcpu->intc;
	struct apic_regs r;

	if (!v->kv->lent || !intc->changed(v->vcpu->intc_chip))
		return 0;
	intc->lend(v->vcpu->intc_chip, &r);
	return push(v, &r);
}

int kvm_chip_get(struct kvm_vcpu *v)
{
	struct apic_regs r;
	int err = v->kv->lent ? pull(v, &r) : 0;

	if (v->kv->lent && !err)
		v->vcpu->intc->look(v->vcpu->intc_chip, &r);
	/* what all vCPUs have together, once */
	return err || v->vcpu->index ? err : kvm_lines_get(v->vcpu->vm);
}

/* ---- what a processor waits for ------------------------------------------------------------------- */

static const uint32_t mp_states[] = {
	[ACT_RUN] = KVM_MP_STATE_RUNNABLE,
	[ACT_HLT] = KVM_MP_STATE_HALTED,
	[ACT_WAIT_SIPI] = KVM_MP_STATE_INIT_RECEIVED,
};

int kvm_activity_set(struct kvm_vcpu *v)
{
	struct kvm_mp_state mp = {mp_states[v->cpu.s.activity]};

	return v->kv->split && ioctl(v->fd, KVM_SET_MP_STATE, &mp);
}

int kvm_activity_get(struct kvm_vcpu *v)
{
	struct kvm_mp_state mp;

	if (!v->kv->lent)
		return 0;
	if (ioctl(v->fd, KVM_GET_MP_STATE, &mp))
		return kvm_host_err("KVM_GET_MP_STATE");
	v->cpu.s.activity = ACT_RUN;
	if (mp.mp_state == KVM_MP_STATE_HALTED)
		v->cpu.s.activity = ACT_HLT;
	else if (mp.mp_state == KVM_MP_STATE_INIT_RECEIVED ||
		 mp.mp_state == KVM_MP_STATE_UNINITIALIZED)
		v->cpu.s.activity = ACT_WAIT_SIPI;
	return 0;
}

/* ---- messages --------------------------------------------------------------------------------------- */

static bool chips_send(struct vm *vm, uint64_t addr, uint32_t data)
{
	const struct kvm_vm *kv = vm->engine_data;
	struct kvm_msi msi = {.address_lo = (uint32_t)addr, .data = data};

	return ioctl(kv->fd, KVM_SIGNAL_MSI, &msi) > 0;
}

static void message(union kvm_routes *t, unsigned gsi, uint64_t addr, uint32_t data)
{
	struct kvm_irq_routing_entry *e = &t->head.entries[t->head.nr++];

	*e = (struct kvm_irq_routing_entry){.gsi = gsi, .type = KVM_IRQ_ROUTING_MSI};
	e->u.msi.address_lo = (uint32_t)addr;
	e->u.msi.data = data;
}

/* The kernel waits for all readers of the old table, which takes milliseconds: most writes to an I/O APIC only mask
 * a pin, and change nothing here. route_lock held. */
static int routes_update(struct vm *vm, struct kvm_vm *kv)
{
	union kvm_routes t = {.room = {0}};
	uint64_t addr;
	uint32_t data;

	if (kv->full)
		kvm_lines_route(&t);
	for (unsigned pin = 0; pin < GSI_COUNT && !kv->full && vm->irq.level_msg; pin++)
		if (vm->irq.level_msg(vm->irq.ioapic.chip, pin, &addr, &data))
			message(&t, pin, addr, data);
	for (unsigned i = 0; i < KVM_IRQ_FDS; i++)
		if (kv->irq_fd[i].fd >= 0)
			message(&t, GSI_COUNT + i, kv->irq_fd[i].addr, kv->irq_fd[i].data);
	if (!memcmp(&t, kv->routes, sizeof(t)))
		return 0;
	*kv->routes = t;
	return ioctl(kv->fd, KVM_SET_GSI_ROUTING, kv->routes) ? kvm_host_err("KVM_SET_GSI_ROUTING")
							      : 0;
}

static void chips_routes(struct vm *vm)
{
	struct kvm_vm *kv = vm->engine_data;
	int err;

	plat_mutex_lock(&kv->route_lock);
	err = routes_update(vm, kv);
	plat_mutex_unlock(&kv->route_lock);
	if (err)
		vm_stop(vm, VM_FAILED, 0);
}

/* The place of fd among those that there are, or where a new one may be. */
static struct kvm_irq_fd *irq_fd_find(struct kvm_vm *kv, int fd)
{
	struct kvm_irq_fd *room = NULL;

	for (unsigned i = 0; i < KVM_IRQ_FDS; i++) {
		if (kv->irq_fd[i].fd == fd)
			return &kv->irq_fd[i];
		if (!room && kv->irq_fd[i].fd < 0)
			room = &kv->irq_fd[i];
	}
	return room;
}

/* Each has a GSI of its own, whose only route is the message. */
static int irq_fd_tell(const struct kvm_vm *kv, const struct kvm_irq_fd *f, bool on)
{
	struct kvm_irqfd k = {.fd = (uint32_t)f->fd,
			      .gsi = GSI_COUNT + (uint32_t)(f - kv->irq_fd),
			      .flags = on ? 0 : KVM_IRQFD_FLAG_DEASSIGN};

	return ioctl(kv->fd, KVM_IRQFD, &k) ? kvm_host_err("KVM_IRQFD") : 0;
}

int kvm_irq_fd(struct vm *vm, int fd, bool on, uint64_t addr, uint32_t data)
{
	struct kvm_vm *kv = vm->engine_data;
	struct kvm_irq_fd *f;
	int err = 0;

	if (!kv->lent || !kvm_has(kv, HAS_IRQFD))
		return ERR_NOSYS;
	if (on && (mon_rules(&vm->mon, MON_IRQ) ||
		   atomic_load_explicit(&vm->mon.full_mask, memory_order_relaxed) & BIT(MON_IRQ)))
		return ERR_NOSYS; /* who wants to see each */
	plat_mutex_lock(&kv->route_lock);
	f = irq_fd_find(kv, fd);
	if (!f) {
		err = err_here(ERR_RANGE);
	} else if (on) {
		*f = (struct kvm_irq_fd){fd, addr, data};
		err = routes_update(vm, kv);
		if (!err)
			err = irq_fd_tell(kv, f, true);
	} else {
		err = irq_fd_tell(kv, f, false);
	}
	if (f && (err || !on))
		f->fd = -1;
	plat_mutex_unlock(&kv->route_lock);
	return err;
}

static void lines_routes(struct vm *vm)
{
	if (kvm_lines_set(vm))
		vm_stop(vm, VM_FAILED, 0);
}

static const struct apics_ops chips = {.send = chips_send, .routes = chips_routes};
static const struct apics_ops all_chips = {.send = chips_send, .routes = lines_routes};

/* ---- theirs and ours -------------------------------------------------------------------------------- */

static int take(struct kvm_vcpu *v)
{
	const struct intc_ops *intc = v->vcpu->intc;
	struct apic_regs r;
	int err = kvm_set_state(v->vcpu);

	if (err)
		return err;
	intc->lend(v->vcpu->intc_chip, &r);
	return push(v, &r);
}

static bool lendable(const struct vm *vm)
{
	for (unsigned i = 0; i < vm->n_vcpus; i++)
		if (!vm->vcpu[i]->intc || !vm->vcpu[i]->intc->lend)
			return false;
	return true;
}

int kvm_attach(struct vm *vm)
{
	struct kvm_vm *kv = vm->engine_data;
	int err = 0;

	if (!kv->split)
		return 0;
	if (!lendable(vm))
		return err_here(ERR_NOSYS);
	apics_close(&vm->apics);
	for (unsigned i = 0; i < vm->n_vcpus && !err; i++)
		err = take(vm->vcpu[i]->engine_data);
	kv->lent = vm->engine_waits = true;
	apics_open(&vm->apics, kv->full ? &all_chips : &chips);
	if (!err)
		err = kvm_lines_attach(vm);
	if (err)
		kvm_detach(vm);
	else if (!kv->full)
		chips_routes(vm);
	return err;
}

void kvm_detach(struct vm *vm)
{
	struct kvm_vm *kv = vm->engine_data;
	struct apic_regs r;

	if (!kv->lent)
		return;
	kvm_lines_detach(vm);
	apics_close(&vm->apics);
	kv->lent = vm->engine_waits = false;
	for (unsigned i = 0; i < vm->n_vcpus; i++) {
		struct vcpu *vcpu = vm->vcpu[i];

		if (pull(vcpu->engine_data, &r))
			vm_stop(vm, VM_FAILED, 0);
		else
			vcpu->intc->back(vcpu->intc_chip, &r);
	}
	apics_open(&vm->apics, NULL);
}
