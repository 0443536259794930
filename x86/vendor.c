/* SPDX-License-Identifier: ISC */
/* vendor.c: where processors of different makers do different things with the same bytes (found
 * with tests/diff). The guest gets its host's ways: translated code runs on it, and CPUID names its
 * maker. Constant data. */
#include "base/str.h"
#include "x86/interp.h"

/* F3 90 with REX.B: XCHG for AMD, PAUSE for Intel, which ignores REX there. */
static void xchg_is_pause(struct insn *in)
{
	static const uint8_t pause[] = {0xf3, 0x90};
	struct insn was = *in;

	if (insn_decode(pause, sizeof(pause), was.mode, in) != DECODE_OK) {
		*in = was;
		return;
	}
	in->len = was.len;
	memcpy(in->bytes, was.bytes, sizeof(was.bytes));
}

/* SHA: AMD's processors take any address. */
bool insn_aligns(const struct insn *in, bool amd)
{
	return in->row->attr & AT_ALIGN || (in->row->feature == X_FEAT_SHA && !amd);
}

/* AMD looks the whole operand up first, and goes by elements where that faults; before Zen 5 but stores of compress and
 * of VMASKMOV. */
bool insn_touches_all(const struct cpu *cpu, const struct insn *in)
{
	bool store = in->opnd[0].kind == OP_MEM;

	return cpu->i.amd && (cpu->i.whole_stores ||
			      !(store && (in->row->attr & AT_DENSE || in->enc != ENC_EVEX)));
}

/* KMOVQ from an opmask register outside of 64-bit mode: AMD moves all bits. */
static void widen_kmov(struct insn *in)
{
	if (in->mnem == I_KMOVD && in->opcode == 0x93 && in->vex_w)
		in->opnd[0].size = 8;
}

void insn_settle(struct insn *in, bool amd)
{
	if (amd) {
		widen_kmov(in);
		return;
	}
	if (in->mnem == I_MOVSXD && in->op_size == 2)
		in->opnd[1].size = 2;
	else if (in->mnem == I_XCHG && in->rep == 0xf3 && in->opcode == 0x90 && in->map == 0)
		xchg_is_pause(in);
}

enum decode_result cpu_decode(const struct cpu *cpu, const uint8_t *p, size_t avail, unsigned mode,
			      struct insn *in)
{
	enum decode_result r = insn_decode(p, avail, mode, in);

	if (likely(r == DECODE_OK))
		insn_settle(in, cpu->i.amd);
	return r;
}
