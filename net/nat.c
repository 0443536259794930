/* SPDX-License-Identifier: ISC */
/* nat.c: destination translation, as a router does it: the guest talks to 1.2.3.4:80, the network sees
 * 10.0.2.2:8080, and answers come back as if from 1.2.3.4:80. Messages of ICMP about such flows are
 * not translated. Entered with the caller's lock. */
#include "net/nat.h"

#include "base/str.h"
#include "net/ip4.h"

#define IDLE_NS    (300 * NS_PER_SEC)
#define IP6_HEADER 40

/* Replaces bytes that checksums cover (RFC 1624, equation 3). */
static void put(uint8_t *at, const uint8_t *with, size_t len, uint8_t *ip_sum, uint8_t *l4_sum)
{
	for (unsigned k = 0; k < 2; k++) {
		uint8_t *sum = k ? l4_sum : ip_sum;
		uint32_t v;

		if (!sum)
			continue;
		v = (uint16_t)~be16_at(sum);
		for (size_t i = 0; i < len; i += 2)
			v += (uint16_t)~be16_at(at + i) + (uint32_t)be16_at(with + i);
		be16_to(sum, ip4_fold(v));
	}
	memcpy(at, with, len);
}

/* A packet of TCP or UDP. */
struct ends {
	uint8_t proto;
	bool v6;
	uint8_t *src, *dst, *l4;
	uint8_t *ip_sum; /* IPv6 has none */
};

/* IPv6 (RFC 8200) without extension headers. */
static bool find_v6(uint8_t *frame, size_t len, struct ends *out)
{
	uint8_t *ip = frame + ETH_HEADER;
	size_t l4_len;

	if (len < ETH_HEADER + IP6_HEADER || be16_at(frame + 12) != 0x86dd || ip[0] >> 4 != 6)
		return false;
	l4_len = be16_at(ip + 4);
	if (l4_len > len - ETH_HEADER - IP6_HEADER || (ip[6] != 6 && ip[6] != 17) ||
	    l4_len < (ip[6] == 6 ? 20 : 8))
		return false;
	*out = (struct ends){ip[6], true, ip + 8, ip + 24, ip + IP6_HEADER, NULL};
	return true;
}

static bool find(uint8_t *frame, size_t len, struct ends *out)
{
	struct ip4 p;

	if (!ip4_find(frame, len, &p))
		return find_v6(frame, len, out);
	*out = (struct ends){p.proto, false, p.ip + 12, p.ip + 16, p.l4, p.ip + 10};
	return !p.fragment;
}

static size_t addr_len(const struct ends *p)
{
	return p->v6 ? 16 : 4;
}

static uint8_t *l4_sum(const struct ends *p)
{
	uint8_t *at = p->l4 + (p->proto == 6 ? 16 : 6);

	return p->proto == 17 && !be16_at(at) ? NULL : at; /* none was made */
}

static void rewrite(const struct ends *p, bool destination, const uint8_t *addr, uint16_t port)
{
	uint8_t be[2];

	be16_to(be, port);
	put(destination ? p->dst : p->src, addr, addr_len(p), p->ip_sum, l4_sum(p));
	put(p->l4 + (destination ? 2 : 0), be, 2, NULL, l4_sum(p));
}

static bool same_outside(const struct nat_flow *a, const struct nat_flow *b)
{
	return a->proto == b->proto && a->v6 == b->v6 && a->gport == b->gport &&
	       a->is_port == b->is_port && !memcmp(a->is, b->is, 16) &&
	       !memcmp(a->guest, b->guest, 16);
}

static bool same_inside(const struct nat_flow *a, const struct nat_flow *b)
{
	return a->was_port == b->was_port && !memcmp(a->was, b->was, 16);
}

bool nat_out(struct nat *nat, uint8_t *frame, size_t len, const struct mon_target *to, uint64_t now)
{
	struct nat_flow want = {.last = now}, *old = &nat->flow[0];
	struct ends p;

	if (!find(frame, len, &p) || (to->has_addr && to->is_v6 != p.v6))
		return false;
	want.proto = p.proto;
	want.v6 = p.v6;
	memcpy(want.guest, p.src, addr_len(&p));
	memcpy(want.was, p.dst, addr_len(&p));
	memcpy(want.is, !to->has_addr ? want.was : p.v6 ? to->v6 : to->v4, addr_len(&p));
	want.gport = be16_at(p.l4);
	want.was_port = be16_at(p.l4 + 2);
	want.is_port = to->port ? to->port : want.was_port;
	for (unsigned i = 0; i < NAT_FLOWS; i++) {
		struct nat_flow *f = &nat->flow[i];

		if (f->proto && same_outside(f, &want)) {
			/* from one port to two places that became one */
			if (!same_inside(f, &want) && now - f->last < IDLE_NS)
				return false;
			old = f;
			break;
		}
		if (f->last < old->last)
			old = f;
	}
	nat->n += !old->proto;
	*old = want;
	rewrite(&p, true, want.is, want.is_port);
	return true;
}

void nat_in(struct nat *nat, uint8_t *frame, size_t len, uint64_t now)
{
	struct nat_flow want = {.last = now};
	struct ends p;

	if (!find(frame, len, &p))
		return;
	want.proto = p.proto;
	want.v6 = p.v6;
	memcpy(want.guest, p.dst, addr_len(&p));
	memcpy(want.is, p.src, addr_len(&p));
	want.gport = be16_at(p.l4 + 2);
	want.is_port = be16_at(p.l4);
	for (unsigned i = 0; i < NAT_FLOWS; i++) {
		struct nat_flow *f = &nat->flow[i];

		if (!f->proto || !same_outside(f, &want))
			continue;
		f->last = now;
		rewrite(&p, false, f->was, f->was_port);
		return;
	}
}
