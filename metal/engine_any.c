/* SPDX-License-Identifier: ISC */
/* engine_any.c: guests by the processor's own virtualization; where it has none, by the software engine. */
#include "engine/hw/hw.h"
#include "engine/soft/soft.h"
#include "metal/engine.h"
#include "vm/vm.h"

/* Here all memory is there from the start, touched or not. A VM with one vCPU takes at most 8 MiB and a hundredth of its memory: a
 * cache in which a Debian kernel starts as fast as in the usual one (2 MiB take seven times as long), and tables for a working
 * set of so much of its memory. */
#define CACHE_LEAST   (9 * MIB / 4)
#define CACHE_SHARE   176                    /* of its memory, beside these */
#define TABLES_LEAST  ((uint32_t)(32 * KIB)) /* 4096 pages */
#define TABLES_MOST   ((uint32_t)(128 * KIB))
#define TABLES_SHARE  32768
#define FURTHER_VIEWS 2 /* a vCPU more is 2.3 MiB then, with four of them 3.1 */

static int soft_init(struct vm *vm)
{
	struct soft_config cfg = {
		.cache_bytes = MIN(CACHE_LEAST + vm->ram.size / CACHE_SHARE, SOFT_CACHE_DEFAULT),
		.tables = TABLES_LEAST,
		.views = FURTHER_VIEWS};

	while (cfg.tables < TABLES_MOST && cfg.tables < vm->ram.size / TABLES_SHARE)
		cfg.tables *= 2;
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
	return (struct engine_counts){hw_entries(vcpu), hw_flushes(vcpu), hw_began(vcpu)};
}
