/* SPDX-License-Identifier: ISC */
/* fault_setups.h: what the rows of fault_rows.h set up before their instruction: modes, tables, descriptors, code. */
#ifndef TESTS_FAULT_SETUPS_H
#define TESTS_FAULT_SETUPS_H

#include "tests/unit/cpu_rig.h"
#include "x86/interp.h"

#define CODE     0x20000u
#define DATA     0x30000u
#define TSS2     0x7800u
#define SEL2     0x78u /* TSS2 */
#define SLOT     0x50u /* any descriptor */
#define NONE     0x40
#define SHUTDOWN 0x41 /* the new task has no stack to deliver the fault on */
#define ANY      (-1)
#define FAR16    (UINT64_C(1) << 47) /* the first address that is not canonical */

static struct rig *r;
static struct x86_state *s;

/* ---- modes ----------------------------------------------------------------------------------- */

static void long0(void)
{
	rig_long(r, 0);
}

static void long3(void)
{
	rig_long(r, 3);
}

/* Its code is at the end of the canonical lower half, too, and runs there. */
static void last_page(void)
{
	long3();
	rig_put64(r, RIG_PML4 + 255 * 8, RIG_PDPT | 7);
	rig_put64(r, RIG_PDPT + 511 * 8, RIG_PD | 7);
	rig_put64(r, RIG_PD + 511 * 8, RIG_PT | 7);
	rig_put64(r, RIG_PT + 511 * 8, (CODE & ~0xfffu) | 7);
	s->rip = UINT64_C(0x7ffffffff000) | (CODE & 0xfff);
	s->rflags |= FL_ZF;
}

static void tss2(unsigned type)
{
	memset(r->ram + TSS2, 0, 0x68);
	rig_put32(r, TSS2 + 0x20, CODE);
	rig_put32(r, TSS2 + 0x24, 2);
	rig_put32(r, TSS2 + 0x38, RIG_STACK1);
	for (unsigned i = 0; i < 6; i++)
		rig_put32(r, TSS2 + 0x48 + i * 4, i == 1 ? SEL_CODE32 : SEL_DATA0);
	rig_put64(r, RIG_GDT + SEL2, rig_desc(TSS2, 0x67, type));
}

/* Protected mode without paging; code of 32 bits */
static void prot(unsigned cpl)
{
	rig_long(r, cpl);
	for (unsigned v = 0; v < 256; v++)
		rig_put64(r, RIG_IDT + v * 8,
			  (RIG_HANDLERS + v * 16) | SEL_CODE32 << 16 | UINT64_C(0xee) << 40);
	rig_put32(r, RIG_TSS + 4, RIG_STACK0);
	rig_put32(r, RIG_TSS + 8, SEL_DATA0);
	rig_put32(r, RIG_TSS, 0);
	s->cr0 &= ~CR0_PG;
	s->cr4 &= ~CR4_PAE;
	s->efer = 0;
	rig_seg(r, CS, cpl ? SEL_CODE3C : SEL_CODE32);
	tss2(0x89);
}

static void prot0(void)
{
	prot(0);
}

static void v86(void)
{
	prot(3);
	s->rflags |= FL_VM | FL_IOPL;
	for (unsigned i = 0; i < SREG_COUNT; i++)
		s->seg[i] = (struct x86_seg){
			.sel = CODE >> 4, .base = CODE, .limit = 0xffff, .attr = 0xf3};
}

/* Real mode; code, data and stack at CODE */
static void real(void)
{
	prot0();
	s->cr0 &= ~CR0_PE;
	s->idtr = (struct x86_dtr){.base = RIG_IDT, .limit = 0x3ff};
	for (unsigned v = 0; v < 256; v++)
		rig_put32(r, RIG_IDT + v * 4, RIG_HANDLERS + v * 16);
	for (unsigned i = 0; i < SREG_COUNT; i++)
		s->seg[i] = (struct x86_seg){
			.sel = CODE >> 4, .base = CODE, .limit = 0xffff, .attr = 0x93};
	s->rip = 0;
	s->gpr[RSP] = 0x8000;
}

/* ---- faults: set-ups ---------------------------------------------------------------------------- */

static void gate(unsigned vector, unsigned sel, unsigned attr)
{
	rig_put64(r, RIG_IDT + vector * 8,
		  (RIG_HANDLERS + vector * 16) | sel << 16 | (uint64_t)attr << 40);
}

static void v86_ring3_handler(void)
{
	v86();
	gate(0x46, SEL_CODE3C, 0xee);
}

static void handler_absent(void)
{
	prot0();
	rig_put64(r, RIG_GDT + SLOT, rig_desc(0, 0xfffff, 0xc01b));
	gate(0x46, SLOT, 0xee);
}

static void tss_cut(void)
{
	prot(3);
	s->tr.limit = 7;
}

static void task_gate_to(unsigned sel, unsigned type)
{
	prot0();
	tss2(type);
	gate(0x46, sel, 0xe5);
}

static void task_gate_null(void)
{
	task_gate_to(0, 0x89);
}

static void task_gate_absent(void)
{
	task_gate_to(SEL2, 0x09);
}

static void task_cs_null(void)
{
	prot0();
	rig_put32(r, TSS2 + 0x4c, 0);
}

static void task_cs_absent(void)
{
	prot0();
	rig_put64(r, RIG_GDT + SLOT, rig_desc(0, 0xfffff, 0xc01b));
	rig_put32(r, TSS2 + 0x4c, SLOT);
}

static void task_ldt_in_ldt(void)
{
	prot0();
	rig_put32(r, TSS2 + 0x60, SLOT | 4);
}

static void task_ldt_not_one(void)
{
	prot0();
	rig_put32(r, TSS2 + 0x60, SEL_DATA0);
}

static void task_eip_high(void)
{
	prot0();
	rig_put64(r, RIG_GDT + SLOT, rig_desc(0, 0xffff, 0x409b));
	rig_put32(r, TSS2 + 0x4c, SLOT);
	rig_put32(r, TSS2 + 0x20, 0x10000);
}

static void nested(unsigned link, unsigned type)
{
	prot0();
	tss2(type);
	rig_put32(r, RIG_TSS, link);
	s->rflags |= FL_NT;
}

static void link_in_ldt(void)
{
	nested(SEL2 | 4, 0x8b);
}

static void link_not_busy(void)
{
	nested(SEL2, 0x89);
}

static void link_absent(void)
{
	nested(SEL2, 0x0b);
}

/* IRETD to virtual-8086 mode; EIP in words[0] */
static void iret_v86(void)
{
	static const uint32_t frame[] = {0x10000, 0x2000, FL_VM | 2, 0x1000, 0x3000, 0, 0, 0, 0};

	prot0();
	memcpy(r->ram + DATA, frame, sizeof(frame));
	s->gpr[RSP] = DATA;
}

static void io_tss_small(void)
{
	prot(3);
	s->tr.limit = 102;
}

static void iret_null_ss(void)
{
	long0();
	rig_put64(r, DATA, CODE);
	rig_put64(r, DATA + 8, SEL_CODE0 | 1); /* to ring 1 of a code segment that is not of it */
	s->gpr[RSP] = DATA;
}

static void de(void)
{
	prot0();
	s->cr4 |= CR4_DE;
}

static void no_osxsave(void)
{
	long0();
	s->cr4 &= ~CR4_OSXSAVE;
}

static void xsave_ts(void)
{
	long0();
	s->cr0 |= CR0_TS;
	s->gpr[RDI] = DATA;
}

static void xrstor_header(void)
{
	long0();
	s->gpr[RDI] = DATA;
	s->gpr[RAX] = 7;
	memset(r->ram + DATA, 0, 1024);
	rig_put64(r, DATA + 528, 1);
}

static void xrstor_mxcsr(void)
{
	long0();
	s->gpr[RDI] = DATA;
	s->gpr[RAX] = 7;
	memset(r->ram + DATA, 0, 1024);
	rig_put32(r, DATA + FX_MXCSR, 0x10000);
	rig_put64(r, DATA + XS_BV, 2);
}

static void lgdt_far(void)
{
	long0();
	s->gpr[RDI] = DATA;
	rig_put64(r, DATA + 2, FAR16 << 10);
}

static void ldt_far(void)
{
	long0();
	rig_put64(r, RIG_GDT + SLOT, rig_desc(0, 0xff, 0x82));
	rig_put64(r, RIG_GDT + SLOT + 8, 0x02000000);
	s->gpr[RAX] = SLOT;
}

static void ldt_cut(void)
{
	long0();
	rig_put64(r, RIG_GDT + SLOT, rig_desc(0, 0xff, 0x82));
	s->gdtr.limit = SLOT + 7;
	s->gpr[RAX] = SLOT;
}

static void jump_ldt_cut(void)
{
	long0();
	rig_put64(r, RIG_GDT + SLOT, rig_desc(0, 0xff, 0x8c)); /* call gate */
	s->gdtr.limit = SLOT + 7;
	rig_put32(r, DATA, 0);
	rig_put32(r, DATA + 4, SLOT);
	s->gpr[RDI] = DATA;
}

static void null_ss(void)
{
	long0();
	rig_seg(r, CS, SEL_CODE32);
	s->seg[SS] = (struct x86_seg){.attr = SEG_UNUSABLE};
	s->gpr[RBP] = DATA;
}

static void syscalls(void)
{
	s->star = (uint64_t)SEL_CODE32 << 32 | (uint64_t)SEL_CODE3C << 48;
	s->sysenter_cs = SEL_CODE0;
	s->gpr[RCX] = s->gpr[RDX] = FAR16;
}

static void sysret_far(void)
{
	long0();
	syscalls();
}

static void sysexit_far(void)
{
	long0();
	syscalls();
}

static void amd_long3(void)
{
	long3();
	r->cpu.i.amd = true;
	syscalls();
}

static void call_astray(void)
{
	long3();
	s->gpr[RAX] = s->gpr[RSP] = FAR16 << 1;
}

static void call_absent(void)
{
	long3();
	s->gpr[RAX] = FAR16;
	s->gpr[RSP] = FAR16 >> 1;
}

static void call_nowhere(void)
{
	long3();
	s->gpr[RAX] = FAR16;
	memset(r->ram + s->gpr[RSP] - 8, 0x5a, 8);
}

static void amd_call_nowhere(void)
{
	call_nowhere();
	r->cpu.i.amd = true;
}

/* What it is about to push to has the target. */
static void call_below(void)
{
	call_nowhere();
	memcpy(r->ram + s->gpr[RSP] - 8, &s->gpr[RAX], 8);
}

static void amd_call_below(void)
{
	call_below();
	r->cpu.i.amd = true;
}

static void amd_call_astray(void)
{
	call_astray();
	r->cpu.i.amd = true;
}

static void amd_long0(void)
{
	long0();
	r->cpu.i.amd = true;
	syscalls();
}

static void sce_off(void)
{
	long3();
	s->efer &= ~EFER_SCE;
}

static void compat3(void)
{
	long3();
	rig_seg(r, CS, SEL_CODE3C);
}

static void amd_compat3(void)
{
	compat3();
	r->cpu.i.amd = true;
}

static void amd_sysexit3(void)
{
	amd_long3();
}

static void real_sysenter(void)
{
	real();
	syscalls();
}

static void amd_real_sysret(void)
{
	real_sysenter();
	s->efer = EFER_SCE;
	r->cpu.i.amd = true;
}

/* A stack that is code: no guest can load that, SS:'s checks are there all the same. */
static void ss_code(void)
{
	prot(3);
	s->seg[SS].attr |= 8;
	s->gpr[RBP] = DATA;
}

static void ss_execute_only(void)
{
	ss_code();
	s->seg[SS].attr &= (uint16_t)~2u;
}

/* Left from compatibility mode; 64-bit code does not see it. */
static void base_unseen(void)
{
	long0();
	s->seg[DS].base = 8;
	s->gpr[RDI] = DATA;
}

static void base_unseen_8(void)
{
	base_unseen();
	s->gpr[RDI] += 8;
}

/* A page that nothing has written to: D is to stay clear, which test_faults_soft compares with the interpreter. */
static void store_astray(void)
{
	long0();
	rig_put64(r, RIG_PT + (DATA >> PAGE_SHIFT) * 8, DATA | 7);
	s->gpr[RDI] = DATA + 8;
}

/* Behind it stores that it shares a probe with */
static void store_astray_first(void)
{
	static const uint8_t code[] = {0x0f, 0x29, 0x07, 0x0f, 0x29, 0x4f,
				       0x10, 0x0f, 0x29, 0x57, 0x20, 0xf4};

	store_astray();
	s->rip = CODE + 0x100;
	memcpy(r->ram + s->rip, code, sizeof(code));
}

static void copy_from_nowhere(void)
{
	store_astray();
	rig_put64(r, RIG_PT + ((DATA >> PAGE_SHIFT) + 1) * 8, 0);
	s->gpr[RSI] = DATA + PAGE_SIZE;
	s->gpr[RCX] = 3;
}

/* All vector registers in use; test_faults_soft compares them. */
static void vectors_compat(void)
{
	long0();
	rig_seg(r, CS, SEL_CODE32);
	s->cr4 |= CR4_OSXSAVE;
	s->xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
	memset(s->xsave.bytes + FX_XMM, 0x5a, 256);
	memset(s->xsave.bytes + XS_AVX, 0xa5, 256);
	s->xsave.bytes[XS_BV] = 7;
}

static void cs_end(void)
{
	prot0();
	s->seg[CS].limit = CODE - 1;
}

/* The last page of the lower half; its code's last instruction is cut by the end. */
static void canonical_end(void)
{
	long0();
	rig_put64(r, RIG_PML4 + 255 * 8, RIG_PDPT | 7);
	rig_put64(r, RIG_PDPT + 511 * 8, RIG_PD | 7);
	rig_put64(r, RIG_PD + 511 * 8, RIG_PT | 7);
	rig_put64(r, RIG_PT + 511 * 8, DATA | 7);
	memset(r->ram + DATA, 0x66, 4096); /* prefixes */
	s->rip = FAR16 - 2;
}

static void beyond_canonical(void)
{
	long0();
	s->rip = FAR16;
}

static void handler_beyond_cs(void)
{
	prot0();
	rig_put64(r, RIG_GDT + SLOT, rig_desc(0, 0xfff, 0x409b));
	gate(0x46, SLOT, 0xee);
}

/* To 64-bit code of ring 1 with a null SS, whose RPL is 0 */
static void retf_null_ss(void)
{
	long0();
	rig_put64(r, RIG_GDT + SLOT, rig_desc(0, 0, 0xa0bb));
	rig_put64(r, DATA, CODE);
	rig_put64(r, DATA + 8, SLOT | 1);
	rig_put64(r, DATA + 16, DATA);
	rig_put64(r, DATA + 24, 0);
	s->gpr[RSP] = DATA;
}

static void ldt_in_ldt(void)
{
	long0();
	s->gpr[RAX] = SLOT | 4;
}

static void xrstor_compact(void)
{
	long0();
	s->gpr[RDI] = DATA;
	s->gpr[RAX] = 7;
	memset(r->ram + DATA, 0, 1024);
	rig_put64(r, DATA + XS_BV, 2);
	rig_put64(r, DATA + XS_COMP, UINT64_C(1) << 63 | 1);
}

/* On a host that has it not, too */
static void with(unsigned feature)
{
	r->cpu.i.feat[feature >> 6] |= BIT64(feature & 63);
}

static void msr_write_only(void)
{
	long0();
	with(X_FEAT_SPEC_CTRL);
	s->gpr[RCX] = 0x49;
}

/* An x87 error that nobody takes, and a SIMD exception that is not masked */
static void ignored_and_simd(void)
{
	long0();
	s->cr0 &= ~CR0_NE;
	s->gpr[RDI] = DATA;
	rig_put64(r, DATA, 0x7fa00000); /* a signalling NaN */
	s->xsave.bytes[FX_FCW] = 0x7e;
	s->xsave.bytes[FX_FSW] = 1;
	memset(s->xsave.bytes + FX_MXCSR, 0, 4);
	s->xsave.bytes[XS_BV] = 3;
}

static void lme_no_pae(void)
{
	prot0();
	s->efer = EFER_LME;
	s->gpr[RAX] = s->cr0 | CR0_PG;
}

static void wrmsr(uint32_t index, uint64_t value)
{
	long0();
	s->gpr[RCX] = index;
	s->gpr[RAX] = value & UINT32_MAX;
	s->gpr[RDX] = value >> 32;
}

static void msr_read_only(void)
{
	wrmsr(0x10a, 0);
	with(X_FEAT_ARCH_CAPS);
}

static void msr_command(void)
{
	wrmsr(0x49, 2);
	with(X_FEAT_SPEC_CTRL);
}

static void msr_smbase(void)
{
	wrmsr(0xc0010111, UINT64_C(1) << 32);
	r->cpu.i.amd = true;
}

static int deny(struct cpu *cpu, uint32_t index, bool write, uint64_t *value)
{
	return ERR_NOENT;
}

static void msr_denied(void)
{
	static struct cpu_ops ops;

	wrmsr(0x10, 0);
	ops = rig_ops;
	ops.msr_asked = deny;
	r->cpu.ops = &ops;
}

static void dr_far(void)
{
	long0();
	s->gpr[RAX] = FAR16;
}

/* ---- instructions that no other suite executes: set-ups ----------------------------------------- */

static void pointer(void)
{
	prot0();
	s->gpr[RDI] = DATA;
	rig_put32(r, DATA, 0x12345678);
	rig_put32(r, DATA + 4, SEL_DATA3);
}

static void pointer64(void)
{
	long0();
	s->gpr[RAX] = s->gpr[RDI] = DATA;
}

static void machine_word(void)
{
	prot0();
	s->gpr[RDI] = DATA;
	rig_put32(r, DATA, 0xb);
}

static void strings(void)
{
	prot0();
	s->gpr[RSI] = DATA;
	s->gpr[RDX] = 0x80;
	rig_put32(r, DATA, 0xcafe);
}

static void stack(void)
{
	prot0();
	s->gpr[RSP] = DATA;
	rig_put32(r, DATA, SEL_DATA0);
}

#endif
