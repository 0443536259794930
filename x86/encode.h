/* SPDX-License-Identifier: ISC */
/* encode.h: writes an instruction again for the host's 64-bit mode, with general registers
 * renamed and the memory operand replaced. The heart of CLS_COPY. */
#ifndef X86_ENCODE_H
#define X86_ENCODE_H

#include "x86/insn.h"

/* What to change. gpr[n]: host register that stands for guest register n in the explicit operands
 * (FIELD_REG, FIELD_RM, FIELD_VVVV, FIELD_OPCODE); identity where nothing changes. Implicit
 * operands can't be renamed. A high-byte operand (AH…BH) needs its register unrenamed and
 * a memory operand whose registers are below R8: ENCODE_HIGH8 otherwise. */
struct insn_subst {
	uint8_t gpr[16];
	/* Memory operand: [base + index*scale + disp] in host terms; base or index -1: none; without
	 * base and index an absolute disp32 with the segment. A register r/m operand may also be
	 * turned into memory (rm_to_mem), then its value lives at this address: the whole
	 * register's, AH…BH are found at the second byte. The engine's to mind: a 32-bit write
	 * clears the upper half of a register but not of its home in memory. Works for
	 * registers in the opcode (MOV r,imm; XCHG; INC and DEC of 32-bit code) and MMX and vector
	 * registers, too. ENCODE_NO where the memory form does not exist or does something else
	 * (BT r,r; BSWAP; MOVHLPS; MOV r64,imm64 …). */
	int8_t base, index;
	uint8_t scale; /* 0: 1 */
	int32_t disp;
	uint8_t seg; /* 0, 0x64 (FS) or 0x65 (GS) */
	bool rm_to_mem;
};

enum encode_result { ENCODE_OK, ENCODE_HIGH8, ENCODE_NO };

/* Writes at most 15 bytes to out and their number to *len. 16- and 32-bit-mode instructions are
 * written with their 64-bit-mode encoding of the same operation (INC r32 40H becomes FF /0 …).
 * ENCODE_NO: there is none (AAM …), or the class is not CLS_COPY, CLS_NOP, CLS_LEA, CLS_SYS. VSIB
 * operands keep their vector index and scale (base, disp change; subst.index and scale are not used).
 * Prefixes: LOCK stays; REP stays where it repeats; segments, 67 and unused ones go. */
enum encode_result insn_encode(const struct insn *in, const struct insn_subst *subst, uint8_t *out,
			       unsigned *len);

#endif
