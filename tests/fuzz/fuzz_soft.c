/* SPDX-License-Identifier: ISC */
/* fuzz_soft.c: arbitrary guests (fuzz_guest.h) on the translator: nothing that a guest does may crash it,
 * hang it, or reach what is not the guest's.
 *
 * What it translates runs as it is, unseen by sanitizers. So each page fault of translated code is an
 * error here, in the engine it would be the guest's exception; and what it looks at is far apart in
 * the host, so that a wrong address is seldom mapped. Sanitizers may spoil the guest's SIMD registers,
 * which tests/diff compares.
 *
 * A guest ends by HLT, by a shutdown, by its exceptions' number (a port counts them), or by a thread
 * that stops it when its time is up; that thread also sees the translator itself hang, as the one that
 * runs translated code takes no signals. Other ports stand for devices: interrupts, NMIs, SMIs, A20,
 * writes to memory. */
#include <stdio.h>
#include <sys/mman.h>

#include "engine/soft/block.h"
#include "engine/soft/soft.h"
#include "tests/fuzz/fuzz_guest.h"
#include "tests/lib/watch.h"

#define MAX_EXCEPTIONS 48u
#define BUDGET_NS      (2 * UINT64_C(1000000)) /* of the guest's thread's own time */
#define HANG_NS        (5 * UINT64_C(1000000000))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct {
	const char *model;
	bool amd;
	struct soft_config cfg;
} machines[] = {
	{"host-avx512", false, {0}},
	{"host-la57", false, {.cache_bytes = SOFT_CACHE_MIN, .hot = SOFT_HOT_NEVER}},
	{"host-avx512", false, {.hot = SOFT_HOT_ALWAYS, .no_ahead = true}},
	{"host-la57", true, {.flush_every = 5, .lines = SOFT_LINES_ALWAYS, .hot = SOFT_HOT_NEVER}},
	{"x86-64-v1", false, {.flush_every = 1, .hot = SOFT_HOT_ALWAYS}},
	{"host-avx512", true, {.cache_bytes = SOFT_CACHE_MIN, .hot = SOFT_HOT_ALWAYS}},
};

struct machine {
	struct vm *vm;
	struct vcpu *vcpu;
	unsigned exceptions, irqs, vector;
};

/* ---- the machine's devices ------------------------------------------------------------------- */

static int irq_pending(void *chip)
{
	struct machine *m = chip;

	return m->irqs ? (int)m->vector : -1;
}

static int irq_ack(void *chip)
{
	struct machine *m = chip;

	if (!m->irqs)
		return -1;
	m->irqs--;
	return (int)m->vector;
}

static uint8_t cr8_read(void *chip)
{
	return 3;
}

static void cr8_write(void *chip, uint8_t v)
{
}

static int msr_read(void *chip, uint32_t index, uint64_t *v)
{
	*v = index;
	return index - 0x800 < 0x100 ? 0 : ERR_NOENT;
}

static int msr_write(void *chip, uint32_t index, uint64_t v)
{
	return index - 0x800 < 0x100 ? 0 : ERR_NOENT;
}

static void irq_reset(void *chip, bool init)
{
}

static const struct intc_ops intc = {.pending = irq_pending,
				     .ack = irq_ack,
				     .cr8_read = cr8_read,
				     .cr8_write = cr8_write,
				     .msr_read = msr_read,
				     .msr_write = msr_write,
				     .reset = irq_reset};

static uint64_t port_read(void *dev, uint64_t off, unsigned size)
{
	return off * 0x01010101 + size;
}

static void port_write(void *dev, uint64_t off, unsigned size, uint64_t v)
{
	struct machine *m = dev;

	if (off == FG_PORT_COUNT && ++m->exceptions == MAX_EXCEPTIONS)
		vcpu_request(m->vcpu, REQ_STOP);
	switch (off & 15) {
	case 1:
		m->irqs = v & 3;
		m->vector = v >> 2 & 0xff;
		vcpu_request(m->vcpu, REQ_IRQ);
		break;
	case 2:
		vcpu_request(m->vcpu, REQ_NMI);
		break;
	case 3:
		vcpu_request(m->vcpu, REQ_SMI);
		break;
	case 4:
		atomic_store(&m->vm->a20_masked, v & 1);
		vcpu_request(m->vcpu, REQ_A20);
		break;
	case 5: /* DMA; beyond RAM, nothing */
		if (mem_write(m->vm, FG_CODE + (v & 0xffff), &v, 8))
			break;
		mem_written(m->vm, FG_CODE + (v & 0xffff), 8);
		break;
	case 6:
		mem_protect(m->vm, 0xc0000 + (v & 0xf000), PAGE_SIZE, v & 1);
		break;
	case 7:
		m->vm->mem.smram = v & 7;
		break;
	default:
		break;
	}
}

static const struct bus_region ports = {.name = "ports",
					.len = 0x10000,
					.min = 1,
					.max = 4,
					.read = port_read,
					.write = port_write};
static const struct bus_region mmio = {.name = "mmio",
				       .base = 0xa0000,
				       .len = 0x20000,
				       .min = 1,
				       .max = 8,
				       .read = port_read,
				       .write = port_write};

/* ---- faults of the host ------------------------------------------------------------------------ */

static bool (*engine_fault)(void *ctx, struct plat_fault *f);

static bool see_fault(void *ctx, struct plat_fault *f)
{
	struct plat_fault was = *f;
	bool known = engine_fault(ctx, f);

	/* A divide error or an undefined instruction is at its own address, #GP at none. */
	if (known && (!was.addr || was.addr == was.pc))
		return true;
	fprintf(stderr, "fault %s translated code at %llx, address %llx\n", known ? "of" : "beside",
		(unsigned long long)was.pc, (unsigned long long)was.addr);
	for (unsigned i = 0; i < 16; i++)
		fprintf(stderr, "r%u %llx\n", i, (unsigned long long)was.gpr[i]);
	abort();
}

/* By the linker's --wrap */
int __wrap_plat_guest_thread(bool (*fn)(void *, struct plat_fault *), void *ctx, void *gs,
			     bool first);
int __real_plat_guest_thread(bool (*fn)(void *, struct plat_fault *), void *ctx, void *gs,
			     bool first);

int __wrap_plat_guest_thread(bool (*fn)(void *, struct plat_fault *), void *ctx, void *gs,
			     bool first)
{
	engine_fault = fn;
	return __real_plat_guest_thread(see_fault, ctx, gs, first);
}

/* ---- a run ------------------------------------------------------------------------------------- */

static struct machine *make(unsigned n)
{
	const struct vm_config vc = {.name = "fuzz",
				     .engine = &engine_soft,
				     .cpus = 1,
				     .model = x86_model_find(machines[n].model),
				     .memory = FG_RAM,
				     .low_end = FG_RAM,
				     .pc_low = true};
	struct machine *m = calloc(1, sizeof(*m));

	if (!m || vm_create(&vc, &m->vm) || soft_configure(m->vm, &machines[n].cfg) ||
	    bus_map(&m->vm->pio, &ports, m) || bus_map(&m->vm->mmio, &mmio, m))
		abort();
	m->vcpu = m->vm->vcpu[0];
	m->vcpu->intc = &intc;
	m->vcpu->intc_chip = m;
	((struct cpu *)(void *)m->vcpu->state)->i.amd = machines[n].amd;
	if (!watched.budget)
		watch_start(BUDGET_NS, HANG_NS);
	return m;
}

static void run(struct machine *m)
{
	struct vcpu_exit exit;

	watch_run(m->vcpu);
	do
		m->vm->engine->run(m->vcpu, &exit);
	while (exit.kind == EXIT_NONE && m->vcpu->state->activity == ACT_RUN &&
	       !(atomic_load(&m->vcpu->requests) & (REQ_STOP | REQ_INIT)));
	watch_run(NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct machine *all[ARRAY_SIZE(machines)];
	unsigned n = size > 2 ? data[2] % ARRAY_SIZE(machines) : 0;
	struct soft_vcpu *v;
	struct fuzz_guest g;
	struct machine *m;

	if (!all[n])
		all[n] = make(n);
	m = all[n];
	v = m->vcpu->engine_data;
	g = (struct fuzz_guest){.cpu = &v->cpu, .ram = m->vm->ram.hva};
	if (!fg_make(&g, data, size))
		return 0;
	soft_cache_flush(v, true); /* nothing of the last guest */
	atomic_store(&v->in_code, false);
	mem_protect(m->vm, 0xc0000, 0x10000, false);
	atomic_store(&m->vm->a20_masked, m->vcpu->state->a20_masked);
	m->vm->mem.smram = 0;
	m->exceptions = 0;
	m->irqs = g.h.irq_at & 3;
	m->vector = g.h.irq;
	atomic_store(&m->vcpu->requests, 0);
	m->vcpu->state->nmi_pending = g.h.nmi_at & 1;
	m->vcpu->state->smi_pending = g.h.smi_at & 1;
	if (m->vm->engine->set_state(m->vcpu))
		abort();
	run(m);
	return 0;
}
