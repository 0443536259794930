/* SPDX-License-Identifier: ISC */
/* test_virtio_net.c: the network device with a back end that records, echoes and refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "dev/virtio/net.h"
#include "dev/nic/netcsum.h"
#include "net/net.h"
#include "tests/unit/virtio_rig.h"

#define NET     1
#define RING    (VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC)
#define F_CSUM  BIT64(0)
#define F_GCSUM BIT64(1)
#define F_MTU   BIT64(3)
#define F_MRG   BIT64(15)
#define F_CTRL  (BIT64(17) | BIT64(18) | BIT64(23))
#define F_ALL   (RING | F_CSUM | F_GCSUM | F_MTU | BIT64(5) | F_MRG | BIT64(16) | F_CTRL)

struct wire {
	struct net n;
	uint8_t last[NET_FRAME_MAX];
	size_t last_len;
	unsigned sent, ready;
	bool echo; /* answers from within send() */
};

static struct rig rig;
static struct wire wire;
static struct drv drv;
static struct virtio_dev *vd;

static void wire_send(struct net *n, const struct net_vec *vec, unsigned n_vec)
{
	struct wire *w = container_of(n, struct wire, n);

	assert_int_equal(fake_locks_held(), 0);
	w->last_len = 0;
	for (unsigned i = 0; i < n_vec; i++) {
		memcpy(w->last + w->last_len, vec[i].base, vec[i].len);
		w->last_len += vec[i].len;
	}
	w->sent++;
	if (w->echo)
		n->client.receive(n->client.dev, w->last, w->last_len);
}

static void wire_ready(struct net *n)
{
	assert_int_equal(fake_locks_held(), 0);
	container_of(n, struct wire, n)->ready++;
}

static const struct net_ops wire_ops = {.name = "wire", .send = wire_send, .rx_ready = wire_ready};

static const uint8_t my_mac[6] = {0x52, 0x54, 0, 1, 2, 3};

static int setup(void **state)
{
	struct virtio_net_wiring w = {.net = &wire.n, .mtu = 1500, .slot = 4};

	rig_init(&rig, true);
	memset(&wire, 0, sizeof(wire));
	wire.n.ops = &wire_ops;
	memcpy(wire.n.mac, my_mac, 6);
	assert_int_equal(virtio_net_create(rig.vm, rig.host, &w, &vd), 0);
	assert_true(drv_find(&drv, &rig, NET, 0));
	assert_int_equal(drv.devfn, 32);
	return 0;
}

static int teardown(void **state)
{
	rig_fini(&rig);
	assert_int_equal(fake_locks_held(), 0);
	assert_int_equal(fake_alloc_live(), 0);
	return 0;
}

static void up(uint64_t features)
{
	assert_true(drv_negotiate(&drv, features));
	drv_msix(&drv, 4);
	drv_wr(&drv, 16, 2, 0);
	for (unsigned i = 0; i < 3; i++)
		drv_queue(&drv, i, 0);
	drv_ok(&drv);
}

static bool receive(const void *frame, size_t len)
{
	return wire.n.client.receive(wire.n.client.dev, frame, len);
}

/* A buffer for the device; the cookie is its address. */
static void give(gpa_t at, uint32_t len)
{
	struct drv_seg seg = {at, len, true};

	assert_true(drv_add(&drv, &drv.q[0], &seg, 1, false, rig_at(&rig, at)));
}

static void frame_to(uint8_t *frame, const uint8_t *dst, size_t len)
{
	for (size_t i = 14; i < len; i++)
		frame[i] = (uint8_t)(i * 13);
	memcpy(frame, dst, 6);
	memcpy(frame + 6, "\x52\x55\x0a\0\2\2", 6);
	frame[12] = 0x88;
	frame[13] = 0xb5;
}

static void test_config(void **state)
{
	assert_int_equal(drv_offered(&drv), F_ALL);
	assert_int_equal(drv_config(&drv, 0, 4), 0x01005452);
	assert_int_equal(drv_config(&drv, 6, 2), 1);
	assert_int_equal(drv_config(&drv, 10, 2), 1500);
	up(F_ALL);
	virtio_net_set_link(vd, false);
	virtio_net_set_link(vd, false);
	assert_int_equal(rig.msi[0], 1);
	assert_int_equal(drv_config(&drv, 6, 2), 0);
	assert_int_equal(drv_rd(&drv, 21, 1), 1);
}

static void test_send(void **state)
{
	gpa_t at = rig_alloc(&rig, 0x20000, 4096);
	struct drv_seg seg[] = {{at, 5, false}, {at + 5, 20, false}, {at + 0x1000, 82, false}};
	void *cookie;
	uint32_t len;
	uint8_t f[95];

	up(F_ALL);
	frame_to(f, my_mac, sizeof(f));
	memset(rig_at(&rig, at), 0, 12);
	memcpy(rig_at(&rig, at + 12), f, 13);
	memcpy(rig_at(&rig, at + 0x1000), f + 13, 82);
	for (unsigned indirect = 0; indirect < 2; indirect++) {
		assert_true(drv_add(&drv, &drv.q[1], seg, 3, indirect, NULL));
		drv_kick(&drv, 1);
		assert_int_equal(wire.sent, indirect + 1);
		assert_int_equal(wire.last_len, 95);
		assert_memory_equal(wire.last, f, 95);
		assert_true(drv_get(&drv, 1, &cookie, &len));
		assert_int_equal(len, 0);
	}
	/* too short for Ethernet, too long for anything: lost, and given back */
	seg[0].len = 25;
	assert_true(drv_add(&drv, &drv.q[1], seg, 1, false, NULL));
	seg[2].len = NET_FRAME_MAX + 1;
	assert_true(drv_add(&drv, &drv.q[1], seg, 3, false, NULL));
	drv_kick(&drv, 1);
	assert_int_equal(wire.sent, 2);
	assert_true(drv_get(&drv, 1, &cookie, &len));
	assert_true(drv_get(&drv, 1, &cookie, &len));
	assert_int_equal(drv_rd(&drv, 20, 1), 0xf);
	seg[0].len = 11; /* not even a header */
	assert_true(drv_add(&drv, &drv.q[1], seg, 1, false, NULL));
	drv_kick(&drv, 1);
	assert_int_equal(drv_rd(&drv, 20, 1), 0x4f);
}

/* The guest leaves a UDP checksum to the device. */
static void test_send_csum(void **state)
{
	gpa_t at = rig_alloc(&rig, 4096, 4096);
	struct drv_seg seg[] = {{at, 12, false}, {at + 12, 47, false}};
	uint8_t *h = rig_at(&rig, at), *f = h + 12;
	uint16_t ps;

	up(F_ALL);
	memset(h, 0, 64);
	f[12] = 8;
	memcpy(f + 14, "\x45\0\0\x21\0\0\0\0\x40\x11\0\0\x0a\0\2\xf\x0a\0\2\2", 20);
	memcpy(f + 34, "\x12\x34\0\x35\0\x0d\0\0hello", 13);
	ps = netcsum_add(netcsum_add(0, f + 26, 8), (const uint8_t *)"\0\x11\0\x0d", 4);
	memcpy(f + 40, &ps, 2);
	h[0] = 1;
	h[6] = 34;
	h[8] = 6;
	assert_true(drv_add(&drv, &drv.q[1], seg, 2, false, NULL));
	drv_kick(&drv, 1);
	assert_int_equal(wire.sent, 1);
	assert_true(netcsum_valid(wire.last, wire.last_len));
	/* places outside of the frame */
	h[8] = 12;
	assert_true(drv_add(&drv, &drv.q[1], seg, 2, false, NULL));
	h[7] = 0xff;
	drv_kick(&drv, 1);
	h[6] = 34;
	h[7] = 0;
	assert_true(drv_add(&drv, &drv.q[1], seg, 2, false, NULL));
	drv_kick(&drv, 1);
	assert_int_equal(wire.sent, 1);

	/* the other way: what is right is marked */
	give(at + 0x100, 1600);
	drv_kick(&drv, 0);
	memcpy(f, my_mac, 6);
	memcpy(wire.last, f, 6);
	assert_true(receive(wire.last, wire.last_len));
	assert_int_equal(rig_get(&rig, at + 0x100, 1), 2);
}

static void test_receive(void **state)
{
	gpa_t at = rig_alloc(&rig, 0x10000, 4096);
	uint8_t f[1514];
	void *cookie;
	uint32_t len;

	frame_to(f, my_mac, sizeof(f));
	assert_true(receive(f, 1514)); /* before the driver: lost */
	up(F_ALL);
	assert_false(receive(f, 1514)); /* no buffers: kept by the back end */
	assert_int_equal(wire.ready, 0);
	give(at, 1526);
	assert_true(drv_kick(&drv, 0));
	assert_int_equal(wire.ready, 1);
	assert_true(receive(f, 1514));
	assert_int_equal(rig.msi[1], 1);
	assert_true(drv_get(&drv, 0, &cookie, &len));
	assert_int_equal(len, 1526);
	assert_memory_equal(rig_at(&rig, at + 12), f, 1514);
	assert_int_equal(rig_get(&rig, at, 8), 0);
	assert_int_equal(rig_get(&rig, at + 10, 2), 1);

	/* over three buffers; two are not enough */
	give(at, 500);
	give(at + 0x1000, 500);
	drv_kick(&drv, 0);
	assert_false(receive(f, 1514));
	assert_false(drv_get(&drv, 0, &cookie, &len));
	give(at + 0x2000, 600);
	assert_true(drv_kick(&drv, 0));
	assert_int_equal(wire.ready, 2);
	assert_true(receive(f, 1514));
	assert_true(drv_get(&drv, 0, &cookie, &len));
	assert_int_equal(len, 500);
	assert_int_equal(rig_get(&rig, at + 10, 2), 3);
	assert_memory_equal(rig_at(&rig, at + 12), f, 488);
	assert_true(drv_get(&drv, 0, &cookie, &len));
	assert_int_equal(len, 500);
	assert_memory_equal(rig_at(&rig, at + 0x1000), f + 488, 500);
	assert_true(drv_get(&drv, 0, &cookie, &len));
	assert_int_equal(len, 526);
	assert_memory_equal(rig_at(&rig, at + 0x2000), f + 988, 526);
	assert_false(drv_get(&drv, 0, &cookie, &len));

	/* more buffers than a frame may take */
	for (unsigned i = 0; i < 100; i++)
		give(at + 64 * i, 13);
	drv_kick(&drv, 0);
	assert_true(receive(f, 1514));
	assert_false(drv_get(&drv, 0, &cookie, &len));
	assert_true(receive(f, 60)); /* 60 buffers of one byte */
	for (unsigned i = 0; i < 6; i++)
		assert_true(drv_get(&drv, 0, &cookie, &len));
	virtio_net_set_link(vd, false);
	assert_true(receive(f, 60));
}

static void test_receive_single(void **state)
{
	gpa_t at = rig_alloc(&rig, 0x10000, 4096);
	uint8_t f[1514];
	void *cookie;
	uint32_t len;

	frame_to(f, my_mac, sizeof(f));
	up(RING);
	give(at, 1000);
	drv_kick(&drv, 0);
	assert_true(receive(f, 1514)); /* does not fit: lost */
	assert_false(drv_get(&drv, 0, &cookie, &len));
	assert_true(receive(f, 988));
	assert_true(drv_get(&drv, 0, &cookie, &len));
	assert_int_equal(len, 1000);
	give(at, 11);
	drv_kick(&drv, 0);
	assert_true(receive(f, 60));
	assert_int_equal(drv_rd(&drv, 20, 1), 0x4f);
}

static unsigned control(gpa_t at, unsigned cmd, const void *arg, uint32_t n)
{
	struct drv_seg seg[] = {{at, 2, false}, {at + 16, n, false}, {at + 8192, 1, true}};
	void *cookie;
	uint32_t len;

	rig_put(&rig, at, 1, cmd >> 8);
	rig_put(&rig, at + 1, 1, cmd);
	memcpy(rig_at(&rig, at + 16), arg, n);
	rig_put(&rig, at + 8192, 1, 0xee);
	assert_true(drv_add(&drv, &drv.q[2], seg, 3, false, NULL));
	drv_kick(&drv, 2);
	assert_true(drv_get(&drv, 2, &cookie, &len));
	assert_int_equal(len, 1);
	return (unsigned)rig_get(&rig, at + 8192, 1);
}

static bool arrives(gpa_t at, const char *dst)
{
	uint8_t f[60];
	void *cookie;
	uint32_t len;

	give(at, 2048);
	drv_kick(&drv, 0);
	frame_to(f, (const uint8_t *)dst, sizeof(f));
	assert_true(receive(f, sizeof(f)));
	if (drv_get(&drv, 0, &cookie, &len))
		return true;
	/* take the buffer back by filling it */
	frame_to(f, (const uint8_t *)"\xff\xff\xff\xff\xff\xff", sizeof(f));
	assert_true(receive(f, sizeof(f)));
	assert_true(drv_get(&drv, 0, &cookie, &len));
	return false;
}

static void test_filter(void **state)
{
	gpa_t at = rig_alloc(&rig, 0x4000, 4096), buf = rig_alloc(&rig, 4096, 4096);
	uint8_t table[4 + 6 * 100 + 4 + 6];

	up(F_ALL);
	assert_true(arrives(buf, "\2\2\2\2\2\2")); /* promiscuous at first */
	assert_int_equal(control(at, 0x0000, "\0", 1), 0);
	assert_false(arrives(buf, "\2\2\2\2\2\2"));
	assert_true(arrives(buf, "\x52\x54\0\1\2\3"));
	assert_false(arrives(buf, "\1\0\x5e\0\0\1"));
	assert_int_equal(control(at, 0x0001, "\1", 1), 0);
	assert_true(arrives(buf, "\1\0\x5e\0\0\1"));
	assert_int_equal(control(at, 0x0001, "\0", 1), 0);
	assert_int_equal(control(at, 0x0100, "\1\0\0\0\2\2\2\2\2\2\1\0\0\0\1\0\x5e\0\0\1", 20), 0);
	assert_true(arrives(buf, "\1\0\x5e\0\0\1"));
	assert_true(arrives(buf, "\2\2\2\2\2\2"));
	assert_false(arrives(buf, "\2\2\2\2\2\3"));
	assert_int_equal(control(at, 0x0101, "\6\7\10\11\12\13", 6), 0);
	assert_false(arrives(buf, "\x52\x54\0\1\2\3"));
	assert_true(arrives(buf, "\6\7\10\11\12\13"));
	assert_int_equal(drv_config(&drv, 0, 2), 0x0706);
	/* nonsense changes nothing */
	assert_int_equal(control(at, 0x0101, "\1\7\10\11\12\13", 6), 1);
	assert_int_equal(control(at, 0x0101, "\6\7", 2), 1);
	assert_int_equal(control(at, 0x0100, "\377\377\377\377", 4), 1);
	assert_int_equal(control(at, 0x0100, "\1\0\0\0", 4), 1);
	assert_int_equal(control(at, 0x0100, "\0\0\0\0", 4), 1);
	assert_int_equal(control(at, 0x0500, "\0", 1), 1);
	assert_false(arrives(buf, "\2\2\2\2\2\3"));
	/* more addresses than the filter holds */
	memset(table, 0, sizeof(table));
	table[0] = 100;
	assert_int_equal(control(at, 0x0100, table, 4 + 600 + 4), 0);
	assert_true(arrives(buf, "\2\2\2\2\2\3"));
}

/* A back end that answers within send(), a thousand frames in flight both ways. */
static void test_echo(void **state)
{
	gpa_t tx = rig_alloc(&rig, 256 * 2048, RIG_LOW), rx = rig_alloc(&rig, 256 * 2048, 4096);
	uint64_t seed = 31;
	unsigned sent = 0, got = 0, posted = 0, irqs = 0;
	void *cookie;
	uint32_t len;

	up(F_ALL & ~F_CTRL);
	wire.echo = true;
	for (; posted < 256; posted++)
		give(rx + 2048 * posted, 2048);
	drv_kick(&drv, 0);
	while (got < 50000) {
		for (unsigned n = (unsigned)(rig_rand(&seed) % 64); n; n--) {
			uint32_t size = 60 + (uint32_t)(rig_rand(&seed) % 1400);
			gpa_t at = tx + 2048 * (sent % 256);
			struct drv_seg seg[] = {{at, 12, false}, {at + 12, size, false}};

			memset(rig_at(&rig, at), 0, 12);
			frame_to(rig_at(&rig, at + 12), my_mac, size);
			rig_put(&rig, at + 12 + 14, 4, sent);
			if (!drv_add(&drv, &drv.q[1], seg, 2, true, NULL))
				break;
			sent++;
		}
		drv_kick(&drv, 1);
		while (drv_get(&drv, 1, &cookie, &len))
			;
		if (rig.msi[1] == irqs)
			continue;
		irqs = rig.msi[1];
		while (drv_get(&drv, 0, &cookie, &len)) {
			uint8_t *p = cookie;
			uint32_t seq;

			memcpy(&seq, p + 12 + 14, 4);
			assert_int_equal(seq, got);
			got++;
			for (uint32_t i = 12 + 18; i < len; i++)
				if (p[i] != (uint8_t)((i - 12) * 13))
					fail_msg("frame %u differs at %u", seq, i);
			posted = (unsigned)((p - rig_at(&rig, rx)) / 2048);
			give(rx + 2048 * posted, 2048);
		}
		drv_kick(&drv, 0);
	}
	assert_int_equal(sent, got);
	assert_int_equal(vd->busy, 0);
}

static void test_garbage(void **state)
{
	uint64_t seed = 4242;
	uint8_t f[2000];
	gpa_t at = rig_alloc(&rig, 0x10000, 4096);

	print_message("seed %u\n", 4242);
	frame_to(f, my_mac, sizeof(f));
	for (unsigned i = 0; i < 100000; i++) {
		uint64_t x = rig_rand(&seed), v = rig_rand(&seed);

		if (i % 300 == 0 || drv_rd(&drv, 20, 1) & 0x40) {
			drv_wr(&drv, 20, 1, 0);
			drv_wr(&drv, 20, 1, 3);
			up(x & 1 ? F_ALL : RING);
			wire.echo = v & 1;
		}
		unsigned qi = (unsigned)(x >> 40) % 3;
		struct drv_queue *q = &drv.q[qi];
		struct drv_seg seg[] = {
			{at + (v & 0xfff), (uint32_t)(v >> 12 & 0x3f), v >> 30 & 1},
			{at + (v >> 32 & 0xfff), (uint32_t)(v >> 44 & 0x7ff), qi == 0},
			{at + 0x3000, 1, true}};

		switch (x & 7) {
		case 0:
			bus_write(&rig.vm->mmio, 0, drv.common + (x >> 8 & 0x3f), 1u << (v & 3),
				  v >> 8);
			break;
		case 1:
			rig_put(&rig, q->desc + (v >> 16) % (16 * q->size), 1, v & 0xff);
			break;
		case 2:
			rig_put(&rig, q->avail + (v >> 16) % (6 + 2 * q->size), 1, v & 0xff);
			break;
		case 3:
			receive(f, 14 + (v & 1023));
			break;
		default:
			for (unsigned k = 0; k < 8; k++)
				rig_put(&rig, at + (rig_rand(&seed) & 0xfff), 1,
					rig_rand(&seed) & 3);
			if (q->n_free < 8)
				drv_queue_reset(q, &rig);
			drv_add(&drv, q, seg, 1 + (unsigned)(x >> 50) % 3, x >> 60 & 1, NULL);
			drv_kick(&drv, qi);
			break;
		}
	}
	assert_true(wire.sent > 1000);
	rig_reset_devices(&rig);
	assert_int_equal(vd->busy, 0);
}

static void test_no_memory(void **state)
{
	struct virtio_net_wiring w = {.net = &wire.n, .slot = -1};
	unsigned live = fake_alloc_live();
	struct virtio_dev *out;

	for (unsigned n = 1;; n++) {
		int err;

		fake_fail_alloc(n);
		err = virtio_net_create(rig.vm, rig.host, &w, &out);
		fake_fail_alloc(0);
		if (!err) {
			assert_true(n > 6);
			break;
		}
		assert_int_equal(fake_alloc_live(), live);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_config, setup, teardown),
		cmocka_unit_test_setup_teardown(test_send, setup, teardown),
		cmocka_unit_test_setup_teardown(test_send_csum, setup, teardown),
		cmocka_unit_test_setup_teardown(test_receive, setup, teardown),
		cmocka_unit_test_setup_teardown(test_receive_single, setup, teardown),
		cmocka_unit_test_setup_teardown(test_filter, setup, teardown),
		cmocka_unit_test_setup_teardown(test_echo, setup, teardown),
		cmocka_unit_test_setup_teardown(test_garbage, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
	};

	return cmocka_run_group_tests_name("virtio-net", tests, NULL, NULL);
}
