/* SPDX-License-Identifier: ISC */
/* fuzz_decode.c: libFuzzer target. First byte: mode and substitution; the rest is code. What decodes
 * must be self-consistent, formats into any buffer, and comes back the same from insn_encode(). */
#include <stdlib.h>
#include <string.h>

#include "x86/encode.h"
#include "x86/insn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void check_insn(const struct insn *in, size_t avail)
{
	const int vectors = in->enc == ENC_EVEX ? 32 : 16;

	must(in->len >= 1 && in->len <= INSN_MAX && in->len <= avail);
	must(in->n_opnd <= ARRAY_SIZE(in->opnd));
	must(in->mnem != I_INVALID && in->mnem < I_COUNT && in->row->mnem == in->mnem);
	must(in->imm_bytes + in->disp_bytes < in->len);
	for (unsigned i = 0; i < in->n_opnd; i++) {
		const struct insn_opnd *o = &in->opnd[i];

		must(o->kind != OP_NONE && o->reg < (o->kind == OP_VEC ? vectors : 16));
		must(!o->high8 || (o->kind == OP_GPR && o->size == 1 && o->reg < 4));
		must(o->kind != OP_MEM || in->has_mem || in->row->attr & AT_REP);
	}
	must(in->mem.base < 16 && in->mem.index < (in->row->attr & AT_VSIB ? vectors : 16));
	must(in->mem.seg < SREG_COUNT);
	must(!in->lock || in->row->attr & AT_LOCK);
}

static void check_encode(const struct insn *in, uint8_t how)
{
	struct insn_subst s = {.base = (int8_t)(how & 15), .index = -1, .disp = how * 1001};
	uint8_t out[INSN_MAX];
	struct insn again;
	unsigned len;

	for (unsigned i = 0; i < 16; i++)
		s.gpr[i] = (uint8_t)(how & 64 ? i ^ (how & 15) : i);
	s.rm_to_mem = how & 128;
	if (insn_encode(in, &s, out, &len) != ENCODE_OK)
		return;
	must(len >= 1 && len <= INSN_MAX);
	must(insn_decode(out, len, 8, &again) == DECODE_OK);
	/* CLS_SYS rows may have other sizes in 64-bit mode, but the name stays */
	must(again.len == len && again.mnem == in->mnem);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t modes[4] = {8, 4, 2, 8};
	struct insn in;
	char text[80];
	enum decode_result res;

	if (!size)
		return 0;
	res = insn_decode(data + 1, size - 1, modes[data[0] >> 4 & 3], &in);
	if (res == DECODE_MORE)
		must(size - 1 < INSN_MAX);
	if (res != DECODE_OK)
		return 0;
	check_insn(&in, size - 1);
	insn_format(&in, 0, text, data[0] & 1 ? sizeof(text) : data[0] % sizeof(text));
	check_encode(&in, data[0]);
	return 0;
}
