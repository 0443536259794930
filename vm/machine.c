/* SPDX-License-Identifier: ISC */
/* machine.c: how a vCPU's processor starts, and the machine's side of CPUID and MSRs, the same under
 * each engine. On the vCPU's thread. */
#include "vm/machine.h"

#include "vm/vm.h"
#include "x86/cpu.h"

int vcpu_cpu_init(struct vcpu *vcpu, struct cpu *cpu, const struct cpu_ops *ops, void *owner)
{
	struct plat_code *native = &vcpu->native;
	int err = native->rw ? 0 : plat_code_alloc(PAGE_SIZE, native);

	if (err)
		return err;
	cpu->ops = ops;
	cpu->owner = owner;
	cpu->model = vcpu->vm->model;
	cpu->kind = &vcpu->vm->kind;
	cpu->index = vcpu->index;
	cpu->native_rw = native->rw;
	cpu->native_rx = native->rx;
	cpu->native_size = native->size;
	cpu_init(cpu);
	vcpu->state = &cpu->s;
	vcpu->cpu = cpu;
	return 0;
}

int vcpu_msr_read(struct vcpu *vcpu, uint32_t index, uint64_t *value)
{
	if (vcpu->intc && !vcpu->intc->msr_read(vcpu->intc_chip, index, value))
		return 0;
	return vcpu->msr_read ? vcpu->msr_read(vcpu, index, value) : ERR_NOENT;
}

int vcpu_msr_write(struct vcpu *vcpu, uint32_t index, uint64_t value)
{
	if (vcpu->intc && !vcpu->intc->msr_write(vcpu->intc_chip, index, value))
		return 0;
	return vcpu->msr_write ? vcpu->msr_write(vcpu, index, value) : ERR_NOENT;
}

/* Each register is a request of its own: a rule may give or deny (zero) one of them. */
static void ask_cpuid(struct vcpu *vcpu, uint32_t leaf, uint32_t sub, uint32_t r[4])
{
	struct monitor *mon = &vcpu->vm->mon;
	struct mon_event ev = {.cls = MON_CPUID,
			       .size = 4,
			       .vcpu = (int32_t)vcpu->index,
			       .addr = (uint64_t)(sub & 0xff) << 32 | leaf};

	for (unsigned i = 0; i < 4; i++) {
		ev.op = (uint8_t)i;
		ev.value = r[i];
		switch (mon_ask(mon, &ev)) {
		case MON_DENY:
			r[i] = 0;
			break;
		case MON_REDIRECT:
			r[i] = (uint32_t)ev.value;
			break;
		default:
			break;
		}
		if (ev.verdict != MON_PROVIDE || ev.flags)
			mon_tell(mon, &ev);
	}
}

void vcpu_cpuid_row(struct vcpu *vcpu, uint32_t leaf, uint32_t sub, uint32_t r[4])
{
	if (vcpu->cpuid)
		vcpu->cpuid(vcpu, leaf, sub, r);
	if (unlikely(mon_rules(&vcpu->vm->mon, MON_CPUID)))
		ask_cpuid(vcpu, leaf, sub, r);
}

static void tell_cpuid(struct vcpu *vcpu, uint32_t leaf, uint32_t sub, uint32_t eax)
{
	struct mon_event ev = {.cls = MON_CPUID,
			       .size = 4,
			       .vcpu = (int32_t)vcpu->index,
			       .addr = (uint64_t)(sub & 0xff) << 32 | leaf,
			       .value = eax};

	mon_tell(&vcpu->vm->mon, &ev);
}

void vcpu_cpuid(struct vcpu *vcpu, uint32_t leaf, uint32_t sub, uint32_t r[4])
{
	vcpu_cpuid_row(vcpu, leaf, sub, r);
	if (unlikely(mon_listens(&vcpu->vm->mon, MON_CPUID)))
		tell_cpuid(vcpu, leaf, sub, r[0]);
}

/* A read is told without its value, which is not known yet: most are of no interest, and a rule may
 * give another. */
int vcpu_ask_msr(struct vcpu *vcpu, uint32_t index, bool write, uint64_t *value)
{
	struct monitor *mon = &vcpu->vm->mon;
	struct mon_event ev = {.cls = MON_MSR,
			       .op = write,
			       .size = 8,
			       .vcpu = (int32_t)vcpu->index,
			       .addr = index,
			       .value = write ? *value : 0};
	enum mon_verdict verdict = mon_ask(mon, &ev);

	mon_tell(mon, &ev);
	if (verdict == MON_DENY)
		return ERR_NOENT;
	if (verdict == MON_REDIRECT)
		*value = ev.value;
	return verdict == MON_REDIRECT && !write;
}

/* A mode that this vCPU was not in, by what CR0 has now; its history begins with the first such write. */
static void tell_mode(struct vcpu *vcpu, uint64_t cr0)
{
	enum mon_mode mode = !(cr0 & CR0_PE)                   ? MODE_REAL
			     : !(cr0 & CR0_PG)                 ? MODE_PROTECTED
			     : !(vcpu->state->efer & EFER_LME) ? MODE_PAGED
							       : MODE_LONG;
	const struct mon_event ev = {
		.cls = MON_LIFECYCLE, .op = LIFE_MODE, .vcpu = (int32_t)vcpu->index, .addr = mode};

	if (vcpu->mode == mode + 1u)
		return;
	vcpu->mode = mode + 1u;
	mon_tell(&vcpu->vm->mon, &ev);
}

/* what: enum cpu_told. Of a page-table root (CR3) lasted and addr are the ns in user mode and in kernel
 * mode since the last one, where the engine tells rings. */
void vcpu_tell_cpu(struct vcpu *vcpu, unsigned what, uint64_t value)
{
	struct mon_event ev = {.cls = MON_CPU,
			       .op = (uint8_t)what,
			       .size = 8,
			       .vcpu = (int32_t)vcpu->index,
			       .value = value};

	if (what == TOLD_CR + 3)
		vcpu_ring_take(vcpu, &ev.addr, &ev.lasted);
	mon_tell(&vcpu->vm->mon, &ev);
	if (what == TOLD_CR)
		tell_mode(vcpu, value);
}

void vcpu_tell_root(struct vcpu *vcpu)
{
	vcpu_tell_cpu(vcpu, TOLD_CR + 3, vcpu->state->cr3);
}

/* ---- time by ring ------------------------------------------------------------------------------ */

/* Without a division: at each switch of tasks. */
static uint64_t ring_ns(struct vcpu *vcpu, uint64_t ticks)
{
	struct ring_clock *r = &vcpu->ring;

	if (unlikely(!r->scale)) {
		uint64_t hz = vcpu->vm->tsc.ratio ? vcpu->vm->tsc_host_hz : vcpu->vm->tsc_hz;

		r->scale = (NS_PER_SEC << 32) / (hz ? hz : NS_PER_SEC);
	}
	return (uint64_t)((unsigned __int128)ticks * r->scale >> 32);
}

void vcpu_ring_take(struct vcpu *vcpu, uint64_t *kernel, uint64_t *user)
{
	struct ring_clock *r = &vcpu->ring;
	uint64_t now;

	if (!r->since)
		return;
	now = vcpu_ticks();
	ring_close(r, now);
	r->taken = now;
	*kernel = ring_ns(vcpu, r->ticks[0]);
	*user = ring_ns(vcpu, r->ticks[1]);
	r->ticks[0] = r->ticks[1] = 0;
}
