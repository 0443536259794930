/* SPDX-License-Identifier: ISC */
/* svm_exit.c: what the guest left for. Port accesses at ring 0 are done at once; everything else that an
 * instruction did (MMIO, CPUID, MSRs, control and debug registers, HLT, string I/O, task switches,
 * and what is not there) the interpreter does again from the start, with all checks, so that it
 * exists once for all engines. On the vCPU's thread, host interrupts on. */
#include "engine/hw/svm_impl.h"

static void count(struct svm_vcpu *v, enum exit_kind kind)
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

static void to_interpreter(struct svm_vcpu *v)
{
	svm_pull(v);
	svm_fpu_park(v);
	cpu_state_changed(&v->cpu); /* the guest has changed page tables unseen */
}

bool svm_deliver(struct svm_vcpu *v, struct vcpu_exit *exit)
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

bool svm_deliver_virq(struct svm_vcpu *v, struct vcpu_exit *exit)
{
	uint8_t vector = (uint8_t)v->virq;

	to_interpreter(v);
	if (!cpu_can_interrupt(&v->cpu))
		return true; /* the processor keeps it */
	v->virq = 0;
	v->cpu.s.activity = ACT_RUN;
	return went(exit, cpu_interrupt(&v->cpu, vector));
}

static bool step(struct svm_vcpu *v, struct vcpu_exit *exit)
{
	to_interpreter(v);
	return went(exit, cpu_step(&v->cpu));
}

/* The delivery of an event has led here: it is the delivery that is to be done by the interpreter. */
static bool step_or_deliver(struct svm_vcpu *v, struct vcpu_exit *exit)
{
	return v->reinject ? svm_deliver(v, exit) : step(v, exit);
}

static bool on_io(struct svm_vcpu *v, struct vcpu_exit *exit)
{
	struct vmcb *c = v->vmcb;
	uint64_t info = c->exit_info1;
	unsigned size = IOIO_SIZE(info), port = info >> 16 & 0xffff;
	struct bus *bus = &v->vcpu->vm->pio;
	int who = (int)v->vcpu->index;

	count(v, EXIT_PIO);
	if (info & IOIO_STRING || c->cpl || c->rflags & FL_TF || c->dr7 & 0xff)
		return step(v, exit);
	if (info & IOIO_IN) {
		uint64_t value = bus_read(bus, who, port, size);

		if (size == 4)
			c->rax = (uint32_t)value;
		else
			c->rax =
				(c->rax & ~(BIT64(8 * size) - 1)) | (value & (BIT64(8 * size) - 1));
	} else {
		uint64_t value = c->rax & (BIT64(8 * size) - 1);

		bus_write(bus, who, port, size, value);
	}
	c->rip = c->exit_info2;
	c->shadow = 0;
	c->rflags &= ~FL_RF;
	return true;
}

static bool on_nested_fault(struct svm_vcpu *v, struct vcpu_exit *exit)
{
	count(v, EXIT_MMIO);
	return step_or_deliver(v, exit);
}

/* #DB and #AC are only watched so that a guest which raises them while they are delivered, over and
 * over, comes by here. */
static bool on_exception(struct svm_vcpu *v, struct vcpu_exit *exit)
{
	unsigned vector = (unsigned)v->vmcb->exit_code - SVM_EXC;

	if (vector == VEC_MC) {
		plat_log(LOG_ERROR, "svm: machine check in a guest");
		exit->kind = EXIT_ERROR;
		exit->err = err_here(ERR_IO);
		return false;
	}
	/* What was being delivered is given up for this one: as the processor does it. */
	v->reinject = EV_VALID | EV_EXC | vector | (vector == VEC_AC ? EV_ERROR : 0);
	return true;
}

static bool on_nothing(struct svm_vcpu *v, struct vcpu_exit *exit)
{
	return true;
}

static bool on_pause(struct svm_vcpu *v, struct vcpu_exit *exit)
{
	plat_yield();
	return step(v, exit);
}

static bool on_shutdown(struct svm_vcpu *v, struct vcpu_exit *exit)
{
	svm_pull(v);
	v->cpu.s.activity = ACT_SHUTDOWN;
	exit->kind = EXIT_SHUTDOWN;
	return false;
}

static bool on_invalid(struct svm_vcpu *v, struct vcpu_exit *exit)
{
	const struct vmcb *c = v->vmcb;

	plat_log(LOG_ERROR, "svm: exit 0x%llx at rip 0x%llx, cr0 0x%llx cr4 0x%llx efer 0x%llx",
		 (unsigned long long)c->exit_code, (unsigned long long)c->rip,
		 (unsigned long long)c->cr0, (unsigned long long)c->cr4,
		 (unsigned long long)c->efer);
	svm_pull(v);
	exit->kind = EXIT_ERROR;
	exit->err = err_here(ERR_IO);
	return false;
}

/* All others up to 8FH are instructions. */
static bool (*const handlers[0x90])(struct svm_vcpu *v, struct vcpu_exit *exit) = {
	[SVM_EXC + VEC_DB] = on_exception,
	[SVM_EXC + VEC_AC] = on_exception,
	[SVM_EXC + VEC_MC] = on_exception,
	[SVM_INTR] = on_nothing,
	[SVM_NMI] = on_nothing,
	[SVM_SMI] = on_nothing,
	[SVM_INIT] = on_nothing,
	[SVM_VINTR] = on_nothing,
	[SVM_PAUSE] = on_pause,
	[SVM_IOIO] = on_io,
	[SVM_TASK] = step_or_deliver,
	[SVM_SHUTDOWN] = on_shutdown,
};

bool svm_handle(struct svm_vcpu *v, struct vcpu_exit *exit)
{
	const struct vmcb *c = v->vmcb;

	/* Software interrupts are left out: their instruction runs again. */
	if (c->exit_int_info & EV_VALID && (c->exit_int_info & EV_TYPE) != EV_SOFT &&
	    !((c->exit_int_info & EV_TYPE) == EV_EXC &&
	      ((c->exit_int_info & 0xff) == VEC_BP || (c->exit_int_info & 0xff) == VEC_OF)))
		v->reinject = c->exit_int_info;
	if (c->exit_code == SVM_NPF)
		return on_nested_fault(v, exit);
	if (c->exit_code >= ARRAY_SIZE(handlers))
		return on_invalid(v, exit);
	return handlers[c->exit_code] ? handlers[c->exit_code](v, exit) : step(v, exit);
}
