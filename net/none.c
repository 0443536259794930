/* SPDX-License-Identifier: ISC */
/* none.c: a network card whose cable is not plugged in. Any thread. */
#include "net/backend.h"

static void none_send(struct net *n, const struct net_vec *vec, unsigned n_vec)
{
}

static void none_rx_ready(struct net *n)
{
}

static void none_close(struct net *n)
{
	plat_free(n);
}

static const struct net_ops none_ops = {
	.name = "none",
	.send = none_send,
	.rx_ready = none_rx_ready,
	.close = none_close,
};

int net_none_open(struct net **out)
{
	struct net *n = plat_alloc(sizeof(*n));

	if (!n)
		return err_here(ERR_NOMEM);
	n->ops = &none_ops;
	*out = n;
	return 0;
}
