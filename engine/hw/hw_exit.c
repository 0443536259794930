/* SPDX-License-Identifier: ISC */
/* hw_exit.c: what the guest left for. Port accesses at ring 0 are done at once; everything else that an
 * instruction did (MMIO, CPUID, MSRs, control and debug registers, HLT, string I/O, task switches,
 * x87 errors that CR0.NE does not report, and what is not there) the interpreter does again from the start, with all checks, so that it
 * exists once for all engines. On the vCPU's thread, host interrupts on. */
#include "engine/hw/hw_impl.h"
#include "x86/cpuid.h"

static void count(struct hw_vcpu *v, enum exit_kind kind)
{
	atomic_fetch_add_explicit(&v->vcpu->exits[kind], 1, memory_order_relaxed);
}

static bool went(struct vcpu_exit *exit, enum cpu_step step)
{
	if (step == STEP_SHUTDOWN)
		exit->kind = EXIT_SHUTDOWN;
	else if (step == STEP_HALT)
		exit->kind = EXIT_HLT;
	return step == STEP_OK || step == STEP_REP;
}

static void to_interpreter(struct hw_vcpu *v)
{
	v->pending = 0;
	v->hw->pull(v);
	hw_fpu_park(v);
	cpu_state_changed(&v->cpu); /* the guest has changed page tables unseen */
	v->cpu.i.pending = v->pending;
}

bool hw_deliver(struct hw_vcpu *v, struct vcpu_exit *exit)
{
	uint64_t ev = v->reinject;
	struct cpu_exc exc = {
		.vector = (uint8_t)ev, .has_error = ev & EV_ERROR, .error = (uint32_t)(ev >> 32)};

	v->reinject = 0;
	to_interpreter(v);
	switch (ev & EV_TYPE) {
	case EV_INTR:
		return went(exit, cpu_interrupt(&v->cpu, (uint8_t)ev));
	case EV_NMI:
		return went(exit, cpu_nmi(&v->cpu));
	default:
		exc.cr2 = v->cpu.s.cr2;
		if (exc.vector == VEC_DB) /* DR6 has it already */
			exc.dr6 = (uint32_t)v->cpu.s.dr[6] & 0xe00fu;
		return went(exit, cpu_raise(&v->cpu, &exc));
	}
}

bool hw_deliver_virq(struct hw_vcpu *v, struct vcpu_exit *exit)
{
	uint8_t vector = (uint8_t)v->virq;

	to_interpreter(v);
	if (!cpu_can_interrupt(&v->cpu))
		return true; /* it is kept */
	v->virq = 0;
	v->cpu.s.activity = ACT_RUN;
	return went(exit, cpu_interrupt(&v->cpu, vector));
}

static bool on_insn(struct hw_vcpu *v, const struct hw_exit *x, struct vcpu_exit *exit)
{
	enum cpu_step step;

	to_interpreter(v);
	do /* a trap that MOV SS holds off can only be held off here */
		step = cpu_step(&v->cpu);
	while (step == STEP_OK && unlikely(v->cpu.i.pending));
	return went(exit, step);
}

bool hw_interpret(struct hw_vcpu *v, struct vcpu_exit *exit)
{
	struct vcpu *vcpu = v->vcpu;
	struct x86_state *s = &v->cpu.s;
	int vector;

	if (v->reinject)
		return hw_deliver(v, exit);
	to_interpreter(v);
	if (s->nmi_pending && !s->nmi_blocked && !s->shadow)
		return went(exit, cpu_nmi(&v->cpu));
	if (!cpu_can_interrupt(&v->cpu))
		return on_insn(v, NULL, exit);
	if (v->virq)
		return hw_deliver_virq(v, exit);
	vector = vcpu->intc && vcpu->intc->pending(vcpu->intc_chip) >= 0
			 ? vcpu->intc->ack(vcpu->intc_chip)
			 : -1;
	return vector < 0 ? on_insn(v, NULL, exit)
			  : went(exit, cpu_interrupt(&v->cpu, (uint8_t)vector));
}

/* The delivery of an event has led here: it is the delivery that is to be done by the interpreter. */
static bool on_task(struct hw_vcpu *v, const struct hw_exit *x, struct vcpu_exit *exit)
{
	return v->reinject ? hw_deliver(v, exit) : on_insn(v, x, exit);
}

static bool on_memory(struct hw_vcpu *v, const struct hw_exit *x, struct vcpu_exit *exit)
{
	count(v, EXIT_MMIO);
	return on_task(v, x, exit);
}

static bool on_io(struct hw_vcpu *v, const struct hw_exit *x, struct vcpu_exit *exit)
{
	struct bus *bus = &v->vcpu->vm->pio;
	uint64_t *rax = &v->cpu.s.gpr[RAX], mask = BIT64(8 * x->size) - 1;
	int who = (int)v->vcpu->index;

	count(v, EXIT_PIO);
	if (x->string || x->cpl || v->rflags & FL_TF || v->cpu.s.dr[7] & 0xff ||
	    x->port == v->vcpu->vm->ferr_port)
		return on_insn(v, x, exit);
	if (!x->in) {
		bus_write(bus, who, x->port, x->size, *rax & mask);
	} else {
		uint64_t value = bus_read(bus, who, x->port, x->size) & mask;

		*rax = x->size == 4 ? value : (*rax & ~mask) | value;
	}
	v->hw->skip(v);
	return true;
}

/* What the answer depends on (CR4, XCR0) is always in cpu.s: the guest cannot change it unseen. */
static bool on_cpuid(struct hw_vcpu *v, const struct hw_exit *x, struct vcpu_exit *exit)
{
	uint64_t *r = v->cpu.s.gpr;
	uint32_t out[4];

	if (v->rflags & FL_TF || v->cpu.s.dr[7] & 0xff)
		return on_insn(v, x, exit);
	x86_cpuid(&v->cpu, (uint32_t)r[RAX], (uint32_t)r[RCX], out);
	r[RAX] = out[0];
	r[RBX] = out[1];
	r[RCX] = out[2];
	r[RDX] = out[3];
	v->hw->skip(v);
	return true;
}

/* #DB and #AC are only watched so that a guest which raises them while they are delivered, over and
 * over, comes by here. */
static bool on_exception(struct hw_vcpu *v, const struct hw_exit *x, struct vcpu_exit *exit)
{
	if (x->vector == VEC_MC) {
		plat_log(LOG_ERROR, "%s: machine check in a guest", v->hw->engine->name);
		exit->kind = EXIT_ERROR;
		exit->err = err_here(ERR_IO);
		return false;
	}
	/* What was being delivered is given up for this one: as the processor does it. */
	v->reinject = EV_VALID | EV_EXC | x->vector | (x->vector == VEC_AC ? EV_ERROR : 0);
	/* A fault's image of the flags has RF: not all processors show it to us. */
	return x->vector != VEC_AC || hw_deliver(v, exit);
}

static bool on_nothing(struct hw_vcpu *v, const struct hw_exit *x, struct vcpu_exit *exit)
{
	return true;
}

static bool on_pause(struct hw_vcpu *v, const struct hw_exit *x, struct vcpu_exit *exit)
{
	plat_yield();
	return on_insn(v, x, exit);
}

static bool on_eoi(struct hw_vcpu *v, const struct hw_exit *x, struct vcpu_exit *exit)
{
	v->vcpu->intc->ended(v->vcpu->intc_chip, x->vector);
	return true;
}

static bool on_shutdown(struct hw_vcpu *v, const struct hw_exit *x, struct vcpu_exit *exit)
{
	v->hw->pull(v);
	v->cpu.s.activity = ACT_SHUTDOWN;
	exit->kind = EXIT_SHUTDOWN;
	return false;
}

static bool on_invalid(struct hw_vcpu *v, const struct hw_exit *x, struct vcpu_exit *exit)
{
	const struct x86_state *s = &v->cpu.s;

	v->hw->pull(v);
	plat_log(LOG_ERROR, "%s: at rip 0x%llx, cr0 0x%llx cr4 0x%llx efer 0x%llx",
		 v->hw->engine->name, (unsigned long long)s->rip, (unsigned long long)s->cr0,
		 (unsigned long long)s->cr4, (unsigned long long)s->efer);
	exit->kind = EXIT_ERROR;
	exit->err = err_here(ERR_IO);
	return false;
}

static bool (*const handlers[WHY_COUNT])(struct hw_vcpu *v, const struct hw_exit *x,
					 struct vcpu_exit *exit) = {
	[WHY_INSN] = on_insn,     [WHY_NOTHING] = on_nothing,   [WHY_IO] = on_io,
	[WHY_MEMORY] = on_memory, [WHY_TASK] = on_task,         [WHY_EXC] = on_exception,
	[WHY_PAUSE] = on_pause,   [WHY_SHUTDOWN] = on_shutdown, [WHY_INVALID] = on_invalid,
	[WHY_CPUID] = on_cpuid,   [WHY_EOI] = on_eoi,
};

bool hw_handle(struct hw_vcpu *v, const struct hw_exit *x, struct vcpu_exit *exit)
{
	return handlers[x->why](v, x, exit);
}
