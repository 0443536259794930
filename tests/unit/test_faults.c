/* SPDX-License-Identifier: ISC */
/* test_faults.c: the rows of fault_rows.h on the interpreter; and what it checks although the decoder has, by
 * instructions that no decoder gives. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/fault_rows.h"

static void test_rows(void **state)
{
	unsigned bad = 0;

	for (const struct row *row = rows; row < rows + ARRAY_SIZE(rows); row++) {
		if (!row_begin(row, 0))
			continue;
		cpu_step(&r->cpu);
		bad += !row_good(row, false);
	}
	assert_int_equal(bad, 0);
}

/* ---- a second look ---------------------------------------------------------------------------- */

static void no_operand(struct insn *in)
{
	in->opnd[0].size = 0;
}

static void to_cs(struct insn *in)
{
	in->opnd[0].reg = CS;
}

static void reg_1(struct insn *in)
{
	in->opnd[1].reg = 1;
}

static void reg_8(struct insn *in)
{
	in->opnd[0].reg = 8;
}

static void one_register(struct insn *in)
{
	in->opnd[2].reg = in->opnd[0].reg;
}

static void locked(struct insn *in)
{
	in->lock = true;
}

static void as_64(struct insn *in)
{
	in->mode = 8;
}

/* A processor with AVX-512 for whole registers only */
static void no_vl(struct insn *in)
{
	r->cpu.i.feat[X_FEAT_AVX512VL >> 6] &= ~BIT64(X_FEAT_AVX512VL & 63);
}

static const struct {
	const char *name;
	void (*set)(void);
	uint8_t code[8];
	void (*spoil)(struct insn *in);
} spoilt[] = {
	{"XADD to no bytes", pointer64, {0x0f, 0xc1, 0x07}, no_operand},
	{"MOV to CS", long0, {0x8e, 0xd8}, to_cs},
	{"MOV from CR1", long0, {0x0f, 0x20, 0xc0}, reg_1},
	{"MOV to DR8", long0, {0x0f, 0x23, 0xc0}, reg_8},
	{"VPGATHERDD with one register twice",
	 pointer64,
	 {0xc4, 0xe2, 0x75, 0x90, 0x04, 0x97},
	 one_register},
	{"LOCK NOP", long0, {0x90}, locked},
	{"PUSHA in 64-bit code", prot0, {0x60}, as_64},
	{"VPADDD XMM without AVX512VL", long0, {0x62, 0xf1, 0x7d, 0x09, 0xfe, 0xc0}, no_vl},
};

static void test_second_look(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(spoilt); i++) {
		const struct row row = {spoilt[i].name, spoilt[i].set, {0}, VEC_UD, ANY};
		uint64_t feat = r->cpu.i.feat[X_FEAT_AVX512VL >> 6];
		struct insn in;

		assert_true(row_begin(&row, 0));
		assert_int_equal(insn_decode(spoilt[i].code, sizeof(spoilt[i].code),
					     code_mode(&r->cpu), &in),
				 DECODE_OK);
		spoilt[i].spoil(&in);
		cpu_exec(&r->cpu, &in);
		r->cpu.i.feat[X_FEAT_AVX512VL >> 6] = feat;
		assert_true(row_good(&row, false));
		assert_int_equal(rig_get64(r, s->gpr[RSP]) & UINT32_MAX, CODE);
	}
}

/* cpu_native() by itself */
static void test_native(void **state)
{
	struct insn in;

	rig_long(r, 0);
	s->xsave.bytes[FX_FSW] = 0x81; /* an error that waits: ES */
	s->xsave.bytes[FX_FCW] = 0x7e;
	s->xsave.bytes[XS_BV] = 1;
	assert_int_equal(insn_decode((const uint8_t *)"\xd9\xe8", 2, 8, &in), DECODE_OK);
	assert_int_equal(cpu_native(&r->cpu, &in, NULL), CPU_FAULT); /* FLD1 */
	assert_int_equal(r->cpu.exc.vector, VEC_MF);
	assert_int_equal(insn_decode((const uint8_t *)"\xeb\xfe", 2, 8, &in), DECODE_OK);
	assert_int_equal(cpu_native(&r->cpu, &in, NULL), CPU_FAULT); /* JMP is not for it */
	assert_int_equal(r->cpu.exc.vector, VEC_UD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_second_look),
		cmocka_unit_test(test_native),
	};
	int failed;

	r = rig_new();
	s = &r->cpu.s;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rig_free(r);
	return failed;
}
