/* SPDX-License-Identifier: ISC */
/* neighbour.h: behind which card of an Ethernet an address of IPv4 is: for frames that rules redirect there, which the guest has
 * sent to another card. */
#ifndef NET_NEIGHBOUR_H
#define NET_NEIGHBOUR_H

#include "base/def.h"

#define NEIGHBOURS    16
#define NEIGHBOUR_ASK 60 /* bytes of a question, for which a frame must have room */

struct neighbour {
	bool used, known;
	uint8_t ip[4], mac[6], asked;
	uint64_t when; /* it was asked for or sent to last, ns */
};

struct neighbours {
	struct neighbour at[NEIGHBOURS];
};

/* A frame of IPv4 is to go to that address. Where its card is not known, the frame becomes the question for it, a few times;
 * after that it goes where the guest has sent it: nobody here has the address, that is a router. Gives the length. */
size_t neighbours_send(struct neighbours *n, uint8_t *frame, size_t len, const uint8_t ip[4],
		       uint64_t now);
/* A frame that comes by: answers and questions tell whose address is where. */
void neighbours_look(struct neighbours *n, const uint8_t *frame, size_t len);

#endif
