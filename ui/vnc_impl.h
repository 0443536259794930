/* SPDX-License-Identifier: ISC */
/* vnc_impl.h: between the listener (vnc.c) and a viewer (vnc_viewer.c). */
#ifndef UI_VNC_IMPL_H
#define UI_VNC_IMPL_H

#include "plat/linux/loop_fd.h"
#include "ui/vnc.h"

#define VNC_PASSWORD_MAX 8 /* the protocol's */

struct vnc_viewer;

struct vnc {
	struct plat_loop *loop;
	struct display *display;
	struct input *input;
	char title[96], address[160], path[108], password[VNC_PASSWORD_MAX + 1];
	const char *passwords[2]; /* as the library wants it; NULL where everybody may */
	int listen_fd;
	struct plat_fd listener;
	struct vnc_viewer *viewer[VNC_VIEWERS]; /* loop's thread */
	_Atomic bool stop;

	/* under display->lock */
	uint64_t change;                    /* counts refreshes that brought something */
	uint64_t row_change[DISPLAY_MAX_H]; /* when a row has changed last */
};

/* Starts a thread that serves fd, which is its own from now on, also on errors. */
int vnc_viewer_start(struct vnc *v, int fd, struct vnc_viewer **out) attr_must_check;
/* Its connection has ended. */
bool vnc_viewer_ended(const struct vnc_viewer *w);
/* Hangs up, waits for the thread and frees. */
void vnc_viewer_end(struct vnc_viewer *w);

#endif
