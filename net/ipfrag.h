/* SPDX-License-Identifier: ISC */
/* ipfrag.h: puts IPv4 fragments of the guest together (RFC 791, section 3.2) before libslirp sees them:
 * overlapping ones corrupt the memory of libslirp 4.7, and a guest can send what it likes. */
#ifndef NET_IPFRAG_H
#define NET_IPFRAG_H

#include "base/def.h"

struct ipfrag;

struct ipfrag *ipfrag_create(void); /* NULL: no memory */
void ipfrag_destroy(struct ipfrag *f);
/* True where the Ethernet frame is an IPv4 fragment, in whatever state. */
bool ipfrag_is(const uint8_t *frame, size_t len);
/* Takes a fragment; now: ns. Returns the complete frame when this was the last missing one, valid
 * until the next call, or NULL. Datagrams with overlaps, wrong lengths or checksums are dropped; of
 * the incomplete ones the four newest are kept, for 30 seconds. The caller serialises. */
const uint8_t *ipfrag_add(struct ipfrag *f, const uint8_t *frame, size_t len, uint64_t now,
			  size_t *out_len);

#endif
