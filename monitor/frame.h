/* SPDX-License-Identifier: ISC */
/* frame.h: what an Ethernet frame says: addresses, ports, and of DNS, DHCP and ARP the essentials.
 * IPv4 addresses are held as IPv6 has them (::ffff:a.b.c.d). */
#ifndef MONITOR_FRAME_H
#define MONITOR_FRAME_H

#include "base/def.h"
#include "monitor/monitor.h"

#define FRAME_PEEK     600 /* bytes from a frame's start that are worth having */
#define FRAME_NAME_MAX 128

struct frame_addr {
	uint8_t b[16];
};

struct frame_info {
	bool ip; /* the fields to payload are valid */
	bool v6;
	uint8_t proto; /* 1 ICMP, 6 TCP, 17 UDP, 58 ICMPv6 … */
	uint8_t tcp_flags;
	uint16_t type;         /* EtherType */
	uint16_t sport, dport; /* ICMP: 0 */
	struct frame_addr src, dst;
	const uint8_t *payload; /* of UDP and TCP, as far as there is data */
	uint32_t payload_len;
};

#define FRAME_TCP_FIN 0x01
#define FRAME_TCP_SYN 0x02
#define FRAME_TCP_RST 0x04

/* Never reads beyond len; false where it is too short to be a frame. */
bool frame_parse(const void *data, size_t len, struct frame_info *out);

/* A DNS message: the name asked for, in lower case, printable, cut at FRAME_NAME_MAX; its type (1 A,
 * 28 AAAA …); for answers at most max addresses. Gives the number of addresses, or -1: not DNS. */
int frame_dns(const uint8_t *msg, size_t len, char *name, uint16_t *type, bool *answer,
	      uint8_t *rcode, struct frame_addr *addr, unsigned max);

#define FRAME_ADDR_TEXT 48
/* "10.0.2.15", "fe80:0:0:0:1:2:3:4" */
void frame_addr_format(const struct frame_addr *a, char text[FRAME_ADDR_TEXT]);
/* What a monitor is asked and told of a frame: addr destination, value source and type << 48. unit: of the card; have:
 * bytes of frame that are there, at least 14; len: of all. What it says goes to *info, once for all who look. */
struct mon_event frame_event(uint8_t op, unsigned unit, const uint8_t *frame, size_t have,
			     size_t len, struct frame_info *info);
/* Are the first prefix bits of both the same? */
bool frame_addr_in(const struct frame_addr *a, const struct frame_addr *net, unsigned prefix);
const char *frame_proto_name(uint8_t proto); /* "tcp" … or "ip" */

#endif
