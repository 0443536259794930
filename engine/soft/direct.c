/* SPDX-License-Identifier: ISC */
/* direct.c: one address space's user pages, mapped where the host's own tables translate them.
 *
 * A process that computes has its pages at a fixed distance from where the guest has them: two places of the host's
 * address space are kept free for that. Its code (MODE_DIRECT, emit_direct.c) only looks whether an address lies in one of
 * the two, and faults in hardware where no page is: then the page is looked up in the guest's tables and mapped,
 * read-only until it is written, as the tables' D wants it; or else the interpreter finds the guest's fault.
 * One address space has the place at a time, of all vCPUs: the one that interrupts find, until it is not found any more.
 *
 * What is mapped is like entries of a TLB of each vCPU: it may be as old as the vCPU's last flush. Flushes are
 * noted, and before user code runs again the pages that they concern are looked up again: mostly they are where they were.
 * Marks of pages whose stores must be seen (PGF_CODE, PGF_RO) take the right to write at once (soft_tlb_drop_writes()). */
#include "engine/soft/direct.h"

#include "base/str.h"
#include "engine/soft/block.h"
#include "engine/soft/enter.h"
#include "engine/soft/placed.h"
#include "engine/soft/sides.h"
#include "engine/soft/tlb.h"
#include "engine/soft/view.h"
#include "x86/interp.h"

#define RUN 16u /* pages mapped at once, where they follow each other in both */

/* Samples after which an address space gets the place, and for which its last one keeps it */
#define WANTED 3u
#define KEPT   16u
/* Where it is always the one that runs: of so many times, as several vCPUs would only take it from each other */
#define TURNS 256u
/* Cycles that the mappings may take before they must be worth it, and then the part of the time */
#define FREE_CYCLES (UINT64_C(1) << 27)
#define SHARE       8u

struct soft_direct {
	struct plat_mutex lock;   /* RANK_LEAF: what is mapped */
	_Atomic uint64_t owner;   /* base of the address space | 1; 0: none */
	_Atomic uint32_t turn;    /* grows with each owner, while no vCPU runs user code */
	_Atomic bool large;       /* some is of the guest's large pages, which go as one */
	_Atomic uint64_t flushes; /* seen to */
	uint64_t wanted, banned;  /* who asks; who got too little from it */
	uint32_t n_wanted, sample, owner_seen;
	uint64_t since, spent; /* cycles */
	struct sides sides;
	struct placed placed;
};

#define DIRECT_BYTES ALIGN_UP(sizeof(struct soft_direct), (size_t)PAGE_SIZE)

void soft_direct_create(struct soft_vm *sv)
{
	struct soft_direct *d;

	if (sv->direct || !sv->bmi2 || sv->cfg.interp || sv->cfg.directly == SOFT_DIRECT_NEVER ||
	    plat_fixed_alloc(&sv->vm->ram, DIRECT_FIRST, DIRECT_SIZE))
		return;
	d = plat_pages_alloc(DIRECT_BYTES);
	if (!d) {
		plat_fixed_free(DIRECT_FIRST, DIRECT_SIZE);
		return;
	}
	plat_mutex_init(&d->lock, RANK_LEAF);
	d->placed.ram = &sv->vm->ram;
	sv->direct = d;
}

void soft_direct_destroy(struct soft_vm *sv)
{
	if (!sv->direct)
		return;
	if (!sv->direct->placed.lost)
		plat_fixed_free(DIRECT_FIRST, DIRECT_SIZE);
	plat_pages_free(sv->direct, DIRECT_BYTES);
	sv->direct = NULL;
}

/* ---- pages for the guest's ------------------------------------------------------------------------- */

static uint64_t space_of(const struct soft_vcpu *v)
{
	return (v->cpu.s.cr3 & UINT64_C(0xffffffffff000)) | 1;
}

/* What a restored VM has as RAM cannot be mapped twice. Pages that key 0 denies are for all others. */
static bool is_eligible(const struct soft_vcpu *v)
{
	const struct soft_direct *d = v->sv->direct;
	const struct x86_state *st = &v->cpu.s;

	return d && !d->placed.lost && d->placed.ram->fd >= 0 && !v->cpu.debug &&
	       !(st->cr4 & CR4_PKE && st->pkru & 3);
}

bool soft_direct_serves(const struct soft_vcpu *v)
{
	return is_eligible(v) &&
	       atomic_load_explicit(&v->sv->direct->owner, memory_order_relaxed) == space_of(v);
}

uint32_t soft_direct_turn(const struct soft_vm *sv)
{
	return sv->direct ? atomic_load(&sv->direct->turn) : 0;
}

/* The frame of RAM behind a host address; UINT32_MAX: none */
static uint32_t frame_of(const struct soft_vm *sv, hva_t hva)
{
	uint64_t off = (uint64_t)(hva - sv->vm->ram.hva);

	return hva && off < sv->vm->ram.size ? (uint32_t)(off >> PAGE_SHIFT) : UINT32_MAX;
}

static bool has_flag(struct soft_vm *sv, gpa_t gpa, uint8_t flag)
{
	_Atomic uint8_t *flags = soft_page_flags(sv, gpa);

	return !flags || atomic_load(flags) & flag;
}

static bool may_write(struct soft_vm *sv, gpa_t gpa)
{
	return !has_flag(sv, gpa, PGF_CODE | PGF_RO);
}

/* Could such an access go there, and the guest's tables stay as they are? */
static bool is_open(struct soft_vcpu *v, const struct cpu_xlate *x, bool write)
{
	return x->user && x->accessed && (!write || (x->writable && x->dirty)) && !x->global &&
	       !x->key && !mem_is_screen(&v->sv->vm->mem, x->gpa) &&
	       (!write || may_write(v->sv, x->gpa));
}

/* Is gva at frame, and open? */
static bool as_mapped(struct soft_vcpu *v, gva_t gva, uint32_t frame, bool write)
{
	struct cpu_xlate x;

	return !cpu_walk_probe(&v->cpu, gva, &x) && is_open(v, &x, write) &&
	       frame_of(v->sv, x.hva) == frame;
}

/* How many pages from gva on, which is at frame, can be mapped with it */
static uint32_t run_of(struct soft_vcpu *v, gva_t gva, uint32_t frame, bool write)
{
	uint32_t n = 1, max = RUN - (uint32_t)(gva >> PAGE_SHIFT) % RUN;

	while (n < max && as_mapped(v, gva + n * PAGE_SIZE, frame + n, write))
		n++;
	return n;
}

static bool frame_may_be_written(struct soft_vcpu *v, uint32_t frame)
{
	gpa_t gpa;

	return soft_gpa_of(v, v->sv->vm->ram.hva + ((uint64_t)frame << PAGE_SHIFT), &gpa) &&
	       may_write(v->sv, gpa);
}

/* FOUND_FAULT: the guest's tables refuse it; FOUND_NEVER: the page is none to be mapped */
enum found { FOUND_MAPPED, FOUND_FAULT, FOUND_NEVER, FOUND_NOT_NOW };

/* Maps what is at x, and its neighbours, if no vCPU has seen to a flush since the tables were read. */
static bool enter(struct soft_vcpu *v, gva_t gva, const struct cpu_xlate *x, bool write,
		  uint64_t flushes)
{
	struct soft_direct *d = v->sv->direct;
	uint32_t frame = frame_of(v->sv, x->hva), n = run_of(v, gva, frame, write);
	bool ok = false;

	plat_mutex_lock(&d->lock);
	if (soft_direct_serves(v) && atomic_load(&d->flushes) == flushes &&
	    placed_map(&d->placed, gva, frame, n, write)) {
		/* Another vCPU may mark a page right now: either we see the mark, or the mapping is there when
		 * we hear of it. */
		atomic_thread_fence(memory_order_seq_cst);
		ok = true;
		for (uint32_t i = 0; i < n && write; i++)
			ok &= frame_may_be_written(v, frame + i);
		for (uint32_t i = 0; i < n && !ok && d->placed.live; i++)
			placed_drop(&d->placed, placed_find(&d->placed, gva + i * PAGE_SIZE));
		if (x->page_shift > PAGE_SHIFT)
			atomic_store(&d->large, true);
	}
	plat_mutex_unlock(&d->lock);
	v->stats.direct_pages += ok ? n : 0;
	return ok;
}

/* Is it a page with code, or one that devices see stores to? Asked before the walk for a store, which would take the mark away. */
static enum found is_marked(struct soft_vcpu *v, gva_t gva)
{
	struct cpu_xlate x;

	if (cpu_walk_probe(&v->cpu, gva, &x) || may_write(v->sv, x.gpa))
		return FOUND_MAPPED;
	return has_flag(v->sv, x.gpa, PGF_CODE) ? FOUND_NEVER : FOUND_NOT_NOW;
}

/* Looks the page up for such an access, and maps it. */
static enum found bring(struct soft_vcpu *v, gva_t gva, bool write)
{
	uint64_t flushes = atomic_load(&v->sv->direct->flushes);
	struct cpu_exc saved = v->cpu.exc;
	bool live = v->fpu == FPU_LIVE;
	enum found marked = FOUND_MAPPED;
	struct cpu_xlate x;
	int err;

	gva &= ~PAGE_MASK;
	if (direct_side(gva) == DIRECT_NOT)
		return FOUND_NEVER;
	if (write)
		marked = is_marked(v, gva);
	if (marked != FOUND_MAPPED)
		return marked;
	err = cpu_walk(&v->cpu, gva, write ? ACCESS_WRITE : ACCESS_READ, true, &x);
	if (unlikely(live && v->fpu != FPU_LIVE)) /* a table was a device's */
		soft_fpu_load(v);
	soft_stored(v);
	if (err) {
		v->cpu.exc = saved; /* the interpreter will find it again */
		return FOUND_FAULT;
	}
	if (frame_of(v->sv, x.hva) == UINT32_MAX || x.global || x.key ||
	    mem_is_screen(&v->sv->vm->mem, x.gpa))
		return FOUND_NEVER;
	return enter(v, gva, &x, write, flushes) ? FOUND_MAPPED : FOUND_NOT_NOW;
}

/* Maps the page if nothing of the guest's tables has to be changed for such an access. */
static void bring_known(struct soft_vcpu *v, gva_t gva, bool write)
{
	uint64_t flushes = atomic_load(&v->sv->direct->flushes);
	struct cpu_xlate x;

	if (direct_side(gva) != DIRECT_NOT && !cpu_walk_probe(&v->cpu, gva, &x) &&
	    is_open(v, &x, write) && frame_of(v->sv, x.hva) != UINT32_MAX)
		enter(v, gva, &x, write, flushes);
}

void soft_direct_drop_writes(struct soft_vm *sv, hva_t hva)
{
	struct soft_direct *d = sv->direct;
	uint32_t frame, next;

	if (!d || !d->placed.n)
		return;
	frame = frame_of(sv, hva);
	plat_mutex_lock(&d->lock);
	for (uint32_t i = placed_at_frame(&d->placed, frame); i; i = next) {
		struct placed_page *p = &d->placed.page[i - 1];

		next = p->next_frame;
		if (p->frame == frame && p->write) {
			placed_drop(&d->placed, p);
			if (!d->placed.n)
				break;
		}
	}
	plat_mutex_unlock(&d->lock);
}

/* ---- flushes --------------------------------------------------------------------------------------- */

static bool is_owned(const struct soft_vm *sv)
{
	return sv->direct && !sv->direct->placed.lost &&
	       atomic_load_explicit(&sv->direct->owner, memory_order_relaxed);
}

/* Mostly it is the kernel that flushes; what comes after that looks at the mode anyway. */
static void sync_soon(struct soft_vcpu *v)
{
	if (MODE_IS_USER(v->mode))
		v->mode_dirty = true;
}

void soft_direct_flush(struct soft_vcpu *v)
{
	if (!is_owned(v->sv))
		return;
	v->direct_all = true;
	sync_soon(v);
}

void soft_direct_flush_page(struct soft_vcpu *v, gva_t gva)
{
	if (!is_owned(v->sv) || direct_side(gva) == DIRECT_NOT)
		return;
	sync_soon(v);
	if (atomic_load(&v->sv->direct->large))
		v->direct_all = true;
	else if (v->n_direct_gone < ARRAY_SIZE(v->direct_gone))
		v->direct_gone[v->n_direct_gone++] = gva & ~PAGE_MASK;
	else
		v->direct_all = true;
}

/* Walks may come to devices: without the lock. */
static void look_again(struct soft_vcpu *v, struct placed_page was)
{
	struct soft_direct *d = v->sv->direct;
	struct placed_page *p;

	if (as_mapped(v, was.gva, was.frame, was.write))
		return;
	plat_mutex_lock(&d->lock);
	p = placed_find(&d->placed, was.gva);
	if (p && p->frame == was.frame && p->write == was.write) {
		v->stats.direct_dropped++;
		placed_drop(&d->placed, p);
	}
	plat_mutex_unlock(&d->lock);
}

static void look_at_all(struct soft_vcpu *v)
{
	struct soft_direct *d = v->sv->direct;

	for (uint32_t i = 0;; i++) {
		struct placed_page p;

		plat_mutex_lock(&d->lock);
		while (i < d->placed.n && !d->placed.page[i].used)
			i++;
		p = i < d->placed.n ? d->placed.page[i] : (struct placed_page){0};
		plat_mutex_unlock(&d->lock);
		if (!p.used)
			return;
		look_again(v, p);
	}
}

static void look_at(struct soft_vcpu *v, gva_t gva)
{
	struct soft_direct *d = v->sv->direct;
	struct placed_page copy = {0}, *p;

	plat_mutex_lock(&d->lock);
	p = placed_find(&d->placed, gva);
	if (p)
		copy = *p;
	plat_mutex_unlock(&d->lock);
	if (p)
		look_again(v, copy);
}

static void spend(struct soft_direct *d, uint64_t since)
{
	d->spent += vcpu_ticks() - since;
}

void soft_direct_sync(struct soft_vcpu *v)
{
	struct soft_direct *d = v->sv->direct;
	uint64_t begun;

	v->cpu.i.keys |= 1; /* who changes what PKRU says of that one, flushes */
	v->direct_pcid = v->cpu.s.cr3 & 0xfff;
	if (likely(!v->direct_all && !v->n_direct_gone && !v->direct_wants))
		return;
	begun = vcpu_ticks();
	if (v->direct_all || v->n_direct_gone) {
		plat_mutex_lock(&d->lock);
		atomic_fetch_add(&d->flushes, 1);
		plat_mutex_unlock(&d->lock);
	}
	if (v->direct_all)
		look_at_all(v);
	for (uint32_t i = 0; !v->direct_all && i < v->n_direct_gone; i++)
		look_at(v, v->direct_gone[i]);
	v->direct_all = false;
	v->n_direct_gone = 0;
	if (v->direct_wants)
		bring_known(v, v->direct_wants & ~PAGE_MASK, v->direct_wants & 1);
	v->direct_wants = 0;
	spend(d, begun);
}

/* ---- whose turn it is ------------------------------------------------------------------------------ */

static void forget(struct soft_direct *d)
{
	placed_clear(&d->placed);
	atomic_store(&d->large, false);
}

static void give(struct soft_vcpu *v, uint64_t owner)
{
	struct soft_direct *d = v->sv->direct;

	if (owner && !is_eligible(v))
		return;
	if (v->sv->n_vcpus > 1)
		soft_alone_begin(v);
	plat_mutex_lock(&d->lock);
	atomic_store(&d->owner, owner);
	atomic_fetch_add(&d->turn, 1);
	forget(d);
	plat_mutex_unlock(&d->lock);
	d->n_wanted = 0;
	d->sides.low = direct_side(soft_linear(v)) == DIRECT_IS_LOW;
	d->spent = 0;
	d->since = vcpu_ticks();
	v->stats.direct_turns++;
	if (v->sv->n_vcpus > 1)
		soft_alone_end(v);
	v->mode_dirty = true;
}

/* Is what the mappings take too much for what they give? */
static bool costs_too_much(const struct soft_direct *d)
{
	return d->spent > FREE_CYCLES && d->spent > (vcpu_ticks() - d->since) / SHARE;
}

void soft_direct_sample(struct soft_vcpu *v)
{
	struct soft_direct *d = v->sv->direct;
	uint64_t space = space_of(v), owner;

	if (!d || v->mode == MODE_INTERP || v->mode & MODE_LEGACY || v->cpu.debug)
		return;
	owner = atomic_load(&d->owner);
	d->sample++;
	if (owner == space) {
		d->owner_seen = d->sample;
		if (costs_too_much(d) && v->sv->cfg.directly == SOFT_DIRECT_SAMPLED) {
			d->banned = space;
			give(v, 0);
		}
		return;
	}
	if (space == d->banned || (owner && d->sample - d->owner_seen < KEPT))
		return;
	if (space != d->wanted)
		d->n_wanted = 0;
	d->wanted = space;
	if (++d->n_wanted >= WANTED) {
		d->owner_seen = d->sample;
		give(v, space);
	}
}

void soft_direct_take(struct soft_vcpu *v)
{
	struct soft_direct *d = v->sv->direct;

	if (d && v->sv->cfg.directly == SOFT_DIRECT_ALWAYS && is_eligible(v) &&
	    !soft_direct_serves(v) && (v->sv->n_vcpus == 1 || ++d->sample % TURNS == 0))
		give(v, space_of(v));
}

void soft_direct_drop(struct soft_vm *sv)
{
	struct soft_direct *d = sv->direct;

	if (!d)
		return;
	plat_mutex_lock(&d->lock);
	atomic_store(&d->owner, 0);
	atomic_fetch_add(&d->turn, 1);
	forget(d);
	plat_mutex_unlock(&d->lock);
}

/* ---- faults ----------------------------------------------------------------------------------------- */

struct sides *soft_direct_sides(const struct soft_vm *sv)
{
	return &sv->direct->sides;
}

/* Faults of an access for pages that cannot be mapped, after which it is made otherwise: that takes as long as ten of them. */
#define FEW_FAULTS 16u

/* A page fault of the host's, at ea in the guest: of a store where site says SITE_WRITE */
const uint8_t *soft_on_direct(struct soft_vcpu *v, uint32_t site, uint64_t ea)
{
	struct soft_cache *c = v->sv->cache;
	struct soft_block *b = &c->block[site_block(site)];
	const struct soft_site *s = &c->site[b->sites + site_insn(site)];
	uint64_t begun = vcpu_ticks();
	gpa_t rip = sides_place(b, s->guest);
	bool write = site & SITE_WRITE;
	enum found found = soft_direct_serves(v) ? bring(v, ea, write) : FOUND_NOT_NOW;
	uint8_t *few = &v->direct_few[(rip ^ rip >> 8) % ARRAY_SIZE(v->direct_few)];
	const uint8_t *code;

	v->mode_dirty |= found == FOUND_NOT_NOW; /* it may be another's place now */
	v->stats.direct_faults++;
	spend(v->sv->direct, begun);
	if (found == FOUND_MAPPED && !b->dead) {
		soft_fpu_load(v);
		return soft_rx(c, b->code + s->host);
	}
	if (found == FOUND_FAULT)
		v->direct_wants = (ea & ~PAGE_MASK) | write;
	if (found == FOUND_NEVER && ++*few >= FEW_FAULTS) {
		*few = 0;
		soft_sides_say(v, b, rip, SIDES_NEVER);
	}
	if (write) {
		v->store_off = ea & PAGE_MASK;
		v->store_size = 64;
	}
	code = soft_exec_site(v, site & ~SITE_WRITE);
	v->store_size = 0;
	return code;
}
