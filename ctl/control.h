/* SPDX-License-Identifier: ISC */
/* control.h: the control socket of a running VM. Requests and answers are JSON objects, one a line:
 *
 *	{"do":"status"}                   {"ok":true,"name":"a","state":"running",…}
 *	{"do":"stop","timeout":10}        {"ok":true}
 *	{"do":"nonsense"}                 {"ok":false,"error":"…"}
 *	{"do":"console"}                  {"ok":true}, then the console's bytes both ways
 */
#ifndef CTL_CONTROL_H
#define CTL_CONTROL_H

#include <jansson.h>
#include <poll.h>

#include "ctl/msg.h"

#define CONTROL_MAX_CLIENTS 16
#define CONTROL_LINE_MAX    4096
#define CONTROL_OUT_MAX     (64 * 1024)

struct control_client {
	int fd;       /* -1: free */
	bool closing; /* once out is sent */
	int passed;   /* descriptor that came with a request; -1: none */
	size_t in_len, out_len;
	char in[CONTROL_LINE_MAX];
	char *out;
};

/* What the VM answers. */
struct control_ops {
	/* Fills answer (an object that holds "ok": true) or returns ERR_* with msg. */
	int (*request)(void *ctx, const char *what, json_t *args, json_t *answer, struct msg *msg);
	/* Before the other end is told that it has the console; NULL: it may. ERR_* with msg. */
	int (*may_console)(void *ctx, struct msg *msg);
	/* Takes over the descriptor of a console client, and what it has sent already. */
	int (*take_console)(void *ctx, int fd, const char *early, size_t len);
};

struct control {
	int listen_fd;
	int passed; /* during request(): the descriptor that came with it, or -1; not to be kept */
	const struct control_ops *ops;
	void *ctx;
	int peer_fd; /* of the client whose request is being answered */
	struct control_client client[CONTROL_MAX_CLIENTS];
};

#define CONTROL_POLL_MAX (1 + CONTROL_MAX_CLIENTS)

void control_init(struct control *c, int listen_fd, const struct control_ops *ops, void *ctx);
/* No more clients. */
void control_deaf(struct control *c);
void control_fini(struct control *c);
/* For the caller's poll(): fills at most CONTROL_POLL_MAX entries, gives their number. */
unsigned control_poll(struct control *c, struct pollfd *pfd);
/* After poll(): serves what is ready, in the order control_poll() gave. */
void control_serve(struct control *c, const struct pollfd *pfd, unsigned n);

/* ---- the other end ------------------------------------------------------------------------ */

/* Sends one request on a connected socket and waits for the answer, at most timeout seconds.
 * *answer is the caller's to json_decref(). Errors that the VM reports become msg. */
int control_call(int fd, json_t *take_request, unsigned timeout, json_t **answer, struct msg *msg);
/* The same, and gives the VM a copy of the descriptor pass. */
int control_call_fd(int fd, json_t *take_request, int pass, unsigned timeout, json_t **answer,
		    struct msg *msg);

#endif
