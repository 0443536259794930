/* SPDX-License-Identifier: ISC */
/* qcow2_wait.c: waiting and waking, and the count of I/O in flight. Those who are woken go to one
 * list for the image, emptied by one thread at a time in a flat loop: stacks stay small however
 * many wake each other. */

#include "block/qcow2.h"

void qwaitq_init(struct qwaitq *wq)
{
	wq->head = NULL;
	wq->tail = &wq->head;
}

void qwait_on(struct qwaitq *wq, struct qwait *w)
{
	w->next = NULL;
	*wq->tail = w;
	wq->tail = &w->next;
}

void qcow2_wake_one(struct qcow2 *q, struct qwait *w, int err)
{
	w->err = err;
	qwait_on(&q->run_list, w);
}

void qcow2_wake(struct qcow2 *q, struct qwaitq *wq, int err)
{
	struct qwait *w;

	if (!wq->head)
		return;
	for (w = wq->head; w; w = w->next)
		w->err = err;
	*q->run_list.tail = wq->head;
	q->run_list.tail = wq->tail;
	qwaitq_init(wq);
}

void qcow2_unlock(struct qcow2 *q)
{
	struct qwait *w;

	if (q->running || !q->run_list.head) {
		plat_mutex_unlock(&q->lock);
		return;
	}
	/* Closing waits for running to end: nothing here touches q after the last unlock. */
	q->running = true;
	while ((w = q->run_list.head)) {
		q->run_list.head = w->next;
		if (!w->next)
			q->run_list.tail = &q->run_list.head;
		plat_mutex_unlock(&q->lock);
		w->run(w);
		plat_mutex_lock(&q->lock);
	}
	q->running = false;
	plat_mutex_unlock(&q->lock);
}

/* Once the lock is released only a load's own slot keeps the image open, until the load is
 * submitted; its end will run those who were woken now. */
void qcow2_leave(struct qcow2 *q, struct qctx *ctx, struct qwait *w, int err)
{
	if (w && !(err == ERR_AGAIN && ctx->for_slice))
		qcache_release(q, w);
	if (ctx->commit)
		qcow2_commit_begin(q);
	if (!ctx->load && !ctx->zload) {
		qcow2_unlock(q);
		return;
	}
	plat_mutex_unlock(&q->lock);
	if (ctx->load)
		qcache_load(ctx->load);
	else
		qzip_load(ctx->zload);
}

uint8_t qcow2_io_begin(struct qcow2 *q)
{
	q->in_flight[q->epoch]++;
	return q->epoch;
}

void qcow2_io_end(struct qcow2 *q, uint8_t epoch)
{
	struct qcommit *c = &q->commit;

	if (--q->in_flight[epoch] || !c->draining || c->drain_epoch != epoch)
		return;
	c->draining = false;
	qcow2_wake_one(q, &c->w, 0);
}
