/* SPDX-License-Identifier: ISC */
/* test_net.c: the user network seen by a small hand-made guest: DHCP, ARP, TCP to a server on the
 * host through 10.0.2.2 (both directions, with a card that refuses frames now and then), a port
 * forward into the guest, garbage; the queue to the card; what net_open() says of bad descriptions. */
#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/str.h"
#include "net/backend.h"
#include "net/ipfrag.h"
#include "net/open.h"
#include "net/rxq.h"
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

static uint32_t rnd(void)
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

static bool card_receive(void *dev, const void *frame, size_t len)
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
static uint8_t *card_next(struct card *k, struct net *n, size_t *len, unsigned ms)
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

static void card_plug(struct card *k, struct net *n)
{
	const struct net_client client = {.receive = card_receive, .dev = k};

	memset(k, 0, sizeof(*k));
	pthread_mutex_init(&k->m, NULL);
	pthread_cond_init(&k->c, NULL);
	net_attach(n, &client);
}

static void card_empty(struct card *k)
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

static void put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v & 0xffff);
}

static unsigned get16(const uint8_t *p)
{
	return (unsigned)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
	return get16(p) << 16 | get16(p + 2);
}

static uint32_t sum(const uint8_t *p, size_t n, uint32_t s)
{
	for (; n > 1; n -= 2, p += 2)
		s += get16(p);
	return n ? s + (uint32_t)(*p << 8) : s;
}

static unsigned fold(uint32_t s)
{
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return ~s & 0xffff;
}

static void send_frame(struct guest *g, const uint8_t *f, size_t len)
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

static void send_ip(struct guest *g, uint8_t *f, uint32_t src, uint32_t dst, uint8_t proto,
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

static void send_tcp(struct guest *g, uint8_t flags, const void *data, size_t len)
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
static uint8_t *next_tcp(struct guest *g, size_t *len, unsigned ms)
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
static int take_segment(struct guest *g, uint8_t *data, uint32_t *acked, unsigned ms)
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

static void guest_open(struct guest *g, const char *spec)
{
	memset(g, 0, sizeof(*g));
	assert_int_equal(net_open(loop, spec, &g->net, err, sizeof(err)), 0);
	card_plug(&g->card, g->net);
	memset(g->host_mac, 0xff, 6);
}

static void guest_close(struct guest *g)
{
	net_close(g->net);
	card_empty(&g->card);
}

/* ---- DHCP and ARP ------------------------------------------------------------------------ */

static void dhcp_discover(struct guest *g)
{
	uint8_t f[ETH + IP + 8 + 300] = {0}, *udp = f + ETH + IP, *bootp = udp + 8;

	put16(udp, 68);
	put16(udp + 2, 67);
	put16(udp + 4, 8 + 300);
	bootp[0] = 1; /* request, Ethernet */
	bootp[1] = 1;
	bootp[2] = 6;
	put32(bootp + 4, 0x12345678);
	memcpy(bootp + 28, our_mac, 6);
	put32(bootp + 236, 0x63825363);
	memcpy(bootp + 240, "\x35\x01\x01\xff", 4); /* discover */
	send_ip(g, f, 0, 0xffffffff, 17, 8 + 300);
}

static void arp_host(struct guest *g)
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

static void test_dhcp(void **state)
{
	struct guest g;
	uint8_t *f;
	size_t len;

	guest_open(&g, "user");
	assert_memory_equal(g.net->mac, our_mac, 6);
	dhcp_discover(&g);
	while ((f = card_next(&g.card, g.net, &len, 2000))) {
		uint8_t *udp = f + ETH + IP;
		bool ours = get16(f + 12) == 0x0800 && f[ETH + 9] == 17 && get16(udp + 2) == 68;

		if (ours) {
			assert_int_equal(get32(udp + 8 + 4), 0x12345678);
			assert_int_equal(get32(udp + 8 + 16), OUR_IP); /* yours */
			assert_int_equal(get32(udp + 8 + 236), 0x63825363);
			free(f);
			break;
		}
		free(f);
	}
	assert_non_null(f);
	arp_host(&g);
	assert_int_equal(g.host_mac[0] & 1, 0);
	guest_close(&g);
}

/* ---- TCP --------------------------------------------------------------------------------- */

#define DOWN_BYTES 3000000
#define UP_BYTES   1000000

struct server {
	int fd;
	uint16_t port;
	uint32_t up_sum, up_bytes;
};

static uint8_t pattern(uint32_t i)
{
	return (uint8_t)(i * 131 + (i >> 8) * 7);
}

/* Sends DOWN_BYTES, then reads until the end. */
static void *serve(void *arg)
{
	struct server *sv = arg;
	int c = accept(sv->fd, NULL, NULL);
	uint8_t buf[16384];
	ssize_t n;

	for (uint32_t at = 0; at < DOWN_BYTES; at += (uint32_t)n) {
		size_t want = MIN(sizeof(buf), (size_t)(DOWN_BYTES - at));

		for (size_t i = 0; i < want; i++)
			buf[i] = pattern(at + (uint32_t)i);
		n = send(c, buf, want, MSG_NOSIGNAL);
		if (n <= 0)
			break;
	}
	while ((n = recv(c, buf, sizeof(buf), 0)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			sv->up_sum += (uint32_t)(buf[i] != pattern(sv->up_bytes + (uint32_t)i));
		sv->up_bytes += (uint32_t)n;
	}
	close(c);
	return NULL;
}

static int listen_any(uint16_t *port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 4), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	*port = ntohs(a.sin_port);
	return fd;
}

static void tcp_connect(struct guest *g, uint16_t to)
{
	uint8_t *f;
	size_t len;

	g->port = 40000;
	g->peer_port = to;
	g->seq = 1000;
	send_tcp(g, SYN, NULL, 0);
	f = next_tcp(g, &len, 5000);
	assert_non_null(f);
	assert_int_equal(f[ETH + IP + 13] & (SYN | ACK | RST), SYN | ACK);
	assert_int_equal(get32(f + ETH + IP + 8), g->seq);
	g->ack = get32(f + ETH + IP + 4) + 1;
	free(f);
	send_tcp(g, ACK, NULL, 0);
}

static uint32_t tcp_download(struct guest *g)
{
	uint32_t at = 0, acked;
	uint8_t data[2000];

	while (at < DOWN_BYTES) {
		int n = take_segment(g, data, &acked, 5000);

		if (n < 0)
			break;
		for (int i = 0; i < n; i++)
			assert_int_equal(data[i], pattern(at + (uint32_t)i));
		at += (uint32_t)n;
	}
	return at;
}

/* A window of 16 segments; what is lost on the way is not repeated, nothing should be. */
static void tcp_upload(struct guest *g)
{
	uint32_t first = g->seq, acked = first;
	uint8_t data[2000];

	for (uint32_t at = 0; at < UP_BYTES;) {
		uint32_t n = MIN(1400u, UP_BYTES - at);

		while (g->seq - acked > 16 * 1400) {
			uint32_t a;

			assert_true(take_segment(g, data, &a, 5000) >= 0);
			acked = a - first > acked - first ? a : acked;
		}
		for (uint32_t i = 0; i < n; i++)
			data[i] = pattern(at + i);
		send_tcp(g, ACK | PSH, data, n);
		at += n;
	}
}

static void run_tcp(unsigned refuse_every)
{
	struct server sv = {0};
	uint8_t data[2000];
	pthread_t thread;
	struct guest g;
	uint32_t acked;
	uint64_t start;

	sv.fd = listen_any(&sv.port);
	pthread_create(&thread, NULL, serve, &sv);
	guest_open(&g, "user");
	arp_host(&g);
	g.card.refuse_every = refuse_every;
	start = plat_now();
	tcp_connect(&g, sv.port);
	assert_int_equal(tcp_download(&g), DOWN_BYTES);
	print_message("down: %lu MB/s", DOWN_BYTES * UINT64_C(1000) / (plat_now() - start));
	start = plat_now();
	tcp_upload(&g);
	print_message(", up: %lu MB/s, refused: %u\n",
		      UP_BYTES * UINT64_C(1000) / (plat_now() - start), g.card.refused);
	send_tcp(&g, FIN | ACK, NULL, 0);
	while (take_segment(&g, data, &acked, 2000) >= 0)
		;
	pthread_join(thread, NULL);
	assert_int_equal(sv.up_bytes, UP_BYTES);
	assert_int_equal(sv.up_sum, 0);
	if (refuse_every)
		assert_true(g.card.refused > 10);
	guest_close(&g);
	close(sv.fd);
}

static void test_tcp(void **state)
{
	run_tcp(0);
}

static void test_tcp_refusing(void **state)
{
	run_tcp(7);
}

/* ---- port forwards ----------------------------------------------------------------------- */

static void test_forward(void **state)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	char spec[200], buf[16];
	uint16_t port;
	struct guest g;
	struct net *n;
	uint32_t acked;
	uint8_t data[2000], *f;
	size_t len;
	int fd = listen_any(&port), c, got;

	str_format(spec, sizeof(spec), "user,forward=tcp:127.0.0.1:%u:22,forward=udp::%u:53", port,
		   port);
	assert_int_equal(net_open(loop, spec, &n, err, sizeof(err)), ERR_BUSY);
	assert_non_null(strstr(err, "is in use: choose another or stop the program"));
	close(fd);
	guest_open(&g, spec);
	dhcp_discover(&g); /* forwards to an address wait until it is known */
	arp_host(&g);

	c = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	a.sin_port = htons(port);
	assert_int_equal(connect(c, (struct sockaddr *)&a, sizeof(a)), 0);
	do {
		f = next_tcp(&g, &len, 5000);
		assert_non_null(f);
	} while (get16(f + ETH + IP + 2) != 22 || !(f[ETH + IP + 13] & SYN));
	g.port = 22;
	g.peer_port = (uint16_t)get16(f + ETH + IP);
	g.seq = 5000;
	g.ack = get32(f + ETH + IP + 4) + 1;
	free(f);
	send_tcp(&g, SYN | ACK, NULL, 0);
	send_tcp(&g, ACK | PSH, "SSH-2.0\n", 8);
	assert_int_equal(recv(c, buf, 8, MSG_WAITALL), 8);
	assert_memory_equal(buf, "SSH-2.0\n", 8);
	assert_int_equal(send(c, "hello", 5, 0), 5);
	do {
		got = take_segment(&g, data, &acked, 5000);
	} while (got == 0);
	assert_int_equal(got, 5);
	assert_memory_equal(data, "hello", 5);
	close(c);
	guest_close(&g);

	/* all is given back: the same ports are free again */
	assert_int_equal(net_open(loop, spec, &n, err, sizeof(err)), 0);
	net_close(n);
}

/* ---- garbage ----------------------------------------------------------------------------- */

static void test_garbage(void **state)
{
	static uint8_t frame[NET_FRAME_MAX + 100];
	struct net_vec none[1] = {{frame, 0}}, huge[2] = {{frame, NET_FRAME_MAX}, {frame, 50}};
	struct guest g;

	guest_open(&g, "user");
	arp_host(&g);
	g.net->ops->send(g.net, none, 0);
	g.net->ops->send(g.net, none, 1);
	g.net->ops->send(g.net, huge, 2);
	g.net->ops->send(g.net, huge, 1);
	for (int i = 0; i < 20000; i++) {
		size_t len = 1 + rnd() % (rnd() % 8 ? 100 : 1600);
		size_t plausible = rnd() % 60;

		for (size_t k = 0; k < len; k++)
			frame[k] = (uint8_t)rnd();
		/* right up to some point, to get deep */
		memcpy(frame, g.host_mac, 6);
		memcpy(frame + 6, our_mac, 6);
		if (plausible > 10) {
			put16(frame + 12, rnd() % 2 ? 0x0800 : rnd() % 2 ? 0x86dd : 0x0806);
			frame[14] = 0x45;
			put16(frame + 16, (unsigned)(len - MIN(len, 14)));
			frame[23] = (uint8_t)(rnd() % 3 ? 17 : 1);
			put32(frame + 26, OUR_IP);
			put32(frame + 30, 0x0a000200 + rnd() % 5);
			put16(frame + 24, 0);
			put16(frame + 24, fold(sum(frame + 14, 20, 0)));
		}
		g.net->ops->send(g.net, &(struct net_vec){frame, len}, 1);
	}
	/* it still works */
	arp_host(&g);
	guest_close(&g);
}

/* ---- fragments --------------------------------------------------------------------------- */

#define FRAG_MAX 400

struct piece {
	uint8_t frame[2000];
	size_t len;
};

static uint8_t payload_byte(unsigned i)
{
	return (uint8_t)(i * 31 + (i >> 8));
}

/* One fragment: payload bytes [off, off+n) of datagram id. */
static void make_piece(struct piece *p, unsigned id, unsigned options, size_t off, size_t n,
		       bool more)
{
	uint8_t *ip = p->frame + ETH;
	size_t head = IP + options;

	memset(p->frame, 0xee, ETH);
	put16(p->frame + 12, 0x0800);
	memset(ip, 0, head);
	ip[0] = (uint8_t)(0x40 | head / 4);
	memset(ip + IP, 1, options); /* no operation */
	put16(ip + 2, (unsigned)(head + n));
	put16(ip + 4, id);
	put16(ip + 6, (unsigned)(off / 8) | (more ? 0x2000 : 0));
	ip[8] = 64;
	ip[9] = 17;
	put32(ip + 12, OUR_IP);
	put32(ip + 16, HOST_IP);
	put16(ip + 10, fold(sum(ip, head, 0)));
	for (size_t i = 0; i < n; i++)
		ip[head + i] = payload_byte((unsigned)(off + i));
	p->len = ETH + head + n + rnd() % 5; /* Ethernet pads */
}

static unsigned cut(struct piece *p, unsigned id, unsigned options, size_t total)
{
	unsigned n = 0;

	for (size_t off = 0; off < total;) {
		size_t len = 8 + rnd() % 150 * 8;

		len = MIN(len, total - off);
		make_piece(&p[n++], id, options, off, len, off + len < total);
		off += len;
		assert_true(n < FRAG_MAX);
	}
	for (unsigned i = 0; i + 1 < n && rnd() % 4; i++) {
		unsigned k = i + rnd() % (n - i);
		struct piece swap = p[i];

		p[i] = p[k];
		p[k] = swap;
	}
	return n;
}

static void test_fragments(void **state)
{
	struct ipfrag *f = ipfrag_create();
	struct piece *p = malloc(FRAG_MAX * sizeof(*p)), odd;
	const uint8_t *whole = NULL;
	uint64_t now = 1;
	size_t len;
	unsigned n;

	for (unsigned round = 0; round < 300; round++) {
		unsigned options = rnd() % 11 * 4;
		size_t head = IP + options,
		       total = 9 + rnd() % (round % 10 ? 5000 : 65535 - head - 8);

		n = cut(p, round, options, total);
		for (unsigned i = 0; i < n && n > 1; i++) {
			assert_true(ipfrag_is(p[i].frame, p[i].len));
			whole = ipfrag_add(f, p[i].frame, p[i].len, now, &len);
			assert_int_equal(whole != NULL, i == n - 1);
		}
		if (n == 1)
			continue;
		assert_int_equal(len, ETH + head + total);
		assert_false(ipfrag_is(whole, len));
		assert_int_equal(get16(whole + ETH + 2), head + total);
		assert_int_equal(fold(sum(whole + ETH, head, 0)), 0);
		for (size_t i = 0; i < total; i++)
			assert_int_equal(whole[ETH + head + i], payload_byte((unsigned)i));

		/* with one that overlaps before the end, nothing comes out */
		n = cut(p, round, options, total);
		make_piece(&odd, round, options, rnd() % (total / 8 + 1) * 8, 8, true);
		for (unsigned i = 0; i < n - 1; i++)
			assert_null(ipfrag_add(f, p[i].frame, p[i].len, now, &len));
		assert_null(ipfrag_add(f, odd.frame, odd.len, now, &len));
		now += 31 * NS_PER_SEC; /* and the rest is forgotten */
	}

	/* a fifth datagram drives out the oldest */
	for (unsigned id = 0; id < 5; id++) {
		make_piece(&odd, id, 0, 0, 8, true);
		assert_null(ipfrag_add(f, odd.frame, odd.len, now + id, &len));
	}
	make_piece(&odd, 4, 0, 8, 5, false);
	assert_non_null(ipfrag_add(f, odd.frame, odd.len, now + 5, &len));
	make_piece(&odd, 0, 0, 8, 5, false);
	assert_null(ipfrag_add(f, odd.frame, odd.len, now + 5, &len));

	/* wrong checksum, lengths that lie, beyond 64 KiB */
	make_piece(&odd, 9, 0, 0, 8, true);
	odd.frame[ETH + 10] ^= 1;
	assert_null(ipfrag_add(f, odd.frame, odd.len, now, &len));
	make_piece(&odd, 9, 0, 0, 8, true);
	for (size_t l = 0; l < ETH + IP + 8; l++)
		assert_null(ipfrag_add(f, odd.frame, l, now, &len));
	make_piece(&odd, 9, 0, 65528, 200, false);
	assert_null(ipfrag_add(f, odd.frame, odd.len, now, &len));
	free(p);
	ipfrag_destroy(f);
}

/* ---- the queue --------------------------------------------------------------------------- */

struct counted {
	_Atomic unsigned got, bad;
	_Atomic bool refuse;
	uint32_t next;
};

static bool count_frame(void *dev, const void *frame, size_t len)
{
	struct counted *k = dev;
	uint32_t id;

	if (atomic_load(&k->refuse))
		return false;
	memcpy(&id, frame, 4);
	if (id != k->next || len != 4 + id % 1500)
		atomic_fetch_add(&k->bad, 1);
	k->next++;
	atomic_fetch_add(&k->got, 1);
	return true;
}

static void fini_queue(void *q)
{
	net_rxq_fini(q);
}

static void test_queue(void **state)
{
	struct counted k = {0};
	struct net n = {.client = {count_frame, &k}};
	struct net_rxq q;
	uint8_t frame[2000] = {0};
	unsigned sent = 0, dropped;

	assert_int_equal(net_rxq_init(&q, loop, &n), 0);
	/* in order, of all lengths, many times round the ring */
	while (sent < 20000) {
		memcpy(frame, &sent, 4);
		if (sent - atomic_load(&k.got) < 200) {
			net_rxq_push(&q, frame, 4 + sent % 1500);
			sent++;
		} else {
			plat_yield();
		}
	}
	for (uint64_t end = plat_now() + WAIT_NS; atomic_load(&k.got) < sent && plat_now() < end;)
		usleep(100);
	assert_int_equal(atomic_load(&k.got), sent);
	assert_int_equal(atomic_load(&k.bad), 0);
	assert_int_equal(atomic_load(&q.dropped), 0);

	/* a card that takes nothing: 256 are kept, the rest is lost, none out of order */
	atomic_store(&k.refuse, true);
	for (unsigned i = 0; i < 300; i++) {
		uint32_t id = sent + i;

		memcpy(frame, &id, 4);
		net_rxq_push(&q, frame, 4 + id % 1500);
	}
	dropped = (unsigned)atomic_load(&q.dropped);
	assert_int_equal(dropped, 300 - 256);
	usleep(2000);
	atomic_store(&k.refuse, false);
	net_rxq_ready(&q);
	for (uint64_t end = plat_now() + WAIT_NS;
	     atomic_load(&k.got) < sent + 256 && plat_now() < end;)
		usleep(100);
	assert_int_equal(atomic_load(&k.got), sent + 256);
	assert_int_equal(atomic_load(&k.bad), 0);

	/* frames too long for it, and none at all */
	net_rxq_push(&q, frame, NET_FRAME_MAX + 1);
	assert_int_equal(atomic_load(&q.dropped), dropped + 1);
	plat_loop_call(loop, fini_queue, &q);
}

/* ---- tap: in a network of its own, where we may do everything ----------------------------- */

static void set_up(const char *name, uint32_t addr)
{
	struct ifreq r = {0};
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(addr)};
	int s = socket(AF_INET, SOCK_DGRAM, 0);

	str_copy(r.ifr_name, sizeof(r.ifr_name), name);
	memcpy(&r.ifr_addr, &a, sizeof(a));
	if (ioctl(s, SIOCSIFADDR, &r))
		_exit(2);
	r.ifr_flags = IFF_UP | IFF_RUNNING;
	if (ioctl(s, SIOCSIFFLAGS, &r))
		_exit(2);
	close(s);
}

/* 0: good; 1: the interface does not work; 77: not possible here */
static int tap_child(void)
{
	struct guest g = {0};
	struct plat_loop *l;
	struct net *second;

	if (unshare(CLONE_NEWNET) && unshare(CLONE_NEWUSER | CLONE_NEWNET))
		return 77;
	plat_log_set_level(LOG_ERROR);
	if (plat_loop_create(&l))
		return 1;
	if (net_open(l, "tap:vg0", &g.net, err, sizeof(err)))
		return 77;
	if (!net_open(l, "tap:vg0", &second, err, sizeof(err)) || !strstr(err, "in use"))
		return 1;
	card_plug(&g.card, g.net);
	g.card.refuse_every = 2;
	set_up("vg0", HOST_IP);
	memset(g.host_mac, 0xff, 6);
	for (int i = 0; i < 20; i++)
		arp_host(&g);
	if (!g.card.refused || g.net->mac[0] != 0x52)
		return 1;
	net_close(g.net);
	card_empty(&g.card);
	plat_loop_destroy(l);
	return 0;
}

static void test_tap(void **state)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		execl("/proc/self/exe", "test_net", "tap", NULL);
		_exit(1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- descriptions ------------------------------------------------------------------------ */

static void test_specs(void **state)
{
	static const char *const good[] = {
		"none",
		"none,mac=02:00:00:00:00:01",
		"user,mtu=1400,restrict=on,ipv6=off,mac=02:aB:cD:eF:00:01",
		"user,mtu=65521",
		"user,tftp=/tmp,bootfile=pxelinux.0",
		"user,bootfile=http://10.0.2.2:8000/boot.ipxe",
	};
	static const char *const bad[] = {
		"",
		"usr",
		"user,",
		"user,x",
		"user,mtu=10",
		"user,mtu=",
		"user,mtu=65522",
		"user,mtu=99999999999999999999",
		"user,restrict=yes",
		"user,mac=01:00:00:00:00:00",
		"user,mac=02:00:00:00:00",
		"user,mac=02:00:00:00:00:0g",
		"user,mac=02:00:00:00:00:00:00",
		"user,tftp=/nonexistent",
		"user,tftp=/etc/hostname",
		"tap:x,tftp=/tmp",
		"user,forward=",
		"user,forward=tcp",
		"user,forward=tcp:127.0.0.1:22",
		"user,forward=tcp:127.0.0.1:0:22",
		"user,forward=tcp:127.0.0.1:65536:22",
		"user,forward=icmp:127.0.0.1:2222:22",
		"user,forward=tcp:localhost:2222:22",
		"user,forward=tcp:[::1]:2222:22",
		"user,forward=tcp:[::1:2222:22",
		"user,forward=tcp:127.0.0.1:2222:10.0.2.15:22:7",
		"user,forward=tcp:127.0.0.1:2222:22x",
		"tap",
		"tap:",
		"tap:averyverylonginterfacename",
		"none,mtu=1500",
		"tap:x,restrict=on",
	};
	struct net *n;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(net_open(loop, good[i], &n, err, sizeof(err)), 0);
		if (i == 2)
			assert_memory_equal(n->mac, "\x02\xab\xcd\xef\x00\x01", 6);
		net_close(n);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		err[0] = 0;
		if (net_open(loop, bad[i], &n, err, sizeof(err)) >= 0)
			fail_msg("'%s' was taken", bad[i]);
		assert_true(str_len(err) > 10);
	}
	/* longer than a BOOTP message has room for */
	char spec[200];

	memset(spec, 'x', sizeof(spec));
	memcpy(spec, "user,bootfile=", 14);
	spec[14 + 127] = 0;
	assert_int_equal(net_open(loop, spec, &n, err, sizeof(err)), 0);
	net_close(n);
	memset(spec + 14, 'x', 128);
	spec[14 + 128] = 0;
	assert_true(net_open(loop, spec, &n, err, sizeof(err)) < 0);
}

static int setup(void **state)
{
	plat_log_set_level(LOG_WARN);
	return plat_loop_create(&loop);
}

static int teardown(void **state)
{
	plat_loop_destroy(loop);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_queue),        cmocka_unit_test(test_specs),
		cmocka_unit_test(test_dhcp),         cmocka_unit_test(test_tcp),
		cmocka_unit_test(test_tcp_refusing), cmocka_unit_test(test_forward),
		cmocka_unit_test(test_garbage),      cmocka_unit_test(test_fragments),
		cmocka_unit_test(test_tap),
	};

	if (argc == 2 && str_eq(argv[1], "tap"))
		return tap_child();
	print_message("seed %d\n", SEED);
	return cmocka_run_group_tests(tests, setup, teardown);
}
