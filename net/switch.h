/* SPDX-License-Identifier: ISC */
/* switch.h: a learning Ethernet switch. Its ports are networks (net.h) for cards of VMs, or for whoever
 * drives a card of the host. Freestanding. */
#ifndef NET_SWITCH_H
#define NET_SWITCH_H

#include "net/net.h"

struct net_switch;

struct net_switch_stats {
	uint64_t sent; /* frames from the port's card */
	uint64_t received;
	uint64_t lost; /* on the way to it: its card had no room */
	uint64_t
		refused; /* from it: another's address as their source, no frames at all, or by the filter */
};

int net_switch_create(const char *name, struct net_switch **out) attr_must_check;
/* Nobody sends any more; frees the ports too. */
void net_switch_destroy(struct net_switch *s);
const char *net_switch_name(const struct net_switch *s);

/* A port, there until the switch goes: close() of what it gives only pulls the plug. mac: the address of
 * the card there, which none but it may use; NULL: an uplink, which nobody's address is. The card's
 * receive() must put up with several callers at a time. Ports are made before frames flow. */
int net_switch_port(struct net_switch *s, const uint8_t *mac, struct net **out) attr_must_check;
/* Asked for each frame that comes from the port's card (out) or would go to it; gives its length, 0: it is lost. It may change
 * NET_SWITCH_HEAD bytes of it; one that comes from the card it may make anew in those. What it changes on the way to a port is
 * for that port alone. Any thread, also those of others who send. Before frames flow. */
#define NET_SWITCH_HEAD 96u
typedef size_t net_switch_passes(void *arg, bool out, uint8_t *frame, size_t len);
void net_switch_filter(struct net *port, net_switch_passes *passes, void *arg);
void net_switch_stats(const struct net *port, struct net_switch_stats *out);

#endif
