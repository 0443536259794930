/* SPDX-License-Identifier: ISC */
/* rxq.h: frames on their way to the guest: bounded, in order, handed over on the loop's thread. */
#ifndef NET_RXQ_H
#define NET_RXQ_H

#include "net/net.h"
#include "plat/plat.h"

struct net_rxq {
	struct net *net;
	struct plat_loop *loop;
	struct plat_task task;
	uint8_t *buf;
	uint32_t size; /* bytes, a power of two */
	/* Free-running byte counters: head is the loop's, tail the producers'. */
	_Atomic uint32_t head, tail;
	_Atomic uint32_t frames;
	_Atomic bool stalled; /* the device has no room; wait for rx_ready */
	_Atomic uint64_t dropped;
};

int net_rxq_init(struct net_rxq *q, struct plat_loop *loop, struct net *net) attr_must_check;
void net_rxq_fini(struct net_rxq *q);
/* Copies the frame, or drops it where there is no room. The caller serialises producers. */
void net_rxq_push(struct net_rxq *q, const void *frame, size_t len);
void net_rxq_ready(struct net_rxq *q); /* any thread */

#endif
