/* SPDX-License-Identifier: ISC */
/* state.c: saved state of virtio devices, and the standstill around it. What is in flight ends
 * first, so that rings, indices and registers are all there is. On the VM's loop (state) and the
 * thread that saves (freeze). */
#include "dev/virtio/virtio.h"

#include "vm/stream.h"
#include "vm/vm.h"

#define FREEZE_NS (20 * NS_PER_SEC)

#define V struct virtio_dev
static const struct st_field dev_fields[] = {
	ST_U(V, features), ST_U(V, status),       ST_U(V, generation),
	ST_A(V, selector), ST_U(V, queue_select), ST_U(V, config_vector),
};
#undef V

#define Q struct virtq
static const struct st_field queue_fields[] = {
	ST_U(Q, size),      ST_B(Q, enabled),  ST_U(Q, vector),     ST_U(Q, desc_gpa),
	ST_U(Q, avail_gpa), ST_U(Q, used_gpa), ST_U(Q, next_avail), ST_U(Q, next_used),
};
#undef Q

/* Ring addresses are translated again; the indices go on. */
static void queue_state(struct virtio_dev *vd, struct state_stream *st, struct virtq *q)
{
	uint16_t avail, used;
	bool enabled;

	ST_SYNC(st, "queue", q->index, queue_fields, q);
	if (!st->loading)
		return;
	avail = q->next_avail;
	used = q->next_used;
	enabled = q->enabled;
	q->enabled = false;
	if (st->err)
		return;
	if (!q->size || q->size > q->max_size || (q->size & (q->size - 1)))
		state_fail(st, err_here(ERR_FORMAT), "%s: queue %u has an impossible size",
			   vd->dev.cls->name, q->index);
	else if (enabled && virtq_enable(q))
		state_fail(st, err_here(ERR_FORMAT), "%s: queue %u lies outside of memory",
			   vd->dev.cls->name, q->index);
	q->next_avail = q->seen_avail = avail;
	q->next_used = used;
}

int virtio_state(struct dev *dev, struct state_stream *st)
{
	struct virtio_dev *vd = container_of(dev, struct virtio_dev, dev);

	if (vd->transport->state(vd->transport_ctx, st))
		return st->err;
	plat_mutex_lock(&vd->lock);
	ST_SYNC(st, "virtio", 0, dev_fields, vd);
	if (st->loading && (vd->features & ~vd->offered) && (vd->status & VIRTIO_S_FEATURES_OK))
		state_fail(st, err_here(ERR_INVAL),
			   "%s: the guest uses features that this machine does not offer",
			   dev->cls->name);
	if (st->loading)
		vd->legacy = vd->transitional && vd->status && !virtio_has(vd, VIRTIO_F_VERSION_1);
	virtio_features_settle(vd);
	for (unsigned i = 0; i < vd->ops->n_queues; i++)
		queue_state(vd, st, &vd->vq[i]);
	if (vd->ops->state)
		vd->ops->state(vd, st);
	plat_mutex_unlock(&vd->lock);
	return st->err;
}

int virtio_freeze(struct dev *dev, bool on)
{
	struct virtio_dev *vd = container_of(dev, struct virtio_dev, dev);
	bool quiet;

	plat_mutex_lock(&vd->lock);
	vd->frozen = on;
	if (on)
		virtio_recall(vd);
	plat_event_clear(&vd->idle);
	quiet = !vd->busy;
	plat_mutex_unlock(&vd->lock);
	if (!on) {
		virtio_kick_all(vd);
		return 0;
	}
	while (!quiet) {
		if (!plat_event_wait(&vd->idle, plat_now() + FREEZE_NS))
			return err_here(ERR_TIMEOUT);
		plat_mutex_lock(&vd->lock);
		plat_event_clear(&vd->idle);
		quiet = !vd->busy;
		plat_mutex_unlock(&vd->lock);
	}
	return 0;
}
