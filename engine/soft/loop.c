/* SPDX-License-Identifier: ISC */
/* loop.c: loops of one block whose accesses are checked before many rounds.
 *
 *	1: mov (%rsi,%rax,8),%rdx; add %rdx,(%rdi); add $8,%rdi; inc %rax; cmp %rcx,%rax; jne 1b
 *
 * In busy code (hot.c) a block that ends with a conditional jump to its start is looked at as a whole: which
 * registers change by a constant in each round, which not at all? If all of its addresses are made of these, they
 * are streams, that move on by so many bytes a round. The check before the first round finds each stream's page, or
 * more than that, by a memo (memo.c), and how many rounds will stay within: T2 counts them down. Meanwhile
 * no access can fault or be anywhere else, and the addends are in T0, T1 or slots:
 *
 *	mov (%r10,%rax,8),%rdx		T0: the addend plus RSI
 *	add %rdx,-12(%rdi,%r11)		T1
 *	add $8,%rdi; inc %rax; cmp %rcx,%rax; je out
 *	sub $1,%r15; jae 1b; jmp check, by way of the poll
 *
 * The poll before the check is seen every ROUNDS_MAX instructions. Where the check finds nothing the next round runs
 * in a block of the ordinary kind (MODE_PLAIN): what it does not access does not fault, and gets no D. */
#include "engine/soft/loop.h"

#include "base/str.h"
#include "engine/soft/emit.h"
#include "engine/soft/track.h"

/* Instructions from poll to poll: some microseconds */
#define ROUNDS_MAX 8192u
#define SPAN_MAX   256
#define STEP_MAX   (1 << 16)

/* ---- what is a loop? -------------------------------------------------------------------------- */

static bool uses_stolen(const struct insn *in)
{
	for (unsigned i = 0; i < in->n_opnd; i++)
		if (in->opnd[i].kind == OP_GPR && !in->opnd[i].high8 && is_stolen(in->opnd[i].reg))
			return true;
	return in->has_mem && (is_stolen(in->mem.base) || is_stolen(in->mem.index));
}

/* Is it of those that loop_operand() and the temporaries can do with? */
static bool suits(const struct tr *t, unsigned i)
{
	const struct insn *in = &t->insn[i];
	const struct insn_opnd *m = insn_mem_opnd(in);
	uint64_t to;

	if (t->by_interp[i] || uses_stolen(in))
		return false;
	switch (in->row->cls) {
	case CLS_COPY:
		return !in->has_mem ||
		       (m && m->size && m->size <= 64 && in->addr_size == 8 && in->mem.seg != FS &&
			in->mem.seg != GS && !insn_has_high8(in) && !insn_is_atomic(in) &&
			!(in->row->attr & (AT_VSIB | AT_BITSTR)));
	case CLS_LEA: /* what emit_lea() does */
		return !in->mem.rip_rel || in->opnd[0].size >= 4;
	case CLS_NOP:
		return true;
	case CLS_JCC:
		/* Where a round is often left for its own end, the check costs more than it saves. */
		to = tr_target(t, i);
		return i + 1 == t->n || to < t->rip || to >= t->rip + t->off[t->n];
	}
	return false;
}

static bool is_loop(const struct tr *t)
{
	if (!(t->mode & MODE_BUSY) || t->mode & (MODE_PLAIN | MODE_LEGACY) || t->pic ||
	    t->sv->cfg.no_loops || !t->flags_dead[0] || t->insn[t->n - 1].row->cls != CLS_JCC ||
	    tr_target(t, t->n - 1) != t->rip || !tr_same_page(t, t->rip))
		return false;
	for (unsigned i = 0; i < t->n; i++)
		if (!suits(t, i))
			return false;
	return true;
}

/* ---- streams ---------------------------------------------------------------------------------- */

/* The registers of a loop */
struct regs {
	struct track now; /* in the round that is looked through */
	unsigned written; /* somewhere in it */
};

static bool constant(const struct regs *k, int reg)
{
	return reg >= 0 && !(k->written >> reg & 1);
}

/* Which register has this value when a round begins? -1: none */
static int at_start(const struct track_value *v)
{
	return v->var >= track_var(0) && v->var <= track_var(15) ? v->var - (int)track_var(0) : -1;
}

/* The stream that instruction i would begin. False: its address follows no rule. */
static bool stream_of(const struct tr *t, const struct regs *k, unsigned i, struct tr_stream *s)
{
	const struct insn_mem *m = &t->insn[i].mem;
	const struct insn_opnd *o = insn_mem_opnd(&t->insn[i]);
	int64_t off = m->disp + (m->rip_rel ? (int64_t)(t->rip + t->off[i + 1]) : 0);

	*s = (struct tr_stream){
		.base = -1, .index = -1, .scale = 1, .fold = -1, .head = (uint8_t)i};
	if (m->base >= 0 && !m->rip_rel) {
		s->base = (int8_t)at_start(&k->now.gpr[m->base]);
		off += k->now.gpr[m->base].off;
		if (s->base < 0)
			return false;
	}
	if (m->index >= 0) {
		s->index = (int8_t)at_start(&k->now.gpr[m->index]);
		s->scale = m->scale;
		off += (int64_t)k->now.gpr[m->index].off * m->scale;
		if (s->index < 0 || s->index == RSP)
			return false;
		s->fold = m->base < 0                              ? -1
			  : constant(k, m->base)                   ? m->base
			  : m->scale == 1 && constant(k, m->index) ? m->index
								   : -1;
	}
	s->write = o->acc & ACC_W;
	s->min = off;
	s->max = off + o->size;
	return s->base + s->index == -2 ||
	       (asm_fits32(off - TLB_BIAS) && asm_fits32(s->max) && asm_fits32(m->disp - TLB_BIAS));
}

static bool joins(struct tr_stream *s, const struct tr_stream *one)
{
	int64_t min = MIN(s->min, one->min), max = MAX(s->max, one->max);

	if (s->base != one->base || s->index != one->index || s->scale != one->scale ||
	    s->fold != one->fold || max - min > SPAN_MAX || max < min)
		return false;
	s->min = min;
	s->max = max;
	s->write |= one->write;
	return true;
}

static bool note(struct tr_loop *l, unsigned i, const struct tr_stream *one)
{
	unsigned n = 0;

	while (n < l->n && !joins(&l->stream[n], one))
		n++;
	if (n == LOOP_STREAMS)
		return false;
	if (n == l->n)
		l->stream[l->n++] = *one;
	l->of[i] = (uint8_t)(n + 1);
	l->off[i] = one->min;
	return true;
}

/* By how much does it change in a round? False: by no constant */
static bool step_of(const struct track *end, int reg, int64_t *step)
{
	*step = reg < 0 ? 0 : end->gpr[reg].off;
	return reg < 0 || end->gpr[reg].var == track_var((unsigned)reg);
}

static struct tr_memo memo_of(const struct tr *t, const struct tr_stream *s)
{
	return (struct tr_memo){.base = T0,
				.user = t->ctx == CTX_USER,
				.write = s->write,
				.source = -1,
				.kind = STUB_LOOP,
				/* or the memo that the TLB gave would not do */
				.size = memo_size((uint32_t)(s->max - s->min)),
				.site = t->id | (uint32_t)s->head << SITE_INSN_SHIFT |
					(s->write ? SITE_WRITE : 0)};
}

static bool find_steps(struct tr *t, const struct track *end)
{
	for (unsigned n = 0; n < t->loop.n; n++) {
		struct tr_stream *s = &t->loop.stream[n];
		struct tr_memo m = memo_of(t, s);
		int64_t base, index;

		if (!step_of(end, s->base, &base) || !step_of(end, s->index, &index))
			return false;
		s->step = base + index * s->scale;
		t->i = s->head;
		if (s->step > STEP_MAX || s->step < -STEP_MAX || !memo_wanted(t, &m))
			return false;
	}
	return true;
}

/* Does its address have two registers that change? */
static bool two_change(const struct tr_stream *s, const struct insn_mem *m)
{
	return m->index >= 0 && m->base >= 0 && s->fold < 0;
}

/* T0 and T1 stay what they are if they are enough. */
static void give_registers(struct tr_loop *l)
{
	unsigned n = 0;

	for (unsigned k = 0; k < l->n; k++)
		l->stream[k].reg = -1;
	if (!l->lea)
		l->stream[n++].reg = T0;
	if (l->n == n + 1)
		l->stream[n].reg = T1;
}

static bool find_streams(struct tr *t)
{
	struct tr_loop *l = &t->loop;
	struct regs k = {.written = 0};

	for (unsigned i = 0; i < t->n; i++)
		track_written(&t->insn[i], &k.written);
	track_start(&k.now);
	memset(l->of, 0, t->n);
	l->n = 0;
	l->lea = false;
	for (unsigned i = 0; i < t->n; i++) {
		const struct insn *in = &t->insn[i];
		struct tr_stream s;

		if (in->row->cls == CLS_COPY && in->has_mem) {
			if (!stream_of(t, &k, i, &s) || !note(l, i, &s))
				return false;
			l->lea |= two_change(&s, &in->mem);
		}
		track_insn(&k.now, in);
	}
	return l->n && find_steps(t, &k.now);
}

void loop_find(struct tr *t)
{
	t->loop.out = NULL;
	t->loop.n = 0;
	if (!is_loop(t))
		return;
	if (find_streams(t))
		give_registers(&t->loop);
	else
		t->loop.n = 0;
}

/* ---- the check -------------------------------------------------------------------------------- */

static bool is_constant(const struct tr_stream *s)
{
	return s->base < 0 && s->index < 0;
}

/* T0 = the start of the stream's span in the next round */
static void emit_start(struct tr *t, const struct tr_stream *s)
{
	if (is_constant(s))
		asm_mov_ri(&t->a, T0, (uint64_t)s->min);
	else
		asm_lea(&t->a, 8, T0, s->base, s->index, s->scale, (int32_t)s->min);
}

/* T2 = the lesser of itself and the rounds after the next that T0 bytes are enough for. Where the step is no
 * power of two, T0 is below 4 MiB: a product with a rounded reciprocal is not too large. */
static void emit_rounds(struct tr *t, const struct tr_stream *s)
{
	uint64_t step = (uint64_t)(s->step < 0 ? -s->step : s->step);
	unsigned shift = 32;

	if (!(step & (step - 1)))
		shift = (unsigned)__builtin_ctzll(step);
	else
		asm_imul_ri(&t->a, T0, T0, (int32_t)((UINT64_C(1) << 32) / step));
	if (shift)
		asm_shift_ri(&t->a, 5, 8, T0, shift);
	asm_rr(&t->a, OPC_CMP, 8, T0, T2);
	asm_cmov(&t->a, CC_B, T2, T0);
}

static void check(struct tr *t, unsigned n)
{
	const struct tr_stream *s = &t->loop.stream[n];
	struct asm_buf *a = &t->a;
	struct tr_memo memo = memo_of(t, s), *m;

	t->i = s->head;
	emit_start(t, s);
	m = memo_take(t, &memo);
	memo_check(t, m);
	m->back = t->loop.enter;
	if (s->step) {
		memo_room(t, m, s->step < 0);
		emit_rounds(t, s);
	}
	memo_addend(t, m);
	if (is_constant(s)) {
		asm_mov_ri(a, T0, (uint64_t)s->min);
		asm_lea(a, 8, T1, T1, T0, 1, 0);
	} else if (s->fold >= 0) {
		asm_lea(a, 8, T1, s->fold, T1, 1, 0);
	}
	asm_st_gs(a, T1, group_slot(n));
}

void loop_enter(struct tr *t)
{
	struct tr_loop *l = &t->loop;

	l->enter = t->a.p;
	asm_mov_ri(&t->a, T2, ROUNDS_MAX / t->n);
	for (unsigned n = 0; n < l->n; n++)
		check(t, n);
	for (unsigned n = 0; n < l->n; n++)
		if (l->stream[n].reg >= 0)
			asm_ld_gs(&t->a, (unsigned)l->stream[n].reg, group_slot(n));
	line_begin(t);
	l->in_t1 = -1;
	l->round = t->a.p;
}

/* ---- rounds ----------------------------------------------------------------------------------- */

static int8_t addend(struct tr *t, unsigned n)
{
	struct tr_loop *l = &t->loop;

	if (l->stream[n].reg >= 0)
		return l->stream[n].reg;
	if (l->in_t1 != (int)n)
		asm_ld_gs(&t->a, T1, group_slot(n));
	l->in_t1 = (int)n;
	return T1;
}

void loop_operand(struct tr *t, const struct insn *in, struct place *out)
{
	unsigned n = t->loop.of[t->i] - 1u;
	const struct tr_stream *s = &t->loop.stream[n];
	const struct insn_mem *m = &in->mem;
	int8_t reg = addend(t, n);

	*out = (struct place){.index = -1, .scale = 1, .disp = (int32_t)m->disp - TLB_BIAS};
	if (is_constant(s)) {
		out->base = reg;
		out->disp = (int32_t)(t->loop.off[t->i] - s->min) - TLB_BIAS;
	} else if (m->index >= 0 && (m->base < 0 || m->base == s->fold)) {
		out->base = reg;
		out->index = m->index;
		out->scale = m->scale;
	} else if (m->index < 0 || m->index == s->fold) {
		out->base = m->base;
		out->index = reg;
	} else {
		asm_lea(&t->a, 8, T0, m->base, m->index, m->scale, (int32_t)m->disp);
		*out = (struct place){.base = T0, .index = reg, .scale = 1, .disp = -TLB_BIAS};
	}
}

void loop_again(struct tr *t)
{
	line_jump(t, 10);
	asm_alu_ri(&t->a, 5, 8, T2, 1);
	asm_jcc(&t->a, CC_AE, t->loop.round);
	emit_goto(t, t->rip); /* an exit: when the block dies it leads elsewhere */
}
