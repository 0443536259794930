/* SPDX-License-Identifier: ISC */
/* decode_opnd.c: sizes, ModRM's memory operand, operands and immediates of an instruction whose row is known (SDM vol. 2,
 * chapter 2). Any thread; no state. */
#include "x86/decode_impl.h"

static uint64_t sign_extend(uint64_t v, unsigned bytes)
{
	unsigned shift = 64 - bytes * 8;

	return (uint64_t)((int64_t)(v << shift) >> shift);
}

static void dec_sizes(struct dec *d)
{
	struct insn *in = d->in;
	bool other = in->opsize_pfx && in->pp != 0x66;

	if (d->mode == 8) {
		in->addr_size = in->addrsize_pfx ? 4 : 8;
		if (d->row->r.attr & AT_FORCE64 || d->w)
			in->op_size = 8;
		else if (d->row->r.attr & AT_DEF64)
			in->op_size = other ? 2 : 8;
		else
			in->op_size = other ? 2 : 4;
	} else {
		in->addr_size = (uint8_t)(in->addrsize_pfx ? 6 - d->mode : d->mode);
		in->op_size = (uint8_t)(other ? 6 - d->mode : d->mode);
	}
}

static unsigned segment(const struct insn *in, unsigned dflt)
{
	switch (in->seg_pfx) {
	case 0:
		return dflt;
	case 0x64:
		return FS;
	case 0x65:
		return GS;
	default:
		return in->seg_pfx >> 3 & 3; /* 26 2E 36 3E */
	}
}

static enum decode_result dec_disp(struct dec *d, unsigned bytes)
{
	if (!bytes)
		return DECODE_OK;
	if (!have(d, bytes))
		return short_of(d);
	d->in->disp_bytes = (uint8_t)bytes;
	d->in->mem.disp = (int64_t)sign_extend(fetch(d, bytes), bytes);
	return DECODE_OK;
}

static enum decode_result dec_mem16(struct dec *d)
{
	static const int8_t base[8] = {RBX, RBX, RBP, RBP, RSI, RDI, RBP, RBX};
	static const int8_t index[8] = {RSI, RDI, RSI, RDI, -1, -1, -1, -1};
	struct insn_mem *mem = &d->in->mem;
	unsigned mod = d->in->modrm >> 6, rm = d->in->modrm & 7;
	bool direct = mod == 0 && rm == 6;

	if (d->row->r.attr & AT_VSIB)
		return DECODE_UD;
	mem->base = direct ? -1 : base[rm];
	mem->index = direct ? -1 : index[rm];
	mem->seg = (uint8_t)segment(d->in, mem->base == RBP ? SS : DS);
	return dec_disp(d, direct ? 2 : mod);
}

static enum decode_result dec_mem(struct dec *d)
{
	static const uint8_t disp_of[4] = {0, 1, 4, 0};
	struct insn *in = d->in;
	struct insn_mem *mem = &in->mem;
	unsigned mod = in->modrm >> 6, rm = in->modrm & 7, disp = disp_of[mod];

	in->has_mem = true;
	if (in->addr_size == 2)
		return dec_mem16(d);
	mem->base = (int8_t)(rm | (in->rex & 1) << 3);
	if (rm == 4) {
		uint8_t sib;

		if (!have(d, 1))
			return short_of(d);
		sib = d->p[d->pos++];
		mem->scale = (uint8_t)(1 << (sib >> 6));
		mem->index = (int8_t)((sib >> 3 & 7) | (in->rex & 2) << 2);
		if (d->row->r.attr & AT_VSIB)
			mem->index = (int8_t)(mem->index | d->x_hi);
		if (mem->index == RSP && !(d->row->r.attr & AT_VSIB))
			mem->index = -1;
		rm = sib & 7;
		mem->base = (int8_t)(rm | (in->rex & 1) << 3);
		if (rm == 5 && mod == 0) {
			mem->base = -1;
			disp = 4;
		}
	} else if (d->row->r.attr & AT_VSIB) {
		return DECODE_UD;
	} else if (rm == 5 && mod == 0) {
		mem->base = -1;
		mem->rip_rel = d->mode == 8;
		disp = 4;
	}
	mem->seg = (uint8_t)segment(in, mem->base == RSP || mem->base == RBP ? SS : DS);
	return dec_disp(d, disp);
}

static unsigned size_of(const struct dec *d, unsigned sz)
{
	const struct insn *in = d->in;
	unsigned x = 16u << in->vex_l;

	switch (sz) {
	case SZ_V:
		return in->op_size;
	case SZ_Z:
		return MIN(in->op_size, 4);
	case SZ_Y:
		return d->w && d->mode == 8 ? 8 : 4;
	case SZ_X:
		return x;
	case SZ_XH:
		return x / 2;
	case SZ_XQ:
		return x / 4;
	case SZ_XE:
		return x / 8;
	case SZ_XHR:
		return MAX(x / 2, 16);
	case SZ_XDD:
		return in->vex_l ? x : 8;
	case SZ_M:
		return d->mode == 8 ? 8 : 4;
	case SZ_P:
		return in->op_size + 2u;
	case SZ_S:
		return d->mode == 8 ? 10 : 6;
	case SZ_A:
		return in->op_size * 2u;
	case SZ_ENV:
		return in->op_size == 2 ? 14 : 28;
	case SZ_FSAV:
		return in->op_size == 2 ? 94 : 108;
	case SZ_512:
		return 512;
	case SZ_VH:
		return in->op_size / 2u;
	default:
		return sz;
	}
}

static void set_reg(struct insn_opnd *o, unsigned kind, unsigned reg, unsigned field)
{
	o->kind = (uint8_t)kind;
	o->reg = (uint8_t)reg;
	o->field = (uint8_t)field;
}

static void set_gpr(const struct dec *d, struct insn_opnd *o, unsigned reg, unsigned field)
{
	set_reg(o, OP_GPR, reg, field);
	/* AH CH DH BH, where there is no REX */
	if (o->size == 1 && reg >= 4 && reg < 8 && d->in->enc == ENC_LEGACY && !d->in->rex) {
		o->reg -= 4;
		o->high8 = true;
	}
}

/* An immediate of n bytes, zero-extended */
static enum decode_result dec_imm(struct dec *d, unsigned n, uint64_t *v)
{
	if (unlikely(!have(d, n)))
		return short_of(d);
	*v = fetch(d, n);
	d->in->imm_bytes = (uint8_t)(d->in->imm_bytes + n);
	return DECODE_OK;
}

/* Immediates, displacements, addresses that follow the opcode */
static enum decode_result dec_following(struct dec *d, unsigned how, struct insn_opnd *o)
{
	struct insn *in = d->in;
	enum decode_result err;
	uint64_t v = 0;
	unsigned n;

	o->kind = OP_IMM;
	switch (how) {
	case HOW_IMM:
		return dec_imm(d, o->size, &in->imm);
	case HOW_SIMM8:
		err = dec_imm(d, 1, &in->imm);
		in->imm = sign_extend(in->imm, 1);
		return err;
	case HOW_SIMM:
		n = MIN(o->size, 4);
		err = dec_imm(d, n, &in->imm);
		in->imm = sign_extend(in->imm, n);
		return err;
	case HOW_IMM2:
		o->kind = OP_IMM2;
		err = dec_imm(d, 1, &v);
		in->imm2 = (uint32_t)v;
		return err;
	case HOW_J8:
	case HOW_JZ:
		o->kind = OP_REL;
		n = how == HOW_J8 ? 1 : MIN(o->size, 4);
		err = dec_imm(d, n, &in->imm);
		in->imm = sign_extend(in->imm, n);
		return err;
	case HOW_L:
		err = dec_imm(d, 1, &in->imm);
		set_reg(o, OP_VEC, (unsigned)in->imm >> 4 & (d->mode == 8 ? 15 : 7), FIELD_IS4);
		return err;
	case HOW_A:
		o->size = in->op_size;
		err = dec_imm(d, in->op_size, &in->imm);
		if (err)
			return err;
		err = dec_imm(d, 2, &v);
		in->imm2 = (uint32_t)v;
		o[1] = (struct insn_opnd){.kind = OP_IMM2, .acc = ACC_R, .size = 2};
		in->n_opnd++;
		return err;
	default: /* HOW_O */
		o->kind = OP_MEM;
		if (!have(d, in->addr_size))
			return short_of(d);
		in->has_mem = true;
		in->disp_bytes = in->addr_size;
		in->mem.disp = (int64_t)fetch(d, in->addr_size);
		return DECODE_OK;
	}
}

/* Opmask registers are eight, whatever the mode: other numbers are an error. */
static enum decode_result dec_opmask(struct insn_opnd *o, unsigned reg, unsigned field)
{
	set_reg(o, OP_K, reg & 7, field);
	return reg > 7 ? DECODE_UD : DECODE_OK;
}

static enum decode_result dec_operand(struct dec *d, const struct op_spec *sp, struct insn_opnd *o)
{
	struct insn *in = d->in;
	unsigned reg = (in->modrm >> 3 & 7) | (in->rex & 4) << 1;
	unsigned rm = (in->modrm & 7) | (in->rex & 1) << 3;

	o->size = (uint16_t)size_of(d, sp->size);
	switch (sp->how) {
	case HOW_E:
	case HOW_W:
	case HOW_Q:
	case HOW_KR:
		if (in->modrm < 0xc0) {
			o->kind = OP_MEM;
			o->size = (uint16_t)size_of(d, sp->msize);
			o->field = FIELD_RM;
		} else if (sp->how == HOW_E) {
			set_gpr(d, o, rm, FIELD_RM);
		} else if (sp->how == HOW_W) {
			set_reg(o, OP_VEC, rm | d->rm_hi, FIELD_RM);
		} else if (sp->how == HOW_KR) {
			set_reg(o, OP_K, rm & 7, FIELD_RM);
		} else {
			set_reg(o, OP_MM, rm & 7, FIELD_RM);
		}
		break;
	case HOW_G:
		if (d->reg_hi)
			return DECODE_UD;
		set_gpr(d, o, reg, FIELD_REG);
		break;
	case HOW_Z:
		set_gpr(d, o, (in->opcode & 7) | (in->rex & 1) << 3, FIELD_OPCODE);
		break;
	case HOW_B:
	case HOW_H:
		d->vvvv_used = true;
		set_reg(o, sp->how == HOW_B ? OP_GPR : OP_VEC, in->vvvv & (d->mode == 8 ? 31 : 7),
			FIELD_VVVV);
		break;
	case HOW_KG:
		return dec_opmask(o, reg | d->reg_hi, FIELD_REG);
	case HOW_KH:
		d->vvvv_used = true;
		return dec_opmask(o, in->vvvv & (d->mode == 8 ? 15 : 7), FIELD_VVVV);
	case HOW_GPR:
		set_reg(o, OP_GPR, sp->val, FIELD_IMPLICIT);
		break;
	case HOW_V:
		set_reg(o, OP_VEC, reg | d->reg_hi, FIELD_REG);
		break;
	case HOW_XMM0:
		set_reg(o, OP_VEC, 0, FIELD_IMPLICIT);
		break;
	case HOW_P:
		set_reg(o, OP_MM, reg & 7, FIELD_REG);
		break;
	case HOW_SREG:
		set_reg(o, OP_SREG, sp->val, FIELD_IMPLICIT);
		break;
	case HOW_S:
		reg &= 7;
		if (reg > GS || (o->acc & ACC_W && reg == CS))
			return DECODE_UD;
		set_reg(o, OP_SREG, reg, FIELD_REG);
		break;
	case HOW_C:
		if (!(BIT(reg) & (BIT(0) | BIT(2) | BIT(3) | BIT(4) | BIT(8))))
			return DECODE_UD;
		set_reg(o, OP_CR, reg, FIELD_REG);
		break;
	case HOW_D:
		if (reg > 7)
			return DECODE_UD;
		set_reg(o, OP_DR, reg, FIELD_REG);
		break;
	case HOW_ST0:
		set_reg(o, OP_ST, 0, FIELD_IMPLICIT);
		break;
	case HOW_STI:
		set_reg(o, OP_ST, rm & 7, FIELD_RM);
		break;
	case HOW_ONE:
		o->kind = OP_IMM;
		in->imm = 1;
		break;
	case HOW_X:
	case HOW_Y:
		o->kind = OP_MEM;
		o->size = (uint16_t)size_of(d, sp->msize);
		break;
	case HOW_O:
		o->size = (uint16_t)size_of(d, sp->msize);
		attr_fallthrough;
	default:
		return dec_following(d, sp->how, o);
	}
	return DECODE_OK;
}

static enum decode_result dec_listed(struct dec *d)
{
	struct insn *in = d->in;
	unsigned acc = d->row->acc;

	for (const uint8_t *op = d->row->ops; *op != OPC_END; op++, acc >>= 2) {
		struct insn_opnd *o = &in->opnd[in->n_opnd++];
		enum decode_result err;

		*o = (struct insn_opnd){.acc = acc & ACC_RW};
		err = dec_operand(d, &optab_spec[*op], o);
		if (unlikely(err))
			return err;
	}
	return DECODE_OK;
}

/* EVEX, with operands known: what EVEX.b makes of memory, 8-bit displacements */
static enum decode_result dec_evex_opnds(struct dec *d)
{
	struct insn *in = d->in;
	uint64_t at = d->row->r.attr;

	if (insn_zeroes(in) && in->opnd[0].kind == OP_MEM)
		return DECODE_UD;
	if (!in->has_mem)
		return DECODE_OK;
	for (unsigned i = 0; i < in->n_opnd; i++) {
		struct insn_opnd *o = &in->opnd[i];

		if (o->kind != OP_MEM)
			continue;
		if (at & AT_EL)
			in->mask_bits = (uint8_t)((at & AT_REPEAT ? in->opnd[0].size : o->size) /
						  insn_elem(&d->row->r));
		if (insn_evex_b(in))
			o->size = d->w ? 8 : 4;
		in->disp_scale = (uint8_t)(at & AT_DENSE ? insn_elem(&d->row->r) : o->size);
	}
	if (in->disp_bytes == 1)
		in->mem.disp *= in->disp_scale;
	return DECODE_OK;
}

enum decode_result dec_operands(struct dec *d)
{
	struct insn *in = d->in;
	enum decode_result err;

	dec_sizes(d);
	if (in->has_modrm && in->modrm < 0xc0) {
		err = dec_mem(d);
		if (unlikely(err))
			return err;
	} else {
		in->mem.seg = (uint8_t)segment(in, DS); /* strings, XLAT, moffs … */
	}
	in->mem.addr_size = in->addr_size;
	err = dec_listed(d);
	if (!err && in->enc == ENC_EVEX)
		err = dec_evex_opnds(d);
	return err;
}
