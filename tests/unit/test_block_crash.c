/* SPDX-License-Identifier: ISC */
/* test_block_crash.c: qcow2 over a file that ends requests in any order, fails some, and loses power.
 *
 * One thread; all is decided by the seed. Whatever a crash leaves must pass the check without corruption, and every sector
 * must hold what was flushed or something that was written later. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2.h"
#include "block/raw.h"
#include "tests/lib/qcow2_fake.h"
#include "tests/unit/chaosfile.h"

#define DISK_MAX  (1u << 20)
#define N_SECTORS (DISK_MAX / 512)
#define N_FLIGHT  24
#define HISTORY   64

/* ---- the disk ----------------------------------------------------------------------------------- */

/* A sector's content is told by one number: 0 zeros, else all its words. */
struct sector {
	uint32_t value[HISTORY]; /* may be there after a crash; [0] is flushed or older */
	unsigned n;
	bool open; /* a discard or an error: it holds the last value or one before */
	bool junk; /* not watched: requests there overlap, as a careless guest's may */
};

struct req {
	struct block_req r;
	struct block_vec vec[4];
	uint8_t *buf;
	bool busy;
	uint64_t ticket; /* of a flush: requests that ended before it began */
	uint32_t value;
};

struct disk {
	struct chaos c;
	struct block *b, *backing;
	uint64_t size;
	struct sector *s;
	struct sector *caught_s; /* as they were at the crash within a call */
	struct req req[N_FLIGHT];
	uint32_t next_value;
	uint64_t errors;
	bool quiet;          /* sync only: values are final */
	unsigned *flushed_n; /* at the beginning of the flush in flight */
	bool flushing;
};

static uint32_t value_of(const uint8_t *p)
{
	uint32_t v, w;

	memcpy(&v, p, 4);
	for (unsigned i = 4; i < 512; i += 4) {
		memcpy(&w, p + i, 4);
		if (w != v)
			return UINT32_MAX; /* torn */
	}
	return v;
}

static void fill(uint8_t *p, uint32_t value, uint64_t len)
{
	for (uint64_t i = 0; i < len; i += 4)
		memcpy(p + i, &value, 4);
}

static bool may_hold(const struct sector *s, uint32_t v)
{
	if (s->junk)
		return true;
	for (unsigned i = 0; i < s->n; i++)
		if (s->value[i] == v)
			return true;
	return false;
}

static void add_value(struct sector *s, uint32_t v)
{
	if (s->n ==
	    HISTORY) { /* forget one in the middle: the test gets stricter, so never do it */
		fail_msg("history too short");
	}
	s->value[s->n++] = v;
}

static bool overlaps(const struct req *a, const struct req *b)
{
	bool reads = a->r.op == BLOCK_READ && b->r.op == BLOCK_READ;

	return !reads && a->r.offset < b->r.offset + b->r.len &&
	       b->r.offset < a->r.offset + a->r.len;
}

static void req_done(struct block_req *br, int err)
{
	struct req *r = container_of(br, struct req, r);
	struct disk *d = br->ctx;
	uint64_t first = br->offset / 512, n = br->len / 512, i;

	r->busy = false;
	if (err) {
		assert_true(d->c.fail);
		d->errors++;
	}
	if (br->op == BLOCK_FLUSH) {
		d->flushing = false;
		for (i = 0; !err && i < d->size / 512; i++) {
			struct sector *s = &d->s[i];
			unsigned drop = d->flushed_n[i];

			memmove(s->value, s->value + drop, (s->n - drop) * sizeof(s->value[0]));
			s->n -= drop;
		}
		memset(d->flushed_n, 0, d->size / 512 * sizeof(unsigned));
		return;
	}
	for (i = 0; i < n; i++) {
		struct sector *s = &d->s[first + i];

		s->open |= br->op == BLOCK_DISCARD || (err && br->op != BLOCK_READ);
		if (br->op == BLOCK_READ && !err) {
			uint32_t v = value_of(r->buf + i * 512);

			if (v != s->value[s->n - 1] && !s->junk) {
				print_error("sector %llu reads %u, should be %u\n",
					    (unsigned long long)(first + i), v, s->value[s->n - 1]);
				fail();
			}
		}
	}
}

/* Reads what is there now in each sector of a range whose content is open. */
static void settle(struct disk *d, uint64_t first, uint64_t n);

static void flush_begins(struct disk *d)
{
	d->flushing = true;
	for (uint64_t i = 0; i < d->size / 512; i++)
		d->flushed_n[i] = d->s[i].open ? 0 : d->s[i].n - 1;
	for (unsigned k = 0; k < N_FLIGHT; k++) { /* those still in flight it need not cover */
		const struct req *r = &d->req[k];

		if (!r->busy || r->r.op == BLOCK_READ || r->r.op == BLOCK_FLUSH)
			continue;
		for (uint64_t i = r->r.offset / 512; i < (r->r.offset + r->r.len) / 512; i++)
			if (d->flushed_n[i])
				d->flushed_n[i]--;
	}
}

static bool start(struct disk *d, struct req *r)
{
	static const enum block_op mix[] = {BLOCK_READ,  BLOCK_READ, BLOCK_WRITE,  BLOCK_WRITE,
					    BLOCK_WRITE, BLOCK_ZERO, BLOCK_DISCARD};
	uint64_t i, max = d->size / 512;

	memset(&r->r, 0, sizeof(r->r));
	r->r.op = rnd(16) ? mix[rnd(ARRAY_SIZE(mix))] : BLOCK_FLUSH;
	r->r.done = req_done;
	r->r.ctx = d;
	if (r->r.op == BLOCK_FLUSH) {
		if (d->flushing)
			return false;
		flush_begins(d);
		r->busy = true;
		block_submit(d->b, &r->r);
		return true;
	}
	r->r.len = 512 * (1 + rnd(rnd(4) ? 12 : 200));
	r->r.offset = 512 * rnd(rnd(2) ? max : MIN(max, UINT64_C(256)));
	if (!rnd(4))
		r->r.offset = 512 * (max - 1 - rnd(100));
	r->r.len = MIN(r->r.len, d->size - r->r.offset);
	r->r.unmap = rnd(2);
	if (d->s[r->r.offset / 512].junk)
		goto go;
	while (d->s[(r->r.offset + r->r.len) / 512 - 1].junk)
		r->r.len -= 512;
	for (unsigned k = 0; k < N_FLIGHT; k++)
		if (d->req[k].busy && d->req[k].r.op != BLOCK_FLUSH && overlaps(r, &d->req[k]))
			return false;
	for (i = r->r.offset / 512; i < (r->r.offset + r->r.len) / 512; i++)
		if (d->s[i].n > HISTORY - 8 && r->r.op != BLOCK_READ)
			return false;
go:
	for (i = r->r.offset / 512; i < (r->r.offset + r->r.len) / 512; i++) {
		if (d->s[i].open) {
			settle(d, r->r.offset / 512, r->r.len / 512);
			break;
		}
	}
	r->value = r->r.op == BLOCK_WRITE ? d->next_value++ : 0;
	fill(r->buf, r->value, r->r.len);
	r->vec[0] = (struct block_vec){r->buf, 512};
	r->vec[1] = (struct block_vec){r->buf + 512, r->r.len - 512};
	r->r.vec = r->vec;
	r->r.n_vec = r->r.len > 512 ? 2 : 1;
	if (r->r.op != BLOCK_READ && !d->s[r->r.offset / 512].junk)
		for (i = r->r.offset / 512; i < (r->r.offset + r->r.len) / 512; i++)
			add_value(&d->s[i], r->value);
	r->busy = true;
	block_submit(d->b, &r->r);
	return true;
}

static void drain(struct disk *d)
{
	bool busy;

	do {
		busy = false;
		chaos_poll(&d->c.f);
		for (unsigned k = 0; k < N_FLIGHT; k++)
			busy |= d->req[k].busy;
	} while (busy || d->c.n_wait);
}

struct sync_read {
	struct block_req r;
	struct block_vec vec;
	int err;
	bool done;
};

static void sync_done(struct block_req *r, int err)
{
	struct sync_read *s = container_of(r, struct sync_read, r);

	s->err = err;
	s->done = true;
}

static void read_all(struct disk *d, struct block *b, uint8_t *buf, uint64_t off, uint64_t len)
{
	unsigned tries = 0;
	struct sync_read s = {
		.r = {.op = BLOCK_READ, .offset = off, .len = len, .done = sync_done, .n_vec = 1},
		.vec = {buf, len},
	};

	s.r.vec = &s.vec;
	do { /* with a cache full of what cannot be written, even a read may fail */
		s.done = false;
		block_submit(b, &s.r);
		while (!s.done)
			chaos_poll(&d->c.f);
	} while (s.err && d->c.fail && ++tries < 100);
	assert_int_equal(s.err, 0);
}

/* After discards and errors the content of a sector is one of several: fix which. */
static void settle(struct disk *d, uint64_t first, uint64_t n)
{
	uint8_t *buf = malloc(n * 512);

	read_all(d, d->b, buf, first * 512, n * 512);
	for (uint64_t i = 0; i < n; i++) {
		struct sector *s = &d->s[first + i];
		uint32_t v = value_of(buf + i * 512);

		s->open = false;
		if (v == s->value[s->n - 1] || s->junk)
			continue;
		if (v != UINT32_MAX && !may_hold(s, v)) {
			print_error("sector %llu holds %u\n", (unsigned long long)(first + i), v);
			fail();
		}
		add_value(s, v);
	}
	free(buf);
}

static void check_snapshot(struct disk *d, struct bfile *image);
static int fake_unzip(unsigned type, const void *in, size_t in_len, void *out, size_t out_len);
static uint64_t snap_l1; /* 0: none */

static void verify_crash(struct disk *d, struct bfile *f, const struct sector *sectors)
{
	struct qcow2_opts co = {.for_check = true, .read_only = true, .unzip = fake_unzip};
	uint8_t *buf = malloc(d->size);
	struct block_check found;
	char err[200] = "";
	struct block *b;

	if (qcow2_open(f, &co, &b, err, sizeof(err)))
		fail_msg("crashed image: %s", err);
	assert_int_equal(qcow2_check(b, false, &found), 0);
	if (found.corruptions)
		fail_msg("crashed image: %llu corruptions", (unsigned long long)found.corruptions);
	((struct qcow2 *)(void *)b)->backing = d->backing;
	read_all(d, b, buf, 0, d->size);
	for (uint64_t i = 0; i < d->size / 512; i++) {
		uint32_t v = value_of(buf + i * 512);

		/* A sector is written as a whole. */
		if (!may_hold(&sectors[i], v)) {
			const struct sector *s = &sectors[i];

			print_error("after a crash sector %llu holds %u; flushed %u, last %u\n",
				    (unsigned long long)i, v, s->value[0], s->value[s->n - 1]);
			fail();
		}
	}
	((struct qcow2 *)(void *)b)->backing = NULL;
	if (snap_l1)
		check_snapshot(d, f);
	block_close(b);
	free(buf);
}

static void check_crash(struct disk *d)
{
	verify_crash(d, crash_image(&d->c), d->s);
}

static void crash_in_call(struct chaos *c)
{
	struct disk *d = container_of(c, struct disk, c);

	c->caught = crash_image(c);
	memcpy(d->caught_s, d->s, N_SECTORS * sizeof(*d->s));
}

static void check_caught(struct disk *d)
{
	struct bfile *f = d->c.caught;

	d->c.caught = NULL;
	if (f)
		verify_crash(d, f, d->caught_s);
}

static struct block *make_backing(uint64_t size)
{
	const struct raw_opts o = {.read_only = true};
	uint8_t *content = malloc(size);
	struct bfile *f;
	struct block *b;

	for (uint64_t i = 0; i < size / 512; i++)
		fill(content + i * 512, (uint32_t)(0x80000000u + i), 512);
	assert_int_equal(memfile_create("backing", content, size, size, &f), 0);
	assert_int_equal(raw_open(f, &o, &b), 0);
	free(content);
	return b;
}

static void open_disk(struct disk *d, const struct qcow2_opts *o)
{
	char err[200] = "";
	unsigned fail = d->c.fail;

	d->c.fail = 0;
	if (qcow2_open(&d->c.f, o, &d->b, err, sizeof(err)))
		fail_msg("open: %s", err);
	d->c.fail = fail;
	if (!rnd(3)) { /* as if the file were as large as its first refcount table can count */
		struct qcow2 *q = (struct qcow2 *)(void *)d->b;
		uint64_t end = (uint64_t)q->rt.n << q->rb_bits;

		if ((end << q->cb) < FILE_MAX / 2 && end > 8)
			q->hint = end - rnd(8);
	}
}

/* ---- a snapshot, as qemu-img would make it ------------------------------------------------------ */

static uint32_t snap_l1_size;
static uint8_t *snap_content;

/* Adds one to the count of a cluster; false: there is no room in this simple way. */
static bool bump(struct chaos *c, const struct qcow2 *q, uint64_t cluster, bool apply)
{
	uint64_t rb = cluster >> q->rb_bits, i = cluster & (BIT64(q->rb_bits) - 1), off, v;

	if (rb >= q->rt.n)
		return false;
	off = be64_get(c->now + q->rt.off + rb * 8);
	if (!off)
		return false;
	v = qcow2_rc_get(q, c->now + off, i);
	if (q->h.refcount_order < 2 || v > 2)
		return false;
	if (apply) {
		qcow2_rc_put(q, c->now + off, i, v + 1);
		memcpy(c->synced + off, c->now + off, q->cs);
	}
	return true;
}

static bool bump_all(struct chaos *c, const struct qcow2 *q, bool apply)
{
	for (uint32_t i = 0; i < q->h.l1_size; i++) {
		uint8_t *e = c->now + q->h.l1_off + i * 8;
		uint64_t l2 = be64_get(e) & QE_OFFSET;

		if (!l2)
			continue;
		if (!bump(c, q, l2 >> q->cb, apply))
			return false;
		if (apply)
			be64_put(e, l2);
		for (uint64_t k = 0; k < q->cs / 8; k++) {
			uint8_t *p = c->now + l2 + k * 8;
			uint64_t v = be64_get(p);

			if (v & QE_COMPRESSED)
				v &= BIT64(62 - (q->cb - 8)) - 1;
			if (!(v & QE_OFFSET))
				continue;
			if (!bump(c, q, (v & QE_OFFSET) >> q->cb, apply))
				return false;
			if (apply)
				be64_put(p, be64_get(p) & ~QE_COPIED);
		}
	}
	return true;
}

static bool every_other(void)
{
	return !rnd(2);
}

static void make_compressed(struct chaos *c)
{
	fake_compressed(&c->f, c->now, every_other);
	memcpy(c->synced, c->now, FILE_MAX);
	c->synced_size = bfile_size(&c->f);
}

/* On the closed image. */
static void make_snapshot(struct disk *d)
{
	struct chaos *c = &d->c;
	struct qcow2_opts ro = {.read_only = true};
	uint64_t at, n;
	struct block *b;
	struct qcow2 *q;
	uint8_t be[QS_LEN] = {0};
	char err[200];

	assert_int_equal(qcow2_open(&c->f, &ro, &b, err, sizeof(err)), 0);
	q = (struct qcow2 *)(void *)b;
	at = (bfile_size(&c->f) + q->cs - 1) >> q->cb;
	n = (q->h.l1_size * 8 + q->cs - 1) >> q->cb;
	if (snap_l1 || !bump_all(c, q, false))
		goto out;
	for (uint64_t i = 0; i <= n; i++)
		if (!bump(c, q, at + i, false) || ((at + i) & (BIT64(q->rb_bits) - 1)) < 1)
			goto out;
	for (uint64_t i = 0; i <= n; i++)
		bump(c, q, at + i, true);
	bump_all(c, q, true);
	snap_l1 = at << q->cb;
	snap_l1_size = q->h.l1_size;
	memcpy(c->now + snap_l1, c->now + q->h.l1_off, q->h.l1_size * 8);
	be64_put(be + QS_L1_OFF, snap_l1);
	be32_put(be + QS_L1_SIZE, snap_l1_size);
	memcpy(c->now + ((at + n) << q->cb), be, sizeof(be));
	be32_put(c->now + QH_NB_SNAPSHOTS, 1);
	be64_put(c->now + QH_SNAPSHOTS_OFF, (at + n) << q->cb);
	bfile_grew(&c->f, (at + n + 1) << q->cb);
	memcpy(c->synced, c->now, FILE_MAX);
	c->synced_size = bfile_size(&c->f);
	snap_content = malloc(d->size);
	for (uint64_t i = 0; i < d->size / 512; i++)
		fill(snap_content + i * 512, d->s[i].value[0], 512);
out:
	block_close(b);
}

/* The disk as the snapshot has it. */
static void check_snapshot(struct disk *d, struct bfile *image)
{
	struct qcow2_opts ro = {.read_only = true, .backing = d->backing, .unzip = fake_unzip};
	uint8_t *bytes, *buf = malloc(d->size), be[12];
	struct bfile *f;
	struct block *b;
	char err[200];

	bytes = malloc(bfile_size(image));
	assert_int_equal(bfile_pread(image, 0, bytes, bfile_size(image)), 0);
	assert_int_equal(memfile_create("snapshot", bytes, bfile_size(image), 0, &f), 0);
	be32_put(be, snap_l1_size);
	be64_put(be + 4, snap_l1);
	assert_int_equal(bfile_pwrite(f, QH_L1_SIZE, be, 12), 0);
	if (qcow2_open(f, &ro, &b, err, sizeof(err)))
		fail_msg("snapshot: %s", err);
	read_all(d, b, buf, 0, d->size);
	for (uint64_t i = 0; i < d->size; i += 512)
		if (memcmp(buf + i, snap_content + i, 512) && !d->s[i / 512].junk)
			fail_msg("snapshot: sector %llu is %u, was %u", (unsigned long long)i / 512,
				 value_of(buf + i), value_of(snap_content + i));
	block_close(b);
	free(bytes);
	free(buf);
}

/* After a close nothing leaks. */
static void check_sound(struct disk *d, bool leaks)
{
	struct qcow2_opts co = {.for_check = true, .read_only = true};
	struct block_check found;
	char err[200] = "";
	struct block *b;

	assert_int_equal(qcow2_open(&d->c.f, &co, &b, err, sizeof(err)), 0);
	assert_int_equal(qcow2_check(b, false, &found), 0);
	assert_int_equal(found.corruptions, 0);
	if (!leaks && found.leaks)
		fail_msg("%llu clusters leak", (unsigned long long)found.leaks);
	block_close(b);
}

/* Everything on disk: each sector has one value. */
static void reset_history(struct disk *d)
{
	uint8_t *buf = malloc(d->size);

	read_all(d, d->b, buf, 0, d->size);
	for (uint64_t i = 0; i < d->size / 512; i++) {
		struct sector *s = &d->s[i];
		uint32_t v = value_of(buf + i * 512);

		if (!may_hold(s, v) && v != UINT32_MAX)
			fail_msg("sector %llu holds %u", (unsigned long long)i, v);
		s->value[0] = v;
		s->n = 1;
		s->open = false;
	}
	memset(d->flushed_n, 0, d->size / 512 * sizeof(unsigned));
	free(buf);
}

/* Discards and failed writes leave a choice, which ends when nothing is in flight there. */
static void settle_all(struct disk *d)
{
	drain(d);
	settle(d, 0, d->size / 512);
}

static void one_run(uint64_t seed, bool failing)
{
	bool snapshots, compressed;
	uint64_t junk;
	struct qcow2_create cr = {.version = 3};
	struct qcow2_opts o = {.discard = true, .unzip = fake_unzip};
	struct disk *d = calloc(1, sizeof(*d));
	char err[200] = "";

	rng = seed * 2654435761u + 88172645463325252u;
	for (int i = 0; i < 8; i++)
		rnd(2);
	chaos_init(&d->c);
	d->next_value = 1;
	d->size = DISK_MAX - 512 * rnd(300);
	d->s = calloc(N_SECTORS, sizeof(*d->s));
	d->caught_s = calloc(N_SECTORS, sizeof(*d->s));
	d->flushed_n = calloc(N_SECTORS, sizeof(unsigned));
	for (unsigned k = 0; k < N_FLIGHT; k++)
		d->req[k].buf = malloc(256 * 512);
	snapshots = rnd(2);
	compressed = rnd(2);
	snap_l1 = 0;
	snap_content = NULL;
	cr.size = d->size;
	junk = d->size / 512 - rnd(700);
	cr.cluster_bits = (unsigned[]){9, 9, 10, 12, 14, 16}[rnd(6)];
	cr.refcount_order = (unsigned)rnd(7);
	if (!rnd(4)) {
		cr.cluster_bits = 9; /* the refcount table must grow */
		cr.refcount_order = 6;
	} else if (!rnd(4)) {
		cr.version = 2;
		cr.refcount_order = 4;
	}
	if (rnd(2))
		d->backing = make_backing(rnd(2) ? d->size : d->size / 3 / 512 * 512);
	o.backing = d->backing;
	o.discard = rnd(8) != 0;
	o.l2_cache = o.refcount_cache = rnd(3) ? 1 : 0; /* smallest */
	for (uint64_t i = 0; i < d->size / 512; i++) {
		bool under = d->backing && i < d->backing->size / 512;

		d->s[i].value[0] = under ? (uint32_t)(0x80000000u + i) : 0;
		d->s[i].n = 1;
		d->s[i].junk = i >= junk;
	}
	assert_int_equal(qcow2_create(&d->c.f, &cr, err, sizeof(err)), 0);
	open_disk(d, &o);
	d->c.fail = failing ? 20 : 0;
	d->c.in_call = crash_in_call;
	for (unsigned step = 0; step < 1200; step++) {
		struct req *r = &d->req[rnd(N_FLIGHT)];

		if (!r->busy)
			start(d, r);
		if (rnd(2))
			chaos_poll(&d->c.f);
		if (rnd(60) == 0)
			check_crash(d);
		if (rnd(300) == 0) {
			settle_all(d);
			d->c.fail = 0;
			block_close(d->b);
			check_caught(d);
			d->c.in_call = NULL;
			check_sound(d, failing);
			if (compressed)
				make_compressed(&d->c);
			if (snapshots) {
				open_disk(d, &o);
				reset_history(d);
				block_close(d->b);
				make_snapshot(d);
			}
			open_disk(d, &o);
			reset_history(d);
			d->c.fail = failing ? 20 : 0;
			d->c.in_call = crash_in_call;
		}
		check_caught(d);
	}
	d->c.in_call = NULL;
	settle_all(d);
	check_crash(d);
	d->c.fail = 0;
	block_close(d->b);
	open_disk(d, &o);
	reset_history(d);
	check_crash(d);
	block_close(d->b);
	if (d->backing)
		block_close(d->backing);
	for (unsigned k = 0; k < N_FLIGHT; k++)
		free(d->req[k].buf);
	chaos_fini(&d->c);
	free(snap_content);
	free(d->s);
	free(d->caught_s);
	free(d->flushed_n);
	free(d);
}

static unsigned rounds = 40;
static uint64_t base_seed = 1;

static void test_crash(void **state)
{
	for (uint64_t s = 0; s < rounds; s++) {
		if (getenv("VERBOSE"))
			print_message("seed %llu\n", (unsigned long long)(base_seed + s));
		one_run(base_seed + s, false);
	}
}

static void test_errors(void **state)
{
	for (uint64_t s = 0; s < rounds; s++) {
		if (getenv("VERBOSE"))
			print_message("seed %llu, with errors\n",
				      (unsigned long long)(base_seed + s));
		one_run(base_seed + s, true);
	}
}

/* Many requests, each of which needs what there is little room for: all must come to their end,
 * although those that are woken take it from those that are about to be. */
static void test_little_room(void **state)
{
	static struct {
		struct sync_read s;
		uint8_t buf[512];
	} r[200];
	struct qcow2_create cr = {
		.size = DISK_MAX, .version = 3, .cluster_bits = 9, .refcount_order = 6};
	struct qcow2_opts o = {.unzip = fake_unzip, .l2_cache = 1, .refcount_cache = 1};
	struct disk *d = calloc(1, sizeof(*d));
	char err[200];
	unsigned i, round;

	rng = 12345;
	chaos_init(&d->c);
	assert_int_equal(qcow2_create(&d->c.f, &cr, err, sizeof(err)), 0);
	for (round = 0; round < 3; round++) { /* new clusters, reads in place, compressed reads */
		d->c.at_once = false;
		open_disk(d, &o);
		for (i = 0; i < ARRAY_SIZE(r); i++) {
			fill(r[i].buf, i + 1, 512);
			r[i].s.vec = (struct block_vec){r[i].buf, 512};
			r[i].s.done = false;
			r[i].s.r = (struct block_req){.op = round ? BLOCK_READ : BLOCK_WRITE,
						      .offset = i * 9 * 512,
						      .len = 512,
						      .vec = &r[i].s.vec,
						      .n_vec = 1,
						      .done = sync_done};
			block_submit(d->b, &r[i].s.r);
		}
		d->c.at_once = true;
		d->c.submitted = 0;
		while (d->c.n_wait)
			end_one(&d->c, 0);
		for (i = 0; i < ARRAY_SIZE(r); i++) {
			assert_true(r[i].s.done);
			assert_int_equal(r[i].s.err, 0);
			assert_int_equal(value_of(r[i].buf), i + 1);
		}
		assert_true(d->c.submitted < 20 * ARRAY_SIZE(r));
		block_close(d->b);
		make_compressed(&d->c);
	}
	chaos_fini(&d->c);
	free(d);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_little_room),
		cmocka_unit_test(test_crash),
		cmocka_unit_test(test_errors),
	};

	if (argc > 1)
		base_seed = strtoull(argv[1], NULL, 0);
	if (argc > 2)
		rounds = (unsigned)strtoul(argv[2], NULL, 0);
	print_message("seed %llu, %u rounds\n", (unsigned long long)base_seed, rounds);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
