/* SPDX-License-Identifier: ISC */
/* test_soft_jumps.c: jump caches of the software engine: two places for each target, INVLPG, memory given back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>

#include "tests/lib/soft_rig.h"

static _Atomic bool done;

/* Two functions 256 KiB apart have the same first place. Called in turn, both stay known. */
static void two_places(void **state)
{
	static const uint8_t prog[] = {
		0xff, 0xd6, 0xff, 0xd7, /* 1: call rsi; call rdi */
		0xff, 0xc9, 0x75, 0xf8, /* dec ecx; jnz 1b */
		0xcc,
	};
	static const uint8_t function[] = {0x48, 0xff, 0xc0, 0xc3}; /* inc rax; ret */
	static const struct soft_config cfg[] = {{.cache_bytes = 0},
						 {.hot = SOFT_HOT_ALWAYS},
						 {.hot = SOFT_HOT_NEVER},
						 {.no_second = true}};

	for (unsigned i = 0; i < ARRAY_SIZE(cfg); i++)
		for (unsigned user = 0; user < 2; user++) {
			struct soft_stats st;
			struct rig r;

			assert_int_equal(rig_open(&r, &cfg[i]), 0);
			rig_code(&r, RIG_CODE, prog, sizeof(prog));
			rig_code(&r, 0x440080, function, sizeof(function));
			rig_code(&r, 0x480080, function, sizeof(function));
			rig_reset(&r, user);
			r.s->gpr[RSI] = 0x440080;
			r.s->gpr[RDI] = 0x480080;
			r.s->gpr[RCX] = 5000;
			assert_int_equal(rig_run(&r), EXIT_HLT);
			assert_int_equal(r.s->gpr[RAX], 10000);
			soft_stats_read(r.vm, &st);
			if (cfg[i].no_second)
				assert_true(st.misses >= 9990);
			else if (__builtin_cpu_supports("bmi2"))
				assert_true(st.misses < 50);
			rig_close(&r);
		}
}

/* Functions that share places, change, are given other pages, and are lost with the code cache: the interpreter finds
 * the same. */
static void shared_places(void **state)
{
	static const uint8_t prog[] = {
		0x4d, 0x69, 0xe4, 0xfd, 0x43, 0x03, 0x00, /* 1: imul r12, r12, 343fdh */
		0x49, 0x81, 0xc4, 0xc3, 0x9e, 0x26, 0x00, /* add r12, 269ec3h */
		0x4c, 0x89, 0xe0,                         /* mov rax, r12 */
		0x48, 0xc1, 0xe8, 0x10,                   /* shr rax, 16 */
		0x89, 0xc7,                               /* mov edi, eax */
		0x81, 0xe7, 0xc0, 0x00, 0x00, 0x00,       /* and edi, c0h: one of four on a page */
		0x25, 0x00, 0x00, 0x1c, 0x00,             /* and eax, 1c0000h: one of eight pages */
		0x49, 0x8d, 0x3c, 0x38,                   /* lea rdi, [r8 + rdi] */
		0x48, 0x01, 0xc7,                         /* add rdi, rax */
		0xff, 0xd7,                               /* call rdi */
		0x41, 0xf7, 0xc4, 0x00, 0x00, 0x00, 0x1f, /* test r12d, 1f000000h */
		0x75, 0x03,                               /* jnz 2f */
		0xfe, 0x47, 0x03,                         /* inc byte [rdi + 3] */
		0x41, 0xf7, 0xc4, 0x00, 0x00, 0x3f, 0x00, /* 2: test r12d, 3f0000h */
		0x75, 0x01, 0xcc,                         /* jnz 3f; int3 */
		0x41, 0xff, 0xcb, 0x75, 0xba,             /* 3: dec r11d; jnz 1b */
		0xf4,
	};
	/* add rbx, 7; rol rbx, 5; ret */
	static const uint8_t function[] = {0x48, 0x83, 0xc3, 0x07, 0x48, 0xc1, 0xc3, 0x05, 0xc3};
	/* The handler of int3: xchg [r14], r15, then invlpg [r13] or mov rcx, cr3; mov cr3, rcx; iretq */
	static const uint8_t handler[2][11] = {
		{0x4d, 0x87, 0x3e, 0x41, 0x0f, 0x01, 0x7d, 0x00, 0x48, 0xcf},
		{0x4d, 0x87, 0x3e, 0x0f, 0x20, 0xd9, 0x0f, 0x22, 0xd9, 0x48, 0xcf}};
	static const struct soft_config cfg[] = {
		{.cache_bytes = 0},      {.hot = SOFT_HOT_ALWAYS},
		{.hot = SOFT_HOT_NEVER}, {.cache_bytes = SOFT_CACHE_MIN},
		{.flush_every = 7},      {.no_second = true}};
	static const struct soft_config interpreted = {.interp = true};

	for (unsigned i = 0; i < ARRAY_SIZE(cfg); i++)
		for (unsigned n = 0; n < 4; n++) {
			bool user = n & 1, cr3 = n & 2;
			struct rig r[2];

			for (unsigned k = 0; k < 2; k++) {
				assert_int_equal(rig_open(&r[k], k ? &cfg[i] : &interpreted), 0);
				rig_code(&r[k], RIG_CODE, prog, sizeof(prog));
				rig_code(&r[k], RIG_HANDLER + VEC_BP * 16, handler[cr3],
					 sizeof(handler[cr3]));
				for (gva_t at = 0x400000; at < 0x640000; at += 0x40000)
					for (unsigned f = 0; f < 4; f++)
						rig_code(&r[k], at + f * 0x40, function,
							 sizeof(function));
				rig_reset(&r[k], user);
				r[k].s->gpr[R8] = 0x400000;
				r[k].s->gpr[R11] = 4000;
				r[k].s->gpr[R12] = i * 4 + n + 1;
				r[k].s->gpr[R13] = 0x480000;
				r[k].s->gpr[R14] = RIG_PT + (0x480000 >> 12) * 8;
				r[k].s->gpr[R15] = 0x600067;
				assert_int_equal(rig_run(&r[k]), EXIT_HLT);
				memset(r[k].ram + RIG_IST - 24, 0, 2); /* a fault's flags: dead */
			}
			assert_memory_equal(r[0].s->gpr, r[1].s->gpr, sizeof(r[0].s->gpr));
			assert_memory_equal(r[0].ram, r[1].ram, RIG_RAM);
			rig_close(&r[0]);
			rig_close(&r[1]);
		}
}

/* Blocks are forgotten by other threads at any moment: the jump caches are read without the lock. */
static void *forget(void *arg)
{
	struct rig *r = arg;

	while (!atomic_load(&done)) {
		for (volatile unsigned i = 0; i < 100; i++)
			;
		r->vm->engine->memory_changed(r->vm, RIG_HANDLER + VEC_BP * 16, 8);
	}
	return NULL;
}

static void forgotten_meanwhile(void **state)
{
	static const struct soft_config cfg = {0};
	static const uint8_t prog[] = {0xcc, 0xff, 0xc9,
				       0x75, 0xfb, 0xf4}; /* 1: int3; dec ecx; jnz 1b; hlt */
	static const uint8_t handler[] = {0x48, 0xff, 0xc0, 0x48, 0xcf}; /* inc rax; iretq */
	pthread_t thread;
	struct rig r;

	assert_int_equal(rig_open(&r, &cfg), 0);
	rig_code(&r, RIG_CODE, prog, sizeof(prog));
	rig_code(&r, RIG_HANDLER + VEC_BP * 16, handler, sizeof(handler));
	atomic_store(&done, false);
	assert_int_equal(pthread_create(&thread, NULL, forget, &r), 0);
	for (unsigned i = 0; i < 20; i++) {
		rig_reset(&r, false);
		r.s->gpr[RCX] = 50000;
		assert_int_equal(rig_run(&r), EXIT_HLT);
		assert_int_equal(r.s->gpr[RAX], 50000);
	}
	atomic_store(&done, true);
	pthread_join(thread, NULL);
	rig_close(&r);
}

/* INVLPG of a page with code, and of one that is none but has the same place in the TLB */
static void invlpg(void **state)
{
	static const struct soft_config cfg = {0};
	static const uint8_t prog[] = {0x0f, 0x01, 0x3b, 0xf4}; /* invlpg [rbx]; hlt */
	struct soft_stats st;
	struct rig r;

	assert_int_equal(rig_open(&r, &cfg), 0);
	rig_code(&r, RIG_CODE, prog, sizeof(prog));
	for (unsigned i = 0; i < 4; i++) {
		rig_reset(&r, false);
		r.s->gpr[RBX] = i < 2 ? RIG_CODE + (UINT64_C(1) << 28) : RIG_CODE;
		assert_int_equal(rig_run(&r), EXIT_HLT);
		soft_stats_read(r.vm, &st);
		assert_int_equal(st.flush_code, i < 2 ? 0 : i - 1);
	}
	rig_close(&r);
}

/* Pages of this process in memory */
static long resident(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	long size, pages;

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%ld %ld", &size, &pages), 2);
	fclose(f);
	return pages;
}

/* An idle processor gives memory back, and goes on as if nothing had been: a long way through one page after
 * another, with a store, a call and a return in each. */
static void idle(void **state)
{
	enum { PAGES = 2000, FROM = 0x400000 };
	static const struct soft_config cfg[] = {{.hot = SOFT_HOT_NEVER}, {.hot = SOFT_HOT_ALWAYS}};
	static const uint8_t body[] = {
		0x48, 0xff, 0x06,                   /* inc qword [rsi] */
		0x48, 0x81, 0xc6, 0x00, 0x10, 0, 0, /* add rsi, 4096 */
		0xe8, 0x05, 0x00, 0x00, 0x00,       /* call 1f */
		0xe9, 0xec, 0x0f, 0x00, 0x00,       /* jmp to the next page */
		0xc3,                               /* 1: ret */
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cfg); i++)
		for (unsigned user = 0; user < 2; user++) {
			struct soft_stats st;
			struct rig r;
			long was;

			assert_int_equal(rig_open(&r, &cfg[i]), 0);
			for (unsigned n = 0; n < PAGES; n++)
				rig_code(&r, FROM + n * 4096, body, sizeof(body));
			rig_code(&r, FROM + PAGES * 4096, (const uint8_t[]){0xcc}, 1);
			for (unsigned run = 1; run < 6; run++) {
				rig_reset(&r, user);
				r.s->rip = FROM;
				r.s->gpr[RSI] = FROM + 2048;
				assert_int_equal(rig_run(&r), EXIT_HLT);
				assert_int_equal(r.s->rip, RIG_HANDLER + VEC_BP * 16 + 1);
				for (unsigned n = 0; n < PAGES; n++)
					assert_int_equal(r.ram[FROM + 2048 + n * 4096], run);
				was = resident();
				r.vcpu->idle.idle = run > 2;
				if (run > 1)
					r.vm->engine->idle(r.vcpu);
				if (run == 3)
					assert_true(resident() < was - 100);
			}
			soft_stats_read(r.vm, &st);
			assert_int_equal(st.rests, 4);
			assert_int_equal(st.faults, 0);
			rig_close(&r);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_places),
		cmocka_unit_test(shared_places),
		cmocka_unit_test(forgotten_meanwhile),
		cmocka_unit_test(invlpg),
		cmocka_unit_test(idle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
