/* SPDX-License-Identifier: ISC */
/* test_soft_dense.c: the longest code that there is fits into the room for a translation (BLOCK_ROOM, STUBS_ROOM): a
 * block full of each instruction whose code is long, and mixtures of them, in each kind of code, on hosts with
 * BMI2 and without. Prints the most that was seen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/soft/emit.h"
#include "tests/lib/soft_rig.h"

enum kind { KERNEL, USER, CODE32, USER32, CODE16, REAL, KINDS };
enum { MIXTURES = 60 };

static const char *const kinds[] = {"kernel", "user", "32", "user 32", "16", "real"};

struct sample {
	uint8_t len, bytes[15];
};

/* fs:[r10 + r11 * 8 + 12345678h] */
#define FAR_DISP 0x78, 0x56, 0x34, 0x12

static const struct sample long64[] = {
	{9, {0x64, 0x43, 0xff, 0xb4, 0xda, FAR_DISP}},              /* push m */
	{7, {0x41, 0xff, 0xb0 | 3, FAR_DISP}},                      /* push [r11 + d] */
	{6, {0xff, 0xb3, FAR_DISP}},                                /* push [rbx + d] */
	{7, {0xff, 0x34, 0x25, 0x00, 0x00, 0x20, 0x00}},            /* push [200000h] */
	{8, {0x64, 0xff, 0x34, 0x25, 0x00, 0x00, 0x20, 0x00}},      /* push fs:[200000h] */
	{6, {0xff, 0x35, FAR_DISP}},                                /* push [rip + d] */
	{11, {0xf0, 0x64, 0x4f, 0x0f, 0xc1, 0xbc, 0xda, FAR_DISP}}, /* lock xadd m, r15 */
	{9, {0x64, 0x4f, 0x87, 0xbc, 0xda, FAR_DISP}},              /* xchg m, r15 */
	{9, {0x64, 0x4f, 0x11, 0xbc, 0xda, FAR_DISP}},              /* adc m, r15 */
	{13, {0x64, 0x4b, 0x81, 0x94, 0xda, FAR_DISP, 1, 2, 3, 4}}, /* adc m, imm32 */
	{10, {0x64, 0x4f, 0x0f, 0xab, 0xbc, 0xda, FAR_DISP}},       /* bts m, r15 */
	{11, {0xf0, 0x64, 0x4f, 0x0f, 0xab, 0xbc, 0xda, FAR_DISP}}, /* lock bts m, r15 */
	{11, {0xf0, 0x64, 0x4b, 0x0f, 0xc7, 0x8c, 0xda, FAR_DISP}}, /* lock cmpxchg16b */
	{11, {0xf0, 0x64, 0x4f, 0x0f, 0xb1, 0xbc, 0xda, FAR_DISP}}, /* lock cmpxchg m, r15 */
	{8, {0x64, 0x86, 0xa4, 0xd8, FAR_DISP}},                    /* xchg m, ah */
	{10, {0x64, 0x4f, 0x0f, 0x44, 0xbc, 0xda, FAR_DISP}},       /* cmove r15, m */
	{3, {0xf3, 0x48, 0xa5}},                                    /* rep movsq */
	{3, {0x66, 0xf3, 0xa5}},                                    /* rep movsw */
	{3, {0xf3, 0x48, 0xab}},                                    /* rep stosq */
	{1, {0x9c}},                                                /* pushf */
	{1, {0xc9}},                                                /* leave */
	{2, {0x41, 0x57}},                                          /* push r15 */
	{2, {0x41, 0x5f}},                                          /* pop r15 */
	{1, {0x5b}},                                                /* pop rbx */
	{11,
	 {0x64, 0x62, 0x91, 0x7e, 0x49, 0x6f, 0x8c, 0xda, FAR_DISP}}, /* vmovdqu32 zmm1{k1}, m */
	{11,
	 {0x64, 0x62, 0x91, 0x7e, 0x49, 0x7f, 0x8c, 0xda, FAR_DISP}}, /* vmovdqu32 m{k1}, zmm1 */
	{13,
	 {0x64, 0x62, 0x93, 0x75, 0x48, 0x25, 0x8c, 0xda, FAR_DISP,
	  1}},                                                /* vpternlogd zmm1, zmm1, m, 1 */
	{5, {0xf3, 0x49, 0x0f, 0xae, 0xd2}},                  /* wrfsbase r10 */
	{3, {0x0f, 0x01, 0xf9}},                              /* rdtscp */
	{1, {0xfa}},                                          /* cli */
	{1, {0xfb}},                                          /* sti */
	{10, {0x48, 0x81, 0xc3, 4, 3, 2, 1, 0xff, 0x75, 8}},  /* add rbx, imm; push [rbp + 8] */
	{10, {0x48, 0x01, 0xcb, 0x48, 0x89, 0x83, FAR_DISP}}, /* add rbx, rcx; mov [rbx + d], rax */
	{10, {0x48, 0x01, 0xcb, 0x48, 0x89, 0x97, FAR_DISP}}, /* add rbx, rcx; mov [rdi + d], rdx */
	{7, {0x48, 0x8d, 0x05, FAR_DISP}},                    /* lea rax, [rip + d] */
	{3, {0x0f, 0x01, 0xca}},                              /* clac */
	{2, {0x66, 0xa5}},                                    /* movsw */
	{2, {0xd9, 0xf0}},                                    /* f2xm1 */
	{2, {0x8c, 0xd8}},                                    /* mov eax, ds */
	{9, {0x64, 0x43, 0x8c, 0x9c, 0xda, FAR_DISP}},        /* mov m, ds */
};

/* fs:[eax + ebx * 8 + 12345678h], some for 16-bit code */
static const struct sample long32[] = {
	{8, {0x64, 0xff, 0xb4, 0xd8, FAR_DISP}},       /* push m */
	{9, {0x66, 0x64, 0xff, 0xb4, 0xd8, FAR_DISP}}, /* push word m */
	{9, {0x67, 0x64, 0xff, 0xb4, 0xd8, FAR_DISP}}, /* the same in 16-bit code */
	{10, {0x66, 0x67, 0x64, 0xff, 0xb4, 0xd8, FAR_DISP}},
	{6, {0xff, 0x35, FAR_DISP}},                          /* push [d] */
	{5, {0x64, 0xff, 0xb0, 0x34, 0x12}},                  /* push fs:[bx + si + d] */
	{10, {0xf0, 0x64, 0x0f, 0xc1, 0xbc, 0xd8, FAR_DISP}}, /* lock xadd m, edi */
	{11, {0xf0, 0x67, 0x64, 0x0f, 0xc1, 0xbc, 0xd8, FAR_DISP}},
	{8, {0x64, 0x87, 0xbc, 0xd8, FAR_DISP}}, /* xchg m, edi */
	{9, {0x67, 0x64, 0x87, 0xbc, 0xd8, FAR_DISP}},
	{8, {0x64, 0x11, 0xbc, 0xd8, FAR_DISP}}, /* adc m, edi */
	{8, {0x64, 0x86, 0xa4, 0xd8, FAR_DISP}}, /* xchg m, ah */
	{9, {0x67, 0x64, 0x86, 0xa4, 0xd8, FAR_DISP}},
	{1, {0x57}},             /* push edi */
	{1, {0x5f}},             /* pop edi */
	{1, {0x9c}},             /* pushf */
	{1, {0xc9}},             /* leave */
	{2, {0xf3, 0xa5}},       /* rep movsd */
	{3, {0xc5, 0xfc, 0x77}}, /* vzeroall */
	{3, {0xc5, 0xf8, 0x77}}, /* vzeroupper */
	{10, {0x64, 0x62, 0xf1, 0x7e, 0x49, 0x6f, 0x8c, 0xd8, FAR_DISP}},
};

#define HOT  .hot = SOFT_HOT_ALWAYS, .lines = SOFT_LINES_ALWAYS
#define COLD .hot = SOFT_HOT_NEVER, .lines = SOFT_LINES_ALWAYS

static const struct soft_config configs[] = {
	{HOT, .no_ahead = true},
	{HOT, .live_flags = true},
	{HOT, .live_flags = true, .no_memos = true},
	{COLD, .no_ahead = true},
	{COLD, .live_flags = true},
	{COLD, .live_flags = true, .no_bmi2 = true},
	{HOT, .no_ahead = true, .no_bmi2 = true},
};

static uint32_t seed = 1;

static uint32_t rnd(uint32_t n)
{
	seed = seed * 1664525 + 1013904223;
	return (uint32_t)((uint64_t)(seed >> 8) * n >> 24);
}

static void set_kind(struct rig *r, enum kind k)
{
	static const uint16_t cs[KINDS] = {0xa09b, 0xa0fb, 0xc09b, 0xc0fb, 0x009b, 0x009b};
	struct x86_state *s = r->s;

	rig_reset(r, k == USER || k == USER32);
	s->cr4 |= CR4_FSGSBASE;
	s->seg[CS].attr = cs[k];
	s->seg[FS].base = 0x12340;
	if (k >= CODE32) /* not flat */
		s->seg[SS].base = s->seg[DS].base = s->seg[ES].base = 0x20;
	if (k == CODE16) {
		s->seg[SS].attr = 0x0093;
		s->seg[CS].base = RIG_CODE;
		s->rip = 0;
	}
	if (k == REAL) {
		s->cr0 &= ~(uint64_t)(CR0_PE | CR0_PG);
		s->efer = 0;
		for (unsigned i = 0; i < 6; i++) {
			s->seg[i].attr = i == CS ? 0x9b : 0x93;
			s->seg[i].limit = 0xffff;
		}
		s->seg[CS].sel = 0x8000;
		s->seg[CS].base = 0x80000;
		s->rip = 0;
	}
	r->vm->engine->set_state(r->vcpu);
}

/* The most that a translation took */
struct most {
	uint32_t code, stubs, n_stubs;
};

static void translate(struct rig *r, enum kind k, bool plain, const uint8_t *code, size_t len,
		      struct most *most)
{
	struct soft_vm *sv = r->vm->engine_data;
	struct soft_vcpu *v = r->vcpu->engine_data;
	const struct soft_part *p = soft_cur(sv->cache);
	gpa_t at = k == REAL ? 0x80000 : RIG_CODE;
	struct soft_block *b = NULL;
	bool global;

	soft_cache_forget(sv);
	set_kind(r, k);
	memset(r->ram + at, 0xf4, PAGE_SIZE);
	rig_code(r, at, code, len);
	soft_come_in(v);
	soft_refresh_mode(v);
	v->vbase = soft_linear(v) & ~PAGE_MASK;
	for (unsigned i = 0; i < 3 && !b; i++) { /* the page is news at first */
		b = soft_find_block(v, v->mode | (plain ? MODE_PLAIN : 0), &global);
		soft_code_news(v);
	}
	atomic_store(&v->in_code, false);
	assert_non_null(b);
	most->code = MAX(most->code, p->used - p->start);
	most->stubs = MAX(most->stubs, p->cold_used - p->cold);
	most->n_stubs = MAX(most->n_stubs, sv->cache->tr->n_stubs);
}

/* Nothing but all[n], or, n too large, a mixture of all or of two */
static size_t fill(uint8_t *code, const struct sample *all, unsigned count, unsigned n)
{
	unsigned of[2] = {rnd(count), rnd(count)};
	bool two = rnd(4);
	size_t len = 0;

	for (unsigned i = 0; i < BLOCK_INSNS; i++) {
		const struct sample *s = &all[n < count ? n : two ? of[rnd(2)] : rnd(count)];

		memcpy(code + len, s->bytes, s->len);
		len += s->len;
	}
	return len;
}

static void longest(void **state)
{
	uint8_t code[BLOCK_INSNS * 15];

	for (unsigned n = 0; n < ARRAY_SIZE(configs); n++) {
		struct rig r;

		assert_int_equal(rig_open(&r, &configs[n]), 0);
		for (enum kind k = 0; k < KINDS; k++) {
			const struct sample *all = k < CODE32 ? long64 : long32;
			unsigned count = k < CODE32 ? ARRAY_SIZE(long64) : ARRAY_SIZE(long32);
			struct most most = {0, 0, 0};

			for (unsigned i = 0; i < count + MIXTURES; i++) {
				size_t len = fill(code, all, count, i);

				translate(&r, k, false, code, len, &most);
				translate(&r, k, true, code, len, &most);
			}
			print_message("%u %s: %u bytes, stubs %u bytes, %u stubs\n", n, kinds[k],
				      most.code, most.stubs, most.n_stubs);
			assert_true(most.code <= BLOCK_ROOM);
			assert_true(most.stubs <= STUBS_ROOM);
			assert_true(most.code > 8192); /* they are long */
		}
		rig_close(&r);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {cmocka_unit_test(longest)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
