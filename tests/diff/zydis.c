/* SPDX-License-Identifier: ISC */
/* zydis.c: our decoder and encoder against libzydis.
 *
 * Random strings, shaped so that every map, prefix and ModRM form comes up, in 16-, 32- and 64-bit
 * mode, then the code of system programs: validity, length, operation, operands (register, size,
 * use, memory operand, immediates), flags and implicit registers. Then each instruction that can be
 * copied is encoded again with random registers and memory, and libzydis must see just that.
 * Differences that are meant are listed in expected(), each with its reason. Options: count a mode,
 * seed. */
#include <Zydis/Zydis.h>
#include <elf.h>
#undef PF_W /* ours are page-fault bits */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "x86/encode.h"
#include "x86/feature.h"
#include "x86/insn.h"

static uint64_t rng_state;

static uint64_t rnd(void)
{
	uint64_t z = (rng_state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static unsigned below(unsigned n)
{
	return (unsigned)(rnd() % n);
}

/* ---- reporting ---- */

static unsigned long n_checked, n_valid, n_expected, n_bad, n_encoded, n_no, n_high8;
static bool verbose;

struct one {
	const uint8_t *bytes;
	unsigned mode;
	struct insn in;
	enum decode_result res;
	bool z_ok;
	ZydisDecodedInstruction z;
	ZydisDecodedOperand zo[ZYDIS_MAX_OPERAND_COUNT];
};

static struct {
	ZydisDecoder dec;
	ZydisFormatter fmt;
} zy[9];

static void print_one(const struct one *o, const char *what)
{
	char text[128] = "-", ztext[128] = "-";

	if (o->res == DECODE_OK)
		insn_format(&o->in, 0, text, sizeof(text));
	if (o->z_ok)
		ZydisFormatterFormatInstruction(&zy[o->mode].fmt, &o->z, o->zo,
						o->z.operand_count_visible, ztext, sizeof(ztext), 0,
						NULL);
	printf("mode %2u ", o->mode * 8);
	for (unsigned i = 0; i < 15; i++)
		printf("%02x%s", o->bytes[i], i + 1 == o->in.len ? "'" : "");
	printf(" %s: ours %d/%u '%s', zydis %d/%u '%s' %s\n", what, (int)o->res, o->in.len, text,
	       o->z_ok, o->z_ok ? o->z.length : 0, ztext,
	       o->z_ok ? ZydisISASetGetString(o->z.meta.isa_set) : "");
}

static void bad(const struct one *o, const char *what)
{
	if (n_bad++ < 40 || verbose)
		print_one(o, what);
}

/* ---- what differs on purpose ---- */

/* Instruction sets that we don't have: never announced, so #UD is right */
static bool set_unknown(ZydisISASet set)
{
	/* In the order of their names */
	if (set >= ZYDIS_ISA_SET_AVX512ER_512 && set <= ZYDIS_ISA_SET_AVX512ER_SCALAR)
		return true;
	if (set >= ZYDIS_ISA_SET_AVX512PF_512 && set <= ZYDIS_ISA_SET_AVX512_BF16_512)
		return true;
	if (set >= ZYDIS_ISA_SET_AVX512_FP16_128 && set <= ZYDIS_ISA_SET_AVX512_FP16_SCALAR)
		return true;
	if (set >= ZYDIS_ISA_SET_AVX512_VP2INTERSECT_128 &&
	    set <= ZYDIS_ISA_SET_AVX512_VP2INTERSECT_512)
		return true;
	switch (set) {
	case ZYDIS_ISA_SET_AMD3DNOW:
	case ZYDIS_ISA_SET_AMD_INVLPGB:
	case ZYDIS_ISA_SET_AMX_BF16:
	case ZYDIS_ISA_SET_AMX_INT8:
	case ZYDIS_ISA_SET_AMX_TILE:
	case ZYDIS_ISA_SET_AVX_VNNI:
	case ZYDIS_ISA_SET_CET:
	case ZYDIS_ISA_SET_CLZERO:
	case ZYDIS_ISA_SET_ENQCMD:
	case ZYDIS_ISA_SET_FMA4:
	case ZYDIS_ISA_SET_HRESET:
	case ZYDIS_ISA_SET_KEYLOCKER:
	case ZYDIS_ISA_SET_KEYLOCKER_WIDE:
	case ZYDIS_ISA_SET_LWP:
	case ZYDIS_ISA_SET_MCOMMIT:
	case ZYDIS_ISA_SET_MONITORX:
	case ZYDIS_ISA_SET_MOVDIR:
	case ZYDIS_ISA_SET_PADLOCK_ACE:
	case ZYDIS_ISA_SET_PADLOCK_PHE:
	case ZYDIS_ISA_SET_PADLOCK_PMM:
	case ZYDIS_ISA_SET_PADLOCK_RNG:
	case ZYDIS_ISA_SET_PCONFIG:
	case ZYDIS_ISA_SET_PT:
	case ZYDIS_ISA_SET_RDPRU:
	case ZYDIS_ISA_SET_RTM:
	case ZYDIS_ISA_SET_SERIALIZE:
	case ZYDIS_ISA_SET_SGX:
	case ZYDIS_ISA_SET_SGX_ENCLV:
	case ZYDIS_ISA_SET_SMX:
	case ZYDIS_ISA_SET_SNP:
	case ZYDIS_ISA_SET_SSE4A:
	case ZYDIS_ISA_SET_TBM:
	case ZYDIS_ISA_SET_TDX:
	case ZYDIS_ISA_SET_TSX_LDTRK:
	case ZYDIS_ISA_SET_UINTR:
	case ZYDIS_ISA_SET_KNCJKBR:
	case ZYDIS_ISA_SET_KNCE:
	case ZYDIS_ISA_SET_KNCV:
	case ZYDIS_ISA_SET_KNC_MISC:
	case ZYDIS_ISA_SET_KNCSTREAM:
	case ZYDIS_ISA_SET_KNC_PF_HINT:
	case ZYDIS_ISA_SET_WAITPKG:
	case ZYDIS_ISA_SET_XOP:
	case ZYDIS_ISA_SET_AMD:
		return true;
	default:
		return false;
	}
}

static bool expected(const struct one *o)
{
	if (o->z_ok && o->res == DECODE_UD) {
		if (set_unknown(o->z.meta.isa_set))
			return true;
		/* Xeon Phi's */
		if (o->z.encoding == ZYDIS_INSTRUCTION_ENCODING_MVEX ||
		    o->z.meta.isa_ext == ZYDIS_ISA_EXT_KNC)
			return true;
	}
	/* EVEX.b with a 32-bit integer: of VCVTSI2SD with W clear they know that hosts ignore it */
	return !o->z_ok && o->res == DECODE_OK && o->mode != 8 &&
	       (o->in.mnem == I_VCVTUSI2SD || o->in.mnem == I_VCVTSI2SD);
}

/* ---- comparing ---- */

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
		n_expected++;
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

/* ---- encoding ---- */

static void random_subst(struct insn_subst *s)
{
	for (unsigned i = 0; i < 16; i++)
		s->gpr[i] = (uint8_t)i;
	if (below(4))
		for (unsigned i = 0; i < 16; i++) {
			unsigned j = below(16);
			uint8_t t = s->gpr[i];

			s->gpr[i] = s->gpr[j];
			s->gpr[j] = t;
		}
	s->base = (int8_t)(below(17) - 1);
	do
		s->index = (int8_t)(below(4) ? -1 : (int)below(16));
	while (s->index == RSP);
	s->scale = (uint8_t[]){0, 1, 2, 4, 8}[below(5)];
	s->disp = below(3) ? (int32_t)rnd() >> below(32) : 0;
	s->seg = (uint8_t[]){0, 0x64, 0x65}[below(3)];
	s->rm_to_mem = below(4) == 0;
}

/* What may come back as something else than ENCODE_OK, and why */
static bool refusal_ok(const struct insn *in, const struct insn_subst *s, enum encode_result res)
{
	bool high8 = false, in_opcode = false, opmask = in->enc == ENC_EVEX;

	for (unsigned i = 0; i < in->n_opnd; i++) {
		high8 |= in->opnd[i].high8;
		in_opcode |= in->opnd[i].field == FIELD_OPCODE;
		opmask |= in->opnd[i].kind == OP_K;
	}
	if (res == ENCODE_HIGH8)
		return high8;
	return (s->rm_to_mem &&
		(in->row->attr & (AT_REGONLY | AT_BITSTR) || in_opcode || opmask)) ||
	       (in->row->attr & AT_NO64 && in->mnem >= I_DAA);
}

static void check_encoded_opnd(const struct one *o, const struct insn *was,
			       const struct insn_subst *s, unsigned i)
{
	const struct insn_opnd *a = &was->opnd[i], *b = &o->in.opnd[i];
	bool xchg_rax = was->mnem == I_XCHG && was->opnd[0].field == FIELD_OPCODE;
	unsigned reg = a->reg;

	/* A register that became memory */
	if (a->kind != OP_MEM && b->kind == OP_MEM) {
		if (!s->rm_to_mem || (a->field != FIELD_RM && a->field != FIELD_OPCODE))
			bad(o, "encoded: became memory");
		return;
	}
	if (a->kind == OP_GPR && a->field != FIELD_IMPLICIT)
		reg = s->gpr[a->reg];
	if (xchg_rax && b->field != a->field)
		return; /* as 87 /r */
	if (a->kind != b->kind || reg != b->reg || a->high8 != b->high8 || a->acc != b->acc)
		bad(o, "encoded: operand");
	if (a->size != b->size && o->in.row->cls != CLS_SYS)
		bad(o, "encoded: operand size");
}

static void check_encoded_mem(const struct one *o, const struct insn *was,
			      const struct insn_subst *s)
{
	const struct insn_mem *m = &o->in.mem;
	bool vsib = was->row->attr & AT_VSIB, high8 = false;
	int index = vsib ? was->mem.index : s->index;

	for (unsigned i = 0; i < was->n_opnd; i++)
		if (o->in.opnd[i].kind == OP_MEM)
			high8 = was->opnd[i].high8;
	if (m->base != s->base || m->index != index ||
	    (index >= 0 && m->scale != (vsib ? was->mem.scale : MAX(s->scale, 1))) ||
	    m->disp != s->disp + high8)
		bad(o, "encoded: memory operand");
	if (o->in.seg_pfx != s->seg)
		bad(o, "encoded: segment");
}

static void check_one(struct one *o);

static void check_encoding(const struct insn *was)
{
	uint8_t out[INSN_MAX + 1] = {0};
	struct insn_subst s;
	struct one o = {.bytes = out, .mode = 8};
	enum encode_result res;
	unsigned len;
	uint64_t mask;

	random_subst(&s);
	res = insn_encode(was, &s, out, &len);
	if (res != ENCODE_OK) {
		if (res == ENCODE_HIGH8)
			n_high8++;
		else
			n_no++;
		if (!refusal_ok(was, &s, res)) {
			o.in = *was;
			o.bytes = was->bytes;
			bad(&o, "encode: refused");
		}
		return;
	}
	n_encoded++;
	check_one(&o);
	n_checked--;
	if (o.res != DECODE_OK || o.in.len != len || o.in.mnem != was->mnem ||
	    o.in.n_opnd != was->n_opnd) {
		bad(&o, "encoded: instruction");
		return;
	}
	for (unsigned i = 0; i < was->n_opnd; i++)
		check_encoded_opnd(&o, was, &s, i);
	mask = was->op_size == 8 ? ~UINT64_C(0) : BIT64(was->op_size * 8) - 1;
	if ((o.in.imm ^ was->imm) & mask && !(was->opnd[was->n_opnd - 1].field == FIELD_IS4))
		bad(&o, "encoded: immediate");
	if (o.in.has_mem)
		check_encoded_mem(&o, was, &s);
	else if (was->has_mem)
		bad(&o, "encoded: lost memory");
	if (o.in.lock != was->lock)
		bad(&o, "encoded: lock");
}

/* ---- comparing, continued ---- */

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

static void check_one(struct one *o)
{
	unsigned n;

	n_checked++;
	o->res = insn_decode(o->bytes, 15, o->mode, &o->in);
	o->z_ok =
		ZYAN_SUCCESS(ZydisDecoderDecodeFull(&zy[o->mode].dec, o->bytes, 15, &o->z, o->zo));
	if (o->z_ok != (o->res == DECODE_OK)) {
		if (expected(o))
			n_expected++;
		else
			bad(o, "validity");
		return;
	}
	if (!o->z_ok)
		return;
	n_valid++;
	if (o->in.len != o->z.length)
		bad(o, "length");
	if (o->in.mnem == I_XCHG && o->z.mnemonic == ZYDIS_MNEMONIC_PAUSE) {
		n_expected++; /* F3 49 90: the processor exchanges (tried) */
		return;
	}
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

/* ---- random strings ---- */

static void random_bytes(uint8_t *b, unsigned mode)
{
	static const uint8_t prefixes[] = {0x66, 0xf2, 0xf3, 0x67, 0x66, 0xf0, 0x2e,
					   0x36, 0x3e, 0x26, 0x64, 0x65, 0xf3, 0xf2};
	unsigned n = 0, k;

	for (unsigned i = 0; i < 16; i += 8) {
		uint64_t v = rnd();

		memcpy(b + i, &v, 8);
	}
	k = below(26);
	if (k == 0)
		return;
	if (k >= 20) {
		b[0] = 0x62;
		b[1] = (uint8_t)((b[1] & 0xf0) | (below(20) ? 1 + below(3) : below(16)));
		b[2] = (uint8_t)(below(20) ? b[2] | 4 : b[2]);
		if (below(2))
			b[2] |= 0x78;
		if (below(2))
			b[3] |= 8;
		if (below(2))
			b[3] &= 0x6f;
		if (mode != 8)
			b[1] |= 0xc0;
		return;
	}
	while (n < 5 && below(3) == 0)
		b[n++] = prefixes[below(sizeof(prefixes))];
	if (mode == 8 && below(2))
		b[n++] = (uint8_t)(0x40 | below(16));
	if (k < 7) {
		n++;
	} else if (k < 13) {
		b[n++] = 0x0f;
	} else if (k < 14) {
		b[n++] = 0x0f;
		b[n++] = 0x38;
	} else if (k < 15) {
		b[n++] = 0x0f;
		b[n++] = 0x3a;
	} else {
		n = below(8) ? 0 : n;
		b[n++] = k < 17 ? 0xc5 : 0xc4;
		if (k >= 17)
			b[n++] =
				(uint8_t)((below(8) << 5) | (below(20) ? 1 + below(3) : below(32)));
		b[n] = below(2) ? b[n] | 0x78 : b[n];
		if (mode != 8)
			b[k < 17 ? n : n - 1] |= 0xc0;
	}
}

/* Both directions */
static void check_both(struct one *o)
{
	check_one(o);
	if (o->res == DECODE_OK && o->z_ok &&
	    (o->in.row->cls == CLS_COPY || o->in.row->cls == CLS_NOP))
		check_encoding(&o->in);
}

static void random_run(unsigned mode, unsigned long count)
{
	uint8_t b[16];
	struct one o = {.bytes = b, .mode = mode};

	for (unsigned long i = 0; i < count; i++) {
		random_bytes(b, mode);
		check_both(&o);
	}
}

/* ---- the code of programs ---- */

/* Linear sweep over .text of a 64-bit ELF file; after a byte that is no instruction, the next one */
static void sweep(const uint8_t *text, size_t size)
{
	uint8_t tail[16];
	struct one o = {.mode = 8};

	for (size_t at = 0; at < size;) {
		if (size - at < sizeof(tail)) {
			memset(tail, 0x90, sizeof(tail));
			memcpy(tail, text + at, size - at);
			o.bytes = tail;
		} else {
			o.bytes = text + at;
		}
		check_both(&o);
		at += o.res == DECODE_OK ? o.in.len : 1;
	}
}

static void sweep_file(const char *name, size_t most)
{
	FILE *f = fopen(name, "rb");
	Elf64_Ehdr eh;

	if (!f)
		return; /* not on this system */
	if (fread(&eh, sizeof(eh), 1, f) == 1 && !memcmp(eh.e_ident, ELFMAG, SELFMAG) &&
	    eh.e_ident[EI_CLASS] == ELFCLASS64 && eh.e_machine == EM_X86_64)
		for (unsigned i = 0; i < eh.e_phnum; i++) {
			Elf64_Phdr ph;
			uint8_t *text;
			size_t n;

			if (fseek(f, (long)(eh.e_phoff + i * sizeof(ph)), SEEK_SET) ||
			    fread(&ph, sizeof(ph), 1, f) != 1)
				break;
			if (ph.p_type != PT_LOAD || !(ph.p_flags & PF_X))
				continue;
			n = ph.p_filesz < most ? ph.p_filesz : most;
			text = malloc(n);
			if (text && !fseek(f, (long)ph.p_offset, SEEK_SET) &&
			    fread(text, n, 1, f) == 1) {
				sweep(text, n);
				printf("%s: %zu KiB\n", name, n >> 10);
			}
			free(text);
		}
	fclose(f);
}

int main(int argc, char **argv)
{
	unsigned long count = argc > 1 ? strtoul(argv[1], NULL, 0) : 2000000;
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
	static const struct {
		unsigned mode;
		ZydisMachineMode zm;
		ZydisStackWidth zs;
	} modes[] = {
		{8, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64},
		{4, ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32},
		{2, ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_STACK_WIDTH_16},
	};

	/* With hand-written SIMD of all kinds, FP, kernels' opposite */
	static const char *const files[] = {
		"/lib/x86_64-linux-gnu/libc.so.6",      "/lib/x86_64-linux-gnu/libm.so.6",
		"/lib/x86_64-linux-gnu/libcrypto.so.3", "/lib/x86_64-linux-gnu/libpixman-1.so.0",
		"/usr/bin/qemu-system-x86_64",          "/bin/busybox",
	};
	/* Without these features their encodings are NOPs, as with us */
	static const ZydisDecoderMode off[] = {
		ZYDIS_DECODER_MODE_MPX,
		ZYDIS_DECODER_MODE_CET,
		ZYDIS_DECODER_MODE_CLDEMOTE,
		ZYDIS_DECODER_MODE_KNC,
	};

	verbose = getenv("VERBOSE");
	for (unsigned i = 0; i < 3; i++) {
		ZydisDecoderInit(&zy[modes[i].mode].dec, modes[i].zm, modes[i].zs);
		for (unsigned j = 0; j < sizeof(off) / sizeof(off[0]); j++)
			ZydisDecoderEnableMode(&zy[modes[i].mode].dec, off[j], ZYAN_FALSE);
		ZydisFormatterInit(&zy[modes[i].mode].fmt, ZYDIS_FORMATTER_STYLE_INTEL);
		rng_state = seed + i;
		random_run(modes[i].mode, count);
	}
	for (unsigned i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		sweep_file(files[i], 2 << 20);
	printf("seed %" PRIu64 ": %lu decoded, %lu valid; %lu encoded, %lu refused, %lu high-byte; "
	       "%lu expected differences, %lu unexpected\n",
	       seed, n_checked, n_valid, n_encoded, n_no, n_high8, n_expected, n_bad);
	return n_bad != 0;
}
