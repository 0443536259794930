/* SPDX-License-Identifier: ISC */
/* net_guest.h: a card that a network back end delivers to, and a small hand-made guest behind it that speaks Ethernet, IPv4
 * and TCP. */
#ifndef TESTS_NET_GUEST_H
#define TESTS_NET_GUEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/str.h"
#include "net/backend.h"
#include "net/open.h"
#include "plat/linux/log.h"
#include "plat/linux/loop_fd.h"

#define SEED    1138
#define WAIT_NS (10 * NS_PER_SEC)

#define ETH     14
#define IP      20
#define TCP     20
#define FIN     1
#define SYN     2
#define RST     4
#define PSH     8
#define ACK     16
#define HOST_IP 0x0a000202u
#define OUR_IP  0x0a00020fu

static uint32_t rnd_state = SEED;

static inline uint32_t rnd(void)
{
	rnd_state = rnd_state * 1664525 + 1013904223;
	return rnd_state >> 8;
}

static struct plat_loop *loop;
static char err[300];

/* ---- a card: what the back end delivers, for the test's thread ---------------------------- */

#define CARD_FRAMES 512

struct card {
	pthread_mutex_t m;
	pthread_cond_t c;
	uint8_t *frame[CARD_FRAMES];
	size_t len[CARD_FRAMES];
	unsigned head, n;
	unsigned refuse_every; /* 0: never */
	unsigned offered, refused;
	bool refusing; /* until the test calls rx_ready() */
};

static inline bool card_receive(void *dev, const void *frame, size_t len)
{
	struct card *k = dev;
	bool ok = false;

	pthread_mutex_lock(&k->m);
	k->offered++;
	if (!k->refusing && k->refuse_every && k->offered % k->refuse_every == 0)
		k->refusing = true;
	if (k->refusing || k->n == CARD_FRAMES) {
		k->refused++;
		pthread_cond_signal(&k->c);
		goto out;
	}
	k->frame[(k->head + k->n) % CARD_FRAMES] = memcpy(malloc(len), frame, len);
	k->len[(k->head + k->n) % CARD_FRAMES] = len;
	k->n++;
	ok = true;
	pthread_cond_signal(&k->c);
out:
	pthread_mutex_unlock(&k->m);
	return ok;
}

/* The next frame, to be freed; NULL after ms milliseconds without one. */
static inline uint8_t *card_next(struct card *k, struct net *n, size_t *len, unsigned ms)
{
	uint8_t *frame = NULL;
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec += ms / 1000;
	ts.tv_nsec += (long)(ms % 1000) * 1000000;
	if (ts.tv_nsec >= 1000000000) {
		ts.tv_sec++;
		ts.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&k->m);
	while (!k->n) {
		if (k->refusing) {
			k->refusing = false;
			pthread_mutex_unlock(&k->m);
			n->ops->rx_ready(n);
			pthread_mutex_lock(&k->m);
			continue;
		}
		if (pthread_cond_timedwait(&k->c, &k->m, &ts))
			break;
	}
	if (k->n) {
		frame = k->frame[k->head];
		*len = k->len[k->head];
		k->head = (k->head + 1) % CARD_FRAMES;
		k->n--;
	}
	pthread_mutex_unlock(&k->m);
	return frame;
}

static inline void card_plug(struct card *k, struct net *n)
{
	const struct net_client client = {.receive = card_receive, .dev = k};

	memset(k, 0, sizeof(*k));
	pthread_mutex_init(&k->m, NULL);
	pthread_cond_init(&k->c, NULL);
	net_attach(n, &client);
}

static inline void card_empty(struct card *k)
{
	for (; k->n; k->n--, k->head = (k->head + 1) % CARD_FRAMES)
		free(k->frame[k->head]);
}

/* ---- frames ------------------------------------------------------------------------------ */

static const uint8_t our_mac[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};

struct guest {
	struct net *net;
	struct card card;
	uint8_t host_mac[6];
	uint16_t port, peer_port; /* of the one TCP connection */
	uint32_t seq, ack;
};

static inline void put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v & 0xffff);
}

static inline unsigned get16(const uint8_t *p)
{
	return (unsigned)(p[0] << 8 | p[1]);
}

static inline uint32_t get32(const uint8_t *p)
{
	return get16(p) << 16 | get16(p + 2);
}

static inline uint32_t sum(const uint8_t *p, size_t n, uint32_t s)
{
	for (; n > 1; n -= 2, p += 2)
		s += get16(p);
	return n ? s + (uint32_t)(*p << 8) : s;
}

static inline unsigned fold(uint32_t s)
{
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return ~s & 0xffff;
}

static inline void send_frame(struct guest *g, const uint8_t *f, size_t len)
{
	/* in up to three pieces, as a driver would have them */
	size_t a = rnd() % len, b = a + (len - a) / 2;
	struct net_vec vec[3] = {{f, a}, {f + a, b - a}, {f + b, len - b}};
	struct net_vec one = {f, len};

	if (rnd() % 2)
		g->net->ops->send(g->net, vec, 3);
	else
		g->net->ops->send(g->net, &one, 1);
}

static inline void send_ip(struct guest *g, uint8_t *f, uint32_t src, uint32_t dst, uint8_t proto,
			   size_t payload)
{
	uint8_t *ip = f + ETH;

	memcpy(f, g->host_mac, 6);
	memcpy(f + 6, our_mac, 6);
	put16(f + 12, 0x0800);
	memset(ip, 0, IP);
	ip[0] = 0x45;
	put16(ip + 2, (unsigned)(IP + payload));
	ip[8] = 64;
	ip[9] = proto;
	put32(ip + 12, src);
	put32(ip + 16, dst);
	put16(ip + 10, fold(sum(ip, IP, 0)));
	send_frame(g, f, ETH + IP + payload);
}

static inline void send_tcp(struct guest *g, uint8_t flags, const void *data, size_t len)
{
	uint8_t f[2000] = {0}, *t = f + ETH + IP;
	uint32_t s;

	put16(t, g->port);
	put16(t + 2, g->peer_port);
	put32(t + 4, g->seq);
	put32(t + 8, flags & ACK ? g->ack : 0);
	t[12] = 5 << 4;
	t[13] = flags;
	put16(t + 14, 60000);
	if (len)
		memcpy(t + TCP, data, len);
	s = sum(t, TCP + len,
		(OUR_IP >> 16) + (OUR_IP & 0xffff) + (HOST_IP >> 16) + (HOST_IP & 0xffff) + 6 +
			(uint32_t)(TCP + len));
	put16(t + 16, fold(s));
	g->seq += (uint32_t)len + (flags & (SYN | FIN) ? 1 : 0);
	send_ip(g, f, OUR_IP, HOST_IP, 6, TCP + len);
}

/* ARP is answered on the way. Next TCP segment of our connection (or any, with port 0); NULL: none. */
static inline uint8_t *next_tcp(struct guest *g, size_t *len, unsigned ms)
{
	for (;;) {
		uint8_t *f = card_next(&g->card, g->net, len, ms);

		if (!f)
			return NULL;
		if (get16(f + 12) == 0x0806 && get16(f + 20) == 1 && get32(f + 38) == OUR_IP) {
			uint8_t r[42];

			memcpy(r, f, 42);
			memcpy(r, f + 6, 6);
			memcpy(r + 6, our_mac, 6);
			put16(r + 20, 2);
			memcpy(r + 22, our_mac, 6);
			put32(r + 28, OUR_IP);
			memcpy(r + 32, f + 22, 10);
			send_frame(g, r, 42);
		} else if (get16(f + 12) == 0x0800 && f[ETH + 9] == 6 &&
			   (!g->port || get16(f + ETH + IP + 2) == g->port)) {
			return f;
		}
		free(f);
	}
}

/* One step of the connection: takes what has come in order, acknowledges. Bytes of data, -1: the
 * other side has closed (or nothing came for ms). */
static inline int take_segment(struct guest *g, uint8_t *data, uint32_t *acked, unsigned ms)
{
	size_t len;
	uint8_t *f = next_tcp(g, &len, ms), *t, flags;
	size_t head, n;

	if (!f)
		return -1;
	t = f + ETH + IP;
	head = (size_t)(t[12] >> 4) * 4;
	n = get16(f + ETH + 2) - IP - head;
	flags = t[13];
	assert_int_equal(fold(sum(f + ETH, IP, 0)), 0);
	assert_false(flags & RST);
	*acked = get32(t + 8);
	if (get32(t + 4) != g->ack)
		n = 0; /* again, or too early: say what we wait for */
	else
		g->ack += (uint32_t)n + (flags & FIN ? 1 : 0);
	memcpy(data, t + head, n);
	if (n || flags & FIN)
		send_tcp(g, ACK, NULL, 0);
	free(f);
	return flags & FIN && !n ? -1 : (int)n;
}

static inline void guest_open(struct guest *g, const char *spec)
{
	memset(g, 0, sizeof(*g));
	assert_int_equal(net_open(loop, spec, &g->net, err, sizeof(err)), 0);
	card_plug(&g->card, g->net);
	memset(g->host_mac, 0xff, 6);
}

static inline void guest_close(struct guest *g)
{
	net_close(g->net);
	card_empty(&g->card);
}

static inline void arp_host(struct guest *g)
{
	uint8_t f[42], *r;
	size_t len;

	memset(f, 0xff, 6);
	memcpy(f + 6, our_mac, 6);
	memcpy(f + 12, "\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01", 10);
	memcpy(f + 22, our_mac, 6);
	put32(f + 28, OUR_IP);
	memset(f + 32, 0, 6);
	put32(f + 38, HOST_IP);
	send_frame(g, f, 42);
	while ((r = card_next(&g->card, g->net, &len, 2000))) {
		bool reply = get16(r + 12) == 0x0806 && get16(r + 20) == 2;

		if (reply)
			memcpy(g->host_mac, r + 22, 6);
		free(r);
		if (reply)
			return;
	}
	fail_msg("no ARP reply");
}

static inline int setup(void **state)
{
	plat_log_set_level(LOG_WARN);
	return plat_loop_create(&loop);
}

static inline int teardown(void **state)
{
	plat_loop_destroy(loop);
	return 0;
}

#endif
