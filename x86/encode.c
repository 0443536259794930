/* SPDX-License-Identifier: ISC */
/* encode.c: writes a decoded instruction again for 64-bit mode with other registers and another
 * memory operand (SDM vol. 2, chapter 2). Any thread; no state.
 *
 * Nothing is looked up but the row: opcode, map, mandatory prefix, VEX.L and immediates go over as
 * they are; prefixes and ModRM are made anew. Example: in 32-bit code, 66 40 is INC AX; with guest
 * RAX renamed to R8 that is 66 41 FF C0. */
#include "x86/encode.h"
#include "x86/cover.h"
#include "x86/optab.h"

struct enc {
	const struct insn *in;
	const struct insn_subst *subst;
	const struct optab_row *row;
	uint8_t map, opcode, op_reg; /* op_reg: register in the opcode's low bits, extension too */
	bool has_modrm, mem;         /* mem: the r/m is memory */
	uint8_t reg, rm, vvvv;       /* with extension bits */
	bool w, high8, low8;         /* low8: SPL BPL SIL DIL or above: needs a REX */
	int32_t disp;
	uint8_t scale; /* of a disp8 */
	uint8_t imm[8], n_imm;
	uint8_t *out;
	unsigned len;
};

static void put(struct enc *e, unsigned b)
{
	e->out[e->len++] = (uint8_t)b;
}

/* A general register as the host will name it */
static enum encode_result rename_gpr(struct enc *e, const struct insn_opnd *o, uint8_t *num)
{
	*num = e->subst->gpr[o->reg] & 15;
	if (o->high8) {
		if (*num != o->reg || *num > 3)
			return ENCODE_HIGH8;
		*num += 4;
		e->high8 = true;
	} else if (o->size == 1 && *num >= 4) {
		e->low8 = true;
	}
	return ENCODE_OK;
}

/* The register is in the opcode, but the operation also has a ModRM form that is wanted: memory is
 * asked for, there is no other encoding in 64-bit mode, or the short one would become a NOP. */
static enum encode_result opcode_to_modrm(struct enc *e, const struct insn_opnd *o)
{
	const struct insn *in = e->in;
	uint8_t num = e->subst->gpr[o->reg] & 15;

	switch (in->mnem) {
	case I_INC:
	case I_DEC:
		e->opcode = 0xff;
		e->reg = in->mnem == I_DEC;
		break;
	case I_XCHG:
		if (!e->subst->rm_to_mem && num != RAX)
			return ENCODE_NO;
		e->opcode = 0x87;
		e->reg = RAX;
		break;
	case I_MOV:
		if (!e->subst->rm_to_mem)
			return ENCODE_NO;
		if (o->size == 8) {
			if ((int64_t)in->imm != (int32_t)in->imm)
				return ENCODE_NO;
			e->n_imm = 4;
		}
		e->opcode = o->size == 1 ? 0xc6 : 0xc7;
		e->reg = 0;
		break;
	default:
		return ENCODE_NO;
	}
	e->has_modrm = true;
	return ENCODE_OK;
}

static enum encode_result enc_rm_to_mem(struct enc *e, const struct insn_opnd *o)
{
	/* Rows with both forms do the same in both, except for bit strings, and where EVEX.b is a rounding
	 * mode or a broadcast */
	if (e->row->r.attr & (AT_REGONLY | AT_BITSTR) || e->in->enc == ENC_EVEX || o->kind == OP_K)
		return ENCODE_NO;
	e->mem = true;
	e->disp += o->high8;
	return ENCODE_OK;
}

static enum encode_result enc_reg(struct enc *e, const struct insn_opnd *o, uint8_t *num)
{
	if (o->kind == OP_GPR)
		return rename_gpr(e, o, num);
	if (e->in->enc == ENC_EVEX)
		*num = o->reg;
	return ENCODE_OK;
}

static enum encode_result enc_operand(struct enc *e, const struct insn_opnd *o)
{
	enum encode_result err;

	switch (o->field) {
	case FIELD_RM:
		if (o->kind == OP_MEM)
			return ENCODE_OK;
		if (e->subst->rm_to_mem && o->kind != OP_ST)
			return enc_rm_to_mem(e, o);
		return enc_reg(e, o, &e->rm);
	case FIELD_REG:
		return enc_reg(e, o, &e->reg);
	case FIELD_VVVV:
		return enc_reg(e, o, &e->vvvv);
	case FIELD_OPCODE:
		if (opcode_to_modrm(e, o) == ENCODE_OK) {
			if (!e->subst->rm_to_mem)
				return rename_gpr(e, o, &e->rm);
			return enc_rm_to_mem(e, o);
		}
		if (e->subst->rm_to_mem)
			return ENCODE_NO;
		err = rename_gpr(e, o, &e->op_reg);
		e->opcode = (uint8_t)((e->opcode & 0xf8) | (e->op_reg & 7));
		return err;
	case FIELD_IS4:
		/* Bit 7 means something in 64-bit mode only */
		e->imm[0] = (uint8_t)((e->imm[0] & 15) | o->reg << 4);
		return ENCODE_OK;
	default:
		return ENCODE_OK;
	}
}

/* Does 66 (REX.W) make a difference to this row? */
static bool by_op_size(const struct optab_row *row)
{
	for (const uint8_t *op = row->ops; *op != OPC_END; op++) {
		const struct op_spec *sp = &optab_spec[*op];

		for (unsigned i = 0; i < 2; i++) {
			switch (i ? sp->msize : sp->size) {
			case SZ_V:
			case SZ_Z:
			case SZ_P:
			case SZ_A:
			case SZ_ENV:
			case SZ_FSAV:
			case SZ_VH:
				return true;
			}
		}
	}
	return row->r.attr & AT_OSZ;
}

static bool by_rex_w(const struct optab_row *row)
{
	for (const uint8_t *op = row->ops; *op != OPC_END; op++)
		if (optab_spec[*op].size == SZ_Y || optab_spec[*op].msize == SZ_Y)
			return true;
	return false;
}

/* REX or VEX bits of what ModRM, SIB and the opcode name */
static unsigned ext_bits(const struct enc *e)
{
	const struct insn_subst *s = e->subst;
	unsigned bits = (e->reg & 8) >> 1;

	if (!e->has_modrm)
		return (e->op_reg & 8) >> 3;
	if (!e->mem)
		return bits | (e->rm & 8) >> 3;
	if (s->base >= 0)
		bits |= (s->base & 8) >> 3;
	if (e->row->r.attr & AT_VSIB)
		bits |= (e->in->mem.index & 8) >> 2;
	else if (s->index >= 0)
		bits |= (s->index & 8) >> 2;
	return bits;
}

static enum encode_result enc_legacy(struct enc *e)
{
	const struct insn *in = e->in;
	unsigned ext = ext_bits(e);

	if (in->lock)
		put(e, 0xf0);
	if (in->pp == 0x66 || (in->op_size == 2 && by_op_size(e->row)))
		put(e, 0x66);
	if (in->pp == 0xf2 || in->pp == 0xf3)
		put(e, in->pp);
	else if (in->rep && e->row->r.attr & AT_REP)
		put(e, in->rep);
	ext |= e->w ? 8 : 0;
	if (e->high8 && (ext || e->low8))
		return ENCODE_HIGH8;
	if (ext || e->low8)
		put(e, 0x40 | ext);
	if (e->map)
		put(e, 0x0f);
	if (e->map >= 2)
		put(e, e->map == 2 ? 0x38 : 0x3a);
	put(e, e->opcode);
	return ENCODE_OK;
}

static void enc_vex(struct enc *e)
{
	const struct insn *in = e->in;
	unsigned pp = in->pp == 0x66 ? 1 : in->pp == 0xf3 ? 2 : in->pp == 0xf2 ? 3 : 0;
	unsigned ext = ext_bits(e);
	unsigned last = (~e->vvvv & 15u) << 3 | in->vex_l << 2 | pp;

	if (e->map == 1 && !e->w && !(ext & 3)) {
		put(e, 0xc5);
		put(e, (ext & 4 ? 0 : 0x80) | last);
	} else {
		put(e, 0xc4);
		put(e, (~ext & 7) << 5 | e->map);
		put(e, (e->w ? 0x80 : 0) | last);
	}
	put(e, e->opcode);
}

/* Rounding, broadcast, zeroing and the opmask stay as they are. */
static void enc_evex(struct enc *e)
{
	const struct insn *in = e->in;
	bool vsib = e->row->r.attr & AT_VSIB;
	unsigned ext = ext_bits(e), hi = e->reg >> 4 & 1, v_hi = e->vvvv >> 4 & 1;

	if (!e->mem)
		ext |= e->rm >> 3 & 2;
	if (vsib)
		v_hi = (unsigned)in->mem.index >> 4 & 1;
	put(e, 0x62);
	put(e, (~ext & 7) << 5 | (hi ^ 1) << 4 | e->map);
	put(e, (e->w ? 0x80 : 0) | (~e->vvvv & 15u) << 3 | 4 | (in->evex[1] & 3));
	put(e, (in->evex[2] & 0xf7u) | (v_hi ^ 1) << 3);
	put(e, e->opcode);
}

static void put_disp(struct enc *e, unsigned mod)
{
	unsigned n = mod == 1 ? 1 : mod == 2 ? 4 : 0;
	int32_t disp = mod == 1 ? e->disp / e->scale : e->disp;

	for (unsigned i = 0; i < n; i++)
		put(e, (uint32_t)disp >> i * 8);
}

static unsigned mod_of(const struct enc *e, int base)
{
	if (e->disp == 0 && (base & 7) != RBP)
		return 0;
	return e->disp % e->scale == 0 && e->disp / e->scale == (int8_t)(e->disp / e->scale) ? 1
											     : 2;
}

static unsigned scale_bits(unsigned scale)
{
	return scale == 8 ? 3 : scale / 2;
}

static enum encode_result enc_modrm(struct enc *e)
{
	const struct insn *in = e->in;
	int base = e->subst->base, index = e->subst->index;
	unsigned reg = (e->reg & 7u) << 3, mod, scale = scale_bits(e->subst->scale);

	if (!e->mem) {
		put(e, 0xc0 | reg | (e->rm & 7));
		return ENCODE_OK;
	}
	if (e->row->r.attr & AT_VSIB) {
		index = in->mem.index;
		scale = scale_bits(in->mem.scale);
	} else if (index == RSP) {
		return ENCODE_NO;
	}
	if (base < 0) {
		/* mod 0, SIB base 5: disp32 alone or with the index */
		put(e, reg | 4);
		put(e, scale << 6 | (index < 0 ? 4 : index & 7) << 3 | 5);
		put_disp(e, 2);
		return ENCODE_OK;
	}
	mod = mod_of(e, base);
	if (index < 0 && (base & 7) != RSP) {
		put(e, mod << 6 | reg | (base & 7));
	} else {
		put(e, mod << 6 | reg | 4);
		put(e, scale << 6 | (index < 0 ? 4 : index & 7) << 3 | (base & 7));
	}
	put_disp(e, mod);
	return ENCODE_OK;
}

static void enc_init(struct enc *e, const struct insn *in, const struct insn_subst *subst)
{
	e->in = in;
	e->subst = subst;
	e->row = container_of(in->row, struct optab_row, r);
	e->map = in->map;
	e->opcode = in->opcode == 0x82 && !in->map && in->enc == ENC_LEGACY ? 0x80 : in->opcode;
	e->op_reg = 0;
	e->has_modrm = in->has_modrm;
	e->mem = in->has_mem;
	e->reg = (uint8_t)((in->modrm >> 3 & 7) | (in->rex & 4) << 1);
	e->rm = (uint8_t)((in->modrm & 7) | (in->rex & 1) << 3);
	e->vvvv = in->enc == ENC_EVEX ? 0 : in->vvvv & (in->mode == 8 ? 15 : 7);
	e->scale = in->disp_scale;
	/* Outside of 64-bit mode VEX.W still selects rows, but not the size of general registers */
	e->w = in->enc == ENC_LEGACY
		       ? in->rex & 8
		       : in->vex_w && (in->mode == 8 || !by_rex_w(e->row) ||
				       (in->opnd[0].kind == OP_GPR && in->opnd[0].size == 8));
	e->high8 = e->low8 = false;
	e->disp = subst->disp;
	e->n_imm = MIN(in->imm_bytes, 8);
	for (unsigned i = 0; i < e->n_imm; i++)
		e->imm[i] = in->bytes[in->len - in->imm_bytes + i];
	e->len = 0;
}

enum encode_result insn_encode(const struct insn *in, const struct insn_subst *subst, uint8_t *out,
			       unsigned *len)
{
	struct enc e;
	enum encode_result err;

	*len = 0;
	if (in->row->cls != CLS_COPY && in->row->cls != CLS_NOP && in->row->cls != CLS_LEA &&
	    in->row->cls != CLS_SYS)
		return ENCODE_NO;
	COVER_ENCODED(in);
	enc_init(&e, in, subst);
	e.out = out;
	for (unsigned i = 0; i < in->n_opnd; i++) {
		err = enc_operand(&e, &in->opnd[i]);
		if (err)
			return err;
	}
	if (in->row->attr & AT_NO64 && e.opcode == in->opcode)
		return ENCODE_NO;
	if (e.mem && subst->seg)
		put(&e, subst->seg);
	if (in->enc == ENC_LEGACY) {
		err = enc_legacy(&e);
		if (err)
			return err;
	} else if (in->enc == ENC_EVEX) {
		enc_evex(&e);
	} else {
		enc_vex(&e);
	}
	if (e.has_modrm) {
		err = enc_modrm(&e);
		if (err)
			return err;
	}
	for (unsigned i = 0; i < e.n_imm; i++)
		put(&e, e.imm[i]);
	*len = e.len;
	return ENCODE_OK;
}
