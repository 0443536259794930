/* SPDX-License-Identifier: ISC */
/* interp.c: where the processor, or KVM, cannot execute the guest as ours is defined, the interpreter
 * does: system management mode (whose memory and state map are then the same under each engine, and
 * need no KVM_CAP_X86_SMM), as long as A20 is masked (KVM has no such pin), a few instructions where
 * KVM gives up emulating one, and the delivery of what KVM had accepted but not delivered when its state
 * was asked for.
 *
 * On the vCPU's thread (kvm_deliver(): or while it is parked); the state is in v->cpu.s. */
#include "engine/kvm/kvm.h"

#include <sys/ioctl.h>

#define MAX_PREFIXES 14u

/* Moving a state in and out costs as much as some hundred instructions here. */
#define FAILED_STEPS 256u

bool kvm_interp_wanted(const struct kvm_vcpu *v)
{
	const struct x86_state *s = &v->cpu.s;

	return unlikely(s->smm || s->a20_masked || s->smi_pending || s->init_pending ||
			v->interp_steps);
}

void kvm_interp_failed(struct kvm_vcpu *v)
{
	/* The kernel has the local APIC: no interrupts here, and no accesses to it. */
	v->interp_steps = v->kv->lent ? 1 : FAILED_STEPS;
}

static bool is_prefix(const struct cpu *cpu, uint8_t b)
{
	static const uint8_t legacy[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65,
					 0x66, 0x67, 0xf0, 0xf2, 0xf3};

	for (unsigned i = 0; i < ARRAY_SIZE(legacy); i++)
		if (b == legacy[i])
			return true;
	return (b & 0xf0) == 0x40 && cpu->s.efer & EFER_LMA && cpu->s.seg[CS].attr & SEG_L;
}

/* What is at rip, if it is an I/O instruction: IO_*, its length; -1: it is none. */
static int io_kind(struct cpu *cpu, uint64_t rip, unsigned *len)
{
	gva_t at = code_gva(cpu) - cpu->s.rip + rip;
	int rep = 0;

	for (unsigned i = 0; i <= MAX_PREFIXES; i++) {
		uint8_t b;

		if (cpu_read(cpu, at + i, &b, 1, false))
			return -1;
		*len = i + ((b & 0xfc) == 0xe4 ? 2 : 1);
		if ((b & 0xfc) == 0x6c) /* INS, OUTS */
			return rep | IO_STRING | (b & 2 ? 0 : IO_READ);
		if ((b & 0xf4) == 0xe4) /* IN, OUT */
			return (b & 8 ? 0 : IO_IMM) | (b & 2 ? 0 : IO_READ);
		if (!is_prefix(cpu, b))
			return -1;
		if ((b & 0xfe) == 0xf2)
			rep = IO_REP;
	}
	return -1;
}

/* KVM's emulator has an OUT done when it exits, and RIP is behind it. */
static int io_kind_before(struct cpu *cpu, struct cpu_io *io)
{
	static const uint8_t lengths[] = {3, 2, 1}; /* 66H E7H imm; E6H imm, 66H EFH; EEH */

	for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
		unsigned len;
		int kind = io_kind(cpu, io->rip - lengths[i], &len);

		if (kind < 0 || kind & (IO_READ | IO_STRING) || len != lengths[i])
			continue;
		io->rip -= lengths[i];
		return kind;
	}
	return -1;
}

/* The access that the SMI comes from, for its map. By now KVM is done with it. */
static void io_note(struct kvm_vcpu *v)
{
	struct cpu_io *io = &v->smi_io;
	unsigned len;
	int kind = io_kind(&v->cpu, io->rip, &len);

	if (io->rip == v->cpu.s.rip && !(kind > 0 && kind & IO_REP))
		kind = io_kind_before(&v->cpu, io);
	if (kind >= 0) {
		io->kind = (uint8_t)kind;
		v->cpu.i.io = *io;
	}
	io->smi = false;
}

void kvm_io_smi(struct kvm_vcpu *v, uint16_t port, unsigned size)
{
	struct kvm_regs r;

	if (ioctl(v->fd, KVM_GET_REGS, &r))
		return;
	v->smi_io = (struct cpu_io){.rip = r.rip,
				    .rcx = r.rcx,
				    .rsi = r.rsi,
				    .rdi = r.rdi,
				    .port = port,
				    .size = (uint8_t)size,
				    .smi = true};
}

static bool went(struct vcpu_exit *exit, enum cpu_step step)
{
	if (step == STEP_SHUTDOWN)
		exit->kind = EXIT_SHUTDOWN;
	return step != STEP_SHUTDOWN;
}

/* False: run() has something to report. */
static bool events(struct kvm_vcpu *v, struct vcpu_exit *exit)
{
	struct x86_state *s = &v->cpu.s;
	struct vcpu *vcpu = v->vcpu;
	int vector;

	if (s->smi_pending && !s->smm && !s->shadow) {
		if (v->smi_io.smi)
			io_note(v);
		cpu_smi(&v->cpu);
	}
	if (s->init_pending && !s->smm)
		return false; /* the vCPU's loop carries it out */
	if (s->nmi_pending && !s->nmi_blocked && !s->shadow)
		return went(exit, cpu_nmi(&v->cpu));
	if (v->kv->lent || !vcpu->intc || !cpu_can_interrupt(&v->cpu) ||
	    vcpu->intc->pending(vcpu->intc_chip) < 0)
		return true;
	vector = vcpu->intc->ack(vcpu->intc_chip);
	return vector < 0 || went(exit, cpu_interrupt(&v->cpu, (uint8_t)vector));
}

/* True while there is something that only the interpreter can do. */
static bool goes_on(struct kvm_vcpu *v)
{
	if (v->cpu.i.pending) /* a trap that MOV SS holds off can only be held off here */
		return true;
	if (v->interp_steps)
		v->interp_steps--;
	return kvm_interp_wanted(v);
}

bool kvm_interp_run(struct kvm_vcpu *v, struct vcpu_exit *exit)
{
	const struct x86_state *s = &v->cpu.s;
	bool told = true;

	exit->err = kvm_get_state(v->vcpu);
	if (exit->err) {
		exit->kind = EXIT_ERROR;
		return false;
	}
	cpu_state_changed(&v->cpu); /* the guest has changed page tables unseen */
	v->stale = true;
	/* An instruction at least: else one that KVM cannot do would be tried again and again. */
	do {
		told = events(v, exit);
		if (!told || s->activity != ACT_RUN)
			break;
		told = went(exit, cpu_step(&v->cpu));
	} while (told && !v->stepping && s->activity == ACT_RUN && goes_on(v) &&
		 !atomic_load(&v->vcpu->requests));
	kvm_dirty_now(v);
	if (told && v->stepping)
		return !kvm_debug_exit(v, 0, exit);
	if (exit->kind == EXIT_NONE && s->activity == ACT_HLT)
		exit->kind = EXIT_HLT;
	return told && s->activity == ACT_RUN;
}

int kvm_deliver(struct kvm_vcpu *v, const struct kvm_vcpu_events *e)
{
	struct cpu_exc exc = {.vector = VEC_DB,
			      .dr6 = v->cpu.s.dr[6] & 0xe00f}; /* it has it already */
	enum cpu_step step = STEP_OK;

	if (e->interrupt.injected && !e->interrupt.soft) {
		cpu_state_changed(&v->cpu);
		step = cpu_interrupt(&v->cpu, e->interrupt.nr);
		v->stale = true;
	} else if (e->exception.injected && e->exception.nr == VEC_DB) {
		cpu_state_changed(&v->cpu);
		step = cpu_raise(&v->cpu, &exc);
		v->stale = true;
	} /* faults: RIP is at their instruction, which raises them again */
	kvm_dirty_now(v);
	if (step == STEP_SHUTDOWN)
		vm_stop(v->vcpu->vm, VM_CRASHED, 0);
	return 0;
}
