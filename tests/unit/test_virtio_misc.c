/* SPDX-License-Identifier: ISC */
/* test_virtio_misc.c: console, entropy and balloon devices. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "chr/chr.h"
#include "dev/virtio/balloon.h"
#include "dev/virtio/console.h"
#include "dev/virtio/rng.h"
#include "tests/unit/virtio_rig.h"

#define RING (VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC)

static struct rig rig;
static struct drv drv;
static struct virtio_dev *vd;
static gpa_t mem;

static void tty_write(struct chr *c, const void *buf, size_t len);
static void tty_ready(struct chr *c);

static const struct chr_ops tty_ops = {.name = "tty", .write = tty_write, .rx_ready = tty_ready};

static struct tty {
	struct chr c;
	char out[4096];
	size_t n;
	unsigned ready;
} tty;

static void tty_write(struct chr *c, const void *buf, size_t len)
{
	/* emergency output is part of a register write, under the device's lock */
	assert_true(fake_locks_held() == 0 || len == 1);
	assert_true(tty.n + len <= sizeof(tty.out));
	memcpy(tty.out + tty.n, buf, len);
	tty.n += len;
}

static void tty_ready(struct chr *c)
{
	assert_int_equal(fake_locks_held(), 0);
	tty.ready++;
}

static size_t type(const char *s)
{
	return tty.c.client.receive(tty.c.client.dev, (const uint8_t *)s, strlen(s));
}

static int setup(void **state)
{
	rig_init(&rig, true);
	memset(&tty, 0, sizeof(tty));
	tty.c.ops = &tty_ops;
	mem = rig_alloc(&rig, 0x10000, 4096);
	return 0;
}

static int teardown(void **state)
{
	rig_fini(&rig);
	assert_int_equal(fake_locks_held(), 0);
	assert_int_equal(fake_alloc_live(), 0);
	return 0;
}

static void up(unsigned id, uint64_t features, unsigned queues)
{
	assert_true(drv_find(&drv, &rig, id, 0));
	assert_true(drv_negotiate(&drv, features));
	drv_msix(&drv, queues + 1);
	drv_wr(&drv, 16, 2, 0);
	for (unsigned i = 0; i < queues; i++)
		drv_queue(&drv, i, 0);
	drv_ok(&drv);
}

static void add(unsigned q, gpa_t at, uint32_t len, bool write)
{
	struct drv_seg seg = {at, len, write};

	assert_true(drv_add(&drv, &drv.q[q], &seg, 1, false, NULL));
	drv_kick(&drv, q);
}

static void test_console(void **state)
{
	struct virtio_console_wiring w = {.chr = &tty.c, .slot = -1};
	void *cookie;
	uint32_t len;

	assert_int_equal(virtio_console_create(rig.vm, rig.host, &w, &vd), 0);
	assert_int_equal(type("early"), 0); /* kept by the back end until there is a driver */
	assert_true(drv_find(&drv, &rig, 3, 0));
	assert_int_equal(drv_config(&drv, 4, 4), 1);
	bus_write(&rig.vm->mmio, 0, drv.config + 8, 4, '!'); /* emergency, before any set-up */
	assert_memory_equal(tty.out, "!", 1);
	up(3, RING | 5, 2);
	assert_int_equal(tty.ready, 1);

	memcpy(rig_at(&rig, mem), "login: ", 7);
	add(1, mem, 7, false);
	assert_int_equal(tty.n, 8);
	assert_memory_equal(tty.out, "!login: ", 8);
	assert_true(drv_get(&drv, 1, &cookie, &len));
	assert_int_equal(len, 0);

	assert_int_equal(type("root\n"), 0);
	add(0, mem + 256, 4, true);
	assert_int_equal(tty.ready, 2);
	assert_int_equal(type("root\n"), 4);
	assert_int_equal(rig.msi[1], 1);
	assert_true(drv_get(&drv, 0, &cookie, &len));
	assert_int_equal(len, 4);
	assert_memory_equal(rig_at(&rig, mem + 256), "root", 4);
	add(0, mem + 256, 1, true);
	assert_int_equal(tty.ready, 3);
	add(0, mem + 300, 100, true);
	assert_int_equal(tty.ready, 3);
	assert_int_equal(type("\nls"), 3);
	assert_true(drv_get(&drv, 0, &cookie, &len));
	assert_int_equal(len, 1);
	assert_true(drv_get(&drv, 0, &cookie, &len));
	assert_int_equal(len, 2);
	assert_memory_equal(rig_at(&rig, mem + 300), "ls", 2);

	virtio_console_resize(vd, 132, 43);
	virtio_console_resize(vd, 132, 43);
	assert_int_equal(rig.msi[0], 1);
	assert_int_equal(drv_config(&drv, 0, 4), 132 | 43 << 16);
	drv_wr(&drv, 20, 1, 0);
	assert_int_equal(type("x"), 0);
}

static void test_rng(void **state)
{
	struct virtio_rng_wiring w = {.rate = 1000, .slot = -1};
	uint8_t zero[64] = {0};
	uint32_t len = 0, total = 0;
	void *cookie;

	assert_int_equal(virtio_rng_create(rig.vm, rig.host, &w, &vd), 0);
	up(4, RING, 1);
	add(0, mem, 64, true);
	assert_true(drv_get(&drv, 0, &cookie, &len));
	assert_int_equal(len, 64);
	assert_memory_not_equal(rig_at(&rig, mem), zero, 64);
	/* the rest of the bucket, then nothing before time passes */
	add(0, mem, 8192, true);
	assert_true(drv_get(&drv, 0, &cookie, &len));
	assert_int_equal(len, 936);
	add(0, mem, 100, true);
	assert_false(drv_get(&drv, 0, &cookie, &len));
	fake_advance(NS_PER_SEC / 10);
	assert_true(drv_get(&drv, 0, &cookie, &len));
	assert_true(len > 0 && len <= 100);
	/* a greedy guest gets its rate */
	for (unsigned i = 0; i < 1000; i++) {
		if (drv.q[0].n_free == drv.q[0].size)
			add(0, mem, 4096, true);
		fake_advance(NS_PER_SEC / 100);
		while (drv_get(&drv, 0, &cookie, &len))
			total += len;
	}
	assert_in_range(total, 9000, 11100);
	/* an empty buffer, and one that is not writable, come back empty */
	add(0, mem, 64, false);
	fake_advance(NS_PER_SEC);
	while (drv_get(&drv, 0, &cookie, &len))
		;
	assert_int_equal(len, 0);
	assert_int_equal(drv_rd(&drv, 20, 1), 0xf);
}

static bool page_is(unsigned page, uint8_t v)
{
	for (unsigned i = 0; i < 4096; i++)
		if (rig_at(&rig, page * UINT64_C(4096))[i] != v)
			return false;
	return true;
}

static void test_balloon(void **state)
{
	static const uint32_t pages[] = {512, 513, 514, 520, 519, 518, 4095, 4096, 0xffffffff, 600};
	struct virtio_balloon_wiring w = {.slot = -1};
	uint32_t len;
	void *cookie;

	assert_int_equal(virtio_balloon_create(rig.vm, rig.host, &w, &vd), 0);
	up(5, RING | BIT64(2) | BIT64(5), 3);
	virtio_balloon_set(vd, 40960);
	assert_int_equal(rig.msi[0], 1);
	assert_int_equal(drv_config(&drv, 0, 4), 10);
	for (unsigned i = 510; i < 610; i++)
		memset(rig_at(&rig, i * UINT64_C(4096)), 0x77, 4096);
	memcpy(rig_at(&rig, mem), pages, sizeof(pages));
	add(0, mem, sizeof(pages) + 3, false);
	assert_true(drv_get(&drv, 0, &cookie, &len));
	for (unsigned i = 510; i < 610; i++) {
		bool given = (i >= 512 && i <= 514) || (i >= 518 && i <= 520) || i == 600;

		if (!page_is(i, given ? 0 : 0x77))
			fail_msg("page %u", i);
	}
	bus_write(&rig.vm->mmio, 0, drv.config + 4, 4, 10);
	assert_int_equal(virtio_balloon_actual(vd), 40960);
	add(1, mem, sizeof(pages), false);
	assert_true(drv_get(&drv, 1, &cookie, &len));
	/* reported free pages: only whole ones */
	add(2, 540 * 4096 + 1, 3 * 4096, true);
	assert_true(drv_get(&drv, 2, &cookie, &len));
	assert_true(page_is(540, 0x77) && page_is(541, 0) && page_is(542, 0) && page_is(543, 0x77));
	drv_wr(&drv, 20, 1, 0);
	assert_int_equal(virtio_balloon_actual(vd), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_console, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rng, setup, teardown),
		cmocka_unit_test_setup_teardown(test_balloon, setup, teardown),
	};

	return cmocka_run_group_tests_name("virtio-misc", tests, NULL, NULL);
}
