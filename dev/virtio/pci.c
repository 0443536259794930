/* SPDX-License-Identifier: ISC */
/* pci.c: virtio over PCI (virtio 1.2, 4.1). BAR 4 holds the four structures of the modern interface, a page
 * each, BAR 1 the MSI-X table, BAR 0 the ports of transitional devices' legacy interface.
 *
 * Entered by vCPU threads (registers) and, for interrupts, with the device's lock held. */
#include "dev/virtio/virtio.h"

#include "base/str.h"
#include "dev/pci/pci.h"
#include "vm/stream.h"
#include "vm/vm.h"

#define VENDOR_VIRTIO 0x1af4
#define DEVICE_LEGACY 0x1000
#define DEVICE_MODERN 0x1040 /* plus the device's type */

#define BAR_LEGACY 0
#define BAR_MSIX   1
#define BAR_MODERN 4

enum cfg_type { CFG_COMMON = 1, CFG_NOTIFY, CFG_ISR, CFG_DEVICE, CFG_PCI };

#define PAGE_COMMON       0x0000
#define PAGE_ISR          0x1000
#define PAGE_DEVICE       0x2000
#define PAGE_NOTIFY       0x3000
#define MODERN_SIZE       0x4000
#define NOTIFY_MULTIPLIER 4

#define LEGACY_SIZE   128 /* ports: header and the device's configuration */
#define LEGACY_NOTIFY 16
#define LEGACY_ISR    19
#define LEGACY_PLAIN  20 /* header without vectors, which are there when MSI-X is on */

#define ISR_QUEUE  0x01
#define ISR_CONFIG 0x02

/* struct virtio_pci_cap: offsets in it */
#define CAP_LEN    2
#define CAP_TYPE   3
#define CAP_BAR    4
#define CAP_OFFSET 8
#define CAP_LENGTH 12
#define CAP_EXTRA  16 /* notify: multiplier; pci: data window */

struct virtio_pci {
	struct pci_dev pd;
	struct virtio_dev *vd;
	_Atomic uint8_t isr;
	bool was_master;    /* under vd->lock */
	uint8_t window_cap; /* place of the PCI access capability */
};

/* ---- interrupts ------------------------------------------------------------------------------- */

static void vp_interrupt(void *ctx, uint16_t vector, bool config)
{
	struct virtio_pci *vp = ctx;

	if (pci_msix_enabled(&vp->pd)) {
		if (vector != VIRTIO_NO_VECTOR)
			pci_msix_send(&vp->pd, vector);
		return;
	}
	atomic_fetch_or(&vp->isr, config ? ISR_CONFIG : ISR_QUEUE);
	pci_intx(&vp->pd, true);
}

static void vp_reset(void *ctx)
{
	struct virtio_pci *vp = ctx;

	atomic_store(&vp->isr, 0);
	pci_intx(&vp->pd, false);
}

static void vp_destroy(void *ctx)
{
	plat_free(ctx);
}

static bool vp_dma_allowed(void *ctx)
{
	struct virtio_pci *vp = ctx;

	return atomic_load_explicit(&vp->pd.master, memory_order_acquire);
}

static bool vp_message(void *ctx, uint16_t vector, uint64_t *addr, uint32_t *data)
{
	struct virtio_pci *vp = ctx;

	return vector != VIRTIO_NO_VECTOR && pci_msix_message(&vp->pd, vector, addr, data);
}

static void vp_irq_changed(struct pci_dev *pd)
{
	virtio_wiring_changed(container_of(pd, struct virtio_pci, pd)->vd);
}

static const struct st_field vp_fields[] = {
	ST_U(struct virtio_pci, isr),
	ST_B(struct virtio_pci, was_master),
};

static int vp_state(void *ctx, struct state_stream *st)
{
	struct virtio_pci *vp = ctx;

	ST_SYNC(st, "virtio-pci", 0, vp_fields, vp);
	return pci_dev_state(&vp->pd, st);
}

static const struct virtio_transport pci_transport = {
	.state = vp_state,
	.interrupt = vp_interrupt,
	.reset = vp_reset,
	.destroy = vp_destroy,
	.dma_allowed = vp_dma_allowed,
	.message = vp_message,
};

/* ---- BAR 4 ------------------------------------------------------------------------------------ */

/* Reading acknowledges. Under the device's lock, so that an interrupt raised meanwhile is not lost:
 * its pin goes up after ours went down. */
static uint8_t isr_take(struct virtio_pci *vp)
{
	uint8_t isr;

	plat_mutex_lock(&vp->vd->lock);
	isr = atomic_exchange(&vp->isr, 0);
	if (isr)
		pci_intx(&vp->pd, false);
	plat_mutex_unlock(&vp->vd->lock);
	return isr;
}

static uint64_t modern_read(void *dev, uint64_t off, unsigned size)
{
	struct virtio_pci *vp = dev;
	unsigned reg = (unsigned)off & 0xfff;

	switch (off & ~UINT64_C(0xfff)) {
	case PAGE_COMMON:
		return virtio_common_read(vp->vd, reg, size);
	case PAGE_ISR:
		return reg == 0 ? isr_take(vp) : 0;
	case PAGE_DEVICE:
		return virtio_config_read(vp->vd, reg, size);
	}
	return 0;
}

/* The specification has drivers choose only vectors that exist; others read back as none. */
static uint64_t vector_checked(struct virtio_pci *vp, unsigned reg, uint64_t value)
{
	if ((reg == 16 || reg == 26) && value >= vp->pd.msix.n)
		return VIRTIO_NO_VECTOR;
	return value;
}

static void modern_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct virtio_pci *vp = dev;
	unsigned reg = (unsigned)off & 0xfff;

	switch (off & ~UINT64_C(0xfff)) {
	case PAGE_COMMON:
		virtio_common_write(vp->vd, reg, size, vector_checked(vp, reg, value));
		break;
	case PAGE_DEVICE:
		virtio_config_write(vp->vd, reg, size, value);
		break;
	case PAGE_NOTIFY:
		virtio_notify(vp->vd, reg / NOTIFY_MULTIPLIER);
		break;
	}
}

static uint32_t vp_bells(void *dev)
{
	return virtio_bells(((struct virtio_pci *)dev)->vd);
}

/* 4.1.5.2: the number of the queue. */
static const struct bus_bells modern_bells = {
	.first = PAGE_NOTIFY,
	.stride = NOTIFY_MULTIPLIER,
	.size = 2,
	.which = vp_bells,
};

static const struct bus_region modern_region = {
	.name = "virtio-pci",
	.len = MODERN_SIZE,
	.min = 1,
	.max = 4,
	.read = modern_read,
	.write = modern_write,
	.bells = &modern_bells,
};

/* ---- BAR 0 of transitional devices ------------------------------------------------------------------ */

static unsigned legacy_header(struct virtio_pci *vp)
{
	return pci_msix_enabled(&vp->pd) ? VIRTIO_LEGACY_LEN : LEGACY_PLAIN;
}

static uint64_t legacy_read(void *dev, uint64_t off, unsigned size)
{
	struct virtio_pci *vp = dev;
	unsigned reg = (unsigned)off, header = legacy_header(vp);

	if (reg == LEGACY_ISR)
		return isr_take(vp);
	return reg < header ? virtio_legacy_read(vp->vd, reg, size)
			    : virtio_config_read(vp->vd, reg - header, size);
}

static void legacy_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct virtio_pci *vp = dev;
	unsigned reg = (unsigned)off, header = legacy_header(vp);

	if (reg >= header) {
		virtio_config_write(vp->vd, reg - header, size, value);
		return;
	}
	if (reg >= LEGACY_PLAIN && value >= vp->pd.msix.n)
		value = VIRTIO_NO_VECTOR;
	virtio_legacy_write(vp->vd, reg, size, (uint32_t)value);
}

static const struct bus_bells legacy_bells = {.first = LEGACY_NOTIFY, .size = 2, .which = vp_bells};

static const struct bus_region legacy_region = {
	.name = "virtio-legacy",
	.len = LEGACY_SIZE,
	.min = 1,
	.max = 4,
	.read = legacy_read,
	.write = legacy_write,
	.bells = &legacy_bells,
};

/* 4.1.2.1, 4.1.2.3 */
static void legacy_id(struct pci_id *id, enum virtio_id type)
{
	static const uint8_t number[] = {[VIRTIO_ID_NET] = 0,
					 [VIRTIO_ID_BLOCK] = 1,
					 [VIRTIO_ID_CONSOLE] = 3,
					 [VIRTIO_ID_RNG] = 5,
					 [VIRTIO_ID_BALLOON] = 2};

	BUG_ON(type >= ARRAY_SIZE(number));
	id->device = DEVICE_LEGACY + number[type];
	id->subsys = (uint16_t)type;
	id->revision = 0;
}

/* ---- configuration space ------------------------------------------------------------------------ */

/* The window through which firmware without memory-mapped access reaches BAR 4 (4.1.4.9). */
static bool window_target(struct virtio_pci *vp, unsigned off, unsigned size, uint64_t *at,
			  unsigned *len)
{
	unsigned data = vp->window_cap + CAP_EXTRA;

	if (off >= data + 4 || off + size <= data)
		return false;
	*at = pci_cfg_peek(&vp->pd, vp->window_cap + CAP_OFFSET, 4);
	*len = pci_cfg_peek(&vp->pd, vp->window_cap + CAP_LENGTH, 4);
	return pci_cfg_peek(&vp->pd, vp->window_cap + CAP_BAR, 1) == BAR_MODERN &&
	       (*len == 1 || *len == 2 || *len == 4) && !(*at & (*len - 1)) &&
	       *at + *len <= MODERN_SIZE;
}

static void vp_before_read(struct pci_dev *pd, unsigned off, unsigned size)
{
	struct virtio_pci *vp = container_of(pd, struct virtio_pci, pd);
	unsigned len;
	uint64_t at;

	if (window_target(vp, off, size, &at, &len))
		pci_cfg_poke(pd, vp->window_cap + CAP_EXTRA, len,
			     (uint32_t)modern_read(vp, at, len));
}

static void vp_after_write(struct pci_dev *pd, unsigned off, unsigned size)
{
	struct virtio_pci *vp = container_of(pd, struct virtio_pci, pd);
	bool master, kick;
	unsigned len;
	uint64_t at;

	if (window_target(vp, off, size, &at, &len))
		modern_write(vp, at, len, pci_cfg_peek(pd, vp->window_cap + CAP_EXTRA, len));
	virtio_wiring_changed(vp->vd);
	if (off >= PCI_STATUS)
		return;
	/* what was notified while DMA was off has not been looked at */
	plat_mutex_lock(&vp->vd->lock);
	master = atomic_load(&pd->master);
	kick = master && !vp->was_master;
	vp->was_master = master;
	plat_mutex_unlock(&vp->vd->lock);
	if (kick)
		virtio_kick_all(vp->vd);
}

static int cap_add(struct virtio_pci *vp, enum cfg_type type, unsigned len, uint32_t offset,
		   uint32_t length, uint8_t *at)
{
	uint8_t *c;
	int err = pci_cap_add(&vp->pd, PCI_CAP_VNDR, len, at);

	if (err)
		return err;
	c = vp->pd.init + *at;
	c[CAP_LEN] = (uint8_t)len;
	c[CAP_TYPE] = (uint8_t)type;
	c[CAP_BAR] = BAR_MODERN;
	pci_put(c + CAP_OFFSET, 4, offset);
	pci_put(c + CAP_LENGTH, 4, length);
	return 0;
}

static int caps_add(struct virtio_pci *vp)
{
	const struct virtio_ops *ops = vp->vd->ops;
	uint8_t at, *w;
	int err;

	err = cap_add(vp, CFG_COMMON, 16, PAGE_COMMON, VIRTIO_COMMON_LEN, &at);
	if (!err)
		err = cap_add(vp, CFG_ISR, 16, PAGE_ISR, 4, &at);
	if (!err && ops->config_len)
		err = cap_add(vp, CFG_DEVICE, 16, PAGE_DEVICE, ops->config_len, &at);
	if (!err)
		err = cap_add(vp, CFG_NOTIFY, 20, PAGE_NOTIFY, ops->n_queues * NOTIFY_MULTIPLIER,
			      &at);
	if (err)
		return err;
	pci_put(vp->pd.init + at + CAP_EXTRA, 4, NOTIFY_MULTIPLIER);
	err = cap_add(vp, CFG_PCI, 20, 0, 0, &vp->window_cap);
	if (err)
		return err;
	vp->pd.init[vp->window_cap + CAP_BAR] = 0;
	w = vp->pd.wmask + vp->window_cap;
	w[CAP_BAR] = 0xff;
	memset(w + CAP_OFFSET, 0xff, 12); /* offset, length, data */
	return 0;
}

int virtio_pci_attach(struct virtio_dev *vd, struct pci_host *host, int slot)
{
	struct virtio_pci *vp = plat_alloc(sizeof(*vp));
	const struct virtio_ops *ops = vd->ops;
	struct pci_id id = {
		.name = vd->dev.cls->name,
		.vendor = VENDOR_VIRTIO,
		.device = (uint16_t)(DEVICE_MODERN + ops->id),
		.subsys_vendor = VENDOR_VIRTIO,
		.subsys = (uint16_t)(0x40 + ops->id),
		.revision = 1,
		.cls = ops->pci_class,
		.pin = 1,
	};
	struct pci_bar bar = {
		.kind = PCI_BAR_MEM64, .size = MODERN_SIZE, .region = &modern_region, .ctx = vp};
	struct pci_bar ports = {
		.kind = PCI_BAR_IO, .size = LEGACY_SIZE, .region = &legacy_region, .ctx = vp};
	int err;

	if (!vp)
		return err_here(ERR_NOMEM);
	vp->vd = vd;
	if (vd->transitional)
		legacy_id(&id, ops->id);
	pci_dev_init(&vp->pd, &id);
	vp->pd.before_read = vp_before_read;
	vp->pd.after_write = vp_after_write;
	vp->pd.irq_changed = vp_irq_changed;
	err = pci_bar_add(&vp->pd, BAR_MODERN, &bar);
	if (!err && vd->transitional)
		err = pci_bar_add(&vp->pd, BAR_LEGACY, &ports);
	if (!err)
		err = pci_msix_add(&vp->pd, ops->n_queues + 1, BAR_MSIX);
	if (!err)
		err = caps_add(vp);
	if (!err) {
		vd->transport = &pci_transport;
		vd->transport_ctx = vp;
		err = pci_attach(host, &vp->pd, slot, 0);
	}
	if (err) {
		vd->transport = NULL;
		plat_free(vp);
	}
	return err;
}
