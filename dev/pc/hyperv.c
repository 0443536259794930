/* SPDX-License-Identifier: ISC */
/* hyperv.c: Hyper-V's interface to guests (TLFS 6.0b; chapters in brackets): CPUID leaves (2.4), hypercall page
 * without a hypercall behind it (3), processor index (7), reset, APIC registers as MSRs and the assist
 * page (10), synthetic interrupts and timers (11, 12: synic.c), reference time with its page, and frequencies (12). Not there:
 * VMBus.
 *
 * Reference time is computed from the guest's TSC by the same line as the guest does it from the page, so
 * that both always agree. Pages that the guest names are written into its memory. Entered by vCPU threads;
 * hv->lock serialises what belongs to the machine. */
#include "dev/pc/hyperv.h"

#include "base/str.h"
#include "dev/irq/lapic.h"
#include "dev/pc/synic.h"
#include "vm/dev.h"
#include "vm/stream.h"
#include "vm/vm.h"

enum {
	LEAF_VENDOR = 0x40000000,
	LEAF_INTERFACE,
	LEAF_VERSION,
	LEAF_FEATURES,
	LEAF_HINTS,
	LEAF_LIMITS,
	LEAF_HARDWARE,
};

/* LEAF_FEATURES, EAX: MSRs that may be accessed; EDX */
#define MAY_COUNTER   BIT(1)
#define MAY_SYNIC     BIT(2)
#define MAY_TIMERS    BIT(3)
#define MAY_APIC      BIT(4)
#define MAY_HYPERCALL BIT(5)
#define MAY_INDEX     BIT(6)
#define MAY_RESET     BIT(7)
#define MAY_TSC_PAGE  BIT(9)
#define MAY_FREQUENCY BIT(11)
#define HAS_FREQUENCY BIT(8)
#define HAS_DIRECT    BIT(19) /* timers without messages */
/* LEAF_HINTS, EAX */
#define USE_APIC_MSRS BIT(3)
#define USE_RESET     BIT(4)
#define RELAXED_TIME  BIT(5)     /* no watchdogs: the processor may be away for long */
#define NO_AUTO_EOI   BIT(9)     /* it works, but better do not use it */
#define NEVER_YIELD   UINT32_MAX /* spin locks */

enum {
	MSR_GUEST_OS = 0x40000000,
	MSR_HYPERCALL = 0x40000001,
	MSR_VP_INDEX = 0x40000002,
	MSR_RESET = 0x40000003,
	MSR_COUNTER = 0x40000020,
	MSR_TSC_PAGE = 0x40000021,
	MSR_TSC_HZ = 0x40000022,
	MSR_APIC_HZ = 0x40000023,
	MSR_EOI = 0x40000070,
	MSR_ICR = 0x40000071,
	MSR_TPR = 0x40000072,
	MSR_ASSIST = 0x40000073,
};
#define PAGE_ON   BIT64(0)
#define PAGE_ADDR (~UINT64_C(0xfff))

#define UNIT_HZ UINT64_C(10000000) /* of reference time: 100 ns */

/* Registers in the local APIC's page, and where they are as MSRs of x2APIC */
#define APIC_TPR      0x80
#define APIC_EOI      0xb0
#define APIC_ICR      0x300
#define APIC_ICR2     0x310
#define X2APIC(r)     (0x800u + (r) / 16)
#define MSR_APIC_BASE 0x1bu
#define APIC_X2       BIT64(10)

struct tsc_page {
	uint32_t sequence; /* 0: not to be used */
	uint32_t reserved;
	uint64_t scale;
	int64_t offset;
};
_Static_assert(sizeof(struct tsc_page) == 24, "HV_REFERENCE_TSC_PAGE");

struct hyperv {
	struct dev dev;
	uint64_t tsc_hz, scale; /* reference time = (ticks * scale >> 64) + offset */
	uint64_t host_tsc;      /* vm_ticks() when it was 0 */
	struct vcpu_hooks next[VM_MAX_VCPUS];
	uint64_t assist[VM_MAX_VCPUS]; /* each its own vCPU's */
	struct synic synic[VM_MAX_VCPUS];

	struct plat_mutex lock; /* RANK_DEVICE: all below */
	uint64_t guest_os, hypercall, page;
};

static const struct dev_class hyperv_class;

static struct hyperv *hyperv_of(struct vcpu *vcpu)
{
	for (struct dev *dev = vcpu->vm->devs; dev; dev = dev->next)
		if (dev->cls == &hyperv_class)
			return container_of(dev, struct hyperv, dev);
	return NULL;
}

/* ---- time ----------------------------------------------------------------------------------------------- */

/* UNIT_HZ * 2^64 / hz, for hz above UNIT_HZ. */
static uint64_t scale_of(uint64_t hz)
{
	uint64_t rest = UNIT_HZ, q = 0;

	for (unsigned i = 0; i < 64; i++) {
		rest <<= 1;
		q = q << 1 | (rest >= hz);
		rest -= rest >= hz ? hz : 0;
	}
	return q;
}

static uint64_t scaled(const struct hyperv *hv, uint64_t ticks)
{
	return (uint64_t)((unsigned __int128)ticks * hv->scale >> 64);
}

/* By the first processor's TSC, to which guests keep the others. */
static uint64_t line_offset(const struct hyperv *hv)
{
	uint64_t guest = hv->host_tsc + hv->dev.vm->vcpu[0]->state->tsc_offset;

	return 0 - scaled(hv, guest);
}

static uint64_t reference_time(const struct hyperv *hv)
{
	uint64_t guest = vm_ticks(hv->dev.vm) + hv->dev.vm->vcpu[0]->state->tsc_offset;

	return scaled(hv, guest) + line_offset(hv);
}

static uint64_t synic_time(void *hv)
{
	return reference_time(hv);
}

static void page_write(struct hyperv *hv)
{
	const struct tsc_page p = {
		.sequence = 1, .scale = hv->scale, .offset = (int64_t)line_offset(hv)};

	/* Not RAM: the guest's mistake. */
	if ((hv->page & PAGE_ON) && mem_write(hv->dev.vm, hv->page & PAGE_ADDR, &p, sizeof(p)))
		return;
}

/* ---- pages of code and of the APIC ------------------------------------------------------------------------ */

/* There is no hypercall: whichever is wanted, the answer is HV_STATUS_INVALID_HYPERCALL_CODE. Outside of ring 0 and
 * of protected and long mode the call is #UD (3.6): VERR is that in real and virtual-8086 mode, with a null selector it
 * reads nothing. The code is the same in 32 and 64 bits but for 40H, which is INC EAX or a prefix without a meaning;
 * the result's upper half is EDX in 32-bit code, in 64-bit code RDX stays. */
static void hypercall_write(struct hyperv *hv)
{
	static const uint8_t code[] = {
		0x31, 0xc0,       /* xor eax, eax */
		0x0f, 0x00, 0xe0, /* verr ax */
		0x8c, 0xc8,       /* mov eax, cs */
		0xa8, 0x03,       /* test al, 3 */
		0x75, 0x0f,       /* jnz .ud */
		0x31, 0xc0,       /* xor eax, eax */
		0x40, 0x90,       /* inc eax; nop */
		0x85, 0xc0,       /* test eax, eax */
		0x74, 0x02,       /* jz .long */
		0x31, 0xd2,       /* xor edx, edx */
		0x31, 0xc0,       /* .long: xor eax, eax */
		0xb0, 0x02,       /* mov al, 2 */
		0xc3,             /* ret */
		0x0f, 0x0b,       /* .ud: ud2 */
	};

	if ((hv->hypercall & PAGE_ON) &&
	    mem_write(hv->dev.vm, hv->hypercall & PAGE_ADDR, code, sizeof(code)))
		return;
}

/* Its first bit would say that no EOI is needed: never. */
static void assist_write(struct vcpu *vcpu, uint64_t value)
{
	static const uint32_t none;

	if ((value & PAGE_ON) && mem_write(vcpu->vm, value & PAGE_ADDR, &none, sizeof(none)))
		return;
}

static uint64_t apic_base(struct vcpu *vcpu)
{
	uint64_t v = 0;

	if (vcpu->intc->msr_read(vcpu->intc_chip, MSR_APIC_BASE, &v))
		return 0;
	return v;
}

static int apic_write(struct vcpu *vcpu, unsigned reg, uint64_t value)
{
	uint64_t base = apic_base(vcpu);

	if (base & APIC_X2)
		return vcpu->intc->msr_write(vcpu->intc_chip, X2APIC(reg), value);
	base &= PAGE_ADDR;
	if (reg == APIC_ICR)
		bus_write(&vcpu->vm->mmio, (int)vcpu->index, base + APIC_ICR2, 4, value >> 32);
	bus_write(&vcpu->vm->mmio, (int)vcpu->index, base + reg, 4, (uint32_t)value);
	return 0;
}

static int apic_read(struct vcpu *vcpu, unsigned reg, uint64_t *value)
{
	uint64_t base = apic_base(vcpu);

	if (base & APIC_X2)
		return vcpu->intc->msr_read(vcpu->intc_chip, X2APIC(reg), value);
	base &= PAGE_ADDR;
	*value = bus_read(&vcpu->vm->mmio, (int)vcpu->index, base + reg, 4);
	if (reg == APIC_ICR)
		*value |= bus_read(&vcpu->vm->mmio, (int)vcpu->index, base + APIC_ICR2, 4) << 32;
	return 0;
}

/* ---- MSRs ----------------------------------------------------------------------------------------------------- */

static int hv_msr_read(struct vcpu *vcpu, uint32_t index, uint64_t *value)
{
	struct hyperv *hv = hyperv_of(vcpu);
	int err = 0;

	if (index == MSR_ICR)
		return apic_read(vcpu, APIC_ICR, value);
	if (index == MSR_TPR)
		return apic_read(vcpu, APIC_TPR, value);
	if (index >= SYNIC_MSR_FIRST && index <= SYNIC_MSR_LAST)
		return synic_read(&hv->synic[vcpu->index], index, value);
	plat_mutex_lock(&hv->lock);
	switch (index) {
	case MSR_GUEST_OS:
		*value = hv->guest_os;
		break;
	case MSR_HYPERCALL:
		*value = hv->hypercall;
		break;
	case MSR_VP_INDEX:
		*value = vcpu->index;
		break;
	case MSR_RESET:
		*value = 0;
		break;
	case MSR_COUNTER:
		*value = reference_time(hv);
		break;
	case MSR_TSC_PAGE:
		*value = hv->page;
		break;
	case MSR_TSC_HZ:
		*value = hv->tsc_hz;
		break;
	case MSR_APIC_HZ:
		*value = LAPIC_BUS_HZ;
		break;
	case MSR_ASSIST:
		*value = hv->assist[vcpu->index];
		break;
	default:
		err = ERR_NOENT;
	}
	plat_mutex_unlock(&hv->lock);
	if (err && hv->next[vcpu->index].msr_read)
		err = hv->next[vcpu->index].msr_read(vcpu, index, value);
	return err;
}

/* Machine-wide ones; false: it is none of them. Lock held. */
static bool machine_msr(struct hyperv *hv, uint32_t index, uint64_t value)
{
	switch (index) {
	case MSR_GUEST_OS:
		hv->guest_os = value;
		if (!value) /* who does not say what it is gets no hypercalls (3.13) */
			hv->hypercall &= ~PAGE_ON;
		return true;
	case MSR_HYPERCALL:
		hv->hypercall = hv->guest_os ? value : value & ~PAGE_ON;
		hypercall_write(hv);
		return true;
	case MSR_TSC_PAGE:
		hv->page = value;
		page_write(hv);
		return true;
	default:
		return false;
	}
}

static int hv_msr_write(struct vcpu *vcpu, uint32_t index, uint64_t value)
{
	struct hyperv *hv = hyperv_of(vcpu);
	bool done;

	if (index >= SYNIC_MSR_FIRST && index <= SYNIC_MSR_LAST)
		return synic_write(&hv->synic[vcpu->index], index, value);
	switch (index) {
	case MSR_EOI:
		return apic_write(vcpu, APIC_EOI, 0);
	case MSR_ICR:
		return apic_write(vcpu, APIC_ICR, value);
	case MSR_TPR:
		return apic_write(vcpu, APIC_TPR, value & 0xff);
	case MSR_ASSIST:
		hv->assist[vcpu->index] = value;
		assist_write(vcpu, value);
		return 0;
	case MSR_RESET:
		if (value & 1)
			vm_request_reset(vcpu->vm);
		return 0;
	default:
		break;
	}
	plat_mutex_lock(&hv->lock);
	done = machine_msr(hv, index, value);
	plat_mutex_unlock(&hv->lock);
	if (done)
		return 0;
	if (hv->next[vcpu->index].msr_write)
		return hv->next[vcpu->index].msr_write(vcpu, index, value);
	return ERR_NOENT;
}

/* ---- CPUID ------------------------------------------------------------------------------------------------------ */

static void hv_cpuid(struct vcpu *vcpu, uint32_t leaf, uint32_t sub, uint32_t r[4])
{
	static const struct {
		uint32_t eax, ebx, ecx, edx;
	} leaves[] = {
		/* "Microsoft Hv": guests know the interface by the vendor, too */
		{LEAF_HARDWARE, 0x7263694d, 0x666f736f, 0x76482074},
		{0x31237648}, /* "Hv#1" */
		{0x3839, 10u << 16},
		{MAY_COUNTER | MAY_SYNIC | MAY_TIMERS | MAY_APIC | MAY_HYPERCALL | MAY_INDEX |
			 MAY_RESET | MAY_TSC_PAGE | MAY_FREQUENCY,
		 0, 0, HAS_FREQUENCY | HAS_DIRECT},
		{USE_APIC_MSRS | USE_RESET | RELAXED_TIME | NO_AUTO_EOI, NEVER_YIELD},
		{VM_MAX_VCPUS, VM_MAX_VCPUS},
		{0},
	};
	struct hyperv *hv = hyperv_of(vcpu);

	if (hv->next[vcpu->index].cpuid)
		hv->next[vcpu->index].cpuid(vcpu, leaf, sub, r);
	if (leaf < LEAF_VENDOR || leaf > LEAF_HARDWARE)
		return;
	r[0] = leaves[leaf - LEAF_VENDOR].eax;
	r[1] = leaves[leaf - LEAF_VENDOR].ebx;
	r[2] = leaves[leaf - LEAF_VENDOR].ecx;
	r[3] = leaves[leaf - LEAF_VENDOR].edx;
}

/* ---- the device --------------------------------------------------------------------------------------------------- */

static void hyperv_reset(struct dev *dev)
{
	struct hyperv *hv = container_of(dev, struct hyperv, dev);

	plat_mutex_lock(&hv->lock);
	hv->guest_os = hv->hypercall = hv->page = 0;
	memset(hv->assist, 0, sizeof(hv->assist));
	plat_mutex_unlock(&hv->lock);
	for (unsigned i = 0; i < dev->vm->n_vcpus; i++)
		synic_reset(&hv->synic[i]);
}

/* Timers write messages into the guest's memory. */
static int hyperv_freeze(struct dev *dev, bool on)
{
	struct hyperv *hv = container_of(dev, struct hyperv, dev);

	for (unsigned i = 0; i < dev->vm->n_vcpus; i++)
		synic_freeze(&hv->synic[i], on);
	return 0;
}

#define H struct hyperv
static const struct st_field fields[] = {
	ST_F(H, host_tsc, ST_STAMP, 0),
	ST_A(H, assist),
	ST_U(H, guest_os),
	ST_U(H, hypercall),
	ST_U(H, page),
};
#undef H

/* Guest TSC and line move together, so that the page in the guest's memory stays right. */
static int hyperv_state(struct dev *dev, struct state_stream *st)
{
	struct hyperv *hv = container_of(dev, struct hyperv, dev);

	ST_SYNC(st, "hyperv", 0, fields, hv);
	for (unsigned i = 0; i < dev->vm->n_vcpus && !st->err; i++)
		if (!st->loading || st->version >= 8)
			(void)synic_state(&hv->synic[i], i, st);
	return st->err;
}

static void hyperv_destroy(struct dev *dev)
{
	plat_free(container_of(dev, struct hyperv, dev));
}

static const struct vcpu_hooks hv_hooks = {
	.msr_read = hv_msr_read,
	.msr_write = hv_msr_write,
	.cpuid = hv_cpuid,
};

static const struct dev_class hyperv_class = {
	.name = "hyperv",
	.reset = hyperv_reset,
	.state = hyperv_state,
	.freeze = hyperv_freeze,
	.destroy = hyperv_destroy,
};

int hyperv_create(struct vm *vm, struct hyperv **out)
{
	struct hyperv *hv = plat_alloc(sizeof(*hv));

	if (!hv)
		return err_here(ERR_NOMEM);
	plat_mutex_init(&hv->lock, RANK_DEVICE);
	hv->tsc_hz = vm->tsc_hz ? vm->tsc_hz : plat_tsc_hz();
	hv->scale = scale_of(MAX(hv->tsc_hz, UNIT_HZ + 1));
	hv->host_tsc = vm_ticks(vm);
	vm_add_dev(vm, &hv->dev, &hyperv_class);
	for (unsigned i = 0; i < vm->n_vcpus; i++) {
		synic_init(&hv->synic[i], vm->vcpu[i], synic_time, hv);
		hv->next[i] = vcpu_hook(vm->vcpu[i], &hv_hooks);
	}
	*out = hv;
	return 0;
}
