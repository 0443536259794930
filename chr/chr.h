/* SPDX-License-Identifier: ISC */
/* chr.h: character streams between a serial port or console and the outside. */
#ifndef CHR_CHR_H
#define CHR_CHR_H

#include "base/def.h"
#include "base/err.h"
#include "plat/plat.h"

struct chr;

struct chr_ops {
	const char *name;
	/* Guest to host; any thread. Takes all of it (a reader that stalls loses the oldest). */
	void (*write)(struct chr *c, const void *buf, size_t len);
	/* The device can take input again after receive() took less than it was given. Any thread. */
	void (*rx_ready)(struct chr *c);
	/* Nobody uses it any more; writes out what it can, and frees it. Any thread. */
	void (*close)(struct chr *c);
};

/* The device's side. Called on the back end's thread. */
struct chr_client {
	/* Host to guest; returns how many bytes were taken (SIZE_MAX: ask again in a while). */
	size_t (*receive)(void *dev, const uint8_t *buf, size_t len);
	void *dev;
};

struct chr {
	const struct chr_ops *ops;
	struct chr_client client;
	_Atomic uint32_t receiving; /* calls of the client that run now */
};

/* Input that comes earlier waits in the back end. The receiver may be attached while that runs. */
static inline void chr_attach(struct chr *c, const struct chr_client *client)
{
	c->client.dev = client->dev;
	__atomic_store_n(&c->client.receive, client->receive, __ATOMIC_RELEASE);
}

/* For back ends: how many bytes the device took; -1: there is no device yet. */
static inline ptrdiff_t chr_receive(struct chr *c, const uint8_t *buf, size_t len)
{
	size_t (*receive)(void *, const uint8_t *, size_t);
	ptrdiff_t n = -1;

	atomic_fetch_add(&c->receiving, 1);
	receive = __atomic_load_n(&c->client.receive, __ATOMIC_SEQ_CST);
	if (receive)
		n = (ptrdiff_t)receive(c->client.dev, buf, len);
	atomic_fetch_sub(&c->receiving, 1);
	return n;
}

/* For devices that go away before the back end: after return the client is called no more. Not
 * from the client. */
static inline void chr_detach(struct chr *c)
{
	__atomic_store_n(&c->client.receive, NULL, __ATOMIC_SEQ_CST);
	while (atomic_load(&c->receiving))
		plat_yield();
}

static inline void chr_write(struct chr *c, const void *buf, size_t len)
{
	c->ops->write(c, buf, len);
}

static inline void chr_rx_ready(struct chr *c)
{
	c->ops->rx_ready(c);
}

static inline void chr_close(struct chr *c)
{
	if (c)
		c->ops->close(c);
}

#endif
