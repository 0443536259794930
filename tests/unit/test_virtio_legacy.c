/* SPDX-License-Identifier: ISC */
/* test_virtio_legacy.c: a disk and a network card as drivers from before virtio 1.0 use them: ports of BAR 0, one block
 * of memory for a queue, queues in use before DRIVER_OK, resets that are over at once; and a modern driver on the
 * same devices. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "block/block.h"
#include "dev/virtio/blk.h"
#include "dev/virtio/net.h"
#include "net/net.h"
#include "tests/unit/virtio_rig.h"

#define BLK_FN  (4 * PCI_FUNCS)
#define NET_FN  (5 * PCI_FUNCS)
#define F_MRG   BIT(15)
#define F_MAC   BIT(5)
#define F_EVENT BIT(29)
#define SIZE    256u /* of both devices' queues */

static struct rig rig;
static struct block disk;
static struct block_req *held;
static bool hold;
static struct net wire;
static uint8_t sent[2048];
static size_t sent_len;
static struct virtio_dev *blk, *nic;

static void answer(struct block_req *r)
{
	for (unsigned i = 0; i < r->n_vec; i++)
		if (r->op == BLOCK_READ)
			memset(r->vec[i].base, 0x5a, r->vec[i].len);
	r->done(r, 0);
}

static void disk_submit(struct block *b, struct block_req *r)
{
	if (hold)
		held = r;
	else
		answer(r);
}

static void wire_send(struct net *n, const struct net_vec *vec, unsigned n_vec)
{
	sent_len = 0;
	for (unsigned i = 0; i < n_vec; i++) {
		memcpy(sent + sent_len, vec[i].base, vec[i].len);
		sent_len += vec[i].len;
	}
}

static void wire_ready(struct net *n)
{
}

static const struct block_ops disk_ops = {.name = "ram", .submit = disk_submit};
static const struct net_ops wire_ops = {.name = "wire", .send = wire_send, .rx_ready = wire_ready};

static int setup(void **state)
{
	struct virtio_blk_wiring bw = {.blk = &disk, .slot = 4, .transitional = true};
	struct virtio_net_wiring nw = {.net = &wire, .slot = 5, .transitional = true};

	rig_init(&rig, true);
	hold = false;
	held = NULL;
	sent_len = 0;
	disk = (struct block){.ops = &disk_ops, .size = 1 * MIB};
	wire = (struct net){.ops = &wire_ops, .mac = {2, 0, 0, 0, 0, 1}};
	assert_int_equal(virtio_blk_create(rig.vm, rig.host, &bw, &blk), 0);
	assert_int_equal(virtio_net_create(rig.vm, rig.host, &nw, &nic), 0);
	for (unsigned fn = BLK_FN; fn <= NET_FN; fn += PCI_FUNCS)
		cfg_wr(&rig, fn, PCI_COMMAND, 2, PCI_CMD_IO | PCI_CMD_MEM | PCI_CMD_MASTER);
	return 0;
}

static int teardown(void **state)
{
	rig_fini(&rig);
	assert_int_equal(fake_locks_held(), 0);
	assert_int_equal(fake_alloc_live(), 0);
	return 0;
}

static uint32_t in(unsigned fn, unsigned reg, unsigned size)
{
	return (uint32_t)bus_read(&rig.vm->pio, 0, cfg_bar(&rig, fn, 0) + reg, size);
}

static void out(unsigned fn, unsigned reg, unsigned size, uint32_t v)
{
	bus_write(&rig.vm->pio, 0, cfg_bar(&rig, fn, 0) + reg, size, v);
}

/* A queue of the device's size at a page of ours. */
static void place(unsigned fn, unsigned queue, struct drv_queue *q)
{
	out(fn, 14, 2, queue);
	*q = (struct drv_queue){.size = in(fn, 12, 2)};
	assert_int_equal(q->size, SIZE);
	q->desc = rig_alloc(&rig, 12288, 4096);
	q->avail = q->desc + 16 * SIZE;
	q->used = q->desc + 8192; /* the page behind 4096 + 2 * (3 + 256) */
	drv_queue_reset(q, &rig);
	out(fn, 8, 4, (uint32_t)(q->desc / 4096));
	assert_int_equal(in(fn, 8, 4), q->desc / 4096);
}

static void kick(unsigned fn, unsigned queue, struct drv_queue *q)
{
	rig_put(&rig, q->avail + 2, 2, q->next_avail);
	out(fn, 16, 2, queue);
}

static void add(struct drv_queue *q, const struct drv_seg *seg, unsigned n)
{
	struct drv d = {.r = &rig};

	assert_true(drv_add(&d, q, seg, n, false, NULL));
}

static unsigned used(const struct drv_queue *q)
{
	return (unsigned)rig_get(&rig, q->used + 2, 2);
}

/* Sector 3, of the header at page, into page + 4096; status at page + 64. */
static void read_sector(struct drv_queue *q, gpa_t page)
{
	const struct drv_seg seg[] = {
		{page, 16, false}, {page + 4096, 512, true}, {page + 64, 1, true}};

	rig_put(&rig, page, 8, 0);
	rig_put(&rig, page + 8, 8, 3);
	rig_put(&rig, page + 64, 1, 0xff);
	add(q, seg, 3);
	kick(BLK_FN, 0, q);
}

static void test_identity(void **state)
{
	assert_int_equal(cfg_rd(&rig, BLK_FN, 0, 4), 0x10011af4);
	assert_int_equal(cfg_rd(&rig, NET_FN, 0, 4), 0x10001af4);
	assert_int_equal(cfg_rd(&rig, BLK_FN, 8, 1), 0);
	assert_int_equal(cfg_rd(&rig, BLK_FN, 0x2c, 4), 0x00021af4);
	assert_int_equal(cfg_rd(&rig, NET_FN, 0x2c, 4), 0x00011af4);
	assert_int_equal(cfg_rd(&rig, BLK_FN, PCI_BAR0, 4) & 3, 1);
	/* any layout of chains, indirect ones, event indices, and its own: no high half */
	assert_int_equal(in(BLK_FN, 0, 4) & 0x38000200, 0x38000200);
	assert_int_equal(in(BLK_FN, 0, 2), 0); /* whole registers only */
	assert_int_equal(in(BLK_FN, 20, 4), 1 * MIB / 512);
	assert_int_equal(in(NET_FN, 20, 1), 2);
	/* with MSI-X the vectors come in between */
	cfg_wr(&rig, BLK_FN, cfg_cap(&rig, BLK_FN, PCI_CAP_MSIX, 0) + 2, 2, 0x8000);
	assert_int_equal(in(BLK_FN, 24, 4), 1 * MIB / 512);
	out(BLK_FN, 22, 2, 1);
	assert_int_equal(in(BLK_FN, 22, 2), 1);
	out(BLK_FN, 20, 2, 77);
	assert_int_equal(in(BLK_FN, 20, 2), VIRTIO_NO_VECTOR);
	/* queues that are not there */
	out(BLK_FN, 14, 2, 9);
	assert_int_equal(in(BLK_FN, 12, 2), 0);
	out(BLK_FN, 8, 4, 16);
	assert_int_equal(in(BLK_FN, 8, 4), 0);
}

static void test_disk(void **state)
{
	struct drv_queue q;
	gpa_t page = rig_alloc(&rig, 8192, 4096);

	out(BLK_FN, 18, 1, 1);
	out(BLK_FN, 18, 1, 3);
	out(BLK_FN, 4, 4, 0x200 | BIT(31)); /* a bit that is not offered */
	assert_int_equal(in(BLK_FN, 4, 4), 0x200);
	place(BLK_FN, 0, &q);
	read_sector(&q, page); /* before DRIVER_OK: partitions are read early */
	assert_int_equal(used(&q), 1);
	assert_int_equal(rig_get(&rig, page + 4096 + 511, 1), 0x5a);
	assert_int_equal(rig_get(&rig, page + 64, 1), 0);
	assert_true(rig.wire[(4 + 0) % 4]); /* slot 4, INTA# */
	assert_int_equal(in(BLK_FN, 19, 1), 1);
	assert_false(rig.wire[0]);
	assert_int_equal(in(BLK_FN, 19, 1), 0);
	out(BLK_FN, 18, 1, 7);
	assert_int_equal(in(BLK_FN, 18, 1), 7);
	read_sector(&q, page);
	assert_int_equal(used(&q), 2);
	/* given up, it is not looked at; elsewhere, it begins anew */
	out(BLK_FN, 14, 2, 0);
	out(BLK_FN, 8, 4, 0);
	read_sector(&q, page);
	assert_int_equal(used(&q), 2);
	place(BLK_FN, 0, &q);
	read_sector(&q, page);
	assert_int_equal(used(&q), 1);
	out(BLK_FN, 18, 1, 0);
	assert_int_equal(in(BLK_FN, 18, 1), 0);
	assert_int_equal(in(BLK_FN, 8, 4), 0);
}

static void late(void *arg)
{
	answer(held);
}

/* The write of status 0 returns when the disk is done with the guest's memory; or does not answer. */
static void test_reset(void **state)
{
	struct plat_timer timer;
	struct drv_queue q;
	gpa_t page = rig_alloc(&rig, 8192, 4096);

	plat_timer_init(&timer, rig.vm->loop, late, NULL);
	for (unsigned round = 0; round < 2; round++) {
		out(BLK_FN, 18, 1, 3);
		place(BLK_FN, 0, &q);
		out(BLK_FN, 18, 1, 7);
		hold = true;
		held = NULL;
		read_sector(&q, page);
		assert_non_null(held);
		if (!round)
			plat_timer_arm(&timer, plat_now() + 50000000);
		out(BLK_FN, 18, 1, 0);
		assert_int_equal(in(BLK_FN, 18, 1), round ? 7 : 0);
		assert_int_equal(rig_get(&rig, page + 4096, 1), round ? 0 : 0x5a);
		assert_int_equal(used(&q), 0); /* nobody is told */
		rig_put(&rig, page + 4096, 1, 0);
	}
	answer(held);
	assert_int_equal(in(BLK_FN, 18, 1), 0);
}

/* What is in flight must not come back in another ring. */
static void test_moved(void **state)
{
	struct drv_queue q, other;
	gpa_t page = rig_alloc(&rig, 8192, 4096);

	out(BLK_FN, 18, 1, 3);
	place(BLK_FN, 0, &q);
	out(BLK_FN, 18, 1, 7);
	hold = true;
	read_sector(&q, page);
	other.desc = rig_alloc(&rig, 12288, 4096);
	out(BLK_FN, 8, 4, (uint32_t)(other.desc / 4096));
	assert_int_equal(in(BLK_FN, 18, 1), 7 | VIRTIO_S_NEEDS_RESET);
	answer(held);
	assert_int_equal(rig_get(&rig, other.desc + 8192 + 2, 2), 0);
	assert_int_equal(used(&q), 0);
	out(BLK_FN, 18, 1, 0);
	/* a ring that is nowhere */
	out(BLK_FN, 18, 1, 3);
	out(BLK_FN, 8, 4, UINT32_MAX);
	assert_int_equal(in(BLK_FN, 18, 1), 3 | VIRTIO_S_NEEDS_RESET);
}

/* Headers have 10 bytes, unless buffers may be merged. */
static void test_net(void **state)
{
	static const uint8_t frame[60] = {2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 8, 0, 'x'};

	for (unsigned round = 0; round < 2; round++) {
		const uint32_t hdr = round ? 12 : 10;
		gpa_t page = rig_alloc(&rig, 8192, 4096);
		const struct drv_seg tx[] = {{page, hdr, false},
					     {page + 100, sizeof(frame), false}},
				     rx[] = {{page + 4096, 1526, true}};
		struct drv_queue q[2];

		out(NET_FN, 18, 1, 3);
		out(NET_FN, 4, 4, F_MAC | (round ? F_MRG : 0));
		place(NET_FN, 0, &q[0]);
		place(NET_FN, 1, &q[1]);
		out(NET_FN, 18, 1, 7);
		memcpy(rig_at(&rig, page + 100), frame, sizeof(frame));
		add(&q[1], tx, 2);
		kick(NET_FN, 1, &q[1]);
		assert_int_equal(used(&q[1]), 1);
		assert_int_equal(sent_len, sizeof(frame));
		assert_memory_equal(sent, frame, sizeof(frame));
		/* its address is where it was told */
		out(NET_FN, 25, 1, 9);
		assert_int_equal(in(NET_FN, 25, 1), 9);
		add(&q[0], rx, 1);
		kick(NET_FN, 0, &q[0]);
		assert_true(wire.client.receive(wire.client.dev, frame, sizeof(frame)));
		assert_int_equal(used(&q[0]), 1);
		assert_int_equal(rig_get(&rig, q[0].used + 8, 4), hdr + sizeof(frame));
		assert_memory_equal(rig_at(&rig, page + 4096 + hdr), frame, sizeof(frame));
		out(NET_FN, 18, 1, 0);
		assert_int_equal(in(NET_FN, 25, 1), 1);
	}
}

/* Who has agreed on 1.0 is not disturbed by the other interface. */
static void test_modern(void **state)
{
	struct drv drv;
	gpa_t page = rig_alloc(&rig, 8192, 4096);
	const struct drv_seg seg[] = {
		{page, 16, false}, {page + 4096, 512, true}, {page + 64, 1, true}};

	assert_true(drv_find(&drv, &rig, 2, 0));
	assert_int_equal(drv.devfn, BLK_FN);
	assert_true(drv_negotiate(&drv, drv_offered(&drv)));
	drv_queue(&drv, 0, 16);
	drv_ok(&drv);
	out(BLK_FN, 4, 4, 0);
	out(BLK_FN, 8, 4, 0);
	out(BLK_FN, 18, 1, 0xff);
	assert_int_equal(drv_rd(&drv, 20, 1), 0xf);
	assert_true(drv_add(&drv, &drv.q[0], seg, 3, true, NULL));
	drv_kick(&drv, 0);
	assert_int_equal(used(&drv.q[0]), 1);
	assert_int_equal(rig_get(&rig, page + 4096, 1), 0x5a);
}

/* Both interfaces' notification registers are doorbells, of the queues whose driver does not spin. */
static void test_bells(void **state)
{
	uint64_t ports = cfg_rd(&rig, NET_FN, PCI_BAR0, 4) & ~3u, modern = cfg_bar(&rig, NET_FN, 4);
	struct bus *pio = &rig.vm->pio, *mmio = &rig.vm->mmio;

	cfg_wr(&rig, NET_FN, PCI_COMMAND, 2, PCI_CMD_IO | PCI_CMD_MEM);
	for (unsigned q = 0; q < 4; q++) {
		assert_int_equal(bus_is_bell(pio, ports + 16, 2, q), q < 2);
		assert_int_equal(bus_is_bell(mmio, modern + 0x3000 + 4 * q, 2, q), q < 2);
	}
	assert_false(bus_is_bell(pio, ports + 14, 2, 0));
	assert_false(bus_is_bell(mmio, modern + 0x3000, 2, 1));
	cfg_wr(&rig, NET_FN, PCI_COMMAND, 2, 0);
	assert_false(bus_is_bell(pio, ports + 16, 2, 0));
	assert_false(bus_is_bell(mmio, modern + 0x3000, 2, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_identity, setup, teardown),
		cmocka_unit_test_setup_teardown(test_disk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reset, setup, teardown),
		cmocka_unit_test_setup_teardown(test_moved, setup, teardown),
		cmocka_unit_test_setup_teardown(test_net, setup, teardown),
		cmocka_unit_test_setup_teardown(test_modern, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bells, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
