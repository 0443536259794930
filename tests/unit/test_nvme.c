/* SPDX-License-Identifier: ISC */
/* test_nvme.c: the NVMe controller on plat/fake, as a driver after NVM Express 1.4 uses it: start, identification, queues,
 * PRPs and their lists, errors, interrupts by pin and by MSI-X, full queues, resets amidst requests, garbage. */
#include "tests/unit/pci_rig.h"

#include "block/block.h"
#include "dev/nvme.h"
#include "vm/dev.h"

#define BAR      RIG_BAR_MEM
#define SECTORS  8192u
#define ENTRIES  8u
#define ASQ      0x10000u /* guest memory: queues of the pair n are 8 KiB further each */
#define ACQ      0x11000u
#define DATA     0x40000u
#define LIST     0x30000u
#define PENDING  0xffffu
#define DNR      0x4000u
#define OP_FLUSH 0
#define OP_WRITE 1
#define OP_READ  2
#define OP_ZERO  8

static uint8_t *image;
static unsigned submitted, flushed;
static int fail;
static bool hold;
static struct block_req *held[128];
static unsigned n_held;

static void finish(struct block_req *r)
{
	uint64_t at = r->offset;

	flushed += r->op == BLOCK_FLUSH;
	if (r->op == BLOCK_ZERO && !fail)
		memset(image + at, 0, r->len);
	for (unsigned i = 0; i < r->n_vec && !fail; i++) {
		if (r->op == BLOCK_READ)
			memcpy(r->vec[i].base, image + at, r->vec[i].len);
		else
			memcpy(image + at, r->vec[i].base, r->vec[i].len);
		at += r->vec[i].len;
	}
	r->done(r, fail);
}

static void submit(struct block *b, struct block_req *r)
{
	assert_true(r->offset <= b->size && r->len <= b->size - r->offset);
	submitted++;
	if (hold)
		held[n_held++] = r;
	else
		finish(r);
}

static const struct block_ops ops = {.name = "test", .submit = submit};
static struct block disk = {.ops = &ops, .size = SECTORS * 512, .name = "disk"};

static void release(void)
{
	unsigned n = n_held;

	hold = false;
	n_held = 0;
	for (unsigned i = 0; i < n; i++)
		finish(held[i]);
}

static struct nvme *nvme;
static struct {
	unsigned tail, head;
	bool phase;
} queue[9];

static uint32_t rd(unsigned reg)
{
	return (uint32_t)bus_read(&vm->mmio, 0, BAR + reg, 4);
}

static void wr(unsigned reg, uint32_t v)
{
	bus_write(&vm->mmio, 0, BAR + reg, 4, v);
	assert_int_equal(fake_locks_held(), 0);
}

static void enable(void)
{
	wr(0x24, (ENTRIES - 1) << 16 | (ENTRIES - 1));
	wr(0x28, ASQ);
	wr(0x2c, 0);
	wr(0x30, ACQ);
	wr(0x34, 0);
	memset(ram + ASQ, 0, 0x20000);
	memset(queue, 0, sizeof(queue));
	for (unsigned i = 0; i < ARRAY_SIZE(queue); i++)
		queue[i].phase = true;
	wr(0x14, 0x00460001);
	assert_int_equal(rd(0x1c), 1);
}

static void setup(void)
{
	rig_pci();
	assert_int_equal(
		nvme_create(vm,
			    &(struct nvme_wiring){
				    .host = host, .slot = 1, .block = &disk, .serial = "SERIAL"},
			    &nvme),
		0);
	pci_cfg_write(host, 8, PCI_COMMAND, 2, PCI_CMD_MEM | PCI_CMD_MASTER);
	image = malloc(SECTORS * 512);
	for (unsigned i = 0; i < SECTORS * 512; i++)
		image[i] = (uint8_t)(i * 7 + i / 512);
	fail = 0;
	hold = false;
	submitted = flushed = n_held = 0;
	enable();
}

static void teardown(void)
{
	release();
	rig_end(vm);
	free(image);
}

/* Puts a command into submission queue q and rings. */
static void command(unsigned q, uint16_t cid, const uint32_t *dw)
{
	uint8_t *e = ram + ASQ + q * 0x2000 + queue[q].tail * 64;

	memcpy(e, dw, 64);
	e[2] = (uint8_t)cid;
	e[3] = (uint8_t)(cid >> 8);
	queue[q].tail = (queue[q].tail + 1) % ENTRIES;
	wr(0x1000 + q * 8, queue[q].tail);
}

/* The next completion's status, PENDING if there is none; the head's doorbell is the caller's. */
static unsigned completion(unsigned q, uint16_t *cid, uint32_t *dw0)
{
	const uint8_t *e = ram + ACQ + q * 0x2000 + queue[q].head * 16;
	uint16_t status = (uint16_t)(e[14] | e[15] << 8);

	if ((status & 1) != queue[q].phase)
		return PENDING;
	assert_int_equal(e[10] | e[11] << 8, q);
	if (cid)
		*cid = (uint16_t)(e[12] | e[13] << 8);
	if (dw0)
		memcpy(dw0, e, 4);
	queue[q].head = (queue[q].head + 1) % ENTRIES;
	if (!queue[q].head)
		queue[q].phase = !queue[q].phase;
	return status >> 1;
}

static void seen(unsigned q)
{
	wr(0x1004 + q * 8, queue[q].head);
}

static unsigned admin(uint8_t op, uint32_t nsid, uint64_t prp1, uint64_t prp2, uint32_t cdw10,
		      uint32_t cdw11)
{
	const uint32_t dw[16] = {op,
				 nsid,
				 0,
				 0,
				 0,
				 0,
				 (uint32_t)prp1,
				 (uint32_t)(prp1 >> 32),
				 (uint32_t)prp2,
				 (uint32_t)(prp2 >> 32),
				 cdw10,
				 cdw11};
	unsigned status;
	uint16_t cid;

	command(0, 77, dw);
	status = completion(0, &cid, NULL);
	if (status != PENDING) {
		assert_int_equal(cid, 77);
		seen(0);
	}
	return status;
}

/* Pair q with interrupt vector q. */
static void make_queues(unsigned q)
{
	assert_int_equal(admin(5, 0, ACQ + q * 0x2000, 0, (ENTRIES - 1) << 16 | q, q << 16 | 3), 0);
	assert_int_equal(admin(1, 0, ASQ + q * 0x2000, 0, (ENTRIES - 1) << 16 | q, q << 16 | 1), 0);
}

static void send_io(unsigned q, uint16_t cid, uint8_t op, uint64_t lba, uint32_t count,
		    uint64_t prp1, uint64_t prp2)
{
	const uint32_t dw[16] = {op,
				 1,
				 0,
				 0,
				 0,
				 0,
				 (uint32_t)prp1,
				 (uint32_t)(prp1 >> 32),
				 (uint32_t)prp2,
				 (uint32_t)(prp2 >> 32),
				 (uint32_t)lba,
				 (uint32_t)(lba >> 32),
				 count - 1};

	command(q, cid, dw);
}

static unsigned io(uint8_t op, uint64_t lba, uint32_t count, uint64_t prp1, uint64_t prp2)
{
	unsigned status;

	send_io(1, 5, op, lba, count, prp1, prp2);
	status = completion(1, NULL, NULL);
	seen(1);
	return status;
}

static void put64(uint32_t at, uint64_t v)
{
	memcpy(ram + at, &v, 8);
}

static void test_start(void **state)
{
	static const uint32_t bad[][2] = {{0x24, 0}, {0x28, ASQ + 8}, {0x30, ACQ + 4}};

	setup();
	assert_int_equal(rd(0x00) & 0xffff, 255); /* entries of a queue, zero-based */
	assert_true(rd(0x00) & 0x10000);
	assert_int_equal(rd(0x04) & 0x20, 0x20); /* NVM commands */
	assert_int_equal(rd(0x08), 0x00010400);
	wr(0x14, 0x00464001); /* shut down: done at once */
	assert_int_equal(rd(0x1c), 9);
	wr(0x14, 0);
	assert_int_equal(rd(0x1c), 0);
	/* no entries, odd addresses, another page size: a fatal status, and no reaction to doorbells */
	for (unsigned i = 0; i <= ARRAY_SIZE(bad); i++) {
		enable();
		wr(0x14, 0);
		if (i < ARRAY_SIZE(bad))
			wr(bad[i][0], bad[i][1]);
		wr(0x14, i < ARRAY_SIZE(bad) ? 0x00460001 : 0x00460081);
		assert_int_equal(rd(0x1c), 2);
		wr(0x1000, 1);
		wr(0x14, 0);
	}
	enable();
	assert_int_equal(admin(6, 0, DATA, 0, 1, 0), 0);
	teardown();
}

static void test_identify(void **state)
{
	uint64_t size;
	uint32_t dw0;
	static const uint32_t queues[16] = {9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0x00ff00ff};

	setup();
	/* the controller, across two pages */
	assert_int_equal(admin(6, 0, DATA + 0xf00, DATA + 0x4000, 1, 0), 0);
	assert_memory_equal(ram + DATA + 0xf04, "SERIAL              VIGIA NVMe ", 31);
	assert_int_equal(ram[DATA + 0xf00 + 77], 8); /* MDTS: 1 MiB */
	assert_int_equal(ram[DATA + 0x4000 + 512 - 0x100], 0x66);
	assert_int_equal(ram[DATA + 0x4000 + 516 - 0x100], 1);
	assert_int_equal(ram[DATA + 0x1000], 0);
	assert_int_equal(admin(6, 1, DATA, 0, 0, 0), 0);
	memcpy(&size, ram + DATA, 8);
	assert_int_equal(size, SECTORS);
	assert_int_equal(ram[DATA + 130], 9); /* 512 bytes */
	assert_int_equal(admin(6, 2, DATA, 0, 0, 0), DNR | 0x0b);
	assert_int_equal(admin(6, 1, DATA, 0, 3, 0), 0);
	assert_int_equal(ram[DATA + 1], 8); /* an EUI-64 */
	assert_int_equal(admin(6, 0, DATA, 0, 2, 0), 0);
	assert_int_equal(ram[DATA], 1);
	assert_int_equal(admin(6, 1, DATA, 0, 2, 0), 0);
	assert_int_equal(ram[DATA], 0);
	assert_int_equal(admin(6, 1, DATA, 0, 0x20, 0), DNR | 2);
	command(0, 3, queues);
	assert_int_equal(completion(0, NULL, &dw0), 0);
	seen(0);
	assert_int_equal(dw0, 0x00070007);
	/* four event requests stay, the fifth is one too many; ABORT says that it did not */
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(admin(0x0c, 0, 0, 0, 0, 0), PENDING);
	assert_int_equal(admin(0x0c, 0, 0, 0, 0, 0), DNR | 0x105);
	assert_int_equal(admin(8, 0, 0, 0, 0, 0), 0);
	assert_int_equal(admin(0x7f, 0, 0, 0, 0, 0), DNR | 1);
	teardown();
}

/* The health log lies where both pointers say, as the controller's data do. */
static void test_log(void **state)
{
	setup();
	memset(ram + DATA, 0xee, 0x8000);
	assert_int_equal(admin(2, 0xffffffff, DATA + 0xffe, DATA + 0x4000, 127 << 16 | 2, 0),
			 DNR | 0x13);
	assert_int_equal(admin(2, 0xffffffff, DATA + 0xffc, DATA + 0x4000, 127 << 16 | 2, 0), 0);
	assert_int_equal(ram[DATA + 0xffc + 1] | ram[DATA + 0xffc + 2] << 8, 303); /* K */
	assert_int_equal(ram[DATA + 0xffc + 3], 100);
	assert_int_equal(ram[DATA + 0x4000], 10);
	assert_int_equal(ram[DATA + 0x4000 + 507], 0);
	assert_int_equal(ram[DATA + 0x4000 + 508], 0xee); /* 512 bytes, no more */
	assert_int_equal(ram[DATA + 0x1000], 0xee);
	assert_int_equal(admin(2, 0xffffffff, DATA, 0, 127 << 16 | 9, 0), DNR | 2);
	teardown();
}

static void test_queues(void **state)
{
	setup();
	assert_int_equal(admin(1, 0, ASQ + 0x2000, 0, 7 << 16 | 1, 1 << 16 | 1), DNR | 0x100);
	assert_int_equal(admin(5, 0, ACQ + 0x2000, 0, 7 << 16 | 0, 3), DNR | 0x101);
	assert_int_equal(admin(5, 0, ACQ + 0x2000, 0, 7 << 16 | 9, 3), DNR | 0x101);
	assert_int_equal(admin(5, 0, ACQ + 0x2000, 0, 1, 3), DNR | 0x102);
	assert_int_equal(admin(5, 0, ACQ + 0x2000, 0, 256 << 16 | 1, 3), DNR | 0x102);
	assert_int_equal(admin(5, 0, ACQ + 0x2000, 0, 7 << 16 | 1, 2), DNR | 2); /* in pieces */
	assert_int_equal(admin(5, 0, ACQ + 0x2004, 0, 7 << 16 | 1, 3), DNR | 2);
	assert_int_equal(admin(5, 0, ACQ + 0x2000, 0, 7 << 16 | 1, 9 << 16 | 3), DNR | 0x108);
	make_queues(1);
	assert_int_equal(admin(5, 0, ACQ + 0x2000, 0, 7 << 16 | 1, 3), DNR | 0x101);
	assert_int_equal(admin(1, 0, ASQ + 0x2000, 0, 7 << 16 | 1, 1 << 16 | 1), DNR | 0x101);
	assert_int_equal(io(OP_READ, 0, 1, DATA, 0), 0);
	assert_int_equal(admin(4, 0, 0, 0, 1, 0), DNR | 0x10c); /* a submission queue needs it */
	assert_int_equal(admin(0, 0, 0, 0, 1, 0), 0);
	assert_int_equal(admin(0, 0, 0, 0, 1, 0), DNR | 0x101);
	assert_int_equal(admin(4, 0, 0, 0, 1, 0), 0);
	assert_int_equal(admin(4, 0, 0, 0, 1, 0), DNR | 0x101);
	wr(0x1008, 1); /* a doorbell of a queue that is gone */
	wr(0x1ffc, 1);
	teardown();
}

static void test_prps(void **state)
{
	setup();
	make_queues(1);
	/* one page from its middle, two pages, many by a list, odd ones among them */
	assert_int_equal(io(OP_READ, 3, 2, DATA + 0x800, 0), 0);
	assert_memory_equal(ram + DATA + 0x800, image + 3 * 512, 1024);
	assert_int_equal(io(OP_READ, 9, 8, DATA + 0xe00, DATA + 0x6000), 0);
	assert_memory_equal(ram + DATA + 0xe00, image + 9 * 512, 512);
	assert_memory_equal(ram + DATA + 0x6000, image + 10 * 512, 7 * 512);
	for (unsigned i = 0; i < 4; i++)
		put64(LIST + 8 * i, DATA + 0x10000 + (i ^ 1) * 0x1000);
	assert_int_equal(io(OP_READ, 100, 40, DATA, LIST), 0);
	assert_memory_equal(ram + DATA, image + 100 * 512, 4096);
	for (unsigned i = 0; i < 4; i++)
		assert_memory_equal(ram + DATA + 0x10000 + (i ^ 1) * 0x1000,
				    image + 108 * 512 + i * 4096, 4096);
	/* a list that goes on elsewhere: its last entry leads there unless it is the last page */
	put64(LIST + 0xff0, DATA + 0x10000);
	put64(LIST + 0xff8, LIST + 0x2000);
	put64(LIST + 0x2000, DATA + 0x11000);
	put64(LIST + 0x2008, DATA + 0x12000);
	memset(ram + DATA + 0x10000, 0, 0x3000);
	assert_int_equal(io(OP_READ, 200, 32, DATA, LIST + 0xff0), 0);
	assert_memory_equal(ram + DATA + 0x10000, image + 208 * 512, 0x3000);
	put64(LIST + 0xff8, DATA + 0x20000);
	assert_int_equal(io(OP_READ, 300, 24, DATA, LIST + 0xff0), 0);
	assert_memory_equal(ram + DATA + 0x20000, image + 316 * 512, 4096);
	/* written, zeroed, flushed */
	memset(ram + DATA, 0x5a, 4096);
	assert_int_equal(io(OP_WRITE, 50, 8, DATA, 0), 0);
	assert_memory_equal(image + 50 * 512, ram + DATA, 4096);
	assert_int_equal(io(OP_ZERO, 51, 2, 0, 0), 0);
	assert_int_equal(image[50 * 512], 0x5a);
	assert_int_equal(image[51 * 512] | image[53 * 512 - 1], 0);
	assert_int_equal(image[53 * 512], 0x5a);
	assert_int_equal(io(OP_FLUSH, 0, 1, 0, 0), 0);
	assert_int_equal(flushed, 1);
	teardown();
}

static void test_errors(void **state)
{
	static const uint32_t other_ns[16] = {OP_READ, 2},
			      sgl[16] = {OP_READ | 0x4000, 1, 0, 0, 0, 0, DATA};

	setup();
	make_queues(1);
	assert_int_equal(io(0x55, 0, 1, DATA, 0), DNR | 1);
	assert_int_equal(io(OP_READ, SECTORS, 1, DATA, 0), DNR | 0x80);
	assert_int_equal(io(OP_READ, SECTORS - 1, 2, DATA, 0), DNR | 0x80);
	assert_int_equal(io(OP_ZERO, UINT64_MAX, 2, DATA, 0), DNR | 0x80);
	assert_int_equal(io(OP_READ, 0, 2049, DATA, LIST), DNR | 2); /* more than MDTS */
	assert_int_equal(io(OP_READ, 0, 1, DATA + 2, 0), DNR | 0x13);
	assert_int_equal(io(OP_READ, 0, 16, DATA, DATA + 0x2010), DNR | 0x13);
	assert_int_equal(io(OP_READ, 0, 40, DATA, LIST + 4), DNR | 0x13);
	put64(LIST, DATA + 4);
	assert_int_equal(io(OP_READ, 0, 40, DATA, LIST), DNR | 0x13);
	assert_int_equal(io(OP_READ, 0, 40, DATA, UINT64_C(1) << 40), DNR | 0x13);
	assert_int_equal(io(OP_READ, 0, 1, UINT64_C(1) << 40, 0), DNR | 0x13);
	assert_int_equal(submitted, 0);
	command(1, 1, other_ns);
	assert_int_equal(completion(1, NULL, NULL), DNR | 0x0b);
	command(1, 1, sgl);
	assert_int_equal(completion(1, NULL, NULL), DNR | 2);
	seen(1);
	fail = ERR_IO;
	assert_int_equal(io(OP_READ, 0, 1, DATA, 0), 0x281);
	assert_int_equal(io(OP_WRITE, 0, 1, DATA, 0), 0x280);
	fail = 0;
	assert_int_equal(io(OP_READ, 0, 1, DATA, 0), 0);
	teardown();
}

static void test_interrupts(void **state)
{
	setup();
	assert_false(rig_pin());
	make_queues(1);
	send_io(1, 9, OP_READ, 0, 1, DATA, 0);
	assert_true(rig_pin());
	wr(0x0c, 1); /* INTMS */
	assert_false(rig_pin());
	assert_int_equal(rd(0x0c) & 1, 1);
	wr(0x10, 1);
	assert_true(rig_pin());
	assert_int_equal(completion(1, NULL, NULL), 0);
	seen(1);
	assert_false(rig_pin());
	wr(0x14, 0);
	assert_false(rig_pin());
	teardown();
}

/* Seven answers fill a queue of eight: what comes then waits until the driver has taken some. */
static void test_full(void **state)
{
	uint16_t cid;

	setup();
	make_queues(1);
	for (unsigned i = 0; i < ENTRIES - 1; i++)
		send_io(1, (uint16_t)i, OP_READ, i, 1, DATA, 0);
	for (unsigned i = 0; i < 3; i++)
		send_io(1, (uint16_t)(100 + i), OP_READ, i, 1, DATA, 0);
	assert_int_equal(submitted, ENTRIES - 1);
	for (unsigned i = 0; i < ENTRIES - 1; i++) {
		assert_int_equal(completion(1, &cid, NULL), 0);
		assert_int_equal(cid, i);
	}
	assert_int_equal(completion(1, NULL, NULL), PENDING);
	seen(1);
	assert_int_equal(submitted, ENTRIES + 2);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(completion(1, &cid, NULL), 0);
		assert_int_equal(cid, 100 + i);
	}
	teardown();
}

/* A controller that is reset has forgotten what the disk still does. */
static void test_reset(void **state)
{
	struct dev *dev;

	setup();
	make_queues(1);
	hold = true;
	for (unsigned i = 0; i < 5; i++)
		send_io(1, (uint16_t)i, OP_READ, i, 1, DATA, 0);
	assert_int_equal(n_held, 5);
	wr(0x14, 0);
	enable();
	make_queues(1);
	release();
	assert_int_equal(completion(1, NULL, NULL), PENDING);
	assert_int_equal(io(OP_READ, 7, 1, DATA, 0), 0);
	assert_memory_equal(ram + DATA, image + 7 * 512, 512);
	/* the machine's */
	for (dev = vm->devs; strcmp(dev->cls->name, "nvme") != 0; dev = dev->next)
		;
	hold = true;
	send_io(1, 1, OP_READ, 0, 1, DATA, 0);
	dev->cls->reset(dev);
	assert_int_equal(rd(0x1c), 0);
	release();
	enable();
	assert_int_equal(admin(6, 1, DATA, 0, 0, 0), 0);
	teardown();
}

static void test_garbage(void **state)
{
	static const struct rig_range range[] = {{BAR, 0x40}, {BAR + 0x1000, 0x50}, {BAR, 0x2000}};
	struct rig_random r = rig_random();

	setup();
	for (unsigned round = 0; round < 300; round++) {
		wr(0x14, 0);
		enable();
		make_queues(1);
		for (unsigned i = 0; i < 0x4000; i += 4) {
			uint32_t v = (uint32_t)(rig_next(&r) & 0x1ff3f);

			if (i & 0x38)
				memcpy(ram + ASQ + i, &v, 4);
		}
		hold = round & 1;
		rig_garbage(vm, &vm->mmio, range, ARRAY_SIZE(range), 30, &r);
		release();
	}
	teardown();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_start), cmocka_unit_test(test_identify),
		cmocka_unit_test(test_log),   cmocka_unit_test(test_queues),
		cmocka_unit_test(test_prps),  cmocka_unit_test(test_errors),
		cmocka_unit_test(test_full),  cmocka_unit_test(test_interrupts),
		cmocka_unit_test(test_reset), cmocka_unit_test(test_garbage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
