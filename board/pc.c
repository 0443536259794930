/* SPDX-License-Identifier: ISC */
/* pc.c: the full PC as a wiring plan. Reads from top to bottom like the machine's data sheet: address
 * map, interrupt complex, legacy chips, chip set and PCI slots, what firmware is told, ROM.
 * Creation time. */
#include "board/pc.h"

#include "base/str.h"
#include "board/acpi.h"
#include "board/acpi_loader.h"
#include "dev/ata/ahci.h"
#include "dev/irq/intr.h"
#include "dev/nic/e1000.h"
#include "dev/nic/rtl8029.h"
#include "dev/nic/rtl8139.h"
#include "dev/nvme.h"
#include "dev/pc/acpi_pm.h"
#include "dev/pc/coproc.h"
#include "dev/pc/debugcon.h"
#include "dev/pc/debugexit.h"
#include "dev/pc/fwcfg.h"
#include "dev/pc/hpet.h"
#include "dev/pc/hyperv.h"
#include "dev/pc/i440fx.h"
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
#include "dev/usb/tablet.h"
#include "dev/usb/uhci.h"
#include "dev/virtio/blk.h"
#include "dev/virtio/console.h"
#include "dev/virtio/gpu.h"
#include "dev/virtio/input.h"
#include "dev/virtio/net.h"
#include "dev/virtio/rng.h"
#include "block/block.h"
#include "net/net.h"
#include "vm/stream.h"
#include "vm/vm.h"

/* Guest-physical map */
#define LAPIC_BASE    0xfee00000u
#define IOAPIC_BASE   0xfec00000u
#define PCI_MEM_FIRST 0x80000000u /* or where RAM ends */
#define PCI_MEM_LAST  0xfebfffffu
#define VGA_FRAME     0xfd000000u /* where SeaBIOS puts the frame buffer */
#define SHADOW_ROM    0xe0000u    /* the ROM's last 128 KiB, too */

/* Ports */
#define PM_BASE_BIOS 0x600u /* each firmware has its own idea, and moves the block there */
#define PM_BASE_UEFI 0xb000u
#define COM1         0x3f8u
#define LPT1         0x378u
#define DEBUG_PORT   0x402u
#define PCI_IO_FIRST 0xd00u /* behind the configuration ports */
#define PCI_IO_LAST  0xffffu

#define VGA_SLOT 2

/* Interrupts */
#define GSI_PIT    0
#define GSI_KBD    1
#define GSI_COM1   4
#define GSI_FDC    6
#define GSI_LPT1   7
#define GSI_SCI    9
#define GSI_MOUSE  12
#define GSI_COPROC 13
#define GSI_IDE    14 /* and 15 */

/* CMOS */
#define CMOS_RESET     0x0f /* why the processor starts: */
#define RESET_S3       0xfe /* out of S3 */
#define CMOS_FLOPPY    0x10
#define CMOS_EQUIPMENT 0x14
#define CMOS_BOOT_LOW  0x38
#define CMOS_BOOT_HIGH 0x3d
#define CMOS_CPUS      0x5f

/* SLP_TYP: S5 and S3 as in the 82371AB; OVMF takes S5's for granted */
#define S5_TYPE    0
#define S3_TYPE    1
#define S4_TYPE    2
#define GPE_KBD    8
#define ACPI_SPACE (64 * KIB)

struct pc {
	struct dev dev;
	struct intr *intr;
	struct i440fx *chipset;
	struct pci_host *pci;
	struct acpi_pm *pm;
	uint16_t pm_base;
	struct mc146818 *rtc;
	struct fwcfg *fw;
	struct ide *ide;
	struct ahci *ahci; /* NULL where no disk asks for it */
	uint8_t ahci_slot;
	struct i82078 *fdc;
	struct plat_ram rom;

	/* files for the firmware */
	uint8_t acpi[ACPI_SPACE];
	uint8_t loader[ACPI_LOADER_SIZE];
	uint8_t smbios_anchor[SMBIOS_ANCHOR_SIZE], smbios[SMBIOS_TABLES_SIZE];
	uint32_t smbios_len;
	struct {
		uint64_t base, len;
		uint32_t type;
	} attr_packed e820[4];
	uint16_t sercon;
	uint8_t slot[PC_MAX_DISKS], nic_slot[PC_MAX_NICS];
	uint8_t disk_if[PC_MAX_DISKS];   /* enum pc_disk_if */
	uint8_t ata_place[PC_MAX_DISKS]; /* channel * 2 + drive of a disk that is IDE; AHCI: port */
	char bootorder[1024];
	size_t bootorder_len;
};

/* ---- chips -------------------------------------------------------------------------------------- */

/* Power management comes after the chips that wake. */
static void wake(void *sink, unsigned n, bool level)
{
	struct pc *pc = sink;

	if (level && pc->pm)
		acpi_pm_wake(pc->pm, n);
}

/* The chips that every PC has at fixed ports. */
static int wire_legacy(struct vm *vm, struct pc *pc, const struct pc_config *cfg)
{
	struct i8254_wiring pit_w = {
		.waiting = intr_gsi_waiting, .waiting_arg = pc->intr, .gsi = GSI_PIT};
	struct mc146818_wiring rtc_w = {.alarm = {wake, pc, ACPI_WAKE_RTC},
					.offset = cfg->rtc_offset};
	struct i8042_wiring kbc_w = {.irq = gsi_line(vm, GSI_KBD),
				     .wake = {wake, pc, GPE_KBD},
				     .irq_aux = gsi_line(vm, GSI_MOUSE),
				     .a20 = {vm_a20, vm, 0},
				     .input = cfg->input};
	struct debugcon_wiring con_w = {.base = DEBUG_PORT, .ident = 0xe9};
	struct coproc_wiring fpu_w = {.irq = gsi_line(vm, GSI_COPROC)};
	struct pcspk_wiring spk_w = {0};
	struct debugcon *con;
	struct coproc *fpu;
	struct hpet *hpet;
	struct i8042 *kbc;
	struct pcspk *spk;
	int err = hpet_create(vm, &hpet);

	if (err)
		return err;
	pit_w.irq = hpet_legacy_line(hpet, 0);
	rtc_w.irq = hpet_legacy_line(hpet, 1);
	err = i8254_create(vm, &pit_w, &spk_w.pit);
	if (!err)
		err = pcspk_create(vm, &spk_w, &spk);
	if (!err)
		err = i8042_create(vm, &kbc_w, &kbc);
	if (!err)
		err = mc146818_create(vm, &rtc_w, &pc->rtc);
	if (!err)
		err = debugcon_create(vm, &con_w, &con);
	if (!err)
		err = coproc_create(vm, &fpu_w, &fpu);
	return err;
}

/* A drive for each image. */
static int wire_floppy(struct vm *vm, struct pc *pc, const struct pc_config *cfg)
{
	struct i82078_wiring w = {.irq = gsi_line(vm, GSI_FDC)};
	int err = i8237_create(vm, &w.dma);

	for (unsigned i = 0; i < I82078_DRIVES; i++) {
		w.drive[i].present = cfg->floppy[i].present;
		w.drive[i].block = cfg->floppy[i].block;
	}
	if (err || !w.drive[0].present)
		return err;
	err = i82078_create(vm, &w, &pc->fdc);
	if (err)
		return err;
	mc146818_set(pc->rtc, CMOS_FLOPPY,
		     (uint8_t)(i82078_cmos_type(pc->fdc, 0) << 4 | i82078_cmos_type(pc->fdc, 1)));
	return 0;
}

static int wire_serial(struct vm *vm, const struct pc_config *cfg)
{
	struct ns16550_wiring w = {.base = COM1, .irq = gsi_line(vm, GSI_COM1), .chr = cfg->serial};
	struct parport_wiring lpt_w = {
		.base = LPT1, .irq = gsi_line(vm, GSI_LPT1), .chr = cfg->parallel};
	struct ns16550 *uart;
	struct parport *lpt;
	int err = cfg->serial ? ns16550_create(vm, &w, &uart) : 0;

	return err || !cfg->parallel ? err : parport_create(vm, &lpt_w, &lpt);
}

static int wire_power(struct vm *vm, struct pc *pc, const struct pc_config *cfg)
{
	struct acpi_pm_wiring pm_w = {.base = pc->pm_base,
				      .sci = gsi_line(vm, GSI_SCI),
				      .s5_type = S5_TYPE,
				      .s3_type = S3_TYPE,
				      .s4_type = S4_TYPE,
				      .timer32 = true};
	struct debugexit_wiring exit_w = {.base = cfg->exit_port};
	struct pvclock_wiring clock_w = {0};
	struct debugexit *dbg;
	struct pvclock *clock;
	struct hyperv *hyperv;
	int err = acpi_pm_create(vm, &pm_w, &pc->pm);

	if (!err && cfg->exit_port)
		err = debugexit_create(vm, &exit_w, &dbg);
	if (!err && cfg->hyperv)
		err = hyperv_create(vm, &hyperv);
	else if (!err)
		err = pvclock_create(vm, &clock_w, &clock);
	return err;
}

static int wire_chipset(struct vm *vm, struct pc *pc)
{
	struct pci_host_wiring host_w = {
		.vendor = I440FX_VENDOR,
		.device = I440FX_DEVICE,
	};
	uint64_t rom = MIN((uint64_t)pc->rom.size, MIB - SHADOW_ROM);
	struct i440fx_wiring w = {.pm = pc->pm,
				  .pm_base = pc->pm_base,
				  .rom = pc->rom.hva + pc->rom.size - rom,
				  .rom_size = rom};
	int err = i440fx_create(vm, &pc->chipset);

	if (err)
		return err;
	for (unsigned i = 0; i < 4; i++)
		host_w.pirq[i] = i440fx_pirq(pc->chipset, i);
	err = pci_host_create(vm, &host_w, &pc->pci);
	w.host = pc->pci;
	return err ? err : i440fx_attach(pc->chipset, &w);
}

/* ---- slots and the order in which they are booted from --------------------------------------------- */

static void boot_path(struct pc *pc, const char *fmt, ...)
{
	size_t left = sizeof(pc->bootorder) - pc->bootorder_len;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = str_vformat(pc->bootorder + pc->bootorder_len, left, fmt, ap);
	va_end(ap);
	if (n > 0 && (size_t)n < left)
		pc->bootorder_len += (size_t)n;
}

/* IDE disks and CD drives in order: primary master, primary slave and so on. A CD drive that is alone
 * on the machine is the secondary master, where old systems look for it. */
static int wire_ide(struct vm *vm, struct pc *pc, const struct pc_config *cfg)
{
	struct ide_wiring w = {.host = pc->pci,
			       .slot = PIIX_SLOT,
			       .func = PIIX_IDE_FN,
			       .irq = {gsi_line(vm, GSI_IDE), gsi_line(vm, GSI_IDE + 1)}};
	unsigned n = 0;

	for (unsigned pass = 0; pass < 2; pass++) { /* disks first */
		for (unsigned i = 0; i < cfg->n_disks; i++) {
			if (cfg->disk[i].iface != PC_IDE || cfg->disk[i].cdrom != (pass == 1))
				continue;
			if (cfg->disk[i].cdrom && n < 2)
				n = 2;
			if (n == IDE_DRIVES)
				return err_here(ERR_NOMEM);
			w.drive[n].present = true;
			w.drive[n].cdrom = cfg->disk[i].cdrom;
			w.drive[n].block = cfg->disk[i].block;
			w.drive[n].serial = cfg->disk[i].serial;
			pc->ata_place[i] = (uint8_t)n++;
		}
	}
	return ide_create(vm, &w, &pc->ide);
}

/* Slot of what has been created last with PCI_ANY_SLOT: the bus fills itself from below. */
static unsigned last_slot(struct pc *pc)
{
	unsigned slot = PCI_SLOTS - 1;

	while (slot && !pci_host_find(pc->pci, slot * PCI_FUNCS))
		slot--;
	return slot;
}

/* AHCI disks and CD drives on the ports in the order in which they are given. */
static int wire_ahci(struct vm *vm, struct pc *pc, const struct pc_config *cfg)
{
	struct ahci_wiring w = {.host = pc->pci, .slot = PCI_ANY_SLOT};
	unsigned n = 0;
	int err;

	for (unsigned i = 0; i < cfg->n_disks; i++) {
		if (cfg->disk[i].iface != PC_AHCI)
			continue;
		if (n == AHCI_PORTS)
			return err_here(ERR_NOMEM);
		w.port[n].present = true;
		w.port[n].cdrom = cfg->disk[i].cdrom;
		w.port[n].block = cfg->disk[i].block;
		w.port[n].serial = cfg->disk[i].serial;
		pc->ata_place[i] = (uint8_t)n++;
	}
	if (!n)
		return 0;
	err = ahci_create(vm, &w, &pc->ahci);
	pc->ahci_slot = (uint8_t)last_slot(pc);
	return err;
}

static int wire_disk(struct vm *vm, struct pc *pc, const struct pc_config *cfg, unsigned i)
{
	struct virtio_dev *vd;
	struct nvme *nvme;
	int err;

	switch (cfg->disk[i].iface) {
	case PC_VIRTIO:
		err = virtio_blk_create(
			vm, pc->pci,
			&(struct virtio_blk_wiring){.blk = cfg->disk[i].block,
						    .serial = cfg->disk[i].serial,
						    .slot = PCI_ANY_SLOT,
						    .transitional = cfg->virtio_legacy},
			&vd);
		pc->slot[i] = (uint8_t)last_slot(pc);
		return err;
	case PC_IDE:
	case PC_AHCI:
		return 0;
	case PC_NVME:
		err = nvme_create(vm,
				  &(struct nvme_wiring){.host = pc->pci,
							.slot = PCI_ANY_SLOT,
							.block = cfg->disk[i].block,
							.serial = cfg->disk[i].serial},
				  &nvme);
		pc->slot[i] = (uint8_t)last_slot(pc);
		return err;
	default:
		return err_here(ERR_NOSYS);
	}
}

static int wire_nic(struct vm *vm, struct pc *pc, const struct pc_config *cfg, unsigned i)
{
	struct net *net = cfg->nic[i].net;
	struct virtio_dev *vd;
	struct e1000 *e1000;
	struct rtl8139 *rtl8139;
	struct rtl8029 *rtl8029;
	int err;

	memcpy(net->mac, cfg->nic[i].mac, 6);
	switch (cfg->nic[i].model) {
	case PC_NIC_VIRTIO:
		err = virtio_net_create(
			vm, pc->pci,
			&(struct virtio_net_wiring){.net = net,
						    .slot = PCI_ANY_SLOT,
						    .transitional = cfg->virtio_legacy},
			&vd);
		break;
	case PC_NIC_E1000:
		err = e1000_create(
			vm,
			&(struct e1000_wiring){.host = pc->pci, .slot = PCI_ANY_SLOT, .net = net},
			&e1000);
		break;
	case PC_NIC_RTL8139:
	case PC_NIC_RTL8139D:
		err = rtl8139_create(
			vm,
			&(struct rtl8139_wiring){.host = pc->pci,
						 .slot = PCI_ANY_SLOT,
						 .net = net,
						 .plain = cfg->nic[i].model == PC_NIC_RTL8139D},
			&rtl8139);
		break;
	case PC_NIC_NE2K:
		err = rtl8029_create(
			vm,
			&(struct rtl8029_wiring){.host = pc->pci, .slot = PCI_ANY_SLOT, .net = net},
			&rtl8029);
		break;
	default:
		err = err_here(ERR_NOSYS);
	}
	pc->nic_slot[i] = (uint8_t)last_slot(pc);
	if (!err && cfg->nic[i].rom)
		err = pci_rom_add(pci_host_find(pc->pci, pc->nic_slot[i] * PCI_FUNCS),
				  cfg->nic[i].rom, cfg->nic[i].rom_size);
	return err;
}

static void boot_disks(struct pc *pc, const struct pc_config *cfg, bool cdrom)
{
	for (unsigned i = 0; i < cfg->n_disks; i++) {
		if (cfg->disk[i].cdrom != cdrom)
			continue;
		switch (cfg->disk[i].iface) {
		case PC_VIRTIO:
			boot_path(pc, "/pci@i0cf8/scsi@%x/disk@0,0\n", pc->slot[i]);
			break;
		case PC_IDE:
			boot_path(pc, "/pci@i0cf8/ide@%x,%x/drive@%x/disk@%x\n", PIIX_SLOT,
				  PIIX_IDE_FN, pc->ata_place[i] / 2, pc->ata_place[i] % 2);
			break;
		case PC_AHCI:
			boot_path(pc, "/pci@i0cf8/pci8086,2922@%x/drive@%x/disk@0\n", pc->ahci_slot,
				  pc->ata_place[i]);
			break;
		case PC_NVME:
			boot_path(pc, "/pci@i0cf8/pci1b36,10@%x/namespace@1,0\n", pc->slot[i]);
			break;
		default:
			break;
		}
	}
}

/* Open Firmware paths, as SeaBIOS and OVMF compare them. */
static void boot_order(struct pc *pc, const struct pc_config *cfg)
{
	for (unsigned k = 0; k < PC_BOOT_MAX; k++) {
		switch (cfg->boot[k]) {
		case PC_BOOT_DISK:
		case PC_BOOT_CDROM:
			boot_disks(pc, cfg, cfg->boot[k] == PC_BOOT_CDROM);
			break;
		case PC_BOOT_FLOPPY:
			for (unsigned i = 0; i < 2; i++)
				if (cfg->floppy[i].present)
					boot_path(pc, "/pci@i0cf8/isa@%x/fdc@03f0/floppy@%x\n",
						  PIIX_SLOT, i);
			break;
		case PC_BOOT_NET:
			for (unsigned i = 0; i < cfg->n_nics; i++)
				boot_path(pc, "/pci@i0cf8/ethernet@%x/ethernet-phy@0\n",
					  pc->nic_slot[i]);
			break;
		default:
			break;
		}
	}
}

static int wire_screen(struct vm *vm, struct pc *pc, const struct pc_config *cfg)
{
	struct vga_wiring w = {.host = pc->pci,
			       .slot = VGA_SLOT,
			       .display = cfg->display,
			       .linear = cfg->vars ? 0 : VGA_FRAME};
	struct virtio_gpu_wiring gpu_w = {.display = cfg->display, .slot = VGA_SLOT};
	struct virtio_dev *vd;
	struct vga *vga;

	if (!cfg->display)
		return 0;
	return cfg->virtio_gpu ? virtio_gpu_create(vm, pc->pci, &gpu_w, &vd)
			       : vga_create(vm, &w, &vga);
}

static int wire_input(struct vm *vm, struct pc *pc, const struct pc_config *cfg)
{
	struct virtio_input_wiring w = {.input = cfg->input, .slot = PCI_ANY_SLOT};
	struct virtio_dev *vd;
	int err = virtio_input_create(vm, pc->pci, &w, &vd);

	w.tablet = true;
	return err ? err : virtio_input_create(vm, pc->pci, &w, &vd);
}

static int wire_usb(struct vm *vm, struct pc *pc, const struct pc_config *cfg)
{
	struct uhci_wiring w = {.host = pc->pci, .slot = PIIX_SLOT, .func = PIIX_USB_FN};
	struct uhci *uhci;
	int err = usb_tablet_create(cfg->input, &w.take_port[0]);

	return err ? err : uhci_create(vm, &w, &uhci);
}

static int wire_slots(struct vm *vm, struct pc *pc, const struct pc_config *cfg)
{
	struct virtio_dev *vd;
	int err = wire_ide(vm, pc, cfg);

	if (!err)
		err = wire_screen(vm, pc, cfg);
	if (!err)
		err = wire_ahci(vm, pc, cfg);
	for (unsigned i = 0; i < cfg->n_disks && !err; i++)
		err = wire_disk(vm, pc, cfg, i);
	for (unsigned i = 0; i < cfg->n_nics && !err; i++)
		err = wire_nic(vm, pc, cfg, i);
	if (!err && cfg->console)
		err = virtio_console_create(
			vm, pc->pci,
			&(struct virtio_console_wiring){.chr = cfg->console,
							.slot = PCI_ANY_SLOT,
							.transitional = cfg->virtio_legacy},
			&vd);
	if (!err && cfg->rng)
		err = virtio_rng_create(
			vm, pc->pci,
			&(struct virtio_rng_wiring){.slot = PCI_ANY_SLOT,
						    .transitional = cfg->virtio_legacy},
			&vd);
	if (!err && cfg->input && cfg->virtio_input)
		err = wire_input(vm, pc, cfg);
	if (!err && cfg->input && cfg->usb_tablet)
		err = wire_usb(vm, pc, cfg);
	return err;
}

/* ---- what the firmware is told ---------------------------------------------------------------------- */

static int tell_acpi(struct vm *vm, struct pc *pc, const struct pc_config *cfg)
{
	const struct acpi_config acpi = {
		.cpus = vm->n_vcpus,
		.lapic_base = LAPIC_BASE,
		.ioapic_base = IOAPIC_BASE,
		.sci_gsi = GSI_SCI,
		.pm1a_evt = pc->pm_base,
		.pm1a_cnt = (uint16_t)(pc->pm_base + ACPI_PM1A_CNT),
		.pm_timer = (uint16_t)(pc->pm_base + ACPI_PM_TMR),
		.gpe0 = (uint16_t)(pc->pm_base + ACPI_GPE0),
		.gpe0_len = ACPI_GPE0_LEN,
		.s5_type = S5_TYPE,
		.s3_type = S3_TYPE,
		.s4_type = S4_TYPE,
		.kbd_gpe = GPE_KBD,
		.hpet_base = HPET_BASE,
		.hpet_id = HPET_BLOCK_ID,
		.reset_port = (uint16_t)(pc->pm_base + ACPI_RESET),
		.reset_value = ACPI_RESET_VALUE,
		.pci_io_first = PCI_IO_FIRST,
		.pci_io_last = PCI_IO_LAST,
		.pci_mem_first = MAX((uint32_t)MIN(vm->ram.size, PC_LOW_END), PCI_MEM_FIRST),
		.pci_mem_last = PCI_MEM_LAST,
		.pci_link = {10, 10, 11, 11}, /* as firmware sets PIRQRC */
		.has_serial = true,
		.has_rtc = true,
		.has_i8042 = true,
		.has_ps2 = cfg->input,
		.has_floppy = cfg->floppy[0].present,
		.has_parallel = cfg->parallel,
	};
	uint32_t len;
	int err = acpi_build(&acpi, 0, pc->acpi, sizeof(pc->acpi));

	if (!err)
		err = acpi_loader_build(pc->acpi, sizeof(pc->acpi), pc->loader, &len);
	if (!err)
		err = fwcfg_add_file(pc->fw, "etc/acpi/rsdp", pc->acpi, ACPI_RSDP_SIZE);
	if (!err)
		err = fwcfg_add_file(pc->fw, "etc/acpi/tables", pc->acpi, sizeof(pc->acpi));
	if (!err)
		err = fwcfg_add_file(pc->fw, "etc/table-loader", pc->loader, len);
	return err;
}

static int give_smbios(struct pc *pc)
{
	int err = fwcfg_add_file(pc->fw, "etc/smbios/smbios-anchor", pc->smbios_anchor,
				 sizeof(pc->smbios_anchor));

	return err ? err
		   : fwcfg_add_file(pc->fw, "etc/smbios/smbios-tables", pc->smbios, pc->smbios_len);
}

static int tell_smbios(struct vm *vm, struct pc *pc, const struct pc_config *cfg)
{
	const struct smbios_config smbios = {.identity = &cfg->identity,
					     .cpus = vm->n_vcpus,
					     .ram = vm->ram.size,
					     .low_end = PC_LOW_END};
	int err = smbios_build(&smbios, 0, pc->smbios_anchor, pc->smbios, &pc->smbios_len);

	return err ? err : give_smbios(pc);
}

static int tell_memory(struct vm *vm, struct pc *pc)
{
	uint64_t low = MIN(vm->ram.size, PC_LOW_END), high = vm->ram.size - low;
	uint32_t n = 0;
	int err;

	mc146818_set_memory(pc->rtc, low, high);
	pc->e820[n].base = 0;
	pc->e820[n].len = low;
	pc->e820[n++].type = 1;
	if (high) {
		pc->e820[n].base = 4 * GIB;
		pc->e820[n].len = high;
		pc->e820[n++].type = 1;
	}
	err = fwcfg_add_file(pc->fw, "etc/e820", pc->e820, n * (uint32_t)sizeof(pc->e820[0]));
	return err ? err : fwcfg_add_int(pc->fw, FWCFG_RAM_SIZE, low, 8);
}

static int tell_boot(struct pc *pc, const struct pc_config *cfg)
{
	static const uint8_t cmos_code[] = {
		[PC_BOOT_DISK] = 2, [PC_BOOT_CDROM] = 3, [PC_BOOT_FLOPPY] = 1, [PC_BOOT_NET] = 4};
	uint32_t order = 0;
	int err = 0;

	for (unsigned i = 0; i < 3; i++)
		order |= (uint32_t)cmos_code[cfg->boot[i]] << (4 * i);
	mc146818_set(pc->rtc, CMOS_BOOT_HIGH, (uint8_t)order);
	mc146818_set(pc->rtc, CMOS_BOOT_LOW, (uint8_t)(order >> 4 & 0xf0) | 1);
	/* FPU, mouse, and how many floppy drives */
	mc146818_set(pc->rtc, CMOS_EQUIPMENT,
		     (uint8_t)(0x06 | (cfg->floppy[0].present ? 0x01 : 0) |
			       (cfg->floppy[1].present ? 0x40 : 0)));
	boot_order(pc, cfg);
	if (pc->bootorder_len) /* with its terminating zero */
		err = fwcfg_add_file(pc->fw, "bootorder", pc->bootorder,
				     (uint32_t)pc->bootorder_len + 1);
	if (!err && cfg->display && cfg->vga_bios) /* the name by which SeaBIOS finds it */
		err = fwcfg_add_file(pc->fw, "pci1234,1111.rom", cfg->vga_bios,
				     (uint32_t)cfg->vga_bios_size);
	if (!err && cfg->serial_text) {
		pc->sercon = COM1;
		err = fwcfg_add_file(pc->fw, "etc/sercon-port", &pc->sercon, 2);
	}
	return err ? err : fwcfg_add_int(pc->fw, FWCFG_BOOT_MENU, cfg->boot_menu, 2);
}

/* SLP_TYP of S0 to S5, bit 7: it is there. */
static int tell_sleep(struct pc *pc)
{
	static const uint8_t states[6] = {0x80,          0, 0, 0x80 | S3_TYPE, 0x80 | S4_TYPE,
					  0x80 | S5_TYPE};

	return fwcfg_add_file(pc->fw, "etc/system-states", states, sizeof(states));
}

static int tell_firmware(struct vm *vm, struct pc *pc, const struct pc_config *cfg)
{
	int err = fwcfg_create(vm, &pc->fw);

	if (!err)
		err = tell_memory(vm, pc);
	if (!err)
		err = fwcfg_add_int(pc->fw, FWCFG_CPUS, vm->n_vcpus, 2);
	if (!err)
		err = fwcfg_add_int(pc->fw, FWCFG_MAX_CPUS, vm->n_vcpus, 2);
	if (!err)
		err = fwcfg_add_int(pc->fw, FWCFG_NOGRAPHIC, cfg->serial_text, 2);
	mc146818_set(pc->rtc, CMOS_CPUS, (uint8_t)(vm->n_vcpus - 1));
	if (!err)
		err = tell_acpi(vm, pc, cfg);
	if (!err)
		err = tell_smbios(vm, pc, cfg);
	if (!err)
		err = tell_boot(pc, cfg);
	return err ? err : tell_sleep(pc);
}

/* ---- ROM --------------------------------------------------------------------------------------------- */

static int wire_rom(struct vm *vm, struct pc *pc, const struct pc_config *cfg, char *err,
		    size_t err_size)
{
	size_t size = cfg->firmware_size;
	struct pflash *flash;
	int e;

	if (!size || size > PC_ROM_MAX || !IS_ALIGNED(size, PAGE_SIZE)) {
		str_copy(err, err_size,
			 "the firmware file is no ROM image: its size must be a multiple of 4 KiB, "
			 "at most 16 MiB");
		return err_here(ERR_FORMAT);
	}
	e = plat_ram_alloc(size, &pc->rom);
	if (e)
		return e;
	memcpy(pc->rom.hva, cfg->firmware, size);
	e = mem_add(vm, 4 * GIB - size, size, pc->rom.hva, 0, true);
	if (e || !cfg->vars)
		return e;
	if (cfg->vars->size > PFLASH_MAX || !IS_ALIGNED(cfg->vars->size, PAGE_SIZE))
		str_copy(err, err_size,
			 "the file of UEFI variables has a wrong size: give a copy of "
			 "OVMF_VARS_4M.fd, or a name for a new file");
	return pflash_create(vm, &(struct pflash_wiring){.end = 4 * GIB - size, .block = cfg->vars},
			     &flash);
}

static void pc_reset(struct dev *dev)
{
	struct pc *pc = container_of(dev, struct pc, dev);

	if (dev->vm->waking)
		mc146818_set(pc->rtc, CMOS_RESET, RESET_S3);
}

struct rom_mark {
	uint64_t size;
	uint32_t crc;
};
static const struct st_field rom_fields[] = {
	ST_U(struct rom_mark, size),
	ST_U(struct rom_mark, crc),
};

/* The machine is to its firmware the one that it was, whatever the definition says now. */
static int smbios_state(struct pc *pc, struct state_stream *st)
{
	uint32_t anchor = sizeof(pc->smbios_anchor), len = sizeof(pc->smbios);

	if (!st->loading) {
		st_put_bytes(st, "smbios-anchor", pc->smbios_anchor, anchor);
		st_put_bytes(st, "smbios-tables", pc->smbios, pc->smbios_len);
	} else if (!st_get_bytes(st, "smbios-anchor", pc->smbios_anchor, &anchor) &&
		   !st_get_bytes(st, "smbios-tables", pc->smbios, &len)) {
		pc->smbios_len = len;
		if (anchor != sizeof(pc->smbios_anchor) || give_smbios(pc))
			state_fail(st, err_here(ERR_FORMAT), "the SMBIOS tables make no sense");
	}
	return st->err;
}

/* The firmware itself is read from its file again, and must be what the guest has run. */
static int pc_state(struct dev *dev, struct state_stream *st)
{
	struct pc *pc = container_of(dev, struct pc, dev);
	const struct rom_mark now = {pc->rom.size, crc32c(0, pc->rom.hva, pc->rom.size)};
	struct rom_mark saved = now;

	ST_SYNC(st, "firmware", 0, rom_fields, &saved);
	if (!st->err && (saved.size != now.size || saved.crc != now.crc))
		state_fail(st, err_here(ERR_INVAL),
			   "the firmware's file is not the one that the VM was started with");
	return st->err || (st->loading && st->version < 3) ? st->err : smbios_state(pc, st);
}

static void pc_destroy(struct dev *dev)
{
	struct pc *pc = container_of(dev, struct pc, dev);

	if (pc->rom.hva)
		plat_ram_free(&pc->rom);
	plat_free(pc);
}

static const struct dev_class pc_class = {
	.name = "pc", .reset = pc_reset, .state = pc_state, .destroy = pc_destroy};

static int pc_change_medium(struct vm *vm, bool floppy, unsigned i, struct block *block, bool force)
{
	struct dev *dev = vm->devs;
	struct pc *pc;

	while (dev->cls != &pc_class)
		dev = dev->next;
	pc = container_of(dev, struct pc, dev);
	if (floppy)
		return i82078_change_disk(pc->fdc, i, block);
	if (pc->disk_if[i] == PC_AHCI)
		return ahci_change_disc(pc->ahci, pc->ata_place[i], block, force);
	return ide_change_disc(pc->ide, pc->ata_place[i], block, force);
}

int pc_create(struct vm *vm, const struct pc_config *cfg, char *err, size_t err_size)
{
	struct pc *pc = plat_alloc(sizeof(*pc));
	int e;

	if (!pc)
		return err_here(ERR_NOMEM);
	str_copy(err, err_size, "");
	for (unsigned i = 0; i < cfg->n_disks; i++)
		pc->disk_if[i] = (uint8_t)cfg->disk[i].iface;
	pc->pm_base = cfg->firmware_size > MIB ? PM_BASE_UEFI : PM_BASE_BIOS;
	e = wire_rom(vm, pc, cfg, err, err_size);
	if (!e)
		e = intr_create(vm, &pc->intr);
	if (!e)
		e = wire_legacy(vm, pc, cfg);
	if (!e)
		e = wire_floppy(vm, pc, cfg);
	if (!e)
		e = wire_serial(vm, cfg);
	if (!e)
		e = wire_power(vm, pc, cfg);
	if (!e)
		e = wire_chipset(vm, pc);
	if (!e)
		e = wire_slots(vm, pc, cfg);
	if (!e)
		e = tell_firmware(vm, pc, cfg);
	/* Last, so that waking firmware finds the clock's memory as this says; destroyed first, but no device looks at the
	 * ROM or the files then. */
	vm_add_dev(vm, &pc->dev, &pc_class);
	vm->change_medium = pc_change_medium;
	return e;
}
