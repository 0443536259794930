/* SPDX-License-Identifier: ISC */
/* test_soft_memos.c: strings over pages, buffers mapped in the guest's order, pages that accesses remember. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/soft/block.h"
#include "engine/soft/tlb.h"
#include "tests/lib/soft_rig.h"

static void same_registers(const struct rig *a, const struct rig *b)
{
	assert_int_equal(a->s->rip, b->s->rip);
	assert_memory_equal(a->s->gpr, b->s->gpr, sizeof(a->s->gpr));
	assert_int_equal(a->s->cr2, b->s->cr2);
}

/* REP MOVS and STOS by translated code are the interpreter's, wherever they begin and end. */
static void strings(void **state)
{
	static const uint64_t places[] = {
		RIG_DATA,
		RIG_DATA + 3,
		RIG_DATA + 4096 - 64,
		RIG_DATA + 4096 - 63,
		RIG_DATA + 2 * 4096,
		RIG_DATA + 7 * 4096 + 1,
		0, /* the guest's page 0 */
		1,
		-(uint64_t)64,
		-(uint64_t)12288, /* what lies above wraps to page 0 */
		-(uint64_t)32768,
		UINT64_C(0x7f0000001000),     /* not mapped */
		UINT64_C(0x8000000000000000), /* not canonical */
	};
	static const uint8_t ops[][2] = {/* 40H: a prefix that says nothing */
					 {0x40, 0xa4}, {0x48, 0xa5}, {0x40, 0xaa},
					 {0x48, 0xab}, {0x66, 0xa5}, {0x66, 0xab}};
	static const struct soft_config translated = {0}, interpreted = {.interp = true};
	uint64_t seed = 1;
	struct rig r[2];

	assert_int_equal(rig_open(&r[0], &translated), 0);
	assert_int_equal(rig_open(&r[1], &interpreted), 0);
	for (unsigned n = 0; n < 2000; n++) {
		uint64_t x = (seed = seed * UINT64_C(6364136223846793005) + 1) >> 33;
		unsigned op = (unsigned)(x % ARRAY_SIZE(ops)), down = !(x >> 20 & 7);
		uint64_t to = places[x / 8 % ARRAY_SIZE(places)];
		uint64_t from = places[x / 128 % ARRAY_SIZE(places)];
		const uint64_t counts[] = {0,
					   1,
					   8,
					   64,
					   512,
					   513,
					   4096,
					   4097,
					   (2 - to) / 2,
					   -to,
					   UINT64_C(1) << 61,
					   UINT64_MAX};
		uint64_t count = counts[x / 2048 % ARRAY_SIZE(counts)];
		gva_t at = RIG_CODE + (op * 2 + down) * 64; /* each at its own place */
		const uint8_t prog[] = {down ? 0xfd : 0xfc, 0xf3, ops[op][0], ops[op][1], 0xf4};

		for (unsigned k = 0; k < 2; k++) {
			/* forever is too long: the first fault or the guest's end stops it */
			rig_tables(&r[k]);
			for (gva_t va = RIG_DATA + 16 * 4096; va < RIG_DATA + 32 * 4096; va += 4096)
				*rig_pte(&r[k], va) = 0;
			*rig_pte(&r[k], RIG_DATA - 4096) = 0;
			*rig_pte(&r[k], RIG_PML4) = 0; /* page 0 ends there */
			rig_reset(&r[k], false);
			rig_code(&r[k], at, prog, sizeof(prog));
			r[k].s->rip = at;
			r[k].s->gpr[RDI] = to;
			r[k].s->gpr[RSI] = from;
			r[k].s->gpr[RCX] = count;
			r[k].s->gpr[RAX] = x * UINT64_C(0x9e3779b97f4a7c15);
			assert_int_equal(rig_run(&r[k]), EXIT_HLT);
			memset(r[k].ram + RIG_IST - 24, 0, 2); /* a fault's flags: dead */
		}
		same_registers(&r[0], &r[1]);
		assert_memory_equal(r[0].ram, r[1].ram, 64 * 4096);
		assert_memory_equal(r[0].ram + RIG_DATA - 4096, r[1].ram + RIG_DATA - 4096,
				    40 * 4096);
	}
	rig_close(&r[0]);
	rig_close(&r[1]);
}

/* Buffers whose pages lie anywhere, and change: where they were run over often, they are mapped in the guest's
 * order, and what the guest sees stays the interpreter's. */
static void mirrors(void **state)
{
	static const uint8_t ops[][2] = {{0x48, 0xa5}, {0x48, 0xab}, {0x40, 0xa4}, {0x66, 0xab}};
	static const struct soft_config translated = {.all_mirrors = true},
					interpreted = {.interp = true};
	const unsigned pages = 12;
	uint64_t seed = 7;
	struct soft_stats st;
	struct rig r[2];

	assert_int_equal(rig_open(&r[0], &translated), 0);
	assert_int_equal(rig_open(&r[1], &interpreted), 0);
	for (unsigned n = 0; n < 200; n++) {
		uint64_t pte[2 * 12 + 1];
		uint64_t x = (seed = seed * UINT64_C(6364136223846793005) + 1) >> 33;
		unsigned op = (unsigned)(x % ARRAY_SIZE(ops)),
			 changed = (unsigned)(x >> 8) % (2 * pages);
		const uint8_t prog[] = {
			0x4c, 0x89,       0xc7,                         /* 1: mov rdi, r8 */
			0x4c, 0x89,       0xce,                         /* mov rsi, r9 */
			0x4c, 0x89,       0xd1,                         /* mov rcx, r10 */
			0xf3, ops[op][0], ops[op][1],                   /* rep ... */
			0x41, 0xff,       0xcb,                         /* dec r11d */
			0x75, 0xef,                                     /* jnz 1b */
			0x4d, 0x89,       0x75,       0x00,             /* mov [r13], r14 */
			0x41, 0x0f,       0x01,       0x3c, 0x24,       /* invlpg [r12] */
			0x41, 0xbb,       0x46,       0x00, 0x00, 0x00, /* mov r11d, 70 */
			0xff, 0xcd,                                     /* dec ebp */
			0x75, 0xdc,                                     /* jnz 1b */
			0xf4,
		};
		/* also where the end of the address space is near */
		gva_t base = x >> 29 & 1 ? UINT64_C(0xffffffffc0000000) : 0;
		gva_t changed_va = RIG_DATA + changed * PAGE_SIZE;

		for (unsigned i = 0; i <= 2 * pages; i++) {
			seed = seed * UINT64_C(6364136223846793005) + 1;
			pte[i] = (0x500000 + (seed >> 33) % 32 * PAGE_SIZE) | 0x67;
		}
		if (x >> 20 & 1)
			pte[2 * pages] &= ~UINT64_C(2); /* may not be written any more */
		for (unsigned k = 0; k < 2; k++) {
			rig_tables(&r[k]);
			rig_put64(&r[k], RIG_PDPT + 511 * 8, RIG_PD | 0x27);
			for (unsigned i = 0; i < 2 * pages; i++)
				*rig_pte(&r[k], RIG_DATA + i * PAGE_SIZE) = pte[i];
			for (unsigned i = 0; i < 32 * PAGE_SIZE; i++)
				r[k].ram[0x500000 + i] = (uint8_t)(i * 7 + i / 4096);
			rig_reset(&r[k], false);
			rig_code(&r[k], RIG_CODE + op * 64, prog, sizeof(prog));
			r[k].s->rip = RIG_CODE + op * 64;
			r[k].s->gpr[R8] = base + RIG_DATA + (x >> 21 & 0xff8) + (x >> 19 & 1);
			r[k].s->gpr[R9] = base + RIG_DATA + (n & 1 ? 4 : pages) * PAGE_SIZE +
					  (x >> 15 & 0x38);
			r[k].s->gpr[R10] = op < 2 ? 2600 : 9001;
			r[k].s->gpr[R11] = 70;
			r[k].s->gpr[RBP] = 3;
			r[k].s->gpr[R12] = base + changed_va;
			r[k].s->gpr[R13] = RIG_PT + (changed_va >> 12) * 8;
			r[k].s->gpr[R14] = pte[2 * pages];
			r[k].s->gpr[RAX] = x * UINT64_C(0x9e3779b97f4a7c15);
			assert_int_equal(rig_run(&r[k]), EXIT_HLT);
			memset(r[k].ram + RIG_IST - 24, 0, 2); /* a fault's flags: dead */
		}
		same_registers(&r[0], &r[1]);
		assert_memory_equal(r[0].ram, r[1].ram, RIG_RAM);
	}
	soft_stats_read(r[0].vm, &st);
	assert_true(st.mirrors > 100);
	rig_close(&r[0]);
	rig_close(&r[1]);
}

/* Busy code that goes from page to page, some of them in several places, one of which changes again and
 * again: what its accesses remember of pages is never more than the interpreter finds. */
static void memos(void **state)
{
	static const uint8_t prog[] = {
		0x48, 0x69, 0xdb, 0xfd, 0x43, 0x03, 0x00, /* 1: imul rbx, rbx, 343fdh */
		0x48, 0x81, 0xc3, 0xc3, 0x9e, 0x26, 0x00, /* add rbx, 269ec3h */
		0x48, 0x89, 0xdf,                         /* mov rdi, rbx */
		0x48, 0xc1, 0xef, 0x0c,                   /* shr rdi, 12 */
		0x4c, 0x21, 0xe7,                         /* and rdi, r12 */
		0x49, 0x03, 0x04, 0x38,                   /* add rax, [r8 + rdi] */
		0x49, 0x8d, 0x3c, 0x38,                   /* lea rdi, [r8 + rdi] */
		0x48, 0x13, 0x57, 0x08,                   /* adc rdx, [rdi + 8] */
		0x48, 0x31, 0x47, 0x10,                   /* xor [rdi + 16], rax */
		0x0f, 0x90, 0xc1,                         /* seto cl */
		0x88, 0x4f, 0x01,                         /* mov [rdi + 1], cl */
		0x48, 0x03, 0x57, 0x02,                   /* add rdx, [rdi + 2] */
		0x48, 0x29, 0x14, 0x37,                   /* sub [rdi + rsi], rdx */
		0x50, 0x41, 0x5a,                         /* push rax; pop r10 */
		0x0f, 0x10, 0x04, 0x77,                   /* movups xmm0, [rdi + rsi * 2] */
		0x0f, 0x11, 0x47, 0x18,                   /* movups [rdi + 24], xmm0 */
		0x41, 0x83, 0xeb, 0x01, 0x75, 0xb9,       /* sub r11d, 1; jnz 1b */
		0x49, 0x89, 0xeb,                         /* mov r11, rbp */
		0xcc,                                     /* int3 */
		0x41, 0xff, 0xc9, 0x75, 0xb0,             /* dec r9d; jnz 1b */
		0xf4,
	};
	/* The handler of int3: xchg [r14], r15, then invlpg [r13] or mov rcx, cr3; mov cr3, rcx; iretq */
	static const uint8_t invlpg[] = {0x4d, 0x87, 0x3e, 0x41, 0x0f,
					 0x01, 0x7d, 0x00, 0x48, 0xcf};
	static const uint8_t cr3[] = {0x4d, 0x87, 0x3e, 0x0f, 0x20, 0xd9,
				      0x0f, 0x22, 0xd9, 0x48, 0xcf};
	static const uint64_t masks[] = {0xf8,   0xfff,  0x3fff,  0x1ffff,
					 0x303f, 0x5ff8, 0x18010, 0x703f};
	const unsigned pages = 40, frames = 48;
	uint64_t seed = 3;
	struct soft_stats st;

	for (unsigned runs = 0; runs < 4; runs++) {
		const struct soft_config cfg[2] = {{.interp = true},
						   {.hot = SOFT_HOT_ALWAYS,
						    .all_mirrors = true,
						    .memo_runs = runs * runs * 8}};
		struct rig r[2];

		assert_int_equal(rig_open(&r[0], &cfg[0]), 0);
		assert_int_equal(rig_open(&r[1], &cfg[1]), 0);
		for (unsigned n = 0; n < 60; n++) {
			uint64_t x = (seed = seed * UINT64_C(6364136223846793005) + 1) >> 33,
				 pte[41];
			bool in_order = x & 1;
			gva_t at = RIG_CODE + n * 96; /* nothing known of it */

			for (unsigned i = 0; i <= pages; i++) {
				seed = seed * UINT64_C(6364136223846793005) + 1;
				pte[i] = (0x500000 +
					  (in_order ? i : (seed >> 33) % frames) * PAGE_SIZE) |
					 0x67;
			}
			if (x >> 1 & 1) /* may not be written then, or is not there */
				pte[pages] &= x >> 2 & 1 ? ~UINT64_C(2) : ~UINT64_C(1);
			for (unsigned k = 0; k < 2; k++) {
				gva_t changed = RIG_DATA + (1 + (x >> 3) % 5) * PAGE_SIZE;

				rig_tables(&r[k]);
				for (unsigned i = 0; i < pages; i++)
					*rig_pte(&r[k], RIG_DATA + i * PAGE_SIZE) = pte[i];
				for (unsigned i = 0; i < frames * PAGE_SIZE; i++)
					r[k].ram[0x500000 + i] = (uint8_t)(i * 7 + i / 4096);
				if (x >> 8 & 1)
					rig_code(&r[k], RIG_HANDLER + VEC_BP * 16, invlpg,
						 sizeof(invlpg));
				else
					rig_code(&r[k], RIG_HANDLER + VEC_BP * 16, cr3,
						 sizeof(cr3));
				rig_code(&r[k], at, prog, sizeof(prog));
				r[k].vm->engine->memory_changed(r[k].vm, 0, RIG_DATA);
				rig_reset(&r[k], x >> 26 & 1);
				r[k].s->rip = at;
				r[k].s->gpr[RBX] = x;
				r[k].s->gpr[RSI] = x >> 9 & 0x1f;
				r[k].s->gpr[R8] = masks[n % 8] & BIT(11)
							  ? RIG_DATA + (x >> 14 & 0xfff)
							  : changed - 0x20;
				r[k].s->gpr[R9] = 6;
				r[k].s->gpr[R11] = r[k].s->gpr[RBP] = 400;
				r[k].s->gpr[R12] = masks[n % ARRAY_SIZE(masks)];
				r[k].s->gpr[R13] = changed;
				r[k].s->gpr[R14] = RIG_PT + (changed >> 12) * 8;
				r[k].s->gpr[R15] = pte[pages];
				assert_int_equal(rig_run(&r[k]), EXIT_HLT);
				memset(r[k].ram + RIG_IST - 24, 0, 2); /* a fault's flags: dead */
			}
			same_registers(&r[0], &r[1]);
			assert_memory_equal(r[0].ram, r[1].ram, RIG_RAM);
		}
		soft_stats_read(r[1].vm, &st);
		assert_true(!runs || (st.mirrors > 60 && st.memos_fickle > 40));
		rig_close(&r[0]);
		rig_close(&r[1]);
	}
}

/* More accesses than there are memos, of two sizes, at the end of a page that another than the next follows in the
 * host: each one's limit is its own, or good for all. */
static void many_memos(void **state)
{
	enum { PAIRS = 4000 };
	static const struct soft_config cfg = {.hot = SOFT_HOT_ALWAYS};
	static uint8_t prog[PAIRS * 5 + 8];
	uint8_t *p = prog;
	struct rig r;

	for (unsigned i = 0; i < PAIRS; i++, p += 5)
		memcpy(p, (const uint8_t[]){0x8a, 0x07, 0x48, 0x03, 0x16}, 5);
	*p++ = 0xff; /* mov al, [rdi]; add rdx, [rsi]; ...; dec ecx; jnz prog; hlt */
	*p++ = 0xc9;
	*p++ = 0x0f;
	*p++ = 0x85;
	memcpy(p, &(int32_t){-(int32_t)(p + 4 - prog)}, 4);
	assert_int_equal(rig_open(&r, &cfg), 0);
	rig_code(&r, RIG_CODE, prog, sizeof(prog));
	r.ram[RIG_CODE + sizeof(prog)] = 0xf4;
	*rig_pte(&r, RIG_DATA + PAGE_SIZE) = (RIG_DATA + 5 * PAGE_SIZE) | 0x67;
	rig_put64(&r, RIG_DATA + PAGE_SIZE - 4, UINT64_C(0x7777777700000003));
	rig_put64(&r, RIG_DATA + 5 * PAGE_SIZE, 1);
	rig_reset(&r, true);
	r.s->gpr[RDI] = RIG_DATA + PAGE_SIZE - 1;
	r.s->gpr[RSI] = RIG_DATA + PAGE_SIZE - 4;
	r.s->gpr[RDX] = 0;
	r.s->gpr[RCX] = 3;
	assert_int_equal(rig_run(&r), EXIT_HLT);
	assert_int_equal(r.s->gpr[RCX], 0);
	assert_int_equal(r.s->gpr[RDX], UINT64_C(0x100000003) * 3 * PAIRS);
	rig_close(&r);
}

/* Where the linear address that an empty memo would stand for has memory: nothing hits an empty memo. */
static void empty_memos(void **state)
{
	static const struct soft_config cfg = {.hot = SOFT_HOT_ALWAYS};
	static const uint8_t prog[] = {
		0x8a, 0x23,             /* mov ah, [rbx] */
		0x0f, 0x11, 0x03,       /* movups [rbx], xmm0 */
		0x48, 0x89, 0x73, 0x10, /* mov [rbx+16], rsi */
		0x48, 0x89, 0x73, 0x18, /* mov [rbx+24], rsi */
		0x48, 0x8b, 0x4b, 0x10, /* mov rcx, [rbx+16] */
		0x31, 0xf6, 0xf4,       /* xor esi, esi; hlt */
	};
	const uint64_t at = -(uint64_t)GIB, mark = 0x5151515151515151;
	struct soft_stats st;
	struct rig r;

	assert_int_equal(rig_open(&r, &cfg), 0);
	rig_code(&r, RIG_CODE, prog, sizeof(prog));
	rig_put64(&r, RIG_PML4 + 511 * 8, 0x30000 | 0x27);
	rig_put64(&r, 0x30000 + 511 * 8, 0x31000 | 0x27);
	rig_put64(&r, 0x31000, 0x32000 | 0x27);
	rig_put64(&r, 0x32000, RIG_DATA | 0x67);
	r.ram[RIG_DATA] = 0x77;
	rig_reset(&r, false);
	r.s->gpr[RAX] = 0;
	r.s->gpr[RBX] = at;
	r.s->gpr[RSI] = mark;
	r.s->gpr[RDI] = 5;
	assert_int_equal(rig_run(&r), EXIT_HLT);
	assert_int_equal(r.s->gpr[RAX], 0x7700);
	assert_int_equal(r.s->gpr[RCX], mark);
	assert_int_equal(r.s->gpr[RDI], 5);
	assert_memory_equal(r.ram + RIG_DATA + 24, &mark, 8);
	soft_stats_read(r.vm, &st);
	assert_int_equal(st.faults, 0);
	rig_close(&r);
}

/* A block of the most instructions there are, all of the kind with the longest code */
static void many_strings(void **state)
{
	static const struct soft_config cfg = {0};
	uint8_t prog[64 * 3 + 1];
	struct rig r;

	for (unsigned i = 0; i < 64; i++)
		memcpy(prog + 3 * i, (const uint8_t[]){0xf3, 0x48, 0xa5}, 3);
	prog[sizeof(prog) - 1] = 0xf4;
	assert_int_equal(rig_open(&r, &cfg), 0);
	rig_code(&r, RIG_CODE, prog, sizeof(prog));
	rig_reset(&r, false);
	r.s->gpr[RDI] = RIG_DATA;
	r.s->gpr[RSI] = RIG_DATA + 8;
	r.s->gpr[RCX] = 1000;
	assert_int_equal(rig_run(&r), EXIT_HLT);
	assert_int_equal(r.s->gpr[RDI], RIG_DATA + 8000);
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(strings),     cmocka_unit_test(mirrors),
		cmocka_unit_test(memos),       cmocka_unit_test(many_memos),
		cmocka_unit_test(empty_memos), cmocka_unit_test(many_strings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
