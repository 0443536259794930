/* SPDX-License-Identifier: ISC */
/* fuzz_guest.h: a guest made of arbitrary bytes, for the fuzzers of the interpreter and of the translator:
 * any mode, any paging, spoilt tables, registers as a guest could have written them, arbitrary code.
 *
 * The input is a struct fuzz_head, then code, which is also the FPU's image or a page table where the
 * head says so. The mutator here puts whole instructions into the code now and then: of random bytes few
 * are. Handlers of exceptions write to port 80H, which is how guests that go round in circles of
 * exceptions are counted, and halt or return. */
#ifndef TESTS_FUZZ_GUEST_H
#define TESTS_FUZZ_GUEST_H

#include <stdlib.h>
#include <string.h>

#include "x86/cpu.h"
#include "x86/cpuid.h"

#define FG_RAM      (4u << 20)
#define FG_PML4     0x1000u
#define FG_PDPT     0x2000u
#define FG_PD       0x3000u /* 2 MiB pages, identity, of the first GiB */
#define FG_PT       0x4000u /* … but the first 2 MiB in 4 KiB pages */
#define FG_IDT64    0x5000u
#define FG_GDT      0x6000u
#define FG_LDT      0x6800u
#define FG_TSS      0x7000u
#define FG_TSS2     0x7800u /* where a task gate leads */
#define FG_HANDLERS 0x8000u /* vector n's handler is at + 16 n */
#define FG_IDT32    0x9000u
#define FG_PML5     0xa000u
#define FG_PAE_TOP  0xb000u
#define FG_OLD_PD   0xc000u
#define FG_OLD_PT   0xd000u
#define FG_TABLES   0x1000u /* what is spoilt: from here … */
#define FG_SPOILT   0xd000u /* … so many bytes */
#define FG_STACK0   0x10000u
#define FG_STACK1   0x11000u
#define FG_CODE     0x20000u
#define FG_SMM      0x30000u
#define FG_DATA     0x40000u /* and the 256 KiB from FG_CODE on are what "useful" addresses lead to */
#define FG_CLEAR    0x60000u /* all that a guest is likely to use is below */

#define FG_PORT_COUNT 0x80u

/* Selectors */
#define FG_CODE32  0x08u
#define FG_CODE64  0x10u
#define FG_DATA0   0x18u
#define FG_CODE32U 0x23u
#define FG_DATA3   0x2bu
#define FG_CODE64U 0x33u
#define FG_CODE16U 0x3bu
#define FG_SEL_TSS 0x40u
#define FG_SEL_LDT 0x50u
#define FG_CODE16  0x80u

enum fuzz_mode_id {
	FM_LONG,
	FM_LONG2, /* most of the code there is runs in it */
	FM_COMPAT,
	FM_PROT32,
	FM_PROT16,
	FM_V86,
	FM_REAL,
	FM_UNREAL, /* real mode with 4-GiB segments */
	FM_COUNT,
};

/* Switches in how */
#define FH_USER     BIT(0)  /* ring 3, where there are rings */
#define FH_DEBUG    BIT(1)  /* breakpoints */
#define FH_LDT      BIT(2)  /* there is an LDT */
#define FH_USEFUL   BIT(3)  /* registers lead into RAM */
#define FH_WIDE     BIT(4)  /* registers have 64 bits */
#define FH_FPU      BIT(5)  /* the FPU's image is the code */
#define FH_NONSENSE BIT(6)  /* a page table is the code */
#define FH_EDGE     BIT(7)  /* the code begins at the end of a page */
#define FH_A20      BIT(8)  /* A20 is masked */
#define FH_SEGS     BIT(9)  /* segments have bases and limits */
#define FH_MAP      BIT(10) /* what RSM finds is spoilt */
#define FH_SMM      BIT(11) /* SMM runs the code before it returns */

struct fuzz_head {
	uint8_t mode, paging; /* enum fuzz_mode_id; below */
	uint8_t machine;      /* the fuzzer's */
	uint8_t handlers;     /* bit n: those of vectors n, n + 8 … return */
	uint16_t how;         /* FH_* */
	uint8_t irq_at, irq, nmi_at, smi_at;
	uint8_t pad[2];
	uint32_t rflags, pkru, dr7, xcr0;
	uint32_t gpr[16], high[8];
	struct {
		uint16_t at;
		uint8_t shift, pad;
		uint32_t bits;
	} spoil[8];
	struct {
		uint8_t which, pad[3];
		uint32_t lo, hi;
	} reg[4];
	struct {
		uint8_t attr, shift, pad[2];
		uint32_t base, limit;
	} seg[4]; /* DS ES SS FS */
};
_Static_assert(sizeof(struct fuzz_head) == 284, "no holes");

struct fuzz_guest {
	struct cpu *cpu;
	uint8_t *ram; /* FG_RAM bytes */
	struct fuzz_head h;
	const uint8_t *code;
	size_t size;
};

/* ---- tables ---------------------------------------------------------------------------------- */

static inline void fg_put64(struct fuzz_guest *g, gpa_t gpa, uint64_t v)
{
	memcpy(g->ram + gpa, &v, 8);
}

static inline void fg_put32(struct fuzz_guest *g, gpa_t gpa, uint32_t v)
{
	memcpy(g->ram + gpa, &v, 4);
}

static inline uint64_t fg_get64(const struct fuzz_guest *g, gpa_t gpa)
{
	uint64_t v;

	memcpy(&v, g->ram + gpa, 8);
	return v;
}

static inline uint64_t fg_desc(uint32_t base, uint32_t limit, uint64_t attr)
{
	return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | attr << 40 |
	       (uint64_t)(limit >> 16 & 0xf) << 48 | (uint64_t)(base >> 24) << 56;
}

static inline uint64_t fg_gate(uint32_t to, unsigned sel, uint64_t attr)
{
	return (to & 0xffff) | (uint64_t)sel << 16 | attr << 40 | (uint64_t)(to >> 16) << 48;
}

static inline bool fg_long(const struct fuzz_guest *g)
{
	return g->h.mode <= FM_COMPAT;
}

static inline void fg_gdt(struct fuzz_guest *g)
{
	static const uint64_t code_data[] = {
		0,      0xc09b, 0xa09b, 0xc093, 0xc0fb, 0xc0f3, 0xa0fb, 0x00fb, /* 00 … 38 */
		0,      0,      0,      0,      0,      0,      0,      0,      /* 40 … 78 */
		0x009b, 0x0093, 0xc09f, 0xa09f, 0x00f3, 0xc0f7, 0xc099, 0xc091, /* 80 … b8 */
	};

	for (unsigned i = 0; i < ARRAY_SIZE(code_data); i++)
		fg_put64(g, FG_GDT + i * 8, code_data[i] ? fg_desc(0, 0xfffff, code_data[i]) : 0);
	fg_put64(g, FG_GDT + FG_SEL_TSS, fg_desc(FG_TSS, 0x97, 0x008b));
	fg_put64(g, FG_GDT + FG_SEL_LDT, fg_desc(FG_LDT, 0xff, 0x0082));
	fg_put64(g, FG_GDT + 0x60, fg_gate(FG_CODE, fg_long(g) ? FG_CODE64 : FG_CODE32, 0xec));
	fg_put64(g, FG_GDT + 0x70, fg_gate(0, 0x78, 0xe5)); /* task gate */
	fg_put64(g, FG_GDT + 0x78, fg_desc(FG_TSS2, 0x67, 0x00e9));
	memcpy(g->ram + FG_LDT, g->ram + FG_GDT, 0x100);
	g->cpu->s.gdtr = (struct x86_dtr){FG_GDT, 0xbf};
}

static inline void fg_tss(struct fuzz_guest *g)
{
	struct x86_state *s = &g->cpu->s;

	memset(g->ram + FG_TSS, 0, 0x98);
	memset(g->ram + FG_TSS2, 0, 0x68);
	fg_put32(g, FG_TSS + 4, FG_STACK0);
	if (fg_long(g))
		fg_put64(g, FG_TSS + 0x24, FG_STACK1);
	else
		fg_put32(g, FG_TSS + 8, FG_DATA0);
	g->ram[FG_TSS + 0x66] = 0x68;
	g->ram[FG_TSS + 0x68 + 16] = 1; /* port 80H is not for all */
	g->ram[FG_TSS + 0x97] = 0xff;
	fg_put32(g, FG_TSS2 + 0x1c, (uint32_t)s->cr3);
	fg_put32(g, FG_TSS2 + 0x20, FG_CODE);
	fg_put32(g, FG_TSS2 + 0x24, 2);
	fg_put32(g, FG_TSS2 + 0x38, FG_STACK1);
	for (unsigned i = 0; i < 6; i++)
		fg_put32(g, FG_TSS2 + 0x48 + i * 4, i == 1 ? FG_CODE32 : FG_DATA0);
	s->tr = (struct x86_seg){
		.sel = FG_SEL_TSS, .attr = SEG_P | 0xb, .limit = 0x97, .base = FG_TSS};
	if (g->h.how & FH_LDT)
		s->ldtr = (struct x86_seg){
			.sel = FG_SEL_LDT, .attr = 0x82, .limit = 0xff, .base = FG_LDT};
}

/* Handlers count themselves, and halt or return; some with an error code to be dropped first. */
static inline void fg_handler(struct fuzz_guest *g, unsigned vector)
{
	static const char *const ret[] = {"\x48\xcf", "\xcf", "\xcf"};
	static const char *const drop[] = {"\x48\x83\xc4\x08", "\x83\xc4\x04", ""};
	bool error = vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
	unsigned kind = fg_long(g) ? 0 : g->h.mode < FM_REAL ? 1 : 2;
	uint8_t *p = g->ram + FG_HANDLERS + vector * 16;

	*p++ = 0xe6;
	*p++ = FG_PORT_COUNT;
	if (!(g->h.handlers >> (vector & 7) & 1)) {
		*p = 0xf4;
		return;
	}
	if (error) {
		memcpy(p, drop[kind], strlen(drop[kind]));
		p += strlen(drop[kind]);
	}
	memcpy(p, ret[kind], strlen(ret[kind]));
}

static inline void fg_idts(struct fuzz_guest *g)
{
	for (unsigned v = 0; v < 256; v++) {
		uint32_t to = FG_HANDLERS + v * 16;
		uint64_t dpl = v == 3 || v == 4 || v >= 0xc0 ? 0x60 : 0;

		fg_put32(g, v * 4, to); /* real mode */
		fg_put64(g, FG_IDT64 + v * 16,
			 fg_gate(to, FG_CODE64, 0x8e | dpl) | (uint64_t)(v == 8) << 32);
		fg_put64(g, FG_IDT64 + v * 16 + 8, 0);
		fg_put64(g, FG_IDT32 + v * 8,
			 v == 0xc1 ? fg_gate(0, 0x78, 0xe5)
				   : fg_gate(to, FG_CODE32, (v & 1 ? 0x8e : 0x8f) | dpl));
	}
}

static inline void fg_vectors(struct fuzz_guest *g)
{
	struct x86_state *s = &g->cpu->s;

	for (unsigned v = 0; v < 256; v++)
		fg_handler(g, v);
	if (g->h.mode >= FM_REAL)
		s->idtr = (struct x86_dtr){0, 0x3ff};
	else if (fg_long(g))
		s->idtr = (struct x86_dtr){FG_IDT64, 0xfff};
	else
		s->idtr = (struct x86_dtr){FG_IDT32, 0x7ff};
}

/* The same memory under each kind of paging */
static inline void fg_pages(struct fuzz_guest *g)
{
	fg_put64(g, FG_PML5, FG_PML4 | 7);
	fg_put64(g, FG_PML4, FG_PDPT | 7);
	fg_put64(g, FG_PML4 + 511 * 8, FG_PDPT | 7);
	fg_put64(g, FG_PDPT, FG_PD | 7);
	fg_put64(g, FG_PDPT + 8, 0x87); /* a 1-GiB page */
	fg_put64(g, FG_PDPT + 511 * 8, FG_PD | 7);
	for (uint64_t i = 0; i < 512; i++) {
		fg_put64(g, FG_PD + i * 8, i ? i << 21 | 0x87 : FG_PT | 7);
		fg_put64(g, FG_PT + i * 8, i << 12 | (i < 0x100 ? 7 : 0x107));
	}
	fg_put64(g, FG_PAE_TOP, FG_PD | 1);
	fg_put32(g, FG_OLD_PD, FG_OLD_PT | 7);
	for (uint32_t i = 0; i < 1024; i++) {
		if (i)
			fg_put32(g, FG_OLD_PD + i * 4, i << 22 | 0x87);
		fg_put32(g, FG_OLD_PT + i * 4, i << 12 | 7);
	}
}

/* All tables that are the same in each mode; made once, copied then. */
static inline void fg_tables(struct fuzz_guest *g)
{
	static uint8_t made[FG_STACK0];

	if (made[FG_PML5]) {
		memcpy(g->ram, made, sizeof(made));
		memset(g->ram + FG_STACK0, 0, FG_CLEAR - FG_STACK0);
		return;
	}
	memset(g->ram, 0, FG_CLEAR);
	fg_pages(g);
	fg_idts(g);
	memcpy(made, g->ram, sizeof(made));
}

/* ---- modes ----------------------------------------------------------------------------------- */

static inline void fg_seg(struct fuzz_guest *g, unsigned sreg, unsigned sel)
{
	uint64_t d = fg_get64(g, FG_GDT + (sel & 0xfff8));
	struct x86_seg *seg = &g->cpu->s.seg[sreg];

	*seg = (struct x86_seg){.sel = (uint16_t)sel,
				.attr = (uint16_t)(d >> 40 & 0xf0ff),
				.limit = (uint32_t)((d & 0xffff) | (d >> 32 & 0xf0000)),
				.base = (d >> 16 & 0xffffff) | (d >> 32 & 0xff000000)};
	if (seg->attr & SEG_G)
		seg->limit = seg->limit << 12 | 0xfff;
}

static inline bool fg_user(const struct fuzz_guest *g)
{
	return g->h.mode == FM_V86 || (g->h.mode < FM_REAL && g->h.how & FH_USER);
}

static inline void fg_segs_mode(struct fuzz_guest *g)
{
	static const uint8_t cs[][2] = {
		[FM_LONG] = {FG_CODE64, FG_CODE64U},   [FM_LONG2] = {FG_CODE64, FG_CODE64U},
		[FM_COMPAT] = {FG_CODE32, FG_CODE32U}, [FM_PROT32] = {FG_CODE32, FG_CODE32U},
		[FM_PROT16] = {FG_CODE16, FG_CODE16U},
	};
	unsigned data = fg_user(g) ? FG_DATA3 : FG_DATA0;

	if (g->h.mode < FM_V86) {
		for (unsigned i = 0; i < SREG_COUNT; i++)
			fg_seg(g, i, data);
		fg_seg(g, CS, cs[g->h.mode][fg_user(g)]);
		if (g->h.mode == FM_PROT16 && g->h.how & FH_WIDE)
			g->cpu->s.seg[SS].attr &= (uint16_t)~SEG_DB;
		return;
	}
	for (unsigned i = 0; i < SREG_COUNT; i++)
		g->cpu->s.seg[i] = (struct x86_seg){
			.sel = FG_CODE >> 4,
			.base = FG_CODE,
			.limit = g->h.mode == FM_UNREAL && i != CS ? UINT32_MAX : 0xffff,
			.attr = g->h.mode == FM_V86 ? 0xf3 : 0x93};
}

/* Segments as descriptors could have made them */
static inline void fg_segs_any(struct fuzz_guest *g)
{
	static const uint8_t sregs[] = {DS, ES, SS, FS};
	static const uint16_t types[] = {0x93, 0x91, 0x97, 0x95, 0x9b, 0x99, 0x9f, 0x9d};

	if (!(g->h.how & FH_SEGS) || g->h.mode == FM_V86)
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(g->h.seg); i++) {
		struct x86_seg *seg = &g->cpu->s.seg[sregs[i]];
		uint8_t attr = g->h.seg[i].attr;

		seg->base = g->h.seg[i].base >> (g->h.seg[i].shift & 31);
		if (g->h.mode >= FM_REAL) {
			seg->base &= 0xffff0;
			continue;
		}
		seg->attr = (uint16_t)(types[sregs[i] == SS ? attr & 2 : attr & 7] |
				       (fg_user(g) ? SEG_DPL : 0) | (attr & 8 ? SEG_DB : 0));
		seg->limit = g->h.seg[i].limit >> (g->h.seg[i].shift >> 3 & 31);
		if (attr & 16) {
			seg->limit |= 0xfff;
			seg->attr |= SEG_G;
		}
	}
	if (g->h.mode < FM_REAL && g->h.seg[0].attr & 32)
		g->cpu->s.seg[GS] =
			(struct x86_seg){.attr = SEG_UNUSABLE}; /* a null selector was loaded */
}

static inline void fg_paging(struct fuzz_guest *g)
{
	struct x86_state *s = &g->cpu->s;

	if (g->h.mode >= FM_REAL)
		return;
	if (fg_long(g)) {
		bool five = g->h.paging & 1 && cpu_has(g->cpu, X_FEAT_LA57);

		s->efer = EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE;
		s->cr4 |= CR4_PAE | (five ? CR4_LA57 : 0);
		s->cr3 = five ? FG_PML5 : FG_PML4;
		s->cr0 |= CR0_PG;
		return;
	}
	switch (g->h.paging & 3) {
	case 0:
		return;
	case 1:
		s->cr3 = FG_OLD_PD;
		s->cr4 |= CR4_PSE;
		break;
	case 2:
		s->cr3 = FG_PAE_TOP;
		s->cr4 |= CR4_PAE;
		s->efer = g->h.paging & 4 ? EFER_NXE : 0;
		break;
	default:
		s->cr3 = FG_OLD_PD;
	}
	s->cr0 |= CR0_PG;
}

/* What a kernel may have written to control and model-specific registers before */
static inline void fg_registers(struct fuzz_guest *g)
{
	static const uint32_t msrs[] = {
		0x10,       0x1b,       0x3b,       0x48,       0x174,      0x175,      0x176,
		0x1a0,      0x1d9,      0x200,      0x201,      0x250,      0x277,      0x2ff,
		0x6e0,      0xda0,      0xc0000080, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084,
		0xc0000100, 0xc0000101, 0xc0000102, 0xc0000103, 0xc0010111, 0xc0010015, 0x8ff};
	static const uint8_t crs[] = {0, 2, 3, 4};
	struct cpu *cpu = g->cpu;
	struct x86_state *s = &cpu->s;

	for (unsigned i = 0; i < ARRAY_SIZE(g->h.reg); i++) {
		uint64_t v = g->h.reg[i].lo | (uint64_t)g->h.reg[i].hi << 32;
		unsigned which = g->h.reg[i].which;
		const uint64_t old[] = {s->cr0, s->cr2, s->cr3, s->cr4};

		if (which & 0x80) {
			if (cpu_msr_write(cpu, msrs[which % ARRAY_SIZE(msrs)], v))
				continue;
			continue;
		}
		which &= 3;
		if (!which && (fg_user(g) || g->h.mode >= FM_REAL))
			v &= ~(CR0_PE | CR0_PG); /* what runs could not have come to be */
		if (cpu_cr_write(cpu, crs[which], old[which] ^ v))
			continue;
	}
	if (s->cr4 & CR4_OSXSAVE)
		s->xcr0 = (XCR0_X87 | (g->h.xcr0 & 6 ? XCR0_SSE : 0) |
			   (g->h.xcr0 & 4 ? XCR0_AVX : 0) |
			   ((g->h.xcr0 & 12) == 12 ? XCR0_AVX512 : 0) |
			   (g->h.xcr0 & 16 ? XCR0_PKRU : 0)) &
			  x86_xcr0_mask(cpu);
	s->pkru = g->h.pkru;
	s->rflags = FL_ONE | (g->h.mode == FM_V86 ? FL_VM : 0) |
		    (g->h.rflags & (FL_ARITH | FL_TF | FL_IF | FL_DF | FL_IOPL | FL_NT | FL_RF |
				    FL_AC | FL_VIF | FL_VIP | FL_ID));
	if (!(g->h.how & FH_DEBUG))
		return;
	s->dr[7] = 0x400 | (g->h.dr7 & 0xffff23ff);
	s->dr[0] = FG_CODE + (g->h.dr7 >> 4 & 15);
	s->dr[1] = FG_DATA;
	s->dr[2] = FG_PORT_COUNT;
}

static inline void fg_gprs(struct fuzz_guest *g)
{
	struct x86_state *s = &g->cpu->s;
	bool wide = g->h.mode <= FM_LONG2 && g->h.how & FH_WIDE;

	for (unsigned i = 0; i < 16; i++) {
		s->gpr[i] = g->h.gpr[i];
		if (g->h.how & FH_USEFUL && (g->h.gpr[i] >> 30 || i == RSP))
			s->gpr[i] = FG_CODE + (g->h.gpr[i] & 0x3ffff);
		if (g->h.mode >= FM_V86 && g->h.how & FH_USEFUL)
			s->gpr[i] &= 0xffff;
		else if (wide && i < ARRAY_SIZE(g->h.high))
			s->gpr[i] |= (uint64_t)g->h.high[i] << 32;
	}
}

/* An image as a guest could have loaded it */
static inline void fg_fpu(struct fuzz_guest *g, size_t n)
{
	uint8_t *bytes = g->cpu->s.xsave.bytes;

	memcpy(bytes, g->code, MIN(n, (size_t)832));
	memset(bytes + 26, 0, 2); /* MXCSR */
	bytes[512] &= (uint8_t)g->cpu->i.xs_image;
	memset(bytes + 513, 0, 63);
}

/* ---- the guest ------------------------------------------------------------------------------- */

/* False: too short. g->cpu, g->ram: what it is made in. The caller forgets what it has cached of
 * another before it runs. */
static inline bool fg_make(struct fuzz_guest *g, const uint8_t *data, size_t size)
{
	struct x86_state *s = &g->cpu->s;
	size_t n;

	if (size < sizeof(g->h) + 16)
		return false;
	memcpy(&g->h, data, sizeof(g->h));
	g->h.mode %= FM_COUNT;
	g->code = data + sizeof(g->h);
	g->size = size - sizeof(g->h);
	fg_tables(g);
	x86_state_reset(s, true);
	cpu_state_changed(g->cpu);
	s->cr0 = CR0_ET | CR0_NE | CR0_MP | (g->h.mode < FM_REAL ? CR0_PE : 0);
	s->cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_PGE |
		 (cpu_has(g->cpu, X_FEAT_XSAVE) ? CR4_OSXSAVE : 0);
	s->efer = 0;
	fg_paging(g);
	fg_gdt(g);
	fg_tss(g);
	fg_vectors(g);
	fg_segs_mode(g);
	fg_registers(g);
	fg_segs_any(g);
	for (unsigned i = 0; i < ARRAY_SIZE(g->h.spoil); i++) {
		gpa_t at = FG_TABLES + g->h.spoil[i].at % FG_SPOILT / 8 * 8;

		fg_put64(g, at,
			 fg_get64(g, at) ^ (uint64_t)g->h.spoil[i].bits
						   << (g->h.spoil[i].shift & 63));
	}
	fg_gprs(g);
	s->rip = FG_CODE + (g->h.how & FH_EDGE ? 0xff8 : 0);
	n = MIN(g->size, (size_t)8192);
	memcpy(g->ram + s->rip, g->code, n);
	s->rip -= s->seg[CS].base;
	if (g->h.how & FH_NONSENSE)
		memcpy(g->ram + (fg_long(g) ? FG_PD : FG_OLD_PD), g->code, MIN(n, (size_t)512));
	if (g->h.how & FH_FPU)
		fg_fpu(g, n);
	s->a20_masked = g->h.how & FH_A20;
	/* SMM begins with RSM, or with the input's code */
	memcpy(g->ram + FG_SMM + 0x8000, g->code, 16);
	memcpy(g->ram + FG_SMM + (g->h.how & FH_SMM ? 0x8010 : 0x8000), "\x0f\xaa", 2);
	return true;
}

/* After an SMI */
static inline void fg_spoil_map(struct fuzz_guest *g)
{
	for (unsigned i = 0; i < 8 && g->h.how & FH_MAP; i++)
		fg_put32(g, FG_SMM + 0xfc00 + (g->h.spoil[i].at & 0x3fc), g->h.spoil[i].bits);
}

/* ---- mutations ------------------------------------------------------------------------------- */

static inline uint64_t fg_rnd(uint64_t *rng)
{
	*rng ^= *rng << 13;
	*rng ^= *rng >> 7;
	*rng ^= *rng << 17;
	return *rng * UINT64_C(0x2545f4914f6cdd1d) >> 8;
}

/* An instruction of the mode, of random bytes */
static inline unsigned fg_insn(uint8_t *b, unsigned mode, uint64_t *rng)
{
	static const uint8_t prefixes[] = {0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e,
					   0x36, 0x64, 0x65, 0x48, 0x4c, 0x41};
	struct insn in;

	for (;;) {
		unsigned n = 0;

		for (unsigned i = 0; i < INSN_MAX; i++)
			b[i] = (uint8_t)fg_rnd(rng);
		while (fg_rnd(rng) % 3 == 0 && n < 4)
			b[n++] = prefixes[fg_rnd(rng) % sizeof(prefixes)];
		switch (fg_rnd(rng) % 8) {
		case 0:
		case 1:
			b[n] = 0x0f;
			break;
		case 2:
			b[n] = 0x0f;
			b[n + 1] = fg_rnd(rng) & 1 ? 0x38 : 0x3a;
			break;
		case 3:
			b[n] = fg_rnd(rng) & 1 ? 0xc4 : 0xc5;
			b[n + 1] |= 0xc0;
			break;
		case 4: /* EVEX */
			b[n] = 0x62;
			b[n + 1] = (uint8_t)((b[n + 1] & 0xf0) | 0xc0 | (1 + fg_rnd(rng) % 3));
			b[n + 2] |= 0x7c;
			b[n + 3] |= 8;
			break;
		default:
			break;
		}
		if (insn_decode(b, INSN_MAX, mode, &in) == DECODE_OK)
			return in.len;
	}
}

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
	static const uint8_t bytes[FM_COUNT] = {8, 8, 4, 4, 2, 2, 2, 2};
	const size_t head = sizeof(struct fuzz_head);
	uint64_t rng = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
	uint8_t insn[INSN_MAX + 8];
	size_t at, len;

	if (size < head + 16 || max < head + 64 || fg_rnd(&rng) % 3 == 0) {
		size = LLVMFuzzerMutate(data, size, max);
		if (size >= head + 16 || max < head + 16)
			return size;
		memset(data + size, 0, head + 16 - size);
		return head + 16;
	}
	at = head + fg_rnd(&rng) % MIN(size - head, (size_t)64);
	len = fg_insn(insn, bytes[data[0] % FM_COUNT], &rng);
	if (fg_rnd(&rng) & 1 && size + len <= max) { /* between others, else over them */
		memmove(data + at + len, data + at, size - at);
		size += len;
	}
	memcpy(data + at, insn, MIN(len, size - at));
	return size;
}

#endif
