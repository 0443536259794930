/* SPDX-License-Identifier: ISC */
/* decode.c: bytes to struct insn (SDM vol. 2, chapter 2 and appendix A); operands are decode_opnd.c's. Any thread; no state.
 *
 * In order: prefixes, opcode or VEX prefix, slot of the index, row, ModRM operand, operands,
 * immediates, rules that span them. Example: 66 F3 0F B8 C1. Prefixes 66 and F3, F3 is the
 * mandatory one (it goes before 66); map 0F, opcode B8, info says "ModRM"; slot (0F, B8, F3,
 * register) holds the row "POPCNT Gv,Ev", and as its only prefix is F3, 66 is left to make the
 * operand size 2: popcnt ax,cx. */
#include "x86/cover.h"
#include "x86/decode_impl.h"

/* Prefix bytes by kind. REX counts in 64-bit mode only. */
enum { PFX_NO, PFX_66, PFX_67, PFX_REP, PFX_LOCK, PFX_SEG, PFX_FSGS, PFX_REX };
static const uint8_t prefix_kind[256] = {
	[0x26] = PFX_SEG,  [0x2e] = PFX_SEG,  [0x36] = PFX_SEG, [0x3e] = PFX_SEG,
	[0x64] = PFX_FSGS, [0x65] = PFX_FSGS, [0x66] = PFX_66,  [0x67] = PFX_67,
	[0xf0] = PFX_LOCK, [0xf2] = PFX_REP,  [0xf3] = PFX_REP, [0x40 ... 0x4f] = PFX_REX,
};

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
	enum decode_result err;

	err = dec_prefixes(d);
	if (!err)
		err = dec_opcode(d);
	if (!err)
		err = dec_row(d);
	if (unlikely(err))
		return err;
	err = dec_operands(d);
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
