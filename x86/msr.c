/* SPDX-License-Identifier: ISC */
/* msr.c: model-specific registers (SDM vol. 4; APM vol. 2, app. A) as a table. What is not in it
 * is the machine's (ops->msr_read: local APIC, TSC deadline, paravirtual clocks), and what that
 * does not know either is #GP(0). CPU's own thread only. */
#include "x86/interp.h"

enum msr_kind {
	MSR_STATE, /* a field of x86_state; bits outside of valid are #GP */
	MSR_ADDR,  /* the same, a canonical address */
	MSR_FIXED, /* reads as valid; writes are ignored */
	MSR_CONST, /* reads as valid; writes are #GP */
	MSR_CODE,  /* get and set */
	MSR_MTRR,  /* a field, checked by mtrr_valid() */
};

struct msr_row {
	uint32_t index;
	uint8_t kind;
	uint8_t feature; /* must be in CPUID */
	uint16_t offset;
	uint64_t valid;
	int (*get)(struct cpu *cpu, uint64_t *v);
	int (*set)(struct cpu *cpu, uint64_t v); /* NULL: #GP */
};

/* ---- those that need code ---- */

uint64_t cpu_tsc(struct cpu *cpu)
{
	return cpu->ops->tsc(cpu) + cpu->s.tsc_offset;
}

static int get_tsc(struct cpu *cpu, uint64_t *v)
{
	*v = cpu_tsc(cpu);
	return 0;
}

/* IA32_TSC and IA32_TSC_ADJUST move together (SDM vol. 3, 17.17.3). */
static int set_tsc(struct cpu *cpu, uint64_t v)
{
	uint64_t delta = v - cpu_tsc(cpu);

	cpu->s.tsc_offset += delta;
	cpu->s.tsc_adjust += delta;
	return 0;
}

static int get_tsc_adjust(struct cpu *cpu, uint64_t *v)
{
	*v = cpu->s.tsc_adjust;
	return 0;
}

static int set_tsc_adjust(struct cpu *cpu, uint64_t v)
{
	cpu->s.tsc_offset += v - cpu->s.tsc_adjust;
	cpu->s.tsc_adjust = v;
	return 0;
}

static int get_efer(struct cpu *cpu, uint64_t *v)
{
	*v = cpu->s.efer;
	return 0;
}

uint64_t efer_valid(const struct cpu *cpu)
{
	uint64_t valid = EFER_LMA;

	valid |= cpu_has(cpu, X_FEAT_SYSCALL) ? EFER_SCE : 0;
	valid |= cpu_has(cpu, X_FEAT_LM) ? EFER_LME : 0;
	valid |= cpu_has(cpu, X_FEAT_NX) ? EFER_NXE : 0;
	valid |= cpu_has(cpu, X_FEAT_FFXSR) ? EFER_FFXSR : 0;
	return valid | (cpu->i.amd ? EFER_AIBRSE : 0);
}

static int set_efer(struct cpu *cpu, uint64_t v)
{
	uint64_t old = cpu->s.efer;

	if (v & ~efer_valid(cpu) || ((v ^ old) & EFER_LME && cpu->s.cr0 & CR0_PG))
		return raise_gp0(cpu);
	cpu->s.efer = (v & ~EFER_LMA) | (old & EFER_LMA); /* LMA is the processor's */
	if ((v ^ old) & EFER_NXE)
		tlb_flush(cpu, FLUSH_ALL, 0, 0);
	mode_changed(cpu);
	return 0;
}

static int get_smbase(struct cpu *cpu, uint64_t *v)
{
	*v = cpu->s.smbase;
	return 0;
}

static int set_smbase(struct cpu *cpu, uint64_t v)
{
	if (v >> 32)
		return raise_gp0(cpu);
	cpu->s.smbase = (uint32_t)v;
	return 0;
}

static int get_fs(struct cpu *cpu, uint64_t *v)
{
	*v = cpu->s.seg[FS].base;
	return 0;
}

static int get_gs(struct cpu *cpu, uint64_t *v)
{
	*v = cpu->s.seg[GS].base;
	return 0;
}

static int set_base(struct cpu *cpu, unsigned sreg, uint64_t v)
{
	if (!is_loadable(cpu, v))
		return raise_gp0(cpu);
	cpu->s.seg[sreg].base = v;
	mode_changed(cpu);
	return 0;
}

static int set_fs(struct cpu *cpu, uint64_t v)
{
	return set_base(cpu, FS, v);
}

static int set_gs(struct cpu *cpu, uint64_t v)
{
	return set_base(cpu, GS, v);
}

static int get_pat(struct cpu *cpu, uint64_t *v)
{
	*v = cpu->s.pat;
	return 0;
}

/* Types 2, 3 and 8 up are reserved in each byte. */
static int set_pat(struct cpu *cpu, uint64_t v)
{
	for (unsigned i = 0; i < 8; i++) {
		unsigned type = v >> (8 * i) & 0xff;

		if (type > 7 || type == 2 || type == 3)
			return raise_gp0(cpu);
	}
	cpu->s.pat = v;
	return 0;
}

static int get_caps(struct cpu *cpu, uint64_t *v)
{
	*v = x86_arch_caps(cpu);
	return 0;
}

/* IBPB, L1D flush: nothing of a guest is predicted across, as far as it can tell */
static int set_command(struct cpu *cpu, uint64_t v)
{
	return v & ~UINT64_C(0x81) ? raise_gp0(cpu) : 0;
}

/* Memory types of MTRRs: UC, WC, WT, WP, WB */
static bool mtrr_type(uint64_t type)
{
	return type < 7 && type != 2 && type != 3;
}

/* Reserved bits and types of an MTRR are #GP (SDM vol. 3, 12.11). */
static bool mtrr_valid(const struct cpu *cpu, uint32_t index, uint64_t v)
{
	if (index == 0x2ff) /* IA32_MTRR_DEF_TYPE */
		return !(v & ~UINT64_C(0xcff)) && mtrr_type(v & 0xff);
	if (index >= 0x250) { /* fixed ranges: eight types */
		for (unsigned i = 0; i < 8; i++)
			if (!mtrr_type(v >> (8 * i) & 0xff))
				return false;
		return true;
	}
	if (v >> cpu->s.maxphy)
		return false;
	return index & 1 ? !(v & 0x7ff) : !(v & 0xf00) && mtrr_type(v & 0xff);
}

/* ---- the table ---- */

/* clang-format off */
#define OFF(field) (uint16_t)offsetof(struct x86_state, field)
#define STATE(i, feat, field, mask) {i, MSR_STATE, X_FEAT_##feat, OFF(field), mask, NULL, NULL}
#define ADDR(i, feat, field)	    {i, MSR_ADDR, X_FEAT_##feat, OFF(field), UINT64_MAX, NULL, NULL}
#define FIXED(i, v)		    {i, MSR_FIXED, 0, 0, v, NULL, NULL}
#define CONST(i, v)		    {i, MSR_CONST, 0, 0, v, NULL, NULL}
#define CODE(i, feat, get, set)	    {i, MSR_CODE, X_FEAT_##feat, 0, 0, get, set}
#define ALL UINT64_MAX
#define LOW32 UINT64_C(0xffffffff)

/* By index: msr_find() bisects. */
static const struct msr_row rows[] = {
	FIXED(0x00000000, 0),				/* IA32_P5_MC_ADDR */
	FIXED(0x00000001, 0),				/* IA32_P5_MC_TYPE */
	CODE(0x00000010, TSC, get_tsc, set_tsc),
	CONST(0x00000017, 0),				/* IA32_PLATFORM_ID */
	FIXED(0x0000002a, 0),				/* EBL_CR_POWERON */
	FIXED(0x00000033, 0),				/* TEST_CTL */
	CONST(0x00000034, 0),				/* SMI_COUNT */
	CONST(0x0000003a, 1),				/* IA32_FEATURE_CONTROL: locked */
	CODE(0x0000003b, TSC_ADJUST, get_tsc_adjust, set_tsc_adjust),
	STATE(0x00000048, SPEC_CTRL, spec_ctrl, 0x407), /* IBRS, STIBP, SSBD, BHI_DIS_S */
	CODE(0x00000049, SPEC_CTRL, NULL, set_command),	/* IA32_PRED_CMD */
	FIXED(0x00000079, 0),				/* IA32_BIOS_UPDT_TRIG */
	FIXED(0x0000008b, UINT64_C(0x100000000)),	/* IA32_BIOS_SIGN_ID */
	CONST(0x000000ce, 0),				/* MSR_PLATFORM_INFO */
	CONST(0x000000fe, 0x500 | X86_MTRR_VAR),	/* IA32_MTRRCAP: WC, fixed */
	CODE(0x0000010a, ARCH_CAPS, get_caps, NULL),
	CODE(0x0000010b, ARCH_CAPS, NULL, set_command),	/* IA32_FLUSH_CMD */
	FIXED(0x0000011e, 0),				/* BBL_CR_CTL3 */
	FIXED(0x00000140, 0),				/* MISC_FEATURES_ENABLES */
	STATE(0x00000174, SEP, sysenter_cs, LOW32),
	ADDR(0x00000175, SEP, sysenter_esp),
	ADDR(0x00000176, SEP, sysenter_eip),
	CONST(0x00000179, 0),				/* IA32_MCG_CAP: no banks */
	STATE(0x0000017a, MCA, mcg_status, 7),
	STATE(0x0000017b, MCA, mcg_ctl, ALL),
	FIXED(0x00000198, 0),				/* IA32_PERF_STATUS */
	FIXED(0x00000199, 0),				/* IA32_PERF_CTL */
	FIXED(0x0000019a, 0),				/* IA32_CLOCK_MODULATION */
	FIXED(0x0000019b, 0),				/* IA32_THERM_INTERRUPT */
	FIXED(0x0000019c, 0),				/* IA32_THERM_STATUS */
	STATE(0x000001a0, NONE, misc_enable, ALL),
	FIXED(0x000001b0, 0),				/* IA32_ENERGY_PERF_BIAS */
	STATE(0x000001d9, NONE, debugctl, 3),
	FIXED(0x000001db, 0), FIXED(0x000001dc, 0),	/* last branch from, to */
	FIXED(0x000001dd, 0), FIXED(0x000001de, 0),
#define RANGE(i, field) {i, MSR_MTRR, X_FEAT_MTRR, OFF(mtrr.field), 0, NULL, NULL}
#define MTRR(n) RANGE(0x200 + 2 * (n), base[n]), RANGE(0x201 + 2 * (n), mask[n])
	MTRR(0), MTRR(1), MTRR(2), MTRR(3), MTRR(4), MTRR(5), MTRR(6), MTRR(7),
	RANGE(0x00000250, fixed[0]),
	RANGE(0x00000258, fixed[1]), RANGE(0x00000259, fixed[2]),
	RANGE(0x00000268, fixed[3]), RANGE(0x00000269, fixed[4]),
	RANGE(0x0000026a, fixed[5]), RANGE(0x0000026b, fixed[6]),
	RANGE(0x0000026c, fixed[7]), RANGE(0x0000026d, fixed[8]),
	RANGE(0x0000026e, fixed[9]), RANGE(0x0000026f, fixed[10]),
	CODE(0x00000277, PAT, get_pat, set_pat),
	RANGE(0x000002ff, def_type),
	FIXED(0x00000345, 0),				/* IA32_PERF_CAPABILITIES */
	STATE(0x00000da0, XSAVES, xss, 0),
	CODE(0xc0000080, NONE, get_efer, set_efer),
	STATE(0xc0000081, SYSCALL, star, ALL),
	ADDR(0xc0000082, LM, lstar),
	ADDR(0xc0000083, LM, cstar),
	STATE(0xc0000084, SYSCALL, sfmask, LOW32),
	CODE(0xc0000100, LM, get_fs, set_fs),
	CODE(0xc0000101, LM, get_gs, set_gs),
	ADDR(0xc0000102, LM, kernel_gs_base),
	STATE(0xc0000103, RDTSCP, tsc_aux, LOW32),
	FIXED(0xc0010000, 0), FIXED(0xc0010001, 0), FIXED(0xc0010002, 0), FIXED(0xc0010003, 0),
	FIXED(0xc0010004, 0), FIXED(0xc0010005, 0), FIXED(0xc0010006, 0), FIXED(0xc0010007, 0),
	FIXED(0xc0010010, 0),				/* SYSCFG */
	FIXED(0xc0010015, BIT64(24)),			/* HWCR: TSC counts at P0 */
	FIXED(0xc001001a, 0), FIXED(0xc001001d, 0),	/* TOP_MEM, TOP_MEM2 */
	FIXED(0xc001001f, 0),				/* NB_CFG */
	FIXED(0xc0010020, 0),				/* PATCH_LOADER */
	FIXED(0xc0010055, 0),				/* interrupt pending */
	FIXED(0xc0010058, 0),				/* MMIO configuration base */
	CONST(0xc0010061, 0), FIXED(0xc0010062, 0), CONST(0xc0010063, 0),
	FIXED(0xc0010064, 0),				/* P-states */
	CODE(0xc0010111, NONE, get_smbase, set_smbase),
	FIXED(0xc0010112, 0), FIXED(0xc0010113, 0),	/* SMM address, mask */
	FIXED(0xc0010114, BIT64(4)),			/* VM_CR: SVM disabled */
	FIXED(0xc0011020, 0), FIXED(0xc0011021, 0),	/* LS_CFG, IC_CFG */
	FIXED(0xc0011022, 0), FIXED(0xc0011023, 0),	/* DC_CFG, TW_CFG */
	FIXED(0xc0011029, BIT64(1)),			/* DE_CFG: LFENCE serialises */
	FIXED(0xc001102a, 0), FIXED(0xc001102c, 0),	/* BU_CFG2, EX_CFG */
};
/* clang-format on */

static const struct msr_row *msr_find(const struct cpu *cpu, uint32_t index)
{
	unsigned lo = 0, hi = ARRAY_SIZE(rows);

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (rows[mid].index < index)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == ARRAY_SIZE(rows) || rows[lo].index != index)
		return NULL;
	if (index >= 0xc0010000 && !cpu->i.amd)
		return NULL;
	if (rows[lo].feature && !cpu_has(cpu, rows[lo].feature))
		return NULL;
	return &rows[lo];
}

static uint64_t *msr_field(struct cpu *cpu, const struct msr_row *row)
{
	return (uint64_t *)(void *)((char *)&cpu->s + row->offset);
}

int cpu_msr_read(struct cpu *cpu, uint32_t index, uint64_t *value)
{
	const struct msr_row *row;

	if (unlikely(!cpu->i.ready))
		cpu_init(cpu);
	if (cpu->ops->msr_asked) {
		int answer = cpu->ops->msr_asked(cpu, index, false, value);

		if (answer)
			return answer > 0 ? 0 : raise_gp0(cpu);
	}
	row = msr_find(cpu, index);
	if (!row)
		return cpu->ops->msr_read && !cpu->ops->msr_read(cpu, index, value)
			       ? 0
			       : raise_gp0(cpu);
	switch (row->kind) {
	case MSR_STATE:
	case MSR_ADDR:
	case MSR_MTRR:
		*value = *msr_field(cpu, row);
		return 0;
	case MSR_CODE:
		return row->get ? row->get(cpu, value) : raise_gp0(cpu);
	default:
		*value = row->valid;
		return 0;
	}
}

int cpu_msr_write(struct cpu *cpu, uint32_t index, uint64_t value)
{
	const struct msr_row *row;

	if (unlikely(!cpu->i.ready))
		cpu_init(cpu);
	if (cpu->ops->msr_asked) {
		int answer = cpu->ops->msr_asked(cpu, index, true, &value);

		if (answer)
			return answer > 0 ? 0 : raise_gp0(cpu);
	}
	row = msr_find(cpu, index);
	if (!row)
		return cpu->ops->msr_write && !cpu->ops->msr_write(cpu, index, value)
			       ? 0
			       : raise_gp0(cpu);
	switch (row->kind) {
	case MSR_STATE:
		if (value & ~row->valid)
			return raise_gp0(cpu);
		*msr_field(cpu, row) = value;
		return 0;
	case MSR_ADDR:
		if (!is_loadable(cpu, value))
			return raise_gp0(cpu);
		*msr_field(cpu, row) = value;
		return 0;
	case MSR_MTRR:
		if (!mtrr_valid(cpu, index, value))
			return raise_gp0(cpu);
		*msr_field(cpu, row) = value;
		return 0;
	case MSR_CODE:
		return row->set ? row->set(cpu, value) : raise_gp0(cpu);
	case MSR_FIXED:
		return 0;
	default:
		return raise_gp0(cpu);
	}
}
