/* SPDX-License-Identifier: ISC */
/* hw.c: guests on the processor itself, by AMD's SVM (svm.c) or Intel's VMX (vmx.c) with nested paging.
 * What both have in common; what differs is behind struct hw_backend. One stay in the guest:
 *
 *	state goes to the processor's form, an event or interrupt that can be delivered beside it;
 *	from here on no interrupt comes through; a request that came meanwhile: back;
 *	FP registers, debug registers, XCR0 and TSC_AUX become the guest's;
 *	the guest runs until something that is watched, or an interrupt of the host;
 *	XCR0 is the host's again, the host's interrupt is taken;
 *	hw_handle() looks why the guest left.
 *
 * Each vCPU has a tag in the TLB of the CPU where it runs; when none is left there, all begin anew
 * (plat_guest_claim()). FP registers stay the guest's while the hypervisor runs: it does not touch them,
 * and they are switched with the thread.
 *
 * run() and the state functions enter on the vCPU's own thread, kick() and memory_protected() from any. */
#include "base/str.h"
#include "engine/hw/hw_impl.h"
#include "vm/machine.h"
#include "x86/feature.h"
#include "x86/interp.h"

/* ---- the processor ------------------------------------------------------------------------- */

struct plat_cpuid hw_leaf(uint32_t n)
{
	struct plat_cpuid top, id = {0};

	plat_cpuid(n & BIT(31), 0, &top);
	if (top.eax >= n)
		plat_cpuid(n, 0, &id);
	return id;
}

static const struct hw_backend *backend(const char **why)
{
	const struct hw_backend *hw = NULL;

	if (hw_leaf(0x80000001).ecx & BIT(2))
		hw = &hw_svm;
	else if (hw_leaf(1).ecx & BIT(5))
		hw = &hw_vmx;
	*why = hw ? hw->missing() : "it has neither SVM (AMD) nor VMX (Intel)";
	return *why ? NULL : hw;
}

const struct engine_ops *hw_engine(const char **why)
{
	const struct hw_backend *hw = backend(why);

	return hw ? hw->engine : NULL;
}

int hw_cpu_start(void)
{
	const char *why;
	const struct hw_backend *hw = backend(&why);

	return hw ? hw->cpu_start() : err_here(ERR_NOSYS);
}

static int hw_probe(struct engine_probe *out)
{
	const char *why;
	bool there = backend(&why);

	*out = (struct engine_probe){
		.usable = there, .verdict = there ? "executes" : "absent", .advice = why};
	return 0;
}

/* ---- the VM's part --------------------------------------------------------------------------- */

static void hw_vm_fini(struct vm *vm)
{
	struct hw_vm *hv = vm->engine_data;

	if (!hv)
		return;
	npt_fini(&hv->npt);
	plat_pages_free(hv->iopm, hv->hw->iopm_size);
	plat_pages_free(hv->msrpm, hv->hw->msrpm_size);
	plat_free(hv);
	vm->engine_data = NULL;
}

static uint64_t host_xcr0(void)
{
	uint32_t lo, hi;

	if (!(hw_leaf(1).ecx & BIT(27)))
		return 0;
	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return (uint64_t)hi << 32 | lo;
}

/* All ones: everything leads to an exit. */
static int bitmap(size_t size, uint8_t **out)
{
	if (!size)
		return 0;
	*out = plat_pages_alloc(size);
	if (!*out)
		return err_here(ERR_NOMEM);
	memset(*out, 0xff, size);
	return 0;
}

static int hw_vm_init(struct vm *vm)
{
	const char *why;
	const struct hw_backend *hw = backend(&why);
	struct hw_vm *hv = hw ? plat_alloc(hw->vm_size) : NULL;
	uint8_t width = (uint8_t)hw_leaf(0x80000008).eax;

	if (!hv)
		return err_here(hw ? ERR_NOMEM : ERR_NOSYS);
	hv->hw = hw;
	hv->vm = vm;
	vm->engine_data = hv;
	plat_mutex_init(&hv->lock, RANK_ENGINE);
	hv->xcr0 = host_xcr0();
	/* Bits that the processor reserves in page tables cannot be the guest's. */
	vm->maxphy = MIN(vm->maxphy, width);
	if (npt_init(&hv->npt, hw->npt_leaf) || bitmap(hw->iopm_size, &hv->iopm) ||
	    bitmap(hw->msrpm_size, &hv->msrpm)) {
		hw_vm_fini(vm);
		return err_here(ERR_NOMEM);
	}
	hw->vm_init(hv);
	return 0;
}

/* Pages whose writes go to the bus. */
static int protect_pages(struct hw_vm *hv, const struct mem_slot *s, uint64_t from, uint64_t n)
{
	int err = 0;

	for (uint64_t p = from; p < from + n && !err; p++)
		if (atomic_load(&s->flags[p]) & PGF_RO)
			err = npt_protect(&hv->npt, s->gpa + (p << PAGE_SHIFT), PAGE_SIZE, false);
	return err;
}

/* What boards have added to the map since. vCPUs come here before they run. */
static int slots_sync(struct hw_vm *hv)
{
	struct memmap *m = &hv->vm->mem;
	int err = 0;

	plat_mutex_lock(&hv->lock);
	for (; hv->slots < m->n && !err; hv->slots++) {
		const struct mem_slot *s = &m->slot[hv->slots];

		err = npt_map(&hv->npt, s->gpa, plat_phys(s->hva), s->size, !s->rom);
		if (!err && s->protectable)
			err = protect_pages(hv, s, 0, s->size >> PAGE_SHIFT);
	}
	plat_mutex_unlock(&hv->lock);
	return err;
}

static void hw_kick(struct vcpu *vcpu)
{
	if (vcpu->thread)
		plat_thread_poke(vcpu->thread);
}

static void hw_memory_protected(struct vm *vm, gpa_t gpa, uint64_t len)
{
	struct hw_vm *hv = vm->engine_data;
	struct mem_slot *s = mem_slot(vm, gpa);
	int err;

	plat_mutex_lock(&hv->lock);
	err = hv->slots && s ? protect_pages(hv, s, (gpa - s->gpa) >> PAGE_SHIFT, len >> PAGE_SHIFT)
			     : 0;
	plat_mutex_unlock(&hv->lock);
	if (err) {
		plat_log(LOG_ERROR, "%s: no memory to protect pages with", vm->engine->name);
		vm_stop(vm, VM_FAILED, 0);
		return;
	}
	atomic_fetch_add(&hv->npt_gen, 1);
	for (unsigned i = 0; i < vm->n_vcpus; i++) {
		struct hw_vcpu *v = vm->vcpu[i]->engine_data;
		uint64_t entry = atomic_load(&v->entries);

		hw_kick(vm->vcpu[i]);
		/* until it has left; a later entry has seen npt_gen */
		while (atomic_load(&v->in_guest) && atomic_load(&v->entries) == entry)
			plat_yield();
	}
}

/* ---- the vCPU's part ---------------------------------------------------------------------------- */

static void hw_vcpu_fini(struct vcpu *vcpu)
{
	struct hw_vcpu *v = vcpu->engine_data;

	if (!v)
		return;
	v->hw->vcpu_fini(v);
	plat_pages_free(v, ALIGN_UP(v->hw->vcpu_size, (size_t)PAGE_SIZE));
	vcpu->engine_data = NULL;
}

static int hw_vcpu_init(struct vcpu *vcpu)
{
	struct hw_vm *hv = vcpu->vm->engine_data;
	struct hw_vcpu *v = plat_pages_alloc(ALIGN_UP(hv->hw->vcpu_size, (size_t)PAGE_SIZE));

	if (!v)
		return err_here(ERR_NOMEM);
	vcpu->engine_data = v;
	v->vcpu = vcpu;
	v->hv = hv;
	v->hw = hv->hw;
	if (vcpu_cpu_init(vcpu, &v->cpu, &hw_cpu_ops, v) || v->hw->vcpu_init(v)) {
		hw_vcpu_fini(vcpu);
		return err_here(ERR_NOMEM);
	}
	hw_limit_features(&v->cpu);
	return 0;
}

static int hw_get_state(struct vcpu *vcpu)
{
	return 0; /* cpu.s is it: see leave() */
}

static int hw_set_state(struct vcpu *vcpu)
{
	struct hw_vcpu *v = vcpu->engine_data;

	/* A state from elsewhere: the processor would refuse it. */
	if (!cpu_modes_ok(&v->cpu, v->cpu.s.cr0, v->cpu.s.cr4, v->cpu.s.efer))
		return err_here(ERR_NOSYS);
	v->where = IN_STATE;
	v->fpu_live = false;
	v->flush |= HW_FLUSH_LINEAR;
	cpu_state_changed(&v->cpu);
	return 0;
}

uint64_t hw_entries(const struct vcpu *vcpu)
{
	const struct hw_vcpu *v = vcpu->engine_data;

	return atomic_load(&v->entries);
}

uint64_t hw_flushes(const struct vcpu *vcpu)
{
	const struct hw_vcpu *v = vcpu->engine_data;

	return atomic_load(&v->flushes);
}

uint64_t hw_began(const struct vcpu *vcpu)
{
	const struct hw_vcpu *v = vcpu->engine_data;

	return atomic_load(&v->began);
}

/* ---- running ---------------------------------------------------------------------------------- */

static int pending_irq(const struct vcpu *vcpu)
{
	return vcpu->intc ? vcpu->intc->pending(vcpu->intc_chip) : -1;
}

/* What the guest is to be interrupted with now, or an exit as soon as that is possible. False: the
 * interpreter is to deliver it. */
static bool inject(struct hw_vcpu *v)
{
	struct x86_state *s = &v->cpu.s;
	struct vcpu *vcpu = v->vcpu;
	bool irq, nmi = false;

	if ((v->reinject & (EV_VALID | EV_TYPE)) == (EV_VALID | EV_INTR)) {
		v->virq = EV_VALID | (uint8_t)v->reinject;
		v->reinject = 0;
	}
	if (s->nmi_pending && !s->nmi_blocked) {
		nmi = v->shadow || v->reinject || v->virq;
		if (!nmi) {
			s->nmi_pending = false;
			s->nmi_blocked = true;
			v->reinject = EV_VALID | EV_NMI | VEC_NMI;
		}
	}
	irq = pending_irq(vcpu) >= 0;
	if (irq && !v->shadow && !v->reinject && !v->virq && v->rflags & FL_IF) {
		int vector = vcpu->intc->ack(vcpu->intc_chip);

		if (vector >= 0)
			v->virq = EV_VALID | (uint64_t)vector;
		irq = pending_irq(vcpu) >= 0;
	}
	return v->hw->window(v, irq, nmi);
}

/* Where the processor can, the guest reads and writes CR8, the TPR's upper half, without an exit. The local APIC
 * must never think that it is higher than it is: it would not tell of an interrupt. It may think that it is lower. So
 * only from 0, where most are, the guest goes down to by itself. A processor that delivers the local APIC's interrupts
 * has its priority, too, and what it makes of both comes back with them. */
static void apic_in(struct hw_vcpu *v)
{
	struct vcpu *vcpu = v->vcpu;

	if (v->hw->give)
		v->delivers = v->hw->give(v);
	v->tpr = vcpu->intc ? vcpu->intc->tpr(vcpu->intc_chip) : 0;
}

static void tpr_out(struct hw_vcpu *v, uint8_t tpr)
{
	struct vcpu *vcpu = v->vcpu;

	if (tpr != v->tpr && vcpu->intc)
		vcpu->intc->cr8_write(vcpu->intc_chip, tpr >> 4);
}

static void xsetbv(uint64_t v)
{
	__asm__ volatile("xsetbv" : : "a"((uint32_t)v), "d"((uint32_t)(v >> 32)), "c"(0));
}

bool hw_begin(struct hw_vcpu *v, bool *moved)
{
	const struct x86_state *s = &v->cpu.s;
	uint32_t gen;
	bool fresh;

	atomic_store(&v->in_guest, true);
	if (atomic_load(&v->vcpu->requests)) {
		atomic_store(&v->in_guest, false);
		return false;
	}
	gen = atomic_load(&v->hv->npt_gen);
	*moved = !plat_guest_claim(v->hv->tags, &v->tag, &fresh);
	if (fresh || gen != v->npt_gen) {
		v->flush = HW_FLUSH_LINEAR | HW_FLUSH_NESTED;
		atomic_fetch_add_explicit(&v->flushes, 1, memory_order_relaxed);
	}
	v->npt_gen = gen;
	if (s->dr[7] & 0xff)
		__asm__ volatile("mov %0, %%db0; mov %1, %%db1; mov %2, %%db2; mov %3, %%db3"
				 :
				 : "r"(s->dr[0]), "r"(s->dr[1]), "r"(s->dr[2]), "r"(s->dr[3]));
	hw_fpu_load(v);
	v->xcr0_live = v->hv->xcr0 && s->cr4 & CR4_OSXSAVE && s->xcr0 != v->hv->xcr0;
	if (v->xcr0_live)
		xsetbv(s->xcr0);
	atomic_fetch_add_explicit(&v->entries, 1, memory_order_relaxed);
	return true;
}

void hw_end(struct hw_vcpu *v)
{
	if (v->xcr0_live)
		xsetbv(v->hv->xcr0);
	v->flush = 0;
	atomic_store(&v->in_guest, false);
}

/* The state is complete whenever run() has returned: others read it then. Nothing of what was
 * acknowledged may be lost. */
static void leave(struct hw_vcpu *v, struct vcpu_exit *exit)
{
	if (v->reinject && exit->kind == EXIT_NONE)
		hw_deliver(v, exit);
	if (v->virq && (exit->kind == EXIT_NONE || exit->kind == EXIT_HLT))
		hw_deliver_virq(v, exit);
	v->hw->pull(v);
	hw_fpu_park(v);
}

static void hw_run(struct vcpu *vcpu, struct vcpu_exit *exit)
{
	struct hw_vcpu *v = vcpu->engine_data;
	struct hw_exit x;
	bool entered;

	exit->kind = EXIT_NONE;
	exit->err = 0;
	if (!v->ready) {
		exit->err = slots_sync(v->hv);
		if (mon_rules(&vcpu->vm->mon, MON_MSR)) /* even those that are the guest's own */
			memset(v->hv->msrpm, 0xff, v->hw->msrpm_size);
		if (v->hw->vcpu_start)
			v->hw->vcpu_start(v);
		v->ready = true;
		atomic_store(&v->began, plat_now());
	}
	if (exit->err) {
		exit->kind = EXIT_ERROR;
		return;
	}
	while (!atomic_load(&vcpu->requests)) {
		/* IGNNE#: the processor would stop at each instruction that waits, and not tell when the error is
		 * cleared and the next one is news. */
		if (unlikely(v->cpu.s.ignne)) {
			if (!hw_interpret(v, exit))
				break;
			continue;
		}
		v->hw->push(v);
		apic_in(v);
		if (!inject(v)) {
			if (!hw_deliver_virq(v, exit))
				break;
			continue;
		}
		entered = v->hw->enter(v, &x);
		if (v->delivers)
			v->hw->take(v);
		else if (entered)
			tpr_out(v, x.tpr);
		if (!entered || !hw_handle(v, &x, exit))
			break;
	}
	leave(v, exit);
}

#define ENGINE(n, fraction)                                                                  \
	{                                                                                    \
		.name = (n), .scales = (fraction), .probe = hw_probe, .vm_init = hw_vm_init, \
		.vm_fini = hw_vm_fini, .vcpu_init = hw_vcpu_init, .vcpu_fini = hw_vcpu_fini, \
		.run = hw_run, .kick = hw_kick, .get_state = hw_get_state,                   \
		.set_state = hw_set_state, .memory_protected = hw_memory_protected,          \
	}
const struct engine_ops engine_svm = ENGINE("svm", SVM_FRACTION),
			engine_vmx = ENGINE("vmx", VMX_FRACTION);
