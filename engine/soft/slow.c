/* SPDX-License-Identifier: ISC */
/* slow.c: what translated code calls for: TLB misses, instructions of the interpreter, jumps that are
 * not resolved yet, polls.
 *
 * On the vCPU's own thread, the guest's registers in s, s.rip not current. While a helper holds
 * addresses of code, the cache is not emptied; soft_next() is always the last thing called. */
#include "base/str.h"
#include "engine/soft/block.h"
#include "engine/soft/enter.h"
#include "engine/soft/tlb.h"
#include "x86/interp.h"

#define FP_ATTRS (AT_X87 | AT_MMX | AT_SSE | AT_AVX | AT_AVX512 | AT_HOSTX)

static struct soft_block *block_of(struct soft_vcpu *v, uint32_t site)
{
	return &v->sv->cache->block[site_block(site)];
}

/* The instruction's bytes as they are in memory now. */
static bool decode_at(struct soft_vcpu *v, const struct soft_block *b, uint32_t off,
		      struct insn *in)
{
	uint8_t buf[INSN_MAX];
	gpa_t gpa = block_gpa(b) + off, gpa2 = (gpa_t)b->page[1] << PAGE_SHIFT;
	size_t len = MIN((size_t)(b->len - off), (size_t)INSN_MAX);
	size_t first = MIN(len, (size_t)(PAGE_SIZE - (gpa & PAGE_MASK)));

	if (mem_read(v->sv->vm, gpa, buf, first))
		return false;
	if (first < len && mem_read(v->sv->vm, gpa2, buf + first, len - first))
		return false;
	return cpu_decode(&v->cpu, buf, len, mode_bytes(b->mode), in) == DECODE_OK;
}

/* Nothing has happened that the block doesn't know of. rip, cs: as they are if it has come to the next instruction; the
 * handler of a fault may have that offset in another segment. */
static bool may_resume(struct soft_vcpu *v, const struct soft_block *b, uint64_t rip, uint64_t cs)
{
	const struct x86_state *s = &v->cpu.s;

	if (v->mode_dirty)
		soft_refresh_mode(v);
	return s->rip == rip && s->seg[CS].base == cs && !b->dead && v->mode == block_mode(b) &&
	       !s->shadow && !v->cpu.i.pending && !v->look && !v->cpu.hit.kind &&
	       !(v->irq_waits && (s->rflags & FL_IF)) &&
	       !atomic_load_explicit(&v->poll, memory_order_relaxed);
}

/* The same, from what was decoded before: until it dies, a block's bytes are as they were. NULL: it is not that
 * instruction any more. */
static const struct insn *decoded(struct soft_vcpu *v, const struct soft_block *b, uint32_t site,
				  uint32_t off)
{
	uint32_t key = (site & (SITE_WRITE - 1)) + 1, generation = v->sv->cache->generation;
	struct soft_decoded *d = &v->decoded[(key ^ key >> SITE_INSN_SHIFT) % DECODED];

	if (likely(d->key == key && d->generation == generation && !b->dead))
		return &d->in;
	d->key = 0;
	if (!decode_at(v, b, off, &d->in))
		return NULL;
	if (!b->dead) {
		d->key = key;
		d->generation = generation;
	}
	return &d->in;
}

/* Instructions that copy all of the FP state, or say what of it is in use, and so use no FP registers to be carried out
 */
static bool saves_state(const struct insn *in)
{
	return in->mnem == I_FXSAVE || in->mnem == I_XSAVE || in->mnem == I_XSAVEOPT ||
	       in->mnem == I_XSAVEC || in->mnem == I_XSAVES || in->mnem == I_XGETBV;
}

static bool loads_state(const struct insn *in)
{
	return in->mnem == I_FXRSTOR || in->mnem == I_XRSTOR || in->mnem == I_XRSTORS;
}

static enum cpu_step exec(struct soft_vcpu *v, const struct insn *in)
{
	enum cpu_step st;

	v->by_mnem[in->mnem]++;
	v->exec_mnem = in->mnem;
	if (saves_state(in) || loads_state(in))
		soft_fpu_save(v);
	else if (in->row->attr & FP_ATTRS)
		soft_fpu_park(v);
	st = cpu_exec(&v->cpu, in);
	if (saves_state(in))
		soft_fpu_unsave(v);
	return st;
}

const uint8_t *soft_exec_site(struct soft_vcpu *v, uint32_t site)
{
	struct soft_block *b = block_of(v, site);
	const struct soft_site *s = &v->sv->cache->site[b->sites + site_insn(site)];
	bool last = site_insn(site) + 1u == b->n_insns, faulted = v->faulted;
	const struct insn *in = decoded(v, b, site, s->guest);
	enum cpu_step st;
	uint64_t rip, cs = v->cpu.s.seg[CS].base;

	v->faulted = false;
	v->stats.exec++;
	rip = soft_to_rip(v, soft_rip(v, b));
	v->cpu.s.rip = rip + s->guest;
	if (in) {
		st = exec(v, in);
	} else {
		soft_fpu_park(v);
		st = cpu_step(&v->cpu);
	}
	soft_stored(v);
	/* The registers that a loop's rounds need are lost; so is a group's addend where the instruction was translated. */
	if (likely(st == STEP_OK) && !faulted && !b->loop && !(last && b->ends) &&
	    may_resume(v, b, rip + s[1].guest, cs)) {
		soft_fpu_load(v);
		return soft_rx(v->sv->cache, b->code + s[1].host);
	}
	soft_after_step(v, st);
	return soft_next(v);
}

const uint8_t *soft_on_exec(struct soft_vcpu *v, uint32_t site, uint64_t ea)
{
	return soft_exec_site(v, site);
}

/* An access that missed: may it be tried again? again: it has just been, so that its operands evict
 * each other. */
static bool refill(struct soft_vcpu *v, uint64_t ea, uint32_t size, bool write, bool again)
{
	if ((ea & PAGE_MASK) + size > PAGE_SIZE) {
		v->stats.miss_cross++;
		return false;
	}
	if (again) {
		v->stats.miss_again++;
		return false;
	}
	return soft_tlb_fill(v, ea, write);
}

/* Is this an instruction whose opmask chooses nothing of its operand, so that no page is accessed? A and D
 * would show it. */
static bool accesses_nothing(struct soft_vcpu *v, const struct soft_block *b, uint32_t site)
{
	const struct soft_site *s = &v->sv->cache->site[b->sites + site_insn(site)];
	const struct insn *in = decoded(v, b, site, s->guest);

	if (!in || !insn_masks_memory(in) || insn_touches_all(&v->cpu, in))
		return false;
	soft_fpu_park(v);
	return !evex_elements(&v->cpu, in, insn_mem_opnd(in));
}

/* Does the instruction fault for where its operand is? Then it must not set D. In a block that is dead by now it may
 * have become one without. */
static bool astray(struct soft_vcpu *v, const struct soft_block *b, uint32_t site, uint64_t ea)
{
	const struct soft_site *s = &v->sv->cache->site[b->sites + site_insn(site)];
	const struct insn *in = decoded(v, b, site, s->guest);
	const struct insn_opnd *m = in ? insn_mem_opnd(in) : NULL;

	return m && insn_aligns(in, v->cpu.i.amd) && ea & (m->size - 1u);
}

const uint8_t *soft_on_slow(struct soft_vcpu *v, uint32_t site, uint64_t ea)
{
	struct soft_block *b = block_of(v, site);
	uint32_t size = 1u << (site >> SITE_SIZE_SHIFT);
	const uint8_t *code;

	v->stats.slow++;
	if (site & SITE_WRITE) {
		v->store_off = ea & PAGE_MASK;
		v->store_size = MAX(size, 8u);
	}
	if (!(unlikely(b->masked) && accesses_nothing(v, b, site)) &&
	    !(size >= 16 && ea & (size - 1) && astray(v, b, site, ea)) &&
	    refill(v, ea, size, site & SITE_WRITE, site == v->last_retry && ea == v->last_ea) &&
	    !b->dead) {
		soft_fpu_load(v);
		v->last_retry = site;
		v->last_ea = ea;
		code = soft_rx(v->sv->cache,
			       b->code + v->sv->cache->site[b->sites + site_insn(site)].host);
	} else {
		v->last_ea = ~ea;
		code = soft_exec_site(v, site);
	}
	v->store_size = 0;
	return code;
}

/* The instruction that a group's exit stands for: its site; its code */
static uint32_t head_site(const struct soft_cache *c, const struct soft_exit *e)
{
	const struct soft_site *s = &c->site[c->block[e->from].sites];
	unsigned n = 0;

	while (s[n].guest != e->target)
		n++;
	return e->from | n << SITE_INSN_SHIFT;
}

static const uint8_t *head_code(const struct soft_cache *c, const struct soft_exit *e)
{
	const struct soft_block *b = &c->block[e->from];

	return soft_rx(c, b->code + c->site[b->sites + site_insn(head_site(c, e))].host);
}

static bool head_astray(struct soft_vcpu *v, const struct soft_exit *e)
{
	const struct soft_cache *c = v->sv->cache;
	const struct soft_block *b = &c->block[e->from];
	uint32_t site = head_site(c, e);
	const struct insn *in = decoded(v, b, site, c->site[b->sites + site_insn(site)].guest);
	unsigned seg = in ? in->mem.seg : DS;
	uint64_t base = seg == FS || seg == GS ? v->cpu.s.seg[seg].base : 0;

	return in && astray(v, b, site, base + cpu_ea(&v->cpu, in));
}

/* The probe of a group's head has failed; ea: the span's start. Tries again when the page could be
 * entered, else goes on without groups, from now on directly. Or a loop's check has: goes on without. */
const uint8_t *soft_on_group(struct soft_vcpu *v, uint32_t exit, uint64_t ea)
{
	struct soft_vm *sv = v->sv;
	struct soft_cache *c = sv->cache;
	struct soft_exit *e = &c->exit[exit];
	struct soft_block *from = &c->block[e->from], *to;
	bool write = e->span & EXIT_WRITE, global;
	uint32_t size = e->span & ~(uint32_t)(EXIT_WRITE | EXIT_ALIGN), generation = c->generation;
	bool again = v->last_group == exit && v->last_ea == ea;

	v->stats.slow++;
	if (unlikely(e->span & EXIT_ALIGN) && head_astray(v, e))
		return soft_exec_site(v, head_site(c, e));
	if (size && refill(v, ea, size, write, again) && !from->dead) {
		v->last_group = exit;
		v->last_ea = ea;
		return head_code(c, e);
	}
	v->last_ea = ~ea;
	v->cpu.s.rip = soft_to_rip(v, soft_rip(v, from) + (uint64_t)(int64_t)e->target);
	if (unlikely(atomic_load(&v->poll)))
		return soft_next(v);
	to = soft_find_block(v, v->mode | MODE_PLAIN, &global);
	if (!to)
		return soft_next(v);
	v->vbase = soft_linear(v) & ~PAGE_MASK;
	plat_mutex_lock(&sv->lock);
	if (c->generation == generation && !from->dead && !to->dead && !e->to &&
	    block_alike(from, to))
		soft_link(sv, e, to);
	plat_mutex_unlock(&sv->lock);
	return soft_rx(c, to->code);
}

const uint8_t *soft_on_poll(struct soft_vcpu *v, uint32_t site, uint64_t ea)
{
	v->cpu.s.rip = soft_to_rip(v, soft_rip(v, block_of(v, site)));
	return soft_next(v);
}

/* A call that is not to have happened: what it has stored is the interpreter's to store, or not, and may be where the
 * target comes from. */
static void take_back_call(struct soft_vcpu *v)
{
	struct cpu *cpu = &v->cpu;
	struct cpu_exc exc = cpu->exc;

	if (lin_write(cpu, cpu->s.gpr[RSP], 8, at_user(cpu), v->tmp[1]))
		cpu->exc = exc; /* another processor has changed the tables since */
	cpu->s.gpr[RSP] += 8;
}

/* The jump at site went where none may go: it faults, as if it had not moved RSP. */
static const uint8_t *jump_faults(struct soft_vcpu *v, uint32_t site)
{
	struct soft_block *b = block_of(v, site);
	uint32_t off = v->sv->cache->site[b->sites + site_insn(site)].guest;
	struct insn in;

	if (decode_at(v, b, off, &in)) {
		if (in.row->cls == CLS_CALL_IND)
			take_back_call(v);
		else if (in.row->cls == CLS_RET)
			v->cpu.s.gpr[RSP] -= 8 + (in.n_opnd ? in.imm & 0xffff : 0);
	}
	return soft_exec_site(v, site);
}

const uint8_t *soft_on_miss(struct soft_vcpu *v, uint32_t site, uint64_t rip)
{
	if (unlikely(!is_canonical(&v->cpu, rip)) && site != SITE_NONE)
		return jump_faults(v, site);
	v->cpu.s.rip = soft_to_rip(v, rip);
	return soft_next(v);
}

const uint8_t *soft_on_exit(struct soft_vcpu *v, uint32_t exit, uint64_t ea)
{
	struct soft_vm *sv = v->sv;
	struct soft_cache *c = sv->cache;
	struct soft_exit *e = &c->exit[exit];
	struct soft_block *from = &c->block[e->from], *to;
	uint32_t generation = c->generation;
	bool global;

	v->stats.exits++;
	v->cpu.s.rip = soft_to_rip(v, soft_rip(v, from) + (uint64_t)(int64_t)e->target);
	if (unlikely(atomic_load(&v->poll)))
		return soft_next(v);
	plat_mutex_lock(&sv->lock);
	to = soft_find_near(v, from);
	if (to && !e->to && block_alike(from, to)) {
		soft_link(sv, e, to);
		v->stats.links++;
	}
	plat_mutex_unlock(&sv->lock);
	if (to) {
		v->vbase = soft_linear(v) & ~PAGE_MASK;
		return soft_rx(c, to->code);
	}
	to = soft_find_block(v, v->mode, &global);
	if (to && c->generation == generation) {
		plat_mutex_lock(&sv->lock);
		/* A target whose last instruction crosses depends on another page's mapping. */
		if (from->dead || to->dead || e->to || !block_alike(from, to)) {
			/* not for long */
		} else if (block_crosses(to)) {
			soft_link_far(sv, e);
		} else if (from->page[0] == to->page[0]) {
			soft_link(sv, e, to);
			v->stats.links++;
		}
		plat_mutex_unlock(&sv->lock);
	}
	return soft_next(v);
}

const uint8_t *soft_on_tgt(struct soft_vcpu *v, uint32_t tgt, uint64_t ea)
{
	struct soft_vm *sv = v->sv;
	struct soft_cache *c = sv->cache;
	uint32_t generation = c->generation;
	struct soft_block *to;
	bool global;

	v->stats.tgts++;
	v->cpu.s.rip = soft_to_rip(v, c->tgt[tgt].rip);
	if (unlikely(atomic_load(&v->poll)))
		return soft_next(v);
	to = soft_find_block(v, v->mode, &global);
	if (to && c->generation == generation && block_mode(to) == c->tgt[tgt].mode &&
	    soft_linear(v) == c->tgt[tgt].rip) {
		plat_mutex_lock(&sv->lock);
		if (!to->dead)
			soft_jumps_fill_tgt(v, tgt, to, global);
		plat_mutex_unlock(&sv->lock);
	}
	return soft_next(v);
}
