/* SPDX-License-Identifier: ISC */
/* enter.c: the trampolines, emitted once at the start of the code cache.
 *
 * In translated code all host registers are the guest's, RSP included, but T0, T1, T2. A trampoline
 * that calls C stores the guest's registers in s.gpr, its flags in s.rflags, takes back the host's
 * stack, and afterwards loads everything again and jumps where C said. */
#include "engine/soft/enter.h"

#include "engine/soft/direct.h"
#include "x86/asm.h"

static const uint8_t live_gprs[] = {RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R12, R13, R14};
static const uint8_t callee_saved[] = {RBX, RBP, R12, R13, R14, R15};

static void push_pop(struct asm_buf *a, unsigned op, unsigned reg)
{
	asm_rex(a, 4, 0, 0, reg, false);
	asm_u8(a, op | (reg & 7));
}

/* For profile.c; RAX is free. */
static void emit_doing(struct asm_buf *a, const struct soft_vm *sv, enum soft_doing what)
{
	if (!sv->cfg.profile)
		return;
	asm_mov_ri(a, RAX, what);
	asm_st_gs(a, RAX, GS_OFF(doing));
}

/* Expects RAX = where to go on; loads the guest's registers and goes there. */
static void emit_resume(struct asm_buf *a, const struct soft_vm *sv)
{
	uint8_t *no_df;

	asm_st_gs(a, RAX, GS_OFF(jump_to));
	emit_doing(a, sv, DOING_KERNEL); /* or user: the mode says */
	/* Flags without POPF, which is slow: DF by STD, OF by an addition, the rest by SAHF */
	asm_gs(a, OPC_LOAD, 4, RAX, -1, GS_OFF(cpu.s.rflags));
	asm_rr(a, OPC_LOAD, 4, RCX, RAX);
	asm_u8(a, 0xa9); /* test eax, imm32 */
	asm_u32(a, (uint32_t)FL_DF);
	asm_u16(a, 0x0074); /* jz +1 */
	no_df = a->p - 1;
	asm_u8(a, 0xfd); /* std */
	asm_patch8(no_df, a->p);
	asm_shift_ri(a, 5, 4, RCX, 11);
	asm_alu_ri(a, 4, 4, RCX, 1);
	asm_u16(a, 0xc488); /* mov ah, al */
	asm_u16(a, 0xc888); /* mov al, cl */
	asm_u16(a, 0x7f04); /* add al, 7fh: overflows if al is 1 */
	asm_u8(a, 0x9e);    /* sahf */
	for (unsigned i = 0; i < sizeof(live_gprs); i++)
		asm_ld_gs(a, live_gprs[i], GS_GPR(live_gprs[i]));
	asm_ld_gs(a, RAX, GS_GPR(RAX));
	if (sv->direct)
		asm_mov_ri(a, T1, -DIRECT_SPAN); /* code that wants it need not load it again */
	asm_jmp_gs(a, -1, GS_OFF(jump_to));
}

/* Saves everything and calls fn. */
static void emit_call(struct asm_buf *a, const struct soft_vm *sv, soft_helper fn,
		      enum soft_doing what, const uint8_t *resume)
{
	asm_st_gs(a, RAX, GS_GPR(RAX));
	emit_doing(a, sv, what);
	for (unsigned i = 0; i < sizeof(live_gprs); i++)
		asm_st_gs(a, live_gprs[i], GS_GPR(live_gprs[i]));
	asm_ld_gs(a, RSP, GS_OFF(host_rsp));
	asm_u8(a, 0x9c); /* pushfq */
	push_pop(a, 0x58, RAX);
	asm_gs(a, OPC_LOAD, 4, RCX, -1, GS_OFF(cpu.s.rflags));
	asm_alu_ri(a, 4, 4, RCX, ~(int32_t)FL_NATIVE);
	asm_alu_ri(a, 4, 4, RAX, (int32_t)FL_NATIVE);
	asm_rr(a, OPC_OR, 4, RCX, RAX);
	asm_gs(a, OPC_STORE, 4, RCX, -1, GS_OFF(cpu.s.rflags));
	asm_u8(a, 0xfc); /* cld */
	asm_ld_gs(a, RDI, GS_OFF(self));
	asm_rr(a, OPC_LOAD, 4, RSI, T2);
	asm_mov_rr(a, RDX, T0);
	asm_mov_ri(a, RAX, (uint64_t)fn);
	asm_u16(a, 0xd0ff); /* call rax */
	asm_jmp(a, resume);
}

/* The guest's RIP in T0 is not what the jump cache has in its first place: maybe in its second (jc_second()). RCX is
 * in T1; the flags and T2 stay. */
static void emit_second(struct asm_buf *a, const struct soft_vm *sv, uint32_t set)
{
	const uint8_t *miss = sv->cache->code.rw + sv->cache->t_miss;
	uint8_t *hit;

	asm_st_gs(a, T1, GS_GPR(RCX));
	if (jc_seconds(sv)) {
		asm_rorx(a, RCX, T0, JC_SHIFT + JC_BITS);
		asm_movzx16(a, RCX, RCX);
		asm_rorx(a, RCX, RCX, 64 - JC_PAGE_BITS);
		asm_rorx(a, T1, T0, JC_SHIFT);
		asm_lea(a, 8, T1, T1, RCX, 1, JC_AWAY);
		asm_movzx16(a, T1, T1);
		asm_gs(a, OPC_LOAD, 8, RCX, T1, (int32_t)GS_JNTAG(set));
		asm_lea(a, 8, RCX, RCX, T0, 1, 0);
		hit = asm_jrcxz(a);
		asm_ld_gs(a, RCX, GS_GPR(RCX));
		asm_jmp(a, miss);
		asm_patch8(hit, a->p);
	}
	asm_ld_gs(a, RCX, GS_GPR(RCX));
	if (jc_seconds(sv))
		asm_jmp_gs(a, T1, (int32_t)GS_JCODE(set));
	else
		asm_jmp(a, miss);
}

void soft_trampolines(struct soft_vm *sv)
{
	struct soft_cache *c = sv->cache;
	struct asm_buf a = {c->code.rw};
	const uint8_t *resume;

#define HERE ((uint32_t)(a.p - c->code.rw))
	c->t_enter = HERE; /* (v, code) */
	for (unsigned i = 0; i < sizeof(callee_saved); i++)
		push_pop(&a, 0x50, callee_saved[i]);
	asm_alu_ri(&a, 5, 8, RSP, 8);
	asm_st_gs(&a, RSP, GS_OFF(host_rsp));
	asm_mov_rr(&a, RAX, RSI);
	resume = a.p;
	emit_resume(&a, sv);
	c->t_leave = HERE;
	asm_ld_gs(&a, RSP, GS_OFF(host_rsp));
	asm_u8(&a, 0xfc); /* cld */
	asm_alu_ri(&a, 0, 8, RSP, 8);
	for (unsigned i = sizeof(callee_saved); i-- > 0;)
		push_pop(&a, 0x58, callee_saved[i]);
	asm_u8(&a, 0xc3);

	c->t_slow = HERE;
	emit_call(&a, sv, soft_on_slow, DOING_SLOW, resume);
	c->t_exec = HERE;
	emit_call(&a, sv, soft_on_exec, DOING_EXEC, resume);
	c->t_exit = HERE;
	emit_call(&a, sv, soft_on_exit, DOING_LINK, resume);
	c->t_tgt = HERE;
	emit_call(&a, sv, soft_on_tgt, DOING_LINK, resume);
	c->t_miss = HERE;
	emit_call(&a, sv, soft_on_miss, DOING_MISS, resume);
	for (uint32_t set = 0; set < ARRAY_SIZE(c->t_second); set++) {
		c->t_second[set] = HERE;
		emit_second(&a, sv, set);
	}
	c->t_poll = HERE;
	emit_call(&a, sv, soft_on_poll, DOING_POLL, resume);
	c->t_group = HERE;
	emit_call(&a, sv, soft_on_group, DOING_SLOW, resume);
	c->t_memo = HERE;
	emit_call(&a, sv, soft_on_memo, DOING_SLOW, resume);
	c->t_direct = HERE;
	emit_call(&a, sv, soft_on_direct, DOING_SLOW, resume);
	c->t_side = HERE;
	emit_call(&a, sv, soft_on_side, DOING_SLOW, resume);
	soft_direct_probes(c, &a);
	c->t_string = HERE;
	emit_call(&a, sv, soft_on_string, DOING_STRING, resume);
	c->first = ALIGN_UP(HERE, 64u);
#undef HERE
	BUG_ON(c->first > c->code.size / 2);
}

void soft_enter(struct soft_vcpu *v, const uint8_t *code)
{
	const struct soft_cache *c = v->sv->cache;
	void (*enter)(struct soft_vcpu *, const uint8_t *) =
		(void (*)(struct soft_vcpu *, const uint8_t *))(uintptr_t)soft_rx(c, c->t_enter);

	enter(v, code);
}

const uint8_t *soft_leave_code(struct soft_vcpu *v)
{
	return soft_rx(v->sv->cache, v->sv->cache->t_leave);
}
