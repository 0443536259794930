/* SPDX-License-Identifier: ISC */
/* exec_string.c: MOVS CMPS STOS LODS SCAS INS OUTS, IN and OUT (SDM vol. 1, 7.3.9 and chapter 19).
 *
 * A repeated instruction runs in bounded chunks and gives EXEC_REP between them, so that interrupts
 * are taken with rSI, rDI and rCX precise. MOVS and STOS upwards through RAM take as much as
 * lies in the pages at hand in one go, by the host's own REP. CPU's own thread only. */
#include "x86/interp.h"

#define CHUNK 256 /* iterations one by one before interrupts are looked at */

struct str {
	unsigned size, asize; /* element; address */
	int64_t step;
	unsigned seg; /* of the source */
	uint64_t mask;
};

static struct str str_of(const struct cpu *cpu, const struct insn *in)
{
	unsigned size = in->opnd[0].size;

	if (in->mnem == I_OUTS || in->mnem == I_LODS)
		size = in->opnd[1].size;
	return (struct str){
		.size = size,
		.asize = in->mem.addr_size,
		.step = cpu->s.rflags & FL_DF ? -(int64_t)size : (int64_t)size,
		.seg = in->mem.seg,
		.mask = size_mask(in->mem.addr_size),
	};
}

static uint64_t src(const struct cpu *cpu, const struct str *t)
{
	return cpu->s.gpr[RSI] & t->mask;
}
static uint64_t dst(const struct cpu *cpu, const struct str *t)
{
	return cpu->s.gpr[RDI] & t->mask;
}
static void advance(struct cpu *cpu, const struct str *t, unsigned reg, int64_t bytes)
{
	gpr_set(cpu, reg, t->asize, (cpu->s.gpr[reg] + (uint64_t)bytes) & t->mask);
}

/* ---- one iteration ---- */

static int io_check(struct cpu *cpu, unsigned port, unsigned size);

/* For an SMI that the access may bring about. kind: IO_* */
static void io_note(struct cpu *cpu, const struct insn *in, uint16_t port, unsigned size,
		    unsigned kind, gva_t mem)
{
	const uint64_t *gpr = cpu->s.gpr;

	cpu->i.io = (struct cpu_io){.rip = cpu->s.rip,
				    .rcx = gpr[RCX],
				    .rsi = gpr[RSI],
				    .rdi = gpr[RDI],
				    .mem = mem,
				    .port = port,
				    .size = (uint8_t)size,
				    .kind = (uint8_t)(kind | (in->rep ? IO_REP : 0))};
}

static int one_movs(struct cpu *cpu, const struct str *t)
{
	uint64_t v;

	if (seg_read(cpu, t->seg, src(cpu, t), t->size, &v) ||
	    seg_write(cpu, ES, dst(cpu, t), t->size, v))
		return CPU_FAULT;
	advance(cpu, t, RSI, t->step);
	advance(cpu, t, RDI, t->step);
	return 0;
}

static int one_stos(struct cpu *cpu, const struct str *t)
{
	if (seg_write(cpu, ES, dst(cpu, t), t->size, cpu->s.gpr[RAX]))
		return CPU_FAULT;
	advance(cpu, t, RDI, t->step);
	return 0;
}

static int one_lods(struct cpu *cpu, const struct str *t)
{
	uint64_t v;

	if (seg_read(cpu, t->seg, src(cpu, t), t->size, &v))
		return CPU_FAULT;
	gpr_set(cpu, RAX, t->size, v);
	advance(cpu, t, RSI, t->step);
	return 0;
}

static int one_cmps(struct cpu *cpu, const struct str *t)
{
	uint64_t a, b;

	if (seg_read(cpu, t->seg, src(cpu, t), t->size, &a) ||
	    seg_read(cpu, ES, dst(cpu, t), t->size, &b))
		return CPU_FAULT;
	set_arith(cpu, flags_sub(a, b, t->size));
	advance(cpu, t, RSI, t->step);
	advance(cpu, t, RDI, t->step);
	return 0;
}

static int one_scas(struct cpu *cpu, const struct str *t)
{
	uint64_t b;

	if (seg_read(cpu, ES, dst(cpu, t), t->size, &b))
		return CPU_FAULT;
	set_arith(cpu, flags_sub(cpu->s.gpr[RAX], b, t->size));
	advance(cpu, t, RDI, t->step);
	return 0;
}

/* The port is not read unless memory will take the value. */
static int one_ins(struct cpu *cpu, const struct insn *in, const struct str *t)
{
	uint16_t port = (uint16_t)cpu->s.gpr[RDX];
	gva_t gva;

	if (cpu_linear(cpu, ES, dst(cpu, t), t->size, ACCESS_WRITE, &gva) ||
	    align_check(cpu, gva, t->size) || lin_probe_write(cpu, gva, t->size, at_user(cpu)))
		return CPU_FAULT;
	watch_check_io(cpu, port, t->size);
	io_note(cpu, in, port, t->size, IO_READ | IO_STRING, gva);
	if (seg_write(cpu, ES, dst(cpu, t), t->size, cpu->ops->pio_read(cpu, port, t->size)))
		return CPU_FAULT;
	advance(cpu, t, RDI, t->step);
	return 0;
}

static int one_outs(struct cpu *cpu, const struct insn *in, const struct str *t)
{
	uint16_t port = (uint16_t)cpu->s.gpr[RDX];
	uint64_t v;
	gva_t gva;

	if (seg_read(cpu, t->seg, src(cpu, t), t->size, &v) ||
	    cpu_linear(cpu, t->seg, src(cpu, t), t->size, ACCESS_READ, &gva))
		return CPU_FAULT;
	watch_check_io(cpu, port, t->size);
	io_note(cpu, in, port, t->size, IO_STRING, gva);
	cpu->ops->pio_write(cpu, port, t->size, (uint32_t)v);
	advance(cpu, t, RSI, t->step);
	return 0;
}

static int one(struct cpu *cpu, const struct insn *in, const struct str *t)
{
	switch (in->mnem) {
	case I_MOVS:
		return one_movs(cpu, t);
	case I_STOS:
		return one_stos(cpu, t);
	case I_LODS:
		return one_lods(cpu, t);
	case I_CMPS:
		return one_cmps(cpu, t);
	case I_SCAS:
		return one_scas(cpu, t);
	case I_INS:
		return one_ins(cpu, in, t);
	default:
		return one_outs(cpu, in, t);
	}
}

/* ---- many at once ---- */

static void host_movs(void *d, const void *s, uint64_t n, unsigned size)
{
	switch (size) {
	case 1:
		__asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n)::"memory");
		break;
	case 2:
		__asm__ volatile("rep movsw" : "+D"(d), "+S"(s), "+c"(n)::"memory");
		break;
	case 4:
		__asm__ volatile("rep movsl" : "+D"(d), "+S"(s), "+c"(n)::"memory");
		break;
	default:
		__asm__ volatile("rep movsq" : "+D"(d), "+S"(s), "+c"(n)::"memory");
	}
}

static void host_stos(void *d, uint64_t v, uint64_t n, unsigned size)
{
	switch (size) {
	case 1:
		__asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(v) : "memory");
		break;
	case 2:
		__asm__ volatile("rep stosw" : "+D"(d), "+c"(n) : "a"(v) : "memory");
		break;
	case 4:
		__asm__ volatile("rep stosl" : "+D"(d), "+c"(n) : "a"(v) : "memory");
		break;
	default:
		__asm__ volatile("rep stosq" : "+D"(d), "+c"(n) : "a"(v) : "memory");
	}
}

/* Elements from ea to the end of its page (of guest linear space), within the segment and without
 * the address wrapping; 0: go one by one. */
static uint64_t span(struct cpu *cpu, unsigned sreg, uint64_t ea, const struct str *t,
		     uint64_t count, enum cpu_access acc, gva_t *gva)
{
	uint64_t n;

	if (cpu_linear(cpu, sreg, ea, t->size, acc, gva))
		return 0;
	n = (PAGE_SIZE - (*gva & PAGE_MASK)) / t->size;
	n = MIN(n, count);
	if (n < 2 || ea + n * t->size - 1 > t->mask)
		return 0;
	/* The last byte in the segment: then all are, in these few KiB. */
	return cpu_linear(cpu, sreg, ea, (unsigned)(n * t->size), acc, gva) ? 0 : n;
}

/* Does as many iterations as it can without looking; 0 where it can do none. Faults are left to
 * the one-by-one path, which raises them precisely. */
static uint64_t bulk(struct cpu *cpu, const struct insn *in, const struct str *t, uint64_t count)
{
	bool movs = in->mnem == I_MOVS, user = at_user(cpu);
	struct cpu_xlate from, to;
	gva_t gs, gd;
	uint64_t n;

	if (t->step < 0 || cpu->s.dr[7] & 0xff || cpu->s.rflags & (FL_TF | FL_AC) ||
	    (cpu->debug && cpu->debug->n_watches) || cpu->debug_step ||
	    (in->mnem != I_STOS && !movs))
		return 0;
	n = span(cpu, ES, dst(cpu, t), t, count, ACCESS_WRITE, &gd);
	if (n && movs)
		n = span(cpu, t->seg, src(cpu, t), t, n, ACCESS_READ, &gs);
	if (!n || (movs && lin_xlate(cpu, gs, ACCESS_READ, user, &from)) ||
	    lin_xlate(cpu, gd, ACCESS_WRITE, user, &to))
		return 0;
	if (!to.hva || (movs && !from.hva))
		return 0;
	if (movs)
		host_movs(to.hva, from.hva, n, t->size);
	else
		host_stos(to.hva, cpu->s.gpr[RAX], n, t->size);
	advance(cpu, t, RDI, (int64_t)(n * t->size));
	if (movs)
		advance(cpu, t, RSI, (int64_t)(n * t->size));
	return n;
}

/* ---- repetition ---- */

static bool rep_ends(const struct cpu *cpu, const struct insn *in)
{
	bool zf = cpu->s.rflags & FL_ZF;

	if (in->mnem != I_CMPS && in->mnem != I_SCAS)
		return false;
	return in->rep == 0xf3 ? !zf : zf;
}

static int iterate(struct cpu *cpu, const struct insn *in, const struct str *t)
{
	uint64_t count = gpr_get(cpu, RCX, t->asize), n;

	for (unsigned i = 0; count; i++) {
		if (i == CHUNK)
			return EXEC_REP;
		n = bulk(cpu, in, t, count);
		if (n) {
			i += CHUNK / 8;
			i = MIN(i, CHUNK - 1);
		} else if (one(cpu, in, t)) {
			return CPU_FAULT;
		} else {
			n = 1;
		}
		count -= n;
		gpr_set(cpu, RCX, t->asize, count);
		if (n == 1 && rep_ends(cpu, in))
			break;
		if (count && (cpu->i.dr6 || cpu->i.io.smi || cpu->s.rflags & FL_TF ||
			      cpu->hit.kind || cpu->debug_step))
			return EXEC_REP;
	}
	/* A count of 0 still zero-extends ECX in 64-bit mode: real processors do. */
	return EXEC_OK;
}

/* Until CMPS and SCAS are through, Intel's flags are those from before (SDM vol. 2B, REP). */
static int repeat(struct cpu *cpu, const struct insn *in, const struct str *t)
{
	uint64_t flags = cpu->s.rflags;
	int r = iterate(cpu, in, t);

	if (r != EXEC_OK && !cpu->i.amd && (in->mnem == I_CMPS || in->mnem == I_SCAS))
		set_arith(cpu, flags);
	return r;
}

EXEC(string)
{
	struct str t = str_of(cpu, in);

	if ((in->mnem == I_INS || in->mnem == I_OUTS) &&
	    io_check(cpu, cpu->s.gpr[RDX] & 0xffff, t.size))
		return CPU_FAULT;
	if (in->rep)
		return repeat(cpu, in, &t);
	return one(cpu, in, &t);
}

/* ---- IN, OUT ---- */

/* IOPL, else the I/O permission bit map of the TSS (SDM vol. 1, 19.5.2) */
static int io_check(struct cpu *cpu, unsigned port, unsigned size)
{
	const struct x86_seg *tr = &cpu->s.tr;
	unsigned need = (1u << size) - 1;
	uint64_t map, bits;

	if (!is_pe(cpu) || (!is_v86(cpu) && x86_cpl(&cpu->s) <= iopl(cpu)))
		return 0;
	if (tr->attr & SEG_UNUSABLE || (tr->attr & SEG_TYPE) < 9 || tr->limit < 103)
		return raise_gp0(cpu);
	if (sys_read(cpu, tr->base + 0x66, 2, &map))
		return CPU_FAULT;
	if (map + port / 8 + 1 > tr->limit)
		return raise_gp0(cpu);
	if (sys_read(cpu, tr->base + map + port / 8, 2, &bits))
		return CPU_FAULT;
	return bits >> (port & 7) & need ? raise_gp0(cpu) : 0;
}

static uint16_t port_of(const struct cpu *cpu, const struct insn *in, unsigned n)
{
	if (in->opnd[n].kind == OP_IMM)
		return in->imm & 0xff;
	return (uint16_t)cpu->s.gpr[RDX];
}

EXEC(in)
{
	unsigned size = in->opnd[0].size;
	uint16_t port = port_of(cpu, in, 1);

	if (io_check(cpu, port, size))
		return CPU_FAULT;
	watch_check_io(cpu, port, size);
	io_note(cpu, in, port, size, IO_READ | (in->opnd[1].kind == OP_IMM ? IO_IMM : 0), 0);
	gpr_set(cpu, RAX, size, cpu->ops->pio_read(cpu, port, size));
	return EXEC_OK;
}

EXEC(out)
{
	unsigned size = in->opnd[1].size;
	uint16_t port = port_of(cpu, in, 0);

	if (io_check(cpu, port, size))
		return CPU_FAULT;
	watch_check_io(cpu, port, size);
	io_note(cpu, in, port, size, in->opnd[0].kind == OP_IMM ? IO_IMM : 0, 0);
	cpu->ops->pio_write(cpu, port, size, (uint32_t)gpr_get(cpu, RAX, size));
	return EXEC_OK;
}
