/* SPDX-License-Identifier: ISC */
/* state.c: a vCPU's state between KVM and x86_state. On the vCPU's thread, or while it is parked. */
#include "engine/kvm/kvm.h"
#include "x86/feature.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#define XSTATE_BV 512

/* ---- MSRs: a row each ------------------------------------------------------------------------- */

#define M(index, field)                                  \
	{                                                \
		index, offsetof(struct x86_state, field) \
	}
static const struct {
	uint32_t index;
	uint32_t off;
} msrs[] = {
	M(0x174, sysenter_cs),   M(0x175, sysenter_esp),   M(0x176, sysenter_eip),
	M(0x277, pat),           M(0xc0000081, star),      M(0xc0000082, lstar),
	M(0xc0000083, cstar),    M(0xc0000084, sfmask),    M(0xc0000102, kernel_gs_base),
	M(0xc0000103, tsc_aux),  M(0x1a0, misc_enable),    M(0x48, spec_ctrl),
	M(0xda0, xss),           M(0x3b, tsc_adjust),      M(0x17a, mcg_status),
	M(0x17b, mcg_ctl),       M(0x1d9, debugctl),       M(0x2ff, mtrr.def_type),
	M(0x250, mtrr.fixed[0]), M(0x258, mtrr.fixed[1]),  M(0x259, mtrr.fixed[2]),
	M(0x268, mtrr.fixed[3]), M(0x269, mtrr.fixed[4]),  M(0x26a, mtrr.fixed[5]),
	M(0x26b, mtrr.fixed[6]), M(0x26c, mtrr.fixed[7]),  M(0x26d, mtrr.fixed[8]),
	M(0x26e, mtrr.fixed[9]), M(0x26f, mtrr.fixed[10]), M(0x200, mtrr.base[0]),
	M(0x201, mtrr.mask[0]),  M(0x202, mtrr.base[1]),   M(0x203, mtrr.mask[1]),
	M(0x204, mtrr.base[2]),  M(0x205, mtrr.mask[2]),   M(0x206, mtrr.base[3]),
	M(0x207, mtrr.mask[3]),  M(0x208, mtrr.base[4]),   M(0x209, mtrr.mask[4]),
	M(0x20a, mtrr.base[5]),  M(0x20b, mtrr.mask[5]),   M(0x20c, mtrr.base[6]),
	M(0x20d, mtrr.mask[6]),  M(0x20e, mtrr.base[7]),   M(0x20f, mtrr.mask[7]),
};
#undef M

union one_msr {
	struct kvm_msrs head;
	uint8_t room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
};

/* One by one: a processor that lacks one of them does not keep the others from being moved. */
bool kvm_msr_get(struct kvm_vcpu *v, uint32_t index, uint64_t *value)
{
	union one_msr m = {.head.nmsrs = 1};

	m.head.entries[0] = (struct kvm_msr_entry){.index = index};
	if (ioctl(v->fd, KVM_GET_MSRS, &m) != 1)
		return false;
	*value = m.head.entries[0].data;
	return true;
}

bool kvm_msr_set(struct kvm_vcpu *v, uint32_t index, uint64_t value)
{
	union one_msr m = {.head.nmsrs = 1};

	m.head.entries[0] = (struct kvm_msr_entry){.index = index, .data = value};
	return ioctl(v->fd, KVM_SET_MSRS, &m) == 1;
}

static uint64_t *msr_field(struct x86_state *s, unsigned i)
{
	return (uint64_t *)(void *)((uint8_t *)s + msrs[i].off);
}

_Static_assert(ARRAY_SIZE(msrs) <= KVM_MSRS_MAX, "KVM_MSRS_MAX is too small");

/* Since it last ran. All at once, as each call of KVM about a vCPU costs microseconds; it ends at the first one that
 * the processor lacks, and is asked again for those behind. */
static void msrs_learn(struct kvm_vcpu *v)
{
	union {
		struct kvm_msrs head;
		uint8_t room[sizeof(struct kvm_msrs) +
			     ARRAY_SIZE(msrs) * sizeof(struct kvm_msr_entry)];
	} m;

	for (unsigned i = 0; i < ARRAY_SIZE(msrs) && !v->msr_known; i++) {
		unsigned n = ARRAY_SIZE(msrs) - i;
		int got;

		memset(&m, 0, sizeof(m));
		m.head.nmsrs = n;
		for (unsigned k = 0; k < n; k++)
			m.head.entries[k].index = msrs[i + k].index;
		got = ioctl(v->fd, KVM_GET_MSRS, &m);
		for (int k = 0; k < got; k++, i++)
			v->msr[i] = m.head.entries[k].data;
		if (i < ARRAY_SIZE(msrs))
			v->msr[i] = *msr_field(&v->cpu.s, i);
	}
	v->msr_known = true;
}

/* Kernels complain of writes to what a processor has not got: only what is new is written. */
static void msrs_set(struct kvm_vcpu *v)
{
	msrs_learn(v);
	for (unsigned i = 0; i < ARRAY_SIZE(msrs); i++) {
		uint64_t value = *msr_field(&v->cpu.s, i);

		if (value != v->msr[i])
			kvm_msr_set(v, msrs[i].index, value);
		v->msr[i] = value;
	}
}

static void msrs_get(struct kvm_vcpu *v)
{
	msrs_learn(v);
	for (unsigned i = 0; i < ARRAY_SIZE(msrs); i++)
		*msr_field(&v->cpu.s, i) = v->msr[i];
}

static int msr_row(uint32_t index)
{
	for (unsigned i = 0; i < ARRAY_SIZE(msrs); i++)
		if (msrs[i].index == index)
			return (int)i;
	return -1;
}

void kvm_msr_fetch(struct kvm_vcpu *v, uint32_t index)
{
	int row = msr_row(index);

	if (row >= 0)
		kvm_msr_get(v, index, msr_field(&v->cpu.s, (unsigned)row));
}

int kvm_msr_give(struct kvm_vcpu *v, uint32_t index)
{
	int row = msr_row(index);

	if (row < 0)
		return 0;
	v->msr_known = false;
	return kvm_msr_set(v, index, *msr_field(&v->cpu.s, (unsigned)row)) ? 0 : ERR_NOENT;
}

/* ---- time ------------------------------------------------------------------------------------------ */

/* Guest TSC minus the host's at the guest's rate, exactly where the kernel (5.16) lets it be said. */
void kvm_tsc_set(struct kvm_vcpu *v, uint64_t offset)
{
	const struct vm *vm = v->vcpu->vm;
	uint64_t theirs = offset + vm->tsc.base;
	struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (uint64_t)&theirs};

	if (ioctl(v->fd, KVM_SET_DEVICE_ATTR, &attr))
		kvm_msr_set(v, MSR_TSC, vm_ticks(vm) + offset);
}

void kvm_tsc_get(struct kvm_vcpu *v, uint64_t *offset)
{
	const struct vm *vm = v->vcpu->vm;
	uint64_t theirs, tsc;
	struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (uint64_t)&theirs};

	if (!ioctl(v->fd, KVM_GET_DEVICE_ATTR, &attr))
		*offset = theirs - vm->tsc.base;
	else if (kvm_msr_get(v, MSR_TSC, &tsc))
		*offset = tsc - vm_ticks(vm);
}

/* ---- segments ---------------------------------------------------------------------------------------- */

static struct kvm_segment seg_out(const struct x86_seg *s)
{
	return (struct kvm_segment){
		.base = s->base,
		.limit = s->limit,
		.selector = s->sel,
		.type = s->attr & SEG_TYPE,
		.present = !!(s->attr & SEG_P),
		.dpl = (s->attr & SEG_DPL) >> 5,
		.db = !!(s->attr & SEG_DB),
		.s = !!(s->attr & SEG_S),
		.l = !!(s->attr & SEG_L),
		.g = !!(s->attr & SEG_G),
		.avl = !!(s->attr & SEG_AVL),
		.unusable = !!(s->attr & SEG_UNUSABLE) || !(s->attr & SEG_P),
	};
}

static void seg_in(struct x86_seg *s, const struct kvm_segment *k)
{
	unsigned attr = (k->type & SEG_TYPE) | (k->s ? SEG_S : 0) | (k->dpl & 3u) << 5 |
			(k->present ? SEG_P : 0) | (k->avl ? SEG_AVL : 0) | (k->l ? SEG_L : 0) |
			(k->db ? SEG_DB : 0) | (k->g ? SEG_G : 0);

	if (k->unusable)
		attr = (attr & ~SEG_P) | SEG_UNUSABLE;
	*s = (struct x86_seg){
		.sel = k->selector, .attr = (uint16_t)attr, .limit = k->limit, .base = k->base};
}

/* ---- registers ------------------------------------------------------------------------------------------ */

/* KVM's order is that of the manual's list; ours is that of encodings. */
static const struct {
	uint32_t off;
	uint8_t gpr;
} gprs[] = {
#define G(k, n)                                 \
	{                                       \
		offsetof(struct kvm_regs, k), n \
	}
	G(rax, RAX), G(rbx, RBX), G(rcx, RCX), G(rdx, RDX), G(rsi, RSI), G(rdi, RDI),
	G(rsp, RSP), G(rbp, RBP), G(r8, R8),   G(r9, R9),   G(r10, R10), G(r11, R11),
	G(r12, R12), G(r13, R13), G(r14, R14), G(r15, R15),
#undef G
};

static uint64_t *gpr_at(struct kvm_regs *r, unsigned i)
{
	return (uint64_t *)(void *)((uint8_t *)r + gprs[i].off);
}

/* Of the two forms of its registers that KVM knows, PAE's are in the second one only; interrupts are in the
 * first one only, and do not go that way here. */
#define SREGS_ALIKE offsetof(struct kvm_sregs, interrupt_bitmap)
_Static_assert(SREGS_ALIKE == offsetof(struct kvm_sregs2, flags), "forms of sregs");

static bool has_pdptes(const struct kvm_vcpu *v, const struct x86_state *s)
{
	return x86_pae(s) && kvm_has(v->kv, HAS_SREGS2);
}

static int write_sregs(struct kvm_vcpu *v, const struct x86_state *s, struct kvm_sregs *k)
{
	struct kvm_sregs2 k2 = {.flags = KVM_SREGS2_FLAGS_PDPTRS_VALID};

	if (!has_pdptes(v, s) || !s->pdptes_loaded)
		return ioctl(v->fd, KVM_SET_SREGS, k);
	memcpy(&k2, k, SREGS_ALIKE);
	memcpy(k2.pdptrs, s->pdpte, sizeof(k2.pdptrs));
	return ioctl(v->fd, KVM_SET_SREGS2, &k2);
}

/* Where KVM has nested pages of AMD's, it gives what memory has now; so has its processor. */
static int get_pdptes(const struct kvm_vcpu *v, struct x86_state *s)
{
	struct kvm_sregs2 k2 = {0};

	s->pdptes_loaded = false;
	if (!has_pdptes(v, s))
		return 0;
	if (ioctl(v->fd, KVM_GET_SREGS2, &k2))
		return -1;
	memcpy(s->pdpte, k2.pdptrs, sizeof(s->pdpte));
	s->pdptes_loaded = k2.flags & KVM_SREGS2_FLAGS_PDPTRS_VALID && x86_pdptes_ok(s);
	return 0;
}

static int set_sregs(struct kvm_vcpu *v, const struct x86_state *s)
{
	const struct intc_ops *intc = v->vcpu->intc;
	struct kvm_sregs k = {
		.cs = seg_out(&s->seg[CS]),
		.ds = seg_out(&s->seg[DS]),
		.es = seg_out(&s->seg[ES]),
		.fs = seg_out(&s->seg[FS]),
		.gs = seg_out(&s->seg[GS]),
		.ss = seg_out(&s->seg[SS]),
		.tr = seg_out(&s->tr),
		.ldt = seg_out(&s->ldtr),
		.gdt = {.base = s->gdtr.base, .limit = s->gdtr.limit},
		.idt = {.base = s->idtr.base, .limit = s->idtr.limit},
		.cr0 = s->cr0,
		.cr2 = s->cr2,
		.cr3 = s->cr3,
		.cr4 = s->cr4,
		.efer = s->efer,
		.cr8 = intc ? intc->cr8_read(v->vcpu->intc_chip) : 0,
	};
	uint64_t base;

	k.apic_base = 0xfee00900;
	if (intc && !intc->msr_read(v->vcpu->intc_chip, 0x1b, &base))
		k.apic_base = base;
	/* VMX wants a task register that is busy, even in real mode. */
	if (!s->tr.attr || k.tr.unusable) {
		k.tr.type = 11;
		k.tr.present = 1;
		k.tr.unusable = 0;
		k.tr.s = 0;
	}
	return write_sregs(v, s, &k);
}

static int set_events(struct kvm_vcpu *v, const struct x86_state *s)
{
	struct kvm_vcpu_events e = {
		.nmi = {.pending = s->nmi_pending, .masked = s->nmi_blocked},
		.interrupt.shadow =
			(uint8_t)((s->shadow & SHADOW_STI ? KVM_X86_SHADOW_INT_STI : 0) |
				  (s->shadow & SHADOW_MOVSS ? KVM_X86_SHADOW_INT_MOV_SS : 0)),
		.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW,
	};

	return ioctl(v->fd, KVM_SET_VCPU_EVENTS, &e);
}

/* KVM keeps PKRU among the extended states. */
static void pkru_out(const struct kvm_vcpu *v, const struct x86_state *s, struct kvm_xsave *x)
{
	uint64_t bv;

	if (!cpu_has(&v->cpu, X_FEAT_PKU))
		return;
	memcpy(&bv, (uint8_t *)x + XSTATE_BV, sizeof(bv));
	bv |= XCR0_PKRU;
	memcpy((uint8_t *)x + XSTATE_BV, &bv, sizeof(bv));
	memcpy((uint8_t *)x + v->cpu.i.xs_at[XS_PART_PKRU], &s->pkru, sizeof(s->pkru));
}

static void pkru_in(const struct kvm_vcpu *v, struct x86_state *s, const struct kvm_xsave *x)
{
	uint64_t bv;

	memcpy(&bv, s->xsave.bytes + XSTATE_BV, sizeof(bv));
	s->pkru = 0;
	if (bv & XCR0_PKRU)
		memcpy(&s->pkru, (const uint8_t *)x + v->cpu.i.xs_at[XS_PART_PKRU],
		       sizeof(s->pkru));
	bv &= ~XCR0_PKRU;
	memcpy(s->xsave.bytes + XSTATE_BV, &bv, sizeof(bv));
}

static int set_fpu(struct kvm_vcpu *v, const struct x86_state *s)
{
	struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs[0] = {.xcr = 0, .value = s->xcr0}};
	struct kvm_xsave x = {0};

	memcpy(&x, s->xsave.bytes, MIN(sizeof(x), sizeof(s->xsave.bytes)));
	pkru_out(v, s, &x);
	if (ioctl(v->fd, KVM_SET_XSAVE, &x))
		return -1;
	/* without XSAVE in the model there is no XCR0 */
	if (ioctl(v->fd, KVM_SET_XCRS, &xcrs) && s->xcr0 != XCR0_X87)
		return -1;
	return 0;
}

static int set_debug(struct kvm_vcpu *v, const struct x86_state *s)
{
	struct kvm_debugregs d = {
		.db = {s->dr[0], s->dr[1], s->dr[2], s->dr[3]}, .dr6 = s->dr[6], .dr7 = s->dr[7]};

	return ioctl(v->fd, KVM_SET_DEBUGREGS, &d);
}

static int refused(const char *what)
{
	plat_log(LOG_ERROR, "kvm: %s are refused: %s", what, strerror(errno));
	return err_here(ERR_INVAL);
}

int kvm_set_state(struct vcpu *vcpu)
{
	struct kvm_vcpu *v = vcpu->engine_data;
	struct x86_state *s = vcpu->state;
	struct kvm_regs regs = {.rip = s->rip, .rflags = s->rflags};
	int err = kvm_set_cpuid(v); /* first: it decides which bits KVM takes */

	if (err)
		return err;
	for (unsigned i = 0; i < ARRAY_SIZE(gprs); i++)
		*gpr_at(&regs, i) = s->gpr[gprs[i].gpr];
	if (set_sregs(v, s)) {
		int saved = errno;

		plat_log(LOG_INFO, "kvm: CR4 %llx EFER %llx: has this host what they switch on?",
			 (unsigned long long)s->cr4, (unsigned long long)s->efer);
		errno = saved;
		return refused("control and segment registers");
	}
	if (ioctl(v->fd, KVM_SET_REGS, &regs))
		return refused("general registers");
	if (set_fpu(v, s))
		return refused("FPU and SIMD registers");
	if (set_debug(v, s))
		return refused("debug registers");
	if (set_events(v, s))
		return refused("pending events");
	if (kvm_activity_set(v))
		return refused("what the processor waits for");
	kvm_tsc_set(v, s->tsc_offset);
	msrs_set(v);
	kvm_steal_set(v);
	err = kvm_chip_set(v);
	if (err)
		return err;
	v->run->ready_for_interrupt_injection = 0;
	v->told_ready = false;
	v->wants_state = v->stale = false;
	return 0;
}

static void get_sregs(struct x86_state *s, const struct kvm_sregs *k)
{
	seg_in(&s->seg[CS], &k->cs);
	seg_in(&s->seg[DS], &k->ds);
	seg_in(&s->seg[ES], &k->es);
	seg_in(&s->seg[FS], &k->fs);
	seg_in(&s->seg[GS], &k->gs);
	seg_in(&s->seg[SS], &k->ss);
	seg_in(&s->tr, &k->tr);
	seg_in(&s->ldtr, &k->ldt);
	s->gdtr = (struct x86_dtr){.base = k->gdt.base, .limit = k->gdt.limit};
	s->idtr = (struct x86_dtr){.base = k->idt.base, .limit = k->idt.limit};
	s->cr0 = k->cr0;
	s->cr2 = k->cr2;
	s->cr3 = k->cr3;
	s->cr4 = k->cr4;
	s->efer = k->efer;
}

static void get_events(struct x86_state *s, const struct kvm_vcpu_events *e)
{
	s->nmi_pending = e->nmi.pending || e->nmi.injected;
	/* One whose delivery was broken off is to come again. */
	s->nmi_blocked = e->nmi.masked && !e->nmi.injected;
	s->shadow = (uint8_t)((e->interrupt.shadow & KVM_X86_SHADOW_INT_STI ? SHADOW_STI : 0) |
			      (e->interrupt.shadow & KVM_X86_SHADOW_INT_MOV_SS ? SHADOW_MOVSS : 0));
}

int kvm_nmi_learn(struct kvm_vcpu *v)
{
	struct kvm_vcpu_events e;

	if (!v->cpu.s.nmi_pending)
		return 0;
	if (ioctl(v->fd, KVM_GET_VCPU_EVENTS, &e))
		return kvm_host_err("KVM_GET_VCPU_EVENTS");
	v->cpu.s.nmi_pending = e.nmi.pending || e.nmi.injected;
	v->cpu.s.nmi_blocked = e.nmi.masked && !e.nmi.injected;
	return 0;
}

int kvm_get_state(struct vcpu *vcpu)
{
	struct kvm_vcpu *v = vcpu->engine_data;
	struct x86_state *s = vcpu->state;
	struct kvm_vcpu_events events;
	struct kvm_debugregs debug;
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	struct kvm_xcrs xcrs;
	struct kvm_xsave xsave;

	if (kvm_chip_get(v))
		return err_here(ERR_IO);
	if (!v->wants_state)
		return 0;
	if (kvm_activity_get(v))
		return err_here(ERR_IO);
	if (ioctl(v->fd, KVM_GET_REGS, &regs) || ioctl(v->fd, KVM_GET_SREGS, &sregs) ||
	    ioctl(v->fd, KVM_GET_VCPU_EVENTS, &events) || ioctl(v->fd, KVM_GET_XSAVE, &xsave) ||
	    ioctl(v->fd, KVM_GET_DEBUGREGS, &debug)) {
		plat_log(LOG_ERROR, "kvm: state cannot be read: %s", strerror(errno));
		return err_here(ERR_IO);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(gprs); i++)
		s->gpr[gprs[i].gpr] = *gpr_at(&regs, i);
	s->rip = regs.rip;
	s->rflags = regs.rflags | FL_ONE;
	get_sregs(s, &sregs);
	if (get_pdptes(v, s)) {
		plat_log(LOG_ERROR, "kvm: PAE's registers cannot be read: %s", strerror(errno));
		return err_here(ERR_IO);
	}
	get_events(s, &events);
	memcpy(s->xsave.bytes, &xsave, MIN(sizeof(xsave), sizeof(s->xsave.bytes)));
	pkru_in(v, s, &xsave);
	if (!ioctl(v->fd, KVM_GET_XCRS, &xcrs) && xcrs.nr_xcrs)
		s->xcr0 = xcrs.xcrs[0].value | XCR0_X87;
	for (unsigned i = 0; i < 4; i++)
		s->dr[i] = debug.db[i];
	s->dr[6] = debug.dr6;
	s->dr[7] = debug.dr7;
	kvm_tsc_get(v, &s->tsc_offset);
	msrs_get(v);
	kvm_steal_leave(v);
	v->wants_state = false;
	return kvm_deliver(v, &events);
}
