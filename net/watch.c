/* SPDX-License-Identifier: ISC */
/* watch.c: see watch.h. Frames of the guest come on vCPUs' threads, frames for it on the loop's. What
 * is made here for the guest goes through a queue of its own to the same door. */
#include "net/watch.h"

#include "base/str.h"
#include "monitor/frame.h"
#include "net/nat.h"
#include "net/rxq.h"
#include "plat/linux/loop_fd.h"

#define FRAME_MIN 14
#define VEC_MAX   256
#define CAPTURE   1600 /* bytes of a frame that are looked at where rules or a capture want it */

/* Where frames for the guest come from. */
struct source {
	struct watch_net *w;
	bool waits; /* the present one has been judged, and waits for room in the card */
};

struct watch_net {
	struct net net; /* what the card sees */
	struct net *back;
	struct source from_back, from_here; /* the loop's thread */
	struct net inject;                  /* what is made here comes in by this one */
	struct net_rxq rxq;
	struct monitor *mon;
	uint8_t unit;
	struct plat_loop *loop;
	struct plat_task end;
	struct plat_mutex lock; /* RANK_BACKEND: nat, answers, linear */
	struct nat nat;
	struct answers *answers;
	_Atomic bool translating;       /* the guest has flows that were redirected */
	uint8_t linear[NET_FRAME_MAX];  /* a frame that is rewritten */
	uint8_t arrived[NET_FRAME_MAX]; /* by the loop's thread: likewise */
};

/* have: bytes of frame that are there, at least FRAME_MIN; len: of all. */
static enum mon_verdict judge(struct watch_net *w, uint8_t op, const uint8_t *frame, size_t have,
			      size_t len, struct mon_target *to)
{
	struct frame_info fi;
	struct mon_event ev = frame_event(op, w->unit, frame, have, len, &fi);
	enum mon_verdict v = mon_ask(w->mon, &ev);

	if (v == MON_REDIRECT && ev.target)
		*to = *ev.target;
	mon_tell(w->mon, &ev);
	return v;
}

static bool watched(const struct watch_net *w)
{
	return mon_listens(w->mon, MON_NET) || mon_rules(w->mon, MON_NET);
}

static size_t gather(const struct net_vec *vec, unsigned n, uint8_t *out, size_t max)
{
	size_t len = 0;

	for (unsigned i = 0; i < n && len < max; i++) {
		size_t part = MIN(vec[i].len, max - len);

		memcpy(out + len, vec[i].base, part);
		len += part;
	}
	return len;
}

/* ---- guest to host -------------------------------------------------------------------------------- */

static void redirect(struct watch_net *w, const struct net_vec *vec, unsigned n_vec, size_t len,
		     const struct mon_target *to)
{
	struct net_vec v = {w->linear, len};
	struct frame_info fi;
	bool pass = false, question;

	if (len > NET_FRAME_MAX)
		return;
	plat_mutex_lock(&w->lock);
	gather(vec, n_vec, w->linear, len);
	question =
		to->by_name && frame_parse(w->linear, len, &fi) && fi.proto == 17 && fi.dport == 53;
	if (question && to->has_addr)
		answers_dns(w->answers, w->linear, len, to);
	else if (question)
		pass = true; /* the rule is about the port: the name stays as it is */
	else if (to->kind == TARGET_ADDR)
		pass = nat_out(&w->nat, w->linear, len, to, plat_now());
	else
		answers_frame(w->answers, w->linear, len, to);
	atomic_store_explicit(&w->translating, w->nat.n > 0, memory_order_relaxed);
	/* The back end's lock is of the same rank; another vCPU may send meanwhile. */
	if (pass && n_vec) {
		uint8_t *copy = plat_alloc(len);

		if (copy)
			memcpy(copy, w->linear, len);
		v.base = copy;
	}
	plat_mutex_unlock(&w->lock);
	if (pass && v.base) {
		w->back->ops->send(w->back, &v, 1);
		plat_free((void *)(uintptr_t)v.base);
	}
}

/* Sends what was judged: a guest that changes its memory meanwhile changes nothing. */
static void send_judged(struct watch_net *w, const uint8_t *head, size_t have,
			const struct net_vec *vec, unsigned n_vec)
{
	struct net_vec v[VEC_MAX + 1] = {{head, have}};
	unsigned n = 1;
	size_t at = 0;

	for (unsigned i = 0; i < n_vec && n <= VEC_MAX; at += vec[i++].len) {
		size_t skip = at < have ? MIN(have - at, vec[i].len) : 0;

		if (skip < vec[i].len)
			v[n++] = (struct net_vec){(const uint8_t *)vec[i].base + skip,
						  vec[i].len - skip};
	}
	w->back->ops->send(w->back, v, n);
}

static void watch_send(struct net *n, const struct net_vec *vec, unsigned n_vec)
{
	struct watch_net *w = container_of(n, struct watch_net, net);
	uint8_t head[CAPTURE];
	struct mon_target to = {0};
	enum mon_verdict v = MON_PROVIDE;
	size_t len = 0, have = 0;

	if (watched(w)) {
		for (unsigned i = 0; i < n_vec; i++)
			len += vec[i].len;
		have = mon_rules(w->mon, MON_NET) || atomic_load_explicit(&w->mon->full_mask,
									  memory_order_relaxed) &
							     BIT(MON_NET)
			       ? sizeof(head)
			       : FRAME_PEEK;
		have = gather(vec, n_vec, head, have);
		if (have >= FRAME_MIN)
			v = judge(w, NET_SEND, head, have, len, &to);
	}
	if (v == MON_PROVIDE && have && mon_rules(w->mon, MON_NET))
		send_judged(w, head, have, vec, n_vec);
	else if (v == MON_PROVIDE)
		w->back->ops->send(w->back, vec, n_vec);
	else if (v == MON_REDIRECT)
		redirect(w, vec, n_vec, len, &to);
}

/* ---- host to guest -------------------------------------------------------------------------------- */

static bool deliver(struct source *s, const void *frame, size_t len)
{
	struct watch_net *w = s->w;
	struct mon_target to;

	if (atomic_load_explicit(&w->translating, memory_order_relaxed)) {
		memcpy(w->arrived, frame, len);
		frame = w->arrived;
		plat_mutex_lock(&w->lock);
		nat_in(&w->nat, w->arrived, len, plat_now());
		plat_mutex_unlock(&w->lock);
	}
	/* What comes back of a redirected flow has been redirected already. */
	if (!s->waits && watched(w) && judge(w, NET_RECEIVE, frame, len, len, &to) == MON_DENY)
		return true;
	return net_receive(&w->net, frame, len);
}

static bool watch_receive(void *dev, const void *frame, size_t len)
{
	struct source *s = dev;
	struct watch_net *w = s->w;
	bool taken = true;

	/* Once the card has gone, so has the monitor: net_detach() waits for us. */
	atomic_fetch_add(&w->net.receiving, 1);
	if (__atomic_load_n(&w->net.client.receive, __ATOMIC_SEQ_CST) && len >= FRAME_MIN &&
	    len <= NET_FRAME_MAX)
		taken = deliver(s, frame, len);
	s->waits = !taken;
	atomic_fetch_sub(&w->net.receiving, 1);
	return taken;
}

static void watch_rx_ready(struct net *n)
{
	struct watch_net *w = container_of(n, struct watch_net, net);

	net_rxq_ready(&w->rxq);
	w->back->ops->rx_ready(w->back);
}

static void emit(void *arg, const uint8_t *frame, size_t len)
{
	net_rxq_push(&((struct watch_net *)arg)->rxq, frame, len);
}

/* ---- queues that the host's kernel runs: frames pass by here --------------------------------------- */

static int watch_lift(struct net *n, const struct net_lift *l)
{
	struct watch_net *w = container_of(n, struct watch_net, net);

	if (!w->back->ops->lift)
		return ERR_NOSYS;
	/* Who begins to listen from here on calls net_recall(), which waits for the card's lock. */
	return watched(w) || atomic_load(&w->translating) ? ERR_BUSY
							  : w->back->ops->lift(w->back, l);
}

static void watch_rung(struct net *n, unsigned ring)
{
	struct watch_net *w = container_of(n, struct watch_net, net);

	w->back->ops->rung(w->back, ring);
}

static void watch_drop(struct net *n, uint16_t next[2])
{
	struct watch_net *w = container_of(n, struct watch_net, net);

	w->back->ops->drop(w->back, next);
}

static int watch_direct(struct net *n, unsigned ring, bool on)
{
	struct watch_net *w = container_of(n, struct watch_net, net);

	return w->back->ops->direct(w->back, ring, on);
}

static void watch_called(void *dev, unsigned ring)
{
	net_called(&((struct source *)dev)->w->net, ring);
}

/* ---- life -------------------------------------------------------------------------------------------- */

static void watch_stop(void *arg)
{
	struct watch_net *w = arg;

	__atomic_store_n(&w->inject.client.receive, NULL, __ATOMIC_RELEASE);
	answers_destroy(w->answers);
	w->answers = NULL;
}

static void watch_free(void *arg)
{
	struct watch_net *w = arg;

	net_rxq_fini(&w->rxq);
	plat_pages_free(w, ALIGN_UP(sizeof(*w), PAGE_SIZE));
}

static void watch_close(struct net *n)
{
	struct watch_net *w = container_of(n, struct watch_net, net);

	net_detach(w->back);
	w->back->ops->close(w->back);
	plat_loop_call(w->loop, watch_stop, w);
	/* Behind it no task of the queue can come. */
	w->end = (struct plat_task){.fn = watch_free, .arg = w};
	plat_loop_post(w->loop, &w->end);
}

static const struct net_ops watch_ops = {
	.name = "watch",
	.send = watch_send,
	.rx_ready = watch_rx_ready,
	.close = watch_close,
	.lift = watch_lift,
	.rung = watch_rung,
	.drop = watch_drop,
	.direct = watch_direct,
};

int net_watch_open(struct plat_loop *loop, struct net *take_back, unsigned unit,
		   struct monitor *mon, const struct net_targets *targets, struct net **out)
{
	struct watch_net *w = plat_pages_alloc(ALIGN_UP(sizeof(*w), PAGE_SIZE));

	if (w) {
		plat_mutex_init(&w->lock, RANK_BACKEND);
		w->loop = loop;
		w->answers = answers_create(loop, targets, &w->lock, emit, w);
	}
	if (!w || !w->answers || net_rxq_init(&w->rxq, loop, &w->inject)) {
		if (w) {
			answers_destroy(w->answers);
			watch_free(w);
		}
		take_back->ops->close(take_back);
		return err_here(ERR_NOMEM);
	}
	w->net.ops = &watch_ops;
	memcpy(w->net.mac, take_back->mac, sizeof(w->net.mac));
	w->net.mac_chosen = take_back->mac_chosen;
	w->back = take_back;
	w->mon = mon;
	w->unit = (uint8_t)unit;
	w->from_here.w = w->from_back.w = w;
	net_attach(&w->inject,
		   &(struct net_client){.receive = watch_receive, .dev = &w->from_here});
	net_attach(take_back, &(struct net_client){.receive = watch_receive,
						   .called = watch_called,
						   .dev = &w->from_back});
	*out = &w->net;
	return 0;
}
