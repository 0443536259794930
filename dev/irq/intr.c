/* SPDX-License-Identifier: ISC */
/* intr.c: builds the interrupt complex of a PC; see intr.h. */
#include "dev/irq/intr.h"

#include "dev/irq/i8259.h"
#include "dev/irq/ioapic.h"
#include "dev/irq/lapic.h"
#include "vm/dev.h"
#include "vm/vm.h"

struct intr {
	struct dev dev;
	struct apicbus bus;
	struct i8259 *pic;
	struct ioapic *ioapic;
};

/* INTR of the PIC goes to LINT0 of all processors; software lets one of them listen. */
static void pic_out(void *sink, unsigned n, bool level)
{
	struct intr *intr = sink;

	for (unsigned i = 0; i < intr->bus.n; i++)
		lapic_lint(intr->bus.lapic[i], 0, level);
}

void intr_virtual_wire(struct intr *intr)
{
	for (unsigned i = 0; i < intr->bus.n; i++)
		lapic_virtual_wire(intr->bus.lapic[i], i == 0);
}

bool intr_gsi_waiting(void *arg, unsigned gsi)
{
	struct intr *intr = arg;

	if (gsi < 16 && i8259_waiting(intr->pic, gsi))
		return true;
	return gsi < IOAPIC_PINS && ioapic_waiting(intr->ioapic, gsi == 0 ? 2 : gsi);
}

bool intr_msi_waiting(void *arg, uint32_t data)
{
	struct intr *intr = arg;

	return apicbus_waiting(&intr->bus, (uint8_t)data);
}

static unsigned ceil_log2(unsigned n)
{
	return n > 1 ? 32 - (unsigned)__builtin_clz(n - 1) : 0;
}

/* Leaf 0BH and 1FH: one thread a core, all cores in one package. */
static void cpuid_topology(struct vcpu *vcpu, uint32_t sub, uint32_t r[4])
{
	unsigned n = vcpu->vm->n_vcpus;

	r[0] = sub == 1 ? ceil_log2(n) : 0;
	r[1] = sub == 0 ? 1 : sub == 1 ? n : 0;
	r[2] = (sub & 0xff) | (sub == 0 ? 1u << 8 : sub == 1 ? 2u << 8 : 0);
	r[3] = vcpu->index;
}

void intr_cpuid(struct vcpu *vcpu, uint32_t leaf, uint32_t sub, uint32_t r[4])
{
	unsigned n = vcpu->vm->n_vcpus;
	uint64_t base = 0;

	switch (leaf) {
	case 1:
		r[1] = (r[1] & 0x0000ffff) | (MIN(n, 255u) << 16) | vcpu->index << 24;
		r[2] |= BIT(21);
		/* The APIC bit says whether it is enabled now (SDM vol. 3, 11.4.3). */
		if (vcpu->intc && !vcpu->intc->msr_read(vcpu->intc_chip, 0x1b, &base))
			r[3] = (base & BIT64(11)) ? r[3] | BIT(9) : r[3] & ~BIT(9);
		r[3] = n > 1 ? r[3] | BIT(28) : r[3] & ~BIT(28);
		break;
	case 4: /* cores in the package; every cache belongs to one of them */
		if (r[0] & 0x1f)
			r[0] = (r[0] & 0x3fff) | (BIT(ceil_log2(n)) - 1) << 26;
		break;
	case 6:
		r[0] |= BIT(2); /* the local APIC's timer never stops */
		break;
	case 0xb:
	case 0x1f:
		cpuid_topology(vcpu, sub, r);
		break;
	case 0x80000008:
		r[2] = (r[2] & ~0xf0ffu) | (n - 1) | ceil_log2(n) << 12;
		break;
	case 0x8000001e:
		r[0] = vcpu->index;
		r[1] = vcpu->index; /* compute unit, one thread */
		r[2] = 0;           /* node 0, one node */
		break;
	default:
		break;
	}
}

static void lines_lend(void *chip, struct line_chips *out)
{
	struct intr *intr = chip;

	i8259_lend(intr->pic, out);
	ioapic_lend(intr->ioapic, out);
}

static void lines_look(void *chip, const struct line_chips *in)
{
	struct intr *intr = chip;

	i8259_look(intr->pic, in, false);
	ioapic_look(intr->ioapic, in, false);
}

static void lines_back(void *chip, const struct line_chips *in)
{
	struct intr *intr = chip;

	i8259_look(intr->pic, in, true);
	ioapic_look(intr->ioapic, in, true);
}

static const struct lines_ops intr_lines = {lines_lend, lines_look, lines_back};

static void intr_destroy(struct dev *dev)
{
	plat_free(container_of(dev, struct intr, dev));
}

static const struct dev_class intr_class = {
	.name = "intr",
	.stateless = true,
	.destroy = intr_destroy,
};

static int lapics_create(struct intr *intr, struct vm *vm)
{
	for (unsigned i = 0; i < vm->n_vcpus; i++) {
		const struct lapic_wiring w = {
			.vcpu = vm->vcpu[i],
			.bus = &intr->bus,
			.intack = i8259_ack,
			.peek = i8259_peek,
			.pic = intr->pic,
		};
		struct lapic *l;
		int err = lapic_create(vm, &w, &l);

		if (err)
			return err;
		if (!vm->vcpu[i]->cpuid)
			vm->vcpu[i]->cpuid = intr_cpuid;
	}
	return lapic_map(&intr->bus);
}

int intr_create(struct vm *vm, struct intr **out)
{
	struct intr *intr = plat_alloc(sizeof(*intr));
	const struct i8259_wiring pic = {.out = {pic_out, intr, 0}};
	struct ioapic_wiring ioapic = {0};
	int err;

	if (!intr)
		return err_here(ERR_NOMEM);
	/* From here on the VM owns everything, on errors too. */
	vm_add_dev(vm, &intr->dev, &intr_class);
	apicbus_init(&intr->bus, vm);
	err = i8259_create(vm, &pic, &intr->pic);
	if (err)
		return err;
	err = lapics_create(intr, vm);
	if (err)
		return err;
	ioapic.bus = &intr->bus;
	err = ioapic_create(vm, &ioapic, &intr->ioapic);
	if (err)
		return err;
	vm->irq = (struct irq_router){
		.pic = {i8259_set, intr->pic},
		.ioapic = {ioapic_set, intr->ioapic},
		.msi = apicbus_msi,
		.msi_chip = &intr->bus,
		.eoi = apicbus_lent_eoi,
		.eoi_chip = &intr->bus,
		.level_msg = ioapic_level_msg,
		.lines = &intr_lines,
		.lines_chip = intr,
	};
	*out = intr;
	return 0;
}
