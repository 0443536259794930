/* SPDX-License-Identifier: ISC */
/* test_ahci.c: the AHCI controller on plat/fake: command lists, FISes, queued commands, errors, resets,
 * and a guest whose tables make no sense. */
#include "tests/unit/pci_rig.h"

#include "block/block.h"
#include "dev/ata/ahci.h"
#include "vm/dev.h"

#define ABAR    RIG_BAR_MEM
#define DISK    0 /* ports */
#define CD      1
#define CLB     0x10000u /* guest memory; 64 KiB further for the second port */
#define FB      0x10400u
#define CTBA    0x11000u
#define DATA    0x40000u
#define SECTORS 4096u

/* A disk whose sectors hold their number, that can wait and fail. */
static uint8_t *image;
static unsigned depth, deepest, submitted;
static int fail;
static bool hold;
static struct block_req *held[64];
static unsigned n_held;

static void finish(struct block *b, struct block_req *r)
{
	uint64_t at = r->offset;

	for (unsigned i = 0; i < r->n_vec && !fail; i++) {
		if (r->op == BLOCK_READ && at + r->vec[i].len <= SECTORS * 512)
			memcpy(r->vec[i].base, image + at, r->vec[i].len);
		else if (r->op == BLOCK_WRITE)
			memcpy(image + at, r->vec[i].base, r->vec[i].len);
		at += r->vec[i].len;
	}
	r->done(r, fail);
}

static void submit(struct block *b, struct block_req *r)
{
	assert_true(r->offset <= b->size && r->len <= b->size - r->offset);
	submitted++;
	depth++;
	deepest = MAX(deepest, depth);
	if (hold)
		held[n_held++] = r;
	else
		finish(b, r);
	depth--;
}

static const struct block_ops ops = {.name = "test", .submit = submit};
static struct block disk = {.ops = &ops, .size = SECTORS * 512, .name = "disk"};
static struct block disc = {.ops = &ops, .size = UINT64_C(256) << 20, .name = "disc"};

static void release(void)
{
	hold = false;
	for (unsigned i = 0; i < n_held; i++)
		finish(&disk, held[i]);
	n_held = 0;
}

static struct ahci *ahci;

static uint32_t rd(unsigned port, unsigned reg)
{
	return (uint32_t)bus_read(&vm->mmio, 0, ABAR + 0x100 + port * 0x80 + reg, 4);
}

static void wr(unsigned port, unsigned reg, uint32_t v)
{
	bus_write(&vm->mmio, 0, ABAR + 0x100 + port * 0x80 + reg, 4, v);
	assert_int_equal(fake_locks_held(), 0);
}

static void setup(void)
{
	struct ahci_wiring w = {.slot = 1};

	rig_pci();
	w.host = host;
	w.port[DISK].present = w.port[CD].present = w.port[CD].cdrom = true;
	w.port[DISK].block = &disk;
	w.port[CD].block = &disc;
	assert_int_equal(ahci_create(vm, &w, &ahci), 0);
	pci_cfg_write(host, 8, PCI_COMMAND, 2, PCI_CMD_MEM | PCI_CMD_MASTER);
	image = malloc(SECTORS * 512);
	for (unsigned i = 0; i < SECTORS * 512; i++)
		image[i] = (uint8_t)(i * 7 + i / 512);
	fail = 0;
	hold = false;
	depth = deepest = submitted = n_held = 0;
	for (unsigned p = 0; p < 2; p++) {
		wr(p, 0x00, CLB + p * 0x10000);
		wr(p, 0x08, FB + p * 0x10000);
		wr(p, 0x30, UINT32_MAX); /* SERR */
		wr(p, 0x14, 0x7dc0007f); /* IE */
		wr(p, 0x18, 0x11);       /* ST, FRE */
		wr(p, 0x10, UINT32_MAX); /* IS */
	}
	bus_write(&vm->mmio, 0, ABAR + 8, 4, UINT32_MAX);
	bus_write(&vm->mmio, 0, ABAR + 4, 4, 2);
}

static void teardown(void)
{
	rig_end(vm);
	free(image);
}

/* A command header and its FIS; n descriptors follow by prd(). */
static uint8_t *command(unsigned port, unsigned slot, uint8_t cmd, uint64_t lba, uint32_t count,
			unsigned n)
{
	uint32_t table = CTBA + port * 0x10000 + slot * 0x400;
	uint32_t header[8] = {5 | n << 16, 0, table};
	uint8_t *f = ram + table;

	memcpy(ram + CLB + port * 0x10000 + slot * 32, header, sizeof(header));
	memset(f, 0, 0x80);
	f[0] = 0x27;
	f[1] = 0x80;
	f[2] = cmd;
	f[7] = 0x40;
	for (unsigned i = 0; i < 6; i++)
		f[i < 3 ? 4 + i : 5 + i] = (uint8_t)(lba >> (8 * i));
	if ((cmd & 0xf0) == 0x60) { /* queued */
		f[3] = (uint8_t)count;
		f[11] = (uint8_t)(count >> 8);
		f[12] = (uint8_t)(slot << 3);
	} else {
		f[12] = (uint8_t)count;
		f[13] = (uint8_t)(count >> 8);
	}
	return f;
}

static void prd(uint8_t *f, unsigned i, uint64_t at, uint32_t len)
{
	uint32_t d[4] = {(uint32_t)at, (uint32_t)(at >> 32), 0, len - 1};

	memcpy(f + 0x80 + 16 * i, d, sizeof(d));
}

static void restart(unsigned port)
{
	wr(port, 0x18, 0x10);
	wr(port, 0x30, UINT32_MAX);
	wr(port, 0x10, UINT32_MAX);
	wr(port, 0x18, 0x11);
}

static void test_identify(void **state)
{
	uint8_t *f;

	setup();
	assert_int_equal(rd(DISK, 0x24), 0x101);
	assert_int_equal(rd(CD, 0x24), 0xeb140101);
	assert_int_equal(rd(2, 0x24), 0xffffffff);
	assert_int_equal(rd(DISK, 0x28), 0x123);
	assert_int_equal(rd(2, 0x28), 0);
	assert_int_equal(rd(2, 0x20) & 0xff, 0x7f);
	assert_int_equal(ram[FB + 0x40], 0x34); /* the signature's FIS */

	f = command(DISK, 3, 0xec, 0, 0, 1);
	prd(f, 0, DATA, 512);
	assert_false(rig_pin());
	wr(DISK, 0x38, 1 << 3);
	assert_int_equal(rd(DISK, 0x38), 0);
	assert_int_equal(rd(DISK, 0x10), 2); /* PIO setup, and no other FIS */
	assert_int_equal(rd(DISK, 0x20), 0x50);
	assert_int_equal(ram[FB + 0x20], 0x5f);
	assert_memory_equal(ram + DATA + 54, "IVIG AAHDRIDKS", 14);
	assert_int_equal(ram[DATA + 2 * 75], 31);   /* queue depth */
	assert_int_equal(ram[CLB + 3 * 32 + 5], 2); /* 512 bytes moved */
	assert_int_equal(ram[DATA + 2 * 100], SECTORS & 0xff);
	assert_true(rig_pin());
	wr(DISK, 0x10, 2);
	assert_true(rig_pin());
	bus_write(&vm->mmio, 0, ABAR + 8, 4, 1);
	assert_false(rig_pin());
	/* a port without a drive takes nothing */
	wr(2, 0x18, 0x11);
	wr(2, 0x38, 1);
	assert_int_equal(rd(2, 0x38), 0);
	teardown();
}

static void test_dma(void **state)
{
	uint8_t *f;

	setup();
	f = command(DISK, 0, 0x25, 5, 600, 2); /* READ DMA EXT, more than one buffer */
	prd(f, 0, DATA, 1000);
	prd(f, 1, DATA + 1000, 600 * 512 - 1000);
	wr(DISK, 0x38, 1);
	assert_int_equal(rd(DISK, 0x10), 1);
	assert_memory_equal(ram + DATA, image + 5 * 512, 600 * 512);
	assert_true(submitted > 1 && deepest == 1);

	memset(ram + DATA, 0x5a, 1024);
	f = command(DISK, 1, 0x35, 7, 2, 1);
	prd(f, 0, DATA, 1024);
	wr(DISK, 0x38, 2);
	assert_int_equal(image[7 * 512 + 1023], 0x5a);
	assert_int_equal(image[9 * 512], (uint8_t)(9 * 512 * 7 + 9));
	f = command(DISK, 2, 0x30, 1, 3, 1); /* WRITE SECTORS: PIO, a block each */
	prd(f, 0, DATA, 3 * 512);
	wr(DISK, 0x10, UINT32_MAX);
	wr(DISK, 0x38, 4);
	assert_int_equal(image[512], 0x5a);
	assert_int_equal(rd(DISK, 0x10), 3);

	/* descriptors that are too few: nothing beyond them is touched */
	memset(ram + DATA, 0xee, 4096);
	f = command(DISK, 3, 0x25, 0, 4, 1);
	prd(f, 0, DATA, 700);
	wr(DISK, 0x38, 8);
	assert_int_equal(rd(DISK, 0x10) & 0x41000000, 0x41000000); /* TFES, OFS */
	assert_int_equal(ram[DATA + 699], image[699]);
	assert_int_equal(ram[DATA + 700], 0xee);
	assert_int_equal(rd(DISK, 0x38), 8); /* stays issued */
	assert_int_equal(rd(DISK, 0x18) >> 8 & 31, 3);
	restart(DISK);
	assert_int_equal(rd(DISK, 0x38), 0);
	teardown();
}

static void test_error(void **state)
{
	uint8_t *f;

	setup();
	fail = ERR_IO;
	f = command(DISK, 0, 0x25, 100, 1, 1);
	prd(f, 0, DATA, 512);
	wr(DISK, 0x38, 1);
	assert_int_equal(rd(DISK, 0x20), 0x4051); /* UNC */
	assert_int_equal(rd(DISK, 0x10), 0x40000001);
	assert_int_equal(ram[FB + 0x40 + 4], 100);
	wr(DISK, 0x38, 2); /* halted: not looked at */
	assert_int_equal(rd(DISK, 0x38), 3);
	restart(DISK);

	/* queued: none is over, and the log says which it was */
	f = command(DISK, 9, 0x60, 0x123, 1, 1);
	prd(f, 0, DATA, 512);
	wr(DISK, 0x34, 1 << 9);
	wr(DISK, 0x38, 1 << 9);
	assert_int_equal(rd(DISK, 0x34), 1 << 9);
	assert_int_equal(rd(DISK, 0x38), 0);
	assert_int_equal(rd(DISK, 0x10), 0x40000008);
	restart(DISK);
	fail = 0;
	f = command(DISK, 0, 0x2f, 0x10, 1, 1);
	prd(f, 0, DATA, 512);
	wr(DISK, 0x38, 1);
	assert_int_equal(ram[DATA], 9);
	assert_int_equal(ram[DATA + 3], 0x40);
	assert_int_equal(ram[DATA + 4] | ram[DATA + 5] << 8, 0x123);
	uint8_t sum = 0;
	for (unsigned i = 0; i < 512; i++)
		sum = (uint8_t)(sum + ram[DATA + i]);
	assert_int_equal(sum, 0);
	/* beyond the end, both ways */
	command(DISK, 1, 0x25, SECTORS, 1, 0);
	wr(DISK, 0x38, 2);
	assert_int_equal(rd(DISK, 0x20), 0x1051);
	restart(DISK);
	command(DISK, 1, 0x61, SECTORS - 1, 2, 0);
	wr(DISK, 0x38, 2);
	assert_int_equal(rd(DISK, 0x20), 0x1051);
	teardown();
}

static void test_queue(void **state)
{
	uint8_t *f;

	setup();
	hold = true;
	for (unsigned i = 0; i < 32; i++) {
		f = command(DISK, i, 0x60, 10 * i, 1, 1);
		prd(f, 0, DATA + 512 * i, 512);
	}
	wr(DISK, 0x34, UINT32_MAX);
	wr(DISK, 0x38, UINT32_MAX);
	assert_int_equal(submitted, 32);
	assert_int_equal(rd(DISK, 0x38), 0);
	assert_int_equal(rd(DISK, 0x34), UINT32_MAX);
	/* one that is not queued waits for all */
	f = command(DISK, 4, 0xec, 0, 0, 1);
	prd(f, 0, 0x1000, 512);
	wr(DISK, 0x38, 1 << 4);
	assert_int_equal(rd(DISK, 0x38), 1 << 4);
	release();
	assert_int_equal(rd(DISK, 0x34), 0);
	assert_int_equal(rd(DISK, 0x38), 0);
	for (unsigned i = 0; i < 32; i++)
		assert_memory_equal(ram + DATA + 512 * i, image + 5120 * i, 512);

	/* 3000 pieces of 2 bytes, then one of the rest: steps end amid descriptors */
	f = ram + 0x60000;
	for (unsigned i = 0; i < 3000; i++)
		prd(f, i, DATA + 2 * i, 2);
	prd(f, 3000, DATA + 6000, 20 * 512 - 6000);
	memset(ram + DATA, 0, 20 * 512);
	memcpy(f, command(DISK, 0, 0x60, 40, 20, 3001), 0x40);
	((uint32_t *)(void *)(ram + CLB))[2] = 0x60000;
	submitted = 0;
	wr(DISK, 0x34, 1);
	wr(DISK, 0x38, 1);
	assert_memory_equal(ram + DATA, image + 40 * 512, 20 * 512);
	assert_int_equal(rd(DISK, 0x34), 0);
	assert_true(submitted > 10);
	teardown();
}

/* ST cleared, then COMRESET, with requests at the disk: they come to nothing, and are waited for. */
static void test_stop(void **state)
{
	uint8_t *f;

	setup();
	hold = true;
	f = command(DISK, 0, 0x60, 0, 1, 1);
	prd(f, 0, DATA, 512);
	wr(DISK, 0x34, 1);
	wr(DISK, 0x38, 1);
	wr(DISK, 0x18, 0x10);
	assert_true(rd(DISK, 0x18) & 0x8000);
	assert_int_equal(rd(DISK, 0x34), 0);
	wr(DISK, 0x10, UINT32_MAX);
	wr(DISK, 0x18, 0x11); /* without waiting, as it should */
	wr(DISK, 0x34, 1);
	wr(DISK, 0x38, 1);
	assert_int_equal(submitted, 1);
	release();
	assert_int_equal(submitted, 2);
	assert_int_equal(rd(DISK, 0x34), 0);
	assert_int_equal(rd(DISK, 0x10), 8); /* of the second one only */

	hold = true;
	f = command(DISK, 0, 0x25, 0, 1, 1);
	prd(f, 0, DATA, 512);
	wr(DISK, 0x38, 1);
	wr(DISK, 0x18, 0x10);
	wr(DISK, 0x2c, 1);
	assert_int_equal(rd(DISK, 0x28), 0);
	wr(DISK, 0x2c, 0);
	assert_int_equal(rd(DISK, 0x28), 0x123);
	assert_true(rd(DISK, 0x30) & (1 << 26));
	assert_int_equal(rd(DISK, 0x20), 0x7f); /* until the buffer is free again */
	memset(ram + DATA, 0, 512);
	release();
	assert_int_equal(ram[DATA + 100], 0);
	assert_int_equal(rd(DISK, 0x20), 0x150);
	assert_int_equal(rd(DISK, 0x24), 0x101);

	/* software reset: a FIS with SRST, one without */
	wr(DISK, 0x18, 0x11);
	f = command(DISK, 0, 0, 0, 0, 0);
	f[1] = 0;
	f[15] = 4;
	wr(DISK, 0x38, 1);
	assert_int_equal(rd(DISK, 0x38), 0);
	f = command(DISK, 1, 0, 0, 0, 0);
	f[1] = 0;
	ram[FB + 0x40] = 0;
	wr(DISK, 0x38, 2);
	assert_int_equal(rd(DISK, 0x38), 0);
	assert_int_equal(rd(DISK, 0x20), 0x150);
	assert_int_equal(ram[FB + 0x40], 0x34);
	teardown();
}

static void test_cd(void **state)
{
	static const uint8_t inquiry[12] = {0x12, 0, 0, 0, 36};
	static const uint8_t read12[12] = {0xa8, 0, 0, 0, 0, 0, 0, 2, 0, 0}; /* 256 MiB */
	uint8_t *f;

	setup();
	/* a medium that is new */
	f = command(CD, 0, 0xa0, 0, 0, 0);
	wr(CD, 0x38, 1);
	assert_int_equal(rd(CD, 0x20) >> 12, 6);
	restart(CD);
	f = command(CD, 0, 0xa0, 0, 0, 1); /* PIO */
	f[5] = 0x00;
	f[6] = 0x08;
	memcpy(f + 0x40, inquiry, 12);
	prd(f, 0, DATA, 36);
	wr(CD, 0x38, 1);
	assert_memory_equal(ram + DATA + 8, "VIGIA   CD-ROM  ", 16);
	assert_int_equal(rd(CD, 0x10), 3); /* data, then the end */

	/* the whole disc into the same memory: steps follow each other without nesting */
	f = command(CD, 0, 0xa0, 0, 0, 0);
	((uint32_t *)(void *)(ram + CLB + 0x10000))[0] = 5 | 512 << 16;
	f = memcpy(ram + 0x60000, f, 0x80);
	((uint32_t *)(void *)(ram + CLB + 0x10000))[2] = 0x60000;
	f[3] = 1;
	memcpy(f + 0x40, read12, 12);
	for (unsigned i = 0; i < 512; i++)
		prd(f, i, DATA * 2, 512 * 1024);
	submitted = deepest = 0;
	wr(CD, 0x38, 1);
	assert_int_equal(rd(CD, 0x20), 0x50);
	assert_int_equal(submitted, 2048);
	assert_int_equal(deepest, 1);

	assert_int_equal(ahci_change_disc(ahci, CD, NULL, false), 0);
	assert_int_equal(ahci_change_disc(ahci, DISK, NULL, false), ERR_INVAL);
	wr(CD, 0x38, 1);
	assert_int_equal(rd(CD, 0x20) >> 12, 6);
	restart(CD);
	wr(CD, 0x38, 1);
	assert_int_equal(rd(CD, 0x20) >> 12, 2); /* not ready */
	teardown();
}

/* A command without data, or with up to 64 bytes that go to DATA; gives the sense key. */
static uint32_t cdb(uint8_t op, uint8_t b1, uint8_t b4, uint8_t len_at, uint8_t len)
{
	uint8_t *f = command(CD, 0, 0xa0, 0, 0, len ? 1 : 0), p[12] = {op, b1, 0, 0, b4};

	f[5] = 0x00;
	f[6] = 0x08;
	if (len)
		p[len_at] = len;
	memcpy(f + 0x40, p, 12);
	if (len)
		prd(f, 0, DATA, 64);
	memset(ram + DATA, 0xee, 64);
	wr(CD, 0x38, 1);
	if (rd(CD, 0x20) & 1) {
		uint32_t key = rd(CD, 0x20) >> 12;

		restart(CD);
		return key;
	}
	return 0;
}

static void expect_sense(uint8_t key, uint8_t asc, uint8_t ascq)
{
	assert_int_equal(cdb(0x03, 0, 18, 4, 18), 0);
	assert_int_equal(ram[DATA + 2], key);
	assert_int_equal(ram[DATA + 12], asc);
	assert_int_equal(ram[DATA + 13], ascq);
}

static void expect_event(uint8_t event, uint8_t drive)
{
	uint8_t *f = command(CD, 0, 0xa0, 0, 0, 1);
	const uint8_t p[12] = {0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8};

	f[5] = 0x00;
	f[6] = 0x08;
	memcpy(f + 0x40, p, 12);
	prd(f, 0, DATA, 8);
	wr(CD, 0x38, 1);
	assert_int_equal(rd(CD, 0x20) & 1, 0);
	assert_int_equal(ram[DATA + 4], event);
	assert_int_equal(ram[DATA + 5], drive);
}

static void test_tray(void **state)
{
	setup();
	assert_int_equal(cdb(0, 0, 0, 0, 0), 6);
	assert_int_equal(cdb(0, 0, 0, 0, 0), 0);
	assert_int_equal(cdb(0x1e, 0, 1, 0, 0), 0); /* locked */
	assert_int_equal(cdb(0x1b, 0, 2, 0, 0), 5);
	expect_sense(5, 0x53, 2);
	assert_int_equal(cdb(0x1e, 0, 0, 0, 0), 0);
	assert_int_equal(cdb(0x1b, 0, 0, 0, 0), 0); /* stops, but does not eject */
	assert_int_equal(cdb(0, 0, 0, 0, 0), 0);
	expect_event(0, 2);
	assert_int_equal(cdb(0x1b, 0, 2, 0, 0), 0);
	assert_int_equal(cdb(0, 0, 0, 0, 0), 2);
	expect_sense(2, 0x3a, 2);
	assert_int_equal(cdb(0x25, 0, 0, 0, 0), 2);
	expect_event(3, 1);
	assert_int_equal(cdb(0x1b, 0, 3, 0, 0), 0);
	expect_event(2, 2);
	assert_int_equal(cdb(0, 0, 0, 0, 0), 6);
	expect_sense(6, 0x28, 0);
	assert_int_equal(cdb(0, 0, 0, 0, 0), 0);
	/* who puts in another disc closes it; who takes it out leaves an empty drive */
	assert_int_equal(cdb(0x1b, 0, 2, 0, 0), 0);
	assert_int_equal(ahci_change_disc(ahci, CD, &disc, false), 0);
	expect_event(2, 2);
	assert_int_equal(cdb(0, 0, 0, 0, 0), 6);
	assert_int_equal(cdb(0, 0, 0, 0, 0), 0);
	assert_int_equal(ahci_change_disc(ahci, CD, NULL, false), 0);
	expect_event(3, 0);
	assert_int_equal(cdb(0, 0, 0, 0, 0), 6);
	assert_int_equal(cdb(0, 0, 0, 0, 0), 2);
	expect_sense(2, 0x3a, 1);
	teardown();
}

static void test_nonsense(void **state)
{
	static const struct rig_range range[] = {{ABAR, 0x400}};
	struct rig_random r = rig_random();
	uint8_t *f;

	setup();
	f = command(DISK, 0, 0x60, 0, 8, 1);
	prd(f, 0, 0xfffffff0, 4096); /* no RAM */
	wr(DISK, 0x38, 1);
	assert_int_equal(rd(DISK, 0x10), 0x40000008);
	restart(DISK);
	f = command(DISK, 0, 0x25, 0, 8, 1);
	prd(f, 0, 0xfffffff0, 4096); /* by the buffer, that is lost */
	wr(DISK, 0x38, 1);
	assert_int_equal(rd(DISK, 0x10), 1);
	ram[CLB] = 0; /* no FIS */
	wr(DISK, 0x38, 1);
	assert_int_equal(rd(DISK, 0x10) & 1u << 27, 1u << 27);
	restart(DISK);
	wr(DISK, 0x18, 0x10);
	wr(DISK, 0x00, 0xfff00000); /* a list where there is no RAM */
	wr(DISK, 0x18, 0x11);
	wr(DISK, 0x38, UINT32_MAX);
	assert_int_equal(rd(DISK, 0x10) & 1u << 27, 1u << 27);
	restart(DISK);
	/* all in one place: list, table, FISes, data */
	for (unsigned n = 0; n < 3000; n++) {
		uint8_t cmds[] = {0xec, 0x25, 0x35, 0x60, 0x61, 0xa0, 0x20, 0x30, 0xa1, 0x2f, 0xea};
		unsigned port = n & 1, slot = n % 32;

		if (n % 8 == 0) {
			wr(port, 0x18, 0);
			wr(port, 0x00, (uint32_t)rig_next(&r) & 0x1fffff);
			wr(port, 0x08, (uint32_t)rig_next(&r) & 0x1fffff);
			wr(port, 0x18, 0x11);
		}
		f = command(port, slot, cmds[rig_next(&r) % sizeof(cmds)], rig_next(&r) % SECTORS,
			    (uint32_t)(rig_next(&r) % 100), (unsigned)(rig_next(&r) % 50));
		for (unsigned i = 0; i < 20; i++)
			prd(f, i, rig_next(&r) & 0x2fffff, 1 + (uint32_t)(rig_next(&r) % 65536));
		wr(port, 0x00, CLB + port * 0x10000);
		if (rig_next(&r) % 4 == 0)
			wr(port, 0x08, (uint32_t)(f - ram) & ~0xffu);
		hold = n_held < 60 && rig_next(&r) % 2;
		wr(port, 0x34, 1u << slot);
		wr(port, 0x38, 1u << slot);
		if (n_held > 20)
			release();
		rig_garbage(vm, &vm->mmio, range, 1, 4, &r);
	}
	release();
	teardown();
}

static void test_frozen(void **state)
{
	struct dev *dev;
	uint8_t *f;

	setup();
	for (dev = vm->devs; strcmp(dev->cls->name, "ahci") != 0; dev = dev->next)
		;
	f = command(DISK, 0, 0x25, 0, 1, 1);
	prd(f, 0, DATA, 512);
	pci_cfg_write(host, 8, PCI_COMMAND, 2, PCI_CMD_MEM); /* no bus master: waits */
	wr(DISK, 0x38, 1);
	assert_int_equal(submitted, 0);
	pci_cfg_write(host, 8, PCI_COMMAND, 2, PCI_CMD_MEM | PCI_CMD_MASTER);
	assert_int_equal(dev->cls->freeze(dev, true), 0);
	assert_int_equal(submitted, 0);
	assert_int_equal(dev->cls->freeze(dev, false), 0);
	assert_int_equal(submitted, 1);
	assert_int_equal(rd(DISK, 0x38), 0);
	teardown();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_identify), cmocka_unit_test(test_dma),
		cmocka_unit_test(test_error),    cmocka_unit_test(test_queue),
		cmocka_unit_test(test_stop),     cmocka_unit_test(test_cd),
		cmocka_unit_test(test_tray),     cmocka_unit_test(test_nonsense),
		cmocka_unit_test(test_frozen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
