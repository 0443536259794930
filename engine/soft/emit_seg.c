/* SPDX-License-Identifier: ISC */
/* emit_seg.c: addresses of 16- and 32-bit code: their width, segment bases and limits.
 *
 * Offsets are 32 or 16 bits wide and wrap. In flat code (MODE_FLAT) DS, ES and SS need nothing else.
 * Otherwise an access is first compared with the segment's room, the number of bytes from its start
 * that may be accessed (v->neg_room, kept by dispatch.c): [offset, offset + size) beyond it goes to
 * the interpreter, which knows about expanding down, and which exception it is. Example, in real
 * mode, mov ax, [bx] where the flags are dead:
 *
 *	lea (%ebx),%r10d; movzx %r10w,%r10d	offset
 *	mov %gs:neg_room,%r11; lea 1(%r11,%r10),%r11; test %r11,%r11; jns exec
 *	mov %gs:base,%r11; lea (%r10,%r11),%r10d
 *	the probe
 *
 * Jump targets are linear addresses; the return addresses that calls push are offsets. */
#include "engine/soft/emit.h"

/* (R)CX: 0 if its sign is positive; for numbers far below 2^56 only */
static void positive_is_zero(struct asm_buf *a)
{
	asm_u16(a, 0x0f48); /* bswap rcx */
	asm_u8(a, 0xc9);
	asm_u16(a, 0xb60f); /* movzx ecx, cl */
	asm_u8(a, 0xc9);
}

static bool is_flat(const struct tr *t, unsigned sreg)
{
	return (t->mode & MODE_FLAT) && (sreg == DS || sreg == ES || sreg == SS);
}

/* Offset T0, size bytes: are they in the segment? */
static void emit_limit(struct tr *t, unsigned sreg, bool write, unsigned size)
{
	struct asm_buf *a = &t->a;
	int32_t room = GS_OFF(neg_room[0][0]) + (int32_t)((write * 6u + sreg) * 8u);
	uint32_t site = t->id | t->i << SITE_INSN_SHIFT;
	uint8_t *ok;

	if (t->flags_dead[t->i]) {
		asm_ld_gs(a, T1, room);
		asm_lea(a, 8, T1, T1, T0, 1, (int32_t)size - 1);
		line_jump(t, 9);
		asm_rr(a, OPC_TEST, 8, T1, T1);
		tr_stub(t, STUB_EXEC, asm_jcc(a, CC_NS, NULL), site);
		return;
	}
	asm_mov_rr(a, T2, RCX);
	asm_ld_gs(a, RCX, room);
	asm_lea(a, 8, RCX, RCX, T0, 1, (int32_t)size - 1);
	asm_not(a, RCX);
	positive_is_zero(a);
	line_jump(t, 2);
	ok = asm_jrcxz(a);
	tr_stub(t, STUB_EXEC_RCX, asm_jmp(a, NULL), site);
	asm_patch8(ok, a->p);
	asm_mov_rr(a, RCX, T2);
}

static void add_base(struct tr *t, unsigned sreg)
{
	asm_ld_gs(&t->a, T1, GS_OFF(cpu.s.seg[0].base) + (int32_t)(sreg * sizeof(struct x86_seg)));
	asm_lea(&t->a, 4, T0, T0, T1, 1, 0);
}

/* The offset that base, index and displacement make, into reg */
static void emit_offset(struct tr *t, unsigned reg, const struct insn_mem *m)
{
	asm_lea(&t->a, 4, reg, m->base, m->index, m->scale, (int32_t)m->disp);
	if (m->addr_size == 2)
		asm_movzx16(&t->a, reg, reg);
}

bool emit_seg_operand(struct tr *t, const struct insn *in, bool write, unsigned size,
		      struct place *out)
{
	const struct insn_mem *m = &in->mem;

	if (m->base < 0 && m->index < 0 && is_flat(t, m->seg))
		return emit_probe_const(t,
					m->addr_size == 2 ? (uint16_t)m->disp : (uint32_t)m->disp,
					write, size, out);
	emit_offset(t, T0, m);
	if (!is_flat(t, m->seg)) {
		emit_limit(t, m->seg, write, size);
		add_base(t, m->seg);
	}
	emit_probe(t, ACCESS_OPERAND, T0, 0, write, size, out);
	return true;
}

/* ---- stack ---------------------------------------------------------------------------------- */

void emit_seg_stack(struct tr *t, unsigned reg, int32_t disp, bool write, unsigned size,
		    struct place *out)
{
	asm_lea(&t->a, 4, T0, (int)reg, -1, 1, disp);
	if (!(t->mode & MODE_S32))
		asm_movzx16(&t->a, T0, T0);
	if (!is_flat(t, SS)) {
		emit_limit(t, SS, write, size);
		add_base(t, SS);
	}
	emit_probe(t, ACCESS_STACK, T0, 0, write, size, out);
}

void emit_seg_move(struct tr *t, unsigned reg, int32_t by)
{
	asm_lea(&t->a, t->mode & MODE_S32 ? 4 : 2, RSP, (int)reg, -1, 1, by);
}

/* ---- code ----------------------------------------------------------------------------------- */

void emit_seg_code(struct tr *t)
{
	if (!(t->mode & MODE_FLAT))
		add_base(t, CS);
}

void emit_seg_store_rip(struct tr *t, uint64_t linear, unsigned size, const struct place *at)
{
	struct asm_buf *a = &t->a;

	asm_lea(a, 8, T0, at->base, at->index, 1, at->disp);
	emit_rip(t, T2, linear);
	if (!(t->mode & MODE_FLAT)) {
		asm_ld_gs(a, T1, GS_OFF(neg_cs));
		asm_lea(a, 8, T2, T2, T1, 1, 0);
	}
	asm_rm(a, OPC_STORE, size, T2, T0, -1, 1, 0);
}

/* ---- instructions --------------------------------------------------------------------------- */

bool emit_seg_lea(struct tr *t, const struct insn *in)
{
	unsigned dst = in->opnd[0].reg;

	emit_offset(t, T0, &in->mem);
	if (in->opnd[0].size == 2)
		asm_lea(&t->a, 2, dst, T0, -1, 1, 0);
	else
		asm_rr(&t->a, OPC_LOAD, 4, dst, T0);
	return true;
}

bool emit_seg_movabs(struct tr *t, const struct insn *in)
{
	unsigned size = in->opcode & 1 ? in->op_size : 1;
	bool store = in->opcode & 2;
	struct place at;

	if (!emit_seg_operand(t, in, store, size, &at))
		return false;
	asm_rm(&t->a,
	       store       ? size == 1 ? OPC_STORE8 : OPC_STORE
	       : size == 1 ? OPC_LOAD8
			   : OPC_LOAD,
	       size, RAX, at.base, at.index, 1, at.disp);
	return true;
}

/* Besides what holds for 64-bit code, too. Near jumps have the code's own size: others cut RIP. */
bool seg_translatable(const struct tr *t, const struct insn *in)
{
	switch (in->row->cls) {
	case CLS_LOOP:
		if (in->mem.addr_size == 2 && in->mnem != I_JCXZ && in->mnem != I_LOOP)
			return false;
		attr_fallthrough;
	case CLS_JMP:
	case CLS_JCC:
	case CLS_CALL:
	case CLS_JMP_IND:
	case CLS_CALL_IND:
	case CLS_RET:
		return !(t->mode & MODE_NEAR) && in->op_size == mode_bytes(t->mode);
	case CLS_STACK: /* PUSHF by IOPL */
		return !((t->mode & MODE_REAL) && t->ctx == CTX_USER && in->mnem == I_PUSHF);
	}
	return true;
}
