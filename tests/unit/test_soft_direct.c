/* SPDX-License-Identifier: ISC */
/* test_soft_direct.c: user pages that are mapped where the host's own tables translate them are what the guest's tables
 * said at the last flush, with A and D, code that is stored to, and accesses that are now here, now there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/lib/soft_rig.h"

#define PTE_P BIT(0)
#define PTE_W BIT(1)
#define PTE_A BIT(5)
#define PTE_D BIT(6)
#define FAR   (UINT64_C(1) << 39) /* what is neither low nor in the upper part */

static const struct soft_config direct = {.directly = SOFT_DIRECT_ALWAYS};

static void open_direct(struct rig *r)
{
	assert_int_equal(rig_open(r, &direct), 0);
	rig_put64(r, RIG_PML4 + 1 * 8, RIG_PDPT | 0x27);
	rig_reset(r, true);
}

/* The program at RIG_CODE in user mode once more, nothing flushed; ends at INT3 or a fault. Returns the vector. */
static unsigned again(struct rig *r, const uint8_t *code, size_t len)
{
	struct x86_state *s = r->s;

	if (memcmp(r->ram + RIG_CODE, code, len)) {
		memcpy(r->ram + RIG_CODE, code, len);
		r->vm->engine->memory_changed(r->vm, RIG_CODE, len);
	}
	s->seg[CS] = rig_seg(0x23, 0xa0fb);
	s->seg[SS] = rig_seg(0x1b, 0xc0f3);
	s->gpr[RSP] = RIG_STACK;
	s->rip = RIG_CODE;
	assert_int_equal(rig_run(r), EXIT_HLT);
	return (unsigned)((s->rip - RIG_HANDLER) / 16);
}

static void flush(struct rig *r, enum cpu_flush kind, gva_t gva)
{
	struct cpu *cpu = rig_cpu(r);

	cpu->ops->flush(cpu, kind, gva, 0);
}

static uint64_t pages(const struct rig *r)
{
	struct soft_stats st;

	soft_stats_read(r->vm, &st);
	return st.direct_pages;
}

static const uint8_t load[] = {0x48, 0x8b, 0x06, 0xcc};  /* mov rax, [rsi]; int3 */
static const uint8_t store[] = {0x48, 0x89, 0x06, 0xcc}; /* mov [rsi], rax */

static void test_flush(void **state)
{
	static const struct {
		enum cpu_flush kind;
		gva_t base;
	} rows[] = {{FLUSH_PAGE, 0},      {FLUSH_PAGE, RIG_UPPER},
		    {FLUSH_ALL, 0},       {FLUSH_NONGLOBAL, RIG_UPPER},
		    {FLUSH_PCID_PAGE, 0}, {FLUSH_ALL_NONGLOBAL, RIG_UPPER}};
	struct rig r;

	open_direct(&r);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		gva_t va = rows[i].base + RIG_DATA;
		uint64_t *pte = rig_pte(&r, RIG_DATA), before = pages(&r);

		*pte = RIG_DATA | 0x67;
		flush(&r, FLUSH_ALL, 0);
		rig_put64(&r, RIG_DATA, 1);
		rig_put64(&r, RIG_DATA + PAGE_SIZE, 2);
		r.s->gpr[RSI] = va;
		assert_int_equal(again(&r, load, sizeof(load)), VEC_BP);
		assert_int_equal(r.s->gpr[RAX], 1);
		assert_true(pages(&r) > before);
		/* another frame */
		*pte = (RIG_DATA + PAGE_SIZE) | 0x67;
		flush(&r, rows[i].kind, va);
		assert_int_equal(again(&r, load, sizeof(load)), VEC_BP);
		assert_int_equal(r.s->gpr[RAX], 2);
		/* read-only, then not there */
		*pte &= ~(uint64_t)PTE_W;
		flush(&r, rows[i].kind, va);
		r.s->gpr[RAX] = 77;
		assert_int_equal(again(&r, store, sizeof(store)), VEC_PF);
		assert_int_equal(r.s->cr2, va);
		*pte = 0;
		flush(&r, rows[i].kind, va);
		r.s->cr2 = 0;
		assert_int_equal(again(&r, load, sizeof(load)), VEC_PF);
		assert_int_equal(r.s->cr2, va);
		assert_int_equal(r.s->gpr[RAX], 77);
		assert_int_equal(*(uint64_t *)(void *)(r.ram + RIG_DATA + PAGE_SIZE), 2);
	}
	rig_close(&r);
}

/* A comes with any access after a flush, D with a store only. */
static void test_marks(void **state)
{
	struct rig r;
	uint64_t *pte;

	open_direct(&r);
	pte = rig_pte(&r, RIG_DATA);
	*pte = RIG_DATA | 7;
	flush(&r, FLUSH_ALL, 0);
	r.s->gpr[RSI] = RIG_UPPER + RIG_DATA;
	for (unsigned i = 0; i < 3; i++)
		again(&r, load, sizeof(load));
	assert_int_equal(*pte & (PTE_A | PTE_D), PTE_A);
	again(&r, store, sizeof(store));
	assert_int_equal(*pte & (PTE_A | PTE_D), PTE_A | PTE_D);
	for (unsigned i = 0; i < 4; i++) {
		*pte &= ~(uint64_t)(i & 1 ? PTE_D : PTE_A | PTE_D);
		flush(&r, i & 2 ? FLUSH_ALL : FLUSH_PAGE, RIG_UPPER + RIG_DATA);
		again(&r, load, sizeof(load));
		assert_int_equal(*pte & (PTE_A | PTE_D), PTE_A);
		again(&r, store, sizeof(store));
		assert_int_equal(*pte & (PTE_A | PTE_D), PTE_A | PTE_D);
	}
	rig_close(&r);
}

/* One instruction, 4,000 rounds, each of another part or of none: translated again for each, and in the end probed. */
static void test_sides(void **state)
{
	/* 1: mov rsi, [rdi + rcx * 8 - 8]; add rax, [rsi]; push rax; pop rbx; mov [rsi + 8], rbx; dec rcx; jnz 1b; int3 */
	static const uint8_t sum[] = {0x48, 0x8b, 0x74, 0xcf, 0xf8, 0x48, 0x03, 0x06, 0x50, 0x5b,
				      0x48, 0x89, 0x5e, 0x08, 0x48, 0xff, 0xc9, 0x75, 0xed, 0xcc};
	static const uint64_t parts[] = {0, RIG_UPPER, FAR};
	struct soft_stats st;
	uint64_t want = 0;
	struct rig r;

	open_direct(&r);
	for (unsigned i = 0; i < 4000; i++) {
		unsigned part = i < 1000 ? 0 : i < 2000 ? 1 : i % 3;

		rig_put64(&r, RIG_DATA + (3999 - i) * 8ull,
			  parts[part] + RIG_DATA + 0x10000 + i % 50 * 256);
		want += i % 50;
	}
	for (unsigned i = 0; i < 50; i++)
		rig_put64(&r, RIG_DATA + 0x10000 + i * 256, i);
	r.s->gpr[RDI] = RIG_DATA;
	r.s->gpr[RCX] = 4000;
	r.s->gpr[RAX] = 0;
	assert_int_equal(again(&r, sum, sizeof(sum)), VEC_BP);
	assert_int_equal(r.s->gpr[RAX], want);
	assert_int_equal(r.s->gpr[RBX], want);
	assert_int_equal(*(uint64_t *)(void *)(r.ram + RIG_DATA + 0x10000 + 3999 % 50 * 256 + 8),
			 want);
	soft_stats_read(r.vm, &st);
	assert_true(st.direct_anew > 0);
	rig_close(&r);
}

/* Code that changes what comes next, in a page that was mapped to be written before it was run */
static void test_own_code(void **state)
{
	/* mov byte [rsi], al; jmp +0; 1: mov ecx, 11111111h; int3 */
	static const uint8_t change[] = {0x88, 0x06, 0xeb, 0, 0xb9, 0x11, 0x11, 0x11, 0x11, 0xcc};
	struct rig r;

	open_direct(&r);
	for (unsigned i = 0; i < 200; i++) {
		r.s->gpr[RSI] = (i & 1 ? RIG_UPPER : 0) + RIG_CODE + 5;
		r.s->gpr[RAX] = i;
		memcpy(r.ram + RIG_CODE, change, sizeof(change));
		r.vm->engine->memory_changed(r.vm, RIG_CODE, sizeof(change));
		assert_int_equal(again(&r, change, sizeof(change)), VEC_BP);
		assert_int_equal(r.s->gpr[RCX], 0x11111100 | i);
	}
	rig_close(&r);
}

/* Nothing near the ends of the parts, nor beyond canonical addresses, is anybody else's. */
static void test_ends(void **state)
{
	static const struct {
		gva_t va;
		unsigned vector;
	} rows[] = {{0, VEC_PF},
		    {8, VEC_PF},
		    {0xfff8, VEC_PF},
		    {0x3fffffff, VEC_PF},
		    {0x3ffffffd, VEC_PF},
		    {0x40000000, VEC_PF},
		    {0x40001000, VEC_PF},
		    {RIG_UPPER - 1, VEC_PF},
		    {RIG_UPPER - 8, VEC_PF},
		    {2 * RIG_UPPER - 8, VEC_PF},
		    {2 * RIG_UPPER - 0x40000000, VEC_PF},
		    {2 * RIG_UPPER, VEC_GP},
		    {2 * RIG_UPPER + 0x1000, VEC_GP},
		    {3 * RIG_UPPER, VEC_GP},
		    {UINT64_C(0xffff7ffffffffff8), VEC_GP},
		    {UINT64_C(0xffff800000000000), VEC_PF},
		    {UINT64_MAX - 7, VEC_PF}};
	static const uint8_t both[] = {0x48, 0x8b, 0x06, 0x48,
				       0x8b, 0x5e, 0x40, 0xcc}; /* and mov rbx, [rsi + 64] */
	struct rig r;

	open_direct(&r);
	for (unsigned i = 0; i < 16; i++)
		*rig_pte(&r, i * PAGE_SIZE) = 0;
	for (unsigned k = 0; k < 2; k++)
		for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
			r.s->gpr[RSI] = RIG_DATA + (i & 1 ? RIG_UPPER : 0);
			assert_int_equal(again(&r, both, sizeof(both)), VEC_BP);
			r.s->gpr[RSI] = rows[i].va;
			r.s->gpr[RAX] = 5;
			r.s->cr2 = 0;
			assert_int_equal(again(&r, both, sizeof(both)), rows[i].vector);
			assert_int_equal(r.s->gpr[RAX], 5);
			if (rows[i].vector == VEC_PF)
				assert_in_range(r.s->cr2, rows[i].va, rows[i].va + 7);
		}
	rig_close(&r);
}

/* The instruction that faults has done nothing yet: not to RSP, RBP, nor the flags. */
static void test_whole(void **state)
{
	static const struct {
		uint8_t n, code[8];
	} rows[] = {{2, {0xc9, 0xcc}},                         /* leave */
		    {3, {0xff, 0x36, 0xcc}},                   /* push [rsi] */
		    {2, {0x9c, 0xcc}},                         /* pushf */
		    {2, {0x58, 0xcc}},                         /* pop rax */
		    {1, {0xc3}},                               /* ret */
		    {3, {0xff, 0x16, 0xcc}},                   /* call [rsi] */
		    {6, {0xe8, 0, 0, 0, 0, 0xcc}},             /* call */
		    {3, {0x88, 0x26, 0xcc}},                   /* mov [rsi], ah */
		    {5, {0x48, 0x0f, 0xab, 0x1e, 0xcc}},       /* bts [rsi], rbx */
		    {5, {0x4c, 0x01, 0x16, 0xcc, 0}},          /* add [rsi], r10 */
		    {6, {0x48, 0x39, 0xc0, 0x9c, 0x9d, 0xcc}}, /* cmp; pushf; popf */
		    {4, {0x66, 0x9c, 0xcc, 0}}};               /* pushf of 2 bytes */
	struct rig r;

	open_direct(&r);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct x86_state *s = r.s, was;
		uint64_t *pte = rig_pte(&r, RIG_DATA);

		for (unsigned k = 0; k < 3; k++) {             /* there, read-only, not there */
			uint8_t code[16] = {0x48, 0x89, 0xfc}; /* mov rsp, rdi */
			unsigned vector;

			*pte = RIG_DATA | (k == 0 ? 0x67 : k == 1 ? 0x65 : 0);
			flush(&r, FLUSH_ALL, 0);
			memcpy(code + 3, rows[i].code, rows[i].n);
			rig_put64(&r, RIG_DATA + 0x800, RIG_CODE + 15);
			r.ram[RIG_CODE + 15] = code[15] = 0xcc;
			s->gpr[RSI] = s->gpr[RDI] = s->gpr[RBP] = RIG_UPPER + RIG_DATA + 0x800;
			s->gpr[RBX] = 3;
			s->rflags = 2 | FL_CF | FL_PF;
			was = *s;
			vector = again(&r, code, sizeof(code));
			if (vector == VEC_BP)
				continue;
			if (vector != VEC_PF)
				fail_msg("row %u, %u: vector %u", i, k, vector);
			for (unsigned g = 0; g < 16; g++)
				if (g != RSP)
					assert_int_equal(s->gpr[g], was.gpr[g]);
			/* of the frame: RIP, RFLAGS, RSP */
			assert_int_equal(*(uint64_t *)(void *)(r.ram + RIG_IST - 16), s->gpr[RDI]);
			if (i < 9) /* the others write them all: they are dead */
				assert_int_equal(*(uint64_t *)(void *)(r.ram + RIG_IST - 24) &
							 FL_ARITH,
						 was.rflags & FL_ARITH);
		}
	}
	rig_close(&r);
}

/* One INVLPG takes a large page as a whole. */
static void test_large(void **state)
{
	enum { LARGE = 0x400000, OTHER = 0x600000, IN = 0x20000 };
	struct rig r;

	open_direct(&r);
	rig_put64(&r, RIG_PD + 2 * 8, LARGE | 0xe7);
	flush(&r, FLUSH_ALL, 0);
	for (unsigned i = 0; i < 2; i++) {
		rig_put64(&r, LARGE + i * IN, 1);
		rig_put64(&r, OTHER + i * IN, 2);
	}
	for (unsigned want = 1; want < 3; want++) {
		for (unsigned i = 0; i < 2; i++) {
			r.s->gpr[RSI] = LARGE + i * IN;
			assert_int_equal(again(&r, load, sizeof(load)), VEC_BP);
			assert_int_equal(r.s->gpr[RAX], want);
		}
		rig_put64(&r, RIG_PD + 2 * 8, OTHER | 0xe7);
		flush(&r, FLUSH_PAGE, LARGE);
	}
	rig_close(&r);
}

/* What protection keys allow one processor, they may deny another in the same address space. */
static void test_keys(void **state)
{
	struct rig r[2];

	assert_int_equal(rig_open_cpus(&r[0], &direct, 2), 0);
	r[1] = r[0];
	r[1].vcpu = r[0].vm->vcpu[1];
	r[1].s = r[1].vcpu->state;
	for (unsigned i = 0; i < 2; i++) {
		rig_reset(&r[i], true);
		r[i].s->cr4 |= CR4_PKE;
		r[i].s->pkru = i << 2; /* key 1: the second may not */
		r[i].vm->engine->set_state(r[i].vcpu);
	}
	*rig_pte(&r[0], RIG_DATA + PAGE_SIZE) |= UINT64_C(1) << 59;
	for (unsigned n = 0; n < 600; n++)
		for (unsigned i = 0; i < 2; i++) {
			r[i].s->gpr[RSI] = RIG_DATA;
			assert_int_equal(again(&r[i], load, sizeof(load)), VEC_BP);
			r[i].s->gpr[RSI] = RIG_DATA + PAGE_SIZE;
			assert_int_equal(again(&r[i], load, sizeof(load)), i ? VEC_PF : VEC_BP);
		}
	assert_true(pages(&r[0]) > 0);
	/* Key 0 too: nor can the exception be told then, whose stack is such a page. */
	r[1].s->pkru = 1;
	r[1].vm->engine->set_state(r[1].vcpu);
	r[1].s->seg[CS] = rig_seg(0x23, 0xa0fb);
	r[1].s->seg[SS] = rig_seg(0x1b, 0xc0f3);
	r[1].s->gpr[RSI] = RIG_DATA;
	r[1].s->rip = RIG_CODE;
	assert_int_equal(rig_run(&r[1]), EXIT_SHUTDOWN);
	rig_close(&r[0]);
}

/* More accesses than a block may have direct: the rest is probed, and shares no register with what may fault. */
static void test_many(void **state)
{
	static const uint8_t first[] = {0x48, 0x8b, 0x03}, /* mov rax, [rbx] */
		pair[] = {0x67, 0x48, 0x8b, 0x26,
			  0x67, 0xff, 0x36},       /* mov rsp, [esi]; push [esi] */
		fill[] = {0x67, 0x48, 0x8b, 0x16}, /* mov rdx, [esi] */
		/* mov r8, [rdi]; mov r12, [rbx + 8]: on the next page; mov r13, [rdi + 8]; int3 */
		last[] = {0x4c, 0x8b, 0x07, 0x4c, 0x8b, 0x63, 0x08, 0x4c, 0x8b, 0x6f, 0x08, 0xcc};
	uint8_t code[256], *p = code;
	struct rig r;

	memcpy(p, first, sizeof(first));
	p += sizeof(first);
	for (unsigned i = 0; i < 20; i++, p += sizeof(pair))
		memcpy(p, pair, sizeof(pair));
	for (unsigned i = 0; i < 4; i++, p += sizeof(fill))
		memcpy(p, fill, sizeof(fill));
	memcpy(p, last, sizeof(last));
	p += sizeof(last);
	open_direct(&r);
	for (unsigned round = 0; round < 6; round++) {
		*rig_pte(&r, RIG_DATA + 0x1000) =
			(RIG_DATA + 0x1000) | 7; /* no neighbour: not accessed */
		flush(&r, FLUSH_ALL, 0);
		rig_put64(&r, RIG_DATA + 0x8000, RIG_STACK);
		rig_put64(&r, RIG_DATA + 0x108, 0x1234567890 + round);
		r.s->gpr[RSI] = RIG_DATA + 0x8000;
		r.s->gpr[RBX] = RIG_DATA + 0xff8;
		r.s->gpr[RDI] = RIG_UPPER + RIG_DATA + 0x100;
		assert_int_equal(again(&r, code, (size_t)(p - code)), VEC_BP);
		assert_int_equal(r.s->gpr[13], 0x1234567890 + round);
	}
	rig_close(&r);
}

/* Stores beside code in its page: after a few that fault they are made otherwise. */
static void test_beside_code(void **state)
{
	/* 1: mov [rsi], rax; dec rcx; jnz 1b; int3 */
	static const uint8_t many[] = {0x48, 0x89, 0x06, 0x48, 0xff, 0xc9, 0x75, 0xf8, 0xcc};
	struct soft_stats st;
	struct rig r;

	open_direct(&r);
	r.s->gpr[RSI] = RIG_CODE + 0x800;
	r.s->gpr[RCX] = 20000;
	assert_int_equal(again(&r, many, sizeof(many)), VEC_BP);
	soft_stats_read(r.vm, &st);
	assert_in_range(st.direct_faults, 1, 100);
	assert_in_range(st.blocks, 1, 200);
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flush), cmocka_unit_test(test_marks),
		cmocka_unit_test(test_sides), cmocka_unit_test(test_own_code),
		cmocka_unit_test(test_ends),  cmocka_unit_test(test_whole),
		cmocka_unit_test(test_large), cmocka_unit_test(test_keys),
		cmocka_unit_test(test_many),  cmocka_unit_test(test_beside_code),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
