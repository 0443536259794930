/* SPDX-License-Identifier: ISC */
/* exec_far.c: transfers that change CS: far JMP, CALL and RET, IRET (SDM vol. 3, 5.8; vol. 2A) in
 * real, virtual-8086, protected, compatibility and 64-bit mode, through call and task gates.
 * CPU's own thread only. */
#include "x86/interp.h"

/* ---- common checks ---- */

/* A new code segment takes RIP: limit, or canonical where it is a 64-bit one. */
static int check_target(struct cpu *cpu, const struct desc *cs, uint64_t rip)
{
	if (is_long(cpu) && cs->attr & SEG_L)
		return is_canonical(cpu, rip) ? 0 : raise_gp0(cpu);
	return rip > cs->limit ? raise_gp0(cpu) : 0;
}

/* Present, and in long mode not both L and D. */
static int check_code(struct cpu *cpu, const struct desc *cs, unsigned sel)
{
	if (is_long(cpu) && (cs->attr & (SEG_L | SEG_DB)) == (SEG_L | SEG_DB))
		return raise_err(cpu, VEC_GP, sel & 0xfffc);
	if (!(cs->attr & SEG_P))
		return raise_err(cpu, VEC_NP, sel & 0xfffc);
	return 0;
}

static void set_cs(struct cpu *cpu, const struct desc *cs, unsigned sel, unsigned cpl, uint64_t rip)
{
	cpu->s.seg[CS] = desc_to_seg(cs, (sel & 0xfffc) | cpl);
	cpu->i.next_rip = rip;
	mode_changed(cpu);
}

/* Real and virtual-8086 mode */
static int far_real(struct cpu *cpu, unsigned sel, uint64_t off)
{
	if (off > cpu->s.seg[CS].limit)
		return raise_gp0(cpu);
	if (is_v86(cpu))
		seg_set_v86(cpu, CS, sel);
	else
		seg_set_real(cpu, CS, sel);
	cpu->i.next_rip = off;
	mode_changed(cpu);
	return 0;
}

/* ---- gates ---- */

struct call_gate {
	unsigned size; /* of what it pushes */
	unsigned params;
	unsigned sel;
	uint64_t offset;
};

static int read_call_gate(struct cpu *cpu, struct desc *d, struct call_gate *g)
{
	g->size = desc_type(d) == 4 ? 2 : 4;
	g->params = d->lo >> 32 & 31;
	g->sel = (unsigned)(d->lo >> 16) & 0xffff;
	g->offset = (d->lo & 0xffff) | (d->lo >> 32 & 0xffff0000);
	if (is_long(cpu)) {
		if (desc_read_hi(cpu, VEC_GP, d))
			return CPU_FAULT;
		g->size = 8;
		g->params = 0;
		g->offset |= d->hi << 32;
	}
	if (g->size == 2)
		g->offset &= 0xffff;
	return 0;
}

/* The code segment that a call gate names */
static int gate_target(struct cpu *cpu, const struct call_gate *g, struct desc *cs)
{
	uint32_t error = g->sel & 0xfffc;

	if (!error)
		return raise_gp0(cpu);
	if (desc_read(cpu, g->sel, VEC_GP, 0, cs))
		return CPU_FAULT;
	if (!desc_is_code(cs) || desc_dpl(cs) > x86_cpl(&cpu->s))
		return raise_err(cpu, VEC_GP, error);
	if (is_long(cpu) && (cs->attr & (SEG_L | SEG_DB)) != SEG_L)
		return raise_err(cpu, VEC_GP, error);
	if (!(cs->attr & SEG_P))
		return raise_err(cpu, VEC_NP, error);
	return 0;
}

/* CALL through a gate to an inner ring. */
static int call_inner(struct cpu *cpu, const struct call_gate *g, struct desc *cs)
{
	struct x86_state *s = &cpu->s;
	unsigned to = desc_dpl(cs), ss_sel;
	struct stack old, st = {.mask = UINT64_MAX, .flat = true};
	struct x86_seg ss = {.sel = (uint16_t)to, .attr = (uint16_t)(SEG_UNUSABLE | to << 5)};
	struct desc d;
	uint64_t param[32];
	uint32_t esp;

	if (is_long(cpu)) {
		if (tss_rsp(cpu, to, 0, &st.sp))
			return CPU_FAULT;
	} else {
		if (tss_stack(cpu, to, 0, &ss_sel, &esp) ||
		    seg_check_ss(cpu, ss_sel, to, VEC_TS, 0, &d) || desc_set_accessed(cpu, &d))
			return CPU_FAULT;
		ss = desc_to_seg(&d, ss_sel);
		st = (struct stack){
			.ss = &ss,
			.sp = esp,
			.mask = d.attr & SEG_DB ? 0xffffffff : 0xffff,
			.error = ss_sel & 0xfffc,
		};
	}
	stack_here(cpu, &old);
	for (unsigned i = 0; i < g->params; i++)
		if (stack_pop(cpu, &old, g->size, &param[i]))
			return CPU_FAULT;
	if (stack_push(cpu, &st, g->size, s->seg[SS].sel) ||
	    stack_push(cpu, &st, g->size, s->gpr[RSP]))
		return CPU_FAULT;
	for (unsigned i = g->params; i-- > 0;)
		if (stack_push(cpu, &st, g->size, param[i]))
			return CPU_FAULT;
	if (stack_push(cpu, &st, g->size, s->seg[CS].sel) ||
	    stack_push(cpu, &st, g->size, cpu->i.next_rip) || check_target(cpu, cs, g->offset) ||
	    desc_set_accessed(cpu, cs))
		return CPU_FAULT;
	s->seg[SS] = ss;
	stack_commit(cpu, &st);
	set_cs(cpu, cs, g->sel, to, g->offset);
	return 0;
}

static int far_gate(struct cpu *cpu, struct desc *d, bool call)
{
	unsigned cpl = x86_cpl(&cpu->s);
	struct call_gate g;
	struct stack st;
	struct desc cs;

	if (read_call_gate(cpu, d, &g) || gate_target(cpu, &g, &cs))
		return CPU_FAULT;
	if (call && !desc_is_conforming(&cs) && desc_dpl(&cs) < cpl)
		return call_inner(cpu, &g, &cs);
	if (!desc_is_conforming(&cs) && desc_dpl(&cs) != cpl)
		return raise_err(cpu, VEC_GP, g.sel & 0xfffc);
	stack_here(cpu, &st);
	if (is_long(cpu)) { /* a 64-bit gate pushes on a flat stack, from compatibility mode too */
		st.flat = true;
		st.mask = UINT64_MAX;
	}
	if (call && (stack_push(cpu, &st, g.size, cpu->s.seg[CS].sel) ||
		     stack_push(cpu, &st, g.size, cpu->i.next_rip)))
		return CPU_FAULT;
	if (check_target(cpu, &cs, g.offset) || desc_set_accessed(cpu, &cs))
		return CPU_FAULT;
	if (call)
		stack_commit(cpu, &st);
	set_cs(cpu, &cs, g.sel, cpl, g.offset);
	return 0;
}

/* System descriptors as the target of JMP or CALL. */
static int far_system(struct cpu *cpu, struct desc *d, unsigned sel, bool call)
{
	unsigned cpl = x86_cpl(&cpu->s), type = desc_type(d);
	enum task_how how = call ? TASK_CALL : TASK_JMP;
	bool gate = type == 12 || (!is_long(cpu) && (type == 4 || type == 5));
	bool tss = !is_long(cpu) && (type == 1 || type == 9);
	int r;

	if ((!gate && !tss) || desc_dpl(d) < cpl || desc_dpl(d) < (sel & 3))
		return raise_err(cpu, VEC_GP, sel & 0xfffc);
	if (!(d->attr & SEG_P))
		return raise_err(cpu, VEC_NP, sel & 0xfffc);
	if (gate && type != 5)
		return far_gate(cpu, d, call);
	if (tss)
		r = task_switch(cpu, d, how, cpu->i.next_rip, false, 0);
	else
		r = task_gate(cpu, (unsigned)(d->lo >> 16) & 0xffff, how, 0, cpu->i.next_rip, false,
			      0);
	cpu->i.next_rip = cpu->s.rip;
	return r;
}

/* ---- far JMP and CALL ---- */

static int far_transfer(struct cpu *cpu, unsigned sel, uint64_t off, unsigned size, bool call)
{
	unsigned cpl = x86_cpl(&cpu->s), rpl = sel & 3;
	uint32_t error = sel & 0xfffc;
	bool real = !is_prot(cpu);
	struct stack st;
	struct desc cs;

	if (!real) {
		if (!error)
			return raise_gp0(cpu);
		if (desc_read(cpu, sel, VEC_GP, 0, &cs))
			return CPU_FAULT;
		if (!(cs.attr & SEG_S))
			return far_system(cpu, &cs, sel, call);
		if (!desc_is_code(&cs) ||
		    (desc_is_conforming(&cs) ? desc_dpl(&cs) > cpl
					     : rpl > cpl || desc_dpl(&cs) != cpl))
			return raise_err(cpu, VEC_GP, error);
		if (check_code(cpu, &cs, sel))
			return CPU_FAULT;
	}
	if (call) {
		stack_here(cpu, &st);
		if (stack_push(cpu, &st, size, cpu->s.seg[CS].sel) ||
		    stack_push(cpu, &st, size, cpu->i.next_rip))
			return CPU_FAULT;
	}
	if (real) {
		if (far_real(cpu, sel, off))
			return CPU_FAULT;
	} else {
		if (check_target(cpu, &cs, off) || desc_set_accessed(cpu, &cs))
			return CPU_FAULT;
		set_cs(cpu, &cs, sel, cpl, off);
	}
	if (call)
		stack_commit(cpu, &st);
	return EXEC_OK;
}

static int far_operand(struct cpu *cpu, const struct insn *in, unsigned *sel, uint64_t *off)
{
	unsigned size = in->op_size;
	uint64_t ea, v;

	if (!in->has_mem) {
		*off = in->imm & size_mask(size);
		*sel = in->imm2 & 0xffff;
		return 0;
	}
	ea = cpu_ea(cpu, in);
	if (seg_read(cpu, in->mem.seg, ea, size, off) ||
	    seg_read(cpu, in->mem.seg, (ea + size) & size_mask(in->mem.addr_size), 2, &v))
		return CPU_FAULT;
	*sel = (unsigned)v;
	return 0;
}

EXEC(jmpf)
{
	unsigned sel;
	uint64_t off;

	if (far_operand(cpu, in, &sel, &off))
		return CPU_FAULT;
	return far_transfer(cpu, sel, off, in->op_size, false);
}

EXEC(callf)
{
	unsigned sel;
	uint64_t off;

	if (far_operand(cpu, in, &sel, &off))
		return CPU_FAULT;
	return far_transfer(cpu, sel, off, in->op_size, true);
}

/* ---- returns ---- */

/* Data segments that an outer ring may not keep become null (SDM vol. 3, 5.8.6). */
static void drop_segments(struct cpu *cpu, unsigned cpl)
{
	static const uint8_t list[] = {ES, DS, FS, GS};

	for (unsigned i = 0; i < 4; i++) {
		struct x86_seg *seg = &cpu->s.seg[list[i]];
		bool conforming = (seg->attr & 0xc) == 0xc;

		if (!(seg->attr & SEG_UNUSABLE) && !conforming && (seg->attr & SEG_DPL) >> 5 < cpl)
			seg_set_null(cpu, list[i], 0);
	}
}

/* CS of RETF and IRET, in protected mode. */
static int return_code(struct cpu *cpu, unsigned sel, struct desc *cs)
{
	unsigned rpl = sel & 3, dpl;
	uint32_t error = sel & 0xfffc;

	if (!error)
		return raise_gp0(cpu);
	if (desc_read(cpu, sel, VEC_GP, 0, cs))
		return CPU_FAULT;
	dpl = desc_dpl(cs);
	if (!desc_is_code(cs) || rpl < x86_cpl(&cpu->s) ||
	    (desc_is_conforming(cs) ? dpl > rpl : dpl != rpl))
		return raise_err(cpu, VEC_GP, error);
	return check_code(cpu, cs, sel);
}

/* SS of a return to cs at ring cpl; null is for 64-bit code inside rings 0-2. */
static int return_stack(struct cpu *cpu, unsigned sel, const struct desc *cs, unsigned cpl,
			struct x86_seg *ss)
{
	struct desc d;

	if (!(sel & 0xfffc) && is_long(cpu) && cs->attr & SEG_L && cpl < 3) {
		if ((sel & 3) != cpl)
			return raise_gp0(cpu);
		*ss = (struct x86_seg){.sel = (uint16_t)sel,
				       .attr = (uint16_t)(SEG_UNUSABLE | cpl << 5)};
		return 0;
	}
	if (seg_check_ss(cpu, sel, cpl, VEC_GP, 0, &d) || desc_set_accessed(cpu, &d))
		return CPU_FAULT;
	*ss = desc_to_seg(&d, sel);
	return 0;
}

/* Commits a return that loads SS:RSP. A 16-bit stack takes SP only: the rest of RSP is kept. */
static void set_outer(struct cpu *cpu, const struct desc *cs, const struct x86_seg *ss,
		      uint64_t rsp, unsigned to)
{
	bool narrow = !(is_long(cpu) && cs->attr & SEG_L) && !(ss->attr & SEG_DB);
	unsigned from = x86_cpl(&cpu->s);

	cpu->s.seg[SS] = *ss;
	if (narrow)
		gpr_set(cpu, RSP, 2, rsp);
	else
		cpu->s.gpr[RSP] = is_long(cpu) && cs->attr & SEG_L ? rsp : rsp & 0xffffffff;
	if (to > from)
		drop_segments(cpu, to);
}

EXEC(retf)
{
	unsigned size = in->op_size, cpl = x86_cpl(&cpu->s), to;
	uint64_t extra = in->imm & 0xffff, rip, sel, rsp = 0, ss_sel;
	struct x86_seg ss;
	struct stack st;
	struct desc cs;

	stack_here(cpu, &st);
	if (stack_pop(cpu, &st, size, &rip) || stack_pop(cpu, &st, size, &sel))
		return CPU_FAULT;
	sel &= 0xffff;
	st.sp = (st.sp + extra) & st.mask;
	if (!is_prot(cpu)) {
		if (far_real(cpu, (unsigned)sel, rip))
			return CPU_FAULT;
		stack_commit(cpu, &st);
		return EXEC_OK;
	}
	if (return_code(cpu, (unsigned)sel, &cs))
		return CPU_FAULT;
	to = sel & 3;
	if (to > cpl && (stack_pop(cpu, &st, size, &rsp) || stack_pop(cpu, &st, size, &ss_sel) ||
			 return_stack(cpu, (unsigned)ss_sel & 0xffff, &cs, to, &ss)))
		return CPU_FAULT;
	if (check_target(cpu, &cs, rip) || desc_set_accessed(cpu, &cs))
		return CPU_FAULT;
	if (to > cpl)
		set_outer(cpu, &cs, &ss, rsp + extra, to);
	else
		stack_commit(cpu, &st);
	set_cs(cpu, &cs, (unsigned)sel, to, rip);
	return EXEC_OK;
}

/* ---- IRET ---- */

/* Flags that IRET of this size may change at ring cpl */
static uint64_t iret_flags(const struct cpu *cpu, unsigned size, unsigned cpl)
{
	uint64_t may = FL_ARITH | FL_TF | FL_DF | FL_NT;

	if (size > 2)
		may |= FL_RF | FL_AC | FL_ID;
	if (cpl <= iopl(cpu))
		may |= FL_IF;
	if (cpl == 0) {
		may |= FL_IOPL;
		if (size > 2)
			may |= FL_VIF | FL_VIP;
	}
	return may;
}

static void set_flags(struct cpu *cpu, uint64_t v, uint64_t may)
{
	cpu->s.rflags = (cpu->s.rflags & ~may) | (v & may);
}

static int iret_real(struct cpu *cpu, struct stack *st, unsigned size)
{
	uint64_t rip, sel, flags, may = FL_ARITH | FL_TF | FL_DF | FL_NT | FL_IF | FL_IOPL;

	if (stack_pop(cpu, st, size, &rip) || stack_pop(cpu, st, size, &sel) ||
	    stack_pop(cpu, st, size, &flags) || far_real(cpu, (unsigned)sel & 0xffff, rip))
		return CPU_FAULT;
	if (size > 2)
		may |= FL_RF | FL_AC | FL_ID;
	set_flags(cpu, flags, may);
	stack_commit(cpu, st);
	return EXEC_OK;
}

static int iret_v86(struct cpu *cpu, struct stack *st, unsigned size)
{
	uint64_t rip, sel, flags, may = FL_ARITH | FL_TF | FL_DF | FL_NT;
	bool vme = iopl(cpu) < 3;

	if (vme && (!(cpu->s.cr4 & CR4_VME) || size > 2))
		return raise_gp0(cpu);
	if (stack_pop(cpu, st, size, &rip) || stack_pop(cpu, st, size, &sel) ||
	    stack_pop(cpu, st, size, &flags))
		return CPU_FAULT;
	if (vme && (flags & FL_TF || (flags & FL_IF && cpu->s.rflags & FL_VIP)))
		return raise_gp0(cpu);
	if (far_real(cpu, (unsigned)sel & 0xffff, rip))
		return CPU_FAULT;
	if (vme) {
		flags |= flags & FL_IF ? FL_VIF : 0;
		may |= FL_VIF;
	} else {
		may |= FL_IF | (size > 2 ? FL_RF | FL_AC | FL_ID : 0);
	}
	set_flags(cpu, flags, may);
	stack_commit(cpu, st);
	return EXEC_OK;
}

/* From ring 0 to a virtual-8086 task; the stack is above the first three words. */
static int iret_to_v86(struct cpu *cpu, struct stack *st, uint64_t rip, uint64_t cs, uint64_t flags)
{
	static const uint8_t order[] = {SS, ES, DS, FS, GS};
	uint64_t rsp, sel[5];

	if (stack_pop(cpu, st, 4, &rsp))
		return CPU_FAULT;
	for (unsigned i = 0; i < 5; i++)
		if (stack_pop(cpu, st, 4, &sel[i]))
			return CPU_FAULT;
	if (rip > 0xffff)
		return raise_gp0(cpu);
	set_flags(cpu, flags, iret_flags(cpu, 4, 0) | FL_VM);
	seg_set_v86(cpu, CS, (unsigned)cs & 0xffff);
	for (unsigned i = 0; i < 5; i++)
		seg_set_v86(cpu, order[i], (unsigned)sel[i] & 0xffff);
	cpu->s.gpr[RSP] = rsp & 0xffffffff;
	cpu->i.next_rip = rip;
	mode_changed(cpu);
	return EXEC_OK;
}

/* NT: back to the task that the TSS links to. */
static int iret_task(struct cpu *cpu)
{
	struct desc d;
	uint64_t link;
	int r;

	if (is_long(cpu))
		return raise_gp0(cpu);
	if (sys_read(cpu, cpu->s.tr.base, 2, &link))
		return CPU_FAULT;
	if (link & 4)
		return raise_err(cpu, VEC_TS, link & 0xfffc);
	if (desc_read(cpu, (unsigned)link, VEC_TS, 0, &d))
		return CPU_FAULT;
	if (desc_type(&d) != 3 && desc_type(&d) != 11)
		return raise_err(cpu, VEC_TS, link & 0xfffc);
	if (!(d.attr & SEG_P))
		return raise_err(cpu, VEC_NP, link & 0xfffc);
	r = task_switch(cpu, &d, TASK_IRET, cpu->i.next_rip, false, 0);
	cpu->i.next_rip = cpu->s.rip;
	return r;
}

static int iret_prot(struct cpu *cpu, struct stack *st, unsigned size)
{
	unsigned cpl = x86_cpl(&cpu->s), to;
	bool from64 = is_64(cpu), outer;
	uint64_t rip, sel, flags, rsp = 0, ss_sel;
	struct x86_seg ss;
	struct desc cs;

	if (stack_pop(cpu, st, size, &rip) || stack_pop(cpu, st, size, &sel) ||
	    stack_pop(cpu, st, size, &flags))
		return CPU_FAULT;
	sel &= 0xffff;
	if (flags & FL_VM && size == 4 && cpl == 0 && !is_long(cpu))
		return iret_to_v86(cpu, st, rip, sel, flags);
	if (return_code(cpu, (unsigned)sel, &cs))
		return CPU_FAULT;
	to = sel & 3;
	outer = from64 || to > cpl;
	if (outer && (stack_pop(cpu, st, size, &rsp) || stack_pop(cpu, st, size, &ss_sel) ||
		      return_stack(cpu, (unsigned)ss_sel & 0xffff, &cs, to, &ss)))
		return CPU_FAULT;
	if (check_target(cpu, &cs, rip) || desc_set_accessed(cpu, &cs))
		return CPU_FAULT;
	if (outer)
		set_outer(cpu, &cs, &ss, rsp, to);
	else
		stack_commit(cpu, st);
	set_flags(cpu, flags, iret_flags(cpu, size, cpl));
	set_cs(cpu, &cs, (unsigned)sel, to, rip);
	return EXEC_OK;
}

EXEC(iret)
{
	unsigned size = in->op_size;
	struct stack st;
	int r;

	stack_here(cpu, &st);
	if (!is_pe(cpu))
		r = iret_real(cpu, &st, size);
	else if (is_v86(cpu))
		r = iret_v86(cpu, &st, size);
	else if (cpu->s.rflags & FL_NT)
		r = iret_task(cpu);
	else
		r = iret_prot(cpu, &st, size);
	if (!r)
		cpu->s.nmi_blocked = false;
	return r;
}
