/* SPDX-License-Identifier: ISC */
/* state_rig.h: a machine with every device that has state, on plat/fake, and streams in memory. For
 * the unit test and the fuzzer of saved states. */
#ifndef TESTS_STATE_RIG_H
#define TESTS_STATE_RIG_H

#include <stdlib.h>
#include <string.h>

#include "block/block.h"
#include "dev/ata/ahci.h"
#include "dev/irq/intr.h"
#include "dev/nic/e1000.h"
#include "dev/nic/rtl8029.h"
#include "dev/nic/rtl8139.h"
#include "dev/nvme.h"
#include "dev/pc/acpi_pm.h"
#include "dev/pc/hyperv.h"
#include "dev/pc/i8042.h"
#include "dev/pc/i82078.h"
#include "dev/pc/i8237.h"
#include "dev/pc/i8254.h"
#include "dev/pc/fwcfg.h"
#include "dev/pc/i440fx.h"
#include "dev/pc/ide.h"
#include "dev/pc/mc146818.h"
#include "dev/pc/ns16550.h"
#include "dev/pc/parport.h"
#include "dev/pc/pcspk.h"
#include "dev/pc/pvclock.h"
#include "dev/pci/pci.h"
#include "dev/usb/tablet.h"
#include "dev/usb/uhci.h"
#include "dev/virtio/balloon.h"
#include "dev/virtio/input.h"
#include "dev/virtio/rng.h"
#include "net/net.h"
#include "plat/fake/fake.h"
#include "tests/lib/no_engine.h"
#include "ui/input.h"
#include "vm/save.h"

/* Disks of zeros that forget. */
static inline void srig_submit(struct block *b, struct block_req *req)
{
	if (req->offset > b->size || req->len > b->size - req->offset)
		abort();
	for (unsigned i = 0; i < req->n_vec && req->op == BLOCK_READ; i++)
		memset(req->vec[i].base, 0, req->vec[i].len);
	req->done(req, 0);
}

static const struct block_ops srig_block_ops = {.name = "zeros", .submit = srig_submit};
static struct block srig_disk = {.ops = &srig_block_ops, .size = 1u << 20, .name = "zeros"};

/* A wire that loses everything. */
static inline void srig_send(struct net *n, const struct net_vec *vec, unsigned n_vec)
{
}

static inline void srig_rx_ready(struct net *n)
{
}

static const struct net_ops srig_net_ops = {
	.name = "lost", .send = srig_send, .rx_ready = srig_rx_ready};
static struct net srig_net = {.ops = &srig_net_ops, .mac = {2, 0, 0, 0, 0, 1}};

#define SRIG_RAM (UINT64_C(4) << 20)

static inline struct vm *srig_build(void)
{
	const struct vm_config cfg = {.name = "state",
				      .engine = &no_engine,
				      .cpus = 2,
				      .memory = SRIG_RAM,
				      .low_end = SRIG_RAM,
				      .pc_low = true};
	struct pci_host_wiring pci = {
		.io = {0xc000, 0x1000}, .mem = {0xc0000000, 0x10000000}, .preassign = true};
	struct pcspk_wiring spk = {0};
	struct pci_host *host;
	struct virtio_dev *vd;
	struct mc146818 *rtc;
	struct ns16550 *uart;
	struct acpi_pm *pm;
	static struct input people;
	struct i8042 *kbc;
	struct i82078_wiring fdc_w = {.drive[0].present = true};
	struct i82078 *fdc;
	struct pvclock *clock;
	struct hyperv *hv;
	struct pcspk *speaker;
	struct intr *intr;
	struct vm *vm;
	struct ide_wiring ide_w = {.slot = PIIX_SLOT, .func = PIIX_IDE_FN};
	struct i440fx_wiring chip_w = {.pm_base = 0x600};
	struct i440fx *chip;
	struct fwcfg *fw;
	struct ahci_wiring ahci_w = {.slot = PCI_ANY_SLOT};
	struct ahci *ahci;
	struct e1000_wiring e1000_w = {.slot = PCI_ANY_SLOT, .net = &srig_net};
	struct e1000 *e1000;
	struct rtl8139_wiring rtl_w = {.slot = PCI_ANY_SLOT, .net = &srig_net};
	struct rtl8139 *rtl;
	struct rtl8029_wiring ne_w = {.slot = PCI_ANY_SLOT, .net = &srig_net};
	struct rtl8029 *ne;
	struct uhci_wiring usb_w = {.slot = PIIX_SLOT, .func = PIIX_USB_FN};
	struct uhci *uhci;
	struct parport *lpt;
	struct nvme *nvme;
	struct ide *ide;

	input_init(&people);
	if (vm_create(&cfg, &vm) || intr_create(vm, &intr) ||
	    i8254_create(vm, &(struct i8254_wiring){.irq = gsi_line(vm, 0)}, &spk.pit) ||
	    pcspk_create(vm, &spk, &speaker) ||
	    mc146818_create(vm, &(struct mc146818_wiring){.irq = gsi_line(vm, 8)}, &rtc) ||
	    ns16550_create(vm, &(struct ns16550_wiring){.base = 0x3f8, .irq = gsi_line(vm, 4)},
			   &uart) ||
	    acpi_pm_create(vm, &(struct acpi_pm_wiring){.base = 0x600, .sci = gsi_line(vm, 9)},
			   &pm) ||
	    i8042_create(vm,
			 &(struct i8042_wiring){.irq = gsi_line(vm, 1),
						.irq_aux = gsi_line(vm, 12),
						.input = &people},
			 &kbc) ||
	    pvclock_create(vm, &(struct pvclock_wiring){0}, &clock) || hyperv_create(vm, &hv))
		abort();
	fdc_w.irq = gsi_line(vm, 6);
	if (i8237_create(vm, &fdc_w.dma) || i82078_create(vm, &fdc_w, &fdc))
		abort();
	for (unsigned i = 0; i < 4; i++)
		pci.pirq[i] = gsi_line(vm, 16 + i);
	if (pci_host_create(vm, &pci, &host))
		abort();
	chip_w.host = ide_w.host = ahci_w.host = e1000_w.host = rtl_w.host = ne_w.host = host;
	chip_w.pm = pm;
	for (unsigned i = 0; i < 2; i++) {
		ide_w.irq[i] = gsi_line(vm, 14 + i);
		ide_w.drive[i].present = true;
		ide_w.drive[i].cdrom = i;
		ide_w.drive[i].block = &srig_disk;
		ahci_w.port[i].present = true;
		ahci_w.port[i].cdrom = i;
		ahci_w.port[i].block = &srig_disk;
	}
	if (i440fx_create(vm, &chip) || i440fx_attach(chip, &chip_w) || fwcfg_create(vm, &fw) ||
	    ide_create(vm, &ide_w, &ide) || ahci_create(vm, &ahci_w, &ahci) ||
	    e1000_create(vm, &e1000_w, &e1000) || rtl8139_create(vm, &rtl_w, &rtl) ||
	    rtl8029_create(vm, &ne_w, &ne) ||
	    parport_create(vm, &(struct parport_wiring){.base = 0x378, .irq = gsi_line(vm, 7)},
			   &lpt) ||
	    nvme_create(
		    vm,
		    &(struct nvme_wiring){.host = host, .slot = PCI_ANY_SLOT, .block = &srig_disk},
		    &nvme))
		abort();
	if (virtio_rng_create(vm, host, &(struct virtio_rng_wiring){.slot = -1}, &vd) ||
	    virtio_balloon_create(vm, host, &(struct virtio_balloon_wiring){.slot = -1}, &vd) ||
	    virtio_input_create(
		    vm, host,
		    &(struct virtio_input_wiring){.input = &people, .tablet = true, .slot = -1},
		    &vd))
		abort();
	usb_w.host = host;
	if (usb_tablet_create(&people, &usb_w.take_port[0]) || uhci_create(vm, &usb_w, &uhci))
		abort();
	intr_virtual_wire(intr);
	return vm;
}

/* ---- streams in memory ------------------------------------------------------------------- */

struct srig_file {
	uint8_t *buf;
	size_t len, cap, at;
};

static inline int srig_write(void *ctx, const void *buf, size_t len)
{
	struct srig_file *f = ctx;

	if (len > f->cap - f->len)
		return ERR_NOSPC;
	memcpy(f->buf + f->len, buf, len);
	f->len += len;
	return 0;
}

static inline int srig_read(void *ctx, void *buf, size_t len)
{
	struct srig_file *f = ctx;

	if (len > f->len - f->at)
		return ERR_FORMAT;
	memcpy(buf, f->buf + f->at, len);
	f->at += len;
	return 0;
}

static const struct state_io srig_io = {srig_write, srig_read};

/* The same moment for all, so that what is loaded and saved again is the same to the byte. */
static inline void srig_clock(struct state_stream *st)
{
	st->clock = (struct state_clock){.ns = plat_now(), .tsc = 1u << 30};
}

#endif
