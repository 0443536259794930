/* SPDX-License-Identifier: ISC */
/* netcsum.c: Internet checksums (RFC 1071, 768, 9293, 8200). Pure functions, any thread. */
#include "dev/nic/netcsum.h"

#include "base/str.h"

#define ETH_LEN   14
#define TYPE_IP4  0x0800
#define TYPE_IP6  0x86dd
#define PROTO_TCP 6
#define PROTO_UDP 17

uint16_t netcsum_add(uint16_t sum, const uint8_t *p, size_t len)
{
	uint64_t acc = sum;

	/* 32-bit pieces into 64 bits: no carry is lost before 2^32 of them */
	for (; len >= 16; p += 16, len -= 16) {
		uint32_t w[4];

		memcpy(w, p, 16);
		acc += (uint64_t)w[0] + w[1] + w[2] + w[3];
	}
	for (; len >= 2; p += 2, len -= 2)
		acc += (uint32_t)(p[0] | p[1] << 8);
	if (len)
		acc += p[0];
	acc = (acc & UINT32_MAX) + (acc >> 32);
	acc = (acc & UINT32_MAX) + (acc >> 32);
	acc = (acc & 0xffff) + (acc >> 16);
	acc = (acc & 0xffff) + (acc >> 16);
	return (uint16_t)acc;
}

void netcsum_complete(uint8_t *frame, size_t len, size_t start, size_t off)
{
	uint16_t sum = (uint16_t)~netcsum_add(0, frame + start, len - start);

	/* 0 means "none" in UDP; both are the same number */
	if (!sum)
		sum = 0xffff;
	memcpy(frame + start + off, &sum, 2);
}

static uint16_t pseudo(const uint8_t *addrs, size_t len, uint8_t proto, size_t payload)
{
	const uint8_t tail[8] = {(uint8_t)(payload >> 24),
				 (uint8_t)(payload >> 16),
				 (uint8_t)(payload >> 8),
				 (uint8_t)payload,
				 0,
				 0,
				 0,
				 proto};

	return netcsum_add(netcsum_add(0, addrs, len), tail, sizeof(tail));
}

static bool transport_valid(uint16_t sum, uint8_t proto, const uint8_t *p, size_t len)
{
	if (proto == PROTO_UDP) {
		if (len < 8 || (size_t)(p[4] << 8 | p[5]) != len || (!p[6] && !p[7]))
			return false;
	} else if (proto != PROTO_TCP || len < 20) {
		return false;
	}
	return netcsum_add(sum, p, len) == 0xffff;
}

bool netcsum_valid(const uint8_t *frame, size_t len)
{
	const uint8_t *ip = frame + ETH_LEN;
	size_t total, head;

	if (len < ETH_LEN + 20)
		return false;
	len -= ETH_LEN;
	switch (frame[12] << 8 | frame[13]) {
	case TYPE_IP4:
		head = (size_t)(ip[0] & 15) * 4;
		total = (size_t)(ip[2] << 8 | ip[3]);
		/* not a fragment; padding after the packet is not part of it */
		if (ip[0] >> 4 != 4 || head < 20 || total < head || total > len || (ip[6] & 0x3f) ||
		    ip[7])
			return false;
		return transport_valid(pseudo(ip + 12, 8, ip[9], total - head), ip[9], ip + head,
				       total - head);
	case TYPE_IP6:
		if (len < 40 || ip[0] >> 4 != 6)
			return false;
		total = (size_t)(ip[4] << 8 | ip[5]);
		if (total > len - 40)
			return false;
		return transport_valid(pseudo(ip + 8, 32, ip[6], total), ip[6], ip + 40, total);
	}
	return false;
}
