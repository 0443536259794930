/* SPDX-License-Identifier: ISC */
/* control.c: the server's side of a VM's control socket. Everything a client sends is taken as
 * hostile: lengths are bounded, nothing blocks, garbage is answered and the connection closed. Only
 * this user and root get in. Runs on the main thread, from its poll loop. */
#include "ctl/control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctl/rundir.h"

void control_init(struct control *c, int listen_fd, const struct control_ops *ops, void *ctx)
{
	*c = (struct control){.listen_fd = listen_fd, .ops = ops, .ctx = ctx, .passed = -1};
	for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++)
		c->client[i].fd = c->client[i].passed = -1;
}

static void passed_close(struct control_client *cl)
{
	if (cl->passed >= 0)
		close(cl->passed);
	cl->passed = -1;
}

static void client_close(struct control_client *cl)
{
	passed_close(cl);
	if (cl->fd >= 0)
		close(cl->fd);
	free(cl->out);
	cl->fd = -1;
	cl->out = NULL;
	cl->in_len = cl->out_len = 0;
	cl->closing = false;
}

void control_deaf(struct control *c)
{
	if (c->listen_fd >= 0)
		close(c->listen_fd);
	c->listen_fd = -1;
}

void control_fini(struct control *c)
{
	for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++)
		client_close(&c->client[i]);
	control_deaf(c);
}

unsigned control_poll(struct control *c, struct pollfd *pfd)
{
	unsigned n = 0;
	bool room = false;

	for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++) {
		const struct control_client *cl = &c->client[i];
		short events = cl->out_len ? POLLOUT : POLLIN;

		room |= cl->fd < 0;
		pfd[n++] = (struct pollfd){.fd = cl->fd, .events = events};
	}
	pfd[n++] = (struct pollfd){.fd = room ? c->listen_fd : -1, .events = POLLIN};
	return n;
}

static void client_flush(struct control_client *cl)
{
	while (cl->out_len) {
		ssize_t n = send(cl->fd, cl->out, cl->out_len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			client_close(cl);
			return;
		}
		cl->out_len -= (size_t)n;
		memmove(cl->out, cl->out + n, cl->out_len);
	}
	if (cl->closing)
		client_close(cl);
}

static void client_answer(struct control_client *cl, json_t *take_answer)
{
	char *text = json_dumps(take_answer, JSON_COMPACT);
	size_t n = text ? strlen(text) : 0;
	char *out = NULL;

	json_decref(take_answer);
	if (text && cl->out_len + n + 1 <= CONTROL_OUT_MAX)
		out = realloc(cl->out, cl->out_len + n + 1);
	if (!out) {
		free(text);
		client_close(cl);
		return;
	}
	memcpy(out + cl->out_len, text, n);
	out[cl->out_len + n] = '\n';
	cl->out = out;
	cl->out_len += n + 1;
	free(text);
}

static void client_error(struct control_client *cl, const char *text)
{
	json_t *answer = json_pack("{s:b, s:s}", "ok", 0, "error", text);

	cl->closing = true;
	if (answer)
		client_answer(cl, answer);
	else
		client_close(cl);
}

/* rest: what came behind the line. */
static void client_console(struct control *c, struct control_client *cl, const char *rest,
			   size_t len)
{
	static const char yes[] = "{\"ok\":true}\n";
	struct msg msg = {""};
	int fd = cl->fd;

	if (c->ops->may_console && c->ops->may_console(c->ctx, &msg)) {
		client_error(cl, msg.text);
		return;
	}
	/* An empty socket takes a line; a client that fills it before is not worth waiting for. */
	if (cl->out_len || send(fd, yes, sizeof(yes) - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ||
	    c->ops->take_console(c->ctx, fd, rest, len)) {
		client_close(cl);
		return;
	}
	cl->fd = -1;
	client_close(cl);
}

/* Handles one line; true while the client is still ours. */
static bool client_line(struct control *c, struct control_client *cl, const char *line, size_t len,
			const char *rest, size_t rest_len)
{
	json_t *req = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL), *answer;
	const char *what = json_string_value(json_object_get(req, "do"));
	struct msg msg = {""};

	c->peer_fd = cl->fd;
	if (!what) {
		client_error(cl, "a request is a JSON object in one line: {\"do\":\"status\"}");
	} else if (!strcmp(what, "console")) {
		client_console(c, cl, rest, rest_len);
	} else {
		answer = json_pack("{s:b}", "ok", 1);
		c->passed = cl->passed;
		if (answer && c->ops->request(c->ctx, what, req, answer, &msg)) {
			json_object_set_new(answer, "ok", json_false());
			json_object_set_new(answer, "error", json_string(msg.text));
		}
		c->passed = -1;
		passed_close(cl);
		if (answer)
			client_answer(cl, answer);
		else
			client_close(cl);
	}
	json_decref(req);
	return cl->fd >= 0 && !cl->closing;
}

/* Keeps the last descriptor that came along. */
static void take_passed(struct control_client *cl, struct msghdr *mh)
{
	for (struct cmsghdr *cm = CMSG_FIRSTHDR(mh); cm; cm = CMSG_NXTHDR(mh, cm)) {
		if (cm->cmsg_level != SOL_SOCKET || cm->cmsg_type != SCM_RIGHTS ||
		    cm->cmsg_len != CMSG_LEN(sizeof(int)))
			continue;
		passed_close(cl);
		memcpy(&cl->passed, CMSG_DATA(cm), sizeof(int));
	}
}

static ssize_t client_recv(struct control_client *cl)
{
	/* Room for one; the kernel closes those that do not fit. */
	alignas(struct cmsghdr) char room[CMSG_LEN(sizeof(int))];
	struct iovec iov = {cl->in + cl->in_len, sizeof(cl->in) - cl->in_len};
	struct msghdr mh = {.msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = room,
			    .msg_controllen = sizeof(room)};
	ssize_t n = recvmsg(cl->fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n >= 0)
		take_passed(cl, &mh);
	return n;
}

static void client_read(struct control *c, struct control_client *cl)
{
	size_t start = 0;
	ssize_t n = client_recv(cl);
	char *nl;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		client_close(cl);
		return;
	}
	cl->in_len += (size_t)n;
	while ((nl = memchr(cl->in + start, '\n', cl->in_len - start))) {
		size_t end = (size_t)(nl - cl->in);

		if (!client_line(c, cl, cl->in + start, end - start, nl + 1, cl->in_len - end - 1))
			break;
		start = end + 1;
	}
	if (cl->fd < 0)
		return;
	if (!cl->closing) {
		cl->in_len -= start;
		memmove(cl->in, cl->in + start, cl->in_len);
		if (cl->in_len == sizeof(cl->in))
			client_error(cl, "the line is too long");
	}
	client_flush(cl);
}

static void control_accept(struct control *c)
{
	int fd = accept4(c->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++) {
		if (c->client[i].fd < 0 && rundir_peer_trusted(fd)) {
			c->client[i].fd = fd;
			return;
		}
	}
	close(fd);
}

void control_serve(struct control *c, const struct pollfd *pfd, unsigned n)
{
	for (unsigned i = 0; i < n && i < CONTROL_MAX_CLIENTS; i++) {
		struct control_client *cl = &c->client[i];

		if (cl->fd < 0 || !pfd[i].revents)
			continue;
		if (pfd[i].revents & POLLOUT)
			client_flush(cl);
		else if (pfd[i].revents & (POLLIN | POLLHUP))
			client_read(c, cl);
		else
			client_close(cl);
	}
	if (n > CONTROL_MAX_CLIENTS && (pfd[CONTROL_MAX_CLIENTS].revents & POLLIN))
		control_accept(c);
}
