/* SPDX-License-Identifier: ISC */
/* aio.c: asynchronous operations, the choice of the way, and the way by threads. Threads end what
 * they did themselves: done() comes on one of them. */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "block/aio.h"
#include "plat/plat.h"

#define N_THREADS 4

struct pool {
	struct aio a;
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct aio_op *head, **tail;
	bool stop;
	struct plat_thread *thread[N_THREADS];
	unsigned n;
};

long aio_do(const struct aio_op *op)
{
	long res;

	do {
		switch (op->kind) {
		case AIO_READV:
			res = preadv(op->fd, op->iov, op->n_iov, op->off);
			break;
		case AIO_WRITEV:
			res = pwritev(op->fd, op->iov, op->n_iov, op->off);
			break;
		case AIO_DATASYNC:
			res = fdatasync(op->fd);
			break;
		default:
			res = fallocate(op->fd, op->mode, op->off, op->len);
			break;
		}
	} while (res < 0 && errno == EINTR);
	return res < 0 ? -errno : res;
}

static void pool_submit(struct aio *a, struct aio_op *op)
{
	struct pool *p = container_of(a, struct pool, a);

	op->next = NULL;
	pthread_mutex_lock(&p->lock);
	*p->tail = op;
	p->tail = &op->next;
	pthread_cond_signal(&p->work);
	pthread_mutex_unlock(&p->lock);
}

static void pool_thread(void *arg)
{
	struct pool *p = arg;
	struct aio_op *op;

	pthread_mutex_lock(&p->lock);
	for (;;) {
		while (!p->head && !p->stop)
			pthread_cond_wait(&p->work, &p->lock);
		op = p->head;
		if (!op)
			break;
		p->head = op->next;
		if (!p->head)
			p->tail = &p->head;
		pthread_mutex_unlock(&p->lock);
		op->end(op, aio_do(op));
		pthread_mutex_lock(&p->lock);
	}
	pthread_mutex_unlock(&p->lock);
}

static void pool_destroy(struct aio *a)
{
	struct pool *p = container_of(a, struct pool, a);

	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	while (p->n)
		plat_thread_join(p->thread[--p->n]);
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->work);
	plat_free(p);
}

static const struct aio_ops pool_ops = {
	.submit = pool_submit,
	.destroy = pool_destroy,
};

int aio_pool_create(struct aio **out)
{
	struct pool *p = plat_alloc(sizeof(*p));
	int err;

	if (!p)
		return err_here(ERR_NOMEM);
	p->a.ops = &pool_ops;
	p->tail = &p->head;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->work, NULL);
	for (; p->n < N_THREADS; p->n++) {
		err = plat_thread_create("disk", pool_thread, p, &p->thread[p->n]);
		if (err) {
			pool_destroy(&p->a);
			return err;
		}
	}
	*out = &p->a;
	return 0;
}

int aio_create(struct plat_loop *loop, bool no_uring, struct aio **out)
{
	int err = no_uring ? ERR_NOSYS : aio_uring_create(loop, out);

	if (err)
		err = aio_pool_create(out);
	if (!err)
		atomic_store(&(*out)->refs, 1);
	return err;
}

struct aio *aio_get(struct aio *a)
{
	atomic_fetch_add(&a->refs, 1);
	return a;
}

void aio_put(struct aio *a)
{
	if (a && atomic_fetch_sub(&a->refs, 1) == 1)
		a->ops->destroy(a);
}
