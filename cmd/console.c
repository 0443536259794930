/* SPDX-License-Identifier: ISC */
/* console.c: joins the terminal with a VM's console through its control socket. The terminal is put
 * back on every way out; Ctrl-A is the escape key, as in `vigia run`. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/opts.h"
#include "ctl/control.h"
#include "ctl/runner.h"

#define KEY_ESCAPE 1 /* Ctrl-A */

struct session {
	int fd;
	int signal_fd;
	bool raw, escaped, leave;
	struct termios saved;
};

static bool write_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t k = write(fd, p, n);

		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0 && errno == EAGAIN) {
			struct pollfd pfd = {.fd = fd, .events = POLLOUT};

			poll(&pfd, 1, 1000);
			continue;
		}
		if (k <= 0)
			return false;
		p += k;
		n -= (size_t)k;
	}
	return true;
}

static void escape_key(struct session *s, char c)
{
	static const char help[] = "\r\nCtrl-A x  leave the console (the VM goes on)\r\n"
				   "Ctrl-A Ctrl-A  send Ctrl-A\r\nCtrl-A h  this help\r\n";

	s->escaped = false;
	if (c == 'x' || c == 'X')
		s->leave = true;
	else if (c == 'h' || c == 'H' || c == '?')
		write_all(STDOUT_FILENO, help, sizeof(help) - 1);
	else if (c == KEY_ESCAPE)
		write_all(s->fd, &c, 1);
}

static bool take_input(struct session *s)
{
	char buf[1024];
	ssize_t n = read(STDIN_FILENO, buf, sizeof(buf)), from = 0;

	if (n <= 0)
		return n < 0 && errno == EINTR;
	for (ssize_t i = 0; i < n && !s->leave; i++) {
		if (s->escaped) {
			escape_key(s, buf[i]);
			from = i + 1;
		} else if (buf[i] == KEY_ESCAPE) {
			if (!write_all(s->fd, buf + from, (size_t)(i - from)))
				return false;
			s->escaped = true;
			from = i + 1;
		}
	}
	return s->leave || write_all(s->fd, buf + from, (size_t)(n - from));
}

static void relay(struct session *s)
{
	struct pollfd pfd[3] = {{.fd = s->fd, .events = POLLIN},
				{.fd = STDIN_FILENO, .events = POLLIN},
				{.fd = s->signal_fd, .events = POLLIN}};
	char buf[4096];

	while (!s->leave) {
		ssize_t n;

		if (poll(pfd, 3, -1) < 0 && errno != EINTR)
			return;
		if (pfd[2].revents)
			return;
		if (pfd[0].revents) {
			n = recv(s->fd, buf, sizeof(buf), 0);
			if (n <= 0 || !write_all(STDOUT_FILENO, buf, (size_t)n))
				return;
		}
		/* End of input, from a pipe: go on with output. */
		if (pfd[1].revents && !take_input(s))
			pfd[1].fd = -1;
	}
}

static void set_up_terminal(struct session *s)
{
	struct termios t;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &s->saved))
		return;
	t = s->saved;
	cfmakeraw(&t);
	s->raw = !tcsetattr(STDIN_FILENO, TCSANOW, &t);
}

int console_main(int argc, char **argv)
{
	struct cmd_opts o = {.timeout = -1};
	struct session s = {.fd = -1};
	struct opt_args args;
	struct msg msg = {""};
	json_t *answer;

	if (opt_parse(&cmd_console, argc, argv, &o, &args, &msg))
		return cmd_fail(&cmd_console, &msg);
	if (args.help) {
		opt_print_help(&cmd_console);
		return EXIT_OK;
	}
	s.fd = cmd_connect(args.arg[0], &msg);
	if (s.fd < 0 ||
	    control_call(s.fd, json_pack("{s:s}", "do", "console"), 10, &answer, &msg)) {
		if (s.fd >= 0)
			close(s.fd);
		return cmd_fail(&cmd_console, &msg);
	}
	json_decref(answer);
	fprintf(stderr, "console of %s: Ctrl-A x leaves\r\n", args.arg[0]);
	set_up_terminal(&s);
	relay(&s);
	if (s.raw)
		tcsetattr(STDIN_FILENO, TCSANOW, &s.saved);
	fprintf(stderr, "\n");
	close(s.signal_fd);
	close(s.fd);
	return EXIT_OK;
}
