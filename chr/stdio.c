/* SPDX-License-Identifier: ISC */
/* stdio.c: stdin and stdout as a character stream; raw terminal and the keys behind Ctrl-A. Writes
 * come from any thread, the rest runs on the loop's. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "chr/stdio.h"
#include "chr/stream.h"
#include "plat/linux/tty.h"

#define CTRL_A 1

struct chr_stdio {
	struct chr chr;
	struct plat_loop *loop;
	struct plat_task end;
	struct chr_out out;
	struct chr_in in;
	bool tty; /* stdin is a terminal, and raw */
	bool after_ctrl_a;
	int out_flags; /* of stdout, to be given back; -1: not changed */
	const struct chr_stdio_key *keys;
	unsigned n_keys;
};

/* ---- keys -------------------------------------------------------------------------------- */

static void say(struct chr_stdio *s, const char *text)
{
	chr_out_write(&s->out, text, str_len(text));
}

static void say_key(struct chr_stdio *s, const char *key, const char *help)
{
	char line[120];

	str_format(line, sizeof(line), "  Ctrl-A %-8s%s\n", key, help);
	say(s, line);
}

static void say_keys(struct chr_stdio *s)
{
	bool leave = false;

	say(s, "\n");
	for (unsigned i = 0; i < s->n_keys; i++) {
		char key[2] = {s->keys[i].key, 0};

		leave |= s->keys[i].key == 'x';
		say_key(s, key, s->keys[i].help);
	}
	if (!leave)
		say_key(s, "x", "leave: end the virtual machine");
	say_key(s, "h", "this list");
	say_key(s, "Ctrl-A", "send Ctrl-A to the guest");
}

static void press(struct chr_stdio *s, char key)
{
	if (key == 'h' || key == '?') {
		say_keys(s);
		return;
	}
	for (unsigned i = 0; i < s->n_keys; i++) {
		if (s->keys[i].key == key) {
			s->keys[i].fn(s->keys[i].arg);
			return;
		}
	}
	if (key == 'x')
		kill(getpid(), SIGTERM);
}

static size_t filter_keys(void *arg, uint8_t *buf, size_t len)
{
	struct chr_stdio *s = arg;
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		bool was_after = s->after_ctrl_a;

		s->after_ctrl_a = false;
		if (was_after && buf[i] != CTRL_A)
			press(s, (char)buf[i]);
		else if (was_after || buf[i] != CTRL_A)
			buf[n++] = buf[i];
		else
			s->after_ctrl_a = true;
	}
	return n;
}

static bool may_read(void *arg)
{
	return plat_tty_in_foreground(STDIN_FILENO);
}

/* ---- the stream -------------------------------------------------------------------------- */

static void stdio_write(struct chr *c, const void *buf, size_t len)
{
	chr_out_write(&container_of(c, struct chr_stdio, chr)->out, buf, len);
}

static void stdio_rx_ready(struct chr *c)
{
	chr_in_rx_ready(&container_of(c, struct chr_stdio, chr)->in);
}

static void stdio_stop(void *arg)
{
	struct chr_stdio *s = arg;

	chr_in_clear(&s->in);
	chr_out_fini(&s->out);
	if (s->out_flags >= 0)
		fcntl(STDOUT_FILENO, F_SETFL, s->out_flags);
	if (s->tty)
		plat_tty_release();
}

static void stdio_close(struct chr *c)
{
	struct chr_stdio *s = container_of(c, struct chr_stdio, chr);

	chr_end(s->loop, &s->end, stdio_stop, plat_free, s);
}

static const struct chr_ops stdio_ops = {
	.name = "stdio",
	.write = stdio_write,
	.rx_ready = stdio_rx_ready,
	.close = stdio_close,
};

/* A descriptor for stdout that does not block. Where it can be opened anew, the flag stays ours; a
 * flag on the shared one would be seen by the shell and everybody else on the terminal. */
static int open_stdout(struct chr_stdio *s)
{
	struct stat st;
	int fd = -1;

	if (fstat(STDOUT_FILENO, &st))
		return -1;
	if (S_ISCHR(st.st_mode) || S_ISFIFO(st.st_mode))
		fd = open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	if (fd >= 0 && (S_ISCHR(st.st_mode) || S_ISFIFO(st.st_mode))) {
		s->out_flags = fcntl(fd, F_GETFL);
		fcntl(fd, F_SETFL, s->out_flags | O_NONBLOCK);
	}
	return fd;
}

static int open_stdin(struct chr_stdio *s)
{
	int err;

	if (isatty(STDIN_FILENO)) {
		err = plat_tty_raw(STDIN_FILENO);
		if (err)
			return err;
		s->tty = true;
		s->in.filter = filter_keys;
		s->in.may_read = may_read;
	}
	err = chr_in_set_fd(&s->in, STDIN_FILENO);
	/* A closed stdin is as good as an empty one. */
	return err == ERR_INVAL ? 0 : err;
}

int chr_stdio_open(struct plat_loop *loop, const struct chr_stdio_key *keys, unsigned n_keys,
		   struct chr **out, char *errbuf, size_t size)
{
	struct chr_stdio *s = plat_alloc(sizeof(*s));
	struct sigaction old, ignore = {.sa_handler = SIG_IGN};
	int err = s ? 0 : ERR_NOMEM, fd;

	if (!err)
		err = chr_out_init(&s->out, loop);
	if (err) {
		str_format(errbuf, size, "no console: %s", err_str(err));
		plat_free(s);
		return err_here(err);
	}
	s->chr.ops = &stdio_ops;
	s->loop = loop;
	s->out_flags = -1;
	s->in.arg = s;
	chr_in_init(&s->in, loop, &s->chr);
	chr_stdio_set_keys(&s->chr, keys, n_keys);

	/* A reader that leaves (vigia run | head) must not end the VM. */
	if (!sigaction(SIGPIPE, NULL, &old) && old.sa_handler == SIG_DFL)
		sigaction(SIGPIPE, &ignore, NULL);
	fd = open_stdout(s);
	if (fd >= 0)
		err = chr_out_set_fd(&s->out, fd);
	if (!err)
		err = open_stdin(s);
	if (err == ERR_BUSY)
		str_format(errbuf, size,
			   "stdin is in use already: only one console can be on stdio");
	else if (err)
		str_format(errbuf, size, "cannot use stdin and stdout: %s", err_str(err));
	if (err) {
		stdio_close(&s->chr);
		return err;
	}
	*out = &s->chr;
	return 0;
}

void chr_stdio_set_keys(struct chr *c, const struct chr_stdio_key *keys, unsigned n_keys)
{
	struct chr_stdio *s = container_of(c, struct chr_stdio, chr);

	s->keys = keys;
	s->n_keys = n_keys;
}
