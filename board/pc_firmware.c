/* SPDX-License-Identifier: ISC */
/* pc_firmware.c: what firmware is told of the PC: memory, ACPI and SMBIOS tables, the order in which it boots, by fw_cfg's
 * files (as SeaBIOS and OVMF read them) and the clock's CMOS. Creation time. */
#include "board/pc_impl.h"

#include "base/str.h"
#include "board/acpi.h"
#include "dev/pc/acpi_pm.h"
#include "dev/pc/fwcfg.h"
#include "dev/pc/hpet.h"
#include "dev/pc/i440fx.h"
#include "dev/pc/mc146818.h"

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

int pc_give_smbios(struct pc *pc)
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

	return err ? err : pc_give_smbios(pc);
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

int pc_tell_firmware(struct vm *vm, struct pc *pc, const struct pc_config *cfg)
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
