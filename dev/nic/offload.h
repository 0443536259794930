/* SPDX-License-Identifier: ISC */
/* offload.h: what controllers do with a frame that a driver gives them: checksums, TCP and UDP segmentation,
 * VLAN tags. Pure functions of the frame, without locks. */
#ifndef DEV_NIC_OFFLOAD_H
#define DEV_NIC_OFFLOAD_H

#include "base/def.h"

/* Where checksums go (8254x manual, 3.3.6); mss and hdrlen: of segmentation. */
struct nic_ctx {
	uint8_t ipcss, ipcso, tucss, tucso, hdrlen;
	uint16_t ipcse, tucse, mss;
	bool tcp, ip4;
};

/* A frame of the guest's while its descriptors are read, and what is to be done with it. */
struct nic_frame {
	uint32_t len;
	bool begun, skip; /* of a frame; it has become too long */
	bool segment, vlan;
	bool ip_sum, tu_sum;
	uint8_t sum_start, sum_off; /* a sum over all from there on, and whether at all */
	bool sum;
	uint16_t vet, tag;
	struct nic_ctx ctx;
};

typedef void nic_out(void *arg, const uint8_t *frame, size_t len);

/* Gives what comes of the frame in buf to out(). buf and segment have room for NET_FRAME_MAX. */
void nic_frame_send(const struct nic_frame *t, uint8_t *buf, uint8_t *segment, nic_out *out,
		    void *arg);
/* For controllers that look themselves where the headers are: fills t->ctx but mss, and brings the
 * checksums in buf into the state that nic_frame_send() wants. false: no TCP or UDP over IPv4. */
bool nic_frame_headers(struct nic_frame *t, uint8_t *buf);

#endif
