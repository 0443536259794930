/* SPDX-License-Identifier: ISC */
/* dispatch.c: what happens between translated blocks: requests, interrupts, mode changes,
 * instructions that only the interpreter runs, and the search for the next block.
 *
 * On the vCPU's own thread, called by run() and by the trampolines. */
#include "engine/soft/block.h"
#include "engine/soft/direct.h"
#include "engine/soft/enter.h"
#include "engine/soft/layout.h"
#include "engine/soft/tlb.h"
#include "vm/machine.h"

#define DR7_ENABLED 0xffu
/* Changes of these change what cached translations of addresses mean. */
#define CR0_MMU (CR0_PE | CR0_PG | CR0_WP)
#define CR4_MMU (CR4_PSE | CR4_PAE | CR4_PGE | CR4_LA57 | CR4_PCIDE | CR4_SMEP | CR4_SMAP | CR4_PKE)

/* How many bytes from its start on may be accessed without asking; 0: better ask. */
static uint64_t seg_room(const struct x86_state *s, const struct x86_seg *seg, bool write)
{
	bool prot = s->cr0 & CR0_PE && !(s->rflags & FL_VM), code = seg->attr & 8;

	if (!code && seg->attr & 4) /* expands down */
		return 0;
	if (prot && (seg->attr & SEG_UNUSABLE ||
		     (write ? code || !(seg->attr & 2) : code && !(seg->attr & 2))))
		return 0;
	return (uint64_t)seg->limit + 1;
}

static bool seg_flat(const struct soft_vcpu *v, unsigned sreg)
{
	return !v->cpu.s.seg[sreg].base && v->neg_room[1][sreg] == -(uint64_t)(4 * GIB);
}

/* 16- and 32-bit code */
static uint32_t legacy_mode(struct soft_vcpu *v)
{
	const struct x86_state *s = &v->cpu.s;
	const struct x86_seg *cs = &s->seg[CS];
	uint32_t mode = MODE_LEGACY;

	for (unsigned i = 0; i < 6; i++) {
		v->neg_room[0][i] = -seg_room(s, &s->seg[i], false);
		v->neg_room[1][i] = -seg_room(s, &s->seg[i], true);
	}
	v->neg_cs = -cs->base;
	if (!(s->cr0 & CR0_PE) || s->rflags & FL_VM)
		mode |= MODE_REAL;
	if (s->seg[SS].attr & SEG_DB)
		mode |= MODE_S32;
	if (cs->attr & SEG_DB)
		mode |= MODE_D32;
	if (cs->limit < (cs->attr & SEG_DB ? UINT32_MAX : 0xffffu))
		mode |= MODE_NEAR;
	if (mode & MODE_D32 && !(mode & MODE_NEAR) && !cs->base && seg_flat(v, DS) &&
	    seg_flat(v, ES) && seg_flat(v, SS)) {
		mode |= MODE_FLAT;
	} else if (cs->base != v->cs_base_seen || cs->limit != v->cs_limit_seen) {
		v->cs_base_seen = cs->base;
		v->cs_limit_seen = cs->limit;
		soft_jumps_flush(v);
	}
	return mode;
}

uint32_t soft_mode(struct soft_vcpu *v)
{
	const struct x86_state *s = &v->cpu.s;
	uint32_t mode = MODE_VALID | soft_ctx(v);
	bool fp = !(s->cr0 & (CR0_EM | CR0_TS));

	if (v->sv->cfg.interp || v->cpu.debug_step)
		return MODE_INTERP;
	if ((s->rflags & FL_TF) || (s->dr[7] & DR7_ENABLED) || s->smm)
		return MODE_INTERP;
	if ((s->rflags & FL_AC) && (s->cr0 & CR0_AM) && (mode & MODE_CTX) == CTX_USER)
		return MODE_INTERP;
	if (x86_cpl(s) == 1 || x86_cpl(s) == 2 || s->ignne)
		return MODE_INTERP;
	if (!(s->efer & EFER_LMA) || !(s->seg[CS].attr & SEG_L))
		mode |= legacy_mode(v);
	if (s->cr4 & CR4_SMAP)
		mode |= MODE_SMAP;
	if (!(s->cr4 & CR4_TSD) || x86_cpl(s) == 0)
		mode |= MODE_TSC;
	if (s->cr4 & CR4_FSGSBASE)
		mode |= MODE_BASES;
	if (s->cr4 & CR4_PKE)
		mode |= MODE_PKE;
	if (fp)
		mode |= MODE_FPU;
	if (fp && (s->cr4 & CR4_OSFXSR))
		mode |= MODE_SSE;
	if (fp && !(mode & MODE_REAL) && (s->cr4 & CR4_OSXSAVE) && (s->xcr0 & 6) == 6)
		mode |= MODE_AVX;
	if (mode & MODE_AVX && (s->xcr0 & XCR0_AVX512) == XCR0_AVX512)
		mode |= MODE_AVX512;
	if (MODE_IS_USER(mode) && !(mode & MODE_LEGACY) && soft_direct_serves(v))
		mode |= MODE_DIRECT;
	return mode;
}

void soft_refresh_mode(struct soft_vcpu *v)
{
	const struct x86_state *s = &v->cpu.s;

	v->mode_dirty = false;
	if (((s->cr0 ^ v->cr0_seen) & CR0_MMU) || ((s->cr4 ^ v->cr4_seen) & CR4_MMU) ||
	    ((s->efer ^ v->efer_seen) & (EFER_NXE | EFER_LMA)))
		soft_tlb_flush(&v->cpu, FLUSH_ALL, 0, 0);
	v->cr0_seen = s->cr0;
	v->cr4_seen = s->cr4;
	v->efer_seen = s->efer;
	v->fetch_page = FETCH_NONE; /* rights go by CPL */
	if (x86_cpl(s) == 3)
		soft_direct_take(v);
	v->mode = soft_mode(v);
	if (v->mode & MODE_DIRECT)
		soft_direct_sync(v);
	if (v->mode != MODE_INTERP)
		soft_jumps_mode(v);
	if (mon_listens(&v->sv->vm->mon, MON_CPU)) {
		if (unlikely(!v->vcpu->ring.since)) /* the root whose time begins */
			vcpu_tell_root(v->vcpu);
		vcpu_ring_set(v->vcpu, x86_cpl(s) == 3);
	} else {
		vcpu_ring_off(v->vcpu);
	}
}

/* INIT may come, and an NMI after it, since requests were looked at. */
static void take_nmi(struct soft_vcpu *v)
{
	uint32_t old = atomic_fetch_and(&v->vcpu->requests, ~(uint32_t)REQ_NMI);

	if (old & REQ_NMI && old & REQ_INIT)
		atomic_fetch_or(&v->vcpu->requests, REQ_NMI);
	else if (old & REQ_NMI)
		vcpu_nmi_comes(v->vcpu);
}

/* Requests and kicks. True: run() must return. */
static bool take_requests(struct soft_vcpu *v)
{
	struct vcpu *vcpu = v->vcpu;
	uint32_t req;

	atomic_store(&v->poll, 0);
	if (atomic_load(&v->sv->flushing)) {
		atomic_store(&v->in_code, false);
		soft_come_in(v);
	}
	soft_let_alone(v);
	soft_code_news(v);
	req = atomic_load(&vcpu->requests);
	if (req & (REQ_IRQ | REQ_ENGINE))
		atomic_fetch_and(&vcpu->requests, ~(uint32_t)(REQ_IRQ | REQ_ENGINE));
	if (req & REQ_IRQ)
		v->look = true;
	if (req & REQ_NMI && !(req & REQ_INIT)) /* after INIT: vcpu_requests() takes both */
		take_nmi(v);
	if (req & REQ_SMI) {
		atomic_fetch_and(&vcpu->requests, ~(uint32_t)REQ_SMI);
		v->cpu.s.smi_pending = true;
	}
	if (req & REQ_A20) {
		atomic_fetch_and(&vcpu->requests, ~(uint32_t)REQ_A20);
		v->cpu.s.a20_masked = atomic_load(&vcpu->vm->a20_masked);
		soft_tlb_flush(&v->cpu, FLUSH_ALL, 0, 0);
	}
	return req & (REQ_INIT | REQ_SIPI | REQ_PAUSE | REQ_STOP | REQ_SHARE);
}

void soft_after_step(struct soft_vcpu *v, enum cpu_step st)
{
	if (st == STEP_SHUTDOWN) {
		v->exit->kind = EXIT_SHUTDOWN;
		v->leave = true;
	} else if (unlikely(v->cpu.hit.kind)) {
		v->exit->kind = EXIT_DEBUG;
		v->exit->hit = v->cpu.hit;
		v->leave = true;
	}
}

/* To a debugger that steps, the way into a handler is a step. */
static void after_event(struct soft_vcpu *v, enum cpu_step st)
{
	if (unlikely(v->cpu.debug_step) && !v->cpu.hit.kind)
		v->cpu.hit.kind = HIT_STEP;
	soft_after_step(v, st);
}

/* Delivers what can be delivered. */
static void take_events(struct soft_vcpu *v)
{
	struct x86_state *s = &v->cpu.s;
	struct vcpu *vcpu = v->vcpu;
	int vector;

	if (unlikely(v->cpu.debug_step == DEBUG_STEP_NO_IRQ))
		return;
	if (unlikely(s->smi_pending) && !s->smm && !s->shadow) {
		soft_fpu_park(v);
		cpu_smi(&v->cpu);
		after_event(v, STEP_OK);
	}
	if (unlikely(s->init_pending) &&
	    !s->smm) { /* before an NMI; the vCPU's loop carries it out */
		v->leave = true;
		return;
	}
	if (unlikely(s->nmi_pending) && !s->nmi_blocked && !s->shadow) {
		soft_fpu_park(v);
		s->nmi_pending = false;
		s->activity = ACT_RUN;
		after_event(v, cpu_nmi(&v->cpu));
	}
	if (v->irq_waits && cpu_can_interrupt(&v->cpu))
		v->look = true;
	if (!v->look || !vcpu->intc)
		return;
	soft_fpu_park(v);
	if (!cpu_can_interrupt(&v->cpu)) {
		v->irq_waits = vcpu->intc->pending(vcpu->intc_chip) >= 0;
		v->look = false;
		return;
	}
	v->look = false;
	v->irq_waits = 0;
	vector = vcpu->intc->ack(vcpu->intc_chip);
	if (vector < 0)
		return;
	v->stats.irqs++;
	ring_look(&v->vcpu->ring);
	soft_sample(v);
	v->look = true; /* more may wait */
	s->activity = ACT_RUN;
	after_event(v, cpu_interrupt(&v->cpu, (uint8_t)vector));
}

static bool must_step(const struct soft_vcpu *v)
{
	return v->mode == MODE_INTERP || v->cpu.s.shadow || v->cpu.i.pending;
}

const uint8_t *soft_next(struct soft_vcpu *v)
{
	struct x86_state *s = &v->cpu.s;
	const uint8_t *code;

	for (;;) {
		if (unlikely(atomic_load_explicit(&v->poll, memory_order_relaxed)) &&
		    take_requests(v) && !v->leave) {
			v->exit->kind = EXIT_NONE;
			v->leave = true;
		}
		if (unlikely((v->look || v->irq_waits || s->nmi_pending || s->smi_pending ||
			      s->init_pending) &&
			     !v->leave))
			take_events(v);
		soft_stored(v);
		if (unlikely(v->leave))
			break;
		if (unlikely(s->activity != ACT_RUN)) {
			v->exit->kind = s->activity == ACT_HLT ? EXIT_HLT : EXIT_NONE;
			v->leave = true;
			break;
		}
		if (v->mode_dirty)
			soft_refresh_mode(v);
		if (likely(!must_step(v))) {
			code = soft_find(v);
			if (likely(code)) {
				soft_fpu_load(v);
				s->rflags &= ~FL_RF; /* no breakpoints: see soft_mode() */
				return code;
			}
			if (v->leave)
				break;
		}
		soft_fpu_park(v);
		v->stats.steps++;
		soft_after_step(v, cpu_step(&v->cpu));
	}
	return soft_leave_code(v);
}
