/* SPDX-License-Identifier: ISC */
/* aio_uring.c: asynchronous operations by io_uring. Any thread submits, under the lock; the loop's
 * thread (or one of our own) takes the results: the ring's descriptor is readable while there are
 * some. What does not fit the ring waits in a list. */

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "block/aio.h"
#include "plat/linux/loop_fd.h"
#include "plat/plat.h"

#define RING_SIZE 256
#define BATCH     32

struct uring {
	struct aio a;
	struct io_uring ring;
	struct plat_fd fd;
	struct plat_thread *thread; /* where there is no loop */
	struct plat_mutex lock;
	unsigned in_flight;
	struct aio_op *head, **tail; /* not in the ring yet */
	bool stop;
};

static void prepare(struct io_uring_sqe *sqe, struct aio_op *op)
{
	switch (op->kind) {
	case AIO_READV:
		io_uring_prep_readv(sqe, op->fd, op->iov, (unsigned)op->n_iov, (uint64_t)op->off);
		break;
	case AIO_WRITEV:
		io_uring_prep_writev(sqe, op->fd, op->iov, (unsigned)op->n_iov, (uint64_t)op->off);
		break;
	case AIO_DATASYNC:
		io_uring_prep_fsync(sqe, op->fd, IORING_FSYNC_DATASYNC);
		break;
	default:
		io_uring_prep_fallocate(sqe, op->fd, op->mode, op->off, op->len);
		break;
	}
	io_uring_sqe_set_data(sqe, op);
}

/* Hands to the kernel what is prepared. It may be short of memory for a moment. */
static void enter(struct uring *u)
{
	int n;

	do {
		n = io_uring_submit(&u->ring);
		if (n == -EAGAIN || n == -EBUSY)
			plat_yield();
	} while (n == -EAGAIN || n == -EBUSY || n == -EINTR);
	BUG_ON(n < 0);
}

/* With the lock held. */
static bool start(struct uring *u, struct aio_op *op)
{
	struct io_uring_sqe *sqe;

	if (u->in_flight >= RING_SIZE)
		return false;
	sqe = io_uring_get_sqe(&u->ring);
	if (!sqe)
		return false;
	prepare(sqe, op);
	u->in_flight++;
	return true;
}

static void uring_submit(struct aio *a, struct aio_op *op)
{
	struct uring *u = container_of(a, struct uring, a);

	op->next = NULL;
	plat_mutex_lock(&u->lock);
	if (!u->head && start(u, op)) {
		enter(u);
	} else {
		*u->tail = op;
		u->tail = &op->next;
	}
	plat_mutex_unlock(&u->lock);
}

static void start_waiting(struct uring *u)
{
	bool any = false;

	while (u->head && start(u, u->head)) {
		u->head = u->head->next;
		any = true;
	}
	if (!u->head)
		u->tail = &u->head;
	if (any)
		enter(u);
}

/* Takes what has ended. The aio may be gone after the last end(). */
static unsigned reap(struct uring *u)
{
	struct io_uring_cqe *cqe[BATCH];
	struct aio_op *op[BATCH];
	long res[BATCH];
	unsigned n, i;

	plat_mutex_lock(&u->lock);
	n = io_uring_peek_batch_cqe(&u->ring, cqe, BATCH);
	for (i = 0; i < n; i++) {
		op[i] = io_uring_cqe_get_data(cqe[i]);
		res[i] = cqe[i]->res;
	}
	io_uring_cq_advance(&u->ring, n);
	u->in_flight -= n;
	start_waiting(u);
	plat_mutex_unlock(&u->lock);
	for (i = 0; i < n; i++) {
		if (!op[i]) /* stop */
			continue;
		if (res[i] == -EINTR || res[i] == -ECANCELED || res[i] == -EAGAIN)
			/* the thread that submitted it is gone, or was interrupted */
			uring_submit(&u->a, op[i]);
		else
			op[i]->end(op[i], res[i]);
	}
	return n;
}

static void on_ready(void *arg, uint32_t events)
{
	reap(arg);
}

static void uring_poll(struct aio *a)
{
	reap(container_of(a, struct uring, a));
}

static void uring_thread(void *arg)
{
	struct uring *u = arg;
	struct pollfd p = {.fd = u->ring.ring_fd, .events = POLLIN};
	bool stop = false;

	while (!stop) {
		poll(&p, 1, -1);
		reap(u);
		plat_mutex_lock(&u->lock);
		stop = u->stop;
		plat_mutex_unlock(&u->lock);
	}
}

static void stop_thread(struct uring *u)
{
	struct io_uring_sqe *sqe;

	plat_mutex_lock(&u->lock);
	u->stop = true;
	sqe = io_uring_get_sqe(&u->ring);
	BUG_ON(!sqe);
	io_uring_prep_nop(sqe);
	io_uring_sqe_set_data(sqe, NULL);
	u->in_flight++;
	enter(u);
	plat_mutex_unlock(&u->lock);
	plat_thread_join(u->thread);
}

static void uring_destroy(struct aio *a)
{
	struct uring *u = container_of(a, struct uring, a);

	if (u->thread)
		stop_thread(u);
	plat_fd_remove(&u->fd);
	io_uring_queue_exit(&u->ring);
	plat_free(u);
}

static const struct aio_ops uring_ops = {
	.submit = uring_submit,
	.poll = uring_poll,
	.destroy = uring_destroy,
};

static const uint8_t used_ops[] = {IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_FSYNC,
				   IORING_OP_FALLOCATE, IORING_OP_NOP};

/* All that we use must be there. */
static bool capable(struct io_uring *ring)
{
	struct io_uring_probe *p = io_uring_get_probe_ring(ring);
	bool ok = p;

	for (unsigned i = 0; i < ARRAY_SIZE(used_ops) && ok; i++)
		ok = io_uring_opcode_supported(p, used_ops[i]);
	if (p)
		io_uring_free_probe(p);
	return ok;
}

/* What a ring does passes by the sandbox's filter of system calls: a ring that opens files or makes sockets
 * would be a way around it. This one can do what is used and nothing else, for good. */
static bool restrict_ring(struct io_uring *ring)
{
	struct io_uring_restriction r[ARRAY_SIZE(used_ops)] = {{.opcode = 0}};

	for (unsigned i = 0; i < ARRAY_SIZE(used_ops); i++) {
		r[i].opcode = IORING_RESTRICTION_SQE_OP;
		r[i].sqe_op = used_ops[i];
	}
	/* liburing declares functions for these two, but Debian 12's does not export them. */
	return !syscall(SYS_io_uring_register, ring->ring_fd, IORING_REGISTER_RESTRICTIONS, r,
			ARRAY_SIZE(r)) &&
	       !syscall(SYS_io_uring_register, ring->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL,
			0);
}

int aio_uring_create(struct plat_loop *loop, struct aio **out)
{
	struct uring *u = plat_alloc(sizeof(*u));
	int err = ERR_NOSYS;

	if (!u)
		return err_here(ERR_NOMEM);
	u->a.ops = &uring_ops;
	u->tail = &u->head;
	plat_mutex_init(&u->lock, RANK_BACKEND);
	if (io_uring_queue_init(RING_SIZE, &u->ring, IORING_SETUP_R_DISABLED)) {
		plat_free(u);
		return ERR_NOSYS; /* not permitted: there is another way */
	}
	if (!capable(&u->ring) || !restrict_ring(&u->ring))
		goto out;
	if (loop)
		err = plat_fd_add(&u->fd, loop, u->ring.ring_fd, EPOLLIN, on_ready, u);
	else
		err = plat_thread_create("disk", uring_thread, u, &u->thread);
	if (err)
		goto out;
	*out = &u->a;
	return 0;
out:
	io_uring_queue_exit(&u->ring);
	plat_free(u);
	return err;
}
