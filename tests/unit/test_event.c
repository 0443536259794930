/* SPDX-License-Identifier: ISC */
/* test_event.c: delivery of interrupts and exceptions, and the ways back, in all modes, on hand-made
 * tables; expectations from SDM vol. 3, chapters 5 to 7 and 20. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/cpu_rig.h"

#define CODE    0x20000u
#define USER_SP 0x40000u

static struct rig *r;
static struct x86_state *s;

static int setup(void **state)
{
	r = rig_new();
	s = &r->cpu.s;
	return 0;
}

static int teardown(void **state)
{
	rig_free(r);
	return 0;
}

#define CODE_BYTES(...)                                        \
	do {                                                   \
		static const uint8_t bytes_[] = {__VA_ARGS__}; \
		memcpy(r->ram + CODE, bytes_, sizeof(bytes_)); \
		s->rip = CODE;                                 \
	} while (0)

static void step(void)
{
	assert_int_equal(cpu_step(&r->cpu), STEP_OK);
}

static uint64_t frame(unsigned n)
{
	return rig_get64(r, s->gpr[RSP] + 8 * n);
}

static uint32_t frame32(unsigned n)
{
	return rig_get32(r, s->seg[SS].base + s->gpr[RSP] + 4 * n);
}

/* ---- long mode ---- */

static void test_long_interrupt(void **state)
{
	rig_long(r, 3);
	s->rip = CODE;
	s->gpr[RSP] = USER_SP + 5;
	s->rflags = FL_ONE | FL_IF | FL_CF | FL_TF | FL_NT | FL_AC;
	assert_true(cpu_can_interrupt(&r->cpu));
	assert_int_equal(cpu_interrupt(&r->cpu, 0x30), STEP_OK);
	assert_int_equal(rig_vector(r), 0x30);
	assert_int_equal(x86_cpl(s), 0);
	assert_int_equal(s->seg[CS].sel, SEL_CODE0);
	assert_int_equal(s->seg[SS].sel, 0);
	assert_int_equal(s->rflags, FL_ONE | FL_CF | FL_AC);
	assert_int_equal(s->gpr[RSP], RIG_STACK0 - 40);
	assert_int_equal(frame(0), CODE);
	assert_int_equal(frame(1), SEL_CODE3);
	assert_int_equal(frame(2), FL_ONE | FL_IF | FL_CF | FL_TF | FL_NT | FL_AC);
	assert_int_equal(frame(3), USER_SP + 5);
	assert_int_equal(frame(4), SEL_DATA3);
	/* and back: iretq */
	rig_put64(r, s->gpr[RSP] + 16, FL_ONE | FL_IF | FL_CF);
	r->ram[s->rip] = 0x48;
	r->ram[s->rip + 1] = 0xcf;
	step();
	assert_int_equal(s->rip, CODE);
	assert_int_equal(s->gpr[RSP], USER_SP + 5);
	assert_int_equal(s->seg[CS].sel, SEL_CODE3);
	assert_int_equal(s->seg[SS].sel, SEL_DATA3);
	assert_int_equal(s->rflags, FL_ONE | FL_IF | FL_CF);
	assert_int_equal(x86_cpl(s), 3);
}

static void test_long_same_ring(void **state)
{
	rig_long(r, 0);
	s->rip = CODE;
	s->gpr[RSP] = USER_SP + 13; /* aligned down before the pushes */
	rig_gate64(r, 0x31, RIG_HANDLERS + 0x31 * 16, SEL_CODE0, 15, 0, 0);
	s->rflags = FL_ONE | FL_IF;
	cpu_interrupt(&r->cpu, 0x31);
	assert_int_equal(s->gpr[RSP], (USER_SP & ~15u) - 40 + 0);
	assert_int_equal(frame(3), USER_SP + 13);
	assert_int_equal(s->seg[SS].sel, SEL_DATA0);
	assert_true(s->rflags & FL_IF); /* a trap gate */
}

static void test_long_ist(void **state)
{
	rig_long(r, 0);
	s->rip = CODE;
	s->gpr[RSP] = USER_SP;
	rig_gate64(r, 2, RIG_HANDLERS + 32, SEL_CODE0, 14, 0, 1);
	cpu_nmi(&r->cpu);
	assert_true(s->nmi_blocked);
	assert_int_equal(s->gpr[RSP], RIG_STACK1 - 40);
	assert_int_equal(rig_vector(r), 2);
	r->ram[s->rip] = 0x48;
	r->ram[s->rip + 1] = 0xcf;
	step();
	assert_false(s->nmi_blocked);
	assert_int_equal(s->gpr[RSP], USER_SP);
}

/* Gates that are not right */
static void test_gate_errors(void **state)
{
	rig_long(r, 3);
	s->rip = CODE;
	s->gpr[RSP] = USER_SP;
	CODE_BYTES(0xcd, 0x40); /* int 40h: DPL 0 */
	step();
	assert_int_equal(rig_vector(r), 13);
	assert_int_equal(frame(0), 0x40 * 8 + 2);
	assert_int_equal(frame(1), CODE);
	/* the same from outside is an event: DPL does not matter, EXT is set where it fails */
	rig_long(r, 3);
	rig_put64(r, RIG_IDT + 0x41 * 16, rig_get64(r, RIG_IDT + 0x41 * 16) & ~BIT64(47));
	cpu_interrupt(&r->cpu, 0x41);
	assert_int_equal(rig_vector(r), 11);
	assert_int_equal(frame(0), 0x41 * 8 + 3);
	/* beyond the limit; and a task gate in long mode */
	rig_long(r, 3);
	s->idtr.limit = 0x42 * 16 - 1;
	cpu_interrupt(&r->cpu, 0x42);
	assert_int_equal(frame(0), 0x42 * 8 + 3);
	rig_long(r, 3);
	rig_gate64(r, 0x43, RIG_HANDLERS, SEL_CODE0, 5, 3, 0);
	CODE_BYTES(0xcd, 0x43);
	step();
	assert_int_equal(frame(0), 0x43 * 8 + 2);
	/* a 32-bit handler segment */
	rig_long(r, 3);
	rig_gate64(r, 0x44, RIG_HANDLERS, SEL_CODE32, 14, 3, 0);
	CODE_BYTES(0xcd, 0x44);
	step();
	assert_int_equal(rig_vector(r), 13);
	assert_int_equal(frame(0), SEL_CODE32);
	/* int3 from ring 3 returns after itself, without RF */
	rig_long(r, 3);
	CODE_BYTES(0xcc);
	step();
	assert_int_equal(rig_vector(r), 3);
	assert_int_equal(frame(0), CODE + 1);
	assert_false(frame(2) & FL_RF);
}

static void test_fault_frame(void **state)
{
	rig_long(r, 3);
	CODE_BYTES(0x8b, 0x04, 0x25, 0x00, 0x00, 0x00, 0x60); /* mov eax,[60000000h] */
	rig_put64(r, RIG_PDPT + 8, 0);
	s->gpr[RSP] = USER_SP;
	rig_put64(r, RIG_PD + 8 * 0x100, 0);
	s->gpr[RAX] = 77;
	step();
	assert_int_equal(rig_vector(r), 14);
	assert_int_equal(frame(0), PF_U);
	assert_int_equal(frame(1), CODE);
	assert_true(frame(3) & FL_RF);
	assert_int_equal(s->cr2, 0x60000000);
	assert_int_equal(s->gpr[RAX], 77);
}

/* SDM vol. 3, table 6-5, made by handlers whose gates fail */
static void test_double_fault(void **state)
{
	static const uint8_t first[] = {0, 1, 6, 10, 11, 12, 13, 14, 16};

	for (unsigned i = 0; i < sizeof(first); i++) {
		struct cpu_exc exc = {.vector = first[i], .cr2 = 0x1234};
		bool contributory = first[i] == 0 || (first[i] >= 10 && first[i] <= 13);

		exc.has_error = first[i] >= 10 && first[i] <= 14;
		rig_long(r, 0);
		s->rip = CODE;
		s->gpr[RSP] = USER_SP;
		rig_put64(r, RIG_IDT + first[i] * 16, 0); /* bad type: #GP while delivering */
		assert_int_equal(cpu_raise(&r->cpu, &exc), STEP_OK);
		if (contributory || first[i] == 14) {
			assert_int_equal(rig_vector(r), first[i] == 13 ? 8 : 8);
			assert_int_equal(frame(0), 0);
			assert_int_equal(s->gpr[RSP], RIG_STACK1 - 48);
		} else {
			assert_int_equal(rig_vector(r), 13);
			assert_int_equal(frame(0), first[i] * 8 + 3);
		}
		assert_int_equal(frame(1), CODE);
	}
	/* #GP while delivering a benign one, then a page fault in it: serial, since #PF after #GP
	 * is not a double fault only for … a contributory first: it is */
	rig_long(r, 0);
	s->rip = CODE;
	s->gpr[RSP] = 0x70000000;
	rig_put64(r, RIG_PD + 8 * 0x180, 0); /* no stack */
	assert_int_equal(cpu_raise(&r->cpu, &(struct cpu_exc){.vector = 6}), STEP_OK);
	assert_int_equal(rig_vector(r), 8); /* #UD, #PF, then #PF again: double fault by IST */
	assert_int_equal(s->cr2, 0x70000000 - 8);
}

static void test_triple_fault(void **state)
{
	rig_long(r, 0);
	s->rip = CODE;
	s->idtr.limit = 0;
	assert_int_equal(cpu_raise(&r->cpu, &(struct cpu_exc){.vector = 13, .has_error = true}),
			 STEP_SHUTDOWN);
	assert_int_equal(s->activity, ACT_SHUTDOWN);
	assert_int_equal(s->rip, CODE);
}

/* ---- IRET ---- */

static void iret_frame(uint64_t rip, uint64_t cs, uint64_t fl, uint64_t rsp, uint64_t ss)
{
	const uint64_t v[] = {rip, cs, fl, rsp, ss};

	rig_long(r, 0);
	s->gpr[RSP] = 0x50000;
	for (unsigned i = 0; i < 5; i++)
		rig_put64(r, 0x50000 + i * 8, v[i]);
	CODE_BYTES(0x48, 0xcf);
}

static void test_iret(void **state)
{
	/* to 32-bit user code */
	iret_frame(0x12345, SEL_CODE3C, FL_ONE | FL_IF, 0x6000, SEL_DATA3);
	step();
	assert_int_equal(s->rip, 0x12345);
	assert_int_equal(s->seg[CS].attr & (SEG_L | SEG_DB), SEG_DB);
	assert_int_equal(x86_cpl(s), 3);
	/* a null SS for ring 0 */
	iret_frame(0x12345, SEL_CODE0, FL_ONE, 0x6000, 0);
	step();
	assert_int_equal(s->seg[SS].sel, 0);
	assert_int_equal(s->gpr[RSP], 0x6000);
	/* errors */
	iret_frame(0x12345, SEL_CODE3, FL_ONE, 0x6000, 3);
	step();
	assert_int_equal(rig_vector(r), 13);
	assert_int_equal(frame(0), 0);
	iret_frame(0x12345, SEL_CODE3, FL_ONE, 0x6000, SEL_DATA0);
	step();
	assert_int_equal(frame(0), SEL_DATA0);
	iret_frame(UINT64_C(0x8000) << 32, SEL_CODE3, FL_ONE, 0x6000, SEL_DATA3);
	step();
	assert_int_equal(rig_vector(r), 13);
	assert_int_equal(frame(1), CODE);
	iret_frame(0x12345, 0x7b, FL_ONE, 0x6000, SEL_DATA3); /* empty descriptor */
	step();
	assert_int_equal(frame(0), 0x78);
	/* NT in long mode */
	iret_frame(0x12345, SEL_CODE3, FL_ONE, 0x6000, SEL_DATA3);
	s->rflags |= FL_NT;
	step();
	assert_int_equal(rig_vector(r), 13);
	/* user code may not change IF and IOPL */
	rig_long(r, 3);
	s->gpr[RSP] = 0x50000;
	rig_put64(r, 0x50000, CODE + 0x10);
	rig_put64(r, 0x50008, SEL_CODE3);
	rig_put64(r, 0x50010, FL_ONE | FL_IF | FL_IOPL | FL_CF | FL_RF);
	rig_put64(r, 0x50018, 0x7000);
	rig_put64(r, 0x50020, SEL_DATA3);
	CODE_BYTES(0x48, 0xcf);
	step();
	assert_int_equal(s->rflags, FL_ONE | FL_CF | FL_RF);
}

static void test_ring_data_segments(void **state)
{
	/* a return to ring 3 drops ring-0 data segments */
	iret_frame(0x12345, SEL_CODE3, FL_ONE, 0x6000, SEL_DATA3);
	rig_seg(r, ES, SEL_DATA0);
	rig_seg(r, DS, SEL_DATA3);
	s->seg[GS].base = 0x1234567;
	step();
	assert_int_equal(s->seg[ES].sel, 0);
	assert_true(s->seg[ES].attr & SEG_UNUSABLE);
	assert_int_equal(s->seg[DS].sel, SEL_DATA3);
	assert_int_equal(s->seg[GS].base, 0x1234567);
}

/* ---- real mode ---- */

static void test_real(void **state)
{
	s->seg[CS].sel = 0x2000;
	s->seg[CS].base = CODE;
	s->seg[SS].base = 0x50000;
	s->seg[SS].sel = 0x5000;
	s->gpr[RSP] = 0x12340002; /* SP wraps to 0fffch… */
	s->rflags = FL_ONE | FL_IF | FL_CF;
	rig_put32(r, 0x21 * 4, 0x3000 << 16 | 0x1234);
	r->ram[CODE] = 0xcd;
	r->ram[CODE + 1] = 0x21;
	s->rip = 0;
	step();
	assert_int_equal(s->rip, 0x1234);
	assert_int_equal(s->seg[CS].sel, 0x3000);
	assert_int_equal(s->seg[CS].base, 0x30000);
	assert_int_equal(s->rflags, FL_ONE | FL_CF);
	assert_int_equal(s->gpr[RSP], 0x1234fffc);
	assert_int_equal(rig_get32(r, 0x5fffc), 0x20000002);
	assert_int_equal(rig_get32(r, 0x50000) & 0xffff, FL_ONE | FL_IF | FL_CF);
	r->ram[0x31234] = 0xcf;
	step();
	assert_int_equal(s->rip, 2);
	assert_int_equal(s->seg[CS].sel, 0x2000);
	assert_int_equal(s->gpr[RSP], 0x12340002);
	assert_true(s->rflags & FL_IF);
	/* a short vector table */
	s->idtr.limit = 0x21 * 4 + 2;
	s->rip = 0;
	rig_put32(r, 13 * 4, 0x4000 << 16 | 0x10);
	step();
	assert_int_equal(s->seg[CS].sel, 0x4000);
	assert_int_equal(s->rip, 0x10);
	/* no error code: IP, CS, flags */
	assert_int_equal(s->gpr[RSP] & 0xffff, 0xfffc);
}

/* ---- protected mode, 32 bits, no paging ---- */

#define TSS2 0x7800u /* a second task */

static void gate32(unsigned vec, uint32_t off, unsigned sel, unsigned type, unsigned dpl)
{
	rig_put64(r, RIG_IDT + vec * 8,
		  (off & 0xffff) | sel << 16 | (uint64_t)(0x80 | dpl << 5 | type) << 40 |
			  (uint64_t)(off >> 16) << 48);
}

static void prot32(unsigned cpl)
{
	rig_gdt(r);
	rig_put64(r, RIG_GDT + 0x10, rig_desc(0, 0xfffff, 0xc09b)); /* ring 0, 32-bit */
	rig_put64(r, RIG_GDT + 0x30, rig_desc(0, 0xfffff, 0xc0fb));
	for (unsigned v = 0; v < 256; v++)
		gate32(v, RIG_HANDLERS + v * 16, SEL_CODE0, 14, 0);
	s->idtr = (struct x86_dtr){.base = RIG_IDT, .limit = 0x7ff};
	memset(r->ram + RIG_TSS, 0, 0x68);
	rig_put32(r, RIG_TSS + 4, RIG_STACK0);
	rig_put32(r, RIG_TSS + 8, SEL_DATA0);
	s->tr = (struct x86_seg){
		.sel = SEL_TSS, .attr = SEG_P | 0xb, .limit = 0x67, .base = RIG_TSS};
	s->ldtr = (struct x86_seg){.attr = SEG_UNUSABLE};
	s->cr0 = CR0_PE | CR0_ET | CR0_NE;
	s->cr4 = 0;
	s->efer = 0;
	rig_seg(r, CS, cpl ? SEL_CODE3 : SEL_CODE0);
	rig_seg(r, SS, cpl ? SEL_DATA3 : SEL_DATA0);
	rig_seg(r, DS, SEL_DATA3);
	rig_seg(r, ES, SEL_DATA3);
	rig_seg(r, FS, SEL_DATA3);
	rig_seg(r, GS, SEL_DATA3);
	s->rflags = FL_ONE;
	s->gpr[RSP] = USER_SP;
	cpu_state_changed(&r->cpu);
}

static void test_prot_interrupt(void **state)
{
	prot32(3);
	s->rip = CODE;
	s->rflags = FL_ONE | FL_IF | FL_ZF;
	cpu_interrupt(&r->cpu, 0x50);
	assert_int_equal(rig_vector(r), 0x50);
	assert_int_equal(s->gpr[RSP], RIG_STACK0 - 20);
	assert_int_equal(frame32(0), CODE);
	assert_int_equal(frame32(1), SEL_CODE3);
	assert_int_equal(frame32(2), FL_ONE | FL_IF | FL_ZF);
	assert_int_equal(frame32(3), USER_SP);
	assert_int_equal(frame32(4), SEL_DATA3);
	r->ram[s->rip] = 0xcf;
	step();
	assert_int_equal(s->rip, CODE);
	assert_int_equal(x86_cpl(s), 3);
	assert_int_equal(s->gpr[RSP], USER_SP);
	/* a 16-bit gate pushes words */
	prot32(0);
	s->rip = CODE;
	gate32(0x51, 0x8000 + 0x51 * 16, SEL_CODE0, 6, 0);
	cpu_interrupt(&r->cpu, 0x51);
	assert_int_equal(s->gpr[RSP], USER_SP - 6);
	/* a bad stack segment in the TSS: #TS with its selector and EXT */
	prot32(3);
	s->rip = CODE;
	gate32(10, RIG_HANDLERS + 10 * 16, SEL_CODE3, 14, 0);
	rig_put32(r, RIG_TSS + 8, SEL_DATA3);
	cpu_interrupt(&r->cpu, 0x50);
	assert_int_equal(rig_vector(r), 10);
	assert_int_equal(frame32(0), (SEL_DATA3 & ~3u) | 1);
	assert_int_equal(x86_cpl(s), 3);
}

static void test_v86(void **state)
{
	prot32(0);
	/* iret into a virtual-8086 task */
	const uint32_t f[] = {0x100,  0x2000, FL_ONE | FL_VM | FL_IF,
			      0xfff0, 0x5000, 0x1111,
			      0x2222, 0x3333, 0x4444};

	for (unsigned i = 0; i < 9; i++)
		rig_put32(r, USER_SP + i * 4, f[i]);
	CODE_BYTES(0xcf);
	step();
	assert_true(s->rflags & FL_VM);
	assert_int_equal(x86_cpl(s), 3);
	assert_int_equal(s->rip, 0x100);
	assert_int_equal(s->seg[CS].base, 0x20000);
	assert_int_equal(s->seg[ES].sel, 0x1111);
	assert_int_equal(s->seg[GS].base, 0x44440);
	assert_int_equal(s->seg[DS].limit, 0xffff);
	/* hlt there: #GP(0) through ring 0's stack, with all segments */
	r->ram[0x20100] = 0xf4;
	step();
	assert_int_equal(rig_vector(r), 13);
	assert_false(s->rflags & FL_VM);
	assert_int_equal(s->gpr[RSP], RIG_STACK0 - 40);
	assert_int_equal(frame32(0), 0);
	assert_int_equal(frame32(1), 0x100);
	assert_int_equal(frame32(2), 0x2000);
	assert_int_equal(frame32(3) & FL_VM, FL_VM);
	assert_int_equal(frame32(4), 0xfff0);
	assert_int_equal(frame32(5), 0x5000);
	assert_int_equal(frame32(6), 0x1111);
	assert_int_equal(frame32(9), 0x4444);
	assert_int_equal(s->seg[DS].sel, 0);
	/* INT n with IOPL below 3 */
	s->gpr[RSP] = USER_SP;
	r->ram[0x20100] = 0xcd;
	CODE_BYTES(0xcf);
	r->ram[0x20101] = 0x21;
	rig_put32(r, USER_SP, 0x110);
	r->ram[0x20110] = 0xcd;
	r->ram[0x20111] = 0x21;
	step();
	step();
	assert_int_equal(rig_vector(r), 13);
	/* with VME and a clear redirection bit it stays in the task */
	s->gpr[RSP] = USER_SP;
	CODE_BYTES(0xcf);
	s->cr4 = CR4_VME;
	s->tr.limit = 0x67 + 0x40;
	r->ram[RIG_TSS + 0x66] = 0x68 + 32;
	memset(r->ram + RIG_TSS + 0x68, 0, 32);
	rig_put32(r, 0x21 * 4, 0x3000 << 16 | 0x77);
	step();
	s->rflags |= FL_VIF;
	step();
	assert_true(s->rflags & FL_VM);
	assert_int_equal(s->seg[CS].sel, 0x3000);
	assert_int_equal(s->rip, 0x77);
	assert_false(s->rflags & FL_VIF);
	assert_int_equal(rig_get32(r, 0x5ffea), 0x20000112);
	assert_true(rig_get32(r, 0x5ffee) & FL_IF);
}

static void test_call_gate(void **state)
{
	prot32(3);
	/* gate 50h, DPL 3, to ring 0 with one parameter */
	rig_put64(r, RIG_GDT + 0x50,
		  0x4000 | SEL_CODE0 << 16 | UINT64_C(1) << 32 | UINT64_C(0xec) << 40);
	rig_put32(r, USER_SP, 0xfeedface);
	CODE_BYTES(0x9a, 0, 0, 0, 0, 0x53, 0); /* call 53h:0 */
	step();
	assert_int_equal(s->rip, 0x4000);
	assert_int_equal(x86_cpl(s), 0);
	assert_int_equal(frame32(0), CODE + 7);
	assert_int_equal(frame32(1), SEL_CODE3);
	assert_int_equal(frame32(2), 0xfeedface);
	assert_int_equal(frame32(3), USER_SP);
	assert_int_equal(frame32(4), SEL_DATA3);
	/* retf 4 */
	r->ram[0x4000] = 0xca;
	r->ram[0x4001] = 4;
	r->ram[0x4002] = 0;
	step();
	assert_int_equal(s->rip, CODE + 7);
	assert_int_equal(x86_cpl(s), 3);
	assert_int_equal(s->gpr[RSP], USER_SP + 4);
	/* JMP through it may not change rings */
	CODE_BYTES(0xea, 0, 0, 0, 0, 0x53, 0);
	step();
	assert_int_equal(rig_vector(r), 13);
	assert_int_equal(frame32(0), SEL_CODE0);
}

static void test_task(void **state)
{
	prot32(0);
	rig_put64(r, RIG_GDT + 0x58, rig_desc(TSS2, 0x67, 0x0089));
	rig_put32(r, TSS2 + 0x20, 0x4000);         /* EIP */
	rig_put32(r, TSS2 + 0x24, FL_ONE | FL_IF); /* EFLAGS */
	rig_put32(r, TSS2 + 0x28, 0xaaaa);         /* EAX */
	rig_put32(r, TSS2 + 0x38, 0x60000);        /* ESP */
	rig_put32(r, TSS2 + 0x4c, SEL_CODE0);
	rig_put32(r, TSS2 + 0x50, SEL_DATA0);
	rig_put32(r, TSS2 + 0x54, SEL_DATA3);
	s->gpr[RAX] = 0xbbbb;
	CODE_BYTES(0x9a, 0, 0, 0, 0, 0x58, 0); /* call 58h:0 */
	step();
	assert_int_equal(s->rip, 0x4000);
	assert_int_equal(s->gpr[RAX], 0xaaaa);
	assert_int_equal(s->gpr[RSP], 0x60000);
	assert_true(s->rflags & FL_NT);
	assert_true(s->cr0 & CR0_TS);
	assert_int_equal(s->tr.sel, 0x58);
	assert_int_equal(s->seg[DS].sel, SEL_DATA3);
	assert_int_equal(rig_get32(r, TSS2) & 0xffff, SEL_TSS);
	assert_int_equal(rig_get32(r, RIG_TSS + 0x20), CODE + 7);
	assert_int_equal(rig_get32(r, RIG_TSS + 0x28), 0xbbbb);
	assert_int_equal(r->ram[RIG_GDT + 0x5d] & 2, 2);
	/* iret: back, NT clear in the saved flags, not busy any more */
	r->ram[0x4000] = 0xcf;
	step();
	assert_int_equal(s->rip, CODE + 7);
	assert_int_equal(s->gpr[RAX], 0xbbbb);
	assert_int_equal(s->tr.sel, SEL_TSS);
	assert_int_equal(r->ram[RIG_GDT + 0x5d] & 2, 0);
	assert_false(rig_get32(r, TSS2 + 0x24) & FL_NT);
	/* an exception through a task gate, with its error code */
	gate32(13, 0, 0x58, 5, 0);
	s->rip = CODE;
	assert_int_equal(
		cpu_raise(&r->cpu,
			  &(struct cpu_exc){.vector = 13, .has_error = true, .error = 0x77}),
		STEP_OK);
	assert_int_equal(s->rip, 0x4001); /* where the task's IRET has left it */
	assert_int_equal(frame32(0), 0x77);
	/* a TSS that is too small */
	prot32(0);
	rig_put64(r, RIG_GDT + 0x58, rig_desc(TSS2, 0x66, 0x0089));
	CODE_BYTES(0xea, 0, 0, 0, 0, 0x58, 0);
	step();
	assert_int_equal(rig_vector(r), 10);
	assert_int_equal(frame32(0), 0x58);
}

static void test_segment_checks(void **state)
{
	prot32(0);
	rig_put64(r, RIG_GDT + 0x50, rig_desc(0x1000, 0xfff, 0x0091)); /* read-only, byte limit */
	rig_put64(r, RIG_GDT + 0x58, rig_desc(0, 0xfff, 0xc097));      /* expand-down */
	s->gpr[RAX] = 0x50;
	CODE_BYTES(0x8e, 0xd8, 0xa1, 0xfc, 0x0f, 0, 0, 0xa1, 0xfd, 0x0f, 0, 0);
	step();
	step(); /* the last dword is inside */
	step(); /* the next is not */
	assert_int_equal(rig_vector(r), 13);
	assert_int_equal(frame32(1), CODE + 7);
	CODE_BYTES(0xa3, 0, 0, 0, 0); /* a write */
	step();
	assert_int_equal(rig_vector(r), 13);
	s->gpr[RAX] = 0x58;
	CODE_BYTES(0x8e, 0xd8, 0xa1, 0xff, 0xff, 0xff, 0, 0xa1, 0, 0, 0, 1);
	step();
	assert_int_equal(s->seg[DS].limit, 0xffffff);
	step(); /* at the limit: outside of an expand-down segment */
	assert_int_equal(rig_vector(r), 13);
	s->rip = CODE + 7;
	step();
	assert_int_equal(s->rip, CODE + 12);
	/* null */
	s->gpr[RAX] = 3;
	CODE_BYTES(0x8e, 0xd8, 0xa1, 0, 0, 0, 0);
	step();
	step();
	assert_int_equal(rig_vector(r), 13);
	assert_int_equal(frame32(0), 0);
	/* SS may not be null, nor of another ring */
	CODE_BYTES(0x8e, 0xd0);
	step();
	assert_int_equal(rig_vector(r), 13);
	s->gpr[RAX] = SEL_DATA3;
	CODE_BYTES(0x8e, 0xd0);
	step();
	assert_int_equal(frame32(0), SEL_DATA3 & ~3u);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_long_interrupt), T(test_long_same_ring), T(test_long_ist),
		T(test_gate_errors),    T(test_fault_frame),    T(test_double_fault),
		T(test_triple_fault),   T(test_iret),           T(test_ring_data_segments),
		T(test_real),           T(test_prot_interrupt), T(test_v86),
		T(test_call_gate),      T(test_task),           T(test_segment_checks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
