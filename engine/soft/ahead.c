/* SPDX-License-Identifier: ISC */
/* ahead.c: which flags the code behind a block's jumps may read.
 *
 * Compilers seldom hand flags from block to block: a few instructions on, all of them are written. Where
 * that can be seen on the same page, they are dead at the block's end, and its probes may change them.
 * The bytes looked at then count as the block's own: it goes when they change (code.c). */
#include "engine/soft/block.h"
#include "engine/soft/emit.h"

/* Instructions looked at, and how far apart all of a block's bytes ahead may lie */
#define AHEAD_INSNS 6u
#define AHEAD_SPAN  256u

/* One that has no effect but its operands' and row's, on any host */
static bool is_simple(const struct insn *in)
{
	switch (in->row->cls) {
	case CLS_COPY:
	case CLS_NOP:
	case CLS_LEA:
	case CLS_PUSH:
	case CLS_POP:
		return !in->row->feature &&
		       !(in->row->attr & (AT_HOSTX | AT_CPL0 | AT_PROT | AT_ENDS | AT_X87));
	}
	return false;
}

/* Makes [from, to) of the page the block's, together with what else it has ahead. */
static bool claim(struct soft_block *b, uint32_t from, uint32_t to)
{
	if (b->ahead[1]) {
		from = MIN(from, (uint32_t)b->ahead[0]);
		to = MAX(to, (uint32_t)b->ahead[1]);
	}
	if (to - from > AHEAD_SPAN)
		return false;
	b->ahead[0] = (uint16_t)from;
	b->ahead[1] = (uint16_t)to;
	return true;
}

unsigned flags_live_at(struct tr *t, uint64_t target)
{
	uint32_t start = target & PAGE_MASK, pos = start;
	unsigned live = 0, open = FL_ARITH;
	struct insn in;

	if (t->sv->cfg.no_ahead || !tr_same_page(t, target))
		return FL_ARITH;
	for (unsigned n = 0; open && n < AHEAD_INSNS; n++) {
		if (cpu_decode(&t->v->cpu, t->page + pos, PAGE_SIZE - pos, mode_bytes(t->mode),
			       &in) != DECODE_OK ||
		    !is_simple(&in) || tr_has_break(t, target + (pos - start)))
			break;
		live |= open & in.row->fl_read;
		open &= ~flags_written(t, &in);
		pos += in.len;
	}
	live |= open;
	return live != FL_ARITH && claim(t->b, start, pos) ? live : FL_ARITH;
}
