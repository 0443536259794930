/* SPDX-License-Identifier: ISC */
/* engine_hw.c: guests by the processor's own virtualization, or not at all. */
#include "engine/hw/hw.h"
#include "metal/engine.h"

const struct engine_ops *engine_choose(const char **why)
{
	return hw_engine(why);
}

int engine_cpu_start(void)
{
	const char *why;

	return hw_engine(&why) ? hw_cpu_start() : 0;
}

struct engine_counts engine_count(const struct vcpu *vcpu)
{
	return (struct engine_counts){hw_entries(vcpu), hw_flushes(vcpu), hw_began(vcpu)};
}
