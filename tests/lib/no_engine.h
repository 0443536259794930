/* SPDX-License-Identifier: ISC */
/* no_engine.h: an engine that runs nothing, for tests of devices: a vCPU is its state. */
#ifndef TESTS_NO_ENGINE_H
#define TESTS_NO_ENGINE_H

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

#endif
