/* SPDX-License-Identifier: ISC */
/* vcpu.c: the life of a virtual CPU: requests, halts, pauses, and exits handed to their owners.
 *
 * vcpu_thread() is each vCPU's own thread; vcpu_request() enters from anywhere. */
#include "vm/vcpu.h"

#include "vm/internal.h"
#include "vm/machine.h"
#include "x86/cpu.h"

/* INIT ends what came before it and has not been taken: a SIPI, which would start a processor that by then
 * waits for the next, and an NMI. What comes after it stays. */
static uint32_t add_request(struct vcpu *vcpu, uint32_t req)
{
	uint32_t old = atomic_load(&vcpu->requests), new;

	do
		new = (req & REQ_INIT ? old & ~(uint32_t)(REQ_SIPI | REQ_NMI) : old) | req;
	while (!atomic_compare_exchange_weak(&vcpu->requests, &old, new));
	return old;
}

/* Not while it is parked: it looks at its requests when it goes on, and its engine may be exchanged
 * meanwhile, for which vcpu_kicks_end() waits. */
static void kick(struct vcpu *vcpu)
{
	atomic_fetch_add(&vcpu->kicking, 1);
	if (!atomic_load(&vcpu->is_parked) && vcpu->vm->engine->kick)
		vcpu->vm->engine->kick(vcpu);
	atomic_fetch_sub(&vcpu->kicking, 1);
}

void vcpu_kicks_end(struct vcpu *vcpu)
{
	while (atomic_load(&vcpu->kicking))
		plat_yield();
}

void vcpu_request(struct vcpu *vcpu, uint32_t req)
{
	uint32_t old = add_request(vcpu, req);

	/* A vCPU that runs looks at the requests by itself, once kicked; one that waits must wake
	 * up. When the bits were set already, whoever set them has seen to that. */
	if ((old & req) == req && !atomic_load(&vcpu->halted))
		return;
	if (atomic_load(&vcpu->halted))
		plat_event_set(&vcpu->wake);
	else
		kick(vcpu);
}

void vcpu_smi(struct vcpu *vcpu)
{
	if (vcpu->vm->engine->pins)
		vcpu_request(vcpu, REQ_SMI);
}

static int state_changed(struct vcpu *vcpu)
{
	return vcpu->vm->engine->set_state ? vcpu->vm->engine->set_state(vcpu) : 0;
}

/* Waits while the VM is paused or a debugger holds the vCPU. The bootstrap processor's thread carries
 * out a reset once all the others are parked. */
static void vcpu_park(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;
	struct plat_event *go = vcpu->index ? &vm->resumed : &vm->parked;

	if (vcpu->ring.since) {
		vcpu_tell_root(vcpu); /* it may be long until it goes on, or never be */
		vcpu_ring_stop(vcpu);
	}
	plat_mutex_lock(&vm->lock);
	atomic_store(&vcpu->is_parked, true);
	atomic_fetch_add(&vm->n_parked, 1);
	plat_event_set(&vm->parked);
	while ((vm->paused || atomic_load(&vcpu->debug.held)) && vm->end == VM_RUNNING) {
		if (vcpu->index == 0 && vm->reset_wanted &&
		    atomic_load(&vm->n_parked) == vm->n_vcpus) {
			vm_do_reset(vm);
			continue;
		}
		/* Others wait to be resumed; the bootstrap processor also counts the parked. One that
		 * is held must not take the event of those who go. */
		if (!vm->paused)
			go = &vcpu->wake;
		plat_event_clear(go);
		plat_mutex_unlock(&vm->lock);
		plat_event_wait(go, plat_now() + NS_PER_SEC / 50);
		plat_mutex_lock(&vm->lock);
	}
	atomic_fetch_sub(&vm->n_parked, 1);
	atomic_store(&vcpu->is_parked, false);
	plat_mutex_unlock(&vm->lock);
	idle_skip(&vcpu->idle);
	if (vcpu->ring.since) {
		vcpu_ring_go(vcpu);
		vcpu_tell_root(vcpu); /* after a reset another */
	}
}

/* An NMI that has come after an INIT which SMM held off is still to come. */
static void vcpu_init_signal(struct vcpu *vcpu)
{
	bool nmi = vcpu->state->init_nmi && vcpu->state->nmi_pending;

	x86_state_init(vcpu->state, vcpu->index == 0);
	vcpu->state->nmi_pending = nmi;
	if (vcpu->ring.since)
		vcpu_tell_root(vcpu);
	if (vcpu->intc)
		vcpu->intc->reset(vcpu->intc_chip, true);
	if (vcpu->index)
		vcpu->state->activity = ACT_WAIT_SIPI;
}

/* Carries out the requests that are the loop's. */
static void vcpu_requests(struct vcpu *vcpu)
{
	uint32_t req = atomic_exchange(&vcpu->requests, 0);
	bool changed = req & (REQ_INIT | REQ_NMI | REQ_SMI | REQ_A20);

	if ((req & (REQ_INIT | REQ_NMI | REQ_SIPI | REQ_SMI | REQ_A20)) &&
	    vcpu->vm->engine->get_state && vcpu->vm->engine->get_state(vcpu))
		vm_stop(vcpu->vm, VM_FAILED, 0);

	if (req & REQ_ENGINE) /* the engine takes it when it runs */
		atomic_fetch_or(&vcpu->requests, REQ_ENGINE);
	if (req & REQ_INIT && vcpu->state->smm)
		vcpu->state->init_pending = true; /* until RSM: vcpu_thread() */
	else if (req & REQ_INIT)
		vcpu_init_signal(vcpu);
	if ((req & REQ_SIPI) && vcpu->state->activity == ACT_WAIT_SIPI) {
		x86_state_sipi(vcpu->state, atomic_load(&vcpu->sipi_vector));
		changed = true;
	}
	if (req & REQ_NMI)
		vcpu_nmi_comes(vcpu);
	if (req & REQ_SMI)
		vcpu->state->smi_pending = true;
	if (req & REQ_A20)
		vcpu->state->a20_masked = atomic_load(&vcpu->vm->a20_masked);
	if (changed && state_changed(vcpu))
		vm_stop(vcpu->vm, VM_FAILED, 0);
	if (req & REQ_PAUSE)
		vcpu_park(vcpu);
}

/* SMM has held off an INIT, and is left. */
static bool vcpu_init_waits(const struct vcpu *vcpu)
{
	return unlikely(vcpu->state->init_pending) && !vcpu->state->smm &&
	       vcpu->debug.step != DEBUG_STEP_NO_IRQ;
}

/* Is there something that ends HLT? */
static bool vcpu_has_work(struct vcpu *vcpu)
{
	const struct x86_state *s = vcpu->state;

	if (s->nmi_pending && !s->nmi_blocked)
		return true;
	return (s->rflags & FL_IF) && vcpu->intc && vcpu->intc->pending(vcpu->intc_chip) >= 0;
}

/* Waits for a request or an interrupt, at most until then; true when the time is up. */
static bool vcpu_sleep(struct vcpu *vcpu, uint64_t until)
{
	bool up;

	plat_event_clear(&vcpu->wake);
	atomic_store(&vcpu->halted, true);
	up = !atomic_load(&vcpu->requests) && !plat_event_wait(&vcpu->wake, until);
	atomic_store(&vcpu->halted, false);
	return up;
}

/* Waits in HLT or for a SIPI, at most to the local APIC timer's deadline: the thread expires its
 * own timer, which saves a wake-up across host CPUs. */
static void vcpu_wait(struct vcpu *vcpu)
{
	const struct engine_ops *engine = vcpu->vm->engine;
	const struct intc_ops *intc = vcpu->intc;
	bool looks = engine->idle && plat_takes_back() && vcpu->state->activity == ACT_HLT, up;
	uint64_t deadline = PLAT_FOREVER, begun = plat_now(), until;

	if (intc && intc->deadline)
		deadline = intc->deadline(vcpu->intc_chip);
	until = looks ? idle_wait(&vcpu->idle, begun, deadline) : deadline;
	if (vcpu->ring.since)
		vcpu_ring_stop(vcpu);
	up = vcpu_sleep(vcpu, until);
	if (up && until == deadline && intc && intc->expire)
		intc->expire(vcpu->intc_chip);
	if (looks && idle_waited(&vcpu->idle, begun, plat_now()) && up && until < deadline) {
		engine->idle(vcpu);
		idle_told(&vcpu->idle, plat_now());
	}
	if (vcpu->ring.since)
		vcpu_ring_go(vcpu);
}

/* SMM is entered out of HLT, which the engine notes for RSM. */
static bool vcpu_smi_waits(const struct vcpu *vcpu)
{
	const struct x86_state *s = vcpu->state;

	return unlikely(s->smi_pending) && !s->smm && s->activity == ACT_HLT &&
	       vcpu->debug.step != DEBUG_STEP_NO_IRQ;
}

static void exit_none(struct vcpu *vcpu, struct vcpu_exit *exit)
{
}

static void exit_debug(struct vcpu *vcpu, struct vcpu_exit *exit)
{
	if (vcpu->vm->debug)
		debug_hit(vcpu->vm->debug, vcpu, &exit->hit);
}

static void exit_shutdown(struct vcpu *vcpu, struct vcpu_exit *exit)
{
	if (vcpu->vm->debug && debug_crashed(vcpu->vm->debug, vcpu))
		return;
	vcpu->vm->crashed_vcpu = vcpu->index;
	vm_stop(vcpu->vm, VM_CRASHED, 0);
}

static void exit_error(struct vcpu *vcpu, struct vcpu_exit *exit)
{
	plat_log(LOG_ERROR, "vCPU %u: the engine %s failed: %s", vcpu->index,
		 vcpu->vm->engine->name, err_str(exit->err));
	vm_stop(vcpu->vm, VM_FAILED, 0);
}

static void exit_pio(struct vcpu *vcpu, struct vcpu_exit *exit)
{
	uint8_t *p = exit->io.data;

	for (uint32_t i = 0; i < exit->io.count; i++, p += exit->io.size) {
		uint64_t v = 0;

		if (exit->io.write) {
			__builtin_memcpy(&v, p, exit->io.size);
			bus_write(&vcpu->vm->pio, (int)vcpu->index, exit->io.addr, exit->io.size,
				  v);
		} else {
			v = bus_read(&vcpu->vm->pio, (int)vcpu->index, exit->io.addr,
				     exit->io.size);
			__builtin_memcpy(p, &v, exit->io.size);
		}
	}
}

static void exit_mmio(struct vcpu *vcpu, struct vcpu_exit *exit)
{
	uint64_t v = 0;

	if (exit->io.write) {
		__builtin_memcpy(&v, exit->io.data, exit->io.size);
		bus_write(&vcpu->vm->mmio, (int)vcpu->index, exit->io.addr, exit->io.size, v);
	} else {
		v = bus_read(&vcpu->vm->mmio, (int)vcpu->index, exit->io.addr, exit->io.size);
		__builtin_memcpy(exit->io.data, &v, exit->io.size);
	}
}

static void (*const exit_table[EXIT_KINDS])(struct vcpu *, struct vcpu_exit *) = {
	[EXIT_NONE] = exit_none,   [EXIT_HLT] = exit_none,  [EXIT_SHUTDOWN] = exit_shutdown,
	[EXIT_PIO] = exit_pio,     [EXIT_MMIO] = exit_mmio, [EXIT_ERROR] = exit_error,
	[EXIT_DEBUG] = exit_debug,
};

#define LOOP_REQUESTS \
	(REQ_INIT | REQ_SIPI | REQ_NMI | REQ_PAUSE | REQ_IRQ | REQ_SMI | REQ_A20 | REQ_SHARE)

/* ---- a share of a CPU ----------------------------------------------------------------------- */

#define QUOTA_PERIOD_NS (NS_PER_SEC / 10)

/* Has it run as much of this period as it may? What it ran beyond, as it leaves the guest at the next tick only,
 * the next one has less. */
static bool quota_used(struct vcpu *vcpu, uint32_t percent)
{
	uint64_t now = plat_now(), share = QUOTA_PERIOD_NS / 100 * percent;
	uint64_t over = vcpu->busy > share ? vcpu->busy - share : 0;

	if (now - vcpu->period >= QUOTA_PERIOD_NS) {
		vcpu->busy = now - vcpu->period < 2 * QUOTA_PERIOD_NS ? MIN(over, share) : 0;
		vcpu->period = now;
	}
	return vcpu->busy >= share;
}

/* Rests for the remainder of the period; requests are seen to. */
static void quota_rest(struct vcpu *vcpu)
{
	if (vcpu->ring.since)
		vcpu_ring_stop(vcpu);
	atomic_store(&vcpu->idle.idle, false);
	vcpu_sleep(vcpu, vcpu->period + QUOTA_PERIOD_NS);
	if (vcpu->ring.since)
		vcpu_ring_go(vcpu);
}

static void vcpu_run(struct vcpu *vcpu)
{
	uint32_t percent = atomic_load_explicit(&vcpu->vm->cpu_percent, memory_order_relaxed);
	struct vcpu_exit exit;
	uint64_t begun = 0;

	if (unlikely(percent)) {
		if (quota_used(vcpu, percent)) {
			quota_rest(vcpu);
			return;
		}
		begun = plat_now();
	}
	exit.kind = EXIT_NONE;
	vcpu->vm->engine->run(vcpu, &exit);
	if (unlikely(percent))
		vcpu->busy += plat_now() - begun;
	/* a root that is in use for long shows once a second */
	if (vcpu->ring.since && vcpu_ticks() - vcpu->ring.taken > vcpu->vm->tsc_hz &&
	    mon_listens(&vcpu->vm->mon, MON_CPU))
		vcpu_tell_root(vcpu);
	atomic_fetch_add_explicit(&vcpu->exits[exit.kind], 1, memory_order_relaxed);
	exit_table[exit.kind](vcpu, &exit);
}

void vcpu_thread(void *arg)
{
	struct vcpu *vcpu = arg;

	while (!vcpu_requested(vcpu, REQ_STOP)) {
		if (vcpu_requested(vcpu, LOOP_REQUESTS)) {
			vcpu_requests(vcpu);
			continue;
		}
		if (vcpu_init_waits(vcpu)) {
			vcpu_init_signal(vcpu);
			if (state_changed(vcpu))
				vm_stop(vcpu->vm, VM_FAILED, 0);
			continue;
		}
		switch (vcpu->vm->engine_waits || vcpu_smi_waits(vcpu) ? ACT_RUN
								       : vcpu->state->activity) {
		case ACT_RUN:
			vcpu_run(vcpu);
			break;
		case ACT_HLT:
			if (vcpu_has_work(vcpu))
				vcpu->state->activity = ACT_RUN;
			else
				vcpu_wait(vcpu);
			break;
		default:
			vcpu_wait(vcpu);
		}
	}
	if (vcpu->ring.since) /* the last root's time */
		vcpu_tell_root(vcpu);
}
