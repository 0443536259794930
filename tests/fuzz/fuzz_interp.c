/* SPDX-License-Identifier: ISC */
/* fuzz_interp.c: arbitrary guests (fuzz_guest.h) on the interpreter. Nothing that a guest does may crash
 * it, hang it, or touch memory outside of guest RAM, which ends at a guard page. */
#include <sys/mman.h>

#include "tests/fuzz/fuzz_guest.h"
#include "tests/unit/cpu_rig.h"

#define STEPS 200

_Static_assert(RIG_RAM == FG_RAM, "the same memory");

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct {
	const char *model;
	bool amd;
} machines[] = {
	{"host-avx512", false}, {"host-la57", false}, {"host-avx512", true},
	{"host-la57", true},    {"x86-64-v1", false},
};

static struct rig *make(unsigned n)
{
	struct rig *r = rig_new();

	r->cpu.model = x86_model_find(machines[n].model);
	cpu_init(&r->cpu);
	r->cpu.i.amd = machines[n].amd;
	free(r->ram);
	r->ram = mmap(NULL, RIG_RAM + 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mprotect(r->ram, RIG_RAM, PROT_READ | PROT_WRITE))
		abort();
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct rig *rigs[ARRAY_SIZE(machines)];
	unsigned n = size > 2 ? data[2] % ARRAY_SIZE(machines) : 0;
	struct fuzz_guest g;
	struct x86_state *s;
	struct rig *r;

	if (!rigs[n])
		rigs[n] = make(n);
	r = rigs[n];
	g = (struct fuzz_guest){.cpu = &r->cpu, .ram = r->ram};
	s = &r->cpu.s;
	if (!fg_make(&g, data, size))
		return 0;
	cpu_state_changed(&r->cpu);
	for (unsigned i = 0; i < STEPS; i++) {
		if (i == g.h.smi_at && !s->smm && !s->shadow) {
			cpu_smi(&r->cpu);
			fg_spoil_map(&g);
		}
		if (cpu_step(&r->cpu) >= STEP_HALT && s->activity != ACT_RUN)
			break;
		if (i == g.h.irq_at && cpu_can_interrupt(&r->cpu))
			cpu_interrupt(&r->cpu, g.h.irq);
		if (i == g.h.nmi_at && !s->nmi_blocked)
			cpu_nmi(&r->cpu);
	}
	return 0;
}
