/* SPDX-License-Identifier: ISC */
/* test_i82078.c: floppy controller and DMA controllers by their data sheets, on plat/fake. */
#include "tests/unit/pc_rig.h"

#include "block/block.h"
#include "dev/pc/i8237.h"
#include "dev/pc/i82078.h"

#define KIB_IMAGE 1440
#define BUFFER_AT 0x12000u

static struct rig_line line;
static uint8_t size_code; /* of sectors: 128 << it */
static struct i8237 *dma;
static struct i82078 *fdc;

/* ---- a disk in memory that answers at once ------------------------------------------------------ */

static uint8_t image[2880 * KIB];
static int fail_with;

static void mem_submit(struct block *b, struct block_req *req)
{
	int err = fail_with;

	assert_true(req->offset + req->len <= b->size);
	for (unsigned i = 0; i < req->n_vec && !err; i++) {
		uint8_t *at = image + req->offset;

		if (req->op == BLOCK_READ)
			memcpy(req->vec[i].base, at, req->vec[i].len);
		else
			memcpy(at, req->vec[i].base, req->vec[i].len);
	}
	req->done(req, err);
}

static const struct block_ops mem_ops = {.name = "mem", .submit = mem_submit};
static struct block disk;

static struct vm *start_with(uint32_t kib)
{
	struct vm *vm = rig_vm(1);
	struct i82078_wiring w = {.irq = {rig_line_set, &line, 0}};

	fail_with = 0;
	size_code = 2;
	line = (struct rig_line){0};
	disk = (struct block){.ops = &mem_ops, .size = kib * KIB, .name = "mem"};
	for (uint32_t i = 0; i < sizeof(image); i++)
		image[i] = (uint8_t)(i / 512 * 7 + i);
	w.drive[0].present = true;
	w.drive[0].block = &disk;
	assert_int_equal(i8237_create(vm, &w.dma), 0);
	dma = w.dma;
	assert_int_equal(i82078_create(vm, &w, &fdc), 0);
	return vm;
}

/* ---- what a driver does --------------------------------------------------------------------------- */

static void put(struct vm *vm, uint8_t v)
{
	assert_int_equal(inb(vm, 0x3f4) & 0xc0, 0x80);
	outb(vm, 0x3f5, v);
}

static uint8_t get(struct vm *vm)
{
	assert_int_equal(inb(vm, 0x3f4) & 0xc0, 0xc0);
	return inb(vm, 0x3f5);
}

static void ready(struct vm *vm, uint8_t rate)
{
	outb(vm, 0x3f2, 0x1c); /* out of reset, motor on */
	assert_true(line.level);
	for (unsigned i = 0; i < 4; i++) {
		put(vm, 0x08);
		assert_int_equal(get(vm), 0xc0 | i);
		assert_int_equal(get(vm), 0);
		assert_false(line.level);
	}
	put(vm, 0x08); /* no more to tell */
	assert_int_equal(get(vm), 0x80);
	assert_int_equal(inb(vm, 0x3f4), 0x80);
	outb(vm, 0x3f7, rate);
	put(vm, 0x03);
	put(vm, 0xdf);
	put(vm, 0x02);
}

static void seek(struct vm *vm, uint8_t track)
{
	put(vm, 0x0f);
	put(vm, 0);
	put(vm, track);
	assert_true(line.level);
	put(vm, 0x08);
	assert_int_equal(get(vm), 0x20);
	assert_int_equal(get(vm), track);
}

static void dma_setup(struct vm *vm, uint8_t mode, uint32_t addr, uint32_t len)
{
	outb(vm, 0x0a, 6);
	outb(vm, 0x0b, mode);
	outb(vm, 0x0c, 0);
	outb(vm, 0x04, (uint8_t)addr);
	outb(vm, 0x04, (uint8_t)(addr >> 8));
	outb(vm, 0x81, (uint8_t)(addr >> 16));
	outb(vm, 0x05, (uint8_t)(len - 1));
	outb(vm, 0x05, (uint8_t)((len - 1) >> 8));
	outb(vm, 0x0a, 2);
}

static void transfer(struct vm *vm, uint8_t cmd, uint8_t c, uint8_t h, uint8_t r, uint8_t eot)
{
	put(vm, cmd);
	put(vm, (uint8_t)(h << 2));
	put(vm, c);
	put(vm, h);
	put(vm, r);
	put(vm, size_code);
	put(vm, eot);
	put(vm, 0x1b);
	put(vm, 0xff);
}

static void expect(struct vm *vm, uint8_t st0, uint8_t st1, uint8_t st2, uint8_t c, uint8_t h,
		   uint8_t r)
{
	const uint8_t want[7] = {st0, st1, st2, c, h, r, size_code};

	assert_true(line.level);
	for (unsigned i = 0; i < 7; i++)
		assert_int_equal(get(vm), want[i]);
	assert_false(line.level);
	assert_int_equal(inb(vm, 0x3f4), 0x80);
}

/* ---- tests ------------------------------------------------------------------------------------------ */

static void test_read(void **state)
{
	struct vm *vm = start_with(KIB_IMAGE);
	hva_t ram = mem_ptr(vm, BUFFER_AT, 36 * 512, true);

	ready(vm, 0);
	assert_int_equal(inb(vm, 0x3f7), 0x80); /* changed, until a seek */
	seek(vm, 3);
	assert_int_equal(inb(vm, 0x3f7), 0);
	dma_setup(vm, 0x46, BUFFER_AT, 1024);
	transfer(vm, 0xe6, 3, 1, 17, 18);
	/* up to the cylinder's end: the next sector is on the next one */
	expect(vm, 0, 0, 0, 4, 0, 1);
	assert_memory_equal(ram, image + ((3 * 2 + 1) * 18 + 16) * 512, 1024);
	assert_int_equal(inb(vm, 0x08) & 0xf, 4); /* terminal count, cleared by reading */
	assert_int_equal(inb(vm, 0x08) & 0xf, 0);
	assert_int_equal(inb(vm, 0x0f) & 4, 4); /* and masked */

	/* both sides in one command */
	dma_setup(vm, 0x46, BUFFER_AT, 20 * 512);
	transfer(vm, 0xe6, 3, 0, 1, 18);
	expect(vm, 0x04, 0, 0, 3, 1, 3);
	assert_memory_equal(ram, image + 3 * 2 * 18 * 512, 20 * 512);

	/* more wanted than a side without MT has */
	dma_setup(vm, 0x46, BUFFER_AT, 4 * 512);
	transfer(vm, 0x66, 3, 0, 17, 18);
	expect(vm, 0x40, 0x80, 0, 4, 0, 1);
	rig_end(vm);
}

static void test_write_format(void **state)
{
	struct vm *vm = start_with(KIB_IMAGE);
	hva_t ram = mem_ptr(vm, BUFFER_AT, 36 * 512, true);

	ready(vm, 0);
	memset(ram, 0x5a, 1024);
	dma_setup(vm, 0x4a, BUFFER_AT, 700); /* not all of the second sector */
	transfer(vm, 0xc5, 0, 0, 2, 18);
	expect(vm, 0, 0, 0, 0, 0, 4);
	assert_memory_equal(image + 512, ram, 700);
	assert_int_equal(image[512 + 700], 0); /* filled with zeros */
	assert_int_equal(image[512 + 1023], 0);
	assert_int_equal(image[1536], (uint8_t)(3 * 7 + 1536)); /* and no further */

	seek(vm, 1);
	dma_setup(vm, 0x4a, BUFFER_AT, 18 * 4);
	put(vm, 0x4d);
	put(vm, 0);
	put(vm, 2);
	put(vm, 18);
	put(vm, 0x54);
	put(vm, 0xf6);
	expect(vm, 0, 0, 0, 1, 0, 1);
	for (unsigned i = 0; i < 18 * 512; i++)
		assert_int_equal(image[36 * 512 + i], 0xf6);
	assert_int_not_equal(image[54 * 512], 0xf6);

	disk.read_only = true;
	dma_setup(vm, 0x4a, BUFFER_AT, 512);
	transfer(vm, 0xc5, 1, 0, 1, 18);
	expect(vm, 0x40, 0x02, 0, 1, 0, 1);
	put(vm, 0x04); /* SENSE DRIVE STATUS: protected, not at track 0 */
	put(vm, 0);
	assert_int_equal(get(vm), 0x68);
	rig_end(vm);
}

/* Errors of section 5.1: wrong rate, cylinder, sector, size; no DMA; the host's disk fails. */
static void test_errors(void **state)
{
	struct vm *vm = start_with(KIB_IMAGE);

	ready(vm, 2); /* 250 kb/s, which is no rate of this disk */
	dma_setup(vm, 0x46, BUFFER_AT, 512);
	transfer(vm, 0xe6, 0, 0, 1, 18);
	expect(vm, 0x40, 0x01, 0, 0, 0, 1);
	outb(vm, 0x3f7, 0);
	transfer(vm, 0xe6, 5, 0, 1, 18);
	expect(vm, 0x40, 0x04, 0x10, 5, 0, 1);
	transfer(vm, 0xe6, 0, 0, 19, 20);
	expect(vm, 0x40, 0x04, 0, 0, 0, 19);
	outb(vm, 0x0a, 6); /* masked: nobody fetches the data */
	transfer(vm, 0xe6, 0, 0, 1, 18);
	expect(vm, 0x40, 0x10, 0, 0, 0, 1);
	dma_setup(vm, 0x46, BUFFER_AT, 512);
	fail_with = ERR_IO;
	transfer(vm, 0xe6, 0, 0, 1, 18);
	expect(vm, 0x40, 0x20, 0, 0, 0, 1);
	put(vm, 0xff); /* no command */
	assert_int_equal(get(vm), 0x80);
	/* the second drive is not there */
	put(vm, 0x07);
	put(vm, 1);
	put(vm, 0x08);
	assert_int_equal(get(vm), 0x71);
	assert_int_equal(get(vm), 0);
	rig_end(vm);
}

/* Without DMA: SPECIFY's ND bit; ends at EOT, since nobody gives a terminal count. */
static void test_pio(void **state)
{
	struct vm *vm = start_with(360);

	ready(vm, 1); /* 300 kb/s: a 360 KB disk in a 1.2 MB drive */
	put(vm, 0x03);
	put(vm, 0xdf);
	put(vm, 0x03);
	transfer(vm, 0x66, 0, 1, 8, 9);
	assert_true(line.level);
	for (unsigned i = 0; i < 1024; i++) {
		assert_int_equal(inb(vm, 0x3f4), 0xf0);
		assert_int_equal(inb(vm, 0x3f5), image[(9 + 7) * 512 + i]);
	}
	expect(vm, 0x44, 0x80, 0, 1, 1, 1);
	transfer(vm, 0x45, 0, 0, 9, 9);
	for (unsigned i = 0; i < 512; i++) {
		assert_int_equal(inb(vm, 0x3f4), 0xb0);
		outb(vm, 0x3f5, 0x33);
	}
	expect(vm, 0x40, 0x80, 0, 1, 0, 1);
	assert_int_equal(image[8 * 512], 0x33);
	assert_int_equal(image[9 * 512 - 1], 0x33);
	rig_end(vm);
}

static void test_change(void **state)
{
	static struct block small;
	struct vm *vm = start_with(KIB_IMAGE);

	small = (struct block){.ops = &mem_ops, .size = 720 * KIB, .name = "small"};
	ready(vm, 0);
	seek(vm, 1);
	assert_int_equal(i82078_change_disk(fdc, 0, NULL), 0);
	assert_int_equal(inb(vm, 0x3f7), 0x80);
	seek(vm, 2); /* stays: there is no disk */
	assert_int_equal(inb(vm, 0x3f7), 0x80);
	dma_setup(vm, 0x46, BUFFER_AT, 512);
	transfer(vm, 0xe6, 2, 0, 1, 18);
	expect(vm, 0x40, 0x01, 0, 2, 0, 1);
	assert_int_equal(i82078_change_disk(fdc, 0, &small), 0);
	seek(vm, 1);
	assert_int_equal(inb(vm, 0x3f7), 0);
	outb(vm, 0x3f7, 2);
	transfer(vm, 0xe6, 1, 0, 1, 9);
	expect(vm, 0, 0, 0, 1, 0, 2);
	assert_memory_equal(mem_ptr(vm, BUFFER_AT, 512, false), image + 18 * 512, 512);
	small.size = 1000 * KIB;
	assert_int_equal(i82078_change_disk(fdc, 0, &small), ERR_INVAL);
	assert_int_equal(i82078_change_disk(fdc, 1, NULL), ERR_INVAL);
	rig_end(vm);
}

/* Every disk: the BIOS' type of its drive, the rate and the size of sectors that it wants, its last sector by DMA and by the
 * processor, none behind that, a track formatted; an image of any other size is none. */
static const struct disk_row {
	uint32_t kib;
	uint8_t cylinders, heads, spt, size, rate, cmos;
} disk_rows[] = {
	{160, 40, 1, 8, 2, 2, 1},   {180, 40, 1, 9, 2, 2, 1},   {320, 40, 2, 8, 2, 2, 1},
	{360, 40, 2, 9, 2, 2, 1},   {640, 80, 2, 8, 2, 2, 3},   {720, 80, 2, 9, 2, 2, 3},
	{800, 80, 2, 10, 2, 2, 3},  {820, 82, 2, 10, 2, 2, 3},  {1200, 80, 2, 15, 2, 0, 2},
	{1232, 77, 2, 8, 3, 0, 2},  {1440, 80, 2, 18, 2, 0, 4}, {1476, 82, 2, 18, 2, 0, 4},
	{1680, 80, 2, 21, 2, 0, 4}, {1722, 82, 2, 21, 2, 0, 4}, {1743, 83, 2, 21, 2, 0, 4},
	{1760, 80, 2, 22, 2, 0, 4}, {2880, 80, 2, 36, 2, 3, 5},
};

static void check_last(struct vm *vm, const struct disk_row *d)
{
	hva_t ram = mem_ptr(vm, BUFFER_AT, 36 * 512, true);
	uint32_t bytes = 128u << d->size, end = d->kib * KIB;
	uint8_t c = (uint8_t)(d->cylinders - 1), h = (uint8_t)(d->heads - 1);

	seek(vm, c);
	dma_setup(vm, 0x46, BUFFER_AT, bytes);
	transfer(vm, 0x46, c, h, d->spt, d->spt);
	expect(vm, (uint8_t)(h << 2), 0, 0, d->cylinders, h, 1);
	assert_memory_equal(ram, image + end - bytes, bytes);

	dma_setup(vm, 0x46, BUFFER_AT, bytes); /* one sector too far */
	transfer(vm, 0x46, c, h, (uint8_t)(d->spt + 1), (uint8_t)(d->spt + 1));
	expect(vm, (uint8_t)(0x40 | h << 2), 4, 0, c, h, (uint8_t)(d->spt + 1));

	memset(ram, 0xa5, bytes);
	dma_setup(vm, 0x4a, BUFFER_AT, bytes);
	transfer(vm, 0x45, c, h, d->spt, d->spt);
	expect(vm, (uint8_t)(h << 2), 0, 0, d->cylinders, h, 1);
	assert_memory_equal(image + end - bytes, ram, bytes);
	assert_int_not_equal(image[end - bytes - 1], 0xa5);

	seek(vm, d->cylinders); /* the head stands where there is nothing */
	transfer(vm, 0x46, d->cylinders, h, 1, d->spt);
	expect(vm, (uint8_t)(0x40 | h << 2), 1, 0, d->cylinders, h, 1);
}

static void check_ways(struct vm *vm, const struct disk_row *d)
{
	uint32_t bytes = 128u << d->size, track = d->spt * bytes;

	seek(vm, 1);
	size_code ^= 1; /* sectors of another size are not found */
	put(vm, 0x46);
	for (unsigned i = 0; i < 8; i++)
		put(vm, (const uint8_t[]){0, 1, 0, 1, size_code, d->spt, 0x1b, 0xff}[i]);
	size_code = d->size;
	expect(vm, 0x40, 4, 0, 1, 0, 1);
	outb(vm, 0x3f7, (uint8_t)(d->rate ? 0 : 2)); /* nor at another rate */
	transfer(vm, 0x46, 1, 0, 1, d->spt);
	expect(vm, 0x40, 1, 0, 1, 0, 1);
	outb(vm, 0x3f7, d->rate);

	dma_setup(vm, 0x4a, BUFFER_AT, 4u * d->spt);
	put(vm, 0x4d);
	for (unsigned i = 0; i < 5; i++)
		put(vm, (const uint8_t[]){0, d->size, d->spt, 0x54, 0xf6}[i]);
	expect(vm, 0, 0, 0, 1, 0, 1);
	for (uint32_t i = 0; i < track; i++)
		assert_int_equal(image[d->heads * track + i], 0xf6);
	assert_int_not_equal(image[(d->heads + 1) * track], 0xf6);

	put(vm, 0x03); /* the processor moves the bytes */
	put(vm, 0xdf);
	put(vm, 0x03);
	transfer(vm, 0x46, 1, 0, d->spt, d->spt);
	for (uint32_t i = 0; i < bytes; i++) {
		assert_int_equal(inb(vm, 0x3f4) & 0xe0, 0xe0);
		assert_int_equal(inb(vm, 0x3f5), 0xf6);
	}
	expect(vm, 0x40, 0x80, 0, 2, 0, 1);
}

static void test_formats(void **state)
{
	for (const struct disk_row *d = disk_rows; d < disk_rows + ARRAY_SIZE(disk_rows); d++) {
		struct vm *vm = start_with(d->kib);

		size_code = d->size;
		assert_int_equal(d->cylinders * d->heads * d->spt * (128u << d->size),
				 d->kib * KIB);
		assert_int_equal(i82078_cmos_type(fdc, 0), d->cmos);
		ready(vm, d->rate);
		check_last(vm, d);
		check_ways(vm, d);
		rig_end(vm);
	}
	for (uint32_t kib = 1; kib < 4096; kib++) {
		bool is = false;

		for (unsigned i = 0; i < ARRAY_SIZE(disk_rows); i++)
			is |= disk_rows[i].kib == kib;
		assert_int_equal(i82078_size_ok(kib * KIB), is);
		assert_false(i82078_size_ok(kib * KIB + 512));
	}
	assert_false(i82078_size_ok(0));
}

/* Words, autoinitialisation, downwards, the wrap within a page, the wrong direction. */
static void test_dma(void **state)
{
	struct vm *vm = start_with(KIB_IMAGE);
	uint8_t buf[16];
	hva_t ram = mem_ptr(vm, 0x10000, 0x20000, true);
	bool tc;

	for (unsigned i = 0; i < 16; i++)
		buf[i] = (uint8_t)(i + 1);
	/* channel 5: address and count in words, A0 of the page is not used */
	outb(vm, 0xd6, 0x55);
	outb(vm, 0xd8, 0);
	outb(vm, 0xc4, 0x00);
	outb(vm, 0xc4, 0x80);
	outb(vm, 0x8b, 0x01);
	outb(vm, 0xc6, 3);
	outb(vm, 0xc6, 0);
	assert_int_equal(i8237_left(dma, 5), 0); /* masked */
	outb(vm, 0xd4, 1);
	assert_int_equal(i8237_left(dma, 5), 8);
	assert_int_equal(i8237_move(dma, 5, buf, 4, true, &tc), 4);
	assert_false(tc);
	assert_int_equal(i8237_move(dma, 5, buf + 4, 12, true, &tc), 4);
	assert_true(tc);
	assert_memory_equal(ram, buf, 8);
	assert_int_equal(i8237_left(dma, 5), 8); /* begins again by itself */
	assert_int_equal(i8237_move(dma, 5, buf, 4, false, &tc), 0);

	/* channel 1, downwards across address 0 of its page */
	outb(vm, 0x0b, 0x65);
	outb(vm, 0x0c, 0);
	outb(vm, 0x02, 1);
	outb(vm, 0x02, 0);
	outb(vm, 0x83, 2);
	outb(vm, 0x03, 3);
	outb(vm, 0x03, 0);
	outb(vm, 0x0a, 1);
	assert_int_equal(i8237_move(dma, 1, buf, 16, true, &tc), 4);
	assert_true(tc);
	assert_int_equal(ram[0x10001], 1);
	assert_int_equal(ram[0x10000], 2);
	assert_int_equal(ram[0x1ffff], 3);
	assert_int_equal(ram[0x1fffe], 4);
	outb(vm, 0x0c, 0);
	assert_int_equal(inb(vm, 0x02), 0xfd);
	assert_int_equal(inb(vm, 0x02), 0xff);
	outb(vm, 0x0d, 0);
	assert_int_equal(inb(vm, 0x0f), 0xff);
	rig_end(vm);
}

static void test_garbage(void **state)
{
	static const struct rig_range ports[] = {
		{0, 16}, {0x80, 16}, {0xc0, 32}, {0x3f0, 8}, {0x3f5, 1}};
	struct rig_random r = rig_random();
	struct vm *vm = start_with(KIB_IMAGE);

	ready(vm, 0);
	for (unsigned i = 0; i < 200; i++) {
		rig_garbage(vm, &vm->pio, ports, ARRAY_SIZE(ports), 300, &r);
		/* now and then out of reset, with a channel that works, or with another disk */
		outb(vm, 0x3f2, 0x1c);
		dma_setup(vm, rig_next(&r) & 1 ? 0x46 : 0x4a, (uint32_t)rig_next(&r) % (2 << 20),
			  (uint32_t)rig_next(&r) % 65536 + 1);
		fail_with = rig_next(&r) % 8 ? 0 : ERR_IO;
		if (rig_next(&r) % 8 == 0)
			assert_int_equal(
				i82078_change_disk(fdc, 0, rig_next(&r) & 1 ? &disk : NULL), 0);
	}
	rig_end(vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read),    cmocka_unit_test(test_write_format),
		cmocka_unit_test(test_formats), cmocka_unit_test(test_errors),
		cmocka_unit_test(test_pio),     cmocka_unit_test(test_change),
		cmocka_unit_test(test_dma),     cmocka_unit_test(test_garbage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
