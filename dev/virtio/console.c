/* SPDX-License-Identifier: ISC */
/* console.c: virtio console (virtio 1.2, 5.3), one port, with size and emergency output.
 *
 * Output goes to the back end on the notifying vCPU's thread, without the lock; input comes on the
 * back end's thread, under the lock. */
#include "dev/virtio/console.h"

#include "base/str.h"
#include "chr/chr.h"
#include "dev/virtio/virtio.h"
#include "vm/stream.h"
#include "vm/vm.h"

#define QUEUE_SIZE 128
#define SEGS       128
#define CONFIG_LEN 12
#define EMERG_OFF  8

#define F_SIZE  BIT64(0)
#define F_EMERG BIT64(2)

enum { RX_QUEUE, TX_QUEUE };

struct console {
	struct virtio_dev vd;
	struct chr *chr;
	bool attached;
	/* under vd.lock */
	uint16_t cols, rows;
	bool stalled; /* the back end waits for rx_ready() */
	struct virtq_chain rx;
	struct virtq_chain tx; /* by who runs the queue */
};

static struct console *to_console(struct virtio_dev *vd)
{
	return container_of(vd, struct console, vd);
}

static bool allowed(struct console *c, uint8_t op, uint64_t len)
{
	struct mon_event ev = {.cls = MON_CONSOLE, .op = op, .vcpu = -1, .value = len};
	struct monitor *mon = &c->vd.dev.vm->mon;
	bool ok = mon_ask(mon, &ev) != MON_DENY;

	mon_tell(mon, &ev);
	return ok;
}

static struct virtq_chain *tx_get(struct virtio_dev *vd)
{
	return &to_console(vd)->tx;
}

static int64_t tx_handle(struct virtio_dev *vd, struct virtq *q, struct virtq_chain *c)
{
	struct console *con = to_console(vd);

	if (!allowed(con, 1, c->out_len))
		return 0;
	for (unsigned i = c->first; i < c->n_out; i++)
		con->chr->ops->write(con->chr, c->vec[i].base, c->vec[i].len);
	return 0;
}

/* Lock held. */
static size_t rx_put(struct console *con, struct virtq *q, const uint8_t *buf, size_t len)
{
	size_t done = 0;
	unsigned n = 0;
	int got = 0;

	while (done < len && n < q->size && (got = virtq_pop(q, &con->rx)) > 0) {
		size_t part = virtq_write(q, &con->rx, 0, buf + done, len - done);

		virtq_fill(q, n++, con->rx.head, (uint32_t)part);
		done += part;
	}
	virtio_publish(&con->vd, q, n);
	if (got < 0)
		virtio_broken(&con->vd, "bad receive buffer");
	return done;
}

static size_t rx_receive(void *dev, const uint8_t *buf, size_t len)
{
	struct console *con = dev;
	struct virtq *q = &con->vd.vq[RX_QUEUE];
	unsigned rounds = 0;
	size_t done = 0;

	if (!len || !allowed(con, 0, len))
		return len;
	plat_mutex_lock(&con->vd.lock);
	while (virtio_live(&con->vd) && q->enabled && rounds++ < VIRTQ_MAX_SIZE) {
		done += rx_put(con, q, buf + done, len - done);
		if (done == len || !virtq_listen(q))
			break;
	}
	con->stalled = done < len;
	plat_mutex_unlock(&con->vd.lock);
	return done;
}

static void rx_filled(struct virtio_dev *vd, struct virtq *q)
{
	struct console *con = to_console(vd);
	bool ready;

	plat_mutex_lock(&vd->lock);
	ready = con->stalled;
	con->stalled = false;
	plat_mutex_unlock(&vd->lock);
	if (ready)
		con->chr->ops->rx_ready(con->chr);
}

static void console_config_read(struct virtio_dev *vd, unsigned off, uint8_t *buf, unsigned len)
{
	struct console *con = to_console(vd);
	uint8_t c[CONFIG_LEN] = {0};

	virtio_put(c + 0, 2, con->cols);
	virtio_put(c + 2, 2, con->rows);
	virtio_put(c + 4, 4, 1); /* ports */
	memcpy(buf, c + off, len);
}

/* One character without any set-up, for a kernel that dies early. */
static void console_config_write(struct virtio_dev *vd, unsigned off, const uint8_t *buf,
				 unsigned len)
{
	struct console *con = to_console(vd);

	if (off == EMERG_OFF && allowed(con, 1, 1))
		con->chr->ops->write(con->chr, buf, 1);
}

static const struct st_field console_fields[] = {
	ST_U(struct console, cols),
	ST_U(struct console, rows),
};

static void console_state(struct virtio_dev *vd, struct state_stream *st)
{
	struct console *con = to_console(vd);

	ST_SYNC(st, "console", 0, console_fields, con);
	con->stalled = true; /* the back end is told to go on when that is over */
}

static void from_chr_detach(struct virtio_dev *vd)
{
	struct console *con = to_console(vd);

	if (con->attached)
		chr_detach(con->chr);
}

static void console_destroy(struct virtio_dev *vd)
{
	struct console *con = to_console(vd);

	virtq_chain_fini(&con->rx);
	virtq_chain_fini(&con->tx);
}

static const struct virtio_queue_ops console_queues[] = {
	[RX_QUEUE] = {.size = QUEUE_SIZE, .filled = rx_filled},
	[TX_QUEUE] = {.size = QUEUE_SIZE, .get = tx_get, .handle = tx_handle},
};

static const struct virtio_ops console_ops = {
	.id = VIRTIO_ID_CONSOLE,
	.pci_class = 0x078000,
	.features = F_SIZE | F_EMERG,
	.n_queues = ARRAY_SIZE(console_queues),
	.queue = console_queues,
	.config_len = CONFIG_LEN,
	.config_read = console_config_read,
	.config_write = console_config_write,
	.state = console_state,
	.detach = from_chr_detach,
	.destroy = console_destroy,
};

static const struct dev_class console_class = {
	.name = "virtio-console",
	.reset = virtio_machine_reset,
	.state = virtio_state,
	.freeze = virtio_freeze,
	.destroy = virtio_destroy,
};

void virtio_console_resize(struct virtio_dev *vd, uint16_t cols, uint16_t rows)
{
	struct console *con = to_console(vd);

	plat_mutex_lock(&vd->lock);
	if (con->cols != cols || con->rows != rows) {
		con->cols = cols;
		con->rows = rows;
		virtio_config_changed(vd);
	}
	plat_mutex_unlock(&vd->lock);
}

int virtio_console_create(struct vm *vm, struct pci_host *host,
			  const struct virtio_console_wiring *w, struct virtio_dev **out)
{
	struct console *con = plat_alloc(sizeof(*con));
	struct chr_client client = {.receive = rx_receive, .dev = con};
	int err;

	if (!con)
		return err_here(ERR_NOMEM);
	con->chr = w->chr;
	con->cols = 80;
	con->rows = 25;
	virtio_init(&con->vd, vm, &console_class, &console_ops, 0);
	if (virtq_chain_init(&con->rx, SEGS) || virtq_chain_init(&con->tx, SEGS)) {
		virtio_destroy(&con->vd.dev);
		return err_here(ERR_NOMEM);
	}
	con->vd.transitional = w->transitional;
	err = virtio_plug(&con->vd, host, w->slot);
	if (err)
		return err;
	con->attached = true;
	chr_attach(w->chr, &client);
	*out = &con->vd;
	return 0;
}
