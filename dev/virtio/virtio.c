/* SPDX-License-Identifier: ISC */
/* virtio.c: device status, feature negotiation, queue set-up and reset (virtio 1.2, chapters 2 and 3)
 * and the loop that runs queues.
 *
 * Registers are entered by vCPU threads, completions by any thread; vd->lock serialises. A queue is
 * run by one thread at a time (q->running); who comes meanwhile leaves a mark (q->again). */
#include "dev/virtio/virtio.h"

#include "base/str.h"
#include "dev/pci/pci.h"
#include "vm/vm.h"

#define RING_FEATURES (VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC)
/* Chains that one notification handles before its vCPU goes on; the event loop does the rest. */
#define RUN_BUDGET 1024

/* How long a back end may take to answer what is in flight when the VM ends. */
#define DRAIN_NS (30 * NS_PER_SEC)

static void queue_more(void *arg);

void virtio_init(struct virtio_dev *vd, struct vm *vm, const struct dev_class *cls,
		 const struct virtio_ops *ops, uint64_t extra)
{
	BUG_ON(ops->n_queues > VIRTIO_MAX_QUEUES);
	vd->dev.cls = cls;
	vd->dev.vm = vm;
	vd->ops = ops;
	vd->offered = ops->features | extra | RING_FEATURES;
	vd->config_vector = VIRTIO_NO_VECTOR;
	plat_mutex_init(&vd->lock, RANK_DEVICE);
	for (unsigned i = 0; i < ops->n_queues; i++) {
		struct virtq *q = &vd->vq[i];

		q->vm = vm;
		q->max_size = ops->queue[i].size;
		q->more.fn = queue_more;
		q->more.arg = q;
		q->index = (uint16_t)i;
		virtq_reset(q);
	}
}

int virtio_plug(struct virtio_dev *vd, struct pci_host *host, int slot)
{
	int err = virtio_pci_attach(vd, host, slot);

	if (err)
		virtio_destroy(&vd->dev);
	else
		vm_add_dev(vd->dev.vm, &vd->dev, vd->dev.cls);
	return err;
}

/* ---- state ----------------------------------------------------------------------------------- */

/* A driver from before virtio 1.0 may use its queues as soon as it is there (3.1.1). */
static bool driver_is_up(const struct virtio_dev *vd)
{
	const uint8_t up = VIRTIO_S_DRIVER_OK | VIRTIO_S_FEATURES_OK;

	if (vd->status & VIRTIO_S_NEEDS_RESET)
		return false;
	return vd->legacy ? vd->status & (VIRTIO_S_DRIVER | VIRTIO_S_DRIVER_OK)
			  : (vd->status & up) == up;
}

/* What is in flight may be given back. */
static bool in_force(struct virtio_dev *vd)
{
	return driver_is_up(vd) && !vd->resetting && vd->transport->dma_allowed(vd->transport_ctx);
}

bool virtio_live(struct virtio_dev *vd)
{
	return in_force(vd) && !vd->frozen;
}

static void config_interrupt(struct virtio_dev *vd)
{
	if (vd->status & VIRTIO_S_DRIVER_OK)
		vd->transport->interrupt(vd->transport_ctx, vd->config_vector, true);
}

void virtio_config_changed(struct virtio_dev *vd)
{
	vd->generation++;
	config_interrupt(vd);
}

void virtio_broken(struct virtio_dev *vd, const char *what)
{
	if (vd->status & VIRTIO_S_NEEDS_RESET)
		return;
	/* once a reset of the device by its driver: a guest cannot flood the log faster than that */
	plat_log(LOG_DEBUG, "%s: the guest's driver broke the protocol: %s", vd->dev.cls->name,
		 what);
	vd->status |= VIRTIO_S_NEEDS_RESET;
	virtio_recall(vd);
	config_interrupt(vd);
}

void virtio_recall(struct virtio_dev *vd)
{
	if (unlikely(vd->lifted))
		vd->ops->recall(vd);
}

void virtio_wiring_changed(struct virtio_dev *vd)
{
	if (!vd->may_lift)
		return;
	plat_mutex_lock(&vd->lock);
	if (!vd->transport->dma_allowed(vd->transport_ctx))
		virtio_recall(vd);
	else if (vd->lifted)
		vd->ops->vectors(vd);
	plat_mutex_unlock(&vd->lock);
}

static void reset_finish(struct virtio_dev *vd)
{
	if (vd->ops->reset)
		vd->ops->reset(vd);
	for (unsigned i = 0; i < vd->ops->n_queues; i++)
		virtq_reset(&vd->vq[i]);
	vd->features = 0;
	vd->status = 0;
	vd->generation = 0;
	vd->selector[0] = vd->selector[1] = 0;
	vd->queue_select = 0;
	vd->config_vector = VIRTIO_NO_VECTOR;
	vd->legacy = false;
	vd->resetting = false;
	/* at the VM's end the bus may be gone before us */
	if (vd->transport && !vd->closing)
		vd->transport->reset(vd->transport_ctx);
}

static void reset_begin(struct virtio_dev *vd)
{
	if (!vd->resetting) {
		vd->resetting = true;
		virtio_recall(vd);
		if (vd->ops->cancel)
			vd->ops->cancel(vd);
	}
	if (vd->resetting && !vd->busy)
		reset_finish(vd);
}

void virtio_begin(struct virtio_dev *vd)
{
	vd->busy++;
}

void virtio_end(struct virtio_dev *vd)
{
	BUG_ON(!vd->busy);
	if (--vd->busy || !(vd->resetting || vd->frozen))
		return;
	if (vd->resetting)
		reset_finish(vd);
	plat_event_set(&vd->idle);
}

bool virtio_drain(struct virtio_dev *vd, uint64_t deadline)
{
	plat_mutex_lock(&vd->lock);
	plat_event_clear(&vd->idle);
	reset_begin(vd);
	if (!vd->resetting)
		plat_event_set(&vd->idle);
	plat_mutex_unlock(&vd->lock);
	return plat_event_wait(&vd->idle, deadline);
}

void virtio_machine_reset(struct dev *dev)
{
	virtio_drain(container_of(dev, struct virtio_dev, dev), PLAT_FOREVER);
}

void virtio_destroy(struct dev *dev)
{
	struct virtio_dev *vd = container_of(dev, struct virtio_dev, dev);

	plat_mutex_lock(&vd->lock);
	vd->closing = true;
	plat_mutex_unlock(&vd->lock);
	if (vd->ops->detach)
		vd->ops->detach(vd);
	if (!virtio_drain(vd, plat_now() + DRAIN_NS)) {
		/* what still runs will write to it: better lost than freed */
		plat_log(LOG_ERROR, "%s: requests in flight were not answered", dev->cls->name);
		return;
	}
	if (vd->transport)
		vd->transport->destroy(vd->transport_ctx);
	if (vd->ops->destroy)
		vd->ops->destroy(vd);
	plat_free(vd);
}

/* ---- queues ---------------------------------------------------------------------------------- */

void virtio_publish(struct virtio_dev *vd, struct virtq *q, unsigned n)
{
	if (q->enabled && n && virtq_publish(q, n))
		vd->transport->interrupt(vd->transport_ctx, q->vector, false);
}

/* Lock held. After a reset was asked for, or a protocol error, nothing is shown to the guest. */
static void chain_return(struct virtio_dev *vd, struct virtq *q, uint16_t head, uint32_t written)
{
	if (!in_force(vd) || !q->enabled)
		return;
	virtq_fill(q, 0, head, written);
	virtio_publish(vd, q, 1);
}

/* Lock held: the end of a chain's life outside of the ring. */
static void chain_done(struct virtio_dev *vd, struct virtq *q, struct virtq_chain *c,
		       uint32_t written)
{
	const struct virtio_queue_ops *ops = &vd->ops->queue[q->index];

	chain_return(vd, q, c->head, written);
	if (ops->unget)
		ops->unget(vd, c);
	virtio_end(vd);
}

void virtio_complete(struct virtio_dev *vd, struct virtq *q, struct virtq_chain *c,
		     uint32_t written)
{
	plat_mutex_lock(&vd->lock);
	chain_done(vd, q, c, written);
	plat_mutex_unlock(&vd->lock);
}

enum step { STEP_DONE, STEP_EMPTY, STEP_FULL };

/* One chain. Lock held; dropped around handle(). */
static enum step queue_step(struct virtio_dev *vd, struct virtq *q)
{
	const struct virtio_queue_ops *ops = &vd->ops->queue[q->index];
	struct virtq_chain *c;
	int64_t written;
	int got;

	if (!virtio_live(vd) || !q->enabled)
		return STEP_EMPTY;
	c = ops->get(vd);
	if (!c)
		return STEP_FULL;
	got = virtq_pop(q, c);
	if (got <= 0) {
		if (ops->unget)
			ops->unget(vd, c);
		if (got < 0)
			virtio_broken(vd, "bad descriptor chain or ring index");
		return STEP_EMPTY;
	}
	virtio_begin(vd);
	plat_mutex_unlock(&vd->lock);
	written = ops->handle(vd, q, c);
	plat_mutex_lock(&vd->lock);
	if (written != VIRTIO_LATER)
		chain_done(vd, q, c, (uint32_t)written);
	return STEP_DONE;
}

/* Lock held; q->running is ours. The busy count keeps a reset from finishing under us. */
static void queue_run(struct virtio_dev *vd, struct virtq *q)
{
	unsigned budget = RUN_BUDGET;
	enum step step = STEP_EMPTY;
	bool more;

	virtio_begin(vd);
	do {
		q->again = false;
		virtq_unlisten(q);
		/* a round counts too: the guest's index can change for ever */
		while (--budget && (step = queue_step(vd, q)) == STEP_DONE)
			;
		/* a device that is full kicks the queue itself when it has room */
		more = virtio_live(vd) && ((step != STEP_FULL && virtq_listen(q)) || q->again);
	} while (budget && more);
	q->running = false;
	if (!budget)
		plat_loop_post(q->vm->loop, &q->more);
	virtio_end(vd);
}

void virtio_kick(struct virtio_dev *vd, struct virtq *q)
{
	const struct virtio_queue_ops *ops = &vd->ops->queue[q->index];
	bool filled = false;

	plat_mutex_lock(&vd->lock);
	if (unlikely(vd->may_lift) && !vd->lifted)
		vd->ops->lift(vd);
	if (unlikely(vd->lifted >> q->index & 1)) {
		vd->ops->rung(vd, q);
	} else if (virtio_live(vd) && q->enabled) {
		filled = ops->filled;
		if (filled) {
			virtio_begin(vd);
		} else if (q->running) {
			q->again = true;
		} else {
			q->running = true;
			queue_run(vd, q);
		}
	}
	plat_mutex_unlock(&vd->lock);
	if (!filled)
		return;
	ops->filled(vd, q);
	plat_mutex_lock(&vd->lock);
	virtio_end(vd);
	plat_mutex_unlock(&vd->lock);
}

static void queue_more(void *arg)
{
	struct virtq *q = arg;

	virtio_kick(container_of(q - q->index, struct virtio_dev, vq[0]), q);
}

void virtio_notify(struct virtio_dev *vd, unsigned queue)
{
	if (queue < vd->ops->n_queues)
		virtio_kick(vd, &vd->vq[queue]);
}

uint32_t virtio_bells(const struct virtio_dev *vd)
{
	uint32_t bells = 0;

	for (unsigned i = 0; i < vd->ops->n_queues; i++)
		if (vd->ops->queue[i].bell)
			bells |= BIT(i);
	return bells;
}

void virtio_kick_all(struct virtio_dev *vd)
{
	for (unsigned i = 0; i < vd->ops->n_queues; i++)
		virtio_kick(vd, &vd->vq[i]);
}

/* ---- registers ------------------------------------------------------------------------------- */

static struct virtq *selected(struct virtio_dev *vd)
{
	return vd->queue_select < vd->ops->n_queues ? &vd->vq[vd->queue_select] : NULL;
}

void virtio_features_settle(struct virtio_dev *vd)
{
	for (unsigned i = 0; i < vd->ops->n_queues; i++) {
		vd->vq[i].event_idx = virtio_has(vd, VIRTIO_F_EVENT_IDX);
		vd->vq[i].indirect = virtio_has(vd, VIRTIO_F_INDIRECT_DESC);
	}
}

/* True when queues should be looked at. */
static bool status_write(struct virtio_dev *vd, uint8_t v)
{
	uint8_t set = v & (uint8_t)~vd->status;

	if (!v) {
		reset_begin(vd);
		return false;
	}
	/* bits are only ever added; NEEDS_RESET is the device's */
	set &= (uint8_t)~VIRTIO_S_NEEDS_RESET;
	if (set & VIRTIO_S_FEATURES_OK &&
	    (vd->features & ~vd->offered || !virtio_has(vd, VIRTIO_F_VERSION_1)))
		set &= (uint8_t)~VIRTIO_S_FEATURES_OK; /* refused: the driver reads it back */
	if (!((vd->status | set) & VIRTIO_S_FEATURES_OK))
		set &= (uint8_t)~VIRTIO_S_DRIVER_OK;
	vd->status |= set;
	if (set & VIRTIO_S_FEATURES_OK) {
		vd->legacy = false;
		virtio_features_settle(vd);
	}
	if (!(set & VIRTIO_S_DRIVER_OK))
		return false;
	if (vd->ops->ready)
		vd->ops->ready(vd);
	return true;
}

static void queue_enable(struct virtio_dev *vd, struct virtq *q)
{
	if (q->enabled)
		return;
	virtio_features_settle(vd);
	if (virtq_enable(q))
		virtio_broken(vd, "ring outside of memory, or misaligned");
}

enum common_reg {
	R_DEV_FEATURE_SELECT = 0,
	R_DEV_FEATURE = 4,
	R_DRV_FEATURE_SELECT = 8,
	R_DRV_FEATURE = 12,
	R_CONFIG_VECTOR = 16,
	R_NUM_QUEUES = 18,
	R_STATUS = 20,
	R_GENERATION = 21,
	R_QUEUE_SELECT = 22,
	R_QUEUE_SIZE = 24,
	R_QUEUE_VECTOR = 26,
	R_QUEUE_ENABLE = 28,
	R_QUEUE_NOTIFY_OFF = 30,
	R_QUEUE_DESC = 32,
	R_QUEUE_DRIVER = 40,
	R_QUEUE_DEVICE = 48,
};

static const uint8_t reg_size[VIRTIO_COMMON_LEN] = {
	[R_DEV_FEATURE_SELECT] = 4,
	[R_DEV_FEATURE] = 4,
	[R_DRV_FEATURE_SELECT] = 4,
	[R_DRV_FEATURE] = 4,
	[R_CONFIG_VECTOR] = 2,
	[R_NUM_QUEUES] = 2,
	[R_STATUS] = 1,
	[R_GENERATION] = 1,
	[R_QUEUE_SELECT] = 2,
	[R_QUEUE_SIZE] = 2,
	[R_QUEUE_VECTOR] = 2,
	[R_QUEUE_ENABLE] = 2,
	[R_QUEUE_NOTIFY_OFF] = 2,
	[R_QUEUE_DESC] = 8,
	[R_QUEUE_DRIVER] = 8,
	[R_QUEUE_DEVICE] = 8,
};

static uint64_t queue_reg(const struct virtq *q, unsigned reg)
{
	switch (reg) {
	case R_QUEUE_SIZE:
		return q->size;
	case R_QUEUE_VECTOR:
		return q->vector;
	case R_QUEUE_ENABLE:
		return q->enabled;
	case R_QUEUE_NOTIFY_OFF:
		return q->index;
	case R_QUEUE_DESC:
		return q->desc_gpa;
	case R_QUEUE_DRIVER:
		return q->avail_gpa;
	case R_QUEUE_DEVICE:
		return q->used_gpa;
	}
	return 0;
}

static uint64_t reg_get(struct virtio_dev *vd, unsigned reg)
{
	const struct virtq *q;

	switch (reg) {
	case R_DEV_FEATURE_SELECT:
		return vd->selector[0];
	case R_DEV_FEATURE:
		return vd->selector[0] < 2 ? (uint32_t)(vd->offered >> 32 * vd->selector[0]) : 0;
	case R_DRV_FEATURE_SELECT:
		return vd->selector[1];
	case R_DRV_FEATURE:
		return vd->selector[1] < 2 ? (uint32_t)(vd->features >> 32 * vd->selector[1]) : 0;
	case R_CONFIG_VECTOR:
		return vd->config_vector;
	case R_NUM_QUEUES:
		return vd->ops->n_queues;
	case R_STATUS:
		return vd->status;
	case R_GENERATION:
		return vd->generation;
	case R_QUEUE_SELECT:
		return vd->queue_select;
	}
	q = selected(vd);
	/* an absent queue has size 0 */
	return q ? queue_reg(q, reg) : reg == R_QUEUE_VECTOR ? VIRTIO_NO_VECTOR : 0;
}

/* Start of the register that holds byte off. */
static unsigned reg_at(unsigned off)
{
	while (!reg_size[off])
		off--;
	return off;
}

/* Any width and place is answered as if the registers were memory. */
uint64_t virtio_common_read(struct virtio_dev *vd, unsigned off, unsigned size)
{
	uint64_t v = 0;

	plat_mutex_lock(&vd->lock);
	for (unsigned i = 0; i < size && off + i < VIRTIO_COMMON_LEN;) {
		unsigned reg = reg_at(off + i), skip = off + i - reg;

		v |= reg_get(vd, reg) >> 8 * skip << 8 * i;
		i += reg_size[reg] - skip;
	}
	plat_mutex_unlock(&vd->lock);
	return size < 8 ? v & (BIT64(8 * size) - 1) : v;
}

static void addr_set(gpa_t *addr, unsigned skip, unsigned size, uint64_t v)
{
	uint64_t mask = (size < 8 ? BIT64(8 * size) - 1 : UINT64_MAX) << 8 * skip;

	*addr = (*addr & ~mask) | (v << 8 * skip & mask);
}

/* Ring registers; they are fixed while the queue is enabled. */
static void queue_reg_set(struct virtio_dev *vd, unsigned reg, unsigned skip, unsigned size,
			  uint64_t v)
{
	struct virtq *q = selected(vd);

	if (!q || (q->enabled && reg != R_QUEUE_VECTOR))
		return;
	switch (reg) {
	case R_QUEUE_SIZE:
		if (v && v <= q->max_size && !(v & (v - 1)))
			q->size = (uint16_t)v;
		break;
	case R_QUEUE_VECTOR:
		q->vector = (uint16_t)v;
		if (vd->lifted)
			vd->ops->vectors(vd);
		break;
	case R_QUEUE_ENABLE:
		if (v == 1)
			queue_enable(vd, q);
		break;
	case R_QUEUE_DESC:
		addr_set(&q->desc_gpa, skip, size, v);
		break;
	case R_QUEUE_DRIVER:
		addr_set(&q->avail_gpa, skip, size, v);
		break;
	case R_QUEUE_DEVICE:
		addr_set(&q->used_gpa, skip, size, v);
		break;
	}
}

static bool reg_set(struct virtio_dev *vd, unsigned reg, unsigned skip, unsigned size, uint64_t v)
{
	switch (reg) {
	case R_DEV_FEATURE_SELECT:
		vd->selector[0] = (uint32_t)v;
		break;
	case R_DRV_FEATURE_SELECT:
		vd->selector[1] = (uint32_t)v;
		break;
	case R_DRV_FEATURE:
		if (vd->selector[1] < 2 && !(vd->status & VIRTIO_S_FEATURES_OK))
			addr_set(&vd->features, 4 * vd->selector[1], 4, v);
		break;
	case R_CONFIG_VECTOR:
		vd->config_vector = (uint16_t)v;
		break;
	case R_STATUS:
		return status_write(vd, (uint8_t)v);
	case R_QUEUE_SELECT:
		vd->queue_select = (uint16_t)v;
		break;
	default:
		queue_reg_set(vd, reg, skip, size, v);
		break;
	}
	return false;
}

/* A write takes effect when it is a whole register, or a half of a 64-bit one (4.1.3.1). */
void virtio_common_write(struct virtio_dev *vd, unsigned off, unsigned size, uint64_t value)
{
	unsigned reg, skip;
	bool kick = false;

	if (off >= VIRTIO_COMMON_LEN)
		return;
	reg = reg_at(off);
	skip = off - reg;
	if (size != reg_size[reg] && !(reg_size[reg] == 8 && size == 4 && !(skip & 3)))
		return;
	plat_mutex_lock(&vd->lock);
	if (!vd->resetting)
		kick = reg_set(vd, reg, skip, size, value);
	plat_mutex_unlock(&vd->lock);
	if (kick)
		virtio_kick_all(vd);
}

uint64_t virtio_config_read(struct virtio_dev *vd, unsigned off, unsigned size)
{
	uint8_t buf[8] = {0};
	uint64_t v = 0;

	if (off >= vd->ops->config_len || size > sizeof(buf))
		return 0;
	plat_mutex_lock(&vd->lock);
	vd->ops->config_read(vd, off, buf, MIN(size, vd->ops->config_len - off));
	plat_mutex_unlock(&vd->lock);
	for (unsigned i = 0; i < size; i++)
		v |= (uint64_t)buf[i] << 8 * i;
	return v;
}

void virtio_config_write(struct virtio_dev *vd, unsigned off, unsigned size, uint64_t value)
{
	uint8_t buf[8];

	if (!vd->ops->config_write || size > sizeof(buf) || off >= vd->ops->config_len ||
	    size > vd->ops->config_len - off)
		return;
	for (unsigned i = 0; i < size; i++)
		buf[i] = (uint8_t)(value >> 8 * i);
	plat_mutex_lock(&vd->lock);
	if (!vd->resetting)
		vd->ops->config_write(vd, off, buf, size);
	plat_mutex_unlock(&vd->lock);
}
