/* SPDX-License-Identifier: ISC */
/* emit_mem.c: linear addresses and TLB probes.
 *
 * mov 16(%rbx),%rax with the flags dead, in user mode, becomes (probe A)
 *
 *	lea	16(%rbx),%r15		the linear address
 *	rorx	$12,%r15,%r11
 *	movzwl	%r11w,%r11d		index: low 16 bits of the page number
 *	add	%gs:NTAG(,%r11,8),%r15	offset in the page if this is the page
 *	cmp	$4088,%r15		and the access does not leave it
 *	ja	slow
 *	mov	%gs:ADDEND(,%r11,8),%r11
 *	mov	16-12(%rbx,%r11),%rax	TLB_BIAS
 *
 * An address with an index is computed in T0. Where the flags are live, probe B does without them: with RCX put aside in T2 it adds ntag and
 * size - 1, shifts the offset out (the addend's low six bits, 12, are the count) and tests the rest
 * by JRCXZ. Without BMI2 there is no such shift: probe A within LAHF and SAHF. */
#include "engine/soft/emit.h"

struct stub *tr_stub(struct tr *t, enum stub_kind kind, uint8_t *at, uint32_t arg)
{
	struct stub *s = &t->stub[t->n_stubs++];

	BUG_ON(t->n_stubs > MAX_STUBS);
	*s = (struct stub){.kind = (uint8_t)kind, .base = -1, .flags = -1, .at = at, .arg = arg};
	return s;
}

void emit_rip(struct tr *t, unsigned reg, uint64_t rip)
{
	if (!t->pic) {
		asm_mov_ri(&t->a, reg, rip);
	} else if (asm_fits32((int64_t)rip)) {
		asm_ld_gs(&t->a, reg, GS_OFF(vbase));
		asm_lea(&t->a, 8, reg, (int)reg, -1, 1, (int32_t)rip);
	} else { /* a page beyond 2 GiB */
		asm_ld_gs(&t->a, reg, GS_OFF(vbase));
		asm_lea(&t->a, 8, reg, (int)reg, -1, 1, INT32_MAX);
		asm_lea(&t->a, 8, reg, (int)reg, -1, 1, (int32_t)((int64_t)rip - INT32_MAX));
	}
}

/* ---- addresses ------------------------------------------------------------------------------ */

/* Into T1 */
static void load_base(struct tr *t, unsigned seg)
{
	asm_ld_gs(&t->a, T1, GS_OFF(cpu.s.seg[0].base) + (int32_t)(seg * sizeof(struct x86_seg)));
	t->t1_slot = -1;
}

bool emit_ea(struct tr *t, const struct insn *in, uint64_t *constant)
{
	const struct insn_mem *m = &in->mem;
	unsigned size = m->addr_size == 4 ? 4 : 8;
	bool based = m->seg == FS || m->seg == GS;
	int base = m->base, index = m->index;
	int32_t disp = (int32_t)m->disp;

	if (m->rip_rel && t->pic) {
		emit_rip(t, T0, tr_next_rip(t) + (uint64_t)m->disp);
		if (size == 4)
			asm_rr(&t->a, OPC_LOAD, 4, T0, T0);
		goto segment;
	}
	if (m->rip_rel || (base < 0 && index < 0)) {
		uint64_t ea = (uint64_t)m->disp + (m->rip_rel ? tr_next_rip(t) : 0);

		if (size == 4)
			ea = (uint32_t)ea;
		if (!based) {
			*constant = ea;
			return true;
		}
		load_base(t, m->seg);
		if (asm_fits32((int64_t)ea)) {
			asm_lea(&t->a, 8, T0, T1, -1, 1, (int32_t)ea);
		} else {
			asm_mov_ri(&t->a, T0, ea);
			asm_lea(&t->a, 8, T0, T0, T1, 1, 0);
		}
		return false;
	}
	if (is_stolen(base)) {
		asm_ld_gs(&t->a, T0, GS_GPR((unsigned)base));
		base = T0;
	}
	if (is_stolen(index)) {
		asm_ld_gs(&t->a, T1, GS_GPR((unsigned)index));
		t->t1_slot = -1;
		index = T1;
	}
	if (index < 0 && !disp && size == 8)
		asm_mov_rr(&t->a, T0, (unsigned)base);
	else
		asm_lea(&t->a, size, T0, base, index, m->scale, disp);
segment:
	if (based) {
		load_base(t, m->seg);
		asm_lea(&t->a, 8, T0, T0, T1, 1, 0);
	}
	return false;
}

/* ---- probes --------------------------------------------------------------------------------- */

static uint32_t slow_site(const struct tr *t, bool write, unsigned size)
{
	uint32_t log = 0;

	while ((1u << log) < size)
		log++;
	return t->id | t->i << SITE_INSN_SHIFT | (write ? SITE_WRITE : 0) | log << SITE_SIZE_SHIFT;
}

/* Atomic instructions are translated for operands at a multiple of their size, 1 << what this gives: others
 * may cross a line, which is the interpreter's (soft_alone_begin()). */
static unsigned atomic_align(const struct tr *t, unsigned size)
{
	return insn_is_atomic(&t->insn[t->i]) ? (unsigned)__builtin_ctz(size) : 0;
}

static void linear(struct asm_buf *a, unsigned dst, int base, int32_t disp)
{
	if (disp)
		asm_lea(a, 8, dst, base, -1, 1, disp);
	else
		asm_mov_rr(a, dst, (unsigned)base);
}

/* The flags are dead, or m->source is where to have them again. */
static void probe_a(struct tr *t, const struct tr_memo *m, enum stub_kind kind)
{
	struct asm_buf *a = &t->a;
	unsigned align = atomic_align(t, m->size);
	uint32_t last = (uint32_t)(PAGE_SIZE - m->size) >> align;
	struct stub *s;

	linear(a, T2, m->base, m->disp);
	if (t->sv->bmi2) {
		asm_rorx(a, T1, T2, PAGE_SHIFT);
	} else {
		asm_mov_rr(a, T1, T2);
		asm_shift_ri(a, 5, 8, T1, PAGE_SHIFT);
	}
	asm_movzx16(a, T1, T1);
	asm_gs(a, OPC_ADD, 8, T2, T1, (int32_t)GS_NTAG(t->ctx, m->write));
	if (align)
		asm_shift_ri(a, 1, 8, T2, align); /* to the right, around */
	line_jump(t, 13);
	asm_alu_ri(a, 7, 8, T2, (int32_t)last);
	s = tr_stub(t, kind, asm_jcc(a, CC_A, NULL), m->arg);
	s->flags = m->source;
	if (m->base != T0) {
		s->base = m->base;
		s->disp = m->disp;
	}
	asm_gs(a, OPC_LOAD, 8, T1, T1, (int32_t)GS_ADDEND(t->ctx, m->write));
	if (m->source >= 0)
		flags_again(t, m->source);
}

static void probe_b(struct tr *t, bool write, unsigned size, enum stub_kind kind, uint32_t arg)
{
	struct asm_buf *a = &t->a;
	uint8_t *hit;

	asm_rorx(a, T1, T0, PAGE_SHIFT);
	asm_movzx16(a, T1, T1);
	asm_mov_rr(a, T2, RCX);
	asm_gs(a, OPC_LOAD, 8, RCX, T1, (int32_t)GS_NTAG(t->ctx, write));
	asm_gs(a, OPC_LOAD, 8, T1, T1, (int32_t)GS_ADDEND(t->ctx, write));
	/* The page's offset plus size - 1 has no bit above the twelfth, unless the access leaves
	 * the page, and no page is entered under another's tag. */
	asm_lea(a, 8, RCX, RCX, T0, 1, (int32_t)size - 1);
	asm_shrx(a, RCX, RCX, T1);
	line_jump(t, 2);
	hit = asm_jrcxz(a);
	tr_stub(t, kind, asm_jmp(a, NULL), arg);
	asm_patch8(hit, a->p);
	asm_mov_rr(a, RCX, T2);
}

static void save_flags(struct tr *t)
{
	asm_st_gs(&t->a, RAX, GS_OFF(tmp[2]));
	asm_u8(&t->a, 0x9f);    /* lahf */
	asm_u16(&t->a, 0x900f); /* seto al */
	asm_u8(&t->a, 0xc0);
	asm_st_gs(&t->a, RAX, GS_OFF(tmp[3]));
	asm_ld_gs(&t->a, RAX, GS_OFF(tmp[2]));
}

static void restore_flags(struct asm_buf *a)
{
	asm_st_gs(a, RAX, GS_OFF(tmp[2]));
	asm_ld_gs(a, RAX, GS_OFF(tmp[3]));
	asm_u16(a, 0x7f04); /* add al, 7fh */
	asm_u8(a, 0x9e);    /* sahf */
	asm_ld_gs(a, RAX, GS_OFF(tmp[2]));
}

void emit_restore_flags(struct asm_buf *a)
{
	restore_flags(a);
}

void emit_probe_tlb(struct tr *t, const struct tr_memo *m)
{
	if (!m->spares) {
		probe_a(t, m, (enum stub_kind)m->kind);
	} else if (t->sv->bmi2 && !atomic_align(t, m->size)) {
		probe_b(t, m->write, m->size, (enum stub_kind)m->kind, m->arg);
	} else {
		save_flags(t);
		probe_a(t, m, STUB_SLOW_FLAGS);
		restore_flags(&t->a);
	}
}

/* g: the group that begins here, or NULL; disp: to the start of its span */
static struct tr_memo what_to_probe(const struct tr *t, const struct tr_group *g, int base,
				    int32_t disp, bool write, unsigned size)
{
	int source = t->flags_dead[t->i] ? -1 : flags_source(t);
	struct tr_memo m = {.base = (int8_t)base,
			    .disp = disp,
			    .user = t->ctx == CTX_USER,
			    .write = g ? g->write : write,
			    .size = g ? (uint32_t)(g->max - g->min) : size,
			    .source = (int8_t)source,
			    .spares = !t->flags_dead[t->i] && source < 0};

	m.site = slow_site(t, m.write, m.size);
	if (g) {
		m.kind = m.spares ? STUB_GROUP_RCX : STUB_GROUP;
		m.arg = (uint32_t)(g - t->groups.group);
	} else {
		m.kind = m.spares ? STUB_SLOW_RCX : STUB_SLOW;
		m.arg = m.site;
	}
	return m;
}

void emit_probe(struct tr *t, enum tr_access which, int base, int32_t disp, bool write,
		unsigned size, struct place *out)
{
	int32_t shift = 0;
	struct tr_group *g = group_head(t, which, &shift);
	struct tr_memo m = what_to_probe(t, g, base, disp - shift, write, size);

	bool memo;

	if (direct_wanted(t) && emit_direct(t, which, g, &m, shift, out))
		return;
	memo = memo_wanted(t, &m);
	if (m.spares || base == T0) {
		if (m.disp || base != T0)
			linear(&t->a, T0, base, m.disp);
		m.base = T0;
		m.disp = 0;
	}
	*out = (struct place){.base = m.base, .index = T1, .disp = m.disp + shift - TLB_BIAS};
	if (memo)
		memo_probe(t, &m);
	else
		emit_probe_tlb(t, &m);
	if (g)
		group_begin(t, g);
	else
		t->t1_slot = -1;
}

bool emit_probe_const(struct tr *t, uint64_t ea, bool write, unsigned size, struct place *out)
{
	struct asm_buf *a = &t->a;
	uint64_t page = ea & ~PAGE_MASK;
	int32_t index = (int32_t)TLB_INDEX(ea) * 8;
	bool near = asm_fits32((int64_t)ea - TLB_BIAS);
	int source = t->flags_dead[t->i] ? -1 : flags_source(t);
	struct stub *s;

	if (direct_wanted(t) && emit_direct_const(t, ea, size, out))
		return true;
	if ((ea & PAGE_MASK) + size > PAGE_SIZE || (ea & (BIT64(atomic_align(t, size)) - 1)))
		return false;
	t->t1_slot = -1;
	if (t->flags_dead[t->i] || source >= 0) {
		asm_mov_ri(a, T2, -page);
		line_jump(t, 15);
		asm_gs(a, OPC_CMP, 8, T2, -1, (int32_t)GS_NTAG(t->ctx, write) + index);
		s = tr_stub(t, STUB_SLOW, asm_jcc(a, CC_NE, NULL), slow_site(t, write, size));
		s->flags = (int8_t)source;
		if (source >= 0)
			flags_again(t, source);
	} else {
		uint8_t *hit;

		asm_mov_ri(a, T0, page);
		asm_mov_rr(a, T2, RCX);
		asm_ld_gs(a, RCX, (int32_t)GS_NTAG(t->ctx, write) + index);
		asm_lea(a, 8, RCX, RCX, T0, 1, 0);
		line_jump(t, 2);
		hit = asm_jrcxz(a);
		s = tr_stub(t, STUB_SLOW_RCX, asm_jmp(a, NULL), slow_site(t, write, size));
		asm_patch8(hit, a->p);
		asm_mov_rr(a, RCX, T2);
	}
	s->ea_known = true;
	s->ea = ea;
	asm_ld_gs(a, T1, (int32_t)GS_ADDEND(t->ctx, write) + index);
	if (near) {
		*out = (struct place){
			.base = T1, .index = -1, .disp = (int32_t)((int64_t)ea - TLB_BIAS)};
	} else {
		asm_mov_ri(a, T0, ea);
		*out = (struct place){.base = T0, .index = T1, .disp = -TLB_BIAS};
	}
	return true;
}

/* A register plus a constant, and the register is there? */
static bool is_plain(const struct insn_mem *m)
{
	return m->base >= 0 && m->index < 0 && !m->rip_rel && m->addr_size == 8 && m->seg != FS &&
	       m->seg != GS && !is_stolen(m->base) && asm_fits32(m->disp - TLB_BIAS);
}

/* An operand that its group has probed */
static void member_place(struct tr *t, const struct insn *in, struct place *out)
{
	const struct insn_mem *m = &in->mem;
	const struct tr_group *direct = group_direct(t, ACCESS_OPERAND);
	uint64_t ea;

	if (direct) {
		if (!is_plain(m))
			emit_ea(t, in, &ea);
		emit_direct_member(t, direct, is_plain(m) ? m->base : T0,
				   is_plain(m) ? (int32_t)m->disp : 0, out);
		return;
	}
	if (is_plain(m)) {
		*out = (struct place){
			.base = m->base, .index = T1, .disp = (int32_t)m->disp - TLB_BIAS};
	} else {
		emit_ea(t, in, &ea);
		*out = (struct place){.base = T0, .index = T1, .disp = -TLB_BIAS};
	}
	group_addend(t, ACCESS_OPERAND);
}

bool emit_operand(struct tr *t, const struct insn *in, bool write, unsigned size, struct place *out)
{
	const struct insn_mem *m = &in->mem;
	uint64_t ea;

	if (tr_legacy(t))
		return emit_seg_operand(t, in, write, size, out);
	if (t->loop.n) {
		loop_operand(t, in, out);
		return true;
	}
	if (group_member(t, ACCESS_OPERAND)) {
		member_place(t, in, out);
		return true;
	}
	if (is_plain(m)) {
		emit_probe(t, ACCESS_OPERAND, m->base, (int32_t)m->disp, write, size, out);
		return true;
	}
	if (emit_ea(t, in, &ea))
		return emit_probe_const(t, ea, write, size, out);
	emit_probe(t, ACCESS_OPERAND, T0, 0, write, size, out);
	return true;
}

void emit_stack_place(struct tr *t, unsigned reg, int32_t disp, bool write, struct place *out)
{
	if (group_member(t, ACCESS_STACK)) {
		if (group_direct(t, ACCESS_STACK)) {
			emit_direct_member(t, group_direct(t, ACCESS_STACK), (int)reg, disp, out);
			return;
		}
		group_addend(t, ACCESS_STACK);
		*out = (struct place){.base = (int8_t)reg, .index = T1, .disp = disp - TLB_BIAS};
		return;
	}
	emit_probe(t, ACCESS_STACK, (int)reg, disp, write, 8, out);
}
