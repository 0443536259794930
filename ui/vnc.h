/* SPDX-License-Identifier: ISC */
/* vnc.h: a VM's screen, keyboard and pointer over VNC (RFC 6143), by libvncserver. Hosted. */
#ifndef UI_VNC_H
#define UI_VNC_H

#include "plat/plat.h"
#include "ui/display.h"
#include "ui/typist.h"

#define VNC_VIEWERS 8

struct vnc;

/* Listens on loop. spec: ADDRESS[:PORT] or unix:PATH, then options: ,password=FILE ,cert=FILE ,key=FILE. With a
 * certificate viewers have to use TLS; its key is in the same file where none is given. Without a port the
 * first free one from 5900 on, port 0 any. name: of the VM, for the viewer's title. display and
 * typist stay until vnc_close(). On errors errbuf holds one line for people. */
int vnc_open(struct plat_loop *loop, const char *spec, const char *name, struct display *display,
	     struct typist *typist, struct vnc **out, char *errbuf, size_t size) attr_must_check;
/* Viewers are disconnected, and touch neither display nor typist any more. Not on the loop's thread. */
void vnc_close(struct vnc *v);
/* Where it listens: "127.0.0.1:5900", "[::1]:5901", "unix:PATH". */
const char *vnc_address(const struct vnc *v);
/* Viewers have to use TLS. */
bool vnc_has_tls(const struct vnc *v);

#endif
