/* SPDX-License-Identifier: ISC */
/* network.h: the networks of the fleet: a switch each. */
#ifndef METAL_NETWORK_H
#define METAL_NETWORK_H

#include "metal/fleet.h"

struct net;

/* Once, before VMs start. */
int network_init(const struct fleet *fleet) attr_must_check;
const char *network_name(unsigned net);
/* The n-th uplink's network, and its port; NULL: no more. */
struct net *network_uplink(unsigned n, unsigned *net);
/* Where the card of a VM (their numbers in the fleet) is plugged in. It stays when VMs end. */
struct net *network_port(unsigned vm, unsigned nic);

#endif
