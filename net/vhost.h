/* SPDX-License-Identifier: ISC */
/* vhost.h: the kernel's vhost-net for a tap interface. One caller at a time. */
#ifndef NET_VHOST_H
#define NET_VHOST_H

#include "net/net.h"

struct vhost;

/* Why this host has none that can be used; NULL: it has. */
const char *vhost_lacks(void);
/* NULL: there is none. net: the client of which is told of used buffers. */
struct vhost *vhost_open(struct plat_loop *loop, struct net *net);
void vhost_close(struct vhost *v);
/* As net_ops has them; tap: with headers of virtio 1.0. */
int vhost_lift(struct vhost *v, int tap, const struct net_lift *l) attr_must_check;
void vhost_rung(struct vhost *v, unsigned ring);
void vhost_drop(struct vhost *v, uint16_t next[2]);
int vhost_direct(struct vhost *v, unsigned ring, bool on);

#endif
