/* SPDX-License-Identifier: ISC */
/* vmcs.h: Intel's virtual machine control structure: fields (SDM vol. 3, appendix B) and what is in them
 * (chapters 25, 28). It is reached by VMREAD and VMWRITE alone. */
#ifndef ENGINE_HW_VMCS_H
#define ENGINE_HW_VMCS_H

#include "base/def.h"

enum vmcs_field {
	/* 16 bits */
	VMCS_VPID = 0x0000,
	VMCS_GUEST_INTR = 0x0810, /* RVI, SVI */
	VMCS_GUEST_SEL =
		0x0800, /* ES CS SS DS FS GS LDTR TR, 2 apart; so are limits, rights, bases */
	VMCS_HOST_ES_SEL = 0x0c00,
	VMCS_HOST_CS_SEL = 0x0c02,
	VMCS_HOST_SS_SEL = 0x0c04,
	VMCS_HOST_DS_SEL = 0x0c06,
	VMCS_HOST_FS_SEL = 0x0c08,
	VMCS_HOST_GS_SEL = 0x0c0a,
	VMCS_HOST_TR_SEL = 0x0c0c,
	/* 64 bits */
	VMCS_MSR_BITMAP = 0x2004,
	VMCS_EXIT_MSR_STORE = 0x2006,
	VMCS_EXIT_MSR_LOAD = 0x2008,
	VMCS_ENTRY_MSR_LOAD = 0x200a,
	VMCS_TSC_OFFSET = 0x2010,
	VMCS_APIC_PAGE = 0x2012,
	VMCS_EPTP = 0x201a,
	VMCS_EOI_EXITS = 0x201c, /* four, 2 apart */
	VMCS_XSS_EXITS = 0x202c,
	VMCS_TSC_RATIO = 0x2032, /* 48 bits of it behind the point */
	VMCS_LINK = 0x2800,
	VMCS_DEBUGCTL = 0x2802,
	VMCS_PAT = 0x2804,
	VMCS_EFER = 0x2806,
	VMCS_PDPTE = 0x280a, /* four, 2 apart */
	VMCS_HOST_PAT = 0x2c00,
	VMCS_HOST_EFER = 0x2c02,
	/* 32 bits */
	VMCS_PIN = 0x4000,
	VMCS_PROC = 0x4002,
	VMCS_EXCEPTIONS = 0x4004,
	VMCS_PF_MASK = 0x4006,
	VMCS_PF_MATCH = 0x4008,
	VMCS_CR3_TARGETS = 0x400a,
	VMCS_EXIT = 0x400c,
	VMCS_EXIT_MSR_STORE_N = 0x400e,
	VMCS_EXIT_MSR_LOAD_N = 0x4010,
	VMCS_ENTRY = 0x4012,
	VMCS_ENTRY_MSR_LOAD_N = 0x4014,
	VMCS_ENTRY_EVENT = 0x4016,
	VMCS_ENTRY_ERROR = 0x4018,
	VMCS_TPR_THRESHOLD = 0x401c,
	VMCS_PROC2 = 0x401e,
	VMCS_PLE_GAP = 0x4020,
	VMCS_PLE_WINDOW = 0x4022,
	VMCS_INSN_ERROR = 0x4400,
	VMCS_REASON = 0x4402,
	VMCS_EXIT_EVENT = 0x4404,
	VMCS_VECTORING = 0x4408,
	VMCS_VECTORING_ERROR = 0x440a,
	VMCS_INSN_LEN = 0x440c,
	VMCS_GUEST_LIMIT = 0x4800,
	VMCS_GDTR_LIMIT = 0x4810,
	VMCS_IDTR_LIMIT = 0x4812,
	VMCS_GUEST_RIGHTS = 0x4814,
	VMCS_BLOCKED = 0x4824,
	VMCS_ACTIVITY = 0x4826,
	VMCS_SYSENTER_CS = 0x482a,
	VMCS_TIMER = 0x482e,
	VMCS_HOST_SYSENTER_CS = 0x4c00,
	/* as wide as registers */
	VMCS_CR0_MASK = 0x6000,
	VMCS_CR4_MASK = 0x6002,
	VMCS_CR0_SHADOW = 0x6004,
	VMCS_CR4_SHADOW = 0x6006,
	VMCS_QUALIFICATION = 0x6400,
	VMCS_CR0 = 0x6800,
	VMCS_CR3 = 0x6802,
	VMCS_CR4 = 0x6804,
	VMCS_GUEST_BASE = 0x6806,
	VMCS_GDTR_BASE = 0x6816,
	VMCS_IDTR_BASE = 0x6818,
	VMCS_DR7 = 0x681a,
	VMCS_RSP = 0x681c,
	VMCS_RIP = 0x681e,
	VMCS_RFLAGS = 0x6820,
	VMCS_PENDING_DEBUG = 0x6822,
	VMCS_SYSENTER_ESP = 0x6824,
	VMCS_SYSENTER_EIP = 0x6826,
	VMCS_HOST_CR0 = 0x6c00,
	VMCS_HOST_CR3 = 0x6c02,
	VMCS_HOST_CR4 = 0x6c04,
	VMCS_HOST_FS_BASE = 0x6c06,
	VMCS_HOST_GS_BASE = 0x6c08,
	VMCS_HOST_TR_BASE = 0x6c0a,
	VMCS_HOST_GDTR_BASE = 0x6c0c,
	VMCS_HOST_IDTR_BASE = 0x6c0e,
	VMCS_HOST_SYSENTER_ESP = 0x6c10,
	VMCS_HOST_SYSENTER_EIP = 0x6c12,
	VMCS_HOST_RSP = 0x6c14,
	VMCS_HOST_RIP = 0x6c16,
};

/* VMCS_PIN */
#define PIN_INTR  BIT(0)
#define PIN_NMI   BIT(3)
#define PIN_VNMI  BIT(5)
#define PIN_TIMER BIT(6)
/* VMCS_PROC */
#define PROC_INTR_WINDOW BIT(2)
#define PROC_TSC_OFFSET  BIT(3)
#define PROC_HLT         BIT(7)
#define PROC_MWAIT       BIT(10)
#define PROC_RDPMC       BIT(11)
#define PROC_RDTSC       BIT(12)
#define PROC_CR3         (BIT(15) | BIT(16))
#define PROC_CR8         (BIT(19) | BIT(20))
#define PROC_TPR_SHADOW  BIT(21)
#define PROC_NMI_WINDOW  BIT(22)
#define PROC_DR          BIT(23)
#define PROC_IO          BIT(24)
#define PROC_MSR_BITMAP  BIT(28)
#define PROC_MONITOR     BIT(29)
#define PROC_PROC2       BIT(31)
/* VMCS_PROC2 */
#define PROC2_EPT          BIT(1)
#define PROC2_RDTSCP       BIT(3)
#define PROC2_X2APIC       BIT(4) /* virtualize x2APIC mode */
#define PROC2_VPID         BIT(5)
#define PROC2_WBINVD       BIT(6)
#define PROC2_UNRESTRICTED BIT(7)
#define PROC2_VID          BIT(9) /* virtual-interrupt delivery */
#define PROC2_PLE          BIT(10)
#define PROC2_INVPCID      BIT(12)
#define PROC2_XSAVES       BIT(20)
#define PROC2_TSC_SCALING  BIT(25)
/* VMCS_EXIT, VMCS_ENTRY */
#define EXIT_HOST64     BIT(9)
#define EXIT_LOAD_PAT   BIT(19)
#define EXIT_LOAD_EFER  BIT(21)
#define ENTRY_DEBUG     BIT(2)
#define ENTRY_GUEST64   BIT(9)
#define ENTRY_LOAD_PAT  BIT(14)
#define ENTRY_LOAD_EFER BIT(15)

/* VMCS_BLOCKED */
#define BLOCKED_STI   BIT(0)
#define BLOCKED_MOVSS BIT(1)
#define BLOCKED_NMI   BIT(3)

/* VMCS_GUEST_RIGHTS are descriptor bits 40 to 55 as in x86_seg, but for this */
#define RIGHTS_UNUSABLE BIT(16)

/* Types of events that hw_impl.h has not: their instruction runs again */
#define EV_PRIV_EXC (UINT64_C(5) << 8) /* INT1 */
#define EV_SOFT_EXC (UINT64_C(6) << 8) /* INT3, INTO */

/* Bit 12: the exit has undone the end of NMI blocking that IRET brings (SDM vol. 3, 28.2.3) */
#define NMI_UNBLOCKED BIT(12)

enum vmx_reason {
	VMX_EXC = 0,
	VMX_INTR = 1,
	VMX_SHUTDOWN = 2,
	VMX_INIT = 3,
	VMX_SIPI = 4,
	VMX_INTR_WINDOW = 7,
	VMX_NMI_WINDOW = 8,
	VMX_TASK = 9,
	VMX_CPUID = 10,
	VMX_IO = 30,
	VMX_BAD_STATE = 33,
	VMX_BAD_MSR = 34,
	VMX_PAUSE = 40,
	VMX_MC = 41,
	VMX_TPR_BELOW = 43,
	VMX_EOI = 45,
	VMX_EPT = 48,
	VMX_EPT_CONFIG = 49,
	VMX_TIMER = 52,
	VMX_REASONS = 70,
};

#endif
