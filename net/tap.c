/* SPDX-License-Identifier: ISC */
/* tap.c: a tap interface of the host. Frames go out on the sender's thread, come in on the loop's. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/str.h"
#include "net/backend.h"
#include "plat/linux/loop_fd.h"

#define BURST   64 /* frames read before others get their turn */
#define MAX_VEC 64

struct net_tap {
	struct net net;
	struct plat_loop *loop;
	struct plat_task ready, end;
	struct plat_fd watch;
	int fd;
	size_t held; /* bytes in frame that the device had no room for; 0: none */
	uint8_t frame[NET_FRAME_MAX];
};

static void tap_send(struct net *n, const struct net_vec *vec, unsigned n_vec)
{
	struct net_tap *t = container_of(n, struct net_tap, net);
	struct iovec iov[MAX_VEC];
	ssize_t ret;

	if (!n_vec || n_vec > MAX_VEC)
		return;
	for (unsigned i = 0; i < n_vec; i++)
		iov[i] = (struct iovec){(void *)(uintptr_t)vec[i].base, vec[i].len};
	ret = writev(t->fd, iov, (int)n_vec);
	(void)ret; /* a full queue loses frames, as cables do */
}

static void tap_readable(void *arg, uint32_t events)
{
	struct net_tap *t = arg;

	for (int i = 0; i < BURST && !t->held; i++) {
		ssize_t n = read(t->fd, t->frame, sizeof(t->frame));

		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			plat_log(LOG_WARN, "the tap interface has gone: %s", strerror(errno));
			plat_fd_remove(&t->watch);
		}
		if (n <= 0)
			return;
		if (!net_receive(&t->net, t->frame, (size_t)n)) {
			t->held = (size_t)n;
			plat_fd_modify(&t->watch, 0);
		}
	}
}

static void tap_pump(void *arg)
{
	struct net_tap *t = arg;

	if (!t->held || !net_receive(&t->net, t->frame, t->held))
		return;
	t->held = 0;
	plat_fd_modify(&t->watch, EPOLLIN);
}

static void tap_rx_ready(struct net *n)
{
	struct net_tap *t = container_of(n, struct net_tap, net);

	plat_loop_post(t->loop, &t->ready);
}

static void tap_stop(void *arg)
{
	struct net_tap *t = arg;

	plat_fd_remove(&t->watch);
	t->held = 0;
	close(t->fd);
}

static void tap_close(struct net *n)
{
	struct net_tap *t = container_of(n, struct net_tap, net);

	plat_loop_call(t->loop, tap_stop, t);
	t->end = (struct plat_task){.fn = plat_free, .arg = t};
	plat_loop_post(t->loop, &t->end);
}

static const struct net_ops tap_ops = {
	.name = "tap",
	.send = tap_send,
	.rx_ready = tap_rx_ready,
	.close = tap_close,
};

static void note_if_down(struct ifreq *ifr)
{
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (s >= 0 && !ioctl(s, SIOCGIFFLAGS, ifr) && !(ifr->ifr_flags & IFF_UP))
		plat_log(LOG_WARN, "%s is down: ip link set %s up", ifr->ifr_name, ifr->ifr_name);
	if (s >= 0)
		close(s);
}

static int tap_fd(const char *name, char *errbuf, size_t size)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI};
	int fd, code;

	if (!*name || !str_copy(ifr.ifr_name, sizeof(ifr.ifr_name), name)) {
		str_format(errbuf, size, "an interface's name has 1 to %d characters: '%s'",
			   IFNAMSIZ - 1, name);
		return -1;
	}
	fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0) {
		str_format(errbuf, size, "no tap interfaces here: /dev/net/tun: %s",
			   strerror(errno));
		return -1;
	}
	if (!ioctl(fd, TUNSETIFF, &ifr)) {
		note_if_down(&ifr);
		return fd;
	}
	code = errno;
	close(fd);
	if (code == EBUSY)
		str_format(errbuf, size, "%s is in use by another program", name);
	else if (code == EPERM)
		str_format(errbuf, size,
			   "%s does not exist or is not yours: "
			   "sudo ip tuntap add dev %s mode tap user $USER",
			   name, name);
	else
		str_format(errbuf, size, "%s is no usable tap interface: %s", name, strerror(code));
	return -1;
}

int net_tap_open(struct plat_loop *loop, const char *name, struct net **out, char *errbuf,
		 size_t size)
{
	struct net_tap *t = plat_alloc(sizeof(*t));
	int err;

	if (!t) {
		str_format(errbuf, size, "no tap network: out of memory");
		return err_here(ERR_NOMEM);
	}
	t->fd = tap_fd(name, errbuf, size);
	if (t->fd < 0) {
		plat_free(t);
		return err_here(ERR_ACCES);
	}
	t->net.ops = &tap_ops;
	t->loop = loop;
	t->ready = (struct plat_task){.fn = tap_pump, .arg = t};
	err = plat_fd_add(&t->watch, loop, t->fd, EPOLLIN, tap_readable, t);
	if (err) {
		str_format(errbuf, size, "no tap network: %s", err_str(err));
		tap_close(&t->net);
		return err;
	}
	*out = &t->net;
	return 0;
}
