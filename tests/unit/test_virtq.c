/* SPDX-License-Identifier: ISC */
/* test_virtq.c: split virtqueues alone: chains, wrap-around, notification rules, and garbage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "dev/nic/netcsum.h"
#include "tests/unit/virtio_rig.h"

static struct rig rig;
static struct virtq q;
static struct drv_queue g; /* the guest's side */
static struct virtq_chain chain;

static int setup(void **state)
{
	rig_init(&rig, true);
	memset(&q, 0, sizeof(q));
	q.vm = rig.vm;
	q.max_size = 64;
	virtq_reset(&q);
	g.size = 64;
	g.desc = q.desc_gpa = 0x1000;
	g.avail = q.avail_gpa = 0x2000;
	g.used = q.used_gpa = 0x3000;
	drv_queue_reset(&g, &rig);
	assert_int_equal(virtq_enable(&q), 0);
	assert_int_equal(virtq_chain_init(&chain, 128), 0);
	return 0;
}

static int teardown(void **state)
{
	virtq_chain_fini(&chain);
	rig_fini(&rig);
	assert_int_equal(fake_alloc_live(), 0);
	return 0;
}

static void desc(gpa_t table, unsigned i, uint64_t addr, uint32_t len, unsigned flags,
		 unsigned next)
{
	rig_put(&rig, table + 16 * i, 8, addr);
	rig_put(&rig, table + 16 * i + 8, 4, len);
	rig_put(&rig, table + 16 * i + 12, 2, flags);
	rig_put(&rig, table + 16 * i + 14, 2, next);
}

/* Offers descriptor head and takes it. */
static int offer(unsigned head)
{
	uint16_t idx = (uint16_t)rig_get(&rig, g.avail + 2, 2);

	rig_put(&rig, g.avail + 4 + 2 * (idx & 63), 2, head);
	rig_put(&rig, g.avail + 2, 2, idx + 1u);
	return virtq_pop(&q, &chain);
}

static void test_enable(void **state)
{
	static const struct {
		uint16_t size;
		uint64_t desc, avail, used;
		int err;
	} row[] = {
		{64, 0x1000, 0x2000, 0x3000, 0},
		{1, 0x1000, 0x2000, 0x3000, 0},
		{0, 0x1000, 0x2000, 0x3000, ERR_INVAL},
		{48, 0x1000, 0x2000, 0x3000, ERR_INVAL},
		{128, 0x1000, 0x2000, 0x3000, ERR_INVAL},
		{64, 0x1008, 0x2000, 0x3000, ERR_INVAL},
		{64, 0x1000, 0x2001, 0x3000, ERR_INVAL},
		{64, 0x1000, 0x2000, 0x3002, ERR_INVAL},
		{64, RIG_RAM - 1024, 0x2000, 0x3000, 0},
		{64, RIG_RAM - 1024 + 16, 0x2000, 0x3000, ERR_RANGE},
		{64, 0x1000, RIG_RAM - 132, 0x3000, ERR_RANGE},
		{64, 0x1000, 0x2000, RIG_RAM - 516, ERR_RANGE},
		{64, 0x1000, 0x2000, UINT64_C(0xfffffffffffffffc), ERR_RANGE},
		{64, UINT64_C(0xfffffffffffffff0), 0x2000, 0x3000, ERR_RANGE},
		{64, RIG_LOW - 16, 0x2000, 0x3000, ERR_RANGE}, /* across slots */
	};

	for (unsigned i = 0; i < ARRAY_SIZE(row); i++) {
		virtq_reset(&q);
		q.size = row[i].size;
		q.desc_gpa = row[i].desc;
		q.avail_gpa = row[i].avail;
		q.used_gpa = row[i].used;
		if (virtq_enable(&q) != row[i].err)
			fail_msg("row %u", i);
	}
}

static void test_chain(void **state)
{
	uint8_t buf[64];
	gpa_t at;

	memcpy(rig_at(&rig, 0x10000), "hello ", 6);
	memcpy(rig_at(&rig, 0x11000), "world", 5);
	desc(g.desc, 5, 0x10000, 6, 1, 9);
	desc(g.desc, 9, 0x11000, 5, 1, 2);
	desc(g.desc, 2, 0x12000, 100, 3, 63);
	desc(g.desc, 63, 0x13000, 1, 2, 77);
	assert_int_equal(virtq_pop(&q, &chain), 0);
	assert_int_equal(offer(5), 1);
	assert_int_equal(chain.head, 5);
	assert_int_equal(chain.n_out, 2);
	assert_int_equal(chain.n, 4);
	assert_int_equal(chain.out_len, 11);
	assert_int_equal(chain.in_len, 101);
	assert_int_equal(virtq_read(&chain, buf, 7), 7);
	assert_memory_equal(buf, "hello w", 7);
	assert_int_equal(virtq_read(&chain, buf, 64), 4);
	assert_memory_equal(buf, "orld", 4);
	assert_int_equal(chain.out_len, 0);
	assert_int_equal(virtq_read(&chain, buf, 1), 0);
	assert_ptr_equal(virtq_cut_last(&chain, &at), rig_at(&rig, 0x13000));
	assert_int_equal(at, 0x13000);
	assert_int_equal(chain.n, 3);
	assert_ptr_equal(virtq_cut_last(&chain, &at), rig_at(&rig, 0x12063));
	assert_int_equal(virtq_write(&q, &chain, 97, "abcd", 4), 2);
	assert_memory_equal(rig_at(&rig, 0x12061), "ab", 2);
	virtq_fill(&q, 0, chain.head, 3);
	assert_true(virtq_publish(&q, 1));
	assert_int_equal(rig_get(&rig, g.used + 2, 2), 1);
	assert_int_equal(rig_get(&rig, g.used + 4, 4), 5);
	assert_int_equal(rig_get(&rig, g.used + 8, 4), 3);
}

static void test_slots(void **state)
{
	/* a piece across the end of a slot is two; one across the end of memory is none */
	desc(g.desc, 0, RIG_LOW - 16, 48, 2, 0);
	assert_int_equal(offer(0), 1);
	assert_int_equal(chain.n, 2);
	assert_int_equal(chain.vec[0].len, 16);
	assert_int_equal(chain.vec[1].len, 32);
	assert_int_equal(chain.gpa[1], RIG_LOW);
	assert_int_equal(virtq_write(&q, &chain, 0, "0123456789abcdefXY", 18), 18);
	assert_memory_equal(rig_at(&rig, RIG_LOW), "XY", 2);
	desc(g.desc, 1, RIG_RAM - 16, 17, 2, 0);
	assert_int_equal(offer(1), ERR_FORMAT);
}

static void test_indirect(void **state)
{
	desc(g.desc, 0, 0x20000, 16 * 3, 4, 0);
	desc(0x20000, 0, 0x10000, 4, 1, 2);
	desc(0x20000, 2, 0x11000, 8, 3, 1);
	desc(0x20000, 1, 0x12000, 8, 2, 0);
	assert_int_equal(offer(0), ERR_FORMAT); /* was not negotiated */
	q.indirect = true;
	assert_int_equal(virtq_pop(&q, &chain), 1);
	assert_int_equal(chain.n, 3);
	assert_int_equal(chain.n_out, 1);
	/* direct ones first, then a table */
	desc(g.desc, 1, 0x10000, 4, 1, 0);
	assert_int_equal(offer(1), 1);
	assert_int_equal(chain.n, 4);
}

/* Every way to break a chain, one a row: {descriptor 0, table entry 0, table entry 1}. */
static void test_bad_chains(void **state)
{
	static const struct {
		const char *what;
		struct {
			uint64_t addr;
			uint32_t len;
			uint16_t flags, next;
		} d[3];
	} row[] = {
		{"loop to itself", {{0x10000, 4, 1, 0}}},
		{"next outside of the ring", {{0x10000, 4, 1, 64}}},
		{"outside of memory", {{RIG_RAM, 4, 0, 0}}},
		{"address wraps", {{UINT64_MAX - 1, 4, 0, 0}}},
		{"length beyond memory", {{0x10000, UINT32_MAX, 2, 0}}},
		{"table of no entry", {{0x20000, 0, 4, 0}}},
		{"table of half an entry", {{0x20000, 24, 4, 0}}},
		{"table outside of memory", {{RIG_RAM - 16, 32, 4, 0}}},
		{"table with next", {{0x20000, 16, 5, 1}, {0x10000, 4, 0, 0}}},
		{"table in a table", {{0x20000, 32, 4, 0}, {0x20000, 32, 4, 0}}},
		{"table's next outside of it", {{0x20000, 32, 4, 0}, {0x10000, 4, 1, 2}}},
		{"loop in a table", {{0x20000, 32, 4, 0}, {0x10000, 4, 1, 1}, {0x10000, 4, 1, 0}}},
		{"huge table, loop of empty ones",
		 {{0x20000, 0x80000, 4, 0}, {0, 0, 1, 1}, {0, 0, 1, 0}}},
		{"readable after writable",
		 {{0x20000, 32, 4, 0}, {0x10000, 4, 3, 1}, {0x10000, 4, 0, 0}}},
	};

	q.indirect = true;
	for (unsigned i = 0; i < ARRAY_SIZE(row); i++) {
		drv_queue_reset(&g, &rig);
		assert_int_equal(virtq_enable(&q), 0);
		q.indirect = true;
		for (unsigned k = 0; k < 3; k++)
			desc(k ? 0x20000 : g.desc, k ? k - 1 : 0, row[i].d[k].addr, row[i].d[k].len,
			     row[i].d[k].flags, row[i].d[k].next);
		if (offer(0) != ERR_FORMAT)
			fail_msg("%s", row[i].what);
	}
	/* heads and indices */
	drv_queue_reset(&g, &rig);
	assert_int_equal(virtq_enable(&q), 0);
	assert_int_equal(offer(64), ERR_FORMAT);
	drv_queue_reset(&g, &rig);
	assert_int_equal(virtq_enable(&q), 0);
	rig_put(&rig, g.avail + 2, 2, 65);
	assert_int_equal(virtq_pop(&q, &chain), ERR_FORMAT);
	rig_put(&rig, g.avail + 2, 2, 0xffff);
	assert_int_equal(virtq_pop(&q, &chain), ERR_FORMAT);
	/* the same head again and again: only as many as there are descriptors */
	drv_queue_reset(&g, &rig);
	assert_int_equal(virtq_enable(&q), 0);
	desc(g.desc, 0, 0x10000, 4, 0, 0);
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(offer(0), 1);
	assert_int_equal(offer(0), ERR_FORMAT);
}

static void test_too_many_pieces(void **state)
{
	q.indirect = true;
	for (unsigned n = 127; n <= 130; n++) {
		for (unsigned i = 0; i < n; i++)
			desc(0x20000, i, 0x10000, 1, i + 1 < n ? 1 : 0, i + 1);
		desc(g.desc, 0, 0x20000, 16 * n, 4, 0);
		assert_int_equal(offer(0), n <= 128 ? 1 : ERR_FORMAT);
		if (n > 128)
			break;
	}
}

/* Event indices against the definition: interrupt when used_event is among the entries just shown. */
static void test_event_idx(void **state)
{
	uint64_t seed = 99;

	q.event_idx = true;
	desc(g.desc, 0, 0x10000, 4, 2, 0);
	for (unsigned i = 0; i < 300000; i++) {
		uint64_t x = rig_rand(&seed);
		unsigned n = 1 + (unsigned)(x & 15);
		uint16_t old = q.next_used, event = (uint16_t)(old + (x >> 8 & 63) - 32);
		bool want = false;

		rig_put(&rig, g.avail + 4 + 2 * 64, 2, event);
		for (unsigned k = 0; k < n; k++) {
			assert_int_equal(offer(0), 1);
			virtq_fill(&q, k, 0, k);
			want |= (uint16_t)(old + k) == event;
		}
		assert_int_equal(virtq_publish(&q, n), want);
		assert_int_equal(q.in_use, 0);
		/* avail_event follows what was seen; nothing more is there */
		assert_int_equal(virtq_pop(&q, &chain), 0);
		assert_false(virtq_listen(&q));
		assert_int_equal(rig_get(&rig, g.used + 4 + 8 * 64, 2), q.next_avail);
	}
}

static void test_flags(void **state)
{
	desc(g.desc, 0, 0x10000, 4, 2, 0);
	virtq_unlisten(&q);
	assert_int_equal(rig_get(&rig, g.used, 2), 1);
	assert_int_equal(offer(0), 1);
	assert_int_equal(virtq_pop(&q, &chain), 0);
	assert_false(virtq_listen(&q));
	assert_int_equal(rig_get(&rig, g.used, 2), 0);
	rig_put(&rig, g.avail, 2, 1);
	virtq_fill(&q, 0, 0, 0);
	assert_false(virtq_publish(&q, 1));
	/* added while we decided to sleep */
	rig_put(&rig, g.avail + 2, 2, 2);
	assert_true(virtq_listen(&q));
	assert_int_equal(virtq_pop(&q, &chain), 1);
	virtq_unpop(&q, 1);
	assert_int_equal(q.in_use, 0);
	assert_int_equal(virtq_pop(&q, &chain), 1);
}

static void test_dirty(void **state)
{
	struct mem_slot *s = mem_slot(rig.vm, 0);

	desc(g.desc, 0, 0x10ffc, 8, 2, 0);
	assert_int_equal(offer(0), 1);
	assert_int_equal(s->flags[0x10], 0);
	virtq_written(&q, &chain, 4);
	assert_int_equal(s->flags[0x10], PGF_DIRTY);
	assert_int_equal(s->flags[0x11], 0);
	virtq_written(&q, &chain, 8);
	assert_int_equal(s->flags[0x11], PGF_DIRTY);
	assert_int_equal(s->flags[3], 0);
	virtq_fill(&q, 0, 0, 8);
	assert_int_equal(s->flags[3], PGF_DIRTY);
}

static enum dirty_op dirty_ops[8];
static unsigned n_dirty_ops;

/* As if vCPUs wrote to page 9 between two looks. */
static int engine_dirty(struct vm *vm, enum dirty_op op)
{
	dirty_ops[n_dirty_ops++] = op;
	if (op == DIRTY_TAKE)
		atomic_fetch_or(&mem_slot(vm, 0)->flags[9], PGF_DIRTY);
	return 0;
}

static void test_dirty_pages(void **state)
{
	const struct engine_ops *was = rig.vm->engine;
	struct engine_ops ops = *was;
	uint64_t bits[RIG_RAM / PAGE_SIZE / 64 + 1] = {0};

	rig.vm->ram.hva = rig.ram;
	rig.vm->ram.size = RIG_RAM + PAGE_SIZE;
	assert_int_equal(mem_dirty_start(rig.vm), ERR_NOSYS);
	ops.dirty = engine_dirty;
	rig.vm->engine = &ops;
	mem_written(rig.vm, 0x5000, 1); /* before: is not counted */
	assert_int_equal(mem_dirty_start(rig.vm), 0);
	mem_written(rig.vm, 0x7ffc, 8);
	assert_int_equal(mem_dirty_take(rig.vm, bits), 0);
	assert_int_equal(bits[0], BIT64(7) | BIT64(8) | BIT64(9));
	bits[0] = BIT64(1); /* is kept */
	assert_int_equal(mem_dirty_take(rig.vm, bits), 0);
	assert_int_equal(bits[0], BIT64(1) | BIT64(9));
	mem_written(rig.vm, RIG_LOW, 1); /* behind a page that is no slot's */
	assert_int_equal(mem_dirty_take(rig.vm, bits), 0);
	assert_int_equal(bits[4], BIT64(1));
	mem_dirty_stop(rig.vm);
	assert_int_equal(n_dirty_ops, 5);
	assert_int_equal(dirty_ops[0], DIRTY_START);
	assert_int_equal(dirty_ops[4], DIRTY_STOP);
	rig.vm->engine = was;
}

/* Random rings: whatever stands there, the walk ends, and what it gives lies in memory. */
static void test_garbage(void **state)
{
	uint64_t seed = 12345;
	unsigned good = 0, bad = 0, wanted = 0;

	print_message("seed %u\n", 12345);
	for (unsigned round = 0; round < 20000; round++) {
		q.indirect = rig_rand(&seed) & 1;
		q.event_idx = rig_rand(&seed) & 1;
		for (unsigned i = 0; i < 64; i++) {
			uint64_t x = rig_rand(&seed);

			/* plausible more often than not, or nothing deep is ever reached */
			desc(g.desc, i, x & 7 ? x >> 8 & 0x1ffffff : x,
			     x & 24 ? x >> 40 & 0x3ff : (uint32_t)x, x >> 5 & 7,
			     (unsigned)(x & 0x300 ? x >> 50 & 63 : x >> 48));
			desc(0x20000 + (x >> 20 & 0xfff0), 0, x >> 7 & 0x1fffff,
			     (uint32_t)(x >> 52), x & 3, x >> 40 & 7);
			rig_put(&rig, g.avail + 4 + 2 * i, 2, x & 0xf000 ? x >> 56 & 63 : x);
		}
		rig_put(&rig, g.avail + 2, 2, q.next_avail + (rig_rand(&seed) & 7));
		for (unsigned i = 0; i < 8; i++) {
			int got = virtq_pop(&q, &chain);

			if (got <= 0) {
				bad += got < 0;
				break;
			}
			good++;
			assert_true(chain.n <= chain.max);
			for (unsigned k = 0; k < chain.n; k++)
				assert_ptr_equal(mem_ptr(rig.vm, chain.gpa[k], chain.vec[k].len,
							 k >= chain.n_out),
						 chain.vec[k].base);
			virtq_fill(&q, 0, chain.head, 0);
			wanted += virtq_publish(&q, 1);
		}
		q.next_avail = q.seen_avail = (uint16_t)rig_get(&rig, g.avail + 2, 2);
		virtq_listen(&q);
	}
	assert_true(good > 1000 && bad > 1000 && wanted > 100);
}

static void test_checksum(void **state)
{
	uint8_t buf[300], frame[14 + 20 + 8 + 5];
	uint64_t seed = 5;

	/* against the definition, for every length and start */
	for (unsigned i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)rig_rand(&seed);
	for (unsigned at = 0; at < 4; at++) {
		for (unsigned len = 0; len < 290; len++) {
			uint32_t sum = 0x1234;

			for (unsigned i = 0; i < len; i++)
				sum += (uint32_t)buf[at + i] << (i & 1 ? 8 : 0);
			while (sum >> 16)
				sum = (sum & 0xffff) + (sum >> 16);
			assert_int_equal(netcsum_add(0x1234, buf + at, len) % 0xffff, sum % 0xffff);
		}
	}
	/* a UDP packet as a guest leaves it: the pseudo header's sum in place */
	memset(frame, 0, sizeof(frame));
	frame[12] = 8;
	memcpy(frame + 14, "\x45\0\0\x21\0\0\0\0\x40\x11\0\0\x0a\0\2\xf\x0a\0\2\2", 20);
	memcpy(frame + 34, "\x12\x34\0\x35\0\x0d\0\0hello", 13);
	uint16_t ps =
		netcsum_add(netcsum_add(0, frame + 26, 8), (const uint8_t *)"\0\x11\0\x0d", 4);
	memcpy(frame + 40, &ps, 2);
	assert_false(netcsum_valid(frame, sizeof(frame)));
	netcsum_complete(frame, sizeof(frame), 34, 6);
	assert_true(netcsum_valid(frame, sizeof(frame)));
	for (unsigned i = 26; i < sizeof(frame); i++) {
		frame[i] ^= 0x10;
		assert_false(netcsum_valid(frame, sizeof(frame)));
		frame[i] ^= 0x10;
	}
	for (unsigned len = 0; len < sizeof(frame); len++)
		assert_false(netcsum_valid(frame, len));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_enable, setup, teardown),
		cmocka_unit_test_setup_teardown(test_chain, setup, teardown),
		cmocka_unit_test_setup_teardown(test_slots, setup, teardown),
		cmocka_unit_test_setup_teardown(test_indirect, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_chains, setup, teardown),
		cmocka_unit_test_setup_teardown(test_too_many_pieces, setup, teardown),
		cmocka_unit_test_setup_teardown(test_event_idx, setup, teardown),
		cmocka_unit_test_setup_teardown(test_flags, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dirty, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dirty_pages, setup, teardown),
		cmocka_unit_test_setup_teardown(test_garbage, setup, teardown),
		cmocka_unit_test(test_checksum),
	};

	return cmocka_run_group_tests_name("virtq", tests, NULL, NULL);
}
