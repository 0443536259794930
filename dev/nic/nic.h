/* SPDX-License-Identifier: ISC */
/* nic.h: what all network cards do with a frame. Any thread, no lock of a device held but where said. */
#ifndef DEV_NIC_NIC_H
#define DEV_NIC_NIC_H

#include "base/def.h"
#include "net/net.h"

#define NIC_FRAME_MIN 14 /* destination, source, type */
#define NIC_WIRE_MIN  60 /* without its checksum: shorter ones are padded */

/* Sends a frame of the guest's that is of a length that a wire takes. The back end may answer at
 * once. */
void nic_send(struct net *net, const uint8_t *frame, size_t len);
/* Copies a frame as it comes from the wire, without its checksum, and pads it; gives its length, which is
 * MAX(len, NIC_WIRE_MIN). */
uint32_t nic_pad(uint8_t *out, const uint8_t *frame, size_t len);
/* What older chips' multicast filters of 64 bits are indexed with: the CRC's upper 6 bits. */
unsigned nic_hash(const uint8_t *dst);
/* Waits until *sending, which is under lock, is false; idle is set when it becomes so. ERR_TIMEOUT. */
int nic_quiesce(struct plat_mutex *lock, const bool *sending,
		struct plat_event *idle) attr_must_check;
/* CRC-32 of Ethernet (IEEE 802.3, 3.2.9), as it is on the wire: least significant byte first. May be
 * called with locks held. */
uint32_t nic_crc(const uint8_t *p, size_t len);

#endif
