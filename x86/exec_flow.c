/* SPDX-License-Identifier: ISC */
/* exec_flow.c: near branches. CPU's own thread only. */
#include "x86/interp.h"

bool flags_cond(uint64_t flags, unsigned cc)
{
	bool v;

	switch (cc >> 1 & 7) {
	case 0:
		v = flags & FL_OF;
		break;
	case 1:
		v = flags & FL_CF;
		break;
	case 2:
		v = flags & FL_ZF;
		break;
	case 3:
		v = flags & (FL_CF | FL_ZF);
		break;
	case 4:
		v = flags & FL_SF;
		break;
	case 5:
		v = flags & FL_PF;
		break;
	case 6:
		v = !(flags & FL_SF) != !(flags & FL_OF);
		break;
	default:
		v = flags & FL_ZF || !(flags & FL_SF) != !(flags & FL_OF);
	}
	return v != (cc & 1);
}

static int check_rip(struct cpu *cpu, uint64_t rip)
{
	if (is_64(cpu))
		return is_canonical(cpu, rip) ? 0 : raise_gp0(cpu);
	return rip > cpu->s.seg[CS].limit ? raise_gp0(cpu) : 0;
}

/* Where a relative branch leads; in 64-bit mode the operand size does not matter. */
static uint64_t relative(const struct cpu *cpu, const struct insn *in)
{
	uint64_t rip = cpu->i.next_rip + in->imm;

	return in->mode == 8 ? rip : rip & size_mask(in->op_size);
}

static int branch(struct cpu *cpu, uint64_t rip)
{
	if (check_rip(cpu, rip))
		return CPU_FAULT;
	cpu->i.next_rip = rip;
	return EXEC_OK;
}

EXEC(jmp)
{
	return branch(cpu, relative(cpu, in));
}

EXEC(jcc)
{
	if (!flags_cond(cpu->s.rflags, in->mnem - I_JO))
		return EXEC_OK;
	return branch(cpu, relative(cpu, in));
}

EXEC(loop)
{
	unsigned size = in->mem.addr_size;
	uint64_t count = gpr_get(cpu, RCX, size);
	bool take;

	if (in->mnem == I_JCXZ)
		return count ? EXEC_OK : branch(cpu, relative(cpu, in));
	count = (count - 1) & size_mask(size);
	take = count != 0;
	if (in->mnem == I_LOOPE)
		take = take && cpu->s.rflags & FL_ZF;
	else if (in->mnem == I_LOOPNE)
		take = take && !(cpu->s.rflags & FL_ZF);
	if (take && branch(cpu, relative(cpu, in)))
		return CPU_FAULT;
	gpr_set(cpu, RCX, size, count);
	return EXEC_OK;
}

static int call(struct cpu *cpu, const struct insn *in, uint64_t rip)
{
	bool nowhere = in->mode == 8 && !is_canonical(cpu, rip);
	struct stack st;

	if (in->mode != 8 && check_rip(cpu, rip))
		return CPU_FAULT;
	stack_here(cpu, &st);
	/* The stack's faults come first. Then Intel has written the return address. */
	if (nowhere && cpu->i.amd ? stack_probe(cpu, &st, in->op_size)
				  : stack_push(cpu, &st, in->op_size, cpu->i.next_rip))
		return CPU_FAULT;
	if (nowhere)
		return raise_gp0(cpu);
	stack_commit(cpu, &st);
	cpu->i.next_rip = rip;
	return EXEC_OK;
}

EXEC(call)
{
	return call(cpu, in, relative(cpu, in));
}

EXEC(jmp_ind)
{
	uint64_t rip;

	if (opnd_read(cpu, in, 0, &rip))
		return CPU_FAULT;
	return branch(cpu, rip);
}

EXEC(call_ind)
{
	uint64_t rip;

	if (opnd_read(cpu, in, 0, &rip))
		return CPU_FAULT;
	return call(cpu, in, rip);
}

EXEC(ret)
{
	struct stack st;
	uint64_t rip;

	stack_here(cpu, &st);
	if (stack_pop(cpu, &st, in->op_size, &rip) || check_rip(cpu, rip))
		return CPU_FAULT;
	st.sp = (st.sp + (in->imm & 0xffff)) & st.mask;
	stack_commit(cpu, &st);
	cpu->i.next_rip = rip;
	return EXEC_OK;
}

/* ---- small ones that have no operand to speak of ---- */

EXEC(nop)
{
	return EXEC_OK;
}

EXEC(lea)
{
	gpr_set(cpu, in->opnd[0].reg, in->opnd[0].size, cpu_ea(cpu, in));
	return EXEC_OK;
}

EXEC(movabs)
{
	uint64_t v;

	if (opnd_read(cpu, in, 1, &v) || opnd_write(cpu, in, 0, v))
		return CPU_FAULT;
	return EXEC_OK;
}
