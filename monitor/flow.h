/* SPDX-License-Identifier: ISC */
/* flow.h: the network flows of a VM, and what it asks of DNS, DHCP and ARP. */
#ifndef MONITOR_FLOW_H
#define MONITOR_FLOW_H

#include "monitor/frame.h"
#include "monitor/monitor.h"
#include "plat/plat.h"

#define FLOW_TABLE  4096 /* flows at a time; a power of two */
#define FLOW_IDLE_S 60   /* a flow without frames for so long has ended */

struct flow {
	bool used, closing;
	bool heard; /* since the last sweep: a clock for each frame would be half of what it costs */
	bool outward;          /* the guest began */
	uint8_t proto, unit;   /* unit: the card */
	uint16_t gport, rport; /* the guest's, the other's */
	struct frame_addr g, r;
	uint32_t id;
	uint64_t last;  /* its last frame's number among all */
	uint64_t since; /* ns: of the sweep since which none came */
	uint64_t packets, bytes_out, bytes_in;
};

/* What flows find, for the history: op is one of enum mon_net_op. */
struct flow_sink {
	void (*tell)(void *arg, uint8_t op, const struct flow *f, uint8_t verdict,
		     const char *text);
	void *arg;
};

struct flows {
	struct plat_mutex lock; /* RANK_LEAF; of all that follows */
	struct flow *table;
	uint32_t n, next_id, hand;
	uint64_t frames;
	uint8_t arp_ip[64][4], arp_mac[64][6], arp_unit[64];
	unsigned n_arp;
};

int flows_init(struct flows *fs) attr_must_check;
void flows_fini(struct flows *fs);
/* A frame of the guest or for it: frame_event()'s. */
void flows_frame(struct flows *fs, const struct mon_event *ev, const struct flow_sink *sink);
/* Ends what has been idle, all: everything. Once a period. */
void flows_sweep(struct flows *fs, bool all, const struct flow_sink *sink);
/* "tcp 10.0.2.15:4000 > 1.2.3.4:443": who began comes first. */
#define FLOW_TEXT 128
void flow_format(const struct flow *f, char text[FLOW_TEXT]);

#endif
