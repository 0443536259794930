/* SPDX-License-Identifier: ISC */
/* chaosfile.h: a file in memory for image formats to be tested on, which ends requests in any order, fails some, and loses
 * power: crash_image() gives what was synced and any part, sector by sector, of what was not.
 *
 * One thread; all is decided by rng, which the test seeds. */
#ifndef TESTS_CHAOSFILE_H
#define TESTS_CHAOSFILE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "block/memfile.h"

#define FILE_MAX (12u << 20)

static uint64_t rng;

static inline uint64_t rnd(uint64_t n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (rng >> 11) % n;
}

/* ---- the file ----------------------------------------------------------------------------------- */

struct logged { /* written, but not synced */
	struct logged *next;
	uint64_t off, len;
	bool zero;
	uint8_t data[];
};

struct chaos {
	struct bfile f;
	uint8_t *now, *synced;
	uint64_t synced_size;
	struct logged *log, **log_tail;
	struct block_req *wait[512];
	struct logged **upto[512]; /* of a sync: what it covers */
	bool slow[512];
	unsigned n_wait;
	bool at_once; /* requests end within their submission */
	unsigned submitted;
	unsigned fail; /* one request in so many */
	int fail_with;
	/* a crash within a synchronous call, to be looked at after it */
	void (*in_call)(struct chaos *c);
	struct bfile *caught;
};

static inline void put_log(struct chaos *c, uint64_t off, const void *data, uint64_t len)
{
	struct logged *l = malloc(sizeof(*l) + (data ? len : 0));

	assert_true(off + len <= FILE_MAX);
	*l = (struct logged){.off = off, .len = len, .zero = !data};
	if (data) {
		memcpy(l->data, data, len);
		memcpy(c->now + off, data, len);
	} else {
		memset(c->now + off, 0, len);
	}
	*c->log_tail = l;
	c->log_tail = &l->next;
	bfile_grew(&c->f, off + len);
}

static inline void apply(uint8_t *to, const struct logged *l, uint64_t from, uint64_t len)
{
	if (l->zero)
		memset(to + l->off + from, 0, len);
	else
		memcpy(to + l->off + from, l->data + from, len);
}

/* All entries before *end reach the disk. */
static inline void make_durable(struct chaos *c, struct logged **end)
{
	struct logged *l, *stop = *end;

	while ((l = c->log) != stop) {
		apply(c->synced, l, 0, l->len);
		c->synced_size = MAX(c->synced_size, l->off + l->len);
		c->log = l->next;
		if (c->log_tail == &l->next)
			c->log_tail = &c->log;
		free(l);
	}
}

static inline bool unlucky(struct chaos *c)
{
	return c->fail && !rnd(c->fail);
}

static inline void maybe_crash(struct chaos *c)
{
	if (c->in_call && !c->caught && !rnd(6))
		c->in_call(c);
}

static inline int chaos_pread(struct bfile *f, uint64_t off, void *buf, size_t len)
{
	struct chaos *c = container_of(f, struct chaos, f);
	uint64_t have = off < bfile_size(f) ? MIN(len, bfile_size(f) - off) : 0;

	memcpy(buf, c->now + off, have);
	memset((uint8_t *)buf + have, 0, len - have);
	return 0;
}

static inline int chaos_pwrite(struct bfile *f, uint64_t off, const void *buf, size_t len)
{
	struct chaos *c = container_of(f, struct chaos, f);

	if (unlucky(c))
		return c->fail_with;
	put_log(c, off, buf, len);
	maybe_crash(c);
	return 0;
}

static inline int chaos_zero(struct bfile *f, uint64_t off, uint64_t len)
{
	struct chaos *c = container_of(f, struct chaos, f);

	if (unlucky(c))
		return c->fail_with;
	put_log(c, off, NULL, len);
	maybe_crash(c);
	return 0;
}

static inline int chaos_sync(struct bfile *f)
{
	struct chaos *c = container_of(f, struct chaos, f);

	if (unlucky(c))
		return ERR_IO;
	make_durable(c, c->log_tail);
	return 0;
}

static inline int chaos_truncate(struct bfile *f, uint64_t size)
{
	return ERR_NOSYS;
}

static inline void end_one(struct chaos *c, unsigned i);

static inline void chaos_submit(struct bfile *f, struct block_req *req)
{
	struct chaos *c = container_of(f, struct chaos, f);

	assert_true(c->n_wait < ARRAY_SIZE(c->wait));
	c->submitted++;
	c->upto[c->n_wait] = c->log_tail;
	c->slow[c->n_wait] = !rnd(8);
	c->wait[c->n_wait++] = req;
	if (c->at_once)
		end_one(c, c->n_wait - 1);
}

/* The entry whose tail pointer a sync remembered may have been made durable by another sync. */
static inline void forget_upto(struct chaos *c)
{
	for (unsigned i = 0; i < c->n_wait; i++) {
		struct logged *l = c->log;
		bool found = c->upto[i] == &c->log;

		for (; l && !found; l = l->next)
			found = c->upto[i] == &l->next;
		if (!found)
			c->upto[i] = &c->log;
	}
}

static inline void do_write(struct chaos *c, const struct block_req *req, uint64_t limit)
{
	uint64_t off = req->offset;

	for (unsigned i = 0; i < req->n_vec && limit; i++) {
		uint64_t n = MIN(limit, (uint64_t)req->vec[i].len);

		put_log(c, off, req->vec[i].base, n);
		off += req->vec[i].len;
		limit -= n;
	}
}

static inline void end_one(struct chaos *c, unsigned i)
{
	struct block_req *req = c->wait[i];
	struct logged **upto = c->upto[i];
	uint64_t off = req->offset;
	int err = 0;

	c->n_wait--;
	c->wait[i] = c->wait[c->n_wait];
	c->upto[i] = c->upto[c->n_wait];
	c->slow[i] = c->slow[c->n_wait];
	if (req->op != BLOCK_READ && unlucky(c)) {
		err = req->op == BLOCK_FLUSH ? ERR_IO : c->fail_with;
		if (req->op == BLOCK_WRITE)
			do_write(c, req, 512 * rnd(req->len / 512 + 1));
	} else if (req->op == BLOCK_FLUSH) {
		make_durable(c, upto);
		forget_upto(c);
	} else if (req->op == BLOCK_WRITE) {
		do_write(c, req, UINT64_MAX);
	} else if (req->op == BLOCK_READ) {
		for (unsigned k = 0; k < req->n_vec; k++) {
			chaos_pread(&c->f, off, req->vec[k].base, req->vec[k].len);
			off += req->vec[k].len;
		}
	} else if (off < bfile_size(&c->f)) {
		put_log(c, off, NULL, MIN(req->len, bfile_size(&c->f) - off));
	}
	req->done(req, err);
}

static inline void chaos_poll(struct bfile *f)
{
	struct chaos *c = container_of(f, struct chaos, f);

	unsigned i;

	if (!c->n_wait)
		return;
	i = (unsigned)rnd(c->n_wait);
	if (!c->slow[i] || !rnd(30))
		end_one(c, i);
}

static inline void chaos_close(struct bfile *f)
{
}

static const struct bfile_ops chaos_ops = {
	.submit = chaos_submit,
	.pread = chaos_pread,
	.pwrite = chaos_pwrite,
	.zero = chaos_zero,
	.sync = chaos_sync,
	.truncate = chaos_truncate,
	.poll = chaos_poll,
	.close = chaos_close,
};

static inline void chaos_init(struct chaos *c)
{
	memset(c, 0, sizeof(*c));
	c->f.ops = &chaos_ops;
	c->f.virgin_tail = true;
	strcpy(c->f.name, "chaos");
	c->now = calloc(1, FILE_MAX);
	c->synced = calloc(1, FILE_MAX);
	c->log_tail = &c->log;
	c->fail_with = ERR_NOSPC;
}

static inline void chaos_fini(struct chaos *c)
{
	make_durable(c, c->log_tail);
	free(c->now);
	free(c->synced);
}

/* Some sectors of a range that was being written. */
static inline void apply_some(uint8_t *to, uint64_t *size, uint64_t off, const uint8_t *data,
			      uint64_t len)
{
	uint64_t at, n;

	for (at = 0; at < len; at += n) {
		n = MIN(len - at, 512 - (off + at) % 512);
		if (rnd(2))
			continue;
		if (data)
			memcpy(to + off + at, data + at, n);
		else
			memset(to + off + at, 0, n);
		*size = MAX(*size, off + at + n);
	}
}

/* What the disk could hold if the power failed now, as a file of its own. */
static inline struct bfile *crash_image(struct chaos *c)
{
	uint64_t size = c->synced_size;
	uint8_t *img = malloc(FILE_MAX);
	struct bfile *f;

	memcpy(img, c->synced, FILE_MAX);
	for (struct logged *l = c->log; l; l = l->next)
		if (rnd(3))
			apply_some(img, &size, l->off, l->zero ? NULL : l->data, l->len);
	for (unsigned i = 0; i < c->n_wait; i++) { /* and what is on its way */
		const struct block_req *req = c->wait[i];
		uint64_t off = req->offset;

		for (unsigned k = 0; req->op == BLOCK_WRITE && k < req->n_vec; k++) {
			apply_some(img, &size, off, req->vec[k].base, req->vec[k].len);
			off += req->vec[k].len;
		}
		if ((req->op == BLOCK_DISCARD || req->op == BLOCK_ZERO) && off < size)
			apply_some(img, &size, off, NULL, MIN(req->len, size - off));
	}
	assert_int_equal(memfile_create("crashed", img, size, FILE_MAX, &f), 0);
	free(img);
	return f;
}

#endif
