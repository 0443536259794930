/* SPDX-License-Identifier: ISC */
/* hostvnet.h: the machine's virtio network cards, as uplinks of networks. */
#ifndef METAL_HOSTVNET_H
#define METAL_HOSTVNET_H

#include "metal/hostpci.h"

struct net;

/* Takes f, which must be a virtio network card, and plugs it into a switch's port: what comes from the wire is
 * sent there, what comes from there goes onto the wire. mac: the card's own. ERR_NOSYS: it is none that
 * this driver knows. */
int hostvnet_open(struct hostpci *f, struct net *port, uint8_t mac[6]) attr_must_check;

#endif
