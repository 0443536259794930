/* SPDX-License-Identifier: ISC */
/* chip.c: local APICs in the host's kernel (KVM_CAP_SPLIT_IRQCHIP), I/O APIC and PIC here, as they always are.
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

int kvm_chips_init(const struct vm *vm, struct kvm_vm *kv)
{
	struct kvm_enable_cap cap = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {GSI_COUNT}};
	const char *lacks = NULL;

	kv->routes = plat_alloc(sizeof(*kv->routes));
	if (!kv->routes)
		return err_here(ERR_NOMEM);
	for (unsigned i = 0; i < ARRAY_SIZE(needed) && !lacks; i++)
		if (!kvm_has(kv, needed[i]))
			lacks = kvm_caps[needed[i]].name;
	if (!lacks && ioctl(kv->fd, KVM_ENABLE_CAP, &cap))
		lacks = strerror(errno);
	kv->split = !lacks;
	if (!lacks || vm->chips == CHIPS_MAY_LEND)
		return 0;
	plat_log(LOG_ERROR, "kvm: local APICs cannot be in this kernel: %s", lacks);
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
	return err;
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

/* The kernel waits for all readers of the old table, which takes milliseconds: most writes to an I/O APIC only mask
 * a pin, and change nothing here. */
static void chips_routes(struct vm *vm)
{
	struct kvm_vm *kv = vm->engine_data;
	union kvm_routes t = {.room = {0}};

	plat_mutex_lock(&kv->route_lock);
	for (unsigned pin = 0; pin < GSI_COUNT && vm->irq.level_msg; pin++) {
		struct kvm_irq_routing_entry *e = &t.head.entries[t.head.nr];
		uint64_t addr;
		uint32_t data;

		if (!vm->irq.level_msg(vm->irq.ioapic.chip, pin, &addr, &data))
			continue;
		*e = (struct kvm_irq_routing_entry){.gsi = pin, .type = KVM_IRQ_ROUTING_MSI};
		e->u.msi.address_lo = (uint32_t)addr;
		e->u.msi.data = data;
		t.head.nr++;
	}
	if (memcmp(&t, kv->routes, sizeof(t))) {
		*kv->routes = t;
		if (ioctl(kv->fd, KVM_SET_GSI_ROUTING, kv->routes)) {
			(void)kvm_host_err("KVM_SET_GSI_ROUTING");
			vm_stop(vm, VM_FAILED, 0);
		}
	}
	plat_mutex_unlock(&kv->route_lock);
}

static const struct apics_ops chips = {.send = chips_send, .routes = chips_routes};

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
	apics_open(&vm->apics, &chips);
	if (err)
		kvm_detach(vm);
	else
		chips_routes(vm);
	return err;
}

void kvm_detach(struct vm *vm)
{
	struct kvm_vm *kv = vm->engine_data;
	struct apic_regs r;

	if (!kv->lent)
		return;
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
