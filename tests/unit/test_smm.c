/* SPDX-License-Identifier: ISC */
/* test_smm.c: SMI and RSM with both makers' save state maps (APM vol. 2, table 10-1; SDM vol. 3,
 * table 32-3), out of all modes; what RSM refuses. What a guest sees: tests/guest/smm.asm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/cpu_rig.h"

#define BASE 0x30000u

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

/* Where the two maps have what */
static const struct {
	uint32_t cr0, cr3, cr4, efer, rflags, rip, rax, cs_attr, smbase, halt;
} at[2] = {
	{0xfff8, 0xfff0, 0xfe40, 0xffe0, 0xffe8, 0xffd8, 0xff5c, 0xfc12, 0xfef8, 0xff02},
	{0xff58, 0xff50, 0xff48, 0xfed0, 0xff70, 0xff78, 0xfff8, 0xfe12, 0xff00, 0xfec9},
};

static enum cpu_step rsm(void)
{
	memcpy(r->ram + s->seg[CS].base + s->rip, "\x0f\xaa", 2);
	return cpu_step(&r->cpu);
}

static void fill(void)
{
	for (unsigned i = 0; i < 16; i++)
		s->gpr[i] = UINT64_C(0x1111111111111111) * i;
	s->seg[FS].base = UINT64_C(0x123456789a);
	s->ldtr = (struct x86_seg){.sel = 0x50, .attr = SEG_P | 2, .limit = 0x7f, .base = 0x7000};
	s->rip = 0x20000;
	s->cr2 = 77;
	s->dr[7] = 0x401;
	s->dr[6] = 0xffff0ff2;
	s->rflags |= FL_CF | FL_IF | FL_DF;
}

static void assert_same(const struct x86_state *a, const struct x86_state *b)
{
	assert_memory_equal(a->gpr, b->gpr, sizeof(a->gpr));
	for (unsigned i = 0; i < SREG_COUNT; i++)
		assert_memory_equal(&a->seg[i], &b->seg[i], sizeof(a->seg[i]));
	assert_memory_equal(&a->ldtr, &b->ldtr, sizeof(a->ldtr));
	assert_memory_equal(&a->tr, &b->tr, sizeof(a->tr));
	assert_int_equal(a->gdtr.base, b->gdtr.base);
	assert_int_equal(a->gdtr.limit, b->gdtr.limit);
	assert_int_equal(a->idtr.base, b->idtr.base);
	assert_int_equal(a->idtr.limit, b->idtr.limit);
	assert_int_equal(a->rip, b->rip);
	assert_int_equal(a->rflags, b->rflags);
	assert_int_equal(a->cr0, b->cr0);
	assert_int_equal(a->cr2, b->cr2);
	assert_int_equal(a->cr3, b->cr3);
	assert_int_equal(a->cr4, b->cr4);
	assert_int_equal(a->efer, b->efer);
	assert_int_equal(a->dr[6], b->dr[6]);
	assert_int_equal(a->dr[7], b->dr[7]);
}

static void there_and_back(void)
{
	for (unsigned amd = 0; amd < 2; amd++) {
		struct x86_state before = *s;

		r->cpu.i.amd = amd;
		cpu_smi(&r->cpu);
		assert_true(s->smm && s->nmi_blocked);
		assert_int_equal(s->seg[CS].base + s->rip, BASE + 0x8000);
		assert_int_equal(s->cr0 & (CR0_PE | CR0_PG), 0);
		assert_int_equal(s->efer | s->cr4, 0);
		assert_int_equal(x86_cpl(s), 0);
		assert_int_equal(rig_get64(r, BASE + at[amd].rip), before.rip);
		assert_int_equal(rig_get64(r, BASE + at[amd].rax), before.gpr[RAX]);
		assert_int_equal(rsm(), STEP_OK);
		assert_false(s->smm || s->nmi_blocked);
		assert_same(s, &before);
	}
}

static void test_long(void **state)
{
	for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
		rig_long(r, cpl);
		fill();
		there_and_back();
		assert_int_equal(x86_cpl(s), cpl);
	}
}

static void test_real(void **state)
{
	fill();
	s->seg[FS].base = 0x12340;
	s->seg[DS].limit = UINT32_MAX; /* big real mode survives */
	there_and_back();
}

static void test_v86(void **state)
{
	rig_long(r, 3);
	s->efer = 0;
	s->cr0 &= ~CR0_PG;
	fill();
	s->rflags |= FL_VM;
	for (unsigned i = 0; i < SREG_COUNT; i++)
		s->seg[i] = (struct x86_seg){
			.sel = 0x2000, .base = 0x20000, .limit = 0xffff, .attr = 0xf3};
	there_and_back();
}

static void test_not_in_smm(void **state)
{
	rig_long(r, 0);
	s->gpr[RSP] = RIG_STACK0;
	s->rip = 0x20000;
	rsm();
	assert_int_equal(rig_vector(r), VEC_UD);
}

static void test_relocation_and_halt(void **state)
{
	for (unsigned amd = 0; amd < 2; amd++) {
		r->cpu.i.amd = amd;
		s->smbase = BASE;
		s->activity = ACT_HLT;
		cpu_smi(&r->cpu);
		assert_int_equal(s->activity, ACT_RUN);
		assert_int_equal(r->ram[BASE + at[amd].halt], 1);
		rig_put32(r, BASE + at[amd].smbase, 0x51000);
		assert_int_equal(rsm(), STEP_HALT);
		assert_int_equal(s->activity, ACT_HLT);
		assert_int_equal(s->smbase, 0x51000);
		cpu_smi(&r->cpu);
		assert_int_equal(s->seg[CS].base, 0x51000);
		assert_int_equal(s->seg[CS].sel, 0x5100);
		r->ram[0x51000 + at[amd].halt] = 0;
		assert_int_equal(rsm(), STEP_OK);
		assert_int_equal(s->activity, ACT_RUN);
	}
}

/* A base whose map ends in the last page below 4 GiB: no RAM, no harm. */
static void test_no_ram(void **state)
{
	s->smbase = 0xfffffff0;
	cpu_smi(&r->cpu);
	assert_true(r->mmio_writes > 0);
	assert_true(s->smm);
}

static void test_shutdown(void **state)
{
	static const struct {
		size_t what; /* in at[] */
		uint64_t value;
	} bad[] = {
#define BAD(f, v) {offsetof(typeof(at[0]), f), v}
		BAD(cr4, CR4_PAE | BIT64(31)),
		BAD(cr4, 0), /* LMA without PAE */
		BAD(cr0, CR0_PG),
		BAD(cr0, CR0_PE), /* LMA without PG */
		BAD(cr0, CR0_PE | CR0_PG | CR0_NW),
		BAD(cr0, CR0_PE | CR0_PG | BIT64(40)),
		BAD(cr3, BIT64(60)),
		BAD(efer, EFER_LME), /* PG without LMA */
		BAD(efer, EFER_LME | EFER_LMA | BIT64(5)),
		BAD(rflags, FL_ONE | FL_VM),
		BAD(cs_attr, 0xe09b),
	};

	for (unsigned amd = 0; amd < 2; amd++)
		for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
			uint32_t where;

			x86_state_reset(s, true);
			r->cpu.i.amd = amd;
			rig_long(r, 0);
			cpu_smi(&r->cpu);
			memcpy(&where, (const char *)&at[amd] + bad[i].what, 4);
			if (bad[i].what == offsetof(typeof(at[0]), cs_attr))
				memcpy(r->ram + BASE + where, &bad[i].value, 2);
			else
				rig_put64(r, BASE + where, bad[i].value);
			assert_int_equal(rsm(), STEP_SHUTDOWN);
			assert_int_equal(s->activity, ACT_SHUTDOWN);
		}
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_long),       T(test_real),   T(test_v86),
		T(test_not_in_smm), T(test_no_ram), T(test_relocation_and_halt),
		T(test_shutdown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
