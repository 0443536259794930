/* SPDX-License-Identifier: ISC */
/* netcsum.h: Internet checksums for network devices: the guest leaves them to us, since native
 * code computes them far faster than a translated guest. */
#ifndef DEV_NIC_NETCSUM_H
#define DEV_NIC_NETCSUM_H

#include "base/def.h"

/* Ones' complement sum of [p, p + len) onto sum, folded to 16 bits, in memory order (RFC 1071). */
uint16_t netcsum_add(uint16_t sum, const uint8_t *p, size_t len);
/* Puts the checksum of [frame + start, frame + len) at start + off, where the sum of the pseudo
 * header stands already. start + off + 2 <= len. */
void netcsum_complete(uint8_t *frame, size_t len, size_t start, size_t off);
/* True when it is a whole TCP or UDP packet over IPv4 or IPv6 with a right checksum. */
bool netcsum_valid(const uint8_t *frame, size_t len);

#endif
