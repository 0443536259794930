/* SPDX-License-Identifier: ISC */
/* netlift.h: a network card's two queues as the host's kernel runs them (net_ops.lift); part of net.c. All under the
 * card's lock. */
#ifndef DEV_VIRTIO_NETLIFT_H
#define DEV_VIRTIO_NETLIFT_H

#include "dev/virtio/virtio.h"
#include "net/net.h"

struct netlift {
	struct net *net;
	bool refused; /* by the kernel, since the card's last reset */
	int fd[2];    /* a ring's eventfd that the engine hears; -1: the back end does */
};

/* Gives the queues to the kernel, if that can be now. csum: the driver completes checksums. */
void netlift_up(struct netlift *l, struct virtio_dev *vd, bool csum);
/* Takes them back; they are up. */
void netlift_down(struct netlift *l, struct virtio_dev *vd);
/* Who interrupts: the engine where it can, and the vector's message could be sent now. */
void netlift_vectors(struct netlift *l, struct virtio_dev *vd);

#endif
