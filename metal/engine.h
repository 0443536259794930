/* SPDX-License-Identifier: ISC */
/* engine.h: what executes the guests of this machine. engine_hw.c: its processor's virtualization. engine_any.c: that, or
 * where there is none the software engine; another program is made with it. */
#ifndef METAL_ENGINE_H
#define METAL_ENGINE_H

#include "vm/vcpu_ops.h"

/* NULL: there is none. *why: why the processor does not do it by itself, for people; NULL: it does. */
const struct engine_ops *engine_choose(const char **why);
int engine_cpu_start(void) attr_must_check; /* on each CPU */
/* Of a vCPU: how often the guest was entered, when first (ns); zeros where the engine does not count. */
struct engine_counts {
	uint64_t entries, flushes, began;
};
struct engine_counts engine_count(const struct vcpu *vcpu);

#endif
