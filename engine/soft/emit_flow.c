/* SPDX-License-Identifier: ISC */
/* emit_flow.c: jumps, calls, returns and the stack.
 *
 * A jump within the page is patched to its target; one to another page goes through a slot of the
 * vCPU, whose content is valid as long as the mappings are; an indirect one looks its target up in
 * the vCPU's jump cache. RSP is changed after the last access that may fault. None of it touches the
 * flags. */
#include "engine/soft/emit.h"

static bool is_stolen(unsigned reg)
{
	return STOLEN >> reg & 1;
}

static void emit_lookup(struct tr *t);

/* To another page. False: no slot is left. */
static bool emit_far(struct tr *t, uint64_t target, uint32_t mode)
{
	int tgt;

	if (t->pic) {
		emit_rip(t, T0, target);
		emit_lookup(t);
		return true;
	}
	tgt = soft_tgt_get(t->sv, target, mode & ~MODE_PLAIN);
	if (tgt < 0)
		return false;
	asm_mov_ri(&t->a, T2, (uint64_t)tgt);
	asm_jmp_gs(&t->a, -1, (int32_t)(GS_TGT + (uint32_t)tgt * 8));
	return true;
}

void emit_poll(struct tr *t)
{
	struct asm_buf *a = &t->a;
	uint8_t *ok;

	if (t->flags_dead[0]) {
		asm_cmp_gs_i8(a, GS_OFF(poll), 0);
		tr_stub(t, STUB_POLL, asm_jcc(a, CC_NE, NULL), t->id);
	} else {
		asm_mov_rr(a, T2, RCX);
		asm_gs(a, OPC_LOAD, 4, RCX, -1, GS_OFF(poll));
		ok = asm_jrcxz(a);
		tr_stub(t, STUB_POLL_RCX, asm_jmp(a, NULL), t->id);
		asm_patch8(ok, a->p);
		asm_mov_rr(a, RCX, T2);
	}
}

/* ---- direct --------------------------------------------------------------------------------- */

static bool same_page(const struct tr *t, uint64_t target)
{
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

	if (same_page(t, target)) {
		uint32_t id = exit_new(t, target);

		/* The rel32 must be aligned, others may run over it while it is patched. */
		asm_nop(a, -(unsigned)((uintptr_t)a->p + (cc < 0 ? 1 : 2)) & 3);
		at = cc < 0 ? asm_jmp(a, NULL) : asm_jcc(a, (unsigned)cc, NULL);
		t->c->exit[id].patch = (uint16_t)(at - t->start);
		tr_stub(t, STUB_EXIT, at, id);
		return;
	}
	if (cc >= 0)
		tr_stub(t, STUB_FAR, asm_jcc(a, (unsigned)cc, NULL), 0)->ea = target;
	else if (!emit_far(t, target, t->mode))
		t->full = true;
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

static uint64_t rel_target(const struct tr *t, const struct insn *in)
{
	return tr_next_rip(t) + in->imm;
}

bool emit_jmp(struct tr *t, const struct insn *in)
{
	emit_branch(t, -1, rel_target(t, in));
	return true;
}

bool emit_jcc(struct tr *t, const struct insn *in)
{
	emit_branch(t, in->mnem - I_JO, rel_target(t, in));
	if (t->i + 1 == t->n)
		emit_branch(t, -1, tr_next_rip(t));
	return true;
}

bool emit_loop(struct tr *t, const struct insn *in)
{
	uint8_t *taken;

	if (in->mem.addr_size == 4 || in->addrsize_pfx)
		asm_u8(&t->a, 0x67);
	asm_u16(&t->a, in->opcode);
	taken = t->a.p - 1;
	emit_branch(t, -1, tr_next_rip(t));
	asm_patch8(taken, t->a.p);
	emit_branch(t, -1, rel_target(t, in));
	return true;
}

/* ---- indirect ------------------------------------------------------------------------------- */

/* Goes to the guest's RIP in T0. */
static void emit_lookup(struct tr *t)
{
	struct asm_buf *a = &t->a;
	uint32_t set = t->ctx == CTX_USER;
	uint8_t *hit;

	asm_mov_rr(a, T2, RCX);
	asm_movzx16(a, T1, T0);
	asm_gs(a, OPC_LOAD, 8, RCX, T1, (int32_t)GS_JNTAG(set));
	asm_lea(a, 8, RCX, RCX, T0, 1, (int32_t)(t->mode & ~MODE_PLAIN));
	hit = asm_jrcxz(a);
	asm_jmp(a, t->c->code.rw + t->c->t_miss_rcx);
	asm_patch8(hit, a->p);
	asm_mov_rr(a, RCX, T2);
	asm_jmp_gs(a, T1, (int32_t)GS_JCODE(set));
}

static void load_guest(struct tr *t, unsigned dst, unsigned reg)
{
	if (is_stolen(reg))
		asm_ld_gs(&t->a, dst, GS_GPR(reg));
	else
		asm_mov_rr(&t->a, dst, reg);
}

/* The 64-bit r/m operand into T0. */
static bool load_target(struct tr *t, const struct insn *in)
{
	struct place at;

	if (in->opnd[0].size != 8)
		return false;
	if (in->opnd[0].kind == OP_GPR) {
		load_guest(t, T0, in->opnd[0].reg);
		return true;
	}
	if (!emit_operand(t, in, false, 8, &at))
		return false;
	asm_rm(&t->a, OPC_LOAD, 8, T0, at.base, at.index, 1, at.disp);
	return true;
}

/* ---- stack ---------------------------------------------------------------------------------- */

/* The place for a push of 8 bytes */
static void push_place(struct tr *t, struct place *at)
{
	emit_stack_place(t, RSP, -8, true, at);
}

static void push_imm(struct tr *t, uint64_t v)
{
	struct place at;

	push_place(t, &at);
	asm_store_imm(&t->a, 8, at.base, at.index, at.disp, (int32_t)v);
	asm_lea(&t->a, 8, RSP, RSP, -1, 1, -8);
}

static void push_rip(struct tr *t, uint64_t rip)
{
	struct place at;

	if (!t->pic && asm_fits32((int64_t)rip)) {
		push_imm(t, rip);
		return;
	}
	push_place(t, &at);
	emit_rip(t, T2, rip);
	asm_rm(&t->a, OPC_STORE, 8, T2, at.base, at.index, 1, at.disp);
	asm_lea(&t->a, 8, RSP, RSP, -1, 1, -8);
}

static void push_reg(struct tr *t, unsigned reg)
{
	struct place at;

	push_place(t, &at);
	if (is_stolen(reg)) {
		asm_ld_gs(&t->a, T2, GS_GPR(reg));
		reg = T2;
	}
	asm_rm(&t->a, OPC_STORE, 8, reg, at.base, at.index, 1, at.disp);
	asm_lea(&t->a, 8, RSP, RSP, -1, 1, -8);
}

bool emit_push(struct tr *t, const struct insn *in)
{
	const struct insn_opnd *o = &in->opnd[0];
	struct place at;

	if (in->op_size != 8)
		return false;
	switch (o->kind) {
	case OP_IMM:
		push_imm(t, in->imm);
		return true;
	case OP_GPR:
		push_reg(t, o->reg);
		return true;
	case OP_MEM:
		if (!emit_operand(t, in, false, 8, &at))
			return false;
		asm_rm(&t->a, OPC_LOAD, 8, T0, at.base, at.index, 1, at.disp);
		asm_st_gs(&t->a, T0, GS_OFF(tmp[0]));
		push_place(t, &at);
		asm_ld_gs(&t->a, T2, GS_OFF(tmp[0]));
		asm_rm(&t->a, OPC_STORE, 8, T2, at.base, at.index, 1, at.disp);
		asm_lea(&t->a, 8, RSP, RSP, -1, 1, -8);
		return true;
	}
	return false;
}

bool emit_pop(struct tr *t, const struct insn *in)
{
	const struct insn_opnd *o = &in->opnd[0];
	unsigned dst = o->reg;
	struct place at;

	if (in->op_size != 8 || o->kind != OP_GPR)
		return false;
	emit_stack_place(t, RSP, 0, false, &at);
	if (is_stolen(dst))
		dst = T2;
	asm_rm(&t->a, OPC_LOAD, 8, dst, at.base, at.index, 1, at.disp);
	if (dst != RSP)
		asm_lea(&t->a, 8, RSP, RSP, -1, 1, 8);
	if (dst == T2)
		asm_st_gs(&t->a, T2, GS_GPR(o->reg));
	return true;
}

/* Pushes RFLAGS: the host's arithmetic flags and DF, the rest from memory. */
static bool emit_pushf(struct tr *t)
{
	struct asm_buf *a = &t->a;
	bool dead_after = t->i + 1 < t->n && t->flags_dead[t->i + 1];
	struct place at;

	push_place(t, &at);
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
	asm_rm(a, OPC_STORE, 8, T1, T0, -1, 1, 0);
	asm_lea(a, 8, RSP, RSP, -1, 1, -8);
	return true;
}

bool emit_stack(struct tr *t, const struct insn *in)
{
	struct place at;

	if (in->op_size != 8)
		return false;
	if (in->mnem == I_PUSHF)
		return emit_pushf(t);
	if (in->mnem != I_LEAVE)
		return false;
	emit_stack_place(t, RBP, 0, false, &at);
	asm_lea(&t->a, 8, RSP, RBP, -1, 1, 8);
	asm_rm(&t->a, OPC_LOAD, 8, RBP, at.base, at.index, 1, at.disp);
	return true;
}

/* ---- calls ---------------------------------------------------------------------------------- */

bool emit_call(struct tr *t, const struct insn *in)
{
	push_rip(t, tr_next_rip(t));
	emit_branch(t, -1, rel_target(t, in));
	return true;
}

bool emit_jmp_ind(struct tr *t, const struct insn *in)
{
	if (!load_target(t, in))
		return false;
	emit_lookup(t);
	return true;
}

bool emit_call_ind(struct tr *t, const struct insn *in)
{
	if (!load_target(t, in))
		return false;
	asm_st_gs(&t->a, T0, GS_OFF(tmp[0]));
	push_rip(t, tr_next_rip(t));
	asm_ld_gs(&t->a, T0, GS_OFF(tmp[0]));
	emit_lookup(t);
	return true;
}

bool emit_ret(struct tr *t, const struct insn *in)
{
	struct place at;
	int32_t pop = 8;

	if (in->op_size != 8)
		return false;
	if (in->n_opnd && in->opnd[0].kind == OP_IMM)
		pop += (int32_t)(in->imm & 0xffff);
	emit_stack_place(t, RSP, 0, false, &at);
	asm_rm(&t->a, OPC_LOAD, 8, T0, at.base, at.index, 1, at.disp);
	asm_lea(&t->a, 8, RSP, RSP, -1, 1, pop);
	emit_lookup(t);
	return true;
}

/* ---- stubs ---------------------------------------------------------------------------------- */

static void stub_jump(struct tr *t, uint32_t arg, uint32_t trampoline)
{
	asm_mov_ri(&t->a, T2, arg);
	asm_jmp(&t->a, t->c->code.rw + trampoline);
}

/* A group's probe has failed: to the block without groups, once that is known. */
static void emit_group_exit(struct tr *t, uint32_t n)
{
	const struct tr_group *g = &t->groups.group[n];
	uint32_t id = exit_new(t, t->rip + t->off[g->head]);
	struct soft_exit *e = &t->c->exit[id];
	uint8_t *at;

	e->span = (uint16_t)((uint32_t)(g->max - g->min) | (g->write ? EXIT_WRITE : 0));
	asm_nop(&t->a, -(unsigned)((uintptr_t)t->a.p + 1) & 3);
	at = asm_jmp(&t->a, NULL);
	e->patch = (uint16_t)(at - t->start);
	asm_patch32(at, t->a.p);
	e->stub = (uint16_t)(t->a.p - t->start);
	stub_jump(t, id, t->c->t_group);
}

static void emit_stub(struct tr *t, const struct stub *s)
{
	struct asm_buf *a = &t->a;

	asm_patch32(s->at, a->p);
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
		t->c->exit[s->arg].stub = (uint16_t)(a->p - t->start);
		stub_jump(t, s->arg, t->c->t_exit);
		break;
	case STUB_POLL_RCX:
		asm_mov_rr(a, RCX, T2);
		stub_jump(t, s->arg, t->c->t_poll);
		break;
	case STUB_POLL:
		stub_jump(t, s->arg, t->c->t_poll);
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

	if (at + 256 > soft_cur(c)->end)
		return 0;
	t->sv = sv;
	t->c = c;
	t->mode = block_mode(from);
	t->ctx = from->mode & MODE_CTX;
	t->pic = MODE_IS_PIC(from->mode);
	t->a.p = c->code.rw + at;
	if (!emit_far(t, from->rip + (uint64_t)(int64_t)target, t->mode))
		return 0;
	soft_cur(c)->used = (uint32_t)(t->a.p - c->code.rw);
	return at;
}
