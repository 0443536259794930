/* SPDX-License-Identifier: ISC */
/* rng.c: virtio entropy device (virtio 1.2, 5.4). Bytes are the host's; a bucket bounds the rate,
 * so that a guest cannot keep the host's generator busy. Runs on the notifying vCPU's thread. */
#include "dev/virtio/rng.h"

#include "base/str.h"
#include "dev/virtio/virtio.h"
#include "vm/vm.h"

#define QUEUE_SIZE   64
#define SEGS         64
#define DEFAULT_RATE (256 * 1024)
#define CHUNK        256
#define ANSWER_MAX   4096 /* bytes for one request: fewer than asked for is allowed */

struct rng {
	struct virtio_dev vd;
	uint32_t rate;
	/* by who runs the queue: what a rule makes of its seed (xorshift64*) */
	uint64_t seed, state;
	/* under vd.lock */
	uint32_t tokens;          /* bytes that may be given now */
	uint64_t filled;          /* when the bucket was last filled, ns */
	struct virtq_chain chain; /* by who runs the queue */
	struct plat_timer timer;
};

static void bucket_fill(struct rng *r)
{
	uint64_t now = plat_now(), ns = MIN(now - r->filled, NS_PER_SEC);
	uint64_t more = ns * r->rate / NS_PER_SEC;

	if (!more)
		return;
	r->filled = now;
	r->tokens = (uint32_t)MIN(r->tokens + more, (uint64_t)r->rate);
}

static struct virtq_chain *rng_get(struct virtio_dev *vd)
{
	struct rng *r = container_of(vd, struct rng, vd);

	bucket_fill(r);
	if (r->tokens)
		return &r->chain;
	plat_timer_arm(&r->timer, plat_now() + NS_PER_SEC / 50);
	return NULL;
}

static void rng_timer(void *arg)
{
	struct rng *r = arg;

	virtio_kick(&r->vd, &r->vd.vq[0]);
}

static void fill(struct rng *r, uint8_t verdict, uint64_t seed, uint8_t *buf, size_t len)
{
	if (verdict != MON_REDIRECT) {
		plat_random(buf, len);
		return;
	}
	if (r->seed != seed || !r->state) {
		r->seed = seed;
		r->state = seed ? seed : 1;
	}
	for (size_t i = 0; i < len; i++) {
		r->state ^= r->state >> 12;
		r->state ^= r->state << 25;
		r->state ^= r->state >> 27;
		buf[i] = (uint8_t)(r->state * UINT64_C(0x2545f4914f6cdd1d) >> 56);
	}
}

static int64_t rng_handle(struct virtio_dev *vd, struct virtq *q, struct virtq_chain *c)
{
	struct rng *r = container_of(vd, struct rng, vd);
	struct mon_event ev = {.cls = MON_ENTROPY, .vcpu = -1};
	uint8_t buf[CHUNK];
	size_t done = 0, want;
	uint64_t seed;
	bool ok;

	plat_mutex_lock(&vd->lock);
	want = MIN(MIN((size_t)c->in_len, (size_t)ANSWER_MAX), (size_t)r->tokens);
	r->tokens -= (uint32_t)want;
	plat_mutex_unlock(&vd->lock);
	ev.value = want;
	ok = mon_ask(&vd->dev.vm->mon, &ev) != MON_DENY;
	seed = ev.value;
	ev.value = want;
	mon_tell(&vd->dev.vm->mon, &ev);
	while (ok && done < want) {
		size_t part = MIN(want - done, sizeof(buf));

		fill(r, ev.verdict, seed, buf, part);
		done += virtq_write(q, c, done, buf, part);
	}
	return (int64_t)done;
}

static void rng_destroy(struct virtio_dev *vd)
{
	virtq_chain_fini(&container_of(vd, struct rng, vd)->chain);
}

static const struct virtio_queue_ops rng_queues[] = {
	{.size = QUEUE_SIZE, .get = rng_get, .handle = rng_handle},
};

static const struct virtio_ops rng_ops = {
	.id = VIRTIO_ID_RNG,
	.pci_class = 0x00ff00,
	.n_queues = ARRAY_SIZE(rng_queues),
	.queue = rng_queues,
	.destroy = rng_destroy,
};

static const struct dev_class rng_class = {
	.name = "virtio-rng",
	.reset = virtio_machine_reset,
	.state = virtio_state,
	.freeze = virtio_freeze,
	.destroy = virtio_destroy,
};

int virtio_rng_create(struct vm *vm, struct pci_host *host, const struct virtio_rng_wiring *w,
		      struct virtio_dev **out)
{
	struct rng *r = plat_alloc(sizeof(*r));
	int err;

	if (!r)
		return err_here(ERR_NOMEM);
	r->rate = w->rate ? w->rate : DEFAULT_RATE;
	r->tokens = r->rate;
	r->filled = plat_now();
	plat_timer_init(&r->timer, vm->loop, rng_timer, r);
	virtio_init(&r->vd, vm, &rng_class, &rng_ops, 0);
	if (virtq_chain_init(&r->chain, SEGS)) {
		virtio_destroy(&r->vd.dev);
		return err_here(ERR_NOMEM);
	}
	r->vd.transitional = w->transitional;
	err = virtio_plug(&r->vd, host, w->slot);
	if (!err)
		*out = &r->vd;
	return err;
}
