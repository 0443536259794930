/* SPDX-License-Identifier: ISC */
/* unix.c: a character stream on a Unix server socket. One client at a time; who connects first sees
 * the last 64 KiB. Writes come from any thread, the rest runs on the loop's. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <fcntl.h>
#include <unistd.h>

#include "chr/open.h"
#include "chr/stream.h"

#define HISTORY (64 * 1024)

struct chr_unix {
	struct chr chr;
	struct plat_loop *loop;
	struct plat_task end;
	struct sockaddr_un addr;
	struct plat_fd listener; /* .fd: the listening socket */
	int listen_fd, client;   /* -1: none */
	struct chr_in in;
	struct plat_mutex lock; /* RANK_MUX: order of history and output */
	struct chr_ring history;
	struct chr_out out;
};

static void unix_write(struct chr *c, const void *buf, size_t len)
{
	struct chr_unix *u = container_of(c, struct chr_unix, chr);

	plat_mutex_lock(&u->lock);
	ring_put(&u->history, buf, len);
	chr_out_write(&u->out, buf, len);
	plat_mutex_unlock(&u->lock);
}

static void unix_rx_ready(struct chr *c)
{
	chr_in_rx_ready(&container_of(c, struct chr_unix, chr)->in);
}

static void hung_up(void *arg)
{
	struct chr_unix *u = arg;

	chr_out_drop_fd(&u->out);
	if (u->client >= 0)
		close(u->client);
	u->client = -1;
}

static int take_client(struct chr_unix *u, int fd)
{
	const uint8_t *p;
	size_t first;
	int err, copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	if (copy < 0)
		return err_here(ERR_NOMEM);
	plat_mutex_lock(&u->lock);
	err = chr_out_set_fd(&u->out, copy);
	if (!err && u->history.len) {
		first = ring_peek(&u->history, &p);
		chr_out_write(&u->out, p, first);
		chr_out_write(&u->out, u->history.buf, u->history.len - first);
	}
	plat_mutex_unlock(&u->lock);
	if (err)
		return err;
	u->client = fd;
	return chr_in_set_fd(&u->in, fd);
}

/* It may have left without our having looked at its socket since. */
static void look_after_client(struct chr_unix *u)
{
	char c;

	if (u->client < 0 || recv(u->client, &c, 1, MSG_PEEK | MSG_DONTWAIT) != 0)
		return;
	chr_in_clear(&u->in);
	hung_up(u);
}

static void on_connect(void *arg, uint32_t events)
{
	static const char busy[] = "Another client is connected to this console.\r\n";
	struct chr_unix *u = arg;
	int fd = accept4(u->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	look_after_client(u);
	if (u->client >= 0) {
		if (send(fd, busy, sizeof(busy) - 1, MSG_NOSIGNAL) < 0)
			plat_log(LOG_DEBUG, "%s: a client has left at once", u->addr.sun_path);
		close(fd);
	} else if (take_client(u, fd)) {
		if (u->client < 0)
			close(fd);
		hung_up(u);
	}
}

/* ---- the listening socket ---------------------------------------------------------------- */

/* A socket file that nobody listens on is what a killed process leaves behind. */
static bool is_stale(const struct sockaddr_un *addr)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool stale;

	if (fd < 0)
		return false;
	stale = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) && errno == ECONNREFUSED;
	close(fd);
	return stale;
}

int unix_listen(const char *path, struct sockaddr_un *addr, char *errbuf, size_t size)
{
	int fd, code, ret;

	addr->sun_family = AF_UNIX;
	if (!*path || !str_copy(addr->sun_path, sizeof(addr->sun_path), path)) {
		str_format(errbuf, size, "a socket's name has 1 to %zu characters: %s",
			   sizeof(addr->sun_path) - 1, path);
		return err_here(ERR_INVAL);
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) {
		str_format(errbuf, size, "no socket: %s", strerror(errno));
		return err_here(ERR_IO);
	}
	fchmod(fd, 0600); /* of the file that bind() makes: a console is its owner's */
	ret = bind(fd, (const struct sockaddr *)addr, sizeof(*addr));
	if (ret && errno == EADDRINUSE && is_stale(addr)) {
		unlink(addr->sun_path);
		ret = bind(fd, (const struct sockaddr *)addr, sizeof(*addr));
	}
	if (!ret)
		ret = listen(fd, 4);
	if (!ret)
		return fd;
	code = errno;
	close(fd);
	if (code == EADDRINUSE)
		str_format(errbuf, size,
			   "%s exists and is in use: choose another name or stop the program that "
			   "listens there",
			   addr->sun_path);
	else
		str_format(errbuf, size, "cannot make the socket %s: %s", addr->sun_path,
			   strerror(code));
	return err_here(ERR_IO);
}

/* ---- life -------------------------------------------------------------------------------- */

static void unix_stop(void *arg)
{
	struct chr_unix *u = arg;

	plat_fd_remove(&u->listener);
	chr_in_clear(&u->in);
	chr_out_fini(&u->out);
	if (u->client >= 0)
		close(u->client);
	if (u->listen_fd >= 0) {
		close(u->listen_fd);
		unlink(u->addr.sun_path);
	}
}

static void unix_free(void *arg)
{
	struct chr_unix *u = arg;

	plat_free(u->history.buf);
	plat_free(u);
}

static void unix_close(struct chr *c)
{
	struct chr_unix *u = container_of(c, struct chr_unix, chr);

	chr_end(u->loop, &u->end, unix_stop, unix_free, u);
}

static const struct chr_ops unix_ops = {
	.name = "unix",
	.write = unix_write,
	.rx_ready = unix_rx_ready,
	.close = unix_close,
};

static struct chr_unix *unix_alloc(struct plat_loop *loop)
{
	struct chr_unix *u = plat_alloc(sizeof(*u));

	if (u)
		u->history.buf = plat_alloc(HISTORY);
	if (!u || !u->history.buf || chr_out_init(&u->out, loop)) {
		if (u)
			plat_free(u->history.buf);
		plat_free(u);
		return NULL;
	}
	u->chr.ops = &unix_ops;
	u->loop = loop;
	u->history.size = HISTORY;
	u->listen_fd = u->client = -1;
	u->in.end = hung_up;
	u->in.arg = u;
	plat_mutex_init(&u->lock, RANK_MUX);
	chr_in_init(&u->in, loop, &u->chr);
	return u;
}

int chr_unix_open(struct plat_loop *loop, const char *path, struct chr **out, char *errbuf,
		  size_t size)
{
	struct chr_unix *u = unix_alloc(loop);
	int err;

	if (!u) {
		str_format(errbuf, size, "no console: out of memory");
		return err_here(ERR_NOMEM);
	}
	u->listen_fd = err = unix_listen(path, &u->addr, errbuf, size);
	if (err < 0)
		goto out;
	err = plat_fd_add(&u->listener, loop, u->listen_fd, EPOLLIN, on_connect, u);
	if (err) {
		str_format(errbuf, size, "cannot listen on %s: %s", path, err_str(err));
		goto out;
	}
	*out = &u->chr;
	return 0;
out:
	unix_close(&u->chr);
	return err;
}
