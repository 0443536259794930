/* SPDX-License-Identifier: ISC */
/* offload.c: see offload.h. */
#include "dev/nic/offload.h"

#include "base/str.h"
#include "dev/nic/netcsum.h"
#include "dev/nic/nic.h"

#define ETH_LEN   14
#define TYPE_IP4  0x0800
#define TYPE_VLAN 0x8100
#define PROTO_TCP 6
#define PROTO_UDP 17

static void set16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static uint32_t get16(const uint8_t *p)
{
	return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t get32(const uint8_t *p)
{
	return get16(p) << 16 | get16(p + 2);
}

/* The checksum of [start, end] at off; end 0: to the frame's end. What makes no sense is not done. */
static void put_sum(uint8_t *f, uint32_t len, uint32_t start, uint32_t off, uint32_t end)
{
	if (!end || end >= len)
		end = len - 1;
	if (start <= end && off + 2 <= len && off >= start)
		netcsum_complete(f, end + 1, start, off - start);
}

static void finish_frame(const struct nic_frame *t, uint8_t *f, uint32_t len, nic_out *out,
			 void *arg)
{
	const struct nic_ctx *c = &t->ctx;

	if (t->sum)
		put_sum(f, len, t->sum_start, t->sum_off, 0);
	if (t->tu_sum)
		put_sum(f, len, c->tucss, c->tucso, c->tucse);
	if (t->ip_sum)
		put_sum(f, len, c->ipcss, c->ipcso, c->ipcse);
	if (t->vlan && len >= 12 && len + 4 <= NET_FRAME_MAX) {
		memmove(f + 16, f + 12, len - 12);
		set16(f + 12, t->vet);
		set16(f + 14, t->tag);
		len += 4;
	}
	out(arg, f, len);
}

/* Headers of one segment (8254x manual, 3.5.7): n bytes of data from at on. */
static void segment_headers(const struct nic_frame *t, uint8_t *f, uint32_t index, uint32_t at,
			    uint32_t n, bool last)
{
	const struct nic_ctx *c = &t->ctx;
	uint32_t len = c->hdrlen + n, sum;

	if (c->ip4 && c->ipcss + 20u <= c->hdrlen) {
		set16(f + c->ipcss + 2, len - c->ipcss);
		set16(f + c->ipcss + 4, get16(f + c->ipcss + 4) + index);
	} else if (!c->ip4 && c->ipcss + 40u <= c->hdrlen) {
		set16(f + c->ipcss + 4, len - c->ipcss - 40);
	}
	if (c->tcp && c->tucss + 20u <= c->hdrlen) {
		uint32_t seq = get32(f + c->tucss + 4) + at;

		set16(f + c->tucss + 4, seq >> 16);
		set16(f + c->tucss + 6, seq);
		if (!last)
			f[c->tucss + 13] &= (uint8_t)~0x09; /* PSH, FIN */
	} else if (!c->tcp && c->tucss + 8u <= c->hdrlen) {
		set16(f + c->tucss + 4, len - c->tucss);
	}
	/* The sum of the pseudo header stands there, without the length. */
	if (t->tu_sum && c->tucso + 2u <= c->hdrlen) {
		sum = get16(f + c->tucso) + len - c->tucss;
		set16(f + c->tucso, (sum & 0xffff) + (sum >> 16));
	}
}

void nic_frame_send(const struct nic_frame *t, uint8_t *buf, uint8_t *segment, nic_out *out,
		    void *arg)
{
	const struct nic_ctx *c = &t->ctx;
	uint32_t data, index = 0;

	if (t->skip || t->len < NIC_FRAME_MIN)
		return;
	if (!t->segment) {
		finish_frame(t, buf, t->len, out, arg);
		return;
	}
	if (!c->mss || c->hdrlen < NIC_FRAME_MIN || t->len <= c->hdrlen)
		return;
	data = t->len - c->hdrlen;
	for (uint32_t at = 0; at < data; at += c->mss, index++) {
		uint32_t n = MIN(data - at, (uint32_t)c->mss);

		if (c->hdrlen + n > NET_FRAME_MAX - 4)
			return;
		memcpy(segment, buf, c->hdrlen);
		memcpy(segment + c->hdrlen, buf + c->hdrlen + at, n);
		segment_headers(t, segment, index, at, n, at + n == data);
		finish_frame(t, segment, c->hdrlen + n, out, arg);
	}
}

/* The sum of the pseudo header, where the transport's sum goes. */
static void put_pseudo(const struct nic_frame *t, uint8_t *ip, uint8_t *sum_at)
{
	const struct nic_ctx *c = &t->ctx;
	uint32_t len = t->segment ? 0 : (uint32_t)c->tucse + 1 - c->tucss;
	const uint8_t tail[4] = {0, ip[9], (uint8_t)(len >> 8), (uint8_t)len};
	uint16_t sum = netcsum_add(netcsum_add(0, ip + 12, 8), tail, sizeof(tail));

	memcpy(sum_at, &sum, 2);
}

bool nic_frame_headers(struct nic_frame *t, uint8_t *buf)
{
	uint32_t at = ETH_LEN, head, total, need;
	struct nic_ctx *c = &t->ctx;
	uint8_t *ip, *tu;

	if (t->len >= ETH_LEN + 4 && get16(buf + 12) == TYPE_VLAN)
		at += 4;
	if (t->len < at + 20 || get16(buf + at - 2) != TYPE_IP4)
		return false;
	ip = buf + at;
	head = (ip[0] & 15u) * 4;
	total = t->segment ? t->len - at : get16(ip + 2);
	c->tcp = ip[9] == PROTO_TCP;
	need = c->tcp ? 20 : 8;
	if (ip[0] >> 4 != 4 || head < 20 || (!c->tcp && ip[9] != PROTO_UDP) ||
	    total < head + need || at + total > t->len)
		return false;
	tu = ip + head;
	if (c->tcp)
		need = (tu[12] >> 4) * 4u;
	if (need < 8 || total < head + need)
		return false;
	c->ip4 = true;
	c->ipcss = (uint8_t)at;
	c->ipcso = (uint8_t)(at + 10);
	c->ipcse = (uint16_t)(at + head - 1);
	c->tucss = (uint8_t)(at + head);
	c->tucso = (uint8_t)(at + head + (c->tcp ? 16 : 6));
	c->tucse = t->segment ? 0 : (uint16_t)(at + total - 1); /* not what pads the frame */
	c->hdrlen = (uint8_t)(at + head + need);
	if (t->ip_sum)
		set16(ip + 10, 0);
	if (t->tu_sum)
		put_pseudo(t, ip, buf + c->tucso);
	return true;
}
