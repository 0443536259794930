/* SPDX-License-Identifier: ISC */
/* virtio_rig.h: a machine of RAM, buses and a PCI host without vCPUs, and a small driver for virtio
 * devices on it that goes the same way as a guest's: configuration space, capabilities, registers,
 * rings. For unit tests and fuzzers on plat/fake; one thread. */
#ifndef TESTS_VIRTIO_RIG_H
#define TESTS_VIRTIO_RIG_H

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dev/pci/pci.h"
#include "dev/virtio/virtio.h"
#ifndef RIG_REAL_PLAT
#include "plat/fake/fake.h"
#endif
#include "vm/vm.h"

#define RIG_LOW (UINT64_C(1) << 20) /* a slot of its own: pieces can lie across its end */
#ifndef RIG_RAM
#define RIG_RAM (UINT64_C(16) << 20)
#endif
#define RIG_ECAM    UINT64_C(0xe0000000)
#define RIG_MMIO    UINT64_C(0xfe000000)
#define RIG_VECTORS 16

struct rig {
	struct vm *vm;
	struct pci_host *host;
	uint8_t *ram;
	unsigned msi[RIG_VECTORS]; /* messages received, by data */
	unsigned msi_other;
	bool wire[4];
	unsigned wire_changes;
	gpa_t brk; /* allocator of guest memory */
};

static inline void rig_msi(void *chip, uint64_t addr, uint32_t data)
{
	struct rig *r = chip;

	if (addr == 0xfee00000 && data < RIG_VECTORS)
		__atomic_fetch_add(&r->msi[data], 1, __ATOMIC_SEQ_CST);
	else
		r->msi_other++;
}

static inline void rig_wire(void *sink, unsigned n, bool level)
{
	struct rig *r = sink;

	r->wire_changes += r->wire[n] != level;
	r->wire[n] = level;
}

static const struct engine_ops rig_engine = {.name = "none"};

static inline void rig_init(struct rig *r, bool preassign)
{
	struct pci_host_wiring w = {
		.ecam = RIG_ECAM,
		.io = {0xc000, 0x1000},
		.mem = {RIG_MMIO, 0x100000},
		.preassign = preassign,
		.int_line = {10, 11, 5, 7},
	};

	memset(r, 0, sizeof(*r));
#ifndef RIG_REAL_PLAT
	fake_reset();
#endif
	r->vm = plat_alloc(sizeof(*r->vm));
	r->vm->engine = &rig_engine;
	plat_mutex_init(&r->vm->lock, RANK_VM);
	bus_init(&r->vm->pio, r->vm, MON_PORT);
	bus_init(&r->vm->mmio, r->vm, MON_MMIO);
	if (plat_loop_create(&r->vm->loop))
		abort();
	/* two slots that touch in guest memory, but not in the host's */
	r->ram = plat_pages_alloc(RIG_RAM + PAGE_SIZE);
	if (mem_add(r->vm, 0, RIG_LOW, r->ram, 0, false) ||
	    mem_add(r->vm, RIG_LOW, RIG_RAM - RIG_LOW, r->ram + RIG_LOW + PAGE_SIZE, 0, false))
		abort();
	r->vm->irq.msi = rig_msi;
	r->vm->irq.msi_chip = r;
	for (unsigned i = 0; i < 4; i++)
		w.pirq[i] = (struct irq_line){rig_wire, r, i};
	if (pci_host_create(r->vm, &w, &r->host))
		abort();
	r->brk = 0x10000;
}

static inline void rig_fini(struct rig *r)
{
	struct dev *dev, *next;

	plat_loop_destroy(r->vm->loop);
	/* as vm_destroy() does: the last one first */
	for (dev = r->vm->devs, r->vm->devs = NULL; dev; dev = next) {
		next = dev->next;
		dev->next = r->vm->devs;
		r->vm->devs = dev;
	}
	for (dev = r->vm->devs; dev; dev = next) {
		next = dev->next;
		dev->cls->destroy(dev);
	}
	for (unsigned i = 0; i < r->vm->mem.n; i++)
		plat_free((void *)r->vm->mem.slot[i].flags);
	plat_pages_free(r->ram, RIG_RAM + PAGE_SIZE);
	plat_free(r->vm);
}

static inline void rig_reset_devices(struct rig *r)
{
	for (struct dev *dev = r->vm->devs; dev; dev = dev->next)
		if (dev->cls->reset)
			dev->cls->reset(dev);
}

static inline gpa_t rig_alloc(struct rig *r, uint64_t len, uint64_t align)
{
	gpa_t at = ALIGN_UP(r->brk, align);

	r->brk = at + len;
	if (r->brk > RIG_RAM)
		abort();
	return at;
}

/* Guest memory, by bytes or little-endian words; never across the slots' border. */
static inline uint8_t *rig_at(struct rig *r, gpa_t gpa)
{
	if (gpa >= RIG_RAM)
		abort();
	return r->ram + gpa + (gpa >= RIG_LOW ? PAGE_SIZE : 0);
}

static inline uint64_t rig_get(struct rig *r, gpa_t gpa, unsigned size)
{
	uint64_t v = 0;

	memcpy(&v, rig_at(r, gpa), size);
	return v;
}

static inline void rig_put(struct rig *r, gpa_t gpa, unsigned size, uint64_t v)
{
	memcpy(rig_at(r, gpa), &v, size);
}

/* ---- configuration space -------------------------------------------------------------------- */

static inline uint32_t cfg_rd(struct rig *r, unsigned devfn, unsigned off, unsigned size)
{
	bus_write(&r->vm->pio, 0, 0xcf8, 4, 0x80000000u | devfn << 8 | (off & 0xfc));
	return (uint32_t)bus_read(&r->vm->pio, 0, 0xcfc + (off & 3), size);
}

static inline void cfg_wr(struct rig *r, unsigned devfn, unsigned off, unsigned size, uint32_t v)
{
	bus_write(&r->vm->pio, 0, 0xcf8, 4, 0x80000000u | devfn << 8 | (off & 0xfc));
	bus_write(&r->vm->pio, 0, 0xcfc + (off & 3), size, v);
}

static inline unsigned cfg_cap(struct rig *r, unsigned devfn, uint8_t id, unsigned after)
{
	unsigned at = cfg_rd(r, devfn, after ? after + 1 : PCI_CAP_PTR, 1);

	while (at && cfg_rd(r, devfn, at, 1) != id)
		at = cfg_rd(r, devfn, at + 1, 1);
	return at;
}

static inline uint64_t cfg_bar(struct rig *r, unsigned devfn, unsigned idx)
{
	uint64_t a = cfg_rd(r, devfn, PCI_BAR0 + 4 * idx, 4);

	if ((a & 7) == 4)
		a |= (uint64_t)cfg_rd(r, devfn, PCI_BAR0 + 4 * idx + 4, 4) << 32;
	return a & ~UINT64_C(15);
}

/* ---- the driver ------------------------------------------------------------------------------- */

struct drv_queue {
	unsigned size;
	gpa_t desc, avail, used;
	gpa_t indirect; /* a table of 64 entries for each head */
	uint16_t next_avail, last_used, kicked;
	uint16_t free_head, n_free;
	uint16_t len[1024]; /* descriptors of the chain that starts here */
	void *cookie[1024];
};

struct drv {
	struct rig *r;
	unsigned devfn;
	uint64_t common, isr, config, notify;
	bool msix, event_idx, indirect;
	uint64_t features;
	struct drv_queue q[3];
};

static inline uint64_t drv_rd(struct drv *d, unsigned off, unsigned size)
{
	return bus_read(&d->r->vm->mmio, 0, d->common + off, size);
}

static inline void drv_wr(struct drv *d, unsigned off, unsigned size, uint64_t v)
{
	bus_write(&d->r->vm->mmio, 0, d->common + off, size, v);
}

static inline uint64_t drv_config(struct drv *d, unsigned off, unsigned size)
{
	return bus_read(&d->r->vm->mmio, 0, d->config + off, size);
}

static inline void drv_msix(struct drv *d, unsigned vectors)
{
	unsigned cap = cfg_cap(d->r, d->devfn, PCI_CAP_MSIX, 0);
	uint64_t table = cfg_bar(d->r, d->devfn, cfg_rd(d->r, d->devfn, cap + 4, 4) & 7);

	cfg_wr(d->r, d->devfn, cap + 2, 2, 0xc000);
	for (unsigned i = 0; i < vectors; i++) {
		bus_write(&d->r->vm->mmio, 0, table + 16 * i, 4, 0xfee00000);
		bus_write(&d->r->vm->mmio, 0, table + 16 * i + 4, 4, 0);
		bus_write(&d->r->vm->mmio, 0, table + 16 * i + 8, 4, i);
		bus_write(&d->r->vm->mmio, 0, table + 16 * i + 12, 4, 0);
	}
	cfg_wr(d->r, d->devfn, cap + 2, 2, 0x8000);
	d->msix = true;
}

/* Finds the n-th virtio function of a type and its structures; status is ACKNOWLEDGE | DRIVER. */
static inline bool drv_find(struct drv *d, struct rig *r, unsigned type, unsigned nth)
{
	unsigned at = 0;

	memset(d, 0, sizeof(*d));
	d->r = r;
	for (d->devfn = 0; d->devfn < 256; d->devfn++)
		if ((cfg_rd(r, d->devfn, 0, 4) == (0x1af4 | (0x1040 + type) << 16) ||
		     ((cfg_rd(r, d->devfn, 0, 4) & 0xffc0ffff) == 0x10001af4 &&
		      cfg_rd(r, d->devfn, 0x2e, 2) == type)) &&
		    !nth--)
			break;
	if (d->devfn == 256)
		return false;
	cfg_wr(r, d->devfn, PCI_COMMAND, 2, PCI_CMD_MEM | PCI_CMD_IO | PCI_CMD_MASTER);
	while ((at = cfg_cap(r, d->devfn, PCI_CAP_VNDR, at))) {
		uint64_t base = cfg_bar(r, d->devfn, cfg_rd(r, d->devfn, at + 4, 1)) +
				cfg_rd(r, d->devfn, at + 8, 4);

		switch (cfg_rd(r, d->devfn, at + 3, 1)) {
		case 1:
			d->common = base;
			break;
		case 2:
			d->notify = base;
			break;
		case 3:
			d->isr = base;
			break;
		case 4:
			d->config = base;
			break;
		}
	}
	drv_wr(d, 20, 1, 0);
	drv_wr(d, 20, 1, 1);
	drv_wr(d, 20, 1, 3);
	return drv_rd(d, 20, 1) == 3;
}

static inline uint64_t drv_offered(struct drv *d)
{
	uint64_t f;

	drv_wr(d, 0, 4, 0);
	f = drv_rd(d, 4, 4);
	drv_wr(d, 0, 4, 1);
	return f | drv_rd(d, 4, 4) << 32;
}

static inline bool drv_negotiate(struct drv *d, uint64_t features)
{
	d->features = features;
	d->event_idx = features & VIRTIO_F_EVENT_IDX;
	d->indirect = features & VIRTIO_F_INDIRECT_DESC;
	drv_wr(d, 8, 4, 0);
	drv_wr(d, 12, 4, (uint32_t)features);
	drv_wr(d, 8, 4, 1);
	drv_wr(d, 12, 4, features >> 32);
	drv_wr(d, 20, 1, 0xb);
	return drv_rd(d, 20, 1) == 0xb;
}

static inline void drv_queue_reset(struct drv_queue *q, struct rig *r)
{
	q->next_avail = q->last_used = q->kicked = 0;
	q->free_head = 0;
	q->n_free = (uint16_t)q->size;
	for (unsigned i = 0; i < q->size; i++)
		rig_put(r, q->desc + 16 * i + 14, 2, i + 1);
	rig_put(r, q->avail, 4, 0);
	rig_put(r, q->used, 4, 0);
	rig_put(r, q->avail + 4 + 2 * q->size, 2, 0);
	rig_put(r, q->used + 4 + 8 * q->size, 2, 0);
}

static inline void drv_queue(struct drv *d, unsigned i, unsigned size)
{
	struct drv_queue *q = &d->q[i];

	drv_wr(d, 22, 2, i);
	if (!size)
		size = (unsigned)drv_rd(d, 24, 2);
	drv_wr(d, 24, 2, size);
	if (q->size != size) {
		q->size = size;
		q->desc = rig_alloc(d->r, 16 * size, 16);
		q->avail = rig_alloc(d->r, 6 + 2 * size, 2);
		q->used = rig_alloc(d->r, 6 + 8 * size, 4);
		q->indirect = rig_alloc(d->r, 64 * 16 * size, 16);
	}
	drv_queue_reset(q, d->r);
	if (d->msix)
		drv_wr(d, 26, 2, i + 1);
	drv_wr(d, 32, 4, (uint32_t)q->desc);
	drv_wr(d, 36, 4, q->desc >> 32);
	drv_wr(d, 40, 8, q->avail);
	drv_wr(d, 48, 8, q->used);
	drv_wr(d, 28, 2, 1);
}

static inline void drv_ok(struct drv *d)
{
	drv_wr(d, 20, 1, 0xf);
}

struct drv_seg {
	gpa_t gpa;
	uint32_t len;
	bool write;
};

/* Adds a chain; false when there are too few descriptors. It is seen at drv_kick(). */
static inline bool drv_add(struct drv *d, struct drv_queue *q, const struct drv_seg *seg,
			   unsigned n, bool indirect, void *cookie)
{
	struct rig *r = d->r;
	uint16_t head = (uint16_t)(q->free_head % q->size);
	unsigned need = indirect ? 1 : n, at = head, last = at;

	if (q->n_free < need)
		return false;
	if (indirect) {
		gpa_t t = q->indirect + 64 * 16 * head;

		for (unsigned i = 0; i < n; i++) {
			rig_put(r, t + 16 * i, 8, seg[i].gpa);
			rig_put(r, t + 16 * i + 8, 4, seg[i].len);
			rig_put(r, t + 16 * i + 12, 2,
				(seg[i].write ? 2 : 0) | (i + 1 < n ? 1 : 0));
			rig_put(r, t + 16 * i + 14, 2, i + 1);
		}
		rig_put(r, q->desc + 16 * head, 8, t);
		rig_put(r, q->desc + 16 * head + 8, 4, 16 * n);
		rig_put(r, q->desc + 16 * head + 12, 2, 4);
		q->free_head = (uint16_t)(rig_get(r, q->desc + 16 * head + 14, 2) % q->size);
	} else {
		for (unsigned i = 0; i < n; i++) {
			rig_put(r, q->desc + 16 * at, 8, seg[i].gpa);
			rig_put(r, q->desc + 16 * at + 8, 4, seg[i].len);
			rig_put(r, q->desc + 16 * at + 12, 2,
				(seg[i].write ? 2 : 0) | (i + 1 < n ? 1 : 0));
			last = at;
			at = (unsigned)rig_get(r, q->desc + 16 * last + 14, 2) % q->size;
		}
		q->free_head = (uint16_t)at;
	}
	q->n_free = (uint16_t)(q->n_free - need);
	q->len[head] = (uint16_t)need;
	q->cookie[head] = cookie;
	rig_put(r, q->avail + 4 + 2 * (q->next_avail & (q->size - 1)), 2, head);
	q->next_avail++;
	return true;
}

/* Shows what was added; notifies when the device wants it. True when it did. */
static inline bool drv_kick(struct drv *d, unsigned i)
{
	struct drv_queue *q = &d->q[i];
	uint16_t old = q->kicked, event;
	bool kick;

	atomic_thread_fence(memory_order_release);
	rig_put(d->r, q->avail + 2, 2, q->next_avail);
	atomic_thread_fence(memory_order_seq_cst);
	q->kicked = q->next_avail;
	if (d->event_idx) {
		event = (uint16_t)rig_get(d->r, q->used + 4 + 8 * q->size, 2);
		kick = (uint16_t)(q->next_avail - event - 1) < (uint16_t)(q->next_avail - old);
	} else {
		kick = !(rig_get(d->r, q->used, 2) & 1);
	}
	if (kick)
		bus_write(&d->r->vm->mmio, 0, d->notify + 4 * i, 2, i);
	return kick;
}

/* Takes a used chain; false when there is none. */
static inline bool drv_get(struct drv *d, unsigned i, void **cookie, uint32_t *len)
{
	struct drv_queue *q = &d->q[i];
	uint32_t head, last;
	gpa_t e;

	if ((uint16_t)rig_get(d->r, q->used + 2, 2) == q->last_used)
		return false;
	atomic_thread_fence(memory_order_acquire);
	e = q->used + 4 + 8 * (q->last_used & (q->size - 1));
	head = (uint32_t)rig_get(d->r, e, 4);
	if (head >= q->size || !q->len[head])
		abort(); /* not one of ours */
	*len = (uint32_t)rig_get(d->r, e + 4, 4);
	*cookie = q->cookie[head];
	last = head;
	for (unsigned k = 1; k < q->len[head]; k++)
		last = (uint32_t)rig_get(d->r, q->desc + 16 * last + 14, 2);
	rig_put(d->r, q->desc + 16 * last + 14, 2, q->free_head);
	q->free_head = (uint16_t)head;
	q->n_free = (uint16_t)(q->n_free + q->len[head]);
	q->len[head] = 0;
	q->last_used++;
	if (d->event_idx) {
		rig_put(d->r, q->avail + 4 + 2 * q->size, 2, q->last_used);
		atomic_thread_fence(memory_order_seq_cst);
	}
	return true;
}

/* Small deterministic random numbers (splitmix64). */
static inline uint64_t rig_rand(uint64_t *s)
{
	uint64_t z = *s += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

#endif
