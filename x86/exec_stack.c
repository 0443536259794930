/* SPDX-License-Identifier: ISC */
/* exec_stack.c: the stack, and the instructions that are about nothing else. RSP is committed
 * last, so that a fault leaves it alone. CPU's own thread only. */
#include "x86/interp.h"

/* ---- primitives ---- */

void stack_here(const struct cpu *cpu, struct stack *st)
{
	const struct x86_seg *ss = &cpu->s.seg[SS];
	bool flat = is_64(cpu);

	*st = (struct stack){
		.ss = ss,
		.sp = cpu->s.gpr[RSP],
		.mask = flat                ? UINT64_MAX
			: ss->attr & SEG_DB ? 0xffffffff
					    : 0xffff,
		.user = at_user(cpu),
		.flat = flat,
	};
}

static int stack_linear(struct cpu *cpu, const struct stack *st, uint64_t sp, unsigned size,
			enum cpu_access acc, gva_t *gva)
{
	if (st->flat) {
		if (!is_canonical(cpu, sp) || !is_canonical(cpu, sp + size - 1))
			return raise_err(cpu, VEC_SS, st->error);
		*gva = sp;
		return 0;
	}
	if (seg_check(cpu, st->ss, true, st->error, sp, size, acc))
		return CPU_FAULT;
	*gva = (st->ss->base + sp) & 0xffffffff;
	return 0;
}

int stack_push(struct cpu *cpu, struct stack *st, unsigned size, uint64_t v)
{
	uint64_t sp = (st->sp - size) & st->mask;
	gva_t gva;

	if (stack_linear(cpu, st, sp, size, ACCESS_WRITE, &gva) ||
	    (st->user && align_check(cpu, gva, size)) || lin_write(cpu, gva, size, st->user, v))
		return CPU_FAULT;
	watch_check(cpu, gva, size, true);
	st->sp = sp;
	return 0;
}

int stack_probe(struct cpu *cpu, const struct stack *st, unsigned size)
{
	gva_t gva;

	if (stack_linear(cpu, st, (st->sp - size) & st->mask, size, ACCESS_WRITE, &gva) ||
	    (st->user && align_check(cpu, gva, size)))
		return CPU_FAULT;
	return lin_probe_write(cpu, gva, size, st->user);
}

int stack_pop(struct cpu *cpu, struct stack *st, unsigned size, uint64_t *v)
{
	uint64_t sp = st->sp & st->mask;
	gva_t gva;

	if (stack_linear(cpu, st, sp, size, ACCESS_READ, &gva) ||
	    (st->user && align_check(cpu, gva, size)) || lin_read(cpu, gva, size, st->user, v))
		return CPU_FAULT;
	watch_check(cpu, gva, size, false);
	st->sp = (sp + size) & st->mask;
	return 0;
}

void stack_commit(struct cpu *cpu, const struct stack *st)
{
	uint64_t *rsp = &cpu->s.gpr[RSP];

	if (st->mask == 0xffff)
		*rsp = (*rsp & ~UINT64_C(0xffff)) | (st->sp & 0xffff);
	else
		*rsp = st->sp & st->mask;
}

/* ---- PUSH, POP ---- */

EXEC(push)
{
	struct stack st;
	uint64_t v;

	if (opnd_read(cpu, in, 0, &v))
		return CPU_FAULT;
	stack_here(cpu, &st);
	if (stack_push(cpu, &st, in->op_size, v))
		return CPU_FAULT;
	stack_commit(cpu, &st);
	return EXEC_OK;
}

/* POP Ev computes its address with the popped RSP. */
EXEC(pop)
{
	uint64_t old = cpu->s.gpr[RSP], v;
	struct stack st;

	stack_here(cpu, &st);
	if (stack_pop(cpu, &st, in->op_size, &v))
		return CPU_FAULT;
	stack_commit(cpu, &st);
	if (opnd_write(cpu, in, 0, v)) {
		cpu->s.gpr[RSP] = old;
		return CPU_FAULT;
	}
	return EXEC_OK;
}

EXEC(pushsr)
{
	struct stack st;

	stack_here(cpu, &st);
	if (in->op_size == 4) {
		/* 32-bit pushes of a selector write two bytes and leave the upper two */
		uint64_t sp = st.sp;

		st.sp = (st.sp - 2) & st.mask;
		if (stack_push(cpu, &st, 2, cpu->s.seg[in->opnd[0].reg].sel))
			return CPU_FAULT;
		st.sp = (sp - 4) & st.mask;
	} else if (stack_push(cpu, &st, in->op_size, cpu->s.seg[in->opnd[0].reg].sel)) {
		return CPU_FAULT;
	}
	stack_commit(cpu, &st);
	return EXEC_OK;
}

EXEC(popsr)
{
	unsigned sreg = in->opnd[0].reg;
	struct stack st;
	uint64_t v;

	stack_here(cpu, &st);
	if (stack_pop(cpu, &st, in->op_size == 4 ? 2 : in->op_size, &v))
		return CPU_FAULT;
	if (in->op_size == 4)
		st.sp = (st.sp + 2) & st.mask;
	if (seg_load(cpu, sreg, (unsigned)v & 0xffff))
		return CPU_FAULT;
	stack_commit(cpu, &st);
	if (sreg == SS && !(cpu->s.shadow & SHADOW_MOVSS))
		cpu->i.shadow = SHADOW_MOVSS;
	return EXEC_OK;
}

/* ---- PUSHA, POPA ---- */

EXEC(pusha)
{
	uint64_t sp = cpu->s.gpr[RSP];
	struct stack st;

	stack_here(cpu, &st);
	for (unsigned r = RAX; r <= RDI; r++)
		if (stack_push(cpu, &st, in->op_size, r == RSP ? sp : cpu->s.gpr[r]))
			return CPU_FAULT;
	stack_commit(cpu, &st);
	return EXEC_OK;
}

EXEC(popa)
{
	uint64_t v[8];
	struct stack st;

	stack_here(cpu, &st);
	for (int r = RDI; r >= RAX; r--)
		if (stack_pop(cpu, &st, in->op_size, &v[r]))
			return CPU_FAULT;
	for (unsigned r = RAX; r <= RDI; r++)
		if (r != RSP)
			gpr_set(cpu, r, in->op_size, v[r]);
	stack_commit(cpu, &st);
	return EXEC_OK;
}

/* ---- PUSHF, POPF ---- */

EXEC(pushf)
{
	uint64_t v = cpu->s.rflags & ~(uint64_t)(FL_RF | FL_VM);
	struct stack st;

	if (is_v86(cpu) && iopl(cpu) < 3) {
		if (!(cpu->s.cr4 & CR4_VME) || in->op_size != 2)
			return raise_gp0(cpu);
		v = (v & ~(uint64_t)FL_IF) | FL_IOPL | (v & FL_VIF ? FL_IF : 0);
	}
	stack_here(cpu, &st);
	if (stack_push(cpu, &st, in->op_size, v))
		return CPU_FAULT;
	stack_commit(cpu, &st);
	return EXEC_OK;
}

/* 16-bit POPF in virtual-8086 mode with VME: IF goes to VIF */
static int popf_vme(struct cpu *cpu, uint64_t v, uint64_t *flags)
{
	uint64_t may = FL_ARITH | FL_TF | FL_DF | FL_NT;

	if (v & FL_TF || (v & FL_IF && cpu->s.rflags & FL_VIP))
		return raise_gp0(cpu);
	*flags = (cpu->s.rflags & ~(may | FL_VIF)) | (v & may) | (v & FL_IF ? FL_VIF : 0);
	return 0;
}

EXEC(popf)
{
	uint64_t may = FL_ARITH | FL_TF | FL_DF | FL_NT | FL_AC | FL_ID, flags, v;
	unsigned cpl = x86_cpl(&cpu->s);
	struct stack st;

	stack_here(cpu, &st);
	if (is_v86(cpu) && iopl(cpu) < 3) {
		if (!(cpu->s.cr4 & CR4_VME) || in->op_size != 2)
			return raise_gp0(cpu);
		if (stack_pop(cpu, &st, 2, &v) || popf_vme(cpu, v, &flags))
			return CPU_FAULT;
	} else {
		if (stack_pop(cpu, &st, in->op_size, &v))
			return CPU_FAULT;
		if (is_v86(cpu) || cpl <= iopl(cpu))
			may |= FL_IF;
		if (!is_pe(cpu) || (cpl == 0 && !is_v86(cpu)))
			may |= FL_IOPL;
		if (in->op_size == 2)
			may &= 0xffff;
		flags = (cpu->s.rflags & ~may) | (v & may);
	}
	cpu->s.rflags = flags;
	stack_commit(cpu, &st);
	mode_changed(cpu);
	return EXEC_OK;
}

/* ---- ENTER, LEAVE ---- */

EXEC(enter)
{
	unsigned level = in->imm2 & 31, size = in->op_size, alloc = in->imm & 0xffff;
	uint64_t frame, bp = cpu->s.gpr[RBP], v;
	struct stack st;
	gva_t gva;

	stack_here(cpu, &st);
	if (stack_push(cpu, &st, size, bp))
		return CPU_FAULT;
	frame = st.sp;
	if (level) {
		for (unsigned i = 1; i < level; i++) {
			bp = (bp - size) & st.mask;
			if (stack_linear(cpu, &st, bp, size, ACCESS_READ, &gva) ||
			    lin_read(cpu, gva, size, st.user, &v) || stack_push(cpu, &st, size, v))
				return CPU_FAULT;
		}
		if (stack_push(cpu, &st, size, frame))
			return CPU_FAULT;
	}
	st.sp = (st.sp - alloc) & st.mask;
	/* the SDM has a write access checked at the final stack pointer */
	if (stack_linear(cpu, &st, st.sp, size, ACCESS_WRITE, &gva) ||
	    lin_probe_write(cpu, gva, size, st.user))
		return CPU_FAULT;
	if (st.mask == 0xffff)
		gpr_set(cpu, RBP, size == 4 ? 4 : 2,
			size == 4 ? frame | (cpu->s.gpr[RSP] & 0xffff0000) : frame);
	else
		gpr_set(cpu, RBP, size, frame);
	stack_commit(cpu, &st);
	return EXEC_OK;
}

EXEC(leave)
{
	struct stack st;
	uint64_t v;

	stack_here(cpu, &st);
	st.sp = cpu->s.gpr[RBP] & st.mask;
	if (stack_pop(cpu, &st, in->op_size, &v))
		return CPU_FAULT;
	stack_commit(cpu, &st);
	gpr_set(cpu, RBP, in->op_size, v);
	return EXEC_OK;
}
