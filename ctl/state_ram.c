/* SPDX-License-Identifier: ISC */
/* state_ram.c: the memory's image in a saved state: at a fixed place behind the sections, zero pages being holes, so
 * that one mmap() restores it and pages are read when the guest uses them; or compressed, one frame after
 * another. Main thread. */
#include "ctl/state_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include "base/str.h"
#include "vm/vm.h"

#define CHUNK      (2 * MIB) /* has a checksum, is compressed by itself */
#define ZIP_LEVEL  1
#define CHUNKS_MAX (STATE_SECTION_MAX / 4 - 64)

struct ram_record {
	uint64_t offset, size;
	uint32_t chunk;
	bool zip; /* not in the file: the section's version */
};
static const struct st_field ram_fields[] = {
	ST_U(struct ram_record, offset),
	ST_U(struct ram_record, size),
	ST_U(struct ram_record, chunk),
};
#define RAM_MAPPED 1 /* versions of the section */
#define RAM_ZIPPED 2 /* a section "frames" follows */

/* Writes what is not zero; *crc: of the whole chunk, 0 where all of it is zero. */
static int write_chunk(struct state_fd *f, const uint8_t *p, uint64_t len, uint64_t at,
		       uint32_t *crc)
{
	uint64_t start = 0;
	bool in_run = false, any = false;
	int err = 0;

	for (uint64_t i = 0; i <= len && !err; i += PAGE_SIZE) {
		bool data = i < len && !mem_is_zero(p + i, PAGE_SIZE);

		if (data && !in_run)
			start = i;
		else if (!data && in_run)
			err = state_write_at(f, p + start, i - start, at + start);
		in_run = data;
		any |= data;
	}
	*crc = any ? crc32c(0, p, len) : 0;
	return err;
}

/* The next place at or behind at that the guest has ever touched. */
static uint64_t next_data(const struct vm *vm, uint64_t at)
{
	off_t next;

	if (vm->ram.fd < 0)
		return at;
	next = lseek(vm->ram.fd, (off_t)at, SEEK_DATA);
	if (next < 0)
		return errno == ENXIO ? vm->ram.size : at;
	return (uint64_t)next;
}

/* Compresses one chunk after another. */
struct zip {
	ZSTD_CCtx *ctx;
	uint8_t *buf;
	size_t room;
	uint64_t at;   /* where the next frame goes */
	uint32_t *len; /* of each; 0: zeros */
};

static int zip_open(struct zip *z, uint64_t chunks)
{
	*z = (struct zip){.ctx = ZSTD_createCCtx(),
			  .room = ZSTD_compressBound(CHUNK),
			  .at = STATE_RAM_AT,
			  .len = calloc(chunks, sizeof(*z->len))};
	z->buf = malloc(z->room);
	return z->ctx && z->buf && z->len ? 0 : ERR_NOMEM;
}

static void zip_close(struct zip *z)
{
	ZSTD_freeCCtx(z->ctx);
	free(z->buf);
	free(z->len);
}

static int zip_chunk(struct state_fd *f, struct zip *z, const uint8_t *p, uint64_t len,
		     uint64_t chunk, uint32_t *crc)
{
	bool any = false;
	size_t n;
	int err;

	for (uint64_t i = 0; i < len && !any; i += PAGE_SIZE)
		any = !mem_is_zero(p + i, PAGE_SIZE);
	*crc = any ? crc32c(0, p, len) : 0;
	if (!any)
		return 0;
	n = ZSTD_compressCCtx(z->ctx, z->buf, z->room, p, len, ZIP_LEVEL);
	if (ZSTD_isError(n))
		return ERR_NOMEM;
	err = state_write_at(f, z->buf, n, z->at);
	z->at += n;
	z->len[chunk] = (uint32_t)n;
	return err;
}

/* zip: NULL: as it is, at its place. */
static int write_chunks(struct state_fd *f, struct vm *vm, struct zip *zip, uint32_t *crc)
{
	uint64_t size = vm->ram.size;
	int err = 0;

	for (uint64_t at = 0; at < size && !err; at += CHUNK) {
		const uint8_t *p;
		uint64_t len;

		at = ALIGN_DOWN(next_data(vm, at), CHUNK);
		if (at >= size)
			break;
		p = vm->ram.hva + at;
		len = MIN(CHUNK, size - at);
		err = zip ? zip_chunk(f, zip, p, len, at / CHUNK, &crc[at / CHUNK])
			  : write_chunk(f, p, len, STATE_RAM_AT + at, &crc[at / CHUNK]);
	}
	return err;
}

static uint64_t chunks_of(const struct vm *vm)
{
	uint64_t n = (vm->ram.size + CHUNK - 1) / CHUNK;

	return n <= CHUNKS_MAX ? n : 0;
}

/* ---- ahead ---------------------------------------------------------------------------------------- */

#define AHEAD_ROUNDS 4
#define AHEAD_ENOUGH (16 * MIB / PAGE_SIZE) /* pages that are left for when the VM stands still */

struct state_ahead {
	struct vm *vm;
	uint32_t *crc;  /* of chunks, as the file has them */
	uint64_t *bits; /* of pages that have changed since */
	uint64_t n_words;
};

static uint64_t n_changed(const struct state_ahead *a)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < a->n_words; i++)
		n += (unsigned)__builtin_popcountll(a->bits[i]);
	return n;
}

static bool changed(const struct state_ahead *a, uint64_t page)
{
	return a->bits[page / 64] >> (page % 64) & 1;
}

/* Those of one chunk; zeros, too, as something else may be there. */
static int write_pages(struct state_ahead *a, struct state_fd *f, uint64_t at, uint64_t len)
{
	const uint8_t *p = a->vm->ram.hva + at;
	uint64_t first = at / PAGE_SIZE, n = len / PAGE_SIZE, end;
	bool any = false;
	int err = 0;

	for (uint64_t i = 0; i < n && !err; i = end) {
		bool is = changed(a, first + i);

		for (end = i + 1; end < n && changed(a, first + end) == is; end++)
			;
		if (is)
			err = state_write_at(f, p + i * PAGE_SIZE, (end - i) * PAGE_SIZE,
					     STATE_RAM_AT + at + i * PAGE_SIZE);
		any |= is;
	}
	if (any)
		a->crc[at / CHUNK] = mem_is_zero(p, len) ? 0 : crc32c(0, p, len);
	return err;
}

static int write_changed(struct state_ahead *a, struct state_fd *f)
{
	uint64_t size = a->vm->ram.size;
	int err = 0;

	for (uint64_t at = 0; at < size && !err; at += CHUNK)
		err = write_pages(a, f, at, MIN(CHUNK, size - at));
	memset(a->bits, 0, a->n_words * sizeof(*a->bits));
	return err;
}

/* For tests: is what the file has what memory has? */
static int compare(const struct state_ahead *a, const struct state_fd *f)
{
	uint64_t size = a->vm->ram.size;
	uint8_t *p = mmap(NULL, size, PROT_READ, MAP_PRIVATE, f->fd, STATE_RAM_AT);
	bool same = p != MAP_FAILED && !ftruncate(f->fd, (off_t)(STATE_RAM_AT + size));

	for (uint64_t at = 0; at < size && same; at += PAGE_SIZE) {
		same = !memcmp(p + at, a->vm->ram.hva + at, PAGE_SIZE);
		if (!same)
			plat_log(LOG_ERROR, "what changed in the page at %llx was not written",
				 (unsigned long long)at);
	}
	if (p != MAP_FAILED)
		munmap(p, size);
	return same ? 0 : err_here(ERR_IO);
}

/* The VM stands still. */
static int write_rest(struct state_ahead *a, struct state_fd *f, uint32_t *crc)
{
	int err = mem_dirty_take(a->vm, a->bits);

	if (!err)
		err = write_changed(a, f);
	if (!err && getenv("VIGIA_STATE_COMPARE"))
		err = compare(a, f);
	memcpy(crc, a->crc, chunks_of(a->vm) * sizeof(*crc));
	return err;
}

/* All of it, then again and again what has changed meanwhile, as long as that becomes less. */
static int write_ahead(struct state_ahead *a, struct state_fd *f)
{
	uint64_t before = UINT64_MAX, n;
	int err = write_chunks(f, a->vm, NULL, a->crc);

	for (unsigned round = 0; round < AHEAD_ROUNDS && !err; round++) {
		err = mem_dirty_take(a->vm, a->bits);
		n = n_changed(a);
		if (err || n <= AHEAD_ENOUGH || n >= before / 2)
			break;
		before = n;
		err = write_changed(a, f);
	}
	return err;
}

void state_ahead_end(struct state_ahead *a)
{
	if (!a)
		return;
	mem_dirty_stop(a->vm);
	free(a->crc);
	free(a->bits);
	free(a);
}

int state_ahead(int fd, struct vm *vm, struct state_ahead **out, struct msg *msg)
{
	struct state_fd f = {.fd = fd};
	struct state_ahead *a;
	int err;

	*out = NULL;
	if (!chunks_of(vm) || mem_dirty_start(vm))
		return 0; /* state_write() can do without */
	a = calloc(1, sizeof(*a));
	if (!a) {
		mem_dirty_stop(vm);
		return 0;
	}
	*a = (struct state_ahead){.vm = vm, .n_words = vm->ram.size / PAGE_SIZE / 64 + 1};
	a->crc = calloc(chunks_of(vm), sizeof(*a->crc));
	a->bits = calloc(a->n_words, sizeof(*a->bits));
	err = a->crc && a->bits ? write_ahead(a, &f) : ERR_NOMEM;
	if (!err) {
		*out = a;
		return 0;
	}
	state_ahead_end(a);
	return msg_fail(msg, err, "cannot write: %s", f.error ? strerror(f.error) : err_str(err));
}

static void put_ram(struct state_stream *st, struct ram_record *r, const uint32_t *crc,
		    const uint32_t *frames, uint64_t n)
{
	state_begin(st, "memory", frames ? RAM_ZIPPED : RAM_MAPPED);
	ST_SYNC(st, "memory", 0, ram_fields, r);
	st_put_bytes(st, "checksums", crc, (uint32_t)(n * sizeof(*crc)));
	state_end(st);
	if (!frames)
		return;
	state_begin(st, "frames", 1);
	st_put_bytes(st, "lengths", frames, (uint32_t)(n * sizeof(*frames)));
	state_end(st);
}

int state_ram_write(struct state_stream *st, struct state_fd *f, struct vm *vm, bool compress,
		    struct state_ahead *ahead)
{
	struct ram_record r = {.offset = STATE_RAM_AT, .size = vm->ram.size, .chunk = CHUNK};
	uint64_t n = chunks_of(vm);
	uint32_t *crc = n ? calloc(n, sizeof(*crc)) : NULL;
	struct zip zip = {0};
	int err = 0;

	if (!crc)
		return state_fail(st, ERR_NOMEM, "too much memory");
	if (compress)
		err = zip_open(&zip, n);
	if (!err && ahead && !compress)
		err = write_rest(ahead, f, crc);
	else if (!err)
		err = write_chunks(f, vm, compress ? &zip : NULL, crc);
	if (!err && ftruncate(f->fd, (off_t)(compress ? zip.at : STATE_RAM_AT + r.size))) {
		f->error = errno;
		err = ERR_IO;
	}
	if (err)
		state_fail(st, err, "cannot write");
	else
		put_ram(st, &r, crc, compress ? zip.len : NULL, n);
	zip_close(&zip);
	free(crc);
	return st->err;
}

static int verify_ram(struct state_stream *st, struct state_fd *f, const struct ram_record *r,
		      const uint32_t *crc)
{
	uint8_t *p = mmap(NULL, r->size, PROT_READ, MAP_PRIVATE, f->fd, STATE_RAM_AT);

	if (p == MAP_FAILED)
		return state_fail(st, ERR_NOMEM, "out of memory");
	for (uint64_t at = 0; at < r->size && !st->err; at += CHUNK) {
		uint64_t len = MIN(CHUNK, r->size - at);
		bool zero = true;

		for (uint64_t i = 0; i < len && zero; i += PAGE_SIZE)
			zero = mem_is_zero(p + at + i, PAGE_SIZE);
		if ((zero ? 0 : crc32c(0, p + at, len)) != crc[at / CHUNK])
			state_fail(st, ERR_FORMAT, "the memory at %llu MiB is damaged (checksum)",
				   (unsigned long long)(at / MIB));
	}
	munmap(p, r->size);
	return st->err;
}

/* Frames of the memory to where they belong, or nowhere (ram NULL): all are checked. */
static int unzip_ram(struct state_stream *st, struct state_fd *f, const struct ram_record *r,
		     const uint32_t *crc, const uint32_t *frame, uint8_t *ram)
{
	size_t room = ZSTD_compressBound(CHUNK);
	uint8_t *in = malloc(room), *out = malloc(CHUNK);
	ZSTD_DCtx *ctx = ZSTD_createDCtx();
	uint64_t src = r->offset;

	if (!in || !out || !ctx)
		state_fail(st, ERR_NOMEM, "out of memory");
	for (uint64_t at = 0; at < r->size && !st->err; at += CHUNK) {
		uint64_t i = at / CHUNK, len = MIN(CHUNK, r->size - at);
		uint8_t *to = ram ? ram + at : out;
		bool ok = frame[i] <= room;

		if (!frame[i])
			continue;
		ok = ok && !state_read_at(f, in, frame[i], src);
		src += frame[i];
		ok = ok && ZSTD_decompressDCtx(ctx, to, len, in, frame[i]) == len;
		if (!ok || crc32c(0, to, len) != crc[i])
			state_fail(st, ERR_FORMAT, "the memory at %llu MiB is damaged (checksum)",
				   (unsigned long long)(at / MIB));
	}
	ZSTD_freeDCtx(ctx);
	free(in);
	free(out);
	return st->err;
}

static bool ram_ok(const struct ram_record *r, const struct state_fd *f, const uint32_t *frame)
{
	uint64_t chunks = (r->size + CHUNK - 1) / CHUNK, len = frame ? 0 : r->size;
	struct stat sb;

	for (uint64_t i = 0; frame && i < chunks; i++)
		len += frame[i];
	return !fstat(f->fd, &sb) && (uint64_t)sb.st_size == r->offset + len;
}

static bool ram_makes_sense(const struct ram_record *r)
{
	return r->offset == STATE_RAM_AT && r->size && r->size % MIB == 0 && r->chunk == CHUNK &&
	       r->size <= (uint64_t)CHUNKS_MAX * CHUNK;
}

/* Instead of what is there: nothing of it is read before the guest uses it. */
static int map_ram(struct state_stream *st, struct state_fd *f, struct vm *vm)
{
	void *p = mmap(vm->ram.hva, vm->ram.size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, f->fd, STATE_RAM_AT);

	if (p == MAP_FAILED)
		return state_fail(st, ERR_NOMEM, "cannot map the memory: %s", strerror(errno));
	madvise(p, vm->ram.size, MADV_DONTDUMP);
	/* What was behind it until now is not needed any more. */
	if (vm->ram.fd >= 0)
		close(vm->ram.fd);
	vm->ram.fd = -1;
	return 0;
}

/* Into reserved pages, which no file can be mapped over. */
static int copy_ram(struct state_stream *st, struct state_fd *f, struct vm *vm)
{
	off_t at = STATE_RAM_AT, end = STATE_RAM_AT + (off_t)vm->ram.size, hole;
	int err = 0;

	plat_pages_discard(vm->ram.hva, vm->ram.size);
	while (!err && (at = lseek(f->fd, at, SEEK_DATA)) >= 0 && at < end) {
		hole = lseek(f->fd, at, SEEK_HOLE);
		hole = hole < 0 ? end : MIN(hole, end);
		err = state_read_at(f, vm->ram.hva + (at - STATE_RAM_AT), (size_t)(hole - at),
				    (uint64_t)at);
		at = hole;
	}
	return err ? state_fail(st, err, "cannot read the memory") : 0;
}

/* To memory of its own */
static int take_out(struct state_stream *st, struct state_fd *f, const struct ram_record *r,
		    const uint32_t *crc, const uint32_t *frame, struct state_parts *out)
{
	void *p = mmap(NULL, r->size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return state_fail(st, ERR_NOMEM, "out of memory");
	out->ram = p;
	out->ram_size = r->size;
	if (r->zip)
		return unzip_ram(st, f, r, crc, frame, p);
	return state_read_at(f, p, r->size, r->offset) ? state_fail(st, ERR_IO, "cannot read")
						       : st->err;
}

static int use_ram(struct state_stream *st, struct state_fd *f, const struct ram_record *r,
		   const uint32_t *crc, const uint32_t *frame, enum ram_use use, void *to)
{
	struct vm *vm = to;

	if (use == RAM_COPY)
		return take_out(st, f, r, crc, frame, to);
	if (use == RAM_LOOK)
		return st->err;
	if (use == RAM_VERIFY)
		return r->zip ? unzip_ram(st, f, r, crc, frame, NULL) : verify_ram(st, f, r, crc);
	if (r->size != vm->ram.size)
		return state_fail(st, ERR_INVAL, "the state is of %llu MiB, the VM has %llu MiB",
				  (unsigned long long)(r->size / MIB),
				  (unsigned long long)(vm->ram.size / MIB));
	if (!r->zip)
		return vm->ram.kind == RAM_RESERVED ? copy_ram(st, f, vm) : map_ram(st, f, vm);
	plat_pages_discard(vm->ram.hva, vm->ram.size);
	return unzip_ram(st, f, r, crc, frame, vm->ram.hva);
}

int state_ram_read(struct state_stream *st, struct state_fd *f, enum ram_use use, void *to)
{
	uint32_t *crc = malloc(STATE_SECTION_MAX), *frame = malloc(STATE_SECTION_MAX);
	uint32_t len = STATE_SECTION_MAX, frames = STATE_SECTION_MAX;
	struct ram_record r = {0};
	uint64_t want;

	if (!crc || !frame) {
		free(crc);
		free(frame);
		return state_fail(st, ERR_NOMEM, "out of memory");
	}
	if (!state_next(st) && !state_expect(st, "memory", RAM_ZIPPED)) {
		r.zip = st->version == RAM_ZIPPED;
		ST_SYNC(st, "memory", 0, ram_fields, &r);
		st_get_bytes(st, "checksums", crc, &len);
		state_leave(st);
	}
	if (r.zip && !state_next(st) && !state_expect(st, "frames", 1)) {
		st_get_bytes(st, "lengths", frame, &frames);
		state_leave(st);
	}
	want = (r.size + CHUNK - 1) / CHUNK * sizeof(*crc);
	if (!st->err && (!ram_makes_sense(&r) || len != want || (r.zip && frames != want)))
		state_fail(st, ERR_FORMAT, "section memory makes no sense");
	if (!st->err && !ram_ok(&r, f, r.zip ? frame : NULL))
		state_fail(st, ERR_FORMAT, "the memory's image is cut short");
	if (!st->err)
		use_ram(st, f, &r, crc, frame, use, to);
	free(crc);
	free(frame);
	return st->err;
}
