/* SPDX-License-Identifier: ISC */
/* loop_fd.h: file descriptors in the event loop; Linux only, for hosted back ends. */
#ifndef PLAT_LINUX_LOOP_FD_H
#define PLAT_LINUX_LOOP_FD_H

#include <sys/epoll.h>

#include "plat/plat.h"

/* Embedded, zeroed storage. */
struct plat_fd {
	struct plat_loop *loop; /* NULL: not in a loop */
	int fd;
	uint32_t slot;   /* the loop's */
	uint32_t events; /* EPOLLIN, EPOLLOUT …, level-triggered unless EPOLLET is in it */
	/* On the loop's thread with no lock held. events: what is ready; EPOLLERR and EPOLLHUP
	 * come unasked. */
	void (*fn)(void *arg, uint32_t events);
	void *arg;
};

/* Any thread may call these three; the caller serialises those of one handle.
 *
 * ERR_NOSYS: a descriptor that is always ready and cannot be watched (a regular file); ERR_EXIST,
 * ERR_NOMEM. */
int plat_fd_add(struct plat_fd *h, struct plat_loop *loop, int fd, uint32_t events,
		void (*fn)(void *arg, uint32_t events), void *arg) attr_must_check;
/* events 0: nothing but errors, and these, once reported, not again before the next modify. */
void plat_fd_modify(struct plat_fd *h, uint32_t events);
/* After return the callback neither runs nor will run, unless called on the loop's thread itself.
 * Does not close fd. Nothing where the handle is in no loop. */
void plat_fd_remove(struct plat_fd *h);

/* Runs fn(arg) on the loop's thread and waits until it is done; directly if that is the caller. */
void plat_loop_call(struct plat_loop *loop, void (*fn)(void *arg), void *arg);
/* True on the loop's own thread. */
bool plat_loop_is_self(struct plat_loop *loop);

/* For tests and statistics. */
struct plat_loop_stats {
	uint64_t sleeps, wakes_sent, timer_programmed, timers_run, tasks_run, fds_run;
};
void plat_loop_stats(struct plat_loop *loop, struct plat_loop_stats *out);

#endif
