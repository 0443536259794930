/* SPDX-License-Identifier: ISC */
/* engine_any.c: guests by the processor's own virtualization; where it has none, by the software engine. */
#include "engine/hw/hw.h"
#include "engine/soft/soft.h"
#include "metal/engine.h"
#include "vm/vm.h"

/* Here all memory is there from the start: a cache that the guest can fill. */
#define CACHE_SHARE 16 /* of its memory */
#define CACHE_LEAST ((size_t)MIB)

static int soft_init(struct vm *vm)
{
	struct soft_config cfg = {.cache_bytes = MIN(MAX(vm->ram.size / CACHE_SHARE, CACHE_LEAST),
						     (size_t)SOFT_CACHE_DEFAULT)};

	return soft_vm_init_with(vm, &cfg);
}

const struct engine_ops *engine_choose(const char **why)
{
	static struct engine_ops soft;
	const struct engine_ops *hw = hw_engine(why);

	if (hw)
		return hw;
	if (!soft.run) {
		soft = engine_soft;
		soft.vm_init = soft_init;
	}
	return &soft;
}

int engine_cpu_start(void)
{
	const char *why;

	return hw_engine(&why) ? hw_cpu_start() : 0;
}

struct engine_counts engine_count(const struct vcpu *vcpu)
{
	const char *why;

	if (!hw_engine(&why))
		return (struct engine_counts){0};
	return (struct engine_counts){hw_entries(vcpu), hw_began(vcpu)};
}
