/* SPDX-License-Identifier: ISC */
/* fd.c: character streams over one descriptor: files, pseudo-terminals, connected sockets. Writes
 * come from any thread, the rest runs on the loop's. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "chr/open.h"
#include "chr/stream.h"

struct chr_fd {
	struct chr chr;
	struct plat_loop *loop;
	struct plat_task end;
	struct chr_out out;
	struct chr_in in;
	int fd;    /* for input; -1: none. The output has its own duplicate */
	int slave; /* of a pseudo-terminal, kept open so that the master never hangs up; -1 */
	char name[64];
	void (*gone)(void *arg, struct chr *c);
	void *gone_arg;
};

static void fd_write(struct chr *c, const void *buf, size_t len)
{
	chr_out_write(&container_of(c, struct chr_fd, chr)->out, buf, len);
}

static void fd_rx_ready(struct chr *c)
{
	chr_in_rx_ready(&container_of(c, struct chr_fd, chr)->in);
}

static void fd_stop(void *arg)
{
	struct chr_fd *f = arg;

	chr_in_clear(&f->in);
	chr_out_fini(&f->out);
	if (f->fd >= 0)
		close(f->fd);
	if (f->slave >= 0)
		close(f->slave);
}

static void fd_close(struct chr *c)
{
	struct chr_fd *f = container_of(c, struct chr_fd, chr);

	chr_end(f->loop, &f->end, fd_stop, plat_free, f);
}

static const struct chr_ops fd_ops = {
	.name = "fd",
	.write = fd_write,
	.rx_ready = fd_rx_ready,
	.close = fd_close,
};

static void fd_hung_up(void *arg)
{
	struct chr_fd *f = arg;

	chr_out_drop_fd(&f->out);
	if (f->gone)
		f->gone(f->gone_arg, &f->chr);
}

/* Takes both descriptors, on failure too. in_fd -1: no input. */
static int fd_create(struct plat_loop *loop, int in_fd, int out_fd,
		     void (*gone)(void *arg, struct chr *c), void *arg, struct chr_fd **out)
{
	struct chr_fd *f = plat_alloc(sizeof(*f));
	int err = f && out_fd >= 0 ? 0 : ERR_NOMEM;

	if (!err)
		err = chr_out_init(&f->out, loop);
	if (err) {
		if (in_fd >= 0)
			close(in_fd);
		if (out_fd >= 0)
			close(out_fd);
		plat_free(f);
		return err_here(err);
	}
	f->chr.ops = &fd_ops;
	f->loop = loop;
	f->fd = in_fd;
	f->slave = -1;
	f->gone = gone;
	f->gone_arg = arg;
	f->in.end = fd_hung_up;
	f->in.arg = f;
	chr_in_init(&f->in, loop, &f->chr);
	err = chr_out_set_fd(&f->out, out_fd);
	if (!err && in_fd >= 0)
		err = chr_in_set_fd(&f->in, in_fd);
	if (err) {
		fd_close(&f->chr);
		return err_here(err);
	}
	*out = f;
	return 0;
}

static int dup_cloexec(int fd)
{
	return fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

int chr_fd_open(struct plat_loop *loop, int take_fd, void (*gone)(void *arg, struct chr *c),
		void *arg, struct chr **out)
{
	struct chr_fd *f;
	int err;

	fcntl(take_fd, F_SETFL, fcntl(take_fd, F_GETFL) | O_NONBLOCK);
	err = fd_create(loop, take_fd, dup_cloexec(take_fd), gone, arg, &f);
	if (!err)
		*out = &f->chr;
	return err;
}

int chr_file_open(struct plat_loop *loop, const char *path, struct chr **out, char *errbuf,
		  size_t size)
{
	/* Non-blocking, in case that it is a named pipe. */
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0644);
	struct chr_fd *f;
	int err;

	if (fd < 0) {
		int code = errno;

		if (code == ENXIO)
			str_format(errbuf, size,
				   "%s is a pipe that nobody reads: start its reader first", path);
		else
			str_format(errbuf, size, "cannot write to %s: %s", path, strerror(code));
		return err_here(code == EACCES || code == EPERM ? ERR_ACCES
				: code == ENOENT                ? ERR_NOENT
								: ERR_IO);
	}
	err = fd_create(loop, -1, fd, NULL, NULL, &f);
	if (err) {
		str_format(errbuf, size, "cannot use %s: %s", path, err_str(err));
		return err;
	}
	*out = &f->chr;
	return 0;
}

/* ---- pseudo-terminals -------------------------------------------------------------------- */

/* Both ends of a new one, raw; name: at least 64 bytes. -1 with errno. */
static int pty_open(int *slave, char *name)
{
	int fd = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	struct termios t;

	if (fd < 0)
		return -1;
	if (grantpt(fd) || unlockpt(fd) || ptsname_r(fd, name, 64))
		goto out;
	*slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (*slave < 0)
		goto out;
	if (!tcgetattr(*slave, &t)) {
		cfmakeraw(&t);
		tcsetattr(*slave, TCSANOW, &t);
	}
	return fd;
out:
	close(fd);
	return -1;
}

int chr_pty_open(struct plat_loop *loop, struct chr **out, char *errbuf, size_t size)
{
	struct chr_fd *f;
	char name[64];
	int slave, fd = pty_open(&slave, name), err;

	if (fd < 0) {
		str_format(errbuf, size, "the host gives no pseudo-terminal: %s", strerror(errno));
		return err_here(ERR_IO);
	}
	err = fd_create(loop, fd, dup_cloexec(fd), NULL, NULL, &f);
	if (err) {
		close(slave);
		str_format(errbuf, size, "no pseudo-terminal: %s", err_str(err));
		return err;
	}
	f->slave = slave;
	str_copy(f->name, sizeof(f->name), name);
	plat_log(LOG_INFO, "console on %s", name);
	*out = &f->chr;
	return 0;
}

const char *chr_pty_name(struct chr *c)
{
	return container_of(c, struct chr_fd, chr)->name;
}
