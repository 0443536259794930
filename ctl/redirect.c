/* SPDX-License-Identifier: ISC */
/* redirect.c: see redirect.h. Programs are started by a small process that is made before the sandbox
 * closes: it knows which programs there are, and is asked by number. Main thread, but for asking. */
#include "ctl/redirect.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define ANSWER_MAX (64 * MIB)

/* ---- the process that starts programs -------------------------------------------------------------- */

static void send_fd(int to, int fd)
{
	char byte = 0, control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec v = {&byte, 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
	struct cmsghdr *c;

	if (fd >= 0) {
		m.msg_control = control;
		m.msg_controllen = sizeof(control);
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	if (sendmsg(to, &m, MSG_NOSIGNAL) < 0)
		_exit(0);
}

/* In a process that was forked from one with threads: async-signal-safe calls only. */
static void start_program(int asked, const char *path)
{
	char *argv[] = {(char *)(uintptr_t)path, NULL};
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) {
		send_fd(asked, -1);
		return;
	}
	if (!fork()) {
		sigset_t none;

		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		signal(SIGPIPE, SIG_DFL);
		signal(SIGCHLD, SIG_DFL);
		dup2(pair[1], 0);
		dup2(pair[1], 1);
		execve(path, argv, environ);
		_exit(127);
	}
	fcntl(pair[0], F_SETFL, O_NONBLOCK);
	send_fd(asked, pair[0]);
	close(pair[0]);
	close(pair[1]);
}

static void serve_programs(const struct redirects *r, int fd)
{
	uint8_t slot;

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	signal(SIGCHLD, SIG_IGN); /* nobody waits for them */
	/* The guest's disks and the terminal are not these programs' business. */
	dup2(fd, 3);
	close_range(4, ~0U, 0);
	while (read(3, &slot, 1) == 1)
		start_program(3, slot < r->n ? r->file[slot].path : "");
	_exit(0);
}

static int ask_program(void *arg, unsigned slot)
{
	struct redirects *r = arg;
	uint8_t byte = (uint8_t)slot;
	char control[CMSG_SPACE(sizeof(int))];
	struct iovec v = {&byte, 1};
	struct msghdr m = {.msg_iov = &v,
			   .msg_iovlen = 1,
			   .msg_control = control,
			   .msg_controllen = sizeof(control)};
	struct cmsghdr *c = NULL;
	int fd = -1;

	if (slot >= r->n || r->file[slot].kind != TARGET_PROGRAM)
		return -1;
	plat_mutex_lock(&r->lock);
	if (send(r->programs, &byte, 1, MSG_NOSIGNAL) == 1 &&
	    recvmsg(r->programs, &m, MSG_CMSG_CLOEXEC) == 1)
		c = CMSG_FIRSTHDR(&m);
	plat_mutex_unlock(&r->lock);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	return fd;
}

static int start_server(struct redirects *r, struct msg *msg)
{
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return msg_fail(msg, ERR_NOMEM, "no sockets: %s", strerror(errno));
	pid = fork();
	if (!pid)
		serve_programs(r, pair[1]);
	close(pair[1]);
	r->programs = pair[0];
	return pid < 0 ? msg_fail(msg, ERR_NOMEM, "no process: %s", strerror(errno)) : 0;
}

/* ---- opening ---------------------------------------------------------------------------------------- */

static int open_answer(struct redirects *r, unsigned slot, const char *path, struct msg *msg)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), err = 0;
	struct stat st;
	void *data;

	if (fd < 0 || fstat(fd, &st))
		err = msg_fail(msg, ERR_NOENT, "policy: the answer %s: %s", path, strerror(errno));
	else if (!S_ISREG(st.st_mode) || !st.st_size || st.st_size > (off_t)ANSWER_MAX)
		err = msg_fail(msg, ERR_INVAL,
			       "policy: the answer %s is not a file of 1 byte to 64 MiB", path);
	/* a copy: the file may change, or become shorter */
	data = err ? NULL : malloc((size_t)st.st_size);
	if (data && read(fd, data, (size_t)st.st_size) != st.st_size) {
		free(data);
		data = NULL;
	}
	if (!err && !data)
		err = msg_fail(msg, ERR_IO, "policy: the answer %s cannot be read", path);
	if (!err) {
		r->net.answer[slot].data = data;
		r->net.answer[slot].len = (size_t)st.st_size;
	}
	if (fd >= 0)
		close(fd);
	return err;
}

static int open_one(struct redirects *r, struct plat_loop *loop, const struct policy_file *f,
		    struct msg *msg)
{
	const struct block_open_opts opts = {.path = f->path, .read_only = access(f->path, W_OK)};
	unsigned slot = r->n;
	char text[400] = "";
	int err = 0;

	if (slot == REDIRECTS)
		return msg_fail(msg, ERR_RANGE, "policy: more than %u files", REDIRECTS);
	if (f->kind == TARGET_IMAGE &&
	    block_open(loop, &opts, &r->disk.image[slot], text, sizeof(text)))
		err = msg_fail(msg, ERR_NOENT, "policy: the image %s", text[0] ? text : f->path);
	else if (f->kind == TARGET_ANSWER)
		err = open_answer(r, slot, f->path, msg);
	else if (f->kind == TARGET_PROGRAM && access(f->path, X_OK))
		err = msg_fail(msg, ERR_NOENT, "policy: the program %s cannot be executed: %s",
			       f->path, strerror(errno));
	if (err)
		return err;
	r->file[slot] = *f;
	r->n++;
	return 0;
}

static int find(const struct redirects *r, const struct policy_file *f)
{
	for (unsigned i = 0; i < r->n; i++)
		if (r->file[i].kind == f->kind && !strcmp(r->file[i].path, f->path))
			return (int)i;
	return -1;
}

void redirects_init(struct redirects *r)
{
	*r = (struct redirects){.programs = -1};
	r->net.program = ask_program;
	r->net.arg = r;
	plat_mutex_init(&r->lock, RANK_LEAF);
}

int redirects_open(struct redirects *r, struct plat_loop *loop, struct policy *p, struct msg *msg)
{
	bool programs = false;
	int err = 0;

	for (unsigned i = 0; i < policy_n_files(p) && !err; i++) {
		programs |= policy_file(p, i)->kind == TARGET_PROGRAM;
		if (find(r, policy_file(p, i)) < 0)
			err = open_one(r, loop, policy_file(p, i), msg);
	}
	if (!err && programs)
		err = start_server(r, msg);
	return err ? err : redirects_bind(r, p, msg);
}

int redirects_bind(const struct redirects *r, struct policy *p, struct msg *msg)
{
	uint8_t slot[REDIRECTS] = {0};

	for (unsigned i = 0; i < policy_n_files(p); i++) {
		int at = find(r, policy_file(p, i));

		if (at < 0)
			return msg_fail(
				msg, ERR_NOENT,
				"policy: %s is not open: a running VM opens no files, so rules may "
				"name those that the rules at its start have named",
				policy_file(p, i)->path);
		slot[i] = (uint8_t)at;
	}
	policy_bind(p, slot);
	return 0;
}

void redirects_close(struct redirects *r)
{
	for (unsigned i = 0; i < r->n; i++) {
		if (r->disk.image[i])
			block_close(r->disk.image[i]);
		free((void *)(uintptr_t)r->net.answer[i].data);
	}
	if (r->n && r->programs >= 0)
		close(r->programs);
	r->n = 0;
}
