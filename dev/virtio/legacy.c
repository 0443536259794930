/* SPDX-License-Identifier: ISC */
/* legacy.c: what drivers from before virtio 1.0 expect of a transitional device (virtio 1.2, 4.1.4.8 and the
 * "Legacy Interface" parts of chapters 2 and 3). Differences: 32 bits of features and no FEATURES_OK; a queue is one
 * block of memory of the device's size, given by its page; drivers use queues before DRIVER_OK; and a reset is over when
 * the write of it is, so that the vCPU's thread waits here. Entered by vCPU threads. */
#include "dev/virtio/virtio.h"

#include "vm/vm.h"

#define F_ANY_LAYOUT BIT64(27) /* chains may be cut anywhere, as with 1.0 */
#define QUEUE_ALIGN  4096
#define DESC_BYTES   16
#define RESET_NS     (2 * NS_PER_SEC)

enum legacy_reg {
	R_DEV_FEATURES = 0,
	R_DRV_FEATURES = 4,
	R_QUEUE_PAGE = 8,
	R_QUEUE_SIZE = 12,
	R_QUEUE_SELECT = 14,
	R_QUEUE_NOTIFY = 16,
	R_STATUS = 18,
	R_CONFIG_VECTOR = 20,
	R_QUEUE_VECTOR = 22,
};

/* Where the interrupt status stands, it is the transport's. */
static const uint8_t reg_size[VIRTIO_LEGACY_LEN] = {
	[R_DEV_FEATURES] = 4, [R_DRV_FEATURES] = 4,  [R_QUEUE_PAGE] = 4,
	[R_QUEUE_SIZE] = 2,   [R_QUEUE_SELECT] = 2,  [R_QUEUE_NOTIFY] = 2,
	[R_STATUS] = 1,       [R_CONFIG_VECTOR] = 2, [R_QUEUE_VECTOR] = 2,
};

static struct virtq *selected(struct virtio_dev *vd)
{
	return vd->queue_select < vd->ops->n_queues ? &vd->vq[vd->queue_select] : NULL;
}

static uint32_t offered(const struct virtio_dev *vd)
{
	return (uint32_t)(vd->offered | F_ANY_LAYOUT);
}

static uint32_t reg_get(struct virtio_dev *vd, unsigned reg)
{
	const struct virtq *q = selected(vd);

	switch (reg) {
	case R_DEV_FEATURES:
		return offered(vd);
	case R_DRV_FEATURES:
		return (uint32_t)vd->features;
	case R_QUEUE_PAGE:
		return q && q->enabled ? (uint32_t)(q->desc_gpa / QUEUE_ALIGN) : 0;
	case R_QUEUE_SIZE:
		return q ? q->max_size : 0;
	case R_QUEUE_SELECT:
		return vd->queue_select;
	case R_STATUS:
		return vd->status;
	case R_CONFIG_VECTOR:
		return vd->config_vector;
	case R_QUEUE_VECTOR:
		return q ? q->vector : VIRTIO_NO_VECTOR;
	default:
		return 0;
	}
}

uint32_t virtio_legacy_read(struct virtio_dev *vd, unsigned off, unsigned size)
{
	uint32_t v;

	if (off >= VIRTIO_LEGACY_LEN || size != reg_size[off])
		return 0;
	plat_mutex_lock(&vd->lock);
	v = reg_get(vd, off);
	plat_mutex_unlock(&vd->lock);
	return v;
}

/* 2.7.2: descriptors and available ring, then on a page of its own the used ring. Page 0: the queue is given up. What is
 * in flight would be given back to another ring. */
static void queue_place(struct virtio_dev *vd, struct virtq *q, uint32_t page)
{
	uint16_t vector = q->vector;

	if (q->in_use) {
		virtio_broken(vd, "queue moved while it is in use");
		return;
	}
	if (!page || q->enabled) {
		virtq_reset(q);
		q->vector = vector;
	}
	if (!page)
		return;
	q->desc_gpa = (gpa_t)page * QUEUE_ALIGN;
	q->avail_gpa = q->desc_gpa + (gpa_t)q->size * DESC_BYTES;
	q->used_gpa = ALIGN_UP(q->avail_gpa + 2 * (3 + (gpa_t)q->size), QUEUE_ALIGN);
	if (virtq_enable(q))
		virtio_broken(vd, "ring outside of memory");
	virtio_features_settle(vd);
}

/* True when queues should be looked at. */
static bool status_write(struct virtio_dev *vd, uint8_t v)
{
	uint8_t set = v & (uint8_t) ~(vd->status | VIRTIO_S_NEEDS_RESET | VIRTIO_S_FEATURES_OK);

	vd->status |= set;
	if (set & VIRTIO_S_DRIVER_OK && vd->ops->ready)
		vd->ops->ready(vd);
	return set & (VIRTIO_S_DRIVER | VIRTIO_S_DRIVER_OK);
}

static bool reg_set(struct virtio_dev *vd, unsigned reg, uint32_t v)
{
	struct virtq *q = selected(vd);

	switch (reg) {
	case R_DRV_FEATURES:
		vd->features = v & offered(vd);
		virtio_features_settle(vd);
		break;
	case R_QUEUE_PAGE:
		if (q)
			queue_place(vd, q, v);
		break;
	case R_QUEUE_SELECT:
		vd->queue_select = (uint16_t)v;
		break;
	case R_STATUS:
		return status_write(vd, (uint8_t)v);
	case R_CONFIG_VECTOR:
		vd->config_vector = (uint16_t)v;
		break;
	case R_QUEUE_VECTOR:
		if (q)
			q->vector = (uint16_t)v;
		break;
	default:
		break;
	}
	return false;
}

void virtio_legacy_write(struct virtio_dev *vd, unsigned off, unsigned size, uint32_t value)
{
	bool kick = false;

	if (off >= VIRTIO_LEGACY_LEN || size != reg_size[off])
		return;
	if (off == R_QUEUE_NOTIFY) {
		virtio_notify(vd, value);
		return;
	}
	if (off == R_STATUS && !value) {
		if (!virtio_drain(vd, plat_now() + RESET_NS))
			plat_log(LOG_WARN, "%s: a reset is not over: a back end does not answer",
				 vd->dev.cls->name);
		return;
	}
	plat_mutex_lock(&vd->lock);
	/* One driver at a time: a modern one has agreed on features. */
	if (!vd->resetting && !(vd->status & VIRTIO_S_FEATURES_OK)) {
		vd->legacy = true;
		kick = reg_set(vd, off, value);
	}
	plat_mutex_unlock(&vd->lock);
	if (kick)
		virtio_kick_all(vd);
}
