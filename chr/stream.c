/* SPDX-License-Identifier: ISC */
/* stream.c: buffered output and polled input over descriptors. Output is entered by vCPU threads and
 * the loop's (its lock); input runs on the loop's thread alone. */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "chr/stream.h"

#define COLLECT_NS    (2 * 1000 * 1000) /* how long bytes may wait for more */
#define COLLECT_BYTES 4096              /* so many do not wait */
#define RETRY_NS      (10 * 1000 * 1000)
#define BACKGROUND_NS (500 * 1000 * 1000)
#define LAST_WORDS_MS 500 /* how long a slow reader holds up the end */

/* ---- output ------------------------------------------------------------------------------ */

static ssize_t write_some(struct chr_out *o)
{
	const uint8_t *p;
	size_t n = ring_peek(&o->ring, &p);
	struct iovec iov[2] = {
		{.iov_base = (void *)(uintptr_t)p, .iov_len = n},
		{.iov_base = o->ring.buf, .iov_len = o->ring.len - n},
	};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};

	if (o->socket)
		return sendmsg(o->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	return writev(o->fd, iov, 2);
}

/* Under the lock. */
static void flush(struct chr_out *o)
{
	while (o->ring.len && o->fd >= 0) {
		ssize_t n = write_some(o);

		if (n > 0) {
			ring_drop(&o->ring, (size_t)n);
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN && o->watch.loop) {
			o->blocked = true;
			plat_fd_modify(&o->watch, EPOLLOUT);
			break;
		}
		/* gone, or the disk is full: the guest must not suffer */
		o->lost += o->ring.len;
		ring_drop(&o->ring, o->ring.len);
	}
	o->last = plat_now();
}

static void on_timer(void *arg)
{
	struct chr_out *o = arg;

	plat_mutex_lock(&o->lock);
	o->waiting = false;
	if (!o->blocked)
		flush(o);
	plat_mutex_unlock(&o->lock);
}

static void on_writable(void *arg, uint32_t events)
{
	struct chr_out *o = arg;

	plat_mutex_lock(&o->lock);
	if (o->blocked) {
		o->blocked = false;
		flush(o);
		if (!o->blocked && o->watch.loop)
			plat_fd_modify(&o->watch, 0);
	}
	plat_mutex_unlock(&o->lock);
}

int chr_out_init(struct chr_out *o, struct plat_loop *loop)
{
	*o = (struct chr_out){.loop = loop, .fd = -1};
	o->ring.buf = plat_alloc(CHR_OUT_BUFFER);
	if (!o->ring.buf)
		return err_here(ERR_NOMEM);
	o->ring.size = CHR_OUT_BUFFER;
	plat_mutex_init(&o->lock, RANK_BACKEND);
	plat_timer_init(&o->timer, loop, on_timer, o);
	return 0;
}

int chr_out_set_fd(struct chr_out *o, int take_fd)
{
	struct stat st;
	int err = plat_fd_add(&o->watch, o->loop, take_fd, 0, on_writable, o);

	/* files are always ready, the loop need not and cannot watch them */
	if (err && err != ERR_NOSYS) {
		close(take_fd);
		return err;
	}
	plat_mutex_lock(&o->lock);
	o->fd = take_fd;
	o->socket = !fstat(take_fd, &st) && S_ISSOCK(st.st_mode);
	o->blocked = false;
	plat_mutex_unlock(&o->lock);
	return 0;
}

void chr_out_drop_fd(struct chr_out *o)
{
	int fd;

	plat_mutex_lock(&o->lock);
	fd = o->fd;
	o->fd = -1;
	o->blocked = false;
	ring_drop(&o->ring, o->ring.len);
	plat_mutex_unlock(&o->lock);
	plat_fd_remove(&o->watch);
	if (fd >= 0)
		close(fd);
}

void chr_out_fini(struct chr_out *o)
{
	if (!o->ring.buf)
		return;
	plat_timer_cancel(&o->timer);
	plat_mutex_lock(&o->lock);
	flush(o);
	while (o->blocked && o->ring.len) {
		struct pollfd p = {.fd = o->fd, .events = POLLOUT};

		if (poll(&p, 1, LAST_WORDS_MS) <= 0)
			break;
		o->blocked = false;
		flush(o);
	}
	plat_mutex_unlock(&o->lock);
	chr_out_drop_fd(o);
	plat_free(o->ring.buf);
	o->ring.buf = NULL;
}

void chr_out_write(struct chr_out *o, const void *buf, size_t len)
{
	const uint8_t *p = buf;
	uint64_t now;

	plat_mutex_lock(&o->lock);
	if (o->fd < 0)
		goto out;
	while (len) {
		size_t n = MIN(len, (size_t)COLLECT_BYTES);

		o->lost += ring_put(&o->ring, p, n);
		p += n;
		len -= n;
		if (o->ring.len >= COLLECT_BYTES && !o->blocked)
			flush(o);
	}
	if (o->blocked || o->waiting || !o->ring.len)
		goto out;
	now = plat_now();
	if (now - o->last >= COLLECT_NS) {
		flush(o);
	} else {
		o->waiting = true;
		plat_timer_arm(&o->timer, o->last + COLLECT_NS);
	}
out:
	plat_mutex_unlock(&o->lock);
}

/* ---- input ------------------------------------------------------------------------------- */

static void want(struct chr_in *in, bool on)
{
	if (in->always_ready && on)
		plat_loop_post(in->loop, &in->pump);
	else if (in->watch.loop && (in->watch.events != 0) != on)
		plat_fd_modify(&in->watch, on ? EPOLLIN : 0);
}

/* True when nothing is left to give. */
static bool give(struct chr_in *in)
{
	while (in->len) {
		ptrdiff_t n = chr_receive(in->chr, in->buf + in->pos, in->len);

		if (n < 0) /* no device yet */
			plat_timer_arm(&in->retry, plat_now() + RETRY_NS);
		if (n <= 0)
			return false;
		n = MIN(n, (ptrdiff_t)in->len);
		in->pos += (uint32_t)n;
		in->len -= (uint32_t)n;
	}
	return true;
}

static void at_end(struct chr_in *in)
{
	void (*end)(void *) = in->end;

	chr_in_clear(in);
	if (end)
		end(in->arg);
}

static void take(struct chr_in *in)
{
	ssize_t n;

	if (in->may_read && !in->may_read(in->arg)) {
		want(in, false);
		plat_timer_arm(&in->retry, plat_now() + BACKGROUND_NS);
		return;
	}
	n = read(in->fd, in->buf, sizeof(in->buf));
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		want(in, true);
		return;
	}
	if (n <= 0) {
		at_end(in);
		return;
	}
	in->pos = 0;
	in->len = (uint32_t)(in->filter ? in->filter(in->arg, in->buf, (size_t)n) : (size_t)n);
	want(in, give(in));
}

static void on_readable(void *arg, uint32_t events)
{
	struct chr_in *in = arg;

	if (!in->len && in->fd >= 0 && in->watch.events)
		take(in);
}

/* The device has room again, or the time has come to ask again. */
static void pump(void *arg)
{
	struct chr_in *in = arg;

	if (in->fd < 0 || !give(in))
		return;
	if (in->always_ready)
		take(in);
	else
		want(in, true);
}

void chr_in_init(struct chr_in *in, struct plat_loop *loop, struct chr *chr)
{
	in->loop = loop;
	in->chr = chr;
	in->fd = -1;
	in->pump = (struct plat_task){.fn = pump, .arg = in};
	plat_timer_init(&in->retry, loop, pump, in);
}

int chr_in_set_fd(struct chr_in *in, int fd)
{
	int err;

	/* First: a hang-up may be reported before plat_fd_add() has returned. */
	in->pos = in->len = 0;
	in->fd = fd;
	err = plat_fd_add(&in->watch, in->loop, fd, 0, on_readable, in);
	if (err && err != ERR_NOSYS) {
		in->fd = -1;
		return err;
	}
	if (err == ERR_NOSYS)
		in->always_ready = true;
	plat_loop_post(in->loop, &in->pump); /* begins on the loop's thread */
	return 0;
}

void chr_in_clear(struct chr_in *in)
{
	plat_fd_remove(&in->watch);
	plat_timer_cancel(&in->retry);
	in->fd = -1;
	in->len = 0;
	in->always_ready = false;
}

void chr_in_rx_ready(struct chr_in *in)
{
	plat_loop_post(in->loop, &in->pump);
}

/* ---- end --------------------------------------------------------------------------------- */

void chr_end(struct plat_loop *loop, struct plat_task *task, void (*stop)(void *arg),
	     void (*free)(void *arg), void *arg)
{
	plat_loop_call(loop, stop, arg);
	/* Tasks run in the order of posting: behind this one there are none of the stream. */
	task->fn = free;
	task->arg = arg;
	plat_loop_post(loop, task);
}
