/* SPDX-License-Identifier: ISC */
/* net.c: virtio network device (virtio 1.2, 5.1): one pair of queues and the control queue, mergeable
 * receive buffers, checksums.
 *
 * Frames from the guest are sent on the notifying vCPU's thread, without the lock, so that a back
 * end may answer at once. Frames for the guest come on the back end's thread, under the lock. */
#include "dev/virtio/net.h"

#include "base/str.h"
#include "dev/nic/netcsum.h"
#include "dev/virtio/netlift.h"
#include "vm/stream.h"
#include "vm/vm.h"

#define QUEUE_SIZE 256
#define CTRL_SIZE  64
#define TX_SEGS    VIRTQ_MAX_SEGS
#define RX_SEGS    VIRTQ_MAX_SEGS
#define CTRL_SEGS  32
#define HDR_LEN    12
#define HDR_LEGACY 10 /* without the number of buffers */
#define MERGE_MAX  64 /* buffers that one frame may be spread over */
#define MAC_MAX    64 /* addresses in the filter */
#define FRAME_MIN  14

#define F_CSUM       BIT64(0)
#define F_GUEST_CSUM BIT64(1)
#define F_MTU        BIT64(3)
#define F_MAC        BIT64(5)
#define F_MRG_RXBUF  BIT64(15)
#define F_STATUS     BIT64(16)
#define F_CTRL_VQ    BIT64(17)
#define F_CTRL_RX    BIT64(18)
#define F_CTRL_MAC   BIT64(23)

enum { RX_QUEUE, TX_QUEUE, CTRL_QUEUE };

#define HDR_NEEDS_CSUM 0x01
#define HDR_DATA_VALID 0x02

struct filter {
	bool promisc, allmulti;
	unsigned n;
	uint8_t mac[MAC_MAX][6];
};

struct vnet {
	struct virtio_dev vd;
	struct net *net;
	bool attached;
	uint16_t mtu;
	/* under vd.lock */
	struct netlift lift;
	bool link;
	bool stalled; /* the back end waits for rx_ready() */
	uint8_t mac[6];
	struct filter filter;
	struct virtq_chain rx[2]; /* the first of a frame's, and the present one */
	/* by who runs the queue */
	struct virtq_chain tx, ctrl;
	uint8_t *linear; /* NET_FRAME_MAX bytes: a frame whose checksum is completed */
};

static struct vnet *to_net(struct virtio_dev *vd)
{
	return container_of(vd, struct vnet, vd);
}

/* 5.1.6.1 */
static size_t hdr_len(const struct vnet *n)
{
	return virtio_has(&n->vd, VIRTIO_F_VERSION_1 | F_MRG_RXBUF) ? HDR_LEN : HDR_LEGACY;
}

static void broken(struct vnet *n, const char *what)
{
	plat_mutex_lock(&n->vd.lock);
	virtio_broken(&n->vd, what);
	plat_mutex_unlock(&n->vd.lock);
}

/* ---- guest to host ----------------------------------------------------------------------------- */

static struct virtq_chain *tx_get(struct virtio_dev *vd)
{
	return &to_net(vd)->tx;
}

_Static_assert(sizeof(struct net_vec) == sizeof(struct virtq_vec) &&
		       offsetof(struct net_vec, base) == offsetof(struct virtq_vec, base) &&
		       offsetof(struct net_vec, len) == offsetof(struct virtq_vec, len),
	       "vectors");

/* The guest left the checksum to us: le16 start and offset at bytes 6 and 8 of the header. */
static void tx_with_csum(struct vnet *n, struct virtq_chain *c, const uint8_t *hdr)
{
	size_t len = virtq_read(c, n->linear, c->out_len);
	size_t start = virtio_get(hdr + 6, 2), off = virtio_get(hdr + 8, 2);
	struct net_vec v = {n->linear, len};

	if (start >= len || start + off + 2 > len)
		return;
	netcsum_complete(n->linear, len, start, off);
	n->net->ops->send(n->net, &v, 1);
}

static int64_t tx_handle(struct virtio_dev *vd, struct virtq *q, struct virtq_chain *c)
{
	struct vnet *n = to_net(vd);
	uint8_t hdr[HDR_LEN];

	if (virtq_read(c, hdr, hdr_len(n)) != hdr_len(n)) {
		broken(n, "frame without header");
		return 0;
	}
	if (c->out_len < FRAME_MIN || c->out_len > NET_FRAME_MAX || !n->link)
		return 0; /* as a wire would lose it */
	if (hdr[0] & HDR_NEEDS_CSUM && virtio_has(vd, F_CSUM))
		tx_with_csum(n, c, hdr);
	else
		n->net->ops->send(n->net, (const struct net_vec *)(const void *)&c->vec[c->first],
				  c->n_out - c->first);
	return 0;
}

/* ---- host to guest ----------------------------------------------------------------------------- */

static bool filter_passes(const struct vnet *n, const uint8_t *dst)
{
	const struct filter *f = &n->filter;
	bool multicast = dst[0] & 1;

	if (!virtio_has(&n->vd, F_CTRL_RX) || f->promisc || (multicast && f->allmulti) ||
	    memcmp(dst, "\xff\xff\xff\xff\xff\xff", 6) == 0 ||
	    (!multicast && memcmp(dst, n->mac, 6) == 0))
		return true;
	for (unsigned i = 0; i < f->n; i++)
		if (memcmp(dst, f->mac[i], 6) == 0)
			return true;
	return false;
}

enum rx { RX_TAKEN, RX_NO_ROOM, RX_BAD };

/* Spreads header and frame over buffers. Nothing is visible before all is there. */
static enum rx rx_put(struct vnet *n, struct virtq *q, uint8_t *hdr, const uint8_t *frame,
		      size_t len)
{
	bool merge = virtio_has(&n->vd, F_MRG_RXBUF);
	size_t done = 0, first = hdr_len(n);
	unsigned k = 0;

	while (k == 0 || done < len) {
		struct virtq_chain *c = &n->rx[k > 0];
		size_t room = 0, part;
		int got = k < MERGE_MAX ? virtq_pop(q, c) : ERR_RANGE;

		if (got <= 0) {
			virtq_unpop(q, k);
			return got == 0 ? RX_NO_ROOM : got == ERR_RANGE ? RX_TAKEN : RX_BAD;
		}
		if (k == 0 && c->in_len < first)
			return RX_BAD;
		room = (size_t)c->in_len - (k == 0 ? first : 0);
		part = MIN(room, len - done);
		if (part < len - done && !merge) {
			virtq_unpop(q, k + 1); /* too long for this guest: lost */
			return RX_TAKEN;
		}
		virtq_write(q, c, k == 0 ? first : 0, frame + done, part);
		virtq_fill(q, k, c->head, (uint32_t)(part + (k == 0 ? first : 0)));
		done += part;
		k++;
	}
	virtio_put(hdr + 10, 2, k);
	virtq_write(q, &n->rx[0], 0, hdr, first);
	virtio_publish(&n->vd, q, k);
	return RX_TAKEN;
}

static bool rx_receive_locked(struct vnet *n, const uint8_t *frame, size_t len)
{
	struct virtq *q = &n->vd.vq[RX_QUEUE];
	uint8_t hdr[HDR_LEN] = {0};
	unsigned rounds = QUEUE_SIZE;
	bool more;
	enum rx r;

	if (!virtio_live(&n->vd) || n->vd.lifted || !q->enabled || !n->link ||
	    !filter_passes(n, frame))
		return true;
	if (virtio_has(&n->vd, F_GUEST_CSUM) && netcsum_valid(frame, len))
		hdr[0] = HDR_DATA_VALID;
	do {
		r = rx_put(n, q, hdr, frame, len);
		/* more buffers came meanwhile? A guest that only plays with its index loses frames */
		more = r == RX_NO_ROOM && virtq_listen(q);
	} while (more && --rounds);
	if (more)
		r = RX_TAKEN;
	if (r == RX_BAD)
		virtio_broken(&n->vd, "bad receive buffer");
	n->stalled = r == RX_NO_ROOM;
	return !n->stalled;
}

static bool rx_receive(void *dev, const void *frame, size_t len)
{
	struct vnet *n = dev;
	bool taken;

	if (len < FRAME_MIN || len > NET_FRAME_MAX)
		return true;
	plat_mutex_lock(&n->vd.lock);
	taken = rx_receive_locked(n, frame, len);
	plat_mutex_unlock(&n->vd.lock);
	return taken;
}

static void rx_filled(struct virtio_dev *vd, struct virtq *q)
{
	struct vnet *n = to_net(vd);
	bool ready;

	plat_mutex_lock(&vd->lock);
	ready = n->stalled;
	n->stalled = false;
	plat_mutex_unlock(&vd->lock);
	if (ready)
		n->net->ops->rx_ready(n->net);
}

/* ---- queues that the host's kernel runs ---------------------------------------------------------- */

static void net_lift(struct virtio_dev *vd)
{
	struct vnet *n = to_net(vd);

	if (n->link && !n->stalled)
		netlift_up(&n->lift, vd, virtio_has(vd, F_GUEST_CSUM));
}

static void net_rung(struct virtio_dev *vd, struct virtq *q)
{
	struct vnet *n = to_net(vd);

	n->net->ops->rung(n->net, q->index);
	if (unlikely(n->lift.fd[q->index] <
		     0)) /* perhaps now: a restored VM's engine is not there at first */
		netlift_vectors(&n->lift, vd);
}

static void net_recall_queues(struct virtio_dev *vd)
{
	netlift_down(&to_net(vd)->lift, vd);
}

static void net_vectors(struct virtio_dev *vd)
{
	netlift_vectors(&to_net(vd)->lift, vd);
}

/* It has used buffers, and the engine has not heard it. */
static void on_called(void *dev, unsigned ring)
{
	struct virtio_dev *vd = &((struct vnet *)dev)->vd;

	plat_mutex_lock(&vd->lock);
	if (vd->lifted)
		vd->transport->interrupt(vd->transport_ctx, vd->vq[ring].vector, false);
	plat_mutex_unlock(&vd->lock);
}

static void on_recall(void *dev)
{
	struct virtio_dev *vd = &((struct vnet *)dev)->vd;

	plat_mutex_lock(&vd->lock);
	virtio_recall(vd);
	plat_mutex_unlock(&vd->lock);
	virtio_kick_all(vd);
}

/* ---- control queue ----------------------------------------------------------------------------- */

enum { CTRL_RX = 0, CTRL_MAC = 1 };
enum { RX_PROMISC = 0, RX_ALLMULTI = 1 };
enum { MAC_TABLE = 0, MAC_ADDR = 1 };

static struct virtq_chain *ctrl_get(struct virtio_dev *vd)
{
	return &to_net(vd)->ctrl;
}

/* le32 count, then addresses; twice: unicast, multicast. More than we keep: take everything. */
static bool table_read(struct filter *f, struct virtq_chain *c, bool *all)
{
	uint8_t count[4], mac[6];
	uint64_t n;

	if (virtq_read(c, count, 4) != 4)
		return false;
	n = virtio_get(count, 4);
	if (n * 6 > c->out_len)
		return false;
	for (uint64_t i = 0; i < n; i++) {
		virtq_read(c, mac, 6);
		if (f->n < MAC_MAX)
			memcpy(f->mac[f->n++], mac, 6);
		else
			*all = true;
		if (*all && c->out_len == 0)
			break;
	}
	return true;
}

static bool ctrl_mac_table(struct vnet *n, struct virtq_chain *c)
{
	struct filter f = {.promisc = n->filter.promisc, .allmulti = n->filter.allmulti};

	if (c->out_len > 64 * KIB || !table_read(&f, c, &f.promisc) ||
	    !table_read(&f, c, &f.allmulti))
		return false;
	n->filter = f;
	return true;
}

static bool ctrl_do(struct vnet *n, struct virtq_chain *c)
{
	uint8_t cmd[2], arg[6];

	if (virtq_read(c, cmd, 2) != 2)
		return false;
	switch (cmd[0] << 8 | cmd[1]) {
	case CTRL_RX << 8 | RX_PROMISC:
		if (virtq_read(c, arg, 1) != 1)
			return false;
		n->filter.promisc = arg[0];
		return true;
	case CTRL_RX << 8 | RX_ALLMULTI:
		if (virtq_read(c, arg, 1) != 1)
			return false;
		n->filter.allmulti = arg[0];
		return true;
	case CTRL_MAC << 8 | MAC_TABLE:
		return ctrl_mac_table(n, c);
	case CTRL_MAC << 8 | MAC_ADDR:
		if (c->out_len != 6 || virtq_read(c, arg, 6) != 6 || (arg[0] & 1))
			return false;
		memcpy(n->mac, arg, 6);
		return true;
	}
	return false;
}

static int64_t ctrl_handle(struct virtio_dev *vd, struct virtq *q, struct virtq_chain *c)
{
	struct vnet *n = to_net(vd);
	uint8_t ack;

	plat_mutex_lock(&vd->lock);
	ack = !ctrl_do(n, c);
	plat_mutex_unlock(&vd->lock);
	return (int64_t)virtq_write(q, c, 0, &ack, 1);
}

/* ---- the device --------------------------------------------------------------------------------- */

#define CONFIG_LEN 12

static void net_config_read(struct virtio_dev *vd, unsigned off, uint8_t *buf, unsigned len)
{
	struct vnet *n = to_net(vd);
	uint8_t c[CONFIG_LEN] = {0};

	memcpy(c, n->mac, 6);
	c[6] = n->link;
	virtio_put(c + 8, 2, 1); /* pairs of queues */
	virtio_put(c + 10, 2, n->mtu);
	memcpy(buf, c + off, len);
}

/* Drivers of 1.0 have the control queue for it (5.1.4.1). */
static void net_config_write(struct virtio_dev *vd, unsigned off, const uint8_t *buf, unsigned len)
{
	struct vnet *n = to_net(vd);

	for (unsigned i = 0; i < len && off + i < 6 && vd->legacy; i++)
		n->mac[off + i] = buf[i];
}

static void net_reset(struct virtio_dev *vd)
{
	struct vnet *n = to_net(vd);

	n->lift.refused = false;
	memset(&n->filter, 0, sizeof(n->filter));
	n->filter.promisc = true; /* until the driver says otherwise */
	memcpy(n->mac, n->net->mac, 6);
}

#define N struct vnet
static const struct st_field net_fields[] = {
	ST_B(N, link),
	ST_RAW(N, mac),
	ST_B(N, filter.promisc),
	ST_B(N, filter.allmulti),
	ST_UMAX(N, filter.n, MAC_MAX),
	ST_RAW(N, filter.mac),
};
#undef N

static void net_state(struct virtio_dev *vd, struct state_stream *st)
{
	struct vnet *n = to_net(vd);

	ST_SYNC(st, "net", 0, net_fields, n);
	n->stalled = true; /* the back end is told to go on when that is over */
}

static void from_wire_detach(struct virtio_dev *vd)
{
	struct vnet *n = to_net(vd);

	if (n->attached)
		net_detach(n->net);
}

static void net_destroy(struct virtio_dev *vd)
{
	struct vnet *n = to_net(vd);

	plat_pages_free(n->linear, ALIGN_UP(NET_FRAME_MAX, PAGE_SIZE));
	virtq_chain_fini(&n->tx);
	virtq_chain_fini(&n->ctrl);
	virtq_chain_fini(&n->rx[0]);
	virtq_chain_fini(&n->rx[1]);
}

static const struct virtio_queue_ops net_queues[] = {
	[RX_QUEUE] = {.size = QUEUE_SIZE, .bell = true, .filled = rx_filled},
	[TX_QUEUE] = {.size = QUEUE_SIZE, .bell = true, .get = tx_get, .handle = tx_handle},
	[CTRL_QUEUE] = {.size = CTRL_SIZE, .get = ctrl_get, .handle = ctrl_handle},
};

static const struct virtio_ops net_ops = {
	.id = VIRTIO_ID_NET,
	.pci_class = 0x020000,
	.features = F_CSUM | F_GUEST_CSUM | F_MAC | F_MRG_RXBUF | F_STATUS | F_CTRL_VQ | F_CTRL_RX |
		    F_CTRL_MAC,
	.n_queues = ARRAY_SIZE(net_queues),
	.queue = net_queues,
	.config_len = CONFIG_LEN,
	.config_read = net_config_read,
	.config_write = net_config_write,
	.reset = net_reset,
	.lift = net_lift,
	.rung = net_rung,
	.recall = net_recall_queues,
	.vectors = net_vectors,
	.state = net_state,
	.detach = from_wire_detach,
	.destroy = net_destroy,
};

static const struct dev_class net_class = {
	.name = "virtio-net",
	.reset = virtio_machine_reset,
	.state = virtio_state,
	.freeze = virtio_freeze,
	.destroy = virtio_destroy,
};

void virtio_net_set_link(struct virtio_dev *vd, bool up)
{
	struct vnet *n = to_net(vd);

	plat_mutex_lock(&vd->lock);
	if (n->link != up) {
		n->link = up;
		virtio_recall(vd);
		virtio_config_changed(vd);
	}
	plat_mutex_unlock(&vd->lock);
}

static void on_link(void *dev, bool up)
{
	virtio_net_set_link(&((struct vnet *)dev)->vd, up);
}

int virtio_net_create(struct vm *vm, struct pci_host *host, const struct virtio_net_wiring *w,
		      struct virtio_dev **out)
{
	struct vnet *n = plat_alloc(sizeof(*n));
	struct net_client client = {.receive = rx_receive,
				    .link = on_link,
				    .called = on_called,
				    .recall = on_recall,
				    .dev = n};
	int err;

	if (!n)
		return err_here(ERR_NOMEM);
	n->net = w->net;
	n->mtu = w->mtu;
	n->link = true;
	virtio_init(&n->vd, vm, &net_class, &net_ops, w->mtu ? F_MTU : 0);
	net_reset(&n->vd);
	n->linear = plat_pages_alloc(ALIGN_UP(NET_FRAME_MAX, PAGE_SIZE));
	if (!n->linear || virtq_chain_init(&n->tx, TX_SEGS) ||
	    virtq_chain_init(&n->ctrl, CTRL_SEGS) || virtq_chain_init(&n->rx[0], RX_SEGS) ||
	    virtq_chain_init(&n->rx[1], RX_SEGS)) {
		virtio_destroy(&n->vd.dev);
		return err_here(ERR_NOMEM);
	}
	n->vd.transitional = w->transitional;
	n->lift.net = w->net;
	n->vd.may_lift = w->net->ops->lift;
	err = virtio_plug(&n->vd, host, w->slot);
	if (err)
		return err;
	n->attached = true;
	net_attach(w->net, &client);
	*out = &n->vd;
	return 0;
}
