/* SPDX-License-Identifier: ISC */
/* frame.c: parsing of frames for history and policy (IEEE 802.3, RFC 791, 8200, 9293, 768, 1035).
 * All input is hostile. Entered by any thread; no state. */
#include "monitor/frame.h"

#include "base/str.h"

#define ETH_LEN     14
#define TYPE_IPV4   0x0800
#define TYPE_IPV6   0x86dd
#define TYPE_VLAN   0x8100
#define DNS_HEADER  12
#define DNS_JUMPS   8
#define DNS_RECORDS 16

static uint16_t be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static void addr_from4(struct frame_addr *a, const uint8_t *p)
{
	memset(a->b, 0, 10);
	a->b[10] = a->b[11] = 0xff;
	memcpy(a->b + 12, p, 4);
}

static void parse_transport(const uint8_t *p, size_t len, struct frame_info *out)
{
	size_t header = 8;

	if ((out->proto != 6 && out->proto != 17) || len < 8)
		return;
	out->sport = be16(p);
	out->dport = be16(p + 2);
	if (out->proto == 6) {
		if (len < 20)
			return;
		header = (size_t)(p[12] >> 4) * 4;
		out->tcp_flags = p[13];
	}
	if (header < 8 || header > len)
		return;
	out->payload = p + header;
	out->payload_len = (uint32_t)(len - header);
}

bool frame_parse(const void *data, size_t len, struct frame_info *out)
{
	const uint8_t *p = data;
	size_t header;

	*out = (struct frame_info){0};
	if (len < ETH_LEN)
		return false;
	out->type = be16(p + 12);
	p += ETH_LEN;
	len -= ETH_LEN;
	if (out->type == TYPE_VLAN && len >= 4) {
		out->type = be16(p + 2);
		p += 4;
		len -= 4;
	}
	if (out->type == TYPE_IPV4 && len >= 20 && p[0] >> 4 == 4) {
		header = (size_t)(p[0] & 15) * 4;
		out->ip = true;
		out->proto = p[9];
		addr_from4(&out->src, p + 12);
		addr_from4(&out->dst, p + 16);
		/* only the first fragment has ports */
		if (header >= 20 && header <= len && !(be16(p + 6) & 0x1fff))
			parse_transport(p + header, len - header, out);
	} else if (out->type == TYPE_IPV6 && len >= 40 && p[0] >> 4 == 6) {
		out->ip = out->v6 = true;
		out->proto = p[6];
		memcpy(out->src.b, p + 8, 16);
		memcpy(out->dst.b, p + 24, 16);
		parse_transport(p + 40, len - 40, out);
	}
	return true;
}

/* Reads a name; gives the offset behind it in the message, or 0. name may be NULL. */
static size_t dns_name(const uint8_t *msg, size_t len, size_t off, char *name)
{
	size_t end = 0, n = 0;

	for (unsigned jumps = 0, labels = 0; off < len && labels < 64; labels++) {
		uint8_t c = msg[off];

		if (c >= 0xc0) {
			if (off + 1 >= len || ++jumps > DNS_JUMPS)
				return 0;
			end = end ? end : off + 2;
			off = be16(msg + off) & 0x3fff;
			continue;
		}
		if (c & 0xc0 || off + 1 + c > len)
			return 0;
		off++;
		if (!c) {
			if (name)
				name[n] = 0;
			return end ? end : off;
		}
		for (unsigned i = 0; name && i <= c; i++) {
			/* the dot goes before all labels but the first */
			uint8_t ch = i ? msg[off + i - 1] : '.';

			if ((!i && !n) || n >= FRAME_NAME_MAX - 1)
				continue;
			if (ch >= 'A' && ch <= 'Z')
				ch = (uint8_t)(ch | 0x20);
			name[n++] = ch > ' ' && ch < 127 ? (char)ch : '?';
		}
		off += c;
	}
	return 0;
}

int frame_dns(const uint8_t *msg, size_t len, char *name, uint16_t *type, bool *answer,
	      uint8_t *rcode, struct frame_addr *addr, unsigned max)
{
	unsigned n = 0, records;
	size_t off;

	if (len < DNS_HEADER || be16(msg + 4) != 1)
		return -1;
	off = dns_name(msg, len, DNS_HEADER, name);
	if (!off || off + 4 > len)
		return -1;
	*type = be16(msg + off);
	*answer = msg[2] >> 7;
	*rcode = msg[3] & 15;
	records = *answer ? MIN(be16(msg + 6), (uint16_t)DNS_RECORDS) : 0;
	off += 4;
	for (unsigned i = 0; i < records && n < max; i++) {
		uint16_t size;

		off = dns_name(msg, len, off, NULL);
		if (!off || off + 10 > len)
			break;
		size = be16(msg + off + 8);
		if (off + 10 + size > len)
			break;
		if (be16(msg + off) == 1 && size == 4)
			addr_from4(&addr[n++], msg + off + 10);
		else if (be16(msg + off) == 28 && size == 16)
			memcpy(addr[n++].b, msg + off + 10, 16);
		off += 10u + size;
	}
	return (int)n;
}

void frame_addr_format(const struct frame_addr *a, char text[FRAME_ADDR_TEXT])
{
	static const uint8_t v4[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
	const uint8_t *b = a->b;

	if (!memcmp(b, v4, sizeof(v4)))
		str_format(text, FRAME_ADDR_TEXT, "%u.%u.%u.%u", b[12], b[13], b[14], b[15]);
	else
		str_format(text, FRAME_ADDR_TEXT, "%x:%x:%x:%x:%x:%x:%x:%x", be16(b), be16(b + 2),
			   be16(b + 4), be16(b + 6), be16(b + 8), be16(b + 10), be16(b + 12),
			   be16(b + 14));
}

static uint64_t mac_word(const uint8_t *mac)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < 6; i++)
		v = v << 8 | mac[i];
	return v;
}

struct mon_event frame_event(uint8_t op, unsigned unit, const uint8_t *frame, size_t have,
			     size_t len, struct frame_info *info)
{
	bool parsed = frame_parse(frame, have, info);

	return (struct mon_event){
		.cls = MON_NET,
		.op = op,
		.unit = (uint8_t)unit,
		.size = (uint16_t)MIN(len, (size_t)UINT16_MAX),
		.vcpu = -1,
		.addr = mac_word(frame),
		.value = mac_word(frame + 6) | (uint64_t)(frame[12] << 8 | frame[13]) << 48,
		.data = frame,
		.len = (uint32_t)have,
		.frame = parsed ? info : NULL,
	};
}

bool frame_addr_in(const struct frame_addr *a, const struct frame_addr *net, unsigned prefix)
{
	unsigned bytes = prefix / 8, bits = prefix % 8;

	if (memcmp(a->b, net->b, bytes))
		return false;
	return !bits || !((a->b[bytes] ^ net->b[bytes]) >> (8 - bits));
}

const char *frame_proto_name(uint8_t proto)
{
	switch (proto) {
	case 1:
		return "icmp";
	case 6:
		return "tcp";
	case 17:
		return "udp";
	case 58:
		return "icmp6";
	default:
		return "ip";
	}
}
