/* SPDX-License-Identifier: ISC */
/* micro.c: the board as a wiring plan. Reads from top to bottom like the machine's data sheet:
 * address map, interrupt complex, legacy chips, power management, PCI and its slots, tables for the
 * guest, and the kernel in memory. Creation time; at reset the loader runs again. */
#include "board/micro.h"

#include "base/str.h"
#include "board/acpi.h"
#include "board/boot.h"
#include "dev/irq/intr.h"
#include "dev/pc/acpi_pm.h"
#include "dev/pc/coproc.h"
#include "dev/pc/debugexit.h"
#include "dev/pc/hpet.h"
#include "dev/pc/i8042.h"
#include "dev/pc/i8254.h"
#include "dev/pc/mc146818.h"
#include "dev/pc/ns16550.h"
#include "dev/pc/pcspk.h"
#include "dev/pc/pvclock.h"
#include "dev/pci/pci.h"
#include "dev/virtio/blk.h"
#include "dev/virtio/console.h"
#include "dev/virtio/net.h"
#include "dev/virtio/rng.h"
#include "net/net.h"
#include "vm/vm.h"

/* Guest-physical map */
#define LAPIC_BASE    0xfee00000u
#define IOAPIC_BASE   0xfec00000u
#define ECAM_BASE     0xe0000000u /* bus 0 only: 1 MiB */
#define PCI_MEM_FIRST 0xc0000000u
#define PCI_MEM_LAST  0xdfffffffu
#define ACPI_BASE     0xe0000u /* tables, RSDP first: found by the BIOS scan too */
#define ACPI_SIZE     0x10000u
#define SMBIOS_BASE   0xf0000u /* anchor first, where the BIOS scan for it begins */
#define EBDA          0x9fc00u

/* Ports */
#define PM_BASE      0x600u
#define COM1         0x3f8u
#define PCI_IO_FIRST 0xc000u
#define PCI_IO_LAST  0xffffu

/* Global system interrupts */
#define GSI_PIT    0
#define GSI_KBD    1
#define GSI_COM1   4
#define GSI_SCI    9
#define GSI_COPROC 13
#define GSI_PCI    16 /* four of them */

struct micro {
	struct dev dev;
	struct intr *intr;
	struct pci_host *pci;
	struct boot_source boot;
	struct smbios_identity identity;
};

static unsigned pci_gsi(unsigned slot, unsigned pin)
{
	return GSI_PCI + (slot + pin) % 4;
}

/* The chips that every PC has at fixed ports. */
static int wire_legacy(struct vm *vm, struct micro *m, const struct micro_config *cfg)
{
	const struct hpet_wiring hpet_w = {.waiting = intr_gsi_waiting,
					   .msi_waiting = intr_msi_waiting,
					   .waiting_arg = m->intr};
	struct i8254_wiring pit_w = {
		.waiting = intr_gsi_waiting, .waiting_arg = m->intr, .gsi = GSI_PIT};
	struct mc146818_wiring rtc_w = {.offset = cfg->rtc_offset};
	struct i8042_wiring kbc_w = {.irq = gsi_line(vm, GSI_KBD)};
	struct pcspk_wiring spk_w = {0};
	struct coproc_wiring fpu_w = {.irq = gsi_line(vm, GSI_COPROC)};
	struct mc146818 *rtc;
	struct hpet *hpet;
	struct i8042 *kbc;
	struct pcspk *spk;
	struct coproc *fpu;
	int err = hpet_create(vm, &hpet_w, &hpet);

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
		err = coproc_create(vm, &fpu_w, &fpu);
	if (!err)
		err = mc146818_create(vm, &rtc_w, &rtc);
	if (!err)
		mc146818_set_memory(rtc, MIN(vm->ram.size, MICRO_LOW_END),
				    vm->ram.size - MIN(vm->ram.size, MICRO_LOW_END));
	return err;
}

static int wire_serial(struct vm *vm, const struct micro_config *cfg)
{
	struct ns16550_wiring w = {.base = COM1, .irq = gsi_line(vm, GSI_COM1), .chr = cfg->serial};
	struct ns16550 *uart;

	return cfg->serial ? ns16550_create(vm, &w, &uart) : 0;
}

static int wire_power(struct vm *vm, const struct micro_config *cfg)
{
	struct acpi_pm_wiring pm_w = {.base = PM_BASE,
				      .sci = gsi_line(vm, GSI_SCI),
				      .s5_type = ACPI_S5_TYPE,
				      .timer32 = true};
	struct debugexit_wiring exit_w = {.base = cfg->exit_port};
	struct pvclock_wiring clock_w = {0};
	struct acpi_pm *pm;
	struct debugexit *dbg;
	struct pvclock *clock;
	int err = acpi_pm_create(vm, &pm_w, &pm);

	if (!err && cfg->exit_port)
		err = debugexit_create(vm, &exit_w, &dbg);
	if (!err)
		err = pvclock_create(vm, &clock_w, &clock);
	return err;
}

static int wire_pci(struct vm *vm, struct micro *m)
{
	struct pci_host_wiring w = {
		.ecam = ECAM_BASE,
		.io = {PCI_IO_FIRST, PCI_IO_LAST + 1 - PCI_IO_FIRST},
		.mem = {PCI_MEM_FIRST, PCI_MEM_LAST + UINT64_C(1) - PCI_MEM_FIRST},
		.preassign = true,
	};

	for (unsigned i = 0; i < 4; i++) {
		w.pirq[i] = gsi_line(vm, GSI_PCI + i);
		w.int_line[i] = (uint8_t)(GSI_PCI + i);
	}
	return pci_host_create(vm, &w, &m->pci);
}

/* Slots are given in this order: disks, network cards, console, entropy. */
static int wire_slots(struct vm *vm, struct micro *m, const struct micro_config *cfg)
{
	struct virtio_dev *vd;
	int err = 0;

	for (unsigned i = 0; i < cfg->n_disks && !err; i++)
		err = virtio_blk_create(vm, m->pci,
					&(struct virtio_blk_wiring){.blk = cfg->disk[i].block,
								    .serial = cfg->disk[i].serial,
								    .slot = PCI_ANY_SLOT},
					&vd);
	for (unsigned i = 0; i < cfg->n_nics && !err; i++) {
		memcpy(cfg->nic[i].net->mac, cfg->nic[i].mac, 6);
		err = virtio_net_create(
			vm, m->pci,
			&(struct virtio_net_wiring){.net = cfg->nic[i].net, .slot = PCI_ANY_SLOT},
			&vd);
	}
	if (!err && cfg->console)
		err = virtio_console_create(
			vm, m->pci,
			&(struct virtio_console_wiring){.chr = cfg->console, .slot = PCI_ANY_SLOT},
			&vd);
	if (!err && cfg->rng)
		err = virtio_rng_create(vm, m->pci,
					&(struct virtio_rng_wiring){.slot = PCI_ANY_SLOT}, &vd);
	return err;
}

static int write_acpi(struct vm *vm)
{
	const struct acpi_config acpi = {
		.cpus = vm->n_vcpus,
		.lapic_base = LAPIC_BASE,
		.ioapic_base = IOAPIC_BASE,
		.sci_gsi = GSI_SCI,
		.pm1a_evt = PM_BASE,
		.pm1a_cnt = PM_BASE + ACPI_PM1A_CNT,
		.pm_timer = PM_BASE + ACPI_PM_TMR,
		.gpe0 = PM_BASE + ACPI_GPE0,
		.gpe0_len = ACPI_GPE0_LEN,
		.s5_type = ACPI_S5_TYPE,
		.hpet_base = HPET_BASE,
		.hpet_id = HPET_BLOCK_ID,
		.reset_port = PM_BASE + ACPI_RESET,
		.reset_value = ACPI_RESET_VALUE,
		.ecam_base = ECAM_BASE,
		.pci_io_first = PCI_IO_FIRST,
		.pci_io_last = PCI_IO_LAST,
		.pci_mem_first = PCI_MEM_FIRST,
		.pci_mem_last = PCI_MEM_LAST,
		.pci_gsi = pci_gsi,
		.has_serial = true,
		.has_rtc = true,
		.has_i8042 = true,
	};
	hva_t at = mem_ptr(vm, ACPI_BASE, ACPI_SIZE, true);

	if (!at)
		return err_here(ERR_NOMEM);
	mem_written(vm, ACPI_BASE, ACPI_SIZE);
	return acpi_build(&acpi, ACPI_BASE, at, ACPI_SIZE);
}

static int write_smbios(struct vm *vm, const struct micro *m)
{
	const struct smbios_config cfg = {.identity = &m->identity,
					  .cpus = vm->n_vcpus,
					  .ram = vm->ram.size,
					  .low_end = MICRO_LOW_END};
	const unsigned tables = ALIGN_UP(SMBIOS_ANCHOR_SIZE, 16);
	const uint64_t size = tables + SMBIOS_TABLES_SIZE;
	uint8_t *at = mem_ptr(vm, SMBIOS_BASE, size, true);
	uint32_t len;

	if (!at)
		return err_here(ERR_NOMEM);
	mem_written(vm, SMBIOS_BASE, size);
	return smbios_build(&cfg, SMBIOS_BASE + tables, at, at + tables, &len);
}

static void add_e820(struct boot_source *b, uint64_t base, uint64_t end, enum e820_type type)
{
	if (end > base)
		b->e820[b->n_e820++] = (struct e820){base, end - base, type};
}

static void describe_memory(struct vm *vm, struct boot_source *b)
{
	b->low_end = MIN(vm->ram.size, MICRO_LOW_END);
	add_e820(b, 0, EBDA, E820_RAM);
	add_e820(b, EBDA, 640 * KIB, E820_RESERVED);
	add_e820(b, ACPI_BASE, MIB, E820_RESERVED);
	add_e820(b, MIB, b->low_end, E820_RAM);
	add_e820(b, ECAM_BASE, ECAM_BASE + MIB, E820_RESERVED);
	add_e820(b, 4 * GIB, 4 * GIB + vm->ram.size - b->low_end, E820_RAM);
}

/* What firmware would leave: tables and kernel in memory, vCPU 0 at the kernel's entry. */
static int load(struct vm *vm, struct micro *m, char *err, size_t err_size)
{
	int e = write_acpi(vm);

	if (!e)
		e = write_smbios(vm, m);
	if (e) {
		str_copy(err, err_size, "needs more memory: see --memory");
		return e;
	}
	intr_virtual_wire(m->intr);
	return boot_load(vm, &m->boot, err, err_size);
}

static void micro_reset(struct dev *dev)
{
	struct micro *m = container_of(dev, struct micro, dev);
	char err[128];

	if (load(dev->vm, m, err, sizeof(err))) {
		plat_log(LOG_ERROR, "after the reset the kernel could not be loaded again: it %s",
			 err);
		vm_stop(dev->vm, VM_FAILED, 0);
	}
}

static void micro_destroy(struct dev *dev)
{
	plat_free(container_of(dev, struct micro, dev));
}

static const struct dev_class micro_class = {
	.name = "micro", .stateless = true, .reset = micro_reset, .destroy = micro_destroy};

int micro_create(struct vm *vm, const struct micro_config *cfg, char *err, size_t err_size)
{
	struct micro *m = plat_alloc(sizeof(*m));
	int e;

	if (!m)
		return err_here(ERR_NOMEM);
	m->boot = (struct boot_source){.kernel = cfg->kernel,
				       .kernel_size = cfg->kernel_size,
				       .unpack = cfg->unpack,
				       .unpack_ctx = cfg->unpack_ctx,
				       .n_modules = cfg->n_modules,
				       .cmdline = cfg->cmdline ? cfg->cmdline : "",
				       .rsdp = ACPI_BASE};
	memcpy(m->boot.module, cfg->module, sizeof(m->boot.module));
	m->identity = cfg->identity;
	describe_memory(vm, &m->boot);
	str_copy(err, err_size, "has no machine to run on: the board could not be built");
	e = intr_create(vm, &m->intr);
	if (!e)
		e = wire_legacy(vm, m, cfg);
	if (!e)
		e = wire_serial(vm, cfg);
	if (!e)
		e = wire_power(vm, cfg);
	if (!e)
		e = wire_pci(vm, m);
	if (!e)
		e = wire_slots(vm, m, cfg);
	/* Last, so that at a reset the loader runs after all other devices. */
	vm_add_dev(vm, &m->dev, &micro_class);
	return e || cfg->no_load ? e : load(vm, m, err, err_size);
}
