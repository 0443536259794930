/* SPDX-License-Identifier: ISC */
/* vnc_impl.h: between the listener (vnc.c) and a viewer (vnc_viewer.c). */
#ifndef UI_VNC_IMPL_H
#define UI_VNC_IMPL_H

#include "plat/linux/loop_fd.h"
#include "ui/vnc.h"
#include "ui/vnc_tls.h"

#define VNC_PASSWORD_MAX 8 /* the protocol's */

struct vnc_viewer;
struct vnc_lib;

struct vnc {
	struct plat_loop *loop;
	struct vnc_lib *lib;
	struct vnc_tls *tls; /* NULL: in the clear */
	struct display *display;
	struct typist *typist;
	char title[96], address[160], path[108], password[VNC_PASSWORD_MAX + 1];
	const char *passwords[2]; /* as the library wants it; NULL where everybody may */
	int listen_fd;
	struct plat_fd listener;
	struct vnc_viewer
		*viewer[VNC_VIEWERS]; /* places; they start and end on the loop's thread */
	_Atomic bool stop;

	/* under display->lock */
	uint64_t change;                    /* counts refreshes that brought something */
	uint64_t row_change[DISPLAY_MAX_H]; /* when a row has changed last */
};

/* libvncserver, when the first screen wants it: it brings GnuTLS and more along, which would make every
 * command start some 9 ms later. Before the sandbox. */
int vnc_lib_load(struct vnc *v, char *errbuf, size_t size) attr_must_check;

/* A place for a viewer. Before there are threads: the library initialises something global each time. */
int vnc_viewer_create(struct vnc *v, struct vnc_viewer **out) attr_must_check;
/* Nobody must be there any more. */
void vnc_viewer_destroy(struct vnc_viewer *w);

/* Nobody is there, or the connection has ended, and vnc_viewer_end() is still to be called. */
bool vnc_viewer_free(const struct vnc_viewer *w);
/* Starts a thread that serves fd, which is its own from now on, also on errors. */
int vnc_viewer_start(struct vnc_viewer *w, int fd) attr_must_check;
/* Hangs up and waits for the thread. Nothing where nobody is. */
void vnc_viewer_end(struct vnc_viewer *w);

#endif
