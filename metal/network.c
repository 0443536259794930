/* SPDX-License-Identifier: ISC */
/* network.c: makes switches and ports from what the fleet says, and gives the machine's network cards, in the order
 * of their places on the bus, to the networks that want an uplink. Creation time; then constant. */
#include "metal/network.h"

#include "base/str.h"
#include "metal/hostnic.h"
#include "net/switch.h"

static struct {
	struct net_switch *net[FLEET_MAX_NETS];
	struct net *port[FLEET_MAX_VMS][FLEET_MAX_NICS];
	struct net *uplink[FLEET_MAX_NETS];
	unsigned uplink_of[FLEET_MAX_NETS];
	unsigned n_uplinks;
} nets;

/* The card at f, if it is one, for the next network that wants an uplink. One that does not work is left, the next one takes
 * its place. *port: made before, and not used yet. */
static int try_uplink(struct hostpci *f, unsigned net, struct net **port)
{
	uint8_t m[6];
	int err = *port ? 0 : net_switch_port(nets.net[net], NULL, port);

	if (err)
		return err;
	err = hostnic_open(f, *port, m);
	if (err == ERR_NOENT)
		return 0;
	if (err) {
		plat_log(LOG_WARN, "network card %02x:%02x.%x: %s", f->bdf >> 8, f->bdf >> 3 & 31,
			 f->bdf & 7, err_str(err));
		return 0;
	}
	memcpy((*port)->mac, m, sizeof(m));
	nets.uplink[nets.n_uplinks] = *port;
	nets.uplink_of[nets.n_uplinks++] = net;
	*port = NULL;
	plat_log(LOG_INFO, "%s: uplink %02x:%02x:%02x:%02x:%02x:%02x, %s",
		 net_switch_name(nets.net[net]), m[0], m[1], m[2], m[3], m[4], m[5], f->driver);
	return 0;
}

static int open_uplinks(const struct fleet *fleet)
{
	struct net *port = NULL;
	struct hostpci *f;
	int err = 0;

	for (unsigned i = 0; (f = hostpci_at(i)) && nets.n_uplinks < fleet->n_uplinks && !err; i++)
		if (f->cls >> 16 == 2) /* a network card */
			err = try_uplink(f, fleet->uplink[nets.n_uplinks], &port);
	for (unsigned i = nets.n_uplinks; i < fleet->n_uplinks; i++)
		plat_log(LOG_WARN, "%s: no network card for an uplink (virtio and e1000 are known)",
			 fleet->net[fleet->uplink[i]]);
	return err;
}

int network_init(const struct fleet *fleet)
{
	int err = 0;

	for (unsigned i = 0; i < fleet->n_nets && !err; i++)
		err = net_switch_create(fleet->net[i], &nets.net[i]);
	for (unsigned v = 0; v < fleet->n; v++)
		for (unsigned i = 0; i < fleet->vm[v].n_nics && !err; i++)
			err = net_switch_port(nets.net[fleet->vm[v].nic[i].net],
					      fleet->vm[v].nic[i].mac, &nets.port[v][i]);
	return err ? err : open_uplinks(fleet);
}

struct net *network_uplink(unsigned n, unsigned *net)
{
	if (n >= nets.n_uplinks)
		return NULL;
	*net = nets.uplink_of[n];
	return nets.uplink[n];
}

struct net *network_port(unsigned vm, unsigned nic)
{
	return nets.port[vm][nic];
}

const char *network_name(unsigned net)
{
	return net_switch_name(nets.net[net]);
}
