/* SPDX-License-Identifier: ISC */
/* test_virtio_blk.c: the virtio core, its PCI transport and the block device, driven as a guest's
 * driver does it, over a disk of RAM that answers at once, later, out of order, or with errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "block/block.h"
#include "dev/virtio/blk.h"
#include "tests/unit/virtio_rig.h"

#define DISK_SIZE (256 * KIB)
#define BLK       2
#define RING      (VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC)
#define F_RO      BIT64(5)
#define F_ALL     (RING | BIT64(2) | BIT64(6) | BIT64(9) | BIT64(10) | BIT64(13) | BIT64(14))

/* ---- a disk of RAM ---------------------------------------------------------------------------- */

struct disk {
	struct block b;
	uint8_t data[DISK_SIZE];
	bool deferred;
	int fail; /* error for all requests */
	struct block_req *held[256];
	unsigned n_held, flushes, discards, zeroes, submitted;
};

static int disk_do(struct disk *d, struct block_req *r)
{
	uint64_t at = r->offset;

	if (d->fail)
		return d->fail;
	d->flushes += r->op == BLOCK_FLUSH;
	d->discards += r->op == BLOCK_DISCARD;
	d->zeroes += r->op == BLOCK_ZERO;
	if (r->op == BLOCK_ZERO || r->op == BLOCK_DISCARD)
		memset(d->data + at, 0, r->len);
	if (r->op != BLOCK_READ && r->op != BLOCK_WRITE)
		return 0;
	for (unsigned i = 0; i < r->n_vec; i++) {
		if (r->op == BLOCK_READ)
			memcpy(r->vec[i].base, d->data + at, r->vec[i].len);
		else
			memcpy(d->data + at, r->vec[i].base, r->vec[i].len);
		at += r->vec[i].len;
	}
	assert_int_equal(at - r->offset, r->len);
	return 0;
}

static void disk_submit(struct block *b, struct block_req *r)
{
	struct disk *d = container_of(b, struct disk, b);

	assert_int_equal(fake_locks_held(), 0);
	assert_true(r->offset % 512 == 0 && r->len % 512 == 0 && r->offset + r->len <= DISK_SIZE);
	d->submitted++;
	if (!d->deferred) {
		r->done(r, disk_do(d, r));
		return;
	}
	assert_true(d->n_held < ARRAY_SIZE(d->held));
	d->held[d->n_held++] = r;
}

static void disk_answer(struct disk *d, unsigned i)
{
	struct block_req *r = d->held[i];

	d->held[i] = d->held[--d->n_held];
	r->done(r, disk_do(d, r));
}

static const struct block_ops disk_ops = {.name = "ram", .submit = disk_submit};

/* ---- the machine -------------------------------------------------------------------------------- */

static struct rig rig;
static struct disk disk;
static struct drv drv;
static struct virtio_dev *vd;
static gpa_t page; /* header at 0, range at 32, status at 64, data at 4096 */

static void machine(bool read_only)
{
	struct virtio_blk_wiring w = {
		.blk = &disk.b, .serial = "VIGIA0123456789abcdefg", .slot = -1};

	rig_init(&rig, true);
	memset(&disk, 0, sizeof(disk));
	disk.b.ops = &disk_ops;
	disk.b.size = DISK_SIZE;
	disk.b.read_only = read_only;
	strcpy(disk.b.name, "test.img");
	assert_int_equal(virtio_blk_create(rig.vm, rig.host, &w, &vd), 0);
	assert_true(drv_find(&drv, &rig, BLK, 0));
	page = rig_alloc(&rig, 0x40000, 4096);
}

static void up(uint64_t features, unsigned size, bool msix)
{
	assert_true(drv_negotiate(&drv, features & drv_offered(&drv)));
	if (msix)
		drv_msix(&drv, 2);
	if (msix)
		drv_wr(&drv, 16, 2, 0);
	drv_queue(&drv, 0, size);
	drv_ok(&drv);
	assert_int_equal(drv_rd(&drv, 20, 1), 0xf);
}

static int setup(void **state)
{
	machine(false);
	return 0;
}

static int teardown(void **state)
{
	fake_loop_run();
	rig_fini(&rig);
	assert_int_equal(fake_locks_held(), 0);
	assert_int_equal(fake_alloc_live(), 0);
	return 0;
}

static void header(gpa_t at, unsigned type, uint64_t sector)
{
	rig_put(&rig, at, 4, type);
	rig_put(&rig, at + 4, 4, 0);
	rig_put(&rig, at + 8, 8, sector);
}

static void again(uint64_t features)
{
	drv_wr(&drv, 20, 1, 0);
	while (drv_rd(&drv, 20, 1) && disk.n_held)
		disk_answer(&disk, 0);
	assert_int_equal(drv_rd(&drv, 20, 1), 0);
	drv_wr(&drv, 20, 1, 1);
	drv_wr(&drv, 20, 1, 3);
	up(features, 0, true);
}

/* One request in pieces of its own; gives the status byte, or -1 when nothing came back. */
static int request(unsigned type, uint64_t sector, uint32_t len, uint32_t *used)
{
	bool write = type == 1 || type == 11 || type == 13;
	struct drv_seg seg[] = {
		{page, 16, false}, {page + 4096, len, !write}, {page + 64, 1, true}};
	uint32_t got = 0;
	void *cookie;

	header(page, type, sector);
	rig_put(&rig, page + 64, 1, 0xee);
	if (!len)
		seg[1] = seg[2];
	assert_true(drv_add(&drv, &drv.q[0], seg, len ? 3 : 2, false, NULL));
	drv_kick(&drv, 0);
	while (disk.n_held)
		disk_answer(&disk, 0);
	if (!drv_get(&drv, 0, &cookie, &got))
		return -1;
	if (used)
		*used = got;
	return (int)rig_get(&rig, page + 64, 1);
}

/* ---- tests ---------------------------------------------------------------------------------------- */

static void test_identity(void **state)
{
	assert_int_equal(drv_offered(&drv), F_ALL);
	assert_int_equal(cfg_rd(&rig, drv.devfn, 0x0b, 1), 1);
	assert_int_equal(cfg_rd(&rig, drv.devfn, 8, 1), 1);
	assert_int_equal(drv_rd(&drv, 18, 2), 1);
	assert_int_equal(drv_config(&drv, 0, 4), DISK_SIZE / 512);
	assert_int_equal(drv_config(&drv, 0, 8), DISK_SIZE / 512);
	assert_int_equal(drv_config(&drv, 4, 4), 0);
	assert_int_equal(drv_config(&drv, 12, 4), 254);
	assert_int_equal(drv_config(&drv, 20, 4), 512);
	assert_int_equal(drv_config(&drv, 58, 4), 0);
	assert_int_equal(drv_config(&drv, 60, 4), 0);
	drv_wr(&drv, 22, 2, 0);
	assert_int_equal(drv_rd(&drv, 24, 2), 256);
	drv_wr(&drv, 24, 2, 100); /* not a power of two: not taken */
	assert_int_equal(drv_rd(&drv, 24, 2), 256);
	drv_wr(&drv, 24, 2, 512);
	assert_int_equal(drv_rd(&drv, 24, 2), 256);
	drv_wr(&drv, 32, 4, 0x11223344);
	drv_wr(&drv, 36, 4, 0x55);
	assert_int_equal(drv_rd(&drv, 32, 8), 0x5511223344);
	assert_int_equal(drv_rd(&drv, 34, 4), 0x551122);
	drv_wr(&drv, 26, 2, 1);
	assert_int_equal(drv_rd(&drv, 26, 2), 1);
	drv_wr(&drv, 26, 2, 2); /* there are two vectors */
	assert_int_equal(drv_rd(&drv, 26, 2), 0xffff);
	drv_wr(&drv, 22, 2, 1);
	assert_int_equal(drv_rd(&drv, 24, 2), 0);
	drv_wr(&drv, 28, 2, 1);
	assert_int_equal(drv_rd(&drv, 28, 2), 0);
}

static void test_negotiation(void **state)
{
	/* what was not offered, or without VERSION_1: refused, and DRIVER_OK then has no effect */
	assert_false(drv_negotiate(&drv, RING | BIT64(63)));
	drv_ok(&drv);
	assert_int_equal(drv_rd(&drv, 20, 1), 3);
	assert_false(drv_negotiate(&drv, BIT64(9)));
	assert_true(drv_negotiate(&drv, RING));
	/* fixed from then on; bits of status are only added */
	drv_wr(&drv, 8, 4, 0);
	drv_wr(&drv, 12, 4, 0);
	assert_int_equal(drv_rd(&drv, 12, 4), (uint32_t)RING);
	drv_wr(&drv, 20, 1, 1);
	assert_int_equal(drv_rd(&drv, 20, 1), 0xb);
	drv_wr(&drv, 20, 1, 0x40); /* NEEDS_RESET is not the driver's */
	assert_int_equal(drv_rd(&drv, 20, 1), 0xb);
	drv_wr(&drv, 20, 1, 0);
	assert_int_equal(drv_rd(&drv, 20, 1), 0);
	assert_int_equal(drv_rd(&drv, 12, 4), 0);
}

static void test_requests(void **state)
{
	uint32_t used;

	up(F_ALL, 0, true);
	for (unsigned i = 0; i < 1024; i++)
		rig_put(&rig, page + 4096 + i, 1, i * 7);
	assert_int_equal(request(1, 3, 1024, &used), 0);
	assert_int_equal(used, 1);
	assert_memory_equal(disk.data + 3 * 512, rig_at(&rig, page + 4096), 1024);
	assert_int_equal(rig.msi[1], 1);
	memset(rig_at(&rig, page + 4096), 0, 1024);
	assert_int_equal(request(0, 4, 512, &used), 0);
	assert_int_equal(used, 513);
	assert_memory_equal(disk.data + 4 * 512, rig_at(&rig, page + 4096), 512);
	assert_int_equal(rig_get(&rig, page + 4096 + 512, 4), 0);
	assert_int_equal(request(4, 0, 0, NULL), 0);
	assert_int_equal(disk.flushes, 1);

	assert_int_equal(request(8, 0, 20, &used), 0);
	assert_int_equal(used, 21);
	assert_memory_equal(rig_at(&rig, page + 4096), "VIGIA0123456789abcde", 20);

	/* discard and write zeroes of one range */
	memset(disk.data, 0xaa, DISK_SIZE);
	rig_put(&rig, page + 4096, 8, 10);
	rig_put(&rig, page + 4104, 4, 3);
	rig_put(&rig, page + 4108, 4, 0);
	assert_int_equal(request(11, 0, 16, NULL), 0);
	assert_int_equal(disk.discards, 1);
	assert_int_equal(disk.data[10 * 512 - 1], 0xaa);
	assert_int_equal(disk.data[10 * 512], 0);
	assert_int_equal(disk.data[13 * 512], 0xaa);
	rig_put(&rig, page + 4108, 4, 1);
	assert_int_equal(request(13, 0, 16, NULL), 0);
	assert_int_equal(disk.zeroes, 1);
	assert_int_equal(request(11, 0, 16, NULL), 2);
	rig_put(&rig, page + 4108, 4, 2);
	assert_int_equal(request(13, 0, 16, NULL), 2);
	rig_put(&rig, page + 4108, 4, 0);
	assert_int_equal(request(13, 0, 32, NULL), 1);
	assert_int_equal(request(13, 0, 8, NULL), 1);
	rig_put(&rig, page + 4096, 8, UINT64_MAX);
	assert_int_equal(request(13, 0, 16, NULL), 1);
	rig_put(&rig, page + 4096, 8, DISK_SIZE / 512 - 2);
	assert_int_equal(request(13, 0, 16, NULL), 1);

	/* beyond the end, odd lengths, unknown types */
	assert_int_equal(request(0, DISK_SIZE / 512, 512, NULL), 1);
	assert_int_equal(request(0, DISK_SIZE / 512 - 1, 1024, NULL), 1);
	assert_int_equal(request(0, UINT64_MAX, 512, NULL), 1);
	assert_int_equal(request(0, UINT64_MAX / 512 + 1, 512, NULL), 1);
	assert_int_equal(request(0, 0, 511, NULL), 1);
	assert_int_equal(request(0, DISK_SIZE / 512, 0, NULL), 0);
	assert_int_equal(request(77, 0, 512, NULL), 2);
	disk.fail = ERR_IO;
	assert_int_equal(request(0, 0, 512, &used), 1);
	assert_int_equal(used, 1);
	assert_int_equal(request(4, 0, 0, NULL), 1);
	assert_int_equal(drv_rd(&drv, 20, 1), 0xf);
}

static void test_read_only(void **state)
{
	teardown(NULL);
	machine(true);
	assert_int_equal(drv_offered(&drv), (F_ALL & ~(BIT64(13) | BIT64(14))) | F_RO);
	up(F_ALL | F_RO, 0, true);
	assert_int_equal(request(1, 0, 512, NULL), 1);
	assert_int_equal(request(11, 0, 16, NULL), 1);
	assert_int_equal(request(0, 0, 512, NULL), 0);
	assert_int_equal(request(4, 0, 0, NULL), 0);
}

/* Headers and status bytes cut anywhere: the device must not depend on the driver's pieces. */
static void test_framing(void **state)
{
	struct drv_seg seg[] = {{page, 7, false},
				{page + 7, 9, false},
				{page + 4096, 100, true},
				{page + 0x8000, 411, true},
				{page + 0x9000, 2, true}};
	void *cookie;
	uint32_t len;

	up(F_ALL, 0, true);
	for (unsigned i = 0; i < 512; i++)
		disk.data[i] = (uint8_t)(i * 3);
	header(page, 0, 0);
	for (unsigned indirect = 0; indirect < 2; indirect++) {
		memset(rig_at(&rig, page + 0x8000), 0, 0x1002);
		rig_put(&rig, page + 0x9001, 1, 0xee);
		assert_true(drv_add(&drv, &drv.q[0], seg, 5, indirect, NULL));
		drv_kick(&drv, 0);
		assert_true(drv_get(&drv, 0, &cookie, &len));
		assert_int_equal(len, 513);
		assert_int_equal(rig_get(&rig, page + 0x9001, 1), 0);
		assert_memory_equal(rig_at(&rig, page + 4096), disk.data, 100);
		assert_memory_equal(rig_at(&rig, page + 0x8000), disk.data + 100, 411);
		assert_int_equal(rig_get(&rig, page + 0x9000, 1), disk.data[511]);
	}
}

static void test_intx(void **state)
{
	up(RING, 0, false);
	assert_int_equal(request(0, 0, 512, NULL), 0);
	assert_true(rig.wire[1]);
	assert_int_equal(bus_read(&rig.vm->mmio, 0, drv.isr, 1), 1);
	assert_false(rig.wire[1]);
	assert_int_equal(bus_read(&rig.vm->mmio, 0, drv.isr, 1), 0);
	disk.b.size -= 512;
	virtio_blk_resized(vd);
	assert_true(rig.wire[1]);
	assert_int_equal(drv_rd(&drv, 21, 1), 1);
	assert_int_equal(bus_read(&rig.vm->mmio, 0, drv.isr, 1), 2);
	assert_int_equal(drv_config(&drv, 0, 4), DISK_SIZE / 512 - 1);
	assert_int_equal(request(0, 0, 512, NULL), 0);
	assert_true(rig.wire[1]);
	drv_wr(&drv, 20, 1, 0);
	assert_false(rig.wire[1]);
}

/* Thousands of requests of random kinds in random batches, answered out of order, against a shadow. */
struct job {
	gpa_t at; /* header, status at 16, data at 512 */
	unsigned type, sector, sectors;
	bool busy;
};

static void storm(uint64_t features, unsigned size, unsigned rounds, bool msix, uint64_t seed)
{
	static uint8_t shadow[DISK_SIZE];
	static bool locked[DISK_SIZE / 512];
	static struct job job[64];
	unsigned done = 0, in_flight = 0, irqs = 0;
	void *cookie;
	uint32_t len;

	up(features, size, msix);
	memset(locked, 0, sizeof(locked));
	memcpy(shadow, disk.data, sizeof(shadow));
	for (unsigned i = 0; i < ARRAY_SIZE(job); i++) {
		if (!job[i].at)
			job[i].at = rig_alloc(&rig, 512 + 8 * 512, 512);
		job[i].busy = false;
	}
	disk.deferred = true;
	while (done < rounds) {
		for (unsigned n = (unsigned)(rig_rand(&seed) % 40); n; n--) {
			uint64_t x = rig_rand(&seed);
			struct job *j = &job[x % ARRAY_SIZE(job)];
			unsigned sector = (unsigned)(x >> 8) % (DISK_SIZE / 512 - 8);
			unsigned sectors = 1 + (unsigned)(x >> 32) % 8, k = 2;
			struct drv_seg seg[12] = {{j->at, 16, false}};
			bool free = !j->busy;

			for (unsigned i = 0; i < sectors; i++)
				free &= !locked[sector + i];
			if (!free)
				continue;
			j->type = x >> 40 & 1;
			/* data in pieces of random lengths */
			uint32_t left = 512 * sectors, pos = 0;
			for (k = 1; left; k++) {
				uint32_t part =
					k == 8 ? left : 1 + (uint32_t)(rig_rand(&seed) % left);

				seg[k] = (struct drv_seg){j->at + 512 + pos, part, !j->type};
				pos += part;
				left -= part;
			}
			seg[k++] = (struct drv_seg){j->at + 16, 1, true};
			header(j->at, j->type, sector);
			rig_put(&rig, j->at + 16, 1, 0xee);
			if (!drv_add(&drv, &drv.q[0], seg, k, drv.indirect && (x >> 41 & 3), j))
				continue;
			for (unsigned i = 0; i < sectors; i++)
				locked[sector + i] = true;
			if (j->type) {
				uint8_t *p = rig_at(&rig, j->at + 512);

				for (unsigned i = 0; i < 512 * sectors; i += 8)
					memcpy(p + i, &(uint64_t){rig_rand(&seed)}, 8);
				memcpy(shadow + 512 * sector, p, 512 * sectors);
			}
			j->sector = sector;
			j->sectors = sectors;
			j->busy = true;
			in_flight++;
		}
		drv_kick(&drv, 0);
		disk.deferred = rig_rand(&seed) & 1;
		for (unsigned n = (unsigned)(rig_rand(&seed) % 40); n && disk.n_held; n--)
			disk_answer(&disk, (unsigned)(rig_rand(&seed) % disk.n_held));
		/* a driver looks only when interrupted */
		if (msix ? rig.msi[1] == irqs : !rig.wire[1]) {
			assert_int_equal(in_flight, disk.n_held);
			continue;
		}
		irqs = rig.msi[1];
		if (!msix)
			bus_read(&rig.vm->mmio, 0, drv.isr, 1);
		while (drv_get(&drv, 0, &cookie, &len)) {
			struct job *j = cookie;

			assert_int_equal(rig_get(&rig, j->at + 16, 1), 0);
			assert_int_equal(len, j->type ? 1 : 512 * j->sectors + 1);
			assert_memory_equal(rig_at(&rig, j->at + 512), shadow + 512 * j->sector,
					    512 * j->sectors);
			for (unsigned i = 0; i < j->sectors; i++)
				locked[j->sector + i] = false;
			j->busy = false;
			in_flight--;
			done++;
		}
	}
	while (disk.n_held)
		disk_answer(&disk, 0);
	disk.deferred = false;
	assert_memory_equal(shadow, disk.data, DISK_SIZE);
	assert_int_equal(drv_rd(&drv, 20, 1), 0xf);
}

static void storm_of(uint64_t features, unsigned size, unsigned rounds, bool msix, uint64_t seed)
{
	print_message("seed %llu\n", (unsigned long long)seed);
	storm(features, size, rounds, msix, seed);
}

static void test_storm_all(void **state)
{
	storm_of(F_ALL, 256, 100000, true, 1);
}

static void test_storm_event(void **state)
{
	storm_of(F_ALL & ~VIRTIO_F_INDIRECT_DESC, 64, 30000, true, 2);
}

static void test_storm_plain(void **state)
{
	storm_of(VIRTIO_F_VERSION_1, 32, 30000, false, 3);
}

static void test_storm_tiny(void **state)
{
	storm_of(F_ALL, 2, 10000, true, 4);
}

/* A driver that resets while requests are in flight sees the status turn 0 only afterwards. */
static void test_reset_in_flight(void **state)
{
	struct drv_seg seg[] = {{page, 16, false}, {page + 4096, 512, true}, {page + 64, 1, true}};

	up(F_ALL, 0, true);
	header(page, 0, 0);
	disk.deferred = true;
	for (unsigned i = 0; i < 5; i++)
		assert_true(drv_add(&drv, &drv.q[0], seg, 3, true, NULL));
	drv_kick(&drv, 0);
	assert_int_equal(disk.n_held, 5);
	drv_wr(&drv, 20, 1, 0);
	assert_int_equal(drv_rd(&drv, 20, 1), 0xf);
	drv_wr(&drv, 20, 1, 1); /* in vain until then */
	bus_write(&rig.vm->mmio, 0, drv.notify, 2, 0);
	while (disk.n_held > 1)
		disk_answer(&disk, 0);
	assert_int_equal(drv_rd(&drv, 20, 1), 0xf);
	disk_answer(&disk, 0);
	assert_int_equal(drv_rd(&drv, 20, 1), 0);
	assert_int_equal(rig.msi[1], 0);
	disk.deferred = false;
	drv_wr(&drv, 20, 1, 1);
	drv_wr(&drv, 20, 1, 3);
	up(F_ALL, 0, true);
	assert_int_equal(request(0, 0, 512, NULL), 0);
	rig_reset_devices(&rig);
	assert_int_equal(drv_rd(&drv, 20, 1), 0);
	assert_int_equal(vd->busy, 0);
}

static void test_bus_master(void **state)
{
	up(F_ALL, 0, true);
	cfg_wr(&rig, drv.devfn, PCI_COMMAND, 2, PCI_CMD_MEM);
	assert_int_equal(request(0, 0, 512, NULL), -1);
	assert_int_equal(disk.submitted, 0);
	cfg_wr(&rig, drv.devfn, PCI_COMMAND, 2, PCI_CMD_MEM | PCI_CMD_MASTER);
	assert_int_equal(disk.submitted, 1);
	assert_int_equal(rig_get(&rig, page + 64, 1), 0);
}

/* Firmware's way: registers through configuration space only. */
static void test_window(void **state)
{
	unsigned at = 0;

	do {
		at = cfg_cap(&rig, drv.devfn, PCI_CAP_VNDR, at);
	} while (cfg_rd(&rig, drv.devfn, at + 3, 1) != 5);
	cfg_wr(&rig, drv.devfn, at + 4, 1, 4);
	cfg_wr(&rig, drv.devfn, at + 8, 4, 20);
	cfg_wr(&rig, drv.devfn, at + 12, 4, 1);
	assert_int_equal(cfg_rd(&rig, drv.devfn, at + 16, 1), 3);
	cfg_wr(&rig, drv.devfn, at + 16, 1, 0x80);
	assert_int_equal(drv_rd(&drv, 20, 1), 0x83);
	cfg_wr(&rig, drv.devfn, at + 8, 4, 18);
	cfg_wr(&rig, drv.devfn, at + 12, 4, 2);
	assert_int_equal(cfg_rd(&rig, drv.devfn, at + 16, 2), 1);
	cfg_wr(&rig, drv.devfn, at + 8, 4, 0xfffffffe); /* outside: nothing */
	cfg_wr(&rig, drv.devfn, at + 16, 2, 0xffff);
	cfg_wr(&rig, drv.devfn, at + 12, 4, 3);
	cfg_wr(&rig, drv.devfn, at + 16, 4, 0xffff);
	cfg_wr(&rig, drv.devfn, at + 4, 1, 1);
	cfg_rd(&rig, drv.devfn, at + 16, 4);
}

static void test_no_space(void **state)
{
	struct drv_seg seg[] = {{page, 16, false}, {page + 4096, 512, false}, {page + 64, 1, true}};
	struct drv_seg seg2[] = {
		{page, 16, false}, {page + 4096, 512, false}, {page + 65, 1, true}};
	void *cookie;
	uint32_t len;

	up(F_ALL, 0, true);
	header(page, 1, 7);
	memset(rig_at(&rig, page + 4096), 0x5a, 512);
	disk.fail = ERR_NOSPC;
	assert_true(drv_add(&drv, &drv.q[0], seg, 3, false, NULL));
	drv_kick(&drv, 0);
	assert_true(drv_add(&drv, &drv.q[0], seg2, 3, false, NULL));
	drv_kick(&drv, 0);
	assert_false(drv_get(&drv, 0, &cookie, &len));
	fake_loop_run();
	assert_int_equal(rig.vm->paused, 1);
	assert_non_null(strstr(rig.vm->pause_reason, "test.img"));
	/* still full, several times */
	fake_advance(5 * NS_PER_SEC);
	assert_int_equal(rig.vm->paused, 1);
	assert_true(disk.submitted > 6 && disk.submitted < 14);
	assert_false(drv_get(&drv, 0, &cookie, &len));
	disk.fail = 0;
	disk.deferred = true;
	fake_advance(2 * NS_PER_SEC);
	assert_int_equal(disk.n_held, 2);
	assert_int_equal(rig.vm->paused, 1);
	disk_answer(&disk, 0);
	disk_answer(&disk, 0);
	fake_loop_run();
	assert_int_equal(rig.vm->paused, 0);
	assert_true(drv_get(&drv, 0, &cookie, &len));
	assert_true(drv_get(&drv, 0, &cookie, &len));
	assert_int_equal(rig_get(&rig, page + 64, 1), 0);
	assert_int_equal(disk.data[7 * 512], 0x5a);

	/* a reset gives up what waits, and the pause */
	disk.deferred = false;
	disk.fail = ERR_NOSPC;
	assert_true(drv_add(&drv, &drv.q[0], seg, 3, false, NULL));
	drv_kick(&drv, 0);
	fake_loop_run();
	assert_int_equal(rig.vm->paused, 1);
	rig_reset_devices(&rig);
	fake_loop_run();
	assert_int_equal(rig.vm->paused, 0);
	assert_int_equal(vd->busy, 0);
	disk.fail = 0;
}

static void answer_later(void *arg)
{
	for (unsigned i = 0; i < 10; i++)
		plat_yield();
	while (disk.n_held)
		disk_answer(&disk, 0);
}

/* The VM ends with requests in flight, and with others that wait for room on the host. */
static void test_destroy_in_flight(void **state)
{
	struct drv_seg seg[] = {{page, 16, false}, {page + 4096, 512, false}, {page + 64, 1, true}};
	struct plat_thread *t;

	up(F_ALL, 0, true);
	header(page, 1, 7);
	disk.fail = ERR_NOSPC;
	assert_true(drv_add(&drv, &drv.q[0], seg, 3, true, NULL));
	drv_kick(&drv, 0);
	disk.deferred = true;
	assert_true(drv_add(&drv, &drv.q[0], seg, 3, true, NULL));
	drv_kick(&drv, 0);
	fake_advance(2 * NS_PER_SEC); /* the first one is tried again */
	assert_int_equal(disk.n_held, 2);
	assert_int_equal(plat_thread_create("disk", answer_later, NULL, &t), 0);
	rig_fini(&rig);
	assert_int_equal(disk.n_held, 0);
	plat_thread_join(t);
	setup(NULL);
}

static void test_broken(void **state)
{
	/* one a row: a chain that breaks the rules of the device or of the ring */
	const struct {
		unsigned n;
		struct drv_seg seg[3];
	} row[] = {
		{1, {{page, 16, false}}},                                    /* no status */
		{1, {{page, 16, true}}},                                     /* no header */
		{2, {{page, 15, false}, {page + 64, 1, true}}},              /* short header */
		{2, {{page, 16, false}, {RIG_RAM, 1, true}}},                /* outside of memory */
		{3, {{page, 16, true}, {page, 16, false}, {page, 1, true}}}, /* wrong order */
	};

	up(F_ALL, 0, true);
	for (unsigned i = 0; i < ARRAY_SIZE(row); i++) {
		assert_true(drv_add(&drv, &drv.q[0], row[i].seg, row[i].n, false, NULL));
		drv_kick(&drv, 0);
		assert_int_equal(drv_rd(&drv, 20, 1), 0x4f);
		assert_int_equal(rig.msi[0], i + 1); /* configuration vector */
		/* nothing works before a reset */
		bus_write(&rig.vm->mmio, 0, drv.notify, 2, 0);
		assert_int_equal(disk.submitted, i);
		again(F_ALL);
		assert_int_equal(request(0, 0, 512, NULL), 0);
	}
	/* a ring that is not in memory */
	drv_wr(&drv, 20, 1, 0);
	drv_wr(&drv, 20, 1, 3);
	assert_true(drv_negotiate(&drv, RING));
	drv_wr(&drv, 22, 2, 0);
	drv_wr(&drv, 32, 8, RIG_RAM);
	drv_wr(&drv, 28, 2, 1);
	assert_int_equal(drv_rd(&drv, 28, 2), 0);
	assert_int_equal(drv_rd(&drv, 20, 1), 0x4b);
}

/* Creation survives every allocation that fails. */
static void test_no_memory(void **state)
{
	struct virtio_blk_wiring w = {.blk = &disk.b, .slot = -1};
	unsigned live = fake_alloc_live();
	struct virtio_dev *out;

	for (unsigned n = 1;; n++) {
		int err;

		fake_fail_alloc(n);
		err = virtio_blk_create(rig.vm, rig.host, &w, &out);
		fake_fail_alloc(0);
		if (!err) {
			assert_true(n > 2);
			break;
		}
		assert_int_equal(err, ERR_NOMEM);
		assert_int_equal(fake_alloc_live(), live);
	}
}

/* Random registers, rings and descriptors. The device may ask for a reset; nothing else may happen. */
static void test_garbage(void **state)
{
	static const unsigned sizes[] = {1, 2, 4, 8};
	uint64_t seed = 777, bar = drv.common;

	print_message("seed %u\n", 777);
	for (unsigned i = 0; i < 200000; i++) {
		uint64_t x = rig_rand(&seed), v = rig_rand(&seed);
		unsigned size = sizes[x & 3];
		uint64_t off = x >> 8 & 0x3fff;

		if (x & 0x10)
			off = off & 0x3000 ? 0x3000 : off & 0x3f;
		if (i % 500 == 0 || drv_rd(&drv, 20, 1) & 0x40) {
			again(F_ALL);
			disk.deferred = v & 1;
			disk.fail = v & 6 ? 0 : v & 8 ? ERR_IO : ERR_NOSPC;
		}
		switch (x >> 32 & 7) {
		case 0:
			bus_read(&rig.vm->mmio, 0, bar + off, size);
			break;
		case 1:
			bus_write(&rig.vm->mmio, 0, bar + off, size, v & 0xffff);
			break;
		case 2: /* damage in the ring */
			rig_put(&rig, drv.q[0].desc + (v >> 16) % (16 * 256), 1, v & 0xff);
			break;
		case 3:
			rig_put(&rig, drv.q[0].avail + (v >> 16) % (6 + 2 * 256), 1, v & 0xff);
			break;
		case 4:
			while (disk.n_held)
				disk_answer(&disk, (unsigned)(v % disk.n_held));
			break;
		case 5:
			fake_advance(v & 0xfffffff);
			break;
		default:
			rig_put(&rig, page, 8, v & 15);
			rig_put(&rig, page + 8, 8, v >> 20 & 1023);
			struct drv_seg seg[] = {
				{page, 16, false},
				{page + 4096 + (v & 0xfff), 512 * (x >> 40 & 7), v & 16},
				{page + 64, 1, true}};
			if (drv.q[0].n_free < 8)
				drv_queue_reset(&drv.q[0], &rig);
			drv_add(&drv, &drv.q[0], seg, 3, v & 32, NULL);
			drv_kick(&drv, 0);
			break;
		}
		/* status writes of 0 while requests are held leave the reset open: let it end */
		while (vd->resetting && disk.n_held)
			disk_answer(&disk, 0);
	}
	disk.fail = 0;
	while (disk.n_held)
		disk_answer(&disk, 0);
	fake_advance(2 * NS_PER_SEC);
	while (disk.n_held)
		disk_answer(&disk, 0);
	disk.deferred = false;
	again(F_ALL);
	assert_int_equal(request(0, 0, 512, NULL), 0);
	assert_int_equal(vd->busy, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_identity, setup, teardown),
		cmocka_unit_test_setup_teardown(test_negotiation, setup, teardown),
		cmocka_unit_test_setup_teardown(test_requests, setup, teardown),
		cmocka_unit_test_setup_teardown(test_read_only, setup, teardown),
		cmocka_unit_test_setup_teardown(test_framing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_intx, setup, teardown),
		cmocka_unit_test_setup_teardown(test_storm_all, setup, teardown),
		cmocka_unit_test_setup_teardown(test_storm_event, setup, teardown),
		cmocka_unit_test_setup_teardown(test_storm_plain, setup, teardown),
		cmocka_unit_test_setup_teardown(test_storm_tiny, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reset_in_flight, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bus_master, setup, teardown),
		cmocka_unit_test_setup_teardown(test_window, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_space, setup, teardown),
		cmocka_unit_test_setup_teardown(test_destroy_in_flight, setup, teardown),
		cmocka_unit_test_setup_teardown(test_broken, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_garbage, setup, teardown),
	};

	return cmocka_run_group_tests_name("virtio-blk", tests, NULL, NULL);
}
