/* SPDX-License-Identifier: ISC */
/* emit_sys.c: system instructions that are frequent in kernels and need no more than the vCPU's
 * state, and string instructions: a REP within a page is done here, others go to string.c.
 *
 * The system part of RFLAGS is in memory only. Its bits are changed through tables, since the host's
 * own flags must survive. What this file does not take is the interpreter's. */
#include "engine/soft/emit.h"

#define RFLAGS_BYTE(n) (GS_OFF(cpu.s.rflags) + (n))

static void no_interrupt_waits(struct tr *t)
{
	struct asm_buf *a = &t->a;
	uint8_t *ok;

	/* One that waits for IF is the dispatcher's, shadow and all. */
	if (t->flags_dead[t->i]) {
		asm_cmp_gs_i8(a, GS_OFF(irq_waits), 0);
		line_jump(t, 6);
		tr_stub(t, STUB_EXEC, asm_jcc(a, CC_NE, NULL), t->id | t->i << SITE_INSN_SHIFT);
	} else {
		asm_mov_rr(a, T2, RCX);
		asm_gs(a, OPC_LOAD, 4, RCX, -1, GS_OFF(irq_waits));
		line_jump(t, 2);
		ok = asm_jrcxz(a);
		tr_stub(t, STUB_EXEC_RCX, asm_jmp(a, NULL), t->id | t->i << SITE_INSN_SHIFT);
		asm_patch8(ok, a->p);
		asm_mov_rr(a, RCX, T2);
	}
}

static void set_if(struct tr *t, int32_t table)
{
	asm_movzx8_gs(&t->a, T0, -1, RFLAGS_BYTE(1));
	asm_movzx8_gs(&t->a, T0, T0, table);
	asm_gs(&t->a, OPC_STORE8, 1, T0, -1, RFLAGS_BYTE(1));
}

static void emit_swapgs(struct tr *t)
{
	asm_ld_gs(&t->a, T0, GS_OFF(cpu.s.seg[GS].base));
	asm_ld_gs(&t->a, T1, GS_OFF(cpu.s.kernel_gs_base));
	asm_st_gs(&t->a, T0, GS_OFF(cpu.s.kernel_gs_base));
	asm_st_gs(&t->a, T1, GS_OFF(cpu.s.seg[GS].base));
}

/* STAC and CLAC: the code goes on in the other mode. With SMAP on, AC is what the mode says. */
static void emit_ac(struct tr *t, bool set)
{
	uint32_t mode = (t->mode & ~MODE_CTX) | (set ? CTX_KERNEL_AC : CTX_KERNEL);

	if (mode != t->mode) {
		asm_movzx8_gs(&t->a, T0, -1, RFLAGS_BYTE(2));
		asm_lea(&t->a, 4, T0, T0, -1, 1, set ? 4 : -4);
		asm_gs(&t->a, OPC_STORE8, 1, T0, -1, RFLAGS_BYTE(2));
		asm_mov_ri(&t->a, T0, mode);
		asm_gs(&t->a, OPC_STORE, 4, T0, -1, GS_OFF(mode));
	}
	emit_goto_mode(t, tr_next_rip(t), mode);
}

static void emit_rdtsc(struct tr *t)
{
	struct asm_buf *a = &t->a;

	asm_u16(a, 0x310f); /* rdtsc */
	asm_rorx(a, T0, RDX, 32);
	asm_lea(a, 8, T0, T0, RAX, 1, 0);
	asm_ld_gs(a, T1, GS_OFF(cpu.s.tsc_offset));
	asm_lea(a, 8, T0, T0, T1, 1, 0);
	asm_rorx(a, RDX, T0, 32);
	asm_rr(a, OPC_LOAD, 4, RDX, RDX);
	asm_rr(a, OPC_LOAD, 4, RAX, T0);
}

static int32_t seg_off(unsigned sreg)
{
	return GS_OFF(cpu.s.seg[0]) + (int32_t)(sreg * sizeof(struct x86_seg));
}

/* MOV r/m, Sreg: the selector. Registers of 4 and 8 bytes are zero-extended, memory has 2. */
static bool emit_read_sreg(struct tr *t, const struct insn *in)
{
	const struct insn_opnd *d = &in->opnd[0];
	int32_t sel = seg_off(in->opnd[1].reg) + (int32_t)offsetof(struct x86_seg, sel);
	unsigned size = in->op_size == 2 ? 2 : 8;
	struct place at;

	if (in->has_mem) {
		if (!emit_operand(t, in, true, 2, &at))
			return false;
		asm_movzx16_gs(&t->a, T2, sel);
		asm_rm(&t->a, OPC_STORE, 2, T2, at.base, at.index, 1, at.disp);
		return true;
	}
	asm_movzx16_gs(&t->a, T0, sel);
	if (is_stolen(d->reg)) {
		asm_gs(&t->a, OPC_STORE, size, T0, -1, GS_GPR(d->reg));
		return true;
	}
	if (size == 2)
		asm_u8(&t->a, 0x66);
	asm_rr(&t->a, OPC_LOAD, size, d->reg, T0);
	return true;
}

static void emit_read_base(struct tr *t, const struct insn *in, unsigned sreg)
{
	unsigned reg = in->opnd[0].reg, size = in->op_size == 8 ? 8 : 4;

	asm_gs(&t->a, OPC_LOAD, size, is_stolen(reg) ? T0 : reg, -1,
	       seg_off(sreg) + (int32_t)offsetof(struct x86_seg, base));
	if (is_stolen(reg))
		asm_st_gs(&t->a, T0, GS_GPR(reg));
}

/* Goes on where the register in T1, or ECX, is 0; else the instruction is the interpreter's. The flags stay. */
static void only_if_zero(struct tr *t, bool ecx)
{
	struct asm_buf *a = &t->a;
	uint8_t *ok;

	asm_mov_rr(a, T2, RCX);
	if (!ecx)
		asm_mov_rr(a, RCX, T1);
	line_jump(t, ecx ? 3 : 2);
	if (ecx)
		asm_u8(a, 0x67); /* jecxz */
	ok = asm_jrcxz(a);
	tr_stub(t, STUB_EXEC_RCX, asm_jmp(a, NULL), t->id | t->i << SITE_INSN_SHIFT);
	asm_patch8(ok, a->p);
	if (!ecx)
		asm_mov_rr(a, RCX, T2);
}

/* Bits 47 to 63 of what is loaded are alike, or the interpreter finds out whether it may be loaded. */
static void emit_write_base(struct tr *t, const struct insn *in, unsigned sreg)
{
	struct asm_buf *a = &t->a;
	unsigned reg = in->opnd[0].reg, size = in->op_size == 8 ? 8 : 4;

	if (is_stolen(reg))
		asm_gs(a, OPC_LOAD, size, T0, -1, GS_GPR(reg));
	else
		asm_rr(a, OPC_LOAD, size, T0, reg);
	if (size == 8) {
		asm_mov_ri(a, T1, 47);
		asm_sarx(a, T2, T0, T1);
		asm_lea(a, 8, T2, T2, -1, 1, 1); /* -1 or 0: 0 or 1 */
		asm_mov_ri(a, T1, 1);
		asm_shrx(a, T1, T2, T1);
		only_if_zero(t, false);
	}
	asm_st_gs(a, T0, seg_off(sreg) + (int32_t)offsetof(struct x86_seg, base));
}

static void emit_rdpkru(struct tr *t)
{
	only_if_zero(t, true);
	asm_gs(&t->a, OPC_LOAD, 4, RAX, -1, GS_OFF(cpu.s.pkru));
	asm_mov_ri(&t->a, RDX, 0);
}

bool sys_translatable(const struct tr *t, unsigned n, const struct insn *in)
{
	bool kernel = t->ctx != CTX_USER;

	switch (in->mnem) {
	case I_CLD:
	case I_STD:
		return true;
	case I_CLI:
	case I_SWAPGS:
		return kernel;
	case I_STI: /* its shadow: no poll before the next instruction */
		return kernel && n + 1 < t->n;
	case I_STAC:
	case I_CLAC:
		return kernel && (t->mode & MODE_SMAP);
	case I_RDTSC:
	case I_RDTSCP:
		return (t->mode & MODE_TSC) && t->sv->bmi2 && !t->sv->vm->tsc.ratio;
	case I_MOVSR:
		return in->opnd[1].kind == OP_SREG;
	case I_RDFSBASE:
	case I_RDGSBASE:
		return t->mode & MODE_BASES;
	case I_WRFSBASE:
	case I_WRGSBASE:
		return (t->mode & MODE_BASES) && t->sv->bmi2;
	case I_RDPKRU:
		return t->mode & MODE_PKE;
	}
	return false;
}

bool emit_sys(struct tr *t, const struct insn *in)
{
	switch (in->mnem) {
	case I_CLD:
	case I_STD:
		asm_u8(&t->a, (uint8_t)in->opcode);
		return true;
	case I_CLI:
		set_if(t, GS_OFF(if_clear));
		return true;
	case I_STI:
		no_interrupt_waits(t);
		set_if(t, GS_OFF(if_set));
		return true;
	case I_SWAPGS:
		emit_swapgs(t);
		return true;
	case I_STAC:
	case I_CLAC:
		emit_ac(t, in->mnem == I_STAC);
		return true;
	case I_RDTSC:
		emit_rdtsc(t);
		return true;
	case I_RDTSCP:
		emit_rdtsc(t);
		asm_gs(&t->a, OPC_LOAD, 4, RCX, -1, GS_OFF(cpu.s.tsc_aux));
		return true;
	case I_MOVSR:
		return emit_read_sreg(t, in);
	case I_RDFSBASE:
	case I_RDGSBASE:
		emit_read_base(t, in, in->mnem == I_RDFSBASE ? FS : GS);
		return true;
	case I_WRFSBASE:
	case I_WRGSBASE:
		emit_write_base(t, in, in->mnem == I_WRFSBASE ? FS : GS);
		return true;
	case I_RDPKRU:
		emit_rdpkru(t);
		return true;
	}
	return false;
}

/* ---- strings -------------------------------------------------------------------------------- */

/* REPs of a block that look at spans: their code is long */
#define SPANS_MAX 8u

bool string_translatable(const struct insn *in)
{
	if (in->mnem != I_MOVS && in->mnem != I_STOS)
		return false;
	if (in->mode != 8)
		return in->mnem == I_STOS || in->mem.seg == DS;
	return in->addr_size == 8 &&
	       !(in->mnem == I_MOVS && (in->mem.seg == FS || in->mem.seg == GS));
}

/* T0 += 0 if RCX elements at reg lie in one page that is entered, else less than 2^52; the addend is put
 * into a slot. T1, T2 are lost. RCX is 1 to 4096, or else T0 has got something already. */
static void probe_run(struct tr *t, unsigned reg, bool write, unsigned size, int32_t slot)
{
	struct asm_buf *a = &t->a;

	asm_rorx(a, T1, reg, PAGE_SHIFT);
	asm_movzx16(a, T1, T1);
	asm_gs(a, OPC_LOAD, 8, T2, T1, (int32_t)GS_NTAG(t->ctx, write));
	asm_gs(a, OPC_LOAD, 8, T1, T1, (int32_t)GS_ADDEND(t->ctx, write));
	asm_lea(a, 8, T2, T2, (int)reg, 1, -1);
	asm_lea(a, 8, T2, T2, RCX, size, 0);
	asm_st_gs(a, T1, slot);
	asm_mov_ri(a, T1, PAGE_SHIFT);
	asm_shrx(a, T2, T2, T1);
	asm_lea(a, 8, T0, T0, T2, 1, 0);
}

/* T0 += 2 if DF is set: by which way LODSB goes. T1 and T2 are lost. */
static void add_direction(struct asm_buf *a)
{
	asm_mov_rr(a, T1, RSI);
	asm_mov_rr(a, T2, RAX);
	asm_ld_gs(a, RSI, GS_OFF(self));
	asm_u8(a, 0xac); /* lodsb */
	asm_mov_rr(a, RAX, T2);
	asm_ld_gs(a, T2, GS_OFF(self));
	asm_not(a, RSI);
	asm_lea(a, 8, RSI, RSI, T2, 1, 2);
	asm_lea(a, 8, T0, T0, RSI, 1, 0);
	asm_mov_rr(a, RSI, T1);
}

/* reg = reg + by + disp, or reg - by + disp */
static void shift_run(struct asm_buf *a, unsigned reg, unsigned by, bool back, int32_t disp)
{
	if (back)
		asm_not(a, by);
	asm_lea(a, 8, reg, (int)reg, (int)by, 1, disp + back);
}

/* T0 += 0 if RCX elements at reg, RCX < 2^32, lie in the span of that kind of access, else something; its
 * addend is put into a slot. T1, T2 are lost. */
static void probe_span(struct tr *t, unsigned reg, bool write, unsigned size, int32_t slot)
{
	const int32_t span = GS_OFF(span[t->ctx][write]);
	struct asm_buf *a = &t->a;

	asm_ld_gs(a, T2, span + (int32_t)offsetof(struct soft_span, addend));
	asm_st_gs(a, T2, slot);
	asm_ld_gs(a, T2, span + (int32_t)offsetof(struct soft_span, neg_start));
	asm_lea(a, 8, T2, T2, (int)reg, 1, 0);
	asm_mov_ri(a, T1, 32);
	asm_shrx(a, T2, T2, T1);
	asm_lea(a, 8, T0, T0, T2, 1, 0);
	asm_lea(a, 8, T2, (int)reg, RCX, size, 0);
	asm_not(a, T2);
	asm_ld_gs(a, T1, span + (int32_t)offsetof(struct soft_span, end));
	asm_lea(a, 8, T2, T2, T1, 1, 1);
	asm_mov_ri(a, T1, 32);
	asm_shrx(a, T2, T2, T1);
	asm_lea(a, 8, T0, T0, T2, 1, 0);
}

/* Are they in spans? Jumps there if so. RCX is in T2 before and after. */
static uint8_t *probe_spans(struct tr *t, bool movs, unsigned size)
{
	struct asm_buf *a = &t->a;

	asm_mov_rr(a, RCX, T2);
	asm_mov_ri(a, T1, 32);
	asm_shrx(a, T0, RCX, T1);
	probe_span(t, RDI, true, size, GS_OFF(tmp[0]));
	if (movs)
		probe_span(t, RSI, false, size, GS_OFF(tmp[1]));
	add_direction(a);
	asm_mov_rr(a, T2, RCX);
	asm_mov_rr(a, RCX, T0);
	return asm_jrcxz(a);
}

void emit_rep_far(struct tr *t, const struct stub *s)
{
	struct asm_buf *a = &t->a;
	uint8_t *hit = NULL;

	if (t->n_spans < SPANS_MAX) {
		t->n_spans++;
		hit = probe_spans(t, s->arg & STRING_MOVS, 1u << (s->arg >> STRING_SIZE_SHIFT & 3));
	}
	asm_mov_rr(a, RCX, T2);
	asm_mov_ri(a, T2, s->arg);
	asm_jmp(a, t->c->code.rw + t->c->t_string);
	if (hit) {
		asm_patch8(hit, a->p);
		asm_jmp(a, s->back);
	}
}

/* REP on one page, or on a span: the host's own, in one. Else string.c, with arg. The flags are kept. */
static void emit_rep(struct tr *t, const struct insn *in, unsigned size, uint32_t arg)
{
	struct asm_buf *a = &t->a;
	bool movs = in->mnem == I_MOVS;
	struct stub *far;
	uint8_t *ok;

	asm_lea(a, 8, T0, RCX, -1, 1, -1);
	asm_mov_ri(a, T1, PAGE_SHIFT);
	asm_shrx(a, T0, T0, T1);
	probe_run(t, RDI, true, size, GS_OFF(tmp[0]));
	if (movs)
		probe_run(t, RSI, false, size, GS_OFF(tmp[1]));
	add_direction(a);
	asm_mov_rr(a, T2, RCX);
	asm_mov_rr(a, RCX, T0);
	ok = asm_jrcxz(a);
	far = tr_stub(t, STUB_REP_RCX, asm_jmp(a, NULL), arg);
	far->back = a->p;
	asm_patch8(ok, a->p);
	asm_mov_rr(a, RCX, T2);
	asm_ld_gs(a, T0, GS_OFF(tmp[0]));
	shift_run(a, RDI, T0, false, -TLB_BIAS);
	if (movs) {
		asm_ld_gs(a, T1, GS_OFF(tmp[1]));
		shift_run(a, RSI, T1, false, -TLB_BIAS);
	}
	if (size == 2)
		asm_u8(a, 0x66);
	asm_u8(a, 0xf3);
	if (size == 8)
		asm_u8(a, 0x48);
	asm_u8(a, (movs ? 0xa4u : 0xaau) | (size > 1));
	shift_run(a, RDI, T0, true, TLB_BIAS);
	if (movs)
		shift_run(a, RSI, T1, true, TLB_BIAS);
}

bool emit_string(struct tr *t, const struct insn *in)
{
	unsigned size = in->opnd[0].size, log = size == 8 ? 3 : size / 2;
	uint32_t arg = t->id | t->i << SITE_INSN_SHIFT | log << STRING_SIZE_SHIFT;

	if (in->mnem == I_MOVS)
		arg |= STRING_MOVS;
	if (in->rep)
		arg |= STRING_REP;
	if (tr_legacy(t))
		arg |= in->addr_size == 4 ? STRING_ADDR4 : STRING_ADDR2;
	if (in->rep && !tr_legacy(t) && t->sv->bmi2) {
		emit_rep(t, in, size, arg);
		return true;
	}
	asm_mov_ri(&t->a, T2, arg);
	asm_jmp(&t->a, t->c->code.rw + t->c->t_string);
	return true;
}
