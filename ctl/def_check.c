/* SPDX-License-Identifier: ISC */
/* def_check.c: what can be said of a definition without opening anything: what does not go together. */
#include <string.h>

#include "ctl/def_impl.h"

static int check_pc(const struct vm_def *def, struct msg *msg)
{
	if (def->kernel)
		return msg_fail(msg, ERR_INVAL,
				"--board pc starts its firmware, not a kernel: leave --kernel out, "
				"or use --board micro");
	if (def->chips == CHIPS_SPLIT || def->chips == CHIPS_FULL)
		return msg_fail(msg, ERR_INVAL,
				"--kvm-irqchip %s needs --board micro: system management mode and "
				"A20 of a PC are not KVM's",
				def->chips == CHIPS_FULL ? "full" : "split");
	for (unsigned i = 0; i < def->n_nets; i++)
		if (strstr(def->net[i], ",tftp=") && !def->no_sandbox)
			return msg_fail(
				msg, ERR_INVAL,
				"--net tftp= opens files when the guest asks for them, which the "
				"sandbox forbids: add --sandbox off, or let bootfile= be a URL, "
				"such as http://10.0.2.2:8000/boot.ipxe");
	if (def->vars && (!def->firmware || !strcmp(def->firmware, "bios")))
		return msg_fail(msg, ERR_INVAL, "--vars is for UEFI: add --firmware uefi");
	return 0;
}

static int check_micro(const struct vm_def *def, struct msg *msg)
{
	if (def->screen)
		return msg_fail(msg, ERR_INVAL, "--display needs a PC: add --board pc");
	if (!def->kernel)
		return msg_fail(msg, ERR_INVAL,
				"no kernel to boot: give --kernel FILE (a Linux bzImage or PVH "
				"ELF), or a --disk or --cdrom for a PC to boot from; see vigia run "
				"--help");
	if (def->virtio_input || def->usb_tablet)
		return msg_fail(msg, ERR_INVAL, "--input %s needs a PC: add --board pc",
				def->usb_tablet ? "usb" : "virtio");
	if (def->virtio_gpu)
		return msg_fail(msg, ERR_INVAL, "--graphics virtio needs a PC: add --board pc");
	if (def->virtio_legacy)
		return msg_fail(msg, ERR_INVAL, "--virtio transitional needs a PC: add --board pc");
	if (def->hyperv)
		return msg_fail(msg, ERR_INVAL, "--paravirt hyper-v needs a PC: add --board pc");
	if (def->parallel)
		return msg_fail(msg, ERR_INVAL, "--parallel needs a PC: add --board pc");
	if (def->firmware || def->n_floppies || def->boot[0] || def->boot_menu || def->vars)
		return msg_fail(msg, ERR_INVAL,
				"--firmware, --vars, --boot and --floppy need a PC: use --board pc "
				"and no --kernel");
	for (unsigned i = 0; i < def->n_disks; i++)
		if (def->disk[i].iface != DISK_VIRTIO)
			return msg_fail(msg, ERR_INVAL,
					"%s %s: the board micro has virtio disks only: use --disk "
					"FILE,ro or --board pc",
					def->disk[i].cdrom ? "--cdrom" : "--disk",
					def->disk[i].path ? def->disk[i].path : "none");
	for (unsigned i = 0; i < def->n_nets; i++)
		if (def->nic[i] != NIC_VIRTIO)
			return msg_fail(msg, ERR_INVAL,
					"--net: the board micro has virtio cards only: leave "
					"model=%s out, or use --board pc",
					nic_names[def->nic[i]]);
	return 0;
}

int vm_def_check(const struct vm_def *def, struct msg *msg)
{
	int err;

	if (def->board && strcmp(def->board, "micro") && strcmp(def->board, "pc"))
		return msg_fail(msg, ERR_INVAL, "--board %s: there is micro and pc", def->board);
	err = vm_def_is_pc(def) ? check_pc(def, msg) : check_micro(def, msg);
	if (err)
		return err;
	if (def->hugepages && !IS_ALIGNED(def->memory, HUGEPAGE))
		return msg_fail(msg, ERR_INVAL,
				"--hugepages on: --memory is no multiple of 2M: round it up");
	if (def->gdb_wait && !def->gdb)
		return msg_fail(msg, ERR_INVAL, "--gdb-wait: for whom? add --gdb tcp::1234");
	if (def->console && def->serial && !strcmp(def->console, "stdio") &&
	    !strcmp(def->serial, "stdio"))
		return msg_fail(msg, ERR_INVAL,
				"--serial and --console cannot both be stdio: give one "
				"of them pty or file:FILE");
	if (def->console && !def->serial && !strcmp(def->console, "stdio"))
		return msg_fail(msg, ERR_INVAL,
				"--console stdio: the serial port has the terminal: add "
				"--serial none");
	return 0;
}
