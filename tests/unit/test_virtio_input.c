/* SPDX-License-Identifier: ISC */
/* test_virtio_input.c: virtio keyboard and tablet: what a driver finds out, events, and what happens
 * where it gives too few buffers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "dev/virtio/input.h"
#include "tests/unit/virtio_rig.h"
#include "ui/input.h"

static struct rig rig;
static struct drv drv;
static struct input in;
static gpa_t mem;

static int setup(void **state)
{
	rig_init(&rig, true);
	input_init(&in);
	mem = rig_alloc(&rig, 0x1000, 4096);
	return 0;
}

static int teardown(void **state)
{
	rig_fini(&rig);
	assert_int_equal(fake_locks_held(), 0);
	assert_int_equal(fake_alloc_live(), 0);
	return 0;
}

static void create(bool tablet)
{
	struct virtio_input_wiring w = {.input = &in, .tablet = tablet, .slot = -1};
	struct virtio_dev *vd;

	assert_int_equal(virtio_input_create(rig.vm, rig.host, &w, &vd), 0);
	assert_true(drv_find(&drv, &rig, 18, 0));
}

static void up(void)
{
	assert_true(drv_negotiate(&drv, VIRTIO_F_VERSION_1));
	drv_msix(&drv, 3);
	drv_queue(&drv, 0, 0);
	drv_queue(&drv, 1, 0);
	drv_ok(&drv);
}

static void pick(uint8_t sel, uint8_t sub)
{
	bus_write(&rig.vm->mmio, 0, drv.config + 0, 1, sel);
	bus_write(&rig.vm->mmio, 0, drv.config + 1, 1, sub);
}

static unsigned size(uint8_t sel, uint8_t sub)
{
	pick(sel, sub);
	return (unsigned)drv_config(&drv, 2, 1);
}

/* Gives n buffers of 8 bytes. */
static void give(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct drv_seg seg = {rig_alloc(&rig, 8, 8), 8, true};

		assert_true(drv_add(&drv, &drv.q[0], &seg, 1, false, (void *)(uintptr_t)seg.gpa));
	}
	drv_kick(&drv, 0);
}

static void event(unsigned type, unsigned code, uint32_t value)
{
	void *cookie = NULL;
	uint32_t len = 0;
	uint8_t *p;

	assert_true(drv_get(&drv, 0, &cookie, &len));
	assert_int_equal(len, 8);
	p = rig_at(&rig, (gpa_t)(uintptr_t)cookie);
	assert_int_equal(virtio_get(p, 2), type);
	assert_int_equal(virtio_get(p + 2, 2), code);
	assert_int_equal(virtio_get(p + 4, 4), value);
}

static void none(void)
{
	void *cookie = NULL;
	uint32_t len = 0;

	assert_false(drv_get(&drv, 0, &cookie, &len));
}

static void test_keyboard(void **state)
{
	create(false);
	assert_int_equal(size(0x01, 0), 14);
	assert_int_equal(drv_config(&drv, 8, 1), 'V');
	assert_int_equal(size(0x03, 0), 8);
	assert_int_equal(size(0x11, 1), 16); /* keys up to 127 */
	assert_int_equal(drv_config(&drv, 8, 4), 0xfffffffe);
	assert_int_equal(drv_config(&drv, 23, 1), 0xe0); /* 125, 126, 127 */
	assert_int_equal(size(0x11, 2), 0);
	assert_int_equal(size(0x11, 0x11), 1);
	assert_int_equal(size(0x12, 0), 0);
	assert_int_equal(size(0xff, 0xff), 0);
	assert_int_equal(drv_config(&drv, 8, 4), 0);

	assert_false(input_has(&in, INPUT_KEYBOARD));
	input_key(&in, 0x1e, true);
	up();
	assert_true(input_has(&in, INPUT_KEYBOARD));
	give(8);
	none();
	input_key(&in, 0x1e, true);
	event(1, 30, 1);
	event(0, 0, 0);
	assert_int_equal(rig.msi[1], 1);
	input_key(&in, KEY_E0 | 0x48, true);
	event(1, 103, 1);
	event(0, 0, 0);
	input_key(&in, KEY_E0 | 0x48, false);
	event(1, 103, 0);
	event(0, 0, 0);
	input_key(&in, 0x1e, false);
	event(1, 30, 0);
	event(0, 0, 0);
	/* no buffers: what is missing comes later, and nothing sticks */
	input_key(&in, KEY_PAUSE, true);
	assert_true(input_busy(&in, INPUT_KEYBOARD));
	input_key(&in, 0x02, true);
	input_key(&in, 0x02, false);
	give(1);
	none();
	give(3);
	event(1, 119, 1);
	event(0, 0, 0);
	none();
	assert_false(input_busy(&in, INPUT_KEYBOARD));
	drv_wr(&drv, 20, 1, 0);
	assert_false(input_has(&in, INPUT_KEYBOARD));
	input_key(&in, KEY_PAUSE, false);
}

static void test_tablet(void **state)
{
	create(true);
	assert_int_equal(size(0x11, 1), 0x114 / 8 + 1);
	assert_int_equal(drv_config(&drv, 8 + 0x22, 1), 0x1f);
	assert_int_equal(size(0x11, 3), 1);
	assert_int_equal(size(0x12, 1), 20);
	assert_int_equal(drv_config(&drv, 12, 4), 32767);
	assert_int_equal(size(0x12, 2), 0);
	assert_false(input_point(&in, 1, 1, 0, 0));
	up();
	give(16);
	assert_true(input_point(&in, 100, 40000, 0, 0));
	event(3, 0, 100);
	event(3, 1, 32767);
	event(0, 0, 0);
	assert_true(input_point(&in, 100, 200, -1, BUTTON_LEFT | BUTTON_EXTRA));
	event(3, 1, 200);
	event(1, 0x110, 1);
	event(1, 0x114, 1);
	event(2, 8, 1);
	event(0, 0, 0);
	input_point(&in, 100, 200, 0, BUTTON_LEFT | BUTTON_EXTRA);
	none();
	give(16); /* what was used is given again */
	for (unsigned i = 0; i < 100; i++)
		input_point(&in, i, i, 1, i & 1);
	drv_queue_reset(&drv.q[0], &rig);
}

/* A ring that is nonsense: the device asks for a reset and nothing else happens. */
static void test_broken(void **state)
{
	struct drv_seg seg = {UINT64_C(0xdead00000000), 8, true};

	create(false);
	up();
	assert_true(drv_add(&drv, &drv.q[0], &seg, 1, false, NULL));
	drv_kick(&drv, 0);
	input_key(&in, 0x1e, true);
	assert_int_equal(drv_rd(&drv, 20, 1) & VIRTIO_S_NEEDS_RESET, VIRTIO_S_NEEDS_RESET);
	assert_false(input_has(&in, INPUT_KEYBOARD));
	input_key(&in, 0x1e, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_keyboard, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tablet, setup, teardown),
		cmocka_unit_test_setup_teardown(test_broken, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
