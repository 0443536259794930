/* SPDX-License-Identifier: ISC */
/* test_virtio_threads.c: the block device on the real platform: requests are answered by another
 * thread while the driver adds more, and the driver sleeps until it is interrupted. A notification
 * or an interrupt that is lost stops everything, which is what this test looks for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define RIG_REAL_PLAT
#include "block/block.h"
#include "dev/virtio/blk.h"
#include "tests/unit/virtio_rig.h"

#define SECTORS 256
#define TOTAL   300000

static struct rig rig;
static struct drv drv;

static struct {
	struct block b;
	_Atomic(struct block_req *) queue; /* newest first */
	_Atomic bool stop;
	struct plat_event work;
	uint8_t data[SECTORS * 512];
} disk;

static void disk_submit(struct block *b, struct block_req *r)
{
	/* some at once, on the caller's thread */
	if (r->offset / 512 % 5 == 0) {
		r->done(r, 0);
		return;
	}
	r->next = atomic_load(&disk.queue);
	while (!atomic_compare_exchange_weak(&disk.queue, &r->next, r))
		;
	plat_event_set(&disk.work);
}

static void disk_thread(void *arg)
{
	while (!atomic_load(&disk.stop)) {
		struct block_req *r;

		plat_event_wait(&disk.work, PLAT_FOREVER);
		plat_event_clear(&disk.work);
		for (r = atomic_exchange(&disk.queue, NULL); r;) {
			struct block_req *next = r->next;

			r->done(r, 0);
			r = next;
		}
	}
}

static const struct block_ops disk_ops = {.name = "thread", .submit = disk_submit};

/* Sleeps until the number of interrupts is not seen any more. */
static unsigned wait_irq(unsigned seen)
{
	uint64_t limit = plat_now() + 10 * NS_PER_SEC;
	unsigned now;

	while ((now = __atomic_load_n(&rig.msi[1], __ATOMIC_SEQ_CST)) == seen) {
		if (plat_now() > limit)
			fail_msg("an interrupt or a notification was lost");
		plat_yield();
	}
	return now;
}

static void run(uint64_t features, uint64_t seed)
{
	gpa_t page = rig_alloc(&rig, 0x40000, 4096);
	unsigned sent = 0, done = 0, irqs = rig.msi[1];
	void *cookie;
	uint32_t len;

	drv_wr(&drv, 20, 1, 0);
	while (drv_rd(&drv, 20, 1))
		plat_yield();
	drv_wr(&drv, 20, 1, 3);
	assert_true(drv_negotiate(&drv, features));
	drv_msix(&drv, 2);
	drv_queue(&drv, 0, 64);
	drv_ok(&drv);
	while (done < TOTAL) {
		for (unsigned n = (unsigned)(rig_rand(&seed) % 8); n && sent < TOTAL; n--) {
			gpa_t at = page + 64 * (sent % 64);
			struct drv_seg seg[] = {
				{at, 16, false}, {page + 0x10000, 512, true}, {at + 16, 1, true}};

			if (sent - done >= 60)
				break;
			rig_put(&rig, at, 8, 0);
			rig_put(&rig, at + 8, 8, rig_rand(&seed) % SECTORS);
			if (!drv_add(&drv, &drv.q[0], seg, 3, drv.indirect, NULL))
				break;
			sent++;
		}
		drv_kick(&drv, 0);
		while (drv_get(&drv, 0, &cookie, &len))
			done++;
		if (sent == done || rig_rand(&seed) % 4)
			continue;
		/* nothing to be seen, and the device knows where we stand: it must interrupt */
		irqs = __atomic_load_n(&rig.msi[1], __ATOMIC_SEQ_CST);
		atomic_thread_fence(memory_order_seq_cst);
		if (!drv_get(&drv, 0, &cookie, &len))
			irqs = wait_irq(irqs);
		else
			done++;
	}
}

static void test_threads(void **state)
{
	struct virtio_blk_wiring w = {.blk = &disk.b, .slot = -1};
	struct virtio_dev *vd;
	struct plat_thread *t;

	rig_init(&rig, true);
	disk.b = (struct block){.ops = &disk_ops, .size = sizeof(disk.data)};
	assert_int_equal(virtio_blk_create(rig.vm, rig.host, &w, &vd), 0);
	assert_true(drv_find(&drv, &rig, 2, 0));
	assert_int_equal(plat_thread_create("disk", disk_thread, NULL, &t), 0);
	print_message("seeds 1 to 3\n");
	run(VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC, 1);
	run(VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX, 2);
	run(VIRTIO_F_VERSION_1, 3);
	rig_reset_devices(&rig);
	atomic_store(&disk.stop, true);
	plat_event_set(&disk.work);
	plat_thread_join(t);
	rig_fini(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests_name("virtio-threads", tests, NULL, NULL);
}
