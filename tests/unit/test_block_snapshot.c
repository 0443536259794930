/* SPDX-License-Identifier: ISC */
/* test_block_snapshot.c: snapshots within qcow2 images against a model, and a crash after each single
 * write of each operation: the image is as it was before or as it is after, sound, and nothing leaks. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/memfile.h"
#include "block/qcow2.h"
#include "tests/lib/qcow2_fake.h"

#define FILE_MAX  (8u << 20)
#define DISK      (256u << 10)
#define N_SECTORS (DISK / 512)
#define N_SNAPS   4

static uint64_t rng;

static uint64_t rnd(uint64_t n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (rng >> 11) % n;
}

/* ---- a file that remembers what was written, and in which order ---------------------------------- */

struct entry {
	uint64_t off, len;
	uint8_t *data; /* NULL: zeros; with len 0: a sync */
};

struct diary {
	struct bfile f;
	uint8_t *now, *base; /* base: when the diary began */
	uint64_t base_size;
	struct entry *e;
	unsigned n, fail_at; /* 0: none */
	bool on;
};

static int note(struct diary *d, uint64_t off, const void *data, uint64_t len)
{
	if (d->fail_at && !--d->fail_at)
		return ERR_NOSPC;
	if (d->on) {
		d->e = realloc(d->e, (d->n + 1) * sizeof(*d->e));
		d->e[d->n] = (struct entry){off, len, data ? malloc(len) : NULL};
		if (data)
			memcpy(d->e[d->n].data, data, len);
		d->n++;
	}
	if (!len)
		return 0;
	assert_true(off + len <= FILE_MAX);
	if (data)
		memcpy(d->now + off, data, len);
	else
		memset(d->now + off, 0, len);
	bfile_grew(&d->f, off + len);
	return 0;
}

static int diary_pread(struct bfile *f, uint64_t off, void *buf, size_t len)
{
	assert_true(off + len <= FILE_MAX);
	memcpy(buf, container_of(f, struct diary, f)->now + off, len);
	return 0;
}

static int diary_pwrite(struct bfile *f, uint64_t off, const void *buf, size_t len)
{
	return note(container_of(f, struct diary, f), off, buf, len);
}

static int diary_zero(struct bfile *f, uint64_t off, uint64_t len)
{
	return note(container_of(f, struct diary, f), off, NULL, len);
}

static int diary_sync(struct bfile *f)
{
	return note(container_of(f, struct diary, f), 0, NULL, 0);
}

static void diary_submit(struct bfile *f, struct block_req *req)
{
	uint64_t off = req->offset;
	int err = 0;

	for (unsigned i = 0; i < req->n_vec && !err; off += req->vec[i++].len)
		err = req->op == BLOCK_READ
			      ? diary_pread(f, off, req->vec[i].base, req->vec[i].len)
			      : diary_pwrite(f, off, req->vec[i].base, req->vec[i].len);
	if (req->op == BLOCK_FLUSH)
		err = diary_sync(f);
	if (req->op == BLOCK_ZERO || req->op == BLOCK_DISCARD)
		err = diary_zero(f, req->offset, req->len);
	req->done(req, err);
}

static void diary_close(struct bfile *f)
{
}

static const struct bfile_ops diary_ops = {.submit = diary_submit,
					   .pread = diary_pread,
					   .pwrite = diary_pwrite,
					   .zero = diary_zero,
					   .sync = diary_sync,
					   .close = diary_close};

static void diary_begin(struct diary *d)
{
	for (unsigned i = 0; i < d->n; i++)
		free(d->e[i].data);
	d->n = 0;
	d->on = true;
	memcpy(d->base, d->now, FILE_MAX);
	d->base_size = bfile_size(&d->f);
}

/* What is there when it ends after n entries, of which those since the last sync got lost in part. */
static struct bfile *diary_until(const struct diary *d, unsigned n, bool power)
{
	uint8_t *img = malloc(FILE_MAX);
	uint64_t size = d->base_size;
	unsigned synced = 0;
	struct bfile *f;

	memcpy(img, d->base, FILE_MAX);
	for (unsigned i = 0; i < n; i++)
		synced = d->e[i].len ? synced : i;
	for (unsigned i = 0; i < n; i++) {
		const struct entry *e = &d->e[i];

		for (uint64_t at = 0, len; at < e->len; at += len) {
			len = MIN(e->len - at, 512 - (e->off + at) % 512);
			if (power && i > synced && !rnd(2))
				continue;
			if (e->data)
				memcpy(img + e->off + at, e->data + at, len);
			else
				memset(img + e->off + at, 0, len);
			size = MAX(size, e->off + at + len);
		}
	}
	assert_int_equal(memfile_create("crashed", img, size, FILE_MAX, &f), 0);
	free(img);
	return f;
}

/* ---- the model ------------------------------------------------------------------------------------ */

struct model {
	uint32_t now[N_SECTORS];
	struct {
		bool there;
		uint32_t was[N_SECTORS];
	} snap[N_SNAPS];
};

static const char *const snap_names[N_SNAPS] = {"first", "another one", "c",
						"vigia-0123456789abcdef"};

static void ended(struct block_req *req, int err)
{
	*(int *)req->ctx = err;
}

static int io(struct block *b, enum block_op op, uint64_t sector, uint64_t n, void *buf)
{
	struct block_vec vec = {buf, n * 512};
	int err = 1;
	struct block_req req = {.op = op,
				.unmap = rnd(2),
				.offset = sector * 512,
				.len = n * 512,
				.vec = &vec,
				.n_vec = 1,
				.done = ended,
				.ctx = &err};

	block_submit(b, &req);
	assert_int_not_equal(err, 1);
	return err;
}

static bool has(struct block *b, const uint32_t *want)
{
	static uint32_t buf[DISK / 4];
	bool same = true;

	assert_int_equal(io(b, BLOCK_READ, 0, N_SECTORS, buf), 0);
	for (unsigned i = 0; i < N_SECTORS; i++)
		same &= buf[i * 128] == want[i] && buf[i * 128 + 127] == want[i];
	return same;
}

static int snap(struct block *b, enum block_snapshot_op op, unsigned i)
{
	const struct block_snapshot o = {.op = op, .name = snap_names[i], .time = 1234567890};
	char err[200];

	return block_snapshot(b, &o, err, sizeof(err));
}

static void random_io(struct block *b, struct model *m)
{
	static uint32_t buf[DISK / 4];
	static const enum block_op ops[] = {BLOCK_WRITE, BLOCK_WRITE, BLOCK_ZERO, BLOCK_FLUSH};

	for (unsigned n = (unsigned)rnd(20); n; n--) {
		enum block_op op = ops[rnd(4)];
		uint32_t v = op == BLOCK_WRITE ? (uint32_t)rnd(1u << 31) + 1 : 0;
		uint64_t at = rnd(N_SECTORS), len = 1 + rnd(MIN(N_SECTORS - at, UINT64_C(60)));

		if (op == BLOCK_FLUSH) {
			assert_int_equal(io(b, op, 0, 0, buf), 0);
			continue;
		}
		for (uint64_t i = 0; i < len * 128; i++)
			buf[i] = v;
		assert_int_equal(io(b, op, at, len, buf), 0);
		for (uint64_t i = at; i < at + len; i++)
			m->now[i] = v;
	}
}

/* ---- crashes ----------------------------------------------------------------------------------------- */

/* All that a model says of an image. It is used up. */
static bool is_like(struct bfile *f, const struct model *m)
{
	const struct qcow2_opts o = {.unzip = fake_unzip};
	char err[200];
	struct block *b;
	bool same;

	if (qcow2_open(f, &o, &b, err, sizeof(err)))
		fail_msg("crashed image: %s", err);
	same = has(b, m->now);
	for (unsigned i = 0; i < N_SNAPS && same; i++) {
		same = (snap(b, BLOCK_SNAPSHOT_FIND, i) == 0) == m->snap[i].there;
		if (same && m->snap[i].there) {
			assert_int_equal(snap(b, BLOCK_SNAPSHOT_REVERT, i), 0);
			same = has(b, m->snap[i].was);
		}
	}
	block_close(b);
	return same;
}

static void must_be_sound(struct bfile *f, bool leaks)
{
	const struct qcow2_opts o = {.for_check = true, .read_only = true};
	struct block_check found;
	char err[200];
	struct block *b;
	uint8_t *bytes = malloc(bfile_size(f));
	struct bfile *copy;

	assert_int_equal(bfile_pread(f, 0, bytes, bfile_size(f)), 0);
	assert_int_equal(memfile_create("copy", bytes, bfile_size(f), 0, &copy), 0);
	free(bytes);
	f->ops->close(f);
	assert_int_equal(qcow2_open(copy, &o, &b, err, sizeof(err)), 0);
	assert_int_equal(qcow2_check(b, false, &found), 0);
	assert_int_equal(found.corruptions, 0);
	if (!leaks)
		assert_int_equal(found.leaks, 0);
	block_close(b);
}

/* After each write of the operation, by a kill and by a loss of power. What settles the image before the
 * tables change may leak; from the first new table on nothing does. */
static void check_crashes(struct diary *d, const struct model *before, const struct model *after)
{
	unsigned turned = 0;

	for (unsigned n = 0; n <= d->n; n++) {
		bool power = rnd(2), was, is;
		uint64_t dice = rng;

		must_be_sound(diary_until(d, n, power), true);
		rng = dice; /* the same sectors get lost */
		was = is_like(diary_until(d, n, power), before);
		rng = dice;
		is = is_like(diary_until(d, n, power), after);
		if (!was && !is)
			fail_msg("after %u of %u writes it is neither old nor new", n, d->n);
		turned += is && !was;
		if (!power && turned > 1 && !is)
			fail_msg("after %u of %u writes it is the old one again", n, d->n);
	}
	must_be_sound(diary_until(d, d->n, false), false);
	assert_true(is_like(diary_until(d, d->n, false), after));
}

/* ---- runs --------------------------------------------------------------------------------------------- */

static void apply(struct model *m, enum block_snapshot_op op, unsigned i)
{
	if (op == BLOCK_SNAPSHOT_REVERT) {
		memcpy(m->now, m->snap[i].was, sizeof(m->now));
		return;
	}
	m->snap[i].there = op == BLOCK_SNAPSHOT_SAVE;
	memcpy(m->snap[i].was, m->now, sizeof(m->now));
}

static int expected(const struct model *m, enum block_snapshot_op op, unsigned i)
{
	if (op == BLOCK_SNAPSHOT_SAVE)
		return m->snap[i].there ? ERR_EXIST : 0;
	return m->snap[i].there ? 0 : ERR_NOENT;
}

static bool every_third(void)
{
	return !rnd(3);
}

/* An operation that finds no room somewhere. Only where the header may be the new one does the image
 * refuse to go on, until it is opened again. */
static void fail_once(struct diary *d, struct block **b, const struct qcow2_opts *o,
		      enum block_snapshot_op op, unsigned i, struct model *m)
{
	char err[200];
	int failed;

	d->fail_at = 1 + (unsigned)rnd(20);
	failed = snap(*b, op, i);
	d->fail_at = 0;
	if (((struct qcow2 *)(void *)*b)->broken) {
		assert_int_not_equal(failed, 0);
		block_close(*b);
		assert_int_equal(qcow2_open(&d->f, o, b, err, sizeof(err)), 0);
		failed = op == BLOCK_SNAPSHOT_REVERT
				 ? has(*b, m->now)
				 : (snap(*b, BLOCK_SNAPSHOT_FIND, i) == 0) == m->snap[i].there;
	}
	if (!failed)
		apply(m, op, i);
	assert_true(has(*b, m->now));
	random_io(*b, m);
}

static void one_step(struct diary *d, struct block **at, const struct qcow2_opts *o,
		     struct model *m)
{
	enum block_snapshot_op op = BLOCK_SNAPSHOT_SAVE + (enum block_snapshot_op)rnd(3);
	unsigned i = (unsigned)rnd(N_SNAPS);
	struct model *before = malloc(sizeof(*m));
	int want = expected(m, op, i);
	struct block *b;

	if (!want && !rnd(3))
		fail_once(d, at, o, op, i, m);
	want = expected(m, op, i);
	b = *at;
	*before = *m;
	assert_int_equal(io(b, BLOCK_FLUSH, 0, 0, NULL), 0);
	diary_begin(d);
	assert_int_equal(snap(b, op, i), want);
	d->on = false;
	if (!want)
		apply(m, op, i);
	assert_true(has(b, m->now));
	check_crashes(d, before, m);
	free(before);
}

static void one_run(uint64_t seed)
{
	struct qcow2_create cr = {.size = DISK, .version = 3};
	struct qcow2_opts o = {.unzip = fake_unzip, .discard = true};
	struct diary d = {.f = {.ops = &diary_ops, .virgin_tail = true, .name = "diary"}};
	struct model *m = calloc(1, sizeof(*m));
	struct block *b;
	char err[200];

	rng = seed * 2654435761u + 88172645463325252u;
	for (int i = 0; i < 8; i++)
		rnd(2);
	d.now = calloc(1, FILE_MAX);
	d.base = calloc(1, FILE_MAX);
	cr.cluster_bits = (unsigned[]){9, 9, 10, 12, 14}[rnd(5)];
	cr.refcount_order = (unsigned[]){3, 4, 5, 6}[rnd(4)];
	if (cr.refcount_order == 4 && rnd(2))
		cr.version = 2;
	o.l2_cache = o.refcount_cache = rnd(3) ? 1 : 0; /* smallest */
	assert_int_equal(qcow2_create(&d.f, &cr, err, sizeof(err)), 0);
	assert_int_equal(qcow2_open(&d.f, &o, &b, err, sizeof(err)), 0);
	for (unsigned step = 0; step < 12; step++) {
		random_io(b, m);
		one_step(&d, &b, &o, m);
		if (rnd(3))
			continue;
		block_close(b);
		if (rnd(2))
			fake_compressed(&d.f, d.now, every_third);
		assert_int_equal(qcow2_open(&d.f, &o, &b, err, sizeof(err)), 0);
	}
	random_io(b, m);
	assert_true(has(b, m->now));
	block_close(b);
	diary_begin(&d);
	must_be_sound(diary_until(&d, 0, false), false);
	free(d.e);
	free(d.now);
	free(d.base);
	free(m);
}

static unsigned rounds = 8;
static uint64_t base_seed = 1;

static void test_runs(void **state)
{
	for (uint64_t s = 0; s < rounds; s++) {
		if (getenv("VERBOSE"))
			print_message("seed %llu\n", (unsigned long long)(base_seed + s));
		one_run(base_seed + s);
	}
}

/* A count of one bit cannot say two: refused, and nothing changes. */
static void test_narrow(void **state)
{
	struct qcow2_create cr = {.size = DISK, .version = 3, .cluster_bits = 9};
	struct qcow2_opts o = {.unzip = fake_unzip};
	struct diary d = {.f = {.ops = &diary_ops, .virgin_tail = true, .name = "diary"}};
	struct model *m = calloc(1, sizeof(*m));
	struct block *b;
	char err[200];

	rng = 4711;
	d.now = calloc(1, FILE_MAX);
	assert_int_equal(qcow2_create(&d.f, &cr, err, sizeof(err)), 0);
	assert_int_equal(qcow2_open(&d.f, &o, &b, err, sizeof(err)), 0);
	while (!m->now[3])
		random_io(b, m);
	assert_int_equal(snap(b, BLOCK_SNAPSHOT_SAVE, 0), ERR_FORMAT);
	assert_true(has(b, m->now));
	assert_int_equal(snap(b, BLOCK_SNAPSHOT_FIND, 0), ERR_NOENT);
	block_close(b);
	free(d.now);
	free(m);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_narrow),
		cmocka_unit_test(test_runs),
	};

	if (argc > 1)
		base_seed = strtoull(argv[1], NULL, 0);
	if (argc > 2)
		rounds = (unsigned)strtoul(argv[2], NULL, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
