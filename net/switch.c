/* SPDX-License-Identifier: ISC */
/* switch.c: forwards frames by destination (IEEE 802.1D, 7.7 to 7.9): to the port where the address is, to
 * all others when nobody knows. Runs on the sender's thread: the frame goes straight into the receivers'
 * buffers, which are the only queues, and a receiver without room loses it. So a sender pays for all that
 * its frames cost, and waits for nobody.
 *
 * Each frame is copied once before it is looked at: its sender could change it between the look and the
 * delivery. Addresses that cards have by configuration are theirs: no other port is believed to have them,
 * and frames that claim it are refused. Others are learnt, a bounded number for each port, and never at
 * the cost of what another port has.
 *
 * s->lock guards the learnt addresses and is not held while a receiver is called. */
#include "net/switch.h"

#include "base/str.h"

#define WAYS      4u
#define BUCKETS   64u
#define PORT_MAX  32u /* addresses that one port may have learnt */
#define AGE       (300 * NS_PER_SEC)
#define HEADER    14u
#define FRAME_MAX (12 * KIB)               /* a jumbo frame, and whole pages */
#define GROUP     BIT64(40)                /* of an address that many listen to */
#define RESERVED  UINT64_C(0x0180c2000000) /* to ..0f: for the switch itself, not forwarded */
#define NO_MAC    UINT64_MAX

struct port {
	struct net net;
	struct net_switch *in;
	struct port *next;
	uint64_t mac;              /* NO_MAC: an uplink */
	uint8_t *frame;            /* FRAME_MAX bytes; by who sends, one at a time */
	unsigned learnt;           /* under the switch's lock */
	net_switch_passes *passes; /* NULL: all */
	void *arg;
	_Atomic uint64_t sent, received, lost, refused;
};

struct learnt {
	uint64_t mac;
	struct port *port; /* NULL: free */
	uint64_t seen;
};

struct net_switch {
	char name[16];
	struct port *first;
	struct plat_mutex lock; /* RANK_BACKEND: learnt addresses */
	struct learnt learnt[BUCKETS][WAYS];
};

static uint64_t mac_at(const uint8_t *p)
{
	uint64_t mac = 0;

	for (unsigned i = 0; i < 6; i++)
		mac = mac << 8 | p[i];
	return mac;
}

static struct learnt *bucket(struct net_switch *s, uint64_t mac)
{
	return s->learnt[(mac * UINT64_C(0x9e3779b97f4a7c15)) >> 58];
}
_Static_assert(BUCKETS == 1 << (64 - 58), "bucket()");

static struct port *owner(const struct net_switch *s, uint64_t mac)
{
	struct port *p = s->first;

	while (p && p->mac != mac)
		p = p->next;
	return p;
}

static void forget(struct learnt *e)
{
	e->port->learnt--;
	e->port = NULL;
}

/* Lock held. */
static void learn(struct port *p, uint64_t mac)
{
	struct learnt *b = bucket(p->in, mac), *room = NULL;
	uint64_t now = plat_now();

	for (unsigned i = 0; i < WAYS; i++) {
		if (b[i].port && b[i].mac != mac && now - b[i].seen > AGE)
			forget(&b[i]);
		if (b[i].port && b[i].mac == mac) {
			room = &b[i];
			break;
		}
		if (!b[i].port && !room)
			room = &b[i];
	}
	if (!room || (room->port != p && p->learnt == PORT_MAX))
		return;
	if (room->port && room->port != p)
		forget(room); /* it has moved */
	p->learnt += !room->port;
	*room = (struct learnt){mac, p, now};
}

/* The port where mac is; NULL: not known. Lock held. */
static struct port *find(struct net_switch *s, uint64_t mac)
{
	const struct learnt *b = bucket(s, mac);
	struct port *p = owner(s, mac);
	uint64_t now = plat_now();

	for (unsigned i = 0; i < WAYS && !p; i++)
		if (b[i].mac == mac && now - b[i].seen <= AGE)
			p = b[i].port;
	return p;
}

static void hand_over(struct port *to, const void *frame, size_t len)
{
	if (net_receive(&to->net, frame, len))
		atomic_fetch_add_explicit(&to->received, 1, memory_order_relaxed);
	else
		atomic_fetch_add_explicit(&to->lost, 1, memory_order_relaxed);
}

/* The frame is the sending port's: others are still to have it as it was. */
static void deliver(struct port *to, uint8_t *frame, size_t len)
{
	uint8_t head[NET_SWITCH_HEAD];
	size_t n = MIN(len, sizeof(head)), new;

	if (!to->passes) {
		hand_over(to, frame, len);
		return;
	}
	memcpy(head, frame, n);
	new = to->passes(to->arg, false, frame, len);
	if (new)
		hand_over(to, frame, new);
	memcpy(frame, head, n);
}

static void forward(struct port *from, uint8_t *frame, size_t len)
{
	uint64_t dst, src = mac_at(frame + 6);
	struct net_switch *s = from->in;
	struct port *to = NULL, *has;

	has = src == from->mac ? NULL : owner(s, src);
	if (src & GROUP || (has && has != from))
		len = 0;
	else if (from->passes)
		len = from->passes(from->arg, true, frame, len);
	if (!len) {
		atomic_fetch_add_explicit(&from->refused, 1, memory_order_relaxed);
		return;
	}
	dst = mac_at(frame);
	atomic_fetch_add_explicit(&from->sent, 1, memory_order_relaxed);
	if ((dst & ~UINT64_C(15)) == RESERVED)
		return;
	plat_mutex_lock(&s->lock);
	if (src != from->mac)
		learn(from, src);
	if (!(dst & GROUP))
		to = find(s, dst);
	plat_mutex_unlock(&s->lock);
	if (to == from)
		return;
	if (to)
		deliver(to, frame, len);
	for (struct port *p = to ? NULL : s->first; p; p = p->next)
		if (p != from)
			deliver(p, frame, len);
}

static void port_send(struct net *n, const struct net_vec *vec, unsigned n_vec)
{
	struct port *p = container_of(n, struct port, net);
	size_t len = 0;

	for (unsigned i = 0; i < n_vec && len <= FRAME_MAX; i++) {
		if (vec[i].len <= FRAME_MAX - len)
			memcpy(p->frame + len, vec[i].base, vec[i].len);
		len += vec[i].len;
	}
	if (len >= HEADER && len <= FRAME_MAX)
		forward(p, p->frame, len);
	else
		atomic_fetch_add_explicit(&p->refused, 1, memory_order_relaxed);
}

/* What it refused is lost. */
static void port_ready(struct net *n)
{
}

static void port_close(struct net *n)
{
	struct port *p = container_of(n, struct port, net);
	struct learnt *e = p->in->learnt[0];

	net_detach(n);
	plat_mutex_lock(&p->in->lock);
	for (unsigned i = 0; i < BUCKETS * WAYS; i++)
		if (e[i].port == p)
			forget(&e[i]);
	plat_mutex_unlock(&p->in->lock);
}

static const struct net_ops port_ops = {
	.name = "switch",
	.send = port_send,
	.rx_ready = port_ready,
	.close = port_close,
};

int net_switch_port(struct net_switch *s, const uint8_t *mac, struct net **out)
{
	struct port *p = plat_alloc(sizeof(*p)), **last = &s->first;

	if (p)
		p->frame = plat_pages_alloc(FRAME_MAX);
	if (!p || !p->frame) {
		plat_free(p);
		return err_here(ERR_NOMEM);
	}
	p->net.ops = &port_ops;
	p->in = s;
	p->mac = mac ? mac_at(mac) : NO_MAC;
	if (mac)
		memcpy(p->net.mac, mac, 6);
	while (*last)
		last = &(*last)->next;
	*last = p;
	*out = &p->net;
	return 0;
}

void net_switch_filter(struct net *port, net_switch_passes *passes, void *arg)
{
	struct port *p = container_of(port, struct port, net);

	p->passes = passes;
	p->arg = arg;
}

void net_switch_stats(const struct net *port, struct net_switch_stats *out)
{
	const struct port *p = container_of(port, const struct port, net);

	*out = (struct net_switch_stats){
		.sent = atomic_load_explicit(&p->sent, memory_order_relaxed),
		.received = atomic_load_explicit(&p->received, memory_order_relaxed),
		.lost = atomic_load_explicit(&p->lost, memory_order_relaxed),
		.refused = atomic_load_explicit(&p->refused, memory_order_relaxed),
	};
}

int net_switch_create(const char *name, struct net_switch **out)
{
	struct net_switch *s = plat_alloc(sizeof(*s));

	if (!s)
		return err_here(ERR_NOMEM);
	str_copy(s->name, sizeof(s->name), name);
	plat_mutex_init(&s->lock, RANK_BACKEND);
	*out = s;
	return 0;
}

void net_switch_destroy(struct net_switch *s)
{
	while (s->first) {
		struct port *p = s->first;

		s->first = p->next;
		plat_pages_free(p->frame, FRAME_MAX);
		plat_free(p);
	}
	plat_free(s);
}

const char *net_switch_name(const struct net_switch *s)
{
	return s->name;
}
