/* SPDX-License-Identifier: ISC */
/* fuzz_virtq.c: a hostile driver. The input chooses a virtio device, brings it up, and then is a
 * list of operations: register and configuration writes, damage in the rings, well-formed and
 * broken descriptors, notifications, answers of the back ends, time. What must hold: no crash, no
 * access outside of guest memory, no endless loop, no lock left behind. */
#define RIG_RAM (UINT64_C(2) << 20)
#include "block/block.h"
#include "chr/chr.h"
#include "dev/virtio/balloon.h"
#include "dev/virtio/blk.h"
#include "dev/virtio/console.h"
#include "dev/virtio/gpu.h"
#include "dev/virtio/net.h"
#include "dev/virtio/input.h"
#include "dev/virtio/rng.h"
#include "net/net.h"
#include "tests/unit/virtio_rig.h"
#include "ui/display.h"
#include "ui/input.h"

#define DISK_SIZE (64 * 1024)
#define MAX_OPS   400

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct bytes {
	const uint8_t *p, *end;
};

static uint64_t take(struct bytes *in, unsigned n)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < n && in->p < in->end; i++)
		v |= (uint64_t)*in->p++ << 8 * i;
	return v;
}

/* ---- back ends ---------------------------------------------------------------------------------- */

static struct {
	struct block b;
	uint8_t data[DISK_SIZE];
	struct block_req *held[256];
	unsigned n_held;
	uint8_t mode; /* 0 at once, 1 later, 2 no space, 3 error */
} disk;

static void disk_answer(struct block_req *r)
{
	uint64_t at = r->offset;

	if (disk.mode >= 2) {
		r->done(r, disk.mode == 2 ? ERR_NOSPC : ERR_IO);
		return;
	}
	for (unsigned i = 0; r->op <= BLOCK_WRITE && i < r->n_vec; i++) {
		if (at + r->vec[i].len > DISK_SIZE)
			abort();
		if (r->op == BLOCK_READ)
			memcpy(r->vec[i].base, disk.data + at, r->vec[i].len);
		else
			memcpy(disk.data + at, r->vec[i].base, r->vec[i].len);
		at += r->vec[i].len;
	}
	r->done(r, 0);
}

static void disk_submit(struct block *b, struct block_req *r)
{
	if (r->offset % 512 || r->len % 512 || r->offset + r->len > DISK_SIZE)
		abort();
	if (disk.mode != 1) {
		disk_answer(r);
		return;
	}
	if (disk.n_held == ARRAY_SIZE(disk.held))
		abort();
	disk.held[disk.n_held++] = r;
}

static const struct block_ops disk_ops = {.name = "ram", .submit = disk_submit};

static void disk_drain(void)
{
	while (disk.n_held)
		disk_answer(disk.held[--disk.n_held]);
}

static uint64_t sink;

static void wire_send(struct net *n, const struct net_vec *vec, unsigned n_vec)
{
	for (unsigned i = 0; i < n_vec; i++)
		for (size_t k = 0; k < vec[i].len; k += 64)
			sink += ((const uint8_t *)vec[i].base)[k];
}

static void wire_ready(struct net *n)
{
}

static void tty_write(struct chr *c, const void *buf, size_t len)
{
	for (size_t k = 0; k < len; k += 64)
		sink += ((const uint8_t *)buf)[k];
}

static void tty_ready(struct chr *c)
{
}

static const struct net_ops wire_ops = {.name = "wire", .send = wire_send, .rx_ready = wire_ready};
static const struct chr_ops tty_ops = {.name = "tty", .write = tty_write, .rx_ready = tty_ready};
static struct net wire;
static struct chr tty;
static struct input people;
static struct display display;

/* ---- the guest ------------------------------------------------------------------------------------ */

#define N_DEVS 8

static const struct {
	unsigned id, nth, queues;
} kind[N_DEVS] = {{2, 0, 1}, {1, 0, 3},  {3, 0, 2},  {4, 0, 1},
		  {5, 0, 3}, {18, 0, 2}, {18, 1, 2}, {16, 0, 2}};

/* One machine with all of them, for all inputs: each starts with a reset and empty memory. */
static void make(struct rig *r, struct virtio_dev **vd, struct drv *d)
{
	struct virtio_blk_wiring blk = {
		.blk = &disk.b, .serial = "fuzz", .slot = -1, .transitional = true};
	struct virtio_net_wiring net = {.net = &wire, .slot = -1, .transitional = true};
	struct virtio_console_wiring con = {.chr = &tty, .slot = -1, .transitional = true};
	struct virtio_rng_wiring rng = {.slot = -1, .transitional = true};
	struct virtio_balloon_wiring bal = {.slot = -1, .transitional = true};
	struct virtio_input_wiring kbd = {.input = &people, .slot = -1};
	struct virtio_gpu_wiring gpu = {.display = &display, .slot = -1};
	struct virtio_input_wiring tab = {.input = &people, .tablet = true, .slot = -1};

	rig_init(r, true);
	input_init(&people);
	display_init(&display);
	disk.b = (struct block){.ops = &disk_ops, .size = DISK_SIZE};
	wire = (struct net){.ops = &wire_ops};
	tty = (struct chr){.ops = &tty_ops};
	if (virtio_blk_create(r->vm, r->host, &blk, &vd[0]) ||
	    virtio_net_create(r->vm, r->host, &net, &vd[1]) ||
	    virtio_console_create(r->vm, r->host, &con, &vd[2]) ||
	    virtio_rng_create(r->vm, r->host, &rng, &vd[3]) ||
	    virtio_balloon_create(r->vm, r->host, &bal, &vd[4]) ||
	    virtio_input_create(r->vm, r->host, &kbd, &vd[5]) ||
	    virtio_input_create(r->vm, r->host, &tab, &vd[6]) ||
	    virtio_gpu_create(r->vm, r->host, &gpu, &vd[7]))
		abort();
	for (unsigned i = 0; i < N_DEVS; i++)
		if (!drv_find(&d[i], r, kind[i].id, kind[i].nth))
			abort();
}

static void bring_up(struct drv *d, unsigned queues, uint64_t drop, bool msix)
{
	drv_wr(d, 20, 1, 0);
	disk_drain();
	drv_wr(d, 20, 1, 3);
	drv_negotiate(d, (drv_offered(d) & ~drop) | VIRTIO_F_VERSION_1);
	if (msix)
		drv_msix(d, queues + 1);
	for (unsigned i = 0; i < queues; i++)
		drv_queue(d, i, 16);
	drv_ok(d);
}

static void chain(struct drv *d, struct bytes *in, struct drv_queue *q)
{
	struct drv_seg seg[6];
	unsigned shape = (unsigned)take(in, 1), n = 1 + shape % 6;

	for (unsigned i = 0; i < n; i++) {
		uint64_t v = take(in, 5);

		seg[i].gpa = v & 0x80 ? RIG_LOW - 64 + (v & 0x7f) : 0x80000 + (v >> 8 & 0x7fff);
		seg[i].len = (uint32_t)(v >> 24 & 0x3fff);
		seg[i].write = v >> 38 & 1;
	}
	if (q->n_free < n)
		drv_queue_reset(q, d->r);
	drv_add(d, q, seg, n, shape & 0x80, NULL);
}

/* The ports for drivers from before virtio 1.0, where there are some. */
static void legacy(struct drv *d, uint64_t a, uint64_t v)
{
	uint64_t base = cfg_bar(d->r, d->devfn, 0), port = base + (a & 0x7f);
	unsigned size = 1u << (a >> 8) % 3;

	if (!base)
		return;
	if (a & 0x8000)
		bus_read(&d->r->vm->pio, 0, port, size);
	else
		bus_write(&d->r->vm->pio, 0, port, size, v);
	/* queues within memory, and status */
	if (a & 0x4000)
		bus_write(&d->r->vm->pio, 0, base + 8, 4, v & 0xff);
	if (a & 0x2000)
		bus_write(&d->r->vm->pio, 0, base + 18, 1, a & 7);
}

/* A command of the graphics device: any number, few resources, small rectangles, an answer. */
static void graphics(struct drv *d, struct drv_queue *q, unsigned qi, uint64_t a, struct bytes *in)
{
	static const uint16_t numbers[] = {0x100, 0x101, 0x101, 0x102, 0x103, 0x104, 0x105,
					   0x105, 0x106, 0x107, 0x10a, 0x300, 0x301};
	const struct drv_seg seg[] = {{0x88000, 24 + 32 + 16, false}, {0x89000, 1200, true}};

	rig_put(d->r, 0x88000, 4, numbers[a % ARRAY_SIZE(numbers)]);
	for (unsigned i = 0; i < 12; i++) {
		uint64_t v = take(in, 1);

		rig_put(d->r, 0x88018 + 4 * i, 4, v & 0x80 ? (v & 0x7f) << 6 : v);
	}
	if (q->n_free < 2)
		drv_queue_reset(q, d->r);
	drv_add(d, q, seg, 2, false, NULL);
	drv_kick(d, qi);
}

static void operation(struct drv *d, struct virtio_dev *vd, unsigned queues, struct bytes *in)
{
	static uint8_t frame[2048];
	struct rig *r = d->r;
	unsigned op = (unsigned)take(in, 1), qi = (op >> 5) % queues;
	struct drv_queue *q = &d->q[qi];
	uint64_t a = take(in, 2), v;

	switch (op & 15) {
	case 0:
		bus_write(&r->vm->mmio, 0, d->common + (a & 0x3f), 1u << (a >> 14), take(in, 8));
		break;
	case 1:
		bus_write(&r->vm->mmio, 0, d->common + (a & 0x3fff), 1u << (a >> 14), take(in, 4));
		break;
	case 2:
		bus_read(&r->vm->mmio, 0, d->common + (a & 0x3fff), 1u << (a >> 14));
		break;
	case 3:
		rig_put(r, q->desc + a % (16 * 16), 2, take(in, 2));
		break;
	case 4:
		rig_put(r, q->avail + a % 38, 1, take(in, 1));
		break;
	case 5:
		rig_put(r, q->indirect + (a & 0x3fff), 4, take(in, 4));
		break;
	case 6:
		cfg_wr(r, d->devfn, a & 0xfc, 4, (uint32_t)take(in, 4));
		break;
	case 7:
		cfg_rd(r, d->devfn, a & 0xfc, 4);
		break;
	case 8:
		bus_write(&r->vm->mmio, 0, d->notify + 4 * (a & 3), 2, a);
		break;
	case 9:
		disk.mode = a & 3;
		disk_drain();
		break;
	case 10:
		fake_advance(a << 12);
		break;
	case 11:
		v = take(in, 1);
		if (wire.client.receive)
			wire.client.receive(wire.client.dev, frame, MIN(14 + a % 2000, 2048u));
		if (tty.client.receive)
			tty.client.receive(tty.client.dev, frame, v);
		input_key(&people, (unsigned)v, a & 1);
		input_point(&people, (unsigned)a, (unsigned)v, (int)v - 128, (unsigned)a);
		if (display_begin(&display)) {
			display_take(&display);
			display_done(&display);
		}
		break;
	case 12:
		bring_up(d, queues, a & 1 ? 0 : VIRTIO_F_EVENT_IDX, a & 2);
		break;
	case 13:
		if (vd->ops->id == VIRTIO_ID_GPU)
			graphics(d, q, qi, a, in);
		else
			legacy(d, a, take(in, 4));
		break;
	default:
		for (unsigned i = 0; i < 16; i += 8)
			rig_put(r, 0x80000 + (a & 0x7fff) + i, 8, take(in, 8));
		chain(d, in, q);
		drv_kick(d, qi);
		break;
	}
	if (fake_locks_held())
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct rig r;
	static struct drv drv[N_DEVS];
	static struct virtio_dev *vds[N_DEVS];
	struct bytes in = {data, data + size};
	unsigned which = (unsigned)take(&in, 1) % N_DEVS;
	struct drv *d = &drv[which];
	struct virtio_dev *vd;

	if (!r.vm)
		make(&r, vds, drv);
	memset(r.ram, 0, RIG_RAM + PAGE_SIZE);
	memset(d->q, 0, sizeof(d->q));
	r.brk = 0x90000;
	vd = vds[which];
	cfg_wr(&r, d->devfn, PCI_COMMAND, 2, PCI_CMD_MEM | PCI_CMD_IO | PCI_CMD_MASTER);
	bring_up(d, kind[which].queues, 0, true);
	for (unsigned i = 0; i < MAX_OPS && in.p < in.end; i++)
		operation(d, vd, kind[which].queues, &in);
	/* whatever happened: a reset brings it back to life */
	disk.mode = 0;
	disk_drain();
	fake_advance(3 * NS_PER_SEC);
	rig_reset_devices(&r);
	if (vd->busy || vd->status || r.vm->paused)
		fake_loop_run();
	if (vd->busy || vd->status || r.vm->paused)
		abort();
	return 0;
}
