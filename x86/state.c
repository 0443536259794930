/* SPDX-License-Identifier: ISC */
/* state.c: a processor's state after power-on, INIT and SIPI (SDM vol. 3, table 9-1 and 8.4.3).
 * Called by the thread that owns the state. */
#include "x86/state.h"

#include "base/str.h"

#define ATTR_DATA (SEG_P | SEG_S | 0x3u) /* read/write, accessed */
#define ATTR_CODE (SEG_P | SEG_S | 0xbu) /* execute/read, accessed */
#define ATTR_LDT  (SEG_P | 0x2u)
#define ATTR_TSS  (SEG_P | 0xbu) /* 32-bit, busy */
#define PAT_RESET UINT64_C(0x0007040600070406)

/* The parts that power-on and INIT share. */
static void reset_core(struct x86_state *s, bool bsp)
{
	memset(s->gpr, 0, sizeof(s->gpr));
	s->gpr[RDX] = 0x600; /* family in bits 8-11; nobody looks */
	s->rip = 0xfff0;
	s->rflags = FL_ONE;
	for (unsigned i = 0; i < SREG_COUNT; i++)
		s->seg[i] = (struct x86_seg){.attr = ATTR_DATA, .limit = 0xffff};
	s->seg[CS] = (struct x86_seg){
		.sel = 0xf000, .attr = ATTR_CODE, .limit = 0xffff, .base = 0xffff0000};
	s->ldtr = (struct x86_seg){.attr = ATTR_LDT, .limit = 0xffff};
	s->tr = (struct x86_seg){.attr = ATTR_TSS, .limit = 0xffff};
	s->gdtr = (struct x86_dtr){.limit = 0xffff};
	s->idtr = (struct x86_dtr){.limit = 0xffff};
	s->cr2 = s->cr3 = s->cr4 = 0;
	memset(s->pdpte, 0, sizeof(s->pdpte));
	s->pdptes_loaded = false;
	memset(s->dr, 0, sizeof(s->dr));
	s->dr[6] = 0xffff0ff0;
	s->dr[7] = 0x400;
	s->efer = 0;
	s->shadow = 0;
	s->activity = bsp ? ACT_RUN : ACT_WAIT_SIPI;
	s->nmi_blocked = s->nmi_pending = s->smm = false;
	s->smi_pending = s->init_pending = s->init_nmi = s->smm_nmi_blocked = false;
}

void x86_state_reset(struct x86_state *s, bool bsp)
{
	memset(s, 0, sizeof(*s));
	reset_core(s, bsp);
	s->cr0 = CR0_ET | CR0_NW | CR0_CD;
	s->xcr0 = XCR0_X87;
	s->pat = PAT_RESET;
	s->misc_enable = BIT64(0); /* fast strings */
	s->smbase = 0x30000;
	s->maxphy = X86_MAXPHY;
	/* FCW 0040H, tags empty after power-on are 5555H in the full form; as FNINIT leaves
	 * it is what firmware and kernels expect, and XSTATE_BV = 0 says just that. */
	s->xsave.bytes[0] = 0x7f;
	s->xsave.bytes[1] = 0x03;
	s->xsave.bytes[24] = 0x80; /* MXCSR 1F80H */
	s->xsave.bytes[25] = 0x1f;
}

void x86_state_init(struct x86_state *s, bool bsp)
{
	uint64_t cache = s->cr0 & (CR0_CD | CR0_NW);

	/* FPU, XCR0, MTRRs, PAT, TSC and the machine-check registers survive INIT. */
	reset_core(s, bsp);
	s->cr0 = CR0_ET | cache;
}

void x86_state_sipi(struct x86_state *s, uint8_t vector)
{
	s->seg[CS].sel = (uint16_t)(vector << 8);
	s->seg[CS].base = (uint64_t)vector << 12;
	s->rip = 0;
	s->activity = ACT_RUN;
}
