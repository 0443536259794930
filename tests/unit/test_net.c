/* SPDX-License-Identifier: ISC */
/* test_net.c: the queue to the card; packets in fragments; a tap; what net_open() says of bad descriptions. The user network
 * is test_net_user.c's. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/ipfrag.h"
#include "net/rxq.h"
#include "tests/unit/net_guest.h"

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

/* An interface that another program leaves, which took packets without checksums, and large ones: it keeps that. */
static bool leave_tap(const char *name)
{
	struct ifreq r = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	bool left;

	str_copy(r.ifr_name, sizeof(r.ifr_name), name);
	left = fd >= 0 && !ioctl(fd, TUNSETIFF, &r) && !ioctl(fd, TUNSETPERSIST, 1) &&
	       !ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4);
	close(fd);
	return left;
}

/* Of a datagram that the host sends */
static bool checksum_is_right(struct guest *g)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(OUR_IP)};
	int s = socket(AF_INET, SOCK_DGRAM, 0);
	bool right = false;
	uint8_t *f;
	size_t len;

	if (sendto(s, "checksum", 8, 0, (struct sockaddr *)&to, sizeof(to)) != 8)
		return false;
	close(s);
	while ((f = card_next(&g->card, g->net, &len, 2000))) {
		bool ours = len >= ETH + IP + 16 && get16(f + 12) == 0x0800 && f[ETH + 9] == 17 &&
			    get16(f + ETH + IP + 2) == 9;

		/* the pseudo header: addresses, protocol, length */
		right = ours && fold(sum(f + ETH + 12, 8 + 16, 17 + 16)) == 0;
		free(f);
		if (ours)
			break;
	}
	return right;
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
	if (!leave_tap("vg0") || net_open(l, "tap:vg0", &g.net, err, sizeof(err)))
		return 77;
	if (!net_open(l, "tap:vg0", &second, err, sizeof(err)) || !strstr(err, "in use"))
		return 1;
	card_plug(&g.card, g.net);
	g.card.refuse_every = 2;
	set_up("vg0", HOST_IP);
	memset(g.host_mac, 0xff, 6);
	for (int i = 0; i < 20; i++)
		arp_host(&g);
	if (!checksum_is_right(&g))
		return 1;
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
		"tap:x,vhost=maybe",
		"user,vhost=on",
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

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_queue),
		cmocka_unit_test(test_specs),
		cmocka_unit_test(test_fragments),
		cmocka_unit_test(test_tap),
	};

	if (argc == 2 && str_eq(argv[1], "tap"))
		return tap_child();
	print_message("seed %d\n", SEED);
	return cmocka_run_group_tests(tests, setup, teardown);
}
