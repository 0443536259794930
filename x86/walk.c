/* SPDX-License-Identifier: ISC */
/* walk.c: from a linear address to a guest-physical one (SDM vol. 3, chapter 4).
 *
 * All paging modes in one loop: a level has a shift, entries have 4 or 8 bytes. PAE's four
 * PDPTEs are registers, loaded with CR3 (4.4.1); those of AMD's processors, too, where no nested paging
 * is in use (APM vol. 2, 15.25.10). A state that comes without them has them read at the first walk.
 * Accessed and dirty bits are set after all checks, root first, by compare-and-exchange against the
 * entry that was judged: if another processor has changed it, the walk starts again.
 * Runs on the CPU's own thread; the tables belong to all. */
#include "x86/interp.h"

#define PTE_P   BIT64(0)
#define PTE_W   BIT64(1)
#define PTE_U   BIT64(2)
#define PTE_A   BIT64(5)
#define PTE_D   BIT64(6)
#define PTE_PS  BIT64(7)
#define PTE_G   BIT64(8)
#define PTE_NX  BIT64(63)
#define PTE_PK  59
#define ADDR_52 UINT64_C(0x000ffffffffff000)
/* CR3 below the table address, in PAE mode */
#define PAE_TABLE UINT64_C(0xffffffe0)

#define CAS_RETRIES 32 /* then bits are set without comparing: progress is guaranteed */

struct pte {
	gpa_t gpa;
	uint64_t v;
};

struct walk {
	gva_t gva;
	enum cpu_access acc;
	bool user, implicit;
	bool wide;      /* entries of 8 bytes */
	uint8_t levels; /* 2 3 4 5 */
	uint64_t reserved;
	struct pte e[5]; /* by order of use */
	unsigned n;
};

static gpa_t a20(const struct cpu *cpu, gpa_t gpa)
{
	return cpu->s.a20_masked && !cpu->s.smm ? gpa & ~BIT64(20) : gpa;
}

static uint64_t pte_read(struct cpu *cpu, gpa_t gpa, bool wide)
{
	hva_t p = cpu->ops->ram(cpu, gpa, false);

	if (!p)
		return cpu->ops->mmio_read(cpu, gpa, wide ? 8 : 4);
	if (wide)
		return __atomic_load_n((uint64_t *)(void *)p, __ATOMIC_RELAXED);
	return __atomic_load_n((uint32_t *)(void *)p, __ATOMIC_RELAXED);
}

/* True when done, false when the entry has changed meanwhile. */
static bool pte_set(struct cpu *cpu, const struct pte *e, uint64_t bits, bool wide, bool force)
{
	hva_t p = cpu->ops->ram(cpu, e->gpa, true);
	uint64_t old = e->v;
	uint32_t old32 = (uint32_t)e->v;

	if (!p) {
		cpu->ops->mmio_write(cpu, e->gpa, wide ? 8 : 4, e->v | bits);
		return true;
	}
	/* A and D are in the low byte */
	if (force) {
		__atomic_or_fetch(p, (uint8_t)bits, __ATOMIC_SEQ_CST);
		return true;
	}
	if (wide)
		return __atomic_compare_exchange_n((uint64_t *)(void *)p, &old, old | bits, false,
						   __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
	return __atomic_compare_exchange_n((uint32_t *)(void *)p, &old32, old32 | (uint32_t)bits,
					   false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

static int page_fault(struct cpu *cpu, const struct walk *w, uint32_t error)
{
	bool nx = cpu->s.cr4 & CR4_PAE && cpu->s.efer & EFER_NXE;

	error |= w->acc == ACCESS_WRITE ? PF_W : 0;
	error |= w->user ? PF_U : 0;
	error |= w->acc == ACCESS_FETCH && (nx || cpu->s.cr4 & CR4_SMEP) ? PF_I : 0;
	raise_err(cpu, VEC_PF, error);
	cpu->exc.cr2 = w->gva;
	return CPU_FAULT;
}

static void walk_mode(const struct cpu *cpu, struct walk *w)
{
	const struct x86_state *s = &cpu->s;

	w->wide = s->cr4 & CR4_PAE;
	w->levels = 2;
	if (is_long(cpu))
		w->levels = s->cr4 & CR4_LA57 ? 5 : 4;
	else if (w->wide)
		w->levels = 3;
	if (!w->wide)
		return;
	w->reserved = ADDR_52 & ~(BIT64(cpu->s.maxphy) - 1);
	if (!(s->efer & EFER_NXE))
		w->reserved |= PTE_NX;
	if (w->levels == 3)
		w->reserved |= UINT64_C(0x7ff) << 52;
}

/* Bits that must be 0 in a present entry of this level; *leaf: it maps a page. */
static uint64_t level_reserved(const struct cpu *cpu, const struct walk *w, unsigned level,
			       uint64_t pte, bool *leaf)
{
	bool ps = pte & PTE_PS;

	*leaf = level == 1;
	if (level == 1)
		return w->reserved;
	if (!w->wide) {
		*leaf = ps && cpu->s.cr4 & CR4_PSE;
		if (!*leaf)
			return 0;
		/* PSE-36: bits 13-20 are address bits 32-39, as far as there are some */
		return BIT64(21) |
		       (cpu->s.maxphy < 40 ? (0x1fe000 & ~((BIT64(cpu->s.maxphy - 32) - 1) << 13))
					   : 0);
	}
	if (level == 2) {
		*leaf = ps;
		return w->reserved | (ps ? 0x1fe000 : 0);
	}
	if (level == 3 && w->levels == 3) /* PAE's PDPTE */
		return w->reserved | PTE_NX | 0x1e6;
	if (level == 3 && cpu_has(cpu, X_FEAT_PDPE1GB)) {
		*leaf = ps;
		return w->reserved | (ps ? 0x3fffe000 : 0);
	}
	return w->reserved | PTE_PS;
}

static gpa_t leaf_address(const struct walk *w, unsigned shift, uint64_t pte)
{
	gpa_t page = pte & ADDR_52;

	if (!w->wide) {
		page = pte & 0xfffff000;
		if (shift == 22)
			page = (pte & 0xffc00000) | (pte & 0x1fe000) << 19;
	}
	return ALIGN_DOWN(page, BIT64(shift)) | (w->gva & (BIT64(shift) - 1));
}

bool pdptes_read(struct cpu *cpu, uint64_t cr3, uint64_t pdpte[4])
{
	bool ok = true;

	for (unsigned i = 0; i < 4; i++) {
		pdpte[i] = pte_read(cpu, a20(cpu, (cr3 & PAE_TABLE) + i * 8), true);
		ok = ok && x86_pdpte_ok(&cpu->s, pdpte[i]);
	}
	return ok;
}

static uint64_t pdpte_of(struct cpu *cpu, gva_t gva)
{
	struct x86_state *s = &cpu->s;

	if (unlikely(!s->pdptes_loaded))
		s->pdptes_loaded = pdptes_read(cpu, s->cr3, s->pdpte);
	return s->pdpte[gva >> 30 & 3];
}

/* Descends. 0, CPU_FAULT, or with probe ERR_NOENT. */
static int descend(struct cpu *cpu, struct walk *w, struct cpu_xlate *out, bool probe)
{
	unsigned bits = w->wide ? 9 : 10, esize = w->wide ? 8 : 4, level = w->levels, shift;
	gpa_t table = cpu->s.cr3 & ADDR_52;
	uint64_t pte, rights = PTE_W | PTE_U | PTE_A, nx = 0;
	bool leaf;

	if (level == 2)
		table = cpu->s.cr3 & 0xfffff000;
	w->n = 0;
	for (;; level--) {
		struct pte *e = &w->e[w->n];

		shift = PAGE_SHIFT + bits * (level - 1);
		if (w->levels == 3 && level == 3) {
			pte = pdpte_of(cpu, w->gva);
		} else {
			e->gpa = a20(cpu, table + ((w->gva >> shift) & (BIT64(bits) - 1)) * esize);
			e->v = pte = pte_read(cpu, e->gpa, w->wide);
		}
		if (!(pte & PTE_P))
			return probe ? ERR_NOENT : page_fault(cpu, w, 0);
		if (pte & level_reserved(cpu, w, level, pte, &leaf))
			return probe ? ERR_NOENT : page_fault(cpu, w, PF_P | PF_RSV);
		table = pte & (w->wide ? ADDR_52 : 0xfffff000);
		if (w->levels == 3 && level == 3) /* no rights, no A */
			continue;
		w->n++;
		rights &= pte;
		nx |= w->wide ? pte & PTE_NX : 0;
		if (leaf)
			break;
	}
	out->gpa = a20(cpu, leaf_address(w, shift, pte));
	out->user = rights & PTE_U;
	out->writable = rights & PTE_W;
	out->executable = !nx;
	out->global = pte & PTE_G && cpu->s.cr4 & CR4_PGE;
	out->accessed = rights & PTE_A;
	out->dirty = pte & PTE_D;
	out->page_shift = (uint8_t)shift;
	out->key = out->user && w->wide && cpu->s.cr4 & CR4_PKE ? pte >> PTE_PK & 15 : 0;
	return 0;
}

static unsigned leaf_key(const struct walk *w)
{
	return w->e[w->n - 1].v >> PTE_PK & 15;
}

/* Rights of a present translation (SDM vol. 3, 4.6); 0 or bits for the error code. */
static uint32_t denied(const struct cpu *cpu, const struct walk *w, const struct cpu_xlate *x)
{
	const struct x86_state *s = &cpu->s;
	bool write = w->acc == ACCESS_WRITE;
	uint32_t key;

	if (w->acc == ACCESS_FETCH) {
		if (!x->executable || (w->user && !x->user))
			return PF_P;
		return !w->user && x->user && s->cr4 & CR4_SMEP ? PF_P : 0;
	}
	if (w->user && !x->user)
		return PF_P;
	if (write && !x->writable && (w->user || s->cr0 & CR0_WP))
		return PF_P;
	if (!w->user && x->user && s->cr4 & CR4_SMAP && (w->implicit || !(s->rflags & FL_AC)))
		return PF_P;
	if (x->user && s->cr4 & CR4_PKE && is_long(cpu)) {
		key = s->pkru >> (leaf_key(w) * 2);
		if (key & 1 || (write && key & 2 && (w->user || s->cr0 & CR0_WP)))
			return PF_P | PF_PK;
	}
	return 0;
}

/* A everywhere, D in the leaf of a write; false: walk again. */
static bool mark(struct cpu *cpu, struct walk *w, struct cpu_xlate *x, bool force)
{
	for (unsigned i = 0; i < w->n; i++) {
		uint64_t need = PTE_A;

		if (i == w->n - 1 && w->acc == ACCESS_WRITE)
			need |= PTE_D;
		if ((w->e[i].v & need) == need)
			continue;
		if (!pte_set(cpu, &w->e[i], need, w->wide, force))
			return false;
		if (need & PTE_D)
			x->dirty = true;
	}
	return true;
}

static void identity(struct cpu *cpu, gva_t gva, struct cpu_xlate *out)
{
	*out = (struct cpu_xlate){
		.gpa = a20(cpu, gva & 0xffffffff),
		.user = true,
		.writable = true,
		.executable = true,
		.accessed = true,
		.dirty = true,
		.page_shift = PAGE_SHIFT,
	};
}

int cpu_walk(struct cpu *cpu, gva_t gva, enum cpu_access acc, bool user, struct cpu_xlate *out)
{
	struct walk w = {.gva = gva, .acc = acc, .user = user};
	uint32_t error;
	int r;

	if (!(cpu->s.cr0 & CR0_PG)) {
		identity(cpu, gva, out);
		cpu->i.fetch = acc == ACCESS_FETCH;
		out->hva = cpu->ops->ram(cpu, out->gpa, acc == ACCESS_WRITE);
		return 0;
	}
	cpu->i.fetch = false;
	if (!is_long(cpu))
		w.gva &= 0xffffffff;
	else if (!is_canonical(cpu, gva))
		return raise_gp0(cpu);
	w.implicit = !user && (cpu->i.implicit || at_user(cpu));
	walk_mode(cpu, &w);
	for (unsigned tries = 0;; tries++) {
		r = descend(cpu, &w, out, false);
		if (r)
			return r;
		error = denied(cpu, &w, out);
		if (error)
			return page_fault(cpu, &w, error);
		if (mark(cpu, &w, out, tries >= CAS_RETRIES))
			break;
	}
	if (out->user && cpu->s.cr4 & CR4_PKE)
		cpu->i.keys |= BIT(out->key);
	cpu->i.fetch = acc == ACCESS_FETCH;
	out->hva = cpu->ops->ram(cpu, out->gpa, acc == ACCESS_WRITE);
	return 0;
}

bool cpu_walk_may(struct cpu *cpu, gva_t gva, enum cpu_access acc, bool user)
{
	struct walk w = {.gva = gva, .acc = acc, .user = user};
	struct cpu_xlate x;

	if (!(cpu->s.cr0 & CR0_PG))
		return true;
	if (!is_long(cpu))
		w.gva &= 0xffffffff;
	else if (!is_canonical(cpu, gva))
		return false;
	w.implicit = !user && (cpu->i.implicit || at_user(cpu));
	walk_mode(cpu, &w);
	return !descend(cpu, &w, &x, true) && !denied(cpu, &w, &x);
}

int cpu_walk_probe(struct cpu *cpu, gva_t gva, struct cpu_xlate *out)
{
	struct walk w = {.gva = gva};
	int r;

	if (!(cpu->s.cr0 & CR0_PG)) {
		identity(cpu, gva, out);
		out->hva = cpu->ops->ram(cpu, out->gpa, false);
		return 0;
	}
	if (!is_long(cpu))
		w.gva &= 0xffffffff;
	else if (!is_canonical(cpu, gva))
		return ERR_NOENT;
	walk_mode(cpu, &w);
	r = descend(cpu, &w, out, true);
	if (r)
		return r;
	out->hva = cpu->ops->ram(cpu, out->gpa, false);
	return 0;
}
