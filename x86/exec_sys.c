/* SPDX-License-Identifier: ISC */
/* exec_sys.c: system instructions that are not about segments. CPU's own thread only. */
#include "x86/interp.h"

/* ---- control and debug registers ---- */

EXEC(movcr)
{
	unsigned size = in->mode == 8 ? 8 : 4, reg;
	uint64_t v;

	if (in->opnd[0].kind == OP_CR)
		return cpu_cr_write(cpu, in->opnd[0].reg, gpr_get(cpu, in->opnd[1].reg, size));
	reg = in->opnd[0].reg;
	switch (in->opnd[1].reg) {
	case 0:
		v = cpu->s.cr0;
		break;
	case 2:
		v = cpu->s.cr2;
		break;
	case 3:
		v = cpu->s.cr3;
		break;
	case 4:
		v = cpu->s.cr4;
		break;
	case 8:
		v = cpu->ops->cr8_read(cpu);
		break;
	default:
		return raise_ud(cpu);
	}
	gpr_set(cpu, reg, size, v);
	return EXEC_OK;
}

EXEC(movdr)
{
	bool write = in->opnd[0].kind == OP_DR;
	unsigned dr = in->opnd[write ? 0 : 1].reg, reg = in->opnd[write ? 1 : 0].reg;
	unsigned size = in->mode == 8 ? 8 : 4;
	uint64_t v;

	if (dr > 7)
		return raise_ud(cpu);
	if (dr == 4 || dr == 5) {
		if (cpu->s.cr4 & CR4_DE)
			return raise_ud(cpu);
		dr += 2;
	}
	if (cpu->s.dr[7] & BIT(13)) {
		raise_vec(cpu, VEC_DB);
		cpu->exc.dr6 = BIT(13);
		return CPU_FAULT;
	}
	if (!write) {
		gpr_set(cpu, reg, size, cpu->s.dr[dr]);
		return EXEC_OK;
	}
	v = gpr_get(cpu, reg, size);
	if (dr >= 6 && v >> 32)
		return raise_gp0(cpu);
	if (dr == 6)
		v = (v & 0xe00f) | 0xffff0ff0;
	else if (dr == 7)
		v = (v & 0xffff2bff) | 0x400;
	cpu->s.dr[dr] = v;
	tell(cpu, TOLD_DR, v);
	mode_changed(cpu);
	return EXEC_OK;
}

EXEC(clts)
{
	cpu->s.cr0 &= ~CR0_TS;
	mode_changed(cpu);
	return EXEC_OK;
}

EXEC(lmsw)
{
	uint64_t v;

	if (in->opnd[0].kind == OP_MEM) {
		if (seg_read(cpu, in->mem.seg, cpu_ea(cpu, in), 2, &v))
			return CPU_FAULT;
	} else {
		v = cpu->s.gpr[in->opnd[0].reg];
	}
	/* PE MP EM TS; PE cannot be cleared */
	v = (cpu->s.cr0 & ~UINT64_C(0xe)) | (v & 0xf);
	return cpu_cr_write(cpu, 0, v);
}

/* ---- interrupts ---- */

EXEC(hlt)
{
	tell(cpu, TOLD_HLT, 0);
	return EXEC_HALT;
}

/* CLI and STI: IF itself, VIF (VME, PVI), or #GP */
static int if_target(struct cpu *cpu, uint64_t *flag)
{
	bool virt;

	*flag = FL_IF;
	if (!is_pe(cpu))
		return 0;
	if (is_v86(cpu) ? iopl(cpu) == 3 : x86_cpl(&cpu->s) <= iopl(cpu))
		return 0;
	virt = is_v86(cpu) ? cpu->s.cr4 & CR4_VME : cpu->s.cr4 & CR4_PVI && at_user(cpu);
	if (!virt)
		return raise_gp0(cpu);
	*flag = FL_VIF;
	return 0;
}

EXEC(cli)
{
	uint64_t flag;

	if (if_target(cpu, &flag))
		return CPU_FAULT;
	cpu->s.rflags &= ~flag;
	return EXEC_OK;
}

EXEC(sti)
{
	uint64_t flag;

	if (if_target(cpu, &flag))
		return CPU_FAULT;
	if (flag == FL_VIF && cpu->s.rflags & FL_VIP)
		return raise_gp0(cpu);
	if (flag == FL_IF && !(cpu->s.rflags & FL_IF))
		cpu->i.shadow = SHADOW_STI;
	cpu->s.rflags |= flag;
	return EXEC_OK;
}

/* STAC and CLAC: #UD, not #GP, outside of ring 0 */
EXEC(stac)
{
	if (x86_cpl(&cpu->s))
		return raise_ud(cpu);
	if (in->mnem == I_STAC)
		cpu->s.rflags |= FL_AC;
	else
		cpu->s.rflags &= ~FL_AC;
	mode_changed(cpu);
	return EXEC_OK;
}

/* ---- mappings ---- */

EXEC(invlpg)
{
	uint64_t ea = cpu_ea(cpu, in);
	gva_t gva;

	if (is_64(cpu)) {
		gva = ea + (in->mem.seg >= FS ? cpu->s.seg[in->mem.seg].base : 0);
		if (!is_loadable(cpu, gva))
			return EXEC_OK;
	} else {
		gva = (cpu->s.seg[in->mem.seg].base + ea) & 0xffffffff;
	}
	tlb_flush(cpu, FLUSH_PAGE, gva, (unsigned)cpu->s.cr3 & 0xfff);
	tell(cpu, TOLD_INVLPG, gva);
	return EXEC_OK;
}

EXEC(invpcid)
{
	uint64_t type = gpr_get(cpu, in->opnd[0].reg, in->mode == 8 ? 8 : 4), d[2];
	unsigned pcid;

	if (seg_read_buf(cpu, in->mem.seg, cpu_ea(cpu, in), d, sizeof(d)))
		return CPU_FAULT;
	pcid = d[0] & 0xfff;
	if (type > 3 || (type < 2 && (d[0] >> 12 || (pcid && !(cpu->s.cr4 & CR4_PCIDE)))) ||
	    (type == 0 && !is_loadable(cpu, d[1])))
		return raise_gp0(cpu);
	if (type == 0)
		tlb_flush(cpu, FLUSH_PCID_PAGE, d[1], pcid);
	else if (type == 1)
		tlb_flush(cpu, FLUSH_PCID, 0, pcid);
	else
		tlb_flush(cpu, type == 2 ? FLUSH_ALL : FLUSH_ALL_NONGLOBAL, 0, 0);
	return EXEC_OK;
}

/* Caches are coherent here: what is left is the access check. */
EXEC(clflush)
{
	struct cpu_xlate x;
	gva_t gva;

	if (cpu_linear(cpu, in->mem.seg, cpu_ea(cpu, in), 1, ACCESS_READ, &gva) ||
	    lin_xlate(cpu, gva, ACCESS_READ, at_user(cpu), &x))
		return CPU_FAULT;
	return EXEC_OK;
}

/* ---- MSRs, counters, CPUID ---- */

static void set_edx_eax(struct cpu *cpu, uint64_t v)
{
	cpu->s.gpr[RAX] = v & 0xffffffff;
	cpu->s.gpr[RDX] = v >> 32;
}

static uint64_t edx_eax(const struct cpu *cpu)
{
	return cpu->s.gpr[RDX] << 32 | (cpu->s.gpr[RAX] & 0xffffffff);
}

EXEC(rdmsr)
{
	uint64_t v;

	if (cpu_msr_read(cpu, (uint32_t)cpu->s.gpr[RCX], &v))
		return CPU_FAULT;
	set_edx_eax(cpu, v);
	return EXEC_OK;
}

EXEC(wrmsr)
{
	return cpu_msr_write(cpu, (uint32_t)cpu->s.gpr[RCX], edx_eax(cpu));
}

EXEC(rdtsc)
{
	if (cpu->s.cr4 & CR4_TSD && is_pe(cpu) && x86_cpl(&cpu->s))
		return raise_gp0(cpu);
	set_edx_eax(cpu, cpu_tsc(cpu));
	if (in->mnem == I_RDTSCP)
		cpu->s.gpr[RCX] = cpu->s.tsc_aux & 0xffffffff;
	return EXEC_OK;
}

/* There are no counters. */
EXEC(rdpmc)
{
	return raise_gp0(cpu);
}

EXEC(rdpid)
{
	gpr_set(cpu, in->opnd[0].reg, in->mode == 8 ? 8 : 4, cpu->s.tsc_aux & 0xffffffff);
	return EXEC_OK;
}

EXEC(cpuid)
{
	uint32_t r[4];

	x86_cpuid(cpu, (uint32_t)cpu->s.gpr[RAX], (uint32_t)cpu->s.gpr[RCX], r);
	cpu->s.gpr[RAX] = r[0];
	cpu->s.gpr[RBX] = r[1];
	cpu->s.gpr[RCX] = r[2];
	cpu->s.gpr[RDX] = r[3];
	return EXEC_OK;
}

EXEC(xgetbv)
{
	uint32_t index = (uint32_t)cpu->s.gpr[RCX];
	uint64_t v = cpu->s.xcr0;

	if (!(cpu->s.cr4 & CR4_OSXSAVE))
		return raise_ud(cpu);
	if (index > 1 || (index == 1 && !cpu_has(cpu, X_FEAT_XGETBV1)))
		return raise_gp0(cpu);
	if (index == 1)
		v &= xsave_in_use(cpu);
	set_edx_eax(cpu, v);
	return EXEC_OK;
}

EXEC(xsetbv)
{
	uint64_t v = edx_eax(cpu);

	if (!(cpu->s.cr4 & CR4_OSXSAVE))
		return raise_ud(cpu);
	if ((uint32_t)cpu->s.gpr[RCX] || v & ~x86_xcr0_mask(cpu) || !(v & XCR0_X87) ||
	    (v & XCR0_AVX && !(v & XCR0_SSE)) ||
	    (v & XCR0_AVX512 && (~v & (XCR0_AVX512 | XCR0_AVX))))
		return raise_gp0(cpu);
	cpu->s.xcr0 = v;
	mode_changed(cpu);
	tell(cpu, TOLD_XCR0, v);
	return EXEC_OK;
}

/* ---- others ---- */

EXEC(ud)
{
	return raise_ud(cpu);
}

EXEC(pause)
{
	if (cpu->ops->pause)
		cpu->ops->pause(cpu);
	return EXEC_OK;
}

EXEC(fence)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return EXEC_OK;
}
