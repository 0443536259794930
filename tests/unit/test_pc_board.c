/* SPDX-License-Identifier: ISC */
/* test_pc_board.c: fw_cfg, shadow memory and PIRQ routing of the PC's chip set, on plat/fake. */
#include "tests/unit/pc_rig.h"

#include "dev/pc/acpi_pm.h"
#include "dev/pc/fwcfg.h"
#include "dev/pc/i440fx.h"
#include "dev/pci/pci.h"

static struct vm *pc_vm(void)
{
	const struct vm_config cfg = {.name = "pc",
				      .engine = &no_engine,
				      .cpus = 1,
				      .memory = 2 * MIB,
				      .low_end = 2 * MIB,
				      .pc_low = true};
	struct vm *vm;

	fake_reset();
	assert_int_equal(vm_create(&cfg, &vm), 0);
	return vm;
}

static void test_fwcfg(void **state)
{
	static const uint8_t text[] = "porthole";
	struct vm *vm = pc_vm();
	struct fwcfg *fw;
	uint8_t req[16] = {0, 0x20, 0, 0x0a, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0x30, 0};

	assert_int_equal(fwcfg_create(vm, &fw), 0);
	assert_int_equal(fwcfg_add_file(fw, "etc/text", text, 8), 0);
	bus_write(&vm->pio, 0, 0x510, 2, 0);
	assert_int_equal(bus_read(&vm->pio, 0, 0x511, 1), 'Q');
	assert_int_equal(bus_read(&vm->pio, 0, 0x511, 1), 'E');
	bus_write(&vm->pio, 0, 0x510, 2, 0x20);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(bus_read(&vm->pio, 0, 0x511, 1), text[i]);
	assert_int_equal(bus_read(&vm->pio, 0, 0x511, 1), 0); /* beyond the end */

	/* select and read by DMA; what is beyond the end becomes zeros */
	hva_t ram = mem_ptr(vm, 0, 0x4000, true);
	memset(ram + 0x3000, 0xaa, 16);
	memcpy(ram + 0x2000, req, sizeof(req));
	bus_write(&vm->pio, 0, 0x514, 4, 0);
	bus_write(&vm->pio, 0, 0x518, 4, __builtin_bswap32(0x2000));
	assert_memory_equal(ram + 0x3000, text, 8);
	assert_memory_equal(ram + 0x3008, "\0\0\0\0\xaa", 5);
	assert_memory_equal(ram + 0x2000, "\0\0\0\0", 4);
	/* to where there is no RAM: an error, and nothing else */
	memcpy(ram + 0x2000, req, sizeof(req));
	ram[0x200d] = 0x0a; /* A3000H: the screen */
	bus_write(&vm->pio, 0, 0x518, 4, __builtin_bswap32(0x2000));
	assert_int_equal(ram[0x2003], 1);
	/* another in its place, as a restored machine has it */
	assert_int_equal(fwcfg_add_file(fw, "etc/text", "hatch", 5), 0);
	bus_write(&vm->pio, 0, 0x510, 2, 0x19);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(bus_read(&vm->pio, 0, 0x511, 1), "\0\0\0\1\0\0\0\5"[i]);
	bus_write(&vm->pio, 0, 0x510, 2, 0x20);
	assert_int_equal(bus_read(&vm->pio, 0, 0x511, 1), 'h');
	rig_end(vm);
}

static struct rig_line gsi[24];

static void gsi_sink(void *chip, unsigned pin, bool level)
{
	rig_line_set(gsi, pin, level);
}

static void test_chipset(void **state)
{
	struct vm *vm = pc_vm();
	struct pci_host_wiring hw = {.vendor = I440FX_VENDOR, .device = I440FX_DEVICE};
	const struct acpi_pm_wiring pm_w = {.base = 0x600};
	static uint8_t rom[0x20000];
	struct i440fx_wiring w = {.pm_base = 0x600, .rom = rom, .rom_size = sizeof(rom)};
	struct i440fx *chip;
	struct irq_line line;

	memset(rom, 0xb5, sizeof(rom));
	memset(gsi, 0, sizeof(gsi));
	vm->irq.pic = (struct irq_sink){gsi_sink, NULL};
	assert_int_equal(acpi_pm_create(vm, &pm_w, &w.pm), 0);
	assert_int_equal(i440fx_create(vm, &chip), 0);
	for (unsigned i = 0; i < 4; i++)
		hw.pirq[i] = i440fx_pirq(chip, i);
	assert_int_equal(pci_host_create(vm, &hw, &w.host), 0);
	assert_int_equal(i440fx_attach(chip, &w), 0);

	/* PAM, reads and writes: both PCI's after reset, where the ROM is or nothing */
	hva_t e = mem_ptr(vm, 0xe0000, 4, false), d = mem_ptr(vm, 0xdfffc, 4, false);
	assert_true(e[0] == 0xb5 && d[3] == 0xff);
	bus_write(&vm->mmio, 0, 0xe0000, 1, 0x11); /* as an engine that may not write there */
	assert_int_equal(e[0], 0xb5);
	pci_cfg_write(w.host, 0, 0x5e, 1, 0x02); /* writes RAM's */
	assert_null(mem_ptr(vm, 0xe0000, 4, true));
	bus_write(&vm->mmio, 0, 0xe0000, 4, 0x44332211);
	assert_int_equal(e[0], 0xb5);
	pci_cfg_write(w.host, 0, 0x5e, 1, 0x01); /* reads RAM's */
	assert_memory_equal(e, "\x11\x22\x33\x44\0", 5);
	assert_null(mem_ptr(vm, 0xe0000, 4, true));
	bus_write(&vm->mmio, 0, 0xe0000, 1, 0x55);
	assert_int_equal(e[0], 0x11);
	pci_cfg_write(w.host, 0, 0x5e, 1, 0x03);
	assert_int_equal(mem_write(vm, 0xe0000, "x", 1), 0);
	pci_cfg_write(w.host, 0, 0x5e, 1, 0x00);
	assert_int_equal(e[0], 0xb5);
	pci_cfg_write(w.host, 0, 0x5e, 1, 0x31);
	assert_int_equal(e[0], 'x');
	pci_cfg_write(w.host, 0, 0x5e, 1, 0x00);

	/* closed after reset, opened area by area, closed again by a reset */
	assert_null(mem_ptr(vm, 0xf0000, 4, true));
	assert_non_null(mem_ptr(vm, 0xf0000, 4, false));
	pci_cfg_write(w.host, 0, 0x59, 1, 0x30);
	assert_non_null(mem_ptr(vm, 0xf0000, 0x10000, true));
	assert_null(mem_ptr(vm, 0xec000, 0x8000, true));
	pci_cfg_write(w.host, 0, 0x5f, 1, 0x30);
	assert_non_null(mem_ptr(vm, 0xec000, 0x8000, true));
	assert_null(mem_ptr(vm, 0xe8000, 4, true));
	/* a reset that ends a sleep leaves it as it is, and the PIRQ router; any other does not */
	pci_cfg_write(w.host, 8, 0x60, 1, 10);
	vm->waking = true;
	for (struct dev *d = vm->devs; d; d = d->next)
		if (d->cls->reset)
			d->cls->reset(d);
	vm->waking = false;
	assert_non_null(mem_ptr(vm, 0xf0000, 0x10000, true));
	assert_int_equal(pci_cfg_read(w.host, 0, 0x59, 1), 0x30);
	assert_int_equal(pci_cfg_read(w.host, 8, 0x60, 1), 10);
	for (struct dev *d = vm->devs; d; d = d->next)
		if (d->cls->reset)
			d->cls->reset(d);
	assert_null(mem_ptr(vm, 0xf0000, 4, true));
	assert_int_equal(pci_cfg_read(w.host, 0, 0x59, 1), 0);
	assert_int_equal(pci_cfg_read(w.host, 8, 0x60, 1), 0x80);

	/* PIRQ: nowhere, then to IRQ 11 while it is held, then off */
	line = i440fx_pirq(chip, 1); /* PIRQA */
	irq_set(&line, true);
	assert_false(gsi[11].level);
	pci_cfg_write(w.host, 8, 0x60, 1, 11);
	assert_true(gsi[11].level);
	pci_cfg_write(w.host, 8, 0x60, 1, 0x80);
	assert_false(gsi[11].level);
	irq_set(&line, false);

	/* power management moves, and is off without its enable bit */
	pci_cfg_write(w.host, 11, 0x40, 4, 0xb001);
	assert_int_equal(bus_read(&vm->pio, 0, 0x604, 2), 0xffff);
	assert_int_equal(bus_read(&vm->pio, 0, 0xb004, 2), 1);
	pci_cfg_write(w.host, 11, 0x80, 1, 0);
	assert_int_equal(bus_read(&vm->pio, 0, 0xb004, 2), 0xffff);
	rig_end(vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fwcfg),
		cmocka_unit_test(test_chipset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
