/* SPDX-License-Identifier: ISC */
/* exec_int.c: software interrupts and the fast system calls (SDM vol. 2; APM vol. 3 where AMD
 * differs: SYSCALL outside of 64-bit mode, SYSENTER in long mode). CPU's own thread only. */
#include "x86/interp.h"

/* Flat segments of the fast system calls */
#define ATTR_CODE64 (SEG_G | SEG_L | SEG_P | SEG_S | 0xbu)
#define ATTR_CODE32 (SEG_G | SEG_DB | SEG_P | SEG_S | 0xbu)
#define ATTR_STACK  (SEG_G | SEG_DB | SEG_P | SEG_S | 0x3u)

/* ---- INT ---- */

static int soft_interrupt(struct cpu *cpu, unsigned vector, enum event_kind kind)
{
	if (event_deliver(cpu, vector, kind, false, 0, cpu->i.next_rip))
		return CPU_FAULT;
	cpu->i.next_rip = cpu->s.rip;
	cpu->i.no_step = true;
	return EXEC_OK;
}

/* Virtual-8086 mode extensions: INT n through the task's own vector table (SDM vol. 3, 20.3). */
static int redirect_v86(struct cpu *cpu, unsigned vector)
{
	uint64_t flags = cpu->s.rflags, entry;
	struct stack st;

	if (iopl(cpu) < 3)
		flags = (flags & ~(uint64_t)FL_IF) | FL_IOPL | (flags & FL_VIF ? FL_IF : 0);
	stack_here(cpu, &st);
	if (lin_read(cpu, vector * 4, 4, true, &entry) || stack_push(cpu, &st, 2, flags) ||
	    stack_push(cpu, &st, 2, cpu->s.seg[CS].sel) || stack_push(cpu, &st, 2, cpu->i.next_rip))
		return CPU_FAULT;
	stack_commit(cpu, &st);
	cpu->s.rflags &= ~(FL_TF | FL_RF | (iopl(cpu) < 3 ? FL_VIF : FL_IF));
	seg_set_v86(cpu, CS, (unsigned)(entry >> 16));
	cpu->i.next_rip = entry & 0xffff;
	cpu->i.no_step = true;
	mode_changed(cpu);
	return EXEC_OK;
}

/* The bit of the redirection map, just below the I/O map of the TSS; set: not redirected. */
static int redirect_bit(struct cpu *cpu, unsigned vector, bool *set)
{
	uint64_t map, byte;

	*set = true;
	if (cpu->s.tr.limit < 103)
		return 0;
	if (sys_read(cpu, cpu->s.tr.base + 0x66, 2, &map))
		return CPU_FAULT;
	if (map < 32 || map - 32 + vector / 8 > cpu->s.tr.limit)
		return 0;
	if (sys_read(cpu, cpu->s.tr.base + map - 32 + vector / 8, 1, &byte))
		return CPU_FAULT;
	*set = byte >> (vector & 7) & 1;
	return 0;
}

EXEC(int)
{
	unsigned vector = in->imm & 0xff;
	bool set = true;

	if (is_v86(cpu)) {
		if (cpu->s.cr4 & CR4_VME && redirect_bit(cpu, vector, &set))
			return CPU_FAULT;
		if (!set)
			return redirect_v86(cpu, vector);
		if (iopl(cpu) < 3)
			return raise_gp0(cpu);
	}
	return soft_interrupt(cpu, vector, EVENT_SOFT);
}

EXEC(int3)
{
	return soft_interrupt(cpu, VEC_BP, EVENT_SOFT);
}

EXEC(into)
{
	if (!(cpu->s.rflags & FL_OF))
		return EXEC_OK;
	return soft_interrupt(cpu, VEC_OF, EVENT_SOFT);
}

EXEC(int1)
{
	return soft_interrupt(cpu, VEC_DB, EVENT_EXC);
}

/* ---- SYSCALL, SYSRET ---- */

static void set_flat(struct cpu *cpu, unsigned sreg, unsigned sel, uint16_t attr, unsigned cpl)
{
	cpu->s.seg[sreg] = (struct x86_seg){
		.sel = (uint16_t)sel,
		.attr = (uint16_t)(attr | cpl << 5),
		.limit = 0xffffffff,
	};
}

EXEC(syscall)
{
	struct x86_state *s = &cpu->s;
	unsigned sel = s->star >> 32 & 0xfffc;

	if (!(s->efer & EFER_SCE) || (!cpu->i.amd && !is_64(cpu)))
		return raise_ud(cpu);
	if (is_long(cpu)) {
		uint64_t target = is_64(cpu) ? s->lstar : s->cstar;

		s->gpr[RCX] = cpu->i.next_rip;
		s->gpr[R11] = s->rflags;
		s->rflags = (s->rflags & ~s->sfmask & ~(FL_RF | FL_VM)) | FL_ONE;
		set_flat(cpu, CS, sel, ATTR_CODE64, 0);
		cpu->i.next_rip = target;
	} else {
		s->gpr[RCX] = cpu->i.next_rip & 0xffffffff;
		s->rflags &= ~(FL_IF | FL_RF | FL_VM);
		set_flat(cpu, CS, sel, ATTR_CODE32, 0);
		cpu->i.next_rip = s->star & 0xffffffff;
	}
	set_flat(cpu, SS, sel + 8, ATTR_STACK, 0);
	cpu->i.no_step = !(s->rflags & FL_TF);
	mode_changed(cpu);
	return EXEC_OK;
}

EXEC(sysret)
{
	const uint64_t may = 0x3c7fd7;
	struct x86_state *s = &cpu->s;
	unsigned sel = s->star >> 48 & 0xfffc;

	if (!(s->efer & EFER_SCE) || (!cpu->i.amd && !is_64(cpu)))
		return raise_ud(cpu);
	if (!is_prot(cpu) || x86_cpl(s))
		return raise_gp0(cpu);
	if (in->op_size == 8) {
		if (!is_canonical(cpu, s->gpr[RCX]))
			return raise_gp0(cpu);
		set_flat(cpu, CS, (sel + 16) | 3, ATTR_CODE64, 3);
		cpu->i.next_rip = s->gpr[RCX];
	} else {
		set_flat(cpu, CS, sel | 3, ATTR_CODE32, 3);
		cpu->i.next_rip = s->gpr[RCX] & 0xffffffff;
	}
	set_flat(cpu, SS, (sel + 8) | 3, ATTR_STACK, 3);
	if (is_long(cpu))
		s->rflags = (s->gpr[R11] & may) | FL_ONE;
	else
		s->rflags |= FL_IF;
	mode_changed(cpu);
	return EXEC_OK;
}

/* ---- SYSENTER, SYSEXIT ---- */

EXEC(sysenter)
{
	struct x86_state *s = &cpu->s;
	unsigned sel = s->sysenter_cs & 0xfffc;
	bool lm = is_long(cpu);

	if (cpu->i.amd && lm)
		return raise_ud(cpu);
	if (!sel || !is_pe(cpu))
		return raise_gp0(cpu);
	s->rflags &= ~(FL_VM | FL_IF | FL_RF);
	set_flat(cpu, CS, sel, lm ? ATTR_CODE64 : ATTR_CODE32, 0);
	set_flat(cpu, SS, sel + 8, ATTR_STACK, 0);
	s->gpr[RSP] = lm ? s->sysenter_esp : s->sysenter_esp & 0xffffffff;
	cpu->i.next_rip = lm ? s->sysenter_eip : s->sysenter_eip & 0xffffffff;
	mode_changed(cpu);
	return EXEC_OK;
}

EXEC(sysexit)
{
	struct x86_state *s = &cpu->s;
	unsigned sel = s->sysenter_cs & 0xfffc;

	if (cpu->i.amd && is_long(cpu))
		return raise_ud(cpu);
	if (!sel || !is_prot(cpu) || x86_cpl(s))
		return raise_gp0(cpu);
	if (in->op_size == 8) {
		if (!is_canonical(cpu, s->gpr[RCX]) || !is_canonical(cpu, s->gpr[RDX]))
			return raise_gp0(cpu);
		set_flat(cpu, CS, (sel + 32) | 3, ATTR_CODE64, 3);
		set_flat(cpu, SS, (sel + 40) | 3, ATTR_STACK, 3);
		s->gpr[RSP] = s->gpr[RCX];
		cpu->i.next_rip = s->gpr[RDX];
	} else {
		set_flat(cpu, CS, (sel + 16) | 3, ATTR_CODE32, 3);
		set_flat(cpu, SS, (sel + 24) | 3, ATTR_STACK, 3);
		s->gpr[RSP] = s->gpr[RCX] & 0xffffffff;
		cpu->i.next_rip = s->gpr[RDX] & 0xffffffff;
	}
	mode_changed(cpu);
	return EXEC_OK;
}
