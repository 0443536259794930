/* SPDX-License-Identifier: ISC */
/* test_faults_soft.c: the rows of fault_rows.h under the translator: what they say, and the same in all else as
 * the interpreter, which runs each row too: registers, segments, memory, the exception's frame.
 *
 * Row by row the state that its set-up has made is copied into a VM, which runs to HLT: handlers are one, and one is
 * behind the instruction. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "engine/soft/soft.h"
#include "tests/unit/fault_rows.h"
#include "vm/vm.h"

#define HLT 0xf4

static const struct soft_config configs[] = {{0},
					     {.interp = true},
					     {.flush_every = 1},
					     {.hot = SOFT_HOT_ALWAYS},
					     {.hot = SOFT_HOT_NEVER},
					     {.live_flags = true}};

static struct vm *vm;
static struct cpu *soft;   /* of the VM's processor */
static struct cpu_ops ops; /* its own, but for what a row has replaced */
static const struct cpu_ops *engine_ops;

static void open_vm(const struct soft_config *cfg)
{
	const struct vm_config vc = {.name = "faults",
				     .engine = &engine_soft,
				     .cpus = 1,
				     .model = x86_model_find("host-avx512"),
				     .memory = RIG_RAM,
				     .low_end = RIG_RAM};

	assert_int_equal(vm_create(&vc, &vm), 0);
	assert_int_equal(soft_configure(vm, cfg), 0);
	soft = (struct cpu *)(void *)vm->vcpu[0]->state;
	engine_ops = soft->ops;
}

/* As row_begin() has left it */
static void copy(void)
{
	for (unsigned v = 0; v < 256; v++)
		r->ram[RIG_HANDLERS + v * 16] = HLT;
	memcpy(vm->ram.hva, r->ram, RIG_RAM);
	vm->engine->memory_changed(vm, 0, RIG_RAM);
	soft->s = r->cpu.s;
	soft->i.amd = r->cpu.i.amd;
	memcpy(soft->i.feat, r->cpu.i.feat, sizeof(soft->i.feat));
	ops = *engine_ops;
	if (r->cpu.ops->msr_asked)
		ops.msr_asked = r->cpu.ops->msr_asked;
	soft->ops = &ops;
	assert_int_equal(vm->engine->set_state(vm->vcpu[0]), 0);
}

static void run_interp(void)
{
	enum cpu_step st;

	do
		st = cpu_step(&r->cpu);
	while (st == STEP_OK);
}

static void run_soft(void)
{
	struct vcpu_exit exit;

	do
		vm->engine->run(vm->vcpu[0], &exit);
	while (exit.kind == EXIT_NONE);
	if (exit.kind == EXIT_SHUTDOWN)
		soft->s.activity = ACT_SHUTDOWN;
}

/* ---- comparison ------------------------------------------------------------------------------ */

#define F(f)                                                                             \
	{                                                                                \
#f, offsetof(struct x86_state, f), sizeof(((struct x86_state *)NULL)->f) \
	}
static const struct {
	const char *name;
	uint32_t off, size;
} fields[] = {
	F(gpr),         F(rip),         F(rflags),    F(seg),      F(ldtr),   F(tr),
	F(gdtr.base),   F(cr0),         F(cr2),       F(cr3),      F(cr4),    F(dr),
	F(xcr0),        F(efer),        F(star),      F(pkru),     F(smbase), F(shadow),
	F(nmi_blocked), F(nmi_pending), F(idtr.base), F(activity),
};
#undef F

/* A may come of an access that was begun and faulted then (SDM vol. 3, 4.8). */
static void forget_accessed(uint8_t *ram)
{
	for (unsigned i = 0; i < PAGE_SIZE; i += 8)
		ram[RIG_PT + i] |= 0x20;
}

/* XMM, and the upper halves of YMM: zero where the image says nothing of them */
static void vectors_of(const struct x86_state *cpu, uint8_t out[512])
{
	const uint8_t *b = cpu->xsave.bytes;

	memset(out, 0, 512);
	if (b[XS_BV] & XCR0_SSE)
		memcpy(out, b + FX_XMM, 256);
	if (b[XS_BV] & XCR0_AVX)
		memcpy(out + 256, b + XS_AVX, 256);
}

static unsigned compare(const char *row)
{
	const uint8_t *a = (const uint8_t *)&soft->s, *b = (const uint8_t *)&r->cpu.s;
	const uint8_t *ram = vm->ram.hva;
	uint8_t vectors[2][512];
	unsigned bad = 0;

	forget_accessed(vm->ram.hva);
	forget_accessed(r->ram);
	for (unsigned i = 0; i < ARRAY_SIZE(fields); i++)
		if (memcmp(a + fields[i].off, b + fields[i].off, fields[i].size)) {
			printf("%s: %s differs\n", row, fields[i].name);
			bad = 1;
		}
	vectors_of(&soft->s, vectors[0]);
	vectors_of(&r->cpu.s, vectors[1]);
	if (memcmp(vectors[0], vectors[1], sizeof(vectors[0]))) {
		printf("%s: vector registers differ\n", row);
		bad = 1;
	}
	for (unsigned i = 0; i < RIG_RAM; i++)
		if (ram[i] != r->ram[i]) {
			printf("%s: memory at %x: %x, interpreter %x\n", row, i, ram[i], r->ram[i]);
			return 1;
		}
	return bad;
}

static void test_rows(void **state)
{
	unsigned bad = 0;

	for (unsigned c = 0; c < ARRAY_SIZE(configs); c++) {
		open_vm(&configs[c]);
		for (const struct row *row = rows; row < rows + ARRAY_SIZE(rows); row++) {
			struct x86_state *was = s;
			uint8_t *ram = r->ram;

			if (!row_begin(row, HLT))
				continue;
			copy();
			run_interp();
			run_soft();
			bad += compare(row->name);
			s = &soft->s; /* row_good() looks there */
			r->ram = vm->ram.hva;
			bad += !row_good(row, s->activity != ACT_SHUTDOWN);
			s = was;
			r->ram = ram;
		}
		vm_destroy(vm);
	}
	assert_int_equal(bad, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows)};
	int failed;

	r = rig_new();
	s = &r->cpu.s;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rig_free(r);
	return failed;
}
