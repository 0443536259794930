/* SPDX-License-Identifier: ISC */
/* memo.c: the page that an access found last.
 *
 * In busy code (hot.c) probes that may change the flags have a memo: ntag and addend as in the
 * TLB's entries, at a place that is known when the code is made. mov 16(%rbx),%rax becomes
 *
 *	lea	16+MEMO_BIAS(%rbx),%r11
 *	add	%gs:memo.ntag,%r11	offset in the page if this is the page
 *	cmp	%gs:memo.limit,%r11	4089
 *	jae	stub			probes as others do, and copies the entry
 *	mov	%gs:memo.addend,%r11
 *	mov	16-12(%rbx,%r11),%rax	TLB_BIAS
 *
 * which is shorter, and the address waits for no load whose place depends on it. An access whose page
 * changes often is better off without: stubs count, and where one has run many times its block is made again, with
 * code that counts how often the memo is used. Then it is known whether it is worth it. A loop's (loop.c) is where it
 * runs too often in too short a time. Memos are as good as the TLB that they come from, and end when anything
 * is taken out of that. Which ends all of a view's: they are few. */
#include "engine/soft/memo.h"

#include "base/str.h"
#include "engine/soft/emit.h"
#include "engine/soft/span.h"
#include "engine/soft/view.h"

/* Runs of a stub, and the host's cycles in which they are too many: a stub and the jump to it that was
 * not foreseen take some 25. In eight times that the memo gets more than a page, so many times at most. */
#define MEMO_RUNS   1024u
#define MEMO_CYCLES (MEMO_RUNS * 128u)
#define MEMO_TRIES  4u
/* Of a memo in question: runs of its stub until it is decided, and for how many uses a run, which costs some 45 cycles
 * with the jump, is not too much. A use saves about three. */
#define ASKED_RUNS 64u
#define MEMO_WORTH 16u
/* Cycles before memos are given out anew: about a second */
#define MEMO_ROUND (UINT64_C(1) << 31)
/* A filter says too much when it holds that many. */
#define FILTER_MAX (FILTER_BITS / 64u)

/* memo_asks besides the memo's number */
#define ASK_SIZE_SHIFT 16

/* Empty memos are zeroes, and hit for nothing: no offset is below the limit. */
#define MEMO_BIAS (1 << 30)

#define MEMO(m, field)                                                                  \
	(int32_t)(GS_MEMO((m)->user, (m)->write) + (m)->id * sizeof(struct soft_memo) + \
		  offsetof(struct soft_memo, field))

/* Accesses of up to so many bytes have these memos. The first ones that ask get them; after a while they are given
 * out anew, to code that is hot then, though older code may still have them too: so a limit must be good for all. */
static const struct {
	uint16_t size, first, n;
} classes[MEMO_CLASSES] = {
	{8, 1, 640}, {16, 641, 128}, {32, 769, 64}, {64, 833, 128}, {256, 961, 63}};
_Static_assert(961 + 63 == MEMOS, "classes");

static unsigned class_of(uint32_t size)
{
	unsigned k = 0;

	while (classes[k].size < size)
		k++;
	return k;
}

uint32_t memo_size(uint32_t size)
{
	return classes[class_of(size)].size;
}

/* Offsets in so many bytes are below that for accesses of that size. */
static uint64_t limit_in(uint64_t bytes, uint32_t size)
{
	return bytes - memo_size(size) + 1;
}

static int32_t left_of(const struct tr_memo *m)
{
	return GS_OFF(memo_left[m->write]) + m->id * 4;
}

/* ---- probes ---------------------------------------------------------------------------------- */

static uint32_t filter_bit(uint64_t rip)
{
	return (uint32_t)(rip * UINT64_C(0x9e3779b97f4a7c15) >> 32) % FILTER_BITS;
}

static bool is_said(const struct soft_cache *c, enum soft_said what, uint64_t rip)
{
	return bit_get(c->said[what].bits, filter_bit(rip));
}

static bool is_asked(const struct soft_cache *c, uint64_t rip)
{
	return is_said(c, MEMO_ASKED, rip) && !is_said(c, MEMO_WORTHY, rip);
}

static bool memo_left(struct soft_cache *c, unsigned k)
{
	if (c->n_memos[k] < classes[k].n)
		return true;
	if (vcpu_ticks() - c->memos_since[k] < MEMO_ROUND)
		return false;
	c->memos_since[k] = vcpu_ticks();
	c->n_memos[k] = 0;
	return true;
}

bool memo_wanted(const struct tr *t, const struct tr_memo *m)
{
	return t->mode & MODE_BUSY && !m->spares && !insn_is_atomic(&t->insn[t->i]) &&
	       t->n_memos < MEMOS_MAX && t->sv->bmi2 && !t->sv->cfg.no_memos &&
	       m->disp < MEMO_BIAS && m->disp > -MEMO_BIAS &&
	       !is_said(t->c, MEMO_FICKLE, t->rip + t->off[t->i]) &&
	       memo_left(t->c, class_of(m->size));
}

struct tr_memo *memo_take(struct tr *t, const struct tr_memo *memo)
{
	struct tr_memo *m = &t->memo[t->n_memos];
	unsigned k = class_of(memo->size);

	/* memo_wanted() may have been asked for several at once: for fewer than there are. */
	if (t->c->n_memos[k] == classes[k].n)
		t->c->n_memos[k] = 0;
	*m = *memo;
	m->id = (uint16_t)(classes[k].first + t->c->n_memos[k]++);
	BUG_ON(m->id >= MEMOS);
	t->c->top_memos[k] = MAX(t->c->top_memos[k], t->c->n_memos[k]);
	tr_stub(t, STUB_MEMO, NULL, t->n_memos++);
	m->counts = !t->loop.n && is_asked(t->c, t->rip + t->off[t->i]);
	return m;
}

void memo_check(struct tr *t, struct tr_memo *m)
{
	struct asm_buf *a = &t->a;

	asm_lea(a, 8, T1, m->base, -1, 1, m->disp + MEMO_BIAS);
	asm_gs(a, OPC_ADD, 8, T1, -1, MEMO(m, ntag));
	line_jump(t, 15);
	asm_gs(a, OPC_CMP, 8, T1, -1, MEMO(m, limit));
	m->miss = asm_jcc(a, CC_AE, NULL);
}

void memo_addend(struct tr *t, const struct tr_memo *m)
{
	asm_ld_gs(&t->a, T1, MEMO(m, addend));
}

void memo_room(struct tr *t, const struct tr_memo *m, bool down)
{
	if (down) {
		asm_mov_rr(&t->a, T0, T1);
		return;
	}
	asm_ld_gs(&t->a, T0, MEMO(m, limit));
	asm_rr(&t->a, OPC_SUB, 8, T0, T1);
	asm_lea(&t->a, 8, T0, T0, -1, 1, -1);
}

void memo_probe(struct tr *t, const struct tr_memo *memo)
{
	struct tr_memo *m = memo_take(t, memo);

	if (m->counts)
		asm_add_gs_i8(&t->a, GS_OFF(memo_uses[m->write]) + m->id * 4, 1);
	memo_check(t, m);
	memo_addend(t, m);
	m->back = t->a.p;
	if (m->source >= 0)
		flags_again(t, m->source);
}

/* ---- stubs ----------------------------------------------------------------------------------- */

/* To soft_on_memo() */
static void ask(struct tr *t, const struct tr_memo *m)
{
	asm_mov_ri(&t->a, T2, m->id | m->size << ASK_SIZE_SHIFT);
	asm_st_gs(&t->a, T2, GS_OFF(memo_asks));
	asm_mov_ri(&t->a, T2, m->site);
	asm_jmp(&t->a, t->c->code.rw + t->c->t_memo);
}

/* T1: the addend */
static void fill(struct tr *t, const struct tr_memo *m, unsigned ntag)
{
	asm_st_gs(&t->a, ntag, MEMO(m, ntag));
	asm_st_gs(&t->a, T1, MEMO(m, addend));
	asm_mov_ri(&t->a, ntag, limit_in(PAGE_SIZE, m->size));
	asm_st_gs(&t->a, ntag, MEMO(m, limit));
	asm_st_gs(&t->a, T1, (int32_t)GS_MEMO(m->user, m->write)); /* not empty any more */
}

void memo_stub(struct tr *t, unsigned n)
{
	const struct tr_memo *m = &t->memo[n];
	struct asm_buf *a = &t->a;
	uint8_t *none;

	asm_patch32(m->miss, a->p);
	if (m->base != T0)
		asm_lea(a, 8, T0, m->base, -1, 1, m->disp);
	asm_rorx(a, T1, T0, PAGE_SHIFT);
	asm_movzx16(a, T1, T1);
	asm_mov_rr(a, T2, T0);
	asm_gs(a, OPC_ADD, 8, T2, T1, (int32_t)GS_NTAG(t->ctx, m->write));
	asm_alu_ri(a, 7, 8, T2, (int32_t)(PAGE_SIZE - m->size));
	tr_stub(t, m->kind, asm_jcc(a, CC_A, NULL), m->arg)->flags = m->source;
	asm_gs(a, OPC_LOAD, 8, T1, T1, (int32_t)GS_ADDEND(t->ctx, m->write));
	asm_rr(a, OPC_SUB, 8, T2, T0);
	asm_lea(a, 8, T2, T2, -1, 1, -MEMO_BIAS);
	fill(t, m, T2);
	asm_gs(a, OPC_LOAD, 4, T2, -1, left_of(m));
	asm_alu_ri(a, 5, 4, T2, 1);
	none = asm_jcc(a, CC_B, NULL);
	asm_gs(a, OPC_STORE, 4, T2, -1, left_of(m));
	asm_jmp(a, m->back);
	asm_patch32(none, a->p);
	if (m->source >= 0)
		flags_again(t, m->source);
	ask(t, m);
}

/* ---- what stubs ask, and the end --------------------------------------------------------------- */

static struct soft_memo *memos_of(uint8_t *gs, bool user, bool write)
{
	return (void *)(gs + GS_MEMO(user, write));
}

/* More than the page: of the pages around ea that the TLB has as well, those that are so in the host. */
static void widen(struct soft_vcpu *v, struct soft_memo *m, gva_t ea, bool write, uint32_t asks)
{
	uint64_t bytes;
	gva_t from;
	hva_t host = soft_extent(v, ea, write, &from, &bytes);

	if (!host || bytes <= PAGE_SIZE)
		return;
	*m = (struct soft_memo){.ntag = -from - MEMO_BIAS,
				.addend = (uint64_t)host - from + TLB_BIAS,
				.limit = limit_in(bytes, asks >> ASK_SIZE_SHIFT)};
	memos_of(v->view->gs, MODE_IS_USER(v->mode), write)->ntag = 1;
}

static void say(struct soft_cache *c, enum soft_said what, uint64_t rip)
{
	struct soft_filter *f = &c->said[what];

	if (++f->n > FILTER_MAX)
		*f = (struct soft_filter){.n = 1};
	bit_set(f->bits, filter_bit(rip));
}

/* The block is made again: the instruction at site has another memo, or none. */
static void make_anew(struct soft_vcpu *v, struct soft_block *b, const struct soft_site *site,
		      enum soft_said what)
{
	v->stats.memos_fickle += what == MEMO_FICKLE;
	v->cpu.s.rip = soft_to_rip(v, soft_rip(v, b) + (b->loop ? 0 : site->guest));
	say(v->sv->cache, what, b->rip + site->guest);
	if (!b->dead)
		soft_block_drop(v->sv, b);
}

/* False: its block stays as it is. The lock is held. */
static bool decide(struct soft_vcpu *v, struct soft_block *b, const struct soft_site *s,
		   uint32_t uses, uint64_t since)
{
	const struct soft_cache *c = v->sv->cache;
	uint64_t guest = b->rip + s->guest;
	uint32_t runs = v->sv->cfg.memo_runs;
	uint32_t few = (runs ? runs : ASKED_RUNS) * MEMO_WORTH;

	if (b->loop) {
		if (since > MEMO_CYCLES && !runs)
			return false;
		make_anew(v, b, s, MEMO_FICKLE);
	} else if (is_asked(c, guest)) {
		make_anew(v, b, s, uses < few ? MEMO_FICKLE : MEMO_WORTHY);
	} else if (!is_said(c, MEMO_WORTHY, guest)) {
		make_anew(v, b, s, MEMO_ASKED);
	} else {
		return false;
	}
	return true;
}

const uint8_t *soft_on_memo(struct soft_vcpu *v, uint32_t site, uint64_t ea)
{
	struct soft_vm *sv = v->sv;
	struct soft_cache *c = sv->cache;
	struct soft_block *b = &c->block[site_block(site)];
	const struct soft_site *s = &c->site[b->sites + site_insn(site)];
	bool write = site & SITE_WRITE, asked, anew;
	uint32_t asks = (uint32_t)v->memo_asks, id = asks % MEMOS, runs = sv->cfg.memo_runs;
	struct soft_memo *m = memos_of(v->view->gs, MODE_IS_USER(v->mode), write) + id;
	uint8_t *tries = &v->memo_tries[write][id];
	uint64_t *whose = &v->memo_whose[write][id], guest = b->rip + s->guest;
	uint64_t now = vcpu_ticks(), since = now - v->memo_asked[write][id];
	bool fast = since <= MEMO_CYCLES * 8;
	const uint8_t *again = soft_rx(c, b->code + (b->loop ? 0 : s->host));

	plat_mutex_lock(&sv->lock);
	asked = !b->loop && is_asked(c, guest);
	plat_mutex_unlock(&sv->lock);
	v->memo_asked[write][id] = now;
	v->memo_left[write][id] = runs ? runs : asked ? ASKED_RUNS : MEMO_RUNS;
	if (*whose != guest) { /* before it was another's */
		*whose = guest;
		v->memo_uses[write][id] = 0;
		*tries = 0;
		return again;
	}
	if (!asked && (fast || runs) && *tries < MEMO_TRIES) {
		++*tries; /* also where there is no time for a mirror now */
		widen(v, m, ea, write, asks);
		return again;
	}
	plat_mutex_lock(&sv->lock);
	anew = decide(v, b, s, v->memo_uses[write][id], since);
	plat_mutex_unlock(&sv->lock);
	if (!anew) {
		*tries = fast ? *tries : 0;
		return again;
	}
	*whose = 0;
	return soft_next(v);
}

static void end(const struct soft_cache *c, struct soft_memo *memos)
{
	if (!memos->ntag)
		return;
	memos->ntag = 0;
	for (unsigned k = 0; k < MEMO_CLASSES; k++)
		memset(memos + classes[k].first, 0, c->top_memos[k] * sizeof(*memos));
}

void soft_memos_end(struct soft_vcpu *v, struct soft_view *view, bool write)
{
	uint8_t *gs = view ? view->gs : v->view->gs;

	end(v->sv->cache, memos_of(gs, view, write));
}

void soft_memos_end_all(struct soft_vcpu *v, bool reads)
{
	for (unsigned write = !reads; write < 2; write++) {
		soft_memos_end(v, NULL, write);
		for (unsigned i = 0; i < v->n_views; i++)
			soft_memos_end(v, &v->views[i], write);
	}
}
