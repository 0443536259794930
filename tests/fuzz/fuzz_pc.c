/* SPDX-License-Identifier: ISC */
/* fuzz_pc.c: the chips of a PC under a guest that writes whatever it likes: ports, MMIO, MSRs, MSIs,
 * interrupts taken or not, time that passes, input on the serial line, keys and movements of the mouse, fw_cfg's
 * commands in memory.
 * Input: a list of 12-byte steps {what, where, value}; bit 7 of the first byte: with the chip set, its
 * PCI functions, a screen, an IDE disk and a CD drive. */
#include <stdlib.h>
#include <string.h>

#include "block/block.h"
#include "chr/chr.h"
#include "dev/irq/intr.h"
#include "dev/pc/acpi_pm.h"
#include "dev/pc/coproc.h"
#include "dev/pc/debugcon.h"
#include "dev/pc/debugexit.h"
#include "dev/pc/fwcfg.h"
#include "dev/pc/hpet.h"
#include "dev/pc/i440fx.h"
#include "dev/pc/hyperv.h"
#include "dev/pc/i8042.h"
#include "dev/pc/i82078.h"
#include "dev/pc/i8237.h"
#include "dev/pc/i8254.h"
#include "dev/pc/ide.h"
#include "dev/pc/mc146818.h"
#include "dev/pc/ns16550.h"
#include "dev/pc/parport.h"
#include "dev/pc/pcspk.h"
#include "dev/pc/pflash.h"
#include "dev/pc/pvclock.h"
#include "dev/pc/vga.h"
#include "dev/pci/pci.h"
#include "plat/fake/fake.h"
#include "ui/display.h"
#include "ui/input.h"
#include "tests/lib/no_engine.h"
#include "vm/vm.h"

#define CPUS       2
#define FLASH_SIZE (64 * KIB)
#define FLASH_END  (UINT64_C(4) * GIB)

static void sink_write(struct chr *c, const void *buf, size_t len)
{
}

static void sink_ready(struct chr *c)
{
}

static const struct chr_ops sink_ops = {
	.name = "sink", .write = sink_write, .rx_ready = sink_ready, .close = sink_ready};

static const struct {
	uint16_t base, len;
} ports[] = {{0x20, 2},
	     {0x40, 4},
	     {0x60, 1},
	     {0x61, 1},
	     {0x64, 1},
	     {0x70, 2},
	     {0x92, 1},
	     {0xa0, 2},
	     {0xcf9, 1},
	     {0x3f8, 8},
	     {0x378, 3},
	     {0x4d0, 2},
	     {0x600, ACPI_PM_LEN},
	     {0x500, 4},
	     {0x00, 16},
	     {0x80, 16},
	     {0xc0, 32},
	     {0x3f0, 6},
	     {0x3f5, 1},
	     {0x510, 2},
	     {0x514, 8},
	     {0x402, 1},
	     {0xf0, 1},
	     /* of the PCI machine */
	     {0xcf8, 8},
	     {0xb2, 2},
	     {0x618, 24},
	     {0x1f0, 8},
	     {0x170, 8},
	     {0x3f6, 1},
	     {0x376, 1},
	     {0x3b0, 12},
	     {0x3c0, 16},
	     {0x3d4, 8},
	     {0x1ce, 4},
	     {0xc000, 16}};

static struct input people;

/* A floppy disk on which every byte is another. */
static void floppy_submit(struct block *b, struct block_req *req)
{
	if (req->offset > b->size || req->len > b->size - req->offset)
		abort();
	for (unsigned i = 0; i < req->n_vec; i++)
		if (req->op == BLOCK_READ)
			memset(req->vec[i].base, (int)(req->offset >> 9), req->vec[i].len);
	req->done(req, 0);
}

static const struct block_ops floppy_ops = {.name = "floppy", .submit = floppy_submit};
static struct block floppy = {.ops = &floppy_ops, .size = 1440 * KIB, .name = "floppy"};

static struct block disk = {.ops = &floppy_ops, .size = 8 * MIB, .name = "disk"};
static struct block disc = {.ops = &floppy_ops, .size = 2 * MIB, .name = "disc", .read_only = true};
static struct block flash = {.ops = &floppy_ops, .size = FLASH_SIZE, .name = "flash"};
static struct display screen;

#define VGA_FRAME 0xc0000000u
#define VGA_REGS  0xc1000000u
static struct pci_host *bus;

/* As firmware leaves them. */
static void enable_functions(void)
{
	static const unsigned devfn[] = {2 * PCI_FUNCS, PIIX_SLOT * PCI_FUNCS + PIIX_IDE_FN};

	for (unsigned i = 0; i < ARRAY_SIZE(devfn); i++)
		pci_cfg_write(bus, devfn[i], PCI_COMMAND, 2,
			      PCI_CMD_IO | PCI_CMD_MEM | PCI_CMD_MASTER);
}

/* What firmware talks to. */
static void build_firmware(struct vm *vm)
{
	static const char text[] = "a file of some length, which ends in the middle of";
	struct debugcon *con;
	struct pflash *nor;
	struct fwcfg *fw;

	if (fwcfg_create(vm, &fw) || fwcfg_add_file(fw, "etc/text", text, sizeof(text)) ||
	    fwcfg_add_file(fw, "etc/nothing", text, 0) || fwcfg_add_int(fw, FWCFG_CPUS, CPUS, 2) ||
	    debugcon_create(vm, &(struct debugcon_wiring){.base = 0x402, .ident = 0xe9}, &con) ||
	    pflash_create(vm, &(struct pflash_wiring){.end = FLASH_END, .block = &flash}, &nor))
		abort();
}

static void build_pci(struct vm *vm, struct acpi_pm *pm)
{
	struct i440fx_wiring w = {.pm = pm, .pm_base = 0x600};
	struct pci_host_wiring host = {.vendor = I440FX_VENDOR,
				       .device = I440FX_DEVICE,
				       .io = {0xc000, 0x1000},
				       .mem = {VGA_FRAME, 32 * MIB},
				       .preassign = true};
	struct ide_wiring ide_w = {.slot = PIIX_SLOT,
				   .func = PIIX_IDE_FN,
				   .irq = {gsi_line(vm, 14), gsi_line(vm, 15)}};
	struct vga_wiring vga_w = {.slot = 2, .display = &screen};
	struct i440fx *chip;
	struct ide *ide;
	struct vga *vga;

	display_init(&screen);
	if (i440fx_create(vm, &chip))
		abort();
	for (unsigned i = 0; i < 4; i++)
		host.pirq[i] = i440fx_pirq(chip, i);
	if (pci_host_create(vm, &host, &w.host))
		abort();
	ide_w.host = vga_w.host = w.host;
	ide_w.drive[0].present = ide_w.drive[2].present = ide_w.drive[2].cdrom = true;
	ide_w.drive[0].block = &disk;
	ide_w.drive[2].block = &disc;
	if (i440fx_attach(chip, &w) || vga_create(vm, &vga_w, &vga) || ide_create(vm, &ide_w, &ide))
		abort();
	bus = w.host;
	enable_functions();
}

static struct vm *build(struct chr *chr, bool pci)
{
	const struct vm_config cfg = {.name = "fuzz",
				      .engine = &no_engine,
				      .cpus = CPUS,
				      .memory = 2 * MIB,
				      .low_end = 2 * MIB,
				      .pc_low = pci};
	struct vm *vm;
	struct intr *intr;
	struct pcspk_wiring spk = {0};
	struct mc146818 *rtc;
	struct ns16550 *uart;
	struct parport *lpt;
	struct acpi_pm *pm;
	struct hpet *hpet;
	struct i8042 *kbc;
	struct debugexit *dbg;
	struct pvclock *clock;
	struct hyperv *hv;
	struct coproc *fpu;
	struct pcspk *speaker;
	struct i82078_wiring fdc_w = {0};
	struct i82078 *fdc;

	input_init(&people);
	bus = NULL;
	if (vm_create(&cfg, &vm) || intr_create(vm, &intr))
		abort();
	struct i8254_wiring pit = {
		.irq = gsi_line(vm, 0), .waiting = intr_gsi_waiting, .waiting_arg = intr};
	if (hpet_create(vm, &(struct hpet_wiring){0}, &hpet) || i8254_create(vm, &pit, &spk.pit) ||
	    pcspk_create(vm, &spk, &speaker) ||
	    mc146818_create(vm, &(struct mc146818_wiring){.irq = gsi_line(vm, 8)}, &rtc) ||
	    ns16550_create(
		    vm, &(struct ns16550_wiring){.base = 0x3f8, .irq = gsi_line(vm, 4), .chr = chr},
		    &uart) ||
	    parport_create(
		    vm, &(struct parport_wiring){.base = 0x378, .irq = gsi_line(vm, 7), .chr = chr},
		    &lpt) ||
	    acpi_pm_create(vm,
			   &(struct acpi_pm_wiring){.base = 0x600,
						    .s5_type = ACPI_S5_TYPE,
						    .s3_type = 1,
						    .sci = gsi_line(vm, 9),
						    .cf9 = !pci},
			   &pm) ||
	    i8042_create(vm,
			 &(struct i8042_wiring){.irq = gsi_line(vm, 1),
						.irq_aux = gsi_line(vm, 12),
						.input = &people},
			 &kbc) ||
	    debugexit_create(vm, &(struct debugexit_wiring){.base = 0x500}, &dbg) ||
	    pvclock_create(vm, &(struct pvclock_wiring){0}, &clock) || hyperv_create(vm, &hv) ||
	    coproc_create(vm, &(struct coproc_wiring){.irq = gsi_line(vm, 13)}, &fpu))
		abort();
	fdc_w.irq = gsi_line(vm, 6);
	fdc_w.drive[0].present = fdc_w.drive[1].present = true;
	fdc_w.drive[0].block = &floppy;
	if (i8237_create(vm, &fdc_w.dma) || i82078_create(vm, &fdc_w, &fdc))
		abort();
	build_firmware(vm);
	if (pci)
		build_pci(vm, pm);
	intr_virtual_wire(intr);
	return vm;
}

static void port_access(struct vm *vm, uint8_t how, uint16_t where, uint32_t value)
{
	unsigned n = where % ARRAY_SIZE(ports), size = 1u << (how >> 4) % 3;
	uint64_t port = ports[n].base + (unsigned)(where >> 8) % ports[n].len;

	if (how & 8)
		bus_write(&vm->pio, how >> 7, port, size, value);
	else
		bus_read(&vm->pio, how >> 7, port, size);
}

static void mmio_access(struct vm *vm, uint8_t how, uint16_t where, uint64_t value)
{
	static const uint32_t page[16] = {
		0xfee00000, 0xfed00000, 0xfec00000, 0xa0000,
		VGA_REGS,   VGA_FRAME,  0xb8000,    0xaf000,    /* the screen's */
		0xffff0000, 0xffff1000, 0xffffe000, 0xfffff000, /* flash */
		0xfee00000, 0xfed00000, 0xfec00000, 0xa1000};
	uint64_t addr = page[where >> 12] + (where & 0xfff);
	unsigned size = 1u << (how >> 4) % 4;

	if (how & 8)
		bus_write(&vm->mmio, how >> 7, addr, size, value);
	else
		bus_read(&vm->mmio, how >> 7, addr, size);
}

static void msr_access(struct vcpu *vcpu, uint8_t how, uint16_t where, uint64_t value)
{
	static const uint32_t other[] = {0x1b,       0x6e0,      0x4b564d00, 0x4b564d01, 0x4b564d03,
					 0x40000000, 0x40000001, 0x40000020, 0x40000021, 0x40000070,
					 0x40000071, 0x40000072, 0x40000073};
	uint32_t index = where & 0x8000   ? other[where % ARRAY_SIZE(other)]
			 : where & 0x4000 ? 0x40000080 + where % 0x40u /* SynIC and timers */
					  : 0x800 + where % 0x50u;
	uint64_t v;

	if (how & 8) {
		if (vcpu->intc->msr_write(vcpu->intc_chip, index, value))
			(void)vcpu->msr_write(vcpu, index, value);
	} else if (vcpu->intc->msr_read(vcpu->intc_chip, index, &v)) {
		(void)vcpu->msr_read(vcpu, index, &v);
	}
}

static uint32_t be32(uint32_t v)
{
	return __builtin_bswap32(v);
}

/* A command of fw_cfg's DMA: select, read, skip or write, to memory that is there or not. */
static void fwcfg_dma(struct vm *vm, uint16_t where, uint64_t value)
{
	const uint32_t cmd[4] = {be32((uint32_t)(value >> 32)), be32((uint32_t)value & 0x3ffff), 0,
				 be32((uint32_t)where << 6)};

	if (mem_write(vm, 0x1000, cmd, sizeof(cmd)))
		abort();
	bus_write(&vm->pio, 0, 0x518, 4, be32(0x1000));
}

/* What the bootstrap processor's thread would do; also the end of a sleep. */
static void reset(struct vm *vm)
{
	for (struct dev *d = vm->devs; d; d = d->next)
		if (d->cls->reset)
			d->cls->reset(d);
	if (bus)
		enable_functions();
	vm->reset_wanted = vm->waking = false;
	vm->paused = 0;
}

static void step(struct vm *vm, struct chr *chr, const uint8_t *s)
{
	uint8_t how = s[1];
	uint16_t where;
	uint64_t value;
	struct vcpu *vcpu = vm->vcpu[how >> 7];
	int v;

	memcpy(&where, s + 2, 2);
	memcpy(&value, s + 4, 8);
	switch (s[0] % 9) {
	case 0:
	case 1:
		port_access(vm, how, where, (uint32_t)value);
		break;
	case 2:
		mmio_access(vm, how, where, value);
		break;
	case 3:
		msr_access(vcpu, how, where, value);
		break;
	case 4:
		fake_advance(value % (UINT64_C(1) << how % 36));
		break;
	case 5:
		v = vcpu->intc->pending(vcpu->intc_chip);
		if (v >= 0 && vcpu->intc->ack(vcpu->intc_chip) > 255)
			abort();
		break;
	case 6:
		if (how & 8)
			msi_send(vm, 0xfee00000 | where << 4, (uint32_t)value);
		else
			gsi_set(vm, where, value & 1);
		break;
	case 7:
		if (how & 8)
			fwcfg_dma(vm, where, value);
		else
			(void)mem_write(vm, (gpa_t)where << 5, &value, 8);
		break;
	default:
		chr_receive(chr, s + 4, how % 9);
		input_key(&people, where % (KEY_COUNT + 1), how & 1);
		if (how & 8)
			input_move(&people, (int16_t)value, (int16_t)(value >> 16),
				   (int8_t)(value >> 32), (unsigned)(value >> 40));
		if (how & 4 && vm->mem.screen.size && display_begin(&screen)) {
			display_take(&screen);
			display_done(&screen);
		}
		if (how & 0x10)
			vm->power_button(vm);
		if (how & 0x20)
			irq_set(&vm->ferr, true);
		if (vm->reset_wanted)
			reset(vm);
		if (how & 0x40)
			vcpu->intc->reset(vcpu->intc_chip, how & 0x20);
	}
	if (fake_locks_held())
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct chr chr = {.ops = &sink_ops};
	struct vm *vm;

	fake_reset();
	vm = build(&chr, size && data[0] & 0x80);
	for (unsigned i = 0; i < 2000 && size >= 12; i++, data += 12, size -= 12)
		step(vm, &chr, data);
	vm_destroy(vm);
	return 0;
}
