/* SPDX-License-Identifier: ISC */
/* test_intr_smp.c: interrupt complex under real threads: no interrupt may get lost, whoever sends.
 * Runs on the real platform; meant for TSan, too. */
#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "dev/irq/intr.h"
#include "dev/irq/ioapic.h"
#include "dev/irq/lapic.h"
#include "tests/lib/no_engine.h"
#include "vm/save.h"
#include "vm/vm.h"

#define CPUS         4
#define ROUNDS       5000
#define LEVEL_VECTOR 0x61
#define MSI_VECTOR   0x71
#define RING_VECTOR  0x81

static struct vm *vm;
static _Atomic unsigned ring, msis, levels;
static _Atomic bool stop;

static void wr(unsigned cpu, unsigned reg, uint32_t v)
{
	bus_write(&vm->mmio, (int)cpu, LAPIC_BASE + reg, 4, v);
}

static void handle(unsigned cpu, int vector)
{
	switch (vector) {
	case RING_VECTOR: /* pass it on */
		if (++ring < ROUNDS) {
			wr(cpu, 0x310, (cpu + 1) % CPUS << 24);
			wr(cpu, 0x300, 0x4000 | RING_VECTOR);
		}
		break;
	case MSI_VECTOR:
		msis++;
		break;
	case LEVEL_VECTOR: /* the device lowers its line when it is served */
		gsi_set(vm, 17, false);
		levels++;
		break;
	default:
		fprintf(stderr, "unexpected vector %x\n", vector);
		abort();
	}
	wr(cpu, 0xb0, 0);
}

/* An engine's manners: it looks at the controller only when REQ_IRQ says so. */
static void *cpu_thread(void *arg)
{
	struct vcpu *vcpu = arg;
	int v;

	while (!stop) {
		if (!(atomic_exchange(&vcpu->requests, 0) & REQ_IRQ)) {
			plat_yield();
			continue;
		}
		while (vcpu->intc->pending(vcpu->intc_chip) >= 0) {
			v = vcpu->intc->ack(vcpu->intc_chip);
			if (v >= 0)
				handle(vcpu->index, v);
		}
	}
	return NULL;
}

static bool wait_for(_Atomic unsigned *n, unsigned value)
{
	uint64_t end = plat_now() + 20 * NS_PER_SEC;

	while (atomic_load(n) < value && plat_now() < end)
		plat_yield();
	return atomic_load(n) >= value;
}

static void test_nothing_lost(void **state)
{
	const struct vm_config cfg = {.name = "smp",
				      .engine = &no_engine,
				      .cpus = CPUS,
				      .memory = 2 * MIB,
				      .low_end = 2 * MIB};
	pthread_t thread[CPUS];
	struct intr *intr;

	assert_int_equal(vm_create(&cfg, &vm), 0);
	assert_int_equal(intr_create(vm, &intr), 0);
	for (unsigned i = 0; i < CPUS; i++) {
		wr(i, 0xf0, 0x1ff);
		wr(i, 0xd0, 1u << (24 + i));
	}
	bus_write(&vm->mmio, 0, IOAPIC_BASE, 4, 0x10 + 2 * 17 + 1);
	bus_write(&vm->mmio, 0, IOAPIC_BASE + 0x10, 4, 0x0f000000);
	bus_write(&vm->mmio, 0, IOAPIC_BASE, 4, 0x10 + 2 * 17);
	bus_write(&vm->mmio, 0, IOAPIC_BASE + 0x10, 4, 0x8900 | LEVEL_VECTOR);
	for (unsigned i = 0; i < CPUS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, cpu_thread, vm->vcpu[i]), 0);
	msi_send(vm, 0xfee00000, RING_VECTOR);
	/* One at a time of each kind, so that each must arrive. */
	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned m = msis, l = levels;

		gsi_set(vm, 17, true);
		msi_send(vm, 0xfee0f00c, MSI_VECTOR); /* to any one */
		if (!wait_for(&msis, m + 1) || !wait_for(&levels, l + 1))
			fail_msg("round %u: %u of %u MSIs, %u of %u levels", i, msis, m + 1, levels,
				 l + 1);
	}
	assert_true(wait_for(&ring, ROUNDS));
	stop = true;
	for (unsigned i = 0; i < CPUS; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(msis, ROUNDS);
	vm_destroy(vm);
}

/* ---- from one engine to another ------------------------------------------------------------ */

/* Its vCPUs' states can be touched no more once it has been left, which takes a while. */
static int leaving_vcpu_init(struct vcpu *vcpu)
{
	vcpu->state = plat_pages_alloc(ALIGN_UP(sizeof(*vcpu->state), PAGE_SIZE));
	vcpu->engine_data = vcpu->state;
	return vcpu->state ? 0 : ERR_NOMEM;
}

static void leaving_vcpu_fini(struct vcpu *vcpu)
{
	plat_pages_free(vcpu->engine_data, ALIGN_UP(sizeof(*vcpu->state), PAGE_SIZE));
}

static void leaving_fini(struct vm *v)
{
	uint64_t end = plat_now() + 4000000;

	while (plat_now() < end)
		plat_yield();
}

static const struct engine_ops leaving[2] = {{.name = "one",
					      .vm_init = none_init,
					      .vm_fini = leaving_fini,
					      .vcpu_init = leaving_vcpu_init,
					      .vcpu_fini = leaving_vcpu_fini},
					     {.name = "two",
					      .vm_init = none_init,
					      .vm_fini = leaving_fini,
					      .vcpu_init = leaving_vcpu_init,
					      .vcpu_fini = leaving_vcpu_fini}};

/* A deadline of the local APIC's timer, reckoned in the guest's TSC, passes meanwhile. */
static void test_deadline_in_move(void **state)
{
	const struct vm_config cfg = {.name = "move",
				      .engine = &leaving[0],
				      .cpus = 1,
				      .memory = 2 * MIB,
				      .low_end = 2 * MIB};
	const char *lacks;
	struct intr *intr;

	assert_int_equal(vm_create(&cfg, &vm), 0);
	assert_int_equal(intr_create(vm, &intr), 0);
	vm->vcpu[0]->state->tsc_offset = BIT64(40);
	wr(0, 0xf0, 0x1ff);
	wr(0, 0x320, 2u << 17 | MSI_VECTOR);
	for (unsigned i = 1; i <= 40; i++) {
		uint64_t tsc = vcpu_ticks() + BIT64(40);

		assert_int_equal(vm->vcpu[0]->intc->msr_write(vm->vcpu[0]->intc_chip, 0x6e0,
							      tsc + vm->tsc_hz / 1000),
				 0);
		assert_int_equal(vm_set_engine(vm, &leaving[i % 2], &lacks), 0);
		assert_ptr_equal(vm->engine, &leaving[i % 2]);
		assert_int_equal(vm->vcpu[0]->state->tsc_offset, BIT64(40));
	}
	vm_destroy(vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_nothing_lost),
					   cmocka_unit_test(test_deadline_in_move)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
