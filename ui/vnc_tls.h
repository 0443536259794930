/* SPDX-License-Identifier: ISC */
/* vnc_tls.h: TLS between a viewer and the library, whose server knows none. */
#ifndef UI_VNC_TLS_H
#define UI_VNC_TLS_H

#include "base/def.h"
#include "base/err.h"

struct vnc_tls;   /* certificate and key, for all viewers */
struct vnc_relay; /* a viewer's connection */

/* cert: a file with the server's certificate and those that lead to its root, key: its private key; PEM. Before the
 * sandbox. password: viewers are asked for one inside. On errors errbuf holds one line for people. */
int vnc_tls_load(const char *cert, const char *key, bool password, struct vnc_tls **out,
		 char *errbuf, size_t size) attr_must_check;
/* When no viewer is left. */
void vnc_tls_free(struct vnc_tls *t);

/* The handshake with the client at fd, at most VNC_TLS_NS; shutting fd down ends it at once. From then on *plain, the
 * caller's to close, carries what the client says, and a thread relays. fd stays the caller's, until vnc_relay_end(). */
#define VNC_TLS_NS UINT64_C(10000000000)
int vnc_tls_accept(struct vnc_tls *t, int fd, struct vnc_relay **out, int *plain) attr_must_check;
/* After *plain was shut down: waits until what was said is sent, but not long. */
void vnc_relay_end(struct vnc_relay *r);

#endif
