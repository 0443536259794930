/* SPDX-License-Identifier: ISC */
/* answer.c: the smallest TCP that is one (RFC 9293): passive open, in-order data, retransmission from
 * what is not acknowledged, no options but MSS. Between it and the guest lies a queue, not a network:
 * frames come in order, and are lost only when the guest takes none.
 *
 *	guest: SYN			here: SYN ACK, and the program is started
 *	guest: "GET / …"		here: written to the program; ACK
 *	program: "HTTP/1.1 200 …"	here: segments as the guest's window permits
 *	program ends			here: FIN once all is acknowledged or sent
 *
 * Frames enter on vCPUs' threads, programs' output and the timer on the loop's; one lock. A flow is
 * freed on the loop's thread only, where its descriptor's callback cannot run meanwhile. */
#include "net/answer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "monitor/frame.h"
#include "net/ip4.h"
#include "plat/linux/loop_fd.h"

#define FLOWS_MAX 64
#define BUFFER    (32 * 1024)
#define WINDOW    32768
#define MSS_MAX   1460
#define UDP_MAX   1472
#define TICK_NS   (NS_PER_SEC / 10)
#define RESEND_NS NS_PER_SEC
#define SILENT_NS (NS_PER_SEC / 2) /* a guest that says nothing may wait for a greeting */
#define IDLE_NS   (600 * NS_PER_SEC)
#define DNS_TTL   60

enum { FIN = 0x01, SYN = 0x02, RST = 0x04, PSH = 0x08, ACK = 0x10 };

struct aflow {
	struct aflow *next;
	struct answers *a;
	uint8_t mac[12]; /* the guest's, and the one it sends to */
	uint8_t guest[4], other[4];
	uint16_t gport, oport, mss;
	uint8_t kind, slot;
	bool dead, asked, end, fin_sent, guest_fin;
	uint32_t rcv_nxt, snd_una, snd_nxt, window;
	uint64_t begun, last, progress;
	size_t pos;    /* of the answer, that is in the buffer or was */
	size_t filled; /* bytes from snd_una on */
	int fd;        /* of the program; -1: none */
	struct plat_fd watch;
	uint8_t buf[BUFFER];
};

struct answers {
	struct plat_loop *loop;
	const struct net_targets *targets;
	struct plat_mutex *lock; /* of all that follows */
	void (*emit)(void *arg, const uint8_t *frame, size_t len);
	void *arg;
	struct aflow *flows;
	unsigned n;
	bool ticking;
	uint16_t ip_id;
	struct plat_timer timer;
};

/* ---- frames ------------------------------------------------------------------------------------- */

static void ip_header(struct answers *a, uint8_t *frame, const uint8_t mac[12], uint8_t proto,
		      const uint8_t from[4], const uint8_t to[4], size_t l4_len)
{
	uint8_t *ip = frame + ETH_HEADER;

	memcpy(frame, mac, 12);
	be16_to(frame + 12, 0x0800);
	memset(ip, 0, IP4_HEADER);
	ip[0] = 0x45;
	be16_to(ip + 2, (uint32_t)(IP4_HEADER + l4_len));
	be16_to(ip + 4, a->ip_id++);
	be16_to(ip + 6, 0x4000); /* do not fragment */
	ip[8] = 64;
	ip[9] = proto;
	memcpy(ip + 12, from, 4);
	memcpy(ip + 16, to, 4);
	be16_to(ip + 10, ip4_fold(ip4_sum(ip, IP4_HEADER, 0)));
}

/* With the pseudo header before it. */
static uint16_t l4_checksum(const uint8_t *ip, size_t l4_len)
{
	uint32_t sum = ip4_sum(ip + 12, 8, ip[9] + (uint32_t)l4_len);

	return ip4_fold(ip4_sum(ip + IP4_HEADER, l4_len, sum));
}

static void segment(struct aflow *f, uint8_t flags, uint32_t seq, const uint8_t *data, size_t len)
{
	uint8_t frame[ETH_HEADER + IP4_HEADER + 24 + MSS_MAX];
	uint8_t *tcp = frame + ETH_HEADER + IP4_HEADER;
	size_t header = flags & SYN ? 24 : 20;

	memset(tcp, 0, 24);
	be16_to(tcp, f->oport);
	be16_to(tcp + 2, f->gport);
	be32_to(tcp + 4, seq);
	be32_to(tcp + 8, flags & ACK ? f->rcv_nxt : 0);
	tcp[12] = (uint8_t)(header / 4 << 4);
	tcp[13] = flags;
	be16_to(tcp + 14, WINDOW);
	if (flags & SYN) {
		tcp[20] = 2;
		tcp[21] = 4;
		be16_to(tcp + 22, MSS_MAX);
	}
	if (len)
		memcpy(tcp + header, data, len);
	ip_header(f->a, frame, f->mac, 6, f->other, f->guest, header + len);
	be16_to(tcp + 16, l4_checksum(frame + ETH_HEADER, header + len));
	f->a->emit(f->a->arg, frame, ETH_HEADER + IP4_HEADER + header + len);
}

static void send_udp(struct answers *a, const uint8_t mac[12], const struct ip4 *p,
		     const uint8_t *data, size_t len)
{
	uint8_t frame[ETH_HEADER + IP4_HEADER + 8 + UDP_MAX];
	uint8_t *udp = frame + ETH_HEADER + IP4_HEADER;
	uint16_t sum;

	len = MIN(len, (size_t)UDP_MAX);
	memcpy(udp, p->l4 + 2, 2);
	memcpy(udp + 2, p->l4, 2);
	be16_to(udp + 4, (uint32_t)(8 + len));
	be16_to(udp + 6, 0);
	memcpy(udp + 8, data, len);
	ip_header(a, frame, mac, 17, p->ip + 16, p->ip + 12, 8 + len);
	sum = l4_checksum(frame + ETH_HEADER, 8 + len);
	be16_to(udp + 6, sum ? sum : 0xffff);
	a->emit(a->arg, frame, ETH_HEADER + IP4_HEADER + 8 + len);
}

static void answer_macs(const uint8_t *frame, uint8_t mac[12])
{
	memcpy(mac, frame + 6, 6);
	memcpy(mac + 6, frame, 6);
}

/* ---- flows: what they send ----------------------------------------------------------------------- */

/* Moves the source's bytes into the buffer. */
static void fill(struct aflow *f)
{
	size_t room = BUFFER - f->filled;

	if (f->kind == TARGET_ANSWER && f->asked) {
		size_t n = MIN(room, f->a->targets->answer[f->slot].len - f->pos);

		memcpy(f->buf + f->filled, f->a->targets->answer[f->slot].data + f->pos, n);
		f->pos += n;
		f->filled += n;
		f->end = f->pos == f->a->targets->answer[f->slot].len;
	}
	while (f->kind == TARGET_PROGRAM && room && !f->end && f->fd >= 0) {
		ssize_t n = read(f->fd, f->buf + f->filled, room);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n <= 0)
			f->end = true;
		else
			f->filled += (size_t)n;
		room = BUFFER - f->filled;
	}
	if (f->watch.loop)
		plat_fd_modify(&f->watch, f->end || !room ? 0 : EPOLLIN);
}

/* Sends what the window permits; false: nothing. */
static bool pump(struct aflow *f)
{
	uint32_t flight = f->snd_nxt - f->snd_una, most = MIN(f->window, (uint32_t)BUFFER);
	bool any = false;

	fill(f);
	while (!f->fin_sent && flight < f->filled && flight < most) {
		size_t n = MIN(MIN((size_t)f->mss, f->filled - flight), (size_t)(most - flight));

		segment(f, PSH | ACK, f->snd_nxt, f->buf + flight, n);
		f->snd_nxt += (uint32_t)n;
		flight += (uint32_t)n;
		any = true;
	}
	if (f->end && !f->fin_sent && flight == f->filled) {
		segment(f, FIN | ACK, f->snd_nxt, NULL, 0);
		f->snd_nxt++;
		f->fin_sent = true;
		any = true;
	}
	return any;
}

static void acknowledged(struct aflow *f, uint32_t ack)
{
	uint32_t n = ack - f->snd_una;
	size_t data = MIN((size_t)n, f->filled);

	if (!n || n > f->snd_nxt - f->snd_una)
		return;
	memmove(f->buf, f->buf + data, f->filled - data);
	f->filled -= data;
	f->snd_una = ack;
	f->progress = plat_now();
	if (f->fin_sent && ack == f->snd_nxt && f->guest_fin)
		f->dead = true;
}

/* ---- flows: what they get ------------------------------------------------------------------------- */

/* Gives how much of it was taken. */
static size_t take(struct aflow *f, const uint8_t *data, size_t len)
{
	ssize_t n;

	f->asked = true;
	if (f->kind == TARGET_ANSWER || f->fd < 0)
		return len;
	n = send(f->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0 && errno != EAGAIN)
		return len; /* the program hears no more */
	return n < 0 ? 0 : (size_t)n;
}

static void on_program(void *arg, uint32_t events)
{
	struct aflow *f = arg;

	plat_mutex_lock(f->a->lock);
	if (!f->dead)
		pump(f);
	plat_mutex_unlock(f->a->lock);
}

static void free_flow(struct aflow *f)
{
	plat_fd_remove(&f->watch);
	if (f->fd >= 0)
		close(f->fd);
	free(f);
}

static void on_timer(void *arg)
{
	struct answers *a = arg;
	struct aflow **at = &a->flows, *f;
	uint64_t now = plat_now();
	bool more;

	plat_mutex_lock(a->lock);
	while ((f = *at)) {
		if (f->dead || now - f->last > IDLE_NS) {
			*at = f->next;
			a->n--;
			free_flow(f);
			continue;
		}
		if (!f->asked && now - f->begun > SILENT_NS)
			f->asked = true;
		if (f->snd_nxt != f->snd_una && now - f->progress > RESEND_NS) {
			f->progress = now;
			f->snd_nxt = f->snd_una;
			f->fin_sent = false;
		}
		pump(f);
		at = &f->next;
	}
	more = a->ticking = a->flows;
	plat_mutex_unlock(a->lock);
	if (more)
		plat_timer_arm(&a->timer, now + TICK_NS);
}

static uint16_t mss_of(const uint8_t *tcp, size_t header)
{
	for (size_t i = 20; i + 1 < header && tcp[i];) {
		if (tcp[i] == 1) {
			i++;
			continue;
		}
		if (tcp[i] == 2 && tcp[i + 1] == 4 && i + 4 <= header)
			return (uint16_t)MIN(MAX(be16_at(tcp + i + 2), (uint16_t)88),
					     (uint16_t)MSS_MAX);
		if (tcp[i + 1] < 2)
			break;
		i += tcp[i + 1];
	}
	return 536;
}

static bool flow_open(struct answers *a, struct aflow *f)
{
	f->fd = -1;
	if (f->slot >= NET_TARGETS)
		return false;
	if (f->kind == TARGET_ANSWER)
		return a->targets->answer[f->slot].data;
	f->fd = a->targets->program ? a->targets->program(a->targets->arg, f->slot) : -1;
	return f->fd >= 0 && !plat_fd_add(&f->watch, a->loop, f->fd, EPOLLIN, on_program, f);
}

static void opened(struct answers *a, struct aflow *f, const struct ip4 *p)
{
	uint32_t isn;

	plat_random(&isn, sizeof(isn));
	f->rcv_nxt = be32_at(p->l4 + 4) + 1;
	f->mss = mss_of(p->l4, MIN((size_t)(p->l4[12] >> 4) * 4, p->l4_len));
	f->begun = f->progress = plat_now();
	f->snd_una = f->snd_nxt = isn + 1;
	if (a->n >= FLOWS_MAX || !flow_open(a, f)) {
		f->dead = true;
		segment(f, RST | ACK, 0, NULL, 0);
	} else {
		segment(f, SYN | ACK, isn, NULL, 0);
	}
	f->next = a->flows;
	a->flows = f;
	a->n++;
	if (!a->ticking)
		plat_timer_arm(&a->timer, plat_now() + TICK_NS);
	a->ticking = true;
}

static struct aflow *find(struct answers *a, const struct ip4 *p)
{
	for (struct aflow *f = a->flows; f; f = f->next)
		if (!f->dead && f->gport == be16_at(p->l4) && f->oport == be16_at(p->l4 + 2) &&
		    !memcmp(f->guest, p->ip + 12, 4) && !memcmp(f->other, p->ip + 16, 4))
			return f;
	return NULL;
}

static void tcp_begin(struct answers *a, const uint8_t *frame, const struct ip4 *p,
		      const struct mon_target *to)
{
	struct aflow *f = calloc(1, sizeof(*f));

	if (!f)
		return;
	f->a = a;
	f->fd = -1;
	f->kind = to->kind;
	f->slot = to->slot;
	answer_macs(frame, f->mac);
	memcpy(f->guest, p->ip + 12, 4);
	memcpy(f->other, p->ip + 16, 4);
	f->gport = be16_at(p->l4);
	f->oport = be16_at(p->l4 + 2);
	f->last = plat_now();
	if ((p->l4[13] & (SYN | ACK | RST)) == SYN) {
		opened(a, f, p);
		return;
	}
	/* of a flow that is over */
	if (!(p->l4[13] & RST))
		segment(f, RST, be32_at(p->l4 + 8), NULL, 0);
	free(f);
}

static void tcp_frame(struct answers *a, const uint8_t *frame, const struct ip4 *p,
		      const struct mon_target *to)
{
	struct aflow *f = find(a, p);
	size_t header = (size_t)(p->l4[12] >> 4) * 4, len;
	uint8_t flags = p->l4[13];
	uint32_t seq = be32_at(p->l4 + 4), skip;

	if (header < 20 || header > p->l4_len)
		return;
	if (!f) {
		tcp_begin(a, frame, p, to);
		return;
	}
	f->last = plat_now();
	len = p->l4_len - header;
	f->dead = flags & RST;
	if (f->dead)
		return;
	if (flags & SYN) { /* our answer was lost */
		segment(f, SYN | ACK, f->snd_una - 1, NULL, 0);
		return;
	}
	f->window = be16_at(p->l4 + 14);
	if (flags & ACK)
		acknowledged(f, be32_at(p->l4 + 8));
	skip = f->rcv_nxt - seq;
	if (skip < len)
		f->rcv_nxt += (uint32_t)take(f, p->l4 + header + skip, len - skip);
	if (flags & FIN && !f->guest_fin && seq + (uint32_t)len == f->rcv_nxt) {
		f->rcv_nxt++;
		f->guest_fin = f->asked = true;
		if (f->fd >= 0)
			shutdown(f->fd, SHUT_WR);
		f->dead = f->fin_sent && f->snd_una == f->snd_nxt;
	}
	if ((!pump(f) && len) || flags & FIN)
		segment(f, ACK, f->snd_nxt, NULL, 0);
}

void answers_frame(struct answers *a, uint8_t *frame, size_t len, const struct mon_target *to)
{
	uint8_t mac[12];
	struct ip4 p;

	if (!ip4_find(frame, len, &p) || p.fragment)
		return;
	if (p.proto == 6) {
		tcp_frame(a, frame, &p, to);
	} else if (to->kind == TARGET_ANSWER && to->slot < NET_TARGETS &&
		   a->targets->answer[to->slot].data) {
		answer_macs(frame, mac);
		send_udp(a, mac, &p, a->targets->answer[to->slot].data,
			 a->targets->answer[to->slot].len);
	}
}

/* ---- names (RFC 1035) ------------------------------------------------------------------------------- */

bool answers_dns(struct answers *a, uint8_t *frame, size_t len, const struct mon_target *to)
{
	static const uint8_t head[12] = {0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, DNS_TTL, 0, 4};
	uint8_t msg[UDP_MAX], mac[12];
	size_t n, off = 12;
	uint16_t type;
	struct ip4 p;

	if (!ip4_find(frame, len, &p) || p.fragment || p.proto != 17 || be16_at(p.l4 + 2) != 53)
		return false;
	n = p.l4_len - 8;
	if (n > 512 || n < 12 || p.l4[10] & 0x80 || be16_at(p.l4 + 12) != 1)
		return false;
	memcpy(msg, p.l4 + 8, n);
	while (off < n && msg[off] && msg[off] < 64)
		off += 1u + msg[off];
	if (off + 5 > n || msg[off])
		return false;
	type = be16_at(msg + off + 1);
	off += 5;
	msg[2] = (uint8_t)(0x80 | (msg[2] & 1));
	msg[3] = 0x80;
	memset(msg + 6, 0, 6);
	if (type == 1) {
		msg[7] = 1;
		memcpy(msg + off, head, sizeof(head));
		memcpy(msg + off + sizeof(head), to->v4, 4);
		off += sizeof(head) + 4;
	}
	answer_macs(frame, mac);
	send_udp(a, mac, &p, msg, off);
	return true;
}

/* ---- life ---------------------------------------------------------------------------------------------- */

struct answers *answers_create(struct plat_loop *loop, const struct net_targets *targets,
			       struct plat_mutex *lock,
			       void (*emit)(void *arg, const uint8_t *frame, size_t len), void *arg)
{
	struct answers *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	*a = (struct answers){
		.loop = loop, .targets = targets, .lock = lock, .emit = emit, .arg = arg};
	plat_timer_init(&a->timer, loop, on_timer, a);
	return a;
}

void answers_destroy(struct answers *a)
{
	struct aflow *f;

	if (!a)
		return;
	plat_timer_cancel(&a->timer);
	while ((f = a->flows)) {
		a->flows = f->next;
		free_flow(f);
	}
	free(a);
}
