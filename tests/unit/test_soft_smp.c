/* SPDX-License-Identifier: ISC */
/* test_soft_smp.c: the software engine with two processors, each on a thread: atomic operations, code
 * that one changes and the other runs, cache flushes meanwhile; a device that writes into what LOCK accesses. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/lib/soft_rig.h"

#define FLAG   0x200000u /* RIG_DATA */
#define ACK    0x200040u
#define RESULT 0x200080u
#define FUNC   0x180000u

/* Guest programs, copied from here into its RAM; all position-independent. */
extern const uint8_t writer[], writer_end[], runner[], runner_end[], counter[], counter_end[],
	func[], func_end[], strayer[], strays[], strayer_end[], skip[], skip_end[], splitter[],
	splitter_end[];
__asm__(".pushsection .rodata\n"
	"func: mov $0, %eax\n"
	" ret\n"
	"func_end:\n"
	/* rdi: rounds */
	"writer: mov $1, %ebx\n"
	"1: mov %ebx, 0x180001\n"
	" mov %ebx, 0x200000\n"
	"2: pause\n"
	" cmp %ebx, 0x200040\n"
	" jne 2b\n"
	" inc %ebx\n"
	" cmp %edi, %ebx\n"
	" jbe 1b\n"
	" hlt\n"
	"writer_end:\n"
	"runner: mov $1, %ebp\n"
	"1: pause\n"
	" cmp %ebp, 0x200000\n"
	" jne 1b\n"
	" xor %eax, %eax\n"
	" cpuid\n"
	" mov $0x180000, %esi\n"
	" call *%rsi\n"
	" cmp %eax, %ebp\n"
	" jne 3f\n"
	" mov %ebp, 0x200040\n"
	" inc %ebp\n"
	" cmp %edi, %ebp\n"
	" jbe 1b\n"
	" hlt\n"
	"3: mov %eax, 0x200084\n"
	" movl $1, 0x200080\n"
	" mov %edi, 0x200040\n"
	" hlt\n"
	"runner_end:\n"
	"counter: lock incq 0x200000\n"
	" mov $1, %eax\n"
	" lock xadd %rax, 0x200040\n"
	" dec %rdi\n"
	" jnz counter\n"
	" hlt\n"
	"counter_end:\n"
	/* rsi: misaligned. What is at strays takes long to come to, and is another instruction now and then. */
	"strayer: xor %edx, %edx\n"
	" mov $1, %ecx\n"
	" .rept 40\n"
	" div %rcx\n"
	" .endr\n"
	"strays: movaps %xmm0, (%rsi)\n"
	" mov %eax, 16(%rsi)\n"
	" dec %rdi\n"
	" jnz strayer\n"
	" hlt\n"
	"strayer_end:\n"
	"skip: addq $3, 8(%rsp)\n"
	" add $8, %rsp\n"
	" iretq\n"
	"skip_end:\n"
	/* rsi: over an end, ebx: what is added */
	"splitter: mov %ebx, %eax\n"
	" lock xadd %eax, (%rsi)\n"
	" dec %rdi\n"
	" jnz splitter\n"
	" hlt\n"
	"splitter_end:\n"
	".popsection\n");

static const struct soft_config configs[] = {
	{.cache_bytes = 0}, {.cache_bytes = SOFT_CACHE_MIN},         {.flush_every = 3},
	{.views = 1},       {.views = 2, .tables = SOFT_TABLES_MIN},
};

static void put_code(struct rig *r, gpa_t gpa, const uint8_t *from, const uint8_t *to)
{
	memcpy(r->ram + gpa, from, (size_t)(to - from));
}

static void *run_second(void *arg)
{
	struct vcpu *vcpu = arg;
	struct vcpu_exit exit;

	do
		vcpu->vm->engine->run(vcpu, &exit);
	while (exit.kind == EXIT_NONE);
	return (void *)(uintptr_t)exit.kind;
}

/* The second processor starts like the first, with a stack of its own. */
static void start(struct rig *r, gva_t first, gva_t second, uint64_t rounds)
{
	struct vcpu *other = r->vm->vcpu[1];
	pthread_t thread;
	void *kind;

	r->s->rip = first;
	r->s->gpr[RDI] = rounds;
	*other->state = *r->s;
	other->state->rip = second;
	other->state->gpr[RSP] = RIG_STACK - 0x10000;
	other->state->activity = ACT_RUN;
	r->vm->engine->set_state(other);
	assert_int_equal(pthread_create(&thread, NULL, run_second, other), 0);
	assert_int_equal(rig_run(r), EXIT_HLT);
	pthread_join(thread, &kind);
	assert_int_equal((uintptr_t)kind, EXIT_HLT);
}

static void cross_modifying(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(configs); i++) {
		struct rig r;
		uint32_t result[2];

		assert_int_equal(rig_open_cpus(&r, &configs[i], 2), 0);
		put_code(&r, FUNC, func, func_end);
		put_code(&r, RIG_CODE, writer, writer_end);
		put_code(&r, RIG_CODE + 0x10000, runner, runner_end);
		start(&r, RIG_CODE, RIG_CODE + 0x10000, 1000);
		memcpy(result, r.ram + RESULT, sizeof(result));
		if (result[0])
			print_error("ran %u\n", result[1]);
		assert_int_equal(result[0], 0);
		rig_close(&r);
	}
}

static void atomics(void **state)
{
	const unsigned n = 100000;

	for (unsigned i = 0; i < ARRAY_SIZE(configs); i++) {
		struct rig r;
		uint64_t a, b;

		assert_int_equal(rig_open_cpus(&r, &configs[i], 2), 0);
		put_code(&r, RIG_CODE, counter, counter_end);
		start(&r, RIG_CODE, RIG_CODE, n);
		memcpy(&a, r.ram + FLAG, 8);
		memcpy(&b, r.ram + ACK, 8);
		assert_int_equal(a, 2 * n);
		assert_int_equal(b, 2 * n);
		rig_close(&r);
	}
}

/* The interpreter is to judge a misaligned store that is none any more: its block runs on for a while after its bytes
 * have become those of a move between registers. Once in a page that is stored to, so that the store alone misses,
 * and once with others in its group. */
static void store_becomes_move(void **state)
{
	const gpa_t at = RIG_CODE + (gpa_t)(strays - strayer) + 2;

	for (unsigned i = 0; i < 2; i++) {
		struct rig r;
		pthread_t thread;
		void *kind;

		assert_int_equal(rig_open_cpus(&r, &configs[0], 2), 0);
		put_code(&r, RIG_CODE, strayer, strayer_end);
		if (i)
			memset(r.ram + RIG_CODE + (strays + 3 - strayer), 0x90, 3);
		put_code(&r, RIG_HANDLER + VEC_GP * 16, skip, skip_end);
		r.s->gpr[RSI] = RIG_DATA + 8;
		r.s->gpr[RDI] = 20000;
		r.s->activity = ACT_RUN;
		assert_int_equal(pthread_create(&thread, NULL, run_second, r.vcpu), 0);
		while (pthread_tryjoin_np(thread, &kind)) {
			r.ram[at] ^= 0xc0;
			r.vm->engine->memory_changed(r.vm, at, 1);
		}
		assert_int_equal((uintptr_t)kind, EXIT_HLT);
		assert_int_equal(r.s->gpr[RDI], 0);
		rig_close(&r);
	}
}

/* LOCK XADD over the end of a line or a page, which a device writes a byte of that the sum does not come to: neither
 * is lost. A byte that the guest had read before the device wrote it would come back. */
static void split_beside_device(void **state)
{
	static const struct {
		gpa_t at;
		uint32_t by;
		unsigned byte;
	} cases[] = {
		{RIG_DATA + 62, 1, 3},
		{RIG_DATA + 62, 0x10000, 0},
		{RIG_DATA + PAGE_SIZE - 2, 1, 3},
		{RIG_DATA + PAGE_SIZE - 2, 0x10000, 0},
	};
	const unsigned n = 60000;

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		_Atomic uint8_t *byte;
		unsigned lost = 0;
		uint32_t sum;
		struct rig r;
		pthread_t thread;
		uint8_t v = 0;
		void *kind;

		assert_int_equal(rig_open_cpus(&r, &configs[0], 1), 0);
		put_code(&r, RIG_CODE, splitter, splitter_end);
		memset(r.ram + cases[i].at, 0, 4);
		byte = (_Atomic uint8_t *)(r.ram + cases[i].at + cases[i].byte);
		r.s->gpr[RSI] = cases[i].at;
		r.s->gpr[RBX] = cases[i].by;
		r.s->gpr[RDI] = n;
		r.s->activity = ACT_RUN;
		assert_int_equal(pthread_create(&thread, NULL, run_second, r.vcpu), 0);
		while (pthread_tryjoin_np(thread, &kind)) {
			for (unsigned k = 0; k < 100; k++) {
				atomic_store(byte, ++v);
				for (unsigned wait = 0; wait < 50; wait++)
					__asm__ volatile("pause");
				lost += atomic_load(byte) != v;
			}
		}
		assert_int_equal((uintptr_t)kind, EXIT_HLT);
		memcpy(&sum, r.ram + cases[i].at, 4);
		sum &= cases[i].by == 1 ? 0xffffff : 0xffffff00;
		assert_int_equal(sum, n * cases[i].by);
		assert_int_equal(lost, 0);
		rig_close(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cross_modifying),
		cmocka_unit_test(atomics),
		cmocka_unit_test(store_becomes_move),
		cmocka_unit_test(split_beside_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
