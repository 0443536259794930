/* SPDX-License-Identifier: ISC */
/* fuzz_qcow2.c: an image from the input, in memory, is opened, used, checked and repaired.
 *
 * Byte 0: bit 0 clear: the rest is the image, ended by the script of requests; set: a sound image is
 * made and the rest is patches to it, then the script. Nothing may crash, hang or grow. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "block/memfile.h"
#include "block/qcow2.h"
#include "block/unzip.h"
#include "plat/linux/log.h"

#define FILE_CAP (1u << 20)
#define MAX_IO   (64u << 10)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *p;
	size_t left;
};

static uint32_t take(struct input *in, unsigned bytes)
{
	uint32_t v = 0;

	while (bytes-- && in->left) {
		v = v << 8 | *in->p++;
		in->left--;
	}
	return v;
}

static void quiet(void *arg, enum log_level level, const char *line)
{
}

static void ended(struct block_req *req, int err)
{
	*(bool *)req->ctx = true;
}

/* Over a file in memory each request ends before submission returns. */
static void request(struct block *b, enum block_op op, uint64_t off, uint64_t len, uint8_t *buf)
{
	struct block_vec vec[2] = {{buf, len / 2}, {buf + len / 2, len - len / 2}};
	bool done = false;
	struct block_req req = {
		.op = op,
		.unmap = off & 512,
		.offset = off,
		.len = len,
		.vec = vec,
		.n_vec = 2,
		.done = ended,
		.ctx = &done,
	};

	block_submit(b, &req);
	if (!done)
		abort();
}

static void snapshot(struct block *b, uint32_t what)
{
	const char *const names[] = {"a", "b"};
	const struct block_snapshot s = {
		.op = what % 4, .name = names[what / 4 % 2], .resize = true};
	char err[300];

	(void)!block_snapshot(b, &s, err, sizeof(err));
}

static void script(struct block *b, struct input *in)
{
	static uint8_t buf[MAX_IO];
	unsigned n;

	request(b, BLOCK_READ, 0, MIN(b->size, (uint64_t)MAX_IO), buf);
	for (n = 0; n < 64 && in->left; n++) {
		uint32_t what = take(in, 1), where = take(in, 3),
			 len = 512 * (1 + take(in, 1) % 64);
		uint64_t off = (uint64_t)where * 512;

		if ((what & 0x70) == 0x70) {
			snapshot(b, where);
			continue;
		}
		if (what & 0x80) /* anywhere, also beyond the end */
			off *= 1021;
		else if (b->size)
			off %= b->size;
		memset(buf, (int)what, sizeof(buf));
		request(b, what % 5, what % 5 == BLOCK_FLUSH ? 0 : off,
			what % 5 == BLOCK_FLUSH ? 0 : len, buf);
	}
}

static void exercise(const uint8_t *image, size_t len, struct qcow2_opts *o, struct input *in)
{
	struct block_check found;
	struct bfile *f;
	struct block *b;
	char err[300];

	if (memfile_create("fuzz", image, len, FILE_CAP, &f))
		return;
	o->unzip = unzip_cluster;
	o->discard = true;
	o->l2_cache = o->refcount_cache = 1;
	if (qcow2_open(f, o, &b, err, sizeof(err))) {
		f->ops->close(f);
		return;
	}
	if (o->for_check) {
		if (!qcow2_check(b, !o->read_only, &found))
			(void)!qcow2_check(b, false, &found);
	} else {
		script(b, in);
	}
	block_close(b);
}

/* A small sound image with data in it; returns its length. */
static size_t sound(struct input *in, uint8_t *out)
{
	struct qcow2_create c = {.version = 2 + (take(in, 1) & 1)};
	struct qcow2_opts o = {.discard = true};
	static uint8_t buf[8192];
	struct bfile *f;
	struct block *b;
	char err[300];
	size_t len = 0;

	c.cluster_bits = 9 + take(in, 1) % 8;
	c.refcount_order = c.version == 2 ? 4 : take(in, 1) % 7;
	c.size = 512 * (uint64_t)(take(in, 2) + 16);
	if (memfile_create("sound", NULL, 0, FILE_CAP, &f))
		return 0;
	if (qcow2_create(f, &c, err, sizeof(err)) || qcow2_open(f, &o, &b, err, sizeof(err))) {
		f->ops->close(f);
		return 0;
	}
	memset(buf, 0x5a, sizeof(buf));
	request(b, BLOCK_WRITE, 0, 8192, buf);
	request(b, BLOCK_WRITE, c.size / 2 & ~UINT64_C(511), 512, buf);
	request(b, BLOCK_ZERO, 0, 4096, buf);
	request(b, BLOCK_FLUSH, 0, 0, buf);
	len = bfile_size(f);
	memcpy(out, memfile_bytes(f), len);
	block_close(b);
	return len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t image[FILE_CAP];
	struct input in = {data, size};
	uint32_t mode = take(&in, 1), n;
	struct qcow2_opts o = {.read_only = mode & 2, .for_check = mode & 4};
	size_t len;

	plat_log_set_hook(quiet, NULL);
	if (mode & 1) {
		len = sound(&in, image);
		for (n = take(&in, 1) % 16; n && len; n--) {
			uint32_t at = take(&in, 2), width = 1 + take(&in, 1) % 8;

			/* mostly in the tables, which are at the beginning */
			for (at %= (uint32_t)len; width && at < len; width--)
				image[at++] = (uint8_t)take(&in, 1);
		}
	} else {
		len = MIN(in.left, (size_t)FILE_CAP);
		memcpy(image, in.p, len);
		if (in.left > 64) { /* the end is the script as well */
			in.p += in.left - 64;
			in.left = 64;
		}
	}
	exercise(image, len, &o, &in);
	return 0;
}
