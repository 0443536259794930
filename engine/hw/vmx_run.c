/* SPDX-License-Identifier: ISC */
/* vmx_run.c: into a guest by VMX and out, and what of its exits VMX says in its own words (SDM vol. 3,
 * chapters 27 and 28; appendix C). On the vCPU's thread, whose VMCS is current. */
#include "engine/hw/vmx_impl.h"

#define EV_KEPT (EV_VALID | EV_ERROR | EV_TYPE | 0xff) /* of VMCS_VECTORING */

/* bool vmx_run(uint64_t *gpr, bool launched): true: the guest was not entered. The guest's RSP is in the
 * VMCS. */
bool vmx_run(uint64_t *gpr, bool launched);
/* clang-format off */
__asm__(
"	.text\n"
"vmx_run:\n"
"	push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15; push %rdi\n"
"	mov $0x6c14, %eax\n" /* VMCS_HOST_RSP */
"	vmwrite %rsp, %rax\n"
"	test %esi, %esi\n"
"	mov (%rdi), %rax; mov 8(%rdi), %rcx; mov 16(%rdi), %rdx; mov 24(%rdi), %rbx\n"
"	mov 40(%rdi), %rbp; mov 48(%rdi), %rsi; mov 64(%rdi), %r8; mov 72(%rdi), %r9\n"
"	mov 80(%rdi), %r10; mov 88(%rdi), %r11; mov 96(%rdi), %r12; mov 104(%rdi), %r13\n"
"	mov 112(%rdi), %r14; mov 120(%rdi), %r15; mov 56(%rdi), %rdi\n"
"	jnz 1f\n"
"	vmlaunch\n"
"	jmp 2f\n"
"1:	vmresume\n"
"2:	pop %rdi\n"
"	mov $1, %eax\n"
"	jmp 3f\n"
"	.globl vmx_left\n"
"vmx_left:\n"
"	xchg %rdi, (%rsp)\n" /* the guest's RDI; %rdi: gpr */
"	mov %rax, (%rdi); mov %rcx, 8(%rdi); mov %rdx, 16(%rdi); mov %rbx, 24(%rdi)\n"
"	mov %rbp, 40(%rdi); mov %rsi, 48(%rdi); mov %r8, 64(%rdi); mov %r9, 72(%rdi)\n"
"	mov %r10, 80(%rdi); mov %r11, 88(%rdi); mov %r12, 96(%rdi); mov %r13, 104(%rdi)\n"
"	mov %r14, 112(%rdi); mov %r15, 120(%rdi)\n"
"	popq 56(%rdi)\n"
"	xor %eax, %eax\n"
"3:	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp\n"
"	ret\n"
);
/* clang-format on */

bool vmx_window(struct hw_vcpu *v, bool irq, bool nmi)
{
	struct vmx_vcpu *x = vmx_of(v);
	uint32_t proc = vmx_vm_of(v)->c.proc | (irq ? PROC_INTR_WINDOW : 0) |
			(v->cpu.s.nmi_pending ? PROC_NMI_WINDOW : 0);

	if (proc != x->proc)
		vmcs_write(VMCS_PROC, proc);
	x->proc = proc;
	x->apic_page[APIC_PAGE_TPR] = v->tpr;
	if (x->threshold != v->tpr >> 4 && proc & PROC_TPR_SHADOW)
		vmcs_write(VMCS_TPR_THRESHOLD, x->threshold = v->tpr >> 4);
	return true;
}

/* ---- out of the guest ---- */

/* What is not here is an instruction. */
static const uint8_t whys[VMX_REASONS] = {
	[VMX_EXC] = WHY_EXC,
	[VMX_INTR] = WHY_NOTHING,
	[VMX_SHUTDOWN] = WHY_SHUTDOWN,
	[VMX_INIT] = WHY_NOTHING,
	[VMX_SIPI] = WHY_NOTHING,
	[VMX_INTR_WINDOW] = WHY_NOTHING,
	[VMX_NMI_WINDOW] = WHY_NOTHING,
	[VMX_TASK] = WHY_TASK,
	[VMX_CPUID] = WHY_CPUID,
	[VMX_IO] = WHY_IO,
	[VMX_BAD_STATE] = WHY_INVALID,
	[VMX_BAD_MSR] = WHY_INVALID,
	[VMX_PAUSE] = WHY_PAUSE,
	[VMX_MC] = WHY_INVALID,
	[VMX_TPR_BELOW] = WHY_NOTHING,
	[VMX_EOI] = WHY_EOI,
	[VMX_EPT] = WHY_MEMORY,
	[VMX_EPT_CONFIG] = WHY_INVALID,
	[VMX_TIMER] = WHY_NOTHING,
};

static void decode_exception(struct hw_vcpu *v, struct hw_exit *e)
{
	struct x86_state *s = &v->cpu.s;
	uint64_t ev = vmcs_read(VMCS_EXIT_EVENT), type = ev & EV_TYPE;

	e->vector = (uint8_t)ev;
	if (type == EV_NMI) /* the host's, which keeps further ones out until it has been taken */
		e->why = WHY_NOTHING;
	else if (type != EV_EXC || e->vector == VEC_MF)
		e->why = WHY_INSN;
	else if (e->vector == VEC_DB) /* its causes are only said to us */
		s->dr[6] = (s->dr[6] & ~UINT64_C(15)) | (vmcs_read(VMCS_QUALIFICATION) & 0x600f);
	if (type == EV_NMI)
		__asm__ volatile("int $2");
}

static void decode_io(struct hw_exit *e)
{
	uint64_t q = vmcs_read(VMCS_QUALIFICATION);

	e->size = (uint8_t)((q & 7) + 1);
	e->in = q & BIT(3);
	e->string = q & BIT(4);
	e->port = (uint16_t)(q >> 16);
	e->cpl = (uint8_t)((vmcs_read(VMCS_GUEST_RIGHTS + 2 * SS) & SEG_DPL) >> 5);
}

static void decode(struct hw_vcpu *v, struct hw_exit *e)
{
	struct vmx_vcpu *x = vmx_of(v);
	uint32_t reason = (uint32_t)vmcs_read(VMCS_REASON);
	uint64_t ev = vmcs_read(VMCS_VECTORING), info = 0;

	e->tpr = x->apic_page[APIC_PAGE_TPR];
	x->blocked = (uint32_t)vmcs_read(VMCS_BLOCKED);
	v->shadow = (uint8_t)(x->blocked & (BLOCKED_STI | BLOCKED_MOVSS)); /* as SHADOW_* */
	v->rflags = vmcs_read(VMCS_RFLAGS);
	v->cpu.s.nmi_blocked = x->blocked & BLOCKED_NMI;
	e->why = (uint16_t)reason < VMX_REASONS ? whys[(uint16_t)reason] : WHY_INVALID;
	if (ev & EV_VALID) {
		uint64_t type = ev & EV_TYPE;

		v->cpu.s.nmi_blocked |= type == EV_NMI;
		if (type == EV_INTR || type == EV_NMI || type == EV_EXC)
			v->reinject = (ev & EV_KEPT) | vmcs_read(VMCS_VECTORING_ERROR) << 32;
	} else if (e->why == WHY_EXC || e->why == WHY_MEMORY) {
		info = vmcs_read(e->why == WHY_EXC ? VMCS_EXIT_EVENT : VMCS_QUALIFICATION);
		v->cpu.s.nmi_blocked |= (info & NMI_UNBLOCKED) != 0;
	}
	if (e->why == WHY_EXC)
		decode_exception(v, e);
	else if (e->why == WHY_IO)
		decode_io(e);
	else if (e->why == WHY_EOI)
		e->vector = (uint8_t)vmcs_read(VMCS_QUALIFICATION);
	else if (e->why == WHY_INVALID)
		plat_log(LOG_ERROR, "vmx: exit 0x%x, qualification 0x%llx", reason,
			 (unsigned long long)vmcs_read(VMCS_QUALIFICATION));
}

void vmx_skip(struct hw_vcpu *v)
{
	uint64_t rip = vmcs_read(VMCS_RIP) + vmcs_read(VMCS_INSN_LEN);

	vmcs_write(VMCS_RIP, v->cpu.s.efer & EFER_LMA ? rip : (uint32_t)rip);
	if (v->rflags & FL_RF)
		vmcs_write(VMCS_RFLAGS, v->rflags &= ~FL_RF);
	v->shadow = 0;
}

/* ---- into it ---- */

/* Of all contexts: SDM vol. 3, 31.3, INVEPT and INVVPID */
static void flush(struct hw_vcpu *v)
{
	static const uint64_t none[2];

	if (v->flush & HW_FLUSH_NESTED)
		__asm__ volatile("invept %0, %1" : : "m"(none), "r"(UINT64_C(2)) : "memory");
	if (v->flush && vmx_vm_of(v)->c.proc2 & PROC2_VPID)
		__asm__ volatile("invvpid %0, %1" : : "m"(none), "r"(UINT64_C(2)) : "memory");
}

/* The event that the guest begins with, and what is held off: a VM entry with an event ends a shadow. */
static void push_event(struct vmx_vcpu *x)
{
	struct hw_vcpu *v = &x->v;
	uint64_t ev = v->reinject ? v->reinject : v->virq;
	uint32_t blocked = v->shadow & SHADOW_MOVSS         ? BLOCKED_MOVSS
			   : v->shadow && v->rflags & FL_IF ? BLOCKED_STI
							    : 0;

	if (ev) {
		vmcs_write(VMCS_ENTRY_ERROR, ev >> 32);
		vmcs_write(VMCS_ENTRY_EVENT, (uint32_t)ev);
		blocked = 0;
	}
	v->reinject = v->virq = 0;
	if (v->cpu.s.nmi_blocked && (ev & (EV_VALID | EV_TYPE)) != (EV_VALID | EV_NMI))
		blocked |= BLOCKED_NMI;
	if (blocked != x->blocked)
		vmcs_write(VMCS_BLOCKED, blocked);
	x->blocked = blocked;
}

/* An interrupt ends the guest's turn whatever its IF (SDM vol. 3, 26.2). But in Bochs (2.7) none does after an entry
 * with IF clear, until the guest moves IF: such a guest leaves by the timer, and its CPU takes what waits. */
static void push_timer(struct vmx_vcpu *x)
{
	uint32_t pin = vmx_vm_of(&x->v)->c.pin;

	if (x->v.rflags & FL_IF)
		pin &= ~PIN_TIMER;
	if (pin != x->pin)
		vmcs_write(VMCS_PIN, x->pin = pin);
}

static void load(struct vmx_vcpu *x, bool moved)
{
	uint32_t n = moved || x->msrs_dirty ? x->n_msrs : 0;
	uint64_t cr2;

	if (x->vpid != x->v.tag && vmx_vm_of(&x->v)->c.proc2 & PROC2_VPID)
		vmcs_write(VMCS_VPID, x->vpid = x->v.tag);
	flush(&x->v);
	push_event(x);
	push_timer(x);
	if (n != x->n)
		vmcs_write(VMCS_ENTRY_MSR_LOAD_N, n);
	x->n = n;
	__asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
	if (cr2 != x->v.cpu.s.cr2)
		__asm__ volatile("mov %0, %%cr2" : : "r"(x->v.cpu.s.cr2));
}

bool vmx_enter(struct hw_vcpu *v, struct hw_exit *e)
{
	struct vmx_vcpu *x = vmx_of(v);
	bool moved, ran;

	__asm__ volatile("cli" : : : "memory");
	ran = hw_begin(v, &moved);
	if (ran) {
		load(x, moved);
		if (vmx_run(v->cpu.s.gpr, x->launched)) {
			e->why = WHY_INVALID;
			plat_log(LOG_ERROR, "vmx: no entry: error %u",
				 (unsigned)vmcs_read(VMCS_INSN_ERROR));
		} else {
			__asm__ volatile("mov %%cr2, %0" : "=r"(v->cpu.s.cr2));
			x->launched = true;
			x->msrs_dirty = false;
			decode(v, e);
		}
		hw_end(v);
	}
	__asm__ volatile("sti" : : : "memory");
	return ran;
}
