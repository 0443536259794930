/* SPDX-License-Identifier: ISC */
/* chr.h: character streams between a serial port or console and the outside. */
#ifndef CHR_CHR_H
#define CHR_CHR_H

#include "base/def.h"
#include "base/err.h"

struct chr;

struct chr_ops {
	const char *name;
	/* Guest to host; any thread. Takes all of it (a reader that stalls loses the oldest). */
	void (*write)(struct chr *c, const void *buf, size_t len);
	/* The device can take input again after receive() took less than it was given. */
	void (*rx_ready)(struct chr *c);
	void (*close)(struct chr *c);
};

/* The device's side. Called on the back end's thread. */
struct chr_client {
	/* Host to guest; returns how many bytes were taken. */
	size_t (*receive)(void *dev, const uint8_t *buf, size_t len);
	void *dev;
};

struct chr {
	const struct chr_ops *ops;
	struct chr_client client;
};

static inline void chr_attach(struct chr *c, const struct chr_client *client)
{
	c->client = *client;
}

#endif
