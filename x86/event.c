/* SPDX-License-Identifier: ISC */
/* event.c: delivery of exceptions and interrupts (SDM vol. 3, chapter 6; 20.1.4 for real mode,
 * 20.2-20.3 for virtual-8086 mode).
 *
 * A delivery is prepared completely, stack written, before registers change; what fails on the way
 * is another exception, and cpu_raise() decides between serial handling, double fault and
 * shutdown. CPU's own thread only. */
#include "x86/interp.h"

struct event {
	unsigned vector;
	enum event_kind kind;
	bool has_error;
	uint32_t error;
	uint32_t ext; /* EXT bit for error codes born here */
	uint64_t ret;
	uint64_t flags; /* image to be pushed */
};

struct gate {
	unsigned type, dpl, ist;
	bool present;
	uint16_t sel;
	uint64_t offset;
};

/* Flags that delivery clears, whatever the gate */
#define FL_CLEARED (FL_TF | FL_NT | FL_RF | FL_VM)

/* ---- real mode ---- */

static int deliver_real(struct cpu *cpu, const struct event *ev)
{
	struct x86_state *s = &cpu->s;
	struct stack st;
	uint64_t entry;

	if (ev->vector * 4 + 3 > s->idtr.limit)
		return raise_vec(cpu, VEC_GP);
	if (sys_read(cpu, s->idtr.base + ev->vector * 4, 4, &entry))
		return CPU_FAULT;
	stack_here(cpu, &st);
	if (stack_push(cpu, &st, 2, ev->flags) || stack_push(cpu, &st, 2, s->seg[CS].sel) ||
	    stack_push(cpu, &st, 2, ev->ret))
		return CPU_FAULT;
	stack_commit(cpu, &st);
	s->rflags &= ~(FL_IF | FL_TF | FL_AC | FL_RF);
	seg_set_real(cpu, CS, (unsigned)(entry >> 16));
	s->rip = entry & 0xffff;
	return 0;
}

/* ---- gates ---- */

static uint32_t gate_error(const struct event *ev)
{
	return ev->vector * 8 | 2 | ev->ext;
}

static int gate_read(struct cpu *cpu, const struct event *ev, struct gate *g)
{
	unsigned size = is_long(cpu) ? 16 : 8;
	gva_t at = cpu->s.idtr.base + ev->vector * size;
	uint64_t lo, hi = 0;

	if (ev->vector * size + size - 1 > cpu->s.idtr.limit)
		return raise_err(cpu, VEC_GP, gate_error(ev));
	if (sys_read(cpu, at, 8, &lo) || (size == 16 && sys_read(cpu, at + 8, 8, &hi)))
		return CPU_FAULT;
	g->type = lo >> 40 & 0x1f;
	g->dpl = lo >> 45 & 3;
	g->present = lo >> 47 & 1;
	g->ist = size == 16 ? lo >> 32 & 7 : 0;
	g->sel = (uint16_t)(lo >> 16);
	g->offset = (lo & 0xffff) | (lo >> 32 & 0xffff0000) | hi << 32;
	if (g->type == 6 || g->type == 7)
		g->offset &= 0xffff;
	/* interrupt and trap gates, and outside of long mode 16-bit ones and task gates */
	if (g->type != 14 && g->type != 15 &&
	    (size == 16 || (g->type != 5 && g->type != 6 && g->type != 7)))
		return raise_err(cpu, VEC_GP, gate_error(ev));
	if (ev->kind == EVENT_SOFT && g->dpl < x86_cpl(&cpu->s))
		return raise_err(cpu, VEC_GP, gate_error(ev));
	if (!g->present)
		return raise_err(cpu, VEC_NP, gate_error(ev));
	return 0;
}

/* The handler's code segment. */
static int gate_code(struct cpu *cpu, const struct event *ev, const struct gate *g, struct desc *cs)
{
	uint32_t error = (g->sel & 0xfffc) | ev->ext;

	if (!(g->sel & 0xfffc))
		return raise_err(cpu, VEC_GP, ev->ext);
	if (desc_read(cpu, g->sel, VEC_GP, ev->ext, cs))
		return CPU_FAULT;
	if (!desc_is_code(cs) || desc_dpl(cs) > x86_cpl(&cpu->s))
		return raise_err(cpu, VEC_GP, error);
	if (is_long(cpu) && (cs->attr & (SEG_L | SEG_DB)) != SEG_L)
		return raise_err(cpu, VEC_GP, error);
	if (!(cs->attr & SEG_P))
		return raise_err(cpu, VEC_NP, error);
	return 0;
}

/* ---- stacks in the TSS ---- */

int tss_stack(struct cpu *cpu, unsigned cpl, uint32_t ext, unsigned *ss, uint32_t *esp)
{
	const struct x86_seg *tr = &cpu->s.tr;
	bool wide = (tr->attr & SEG_TYPE) >= 9;
	unsigned off = wide ? cpl * 8 + 4 : cpl * 4 + 2, size = wide ? 4 : 2;
	uint64_t sp, sel;

	if (tr->attr & SEG_UNUSABLE || off + size + 1 > tr->limit)
		return raise_err(cpu, VEC_TS, (tr->sel & 0xfffc) | ext);
	if (sys_read(cpu, tr->base + off, size, &sp) ||
	    sys_read(cpu, tr->base + off + size, 2, &sel))
		return CPU_FAULT;
	*ss = (unsigned)sel;
	*esp = (uint32_t)sp;
	return 0;
}

int tss_rsp(struct cpu *cpu, unsigned n, uint32_t ext, uint64_t *rsp)
{
	const struct x86_seg *tr = &cpu->s.tr;
	unsigned off = n < 3 ? 4 + n * 8 : 0x24 + (n - 4) * 8;

	if (tr->attr & SEG_UNUSABLE || off + 7 > tr->limit)
		return raise_err(cpu, VEC_TS, (tr->sel & 0xfffc) | ext);
	if (sys_read(cpu, tr->base + off, 8, rsp))
		return CPU_FAULT;
	if (!is_canonical(cpu, *rsp))
		return raise_err(cpu, VEC_SS, ext);
	return 0;
}

/* ---- commit ---- */

static void enter_handler(struct cpu *cpu, const struct gate *g, const struct desc *cs,
			  unsigned cpl)
{
	struct x86_state *s = &cpu->s;

	s->rflags &= ~FL_CLEARED;
	if (!(g->type & 1))
		s->rflags &= ~FL_IF;
	s->seg[CS] = desc_to_seg(cs, (g->sel & 0xfffc) | cpl);
	s->rip = g->offset;
	mode_changed(cpu);
}

/* ---- long mode ---- */

static int deliver_long(struct cpu *cpu, const struct event *ev)
{
	struct x86_state *s = &cpu->s;
	unsigned cpl = x86_cpl(s), to;
	struct stack st = {.mask = UINT64_MAX, .flat = true, .error = ev->ext};
	struct gate g;
	struct desc cs;

	if (gate_read(cpu, ev, &g) || gate_code(cpu, ev, &g, &cs))
		return CPU_FAULT;
	to = desc_is_conforming(&cs) ? cpl : desc_dpl(&cs);
	st.user = to == 3;
	st.sp = s->gpr[RSP];
	if (g.ist || to < cpl) {
		if (tss_rsp(cpu, g.ist ? 3 + g.ist : to, ev->ext, &st.sp))
			return CPU_FAULT;
	}
	st.sp &= ~UINT64_C(15);
	if (stack_push(cpu, &st, 8, s->seg[SS].sel) || stack_push(cpu, &st, 8, s->gpr[RSP]) ||
	    stack_push(cpu, &st, 8, ev->flags) || stack_push(cpu, &st, 8, s->seg[CS].sel) ||
	    stack_push(cpu, &st, 8, ev->ret) ||
	    (ev->has_error && stack_push(cpu, &st, 8, ev->error)))
		return CPU_FAULT;
	if (!is_canonical(cpu, g.offset))
		return raise_err(cpu, VEC_GP, ev->ext);
	if (desc_set_accessed(cpu, &cs))
		return CPU_FAULT;
	if (to < cpl)
		s->seg[SS] = (struct x86_seg){
			.sel = (uint16_t)to,
			.attr = (uint16_t)(SEG_UNUSABLE | to << 5),
		};
	s->gpr[RSP] = st.sp;
	enter_handler(cpu, &g, &cs, to);
	return 0;
}

/* ---- protected mode ---- */

/* Stack of an inner ring, by the TSS. */
static int inner_stack(struct cpu *cpu, const struct event *ev, unsigned to, struct x86_seg *seg,
		       struct stack *st)
{
	struct desc d;
	unsigned ss;
	uint32_t esp;

	if (tss_stack(cpu, to, ev->ext, &ss, &esp) ||
	    seg_check_ss(cpu, ss, to, VEC_TS, ev->ext, &d) || desc_set_accessed(cpu, &d))
		return CPU_FAULT;
	*seg = desc_to_seg(&d, ss);
	*st = (struct stack){
		.ss = seg,
		.sp = esp,
		.mask = d.attr & SEG_DB ? 0xffffffff : 0xffff,
		.error = (ss & 0xfffc) | ev->ext,
	};
	return 0;
}

static int push_v86_segs(struct cpu *cpu, struct stack *st, unsigned size)
{
	static const uint8_t order[] = {GS, FS, DS, ES};

	for (unsigned i = 0; i < 4; i++)
		if (stack_push(cpu, st, size, cpu->s.seg[order[i]].sel))
			return CPU_FAULT;
	return 0;
}

/* The flags image, with RF for a fault, goes into the old task's TSS. */
static int through_task_gate(struct cpu *cpu, const struct event *ev, unsigned sel)
{
	uint64_t flags = cpu->s.rflags;
	int r;

	cpu->s.rflags = ev->flags;
	r = task_gate(cpu, sel, TASK_EVENT, ev->ext, ev->ret, ev->has_error, ev->error);
	if (r && cpu->s.rflags == ev->flags)
		cpu->s.rflags = flags;
	return r;
}

static int deliver_prot(struct cpu *cpu, const struct event *ev)
{
	struct x86_state *s = &cpu->s;
	unsigned cpl = x86_cpl(s), to, size;
	bool v86 = is_v86(cpu), inner;
	struct x86_seg ss;
	struct stack st;
	struct gate g;
	struct desc cs;

	if (gate_read(cpu, ev, &g))
		return CPU_FAULT;
	if (g.type == 5)
		return through_task_gate(cpu, ev, g.sel);
	if (gate_code(cpu, ev, &g, &cs))
		return CPU_FAULT;
	to = desc_is_conforming(&cs) ? cpl : desc_dpl(&cs);
	if (v86 && to != 0)
		return raise_err(cpu, VEC_GP, (g.sel & 0xfffc) | ev->ext);
	inner = to < cpl;
	size = g.type >= 14 ? 4 : 2;
	if (inner) {
		if (inner_stack(cpu, ev, to, &ss, &st))
			return CPU_FAULT;
	} else {
		stack_here(cpu, &st);
		st.error = ev->ext;
	}
	if (v86 && push_v86_segs(cpu, &st, size))
		return CPU_FAULT;
	if (inner &&
	    (stack_push(cpu, &st, size, s->seg[SS].sel) || stack_push(cpu, &st, size, s->gpr[RSP])))
		return CPU_FAULT;
	if (stack_push(cpu, &st, size, ev->flags) || stack_push(cpu, &st, size, s->seg[CS].sel) ||
	    stack_push(cpu, &st, size, ev->ret) ||
	    (ev->has_error && stack_push(cpu, &st, size, ev->error)))
		return CPU_FAULT;
	if (g.offset > cs.limit)
		return raise_err(cpu, VEC_GP, ev->ext);
	if (desc_set_accessed(cpu, &cs))
		return CPU_FAULT;
	if (inner)
		s->seg[SS] = ss;
	if (v86) {
		s->rflags &= ~FL_VM;
		for (unsigned i = 0; i < 4; i++)
			seg_set_null(cpu, (unsigned[]){ES, DS, FS, GS}[i], 0);
	}
	stack_commit(cpu, &st);
	enter_handler(cpu, &g, &cs, to);
	return 0;
}

/* ---- entry ---- */

static int deliver(struct cpu *cpu, const struct event *ev)
{
	if (!is_pe(cpu)) {
		int r = deliver_real(cpu, ev);

		if (!r)
			mode_changed(cpu);
		return r;
	}
	return is_long(cpu) ? deliver_long(cpu, ev) : deliver_prot(cpu, ev);
}

int event_deliver(struct cpu *cpu, unsigned vector, enum event_kind kind, bool has_error,
		  uint32_t error, uint64_t ret)
{
	struct event ev = {
		.vector = vector,
		.kind = kind,
		.has_error = has_error && is_pe(cpu),
		.error = error,
		.ext = kind != EVENT_SOFT,
		.ret = ret,
		.flags = cpu->s.rflags,
	};

	return deliver(cpu, &ev);
}

static bool is_contributory(unsigned vector)
{
	return vector == VEC_DE || (vector >= VEC_TS && vector <= VEC_GP) || vector == VEC_CP;
}

/* SDM vol. 3, table 6-5 */
static bool makes_double_fault(unsigned first, unsigned second)
{
	if (first == VEC_PF)
		return second == VEC_PF || is_contributory(second);
	return is_contributory(first) && is_contributory(second);
}

/* What a processor does when it raises, before delivery. */
static void note(struct cpu *cpu, const struct cpu_exc *exc)
{
	if (exc->vector == VEC_PF)
		cpu->s.cr2 = exc->cr2;
	if (exc->vector == VEC_DB) {
		cpu->s.dr[6] = (cpu->s.dr[6] & ~UINT64_C(0xf)) | exc->dr6;
		cpu->s.dr[7] &= ~BIT64(13);
		cpu->s.debugctl &= ~UINT64_C(3); /* LBR, BTF */
	}
}

static enum cpu_step shutdown(struct cpu *cpu, unsigned vector)
{
	COVER_FAULT(COVER_TRIPLE, vector);
	cpu->s.activity = ACT_SHUTDOWN;
	return STEP_SHUTDOWN;
}

/* first: -1 or the vector of the exception that is being delivered already */
static enum cpu_step escalate(struct cpu *cpu, struct cpu_exc exc, int first)
{
	for (;;) {
		if (first == VEC_DF && (exc.vector == VEC_PF || is_contributory(exc.vector)))
			return shutdown(cpu, exc.vector);
		note(cpu, &exc);
		if (first >= 0 && makes_double_fault((unsigned)first, exc.vector)) {
			COVER_FAULT(VEC_DF, (unsigned)first << 8 | exc.vector);
			exc = (struct cpu_exc){.vector = VEC_DF, .has_error = true};
		}
		tell(cpu, TOLD_EXC + exc.vector, exc.has_error ? exc.error : 0);
		struct event ev = {
			.vector = exc.vector,
			.kind = EVENT_EXC,
			.has_error = exc.has_error && is_pe(cpu),
			.error = exc.error,
			.ext = 1,
			.ret = cpu->s.rip,
			.flags = cpu->s.rflags,
		};
		/* Faults are restarted with RF, so that a code breakpoint does not hit twice; #DB
		 * decides by itself, #BP and #OF are software's, #DF an abort. */
		if (exc.vector != VEC_DB && exc.vector != VEC_DF)
			ev.flags |= FL_RF;
		if (!deliver(cpu, &ev)) {
			cpu->s.shadow = 0;
			return STEP_OK;
		}
		first = exc.vector;
		exc = cpu->exc;
	}
}

enum cpu_step cpu_raise(struct cpu *cpu, const struct cpu_exc *exc)
{
	if (unlikely(!cpu->i.ready))
		cpu_init(cpu);
	return escalate(cpu, *exc, -1);
}

static enum cpu_step external(struct cpu *cpu, unsigned vector)
{
	if (unlikely(!cpu->i.ready))
		cpu_init(cpu);
	if (cpu->s.activity == ACT_HLT)
		cpu->s.activity = ACT_RUN;
	cpu->s.shadow = 0;
	if (event_deliver(cpu, vector, EVENT_EXT, false, 0, cpu->s.rip))
		return escalate(cpu, cpu->exc, -1);
	return STEP_OK;
}

enum cpu_step cpu_interrupt(struct cpu *cpu, uint8_t vector)
{
	return external(cpu, vector);
}

enum cpu_step cpu_nmi(struct cpu *cpu)
{
	cpu->s.nmi_pending = false;
	cpu->s.nmi_blocked = true;
	return external(cpu, VEC_NMI);
}

bool cpu_can_interrupt(const struct cpu *cpu)
{
	return cpu->s.rflags & FL_IF && !cpu->s.shadow;
}
