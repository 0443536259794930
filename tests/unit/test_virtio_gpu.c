/* SPDX-License-Identifier: ISC */
/* test_virtio_gpu.c: the graphics device as a driver uses it: pictures, screen, cursor, EDID; commands that lie; what
 * viewers see; saved state. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "dev/virtio/gpu.h"
#include "tests/unit/virtio_rig.h"
#include "ui/display.h"
#include "vm/stream.h"

#define GPU  16
#define OK   0x1100u
#define W    64u
#define H    32u
#define BACK 0x40000u /* the guest's picture: two pieces */

static struct rig rig;
static struct drv drv;
static struct virtio_dev *vd;
static struct display display;
static gpa_t page; /* command at 0, answer at 2048, list at 4096 */

static void bring_up(void)
{
	assert_true(drv_find(&drv, &rig, GPU, 0));
	assert_true(drv_negotiate(&drv, drv_offered(&drv)));
	drv_queue(&drv, 0, 16);
	drv_queue(&drv, 1, 16);
	drv_ok(&drv);
}

static int setup(void **state)
{
	struct virtio_gpu_wiring w = {.display = &display, .slot = 2};

	rig_init(&rig, true);
	display_init(&display);
	assert_int_equal(virtio_gpu_create(rig.vm, rig.host, &w, &vd), 0);
	page = rig_alloc(&rig, 0x4000, 4096);
	bring_up();
	return 0;
}

static int teardown(void **state)
{
	rig_fini(&rig);
	assert_null(display.refresh);
	assert_int_equal(fake_locks_held(), 0);
	assert_int_equal(fake_alloc_live(), 0);
	return 0;
}

/* Runs a command of n words behind the head, with list bytes at page + 4096 after it; the answer's type. */
static unsigned run(unsigned queue, uint32_t type, const uint32_t *body, unsigned n, unsigned list)
{
	const struct drv_seg seg[] = {
		{page, 24 + 4 * n, false}, {page + 4096, list, false}, {page + 2048, 1500, true}};
	uint32_t len;
	void *cookie;

	memset(rig_at(&rig, page + 2048), 0xee, 1500);
	memset(rig_at(&rig, page), 0, 24);
	rig_put(&rig, page, 4, type);
	rig_put(&rig, page + 4, 4, 1);       /* a fence */
	rig_put(&rig, page + 8, 8, 0x12345); /* its number */
	for (unsigned i = 0; i < n; i++)
		rig_put(&rig, page + 24 + 4 * i, 4, body[i]);
	if (list)
		assert_true(drv_add(&drv, &drv.q[queue], seg, 3, false, NULL));
	else
		assert_true(drv_add(&drv, &drv.q[queue], (const struct drv_seg[]){seg[0], seg[2]},
				    2, false, NULL));
	drv_kick(&drv, queue);
	assert_true(drv_get(&drv, queue, &cookie, &len));
	assert_true(len >= 24);
	assert_int_equal(rig_get(&rig, page + 2048 + 4, 4), 1);
	assert_int_equal(rig_get(&rig, page + 2048 + 8, 8), 0x12345);
	return (unsigned)rig_get(&rig, page + 2048, 4);
}

#define RUN(type, ...)                                                                             \
	run(0, type, (const uint32_t[]){__VA_ARGS__}, sizeof((const uint32_t[]){__VA_ARGS__}) / 4, \
	    0)
#define CURSOR(type, ...)                                                                          \
	run(1, type, (const uint32_t[]){__VA_ARGS__}, sizeof((const uint32_t[]){__VA_ARGS__}) / 4, \
	    0)

static unsigned attach(uint32_t id, uint32_t n, unsigned list)
{
	return run(0, 0x106, (const uint32_t[]){id, n}, 2, list);
}

static void entry(unsigned i, uint64_t gpa, uint32_t len)
{
	rig_put(&rig, page + 4096 + 16 * i, 8, gpa);
	rig_put(&rig, page + 4096 + 16 * i + 8, 8, len);
}

/* A picture of two pieces, in which every dot is another; in format 2 on the screen. */
static void show(void)
{
	for (unsigned i = 0; i < W * H; i++)
		rig_put(&rig, i < 100 ? BACK + 4 * i : BACK + 0x8000 + 4 * (i - 100), 4,
			0xff000000u | i << 8 | (i & 63));
	assert_int_equal(RUN(0x101, 7, 2, W, H), OK);
	entry(0, BACK, 400);
	entry(1, BACK + 0x8000, 4 * W * H - 400);
	assert_int_equal(attach(7, 2, 32), OK);
	assert_int_equal(RUN(0x105, 0, 0, W, H, 0, 0, 7, 0), OK);
	assert_int_equal(RUN(0x103, 0, 0, W, H, 0, 7), OK);
	assert_int_equal(RUN(0x104, 0, 0, W, H, 7, 0), OK);
}

static uint32_t dot(unsigned x, unsigned y)
{
	return display.pixels[y * display.width + x];
}

static uint32_t pattern(unsigned x, unsigned y)
{
	return (y * W + x) << 8 | (x & 63);
}

/* Rows that a look brings. */
static unsigned look(void)
{
	unsigned n = 0;

	assert_true(display_begin(&display));
	for (unsigned y = 0; y < display.height; y++)
		n += display.row_dirty[y];
	display_take(&display);
	display_done(&display);
	return n;
}

static void test_picture(void **state)
{
	look();
	assert_int_equal(display.width, 1024);
	assert_int_equal(display.height, 768);
	show();
	assert_int_equal(look(), H);
	assert_int_equal(display.width, W);
	for (unsigned i = 0; i < W * H; i++)
		assert_int_equal(dot(i % W, i / W), pattern(i % W, i / W));
	assert_int_equal(look(), 0); /* nothing has changed */
	/* what is transferred is seen when it is flushed; a part of rows 4 and 5 */
	for (unsigned i = 0; i < W * H; i++)
		rig_put(&rig, BACK + 0x10000 + 4 * i, 4, 0x00123456);
	assert_int_equal(RUN(0x107, 7, 0), OK);
	entry(0, BACK + 0x10000, 4 * W * H);
	assert_int_equal(attach(7, 1, 16), OK);
	assert_int_equal(RUN(0x105, 10, 4, 3, 2, 4 * (4 * W + 10), 0, 7, 0), OK);
	assert_int_equal(RUN(0x104, 0, 4, W, 2, 7, 0), OK);
	assert_int_equal(look(), 2);
	assert_int_equal(dot(9, 4), pattern(9, 4));
	assert_int_equal(dot(10, 4), 0x123456);
	assert_int_equal(dot(12, 5), 0x123456);
	assert_int_equal(dot(13, 5), pattern(13, 5));
	/* a part of it on the screen */
	assert_int_equal(RUN(0x103, 8, 2, 16, 8, 0, 7), OK);
	assert_int_equal(look(), 8);
	assert_int_equal(display.width, 16);
	assert_int_equal(dot(1, 0), pattern(9, 2));
	assert_int_equal(RUN(0x104, 0, 9, W, 20, 7, 0), OK); /* its last row is in sight */
	assert_int_equal(look(), 1);
	/* off, by the way a driver leaves */
	assert_int_equal(RUN(0x102, 7, 0), OK);
	look();
	assert_int_equal(display.width, 1024);
	assert_int_equal(dot(100, 100), 0);
}

static void test_formats(void **state)
{
	static const struct {
		uint32_t format, dot;
	} rows[] = {{1, 0x80112233},  {2, 0x00112233},  {3, 0x33221180},   {4, 0x33221100},
		    {67, 0x80332211}, {68, 0x11223300}, {121, 0x11223380}, {134, 0x00332211}};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		rig_put(&rig, BACK, 4, rows[i].dot);
		assert_int_equal(RUN(0x101, 1 + i, rows[i].format, 1, 1), OK);
		entry(0, BACK, 4);
		assert_int_equal(attach(1 + i, 1, 16), OK);
		assert_int_equal(RUN(0x105, 0, 0, 1, 1, 0, 0, 1 + i, 0), OK);
		assert_int_equal(RUN(0x103, 0, 0, 1, 1, 0, 1 + i), OK);
		look();
		assert_int_equal(dot(0, 0), 0x112233);
	}
	assert_int_equal(RUN(0x101, 99, 5, 1, 1), 0x1205);
}

static void test_cursor(void **state)
{
	show();
	look();
	/* 64 by 64: opaque red, in its lower half half-transparent white */
	for (unsigned i = 0; i < 64 * 64; i++)
		rig_put(&rig, BACK + 0x10000 + 4 * i, 4, i < 64 * 4 ? 0xffff0000 : 0x80ffffff);
	assert_int_equal(RUN(0x101, 8, 1, 64, 64), OK);
	entry(0, BACK + 0x10000, 4 * 64 * 64);
	assert_int_equal(attach(8, 1, 16), OK);
	assert_int_equal(RUN(0x105, 0, 0, 64, 64, 0, 0, 8, 0), OK);
	assert_int_equal(CURSOR(0x300, 0, 12, 11, 0, 8, 2, 1, 0), OK);
	assert_int_equal(look(), H - 10);
	assert_int_equal(dot(9, 10), pattern(9, 10));
	assert_int_equal(dot(10, 10), 0xff0000);
	assert_int_equal(dot(10, 9), pattern(10, 9));
	assert_int_equal(dot(10, 20) >> 16, 0x82); /* white by 128 / 255 over 5 */
	/* beyond the corner; where it was comes back */
	assert_int_equal(CURSOR(0x301, 0, 0, 0, 0, 0, 0, 0, 0), OK);
	look();
	assert_int_equal(dot(0, 0), 0xff0000);
	assert_int_equal(dot(63, 0), pattern(63, 0)); /* two columns and a row are out of sight */
	assert_int_equal(dot(61, 0), 0xff0000);
	assert_int_equal(CURSOR(0x300, 0, 5, 5, 0, 0, 0, 0, 0), OK);
	look();
	assert_int_equal(dot(0, 0), pattern(0, 0));
	assert_int_equal(CURSOR(0x300, 1, 5, 5, 0, 8, 0, 0, 0), 0x1202);
	assert_int_equal(CURSOR(0x300, 0, 5, 5, 0, 77, 0, 0, 0), 0x1203);
	assert_int_equal(CURSOR(0x101, 9, 2, W, H), 0x1200); /* not on this queue */
	/* gone with its picture */
	assert_int_equal(CURSOR(0x300, 0, 0, 0, 0, 8, 0, 0, 0), OK);
	assert_int_equal(RUN(0x102, 8, 0), OK);
	look();
	assert_int_equal(dot(0, 0), pattern(0, 0));
}

static void test_information(void **state)
{
	assert_int_equal(drv_config(&drv, 8, 4), 1);
	assert_int_equal(drv_config(&drv, 12, 4), 0);
	assert_int_equal(run(0, 0x100, NULL, 0, 0), 0x1101);
	assert_int_equal(rig_get(&rig, page + 2048 + 24 + 8, 4), 1024);
	assert_int_equal(rig_get(&rig, page + 2048 + 24 + 12, 4), 768);
	assert_int_equal(rig_get(&rig, page + 2048 + 24 + 16, 4), 1);
	assert_int_equal(rig_get(&rig, page + 2048 + 48 + 16, 4), 0);
	assert_int_equal(RUN(0x10a, 0, 0), 0x1104);
	assert_int_equal(rig_get(&rig, page + 2048 + 24, 4), 128);
	assert_int_equal(rig_get(&rig, page + 2048 + 32, 8), 0x00ffffffffffff00);
	assert_int_equal(RUN(0x10a, 1, 0), 0x1202);
	assert_int_equal(RUN(0x108, 0, 0), 0x1200); /* no 3D */
	assert_int_equal(run(0, 0x101, (const uint32_t[]){1, 2}, 2, 0),
			 0x1200); /* half a command */
}

static void test_lies(void **state)
{
	show();
	assert_int_equal(RUN(0x101, 7, 2, W, H), 0x1203); /* is there */
	assert_int_equal(RUN(0x101, 0, 2, W, H), 0x1203);
	assert_int_equal(RUN(0x101, 8, 2, 0, H), 0x1205);
	assert_int_equal(RUN(0x101, 8, 2, 16384, 16384), 0x1205);
	assert_int_equal(RUN(0x101, 8, 2, UINT32_MAX, 2), 0x1205);
	assert_int_equal(RUN(0x102, 8, 0), 0x1203);
	assert_int_equal(RUN(0x103, 0, 0, W + 1, H, 0, 7), 0x1205);
	assert_int_equal(RUN(0x103, 1, 0, UINT32_MAX, H, 0, 7), 0x1205);
	assert_int_equal(RUN(0x103, 0, 0, W, H, 1, 7), 0x1202);
	assert_int_equal(RUN(0x103, 0, 0, W, H, 0, 8), 0x1203);
	assert_int_equal(RUN(0x104, 0, UINT32_MAX, W, 2, 7, 0), 0x1205);
	assert_int_equal(RUN(0x105, 0, H, W, 1, 0, 0, 7, 0), 0x1205);
	assert_int_equal(RUN(0x105, 0, 0, W, H, 4, 0, 7, 0), 0x1200); /* beyond what is behind it */
	assert_int_equal(RUN(0x105, 0, 0, 1, 1, 0, UINT32_MAX, 7, 0), 0x1205); /* far beyond */
	assert_int_equal(attach(7, 1, 16), 0x1200);                            /* twice */
	assert_int_equal(RUN(0x107, 7, 0), OK);
	assert_int_equal(RUN(0x105, 0, 0, 1, 1, 0, 0, 7, 0), 0x1200); /* nothing behind it */
	assert_int_equal(attach(7, 3, 32), 0x1205);                   /* more than there are */
	assert_int_equal(attach(7, UINT32_MAX, 32), 0x1205);
	entry(0, UINT64_MAX, 400);
	assert_int_equal(attach(7, 1, 16), 0x1205);
	entry(0, RIG_RAM - 4, 400); /* leaves RAM: found out when it is read */
	assert_int_equal(attach(7, 1, 16), OK);
	assert_int_equal(RUN(0x105, 0, 0, 1, 1, 0, 0, 7, 0), OK);
	assert_int_equal(RUN(0x105, 0, 0, 2, 1, 0, 0, 7, 0), 0x1200);
	/* 64 MiB, in pictures of 2 MiB and some; one that is given back makes room again, and is black */
	for (uint32_t i = 0; i < 31; i++)
		assert_int_equal(RUN(0x101, 100 + i, 2, 1024, 512), OK);
	assert_int_equal(RUN(0x101, 200, 2, 1024, 512), 0x1201);
	assert_int_equal(RUN(0x102, 103, 0), OK);
	assert_int_equal(RUN(0x101, 200, 2, 1024, 512), OK);
	assert_int_equal(RUN(0x103, 0, 0, 1024, 512, 0, 200), OK);
	look();
	assert_int_equal(dot(1023, 511), 0);
	/* a reset takes all */
	drv_wr(&drv, 20, 1, 0);
	bring_up();
	assert_int_equal(RUN(0x101, 7, 2, W, H), OK);
}

/* ---- saved state -------------------------------------------------------------------------------------------- */

static uint8_t file[4 * MIB];
static size_t file_len, file_at;

static int file_write(void *ctx, const void *buf, size_t len)
{
	if (len > sizeof(file) - file_len)
		return ERR_NOSPC;
	memcpy(file + file_len, buf, len);
	file_len += len;
	return 0;
}

static int file_read(void *ctx, void *buf, size_t len)
{
	if (len > file_len - file_at)
		return ERR_FORMAT;
	memcpy(buf, file + file_at, len);
	file_at += len;
	return 0;
}

static const struct state_io file_io = {file_write, file_read};

/* All devices' sections. */
static int sync_all(bool load)
{
	struct state_stream st;
	int err = state_open(&st, &file_io, NULL, load);

	for (struct dev *d = rig.vm->devs; d && !err; d = d->next) {
		if (!d->cls->state)
			continue;
		if (load)
			err = state_next(&st) ? st.err : state_expect(&st, d->cls->name, 8);
		else
			state_begin(&st, d->cls->name, 8);
		if (!err)
			err = d->cls->state(d, &st);
		if (!err)
			err = load ? state_leave(&st) : state_end(&st);
	}
	state_close(&st);
	return err;
}

static void test_state(void **state)
{
	uint8_t *at;

	show();
	assert_int_equal(CURSOR(0x300, 0, 60, 30, 0, 7, 0, 0, 0), OK);
	look();
	file_len = file_at = 0;
	assert_int_equal(sync_all(false), 0);
	rig_reset_devices(&rig);
	look();
	assert_int_equal(display.width, 1024);
	assert_int_equal(sync_all(true), 0);
	look();
	assert_int_equal(display.width, W);
	assert_int_equal(dot(5, 5), pattern(5, 5));
	assert_int_equal(dot(61, 31), pattern(1, 1)); /* the cursor, which has the same picture */
	/* what is behind the picture, too */
	rig_put(&rig, BACK, 4, 0x777777);
	assert_int_equal(RUN(0x105, 0, 0, W, H, 0, 0, 7, 0), OK);
	assert_int_equal(RUN(0x104, 0, 0, W, H, 7, 0), OK);
	look();
	assert_int_equal(dot(0, 0), 0x777777);
	/* a screen larger than its picture is refused, and nothing of it is used */
	at = memmem(file, file_len, "scanout.w", 9);
	assert_non_null(at);
	at[9 + 4] = 255;
	file_at = 0;
	assert_true(sync_all(true) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_picture, setup, teardown),
		cmocka_unit_test_setup_teardown(test_formats, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cursor, setup, teardown),
		cmocka_unit_test_setup_teardown(test_information, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lies, setup, teardown),
		cmocka_unit_test_setup_teardown(test_state, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
