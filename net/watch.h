/* SPDX-License-Identifier: ISC */
/* watch.h: stands between a network card and its back end: tells the monitor of each frame, asks for
 * its verdict, and redirects. */
#ifndef NET_WATCH_H
#define NET_WATCH_H

#include "net/answer.h"
#include "net/net.h"

/* *take_back is closed with the new one, and also where this fails. targets: kept. */
int net_watch_open(struct plat_loop *loop, struct net *take_back, unsigned unit,
		   struct monitor *mon, const struct net_targets *targets,
		   struct net **out) attr_must_check;

#endif
