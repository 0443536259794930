/* SPDX-License-Identifier: ISC */
/* exec_alu.c: the commonest integer instructions without the round trip through a stub. The
 * operation itself is the host's own, so flags that are undefined agree with it all the same.
 * Without LOCK a read-modify-write of memory is two accesses for other processors, as it may be.
 * CPU's own thread only. */
#include "x86/interp.h"

/* LAHF and SETO rather than PUSHF: the compiler may use the red zone. */
#define TAKE_FLAGS "; lahf; seto %%al"

static uint64_t join_flags(uint64_t ax)
{
	return (ax >> 8 & 0xd5) | (ax & 1 ? FL_OF : 0);
}

/* The carry goes in for ADC and SBB. */
#define OP2(op, s, m)                                                    \
	__asm__("bt $0, %k[f]; " op s " %" m "[b], %" m "[a]" TAKE_FLAGS \
		: [a] "+q"(a), "=&a"(ax)                                 \
		: [b] "q"(b), [f] "q"(flags)                             \
		: "cc")
#define SIZES(OP, op)             \
	switch (size) {           \
	case 1:                   \
		OP(op, "b", "b"); \
		break;            \
	case 2:                   \
		OP(op, "w", "w"); \
		break;            \
	case 4:                   \
		OP(op, "l", "k"); \
		break;            \
	default:                  \
		OP(op, "q", "q"); \
	}                         \
	break

static uint64_t op2(unsigned mnem, unsigned size, uint64_t a, uint64_t b, uint64_t *out)
{
	uint64_t flags = *out, ax;

	switch (mnem) {
	case I_ADD:
		SIZES(OP2, "add");
	case I_OR:
		SIZES(OP2, "or");
	case I_ADC:
		SIZES(OP2, "adc");
	case I_SBB:
		SIZES(OP2, "sbb");
	case I_AND:
		SIZES(OP2, "and");
	case I_SUB:
		SIZES(OP2, "sub");
	case I_XOR:
		SIZES(OP2, "xor");
	case I_CMP:
		SIZES(OP2, "cmp");
	default:
		SIZES(OP2, "test");
	}
	*out = join_flags(ax);
	return a;
}

#define OP1(op, s, m)                                         \
	__asm__("bt $0, %k[f]; " op s " %" m "[a]" TAKE_FLAGS \
		: [a] "+q"(a), "=&a"(ax)                      \
		: [f] "q"(flags)                              \
		: "cc")

/* INC and DEC leave CF, which is loaded before. */
static uint64_t op1(unsigned mnem, unsigned size, uint64_t a, uint64_t *out)
{
	uint64_t flags = *out, ax;

	switch (mnem) {
	case I_INC:
		SIZES(OP1, "inc");
	case I_DEC:
		SIZES(OP1, "dec");
	default:
		SIZES(OP1, "neg");
	}
	*out = join_flags(ax);
	return a;
}

static uint64_t compute(const struct insn *in, uint64_t a, uint64_t b, uint64_t *flags)
{
	unsigned size = in->opnd[0].size;

	if (in->n_opnd == 1)
		return op1(in->mnem, size, a, flags);
	return op2(in->mnem, size, a, b, flags);
}

/* Memory as the destination; where it is not plain RAM in one page, the long way. */
static int to_memory(struct cpu *cpu, const struct insn *in, uint64_t b)
{
	unsigned size = in->opnd[0].size;
	uint64_t flags = cpu->s.rflags, a;
	struct cpu_xlate x;
	gva_t gva;

	if (cpu_linear(cpu, in->mem.seg, cpu_ea(cpu, in), size, ACCESS_WRITE, &gva) ||
	    align_check(cpu, gva, size))
		return CPU_FAULT;
	if ((gva & PAGE_MASK) + size > PAGE_SIZE)
		return exec_copy(cpu, in);
	if (lin_xlate(cpu, gva, ACCESS_WRITE, at_user(cpu), &x))
		return CPU_FAULT;
	if (!x.hva)
		return exec_copy(cpu, in);
	a = compute(in, host_load(x.hva, size), b, &flags);
	host_store(x.hva, size, a);
	set_arith(cpu, flags);
	watch_check(cpu, gva, size, true);
	return EXEC_OK;
}

/* ADD OR ADC SBB AND SUB XOR CMP TEST INC DEC NEG */
EXEC(alu)
{
	uint64_t flags = cpu->s.rflags, a, b = 0;
	bool store = in->mnem != I_CMP && in->mnem != I_TEST;

	if (in->lock)
		return exec_copy(cpu, in);
	if (in->n_opnd > 1 && opnd_read(cpu, in, 1, &b))
		return CPU_FAULT;
	if (store && in->opnd[0].kind == OP_MEM)
		return to_memory(cpu, in, b);
	if (opnd_read(cpu, in, 0, &a))
		return CPU_FAULT;
	a = compute(in, a, b, &flags);
	if (store && opnd_write(cpu, in, 0, a))
		return CPU_FAULT;
	set_arith(cpu, flags);
	return EXEC_OK;
}

EXEC(movx)
{
	uint64_t v;

	if (opnd_read(cpu, in, 1, &v))
		return CPU_FAULT;
	if (in->mnem != I_MOVZX)
		v = (uint64_t)sign_extend(v, in->opnd[1].size);
	gpr_set(cpu, in->opnd[0].reg, in->opnd[0].size, v);
	return EXEC_OK;
}

EXEC(setcc)
{
	return opnd_write(cpu, in, 0, flags_cond(cpu->s.rflags, in->mnem - I_SETO));
}

/* The source is read, and 32-bit destinations are zero-extended, whatever the condition. */
EXEC(cmov)
{
	uint64_t v;

	if (opnd_read(cpu, in, 1, &v))
		return CPU_FAULT;
	if (!flags_cond(cpu->s.rflags, in->mnem - I_CMOVO))
		v = gpr_get(cpu, in->opnd[0].reg, in->opnd[0].size);
	gpr_set(cpu, in->opnd[0].reg, in->opnd[0].size, v);
	return EXEC_OK;
}
