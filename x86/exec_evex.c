/* SPDX-License-Identifier: ISC */
/* exec_evex.c: memory operands under an opmask, and AVX-512's gathers and scatters (SDM vol. 2, 2.7 and
 * 2.8). Elements that the mask leaves out are not accessed and cannot fault. What the instruction does
 * with them is left to cpu_native(), which is given a buffer. CPU's own thread only. */
#include "base/str.h"
#include "x86/interp.h"

static uint64_t low_bits(unsigned n)
{
	return n < 64 ? BIT64(n) - 1 : UINT64_MAX;
}

static unsigned ones(uint64_t v)
{
	unsigned n = 0;

	for (; v; v &= v - 1)
		n++;
	return n;
}

static unsigned mask_at(const struct cpu *cpu, const struct insn *in)
{
	return cpu->i.xs_at[XS_PART_OPMASK] + insn_mask(in) * 8;
}

uint64_t evex_elements(struct cpu *cpu, const struct insn *in, const struct insn_opnd *m)
{
	unsigned elem = insn_elem(in->row), in_mem = m->size / elem;
	uint64_t at = in->row->attr, bits, some = 0;

	fpu_sync(cpu, XCR0_OPMASK);
	bits = fx64(cpu, mask_at(cpu, in)) & low_bits(in->mask_bits);
	if (at & AT_DENSE)
		return low_bits(ones(bits));
	if (in_mem >= in->mask_bits)
		return bits;
	/* one for all, or some in turn */
	for (unsigned i = 0; i < in->mask_bits; i += in_mem)
		some |= bits >> i & low_bits(in_mem);
	return some;
}

void touch_masked(struct cpu *cpu, const struct insn *in, unsigned size, enum cpu_access acc)
{
	uint64_t ea = cpu_ea(cpu, in);
	struct cpu_exc exc = cpu->exc;
	gva_t gva;

	if (!insn_touches_all(cpu, in) || ea + size - 1 > size_mask(in->mem.addr_size))
		return;
	if (cpu_linear(cpu, in->mem.seg, ea, size, acc, &gva))
		cpu->exc = exc;
	else
		lin_touch(cpu, gva, size, acc, at_user(cpu));
}

int evex_run_masked(struct cpu *cpu, const struct insn *in, const struct insn_opnd *m,
		    uint64_t elements)
{
	unsigned size = insn_elem(in->row), n = m->size / size;
	uint64_t ea = cpu_ea(cpu, in), limit = size_mask(in->mem.addr_size);
	uint8_t buf[64] attr_aligned(64) = {0};
	bool write = m->acc & ACC_W;
	gva_t gva;

	/* VEXTRACT*: no fault is suppressed (exceptions type E6NF) */
	if (in->map == 3 && (in->opcode & ~0x22) == 0x19 &&
	    (cpu_linear(cpu, in->mem.seg, ea, m->size, ACCESS_WRITE, &gva) ||
	     lin_probe_write(cpu, gva, m->size, at_user(cpu))))
		return CPU_FAULT;
	touch_masked(cpu, in, m->size, write ? ACCESS_WRITE : ACCESS_READ);
	/* all that are written must be writable before one is */
	for (unsigned i = 0; i < n; i++) {
		uint64_t at = (ea + i * size) & limit;

		if (!(elements >> i & 1))
			continue;
		if (write ? cpu_linear(cpu, in->mem.seg, at, size, ACCESS_WRITE, &gva) ||
				    lin_probe_write(cpu, gva, size, at_user(cpu))
			  : seg_read_buf(cpu, in->mem.seg, at, buf + i * size, size))
			return CPU_FAULT;
	}
	if (cpu_native(cpu, in, buf))
		return CPU_FAULT;
	for (unsigned i = 0; write && i < n; i++)
		if (elements >> i & 1 &&
		    seg_write_buf(cpu, in->mem.seg, (ea + i * size) & limit, buf + i * size, size))
			return CPU_FAULT;
	return EXEC_OK;
}

/* Element by element: a fault leaves those before it done and their bits of the opmask cleared. */
EXEC(evex_vsib)
{
	bool scatter = in->opnd[0].kind == OP_MEM;
	unsigned reg = in->opnd[scatter].reg, idx = (unsigned)in->mem.index & 31;
	unsigned elem = insn_elem(in->row), index = in->opcode & 1 ? 8 : 4, k = mask_at(cpu, in);
	unsigned n = (16u << in->vex_l) / MAX(elem, index);
	uint64_t base = cpu_ea(cpu, in), ea, v;

	fpu_sync(cpu, XCR0_SSE | XCR0_AVX | XCR0_AVX512);
	for (unsigned i = 0; i < n; i++) {
		if (!(fx64(cpu, k) >> i & 1))
			continue;
		ea = (base +
		      (uint64_t)sign_extend(vec_get(cpu, idx, i, index), index) * in->mem.scale) &
		     size_mask(in->mem.addr_size);
		v = vec_get(cpu, reg, i, elem);
		if (scatter ? seg_write(cpu, in->mem.seg, ea, elem, v)
			    : seg_read(cpu, in->mem.seg, ea, elem, &v))
			return CPU_FAULT;
		if (!scatter) {
			vec_put(cpu, reg, i, elem, v);
			/* what is beyond the vector length is gone with the first */
			for (unsigned k = 4u << in->vex_l; k < 16; k++)
				vec_put(cpu, reg, k, 4, 0);
		}
		fx_put64(cpu, k, fx64(cpu, k) & ~BIT64(i));
	}
	fx_put64(cpu, k, 0);
	for (unsigned i = n * elem / 4; !scatter && i < 16; i++)
		vec_put(cpu, reg, i, 4, 0);
	return EXEC_OK;
}
