/* SPDX-License-Identifier: ISC */
/* test_hostdisk.c: requests of any shape through drivers of any limits, against an array in memory; and what the drivers
 * are given keeps to their limits. Slices: extents, bounds, claims. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "metal/hostdisk.h"
#include "metal/iommu.h"

#define SECTORS 4096u

/* Bare metal has these; here memory is at its own address, and devices reach all of it. */
uint64_t plat_phys(const void *p)
{
	return (uint64_t)p;
}

int iommu_allow(const struct hostpci *f, const void *p, size_t size)
{
	return 0;
}

void iommu_deny(const struct hostpci *f, const void *p, size_t size)
{
}

void *iommu_pages_alloc(const struct hostpci *f, size_t size)
{
	return plat_pages_alloc(size);
}

struct fake {
	struct hostdisk d;
	uint8_t data[SECTORS * BLOCK_SECTOR];
	uint32_t ended, bad; /* tags */
	unsigned flushes, commands, started;
	uint64_t fail_at; /* this sector; UINT64_MAX: none */
	bool hangs, cut;
};

static void check_limits(const struct hostdisk *d, const struct hostdisk_cmd *c)
{
	uint64_t n = 0;

	assert_in_range(c->n_seg, 1, d->max_segs);
	assert_in_range(c->sectors, 1, d->max_sectors);
	assert_true(c->sector < SECTORS && c->sectors <= SECTORS - c->sector);
	for (unsigned i = 0; i < c->n_seg; i++) {
		const struct hostdisk_seg *s = &c->seg[i];

		assert_in_range(s->len, 1, d->max_seg);
		assert_true(!((s->pa | s->len) & (d->align - 1)));
		if (d->pages && i)
			assert_true(!((s->pa | (s[-1].pa + s[-1].len)) & PAGE_MASK));
		n += s->len;
	}
	assert_int_equal(n, (uint64_t)c->sectors * BLOCK_SECTOR);
}

static void fake_start(struct hostdisk *d, unsigned tag, const struct hostdisk_cmd *c)
{
	struct fake *f = container_of(d, struct fake, d);
	uint8_t *at = f->data + c->sector * BLOCK_SECTOR;

	assert_in_range(tag, 0, d->tags - 1);
	assert_false(f->ended & BIT(tag));
	f->commands++;
	f->started++;
	if (f->hangs)
		return;
	f->ended |= BIT(tag);
	f->bad &= ~BIT(tag);
	if (c->op == BLOCK_FLUSH) {
		f->flushes++;
		return;
	}
	check_limits(d, c);
	if (f->fail_at - c->sector < c->sectors) {
		f->bad |= BIT(tag);
		return;
	}
	for (unsigned i = 0; i < c->n_seg; at += c->seg[i].len, i++) {
		if (c->op == BLOCK_READ)
			memcpy((void *)c->seg[i].pa, at, c->seg[i].len);
		else
			memcpy(at, (void *)c->seg[i].pa, c->seg[i].len);
	}
}

static void fake_kick(struct hostdisk *d)
{
	struct fake *f = container_of(d, struct fake, d);

	f->started = 0;
}

static void fake_poll(struct hostdisk *d)
{
	struct fake *f = container_of(d, struct fake, d);
	uint32_t ended = f->ended;

	f->ended = 0;
	for (unsigned tag = HOSTDISK_TAGS; tag--;) /* out of order */
		if (ended & BIT(tag))
			hostdisk_end(d, tag, f->bad & BIT(tag) ? ERR_IO : 0);
	if (!(d->busy & 1))
		hostdisk_end(d, 0, 0); /* twice, or never begun: nothing happens */
	hostdisk_end(d, 999, 0);
}

static void fake_cut(struct hostdisk *d)
{
	container_of(d, struct fake, d)->cut = true;
}

static const struct hostdisk_driver fake_driver = {fake_start, fake_kick, fake_poll, fake_cut};

static struct fake *fake_add(const char *name)
{
	struct fake *f = calloc(1, sizeof(*f)); /* stays: its thread does */

	f->fail_at = UINT64_MAX;
	f->d = (struct hostdisk){.driver = &fake_driver,
				 .sectors = SECTORS,
				 .tags = 4,
				 .cache = true,
				 .max_sectors = 64,
				 .max_seg = 32768,
				 .max_segs = 5,
				 .align = 4,
				 .pages = true,
				 .pa_end = UINT64_MAX,
				 .timeout = NS_PER_SEC / 2};
	strcpy(f->d.name, name);
	assert_int_equal(hostdisk_add(&f->d), 0);
	return f;
}

static struct block *slice(struct fake *f, const struct hostdisk_extent *e, unsigned n)
{
	struct block *b;

	assert_int_equal(hostdisk_slice(&f->d, e, n, false, false, &b), 0);
	return b;
}

/* ---- random requests ---- */

#define AT_ONCE  16u
#define VECS     24u
#define BUF_SIZE (300 * KIB)

struct job {
	struct block_req req;
	struct block_vec vec[VECS];
	uint8_t *buf, *copy;
	struct plat_event ev;
	int err;
};

static void job_done(struct block_req *r, int err)
{
	struct job *j = container_of(r, struct job, req);

	j->err = err;
	plat_event_set(&j->ev);
}

/* Scatters len bytes over the buffer in the way a guest might: pages, sectors, or bytes. */
static void scatter(struct job *j, uint64_t len)
{
	static const size_t grain[] = {4096, 512, 4, 1};
	size_t g = grain[rand() % 4], at = (size_t)(rand() % 3) * g;

	j->req.n_vec = 0;
	while (len) {
		size_t n = (size_t)(1 + rand() % 40) * g;

		n = j->req.n_vec == VECS - 1 ? len : MIN(n, len);
		j->vec[j->req.n_vec++] = (struct block_vec){j->buf + at, n};
		at += n + (rand() % 2 ? g : 0);
		len -= n;
	}
}

static void job_copy(const struct job *j, uint8_t *to)
{
	for (unsigned i = 0; i < j->req.n_vec; to += j->vec[i].len, i++)
		memcpy(to, j->vec[i].base, j->vec[i].len);
}

static void run_jobs(struct block *b, uint8_t *ref, struct job *jobs)
{
	uint64_t share = b->size / AT_ONCE / BLOCK_SECTOR * BLOCK_SECTOR;

	for (unsigned i = 0; i < AT_ONCE; i++) { /* each in its own range, which spans extents */
		struct job *j = &jobs[i];
		uint64_t at = (uint64_t)rand() % (share / BLOCK_SECTOR) * BLOCK_SECTOR;
		uint64_t len = (uint64_t)(1 + rand() % 200) * BLOCK_SECTOR;

		j->req = (struct block_req){
			.op = (enum block_op[]){BLOCK_READ, BLOCK_WRITE, BLOCK_ZERO}[rand() % 3],
			.offset = i * share + at,
			.len = MIN(share - at, len),
			.vec = j->vec,
			.done = job_done};
		for (size_t k = 0; k < BUF_SIZE; k += 8)
			memcpy(j->buf + k, &(uint64_t){(uint64_t)rand()}, 8);
		scatter(j, j->req.len);
		if (j->req.op == BLOCK_WRITE)
			job_copy(j, ref + j->req.offset);
		else if (j->req.op == BLOCK_ZERO)
			memset(ref + j->req.offset, 0, j->req.len);
		plat_event_clear(&j->ev);
		block_submit(b, &j->req);
	}
	for (unsigned i = 0; i < AT_ONCE; i++) {
		struct job *j = &jobs[i];

		assert_true(plat_event_wait(&j->ev, plat_now() + 20 * NS_PER_SEC));
		assert_int_equal(j->err, 0);
		if (j->req.op == BLOCK_READ) {
			job_copy(j, j->copy);
			assert_memory_equal(j->copy, ref + j->req.offset, j->req.len);
		}
	}
}

static void test_random(void **state)
{
	static const struct hostdisk_extent all = {0, SECTORS};
	static const struct hostdisk_extent parts[] = {
		{3000, 700}, {8, 1}, {17, 2000}, {2500, 299}};
	struct fake *f = fake_add("random");
	uint8_t *ref = calloc(SECTORS, BLOCK_SECTOR);
	struct job jobs[AT_ONCE] = {0};

	for (unsigned i = 0; i < AT_ONCE; i++) {
		jobs[i].buf = aligned_alloc(4096, BUF_SIZE);
		jobs[i].copy = malloc(BUF_SIZE);
	}
	for (unsigned round = 0; round < 400; round++) {
		struct block *b =
			round % 2 ? slice(f, &all, 1) : slice(f, parts, ARRAY_SIZE(parts));
		uint64_t at = 0;

		plat_mutex_lock(&f->d.lock); /* nothing is under way */
		f->d.align = 1u << rand() % 3;
		f->d.pages = rand() % 2;
		f->d.max_segs = 1u + (unsigned)rand() % 8;
		f->d.max_seg = (uint32_t)PAGE_SIZE << rand() % 4;
		f->d.max_sectors = 8u << rand() % 5;
		plat_mutex_unlock(&f->d.lock);
		if (round % 2) {
			memcpy(ref, f->data, sizeof(f->data));
		} else {
			for (unsigned i = 0; i < ARRAY_SIZE(parts); at += parts[i++].sectors)
				memcpy(ref + at * BLOCK_SECTOR,
				       f->data + parts[i].sector * BLOCK_SECTOR,
				       parts[i].sectors * BLOCK_SECTOR);
			assert_int_equal(b->size, 3000 * BLOCK_SECTOR);
		}
		run_jobs(b, ref, jobs);
		block_close(b);
	}
	assert_int_equal(f->started, 0); /* the driver was told to go after each start */
	for (unsigned i = 0; i < AT_ONCE; i++) {
		free(jobs[i].buf);
		free(jobs[i].copy);
	}
	free(ref);
}

/* ---- the rest ---- */

static void test_bounds(void **state)
{
	static const struct hostdisk_extent part = {100, 50}, next = {150, 10}, over = {149, 2},
					    bad = {SECTORS - 1, 2}, far = {UINT64_MAX, 2},
					    empty = {5, 0};
	struct fake *f = fake_add("bounds");
	struct block *b = slice(f, &part, 1), *n = slice(f, &next, 1), *o = NULL;
	uint8_t *buf = plat_pages_alloc(PAGE_SIZE);

	memset(f->data, 0x55, sizeof(f->data));
	assert_int_equal(block_rw_sync(b, BLOCK_WRITE, 49 * 512, buf, 512), 0);
	assert_int_equal(block_rw_sync(b, BLOCK_WRITE, 49 * 512, buf, 1024), ERR_RANGE);
	assert_int_equal(block_rw_sync(b, BLOCK_READ, 50 * 512, buf, 512), ERR_RANGE);
	assert_int_equal(block_rw_sync(b, BLOCK_ZERO, UINT64_MAX - 511, buf, 512), ERR_RANGE);
	assert_int_equal(block_rw_sync(b, BLOCK_READ, 1, buf, 512), ERR_RANGE);
	assert_true(f->data[149 * 512] == 0 && f->data[150 * 512] == 0x55 &&
		    f->data[148 * 512] == 0x55);
	assert_int_equal(hostdisk_slice(&f->d, &over, 1, false, false, &o), ERR_BUSY);
	assert_int_equal(hostdisk_slice(&f->d, &over, 1, true, false, &o), ERR_BUSY);
	assert_int_equal(hostdisk_slice(&f->d, &bad, 1, false, false, &o), ERR_RANGE);
	assert_int_equal(hostdisk_slice(&f->d, &far, 1, false, false, &o), ERR_RANGE);
	assert_int_equal(hostdisk_slice(&f->d, &empty, 1, false, false, &o), ERR_RANGE);
	assert_int_equal(hostdisk_slice(&f->d, &over, 1, false, true, &o), 0); /* shared: reads */
	assert_int_equal(block_rw_sync(o, BLOCK_WRITE, 0, buf, 512), ERR_ROFS);
	block_close(o);
	block_close(b);
	assert_int_equal(hostdisk_slice(&f->d, &over, 1, false, false, &o),
			 ERR_BUSY); /* next has it */
	block_close(n);
	assert_int_equal(hostdisk_slice(&f->d, &over, 1, true, false, &o), 0);
	assert_int_equal(hostdisk_slice(&f->d, &part, 1, true, false, &b), 0); /* both only read */
	block_close(o);
	block_close(b);
	plat_pages_free(buf, PAGE_SIZE);
}

static void test_errors(void **state)
{
	static const struct hostdisk_extent all = {0, SECTORS};
	struct fake *f = fake_add("errors");
	struct job j = {0};
	struct block *b = slice(f, &all, 1);
	uint8_t *buf = plat_pages_alloc(64 * KIB);

	assert_ptr_equal(hostdisk_find("errors"), &f->d);
	assert_null(hostdisk_find("")); /* it has no serial number */
	f->fail_at = 100;
	assert_int_equal(block_rw_sync(b, BLOCK_READ, 90 * 512, buf, 64 * KIB), ERR_IO);
	assert_int_equal(block_rw_sync(b, BLOCK_READ, 101 * 512, buf, 512), 0);
	assert_int_equal(block_flush_sync(b), 0);
	assert_int_equal(f->flushes, 1);
	f->d.cache = false;
	assert_int_equal(block_flush_sync(b), 0);
	assert_int_equal(f->flushes, 1);
	f->fail_at = UINT64_MAX;
	plat_mutex_lock(&f->d.lock);
	f->hangs = true;
	plat_mutex_unlock(&f->d.lock);
	j.req = (struct block_req){
		.op = BLOCK_READ, .len = 512, .vec = j.vec, .n_vec = 1, .done = job_done};
	j.vec[0] = (struct block_vec){buf, 512};
	block_submit(b, &j.req);
	assert_int_equal(atomic_load(&j.ev.word), 0); /* who submits does not wait */
	assert_false(hostdisk_lost(b));
	assert_true(plat_event_wait(&j.ev, plat_now() + 20 * NS_PER_SEC));
	assert_int_equal(j.err, ERR_IO);
	assert_true(f->cut);
	assert_true(hostdisk_lost(b)); /* its memory is still the disk's */
	assert_int_equal(block_rw_sync(b, BLOCK_READ, 0, buf, 512), ERR_IO);
	block_close(b);
	plat_pages_free(buf, 64 * KIB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
