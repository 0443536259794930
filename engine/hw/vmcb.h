/* SPDX-License-Identifier: ISC */
/* vmcb.h: AMD's virtual machine control block (APM vol. 2, appendix B). */
#ifndef ENGINE_HW_VMCB_H
#define ENGINE_HW_VMCB_H

#include "base/def.h"

struct vmcb_seg {
	uint16_t sel;
	uint16_t attr; /* descriptor bits 40-47 and 52-55 */
	uint32_t limit;
	uint64_t base;
};

struct vmcb {
	/* control area */
	uint16_t cr_read, cr_write, dr_read, dr_write; /* intercepts, one bit a register */
	uint32_t exceptions;
	uint32_t misc1, misc2;
	uint8_t pad014[0x3c - 0x14];
	uint16_t pause_threshold, pause_count;
	uint64_t iopm, msrpm; /* physical */
	uint64_t tsc_offset;
	uint32_t asid;
	uint8_t tlb_control;
	uint8_t pad05d[3];
	uint64_t v_intr;
	uint64_t shadow; /* bit 0 */
	uint64_t exit_code, exit_info1, exit_info2, exit_int_info;
	uint64_t np_enable; /* bit 0 */
	uint8_t pad098[0xa8 - 0x98];
	uint64_t event_inj;
	uint64_t n_cr3;
	uint64_t lbr_enable;
	uint64_t clean;
	uint64_t next_rip;
	uint8_t fetched, insn[15];
	uint8_t pad0e0[0x400 - 0xe0];
	/* state save area */
	struct vmcb_seg es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
	uint8_t pad4a0[0x4cb - 0x4a0];
	uint8_t cpl;
	uint32_t pad4cc;
	uint64_t efer;
	uint8_t pad4d8[0x548 - 0x4d8];
	uint64_t cr4, cr3, cr0, dr7, dr6, rflags, rip;
	uint8_t pad580[0x5d8 - 0x580];
	uint64_t rsp;
	uint8_t pad5e0[0x5f8 - 0x5e0];
	uint64_t rax, star, lstar, cstar, sfmask, kernel_gs_base;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip, cr2;
	uint8_t pad648[0x668 - 0x648];
	uint64_t g_pat, debugctl;
	uint8_t pad678[0x1000 - 0x678];
};

#define AT(field, off) _Static_assert(offsetof(struct vmcb, field) == (off), #field)
AT(misc1, 0x00c);
AT(pause_threshold, 0x03c);
AT(iopm, 0x040);
AT(tsc_offset, 0x050);
AT(asid, 0x058);
AT(v_intr, 0x060);
AT(exit_code, 0x070);
AT(exit_int_info, 0x088);
AT(np_enable, 0x090);
AT(event_inj, 0x0a8);
AT(n_cr3, 0x0b0);
AT(next_rip, 0x0c8);
AT(es, 0x400);
AT(gdtr, 0x460);
AT(tr, 0x490);
AT(cpl, 0x4cb);
AT(efer, 0x4d0);
AT(cr4, 0x548);
AT(rip, 0x578);
AT(rsp, 0x5d8);
AT(rax, 0x5f8);
AT(cr2, 0x640);
AT(g_pat, 0x668);
#undef AT
_Static_assert(sizeof(struct vmcb) == 0x1000, "VMCB");

/* misc1 */
#define INT_INTR     BIT(0)
#define INT_NMI      BIT(1)
#define INT_SMI      BIT(2)
#define INT_INIT     BIT(3)
#define INT_VINTR    BIT(4)
#define INT_RDTSC    BIT(14)
#define INT_RDPMC    BIT(15)
#define INT_CPUID    BIT(18)
#define INT_IRET     BIT(20)
#define INT_INVD     BIT(22)
#define INT_PAUSE    BIT(23)
#define INT_HLT      BIT(24)
#define INT_INVLPGA  BIT(26)
#define INT_IOIO     BIT(27)
#define INT_MSR      BIT(28)
#define INT_TASK     BIT(29)
#define INT_FERR     BIT(30)
#define INT_SHUTDOWN BIT(31)
/* misc2: VMRUN, VMMCALL, VMLOAD, VMSAVE, STGI, CLGI, SKINIT; WBINVD, MONITOR, MWAIT; XSETBV, RDPRU */
#define INT2_SVM     0x7fu
#define INT2_RDTSCP  BIT(7)
#define INT2_WBINVD  BIT(9)
#define INT2_MONITOR BIT(10)
#define INT2_MWAIT   BIT(11)
#define INT2_XSETBV  BIT(13)
#define INT2_RDPRU   BIT(14)

/* v_intr */
#define V_TPR          UINT64_C(15)
#define V_IRQ          BIT64(8)
#define V_PRIO         (UINT64_C(15) << 16)
#define V_IGN_TPR      BIT64(20)
#define V_INTR_MASKING BIT64(24)
#define V_VECTOR_SHIFT 32

#define TLB_FLUSH_ALL 1

enum svm_exit {
	SVM_EXC = 0x40, /* and the vector */
	SVM_INTR = 0x60,
	SVM_NMI = 0x61,
	SVM_SMI = 0x62,
	SVM_INIT = 0x63,
	SVM_VINTR = 0x64,
	SVM_CPUID = 0x72,
	SVM_PAUSE = 0x77,
	SVM_IOIO = 0x7b,
	SVM_TASK = 0x7d,
	SVM_FERR_FREEZE = 0x7e, /* 15.14.2: waits by an x87 error for an interrupt */
	SVM_SHUTDOWN = 0x7f,
	SVM_NPF = 0x400,
	SVM_INVALID = -1,
};

/* exit_info1 of SVM_IOIO */
#define IOIO_IN      BIT64(0)
#define IOIO_STRING  BIT64(2)
#define IOIO_SIZE(i) ((uint8_t)((i) >> 4 & 7))

#endif
