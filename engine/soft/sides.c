/* SPDX-License-Identifier: ISC */
/* sides.c: in which part of the fixed place (direct.h) an instruction's accesses are, if in any.
 *
 * When a block is translated, the registers that its addresses are made of hold what they are about to hold: that tells most. Where it
 * told wrong, the access's stub runs again and again, and calls; then the block is made anew, and what was seen is known by
 * where the instruction is in the guest's memory. */
#include "engine/soft/sides.h"

#include "base/str.h"
#include "engine/soft/enter.h"
#include "engine/soft/view.h"

/* Runs of a stub after which its access is made otherwise: that takes as long as some thousand of them. */
#define FEW_RUNS 128u
/* So many instructions, and a filter says too much. */
#define MANY (SIDES_BITS / 16u)

/* ---- what has been seen ---------------------------------------------------------------------------- */

static uint32_t bit_of(gpa_t place)
{
	return (uint32_t)(place * UINT64_C(0x9e3779b97f4a7c15) >> 40) % SIDES_BITS;
}

static bool is_said(const struct tr *t, enum sides_said what, unsigned n)
{
	return bit_get(soft_direct_sides(t->sv)->said[what], bit_of(sides_place(t->b, t->off[n])));
}

bool sides_is_never(const struct tr *t, unsigned n)
{
	return is_said(t, SIDES_NEVER, n);
}

static void say(struct sides *s, enum sides_said what, gpa_t place)
{
	if (bit_get(s->said[what], bit_of(place)))
		return;
	if (++s->n[what] > MANY) {
		memset(s->said[what], 0, sizeof(s->said[what]));
		s->n[what] = 1;
	}
	bit_set(s->said[what], bit_of(place));
}

void soft_sides_say(struct soft_vcpu *v, struct soft_block *b, gpa_t place, enum sides_said what)
{
	plat_mutex_lock(&v->sv->lock);
	say(soft_direct_sides(v->sv), what, place);
	if (!b->dead)
		soft_block_drop(v->sv, b);
	plat_mutex_unlock(&v->sv->lock);
	v->stats.direct_anew++;
}

/* The stub of the access at site has run for ea a few times: the other part's, or neither's. */
const uint8_t *soft_on_side(struct soft_vcpu *v, uint32_t site, uint64_t ea)
{
	struct soft_cache *c = v->sv->cache;
	struct soft_block *b = &c->block[site_block(site)];
	const struct soft_site *s = &c->site[b->sites + site_insn(site)];
	uint32_t id = (uint32_t)(v->direct_site >> 32) % DIRECT_SITES;
	gpa_t rip = sides_place(b, s->guest);

	v->direct_left[id] = FEW_RUNS;
	if (v->direct_whose[id] != rip) {
		v->direct_whose[id] = rip;
		return soft_rx(c, b->code + s->host);
	}
	v->direct_whose[id] = 0;
	if (direct_side(ea) == DIRECT_IS_LOW)
		soft_direct_sides(v->sv)->low = true;
	soft_sides_say(v, b, rip, direct_side(ea) == DIRECT_NOT ? SIDES_NEVER : SIDES_EITHER);
	v->cpu.s.rip = soft_to_rip(v, soft_rip(v, b) + s->guest);
	return soft_next(v);
}

/* ---- before anything has been seen -------------------------------------------------------------------- */

/* What the register holds, if it is what it was when the block began, as it is about to. RSP moves a little only. */
static bool value_of(const struct tr *t, int reg, uint64_t *value)
{
	if (t->written >> reg & 1 && reg != RSP)
		return false;
	*value = t->v->cpu.s.gpr[reg];
	return true;
}

/* Where the address is about to be; DIRECT_NOT: not known */
static enum direct_side guess(const struct tr *t, enum tr_access which)
{
	const struct insn_mem *m = &t->insn[t->i].mem;
	uint64_t base = 0, index = 0;

	if (which == ACCESS_STACK)
		value_of(t, RSP, &base);
	else if (m->seg == FS || m->seg == GS)
		base = t->v->cpu.s.seg[m->seg].base;
	else if (m->rip_rel)
		base = t->first_base + t->rip;
	else if (m->base >= 0 && !value_of(t, m->base, &base))
		return DIRECT_NOT;
	else if (m->index >= 0 && value_of(t, m->index, &index))
		base += index * m->scale + (uint64_t)m->disp;
	return direct_side(base);
}

enum direct_side sides_guess(const struct tr *t, enum tr_access which)
{
	enum direct_side side;

	if (is_said(t, SIDES_EITHER, t->i))
		return DIRECT_IS_EITHER;
	side = guess(t, which);
	if (side == DIRECT_NOT)
		side = soft_direct_sides(t->sv)->low ? DIRECT_IS_EITHER : DIRECT_IS_HIGH;
	return side;
}
