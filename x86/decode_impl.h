/* SPDX-License-Identifier: ISC */
/* decode_impl.h: what decode.c and decode_opnd.c share. Any thread; no state. */
#ifndef X86_DECODE_IMPL_H
#define X86_DECODE_IMPL_H

#include "x86/insn.h"
#include "x86/optab.h"

enum { PP_NP, PP_66, PP_F3, PP_F2 };

struct dec {
	const uint8_t *p;
	unsigned pos, limit; /* limit: of what may be read, at most INSN_MAX */
	unsigned mode;
	struct insn *in;
	const struct optab_row *row;
	unsigned pp; /* PP_* of the slot */
	bool w, vvvv_used;
	uint8_t reg_hi, rm_hi,
		x_hi;  /* EVEX: bit 4 of register numbers: ModRM.reg, .rm, VSIB's index */
	uint8_t opmap; /* enum opmap */
};

static inline bool have(const struct dec *d, unsigned n)
{
	return d->pos + n <= d->limit;
}

/* What it means that the bytes have run out */
static inline enum decode_result short_of(const struct dec *d)
{
	return d->limit == INSN_MAX ? DECODE_TOO_LONG : DECODE_MORE;
}

/* n is a constant in all but the cold callers, so these become plain loads */
static inline uint64_t fetch(struct dec *d, unsigned n)
{
	const uint8_t *p = d->p + d->pos;
	uint64_t v = 0;

	d->pos += n;
	switch (n) {
	case 1:
		return *p;
	case 2:
		__builtin_memcpy(&v, p, 2);
		return v;
	case 4:
		__builtin_memcpy(&v, p, 4);
		return v;
	default:
		__builtin_memcpy(&v, p, 8);
		return v;
	}
}

/* decode_opnd.c: the row is known; what follows in the bytes. */
enum decode_result dec_operands(struct dec *d);

#endif
