/* SPDX-License-Identifier: ISC */
/* balloon.c: virtio memory balloon (virtio 1.2, 5.5) with free page reporting: what the guest does
 * not use goes back to the host. Runs on the notifying vCPU's thread.
 *
 * A page that was given back reads as zeros, and is there again as soon as it is touched; so nothing
 * has to be done when the guest takes pages out of the balloon. */
#include "dev/virtio/balloon.h"

#include "base/str.h"
#include "dev/virtio/virtio.h"
#include "vm/stream.h"
#include "vm/vm.h"

#define QUEUE_SIZE 128
#define SEGS       128
#define CONFIG_LEN 8
#define PFN_SIZE   4 /* page numbers in a chain are le32, of 4 KiB pages whatever the guest uses */
#define PFN_MAX    4096 /* of one chain: Linux sends 256 */

#define F_DEFLATE_ON_OOM BIT64(2)
#define F_REPORTING      BIT64(5)

/* Without a statistics and a hinting queue, reporting comes third. */
enum { INFLATE, DEFLATE, REPORTING };

struct balloon {
	struct virtio_dev vd;
	/* under vd.lock */
	uint32_t target, actual;                     /* pages */
	struct virtq_chain inflate, deflate, report; /* by who runs the queue */
};

static struct balloon *to_balloon(struct virtio_dev *vd)
{
	return container_of(vd, struct balloon, vd);
}

/* Whole pages of RAM inside of [gpa, gpa + len). */
static void give_back(struct vm *vm, gpa_t gpa, uint64_t len)
{
	gpa_t start = ALIGN_UP(gpa, PAGE_SIZE), end = ALIGN_DOWN(gpa + len, PAGE_SIZE);
	hva_t p;

	if (start >= end || start < gpa)
		return;
	p = mem_ptr(vm, start, end - start, true);
	if (!p)
		return;
	plat_pages_discard(p, end - start);
	mem_written(vm, start, end - start);
}

static struct virtq_chain *inflate_get(struct virtio_dev *vd)
{
	return &to_balloon(vd)->inflate;
}

static struct virtq_chain *deflate_get(struct virtio_dev *vd)
{
	return &to_balloon(vd)->deflate;
}

static struct virtq_chain *report_get(struct virtio_dev *vd)
{
	return &to_balloon(vd)->report;
}

/* Neighbours go together: Linux often sends them in order, up or down. */
static int64_t inflate_handle(struct virtio_dev *vd, struct virtq *q, struct virtq_chain *c)
{
	uint64_t first = 0, n = 0;
	uint8_t le[PFN_SIZE];

	for (unsigned i = 0; i < PFN_MAX && virtq_read(c, le, PFN_SIZE) == PFN_SIZE; i++) {
		uint64_t pfn = virtio_get(le, PFN_SIZE);

		if (n && pfn == first + n) {
			n++;
		} else if (n && pfn + 1 == first) {
			first--;
			n++;
		} else {
			give_back(vd->dev.vm, first << PAGE_SHIFT, n << PAGE_SHIFT);
			first = pfn;
			n = 1;
		}
	}
	give_back(vd->dev.vm, first << PAGE_SHIFT, n << PAGE_SHIFT);
	return 0;
}

static int64_t deflate_handle(struct virtio_dev *vd, struct virtq *q, struct virtq_chain *c)
{
	return 0;
}

/* The free pages themselves are the buffers. */
static int64_t report_handle(struct virtio_dev *vd, struct virtq *q, struct virtq_chain *c)
{
	for (unsigned i = c->n_out; i < c->n; i++)
		give_back(vd->dev.vm, c->gpa[i], c->vec[i].len);
	return 0;
}

static void balloon_config_read(struct virtio_dev *vd, unsigned off, uint8_t *buf, unsigned len)
{
	struct balloon *b = to_balloon(vd);
	uint8_t c[CONFIG_LEN];

	virtio_put(c, 4, b->target);
	virtio_put(c + 4, 4, b->actual);
	memcpy(buf, c + off, len);
}

static void balloon_config_write(struct virtio_dev *vd, unsigned off, const uint8_t *buf,
				 unsigned len)
{
	if (off == 4 && len == 4)
		to_balloon(vd)->actual = (uint32_t)virtio_get(buf, 4);
}

static void balloon_reset(struct virtio_dev *vd)
{
	to_balloon(vd)->actual = 0;
}

static const struct st_field balloon_fields[] = {
	ST_U(struct balloon, target),
	ST_U(struct balloon, actual),
};

static void balloon_state(struct virtio_dev *vd, struct state_stream *st)
{
	ST_SYNC(st, "balloon", 0, balloon_fields, to_balloon(vd));
}

static void balloon_destroy(struct virtio_dev *vd)
{
	struct balloon *b = to_balloon(vd);

	virtq_chain_fini(&b->inflate);
	virtq_chain_fini(&b->deflate);
	virtq_chain_fini(&b->report);
}

static const struct virtio_queue_ops balloon_queues[] = {
	[INFLATE] = {.size = QUEUE_SIZE, .get = inflate_get, .handle = inflate_handle},
	[DEFLATE] = {.size = QUEUE_SIZE, .get = deflate_get, .handle = deflate_handle},
	[REPORTING] = {.size = QUEUE_SIZE, .get = report_get, .handle = report_handle},
};

static const struct virtio_ops balloon_ops = {
	.id = VIRTIO_ID_BALLOON,
	.pci_class = 0x00ff00,
	.features = F_DEFLATE_ON_OOM | F_REPORTING,
	.n_queues = ARRAY_SIZE(balloon_queues),
	.queue = balloon_queues,
	.config_len = CONFIG_LEN,
	.config_read = balloon_config_read,
	.config_write = balloon_config_write,
	.reset = balloon_reset,
	.state = balloon_state,
	.destroy = balloon_destroy,
};

static const struct dev_class balloon_class = {
	.name = "virtio-balloon",
	.reset = virtio_machine_reset,
	.state = virtio_state,
	.freeze = virtio_freeze,
	.destroy = virtio_destroy,
};

void virtio_balloon_set(struct virtio_dev *vd, uint64_t bytes)
{
	uint64_t pages = MIN(bytes >> PAGE_SHIFT, (uint64_t)UINT32_MAX);

	plat_mutex_lock(&vd->lock);
	to_balloon(vd)->target = (uint32_t)pages;
	virtio_config_changed(vd);
	plat_mutex_unlock(&vd->lock);
}

uint64_t virtio_balloon_actual(struct virtio_dev *vd)
{
	uint64_t pages;

	plat_mutex_lock(&vd->lock);
	pages = to_balloon(vd)->actual;
	plat_mutex_unlock(&vd->lock);
	return pages << PAGE_SHIFT;
}

int virtio_balloon_create(struct vm *vm, struct pci_host *host,
			  const struct virtio_balloon_wiring *w, struct virtio_dev **out)
{
	struct balloon *b = plat_alloc(sizeof(*b));
	int err;

	if (!b)
		return err_here(ERR_NOMEM);
	virtio_init(&b->vd, vm, &balloon_class, &balloon_ops, 0);
	if (virtq_chain_init(&b->inflate, SEGS) || virtq_chain_init(&b->deflate, SEGS) ||
	    virtq_chain_init(&b->report, SEGS)) {
		virtio_destroy(&b->vd.dev);
		return err_here(ERR_NOMEM);
	}
	b->vd.transitional = w->transitional;
	err = virtio_plug(&b->vd, host, w->slot);
	if (!err)
		*out = &b->vd;
	return err;
}
