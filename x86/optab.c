/* SPDX-License-Identifier: ISC */
/* optab.c: insn.def turned into the constant arrays of optab.h. Constants only.
 *
 * The table is read four times: for a number for each row, named after its slots, so that a row
 * given twice doesn't compile; for the rows; for what follows each opcode; for the index. A row
 * that is there for several mandatory prefixes or for memory and register names all their slots; the
 * combinations that it is not there for name the last slot, nobody's, instead. */
#include "x86/feature.h"
#include "x86/optab.h"

/* Slots written several times: the last one; and INFO_* by rows of one opcode, which agree. */
#ifdef __clang__
#pragma clang diagnostic ignored "-Winitializer-overrides"
#else
#pragma GCC diagnostic ignored "-Woverride-init"
#endif

/* Abbreviations of the .def files */
#define F_ALL (FL_ARITH)
#define F_SZP (FL_SF | FL_ZF | FL_PF)
#define F_MUL (F_SZP | FL_AF)
#define F_BT  (FL_CF | U(FL_OF | FL_SF | FL_AF | FL_PF))
#define U(fl) ((fl) | (fl) << 16) /* undefined: written, with anything */
#define G_A   BIT(RAX)
#define G_C   BIT(RCX)
#define G_D   BIT(RDX)
#define G_B   BIT(RBX)
#define G_SP  BIT(RSP)
#define G_BP  BIT(RBP)
#define G_SI  BIT(RSI)
#define G_DI  BIT(RDI)

/* clang-format off */

/* ---- numbers ---- */
#define L(map, op, pp, m, ...)		R_##map##_##op##_##pp##_##m,
#define G(grp, pp, m, reg, ...)		R_G##grp##_##pp##_##m##_##reg,
#define V(map, op, pp, m, w, l, ...)	R_##map##_##op##_##pp##_##m##_##w##_##l,
#define EV(map, op, pp, m, w, ...)	R_##map##_##op##_##pp##_##m##_##w,
#define XM(op, reg, ...)		R_XM_##op##_##reg,
#define XR(op, reg, rm, rm_last, ...)	R_XR_##op##_##reg##_##rm,
#define SM(pp, reg, ...)		R_SM_##pp##_##reg,
#define SR(pp, reg, rm, rm_last, ...)	R_SR_##pp##_##reg##_##rm,
#define ALTROW(id, mn, ...)		R_ALT_##id##_##mn,
enum {
	R_NONE,
#include "x86/insn.def"
	R_COUNT
};
#undef L
#undef G
#undef V
#undef EV
#undef XM
#undef XR
#undef SM
#undef SR
#undef ALTROW

/* ---- rows ---- */

enum { AT_M_A = 0, AT_M_N = 0 };
#define AT_M_M AT_MEMONLY
#define AT_M_R AT_REGONLY

/* An operand and its use in one number, taken apart again below */
#define OPC_ACC(x, acc)	(OPC_##x | (acc) << 8)
#define R(x)	OPC_ACC(x, ACC_R)
#define W(x)	OPC_ACC(x, ACC_W)
#define RW(x)	OPC_ACC(x, ACC_RW)
#define A(x)	OPC_ACC(x, 0)
#define BODY(prefixes, extra, mn, class_, feat, at, fr, fw, gr, gw, ...) { \
	.r = { .mnem = I_##mn, .cls = CLS_##class_, .feature = X_FEAT_##feat, \
	       .attr = (at) | (extra), .fl_read = (fr), .fl_write = (fw) & 0xffff, \
	       .fl_undef = (fw) >> 16, .gpr_read = (gr), .gpr_write = (gw) }, \
	.ppm = (prefixes), OPERANDS(__VA_ARGS__ __VA_OPT__(,) 0, 0, 0, 0) },
#define OPERANDS(...) OPERANDS_(__VA_ARGS__)
#define OPERANDS_(a, b, c, d, ...) \
	.ops = { (a) & 0xff, (b) & 0xff, (c) & 0xff, (d) & 0xff }, \
	.acc = (a) >> 8 | (b) >> 8 << 2 | (c) >> 8 << 4 | (d) >> 8 << 6

#define L(map, op, pp, m, ...)		BODY(PPM_##pp, AT_M_##m, __VA_ARGS__)
#define G(grp, pp, m, reg, ...)		BODY(PPM_##pp, AT_M_##m, __VA_ARGS__)
/* The general-register rows, too, are not there in real mode */
#define V(map, op, pp, m, w, l, ...)	BODY(PPM_##pp, AT_M_##m | AT_PROT, __VA_ARGS__)
#define EV(map, op, pp, m, w, ...)	BODY(PPM_##pp, AT_M_##m | AT_PROT, __VA_ARGS__)
#define XM(op, reg, ...)		BODY(PPM_ANY, AT_MEMONLY, __VA_ARGS__)
#define XR(op, reg, rm, rm_last, ...)	BODY(PPM_ANY, AT_REGONLY, __VA_ARGS__)
#define SM(pp, reg, ...)		BODY(PPM_##pp, AT_MEMONLY, __VA_ARGS__)
#define SR(pp, reg, rm, rm_last, ...)	BODY(PPM_##pp, AT_REGONLY, __VA_ARGS__)
#define ALTROW(id, ...)			BODY(PPM_ANY, 0, __VA_ARGS__)
const struct optab_row optab_rows[] = {
	{ .r = { .mnem = I_INVALID } },
#include "x86/insn.def"
};
#undef L
#undef G
#undef V
#undef EV
#undef XM
#undef XR
#undef SM
#undef SR
#undef ALTROW
#undef R
#undef W
#undef RW
#undef A
_Static_assert(ARRAY_SIZE(optab_rows) == R_COUNT, "a number for each row");
_Static_assert(OPC_COUNT <= 256, "an operand code is a byte");
const unsigned optab_row_count = R_COUNT;

/* ---- what follows an opcode ---- */

enum { INFO_M_N = INFO_NONE, INFO_M_A = INFO_MODRM, INFO_M_M = INFO_MODRM, INFO_M_R = INFO_MODRM };
#define L(map, op, pp, m, ...)		[MAP_##map * 256 + (op)] = INFO_M_##m,
#define G(grp, pp, m, reg, ...)
#define V(map, op, pp, m, w, l, ...)	[MAP_##map * 256 + (op)] = INFO_M_##m,
#define EV(map, op, pp, m, w, ...)	[MAP_##map * 256 + (op)] = INFO_M_##m,
#define XM(op, reg, ...)		[op] = INFO_X87,
#define XR(op, reg, rm, rm_last, ...)	[op] = INFO_X87,
#define SM(pp, reg, ...)		[MAP_0F * 256 + 0x01] = INFO_0F01,
#define SR(pp, reg, rm, rm_last, ...)	[MAP_0F * 256 + 0x01] = INFO_0F01,
#define ALTROW(id, mn, ...)
#define OPGROUP(name, map, op)		[MAP_##map * 256 + (op)] = INFO_GROUP + GRP_##name,
const uint8_t optab_info[MAP_COUNT * 256] = {
#include "x86/insn.def"
	OPGROUPS(OPGROUP)
	[MAP_0F * 256 + 0x20 ... MAP_0F * 256 + 0x23] = INFO_REGS,
};
#undef OPGROUP
#undef L
#undef G
#undef V
#undef EV
#undef XM
#undef XR
#undef SM
#undef SR
#undef ALTROW

/* ---- index ---- */

enum { M_A = 3, M_N = 3, M_M = 1, M_R = 2 }; /* memory, register */
enum { W_W0 = 1, W_W1 = 2, W_WX = 3, L_L0 = 1, L_L1 = 2, L_LX = 3 };
#define IF(cond, slot)	((cond) ? (slot) : SLOT_COUNT)

#define L1(map, op, pp, m, k, p, r) \
	[IF(PPM_##pp >> (p) & 1 && M_##m >> (r) & 1, \
	    MAP_##map == MAP_1B ? SLOT_1B(op, p, r) : SLOT_LEG(MAP_##map, op, p, r))] = k,
#define L2(map, op, pp, m, k) \
	L1(map, op, pp, m, k, 0, 0) L1(map, op, pp, m, k, 0, 1) \
	L1(map, op, pp, m, k, 1, 0) L1(map, op, pp, m, k, 1, 1) \
	L1(map, op, pp, m, k, 2, 0) L1(map, op, pp, m, k, 2, 1) \
	L1(map, op, pp, m, k, 3, 0) L1(map, op, pp, m, k, 3, 1)
#define L(map, op, pp, m, ...)	L2(map, op, pp, m, R_##map##_##op##_##pp##_##m)

#define G1(grp, pp, m, reg, k, p, r) \
	[IF(PPM_##pp >> (p) & 1 && M_##m >> (r) & 1, SLOT_GRP(GRP_##grp, p, r, reg))] = k,
#define G2(grp, pp, m, reg, k) \
	G1(grp, pp, m, reg, k, 0, 0) G1(grp, pp, m, reg, k, 0, 1) \
	G1(grp, pp, m, reg, k, 1, 0) G1(grp, pp, m, reg, k, 1, 1) \
	G1(grp, pp, m, reg, k, 2, 0) G1(grp, pp, m, reg, k, 2, 1) \
	G1(grp, pp, m, reg, k, 3, 0) G1(grp, pp, m, reg, k, 3, 1)
#define G(grp, pp, m, reg, ...)	G2(grp, pp, m, reg, R_G##grp##_##pp##_##m##_##reg)

#define V1(map, op, pp, m, w, l, k, p, r, wb, lb) \
	[IF(PPM_##pp >> (p) & 1 && M_##m >> (r) & 1 && W_##w >> (wb) & 1 && L_##l >> (lb) & 1, \
	    SLOT_VEX(MAP_##map, op, p, r, wb, lb))] = k,
#define V2(map, op, pp, m, w, l, k, p, r) \
	V1(map, op, pp, m, w, l, k, p, r, 0, 0) V1(map, op, pp, m, w, l, k, p, r, 0, 1) \
	V1(map, op, pp, m, w, l, k, p, r, 1, 0) V1(map, op, pp, m, w, l, k, p, r, 1, 1)
#define V3(map, op, pp, m, w, l, k) \
	V2(map, op, pp, m, w, l, k, 0, 0) V2(map, op, pp, m, w, l, k, 0, 1) \
	V2(map, op, pp, m, w, l, k, 1, 0) V2(map, op, pp, m, w, l, k, 1, 1) \
	V2(map, op, pp, m, w, l, k, 2, 0) V2(map, op, pp, m, w, l, k, 2, 1) \
	V2(map, op, pp, m, w, l, k, 3, 0) V2(map, op, pp, m, w, l, k, 3, 1)
#define V(map, op, pp, m, w, l, ...)	V3(map, op, pp, m, w, l, R_##map##_##op##_##pp##_##m##_##w##_##l)

#define EV1(map, op, pp, m, w, k, p, r, wb) \
	[IF(PPM_##pp >> (p) & 1 && M_##m >> (r) & 1 && W_##w >> (wb) & 1, \
	    SLOT_EVEX(MAP_##map, op, p, r, wb))] = k,
#define EV2(map, op, pp, m, w, k, p) \
	EV1(map, op, pp, m, w, k, p, 0, 0) EV1(map, op, pp, m, w, k, p, 0, 1) \
	EV1(map, op, pp, m, w, k, p, 1, 0) EV1(map, op, pp, m, w, k, p, 1, 1)
#define EV3(map, op, pp, m, w, k) \
	EV2(map, op, pp, m, w, k, 0) EV2(map, op, pp, m, w, k, 1) \
	EV2(map, op, pp, m, w, k, 2) EV2(map, op, pp, m, w, k, 3)
#define EV(map, op, pp, m, w, ...)	EV3(map, op, pp, m, w, R_##map##_##op##_##pp##_##m##_##w)

#define XM(op, reg, ...)		[SLOT_XM(op, reg)] = R_XM_##op##_##reg,
#define XR(op, reg, rm, rm_last, ...) \
	[SLOT_XR(op, reg, rm) ... SLOT_XR(op, reg, rm_last)] = R_XR_##op##_##reg##_##rm,

#define SM1(pp, reg, k, p)	[IF(PPM_##pp >> (p) & 1, SLOT_SM(p, reg))] = k,
#define SM2(pp, reg, k) \
	SM1(pp, reg, k, 0) SM1(pp, reg, k, 1) SM1(pp, reg, k, 2) SM1(pp, reg, k, 3)
#define SM(pp, reg, ...)	SM2(pp, reg, R_SM_##pp##_##reg)
#define SR1(pp, reg, rm, rm_last, k, p) \
	[IF(PPM_##pp >> (p) & 1, SLOT_SR(p, reg, rm)) ... \
	 IF(PPM_##pp >> (p) & 1, SLOT_SR(p, reg, rm_last))] = k,
#define SR2(pp, reg, rm, rm_last, k) \
	SR1(pp, reg, rm, rm_last, k, 0) SR1(pp, reg, rm, rm_last, k, 1) \
	SR1(pp, reg, rm, rm_last, k, 2) SR1(pp, reg, rm, rm_last, k, 3)
#define SR(pp, reg, rm, rm_last, ...)	SR2(pp, reg, rm, rm_last, R_SR_##pp##_##reg##_##rm)
#define ALTROW(id, mn, ...)

const uint16_t optab_index[SLOT_COUNT + 1] = {
#include "x86/insn.def"
	[SLOT_COUNT] = R_NONE,
};
/* clang-format on */

const struct op_spec optab_spec[OPC_COUNT] = {
#define OPC(name, how, size, msize, val) [OPC_##name] = {HOW_##how, size, msize, val},
	OPCODES(OPC)
#undef OPC
};
