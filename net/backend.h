/* SPDX-License-Identifier: ISC */
/* backend.h: what net/open.c knows of the single back ends. */
#ifndef NET_BACKEND_H
#define NET_BACKEND_H

#include <netinet/in.h>

#include "net/net.h"
#include "plat/plat.h"

union net_addr {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

struct net_forward {
	bool udp;
	union net_addr host, guest;
};

#define NET_MAX_FORWARDS 64
#define NET_BOOTFILE_MAX 128 /* of a BOOTP message, with its terminator */

struct net_user_config {
	size_t mtu;
	bool restricted, ipv6;
	char bootfile[NET_BOOTFILE_MAX]; /* what DHCP names to start from; "": nothing */
	char tftp[256];                  /* folder for it; "": no TFTP */
	unsigned n_forwards;
	struct net_forward forward[NET_MAX_FORWARDS];
};

int net_slirp_open(struct plat_loop *loop, const struct net_user_config *cfg, struct net **out,
		   char *errbuf, size_t size) attr_must_check;
/* Who runs the queues of a virtio card: the host's kernel, where it can (auto) or it is an error (on). */
enum net_vhost { NET_VHOST_AUTO, NET_VHOST_ON, NET_VHOST_OFF };
int net_tap_open(struct plat_loop *loop, const char *name, enum net_vhost vhost, struct net **out,
		 char *errbuf, size_t size) attr_must_check;
int net_none_open(struct net **out) attr_must_check;

#endif
