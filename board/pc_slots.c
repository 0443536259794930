/* SPDX-License-Identifier: ISC */
/* pc_slots.c: what is behind the PC's PCI bus: disks and CD drives, network cards, screen, input, and the slots in which
 * they are. Creation time. */
#include "board/pc_impl.h"

#include "base/str.h"
#include "block/block.h"
#include "dev/ata/ahci.h"
#include "dev/nic/e1000.h"
#include "dev/nic/rtl8029.h"
#include "dev/nic/rtl8139.h"
#include "dev/nvme.h"
#include "dev/pc/i440fx.h"
#include "dev/pc/ide.h"
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
#include "net/net.h"

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

int pc_wire_slots(struct vm *vm, struct pc *pc, const struct pc_config *cfg)
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
