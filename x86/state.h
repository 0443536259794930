/* SPDX-License-Identifier: ISC */
/* state.h: the canonical, engine-independent state of one x86-64 processor.
 *
 * Every engine keeps or converts to this; the saved state writes it. SDM and APM names. */
#ifndef X86_STATE_H
#define X86_STATE_H

#include "base/def.h"

enum x86_gpr { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };
enum x86_sreg { ES, CS, SS, DS, FS, GS, SREG_COUNT };

/* A segment register with its hidden part. attr is bits 8-23 of the descriptor's upper half,
 * shifted right by 8: type 0-3, S 4, DPL 5-6, P 7, AVL 12, L 13, D/B 14, G 15; limit is in
 * bytes, already scaled. SEG_UNUSABLE: loaded with a null selector. */
struct x86_seg {
	uint16_t sel;
	uint16_t attr;
	uint32_t limit;
	uint64_t base;
};
#define SEG_TYPE     0x000fu
#define SEG_S        0x0010u
#define SEG_DPL      0x0060u
#define SEG_P        0x0080u
#define SEG_UNUSABLE 0x0100u
#define SEG_AVL      0x1000u
#define SEG_L        0x2000u
#define SEG_DB       0x4000u
#define SEG_G        0x8000u

struct x86_dtr {
	uint64_t base;
	uint16_t limit;
};

/* RFLAGS */
#define FL_CF    BIT64(0)
#define FL_ONE   BIT64(1) /* always set */
#define FL_PF    BIT64(2)
#define FL_AF    BIT64(4)
#define FL_ZF    BIT64(6)
#define FL_SF    BIT64(7)
#define FL_TF    BIT64(8)
#define FL_IF    BIT64(9)
#define FL_DF    BIT64(10)
#define FL_OF    BIT64(11)
#define FL_IOPL  (3u << 12)
#define FL_NT    BIT64(14)
#define FL_RF    BIT64(16)
#define FL_VM    BIT64(17)
#define FL_AC    BIT64(18)
#define FL_VIF   BIT64(19)
#define FL_VIP   BIT64(20)
#define FL_ID    BIT64(21)
#define FL_ARITH (FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF | FL_OF)

/* CR0, CR4, EFER, XCR0 */
#define CR0_PE         BIT64(0)
#define CR0_MP         BIT64(1)
#define CR0_EM         BIT64(2)
#define CR0_TS         BIT64(3)
#define CR0_ET         BIT64(4)
#define CR0_NE         BIT64(5)
#define CR0_WP         BIT64(16)
#define CR0_AM         BIT64(18)
#define CR0_NW         BIT64(29)
#define CR0_CD         BIT64(30)
#define CR0_PG         BIT64(31)
#define CR4_VME        BIT64(0)
#define CR4_PVI        BIT64(1)
#define CR4_TSD        BIT64(2)
#define CR4_DE         BIT64(3)
#define CR4_PSE        BIT64(4)
#define CR4_PAE        BIT64(5)
#define CR4_MCE        BIT64(6)
#define CR4_PGE        BIT64(7)
#define CR4_PCE        BIT64(8)
#define CR4_OSFXSR     BIT64(9)
#define CR4_OSXMMEXCPT BIT64(10)
#define CR4_UMIP       BIT64(11)
#define CR4_LA57       BIT64(12)
#define CR4_FSGSBASE   BIT64(16)
#define CR4_PCIDE      BIT64(17)
#define CR4_OSXSAVE    BIT64(18)
#define CR4_SMEP       BIT64(20)
#define CR4_SMAP       BIT64(21)
#define CR4_PKE        BIT64(22)
#define EFER_SCE       BIT64(0)
#define EFER_LME       BIT64(8)
#define EFER_LMA       BIT64(10)
#define EFER_NXE       BIT64(11)
#define EFER_FFXSR     BIT64(14)
#define EFER_AIBRSE    BIT64(21) /* AMD: automatic IBRS */
#define XCR0_X87       BIT64(0)
#define XCR0_SSE       BIT64(1)
#define XCR0_AVX       BIT64(2)
#define XCR0_OPMASK    BIT64(5)
#define XCR0_ZMM_HI    BIT64(6)
#define XCR0_HI_ZMM    BIT64(7)
#define XCR0_PKRU      BIT64(9)
#define XCR0_AVX512    (XCR0_OPMASK | XCR0_ZMM_HI | XCR0_HI_ZMM)

/* Exception vectors (SDM vol. 3, table 6-1) */
/* clang-format off */
enum x86_vector {
	VEC_DE = 0, VEC_DB = 1, VEC_NMI = 2, VEC_BP = 3, VEC_OF = 4, VEC_BR = 5, VEC_UD = 6,
	VEC_NM = 7, VEC_DF = 8, VEC_TS = 10, VEC_NP = 11, VEC_SS = 12, VEC_GP = 13, VEC_PF = 14,
	VEC_MF = 16, VEC_AC = 17, VEC_MC = 18, VEC_XM = 19, VEC_CP = 21,
};
/* clang-format on */
/* #PF error code */
#define PF_P   BIT(0)
#define PF_W   BIT(1)
#define PF_U   BIT(2)
#define PF_RSV BIT(3)
#define PF_I   BIT(4)
#define PF_PK  BIT(5)

/* Interrupt shadows (STI; MOV SS and POP SS), in x86_state.shadow */
#define SHADOW_STI   BIT(0)
#define SHADOW_MOVSS BIT(1)

enum x86_activity {
	ACT_RUN,
	ACT_HLT,
	ACT_SHUTDOWN,  /* triple fault */
	ACT_WAIT_SIPI, /* after INIT on an application processor */
};

#define X86_MTRR_VAR 8
struct x86_mtrr {
	uint64_t def_type;
	uint64_t fixed[11]; /* 64K, 16K ×2, 4K ×8 in MSR order */
	uint64_t base[X86_MTRR_VAR], mask[X86_MTRR_VAR];
};

/* Standard-format XSAVE image: legacy region, header, AVX at 576, then as the host's CPUID leaf 0DH has
 * it (cpu_interp.xs_at), so that its instructions take it; saved states are rid of that by
 * x86_xsave_move(). */
#define X86_XSAVE_SIZE 2816
struct x86_xsave {
	uint8_t bytes[X86_XSAVE_SIZE];
} attr_aligned(64);

struct x86_state {
	uint64_t gpr[16];
	uint64_t rip;
	uint64_t rflags; /* complete; bit 1 set */
	struct x86_seg seg[SREG_COUNT];
	struct x86_seg ldtr, tr;
	struct x86_dtr gdtr, idtr;
	uint64_t cr0, cr2, cr3, cr4; /* CR8 is the local APIC's TPR[7:4] */
	uint64_t pdpte[4];           /* PAE paging's, as they were when they were loaded */
	uint64_t dr[8];              /* 4 and 5 unused */
	uint64_t xcr0;
	uint64_t efer, star, lstar, cstar, sfmask, kernel_gs_base;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t pat, tsc_aux, misc_enable, spec_ctrl, xss, debugctl, mcg_status, mcg_ctl;
	uint64_t tsc_offset; /* guest TSC = host's, at the guest's rate, + tsc_offset (mod 2^64) */
	uint64_t tsc_adjust;
	uint32_t pkru;
	uint32_t smbase;
	struct x86_mtrr mtrr;

	uint8_t shadow;   /* SHADOW_*: holds for the next instruction */
	uint8_t activity; /* enum x86_activity */
	bool nmi_blocked;
	bool nmi_pending;
	bool smm;
	bool smi_pending, init_pending; /* INIT within SMM waits for RSM */
	bool init_nmi;                  /* … and an NMI has come after it */
	bool smm_nmi_blocked;           /* nmi_blocked of the interrupted program */
	bool a20_masked;                /* physical bit 20 forced to 0 */
	bool ignne;                     /* IGNNE#: x87 errors that CR0.NE does not report are
					 * passed over until there is none */
	bool pdptes_loaded;             /* else the next walk reads them from memory */
	uint8_t maxphy;                 /* MAXPHYADDR (SDM vol. 3, 4.1.4); the machine's choice */

	struct x86_xsave xsave; /* engines keep it current whenever their run() has returned */
};

/* MAXPHYADDR of a machine whose RAM fits. Firmware makes page tables for, and puts devices at the end
 * of, all that this says: OVMF of 2022 takes 256 MiB of RAM for 46 bits, and it and SeaBIOS know that
 * 40, which QEMU says where it does not know better, may be more than the host's processor has. */
#define X86_MAXPHY     40
#define X86_MAXPHY_MAX 52

/* Power-on state of the bootstrap (bsp) or an application processor (SDM vol. 3, table 9-1). */
void x86_state_reset(struct x86_state *s, bool bsp);
/* State after INIT: as reset, but keeps what table 9-1 says INIT keeps. */
void x86_state_init(struct x86_state *s, bool bsp);
/* An application processor starts at vector << 12 in real mode. */
void x86_state_sipi(struct x86_state *s, uint8_t vector);

/* An x87 error that is not masked waits to be reported; s->xsave must be current. */
static inline bool x86_x87_error(const struct x86_state *s)
{
	return s->xsave.bytes[2] & 0x80 && s->xsave.bytes[512] & 1;
}

/* PAE paging is in use (SDM vol. 3, 4.1.1). */
static inline bool x86_pae(const struct x86_state *s)
{
	return s->cr0 & CR0_PG && s->cr4 & CR4_PAE && !(s->efer & EFER_LMA);
}

/* One of PAE's page-directory-pointer entries without reserved bits, or not present */
static inline bool x86_pdpte_ok(const struct x86_state *s, uint64_t pdpte)
{
	return !(pdpte & 1) || !(pdpte & (~(BIT64(s->maxphy) - 1) | 0x1e6));
}

/* All of them are as a processor of this width could have loaded them. */
static inline bool x86_pdptes_ok(const struct x86_state *s)
{
	for (unsigned i = 0; i < ARRAY_SIZE(s->pdpte); i++)
		if (!x86_pdpte_ok(s, s->pdpte[i]))
			return false;
	return true;
}

static inline unsigned x86_cpl(const struct x86_state *s)
{
	return (s->seg[SS].attr & SEG_DPL) >> 5;
}

#endif
