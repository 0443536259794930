/* SPDX-License-Identifier: ISC */
/* test_redirect.c: frames and disk requests that rules redirect: translation with right checksums, answers
 * that a guest's TCP takes, names, and requests that are cut into parts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* order matters */
#include <cmocka.h>

#include "block/watch.h"
#include "monitor/frame.h"
#include "net/answer.h"
#include "net/ip4.h"
#include "net/nat.h"
#include "net/watch.h"
#include "plat/linux/loop_fd.h"

/* ---- frames ------------------------------------------------------------------------------------ */

static const uint8_t guest[4] = {10, 0, 2, 15}, far[4] = {198, 51, 100, 2};

static uint32_t sum_of(const uint8_t *ip, size_t l4_len)
{
	return ip4_fold(ip4_sum(ip + 20, l4_len, ip4_sum(ip + 12, 8, ip[9] + (uint32_t)l4_len)));
}

/* A frame from the guest; gives its length. */
static size_t make(uint8_t *f, uint8_t proto, uint16_t sport, uint16_t dport, uint32_t seq,
		   uint32_t ack, uint8_t flags, const void *data, size_t len)
{
	uint8_t *ip = f + 14, *l4 = ip + 20;
	size_t header = proto == 6 ? 20 : 8;

	memset(f, 0, 14 + 20 + header);
	memset(f, 0x52, 6);
	memset(f + 6, 0x54, 6);
	be16_to(f + 12, 0x0800);
	ip[0] = 0x45;
	be16_to(ip + 2, (uint32_t)(20 + header + len));
	ip[8] = 64;
	ip[9] = proto;
	memcpy(ip + 12, guest, 4);
	memcpy(ip + 16, far, 4);
	be16_to(ip + 10, ip4_fold(ip4_sum(ip, 20, 0)));
	be16_to(l4, sport);
	be16_to(l4 + 2, dport);
	if (proto == 6) {
		be32_to(l4 + 4, seq);
		be32_to(l4 + 8, ack);
		l4[12] = 0x50;
		l4[13] = flags;
		be16_to(l4 + 14, 2000); /* a small window */
	} else {
		be16_to(l4 + 4, (uint32_t)(8 + len));
	}
	if (len)
		memcpy(l4 + header, data, len);
	be16_to(l4 + (proto == 6 ? 16 : 6), sum_of(ip, header + len));
	return 14 + 20 + header + len;
}

static void check_sums(const uint8_t *f)
{
	const uint8_t *ip = f + 14;

	assert_int_equal(ip4_fold(ip4_sum(ip, 20, 0)), 0);
	assert_int_equal(sum_of(ip, be16_at(ip + 2) - 20u), 0);
}

static void test_nat(void **state)
{
	static struct nat nat;
	const struct mon_target to = {
		.kind = TARGET_ADDR, .has_addr = true, .port = 8080, .v4 = {10, 0, 2, 2}};
	uint8_t f[200], back[200];
	struct ip4 p = {.proto = 0};

	for (unsigned k = 0; k < 2; k++) {
		uint8_t proto = k ? 17 : 6;
		size_t n = make(f, proto, 4000, 80, 1, 0, 2, "odd", 3);

		assert_true(nat_out(&nat, f, n, &to, 1000));
		check_sums(f);
		assert_true(ip4_find(f, n, &p));
		assert_memory_equal(p.ip + 16, to.v4, 4);
		assert_int_equal(be16_at(p.l4 + 2), 8080);
		/* the answer comes from there, and seems to come from where the guest sent to */
		memcpy(back, f, n);
		memcpy(back + 14 + 12, f + 14 + 16, 4);
		memcpy(back + 14 + 16, f + 14 + 12, 4);
		memcpy(back + 34, f + 36, 2);
		memcpy(back + 36, f + 34, 2);
		nat_in(&nat, back, n, 2000);
		check_sums(back);
		assert_memory_equal(back + 14 + 12, far, 4);
		assert_int_equal(be16_at(back + 34), 80);
	}
	/* from one port to another place that becomes the same one: no */
	make(f, 6, 4000, 81, 1, 0, 2, NULL, 0);
	assert_false(nat_out(&nat, f, 54, &to, 3000));
	f[14 + 6] = 0x20; /* more fragments */
	assert_false(nat_out(&nat, f, 54, &to, 3000));
	for (unsigned len = 0; len < 54; len++)
		assert_false(nat_out(&nat, f, len, &to, 3000));
}

/* The checksum of an IPv6 packet's TCP or UDP, or of the whole where it is in place. */
static uint16_t sum6(const uint8_t *ip)
{
	size_t n = be16_at(ip + 4);

	return ip4_fold(ip4_sum(ip + 40, n, ip4_sum(ip + 8, 32, ip[6] + (uint32_t)n)));
}

static void test_nat6(void **state)
{
	static struct nat nat;
	struct mon_target to = {.kind = TARGET_ADDR,
				.has_addr = true,
				.is_v6 = true,
				.port = 8080,
				.v6 = {0xfe, 0xc0, [15] = 2}};
	uint8_t f[100] = {[12] = 0x86, 0xdd}, back[100], *ip = f + 14;

	ip[0] = 0x60;
	be16_to(ip + 4, 23);
	ip[6] = 6;
	memcpy(ip + 8, "guest's address!", 16);
	memcpy(ip + 24, "where it goes to", 16);
	be16_to(ip + 40, 4000);
	be16_to(ip + 42, 80);
	ip[52] = 0x50;
	memcpy(ip + 60, "odd", 3);
	be16_to(ip + 56, sum6(ip));
	memcpy(back, f, sizeof(f));
	for (unsigned len = 0; len < 77; len++)
		assert_false(nat_out(&nat, f, len, &to, 1000));
	to.is_v6 = false; /* no address of IPv4 can stand in its place */
	assert_false(nat_out(&nat, f, 77, &to, 1000));
	to.is_v6 = true;
	assert_memory_equal(f, back, sizeof(f));
	assert_true(nat_out(&nat, f, 77, &to, 1000));
	assert_int_equal(sum6(ip), 0);
	assert_memory_equal(ip + 24, to.v6, 16);
	assert_int_equal(be16_at(ip + 42), 8080);
	/* the answer */
	memcpy(back, f, sizeof(f));
	memcpy(back + 14 + 8, ip + 24, 16);
	memcpy(back + 14 + 24, ip + 8, 16);
	be16_to(back + 54, 8080);
	be16_to(back + 56, 4000);
	nat_in(&nat, back, 77, 2000);
	assert_int_equal(sum6(back + 14), 0);
	assert_memory_equal(back + 14 + 8, "where it goes to", 16);
	assert_int_equal(be16_at(back + 54), 80);
	/* another port alone */
	to.has_addr = false;
	be16_to(ip + 42, 81);
	ip[6] = 17;
	assert_true(nat_out(&nat, f, 77, &to, 3000));
	assert_memory_equal(ip + 24, to.v6, 16); /* where it went before */
	assert_int_equal(be16_at(ip + 42), 8080);
}

/* ---- answers: a small TCP of the test's own ------------------------------------------------------- */

static struct {
	uint8_t data[4096], last[1600];
	size_t n, last_len;
	uint32_t next; /* sequence number wanted */
	bool syn, fin, rst;
} got;
static struct plat_mutex lock;

static void on_frame(void *arg, const uint8_t *frame, size_t len)
{
	const uint8_t *tcp = frame + 34;
	size_t header = (size_t)(tcp[12] >> 4) * 4, n = len - 34 - header;

	check_sums(frame);
	got.last_len = len;
	memcpy(got.last, frame, len);
	if (frame[14 + 9] != 6)
		return;
	got.rst |= tcp[13] >> 2 & 1;
	if (tcp[13] & 2) {
		got.syn = true;
		got.next = be32_at(tcp + 4) + 1;
	} else if (be32_at(tcp + 4) == got.next) {
		memcpy(got.data + got.n, tcp + header, n);
		got.n += n;
		got.next += (uint32_t)n + (tcp[13] & 1);
		got.fin |= tcp[13] & 1;
	}
}

static void say(struct answers *a, const struct mon_target *to, uint32_t seq, uint8_t flags,
		const char *data)
{
	uint8_t f[200];
	size_t n = make(f, 6, 4000, 80, seq, got.next, flags, data, strlen(data));

	plat_mutex_lock(&lock);
	answers_frame(a, f, n, to);
	plat_mutex_unlock(&lock);
}

static void destroy(void *arg)
{
	answers_destroy(arg);
}

static void test_answer(void **state)
{
	static uint8_t page[3500];
	struct net_targets t = {.answer[3] = {page, sizeof(page)}};
	const struct mon_target to = {.kind = TARGET_ANSWER, .slot = 3};
	const struct mon_target gone = {.kind = TARGET_ANSWER, .slot = 4};
	struct plat_loop *loop;
	struct answers *a;
	uint8_t f[200];

	for (size_t i = 0; i < sizeof(page); i++)
		page[i] = (uint8_t)(i * 7);
	memset(&got, 0, sizeof(got));
	plat_mutex_init(&lock, RANK_BACKEND);
	assert_int_equal(plat_loop_create(&loop), 0);
	a = answers_create(loop, &t, &lock, on_frame, NULL);
	assert_non_null(a);
	say(a, &to, 100, 2, "");
	assert_true(got.syn);
	say(a, &to, 101, 0x10, "");
	say(a, &to, 101, 0x18, "GET /");
	assert_int_equal(got.n, 2000); /* as much as the window takes */
	say(a, &to, 106, 0x10, "");
	assert_int_equal(got.n, sizeof(page));
	assert_memory_equal(got.data, page, sizeof(page));
	assert_true(got.fin);
	say(a, &to, 106, 0x11, ""); /* FIN: it is over */
	got.rst = false;
	say(a, &to, 107, 0x10, "");
	assert_true(got.rst); /* and nothing is left of it */
	got.rst = got.syn = false;
	say(a, &gone, 500, 2, "");
	assert_true(got.rst && !got.syn);
	/* by UDP at once */
	make(f, 17, 4000, 80, 0, 0, 0, "?", 1);
	answers_frame(a, f, 43, &to);
	assert_int_equal(got.last_len, 14 + 20 + 8 + 1472);
	assert_memory_equal(got.last + 42, page, 1472);
	plat_loop_call(loop, destroy, a);
	plat_loop_destroy(loop);
}

static void test_name(void **state)
{
	static const uint8_t question[] = {0x12, 0x34, 1,   0,   0,   1, 0,   0,   0,
					   0,    0,    0,   1,   'a', 7, 'e', 'x', 'a',
					   'm',  'p',  'l', 'e', 0,   0, 1,   0,   1};
	const struct mon_target to = {.has_addr = true, .by_name = true, .v4 = {10, 0, 2, 9}};
	struct net_targets t = {.arg = NULL};
	struct frame_addr addr[2];
	struct plat_loop *loop;
	struct answers *a;
	char name[FRAME_NAME_MAX];
	uint8_t f[200], rcode;
	uint16_t type;
	bool answer;
	size_t n = make(f, 17, 5000, 53, 0, 0, 0, question, sizeof(question));

	plat_mutex_init(&lock, RANK_BACKEND);
	assert_int_equal(plat_loop_create(&loop), 0);
	a = answers_create(loop, &t, &lock, on_frame, NULL);
	assert_true(answers_dns(a, f, n, &to));
	assert_int_equal(
		frame_dns(got.last + 42, got.last_len - 42, name, &type, &answer, &rcode, addr, 2),
		1);
	assert_string_equal(name, "a.example");
	assert_true(answer && !rcode);
	assert_memory_equal(addr[0].b + 12, to.v4, 4);
	for (size_t cut = 1; cut < sizeof(question); cut++) {
		n = make(f, 17, 5000, 53, 0, 0, 0, question, sizeof(question) - cut);
		assert_false(answers_dns(a, f, n, &to));
	}
	plat_loop_call(loop, destroy, a);
	plat_loop_destroy(loop);
}

/* ---- disks ------------------------------------------------------------------------------------------- */

struct fake_disk {
	struct block b;
	uint8_t data[64 * 512];
	unsigned flushes;
};

static void fake_submit(struct block *b, struct block_req *r)
{
	struct fake_disk *d = container_of(b, struct fake_disk, b);
	uint64_t at = r->offset;

	d->flushes += r->op == BLOCK_FLUSH;
	for (unsigned i = 0; i < r->n_vec && r->op <= BLOCK_WRITE; at += r->vec[i++].len) {
		if (r->op == BLOCK_WRITE)
			memcpy(d->data + at, r->vec[i].base, r->vec[i].len);
		else
			memcpy(r->vec[i].base, d->data + at, r->vec[i].len);
	}
	r->done(r, 0);
}

static void fake_close(struct block *b)
{
}

static const struct block_ops fake_ops = {"fake", fake_submit, fake_close};
static struct fake_disk disk = {{&fake_ops, sizeof(disk.data)}};
static struct fake_disk image = {{&fake_ops, 32 * 512}};
static struct mon_event told[32];
static unsigned n_told;

static void tell(struct monitor *mon, const struct mon_event *ev)
{
	told[n_told++ % 32] = *ev;
}

/* Writes to sectors 8-15 go to scratch, reads of 16-19 to the image; 40 is denied. */
static enum mon_verdict ask(struct monitor *mon, struct mon_event *ev)
{
	static const struct mon_target scratch = {.kind = TARGET_SCRATCH};
	static const struct mon_target to_image = {.kind = TARGET_IMAGE, .slot = 2};
	static const unsigned edges[] = {8, 16, 20, 64};
	uint64_t s = ev->addr / 512;

	ev->rule = 7;
	if (ev->op == 1 && s == 40)
		return ev->verdict = MON_DENY;
	for (unsigned i = 0; i < ARRAY_SIZE(edges); i++) {
		if (s >= edges[i])
			continue;
		ev->value = MIN(ev->value, edges[i] * 512 - ev->addr);
		ev->target = i == 1 ? &scratch : &to_image;
		if ((ev->op == 1 && i == 1) || (ev->op == 0 && i == 2))
			ev->verdict = MON_REDIRECT;
		break;
	}
	return ev->verdict;
}

static void test_disk(void **state)
{
	struct monitor mon = {
		.tell_mask = BIT(MON_DISK), .ask_mask = BIT(MON_DISK), .tell = tell, .ask = ask};
	struct block_targets t = {.image[2] = &image.b};
	static uint8_t buf[64 * 512], out[64 * 512];
	struct block *b;

	memset(disk.data, 'd', sizeof(disk.data));
	memset(image.data, 'i', sizeof(image.data));
	assert_int_equal(block_watch_open(&disk.b, &mon, 0, &t, block_scratch_file(), &b), 0);
	memset(buf, 'w', sizeof(buf));
	/* 4-11: half to the disk, half to scratch */
	assert_int_equal(block_rw_sync(b, BLOCK_WRITE, 4 * 512, buf, 8 * 512), 0);
	assert_int_equal(n_told, 2);
	assert_int_equal(told[0].verdict, MON_PROVIDE);
	assert_int_equal(told[0].value, 4 * 512);
	assert_int_equal(told[1].verdict, MON_REDIRECT);
	assert_int_equal(told[1].rule, 7);
	assert_int_equal(disk.data[7 * 512], 'w');
	assert_int_equal(disk.data[8 * 512], 'd');
	assert_int_equal(block_rw_sync(b, BLOCK_READ, 0, out, 32 * 512), 0);
	for (unsigned s = 0; s < 32; s++)
		assert_int_equal(out[s * 512 + 511], s < 4               ? 'd'
						     : s < 12            ? 'w'
						     : s >= 16 && s < 20 ? 'i'
									 : 'd');
	assert_int_equal(block_rw_sync(b, BLOCK_WRITE, 40 * 512, buf, 512), ERR_ACCES);
	assert_int_equal(disk.data[40 * 512], 'd');
	disk.flushes = image.flushes = 0;
	assert_int_equal(block_flush_sync(b), 0);
	assert_int_equal(disk.flushes, 1);
	assert_int_equal(image.flushes, 1);
	/* new rules: what is written now is newer than what the scratch file has */
	atomic_store(&mon.ask_mask, 0);
	memset(buf, 'n', sizeof(buf));
	assert_int_equal(block_rw_sync(b, BLOCK_WRITE, 10 * 512, buf, 512), 0);
	assert_int_equal(block_rw_sync(b, BLOCK_READ, 8 * 512, out, 4 * 512), 0);
	assert_int_equal(out[0], 'w');
	assert_int_equal(out[2 * 512], 'n');
	assert_int_equal(out[3 * 512], 'w');
	block_close(b);
}

/* More requests at a time than have a place, done in another order than they came. */
#define CROWD 300

static struct block_req *held[2 * CROWD];
static unsigned n_held, n_done;

static void hold_submit(struct block *b, struct block_req *r)
{
	held[n_held++] = r;
}

static void count_done(struct block_req *r, int err)
{
	assert_int_equal(err, r->offset / 512 % 3 ? 0 : ERR_IO);
	assert_ptr_equal(r->ctx, r);
	r->ctx = NULL; /* each once */
	n_done++;
}

static void test_crowd(void **state)
{
	static const struct block_ops hold_ops = {"hold", hold_submit, fake_close};
	static struct block slow = {&hold_ops, CROWD * 512};
	struct monitor mon = {.tell_mask = BIT(MON_DISK), .tell = tell};
	const struct block_targets t = {0};
	static struct block_req req[CROWD], more[CROWD];
	static uint8_t buf[512];
	const struct block_vec vec = {buf, 512};
	struct block *b;

	assert_int_equal(block_watch_open(&slow, &mon, 0, &t, block_scratch_file(), &b), 0);
	for (unsigned round = 0; round < 3; round++) {
		n_held = n_done = 0;
		for (unsigned i = 0; i < CROWD; i++) {
			req[i] = (struct block_req){.op = BLOCK_READ,
						    .offset = i * 512ull,
						    .len = 512,
						    .vec = &vec,
						    .n_vec = 1,
						    .done = count_done,
						    .ctx = &req[i]};
			block_submit(b, &req[i]);
		}
		assert_int_equal(n_held, CROWD);
		/* each that is done makes room for one more */
		for (unsigned i = 0; i < CROWD; i++) {
			struct block_req *r = held[(i * 7 + round) % CROWD];

			r->done(r, r->offset / 512 % 3 ? 0 : ERR_IO);
			if (i % 2)
				continue;
			more[i] = req[i];
			more[i].ctx = &more[i];
			block_submit(b, &more[i]);
		}
		for (unsigned i = CROWD; i < n_held; i++)
			held[i]->done(held[i], held[i]->offset / 512 % 3 ? 0 : ERR_IO);
		assert_int_equal(n_done, CROWD + CROWD / 2);
	}
	block_close(b);
}

static void test_scratch_memory(void **state)
{
	struct block_scratch *m = block_scratch_memory(MIB, 128 * KIB);
	const uint64_t large = UINT64_C(1) << 40;
	uint8_t buf[512], got[512];

	memset(buf, 7, sizeof(buf));
	assert_int_equal(m->io(m, true, 64 * KIB - 256, buf, 512), 0); /* two pieces */
	assert_int_equal(m->io(m, false, 64 * KIB - 256, got, 512), 0);
	assert_memory_equal(buf, got, 512);
	assert_int_equal(m->io(m, true, 512 * KIB, buf, 512), ERR_NOSPC);
	assert_int_equal(m->io(m, true, 0, buf, 512), 0); /* what is there can be written */
	assert_int_equal(m->io(m, true, MIB, buf, 512), ERR_IO);
	m->close(m);
	m = block_scratch_memory(large, 64 * MIB); /* large disks have large pieces */
	assert_int_equal(m->io(m, true, large - 512, buf, 512), 0);
	assert_int_equal(m->io(m, false, large - 512, got, 512), 0);
	assert_memory_equal(buf, got, 512);
	m->close(m);
}

/* ---- a card without room ------------------------------------------------------------------------- */

static struct {
	unsigned asked, told, came;
	unsigned no_room; /* so many frames more are refused */
	enum mon_verdict verdict;
} card;

static enum mon_verdict ask_net(struct monitor *mon, struct mon_event *ev)
{
	card.asked++;
	return ev->verdict = (uint8_t)card.verdict;
}

static void tell_net(struct monitor *mon, const struct mon_event *ev)
{
	card.told++;
}

static bool card_receive(void *dev, const void *frame, size_t len)
{
	if (card.no_room) {
		card.no_room--;
		return false;
	}
	card.came++;
	return true;
}

static void wire_close(struct net *n)
{
}

/* A back end offers a frame until there is room: it is one frame for rules, limits and history all the same. */
static void test_no_room(void **state)
{
	static const struct net_ops wire_ops = {.name = "wire", .close = wire_close};
	static struct net wire = {.ops = &wire_ops};
	static const struct net_targets none;
	const struct net_client client = {.receive = card_receive};
	struct monitor mon = {.tell_mask = BIT(MON_NET),
			      .ask_mask = BIT(MON_NET),
			      .tell = tell_net,
			      .ask = ask_net};
	struct plat_loop *loop;
	struct net *n;
	uint8_t f[200];
	size_t len = make(f, 17, 53, 4000, 0, 0, 0, "data", 4);

	assert_int_equal(plat_loop_create(&loop), 0);
	assert_int_equal(net_watch_open(loop, &wire, 0, &mon, &none, &n), 0);
	net_attach(n, &client);
	card.no_room = 3;
	for (unsigned i = 0; i < 3; i++)
		assert_false(net_receive(&wire, f, len));
	/* it has been provided: rules of now are about frames of now */
	card.verdict = MON_DENY;
	assert_true(net_receive(&wire, f, len));
	assert_int_equal(card.came, 1);
	assert_int_equal(card.asked, 1);
	assert_int_equal(card.told, 1);
	/* the next is another one */
	assert_true(net_receive(&wire, f, len));
	assert_int_equal(card.came, 1);
	assert_int_equal(card.asked, 2);
	assert_int_equal(card.told, 2);
	/* a card that has gone meanwhile took what waited along with it */
	card.verdict = MON_PROVIDE;
	card.no_room = 1;
	assert_false(net_receive(&wire, f, len));
	net_detach(n);
	assert_true(net_receive(&wire, f, len));
	card.verdict = MON_DENY;
	net_attach(n, &client);
	assert_true(net_receive(&wire, f, len));
	assert_int_equal(card.came, 1);
	assert_int_equal(card.asked, 4);
	net_detach(n);
	n->ops->close(n);
	plat_loop_destroy(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_room), cmocka_unit_test(test_nat),
		cmocka_unit_test(test_nat6),    cmocka_unit_test(test_answer),
		cmocka_unit_test(test_name),    cmocka_unit_test(test_disk),
		cmocka_unit_test(test_crowd),   cmocka_unit_test(test_scratch_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
