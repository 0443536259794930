/* SPDX-License-Identifier: ISC */
/* svm.c: AMD's virtual machine extension (APM vol. 2, chapter 15): the processor, what it watches, and the
 * way into a guest and out. hw.c has the rest. CLGI keeps interrupts out until VMRUN has the guest
 * running, STGI lets the host's in after it. */
#include "base/str.h"
#include "engine/hw/svm_impl.h"
#include "x86/feature.h"

#define MSR_VM_CR  0xc0010114u
#define MSR_HSAVE  0xc0010117u
#define MSR_RATE   0xc0000104u /* of guests' TSCs: APM vol. 2, 15.30.5 */
#define EFER_SVME  BIT64(12)
#define VM_CR_OFF  BIT64(4)
#define IOPM_SIZE  (3 * PAGE_SIZE)
#define MSRPM_SIZE (2 * PAGE_SIZE)

#define SVM_INTERCEPT1                                                                          \
	(INT_INTR | INT_NMI | INT_SMI | INT_INIT | INT_RDPMC | INT_CPUID | INT_INVD | INT_HLT | \
	 INT_INVLPGA | INT_IOIO | INT_MSR | INT_TASK | INT_FERR | INT_SHUTDOWN)
#define SVM_INTERCEPT2 \
	(INT2_SVM | INT2_WBINVD | INT2_MONITOR | INT2_MWAIT | INT2_XSETBV | INT2_RDPRU)

/* ---- the processor ------------------------------------------------------------------------- */

static const char *svm_missing(void)
{
	if (rdmsr(MSR_VM_CR) & VM_CR_OFF)
		return "SVM is switched off by the firmware";
	if (!(hw_leaf(0x8000000a).edx & BIT(0)))
		return "it has no nested paging";
	return NULL;
}

static int svm_cpu_start(void)
{
	void *save = plat_pages_alloc(PAGE_SIZE); /* stays this CPU's for ever */

	if (!save)
		return err_here(ERR_NOMEM);
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SVME);
	wrmsr(MSR_HSAVE, plat_phys(save));
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

/* ---- what is watched ------------------------------------------------------------------------ */

/* MSRs that VMRUN or VMLOAD switch: the guest has them to itself. */
static void open_msrs(uint8_t *msrpm)
{
	static const uint32_t open[] = {0x174,      0x175,      0x176,      0xc0000081, 0xc0000082,
					0xc0000083, 0xc0000084, 0xc0000100, 0xc0000101, 0xc0000102};

	for (unsigned i = 0; i < ARRAY_SIZE(open); i++) {
		uint32_t n = open[i] & 0x1fff;
		uint32_t at = (open[i] >> 31 ? 0x800 : 0) + n / 4;

		msrpm[at] &= (uint8_t) ~(3u << (n % 4 * 2)); /* read and write */
	}
}

static void svm_vm_init(struct hw_vm *hv)
{
	struct svm_vm *sv = container_of(hv, struct svm_vm, hv);

	sv->efer_hidden = hw_leaf(0x80000021).eax & BIT(8) ? 0 : EFER_AIBRSE;
	sv->pause_filter = hw_leaf(0x8000000a).edx & BIT(10);
	sv->next_rip = hw_leaf(0x8000000a).edx & BIT(3);
	sv->tsc_rate = hw_leaf(0x8000000a).edx & BIT(4);
	hv->tags = MAX(hw_leaf(0x8000000a).ebx, 2u) - 1; /* 0 is the host's */
	open_msrs(hv->msrpm);
}

static void vmcb_init(struct vmcb *c, const struct svm_vm *sv)
{
	c->cr_write = BIT(0) | BIT(4);
	c->dr_read = c->dr_write = 0xffff;
	c->exceptions = BIT(VEC_DB) | BIT(VEC_AC) | BIT(VEC_MC);
	c->misc1 = SVM_INTERCEPT1;
	c->misc2 = SVM_INTERCEPT2;
	if (sv->hv.vm->tsc.ratio && !sv->tsc_rate) {
		c->misc1 |= INT_RDTSC;
		c->misc2 |= INT2_RDTSCP;
	}
	c->iopm = plat_phys(sv->hv.iopm);
	c->msrpm = plat_phys(sv->hv.msrpm);
	c->np_enable = 1;
	c->n_cr3 = plat_phys(sv->hv.npt.root);
}

static int svm_vcpu_init(struct hw_vcpu *v)
{
	struct svm_vcpu *sv = svm_of(v);

	sv->vmcb = plat_pages_alloc(PAGE_SIZE);
	sv->host = plat_pages_alloc(PAGE_SIZE);
	if (!sv->vmcb || !sv->host)
		return err_here(ERR_NOMEM);
	vmcb_init(sv->vmcb, container_of(v->hv, struct svm_vm, hv));
	return 0;
}

/* Without the filter each PAUSE would leave: loops that only wait with it for a while would take a thousand times as long. */
static void svm_vcpu_start(struct hw_vcpu *v)
{
	const struct svm_vm *sv = container_of(v->hv, struct svm_vm, hv);
	struct vmcb *c = svm_of(v)->vmcb;

	if (sv->pause_filter && v->vcpu->vm->n_vcpus > 1) {
		c->misc1 |= INT_PAUSE;
		c->pause_count = 3000;
	}
}

static void svm_vcpu_fini(struct hw_vcpu *v)
{
	plat_pages_free(svm_of(v)->vmcb, PAGE_SIZE);
	plat_pages_free(svm_of(v)->host, PAGE_SIZE);
}

/* ---- running ---------------------------------------------------------------------------------- */

/* NMIs and exceptions go through the event field, an external interrupt as a virtual one, which the
 * processor takes by itself before an instruction with RFLAGS.IF set. To a guest both are the same.
 * But QEMU's TCG (7.2) keeps the vector of an interrupt from the event field as a pending exception,
 * and delivers it a second time if another thread makes it leave its loop just then, which happens
 * with more than one processor. */
static bool svm_window(struct hw_vcpu *v, bool irq, bool nmi)
{
	struct vmcb *c = svm_of(v)->vmcb;
	bool window = irq || nmi;

	/* The one virtual interrupt that a processor has is needed for the window. */
	if (v->virq && window && !v->reinject && !v->shadow && v->rflags & FL_IF)
		return false;
	c->misc1 = (c->misc1 & ~(INT_VINTR | INT_IRET)) | (window ? INT_VINTR : 0) |
		   (v->cpu.s.nmi_blocked ? INT_IRET : 0);
	c->v_intr = V_INTR_MASKING | (window || v->virq ? V_IRQ | V_PRIO | V_IGN_TPR : 0) |
		    (v->virq & 0xff) << V_VECTOR_SHIFT | v->tpr >> 4;
	c->cr_write = (uint16_t)((c->cr_write & ~BIT(8)) | (v->tpr ? BIT(8) : 0));
	return true;
}

static void svm_skip(struct hw_vcpu *v)
{
	struct vmcb *c = svm_of(v)->vmcb;

	c->rip = svm_of(v)->next;
	c->shadow = 0;
	c->rflags &= ~FL_RF;
	v->shadow = 0;
}

/* Up to 8FH; what is not here is an instruction. */
static const uint8_t whys[0x90] = {
	[SVM_EXC + VEC_DB] = WHY_EXC, [SVM_EXC + VEC_AC] = WHY_EXC, [SVM_EXC + VEC_MC] = WHY_EXC,
	[SVM_INTR] = WHY_NOTHING,     [SVM_NMI] = WHY_NOTHING,      [SVM_SMI] = WHY_NOTHING,
	[SVM_INIT] = WHY_NOTHING,     [SVM_VINTR] = WHY_NOTHING,    [SVM_PAUSE] = WHY_PAUSE,
	[SVM_IOIO] = WHY_IO,          [SVM_TASK] = WHY_TASK,        [SVM_SHUTDOWN] = WHY_SHUTDOWN,
	[SVM_CPUID] = WHY_CPUID,      [SVM_FERR_FREEZE] = WHY_INSN,
};

/* VMRUN refuses a guest whose state is not consistent (15.5.1), before its first instruction: our bug. But QEMU's
 * TCG (7.2) has MOV to CR3 leave with the same code when bits beyond the physical address are set, which is a
 * #GP: that, the interpreter does right. A state that stays refused is not run by it for ever. */
#define REFUSED_MAX 64u

static bool is_insn(struct svm_vcpu *sv)
{
	bool invalid = (uint32_t)sv->vmcb->exit_code == (uint32_t)SVM_INVALID;

	sv->refused = invalid && sv->vmcb->rip == sv->entry ? sv->refused + 1 : 0;
	return invalid && sv->refused < REFUSED_MAX;
}

/* Not all processors say where the next instruction is. There it is looked for; one with prefixes is left to the
 * interpreter. */
static enum hw_why decode_cpuid(struct svm_vcpu *sv)
{
	struct cpu *cpu = &sv->v.cpu;
	uint8_t at[2];

	sv->next = sv->vmcb->next_rip;
	if (container_of(sv->v.hv, struct svm_vm, hv)->next_rip)
		return WHY_CPUID;
	svm_pull_code(&sv->v);
	cpu_state_changed(cpu); /* the guest has changed page tables unseen */
	if (!cpu_code_at_rip(cpu, at, sizeof(at)) || at[0] != 0x0f || at[1] != 0xa2)
		return WHY_INSN;
	sv->next = cpu->s.rip + sizeof(at);
	if (!(cpu->s.efer & EFER_LMA && cpu->s.seg[CS].attr & SEG_L))
		sv->next = (uint32_t)sv->next;
	return WHY_CPUID;
}

static void decode(struct hw_vcpu *v, struct hw_exit *x)
{
	const struct vmcb *c = svm_of(v)->vmcb;
	uint64_t ev = c->exit_int_info, io = c->exit_info1;
	uint8_t cr8 = c->v_intr & V_TPR;

	x->tpr = (uint8_t)(cr8 == v->tpr >> 4 ? v->tpr : cr8 << 4);
	/* Software interrupts are left out: their instruction runs again. */
	if (ev & EV_VALID && (ev & EV_TYPE) != EV_SOFT &&
	    !((ev & EV_TYPE) == EV_EXC && ((uint8_t)ev == VEC_BP || (uint8_t)ev == VEC_OF)))
		v->reinject = ev;
	if (is_insn(svm_of(v))) {
		x->why = WHY_INSN;
	} else if (c->exit_code == SVM_NPF) {
		x->why = WHY_MEMORY;
	} else if (c->exit_code < ARRAY_SIZE(whys)) {
		x->why = whys[c->exit_code];
		x->vector = (uint8_t)(c->exit_code - SVM_EXC);
		x->port = (uint16_t)(io >> 16);
		x->size = IOIO_SIZE(io);
		x->in = io & IOIO_IN;
		x->string = io & IOIO_STRING;
		x->cpl = c->cpl;
		svm_of(v)->next = c->exit_info2;
		if (x->why == WHY_CPUID)
			x->why = decode_cpuid(svm_of(v));
	} else {
		x->why = WHY_INVALID;
		plat_log(LOG_ERROR, "svm: exit 0x%llx", (unsigned long long)c->exit_code);
	}
}

static uint64_t rate(const struct vm *vm)
{
	return vm->tsc.ratio ? vm->tsc.ratio >> (TSC_FRACTION - SVM_FRACTION) : BIT64(SVM_FRACTION);
}

static void load(struct svm_vcpu *sv, bool moved)
{
	struct x86_state *s = &sv->v.cpu.s;
	struct vmcb *c = sv->vmcb;

	if (moved)
		__asm__ volatile("vmsave" : : "a"(plat_phys(sv->host)) : "memory");
	if (moved && container_of(sv->v.hv, struct svm_vm, hv)->tsc_rate)
		wrmsr(MSR_RATE, rate(sv->v.hv->vm));
	if ((moved || sv->tsc_aux != s->tsc_aux) && cpu_has(&sv->v.cpu, X_FEAT_RDTSCP)) {
		wrmsr(MSR_TSC_AUX, s->tsc_aux);
		sv->tsc_aux = s->tsc_aux;
	}
	c->asid = sv->v.tag;
	c->tlb_control = sv->v.flush ? TLB_FLUSH_ALL : 0;
	c->event_inj = sv->v.reinject;
	sv->v.reinject = 0;
	c->rax = s->gpr[RAX];
}

static bool svm_enter(struct hw_vcpu *v, struct hw_exit *x)
{
	struct svm_vcpu *sv = svm_of(v);
	struct vmcb *c = sv->vmcb;
	bool moved, ran;

	__asm__ volatile("clgi" : : : "memory");
	ran = hw_begin(v, &moved);
	if (ran) {
		load(sv, moved);
		sv->entry = c->rip;
		svm_vmrun(plat_phys(c), v->cpu.s.gpr, plat_phys(sv->host));
		v->cpu.s.gpr[RAX] = c->rax;
		v->rflags = c->rflags;
		v->shadow = c->shadow & 1 ? SHADOW_STI : 0;
		if (!(c->v_intr & V_IRQ))
			v->virq = 0;
		hw_end(v);
	}
	__asm__ volatile("stgi" : : : "memory");
	if (ran)
		decode(v, x);
	return ran;
}

const struct hw_backend hw_svm = {
	.engine = &engine_svm,
	.vm_size = sizeof(struct svm_vm),
	.vcpu_size = sizeof(struct svm_vcpu),
	.iopm_size = IOPM_SIZE,
	.msrpm_size = MSRPM_SIZE,
	.npt_leaf = NPT_LEAF_AMD,
	.missing = svm_missing,
	.cpu_start = svm_cpu_start,
	.vm_init = svm_vm_init,
	.vcpu_init = svm_vcpu_init,
	.vcpu_start = svm_vcpu_start,
	.vcpu_fini = svm_vcpu_fini,
	.push = svm_push,
	.pull = svm_pull,
	.window = svm_window,
	.enter = svm_enter,
	.skip = svm_skip,
};
