/* SPDX-License-Identifier: ISC */
/* answer.h: flows of a guest that rules redirect to what a file holds, or to a program on the host: the
 * other end of the connection is here. Names are answered here too. IPv4. */
#ifndef NET_ANSWER_H
#define NET_ANSWER_H

#include "base/def.h"
#include "base/err.h"
#include "monitor/monitor.h"
#include "plat/plat.h"

#define NET_TARGETS 16

/* What rules may redirect to, by slot of struct mon_target. */
struct net_targets {
	struct {
		const uint8_t *data; /* NULL: not there */
		size_t len;
	} answer[NET_TARGETS];
	/* A new program of that slot: a socket to its standard input and output, not blocking; or -1. */
	int (*program)(void *arg, unsigned slot);
	void *arg;
};

struct answers;

/* emit: a frame for the guest; under lock, on any thread. */
struct answers *answers_create(struct plat_loop *loop, const struct net_targets *targets,
			       struct plat_mutex *lock,
			       void (*emit)(void *arg, const uint8_t *frame, size_t len),
			       void *arg);
/* On the loop's thread, lock not held; nothing comes in any more. */
void answers_destroy(struct answers *a);
/* A frame of the guest that goes to to->slot. Lock held. */
void answers_frame(struct answers *a, uint8_t *frame, size_t len, const struct mon_target *to);
/* A question that to->v4 answers; false: it is none. Lock held. */
bool answers_dns(struct answers *a, uint8_t *frame, size_t len, const struct mon_target *to);

#endif
