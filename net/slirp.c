/* SPDX-License-Identifier: ISC */
/* slirp.c: user-mode network by libslirp: a small network of the VM's own behind address translation,
 * without privileges.
 *
 * libslirp is one state machine without locks, so one lock is around all of it. A guest's frame is
 * fed to it by the vCPU thread that sends it: a switch to the loop's thread would cost more than the
 * work. Frames to the guest go through a queue and leave on the loop's thread.
 *
 * After each entry libslirp is asked for the sockets it wants watched. They live in an epoll set of
 * their own, which is one descriptor in the loop's; only differences cost system calls. When it is
 * ready, poll() says what is: it cannot be out of date.
 *
 * The library is loaded when the first such network is opened: with glib, which it brings along, it
 * would be a tenth of what a VM without network takes beside its RAM. */
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <slirp/libslirp.h>

#include "base/str.h"
#include "net/backend.h"
#include "net/ipfrag.h"
#include "net/rxq.h"
#include "plat/linux/loop_fd.h"

#define NS_PER_MS   UINT64_C(1000000)
#define HOLD_OFF_NS (10 * NS_PER_MS)

/* What is called in the library */
#define SLIRP_LIB(F)          \
	F(slirp_new)          \
	F(slirp_cleanup)      \
	F(slirp_pollfds_fill) \
	F(slirp_pollfds_poll) \
	F(slirp_input)        \
	F(slirp_handle_timer) \
	F(slirp_add_hostxfwd)

struct slirp_lib {
#define F(name) __typeof__(&name) name;
	SLIRP_LIB(F)
#undef F
};

/* What the epoll set knows of a descriptor. */
struct watched {
	uint32_t round; /* of the last fill that wanted it */
	short events;   /* POLLIN … as in the set; 0: not there */
};

struct net_slirp {
	struct net net;
	struct slirp_lib lib;
	struct plat_loop *loop;
	struct plat_task end;
	struct net_rxq rxq;
	struct plat_fd ready;    /* the epoll set, in the loop */
	struct plat_timer timer; /* libslirp's time-outs, and hold-offs */

	struct plat_mutex lock; /* RANK_BACKEND: all that follows */
	Slirp *slirp;
	struct ipfrag *frags;
	int epoll;
	struct pollfd *poll, *old_poll; /* wanted now, and before */
	unsigned n_poll, n_old, poll_room;
	struct watched *watched; /* by descriptor */
	unsigned n_watched;
	uint32_t round;
	uint64_t timer_at; /* PLAT_FOREVER: not armed */
	bool held_off;     /* the epoll set is out of the loop until the timer */
	uint8_t gather[NET_FRAME_MAX];
};

struct slirp_timer {
	struct plat_timer t;
	struct net_slirp *s;
	SlirpTimerId id;
	void *cb_opaque;
};

/* ---- the set of watched sockets; under the lock ------------------------------------------- */

static const struct {
	int slirp;
	short poll;
} event_map[] = {
	{SLIRP_POLL_IN, POLLIN},   {SLIRP_POLL_OUT, POLLOUT}, {SLIRP_POLL_PRI, POLLPRI},
	{SLIRP_POLL_ERR, POLLERR}, {SLIRP_POLL_HUP, POLLHUP},
};

/* EPOLLIN and the others have the values of POLLIN and the others. */
_Static_assert(EPOLLIN == POLLIN && EPOLLOUT == POLLOUT && EPOLLPRI == POLLPRI, "epoll events");

static void set_watch(struct net_slirp *s, int fd, short events)
{
	struct epoll_event ev = {.events = (uint32_t)events, .data.fd = fd};
	struct watched *w = &s->watched[fd];

	/* The books may be wrong where a number was closed and used again: the other call, then. */
	if (!events)
		epoll_ctl(s->epoll, EPOLL_CTL_DEL, fd, NULL);
	else if (w->events && epoll_ctl(s->epoll, EPOLL_CTL_MOD, fd, &ev) && errno == ENOENT)
		epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &ev);
	else if (!w->events && epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &ev) && errno == EEXIST)
		epoll_ctl(s->epoll, EPOLL_CTL_MOD, fd, &ev);
	w->events = events;
}

static bool room_for(struct net_slirp *s, int fd)
{
	if ((unsigned)fd >= s->n_watched) {
		unsigned n = MAX((unsigned)fd + 1, s->n_watched * 2);
		struct watched *w = realloc(s->watched, n * sizeof(*w));

		if (!w)
			return false;
		memset(w + s->n_watched, 0, (n - s->n_watched) * sizeof(*w));
		s->watched = w;
		s->n_watched = n;
	}
	if (s->n_poll == s->poll_room) {
		unsigned n = MAX(s->poll_room * 2, 64u);
		struct pollfd *a = realloc(s->poll, n * sizeof(*a));
		struct pollfd *b = realloc(s->old_poll, n * sizeof(*b));

		s->poll = a ? a : s->poll;
		s->old_poll = b ? b : s->old_poll;
		if (!a || !b)
			return false;
		s->poll_room = n;
	}
	return true;
}

static int add_poll(int fd, int events, void *opaque)
{
	struct net_slirp *s = opaque;
	short want = 0;

	if (fd < 0 || !room_for(s, fd))
		return -1;
	for (size_t i = 0; i < ARRAY_SIZE(event_map); i++)
		want = (short)(want | (events & event_map[i].slirp ? event_map[i].poll : 0));
	s->poll[s->n_poll] = (struct pollfd){.fd = fd, .events = want};
	return (int)s->n_poll++;
}

static int get_revents(int idx, void *opaque)
{
	struct net_slirp *s = opaque;
	int events = 0;

	if (idx < 0 || (unsigned)idx >= s->n_poll)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(event_map); i++) {
		if (s->poll[idx].revents & event_map[i].poll)
			events |= event_map[i].slirp;
	}
	return events;
}

static void arm(struct net_slirp *s, uint64_t deadline)
{
	/* An early look does no harm, so a later deadline changes nothing. */
	if (deadline >= s->timer_at)
		return;
	s->timer_at = deadline;
	plat_timer_arm(&s->timer, deadline);
}

/* Asks libslirp what it waits for and brings the epoll set and the timer in line. */
static void refresh(struct net_slirp *s)
{
	struct pollfd *swap = s->old_poll;
	uint32_t timeout = UINT32_MAX;

	s->old_poll = s->poll;
	s->n_old = s->n_poll;
	s->poll = swap;
	s->n_poll = 0;
	s->round++;
	s->lib.slirp_pollfds_fill(s->slirp, &timeout, add_poll, s);
	for (unsigned i = 0; i < s->n_poll; i++) {
		struct pollfd *p = &s->poll[i];

		s->watched[p->fd].round = s->round;
		if (s->watched[p->fd].events != p->events)
			set_watch(s, p->fd, p->events);
	}
	for (unsigned i = 0; i < s->n_old; i++) {
		int fd = s->old_poll[i].fd;

		if (s->watched[fd].round != s->round && s->watched[fd].events)
			set_watch(s, fd, 0);
	}
	if (timeout != UINT32_MAX)
		arm(s, plat_now() + timeout * NS_PER_MS);
}

/* True when all that is ready is an error or hang-up that libslirp does not ask for now: it would
 * report ready for ever. */
static bool only_unwanted(const struct net_slirp *s)
{
	bool any = false;

	for (unsigned i = 0; i < s->n_poll; i++) {
		any |= s->poll[i].revents != 0;
		if (s->poll[i].revents & s->poll[i].events)
			return false;
	}
	return any;
}

static void process(struct net_slirp *s)
{
	int n = poll(s->poll, s->n_poll, 0);
	bool hold_off = n > 0 && only_unwanted(s);

	s->lib.slirp_pollfds_poll(s->slirp, n < 0, get_revents, s);
	refresh(s);
	if (hold_off && !s->held_off) {
		s->held_off = true;
		plat_fd_modify(&s->ready, 0);
		arm(s, plat_now() + HOLD_OFF_NS);
	}
}

static void on_ready(void *arg, uint32_t events)
{
	struct net_slirp *s = arg;

	plat_mutex_lock(&s->lock);
	process(s);
	plat_mutex_unlock(&s->lock);
}

static void on_timer(void *arg)
{
	struct net_slirp *s = arg;

	plat_mutex_lock(&s->lock);
	s->timer_at = PLAT_FOREVER;
	if (s->held_off) {
		s->held_off = false;
		plat_fd_modify(&s->ready, EPOLLIN);
	}
	process(s);
	plat_mutex_unlock(&s->lock);
}

/* ---- what libslirp calls; under the lock -------------------------------------------------- */

static ssize_t cb_send_packet(const void *buf, size_t len, void *opaque)
{
	net_rxq_push(&((struct net_slirp *)opaque)->rxq, buf, len);
	return (ssize_t)len;
}

static void cb_guest_error(const char *msg, void *opaque)
{
	plat_log(LOG_DEBUG, "network: the guest: %s", msg);
}

static int64_t cb_clock_get_ns(void *opaque)
{
	return (int64_t)plat_now();
}

static void on_slirp_timer(void *arg)
{
	struct slirp_timer *t = arg;
	struct net_slirp *s = t->s;

	plat_mutex_lock(&s->lock);
	s->lib.slirp_handle_timer(s->slirp, t->id, t->cb_opaque);
	refresh(s);
	plat_mutex_unlock(&s->lock);
}

static void *cb_timer_new(SlirpTimerId id, void *cb_opaque, void *opaque)
{
	struct slirp_timer *t = plat_alloc(sizeof(*t));

	BUG_ON(!t); /* some bytes at the start of the process */
	t->s = opaque;
	t->id = id;
	t->cb_opaque = cb_opaque;
	plat_timer_init(&t->t, t->s->loop, on_slirp_timer, t);
	return t;
}

static void cb_timer_free(void *timer, void *opaque)
{
	struct slirp_timer *t = timer;

	plat_timer_cancel(&t->t);
	plat_free(t);
}

static void cb_timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
	plat_timer_arm(&((struct slirp_timer *)timer)->t, (uint64_t)expire_ms * NS_PER_MS);
}

static void cb_register_poll_fd(int fd, void *opaque)
{
}

/* Before the descriptor is closed: its number may come back for another socket. */
static void cb_unregister_poll_fd(int fd, void *opaque)
{
	struct net_slirp *s = opaque;

	if (fd >= 0 && (unsigned)fd < s->n_watched && s->watched[fd].events)
		set_watch(s, fd, 0);
}

static void cb_notify(void *opaque)
{
	/* whoever is inside libslirp now refreshes when it comes out */
}

static void cb_init_completed(Slirp *slirp, void *opaque)
{
}

static const SlirpCb callbacks = {
	.send_packet = cb_send_packet,
	.guest_error = cb_guest_error,
	.clock_get_ns = cb_clock_get_ns,
	.timer_new_opaque = cb_timer_new,
	.timer_free = cb_timer_free,
	.timer_mod = cb_timer_mod,
	.register_poll_fd = cb_register_poll_fd,
	.unregister_poll_fd = cb_unregister_poll_fd,
	.notify = cb_notify,
	.init_completed = cb_init_completed,
};

/* ---- the back end ------------------------------------------------------------------------ */

static void user_send(struct net *n, const struct net_vec *vec, unsigned n_vec)
{
	struct net_slirp *s = container_of(n, struct net_slirp, net);
	const uint8_t *frame;
	size_t len = 0;

	plat_mutex_lock(&s->lock);
	for (unsigned i = 0; i < n_vec && n_vec > 1; i++) {
		if (vec[i].len > sizeof(s->gather) - len)
			goto out; /* too long for any network */
		memcpy(s->gather + len, vec[i].base, vec[i].len);
		len += vec[i].len;
	}
	frame = n_vec > 1 ? s->gather : n_vec ? vec[0].base : NULL;
	len = n_vec == 1 ? vec[0].len : len;
	if (len < 14 || len > NET_FRAME_MAX)
		goto out;
	if (ipfrag_is(frame, len))
		frame = ipfrag_add(s->frags, frame, len, plat_now(), &len);
	if (!frame)
		goto out;
	s->lib.slirp_input(s->slirp, frame, (int)len);
	refresh(s);
out:
	plat_mutex_unlock(&s->lock);
}

static void user_rx_ready(struct net *n)
{
	net_rxq_ready(&container_of(n, struct net_slirp, net)->rxq);
}

static void user_stop(void *arg)
{
	struct net_slirp *s = arg;

	/* frames still in the queue have nobody to go to */
	__atomic_store_n(&s->net.client.receive, NULL, __ATOMIC_RELEASE);
	plat_fd_remove(&s->ready);
	plat_timer_cancel(&s->timer);
	if (s->slirp)
		s->lib.slirp_cleanup(s->slirp);
	s->slirp = NULL;
	if (s->epoll >= 0)
		close(s->epoll);
}

static void user_free(void *arg)
{
	struct net_slirp *s = arg;

	net_rxq_fini(&s->rxq);
	ipfrag_destroy(s->frags);
	free(s->poll);
	free(s->old_poll);
	free(s->watched);
	plat_free(s);
}

static void user_close(struct net *n)
{
	struct net_slirp *s = container_of(n, struct net_slirp, net);

	plat_loop_call(s->loop, user_stop, s);
	/* Behind it no task of the queue can come. */
	s->end = (struct plat_task){.fn = user_free, .arg = s};
	plat_loop_post(s->loop, &s->end);
}

static const struct net_ops user_ops = {
	.name = "user",
	.send = user_send,
	.rx_ready = user_rx_ready,
	.close = user_close,
};

static void note_name_server(void)
{
	char line[256];
	bool found = false;
	FILE *f = fopen("/etc/resolv.conf", "re");

	while (f && fgets(line, sizeof(line), f))
		found |= !strncmp(line, "nameserver", 10);
	if (f)
		fclose(f);
	if (!found)
		plat_log(LOG_INFO, "the host's /etc/resolv.conf has no name server: "
				   "host names will not resolve in the guest");
}

/* The addresses are QEMU's, which people know by heart. */
static Slirp *start_slirp(struct net_slirp *s, const struct net_user_config *cfg)
{
	SlirpConfig c = {
		.version = 4,
		.restricted = cfg->restricted,
		.in_enabled = true,
		.vnetwork.s_addr = htonl(0x0a000200),
		.vnetmask.s_addr = htonl(0xffffff00),
		.vhost.s_addr = htonl(0x0a000202),
		.vnameserver.s_addr = htonl(0x0a000203),
		.vdhcp_start.s_addr = htonl(0x0a00020f),
		.in6_enabled = cfg->ipv6,
		.vprefix_addr6.s6_addr = {0xfe, 0xc0},
		.vprefix_len = 64,
		.vhost6.s6_addr = {0xfe, 0xc0, [15] = 2},
		.vnameserver6.s6_addr = {0xfe, 0xc0, [15] = 3},
		.vhostname = "vigia",
		.if_mtu = cfg->mtu,
		.if_mru = cfg->mtu,
		.bootfile = cfg->bootfile[0] ? cfg->bootfile : NULL,
		.tftp_path = cfg->tftp[0] ? cfg->tftp : NULL,
	};

	return s->lib.slirp_new(&c, &callbacks, s);
}

static int add_forward(struct net_slirp *s, const struct net_forward *f, char *errbuf, size_t size)
{
	bool v6 = f->host.any.sa_family == AF_INET6;
	int port = ntohs(v6 ? f->host.v6.sin6_port : f->host.v4.sin_port);
	socklen_t len = v6 ? sizeof(f->host.v6) : sizeof(f->host.v4);
	int flags = (f->udp ? SLIRP_HOSTFWD_UDP : 0) | (v6 ? SLIRP_HOSTFWD_V6ONLY : 0);

	errno = 0;
	if (!s->lib.slirp_add_hostxfwd(s->slirp, &f->host.any, len, &f->guest.any, len, flags))
		return 0;
	switch (errno) {
	case EADDRINUSE:
		str_format(errbuf, size,
			   "port %d is in use: choose another or stop the program that listens "
			   "there",
			   port);
		return err_here(ERR_BUSY);
	case EACCES:
	case EPERM:
		str_format(errbuf, size,
			   "port %d needs privileges on this host: choose one from 1024 on", port);
		return err_here(ERR_ACCES);
	case EADDRNOTAVAIL:
		str_format(errbuf, size,
			   "port %d cannot be forwarded: the host does not have that address",
			   port);
		return err_here(ERR_NOENT);
	default:
		str_format(errbuf, size, "port %d cannot be forwarded: %s", port,
			   errno ? strerror(errno) : "libslirp refuses");
		return err_here(ERR_IO);
	}
}

static int user_start(struct net_slirp *s, const struct net_user_config *cfg, char *errbuf,
		      size_t size)
{
	int err = net_rxq_init(&s->rxq, s->loop, &s->net);

	if (!err) {
		s->frags = ipfrag_create();
		s->slirp = start_slirp(s, cfg);
		s->epoll = epoll_create1(EPOLL_CLOEXEC);
	}
	if (err || !s->slirp || !s->frags || s->epoll < 0) {
		str_format(errbuf, size, "no user network: the host is out of memory or files");
		return err_here(ERR_NOMEM);
	}
	for (unsigned i = 0; i < cfg->n_forwards && !err; i++)
		err = add_forward(s, &cfg->forward[i], errbuf, size);
	if (err)
		return err;
	err = plat_fd_add(&s->ready, s->loop, s->epoll, EPOLLIN, on_ready, s);
	if (err)
		str_format(errbuf, size, "no user network: %s", err_str(err));
	return err;
}

static int load(struct slirp_lib *lib, char *errbuf, size_t size)
{
	void *so = dlopen("libslirp.so.0", RTLD_NOW | RTLD_LOCAL);
	bool all = so;

#define F(name)  \
	if (all) \
		all = (lib->name = (__typeof__(&name))dlsym(so, #name)) != NULL;
	SLIRP_LIB(F)
#undef F
	if (all)
		return 0;
	str_format(errbuf, size, "install the package libslirp0, or choose --net none: %s",
		   so ? "the one that is there is another version" : dlerror());
	return err_here(ERR_NOSYS);
}

int net_slirp_open(struct plat_loop *loop, const struct net_user_config *cfg, struct net **out,
		   char *errbuf, size_t size)
{
	struct sigaction old, ignore = {.sa_handler = SIG_IGN};
	struct net_slirp *s = plat_alloc(sizeof(*s));
	int err;

	if (!s) {
		str_format(errbuf, size, "no user network: out of memory");
		return err_here(ERR_NOMEM);
	}
	err = load(&s->lib, errbuf, size);
	if (err) {
		plat_free(s);
		return err;
	}
	/* libslirp writes to sockets that may be gone */
	if (!sigaction(SIGPIPE, NULL, &old) && old.sa_handler == SIG_DFL)
		sigaction(SIGPIPE, &ignore, NULL);
	s->net.ops = &user_ops;
	s->loop = loop;
	s->epoll = -1;
	s->timer_at = PLAT_FOREVER;
	plat_mutex_init(&s->lock, RANK_BACKEND);
	plat_timer_init(&s->timer, loop, on_timer, s);
	err = user_start(s, cfg, errbuf, size);
	if (err) {
		user_close(&s->net);
		return err;
	}
	plat_mutex_lock(&s->lock);
	refresh(s);
	plat_mutex_unlock(&s->lock);
	note_name_server();
	*out = &s->net;
	return 0;
}
