/* SPDX-License-Identifier: ISC */
/* emit_direct.c: accesses of code whose pages are mapped at a fixed distance (direct.c).
 *
 * mov 16(%rbx),%rax of an address that was in the upper part becomes
 *
 *	lea	16(%rbx,%r11),%r10	R11: -DIRECT_SPAN, mostly there already
 *	test	%r11,%r10		below DIRECT_SPAN?
 *	jnz	stub
 *	mov	DIRECT_LOW(%r10),%rax
 *
 * and of one below DIRECT_LOW
 *
 *	lea	16(%rbx),%r10
 *	cmp	$DIRECT_LOW,%r10
 *	jae	stub
 *	mov	(%r10),%rax
 *
 * Which one is a guess from the registers that the block is translated with. Where they do not tell, or the stub, which probes
 * the TLB, has been seen to run, both are looked for. A page that is not there faults at the instruction itself, so that nothing of it must have been
 * done before its last access. Others of the group (group.c) need no check: they are less than DIRECT_GUARD away from one
 * that had it. Where the flags are live, PEXT and JRCXZ check. */
#include "base/str.h"
#include "engine/soft/emit.h"
#include "engine/soft/sides.h"

#define OPC_TEST ((enum asm_op)0x85)
#define LOW_BITS 30
_Static_assert(DIRECT_LOW == UINT64_C(1) << LOW_BITS, "LOW_BITS");

/* Which of the probes that stubs share: for which side's accesses, for stores, for up to 64 bytes instead of 8, which keep the
 * flags */
enum { PROBE_KEEPS = 1, PROBE_LARGE = 2, PROBE_WRITE = 4, PROBE_HIGH = 8 };

bool direct_wanted(const struct tr *t)
{
	const struct insn *in = &t->insn[t->i];

	return (t->mode & (MODE_DIRECT | MODE_PLAIN)) == MODE_DIRECT &&
	       t->n_directs < DIRECTS_MAX && !insn_is_atomic(in) && !insn_has_high8(in) &&
	       !sides_is_never(t, t->i);
}

/* ---- checks ---------------------------------------------------------------------------------------- */

static void distance_in_t1(struct tr *t)
{
	if (t->t1_slot == T1_DIRECT)
		return;
	asm_mov_ri(&t->a, T1, -DIRECT_SPAN);
	t->t1_slot = T1_DIRECT;
}

/* T0: less DIRECT_SPAN, where the side is high */
static void check(struct tr *t, struct tr_direct *d)
{
	struct asm_buf *a = &t->a;
	bool low = d->side == DIRECT_IS_LOW;
	uint8_t *hit;

	if (d->m.spares) {
		asm_mov_rr(a, T2, RCX);
		if (low) {
			asm_mov_ri(a, RCX, LOW_BITS);
			asm_shrx(a, RCX, T0, RCX);
		} else {
			asm_pext(a, RCX, T0, T1);
		}
		line_jump(t, 2);
		hit = asm_jrcxz(a);
		d->m.miss = asm_jmp(a, NULL);
		asm_patch8(hit, a->p);
		asm_mov_rr(a, RCX, T2);
	} else if (low) {
		line_jump(t, 13);
		asm_alu_ri(a, 7, 8, T0, DIRECT_LOW);
		d->m.miss = asm_jcc(a, CC_AE, NULL);
	} else {
		line_jump(t, 9);
		asm_rr(a, OPC_TEST, 8, T1, T0);
		d->m.miss = asm_jcc(a, CC_NE, NULL);
	}
}

/* T0: the place, which may be in either part. The stub finds T0 less DIRECT_SPAN. */
static void check_either(struct tr *t, struct tr_direct *d)
{
	struct asm_buf *a = &t->a;
	uint8_t *low, *high;

	if (d->m.spares) {
		asm_mov_rr(a, T2, RCX);
		asm_mov_ri(a, RCX, LOW_BITS);
		asm_shrx(a, RCX, T0, RCX);
		low = asm_jrcxz(a);
		asm_lea(a, 8, T0, T0, T1, 1, 0);
		asm_pext(a, RCX, T0, T1);
		high = asm_jrcxz(a);
		d->m.miss = asm_jmp(a, NULL);
		asm_patch8(high, a->p);
		asm_lea(a, 8, T0, T0, -1, 1, (int32_t)DIRECT_LOW);
		asm_patch8(low, a->p);
		asm_mov_rr(a, RCX, T2);
		return;
	}
	line_jump(t, 9);
	asm_alu_ri(a, 7, 8, T0, DIRECT_LOW);
	asm_u16(a, 0x0072); /* jb */
	low = a->p - 1;
	asm_lea(a, 8, T0, T0, T1, 1, 0);
	line_jump(t, 9);
	asm_rr(a, OPC_TEST, 8, T1, T0);
	d->m.miss = asm_jcc(a, CC_NE, NULL);
	asm_lea(a, 8, T0, T0, -1, 1, (int32_t)DIRECT_LOW);
	asm_patch8(low, a->p);
}

/* What is to be added where the side is high */
static int32_t beyond(unsigned side)
{
	return side == DIRECT_IS_HIGH ? (int32_t)DIRECT_LOW : 0;
}

bool emit_direct(struct tr *t, enum tr_access which, struct tr_group *g, const struct tr_memo *m,
		 int32_t shift, struct place *out)
{
	struct tr_direct *d = &t->direct[t->n_directs];
	enum direct_side side = sides_guess(t, which);

	if (g && side == DIRECT_IS_EITHER) /* others would have to know which */
		return false;
	*d = (struct tr_direct){.m = *m, .side = (uint8_t)side};
	tr_stub(t, STUB_DIRECT, NULL, t->n_directs++);
	if (side != DIRECT_IS_LOW)
		distance_in_t1(t);
	if (side == DIRECT_IS_HIGH)
		asm_lea(&t->a, 8, T0, m->base, T1, 1, m->disp);
	else if (m->disp || m->base != T0)
		asm_lea(&t->a, 8, T0, m->base, -1, 1, m->disp);
	if (side == DIRECT_IS_EITHER)
		check_either(t, d);
	else
		check(t, d);
	if (m->source >= 0)
		flags_again(t, m->source);
	d->m.back = t->a.p;
	*out = (struct place){.base = T0, .index = -1, .disp = shift + beyond(side)};
	if (g) {
		g->begun = true;
		g->direct = (uint8_t)side;
	}
	return true;
}

bool emit_direct_const(struct tr *t, uint64_t ea, unsigned size, struct place *out)
{
	enum direct_side side = direct_side(ea);

	if (side == DIRECT_NOT || direct_side(ea + size - 1) != side)
		return false;
	asm_mov_ri(&t->a, T0, direct_host(ea));
	*out = (struct place){.base = T0, .index = -1, .disp = 0};
	return true;
}

void emit_direct_member(struct tr *t, const struct tr_group *g, int reg, int32_t disp,
			struct place *out)
{
	if (g->direct == DIRECT_IS_HIGH)
		distance_in_t1(t);
	*out = (struct place){.base = (int8_t)reg,
			      .index = g->direct == DIRECT_IS_HIGH ? T1 : -1,
			      .disp = disp + beyond(g->direct)};
}

/* ---- elsewhere ------------------------------------------------------------------------------------- */

/* The TLB is probed by code that all share, which comes back with the place in T0, as the access expects it. */
void direct_stub(struct tr *t, unsigned n)
{
	struct tr_direct *d = &t->direct[n];
	struct asm_buf *a = &t->a;
	bool keeps = d->m.spares || d->m.source >= 0;

	asm_patch32(d->m.miss, a->p);
	if (d->m.spares)
		asm_mov_rr(a, RCX, T2);
	if (d->side != DIRECT_IS_LOW && d->m.spares) {
		asm_mov_ri(a, T2, DIRECT_SPAN);
		asm_lea(a, 8, T0, T0, T2, 1, 0);
	} else if (d->side != DIRECT_IS_LOW) {
		asm_rr(a, OPC_SUB, 8, T0, T1);
	}
	if (d->m.source >= 0)
		flags_again(t, d->m.source);
	asm_mov_ri(a, T2, d->m.site | (uint64_t)(t->c->n_directs++ % DIRECT_SITES) << 32);
	if (d->m.kind == STUB_GROUP || d->m.kind == STUB_GROUP_RCX) {
		asm_lea_rip(a, T1, a->p + 7 + 5); /* behind the jump */
		asm_jmp(a, t->c->code.rw + t->c->t_count);
		emit_group_exit(t, d->m.arg);
	} else {
		asm_lea_rip(a, T1, d->m.back);
		asm_jmp(a,
			t->c->code.rw +
				t->c->t_probe[(d->side == DIRECT_IS_HIGH) * PROBE_HIGH |
					      d->m.write * PROBE_WRITE |
					      (d->m.size > 8) * PROBE_LARGE | keeps * PROBE_KEEPS]);
	}
}

/* ---- what stubs share ------------------------------------------------------------------------------ */

/* One run less until soft_on_side() is asked; where that is now, jumps to what the result is patched to. T1 and RCX are lost, the
 * flags stay. */
static uint8_t *count_down(struct asm_buf *a)
{
	asm_movzx16_gs(a, RCX, GS_OFF(direct_site) + 4);
	asm_gs(a, OPC_LOAD, 8, T1, RCX, GS_OFF(direct_left));
	asm_lea(a, 8, T1, T1, -1, 1, -1);
	asm_gs(a, OPC_STORE, 8, T1, RCX, GS_OFF(direct_left));
	asm_mov_rr(a, RCX, T1);
	return asm_jrcxz(a);
}

/* T2: RCX, which it gets back */
static void call_keeping(struct asm_buf *a, const struct soft_cache *c, uint32_t trampoline)
{
	asm_mov_rr(a, RCX, T2);
	asm_ld_gs(a, T2, GS_OFF(direct_site));
	asm_jmp(a, c->code.rw + trampoline);
}

/* T0: the address that is neither mapped nor on its side; T1: where to go on; T2: site, and above it its counter. */
static void probe_keeping(struct asm_buf *a, const struct soft_cache *c, bool write, int32_t size,
			  int32_t less)
{
	uint8_t *hit, *enough;

	asm_mov_rr(a, T2, RCX);
	asm_rorx(a, T1, T0, PAGE_SHIFT);
	asm_movzx16(a, T1, T1);
	asm_gs(a, OPC_LOAD, 8, RCX, T1, (int32_t)GS_NTAG(CTX_USER, write));
	asm_gs(a, OPC_LOAD, 8, T1, T1, (int32_t)GS_ADDEND(CTX_USER, write));
	asm_lea(a, 8, RCX, RCX, T0, 1, size - 1);
	asm_shrx(a, RCX, RCX, T1);
	hit = asm_jrcxz(a);
	call_keeping(a, c, c->t_slow);
	asm_patch8(hit, a->p);
	asm_st_gs(a, T1, GS_OFF(direct_addend));
	enough = count_down(a);
	asm_mov_rr(a, RCX, T2);
	asm_ld_gs(a, T1, GS_OFF(direct_addend));
	asm_lea(a, 8, T0, T0, T1, 1, -TLB_BIAS - less);
	asm_mov_ri(a, T1, -DIRECT_SPAN);
	asm_jmp_gs(a, -1, GS_OFF(direct_back));
	asm_patch8(enough, a->p);
	call_keeping(a, c, c->t_side);
}

/* The same, and the flags are dead. */
static void probe_plain(struct asm_buf *a, const struct soft_cache *c, bool write, int32_t size,
			int32_t less)
{
	uint8_t *miss, *enough;

	asm_rorx(a, T1, T0, PAGE_SHIFT);
	asm_movzx16(a, T1, T1);
	asm_mov_rr(a, T2, T0);
	asm_gs(a, OPC_ADD, 8, T2, T1, (int32_t)GS_NTAG(CTX_USER, write));
	asm_alu_ri(a, 7, 8, T2, (int32_t)PAGE_SIZE - size);
	miss = asm_jcc(a, CC_A, NULL);
	asm_gs(a, OPC_LOAD, 8, T1, T1, (int32_t)GS_ADDEND(CTX_USER, write));
	asm_st_gs(a, T1, GS_OFF(direct_addend));
	asm_movzx16_gs(a, T2, GS_OFF(direct_site) + 4);
	asm_gs(a, OPC_LOAD, 8, T1, T2, GS_OFF(direct_left));
	asm_alu_ri(a, 5, 8, T1, 1);
	asm_gs(a, OPC_STORE, 8, T1, T2, GS_OFF(direct_left));
	enough = asm_jcc(a, CC_E, NULL);
	asm_ld_gs(a, T1, GS_OFF(direct_addend));
	asm_lea(a, 8, T0, T0, T1, 1, -TLB_BIAS - less);
	asm_mov_ri(a, T1, -DIRECT_SPAN);
	asm_jmp_gs(a, -1, GS_OFF(direct_back));
	asm_patch32(miss, a->p);
	asm_ld_gs(a, T2, GS_OFF(direct_site));
	asm_jmp(a, c->code.rw + c->t_slow);
	asm_patch32(enough, a->p);
	asm_ld_gs(a, T2, GS_OFF(direct_site));
	asm_jmp(a, c->code.rw + c->t_side);
}

/* A group's: where it goes on, its own code knows. The flags stay. */
static void count(struct asm_buf *a, const struct soft_cache *c)
{
	uint8_t *enough;

	asm_st_gs(a, T1, GS_OFF(direct_back));
	asm_st_gs(a, T2, GS_OFF(direct_site));
	asm_mov_rr(a, T2, RCX);
	enough = count_down(a);
	asm_mov_rr(a, RCX, T2);
	asm_jmp_gs(a, -1, GS_OFF(direct_back));
	asm_patch8(enough, a->p);
	call_keeping(a, c, c->t_side);
}

void soft_direct_probes(struct soft_cache *c, struct asm_buf *a)
{
	c->t_count = (uint32_t)(a->p - c->code.rw);
	count(a, c);
	for (unsigned n = 0; n < ARRAY_SIZE(c->t_probe); n++) {
		int32_t size = n & PROBE_LARGE ? 64 : 8;
		int32_t less = beyond(n & PROBE_HIGH ? DIRECT_IS_HIGH : DIRECT_IS_LOW);

		c->t_probe[n] = (uint32_t)(a->p - c->code.rw);
		asm_st_gs(a, T1, GS_OFF(direct_back));
		asm_st_gs(a, T2, GS_OFF(direct_site));
		if (n & PROBE_KEEPS)
			probe_keeping(a, c, n & PROBE_WRITE, size, less);
		else
			probe_plain(a, c, n & PROBE_WRITE, size, less);
	}
}
