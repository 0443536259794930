/* SPDX-License-Identifier: ISC */
/* fuzz_redirect.c: frames that rules redirect. Input: a byte, whether a connection is there already, to a file (bit 0) or a program
 * (bit 1); then for each frame: what is to be done with a frame (a byte), its length
 * (two bytes, little-endian) and the frame; or, where the length is C000H and more, what a sound frame is made of, which
 * goes on with the last connection, and bytes that change in it. What comes out is a frame, and translation changes no
 * length. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/str.h"
#include "net/answer.h"
#include "net/ip4.h"
#include "net/nat.h"
#include "net/neighbour.h"
#include "plat/linux/loop_fd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FRAME = 1514, FIN = 1, SYN = 2 };
enum { ARP, TCP4, UDP4, DNS, TCP6, UDP6, KINDS };

static struct plat_mutex lock;
static volatile uint8_t sink;
static struct {
	uint32_t seq, ack; /* of the guest's next segment */
	uint8_t ends;
} talk;

/* ---- frames that are made ------------------------------------------------------------------------- */

struct input {
	const uint8_t *p;
	size_t left;
};

static uint8_t next(struct input *in)
{
	if (!in->left)
		return 0;
	in->left--;
	return *in->p++;
}

/* A byte that says whether a number is the sound one, and the number if not. */
static uint32_t number(struct input *in, uint32_t sound)
{
	uint8_t how = next(in);

	return how < 0xc0 ? sound : how < 0xe0 ? sound + next(in) - 128u : (uint32_t)next(in) << 24;
}

static size_t make_arp(struct input *in, uint8_t *f)
{
	static const uint8_t head[8] = {0, 1, 8, 0, 6, 4, 0, 2};
	const uint8_t host[4] = {10, 0, 2, (uint8_t)(2 + next(in) % 4)};

	be16_to(f + 12, 0x0806);
	memcpy(f + 14, head, sizeof(head));
	memset(f + 22, 0x52, 6);
	memcpy(f + 28, host, 4);
	return 42;
}

/* Its header, and the bytes of options and data. */
static size_t make_tcp(struct input *in, uint8_t *l4)
{
	static const uint8_t usual[8] = {SYN, 0x10, 0x18, 0x10 | FIN, 4, 0x10};
	size_t header = 20 + next(in) % 11u * 4, n = next(in) * 4u;

	be32_to(l4 + 4, number(in, talk.seq));
	be32_to(l4 + 8, number(in, talk.ack));
	l4[12] = (uint8_t)(header / 4 << 4);
	l4[13] = usual[next(in) % 8] ?: next(in);
	be16_to(l4 + 14, number(in, 32768));
	for (size_t i = 20; i < header + MIN(n, (size_t)64); i++)
		l4[i] = next(in);
	talk.seq = be32_at(l4 + 4) + (uint32_t)n + !!(l4[13] & (SYN | FIN));
	return header + n;
}

static size_t make_udp(struct input *in, uint8_t *l4, bool dns)
{
	static const uint8_t question[] = {1, 2,   1,   0,   0, 1,   0,   0, 0, 0, 0, 0,
					   3, 'w', 'w', 'w', 2, 'e', 'x', 0, 0, 1, 0, 1};
	size_t n = dns ? sizeof(question) : next(in) * 4u;

	if (dns)
		memcpy(l4 + 8, question, sizeof(question));
	be16_to(l4 + 4, (uint32_t)(8 + n));
	be16_to(l4 + 6, next(in));
	return 8 + n;
}

static size_t make(struct input *in, unsigned kind, uint8_t *f)
{
	static const uint16_t ports[4] = {80, 8080, 53, 40000};
	uint8_t ends = next(in) & 0x80 ? talk.ends : next(in);
	bool v6 = kind >= TCP6, tcp = kind == TCP4 || kind == TCP6, back = ends & 1;
	uint8_t *ip = f + ETH_HEADER, *l4 = ip + (v6 ? 40 : IP4_HEADER);
	uint8_t *guest = ip + (v6 ? 8 : 12), *other = ip + (v6 ? 24 : 16);
	size_t len;

	talk.ends = ends;
	memset(f, 0x52, 12);
	if (kind == ARP)
		return make_arp(in, f);
	be16_to(f + 12, v6 ? 0x86dd : 0x0800);
	ip[0] = v6 ? 0x60 : 0x45;
	len = tcp ? make_tcp(in, l4) : make_udp(in, l4, kind == DNS);
	be16_to(ip + (v6 ? 4 : 2), (uint32_t)(v6 ? len : len + IP4_HEADER));
	ip[v6 ? 6 : 9] = tcp ? 6 : 17;
	memcpy(back ? other : guest, "\12\0\2\17", 4);
	memcpy(back ? guest : other, ends & 2 ? "\12\0\2\2" : "\1\2\3\4", 4);
	be16_to(l4 + (back ? 2 : 0), 1024u + (ends >> 2 & 3));
	be16_to(l4 + (back ? 0 : 2), kind == DNS ? 53 : ports[ends >> 4 & 3]);
	return (size_t)(l4 - f) + len;
}

static size_t made(struct input *in, unsigned kind, uint8_t *f)
{
	size_t len;

	memset(f, 0, FRAME);
	plat_mutex_lock(&lock);
	len = make(in, kind, f);
	plat_mutex_unlock(&lock);
	for (unsigned n = next(in) % 4; n; n--) {
		unsigned at = next(in);

		f[at % len] = next(in);
	}
	return len;
}

/* ---- what becomes of them ------------------------------------------------------------------------- */

static void on_frame(void *arg, const uint8_t *frame, size_t len)
{
	const uint8_t *l4 = frame + ETH_HEADER + IP4_HEADER;

	(void)arg;
	BUG_ON(len < 14 || len > FRAME);
	for (size_t i = 0; i < len; i++)
		sink ^= frame[i];
	BUG_ON(len < ETH_HEADER + IP4_HEADER + 8u);
	if (frame[ETH_HEADER + 9] == 6)
		talk.ack = be32_at(l4 + 4) + !!(l4[13] & (SYN | FIN)) +
			   (uint32_t)(len - ETH_HEADER - IP4_HEADER - (l4[12] >> 4) * 4u);
}

/* One that greets and ends, whatever it hears. */
static int program(void *arg, unsigned slot)
{
	int ends[2];

	(void)arg;
	if (slot > 1 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends))
		return -1;
	if (write(ends[1], "220 hello\r\n", 11) != 11)
		abort();
	close(ends[1]);
	return ends[0];
}

static void destroy(void *a)
{
	answers_destroy(a);
}

static void one(struct nat *nat, struct neighbours *n, struct answers *a, uint8_t what,
		uint8_t *frame, size_t len)
{
	struct mon_target to = {.kind = what & 4      ? TARGET_ADDR
					: what & 0x40 ? TARGET_PROGRAM
						      : TARGET_ANSWER,
				.slot = what >> 3 & 1,
				.port = what & 0x10 ? 8080 : 0,
				.has_addr = what & 0x20,
				.by_name = what & 0x40,
				.is_v6 = what & 0x80,
				.v4 = {10, 0, 2, 2},
				.v6 = {0xfe, 0xc0, [15] = 2}};

	plat_mutex_lock(&lock);
	switch (what & 3) {
	case 0:
		if (nat_out(nat, frame, len, &to, what) && len >= NEIGHBOUR_ASK && !to.is_v6) {
			size_t out = neighbours_send(n, frame, len, to.v4, what * NS_PER_SEC);

			BUG_ON(out != len && out != NEIGHBOUR_ASK);
		}
		break;
	case 1:
		neighbours_look(n, frame, len);
		nat_in(nat, frame, len, what);
		break;
	case 2:
		answers_frame(a, frame, len, &to);
		break;
	case 3:
		answers_dns(a, frame, len, &to);
		break;
	}
	plat_mutex_unlock(&lock);
}

/* The next frame, in memory of its own, so that ASan sees its end. */
static uint8_t *frame_of(struct input *in, uint8_t *what, size_t *len)
{
	uint8_t whole[FRAME], *frame;
	unsigned given;

	*what = next(in);
	given = next(in);
	given |= (unsigned)next(in) << 8;
	*len = given >= 0xc000 ? made(in, given % KINDS, whole) : MIN((size_t)given, in->left);
	frame = plat_alloc(*len ? *len : 1);
	if (!frame)
		return NULL;
	memcpy(frame, given >= 0xc000 ? whole : in->p, *len);
	if (given < 0xc000) {
		in->p += *len;
		in->left -= *len;
	}
	return frame;
}

/* SYN, and ACK of the answer: a connection that the next frames may go on with. */
static void open_talk(struct nat *nat, struct neighbours *n, struct answers *a, bool to_program)
{
	static const uint8_t how[2][8] = {{0, 2}, {0x80, 0, 0, 0, 0, 1}};
	uint8_t frame[FRAME];

	for (unsigned i = 0; i < 2; i++) {
		struct input in = {how[i], sizeof(how[i])};
		size_t len = made(&in, TCP4, frame);

		one(nat, n, a, to_program ? 0x42 : 2, frame, len);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t page[5000] = "HTTP/1.0 200 OK\r\n\r\n";
	static const struct net_targets targets = {.answer[0] = {page, sizeof(page)},
						   .program = program};
	static struct plat_loop *loop;
	static struct neighbours neighbours;
	static struct nat nat;
	struct input in = {data, size};
	struct answers *a;
	uint8_t first;

	if (!loop) {
		plat_mutex_init(&lock, RANK_BACKEND);
		if (plat_loop_create(&loop))
			return 0;
	}
	memset(&nat, 0, sizeof(nat));
	memset(&neighbours, 0, sizeof(neighbours));
	memset(&talk, 0, sizeof(talk));
	a = answers_create(loop, &targets, &lock, on_frame, NULL);
	if (!a)
		return 0;
	first = next(&in);
	if (first & 3)
		open_talk(&nat, &neighbours, a, first & 2);
	while (in.left >= 3) {
		uint8_t what, *frame;
		size_t len;

		frame = frame_of(&in, &what, &len);
		if (!frame)
			break;
		one(&nat, &neighbours, a, what, frame, len);
		plat_free(frame);
	}
	plat_loop_call(loop, destroy, a);
	return 0;
}
