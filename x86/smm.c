/* SPDX-License-Identifier: ISC */
/* smm.c: system management mode: SMI and RSM (SDM vol. 3, chapter 32; APM vol. 2, chapter 10).
 *
 * Each maker has its own save state map; a table says where in it what is. What a map does not name
 * (Intel's hidden parts of segments, limits of descriptor tables) is in its reserved space, as in
 * processors. FPU state, CR2 and MSRs stay as they are: the handler's to save.
 * CPU's own thread only. */
#include "x86/interp.h"

#define HANDLER  0x8000u
#define REVISION (BIT(16) | BIT(17)) /* I/O restart, SMBASE relocation */
#define FL_VALID                                                                               \
	(FL_ARITH | FL_TF | FL_IF | FL_DF | FL_IOPL | FL_NT | FL_RF | FL_VM | FL_AC | FL_VIF | \
	 FL_VIP | FL_ID)

/* A register in the map: offset from SMBASE, bytes there; where in x86_state, bytes there. */
struct reg {
	uint16_t at, field;
	uint8_t size, field_size;
};
#define R(at, size, f)                                                                         \
	{                                                                                      \
		at, offsetof(struct x86_state, f), size, sizeof(((struct x86_state *)NULL)->f) \
	}
#define HIGH(at, f)                                         \
	{                                                   \
		at, offsetof(struct x86_state, f) + 4, 4, 4 \
	}

/* Of the interrupted I/O instruction */
enum { IO_RIP, IO_RCX, IO_RSI, IO_RDI, IO_WORDS };

struct smm_map {
	uint32_t revision;
	uint16_t revision_at, smbase_at, halt_at, restart_at, segs_at;
	uint16_t io_at[IO_WORDS];
	const struct reg *regs;
	unsigned n_regs;
	void (*put_io)(struct cpu *cpu);
};

/* ---- memory ------------------------------------------------------------------------------------ */

static gpa_t map_gpa(const struct cpu *cpu, uint32_t at)
{
	return (gpa_t)cpu->s.smbase + at;
}

static uint64_t map_get(struct cpu *cpu, uint32_t at, unsigned size)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < size; i++) {
		gpa_t gpa = map_gpa(cpu, at + i);
		hva_t p = cpu->ops->ram(cpu, gpa, false);
		uint64_t b = p ? host_load(p, 1) : cpu->ops->mmio_read(cpu, gpa, 1) & 0xff;

		v |= b << (8 * i);
	}
	return v;
}

static void map_put(struct cpu *cpu, uint32_t at, unsigned size, uint64_t v)
{
	for (unsigned i = 0; i < size; i++, v >>= 8) {
		gpa_t gpa = map_gpa(cpu, at + i);
		hva_t p = cpu->ops->ram(cpu, gpa, true);

		if (p)
			host_store(p, 1, v);
		else
			cpu->ops->mmio_write(cpu, gpa, 1, v & 0xff);
	}
}

/* ---- the maps ------------------------------------------------------------------------------------ */

/* AMD64 (APM vol. 2, table 10-1); 16 bytes a segment register: selector, attributes, limit, base */
static const struct reg amd_regs[] = {
	R(0xfe64, 2, gdtr.limit), R(0xfe68, 8, gdtr.base), R(0xfe84, 2, idtr.limit),
	R(0xfe88, 8, idtr.base),  R(0xfed0, 8, efer),      R(0xff48, 8, cr4),
	R(0xff50, 8, cr3),        R(0xff58, 8, cr0),       R(0xff60, 8, dr[7]),
	R(0xff68, 8, dr[6]),      R(0xff70, 8, rflags),    R(0xff78, 8, rip),
	R(0xff80, 8, gpr[R15]),   R(0xff88, 8, gpr[R14]),  R(0xff90, 8, gpr[R13]),
	R(0xff98, 8, gpr[R12]),   R(0xffa0, 8, gpr[R11]),  R(0xffa8, 8, gpr[R10]),
	R(0xffb0, 8, gpr[R9]),    R(0xffb8, 8, gpr[R8]),   R(0xffc0, 8, gpr[RDI]),
	R(0xffc8, 8, gpr[RSI]),   R(0xffd0, 8, gpr[RBP]),  R(0xffd8, 8, gpr[RSP]),
	R(0xffe0, 8, gpr[RBX]),   R(0xffe8, 8, gpr[RDX]),  R(0xfff0, 8, gpr[RCX]),
	R(0xfff8, 8, gpr[RAX]),
};

/* I/O trap doubleword: port, size, REP, string, valid, read */
static void amd_put_io(struct cpu *cpu)
{
	const struct cpu_io *io = &cpu->i.io;
	uint32_t v = 0;

	if (io->smi)
		v = (uint32_t)io->port << 16 | (uint32_t)io->size << 4 |
		    (io->kind & IO_REP ? BIT(3) : 0) | (io->kind & IO_STRING ? BIT(2) : 0) |
		    BIT(1) | (io->kind & IO_READ ? BIT(0) : 0);
	map_put(cpu, 0xfec0, 4, v);
}

/* Intel 64 (SDM vol. 3, table 32-3) */
static const struct reg intel_regs[] = {
	R(0xfff8, 8, cr0),         R(0xfff0, 8, cr3),         R(0xffe8, 8, rflags),
	R(0xffe0, 8, efer),        R(0xffd8, 8, rip),         R(0xffd0, 8, dr[6]),
	R(0xffc8, 8, dr[7]),       R(0xffc4, 4, tr.sel),      R(0xffc0, 4, ldtr.sel),
	R(0xffbc, 4, seg[GS].sel), R(0xffb8, 4, seg[FS].sel), R(0xffb4, 4, seg[DS].sel),
	R(0xffb0, 4, seg[SS].sel), R(0xffac, 4, seg[CS].sel), R(0xffa8, 4, seg[ES].sel),
	R(0xff94, 8, gpr[RDI]),    R(0xff8c, 8, gpr[RSI]),    R(0xff84, 8, gpr[RBP]),
	R(0xff7c, 8, gpr[RSP]),    R(0xff74, 8, gpr[RBX]),    R(0xff6c, 8, gpr[RDX]),
	R(0xff64, 8, gpr[RCX]),    R(0xff5c, 8, gpr[RAX]),    R(0xff54, 8, gpr[R8]),
	R(0xff4c, 8, gpr[R9]),     R(0xff44, 8, gpr[R10]),    R(0xff3c, 8, gpr[R11]),
	R(0xff34, 8, gpr[R12]),    R(0xff2c, 8, gpr[R13]),    R(0xff24, 8, gpr[R14]),
	R(0xff1c, 8, gpr[R15]),    R(0xfe9c, 4, ldtr.base),   HIGH(0xfdd4, ldtr.base),
	R(0xfe94, 4, idtr.base),   HIGH(0xfdd8, idtr.base),   R(0xfe8c, 4, gdtr.base),
	HIGH(0xfdd0, gdtr.base),   R(0xfe40, 8, cr4),         R(0xfc80, 2, gdtr.limit),
	R(0xfc82, 2, idtr.limit),
};

/* IO_MISC: port, kind, size, SMI came from it; IO_MEM_ADDR */
static void intel_put_io(struct cpu *cpu)
{
	const struct cpu_io *io = &cpu->i.io;
	uint32_t v = 0;

	if (io->smi)
		v = (uint32_t)io->port << 16 | (uint32_t)io->kind << 4 | (uint32_t)io->size << 1 |
		    BIT(0);
	map_put(cpu, 0xffa4, 4, v);
	map_put(cpu, 0xff9c, 8, io->smi && io->kind & IO_STRING ? io->mem : 0);
}

static const struct smm_map amd_map = {
	.revision = REVISION | 0x64,
	.revision_at = 0xfefc,
	.smbase_at = 0xff00,
	.halt_at = 0xfec9,
	.restart_at = 0xfec8,
	.segs_at = 0xfe00,
	.io_at = {0xfea0, 0xfea8, 0xfeb0, 0xfeb8},
	.regs = amd_regs,
	.n_regs = ARRAY_SIZE(amd_regs),
	.put_io = amd_put_io,
};
static const struct smm_map intel_map = {
	.revision = REVISION | 0x101,
	.revision_at = 0xfefc,
	.smbase_at = 0xfef8,
	.halt_at = 0xff02,
	.restart_at = 0xff00,
	.segs_at = 0xfc00,
	.io_at = {0xfde8, 0xfdf0, 0xfdf8, 0xfde0},
	.regs = intel_regs,
	.n_regs = ARRAY_SIZE(intel_regs),
	.put_io = intel_put_io,
};

static const struct smm_map *map_of(const struct cpu *cpu)
{
	return cpu->i.amd ? &amd_map : &intel_map;
}

/* Segment registers in the order of AMD's map; it has GDTR and IDTR between. */
#define MAP_SEGS 10
static struct x86_seg *map_seg(struct cpu *cpu, unsigned n)
{
	if (n < SREG_COUNT)
		return &cpu->s.seg[n];
	return n == 7 ? &cpu->s.ldtr : n == 9 ? &cpu->s.tr : NULL;
}

static uint8_t *field(struct cpu *cpu, const struct reg *r)
{
	return (uint8_t *)&cpu->s + r->field;
}

/* ---- SMI --------------------------------------------------------------------------------------- */

static void save(struct cpu *cpu, const struct smm_map *m, bool halted)
{
	const uint64_t io[IO_WORDS] = {cpu->i.io.rip, cpu->i.io.rcx, cpu->i.io.rsi, cpu->i.io.rdi};

	for (unsigned n = 0; n < MAP_SEGS; n++) {
		const struct x86_seg *seg = map_seg(cpu, n);
		uint32_t at = m->segs_at + n * 16;

		if (!seg)
			continue;
		map_put(cpu, at, 2, seg->sel);
		map_put(cpu, at + 2, 2, seg->attr & 0xf0ff);
		map_put(cpu, at + 4, 4, seg->limit);
		map_put(cpu, at + 8, 8, seg->base);
	}
	for (const struct reg *r = m->regs; r < m->regs + m->n_regs; r++) {
		uint64_t v = 0;

		__builtin_memcpy(&v, field(cpu, r), r->field_size);
		map_put(cpu, r->at, r->size, v);
	}
	map_put(cpu, m->revision_at, 4, m->revision);
	map_put(cpu, m->smbase_at, 4, cpu->s.smbase);
	map_put(cpu, m->halt_at, 1, halted);
	map_put(cpu, m->restart_at, 1, 0);
	m->put_io(cpu);
	for (unsigned i = 0; i < IO_WORDS; i++)
		map_put(cpu, m->io_at[i], 8, cpu->i.io.smi ? io[i] : 0);
}

/* SDM vol. 3, table 32-4 */
static void enter(struct cpu *cpu)
{
	struct x86_state *s = &cpu->s;

	s->rflags = FL_ONE;
	s->rip = HANDLER;
	s->cr0 &= ~(CR0_PE | CR0_EM | CR0_TS | CR0_PG);
	s->cr4 = 0;
	s->efer = 0;
	s->dr[7] = 0x400;
	for (unsigned i = 0; i < SREG_COUNT; i++)
		s->seg[i] =
			(struct x86_seg){.attr = SEG_G | SEG_P | SEG_S | 3, .limit = UINT32_MAX};
	s->seg[CS].sel = (uint16_t)(s->smbase >> 4);
	s->seg[CS].base = s->smbase;
	s->seg[CS].attr |= 8;
	s->shadow = 0;
	s->activity = ACT_RUN;
	s->smm_nmi_blocked = s->nmi_blocked;
	s->nmi_blocked = true;
}

void cpu_smi(struct cpu *cpu)
{
	struct x86_state *s = &cpu->s;
	bool halted = s->activity == ACT_HLT;

	if (unlikely(!cpu->i.ready))
		cpu_init(cpu);
	s->smi_pending = false;
	s->smm = true; /* the map is where only SMM may see memory */
	cpu->i.fetch = false;
	save(cpu, map_of(cpu), halted);
	enter(cpu);
	cpu->i.io.smi = false;
	tlb_flush(cpu, FLUSH_ALL, 0, 0);
	mode_changed(cpu);
}

/* ---- RSM --------------------------------------------------------------------------------------- */

#define MAP_REG(cpu, m, f) map_reg(cpu, m, offsetof(struct x86_state, f))
static uint64_t map_reg(struct cpu *cpu, const struct smm_map *m, size_t at)
{
	for (const struct reg *r = m->regs; r < m->regs + m->n_regs; r++)
		if (r->field == at)
			return map_get(cpu, r->at, r->size);
	return 0;
}

/* What the map says about modes is what a processor can be in; else it shuts down. */
static bool modes_ok(struct cpu *cpu, const struct smm_map *m, const struct x86_seg *cs)
{
	uint64_t cr0 = MAP_REG(cpu, m, cr0), efer = MAP_REG(cpu, m, efer);

	if (!cpu_modes_ok(cpu, cr0, MAP_REG(cpu, m, cr4), efer) ||
	    MAP_REG(cpu, m, cr3) >> cpu->s.maxphy)
		return false;
	if (efer & EFER_LMA && (cs->attr & (SEG_L | SEG_DB)) == (SEG_L | SEG_DB))
		return false;
	return !(MAP_REG(cpu, m, rflags) & FL_VM) || (cr0 & CR0_PE && !(efer & EFER_LMA));
}

static struct x86_seg seg_get(struct cpu *cpu, const struct smm_map *m, unsigned n)
{
	uint32_t at = m->segs_at + n * 16;
	struct x86_seg seg = {.sel = (uint16_t)map_get(cpu, at, 2),
			      .attr = map_get(cpu, at + 2, 2) & 0xf0ff,
			      .limit = (uint32_t)map_get(cpu, at + 4, 4),
			      .base = map_get(cpu, at + 8, 8)};

	if (!(seg.attr & SEG_P))
		seg.attr |= SEG_UNUSABLE;
	return seg;
}

static void restore(struct cpu *cpu, const struct smm_map *m)
{
	struct x86_state *s = &cpu->s;

	for (unsigned n = 0; n < MAP_SEGS; n++)
		if (map_seg(cpu, n))
			*map_seg(cpu, n) = seg_get(cpu, m, n);
	for (const struct reg *r = m->regs; r < m->regs + m->n_regs; r++) {
		uint64_t v = map_get(cpu, r->at, r->size);

		__builtin_memcpy(field(cpu, r), &v, r->field_size);
	}
	s->pdptes_loaded = false; /* the map has none */
	s->cr0 |= CR0_ET;
	s->rflags = (s->rflags & FL_VALID) | FL_ONE;
	s->dr[6] = (s->dr[6] & 0xe00f) | 0xffff0ff0;
	s->dr[7] = (s->dr[7] & 0xffff2bff) | 0x400;
	if (!is_long(cpu))
		s->rip &= 0xffffffff;
	/* The privilege level is SS's. */
	if (is_v86(cpu))
		for (unsigned i = 0; i < SREG_COUNT; i++)
			seg_set_v86(cpu, i, s->seg[i].sel);
	else if (!is_pe(cpu))
		s->seg[SS].attr &= (uint16_t)~SEG_DPL;
}

EXEC(rsm)
{
	const struct smm_map *m = map_of(cpu);
	struct x86_state *s = &cpu->s;
	uint32_t smbase;
	struct x86_seg cs;
	bool halt;

	if (!s->smm)
		return raise_ud(cpu);
	cpu->i.fetch = false;
	cs = seg_get(cpu, m, CS);
	if (!modes_ok(cpu, m, &cs))
		return EXEC_SHUTDOWN;
	restore(cpu, m);
	if (map_get(cpu, m->restart_at, 1) == 0xff) {
		s->rip = map_get(cpu, m->io_at[IO_RIP], 8);
		s->gpr[RCX] = map_get(cpu, m->io_at[IO_RCX], 8);
		s->gpr[RSI] = map_get(cpu, m->io_at[IO_RSI], 8);
		s->gpr[RDI] = map_get(cpu, m->io_at[IO_RDI], 8);
	}
	halt = map_get(cpu, m->halt_at, 1) & 1;
	smbase = (uint32_t)map_get(cpu, m->smbase_at, 4);
	s->smbase = smbase;
	s->smm = false;
	s->nmi_blocked = s->smm_nmi_blocked;
	cpu->i.next_rip = s->rip;
	cpu->i.no_step = true;
	cpu->i.dr6 = 0;
	tlb_flush(cpu, FLUSH_ALL, 0, 0);
	mode_changed(cpu);
	return halt ? EXEC_HALT : EXEC_OK;
}
