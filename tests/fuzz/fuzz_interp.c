/* SPDX-License-Identifier: ISC */
/* fuzz_interp.c: arbitrary code in arbitrary processor states. Nothing that a guest does may crash the
 * interpreter, hang it, or touch memory outside of guest RAM (which ends at a guard page).
 *
 * Input: 16 bytes of mode and switches, 64 of registers, 64 that spoil the tables (and SMM's map), the
 * rest is code (and FPU state, and tables). Switches: [0] ring, mode, paging, maker, 5 levels; [1] one bit
 * each, below; [2] [3] when which interrupt comes; [15] when an SMI comes. */
#include "tests/unit/cpu_rig.h"

#define CODE  0x20000u
#define STEPS 100

/* Tables of their own, so that the usual ones stay */
#define PML5    0x10000u
#define PAE_TOP 0x11000u
#define OLD_PD  0x12000u
#define SMM     0x30000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t word(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return v;
}

static void prot32(struct rig *r, unsigned cpl)
{
	struct x86_state *s = &r->cpu.s;

	rig_put64(r, RIG_GDT + 0x10, rig_desc(0, 0xfffff, 0xc09b));
	rig_put64(r, RIG_GDT + 0x30, rig_desc(0, 0xfffff, 0xc0fb));
	for (unsigned v = 0; v < 256; v++)
		rig_put64(r, RIG_IDT + v * 8,
			  (RIG_HANDLERS + v * 16) | SEL_CODE0 << 16 | UINT64_C(0x8e) << 40);
	rig_put32(r, RIG_TSS + 4, RIG_STACK0);
	rig_put32(r, RIG_TSS + 8, SEL_DATA0);
	s->efer = 0;
	s->cr0 &= ~CR0_PG;
	rig_seg(r, CS, cpl ? SEL_CODE3 : SEL_CODE0);
}

/* Paging below long mode: PAE, or with entries of 4 bytes, the same memory in large pages. */
static void page_prot(struct rig *r, bool pae)
{
	struct x86_state *s = &r->cpu.s;

	for (uint32_t i = 0; i < 4; i++)
		rig_put64(r, PAE_TOP + i * 8, i ? 0 : RIG_PD | 1);
	for (uint32_t i = 0; i < 1024; i++)
		rig_put32(r, OLD_PD + i * 4, i << 22 | 0x87);
	s->cr3 = pae ? PAE_TOP : OLD_PD;
	s->cr4 = (s->cr4 & ~CR4_PAE) | CR4_PSE | (pae ? CR4_PAE : 0);
	s->cr0 |= CR0_PG;
}

static bool is_protected(const struct x86_state *s)
{
	return s->cr0 & CR0_PE && !(s->efer & EFER_LMA);
}

static void five_levels(struct rig *r)
{
	rig_put64(r, PML5, RIG_PML4 | 7);
	r->cpu.s.cr3 = PML5;
	r->cpu.s.cr4 |= CR4_LA57;
}

static void set_mode(struct rig *r, const uint8_t *d)
{
	struct x86_state *s = &r->cpu.s;

	rig_long(r, d[0] & 1 ? 3 : 0);
	switch (d[0] >> 1 & 7) {
	case 0:
	case 1:
	case 2:
		break;
	case 3: /* compatibility mode */
		rig_seg(r, CS, d[0] & 1 ? SEL_CODE3C : SEL_CODE32);
		break;
	case 4:
		prot32(r, d[0] & 1 ? 3 : 0);
		break;
	case 5: /* 16-bit protected */
		prot32(r, d[0] & 1 ? 3 : 0);
		s->seg[CS].attr &= (uint16_t)~SEG_DB;
		s->seg[SS].attr &= (uint16_t)~SEG_DB;
		break;
	case 6: /* virtual-8086 */
		prot32(r, 3);
		s->rflags |= FL_VM;
		for (unsigned i = 0; i < SREG_COUNT; i++)
			s->seg[i] = (struct x86_seg){
				.sel = 0x2000, .base = 0x20000, .limit = 0xffff, .attr = 0xf3};
		break;
	default: /* real */
		s->cr0 = CR0_ET;
		s->efer = 0;
		for (unsigned i = 0; i < SREG_COUNT; i++)
			s->seg[i] = (struct x86_seg){
				.sel = 0x2000, .base = 0x20000, .limit = 0xffff, .attr = 0x93};
		s->idtr = (struct x86_dtr){.base = 0, .limit = 0x3ff};
	}
	if (is_protected(s) && d[0] & 0x10)
		page_prot(r, d[0] & 0x20);
	else if (s->efer & EFER_LMA && d[0] & 0x80)
		five_levels(r);
	r->cpu.i.amd = d[0] & 0x40;
	s->rip = CODE - s->seg[CS].base;
	s->cr0 ^= word(d + 4) & (CR0_TS | CR0_EM | CR0_MP | CR0_NE | CR0_AM | CR0_WP);
	s->cr4 ^= word(d + 4) & (CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_OSFXSR |
				 CR4_OSXMMEXCPT | CR4_UMIP | CR4_FSGSBASE | CR4_OSXSAVE | CR4_SMEP |
				 CR4_SMAP | CR4_PKE | CR4_PCIDE);
	if (!(s->efer & EFER_LMA))
		s->cr4 &= ~CR4_PCIDE;
	s->pkru = word(d + 12);
	s->rflags |= word(d + 8) & (FL_ARITH | FL_TF | FL_IF | FL_DF | FL_IOPL | FL_NT | FL_RF |
				    FL_AC | FL_VIF | FL_VIP);
	if (d[1] & 1) {
		s->dr[7] = 0x400 | (uint32_t)d[12] << 16 | (d[13] & 0xff);
		s->dr[0] = CODE + (d[14] & 15);
		s->dr[1] = 0x30000;
	}
	if (d[1] & 2) {
		s->ldtr =
			(struct x86_seg){.sel = 0x50, .attr = 0x82, .limit = 0xff, .base = RIG_GDT};
	}
}

/* SMM with RSM at once, or with the input's code first; what RSM finds is spoilt. */
static void smi(struct rig *r, const uint8_t *data, size_t size)
{
	cpu_smi(&r->cpu);
	if (data[15] & 128)
		memcpy(r->ram + SMM + 0x8000, data + 144, size > 16 ? 16 : size);
	memcpy(r->ram + SMM + 0x8010, "\x0f\xaa", 2);
	if (!(data[15] & 128))
		r->cpu.s.rip += 0x10;
	if (data[12] & 1)
		for (unsigned i = 0; i < 8; i++)
			rig_put32(r, SMM + 0xfc00 + (word(data + 80 + i * 8) & 0x3fc),
				  word(data + 84 + i * 8));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct rig *r;
	struct x86_state *s;

	if (size < 160)
		return 0;
	if (!r) {
		r = rig_new();
		r->cpu.model = x86_model_find("host-la57");
		cpu_init(&r->cpu);
		free(r->ram);
		r->ram = mmap(NULL, RIG_RAM + 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (mprotect(r->ram, RIG_RAM, PROT_READ | PROT_WRITE))
			abort();
	}
	s = &r->cpu.s;
	memset(r->ram, 0, 0x60000);
	x86_state_reset(s, true);
	r->cpu.i.pending = 0;
	set_mode(r, data);
	for (unsigned i = 0; i < 16; i++)
		s->gpr[i] = word(data + 16 + i * 4);
	if (data[1] & 4) /* somewhere useful */
		for (unsigned i = 0; i < 16; i++)
			s->gpr[i] = 0x20000 + (s->gpr[i] & 0x1ffff);
	if (!(data[0] >> 1 & 4))
		for (unsigned i = 0; i < 16; i++)
			s->gpr[i] |= data[1] & 8 ? (uint64_t)word(data + 80 + i * 4) << 32 : 0;
	if (data[1] & 16) /* spoils descriptors, gates, page tables */
		for (unsigned i = 0; i < 8; i++)
			rig_put64(r, RIG_PML4 + (word(data + 80 + i * 8) & 0x6ff8),
				  (uint64_t)word(data + 84 + i * 8) << 32 |
					  word(data + 82 + i * 8));
	size -= 144;
	memcpy(r->ram + CODE, data + 144, size > 4096 ? 4096 : size);
	if (data[1] & 16 && size > 256) /* and page tables that make no sense at all */
		memcpy(r->ram + (data[0] & 0x10 ? OLD_PD : RIG_PD), data + 144, 256);
	if (data[1] & 32)
		memcpy(s->xsave.bytes, data + 144, size > 832 ? 832 : size);
	for (unsigned v = 0; v < 256; v++) /* handlers return */
		memcpy(r->ram + RIG_HANDLERS + v * 16,
		       data[1] & 64 ? "\x83\xc4\x04\xcf" : "\x48\xcf\x90", 4);
	cpu_state_changed(&r->cpu);
	for (unsigned i = 0; i < STEPS; i++) {
		if (i == (data[15] & 127) && !s->smm && !s->shadow)
			smi(r, data, size);
		if (cpu_step(&r->cpu) >= STEP_HALT && s->activity != ACT_RUN)
			break;
		if (i == (data[2] & 63) && cpu_can_interrupt(&r->cpu))
			cpu_interrupt(&r->cpu, data[3]);
		if (i == (data[2] & 31) && data[1] & 128)
			cpu_nmi(&r->cpu);
	}
	return 0;
}
