/* SPDX-License-Identifier: ISC */
/* fault_rows.h: causes of faults, and instructions, that the guests of tests/guest do not come to: they need
 * another maker's processor, a state that only a restored one or the monitor brings about, or tables cut
 * short. A row sets up the processor; one instruction is executed, and the row says which vector with which
 * error code must come of it (SDM vol. 2 and 3; APM for AMD's). For test_faults.c (the interpreter) and
 * test_faults_soft.c (the translator). */
#ifndef TESTS_FAULT_ROWS_H
#define TESTS_FAULT_ROWS_H

#include "tests/unit/fault_setups.h"

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
	{"JMP over the canonical end", last_page, {0xe9, 0, 0, 1, 0}, VEC_GP, 0},
	{"CALL over the canonical end", last_page, {0xe8, 0, 0, 1, 0}, VEC_GP, 0},
	{"JZ over the canonical end", last_page, {0x0f, 0x84, 0, 0, 1, 0}, VEC_GP, 0},
	{"CALL to what is not canonical", call_nowhere, {0xff, 0xd0}, VEC_GP, 0},
	{"CALL to what is not canonical, AMD", amd_call_nowhere, {0xff, 0xd0}, VEC_GP, 0},
	{"CALL to what is not canonical, below RSP",
	 call_below,
	 {0xff, 0x54, 0x24, 0xf8},
	 VEC_GP,
	 0},
	{"CALL to what is not canonical, below RSP, AMD",
	 amd_call_below,
	 {0xff, 0x54, 0x24, 0xf8},
	 VEC_GP,
	 0},
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
