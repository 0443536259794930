/* SPDX-License-Identifier: ISC */
/* fuzz_control.c: a client of the control socket sends anything, in pieces of any size. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctl/control.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int on_request(void *ctx, const char *what, json_t *args, json_t *answer, struct msg *msg)
{
	json_object_set_new(answer, "echo", json_string(what));
	return json_object_get(args, "fail") ? msg_fail(msg, ERR_INVAL, "%s", what) : 0;
}

static int take_console(void *ctx, int fd, const char *early, size_t len)
{
	volatile char sum = 0;

	for (size_t i = 0; i < len; i++)
		sum = (char)(sum + early[i]);
	close(fd);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct control_ops ops = {.request = on_request, .take_console = take_console};
	struct control *c = calloc(1, sizeof(*c));
	struct pollfd pfd[CONTROL_POLL_MAX];
	size_t done = 0;
	char sink[4096];
	int pair[2];

	if (!c || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair))
		abort();
	control_init(c, -1, &ops, NULL);
	c->client[0].fd = pair[1];
	while (done < size && c->client[0].fd >= 0) {
		size_t n = MIN((size_t)data[done] * 16 + 1, size - done);

		if (send(pair[0], data + done, n, MSG_NOSIGNAL) < 0)
			break;
		done += n;
		for (unsigned k = 0; k < 4; k++) {
			unsigned count = control_poll(c, pfd);

			if (poll(pfd, count, 0) <= 0)
				break;
			control_serve(c, pfd, count);
		}
		while (recv(pair[0], sink, sizeof(sink), 0) > 0)
			;
	}
	control_fini(c);
	close(pair[0]);
	free(c);
	return 0;
}
