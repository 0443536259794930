/* SPDX-License-Identifier: ISC */
/* debug.c: breakpoints and watchpoints of a debugger outside of the guest. The set is constant while
 * CPUs run, so any thread may look. */
#include "x86/interp.h"

bool debug_breaks(const struct debug_set *set, gva_t gva)
{
	uint32_t lo = 0, hi = set->n_breaks;

	if (!debug_may_break(set, gva))
		return false;
	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;

		if (set->at[mid] == gva)
			return true;
		if (set->at[mid] < gva)
			lo = mid + 1;
		else
			hi = mid;
	}
	return false;
}

int debug_watches(const struct debug_set *set, gva_t gva, uint64_t size, bool write)
{
	for (uint32_t i = 0; i < set->n_watches; i++) {
		const struct debug_watch *w = &set->watch[i];

		if ((write ? w->write : w->read) && gva < w->addr + w->len && w->addr < gva + size)
			return (int)i;
	}
	return -1;
}

bool debug_watches_page(const struct debug_set *set, gva_t gva)
{
	gva_t page = gva & ~PAGE_MASK;

	for (uint32_t i = 0; i < set->n_watches; i++) {
		const struct debug_watch *w = &set->watch[i];

		if ((w->addr & ~PAGE_MASK) <= page && w->addr + w->len - 1 >= page)
			return true;
	}
	return false;
}

gva_t code_gva(const struct cpu *cpu)
{
	return is_64(cpu) ? cpu->s.rip : (cpu->s.seg[CS].base + cpu->s.rip) & 0xffffffff;
}

bool debugger_breaks(struct cpu *cpu)
{
	gva_t gva = code_gva(cpu);

	if (cpu->debug_step != DEBUG_RUN || !debug_breaks(cpu->debug, gva))
		return false;
	if (gva == cpu->debug_skip) {
		cpu->debug_skip = DEBUG_NO_SKIP;
		return false;
	}
	cpu->hit = (struct debug_hit){.kind = HIT_BREAK, .addr = gva};
	return true;
}

void debugger_watch(struct cpu *cpu, gva_t gva, unsigned size, bool write)
{
	int n = debug_watches(cpu->debug, gva, size, write);

	if (n >= 0)
		cpu->hit = (struct debug_hit){
			.kind = HIT_WATCH,
			.watch = (uint8_t)n,
			.addr = MAX(gva, cpu->debug->watch[n].addr),
		};
}

void cpu_fpu_flatten(struct cpu *cpu)
{
	fpu_sync(cpu, (unsigned)(XCR0_X87 | XCR0_SSE | (cpu->s.xcr0 & (XCR0_AVX | XCR0_AVX512))));
}
