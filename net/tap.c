/* SPDX-License-Identifier: ISC */
/* tap.c: a tap interface of the host. Frames go out on the sender's thread, come in on the loop's; or the host's kernel
 * runs the card's queues (vhost.c), where it can: then each frame here has a header of virtio's, too. */
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
#include "net/vhost.h"
#include "plat/linux/loop_fd.h"

#define BURST    64 /* frames read before others get their turn */
#define MAX_VEC  64
#define HDR_LEN  12 /* virtio 1.2, 5.1.6.1 */
#define HDR_CSUM 1  /* its first byte: the checksum is still to be made */

struct net_tap {
	struct net net;
	struct plat_loop *loop;
	struct plat_task ready, end;
	struct plat_fd watch;
	int fd;
	struct vhost *vhost; /* NULL: there is none */
	size_t hdr;          /* of each frame: with vhost */
	size_t held;         /* bytes in frame that the device had no room for; 0: none */
	uint8_t frame[HDR_LEN + NET_FRAME_MAX];
};

static void tap_send(struct net *n, const struct net_vec *vec, unsigned n_vec)
{
	struct net_tap *t = container_of(n, struct net_tap, net);
	uint8_t hdr[HDR_LEN] = {0};
	struct iovec iov[1 + MAX_VEC] = {{hdr, t->hdr}};
	ssize_t ret;

	if (!n_vec || n_vec > MAX_VEC)
		return;
	for (unsigned i = 0; i < n_vec; i++)
		iov[1 + i] = (struct iovec){(void *)(uintptr_t)vec[i].base, vec[i].len};
	ret = writev(t->fd, iov, (int)n_vec + 1);
	(void)ret; /* a full queue loses frames, as cables do */
}

static void tap_readable(void *arg, uint32_t events)
{
	struct net_tap *t = arg;

	for (int i = 0; i < BURST && !t->held; i++) {
		ssize_t n = read(t->fd, t->frame, t->hdr + NET_FRAME_MAX);

		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			plat_log(LOG_WARN, "the tap interface has gone: %s", strerror(errno));
			plat_fd_remove(&t->watch);
		}
		if (n <= 0)
			return;
		/* what was on its way when the kernel gave the queues back, and was to be completed by the guest */
		if ((size_t)n <= t->hdr || (t->hdr && t->frame[0] & HDR_CSUM))
			continue;
		if (!net_receive(&t->net, t->frame + t->hdr, (size_t)n - t->hdr)) {
			t->held = (size_t)n - t->hdr;
			plat_fd_modify(&t->watch, 0);
		}
	}
}

static void tap_pump(void *arg)
{
	struct net_tap *t = arg;

	if (!t->held || !net_receive(&t->net, t->frame + t->hdr, t->held))
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
	vhost_close(t->vhost);
	t->vhost = NULL;
	close(t->fd);
}

static void tap_close(struct net *n)
{
	struct net_tap *t = container_of(n, struct net_tap, net);

	plat_loop_call(t->loop, tap_stop, t);
	t->end = (struct plat_task){.fn = plat_free, .arg = t};
	plat_loop_post(t->loop, &t->end);
}

/* ---- with the kernel's help -------------------------------------------------------------------- */

static int tap_lift(struct net *n, const struct net_lift *l)
{
	struct net_tap *t = container_of(n, struct net_tap, net);
	int err;

	if (!t->vhost)
		return ERR_NOSYS;
	if (t->held) /* comes first */
		return ERR_BUSY;
	plat_fd_modify(&t->watch, 0);
	if (ioctl(t->fd, TUNSETOFFLOAD, l->csum ? TUN_F_CSUM : 0))
		plat_log(LOG_DEBUG, "tap: checksums are made here: %s", strerror(errno));
	err = vhost_lift(t->vhost, t->fd, l);
	if (err)
		plat_fd_modify(&t->watch, EPOLLIN);
	return err;
}

static void tap_rung(struct net *n, unsigned ring)
{
	vhost_rung(container_of(n, struct net_tap, net)->vhost, ring);
}

static void tap_drop(struct net *n, uint16_t next[2])
{
	struct net_tap *t = container_of(n, struct net_tap, net);

	vhost_drop(t->vhost, next);
	(void)!ioctl(t->fd, TUNSETOFFLOAD, 0);
	plat_fd_modify(&t->watch, EPOLLIN);
}

static int tap_direct(struct net *n, unsigned ring, bool on)
{
	return vhost_direct(container_of(n, struct net_tap, net)->vhost, ring, on);
}

static const struct net_ops tap_ops = {
	.name = "tap",
	.send = tap_send,
	.rx_ready = tap_rx_ready,
	.close = tap_close,
	.lift = tap_lift,
	.rung = tap_rung,
	.drop = tap_drop,
	.direct = tap_direct,
};

static void note_if_down(struct ifreq *ifr)
{
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (s >= 0 && !ioctl(s, SIOCGIFFLAGS, ifr) && !(ifr->ifr_flags & IFF_UP))
		plat_log(LOG_WARN, "%s is down: ip link set %s up", ifr->ifr_name, ifr->ifr_name);
	if (s >= 0)
		close(s);
}

static int tap_fd(const char *name, bool headers, char *errbuf, size_t size)
{
	struct ifreq ifr = {.ifr_flags =
				    (short)(IFF_TAP | IFF_NO_PI | (headers ? IFF_VNET_HDR : 0))};
	int fd, code, hdr = HDR_LEN;

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
	if (!ioctl(fd, TUNSETIFF, &ifr) && !(headers && ioctl(fd, TUNSETVNETHDRSZ, &hdr))) {
		/* It keeps what the program could do that had it before. */
		(void)!ioctl(fd, TUNSETOFFLOAD, 0);
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

/* False: it is asked for, and not there. */
static bool find_vhost(struct net_tap *t, enum net_vhost how, char *errbuf, size_t size)
{
	const char *lacks = how == NET_VHOST_OFF ? NULL : vhost_lacks();

	if (how != NET_VHOST_OFF && !lacks)
		t->vhost = vhost_open(t->loop, &t->net);
	t->hdr = t->vhost ? HDR_LEN : 0;
	if (t->vhost || how != NET_VHOST_ON)
		return true;
	str_format(errbuf, size, "%s", lacks ? lacks : "vhost-net cannot be set up");
	return false;
}

int net_tap_open(struct plat_loop *loop, const char *name, enum net_vhost vhost, struct net **out,
		 char *errbuf, size_t size)
{
	struct net_tap *t = plat_alloc(sizeof(*t));
	int err;

	if (!t) {
		str_format(errbuf, size, "no tap network: out of memory");
		return err_here(ERR_NOMEM);
	}
	t->net.ops = &tap_ops;
	t->loop = loop;
	t->fd = find_vhost(t, vhost, errbuf, size) ? tap_fd(name, t->vhost, errbuf, size) : -1;
	if (t->fd < 0) {
		vhost_close(t->vhost);
		plat_free(t);
		return err_here(ERR_ACCES);
	}
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
