/* SPDX-License-Identifier: ISC */
/* svm.c: guests on an AMD processor by its virtual machine extension with nested paging (APM vol. 2,
 * chapter 15). One VMRUN:
 *
 *	state goes to the VMCB, an interrupt or NMI that can be delivered into its event field;
 *	CLGI: from here on no interrupt comes through; a request that came meanwhile: STGI, back;
 *	FP registers, debug registers, XCR0 and TSC_AUX become the guest's;
 *	VMRUN: the guest runs until an intercept or an interrupt of the host;
 *	XCR0 is the host's again, STGI: the host's interrupt is taken;
 *	svm_handle() looks why the guest left.
 *
 * All guests use ASID 1: whoever finds that another guest has run on this CPU flushes. So nothing is
 * shared between CPUs, and there may be more vCPUs than ASIDs. FP registers stay the guest's while
 * the hypervisor runs: it does not touch them, and they are switched with the thread.
 *
 * run() and the state functions enter on the vCPU's own thread, kick() and memory_protected() from any. */
#include "base/str.h"
#include "engine/hw/svm_impl.h"
#include "vm/machine.h"
#include "x86/feature.h"

#define MSR_EFER    0xc0000080u
#define MSR_TSC_AUX 0xc0000103u
#define MSR_VM_CR   0xc0010114u
#define MSR_HSAVE   0xc0010117u
#define EFER_SVME   BIT64(12)
#define VM_CR_OFF   BIT64(4)
#define GUEST_ASID  1
#define IOPM_SIZE   (3 * PAGE_SIZE)
#define MSRPM_SIZE  (2 * PAGE_SIZE)

#define SVM_INTERCEPT1                                                                          \
	(INT_INTR | INT_NMI | INT_SMI | INT_INIT | INT_RDPMC | INT_CPUID | INT_INVD | INT_HLT | \
	 INT_INVLPGA | INT_IOIO | INT_MSR | INT_TASK | INT_FERR | INT_SHUTDOWN)
#define SVM_INTERCEPT2 \
	(INT2_SVM | INT2_WBINVD | INT2_MONITOR | INT2_MWAIT | INT2_XSETBV | INT2_RDPRU)

/* ---- the processor ------------------------------------------------------------------------- */

static uint64_t rdmsr(uint32_t index)
{
	uint32_t lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(index));
	return (uint64_t)hi << 32 | lo;
}

static void wrmsr(uint32_t index, uint64_t v)
{
	__asm__ volatile("wrmsr"
			 :
			 : "c"(index), "a"((uint32_t)v), "d"((uint32_t)(v >> 32))
			 : "memory");
}

static void xsetbv(uint64_t v)
{
	__asm__ volatile("xsetbv" : : "a"((uint32_t)v), "d"((uint32_t)(v >> 32)), "c"(0));
}

static struct plat_cpuid leaf(uint32_t n)
{
	struct plat_cpuid top, id = {0};

	plat_cpuid(n & BIT(31), 0, &top);
	if (top.eax >= n)
		plat_cpuid(n, 0, &id);
	return id;
}

const char *svm_missing(void)
{
	if (!(leaf(0x80000001).ecx & BIT(2)))
		return "it has no SVM (hardware virtualization of AMD)";
	if (rdmsr(MSR_VM_CR) & VM_CR_OFF)
		return "SVM is switched off by the firmware";
	if (!(leaf(0x8000000a).edx & BIT(0)))
		return "it has no nested paging";
	return NULL;
}

int svm_cpu_start(void)
{
	void *save = plat_pages_alloc(PAGE_SIZE); /* stays this CPU's for ever */

	if (!save)
		return err_here(ERR_NOMEM);
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SVME);
	wrmsr(MSR_HSAVE, plat_phys(save));
	return 0;
}

static int svm_probe(struct engine_probe *out)
{
	const char *missing = svm_missing();

	*out = (struct engine_probe){
		.usable = !missing, .verdict = missing ? "absent" : "executes", .advice = missing};
	return 0;
}

/* void svm_vmrun(uint64_t vmcb_pa, uint64_t *gpr, uint64_t host_pa): GIF is clear; the guest's RAX and
 * RSP are in the VMCB. VMLOAD and VMSAVE move what VMRUN does not: FS, GS, TR, LDTR, system calls. */
void svm_vmrun(uint64_t vmcb, uint64_t *gpr, uint64_t host);
/* clang-format off */
__asm__(
"	.text\n"
"svm_vmrun:\n"
"	push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15\n"
"	push %rdx; push %rsi\n"
"	mov %rdi, %rax\n"
"	mov %rsi, %rdi\n"
"	mov 8(%rdi), %rcx; mov 16(%rdi), %rdx; mov 24(%rdi), %rbx; mov 40(%rdi), %rbp\n"
"	mov 48(%rdi), %rsi; mov 64(%rdi), %r8; mov 72(%rdi), %r9; mov 80(%rdi), %r10\n"
"	mov 88(%rdi), %r11; mov 96(%rdi), %r12; mov 104(%rdi), %r13; mov 112(%rdi), %r14\n"
"	mov 120(%rdi), %r15; mov 56(%rdi), %rdi\n"
"	vmload\n"
"	vmrun\n"
"	vmsave\n"
"	xchg %rdi, (%rsp)\n" /* the guest's RDI; %rdi: gpr */
"	mov %rcx, 8(%rdi); mov %rdx, 16(%rdi); mov %rbx, 24(%rdi); mov %rbp, 40(%rdi)\n"
"	mov %rsi, 48(%rdi); mov %r8, 64(%rdi); mov %r9, 72(%rdi); mov %r10, 80(%rdi)\n"
"	mov %r11, 88(%rdi); mov %r12, 96(%rdi); mov %r13, 104(%rdi); mov %r14, 112(%rdi)\n"
"	mov %r15, 120(%rdi)\n"
"	popq 56(%rdi)\n"
"	pop %rax\n"
"	vmload\n"
"	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp\n"
"	ret\n"
);
/* clang-format on */

/* ---- the VM's part --------------------------------------------------------------------------- */

/* MSRs that VMRUN or VMLOAD switch: the guest has them to itself. */
static void open_msrs(uint8_t *msrpm)
{
	static const uint32_t open[] = {0x174,      0x175,      0x176,      0xc0000081, 0xc0000082,
					0xc0000083, 0xc0000084, 0xc0000100, 0xc0000101, 0xc0000102};

	memset(msrpm, 0xff, MSRPM_SIZE);
	for (unsigned i = 0; i < ARRAY_SIZE(open); i++) {
		uint32_t n = open[i] & 0x1fff;
		uint32_t at = (open[i] >> 31 ? 0x800 : 0) + n / 4;

		msrpm[at] &= (uint8_t) ~(3u << (n % 4 * 2)); /* read and write */
	}
}

static void svm_vm_fini(struct vm *vm)
{
	struct svm_vm *sv = vm->engine_data;

	if (!sv)
		return;
	npt_fini(&sv->npt);
	plat_pages_free(sv->iopm, IOPM_SIZE);
	plat_pages_free(sv->msrpm, MSRPM_SIZE);
	plat_free(sv);
	vm->engine_data = NULL;
}

static uint64_t host_xcr0(void)
{
	uint32_t lo, hi;

	if (!(leaf(1).ecx & BIT(27)))
		return 0;
	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return (uint64_t)hi << 32 | lo;
}

static int svm_vm_init(struct vm *vm)
{
	struct svm_vm *sv = plat_alloc(sizeof(*sv));
	int err;

	if (!sv)
		return err_here(ERR_NOMEM);
	sv->vm = vm;
	vm->engine_data = sv;
	plat_mutex_init(&sv->lock, RANK_ENGINE);
	sv->xcr0 = host_xcr0();
	sv->efer_hidden = leaf(0x80000021).eax & BIT(8) ? 0 : EFER_AIBRSE;
	sv->pause_filter = leaf(0x8000000a).edx & BIT(10);
	sv->iopm = plat_pages_alloc(IOPM_SIZE);
	sv->msrpm = plat_pages_alloc(MSRPM_SIZE);
	err = npt_init(&sv->npt);
	if (err || !sv->iopm || !sv->msrpm) {
		svm_vm_fini(vm);
		return err_here(ERR_NOMEM);
	}
	memset(sv->iopm, 0xff, IOPM_SIZE);
	open_msrs(sv->msrpm);
	return 0;
}

/* Pages whose writes go to the bus. */
static int protect_pages(struct svm_vm *sv, const struct mem_slot *s, uint64_t from, uint64_t n)
{
	int err = 0;

	for (uint64_t p = from; p < from + n && !err; p++)
		if (atomic_load(&s->flags[p]) & PGF_RO)
			err = npt_protect(&sv->npt, s->gpa + (p << PAGE_SHIFT), PAGE_SIZE, false);
	return err;
}

/* What boards have added to the map since. vCPUs come here before they run. */
static int slots_sync(struct svm_vm *sv)
{
	struct memmap *m = &sv->vm->mem;
	int err = 0;

	plat_mutex_lock(&sv->lock);
	for (; sv->slots < m->n && !err; sv->slots++) {
		const struct mem_slot *s = &m->slot[sv->slots];

		err = npt_map(&sv->npt, s->gpa, plat_phys(s->hva), s->size, !s->rom);
		if (!err && s->protectable)
			err = protect_pages(sv, s, 0, s->size >> PAGE_SHIFT);
	}
	plat_mutex_unlock(&sv->lock);
	return err;
}

static void svm_kick(struct vcpu *vcpu)
{
	if (vcpu->thread)
		plat_thread_poke(vcpu->thread);
}

static void svm_memory_protected(struct vm *vm, gpa_t gpa, uint64_t len)
{
	struct svm_vm *sv = vm->engine_data;
	struct mem_slot *s = mem_slot(vm, gpa);
	int err;

	plat_mutex_lock(&sv->lock);
	err = sv->slots && s ? protect_pages(sv, s, (gpa - s->gpa) >> PAGE_SHIFT, len >> PAGE_SHIFT)
			     : 0;
	plat_mutex_unlock(&sv->lock);
	if (err) {
		plat_log(LOG_ERROR, "svm: no memory to protect pages with");
		vm_stop(vm, VM_FAILED, 0);
		return;
	}
	atomic_fetch_add(&sv->npt_gen, 1);
	for (unsigned i = 0; i < vm->n_vcpus; i++) {
		struct svm_vcpu *v = vm->vcpu[i]->engine_data;
		uint64_t entry = atomic_load(&v->entries);

		svm_kick(vm->vcpu[i]);
		/* until it has left; a later entry has seen npt_gen */
		while (atomic_load(&v->in_guest) && atomic_load(&v->entries) == entry)
			plat_yield();
	}
}

/* ---- the vCPU's part ---------------------------------------------------------------------------- */

static void svm_vcpu_fini(struct vcpu *vcpu)
{
	struct svm_vcpu *v = vcpu->engine_data;

	if (!v)
		return;
	vcpu_cpu_fini(&v->cpu);
	plat_pages_free(v->vmcb, PAGE_SIZE);
	plat_pages_free(v->host, PAGE_SIZE);
	plat_pages_free(v, ALIGN_UP(sizeof(*v), (size_t)PAGE_SIZE));
	vcpu->engine_data = NULL;
}

static void vmcb_init(struct svm_vcpu *v)
{
	struct vmcb *c = v->vmcb;

	c->cr_read = BIT(8);
	c->cr_write = BIT(0) | BIT(4) | BIT(8);
	c->dr_read = c->dr_write = 0xffff;
	c->exceptions = BIT(VEC_DB) | BIT(VEC_AC) | BIT(VEC_MC);
	c->misc1 = SVM_INTERCEPT1;
	c->misc2 = SVM_INTERCEPT2;
	if (v->sv->pause_filter && v->sv->vm->n_vcpus) {
		c->misc1 |= INT_PAUSE;
		c->pause_count = 3000;
	}
	c->iopm = plat_phys(v->sv->iopm);
	c->msrpm = plat_phys(v->sv->msrpm);
	c->asid = GUEST_ASID;
	c->np_enable = 1;
	c->n_cr3 = plat_phys(v->sv->npt.root);
}

static int svm_vcpu_init(struct vcpu *vcpu)
{
	struct svm_vcpu *v = plat_pages_alloc(ALIGN_UP(sizeof(*v), (size_t)PAGE_SIZE));
	int err;

	if (!v)
		return err_here(ERR_NOMEM);
	vcpu->engine_data = v;
	v->vcpu = vcpu;
	v->sv = vcpu->vm->engine_data;
	v->vmcb = plat_pages_alloc(PAGE_SIZE);
	v->host = plat_pages_alloc(PAGE_SIZE);
	err = vcpu_cpu_init(vcpu, &v->cpu, &svm_cpu_ops, v);
	if (err || !v->vmcb || !v->host) {
		svm_vcpu_fini(vcpu);
		return err_here(ERR_NOMEM);
	}
	svm_limit_features(&v->cpu);
	vmcb_init(v);
	return 0;
}

static int svm_get_state(struct vcpu *vcpu)
{
	return 0; /* cpu.s is it: see svm_leave() */
}

static int svm_set_state(struct vcpu *vcpu)
{
	struct svm_vcpu *v = vcpu->engine_data;

	v->where = IN_STATE;
	v->fpu_live = false;
	v->vmcb->tlb_control = TLB_FLUSH_ALL;
	cpu_state_changed(&v->cpu);
	return 0;
}

uint64_t svm_entries(const struct vcpu *vcpu)
{
	const struct svm_vcpu *v = vcpu->engine_data;

	return atomic_load(&v->entries);
}

/* ---- running ---------------------------------------------------------------------------------- */

/* What the guest is to be interrupted with now, or an exit as soon as that is possible. False: the
 * interpreter is to deliver it.
 *
 * NMIs and exceptions go through the event field, an external interrupt as a virtual one, which the
 * processor takes by itself before an instruction with RFLAGS.IF set. To a guest both are the same.
 * But QEMU's TCG (7.2) keeps the vector of an interrupt from the event field as a pending exception,
 * and delivers it a second time if another thread makes it leave its loop just then, which happens
 * with more than one processor. */
static bool inject(struct svm_vcpu *v)
{
	struct vmcb *c = v->vmcb;
	struct x86_state *s = &v->cpu.s;
	struct vcpu *vcpu = v->vcpu;
	bool irq, window = false;

	if ((v->reinject & (EV_VALID | EV_TYPE)) == (EV_VALID | EV_INTR)) {
		v->virq = EV_VALID | (uint8_t)v->reinject;
		v->reinject = 0;
	}
	if (s->nmi_pending && !s->nmi_blocked) {
		window = c->shadow & 1 || v->reinject || v->virq;
		if (!window) {
			s->nmi_pending = false;
			s->nmi_blocked = true;
			v->reinject = EV_VALID | EV_NMI | VEC_NMI;
		}
	}
	irq = vcpu->intc && vcpu->intc->pending(vcpu->intc_chip) >= 0;
	if (irq && !(c->shadow & 1) && !v->reinject && !v->virq && c->rflags & FL_IF) {
		int vector = vcpu->intc->ack(vcpu->intc_chip);

		if (vector >= 0)
			v->virq = EV_VALID | (uint64_t)vector;
		irq = vcpu->intc->pending(vcpu->intc_chip) >= 0;
	}
	window |= irq;
	/* The one virtual interrupt that a processor has is needed for the window. */
	if (v->virq && window && !v->reinject && !(c->shadow & 1) && c->rflags & FL_IF)
		return false;
	c->misc1 = (c->misc1 & ~(INT_VINTR | INT_IRET)) | (window ? INT_VINTR : 0) |
		   (s->nmi_blocked ? INT_IRET : 0);
	c->v_intr = V_INTR_MASKING | (window || v->virq ? V_IRQ | V_PRIO | V_IGN_TPR : 0) |
		    (v->virq & 0xff) << V_VECTOR_SHIFT;
	return true;
}

/* Interrupts are out (GIF): nobody else runs on this CPU until the guest does. */
static void prepare_cpu(struct svm_vcpu *v)
{
	struct vmcb *c = v->vmcb;
	const struct x86_state *s = &v->cpu.s;
	uint32_t gen = atomic_load(&v->sv->npt_gen);

	if (!plat_guest_claim()) {
		c->tlb_control = TLB_FLUSH_ALL;
		__asm__ volatile("vmsave" : : "a"(plat_phys(v->host)) : "memory");
		if (cpu_has(&v->cpu, X_FEAT_RDTSCP))
			wrmsr(MSR_TSC_AUX, s->tsc_aux);
	}
	if (gen != v->npt_gen) {
		v->npt_gen = gen;
		c->tlb_control = TLB_FLUSH_ALL;
	}
	if (c->dr7 & 0xff)
		__asm__ volatile("mov %0, %%db0; mov %1, %%db1; mov %2, %%db2; mov %3, %%db3"
				 :
				 : "r"(s->dr[0]), "r"(s->dr[1]), "r"(s->dr[2]), "r"(s->dr[3]));
	svm_fpu_load(v);
}

/* False: a request came before the guest was entered. */
static bool enter(struct svm_vcpu *v)
{
	struct vmcb *c = v->vmcb;
	uint64_t xcr0 = v->sv->xcr0;
	bool switch_xcr0;

	__asm__ volatile("clgi" : : : "memory");
	atomic_store(&v->in_guest, true);
	if (atomic_load(&v->vcpu->requests)) {
		atomic_store(&v->in_guest, false);
		__asm__ volatile("stgi" : : : "memory");
		return false;
	}
	prepare_cpu(v);
	c->event_inj = v->reinject;
	v->reinject = 0;
	switch_xcr0 = xcr0 && c->cr4 & CR4_OSXSAVE && v->cpu.s.xcr0 != xcr0;
	if (switch_xcr0)
		xsetbv(v->cpu.s.xcr0);
	atomic_fetch_add_explicit(&v->entries, 1, memory_order_relaxed);
	svm_vmrun(plat_phys(c), v->cpu.s.gpr, plat_phys(v->host));
	if (switch_xcr0)
		xsetbv(xcr0);
	c->tlb_control = 0;
	if (!(c->v_intr & V_IRQ))
		v->virq = 0;
	atomic_store(&v->in_guest, false);
	__asm__ volatile("stgi" : : : "memory");
	return true;
}

/* The state is complete whenever run() has returned: others read it then. Nothing of what was
 * acknowledged may be lost. */
static void svm_leave(struct svm_vcpu *v, struct vcpu_exit *exit)
{
	if (v->reinject && exit->kind == EXIT_NONE)
		svm_deliver(v, exit);
	if (v->virq && (exit->kind == EXIT_NONE || exit->kind == EXIT_HLT))
		svm_deliver_virq(v, exit);
	svm_pull(v);
	svm_fpu_park(v);
}

static void svm_run(struct vcpu *vcpu, struct vcpu_exit *exit)
{
	struct svm_vcpu *v = vcpu->engine_data;

	exit->kind = EXIT_NONE;
	exit->err = 0;
	if (!v->ready) {
		exit->err = slots_sync(v->sv);
		v->ready = true;
	}
	if (exit->err) {
		exit->kind = EXIT_ERROR;
		return;
	}
	while (!atomic_load(&vcpu->requests)) {
		svm_push(v);
		if (!inject(v)) {
			if (!svm_deliver_virq(v, exit))
				break;
			continue;
		}
		if (!enter(v) || !svm_handle(v, exit))
			break;
	}
	svm_leave(v, exit);
}

const struct engine_ops engine_svm = {
	.name = "svm",
	.probe = svm_probe,
	.vm_init = svm_vm_init,
	.vm_fini = svm_vm_fini,
	.vcpu_init = svm_vcpu_init,
	.vcpu_fini = svm_vcpu_fini,
	.run = svm_run,
	.kick = svm_kick,
	.get_state = svm_get_state,
	.set_state = svm_set_state,
	.memory_protected = svm_memory_protected,
};
