/* SPDX-License-Identifier: ISC */
/* pc.h: a PC of the kind that every system knows: i440FX and PIIX, firmware in ROM. */
#ifndef BOARD_PC_H
#define BOARD_PC_H

#include "base/def.h"
#include "base/err.h"
#include "board/smbios.h"

struct vm;
struct block;
struct net;
struct chr;
struct display;
struct input;

#define PC_LOW_END   UINT64_C(0xc0000000) /* RAM below 4 GiB ends here */
#define PC_MAX_DISKS 8
#define PC_MAX_NICS  4
#define PC_ROM_MAX   (16 * MIB)

enum pc_disk_if { PC_VIRTIO, PC_IDE, PC_AHCI, PC_NVME };
enum pc_nic { PC_NIC_VIRTIO, PC_NIC_E1000, PC_NIC_RTL8139, PC_NIC_RTL8139D, PC_NIC_NE2K };
enum pc_boot { PC_BOOT_NONE, PC_BOOT_DISK, PC_BOOT_CDROM, PC_BOOT_FLOPPY, PC_BOOT_NET };
#define PC_BOOT_MAX 4

struct pc_config {
	/* Kept by the caller until the VM is destroyed. */
	const void *firmware;
	size_t firmware_size; /* multiple of 4 KiB, at most PC_ROM_MAX */
	struct block *vars;   /* flash below the ROM in which firmware keeps variables; NULL */
	enum pc_boot boot[PC_BOOT_MAX]; /* in that order */
	bool boot_menu;
	bool serial_text;        /* no screen: the BIOS's text goes to COM1 */
	struct display *display; /* of a VGA; NULL: none. Kept by the caller, as the next */
	bool virtio_gpu;         /* a virtio graphics device in its place */
	const void *vga_bios;    /* for the VGA; NULL where the firmware brings its own */
	size_t vga_bios_size;
	struct input *input; /* PS/2 keyboard and mouse; NULL: none. Kept by the caller */
	bool virtio_legacy;  /* virtio devices are transitional */
	bool virtio_input;   /* virtio keyboard and tablet too, used once the guest has drivers */
	bool usb_tablet;     /* a USB controller with one; likewise */

	struct chr *serial;   /* COM1; NULL: none */
	struct chr *parallel; /* LPT1; NULL: none */
	struct chr *console;  /* virtio console; NULL: none */
	struct {
		struct block *block; /* NULL for an empty CD drive */
		char serial[21];
		enum pc_disk_if iface;
		bool cdrom;
	} disk[PC_MAX_DISKS];
	unsigned n_disks;
	struct {
		bool present;
		struct block *block; /* NULL: an empty drive */
	} floppy[2];
	struct {
		struct net *net;
		uint8_t mac[6];
		enum pc_nic model;
		const void *rom; /* for firmware to boot from it; NULL. Kept by the caller */
		size_t rom_size;
	} nic[PC_MAX_NICS];
	unsigned n_nics;
	struct smbios_identity identity;
	bool rng;
	bool hyperv;        /* the guest sees Hyper-V's interface in place of KVM's clock */
	int64_t rtc_offset; /* seconds that the clock is ahead of the host's UTC */
	uint16_t exit_port; /* debug exit, as QEMU's isa-debug-exit; 0: none */
};

/* Wires a freshly created VM (vm_config.pc_low, low_end PC_LOW_END). On errors err holds one line for
 * people. */
int pc_create(struct vm *vm, const struct pc_config *cfg, char *err,
	      size_t err_size) attr_must_check;

#endif
