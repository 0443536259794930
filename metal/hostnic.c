/* SPDX-License-Identifier: ISC */
/* hostnic.c: what drivers of network cards share. Each card has a thread that its interrupt wakes (or that looks now
 * and then), which hands what came to the switch; who sends does so on its own thread, and loses the frame where
 * the card has no room. A card is believed no more than a guest: drivers check its lengths and places. */
#include "metal/hostnic.h"

#include "base/str.h"
#include "net/net.h"

static const struct {
	const char *name;
	bool (*is)(const struct hostpci *f);
	int (*open)(struct hostpci *f, struct hostnic **out);
	void (*start)(struct hostnic *n);
} drivers[] = {
	{"virtio-net", hostvnet_is, hostvnet_open, hostvnet_start},
	{"e1000", hoste1000_is, hoste1000_open, hoste1000_start},
};

void hostnic_irq(void *nic)
{
	plat_event_set(&((struct hostnic *)nic)->wake);
}

void hostnic_came(struct hostnic *n, const void *frame, size_t len)
{
	struct net_vec v = {frame, len};

	n->port->ops->send(n->port, &v, 1);
}

static void serve(void *arg)
{
	struct hostnic *n = arg;

	for (;;) {
		plat_event_clear(&n->wake);
		n->receive(n);
		plat_event_wait(&n->wake, n->irq ? PLAT_FOREVER : plat_now() + HOSTPCI_POLL);
	}
}

static bool transmit(void *dev, const void *frame, size_t len)
{
	struct hostnic *n = dev;
	bool taken;

	plat_mutex_lock(&n->lock);
	taken = n->transmit(n, frame, len);
	plat_mutex_unlock(&n->lock);
	return taken;
}

int hostnic_open(struct hostpci *f, struct net *port, uint8_t mac[6])
{
	struct net_client client = {.receive = transmit};
	struct plat_thread *thread;
	struct hostnic *n;
	unsigned i = 0;
	int err;

	while (i < ARRAY_SIZE(drivers) && !drivers[i].is(f))
		i++;
	if (i == ARRAY_SIZE(drivers))
		return ERR_NOENT;
	err = drivers[i].open(f, &n);
	if (!err) {
		n->port = port;
		plat_mutex_init(&n->lock, RANK_BACKEND);
		drivers[i].start(n);
		err = plat_thread_create("uplink", serve, n, &thread);
	}
	if (err) {
		hostpci_disable(f); /* what it has stays taken: it is for the whole life */
		return err;
	}
	f->driver = drivers[i].name;
	memcpy(mac, n->mac, sizeof(n->mac));
	client.dev = n;
	net_attach(port, &client);
	return 0;
}
