/* SPDX-License-Identifier: ISC */
/* fuzz_pci.c: PCI devices with DMA of their own under a hostile driver. The first byte chooses the
 * device; the rest is a list of 8-byte steps {what, u24 where, u32 value}: its registers, its
 * configuration space, words and whole descriptors in memory, answers of the disk, frames, time, a frozen
 * machine. What must hold: no crash, no access outside of guest memory or disk, no endless loop, no
 * lock left behind. */
#include <stdlib.h>
#include <string.h>

#include "block/block.h"
#include "dev/ata/ahci.h"
#include "dev/nic/e1000.h"
#include "dev/nic/rtl8029.h"
#include "dev/nic/rtl8139.h"
#include "dev/nvme.h"
#include "dev/pc/ide.h"
#include "dev/pci/pci.h"
#include "dev/usb/tablet.h"
#include "dev/usb/uhci.h"
#include "net/net.h"
#include "plat/fake/fake.h"
#include "ui/input.h"
#include "vm/dev.h"
#include "tests/lib/no_engine.h"
#include "vm/vm.h"

#define RAM       (2 * MIB)
#define DISK_SIZE (1 * MIB)
#define BAR_MEM   0xc0000000u
#define BAR_IO    0xc000u
#define SLOT      1
#define MAX_STEPS 2000

/* ---- the back ends ------------------------------------------------------------------------------ */

static uint8_t image[DISK_SIZE];
static struct block_req *held[512];
static unsigned n_held;
static bool hold, fail;

static void answer(struct block_req *r)
{
	uint64_t at = r->offset;

	for (unsigned i = 0; i < r->n_vec && !fail; i++) {
		if (r->op == BLOCK_READ)
			memcpy(r->vec[i].base, image + at, r->vec[i].len);
		else if (r->op == BLOCK_WRITE)
			memcpy(image + at, r->vec[i].base, r->vec[i].len);
		at += r->vec[i].len;
	}
	r->done(r, fail ? ERR_IO : 0);
}

static void submit(struct block *b, struct block_req *r)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < r->n_vec; i++)
		sum += r->vec[i].len;
	if (r->offset > b->size || r->len > b->size - r->offset ||
	    (r->op <= BLOCK_WRITE && sum != r->len))
		abort();
	if (hold && n_held < ARRAY_SIZE(held))
		held[n_held++] = r;
	else
		answer(r);
}

static void release(void)
{
	for (unsigned n; (n = n_held);) {
		struct block_req *now[ARRAY_SIZE(held)];

		memcpy(now, held, n * sizeof(now[0]));
		n_held = 0;
		for (unsigned i = 0; i < n; i++)
			answer(now[i]);
		hold = false;
	}
}

static const struct block_ops disk_ops = {.name = "fuzz", .submit = submit};
static struct block disk = {.ops = &disk_ops, .size = DISK_SIZE, .name = "disk"};

/* A wire that sends a third of the frames back at once. */
static unsigned sent;
static uint8_t echo[NET_FRAME_MAX];

static void wire_send(struct net *n, const struct net_vec *vec, unsigned n_vec)
{
	size_t len = 0;

	for (unsigned i = 0; i < n_vec; i++) {
		if (vec[i].len > sizeof(echo) - len)
			abort();
		memcpy(echo + len, vec[i].base, vec[i].len);
		len += vec[i].len;
	}
	if (++sent % 3 == 0)
		net_receive(n, echo, len);
}

static void wire_ready(struct net *n)
{
}

static const struct net_ops wire_ops = {.name = "wire", .send = wire_send, .rx_ready = wire_ready};
static struct net wire = {.ops = &wire_ops, .mac = {2, 0, 0, 0, 0, 1}};

static struct input people;

static void frame(uint32_t where, uint32_t value)
{
	static uint8_t f[16384] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

	memcpy(f, value & 1 ? (const uint8_t *)"\xff\xff\xff\xff\xff\xff" : wire.mac, 6);
	memcpy(f + 12, value & 2 ? "\x81\0" : "\x08\0", 2);
	net_receive(&wire, f, 14 + (where & 0x3fff) % (sizeof(f) - 14));
}

/* ---- the devices -------------------------------------------------------------------------------- */

static void make_ide(struct vm *vm, struct pci_host *host)
{
	struct ide_wiring w = {.host = host, .slot = SLOT};
	struct ide *ide;

	for (unsigned i = 0; i < 3; i++) {
		w.drive[i].present = true;
		w.drive[i].cdrom = i & 1;
		w.drive[i].block = &disk;
	}
	if (ide_create(vm, &w, &ide))
		abort();
}

/* Lists with commands of good shape, so that a word changed and a doorbell lead far. */
static void ahci_lists(struct vm *vm)
{
	for (unsigned i = 0; i < 64; i++) {
		uint32_t list = 0x10000 + i / 32 * 0x1000 + i % 32 * 32,
			 table = 0x20000 + i * 0x200;
		const uint32_t header[4] = {5 | 8 << 16, 0, table},
			       fis[4] = {0x00258027 | (i & 1 ? 0x450000 : 0), 0x40000000, 0, 16};

		if (mem_write(vm, list, header, 16) || mem_write(vm, table, fis, 16))
			abort();
		for (unsigned k = 0; k < 8; k++) {
			const uint32_t prd[4] = {0x100000 + i * 0x2000 + k * 0x400, 0, 0, 1023};

			if (mem_write(vm, table + 0x80 + 16 * k, prd, 16))
				abort();
		}
	}
	for (unsigned port = 0; port < 3; port++) {
		const uint32_t regs[][2] = {{0x00, 0x10000 + port % 2 * 0x1000},
					    {0x08, 0x18000},
					    {0x14, UINT32_MAX},
					    {0x18, 0x11}};

		for (unsigned i = 0; i < ARRAY_SIZE(regs); i++)
			bus_write(&vm->mmio, 0, BAR_MEM + 0x100 + port * 0x80 + regs[i][0], 4,
				  regs[i][1]);
	}
}

static void make_ahci(struct vm *vm, struct pci_host *host)
{
	struct ahci_wiring w = {.host = host, .slot = SLOT};
	struct ahci *ahci;

	for (unsigned i = 0; i < 3; i++) {
		w.port[i].present = true;
		w.port[i].cdrom = i & 1;
		w.port[i].block = &disk;
	}
	if (ahci_create(vm, &w, &ahci))
		abort();
}

static void make_nvme(struct vm *vm, struct pci_host *host)
{
	struct nvme *nvme;

	if (nvme_create(vm, &(struct nvme_wiring){.host = host, .slot = SLOT, .block = &disk},
			&nvme))
		abort();
}

/* Rows of {offset, size, value}. */
static void set_regs(struct vm *vm, const uint32_t (*regs)[3], unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		bus_write(&vm->mmio, 0, BAR_MEM + regs[i][0], regs[i][1], regs[i][2]);
}

/* A pair of queues, made by commands of which the driver may send more, and in it reads and writes of a page, of two and
 * by lists. */
static void nvme_queues(struct vm *vm)
{
	static const uint32_t regs[][3] = {{0x24, 4, 0x000f000f}, {0x28, 4, 0x10000},
					   {0x30, 4, 0x11000},    {0x14, 4, 0x00460001},
					   {0x1000, 4, 3},        {0x1008, 4, 8}};
	static const uint32_t admin[16][3] = {{5, 0x000f0001, 3},
					      {1, 0x000f0001, 0x10001},
					      {6, 1, 0},
					      {6, 0, 0},
					      {5, 0x000f0002, 3},
					      {1, 0x000f0002, 0x20001},
					      {2, 0x7f0002},
					      {9, 7},
					      {0, 1},
					      {4, 1},
					      {8, 0},
					      {12, 0},
					      {10, 6},
					      {0, 2},
					      {4, 2},
					      {6, 3}};

	for (unsigned i = 0; i < 16; i++) {
		const uint32_t queue = admin[i][1] & 2 ? 0x14000u : 0x12000u;
		const uint32_t to = admin[i][0] == 5 ? queue + 0x1000 : queue;
		const uint32_t cmd[16] = {admin[i][0],
					  1,
					  0,
					  0,
					  0,
					  0,
					  admin[i][0] & 6 && admin[i][0] != 5 ? 0x40000 : to,
					  0,
					  0x41000,
					  0,
					  admin[i][1],
					  admin[i][2]};
		const uint32_t io[16] = {i % 3 ? i % 3 : 8,
					 1,
					 0,
					 0,
					 0,
					 0,
					 0x40000 + i * 0x200,
					 0,
					 i & 4 ? 0x20000 + i * 8 : 0x42000,
					 0,
					 i,
					 0,
					 i & 4   ? 63
					 : i & 8 ? 15
						 : 0};

		if (mem_write(vm, 0x10000 + 64 * i, cmd, sizeof(cmd)) ||
		    mem_write(vm, 0x12000 + 64 * i, io, sizeof(io)) ||
		    mem_write(vm, 0x14000 + 64 * i, io, sizeof(io)))
			abort();
	}
	for (uint64_t i = 0, page; i < 512; i++) {
		page = i == 511 ? 0x20000 : 0x50000 + i % 128 * 0x1000;
		if (mem_write(vm, 0x20000 + 8 * i, &page, 8))
			abort();
	}
	set_regs(vm, regs, ARRAY_SIZE(regs));
}

static void make_e1000(struct vm *vm, struct pci_host *host)
{
	struct e1000 *e;

	if (e1000_create(vm, &(struct e1000_wiring){.host = host, .slot = SLOT, .net = &wire}, &e))
		abort();
}

/* Rings with buffers, everything enabled. */
static void e1000_rings(struct vm *vm)
{
	static const uint32_t regs[][3] = {
		{0x3800, 4, 0x10000}, {0x3808, 4, 0x200}, {0x400, 4, 2},
		{0x2800, 4, 0x11000}, {0x2808, 4, 0x200}, {0x2818, 4, 31},
		{0x100, 4, 0x803a},   {0xd0, 4, 0xff},    {0x5000, 4, 0x300},
	};

	for (unsigned i = 0; i < 32; i++) {
		const uint32_t tx[4] = {0x100000 + i * 0x800, 0, 100 | (i & 1 ? 0x19u : 8) << 24,
					0},
			       rx[4] = {0x180000 + i * 0x800};

		if (mem_write(vm, 0x10000 + 16 * i, tx, 16) ||
		    mem_write(vm, 0x11000 + 16 * i, rx, 16))
			abort();
	}
	set_regs(vm, regs, ARRAY_SIZE(regs));
}

static void make_rtl8139(struct vm *vm, struct pci_host *host)
{
	struct rtl8139 *r;

	if (rtl8139_create(vm, &(struct rtl8139_wiring){.host = host, .slot = SLOT, .net = &wire},
			   &r))
		abort();
}

/* The C+ mode's rings, and the old mode's buffers: what is enabled may be changed. */
static void rtl8139_rings(struct vm *vm)
{
	static const uint32_t regs[][3] = {
		{0xe0, 2, 0x6b},   {0xe4, 4, 0x11000}, {0xe8, 4, 0},    {0x20, 4, 0x10000},
		{0x24, 4, 0},      {0x28, 4, 0x12000}, {0x2c, 4, 0},    {0x30, 4, 0x80000},
		{0x44, 4, 0xf78f}, {0x3c, 2, 0xffff},  {0x37, 1, 0x0c},
	};

	for (unsigned i = 0; i < 32; i++) {
		const uint32_t tx[4] = {(i & 1 ? 0xd0070000u : 0xa0070000) | 100, 0,
					0x100000 + i * 0x800},
			       rx[4] = {0x80000000 | 1000, 0, 0x180000 + i * 0x800};

		if (mem_write(vm, 0x10000 + 16 * i, tx, 16) ||
		    mem_write(vm, 0x12000 + 16 * i, tx, 16) ||
		    mem_write(vm, 0x11000 + 16 * i, rx, 16))
			abort();
	}
	set_regs(vm, regs, ARRAY_SIZE(regs));
}

static void make_rtl8029(struct vm *vm, struct pci_host *host)
{
	struct rtl8029 *n;

	if (rtl8029_create(vm, &(struct rtl8029_wiring){.host = host, .slot = SLOT, .net = &wire},
			   &n))
		abort();
}

/* A ring, a frame to send, started. */
static void rtl8029_start(struct vm *vm)
{
	static const uint8_t regs[][2] = {{0, 0x61},    {7, 0x4d}, {0, 0x21},    {1, 0x4c},
					  {2, 0x80},    {3, 0x4c}, {0x0c, 0x1c}, {0x0e, 0x49},
					  {0x0f, 0x7f}, {4, 0x40}, {5, 100},     {0, 0x26}};

	for (unsigned i = 0; i < ARRAY_SIZE(regs); i++)
		bus_write(&vm->pio, 0, BAR_IO + regs[i][0], 1, regs[i][1]);
}

/* All frames lead to a ring of queues, or to a queue of transfers: a descriptor is asked for, configuration 1
 * set, endpoint 1 read. */
static void make_uhci(struct vm *vm, struct pci_host *host)
{
	struct uhci_wiring w = {.host = host, .slot = SLOT};
	struct uhci *u;

	input_init(&people);
	if (usb_tablet_create(&people, &w.take_port[0]) || uhci_create(vm, &w, &u))
		abort();
}

static void uhci_schedule(struct vm *vm)
{
	static const uint32_t regs[][3] = {{8, 4, 0x10000}, {16, 2, 0x200}, {16, 2, 0},
					   {16, 2, 4},      {4, 2, 0xf},    {0, 2, 0xc1}};
	static const uint8_t setup[] = {0x80, 6, 0, 1, 0, 0, 64, 0, 0, 9, 1, 0, 0, 0, 0, 0};

	for (unsigned i = 0; i < 1024; i++) {
		const uint32_t link = i % 4 ? 0x20002 : 0x21000;

		if (mem_write(vm, 0x10000 + 4 * i, &link, 4))
			abort();
	}
	for (unsigned i = 0; i < 32; i++) {
		const uint32_t qh[4] = {(0x20000 + (i + 1) % 32 * 16) | 2, 0x21000 + i % 8 * 32},
			       td[4] = {(0x21000 + (i + 1) * 32) | 4, 0x18800000 | (i & 1) << 29,
					(i % 4 ? 0x69 : 0x2d) | 7u << 21 | (i & 8) << 12,
					0x30000 + i % 2 * 8};

		if (mem_write(vm, 0x20000 + 16 * i, qh, 16) ||
		    mem_write(vm, 0x21000 + 32 * i, td, 16))
			abort();
	}
	if (mem_write(vm, 0x30000, setup, sizeof(setup)))
		abort();
	for (unsigned i = 0; i < ARRAY_SIZE(regs); i++)
		bus_write(&vm->pio, 0, BAR_IO + regs[i][0], regs[i][1], regs[i][2]);
}

/* Where their registers are: ports where len is at most 256. */
static const struct {
	void (*make)(struct vm *vm, struct pci_host *host);
	void (*prepare)(struct vm *vm); /* as a driver would; NULL */
	struct {
		uint32_t base, len;
	} regs[3];
} devices[] = {
	{make_ide, NULL, {{0x1f0, 8}, {0x3f6, 1}, {BAR_IO, 16}}},
	{make_ahci, ahci_lists, {{BAR_MEM, 0x400}}},
	{make_nvme, nvme_queues, {{BAR_MEM, 0x1048}, {BAR_MEM + 0x1000, 0x20}, {BAR_MEM, 0x40}}},
	{make_e1000, e1000_rings, {{BAR_MEM, 0x5a00}, {BAR_MEM + 0x2800, 0x1030}, {BAR_IO, 8}}},
	{make_rtl8139,
	 rtl8139_rings,
	 {{BAR_IO, 256}, {BAR_IO + 0x10, 0x30}, {BAR_IO + 0xd8, 0x18}}},
	{make_rtl8029, rtl8029_start, {{BAR_IO, 32}, {BAR_IO, 16}, {BAR_IO + 0x10, 4}}},
	{make_uhci, uhci_schedule, {{BAR_IO, 32}, {BAR_IO, 4}, {BAR_IO + 16, 4}}},
};

static void access(struct vm *vm, unsigned kind, bool write, uint32_t where, uint32_t value)
{
	unsigned r = where >> 20 & 3, size = 1u << (where >> 18) % 4 % 3;
	struct bus *bus;
	uint64_t at;

	if (r > 2 || !devices[kind].regs[r].len)
		r = 0;
	if (devices[kind].regs[r].len > 256)
		size = 4;
	bus = devices[kind].regs[r].base < 0x10000 ? &vm->pio : &vm->mmio;
	at = devices[kind].regs[r].base + ((where & 0xffff) * size) % devices[kind].regs[r].len;
	if (write)
		bus_write(bus, 0, at, size, value);
	else
		bus_read(bus, 0, at, size);
}

static void freeze(struct vm *vm)
{
	release();
	for (struct dev *dev = vm->devs; dev; dev = dev->next)
		if (dev->cls->freeze && dev->cls->freeze(dev, true))
			abort();
	for (struct dev *dev = vm->devs; dev; dev = dev->next)
		if (dev->cls->freeze && dev->cls->freeze(dev, false))
			abort();
}

static void step(struct vm *vm, struct pci_host *host, unsigned kind, const uint8_t *s)
{
	uint32_t where = s[1] | (uint32_t)s[2] << 8 | (uint32_t)s[3] << 16, value;
	uint32_t run[4];

	memcpy(&value, s + 4, 4);
	switch (s[0] % 11) {
	case 0 ... 3:
		access(vm, kind, s[0] % 11, where, value);
		break;
	case 4: /* a word of memory */
		if (mem_write(vm, (where * 4) % RAM, &value, 4) == ERR_NOMEM)
			abort();
		break;
	case 5: /* four that are alike: addresses within RAM, small sizes */
		for (unsigned i = 0; i < 4; i++)
			run[i] = i & 1 ? value >> 16 : (value & 0xffff) << 5;
		if (mem_write(vm, (where * 16) % RAM, run, sizeof(run)) == ERR_NOMEM)
			abort();
		break;
	case 6:
		pci_cfg_write(host, SLOT * PCI_FUNCS, where % 64, 1, value);
		break;
	case 7:
		hold = value & 1;
		fail = value & 2;
		if (value & 4)
			release();
		break;
	case 8:
		if (devices[kind].make == make_uhci)
			input_point(&people, where & 0x7fff, value & 0x7fff, (int8_t)(where >> 16),
				    value >> 16);
		else
			frame(where, value);
		break;
	case 9:
		/* a USB bus has 1000 frames to look at */
		fake_advance(value %
			     (devices[kind].make == make_uhci ? NS_PER_SEC / 32 : NS_PER_SEC));
		break;
	default:
		freeze(vm);
	}
	if (fake_locks_held())
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pci_host_wiring w = {
		.io = {BAR_IO, 0x1000}, .mem = {BAR_MEM, 0x100000}, .preassign = true};
	struct pci_host *host;
	struct vm *vm;
	unsigned kind;

	if (!size)
		return 0;
	fake_reset();
	hold = fail = false;
	n_held = sent = 0;
	kind = *data++ % ARRAY_SIZE(devices);
	size--;
	vm = bare_vm(RAM);
	if (pci_host_create(vm, &w, &host))
		abort();
	devices[kind].make(vm, host);
	pci_cfg_write(host, SLOT * PCI_FUNCS, PCI_COMMAND, 2,
		      PCI_CMD_IO | PCI_CMD_MEM | PCI_CMD_MASTER);
	if (devices[kind].prepare)
		devices[kind].prepare(vm);
	for (unsigned i = 0; i < MAX_STEPS && size >= 8; i++, data += 8, size -= 8)
		step(vm, host, kind, data);
	release();
	vm_destroy(vm);
	return 0;
}
