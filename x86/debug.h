/* SPDX-License-Identifier: ISC */
/* debug.h: what a debugger outside of the guest wants to hear of, in the form in which interpreter
 * and translators look it up. The guest's own debug registers are another matter: architecture. */
#ifndef X86_DEBUG_H
#define X86_DEBUG_H

#include "base/def.h"

#define DEBUG_BREAKS  512u
#define DEBUG_WATCHES 64u

struct debug_watch {
	gva_t addr;
	uint64_t len; /* at least 1; addr + len does not wrap */
	bool read, write;
};

/* Linear addresses, as the guest's current mappings have them. Changes only while no CPU runs. */
struct debug_set {
	uint32_t n_breaks, n_watches;
	gva_t at[DEBUG_BREAKS];         /* sorted, each once */
	uint8_t offsets[PAGE_SIZE / 8]; /* bit n: some breakpoint's offset in its page is n */
	struct debug_watch watch[DEBUG_WATCHES];
};

/* May there be a breakpoint at gva? A translator leaves such instructions alone, wherever their page
 * is mapped; debug_breaks() then knows. */
static inline bool debug_may_break(const struct debug_set *set, gva_t gva)
{
	uint64_t off = gva & PAGE_MASK;

	return set->offsets[off / 8] >> (off % 8) & 1;
}

bool debug_breaks(const struct debug_set *set, gva_t gva);
/* The watchpoint that an access hits, or -1. */
int debug_watches(const struct debug_set *set, gva_t gva, uint64_t size, bool write);
/* Does a watchpoint reach into the page of gva? */
bool debug_watches_page(const struct debug_set *set, gva_t gva);

/* How a CPU runs */
enum debug_step {
	DEBUG_RUN,
	DEBUG_STEP,        /* one instruction, or one iteration of a repeated one */
	DEBUG_STEP_NO_IRQ, /* the same, and interrupts wait */
};

enum debug_hit_kind {
	HIT_NONE,
	HIT_BREAK, /* before the instruction at addr */
	HIT_WATCH, /* after an instruction that has accessed addr */
	HIT_STEP,  /* after an instruction, or the delivery of what it raised */
};

struct debug_hit {
	uint8_t kind;  /* enum debug_hit_kind */
	uint8_t watch; /* its number */
	gva_t addr;
};

#define DEBUG_NO_SKIP UINT64_MAX

#endif
