/* SPDX-License-Identifier: ISC */
/* insn.h: a decoded instruction, and the rows of the instruction table (insn.def).
 *
 * The table says for each row what an engine must know: which operands it has and whether it
 * reads or writes them, which flags, which feature must be in CPUID, and its class. Most rows are
 * CLS_COPY: guest and host have the same instruction set, so an engine runs the very same
 * instruction on the host, with its general registers renamed and its memory operand replaced
 * (see encode.h). Only the other classes need code. */
#ifndef X86_INSN_H
#define X86_INSN_H

#include "base/def.h"
#include "x86/state.h"

#define INSN_MAX 15

enum insn_class {
	CLS_COPY,   /* data processing; all effects are in the operands, flags and FP/SIMD state */
	CLS_NOP,    /* NOP Ev, ENDBR, prefetches, PAUSE, fences that the host may run as they are */
	CLS_LEA,    /* an address, no access */
	CLS_MOVABS, /* MOV AL/rAX ↔ moffs */
	CLS_JMP,    /* relative */
	CLS_JCC,
	CLS_LOOP,     /* LOOPcc, JrCXZ */
	CLS_CALL,     /* relative */
	CLS_JMP_IND,  /* near, through Ev */
	CLS_CALL_IND, /* near, through Ev */
	CLS_RET,      /* near, with or without Iw */
	CLS_PUSH,     /* Ev, Iz, Ib, register */
	CLS_POP,      /* Ev, register */
	CLS_STACK,    /* PUSHF POPF PUSHA POPA ENTER LEAVE, PUSH/POP of segment registers */
	CLS_STRING,   /* MOVS CMPS STOS LODS SCAS */
	CLS_IO,       /* IN OUT INS OUTS */
	CLS_FAR, /* far JMP CALL RET, INTn INT3 INTO INT1 IRET, SYSCALL SYSRET SYSENTER SYSEXIT */
	CLS_SYS, /* everything else that only the interpreter does */
};

/* How an operand is used */
#define ACC_R  BIT(0)
#define ACC_W  BIT(1)
#define ACC_RW (ACC_R | ACC_W)

enum opnd_kind {
	OP_NONE,
	OP_GPR,  /* reg: enum x86_gpr; high8: AH CH DH BH */
	OP_MEM,  /* insn.mem */
	OP_IMM,  /* insn.imm, sign- or zero-extended as the row says */
	OP_IMM2, /* insn.imm2: ENTER's second, far pointers' selector */
	OP_REL,  /* insn.imm: displacement from the next instruction */
	OP_SREG,
	OP_CR,
	OP_DR,
	OP_ST,  /* x87 stack register */
	OP_MM,  /* MMX */
	OP_VEC, /* XMM/YMM/ZMM by size */
	OP_K,   /* opmask */
};

/* Which field of the encoding holds a register, so that a copy can rename it */
enum opnd_field { FIELD_IMPLICIT, FIELD_REG, FIELD_RM, FIELD_VVVV, FIELD_OPCODE, FIELD_IS4 };

struct insn_opnd {
	uint8_t kind;  /* enum opnd_kind */
	uint8_t acc;   /* ACC_* */
	uint8_t reg;   /* register number, extension bits included */
	uint8_t field; /* enum opnd_field */
	uint16_t size; /* bytes; for OP_MEM what is accessed at most (0: none, as in LEA) */
	bool high8;
};

struct insn_mem {
	int8_t base;       /* enum x86_gpr, or -1 */
	int8_t index;      /* enum x86_gpr, or -1 (a vector register where row has AT_VSIB) */
	uint8_t scale;     /* 1 2 4 8 */
	uint8_t seg;       /* enum x86_sreg in effect, overrides applied */
	bool rip_rel;      /* disp is relative to the next instruction */
	uint8_t addr_size; /* bytes: 2 4 8 */
	int64_t disp;      /* sign-extended; for moffs the whole address */
};

/* Attributes of a row */
#define AT_LOCK    BIT64(0) /* LOCK is allowed (with a memory destination) */
#define AT_REP     BIT64(1) /* REP/REPE/REPNE repeat it */
#define AT_NO64    BIT64(2) /* #UD in 64-bit mode */
#define AT_ONLY64  BIT64(3) /* #UD outside of it */
#define AT_DEF64   BIT64(4) /* operand size 64 by default in 64-bit mode (66 gives 16) */
#define AT_FORCE64 BIT64(5) /* operand size 64 always in 64-bit mode (near branches, Intel rule) */
#define AT_CPL0    BIT64(6) /* #GP(0) above ring 0 */
#define AT_X87     BIT64(7) /* #NM on EM or TS; waits for pending #MF unless AT_NOWAIT */
#define AT_NOWAIT  BIT64(8)
#define AT_MMX     BIT64(9)  /* #UD on EM, #NM on TS; pending #MF first */
#define AT_SSE     BIT64(10) /* #UD on EM or no OSFXSR; #NM on TS; #XM possible where AT_XM */
#define AT_AVX     BIT64(11) /* VEX: needs OSXSAVE, XCR0.SSE+AVX, protected mode; #NM on TS */
#define AT_AVX512  BIT64(12)
#define AT_XM      BIT64(13) /* may raise SIMD floating-point exceptions */
#define AT_ALIGN \
	BIT64(14) /* memory operand must be aligned to its size, else #GP(0); see vendor.c */
#define AT_VSIB    BIT64(15)
#define AT_MEMONLY BIT64(16) /* #UD with a register r/m */
#define AT_REGONLY BIT64(17) /* #UD with a memory r/m */
#define AT_ENDS    BIT64(18) /* may change RIP, mode, mappings or interrupts: ends a block */
#define AT_BITSTR  BIT64(19) /* BT/BTS/BTR/BTC Ev,Gv: memory address also depends on the register */
#define AT_HOSTX \
	BIT64(20)           /* CLS_COPY, but never run as it is on the host by an engine
			      * (XSAVE family, FXSAVE, FNSTENV, FNSAVE …): the interpreter does it */
#define AT_PROT   BIT64(21) /* #UD in real and virtual-8086 mode */
#define AT_MASK   BIT64(22) /* EVEX: takes an opmask */
#define AT_ZERO   BIT64(23) /* and may zero what it leaves out, where the destination is a register */
#define AT_KREQ   BIT64(24) /* #UD without one */
#define AT_L128   BIT64(25) /* EVEX: there is a form with this vector length */
#define AT_L256   BIT64(26)
#define AT_L512   BIT64(27)
#define AT_LIG    BIT64(28) /* scalar: the vector length is ignored */
#define AT_BC     BIT64(29) /* EVEX.b with memory: one element for all, 4 or 8 bytes by EVEX.W */
#define AT_RC     BIT64(30) /* EVEX.b with registers: rounding mode in EVEX.L'L, no exceptions */
#define AT_SAE    BIT64(31) /* the same without a rounding mode */
#define AT_BNOP   BIT64(32) /* the same, without any effect */
#define AT_DENSE  BIT64(33) /* the mask's elements stand side by side in memory: compress, expand */
#define AT_REPEAT BIT64(34) /* the memory operand is repeated through the vector: VBROADCAST… */
/* Of a memory operand under an opmask, the element that a bit stands for; one of these, or the mask
 * does not matter to memory. */
#define AT_EL1 BIT64(35)
#define AT_EL2 BIT64(36)
#define AT_EL4 BIT64(37)
#define AT_EL8 BIT64(38)
#define AT_EL  (AT_EL1 | AT_EL2 | AT_EL4 | AT_EL8)

struct insn_row {
	uint16_t mnem;     /* enum insn_mnem */
	uint8_t cls;       /* enum insn_class */
	uint8_t feature;   /* enum x86_feature (cpuid.h); 0: always there */
	uint16_t fl_read;  /* RFLAGS bits read: FL_ARITH subset and FL_DF */
	uint16_t fl_write; /* RFLAGS bits surely written, undefined ones included; where an
			    * instruction may leave them alone (shift by CL) also in fl_read */
	uint64_t attr;     /* AT_* */
	uint16_t fl_undef; /* those of fl_write that the manual leaves undefined: the processor may
			    * even leave them as they were, so comparisons must mask them */
	uint16_t gpr_read, gpr_write; /* masks of implicit general registers */
};

enum insn_mnem {
	I_INVALID,
#define MNEM(id, text) I_##id,
#include "x86/mnem.def"
#undef MNEM
	I_COUNT
};

enum insn_enc { ENC_LEGACY, ENC_VEX2, ENC_VEX3, ENC_EVEX };

struct insn {
	const struct insn_row *row;
	uint16_t mnem; /* = row->mnem */
	uint8_t len;
	uint8_t mode;      /* bytes: 2 4 8 (CS.D/L) */
	uint8_t op_size;   /* bytes: effective operand size of v-type operands */
	uint8_t addr_size; /* bytes; = mem.addr_size */
	uint8_t n_opnd;
	struct insn_opnd opnd[5];
	struct insn_mem mem; /* valid where has_mem */
	bool has_mem;
	uint64_t imm;
	uint32_t imm2;

	/* The encoding, taken apart, for encode.c */
	uint8_t enc; /* enum insn_enc */
	uint8_t map; /* 0: one byte, 1: 0F, 2: 0F38, 3: 0F3A */
	uint8_t opcode;
	bool has_modrm;
	uint8_t modrm;
	uint8_t rex;   /* the REX byte or 0; for VEX/EVEX bits 3-0 only: W R X B */
	uint8_t vvvv;  /* register number, extension included */
	uint8_t vex_l; /* 0 1 2: the vector length in effect */
	bool vex_w;    /* VEX.W as it stands, whatever the mode */
	uint8_t pp;    /* 0, 0x66, 0xf3, 0xf2: the mandatory or implied prefix */
	uint8_t rep;   /* last of F2/F3 seen, or 0 */
	bool lock, opsize_pfx, addrsize_pfx;
	uint8_t seg_pfx;   /* 0x26 0x2e 0x36 0x3e 0x64 0x65, or 0 */
	uint8_t imm_bytes; /* immediates' total size at the end of the encoding */
	uint8_t disp_bytes;
	uint8_t evex[3];    /* P0 P1 P2 as they stand */
	uint8_t disp_scale; /* what an 8-bit displacement is multiplied with */
	uint8_t mask_bits;  /* of the opmask, those that matter to a memory operand (AT_EL*) */
	uint8_t bytes[INSN_MAX];
};

enum decode_result {
	DECODE_OK,
	DECODE_UD,       /* not an instruction in this mode (whatever CPUID says) */
	DECODE_TOO_LONG, /* more than 15 bytes: #GP(0) */
	DECODE_MORE,     /* avail bytes were not enough */
};

/* Decodes one instruction from p (avail readable bytes, at most 15 are looked at).
 * mode: 2, 4 or 8. CPUID is not consulted: the caller compares row->feature. On DECODE_UD
 * out->len is the number of bytes looked at. */
enum decode_result insn_decode(const uint8_t *p, size_t avail, unsigned mode, struct insn *out);

/* EVEX: the opmask register, 0 for none; zeroing; broadcast or rounding */
static inline unsigned insn_mask(const struct insn *in)
{
	return in->evex[2] & 7u;
}

/* Are its accesses one to other processors? */
static inline bool insn_is_atomic(const struct insn *in)
{
	return in->lock || in->mnem == I_XCHG;
}

static inline bool insn_zeroes(const struct insn *in)
{
	return in->evex[2] & 0x80;
}

static inline bool insn_evex_b(const struct insn *in)
{
	return in->evex[2] & 0x10;
}

/* Bytes of an element of AT_EL*; 0: none of them */
static inline unsigned insn_elem(const struct insn_row *row)
{
	return (unsigned)((row->attr & AT_EL) / AT_EL1);
}

/* Of its memory operand only the elements that the opmask chooses are accessed. */
static inline bool insn_masks_memory(const struct insn *in)
{
	return in->has_mem && insn_mask(in) && insn_elem(in->row);
}

/* Needs AVX512VL: a packed instruction with less than 512 bits that also has them */
static inline bool insn_needs_vl(const struct insn *in)
{
	return in->enc == ENC_EVEX && in->vex_l < 2 && in->row->attr & (AT_L256 | AT_L512);
}

/* AH, CH, DH or BH among its operands */
static inline bool insn_has_high8(const struct insn *in)
{
	for (unsigned i = 0; i < in->n_opnd; i++)
		if (in->opnd[i].kind == OP_GPR && in->opnd[i].high8)
			return true;
	return false;
}

/* The operand that is in memory, or NULL */
static inline const struct insn_opnd *insn_mem_opnd(const struct insn *in)
{
	for (unsigned i = 0; i < in->n_opnd; i++)
		if (in->opnd[i].kind == OP_MEM)
			return &in->opnd[i];
	return NULL;
}

/* The mnemonic, lower case */
const char *insn_name(const struct insn_row *row);
/* Intel syntax, for logs and reproducers; returns buf. rip: of the instruction. */
char *insn_format(const struct insn *in, uint64_t rip, char *buf, size_t size);

#endif
