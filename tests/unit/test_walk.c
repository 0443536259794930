/* SPDX-License-Identifier: ISC */
/* test_walk.c: the page walker over hand-made tables: all paging modes, rights, reserved bits,
 * error codes, accessed and dirty bits (SDM vol. 3, chapter 4). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/cpu_rig.h"

#define VA   UINT64_C(0xffff812345678000) /* an arbitrary one, in the upper half */
#define PHYS 0x200000u

static struct rig *r;
static struct x86_state *s;
static struct cpu_xlate x;

static int setup(void **state)
{
	r = rig_new();
	s = &r->cpu.s;
	rig_long(r, 0);
	s->cr0 &= ~CR0_WP;
	return 0;
}

static int teardown(void **state)
{
	rig_free(r);
	return 0;
}

/* Tables for VA at 100000H, 101000H … with these low bits in each; leaf at this level. */
static void map(uint64_t va, unsigned levels, unsigned leaf, const uint64_t *bits, uint64_t phys)
{
	uint64_t table = 0x100000;

	s->cr3 = table;
	for (unsigned l = levels; l >= leaf; l--) {
		uint64_t at = table + ((va >> (12 + 9 * (l - 1))) & 511) * 8;

		table += 0x1000;
		rig_put64(r, at, (l == leaf ? phys : table) | bits[l]);
	}
}

static uint64_t pte(uint64_t va, unsigned levels, unsigned level)
{
	uint64_t table = 0x100000 + 0x1000ull * (levels - level);

	return rig_get64(r, table + ((va >> (12 + 9 * (level - 1))) & 511) * 8);
}

static void ok(uint64_t va, enum cpu_access acc, bool user, uint64_t gpa)
{
	assert_int_equal(cpu_walk(&r->cpu, va, acc, user, &x), 0);
	assert_int_equal(x.gpa, gpa);
	assert_ptr_equal(x.hva, gpa < RIG_RAM ? r->ram + gpa : NULL);
}

static void fault(uint64_t va, enum cpu_access acc, bool user, uint32_t error)
{
	assert_int_equal(cpu_walk(&r->cpu, va, acc, user, &x), CPU_FAULT);
	assert_int_equal(r->cpu.exc.vector, 14);
	assert_int_equal(r->cpu.exc.error, error);
	assert_int_equal(r->cpu.exc.cr2, va);
}

static const uint64_t rwu[] = {0, 7, 7, 7, 7, 7};

static void test_four_levels(void **state)
{
	map(VA, 4, 1, rwu, PHYS);
	ok(VA + 0x123, ACCESS_READ, false, PHYS + 0x123);
	assert_true(x.user && x.writable && x.executable && !x.dirty && !x.global);
	assert_int_equal(x.page_shift, 12);
	for (unsigned l = 1; l <= 4; l++)
		assert_int_equal(pte(VA, 4, l) & 0x60, 0x20);
	ok(VA, ACCESS_WRITE, true, PHYS);
	assert_true(x.dirty);
	assert_int_equal(pte(VA, 4, 1) & 0x60, 0x60);
	assert_int_equal(pte(VA, 4, 2) & 0x60, 0x20);
	fault(VA + 0x1000, ACCESS_READ, false, 0);
	fault(VA + 0x1000, ACCESS_WRITE, true, PF_W | PF_U);
	fault(VA + 0x1000, ACCESS_FETCH, true, PF_I | PF_U); /* NXE is on */
	s->efer &= ~EFER_NXE;
	fault(VA + 0x1000, ACCESS_FETCH, true, PF_U);
}

static void test_large(void **state)
{
	uint64_t bits[] = {0, 7, 0x87, 7, 7, 7};

	map(VA, 4, 2, bits, 0x200000);
	ok(VA, ACCESS_WRITE, false, 0x200000 + (VA & 0x1fffff));
	assert_int_equal(x.page_shift, 21);
	assert_int_equal(pte(VA, 4, 2) & 0x60, 0x60);
	map(VA, 4, 2, bits, 0x202000); /* bits 13-20 are reserved */
	fault(VA, ACCESS_READ, false, PF_P | PF_RSV);
	bits[3] = 0x87;
	map(VA, 4, 3, bits, 0x40000000);
	ok(VA, ACCESS_READ, false, 0x40000000 + (VA & 0x3fffffff));
	assert_int_equal(x.page_shift, 30);
	map(VA, 4, 3, bits, 0x40200000);
	fault(VA, ACCESS_READ, false, PF_P | PF_RSV);
	bits[3] = 7;
	bits[4] = 0x87;
	map(VA, 4, 1, bits, PHYS);
	fault(VA, ACCESS_READ, false, PF_P | PF_RSV);
}

static void test_five_levels(void **state)
{
	const uint64_t va = 0x00f0123456789000;

	map(va, 5, 1, rwu, PHYS);
	s->cr4 |= CR4_LA57;
	ok(va, ACCESS_READ, false, PHYS);
	assert_int_equal(cpu_walk(&r->cpu, 0x0100000000000000, ACCESS_READ, false, &x), CPU_FAULT);
	assert_int_equal(r->cpu.exc.vector, 13);
}

static void test_reserved(void **state)
{
	uint64_t bits[] = {0, 7, 7, 7, 7, 7};

	for (unsigned l = 1; l <= 4; l++) {
		bits[l] = 7 | BIT64(r->cpu.s.maxphy);
		map(VA, 4, 1, bits, PHYS);
		fault(VA, ACCESS_READ, true, PF_P | PF_RSV | PF_U);
		bits[l] = 7 | BIT64(51);
		map(VA, 4, 1, bits, PHYS);
		fault(VA, ACCESS_WRITE, false, PF_P | PF_RSV | PF_W);
		bits[l] = 7 | BIT64(63);
		map(VA, 4, 1, bits, PHYS);
		ok(VA, ACCESS_READ, false, PHYS);
		assert_false(x.executable);
		fault(VA, ACCESS_FETCH, false, PF_P | PF_I);
		s->efer &= ~EFER_NXE;
		fault(VA, ACCESS_READ, false, PF_P | PF_RSV);
		s->efer |= EFER_NXE;
		bits[l] = 7 | BIT64(52); /* ignored in long mode */
		map(VA, 4, 1, bits, PHYS);
		ok(VA, ACCESS_READ, false, PHYS);
		bits[l] = 7;
	}
}

static void test_rights(void **state)
{
	uint64_t bits[] = {0, 7, 7, 7, 7, 7};

	for (unsigned l = 1; l <= 4; l++) {
		bits[l] = 5;
		map(VA, 4, 1, bits, PHYS);
		ok(VA, ACCESS_READ, true, PHYS);
		assert_false(x.writable);
		fault(VA, ACCESS_WRITE, true, PF_P | PF_W | PF_U);
		ok(VA, ACCESS_WRITE, false, PHYS); /* WP is off */
		s->cr0 |= CR0_WP;
		map(VA, 4, 1, bits, PHYS);
		fault(VA, ACCESS_WRITE, false, PF_P | PF_W);
		assert_int_equal(pte(VA, 4, 1) & 0x40, 0); /* no D for what was denied */
		s->cr0 &= ~CR0_WP;
		bits[l] = 3;
		map(VA, 4, 1, bits, PHYS);
		fault(VA, ACCESS_READ, true, PF_P | PF_U);
		fault(VA, ACCESS_FETCH, true, PF_P | PF_U | PF_I);
		ok(VA, ACCESS_WRITE, false, PHYS);
		bits[l] = 7;
	}
}

static void test_smep_smap(void **state)
{
	map(VA, 4, 1, rwu, PHYS);
	ok(VA, ACCESS_FETCH, false, PHYS);
	s->cr4 |= CR4_SMEP;
	fault(VA, ACCESS_FETCH, false, PF_P | PF_I);
	ok(VA, ACCESS_FETCH, true, PHYS);
	s->cr4 |= CR4_SMAP;
	fault(VA, ACCESS_READ, false, PF_P);
	fault(VA, ACCESS_WRITE, false, PF_P | PF_W);
	ok(VA, ACCESS_READ, true, PHYS);
	s->rflags |= FL_AC;
	ok(VA, ACCESS_READ, false, PHYS);
	/* implicit accesses at CPL 3 do not look at AC */
	rig_seg(r, SS, SEL_DATA3);
	fault(VA, ACCESS_READ, false, PF_P);
}

static void test_pku(void **state)
{
	uint64_t bits[] = {0, 7 | UINT64_C(5) << 59, 7, 7, 7, 7};

	map(VA, 4, 1, bits, PHYS);
	s->cr4 |= CR4_PKE;
	s->pkru = 1u << 10;
	fault(VA, ACCESS_READ, true, PF_P | PF_U | PF_PK);
	ok(VA, ACCESS_FETCH, true, PHYS);
	s->pkru = 2u << 10;
	ok(VA, ACCESS_READ, true, PHYS);
	fault(VA, ACCESS_WRITE, true, PF_P | PF_U | PF_W | PF_PK);
	ok(VA, ACCESS_WRITE, false, PHYS); /* WP off */
	s->cr0 |= CR0_WP;
	fault(VA, ACCESS_WRITE, false, PF_P | PF_W | PF_PK);
}

static void test_canonical(void **state)
{
	static const uint64_t bad[] = {0x0000800000000000, 0xffff7fffffffffff, 0x8000000000000000};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(cpu_walk(&r->cpu, bad[i], ACCESS_READ, false, &x), CPU_FAULT);
		assert_int_equal(r->cpu.exc.vector, 13);
		assert_int_equal(cpu_walk_probe(&r->cpu, bad[i], &x), ERR_NOENT);
	}
}

static void legacy(uint64_t cr4)
{
	s->efer = 0;
	s->cr4 = cr4;
	s->cr3 = 0x100000;
}

static void test_32bit(void **state)
{
	legacy(0);
	rig_put32(r, 0x100000 + 0x345 * 4, 0x101007);
	rig_put32(r, 0x101000 + 0x123 * 4, PHYS | 7);
	ok(0xd1523abc, ACCESS_WRITE, true, PHYS | 0xabc);
	assert_int_equal(rig_get32(r, 0x101000 + 0x123 * 4), PHYS | 0x67);
	assert_int_equal(rig_get32(r, 0x100000 + 0x345 * 4), 0x101027);
	/* addresses wrap at 4 GiB */
	ok(UINT64_C(0xffffffffd1523abc), ACCESS_READ, true, PHYS | 0xabc);
	/* a 4 MiB page only with PSE; PSE-36 puts bits 32-39 into 13-20 */
	rig_put32(r, 0x100000 + 0x200 * 4, 0x00400087 | 0x3 << 13);
	legacy(CR4_PSE);
	ok(0x80123456, ACCESS_READ, false, UINT64_C(0x300000000) + 0x400000 + 0x123456);
	assert_int_equal(x.page_shift, 22);
	rig_put32(r, 0x100000 + 0x200 * 4, 0x00600087);
	fault(0x80123456, ACCESS_READ, false, PF_P | PF_RSV);
	fault(0x90000000, ACCESS_FETCH, true, PF_U); /* no NX here */
}

static void test_pae(void **state)
{
	legacy(CR4_PAE);
	s->efer = EFER_NXE;
	s->cr3 = 0x100020;
	rig_put64(r, 0x100020 + 8 * 2, 0x101001);
	rig_put64(r, 0x101000 + 8 * 0x191, 0x102007);
	rig_put64(r, 0x102000 + 8 * 0x123, PHYS | 7 | BIT64(63));
	ok(0xb2323abc, ACCESS_WRITE, true, PHYS | 0xabc);
	assert_false(x.executable);
	assert_int_equal(rig_get64(r, 0x100020 + 8 * 2), 0x101001); /* no A in PDPTEs */
	assert_int_equal(rig_get64(r, 0x101000 + 8 * 0x191), 0x102027);
	fault(0xb2323abc, ACCESS_FETCH, true, PF_P | PF_U | PF_I);
	rig_put64(r, 0x101000 + 8 * 0x191, 0x00200087);
	ok(0xb2323abc, ACCESS_READ, true, 0x200000 | 0x123abc);
	rig_put64(r, 0x101000 + 8 * 0x191, 0x00200087 | BIT64(55));
	fault(0xb2323abc, ACCESS_READ, true, PF_P | PF_RSV | PF_U);
	fault(0x10000000, ACCESS_READ, false, 0);
	/* MOV to CR3 refuses PDPTEs with reserved bits */
	rig_put64(r, 0x100020 + 8 * 2, 0x101007);
	assert_int_equal(cpu_cr_write(&r->cpu, 3, 0x100020), CPU_FAULT);
	assert_int_equal(r->cpu.exc.vector, 13);
	rig_put64(r, 0x100020 + 8 * 2, 0x101001);
	assert_int_equal(cpu_cr_write(&r->cpu, 3, 0x100020), 0);
}

/* The four registers (SDM vol. 3, 4.4.1): what loads them, and what a refusal leaves in them. */
static void test_pdptes(void **state)
{
	const uint64_t va = 0xb2323abc, two = 0x100020 + 8 * 2;

	legacy(CR4_PAE);
	s->cr3 = 0x100020;
	rig_put64(r, two, 0x101001);
	rig_put64(r, 0x101000 + 8 * 0x191, 0x102007);
	rig_put64(r, 0x102000 + 8 * 0x123, PHYS | 7);
	rig_put64(r, 0x103000 + 8 * 0x191, 0x104007);
	rig_put64(r, 0x104000 + 8 * 0x123, (PHYS + PAGE_SIZE) | 7);
	/* A state without them: with reserved bits they are read at each walk (APM vol. 2, 15.25.10). */
	rig_put64(r, two, 0x101021);
	fault(va, ACCESS_READ, false, PF_P | PF_RSV);
	rig_put64(r, two, 0x101001);
	ok(va, ACCESS_READ, false, PHYS + 0xabc);
	rig_put64(r, two, 0x103001);
	ok(va, ACCESS_READ, false, PHYS + 0xabc);
	assert_int_equal(cpu_walk_probe(&r->cpu, va, &x), 0);
	assert_int_equal(x.gpa, PHYS + 0xabc);
	/* refused */
	rig_put64(r, two, 0x103021);
	assert_int_equal(cpu_cr_write(&r->cpu, 3, 0x100020), CPU_FAULT);
	assert_int_equal(cpu_cr_write(&r->cpu, 0, s->cr0 ^ CR0_CD), CPU_FAULT);
	assert_int_equal(cpu_cr_write(&r->cpu, 4, s->cr4 ^ CR4_PGE), CPU_FAULT);
	ok(va, ACCESS_READ, false, PHYS + 0xabc);
	rig_put64(r, two, 0x103001);
	assert_int_equal(cpu_cr_write(&r->cpu, 0, s->cr0 ^ CR0_WP), 0);
	assert_int_equal(cpu_cr_write(&r->cpu, 4, s->cr4 ^ CR4_TSD), 0);
	ok(va, ACCESS_READ, false, PHYS + 0xabc);
	r->cpu.i.feat[X_FEAT_SMEP >> 6] |= BIT64(X_FEAT_SMEP & 63);
	assert_int_equal(cpu_cr_write(&r->cpu, 4, s->cr4 ^ CR4_SMEP), 0);
	ok(va, ACCESS_READ, false, PHYS + PAGE_SIZE + 0xabc);
	/* where A20 is masked, the table is not where CR3 says */
	rig_put64(r, 0x000020 + 8 * 2, 0x301001);
	rig_put64(r, 0x201000 + 8 * 0x191, 0x202007);
	rig_put64(r, 0x202000 + 8 * 0x123, 7);
	s->a20_masked = true;
	assert_int_equal(cpu_cr_write(&r->cpu, 3, 0x100020), 0);
	ok(va, ACCESS_READ, false, 0xabc);
}

static void test_off(void **state)
{
	legacy(0);
	s->cr0 &= ~CR0_PG;
	ok(0x123456, ACCESS_WRITE, false, 0x123456);
	s->a20_masked = true;
	ok(0x123456, ACCESS_READ, false, 0x023456);
}

static void test_global_and_probe(void **state)
{
	uint64_t bits[] = {0, 0x107, 7, 7, 7, 7};

	map(VA, 4, 1, bits, PHYS);
	assert_int_equal(cpu_walk_probe(&r->cpu, VA + 5, &x), 0);
	assert_int_equal(x.gpa, PHYS + 5);
	assert_true(x.global);
	assert_int_equal(pte(VA, 4, 1) & 0x60, 0);
	s->cr4 &= ~CR4_PGE;
	ok(VA, ACCESS_READ, false, PHYS);
	assert_false(x.global);
	assert_int_equal(cpu_walk_probe(&r->cpu, VA + 0x1000, &x), ERR_NOENT);
	/* tables where there is no memory read as ones: reserved bits */
	s->cr3 = 0x3f000000;
	fault(VA, ACCESS_READ, false, PF_P | PF_RSV);
}

/* ---- accesses ---- */

static void test_read_write(void **state)
{
	uint64_t bits[] = {0, 7, 7, 7, 7, 7};
	uint8_t buf[4096], out[4096];

	map(VA, 4, 1, bits, PHYS);
	map(VA + 0x1000, 4, 1, bits, PHYS + 0x5000);
	for (unsigned i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)(i * 13);
	assert_int_equal(cpu_write(&r->cpu, VA + 0x800, buf, 4096, false), 0);
	assert_memory_equal(r->ram + PHYS + 0x800, buf, 0x800);
	assert_memory_equal(r->ram + PHYS + 0x5000, buf + 0x800, 0x800);
	assert_int_equal(cpu_read(&r->cpu, VA + 0x800, out, 4096, true), 0);
	assert_memory_equal(buf, out, 4096);
	/* all or nothing */
	bits[1] = 5;
	map(VA + 0x1000, 4, 1, bits, PHYS + 0x5000);
	cpu_state_changed(&r->cpu);
	memset(out, 0xee, sizeof(out));
	assert_int_equal(cpu_write(&r->cpu, VA + 0xffc, out, 8, true), CPU_FAULT);
	assert_int_equal(r->cpu.exc.cr2, VA + 0x1000);
	assert_memory_equal(r->ram + PHYS + 0xffc, buf + 0x7fc, 4);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_four_levels), T(test_large),     T(test_five_levels),
		T(test_reserved),    T(test_rights),    T(test_smep_smap),
		T(test_pku),         T(test_canonical), T(test_32bit),
		T(test_pae),         T(test_off),       T(test_global_and_probe),
		T(test_read_write),  T(test_pdptes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
