/* SPDX-License-Identifier: ISC */
/* pc_rig.h: a machine of RAM, buses and vCPUs that execute nothing, on plat/fake, for unit tests of
 * the PC's chips. One thread; what a chip asks of a vCPU stays in vcpu->requests. */
#ifndef TESTS_PC_RIG_H
#define TESTS_PC_RIG_H

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "plat/fake/fake.h"
#include "tests/lib/no_engine.h"
#include "vm/vm.h"

struct rig_line {
	bool level;
	unsigned rises, changes;
};

static inline void rig_line_set(void *sink, unsigned n, bool level)
{
	struct rig_line *l = (struct rig_line *)sink + n;

	l->rises += level && !l->level;
	l->changes += level != l->level;
	l->level = level;
}

static inline struct vm *rig_vm(unsigned cpus)
{
	const struct vm_config cfg = {
		.name = "rig",
		.engine = &no_engine,
		.cpus = cpus,
		.memory = 2 * MIB,
		.low_end = 2 * MIB,
	};
	struct vm *vm;

	fake_reset();
	assert_int_equal(vm_create(&cfg, &vm), 0);
	return vm;
}

static inline void rig_end(struct vm *vm)
{
	assert_int_equal(fake_locks_held(), 0);
	vm_destroy(vm);
	assert_int_equal(fake_alloc_live(), 0);
}

static inline uint8_t inb(struct vm *vm, uint16_t port)
{
	return (uint8_t)bus_read(&vm->pio, 0, port, 1);
}

static inline void outb(struct vm *vm, uint16_t port, uint8_t v)
{
	bus_write(&vm->pio, 0, port, 1, v);
}

/* The requests that came for a vCPU since the last call. */
static inline uint32_t rig_requests(struct vm *vm, unsigned vcpu)
{
	return atomic_exchange(&vm->vcpu[vcpu]->requests, 0);
}

/* xorshift; the seed is printed so that a failure can be repeated. */
struct rig_random {
	uint64_t x;
};

static inline struct rig_random rig_random(void)
{
	const char *s = getenv("SEED");
	struct rig_random r = {s ? strtoull(s, NULL, 0) : 0x2545f4914f6cdd1d};

	print_message("SEED=%#llx\n", (unsigned long long)r.x);
	return r;
}

static inline uint64_t rig_next(struct rig_random *r)
{
	r->x ^= r->x << 13;
	r->x ^= r->x >> 7;
	r->x ^= r->x << 17;
	return r->x;
}

/* Random accesses of all widths to ports (or addresses) base[0…n-1] + 0…len-1, in between the
 * clock moves. */
struct rig_range {
	uint64_t base;
	unsigned len;
};

static inline void rig_garbage(struct vm *vm, struct bus *bus, const struct rig_range *range,
			       unsigned n, unsigned steps, struct rig_random *r)
{
	for (unsigned i = 0; i < steps; i++) {
		const struct rig_range *at = &range[rig_next(r) % n];
		uint64_t addr = at->base + rig_next(r) % at->len;
		unsigned size = 1u << rig_next(r) % (bus == &vm->mmio ? 4 : 3);
		int vcpu = (int)(rig_next(r) % vm->n_vcpus);

		if (rig_next(r) & 1)
			bus_write(bus, vcpu, addr, size, rig_next(r));
		else
			bus_read(bus, vcpu, addr, size);
		if (rig_next(r) % 16 == 0)
			fake_advance(rig_next(r) % (1u << rig_next(r) % 26));
		assert_int_equal(fake_locks_held(), 0);
	}
}

#endif
