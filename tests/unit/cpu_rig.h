/* SPDX-License-Identifier: ISC */
/* cpu_rig.h: one virtual processor on a few MiB of fake RAM, for tests of x86/. */
#ifndef TESTS_CPU_RIG_H
#define TESTS_CPU_RIG_H

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "x86/cpu.h"
#include "x86/cpuid.h"

#define RIG_RAM  (4u << 20)
#define RIG_MMIO 0x10000000u /* a device that remembers eight bytes */

struct rig {
	struct cpu cpu;
	uint8_t *ram;
	uint64_t mmio_value;
	unsigned mmio_reads, mmio_writes, flushes, modes;
	uint32_t pio_value;
	uint16_t pio_port;
	uint64_t tsc;
	uint8_t cr8;
};

static inline struct rig *rig_of(struct cpu *cpu)
{
	return (struct rig *)(void *)cpu;
}

static hva_t rig_ram(struct cpu *cpu, gpa_t gpa, bool write)
{
	return gpa < RIG_RAM ? rig_of(cpu)->ram + gpa : NULL;
}

static uint64_t rig_mmio_read(struct cpu *cpu, gpa_t gpa, unsigned size)
{
	uint64_t v = UINT64_MAX;

	rig_of(cpu)->mmio_reads++;
	if (gpa >= RIG_MMIO && gpa + size <= RIG_MMIO + 8)
		v = rig_of(cpu)->mmio_value >> (8 * (gpa - RIG_MMIO));
	return size == 8 ? v : v & ((UINT64_C(1) << (8 * size)) - 1);
}

static void rig_mmio_write(struct cpu *cpu, gpa_t gpa, unsigned size, uint64_t v)
{
	rig_of(cpu)->mmio_writes++;
	if (gpa >= RIG_MMIO && gpa + size <= RIG_MMIO + 8)
		memcpy((uint8_t *)&rig_of(cpu)->mmio_value + (gpa - RIG_MMIO), &v, size);
}

static uint32_t rig_pio_read(struct cpu *cpu, uint16_t port, unsigned size)
{
	rig_of(cpu)->pio_port = port;
	return rig_of(cpu)->pio_value;
}

static void rig_pio_write(struct cpu *cpu, uint16_t port, unsigned size, uint32_t v)
{
	rig_of(cpu)->pio_port = port;
	rig_of(cpu)->pio_value = v;
}

static void rig_flush(struct cpu *cpu, enum cpu_flush kind, gva_t gva, unsigned pcid)
{
	rig_of(cpu)->flushes++;
}

static void rig_mode(struct cpu *cpu)
{
	rig_of(cpu)->modes++;
}

static uint64_t rig_tsc(struct cpu *cpu)
{
	return rig_of(cpu)->tsc += 10;
}

static uint8_t rig_cr8_read(struct cpu *cpu)
{
	return rig_of(cpu)->cr8;
}

static void rig_cr8_write(struct cpu *cpu, uint8_t v)
{
	rig_of(cpu)->cr8 = v;
}

static const struct cpu_ops rig_ops = {
	.ram = rig_ram,
	.mmio_read = rig_mmio_read,
	.mmio_write = rig_mmio_write,
	.pio_read = rig_pio_read,
	.pio_write = rig_pio_write,
	.flush = rig_flush,
	.mode_changed = rig_mode,
	.tsc = rig_tsc,
	.cr8_read = rig_cr8_read,
	.cr8_write = rig_cr8_write,
};

static struct rig *rig_new(void)
{
	struct rig *r = aligned_alloc(64, (sizeof(*r) + 63) & ~(size_t)63);
	int fd = memfd_create("native", 0);

	if (!r || fd < 0 || ftruncate(fd, 4096))
		abort();
	memset(r, 0, sizeof(*r));
	r->ram = aligned_alloc(4096, RIG_RAM);
	memset(r->ram, 0, RIG_RAM);
	r->cpu.native_size = 4096;
	r->cpu.native_rw = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	r->cpu.native_rx = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	close(fd);
	r->cpu.ops = &rig_ops;
	r->cpu.model = x86_model_find("host-avx512");
	x86_state_reset(&r->cpu.s, true);
	cpu_init(&r->cpu);
	return r;
}

static inline void rig_free(struct rig *r)
{
	munmap(r->cpu.native_rw, 4096);
	munmap(r->cpu.native_rx, 4096);
	free(r->ram);
	free(r);
}

static inline void rig_put64(struct rig *r, gpa_t gpa, uint64_t v)
{
	memcpy(r->ram + gpa, &v, 8);
}

static inline uint64_t rig_get64(const struct rig *r, gpa_t gpa)
{
	uint64_t v;

	memcpy(&v, r->ram + gpa, 8);
	return v;
}

static inline void rig_put32(struct rig *r, gpa_t gpa, uint32_t v)
{
	memcpy(r->ram + gpa, &v, 4);
}

static inline uint32_t rig_get32(const struct rig *r, gpa_t gpa)
{
	uint32_t v;

	memcpy(&v, r->ram + gpa, 4);
	return v;
}

/* ---- a flat long-mode machine: tables in the low 64 KiB ---- */

#define RIG_PML4     0x1000u
#define RIG_PDPT     0x2000u
#define RIG_PD       0x3000u /* 2 MiB pages, identity */
#define RIG_PT       0x4000u /* … but the first 2 MiB in 4 KiB pages */
#define RIG_IDT      0x5000u
#define RIG_GDT      0x6000u
#define RIG_TSS      0x7000u
#define RIG_HANDLERS 0x8000u /* vector n's handler is at + 16 n */
#define RIG_STACK0   0xf000u /* top */
#define RIG_STACK1   0xd000u /* top of IST1 */

/* Selectors, as Linux has them by chance or not */
#define SEL_CODE32 0x08u
#define SEL_CODE0  0x10u
#define SEL_DATA0  0x18u
#define SEL_CODE3C 0x23u /* 32-bit, ring 3 */
#define SEL_DATA3  0x2bu
#define SEL_CODE3  0x33u
#define SEL_TSS    0x40u

static inline uint64_t rig_desc(uint32_t base, uint32_t limit, unsigned attr)
{
	return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)attr << 40 |
	       (uint64_t)(limit >> 16 & 0xf) << 48 | (uint64_t)(base >> 24) << 56;
}

static inline void rig_gate64(struct rig *r, unsigned vec, uint64_t off, unsigned sel,
			      unsigned type, unsigned dpl, unsigned ist)
{
	rig_put64(r, RIG_IDT + vec * 16,
		  (off & 0xffff) | sel << 16 | (uint64_t)ist << 32 |
			  (uint64_t)(0x80 | dpl << 5 | type) << 40 | (off >> 16 & 0xffff) << 48);
	rig_put64(r, RIG_IDT + vec * 16 + 8, off >> 32);
}

static inline void rig_seg(struct rig *r, unsigned sreg, unsigned sel)
{
	uint64_t d = rig_get64(r, RIG_GDT + (sel & 0xfff8));
	struct x86_seg *s = &r->cpu.s.seg[sreg];

	s->sel = (uint16_t)sel;
	s->attr = (uint16_t)(d >> 40 & 0xf0ff);
	s->limit = (uint32_t)((d & 0xffff) | (d >> 32 & 0xf0000));
	if (s->attr & SEG_G)
		s->limit = s->limit << 12 | 0xfff;
	s->base = (d >> 16 & 0xffffff) | (d >> 32 & 0xff000000);
}

static inline void rig_gdt(struct rig *r)
{
	rig_put64(r, RIG_GDT + 0x08, rig_desc(0, 0xfffff, 0xc09b));
	rig_put64(r, RIG_GDT + 0x10, rig_desc(0, 0xfffff, 0xa09b));
	rig_put64(r, RIG_GDT + 0x18, rig_desc(0, 0xfffff, 0xc093));
	rig_put64(r, RIG_GDT + 0x20, rig_desc(0, 0xfffff, 0xc0fb));
	rig_put64(r, RIG_GDT + 0x28, rig_desc(0, 0xfffff, 0xc0f3));
	rig_put64(r, RIG_GDT + 0x30, rig_desc(0, 0xfffff, 0xa0fb));
	rig_put64(r, RIG_GDT + 0x40, rig_desc(RIG_TSS, 0x67, 0x008b));
	rig_put64(r, RIG_GDT + 0x48, 0);
	r->cpu.s.gdtr = (struct x86_dtr){.base = RIG_GDT, .limit = 0x7f};
}

/* Long mode, ring 0 or 3, everything identity-mapped and user-accessible. */
static inline void rig_long(struct rig *r, unsigned cpl)
{
	struct x86_state *s = &r->cpu.s;

	rig_put64(r, RIG_PML4, RIG_PDPT | 7);
	rig_put64(r, RIG_PDPT, RIG_PD | 7);
	rig_put64(r, RIG_PD, RIG_PT | 7);
	for (uint64_t i = 1; i < 512; i++)
		rig_put64(r, RIG_PD + i * 8, i << 21 | 0x87);
	for (uint64_t i = 0; i < 512; i++)
		rig_put64(r, RIG_PT + i * 8, i << 12 | 7);
	rig_gdt(r);
	for (unsigned v = 0; v < 256; v++)
		rig_gate64(r, v, RIG_HANDLERS + v * 16, SEL_CODE0, 14, v == 3 || v == 4 ? 3 : 0,
			   v == 8 ? 1 : 0);
	s->idtr = (struct x86_dtr){.base = RIG_IDT, .limit = 0xfff};
	r->ram[RIG_TSS + 0x66] = 0x68; /* no I/O map */
	rig_put64(r, RIG_TSS + 4, RIG_STACK0);
	rig_put64(r, RIG_TSS + 0x24, RIG_STACK1);
	s->tr = (struct x86_seg){
		.sel = SEL_TSS, .attr = SEG_P | 0xb, .limit = 0x67, .base = RIG_TSS};
	s->cr0 = CR0_PE | CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_MP;
	s->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_PGE;
	if (cpu_has(&r->cpu, X_FEAT_XSAVE)) {
		s->cr4 |= CR4_OSXSAVE;
		s->xcr0 = x86_xcr0_mask(&r->cpu);
	}
	s->efer = EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE;
	s->cr3 = RIG_PML4;
	rig_seg(r, CS, cpl ? SEL_CODE3 : SEL_CODE0);
	rig_seg(r, SS, cpl ? SEL_DATA3 : SEL_DATA0);
	for (unsigned i = DS; i <= GS; i++)
		rig_seg(r, i, SEL_DATA3);
	rig_seg(r, ES, SEL_DATA3);
	s->rflags = FL_ONE;
	cpu_state_changed(&r->cpu);
}

/* Where an exception has led: its vector, or -1. */
static inline int rig_vector(const struct rig *r)
{
	uint64_t off = r->cpu.s.rip - RIG_HANDLERS;

	return off < 256 * 16 && off % 16 == 0 ? (int)(off / 16) : -1;
}

/* What a model has on this host */
static inline bool model_has(const struct x86_model *model, enum x86_feature f)
{
	struct x86_kind kind;

	x86_kind_of(model, &kind);
	return x86_kind_has(&kind, f);
}

static inline uint64_t model_xcr0(const struct x86_model *model)
{
	struct x86_kind kind;

	x86_kind_of(model, &kind);
	return x86_kind_xcr0(&kind);
}

#endif
