/* SPDX-License-Identifier: ISC */
/* mux.c: one device, several outsides, with a memory of what was said. Any thread; mux->lock
 * serialises output and the list of parts. */
#include "chr/mux.h"
#include "chr/ring.h"

struct chr_mux {
	struct chr chr;
	struct plat_mutex lock; /* RANK_MUX: all that follows */
	struct chr *part[CHR_MUX_PARTS];
	unsigned n;
	struct chr_ring history;
};

static void mux_write(struct chr *c, const void *buf, size_t len)
{
	struct chr_mux *m = container_of(c, struct chr_mux, chr);

	plat_mutex_lock(&m->lock);
	ring_put(&m->history, buf, len);
	for (unsigned i = 0; i < m->n; i++)
		chr_write(m->part[i], buf, len);
	plat_mutex_unlock(&m->lock);
}

static void mux_rx_ready(struct chr *c)
{
	struct chr_mux *m = container_of(c, struct chr_mux, chr);

	plat_mutex_lock(&m->lock);
	for (unsigned i = 0; i < m->n; i++)
		chr_rx_ready(m->part[i]);
	plat_mutex_unlock(&m->lock);
}

static void mux_close(struct chr *c)
{
	struct chr_mux *m = container_of(c, struct chr_mux, chr);

	plat_free(m->history.buf);
	plat_free(m);
}

static const struct chr_ops mux_ops = {
	.name = "mux",
	.write = mux_write,
	.rx_ready = mux_rx_ready,
	.close = mux_close,
};

int chr_mux_create(struct chr **out)
{
	struct chr_mux *m = plat_alloc(sizeof(*m));

	if (m)
		m->history.buf = plat_alloc(CHR_MUX_HISTORY);
	if (!m || !m->history.buf) {
		plat_free(m);
		return err_here(ERR_NOMEM);
	}
	m->chr.ops = &mux_ops;
	m->history.size = CHR_MUX_HISTORY;
	plat_mutex_init(&m->lock, RANK_MUX);
	*out = &m->chr;
	return 0;
}

/* A part's input. Without a device yet it stays -1, so that the part asks again. */
static size_t from_part(void *dev, const uint8_t *buf, size_t len)
{
	return (size_t)chr_receive(&((struct chr_mux *)dev)->chr, buf, len);
}

int chr_mux_attach(struct chr *mux, struct chr *part, bool replay)
{
	struct chr_mux *m = container_of(mux, struct chr_mux, chr);
	const struct chr_client client = {.receive = from_part, .dev = m};
	const uint8_t *p;
	size_t first;

	plat_mutex_lock(&m->lock);
	if (m->n == CHR_MUX_PARTS) {
		plat_mutex_unlock(&m->lock);
		return err_here(ERR_NOMEM);
	}
	if (replay && m->history.len) {
		first = ring_peek(&m->history, &p);
		chr_write(part, p, first);
		chr_write(part, m->history.buf, m->history.len - first);
	}
	m->part[m->n++] = part;
	plat_mutex_unlock(&m->lock);
	chr_attach(part, &client);
	return 0;
}

void chr_mux_detach(struct chr *mux, struct chr *part)
{
	struct chr_mux *m = container_of(mux, struct chr_mux, chr);

	plat_mutex_lock(&m->lock);
	for (unsigned i = 0; i < m->n; i++) {
		if (m->part[i] == part)
			m->part[i] = m->part[--m->n];
	}
	plat_mutex_unlock(&m->lock);
	__atomic_store_n(&part->client.receive, NULL, __ATOMIC_RELEASE);
}
