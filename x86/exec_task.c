/* SPDX-License-Identifier: ISC */
/* exec_task.c: hardware task switches (SDM vol. 3, chapter 7), outside of long mode.
 *
 * Everything that can fail without trace is done first: limits, the whole new TSS read, the old
 * one probed for writing. Then the switch is committed; what fails after that (the new task's
 * segments) is an exception in the new task, as on a processor. CPU's own thread only. */
#include "base/str.h"
#include "x86/interp.h"

/* Where a TSS keeps what, by width. Order of gpr: RAX…RDI; of sreg: ES CS SS DS FS GS. */
struct tss_layout {
	uint8_t size, cr3, ip, flags, gpr, sreg, sregs, ldt, limit, stride;
};
static const struct tss_layout tss16 = {.size = 2,
					.ip = 0x0e,
					.flags = 0x10,
					.gpr = 0x12,
					.sreg = 0x22,
					.sregs = 4,
					.ldt = 0x2a,
					.limit = 0x2b,
					.stride = 2};
static const struct tss_layout tss32 = {.size = 4,
					.cr3 = 0x1c,
					.ip = 0x20,
					.flags = 0x24,
					.gpr = 0x28,
					.sreg = 0x48,
					.sregs = 6,
					.ldt = 0x60,
					.limit = 0x67,
					.stride = 4};

static const struct tss_layout *layout(unsigned type)
{
	return (type & 0xf) >= 9 ? &tss32 : &tss16;
}

struct task {
	uint64_t cr3, ip, flags, gpr[8], sreg[6], ldt, trap;
};

static int task_read(struct cpu *cpu, gva_t base, const struct tss_layout *l, struct task *t)
{
	memset(t, 0, sizeof(*t));
	if (l->cr3 &&
	    (sys_read(cpu, base + l->cr3, 4, &t->cr3) || sys_read(cpu, base + 0x64, 2, &t->trap)))
		return CPU_FAULT;
	if (sys_read(cpu, base + l->ip, l->size, &t->ip) ||
	    sys_read(cpu, base + l->flags, l->size, &t->flags) ||
	    sys_read(cpu, base + l->ldt, 2, &t->ldt))
		return CPU_FAULT;
	for (unsigned i = 0; i < 8; i++)
		if (sys_read(cpu, base + l->gpr + i * l->size, l->size, &t->gpr[i]))
			return CPU_FAULT;
	for (unsigned i = 0; i < l->sregs; i++)
		if (sys_read(cpu, base + l->sreg + i * l->stride, 2, &t->sreg[i]))
			return CPU_FAULT;
	return 0;
}

static int task_save(struct cpu *cpu, uint64_t ip, uint64_t flags)
{
	const struct tss_layout *l = layout(cpu->s.tr.attr);
	gva_t base = cpu->s.tr.base;

	/* both ends may be written, so all may: a TSS touches two pages at most */
	if (sys_write(cpu, base + l->ip, l->size, ip) ||
	    sys_write(cpu, base + l->sreg + (l->sregs - 1u) * l->stride, 2,
		      cpu->s.seg[l->sregs - 1].sel) ||
	    sys_write(cpu, base + l->flags, l->size, flags))
		return CPU_FAULT;
	for (unsigned i = 0; i < 8; i++)
		if (sys_write(cpu, base + l->gpr + i * l->size, l->size, cpu->s.gpr[i]))
			return CPU_FAULT;
	for (unsigned i = 0; i < l->sregs; i++)
		if (sys_write(cpu, base + l->sreg + i * l->stride, 2, cpu->s.seg[i].sel))
			return CPU_FAULT;
	return 0;
}

static int load_ldt(struct cpu *cpu, unsigned sel)
{
	uint32_t error = sel & 0xfffc;
	struct desc d;

	cpu->s.ldtr = (struct x86_seg){.sel = (uint16_t)sel, .attr = SEG_UNUSABLE};
	if (!error)
		return 0;
	if (sel & 4)
		return raise_err(cpu, VEC_TS, error);
	if (desc_read(cpu, sel, VEC_TS, 0, &d))
		return CPU_FAULT;
	if (desc_type(&d) != 2 || !(d.attr & SEG_P))
		return raise_err(cpu, VEC_TS, error);
	cpu->s.ldtr = desc_to_seg(&d, sel);
	return 0;
}

static int load_cs(struct cpu *cpu, unsigned sel)
{
	uint32_t error = sel & 0xfffc;
	unsigned rpl = sel & 3;
	struct desc d;

	if (!error)
		return raise_err(cpu, VEC_TS, 0);
	if (desc_read(cpu, sel, VEC_TS, 0, &d))
		return CPU_FAULT;
	if (!desc_is_code(&d) ||
	    (desc_is_conforming(&d) ? desc_dpl(&d) > rpl : desc_dpl(&d) != rpl))
		return raise_err(cpu, VEC_TS, error);
	if (!(d.attr & SEG_P))
		return raise_err(cpu, VEC_NP, error);
	if (desc_set_accessed(cpu, &d))
		return CPU_FAULT;
	cpu->s.seg[CS] = desc_to_seg(&d, sel);
	return 0;
}

static int load_data(struct cpu *cpu, unsigned sreg, unsigned sel)
{
	if (seg_load(cpu, sreg, sel)) {
		if (cpu->exc.vector == VEC_GP)
			cpu->exc.vector = VEC_TS;
		return CPU_FAULT;
	}
	return 0;
}

/* Segments of the new task, in its own context. */
static int load_segments(struct cpu *cpu, const struct task *t)
{
	static const uint8_t data[] = {ES, DS, FS, GS};
	struct desc d;

	if (load_ldt(cpu, (unsigned)t->ldt))
		return CPU_FAULT;
	if (t->flags & FL_VM) {
		for (unsigned i = 0; i < SREG_COUNT; i++)
			seg_set_v86(cpu, i, (unsigned)t->sreg[i]);
		return 0;
	}
	if (load_cs(cpu, (unsigned)t->sreg[CS]) ||
	    seg_check_ss(cpu, (unsigned)t->sreg[SS], t->sreg[CS] & 3, VEC_TS, 0, &d) ||
	    desc_set_accessed(cpu, &d))
		return CPU_FAULT;
	cpu->s.seg[SS] = desc_to_seg(&d, (unsigned)t->sreg[SS]);
	for (unsigned i = 0; i < 4; i++)
		if (load_data(cpu, data[i], (unsigned)t->sreg[data[i]]))
			return CPU_FAULT;
	return 0;
}

static void commit(struct cpu *cpu, const struct desc *d, const struct task *t, unsigned size)
{
	struct x86_state *s = &cpu->s;

	s->tr = desc_to_seg(d, d->sel);
	s->tr.attr |= 2;
	s->cr0 |= CR0_TS;
	s->rip = t->ip;
	s->rflags = (t->flags & 0x3f7fd5) | FL_ONE;
	for (unsigned i = 0; i < 8; i++)
		s->gpr[i] = size == 2 ? t->gpr[i] | 0xffff0000 : t->gpr[i];
	s->dr[7] &= ~UINT64_C(0x155);
	/* until they are checked, the selectors stand with nothing behind them */
	for (unsigned i = 0; i < SREG_COUNT; i++)
		s->seg[i] = (struct x86_seg){
			.sel = (uint16_t)t->sreg[i],
			.attr = (uint16_t)(SEG_UNUSABLE | (t->flags & FL_VM ? 3 : t->sreg[CS] & 3)
								  << 5),
		};
}

int task_switch(struct cpu *cpu, struct desc *d, enum task_how how, uint64_t ret, bool has_error,
		uint32_t error)
{
	const struct tss_layout *l = layout(d->attr);
	uint64_t flags = cpu->s.rflags;
	uint16_t old = cpu->s.tr.sel;
	gva_t old_desc = cpu->s.gdtr.base + (old & 0xfff8);
	bool nested = how == TASK_CALL || how == TASK_EVENT;
	struct task t;
	struct stack st;

	if (d->limit < l->limit)
		return raise_err(cpu, VEC_TS, d->sel & 0xfffc);
	if (how == TASK_IRET)
		flags &= ~FL_NT;
	if (task_read(cpu, d->base, l, &t) || task_save(cpu, ret, flags))
		return CPU_FAULT;
	if (!nested && sys_set_bits(cpu, old_desc + 5, 0, 2))
		return CPU_FAULT;
	if (how != TASK_IRET && sys_set_bits(cpu, d->addr + 5, 2, 0))
		return CPU_FAULT;
	if (nested) {
		if (sys_write(cpu, d->base, 2, old))
			return CPU_FAULT;
		t.flags |= FL_NT;
	}
	commit(cpu, d, &t, l->size);
	if ((l->cr3 && cpu->s.cr0 & CR0_PG && cpu->s.cr3 != t.cr3 && cr3_write(cpu, t.cr3)) ||
	    load_segments(cpu, &t)) {
		mode_changed(cpu);
		return CPU_FAULT;
	}
	mode_changed(cpu);
	if (has_error) {
		stack_here(cpu, &st);
		if (stack_push(cpu, &st, l->size, error))
			return CPU_FAULT;
		stack_commit(cpu, &st);
	}
	if (cpu->s.rip > cpu->s.seg[CS].limit)
		return raise_gp0(cpu);
	if (t.trap & 1) {
		raise_vec(cpu, VEC_DB);
		cpu->exc.dr6 = BIT(15);
		return CPU_FAULT;
	}
	return 0;
}

int task_gate(struct cpu *cpu, unsigned sel, enum task_how how, uint32_t ext, uint64_t ret,
	      bool has_error, uint32_t error)
{
	struct desc d;

	if (sel & 4 || !(sel & 0xfffc))
		return raise_err(cpu, VEC_GP, (sel & 0xfffc) | ext);
	if (desc_read(cpu, sel, VEC_GP, ext, &d))
		return CPU_FAULT;
	if (desc_type(&d) != 1 && desc_type(&d) != 9)
		return raise_err(cpu, VEC_GP, (sel & 0xfffc) | ext);
	if (!(d.attr & SEG_P))
		return raise_err(cpu, VEC_NP, (sel & 0xfffc) | ext);
	return task_switch(cpu, &d, how, ret, has_error, error);
}
