/* SPDX-License-Identifier: ISC */
/* fault_rows.h: causes of faults, and instructions, that the guests of tests/guest do not come to: they need
 * another maker's processor, a state that only a restored one or the monitor brings about, or tables cut
 * short. A row sets up the processor; one instruction is executed, and the row says which vector with which
 * error code must come of it (SDM vol. 2 and 3; APM for AMD's). For test_faults.c (the interpreter) and
 * test_faults_soft.c (the translator). */
#ifndef TESTS_FAULT_ROWS_H
#define TESTS_FAULT_ROWS_H

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

static const struct row {
	const char *name;
	void (*set)(void);
	uint8_t code[8];
	int vector;
	int64_t error;
} rows[] = {
	{"INT in virtual-8086 mode to ring 3",
	 v86_ring3_handler,
	 {0xcd, 0x46},
	 VEC_GP,
	 SEL_CODE3C & ~3},
	{"INT to code that is not present", handler_absent, {0xcd, 0x46}, VEC_NP, SLOT},
	{"INT with a TSS that ends before SS0", tss_cut, {0xcd, 0x46}, SHUTDOWN, ANY},
	{"task gate with a null selector", task_gate_null, {0xcd, 0x46}, VEC_GP, 0},
	{"task gate to a TSS that is not present", task_gate_absent, {0xcd, 0x46}, VEC_NP, SEL2},
	{"task with a null CS", task_cs_null, {0xea, 0, 0, 0, 0, SEL2, 0}, SHUTDOWN, ANY},
	{"task whose CS is not present",
	 task_cs_absent,
	 {0xea, 0, 0, 0, 0, SEL2, 0},
	 SHUTDOWN,
	 ANY},
	{"task whose LDT is in the LDT",
	 task_ldt_in_ldt,
	 {0xea, 0, 0, 0, 0, SEL2, 0},
	 SHUTDOWN,
	 ANY},
	{"task whose LDT is none", task_ldt_not_one, {0xea, 0, 0, 0, 0, SEL2, 0}, SHUTDOWN, ANY},
	{"task with EIP beyond CS", task_eip_high, {0xea, 0, 0, 0, 0, SEL2, 0}, VEC_GP, 0},
	{"IRET to a task in the LDT", link_in_ldt, {0xcf}, VEC_TS, SEL2 | 4},
	{"IRET to a task that is not busy", link_not_busy, {0xcf}, VEC_TS, SEL2},
	{"IRET to a task that is not present", link_absent, {0xcf}, VEC_NP, SEL2},
	{"IRET to virtual-8086 mode, EIP of 17 bits", iret_v86, {0xcf}, VEC_GP, 0},
	{"IN with a TSS too small for a map", io_tss_small, {0xe4, 0x80}, VEC_GP, 0},
	{"RETF with RPL of no code", iret_null_ss, {0x48, 0xcb}, VEC_GP, SEL_CODE0},
	{"MOV from DR4 with DE", de, {0x0f, 0x21, 0xe0}, VEC_UD, ANY},
	{"XSETBV without OSXSAVE", no_osxsave, {0x0f, 0x01, 0xd1}, VEC_UD, ANY},
	{"XGETBV without OSXSAVE", no_osxsave, {0x0f, 0x01, 0xd0}, VEC_UD, ANY},
	{"XSAVE with TS", xsave_ts, {0x0f, 0xae, 0x27}, VEC_NM, ANY},
	{"XRSTOR, header", xrstor_header, {0x0f, 0xae, 0x2f}, VEC_GP, 0},
	{"XRSTOR, MXCSR", xrstor_mxcsr, {0x0f, 0xae, 0x2f}, VEC_GP, 0},
	{"LGDT, base not canonical", lgdt_far, {0x0f, 0x01, 0x17}, VEC_GP, 0},
	{"LLDT, base not canonical", ldt_far, {0x0f, 0x00, 0xd0}, VEC_GP, SLOT},
	{"LLDT, table ends in the descriptor", ldt_cut, {0x0f, 0x00, 0xd0}, VEC_GP, SLOT},
	{"JMP to a gate that the table cuts", jump_ldt_cut, {0xff, 0x2f}, VEC_GP, SLOT},
	{"PUSH with a null SS", null_ss, {0x50}, VEC_SS, 0},
	{"MOV [EBP] with a null SS", null_ss, {0x89, 0x45, 0}, VEC_SS, 0},
	{"SYSRET, RCX not canonical", sysret_far, {0x48, 0x0f, 0x07}, VEC_GP, 0},
	{"CALL, neither target nor stack canonical", call_astray, {0xff, 0xd0}, VEC_SS, 0},
	{"CALL, neither target nor stack canonical, AMD", amd_call_astray, {0xff, 0xd0}, VEC_SS, 0},
	{"CALL to what is not canonical, on an absent stack", call_absent, {0xff, 0xd0}, VEC_PF, 6},
	{"SYSEXIT, not canonical", sysexit_far, {0x48, 0x0f, 0x35}, VEC_GP, 0},
	{"SYSRET in ring 3 without SCE", sce_off, {0x48, 0x0f, 0x07}, VEC_UD, ANY},
	{"SYSRET in ring 3 of compatibility mode", compat3, {0x0f, 0x07}, VEC_UD, ANY},
	{"SYSRET in ring 3 of compatibility mode, AMD", amd_compat3, {0x0f, 0x07}, VEC_GP, 0},
	{"SYSEXIT in ring 3 of long mode, AMD", amd_sysexit3, {0x0f, 0x35}, VEC_UD, ANY},
	{"SYSENTER in real mode", real_sysenter, {0x0f, 0x34}, VEC_GP, ANY},
	{"SYSEXIT in real mode", real_sysenter, {0x0f, 0x35}, VEC_GP, ANY},
	{"SYSRET in real mode, AMD", amd_real_sysret, {0x0f, 0x07}, VEC_GP, ANY},
	{"store to a stack that is code", ss_code, {0x89, 0x45, 0}, VEC_SS, 0},
	{"load from a stack that is for execution only",
	 ss_execute_only,
	 {0x8b, 0x45, 0},
	 VEC_SS,
	 0},
	{"SYSENTER in long mode, AMD", amd_long3, {0x0f, 0x34}, VEC_UD, ANY},
	{"SYSEXIT in long mode, AMD", amd_long0, {0x0f, 0x35}, VEC_UD, ANY},
	{"MOVAPS aligned, DS.base 8", base_unseen, {0x0f, 0x28, 0x07}, NONE, ANY},
	{"MOVAPS aligned but for DS.base", base_unseen_8, {0x0f, 0x28, 0x07}, VEC_GP, 0},
	{"MOVAPS to a clean page, misaligned", store_astray, {0x0f, 0x29, 0x07}, VEC_GP, 0},
	{"VMOVDQA of 32 bytes to a clean page, misaligned",
	 store_astray,
	 {0xc5, 0xfd, 0x7f, 0x47, 8},
	 VEC_GP,
	 0},
	{"MOVUPS to a clean page, misaligned", store_astray, {0x0f, 0x11, 0x07}, NONE, ANY},
	{"MOVAPS to a clean page, misaligned, the first of three",
	 store_astray_first,
	 {0x90},
	 VEC_GP,
	 0},
	{"MOVSQ from an absent page to a clean one", copy_from_nowhere, {0x48, 0xa5}, VEC_PF, 0},
	{"REP MOVSB from an absent page to a clean one",
	 copy_from_nowhere,
	 {0xf3, 0xa4},
	 VEC_PF,
	 0},
	{"VZEROUPPER in compatibility mode", vectors_compat, {0xc5, 0xf8, 0x77}, NONE, ANY},
	{"VZEROALL in compatibility mode", vectors_compat, {0xc5, 0xfc, 0x77}, NONE, ANY},
	{"MOVAPS under an opmask, DS.base 8",
	 base_unseen,
	 {0x62, 0xf1, 0x7c, 0x09, 0x28, 0x07},
	 NONE,
	 ANY},
	{"code beyond CS", cs_end, {0x90}, VEC_GP, 0},
	{"code over the end of the lower half", canonical_end, {0}, VEC_GP, 0},
	{"CR0.PG with LME, without PAE", lme_no_pae, {0x0f, 0x22, 0xc0}, VEC_GP, 0},
	{"WRMSR to ARCH_CAPABILITIES", msr_read_only, {0x0f, 0x30}, VEC_GP, 0},
	{"WRMSR to PRED_CMD, reserved", msr_command, {0x0f, 0x30}, VEC_GP, 0},
	{"WRMSR to SMBASE, AMD", msr_smbase, {0x0f, 0x30}, VEC_GP, 0},
	{"WRMSR that the monitor denies", msr_denied, {0x0f, 0x30}, VEC_GP, 0},
	{"RDMSR that the monitor denies", msr_denied, {0x0f, 0x32}, VEC_GP, 0},
	{"CVTTPS2PI beside an ignored x87 error",
	 ignored_and_simd,
	 {0x0f, 0x2c, 0x3f},
	 VEC_XM,
	 ANY},
	{"code beyond the lower half", beyond_canonical, {0}, VEC_GP, 0},
	{"INT to a handler beyond CS", handler_beyond_cs, {0xcd, 0x46}, VEC_GP, 0},
	{"RETF to a null SS of another RPL", retf_null_ss, {0x48, 0xcb}, VEC_GP, 0},
	{"LLDT from the LDT", ldt_in_ldt, {0x0f, 0x00, 0xd0}, VEC_GP, SLOT | 4},
	{"XRSTOR, components that the area has not", xrstor_compact, {0x0f, 0xae, 0x2f}, VEC_GP, 0},
	{"RDMSR of PRED_CMD", msr_write_only, {0x0f, 0x32}, VEC_GP, 0},
	{"SYSRET in ring 3", long3, {0x0f, 0x07}, VEC_GP, 0},
	{"SYSEXIT in ring 3", long3, {0x0f, 0x35}, VEC_GP, 0},
	/* SDM vol. 3, 18.2.6: no check */
	{"MOV to DR0, not canonical", dr_far, {0x0f, 0x23, 0xc0}, NONE, ANY},
	{"BOUND below the lower bound, Intel", pointer, {0x62, 0x07}, VEC_BR, ANY},
	{"LES", pointer, {0xc4, 0x07}, NONE, 0x12345678},
	{"LFS", pointer, {0x0f, 0xb4, 0x07}, NONE, 0x12345678},
	{"LGS", pointer, {0x0f, 0xb5, 0x07}, NONE, 0x12345678},
	{"LMSW from memory", machine_word, {0x0f, 0x01, 0x37}, NONE, ANY},
	{"SMSW to memory", machine_word, {0x0f, 0x01, 0x27}, NONE, ANY},
	{"OUTSD", strings, {0x6f}, NONE, ANY},
	{"POP SS", stack, {0x17}, NONE, ANY},
	{"PUSH ES", stack, {0x06}, NONE, ANY},
	{"PUSH SS", stack, {0x16}, NONE, ANY},
	{"INVD", long0, {0x0f, 0x08}, NONE, ANY},
	{"WBNOINVD", long0, {0xf3, 0x0f, 0x09}, NONE, ANY},
	{"RDPID", long0, {0xf3, 0x0f, 0xc7, 0xf8}, NONE, ANY},
	{"NOP of the prefetch group", long0, {0x0f, 0x0d, 0xf8}, NONE, ANY},
	{"ROL by 0", long0, {0xc1, 0xc0, 0x20}, NONE, ANY},
	/* not in CPUID */
	{"INVEPT", pointer64, {0x66, 0x0f, 0x38, 0x80, 0x07}, VEC_UD, ANY},
	{"INVVPID", pointer64, {0x66, 0x0f, 0x38, 0x81, 0x07}, VEC_UD, ANY},
	{"VMCALL", long0, {0x0f, 0x01, 0xc1}, VEC_UD, ANY},
	{"VMLAUNCH", long0, {0x0f, 0x01, 0xc2}, VEC_UD, ANY},
	{"VMRESUME", long0, {0x0f, 0x01, 0xc3}, VEC_UD, ANY},
	{"VMXOFF", long0, {0x0f, 0x01, 0xc4}, VEC_UD, ANY},
	{"MONITOR", pointer64, {0x0f, 0x01, 0xc8}, VEC_UD, ANY},
	{"MWAIT", long0, {0x0f, 0x01, 0xc9}, VEC_UD, ANY},
	{"VMFUNC", long0, {0x0f, 0x01, 0xd4}, VEC_UD, ANY},
	{"VMRUN", pointer64, {0x0f, 0x01, 0xd8}, VEC_UD, ANY},
	{"VMMCALL", long0, {0x0f, 0x01, 0xd9}, VEC_UD, ANY},
	{"VMLOAD", pointer64, {0x0f, 0x01, 0xda}, VEC_UD, ANY},
	{"VMSAVE", pointer64, {0x0f, 0x01, 0xdb}, VEC_UD, ANY},
	{"STGI", long0, {0x0f, 0x01, 0xdc}, VEC_UD, ANY},
	{"CLGI", long0, {0x0f, 0x01, 0xdd}, VEC_UD, ANY},
	{"SKINIT", long0, {0x0f, 0x01, 0xde}, VEC_UD, ANY},
	{"INVLPGA", pointer64, {0x0f, 0x01, 0xdf}, VEC_UD, ANY},
	{"VMREAD", pointer64, {0x0f, 0x78, 0x07}, VEC_UD, ANY},
	{"VMWRITE", pointer64, {0x0f, 0x79, 0x07}, VEC_UD, ANY},
	{"VMPTRLD", pointer64, {0x0f, 0xc7, 0x37}, VEC_UD, ANY},
	{"VMCLEAR", pointer64, {0x66, 0x0f, 0xc7, 0x37}, VEC_UD, ANY},
	{"VMXON", pointer64, {0xf3, 0x0f, 0xc7, 0x37}, VEC_UD, ANY},
	{"VMPTRST", pointer64, {0x0f, 0xc7, 0x3f}, VEC_UD, ANY},
	{"the same in ring 3: VMRUN", long3, {0x0f, 0x01, 0xd8}, VEC_UD, ANY},
};

/* ---- a row's run ------------------------------------------------------------------------------- */

/* Has the host what the row executes? */
static bool there(const struct row *row)
{
	struct insn in;

	return row->set == canonical_end || row->set == beyond_canonical || row->vector == VEC_UD ||
	       insn_decode(row->code, sizeof(row->code), code_mode(&r->cpu), &in) != DECODE_OK ||
	       !in.row->feature || cpu_has(&r->cpu, in.row->feature);
}

/* Makes the processor's state and memory, with the byte behind the instruction. False: nothing to do on this
 * host. */
static bool row_begin(const struct row *row, uint8_t behind)
{
	struct insn in;

	x86_state_reset(s, true);
	r->cpu.ops = &rig_ops;
	r->cpu.i.amd = false;
	s->rip = CODE;
	s->gpr[RSP] = 0x40000;
	row->set();
	if (s->rflags & FL_VM)
		s->rip = 0;
	cpu_state_changed(&r->cpu);
	memset(r->ram + CODE, 0, 16);
	memcpy(r->ram + CODE, row->code, sizeof(row->code));
	if (!there(row))
		return false;
	if (insn_decode(r->ram + CODE, INSN_MAX, code_mode(&r->cpu), &in) == DECODE_OK)
		r->ram[CODE + in.len] = behind;
	return true;
}

/* Did it come as the row says? halted: the processor is behind a HLT. */
static bool row_good(const struct row *row, bool halted)
{
	uint64_t at = s->rip - halted - RIG_HANDLERS;
	int vector = s->activity == ACT_SHUTDOWN     ? SHUTDOWN
		     : at < 256 * 16 && at % 16 == 0 ? (int)(at / 16)
						     : NONE;

	if (vector == row->vector && row->error != ANY && vector != NONE &&
	    (rig_get64(r, s->seg[SS].base + s->gpr[RSP]) & UINT32_MAX) != (uint64_t)row->error)
		vector = -1;
	if (vector == NONE && row->error != ANY && s->gpr[RAX] != (uint64_t)row->error)
		vector = -2;
	if (vector == row->vector)
		return true;
	printf("%s: vector %d, not %d; rip %llx, at the stack %llx\n", row->name, vector,
	       row->vector, (unsigned long long)s->rip,
	       (unsigned long long)rig_get64(r, s->gpr[RSP] & 0xfffff));
	return false;
}

#endif
