/* SPDX-License-Identifier: ISC */
/* neighbour.c: ARP (RFC 826), as far as it takes to send a redirected frame to the right card:
 *
 *	guest -> 10.9.0.2's card, to 10.9.0.2:80		redirected to 10.9.0.3
 *	guest -> all, "who has 10.9.0.3? tell the guest"	in its place: TCP sends it again
 *	10.9.0.3 -> guest, "it is at MAC"			looked at on its way
 *	guest -> MAC, to 10.9.0.3:80
 *
 * Entered with the caller's lock. */
#include "net/neighbour.h"

#include "base/str.h"
#include "net/ip4.h"

#define QUESTIONS 3u
#define AGAIN     NS_PER_SEC
#define ARP       0x0806
#define ARP_LEN   28u
#define ASK       1u

static struct neighbour *find(struct neighbours *n, const uint8_t ip[4])
{
	for (unsigned i = 0; i < NEIGHBOURS; i++)
		if (n->at[i].used && !memcmp(n->at[i].ip, ip, 4))
			return &n->at[i];
	return NULL;
}

static struct neighbour *make(struct neighbours *n, const uint8_t ip[4])
{
	struct neighbour *old = &n->at[0];

	for (unsigned i = 1; i < NEIGHBOURS; i++)
		if (n->at[i].when < old->when)
			old = &n->at[i];
	*old = (struct neighbour){.used = true};
	memcpy(old->ip, ip, 4);
	return old;
}

static size_t question(uint8_t *frame, const uint8_t ip[4])
{
	uint8_t guest_ip[4], *arp = frame + ETH_HEADER;

	memcpy(guest_ip, frame + ETH_HEADER + 12, 4);
	memset(frame, 0xff, 6);
	be16_to(frame + 12, ARP);
	memset(arp, 0, NEIGHBOUR_ASK - ETH_HEADER);
	be16_to(arp, 1);
	be16_to(arp + 2, 0x0800);
	arp[4] = 6;
	arp[5] = 4;
	be16_to(arp + 6, ASK);
	memcpy(arp + 8, frame + 6, 6);
	memcpy(arp + 14, guest_ip, 4);
	memcpy(arp + 24, ip, 4);
	return NEIGHBOUR_ASK;
}

size_t neighbours_send(struct neighbours *n, uint8_t *frame, size_t len, const uint8_t ip[4],
		       uint64_t now)
{
	struct neighbour *to = find(n, ip);

	if (!to)
		to = make(n, ip);
	if (!to->known && to->asked < QUESTIONS && (!to->asked || now - to->when >= AGAIN)) {
		to->asked++;
		to->when = now;
		return question(frame, ip);
	}
	if (to->known) {
		memcpy(frame, to->mac, 6);
		to->when = now;
	}
	return len;
}

void neighbours_look(struct neighbours *n, const uint8_t *frame, size_t len)
{
	const uint8_t *arp = frame + ETH_HEADER;
	struct neighbour *who;

	if (len < ETH_HEADER + ARP_LEN || be16_at(frame + 12) != ARP ||
	    be16_at(arp + 2) != 0x0800 || arp[4] != 6 || arp[5] != 4 || arp[8] & 1)
		return;
	who = find(n, arp + 14);
	if (!who)
		return;
	who->known = true;
	memcpy(who->mac, arp + 8, 6);
}
