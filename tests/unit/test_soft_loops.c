/* SPDX-License-Identifier: ISC */
/* test_soft_loops.c: loops whose accesses are checked before many rounds do what the interpreter does, whatever
 * their addresses are made of, wherever they go, and leave soon when they are asked to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <time.h>

#include "tests/lib/soft_rig.h"

enum { PAGES = 40, FRAMES = 48, FRAME0 = 0x500000, PROGRAMS = 3000 };

static uint64_t seed = 7;
/* The program may have an access that faults by its address alone: whether that uses the page (A, D), is not told. */
static bool may_be_odd;

static uint32_t rnd(uint32_t n)
{
	seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (uint32_t)(seed >> 33) % n;
}

/* ---- random loops ---------------------------------------------------------------------------- */

/* Memory operands: REX bits, ModRM without reg, SIB or none, displacement's kind */
static const struct {
	uint8_t rex, modrm, sib;
	enum { DISP8, ABS32, RIP32 } disp;
} forms[] = {
	{0, 0x47, 0, DISP8},    /* [rdi + 8] */
	{0, 0x46, 0, DISP8},    /* [rsi + 8] */
	{0, 0x43, 0, DISP8},    /* [rbx + 8] */
	{1, 0x41, 0, DISP8},    /* [r9 + 8]: a copy */
	{1, 0x44, 0xd0, DISP8}, /* [r8 + rdx * 8 + 8] */
	{2, 0x44, 0x2f, DISP8}, /* [rdi + r13 + 8] */
	{2, 0x44, 0xaf, DISP8}, /* [rdi + r13 * 4 + 8] */
	{3, 0x44, 0xe8, DISP8}, /* [r8 + r13 * 8 + 8]: all constant */
	{0, 0x44, 0x53, DISP8}, /* [rbx + rdx * 2 + 8] */
	{0, 0x44, 0x24, DISP8}, /* [rsp + 8] */
	{0, 0x44, 0x94, DISP8}, /* [rsp + rdx * 4 + 8] */
	{0, 0x04, 0x95, ABS32}, /* [RIG_DATA + rdx * 4] */
	{0, 0x04, 0x15, ABS32}, /* [RIG_DATA + rdx] */
	{2, 0x04, 0x2d, ABS32}, /* [RIG_DATA + r13] */
	{0, 0x04, 0x25, ABS32}, /* [RIG_DATA] */
	{0, 0x05, 0, RIP32},
};

/* What is done with them */
static const struct {
	uint8_t prefix, rex, n, opcode[2], reg, imm;
} ops[] = {
	{0, 8, 1, {0x8b}, 0, 0},          /* mov rax, m */
	{0, 8, 1, {0x03}, 5, 0},          /* add rbp, m */
	{0, 8, 1, {0x01}, 0, 0},          /* add m, rax */
	{0, 8, 1, {0x31}, 5, 0},          /* xor m, rbp */
	{0, 8, 1, {0x89}, 0, 0},          /* mov m, rax */
	{0, 0, 1, {0x88}, 0, 0},          /* mov m, al */
	{0, 0, 2, {0x0f, 0xb6}, 0, 0},    /* movzx eax, byte m */
	{0, 8, 2, {0x0f, 0xbf}, 5, 0},    /* movsx rbp, word m */
	{0x66, 0, 1, {0x89}, 5, 0},       /* mov m, bp */
	{0, 0, 1, {0x80}, 0, 1},          /* add byte m, 8-bit */
	{0, 8, 1, {0x83}, 6, 1},          /* xor qword m, 8-bit */
	{0, 0, 2, {0x0f, 0x10}, 0, 0},    /* movups xmm0, m */
	{0, 0, 2, {0x0f, 0x11}, 0, 0},    /* movups m, xmm0 */
	{0x66, 0, 2, {0x0f, 0xfe}, 0, 0}, /* ODD: paddd xmm0, m: at a multiple of 16 */
	{0xf2, 0, 2, {0x0f, 0x10}, 1, 0}, /* movsd xmm1, m */
	{0, 8, 2, {0x0f, 0x90}, 0, 0},    /* seto m */
};

enum { ODD = 13 };

/* The rest: registers move, by nothing, a constant, or something else */
static const struct {
	uint8_t n, bytes[7];
	bool imm8;
} moves[] = {
	{3, {0x48, 0x83, 0xc7}, true},              /* add rdi, 8-bit */
	{3, {0x48, 0x83, 0xee}, true},              /* sub rsi, 8-bit */
	{3, {0x48, 0x8d, 0x5b}, true},              /* lea rbx, [rbx + 8-bit] */
	{3, {0x48, 0xff, 0xc2}, false},             /* inc rdx */
	{3, {0x48, 0xff, 0xca}, false},             /* dec rdx */
	{3, {0x49, 0x89, 0xf9}, false},             /* mov r9, rdi */
	{3, {0x48, 0x01, 0xc5}, false},             /* add rbp, rax */
	{3, {0x48, 0x11, 0xe8}, false},             /* adc rax, rbp */
	{5, {0x48, 0x81, 0xc3, 0x40, 0x01}, false}, /* add rbx, 140h (two bytes follow) */
	{2, {0x01, 0xca}, false},                   /* add edx, ecx */
	{7, {0x66, 0x8d, 0x05, 8, 0, 0, 0}, false}, /* lea ax, [rip + 8]: the interpreter's */
	{3, {0x0f, 0xaf, 0xc5}, false},             /* imul eax, ebp */
};

static uint8_t *put_access(uint8_t *p)
{
	unsigned f = rnd(ARRAY_SIZE(forms)), o = rnd(ARRAY_SIZE(ops));
	uint8_t rex = forms[f].rex | ops[o].rex;
	int32_t disp = (int32_t)(forms[f].disp == ABS32 ? RIG_DATA + rnd(3 * PAGE_SIZE)
							: 0x100000u + rnd(2 * PAGE_SIZE));

	may_be_odd |= o == ODD;
	if (ops[o].prefix)
		*p++ = ops[o].prefix;
	if (rex)
		*p++ = 0x40 | rex;
	for (unsigned i = 0; i < ops[o].n; i++)
		*p++ = ops[o].opcode[i];
	*p++ = forms[f].modrm | (uint8_t)(ops[o].reg << 3);
	if (forms[f].sib)
		*p++ = forms[f].sib;
	if (forms[f].disp == DISP8) {
		*p++ = (uint8_t)(rnd(4) ? rnd(8) * 8 : rnd(256));
	} else {
		memcpy(p, &disp, 4);
		p += 4;
	}
	if (ops[o].imm)
		*p++ = (uint8_t)rnd(256);
	return p;
}

static uint8_t *put_move(uint8_t *p)
{
	static const int8_t steps[] = {8, 8, 1, 2, 4, 16, 24, 3, 0, -8, -4, 120, -7};
	unsigned m = rnd(ARRAY_SIZE(moves));

	if (m >= 8 && rnd(4)) /* those that are no loop's, less often */
		m = rnd(8);
	memcpy(p, moves[m].bytes, moves[m].n);
	p += moves[m].n;
	if (moves[m].imm8)
		*p++ = (uint8_t)steps[rnd(ARRAY_SIZE(steps))];
	if (moves[m].n == 5) {
		*p++ = 0;
		*p++ = 0;
	}
	return p;
}

/* Accesses and moves, now and then a way out; dec ecx; jnz; hlt. Gives the length. */
static unsigned make_loop(uint8_t *prog)
{
	uint8_t *p = prog, *out[4];
	unsigned outs = 0;

	may_be_odd = false;
	for (unsigned n = 2 + rnd(9); n; n--) {
		if (rnd(16) == 0 && outs < ARRAY_SIZE(out)) {
			*p++ = 0x3c; /* cmp al, 8-bit; je out */
			*p++ = (uint8_t)rnd(256);
			*p++ = 0x74;
			out[outs++] = p++;
		} else if (rnd(5) < 3) {
			p = put_access(p);
		} else {
			p = put_move(p);
		}
	}
	*p++ = 0xff;
	*p++ = 0xc9;
	*p++ = 0x0f;
	*p++ = 0x85;
	memcpy(p, &(int32_t){(int32_t)(prog - (p + 4))}, 4);
	p += 4;
	while (outs--)
		*out[outs] = (uint8_t)(p - (out[outs] + 1));
	*p++ = 0xf4;
	return (unsigned)(p - prog);
}

/* ---- two machines ---------------------------------------------------------------------------- */

struct start {
	uint64_t gpr[16], pte[PAGES];
	gva_t at;
	bool user;
};

/* Somewhere in the pages, mostly near an end of one */
static uint64_t somewhere(void)
{
	uint64_t page = RIG_DATA + (2 + rnd(PAGES - 6)) * PAGE_SIZE;

	return page + (rnd(3) ? rnd(512) * 8 : PAGE_SIZE - rnd(64));
}

static void choose(struct start *s, unsigned n)
{
	bool in_order = rnd(2);

	memset(s->gpr, 0, sizeof(s->gpr));
	s->at = RIG_CODE + (n & 0xfff) * 256; /* nothing known of it */
	s->user = rnd(2);
	for (unsigned i = 0; i < PAGES; i++)
		s->pte[i] = (FRAME0 + (in_order ? i : rnd(FRAMES)) * PAGE_SIZE) | 0x67;
	if (rnd(2)) /* may not be written, or is not there */
		s->pte[rnd(PAGES)] &= ~(uint64_t)(1 + rnd(2));
	for (unsigned i = 0; !may_be_odd && i < PAGES; i++)
		if (!rnd(4)) /* has not been used, or not been written, yet */
			s->pte[i] &= ~UINT64_C(0x40) & ~(uint64_t)(rnd(2) << 5);
	s->gpr[RDI] = somewhere();
	s->gpr[RSI] = somewhere();
	s->gpr[RBX] = somewhere();
	s->gpr[R8] = somewhere();
	s->gpr[R9] = somewhere();
	s->gpr[RSP] = rnd(2) ? s->gpr[RDI] + 64 : somewhere();
	s->gpr[RDX] = rnd(200);
	s->gpr[R13] = rnd(4) ? rnd(64) * 8 : -(uint64_t)rnd(100);
	s->gpr[RAX] = rnd(UINT32_MAX);
	s->gpr[RBP] = rnd(256);
	s->gpr[RCX] = 1 + rnd(rnd(4) ? 400 : 5000);
}

static void start(struct rig *r, const struct start *s, const uint8_t *prog, unsigned len)
{
	rig_tables(r);
	for (unsigned i = 0; i < PAGES; i++)
		*rig_pte(r, RIG_DATA + i * PAGE_SIZE) = s->pte[i];
	for (unsigned i = 0; i < FRAMES * PAGE_SIZE; i++)
		r->ram[FRAME0 + i] = (uint8_t)(i * 7 + i / 4096);
	memcpy(r->ram + s->at, prog, len);
	r->vm->engine->memory_changed(r->vm, s->at, len);
	rig_reset(r, s->user);
	memcpy(r->s->gpr, s->gpr, sizeof(s->gpr));
	r->s->rip = s->at;
	assert_int_equal(rig_run(r), EXIT_HLT);
	memset(r->ram + RIG_IST - 24, 0, 2); /* a fault's flags: dead */
}

static void same(const struct rig *a, const struct rig *b)
{
	assert_int_equal(a->s->rip, b->s->rip);
	assert_memory_equal(a->s->gpr, b->s->gpr, sizeof(a->s->gpr));
	assert_int_equal(a->s->cr2, b->s->cr2);
	assert_memory_equal(a->ram, b->ram, RIG_CODE);
	assert_memory_equal(a->ram + FRAME0, b->ram + FRAME0, FRAMES * PAGE_SIZE);
	assert_false(rig_parts_differ(a, b));
}

static void random_loops(void **state)
{
	static const uint32_t runs[] = {0, 1, 8};
	struct soft_stats st;

	for (unsigned k = 0; k < ARRAY_SIZE(runs); k++) {
		const struct soft_config cfg[2] = {{.interp = true},
						   {.hot = SOFT_HOT_ALWAYS, .memo_runs = runs[k]}};
		struct rig r[2];

		assert_int_equal(rig_open(&r[0], &cfg[0]), 0);
		assert_int_equal(rig_open(&r[1], &cfg[1]), 0);
		for (unsigned n = 0; n < PROGRAMS; n++) {
			uint8_t prog[256];
			unsigned len = make_loop(prog);
			struct start s;

			choose(&s, n);
			start(&r[0], &s, prog, len);
			start(&r[1], &s, prog, len);
			same(&r[0], &r[1]);
		}
		soft_stats_read(r[1].vm, &st);
		print_message("%llu loops, %llu pages changed too often\n",
			      (unsigned long long)st.loops, (unsigned long long)st.memos_fickle);
		assert_true(st.loops > PROGRAMS / 16);
		rig_close(&r[0]);
		rig_close(&r[1]);
	}
}

/* ---- what random ones do not do --------------------------------------------------------------- */

/* mov [rdi], rax; sub rdi, 8; dec ecx; jnz: down through the page that the loop is on, to its own end */
static void on_its_page(void **state)
{
	static const uint8_t prog[] = {0x48, 0x89, 0x07, 0x48, 0x83, 0xef, 0x08, 0x48,
				       0xff, 0xc0, 0xff, 0xc9, 0x75, 0xf2, 0xf4};
	static const struct soft_config cfg[2] = {{.interp = true}, {.hot = SOFT_HOT_ALWAYS}};
	struct rig r[2];

	for (unsigned k = 0; k < 2; k++) {
		assert_int_equal(rig_open(&r[k], &cfg[k]), 0);
		memcpy(r[k].ram + RIG_CODE, prog, sizeof(prog));
		rig_reset(&r[k], k);
		r[k].s->gpr[RDI] = RIG_CODE + PAGE_SIZE + 256;
		r[k].s->gpr[RCX] = (PAGE_SIZE + 256) / 8 - 1;
		assert_int_equal(rig_run(&r[k]), EXIT_HLT);
	}
	assert_memory_equal(r[0].ram + RIG_CODE, r[1].ram + RIG_CODE, 2 * PAGE_SIZE);
	assert_int_equal(r[1].s->gpr[RDI], RIG_CODE + 8);
	rig_close(&r[0]);
	rig_close(&r[1]);
}

/* The same program on both, with registers and memory in the end */
static void compare(const uint8_t *prog, unsigned len, void (*prepare)(struct rig *r))
{
	static const struct soft_config cfg[2] = {{.interp = true}, {.hot = SOFT_HOT_ALWAYS}};
	struct soft_stats st;
	struct rig r[2];

	for (unsigned k = 0; k < 2; k++) {
		assert_int_equal(rig_open(&r[k], &cfg[k]), 0);
		memcpy(r[k].ram + RIG_CODE, prog, len);
		rig_reset(&r[k], false);
		for (unsigned i = 0; i < 16 * PAGE_SIZE; i++)
			r[k].ram[RIG_DATA + i] = (uint8_t)(i * 7 + i / 4096);
		prepare(&r[k]);
		assert_int_equal(rig_run(&r[k]), EXIT_HLT);
	}
	soft_stats_read(r[1].vm, &st);
	assert_true(st.loops > 0);
	assert_int_equal(r[0].s->rip, r[1].s->rip);
	assert_memory_equal(r[0].s->gpr, r[1].s->gpr, sizeof(r[0].s->gpr));
	memset(r[0].ram + RIG_IST - 24, 0, 2); /* a fault's flags */
	memset(r[1].ram + RIG_IST - 24, 0, 2);
	assert_memory_equal(r[0].ram, r[1].ram, RIG_RAM);
	rig_close(&r[0]);
	rig_close(&r[1]);
}

static void three_streams(struct rig *r)
{
	r->s->gpr[RDI] = RIG_DATA;
	r->s->gpr[RSI] = RIG_DATA + 4 * PAGE_SIZE;
	r->s->gpr[R8] = RIG_DATA + 8 * PAGE_SIZE;
	r->s->gpr[RBP] = 1500;
	/* What lies behind a page here is not what lies behind it in the host. */
	for (unsigned i = 0; i < 16; i++)
		*rig_pte(r, RIG_DATA + i * PAGE_SIZE) =
			(RIG_DATA + (i * 5 & 15) * PAGE_SIZE) | 0x67;
}

static void divide_error_goes_on(struct rig *r)
{
	uint64_t to = RIG_CODE + 15; /* behind the DIV */

	three_streams(r);
	rig_put64(r, RIG_IDT, (to & 0xffff) | 8 << 16 | UINT64_C(0x8e01) << 32 | (to >> 16) << 48);
}

/* A fault in a round whose handler is the next instruction: the interpreter has gone on in the block, as it seems. */
static void faults_and_goes_on(void **state)
{
	static const uint8_t prog[] = {
		0x49, 0x8b, 0x00,       /* 1: mov rax, [r8] */
		0x48, 0x03, 0x07,       /* add rax, [rdi] */
		0x48, 0x01, 0x06,       /* add [rsi], rax */
		0x31, 0xd2, 0x31, 0xc9, /* xor edx, edx; xor ecx, ecx */
		0xf7, 0xf1,             /* div ecx */
		0x49, 0x01, 0x00,       /* add [r8], rax */
		0x48, 0x31, 0x07,       /* xor [rdi], rax */
		0x48, 0x01, 0x06,       /* add [rsi], rax */
		0x48, 0x83, 0xc7, 0x08, /* add rdi, 8 */
		0x48, 0x83, 0xc6, 0x08, /* add rsi, 8 */
		0x49, 0x83, 0xc0, 0x08, /* add r8, 8 */
		0xff, 0xcd, 0x75, 0xd8, /* dec ebp; jnz 1b */
		0xf4,
	};

	compare(prog, sizeof(prog), divide_error_goes_on);
}

static void where_empty_memos_lead(struct rig *r)
{
	three_streams(r);
	rig_put64(r, RIG_PDPT + 511 * 8, RIG_PD | 0x27);
	*rig_pte(r, 0) = (RIG_DATA + 3 * PAGE_SIZE) | 0x67;
	r->s->gpr[R9] = UINT64_C(0xffffffffc0000000); /* memo.c: -MEMO_BIAS */
}

/* The one address for which an empty memo is right by accident: the host faults, and the interpreter does it. */
static void at_empty_memos(void **state)
{
	static const uint8_t prog[] = {
		0x49, 0x03, 0x01,       /* 1: add rax, [r9] */
		0x49, 0x01, 0x00,       /* add [r8], rax */
		0x48, 0x31, 0x07,       /* xor [rdi], rax */
		0x48, 0x01, 0x06,       /* add [rsi], rax */
		0x48, 0x83, 0xc7, 0x08, /* add rdi, 8 */
		0x48, 0x83, 0xc6, 0x08, /* add rsi, 8 */
		0x49, 0x83, 0xc0, 0x08, /* add r8, 8 */
		0xff, 0xcd, 0x75, 0xe4, /* dec ebp; jnz 1b */
		0xf4,
	};

	compare(prog, sizeof(prog), where_empty_memos_lead);
}

static void eight_streams(struct rig *r)
{
	static const uint8_t regs[] = {RDI, RSI, RBX, RBP, RDX, R8, R9, R14};

	for (unsigned i = 0; i < ARRAY_SIZE(regs); i++)
		r->s->gpr[regs[i]] = RIG_DATA + i * 512;
	r->s->gpr[RAX] = 0x5a;
}

/* More streams of the widest class than it has memos */
static void many_streams(void **state)
{
	enum { COPIES = 24 };
	static const uint8_t modrm[] = {7, 6, 3, 5, 2, 0, 1, 6}; /* rdi rsi rbx rbp rdx r8 r9 r14 */
	static uint8_t prog[COPIES * 128];
	uint8_t *p = prog;

	for (unsigned c = 0; c < COPIES; c++) {
		uint8_t *start;

		*p++ = 0xb9; /* mov ecx, 3 */
		memcpy(p, &(uint32_t){3}, 4);
		p += 4;
		start = p;
		for (unsigned i = 0; i < 8; i++)
			for (unsigned at = 0; at < 2; at++) {
				*p++ = i < 5 ? 0x40 : 0x41; /* mov [reg + 8 or 120], al */
				*p++ = 0x88;
				*p++ = 0x40 | modrm[i];
				*p++ = at ? 120 : 8;
			}
		*p++ = 0x83; /* sub ecx, 1; jnz */
		*p++ = 0xe9;
		*p++ = 1;
		*p++ = 0x75;
		*p = (uint8_t)(start - (p + 1));
		p++;
	}
	*p++ = 0xf4;
	compare(prog, (unsigned)(p - prog), eight_streams);
}

static void *pause_soon(void *arg)
{
	struct vcpu *vcpu = arg;

	nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
	vcpu_request(vcpu, REQ_PAUSE);
	return NULL;
}

/* add qword [rdi], 1; jnz: as good as for ever */
static void leaves_when_asked(void **state)
{
	static const uint8_t prog[] = {0x48, 0x83, 0x07, 0x01, 0x75, 0xfa, 0xf4};
	static const struct soft_config cfg = {.hot = SOFT_HOT_ALWAYS};
	struct vcpu_exit exit;
	struct soft_stats st;
	pthread_t thread;
	uint64_t n;
	struct rig r;

	assert_int_equal(rig_open(&r, &cfg), 0);
	memcpy(r.ram + RIG_CODE, prog, sizeof(prog));
	rig_reset(&r, false);
	r.s->gpr[RDI] = RIG_DATA;
	r.s->activity = ACT_RUN;
	assert_int_equal(pthread_create(&thread, NULL, pause_soon, r.vcpu), 0);
	r.vm->engine->run(r.vcpu, &exit);
	pthread_join(thread, NULL);
	assert_int_equal(exit.kind, EXIT_NONE);
	assert_int_equal(r.s->rip, RIG_CODE);
	memcpy(&n, r.ram + RIG_DATA, 8);
	assert_true(n > 100000);
	soft_stats_read(r.vm, &st);
	assert_true(st.loops > 0);
	rig_close(&r);
}

static void *change_soon(void *arg)
{
	struct rig *r = arg;

	nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
	memset(r->ram + RIG_CODE + 3, 0x90, 2);
	r->vm->engine->memory_changed(r->vm, RIG_CODE, 8);
	return NULL;
}

/* cmp dword [rdi], 0; je: a device puts NOPs in the place of the jump, and nobody interrupts. */
static void ends_when_its_code_does(void **state)
{
	static const uint8_t prog[] = {0x83, 0x3f, 0x00, 0x74, 0xfb, 0xf4};
	static const struct soft_config cfg = {.hot = SOFT_HOT_ALWAYS};
	struct soft_stats st;
	pthread_t thread;
	struct rig r;

	assert_int_equal(rig_open(&r, &cfg), 0);
	memcpy(r.ram + RIG_CODE, prog, sizeof(prog));
	rig_reset(&r, false);
	r.s->gpr[RDI] = RIG_DATA;
	assert_int_equal(pthread_create(&thread, NULL, change_soon, &r), 0);
	assert_int_equal(rig_run(&r), EXIT_HLT);
	pthread_join(thread, NULL);
	assert_int_equal(r.s->rip, RIG_CODE + sizeof(prog));
	soft_stats_read(r.vm, &st);
	assert_true(st.loops > 0);
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_loops),
		cmocka_unit_test(on_its_page),
		cmocka_unit_test(faults_and_goes_on),
		cmocka_unit_test(at_empty_memos),
		cmocka_unit_test(many_streams),
		cmocka_unit_test(leaves_when_asked),
		cmocka_unit_test(ends_when_its_code_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
