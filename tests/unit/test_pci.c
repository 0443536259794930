/* SPDX-License-Identifier: ISC */
/* test_pci.c: host bridge, configuration space, base addresses, INTx, MSI and MSI-X. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/virtio_rig.h"

struct card {
	struct pci_dev pd;
	uint64_t reg[4];
};

static uint64_t card_read(void *dev, uint64_t off, unsigned size)
{
	return ((struct card *)dev)->reg[off / 8 % 4] >> 8 * (off % 8);
}

static void card_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	((struct card *)dev)->reg[off / 8 % 4] = value;
}

static const struct bus_region card_mem = {
	.name = "card", .len = 0x2000, .min = 1, .max = 8, .read = card_read, .write = card_write};
static const struct bus_region card_io = {
	.name = "card-io", .len = 0x20, .min = 1, .max = 4, .read = card_read, .write = card_write};

static void card_init(struct card *c, unsigned pin)
{
	struct pci_id id = {.name = "card",
			    .vendor = 0x1234,
			    .device = 0x5678,
			    .subsys_vendor = 0xaaaa,
			    .subsys = 0xbbbb,
			    .revision = 7,
			    .cls = 0x020000,
			    .pin = (uint8_t)pin};
	struct pci_bar io = {.kind = PCI_BAR_IO, .size = 0x20, .region = &card_io, .ctx = c};
	struct pci_bar mem = {.kind = PCI_BAR_MEM64, .size = 0x2000, .region = &card_mem, .ctx = c};

	memset(c, 0, sizeof(*c));
	pci_dev_init(&c->pd, &id);
	assert_int_equal(pci_bar_add(&c->pd, 0, &io), 0);
	assert_int_equal(pci_bar_add(&c->pd, 2, &mem), 0);
	assert_int_equal(pci_bar_add(&c->pd, 3, &io), ERR_EXIST);
	assert_int_equal(pci_bar_add(&c->pd, 5, &mem), ERR_INVAL);
	assert_int_equal(pci_msix_add(&c->pd, 3, 1), 0);
	assert_int_equal(pci_msi_add(&c->pd, 4), 0);
}

static struct rig rig;

static int setup(void **state)
{
	rig_init(&rig, true);
	return 0;
}

static int setup_firmware(void **state)
{
	rig_init(&rig, false);
	return 0;
}

static int teardown(void **state)
{
	rig_fini(&rig);
	assert_int_equal(fake_locks_held(), 0);
	assert_int_equal(fake_alloc_live(), 0);
	return 0;
}

static void test_config(void **state)
{
	struct card c;

	card_init(&c, 1);
	assert_int_equal(pci_attach(rig.host, &c.pd, 3, 0), 0);
	assert_int_equal(pci_attach(rig.host, &c.pd, 3, 0), ERR_EXIST);
	assert_int_equal(pci_attach(rig.host, &c.pd, 32, 0), ERR_INVAL);

	assert_int_equal(cfg_rd(&rig, 0, 0, 4), 0x00081b36);
	assert_int_equal(cfg_rd(&rig, 0, 0x0b, 1), 6);
	assert_int_equal(cfg_rd(&rig, 8, 0, 4), 0xffffffff);
	assert_int_equal(cfg_rd(&rig, 8, 0, 2), 0xffff);
	assert_int_equal(cfg_rd(&rig, 24, 0, 4), 0x56781234);
	assert_int_equal(cfg_rd(&rig, 24, 2, 2), 0x5678);
	assert_int_equal(cfg_rd(&rig, 24, 3, 1), 0x56);
	assert_int_equal(cfg_rd(&rig, 24, 0x2c, 4), 0xbbbbaaaa);
	assert_int_equal(cfg_rd(&rig, 24, 8, 4), 0x02000007);
	assert_int_equal(cfg_rd(&rig, 24, PCI_INT_PIN, 1), 1);
	assert_int_equal(cfg_rd(&rig, 24, PCI_INT_LINE, 1), 7); /* slot 3, INTA: wire 3 */

	/* the same through ECAM; nothing in the extended part */
	assert_int_equal(bus_read(&rig.vm->mmio, 0, RIG_ECAM + (24 << 12), 4), 0x56781234);
	assert_int_equal(bus_read(&rig.vm->mmio, 0, RIG_ECAM + (24 << 12) + 0x100, 4), 0);
	assert_int_equal(bus_read(&rig.vm->mmio, 0, RIG_ECAM + (25 << 12) + 0x100, 4), 0xffffffff);
	bus_write(&rig.vm->mmio, 0, RIG_ECAM + (24 << 12) + PCI_INT_LINE, 1, 0x2b);
	assert_int_equal(cfg_rd(&rig, 24, PCI_INT_LINE, 1), 0x2b);

	/* identifiers do not change; only some bits of COMMAND exist */
	cfg_wr(&rig, 24, 0, 4, 0);
	assert_int_equal(cfg_rd(&rig, 24, 0, 4), 0x56781234);
	cfg_wr(&rig, 24, PCI_COMMAND, 2, 0xffff);
	assert_int_equal(cfg_rd(&rig, 24, PCI_COMMAND, 2), 0x0547);

	/* address disabled, other bus, narrow accesses to the address */
	bus_write(&rig.vm->pio, 0, 0xcf8, 4, 24 << 8);
	assert_int_equal(bus_read(&rig.vm->pio, 0, 0xcfc, 4), 0xffffffff);
	bus_write(&rig.vm->pio, 0, 0xcf8, 4, 0x80010000u | 24 << 8);
	assert_int_equal(bus_read(&rig.vm->pio, 0, 0xcfc, 4), 0xffffffff);
	bus_write(&rig.vm->pio, 0, 0xcf8, 4, 0x80000000);
	bus_write(&rig.vm->pio, 0, 0xcfb, 1, 0);
	bus_write(&rig.vm->pio, 0, 0xcf8, 2, 0x1234);
	assert_int_equal(bus_read(&rig.vm->pio, 0, 0xcf8, 4), 0x80000000);

	/* capabilities: MSI-X and MSI, in a list that ends */
	assert_true(cfg_cap(&rig, 24, PCI_CAP_MSIX, 0));
	assert_true(cfg_cap(&rig, 24, PCI_CAP_MSI, 0));
	assert_false(cfg_cap(&rig, 24, PCI_CAP_VNDR, 0));
	pci_detach(&c.pd);
	assert_int_equal(cfg_rd(&rig, 24, 0, 4), 0xffffffff);
}

static void test_reset_port(void **state)
{
	bus_write(&rig.vm->pio, 0, 0xcf9, 1, 2);
	assert_false(rig.vm->reset_wanted);
	assert_int_equal(bus_read(&rig.vm->pio, 0, 0xcf9, 1), 2);
	bus_write(&rig.vm->pio, 0, 0xcf9, 1, 6);
	assert_true(rig.vm->reset_wanted);
}

static void test_functions(void **state)
{
	struct card c[34];

	for (unsigned i = 0; i < 31; i++) {
		card_init(&c[i], 0);
		assert_int_equal(pci_attach(rig.host, &c[i].pd, PCI_ANY_SLOT, 0), 0);
		assert_int_equal(c[i].pd.devfn, 8 * (i + 1));
	}
	card_init(&c[31], 0);
	assert_int_equal(pci_attach(rig.host, &c[31].pd, PCI_ANY_SLOT, 0), ERR_NOMEM);
	assert_int_equal(cfg_rd(&rig, 8, PCI_HEADER_TYPE, 1), 0);
	assert_int_equal(pci_attach(rig.host, &c[31].pd, 1, 7), 0);
	assert_int_equal(cfg_rd(&rig, 8, PCI_HEADER_TYPE, 1), 0x80);
	assert_int_equal(cfg_rd(&rig, 8, PCI_INT_LINE, 1), 0);
}

static void test_preassigned(void **state)
{
	struct card a, b;

	card_init(&a, 1);
	card_init(&b, 1);
	assert_int_equal(pci_attach(rig.host, &a.pd, 1, 0), 0);
	assert_int_equal(pci_attach(rig.host, &b.pd, 2, 0), 0);
	assert_int_equal(cfg_rd(&rig, 8, PCI_COMMAND, 2), PCI_CMD_IO | PCI_CMD_MEM);
	assert_int_equal(cfg_rd(&rig, 8, PCI_BAR0, 4), 0xc001);
	assert_int_equal(cfg_rd(&rig, 16, PCI_BAR0, 4), 0xc021);
	assert_int_equal(cfg_bar(&rig, 8, 1), RIG_MMIO);
	assert_int_equal(cfg_bar(&rig, 8, 2), RIG_MMIO + 0x2000);
	assert_int_equal(cfg_bar(&rig, 16, 1), RIG_MMIO + 0x4000);
	bus_write(&rig.vm->mmio, 0, RIG_MMIO + 0x2000, 8, 0x1122334455667788);
	assert_int_equal(a.reg[0], 0x1122334455667788);
	bus_write(&rig.vm->pio, 0, 0xc028, 4, 42);
	assert_int_equal(b.reg[1], 42);

	/* moved by the guest, then back by a reset */
	cfg_wr(&rig, 8, PCI_BAR0 + 8, 4, 0xd0000000);
	assert_int_equal(bus_read(&rig.vm->mmio, 0, 0xd0000000, 8), 0x1122334455667788);
	assert_int_equal(bus_read(&rig.vm->mmio, 0, RIG_MMIO + 0x2000, 4), 0xffffffff);
	rig_reset_devices(&rig);
	assert_int_equal(bus_read(&rig.vm->mmio, 0, RIG_MMIO + 0x2000, 8), 0x1122334455667788);
	assert_int_equal(bus_read(&rig.vm->mmio, 0, 0xd0000000, 4), 0xffffffff);
}

static void test_window_full(void **state)
{
	struct card c;
	struct pci_id id = {.name = "big"};
	struct pci_bar mem = {
		.kind = PCI_BAR_MEM32, .size = 0x200000, .region = &card_mem, .ctx = &c};

	memset(&c, 0, sizeof(c));
	pci_dev_init(&c.pd, &id);
	assert_int_equal(pci_bar_add(&c.pd, 0, &mem), 0);
	assert_int_equal(pci_attach(rig.host, &c.pd, PCI_ANY_SLOT, 0), ERR_NOMEM);
}

static void test_bars(void **state)
{
	struct card a, b;

	card_init(&a, 1);
	card_init(&b, 1);
	assert_int_equal(pci_attach(rig.host, &a.pd, 1, 0), 0);
	assert_int_equal(pci_attach(rig.host, &b.pd, 2, 0), 0);
	a.reg[0] = 0xa;
	b.reg[0] = 0xb;

	/* sizing */
	assert_int_equal(cfg_rd(&rig, 8, PCI_BAR0 + 8, 4), 4);
	cfg_wr(&rig, 8, PCI_BAR0, 4, 0xffffffff);
	cfg_wr(&rig, 8, PCI_BAR0 + 4, 4, 0xffffffff);
	cfg_wr(&rig, 8, PCI_BAR0 + 8, 4, 0xffffffff);
	cfg_wr(&rig, 8, PCI_BAR0 + 12, 4, 0xffffffff);
	cfg_wr(&rig, 8, PCI_BAR0 + 20, 4, 0xffffffff);
	assert_int_equal(cfg_rd(&rig, 8, PCI_BAR0, 4), 0xffffffe1);
	assert_int_equal(cfg_rd(&rig, 8, PCI_BAR0 + 4, 4), 0xfffff000);
	assert_int_equal(cfg_rd(&rig, 8, PCI_BAR0 + 8, 4), 0xffffe004);
	assert_int_equal(cfg_rd(&rig, 8, PCI_BAR0 + 12, 4), 0xffffffff);
	assert_int_equal(cfg_rd(&rig, 8, PCI_BAR0 + 20, 4), 0);
	cfg_wr(&rig, 8, PCI_COMMAND, 2, PCI_CMD_MEM | PCI_CMD_IO); /* maps nothing, and no harm */

	/* above 4 GiB, byte by byte */
	cfg_wr(&rig, 8, PCI_BAR0 + 8, 4, 0x40000000);
	cfg_wr(&rig, 8, PCI_BAR0 + 12, 4, 0);
	cfg_wr(&rig, 8, PCI_BAR0 + 12, 1, 0x12);
	assert_int_equal(bus_read(&rig.vm->mmio, 0, 0x1240000000, 1), 0xa);
	cfg_wr(&rig, 8, PCI_COMMAND, 2, PCI_CMD_IO);
	assert_int_equal(bus_read(&rig.vm->mmio, 0, 0x1240000000, 1), 0xff);
	cfg_wr(&rig, 8, PCI_BAR0, 2, 0xd000);
	assert_int_equal(bus_read(&rig.vm->pio, 0, 0xd000, 1), 0xff); /* upper half is all ones */
	cfg_wr(&rig, 8, PCI_BAR0 + 2, 2, 0);
	assert_int_equal(bus_read(&rig.vm->pio, 0, 0xd000, 1), 0xa);

	/* two at one place: the first stays, the second comes when it is free */
	cfg_wr(&rig, 16, PCI_BAR0, 4, 0xd000);
	cfg_wr(&rig, 16, PCI_COMMAND, 2, PCI_CMD_IO);
	assert_int_equal(bus_read(&rig.vm->pio, 0, 0xd000, 1), 0xa);
	cfg_wr(&rig, 8, PCI_BAR0, 4, 0xd100);
	assert_int_equal(bus_read(&rig.vm->pio, 0, 0xd000, 1), 0xb);
	assert_int_equal(bus_read(&rig.vm->pio, 0, 0xd100, 1), 0xa);
}

static void test_intx(void **state)
{
	struct card a, b;

	card_init(&a, 1);
	card_init(&b, 1);
	assert_int_equal(pci_attach(rig.host, &a.pd, 1, 0), 0);
	assert_int_equal(pci_attach(rig.host, &b.pd, 5, 0), 0); /* the same wire */
	pci_intx(&a.pd, true);
	assert_true(rig.wire[1]);
	assert_int_equal(cfg_rd(&rig, 8, PCI_STATUS, 2) & PCI_STS_INTX, PCI_STS_INTX);
	pci_intx(&b.pd, true);
	pci_intx(&a.pd, false);
	assert_true(rig.wire[1]);
	assert_int_equal(cfg_rd(&rig, 8, PCI_STATUS, 2) & PCI_STS_INTX, 0);
	cfg_wr(&rig, 40, PCI_COMMAND, 2, PCI_CMD_INTX_DISABLE);
	assert_false(rig.wire[1]);
	assert_int_equal(cfg_rd(&rig, 40, PCI_STATUS, 2) & PCI_STS_INTX, PCI_STS_INTX);
	cfg_wr(&rig, 40, PCI_COMMAND, 2, 0);
	assert_true(rig.wire[1]);
	rig_reset_devices(&rig);
	assert_false(rig.wire[1]);
	assert_int_equal(rig.wire_changes, 4);
}

static void test_msix(void **state)
{
	struct card c;
	unsigned cap;
	uint64_t t;

	card_init(&c, 1);
	assert_int_equal(pci_attach(rig.host, &c.pd, 1, 0), 0);
	cap = cfg_cap(&rig, 8, PCI_CAP_MSIX, 0);
	assert_int_equal(cfg_rd(&rig, 8, cap + 2, 2), 2);
	t = cfg_bar(&rig, 8, 1);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(bus_read(&rig.vm->mmio, 0, t + 16 * i + 12, 4), 1);
		bus_write(&rig.vm->mmio, 0, t + 16 * i, 8, 0xfee00000);
		bus_write(&rig.vm->mmio, 0, t + 16 * i + 8, 4, 5 + i);
	}
	bus_write(&rig.vm->mmio, 0, t + 48, 4, 0xfee00000); /* no such vector */
	assert_int_equal(bus_read(&rig.vm->mmio, 0, t + 48, 4), 0);

	/* off: lost; on but masked: pending; unmasked: sent once */
	pci_msix_send(&c.pd, 0);
	cfg_wr(&rig, 8, PCI_COMMAND, 2, PCI_CMD_MASTER | PCI_CMD_MEM);
	cfg_wr(&rig, 8, cap + 2, 2, 0x8000);
	assert_true(pci_msix_enabled(&c.pd));
	pci_msix_send(&c.pd, 1);
	pci_msix_send(&c.pd, 1);
	pci_msix_send(&c.pd, 3);
	assert_int_equal(bus_read(&rig.vm->mmio, 0, t + PCI_MSIX_PBA, 8), 2);
	assert_int_equal(rig.msi[6], 0);
	bus_write(&rig.vm->mmio, 0, t + 28, 4, 0);
	assert_int_equal(rig.msi[6], 1);
	assert_int_equal(bus_read(&rig.vm->mmio, 0, t + PCI_MSIX_PBA, 4), 0);
	pci_msix_send(&c.pd, 1);
	assert_int_equal(rig.msi[6], 2);

	/* the function's mask, and the bus master bit */
	cfg_wr(&rig, 8, cap + 2, 2, 0xc000);
	pci_msix_send(&c.pd, 1);
	assert_int_equal(rig.msi[6], 2);
	cfg_wr(&rig, 8, PCI_COMMAND, 2, PCI_CMD_MEM);
	cfg_wr(&rig, 8, cap + 2, 2, 0x8000);
	assert_int_equal(rig.msi[6], 2);
	cfg_wr(&rig, 8, PCI_COMMAND, 2, PCI_CMD_MASTER);
	assert_int_equal(rig.msi[6], 3);

	cfg_wr(&rig, 8, PCI_COMMAND, 2, PCI_CMD_MASTER | PCI_CMD_MEM);
	pci_msix_send(&c.pd, 0);
	pci_msix_clear(&c.pd, 0);
	bus_write(&rig.vm->mmio, 0, t + 12, 4, 0);
	assert_int_equal(rig.msi[5], 0);
	assert_int_equal(rig.msi_other, 0);
}

static void test_msi(void **state)
{
	struct card c;
	unsigned cap;

	card_init(&c, 1);
	assert_int_equal(pci_attach(rig.host, &c.pd, 1, 0), 0);
	cap = cfg_cap(&rig, 8, PCI_CAP_MSI, 0);
	assert_int_equal(cfg_rd(&rig, 8, cap + 2, 2), 0x184);
	cfg_wr(&rig, 8, PCI_COMMAND, 2, PCI_CMD_MASTER);
	cfg_wr(&rig, 8, cap + 4, 4, 0xfee00000);
	cfg_wr(&rig, 8, cap + 12, 2, 4);
	cfg_wr(&rig, 8, cap + 16, 4, 0xffffffff);
	assert_int_equal(cfg_rd(&rig, 8, cap + 16, 4), 0xf);
	cfg_wr(&rig, 8, cap + 2, 2, 1 | 2 << 4); /* all four */
	assert_true(pci_msi_enabled(&c.pd));
	pci_msi_send(&c.pd, 3);
	assert_int_equal(cfg_rd(&rig, 8, cap + 20, 4), 8);
	assert_int_equal(rig.msi[7], 0);
	cfg_wr(&rig, 8, cap + 16, 4, 0);
	assert_int_equal(rig.msi[7], 1);
	assert_int_equal(cfg_rd(&rig, 8, cap + 20, 4), 0);
	cfg_wr(&rig, 8, cap + 2, 2, 1); /* only one: all share it */
	pci_msi_send(&c.pd, 3);
	assert_int_equal(rig.msi[4], 1);
	cfg_wr(&rig, 8, cap + 2, 2, 0);
	pci_msi_send(&c.pd, 3);
	assert_int_equal(rig.msi[4], 1);
}

static void test_garbage(void **state)
{
	static const unsigned sizes[] = {1, 2, 4, 8};
	struct card c[3];
	uint64_t seed = 4711;

	print_message("seed %u\n", 4711);
	for (unsigned i = 0; i < 3; i++) {
		card_init(&c[i], i + 1);
		assert_int_equal(pci_attach(rig.host, &c[i].pd, (int)i + 1, i), 0);
	}
	for (unsigned i = 0; i < 200000; i++) {
		uint64_t x = rig_rand(&seed), v = rig_rand(&seed);
		unsigned size = sizes[x >> 60 & 3], devfn = 9 * (unsigned)(x % 5),
			 off = x >> 8 & 0xff;

		switch (x >> 32 & 7) {
		case 0:
			bus_write(&rig.vm->pio, 0, 0xcf8 + (x >> 40 & 7), size & 7 ? size : 4, v);
			bus_read(&rig.vm->pio, 0, 0xcf8 + (x >> 44 & 7), 4);
			break;
		case 1:
			bus_write(&rig.vm->mmio, 0, RIG_ECAM + (v & 0xfffff), size, v >> 8);
			break;
		case 2:
			bus_write(&rig.vm->mmio, 0, RIG_MMIO + (v & 0xffff), size, v >> 8);
			break;
		case 3:
			bus_read(&rig.vm->mmio, 0, RIG_ECAM + (devfn << 12 | off), size);
			break;
		case 4:
			pci_intx(&c[v % 3].pd, v >> 8 & 1);
			pci_msix_send(&c[v % 3].pd, v >> 16 & 7);
			pci_msi_send(&c[v % 3].pd, v >> 16 & 7);
			break;
		default:
			bus_write(&rig.vm->mmio, 0, RIG_ECAM + (devfn << 12 | off), size, v);
			break;
		}
	}
	assert_int_equal(cfg_rd(&rig, 0, 0, 4), 0x00081b36);
	for (unsigned i = 0; i < 3; i++)
		pci_detach(&c[i].pd);
	for (unsigned i = 0; i < 4; i++)
		assert_false(rig.wire[i]);
}

static uint32_t mem_rd(uint64_t at, unsigned size)
{
	return (uint32_t)bus_read(&rig.vm->mmio, 0, at, size);
}

/* An expansion ROM: sized, switched, for this function whatever it says, and not to be written. */
static void test_rom(void **state)
{
	static uint8_t rom[0x1801] = {0x55, 0xaa, 3,    [0x18] = 0x40, [0x40] = 'P', 'C',
				      'I',  'R',  0xff, 0xee,          0xdd,         0xcc};
	static uint8_t own[0x30] = {0x55, 0xaa, 3, [0x18] = 0x2c}; /* no room for what is at 2CH */
	const uint64_t at = 0xd0000000;
	uint8_t sum = 0, want = 0;
	struct card c, d;

	card_init(&c, 1);
	assert_int_equal(pci_rom_add(&c.pd, rom, 0), ERR_INVAL);
	assert_int_equal(pci_rom_add(&c.pd, rom, (16 << 20) + 1), ERR_INVAL);
	rom[0x1800] = 0x77;
	assert_int_equal(pci_attach(rig.host, &c.pd, 3, 0), 0);
	assert_int_equal(cfg_rd(&rig, 24, PCI_ROM, 4), 0);
	assert_int_equal(pci_rom_add(&c.pd, rom, sizeof(rom)), 0);
	cfg_wr(&rig, 24, PCI_ROM, 4, 0xfffffffe);
	assert_int_equal(cfg_rd(&rig, 24, PCI_ROM, 4), 0xffffe000);
	cfg_wr(&rig, 24, PCI_ROM, 4, (uint32_t)at);
	cfg_wr(&rig, 24, PCI_COMMAND, 2, PCI_CMD_MEM);
	assert_int_equal(mem_rd(at, 2), 0xffff); /* not yet */
	cfg_wr(&rig, 24, PCI_ROM, 4, (uint32_t)at | 1);
	assert_int_equal(mem_rd(at, 4), 0x0003aa55);
	assert_int_equal(mem_rd(at + 0x40, 4), 0x52494350);
	assert_int_equal(mem_rd(at + 0x44, 4), 0x56781234);
	assert_int_equal(mem_rd(at + 0x1800, 4), 0xffffff77);
	for (unsigned i = 0; i < sizeof(rom); i++) {
		sum = (uint8_t)(sum + mem_rd(at + i, 1));
		want = (uint8_t)(want + rom[i]);
	}
	assert_int_equal(sum, want);
	bus_write(&rig.vm->mmio, 0, at, 4, 0);
	assert_int_equal(mem_rd(at, 4), 0x0003aa55);
	cfg_wr(&rig, 24, PCI_COMMAND, 2, 0);
	assert_int_equal(mem_rd(at, 2), 0xffff);
	card_init(&d, 1);
	assert_int_equal(pci_rom_add(&d.pd, own, sizeof(own)), 0);
	assert_int_equal(d.pd.rom_ids, 0);
	pci_detach(&c.pd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_config, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reset_port, setup, teardown),
		cmocka_unit_test_setup_teardown(test_functions, setup, teardown),
		cmocka_unit_test_setup_teardown(test_preassigned, setup, teardown),
		cmocka_unit_test_setup_teardown(test_window_full, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bars, setup_firmware, teardown),
		cmocka_unit_test_setup_teardown(test_rom, setup, teardown),
		cmocka_unit_test_setup_teardown(test_intx, setup, teardown),
		cmocka_unit_test_setup_teardown(test_msix, setup, teardown),
		cmocka_unit_test_setup_teardown(test_msi, setup, teardown),
		cmocka_unit_test_setup_teardown(test_garbage, setup, teardown),
	};

	return cmocka_run_group_tests_name("pci", tests, NULL, NULL);
}
