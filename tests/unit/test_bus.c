/* SPDX-License-Identifier: ISC */
/* test_bus.c: region lookup, widths, splitting, and monitor verdicts of vm/bus.c. */
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "vm/vm.h"

/* A device that remembers what it was asked and answers each byte with its offset. */
struct probe {
	unsigned n;
	uint64_t off[16], value[16];
	unsigned size[16];
};

static uint64_t probe_read(void *dev, uint64_t off, unsigned size)
{
	struct probe *p = dev;
	uint64_t v = 0;

	p->off[p->n % 16] = off;
	p->size[p->n++ % 16] = size;
	for (unsigned i = 0; i < size; i++)
		v |= (off + i) << (8 * i);
	return v;
}

static void probe_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct probe *p = dev;

	p->off[p->n % 16] = off;
	p->size[p->n % 16] = size;
	p->value[p->n++ % 16] = value;
}

static const struct bus_region region_1_4 = {"probe", 0x100, 16, 1, 4, probe_read, probe_write};
static const struct bus_region region_4_4 = {"probe4", 0x200, 16, 4, 4, probe_read, probe_write};
static const struct bus_region region_ro = {"ro", 0x110, 4, 1, 8, probe_read, NULL};

static struct vm *setup_vm(void)
{
	struct vm *vm = plat_alloc(sizeof(*vm));

	assert_non_null(vm);
	bus_init(&vm->pio, vm, MON_PORT);
	return vm;
}

static void test_widths(void **state)
{
	struct vm *vm = setup_vm();
	struct probe p = {0}, q = {0};

	assert_int_equal(bus_map(&vm->pio, &region_1_4, &p), 0);
	assert_int_equal(bus_map(&vm->pio, &region_4_4, &q), 0);
	assert_int_equal(bus_read(&vm->pio, 0, 0x102, 2), 0x0302);
	/* Wider than the device: split, low address first. */
	p.n = 0;
	assert_true(bus_read(&vm->pio, 0, 0x100, 8) == UINT64_C(0x0706050403020100));
	assert_int_equal(p.n, 2);
	assert_int_equal(p.off[0], 0);
	assert_int_equal(p.off[1], 4);
	p.n = 0;
	bus_write(&vm->pio, 0, 0x108, 8, UINT64_C(0x1122334455667788));
	assert_int_equal(p.value[0], 0x55667788);
	assert_int_equal(p.value[1], 0x11223344);
	/* Narrower: the containing word is read, a write is lost. */
	assert_int_equal(bus_read(&vm->pio, 0, 0x205, 1), 5);
	assert_int_equal(q.size[0], 4);
	q.n = 0;
	bus_write(&vm->pio, 0, 0x205, 1, 7);
	assert_int_equal(q.n, 0);
	plat_free(vm);
}

static void test_edges(void **state)
{
	struct vm *vm = setup_vm();
	struct probe p = {0}, q = {0};

	assert_int_equal(bus_map(&vm->pio, &region_1_4, &p), 0);
	assert_int_equal(bus_map(&vm->pio, &region_ro, &q), 0);
	assert_int_equal(bus_map(&vm->pio, &region_1_4, &q), ERR_EXIST);
	assert_int_equal(bus_map_at(&vm->pio, 0x10f, &region_ro, &q), ERR_EXIST);
	/* Nothing there: ones. */
	assert_int_equal(bus_read(&vm->pio, 0, 0xff, 1), 0xff);
	assert_int_equal(bus_read(&vm->pio, 0, 0x4000, 4), 0xffffffff);
	assert_true(bus_read(&vm->pio, 0, 0x4000, 8) == ~UINT64_C(0));
	/* Across the border of two devices: each gives its bytes. */
	assert_int_equal(bus_read(&vm->pio, 0, 0x10e, 4), 0x01000f0e);
	/* From nothing into a device, and out of it. */
	assert_int_equal(bus_read(&vm->pio, 0, 0x112, 4), 0xffff0302);
	bus_write(&vm->pio, 0, 0x110, 4, 1); /* read-only: lost */
	bus_unmap(&vm->pio, &region_1_4, &p);
	assert_int_equal(bus_read(&vm->pio, 0, 0x102, 1), 0xff);
	assert_int_equal(bus_read(&vm->pio, 0, 0x111, 1), 1);
	plat_free(vm);
}

static void test_full(void **state)
{
	struct vm *vm = setup_vm();
	struct probe p = {0};

	for (unsigned i = 0; i < BUS_MAX_ENTRIES; i++)
		assert_int_equal(bus_map_at(&vm->pio, 0x10000 - 16 * i, &region_1_4, &p), 0);
	assert_int_equal(bus_map_at(&vm->pio, 0x20000, &region_1_4, &p), ERR_NOMEM);
	for (unsigned i = 0; i < BUS_MAX_ENTRIES; i++)
		assert_int_equal(bus_read(&vm->pio, 0, 0x10000 - 16 * i + 3, 1), 3);
	plat_free(vm);
}

static unsigned told;
static enum mon_verdict verdict;

static void count_tell(struct monitor *mon, const struct mon_event *ev)
{
	told++;
}

static enum mon_verdict fixed_ask(struct monitor *mon, struct mon_event *ev)
{
	ev->value = 0x5a;
	return verdict;
}

static void test_monitor(void **state)
{
	struct vm *vm = setup_vm();
	struct probe p = {0};

	told = 0;
	vm->mon.tell = count_tell;
	vm->mon.ask = fixed_ask;
	assert_int_equal(bus_map(&vm->pio, &region_1_4, &p), 0);
	bus_read(&vm->pio, 0, 0x100, 1);
	assert_int_equal(told, 0);
	atomic_store(&vm->mon.tell_mask, BIT(MON_PORT));
	bus_read(&vm->pio, 0, 0x100, 1);
	assert_int_equal(told, 1);
	atomic_store(&vm->mon.ask_mask, BIT(MON_PORT));
	verdict = MON_REDIRECT;
	p.n = 0;
	assert_int_equal(bus_read(&vm->pio, 0, 0x100, 1), 0x5a);
	assert_int_equal(p.n, 0);
	verdict = MON_DENY;
	assert_int_equal(bus_read(&vm->pio, 0, 0x100, 1), 0xff);
	bus_write(&vm->pio, 0, 0x100, 1, 1);
	assert_int_equal(p.n, 0);
	verdict = MON_PROVIDE;
	bus_write(&vm->pio, 0, 0x100, 1, 1);
	assert_int_equal(p.n, 1);
	plat_free(vm);
}

/* As a whole, in parts, and what is wider or beside it. */
static void test_late(void **state)
{
	static const struct bus_late late = {.first = 4, .len = 4};
	static const struct bus_region region = {"late", 0x100,      16,          1,
						 4,      probe_read, probe_write, .late = &late};
	struct vm *vm = setup_vm();
	struct probe p = {0};
	uint64_t base = 0;
	uint32_t len = 0;

	assert_int_equal(bus_map_at(&vm->mmio, 0x200, &region, &p), 0);
	assert_int_equal(bus_map_at(&vm->mmio, 0x300, &region_1_4, &p), 0);
	assert_true(bus_late(&vm->mmio, 0x204, 4, &base, &len));
	assert_int_equal(base, 0x204);
	assert_int_equal(len, 4);
	assert_true(bus_late(&vm->mmio, 0x207, 1, &base, &len));
	assert_false(bus_late(&vm->mmio, 0x206, 4, &base, &len));
	assert_false(bus_late(&vm->mmio, 0x203, 1, &base, &len));
	assert_false(bus_late(&vm->mmio, 0x204, 8, &base, &len));
	assert_false(bus_late(&vm->mmio, 0x208, 1, &base, &len));
	assert_false(bus_late(&vm->mmio, 0x304, 4, &base, &len));
	assert_false(bus_late(&vm->mmio, 0x404, 4, &base, &len));
	plat_free(vm);
}

static uint32_t probe_bells(void *dev)
{
	return BIT(0) | BIT(2);
}

/* Rung late and several as one: each is told, or asked about where rules have come meanwhile; the device hears one. */
static void test_bells(void **state)
{
	static const struct bus_bells bells = {
		.first = 4, .stride = 4, .size = 2, .which = probe_bells};
	static const struct bus_region region = {"bells", 0x100,      16,          1,
						 4,       probe_read, probe_write, .bells = &bells};
	struct vm *vm = setup_vm();
	struct probe p = {0};

	assert_int_equal(bus_map(&vm->pio, &region, &p), 0);
	assert_int_equal(bus_map_at(&vm->pio, 0x110, &region_1_4, &p), 0);
	assert_true(bus_is_bell(&vm->pio, 0x104, 2, 0));
	assert_true(bus_is_bell(&vm->pio, 0x10c, 2, 2));
	assert_false(bus_is_bell(&vm->pio, 0x108, 2, 1)); /* not one of those */
	assert_false(bus_is_bell(&vm->pio, 0x104, 2, 2));
	assert_false(bus_is_bell(&vm->pio, 0x104, 4, 0));
	assert_false(bus_is_bell(&vm->pio, 0x104, 2, UINT64_C(1) << 32));
	assert_false(bus_is_bell(&vm->pio, 0x114, 2, 0));
	assert_false(bus_is_bell(&vm->pio, 0x200, 2, 0));
	assert_int_equal(p.n, 0);
	told = 0;
	vm->mon.tell = count_tell;
	vm->mon.ask = fixed_ask;
	atomic_store(&vm->mon.tell_mask, BIT(MON_PORT));
	bus_ring(&vm->pio, -1, 0x10c, 2, 2, 5);
	assert_int_equal(told, 5);
	assert_int_equal(p.n, 1);
	assert_int_equal(p.off[0], 12);
	assert_int_equal(p.value[0], 2);
	atomic_store(&vm->mon.ask_mask, BIT(MON_PORT));
	verdict = MON_DENY;
	bus_ring(&vm->pio, -1, 0x10c, 2, 2, 3);
	assert_int_equal(told, 8);
	assert_int_equal(p.n, 1);
	plat_free(vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_widths), cmocka_unit_test(test_edges),
		cmocka_unit_test(test_full),   cmocka_unit_test(test_monitor),
		cmocka_unit_test(test_bells),  cmocka_unit_test(test_late),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
