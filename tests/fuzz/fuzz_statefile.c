/* SPDX-License-Identifier: ISC */
/* fuzz_statefile.c: files of saved VMs, as far as they are looked at before a VM is made: how it was started,
 * the memory's image, plain or compressed. First byte even: the rest is sections. Odd: a valid file, damaged
 * by a list of {u8 what, u16 place, u8 value} in its sections, whose checksums are then made right, or in
 * its frames. Nothing may crash, or allocate more than a few buffers. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zstd.h>

#include "ctl/state.h"
#include "plat/linux/log.h"
#include "vm/stream.h"

#define RAM_AT (64u << 20)
#define CHUNK  (2u << 20)
#define CAP    65536
#define TAG    64 /* section header */

struct bytes {
	uint8_t b[CAP];
	size_t len;
};

static struct bytes good, frames, work;

static int put(void *ctx, const void *buf, size_t len)
{
	struct bytes *f = ctx;

	if (len > CAP - f->len)
		return ERR_NOMEM;
	memcpy(f->b + f->len, buf, len);
	f->len += len;
	return 0;
}

static const struct state_io io = {put, NULL};

struct ram_record {
	uint64_t offset, size;
	uint32_t chunk;
};
static const struct st_field fields[] = {
	ST_U(struct ram_record, offset),
	ST_U(struct ram_record, size),
	ST_U(struct ram_record, chunk),
};

/* 6 MiB, of which the second 2 MiB are zeros. */
static void make_good(void)
{
	static const char args[] = "run\0--memory\0006M\0--kernel\0k";
	struct ram_record r = {RAM_AT, 3 * CHUNK, CHUNK};
	uint32_t crc[3] = {0}, len[3] = {0};
	uint8_t *p = calloc(1, CHUNK);
	struct state_stream st;

	for (unsigned i = 0; i < 3; i += 2) {
		memset(p, (int)(i + 1), 5000 * (i + 1));
		crc[i] = crc32c(0, p, CHUNK);
		len[i] = (uint32_t)ZSTD_compress(frames.b + frames.len, CAP - frames.len, p, CHUNK,
						 1);
		frames.len += len[i];
	}
	free(p);
	if (state_open(&st, &io, &good, false))
		abort();
	state_begin(&st, "definition", 1);
	st_put_bytes(&st, "name", "fuzz", 4);
	st_put_bytes(&st, "folder", "", 0);
	st_put_bytes(&st, "arguments", args, sizeof(args));
	state_end(&st);
	state_begin(&st, "memory", 2);
	ST_SYNC(&st, "memory", 0, fields, &r);
	st_put_bytes(&st, "checksums", crc, sizeof(crc));
	state_end(&st);
	state_begin(&st, "frames", 1);
	st_put_bytes(&st, "lengths", len, sizeof(len));
	state_end(&st);
	if (state_finish(&st))
		abort();
	state_close(&st);
}

/* tag, version, length, checksum, name; see doc/state-format.md */
static void fix_checksums(struct bytes *f)
{
	for (size_t at = 16; at + TAG <= f->len;) {
		uint32_t len, crc;

		memcpy(&len, f->b + at + 8, 4);
		if (len > f->len - at - TAG)
			return;
		crc = crc32c(0, f->b + at + 16, 48);
		crc = crc32c(crc, f->b + at + 4, 4);
		crc = crc32c(crc, f->b + at + 8, 4);
		crc = crc32c(crc, f->b + at + TAG, len);
		memcpy(f->b + at + 12, &crc, 4);
		at += TAG + len;
	}
}

static void look(const struct bytes *sections, const uint8_t *image, size_t len)
{
	int fd = memfd_create("state", MFD_CLOEXEC);
	struct state_file f;
	struct msg msg = {""};
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (pwrite(fd, sections->b, sections->len, 0) < 0 || pwrite(fd, image, len, RAM_AT) < 0 ||
	    ftruncate(fd, (off_t)(RAM_AT + len)))
		abort();
	if (!state_file_open(path, true, &f, &msg))
		state_file_close(&f);
	close(fd);
}

static void quiet(void *arg, enum log_level level, const char *line)
{
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct bytes image;

	if (!size || size > CAP)
		return 0;
	plat_log_set_hook(quiet, NULL);
	if (!good.len)
		make_good();
	if (!(data[0] & 1)) {
		work.len = size - 1;
		memcpy(work.b, data + 1, size - 1);
		look(&work, frames.b, frames.len);
		return 0;
	}
	work = good;
	image = frames;
	for (size_t i = 1; i + 4 <= size; i += 4) {
		struct bytes *b = data[i] & 3 ? &work : &image;

		b->b[(data[i + 1] | data[i + 2] << 8) % b->len] = data[i + 3];
	}
	fix_checksums(&work);
	look(&work, image.b, image.len);
	return 0;
}
