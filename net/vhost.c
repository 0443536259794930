/* SPDX-License-Identifier: ISC */
/* vhost.c: a card's queues that the host's kernel runs, between guest memory and a tap interface (linux/vhost.h): no frame
 * goes through this process.
 *
 * The kernel hears the guest by one eventfd a queue (kick), and says that it has used buffers by another (call), which the
 * loop watches unless the engine has the kernel make an interrupt of it (direct). Entered under the card's lock. */
#include "net/vhost.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "plat/linux/loop_fd.h"

#define MAX_AREAS 16
/* What both know of rings: INDIRECT_DESC, EVENT_IDX, VERSION_1, and MRG_RXBUF */
#define FEATURES (BIT64(28) | BIT64(29) | BIT64(32) | BIT64(15))

struct side {
	struct vhost *v;
	unsigned ring;
	int kick, call;
	bool direct; /* the loop does not look at call */
	struct plat_fd watch;
};

struct vhost {
	int fd;
	struct plat_loop *loop;
	struct net *net; /* whose client hears of calls */
	uint64_t features;
	struct side side[2];
};

const char *vhost_lacks(void)
{
	int fd = open("/dev/vhost-net", O_RDWR | O_CLOEXEC);
	uint64_t features = 0;
	const char *why = NULL;

	if (fd < 0)
		return errno == ENOENT ? "there is no /dev/vhost-net: modprobe vhost_net"
				       : strerror(errno);
	if (ioctl(fd, VHOST_GET_FEATURES, &features) || ~features & FEATURES)
		why = "this kernel's vhost-net is too old";
	close(fd);
	return why;
}

static void called(void *arg, uint32_t events)
{
	struct side *s = arg;
	uint64_t n;

	if (read(s->call, &n, sizeof(n)) == sizeof(n))
		net_called(s->v->net, s->ring);
}

static void sides_close(struct vhost *v)
{
	for (unsigned i = 0; i < 2; i++) {
		struct side *s = &v->side[i];

		plat_fd_remove(&s->watch);
		if (s->kick >= 0)
			close(s->kick);
		if (s->call >= 0)
			close(s->call);
	}
}

struct vhost *vhost_open(struct plat_loop *loop, struct net *net)
{
	struct vhost *v = plat_alloc(sizeof(*v));
	bool good;

	if (!v)
		return NULL;
	v->loop = loop;
	v->net = net;
	v->fd = open("/dev/vhost-net", O_RDWR | O_CLOEXEC);
	good = v->fd >= 0 && !ioctl(v->fd, VHOST_SET_OWNER, NULL) &&
	       !ioctl(v->fd, VHOST_GET_FEATURES, &v->features) && !(~v->features & FEATURES);
	for (unsigned i = 0; i < 2; i++) {
		struct side *s = &v->side[i];

		s->v = v;
		s->ring = i;
		s->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		s->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		good = good && s->kick >= 0 && s->call >= 0 &&
		       !plat_fd_add(&s->watch, loop, s->call, EPOLLIN, called, s);
	}
	if (good)
		return v;
	vhost_close(v);
	return NULL;
}

void vhost_close(struct vhost *v)
{
	if (!v)
		return;
	sides_close(v);
	if (v->fd >= 0)
		close(v->fd);
	plat_free(v);
}

static int refused(const char *what)
{
	plat_log(LOG_WARN, "vhost-net: %s: %s", what, strerror(errno));
	return err_here(ERR_IO);
}

static int set_memory(const struct vhost *v, const struct net_lift *l)
{
	union {
		struct vhost_memory head;
		uint8_t room[sizeof(struct vhost_memory) +
			     MAX_AREAS * sizeof(struct vhost_memory_region)];
	} m = {.room = {0}};

	if (l->n_areas > MAX_AREAS)
		return err_here(ERR_RANGE);
	m.head.nregions = l->n_areas;
	for (unsigned i = 0; i < l->n_areas; i++)
		m.head.regions[i] = (struct vhost_memory_region){
			.guest_phys_addr = l->area[i].gpa,
			.memory_size = l->area[i].size,
			.userspace_addr = (uintptr_t)l->area[i].hva,
		};
	return ioctl(v->fd, VHOST_SET_MEM_TABLE, &m) ? refused("memory") : 0;
}

static int set_ring(const struct side *s, const struct net_ring *r)
{
	struct vhost_vring_state num = {s->ring, r->size}, base = {s->ring, r->next};
	struct vhost_vring_file kick = {s->ring, s->kick}, call = {s->ring, s->call};
	struct vhost_vring_addr addr = {
		.index = s->ring,
		.desc_user_addr = (uintptr_t)r->desc,
		.avail_user_addr = (uintptr_t)r->avail,
		.used_user_addr = (uintptr_t)r->used,
	};
	int fd = s->v->fd;

	if (ioctl(fd, VHOST_SET_VRING_NUM, &num) || ioctl(fd, VHOST_SET_VRING_BASE, &base) ||
	    ioctl(fd, VHOST_SET_VRING_ADDR, &addr) || ioctl(fd, VHOST_SET_VRING_KICK, &kick) ||
	    ioctl(fd, VHOST_SET_VRING_CALL, &call))
		return refused("a queue");
	return 0;
}

static int set_backend(const struct vhost *v, int tap)
{
	int err = 0;

	for (unsigned i = 0; i < 2; i++) {
		struct vhost_vring_file f = {i, tap};

		err |= ioctl(v->fd, VHOST_NET_SET_BACKEND, &f);
	}
	return err ? refused("the tap interface") : 0;
}

int vhost_lift(struct vhost *v, int tap, const struct net_lift *l)
{
	uint64_t features = l->features & FEATURES;
	int err = ioctl(v->fd, VHOST_SET_FEATURES, &features) ? refused("features")
							      : set_memory(v, l);

	for (unsigned i = 0; i < 2 && !err; i++)
		err = set_ring(&v->side[i], &l->ring[i]);
	if (!err)
		err = set_backend(v, tap);
	if (err) {
		(void)set_backend(v, -1);
		return err;
	}
	/* what is in the queues already */
	vhost_rung(v, 0);
	vhost_rung(v, 1);
	return 0;
}

void vhost_rung(struct vhost *v, unsigned ring)
{
	uint64_t one = 1;

	if (write(v->side[ring].kick, &one, sizeof(one)) < 0)
		plat_log(LOG_DEBUG, "vhost-net: a kick is lost: %s", strerror(errno));
}

/* Without a tap interface it has ended what it had begun, and takes nothing more. */
void vhost_drop(struct vhost *v, uint16_t next[2])
{
	(void)set_backend(v, -1);
	for (unsigned i = 0; i < 2; i++) {
		struct vhost_vring_state s = {.index = i};

		vhost_direct(v, i, false);
		if (ioctl(v->fd, VHOST_GET_VRING_BASE, &s))
			(void)refused("where a queue is");
		next[i] = (uint16_t)s.num;
	}
}

int vhost_direct(struct vhost *v, unsigned ring, bool on)
{
	struct side *s = &v->side[ring];

	if (on != s->direct)
		plat_fd_modify(&s->watch, on ? 0 : EPOLLIN);
	s->direct = on;
	return s->call;
}
