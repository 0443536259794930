/* SPDX-License-Identifier: ISC */
/* asm.h: a tiny assembler for the host's 64-bit mode: what a translator emits around the guest's
 * own instructions. Registers are numbered as in enum x86_gpr. No checks of space: the caller
 * sees to it (ASM_INSN_MAX a call). "gs" operands are [GS base + disp32]. */
#ifndef X86_ASM_H
#define X86_ASM_H

#include "base/def.h"
#include "x86/state.h"

#define ASM_INSN_MAX 16

struct asm_buf {
	uint8_t *p; /* where the next byte goes */
};

/* Opcodes of the one-byte map, "reg, r/m" forms unless said otherwise */
enum asm_op {
	OPC_ADD = 0x03,
	OPC_OR = 0x0b,
	OPC_AND = 0x23,
	OPC_SUB = 0x2b,
	OPC_XOR = 0x33,
	OPC_CMP = 0x3b,
	OPC_TEST = 0x85,
	OPC_LOAD = 0x8b,
	OPC_LOAD8 = 0x8a,
	OPC_STORE = 0x89, /* r/m, reg */
	OPC_STORE8 = 0x88,
	OPC_LEA = 0x8d,
	OPC_XCHG = 0x87,
};

/* Condition codes as in Jcc's opcode */
enum asm_cc {
	CC_O,
	CC_NO,
	CC_B,
	CC_AE,
	CC_E,
	CC_NE,
	CC_BE,
	CC_A,
	CC_S,
	CC_NS,
	CC_P,
	CC_NP,
	CC_L,
	CC_GE,
	CC_LE,
	CC_G,
};

static inline void asm_u8(struct asm_buf *a, unsigned v)
{
	*a->p++ = (uint8_t)v;
}
static inline void asm_u16(struct asm_buf *a, unsigned v)
{
	asm_u8(a, v);
	asm_u8(a, v >> 8);
}
static inline void asm_u32(struct asm_buf *a, uint32_t v)
{
	__builtin_memcpy(a->p, &v, 4);
	a->p += 4;
}
static inline void asm_u64(struct asm_buf *a, uint64_t v)
{
	__builtin_memcpy(a->p, &v, 8);
	a->p += 8;
}
static inline bool asm_fits32(int64_t v)
{
	return v == (int32_t)v;
}

/* REX for reg, index and base; size 8 sets W. Bare 40H is left out unless force. */
static inline void asm_rex(struct asm_buf *a, unsigned size, unsigned reg, unsigned index,
			   unsigned base, bool force)
{
	unsigned rex = 0x40 | (size == 8 ? 8 : 0) | (reg >> 3 & 1) << 2 | (index >> 3 & 1) << 1 |
		       (base >> 3 & 1);

	if (rex != 0x40 || force)
		asm_u8(a, rex);
}

/* ModRM and what follows for [base + index * scale + disp]. index -1: none; base -1: none. */
static inline void asm_mem(struct asm_buf *a, unsigned reg, int base, int index, unsigned scale,
			   int32_t disp)
{
	unsigned r = (reg & 7) << 3;
	unsigned ss = scale == 8 ? 3 : scale == 4 ? 2 : scale == 2 ? 1 : 0;
	unsigned mod;

	if (base < 0) {
		asm_u8(a, r | 4);
		asm_u8(a, ss << 6 | (index < 0 ? 4 : (unsigned)index & 7) << 3 | 5);
		asm_u32(a, (uint32_t)disp);
		return;
	}
	mod = !disp && (base & 7) != RBP ? 0 : disp == (int8_t)disp ? 1 : 2;
	if (index < 0 && (base & 7) != RSP) {
		asm_u8(a, mod << 6 | r | ((unsigned)base & 7));
	} else {
		asm_u8(a, mod << 6 | r | 4);
		asm_u8(a,
		       ss << 6 | (index < 0 ? 4 : (unsigned)index & 7) << 3 | ((unsigned)base & 7));
	}
	if (mod == 1)
		asm_u8(a, (uint8_t)disp);
	else if (mod == 2)
		asm_u32(a, (uint32_t)disp);
}

/* op reg, reg/m: registers */
static inline void asm_rr(struct asm_buf *a, enum asm_op op, unsigned size, unsigned reg,
			  unsigned rm)
{
	asm_rex(a, size, reg, 0, rm, false);
	asm_u8(a, op);
	asm_u8(a, 0xc0 | (reg & 7) << 3 | (rm & 7));
}
/* op with a memory operand */
static inline void asm_rm(struct asm_buf *a, enum asm_op op, unsigned size, unsigned reg, int base,
			  int index, unsigned scale, int32_t disp)
{
	if (size == 2)
		asm_u8(a, 0x66);
	asm_rex(a, size, reg, index < 0 ? 0 : (unsigned)index, base < 0 ? 0 : (unsigned)base,
		size == 1 && reg >= 4);
	asm_u8(a, op);
	asm_mem(a, reg, base, index, scale, disp);
}
/* op reg, gs:[index * 8 + off]; index -1: none */
static inline void asm_gs(struct asm_buf *a, enum asm_op op, unsigned size, unsigned reg, int index,
			  int32_t off)
{
	asm_u8(a, 0x65);
	asm_rm(a, op, size, reg, -1, index, 8, off);
}

static inline void asm_mov_rr(struct asm_buf *a, unsigned dst, unsigned src)
{
	asm_rr(a, OPC_LOAD, 8, dst, src);
}
static inline void asm_ld_gs(struct asm_buf *a, unsigned dst, int32_t off)
{
	asm_gs(a, OPC_LOAD, 8, dst, -1, off);
}
static inline void asm_st_gs(struct asm_buf *a, unsigned src, int32_t off)
{
	asm_gs(a, OPC_STORE, 8, src, -1, off);
}
static inline void asm_lea(struct asm_buf *a, unsigned size, unsigned dst, int base, int index,
			   unsigned scale, int32_t disp)
{
	asm_rm(a, OPC_LEA, size, dst, base, index, scale, disp);
}
/* The shortest that leaves the flags alone */
static inline void asm_mov_ri(struct asm_buf *a, unsigned dst, uint64_t v)
{
	if (v <= UINT32_MAX) {
		asm_rex(a, 4, 0, 0, dst, false);
		asm_u8(a, 0xb8 | (dst & 7));
		asm_u32(a, (uint32_t)v);
	} else if (asm_fits32((int64_t)v)) {
		asm_rex(a, 8, 0, 0, dst, false);
		asm_u8(a, 0xc7);
		asm_u8(a, 0xc0 | (dst & 7));
		asm_u32(a, (uint32_t)v);
	} else {
		asm_rex(a, 8, 0, 0, dst, false);
		asm_u8(a, 0xb8 | (dst & 7));
		asm_u64(a, v);
	}
}
/* movzx dst32, src16 */
static inline void asm_movzx16(struct asm_buf *a, unsigned dst, unsigned src)
{
	asm_rex(a, 4, dst, 0, src, false);
	asm_u16(a, 0xb70f);
	asm_u8(a, 0xc0 | (dst & 7) << 3 | (src & 7));
}
/* movzx dst32, byte gs:[index + off]; index -1: none */
static inline void asm_movzx8_gs(struct asm_buf *a, unsigned dst, int index, int32_t off)
{
	asm_u8(a, 0x65);
	asm_rex(a, 4, dst, index < 0 ? 0 : (unsigned)index, 0, false);
	asm_u16(a, 0xb60f);
	asm_mem(a, dst, -1, index, 1, off);
}
/* movzx dst32, word gs:[off] */
static inline void asm_movzx16_gs(struct asm_buf *a, unsigned dst, int32_t off)
{
	asm_u8(a, 0x65);
	asm_rex(a, 4, dst, 0, 0, false);
	asm_u16(a, 0xb70f);
	asm_mem(a, dst, -1, -1, 1, off);
}
/* movsxd dst64, src32 */
static inline void asm_movsxd(struct asm_buf *a, unsigned dst, unsigned src)
{
	asm_rex(a, 8, dst, 0, src, false);
	asm_u8(a, 0x63);
	asm_u8(a, 0xc0 | (dst & 7) << 3 | (src & 7));
}
/* Group 1 (80H/81H/83H) with an immediate: digit 0 add, 4 and, 5 sub, 7 cmp … */
static inline void asm_alu_ri(struct asm_buf *a, unsigned digit, unsigned size, unsigned reg,
			      int32_t imm)
{
	bool short_imm = imm == (int8_t)imm;

	asm_rex(a, size, 0, 0, reg, false);
	asm_u8(a, short_imm ? 0x83 : 0x81);
	asm_u8(a, 0xc0 | digit << 3 | (reg & 7));
	if (short_imm)
		asm_u8(a, (uint8_t)imm);
	else
		asm_u32(a, (uint32_t)imm);
}
/* cmp dword gs:[off], imm8 */
static inline void asm_cmp_gs_i8(struct asm_buf *a, int32_t off, int8_t imm)
{
	asm_u8(a, 0x65);
	asm_u8(a, 0x83);
	asm_mem(a, 7, -1, -1, 1, off);
	asm_u8(a, (uint8_t)imm);
}
/* add dword gs:[off], imm8 */
static inline void asm_add_gs_i8(struct asm_buf *a, int32_t off, int8_t imm)
{
	asm_u8(a, 0x65);
	asm_u8(a, 0x83);
	asm_mem(a, 0, -1, -1, 1, off);
	asm_u8(a, (uint8_t)imm);
}
/* mov r/m of size 1 2 4 8, imm (sign-extended for 8) */
static inline void asm_store_imm(struct asm_buf *a, unsigned size, int base, int index,
				 int32_t disp, int32_t imm)
{
	if (size == 2)
		asm_u8(a, 0x66);
	asm_rex(a, size, 0, index < 0 ? 0 : (unsigned)index, (unsigned)base, false);
	asm_u8(a, size == 1 ? 0xc6 : 0xc7);
	asm_mem(a, 0, base, index, 1, disp);
	if (size == 1)
		asm_u8(a, (uint8_t)imm);
	else if (size == 2)
		asm_u16(a, (uint16_t)imm);
	else
		asm_u32(a, (uint32_t)imm);
}
/* BMI2, flags untouched: dst = src ror imm; dst = src >> (count & 63) */
static inline void asm_rorx(struct asm_buf *a, unsigned dst, unsigned src, unsigned imm)
{
	asm_u8(a, 0xc4);
	asm_u8(a, (~dst >> 3 & 1) << 7 | 0x40 | (~src >> 3 & 1) << 5 | 3);
	asm_u8(a, 0xfb);
	asm_u8(a, 0xf0);
	asm_u8(a, 0xc0 | (dst & 7) << 3 | (src & 7));
	asm_u8(a, imm);
}
static inline void asm_shrx(struct asm_buf *a, unsigned dst, unsigned src, unsigned count)
{
	asm_u8(a, 0xc4);
	asm_u8(a, (~dst >> 3 & 1) << 7 | 0x40 | (~src >> 3 & 1) << 5 | 2);
	asm_u8(a, 0x80 | (~count & 15) << 3 | 3);
	asm_u8(a, 0xf7);
	asm_u8(a, 0xc0 | (dst & 7) << 3 | (src & 7));
}
/* sarx, shlx dst64, src, count: flags untouched (BMI2) */
static inline void asm_sarx(struct asm_buf *a, unsigned dst, unsigned src, unsigned count)
{
	asm_shrx(a, dst, src, count);
	a->p[-3] = (uint8_t)((a->p[-3] & ~3u) | 2); /* pp: F3 */
}
static inline void asm_shlx(struct asm_buf *a, unsigned dst, unsigned src, unsigned count)
{
	asm_shrx(a, dst, src, count);
	a->p[-3] = (uint8_t)((a->p[-3] & ~3u) | 1); /* pp: 66 */
}
/* pext dst64, src, mask: flags untouched (BMI2) */
static inline void asm_pext(struct asm_buf *a, unsigned dst, unsigned src, unsigned mask)
{
	asm_shrx(a, dst, mask, src);
	a->p[-3] = (uint8_t)((a->p[-3] & ~3u) | 2); /* pp: F3 */
	a->p[-2] = 0xf5;
}
/* not reg64: flags untouched */
static inline void asm_not(struct asm_buf *a, unsigned reg)
{
	asm_rex(a, 8, 0, 0, reg, false);
	asm_u8(a, 0xf7);
	asm_u8(a, 0xd0 | (reg & 7));
}
/* Immediate shifts of D3/C1 group: digit 4 shl, 5 shr */
static inline void asm_shift_ri(struct asm_buf *a, unsigned digit, unsigned size, unsigned reg,
				unsigned imm)
{
	asm_rex(a, size, 0, 0, reg, false);
	asm_u8(a, 0xc1);
	asm_u8(a, 0xc0 | digit << 3 | (reg & 7));
	asm_u8(a, imm);
}

static inline void asm_imul_ri(struct asm_buf *a, unsigned dst, unsigned src, int32_t imm)
{
	asm_rex(a, 8, dst, 0, src, false);
	asm_u8(a, 0x69);
	asm_u8(a, 0xc0 | (dst & 7) << 3 | (src & 7));
	asm_u32(a, (uint32_t)imm);
}
static inline void asm_cmov(struct asm_buf *a, unsigned cc, unsigned dst, unsigned src)
{
	asm_rex(a, 8, dst, 0, src, false);
	asm_u16(a, 0x400f | cc << 8);
	asm_u8(a, 0xc0 | (dst & 7) << 3 | (src & 7));
}

/* Jumps. to: an address in the same buffer's mapping; NULL: patch the result later. Gives the
 * place of the rel32. */
static inline uint8_t *asm_rel32(struct asm_buf *a, const uint8_t *to)
{
	uint8_t *at = a->p;

	asm_u32(a, to ? (uint32_t)(to - (at + 4)) : 0);
	return at;
}
static inline uint8_t *asm_jmp(struct asm_buf *a, const uint8_t *to)
{
	asm_u8(a, 0xe9);
	return asm_rel32(a, to);
}
static inline uint8_t *asm_jcc(struct asm_buf *a, unsigned cc, const uint8_t *to)
{
	asm_u16(a, 0x800f | cc << 8);
	return asm_rel32(a, to);
}
static inline void asm_patch32(uint8_t *at, const uint8_t *to)
{
	uint32_t rel = (uint32_t)(to - (at + 4));

	__builtin_memcpy(at, &rel, 4);
}
/* lea to(%rip), dst64 */
static inline void asm_lea_rip(struct asm_buf *a, unsigned dst, const uint8_t *to)
{
	asm_rex(a, 8, dst, 0, 0, false);
	asm_u8(a, 0x8d);
	asm_u8(a, 5 | (dst & 7) << 3);
	a->p += 4;
	asm_patch32(a->p - 4, to);
}
/* jrcxz over a short distance, patched by asm_patch8 */
static inline uint8_t *asm_jrcxz(struct asm_buf *a)
{
	asm_u16(a, 0x00e3);
	return a->p - 1;
}
static inline void asm_patch8(uint8_t *at, const uint8_t *to)
{
	*at = (uint8_t)(to - (at + 1));
}
/* jmp *gs:[index * 8 + off] */
static inline void asm_jmp_gs(struct asm_buf *a, int index, int32_t off)
{
	asm_u8(a, 0x65);
	asm_rex(a, 4, 0, index < 0 ? 0 : (unsigned)index, 0, false);
	asm_u8(a, 0xff);
	asm_mem(a, 4, -1, index, 8, off);
}
#endif
