/* SPDX-License-Identifier: ISC */
/* translate.c: guest code at RIP into a block: decoding, liveness of flags, emission.
 *
 * A block ends with the first instruction that jumps, at the end of its page, or after
 * BLOCK_INSNS. Instructions that cannot be translated in this mode, or at all, become calls of the
 * interpreter; it raises what they raise. Under sv->lock. */
#include "base/str.h"
#include "engine/soft/emit.h"
#include "engine/soft/track.h"
#include "engine/soft/tlb.h"
#include "x86/cover.h"
#include "x86/feature.h"

/* ---- front ---------------------------------------------------------------------------------- */

/* Code goes on behind conditional jumps, up to this many of them. */
#define BRANCHES_MAX 3
/* What a block can have: jumps taken, the end, heads of groups */
#define EXITS_MAX (BRANCHES_MAX + 1 + GROUP_SLOTS)
/* Of BLOCK_ROOM, for the longest instruction, BLOCK_INSNS calls of the interpreter, and the block's end */
#define REST_ROOM (4u * 1024)

/* n: the instruction's number */
bool tr_ends_block(const struct tr *t, unsigned n)
{
	const struct insn *in = &t->insn[n];

	if (in->mnem == I_STI && t->ctx != CTX_USER)
		return false;
	switch (in->row->cls) {
	case CLS_JCC:
		return n + 1 == t->n;
	case CLS_JMP:
	case CLS_LOOP:
	case CLS_CALL:
	case CLS_JMP_IND:
	case CLS_CALL_IND:
	case CLS_RET:
	case CLS_FAR:
		return true;
	}
	return in->row->attr & AT_ENDS;
}

/* May it run on the host as it is, in this mode? */
static bool available(const struct tr *t, const struct insn *in)
{
	uint64_t attr = in->row->attr;

	if (in->row->feature && !cpu_has(&t->v->cpu, in->row->feature))
		return false;
	if (insn_needs_vl(in) && !cpu_has(&t->v->cpu, X_FEAT_AVX512VL))
		return false;
	if ((attr & AT_HOSTX) || ((attr & AT_CPL0) && t->ctx == CTX_USER))
		return false;
	if ((attr & AT_PROT) && (t->mode & MODE_REAL))
		return false;
	if ((attr & (AT_X87 | AT_MMX)) && !(t->mode & MODE_FPU))
		return false;
	if ((attr & AT_SSE) && !(t->mode & MODE_SSE))
		return false;
	if ((attr & AT_AVX512) && !(t->mode & MODE_AVX512))
		return false;
	return !(attr & AT_AVX) || (t->mode & MODE_AVX);
}

/* May a debugger have a breakpoint at this offset in the block? Then the interpreter looks. */
bool tr_has_break(const struct tr *t, uint64_t rip)
{
	const struct debug_set *set = t->v->cpu.debug;

	return unlikely(set) && debug_may_break(set, rip);
}

/* p: the first byte; avail: bytes up to the page's end. Gives DECODE_OK when t->n > 0. */
static enum decode_result decode_block(struct tr *t, const uint8_t *p, size_t avail)
{
	enum decode_result r = DECODE_OK;
	unsigned branches = 0;
	uint32_t pos = 0;

	while (t->n < BLOCK_INSNS && pos < avail) {
		struct insn *in = &t->insn[t->n];

		r = cpu_decode(&t->v->cpu, p + pos, avail - pos, mode_bytes(t->mode), in);
		if (r != DECODE_OK || (t->n && tr_has_break(t, t->rip + pos)))
			break;
		t->off[t->n++] = (uint16_t)pos;
		pos += in->len;
		if (in->row->cls == CLS_JCC) {
			/* a loop's end, or enough */
			if ((int64_t)in->imm < 0 || ++branches == BRANCHES_MAX)
				break;
		} else if (tr_ends_block(t, t->n - 1)) {
			break;
		}
	}
	t->off[t->n] = (uint16_t)pos;
	t->cut = r == DECODE_MORE;
	return t->n ? DECODE_OK : r;
}

/* ---- back ----------------------------------------------------------------------------------- */

static bool emit_insn(struct tr *t, const struct insn *in)
{
	switch (in->row->cls) {
	case CLS_COPY:
		return emit_copy(t, in);
	case CLS_NOP:
		return emit_nop(t, in);
	case CLS_LEA:
		return emit_lea(t, in);
	case CLS_MOVABS:
		return emit_seg_movabs(t, in);
	case CLS_JMP:
		return emit_jmp(t, in);
	case CLS_JCC:
		return emit_jcc(t, in);
	case CLS_LOOP:
		return emit_loop(t, in);
	case CLS_CALL:
		return emit_call(t, in);
	case CLS_JMP_IND:
		return emit_jmp_ind(t, in);
	case CLS_CALL_IND:
		return emit_call_ind(t, in);
	case CLS_RET:
		return emit_ret(t, in);
	case CLS_PUSH:
		return emit_push(t, in);
	case CLS_POP:
		return emit_pop(t, in);
	case CLS_STACK:
		return emit_stack(t, in);
	case CLS_STRING:
		return emit_string(t, in);
	case CLS_SYS:
		return emit_sys(t, in);
	}
	return false;
}

/* Could emit_insn() take it? Decided before liveness, so without emitting. */
static bool translatable(const struct tr *t, unsigned n)
{
	const struct insn *in = &t->insn[n];

	if (!available(t, in) || (tr_legacy(t) && !seg_translatable(t, in)))
		return false;
	switch (in->row->cls) {
	case CLS_COPY:
	case CLS_LEA:
	case CLS_JMP:
	case CLS_JCC:
	case CLS_LOOP:
	case CLS_CALL:
	case CLS_JMP_IND:
	case CLS_CALL_IND:
	case CLS_RET:
	case CLS_PUSH:
	case CLS_POP:
		return true;
	case CLS_NOP:
		return in->mnem != I_PAUSE;
	case CLS_STACK:
		return in->mnem == I_LEAVE || in->mnem == I_PUSHF;
	case CLS_MOVABS:
		return tr_legacy(t);
	case CLS_STRING:
		return string_translatable(in);
	case CLS_SYS:
		return sys_translatable(t, n, in);
	}
	return false;
}

static uint32_t code_off(const struct tr *t)
{
	return (uint32_t)(t->a.p - t->start);
}

/* The next one is a conditional jump that the host may fuse with this one. */
static void before_pair(struct tr *t)
{
	const struct insn *in = &t->insn[t->i];

	if (t->i + 1 == t->n || t->insn[t->i + 1].row->cls != CLS_JCC || in->has_mem)
		return;
	switch (in->mnem) {
	case I_CMP:
	case I_TEST:
	case I_AND:
	case I_ADD:
	case I_SUB:
	case I_INC:
	case I_DEC:
		line_patched_jump(t, in->len, 2);
	}
}

/* Is there room for another instruction's code? Where there is none, it and those behind it are the interpreter's, whose
 * calls take few bytes. No BMI2, flags that are live, and segments are what it takes. */
static bool has_room(const struct tr *t)
{
	return code_off(t) <= BLOCK_ROOM - REST_ROOM;
}

static void emit_one(struct tr *t)
{
	struct soft_block *b = t->b;
	struct soft_site *s = &t->c->site[b->sites + t->i];
	const struct insn *in = &t->insn[t->i];
	unsigned n_stubs = t->n_stubs, n_memos = t->n_memos, n_directs = t->n_directs;
	uint8_t *start;

	before_pair(t);
	start = t->a.p;
	s->host = (uint16_t)code_off(t);
	s->guest = t->off[t->i];
	if (!t->by_interp[t->i] && has_room(t) && emit_insn(t, in)) {
		COVER_TRANSLATED(in);
		if (tr_ends_block(t, t->i))
			t->ended = true;
		group_next(t, true);
		if (!track_written(in, &t->written))
			t->written = UINT32_MAX;
		return;
	}
	/* It may be that the address was half computed: start again. Exits are made last. */
	t->a.p = start;
	t->n_stubs = n_stubs;
	t->n_memos = n_memos;
	t->n_directs = n_directs;
	groups_cancel(t);
	group_next(t, false);
	t->written = UINT32_MAX;
	emit_exec(t);
}

/* Where the block's code may begin, behind its far entry and the size of that */
static void place_code(struct tr *t)
{
	struct soft_block *b = t->b;
	uint32_t used = soft_cur(t->c)->used;

	t->a.p = t->c->code.rw + used;
	if (!(b->mode & MODE_PLAIN))
		emit_far_entry(t);
	b->far = (uint8_t)(t->a.p - t->c->code.rw - used);
	BUG_ON(b->far > FAR_MAX);
	b->code = ALIGN_UP(used + b->far + 1, 16u);
	t->start = t->c->code.rw + b->code;
	t->a.p = t->start - b->far - 1;
	asm_u8(&t->a, b->far);
	if (b->far)
		emit_far_entry(t);
}

static void emit_block(struct tr *t)
{
	struct soft_block *b = t->b;
	struct soft_site *end = &t->c->site[b->sites + t->n];

	emit_poll(t);
	b->body = (uint8_t)code_off(t);
	t->t1_slot = -1;
	if (t->loop.n)
		loop_enter(t);
	for (t->i = 0; t->i < t->n; t->i++)
		emit_one(t);
	end->host = (uint16_t)code_off(t);
	end->guest = t->off[t->n];
	t->i = t->n - 1;
	if (!t->ended)
		emit_goto(t, t->rip + t->off[t->n]);
	b->code_size = (uint16_t)code_off(t);
	t->a.p = t->c->code.rw + soft_cur(t->c)->cold_used;
	emit_stubs(t);
}

/* A block of one instruction that only the interpreter can say something about. */
static void make_bad(struct tr *t, size_t len)
{
	t->n = 1;
	t->off[0] = 0;
	t->off[1] = (uint16_t)len;
	t->by_interp[0] = true;
	t->ended = true;
}

static enum tr_result room(struct soft_vm *sv)
{
	struct soft_cache *c = sv->cache;
	const struct soft_part *p = soft_cur(c);

	if (!soft_pages_room(sv))
		return TR_EMPTY;
	if (sv->cfg.flush_every && c->translations >= sv->cfg.flush_every)
		return TR_FULL;
	if (p->used + BLOCK_ROOM > p->cold || p->cold_used + STUBS_ROOM > p->end ||
	    atomic_load(&p->n_blocks) >= c->part_blocks || p->n_exits + EXITS_MAX > c->part_exits ||
	    p->n_sites + BLOCK_INSNS + 1 > c->part_sites)
		return TR_FULL;
	return TR_OK;
}

/* A loop that begins within busy code shall be a block (loop.c), from its first round on. */
static void end_before_loop(struct tr *t)
{
	uint64_t start;

	if (!(t->mode & MODE_BUSY) || t->sv->cfg.no_loops || t->insn[t->n - 1].row->cls != CLS_JCC)
		return;
	start = tr_target(t, t->n - 1) - t->rip;
	for (unsigned i = 1; i < t->n; i++)
		if (t->off[i] == start)
			t->n = i;
}

/* Decodes; the block may end up with one instruction over two pages. */
static enum tr_result front(struct tr *t, const uint8_t *page, gpa_t gpa2)
{
	struct soft_block *b = t->b;
	uint32_t off = b->rip & PAGE_MASK;
	size_t avail = PAGE_SIZE - off;
	enum decode_result r = decode_block(t, page + off, avail);
	uint8_t both[2 * INSN_MAX];
	hva_t next;

	if (r == DECODE_OK) {
		end_before_loop(t);
		return TR_OK;
	}
	if (r != DECODE_MORE) {
		make_bad(t, MIN((size_t)INSN_MAX, avail));
		return TR_OK;
	}
	if (gpa2 == NO_GPA)
		return TR_CROSS;
	next = mem_ptr(t->sv->vm, gpa2 & ~PAGE_MASK, PAGE_SIZE, false);
	if (!next || avail >= INSN_MAX)
		return TR_NONE;
	if (!soft_page_watch(t->sv, t->v, gpa2))
		return TR_LATER;
	memcpy(both, page + off, avail);
	memcpy(both + avail, next, INSN_MAX);
	b->page[1] = (uint32_t)(gpa2 >> PAGE_SHIFT);
	r = cpu_decode(&t->v->cpu, both, avail + INSN_MAX, mode_bytes(t->mode), &t->insn[0]);
	if (r == DECODE_OK) {
		t->n = 1;
		t->off[0] = 0;
		t->off[1] = t->insn[0].len;
	} else {
		make_bad(t, INSN_MAX);
	}
	return TR_OK;
}

static void log_block(const struct tr *t, gpa_t gpa)
{
	const struct soft_block *b = t->b;
	bool live = t->v->fpu == FPU_LIVE;

	soft_fpu_park(t->v); /* libc has its own use for these registers */
	plat_log(LOG_DEBUG, "block %u: rip %llx gpa %llx mode %x: %u insns, %u bytes to %u at %x",
		 t->id, (unsigned long long)b->rip, (unsigned long long)gpa, b->mode, t->n, b->len,
		 b->code_size, b->code);
	if (live)
		soft_fpu_load(t->v);
}

enum tr_result soft_translate(struct soft_vcpu *v, uint32_t mode, uint64_t rip, gpa_t gpa,
			      gpa_t gpa2, struct soft_block **out)
{
	struct soft_vm *sv = v->sv;
	struct soft_cache *c = sv->cache;
	struct tr *t = c->tr;
	hva_t page = mem_ptr(sv->vm, gpa & ~PAGE_MASK, PAGE_SIZE, false);
	struct soft_part *p;
	enum tr_result r;
	uint32_t stubs;

	if (!page || gpa >> PAGE_SHIFT >= NO_PAGE)
		return TR_NONE;
	r = room(sv);
	if (r != TR_OK)
		return r;
	t->v = v;
	t->sv = sv;
	t->c = c;
	p = soft_cur(c);
	t->page = page;
	t->id = p->block + atomic_load(&p->n_blocks);
	t->b = &c->block[t->id];
	t->pic = MODE_IS_PIC(mode);
	t->first_base = t->pic ? rip & ~PAGE_MASK : 0;
	rip -= t->first_base;
	t->rip = rip;
	if (tr_has_break(t, rip))
		return TR_NONE;
	t->mode = mode;
	t->ctx = mode & MODE_CTX;
	t->n = t->n_stubs = t->n_spans = t->n_memos = t->n_directs = t->written = 0;
	t->ended = t->full = t->cut = false;
	memset(t->by_interp, 0, sizeof(t->by_interp));
	*t->b = (struct soft_block){
		.rip = rip, .page = {(uint32_t)(gpa >> PAGE_SHIFT), NO_PAGE}, .mode = mode};

	if (!soft_page_watch(sv, v, gpa))
		return TR_LATER;
	r = front(t, page, gpa2);
	if (r != TR_OK)
		return r;
	if (!t->ended) { /* not a bad one */
		for (unsigned i = 0; i < t->n; i++)
			t->by_interp[i] = !translatable(t, i);
		for (unsigned i = 0; i < t->n; i++)
			t->b->masked |= insn_masks_memory(&t->insn[i]);
		t->ended = t->by_interp[t->n - 1] && tr_ends_block(t, t->n - 1);
	}
	flags_find_dead(t);
	loop_find(t);
	groups_find(t);

	t->b->len = t->off[t->n];
	t->b->n_insns = (uint8_t)t->n;
	t->b->loop = t->loop.n;
	t->b->sites = p->site + p->n_sites;
	t->b->exits = p->exit + p->n_exits;
	place_code(t);
	emit_block(t);
	t->b->ends = t->ended;
	if (t->full) {
		p->n_exits = t->b->exits - p->exit;
		return TR_EMPTY;
	}
	stubs = (uint32_t)(t->a.p - c->code.rw) - p->cold_used;
	BUG_ON(t->b->code_size > BLOCK_ROOM - 2 * FAR_MAX || stubs > STUBS_ROOM);
	p->used = t->b->code + t->b->code_size;
	p->cold_used += stubs;
	p->n_sites += t->n + 1;
	c->translations++;
	v->stats.loops += t->b->loop;
	v->stats.code_bytes += t->b->code_size + stubs;
	if (sv->cfg.log_blocks)
		log_block(t, gpa);
	atomic_store(&p->n_blocks, t->id + 1 - p->block);
	soft_block_insert(sv, v, t->b);
	*out = t->b;
	return TR_OK;
}
