/* SPDX-License-Identifier: ISC */
/* test_net_user.c: the user network seen by a small hand-made guest: DHCP, ARP, TCP to a server on the host through 10.0.2.2
 * (both directions, with a card that refuses frames now and then), a port forward into the guest, garbage. */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/net_guest.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dhcp),         cmocka_unit_test(test_tcp),
		cmocka_unit_test(test_tcp_refusing), cmocka_unit_test(test_forward),
		cmocka_unit_test(test_garbage),
	};

	print_message("seed %d\n", SEED);
	return cmocka_run_group_tests(tests, setup, teardown);
}
