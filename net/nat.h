/* SPDX-License-Identifier: ISC */
/* nat.h: flows of a guest that rules redirect to another address or port. IPv4 and IPv6, TCP and UDP. */
#ifndef NET_NAT_H
#define NET_NAT_H

#include "base/def.h"
#include "monitor/monitor.h"

#define NAT_FLOWS 512

struct nat_flow {
	uint8_t proto; /* 0: free */
	bool v6;       /* else addresses are the first four bytes */
	uint8_t guest[16], was[16], is[16];
	uint16_t gport, was_port, is_port;
	uint64_t last; /* ns */
};

struct nat {
	struct nat_flow flow[NAT_FLOWS];
	unsigned n; /* in use, or were */
};

/* Rewrites a frame of the guest. False: it cannot be redirected (a fragment, an
 * extension header, another protocol, an address of the other kind; or two
 * flows that would become one). */
bool nat_out(struct nat *nat, uint8_t *frame, size_t len, const struct mon_target *to,
	     uint64_t now);
/* Rewrites what comes back, if it belongs to a flow. */
void nat_in(struct nat *nat, uint8_t *frame, size_t len, uint64_t now);

#endif
