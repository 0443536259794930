/* SPDX-License-Identifier: ISC */
/* emit_flow.c: jumps, calls, returns and the stack.
 *
 * A jump within the page is patched to its target; one to another page goes through a slot of the
 * vCPU, whose content is valid as long as the mappings are; an indirect one goes where the vCPU's
 * jump cache says, and its target checks whether that was right. RSP is changed after the last access that may fault. None of it touches the
 * flags. */
#include "engine/soft/emit.h"

static void emit_lookup(struct tr *t);

/* To another page. False: no slot is left. */
static bool emit_far(struct tr *t, uint64_t target, uint32_t mode)
{
	int tgt;

	if (t->pic) {
		emit_rip(t, T0, target);
		if (tr_legacy(t)) /* 4 GiB are round */
			asm_rr(&t->a, OPC_LOAD, 4, T0, T0);
		else
			asm_mov_ri(&t->a, T2, SITE_NONE);
		emit_lookup(t);
		return true;
	}
	if (tr_legacy(t))
		target = (uint32_t)target;
	if (t->ctx == CTX_USER) {
		uint32_t index = jc_index(t->sv, target);

		asm_mov_ri(&t->a, T0, target);
		asm_mov_ri(&t->a, T1, index);
		if (target + (UINT64_C(1) << 47) >= UINT64_C(1) << 48) /* may not be canonical */
			asm_mov_ri(&t->a, T2, SITE_NONE);
		line_jump(t, 8);
		asm_jmp_gs(&t->a, -1, (int32_t)(GS_JCODE(JC_USER) + index * 8));
		return true;
	}
	tgt = soft_tgt_get(t->sv, target, mode & ~(MODE_PLAIN | MODE_BUSY));
	if (tgt < 0)
		return false;
	asm_mov_ri(&t->a, T2, (uint64_t)tgt);
	line_jump(t, 8);
	asm_jmp_gs(&t->a, -1, (int32_t)(GS_TGT + (uint32_t)tgt * 8));
	return true;
}

void emit_poll(struct tr *t)
{
	struct asm_buf *a = &t->a;
	uint8_t *ok;

	if (t->flags_dead[0]) {
		asm_cmp_gs_i8(a, GS_OFF(poll), 0);
		line_jump(t, 6);
		tr_stub(t, STUB_POLL, asm_jcc(a, CC_NE, NULL), t->id);
	} else {
		asm_mov_rr(a, T2, RCX);
		asm_gs(a, OPC_LOAD, 4, RCX, -1, GS_OFF(poll));
		line_jump(t, 2);
		ok = asm_jrcxz(a);
		tr_stub(t, STUB_POLL_RCX, asm_jmp(a, NULL), t->id);
		asm_patch8(ok, a->p);
		asm_mov_rr(a, RCX, T2);
	}
}

/* ---- direct --------------------------------------------------------------------------------- */

bool tr_same_page(const struct tr *t, uint64_t target)
{
	/* Where RIP is in its segment, only the vCPU knows. */
	if (tr_legacy(t) && !(t->mode & MODE_FLAT))
		return false;
	/* What follows an instruction that didn't fit on the page is one that crosses. */
	if (block_crosses(t->b) || (t->cut && target == t->rip + t->off[t->n]))
		return false;
	return !((target ^ t->rip) & ~PAGE_MASK);
}

static uint32_t exit_new(struct tr *t, uint64_t target)
{
	uint32_t id = soft_cur(t->c)->exit + soft_cur(t->c)->n_exits++;

	t->c->exit[id] = (struct soft_exit){.from = t->id, .target = (int16_t)(target - t->rip)};
	t->b->n_exits++;
	return id;
}

/* cc: condition, or -1 */
static void emit_branch(struct tr *t, int cc, uint64_t target)
{
	struct asm_buf *a = &t->a;
	uint8_t *at;

	if (tr_same_page(t, target)) {
		uint32_t id = exit_new(t, target);

		line_patched_jump(t, 0, cc < 0 ? 1 : 2);
		at = cc < 0 ? asm_jmp(a, NULL) : asm_jcc(a, (unsigned)cc, NULL);
		t->c->exit[id].patch = (uint32_t)(at - t->c->code.rw);
		tr_stub(t, STUB_EXIT, at, id);
		return;
	}
	if (cc >= 0) {
		line_jump(t, 6);
		tr_stub(t, STUB_FAR, asm_jcc(a, (unsigned)cc, NULL), 0)->ea = target;
	} else if (!emit_far(t, target, t->mode)) {
		t->full = true;
	}
}

void emit_goto(struct tr *t, uint64_t target)
{
	emit_branch(t, -1, target);
}

/* To code of another mode. Kernel mode only. */
void emit_goto_mode(struct tr *t, uint64_t target, uint32_t mode)
{
	if (mode == t->mode)
		emit_branch(t, -1, target);
	else if (!emit_far(t, target, mode))
		t->full = true;
}

/* Does a jump there fault, before it is done? The interpreter does it then. Where the page may be anywhere, what is known
 * is where it is now. */
static bool out_of_bounds(const struct tr *t, uint64_t target)
{
	return !tr_legacy(t) && !is_canonical(&t->v->cpu, t->first_base + target);
}

bool emit_jmp(struct tr *t, const struct insn *in)
{
	if (out_of_bounds(t, tr_target(t, t->i)))
		return false;
	emit_branch(t, -1, tr_target(t, t->i));
	return true;
}

bool emit_jcc(struct tr *t, const struct insn *in)
{
	if (out_of_bounds(t, tr_target(t, t->i)))
		return false;
	if (t->i + 1 == t->n && t->loop.n) {
		emit_branch(t, (in->mnem - I_JO) ^ 1, tr_next_rip(t));
		loop_again(t);
		return true;
	}
	emit_branch(t, in->mnem - I_JO, tr_target(t, t->i));
	if (t->i + 1 == t->n)
		emit_branch(t, -1, tr_next_rip(t));
	return true;
}

/* By CX, for which the host has none */
static bool emit_loop16(struct tr *t, const struct insn *in)
{
	struct asm_buf *a = &t->a;
	uint64_t next = tr_next_rip(t), target = tr_target(t, t->i);
	bool jcxz = in->mnem == I_JCXZ;
	uint8_t *zero;

	if (!jcxz)
		asm_lea(a, 2, RCX, RCX, -1, 1, -1);
	asm_mov_rr(a, T2, RCX);
	asm_movzx16(a, RCX, RCX);
	zero = asm_jrcxz(a);
	asm_mov_rr(a, RCX, T2);
	emit_branch(t, -1, jcxz ? next : target);
	asm_patch8(zero, a->p);
	asm_mov_rr(a, RCX, T2);
	emit_branch(t, -1, jcxz ? target : next);
	return true;
}

bool emit_loop(struct tr *t, const struct insn *in)
{
	uint8_t *taken;

	if (out_of_bounds(t, tr_target(t, t->i)))
		return false;
	if (in->mem.addr_size == 2)
		return emit_loop16(t, in);
	if (in->mem.addr_size == 4)
		asm_u8(&t->a, 0x67);
	asm_u16(&t->a, in->opcode);
	taken = t->a.p - 1;
	emit_branch(t, -1, tr_next_rip(t));
	asm_patch8(taken, t->a.p);
	emit_branch(t, -1, tr_target(t, t->i));
	return true;
}

/* ---- indirect ------------------------------------------------------------------------------- */

/* Goes to the guest's RIP in T0. */
static void emit_lookup(struct tr *t)
{
	if (t->sv->bmi2)
		asm_rorx(&t->a, T1, T0, JC_SHIFT);
	asm_movzx16(&t->a, T1, t->sv->bmi2 ? T1 : T0);
	line_jump(t, 9);
	asm_jmp_gs(&t->a, T1, (int32_t)GS_JCODE(JC_SET(t->mode)));
}

/* Is the guest's RIP in T0, index of the jump cache in T1, the block's? Where that may be anywhere, the
 * cache has been told. If it isn't, the flags are another block's: they must not change, nor T2, which
 * says who has jumped. */
static void check_rip(struct tr *t)
{
	struct asm_buf *a = &t->a;
	bool near = tr_legacy(t) || (asm_fits32((int64_t)t->rip) && asm_fits32(-(int64_t)t->rip));
	unsigned size = tr_legacy(t) ? 4 : 8;
	uint8_t *hit;

	if (t->pic) {
		asm_gs(a, OPC_LOAD, 8, T1, T1, (int32_t)GS_JNTAG(JC_SET(t->mode)));
		asm_lea(a, 8, T1, T1, T0, 1, 0);
		asm_rr(a, OPC_XCHG, 8, T1, RCX);
	} else if (near) {
		asm_mov_rr(a, T1, RCX);
		asm_lea(a, size, RCX, T0, -1, 1, (int32_t)-t->rip);
	} else {
		asm_mov_rr(a, T1, RCX);
		asm_mov_ri(a, RCX, -t->rip);
		asm_lea(a, 8, RCX, RCX, T0, 1, 0);
	}
	hit = asm_jrcxz(a);
	asm_jmp(a, t->c->code.rw + t->c->t_second[JC_SET(t->mode)]);
	asm_patch8(hit, a->p);
	asm_mov_rr(a, RCX, T1);
}

void emit_far_entry(struct tr *t)
{
	check_rip(t);
	if (t->pic) {
		asm_lea(&t->a, 8, T1, T0, -1, 1, -(int32_t)t->rip);
		asm_st_gs(&t->a, T1, GS_OFF(vbase));
	}
}

static void load_guest(struct tr *t, unsigned dst, unsigned reg)
{
	if (is_stolen(reg))
		asm_ld_gs(&t->a, dst, GS_GPR(reg));
	else
		asm_mov_rr(&t->a, dst, reg);
}

/* The r/m operand, of the code's own size, into T0. */
static bool load_target(struct tr *t, const struct insn *in)
{
	unsigned size = mode_bytes(t->mode);
	struct place at;

	if (in->opnd[0].size != size)
		return false;
	if (in->opnd[0].kind == OP_GPR) {
		load_guest(t, T0, in->opnd[0].reg);
		if (size == 4)
			asm_rr(&t->a, OPC_LOAD, 4, T0, T0);
	} else {
		if (!emit_operand(t, in, false, size, &at))
			return false;
		asm_rm(&t->a, OPC_LOAD, size, T0, at.base, at.index, 1, at.disp);
	}
	if (size == 2)
		asm_movzx16(&t->a, T0, T0);
	return true;
}

/* To RIP in T0. If it isn't canonical, T2 says which instruction faults. */
static void go_indirect(struct tr *t)
{
	if (tr_legacy(t))
		emit_seg_code(t);
	else
		asm_mov_ri(&t->a, T2, t->id | t->i << SITE_INSN_SHIFT);
	emit_lookup(t);
}

/* ---- stack ---------------------------------------------------------------------------------- */

/* Can pushes and pops of this size be done? In 64-bit code that is 8. */
static bool stack_size(const struct tr *t, unsigned size)
{
	return tr_legacy(t) ? size == 2 || size == 4 : size == 8;
}

static void stack_place(struct tr *t, unsigned reg, int32_t disp, bool write, unsigned size,
			struct place *at)
{
	if (tr_legacy(t))
		emit_seg_stack(t, reg, disp, write, size, at);
	else
		emit_stack_place(t, reg, disp, write, at);
}

/* RSP = reg + by */
static void stack_move(struct tr *t, unsigned reg, int32_t by)
{
	if (tr_legacy(t))
		emit_seg_move(t, reg, by);
	else
		asm_lea(&t->a, 8, RSP, (int)reg, -1, 1, by);
}

/* The place for a push */
static void push_place(struct tr *t, unsigned size, struct place *at)
{
	stack_place(t, RSP, -(int32_t)size, true, size, at);
}

static void push_done(struct tr *t, unsigned size)
{
	stack_move(t, RSP, -(int32_t)size);
}

/* Of the 8 bytes that a call is about to store to, for jump_faults() */
static void keep_old(struct tr *t, const struct place *at)
{
	asm_rm(&t->a, OPC_LOAD, 8, T2, at->base, at->index, 1, at->disp);
	asm_st_gs(&t->a, T2, GS_OFF(tmp[1]));
}

/* keep: what was there goes to tmp[1]. */
static void push_imm(struct tr *t, uint64_t v, unsigned size, bool keep)
{
	struct place at;

	push_place(t, size, &at);
	if (keep)
		keep_old(t, &at);
	asm_store_imm(&t->a, size, at.base, at.index, at.disp, (int32_t)v);
	push_done(t, size);
}

static void push_rip(struct tr *t, uint64_t rip, bool keep)
{
	unsigned size = mode_bytes(t->mode);
	struct place at;

	if (!t->pic && (tr_legacy(t) ? t->mode & MODE_FLAT : asm_fits32((int64_t)rip))) {
		push_imm(t, rip, size, keep);
		return;
	}
	push_place(t, size, &at);
	if (keep)
		keep_old(t, &at);
	if (tr_legacy(t)) {
		emit_seg_store_rip(t, rip, size, &at);
	} else {
		emit_rip(t, T2, rip);
		asm_rm(&t->a, OPC_STORE, 8, T2, at.base, at.index, 1, at.disp);
	}
	push_done(t, size);
}

static void push_reg(struct tr *t, unsigned reg, unsigned size)
{
	struct place at;

	push_place(t, size, &at);
	if (is_stolen(reg)) {
		asm_ld_gs(&t->a, T2, GS_GPR(reg));
		reg = T2;
	}
	asm_rm(&t->a, OPC_STORE, size, reg, at.base, at.index, 1, at.disp);
	push_done(t, size);
}

bool emit_push(struct tr *t, const struct insn *in)
{
	const struct insn_opnd *o = &in->opnd[0];
	unsigned size = in->op_size;
	struct place at;

	if (!stack_size(t, size))
		return false;
	switch (o->kind) {
	case OP_IMM:
		push_imm(t, in->imm, size, false);
		return true;
	case OP_GPR:
		push_reg(t, o->reg, size);
		return true;
	case OP_MEM:
		if (!emit_operand(t, in, false, size, &at))
			return false;
		asm_rm(&t->a, OPC_LOAD, size, T0, at.base, at.index, 1, at.disp);
		asm_st_gs(&t->a, T0, GS_OFF(tmp[0]));
		push_place(t, size, &at);
		asm_ld_gs(&t->a, T2, GS_OFF(tmp[0]));
		asm_rm(&t->a, OPC_STORE, size, T2, at.base, at.index, 1, at.disp);
		push_done(t, size);
		return true;
	}
	return false;
}

bool emit_pop(struct tr *t, const struct insn *in)
{
	const struct insn_opnd *o = &in->opnd[0];
	unsigned dst = o->reg, size = in->op_size;
	struct place at;

	if (!stack_size(t, size) || o->kind != OP_GPR || (dst == RSP && tr_legacy(t)))
		return false;
	stack_place(t, RSP, 0, false, size, &at);
	if (is_stolen(dst))
		dst = T2;
	asm_rm(&t->a, OPC_LOAD, size, dst, at.base, at.index, 1, at.disp);
	if (dst != RSP)
		stack_move(t, RSP, (int32_t)size);
	if (dst == T2)
		asm_st_gs(&t->a, T2, GS_GPR(o->reg));
	return true;
}

/* Pushes RFLAGS: the host's arithmetic flags and DF, the rest from memory. */
static bool emit_pushf(struct tr *t, unsigned size)
{
	struct asm_buf *a = &t->a;
	/* Where the store may fault, the flags are needed again. */
	bool dead_after = t->i + 1 < t->n && t->flags_dead[t->i + 1] && !(t->mode & MODE_DIRECT);
	struct place at;

	push_place(t, size, &at);
	asm_lea(a, 8, T0, at.base, at.index, 1, at.disp);
	asm_st_gs(a, RSP, GS_OFF(tmp[0]));
	asm_ld_gs(a, RSP, GS_OFF(host_rsp));
	asm_u8(a, 0x9c); /* pushfq */
	asm_rm(a, OPC_LOAD, 8, T1, RSP, -1, 1, 0);
	asm_alu_ri(a, 4, 4, T1, (int32_t)FL_NATIVE);
	asm_gs(a, OPC_LOAD, 4, T2, -1, GS_OFF(cpu.s.rflags));
	asm_alu_ri(a, 4, 4, T2, ~(int32_t)FL_NATIVE);
	asm_rr(a, OPC_OR, 4, T1, T2);
	if (!dead_after)
		asm_u8(a, 0x9d); /* popfq */
	asm_ld_gs(a, RSP, GS_OFF(tmp[0]));
	asm_rm(a, OPC_STORE, size, T1, T0, -1, 1, 0);
	push_done(t, size);
	return true;
}

bool emit_stack(struct tr *t, const struct insn *in)
{
	struct place at;

	if (!stack_size(t, in->op_size))
		return false;
	if (in->mnem == I_PUSHF)
		return emit_pushf(t, in->op_size);
	if (in->mnem != I_LEAVE)
		return false;
	stack_place(t, RBP, 0, false, in->op_size, &at);
	if (tr_legacy(t)) {
		stack_move(t, RBP, in->op_size);
		asm_rm(&t->a, OPC_LOAD, in->op_size, RBP, at.base, at.index, 1, at.disp);
		return true;
	}
	asm_rm(&t->a, OPC_LOAD, 8, T2, at.base, at.index, 1, at.disp);
	stack_move(t, RBP, 8);
	asm_mov_rr(&t->a, RBP, T2);
	return true;
}

/* ---- calls ---------------------------------------------------------------------------------- */

bool emit_call(struct tr *t, const struct insn *in)
{
	if (out_of_bounds(t, tr_target(t, t->i)))
		return false;
	push_rip(t, tr_next_rip(t), false);
	emit_branch(t, -1, tr_target(t, t->i));
	return true;
}

bool emit_jmp_ind(struct tr *t, const struct insn *in)
{
	if (!load_target(t, in))
		return false;
	go_indirect(t);
	return true;
}

bool emit_call_ind(struct tr *t, const struct insn *in)
{
	/* A register but RSP is as it was after the push, too. */
	bool later = in->opnd[0].kind == OP_GPR && in->opnd[0].reg != RSP;

	if (!later) {
		if (!load_target(t, in))
			return false;
		asm_st_gs(&t->a, T0, GS_OFF(tmp[0]));
	}
	push_rip(t, tr_next_rip(t), !tr_legacy(t));
	if (!later)
		asm_ld_gs(&t->a, T0, GS_OFF(tmp[0]));
	else if (!load_target(t, in))
		return false;
	go_indirect(t);
	return true;
}

bool emit_ret(struct tr *t, const struct insn *in)
{
	unsigned size = mode_bytes(t->mode);
	struct place at;
	int32_t pop = (int32_t)size;

	if (in->op_size != size)
		return false;
	if (in->n_opnd && in->opnd[0].kind == OP_IMM)
		pop += (int32_t)(in->imm & 0xffff);
	stack_place(t, RSP, 0, false, size, &at);
	asm_rm(&t->a, OPC_LOAD, size, T0, at.base, at.index, 1, at.disp);
	if (size == 2)
		asm_movzx16(&t->a, T0, T0);
	stack_move(t, RSP, pop);
	go_indirect(t);
	return true;
}

/* ---- stubs ---------------------------------------------------------------------------------- */

static void stub_jump(struct tr *t, uint32_t arg, uint32_t trampoline)
{
	asm_mov_ri(&t->a, T2, arg);
	asm_jmp(&t->a, t->c->code.rw + trampoline);
}

/* To the block at insn that is MODE_PLAIN, once that is known */
static void emit_plain_exit(struct tr *t, unsigned insn, uint32_t span)
{
	uint32_t id = exit_new(t, t->rip + t->off[insn]);
	struct soft_exit *e = &t->c->exit[id];
	uint8_t *at;

	e->span = (uint16_t)span;
	line_patched_jump(t, 0, 1);
	at = asm_jmp(&t->a, NULL);
	e->patch = (uint32_t)(at - t->c->code.rw);
	asm_patch32(at, t->a.p);
	e->stub = (uint32_t)(t->a.p - t->c->code.rw);
	stub_jump(t, id, t->c->t_group);
}

/* A group's probe has failed. */
void emit_group_exit(struct tr *t, uint32_t n)
{
	const struct tr_group *g = &t->groups.group[n];
	uint32_t span = (uint32_t)(g->max - g->min);

	if (g->write)
		span |= EXIT_WRITE | (t->insn[g->head].row->attr & AT_ALIGN ? EXIT_ALIGN : 0);
	emit_plain_exit(t, g->head, span);
}

/* All checks of a loop share one exit. */
static void emit_loop_exit(struct tr *t, uint8_t *at)
{
	if (t->loop.out) {
		asm_patch32(at, t->loop.out);
		return;
	}
	t->loop.out = t->a.p;
	emit_plain_exit(t, 0, EXIT_LOOP);
}

static void emit_stub(struct tr *t, const struct stub *s)
{
	struct asm_buf *a = &t->a;

	if (s->at)
		asm_patch32(s->at, a->p);
	if (s->base >= 0)
		asm_lea(a, 8, T0, s->base, -1, 1, s->disp);
	if (s->flags >= 0)
		flags_again(t, s->flags);
	switch (s->kind) {
	case STUB_SLOW:
	case STUB_SLOW_RCX:
	case STUB_SLOW_FLAGS:
		if (s->kind == STUB_SLOW_RCX)
			asm_mov_rr(a, RCX, T2);
		if (s->kind == STUB_SLOW_FLAGS)
			emit_restore_flags(a);
		if (s->ea_known)
			asm_mov_ri(a, T0, s->ea);
		stub_jump(t, s->arg, t->c->t_slow);
		break;
	case STUB_LOOP:
		emit_loop_exit(t, s->at);
		break;
	case STUB_MEMO:
		memo_stub(t, s->arg);
		break;
	case STUB_DIRECT:
		direct_stub(t, s->arg);
		break;
	case STUB_FAR:
		if (!emit_far(t, s->ea, t->mode))
			t->full = true;
		break;
	case STUB_GROUP_RCX:
		asm_mov_rr(a, RCX, T2);
		attr_fallthrough;
	case STUB_GROUP:
		emit_group_exit(t, s->arg);
		break;
	case STUB_EXIT:
		t->c->exit[s->arg].stub = (uint32_t)(a->p - t->c->code.rw);
		stub_jump(t, s->arg, t->c->t_exit);
		break;
	case STUB_POLL_RCX:
		asm_mov_rr(a, RCX, T2);
		stub_jump(t, s->arg, t->c->t_poll);
		break;
	case STUB_POLL:
		stub_jump(t, s->arg, t->c->t_poll);
		break;
	case STUB_REP_RCX:
		emit_rep_far(t, s);
		break;
	case STUB_EXEC_RCX:
		asm_mov_rr(a, RCX, T2);
		attr_fallthrough;
	case STUB_EXEC:
		stub_jump(t, s->arg, t->c->t_exec);
		break;
	}
}

void emit_stubs(struct tr *t)
{
	for (unsigned i = 0; i < t->n_stubs; i++)
		emit_stub(t, &t->stub[i]);
}

uint32_t soft_emit_far(struct soft_vm *sv, const struct soft_block *from, int32_t target)
{
	struct soft_cache *c = sv->cache;
	struct tr *t = c->tr;
	uint32_t at = ALIGN_UP(soft_cur(c)->used, 16u);

	if (at + 256 > soft_cur(c)->cold)
		return 0;
	t->sv = sv;
	t->c = c;
	t->mode = from->mode & ~MODE_PLAIN;
	t->ctx = from->mode & MODE_CTX;
	t->pic = MODE_IS_PIC(from->mode);
	t->a.p = c->code.rw + at;
	if (!emit_far(t, from->rip + (uint64_t)(int64_t)target, t->mode))
		return 0;
	soft_cur(c)->used = (uint32_t)(t->a.p - c->code.rw);
	return at;
}
