/* SPDX-License-Identifier: ISC */
/* none.c: a character stream that leads nowhere. Any thread. */
#include "chr/open.h"

static void none_write(struct chr *c, const void *buf, size_t len)
{
}

static void none_rx_ready(struct chr *c)
{
}

static void none_close(struct chr *c)
{
	plat_free(c);
}

static const struct chr_ops none_ops = {
	.name = "none",
	.write = none_write,
	.rx_ready = none_rx_ready,
	.close = none_close,
};

int chr_none_open(struct chr **out)
{
	struct chr *c = plat_alloc(sizeof(*c));

	if (!c)
		return err_here(ERR_NOMEM);
	c->ops = &none_ops;
	*out = c;
	return 0;
}
