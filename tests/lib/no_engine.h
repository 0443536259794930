/* SPDX-License-Identifier: ISC */
/* no_engine.h: an engine that runs nothing, for tests of devices: a vCPU is its state. */
#ifndef TESTS_NO_ENGINE_H
#define TESTS_NO_ENGINE_H

#include <stdlib.h>

#include "plat/plat.h"
#include "vm/vm.h"

static int none_vcpu_init(struct vcpu *vcpu)
{
	vcpu->state = plat_alloc(sizeof(*vcpu->state));
	return vcpu->state ? 0 : ERR_NOMEM;
}

static void none_vcpu_fini(struct vcpu *vcpu)
{
	plat_free(vcpu->state);
}

static int none_init(struct vm *vm)
{
	return 0;
}

static void none_fini(struct vm *vm)
{
}

static const struct engine_ops no_engine = {.name = "none",
					    .vm_init = none_init,
					    .vm_fini = none_fini,
					    .vcpu_init = none_vcpu_init,
					    .vcpu_fini = none_vcpu_fini};

/* For fuzz targets: one processor, and RAM from 0 on; it is there, or nothing is. */
static inline struct vm *bare_vm(uint64_t ram)
{
	struct vm_config cfg = {
		.name = "fuzz", .engine = &no_engine, .cpus = 1, .memory = ram, .low_end = ram};
	struct vm *vm;

	if (vm_create(&cfg, &vm))
		abort();
	return vm;
}

#endif
