/* SPDX-License-Identifier: ISC */
/* network.c: makes switches and ports from what the fleet says. Creation time; then constant. */
#include "metal/network.h"

#include "net/switch.h"

static struct {
	struct net_switch *net[FLEET_MAX_NETS];
	struct net *port[FLEET_MAX_VMS][FLEET_MAX_NICS];
} nets;

int network_init(const struct fleet *fleet)
{
	int err = 0;

	for (unsigned i = 0; i < fleet->n_nets && !err; i++)
		err = net_switch_create(fleet->net[i], &nets.net[i]);
	for (unsigned v = 0; v < fleet->n; v++)
		for (unsigned i = 0; i < fleet->vm[v].n_nics && !err; i++)
			err = net_switch_port(nets.net[fleet->vm[v].nic[i].net],
					      fleet->vm[v].nic[i].mac, &nets.port[v][i]);
	return err;
}

struct net *network_port(unsigned vm, unsigned nic)
{
	return nets.port[vm][nic];
}

const char *network_name(unsigned net)
{
	return net_switch_name(nets.net[net]);
}
