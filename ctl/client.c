/* SPDX-License-Identifier: ISC */
/* client.c: the client's side of a control socket. Called by the main thread of a command. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "ctl/control.h"

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Sends what it can; the descriptor goes with the first byte. */
static ssize_t send_some(int fd, char *text, size_t len, int pass)
{
	alignas(struct cmsghdr) char room[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec iov = {text, len};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};

	if (pass >= 0) {
		struct cmsghdr *cm = (struct cmsghdr *)(void *)room;

		mh.msg_control = room;
		mh.msg_controllen = sizeof(room);
		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cm), &pass, sizeof(int));
	}
	return sendmsg(fd, &mh, MSG_NOSIGNAL);
}

static int send_line(int fd, json_t *request, int pass, struct msg *msg)
{
	char *text = json_dumps(request, JSON_COMPACT);
	size_t len, done = 0;

	if (!text)
		return msg_fail(msg, ERR_NOMEM, "out of memory");
	len = strlen(text);
	text[len++] = '\n'; /* in the terminator's place */
	while (done < len) {
		ssize_t n = send_some(fd, text + done, len - done, done ? -1 : pass);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	free(text);
	return done == len ? 0
			   : msg_fail(msg, ERR_IO, "the VM does not listen: %s", strerror(errno));
}

/* Reads up to the newline and no byte further: what follows may be a console's. */
static int read_line(int fd, char *buf, size_t size, unsigned timeout, struct msg *msg)
{
	int64_t end = now_ms() + (int64_t)timeout * 1000;
	size_t len = 0;

	while (len < size) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		int64_t left = end - now_ms();
		ssize_t n;
		char *nl;

		if (left <= 0 || (poll(&p, 1, (int)left) == 0))
			return msg_fail(msg, ERR_TIMEOUT, "the VM does not answer within %u s",
					timeout);
		n = recv(fd, buf + len, size - len, MSG_PEEK);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return msg_fail(msg, ERR_IO, "the VM has ended");
		nl = memchr(buf + len, '\n', (size_t)n);
		if (nl)
			n = nl + 1 - (buf + len);
		n = recv(fd, buf + len, (size_t)n, 0);
		if (n > 0)
			len += (size_t)n;
		if (nl)
			return (int)len;
	}
	return msg_fail(msg, ERR_FORMAT, "the VM's answer is too long");
}

int control_call(int fd, json_t *take_request, unsigned timeout, json_t **answer, struct msg *msg)
{
	return control_call_fd(fd, take_request, -1, timeout, answer, msg);
}

int control_call_fd(int fd, json_t *take_request, int pass, unsigned timeout, json_t **answer,
		    struct msg *msg)
{
	int n, err = take_request ? send_line(fd, take_request, pass, msg)
				  : msg_fail(msg, ERR_NOMEM, "out of memory");
	char *buf = err ? NULL : malloc(CONTROL_OUT_MAX);
	const char *text;

	json_decref(take_request);
	*answer = NULL;
	if (err)
		return err;
	if (!buf)
		return msg_fail(msg, ERR_NOMEM, "out of memory");
	n = read_line(fd, buf, CONTROL_OUT_MAX, timeout, msg);
	if (n >= 0)
		*answer = json_loadb(buf, (size_t)n, 0, NULL);
	free(buf);
	if (n < 0)
		return n;
	if (json_is_true(json_object_get(*answer, "ok")))
		return 0;
	text = json_string_value(json_object_get(*answer, "error"));
	err = msg_fail(msg, ERR_INVAL, "%s", text ? text : "the VM's answer is not understood");
	json_decref(*answer);
	*answer = NULL;
	return err;
}
