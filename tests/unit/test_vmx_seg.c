/* SPDX-License-Identifier: ISC */
/* test_vmx_seg.c: every state of segment registers becomes one that passes the checks of a VM entry (SDM vol. 3,
 * 27.3.1.2, written down again here), and one that would pass is left as it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "engine/hw/vmx_impl.h"

#define LDTR SREG_COUNT
#define TR   (SREG_COUNT + 1)

static bool limit_ok(const struct vmx_seg *g)
{
	if ((g->limit & 0xfff) != 0xfff && g->rights & SEG_G)
		return false;
	return !(g->limit >> 20) || g->rights & SEG_G;
}

/* With unrestricted guest, outside of virtual-8086 mode; cpl: SS's DPL. */
static bool code_data_ok(const struct vmx_seg *g, unsigned i)
{
	unsigned type = g->rights & SEG_TYPE;

	if (g->rights & RIGHTS_UNUSABLE)
		return i != CS;
	if (i == CS && type != 3 && type != 9 && type != 11 && type != 13 && type != 15)
		return false;
	if (i == SS && type != 3 && type != 7)
		return false;
	if (i != CS && i != SS && (!(type & 1) || (type & 8 && !(type & 2))))
		return false;
	return g->rights & SEG_S && g->rights & SEG_P && !(g->rights & 0xfff00f00) && limit_ok(g);
}

static bool tr_ok(const struct vmx_seg *g, bool lma)
{
	unsigned type = g->rights & (SEG_TYPE | SEG_S | SEG_P);

	return (type == (SEG_P | 11) || (type == (SEG_P | 3) && !lma)) &&
	       !(g->rights & RIGHTS_UNUSABLE) && limit_ok(g);
}

static bool ldtr_ok(const struct vmx_seg *g)
{
	return g->rights & RIGHTS_UNUSABLE ||
	       ((g->rights & (SEG_TYPE | SEG_S | SEG_P)) == (SEG_P | 2) && limit_ok(g));
}

static void all_ok(struct x86_state *s)
{
	for (unsigned i = 0; i < VMX_SEGS; i++) {
		struct vmx_seg g = vmx_seg(s, i);

		if (i == TR)
			assert_true(tr_ok(&g, s->efer & EFER_LMA));
		else if (i == LDTR)
			assert_true(ldtr_ok(&g));
		else
			assert_true(code_data_ok(&g, i));
	}
}

static void test_reset(void **state)
{
	struct x86_state s;

	for (unsigned bsp = 0; bsp < 2; bsp++) {
		x86_state_reset(&s, bsp);
		all_ok(&s);
		x86_state_sipi(&s, 0x9a);
		all_ok(&s);
		assert_int_equal(vmx_seg(&s, CS).base, 0x9a000);
		assert_int_equal(vmx_seg(&s, CS).rights, 0x9b);
	}
}

/* Types that instructions can load, not yet accessed; limits of any kind. */
static void test_any(void **state)
{
	static const uint8_t types[][4] = {[CS] = {8, 10, 12, 14}, [SS] = {2, 6, 2, 6}};
	struct x86_state s;

	srand(1);
	x86_state_reset(&s, true);
	for (unsigned n = 0; n < 100000; n++) {
		for (unsigned i = 0; i < VMX_SEGS; i++) {
			struct x86_seg *g = vmx_seg_at(&s, i);
			unsigned r = (unsigned)rand();
			unsigned type = i == CS || i == SS ? types[i][r & 3] : r & 6;

			g->attr =
				(uint16_t)(type | SEG_S | SEG_P | (r & (SEG_G | SEG_DB | SEG_AVL)));
			if (i >= LDTR)
				g->attr = (uint16_t)(r & (SEG_TYPE | SEG_P | SEG_S | SEG_G));
			if (r & BIT(20) && i != CS)
				g->attr = SEG_UNUSABLE;
			g->limit = (uint32_t)rand() >> (r >> 16 & 15);
			if (r & BIT(21) || g->limit >> 20)
				g->limit |= 0xfff;
		}
		s.efer = n & 1 ? EFER_LMA : 0;
		all_ok(&s);
	}
}

/* The level is SS's, usable or not. */
static void test_level(void **state)
{
	struct x86_state s;

	x86_state_reset(&s, true);
	s.seg[SS] = (struct x86_seg){.sel = 3, .attr = SEG_UNUSABLE | SEG_DPL};
	assert_int_equal(vmx_seg(&s, SS).rights, RIGHTS_UNUSABLE | SEG_DPL);
}

static void test_v86(void **state)
{
	struct x86_state s;

	x86_state_reset(&s, true);
	s.rflags |= FL_VM;
	for (unsigned i = 0; i < SREG_COUNT; i++) {
		struct vmx_seg g;

		s.seg[i] = (struct x86_seg){
			.sel = (uint16_t)(0x1234 + i), .attr = 0x4093, .limit = ~0u};
		g = vmx_seg(&s, i);
		assert_int_equal(g.rights, 0xf3);
		assert_int_equal(g.limit, 0xffff);
		assert_int_equal(g.base, (0x1234 + i) << 4);
	}
}

/* What is right stays. */
static void test_kept(void **state)
{
	static const struct x86_seg flat = {.sel = 8, .attr = 0xa09b, .limit = ~0u, .base = 0};
	struct x86_state s;
	struct vmx_seg g;

	x86_state_reset(&s, true);
	s.seg[CS] = flat;
	s.tr = (struct x86_seg){.sel = 0x40, .attr = 0x83, .limit = 0x2b, .base = 0x1000};
	g = vmx_seg(&s, CS);
	assert_int_equal(g.rights, 0xa09b);
	assert_int_equal(g.limit, ~0u);
	g = vmx_seg(&s, TR);
	assert_int_equal(g.rights, 0x83);
	assert_int_equal(g.base, 0x1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reset), cmocka_unit_test(test_any),
		cmocka_unit_test(test_level), cmocka_unit_test(test_v86),
		cmocka_unit_test(test_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
