/* SPDX-License-Identifier: ISC */
/* qcow2.c: random requests, many in flight, on an image and on a copy of the disk in memory; they
 * must agree at the end of each and after each reopening. The images to start from are made by
 * qcow2.py with qemu-img, which also has the last word.
 *
 *	diff_qcow2 IMAGE SHADOW SEED OPERATIONS [threads] [unsafe]
 *
 * SHADOW is the disk's content as a raw file; at the end the content as it should be is written
 * there. Requests in flight never overlap unless all of them read. */

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/block.h"
#include "plat/plat.h"

#define SLOTS   48
#define MAX_VEC 40
#define MAX_LEN (3 << 20)

struct slot {
	struct block_req req;
	struct block_vec vec[MAX_VEC];
	uint8_t *buf;
	bool busy;
	_Atomic int state; /* 0 in flight, 1 done */
	int err;
};

static struct {
	struct block *b;
	struct plat_loop *loop;
	const char *path;
	bool no_uring, unsafe;
	uint8_t *shadow;
	uint64_t size, rng;
	struct slot slot[SLOTS];
	pthread_mutex_t lock;
	pthread_cond_t cond;
	unsigned reads, writes, zeroes, discards, flushes, reopens;
} t;

static uint64_t rnd(uint64_t n)
{
	t.rng ^= t.rng << 13;
	t.rng ^= t.rng >> 7;
	t.rng ^= t.rng << 17;
	return (t.rng >> 11) % n;
}

static void die(const char *what, const struct slot *s)
{
	fprintf(stderr, "FAILED: %s", what);
	if (s)
		fprintf(stderr, " (op %d at %#llx, %#llx bytes, error %d)", s->req.op,
			(unsigned long long)s->req.offset, (unsigned long long)s->req.len, s->err);
	fprintf(stderr, "\n");
	exit(1);
}

static void done(struct block_req *req, int err)
{
	struct slot *s = container_of(req, struct slot, req);

	pthread_mutex_lock(&t.lock);
	s->err = err;
	atomic_store(&s->state, 1);
	pthread_cond_signal(&t.cond);
	pthread_mutex_unlock(&t.lock);
}

static void open_image(void)
{
	const struct block_open_opts o = {
		.path = t.path,
		.no_uring = t.no_uring,
		.cache = t.unsafe ? BLOCK_CACHE_UNSAFE : BLOCK_CACHE_WRITEBACK,
	};
	char err[400];

	if (block_open(t.loop, &o, &t.b, err, sizeof(err))) {
		fprintf(stderr, "%s\n", err);
		die("open", NULL);
	}
	if (t.b->size != t.size)
		die("size", NULL);
}

static bool overlaps(const struct slot *a, const struct slot *b)
{
	bool reads = a->req.op == BLOCK_READ && b->req.op == BLOCK_READ;

	return !reads && a->req.offset < b->req.offset + b->req.len &&
	       b->req.offset < a->req.offset + a->req.len;
}

static void compare_sector(const struct slot *s, uint64_t at)
{
	unsigned i;

	for (i = 0; i < 512 && s->buf[at + i] == t.shadow[s->req.offset + at + i]; i++)
		;
	fprintf(stderr, "differs at %#llx: %02x, should be %02x\n",
		(unsigned long long)(s->req.offset + at + i), s->buf[at + i],
		t.shadow[s->req.offset + at + i]);
	die("content", s);
}

/* A discarded sector is what it was or zeros, but stays what it is from then on. */
static void after_discard(struct slot *s)
{
	static const uint8_t zero[512];
	static uint8_t buf[MAX_LEN];
	uint64_t at;

	if (block_rw_sync(t.b, BLOCK_READ, s->req.offset, buf, s->req.len))
		die("read after discard", s);
	for (at = 0; at < s->req.len; at += 512) {
		uint8_t *want = t.shadow + s->req.offset + at;

		if (memcmp(buf + at, want, 512) && memcmp(buf + at, zero, 512))
			die("discarded sector has become something else", s);
		memcpy(want, buf + at, 512);
	}
}

static void finish(struct slot *s)
{
	uint8_t *want = t.shadow + s->req.offset;
	uint64_t at;

	if (s->err)
		die("error", s);
	switch (s->req.op) {
	case BLOCK_READ:
		for (at = 0; at < s->req.len; at += 512)
			if (memcmp(s->buf + at, want + at, 512))
				compare_sector(s, at);
		break;
	case BLOCK_WRITE:
		memcpy(want, s->buf, s->req.len);
		break;
	case BLOCK_ZERO:
		memset(want, 0, s->req.len);
		break;
	case BLOCK_DISCARD:
		after_discard(s);
		break;
	default:
		break;
	}
	s->busy = false;
}

static void reap(bool all)
{
	unsigned i;
	bool left;

	do {
		left = false;
		for (i = 0; i < SLOTS; i++) {
			if (!t.slot[i].busy)
				continue;
			if (atomic_load(&t.slot[i].state) == 1)
				finish(&t.slot[i]);
			else
				left = true;
		}
		if (all && left) {
			pthread_mutex_lock(&t.lock);
			for (i = 0; i < SLOTS; i++)
				if (t.slot[i].busy && atomic_load(&t.slot[i].state) == 1)
					break;
			if (i == SLOTS)
				pthread_cond_wait(&t.cond, &t.lock);
			pthread_mutex_unlock(&t.lock);
		}
	} while (all && left);
}

static uint64_t random_len(void)
{
	switch (rnd(8)) {
	case 0:
		return 512 * (1 + rnd(MAX_LEN / 512));
	case 1:
	case 2:
		return 512 * (1 + rnd(256));
	default:
		return 512 * (1 + rnd(32));
	}
}

/* Half of the requests go to a small part of the disk, so that they meet. */
static uint64_t random_offset(uint64_t len)
{
	uint64_t span = rnd(2) ? MIN(t.size, (uint64_t)(1 << 20)) : t.size;
	uint64_t off = rnd(span / 512) * 512;

	if (rnd(4) == 0)
		off = ALIGN_DOWN(off, (uint64_t)65536);
	return MIN(off, t.size - len);
}

static void fill_vec(struct slot *s)
{
	uint64_t left = s->req.len, at = 0;
	unsigned n = 0;

	while (left) {
		uint64_t part = n + 1 < MAX_VEC && rnd(3) ? 1 + rnd(left) : left;

		if (rnd(2) && part > 512)
			part = ALIGN_DOWN(part, (uint64_t)512);
		s->vec[n++] = (struct block_vec){s->buf + at, part};
		at += part;
		left -= part;
	}
	s->req.vec = s->vec;
	s->req.n_vec = n;
}

static void fill_data(struct slot *s)
{
	uint64_t i, v = t.rng | 1;

	for (i = 0; i < s->req.len; i += 8) {
		v = v * 6364136223846793005u + 1442695040888963407u;
		memcpy(s->buf + i, &v, 8);
	}
}

static void start(struct slot *s)
{
	static const enum block_op mix[] = {BLOCK_READ,  BLOCK_READ,  BLOCK_READ,   BLOCK_READ,
					    BLOCK_WRITE, BLOCK_WRITE, BLOCK_WRITE,  BLOCK_WRITE,
					    BLOCK_WRITE, BLOCK_ZERO,  BLOCK_DISCARD};
	unsigned i;

	memset(&s->req, 0, sizeof(s->req));
	s->req.op = rnd(30) ? mix[rnd(ARRAY_SIZE(mix))] : BLOCK_FLUSH;
	s->req.done = done;
	if (s->req.op != BLOCK_FLUSH) {
		s->req.len = random_len();
		s->req.len = MIN(s->req.len, t.size);
		s->req.offset = random_offset(s->req.len);
		s->req.unmap = rnd(2);
		for (i = 0; i < SLOTS; i++)
			if (t.slot[i].busy && overlaps(s, &t.slot[i]))
				return;
	}
	switch (s->req.op) {
	case BLOCK_READ:
		t.reads++;
		memset(s->buf, 0xee, s->req.len);
		fill_vec(s);
		break;
	case BLOCK_WRITE:
		t.writes++;
		fill_data(s);
		fill_vec(s);
		break;
	case BLOCK_ZERO:
		t.zeroes++;
		break;
	case BLOCK_DISCARD:
		t.discards++;
		break;
	default:
		t.flushes++;
		break;
	}
	s->busy = true;
	atomic_store(&s->state, 0);
	block_submit(t.b, &s->req);
}

static void verify(void)
{
	static uint8_t buf[MAX_LEN];
	uint64_t off, len;

	for (off = 0; off < t.size; off += len) {
		len = MIN(t.size - off, (uint64_t)MAX_LEN);
		if (block_rw_sync(t.b, BLOCK_READ, off, buf, len))
			die("read of all", NULL);
		if (memcmp(buf, t.shadow + off, len))
			die("content after reopening", NULL);
	}
}

static void load_shadow(const char *path)
{
	int fd = open(path, O_RDWR);
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		die("shadow", NULL);
	t.size = (uint64_t)st.st_size;
	t.shadow = mmap(NULL, t.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (t.shadow == MAP_FAILED)
		die("shadow", NULL);
	close(fd);
}

int main(int argc, char **argv)
{
	unsigned long i, n;

	if (argc < 5)
		return 1;
	t.path = argv[1];
	load_shadow(argv[2]);
	t.rng = strtoull(argv[3], NULL, 0) * 2654435761u + 88172645463325252u;
	n = strtoul(argv[4], NULL, 0);
	for (i = 5; i < (unsigned long)argc; i++) {
		t.no_uring |= !strcmp(argv[i], "threads");
		t.unsafe |= !strcmp(argv[i], "unsafe");
		if (!strcmp(argv[i], "loop") && plat_loop_create(&t.loop))
			die("loop", NULL);
	}
	pthread_mutex_init(&t.lock, NULL);
	pthread_cond_init(&t.cond, NULL);
	for (i = 0; i < SLOTS; i++)
		t.slot[i].buf = malloc(MAX_LEN);
	open_image();
	verify();
	for (i = 0; i < n; i++) {
		struct slot *s = &t.slot[rnd(SLOTS)];

		reap(rnd(20) == 0);
		if (!s->busy)
			start(s);
		if (rnd(n / 4 + 1) == 0) {
			reap(true);
			block_close(t.b);
			open_image();
			verify();
			t.reopens++;
		}
	}
	reap(true);
	verify();
	block_close(t.b);
	open_image();
	verify();
	block_close(t.b);
	if (t.loop)
		plat_loop_destroy(t.loop);
	printf("%u reads, %u writes, %u zeroes, %u discards, %u flushes, %u reopens\n", t.reads,
	       t.writes, t.zeroes, t.discards, t.flushes, t.reopens);
	return 0;
}
