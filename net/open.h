/* SPDX-License-Identifier: ISC */
/* open.h: network back ends of the hosted programs, by name. All run on an event loop. */
#ifndef NET_OPEN_H
#define NET_OPEN_H

#include "net/net.h"
#include "plat/plat.h"

/* spec: one of these, with options behind commas:
 *   user		a network of the VM's own behind NAT (libslirp): 10.0.2.0/24 and fec0::/64; the host
 *			is 10.0.2.2, the name server 10.0.2.3, DHCP gives 10.0.2.15
 *	forward=PROTO:[HOSTADDR]:HOSTPORT:[GUESTADDR:]GUESTPORT	PROTO tcp or udp; again for more;
 *			HOSTADDR is 127.0.0.1 if empty; IPv6 addresses in [brackets]
 *	mtu=N		576 … 65521, 1500 if not given
 *	restrict=on	the guest reaches nothing outside (forwards work)
 *	ipv6=off
 *	bootfile=NAME	what a card with a boot ROM loads: a file of TFTP or a URL
 *	tftp=FOLDER	10.0.2.2 serves its files by TFTP; they are opened when the guest asks for them
 *   tap:IF		the host's tap interface IF
 *   none		an unplugged cable
 *   all:	mac=XX:XX:XX:XX:XX:XX
 * On failure errbuf (size bytes) says in one line what is wrong and what to do. */
int net_open(struct plat_loop *loop, const char *spec, struct net **out, char *errbuf,
	     size_t size) attr_must_check;

static inline void net_close(struct net *n)
{
	if (n)
		n->ops->close(n);
}

#endif
