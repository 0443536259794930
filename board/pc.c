/* SPDX-License-Identifier: ISC */
/* pc.c: the full PC as a wiring plan. Reads from top to bottom like the machine's data sheet: interrupt complex, legacy
 * chips, chip set, ROM; the address map is in pc_impl.h.
 * Creation time. */
#include "board/pc_impl.h"

#include "base/str.h"
#include "block/block.h"
#include "dev/ata/ahci.h"
#include "dev/irq/intr.h"
#include "dev/pc/acpi_pm.h"
#include "dev/pc/coproc.h"
#include "dev/pc/debugcon.h"
#include "dev/pc/debugexit.h"
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
#include "dev/pci/pci.h"
#include "vm/stream.h"

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
	const struct hpet_wiring hpet_w = {.waiting = intr_gsi_waiting,
					   .msi_waiting = intr_msi_waiting,
					   .waiting_arg = pc->intr};
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
	e = plat_ram_alloc(size, RAM_SHARED, &pc->rom);
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
		if (anchor != sizeof(pc->smbios_anchor) || pc_give_smbios(pc))
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
		e = pc_wire_slots(vm, pc, cfg);
	if (!e)
		e = pc_tell_firmware(vm, pc, cfg);
	/* Last, so that waking firmware finds the clock's memory as this says; destroyed first, but no device looks at the
	 * ROM or the files then. */
	vm_add_dev(vm, &pc->dev, &pc_class);
	vm->change_medium = pc_change_medium;
	return e;
}
