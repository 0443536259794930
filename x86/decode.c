/* SPDX-License-Identifier: ISC */
/* decode.c: bytes to struct insn (SDM vol. 2, chapter 2 and appendix A). Any thread; no state.
 *
 * In order: prefixes, opcode or VEX prefix, slot of the index, row, ModRM operand, operands,
 * immediates, rules that span them. Example: 66 F3 0F B8 C1. Prefixes 66 and F3, F3 is the
 * mandatory one (it goes before 66); map 0F, opcode B8, info says "ModRM"; slot (0F, B8, F3,
 * register) holds the row "POPCNT Gv,Ev", and as its only prefix is F3, 66 is left to make the
 * operand size 2: popcnt ax,cx. */
#include "x86/cover.h"
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

/* Prefix bytes by kind. REX counts in 64-bit mode only. */
enum { PFX_NO, PFX_66, PFX_67, PFX_REP, PFX_LOCK, PFX_SEG, PFX_FSGS, PFX_REX };
static const uint8_t prefix_kind[256] = {
	[0x26] = PFX_SEG,  [0x2e] = PFX_SEG,  [0x36] = PFX_SEG, [0x3e] = PFX_SEG,
	[0x64] = PFX_FSGS, [0x65] = PFX_FSGS, [0x66] = PFX_66,  [0x67] = PFX_67,
	[0xf0] = PFX_LOCK, [0xf2] = PFX_REP,  [0xf3] = PFX_REP, [0x40 ... 0x4f] = PFX_REX,
};

static bool have(const struct dec *d, unsigned n)
{
	return d->pos + n <= d->limit;
}

/* What it means that the bytes have run out */
static enum decode_result short_of(const struct dec *d)
{
	return d->limit == INSN_MAX ? DECODE_TOO_LONG : DECODE_MORE;
}

/* n is a constant in all but the cold callers, so these become plain loads */
static uint64_t fetch(struct dec *d, unsigned n)
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

static uint64_t sign_extend(uint64_t v, unsigned bytes)
{
	unsigned shift = 64 - bytes * 8;

	return (uint64_t)((int64_t)(v << shift) >> shift);
}

static enum decode_result dec_prefixes(struct dec *d)
{
	struct insn *in = d->in;

	for (;;) {
		uint8_t b;

		if (unlikely(!have(d, 1)))
			return short_of(d);
		b = d->p[d->pos];
		switch (prefix_kind[b]) {
		case PFX_NO:
			return DECODE_OK;
		case PFX_REX:
			if (d->mode != 8)
				return DECODE_OK;
			in->rex = b;
			d->pos++;
			continue;
		case PFX_66:
			in->opsize_pfx = true;
			break;
		case PFX_67:
			in->addrsize_pfx = true;
			break;
		case PFX_REP:
			in->rep = b;
			break;
		case PFX_LOCK:
			in->lock = true;
			break;
		case PFX_SEG:
			/* In 64-bit mode not even an earlier FS or GS is undone */
			if (d->mode != 8)
				in->seg_pfx = b;
			break;
		case PFX_FSGS:
			in->seg_pfx = b;
			break;
		}
		in->rex = 0; /* counts only immediately before the opcode */
		d->pos++;
	}
}

/* After C4 or C5 */
static enum decode_result dec_vex(struct dec *d, bool three)
{
	static const uint8_t pp_byte[4] = {0, 0x66, 0xf3, 0xf2};
	struct insn *in = d->in;
	uint8_t p0, p1;

	if (in->rex || in->lock || in->rep || in->opsize_pfx)
		return DECODE_UD;
	if (!have(d, three ? 3 : 2)) /* and the opcode */
		return short_of(d);
	p0 = d->p[d->pos++];
	p1 = three ? d->p[d->pos++] : p0;
	in->enc = three ? ENC_VEX3 : ENC_VEX2;
	in->map = three ? p0 & 0x1f : 1;
	if (in->map < 1 || in->map > 3)
		return DECODE_UD;
	d->w = in->vex_w = three && p1 & 0x80;
	if (d->mode == 8) {
		in->rex = (uint8_t)((p0 & 0x80 ? 0 : 4) | (d->w ? 8 : 0));
		if (three)
			in->rex |= (uint8_t)((p0 & 0x40 ? 0 : 2) | (p0 & 0x20 ? 0 : 1));
	}
	in->vvvv = (uint8_t)(~p1 >> 3 & 15);
	in->vex_l = p1 >> 2 & 1;
	d->pp = p1 & 3; /* the order of PP_* is that of VEX.pp */
	in->pp = pp_byte[d->pp];
	d->opmap = (uint8_t)(MAP_V1 + in->map - 1);
	in->opcode = d->p[d->pos++];
	return DECODE_OK;
}

/* After 62 */
static enum decode_result dec_evex(struct dec *d)
{
	static const uint8_t pp_byte[4] = {0, 0x66, 0xf3, 0xf2};
	struct insn *in = d->in;
	const uint8_t *p = d->p + d->pos;

	if (in->rex || in->lock || in->rep || in->opsize_pfx)
		return DECODE_UD;
	if (!have(d, 4)) /* and the opcode */
		return short_of(d);
	in->enc = ENC_EVEX;
	for (unsigned i = 0; i < 3; i++)
		in->evex[i] = p[i];
	d->pos += 3;
	in->map = p[0] & 0xf;
	if (in->map < 1 || in->map > 3 || !(p[1] & 4) || (d->mode != 8 && !(p[2] & 8)))
		return DECODE_UD;
	d->w = in->vex_w = p[1] & 0x80;
	in->vvvv = (uint8_t)((~p[1] >> 3 & 15) | (~(unsigned)p[2] << 1 & 16));
	if (d->mode == 8) {
		in->rex = (uint8_t)((~p[0] >> 5 & 7) | (d->w ? 8 : 0));
		d->reg_hi = ~p[0] & 16;
		d->rm_hi = (uint8_t)(in->rex << 3 & 16);
		d->x_hi = in->vvvv & 16;
	}
	in->vex_l = p[2] >> 5 & 3;
	d->pp = p[1] & 3;
	in->pp = pp_byte[d->pp];
	d->opmap = (uint8_t)(MAP_E1 + in->map - 1);
	in->opcode = d->p[d->pos++];
	return DECODE_OK;
}

/* What L'L, b, z and the opmask may be with this row */
static enum decode_result dec_evex_rules(struct dec *d)
{
	struct insn *in = d->in;
	uint64_t at = d->row->r.attr;
	bool reg = in->modrm >= 0xc0, b = insn_evex_b(in);

	if ((at & AT_W0 && d->w) || (at & AT_W1 && !d->w))
		return DECODE_UD;
	if (b && !(at & (reg ? AT_RC | AT_SAE | AT_BNOP : AT_BC)))
		return DECODE_UD;
	if (b && reg)
		in->vex_l = 2;
	if (in->vex_l == 3 || !(at & (AT_L128 << in->vex_l | AT_LIG)))
		return DECODE_UD;
	if (at & AT_LIG)
		in->vex_l = 0;
	if (insn_mask(in) ? !(at & AT_MASK) : at & AT_KREQ || insn_zeroes(in))
		return DECODE_UD;
	if (insn_zeroes(in) && !(at & AT_ZERO))
		return DECODE_UD;
	return DECODE_OK;
}

static enum decode_result dec_opcode(struct dec *d)
{
	struct insn *in = d->in;
	uint8_t b = d->p[d->pos++];

	if ((b & 0xfe) == 0xc4 || b == 0x62) {
		/* Outside of 64-bit mode these are LES, LDS, BOUND with a memory operand */
		if (!have(d, 1))
			return short_of(d);
		if (d->mode == 8 || d->p[d->pos] >= 0xc0)
			return b == 0x62 ? dec_evex(d) : dec_vex(d, b == 0xc4);
	}
	d->w = in->rex & 8;
	d->pp = in->rep == 0xf2 ? PP_F2 : in->rep ? PP_F3 : in->opsize_pfx ? PP_66 : PP_NP;
	if (b == 0x0f) {
		if (!have(d, 1))
			return short_of(d);
		b = d->p[d->pos++];
		in->map = 1;
		if (b == 0x38 || b == 0x3a) {
			if (!have(d, 1))
				return short_of(d);
			in->map = b == 0x38 ? 2 : 3;
			b = d->p[d->pos++];
		}
	}
	d->opmap = in->map; /* MAP_1B… have the same numbers */
	in->opcode = b;
	return DECODE_OK;
}

static unsigned dec_slot(const struct dec *d, unsigned info)
{
	const struct insn *in = d->in;
	unsigned reg = in->modrm >> 3 & 7, rm = in->modrm & 7, m = in->modrm >= 0xc0;

	switch (info) {
	case INFO_NONE:
	case INFO_MODRM:
	case INFO_REGS:
		if (d->opmap == MAP_1B)
			return SLOT_1B(in->opcode, 0, m);
		if (d->opmap <= MAP_3A)
			return SLOT_LEG(d->opmap, in->opcode, d->pp, m);
		if (d->opmap <= MAP_V3)
			return SLOT_VEX(d->opmap, in->opcode, d->pp, m, d->w, in->vex_l);
		return SLOT_EVEX(d->opmap, in->opcode, d->pp, m, d->w);
	case INFO_X87:
		return m ? SLOT_XR(in->opcode, reg, rm) : SLOT_XM(in->opcode, reg);
	case INFO_0F01:
		return m ? SLOT_SR(d->pp, reg, rm) : SLOT_SM(d->pp, reg);
	default:
		return SLOT_GRP(info - INFO_GROUP, d->pp, m, reg);
	}
}

/* ModRM byte and the row */
static enum decode_result dec_row(struct dec *d)
{
	struct insn *in = d->in;
	unsigned info = optab_info[d->opmap * 256 + in->opcode];
	unsigned n;

	if (info != INFO_NONE) {
		if (!have(d, 1))
			return short_of(d);
		in->modrm = d->p[d->pos++];
		in->has_modrm = true;
		if (info == INFO_REGS)
			in->modrm |= 0xc0;
	}
	n = optab_at(dec_slot(d, info));
	if (!n)
		return DECODE_UD;
	switch (ALT_OF(optab_rows[n].r.attr)) {
	case ALT_W:
		n += d->w;
		break;
	case ALT_M64:
		n += d->mode == 8;
		break;
	case ALT_NOP:
		if (in->rex & 1) {
			n++;
		} else if (in->rep == 0xf3) {
			n += 2;
			in->pp = 0xf3;
		}
		break;
	case ALT_L:
		n += in->vex_l;
		break;
	}
	d->row = &optab_rows[n];
	if (d->row->r.attr & (d->mode == 8 ? AT_NO64 : AT_ONLY64))
		return DECODE_UD;
	if (d->row->r.attr & AT_VL0 && in->vex_l)
		return DECODE_UD;
	if (in->enc == ENC_EVEX)
		return dec_evex_rules(d);
	/* Where one of them alone selects the row it is not there for anything else */
	if (in->enc == ENC_LEGACY && d->row->ppm == PPM_66)
		in->pp = 0x66;
	else if (in->enc == ENC_LEGACY && (d->row->ppm == PPM_F3 || d->row->ppm == PPM_F2))
		in->pp = in->rep;
	return DECODE_OK;
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

static enum decode_result dec_operands(struct dec *d)
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

static bool vsib_overlaps(const struct insn *in)
{
	unsigned index = (unsigned)in->mem.index, mask = in->opnd[2].reg;

	if (in->enc == ENC_EVEX)
		return in->opnd[0].kind == OP_VEC && in->opnd[0].reg == index;
	return in->opnd[0].reg == mask || in->opnd[0].reg == index || mask == index;
}

/* What can only be said when everything is known */
static enum decode_result dec_rules(struct dec *d)
{
	struct insn *in = d->in;
	uint64_t attr = d->row->r.attr;

	if (in->lock && !(attr & AT_LOCK && in->has_mem && in->opnd[0].kind == OP_MEM))
		return DECODE_UD;
	if (in->enc != ENC_LEGACY && !d->vvvv_used && in->vvvv & (attr & AT_VSIB ? 15 : 31))
		return DECODE_UD;
	/* Destination, indices and mask differ */
	if (attr & AT_VSIB && vsib_overlaps(in))
		return DECODE_UD;
	if (ALT_OF(attr) == ALT_COUNT && !(in->imm & (in->opnd[0].size == 8 ? 63 : 31)))
		d->row++;
	return DECODE_OK;
}

static void dec_init(struct insn *in, unsigned mode)
{
	/* A field at a time: a struct assignment would become a slow string instruction */
	in->row = &optab_rows[0].r;
	in->mnem = I_INVALID;
	in->mode = (uint8_t)mode;
	in->op_size = 0;
	in->addr_size = 0;
	in->n_opnd = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(in->opnd); i++)
		in->opnd[i].kind = OP_NONE;
	in->mem = (struct insn_mem){.base = -1, .index = -1, .scale = 1, .seg = DS};
	in->has_mem = false;
	in->imm = 0;
	in->imm2 = 0;
	in->enc = ENC_LEGACY;
	in->map = in->opcode = in->modrm = in->rex = in->vvvv = in->vex_l = in->pp = in->rep = 0;
	in->vex_w = in->has_modrm = in->lock = in->opsize_pfx = in->addrsize_pfx = false;
	in->seg_pfx = in->imm_bytes = in->disp_bytes = 0;
	in->evex[0] = in->evex[1] = in->evex[2] = 0;
	in->disp_scale = 1;
	in->mask_bits = 0;
}

static enum decode_result dec_all(struct dec *d)
{
	struct insn *in = d->in;
	enum decode_result err;

	err = dec_prefixes(d);
	if (!err)
		err = dec_opcode(d);
	if (!err)
		err = dec_row(d);
	if (unlikely(err))
		return err;
	dec_sizes(d);
	if (in->has_modrm && in->modrm < 0xc0) {
		err = dec_mem(d);
		if (unlikely(err))
			return err;
	} else {
		in->mem.seg = (uint8_t)segment(in, DS); /* strings, XLAT, moffs … */
	}
	in->mem.addr_size = in->addr_size;
	err = dec_operands(d);
	if (!err && in->enc == ENC_EVEX)
		err = dec_evex_opnds(d);
	return err ? err : dec_rules(d);
}

enum decode_result insn_decode(const uint8_t *p, size_t avail, unsigned mode, struct insn *out)
{
	struct dec d = {
		.p = p,
		.limit = avail < INSN_MAX ? (unsigned)avail : INSN_MAX,
		.mode = mode,
		.in = out,
	};
	enum decode_result err;

	dec_init(out, mode);
	err = dec_all(&d);
	out->len = (uint8_t)d.pos;
	if (d.limit == INSN_MAX) {
		__builtin_memcpy(out->bytes, p, 8);
		__builtin_memcpy(out->bytes + 7, p + 7, 8);
	} else {
		for (unsigned i = 0; i < INSN_MAX; i++)
			out->bytes[i] = i < d.limit ? p[i] : 0;
	}
	if (likely(!err)) {
		out->row = &d.row->r;
		out->mnem = d.row->r.mnem;
		COVER_DECODED(out);
	}
	return err;
}
