/* SPDX-License-Identifier: ISC */
/* ip4.h: IPv4 in frames that are rewritten or made (RFC 791, 768, 9293; checksums RFC 1071, 1624). */
#ifndef NET_IP4_H
#define NET_IP4_H

#include "base/def.h"

#define ETH_HEADER 14
#define IP4_HEADER 20

static inline uint16_t be16_at(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t be32_at(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline void be16_to(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void be32_to(uint8_t *p, uint32_t v)
{
	be16_to(p, v >> 16);
	be16_to(p + 2, v & 0xffff);
}

/* A TCP or UDP packet that is no later fragment. */
struct ip4 {
	uint8_t proto; /* 6 or 17 */
	bool fragment; /* more follow */
	uint8_t *ip, *l4;
	size_t l4_len, ip_len; /* by the header; within the frame */
};

static inline bool ip4_find(uint8_t *frame, size_t len, struct ip4 *out)
{
	uint8_t *ip = frame + ETH_HEADER;
	size_t header, total;

	if (len < ETH_HEADER + IP4_HEADER || be16_at(frame + 12) != 0x0800 || ip[0] >> 4 != 4)
		return false;
	header = (size_t)(ip[0] & 15) * 4;
	total = be16_at(ip + 2);
	if (header < IP4_HEADER || total < header || total > len - ETH_HEADER ||
	    be16_at(ip + 6) & 0x1fff || (ip[9] != 6 && ip[9] != 17) ||
	    total - header < (ip[9] == 6 ? 20 : 8))
		return false;
	*out = (struct ip4){ip[9], be16_at(ip + 6) >> 13 & 1, ip, ip + header, total - header,
			    total};
	return true;
}

/* One's complement sum of big-endian words, not yet folded. */
static inline uint32_t ip4_sum(const uint8_t *p, size_t len, uint32_t sum)
{
	for (size_t i = 0; i + 1 < len; i += 2)
		sum += be16_at(p + i);
	return len & 1 ? sum + (uint32_t)(p[len - 1] << 8) : sum;
}

static inline uint16_t ip4_fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t) ~((sum & 0xffff) + (sum >> 16));
}

#endif
