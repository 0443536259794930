/* SPDX-License-Identifier: ISC */
/* soft_rig.h: a small guest in 64-bit mode for tests of the software engine: RAM, page tables, GDT,
 * an IDT whose gates all lead to a HLT, run on the calling thread until it halts. */
#ifndef TESTS_SOFT_RIG_H
#define TESTS_SOFT_RIG_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/soft/soft.h"
#include "vm/vm.h"
#include "x86/cpuid.h"
#include "x86/interp.h"

#define RIG_RAM     (16 * MIB)
#define RIG_PML4    0x1000u
#define RIG_PDPT    0x2000u
#define RIG_PD      0x3000u
#define RIG_PT      0x4000u /* 8 of them: 16 MiB in 4-KiB pages */
#define RIG_GDT     0x10000u
#define RIG_IDT     0x11000u
#define RIG_TSS     0x12000u
#define RIG_IST     0x1f000u /* top of the stack of exceptions */
#define RIG_HANDLER 0x20000u /* vector v: 16 bytes each */
#define RIG_CODE    0x100000u
#define RIG_DATA    0x200000u
#define RIG_STACK   0x300000u
#define RIG_UPPER   (UINT64_C(1) << 46) /* all is there once more */

struct rig {
	struct vm *vm;
	struct vcpu *vcpu;
	struct x86_state *s;
	uint8_t *ram;
};

static inline void rig_put64(struct rig *r, gpa_t gpa, uint64_t v)
{
	memcpy(r->ram + gpa, &v, 8);
}

static inline void rig_code(struct rig *r, gpa_t gpa, const void *bytes, size_t n)
{
	memcpy(r->ram + gpa, bytes, n);
}

static inline uint64_t *rig_pte(struct rig *r, gva_t va)
{
	return (uint64_t *)(void *)(r->ram + RIG_PT + (va >> 12) * 8);
}

static inline void rig_tables(struct rig *r)
{
	rig_put64(r, RIG_PML4, RIG_PDPT | 0x27);
	rig_put64(r, RIG_PML4 + 511 * 8, RIG_PDPT | 0x27); /* ffffff80'00000000 too */
	rig_put64(r, RIG_PML4 + 128 * 8, RIG_PDPT | 0x27);
	rig_put64(r, RIG_PDPT, RIG_PD | 0x27);
	for (unsigned i = 0; i < 8; i++)
		rig_put64(r, RIG_PD + i * 8, (RIG_PT + i * 4096u) | 0x27);
	for (unsigned i = 0; i < 4096; i++)
		*rig_pte(r, (gva_t)i << 12) = (gva_t)i << 12 | 0x67;
	rig_put64(r, RIG_GDT + 8, UINT64_C(0x00af9b000000ffff));  /* code, ring 0 */
	rig_put64(r, RIG_GDT + 16, UINT64_C(0x00cf93000000ffff)); /* data */
	rig_put64(r, RIG_GDT + 24, UINT64_C(0x00cff3000000ffff)); /* data, ring 3 */
	rig_put64(r, RIG_GDT + 32, UINT64_C(0x00affb000000ffff)); /* code, ring 3 */
	rig_put64(r, RIG_GDT + 40, UINT64_C(0x00008b0000000067) | (uint64_t)RIG_TSS << 16);
	rig_put64(r, RIG_TSS + 4, RIG_IST);
	rig_put64(r, RIG_TSS + 36, RIG_IST);
	for (unsigned v = 0; v < 256; v++) {
		uint64_t to = RIG_HANDLER + v * 16;

		rig_put64(r, RIG_IDT + v * 16,
			  (to & 0xffff) | 8 << 16 |
				  (v == 3 ? UINT64_C(0xee01) : UINT64_C(0x8e01)) << 32 |
				  (to >> 16) << 48);
		rig_put64(r, RIG_IDT + v * 16 + 8, 0);
		r->ram[to] = 0xf4;
	}
}

static inline struct x86_seg rig_seg(unsigned sel, unsigned attr)
{
	return (struct x86_seg){.sel = (uint16_t)sel, .attr = (uint16_t)attr, .limit = 0xffffffff};
}

static inline struct cpu *rig_cpu(const struct rig *r)
{
	return (struct cpu *)(void *)r->s;
}

/* 64-bit mode in ring 0 (or 3), interrupts off, at RIG_CODE. */
static inline void rig_reset(struct rig *r, bool user)
{
	struct x86_state *s = r->s;

	x86_state_reset(s, true);
	s->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG;
	s->cr3 = RIG_PML4;
	s->cr4 = CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
	s->xcr0 = (7 | XCR0_AVX512) & x86_xcr0_mask(rig_cpu(r));
	s->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
	s->seg[CS] = user ? rig_seg(0x23, 0xa0fb) : rig_seg(0x08, 0xa09b);
	s->seg[SS] = user ? rig_seg(0x1b, 0xc0f3) : rig_seg(0x10, 0xc093);
	s->seg[DS] = s->seg[ES] = s->seg[FS] = s->seg[GS] = s->seg[SS];
	s->tr = (struct x86_seg){.sel = 0x28, .attr = 0x8b, .limit = 0x67, .base = RIG_TSS};
	s->gdtr = (struct x86_dtr){RIG_GDT, 0x37};
	s->idtr = (struct x86_dtr){RIG_IDT, 0xfff};
	s->rip = RIG_CODE;
	s->gpr[RSP] = RIG_STACK;
	s->rflags = 2;
	r->vm->engine->set_state(r->vcpu);
}

/* An interrupt controller that never has any: without one the engine looks for it after each instruction of
 * the interpreter, and never goes on in the block. */
static int rig_no_vector(void *chip)
{
	return -1;
}

static uint8_t rig_no_cr8(void *chip)
{
	return 0;
}

static void rig_drop_cr8(void *chip, uint8_t cr8)
{
}

static int rig_no_msr(void *chip, uint32_t index, uint64_t *value)
{
	return ERR_NOENT;
}

static int rig_drop_msr(void *chip, uint32_t index, uint64_t value)
{
	return ERR_NOENT;
}

static void rig_no_reset(void *chip, bool init)
{
}

static const struct intc_ops rig_no_interrupts = {.pending = rig_no_vector,
						  .ack = rig_no_vector,
						  .cr8_read = rig_no_cr8,
						  .cr8_write = rig_drop_cr8,
						  .msr_read = rig_no_msr,
						  .msr_write = rig_drop_msr,
						  .reset = rig_no_reset};

/* Tables of another size are the VM's from the start. */
static uint32_t rig_tables_bytes;

static inline int rig_vm_init(struct vm *vm)
{
	return soft_vm_init_with(vm, &(struct soft_config){.tables = rig_tables_bytes});
}

static inline int rig_open_cpus(struct rig *r, const struct soft_config *cfg, unsigned cpus)
{
	static struct engine_ops engine;
	struct vm_config vc = {.name = "rig",
			       .engine = &engine,
			       .cpus = cpus,
			       .model = x86_model_find("host-avx512"),
			       .memory = RIG_RAM,
			       .low_end = RIG_RAM};
	int err;

	engine = engine_soft;
	engine.vm_init = rig_vm_init;
	rig_tables_bytes = cfg->tables;
	err = vm_create(&vc, &r->vm);
	if (err)
		return err;
	err = soft_configure(r->vm, cfg);
	if (err)
		return err;
	r->vcpu = r->vm->vcpu[0];
	for (unsigned i = 0; i < cpus; i++)
		r->vm->vcpu[i]->intc = &rig_no_interrupts;
	r->s = r->vcpu->state;
	r->ram = r->vm->ram.hva;
	rig_tables(r);
	rig_reset(r, false);
	return 0;
}

static inline int rig_open(struct rig *r, const struct soft_config *cfg)
{
	return rig_open_cpus(r, cfg, 1);
}

static inline void rig_close(struct rig *r)
{
	vm_destroy(r->vm);
}

/* Until HLT or another exit. */
static inline enum exit_kind rig_run(struct rig *r)
{
	struct vcpu_exit exit;

	r->s->activity = ACT_RUN;
	do
		r->vm->engine->run(r->vcpu, &exit);
	while (exit.kind == EXIT_NONE);
	return exit.kind;
}

/* ---- random programs ------------------------------------------------------------------------ */

/* The first bytes of an EVEX instruction: mostly what adds up to one, in any mode. */
static inline unsigned rig_evex(uint8_t *b, bool legacy, uint64_t (*rnd)(void))
{
	uint64_t v = rnd(), how = rnd();

	b[0] = 0x62;
	b[1] = (uint8_t)((v & 0xf0) | (1 + how % 3) | (legacy ? 0xc0 : 0));
	b[2] = (uint8_t)(v >> 8 | 4 | (how & 0x30 ? 0 : 0x78));
	b[3] = (uint8_t)((v >> 16 & (how & 0x40 ? 0xff : 0x6f)) | (how & 0x80 || legacy ? 8 : 0));
	b[4] = (uint8_t)(v >> 24);
	return 5;
}

/* Registers of the n-th component of the FP image; NULL: there are none. */
static inline uint8_t *rig_part(const struct rig *r, unsigned n)
{
	return r->s->xcr0 & xs_parts[n].bit ? r->s->xsave.bytes + rig_cpu(r)->i.xs_at[n] : NULL;
}

/* All vector registers at random, a component now and then in its initial state; opmasks: all, none or
 * any bits. */
static inline void rig_vectors(struct rig *r, uint64_t (*rnd)(void))
{
	uint8_t *bytes = r->s->xsave.bytes;

	bytes[512] = 2;
	for (unsigned i = 0; i < 256; i++) /* XMM */
		bytes[160 + i] = (uint8_t)rnd();
	for (unsigned n = 0; n < XS_PART_PKRU; n++) {
		uint8_t *p = rig_part(r, n);

		if (!p || !(rnd() & 7))
			continue;
		bytes[512] |= (uint8_t)xs_parts[n].bit;
		for (unsigned i = 0; i < xs_parts[n].size; i++)
			p[i] = (uint8_t)rnd();
	}
	for (unsigned k = 0; rig_part(r, XS_PART_OPMASK) && k < 8; k++)
		if (rnd() & 8)
			memset(rig_part(r, XS_PART_OPMASK) + k * 8, rnd() & 1 ? 0xff : 0, 8);
}

/* Initial or zeros is the same to a program. */
static inline bool rig_parts_differ(const struct rig *a, const struct rig *b)
{
	static const uint8_t zeros[1024];

	for (unsigned n = 0; n < XS_PART_PKRU; n++) {
		const uint8_t *x = rig_part(a, n), *y = rig_part(b, n);

		if (!x)
			continue;
		if (!(a->s->xsave.bytes[512] & xs_parts[n].bit))
			x = zeros;
		if (!(b->s->xsave.bytes[512] & xs_parts[n].bit))
			y = zeros;
		for (unsigned i = 0; i < xs_parts[n].size; i++)
			if (x[i] != y[i]) {
				printf("component %llx, byte %u: %x %x\n",
				       (unsigned long long)xs_parts[n].bit, i, x[i], y[i]);
				return true;
			}
	}
	return false;
}

#endif
