/* SPDX-License-Identifier: ISC */
/* optab.h: the instruction table as the decoder and the encoder see it; private to them.
 *
 * insn.def becomes two constant arrays at compile time: the rows, and an index of row numbers with
 * one slot for each combination of map, opcode, mandatory prefix, ModRM and VEX.W/L that tells rows
 * apart, so that decoding looks up directly. Row 0 is "no such instruction". */
#ifndef X86_OPTAB_H
#define X86_OPTAB_H

#include "x86/insn.h"

/* How an operand is found. SDM vol. 2, appendix A.2.1 where the letter is theirs. */
enum op_how {
	HOW_NONE,
	HOW_E,     /* ModRM.rm: general register or memory; also M, which rows restrict to memory */
	HOW_G,     /* ModRM.reg: general register */
	HOW_B,     /* VEX.vvvv: general register */
	HOW_Z,     /* low three bits of the opcode: general register */
	HOW_GPR,   /* this general register (val) */
	HOW_AH,    /* AH; not used with an encoding field */
	HOW_V,     /* ModRM.reg: vector */
	HOW_W,     /* ModRM.rm: vector or memory */
	HOW_H,     /* VEX.vvvv: vector */
	HOW_L,     /* imm8[7:4]: vector */
	HOW_XMM0,  /* implicitly */
	HOW_KG,    /* ModRM.reg: opmask */
	HOW_KH,    /* VEX.vvvv: opmask */
	HOW_KR,    /* ModRM.rm: opmask or memory */
	HOW_P,     /* ModRM.reg: MMX */
	HOW_Q,     /* ModRM.rm: MMX or memory */
	HOW_SREG,  /* this segment register (val) */
	HOW_S,     /* ModRM.reg: segment register */
	HOW_C,     /* ModRM.reg: control register */
	HOW_D,     /* ModRM.reg: debug register */
	HOW_ST0,   /* x87 top of stack */
	HOW_STI,   /* x87, ModRM.rm */
	HOW_IMM,   /* zero-extended; size bytes */
	HOW_SIMM8, /* one byte sign-extended to size */
	HOW_SIMM,  /* size bytes, at most four, sign-extended */
	HOW_IMM2,  /* second immediate, one byte */
	HOW_ONE,   /* the constant 1, not encoded */
	HOW_J8,    /* relative, one byte */
	HOW_JZ,    /* relative, two or four bytes */
	HOW_A,     /* far pointer */
	HOW_O,     /* memory at an address that follows the opcode */
	HOW_X,     /* string source seg:rSI */
	HOW_Y,     /* string destination ES:rDI */
};

/* Sizes: up to SZ_FIXED bytes as they are, else by the instruction's attributes. */
enum op_size {
	SZ_V = 128, /* operand size */
	SZ_Z,       /* operand size, at most four */
	SZ_Y,       /* 8 with REX.W/VEX.W in 64-bit mode, else 4 */
	SZ_X,       /* 16 or 32 by VEX.L */
	SZ_XH,      /* half, a quarter, an eighth of that */
	SZ_XQ,
	SZ_XE,
	SZ_XHR,  /* register that holds at least half of that: 16 */
	SZ_M,    /* 8 in 64-bit mode, else 4: control registers and the like */
	SZ_P,    /* far pointer: 2 + operand size */
	SZ_S,    /* descriptor table register: 6 or 10 */
	SZ_A,    /* BOUND: twice the operand size */
	SZ_ENV,  /* x87 environment: 14 or 28 */
	SZ_FSAV, /* x87 state: 94 or 108 */
	SZ_512,  /* FXSAVE */
	SZ_VH,   /* half of the operand size: CBW */
	SZ_XDD,  /* VMOVDDUP: 8 of 16, else all */
};

/* Operand codes: OPC(name, how, size as a register or immediate, size as memory, value) */
/* clang-format off */
#define OPCODES(OPC) \
	OPC(Eb, E, 1, 1, 0)	OPC(Ew, E, 2, 2, 0)	OPC(Ed, E, 4, 4, 0) \
	OPC(Ev, E, SZ_V, SZ_V, 0) OPC(Ey, E, SZ_Y, SZ_Y, 0) OPC(Ezd, E, SZ_Z, 4, 0) \
	OPC(Edb, E, 4, 1, 0)	OPC(Edw, E, 4, 2, 0)	OPC(Evw, E, SZ_V, 2, 0) \
	OPC(Em, E, SZ_M, SZ_M, 0) \
	OPC(M, E, 0, 0, 0)	OPC(Mb, E, 0, 1, 0)	OPC(Mw, E, 0, 2, 0) \
	OPC(Md, E, 0, 4, 0)	OPC(Mq, E, 0, 8, 0)	OPC(Mt, E, 0, 10, 0) \
	OPC(Mo, E, 0, 16, 0)	OPC(Mx, E, 0, SZ_X, 0)	OPC(Mv, E, 0, SZ_V, 0) \
	OPC(My, E, 0, SZ_Y, 0)	OPC(Mp, E, 0, SZ_P, 0)	OPC(Ms, E, 0, SZ_S, 0) \
	OPC(Ma, E, 0, SZ_A, 0)	OPC(Menv, E, 0, SZ_ENV, 0) OPC(Mfsav, E, 0, SZ_FSAV, 0) \
	OPC(Mfx, E, 0, SZ_512, 0) \
	OPC(Gb, G, 1, 0, 0)	OPC(Gw, G, 2, 0, 0)	OPC(Gd, G, 4, 0, 0) \
	OPC(Gv, G, SZ_V, 0, 0)	OPC(Gy, G, SZ_Y, 0, 0) \
	OPC(Gm, G, SZ_M, 0, 0)	OPC(By, B, SZ_Y, 0, 0) \
	OPC(Zb, Z, 1, 0, 0)	OPC(Zv, Z, SZ_V, 0, 0) \
	OPC(AL, GPR, 1, 0, RAX)	OPC(CL, GPR, 1, 0, RCX)	OPC(AX, GPR, 2, 0, RAX) \
	OPC(DX, GPR, 2, 0, RDX)	OPC(rAX, GPR, SZ_V, 0, RAX) OPC(eAX, GPR, SZ_Z, 0, RAX) \
	OPC(rDX, GPR, SZ_V, 0, RDX) OPC(hAX, GPR, SZ_VH, 0, RAX) OPC(AH, AH, 1, 0, 0) \
	OPC(Vo, V, 16, 0, 0)	OPC(Vx, V, SZ_X, 0, 0) \
	OPC(Wo, W, 16, 16, 0)	OPC(Wx, W, SZ_X, SZ_X, 0) OPC(Wq, W, 16, 8, 0) \
	OPC(Wd, W, 16, 4, 0)	OPC(Ww, W, 16, 2, 0)	OPC(Wb, W, 16, 1, 0) \
	OPC(Wh, W, SZ_XHR, SZ_XH, 0) OPC(Wf, W, 16, SZ_XQ, 0) OPC(We, W, 16, SZ_XE, 0) \
	OPC(Wqq, W, 32, 32, 0)	OPC(Wdd, W, SZ_X, SZ_XDD, 0) OPC(Vh, V, SZ_XHR, 0, 0) \
	OPC(Mqq, E, 0, 32, 0) \
	OPC(Kg, KG, 8, 0, 0)	OPC(Kh, KH, 8, 0, 0)	OPC(Kr, KR, 8, 0, 0) \
	OPC(Kmb, KR, 8, 1, 0)	OPC(Kmw, KR, 8, 2, 0)	OPC(Kmd, KR, 8, 4, 0)	OPC(Kmq, KR, 8, 8, 0) \
	OPC(Ho, H, 16, 0, 0)	OPC(Hx, H, SZ_X, 0, 0)	OPC(Lx, L, SZ_X, 0, 0) \
	OPC(XMM0, XMM0, 16, 0, 0) \
	OPC(P, P, 8, 0, 0)	OPC(Q, Q, 8, 8, 0)	OPC(Qd, Q, 8, 4, 0) \
	OPC(sES, SREG, 2, 0, ES) OPC(sCS, SREG, 2, 0, CS) OPC(sSS, SREG, 2, 0, SS) \
	OPC(sDS, SREG, 2, 0, DS) OPC(sFS, SREG, 2, 0, FS) OPC(sGS, SREG, 2, 0, GS) \
	OPC(Sw, S, 2, 0, 0)	OPC(Cr, C, SZ_M, 0, 0)	OPC(Dr, D, SZ_M, 0, 0) \
	OPC(ST0, ST0, 10, 0, 0)	OPC(STi, STI, 10, 0, 0) \
	OPC(Ib, IMM, 1, 0, 0)	OPC(Iw, IMM, 2, 0, 0)	OPC(Iv, IMM, SZ_V, 0, 0) \
	OPC(Ibs, SIMM8, SZ_V, 0, 0) OPC(Iz, SIMM, SZ_V, 0, 0) OPC(Ib2, IMM2, 1, 0, 0) \
	OPC(One, ONE, 1, 0, 0)	OPC(Jb, J8, SZ_V, 0, 0)	OPC(Jz, JZ, SZ_V, 0, 0) \
	OPC(Ap, A, SZ_P, 0, 0)	OPC(Ob, O, 0, 1, 0)	OPC(Ov, O, 0, SZ_V, 0) \
	OPC(Xb, X, 0, 1, 0)	OPC(Xv, X, 0, SZ_V, 0)	OPC(Xz, X, 0, SZ_Z, 0) \
	OPC(Yb, Y, 0, 1, 0)	OPC(Yv, Y, 0, SZ_V, 0)	OPC(Yz, Y, 0, SZ_Z, 0)
/* clang-format on */

enum op_code {
	OPC_END,
#define OPC(name, how, size, msize, val) OPC_##name,
	OPCODES(OPC)
#undef OPC
		OPC_COUNT
};

struct op_spec {
	uint8_t how, size, msize, val;
};
extern const struct op_spec optab_spec[OPC_COUNT];

/* Attributes that only decode.c and encode.c know */
#define AT_OSZ BIT64(48) /* the operand size matters though no operand has it */
#define AT_VL0 BIT64(49) /* VEX.L must be 0 (rows of groups; others have slots by L) */
#define AT_W0  BIT64(50) /* EVEX.W must be 0 (rows of groups) */
#define AT_W1  BIT64(51) /* must be 1 */
/* Which of some adjacent rows it is depends on more than the index has: the row chosen is the first
 * plus something. Kept in the top byte. */
#define AT_ALT(n)  ((uint64_t)(n) << 56)
#define ALT_OF(at) ((unsigned)((at) >> 56))
#define ALT_NONE   0
#define ALT_W      1 /* +1 with REX.W */
#define ALT_M64    2 /* +1 in 64-bit mode */
#define ALT_COUNT  3 /* +1 where the immediate shift count, masked, is 0 */
#define ALT_NOP    4 /* 90H: +1 with REX.B; +2 with F3 */
#define ALT_L      5 /* +1 with VEX.L */

/* Mandatory prefixes that a row stands for */
enum { PPM_NP = 1, PPM_66 = 2, PPM_F3 = 4, PPM_F2 = 8, PPM_N6 = 3, PPM_NF3 = 11, PPM_ANY = 15 };

struct optab_row {
	struct insn_row r;
	uint8_t ops[5]; /* enum op_code, first OPC_END ends; the fifth is always OPC_END */
	uint8_t acc;    /* ACC_* of the operands, two bits each, the first lowest */
	uint8_t ppm;    /* PPM_* */
};
extern const struct optab_row optab_rows[];
extern const unsigned optab_row_count;

/* ---- the index ---- */

/* Maps: legacy one-byte, 0F, 0F38, 0F3A; VEX 1, 2, 3; EVEX 1, 2, 3 */
enum opmap {
	MAP_1B,
	MAP_0F,
	MAP_38,
	MAP_3A,
	MAP_V1,
	MAP_V2,
	MAP_V3,
	MAP_E1,
	MAP_E2,
	MAP_E3,
	MAP_COUNT
};

/* Groups: opcodes whose ModRM.reg tells instructions apart. OPGROUP(name, map, opcode) */
/* clang-format off */
#define OPGROUPS(OPGROUP) \
	OPGROUP(80, 1B, 0x80) OPGROUP(81, 1B, 0x81) OPGROUP(82, 1B, 0x82) OPGROUP(83, 1B, 0x83) \
	OPGROUP(8F, 1B, 0x8f) OPGROUP(C0, 1B, 0xc0) OPGROUP(C1, 1B, 0xc1) OPGROUP(C6, 1B, 0xc6) \
	OPGROUP(C7, 1B, 0xc7) OPGROUP(D0, 1B, 0xd0) OPGROUP(D1, 1B, 0xd1) OPGROUP(D2, 1B, 0xd2) \
	OPGROUP(D3, 1B, 0xd3) OPGROUP(F6, 1B, 0xf6) OPGROUP(F7, 1B, 0xf7) OPGROUP(FE, 1B, 0xfe) \
	OPGROUP(FF, 1B, 0xff) OPGROUP(0F00, 0F, 0x00) OPGROUP(0F0D, 0F, 0x0d) \
	OPGROUP(0F18, 0F, 0x18) OPGROUP(0F71, 0F, 0x71) OPGROUP(0F72, 0F, 0x72) \
	OPGROUP(0F73, 0F, 0x73) OPGROUP(0FAE, 0F, 0xae) OPGROUP(0FBA, 0F, 0xba) \
	OPGROUP(0FC7, 0F, 0xc7) \
	OPGROUP(V71, V1, 0x71) OPGROUP(V72, V1, 0x72) OPGROUP(V73, V1, 0x73) \
	OPGROUP(VAE, V1, 0xae) OPGROUP(VF3, V2, 0xf3) \
	OPGROUP(E71, E1, 0x71) OPGROUP(E72, E1, 0x72) OPGROUP(E73, E1, 0x73)
/* clang-format on */

enum opgroup {
#define OPGROUP(name, map, opcode) GRP_##name,
	OPGROUPS(OPGROUP)
#undef OPGROUP
		GRP_COUNT
};

/* What follows an opcode: optab_info[map * 256 + opcode] */
enum {
	INFO_NONE,  /* nothing: no ModRM byte */
	INFO_MODRM, /* ModRM, slot by mod only */
	INFO_REGS,  /* ModRM whose mod is taken as 3: MOV to and from CR, DR */
	INFO_X87,   /* D8-DF */
	INFO_0F01,
	INFO_GROUP, /* + enum opgroup */
};
extern const uint8_t optab_info[MAP_COUNT * 256];

/* Slots. pp: 0 none, 1 66, 2 F3, 3 F2. m: 1 for a register r/m, else 0. */
#define SLOT_1B(op, pp, m)       ((op)*2 + (m))
#define SLOTS_1B                 512
#define SLOT_LEG(map, op, pp, m) (SLOTS_1B + ((((map)-MAP_0F) * 256 + (op)) * 4 + (pp)) * 2 + (m))
#define SLOTS_LEG                (3 * 256 * 8)
#define SLOT_VEX(map, op, pp, m, w, l) \
	(SLOTS_1B + SLOTS_LEG +        \
	 ((((((map)-MAP_V1) * 256 + (op)) * 4 + (pp)) * 2 + (m)) * 2 + (w)) * 2 + (l))
#define SLOTS_VEX               (3 * 256 * 32)
#define SLOT_GRP0               (SLOTS_1B + SLOTS_LEG + SLOTS_VEX)
#define SLOT_GRP(g, pp, m, reg) (SLOT_GRP0 + (((g)*4 + (pp)) * 2 + (m)) * 8 + (reg))
#define SLOT_X870               (SLOT_GRP0 + GRP_COUNT * 64)
#define SLOT_XM(op, reg)        (SLOT_X870 + ((op)&7) * 72 + (reg))
#define SLOT_XR(op, reg, rm)    (SLOT_X870 + ((op)&7) * 72 + 8 + (reg)*8 + (rm))
#define SLOT_S010               (SLOT_X870 + 8 * 72)
#define SLOT_SM(pp, reg)        (SLOT_S010 + (pp)*72 + (reg))
#define SLOT_SR(pp, reg, rm)    (SLOT_S010 + (pp)*72 + 8 + (reg)*8 + (rm))
#define SLOT_EVEX0              (SLOT_S010 + 4 * 72)
#define SLOT_EVEX(map, op, pp, m, w) \
	(SLOT_EVEX0 + ((((map)-MAP_E1) * 256 + (op)) * 4 + (pp)) * 4 + (m)*2 + (w))
#define SLOT_COUNT (SLOT_EVEX0 + 3 * 256 * 16)

/* The row of each slot; the last is nobody's. Programs have it packed: tools/gen-optab.c. */
extern const uint16_t optab_index[SLOT_COUNT + 1];

#define OPTAB_BLOCK     8
#define OPTAB_STRETCHES (SLOT_COUNT / OPTAB_BLOCK + 1)
extern const uint16_t optab_first[OPTAB_STRETCHES];
extern const uint16_t optab_block[][OPTAB_BLOCK];

static inline unsigned optab_at(unsigned slot)
{
	return optab_block[optab_first[slot / OPTAB_BLOCK]][slot % OPTAB_BLOCK];
}

#endif
