/* SPDX-License-Identifier: ISC */
/* netlift.c: gives a network card's two queues to the host's kernel (vhost) and takes them back.
 *
 * The kernel reads and writes rings and frames by itself: so an engine that must hear of writes (the translator: they may be
 * to code), a monitor that wants to see frames, a VM whose written pages are noted and one that stands still do without.
 * The control queue stays here; its filter of addresses does not hold meanwhile: the driver looks at what it gets. */
#include "dev/virtio/netlift.h"

#include "vm/vm.h"

#define RINGS   2u
#define USED_AT 2 /* the index in a used ring */

static bool ready(struct virtio_dev *vd)
{
	for (unsigned i = 0; i < RINGS; i++)
		if (!vd->vq[i].enabled || vd->vq[i].running || vd->vq[i].in_use)
			return false;
	return virtio_live(vd) && virtio_has(vd, VIRTIO_F_VERSION_1) &&
	       vd->dev.vm->engine->any_writer;
}

static int give(struct netlift *l, struct virtio_dev *vd, bool csum)
{
	struct vm *vm = vd->dev.vm;
	struct net_area area[MEM_MAX_SLOTS];
	struct net_lift to = {.features = vd->features, .csum = csum, .area = area};

	for (unsigned i = 0; i < vm->mem.n; i++) {
		const struct mem_slot *s = &vm->mem.slot[i];

		if (!s->rom)
			area[to.n_areas++] = (struct net_area){s->gpa, s->size, s->hva};
	}
	for (unsigned i = 0; i < RINGS; i++) {
		const struct virtq *q = &vd->vq[i];

		to.ring[i] = (struct net_ring){q->desc, q->avail, q->used, q->size, q->next_avail};
	}
	return l->net->ops->lift(l->net, &to);
}

void netlift_up(struct netlift *l, struct virtio_dev *vd, bool csum)
{
	struct vm *vm = vd->dev.vm;
	int err = ERR_BUSY;

	if (l->refused || !ready(vd))
		return;
	/* Who wants to note what is written looks in the other order. */
	atomic_fetch_add(&vm->lifted, 1);
	if (!atomic_load(&vm->dirty_noted))
		err = give(l, vd, csum);
	if (err) {
		atomic_fetch_sub(&vm->lifted, 1);
		l->refused = err != ERR_BUSY;
		return;
	}
	vd->lifted = BIT(RINGS) - 1;
	l->fd[0] = l->fd[1] = -1;
	netlift_vectors(l, vd);
	plat_log(LOG_DEBUG, "%s: the host's kernel runs the queues%s", vd->dev.cls->name,
		 l->fd[0] >= 0 ? ", and interrupts" : "");
}

static void hear_here(struct netlift *l, struct virtio_dev *vd, unsigned ring)
{
	if (l->fd[ring] < 0)
		return;
	(void)vd->dev.vm->engine->irq_fd(vd->dev.vm, l->fd[ring], false, 0, 0);
	l->net->ops->direct(l->net, ring, false);
	l->fd[ring] = -1;
}

void netlift_vectors(struct netlift *l, struct virtio_dev *vd)
{
	struct vm *vm = vd->dev.vm;
	uint64_t addr;
	uint32_t data;

	for (unsigned i = 0; i < RINGS; i++) {
		bool can =
			vm->engine->irq_fd &&
			vd->transport->message(vd->transport_ctx, vd->vq[i].vector, &addr, &data);
		int fd;

		hear_here(l, vd, i);
		if (!can)
			continue;
		fd = l->net->ops->direct(l->net, i, true);
		if (!vm->engine->irq_fd(vm, fd, true, addr, data))
			l->fd[i] = fd;
		else
			l->net->ops->direct(l->net, i, false);
	}
}

void netlift_down(struct netlift *l, struct virtio_dev *vd)
{
	uint16_t next[RINGS];

	for (unsigned i = 0; i < RINGS; i++)
		hear_here(l, vd, i);
	l->net->ops->drop(l->net, next);
	for (unsigned i = 0; i < RINGS; i++) {
		struct virtq *q = &vd->vq[i];

		q->next_avail = q->seen_avail = next[i];
		q->next_used = __atomic_load_n((const uint16_t *)(const void *)(q->used + USED_AT),
					       __ATOMIC_ACQUIRE);
		/* Whom it had yet to tell is not known: one interrupt more does no harm. */
		if (!vd->closing && !vd->resetting)
			vd->transport->interrupt(vd->transport_ctx, q->vector, false);
	}
	vd->lifted = 0;
	atomic_fetch_sub(&vd->dev.vm->lifted, 1);
	plat_log(LOG_DEBUG, "%s: the queues are run here again", vd->dev.cls->name);
}
