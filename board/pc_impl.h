/* SPDX-License-Identifier: ISC */
/* pc_impl.h: what the files of the PC share: pc.c (chips, chip set, ROM, the machine), pc_slots.c (what is behind the PCI
 * bus), pc_firmware.c (what firmware is told). */
#ifndef BOARD_PC_IMPL_H
#define BOARD_PC_IMPL_H

#include "board/acpi_loader.h"
#include "board/pc.h"
#include "board/smbios.h"
#include "vm/dev.h"
#include "vm/vm.h"

struct acpi_pm;
struct ahci;
struct fwcfg;
struct i440fx;
struct i82078;
struct ide;
struct intr;
struct mc146818;
struct pci_host;

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
#define S5_TYPE 0
#define S3_TYPE 1
#define S4_TYPE 2
#define GPE_KBD 8

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

/* pc_slots.c: disks, network cards, screen and all else with a PCI function. */
int pc_wire_slots(struct vm *vm, struct pc *pc, const struct pc_config *cfg) attr_must_check;

/* pc_firmware.c: memory, tables, boot order, by fw_cfg and CMOS. */
int pc_tell_firmware(struct vm *vm, struct pc *pc, const struct pc_config *cfg) attr_must_check;
int pc_give_smbios(struct pc *pc) attr_must_check;

#endif
