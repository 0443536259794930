/* SPDX-License-Identifier: ISC */
/* test_xsave.c: the processor models' CPUID, and XSAVE areas byte by byte.
 *
 * XSAVE, XSAVEOPT, XSAVEC and XRSTOR, with random registers, components and areas, are run by the
 * interpreter and by the processor underneath, which has the same layout. XSAVES and XRSTORS, which a
 * program may not execute, must do what XSAVEC and XRSTOR do. */
#include <cpuid.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/cpu_rig.h"
#include "x86/interp.h"

#define CODE   0x20000u
#define DATA   0x30000u
#define ROUNDS 400
#define MASKS  (XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512)

struct area {
	uint8_t b[X86_XSAVE_SIZE];
} attr_aligned(64);

static struct rig *r;
static struct x86_state *s;
static uint64_t rng;

static uint64_t rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng * UINT64_C(0x2545f4914f6cdd1d);
}

static int setup(void **state)
{
	rng = 1;
	r = rig_new();
	s = &r->cpu.s;
	rig_long(r, 0);
	s->gpr[RSP] = 0x40000;
	return 0;
}

static int teardown(void **state)
{
	rig_free(r);
	return 0;
}

static void put64(uint8_t *p, uint64_t v)
{
	memcpy(p, &v, sizeof(v));
}

static uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* ---- models ---- */

static bool host_has(uint32_t leaf, unsigned reg, unsigned bit)
{
	uint32_t v[4] = {0};

	return __get_cpuid_count(leaf, 0, &v[0], &v[1], &v[2], &v[3]) && v[reg] >> bit & 1;
}

static uint64_t host_xcr0(void)
{
	uint32_t lo, hi;

	if (!host_has(1, 2, 27))
		return 0;
	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return (uint64_t)hi << 32 | lo;
}

static bool host_has_avx512(void)
{
	static const uint8_t bits[] = {16, 17, 28, 30, 31}; /* F DQ CD BW VL */

	for (unsigned i = 0; i < ARRAY_SIZE(bits); i++)
		if (!host_has(7, 1, bits[i]))
			return false;
	return (host_xcr0() & 0xe6) == 0xe6;
}

/* x86-64-v4 is there where the host has all of it, and refused elsewhere; each level has what the one
 * below it has. */
static void test_levels(void **state)
{
	static const char *const names[] = {"x86-64-v1", "x86-64-v2", "x86-64-v3", "x86-64-v4"};
	const struct x86_model *m[ARRAY_SIZE(names)], *host = x86_model_default();

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		m[i] = x86_model_find(names[i]);
		assert_non_null(m[i]);
		for (enum x86_feature f = 1; i && f < X_FEAT_COUNT; f++)
			assert_true(!model_has(m[i - 1], f) || model_has(m[i], f));
		if (x86_model_usable(m[i]))
			for (enum x86_feature f = 1; f < X_FEAT_COUNT; f++)
				assert_true(!model_has(m[i], f) || model_has(host, f));
	}
	assert_true(x86_model_usable(m[0]));
	assert_true(x86_model_usable(host));
	assert_true(x86_model_usable(x86_model_default()));
	assert_int_equal(x86_model_usable(m[3]), host_has_avx512());
	assert_int_equal(model_has(m[3], X_FEAT_AVX512F), host_has_avx512());
	assert_int_equal(model_has(host, X_FEAT_AVX512VL), host_has_avx512());
	assert_false(model_has(m[2], X_FEAT_AVX512F));
	assert_false(model_has(x86_model_find("host-avx2"), X_FEAT_AVX512F));
	assert_false(model_has(x86_model_find("host-avx2"), X_FEAT_AVX512IFMA));
	assert_ptr_equal(host, x86_model_find("host"));
	assert_false(model_has(m[3], X_FEAT_AVX512VNNI));
}

/* What a model says, by its own words: 7: five bits; 0DH: components, offsets, sizes */
static void check_leaves(const struct x86_model *m)
{
	const uint32_t avx512 = BIT(16) | BIT(17) | BIT(28) | BIT(30) | BIT(31);
	uint32_t v[4], standard = 576, compact = 576;
	uint64_t xcr0;

	r->cpu.model = m;
	cpu_init(&r->cpu);
	x86_cpuid(&r->cpu, 7, 0, v);
	assert_int_equal(v[1] & avx512, model_has(m, X_FEAT_AVX512F) ? avx512 : 0);
	x86_cpuid(&r->cpu, 0xd, 0, v);
	xcr0 = model_xcr0(m);
	if (!model_has(m, X_FEAT_XSAVE)) {
		assert_int_equal(v[0] | v[1] | v[2] | v[3], 0);
		return;
	}
	assert_int_equal(v[0], xcr0);
	assert_int_equal(!!(xcr0 & XCR0_AVX), model_has(m, X_FEAT_AVX));
	assert_int_equal(xcr0 & XCR0_AVX512, model_has(m, X_FEAT_AVX512F) ? XCR0_AVX512 : 0);
	for (unsigned i = 2; i < 63; i++) {
		uint32_t h[4];

		x86_cpuid(&r->cpu, 0xd, i, v);
		assert_int_equal(v[2] | v[3], 0);
		if (!(xcr0 >> i & 1)) {
			assert_int_equal(v[0] | v[1], 0);
			continue;
		}
		if (host_xcr0() >> i & 1) {
			assert_true(__get_cpuid_count(0xd, i, &h[0], &h[1], &h[2], &h[3]));
			assert_int_equal(v[0], h[0]);
			assert_int_equal(v[1], h[1]);
		}
		standard = MAX(standard, v[0] + v[1]);
		compact += v[0];
	}
	s->xcr0 = xcr0;
	x86_cpuid(&r->cpu, 0xd, 0, v);
	assert_int_equal(v[1], standard);
	assert_int_equal(v[2], standard);
	x86_cpuid(&r->cpu, 0xd, 1, v);
	assert_int_equal(v[0], 0xf);
	assert_int_equal(v[1], compact);
	assert_int_equal(v[2] | v[3], 0);
	s->xcr0 = 3;
	x86_cpuid(&r->cpu, 0xd, 0, v);
	assert_int_equal(v[1], 576);
	assert_int_equal(v[2], standard);
	x86_cpuid(&r->cpu, 0xd, 1, v);
	assert_int_equal(v[1], 576);
}

static void test_leaves(void **state)
{
	for (unsigned i = 0; x86_model_at(i); i++)
		check_leaves(x86_model_at(i));
}

/* XCR0: opmasks and both parts of ZMM only together, and with AVX */
static void test_xcr0(void **state)
{
	static const struct {
		uint16_t xcr0;
		bool good;
	} list[] = {{0xe7, true},  {0x07, true},  {0x03, true},  {0x01, true},  {0xe3, false},
		    {0x27, false}, {0x67, false}, {0xc7, false}, {0xe6, false}, {0xe5, false}};

	if (!cpu_has(&r->cpu, X_FEAT_AVX512F)) {
		print_message("no AVX-512 here: not tried\n");
		return;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(list); i++) {
		rig_long(r, 0);
		s->gpr[RSP] = 0x40000;
		s->gpr[RCX] = s->gpr[RDX] = 0;
		s->gpr[RAX] = list[i].xcr0;
		memcpy(r->ram + CODE, "\x0f\x01\xd1", 3); /* xsetbv */
		s->rip = CODE;
		cpu_step(&r->cpu);
		assert_int_equal(rig_vector(r), list[i].good ? -1 : VEC_GP);
		assert_int_equal(s->xcr0, list[i].good ? list[i].xcr0 : x86_xcr0_mask(&r->cpu));
	}
}

/* ---- areas ---- */

/* Native: our own registers are put aside meanwhile. */
#define NATIVE(name, op)                                                                           \
	static attr_noinline void name(const struct area *regs, struct area *a,                    \
				       struct area *after, uint64_t mask)                          \
	{                                                                                          \
		static struct area own, none;                                                      \
		uint32_t eax = all_parts;                                                          \
                                                                                                   \
		memset(&own, 0, sizeof(own));                                                      \
		__asm__ volatile("xsave64 %[own]\n"                                                \
				 "xrstor64 %[none]\n"                                              \
				 "xrstor64 %[regs]\n"                                              \
				 "mov %[mask], %%eax\n" op " %[a]\n"                               \
				 "mov %[all], %%eax\n"                                             \
				 "xsave64 %[after]\n"                                              \
				 "xrstor64 %[own]\n"                                               \
				 : [own] "+m"(own), [a] "+m"(*a), [after] "+m"(*after), "+&a"(eax) \
				 : [none] "m"(none), [regs] "m"(*regs),                            \
				   [mask] "r"((uint32_t)mask), [all] "r"(all_parts), "d"(0)        \
				 : "memory");                                                      \
	}

static uint32_t all_parts;

NATIVE(native_xsave64, "xsave64")
NATIVE(native_xsave, "xsave")
NATIVE(native_xsaveopt64, "xsaveopt64")
NATIVE(native_xsavec64, "xsavec64")
NATIVE(native_xrstor64, "xrstor64")
NATIVE(native_xrstor, "xrstor")

static const struct op {
	const char *name;
	uint8_t bytes[4]; /* with [rdi] */
	uint8_t len;
	bool restores;
	enum x86_feature feature;
	void (*native)(const struct area *regs, struct area *a, struct area *after, uint64_t mask);
} ops[] = {
	{"xsave64", {0x48, 0x0f, 0xae, 0x27}, 4, false, X_FEAT_XSAVE, native_xsave64},
	{"xsave", {0x0f, 0xae, 0x27}, 3, false, X_FEAT_XSAVE, native_xsave},
	{"xsaveopt64", {0x48, 0x0f, 0xae, 0x37}, 4, false, X_FEAT_XSAVEOPT, native_xsaveopt64},
	{"xsavec64", {0x48, 0x0f, 0xc7, 0x27}, 4, false, X_FEAT_XSAVEC, native_xsavec64},
	{"xrstor64", {0x48, 0x0f, 0xae, 0x2f}, 4, true, X_FEAT_XSAVE, native_xrstor64},
	{"xrstor", {0x0f, 0xae, 0x2f}, 3, true, X_FEAT_XSAVE, native_xrstor},
};

static bool host_executes(const struct op *op)
{
	uint32_t v[4] = {0};

	__get_cpuid_count(0xd, 1, &v[0], &v[1], &v[2], &v[3]);
	return op->feature == X_FEAT_XSAVEOPT ? v[0] & 1
	       : op->feature == X_FEAT_XSAVEC ? v[0] & 2
					      : true;
}

/* Of x87 and SSE: whether the initial state is known as such is a processor's own affair but for Intel's.
 * Intel's keep pointers of x87 at all times, AMD's only with an exception pending. */
static void random_area(struct area *a, uint64_t parts, bool compact)
{
	uint64_t bv = rnd() & parts, at = XS_AVX;
	uint32_t mxcsr = rnd() & MXCSR_MASK;

	if (!(rnd() & 3))
		bv = parts;
	if (r->cpu.i.amd)
		bv |= parts & 3;
	memset(a, 0, sizeof(*a));
	put64(a->b, (rnd() & 0xf00) | 0x7f | (rnd() & 0x7f7f) << 16 | (rnd() & 0xff) << 32);
	if (!r->cpu.i.amd) {
		put64(a->b + 6, (rnd() & 0x7ff) | rnd() << 16);
		put64(a->b + FX_FIP, rnd() >> 17);
		put64(a->b + FX_FDP, rnd() >> 17);
	}
	if (!(rnd() & 3))
		mxcsr = 0x1f80;
	memcpy(a->b + FX_MXCSR, &mxcsr, 4);
	for (unsigned i = 0; i < 8; i++) {
		put64(a->b + FX_ST + i * 16, rnd());
		put64(a->b + FX_ST + i * 16 + 8, rnd() & 0xffff);
	}
	for (unsigned i = 0; i < 32; i++)
		put64(a->b + FX_XMM + i * 8, rnd());
	for (unsigned n = 0; n < XS_PART_PKRU; n++) {
		if (!(parts & xs_parts[n].bit))
			continue;
		for (unsigned i = 0; i < xs_parts[n].size; i += 8)
			put64(a->b + (compact ? at : r->cpu.i.xs_at[n]) + i, rnd());
		at += xs_parts[n].size;
	}
	put64(a->b + XS_BV, bv);
	put64(a->b + XS_COMP, compact ? parts | BIT64(63) : 0);
}

/* One instruction at CODE, with its area at DATA */
static void interp_op(const uint8_t *bytes, unsigned len, const struct area *a, uint64_t mask)
{
	memcpy(r->ram + CODE, bytes, len);
	memcpy(r->ram + DATA, a, sizeof(*a));
	s->rip = CODE;
	s->gpr[RDI] = DATA;
	s->gpr[RAX] = (uint32_t)mask;
	s->gpr[RDX] = mask >> 32;
	cpu_step(&r->cpu);
}

static void interp_load(const struct area *regs)
{
	memcpy(s->xsave.bytes, regs, sizeof(*regs));
	if (!(get64(regs->b + XS_BV) & XCR0_X87))
		put64(s->xsave.bytes, 0x37f);
}

/* MXCSR_MASK.MM is of MISALIGNSSE, which no model has. */
static void without_mm(struct area *a)
{
	static const uint8_t with[] = {0xff, 0xff, 2, 0};

	if (!memcmp(a->b + FX_MASK, with, sizeof(with)))
		a->b[FX_MASK + 2] = 0;
}

static void same(const struct op *op, unsigned round, const char *what, const struct area *host,
		 const uint8_t *guest, uint64_t mask)
{
	for (unsigned i = 0; i < sizeof(*host); i++)
		if (host->b[i] != guest[i])
			fail_msg("%s, round %u, mask %llx: %s, byte %u: host %02x, guest %02x",
				 op->name, round, (unsigned long long)mask, what, i, host->b[i],
				 guest[i]);
}

/* What the processor does, twice alike: the kernel saves and restores a thread's registers, too, and which of them are in their
 * initial state is then told otherwise. */
static void ask_host(const struct op *op, const struct area *regs, struct area *a,
		     struct area *after, uint64_t mask)
{
	const struct area before = *a;
	struct area last, last_after = {0};
	unsigned tries = 0;

	op->native(regs, a, after, mask);
	do {
		last = *a;
		last_after = *after;
		*a = before;
		op->native(regs, a, after, mask);
	} while ((memcmp(&last, a, sizeof(last)) ||
		  memcmp(&last_after, after, sizeof(last_after))) &&
		 ++tries < 100);
	without_mm(a);
	without_mm(after);
}

/* The mask: any components, and now and then bits that XCR0 has not. A 64-bit PKRU would be the host's. */
static void try_op(const struct op *op, unsigned round)
{
	uint64_t mask = rnd() & all_parts;
	struct area regs, a, got = {0}, after = {0};
	static const uint8_t xsave64[] = {0x48, 0x0f, 0xae, 0x27};

	random_area(&regs, all_parts, false);
	if (op->restores) {
		bool compact = rnd() & 1 && cpu_has(&r->cpu, X_FEAT_XSAVEC);

		random_area(&a, compact ? (rnd() & all_parts) | 3 : all_parts, compact);
		if (op->bytes[0] != 0x48) { /* FCS and FDS are no more, or no one's */
			memset(a.b + FX_FIP + 4, 0, 4);
			memset(a.b + FX_FDP + 4, 0, 4);
		}
	} else {
		for (unsigned i = 0; i < sizeof(a); i++)
			a.b[i] = (uint8_t)rnd();
		if (op->bytes[0] != 0x48) {
			memset(regs.b + FX_FIP + 4, 0, 4);
			memset(regs.b + FX_FDP + 4, 0, 4);
		}
	}
	interp_load(&regs);
	interp_op(op->bytes, op->len, &a, mask);
	assert_int_equal(rig_vector(r), -1);
	memcpy(got.b, r->ram + DATA, sizeof(got));
	ask_host(op, &regs, &a, &after, mask);
	same(op, round, "the area", &a, got.b, mask);
	memset(&a, 0, sizeof(a));
	interp_op(xsave64, sizeof(xsave64), &a, all_parts);
	same(op, round, "registers", &after, r->ram + DATA, mask);
}

static void test_areas(void **state)
{
	if (!(host_xcr0() & 3) || !cpu_has(&r->cpu, X_FEAT_XSAVE)) {
		print_message("no XSAVE on this host: not tried\n");
		return;
	}
	all_parts = (uint32_t)(x86_xcr0_mask(&r->cpu) & MASKS);
	for (unsigned i = 0; i < ARRAY_SIZE(ops); i++) {
		if (!host_executes(&ops[i])) {
			print_message("no %s on this host: not tried\n", ops[i].name);
			continue;
		}
		for (unsigned k = 0; k < ROUNDS; k++)
			try_op(&ops[i], k);
	}
}

/* ---- XSAVES and XRSTORS ---- */

static const uint8_t xsavec64[] = {0x48, 0x0f, 0xc7, 0x27}, xsaves64[] = {0x48, 0x0f, 0xc7, 0x2f},
		     xrstor64[] = {0x48, 0x0f, 0xae, 0x2f}, xrstors64[] = {0x48, 0x0f, 0xc7, 0x1f};

static void test_supervisor(void **state)
{
	struct area regs, a, want;
	uint64_t mask, v;

	if (!cpu_has(&r->cpu, X_FEAT_XSAVES)) {
		print_message("no XSAVE on this host: not tried\n");
		return;
	}
	all_parts = (uint32_t)(x86_xcr0_mask(&r->cpu) & MASKS);
	for (unsigned i = 0; i < ROUNDS; i++) {
		random_area(&regs, all_parts, false);
		for (unsigned k = 0; k < sizeof(a); k++)
			a.b[k] = (uint8_t)rnd();
		mask = rnd() & all_parts;
		interp_load(&regs);
		interp_op(xsavec64, 4, &a, mask);
		memcpy(want.b, r->ram + DATA, sizeof(want));
		interp_load(&regs);
		interp_op(xsaves64, 4, &a, mask);
		assert_memory_equal(r->ram + DATA, want.b, sizeof(want));

		random_area(&a, (rnd() & all_parts) | 3, true);
		interp_load(&regs);
		interp_op(xrstor64, 4, &a, mask);
		memcpy(want.b, s->xsave.bytes, sizeof(want));
		interp_load(&regs);
		interp_op(xrstors64, 4, &a, mask);
		assert_int_equal(rig_vector(r), -1);
		assert_memory_equal(s->xsave.bytes, want.b, sizeof(want));
	}
	/* the standard form */
	random_area(&a, all_parts, false);
	interp_op(xrstors64, 4, &a, all_parts);
	assert_int_equal(rig_vector(r), VEC_GP);
	/* IA32_XSS: no component is for the supervisor */
	assert_int_equal(cpu_msr_write(&r->cpu, 0xda0, 0), 0);
	assert_int_equal(cpu_msr_write(&r->cpu, 0xda0, BIT64(8)), CPU_FAULT);
	assert_int_equal(cpu_msr_read(&r->cpu, 0xda0, &v), 0);
	assert_int_equal(v, 0);
	/* ring 3 */
	rig_long(r, 3);
	interp_op(xsaves64, 4, &a, all_parts);
	assert_int_equal(rig_vector(r), VEC_GP);
	rig_long(r, 3);
	random_area(&a, all_parts, true);
	interp_op(xrstors64, 4, &a, all_parts);
	assert_int_equal(rig_vector(r), VEC_GP);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_levels), T(test_leaves), T(test_xcr0), T(test_areas), T(test_supervisor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
