/* SPDX-License-Identifier: ISC */
/* test_soft_sys.c: system instructions that are translated, and those that save and load all of the FP state: the
 * interpreter finds the same, flags around them included. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/lib/soft_rig.h"

struct snippet {
	const char *name;
	uint8_t bytes[6], len;
};

#define S(name, ...)                                                  \
	{                                                             \
		name, {__VA_ARGS__}, sizeof((uint8_t[]){__VA_ARGS__}) \
	}

static const struct snippet selectors_and_bases[] = {
	S("mov eax, cs", 0x8c, 0xc8),
	S("mov ax, ds", 0x66, 0x8c, 0xd8),
	S("mov rbx, ss", 0x48, 0x8c, 0xd3),
	S("mov r10d, ds", 0x41, 0x8c, 0xda),
	S("mov r11w, ds", 0x66, 0x41, 0x8c, 0xdb),
	S("mov r15, es", 0x49, 0x8c, 0xc7),
	S("mov [rsi], ds", 0x8c, 0x1e),
	S("mov [rsi + 5], cs", 0x8c, 0x4e, 0x05),
	S("mov [rsi + r10 * 2], ss", 0x42, 0x8c, 0x14, 0x56),
	S("mov [rsi - 1], gs (over two pages)", 0x48, 0x8c, 0x6e, 0xff),
	S("rdfsbase eax", 0xf3, 0x0f, 0xae, 0xc0),
	S("rdgsbase rax", 0xf3, 0x48, 0x0f, 0xae, 0xc8),
	S("rdfsbase r10", 0xf3, 0x49, 0x0f, 0xae, 0xc2),
	S("rdgsbase r11d", 0xf3, 0x41, 0x0f, 0xae, 0xcb),
	S("wrfsbase rax", 0xf3, 0x48, 0x0f, 0xae, 0xd0),
	S("wrfsbase eax", 0xf3, 0x0f, 0xae, 0xd0),
	S("wrgsbase rcx", 0xf3, 0x48, 0x0f, 0xae, 0xd9),
	S("wrgsbase r10", 0xf3, 0x49, 0x0f, 0xae, 0xda),
	S("wrfsbase r11d", 0xf3, 0x41, 0x0f, 0xae, 0xd3),
	S("rdpkru", 0x0f, 0x01, 0xee),
};

/* The first tells what is in use, which is the same for both only where nothing was loaded before. */
static const struct snippet states[] = {
	S("xgetbv", 0x0f, 0x01, 0xd0),
	S("fxsave [rsi]", 0x0f, 0xae, 0x06),
	S("fxrstor [rsi]", 0x0f, 0xae, 0x0e),
	S("xsave [rsi]", 0x0f, 0xae, 0x26),
	S("xsave64 [rsi]", 0x48, 0x0f, 0xae, 0x26),
	S("xsaveopt [rsi]", 0x0f, 0xae, 0x36),
	S("xsavec [rsi]", 0x0f, 0xc7, 0x26),
	S("xsaves64 [rsi]", 0x48, 0x0f, 0xc7, 0x2e),
	S("xrstor [rsi]", 0x0f, 0xae, 0x2e),
	S("xrstor64 [rsi]", 0x48, 0x0f, 0xae, 0x2e),
	S("xrstors64 [rsi]", 0x48, 0x0f, 0xc7, 0x1e),
};

struct setting {
	bool user;
	uint64_t cr4, rax, rcx;
};

static void start(struct rig *r, const struct setting *set)
{
	rig_reset(r, set->user);
	r->s->cr4 |= set->cr4;
	r->s->pkru = 0x5500;
	r->s->seg[FS].base = UINT64_C(0x123456789ab);
	r->s->seg[GS].base = UINT64_C(0xffffff8000001234);
	r->s->gpr[RAX] = set->rax;
	r->s->gpr[RCX] = set->rcx;
	r->s->gpr[RDX] = 0x777;
	r->s->gpr[RBX] = UINT64_C(0x1122334455667788);
	r->s->gpr[RSI] = RIG_DATA + PAGE_SIZE;
	r->s->gpr[RDI] = RIG_DATA + 3 * PAGE_SIZE;
	r->s->gpr[R10] = set->rcx ? 0x10 : UINT64_C(0x8000000000001);
	r->s->gpr[R11] = r->s->gpr[R15] = UINT64_C(0x99aabbccddeeff00);
	r->vm->engine->set_state(r->vcpu);
}

static bool same(const struct rig *a, const struct rig *b)
{
	return !memcmp(a->s->gpr, b->s->gpr, sizeof(a->s->gpr)) && a->s->rip == b->s->rip &&
	       a->s->seg[FS].base == b->s->seg[FS].base &&
	       a->s->seg[GS].base == b->s->seg[GS].base && a->s->pkru == b->s->pkru &&
	       !memcmp(a->ram, b->ram, RIG_RAM);
}

static void run_both(struct rig r[2], const uint8_t *prog, unsigned len, const struct setting *set)
{
	for (unsigned k = 0; k < 2; k++) {
		for (unsigned i = 0; i < 4 * PAGE_SIZE; i++)
			r[k].ram[RIG_DATA + i] = (uint8_t)(i < 2 * PAGE_SIZE ? 0 : i * 7);
		rig_code(&r[k], RIG_CODE, prog, len);
		r[k].vm->engine->memory_changed(r[k].vm, RIG_CODE, len);
		start(&r[k], set);
		assert_int_equal(rig_run(&r[k]), EXIT_HLT);
		memset(r[k].ram + RIG_IST - 24, 0, 2); /* a fault's flags: dead */
	}
}

/* Runs the program, with the snippet in it, in both. Which FP state is in use the processor knows, and forgets for
 * states that are initial when the host takes the thread off it: so once more, if need be. */
static void compare(struct rig r[2], const uint8_t *prog, unsigned len, const struct setting *set,
		    const char *name)
{
	for (unsigned tries = 0; tries < 5; tries++) {
		run_both(r, prog, len, set);
		if (same(&r[0], &r[1]))
			return;
	}
	fail_msg("%s: rax %llx and %llx, rip %llx and %llx", name,
		 (unsigned long long)r[0].s->gpr[RAX], (unsigned long long)r[1].s->gpr[RAX],
		 (unsigned long long)r[0].s->rip, (unsigned long long)r[1].s->rip);
}

static void open_both(struct rig r[2])
{
	static const struct soft_config cfg[] = {{.interp = true}, {.cache_bytes = 0}};

	assert_int_equal(rig_open(&r[0], &cfg[0]), 0);
	assert_int_equal(rig_open(&r[1], &cfg[1]), 0);
}

static void bases(void **state)
{
	static const uint64_t values[] = {0,
					  0x7fffffff,
					  0xffffffff,
					  UINT64_C(0x7fffffffffff),
					  UINT64_C(0x800000000000),
					  UINT64_C(0xffff7fffffffffff),
					  UINT64_C(0xffff800000000000),
					  UINT64_C(0x8000000000000000),
					  UINT64_MAX};
	static const uint64_t cr4[] = {0, CR4_FSGSBASE | CR4_PKE, CR4_FSGSBASE, CR4_PKE};
	struct rig r[2];

	open_both(r);
	for (unsigned i = 0; i < ARRAY_SIZE(selectors_and_bases); i++)
		for (unsigned n = 0; n < ARRAY_SIZE(values) * ARRAY_SIZE(cr4) * 4; n++) {
			const struct snippet *s = &selectors_and_bases[i];
			const struct setting set = {
				.user = n & 1,
				.cr4 = cr4[n / 4 % ARRAY_SIZE(cr4)],
				.rax = values[n / 16],
				.rcx = n & 2 ? 0 : values[(n / 16 + 3) % ARRAY_SIZE(values)]};
			uint8_t prog[32] = {0x48, 0x39, 0xc8}; /* cmp rax, rcx */
			unsigned at = 3;

			memcpy(prog + at, s->bytes, s->len);
			at += s->len;
			/* adc rbx, 0; setl [rdi]; int3 */
			memcpy(prog + at, (uint8_t[]){0x48, 0x83, 0xd3, 0, 0x0f, 0x9c, 0x07, 0xcc},
			       8);
			compare(r, prog, at + 8, &set, s->name);
		}
	rig_close(&r[0]);
	rig_close(&r[1]);
}

/* Registers that hold something, saved, changed, and loaded from what another instruction saved */
static void states_of_fp(void **state)
{
	static const uint64_t masks[] = {0, 1, 2, 3, 4, 6, 7, 0xe7, UINT32_MAX};
	struct rig r[2];

	open_both(r);
	for (unsigned i = 0; i < ARRAY_SIZE(states); i++)
		for (unsigned j = 1; j < ARRAY_SIZE(states); j++)
			for (unsigned n = 0; n < ARRAY_SIZE(masks) * 2; n++) {
				const struct setting set = {
					.user = n & 1, .rax = masks[n / 2], .rcx = 1};
				uint8_t prog[80];
				unsigned at = 0;

#define PUT(...)                                                                        \
	(memcpy(prog + at, (uint8_t[]){__VA_ARGS__}, sizeof((uint8_t[]){__VA_ARGS__})), \
	 at += (unsigned)sizeof((uint8_t[]){__VA_ARGS__}))
				PUT(0x31, 0xd2);                   /* xor edx, edx */
				PUT(0xc5, 0xfe, 0x6f, 0x07);       /* vmovdqu ymm0, [rdi] */
				PUT(0xc5, 0xfe, 0x6f, 0x7f, 0x20); /* vmovdqu ymm7, [rdi + 32] */
				PUT(0x0f, 0x6f, 0x17);             /* movq mm2, [rdi] */
				PUT(0xf9);                         /* stc */
				memcpy(prog + at, states[i].bytes, states[i].len);
				at += states[i].len;
				PUT(0x83, 0xd3, 0x00);       /* adc ebx, 0 */
				PUT(0xc5, 0xfd, 0xfe, 0xc7); /* vpaddd ymm0, ymm0, ymm7 */
				PUT(0x0f, 0xfc, 0xd2);       /* paddb mm2, mm2 */
				memcpy(prog + at, states[j].bytes, states[j].len);
				at += states[j].len;
				PUT(0xc5, 0xfe, 0x7f, 0x47, 0x40); /* vmovdqu [rdi + 64], ymm0 */
				PUT(0xc5, 0xfe, 0x7f, 0x7f, 0x60); /* vmovdqu [rdi + 96], ymm7 */
				PUT(0xdd, 0xb7, 0x00, 0x01, 0x00, 0x00); /* fnsave [rdi + 256] */
				PUT(0xcc);                               /* int3 */
#undef PUT
				compare(r, prog, at, &set, states[j].name);
			}
	rig_close(&r[0]);
	rig_close(&r[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bases),
		cmocka_unit_test(states_of_fp),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
