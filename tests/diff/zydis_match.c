/* SPDX-License-Identifier: ISC */
/* zydis_match.c: names, operands, flags and implicit registers of an instruction beside what libzydis says of them. */
#include <string.h>

#include "tests/diff/zydis.h"
#undef PF_W /* ours are page-fault bits */
#include "x86/feature.h"

/* Their names for what has one name here: by size, and aliases */
static const struct {
	uint16_t mnem;
	const char *names;
} aliases[] = {
	{I_MOVS, "movsb movsw movsd movsq"},
	{I_CMPS, "cmpsb cmpsw cmpsd cmpsq"},
	{I_STOS, "stosb stosw stosd stosq"},
	{I_LODS, "lodsb lodsw lodsd lodsq"},
	{I_SCAS, "scasb scasw scasd scasq"},
	{I_INS, "insb insw insd"},
	{I_OUTS, "outsb outsw outsd"},
	{I_CBW, "cbw cwde cdqe"},
	{I_CWD, "cwd cdq cqo"},
	{I_PUSHF, "pushf pushfd pushfq"},
	{I_POPF, "popf popfd popfq"},
	{I_PUSHA, "pusha pushad"},
	{I_POPA, "popa popad"},
	{I_IRET, "iret iretd iretq"},
	{I_JCXZ, "jcxz jecxz jrcxz"},
	{I_JAE, "jnb"},
	{I_JE, "jz"},
	{I_JNE, "jnz"},
	{I_JA, "jnbe"},
	{I_JGE, "jnl"},
	{I_JG, "jnle"},
	{I_SETAE, "setnb"},
	{I_SETE, "setz"},
	{I_SETNE, "setnz"},
	{I_SETA, "setnbe"},
	{I_SETGE, "setnl"},
	{I_SETG, "setnle"},
	{I_CMOVAE, "cmovnb"},
	{I_CMOVE, "cmovz"},
	{I_CMOVNE, "cmovnz"},
	{I_CMOVA, "cmovnbe"},
	{I_CMOVGE, "cmovnl"},
	{I_CMOVG, "cmovnle"},
	{I_RETF, "ret"},
	{I_FXSAVE, "fxsave64"},
	{I_FXRSTOR, "fxrstor64"},
	{I_XSAVE, "xsave64"},
	{I_XRSTOR, "xrstor64"},
	{I_XSAVEC, "xsavec64"},
	{I_XSAVEOPT, "xsaveopt64"},
	{I_XSAVES, "xsaves64"},
	{I_XRSTORS, "xrstors64"},
	{I_SYSRET, "sysret sysretq"},
	{I_SYSEXIT, "sysexit sysexitq"},
	{I_MOVD, "movq"},
	{I_VMOVD, "vmovq"},
	{I_KMOVD, "kmovq"},
	{I_VPBROADCASTD, "vpbroadcastq"},
	{I_PEXTRD, "pextrq"},
	{I_PINSRD, "pinsrq"},
	{I_VPEXTRD, "vpextrq"},
	{I_VPINSRD, "vpinsrq"},
	{I_FNENI, "feni8087_nop"},
	{I_FNDISI, "fdisi8087_nop"},
	{I_FNSETPM, "fsetpm287_nop"},
	{I_FSTP, "fstpnce"},
	{I_PREFETCHW, "prefetchwt1"},
	{I_WBNOINVD, "wbinvd"},
};

static bool word_in(const char *word, const char *list)
{
	size_t n = strlen(word);

	for (const char *p = list; (p = strstr(p, word)); p += n)
		if ((p == list || p[-1] == ' ') && (p[n] == ' ' || !p[n]))
			return true;
	return false;
}

static bool same_name(const struct one *o)
{
	const char *zn = ZydisMnemonicGetString(o->z.mnemonic);

	if (!strcmp(zn, insn_name(o->in.row)))
		return true;
	for (size_t i = 0; i < sizeof(aliases) / sizeof(aliases[0]); i++)
		if (aliases[i].mnem == o->in.mnem && word_in(zn, aliases[i].names))
			return true;
	return false;
}

/* Their register as we write it; false: of no interest */
static bool from_zreg(ZydisRegister r, struct insn_opnd *o)
{
	ZyanI8 id = ZydisRegisterGetId(r);

	*o = (struct insn_opnd){.reg = (uint8_t)id};
	switch (ZydisRegisterGetClass(r)) {
	case ZYDIS_REGCLASS_GPR8:
		o->kind = OP_GPR;
		o->size = 1;
		o->high8 = r >= ZYDIS_REGISTER_AH && r <= ZYDIS_REGISTER_BH;
		o->reg = (uint8_t)(r >= ZYDIS_REGISTER_AH ? r - ZYDIS_REGISTER_AH
							  : r - ZYDIS_REGISTER_AL);
		if (r >= ZYDIS_REGISTER_SPL)
			o->reg = (uint8_t)(r - ZYDIS_REGISTER_SPL + 4);
		return true;
	case ZYDIS_REGCLASS_GPR16:
		o->kind = OP_GPR;
		o->size = 2;
		return true;
	case ZYDIS_REGCLASS_GPR32:
		o->kind = OP_GPR;
		o->size = 4;
		return true;
	case ZYDIS_REGCLASS_GPR64:
		o->kind = OP_GPR;
		o->size = 8;
		return true;
	case ZYDIS_REGCLASS_SEGMENT:
		o->kind = OP_SREG;
		o->size = 2;
		return true;
	case ZYDIS_REGCLASS_CONTROL:
		o->kind = OP_CR;
		return true;
	case ZYDIS_REGCLASS_DEBUG:
		o->kind = OP_DR;
		return true;
	case ZYDIS_REGCLASS_X87:
		o->kind = OP_ST;
		o->size = 10;
		return true;
	case ZYDIS_REGCLASS_MMX:
		o->kind = OP_MM;
		o->size = 8;
		return true;
	case ZYDIS_REGCLASS_XMM:
		o->kind = OP_VEC;
		o->size = 16;
		return true;
	case ZYDIS_REGCLASS_YMM:
		o->kind = OP_VEC;
		o->size = 32;
		return true;
	case ZYDIS_REGCLASS_ZMM:
		o->kind = OP_VEC;
		o->size = 64;
		return true;
	case ZYDIS_REGCLASS_MASK:
		o->kind = OP_K;
		o->size = 8;
		return true;
	default:
		return false;
	}
}

static unsigned from_zact(ZydisOperandActions a)
{
	return (a & ZYDIS_OPERAND_ACTION_MASK_READ ? ACC_R : 0) |
	       (a & ZYDIS_OPERAND_ACTION_MASK_WRITE ? ACC_W : 0);
}

static int zgpr(ZydisRegister r)
{
	struct insn_opnd o;

	return r != ZYDIS_REGISTER_NONE && from_zreg(r, &o) && o.kind == OP_GPR ? o.reg : -1;
}

/* Hints and UD0, UD1 have operands that nobody touches; what they are does not matter */
static bool is_hint(const struct one *o)
{
	return o->in.row->cls == CLS_NOP || o->in.mnem == I_UD0 || o->in.mnem == I_UD1;
}

static bool is_shift(const struct one *o)
{
	return (o->in.mnem >= I_ROL && o->in.mnem <= I_SAR) || o->in.mnem == I_SHLD ||
	       o->in.mnem == I_SHRD;
}

static bool size_differs_ok(const struct one *o, const struct insn_opnd *op)
{
	switch (o->in.mnem) {
	case I_CLFLUSH:
	case I_CLFLUSHOPT:
	case I_CLWB: /* theirs: the line; permission is checked for a byte */
		return op->size == 1;
	default: /* no access, or by XCR0 */
		return is_hint(o) || (op->size == 0 && (!op->acc || o->in.row->attr & AT_HOSTX));
	}
}

static void check_mem(const struct one *o, const struct insn_opnd *op, const ZydisDecodedOperand *z)
{
	const struct insn_mem *m = &o->in.mem;
	static const ZydisRegister segs[] = {
		ZYDIS_REGISTER_ES, ZYDIS_REGISTER_CS, ZYDIS_REGISTER_SS,
		ZYDIS_REGISTER_DS, ZYDIS_REGISTER_FS, ZYDIS_REGISTER_GS,
	};
	int base = zgpr(z->mem.base), index = zgpr(z->mem.index);
	uint64_t mask = m->addr_size == 8 ? ~UINT64_C(0) : BIT64(m->addr_size * 8) - 1;

	if (o->z.address_width != m->addr_size * 8 || o->in.addr_size != m->addr_size)
		bad(o, "address size");
	if (!o->in.has_mem)
		return; /* strings: fixed registers */
	if (m->rip_rel != (z->mem.base == ZYDIS_REGISTER_RIP || z->mem.base == ZYDIS_REGISTER_EIP))
		bad(o, "rip-relative");
	/* Theirs takes REX.B into account in SIB's "no base" when there is a 67; the processor
	 * does not (tried) */
	if (m->base < 0 && base == R13 && o->in.mode == 8 && o->in.addr_size == 4) {
		counts.expected++;
		return;
	}
	if (!m->rip_rel && base != m->base)
		bad(o, "base");
	if (o->in.row->attr & AT_VSIB)
		index = ZydisRegisterGetId(z->mem.index);
	if (index != m->index || (index >= 0 && z->mem.scale != m->scale))
		bad(o, "index");
	if (((uint64_t)m->disp & mask) != ((uint64_t)z->mem.disp.value & mask))
		bad(o, "displacement");
	if (z->mem.segment != segs[m->seg] && o->in.mnem != I_LEA)
		bad(o, "segment");
	if (z->size / 8 != op->size && !size_differs_ok(o, op))
		bad(o, "memory size");
}

static void check_imm(const struct one *o, const struct insn_opnd *op, const ZydisDecodedOperand *z)
{
	uint64_t mask = op->size >= 8 ? ~UINT64_C(0) : BIT64(op->size * 8) - 1;
	uint64_t v = op->kind == OP_IMM2 ? o->in.imm2 : o->in.imm;

	if ((v & mask) != (z->imm.value.u & mask))
		bad(o, "immediate");
}

/* Uses that theirs leaves out */
static bool use_differs_ok(const struct one *o, const struct insn_opnd *op, unsigned theirs)
{
	enum insn_mnem m = o->in.mnem;

	/* what an opmask leaves out stays */
	if (o->in.enc == ENC_EVEX && op == &o->in.opnd[0] && theirs & ACC_W && op->acc & ACC_W)
		return op->kind != OP_MEM;
	if (theirs != ACC_W || op->acc != ACC_RW)
		return !op->acc;
	/* Scalar and half moves merge; a condition or a source of 0 may leave a register as it was
	 * (but for the upper half of 64 bits) */
	return (op->kind == OP_VEC && o->in.enc == ENC_LEGACY) || m == I_BSF || m == I_BSR ||
	       m == I_LAR || m == I_LSL || (m >= I_CMOVO && m <= I_CMOVG);
}

static bool reg_differs_ok(const struct one *o, const struct insn_opnd *op,
			   const struct insn_opnd *r)
{
	if (is_hint(o))
		return true;
	if (r->kind != op->kind || r->reg != op->reg || r->high8 != op->high8)
		return false;
	if (!r->size)
		return true;
	/* A selector is 16 bits; MOVMSK and the like fill 32 and clear the rest */
	if (o->in.mnem == I_LAR || o->in.mnem == I_LSL)
		return op->size == 2;
	return r->size == 8 && op->size == 4 && op->acc == ACC_W &&
	       o->z.meta.isa_ext != ZYDIS_ISA_EXT_BASE;
}

/* Theirs often leaves out ST0: the other operand is what counts */
static void check_x87(const struct one *o)
{
	for (unsigned i = 0; i < o->in.n_opnd; i++) {
		const struct insn_opnd *op = &o->in.opnd[i];
		struct insn_opnd r;
		bool found = false;

		for (unsigned j = 0; j < o->z.operand_count; j++) {
			const ZydisDecodedOperand *z = &o->zo[j];

			if (op->kind == OP_MEM && z->type == ZYDIS_OPERAND_TYPE_MEMORY) {
				found = true;
				check_mem(o, op, z);
				if (from_zact(z->actions) != op->acc)
					bad(o, "memory use");
			}
			if (z->type == ZYDIS_OPERAND_TYPE_REGISTER && from_zreg(z->reg.value, &r) &&
			    r.kind == op->kind && r.reg == op->reg)
				found = true;
		}
		if (!found)
			bad(o, "x87 operand");
	}
}

static void check_opnd(const struct one *o, unsigned i, const ZydisDecodedOperand *z)
{
	const struct insn_opnd *op = &o->in.opnd[i];
	struct insn_opnd r;

	switch (z->type) {
	case ZYDIS_OPERAND_TYPE_REGISTER:
		if (!from_zreg(z->reg.value, &r) || ((r.kind != op->kind || r.reg != op->reg ||
						      r.high8 != op->high8 || r.size != op->size) &&
						     !reg_differs_ok(o, op, &r)))
			bad(o, "register");
		if (from_zact(z->actions) != op->acc &&
		    !use_differs_ok(o, op, from_zact(z->actions)))
			bad(o, "register use");
		break;
	case ZYDIS_OPERAND_TYPE_MEMORY:
		if (op->kind != OP_MEM) {
			bad(o, "not memory");
			break;
		}
		if (from_zact(z->actions) != op->acc && op->acc &&
		    !use_differs_ok(o, op, from_zact(z->actions)))
			bad(o, "memory use");
		check_mem(o, op, z);
		break;
	case ZYDIS_OPERAND_TYPE_IMMEDIATE:
		if (op->kind != OP_IMM && op->kind != OP_IMM2 && op->kind != OP_REL)
			bad(o, "not immediate");
		check_imm(o, op, z);
		break;
	case ZYDIS_OPERAND_TYPE_POINTER:
		if (op->kind != OP_IMM || o->in.imm != z->ptr.offset ||
		    o->in.imm2 != z->ptr.segment)
			bad(o, "far pointer");
		break;
	default:
		bad(o, "operand type");
	}
}

static void check_flags(const struct one *o)
{
	const ZydisAccessedFlags *f = o->z.cpu_flags;
	unsigned mask = FL_ARITH | FL_DF, rd, wr, undef;
	const struct insn_row *row = o->in.row;

	rd = f ? f->tested & mask : 0;
	wr = f ? (f->modified | f->set_0 | f->set_1 | f->undefined) & mask : 0;
	undef = f ? f->undefined & mask : 0;
	if (is_shift(o)) {
		/* Theirs does not tell counts apart */
		if ((row->fl_read & rd) != rd && row->fl_write)
			bad(o, "flags read by a shift");
		if (row->fl_write && row->fl_write != wr)
			bad(o, "flags written by a shift");
		if (row->fl_undef & ~undef)
			bad(o, "flags undefined by a shift");
		return;
	}
	/* CMPS, SCAS: none may be compared; FCOMI: may fault late; far transfers: all are saved */
	if (row->fl_read != rd && row->cls != CLS_FAR &&
	    !(row->fl_read == (rd | FL_ARITH) && (row->cls == CLS_STRING || row->attr & AT_X87)))
		bad(o, "flags read");
	/* VPTEST, VTESTPx clear what they don't set (SDM); BEXTR clears CF and OF; SBB sets AF */
	if (row->fl_write != wr && row->cls != CLS_FAR && row->feature != X_FEAT_VMX &&
	    o->in.mnem != I_VPTEST && o->in.mnem != I_VTESTPS && o->in.mnem != I_VTESTPD)
		bad(o, "flags written");
	if (row->fl_undef != undef && o->in.mnem != I_SBB && o->in.mnem != I_BEXTR)
		bad(o, "flags undefined");
}

static void check_implicit(const struct one *o)
{
	unsigned rd = 0, wr = 0, diff;

	for (unsigned i = 0; i < o->z.operand_count; i++) {
		const ZydisDecodedOperand *z = &o->zo[i];
		struct insn_opnd r;

		if (z->type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    z->visibility != ZYDIS_OPERAND_VISIBILITY_EXPLICIT &&
		    from_zreg(z->reg.value, &r) && r.kind == OP_GPR) {
			rd |= from_zact(z->actions) & ACC_R ? BIT(r.reg) : 0;
			wr |= from_zact(z->actions) & ACC_W ? BIT(r.reg) : 0;
		}
	}
	/* More is in the masks than they have: a stack that a gate may use; REP's counter though there
	 * is no REP, strings' addresses; RSM's everything */
	diff = wr ^ o->in.row->gpr_write;
	if (o->in.row->cls == CLS_FAR)
		diff &= ~BIT(RSP);
	if (o->in.row->attr & AT_REP)
		diff &= ~(BIT(RCX) | BIT(RSI) | BIT(RDI));
	if (rd & ~o->in.row->gpr_read || (diff && o->in.mnem != I_RSM))
		bad(o, "implicit registers");
}

/* Opmask, zeroing, broadcast, rounding; which CPUID bits */
static void check_evex(const struct one *o)
{
	static const struct {
		const char *name;
		uint8_t feature;
	} sets[] = {{"AVX512F_", X_FEAT_AVX512F},
		    {"AVX512BW_", X_FEAT_AVX512BW},
		    {"AVX512DQ_", X_FEAT_AVX512DQ},
		    {"AVX512CD_", X_FEAT_AVX512CD},
		    {"AVX512_VAES_", X_FEAT_VAES},
		    {"AVX512_VPCLMULQDQ_", X_FEAT_VPCLMUL},
		    {"AVX512_GFNI_", X_FEAT_GFNI},
		    {"AVX512_IFMA_", X_FEAT_AVX512IFMA},
		    {"AVX512_VBMI_", X_FEAT_AVX512VBMI},
		    {"AVX512_VBMI2_", X_FEAT_AVX512VBMI2},
		    {"AVX512_VNNI_", X_FEAT_AVX512VNNI},
		    {"AVX512_BITALG_", X_FEAT_AVX512BITALG},
		    {"AVX512_VPOPCNTDQ_", X_FEAT_AVX512VPOPCNT}};
	const ZydisDecodedInstructionAvx *a = &o->z.avx;
	const char *set = ZydisISASetGetString(o->z.meta.isa_set);
	bool b = a->broadcast.mode != ZYDIS_BROADCAST_MODE_INVALID && !a->broadcast.is_static;
	bool vl = false, found = false, needs = insn_needs_vl(&o->in);

	for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++)
		if (!strncmp(set, sets[i].name, strlen(sets[i].name))) {
			const char *len = set + strlen(sets[i].name);

			found = sets[i].feature == o->in.row->feature;
			vl = !strcmp(len, "128") || !strcmp(len, "256");
		}
	if (!found || vl != needs)
		bad(o, "CPUID bits");
	if (o->in.enc != ENC_EVEX)
		return;
	if ((unsigned)ZydisRegisterGetId(a->mask.reg) != insn_mask(&o->in) &&
	    (a->mask.reg != ZYDIS_REGISTER_NONE || insn_mask(&o->in)))
		bad(o, "opmask");
	/* to them an opmask as the destination is always zeroed */
	if (o->in.opnd[0].kind != OP_K &&
	    insn_zeroes(&o->in) != (a->mask.mode == ZYDIS_MASK_MODE_ZEROING ||
				    a->mask.mode == ZYDIS_MASK_MODE_CONTROL_ZEROING))
		bad(o, "zeroing");
	if (o->in.has_mem ? b != insn_evex_b(&o->in)
			  : (a->has_sae != (insn_evex_b(&o->in) && !(o->in.row->attr & AT_BNOP))))
		bad(o, "EVEX.b");
}

/* Without the opmask, which is not an operand here */
static void drop_mask(struct one *o)
{
	unsigned n = 0;

	for (unsigned i = 0; i < o->z.operand_count; i++) {
		if (o->zo[i].encoding != ZYDIS_OPERAND_ENCODING_MASK)
			o->zo[n++] = o->zo[i];
		else if (o->zo[i].visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT)
			o->z.operand_count_visible--;
	}
	o->z.operand_count = (ZyanU8)n;
}

void check_match(struct one *o)
{
	unsigned n;

	if (!same_name(o))
		bad(o, "name");
	if (o->in.row->attr & AT_AVX512)
		check_evex(o);
	if (o->in.enc == ENC_EVEX)
		drop_mask(o);
	n = o->z.operand_count_visible;
	if (o->in.n_opnd < n && !is_hint(o) && o->in.row->feature != X_FEAT_SVM)
		bad(o, "operand count");
	if (o->in.row->attr & AT_X87 && o->in.mnem != I_FNSTSW)
		check_x87(o);
	else
		for (unsigned i = 0; i < n && i < o->in.n_opnd; i++)
			check_opnd(o, i, &o->zo[i]);
	check_flags(o);
	check_implicit(o);
}
