/* SPDX-License-Identifier: ISC */
/* test_interp.c: the interpreter's instructions that lockstep.c cannot run natively: system
 * instructions, modes, string chunks, MMIO, debug traps. Small machine-code programs on fake RAM. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

#include "tests/unit/cpu_rig.h"

#define CODE 0x20000u
#define DATA 0x30000u

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

static void code(const void *bytes, size_t n)
{
	memcpy(r->ram + CODE, bytes, n);
	s->rip = CODE;
}
#define CODE_BYTES(...)                                        \
	do {                                                   \
		static const uint8_t bytes_[] = {__VA_ARGS__}; \
		code(bytes_, sizeof(bytes_));                  \
	} while (0)

static void steps(unsigned n)
{
	while (n--)
		assert_int_equal(cpu_step(&r->cpu), STEP_OK);
}

/* The next instruction raises this vector; gives the error code where there is one. */
static uint64_t expect_fault(int vector)
{
	uint64_t rip = s->rip;
	bool error = vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;

	steps(1);
	assert_int_equal(rig_vector(r), vector);
	assert_int_equal(rig_get64(r, s->gpr[RSP] + (error ? 8 : 0)), rip);
	return error ? rig_get64(r, s->gpr[RSP]) : 0;
}

/* ---- modes ---- */

/* The way of a secondary processor: real mode, 32-bit protected, long. */
static void test_trampoline(void **state)
{
	/* lgdtl 0x9000; mov eax,cr0; or al,1; mov cr0,eax; ljmpl $8,$0xa000 */
	static const uint8_t real[] = {0x66, 0x2e, 0x0f, 0x01, 0x16, 0x00, 0x01, 0x0f,
				       0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0, 0x66,
				       0xea, 0x00, 0xa0, 0x00, 0x00, 0x08, 0x00};
	/* mov $0x18,%ax; mov %ax,%ss; mov $0x20,%eax (PAE); mov %eax,%cr4; mov $PML4,%eax;
	 * mov %eax,%cr3; mov $0xc0000080,%ecx; rdmsr; bts $8,%eax; wrmsr; mov %cr0,%eax;
	 * bts $31,%eax; mov %eax,%cr0; ljmp $0x10,$0xb000 */
	static const uint8_t prot[] = {
		0x66, 0xb8, 0x18, 0x00, 0x8e, 0xd0, 0xb8, 0x20, 0x00, 0x00, 0x00, 0x0f, 0x22,
		0xe0, 0xb8, 0x00, 0x10, 0x00, 0x00, 0x0f, 0x22, 0xd8, 0xb9, 0x80, 0x00, 0x00,
		0xc0, 0x0f, 0x32, 0x0f, 0xba, 0xe8, 0x08, 0x0f, 0x30, 0x0f, 0x20, 0xc0, 0x0f,
		0xba, 0xe8, 0x1f, 0x0f, 0x22, 0xc0, 0xea, 0x00, 0xb0, 0x00, 0x00, 0x10, 0x00};
	/* mov $0x123456789abcdef0,%rax; hlt */
	static const uint8_t lng[] = {0x48, 0xb8, 0xf0, 0xde, 0xbc, 0x9a,
				      0x78, 0x56, 0x34, 0x12, 0xf4};

	rig_long(r, 0); /* its tables */
	x86_state_reset(s, false);
	assert_int_equal(s->activity, ACT_WAIT_SIPI);
	x86_state_sipi(s, 0x90);
	cpu_state_changed(&r->cpu);
	memcpy(r->ram + 0x90000, real, sizeof(real));
	r->ram[0x90100] = 0x7f;
	rig_put32(r, 0x90102, RIG_GDT);
	memcpy(r->ram + 0xa000, prot, sizeof(prot));
	memcpy(r->ram + 0xb000, lng, sizeof(lng));
	s->gpr[RAX] = 0;
	steps(5);
	assert_int_equal(s->rip, 0xa000);
	assert_int_equal(s->seg[CS].sel, 8);
	assert_int_equal(s->seg[CS].base, 0);
	steps(14);
	assert_int_equal(s->rip, 0xb000);
	assert_true(s->efer & EFER_LMA);
	assert_true(s->seg[CS].attr & SEG_L);
	steps(1);
	assert_int_equal(cpu_step(&r->cpu), STEP_HALT);
	assert_int_equal(s->gpr[RAX], 0x123456789abcdef0);
	assert_int_equal(s->activity, ACT_HLT);
	assert_int_equal(s->rip, 0xb000 + sizeof(lng));
}

static void test_unreal(void **state)
{
	/* a segment loaded in real mode keeps the limit of protected mode */
	s->seg[CS].base = CODE;
	s->seg[CS].sel = CODE >> 4;
	s->rip = 0;
	s->seg[DS].limit = 0xffffffff;
	/* mov ds,ax ; a32 mov eax,[0x30000] */
	static const uint8_t c[] = {0x8e, 0xd8, 0x67, 0x66, 0xa1, 0x00, 0x00, 0x03, 0x00};

	memcpy(r->ram + CODE, c, sizeof(c));
	rig_put32(r, DATA, 0xcafebabe);
	s->gpr[RAX] = 0;
	steps(2);
	assert_int_equal(s->gpr[RAX], 0xcafebabe);
}

/* ---- privilege ---- */

static void test_privilege(void **state)
{
	static const struct {
		uint8_t bytes[4];
		int vector;
	} list[] = {
		{{0xf4}, 13},                  /* hlt */
		{{0x0f, 0x20, 0xc0}, 13},      /* mov rax,cr0 */
		{{0x0f, 0x22, 0xd8}, 13},      /* mov cr3,rax */
		{{0x0f, 0x32}, 13},            /* rdmsr */
		{{0x0f, 0x30}, 13},            /* wrmsr */
		{{0x0f, 0x06}, 13},            /* clts */
		{{0xfa}, 13},                  /* cli */
		{{0xe4, 0x80}, 13},            /* in al,80h */
		{{0x0f, 0x01, 0xf8}, 13},      /* swapgs */
		{{0x0f, 0x01, 0xcb}, 6},       /* stac */
		{{0x0f, 0x07}, 13},            /* sysret */
		{{0x0f, 0x01, 0xc1}, 6},       /* vmcall */
		{{0x0f, 0x0b}, 6},             /* ud2 */
		{{0x0f, 0x01, 0xc8}, 6},       /* monitor */
		{{0xf3, 0x0f, 0xae, 0xc0}, 6}, /* rdfsbase without CR4.FSGSBASE */
		{{0x0f, 0x01, 0xd0}, 6},       /* xgetbv without OSXSAVE */
	};

	for (unsigned i = 0; i < ARRAY_SIZE(list); i++) {
		rig_long(r, 3);
		s->cr4 &= ~CR4_OSXSAVE;
		code(list[i].bytes, 4);
		s->gpr[RSP] = 0x40000;
		expect_fault(list[i].vector);
		assert_int_equal(x86_cpl(s), 0);
		assert_int_equal(s->seg[CS].sel, SEL_CODE0);
	}
}

static void test_fpu_off(void **state)
{
	static const struct {
		uint8_t bytes[4];
		uint64_t cr0, cr4_off;
		int vector;
	} list[] = {
		{{0xd9, 0xe8}, CR0_TS, 0, 7}, /* fld1 */
		{{0xd9, 0xe8}, CR0_EM, 0, 7},
		{{0x9b}, CR0_TS, 0, 7},             /* fwait, MP set */
		{{0x0f, 0x57, 0xc0}, CR0_TS, 0, 7}, /* xorps */
		{{0x0f, 0x57, 0xc0}, CR0_EM | CR0_TS, 0, 6},
		{{0x0f, 0x57, 0xc0}, 0, CR4_OSFXSR, 6},
		{{0xc5, 0xf8, 0x57, 0xc0}, 0, CR4_OSXSAVE, 6}, /* vxorps */
		{{0xc5, 0xf8, 0x57, 0xc0}, CR0_TS, 0, 7},
		{{0x0f, 0x77}, CR0_EM, 0, 6}, /* emms */
	};

	for (unsigned i = 0; i < ARRAY_SIZE(list); i++) {
		if (list[i].bytes[0] == 0xc5 && !cpu_has(&r->cpu, X_FEAT_AVX))
			continue;
		rig_long(r, 0);
		s->cr0 |= list[i].cr0;
		s->cr4 &= ~list[i].cr4_off;
		code(list[i].bytes, 4);
		s->gpr[RSP] = 0x40000;
		expect_fault(list[i].vector);
	}
}

static void test_x87_pending(void **state)
{
	rig_long(r, 0);
	s->gpr[RSP] = 0x40000;
	/* FSW with a zero divide pending that FCW does not mask: fninit; mov word [DATA],037bh;
	 * fldcw; fldz; fld1; fdiv st,st1; fwait */
	CODE_BYTES(0xdb, 0xe3, 0x66, 0xc7, 0x04, 0x25, 0, 0, 3, 0, 0x7b, 0x03, 0xd9, 0x2c, 0x25, 0,
		   0, 3, 0, 0xd9, 0xee, 0xd9, 0xe8, 0xd8, 0xf1, 0x9b);
	steps(6);
	expect_fault(16);
	/* fnclex does not wait */
	CODE_BYTES(0xdb, 0xe2, 0x9b);
	steps(2);
	assert_int_equal(rig_vector(r), -1);
}

/* ---- system calls ---- */

/* A state from outside whose FSW doesn't know what is pending */
static void test_x87_summary(void **state)
{
	rig_long(r, 0);
	s->gpr[RDI] = 0x30000;
	s->gpr[RSP] = 0x40000;
	memset(s->xsave.bytes, 0, 512);
	s->xsave.bytes[0] = 0x3e; /* FCW: invalid is not masked */
	s->xsave.bytes[2] = 0x01; /* FSW: it is flagged, ES is clear */
	s->xsave.bytes[512] = 1;
	cpu_state_changed(&r->cpu);
	CODE_BYTES(0xd9, 0x2f); /* fldcw [rdi] */
	expect_fault(16);
}

static void test_syscall(void **state)
{
	rig_long(r, 3);
	s->star = (uint64_t)(SEL_CODE3C & ~3u) << 48 | (uint64_t)SEL_CODE0 << 32;
	s->lstar = 0x50000;
	s->sfmask = FL_IF | FL_TF | FL_DF;
	s->rflags = FL_ONE | FL_IF | FL_DF | FL_CF;
	s->gpr[RSP] = 0x40000;
	CODE_BYTES(0x0f, 0x05);
	steps(1);
	assert_int_equal(s->rip, 0x50000);
	assert_int_equal(s->gpr[RCX], CODE + 2);
	assert_int_equal(s->gpr[R11], FL_ONE | FL_IF | FL_DF | FL_CF);
	assert_int_equal(s->rflags, FL_ONE | FL_CF);
	assert_int_equal(x86_cpl(s), 0);
	assert_int_equal(s->seg[CS].sel, SEL_CODE0);
	assert_int_equal(s->seg[SS].sel, SEL_DATA0);
	r->ram[0x50000] = 0x48; /* sysretq */
	r->ram[0x50001] = 0x0f;
	r->ram[0x50002] = 0x07;
	steps(1);
	assert_int_equal(s->rip, CODE + 2);
	assert_int_equal(s->seg[CS].sel, SEL_CODE3);
	assert_int_equal(s->seg[SS].sel, SEL_DATA3);
	assert_int_equal(x86_cpl(s), 3);
	assert_int_equal(s->rflags, FL_ONE | FL_IF | FL_DF | FL_CF);
}

static void test_syscall_step(void **state)
{
	/* FMASK clears TF: no trap at the kernel's entry; POPF that sets TF traps one later */
	rig_long(r, 3);
	s->star = (uint64_t)SEL_CODE0 << 32;
	s->lstar = 0x50000;
	s->sfmask = FL_TF;
	s->rflags = FL_ONE | FL_TF;
	CODE_BYTES(0x0f, 0x05);
	steps(1);
	assert_int_equal(s->rip, 0x50000);
	rig_long(r, 0);
	s->gpr[RSP] = 0x40000;
	rig_put64(r, 0x40000, FL_ONE | FL_TF);
	CODE_BYTES(0x9d, 0x90, 0x90); /* popf; nop */
	steps(1);
	assert_int_equal(s->rip, CODE + 1);
	steps(1);
	assert_int_equal(rig_vector(r), 1);
	assert_int_equal(rig_get64(r, s->gpr[RSP]), CODE + 2);
	assert_true(s->dr[6] & BIT(14));
	assert_false(s->rflags & FL_TF);
}

/* ---- shadows ---- */

static void test_shadow(void **state)
{
	rig_long(r, 0);
	CODE_BYTES(0xfb, 0xfb, 0x90); /* sti; sti; nop */
	steps(1);
	assert_false(cpu_can_interrupt(&r->cpu));
	steps(1);
	assert_true(cpu_can_interrupt(&r->cpu));
	s->gpr[RAX] = SEL_DATA0;
	CODE_BYTES(0x8e, 0xd0, 0x8e, 0xd0, 0x90); /* mov ss,ax twice */
	steps(1);
	assert_int_equal(s->shadow, SHADOW_MOVSS);
	steps(1);
	assert_int_equal(s->shadow, 0);
}

/* ---- memory ---- */

static void test_mmio(void **state)
{
	rig_long(r, 0);
	rig_put64(r, RIG_PD + 8 * 128, RIG_MMIO | 0x87);
	s->gpr[RDI] = RIG_MMIO;
	r->mmio_value = 0x1122334455667788;
	/* mov eax,[rdi]; lock add dword [rdi],1; movups xmm0,[rdi-4] */
	CODE_BYTES(0x8b, 0x07, 0xf0, 0x83, 0x07, 0x01, 0x0f, 0x11, 0x07);
	steps(1);
	assert_int_equal(s->gpr[RAX], 0x55667788);
	steps(1);
	assert_int_equal(r->mmio_value, 0x1122334455667789);
	assert_int_equal(r->mmio_reads, 2);
	assert_int_equal(r->mmio_writes, 1);
	steps(1);
	assert_int_equal(r->mmio_writes, 3);
}

static void test_crossing(void **state)
{
	/* an RMW over two pages, the second read-only: nothing is written */
	rig_long(r, 3);
	rig_put64(r, RIG_PT + 8 * 0x31, 0x31000 | 5);
	rig_put64(r, 0x30ffc, 0x1111111122222222);
	s->gpr[RDI] = 0x30ffe;
	s->gpr[RSP] = 0x40000;
	CODE_BYTES(0xff, 0x07); /* inc dword [rdi] */
	assert_int_equal(expect_fault(14), PF_P | PF_W | PF_U);
	assert_int_equal(s->cr2, 0x31000);
	assert_int_equal(rig_get64(r, 0x30ffc), 0x1111111122222222);
	/* writable: the carry goes across */
	rig_long(r, 3);
	rig_put32(r, 0x30ffe, 0x0000ffff);
	CODE_BYTES(0xff, 0x07);
	steps(1);
	assert_int_equal(rig_get32(r, 0x30ffe), 0x00010000);
}

/* AMD's processors take any address, whatever the host's says; Intel's do not. */
static void test_sha(void **state)
{
	for (unsigned amd = 0; amd < 2 && cpu_has(&r->cpu, X_FEAT_SHA); amd++) {
		rig_long(r, 3);
		r->cpu.i.amd = amd;
		s->gpr[RDI] = 0x30008;
		s->gpr[RSP] = 0x40000;
		CODE_BYTES(0x0f, 0x38, 0xcd, 0x2f); /* sha256msg2 xmm5, [rdi] */
		if (amd)
			steps(1);
		else
			assert_int_equal(expect_fault(13), 0);
	}
}

static void test_self_modifying(void **state)
{
	rig_long(r, 0);
	/* loop: mov eax,1 ; mov byte [rip-…] … the immediate is bumped through memory */
	CODE_BYTES(0xb8, 0x01, 0x00, 0x00, 0x00, 0xfe, 0x04, 0x25, 0x01, 0x00, 0x02, 0x00, 0xeb,
		   0xf2);
	for (unsigned i = 1; i < 5; i++) {
		steps(1);
		assert_int_equal(s->gpr[RAX], i);
		steps(2);
	}
}

static void test_rep(void **state)
{
	unsigned n = 0;

	rig_long(r, 0);
	for (unsigned i = 0; i < 0x20000; i++)
		r->ram[0x100000 + i] = (uint8_t)(i * 7);
	s->gpr[RSI] = 0x100003;
	s->gpr[RDI] = 0x140001;
	s->gpr[RCX] = 0x1fff0;
	CODE_BYTES(0xf3, 0xa4);
	while (cpu_step(&r->cpu) == STEP_REP) {
		assert_int_equal(s->rip, CODE);
		assert_int_equal(s->gpr[RSI] - 0x100003 + s->gpr[RCX], 0x1fff0);
		n++;
	}
	assert_true(n > 1);
	assert_int_equal(s->gpr[RCX], 0);
	assert_int_equal(s->rip, CODE + 2);
	assert_memory_equal(r->ram + 0x140001, r->ram + 0x100003, 0x1fff0);
	/* overlap by one: fills; downwards: copies right */
	r->ram[0x150000] = 0xab;
	s->gpr[RSI] = 0x150000;
	s->gpr[RDI] = 0x150001;
	s->gpr[RCX] = 5000;
	s->rip = CODE;
	while (cpu_step(&r->cpu) == STEP_REP)
		;
	for (unsigned i = 0; i <= 5000; i++)
		assert_int_equal(r->ram[0x150000 + i], 0xab);
	/* a fault in the middle leaves the registers at it */
	rig_put64(r, RIG_PT + 8 * 0x41, 0);
	cpu_state_changed(&r->cpu);
	s->gpr[RDI] = 0x40800;
	s->gpr[RCX] = 0x300;
	s->gpr[RAX] = 0x55;
	s->gpr[RSP] = 0x60000;
	CODE_BYTES(0xf3, 0xab); /* rep stosd */
	while (cpu_step(&r->cpu) == STEP_REP)
		;
	assert_int_equal(rig_vector(r), 14);
	assert_int_equal(s->gpr[RDI], 0x41000);
	assert_int_equal(s->gpr[RCX], 0x100);
	assert_int_equal(s->cr2, 0x41000);
}

static void test_io(void **state)
{
	rig_long(r, 3);
	s->gpr[RSP] = 0x40000;
	/* no I/O map: #GP; then a map that allows port 80h */
	CODE_BYTES(0xe6, 0x80);
	expect_fault(13);
	rig_long(r, 3);
	s->tr.limit = 0x67 + 0x20;
	r->ram[RIG_TSS + 0x66] = 0x68;
	memset(r->ram + RIG_TSS + 0x68, 0xff, 0x20);
	r->ram[RIG_TSS + 0x68 + 0x10] = 0xfe;
	s->gpr[RAX] = 0x1234;
	CODE_BYTES(0xe6, 0x80, 0x66, 0xe7, 0x80);
	steps(1);
	assert_int_equal(r->pio_value, 0x34);
	expect_fault(13); /* the second port of a word */
}

/* ---- registers ---- */

static void test_cr(void **state)
{
	rig_long(r, 0);
	s->gpr[RSP] = 0x40000;
	assert_int_equal(cpu_cr_write(&r->cpu, 0, CR0_PG), CPU_FAULT);
	assert_int_equal(cpu_cr_write(&r->cpu, 4, 0), CPU_FAULT); /* PAE in long mode */
	assert_int_equal(cpu_cr_write(&r->cpu, 4, s->cr4 | BIT64(14)), CPU_FAULT);
	assert_int_equal(cpu_cr_write(&r->cpu, 4, s->cr4 | CR4_LA57), CPU_FAULT);
	assert_int_equal(cpu_cr_write(&r->cpu, 3, BIT64(63) | RIG_PML4), CPU_FAULT);
	assert_int_equal(cpu_cr_write(&r->cpu, 4, s->cr4 | CR4_PCIDE), 0);
	assert_int_equal(cpu_cr_write(&r->cpu, 3, BIT64(63) | RIG_PML4 | 5), 0);
	assert_int_equal(s->cr3, RIG_PML4 | 5);
	assert_int_equal(cpu_cr_write(&r->cpu, 8, 16), CPU_FAULT);
	assert_int_equal(cpu_cr_write(&r->cpu, 8, 9), 0);
	assert_int_equal(r->cr8, 9);
	assert_int_equal(cpu_cr_write(&r->cpu, 1, 0), CPU_FAULT);
	assert_int_equal(r->cpu.exc.vector, 6);
}

static void test_msr(void **state)
{
	uint64_t v;

	rig_long(r, 0);
	assert_int_equal(cpu_msr_write(&r->cpu, 0xc0000100, 0x8000000000000000), CPU_FAULT);
	assert_int_equal(cpu_msr_write(&r->cpu, 0xc0000100, 0x1000), 0);
	assert_int_equal(s->seg[FS].base, 0x1000);
	assert_int_equal(cpu_msr_write(&r->cpu, 0xc0000080, s->efer ^ EFER_LME), CPU_FAULT);
	assert_int_equal(cpu_msr_write(&r->cpu, 0xc0000080, s->efer | BIT64(40)), CPU_FAULT);
	assert_int_equal(cpu_msr_write(&r->cpu, 0x277, 0x0200), CPU_FAULT);
	assert_int_equal(cpu_msr_write(&r->cpu, 0x277, 0x0007010600070106), 0);
	assert_int_equal(cpu_msr_read(&r->cpu, 0x277, &v), 0);
	assert_int_equal(v, 0x0007010600070106);
	assert_int_equal(cpu_msr_read(&r->cpu, 0x12345, &v), CPU_FAULT);
	r->tsc = 1000;
	assert_int_equal(cpu_msr_write(&r->cpu, 0x10, 5000000), 0);
	assert_int_equal(cpu_msr_read(&r->cpu, 0x10, &v), 0);
	assert_in_range(v, 5000000, 5000100);
	assert_int_equal(cpu_msr_write(&r->cpu, 0x3b, 0), 0);
	assert_int_equal(cpu_msr_read(&r->cpu, 0x10, &v), 0);
	assert_in_range(v, 1000, 1200);
}

/* Every MSR index that the table has can be found: it is in order. */
static void test_msr_order(void **state)
{
	static const uint32_t some[] = {0,          0x10,       0x1a0,      0x200,
					0x20f,      0x250,      0x2ff,      0xc0000080,
					0xc0000081, 0xc0000082, 0xc0000083, 0xc0000102};
	uint64_t v;

	for (unsigned i = 0; i < ARRAY_SIZE(some); i++)
		assert_int_equal(cpu_msr_read(&r->cpu, some[i], &v), 0);
}

static void test_cpuid(void **state)
{
	uint32_t v[4];

	static const char *const names[] = {"x86-64-v1", "x86-64-v2", "x86-64-v3",   "x86-64-v4",
					    "host-avx2", "host-la57", "host-avx512", "host"};

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		const struct x86_model *m = x86_model_find(names[i]);

		assert_non_null(m);
		assert_ptr_equal(m, x86_model_at(i));
		assert_true(model_has(m, X_FEAT_SSE2));
		assert_false(model_has(m, X_FEAT_VMX));
		assert_false(model_has(m, X_FEAT_MONITOR));
		assert_int_equal(model_has(m, X_FEAT_XSAVE), i >= 2);
		assert_int_equal(model_has(m, X_FEAT_PKU), i >= 4);
		assert_int_equal(model_has(m, X_FEAT_LA57), i == 5);
		/* not one from which programs conclude what instructions there are */
		r->cpu.model = m;
		x86_cpuid(&r->cpu, 1, 0, v);
		assert_int_equal(v[0], r->cpu.i.amd ? 0x00460fb1 : 0x000606b1);
	}
	assert_null(x86_model_find("pentium"));
	x86_cpuid(&r->cpu, 0x80000008, 0, v);
	assert_int_equal(v[0] & 0xff, X86_MAXPHY);
	s->maxphy = 46; /* as a state of another machine has it: all there is follows it */
	x86_cpuid(&r->cpu, 0x80000008, 0, v);
	assert_int_equal(v[0] & 0xff, 46);
	assert_int_equal(cpu_msr_write(&r->cpu, 0x201, BIT64(45) | 0x800),
			 0); /* IA32_MTRR_PHYSMASK0 */
	assert_int_equal(cpu_msr_write(&r->cpu, 0x201, BIT64(46) | 0x800), CPU_FAULT);
	x86_cpuid(&r->cpu, 1, 0, v);
	assert_false(v[2] & BIT(27));
	assert_true(v[2] & BIT(31));
	s->cr4 |= CR4_OSXSAVE;
	x86_cpuid(&r->cpu, 1, 0, v);
	assert_true(v[2] & BIT(27));
	s->xcr0 = 1;
	x86_cpuid(&r->cpu, 0xd, 0, v);
	assert_int_equal(v[1], 576);
	s->xcr0 = 7;
	x86_cpuid(&r->cpu, 0xd, 0, v);
	assert_int_equal(v[1], v[0] & 4 ? 832 : 576);
	x86_cpuid(&r->cpu, 0x40000000, 0, v);
	assert_int_equal(v[1], 0);
	/* an engine takes one away */
	x86_cpuid(&r->cpu, 1, 0, v);
	assert_true(v[3] & BIT(26));
	r->cpu.i.feat[X_FEAT_SSE2 >> 6] &= ~BIT64(X_FEAT_SSE2 & 63);
	x86_cpuid(&r->cpu, 1, 0, v);
	assert_false(v[3] & BIT(26));
	assert_true(v[3] & BIT(25));
}

/* The bytes at RIP, for who only wants to look: none over the end of a page, of the segment, or where nothing is mapped. */
static void test_code_at_rip(void **state)
{
	uint8_t at[2] = {0};

	rig_long(r, 0);
	CODE_BYTES(0x0f, 0xa2);
	assert_true(cpu_code_at_rip(&r->cpu, at, 2));
	assert_int_equal(at[0], 0x0f);
	assert_int_equal(at[1], 0xa2);
	s->rip |= PAGE_MASK;
	assert_true(cpu_code_at_rip(&r->cpu, at, 1));
	assert_false(cpu_code_at_rip(&r->cpu, at, 2));
	s->rip = BIT64(60);
	assert_false(cpu_code_at_rip(&r->cpu, at, 1));
	s->rip = BIT64(45);
	assert_false(cpu_code_at_rip(&r->cpu, at, 1));
	rig_seg(r, CS, 0x08); /* 32-bit */
	CODE_BYTES(0x0f, 0xa2);
	s->seg[CS].limit = (uint32_t)s->rip;
	assert_true(cpu_code_at_rip(&r->cpu, at, 1));
	assert_false(cpu_code_at_rip(&r->cpu, at, 2));
}

/* RDPKRU, WRPKRU, and PKRU as a component of XSAVE areas */
static void test_pkru(void **state)
{
	uint32_t v[4], at;

	if (!cpu_has(&r->cpu, X_FEAT_PKU))
		return;
	rig_long(r, 3);
	CODE_BYTES(0x0f, 0x01, 0xee); /* rdpkru */
	expect_fault(6);
	rig_long(r, 0);
	s->gpr[RSP] = 0x40000;
	x86_cpuid(&r->cpu, 7, 0, v);
	assert_int_equal(v[2] & (BIT(3) | BIT(4)), BIT(3));
	s->cr4 |= CR4_PKE;
	x86_cpuid(&r->cpu, 7, 0, v);
	assert_int_equal(v[2] & (BIT(3) | BIT(4)), BIT(3) | BIT(4));
	x86_cpuid(&r->cpu, 0xd, 9, v);
	assert_int_equal(v[0], 8);
	at = v[1];
	s->gpr[RCX] = UINT64_C(0xffffffff00000000);
	s->gpr[RDX] = 0;
	s->gpr[RAX] = UINT64_C(0x1234567855aa00fc);
	s->gpr[RDI] = DATA;
	/* wrpkru; rdpkru */
	CODE_BYTES(0x0f, 0x01, 0xef, 0x0f, 0x01, 0xee);
	steps(1);
	assert_int_equal(s->pkru, 0x55aa00fc);
	s->gpr[RDX] = UINT64_MAX;
	steps(1);
	assert_int_equal(s->gpr[RAX], 0x55aa00fc);
	assert_int_equal(s->gpr[RDX], 0);
	/* xsave [rdi]; xsavec [rdi + 1000h]; wrpkru; xrstor [rdi]; wrpkru; xrstor [rdi + 1000h] */
	s->gpr[RAX] = 0x200;
	memset(r->ram + DATA, 0, 0x2000);
	CODE_BYTES(0x0f, 0xae, 0x27, 0x0f, 0xc7, 0xa7, 0, 0x10, 0, 0, 0x0f, 0x01, 0xef, 0x0f, 0xae,
		   0x2f, 0x0f, 0x01, 0xef, 0x0f, 0xae, 0xaf, 0, 0x10, 0, 0);
	steps(2);
	assert_int_equal(rig_get64(r, DATA + 512), 0x200);
	assert_int_equal(rig_get64(r, DATA + at), 0x55aa00fc);
	assert_int_equal(rig_get64(r, DATA + 0x1000 + 520), BIT64(63) | 0x200);
	assert_int_equal(rig_get64(r, DATA + 0x1000 + 576), 0x55aa00fc);
	for (unsigned i = 0; i < 2; i++) {
		steps(1);
		assert_int_equal(s->pkru, 0x200);
		s->gpr[RAX] = 0x200;
		steps(1);
		assert_int_equal(s->pkru, 0x55aa00fc);
	}
	/* not in use in the area: the initial value */
	rig_put64(r, DATA + 512, 0);
	CODE_BYTES(0x0f, 0xae, 0x2f);
	steps(1);
	assert_int_equal(s->pkru, 0);
	s->gpr[RDX] = 1;
	CODE_BYTES(0x0f, 0x01, 0xef);
	expect_fault(13);
	s->gpr[RDX] = 0;
	s->gpr[RCX] = 1;
	CODE_BYTES(0x0f, 0x01, 0xef);
	expect_fault(13);
}

/* Registers that hold addresses take what the processor could use with 5-level paging; accesses go by
 * the mode that is on. */
static void test_la57(void **state)
{
	const uint64_t wide = UINT64_C(0x00f0000000001000);
	uint32_t v[4];

	r->cpu.model = x86_model_find("host-la57");
	cpu_init(&r->cpu);
	rig_long(r, 0);
	s->gpr[RSP] = 0x40000;
	x86_cpuid(&r->cpu, 0x80000008, 0, v);
	assert_int_equal(v[0] >> 8 & 0xff, 57);
	assert_int_equal(cpu_msr_write(&r->cpu, 0xc0000100, wide), 0);
	assert_int_equal(s->seg[FS].base, wide);
	assert_int_equal(cpu_msr_write(&r->cpu, 0xc0000082, BIT64(57)), CPU_FAULT);
	s->gpr[RDI] = wide;
	CODE_BYTES(0x8b, 0x07); /* mov eax, [rdi] */
	expect_fault(13);
	/* not while paging is on */
	assert_int_equal(cpu_cr_write(&r->cpu, 4, s->cr4 | CR4_LA57), CPU_FAULT);
	/* the same tables, one level down */
	rig_put64(r, 0x70000, RIG_PML4 | 7);
	s->cr3 = 0x70000;
	s->cr4 |= CR4_LA57;
	cpu_state_changed(&r->cpu);
	CODE_BYTES(0x8b, 0x07);
	expect_fault(14);
	assert_int_equal(s->cr2, wide);
}

static void test_xsave(void **state)
{
	uint64_t bv;

	if (!cpu_has(&r->cpu, X_FEAT_AVX))
		return;
	rig_long(r, 0);
	s->gpr[RSP] = 0x40000;
	s->gpr[RDI] = DATA;
	s->gpr[RAX] = 7;
	s->gpr[RDX] = 0;
	/* vpcmpeqd ymm1,ymm1,ymm1; xsave [rdi]; vxorps ymm1…; xrstor [rdi]; xsavec [rdi+1000h] */
	CODE_BYTES(0xc5, 0xf5, 0x76, 0xc9, 0x0f, 0xae, 0x27, 0xc5, 0xf4, 0x57, 0xc9, 0x0f, 0xae,
		   0x2f, 0x0f, 0xc7, 0xa7, 0x00, 0x10, 0x00, 0x00);
	steps(2);
	bv = rig_get64(r, DATA + 512);
	assert_true(bv & 4);
	assert_int_equal(rig_get64(r, DATA + 576 + 16), UINT64_MAX);
	assert_int_equal(rig_get64(r, DATA + 160 + 16), UINT64_MAX);
	steps(1);
	steps(1);
	memset(r->ram + DATA + 0x1000, 0x5a, 1024);
	steps(1);
	assert_int_equal(rig_get64(r, DATA + 0x1000 + 520), BIT64(63) | 7);
	assert_int_equal(rig_get64(r, DATA + 0x1000 + 576 + 16), UINT64_MAX);
	/* a reserved header bit, and a misaligned area: #GP */
	rig_put64(r, DATA + 512, bv | BIT64(20));
	CODE_BYTES(0x0f, 0xae, 0x2f);
	expect_fault(13);
	s->gpr[RDI] = DATA + 32;
	CODE_BYTES(0x0f, 0xae, 0x27);
	expect_fault(13);
}

/* ---- debugging ---- */

static void test_breakpoints(void **state)
{
	rig_long(r, 0);
	s->gpr[RSP] = 0x40000;
	s->dr[0] = CODE + 1;
	s->dr[1] = DATA + 4;
	s->dr[7] = 0x400 | 0x3 | 0xc | (0xdu << 20); /* 0: execute; 1: write, four bytes */
	/* nop; mov [DATA+6],ax */
	CODE_BYTES(0x90, 0x66, 0x89, 0x04, 0x25, 0x06, 0x00, 0x03, 0x00, 0x90);
	steps(1);
	expect_fault(1); /* before the instruction */
	assert_int_equal(s->dr[6] & 0xf, 1);
	assert_false(rig_get64(r, s->gpr[RSP] + 16) & FL_RF);
	s->rip = CODE + 1;
	s->rflags |= FL_RF; /* as IRET would leave it */
	steps(1);
	assert_int_equal(rig_vector(r), 1); /* after it */
	assert_int_equal(rig_get64(r, s->gpr[RSP]), CODE + 9);
	assert_int_equal(s->dr[6] & 0xf, 2);
	assert_int_equal(rig_get64(r, DATA + 6) & 0xffff, s->gpr[RAX] & 0xffff);
}

static void test_speed(void **state)
{
	/* add rax,rcx; mov [rdi],rax; mov rdx,[rdi]; dec rbx; jnz */
	struct timespec a, b;
	unsigned n = 1000000;
	double t;

	rig_long(r, 0);
	s->gpr[RBX] = 1u << 30;
	s->gpr[RDI] = DATA;
	CODE_BYTES(0x48, 0x01, 0xc8, 0x48, 0x89, 0x07, 0x48, 0x8b, 0x17, 0x48, 0xff, 0xcb, 0x75,
		   0xf2);
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (unsigned i = 0; i < n; i++)
		cpu_step(&r->cpu);
	clock_gettime(CLOCK_MONOTONIC, &b);
	t = (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
	printf("%.1f million instructions a second\n", n / t / 1e6);
	assert_int_equal(s->rip >= CODE && s->rip < CODE + 16, 1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_trampoline),
		T(test_unreal),
		T(test_privilege),
		T(test_fpu_off),
		T(test_x87_pending),
		T(test_x87_summary),
		T(test_syscall),
		T(test_syscall_step),
		T(test_shadow),
		T(test_mmio),
		T(test_crossing),
		T(test_sha),
		T(test_self_modifying),
		T(test_rep),
		T(test_io),
		T(test_cr),
		T(test_msr),
		T(test_msr_order),
		T(test_cpuid),
		T(test_code_at_rip),
		T(test_pkru),
		T(test_la57),
		T(test_xsave),
		T(test_breakpoints),
		T(test_speed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
