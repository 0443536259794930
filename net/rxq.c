/* SPDX-License-Identifier: ISC */
/* rxq.c: a ring of frames from a back end to the device. One producer at a time, of any thread; the
 * loop's thread takes out. A frame lies in one piece, behind its length. */
#include "base/str.h"
#include "net/rxq.h"

#define QUEUE_FRAMES 256
#define QUEUE_BYTES  (512 * 1024)
#define SKIP         UINT32_MAX /* in place of a length: go on at the ring's start */

static uint32_t *length_at(struct net_rxq *q, uint32_t pos)
{
	return (uint32_t *)(void *)(q->buf + (pos & (q->size - 1)));
}

static void deliver(void *arg)
{
	struct net_rxq *q = arg;
	uint32_t head = atomic_load_explicit(&q->head, memory_order_relaxed);

	atomic_store(&q->stalled, false);
	while (head != atomic_load_explicit(&q->tail, memory_order_acquire)) {
		uint32_t *len = length_at(q, head);

		if (*len == SKIP) {
			head = ALIGN_UP(head + 1, q->size);
			continue;
		}
		if (!net_receive(q->net, len + 1, *len)) {
			atomic_store(&q->stalled, true);
			break;
		}
		head += ALIGN_UP(*len + 4, 4u);
		atomic_fetch_sub(&q->frames, 1);
		atomic_store_explicit(&q->head, head, memory_order_release);
	}
	atomic_store_explicit(&q->head, head, memory_order_release);
}

int net_rxq_init(struct net_rxq *q, struct plat_loop *loop, struct net *net)
{
	*q = (struct net_rxq){.net = net, .loop = loop, .size = QUEUE_BYTES};
	q->task = (struct plat_task){.fn = deliver, .arg = q};
	q->buf = plat_pages_alloc(QUEUE_BYTES);
	return q->buf ? 0 : err_here(ERR_NOMEM);
}

void net_rxq_fini(struct net_rxq *q)
{
	if (q->buf)
		plat_pages_free(q->buf, q->size);
	q->buf = NULL;
}

void net_rxq_push(struct net_rxq *q, const void *frame, size_t len)
{
	uint32_t tail = atomic_load_explicit(&q->tail, memory_order_relaxed);
	uint32_t used = tail - atomic_load_explicit(&q->head, memory_order_acquire);
	uint32_t need = ALIGN_UP((uint32_t)len + 4, 4u);
	uint32_t to_end = q->size - (tail & (q->size - 1));

	if (len > NET_FRAME_MAX || atomic_load(&q->frames) >= QUEUE_FRAMES ||
	    used + need + (need > to_end ? to_end : 0) > q->size) {
		atomic_fetch_add(&q->dropped, 1);
		return;
	}
	if (need > to_end) {
		*length_at(q, tail) = SKIP;
		tail += to_end;
	}
	*length_at(q, tail) = (uint32_t)len;
	memcpy(length_at(q, tail) + 1, frame, len);
	atomic_fetch_add(&q->frames, 1);
	atomic_store_explicit(&q->tail, tail + need, memory_order_release);
	if (!atomic_load(&q->stalled))
		plat_loop_post(q->loop, &q->task);
}

void net_rxq_ready(struct net_rxq *q)
{
	plat_loop_post(q->loop, &q->task);
}
