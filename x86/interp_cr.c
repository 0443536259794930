/* SPDX-License-Identifier: ISC */
/* interp_cr.c: writing control registers (SDM vol. 3, 2.5, 4.1, 9.8.5; vol. 2 MOV CR), with all
 * checks and side effects. CPU's own thread only. */
#include "base/str.h"
#include "x86/interp.h"

#define CR0_VALID                                                                                  \
	(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | \
	 CR0_PG)
static bool pae_mode(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
	return cr0 & CR0_PG && cr4 & CR4_PAE && !(efer & EFER_LME);
}

/* What CR3 leads to becomes the four registers, unless one has a reserved bit set. */
static int load_pdptes(struct cpu *cpu, uint64_t cr3)
{
	uint64_t pdpte[4];

	if (!pdptes_read(cpu, cr3, pdpte))
		return raise_gp0(cpu);
	memcpy(cpu->s.pdpte, pdpte, sizeof(pdpte));
	cpu->s.pdptes_loaded = true;
	return 0;
}

static int write_cr0(struct cpu *cpu, uint64_t v)
{
	struct x86_state *s = &cpu->s;
	uint64_t old = s->cr0, changed;

	if (v >> 32 || (v & CR0_PG && !(v & CR0_PE)) || (v & CR0_NW && !(v & CR0_CD)))
		return raise_gp0(cpu);
	v = (v & CR0_VALID) | CR0_ET;
	changed = v ^ old;
	if (changed & CR0_PG && v & CR0_PG) {
		if (s->efer & EFER_LME && (!(s->cr4 & CR4_PAE) || s->seg[CS].attr & SEG_L))
			return raise_gp0(cpu);
	}
	if (changed & CR0_PG && !(v & CR0_PG) && (is_64(cpu) || s->cr4 & CR4_PCIDE))
		return raise_gp0(cpu);
	if (changed & (CR0_CD | CR0_NW | CR0_PG) && pae_mode(v, s->cr4, s->efer) &&
	    load_pdptes(cpu, s->cr3))
		return CPU_FAULT;
	s->cr0 = v;
	if (v & CR0_PG && s->efer & EFER_LME)
		s->efer |= EFER_LMA;
	else
		s->efer &= ~EFER_LMA;
	if (changed & (CR0_PG | CR0_WP | CR0_PE))
		tlb_flush(cpu, FLUSH_ALL, 0, 0);
	mode_changed(cpu);
	return 0;
}

int cr3_write(struct cpu *cpu, uint64_t v)
{
	struct x86_state *s = &cpu->s;
	bool keep = false;

	if (is_long(cpu)) {
		if (s->cr4 & CR4_PCIDE) {
			keep = v & BIT64(63);
			v &= ~BIT64(63);
		}
		if (v >> cpu->s.maxphy)
			return raise_gp0(cpu);
	} else {
		v &= 0xffffffff;
		if (pae_mode(s->cr0, s->cr4, s->efer) && load_pdptes(cpu, v))
			return CPU_FAULT;
	}
	s->cr3 = v;
	tlb_flush(cpu, FLUSH_NONGLOBAL, keep ? BIT64(63) : 0,
		  s->cr4 & CR4_PCIDE ? (unsigned)v & 0xfff : 0);
	return 0;
}

/* Bits of CR4 and what must be in CPUID for them */
static const struct {
	uint64_t bit;
	uint8_t feature;
} cr4_bits[] = {
	{CR4_VME, X_FEAT_VME},       {CR4_PVI, X_FEAT_VME},           {CR4_TSD, X_FEAT_TSC},
	{CR4_DE, X_FEAT_DE},         {CR4_PSE, X_FEAT_PSE},           {CR4_PAE, X_FEAT_PAE},
	{CR4_MCE, X_FEAT_MCE},       {CR4_PGE, X_FEAT_PGE},           {CR4_PCE, X_FEAT_NONE},
	{CR4_OSFXSR, X_FEAT_FXSR},   {CR4_OSXMMEXCPT, X_FEAT_SSE},    {CR4_UMIP, X_FEAT_UMIP},
	{CR4_LA57, X_FEAT_LA57},     {CR4_FSGSBASE, X_FEAT_FSGSBASE}, {CR4_PCIDE, X_FEAT_PCID},
	{CR4_OSXSAVE, X_FEAT_XSAVE}, {CR4_SMEP, X_FEAT_SMEP},         {CR4_SMAP, X_FEAT_SMAP},
	{CR4_PKE, X_FEAT_PKU},
};

static uint64_t cr4_valid(const struct cpu *cpu)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(cr4_bits); i++)
		if (!cr4_bits[i].feature || cpu_has(cpu, cr4_bits[i].feature))
			v |= cr4_bits[i].bit;
	return v;
}

bool cpu_modes_ok(const struct cpu *cpu, uint64_t cr0, uint64_t cr4, uint64_t efer)
{
	bool lma = efer & EFER_LMA;

	if (cr0 & ~(uint64_t)CR0_VALID || cr4 & ~cr4_valid(cpu) || efer & ~efer_valid(cpu))
		return false;
	if ((cr0 & CR0_PG && !(cr0 & CR0_PE)) || (cr0 & CR0_NW && !(cr0 & CR0_CD)))
		return false;
	if (lma != (efer & EFER_LME && cr0 & CR0_PG))
		return false;
	return lma ? cr4 & CR4_PAE : !(cr4 & CR4_PCIDE);
}

static int write_cr4(struct cpu *cpu, uint64_t v)
{
	const uint64_t flushing =
		CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP | CR4_SMAP | CR4_PKE | CR4_PCIDE | CR4_LA57;
	struct x86_state *s = &cpu->s;
	uint64_t changed = v ^ s->cr4;

	if (v & ~cr4_valid(cpu))
		return raise_gp0(cpu);
	if (is_long(cpu) && (changed & CR4_LA57 || !(v & CR4_PAE)))
		return raise_gp0(cpu);
	if (changed & v & CR4_PCIDE && (!is_long(cpu) || s->cr3 & 0xfff))
		return raise_gp0(cpu);
	if (changed & (CR4_PAE | CR4_PSE | CR4_PGE | CR4_SMEP) && pae_mode(s->cr0, v, s->efer) &&
	    load_pdptes(cpu, s->cr3))
		return CPU_FAULT;
	s->cr4 = v;
	if (changed & flushing)
		tlb_flush(cpu, FLUSH_ALL, 0, 0);
	mode_changed(cpu);
	return 0;
}

static int cr_write(struct cpu *cpu, unsigned cr, uint64_t value)
{
	switch (cr) {
	case 0:
		return write_cr0(cpu, value);
	case 2:
		cpu->s.cr2 = value;
		return 0;
	case 3:
		return cr3_write(cpu, value);
	case 4:
		return write_cr4(cpu, value);
	case 8:
		if (value > 15)
			return raise_gp0(cpu);
		cpu->ops->cr8_write(cpu, (uint8_t)value);
		return 0;
	default:
		return raise_ud(cpu);
	}
}

int cpu_cr_write(struct cpu *cpu, unsigned cr, uint64_t value)
{
	int err;

	if (unlikely(!cpu->i.ready))
		cpu_init(cpu);
	err = cr_write(cpu, cr, value);
	if (!err && cr != 2 && cr != 8)
		tell(cpu, TOLD_CR + cr, value);
	return err;
}
