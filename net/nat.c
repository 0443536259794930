/* SPDX-License-Identifier: ISC */
/* nat.c: destination translation, as a router does it: the guest talks to 1.2.3.4:80, the network sees
 * 10.0.2.2:8080, and answers come back as if from 1.2.3.4:80. Messages of ICMP about such flows are
 * not translated. Entered with the caller's lock. */
#include "net/nat.h"

#include "base/str.h"
#include "net/ip4.h"

#define IDLE_NS (300 * NS_PER_SEC)

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

static uint8_t *l4_sum(const struct ip4 *p)
{
	uint8_t *at = p->l4 + (p->proto == 6 ? 16 : 6);

	return p->proto == 17 && !be16_at(at) ? NULL : at; /* none was made */
}

static void rewrite(const struct ip4 *p, bool destination, const uint8_t addr[4], uint16_t port)
{
	uint8_t be[2];

	be16_to(be, port);
	put(p->ip + (destination ? 16 : 12), addr, 4, p->ip + 10, l4_sum(p));
	put(p->l4 + (destination ? 2 : 0), be, 2, NULL, l4_sum(p));
}

static bool same_outside(const struct nat_flow *a, const struct nat_flow *b)
{
	return a->proto == b->proto && a->gport == b->gport && a->is_port == b->is_port &&
	       !memcmp(a->is, b->is, 4) && !memcmp(a->guest, b->guest, 4);
}

static bool same_inside(const struct nat_flow *a, const struct nat_flow *b)
{
	return a->was_port == b->was_port && !memcmp(a->was, b->was, 4);
}

bool nat_out(struct nat *nat, uint8_t *frame, size_t len, const struct mon_target *to, uint64_t now)
{
	struct nat_flow want = {.last = now}, *old = &nat->flow[0];
	struct ip4 p;

	if (!ip4_find(frame, len, &p) || p.fragment)
		return false;
	want.proto = p.proto;
	memcpy(want.guest, p.ip + 12, 4);
	memcpy(want.was, p.ip + 16, 4);
	memcpy(want.is, to->has_addr ? to->v4 : want.was, 4);
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
	struct ip4 p;

	if (!ip4_find(frame, len, &p) || p.fragment)
		return;
	want.proto = p.proto;
	memcpy(want.guest, p.ip + 16, 4);
	memcpy(want.is, p.ip + 12, 4);
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
