/* SPDX-License-Identifier: ISC */
/* exec_copy.c: data-processing instructions: finds the memory operand and leaves the rest to
 * cpu_native(). RAM inside one page is operated on in place, so that LOCK and plain aligned
 * accesses are as atomic as on a processor; devices and page-crossing operands go through a
 * buffer. CPU's own thread only. */
#include "base/str.h"
#include "x86/interp.h"

/* Instructions that look at memory twice: a check here, then the host. Another processor must
 * not change it in between. And a few more. */
static bool needs_buffer(const struct cpu *cpu, const struct insn *in, const struct insn_opnd *m)
{
	if (in->mnem == I_DIV || in->mnem == I_IDIV)
		return true;
	/* misaligned where the guest's processor allows it; the host's may not */
	if (in->row->feature == X_FEAT_SHA)
		return true;
	/* stores may have to be taken back */
	return m->acc & ACC_W && in->row->attr & AT_XM;
}

/* BT and its kin with a register: the bit string may reach far from its address. */
static int64_t bit_offset(const struct cpu *cpu, const struct insn *in)
{
	unsigned size = in->op_size;
	int64_t bit = sign_extend(cpu->s.gpr[in->opnd[1].reg], size);

	return (bit >> (size == 8 ? 6 : size == 4 ? 5 : 4)) * (int64_t)size;
}

static int run_bits(struct cpu *cpu, const struct insn *in, void *mem)
{
	uint64_t *reg = &cpu->s.gpr[in->opnd[1].reg], saved = *reg;
	int r;

	*reg = saved & (in->op_size * 8u - 1);
	r = cpu_native(cpu, in, mem);
	*reg = saved;
	return r;
}

int copy_run(struct cpu *cpu, const struct insn *in, void *mem)
{
	if (unlikely(in->row->attr & AT_BITSTR && in->opnd[1].kind == OP_GPR))
		return run_bits(cpu, in, mem);
	return cpu_native(cpu, in, mem);
}

/* Write permission first, so that nothing happens twice. */
int copy_run_buffered(struct cpu *cpu, const struct insn *in, const struct insn_opnd *m, gva_t gva)
{
	uint8_t buf[64] attr_aligned(64);
	bool user = at_user(cpu), write = m->acc & ACC_W;

	if (write && lin_probe_write(cpu, gva, m->size, user))
		return CPU_FAULT;
	/* x87 stores are not done when an unmasked error comes up: then the old value goes back */
	if (m->acc & ACC_R || in->row->attr & AT_X87) {
		if (cpu_read(cpu, gva, buf, m->size, user))
			return CPU_FAULT;
	} else {
		memset(buf, 0, m->size);
	}
	if (copy_run(cpu, in, buf))
		return CPU_FAULT;
	return write ? cpu_write(cpu, gva, buf, m->size, user) : 0;
}

/* In 64-bit code only FS and GS have one, whatever the others had before. */
static uint64_t base_of(const struct cpu *cpu, unsigned sreg)
{
	return is_64(cpu) && sreg < FS ? 0 : cpu->s.seg[sreg].base;
}

static int run_memory(struct cpu *cpu, const struct insn *in, const struct insn_opnd *m)
{
	enum cpu_access acc = m->acc & ACC_W ? ACCESS_WRITE : ACCESS_READ;
	uint64_t ea = cpu_ea(cpu, in);
	uint64_t some = 1; /* elements under an opmask */
	bool partial = false;
	struct cpu_xlate x;
	gva_t gva;
	int r;

	if (unlikely(in->row->attr & AT_BITSTR && in->opnd[1].kind == OP_GPR))
		ea = (ea + (uint64_t)bit_offset(cpu, in)) & size_mask(in->mem.addr_size);
	if (unlikely(insn_masks_memory(in))) {
		some = evex_elements(cpu, in, m);
		partial = some != UINT64_MAX >> (64 - m->size / insn_elem(in->row));
	}
	/* before the canonical check: #GP(0) even where the stack segment would give #SS */
	if (unlikely(insn_aligns(in, cpu->i.amd) && some &&
		     !IS_ALIGNED(ea + base_of(cpu, in->mem.seg), (uint64_t)m->size)))
		return raise_gp0(cpu);
	if (unlikely(partial))
		return evex_run_masked(cpu, in, m, some);
	if (cpu_linear(cpu, in->mem.seg, ea, m->size, acc, &gva))
		return CPU_FAULT;
	if (align_check(cpu, gva, m->size))
		return CPU_FAULT;
	if (unlikely(insn_is_atomic(in) && (gva & (LINE_SIZE - 1)) + m->size > LINE_SIZE)) {
		r = split_run(cpu, in, m, gva);
	} else if (unlikely((gva & PAGE_MASK) + m->size > PAGE_SIZE || needs_buffer(cpu, in, m))) {
		r = copy_run_buffered(cpu, in, m, gva);
	} else {
		if (lin_xlate(cpu, gva, acc, at_user(cpu), &x))
			return CPU_FAULT;
		r = likely(x.hva) ? copy_run(cpu, in, x.hva) : copy_run_buffered(cpu, in, m, gva);
	}
	if (!r)
		watch_check(cpu, gva, m->size, acc == ACCESS_WRITE);
	return r;
}

/* A store of x87, MMX or SSE that may not access its memory. AMD: it has not begun. Intel: MMX stores
 * have set TOP to 0 by then; x87 and SSE ones have their result: an unmasked error, which cancels
 * the store, comes first, and MXCSR has its flags. */
static int store_faulted(struct cpu *cpu, const struct insn *in)
{
	uint8_t image[FX_XMM], out[64];
	struct cpu_exc exc = cpu->exc;

	if (cpu->i.amd)
		return CPU_FAULT;
	if (in->row->attr & AT_XM) {
		if (!cpu_native(cpu, in, out))
			cpu->exc = exc;
		return CPU_FAULT;
	}
	fpu_sync(cpu, XCR0_X87);
	if (in->row->attr & AT_MMX) {
		fpu_set_top(cpu, 0);
		return CPU_FAULT;
	}
	if (fx16(cpu, FX_FSW) & FSW_ES) /* an older one, that nobody waits for */
		return CPU_FAULT;
	memcpy(image, cpu->s.xsave.bytes, sizeof(image));
	if (!cpu_native(cpu, in, out) && fx16(cpu, FX_FSW) & ~fx16(cpu, FX_FCW) & 0x1f)
		return EXEC_OK;
	memcpy(cpu->s.xsave.bytes, image, sizeof(image));
	return CPU_FAULT;
}

EXEC(copy)
{
	const struct insn_opnd *m;

	if (!in->has_mem)
		return cpu_native(cpu, in, NULL);
	m = insn_mem_opnd(in);
	if (!m || !m->size || m->size > 64)
		return raise_ud(cpu);
	if (likely(!run_memory(cpu, in, m)))
		return EXEC_OK;
	if (m->acc & ACC_W && in->row->attr & (AT_X87 | AT_MMX | AT_XM))
		return store_faulted(cpu, in);
	return CPU_FAULT;
}

/* MOV is a third of all instructions; it needs no stub. */
EXEC(mov)
{
	uint64_t v;

	if (opnd_read(cpu, in, 1, &v))
		return CPU_FAULT;
	return opnd_write(cpu, in, 0, v);
}
