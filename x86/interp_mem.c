/* SPDX-License-Identifier: ISC */
/* interp_mem.c: how the interpreter reaches memory: linear and segmented accesses, page crossings,
 * RAM against devices, alignment checks and data breakpoints.
 *
 * An access inside one page of RAM is a single host access, so that other processors never see it
 * torn. Where ops->xlate is NULL a small cache of translations is kept; it holds only what
 * cpu_walk() has granted, and writes ask ops->ram again each time. CPU's own thread only. */
#include "base/str.h"
#include "x86/interp.h"

/* ---- translation ---- */

static unsigned tlb_context(const struct cpu *cpu, bool user)
{
	if (user)
		return 1;
	return cpu->s.rflags & FL_AC && !at_user(cpu) ? 2 : 0;
}

static int cached_xlate(struct cpu *cpu, gva_t gva, enum cpu_access acc, bool user,
			struct cpu_xlate *x)
{
	struct cpu_tlbe *e = &cpu->i.tlb[acc][(gva >> PAGE_SHIFT) % CPU_TLB];
	uint64_t tag = (gva & ~PAGE_MASK) | tlb_context(cpu, user) << 1 | 1;
	int r;

	if (likely(e->tag == tag && e->era == cpu->i.tlb_era)) {
		x->gpa = e->gpa | (gva & PAGE_MASK);
		if (acc == ACCESS_WRITE)
			x->hva = cpu->ops->ram(cpu, x->gpa, true);
		else
			x->hva = e->hva ? e->hva + (gva & PAGE_MASK) : NULL;
		return 0;
	}
	r = cpu_walk(cpu, gva, acc, user, x);
	if (r)
		return r;
	e->tag = tag;
	e->era = cpu->i.tlb_era;
	e->gpa = x->gpa & ~PAGE_MASK;
	e->hva = x->hva ? x->hva - (gva & PAGE_MASK) : NULL;
	return 0;
}

int lin_xlate(struct cpu *cpu, gva_t gva, enum cpu_access acc, bool user, struct cpu_xlate *x)
{
	/* Implicit accesses ignore AC; the caches know only its effect on explicit ones. */
	if (unlikely(cpu->i.implicit && cpu->s.rflags & FL_AC && cpu->s.cr4 & CR4_SMAP))
		return cpu_walk(cpu, gva, acc, user, x);
	if (cpu->ops->xlate)
		return cpu->ops->xlate(cpu, gva, acc, user, x);
	return cached_xlate(cpu, gva, acc, user, x);
}

void tlb_flush(struct cpu *cpu, enum cpu_flush kind, gva_t gva, unsigned pcid)
{
	if (!cpu->ops->xlate)
		cpu->i.tlb_era++;
	if (cpu->ops->flush)
		cpu->ops->flush(cpu, kind, gva, pcid);
}

/* ---- inside a page ---- */

static bool crosses(gva_t gva, size_t size)
{
	return (gva & PAGE_MASK) + size > PAGE_SIZE;
}

static void phys_read(struct cpu *cpu, const struct cpu_xlate *x, uint8_t *buf, size_t size)
{
	gpa_t gpa = x->gpa;

	if (x->hva) {
		memcpy(buf, x->hva, size);
		return;
	}
	while (size) {
		unsigned n = size >= 8 ? 8 : size >= 4 ? 4 : size >= 2 ? 2 : 1;
		uint64_t v = cpu->ops->mmio_read(cpu, gpa, n);

		memcpy(buf, &v, n);
		buf += n;
		gpa += n;
		size -= n;
	}
}

static void phys_write(struct cpu *cpu, const struct cpu_xlate *x, const uint8_t *buf, size_t size)
{
	gpa_t gpa = x->gpa;

	if (x->hva) {
		memcpy(x->hva, buf, size);
		return;
	}
	while (size) {
		unsigned n = size >= 8 ? 8 : size >= 4 ? 4 : size >= 2 ? 2 : 1;
		uint64_t v = 0;

		memcpy(&v, buf, n);
		cpu->ops->mmio_write(cpu, gpa, n, v);
		buf += n;
		gpa += n;
		size -= n;
	}
}

/* ---- linear ---- */

gva_t next_page(const struct cpu *cpu, gva_t gva)
{
	gva_t next = (gva | PAGE_MASK) + 1;

	return is_64(cpu) || is_long(cpu) ? next : next & 0xffffffff;
}

int cpu_read(struct cpu *cpu, gva_t gva, void *buf, size_t size, bool user)
{
	struct cpu_xlate x[2];
	size_t first = size;
	int r;

	if (crosses(gva, size))
		first = PAGE_SIZE - (gva & PAGE_MASK);
	r = lin_xlate(cpu, gva, ACCESS_READ, user, &x[0]);
	if (r)
		return r;
	if (first < size) {
		r = lin_xlate(cpu, next_page(cpu, gva), ACCESS_READ, user, &x[1]);
		if (r)
			return r;
		phys_read(cpu, &x[1], (uint8_t *)buf + first, size - first);
	}
	phys_read(cpu, &x[0], buf, first);
	return 0;
}

int cpu_write(struct cpu *cpu, gva_t gva, const void *buf, size_t size, bool user)
{
	struct cpu_xlate x[2];
	size_t first = size;
	int r;

	if (crosses(gva, size))
		first = PAGE_SIZE - (gva & PAGE_MASK);
	r = lin_xlate(cpu, gva, ACCESS_WRITE, user, &x[0]);
	if (r)
		return r;
	if (first < size) {
		r = lin_xlate(cpu, next_page(cpu, gva), ACCESS_WRITE, user, &x[1]);
		if (r)
			return r;
	}
	phys_write(cpu, &x[0], buf, first);
	if (first < size)
		phys_write(cpu, &x[1], (const uint8_t *)buf + first, size - first);
	return 0;
}

int lin_read(struct cpu *cpu, gva_t gva, unsigned size, bool user, uint64_t *v)
{
	struct cpu_xlate x;
	int r;

	if (unlikely(crosses(gva, size))) {
		*v = 0;
		return cpu_read(cpu, gva, v, size, user);
	}
	r = lin_xlate(cpu, gva, ACCESS_READ, user, &x);
	if (r)
		return r;
	if (likely(x.hva))
		*v = host_load(x.hva, size);
	else
		*v = cpu->ops->mmio_read(cpu, x.gpa, size) & size_mask(size);
	return 0;
}

int lin_write(struct cpu *cpu, gva_t gva, unsigned size, bool user, uint64_t v)
{
	struct cpu_xlate x;
	int r;

	if (unlikely(crosses(gva, size)))
		return cpu_write(cpu, gva, &v, size, user);
	r = lin_xlate(cpu, gva, ACCESS_WRITE, user, &x);
	if (r)
		return r;
	if (likely(x.hva))
		host_store(x.hva, size, v);
	else
		cpu->ops->mmio_write(cpu, x.gpa, size, v & size_mask(size));
	return 0;
}

int lin_probe_write(struct cpu *cpu, gva_t gva, size_t size, bool user)
{
	struct cpu_xlate x;
	int r = lin_xlate(cpu, gva, ACCESS_WRITE, user, &x);

	if (!r && crosses(gva, size))
		r = lin_xlate(cpu, next_page(cpu, gva), ACCESS_WRITE, user, &x);
	return r;
}

void lin_touch(struct cpu *cpu, gva_t gva, size_t size, enum cpu_access acc, bool user)
{
	gva_t end = crosses(gva, size) ? next_page(cpu, gva) : gva;
	struct cpu_exc exc = cpu->exc;
	struct cpu_xlate x;

	if (!cpu_walk_may(cpu, gva, acc, user) || !cpu_walk_may(cpu, end, acc, user))
		return;
	if (lin_xlate(cpu, gva, acc, user, &x) || lin_xlate(cpu, end, acc, user, &x))
		cpu->exc = exc; /* another processor has changed the tables since */
}

int sys_read(struct cpu *cpu, gva_t gva, unsigned size, uint64_t *v)
{
	int r;

	cpu->i.implicit = true;
	r = lin_read(cpu, is_long(cpu) ? gva : gva & 0xffffffff, size, false, v);
	cpu->i.implicit = false;
	return r;
}

int sys_write(struct cpu *cpu, gva_t gva, unsigned size, uint64_t v)
{
	int r;

	cpu->i.implicit = true;
	r = lin_write(cpu, is_long(cpu) ? gva : gva & 0xffffffff, size, false, v);
	cpu->i.implicit = false;
	return r;
}

int sys_set_bits(struct cpu *cpu, gva_t gva, uint8_t set, uint8_t clear)
{
	struct cpu_xlate x;
	uint64_t v;
	int r;

	cpu->i.implicit = true;
	r = lin_xlate(cpu, is_long(cpu) ? gva : gva & 0xffffffff, ACCESS_WRITE, false, &x);
	cpu->i.implicit = false;
	if (r)
		return r;
	if (x.hva) {
		if (set)
			__atomic_or_fetch(x.hva, set, __ATOMIC_SEQ_CST);
		if (clear)
			__atomic_and_fetch(x.hva, (uint8_t)~clear, __ATOMIC_SEQ_CST);
		return 0;
	}
	v = cpu->ops->mmio_read(cpu, x.gpa, 1);
	cpu->ops->mmio_write(cpu, x.gpa, 1, (v | set) & ~(uint64_t)clear);
	return 0;
}

/* ---- checks ---- */

int align_check(struct cpu *cpu, gva_t gva, unsigned size)
{
	if (likely(!(cpu->s.rflags & FL_AC)) || !(cpu->s.cr0 & CR0_AM) || !at_user(cpu) ||
	    size > 8 || IS_ALIGNED(gva, (gva_t)size))
		return 0;
	return raise_err(cpu, VEC_AC, 0);
}

static void watch(struct cpu *cpu, uint64_t addr, unsigned size, bool io, bool write)
{
	uint64_t dr7 = cpu->s.dr[7];

	for (unsigned n = 0; n < 4; n++) {
		unsigned type = dr7 >> (16 + 4 * n) & 3, len = (dr7 >> (18 + 4 * n) & 3) + 1;
		uint64_t start;

		if (!(dr7 >> (2 * n) & 3))
			continue;
		if (io ? type != 2 : type != 3 && !(type == 1 && write))
			continue;
		len = len == 3 ? 8 : len;
		start = cpu->s.dr[n] & ~(uint64_t)(len - 1);
		if (addr < start + len && start < addr + size)
			cpu->i.dr6 |= BIT(n);
	}
}

void watch_check(struct cpu *cpu, gva_t gva, unsigned size, bool write)
{
	if (unlikely(cpu->s.dr[7] & 0xff))
		watch(cpu, gva, size, false, write);
	if (unlikely(cpu->debug))
		debugger_watch(cpu, gva, size, write);
}

void watch_check_io(struct cpu *cpu, uint16_t port, unsigned size)
{
	if (unlikely(cpu->s.dr[7] & 0xff) && cpu->s.cr4 & CR4_DE)
		watch(cpu, port, size, true, true);
}

/* ---- segmented ---- */

int seg_read(struct cpu *cpu, unsigned sreg, uint64_t ea, unsigned size, uint64_t *v)
{
	gva_t gva;

	if (cpu_linear(cpu, sreg, ea, size, ACCESS_READ, &gva) || align_check(cpu, gva, size) ||
	    lin_read(cpu, gva, size, at_user(cpu), v))
		return CPU_FAULT;
	watch_check(cpu, gva, size, false);
	return 0;
}

int seg_write(struct cpu *cpu, unsigned sreg, uint64_t ea, unsigned size, uint64_t v)
{
	gva_t gva;

	if (cpu_linear(cpu, sreg, ea, size, ACCESS_WRITE, &gva) || align_check(cpu, gva, size) ||
	    lin_write(cpu, gva, size, at_user(cpu), v))
		return CPU_FAULT;
	watch_check(cpu, gva, size, true);
	return 0;
}

int seg_read_buf(struct cpu *cpu, unsigned sreg, uint64_t ea, void *buf, unsigned size)
{
	gva_t gva;

	if (cpu_linear(cpu, sreg, ea, size, ACCESS_READ, &gva) ||
	    cpu_read(cpu, gva, buf, size, at_user(cpu)))
		return CPU_FAULT;
	watch_check(cpu, gva, size, false);
	return 0;
}

int seg_write_buf(struct cpu *cpu, unsigned sreg, uint64_t ea, const void *buf, unsigned size)
{
	gva_t gva;

	if (cpu_linear(cpu, sreg, ea, size, ACCESS_WRITE, &gva) ||
	    cpu_write(cpu, gva, buf, size, at_user(cpu)))
		return CPU_FAULT;
	watch_check(cpu, gva, size, true);
	return 0;
}

/* ---- operands ---- */

int opnd_read(struct cpu *cpu, const struct insn *in, unsigned n, uint64_t *v)
{
	const struct insn_opnd *o = &in->opnd[n];

	switch (o->kind) {
	case OP_GPR:
		*v = o->high8 ? cpu->s.gpr[o->reg & 3] >> 8 & 0xff : gpr_get(cpu, o->reg, o->size);
		return 0;
	case OP_MEM:
		return seg_read(cpu, in->mem.seg, cpu_ea(cpu, in), o->size, v);
	case OP_IMM2:
		*v = in->imm2;
		return 0;
	case OP_SREG:
		*v = cpu->s.seg[o->reg].sel;
		return 0;
	default:
		*v = in->imm;
		return 0;
	}
}

int opnd_write(struct cpu *cpu, const struct insn *in, unsigned n, uint64_t v)
{
	const struct insn_opnd *o = &in->opnd[n];

	if (o->kind == OP_MEM)
		return seg_write(cpu, in->mem.seg, cpu_ea(cpu, in), o->size, v);
	if (o->high8)
		cpu->s.gpr[o->reg & 3] =
			(cpu->s.gpr[o->reg & 3] & ~UINT64_C(0xff00)) | (v & 0xff) << 8;
	else
		gpr_set(cpu, o->reg, o->size, v);
	return 0;
}
