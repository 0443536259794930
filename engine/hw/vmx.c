/* SPDX-License-Identifier: ISC */
/* vmx.c: Intel's virtual machine extension with EPT and unrestricted guest (SDM vol. 3, chapters 24 to 29,
 * appendix A): the processor, what it watches, and the VMCS of a vCPU. hw.c has the rest. A VMCS is
 * part of its thread's context: loaded when the thread gets a CPU and cleared when it loses it. So
 * fields can be reached as long as the thread runs, and no VMCS is ever active on two CPUs. */
#include "base/str.h"
#include "engine/hw/vmx_impl.h"
#include "x86/feature.h"

#define MSR_FEATURE_CONTROL 0x3au
#define MSR_PAT             0x277u
#define FEATURE_LOCK        BIT64(0)
#define FEATURE_VMX         BIT64(2) /* outside of SMX */
#define CR4_VMXE            BIT64(13)
#define BASIC_TRUE          BIT64(55)
#define EPT_WALK4           BIT64(6) /* capabilities: appendix A.10 */
#define EPT_WB              BIT64(14)
#define EPT_2M              BIT64(16)
#define EPT_INVEPT          (BIT64(20) | BIT64(26))
#define EPT_INVVPID         (BIT64(32) | BIT64(42))
#define EPT_NEEDED          (EPT_WALK4 | EPT_WB | EPT_2M | EPT_INVEPT)

/* ---- the processor ------------------------------------------------------------------------- */

static uint64_t capability(unsigned n)
{
	return rdmsr(MSR_CAPABILITY + n);
}

/* able: bits that are set now and then. Capabilities have beside their number that of the true one. */
static const struct {
	uint8_t cap, true_cap, at;
	uint32_t need, able, may;
} controls[] = {
	{1, 13, offsetof(struct vmx_controls, pin), PIN_INTR | PIN_NMI | PIN_VNMI, 0, PIN_TIMER},
	{2, 14, offsetof(struct vmx_controls, proc),
	 PROC_TSC_OFFSET | PROC_HLT | PROC_MWAIT | PROC_RDPMC | PROC_DR | PROC_IO |
		 PROC_MSR_BITMAP | PROC_MONITOR | PROC_PROC2,
	 PROC_INTR_WINDOW | PROC_NMI_WINDOW | PROC_CR8 | PROC_RDTSC, PROC_TPR_SHADOW},
	{11, 11, offsetof(struct vmx_controls, proc2), PROC2_EPT | PROC2_UNRESTRICTED, 0,
	 PROC2_RDTSCP | PROC2_VPID | PROC2_WBINVD | PROC2_PLE | PROC2_INVPCID | PROC2_XSAVES |
		 PROC2_TSC_SCALING | PROC2_DELIVERS},
	{3, 15, offsetof(struct vmx_controls, exit), EXIT_HOST64 | EXIT_LOAD_PAT | EXIT_LOAD_EFER,
	 0, 0},
	{4, 16, offsetof(struct vmx_controls, entry),
	 ENTRY_DEBUG | ENTRY_LOAD_PAT | ENTRY_LOAD_EFER, ENTRY_GUEST64, 0},
};

/* The lower half of a capability: bits that must be set; the upper one: that may be. */
static bool find_controls(struct vmx_controls *c)
{
	bool is_true = capability(0) & BASIC_TRUE;

	memset(c, 0, sizeof(*c));
	for (unsigned i = 0; i < ARRAY_SIZE(controls); i++) {
		uint64_t cap = capability(is_true ? controls[i].true_cap : controls[i].cap);
		uint32_t may = (uint32_t)(cap >> 32), value = controls[i].need;

		if (~may & (value | controls[i].able))
			return false; /* in their order: without PROC_PROC2 there is no more */
		value |= (uint32_t)cap | (controls[i].may & may);
		memcpy((uint8_t *)c + controls[i].at, &value, sizeof(value));
	}
	if (!(c->proc & PROC_TPR_SHADOW))
		c->proc |= PROC_CR8;
	if (!(c->proc & PROC_TPR_SHADOW) || (c->proc2 & PROC2_DELIVERS) != PROC2_DELIVERS)
		c->proc2 &= ~PROC2_DELIVERS;
	if ((capability(12) & EPT_INVVPID) != EPT_INVVPID)
		c->proc2 &= ~PROC2_VPID;
	return !(c->proc & PROC_CR3) && (capability(12) & EPT_NEEDED) == EPT_NEEDED;
}

static const char *vmx_missing(void)
{
	uint64_t feature = rdmsr(MSR_FEATURE_CONTROL);
	struct vmx_controls c;

	if (feature & FEATURE_LOCK && !(feature & FEATURE_VMX))
		return "VMX is switched off by the firmware";
	if (!find_controls(&c))
		return "its VMX has no EPT with unrestricted guest";
	return NULL;
}

/* Memory that VMX manages begins with the processor's number for its format. */
static void *vmx_page(void)
{
	uint32_t *page = plat_pages_alloc(PAGE_SIZE);

	if (page)
		*page = (uint32_t)capability(0) & 0x7fffffff;
	return page;
}

static int vmx_cpu_start(void)
{
	void *page = vmx_page(); /* stays this CPU's for ever */
	uint64_t feature = rdmsr(MSR_FEATURE_CONTROL), pa, cr4;
	bool bad;

	if (!page)
		return err_here(ERR_NOMEM);
	if (!(feature & FEATURE_LOCK))
		wrmsr(MSR_FEATURE_CONTROL, feature | FEATURE_LOCK | FEATURE_VMX);
	pa = plat_phys(page);
	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	__asm__ volatile("mov %1, %%cr4; vmxon %2; setna %0"
			 : "=qm"(bad)
			 : "r"(cr4 | CR4_VMXE), "m"(pa)
			 : "cc", "memory");
	return bad ? err_here(ERR_IO) : 0;
}

/* ---- the VMCS ------------------------------------------------------------------------------- */

uint64_t vmcs_read(uint32_t field)
{
	uint64_t value;
	bool bad;

	__asm__ volatile("vmread %2, %0; setna %1"
			 : "=r"(value), "=qm"(bad)
			 : "r"((uint64_t)field)
			 : "cc");
	BUG_ON(bad);
	return value;
}

void vmcs_write(uint32_t field, uint64_t value)
{
	bool bad;

	__asm__ volatile("vmwrite %1, %2; setna %0"
			 : "=qm"(bad)
			 : "r"(value), "r"((uint64_t)field)
			 : "cc");
	BUG_ON(bad);
}

struct table {
	uint16_t limit;
	uint64_t base;
} attr_packed;

/* The host's state that is this CPU's */
static void write_cpu(void)
{
	struct table gdt, idt;
	uint64_t lo, hi;
	uint16_t tr;

	__asm__ volatile("sgdt %0; sidt %1; str %2" : "=m"(gdt), "=m"(idt), "=r"(tr));
	memcpy(&lo, (const uint8_t *)gdt.base + tr, 8);
	memcpy(&hi, (const uint8_t *)gdt.base + tr + 8, 8);
	vmcs_write(VMCS_HOST_TR_SEL, tr);
	vmcs_write(VMCS_HOST_TR_BASE, (lo >> 16 & 0xffffff) | (lo >> 32 & 0xff000000) | hi << 32);
	vmcs_write(VMCS_HOST_GDTR_BASE, gdt.base);
	vmcs_write(VMCS_HOST_IDTR_BASE, idt.base);
	vmcs_write(VMCS_HOST_FS_BASE, rdmsr(0xc0000100));
}

/* Interrupts are out. The thread has got a CPU, or is about to lose it. */
static void switched(void *arg, bool runs)
{
	struct vmx_vcpu *x = arg;
	uint64_t pa = plat_phys(x->vmcs);

	if (runs) {
		__asm__ volatile("vmptrld %0" : : "m"(pa) : "cc", "memory");
		write_cpu();
	} else {
		__asm__ volatile("vmclear %0" : : "m"(pa) : "cc", "memory");
		x->launched = false;
	}
}

static void write_controls(struct vmx_vcpu *x)
{
	const struct vmx_vm *xv = vmx_vm_of(&x->v);
	uint32_t proc2 = xv->c.proc2 & ~PROC2_DELIVERS;

	if (x->v.vcpu->vm->n_vcpus < 2)
		proc2 &= ~PROC2_PLE;
	vmcs_write(VMCS_PIN, x->pin = xv->c.pin);
	if (x->pin & PIN_TIMER) /* a millisecond, counted by one bit of the TSC (appendix A.6) */
		vmcs_write(VMCS_TIMER, plat_tsc_hz() / 1000 >> (capability(5) & 31));
	vmcs_write(VMCS_PROC, x->proc = xv->c.proc);
	vmcs_write(VMCS_PROC2, x->proc2 = proc2);
	vmcs_write(VMCS_EXIT, xv->c.exit);
	if (proc2 & PROC2_PLE) {
		vmcs_write(VMCS_PLE_GAP, 128);
		vmcs_write(VMCS_PLE_WINDOW, 4096);
	}
	if (proc2 & PROC2_XSAVES)
		vmcs_write(VMCS_XSS_EXITS, 0);
	if (proc2 & PROC2_TSC_SCALING)
		vmcs_write(VMCS_TSC_RATIO, x->v.vcpu->vm->tsc.ratio);
	if (xv->c.proc & PROC_TPR_SHADOW)
		vmcs_write(VMCS_APIC_PAGE, plat_phys(x->apic_page));
	vmcs_write(VMCS_TPR_THRESHOLD, x->threshold = 0);
	for (unsigned i = 0; i < 4 && xv->c.proc2 & PROC2_DELIVERS; i++)
		vmcs_write(VMCS_EOI_EXITS + 2 * i, 0);
	vmcs_write(VMCS_EPTP, plat_phys(xv->hv.npt.root) | 3 << 3 | 6); /* four levels, WB */
	vmcs_write(VMCS_MSR_BITMAP, plat_phys(xv->hv.msrpm));
	vmcs_write(VMCS_EXIT_MSR_STORE, plat_phys(x->msrs));
	vmcs_write(VMCS_EXIT_MSR_STORE_N, VMX_KERNEL_GS + 1);
	vmcs_write(VMCS_ENTRY_MSR_LOAD, plat_phys(x->msrs));
	vmcs_write(VMCS_LINK, UINT64_MAX);
	vmcs_write(VMCS_CR0_MASK, ~CR0_TS);
	vmcs_write(VMCS_CR4_MASK, UINT64_MAX);
}

static void write_host(void)
{
	static const uint16_t zero[] = {
		VMCS_PF_MASK,           VMCS_PF_MATCH,          VMCS_CR3_TARGETS,
		VMCS_EXIT_MSR_LOAD_N,   VMCS_ENTRY_MSR_LOAD_N,  VMCS_ENTRY_EVENT,
		VMCS_ACTIVITY,          VMCS_BLOCKED,           VMCS_HOST_FS_SEL,
		VMCS_HOST_GS_SEL,       VMCS_HOST_GS_BASE,      VMCS_HOST_SYSENTER_CS,
		VMCS_HOST_SYSENTER_ESP, VMCS_HOST_SYSENTER_EIP,
	};
	uint64_t cr0, cr3, cr4;
	uint16_t cs, ss;

	for (unsigned i = 0; i < ARRAY_SIZE(zero); i++)
		vmcs_write(zero[i], 0);
	__asm__ volatile("mov %%cr0, %0; mov %%cr3, %1; mov %%cr4, %2; mov %%cs, %w3; mov %%ss, %w4"
			 : "=r"(cr0), "=r"(cr3), "=r"(cr4), "=r"(cs), "=r"(ss));
	vmcs_write(VMCS_HOST_CR0, cr0);
	vmcs_write(VMCS_HOST_CR3, cr3);
	vmcs_write(VMCS_HOST_CR4, cr4);
	vmcs_write(VMCS_HOST_CS_SEL, cs);
	vmcs_write(VMCS_HOST_SS_SEL, ss);
	vmcs_write(VMCS_HOST_DS_SEL, ss);
	vmcs_write(VMCS_HOST_ES_SEL, ss);
	vmcs_write(VMCS_HOST_PAT, rdmsr(MSR_PAT));
	vmcs_write(VMCS_HOST_EFER, rdmsr(MSR_EFER));
	vmcs_write(VMCS_HOST_RIP, (uint64_t)vmx_left);
}

/* ---- the VM's and the vCPU's parts ------------------------------------------------------------ */

/* MSRs that the guest may read, and write, itself: the VMCS has them, or vmx_msrs. */
static void open_msrs(uint8_t *msrpm)
{
	static const struct {
		uint32_t index;
		bool write;
	} open[] = {
		{0x174, true},       {0x175, true},       {0x176, true},       {0xc0000081, false},
		{0xc0000082, false}, {0xc0000083, false}, {0xc0000084, false}, {0xc0000100, true},
		{0xc0000101, true},  {0xc0000102, true},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(open); i++) {
		uint32_t n = open[i].index & 0x1fff;
		uint8_t *p = msrpm + (open[i].index >> 31 ? 0x400 : 0) + n / 8;

		p[0] &= (uint8_t)~BIT(n % 8);
		if (open[i].write)
			p[0x800] &= (uint8_t)~BIT(n % 8);
	}
}

static void vmx_vm_init(struct hw_vm *hv)
{
	struct vmx_vm *xv = container_of(hv, struct vmx_vm, hv);

	find_controls(&xv->c);
	if (!hv->vm->tsc.ratio)
		xv->c.proc2 &= ~PROC2_TSC_SCALING;
	else if (!(xv->c.proc2 & PROC2_TSC_SCALING))
		xv->c.proc |= PROC_RDTSC; /* RDTSCP, too */
	xv->cr4 = rdmsr(MSR_CR4_FIXED0);
	hv->tags = xv->c.proc2 & PROC2_VPID ? UINT16_MAX : 1;
	open_msrs(hv->msrpm);
	open_msrs(hv->msrpm + VMX_MSRPM_X2APIC);
	vmx_open_x2apic(hv->msrpm + VMX_MSRPM_X2APIC);
}

/* Instructions that need a control; and MSRs that tell a guest that it need not defend itself against
 * speculation, which is true of translated code, or how: they do not reach the processor. */
static void limit_features(struct hw_vcpu *v)
{
	static const struct {
		uint32_t control;
		uint8_t feature;
	} needs[] = {
		{PROC2_RDTSCP, X_FEAT_RDTSCP},
		{PROC2_RDTSCP, X_FEAT_RDPID},
		{PROC2_INVPCID, X_FEAT_INVPCID},
		{PROC2_XSAVES, X_FEAT_XSAVES},
		{0, X_FEAT_ARCH_CAPS},
		{0, X_FEAT_SPEC_CTRL},
		{0, X_FEAT_BHI_CTRL},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(needs); i++)
		if (!(vmx_vm_of(v)->c.proc2 & needs[i].control))
			v->cpu.i.feat[needs[i].feature >> 6] &= ~BIT64(needs[i].feature & 63);
}

static int vmx_vcpu_init(struct hw_vcpu *v)
{
	static const uint32_t index[VMX_MSRS] = {
		[VMX_KERNEL_GS] = 0xc0000102, [VMX_STAR] = 0xc0000081,
		[VMX_LSTAR] = 0xc0000082,     [VMX_CSTAR] = 0xc0000083,
		[VMX_SFMASK] = 0xc0000084,    [VMX_TSC_AUX] = MSR_TSC_AUX,
	};
	struct vmx_vcpu *x = vmx_of(v);

	x->vmcs = vmx_page();
	x->msrs = plat_pages_alloc(PAGE_SIZE);
	x->apic_page = plat_pages_alloc(PAGE_SIZE);
	if (!x->vmcs || !x->msrs || !x->apic_page)
		return err_here(ERR_NOMEM);
	limit_features(v);
	for (unsigned i = 0; i < VMX_MSRS; i++)
		x->msrs->at[i].index = index[i];
	x->n_msrs = vmx_vm_of(v)->c.proc2 & PROC2_RDTSCP ? VMX_MSRS : VMX_TSC_AUX;
	x->fresh = true;
	return 0;
}

static void vmx_vcpu_start(struct hw_vcpu *v)
{
	struct vmx_vcpu *x = vmx_of(v);

	__asm__ volatile("cli" : : : "memory");
	switched(x, false);
	plat_thread_on_switch(switched, x);
	switched(x, true);
	__asm__ volatile("sti" : : : "memory");
	write_host();
	write_controls(x);
}

static void vmx_vcpu_fini(struct hw_vcpu *v)
{
	plat_pages_free(vmx_of(v)->vmcs, PAGE_SIZE);
	plat_pages_free(vmx_of(v)->msrs, PAGE_SIZE);
	plat_pages_free(vmx_of(v)->apic_page, PAGE_SIZE);
}

const struct hw_backend hw_vmx = {
	.engine = &engine_vmx,
	.vm_size = sizeof(struct vmx_vm),
	.vcpu_size = sizeof(struct vmx_vcpu),
	.msrpm_size = VMX_MSRPM_X2APIC + PAGE_SIZE,
	.npt_leaf = NPT_LEAF_EPT,
	.missing = vmx_missing,
	.cpu_start = vmx_cpu_start,
	.vm_init = vmx_vm_init,
	.vcpu_init = vmx_vcpu_init,
	.vcpu_start = vmx_vcpu_start,
	.vcpu_fini = vmx_vcpu_fini,
	.push = vmx_push,
	.pull = vmx_pull,
	.give = vmx_give,
	.take = vmx_take,
	.window = vmx_window,
	.enter = vmx_enter,
	.skip = vmx_skip,
};
