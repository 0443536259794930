/* SPDX-License-Identifier: ISC */
/* test_netlift.c: a network card whose queues the host's kernel runs meanwhile: when it may have them, what it is told, when
 * it gives them back, and who interrupts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "dev/virtio/net.h"
#include "net/net.h"
#include "tests/unit/virtio_rig.h"

#define NET     1
#define F_MRG   BIT64(15)
#define F_GCSUM BIT64(1)
#define FD      40 /* of the first ring's calls */

/* A back end with a kernel. */
static struct {
	struct net n;
	unsigned sent, ready, lifts, drops, rung[2];
	bool lifted, direct[2];
	int err; /* of lift() */
	struct net_lift to;
	struct net_area area[MEM_MAX_SLOTS];
	uint16_t next[2]; /* what drop() says */
} wire;

static struct {
	int fd[2]; /* that it hears: by ring; 0: none */
	uint64_t addr;
	uint32_t data;
	unsigned changes;
	int err;
} engine;

static struct rig rig;
static struct drv drv;
static struct virtio_dev *vd;

static void wire_send(struct net *n, const struct net_vec *vec, unsigned n_vec)
{
	assert_false(wire.lifted);
	wire.sent++;
}

static void wire_ready(struct net *n)
{
	wire.ready++;
}

static int wire_lift(struct net *n, const struct net_lift *l)
{
	assert_false(wire.lifted);
	wire.lifts++;
	if (wire.err)
		return wire.err;
	wire.lifted = true;
	wire.to = *l;
	memcpy(wire.area, l->area, l->n_areas * sizeof(wire.area[0]));
	return 0;
}

static void wire_rung(struct net *n, unsigned ring)
{
	assert_true(wire.lifted);
	wire.rung[ring]++;
}

static void wire_drop(struct net *n, uint16_t next[2])
{
	assert_true(wire.lifted && !wire.direct[0] && !wire.direct[1]);
	wire.lifted = false;
	wire.drops++;
	memcpy(next, wire.next, sizeof(wire.next));
}

static int wire_direct(struct net *n, unsigned ring, bool on)
{
	wire.direct[ring] = on;
	return FD + (int)ring;
}

static const struct net_ops wire_ops = {.name = "wire",
					.send = wire_send,
					.rx_ready = wire_ready,
					.lift = wire_lift,
					.rung = wire_rung,
					.drop = wire_drop,
					.direct = wire_direct};

static int irq_fd(struct vm *vm, int fd, bool on, uint64_t addr, uint32_t data)
{
	assert_in_range(fd, FD, FD + 1);
	engine.changes++;
	if (on && engine.err)
		return engine.err;
	engine.fd[fd - FD] = on ? fd : 0;
	engine.addr = addr;
	engine.data = data;
	return 0;
}

static const struct engine_ops fast = {.name = "fast", .any_writer = true, .irq_fd = irq_fd};
static const struct engine_ops plain = {.name = "plain", .any_writer = true};

static int setup(void **state)
{
	struct virtio_net_wiring w = {.net = &wire.n, .slot = 4};

	rig_init(&rig, true);
	rig.vm->engine = &fast;
	memset(&wire, 0, sizeof(wire));
	memset(&engine, 0, sizeof(engine));
	wire.n.ops = &wire_ops;
	assert_int_equal(virtio_net_create(rig.vm, rig.host, &w, &vd), 0);
	assert_true(drv_find(&drv, &rig, NET, 0));
	return 0;
}

static int teardown(void **state)
{
	rig_fini(&rig);
	assert_false(wire.lifted);
	assert_int_equal(fake_locks_held(), 0);
	assert_int_equal(fake_alloc_live(), 0);
	return 0;
}

static void up(void)
{
	assert_true(drv_negotiate(&drv, VIRTIO_F_VERSION_1 | F_MRG | F_GCSUM));
	drv_msix(&drv, 4);
	drv_wr(&drv, 16, 2, 0);
	for (unsigned i = 0; i < 3; i++)
		drv_queue(&drv, i, 0);
	drv_ok(&drv);
}

/* A frame's worth for the send queue. */
static void send(void)
{
	struct drv_seg seg = {rig_alloc(&rig, 100, 16), 80, false};

	assert_true(drv_add(&drv, &drv.q[1], &seg, 1, false, NULL));
	drv_kick(&drv, 1);
}

static void test_lifted(void **state)
{
	up();
	send();
	assert_true(wire.lifted);
	assert_int_equal(wire.sent, 0);
	assert_int_equal(wire.to.n_areas, 2);
	assert_int_equal(wire.area[1].gpa, RIG_LOW);
	assert_int_equal(wire.area[1].size, RIG_RAM - RIG_LOW);
	assert_ptr_equal(wire.area[1].hva, rig_at(&rig, RIG_LOW));
	assert_ptr_equal(wire.to.ring[1].desc, vd->vq[1].desc);
	assert_ptr_equal(wire.to.ring[0].used, vd->vq[0].used);
	assert_int_equal(wire.to.ring[1].size, vd->vq[1].size);
	assert_int_equal(wire.to.ring[1].next, 0);
	assert_true(wire.to.csum);
	assert_int_equal(wire.to.features, VIRTIO_F_VERSION_1 | F_MRG | F_GCSUM);
	assert_true(wire.rung[1] >= 1);
	assert_int_equal(atomic_load(&rig.vm->lifted), 1);
	/* interrupts are the engine's */
	assert_int_equal(engine.fd[0], FD);
	assert_int_equal(engine.fd[1], FD + 1);
	assert_true(wire.direct[0] && wire.direct[1]);
	assert_int_equal(engine.data, vd->vq[1].vector);
	/* a frame from elsewhere is nobody's */
	assert_true(wire.n.client.receive(wire.n.client.dev, rig_at(&rig, 0), 60));
}

/* What was done meanwhile shows in the rings, and nothing is done twice. */
static void test_back(void **state)
{
	up();
	send();
	send();
	wire.next[1] = 1;
	rig_put(&rig, drv.q[1].used + 2, 2, 1);
	assert_int_equal(virtio_freeze(&vd->dev, true), 0);
	assert_int_equal(wire.drops, 1);
	assert_int_equal(engine.fd[0] + engine.fd[1], 0);
	assert_int_equal(vd->vq[1].next_avail, 1);
	assert_int_equal(vd->vq[1].next_used, 1);
	assert_int_equal(atomic_load(&rig.vm->lifted), 0);
	send();
	assert_false(wire.lifted); /* not while it stands still */
	assert_int_equal(virtio_freeze(&vd->dev, false), 0);
	assert_true(wire.lifted);
	assert_int_equal(wire.to.ring[1].next, 1);
	assert_int_equal(wire.sent, 0);
	/* here for good */
	wire.err = ERR_BUSY;
	net_recall(&wire.n);
	assert_false(wire.lifted);
	assert_int_equal(wire.sent, 2);
	send();
	assert_int_equal(wire.sent, 3);
}

static void test_when_not(void **state)
{
	/* an engine that must hear of writes */
	rig.vm->engine = &rig_engine;
	up();
	send();
	assert_int_equal(wire.lifts, 0);
	assert_int_equal(wire.sent, 1);
	/* pages that are written to are noted */
	rig.vm->engine = &fast;
	atomic_store(&rig.vm->dirty_noted, true);
	send();
	assert_int_equal(wire.lifts, 0);
	assert_int_equal(atomic_load(&rig.vm->lifted), 0);
	atomic_store(&rig.vm->dirty_noted, false);
	/* who wants to see frames is asked again, a kernel that cannot is not */
	wire.err = ERR_BUSY;
	send();
	send();
	assert_true(wire.lifts >= 2);
	wire.err = ERR_NOSYS;
	send();
	wire.lifts = 0;
	send();
	assert_int_equal(wire.lifts, 0);
	assert_int_equal(wire.sent, 6);
	/* … until the driver begins anew */
	wire.err = 0;
	drv_wr(&drv, 20, 1, 0);
	assert_true(drv_find(&drv, &rig, NET, 0));
	up();
	send();
	assert_true(wire.lifted);
	/* no cable, and one again */
	virtio_net_set_link(vd, false);
	assert_false(wire.lifted);
	send();
	assert_false(wire.lifted);
	virtio_net_set_link(vd, true);
	send();
	assert_true(wire.lifted);
	/* no DMA */
	cfg_wr(&rig, drv.devfn, 4, 2, cfg_rd(&rig, drv.devfn, 4, 2) & ~4u);
	assert_false(wire.lifted);
	cfg_wr(&rig, drv.devfn, 4, 2, cfg_rd(&rig, drv.devfn, 4, 2) | 4);
	assert_true(wire.lifted);
	drv_wr(&drv, 20, 1, 0);
	assert_false(wire.lifted);
}

static void test_vectors(void **state)
{
	unsigned cap, was;
	uint64_t table;

	up();
	send();
	cap = cfg_cap(&rig, drv.devfn, PCI_CAP_MSIX, 0);
	table = cfg_bar(&rig, drv.devfn, cfg_rd(&rig, drv.devfn, cap + 4, 4) & 7);
	/* all masked: it is heard here, and waits */
	cfg_wr(&rig, drv.devfn, cap + 2, 2, 0xc000);
	assert_false(wire.direct[0] || wire.direct[1]);
	assert_int_equal(engine.fd[0] + engine.fd[1], 0);
	was = rig.msi[vd->vq[0].vector];
	net_called(&wire.n, 0);
	assert_int_equal(rig.msi[vd->vq[0].vector], was);
	cfg_wr(&rig, drv.devfn, cap + 2, 2, 0x8000);
	assert_int_equal(rig.msi[vd->vq[0].vector], was + 1);
	assert_true(wire.direct[0] && engine.fd[1]);
	/* another message */
	bus_write(&rig.vm->mmio, 0, table + 16 * vd->vq[1].vector + 8, 4, 9);
	assert_int_equal(engine.data, 9);
	/* an engine that has no more room, or none at all */
	engine.err = ERR_RANGE;
	bus_write(&rig.vm->mmio, 0, table + 16 * vd->vq[1].vector + 8, 4, 8);
	assert_false(wire.direct[0] || wire.direct[1]);
	net_called(&wire.n, 1);
	assert_int_equal(rig.msi[8], 1);
	net_recall(&wire.n);
	rig.vm->engine = &plain;
	send();
	assert_true(wire.lifted && !wire.direct[0]);
	/* one that has got it meanwhile */
	rig.vm->engine = &fast;
	engine.err = 0;
	send();
	assert_true(wire.direct[0] && wire.direct[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_lifted, setup, teardown),
		cmocka_unit_test_setup_teardown(test_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_when_not, setup, teardown),
		cmocka_unit_test_setup_teardown(test_vectors, setup, teardown),
	};

	return cmocka_run_group_tests_name("netlift", tests, NULL, NULL);
}
